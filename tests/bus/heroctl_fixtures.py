# SPDX-License-Identifier: Apache-2.0
"""What the tests of heroctl share: a private bus with the fake service, heroctl as a process, with and without a
terminal. HERO_BUILD_DIR is the build directory (meson sets it)."""

import contextlib
import errno
import fcntl
import json
import os
import pathlib
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import pytest

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ.get('HERO_BUILD_DIR', HERE.parent.parent / 'build'))
HEROCTL = BUILD / 'src/ctl/heroctl'

CONFIG = '''<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>custom</type><listen>unix:path={socket}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/></policy></busconfig>
'''


class Bus:
    def __init__(self, directory, with_service=True, **environment):
        self.directory = directory
        config = directory / 'bus.conf'
        services = directory / 'services'
        services.mkdir()
        config.write_text(CONFIG.format(socket=directory / 'bus').replace('<auth>', f'<servicedir>{services}</servicedir><auth>'))
        self.address = f'unix:path={directory / "bus"}'
        self.environment = {**os.environ, 'DBUS_SYSTEM_BUS_ADDRESS': self.address, 'LC_ALL': 'C.UTF-8', 'TZ': 'UTC',
                            **environment}
        self.daemon = subprocess.Popen(['dbus-daemon', f'--config-file={config}', '--nofork', '--print-address'],
                                       stdout=subprocess.PIPE, env=self.environment)
        self.daemon.stdout.readline()
        self.service = None
        if with_service:
            self.service = subprocess.Popen(['/usr/bin/python3', HERE / 'fake_computed.py'], env=self.environment,
                                            stdout=subprocess.PIPE)
            if self.service.stdout.readline() != b'ready\n':
                self.close()
                pytest.fail('the fake service did not start')

    def close(self):
        for p in (self.service, self.daemon):
            if p:
                p.terminate()
                p.wait(10)
                p.stdout.close()

    def start_on_demand(self, name='org.hero.Compute'):
        """As by D-Bus activation. Who is started goes with the bus."""
        (self.directory / 'services/fake.service').write_text(
            f'[D-BUS Service]\nName={name}\nExec=/usr/bin/python3 {HERE}/fake_computed.py\n')
        subprocess.run(['busctl', '--system', 'call', 'org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus',
                        'ReloadConfig'], env=self.environment, check=True)

    def call(self, method, *arguments):
        types = ['s' * len(arguments), *arguments] if arguments else []
        return subprocess.run(['busctl', '--system', '--json=short', 'call', 'org.hero.Compute.Fake', '/fake', 'org.hero.Compute.Fake',
                               method, *types], env=self.environment, check=True, capture_output=True, text=True).stdout

    def calls(self):
        """What the fake was asked to do since the last look."""
        return json.loads(self.call('TakeCalls'))['data'][0]

    def run(self, *arguments, check=None, **options):
        options.setdefault('stdin', None if 'input' in options else subprocess.DEVNULL)
        if 'input' in options:
            del options['stdin']
        r = subprocess.run([HEROCTL, *arguments], env=self.environment, capture_output=True, timeout=60, **options)
        assert b'Sanitizer' not in r.stderr, r.stderr.decode()
        if check is not None:
            assert r.returncode == check, (r.returncode, r.stdout, r.stderr)
        return r

    def text(self, *arguments, check=0):
        return self.run(*arguments, check=check).stdout.decode()

    def error(self, *arguments, check):
        return self.run(*arguments, check=check).stderr.decode()

    def start(self, *arguments, **options):
        return subprocess.Popen([HEROCTL, *arguments], env=self.environment, **options)


class Terminal:
    """heroctl on a pseudoterminal, as a person has it."""

    def __init__(self, bus, *arguments, rows=40, columns=100, argv=None, **environment):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))
        self.slave = slave  # kept open: its mode is looked at afterwards
        self.mode = termios.tcgetattr(slave)
        self.seen = b''
        self.process = subprocess.Popen(
            argv or [HEROCTL, *arguments], stdin=slave, stdout=slave, stderr=slave,
            env={**bus.environment, **environment},
            preexec_fn=lambda: (os.setsid(), fcntl.ioctl(0, termios.TIOCSCTTY, 0)))

    def read_some(self, timeout):
        if not select.select([self.master], [], [], timeout)[0]:
            return b''
        try:
            data = os.read(self.master, 65536)
        except OSError as e:
            if e.errno != errno.EIO:
                raise
            return b''
        self.seen += data
        return data

    def expect(self, pattern, timeout=20):
        end = time.monotonic() + timeout
        while not (m := re.search(pattern, self.seen)):
            left = end - time.monotonic()
            assert left > 0, f'{pattern!r} did not come in {self.seen!r}'
            if not self.read_some(min(left, 0.2)) and self.process.poll() is not None:
                assert re.search(pattern, self.seen), f'{pattern!r} did not come in {self.seen!r}'
        self.seen = self.seen[m.end():]
        return m

    def type(self, data):
        os.write(self.master, data)

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))

    def is_raw(self):
        return not termios.tcgetattr(self.slave)[3] & termios.ICANON

    def wait(self, timeout=20):
        end = time.monotonic() + timeout
        while self.process.poll() is None:
            assert time.monotonic() < end, f'it does not end; seen: {self.seen!r}'
            self.read_some(0.05)
        while self.read_some(0.05):
            pass
        return self.process.returncode

    def mode_is_as_before(self):
        return termios.tcgetattr(self.slave) == self.mode

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for fd in (self.master, self.slave):
            os.close(fd)


@pytest.fixture
def bus(tmp_path):
    b = Bus(tmp_path)
    yield b
    b.close()


@pytest.fixture
def empty_bus(tmp_path):
    b = Bus(tmp_path, with_service=False)
    yield b
    b.close()


@pytest.fixture
def terminal(bus):
    """Makes terminals that are closed after the test."""
    with contextlib.ExitStack() as stack:
        def make(*arguments, **options):
            t = Terminal(bus, *arguments, **options)
            stack.callback(t.close)
            return t
        yield make


def wait_until(condition, timeout=10):
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


__all__ = ['BUILD', 'HEROCTL', 'HERE', 'Bus', 'Terminal', 'bus', 'empty_bus', 'signal', 'terminal', 'wait_until']
