# SPDX-License-Identifier: Apache-2.0
"""A client on the private bus, with the uid one likes, that keeps what came in the order it came.

Everything of a test runs in one thread on one main loop: the fakes answer while the test waits for something, and at no
other time, so nothing happens behind a test's back."""

import os
import time

import dbus
import dbus.bus
import dbus.lowlevel
import dbus.mainloop.glib
from gi.repository import GLib

MAINLOOP = dbus.mainloop.glib.DBusGMainLoop()

COMPUTE = 'org.hero.Compute'
ROOT = '/org/hero/Compute'
MANAGER, VM, USER, JOB = COMPUTE + '.Manager', COMPUTE + '.VM', COMPUTE + '.User', COMPUTE + '.Job'
ERROR = COMPUTE + '.Error.'
PROPERTIES = 'org.freedesktop.DBus.Properties'
DENIED = 'org.freedesktop.DBus.Error.AccessDenied'


class TimedOut(AssertionError):
    pass


def run_until(condition, timeout=20, what=None):
    """Lets the fakes and the clients work until condition() is true."""
    context = GLib.MainContext.default()
    end = time.monotonic() + timeout
    tick = GLib.timeout_add(20, lambda: True)  # conditions also hang on processes and files
    try:
        while not (r := condition()):
            if time.monotonic() > end:
                raise TimedOut(what or 'it did not happen in time')
            context.iteration(True)
        return r
    finally:
        GLib.source_remove(tick)


def run_for(seconds):
    end = time.monotonic() + seconds
    run_until(lambda: time.monotonic() > end, seconds + 5)


def connect(address, uid=0):
    """The bus sees the uid that called connect(2)."""
    os.seteuid(uid)
    try:
        return dbus.bus.BusConnection(address, mainloop=MAINLOOP)
    finally:
        os.seteuid(0)


def plain(v):
    """Of Python's own types."""
    if isinstance(v, dbus.Boolean):
        return bool(v)
    if isinstance(v, dbus.types.UnixFd):
        return v.take()
    if isinstance(v, (dbus.ByteArray, bytes)):
        return bytes(v)
    if isinstance(v, str):
        return str(v)
    if isinstance(v, int):
        return int(v)
    if isinstance(v, float):
        return float(v)
    if isinstance(v, dict):
        return {plain(k): plain(w) for k, w in v.items()}
    if isinstance(v, tuple):
        return tuple(plain(w) for w in v)
    if isinstance(v, list):
        return [plain(w) for w in v]
    return v


class BusError(Exception):
    def __init__(self, name, text):
        super().__init__(f'{name}: {text}')
        self.name, self.text = name, text


class Call:
    """A method call under way."""

    def __init__(self, client, message):
        self.reply = None
        self.client = client
        self.what = f'{message.get_member()}()'
        self.pending = client.connection.send_message_with_reply(message, self.on_reply, 600)

    def on_reply(self, message):
        self.reply = message
        self.client.log.append(('reply', self.what[:-2], None))

    def done(self):
        return self.reply is not None

    def result(self, timeout=20):
        """What was answered: nothing, one value, or a tuple; or raises BusError."""
        run_until(self.done, timeout, f'{self.what} was not answered')
        values = plain(self.reply.get_args_list())
        if self.reply.get_type() == dbus.lowlevel.MESSAGE_TYPE_ERROR:
            raise BusError(self.reply.get_error_name(), values[0] if values else '')
        return None if not values else values[0] if len(values) == 1 else tuple(values)


