#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A scripted stand-in for hero-computed and hero-imaged on a private bus, for heroctl's own tests.

What a VM does hangs on its name:
    slow-…     a job takes three seconds, with progress
    stuck-…    a job never ends by itself; Cancel ends it
    firm-…     like slow-…, but Cancel is refused
    broken-…   a job ends with VMMFailed
    crash-…    the service leaves the bus while the job runs, and comes back, the VM being stopped, or gone when it was new
    adopt-…    the same, but what the job was at is finished a while later, without a job
    leave-…    the service leaves the bus while the job runs, for good
Commands given to Exec run here, as processes of this machine. Interface org.hero.Compute.Fake on /fake lets a
test emit transitions and look at what was called.
"""

import fcntl
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time

import dbus
import dbus.exceptions
import dbus.mainloop.glib
import dbus.service
from gi.repository import GLib

NAME = 'org.hero.Compute'
ROOT = '/org/hero/Compute'
MANAGER, VM, JOB = NAME + '.Manager', NAME + '.VM', NAME + '.Job'
IMAGES, IMAGE_JOB = NAME + '.Images', NAME + '.ImageJob'
PROPERTIES = 'org.freedesktop.DBus.Properties'
T0 = 1_795_000_000_000_000
MIB = 1 << 20
UP = ('starting', 'running', 'suspending', 'suspended', 'hibernating', 'hibernated', 'resuming', 'stopping')
CONSOLE = b'first line\r\n\x1b[2J\x1b]0;title\x07second \x1b[31mred\x1b[0m line\r\nthird\xff line\r\n'


class Error(dbus.exceptions.DBusException):
    def __init__(self, name, message):
        super().__init__(message)
        self._dbus_error_name = name if '.' in name else f'{NAME}.Error.{name}'


def encode(name):
    """sd_bus_path_encode()."""
    out = ''.join(c if (c.isalpha() and c.isascii()) or (c.isdigit() and i > 0) else '_%02x' % ord(c)
                  for i, c in enumerate(name))
    return out or '_'


class Job(dbus.service.Object):
    def __init__(self, manager, vm, kind, state):
        self.manager, self.vm, self.kind, self.state = manager, vm, kind, state
        self.id = manager.next_job
        manager.next_job += 1
        self.path = f'{ROOT}/job/{self.id}'
        self.started, self.step = time.monotonic(), 'disk'
        super().__init__(manager.bus, self.path)
        manager.jobs[self.id] = self
        manager.JobNew(self.id, self.path, vm.name)
        first = vm.name.split('-')[0]
        if first.startswith('late'):  # only its start is stuck or fails
            first = first[4:] if kind == 'start' else ''
        if first == 'pulling':
            self.step = 'pull'
            GLib.timeout_add(3000, self.end, 'done', '')
        elif first in ('slow', 'firm'):
            GLib.timeout_add(3000, self.end, 'done', '')
        elif first == 'absent' and kind == 'start':
            GLib.idle_add(self.end, NAME + '.Error.BootFailed', 'The guest could not boot: no such command')
        elif first == 'broken':
            GLib.idle_add(self.end, NAME + '.Error.VMMFailed', 'the hypervisor ended with status 1')
        elif first in ('crash', 'adopt', 'leave'):
            vm.state = 'starting'
            GLib.timeout_add(100, manager.crash, self)
        elif first != 'stuck':
            GLib.idle_add(self.end, 'done', '')

    def end(self, result, message):
        if self.id not in self.manager.jobs:
            return False
        del self.manager.jobs[self.id]
        self.remove_from_connection()
        if result == 'done':
            self.manager.finish(self)
        elif self.kind == 'create':  # undone
            self.manager.forget(self.vm)
        self.manager.JobRemoved(self.id, self.path, self.vm.name, result, message)
        return False

    @dbus.service.method(JOB)
    def Cancel(self):
        if self.vm.name.startswith('firm'):
            raise Error('NotCancelable', 'this job cannot be canceled')
        self.manager.calls.append(f'Cancel {self.vm.name}')
        GLib.timeout_add(50, self.end, 'canceled', '')

    @dbus.service.method(PROPERTIES, in_signature='ss', out_signature='v')
    def Get(self, interface, name):
        return self.GetAll(interface)[name]

    @dbus.service.method(PROPERTIES, in_signature='s', out_signature='a{sv}')
    def GetAll(self, interface):
        done = int((time.monotonic() - self.started) * 10 * MIB)
        return {'Id': dbus.UInt32(self.id), 'Type': self.kind, 'Step': self.step,
                'VM': dbus.Struct((self.vm.name, dbus.ObjectPath(self.vm.path)), signature='so'),
                'Progress': dbus.Struct((dbus.UInt64(done), dbus.UInt64(30 * MIB)), signature='tt')}


class ExecSession(threading.Thread):
    """One command: its streams are given to the process itself, a thread keeps the control socket."""

    def __init__(self, command, options):
        super().__init__(daemon=True)
        self.command, self.options = [str(c) for c in command], options
        self.stdio, self.theirs_stdio = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.stderr, self.theirs_stderr = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.control, self.theirs_control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def fds(self):
        return tuple(dbus.types.UnixFd(s) for s in (self.theirs_stdio, self.theirs_stderr, self.theirs_control))

    def close_theirs(self):
        for s in (self.theirs_stdio, self.theirs_stderr, self.theirs_control):
            s.close()
        return False

    def spawn(self):
        environment = {'PATH': '/usr/bin:/bin'}
        environment.update(e.split('=', 1) for e in self.options.get('Environment', []))
        environment['FAKE_USER'] = str(self.options.get('User', ''))
        cwd = self.options.get('WorkingDirectory', '/')
        if self.options.get('TTY'):
            master, slave = pty.openpty()
            self.resize(slave, self.options.get('Rows', 24), self.options.get('Columns', 80))
            process = subprocess.Popen(
                self.command, stdin=slave, stdout=slave, stderr=slave, env=environment, cwd=cwd,
                preexec_fn=lambda: (os.setsid(), fcntl.ioctl(0, termios.TIOCSCTTY, 0)))
            os.close(slave)
            self.master = master
            threading.Thread(target=self.copy, args=(self.stdio.fileno(), master), daemon=True).start()
            self.output = threading.Thread(target=self.copy, args=(master, self.stdio.fileno()), daemon=True)
            self.output.start()
        else:
            process = subprocess.Popen(self.command, stdin=self.stdio, stdout=self.stdio, stderr=self.stderr,
                                       env=environment, cwd=cwd, start_new_session=True)
            self.output = None
        return process

    @staticmethod
    def resize(fd, rows, columns):
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack('HHHH', int(rows), int(columns), 0, 0))

    @staticmethod
    def copy(source, target):
        try:
            while data := os.read(source, 65536):
                while data:
                    data = data[os.write(target, data):]
        except OSError:
            pass

    def listen(self, process):
        while message := self.control.recv(4096):
            words = message.decode().split()
            if words[0] == 'resize' and self.options.get('TTY'):
                self.resize(self.master, words[1], words[2])
                os.killpg(process.pid, signal.SIGWINCH)
            elif words[0] == 'signal':
                os.killpg(process.pid, int(words[1]))
        try:
            os.killpg(process.pid, signal.SIGHUP)  # the client is gone
        except ProcessLookupError:
            pass

    def run(self):
        if self.command[0] == 'vanish':
            self.finish('lost the VM stopped')
            return
        if self.command[0] == 'early':  # a result that overtakes the output
            self.control.send(b'exit 0')
            time.sleep(0.3)
            self.stdio.sendall(b'late' * 100000)
            self.finish('exit 0')
            return
        try:
            process = self.spawn()
        except OSError as e:
            self.finish(f'failed {e.errno} {os.strerror(e.errno)}')
            return
        threading.Thread(target=self.listen, args=(process,), daemon=True).start()
        status = process.wait()
        if self.output:
            self.output.join(5)
        self.finish(f'exit {status}' if status >= 0 else f'signal {-status}')

    def finish(self, message):
        try:
            self.control.send(message.encode())
        except OSError:
            pass
        for s in (self.stdio, self.stderr):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            s.close()


class FakeVM(dbus.service.Object):
    def __init__(self, manager, name, spec, state):
        self.manager, self.name, self.spec, self.state = manager, name, spec, state
        self.path = f'{ROOT}/vm/{encode(name)}'
        self.id = '%012x' % (abs(hash(name)) & 0xffffffffffff)
        self.transitions = []
        self.waiters = []
        super().__init__(manager.bus, self.path)
        if manager.images:  # else nobody listens yet
            manager.InterfacesAdded(self.path, {VM: self.GetAll(VM)})

    def changed(self, *names):
        """Announces what is new."""
        now = self.GetAll(VM)
        self.PropertiesChanged(VM, {n: now[n] for n in names}, dbus.Array([], signature='s'))

    @dbus.service.signal(PROPERTIES, signature='sa{sv}as')
    def PropertiesChanged(self, interface, changed, invalidated):
        pass

    def move(self, state, reason):
        before, self.state = self.state, state
        if self.manager.images:
            self.changed('State', 'StateReason', 'AgentReady', 'PID', 'StartedTimestamp')
        event = self.manager.record(self.name, before, state, reason)
        self.transitions.append((event[0], event[1], before, state, reason))
        for waiter in self.waiters[:]:
            waiter()

    def job(self, kind, state):
        return Job(self.manager, self, kind, state).path

    @dbus.service.method(VM, out_signature='o')
    def Start(self):
        if self.state == 'running':
            raise Error('WrongState', f"VM '{self.name}' is running already")
        self.manager.calls.append(f'Start {self.name}')
        return self.job('start', 'running')

    @dbus.service.method(VM, in_signature='t', out_signature='o')
    def Stop(self, flags):
        if self.state in ('configured', 'start-failed'):
            raise Error('WrongState', f"VM '{self.name}' does not run")
        self.manager.calls.append(f'Stop {self.name} {flags}')
        return self.job('stop', 'stopped')

    @dbus.service.method(VM, out_signature='o')
    def Restart(self):
        return self.job('restart', 'running')

    @dbus.service.method(VM, out_signature='o')
    def Suspend(self):
        return self.job('suspend', 'suspended')

    @dbus.service.method(VM, out_signature='o')
    def Hibernate(self):
        return self.job('hibernate', 'hibernated')

    @dbus.service.method(VM)
    def Touch(self):
        self.manager.calls.append(f'Touch {self.name}')

    @dbus.service.method(VM, in_signature='t')
    def Hold(self, usec):
        self.manager.calls.append(f'Hold {self.name} {usec}')

    @dbus.service.method(VM, in_signature='a{sv}')
    def SetIdlePolicy(self, policy):
        for key, value in policy.items():
            if key not in ('IdleTimeoutUSec', 'HibernateDelayUSec') or not isinstance(value, dbus.UInt64):
                raise Error('InvalidArgument', f'the policy has an unknown or ill-typed key {key}')
        self.manager.calls.append(f'SetIdlePolicy {self.name} ' + ' '.join(f'{k}={policy[k]}' for k in sorted(policy)))
        self.spec.update(policy)

    @dbus.service.method(VM, out_signature='o')
    def Resume(self):
        return self.job('resume', 'running')

    @dbus.service.method(VM, in_signature='t', out_signature='o')
    def Delete(self, flags):
        self.manager.calls.append(f'Delete {self.name} {flags}')
        return self.job('delete', None)

    @dbus.service.method(VM, in_signature='a{sv}')
    def SetResources(self, resources):
        known = {'AsOwner': dbus.Boolean, 'CPUs': dbus.UInt32, 'Memory': dbus.UInt64, 'Disk': dbus.UInt64, 'CPUWeight': dbus.UInt64,
                 'IOWeight': dbus.UInt64, 'NetworkReceiveMax': dbus.UInt64, 'NetworkTransmitMax': dbus.UInt64}
        for key, value in resources.items():
            if str(key) not in known or not isinstance(value, known[str(key)]):
                raise Error('InvalidArgument', f'{key} is not known or has the wrong type')
        self.spec.update(resources)
        GLib.timeout_add(5, lambda: self.changed('CPUs', 'Memory', 'Disk'))  # after the answer
        self.manager.calls.append('SetResources ' + ' '.join(f'{k}={resources[k]}' for k in sorted(resources)))

    @dbus.service.method(VM, in_signature='t', out_signature='h')
    def OpenConsole(self, flags):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        if flags & 1:
            ours.sendall(b'history\r\n')
        threading.Thread(target=self.console, args=(ours,), daemon=True).start()
        fd = dbus.types.UnixFd(theirs)
        theirs.close()
        return fd

    def console(self, s):
        """Echoes lines; 'quit' is the VM's end."""
        with s:
            while data := s.recv(4096):
                self.manager.calls.append(f'console {bytes(data)!r}')
                s.sendall(b'<' + data + b'>')
                if b'quit' in data:
                    GLib.idle_add(lambda: (self.move('stopped', 'the end'), False)[1])
                    return

    @dbus.service.method(VM, in_signature='asa{sv}', out_signature='hhh')
    def Exec(self, command, options):
        if self.state in ('suspended', 'hibernated'):
            self.move('running', 'a command is to be executed')
        if self.state != 'running':
            raise Error('NoAgent', f"VM '{self.name}' has no agent")
        self.manager.calls.append(f'Exec {self.name} ' + repr([str(c) for c in command]) + f" {options.get('User', '')}")
        session = ExecSession(command, {**options, 'Environment': list(self.spec.get('Environment', [])) +
                                        list(options.get('Environment', [])),
                                        'WorkingDirectory': options.get('WorkingDirectory',
                                                                        self.spec.get('WorkingDirectory', '/'))})
        fds = session.fds()
        session.start()
        GLib.timeout_add(200, session.close_theirs)
        return fds

    @dbus.service.method(VM, in_signature='tt', out_signature='h')
    def Logs(self, amount, flags):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        text = CONSOLE if self.name == 'web' else b''.join(b'line %d\n' % i for i in range(1, 31))
        text = text[-int(amount):] if amount else text

        def write():
            try:
                with ours:
                    ours.sendall(text)
                    n = 0
                    while flags & 1 and n < 1000:
                        ours.sendall(b'more %d\n' % n)
                        n += 1
                        time.sleep(0.05)
            except OSError:
                self.manager.calls.append('log reader left')

        threading.Thread(target=write, daemon=True).start()
        fd = dbus.types.UnixFd(theirs)
        theirs.close()
        return fd

    @dbus.service.method(VM, in_signature='ast', out_signature='ssb', async_callbacks=('reply', 'error'))
    def Wait(self, states, timeout, reply, error):
        answered = []

        def answer(timed_out):
            if not answered:
                answered.append(True)
                reply(self.state, 'because', timed_out)
            return False

        def look():
            if self.name not in self.manager.vms and not answered:
                answered.append(True)
                error(Error('NoSuchVM', f"VM '{self.name}' was deleted"))
            if self.state in states or self.state in ('failed', 'start-failed') or \
                    ('agent' in states and self.state == 'running'):
                answer(False)

        self.waiters.append(look)
        if timeout != 2**64 - 1:
            GLib.timeout_add(int(timeout // 1000), answer, True)
        look()

    def network(self):
        if not self.spec.get('Network', True):
            return {'TAPDevice': '', 'MyceliumIP': '', 'IPAddress': ''}
        digits = self.id[:8]
        return {'TAPDevice': f'tap-{digits}' if self.state in UP else '', 'MyceliumIP': f'fd12::{digits[:4]}:{digits[4:]}',
                'IPAddress': '10.104.0.2/32'}

    def sleep(self):
        """By the name: busy-… has traffic, held-… is held, the others have been idle for two minutes."""
        t, now, first = dbus.UInt64, int(time.time() * 1e6), self.name.split('-')[0]
        busy, idle = first == 'busy', t(self.spec.get('IdleTimeoutUSec', 300 * 10**6))
        running, never = self.state == 'running', t(2**64 - 1)
        since = now - 123 * 10**6
        ends = now + 3300 * 10**6 if self.state == 'suspended' else since + idle if running and not busy else never
        return {
            'IdleTimeoutUSec': idle, 'HibernateDelayUSec': t(self.spec.get('HibernateDelayUSec', 3600 * 10**6)),
            'AwakeReason': '12 KB of network traffic in the last 10s' if busy and running else '',
            'IdleSinceTimestamp': t(0 if busy or not running else since), 'SleepTimestamp': t(min(ends, 2**64 - 1)),
            'KeptMemory': t(64 * 2**20 if self.state == 'hibernated' else 0),
            'HeldUntilTimestamp': t(now + 600 * 10**6 if first == 'held' else 0),
            'NetworkReceiveMax': t(self.spec.get('NetworkReceiveMax', never)),
            'NetworkTransmitMax': t(self.spec.get('NetworkTransmitMax', never)),
        }

    def exit(self):
        """How the last run ended, by the first word of the name."""
        code, reason = {'absent': (127, 'not-executed'), 'ended': (3, 'exited'), 'hit': (137, 'signaled'),
                        'oom': (-1, 'oom'), 'down': (-1, 'shutdown')}.get(self.name.split('-')[0], (-1, ''))
        return {'ExitCode': dbus.Int32(code), 'ExitReason': reason}

    @dbus.service.method(PROPERTIES, in_signature='ss', out_signature='v')
    def Get(self, interface, name):
        return self.GetAll(interface)[name]

    @dbus.service.method(VM, out_signature='a(ttsss)')
    def GetTransitions(self):
        return dbus.Array(self.transitions, signature='(ttsss)')

    @dbus.service.method(PROPERTIES, in_signature='s', out_signature='a{sv}')
    def GetAll(self, interface):
        u, t = dbus.UInt32, dbus.UInt64
        running = self.state == 'running'
        return {
            'Id': self.id, 'Name': self.name, 'User': str(self.spec.get('User', '')),
            'Image': str(self.spec.get('Image', 'busybox')),
            'ImageDigest': self.manager.images.find(str(self.spec.get('Image', ''))) or 'sha256:' + '0' * 64, 'Hypervisor': 'qemu',
            'Accelerator': 'tcg' if running else '', 'CPUs': u(self.spec.get('CPUs', 1)),
            'Memory': t(self.spec.get('Memory', 256 * MIB)), 'Disk': t(self.spec.get('Disk', 1024 * MIB)),
            'State': self.state, 'StateReason': 'started by \x1b[2Jroot', 'AgentReady': dbus.Boolean(running),
            'Unit': f'hero-vm-{self.name}.scope', 'PID': u(4711 if running else 0), 'UID': u(61000 if running else 0),
            'CreatedTimestamp': t(T0), 'StartedTimestamp': t(T0 + 1000000 if running else 0),
            'StoppedTimestamp': t(0), 'LastActivityTimestamp': t(0),
            'StartPhases': dbus.Struct([t(v if running else 0) for v in (5000, 9000, 60000, 1300000, 1500000)],
                                       signature='ttttt'),
            'StateDurations': dbus.Dictionary({'running': t(5)}, signature='st'),
            'Transient': dbus.Boolean(self.spec.get('Transient', False)), **self.exit(), **self.network(), **self.sleep(),
            'Job': dbus.ObjectPath('/'), 'SomethingNewer': dbus.Array([], signature='(ss)'),
        }


class Manager(dbus.service.Object):
    def __init__(self, connection):
        self.bus = connection
        self.vms, self.jobs, self.events, self.calls, self.images = {}, {}, [], [], None
        self.next_job, self.sequence = 1, 0
        super().__init__(connection, ROOT)
        for name, state in (('web', 'running'), ('db', 'stopped'), ('dbus-1', 'suspended'), ('sick', 'failed')):
            self.add(name, {}, state)
        for name in ('slow-1', 'stuck-1', 'firm-1', 'broken-1', 'crash-1'):
            self.add(name, {}, 'stopped')
        self.vms['alice'] = FakeVM(self, 'alice', {'User': 'alice'}, 'running')

    def add(self, name, spec, state):
        self.vms[name] = FakeVM(self, name, spec, 'pending')
        self.vms[name].move(state, 'made')
        return self.vms[name]

    def record(self, vm, before, after, reason):
        self.sequence += 1
        event = (self.sequence, T0 + self.sequence, vm, before, after, reason)
        self.events.append(event)
        self.Transition(*event)
        return event

    def finish(self, job):
        if job.state:
            job.vm.move(job.state, job.kind)
        else:
            self.forget(job.vm)

    def forget(self, vm):
        vm.remove_from_connection()
        del self.vms[vm.name]
        self.InterfacesRemoved(vm.path, dbus.Array([VM], signature='s'))
        self.VMRemoved(vm.name, vm.path)
        for waiter in vm.waiters[:]:
            waiter()

    def crash(self, cause=None):
        """Leaves the bus, jobs and all, and comes back."""
        self.calls.append('crash')
        first = cause.vm.name.split('-')[0] if cause else ''
        # The numbers of jobs begin again.
        self.next_job = 1
        if first == 'crash' and cause.kind in ('create', 'provision'):
            cause.vm.remove_from_connection()
            del self.vms[cause.vm.name]
        elif first == 'crash':
            cause.vm.move('stopped', 'interrupted')
        elif first == 'adopt':
            GLib.timeout_add(900, lambda: self.finish(cause) and False)
        for job in list(self.jobs.values()):
            del self.jobs[job.id]
            job.remove_from_connection()
        self.bus.release_name(NAME)
        GLib.timeout_add(700, lambda: (self.record('web', 'running', 'stopping', 'while away'), False)[1])
        if first != 'leave':
            GLib.timeout_add(400 if cause else 1000, lambda: (self.bus.request_name(NAME), False)[1])
        return False

    def check_spec(self, spec):
        kinds = {'Image': dbus.String, 'CPUs': dbus.UInt32, 'Memory': dbus.UInt64, 'Disk': dbus.UInt64,
                 'Hypervisor': dbus.String, 'User': dbus.String, 'Name': dbus.String, 'Command': dbus.Array,
                 'Environment': dbus.Array, 'WorkingDirectory': dbus.String, 'KernelArguments': dbus.String,
                 'MockScript': dbus.String, 'Entrypoint': dbus.Array, 'Arguments': dbus.Array, 'RunAs': dbus.String,
                 'RunImage': dbus.Boolean, 'Transient': dbus.Boolean, 'Network': dbus.Boolean,
                 'IdleTimeoutUSec': dbus.UInt64, 'HibernateDelayUSec': dbus.UInt64, 'NetworkReceiveMax': dbus.UInt64,
                 'NetworkTransmitMax': dbus.UInt64}
        for key, value in spec.items():
            if key not in kinds or not isinstance(value, kinds[key]):
                raise Error('InvalidArgument', f'the spec has an unknown or ill-typed key {key}')
        image = str(spec.get('Image', 'busybox'))
        if self.images.find(image) is None and not image.startswith(('pulled', 'missing')):
            raise Error('NoSuchImage', f"there is no image '{spec['Image']}'")
        self.calls.append('spec ' + repr({str(k): [str(i) for i in v] if isinstance(v, list) else str(v)
                                          for k, v in sorted(spec.items())}))

    @dbus.service.method(MANAGER, in_signature='sa{sv}', out_signature='oo')
    def CreateVM(self, name, spec):
        self.check_spec(spec)
        if not re.fullmatch('[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?', name):
            raise Error('InvalidArgument', f"'{name}' is not a name for a VM")
        if name in self.vms:
            raise Error('VMExists', f"there is a VM '{name}' already")
        vm = self.vms[str(name)] = FakeVM(self, str(name), spec, 'pending')
        return vm.path, vm.job('create', 'configured')

    @dbus.service.method(MANAGER, in_signature='sa{sv}', out_signature='oo')
    def ProvisionUser(self, user, spec):
        self.check_spec(spec)
        if user == 'denied':
            raise Error('org.freedesktop.DBus.Error.AccessDenied', 'Access denied')
        name = str(spec.get('Name', user))
        if name in self.vms:
            raise Error('UserHasVM', f"user '{user}' has the VM '{name}', of another spec")
        spec['User'] = user
        vm = self.vms[name] = FakeVM(self, name, spec, 'pending')
        return vm.path, vm.job('provision', 'running')

    def vm_of(self, user):
        for vm in self.vms.values():
            if vm.spec.get('User') == user:
                return vm
        raise Error('NoSuchUser', f"user '{user}' has no VM")

    @dbus.service.method(MANAGER, in_signature='s', out_signature='o')
    def DeprovisionUser(self, user):
        return self.vm_of(user).job('delete', None)

    @dbus.service.method(MANAGER, in_signature='s', out_signature='o')
    def StartUser(self, user):
        return self.vm_of(user).job('start', 'running')

    @dbus.service.method(MANAGER, in_signature='s', out_signature='o')
    def StopUser(self, user):
        return self.vm_of(user).job('suspend', 'suspended')

    @dbus.service.method(MANAGER, in_signature='s', out_signature='o')
    def GetVM(self, text):
        if text in self.vms:
            return self.vms[text].path
        found = [vm for vm in self.vms.values() if vm.name.startswith(text) or vm.id.startswith(text)]
        if len(found) > 1:
            raise Error('AmbiguousName', f"'{text}' is the beginning of {len(found)} VMs")
        if not found:
            raise Error('NoSuchVM', f"there is no VM '{text}'")
        return found[0].path

    @dbus.service.method(MANAGER, out_signature='a(ssssuto)')
    def ListVMs(self):
        return dbus.Array([(vm.name, str(vm.spec.get('User', '')), vm.state, 'busybox', 1, 256 * MIB,
                            dbus.ObjectPath(vm.path)) for _, vm in sorted(self.vms.items())], signature='(ssssuto)')

    @dbus.service.method(MANAGER, in_signature='s', out_signature='sso')
    def GetUserByAddress(self, address):
        for vm in self.vms.values():
            if address in (vm.network()['MyceliumIP'], '10.104.0.9') and vm.spec.get('User'):
                return str(vm.spec['User']), vm.name, dbus.ObjectPath(vm.path)
        raise Error('NoSuchUser', f"No VM has the address '{address}'.")

    @dbus.service.method(MANAGER, out_signature='a(ssso)')
    def ListUsers(self):
        return dbus.Array([(str(vm.spec['User']), vm.name, vm.state, dbus.ObjectPath(f'{ROOT}/user/{encode(vm.spec["User"])}'))
                           for _, vm in sorted(self.vms.items()) if 'User' in vm.spec], signature='(ssso)')

    @dbus.service.method(MANAGER, in_signature='ts', out_signature='a(ttssss)tt')
    def EventsSince(self, since, vm):
        found = [e for e in self.events if e[0] > since and vm in ('', e[2])][:5]  # small pages
        return dbus.Array(found, signature='(ttssss)'), found[-1][0] if found else self.sequence, 0

    @dbus.service.method(MANAGER, out_signature='a(sss)')
    def Diagnose(self):
        return dbus.Array([('kvm', 'warning', '/dev/kvm cannot run a guest; guests are translated, slowly.')] +
                          ([('kernel', 'error', "No kernel: install linux-image-cloud-amd64.")]
                           if os.path.exists(os.environ.get('FAKE_SICK', '/nonexistent')) else []), signature='(sss)')

    @dbus.service.method('org.freedesktop.DBus.ObjectManager', out_signature='a{oa{sa{sv}}}')
    def GetManagedObjects(self):
        return {dbus.ObjectPath(vm.path): {VM: vm.GetAll(VM)} for vm in self.vms.values()}

    @dbus.service.signal('org.freedesktop.DBus.ObjectManager', signature='oa{sa{sv}}')
    def InterfacesAdded(self, path, interfaces):
        pass

    @dbus.service.signal('org.freedesktop.DBus.ObjectManager', signature='oas')
    def InterfacesRemoved(self, path, interfaces):
        pass

    @dbus.service.signal(MANAGER, signature='so')
    def VMRemoved(self, name, vm):
        pass

    @dbus.service.signal(MANAGER, signature='ttssss')
    def Transition(self, sequence, timestamp, vm, before, after, reason):
        pass

    @dbus.service.signal(MANAGER, signature='uos')
    def JobNew(self, id, job, vm):
        pass

    @dbus.service.signal(MANAGER, signature='uosss')
    def JobRemoved(self, id, job, vm, result, message):
        pass

    @dbus.service.method(PROPERTIES, in_signature='s', out_signature='a{sv}')
    def GetAll(self, interface):
        u, t = dbus.UInt32, dbus.UInt64
        return {'Version': '0.1', 'Hypervisor': 'qemu', 'Accelerator': 'tcg', 'DefaultImage': 'busybox',
                'CPUsTotal': u(8), 'CPUsReserved': u(3), 'MemoryTotal': t(4096 * MIB), 'MemoryReserved': t(1024 * MIB),
                'DiskTotal': t(100 * 1024 * MIB), 'DiskReserved': t(10 * 1024 * MIB), 'NVMs': u(len(self.vms)),
                'Subnet': 'fd12::/64', 'SubnetSource': 'local', 'IPv4Pool': os.environ.get('FAKE_POOL', '10.104.0.0/16')}

    @dbus.service.method(PROPERTIES, in_signature='ss', out_signature='v')
    def Get(self, interface, name):
        assert name == 'Quarantined'
        return dbus.Array([('lost', 'vm.json, line 3: } expected')], signature='(ss)')


class ImageJob(dbus.service.Object):
    """A pull or an import. Of a pull, the reference says what happens:
        slow/…      two seconds, with layers and bytes
        stuck/…     never ends by itself
        shared/…    like stuck, and goes on after Cancel, for somebody else asked for it too
        missing/…   NoSuchImage          broken/…   PullFailed
        crash/…     the service leaves the bus while it runs"""

    def __init__(self, images, kind, reference, platform=''):
        self.images, self.kind, self.reference, self.platform = images, kind, reference, platform
        self.id, images.next_job = images.next_job, images.next_job + 1
        self.path = f'{ROOT}/Images/job/{self.id}'
        self.started, self.amount, self.canceled, self.over = time.monotonic(), 0, False, False
        super().__init__(images.manager.bus, self.path)
        images.jobs[self.path] = self
        images.JobNew(dbus.UInt32(self.id), self.path, reference)
        first = reference.split('/')[0]
        if kind == 'import':
            return
        if first == 'missing':
            GLib.timeout_add(50, self.end, NAME + '.Error.NoSuchImage', f"The registry has no image '{reference}'")
        elif first == 'broken':
            GLib.timeout_add(50, self.end, NAME + '.Error.PullFailed', 'registry.example: connection refused')
        elif first == 'crash':
            GLib.timeout_add(300, lambda: (images.manager.bus.release_name(IMAGES), False)[1])
        elif first not in ('stuck', 'shared'):
            GLib.timeout_add(2000 if first == 'slow' else 20, self.end, 'done', '')

    def end(self, result, message):
        if self.over:
            return False
        self.over = True
        del self.images.jobs[self.path]
        self.remove_from_connection()
        digest = ''
        if result == 'done':
            digest = self.images.add(self)
        self.images.JobRemoved(dbus.UInt32(self.id), self.path, self.reference, result, message, digest)
        return False

    @dbus.service.method(IMAGE_JOB)
    def Cancel(self):
        self.images.manager.calls.append(f'Cancel {self.kind} {self.reference}')
        self.canceled = True
        if self.kind == 'pull' and not self.reference.startswith('shared'):
            GLib.timeout_add(50, self.end, 'canceled', '')

    @dbus.service.method(PROPERTIES, in_signature='s', out_signature='a{sv}')
    def GetAll(self, interface):
        seconds = time.monotonic() - self.started
        if self.kind == 'import':
            step, progress, layers = 'convert', (self.amount, 0), (0, 0)
        elif seconds < 0.5:
            step, progress, layers = 'resolve', (0, 0), (0, 0)
        else:
            step, progress, layers = 'fetch', (int(seconds * 10 * MIB), 30 * MIB), (int(seconds), 3)
        return {'Id': dbus.UInt32(self.id), 'Type': self.kind, 'Reference': self.reference, 'Step': step,
                'Progress': dbus.Struct([dbus.UInt64(n) for n in progress], signature='tt'),
                'Layers': dbus.Struct([dbus.UInt32(n) for n in layers], signature='uu')}


class Image(dbus.service.Object):
    def __init__(self, images, digest, references, platform, size, **config):
        self.images, self.digest, self.references = images, digest, references
        self.platform, self.size, self.config = platform, size, config
        self.path = f'{ROOT}/Images/image/{digest.removeprefix("sha256:")}'
        super().__init__(images.manager.bus, self.path)

    @dbus.service.method(PROPERTIES, in_signature='s', out_signature='a{sv}')
    def GetAll(self, interface):
        def strings(l):
            return dbus.Array(l, signature='s')
        c = self.config
        return {'References': strings(self.references), 'Digest': self.digest, 'ContentDigest': 'sha256:' + 'd' * 64,
                'Platform': self.platform, 'Size': dbus.UInt64(self.size), 'Entries': dbus.UInt32(12),
                'Layers': dbus.UInt32(c.get('layers', 0)), 'Entrypoint': strings(c.get('entrypoint', [])),
                'Cmd': strings(c.get('cmd', [])), 'Env': strings(c.get('env', [])), 'User': c.get('user', ''),
                'WorkingDirectory': c.get('directory', ''), 'StopSignal': c.get('signal', ''),
                'Labels': dbus.Dictionary(c.get('labels', {}), signature='ss'), 'CreatedTimestamp': dbus.UInt64(T0),
                'PulledTimestamp': dbus.UInt64(T0 + 1000000), 'LastUsedTimestamp': dbus.UInt64(0),
                'UsedBy': strings(c.get('used_by', [])), 'SomethingNewer': dbus.Array([], signature='(ss)')}


class Images(dbus.service.Object):
    """Import reads everything and remembers how much; a stream that begins with 'bad' is refused."""

    def __init__(self, manager):
        self.manager = manager
        self.next_job, self.jobs, self.tags, self.objects = 1, {}, {}, {}
        super().__init__(manager.bus, ROOT + '/Images')
        self.put('sha256:' + 'b' * 64, 'busybox:latest', '', 2 * MIB, used_by=['web'])
        self.put('sha256:' + 'a1' * 32, 'app:1', 'linux/amd64', 5 * MIB, layers=3, entrypoint=['/bin/echo', 'in'],
                 cmd=['it is', "o'clock"], env=['PATH=/usr/bin:/bin', 'COLOR=\x1b[31mred'], user='app:users', directory='/usr',
                 signal='SIGQUIT', labels={'vendor': 'Example', 'note': 'two\nlines'})
        self.put('sha256:' + 'a1' * 32, 'registry.example:5000/team/app:1', '', 0)
        self.put('sha256:' + 'e5' * 32, 'system:latest', 'linux/amd64', 9 * MIB, layers=1, cmd=['/sbin/init'])

    def put(self, digest, reference, platform, size, **config):
        self.tags[reference] = digest
        if digest not in self.objects:
            self.objects[digest] = Image(self, digest, [], platform, size, **config)
        for o in self.objects.values():
            o.references = sorted(r for r, d in self.tags.items() if d == o.digest)

    @staticmethod
    def check(reference):
        if not re.fullmatch('[a-z0-9./_:-]+(:[A-Za-z0-9._-]+)?', reference):
            raise Error('InvalidArgument', f"'{reference}' is not an image reference")
        return str(reference) if ':' in reference.split('/')[-1] else f'{reference}:latest'

    def add(self, job):
        digest = 'sha256:' + ('c' if job.kind == 'import' else 'f') * 64
        self.put(digest, self.check(job.reference), job.platform or 'linux/amd64', job.amount, cmd=['sh'])
        return digest

    @dbus.service.method(IMAGES, in_signature='sa{sv}', out_signature='o')
    def Pull(self, reference, options):
        self.check(reference)
        self.manager.calls.append(f'Pull {reference} ' + ' '.join(f'{k}={v}' for k, v in options.items()))
        return ImageJob(self, 'pull', str(reference), str(options.get('Platform', ''))).path

    @dbus.service.method(IMAGES, in_signature='sha{sv}', out_signature='o')
    def Import(self, reference, tar, options):
        self.check(reference)
        job = ImageJob(self, 'import', str(reference), str(options.get('Platform', '')))
        threading.Thread(target=self.read, args=(job, tar.take()), daemon=True).start()
        return job.path

    def read(self, job, fd):
        first = b''
        with open(fd, 'rb', buffering=0) as f, open(os.environ.get('FAKE_TAR', '/dev/null'), 'wb') as copy:
            while data := f.read(65536):
                first = first or data[:3]
                if first == b'bad':
                    GLib.idle_add(job.end, NAME + '.Error.ImportFailed', 'this is not a tar')
                    return
                copy.write(data)
                job.amount += len(data)
                if job.canceled:
                    break
                if job.reference.startswith('slow'):
                    time.sleep(0.2)
        GLib.idle_add(job.end, 'canceled' if job.canceled else 'done', '')

    @dbus.service.method(IMAGES, out_signature='a(ssstto)')
    def List(self):
        rows = []
        for reference, digest in sorted(self.tags.items()):
            o = self.objects[digest]
            rows.append((reference, digest, o.platform, o.size, T0, dbus.ObjectPath(o.path)))
        return dbus.Array(rows, signature='(ssstto)')

    def find(self, text):
        digest = self.tags.get(str(text) if ':' in text.split('/')[-1] else f'{text}:latest')
        if not digest:
            hex = text.removeprefix('sha256:')
            digest = next((d for d in self.objects if len(hex) >= 6 and d.startswith(f'sha256:{hex}')), None)
        return digest

    @dbus.service.method(IMAGES, in_signature='s', out_signature='o')
    def Get(self, text):
        digest = self.find(text)
        if not digest:
            raise Error('NoSuchImage', f"there is no image '{text}'")
        return self.objects[digest].path

    @dbus.service.method(IMAGES, in_signature='s')
    def Remove(self, reference):
        self.manager.calls.append(f'Remove {reference}')
        if str(reference) in self.objects:
            self.tags = {r: d for r, d in self.tags.items() if d != reference}
            return
        reference = self.check(reference)
        if reference == 'busybox:latest':
            raise Error('ImageInUse', "VM 'web' uses this image")
        if reference == 'doubtful:latest':
            raise Error('Busy', "Which image VM 'lost' uses cannot be told, so doubtful stays.")
        if reference not in self.tags:
            raise Error('NoSuchImage', f"there is no image '{reference}'")
        del self.tags[reference]

    @dbus.service.method(IMAGES, in_signature='a{sv}', out_signature='a(sst)')
    def Prune(self, options):
        self.manager.calls.append('Prune ' + ' '.join(f'{k}={bool(v)}' for k, v in sorted(options.items())))
        if not options.get('All'):
            return dbus.Array([], signature='(sst)')
        return dbus.Array([('app:1', 'sha256:' + 'a1' * 32, dbus.UInt64(5 * MIB)), ('', 'sha256:' + '9' * 64, dbus.UInt64(3 * MIB))],
                          signature='(sst)')

    @dbus.service.signal(IMAGES, signature='uos')
    def JobNew(self, id, job, reference):
        pass

    @dbus.service.signal(IMAGES, signature='uossss')
    def JobRemoved(self, id, job, reference, result, message, digest):
        pass


class Fake(dbus.service.Object):
    def __init__(self, manager):
        self.manager = manager
        super().__init__(manager.bus, '/fake')

    @dbus.service.method(NAME + '.Fake', in_signature='sss')
    def Move(self, vm, state, reason):
        self.manager.vms[vm].move(str(state), str(reason))

    @dbus.service.method(NAME + '.Fake', in_signature='sss')
    def Add(self, vm, user, state):
        self.manager.add(str(vm), {'User': str(user)} if user else {}, str(state))

    @dbus.service.method(NAME + '.Fake', in_signature='s')
    def Remove(self, vm):
        self.manager.forget(self.manager.vms[vm])

    @dbus.service.method(NAME + '.Fake')
    def Crash(self):
        self.manager.crash()

    @dbus.service.method(NAME + '.Fake', out_signature='as')
    def TakeCalls(self):
        calls, self.manager.calls = self.manager.calls, []
        return dbus.Array(calls, signature='s')


def main():
    dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
    dbus.mainloop.glib.threads_init()
    bus = dbus.SystemBus()
    manager = Manager(bus)
    manager.images = Images(manager)
    Fake(manager)
    bus.request_name(NAME)
    if os.environ.get('FAKE_WITHOUT_IMAGES') != '1':
        bus.request_name(IMAGES)
    bus.request_name(NAME + '.Fake')
    print('ready', flush=True)
    GLib.MainLoop().run()


if __name__ == '__main__':
    sys.exit(main())
