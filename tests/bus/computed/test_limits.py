# SPDX-License-Identifier: Apache-2.0
"""Everything a user can grow has its bound, and is free again afterwards."""

import os
import socket
import time

import pytest
from bus_client import ERROR, MANAGER, ROOT, BusError, run_for, run_until, spec, vm_path, VM
from sockets import Exec, console, log, read_until


def refused(f, *arguments, **options):
    with pytest.raises(BusError) as e:
        f(*arguments, **options)
    return e.value.name.removeprefix(ERROR), e.value.text


def test_exec_sessions_of_a_vm_are_limited(host):
    host.running('web')
    sessions = []
    while True:
        try:
            sessions.append(Exec(host.root, 'web', 'cat'))
        except BusError as e:
            assert e.name == ERROR + 'LimitExceeded' and str(len(sessions)) in e.text
            break
        assert len(sessions) <= 200
    assert len(sessions) >= 16
    fds = host.daemon.n_fds()
    for s in sessions:
        s.stdio.shutdown(socket.SHUT_WR)
    for s in sessions:
        assert s.result() == 'exit 0'
        s.close()
    run_until(lambda: host.daemon.n_fds() <= fds - 3 * len(sessions))
    assert host.daemon.notify.names() == ['vm-web']
    e = Exec(host.root, 'web', 'echo', 'again')
    e.expect(b'again')
    e.close()


def test_sessions_whose_clients_vanish_are_cleaned_up(host):
    host.running('web')
    fds = host.daemon.n_fds()
    for _ in range(3):
        sessions = [Exec(host.root, 'web', 'sleep', '100') for _ in range(16)]
        for s in sessions:
            s.close()
        run_until(lambda: host.daemon.n_fds() <= fds, 10, 'sessions of clients that left stay')
    run_until(lambda: host.daemon.notify.names() == ['vm-web'])


def test_attachments_to_a_console_are_limited(host):
    host.running('web')
    fds = host.daemon.n_fds()
    attached = [console(host.root, 'web') for _ in range(8)]
    assert refused(console, host.root, 'web')[0] == 'LimitExceeded'
    assert refused(host.root.vm, 'web', 'Logs', 'tt', 0, 1)[0] == 'LimitExceeded'
    attached.pop().close()
    run_until(lambda: host.daemon.n_fds() <= fds + 8)
    attached.append(console(host.root, 'web'))
    for c in attached:
        c.close()
    run_until(lambda: host.daemon.n_fds() <= fds)


def test_a_log_follower_cannot_write_to_the_guest(host):
    host.running('web')
    follower = socket.socket(fileno=host.root.vm('web', 'Logs', 'tt', 0, 1))
    follower.setblocking(False)
    follower.send(b'echo intruder\n')
    run_for(0.3)
    assert b'intruder' not in log(host.root, 'web')
    follower.close()


def test_jobs_are_limited_and_a_refused_one_leaves_nothing(host):
    host.images.known['slow'] = 'sha256:' + '44' * 32
    host.images.behaviour['Open'] = 'hold'
    jobs = []
    for i in range(0, 1024, 64):
        calls = [host.root.send(ROOT, MANAGER, 'CreateVM', 'sa{sv}', f'vm-{k}', spec(Image='slow')) for k in range(i, i + 64)]
        jobs += [c.result(60)[1] for c in calls]
    assert refused(host.root.create, 'more')[0] == 'LimitExceeded'
    assert len(host.root.manager('ListJobs')) == 1024
    assert 'more' not in host.daemon.vm_directories() and 'more' not in host.root.names()
    for i in range(0, 1024, 64):
        for c in [host.root.send(j, 'org.hero.Compute.Job', 'Cancel') for j in jobs[i:i + 64]]:
            c.result(60)
    run_until(lambda: not host.root.manager('ListJobs'), 60)
    assert host.root.names() == [] == host.daemon.vm_directories()
    assert host.root.reserved() == (0, 0, 0)


def test_a_console_that_floods_costs_bounded_disk_and_holds_nobody_up(host):
    host.running('web', MockScript='console-flood=200M')
    idle = console(host.root, 'web')  # attached, and does not read
    for _ in range(10):
        began = time.monotonic()
        host.root.manager('ListVMs')
        assert time.monotonic() - began < 1
        run_for(0.1)
    size = sum(f.stat().st_size for f in (host.daemon.state / 'vms/web').glob('console.log*'))
    assert 0 < size <= (1 << 20) + (1 << 16)
    assert host.root.do('web', 'Stop', 't', 1) == ('done', '')
    idle.close()


