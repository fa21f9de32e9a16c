# SPDX-License-Identifier: Apache-2.0
"""Memory that is kept of hibernated VMs is a cache: the kernel says when others want it."""

import json
import time

import pytest

MIB = 1 << 20


def kept(host, name):
    out = host.run(f'busctl --json=short get-property org.hero.Compute /org/hero/Compute/vm/{name} org.hero.Compute.VM KeptMemory').stdout
    return json.loads(out)['data']


@pytest.fixture
def asleep(host, guests):
    host.run('mkdir -p /etc/hero-compute/compute.conf.d && printf "[Idle]\\nKeepMemoryMax=50%%\\n" >/etc/hero-compute/compute.conf.d/keep.conf && '
             'systemctl reload hero-computed')
    guests.start('asleep', 'memory=32M', memory='64M')
    host.run('heroctl hibernate asleep')
    yield host
    host.run('rm /etc/hero-compute/compute.conf.d/keep.conf; systemctl reload hero-computed')


def test_it_is_given_back_when_others_wait_for_memory(asleep):
    assert kept(asleep, 'asleep') >= 32 * MIB
    asleep.run('systemd-run -q --unit=hungry -p MemoryHigh=8M -p RuntimeMaxSec=20s sh -c "dd if=/dev/zero of=/dev/shm/hungry bs=1M count=64; sleep 20"')
    try:
        end = time.monotonic() + 20
        while kept(asleep, 'asleep') > 0:
            assert time.monotonic() < end, asleep.run('cat /proc/pressure/memory').stdout
            time.sleep(0.5)
    finally:
        asleep.run('systemctl stop hungry; rm -f /dev/shm/hungry', check=False)
    asleep.run('heroctl resume asleep')


def test_nothing_is_kept_where_the_vms_have_a_limit_together(asleep):
    asleep.run('heroctl resume asleep && systemctl set-property --runtime machine-hero.slice MemoryMax=512M')
    try:
        asleep.run('heroctl hibernate asleep')
        assert kept(asleep, 'asleep') == 0
    finally:
        asleep.run('systemctl set-property --runtime machine-hero.slice MemoryMax=infinity')
    asleep.run('heroctl resume asleep && heroctl hibernate asleep')
    assert kept(asleep, 'asleep') >= 32 * MIB
