# SPDX-License-Identifier: Apache-2.0
"""hero-computed as a process, with directories of its own and with a service manager's side of sd_notify(3): the fd store.

The daemon knows only its real paths. So it runs in a mount namespace of its own, where those are the test's."""

import array
import ctypes
import os
import pathlib
import select
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
import traceback

from gi.repository import GLib

from bus_client import run_until

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ.get('HERO_BUILD_DIR', HERE.parent.parent.parent / 'build'))
PROGRAM = BUILD / 'src/compute/hero-computed'

LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1
CLONE_NEWNS, CLONE_NEWNET, MS_REC, MS_PRIVATE, MS_BIND = 0x20000, 0x40000000, 0x4000, 1 << 18, 0x1000


def check(r):
    if r < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return r


def mount(source, target, kind=None, flags=0, data=None):
    check(LIBC.mount(str(source).encode(), str(target).encode(), kind and kind.encode(), flags, data and data.encode()))


def die_with_the_test():
    """In the child: whatever becomes of pytest, we go with it."""
    check(LIBC.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0))


def new_network():
    """A network namespace that has nothing but a loopback: an fd of it."""
    fds = []

    def make():
        check(LIBC.unshare(CLONE_NEWNET))
        fds.append(os.open('/proc/thread-self/ns/net', os.O_RDONLY | os.O_CLOEXEC))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    return fds[0]


def private_directories(directory, state_size=None, cgroups=True):
    """In the child: /var/lib/hero-compute and the like become the test's, whether or not the machine has such. With a
    state_size the state is a file system of its own, which the test sees through /proc/PID/root."""
    check(LIBC.unshare(CLONE_NEWNS))
    mount('none', '/', None, MS_REC | MS_PRIVATE)
    scratch = directory / 'scratch'
    scratch.mkdir(exist_ok=True)
    mount('scratch', scratch, 'tmpfs')
    for parent, name in (('/var/lib', 'state'), ('/run', 'run'), ('/etc', 'etc')):
        target = pathlib.Path(parent) / 'hero-compute'
        if not target.exists():
            upper, work = scratch / name / 'upper', scratch / name / 'work'
            upper.mkdir(parents=True)
            work.mkdir()
            mount('overlay', parent, 'overlay', 0, f'lowerdir={parent},upperdir={upper},workdir={work}')
            target.mkdir()
        mount(directory / name, target, None, MS_BIND)
    if (directory / 'journal').exists():
        target = pathlib.Path('/run/systemd/journal')
        target.mkdir(parents=True, exist_ok=True)
        mount(directory / 'journal', target, None, MS_BIND)
    for line in pathlib.Path('/proc/self/mounts').read_text().splitlines():
        _, where, kind, *_ = line.split()
        if cgroups and kind == 'cgroup2' and where != '/sys/fs/cgroup':
            mount(where, '/sys/fs/cgroup', None, MS_BIND)  # where PID 1 has it, on a machine that has the old ones as well
            break
    if not cgroups:
        mount('none', '/sys/fs/cgroup', 'tmpfs')
    if state_size:
        mount('state', '/var/lib/hero-compute', 'tmpfs', 0, f'size={state_size}')
    mount(directory / 'passwd', '/etc/passwd', None, MS_BIND)


class NotifySocket:
    """$NOTIFY_SOCKET with the fd store behind it."""

    def __init__(self, path):
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.socket.bind(str(path))
        self.messages = []  # (dict, number of fds, pid)
        self.store = []     # [name, fd, polled]
        self.source = GLib.unix_fd_add_full(GLib.PRIORITY_DEFAULT, self.socket.fileno(), GLib.IOCondition.IN,
                                            lambda *_: self.drain() or True)

    def close(self):
        GLib.source_remove(self.source)
        self.socket.close()
        for _, fd, _ in self.store:
            os.close(fd)
        self.store = []

    def drain(self):
        while True:
            try:
                data, control, _, _ = self.socket.recvmsg(65536, 4096)
            except BlockingIOError:
                return
            fds, pid = array.array('i'), 0
            for level, kind, content in control:
                if kind == socket.SCM_RIGHTS:
                    fds.frombytes(content[:len(content) - len(content) % fds.itemsize])
                else:
                    pid = struct.unpack('iII', content)[0]
            self.handle(data.decode(), list(fds), pid)

    def handle(self, text, fds, pid):
        fields = dict(line.split('=', 1) for line in text.splitlines())
        self.messages.append((fields, len(fds), pid))
        name = fields.get('FDNAME', 'stored')
        if 'FDSTORE' in fields:
            self.store += [[name, fd, fields.get('FDPOLL') != '0'] for fd in fds]
        else:
            for fd in fds:
                os.close(fd)
        if 'FDSTOREREMOVE' in fields:
            for entry in [e for e in self.store if e[0] == name]:
                os.close(entry[1])
                self.store.remove(entry)

    def prune(self):
        """As PID 1 does: what has nobody at its other end is dropped."""
        self.drain()
        for entry in [e for e in self.store if e[2]]:
            p = select.poll()
            p.register(entry[1], 0)
            if any(e & (select.POLLHUP | select.POLLERR) for _, e in p.poll(0)):
                os.close(entry[1])
                self.store.remove(entry)

    def names(self):
        self.prune()
        return sorted(n for n, _, _ in self.store)

    def is_ready(self):
        return any(m.get('READY') == '1' for m, _, _ in self.messages)

    def status(self):
        return next((m['STATUS'] for m, _, _ in reversed(self.messages) if 'STATUS' in m), None)


