# SPDX-License-Identifier: Apache-2.0
"""Transient VMs: the daemon deletes them when they have ended, and only then."""

import json
import os
import signal
import subprocess
import time

import pytest
from bus_client import ERROR, JOB, VM, BusError, run_for, run_until, vm_path

FOREVER = 2**64 - 1
LINGER = 5


def is_gone(host, name='web'):
    return name not in host.root.names()


def gone(host, name='web', timeout=20):
    run_until(lambda: is_gone(host, name), timeout, f'{name} is not deleted')
    host.nothing_left(name)
    assert host.root.reserved() == (0, 0, 0)


def jobs_of(host, name='web'):
    return [a[3] for m, a in host.root.signals('JobRemoved') if a[2] == name]


def stays(host, name='web', seconds=0.5):
    run_for(seconds)
    assert not is_gone(host, name)


def wait(host, *states, name='web'):
    return host.root.send(vm_path(name), VM, 'Wait', 'ast', list(states), FOREVER)


def test_a_vm_is_not_transient_unless_asked_for(host):
    host.running('web', MockScript='exit-after=200')
    assert host.root.vm_get('web', 'Transient') is False
    host.wait_state('web', 'stopped')
    stays(host)
    host.root.create('other', Transient=False)
    assert host.root.vm_get('other', 'Transient') is False
    host.root.create('third', Transient=True)
    assert host.root.vm_get('third', 'Transient') is True


@pytest.mark.parametrize('script', ['exit-after=300', 'exit-after=300,command-exit=3', 'crash-after=300', 'panic-after=300'])
def test_it_goes_when_its_guest_ends_whatever_the_end(host, script):
    host.running('web', Transient=True, MockScript=script)
    gone(host)
    run_until(lambda: host.root.signals('VMRemoved') == [('VMRemoved', ['web', vm_path('web')])])
    run_until(lambda: jobs_of(host) == ['done', 'done', 'done'])  # create, start and the deletion that nobody asked for
    news = [m for m, _ in host.root.signals('JobNew', 'JobRemoved')]
    assert news == ['JobNew', 'JobRemoved'] * 3
    assert host.root.manager('EventsSince', 'ts', 0, '')[0][-1][4] in ('stopped', 'failed')


@pytest.mark.parametrize('flags', [0, 1])
def test_it_goes_when_it_was_stopped_and_the_stop_has_been_answered(host, flags):
    host.running('web', Transient=True)
    assert host.root.do('web', 'Stop', 't', flags) == ('done', '')
    gone(host)


def test_it_goes_when_its_vmm_is_killed_from_outside(host):
    os.kill(host.running('web', Transient=True), signal.SIGKILL)
    gone(host)


def test_one_that_dies_while_it_is_suspended_goes(host):
    host.running('web', Transient=True)
    assert host.root.do('web', 'Suspend') == ('done', '')
    os.kill(host.pid(), signal.SIGKILL)
    gone(host)


def test_a_vm_that_was_never_started_stays(host):
    assert host.root.create('web', Transient=True) == ('done', '')
    stays(host)
    host.daemon.kill()
    host.daemon.start()
    stays(host, seconds=LINGER + 1)
    assert host.root.do('web', 'Delete', 't', 0) == ('done', '')


def test_a_first_start_that_fails_or_is_canceled_leaves_the_vm(host):
    assert host.root.create('web', Transient=True, MockScript='boot-failed') == ('done', '')
    assert host.root.do('web', 'Start')[0] == ERROR + 'BootFailed'
    stays(host)
    assert host.root.state('web') == 'start-failed'
    assert host.root.create('slow', Transient=True, MockScript='slow-ready=60000') == ('done', '')
    job = host.root.vm('slow', 'Start')
    run_until(lambda: host.root.state('slow') == 'starting')
    host.root.call(job, JOB, 'Cancel')
    assert host.root.job(job)[0] == 'canceled'
    stays(host, 'slow')


def test_it_stays_through_a_restart_and_a_suspend(host):
    pid = host.running('web', Transient=True)
    assert host.root.do('web', 'Restart') == ('done', '')
    assert host.pid() != pid
    assert host.root.do('web', 'Suspend') == ('done', '')
    stays(host)
    assert host.root.do('web', 'Resume') == ('done', '')
    stays(host)
    assert host.root.state('web') == 'running'


def test_it_goes_when_a_restart_does_not_get_further_than_the_stop(host):
    host.running('web', Transient=True)
    host.systemd.behaviour['StartTransientUnit'] = 'hold'
    job = host.root.vm('web', 'Restart')
    run_until(lambda: host.root.state('web') == 'starting')
    host.root.call(job, JOB, 'Cancel')
    assert host.root.job(job)[0] == 'canceled'
    gone(host)


@pytest.mark.parametrize('how', ['stop', 'kill'])
def test_it_survives_a_restart_of_the_daemon_and_still_is_transient(host, how):
    pid = host.running('web', Transient=True)
    getattr(host.daemon, how)()
    host.daemon.start()
    assert host.pid() == pid and host.root.vm_get('web', 'Transient') is True
    stays(host)
    assert host.root.do('web', 'Stop', 't', 0) == ('done', '')
    gone(host)


