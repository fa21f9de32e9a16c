# SPDX-License-Identifier: Apache-2.0
"""VMs that nobody uses go to sleep, and those that somebody uses do not. The mock's CPU time is its script's."""

import contextlib
import os
import socket
import time

import pytest
from bus_client import ERROR, VM, BusError, run_for, run_until, spec, vm_path

NEVER = 2**64 - 1
MSEC = 1000
SEC = 1000 * MSEC
SOON = 800 * MSEC  # longer than a start may keep a mock busy
LONG_ENOUGH = 2  # for SOON to be over and to be noticed, s


@pytest.fixture
def host(cold):
    """Looks at VMs ten times a second; they sleep when their own policy says so. The sanitizers' CPU time is no activity."""
    return cold.configure(CheckIntervalSec='100ms', CPUThreshold='10%').start()


def stays_awake(host, name='web', seconds=LONG_ENOUGH):
    before = host.root.transitions(name)
    run_for(seconds)
    assert host.root.transitions(name) == before
    assert host.root.state(name) == 'running'


def falls_asleep(host, name='web'):
    host.wait_state(name, 'suspended', 15)


def awake_reason(host, name='web'):
    return host.root.vm_get(name, 'AwakeReason')


def has_reason(host, text, name='web'):
    run_until(lambda: awake_reason(host, name) == text, 5, f'AwakeReason does not become {text!r}')


def announced(host, key, name='web'):
    """The values that were sent around."""
    return [a[1][key] for p, m, a in host.root.log if m == 'PropertiesChanged' and p == vm_path(name) and key in a[1]]


@contextlib.contextmanager
def exec_session(host, *command):
    stdio, stderr, control = host.root.vm('web', 'Exec', 'asa{sv}', list(command), {})
    try:
        yield socket.socket(fileno=os.dup(stdio))
    finally:
        for fd in (stdio, stderr, control):
            os.close(fd)


def test_idle_vm_is_suspended_and_says_since_when_it_was_idle(host):
    host.running(IdleTimeoutUSec=SOON)
    begun = time.time()
    falls_asleep(host)
    assert host.systemd.units['hero-vm-web.scope'].is_frozen()
    assert host.root.vm_get('web', 'IdleSinceTimestamp') / SEC < begun + 0.3
    assert host.root.transitions('web')[-2:] == [('running', 'suspending'), ('suspending', 'suspended')]
    assert awake_reason(host) == ''


def test_vm_that_runs_says_what_holds_and_when_it_will_sleep(host):
    host.running(IdleTimeoutUSec=3600 * SEC)
    assert awake_reason(host) == 'It has just been started, resumed or found.'
    assert host.root.vm_get('web', 'IdleSinceTimestamp') == 0
    has_reason(host, '')
    since, sleep = (host.root.vm_get('web', k + 'Timestamp') for k in ('IdleSince', 'Sleep'))
    assert abs(since / SEC - time.time()) < 5
    assert sleep == since + 3600 * SEC
    assert host.root.vm_get('web', 'SleepTimestamp') == sleep
    run_until(lambda: announced(host, 'AwakeReason')[-1] == '')  # a little later than it can be read


def test_vm_whose_policy_says_never_stays_awake(host):
    host.running(IdleTimeoutUSec=NEVER)
    assert awake_reason(host) == 'Its idle timeout says never.'
    assert host.root.vm_get('web', 'SleepTimestamp') == NEVER
    assert host.root.vm_get('web', 'IdleSinceTimestamp') == 0
    stays_awake(host)


def test_vm_without_a_policy_has_that_of_the_configuration_and_a_reload_changes_it(host):
    host.running()
    assert host.root.vm_get('web', 'IdleTimeoutUSec') == NEVER
    host.configure(CheckIntervalSec='100ms', CPUThreshold='10%', IdleTimeoutSec='800ms', HibernateDelaySec='2h')
    host.daemon.reload()
    assert host.root.vm_get('web', 'IdleTimeoutUSec') == SOON
    assert host.root.vm_get('web', 'HibernateDelayUSec') == 7200 * SEC
    falls_asleep(host)
    assert announced(host, 'IdleTimeoutUSec') == [SOON]
    assert announced(host, 'HibernateDelayUSec') == [7200 * SEC]


