# SPDX-License-Identifier: Apache-2.0
"""What an administrator does to a scope with systemctl is understood."""

import os
import subprocess
import time

from throwaway import STATE, Host, wait_until

SCOPE = 'hero-vm-{}.scope'


def test_status_names_vm_and_user(host):
    host.mock('frank', '--user=frank')
    out = host.run(['systemctl', 'status', '--no-pager', SCOPE.format('frank')]).out
    assert 'VM frank of user frank' in out and 'machine-hero.slice' in out


def test_stop_of_the_scope_stops_the_vm(host):
    host.mock('gina')
    host.run(['systemctl', 'stop', SCOPE.format('gina')], timeout=120)
    host.wait_for_state('gina', 'stopped')
    assert host.get('gina', 'StateReason')
    host.heroctl('start', 'gina')


def test_stop_of_a_suspended_vms_scope_stops_the_vm(host):
    host.mock('henk')
    host.heroctl('suspend', 'henk')
    host.run(['systemctl', 'stop', SCOPE.format('henk')], timeout=120)
    wait_until(lambda: host.state('henk') in ('stopped', 'failed'), 'the VM has ended')


def test_kill_of_the_scope_fails_the_vm_with_the_signal_as_reason(host):
    host.mock('ida')
    host.run(['systemctl', 'kill', '--signal=KILL', SCOPE.format('ida')])
    host.wait_for_state('ida', 'failed')
    assert 'KILL' in host.get('ida', 'StateReason')
    host.heroctl('start', 'ida')


def test_set_property_changes_the_limit_and_leaves_the_vm_running(host):
    host.mock('jan')
    host.run(['systemctl', 'set-property', '--runtime', SCOPE.format('jan'), 'CPUQuota=37%'])
    assert host.unit(SCOPE.format('jan'), 'CPUQuotaPerSecUSec') == '370ms'
    assert host.state('jan') == 'running'


def test_freeze_and_thaw_behind_our_back_do_not_lose_the_vm(host):
    host.mock('kees')
    host.run(['systemctl', 'freeze', SCOPE.format('kees')])
    time.sleep(0.5)
    host.run(['systemctl', 'thaw', SCOPE.format('kees')])
    wait_until(lambda: host.state('kees') == 'running', 'it runs as before')
    host.heroctl('stop', 'kees')


def test_daemon_reload_and_reexec_leave_vms_alone(host):
    host.mock('lena')
    pid = host.get('lena', 'PID')
    host.run('systemctl daemon-reload')
    host.run('systemctl daemon-reexec')
    assert host.state('lena') == 'running' and host.get('lena', 'PID') == pid
    host.heroctl('suspend', 'lena')
    host.heroctl('resume', 'lena')


def test_no_process_of_a_vm_is_outside_its_scope(host):
    host.mock('mia')
    pid = host.get('mia', 'PID')
    assert host.run(['cat', f'/proc/{pid}/cgroup']).out.splitlines()[-1] == \
        '0::/machine.slice/machine-hero.slice/hero-vm-mia.scope'
    service = host.run('for p in $(cat /sys/fs/cgroup/system.slice/hero-computed.service/cgroup.procs); do '
                       'cat /proc/$p/comm; done').out.split()
    assert sorted(set(service)) == ['hero-computed', 'hero-vmm-launch']


def test_log_level_can_be_changed_at_run_time(host):
    assert host.run('systemctl service-log-level hero-computed').out.strip() == 'info'
    host.run('systemctl service-log-level hero-computed debug')
    assert host.run('systemctl service-log-level hero-computed').out.strip() == 'debug'
    host.run('systemctl service-log-level hero-computed info')


def test_transitions_are_in_the_journal_with_their_fields(host):
    cursor = host.cursor()
    host.mock('nils', '--user=nils')
    out = host.run(['journalctl', '-q', '-o', 'cat', f'--after-cursor={cursor}', 'HERO_VM=nils']).out
    assert 'running' in out
    assert host.run(['journalctl', '-q', '-o', 'cat', f'--after-cursor={cursor}', 'HERO_USER=nils']).out


def test_shutdown_of_the_host_asks_the_guests_first(host, build, kernel, tmp_path):
    """On a host of its own, as it does not live on. The guest's own command writes when it is asked."""
    disk = tmp_path / 'state'
    disk.mkdir()
    h = Host(os.environ['HERO_TEST_HOST'] + '-shutdown', build,
             [f'{disk}:{STATE}', f'{kernel}:{STATE}/kernel:ro', f'{tmp_path}:/mnt'])
    h.start()
    try:
        h.run('mkdir -p /etc/systemd/journald.conf.d && echo "[Journal]\nStorage=persistent" '
              '>/etc/systemd/journald.conf.d/zz.conf; mkdir /mnt/journal; mkdir -p /var/log/journal; '
              'mount --bind /mnt/journal /var/log/journal; systemctl restart systemd-journald; journalctl --flush')
        h.mock('awake')
        h.mock('asleep')
        h.heroctl('suspend', 'asleep')
        h.restart_daemon()                      # nothing that PID 1 knew of us may be needed
        began = time.monotonic()
    finally:
        h.stop()
    took = time.monotonic() - began
    for name in ('awake', 'asleep'):
        out = subprocess.run(['journalctl', '-q', '-o', 'cat', '-D', str(tmp_path / 'journal'), f'HERO_VM={name}'],
                             stdout=subprocess.PIPE, text=True, check=True).stdout
        assert 'stopping → stopped' in out and 'failed' not in out, out
    assert took < 15, f'shutting down took {took:.0f} s'
