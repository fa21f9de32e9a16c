# SPDX-License-Identifier: Apache-2.0
"""The daemon restarts, or dies, in the middle of everything: VMs go on, what was begun is finished or undone."""

import os
import signal
import socket
import subprocess

import pytest
from bus_client import ERROR, BusError, run_for, run_until, spec, vm_path, VM
from daemon import processes_named
from sockets import Exec, console, read_until

both_ways = pytest.mark.parametrize('how', ['stop', 'kill'])


def restart(host, how='kill', between=None):
    getattr(host.daemon, how)()
    if between:
        between()
    host.daemon.start()


@both_ways
def test_a_running_vm_goes_on_with_everything_it_had(host, how):
    pid = host.running('web')
    before = {k: host.root.vm_get('web', k) for k in ('Id', 'PID', 'UID', 'StartedTimestamp', 'CreatedTimestamp', 'ImageDigest', 'CPUs')}
    transitions = host.root.transitions('web')
    assert host.daemon.notify.names() == ['vm-web']
    restart(host, how)
    assert {k: host.root.vm_get('web', k) for k in before} == before
    assert host.root.state('web') == 'running' and processes_named('web') == [pid]
    run_until(lambda: host.root.vm_get('web', 'AgentReady'))
    assert host.root.transitions('web') == transitions
    assert host.daemon.notify.names() == ['vm-web']
    e = Exec(host.root, 'web', 'echo', 'still', 'here')
    assert b'still here' in e.expect(b'\n')
    assert e.result() == 'exit 0'
    e.close()
    assert host.root.do('web', 'Suspend') == ('done', '')
    assert host.root.do('web', 'Resume') == ('done', '')
    assert host.root.do('web', 'Stop', 't', 0) == ('done', '')
    host.nothing_left('web', files=True)


@both_ways
def test_an_exec_session_and_a_console_stay_attached(host, how):
    host.running('web')
    e = Exec(host.root, 'web', 'cat')
    c = console(host.root, 'web')
    e.stdio.send(b'before\n')
    e.expect(b'before\n')
    restart(host, how)
    e.stdio.send(b'after\n')
    e.expect(b'after\n')
    c.send(b'echo from-console\n')
    read_until(c, b'from-console')
    e.stdio.shutdown(socket.SHUT_WR)
    assert e.result() == 'exit 0'
    assert host.daemon.notify.names() == ['console-web'] + ['vm-web']
    e.close()
    c.close()
    run_until(lambda: host.daemon.notify.names() == ['vm-web'])


@both_ways
def test_what_a_client_wrote_while_there_was_no_daemon_arrives(host, how):
    host.running('web')
    e = Exec(host.root, 'web', 'cat')
    restart(host, how, between=lambda: (e.stdio.send(b'meanwhile\n'), e.stdio.shutdown(socket.SHUT_WR)))
    e.expect(b'meanwhile\n')
    assert e.result() == 'exit 0'
    e.close()


@both_ways
def test_a_command_right_after_a_restart_is_run(host, how):
    """Before the guest has said where it is: its answer does not know the new session."""
    pid = host.running('web')
    old = Exec(host.root, 'web', 'cat')
    for _ in range(3):
        os.kill(pid, signal.SIGSTOP)
        restart(host, how)
        e = Exec(host.root, 'web', 'echo', 'at', 'once')
        os.kill(pid, signal.SIGCONT)
        e.expect(b'at once\n')
        assert e.result() == 'exit 0'
        e.close()
        old.stdio.send(b'still\n')
        old.expect(b'still\n')
    old.close()


@both_ways
def test_a_session_that_ended_while_there_was_no_daemon_is_over(host, how):
    host.running('web')
    e = Exec(host.root, 'web', 'sleep', '0.3')
    restart(host, how, between=lambda: run_for(0.6))
    assert e.result().split()[0] in ('exit', 'lost')
    e.close()
    run_until(lambda: host.daemon.notify.names() == ['vm-web'])


@both_ways
def test_a_suspended_vm_stays_asleep(host, how):
    pid = host.running('web')
    assert host.root.do('web', 'Suspend') == ('done', '')
    restart(host, how)
    assert host.root.state('web') == 'suspended' and host.pid() == pid
    assert host.systemd.units['hero-vm-web.scope'].is_frozen()
    assert host.systemd.count('ThawUnit') == 0
    assert host.root.do('web', 'Resume') == ('done', '')
    assert Exec(host.root, 'web', 'echo', 'awake').expect(b'awake\n')


