# SPDX-License-Identifier: Apache-2.0
"""Hibernation, and the way back, when VMM, PID 1 or the disk do not play along: a guest is never lost as long as it is
somewhere, and the state says where."""

import json
import os
import re
import select
import shutil
import signal
import stat
import subprocess
import time

import pytest
from bus_client import ERROR, JOB, VM, BusError, run_for, run_until, spec, vm_path
from daemon import BUILD, processes_named
from fake_service import Error
from sockets import Exec, console

FAILED = Error('org.freedesktop.DBus.Error.Failed', 'The cgroup is haunted.')
UNIT = 'hero-vm-web.scope'
MEMORY, DISK = 64 << 20, 16 << 20

both_ways = pytest.mark.parametrize('how', ['stop', 'kill'])


def hibernator(host, script=None):
    """What is run in place of hero-hibernate: a shell script, or itself again."""
    program = host.directory / 'lib' / 'hero-hibernate'
    program.unlink()
    if script is None:
        shutil.copy(BUILD / 'src/hypervisor/hero-hibernate', program)
    else:
        program.write_text('#!/bin/sh\n' + script)
        program.chmod(0o755)


def configured(cold, **keys):
    host = cold.configure(ScopeTimeoutSec='700ms', MonitorTimeoutSec='700ms', **keys).start()
    host.image = host.daemon.state / 'vms/web/hibernation.img'
    return host


@pytest.fixture
def quick(cold):
    """Time limits are short."""
    return configured(cold)


@pytest.fixture
def web(quick):
    """A VM that runs."""
    quick.running('web')
    return quick


@pytest.fixture
def asleep(web):
    """A VM that is hibernated."""
    assert web.root.do('web', 'Hibernate') == ('done', '')
    return web


def record(host):
    return json.loads((host.daemon.state / 'vms/web/vm.json').read_text())


def change_script(host, script):
    """What the next VMM does. Between two daemons."""
    path = host.daemon.state / 'vms/web/vm.json'
    o = json.loads(path.read_text())
    text = json.dumps(o)
    old = o['spec']['mock_script'] if 'spec' in o else o['mock_script']
    path.write_text(text.replace(json.dumps(old), json.dumps(script)))


def expect(sock, what):
    """While PID 1 and everybody else work."""
    data = b''

    def came():
        nonlocal data
        if select.select([sock], [], [], 0)[0]:
            data += sock.recv(65536)
        return what in data
    run_until(came, 10, f'{what!r} did not come')


def reason(host):
    return host.root.vm_get('web', 'StateReason')


def check_answers(host):
    e = Exec(host.root, 'web', 'echo', 'here')
    expect(e.stdio, b'here\n')
    assert e.result() == 'exit 0'
    e.close()
    assert host.root.state('web') == 'running'


def check_hibernated(host):
    """And costs nothing but disk."""
    assert host.root.state('web') == 'hibernated'
    assert host.root.reserved() == (0, 0, DISK)
    assert host.root.vm_get('web', 'PID') == 0
    assert host.image.exists() and not processes_named('web')
    assert [os.readlink(f'/proc/self/fd/{fd}') for n, fd, _ in host.daemon.notify.store if n == 'state-web'] == []
    assert host.daemon.notify.names() == ['vm-web']
    run_until(lambda: not [f for f in host.daemon.fds() if 'memfd:vm-' in f]) # a thread gives it back


def check_suspended(host):
    assert host.root.state('web') == 'suspended'
    run_until(host.systemd.units[UNIT].is_frozen)
    assert host.root.reserved() == (1, MEMORY, DISK)
    assert not host.image.exists()


def check_wakes(host):
    assert host.root.do('web', 'Resume') == ('done', '')
    check_answers(host)
    assert not host.image.exists()
    assert host.root.reserved() == (1, MEMORY, DISK)
    assert host.daemon.notify.names() == ['vm-web']


def restart(host, how, between=None):
    getattr(host.daemon, how)()
    if between:
        between()
    host.daemon.start()


def lose_store(host):
    for _, fd, _ in host.daemon.notify.store:
        os.close(fd)
    host.daemon.notify.store.clear()


# There and back

def test_a_running_vm_is_suspended_and_then_on_disk_without_a_process(web):
    uid = web.root.vm_get('web', 'UID')
    assert web.root.reserved() == (1, MEMORY, DISK)
    assert web.root.do('web', 'Hibernate') == ('done', '')
    assert [t[1] for t in web.root.transitions('web')][-4:] == ['suspending', 'suspended', 'hibernating', 'hibernated']
    check_hibernated(web)
    assert web.root.vm_get('web', 'UID') == uid
    assert UNIT not in web.systemd.units
    assert record(web)['state'] == 'hibernated'
    st = web.image.stat()
    assert stat.S_IMODE(st.st_mode) == 0o600 and st.st_uid == 0
    check_wakes(web)
    assert web.root.vm_get('web', 'UID') == uid
    assert [t[1] for t in web.root.transitions('web')][-2:] == ['resuming', 'running']


def test_a_suspended_vm_is_hibernated(web):
    assert web.root.do('web', 'Suspend') == ('done', '')
    assert web.root.do('web', 'Hibernate') == ('done', '')
    check_hibernated(web)
    check_wakes(web)


