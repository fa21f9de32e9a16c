# SPDX-License-Identifier: Apache-2.0
"""The daemon goes and comes back, by itself or by force: no guest notices, and nothing is left half done."""

import json
import time

import pytest

from throwaway import MANAGER, wait_until


def main_pid(host):
    return host.unit('hero-computed', 'MainPID')


def restart(host):
    host.restart_daemon()


def kill(host):
    before = main_pid(host)
    host.run(['systemctl', 'kill', '-s', 'KILL', '--kill-whom=main', 'hero-computed'])
    wait_until(lambda: main_pid(host) not in (before, '0'), 'the daemon is started again')
    wait_until(lambda: host.unit('hero-computed', 'ActiveState') == 'active', 'the daemon serves again')


@pytest.fixture(autouse=True)
def every_test_here_restarts_the_daemon(restarts):
    pass


@pytest.fixture(params=[restart, kill], ids=['systemctl-restart', 'SIGKILL'])
def interrupt(request, the_host):
    # The unit's start limit is for daemons that crash, not for tests that kill it.
    the_host.run(['systemctl', 'reset-failed', 'hero-computed'], check=False)
    return lambda: request.param(the_host)


def test_running_and_suspended_vms_go_on_with_the_same_process(host, interrupt):
    host.mock('runs')
    host.mock('sleeps')
    host.heroctl('suspend', 'sleeps')
    pids = {n: host.get(n, 'PID') for n in ('runs', 'sleeps')}
    interrupt()
    assert {n: host.get(n, 'PID') for n in pids} == pids
    assert host.state('runs') == 'running' and host.state('sleeps') == 'suspended'
    assert host.get('runs', 'AgentReady') is True
    host.heroctl('resume', 'sleeps')
    for name in pids:
        assert host.heroctl('exec', name, '--', 'echo', 'still', 'here').out == 'still here\n'


def test_a_verb_that_starts_the_daemon_waits_for_its_job(host):
    """Of a service that comes because of the call, heroctl hears as of one that was restarted."""
    host.mock('wakes')
    host.run('systemctl stop hero-computed')
    host.heroctl('restart', 'wakes')
    assert host.state('wakes') == 'running'


def test_a_command_that_runs_meanwhile_loses_no_byte_and_keeps_its_status(host, interrupt):
    host.heroctl('provision', 'carol', timeout=120)
    p = host.popen(['heroctl', 'exec', 'carol', '--', 'sh', '-c',
                    'i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; sleep 2; '
                    'while [ $i -lt 4000 ]; do echo line $i; i=$((i+1)); done; exit 7'], text=True)
    time.sleep(0.5)
    interrupt()
    out, err = p.communicate(timeout=60)
    assert p.returncode == 7, err
    assert out.splitlines() == [f'line {i}' for i in range(4000)]


def test_what_is_typed_after_the_restart_reaches_the_command(host, interrupt):
    host.mock('carol')
    p = host.popen(['heroctl', 'exec', '-i', 'carol', '--', 'cat'], text=True)
    p.stdin.write('before\n')
    p.stdin.flush()
    assert p.stdout.readline() == 'before\n'
    interrupt()
    p.stdin.write('after\n')
    p.stdin.close()
    assert p.stdout.readline() == 'after\n'
    assert p.wait(timeout=20) == 0


def test_an_attached_console_stays_attached(host, interrupt):
    host.mock('carol')
    p = host.popen(['heroctl', 'logs', '-f', 'carol'], text=True)
    assert 'carol' in p.stdout.readline()
    interrupt()
    # --foreground: else it sends SIGCONT after SIGTERM, which keeps LeakSanitizer from stopping the threads it looks at
    host.run('printf "hello again\\n" | timeout --foreground 2 heroctl console carol', check=False)
    line = ''
    while 'hello again' not in line:
        line = p.stdout.readline()
        assert line, 'the log ended'
    p.terminate()
    p.wait(timeout=20)