@both_ways
def test_a_vm_that_boots_goes_on_booting(host, how):
    assert host.root.create('web', MockScript='slow-ready=800') == ('done', '')
    job = host.root.vm('web', 'Start')
    run_until(lambda: host.root.get(job, 'org.hero.Compute.Job', 'Step') == 'boot')
    pid = host.pid()
    restart(host, how)
    assert host.root.state('web') == 'starting'
    host.wait_state('web', 'running')
    assert host.pid() == pid and host.root.vm_get('web', 'AgentReady')


@both_ways
def test_a_vm_that_boots_and_whose_guest_never_comes_up_fails_after_the_time_limit(host, how):
    assert host.root.create('web', MockScript='agent-silent') == ('done', '')
    host.root.vm('web', 'Start')
    host.wait_state('web', 'starting')
    run_until(lambda: processes_named('web') and host.root.vm_get('web', 'StartPhases')[2])
    restart(host, how)
    host.wait_state('web', 'start-failed')
    assert 'AgentTimeoutSec' in host.root.vm_get('web', 'StateReason')
    host.nothing_left('web', files=True)
    assert host.root.reserved() == (0, 0, 16 << 20)


@both_ways
def test_a_start_that_waits_for_its_scope_is_undone(host, how):
    assert host.root.create('web') == ('done', '')
    host.systemd.behaviour['StartTransientUnit'] = 'hold'
    host.root.vm('web', 'Start')
    run_until(lambda: host.systemd.held)
    pid = dict(host.systemd.held[0][2][2])['PIDs'][0]
    restart(host, how, between=lambda: host.systemd.release())
    host.wait_state('web', 'configured')
    assert 'restart' in host.root.vm_get('web', 'StateReason')
    run_until(lambda: not os.path.exists(f'/proc/{pid}') or open(f'/proc/{pid}/stat').read().split()[2] == 'Z')
    host.nothing_left('web', files=True)
    assert host.root.reserved() == (0, 0, 16 << 20)
    assert host.root.do('web', 'Start') == ('done', '')


@both_ways
def test_a_start_whose_scope_is_up_and_whose_launcher_was_never_released_is_undone(host, how):
    """JobRemoved comes when there is nobody to hear it."""
    assert host.root.create('web') == ('done', '')
    host.systemd.behaviour['StartTransientUnit'] = 'hold'
    host.root.vm('web', 'Start')
    run_until(lambda: host.systemd.held)
    os.kill(host.daemon.pid, signal.SIGSTOP)
    host.systemd.release()
    os.kill(host.daemon.pid, signal.SIGKILL if how == 'kill' else signal.SIGTERM)
    os.kill(host.daemon.pid, signal.SIGCONT)
    host.daemon.wait()
    host.daemon.start()
    run_until(lambda: host.root.state('web') in ('configured', 'start-failed', 'running'))
    if host.root.state('web') != 'running':
        host.nothing_left('web', files=True)
        assert host.root.reserved() == (0, 0, 16 << 20)
        assert host.root.do('web', 'Start') == ('done', '')


@both_ways
def test_a_stop_goes_on(host, how):
    host.running('web', MockScript='ignore-shutdown,ignore-powerdown')
    host.root.vm('web', 'Stop', 't', 0)
    host.wait_state('web', 'stopping')
    restart(host, how)
    host.wait_state('web', 'stopped')
    host.nothing_left('web', files=True)
    assert host.root.reserved() == (0, 0, 16 << 20)


@pytest.mark.parametrize('call', [('Stop', 't', 0), ('Stop', 't', 1), ('Delete', 't', 1), ('Start', ''), ('Suspend', ''), ('Restart', '')],
                         ids=lambda c: f'{c[0]} {c[-1]}')
