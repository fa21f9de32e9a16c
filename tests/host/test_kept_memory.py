# SPDX-License-Identifier: Apache-2.0
"""Memory that is kept of hibernated VMs is a cache: the kernel says when others want it."""

import json
import time

import pytest

MIB = 1 << 20


def kept(host, name):
    out = host.run(f'busctl --json=short get-property org.hero.Compute /org/hero/Compute/vm/{name} org.hero.Compute.VM KeptMemory').stdout
    return json.loads(out)['data']


def wake(host):
    """And until the host has said what it says on a TAP that is new: it would call a hibernation back."""
    host.run('heroctl resume napping; sleep 3')


@pytest.fixture
def napping(host, guests):
    host.run('mkdir -p /etc/hero-compute/compute.conf.d && printf "[Idle]\\nKeepMemoryMax=50%%\\n" >/etc/hero-compute/compute.conf.d/keep.conf && '
             'systemctl reload hero-computed')
    guests.start('napping', 'memory=32M', memory='64M')
    host.run('sleep 3; heroctl hibernate napping')
    yield host
    host.run('rm /etc/hero-compute/compute.conf.d/keep.conf; systemctl reload hero-computed')


def test_it_is_given_back_when_others_wait_for_memory(napping):
    assert kept(napping, 'napping') >= 32 * MIB
    napping.run('systemd-run -q --unit=hungry -p MemoryHigh=8M -p RuntimeMaxSec=20s sh -c "dd if=/dev/zero of=/dev/shm/hungry bs=1M count=64; sleep 20"')
    try:
        end = time.monotonic() + 20
        while kept(napping, 'napping') > 0:
            assert time.monotonic() < end, napping.run('cat /proc/pressure/memory').stdout
            time.sleep(0.5)
    finally:
        napping.run('systemctl stop hungry; rm -f /dev/shm/hungry', check=False)
    napping.run('heroctl resume napping')


def test_nothing_is_kept_where_the_vms_have_a_limit_together(napping):
    wake(napping)
    napping.run('systemctl set-property --runtime machine-hero.slice MemoryMax=512M')
    try:
        napping.run('heroctl hibernate napping')
        assert kept(napping, 'napping') == 0
    finally:
        napping.run('systemctl set-property --runtime machine-hero.slice MemoryMax=infinity')
    wake(napping)
    napping.run('heroctl hibernate napping')
    assert kept(napping, 'napping') >= 32 * MIB
