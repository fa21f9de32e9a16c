# SPDX-License-Identifier: Apache-2.0
"""PID 1 that refuses, is slow, never answers, or fails half-way: what was begun is undone and said."""

import json
import os
import signal
import time

import pytest
from bus_client import ERROR, JOB, run_for, run_until
from daemon import CONFIG, processes_named
from fake_service import Error

LIMIT = Error('org.freedesktop.DBus.Error.LimitsExceeded', 'Too many units.')


@pytest.fixture
def made(cold):
    """A host with a VM that was never started, and PID 1 has less time than usual."""
    host = cold.configure(ScopeTimeoutSec='2s', StopTimeoutSec='1').start()
    host.idle_fds = host.warm()
    host.systemd.calls.clear()
    assert host.root.create('web') == ('done', '')
    return host


def check_undone(host, state='start-failed'):
    assert host.root.state('web') == state
    host.nothing_left('web', files=True)
    assert host.root.reserved() == (0, 0, 16 << 20)
    assert host.root.vm_get('web', 'PID') == 0 and host.root.vm_get('web', 'UID') == 0
    assert host.root.manager('ListJobs') == []
    run_until(lambda: host.daemon.n_fds() <= host.idle_fds, 5, 'file descriptors stay open')
    host.systemd.behaviour.clear()
    host.systemd.start_result = 'done'
    # It can be started as if nothing had happened.
    assert host.root.do('web', 'Start') == ('done', '')


def test_a_scope_is_asked_for_with_its_limits_before_the_vmm_is_executed(made):
    made.systemd.behaviour['StartTransientUnit'] = 'hold'
    job = made.root.vm('web', 'Start')
    run_until(lambda: made.systemd.held)
    _, _, (name, mode, properties, aux) = made.systemd.held[0]
    p = dict(properties)
    assert (name, mode, aux) == ('hero-vm-web.scope', 'fail', [])
    [pid] = p['PIDs']
    assert os.readlink(f'/proc/{pid}/exe').endswith('hero-vmm-launch')  # blocked
    assert p['Slice'] == 'machine-hero.slice'
    assert p['MemoryMax'] == (64 + 8) << 20 and p['MemorySwapMax'] == 0
    assert p['CPUQuotaPerSecUSec'] == 1_000_000
    assert p['DevicePolicy'] == 'strict'
    assert [tuple(d) for d in p['DeviceAllow']] == [('/dev/null', 'rw'), ('/dev/urandom', 'rw')]
    assert p['CollectMode'] == 'inactive-or-failed' and p['OOMPolicy'] == 'kill'
    assert p['TimeoutStopUSec'] == 2_500_000
    assert 'Controller' not in p and p['KillSignal'] == signal.SIGCONT
    assert p['DefaultDependencies'] is False and 0 < p['TasksMax'] < 1000
    made.systemd.release()
    assert made.root.job(job) == ('done', '')
    assert os.stat(f'/proc/{pid}').st_uid == made.root.vm_get('web', 'UID') >= 65536


@pytest.mark.parametrize('slice, order', [('machine-hero-guests.slice', ('DefaultDependencies', False)),
                                          ('guests.slice', ('After', ['hero-computed.service']))])
def test_a_scope_is_stopped_at_shutdown_before_the_daemon_whatever_its_slice(cold, slice, order):
    host = cold.start(f'{CONFIG}\n[Compute]\nSlice={slice}\n')
    host.running('web')
    p = host.systemd.units['hero-vm-web.scope'].properties
    assert p['Slice'] == slice
    assert (order[0], p.get(order[0])) == order and ('After' in p) != ('DefaultDependencies' in p)


def test_a_refused_scope_fails_the_start_with_pid_1s_words(made):
    made.systemd.behaviour['StartTransientUnit'] = LIMIT
    result, text = made.root.do('web', 'Start')
    assert result == ERROR + 'ScopeFailed' and 'Too many units.' in text
    assert 'Too many units.' in made.root.vm_get('web', 'StateReason')
    check_undone(made)


@pytest.mark.parametrize('result', ['failed', 'canceled', 'timeout', 'dependency', 'skipped'])
def test_a_scope_job_that_ends_badly_fails_the_start(made, result):
    made.systemd.start_result = result
    got, text = made.root.do('web', 'Start')
    assert got == ERROR + 'ScopeFailed' and f"'{result}'" in text
    check_undone(made)


