#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Rounds of create, start, sleep, wake, delete on this machine's hero-computed, several VMs at a time, while VMMs and the daemon
are killed at random. Runs on the throwaway host (test_rounds.py).

    rounds.py '{"rounds": 500, "workers": 8, "seed": 1, "seconds": 100, "kill_vmm": 0.2, "kill_daemon": 5, "spec": {…}, "port": 7}'

The last line of what it prints is JSON: how often what happened, and what must not have. A VM whose VMM nobody killed may not
be lost, whatever became of the daemon; and it answers when it is called."""

import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
import threading
import time

from gi.repository import Gio, GLib

COMPUTE, ROOT = 'org.hero.Compute', '/org/hero/Compute'
MANAGER, VM = COMPUTE + '.Manager', COMPUTE + '.VM'
TYPES = {'CPUs': 'u', 'Memory': 't', 'Disk': 't', 'IdleTimeoutUSec': 't', 'HibernateDelayUSec': 't', 'Network': 'b'}

# What a call ends with when the daemon does.
GONE = ('org.freedesktop.DBus.Error.NoReply', 'org.freedesktop.DBus.Error.ServiceUnknown', 'org.freedesktop.DBus.Error.NameHasNoOwner',
        'org.freedesktop.DBus.Error.TimedOut', 'org.freedesktop.DBus.Error.Timeout', 'org.freedesktop.systemd1')
BUSY = (COMPUTE + '.Error.Busy', COMPUTE + '.Error.WrongState')


class Wrong(Exception):
    pass


class Refused(Exception):
    def __init__(self, name, text):
        super().__init__(f'{name}: {text}')
        self.name = name


class Everything:
    def __init__(self, options):
        self.o = options
        self.bus = Gio.bus_get_sync(Gio.BusType.SYSTEM)
        self.random = random.Random(options['seed'])
        self.lock = threading.Lock()
        self.counts = {}
        self.wrong = []
        self.next = 0
        self.deaths = 0         # of the daemon
        self.over = threading.Event()
        self.end = time.monotonic() + options['seconds']

    def count(self, what):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    def take(self):
        """The number of the next round, or None."""
        with self.lock:
            if self.next >= self.o['rounds'] or time.monotonic() > self.end or len(self.wrong) >= 5:
                return None
            self.next += 1
            return self.next

    def call(self, path, interface, member, arguments=None):
        """Once; None when there was no daemon to answer."""
        try:
            r = self.bus.call_sync(COMPUTE, path, interface, member, arguments, None, Gio.DBusCallFlags.NONE, 20000)
            return r.unpack() or (True,)
        except GLib.Error as e:
            name = Gio.DBusError.get_remote_error(e) or str(e)
            if name.startswith(GONE):
                return None
            Gio.DBusError.strip_remote_error(e)
            raise Refused(name, e.message) from e


class Killer(threading.Thread):
    """Of the daemon."""

    def __init__(self, all_of_it):
        super().__init__(daemon=True)
        self.all = all_of_it
        self.random = random.Random(all_of_it.o['seed'] + 1000)

    def show(self, *properties):
        out = subprocess.run(['systemctl', 'show', '--value', *(w for p in properties for w in ('-p', p)), 'hero-computed'],
                             stdout=subprocess.PIPE, text=True, check=True).stdout
        return out.split()

    def run(self):
        every = self.all.o['kill_daemon']
        while every and not self.all.over.wait(every * (0.5 + self.random.random())):
            pid, = self.show('MainPID')
            subprocess.run(['systemctl', 'reset-failed', 'hero-computed'], check=False)
            if pid == '0':
                continue
            self.all.deaths += 1
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                continue
            self.all.count('daemon killed')
            end = time.monotonic() + 20
            while self.show('MainPID', 'ActiveState') in ([pid, 'active'], ['0', 'activating'], ['0', 'failed']) or \
                    'active' not in self.show('ActiveState'):
                if time.monotonic() > end:
                    self.all.wrong.append('the daemon does not come back')
                    return
                time.sleep(0.05)
            self.all.deaths += 1


class Round:
    def __init__(self, all_of_it, number):
        self.all, self.number = all_of_it, number
        self.random = random.Random(all_of_it.o['seed'] * 100003 + number)
        self.name = f'round-{number}'
        self.path = f'{ROOT}/vm/round_2d{number}'
        self.killed = False     # its VMM, by us
        self.history = []

    def note(self, what):
        self.history.append(f'{time.monotonic():.3f} {what}')

    def call(self, member, arguments=None, interface=VM, path=None):
        """Until there is a daemon that answers."""
        end = time.monotonic() + 30
        while (r := self.all.call(path or self.path, interface, member, arguments)) is None:
            if time.monotonic() > end:
                raise Wrong(f'{member} is not answered')
            time.sleep(0.05)
        return r

    def look(self):
        """State and job; None when it is not there."""
        try:
            p = self.call('GetAll', GLib.Variant('(s)', (VM,)), 'org.freedesktop.DBus.Properties')[0]
        except Refused as e:
            if 'Unknown' in e.name and not self.exists():
                return None
            if 'Unknown' in e.name:
                time.sleep(0.02)
                return {'Job': '?', 'State': '?', 'StateReason': str(e)}
            raise
        return p

    def exists(self):
        return self.name in [v[0] for v in self.call('ListVMs', None, MANAGER, ROOT)[0]]

    def settle(self):
        """Waits until nothing works on it. Its properties."""
        end = time.monotonic() + 40
        pause = 0.004
        while True:
            p = self.look()
            if p is None or (p['Job'] == '/' and p['State'] not in ('starting', 'stopping', 'suspending', 'hibernating', 'resuming',
                                                                    'pending', 'provisioning')):
                return p
            if time.monotonic() > end:
                raise Wrong(f'still {p["State"]} after 40 s, job {p["Job"]}: {p["StateReason"]}')
            time.sleep(pause)
            pause = min(pause * 1.5, 0.05)

    def kill_vmm(self):
        """SIGKILL in a moment, in the middle of what comes now; also to one that is only just being started."""
        procs = f'/sys/fs/cgroup/machine.slice/machine-hero.slice/hero-vm-{self.name}.scope/cgroup.procs'
        due = time.monotonic() + self.random.random() * self.all.o.get('kill_within', 0.04)
        self.killed = True
        self.note('kill')

        def kill():
            while time.monotonic() < due + 0.2:
                try:
                    with open(procs, encoding='utf-8') as f:
                        fd = os.pidfd_open(int(f.read().split()[0]))
                    with open(procs, encoding='utf-8') as f:
                        if f.read().split():    # the number is not somebody else's by now
                            signal.pidfd_send_signal(fd, signal.SIGKILL)
                            self.all.count('VMM killed')
                    os.close(fd)
                    return
                except (OSError, IndexError):
                    time.sleep(0.002)
        threading.Timer(due - time.monotonic(), kill).start()

    def do(self, member, arguments=None, wanted=None, interface=VM, path=None):
        """A method that makes a job, and waits for it. The properties afterwards."""
        for attempt in range(20):
            deaths = self.all.deaths
            self.note(member)
            try:
                self.call(member, arguments, interface, path)
            except Refused as e:
                self.note(str(e))
                p = self.settle()
                if self.killed or (p and p['State'] == wanted):
                    return p
                if e.name not in BUSY and deaths == self.all.deaths:
                    raise Wrong(f'{member}: {e}') from e
                time.sleep(0.02)
            p = self.settle()
            self.note(p['State'] + ': ' + p['StateReason'] if p else 'gone')
            if self.killed or wanted is None or (p and p['State'] == wanted):
                return p
            if p and p['State'] == 'running' and member in ('Suspend', 'Hibernate') and deaths == self.all.deaths:
                self.all.count('called back by itself')     # what the kernel has to say on a link that is new
                continue
            if deaths == self.all.deaths and not self.recently(deaths):
                raise Wrong(f'{member} leads to {p and p["State"]}: {p and p["StateReason"]}')
            if p and p['State'] in ('failed', 'stopped', 'start-failed') and member in ('Suspend', 'Hibernate', 'Resume'):
                raise Wrong(f'{member} lost it, and only the daemon was killed: {p["StateReason"]}')
            self.all.count('interrupted by a death of the daemon')
        raise Wrong(f'{member} does not lead to {wanted}')

    def recently(self, deaths):
        """The Killer counts before and after."""
        return deaths % 2 == 1

    def call_it(self, p):
        """By its address, until it answers."""
        deaths = self.all.deaths
        begun = time.monotonic()
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
            s.setblocking(False)
            there = (p['MyceliumIP'], self.all.o['port'])
            while time.monotonic() - begun < 8:
                try:
                    s.sendto(b'are you there?', there)
                    self.note('packet')
                except OSError as e:
                    self.note(f'packet: {e}')
                if select.select([s], [], [], 0.25)[0]:
                    try:
                        s.recv(100)
                        self.all.count('woken by a packet')
                        return self.settle()
                    except OSError as e:
                        self.note(f'answer: {e}')
                        time.sleep(0.1)
                if self.killed:
                    p = self.settle()
                    if not p or p['State'] in ('failed', 'stopped'):
                        return p
        if deaths == self.all.deaths and deaths % 2 == 0 and not self.killed:
            raise Wrong(f'no answer from {p["MyceliumIP"]}: {self.settle()["State"]}')
        self.all.count('no answer, and there was a reason')
        return self.settle()

    def sleep_and_wake(self, p):
        how = self.random.choice(('Suspend', 'Hibernate', 'Hibernate', 'both'))
        kill = self.random.random() < self.all.o['kill_vmm']
        when = self.random.choice(('asleep', 'waking'))
        if kill and when == 'asleep':
            self.kill_vmm()
        if how == 'both':
            p = self.do('Suspend', None, 'suspended')
            if not p or p['State'] != 'suspended':
                return p
        sleep = 'Hibernate' if how == 'both' else how
        early = self.random.random() < 0.15
        if early and self.all.o['port'] and not self.killed:
            self.note(sleep + ', and called at once')
            try:
                self.call(sleep)
            except Refused:
                pass
            time.sleep(self.random.random() * 0.04)
            self.all.count('called while falling asleep')
        else:
            p = self.do(sleep, None, 'suspended' if sleep == 'Suspend' else 'hibernated')
            self.all.count(sleep)
        if not p or (not early and p['State'] not in ('suspended', 'hibernated')):
            return p
        if self.random.random() < 0.15 and not early:
            return p    # is deleted in its sleep
        if kill and when == 'waking':
            self.kill_vmm()
        if self.all.o['port'] and (early or self.random.random() < 0.6):
            return self.call_it(p)
        p = self.do('Resume', None, 'running')
        self.all.count('resumed')
        return p

    def run(self):
        o = self.all.o
        spec = {k: GLib.Variant(TYPES.get(k, 's'), v) for k, v in o['spec'].items()}
        create = GLib.Variant('(sa{sv})', (self.name, spec))
        for _ in range(10):
            try:
                self.note('CreateVM')
                self.call('CreateVM', create, MANAGER, ROOT)
            except Refused as e:
                if 'Exists' not in e.name:
                    raise
            p = self.settle()
            if p and p['State'] == 'configured':
                break
        else:
            raise Wrong(f'cannot be created: {p and p["State"]}')
        if self.random.random() < 0.9:
            p = self.do('Start', None, 'running')
            for _ in range(self.random.randint(1, o.get('sleeps', 2))):
                if not p or p['State'] != 'running':
                    break
                p = self.sleep_and_wake(p)
            if p and p['State'] in ('failed', 'start-failed', 'stopped') and not self.killed:
                raise Wrong(f'lost: {p["State"]}: {p["StateReason"]}')
        self.delete()

    def delete(self):
        for _ in range(20):
            try:
                self.note('Delete')
                self.call('Delete', GLib.Variant('(t)', (self.random.choice((0, 1)) if not self.killed else 1,)))
            except Refused as e:
                self.note(str(e))
                if not self.exists():
                    return
                time.sleep(0.05)
            if self.settle() is None or not self.exists():
                return
        raise Wrong('cannot be deleted')


def journal(name):
    out = subprocess.run(['journalctl', '-q', '-o', 'short-monotonic', '--no-pager', '-u', 'hero-computed'], stdout=subprocess.PIPE, text=True,
                         errors='replace', check=False).stdout
    return [line for line in out.splitlines() if f"'{name}'" in line][-12:]


def work(all_of_it):
    while (number := all_of_it.take()) is not None:
        r = Round(all_of_it, number)
        try:
            r.run()
            all_of_it.count('rounds')
        except Exception as e:  # pylint: disable=broad-except
            text = f'{r.name}: {type(e).__name__}: {e}\n    ' + '\n    '.join(r.history[-14:] + journal(r.name))
            print(text, flush=True)
            with all_of_it.lock:
                all_of_it.wrong.append(text)
            try:
                r.killed = True
                r.delete()
            except Exception as e2:  # pylint: disable=broad-except
                print(f'{r.name}: {e2}', flush=True)


def main():
    options = json.loads(sys.argv[1])
    print(f'seed {options["seed"]}', flush=True)
    everything = Everything(options)
    begun = time.monotonic()
    killer = Killer(everything)
    killer.start()
    workers = [threading.Thread(target=work, args=(everything,)) for _ in range(options['workers'])]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    everything.over.set()
    killer.join()
    print(json.dumps({'counts': everything.counts, 'wrong': everything.wrong, 'seconds': round(time.monotonic() - begun, 1)}))


main()
