# SPDX-License-Identifier: Apache-2.0
"""Killed at any moment: the tag is what it was or what it was to be, every file is whole, and the next pull works."""

import os
import random
import time

import pytest

from throwaway import wait_until

STORE = '/var/lib/hero-compute/images'
ROUNDS = int(os.environ.get('HERO_CRASH_ROUNDS', '4'))

# What to kill, as the host's shell finds it.
VICTIMS = {
    'hero-imaged': 'systemctl show --value -p MainPID hero-imaged | grep -v "^0$"',
    'fetch': 'pgrep -u hero-image-fetch',
    'worker': 'pgrep -x hero-image-work',
}


def check_store(host, images, reference, allowed):
    """Every content has the digest that it is called by; the tag is one of those allowed, and opens."""
    wrong = host.run(f'cd {STORE}/content && for f in *.squashfs; do set -- $(sha256sum $f); [ $1.squashfs = $f ] || echo $f; done').out
    assert wrong == '', f'not what they are called: {wrong}'
    digest = images.list()[reference]['digest']
    assert digest in allowed, (digest, allowed)
    assert images.open(reference) == digest
    return digest


@pytest.mark.parametrize('victim', VICTIMS)
def test_killed_at_any_moment_it_leaves_the_old_state_or_the_new_one(host, images, hostile, victim):
    name = f'moving-{victim}'
    reference = hostile.reference(name)
    old = images.pulled(reference)
    hostile.move(name)
    began = time.monotonic()
    old = images.pulled(reference)
    whole = time.monotonic() - began
    seed = int(os.environ.get('HERO_CRASH_SEED', random.randrange(1 << 30)))
    moments, hits = random.Random(seed), 0
    print(f'seed {seed}, a pull takes {whole:.2f} s')

    for _ in range(ROUNDS):
        hostile.move(name)
        n = images.start('begin', reference=reference, options={})
        delay = moments.uniform(0, whole)
        script = f'sleep {delay:.3f}; for i in $(seq 100); do p=$({VICTIMS[victim]}) && break; sleep 0.01; done; [ -z "$p" ] || kill -KILL $p'
        hits += host.run(script, check=False).status == 0
        job = images.result(n, 30).get('job')
        if victim == 'hero-imaged':
            wait_until(lambda: host.unit('hero-imaged', 'ActiveState') in ('active', 'inactive'), 'hero-imaged is restarted')
        elif job:
            answer = images.ask('wait', job=job)                    # it ends, one way or the other
            assert answer['result'] == 'done' or answer['result'].endswith(('.PullFailed', '.ImportFailed', '.BadImage', '.Failed')), answer
        images.list()
        now = images.list()[reference]['digest']
        new = images.pulled(reference)
        assert new != old and now in (old, new), (now, old, new)
        check_store(host, images, reference, {new})
        old = new
    assert hits >= ROUNDS / 2, 'it was hardly ever there to be killed'
    images.call('Prune', 'a{sv}', {})
    assert len(host.run(f'ls {STORE}/content').out.split()) <= 2    # this one, and the built-in


def test_the_service_killed_while_a_vm_waits_for_its_image_fails_that_vm_or_gives_it_its_image(host, images, hostile):
    reference = hostile.reference('slow')
    p = host.popen(['heroctl', 'create', 'karl', '--hypervisor=mock', '--image', reference], text=True)
    wait_until(lambda: host.run('busctl --list tree org.hero.Compute.Images | grep -q job/', check=False).status == 0, 'the image is being pulled')
    host.run('kill -KILL $(systemctl show --value -p MainPID hero-imaged)')
    status = p.wait(timeout=30)
    out, err = p.communicate()
    assert (host.vms() == ['karl']) == (status == 0), (status, out, err)
    if status == 0:
        assert host.get('karl', 'ImageDigest')


def test_the_manager_restarted_while_a_vm_waits_for_its_image_leaves_a_whole_vm_or_none(restarts, images, hostile):
    host = restarts
    reference = hostile.reference('slow')
    p = host.popen(['heroctl', 'create', 'lisa', '--hypervisor=mock', '--image', reference], text=True)
    wait_until(lambda: host.run('busctl --list tree org.hero.Compute.Images | grep -q job/', check=False).status == 0, 'the image is being pulled')
    host.run('kill -KILL $(systemctl show --value -p MainPID hero-computed)')
    p.wait(timeout=30)
    p.communicate()
    wait_until(lambda: 'job/' not in host.run('busctl --list tree org.hero.Compute.Images', check=False).out, 'the pull is over', timeout=15)
    wait_until(lambda: host.vms() == [] or host.state('lisa') in ('configured', 'failed'), 'the VM is whole or gone')
    if 'lisa' in host.vms() and host.state('lisa') == 'configured':
        host.heroctl('start', 'lisa')
