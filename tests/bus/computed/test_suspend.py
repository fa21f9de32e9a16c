# SPDX-License-Identifier: Apache-2.0
"""Suspend and resume, when VMM or PID 1 do not play along: the VM runs, or sleeps, and the state says which."""

import os
import signal
import time

import pytest
from bus_client import ERROR, JOB, run_for, run_until
from fake_service import Error

FAILED = Error('org.freedesktop.DBus.Error.Failed', 'The cgroup is haunted.')


@pytest.fixture
def web(cold):
    host = cold.configure(ScopeTimeoutSec='700ms', MonitorTimeoutSec='700ms').start()
    host.running('web')
    host.unit = host.systemd.units['hero-vm-web.scope']
    return host


def check_runs(host):
    assert host.root.state('web') == 'running'
    assert not host.unit.is_frozen()
    # And the guest's CPUs do, which the mock's agent shows.
    import socket
    stdio, stderr, control = host.root.vm('web', 'Exec', 'asa{sv}', ['echo', 'here'], {})
    s = socket.socket(fileno=stdio)
    s.settimeout(5)
    assert s.recv(100) == b'here\n'
    s.close()
    os.close(stderr)
    os.close(control)


def test_a_freeze_that_fails_leaves_the_vm_running(web):
    web.systemd.behaviour['FreezeUnit'] = FAILED
    result, text = web.root.do('web', 'Suspend')
    assert result == ERROR + 'ScopeFailed' and 'haunted' in text
    assert web.root.transitions('web')[-2:] == [('running', 'suspending'), ('suspending', 'running')]
    check_runs(web)


def test_a_thaw_that_fails_leaves_the_vm_suspended(web):
    assert web.root.do('web', 'Suspend') == ('done', '')
    web.systemd.behaviour['ThawUnit'] = FAILED
    result, text = web.root.do('web', 'Resume')
    assert result == ERROR + 'ScopeFailed' and 'haunted' in text
    assert web.root.state('web') == 'suspended'
    web.systemd.behaviour.clear()
    assert web.root.do('web', 'Resume') == ('done', '')
    check_runs(web)


def test_pid_1_that_hangs_during_a_freeze_and_goes_on_later_leaves_the_vm_running(web):
    web.systemd.behaviour['FreezeUnit'] = 'hold'
    web.systemd.behaviour['ThawUnit'] = 'hold'
    result, text = web.root.do('web', 'Suspend')
    assert result == ERROR + 'ScopeFailed' and 'ScopeTimeoutSec' in text
    assert web.root.state('web') == 'running'
    web.systemd.release()  # in the order of the calls
    run_for(0.1)
    check_runs(web)


def test_a_freeze_that_is_never_answered_leaves_the_guest_running(web):
    web.systemd.behaviour['FreezeUnit'] = 'silent'
    assert web.root.do('web', 'Suspend')[0] != 'done'
    run_for(0.1)
    check_runs(web)


def test_a_second_suspend_after_one_that_timed_out_works(web):
    web.systemd.behaviour['FreezeUnit'] = 'hold'
    assert web.root.do('web', 'Suspend')[0] != 'done'
    web.systemd.release()
    web.unit.freeze(False)
    assert web.root.do('web', 'Suspend') == ('done', '')
    assert web.unit.is_frozen()
    assert web.root.do('web', 'Resume') == ('done', '')
    check_runs(web)


def test_a_vmm_that_does_not_answer_the_pause_goes_on_running(web):
    os.kill(web.pid(), signal.SIGSTOP)
    result, text = web.root.do('web', 'Suspend')
    assert result == ERROR + 'VMMFailed' and 'MonitorTimeoutSec' in text
    os.kill(web.pid(), signal.SIGCONT)  # and only now pauses
    run_for(0.2)
    check_runs(web)


def test_a_vmm_that_hangs_between_pause_and_a_freeze_that_fails_is_waited_for_once(web):
    def stop_then_fail(message, arguments):
        os.kill(web.pid_of_web, signal.SIGSTOP)
        web.systemd.error(message, FAILED.name, FAILED.text)

    web.pid_of_web = web.pid()
    web.systemd.behaviour['FreezeUnit'] = stop_then_fail
    result, text = web.root.do('web', 'Suspend')
    assert result == ERROR + 'ScopeFailed'
    os.kill(web.pid_of_web, signal.SIGCONT)
    run_for(0.3)
    check_runs(web)


