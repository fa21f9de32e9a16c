# SPDX-License-Identifier: Apache-2.0
"""The throwaway host itself: what everything else stands on."""

import os
import signal
import subprocess
import time

import pytest

from throwaway import LEFT_BEHIND, TOOL, Host, wait_until


@pytest.fixture
def second():
    return Host(os.environ['HERO_TEST_HOST'] + '-second')


@pytest.fixture
def nothing_left(tmp_path, second):
    """Compares the machine after the test with what it was. The session's host is in both."""
    env = dict(os.environ, HERO_TEST_HOST=second.directory)
    before = tmp_path / 'before'
    before.write_text(subprocess.run([LEFT_BEHIND, 'snapshot'], env=env, check=True, stdout=subprocess.PIPE,
                                     text=True).stdout)
    yield
    subprocess.run([TOOL, 'stop', '--dir', second.directory], check=True)
    r = subprocess.run([LEFT_BEHIND, 'compare', str(before)], env=env, check=False, stdout=subprocess.PIPE, text=True)
    assert r.returncode == 0, r.stdout


def test_boots_without_a_failed_unit(host):
    assert host.run(['systemctl', 'is-system-running']).out.strip() == 'running', \
        host.run(['systemctl', '--failed']).out


def test_pid_1_is_systemd_in_a_pid_namespace_of_its_own(host):
    assert host.run('cat /proc/1/comm').out.strip() == 'systemd'
    assert host.run('readlink /proc/self/ns/pid').out.strip() != os.readlink('/proc/self/ns/pid')


def test_installed_programs_are_those_of_the_build(host, build):
    with open(os.path.join(build, 'src/compute/hero-computed'), 'rb') as f:
        built = f.read()
    assert host.run('stat -c %s /usr/lib/hero-compute/hero-computed').out.strip() == str(len(built))
    assert not os.path.exists('/usr/lib/hero-compute'), 'the machine itself got an installation'


def test_what_is_written_there_is_not_on_the_machine(host):
    host.run('echo x >/etc/throwaway-was-here; echo x >/usr/throwaway-was-here; rm -f /etc/debian_version')
    assert not os.path.exists('/etc/throwaway-was-here') and not os.path.exists('/usr/throwaway-was-here')
    assert os.path.exists('/etc/debian_version')


def test_kernel_settings_of_the_machine_cannot_be_written(host):
    assert host.run('echo 1 >/proc/sys/kernel/panic', check=False).status != 0
    assert host.run('echo 1 >/sys/kernel/profiling', check=False).status != 0


def test_network_is_a_loopback_of_its_own(host):
    assert host.run('ls /sys/class/net').out.split() in (['lo'], ['hero-wake', 'lo'])
    assert host.run('cat /sys/class/net/lo/operstate').out.strip() == 'unknown'  # up, as far as a loopback can be


def test_exec_passes_status_input_and_signals_on(host):
    assert host.run('exit 7', check=False).status == 7
    assert host.run('cat', input='some text').out == 'some text'
    process = host.popen('kill -TERM $$')
    assert process.wait() == 128 + signal.SIGTERM
    process.communicate()


def test_exec_can_be_another_user_without_capabilities(host):
    out = host.run('id -un; grep CapEff /proc/self/status; echo $HOME', user='alice').out.split()
    assert out == ['alice', 'CapEff:', '0000000000000000', '/home/alice']


def test_two_hosts_side_by_side_do_not_see_each_other(host, second, nothing_left):
    second.start()
    second.run('systemd-run -q --unit=only-here sleep 1000')
    assert second.unit('only-here', 'ActiveState') == 'active'
    assert host.unit('only-here', 'LoadState') == 'not-found'
    second.stop()
    assert host.run('echo alive').out == 'alive\n'


def test_pid_1_is_never_held_up_by_what_it_says_to_its_keeper(second, nothing_left):
    second.start()
    # Each time it has no more jobs it says that it is ready.
    second.run('for i in $(seq 30); do systemd-run -q --wait true; systemctl start --no-block basic.target; done',
               timeout=60)
    assert second.run('systemctl is-system-running').out == 'running\n'


def test_nothing_is_left_behind_when_the_keeper_is_killed(second, nothing_left):
    second.start()
    with open(os.path.join(second.directory, 'keeper'), encoding='utf-8') as f:
        os.kill(int(f.read().split()[0]), signal.SIGKILL)


def test_nothing_is_left_behind_when_it_powers_itself_off(second, nothing_left):
    second.start()
    second.run('systemctl poweroff', check=False)
    wait_until(lambda: not os.path.exists(second.directory), 'the state directory is gone')


def test_nothing_is_left_behind_when_start_is_interrupted(second, nothing_left):
    with subprocess.Popen([TOOL, 'start', '--dir', second.directory], stderr=subprocess.DEVNULL) as starting:
        time.sleep(0.15)
        starting.send_signal(signal.SIGINT)
        starting.wait()
