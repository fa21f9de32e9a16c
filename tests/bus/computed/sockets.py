# SPDX-License-Identifier: Apache-2.0
"""What Exec(), OpenConsole() and Logs() give out."""

import os
import select
import socket
import time

from bus_client import run_until, spec


def read_until(sock, what, timeout=10):
    """Reads until what was read ends with, or holds, what; b'' for the end of file."""
    end, data = time.monotonic() + timeout, b''
    while time.monotonic() < end:
        if select.select([sock], [], [], 0.05)[0]:
            chunk = sock.recv(65536)
            if not chunk:
                assert not what, data
                return data
            data += chunk
            if what and what in data:
                return data
    raise AssertionError(f'{what!r} did not come, but {data[-500:]!r}')


class Exec:
    def __init__(self, client, vm, *command, **options):
        fds = client.vm(vm, 'Exec', 'asa{sv}', list(command), spec(**options))
        self.stdio, self.stderr, self.control = (socket.socket(fileno=fd) for fd in fds)

    def expect(self, what, timeout=10):
        return read_until(self.stdio, what, timeout)

    def result(self, timeout=10):
        """The last message on the control socket."""
        run_until(lambda: select.select([self.control], [], [], 0)[0], timeout, 'the session does not end')
        return self.control.recv(1000).decode()

    def close(self):
        for s in (self.stdio, self.stderr, self.control):
            s.close()


def console(client, vm, flags=0):
    return socket.socket(fileno=client.vm(vm, 'OpenConsole', 't', flags))


def log(client, vm, size=0):
    fd = client.vm(vm, 'Logs', 'tt', size, 0)
    with os.fdopen(fd, 'rb') as f:
        return f.read()
