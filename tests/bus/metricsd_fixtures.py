# SPDX-License-Identifier: Apache-2.0
"""What the tests of hero-metricsd share: a private bus with the daemon on it in a network namespace of its own, a stand-in for
hero-computed whose VMs the test moves about, and a directory that plays their cgroups."""

import ctypes
import os
import pathlib
import signal
import subprocess
import threading
import time

from gi.repository import Gio, GLib

from imaged_fixtures import CONFIG, POLKIT, Connection, wait_for

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ.get('HERO_BUILD_DIR', HERE.parent.parent / 'build'))
METRICSD = BUILD / 'src/metricsd/hero-metricsd'
NAME = INTERFACE = 'org.hero.Compute.Metrics'
OBJECT = '/org/hero/Compute/Metrics'
COMPUTED, ROOT, VM = 'org.hero.Compute', '/org/hero/Compute', 'org.hero.Compute.VM'
MANAGER = 'org.freedesktop.DBus.ObjectManager'
PROPERTIES = 'org.freedesktop.DBus.Properties'
ERROR = 'org.hero.Compute.Error.'
CLONE_NEWNET = 0x40000000
MIB = 1 << 20

OBJECTS = f'''<node><interface name="{MANAGER}"><method name="GetManagedObjects">
<arg type="a{{oa{{sa{{sv}}}}}}" direction="out"/></method></interface></node>'''
TYPES = {'Id': 's', 'Name': 's', 'User': 's', 'Image': 's', 'Unit': 's', 'TAPDevice': 's', 'State': 's', 'Memory': 't', 'CPUs': 'u',
         'PID': 'u', 'StartedTimestamp': 't', 'StartPhases': '(ttttt)'}

# A TAP whose other end is read and written as a VMM does it: commands on stdin are "send BYTES COUNT" and "drain".
TAP = '''
import fcntl, os, struct, sys
tap = os.open('/dev/net/tun', os.O_RDWR)
fcntl.ioctl(tap, 0x400454ca, struct.pack('16sH', sys.argv[1].encode(), 0x1002))  # TUNSETIFF: IFF_TAP | IFF_NO_PI
os.system(f'ip link set {sys.argv[1]} up')
print('ready', flush=True)
for line in sys.stdin:
    size, count = map(int, line.split())
    for _ in range(count):
        os.write(tap, b'\\xff' * 6 + b'\\x02\\0\\0\\0\\0\\1' + b'\\x88\\xb5' + bytes(size - 14))
    print('sent', flush=True)
'''


class Computed:
    """hero-computed as far as hero-metricsd knows it."""

    def __init__(self, connection):
        self.connection = connection
        self.vms = {}
        connection.serve(COMPUTED, ROOT, OBJECTS, self.answer)

    def properties(self, name):
        return {k: GLib.Variant(TYPES[k], v) for k, v in self.vms[name].items()}

    @staticmethod
    def path(name):
        return f'{ROOT}/vm/' + ''.join(c if c.isalnum() else '_%02x' % ord(c) for c in name)

    def answer(self, method, arguments):
        return GLib.Variant('(a{oa{sa{sv}}})', ({self.path(n): {VM: self.properties(n)} for n in self.vms},))

    def emit(self, path, interface, member, types, *arguments):
        """By the thread that answers, so that no answer from before what is told goes out after it."""
        sent, variant = threading.Event(), GLib.Variant(types, arguments)

        def send(_):
            self.connection.bus.emit_signal(None, path, interface, member, variant)
            sent.set()
            return False
        source = GLib.Idle()
        source.set_callback(send)
        source.attach(self.connection.context)
        assert sent.wait(20)
        self.connection.bus.flush_sync(None)

    def add(self, name, **properties):
        number = len(self.vms) + 1
        self.vms[name] = {'Id': '%012x' % (0xa00000000000 + sum(map(ord, name)) * 4096 + number), 'Name': name, 'User': '',
                          'Image': 'busybox:latest', 'Unit': f'hero-vm-{name}.scope', 'TAPDevice': '', 'State': 'stopped',
                          'Memory': 256 * MIB, 'CPUs': 2, 'PID': 0, 'StartedTimestamp': 0, 'StartPhases': (1, 2, 3, 4, 5), **properties}
        self.emit(ROOT, MANAGER, 'InterfacesAdded', '(oa{sa{sv}})', self.path(name), {VM: self.properties(name)})
        return self.vms[name]['Id']

    def change(self, name, **properties):
        self.vms[name].update(properties)
        self.emit(self.path(name), PROPERTIES, 'PropertiesChanged', '(sa{sv}as)', VM,
                  {k: GLib.Variant(TYPES[k], v) for k, v in properties.items()}, [])

    def remove(self, name):
        del self.vms[name]
        self.emit(ROOT, MANAGER, 'InterfacesRemoved', '(oas)', self.path(name), [VM])

    def leave(self):
        self.connection.ask_bus('ReleaseName', '(s)', COMPUTED)

    def come_back(self):
        assert self.connection.ask_bus('RequestName', '(su)', COMPUTED, 4) == 1


