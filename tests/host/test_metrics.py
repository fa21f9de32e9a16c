# SPDX-License-Identifier: Apache-2.0
"""hero-metricsd, on a kernel that counts for each VM."""

import json
import re
import time

import pytest

from debian_host import CGROUPS

MIB = 1 << 20


@pytest.fixture(scope='module')
def metrics(host):
    host.run('mkdir -p /etc/hero-compute/metrics.conf.d && printf "[Metrics]\\nInterval=1s\\n" >/etc/hero-compute/metrics.conf.d/test.conf && '
             'systemctl restart hero-metricsd')

    def export():
        out = host.run('busctl --json=short call org.hero.Compute.Metrics /org/hero/Compute/Metrics org.hero.Compute.Metrics Export').stdout
        lines = json.loads(out)['data'][0].splitlines()
        return {tuple(re.match(r'(\w+){vm="([^"]*)"', l).groups()): float(l.rpartition(' ')[2]) for l in lines if '{vm="' in l}
    yield export
    host.run('rm -r /etc/hero-compute/metrics.conf.d; systemctl stop hero-metricsd')


def wait_for(what, seconds=30):
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, 'waited in vain'
        time.sleep(0.5)
    return found


def test_memory_is_what_the_kernel_counts_for_the_vm(host, guests, metrics):
    guests.start('large', 'memory=48M', memory='64M')
    wait_for(lambda: metrics().get(('hero_vm_memory_shmem_bytes', 'large'), 0) > 47 * MIB)
    m, current = metrics(), int(guests.cgroup('large', 'memory.current')[0])
    assert abs(m['hero_vm_memory_bytes', 'large'] - current) < 2 * MIB
    assert m['hero_vm_memory_peak_bytes', 'large'] >= current - 2 * MIB
    stat = dict(line.split() for line in guests.cgroup('large', 'memory.stat'))
    for kind in ('anon', 'file', 'shmem'):
        assert abs(m[f'hero_vm_memory_{kind}_bytes', 'large'] - int(stat[kind])) < 2 * MIB, kind


def test_what_a_vm_reads_from_the_disk_is_counted(host, guests, metrics):
    guests.create('reader')
    host.run('heroctl set-resources reader --io-weight 100 && heroctl start reader')
    wait_for(lambda: ('hero_vm_disk_read_bytes_total', 'reader') in metrics())
    before = metrics()['hero_vm_disk_read_bytes_total', 'reader']
    host.run('dd if=/dev/zero of=/var/tmp/read-me bs=1M count=8 conv=fsync')
    host.run(f"sh -c 'echo $$ >{CGROUPS}/hero-vm-reader.scope/cgroup.procs; exec dd if=/var/tmp/read-me of=/dev/null iflag=direct bs=1M'; "
             'rm /var/tmp/read-me')
    wait_for(lambda: metrics()['hero_vm_disk_read_bytes_total', 'reader'] >= before + 8 * MIB)
    assert metrics()['hero_vm_disk_reads_total', 'reader'] >= 8


def test_a_vm_that_is_held_back_is_seen_to_be(guests, metrics):
    guests.start('busy', 'load=200', cpus=1)
    wait_for(lambda: metrics().get(('hero_vm_cpu_throttled_seconds_total', 'busy'), 0) > 0.2)
    assert metrics()['hero_vm_cpu_seconds_total', 'busy'] > 0.2