def test_vm_that_computes_stays_awake_and_says_so(host):
    host.running(IdleTimeoutUSec=SOON, MockScript='load=90')
    has_reason(host, 'It uses CPU time.')
    stays_awake(host)
    assert host.root.vm_get('web', 'IdleSinceTimestamp') == 0


def test_cpu_time_that_cannot_be_read_keeps_a_vm_awake(cold):
    cold.daemon.cgroups = False
    host = cold.configure(CheckIntervalSec='100ms').start()
    host.running(IdleTimeoutUSec=SOON)
    has_reason(host, 'Its CPU time cannot be read.')
    stays_awake(host)


def test_open_exec_session_keeps_a_vm_awake_until_it_ends(host):
    host.running(IdleTimeoutUSec=SOON)
    with exec_session(host, 'cat') as s:
        has_reason(host, 'An exec session is open.')
        stays_awake(host)
        s.close()
    falls_asleep(host)


def test_what_is_typed_at_the_console_keeps_a_vm_awake_and_what_it_prints_does_not(host):
    host.running(IdleTimeoutUSec=SOON, MockScript='console-flood=1000')
    fd = host.root.vm('web', 'OpenConsole', 't', 0)
    with socket.socket(fileno=fd) as console:
        for _ in range(8):
            console.send(b'x')
            run_for(0.2)
            assert host.root.state('web') == 'running'
        falls_asleep(host)


def test_touch_begins_the_time_anew(host):
    host.running(IdleTimeoutUSec=SOON)
    for _ in range(8):
        host.root.vm('web', 'Touch')
        run_for(0.2)
        assert host.root.state('web') == 'running'
    assert 'It was touched.' in announced(host, 'AwakeReason')
    falls_asleep(host)


def test_touch_of_what_does_not_run_is_no_mistake(host):
    assert host.root.create('web') == ('done', '')
    host.root.vm('web', 'Touch')
    assert host.root.state('web') == 'configured'


