# SPDX-License-Identifier: Apache-2.0
"""hero-imaged: every name it knows is the same small file; what an image says about running it is config[reference]."""

import os

import dbus

from fake_service import FakeService

DIGEST = 'sha256:' + '5a' * 32


class FakeImages(FakeService):
    NAME = 'org.hero.Compute.Images'

    def __init__(self, address, file):
        self.file = file
        file.write_bytes(bytes(4096))
        file.chmod(0o644)
        self.known = {'busybox': DIGEST, DIGEST: DIGEST}
        self.config = {}
        super().__init__(address)

    def do_Open(self, message, reference):
        if reference not in self.known:
            self.error(message, 'org.hero.Compute.Error.NoSuchImage', f"There is no image '{reference}'.")
            return
        fd = os.open(self.file, os.O_RDONLY)
        self.reply(message, 'sha{sv}', self.known[reference], dbus.types.UnixFd(fd), self.image_config(reference))
        os.close(fd)

    def image_config(self, reference):
        return dbus.Dictionary({k: dbus.Array(v, signature='s') if isinstance(v, list) else v
                                for k, v in self.config.get(reference, {}).items()}, signature='sv')

    def changed(self):
        s = dbus.lowlevel.SignalMessage('/org/hero/Compute/Images', 'org.hero.Compute.Images', 'ImagesChanged')
        self.connection.send_message(s)