def test_a_scope_that_is_never_answered_fails_the_start_after_the_time_limit(made):
    made.systemd.behaviour['StartTransientUnit'] = 'silent'
    began = time.monotonic()
    result, text = made.root.do('web', 'Start')
    assert result == ERROR + 'ScopeFailed' and 'ScopeTimeoutSec' in text
    assert 1.9 < time.monotonic() - began < 10
    check_undone(made)


def test_a_scope_made_after_the_time_limit_is_stopped(made):
    made.systemd.behaviour['StartTransientUnit'] = 'hold'
    job = made.root.vm('web', 'Start')
    result, text = made.root.job(job)
    assert result == ERROR + 'ScopeFailed' and 'ScopeTimeoutSec' in text
    made.systemd.release()
    run_for(0.2)
    check_undone(made)


def test_a_scope_made_while_its_end_is_awaited_is_stopped(made):
    made.systemd.behaviour['StartTransientUnit'] = 'hold'
    made.systemd.behaviour['StopUnit'] = 'hold'
    job = made.root.vm('web', 'Start')
    run_until(lambda: len(made.systemd.held) == 2, 10)
    made.systemd.release()  # in the order of the calls, as PID 1 would
    result, _ = made.root.job(job)
    assert result == ERROR + 'ScopeFailed'
    check_undone(made)


def test_a_job_path_that_was_answered_and_never_removed_fails_the_start(made):
    made.systemd.behaviour['StartTransientUnit'] = lambda m, _: made.systemd.reply(m, 'o', '/org/freedesktop/systemd1/job/4711')
    result, text = made.root.do('web', 'Start')
    assert result == ERROR + 'ScopeFailed' and 'ScopeTimeoutSec' in text
    check_undone(made)


def test_pid_1_that_never_answers_a_stop_does_not_hold_the_vm_for_ever(made):
    """systemd was re-executed, and JobRemoved got lost."""
    assert made.root.do('web', 'Start') == ('done', '')
    made.systemd.behaviour['StopUnit'] = lambda m, _: made.systemd.reply(m, 'o', '/org/freedesktop/systemd1/job/4711')
    assert made.root.do('web', 'Stop', 't', 1, timeout=40) == ('done', '')
    assert made.root.state('web') == 'stopped'


def test_a_launcher_killed_before_its_scope_is_up_fails_the_start(made):
    made.systemd.behaviour['StartTransientUnit'] = 'hold'
    job = made.root.vm('web', 'Start')
    run_until(lambda: made.systemd.held)
    os.kill(dict(made.systemd.held[0][2][2])['PIDs'][0], signal.SIGKILL)
    run_for(0.2)
    made.systemd.release()
    result, _ = made.root.job(job)
    assert result in (ERROR + 'ScopeFailed', ERROR + 'VMMFailed')
    check_undone(made)


def test_pid_1_that_leaves_the_bus_during_a_start_fails_it(made):
    made.systemd.behaviour['StartTransientUnit'] = 'hold'
    job = made.root.vm('web', 'Start')
    run_until(lambda: made.systemd.held)
    made.systemd.vanish()
    result, _ = made.root.job(job)
    assert result == ERROR + 'ScopeFailed'
    made.systemd.appear()
    check_undone(made)


def test_many_starts_ask_pid_1_for_a_bounded_number_of_scopes_at_a_time(cold):
    host = cold.configure(ScopeTimeoutSec="60").start()
    host.systemd.behaviour['StartTransientUnit'] = 'hold'
    jobs = []
    for i in range(60):
        host.root.create(f'vm-{i}')
        jobs.append(host.root.vm(f'vm-{i}', 'Start'))
    run_until(lambda: len(host.systemd.held) >= 48)
    run_for(0.1)
    assert len(host.systemd.held) == 48
    host.systemd.release()
    for j in jobs:
        assert host.root.job(j) == ('done', '')


