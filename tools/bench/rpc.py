# SPDX-License-Identifier: Apache-2.0
"""hero-rpcd against a bare libmicrohttpd and jansson: both on one core, whoever asks on the other."""

import os
import time

SOCKET = '/run/hero-compute/rpc.sock'
FLOOR = '/run/hero-rpc-floor.sock'
BODIES = {
    'get': '{"jsonrpc":"2.0","id":1,"method":"vm.get","params":{"vm_id":"bench-0"}}',
    'list': '{"jsonrpc":"2.0","id":1,"method":"vm.list"}',
}
CONNECTIONS = (1, 32, 100)
SERVER_CORE, LOAD_CORE = 0, 1
MANY = 10000


def pin(host, unit):
    """All of a service on one core."""
    host.sh(f'taskset -a -p -c {SERVER_CORE} $(systemctl show -P MainPID {unit})'
            + (f'; chrt -a -r -p 1 $(systemctl show -P MainPID {unit})' if host.realtime else ''))


def restart(host):
    host.sh(f'systemctl restart hero-rpcd.service; i=0; while ! curl -sf --unix-socket {SOCKET} http://localhost/health; do '
            'sleep 0.1; i=$((i+1)); test $i -lt 100; done')


def measure(host, *words, into):
    """As host.measure(), from the core that is not the servers'."""
    for line in host.sh(f'exec taskset -c {LOAD_CORE} {host.load} ' + ' '.join(f"'{w}'" for w in words)).splitlines():
        name, _, value = line.rpartition(' ')
        into.setdefault(name, []).append(int(value))


def rates(host, rounds, msec, into):
    host.sh(f'systemd-run -q --unit hero-rpc-floor {os.path.dirname(host.load)}/hero-rpc-floor {FLOOR}')
    restart(host)
    for unit in ('hero-rpc-floor', 'hero-rpcd'):
        pin(host, unit)
    for _ in range(rounds):
        for what, body in BODIES.items():
            for n in CONNECTIONS:
                for side, path in (('floor', FLOOR), ('ours', SOCKET)):
                    measure(host, 'rpc-load', path, body, n, msec, f'{side}-{what}-{n}', into=into)
    host.sh('systemctl stop hero-rpc-floor')


def mutations(host, count, into):
    restart(host)
    host.measure('rpc-mutation', count, into=into)


def many(host, count, into):
    """In place of hero-computed, something that tells of 10,000 VMs. Returns (RSS, PSS) of hero-rpcd then."""
    host.sh('systemctl mask -q --now --runtime hero-computed.service')
    host.sh(f'systemd-run -q --unit hero-rpc-objects {host.load} rpc-objects {MANY}')
    restart(host)
    body = BODIES['list']
    for _ in range(100):
        if int(host.sh(f"curl -s --unix-socket {SOCKET} -H content-type:application/json -d '{body}' http://localhost/rpc | wc -c")) > MANY * 100:
            break
        time.sleep(0.1)
    else:
        raise RuntimeError('hero-rpcd does not know the VMs: ' + host.sh('systemctl status hero-rpc-objects hero-rpcd | cat'))
    host.measure('rpc-time', SOCKET, body, count, 'many', into=into)
    memory = host.memory('hero-rpcd')
    host.sh('systemctl stop hero-rpc-objects; systemctl unmask -q --runtime hero-computed.service')
    return memory


def idle(host):
    """(RSS, PSS) of hero-rpcd some seconds after its start, when it has answered now and then."""
    restart(host)
    time.sleep(4)
    host.measure('rpc-time', SOCKET, BODIES['list'], 100, 'idle', into={})
    return host.memory('hero-rpcd')