class MetricsConnection(Connection):
    def call(self, method, signature=None, *arguments, timeout=30000, path=OBJECT, interface=INTERFACE):
        body = GLib.Variant(signature, arguments) if signature else None
        return self.bus.call_sync(NAME, path, interface, method, body, None, Gio.DBusCallFlags.NONE, timeout, None).unpack()

    def latest(self):
        """{name: {metric: value}} with id, user, state and time."""
        names, vms = self.call('Latest')
        return {v[1]: {'id': v[0], 'user': v[2], 'state': v[3], 'time': v[4], **dict(zip(names, v[5], strict=True))} for v in vms}

    def query(self, vm, start=None, end=0, step=0):
        """(id, step, [{time, metric: value}]); of the last half hour"""
        start = int((time.time() - 1800) * 1e6) if start is None else start
        id, step, names, points = self.call('Query', '(sttt)', vm, start, end, step)
        return id, step, [{'time': t, **dict(zip(names, values, strict=True))} for t, values in points]

    def export(self):
        return self.call('Export')[0]

    def series(self):
        """{'name{labels}': value}"""
        return {l.rpartition(' ')[0]: float(l.rpartition(' ')[2]) for l in self.export().splitlines() if not l.startswith('#')}


class Host:
    def __init__(self, directory, user=None, start=True, **environment):
        self.directory, self.user = directory, user
        self.state, self.cgroups, self.config = directory / 'state', directory / 'cgroup', directory / 'conf'
        for d in (self.state, self.cgroups / 'machine.slice/machine-hero.slice', self.config):
            d.mkdir(parents=True)
        if user is not None:
            os.chown(self.state, user, user)
        (directory / 'services').mkdir()
        (directory / 'bus.conf').write_text(CONFIG.format(directory=directory))
        self.log_path = directory / 'log'
        self.address = f'unix:path={directory}/bus'
        self.environment = {**os.environ, 'DBUS_SYSTEM_BUS_ADDRESS': self.address, 'STATE_DIRECTORY': str(self.state),
                            'HERO_CGROUP_DIR': str(self.cgroups), 'HERO_CONFIG_DIR': str(self.config), 'HERO_LOG_TARGET': 'console',
                            'METRICS_INTERVAL_SECS': '1', **environment}
        self.log_file = open(self.log_path, 'ab')
        self.bus = subprocess.Popen(['dbus-daemon', f'--config-file={directory}/bus.conf', '--nofork', '--print-address'],
                                    stdout=subprocess.PIPE, stderr=self.log_file, env=self.environment)
        self.bus.stdout.readline()
        self.connections, self.taps, self.daemon = [], {}, None
        self.computed = Computed(self.connect())
        if start:
            self.start()

    def connect(self):
        self.connections.append(MetricsConnection(self.address))
        return self.connections[-1]

    def start(self):
        libc = ctypes.CDLL(None)

        def own_network():
            assert libc.unshare(CLONE_NEWNET) == 0
            if self.user is not None:
                os.setgroups([])
                os.setgid(self.user)
                os.setuid(self.user)
        self.daemon = subprocess.Popen([METRICSD], stderr=self.log_file, env=self.environment, preexec_fn=own_network)
        c = self.connect()

        def owned():
            assert self.daemon.poll() is None, self.log()
            try:
                return c.ask_bus('GetConnectionUnixProcessID', '(s)', NAME) == self.daemon.pid
            except GLib.Error:
                return False
        wait_for(owned)

    def stop(self, sig=signal.SIGTERM):
        self.daemon.send_signal(sig)
        status = self.daemon.wait(20)
        assert status == (0 if sig == signal.SIGTERM else -sig), self.log()

    def cgroup(self, name, slice='machine.slice/machine-hero.slice', **files):
        """Writes files of a VM's cgroup, cpu_stat being cpu.stat; in place, as the daemon keeps them open."""
        directory = self.cgroups / slice / f'hero-vm-{name}.scope'
        directory.mkdir(parents=True, exist_ok=True)
        for key, text in files.items():
            fd = os.open(directory / key.replace('_', '.', 1), os.O_WRONLY | os.O_CREAT, 0o644)
            os.pwrite(fd, text.encode().ljust(512, b'\n'), 0)  # at once: a reader sees the old or the new
            os.close(fd)
        return directory

    def used(self, name, cpu, memory=64 * MIB, read=0, write=0, pressure=0):
        return self.cgroup(
            name, cpu_stat=f'usage_usec {cpu}\nuser_usec {cpu // 2}\nsystem_usec {cpu - cpu // 2}\nnr_throttled 0\nthrottled_usec 0\n',
            memory_current=f'{memory}\n', memory_peak=f'{2 * memory}\n', memory_stat='anon 4096\nfile 8192\nshmem 1024\nanon_thp 7\n',
            io_stat=f'8:0 rbytes={read} wbytes={write} rios={read // 4096} wios={write // 4096} dbytes=0 dios=0\n',
            cpu_pressure=f'some avg10=0.00 avg60=0.00 avg300=0.00 total={pressure}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n',
            memory_pressure=f'some avg10=0.00 avg60=0.00 avg300=0.00 total={pressure}\n',
            io_pressure=f'some avg10=0.00 avg60=0.00 avg300=0.00 total={pressure}\n')

    def run_vm(self, name, cpu=0, **properties):
        """A VM that runs, of which the daemon has seen the first reading."""
        self.used(name, cpu)
        id = self.computed.add(name, State='running', PID=os.getpid(), **properties)
        return id

    def tap(self, name):
        p = self.taps[name] = subprocess.Popen(['nsenter', '-t', str(self.daemon.pid), '-n', '/usr/bin/python3', '-c', TAP, name],
                                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert p.stdout.readline() == 'ready\n'

    def send(self, name, size, count):
        self.taps[name].stdin.write(f'{size} {count}\n')
        self.taps[name].stdin.flush()
        assert self.taps[name].stdout.readline() == 'sent\n'

    def remove_tap(self, name):
        p = self.taps.pop(name)
        p.stdin.close()
        p.wait(10)
        p.stdout.close()

    def play_polkit(self, answer):
        """answer(action, details) → bool"""
        self.connect().serve('org.freedesktop.PolicyKit1', '/org/freedesktop/PolicyKit1/Authority', POLKIT,
                             lambda m, a: GLib.Variant('((bba{ss}))', ((answer(a[1], a[2]), False, {}),)))

    def log(self):
        return self.log_path.read_text()

    def close(self):
        for name in list(self.taps):
            self.remove_tap(name)
        for c in self.connections:
            c.close()
        status = 0
        if self.daemon:
            if self.daemon.poll() is None:
                self.daemon.send_signal(signal.SIGTERM)
            status = self.daemon.wait(20)
        self.bus.terminate()
        self.bus.wait(10)
        self.bus.stdout.close()
        self.log_file.close()
        assert 'Sanitizer' not in self.log(), self.log()
        assert status in (0, -signal.SIGKILL), self.log()
