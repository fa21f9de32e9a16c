# SPDX-License-Identifier: Apache-2.0
"""The memory of a VM that is on disk is kept while nobody else wants it, and nothing depends on that."""

import os

import pytest
from bus_client import ERROR
from test_hibernate import DISK, both_ways, change_script, check_answers, check_hibernated, check_wakes, configured, restart

GUEST = 1 << 20


def hibernated(host, name='web', script='memory=1M'):
    host.running(name, MockScript=script)
    assert host.root.do(name, 'Hibernate') == ('done', '')
    return host


def kept(host, name='web'):
    return host.root.vm_get(name, 'KeptMemory')


@pytest.fixture
def asleep(cold):
    return hibernated(configured(cold, KeepMemoryMax='10%'))


def spoil_image(host):
    """Its header is as it was: who reads its memory finds out."""
    with open(host.image, 'r+b') as f:
        f.seek(-4096, os.SEEK_END)
        f.write(os.urandom(4096))


def test_it_is_on_disk_and_its_memory_here(asleep):
    assert GUEST <= kept(asleep) <= 2 * GUEST
    assert asleep.image.exists() and asleep.root.reserved() == (0, 0, DISK)
    assert asleep.root.vm_get('web', 'StateReason') == 'Its memory is on disk.'


def test_a_wake_does_not_read_the_disk(asleep):
    spoil_image(asleep)
    check_wakes(asleep)
    assert kept(asleep) == 0


def test_it_can_be_kept_again_and_again_and_leaves_nothing(asleep):
    n = []
    for _ in range(5):
        check_wakes(asleep)
        assert asleep.root.do('web', 'Hibernate') == ('done', '')
        assert kept(asleep) >= GUEST
        n.append(asleep.daemon.n_fds())
    assert n[0] == n[-1]
    assert asleep.root.do('web', 'Delete', 't', 1) == ('done', '')
    asleep.nothing_left('web')


def test_stop_by_force_gives_it_back(asleep):
    assert asleep.root.do('web', 'Stop', 't', 1) == ('done', '')
    assert kept(asleep) == 0
    asleep.nothing_left('web', files=True)


@both_ways
def test_a_daemon_that_ends_gives_it_back_and_the_vm_wakes_from_the_disk(asleep, how):
    restart(asleep, how)
    assert kept(asleep) == 0
    check_hibernated(asleep)
    check_wakes(asleep)


def test_a_wake_that_fails_gives_it_back_and_the_next_is_from_the_disk(cold):
    host = hibernated(configured(cold, KeepMemoryMax='10%'), script='memory=1M,load-fails')
    result, text = host.root.do('web', 'Resume')
    assert result == ERROR + 'VMMFailed' and 'told to fail to load' in text
    assert kept(host) == 0
    check_hibernated(host)
    restart(host, 'stop', lambda: change_script(host, 'memory=1M'))
    check_wakes(host)


def test_an_image_of_another_version_is_refused_also_when_its_memory_is_here(asleep):
    image = bytearray(asleep.image.read_bytes())
    image[0] ^= 1
    asleep.image.write_bytes(image)
    result, text = asleep.root.do('web', 'Resume')
    assert result not in ('done', 'canceled') and 'is no hibernation image' in text
    assert asleep.root.state('web') == 'hibernated'


def test_without_capacity_it_is_kept_on(asleep):
    assert asleep.root.create('large', Memory=asleep.root.manager_get('MemoryTotal') >> 20 << 20) == ('done', '')
    assert asleep.root.do('large', 'Start') == ('done', '')
    assert kept(asleep) == 0, 'a VM that starts may use it all'
    assert asleep.root.do('web', 'Resume')[0] == ERROR + 'NoCapacity'
    assert asleep.root.do('large', 'Delete', 't', 1) == ('done', '')
    check_wakes(asleep)


def test_there_is_a_maximum_and_what_was_kept_first_goes_first(cold):
    total = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    host = configured(cold, KeepMemoryMax=f'{250 * GUEST / total:.6f}%')  # 2.5 times that of a guest
    for name in ('web', 'second'):
        hibernated(host, name)
    assert kept(host) >= GUEST and kept(host, 'second') >= GUEST
    hibernated(host, 'third')
    assert kept(host) == 0 and kept(host, 'second') >= GUEST and kept(host, 'third') >= GUEST
    assert host.root.do('web', 'Resume') == ('done', '')
    check_answers(host)
    host.configure(KeepMemoryMax='0%')
    host.daemon.reload()
    assert kept(host, 'second') == 0 and kept(host, 'third') == 0
    for name in ('second', 'third'):
        assert host.root.do(name, 'Delete', 't', 1) == ('done', '')
    check_answers(host)