def test_a_hibernated_vm_is_hibernated_at_once(asleep):
    before = asleep.image.stat()
    transitions = asleep.root.transitions('web')
    assert asleep.root.do('web', 'Hibernate') == ('done', '')
    assert asleep.root.transitions('web') == transitions
    assert asleep.image.stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize('started', [False, True])
def test_a_vm_that_does_not_run_cannot_be_hibernated(quick, started):
    assert quick.root.create('web') == ('done', '')
    if started:
        assert quick.root.do('web', 'Start') == ('done', '')
        assert quick.root.do('web', 'Stop', 't', 0) == ('done', '')
    with pytest.raises(BusError) as e:
        quick.root.vm('web', 'Hibernate')
    assert e.value.name == ERROR + 'WrongState'


def test_exec_wakes(asleep):
    check_answers(asleep)
    assert not asleep.image.exists()


def test_open_console_wakes(asleep):
    c = console(asleep.root, 'web')
    c.send(b'echo from-console\n')
    expect(c, b'from-console')
    c.close()
    assert asleep.root.state('web') == 'running'


@pytest.mark.parametrize('method', ['StartUser', 'ProvisionUser'])
def test_a_call_for_the_user_wakes(quick, method):
    assert quick.root.provision('alice') == ('done', '')
    assert quick.root.do('alice', 'Hibernate') == ('done', '')
    if method == 'StartUser':
        assert quick.root.job(quick.root.manager('StartUser', 's', 'alice')) == ('done', '')
    else:
        assert quick.root.provision('alice') == ('done', '')
    assert quick.root.state('alice') == 'running'


def test_a_session_and_a_console_attached_go_on_after_it(web):
    e = Exec(web.root, 'web', 'cat')
    c = console(web.root, 'web')
    e.stdio.send(b'before\n')
    expect(e.stdio, b'before\n')
    assert web.root.do('web', 'Hibernate') == ('done', '')
    assert web.root.state('web') == 'hibernated'
    e.stdio.send(b'after\n')  # wakes it
    expect(e.stdio, b'after\n')
    assert web.root.do('web', 'Hibernate') == ('done', '')
    c.send(b'echo from-console\n')
    expect(c, b'from-console')
    assert web.root.state('web') == 'running'
    e.close()
    c.close()


@both_ways
def test_a_session_and_a_console_attached_go_on_after_hibernation_and_restart(web, how):
    e = Exec(web.root, 'web', 'cat')
    c = console(web.root, 'web')
    e.stdio.send(b'before\n')
    expect(e.stdio, b'before\n')
    assert web.root.do('web', 'Hibernate') == ('done', '')
    restart(web, how)
    assert web.root.state('web') == 'hibernated'
    e.stdio.send(b'after\n')
    expect(e.stdio, b'after\n')
    assert web.root.do('web', 'Hibernate') == ('done', '')
    restart(web, how)
    c.send(b'echo from-console\n')
    expect(c, b'from-console')
    e.close()
    c.close()


def test_fifty_times_leave_no_file_open_and_nothing_in_the_store(web):
    def once():
        assert web.root.do('web', 'Hibernate') == ('done', '')
        assert web.root.do('web', 'Resume') == ('done', '')
    once()
    once()
    run_for(0.3)
    fds, store = web.daemon.fds(), len(web.daemon.notify.store)
    for _ in range(50):
        once()
    run_until(lambda: len(web.daemon.fds()) <= len(fds), 5, 'the daemon has more files open than before')
    assert len(web.daemon.notify.store) == store
    check_answers(web)


@both_ways
def test_a_session_wakes_what_is_suspended_after_a_restart(web, how):
    e = Exec(web.root, 'web', 'cat')
    assert web.root.do('web', 'Suspend') == ('done', '')
    restart(web, how)
    assert web.root.state('web') == 'suspended'
    e.stdio.send(b'after\n')
    expect(e.stdio, b'after\n')
    e.close()


# A VMM that does not save

def test_a_vmm_that_fails_to_save_leaves_it_suspended_and_able_to_resume(quick):
    quick.running('web', MockScript='save-fails')
    for _ in range(2):
        result, text = quick.root.do('web', 'Hibernate')
        assert result == ERROR + 'VMMFailed' and 'told to fail to save' in text
        assert 'told to fail to save' in reason(quick)
        check_suspended(quick)
    check_wakes(quick)


def test_a_vmm_that_hangs_when_it_saves_leaves_it_suspended_and_able_to_resume(quick):
    quick.running('web', MockScript='save-hangs')
    for _ in range(2):
        result, text = quick.root.do('web', 'Hibernate')
        assert result == ERROR + 'VMMFailed' and 'MonitorTimeoutSec' in text
        check_suspended(quick)
    check_wakes(quick)
    assert quick.root.do('web', 'Suspend') == ('done', '')
    check_wakes(quick)


