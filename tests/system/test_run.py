# SPDX-License-Identifier: Apache-2.0
"""heroctl run with real guests: a command as if it ran here, and no VM that outlives it."""

import os
import pty
import signal
import subprocess

import pytest

from throwaway import wait_until


def run(host, *words, **kwargs):
    return host.heroctl('run', *words, check=False, timeout=120, **kwargs)


def test_a_command_has_our_streams_and_its_status_is_ours(host):
    r = run(host, '--rm', '-i', '-e', 'A=x y', '-w', '/tmp', '-u', 'nobody', 'busybox', 'sh', '-c',
            'cat; echo "$A"; pwd; id -un; echo error >&2; exit 9', input='through\n')
    assert (r.status, r.out, r.err) == (9, 'through\nx y\n/tmp\nnobody\n', 'error\n')
    assert run(host, '--rm', 'busybox', 'no-such-program').status == 127
    assert run(host, '--rm', '-w', '/a/directory/that/is-new', 'busybox', 'pwd').out == '/a/directory/that/is-new\n'
    assert host.vms() == []


def test_without_rm_the_vm_is_stopped_and_kept(host):
    assert run(host, '--name', 'kept', 'busybox', 'sh', '-c', 'echo mine > /root/file').status == 0
    assert host.state('kept') == 'stopped'
    host.heroctl('start', 'kept', timeout=60)
    assert host.heroctl('exec', 'kept', '--', 'cat', '/root/file').out == 'mine\n'
    host.heroctl('delete', '-f', 'kept')


def test_detached_with_rm_the_service_deletes_the_vm_however_it_ends(host):
    name = run(host, '-d', '--rm', 'busybox', 'sh', '-c', 'sleep 5; exit 5').out.strip()
    assert host.vms() == [name] and host.get(name, 'Transient')
    host.heroctl('wait', name, '-s', 'stopped', timeout=60)
    assert (host.get(name, 'ExitCode'), host.get(name, 'ExitReason')) == (5, 'exited')
    wait_until(lambda: host.vms() == [], 'the VM that ended by itself is deleted', 30)
    assert run(host, '-d', '--rm', '--name', 'bg', 'busybox', 'sleep', '1000').out == 'bg\n'
    host.run('systemctl restart hero-computed')
    assert host.state('bg') == 'running'
    host.heroctl('restart', 'bg', timeout=60)
    assert host.state('bg') == 'running'
    host.heroctl('stop', 'bg', timeout=60)
    wait_until(lambda: host.vms() == [], 'the VM that was stopped is deleted', 30)
    assert not host.run('ls /var/lib/hero-compute/vms').out
    assert run(host, '-d', '--rm', 'busybox', 'no-such-program').status == 127
    assert host.vms() == []


def test_a_guest_that_powers_off_under_its_command_leaves_nothing_with_rm(host):
    r = run(host, '--rm', 'busybox', 'sh', '-c', 'poweroff -f; sleep 1000')
    assert r.status == 125 and 'may still be there' not in r.err and host.vms() == [], r


def test_with_rm_the_vm_of_a_heroctl_that_was_killed_goes_when_it_is_stopped(host):
    host.run(['timeout', '-s', 'KILL', '12', 'heroctl', 'run', '--rm', '--name', 'left', 'busybox', 'sleep', '1000'], check=False, timeout=60)
    assert host.state('left') == 'running'
    host.heroctl('stop', 'left', timeout=60)
    wait_until(lambda: host.vms() == [], 'the VM is deleted', 30)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_command_and_its_vm(host, number):
    """While the guest boots, and when the command runs."""
    for seconds in ('0.3', '12'):
        r = host.run(['timeout', '--preserve-status', '-s', str(int(number)), seconds, 'heroctl', 'run', '--rm', 'busybox', 'sleep',
                      '1000'], check=False, timeout=120)
        assert r.status in (128 + number, 130) and host.vms() == [], r


def test_a_closed_terminal_ends_the_command_and_its_vm(host):
    master, slave = pty.openpty()
    p = subprocess.Popen(host.words(['heroctl', 'run', '--rm', '-it', 'busybox', 'sh', '-c', 'echo it runs; sleep 1000']),
                         stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
                         preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)))  # makes it ours
    os.close(slave)
    seen = b''
    while b'it runs' not in seen:
        seen += os.read(master, 4096)
    assert len(host.vms()) == 1
    os.close(master)
    p.wait(timeout=30)
    assert host.vms() == []


def test_in_the_background_the_command_is_the_vms_own(host):
    name = run(host, '-d', '--entrypoint', '["sh", "-c"]', 'busybox', 'echo hello from it; sleep 2; exit 6').out.strip()
    assert name.startswith('busybox-') and host.state(name) == 'running'
    host.wait_for_state(name, 'stopped')
    assert (host.get(name, 'ExitCode'), host.get(name, 'ExitReason')) == (6, 'exited')
    assert 'hello from it' in host.heroctl('logs', name).out
    host.heroctl('delete', name)
    assert run(host, '-d', '--name', 'bad', 'busybox', 'no-such-program').status == 127
    host.heroctl('delete', 'bad')
