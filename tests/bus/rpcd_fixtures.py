# SPDX-License-Identifier: Apache-2.0
"""What the tests of hero-rpcd share: the private bus with the fake services (heroctl_fixtures.py), hero-rpcd on it with sockets as
systemd would hand them over, and clients of any uid."""

import contextlib
import http.client
import itertools
import json
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile

import pytest

from heroctl_fixtures import BUILD, Bus, wait_until

RPCD = BUILD / 'src/rpcd/hero-rpcd'
SOMEBODY = pwd.getpwnam('games')  # has a name, and that is all


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout=30):
        super().__init__('localhost', timeout=timeout)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


@contextlib.contextmanager
def somebody(uid, gid):
    """Who connects in here is that user (SO_PEERCRED)."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


class Failure(Exception):
    def __init__(self, error):
        super().__init__(error)
        self.code, self.message, self.name = error['code'], error['message'], error.get('data', {}).get('name')
        self.detail = error.get('data', {}).get('detail')


class Client:
    """Calls over one kept-alive connection."""

    def __init__(self, path, who=None):
        self.ids = itertools.count(1)
        self.connection = UnixConnection(path)
        if who:
            with somebody(who.pw_uid, who.pw_gid):
                self.connection.connect()

    def post(self, body):
        self.connection.request('POST', '/rpc', body, {'Content-Type': 'application/json'})
        r = self.connection.getresponse()
        return r.status, r.read()

    def send(self, method, **params):
        """Without waiting for the answer."""
        self.id = next(self.ids)
        self.connection.request('POST', '/rpc', json.dumps({'jsonrpc': '2.0', 'id': self.id, 'method': method, 'params': params}),
                                {'Content-Type': 'application/json'})

    def answer(self):
        r = self.connection.getresponse()
        text = r.read()
        assert r.status == 200, (r.status, text)
        answer = json.loads(text)
        assert answer['jsonrpc'] == '2.0' and answer['id'] == self.id, answer
        if 'error' in answer:
            raise Failure(answer['error'])
        return answer['result']

    def __call__(self, method, **params):
        self.send(method, **params)
        return self.answer()

    def error(self, method, **params):
        with pytest.raises(Failure) as e:
            self(method, **params)
        return e.value

    def close(self):
        self.connection.close()


class Rpcd:
    def __init__(self, bus, **environment):
        self.bus = bus
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix='rpcd-', dir='/tmp'))
        self.directory.chmod(0o755)  # for others to connect
        self.sockets, self.clients, self.stopped = {}, [], False
        for name in ('http', 'line'):
            s = self.sockets[name] = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            s.bind(str(self.directory / f'{name}.sock'))
            os.chmod(self.directory / f'{name}.sock', 0o666)
            s.listen(1024)
        self.log_path = self.directory / 'log'
        (self.directory / 'run').mkdir()
        (self.directory / 'config/rpc.conf.d').mkdir(parents=True)
        # SOMEBODY is no login user, and no other is on every Debian.
        (self.directory / 'config/rpc.conf.d/50-users.conf').write_text('[Access]\nSystemUsers=yes\n')
        self.environment = {**bus.environment, 'HERO_LOG_TARGET': 'console', 'HERO_CONFIG_DIR': str(self.directory / 'config'),
                            'RUNTIME_DIRECTORY': str(self.directory / 'run'), **environment}
        self.start()

    def start(self):
        fds = [s.fileno() for s in self.sockets.values()]
        # File descriptors 3 and 4, and the pid is that of the program.
        script = f'exec 3<&{fds[0]} 4<&{fds[1]}; LISTEN_FDS=2 LISTEN_FDNAMES={":".join(self.sockets)} LISTEN_PID=$$ exec "$0"'
        self.log_file = open(self.log_path, 'ab')
        self.process = subprocess.Popen(['/bin/bash', '-c', script, RPCD], env=self.environment, pass_fds=fds, stderr=self.log_file,
                                        umask=0o077)  # as in its unit

    def client(self, who=None):
        self.clients.append(Client(self.directory / 'http.sock', who))
        return self.clients[-1]

    def log(self):
        return self.log_path.read_text()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def close(self):
        for c in self.clients:
            c.close()
        if self.process.poll() is None:
            self.stop()
        for s in self.sockets.values():
            s.close()
        self.log_file.close()
        log = self.log()
        shutil.rmtree(self.directory)
        assert 'Sanitizer' not in log and 'runtime error' not in log, log
        assert self.process.returncode == 0, log


@pytest.fixture
def bus(tmp_path):
    b = Bus(tmp_path)
    yield b
    b.close()


@pytest.fixture
def rpcd(bus):
    r = Rpcd(bus)
    yield r
    r.close()


@pytest.fixture
def call(rpcd):
    """Calls as root."""
    return rpcd.client()


__all__ = ['SOMEBODY', 'RPCD', 'Client', 'Failure', 'Rpcd', 'UnixConnection', 'bus', 'call', 'rpcd', 'somebody', 'wait_until']
