# SPDX-License-Identifier: Apache-2.0
"""The host rung: our real daemons under a real systemd on a real kernel of their own, where MemoryMax= and CPUQuota=
are not only accepted but enforced. How the host is made: debian_host.py.

    sudo HERO_BUILD_DIR=BUILD /usr/bin/python3 -m pytest tests/host

It takes about a minute on two cores, and half of it where BUILD has a Debian already. Needs root (owners in the file
system) and what tools/lib/packages names.
To look around in it when a test fails: add --pdb and call host.run('…').
"""

import json
import os

import pytest

import debian_host
from debian_host import CGROUPS


def pytest_terminal_summary(terminalreporter):
    for report in terminalreporter.getreports('skipped'):
        terminalreporter.write_line(f'SKIPPED: the host rung did not run: {report.longrepr[2]}', yellow=True)
        break


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """What the host has to say about a failure."""
    report = (yield).get_result()
    h = item.funcargs.get('host') if hasattr(item, 'funcargs') else None
    if not report.failed or call.when != 'call' or not h or not h.qemu:
        return
    try:
        said = h.run('heroctl list; ps -eo pid,stat,pcpu,args --sort=-pcpu | head -n 12; '
                     'journalctl --boot --no-pager -o short-monotonic -n 60', check=False, timeout=20)
        report.sections.append(('The host', said.stdout + said.stderr))
    except debian_host.HostError as e:
        report.sections.append(('The host', str(e)))


@pytest.fixture(scope='session')
def host():
    missing = debian_host.missing_tools()
    if missing:
        pytest.skip(f'not installed: {" ".join(missing)}')
    if os.geteuid() != 0:
        pytest.skip('it needs root')
    h = debian_host.DebianHost()
    try:
        h.boot()
        yield h
    finally:
        h.close()


class Guests:
    """VMs of the mock hypervisor on the host, gone after the test."""

    def __init__(self, host):
        self.host = host
        self.names = []

    def create(self, name, script='', **options):
        words = [f'--{key.replace("_", "-")} {value}' for key, value in options.items()]
        script = f"--mock-script '{script}'" if script else ''
        self.host.run(f'heroctl create {name} --disk 16M {script} {" ".join(words)}')
        self.names.append(name)

    def start(self, name, script='', **options):
        self.create(name, script, **options)
        self.host.run(f'heroctl start {name}')

    def state(self, name):
        """State and the sentence that says why."""
        status = json.loads(self.host.run(f'heroctl status --json {name}', check=False).stdout)
        status = status[0] if isinstance(status, list) else status
        return status['state'], status['reason']

    def cgroup(self, name, *files):
        """The lines of these files of its cgroup."""
        return self.host.run(f'cd {CGROUPS}/hero-vm-{name}.scope && cat {" ".join(files)}').stdout.splitlines()

    def used_usec(self, *names):
        """CPU time so far."""
        files = ' '.join(f'hero-vm-{name}.scope/cpu.stat' for name in names)
        lines = self.host.run(f'cd {CGROUPS} && cat {files}').stdout.splitlines()
        return dict(zip(names, (int(line.split()[1]) for line in lines if line.startswith('usage_usec'))))

    def used_cpus(self, name, seconds):
        """CPUs used over that time, by the clock of the host itself, and how often it was throttled."""
        path = f'{CGROUPS}/hero-vm-{name}.scope/cpu.stat'
        first, second = self.host.run(
            f'sample() {{ read -r up _ </proc/uptime; echo $up $(cat {path}); }}; sample; sleep {seconds}; sample',
            timeout=seconds + 60).stdout.splitlines()
        before, after = first.split(), second.split()
        wall = float(after[0]) - float(before[0])
        before, after = ({w[i]: int(w[i + 1]) for i in range(1, len(w), 2)} for w in (before, after))
        return ((after['usage_usec'] - before['usage_usec']) / 1e6 / wall, after['nr_throttled'] - before['nr_throttled'])

    def wait_for_state(self, name, state, seconds=30):
        self.host.run(f'heroctl wait --state={state} --timeout={seconds} {name}')

    def delete_all(self):
        if self.names:
            self.host.run(f'heroctl delete --force {" ".join(self.names)}', check=False)


@pytest.fixture
def guests(host):
    g = Guests(host)
    yield g
    g.delete_all()
