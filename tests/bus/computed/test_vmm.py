# SPDX-License-Identifier: Apache-2.0
"""A VMM that dies, hangs or talks nonsense at every stage: the right state, reason and error, and nothing left."""

import os
import signal

import pytest
from bus_client import ERROR, run_for, run_until
from daemon import processes_named


@pytest.fixture
def hasty(cold):
    """A host that does not wait long for what a test knows will not come."""
    return cold.configure(MonitorTimeoutSec='700ms', AgentTimeoutSec='1', ShutdownTimeoutSec='200ms', PowerdownTimeoutSec='200ms',
                          StopTimeoutSec='500ms').start()


START_FAILURES = [
    # script, error, words of the message
    ('die-at-start', 'VMMFailed', ['mock']),
    ('crash-after=1,slow-ready=3000', 'VMMFailed', ['SIGABRT']),
    ('exit-after=1,slow-ready=3000', 'VMMFailed', ['ended before it was ready']),
    ('panic-after=1,slow-ready=3000', 'VMMFailed', ['ended before it was ready']),
    ('boot-failed', 'BootFailed', ['could not boot']),
    ('agent-silent', 'AgentTimeout', ['AgentTimeoutSec', 'heroctl logs web']),
    ('no-agent', 'AgentTimeout', ['AgentTimeoutSec']),
    ('agent-garbage', 'AgentTimeout', ['AgentTimeoutSec']),
    ('monitor-silent', 'VMMFailed', ['MonitorTimeoutSec']),
    ('monitor-garbage', 'VMMFailed', ['MonitorTimeoutSec']),
]


@pytest.mark.parametrize('script, error, words', START_FAILURES, ids=[s for s, _, _ in START_FAILURES])
def test_a_start_that_fails_says_why_and_leaves_nothing(hasty, script, error, words):
    fds = hasty.warm()
    assert hasty.root.create('web', MockScript=script) == ('done', '')
    result, text = hasty.root.do('web', 'Start')
    assert result == ERROR + error, text
    for w in words:
        assert w in text, text
    assert hasty.root.state('web') == 'start-failed'
    assert hasty.root.vm_get('web', 'StateReason') == text
    assert hasty.root.reserved() == (0, 0, 16 << 20)
    assert (hasty.root.vm_get('web', 'PID'), hasty.root.vm_get('web', 'UID')) == (0, 0)
    hasty.nothing_left('web', files=True)
    run_until(lambda: hasty.daemon.n_fds() <= fds, 5, 'file descriptors stay open')
    assert hasty.root.do('web', 'Delete', 't', 0) == ('done', '')
    hasty.nothing_left('web')


@pytest.mark.parametrize('script, error, words', START_FAILURES, ids=[s for s, _, _ in START_FAILURES])
def test_a_provision_that_fails_takes_the_vm_away_again(hasty, script, error, words):
    result, text = hasty.root.provision('alice', MockScript=script)
    assert result == ERROR + error, text
    assert hasty.root.names() == []
    assert hasty.root.reserved() == (0, 0, 0)
    assert hasty.root.manager('ListUsers') == []
    hasty.nothing_left('alice')
    assert [m for m, _ in hasty.root.signals('VMNew', 'VMRemoved', 'JobRemoved')] == ['VMNew', 'VMRemoved', 'JobRemoved']
    # The user is not marked by it.
    assert hasty.root.provision('alice') == ('done', '')


@pytest.mark.parametrize('script, state, words', [
    ('crash-after=300', 'failed', ['SIGABRT']),
    ('exit-after=300', 'stopped', ['guest shut down']),
    ('panic-after=300', 'stopped', []),
], ids=lambda v: v if isinstance(v, str) else '')
def test_a_vmm_that_ends_by_itself_gives_the_right_state(host, script, state, words):
    host.running('web', MockScript=script)
    fds = host.daemon.n_fds()
    run_until(lambda: host.root.state('web') in ('stopped', 'failed'))
    if words:
        assert host.root.state('web') == state
    for w in words:
        assert w in host.root.vm_get('web', 'StateReason')
    assert host.root.vm_get('web', 'AgentReady') is False
    assert host.root.reserved() == (0, 0, 16 << 20)
    host.nothing_left('web', files=True)
    assert host.daemon.n_fds() < fds