@pytest.mark.parametrize('state', ['stopping', 'starting', 'suspending', 'resuming'])
def test_a_call_to_a_vm_found_in_the_middle_of_something_is_carried_out_or_refused(host, state, call):
    script = {'stopping': 'ignore-shutdown,ignore-powerdown', 'starting': 'slow-ready=700'}.get(state)
    assert host.root.create('web', **({'MockScript': script} if script else {})) == ('done', '')
    member = {'stopping': ('Stop', 't', 0), 'starting': ('Start',), 'suspending': ('Suspend',), 'resuming': ('Resume',)}[state]
    if state != 'starting':
        assert host.root.do('web', 'Start') == ('done', '')
    if state == 'resuming':
        assert host.root.do('web', 'Suspend') == ('done', '')
    for held in ('FreezeUnit', 'ThawUnit'):
        host.systemd.behaviour[held] = 'hold'
    host.root.vm('web', *member)
    if state in ('suspending', 'resuming'):
        run_until(lambda: host.systemd.held)
    else:
        run_until(lambda: host.root.state('web') == state)
        run_for(0.1)
    host.daemon.kill()
    host.systemd.held.clear()
    host.daemon.start()
    try:
        job = host.root.vm('web', *call)
    except BusError as e:
        assert e.name in (ERROR + 'WrongState', ERROR + 'Busy')
        job = None
    run_for(0.1)
    host.systemd.release()
    if job:
        host.root.job(job)
    else:
        run_until(lambda: host.root.state('web') in ('running', 'stopped', 'configured', 'suspended', 'start-failed'), 10)
    assert host.daemon.runs()
    # Whatever came of it, it can be got rid of.
    if 'web' in host.root.names():
        run_until(lambda: not host.root.manager('ListJobs'))
        assert host.root.do('web', 'Delete', 't', 1) == ('done', '')
    host.nothing_left('web')
    assert host.root.reserved() == (0, 0, 0)


@both_ways
@pytest.mark.parametrize('frozen', [False, True])
def test_a_half_done_suspend_goes_back_to_running(host, how, frozen):
    host.running('web')
    host.systemd.behaviour['FreezeUnit'] = 'hold'
    host.root.vm('web', 'Suspend')
    run_until(lambda: host.systemd.held)
    if frozen:
        host.systemd.behaviour['FreezeUnit'] = 'silent'
        host.systemd.units['hero-vm-web.scope'].freeze(True)
    restart(host, how)
    host.wait_state('web', 'running')
    run_until(lambda: not host.systemd.units['hero-vm-web.scope'].is_frozen())
    assert Exec(host.root, 'web', 'echo', 'awake').expect(b'awake\n')


@both_ways
def test_a_half_done_resume_goes_on_to_running(host, how):
    host.running('web')
    assert host.root.do('web', 'Suspend') == ('done', '')
    host.systemd.behaviour['ThawUnit'] = 'hold'
    host.root.vm('web', 'Resume')
    run_until(lambda: host.systemd.held)
    host.systemd.behaviour.clear()
    restart(host, how)
    host.wait_state('web', 'running')
    assert Exec(host.root, 'web', 'echo', 'awake').expect(b'awake\n')


@both_ways
def test_a_vm_that_was_being_made_is_taken_away(host, how):
    host.running('other')
    host.images.known['slow'] = 'sha256:' + '22' * 32
    host.images.behaviour['Open'] = 'hold'
    host.root.manager('CreateVM', 'sa{sv}', 'web', spec(Image='slow'))
    host.root.manager('ProvisionUser', 'sa{sv}', 'alice', spec(Image='slow'))
    run_until(lambda: host.images.held)
    host.images.behaviour.clear()
    restart(host, how)
    assert host.root.names() == ['other'] == host.daemon.vm_directories()
    assert host.root.reserved() == (1, 64 << 20, 16 << 20)
    assert host.root.provision('alice') == ('done', '')


@both_ways
def test_a_vm_that_ended_meanwhile_is_stopped(host, how):
    pid = host.running('web')
    restart(host, how, between=lambda: (os.kill(pid, signal.SIGKILL), run_for(0.1)))
    host.wait_state('web', 'stopped')
    assert 'while hero-computed was not running' in host.root.vm_get('web', 'StateReason')
    assert host.root.reserved() == (0, 0, 16 << 20)
    host.nothing_left('web', files=True)
    assert host.root.do('web', 'Start') == ('done', '')


def test_a_vm_that_ends_after_a_restart_is_noticed_though_it_is_no_child(host):
    pid = host.running('web')
    restart(host, 'kill')
    os.kill(pid, signal.SIGKILL)
    run_until(lambda: host.root.state('web') in ('failed', 'stopped'))
    host.nothing_left('web', files=True)


