# SPDX-License-Identifier: Apache-2.0
"""PID 1's part of the bus, with real cgroups: a scope is a directory in the cgroup2 hierarchy with processes in it, so that
freezing freezes and killing kills."""

import contextlib
import os
import pathlib
import signal

import dbus
from gi.repository import GLib

from bus_client import encode
from fake_service import FakeService

MANAGER = 'org.freedesktop.systemd1.Manager'
PROPERTIES = 'org.freedesktop.DBus.Properties'
SCOPE = 'org.freedesktop.systemd1.Scope'
OBJECT = '/org/freedesktop/systemd1'
NO_UNIT = 'org.freedesktop.systemd1.NoSuchUnit'


def cgroup2_mount():
    for line in pathlib.Path('/proc/self/mounts').read_text().splitlines():
        _, where, kind, *_ = line.split()
        if kind == 'cgroup2':
            return pathlib.Path(where)
    return None


class Unit:
    def __init__(self, directory, name, properties):
        self.name, self.properties = name, properties
        self.directory = directory / name
        self.directory.mkdir()
        self.frozen = False

    def add(self, pid):
        (self.directory / 'cgroup.procs').write_text(str(pid))

    def pids(self):
        try:
            return [int(p) for p in (self.directory / 'cgroup.procs').read_text().split()]
        except OSError:
            return []

    def kill(self, number):
        for p in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(p, number)

    def freeze(self, on):
        (self.directory / 'cgroup.freeze').write_text('1' if on else '0')
        self.frozen = on

    def is_frozen(self):
        return 'frozen 1' in (self.directory / 'cgroup.events').read_text()

    def remove(self):
        self.directory.rmdir()


class FakeSystemd(FakeService):
    NAME = 'org.freedesktop.systemd1'

    def __init__(self, address):
        self.directory = cgroup2_mount() / f'hero-bus-test-{os.getpid()}'
        self.directory.mkdir(exist_ok=True)
        self.units = {}
        self.next_job = 1
        self.stops = {}
        self.start_result = 'done'
        self.results = {} # of scopes, where not "success"
        self.machine_calls = []
        super().__init__(address)

    def close(self):
        for u in list(self.units.values()):
            u.freeze(False)
            u.kill(signal.SIGKILL)
        for u in list(self.units.values()):
            while u.pids():
                os.sched_yield()
            u.remove()
        self.units.clear()
        self.directory.rmdir()
        self.vanish()

    def job(self, unit, result, after=None):
        """Gives out a job that ends with the result, when after() is true."""
        number, path = self.next_job, f'{OBJECT}/job/{self.next_job}'
        self.next_job += 1

        def end():
            if after and not after():
                return True
            self.signal(OBJECT, MANAGER, 'JobRemoved', 'uoss', number, path, unit, result)
            return False

        if after:
            GLib.timeout_add(5, end)
        else:
            GLib.idle_add(end)
        return path

    def do_Subscribe(self, message):
        self.reply(message)

    def do_StartTransientUnit(self, message, name, mode, properties, aux):
        properties = dict(properties)
        if name in self.units:
            if self.units[name].pids():
                self.error(message, 'org.freedesktop.systemd1.UnitExists', f'Unit {name} already exists.')
                return
            self.units.pop(name).remove()
        if self.start_result != 'done':
            self.reply(message, 'o', self.job(name, self.start_result))
            return
        unit = Unit(self.directory, name, properties)
        try:
            for pid in properties['PIDs']:
                unit.add(pid)
        except ProcessLookupError:
            unit.remove()
            self.error(message, 'org.freedesktop.DBus.Error.UnixProcessIdUnknown', 'No such process')
            return
        self.units[name] = unit
        self.results.pop(name, None)
        self.reply(message, 'o', self.job(name, 'done'))

    def forget(self, name):
        u = self.units.get(name)
        if u and not u.pids():
            del self.units[name]
            u.remove()
            self.signal(f'{OBJECT}/unit/{encode(name)}', PROPERTIES, 'PropertiesChanged', 'sa{sv}as', SCOPE,
                        {'TimeoutStopUSec': dbus.UInt64(1), 'Result': self.results.get(name, 'success')}, [])

    def do_StopUnit(self, message, name, mode):
        u = self.units.get(name)
        if not u or not u.pids():
            self.forget(name)
            self.error(message, NO_UNIT, f'Unit {name} not loaded.')
            return
        u.freeze(False)
        u.kill(signal.SIGTERM)

        def empty():
            if u.pids():
                return False
            self.forget(name)
            return True

        self.reply(message, 'o', self.job(name, 'done', empty))

    def do_KillUnit(self, message, name, whom, number):
        if name in self.units:
            self.units[name].kill(number)
            self.reply(message)
        else:
            self.error(message, NO_UNIT, f'Unit {name} not loaded.')

    def do_FreezeUnit(self, message, name):
        if name not in self.units:
            self.error(message, NO_UNIT, f'Unit {name} not loaded.')
            return
        self.units[name].freeze(True)
        self.reply(message)

    def do_ThawUnit(self, message, name):
        if name not in self.units:
            self.error(message, NO_UNIT, f'Unit {name} not loaded.')
            return
        self.units[name].freeze(False)
        self.reply(message)

    def do_SetUnitProperties(self, message, name, runtime, properties):
        self.reply(message)

    def do_ListUnitsByPatterns(self, message, states, patterns):
        units = [(name, '', 'loaded', 'active', 'running', '', f'{OBJECT}/unit/{encode(name)}', 0, '', '/')
                 for name, u in self.units.items() if u.pids()]
        self.reply(message, 'a(ssssssouso)', units)

    def request_stop(self, name, state='running'):
        """systemctl stop: a job, told of, and a signal that does nothing to a VMM."""
        number = self.next_job
        self.next_job += 1
        self.stops[number] = [name, state]
        self.signal(OBJECT, MANAGER, 'JobNew', 'uos', number, f'{OBJECT}/job/{number}', name)
        return number

    def begin_stop(self, number):
        """The job that waited for others has its turn."""
        self.stops[number][1] = 'running'
        self.signal(f'{OBJECT}/job/{number}', 'org.freedesktop.DBus.Properties', 'PropertiesChanged', 'sa{sv}as',
                    'org.freedesktop.systemd1.Job', dbus.Dictionary({'State': dbus.String('running', variant_level=1)}, signature='sv'), dbus.Array([], signature='s'))

    def do_ListJobs(self, message):
        self.reply(message, 'a(usssoo)', [
            (number, name, 'stop', state, f'{OBJECT}/job/{number}', f'{OBJECT}/unit/{encode(name)}')
            for number, (name, state) in self.stops.items()])
