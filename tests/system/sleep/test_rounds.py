# SPDX-License-Identifier: Apache-2.0
"""Many VMs come, sleep, wake and go while VMMs and the daemon are killed: afterwards the host is as it was."""

import json
import os
import pathlib

import pytest

HERE = pathlib.Path(__file__).resolve().parent
SEED = int(os.environ.get('HERO_TEST_SEED', '4711'))

# All that VMs have on a host. Interfaces by name and kind: their numbers only grow.
KERNEL = r'''
        ip -o link | sed 's/^[0-9]*: //; s/ mtu.*//; s/@.*//' | sort | sed 's/^/link /'
        ip route show table all | sed 's/^/route /'
        ip -6 route show table all | grep -v ' dev tap-.* linkdown' | sed 's/ expires [0-9]*sec//; s/^/route /'
        ip -6 address show | grep inet6 | sed 's/^ */address /'
        ip address show | grep 'inet ' | sed 's/^ */address /'
        nft list ruleset | sed 's/packets [0-9]* bytes [0-9]*//; s/^/nft /'
        find /sys/fs/cgroup/machine.slice/machine-hero.slice -mindepth 1 -type d 2>/dev/null | sed 's/^/cgroup /'
        systemctl list-units --no-legend --plain --all 'hero-vm-*' | sed 's/^/unit /'
        find /var/lib/hero-compute/vms | sed 's/^/file /'
        find /run/hero-compute | sed 's/^/file /'
        ls /dev/shm | sed 's/^/file /'
        ps -eo uid=,comm= | awk '$1 >= 1879048192 && $1 < 1879048192 + 65536 { print "process of a VM", $1, $2 }'
        pgrep -l 'hero-mock-vmm|qemu-system|hero-hibernate' | sed 's/^[0-9]* /process /'
        echo fd store: $(systemctl show --value -p NFileDescriptorStore hero-computed)
        machinectl --no-legend list 2>/dev/null | sed 's/^/machine /'
'''


def snapshot(host):
    return host.run(KERNEL).out.splitlines()


def reserved(host):
    return [host.busctl('get-property', 'org.hero.Compute', '/org/hero/Compute', 'org.hero.Compute.Manager', p).out.strip()
            for p in ('CPUsReserved', 'MemoryReserved', 'DiskReserved')]


def rounds(host, **options):
    before, numbers = snapshot(host), reserved(host)
    options = {'seed': SEED, 'kill_vmm': 0.25, 'kill_daemon': 4, 'port': 7} | options
    out = host.run(['/usr/bin/python3', '-', json.dumps(options)], input=(HERE / 'rounds.py').read_text(),
                   timeout=options['seconds'] + 120).out
    print(out)
    result = json.loads(out.splitlines()[-1])
    assert not result['wrong'], f'seed {SEED}:\n' + '\n'.join(result['wrong']) + f'\n{result["counts"]}'
    host.run('systemctl reset-failed hero-computed', check=False)
    from throwaway import wait_until
    after = []

    def clean():
        nonlocal after
        after = snapshot(host)
        return after == before
    try:
        wait_until(clean, 'the host is as it was', timeout=15)
    except AssertionError:
        pytest.fail(f'seed {SEED}: left: {sorted(set(after) - set(before))}; gone: {sorted(set(before) - set(after))}; '
                    f'{result["counts"]}')
    assert reserved(host) == numbers
    assert result['counts'].get('called back by itself', 0) <= options['rounds'] // 20, result['counts']
    return result['counts']


@pytest.mark.timeout(900)
def test_five_hundred_rounds_with_kills_of_vmm_and_daemon_leave_the_host_as_it_was(restarts):
    counts = rounds(restarts, rounds=500, workers=8, seconds=100,
                    spec={'Hypervisor': 'mock', 'Memory': 64 << 20, 'Disk': 16 << 20, 'MockScript': 'net-echo,memory=1M'})
    # What the figures are worth depends on them.
    assert counts.get('woken by a packet', 0) > 20 and counts.get('VMM killed', 0) > 20 and counts.get('daemon killed', 0) > 5, counts


def test_guests_that_are_real_survive_the_daemon_and_leave_nothing_when_they_are_killed(restarts):
    counts = rounds(restarts, rounds=8, workers=2, seconds=150, kill_daemon=6, kill_vmm=0.5, port=0, kill_within=0.1, sleeps=3,
                    spec={'Memory': 256 << 20, 'Disk': 64 << 20})
    assert counts.get('rounds', 0) >= 4 and counts.get('VMM killed', 0) + counts.get('daemon killed', 0) > 0, counts


def udp(host, address):
    """Whether it answers within two seconds."""
    script = f"""
import select, socket
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
for _ in range(10):
    s.sendto(b'hello', ('{address}', 7))
    if select.select([s], [], [], 0.2)[0]:
        print('answered')
        break
"""
    return 'answered' in host.run(['/usr/bin/python3', '-'], input=script).out


def test_a_vm_that_could_not_be_woken_by_a_packet_is_woken_by_a_later_one(host):
    """There was no memory for it, or its image had been moved away."""
    host.mock('sleeper', script='net-echo')
    address = host.get('sleeper', 'MyceliumIP')
    assert udp(host, address)
    host.heroctl('hibernate', 'sleeper')
    total = int(host.busctl('get-property', 'org.hero.Compute', '/org/hero/Compute', 'org.hero.Compute.Manager', 'MemoryTotal').out.split()[1])
    host.heroctl('create', '--hypervisor=mock', f'--memory={total // (64 << 20) * 64}M', '--disk=16M', 'big')
    host.heroctl('start', 'big')
    assert not udp(host, address)
    assert host.state('sleeper') == 'hibernated'
    host.heroctl('delete', '--force', 'big')
    assert udp(host, address)
    assert host.state('sleeper') == 'running'
    host.heroctl('hibernate', 'sleeper')
    host.run('mv /var/lib/hero-compute/vms/sleeper/hibernation.img /var/lib/hero-compute/aside')
    assert not udp(host, address)
    host.run('mv /var/lib/hero-compute/aside /var/lib/hero-compute/vms/sleeper/hibernation.img')
    assert udp(host, address)
    host.heroctl('exec', 'sleeper', '--', 'true')


def test_a_packet_wakes_what_a_daemon_left_in_the_middle_of_a_hibernation(restarts):
    host = restarts
    host.mock('sleeper', script='net-echo')
    address = host.get('sleeper', 'MyceliumIP')
    for _ in range(10):
        assert udp(host, address)
        host.run('systemctl reset-failed hero-computed')
        host.run('heroctl hibernate --no-wait sleeper & sleep 0.0$(shuf -i 0-9 -n 1); '
                 'systemctl kill -s KILL --kill-whom=main hero-computed; wait', check=False)
        assert udp(host, address)
        assert host.state('sleeper') == 'running'