@pytest.mark.parametrize('number, state', [(signal.SIGKILL, 'failed'), (signal.SIGSEGV, 'failed')])
def test_a_vmm_killed_by_a_signal_fails_the_vm_by_name_of_the_signal(host, number, state):
    pid = host.running('web')
    os.kill(pid, number)
    host.wait_state('web', state)
    assert signal.Signals(number).name in host.root.vm_get('web', 'StateReason')
    assert host.root.do('web', 'Start') == ('done', '')  # out of "failed" leads a start


@pytest.mark.parametrize('restarted', [False, True])
def test_a_vmm_killed_for_want_of_memory_fails_the_vm_for_that_reason(host, restarted):
    """PID 1 may have removed the cgroup, and its memory.events with it, before we look; it remembers."""
    pid = host.running('web')
    if restarted:
        host.daemon.stop()
        host.daemon.start()
    host.systemd.results['hero-vm-web.scope'] = 'oom-kill'
    os.kill(pid, signal.SIGKILL)
    host.wait_state('web', 'failed')
    assert 'reached the memory limit of hero-vm-web.scope' in host.root.vm_get('web', 'StateReason')
    host.nothing_left('web', files=True)
    assert host.root.do('web', 'Start') == ('done', '')


def test_a_vmm_that_gets_sigterm_is_stopped_not_failed(host):
    os.kill(host.running('web'), signal.SIGTERM)
    host.wait_state('web', 'stopped')


def test_a_vmm_that_cannot_be_found_is_said_at_start_and_reserves_nothing(cold):
    lib = cold.directory / 'programs'
    lib.mkdir()
    from daemon import BUILD
    (lib / 'hero-vmm-launch').symlink_to(BUILD / 'src/hypervisor/hero-vmm-launch')
    cold.daemon.environment['HERO_LIBEXEC_DIR'] = str(lib)
    host = cold.start()
    assert host.root.create('web') == ('done', '')
    result, text = host.root.do('web', 'Start')
    assert 'hero-mock-vmm' in text
    assert host.root.reserved() == (0, 0, 16 << 20)
    assert host.root.state('web') == 'configured'
    # Again, for what was not given back would add up.
    host.root.do('web', 'Start')
    assert host.root.reserved() == (0, 0, 16 << 20)


def test_a_vmm_that_is_no_program_fails_the_start(cold):
    lib = cold.directory / 'programs'
    lib.mkdir()
    from daemon import BUILD
    (lib / 'hero-vmm-launch').symlink_to(BUILD / 'src/hypervisor/hero-vmm-launch')
    (lib / 'hero-mock-vmm').write_bytes(b'no program at all\n')
    (lib / 'hero-mock-vmm').chmod(0o755)
    cold.daemon.environment['HERO_LIBEXEC_DIR'] = str(lib)
    host = cold.start()
    assert host.root.create('web') == ('done', '')
    result, text = host.root.do('web', 'Start')
    assert result == ERROR + 'VMMFailed' and 'Exec format error' in text
    host.nothing_left('web', files=True)


def test_a_missing_launcher_fails_the_start(cold):
    lib = cold.directory / 'programs'
    lib.mkdir()
    from daemon import BUILD
    (lib / 'hero-mock-vmm').symlink_to(BUILD / 'src/hypervisor/hero-mock-vmm')
    cold.daemon.environment['HERO_LIBEXEC_DIR'] = str(lib)
    host = cold.start()
    assert host.root.create('web') == ('done', '')
    result, text = host.root.do('web', 'Start')
    assert result != 'done' and 'launcher' in text
    assert host.root.reserved() == (0, 0, 16 << 20)
    host.nothing_left('web', files=True)


def test_a_lost_disk_fails_the_start(host):
    assert host.root.create('web') == ('done', '')
    (host.daemon.state / 'vms/web/overlay.img').unlink()
    result, text = host.root.do('web', 'Start')
    assert result != 'done'
    assert 'web' in text and 'No such file' in text
    assert host.root.reserved() == (0, 0, 16 << 20)


# Stopping

def test_a_guest_that_ignores_everything_is_killed_in_the_end(hasty):
    hasty.running('web', MockScript='ignore-shutdown,ignore-powerdown')
    assert hasty.root.do('web', 'Stop', 't', 0) == ('done', '')
    assert hasty.root.state('web') == 'stopped'
    hasty.nothing_left('web', files=True)


def test_a_guest_that_ignores_the_agent_hears_the_power_button(hasty):
    hasty.running('web', MockScript='ignore-shutdown')
    assert hasty.root.do('web', 'Stop', 't', 0) == ('done', '')
    assert hasty.root.state('web') == 'stopped'