def test_a_vmm_that_saves_too_late_can_be_resumed_and_hibernated_again(web):
    pid = web.pid()

    def stop_and_thaw(message, arguments):
        os.kill(pid, signal.SIGSTOP)
        web.systemd.do_ThawUnit(message, *arguments)

    web.systemd.behaviour['ThawUnit'] = stop_and_thaw
    result, text = web.root.do('web', 'Hibernate')
    assert result == ERROR + 'VMMFailed' and 'MonitorTimeoutSec' in text
    web.systemd.behaviour.clear()
    os.kill(pid, signal.SIGCONT)
    check_wakes(web)
    assert web.root.do('web', 'Hibernate') == ('done', '')
    check_hibernated(web)
    check_wakes(web)


def test_a_vmm_that_saves_too_late_can_be_hibernated_at_once(web):
    pid = web.pid()

    def stop_and_thaw(message, arguments):
        os.kill(pid, signal.SIGSTOP)
        web.systemd.do_ThawUnit(message, *arguments)

    web.systemd.behaviour['ThawUnit'] = stop_and_thaw
    assert web.root.do('web', 'Hibernate')[0] == ERROR + 'VMMFailed'
    web.systemd.behaviour.clear()
    os.kill(pid, signal.SIGCONT)
    assert web.root.do('web', 'Hibernate') == ('done', '')
    check_hibernated(web)
    check_wakes(web)


@pytest.mark.parametrize('when', ['thaw', 'save'])
def test_a_vmm_that_dies_before_it_saved_fails_the_vm(quick, when):
    pid = quick.running('web', MockScript='save-hangs')
    if when == 'thaw':
        assert quick.root.do('web', 'Suspend') == ('done', '')
        quick.systemd.behaviour['ThawUnit'] = 'hold'
    job = quick.root.vm('web', 'Hibernate')
    if when == 'thaw':
        run_until(lambda: quick.systemd.held)
    else:
        run_until(lambda: quick.root.state('web') == 'hibernating')
        run_for(0.1)
    os.kill(pid, signal.SIGKILL)
    result, text = quick.root.job(job)
    assert result == ERROR + 'VMMFailed' and 'SIGKILL' in text
    assert quick.root.state('web') == 'failed'
    assert not quick.image.exists()
    assert quick.root.reserved() == (0, 0, DISK)
    quick.nothing_left('web', files=True)
    quick.systemd.release()
    assert quick.root.do('web', 'Start') == ('done', '')


def test_a_vmm_that_does_not_end_after_it_saved_is_killed(web):
    """PID 1 hangs on the scope as well, and answers late."""
    web.systemd.behaviour['StopUnit'] = 'hold'
    job = web.root.vm('web', 'Hibernate')
    run_until(lambda: web.systemd.held)
    run_for(0.2)
    assert web.root.state('web') == 'hibernating'
    web.systemd.release()
    assert web.root.job(job) == ('done', '')
    check_hibernated(web)


# PID 1 that does not freeze, thaw, start

def test_a_thaw_that_fails_leaves_it_suspended(web):
    assert web.root.do('web', 'Suspend') == ('done', '')
    web.systemd.behaviour['ThawUnit'] = FAILED
    result, text = web.root.do('web', 'Hibernate')
    assert result == ERROR + 'ScopeFailed' and 'haunted' in text
    check_suspended(web)
    web.systemd.behaviour.clear()
    assert web.root.do('web', 'Hibernate') == ('done', '')
    check_wakes(web)


def test_a_thaw_that_is_never_answered_leaves_it_suspended(web):
    assert web.root.do('web', 'Suspend') == ('done', '')
    web.systemd.behaviour['ThawUnit'] = 'silent'
    result, text = web.root.do('web', 'Hibernate')
    assert result == ERROR + 'ScopeFailed' and 'ScopeTimeoutSec' in text
    check_suspended(web)
    web.systemd.behaviour.clear()
    check_wakes(web)


@pytest.mark.parametrize('how', [FAILED, 'silent'])
def test_a_freeze_that_fails_after_a_save_that_failed_leaves_it_suspended_with_the_first_reason(quick, how):
    quick.running('web', MockScript='save-fails')
    assert quick.root.do('web', 'Suspend') == ('done', '')
    quick.systemd.behaviour['FreezeUnit'] = how
    result, text = quick.root.do('web', 'Hibernate')
    assert result == ERROR + 'VMMFailed' and 'told to fail to save' in text
    assert quick.root.state('web') == 'suspended'
    quick.systemd.behaviour.clear()
    check_wakes(quick)


def test_systemd_that_vanishes_while_it_hibernates_does_not_lose_the_guest(web):
    assert web.root.do('web', 'Suspend') == ('done', '')
    web.systemd.behaviour['ThawUnit'] = lambda message, arguments: web.systemd.vanish()
    result, _ = web.root.do('web', 'Hibernate')
    assert result == ERROR + 'ScopeFailed'
    web.systemd.behaviour.clear()
    web.systemd.appear()
    assert web.root.state('web') == 'suspended'
    check_wakes(web)


def test_a_scope_that_systemd_refuses_leaves_it_hibernated(asleep):
    for _ in range(3):
        asleep.systemd.behaviour['StartTransientUnit'] = FAILED
        result, text = asleep.root.do('web', 'Resume')
        assert result == ERROR + 'ScopeFailed' and 'haunted' in text
        assert 'haunted' in reason(asleep)
        run_until(lambda: not processes_named('web', asleep.daemon.pid))
        check_hibernated(asleep)
        assert len(asleep.daemon.notify.store) == 1
    asleep.systemd.behaviour.clear()
    check_wakes(asleep)


