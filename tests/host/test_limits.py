# SPDX-License-Identifier: Apache-2.0
"""What a scope promises, the kernel does."""

import json

from debian_host import CGROUPS

MIB = 1 << 20
MOCK_OVERHEAD = 8 * MIB # mock.c


def test_doctor_finds_a_host_that_can_enforce_limits(host):
    findings = {f['check']: f for f in json.loads(host.run('heroctl doctor --json').stdout)}
    for check in ('unit', 'service', 'images', 'polkit', 'kernel', 'cgroups', 'capacity'):
        assert findings[check]['result'] == 'ok', findings[check]
    assert 'the controllers cpu and memory' in findings['cgroups']['message']


def test_no_unit_of_the_host_has_failed(host):
    assert host.run('systemctl list-units --failed --no-legend --plain').stdout == ''


def test_the_limits_of_a_vm_are_in_its_cgroup(host, guests):
    guests.create('limited', cpus=2, memory='96M')
    host.run('heroctl set-resources limited --cpu-weight 250 --io-weight 40 && heroctl start limited')
    assert guests.cgroup('limited', 'memory.max', 'memory.swap.max', 'memory.oom.group', 'cpu.max', 'cpu.weight', 'io.weight',
                         'pids.max') == [str(96 * MIB + MOCK_OVERHEAD), '0', '1', '200000 100000', '250', 'default 40', '514']
    shown = host.run('systemctl show -p Slice,MemoryMax,MemorySwapMax,CPUQuotaPerSecUSec,CPUWeight,IOWeight,TasksMax,'
                     'OOMPolicy,DevicePolicy,CollectMode hero-vm-limited.scope').stdout
    assert dict(line.split('=', 1) for line in shown.splitlines()) == {
        'Slice': 'machine-hero.slice', 'MemoryMax': str(96 * MIB + MOCK_OVERHEAD), 'MemorySwapMax': '0',
        'CPUQuotaPerSecUSec': '2s', 'CPUWeight': '250', 'IOWeight': '40', 'TasksMax': '514', 'OOMPolicy': 'kill',
        'DevicePolicy': 'strict', 'CollectMode': 'inactive-or-failed'}


def nothing_is_left(host, name):
    assert host.run(f'systemctl show -p LoadState --value hero-vm-{name}.scope; pgrep -f name={name}; '
                    f'test -e {CGROUPS}/hero-vm-{name}.scope && echo cgroup', check=False).stdout == 'not-found\n'


def test_a_vmm_beyond_its_memory_limit_is_killed_and_its_vm_has_failed_for_that_reason(host, guests):
    guests.start('neighbour', memory='64M')
    guests.start('greedy', 'memory=200M,memory-after=1000', memory='64M')
    guests.wait_for_state('greedy', 'failed')
    assert guests.state('greedy') == (
        'failed', 'The VMM reached the memory limit of hero-vm-greedy.scope and was killed by the kernel.')
    nothing_is_left(host, 'greedy')
    assert guests.state('neighbour')[0] == 'running'
    assert 'Memory cgroup out of memory' in host.run('journalctl -k -b -o cat').stdout


def test_a_vmm_that_was_killed_below_its_limit_is_not_blamed_for_it(host, guests):
    """hero-vmm-launch makes VMMs the first choice when others run out of memory."""
    guests.start('victim', 'memory=60M,memory-after=2000', memory='64M')
    try:
        host.run('systemctl set-property --runtime machine-hero.slice MemoryMax=24M')
        guests.wait_for_state('victim', 'failed')
    finally:
        host.run('systemctl set-property --runtime machine-hero.slice MemoryMax=infinity')
    assert guests.state('victim') == (
        'failed', 'Memory ran out on the host or in machine-hero.slice, and the kernel killed the VMM.')


def test_a_vmm_below_its_memory_limit_is_left_alone(host, guests):
    guests.start('modest', 'memory=64M', memory='64M')
    assert guests.state('modest')[0] == 'running'
    assert int(guests.cgroup('modest', 'memory.current')[0]) > 60 * MIB


def test_a_start_that_does_not_fit_the_memory_limit_fails_and_can_be_tried_again(host, guests):
    guests.create('large', 'memory=200M', memory='64M')
    assert 'memory limit' in host.run('heroctl start large', check=False).stderr
    state, reason = guests.state('large')
    assert state == 'start-failed' and 'reached the memory limit of hero-vm-large.scope' in reason
    nothing_is_left(host, 'large')
    host.run('heroctl set-resources large --memory 256M')
    host.run('heroctl start large')
    assert guests.state('large')[0] == 'running'


def test_a_vm_of_one_cpu_gets_one_of_two_however_busy_it_is(host, guests):
    guests.start('busy', 'load=200', cpus=1)
    used, throttled = guests.used_cpus('busy', 2)
    assert 0.7 < used < 1.3 and throttled > 0, (used, throttled)


def test_a_vm_of_two_cpus_gets_both_until_its_limit_is_changed_while_it_runs(host, guests):
    guests.start('busy', 'load=200', cpus=2)
    used, _ = guests.used_cpus('busy', 2)
    assert used > 1.5, used
    host.run('systemctl set-property --runtime hero-vm-busy.scope CPUQuota=25%')
    used, throttled = guests.used_cpus('busy', 2)
    assert used < 0.4 and throttled > 5, (used, throttled)
    host.run('heroctl set-resources busy --cpus 1 --cpu-weight 300')
    assert guests.cgroup('busy', 'cpu.max', 'cpu.weight') == ['100000 100000', '300']
    used, throttled = guests.used_cpus('busy', 2)
    assert 0.7 < used < 1.3 and throttled > 0, (used, throttled)
    assert guests.state('busy')[0] == 'running'


def test_weights_share_cpus_that_are_scarce(host, guests):
    for name, weight in (('light', 100), ('heavy', 400)):
        guests.create(name, 'load=200', cpus=2)
        host.run(f'heroctl set-resources {name} --cpu-weight {weight} && heroctl start {name}')
    before = guests.used_usec(*guests.names)
    host.run('sleep 3')
    used = {name: after - before[name] for name, after in guests.used_usec(*guests.names).items()}
    assert 2 < used['heavy'] / used['light'] < 8, used


def test_a_suspended_vm_uses_no_cpu_at_all(host, guests):
    guests.start('busy', 'load=100')
    host.run('heroctl suspend busy')
    assert 'frozen 1' in guests.cgroup('busy', 'cgroup.events')
    before = guests.used_usec('busy')
    host.run('sleep 2')
    assert guests.used_usec('busy') == before
    host.run('heroctl resume busy')
    used, _ = guests.used_cpus('busy', 1)
    assert used > 0.5, used
