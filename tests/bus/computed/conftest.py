# SPDX-License-Identifier: Apache-2.0
"""One host a test: a private bus, everybody whom hero-computed talks to, and the daemon itself."""

import contextlib
import os
import pathlib
import shutil
import sys
import tempfile

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent))

from bus_client import Client, run_until  # noqa: E402
from daemon import CONFIG, Daemon, dbus_daemon, processes_named  # noqa: E402
from fake_images import FakeImages  # noqa: E402
from fake_polkit import FakePolkit  # noqa: E402
from fake_systemd import FakeSystemd  # noqa: E402
from heroctl_fixtures import CONFIG as BUS_CONFIG  # noqa: E402


class Host:
    def __init__(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix='hero-bus-'))
        self.directory.chmod(0o755)
        config = self.directory / 'bus.conf'
        services = self.directory / 'services'
        services.mkdir()
        config.write_text(BUS_CONFIG.format(socket=self.directory / 'bus', services=services))
        self.address = f'unix:path={self.directory / "bus"}'
        self.bus = dbus_daemon(self.directory, config)
        self.bus.stdout.readline()
        self.clients = []
        self.systemd = FakeSystemd(self.address)
        self.polkit = FakePolkit(self.address)
        self.images = FakeImages(self.address, self.directory / 'image')
        self.daemon = Daemon(self.directory, self.address)
        self.root = self.client()
        # Numbers of jobs begin again.
        self.daemon.before_start = lambda: [c.log.clear() for c in self.clients]

    def client(self, uid=0):
        c = Client(self.address, uid)
        self.clients.append(c)
        return c

    def start(self, config=None):
        if config is not None:
            self.daemon.config(config)
        self.daemon.start()
        return self

    def configure(self, **keys):
        """CONFIG with other values."""
        lines = CONFIG.splitlines()
        for k, v in keys.items():
            assert any(line.startswith(k + '=') for line in lines), k
            lines = [f'{k}={v}' if line.startswith(k + '=') else line for line in lines]
        self.daemon.config('\n'.join(lines) + '\n')
        return self

    def running(self, name='web', **keys):
        """A VM that runs."""
        assert self.root.create(name, **keys) == ('done', '')
        assert self.root.do(name, 'Start') == ('done', '')
        return self.pid(name)

    def warm(self):
        """One VM's life, after which what is opened once and kept is open. The number of fds now."""
        self.running('warm')
        assert self.root.do('warm', 'Delete', 't', 1) == ('done', '')
        self.nothing_left('warm')
        return self.daemon.n_fds()

    def pid(self, name='web'):
        return self.root.vm_get(name, 'PID')

    def wait_state(self, name, state, timeout=20):
        run_until(lambda: self.root.state(name) == state, timeout, f"{name} does not become {state}")

    def nothing_left(self, name, files=False):
        """No process, no scope, no stored socket; and no files unless they are to stay."""
        run_until(lambda: not processes_named(name, self.daemon.pid), 5, f'a VMM of {name} is still there')
        run_until(lambda: not self.systemd.units.get(f'hero-vm-{name}.scope') or
                  not self.systemd.units[f'hero-vm-{name}.scope'].pids(), 5)
        run_until(lambda: not [n for n in self.daemon.notify.names() if n.endswith('-' + name)], 5,
                  f'sockets of {name} stay in the fd store')
        if not files:
            assert name not in self.daemon.vm_directories()

    def close(self):
        """All of it, whatever goes wrong on the way; what did is raised at the end."""
        with contextlib.ExitStack() as stack:
            stack.callback(shutil.rmtree, self.directory)
            stack.callback(self.end_bus)
            stack.callback(self.systemd.close)
            stack.callback(self.polkit.close)
            stack.callback(self.images.close)
            for c in self.clients:
                stack.callback(c.close)
            stack.callback(self.daemon.close)

    def end_bus(self):
        self.bus.terminate()
        self.bus.wait(10)
        self.bus.stdout.close()


@pytest.fixture
def cold():
    """A host on which hero-computed is not started yet."""
    h = Host()
    yield h
    h.close()


@pytest.fixture
def host(cold):
    return cold.start()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """What the daemon said, beside what failed."""
    outcome = yield
    h = item.funcargs.get('cold') if hasattr(item, 'funcargs') else None
    report = outcome.get_result()
    if report.failed and h and report.when == 'call':
        report.sections.append(('hero-computed', h.daemon.log()[-8000:]))


def pytest_collection_modifyitems(items):
    if os.geteuid() != 0:
        for i in items:
            i.add_marker(pytest.mark.skip(reason='needs root: VMMs get a uid of their own'))
