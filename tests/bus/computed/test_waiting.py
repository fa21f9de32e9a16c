# SPDX-License-Identifier: Apache-2.0
"""Wait() and EventsSince()."""

import time

import pytest
from bus_client import ERROR, BusError, run_for, run_until, vm_path, VM

FOREVER = 2**64 - 1


def test_wait_answers_when_the_state_is_there(host):
    assert host.root.create('web', MockScript='slow-ready=200') == ('done', '')
    call = host.root.send(vm_path('web'), VM, 'Wait', 'ast', ['running'], FOREVER)
    run_for(0.1)
    assert not call.done()
    host.root.vm('web', 'Start')
    assert call.result() == ('running', 'The guest is ready.', False)
    assert host.root.vm('web', 'Wait', 'ast', ['agent'], FOREVER)[0] == 'running'


def test_wait_ends_when_the_start_failed(host):
    assert host.root.create('web', MockScript='boot-failed') == ('done', '')
    host.root.vm('web', 'Start')
    state, reason, timed_out = host.root.vm('web', 'Wait', 'ast', ['running'], FOREVER, timeout=10)
    assert (state, timed_out) == ('start-failed', False) and 'could not boot' in reason


def test_wait_times_out_when_asked_to(host):
    assert host.root.create('web') == ('done', '')
    began = time.monotonic()
    assert host.root.vm('web', 'Wait', 'ast', ['running'], 200_000)[::2] == ('configured', True)
    assert 0.15 < time.monotonic() - began < 3


def test_wait_ends_with_the_vm(host):
    assert host.root.create('web') == ('done', '')
    call = host.root.send(vm_path('web'), VM, 'Wait', 'ast', ['running'], FOREVER)
    run_for(0.05)
    host.root.do('web', 'Delete', 't', 0)
    with pytest.raises(BusError) as e:
        call.result()
    assert e.value.name == ERROR + 'NoSuchVM'


@pytest.mark.parametrize('states', [[], ['sunny'], ['running', '']])
def test_waiting_for_what_is_no_state_is_refused(host, states):
    assert host.root.create('web') == ('done', '')
    with pytest.raises(BusError) as e:
        host.root.vm('web', 'Wait', 'ast', states, 0)
    assert e.value.name == ERROR + 'InvalidArgument'


def test_at_most_64_wait_for_a_vm_and_who_leaves_makes_room(host):
    assert host.root.create('web') == ('done', '')
    other = host.client()
    calls = [other.send(vm_path('web'), VM, 'Wait', 'ast', ['running'], FOREVER) for _ in range(64)]
    run_for(0.1)
    with pytest.raises(BusError) as e:
        host.root.vm('web', 'Wait', 'ast', ['running'], FOREVER)
    assert e.value.name == ERROR + 'LimitExceeded'
    assert not any(c.done() for c in calls)
    other.close()
    host.clients.remove(other)
    run_until(lambda: try_wait(host))
    host.root.do('web', 'Start')


def try_wait(host):
    try:
        return host.root.vm('web', 'Wait', 'ast', ['running'], 1000)
    except BusError:
        return None


def cycles(host, names, n):
    """4 n transitions of each."""
    for _ in range(n):
        for member in ('Suspend', 'Resume'):
            for j in [host.root.vm(name, member) for name in names]:
                assert host.root.job(j) == ('done', '')
        host.root.log.clear()


def test_events_come_in_pages_that_fit_together(host):
    names = [f'vm-{i}' for i in range(6)]
    for name in names:
        host.running(name)
    cycles(host, names, 44)  # 6 × (4 + 176)
    pages, since = [], 0
    while True:
        events, following, lost = host.root.manager('EventsSince', 'ts', since, '')
        assert lost == 0 and len(events) <= 1000
        if not events:
            break
        pages.append(events)
        assert following == events[-1][0]
        since = following
    assert [len(p) for p in pages] == [1000, 80]
    assert [e[0] for p in pages for e in p] == list(range(1, 1081))
    # Of one VM, the last 64.
    events, following, lost = host.root.manager('EventsSince', 'ts', 0, 'vm-3')
    assert len(events) == 64 and {e[2] for e in events} == {'vm-3'} and following == 1080
    assert len(host.root.vm('vm-3', 'GetTransitions')) == 64


def test_events_that_are_no_longer_known_are_counted(host):
    names = [f'vm-{i}' for i in range(12)]
    for name in names:
        host.running(name)
    cycles(host, names, 86)  # 12 × (4 + 344) = 4176, and 4096 are kept
    events, following, lost = host.root.manager('EventsSince', 'ts', 10, '')
    assert events[0][0] == 81 and lost == 70
    assert host.root.manager('EventsSince', 'ts', 80, '')[2] == 0
    assert host.root.manager('EventsSince', 'ts', 81, '')[0][0][0] == 82


def test_events_of_a_vm_that_is_not_there_are_refused(host):
    with pytest.raises(BusError) as e:
        host.root.manager('EventsSince', 'ts', 0, 'none')
    assert e.value.name == ERROR + 'NoSuchVM'


@pytest.mark.parametrize('how', ['stop', 'kill'])
def test_after_a_restart_events_go_on_with_higher_numbers_and_the_missing_ones_are_counted(host, how):
    host.running('web')
    cycles(host, ['web'], 5)  # 24 in all, of which a record keeps 16
    getattr(host.daemon, how)()
    host.daemon.start()
    events, following, lost = host.root.manager('EventsSince', 'ts', 2, '')
    assert [e[0] for e in events] == list(range(9, 25)) and following == 24 and lost == 6
    assert host.root.manager('EventsSince', 'ts', 24, '') == ([], 24, 0)
    assert host.root.do('web', 'Suspend') == ('done', '')
    assert [e[0] for e in host.root.manager('EventsSince', 'ts', 24, '')[0]] == [25, 26]


def test_a_number_ahead_of_all_events_starts_over(host):
    """The VM with the highest numbers was deleted, and then the daemon restarted."""
    host.running('web')
    host.root.do('web', 'Delete', 't', 1)
    last = host.root.manager('EventsSince', 'ts', 0, '')[1]
    host.daemon.stop()
    host.daemon.start()
    assert host.root.create('new') == ('done', '')
    events, following, lost = host.root.manager('EventsSince', 'ts', last, '')
    assert [(e[2], e[4]) for e in events] == [('new', 'provisioning'), ('new', 'configured')]
    assert host.root.manager('EventsSince', 'ts', following, '')[0] == []