def test_a_scope_that_systemd_never_makes_leaves_it_hibernated(asleep):
    asleep.systemd.behaviour['StartTransientUnit'] = 'silent'
    result, text = asleep.root.do('web', 'Resume')
    assert result == ERROR + 'ScopeFailed' and 'ScopeTimeoutSec' in text
    asleep.systemd.behaviour.clear()
    check_hibernated(asleep)
    check_wakes(asleep)


# A VMM that does not load

def test_a_vmm_that_fails_to_load_leaves_it_hibernated_with_the_reason_and_the_next_one_wakes_it(quick):
    quick.running('web', MockScript='load-fails')
    assert quick.root.do('web', 'Hibernate') == ('done', '')
    for _ in range(3):
        result, text = quick.root.do('web', 'Resume')
        assert result == ERROR + 'VMMFailed' and 'told to fail to load' in text
        assert 'told to fail to load' in reason(quick)
        check_hibernated(quick)
        assert len(quick.daemon.notify.store) == 1
    restart(quick, 'stop', lambda: change_script(quick, 'ignore-shutdown'))
    assert quick.root.do('web', 'Resume') == ('done', '')
    assert not quick.image.exists()


def test_a_vmm_that_hangs_when_it_loads_is_ended_after_the_time_limit(cold):
    quick = configured(cold)
    quick.running('web', MockScript='load-hangs')
    assert quick.root.do('web', 'Hibernate') == ('done', '')
    result, text = quick.root.do('web', 'Resume')
    assert result == ERROR + 'VMMFailed' and 'MonitorTimeoutSec' in text
    check_hibernated(quick)
    assert len(quick.daemon.notify.store) == 1


def test_a_call_that_waits_for_a_vm_that_cannot_be_woken_is_told_why(quick):
    quick.running('web', MockScript='load-fails')
    assert quick.root.do('web', 'Hibernate') == ('done', '')
    with pytest.raises(BusError) as e:
        Exec(quick.root, 'web', 'true')
    assert e.value.name == ERROR + 'WrongState' and 'told to fail to load' in e.value.text
    check_hibernated(quick)


def test_a_vmm_killed_while_it_loads_leaves_it_hibernated(quick):
    quick.running('web', MockScript='load-hangs')
    assert quick.root.do('web', 'Hibernate') == ('done', '')
    job = quick.root.vm('web', 'Resume')
    pid = run_until(lambda: quick.pid())
    run_for(0.1)
    os.kill(pid, signal.SIGKILL)
    assert quick.root.job(job)[0] == ERROR + 'VMMFailed'
    check_hibernated(quick)


# The image

def damage(host, how):
    if how == 'missing':
        host.image.rename(host.directory / 'aside')
        return
    shutil.copy(host.image, host.directory / 'aside')
    if how == 'torn':
        os.truncate(host.image, host.image.stat().st_size - 1)
    elif how == 'empty':
        os.truncate(host.image, 0)
    else:
        with open(host.image, 'r+b') as f:
            f.seek({'header': 20, 'devices': 4096 + 40, 'end': -10}[how], 2 if how == 'end' else 0)
            byte = f.read(1)
            f.seek(-1, 1)
            f.write(bytes([byte[0] ^ 1]))


@pytest.mark.parametrize('how', ['missing', 'torn', 'empty', 'header', 'end'])
def test_a_damaged_image_is_refused_and_the_vm_stays_hibernated(quick, how):
    quick.running('web', MockScript='memory=1M')
    assert quick.root.do('web', 'Hibernate') == ('done', '')
    damage(quick, how)
    for _ in range(2):
        result, text = quick.root.do('web', 'Resume')
        assert result not in ('done', 'canceled') and text
        assert quick.root.state('web') == 'hibernated'
        assert quick.root.reserved() == (0, 0, DISK)
        assert len(quick.daemon.notify.store) == 1
    (quick.directory / 'aside').replace(quick.image)
    check_wakes(quick)


def test_an_image_of_another_vm_is_refused(asleep):
    asleep.running('other')
    assert asleep.root.do('other', 'Hibernate') == ('done', '')
    shutil.copy(asleep.daemon.state / 'vms/other/hibernation.img', asleep.image)
    result, text = asleep.root.do('web', 'Resume')
    assert 'another VM' in text and result not in ('done', 'canceled')
    assert asleep.root.state('web') == 'hibernated'


def test_a_vm_whose_image_is_lost_can_be_stopped_by_force_and_started_anew(asleep):
    asleep.image.unlink()
    result, text = asleep.root.do('web', 'Resume')
    assert 'force' in text
    assert asleep.root.do('web', 'Stop', 't', 1) == ('done', '')
    assert asleep.root.state('web') == 'stopped'
    assert asleep.root.do('web', 'Start') == ('done', '')
    check_answers(asleep)