def test_a_vmm_that_does_not_answer_the_resume_stays_suspended_and_can_be_tried_again(web):
    assert web.root.do('web', 'Suspend') == ('done', '')
    pid = web.pid()

    def stop_then_thaw(message, arguments):
        os.kill(pid, signal.SIGSTOP)
        web.systemd.do_ThawUnit(message, *arguments)

    web.systemd.behaviour['ThawUnit'] = stop_then_thaw
    result, text = web.root.do('web', 'Resume')
    assert result == ERROR + 'VMMFailed' and 'MonitorTimeoutSec' in text
    assert web.root.state('web') == 'suspended'
    web.systemd.behaviour.clear()
    os.kill(pid, signal.SIGCONT)
    assert web.root.do('web', 'Resume') == ('done', '')
    check_runs(web)


def test_a_vmm_that_crashes_when_paused_fails_the_vm_and_the_job(host):
    host.running('web', MockScript='crash-on-pause')
    result, text = host.root.do('web', 'Suspend')
    assert result == ERROR + 'VMMFailed' and 'SIGABRT' in text
    assert host.root.state('web') == 'failed'
    assert host.root.reserved() == (0, 0, 16 << 20)
    host.nothing_left('web', files=True)


def test_a_vmm_killed_in_its_sleep_fails_the_vm(web):
    assert web.root.do('web', 'Suspend') == ('done', '')
    os.kill(web.pid(), signal.SIGKILL)
    web.wait_state('web', 'failed')
    web.nothing_left('web', files=True)


@pytest.mark.parametrize('when', ['FreezeUnit', 'ThawUnit'])
def test_a_vmm_killed_while_pid_1_works_on_its_scope_fails_the_job(web, when):
    if when == 'ThawUnit':
        assert web.root.do('web', 'Suspend') == ('done', '')
    pid = web.pid()
    web.systemd.behaviour[when] = 'hold'
    job = web.root.vm('web', 'Suspend' if when == 'FreezeUnit' else 'Resume')
    run_until(lambda: web.systemd.held)
    os.kill(pid, signal.SIGKILL)
    result, text = web.root.job(job)
    assert result == ERROR + 'VMMFailed' and 'SIGKILL' in text
    assert web.root.state('web') == 'failed'
    web.systemd.release()
    run_for(0.1)
    assert web.root.state('web') == 'failed'
    assert web.root.do('web', 'Start') == ('done', '')


def test_suspend_can_be_cancelled_while_the_scope_is_being_frozen(web):
    web.systemd.behaviour['FreezeUnit'] = 'hold'
    job = web.root.vm('web', 'Suspend')
    run_until(lambda: web.systemd.held)
    web.root.call(job, JOB, 'Cancel')
    web.systemd.release()
    assert web.root.job(job)[0] == 'canceled'
    check_runs(web)


def test_a_cancelled_suspend_whose_thaw_is_slow_comes_back_once(cold):
    web = cold.configure(MonitorTimeoutSec='1').start()
    web.running('web')
    web.unit = web.systemd.units['hero-vm-web.scope']
    web.systemd.behaviour['FreezeUnit'] = 'hold'
    web.systemd.behaviour['ThawUnit'] = 'hold'
    job = web.root.vm('web', 'Suspend')
    run_until(lambda: web.systemd.held)
    web.root.call(job, JOB, 'Cancel')
    web.systemd.release('FreezeUnit')
    run_until(lambda: web.systemd.held)
    run_for(1.2)
    web.systemd.release()
    assert web.root.job(job)[0] == 'canceled'
    run_for(0.2)
    check_runs(web)


def test_suspending_what_sleeps_and_resuming_what_runs_is_done_already(web):
    assert web.root.do('web', 'Resume') == ('done', '')
    assert web.root.do('web', 'Suspend') == ('done', '')
    assert web.root.do('web', 'Suspend') == ('done', '')
    assert web.root.state('web') == 'suspended'


def test_request_stop_of_a_suspended_vm_ends_it(web):
    assert web.root.do('web', 'Suspend') == ('done', '')
    web.unit.freeze(False)  # as PID 1 does before it stops a unit
    web.systemd.request_stop('hero-vm-web.scope')
    web.wait_state('web', 'stopped')
    web.nothing_left('web', files=True)
