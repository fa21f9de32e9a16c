# SPDX-License-Identifier: Apache-2.0
"""Runs on the host under test: one connection to the bus for many questions, as JSON lines on standard input and output.

    {"id": N, "op": "pull", "reference": …, "options": {…}}   answered when the job is done
    {"id": N, "op": "begin", "reference": …, "options": {…}}  answered with the job, when there is one
    {"id": N, "op": "wait", "job": …}                         answered when it is done
    {"id": N, "op": "call", "path": …, "interface": …, "method": …, "signature": …, "arguments": […]}
    {"id": N, "op": "get", "path": …, "interface": …}         all properties
    {"id": N, "op": "used"}                                   bytes of the disk
    {"id": N, "op": "remains"}                                what pulls could leave behind

Not a program of the tests' own bus library: python3-gi is what tests have."""

import json
import os
import pwd
import subprocess
import time

from gi.repository import Gio, GLib

NAME, PATH, IMAGES = 'org.hero.Compute.Images', '/org/hero/Compute/Images', 'org.hero.Compute.Images'
JOB = 'org.hero.Compute.ImageJob'
STATE = '/var/lib/hero-compute/images'
USERS = ('hero-imaged', 'hero-image-fetch')
DAEMONS = ('hero-imaged',)


def variant(value):
    if isinstance(value, bool):
        return GLib.Variant('b', value)
    return GLib.Variant('s', value) if isinstance(value, str) else GLib.Variant('as', value)


def processes():
    """Of the image services' users, without the daemon itself."""
    uids = {}
    for user in USERS:
        try:
            uids[pwd.getpwnam(user).pw_uid] = user
        except KeyError:
            pass
    for pid in filter(str.isdigit, os.listdir('/proc')):
        try:
            uid = os.stat(f'/proc/{pid}').st_uid
            with open(f'/proc/{pid}/comm', encoding='utf-8') as f:
                name = f.read().strip()
        except OSError:
            continue
        if uid in uids and name not in DAEMONS:
            yield f'process {name} of {uids[uid]}'


def open_files():
    """Of hero-imaged: numbers change, what they are does not; what was removed while open still takes space."""
    pid = subprocess.run(['systemctl', 'show', '--value', '-p', 'MainPID', 'hero-imaged'], stdout=subprocess.PIPE, text=True, check=False).stdout.strip()
    if pid in ('', '0'):
        return
    for fd in os.listdir(f'/proc/{pid}/fd'):
        try:
            target = os.readlink(f'/proc/{pid}/fd/{fd}')
        except OSError:
            continue
        if target.startswith('/') and not target.startswith(('/dev', '/proc', '/sys', '/run', '/etc/hero-compute', '/memfd')):
            yield f'open in hero-imaged: {target}'


def files():
    """In the store, and whatever else belongs to the two users where services may write."""
    uids = set()
    for user in USERS:
        try:
            uids.add(pwd.getpwnam(user).pw_uid)
        except KeyError:
            pass
    for top in (STATE, '/run', '/tmp', '/var/tmp', '/var/cache', '/var/lib'):
        for directory, inside, names in os.walk(top):
            if top != STATE:                       # the rest of the machine is large, and somebody else's
                inside[:] = [d for d in inside if os.path.join(directory, d) != STATE and owner(os.path.join(directory, d)) in uids]
            for n in names:
                path = os.path.join(directory, n)
                if owner(path) in uids:
                    yield f'file {path}'
            if directory != top and owner(directory) in uids:
                yield f'directory {directory}'


def owner(path):
    try:
        return os.lstat(path).st_uid
    except OSError:
        return None


def mounts():
    with open('/proc/1/mountinfo', encoding='utf-8') as f:
        for line in f:
            where = line.split()[4]
            if not where.startswith('/run/credentials'):
                yield f'mount {where}'


def failed_units():
    out = subprocess.run(['systemctl', '--plain', '--no-legend', '--all', 'list-units', 'hero-image-fetch@*', 'hero-image*'], stdout=subprocess.PIPE, text=True, check=False).stdout
    for line in out.splitlines():
        words = line.split()
        if words and ('@' in words[0] or words[2] == 'failed'):
            yield f'unit {words[0]} {words[2]}'


def remains():
    return sorted([*processes(), *open_files(), *files(), *mounts(), *failed_units()])