@pytest.mark.parametrize('how', ['canceled', 'launcher killed'])
def test_a_start_that_fails_before_pid_1_was_asked_is_never_asked_for(cold, how):
    host = cold.configure(ScopeTimeoutSec="60").start()
    host.systemd.behaviour['StartTransientUnit'] = host.systemd.behaviour['StopUnit'] = 'hold'
    jobs = []
    for i in range(48):
        host.root.create(f'vm-{i}')
        jobs.append(host.root.vm(f'vm-{i}', 'Start'))
    run_until(lambda: len(host.systemd.held) == 48)
    assert host.root.create('late') == ('done', '')
    late = host.root.vm('late', 'Start')
    record = host.daemon.state / 'vms/late/vm.json'
    run_until(lambda: 'runtime' in json.loads(record.read_text()))
    if how == 'canceled':
        host.root.call(late, JOB, 'Cancel')
    else:
        os.kill(json.loads(record.read_text())['runtime']['pid'], signal.SIGKILL)
    assert host.root.job(late)[0] == ('canceled' if how == 'canceled' else ERROR + 'VMMFailed')
    host.systemd.release()
    for j in jobs:
        assert host.root.job(j) == ('done', '')
    assert not [a for m, a in host.systemd.calls if a and a[0] == 'hero-vm-late.scope']
    host.nothing_left('late', files=True)


def test_a_started_vm_stopped_by_systemctl_goes_down_gracefully_and_says_why(made):
    assert made.root.do('web', 'Start') == ('done', '')
    made.systemd.request_stop('hero-vm-web.scope')
    made.wait_state('web', 'stopped')
    assert 'systemd' in made.root.vm_get('web', 'StateReason')
    assert made.root.transitions('web')[-2:] == [('running', 'stopping'), ('stopping', 'stopped')]
    check_undone(made, 'stopped')


def test_a_stop_that_waits_for_other_units_is_begun_when_systemd_begins_it(made):
    assert made.root.do('web', 'Start') == ('done', '')
    number = made.systemd.request_stop('hero-vm-web.scope', state='waiting')
    run_for(0.2)
    assert made.root.state('web') == 'running'
    made.systemd.begin_stop(number)
    made.wait_state('web', 'stopped')
    check_undone(made, 'stopped')


def test_request_stop_of_somebody_elses_scope_is_none_of_our_business(made):
    assert made.root.do('web', 'Start') == ('done', '')
    for unit in ('hero-vm-none.scope', 'hero-vm-.scope', 'web.scope', 'hero-vm-web.service', 'session-1.scope', 'hero-vm-web'):
        made.systemd.request_stop(unit)
    run_for(0.2)
    assert made.root.state('web') == 'running'


def test_request_stop_during_a_start_ends_the_start(made):
    assert made.root.do('web', 'Delete', 't', 0) == ('done', '')
    assert made.root.create('web', MockScript='slow-ready=5000') == ('done', '')
    job = made.root.vm('web', 'Start')
    run_until(lambda: processes_named('web'))
    run_for(0.1)
    made.systemd.request_stop('hero-vm-web.scope')
    result, text = made.root.job(job)
    assert result == ERROR + 'VMMFailed' and 'systemd' in text
    assert made.root.state('web') == 'start-failed'


def test_a_vmm_killed_by_systemctl_kill_is_noticed(made):
    assert made.root.do('web', 'Start') == ('done', '')
    made.systemd.units['hero-vm-web.scope'].kill(signal.SIGKILL)
    made.wait_state('web', 'failed')
    assert 'SIGKILL' in made.root.vm_get('web', 'StateReason')
    check_undone(made, 'failed')


def test_weights_are_set_on_the_running_scope(made):
    from bus_client import spec
    assert made.root.do('web', 'Start') == ('done', '')
    made.root.vm('web', 'SetResources', 'a{sv}', spec(CPUWeight=50, IOWeight=70))
    run_until(lambda: made.systemd.count('SetUnitProperties'))
    [(name, runtime, properties)] = [a for m, a in made.systemd.calls if m == 'SetUnitProperties']
    # Not the quota, which somebody may have set to something else by systemctl.
    assert (name, runtime, dict(properties)) == ('hero-vm-web.scope', True, {'CPUWeight': 50, 'IOWeight': 70})


def test_the_limit_on_cpu_time_follows_the_cpus_of_a_running_vm(made):
    from bus_client import spec
    assert made.root.do('web', 'Start') == ('done', '')
    made.root.vm('web', 'SetResources', 'a{sv}', spec(CPUs=2))
    run_until(lambda: made.systemd.count('SetUnitProperties'))
    [(_, _, properties)] = [a for m, a in made.systemd.calls if m == 'SetUnitProperties']
    assert dict(properties) == {'CPUQuotaPerSecUSec': 2_000_000}
