# SPDX-License-Identifier: Apache-2.0
"""What the tests of hero-imaged share: a private bus, the daemon on it, connections that can pass fds, and stand-ins
for hero-computed and polkit. HERO_BUILD_DIR is the build directory (meson sets it)."""

import hashlib
import io
import os
import pathlib
import signal
import subprocess
import tarfile
import threading
import time

from gi.repository import Gio, GLib

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ.get('HERO_BUILD_DIR', HERE.parent.parent / 'build'))
LIBEXEC = BUILD / 'src/imaged'
NAME = INTERFACE = 'org.hero.Compute.Images'
OBJECT = '/org/hero/Compute/Images'
ERROR = 'org.hero.Compute.Error.'
IMAGE = 'org.hero.Compute.Image'
JOB = 'org.hero.Compute.ImageJob'

CONFIG = '''<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>custom</type><listen>unix:path={directory}/bus</listen><auth>EXTERNAL</auth>
<servicedir>{directory}/services</servicedir>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/></policy></busconfig>
'''

COMPUTED = '''<node><interface name="org.hero.Compute.Manager"><method name="ListImageUses">
<arg type="a(sss)" direction="out"/></method></interface></node>'''
POLKIT = '''<node><interface name="org.freedesktop.PolicyKit1.Authority"><method name="CheckAuthorization">
<arg type="(sa{sv})" direction="in"/><arg type="s" direction="in"/><arg type="a{ss}" direction="in"/>
<arg type="u" direction="in"/><arg type="s" direction="in"/><arg type="(bba{ss})" direction="out"/></method></interface></node>'''