def test_without_room_it_is_refused_before_anything_is_done_and_stays_suspended(cold):
    cold.daemon.state_size = '40M'
    quick = configured(cold)
    quick.running('web', MockScript='memory=48M')
    result, text = quick.root.do('web', 'Hibernate', timeout=60)
    assert result not in ('done', 'canceled') and ('room' in text or 'space' in text or 'bytes' in text), text
    assert quick.root.state('web') == 'suspended'
    run_until(quick.systemd.units[UNIT].is_frozen)
    check_answers(quick)


@pytest.mark.parametrize('kind', ['fails', 'missing', 'dies'])
def test_memory_that_cannot_be_written_leaves_it_suspended_with_the_reason(web, kind):
    if kind == 'missing':
        (web.directory / 'lib/hero-hibernate').rename(web.directory / 'lib/aside')
    else:
        hibernator(web, 'echo The disk is haunted.\nexit 1\n' if kind == 'fails' else 'kill -9 $$\n')
    e = Exec(web.root, 'web', 'cat')
    for _ in range(2):
        result, text = web.root.do('web', 'Hibernate')
        assert result not in ('done', 'canceled') and (kind != 'fails' or 'disk is haunted' in text)
        assert 'could not be written to the disk' in reason(web)
        check_suspended(web)
        assert web.daemon.notify.names() == ['exec-1-web'] * 3 + ['vm-web'], web.daemon.notify.names()
    check_wakes_with(web, e)
    if kind == 'missing':
        (web.directory / 'lib/aside').rename(web.directory / 'lib/hero-hibernate')
    else:
        hibernator(web)
    assert web.root.do('web', 'Hibernate') == ('done', '')
    e.stdio.send(b'again\n')
    expect(e.stdio, b'again\n')
    e.close()


def check_wakes_with(host, e):
    e.stdio.send(b'after\n')
    expect(e.stdio, b'after\n')
    assert host.root.state('web') == 'running'


def test_memory_that_can_be_neither_written_nor_loaded_stays_in_memory_and_is_not_lost(quick):
    quick.running('web', MockScript='load-fails')
    hibernator(quick, 'echo The disk is haunted.\nexit 1\n')
    assert quick.root.do('web', 'Hibernate')[0] not in ('done', 'canceled')
    assert quick.root.state('web') == 'hibernated'
    assert quick.root.reserved() == (1, MEMORY, DISK)
    assert not quick.image.exists()
    hibernator(quick)
    assert quick.root.do('web', 'Hibernate') == ('done', '')
    check_hibernated(quick)
    restart(quick, 'stop', lambda: change_script(quick, 'ignore-shutdown'))
    check_wakes(quick)


