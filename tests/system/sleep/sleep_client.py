# SPDX-License-Identifier: Apache-2.0
"""What test_sleep.py runs on the throwaway host, where a millisecond counts: `python3 - VERB ARGUMENTS`, the answer is JSON.

A bus client of a few lines, for busctl takes longer to start than a VM to fall asleep."""

import glob
import json
import os
import signal
import socket
import struct
import sys
import time

LIMIT = 10  # seconds for a request, as a person's patience


class Bus:
    def __init__(self):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect('/run/dbus/system_bus_socket')
        self.socket.settimeout(30)
        self.serial = 0
        self.socket.sendall(b'\0AUTH EXTERNAL ' + b''.join(b'%02x' % c for c in str(os.getuid()).encode()) + b'\r\n')
        assert self.socket.recv(512).startswith(b'OK')
        self.socket.sendall(b'BEGIN\r\n')
        self.call('org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus', 'Hello')

    @staticmethod
    def string(s):
        return struct.pack('<I', len(s)) + s.encode() + b'\0'

    def send(self, service, path, interface, member, *strings):
        self.serial += 1
        body = b''
        for s in strings:
            body += b'\0' * (-len(body) % 4) + self.string(s)
        fields = b''
        for code, kind, value in ((1, b'o', path), (2, b's', interface), (3, b's', member), (6, b's', service)):
            fields += b'\0' * (-len(fields) % 8) + bytes((code, 1)) + kind + b'\0' + self.string(value)
        if strings:
            fields += b'\0' * (-len(fields) % 8) + b'\x08\x01g\0' + bytes((len(strings),)) + b's' * len(strings) + b'\0'
        head = struct.pack('<cBBBIII', b'l', 1, 0, 1, len(body), self.serial, len(fields)) + fields
        self.socket.sendall(head + b'\0' * (-len(head) % 8) + body)

    def exactly(self, n):
        data = b''
        while len(data) < n:
            more = self.socket.recv(n - len(data))
            assert more, 'the bus closed the connection'
            data += more
        return data

    def answer(self):
        """The body of the next answer; None when it is an error."""
        while True:
            _, kind, _, _, n_body, _, n_fields = struct.unpack('<cBBBIII', self.exactly(16))
            self.exactly(n_fields + -n_fields % 8)
            body = self.exactly(n_body)
            if kind in (2, 3):
                return body if kind == 2 else None

    def call(self, *words):
        self.send(*words)
        return self.answer()


class VM:
    def __init__(self, name):
        self.bus, self.path = Bus(), '/org/hero/Compute/vm/' + name

    def begin(self, method):
        self.bus.send('org.hero.Compute', self.path, 'org.hero.Compute.VM', method)

    def state(self):
        body = self.bus.call('org.hero.Compute', self.path, 'org.freedesktop.DBus.Properties', 'Get', 'org.hero.Compute.VM', 'State')
        return body[8:].rstrip(b'\0').decode() if body else None

    def wait(self, *states):
        end = time.monotonic() + LIMIT
        while self.state() not in states:
            assert time.monotonic() < end, f'it is {self.state()}, not {states}'
            time.sleep(0.002)


def request(address, port, source=None):
    """Connects, says something and hears it again. The time it took, ms."""
    began = time.monotonic()
    with socket.create_connection((address, int(port)), LIMIT, (source, 0) if source else None) as s:
        s.sendall(b'there?\n')
        answer = b''
        while len(answer) < 7:
            more = s.recv(7 - len(answer))
            assert more, 'closed'
            answer += more
    return (time.monotonic() - began) * 1000


def race(method, name, address, port, first, last, step):
    """A request at each of those milliseconds after the VM was told to fall asleep. Each from a source of its own, of which
    the host has 64: who wakes VMs often is slowed down. Each with the time it was sent at."""
    vm, result = VM(name), []
    for i, offset in enumerate(range(int(first), int(last) + 1, int(step))):
        vm.wait('running', 'suspended', 'hibernated')
        request(address, port, f'fd78:0:0:{i + 0x21:x}::1')
        vm.wait('running')
        vm.begin(method)
        began = time.monotonic()
        while (time.monotonic() - began) * 1000 < offset:
            pass
        sent = time.time()
        try:
            took = request(address, port, f'fd78:0:0:{i + 1:x}::1')
        except (OSError, AssertionError) as e:
            took = str(e)
        result.append([offset, took, 'job' if vm.bus.answer() else 'error', sent])
    return result


def stop_vmm(name, limit=LIMIT):
    """SIGSTOP for the VM's VMM as soon as there is one. Its pid."""
    end = time.monotonic() + float(limit)
    scope = f'hero-vm-{name}.scope\n'.encode()
    seen = set()
    while time.monotonic() < end:
        for path in glob.glob('/sys/fs/cgroup/machine.slice/machine-hero.slice/' + scope.decode().strip() + '/cgroup.procs'):
            try:
                pids = open(path).read().split()
            except OSError:
                continue
            for pid in pids:
                try:
                    if os.stat('/proc/' + pid).st_uid == 0 or pid in seen:
                        continue
                    comm = open(f'/proc/{pid}/comm').read().strip()
                    if comm.startswith('qemu') or comm.startswith('hero-mock'):
                        os.kill(int(pid), signal.SIGSTOP)
                        return int(pid)
                except OSError:
                    continue
    raise AssertionError('no VMM')


def scan(port, *addresses):
    """One connection attempt to each, that nobody waits for."""
    sockets = []
    for a in addresses:
        s = socket.socket(socket.AF_INET6 if ':' in a else socket.AF_INET, socket.SOCK_STREAM)
        s.setblocking(False)
        s.connect_ex((a, int(port)))
        sockets.append(s)
    time.sleep(0.5)
    return len(sockets)


def udp(address, port):
    """Says something by UDP, once a second, until it is answered. The number of attempts."""
    s = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(1)
    for i in range(LIMIT):
        s.sendto(b'there?', (address, int(port)))
        try:
            if s.recv(64) == b'there?':
                return i + 1
        except socket.timeout:
            pass
    raise AssertionError('no answer')


print(json.dumps({f.__name__: f for f in (race, request, stop_vmm, scan, udp)}[sys.argv[1]](*sys.argv[2:])))
