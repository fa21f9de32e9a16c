# SPDX-License-Identifier: Apache-2.0
"""The throwaway host as the tests see it."""

import json
import os
import re
import subprocess
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TOOL = os.path.join(TOP, 'tools/throwaway-host')
LEFT_BEHIND = os.path.join(TOP, 'tools/lib/left-behind')
STATE = '/var/lib/hero-compute'

MANAGER = ('org.hero.Compute', '/org/hero/Compute', 'org.hero.Compute.Manager')
IMAGES = ('org.hero.Compute.Images', '/org/hero/Compute/Images', 'org.hero.Compute.Images')

# What no test may leave in the journal, whatever else it did.
BAD_LINES = re.compile(r'(Address|Leak|UndefinedBehavior)Sanitizer|: runtime error: |Assertion .* failed|'
                       r'Watchdog timeout|Failed with result .core-dump')


def wait_until(predicate, what, timeout=20):
    """The predicate's first true value. For what no event of the system under test can be waited for."""
    deadline = time.monotonic() + timeout
    while True:
        value = predicate()
        if value:
            return value
        assert time.monotonic() < deadline, f'not within {timeout} s: {what}'
        time.sleep(0.05)


def end(process):
    """Ends what popen() started; the signal goes on to the command."""
    process.terminate()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream:
            stream.close()
    process.wait(timeout=10)


class Result:
    def __init__(self, process):
        self.status = process.returncode
        self.out, self.err = process.stdout, process.stderr

    def __repr__(self):
        return f'status {self.status}\n--- stdout\n{self.out}\n--- stderr\n{self.err}'


class Host:
    """One throwaway host; start() and stop() are the fixture's."""

    def __init__(self, name, build=None, binds=()):
        self.directory, self.build, self.binds = name, build, list(binds)

    def start(self):
        words = [TOOL, 'start', '--dir', self.directory]
        if self.build:
            words += ['--install', self.build]
        for b in self.binds:
            words += ['--bind', b]
        subprocess.run(words, check=True, stdin=subprocess.DEVNULL, timeout=120)

    def stop(self):
        subprocess.run([TOOL, 'stop', '--dir', self.directory], check=True, timeout=120)

    def words(self, command, user='root', env=()):
        command = ['sh', '-c', command] if isinstance(command, str) else list(map(str, command))
        extra = [w for e in env for w in ('--setenv', e)]
        return [TOOL, 'exec', '--dir', self.directory, '--user', user, *extra, '--', *command]

    def run(self, command, user='root', check=True, timeout=60, env=(), **kwargs):
        """A command (a list, or a line for sh) on the host; text in and out."""
        kwargs.setdefault('stdin', None if 'input' in kwargs else subprocess.DEVNULL)
        if kwargs['stdin'] is None:
            del kwargs['stdin']
        process = subprocess.run(self.words(command, user, env), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                 text=True, errors='replace', timeout=timeout, check=False, **kwargs)
        result = Result(process)
        assert not check or result.status == 0, f'{command}: {result}'
        return result

    def popen(self, command, user='root', **kwargs):
        for stream in ('stdin', 'stdout', 'stderr'):
            kwargs.setdefault(stream, subprocess.PIPE)
        return subprocess.Popen(self.words(command, user), **kwargs)

    def run_at_seat(self, user, command, **kwargs):
        """In a session that sits at the machine, which polkit treats otherwise than one from afar."""
        command = ['sh', '-c', command] if isinstance(command, str) else list(command)
        return self.run(['systemd-run', '-q', '--pipe', '--wait', '--collect', '-p', f'User={user}', '-p', 'PAMName=login',
                         '-E', 'XDG_SEAT=seat0', '-E', 'XDG_SESSION_TYPE=tty', *command], **kwargs)

    def heroctl(self, *words, **kwargs):
        return self.run(['heroctl', '--no-ask-password', *words], **kwargs)

    def mock(self, name, *words, script=None, **kwargs):
        """A running VM of the mock hypervisor."""
        if script:
            words += (f'--mock-script={script}',)
        self.heroctl('create', '--hypervisor=mock', '--memory=64M', '--disk=16M', *words, name, **kwargs)
        return self.heroctl('start', name, **kwargs)

    def busctl(self, *words, **kwargs):
        return self.run(['busctl', *words], **kwargs)

    def call(self, service, method, *words, **kwargs):
        return self.busctl('call', *service, method, *words, **kwargs)

    @staticmethod
    def vm_object(name):
        escaped = ''.join(c if c.isalnum() and not (i == 0 and c.isdigit()) else f'_{ord(c):02x}'
                          for i, c in enumerate(name))
        return ('org.hero.Compute', f'/org/hero/Compute/vm/{escaped}', 'org.hero.Compute.VM')

    def get(self, name, prop):
        """A property of a VM, as JSON has it."""
        out = self.busctl('--json=short', 'get-property', *self.vm_object(name), prop).out
        return json.loads(out)['data']

    def state(self, name):
        return self.get(name, 'State')

    def wait_for_state(self, name, state, timeout=30):
        wait_until(lambda: self.state(name) == state, f'VM {name} is {state}', timeout)

    def unit(self, unit, prop):
        return self.run(['systemctl', 'show', '--value', '-p', prop, unit]).out.strip()

    def vms(self):
        return self.heroctl('list', '-q').out.split()

    def cursor(self):
        out = self.run(['journalctl', '-q', '-n', '0', '--show-cursor']).out
        return out.partition('cursor: ')[2].strip()

    def journal(self, cursor, *words):
        return self.run(['journalctl', '-q', '-o', 'short-monotonic', '--no-pager', f'--after-cursor={cursor}', *words]).out

    def restart_daemon(self):
        self.run(['systemctl', 'restart', 'hero-computed'])

    # What tests may leave behind, as lines.

    def remains(self):
        script = r'''
                cd /sys/fs/cgroup/machine.slice/machine-hero.slice 2>/dev/null && ls -d *.scope 2>/dev/null
                ls -A /var/lib/hero-compute/vms | sed "s/^/record or disk /"
                ls /sys/class/net | sed "s/^/interface /"
                cut -d" " -f5 /proc/self/mountinfo | grep -v "^/run/credentials" | sed "s/^/mount /"
                ps -eo uid=,comm= | awk '$1 >= 1879048192 && $1 < 1879048192 + 65536 { print "process of a VM", $1, $2 }'
                pgrep -l "hero-mock-vmm|qemu-system" | sed "s/^[0-9]* /process /"
                # A launcher per kind of VMM comes with the first such VM after a start of the daemon and stays, with one process in advance.
                [ "$(pgrep -c hero-vmm-launch)" -le 4 ] || echo "$(pgrep -c hero-vmm-launch) launchers"
                heroctl list -q | sed "s/^/VM /"
                busctl --json=short call org.hero.Compute /org/hero/Compute org.hero.Compute.Manager ListJobs | sed "s/^/jobs /"
                echo fd store: $(systemctl show --value -p NFileDescriptorStore hero-computed)
                echo open in hero-computed: $(ls /proc/$(systemctl show --value -p MainPID hero-computed)/fd | wc -l)
        '''
        return set(self.run(script).out.splitlines())


def scratch_directory():
    return tempfile.mkdtemp(prefix=os.path.basename(os.environ['HERO_TEST_HOST']) + '-', dir='/tmp')