def test_without_capacity_it_stays_hibernated_and_says_so(cold):
    quick = configured(cold)
    quick.running('web')
    assert quick.root.do('web', 'Hibernate') == ('done', '')
    total = quick.root.manager_get('MemoryTotal')
    assert quick.root.create('big', Memory=total // MEMORY * MEMORY) == ('done', '')
    quick.systemd.behaviour['StartTransientUnit'] = 'hold'  # there is no need for it to run
    big = quick.root.vm('big', 'Start')
    run_until(lambda: quick.systemd.held)
    quick.systemd.behaviour.clear()
    for _ in range(2):
        result, text = quick.root.do('web', 'Resume')
        assert result == ERROR + 'NoCapacity' and 'memory' in text
        assert quick.root.state('web') == 'hibernated'
    with pytest.raises(BusError) as e:
        Exec(quick.root, 'web', 'true')
    assert 'memory' in e.value.text
    quick.root.call(big, JOB, 'Cancel')
    quick.systemd.release()
    assert quick.root.job(big)[0] == 'canceled'
    assert quick.root.do('big', 'Delete', 't', 1) == ('done', '')
    check_wakes(quick)


# Called back

def begin(host, stage):
    """The job of a hibernation that stands still."""
    if stage == 'freeze':
        host.systemd.behaviour['FreezeUnit'] = 'hold'
    elif stage == 'thaw':
        host.systemd.behaviour['ThawUnit'] = 'hold'
    elif stage == 'end':
        host.systemd.behaviour['StopUnit'] = 'hold'
    else:
        begun = host.directory / 'writer-begun'
        begun.unlink(missing_ok=True)
        hibernator(host, f'touch {begun}\nexec sleep 100\n')
    job = host.root.vm('web', 'Hibernate')
    if stage == 'write':
        run_until(lambda: host.root.get(job, JOB, 'Step') == 'write' and begun.exists())  # the shell has its script
    else:
        run_until(lambda: host.systemd.held)
    return job


def go_on(host, stage):
    if stage == 'write':
        hibernator(host)
    else:
        host.systemd.release()


stages = pytest.mark.parametrize('stage', ['freeze', 'thaw', 'end', 'write'])


@stages
def test_a_hibernation_can_be_canceled(web, stage):
    job = begin(web, stage)
    web.root.call(job, JOB, 'Cancel')
    go_on(web, stage)
    assert web.root.job(job)[0] == 'canceled'
    run_until(lambda: not web.root.manager('ListJobs') and web.root.state('web') in ('running', 'suspended'))
    assert not web.image.exists()
    assert web.root.reserved() == (1, MEMORY, DISK)
    check_answers(web)
    assert web.root.do('web', 'Hibernate') == ('done', '')
    check_hibernated(web)


@stages
@pytest.mark.parametrize('call', ['Exec', 'Resume', 'input'])
def test_a_call_in_the_middle_calls_it_back(web, stage, call):
    e = Exec(web.root, 'web', 'cat')
    job = begin(web, stage)
    if call == 'input':
        e.stdio.send(b'wake up\n')
        run_for(0.1)
    elif call == 'Exec':
        pending = web.root.send('/org/hero/Compute/vm/web', 'org.hero.Compute.VM', 'Exec', 'asa{sv}', ['echo', 'x'], spec())
        run_for(0.1)
    else:
        pending = web.root.send('/org/hero/Compute/vm/web', 'org.hero.Compute.VM', 'Resume')
        run_for(0.1)
    go_on(web, stage)
    assert web.root.job(job)[0] == 'canceled'
    if call == 'input':
        expect(e.stdio, b'wake up\n')
    elif call == 'Exec':
        for fd in pending.result():
            os.close(fd)
    else:
        assert web.root.job(pending.result()) == ('done', '')
    web.wait_state('web', 'running')
    assert not web.image.exists()
    e.stdio.send(b'and on\n')
    expect(e.stdio, b'and on\n')
    e.close()


@pytest.mark.parametrize('method', ['StartUser', 'ProvisionUser'])
def test_a_call_for_the_user_in_the_middle_calls_it_back(quick, method):
    assert quick.root.provision('web') == ('done', '')
    job = begin(quick, 'write')
    arguments = ('s', 'web') if method == 'StartUser' else ('sa{sv}', 'web', spec())
    pending = quick.root.send('/org/hero/Compute', 'org.hero.Compute.Manager', method, *arguments)
    assert quick.root.job(job)[0] == 'canceled'
    result = pending.result()
    assert quick.root.job(result if method == 'StartUser' else result[1]) == ('done', '')
    assert quick.root.state('web') == 'running'


def test_a_wake_cannot_be_canceled_and_two_are_refused_or_one(asleep):
    asleep.systemd.behaviour['StartTransientUnit'] = 'hold'
    job = asleep.root.vm('web', 'Resume')
    run_until(lambda: asleep.systemd.held)
    with pytest.raises(BusError) as e:
        asleep.root.call(job, JOB, 'Cancel')
    assert e.value.name == ERROR + 'NotCancelable'
    calls = [asleep.root.send('/org/hero/Compute/vm/web', 'org.hero.Compute.VM', 'Exec', 'asa{sv}', ['echo', 'x'], spec()) for _ in range(5)]
    run_for(0.1)
    asleep.systemd.release()
    assert asleep.root.job(job) == ('done', '')
    for c in calls:
        for fd in c.result():
            os.close(fd)
    assert [t[1] for t in asleep.root.transitions('web')][-2:] == ['resuming', 'running']


def test_a_delete_while_it_wakes_waits_for_its_turn(asleep):
    asleep.systemd.behaviour['StartTransientUnit'] = 'hold'
    job = asleep.root.vm('web', 'Resume')
    run_until(lambda: asleep.systemd.held)
    with pytest.raises(BusError) as e:
        asleep.root.vm('web', 'Delete', 't', 1)
    assert e.value.name == ERROR + 'Busy'
    asleep.systemd.release()
    assert asleep.root.job(job) == ('done', '')
    assert asleep.root.do('web', 'Delete', 't', 1) == ('done', '')
    asleep.nothing_left('web')


def test_a_call_while_it_goes_back_to_suspended_for_want_of_a_disk_wakes_it(web):
    hibernator(web, 'echo The disk is haunted.\nexit 1\n')
    job = web.root.vm('web', 'Hibernate')
    web.systemd.behaviour['StartTransientUnit'] = 'hold'
    run_until(lambda: web.systemd.held)
    assert web.root.state('web') == 'resuming'
    pending = web.root.send('/org/hero/Compute/vm/web', 'org.hero.Compute.VM', 'Exec', 'asa{sv}', ['echo', 'x'], spec())
    run_for(0.1)
    web.systemd.release()
    assert web.root.job(job)[0] not in ('done', 'canceled')
    for fd in pending.result():
        os.close(fd)
    web.wait_state('web', 'running')


# Stop and delete

def test_stop_wakes_it_for_its_shutdown(asleep):
    assert asleep.root.do('web', 'Stop', 't', 0) == ('done', '')
    assert [t[1] for t in asleep.root.transitions('web')][-4:] == ['resuming', 'running', 'stopping', 'stopped']
    assert not asleep.image.exists()
    assert asleep.root.reserved() == (0, 0, DISK)
    asleep.nothing_left('web', files=True)


def test_stop_by_force_throws_away_what_sleeps(cold):
    asleep = configured(cold, UIDCount='1')
    asleep.running('web')
    assert asleep.root.do('web', 'Hibernate') == ('done', '')
    assert asleep.root.create('other') == ('done', '')
    assert asleep.root.do('other', 'Start')[0] != 'done', 'the only uid there is was taken from it in its sleep'
    assert asleep.root.do('web', 'Stop', 't', 1) == ('done', '')
    assert asleep.root.state('web') == 'stopped'
    assert not asleep.image.exists()
    asleep.nothing_left('web', files=True)
    assert asleep.root.reserved() == (0, 0, 2 * DISK)
    assert asleep.root.do('other', 'Start') == ('done', ''), 'its uid is not free again'
    assert asleep.root.do('other', 'Delete', 't', 1) == ('done', '')
    assert asleep.root.do('web', 'Start') == ('done', '')


@pytest.mark.parametrize('flags', [0, 1])
def test_delete_takes_everything(asleep, flags):
    assert asleep.root.do('web', 'Delete', 't', flags) == ('done', '')
    asleep.nothing_left('web')
    assert asleep.root.reserved() == (0, 0, 0)
    asleep.running('web')


def test_a_uid_of_one_that_sleeps_is_nobody_elses(asleep):
    uid = asleep.root.vm_get('web', 'UID')
    restart(asleep, 'kill')
    assert asleep.root.vm_get('web', 'UID') == uid
    asleep.running('other')
    assert asleep.root.vm_get('other', 'UID') != uid


def test_a_transient_vm_that_is_hibernated_stays_until_it_is_stopped(quick):
    quick.running('web', Transient=True)
    assert quick.root.do('web', 'Hibernate') == ('done', '')
    run_for(0.2)
    restart(quick, 'kill')
    run_for(0.2)
    assert quick.root.state('web') == 'hibernated'
    assert quick.root.do('web', 'Resume') == ('done', '')
    assert quick.root.do('web', 'Hibernate') == ('done', '')
    assert quick.root.do('web', 'Stop', 't', 1) == ('done', '')
    run_until(lambda: quick.root.names() == [])
    quick.nothing_left('web')


def test_systemctl_stop_in_the_middle_ends_it(web):
    begin(web, 'thaw')
    web.systemd.units[UNIT].freeze(False)
    web.systemd.request_stop(UNIT)
    run_until(lambda: not web.systemd.units.get(UNIT) or not web.systemd.units[UNIT].pids())
    web.systemd.release()
    run_until(lambda: not web.root.manager('ListJobs'))
    assert web.root.state('web') in ('failed', 'stopped')
    assert not web.image.exists()


# The daemon goes and comes back

@both_ways
def test_a_hibernated_vm_stays_so(asleep, how):
    uid = asleep.root.vm_get('web', 'UID')
    restart(asleep, how)
    check_hibernated(asleep)
    assert asleep.root.vm_get('web', 'UID') == uid
    check_wakes(asleep)


@both_ways
def test_a_hibernated_vm_stays_so_without_the_fd_store(asleep, how):
    restart(asleep, how, lambda: lose_store(asleep))
    assert asleep.root.state('web') == 'hibernated' and asleep.root.reserved() == (0, 0, DISK)
    check_wakes(asleep)


@both_ways
@pytest.mark.parametrize('stage', ['thaw', 'save'])
def test_a_hibernation_that_had_not_saved_goes_back(quick, how, stage):
    quick.running('web', MockScript='save-hangs' if stage == 'save' else 'ignore-shutdown')
    if stage == 'thaw':
        begin(quick, 'thaw')
        quick.systemd.behaviour.clear()
        quick.systemd.held.clear()
    else:
        quick.root.vm('web', 'Hibernate')
        run_until(lambda: quick.root.state('web') == 'hibernating')
        run_for(0.1)
    restart(quick, how)
    run_until(lambda: quick.root.state('web') == 'running')
    check_answers(quick)
    assert quick.root.reserved() == (1, MEMORY, DISK)
    run_until(lambda: quick.daemon.notify.names() == ['vm-web'])


@both_ways
@pytest.mark.parametrize('stage', ['end', 'scope stays', 'write'])
def test_a_hibernation_that_had_saved_goes_on(web, how, stage):
    begin(web, 'write' if stage == 'write' else 'end')
    innocent = None
    if stage == 'scope stays':  # PID 1 has not come to removing it
        innocent = subprocess.Popen(['sleep', '100'])
        web.systemd.units[UNIT].add(innocent.pid)
    web.systemd.behaviour.clear()
    web.systemd.held.clear()
    if stage == 'write':
        hibernator(web)
    restart(web, how)
    if innocent:
        innocent.wait(10)
    web.wait_state('web', 'hibernated')
    run_until(lambda: not web.root.manager('ListJobs'))
    check_hibernated(web)
    check_wakes(web)


@both_ways
def test_a_vm_whose_daemon_went_while_it_booted_can_be_hibernated(quick, how):
    assert quick.root.create('web', MockScript='slow-ready=500') == ('done', '')
    quick.root.vm('web', 'Start')
    # A VMM says its version once: a daemon killed before that is on disk has its VM hibernate after the next start only.
    run_until(lambda: quick.root.state('web') == 'starting' and
              re.search(r'"vmm": *"', (quick.daemon.state / 'vms/web/vm.json').read_text()))
    restart(quick, how)
    quick.wait_state('web', 'running')
    assert quick.root.do('web', 'Hibernate') == ('done', '')
    check_wakes(quick)


@both_ways
def test_one_that_is_on_its_way_to_the_disk_and_whose_memory_is_lost_has_ended(web, how):
    begin(web, 'write')
    restart(web, how, lambda: lose_store(web))
    assert web.root.state('web') == 'stopped'
    assert web.root.reserved() == (0, 0, DISK)
    assert web.root.do('web', 'Start') == ('done', '')


@both_ways
def test_a_daemon_that_finds_the_image_and_the_memory_lets_go_of_the_memory(web, how):
    """The one before was killed when the image had just been written."""
    real = web.directory / 'lib/real'
    shutil.copy(BUILD / 'src/hypervisor/hero-hibernate', real)
    hibernator(web, f'"{real}" "$@"\nkill -9 {web.daemon.pid}\nexec sleep 1\n')
    web.root.vm('web', 'Hibernate')
    web.daemon.wait()
    assert web.daemon.notify.names() == ['state-web', 'vm-web'] and web.image.exists()
    hibernator(web)
    web.daemon.start()
    check_hibernated(web)
    restart(web, how)
    check_hibernated(web)
    check_wakes(web)


@both_ways
@pytest.mark.parametrize('stage', ['scope', 'load'])
def test_a_wake_from_disk_that_is_interrupted_is_begun_anew(asleep, how, stage):
    if stage == 'scope':
        asleep.systemd.behaviour['StartTransientUnit'] = 'hold'
        asleep.root.vm('web', 'Resume')
        run_until(lambda: asleep.systemd.held)
    else:
        def start_and_stop(message, arguments):
            asleep.systemd.do_StartTransientUnit(message, *arguments)
            os.kill(int(dict(arguments[2])['PIDs'][0]), signal.SIGSTOP)
        asleep.systemd.behaviour['StartTransientUnit'] = start_and_stop
        asleep.root.vm('web', 'Resume')
        run_until(lambda: asleep.pid())
        run_for(0.2)
    assert asleep.root.state('web') == 'resuming'
    asleep.systemd.behaviour.clear()
    asleep.systemd.held.clear()
    restart(asleep, how)
    asleep.wait_state('web', 'running')
    assert not asleep.image.exists()
    check_answers(asleep)
    assert asleep.root.reserved() == (1, MEMORY, DISK)
    run_until(lambda: asleep.daemon.notify.names() == ['vm-web'])


@both_ways
@pytest.mark.parametrize('store', [True, False])
def test_a_wake_that_hangs_and_is_interrupted_can_be_tried_again(quick, how, store):
    quick.running('web', MockScript='load-hangs')
    assert quick.root.do('web', 'Hibernate') == ('done', '')
    quick.root.vm('web', 'Resume')
    run_until(lambda: quick.pid())
    run_for(0.2)
    restart(quick, how, lambda: (change_script(quick, 'ignore-shutdown'), None if store else lose_store(quick)))
    quick.wait_state('web', 'running')
    check_answers(quick)


def new_channels(host, script):
    """A host that was booted again: nothing of the VM is there but what is on disk. Its agent has to be asked where it is."""
    host.running('web', MockScript='ignore-shutdown')
    assert host.root.do('web', 'Hibernate') == ('done', '')
    restart(host, 'kill', lambda: (change_script(host, script), lose_store(host)))
    host.root.vm('web', 'Resume')
    host.wait_state('web', 'running')
    assert not host.root.vm_get('web', 'AgentReady')


def test_a_command_waits_for_the_agent_of_a_guest_that_woke(quick):
    new_channels(quick, 'slow-resume=700')
    check_answers(quick)
    assert quick.root.vm_get('web', 'AgentReady')


def test_a_command_does_not_wait_for_ever_for_an_agent_that_is_silent(quick):
    new_channels(quick, 'no-agent')
    began = time.monotonic()
    calls = [quick.root.send(vm_path('web'), VM, 'Exec', 'asa{sv}', ['true'], spec()) for _ in range(3)]
    for call in calls:
        with pytest.raises(BusError, match='NoAgent'):
            call.result()
    assert 4 < time.monotonic() - began < 15
    began = time.monotonic()
    with pytest.raises(BusError, match='NoAgent'):
        Exec(quick.root, 'web', 'true')
    assert time.monotonic() - began < 2


@both_ways
def test_a_wake_from_memory_that_is_interrupted_is_begun_anew(web, how):
    job = begin(web, 'write')
    web.systemd.behaviour['StartTransientUnit'] = 'hold'
    web.root.call(job, JOB, 'Cancel')
    run_until(lambda: web.systemd.held)
    assert web.root.state('web') == 'resuming'
    web.systemd.behaviour.clear()
    web.systemd.held.clear()
    hibernator(web)
    restart(web, how)
    web.wait_state('web', 'running')
    check_answers(web)
    assert not web.image.exists()
    run_until(lambda: web.daemon.notify.names() == ['vm-web'])


def test_an_image_that_a_crash_brought_back_is_not_that_of_the_next_sleep(asleep):
    """A host that lost its power right after a wake: the image is there again, and the guest has gone on since."""
    shutil.copy(asleep.image, asleep.directory / 'aside')
    check_wakes(asleep)
    shutil.copy(asleep.directory / 'aside', asleep.image)
    begin(asleep, 'write')
    restart(asleep, 'kill', lambda: lose_store(asleep))
    assert asleep.root.state('web') != 'hibernated', 'an old image is taken for the new one'
