# SPDX-License-Identifier: Apache-2.0
"""What the host can give is not promised twice, and what is given back can be given again."""

import pytest
from bus_client import ERROR, MANAGER, ROOT, BusError, run_until, spec, vm_path, VM

MIB = 1 << 20


@pytest.fixture
def small(cold):
    """A host with little to give: three thirds of memory, CPUs and disk."""
    text = (cold.directory / 'etc/compute.conf').read_text()
    cold.start(text.replace('CPUOvercommit=100', 'CPUOvercommit=3\nMemoryOvercommit=0.01\nDiskOvercommit=0.01'))
    cold.third = {'CPUs': min(64, cold.root.manager_get('CPUsTotal') // 3),
                  'Memory': min(1 << 40, cold.root.manager_get('MemoryTotal') // 3 // MIB * MIB),
                  'Disk': min(1 << 30, cold.root.manager_get('DiskTotal') // 3 // MIB * MIB)}
    return cold


def outcomes(calls):
    """Results and errors."""
    good, bad = [], []
    for c in calls:
        try:
            good.append(c.result())
        except BusError as e:
            bad.append(e)
    return good, bad


def test_parallel_starts_cannot_promise_memory_twice(small):
    for i in range(8):
        assert small.root.create(f'vm-{i}', Memory=small.third['Memory']) == ('done', '')
    good, bad = outcomes([small.root.send(vm_path(f'vm-{i}'), VM, 'Start') for i in range(8)])
    assert len(good) == 3 and len(bad) == 5
    for e in bad:
        assert e.name == ERROR + 'NoCapacity'
        assert 'memory' in e.text and 'left' in e.text and 'MemoryOvercommit=' in e.text
    for j in good:
        assert small.root.job(j) == ('done', '')
    assert small.root.manager_get('MemoryReserved') == 3 * small.third['Memory'] <= small.root.manager_get('MemoryTotal')


def test_parallel_starts_cannot_promise_cpus_twice(small):
    for i in range(8):
        assert small.root.create(f'vm-{i}', CPUs=small.third['CPUs']) == ('done', '')
    good, bad = outcomes([small.root.send(vm_path(f'vm-{i}'), VM, 'Start') for i in range(8)])
    total = small.root.manager_get('CPUsTotal')
    assert len(good) == total // small.third['CPUs'] < 8
    for e in bad:
        assert e.name == ERROR + 'NoCapacity' and 'CPUs' in e.text
        left = total - len(good) * small.third['CPUs']
        assert f"{small.third['CPUs']} asked for, {left} of {total} left" in e.text
    for j in good:
        assert small.root.job(j) == ('done', '')


def test_parallel_provisions_cannot_promise_anything_twice(small):
    calls = [small.root.send(ROOT, MANAGER, 'ProvisionUser', 'sa{sv}', f'user{i}', spec(Memory=small.third['Memory']))
             for i in range(8)]
    good, bad = outcomes(calls)
    assert len(good) == 3 and {e.name for e in bad} == {ERROR + 'NoCapacity'}
    for _, j in good:
        assert small.root.job(j) == ('done', '')
    # Those refused have left nothing.
    assert len(small.root.names()) == 3 == len(small.daemon.vm_directories()) == len(small.root.manager('ListUsers'))


def test_parallel_creations_cannot_promise_disk_twice(small):
    disk = small.third['Disk']
    n = small.root.manager_get('DiskTotal') // disk
    calls = [small.root.send(ROOT, MANAGER, 'CreateVM', 'sa{sv}', f'vm-{i}', spec(Disk=disk)) for i in range(n + 3)]
    good, bad = outcomes(calls)
    assert len(good) == n and len(bad) == 3
    for e in bad:
        assert e.name == ERROR + 'NoCapacity' and 'disk' in e.text and 'DiskOvercommit=' in e.text
    for _, j in good:
        assert small.root.job(j) == ('done', '')
    assert small.root.manager_get('DiskReserved') == n * disk


def test_what_a_failed_start_reserved_is_free_again(small):
    big = dict(Memory=small.root.manager_get('MemoryTotal') // MIB * MIB if small.root.manager_get('MemoryTotal') < 1 << 40 else 1 << 40)
    assert small.root.create('bad', MockScript='die-at-start', **big) == ('done', '')
    assert small.root.create('good', **big) == ('done', '')
    for _ in range(3):
        assert small.root.do('bad', 'Start')[0] == ERROR + 'VMMFailed'
    assert small.root.do('good', 'Start') == ('done', '')
    with pytest.raises(BusError) as e:
        small.root.vm('bad', 'Start')
    assert e.value.name == ERROR + 'NoCapacity'
    # Stopping, deleting, cancelling: each gives it back.
    assert small.root.do('good', 'Stop', 't', 1) == ('done', '')
    assert small.root.do('good', 'Start') == ('done', '')
    assert small.root.do('good', 'Delete', 't', 1) == ('done', '')
    assert small.root.create('next', MockScript='slow-ready=3000', **big) == ('done', '')
    job = small.root.vm('next', 'Start')
    run_until(lambda: small.root.state('next') == 'starting')
    small.root.call(job, 'org.hero.Compute.Job', 'Cancel')
    assert small.root.job(job)[0] == 'canceled'
    assert small.root.reserved()[:2] == (0, 0)


def test_a_suspended_vm_keeps_its_memory_reserved(small):
    assert small.root.create('web', Memory=small.third['Memory']) == ('done', '')
    assert small.root.do('web', 'Start') == ('done', '')
    assert small.root.do('web', 'Suspend') == ('done', '')
    assert small.root.manager_get('MemoryReserved') == small.third['Memory']


def test_a_restarted_vm_takes_the_resources_it_was_given_meanwhile(small):
    assert small.root.create('web', Memory=64 * MIB) == ('done', '')
    assert small.root.do('web', 'Start') == ('done', '')
    small.root.vm('web', 'SetResources', 'a{sv}', spec(Memory=128 * MIB, CPUs=2))
    assert small.root.reserved()[:2] == (1, 64 * MIB)  # what runs is what it was started with
    assert small.root.do('web', 'Restart') == ('done', '')
    assert small.root.reserved()[:2] == (2, 128 * MIB)
    assert small.root.do('web', 'Stop', 't', 1) == ('done', '')
    assert small.root.reserved()[:2] == (0, 0)


def test_a_restart_into_more_than_there_is_ends_stopped_and_says_so(small):
    total = small.root.manager_get('MemoryTotal')
    assert small.root.create('web') == ('done', '')
    assert small.root.do('web', 'Start') == ('done', '')
    if total < 1 << 40:
        small.root.vm('web', 'SetResources', 'a{sv}', spec(Memory=(total // MIB + 1) * MIB))
        result, text = small.root.do('web', 'Restart')
        assert result == ERROR + 'NoCapacity' and 'memory' in text
        assert small.root.state('web') == 'stopped'
        assert small.root.reserved()[:2] == (0, 0)


def test_a_disk_grows_only_within_what_is_left_and_only_grows(small):
    disk = 16 * MIB
    assert small.root.create('web', Disk=disk) == ('done', '')
    for wanted, error in ((small.root.manager_get('DiskTotal') // MIB * MIB + MIB, 'NoCapacity'), (disk // 2, 'InvalidArgument')):
        with pytest.raises(BusError) as e:
            small.root.vm('web', 'SetResources', 'a{sv}', spec(Disk=wanted))
        assert e.value.name == ERROR + error
        assert small.root.manager_get('DiskReserved') == disk == small.root.vm_get('web', 'Disk')
    small.root.vm('web', 'SetResources', 'a{sv}', spec(Disk=2 * disk))
    assert small.root.manager_get('DiskReserved') == 2 * disk == small.root.vm_get('web', 'Disk')
    assert (small.daemon.state / 'vms/web/overlay.img').stat().st_size == 2 * disk
    assert small.root.do('web', 'Start') == ('done', '')
    assert small.root.do('web', 'Delete', 't', 1) == ('done', '')
    assert small.root.reserved() == (0, 0, 0)


def test_a_disk_that_cannot_grow_reserves_nothing_more(small):
    assert small.root.create('web') == ('done', '')
    (small.daemon.state / 'vms/web/overlay.img').unlink()
    with pytest.raises(BusError):
        small.root.vm('web', 'SetResources', 'a{sv}', spec(Disk=32 * MIB))
    assert small.root.vm_get('web', 'Disk') == 16 * MIB == small.root.manager_get('DiskReserved')


def test_reservations_are_counted_again_after_a_restart(small):
    assert small.root.create('web', Memory=small.third['Memory']) == ('done', '')
    assert small.root.do('web', 'Start') == ('done', '')
    assert small.root.create('rests') == ('done', '')
    before = small.root.reserved()
    small.daemon.stop()
    small.daemon.start()
    assert small.root.reserved() == before
    assert small.root.do('web', 'Delete', 't', 1) == ('done', '')
    assert small.root.reserved() == (0, 0, 16 * MIB)


def test_there_are_at_most_vmsmax_vms(cold):
    text = (cold.directory / 'etc/compute.conf').read_text()
    host = cold.start(text.replace('UIDCount=1000', 'UIDCount=1000\nVMsMax=2'))
    for name in ('a', 'b'):
        assert host.root.create(name) == ('done', '')
    with pytest.raises(BusError) as e:
        host.root.create('c')
    assert e.value.name == ERROR + 'LimitExceeded' and 'VMsMax=2' in e.value.text


def test_when_the_uids_are_used_up_a_start_says_so_and_gives_back(cold):
    host = cold.configure(UIDCount='1').start()
    host.running('web')
    assert host.root.create('more') == ('done', '')
    result, text = host.root.do('more', 'Start')
    assert result == ERROR + 'LimitExceeded', (result, text)
    assert host.root.reserved()[:2] == (1, 64 * MIB)
    assert host.root.do('web', 'Stop', 't', 1) == ('done', '')
    assert host.root.do('more', 'Start') == ('done', '')


def test_vms_that_run_have_uids_of_their_own(host):
    uids = set()
    for i in range(5):
        host.running(f'vm-{i}')
        uids.add(host.root.vm_get(f'vm-{i}', 'UID'))
    assert len(uids) == 5
