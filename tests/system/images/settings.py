# SPDX-License-Identifier: Apache-2.0
"""How hero-imaged is configured on the host of the tests."""

import os

import hostile as corpus
from registry import HOSTILE_PORT, PORT

CONFIGURATION = f'''[Images]
EntriesMax={corpus.ENTRIES_MAX}
ImageSizeMax={corpus.SIZE_MAX}
PullsMax=8
[Registries]
Mirror=docker.io=127.0.0.1:{PORT}
Insecure=127.0.0.1:{PORT}
Insecure=127.0.0.1:{HOSTILE_PORT}
Insecure=127.0.0.1:{HOSTILE_PORT + 1}
[Timeouts]
PullTimeoutSec={corpus.PULL_SEC}
StallTimeoutSec={corpus.STALL_SEC}
'''


def configure(host, text, name='tests'):
    """A drop-in of images.conf; "" takes it away. The daemon reads it when it starts."""
    path = f'/etc/hero-compute/images.conf.d/{name}.conf'
    host.run(f'mkdir -p {os.path.dirname(path)}')
    if text:
        host.run(['tee', path], input=text)
    else:
        host.run(['rm', '-f', path])
    host.run(['systemctl', 'stop', 'hero-imaged'])


def clear(client):
    for reference, i in client.list().items():
        if reference != 'busybox:latest':
            client.call('Remove', 's', reference)
    client.call('Prune', 'a{sv}', {})