def test_the_console_history_is_there_when_the_vm_has_stopped(host):
    host.running('web')
    c = console(host.root, 'web')
    c.send(b'echo remember-me\n')
    read_until(c, b'remember-me')
    c.close()
    assert host.root.do('web', 'Stop', 't', 0) == ('done', '')
    assert b'remember-me' in log(host.root, 'web')
    assert len(log(host.root, 'web', 5)) == 5


def test_commands_that_are_too_long_are_refused(host):
    host.running('web')
    fds = host.daemon.n_fds()
    assert refused(Exec, host.root, 'web', 'echo', 'x' * 40000)[0] == 'InvalidArgument'
    # Whoever may call at all may send megabytes of words; the daemon must not be busy with them.
    many = ['x'] * 300000
    began = host.daemon.cpu_time()
    assert refused(Exec, host.root, 'web', *many)[0] == 'InvalidArgument'
    assert refused(Exec, host.root, 'web', 'true', Environment=many)[0] == 'InvalidArgument'
    assert refused(host.root.vm, 'web', 'Wait', 'ast', many, 0)[0] == 'InvalidArgument'
    assert refused(host.root.create, 'wordy', Command=many)[0] == 'InvalidArgument'
    assert host.daemon.cpu_time() - began < 5
    assert refused(Exec, host.root, 'web')[0] == 'InvalidArgument'
    assert refused(Exec, host.root, 'web', '')[0] == 'InvalidArgument'
    assert refused(Exec, host.root, 'web', 'true', Environment=['novalue'])[0] == 'InvalidArgument'
    assert refused(Exec, host.root, 'web', 'true', WorkingDirectory='/' + 'x' * 5000)[0] == 'InvalidArgument'
    assert refused(Exec, host.root, 'web', 'true', Nonsense='1')[0] == 'InvalidArgument'
    run_until(lambda: host.daemon.n_fds() <= fds)


def test_a_client_that_does_not_read_holds_up_neither_the_channel_nor_the_daemon(host):
    host.running('web')
    lazy = Exec(host.root, 'web', 'yes')
    run_for(0.3)
    e = Exec(host.root, 'web', 'echo', 'through')
    e.expect(b'through')
    assert e.result() == 'exit 0'
    e.close()
    lazy.close()


@pytest.mark.parametrize('line', [b'resize 24 80', b'resize 0 0', b'resize x y', b'resize 99999999999 1', b'signal 0', b'signal 65',
                                  b'signal -9', b'nonsense', b'x' * 4000, b'\0\xff', b'signal 9 9', b' '], ids=repr)
def test_nonsense_on_the_control_socket_is_ignored(host, line):
    host.running('web')
    e = Exec(host.root, 'web', 'cat', TTY=True, Rows=24, Columns=80)
    e.control.send(line)
    e.stdio.send(b'still here\n')
    e.expect(b'still here')
    e.control.send(b'signal 9')
    assert e.result() == 'signal 9'
    e.close()


def test_reading_everything_at_once_is_answered_for_many_vms(host):
    for i in range(100):
        host.root.manager('CreateVM', 'sa{sv}', f'vm-{i:03}', spec(User=f'user{i}'))
    run_until(lambda: not host.root.manager('ListJobs'), 30)
    vms = host.root.manager('ListVMs')
    assert [v[0] for v in vms] == sorted(v[0] for v in vms) and len(vms) == 100
    assert [u[0] for u in host.root.manager('ListUsers')] == sorted(f'user{i}' for i in range(100))
    assert len(host.root.call(ROOT, 'org.freedesktop.DBus.ObjectManager', 'GetManagedObjects')) == 200


@pytest.mark.parametrize('end', ['Stop', 'Delete', 'kill'])
def test_when_a_vm_ends_its_sessions_and_consoles_hear_of_it(host, end):
    pid = host.running('web')
    e = Exec(host.root, 'web', 'cat')
    c = console(host.root, 'web')
    if end == 'kill':
        os.kill(pid, 9)
        host.wait_state('web', 'failed')
    else:
        assert host.root.do('web', end, 't', 1) == ('done', '')
    assert e.result().startswith('lost ')
    read_until(e.stdio, b'')
    c.settimeout(5)
    while c.recv(65536):
        pass
    e.close()
    c.close()
    host.nothing_left('web', files=end != 'Delete')