def make_tar(files, **options):
    """A tar of {name: contents}."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w', format=tarfile.PAX_FORMAT, **options) as t:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            t.addfile(info, io.BytesIO(data))
    return out.getvalue()


def wait_for(what, seconds=20):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, 'waited in vain'
        time.sleep(0.01)


class Connection:
    """A connection of its own, with the signals of hero-imaged collected by a thread."""

    def __init__(self, address):
        self.context = GLib.MainContext()
        self.signals = []
        self.property_changes = []
        self.closing = False
        self.context.push_thread_default()
        try:
            flags = Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION
            self.bus = Gio.DBusConnection.new_for_address_sync(address, flags, None, None)
            self.bus.signal_subscribe(None, INTERFACE, None, OBJECT, None, Gio.DBusSignalFlags.NONE, self.on_signal)
            self.bus.signal_subscribe(NAME, 'org.freedesktop.DBus.Properties', None, None, None, Gio.DBusSignalFlags.NONE, self.on_change)
        finally:
            self.context.pop_thread_default()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        self.context.push_thread_default()
        while not self.closing:  # a GLib.MainLoop that is told to quit before its thread runs it, runs for ever
            self.context.iteration(True)
        self.context.pop_thread_default()

    def on_signal(self, bus, sender, path, interface, member, arguments):
        self.signals.append((member, *arguments.unpack()))

    def close(self):
        if not self.bus.is_closed():
            self.bus.close_sync(None)
        self.closing = True
        self.context.wakeup()
        self.thread.join(20)
        assert not self.thread.is_alive()

    def on_change(self, bus, sender, path, interface, member, arguments):
        self.property_changes.append((path, arguments.unpack()[1]))

    def call(self, method, signature=None, *arguments, fds=(), timeout=30000, path=OBJECT, interface=INTERFACE):
        body = GLib.Variant(signature, arguments) if signature else None
        reply, out = self.bus.call_with_unix_fd_list_sync(
            NAME, path, interface, method, body, None, Gio.DBusCallFlags.NONE, timeout,
            Gio.UnixFDList.new_from_array(list(map(os.dup, fds))) if fds else None, None)
        self.fds = out.steal_fds() if out else []
        return reply.unpack()

    def ask_bus(self, method, signature, *arguments):
        """Of the bus itself."""
        reply = self.bus.call_sync('org.freedesktop.DBus', '/org/freedesktop/DBus', 'org.freedesktop.DBus', method,
                                   GLib.Variant(signature, arguments), None, 0, -1, None).unpack()
        return reply[0] if reply else None

    def error(self, method, *arguments, **options):
        try:
            self.call(method, *arguments, **options)
        except GLib.Error as e:
            return Gio.DBusError.get_remote_error(e), e.message.split(': ', 1)[1]
        raise AssertionError(f'{method} did not fail')

    def start_import(self, reference, fd):
        return self.call('Import', '(sha{sv})', reference, 0, {}, fds=[fd])[0]

    def cancel(self, job):
        self.call('Cancel', path=job, interface=JOB)

    def get(self, reference):
        """The properties of an image."""
        path = self.call('Get', '(s)', reference)[0]
        return self.call('GetAll', '(s)', IMAGE, path=path, interface='org.freedesktop.DBus.Properties')[0]

    def objects(self):
        return self.call('GetManagedObjects', interface='org.freedesktop.DBus.ObjectManager')[0]

    def wait_done(self, job):
        """(result, message, digest)"""
        wait_for(lambda: any(s[0] == 'JobRemoved' and s[2] == job for s in self.signals), 60)
        return next(s[4:] for s in self.signals if s[0] == 'JobRemoved' and s[2] == job)

    def changes(self, job):
        """What was said of a job while it ran: [{property: value}]."""
        return [c for path, c in self.property_changes if path == job]

    def import_bytes(self, reference, data):
        """(result, message, digest)"""
        fd = os.memfd_create('tar')
        try:
            os.write(fd, data)
            os.lseek(fd, 0, os.SEEK_SET)
            return self.wait_done(self.start_import(reference, fd))
        finally:
            os.close(fd)

    def imported(self, reference, data):
        result, message, digest = self.import_bytes(reference, data)
        assert result == 'done', message
        return digest

    def open_with_config(self, reference):
        """(digest, contents of the file, config)"""
        digest, handle, config = self.call('Open', '(s)', reference)
        with os.fdopen(self.fds[handle], 'rb') as f:
            return digest, f.read(), config

    def open(self, reference):
        """(digest, contents of the file) of what was made from a root file system"""
        digest, data, config = self.open_with_config(reference)
        assert config == {}
        assert digest == 'sha256:' + hashlib.sha256(data).hexdigest()
        return digest, data

    def list(self):
        return {i[0]: i[1:] for i in self.call('List')[0]}

    def serve(self, name, path, xml, answer):
        """Plays a service: answer(method, arguments) gives the reply."""
        def on_call(bus, sender, object_path, interface, method, arguments, invocation):
            invocation.return_value(answer(method, arguments.unpack()))
        info = Gio.DBusNodeInfo.new_for_xml(xml).interfaces[0]
        done = threading.Event()

        def register():
            self.bus.register_object(path, info, on_call, None, None)
            done.set()
            return False
        self.context.invoke_full(0, register)
        assert done.wait(10)
        assert self.ask_bus('RequestName', '(su)', name, 4) == 1


class Host:
    """The private bus with hero-imaged on it."""

    def __init__(self, directory, activated=False, user=None, **environment):
        self.directory = directory
        self.user = user
        self.state = directory / 'state'
        self.state.mkdir(mode=0o700)
        if user is not None:
            os.chown(self.state, user, user)
        (directory / 'services').mkdir()
        (directory / 'bus.conf').write_text(CONFIG.format(directory=directory))
        self.address = f'unix:path={directory}/bus'
        self.log_path = directory / 'log'
        self.environment = {**os.environ, 'DBUS_SYSTEM_BUS_ADDRESS': self.address, 'HERO_LIBEXEC_DIR': str(LIBEXEC),
                            'STATE_DIRECTORY': str(self.state), 'HERO_LOG_TARGET': 'console', **environment}
        if activated:
            (directory / 'services/images.service').write_text(
                f'[D-BUS Service]\nName={NAME}\nExec={LIBEXEC}/hero-imaged\n')
        self.log_file = open(self.log_path, 'ab')
        self.bus = subprocess.Popen(['dbus-daemon', f'--config-file={directory}/bus.conf', '--nofork', '--print-address'],
                                    stdout=subprocess.PIPE, stderr=self.log_file, env=self.environment)
        self.bus.stdout.readline()
        self.connections = []
        self.daemon = None
        if not activated:
            self.start()

    def start(self):
        as_user = {} if self.user is None else {'user': self.user, 'group': self.user, 'extra_groups': []}
        libexec = pathlib.Path(self.environment['HERO_LIBEXEC_DIR'])
        self.daemon = subprocess.Popen([libexec / 'hero-imaged'], stderr=self.log_file, env=self.environment, **as_user)
        c = self.connect()

        def owned():
            assert self.daemon.poll() is None, self.log()
            try:  # not by whom it is owned at all: the bus may not know yet that the one before is dead
                return c.ask_bus('GetConnectionUnixProcessID', '(s)', NAME) == self.daemon.pid
            except GLib.Error:
                return False
        wait_for(owned)

    def stop(self):
        self.daemon.send_signal(signal.SIGTERM)
        assert self.daemon.wait(20) == 0

    def connect(self):
        self.connections.append(Connection(self.address))
        return self.connections[-1]

    def play_computed(self, uses):
        """uses: what ListImageUses answers, a list of (VM, image, digest), may be changed later"""
        self.connect().serve('org.hero.Compute', '/org/hero/Compute', COMPUTED,
                             lambda m, a: GLib.Variant('(a(sss))', (uses,)))

    def play_polkit(self, answer):
        """answer(action, details) → bool"""
        self.connect().serve('org.freedesktop.PolicyKit1', '/org/freedesktop/PolicyKit1/Authority', POLKIT,
                             lambda m, a: GLib.Variant('((bba{ss}))', ((answer(a[1], a[2]), False, {}),)))

    def log(self):
        return self.log_path.read_text()

    def contents(self):
        return sorted(p.name for p in (self.state / 'content').iterdir())

    def workers(self):
        """Pids of the daemon's children."""
        return pathlib.Path(f'/proc/{self.daemon.pid}/task/{self.daemon.pid}/children').read_text().split()

    def close(self):
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