@pytest.mark.parametrize('how', ['stop', 'kill'])
def test_one_that_ended_without_a_daemon_is_told_of_and_goes(host, how):
    pid = host.running('web', Transient=True)
    getattr(host.daemon, how)()
    os.kill(pid, signal.SIGKILL)
    run_for(0.2)
    host.daemon.start()
    assert wait(host, 'stopped', 'failed').result()[0] in ('stopped', 'failed')
    assert host.root.vm_get('web', 'ExitReason') != ''
    gone(host, timeout=3 * LINGER)


def test_one_whose_deletion_a_daemon_did_not_live_to_begin_goes(host):
    host.running('web', Transient=True, MockScript='exit-after=500,command-exit=4')
    assert wait(host, 'stopped').result()[0] == 'stopped'
    host.daemon.kill()
    host.daemon.start()
    assert host.root.vm_get('web', 'ExitCode') == 4
    gone(host, timeout=3 * LINGER)


def test_who_waits_for_the_end_can_ask_how_it_came(host):
    host.running('web', Transient=True, MockScript='exit-after=500,command-exit=7')
    call = wait(host, 'stopped', 'failed')
    assert call.result() == ('stopped', 'Its command ended with status 7.', False)
    began = time.monotonic()
    run_for(1)
    assert (host.root.vm_get('web', 'ExitCode'), host.root.vm_get('web', 'ExitReason')) == (7, 'exited')
    run_until(lambda: is_gone(host), 2 * LINGER)
    assert LINGER - 1 < time.monotonic() - began
    gone(host)


def test_who_waits_for_another_state_hears_that_it_is_gone(host):
    host.running('web', Transient=True, MockScript='exit-after=300')
    with pytest.raises(BusError) as e:
        wait(host, 'suspended').result()
    assert e.value.name == ERROR + 'NoSuchVM'


def test_waiting_again_and_again_does_not_keep_it(host):
    host.running('web', Transient=True, MockScript='exit-after=300')
    assert wait(host, 'stopped').result()[0] == 'stopped'
    end = time.monotonic() + 2 * LINGER
    with pytest.raises(BusError):
        while time.monotonic() < end:
            wait(host, 'stopped').result()
            run_for(0.3)
    gone(host)


def test_one_that_is_started_again_in_time_lives_on(host):
    host.running('web', Transient=True)
    call = wait(host, 'stopped')
    assert host.root.do('web', 'Stop', 't', 0) == ('done', '')
    assert call.result()[0] == 'stopped'
    assert host.root.do('web', 'Start') == ('done', '')
    stays(host, seconds=LINGER + 1)
    assert host.root.state('web') == 'running'
    assert host.root.do('web', 'Stop', 't', 0) == ('done', '')
    gone(host)  # nobody waited for this end


def test_deleting_one_that_just_ended_is_not_refused(host):
    for i in range(10):
        host.running('web', Transient=True)
        job = host.root.vm('web', 'Stop', 't', 1)
        run_until(lambda: host.root.job(job))
        try:
            result = host.root.job(host.root.vm('web', 'Delete', 't', 1))
        except BusError as e:
            assert e.name in (ERROR + 'NoSuchVM', 'org.freedesktop.DBus.Error.UnknownObject'), e
        else:
            assert result == ('done', '')
        gone(host)


def test_it_is_deleted_when_its_user_wants_that(host):
    host.running('web', Transient=True, User='alice')
    assert host.root.do('web', 'Delete', 't', 0) == ('done', '')
    gone(host)
    assert jobs_of(host) == ['done'] * 3


def test_the_vm_of_a_user_can_be_transient_but_provisioning_makes_none(host):
    host.running('web', Transient=True, User='alice')
    assert host.root.do('web', 'Stop', 't', 0) == ('done', '')
    gone(host)
    with pytest.raises(BusError) as e:
        host.root.provision('alice', Transient=True)
    assert e.value.name == ERROR + 'InvalidArgument' and 'CreateVM' in e.value.text and host.root.names() == []


def test_only_a_boolean_says_transient(host):
    with pytest.raises(BusError) as e:
        host.root.create('web', Transient='yes')
    assert e.value.name == ERROR + 'InvalidArgument' and 'Transient' in e.value.text


def test_the_record_says_transient_only_where_it_is(host):
    record = lambda name: json.loads((host.daemon.state / 'vms' / name / 'vm.json').read_text())
    host.root.create('plain')
    host.root.create('web', Transient=True)
    assert record('web')['transient'] is True and 'transient' not in record('plain')


def in_daemons_mounts(host, *words):
    subprocess.run(['nsenter', '-t', str(host.daemon.pid), '-m', *words], check=True)


def test_a_deletion_that_fails_is_not_tried_again_at_once(host):
    host.running('web', Transient=True)
    file = '/var/lib/hero-compute/vms/web/overlay.img'
    in_daemons_mounts(host, 'mount', '--bind', '/dev/null', file)
    assert host.root.do('web', 'Stop', 't', 0) == ('done', '')
    run_until(lambda: len(jobs_of(host)) == 4)
    stays(host, seconds=1.5)
    assert len(jobs_of(host)) == 4 and jobs_of(host)[-1] != 'done' and 'Cannot remove the files' in host.daemon.log()
    in_daemons_mounts(host, 'umount', file)
    assert host.root.do('web', 'Delete', 't', 0) == ('done', '')
    gone(host)