def test_a_hung_vmm_is_stopped_all_the_same(hasty):
    pid = hasty.running('web')
    os.kill(pid, signal.SIGSTOP)
    assert hasty.root.do('web', 'Stop', 't', 0, timeout=30) == ('done', '')
    hasty.nothing_left('web', files=True)


def test_force_shortens_a_graceful_stop_under_way(cold):
    host = cold.configure(ShutdownTimeoutSec='60').start()
    host.running('web', MockScript='ignore-shutdown,ignore-powerdown')
    job = host.root.vm('web', 'Stop', 't', 0)
    host.wait_state('web', 'stopping')
    assert host.root.vm('web', 'Stop', 't', 1) == job
    assert host.root.job(job, 5) == ('done', '')
    assert host.root.vm_get('web', 'StateReason') == 'Stopped by force.'
    assert host.root.vm('web', 'Stop', 't', 0) != job  # that one is over


def test_force_twice_in_the_middle_of_a_stop_is_one_stop(cold):
    host = cold.configure(ShutdownTimeoutSec='60').start()
    host.running('web', MockScript='ignore-shutdown,ignore-powerdown')
    calls = [host.root.send('/org/hero/Compute/vm/web', 'org.hero.Compute.VM', 'Stop', 't', f) for f in (0, 1, 1, 1)]
    jobs = {c.result() for c in calls}
    assert len(jobs) == 1
    assert host.root.job(jobs.pop(), 5) == ('done', '')


def test_stopping_a_suspended_vm_wakes_it_to_shut_down(host):
    host.running('web')
    assert host.root.do('web', 'Suspend') == ('done', '')
    assert host.root.do('web', 'Stop', 't', 0) == ('done', '')
    assert host.root.transitions('web')[-4:] == [('suspended', 'resuming'), ('resuming', 'running'), ('running', 'stopping'),
                                                 ('stopping', 'stopped')]


def test_a_suspended_vm_is_killed_by_force_without_being_woken(host):
    host.running('web')
    assert host.root.do('web', 'Suspend') == ('done', '')
    assert host.root.do('web', 'Stop', 't', 1) == ('done', '')
    assert host.root.transitions('web')[-2:] == [('suspended', 'stopping'), ('stopping', 'stopped')]
    host.nothing_left('web', files=True)


def test_deleting_a_running_vm_stops_it_first(host):
    host.running('web')
    assert host.root.do('web', 'Delete', 't', 0) == ('done', '')
    assert ('stopping', 'stopped') in [(a[3], a[4]) for _, a in host.root.signals('Transition')]
    host.nothing_left('web')


def test_deleting_a_vm_that_is_starting_is_refused_with_what_to_do(host):
    assert host.root.create('web', MockScript='slow-ready=1000') == ('done', '')
    job = host.root.vm('web', 'Start')
    host.wait_state('web', 'starting')
    with pytest.raises(Exception) as e:
        host.root.vm('web', 'Delete', 't', 1)
    assert e.value.name == ERROR + 'Busy' and 'cancel' in e.value.text
    assert host.root.job(job) == ('done', '')


def test_a_vmm_that_dies_while_it_is_stopped_is_stopped(host):
    pid = host.running('web', MockScript='ignore-shutdown,ignore-powerdown')
    job = host.root.vm('web', 'Stop', 't', 0)
    host.wait_state('web', 'stopping')
    os.kill(pid, signal.SIGKILL)
    assert host.root.job(job) == ('done', '')
    assert host.root.state('web') == 'stopped'


def test_restart_is_a_stop_and_a_start(host):
    pid = host.running('web')
    assert host.root.do('web', 'Restart') == ('done', '')
    assert host.root.state('web') == 'running' and host.pid() != pid


def test_fifty_rounds_leave_no_file_descriptor_process_or_file(host):
    host.warm()
    before = host.daemon.fds()
    for i in range(50):
        script = {'MockScript': START_FAILURES[i % 5][0]} if i % 2 else {}
        host.root.create('web', **script)
        host.root.do('web', 'Start')
        if i % 4 == 0:
            host.root.do('web', 'Suspend')
        assert host.root.do('web', 'Delete', 't', 1) == ('done', '')
    host.nothing_left('web')
    run_until(lambda: len(host.daemon.fds()) <= len(before), 5, f'{before} became {host.daemon.fds()}')
    assert host.root.reserved() == (0, 0, 0)
    assert host.daemon.vm_directories() == []
    assert host.systemd.count('StartTransientUnit') >= 50