class Journal:
    """What journald would be sent: a list of dictionaries of fields."""

    def __init__(self, directory):
        (directory / 'journal').mkdir()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind(str(directory / 'journal' / 'socket'))
        self.all = []
        # Who logs waits for a queue that is full.
        self.source = GLib.unix_fd_add_full(GLib.PRIORITY_DEFAULT, self.socket.fileno(), GLib.IOCondition.IN,
                                            lambda *_: self.entries() or True)

    def close(self):
        GLib.source_remove(self.source)
        self.socket.close()

    def entries(self, **wanted):
        """Those that have these fields, in their order."""
        while True:
            try:
                self.all.append(self.parse(self.socket.recv(1 << 20)))
            except BlockingIOError:
                return [e for e in self.all if all(e.get(k) == v for k, v in wanted.items())]

    @staticmethod
    def parse(data):
        """systemd.io/JOURNAL_NATIVE_PROTOCOL"""
        fields = {}
        while data:
            line, _, data = data.partition(b'\n')
            name, equals, value = line.partition(b'=')
            if not equals:
                size = int.from_bytes(data[:8], 'little')
                value, data = data[8:8 + size], data[9 + size:]
            fields[name.decode()] = value.decode()
        return fields


# uid to name; without a name: a uid that the bus lets in and hero-computed knows nothing of.
ALICE, BOB, STRANGERS = 12001, 12002, range(13000, 13100)


def passwd(names):
    return pathlib.Path('/etc/passwd').read_text() + ''.join(f'{n}:x:{u}:{u}::/nonexistent:/bin/false\n'
                                                              for u, n in names.items())