def spec(**keys):
    """a{sv} as CreateVM() wants it."""
    types = {'CPUs': dbus.UInt32, 'Memory': dbus.UInt64, 'Disk': dbus.UInt64, 'CPUWeight': dbus.UInt64, 'IOWeight': dbus.UInt64,
             'NetworkReceiveMax': dbus.UInt64, 'NetworkTransmitMax': dbus.UInt64,
             'Rows': dbus.UInt32, 'Columns': dbus.UInt32, 'TTY': dbus.Boolean,
             **{k: lambda v: dbus.Array(v, signature='s') for k in ('Entrypoint', 'Arguments')}, 'RunImage': dbus.Boolean, 'AsOwner': dbus.Boolean,
             'IdleTimeoutUSec': dbus.UInt64, 'HibernateDelayUSec': dbus.UInt64,
             'Transient': lambda v: dbus.Boolean(v) if isinstance(v, bool) else dbus.String(v),
             'Command': lambda v: dbus.Array(v, signature='s'), 'Environment': lambda v: dbus.Array(v, signature='s')}
    return dbus.Dictionary({k: types.get(k, dbus.String)(v) for k, v in keys.items()}, signature='sv')


def encode(name):
    """sd_bus_path_encode()."""
    return ''.join(c if (c.isalpha() and c.isascii()) or (c.isdigit() and i > 0) else '_%02x' % ord(c)
                   for i, c in enumerate(name)) or '_'


def vm_path(name):
    return f'{ROOT}/vm/{encode(name)}'


def user_path(name):
    return f'{ROOT}/user/{encode(name)}'


class Client:
    def __init__(self, address, uid=0):
        self.connection = connect(address, uid)
        self.connection.set_exit_on_disconnect(False)
        self.log = []  # (path, member, arguments) of signals, ('reply', member, None)
        self.connection.add_message_filter(self.on_message)
        for sender in (COMPUTE,):
            self.connection.add_match_string(f"type='signal',sender='{sender}'")

    def close(self):
        self.connection.close()

    def on_message(self, connection, message):
        if message.get_type() == dbus.lowlevel.MESSAGE_TYPE_SIGNAL and message.get_interface() != 'org.freedesktop.DBus':
            self.log.append((str(message.get_path()), str(message.get_member()), plain(message.get_args_list())))
        return dbus.lowlevel.HANDLER_RESULT_NOT_YET_HANDLED

    def send(self, path, interface, member, signature='', *arguments, interactive=False, to=COMPUTE):
        m = dbus.lowlevel.MethodCallMessage(to, path, interface, member)
        if signature:
            m.append(*arguments, signature=signature)
        if interactive:
            m.set_allow_interactive_authorization(True)
        return Call(self, m)

    def call(self, *arguments, timeout=20, **options):
        return self.send(*arguments, **options).result(timeout)

    def manager(self, member, signature='', *arguments, **options):
        return self.call(ROOT, MANAGER, member, signature, *arguments, **options)

    def vm(self, name, member, signature='', *arguments, **options):
        return self.call(vm_path(name), VM, member, signature, *arguments, **options)

    def create(self, name, **keys):
        """The result of the job."""
        vm, job = self.manager('CreateVM', 'sa{sv}', name, spec(**keys))
        return self.job(job)

    def provision(self, user, **keys):
        vm, job = self.manager('ProvisionUser', 'sa{sv}', user, spec(**keys))
        return self.job(job)

    def do(self, name, member, signature='', *arguments, timeout=20):
        """A method of a VM that makes a job, to its end: (result, message)."""
        return self.job(self.vm(name, member, signature, *arguments), timeout)

    def job(self, path, timeout=20):
        ended = lambda: next((a for _, m, a in self.log if m == 'JobRemoved' and a[1] == path), None)
        a = run_until(ended, timeout, f'{path} did not end')
        return a[3], a[4]

    def get(self, path, interface, name):
        return self.call(path, PROPERTIES, 'Get', 'ss', interface, name)

    def vm_get(self, name, key):
        return self.get(vm_path(name), VM, key)

    def state(self, name):
        return self.vm_get(name, 'State')

    def manager_get(self, key):
        return self.get(ROOT, MANAGER, key)

    def names(self):
        return [v[0] for v in self.manager('ListVMs')]

    def reserved(self):
        return tuple(self.manager_get(k) for k in ('CPUsReserved', 'MemoryReserved', 'DiskReserved'))

    def transitions(self, name):
        return [(t[2], t[3]) for t in self.vm(name, 'GetTransitions')]

    def signals(self, *members):
        return [(m, a) for p, m, a in self.log if p != 'reply' and (not members or m in members)]
