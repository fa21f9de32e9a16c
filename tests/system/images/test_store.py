# SPDX-License-Identifier: Apache-2.0
"""What is kept: one copy, within its budget, whole or not at all, and nothing that a VM needs is ever taken."""

import pytest

from settings import CONFIGURATION, configure
from throwaway import wait_until

STORE = '/var/lib/hero-compute/images'


def contents(host):
    return set(host.run(f'ls {STORE}/content').out.split())


def space(host):
    return int(host.run(f'du -s -B1 {STORE}').out.split()[0])


def test_a_hundred_tags_of_one_digest_cost_one_copy(host, images, registry):
    before = contents(host)
    registry.retag('library/alpine', 'latest', [f't{i}' for i in range(100)])
    digest = images.pulled('alpine:t0')
    one, after_one = contents(host), space(host)
    asked = [images.start('pull', reference=f'alpine:t{i}', options={}) for i in range(1, 100)]
    assert {images.result(n, timeout=120)['digest'] for n in asked} == {digest}
    listed = [i for r, i in images.list().items() if r.startswith('alpine:t')]
    assert len(listed) == 100 and {i['digest'] for i in listed} == {digest}
    assert contents(host) == one and len(one - before) == 1
    assert space(host) - after_one < 1 << 20
    for i in range(99):
        images.remove(f'alpine:t{i}')
    assert contents(host) == one
    images.remove('alpine:t99')
    assert contents(host) == before


def gone(images, digest):
    return images.error('Get', 's', digest)['error'].endswith('.NoSuchImage')


def test_what_a_tag_leaves_behind_goes_by_itself_unless_a_vm_uses_it(host, images, hostile):
    used, unused = (hostile.reference(n) for n in ('moving-used', 'moving-unused'))
    digests = {r: images.pulled(r) for r in (used, unused)}
    host.heroctl('create', 'user-of-it', '--hypervisor=mock', '--image', used)
    for name in ('moving-used', 'moving-unused'):
        hostile.move(name)
        images.pulled(hostile.reference(name))
    wait_until(lambda: gone(images, digests[unused]), 'what nobody uses has gone')
    shown = images.show(digests[used])
    assert shown['References'] == [] and shown['UsedBy'] == ['user-of-it']
    host.heroctl('start', 'user-of-it')


def test_prune_says_first_and_takes_what_nobody_uses_and_never_what_a_vm_uses(host, images, hostile):
    used, unused = (hostile.reference(n) for n in ('moving-used', 'moving-unused'))
    digests = {r: images.pulled(r) for r in (used, unused)}
    host.heroctl('create', 'user-of-it', '--hypervisor=mock', '--image', used)
    assert images.call('Prune', 'a{sv}', {})[0] == []           # within the budget, and each has a tag

    out = host.heroctl('image', 'prune', '--all', '--dry-run').out
    assert unused in out and used not in out, out
    assert unused in images.list()
    out = host.heroctl('image', 'prune', '--all').out
    assert unused in out and used not in out, out
    assert gone(images, digests[unused]) and images.show(digests[used])['UsedBy'] == ['user-of-it']

    host.heroctl('start', 'user-of-it')
    host.heroctl('image', 'prune', '--all')
    images.show(digests[used])
    host.heroctl('delete', '--force', 'user-of-it')
    host.heroctl('image', 'prune', '--all')
    assert gone(images, digests[used])


def test_over_the_budget_those_that_were_used_least_recently_go(host, images, hostile):
    try:
        configure(host, CONFIGURATION + '[Images]\nSpaceMax=12M\n')
        names = [f'moving-lru{i}' for i in range(4)]                 # of 3 MiB each
        for n in names[:3]:
            images.pulled(hostile.reference(n))
        # The oldest is used once more; the second oldest is then the one to go.
        host.heroctl('create', 'again', '--hypervisor=mock', '--image', hostile.reference(names[0]))
        host.heroctl('delete', 'again')
        images.pulled(hostile.reference(names[3]))
        images.call('Prune', 'a{sv}', {})
        left = [n for n in names if hostile.reference(n) in images.list()]
        assert names[0] in left and names[3] in left and names[1] not in left, left
        assert space(host) < 14 << 20
    finally:
        configure(host, CONFIGURATION)


@pytest.fixture
def small_disk(host, images):
    """The store on a file system of 24 MiB."""
    script = (f'systemctl stop hero-imaged; mount -t tmpfs -o size=24m,mode=700,uid=$(id -u hero-imaged),gid=$(id -g hero-imaged) small {STORE}')
    host.run(script)
    yield
    host.run(f'systemctl stop hero-imaged; umount {STORE}')


def test_a_pull_is_refused_before_the_disk_is_full_and_not_after(host, images, registry, hostile, small_disk):
    configure(host, CONFIGURATION + '[Images]\nKeepFree=8M\n')
    try:
        most = 0
        registry.push('debian')
        n = images.start('pull', reference='debian', options={})
        for _ in range(20):
            most = max(most, int(host.run(f'df --output=used -B1 {STORE} | tail -n1').out))
        r = images.result(n)
        assert r['result'].endswith('.NoCapacity'), r
        assert most <= 16 << 20, most
        assert r['seconds'] < 5, r
        images.pulled(hostile.reference('good'))                    # what fits still comes
        images.remove(hostile.reference('good'))
    finally:
        configure(host, CONFIGURATION)


@pytest.fixture
def impatient(host):
    """A hero-imaged that waits a second where it waits half a minute."""
    host.run('mkdir -p /run/systemd/system/hero-imaged.service.d && printf "[Service]\nEnvironment=HERO_IDLE_SEC=1\n" >/run/systemd/system/hero-imaged.service.d/idle.conf '
             '&& systemctl daemon-reload && systemctl stop hero-imaged')
    yield
    host.run('rm -r /run/systemd/system/hero-imaged.service.d && systemctl daemon-reload && systemctl stop hero-imaged')


def test_nothing_of_images_runs_when_nobody_wants_any(host, images, hostile, impatient):
    images.pulled(hostile.reference('slow'))                        # longer than the time it waits
    assert host.run('systemctl list-units --no-legend "hero-image-fetch@*"').out == ''
    wait_until(lambda: host.unit('hero-imaged', 'ActiveState') == 'inactive', 'hero-imaged exits')
    assert host.run('pgrep -u hero-imaged,hero-image-fetch', check=False).out == ''