def test_hold_keeps_a_vm_awake_for_that_time(host):
    host.running(IdleTimeoutUSec=SOON)
    host.root.vm('web', 'Hold', 't', 3 * SEC)
    until = host.root.vm_get('web', 'HeldUntilTimestamp')
    assert abs(until / SEC - time.time() - 3) < 0.5
    text = time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(until // SEC))
    assert awake_reason(host) == f'It is held awake until {text}.'
    assert host.root.vm_get('web', 'SleepTimestamp') == until + SOON
    stays_awake(host)
    falls_asleep(host)
    assert time.time() > until / SEC
    assert host.root.vm_get('web', 'HeldUntilTimestamp') == 0


def test_hold_of_nothing_ends_a_hold(host):
    host.running(IdleTimeoutUSec=SOON)
    host.root.vm('web', 'Hold', 't', 3600 * SEC)
    stays_awake(host)
    host.root.vm('web', 'Hold', 't', 0)
    assert host.root.vm_get('web', 'HeldUntilTimestamp') == 0
    falls_asleep(host)


def test_hold_is_a_day_at_most(host):
    host.running()
    for usec in (24 * 3600 * SEC + 1, NEVER):
        with pytest.raises(BusError) as e:
            host.root.vm('web', 'Hold', 't', usec)
        assert e.value.name == ERROR + 'InvalidArgument' and 'at most 24 hours' in e.value.text
    assert host.root.vm_get('web', 'HeldUntilTimestamp') == 0
    host.root.vm('web', 'Hold', 't', 24 * 3600 * SEC)


def test_set_idle_policy_acts_at_once_and_leaves_what_it_does_not_name(host):
    host.running(IdleTimeoutUSec=NEVER, HibernateDelayUSec=7 * SEC)
    stays_awake(host)
    host.root.vm('web', 'SetIdlePolicy', 'a{sv}', spec(IdleTimeoutUSec=SOON))
    assert awake_reason(host) == 'It was touched.'
    assert host.root.vm_get('web', 'HibernateDelayUSec') == 7 * SEC
    falls_asleep(host)
    assert announced(host, 'IdleTimeoutUSec')[-1] == SOON
    assert host.root.do('web', 'Resume') == ('done', '')
    host.root.vm('web', 'SetIdlePolicy', 'a{sv}', spec(IdleTimeoutUSec=NEVER, HibernateDelayUSec=8 * SEC))
    assert host.root.vm_get('web', 'HibernateDelayUSec') == 8 * SEC
    stays_awake(host)


@pytest.mark.parametrize('policy, text', [
    (spec(IdleTimeoutUSec=0), 'IdleTimeoutUSec must not be 0.'),
    (spec(CPUs=2), "An idle policy has no 'CPUs', only IdleTimeoutUSec and HibernateDelayUSec."),
])
def test_idle_policy_that_is_none_is_refused(host, policy, text):
    host.running(IdleTimeoutUSec=60 * SEC)
    with pytest.raises(BusError) as e:
        host.root.vm('web', 'SetIdlePolicy', 'a{sv}', policy)
    assert e.value.text == text
    assert host.root.vm_get('web', 'IdleTimeoutUSec') == 60 * SEC


def test_provision_with_another_policy_is_refused(host):
    assert host.root.provision('alice', IdleTimeoutUSec=60 * SEC) == ('done', '')
    assert host.root.provision('alice', IdleTimeoutUSec=60 * SEC) == ('done', '')
    with pytest.raises(BusError) as e:
        host.root.provision('alice', IdleTimeoutUSec=61 * SEC)
    assert 'with another IdleTimeoutUSec' in e.value.text


def test_resumed_vm_begins_anew_and_sleeps_again(host):
    host.running(IdleTimeoutUSec=SOON)
    falls_asleep(host)
    resumed = time.time()
    assert host.root.do('web', 'Resume') == ('done', '')
    falls_asleep(host)
    assert time.time() - resumed > SOON / SEC


def test_policy_and_hold_outlive_the_daemon(host):
    host.running(IdleTimeoutUSec=SOON, HibernateDelayUSec=NEVER)
    host.root.vm('web', 'Hold', 't', 60 * SEC)
    until = host.root.vm_get('web', 'HeldUntilTimestamp')
    host.daemon.kill()
    host.start()
    assert host.root.vm_get('web', 'IdleTimeoutUSec') == SOON
    assert host.root.vm_get('web', 'HibernateDelayUSec') == NEVER
    assert abs(host.root.vm_get('web', 'HeldUntilTimestamp') - until) < 50 * MSEC
    assert awake_reason(host).startswith('It is held awake until ')
    stays_awake(host)
    host.root.vm('web', 'Hold', 't', 0)
    falls_asleep(host)


def test_vm_that_was_adopted_falls_asleep_and_one_that_slept_goes_on_sleeping(host):
    host.running('one', IdleTimeoutUSec=SOON)
    host.running('two', IdleTimeoutUSec=2 * SEC)
    falls_asleep(host, 'one')
    since = host.root.vm_get('one', 'IdleSinceTimestamp')
    host.daemon.stop()
    host.start()
    assert host.root.state('one') == 'suspended'
    assert abs(host.root.vm_get('one', 'IdleSinceTimestamp') - since) < SEC
    falls_asleep(host, 'two')


def test_suspend_that_fails_is_tried_again_after_the_idle_time(host):
    from fake_service import Error
    host.running(IdleTimeoutUSec=SOON)
    host.systemd.behaviour['FreezeUnit'] = Error('org.freedesktop.DBus.Error.Failed', 'The cgroup is haunted.')
    run_until(lambda: ('suspending', 'running') in host.root.transitions('web'), 5)
    failed = time.time()
    host.systemd.behaviour.clear()
    falls_asleep(host)
    assert time.time() - failed > SOON / SEC / 2


@pytest.mark.parametrize('how', [('Touch',), ('Hold', 't', 60 * SEC), ('SetIdlePolicy', 'a{sv}', spec(IdleTimeoutUSec=NEVER))])
def test_sign_of_life_takes_back_the_suspend_of_an_idle_vm(host, how):
    host.systemd.behaviour['FreezeUnit'] = 'hold'
    host.running(IdleTimeoutUSec=SOON)
    run_until(lambda: host.systemd.held, 5)
    host.root.vm('web', *how)
    host.systemd.release()
    host.wait_state('web', 'running')
    assert host.root.transitions('web')[-2:] == [('running', 'suspending'), ('suspending', 'running')]
    assert not host.systemd.units['hero-vm-web.scope'].is_frozen()


def test_touch_does_not_take_back_a_suspend_that_somebody_asked_for(host):
    host.running()
    host.systemd.behaviour['FreezeUnit'] = 'hold'
    job = host.root.vm('web', 'Suspend')
    run_until(lambda: host.systemd.held)
    host.root.vm('web', 'Touch')
    host.systemd.release()
    assert host.root.job(job) == ('done', '')


def test_suspended_vm_says_when_it_will_be_hibernated_and_touch_and_hold_put_it_off(host):
    host.running(HibernateDelayUSec=3600 * SEC)
    assert host.root.do('web', 'Suspend') == ('done', '')
    sleep = host.root.vm_get('web', 'SleepTimestamp')
    if sleep == NEVER:
        pytest.skip('the mock hypervisor cannot be hibernated')
    assert abs(sleep / SEC - time.time() - 3600) < 5
    run_for(0.2)
    host.root.vm('web', 'Touch')
    assert host.root.vm_get('web', 'SleepTimestamp') - sleep > 200 * MSEC
    host.root.vm('web', 'Hold', 't', 7200 * SEC)
    assert host.root.vm_get('web', 'SleepTimestamp') == host.root.vm_get('web', 'HeldUntilTimestamp')
    host.root.vm('web', 'SetIdlePolicy', 'a{sv}', spec(HibernateDelayUSec=NEVER))
    assert host.root.vm_get('web', 'SleepTimestamp') == NEVER


def test_many_that_are_due_at_once_all_sleep_and_not_all_at_a_time(host):
    names = [f'vm-{i}' for i in range(24)]
    for name in names:
        host.running(name, IdleTimeoutUSec=NEVER)
    host.systemd.behaviour['FreezeUnit'] = 'hold'
    for name in names:
        host.root.vm(name, 'SetIdlePolicy', 'a{sv}', spec(IdleTimeoutUSec=SOON))
    run_until(lambda: len(host.systemd.held) >= 16, 10)
    run_for(0.5)
    assert len(host.systemd.held) == 16
    host.systemd.behaviour.clear()
    host.systemd.release()
    for name in names:
        falls_asleep(host, name)


def test_timer_stands_still_when_no_vm_can_come_to_sleep(host):
    host.running('never', IdleTimeoutUSec=NEVER)
    host.running('web', IdleTimeoutUSec=SOON)
    falls_asleep(host)
    run_for(0.3)
    before = host.daemon.cpu_time()
    run_for(2)
    assert host.daemon.cpu_time() - before <= 0.02


def test_last_activity_is_announced_when_it_moved_and_at_most_once_a_check(host):
    host.running(IdleTimeoutUSec=NEVER)  # no check would be needed for its sake
    host.root.vm('web', 'Touch')
    run_until(lambda: announced(host, 'LastActivityTimestamp'), 5)
    before, begun = len(announced(host, 'LastActivityTimestamp')), time.monotonic()
    while time.monotonic() < begun + 1:
        host.root.vm('web', 'Touch')
    last = host.root.vm_get('web', 'LastActivityTimestamp')
    run_until(lambda: announced(host, 'LastActivityTimestamp')[-1] == last, 5)
    assert 2 <= len(announced(host, 'LastActivityTimestamp')) - before <= (time.monotonic() - begun) / 0.09 + 2
    n = len(announced(host, 'LastActivityTimestamp'))
    run_for(0.5)
    assert len(announced(host, 'LastActivityTimestamp')) == n


def test_last_activity_of_before_a_restart_is_not_announced_again(host):
    host.running(IdleTimeoutUSec=NEVER)
    host.root.vm('web', 'Touch')
    run_until(lambda: announced(host, 'LastActivityTimestamp'), 5)
    host.daemon.stop()
    host.start()
    host.root.log.clear()
    host.root.vm('web', 'Hold', 't', 60 * SEC)
    run_for(0.5)
    assert announced(host, 'LastActivityTimestamp') == []