def test_a_start_under_way_is_finished_or_undone(host, interrupt):
    host.heroctl('create', 'late', '--hypervisor=mock', '--memory=64M', '--disk=16M', '--mock-script=slow-ready=1500')
    host.heroctl('start', '--no-wait', 'late')
    host.wait_for_state('late', 'starting')
    interrupt()
    wait_until(lambda: host.state('late') in ('running', 'configured'), 'the start is over')
    if host.state('late') == 'configured':
        assert 'interrupted' in host.get('late', 'StateReason')
        assert host.get('late', 'PID') == 0


@pytest.mark.parametrize('verb, script, state', [('start', 'slow-ready=1500', 'starting'), ('stop', 'ignore-shutdown', 'stopping')])
def test_heroctl_waits_for_what_the_next_daemon_finishes(host, interrupt, verb, script, state):
    host.heroctl('create', 'late', '--hypervisor=mock', '--memory=64M', '--disk=16M', '--mock-script=' + script)
    if verb == 'stop':
        host.heroctl('start', 'late')
    p = host.popen(['heroctl', verb, 'late'], text=True)
    host.wait_for_state('late', state)
    interrupt()
    _, err = p.communicate(timeout=30)
    assert (p.returncode, err) == (0, '')
    assert host.state('late') == {'start': 'running', 'stop': 'stopped'}[verb]


def test_a_stop_under_way_is_finished(host, interrupt):
    host.mock('stubborn', script='ignore-shutdown')
    host.heroctl('stop', '--no-wait', 'stubborn')
    host.wait_for_state('stubborn', 'stopping')
    interrupt()
    assert host.state('stubborn') in ('stopping', 'stopped')
    host.heroctl('stop', '--force', 'stubborn')
    host.wait_for_state('stubborn', 'stopped')


def test_a_vm_that_ended_meanwhile_is_known_to_have_ended(host):
    host.mock('gone')
    host.run('systemctl stop hero-computed; systemctl kill -s KILL hero-vm-gone.scope; systemctl start hero-computed')
    wait_until(lambda: host.state('gone') in ('stopped', 'failed'), 'the end is noticed')
    host.heroctl('start', 'gone')
    assert host.state('gone') == 'running'


def test_a_scope_of_ours_without_a_vm_is_stopped(host):
    host.mock('orphan')
    host.run('rm -r /var/lib/hero-compute/vms/orphan; systemctl restart hero-computed')
    wait_until(lambda: host.unit('hero-vm-orphan.scope', 'ActiveState') == 'inactive', 'the scope is gone')


def test_a_broken_record_sets_that_vm_aside_and_no_other(host):
    host.mock('whole')
    host.heroctl('create', 'broken', '--hypervisor=mock')
    host.run('truncate -s 40 /var/lib/hero-compute/vms/broken/vm.json; systemctl restart hero-computed')
    assert host.vms() == ['whole']
    quarantined = json.loads(host.busctl('--json=short', 'get-property', *MANAGER, 'Quarantined').out)['data']
    assert [q[0] for q in quarantined] == ['broken'] and 'vm.json' in quarantined[0][1]
    assert 'broken' in host.heroctl('status').out
    assert host.heroctl('create', 'broken', check=False).status != 0
    assert host.heroctl('exec', 'whole', '--', 'echo', 'fine').out == 'fine\n'
    host.run('rm -r /var/lib/hero-compute/vms/broken; systemctl restart hero-computed')


def test_fields_of_a_newer_version_survive_in_the_record(host):
    host.heroctl('create', 'future', '--hypervisor=mock', '--memory=64M', '--disk=16M')
    record = '/var/lib/hero-compute/vms/future/vm.json'
    host.run('systemctl stop hero-computed')
    j = json.loads(host.run(['cat', record]).out)
    j['of_tomorrow'] = {'x': [1, 2]}
    host.run(['tee', record], input=json.dumps(j))
    host.run('systemctl start hero-computed')
    host.heroctl('start', 'future')
    assert json.loads(host.run(['cat', record]).out)['of_tomorrow'] == {'x': [1, 2]}


def test_a_vm_can_be_restarted_many_times_in_a_row(host):
    """machined cleans up after a VM by the name of its scope, which must not hit the next one of the name."""
    host.mock('again')
    host.run('for i in $(seq 60); do heroctl restart again || exit 1; done', timeout=180)
    assert host.state('again') == 'running'