def dbus_daemon(directory, config):
    """In the child: dbus-daemon turns uids away that are not in /etc/passwd."""
    file = directory / 'bus-passwd'
    file.write_text(passwd({ALICE: 'alice', BOB: 'bob'} | {u: f'stranger{u}' for u in STRANGERS}))

    def enter():
        die_with_the_test()
        check(LIBC.unshare(CLONE_NEWNS))
        mount('none', '/', None, MS_REC | MS_PRIVATE)
        mount(file, '/etc/passwd', None, MS_BIND)

    return subprocess.Popen(['dbus-daemon', f'--config-file={config}', '--nofork', '--print-address'], preexec_fn=enter,
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


CONFIG = '''[Compute]
Hypervisor=mock
RegisterMachines=no
UIDCount=1000
[Defaults]
Memory=64M
Disk=16M
[Capacity]
CPUOvercommit=100
[Timeouts]
ScopeTimeoutSec=1500ms
MonitorTimeoutSec=1500ms
AgentTimeoutSec=2
ShutdownTimeoutSec=1
PowerdownTimeoutSec=500ms
StopTimeoutSec=2
[Idle]
IdleTimeoutSec=infinity
HibernateDelaySec=infinity
CheckIntervalSec=1h
CPUThreshold=2%
KeepMemoryMax=0%
'''


class Daemon:
    def __init__(self, directory, address, config=CONFIG):
        self.directory, self.address = directory, address
        self.state = directory / 'state'
        for name in ('state', 'run', 'etc', 'lib'):
            (directory / name).mkdir(exist_ok=True)
        for name in ('hero-vmm-launch', 'hero-mock-vmm', 'hero-hibernate'):
            shutil.copy(BUILD / 'src/hypervisor' / name, directory / 'lib')
        self.config(config)
        (directory / 'passwd').write_text(passwd({ALICE: 'alice', BOB: 'bob'}))
        self.log_path = directory / 'computed.log'
        self.log_path.touch()
        self.notify = NotifySocket(directory / 'notify')
        self.pid = self.status = None
        self.before_start = lambda: None
        self.state_size = None
        self.cgroups = True # to be seen where the daemon looks for them
        self.network = None # the namespace of it, when VMs are to have a network
        self.environment = {
            'PATH': '/usr/sbin:/usr/bin:/sbin:/bin', 'LANG': 'C.UTF-8', 'DBUS_SYSTEM_BUS_ADDRESS': address,
            'NOTIFY_SOCKET': str(self.notify.path), 'HERO_LOG_LEVEL': 'debug', 'HERO_LOG_TARGET': 'console',
            'HERO_LIBEXEC_DIR': str(directory / 'lib'),
            'ASAN_OPTIONS': 'detect_stack_use_after_return=1:strict_string_checks=1:abort_on_error=0',
            'UBSAN_OPTIONS': 'print_stacktrace=1:halt_on_error=1',
        }

    def config(self, text):
        # Without use_network() the daemon is in the test's network namespace, which is nobody's to change.
        (self.directory / 'etc' / 'compute.conf').write_text(text + '\n[Network]\nEnable=no\n')

    def use_network(self):
        """VMs have a network, all of it in a namespace that goes with the test."""
        self.network = new_network()
        (self.directory / 'etc' / 'compute.conf').write_text(CONFIG)

    def in_network(self, *command):
        """What a command says there."""
        enter = lambda: check(LIBC.setns(self.network, CLONE_NEWNET))
        return subprocess.run(command, preexec_fn=enter, check=True, capture_output=True, text=True).stdout

    def log(self):
        return self.log_path.read_text(errors='replace')

    def start(self, wait=True):
        self.before_start()
        self.notify.prune()
        self.notify.messages.clear()
        stored = [(n, os.dup(fd)) for n, fd, _ in self.notify.store]
        self.status = None
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self.become(stored)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(127)
        for _, fd in stored:
            os.close(fd)
        if wait:
            run_until(lambda: self.notify.is_ready() or not self.runs(), 20, 'hero-computed does not become ready')
            assert self.runs(), self.log()

    def become(self, stored):
        """In the child."""
        die_with_the_test()
        if self.network is not None:
            check(LIBC.setns(self.network, CLONE_NEWNET))
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        log = os.open(self.log_path, os.O_WRONLY | os.O_APPEND)
        private_directories(self.directory, self.state_size, self.cgroups)
        high = [(n, os.dup2(fd, 500 + i)) for i, (n, fd) in enumerate(stored)]
        for i, fd in enumerate((os.open('/dev/null', os.O_RDONLY), log, log)):
            os.dup2(fd, i)
        for i, (_, fd) in enumerate(high):
            os.dup2(fd, 3 + i)
        os.closerange(3 + len(high), 1024)
        environment = dict(self.environment)
        if high:
            environment |= {'LISTEN_FDS': str(len(high)), 'LISTEN_PID': str(os.getpid()),
                            'LISTEN_FDNAMES': ':'.join(n for n, _ in high)}
        os.execve(PROGRAM, [str(PROGRAM)], environment)

    def runs(self):
        if self.pid and self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return bool(self.pid) and self.status is None

    def wait(self, timeout=20):
        run_until(lambda: not self.runs(), timeout, 'hero-computed does not end')
        self.notify.drain()
        return self.status

    def stop(self):
        """As `systemctl restart` does."""
        os.kill(self.pid, signal.SIGTERM)
        assert self.wait() == 0, self.log()[-4000:]

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        self.wait()

    def reload(self):
        self.notify.drain()
        self.notify.messages.clear()
        os.kill(self.pid, signal.SIGHUP)
        words = lambda: [k for m, _, _ in self.notify.messages for k in m if k in ('RELOADING', 'READY')]
        run_until(lambda: words() == ['RELOADING', 'READY'], 20, 'the configuration is not read again')

    def cpu_time(self):
        """Seconds."""
        fields = pathlib.Path(f'/proc/{self.pid}/stat').read_text().rpartition(')')[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')

    def n_fds(self):
        return len(os.listdir(f'/proc/{self.pid}/fd'))

    def fds(self):
        r = []
        for fd in os.listdir(f'/proc/{self.pid}/fd'):
            try:
                r.append(os.readlink(f'/proc/{self.pid}/fd/{fd}'))
            except FileNotFoundError:
                pass
        return sorted(r)

    def vm_directories(self):
        return sorted(os.listdir(self.state / 'vms'))

    def release(self):
        self.notify.close()
        if self.network is not None:
            os.close(self.network)
            self.network = None

    def close(self):
        """Ends it in good order, and looks for what the sanitizers have to say."""
        if self.runs():
            os.kill(self.pid, signal.SIGTERM)
            try:
                self.wait()
            except AssertionError:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise
            finally:
                self.release()
            assert self.status == 0, self.log()[-6000:]
        else:
            self.release()
        log = self.log()
        for word in ('Sanitizer', 'runtime error:', 'Assertion'):
            assert word not in log, log[log.index(word) - 200:][:6000]


def processes_named(name, daemon=None):
    """VMMs of the VM, by what they were told their name is: those in a scope of this test, and those without one yet that
    the daemon or its launcher has begun. (Others may test beside us.)"""
    found = []
    for p in pathlib.Path('/proc').iterdir():
        if p.name.isdigit():
            try:
                ours = f'/hero-bus-test-{os.getpid()}/' in (p / 'cgroup').read_text() or (daemon and daemon in ancestors(p.name))
                if ours and f'name={name}'.encode() in (p / 'cmdline').read_bytes().split(b'\0'):
                    found.append(int(p.name))
            except OSError:
                pass
    return found


def ancestors(pid):
    found = []
    while int(pid) > 1 and len(found) < 10:
        pid = pathlib.Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[1]
        found.append(int(pid))
    return found