def test_a_vm_whose_sockets_were_not_kept_can_still_be_stopped(host):
    host.running('web')

    def lose():
        for _, fd, _ in host.daemon.notify.store:
            os.close(fd)
        host.daemon.notify.store.clear()

    # PID 1 held them, so the VMM hears nothing of it as long as the test has a duplicate.
    keep = [os.dup(fd) for _, fd, _ in host.daemon.notify.store]
    restart(host, 'kill', between=lose)
    assert host.root.state('web') == 'running' and not host.root.vm_get('web', 'AgentReady')
    with pytest.raises(BusError) as e:
        Exec(host.root, 'web', 'true')
    assert e.value.name == ERROR + 'NoAgent'
    result, text = host.root.do('web', 'Suspend')
    assert result == ERROR + 'VMMFailed' and 'connection' in text
    assert host.root.do('web', 'Stop', 't', 0) == ('done', '')
    host.nothing_left('web', files=True)
    for fd in keep:
        os.close(fd)


def test_a_vm_of_which_it_was_said_that_it_is_made_is_there_after_a_kill(host):
    """However slow the disk is: here each fsync() takes 50 ms."""
    pid = host.daemon.pid
    tracer = subprocess.Popen(['strace', '-qq', '-e', 'trace=fsync', '-e', 'inject=fsync:delay_exit=50000', '-o', '/dev/null', '-p', str(pid)])
    run_until(lambda: 'TracerPid:\t0' not in open(f'/proc/{pid}/status', encoding='utf-8').read())
    assert host.root.create('web') == ('done', '')
    host.daemon.kill()
    tracer.wait(10)
    host.daemon.start()
    assert host.root.state('web') == 'configured'


def test_a_scope_without_a_record_is_stopped(host):
    pid = host.running('web')
    host.daemon.kill()
    import shutil
    shutil.rmtree(host.daemon.state / 'vms/web')
    host.daemon.start()
    run_until(lambda: not processes_named('web'))
    assert host.root.names() == []
    run_until(lambda: host.daemon.notify.names() == [])


def test_stored_sockets_nobody_knows_are_closed(host):
    a, b = socket.socketpair()
    host.daemon.stop()
    host.daemon.notify.store += [['vm-gone', os.dup(a.fileno()), True], ['exec-1-gone', os.dup(a.fileno()), True], ['nonsense', os.dup(a.fileno()), True],
                                 ['exec-x-web', os.dup(a.fileno()), True], ['exec--', os.dup(a.fileno()), True], ['', os.dup(a.fileno()), True]]
    a.close()
    host.daemon.start()
    b.settimeout(5)
    assert b.recv(1) == b''
    b.close()
    run_until(lambda: host.daemon.notify.names() == [])


def test_a_process_that_got_the_vmms_pid_is_not_taken_for_it(host):
    """The record's pid belongs to something else by now, which is not in the scope."""
    import json
    import subprocess
    pid = host.running('web')
    host.daemon.kill()
    innocent = subprocess.Popen(['sleep', '60'])
    record = host.daemon.state / 'vms/web/vm.json'
    o = json.loads(record.read_text())
    o['runtime']['pid'] = innocent.pid
    record.write_text(json.dumps(o))
    host.daemon.start()
    run_until(lambda: host.root.state('web') in ('failed', 'stopped'))
    host.nothing_left('web', files=True)
    assert innocent.poll() is None
    innocent.kill()
    innocent.wait()


def test_three_deaths_in_a_row_lose_nothing(host):
    for name in ('a', 'b', 'c'):
        host.running(name)
    assert host.root.do('b', 'Suspend') == ('done', '')
    assert host.root.do('c', 'Stop', 't', 0) == ('done', '')
    e = Exec(host.root, 'a', 'cat')
    for how in ('kill', 'kill', 'stop', 'kill'):
        restart(host, how)
        assert {v[0]: v[2] for v in host.root.manager('ListVMs')} == {'a': 'running', 'b': 'suspended', 'c': 'stopped'}
        e.stdio.send(b'x\n')
        e.expect(b'x\n')
    fds = host.daemon.fds()
    restart(host, 'kill')
    run_until(lambda: len(host.daemon.fds()) <= len(fds), 5, f'{fds} became {host.daemon.fds()}')
    e.close()


def test_a_restart_during_a_provision_that_boots_leaves_a_running_vm_of_the_user(host):
    host.root.manager('ProvisionUser', 'sa{sv}', 'alice', spec(MockScript='slow-ready=600'))
    run_until(lambda: 'alice' in host.root.names() and host.root.state('alice') == 'starting' and host.root.vm_get('alice', 'StartPhases')[2])
    restart(host, 'kill')
    host.wait_state('alice', 'running')
    assert host.root.provision('alice') == ('done', '')
    assert host.root.manager('ListUsers')[0][:2] == ('alice', 'alice')