class Client:
    def __init__(self):
        self.bus = Gio.bus_get_sync(Gio.BusType.SYSTEM)
        self.ended, self.since, self.waiting, self.changes, self.unread = {}, {}, {}, {}, b''
        self.bus.signal_subscribe(NAME, IMAGES, 'JobRemoved', None, None, 0, self.on_removed)
        self.bus.signal_subscribe(NAME, 'org.freedesktop.DBus.Properties', 'PropertiesChanged', None, None, 0, self.on_changed)
        channel = GLib.IOChannel.unix_new(0)
        channel.set_encoding(None)
        GLib.io_add_watch(channel, GLib.PRIORITY_DEFAULT, GLib.IO_IN | GLib.IO_HUP, self.on_input)
        self.loop = GLib.MainLoop()

    @staticmethod
    def say(n, **answer):
        print(json.dumps({'id': n, **answer}), flush=True)

    def on_input(self, *_):
        # Not by sys.stdin: what that has read ahead nobody would wake us for.
        data = os.read(0, 65536)
        if not data:
            self.loop.quit()
            return False
        *lines, self.unread = (self.unread + data).split(b'\n')
        for line in lines:
            c = json.loads(line)
            getattr(self, 'op_' + c['op'])(c['id'], c)
        return True

    def call(self, path, interface, method, arguments, done, timeout=60000):
        def ready(bus, result):
            try:
                done(bus.call_finish(result).unpack(), None)
            except GLib.Error as e:
                done(None, {'error': Gio.dbus_error_get_remote_error(e) or str(e.code), 'message': e.message.partition(': ')[2]})
        self.bus.call(NAME, path, interface, method, arguments, None, 0, timeout, None, ready)

    def on_removed(self, bus, sender, path, interface, signal, parameters):
        number, job, reference, result, message, digest = parameters.unpack()
        self.ended[job] = {'reference': reference, 'result': result, 'message': message, 'digest': digest, 'ended': time.monotonic(),
                           'changes': self.changes.pop(job, [])}
        for waiting in self.waiting.pop(job, []):
            waiting()

    def on_changed(self, bus, sender, path, interface, signal, parameters):
        what, changed, _ = parameters.unpack()
        if what == JOB:
            self.changes.setdefault(path, []).append(changed)

    def when_ended(self, job, do):
        # The numbers of jobs begin again with each hero-imaged: an older one may have had this.
        if job in self.ended and self.ended[job]['ended'] >= self.since.get(job, 0):
            do()
        else:
            self.waiting.setdefault(job, []).append(do)

    def begin(self, c, done):
        options = GLib.Variant('a{sv}', {k: variant(v) for k, v in c.get('options', {}).items()})
        arguments = GLib.Variant.new_tuple(GLib.Variant('s', c['reference']), options)
        began = time.monotonic()

        def have(result, error):
            if result:
                self.since[result[0]] = began
            done(result, error)
        self.call(PATH, IMAGES, 'Pull', arguments, have)

    def op_begin(self, n, c):
        self.begin(c, lambda result, error: self.say(n, **(error or {'job': result[0]})))

    def op_pull(self, n, c):
        began = time.monotonic()

        def done(result, error):
            if error:
                self.say(n, result=error['error'], message=error['message'], digest='', seconds=time.monotonic() - began, job='', changes=[])
                return
            job = result[0]

            def say():
                e = self.ended[job]
                self.say(n, job=job, seconds=e['ended'] - began, **e)
            self.when_ended(job, say)
        self.begin(c, done)

    def op_wait(self, n, c):
        self.when_ended(c['job'], lambda: self.say(n, **self.ended[c['job']]))

    def op_call(self, n, c):
        arguments = GLib.Variant(c['signature'], tuple(c['arguments'])) if c.get('signature') else None
        self.call(c.get('path', PATH), c.get('interface', IMAGES), c['method'], arguments, lambda result, error: self.say(n, **(error or {'value': result})))

    def op_get(self, n, c):
        self.call(c['path'], 'org.freedesktop.DBus.Properties', 'GetAll', GLib.Variant('(s)', (c['interface'],)),
                  lambda result, error: self.say(n, **(error or {'value': result[0]})))

    def op_used(self, n, c):
        """Bytes of the file system that the store is on."""
        s = os.statvfs(STATE)
        self.say(n, value=(s.f_blocks - s.f_bfree) * s.f_frsize)

    def op_remains(self, n, c):
        self.say(n, value=remains())


Client().loop.run()
