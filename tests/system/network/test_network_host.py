# SPDX-License-Identifier: Apache-2.0
"""What the VMs' network makes of its host: where the addresses are from, what is missing, what stays."""

import ipaddress
import json

import pytest

from outside import MyceliumDouble, configure, kernel_state, seconds, table
from throwaway import MANAGER, wait_until

MYCELIUM = ('54f:b680:ba6e:7ced::/64', '406:8c1c:927b:ff1f::/64')


def manager(host, prop):
    return json.loads(host.busctl('--json=short', 'get-property', *MANAGER, prop).out)['data']


def ping(host, address):
    return host.run(f'busybox ping -c 1 -W 1 {address}', check=False).status == 0


def address_of(host, name):
    return host.get(name, 'MyceliumIP')


def is_of(address, subnet):
    return ipaddress.ip_address(address) in ipaddress.ip_network(subnet)


def covers(host):
    return {l.split()[1] for l in host.run('ip -6 route show metric 4096').out.splitlines() if l.startswith('unreachable')}


def echo(host, name, *words):
    """A mock VM that answers pings."""
    host.mock(name, *words, script='net-echo')
    return address_of(host, name)


@pytest.fixture
def fresh(restarts):
    """A daemon whose network nobody has used yet; configure(host, …) makes another one."""
    restarts.run(['systemctl', 'reset-failed', 'hero-computed'], check=False)
    restarts.restart_daemon()
    yield restarts
    for name in restarts.vms():
        restarts.heroctl('delete', '--force', name, check=False)
    configure(restarts, '')


@pytest.fixture
def mycelium(fresh):
    double = MyceliumDouble(fresh)
    yield double
    double.close()


def test_nothing_in_the_kernel_is_left_of_vms_that_were_deleted(host):
    before = kernel_state(host)
    for name in ('one', 'two', 'three'):
        host.mock(name, script='net-echo')
        assert ping(host, address_of(host, name)) and ping(host, host.get(name, 'IPAddress').removesuffix('/32'))
    host.heroctl('set-resources', '--receive-max=1M', 'one')
    host.heroctl('suspend', 'two')
    host.heroctl('stop', 'three')
    assert len({host.get(n, 'TAPDevice') for n in ('one', 'two', 'three')}) == 3
    for name in ('one', 'two', 'three'):
        host.heroctl('delete', '--force', name)
    # A TAP goes after a grace period of the kernel.
    wait_until(lambda: kernel_state(host) == before, 'the kernel is as it was', timeout=5)
    rules = json.loads(host.run('nft -j list table inet hero-compute').out)['nftables']
    assert not [s['set']['name'] for s in rules if s.get('set', {}).get('elem') and s['set']['name'] != 'neighbours']


@pytest.mark.parametrize('old_shape', [True, False], ids=['old', 'new'])
def test_the_addresses_are_of_myceliums_subnet(fresh, mycelium, old_shape):
    mycelium.has_subnet(MYCELIUM[0], old_shape)
    address = echo(fresh, 'one', '--user=carol')
    assert is_of(address, MYCELIUM[0]) and ':ff0f:' in address and ping(fresh, address)
    assert (manager(fresh, 'Subnet'), manager(fresh, 'SubnetSource')) == (MYCELIUM[0], 'mycelium')
    assert covers(fresh) == {MYCELIUM[0]}
    assert 'carol' in fresh.heroctl('whois', address).out


def test_mycelium_that_comes_late_is_found_and_a_vm_that_runs_keeps_its_address(fresh, mycelium):
    one = echo(fresh, 'one')
    assert manager(fresh, 'SubnetSource') == 'local' and is_of(one, manager(fresh, 'Subnet'))
    mycelium.has_subnet(MYCELIUM[0])
    wait_until(lambda: manager(fresh, 'SubnetSource') == 'mycelium', 'mycelium was found', timeout=10)
    two = echo(fresh, 'two')
    assert address_of(fresh, 'one') == one and ping(fresh, one)
    assert is_of(two, MYCELIUM[0]) and ping(fresh, two)
    assert len(covers(fresh)) == 2
    fresh.heroctl('stop', 'one')
    assert is_of(address_of(fresh, 'one'), MYCELIUM[0])
    wait_until(lambda: covers(fresh) == {MYCELIUM[0]}, 'the old cover is gone', timeout=5)
    fresh.heroctl('start', 'one')
    assert ping(fresh, address_of(fresh, 'one'))


def test_a_vm_that_is_just_starting_when_mycelium_comes_is_reached_by_the_address_it_was_started_with(fresh, mycelium):
    local = ipaddress.ip_address(echo(fresh, 'one')).exploded[:19]
    fresh.heroctl('create', '--hypervisor=mock', '--memory=64M', '--disk=16M', '--mock-script=net-echo,slow-ready=4000', 'two')
    fresh.heroctl('start', '--no-wait', 'two')
    wait_until(lambda: fresh.get('two', 'PID') > 0, 'its VMM runs')
    mycelium.has_subnet(MYCELIUM[0])
    fresh.run('systemctl reload hero-computed')
    wait_until(lambda: manager(fresh, 'SubnetSource') == 'mycelium', 'mycelium was found', timeout=3)
    assert fresh.state('two') == 'starting'
    fresh.wait_for_state('two', 'running')
    two = address_of(fresh, 'two')
    assert ipaddress.ip_address(two).exploded[:19] == local and ping(fresh, two)
    fresh.heroctl('restart', 'two')
    assert is_of(address_of(fresh, 'two'), MYCELIUM[0]) and ping(fresh, address_of(fresh, 'two'))


def test_a_new_subnet_of_mycelium_is_for_new_starts_and_nothing_of_the_old_one_stays(fresh, mycelium):
    mycelium.has_subnet(MYCELIUM[0])
    one = echo(fresh, 'one')
    mycelium.has_subnet(MYCELIUM[1])
    fresh.run('systemctl reload hero-computed')
    wait_until(lambda: manager(fresh, 'Subnet') == MYCELIUM[1], 'the new subnet is known', timeout=10)
    two = echo(fresh, 'two')
    assert is_of(two, MYCELIUM[1]) and ping(fresh, two)
    assert address_of(fresh, 'one') == one and ping(fresh, one)
    assert 'one' in fresh.heroctl('whois', one).out
    fresh.heroctl('restart', 'one')
    again = address_of(fresh, 'one')
    assert is_of(again, MYCELIUM[1]) and ping(fresh, again) and not ping(fresh, one)
    old = ipaddress.ip_network(MYCELIUM[0])
    assert str(old.network_address)[:-2] not in fresh.run('ip -6 route show table all').out + table(fresh)


@pytest.mark.parametrize('afterwards', ['answers', 'is gone', 'hangs', 'has another subnet'])
def test_a_vm_that_runs_keeps_its_address_over_a_restart_of_the_daemon_whatever_mycelium_does(fresh, mycelium, afterwards):
    mycelium.has_subnet(MYCELIUM[0])
    one = echo(fresh, 'one')
    four = fresh.get('one', 'IPAddress').removesuffix('/32')
    {'answers': lambda: None, 'is gone': mycelium.goes_away, 'hangs': lambda: mycelium.answers('hang'),
     'has another subnet': lambda: mycelium.has_subnet(MYCELIUM[1])}[afterwards]()
    fresh.restart_daemon()
    assert address_of(fresh, 'one') == one and ping(fresh, one) and ping(fresh, four)
    if afterwards == 'has another subnet':
        wait_until(lambda: manager(fresh, 'Subnet') == MYCELIUM[1], 'the new subnet is known', timeout=10)
        assert address_of(fresh, 'one') == one and ping(fresh, one)
    assert MYCELIUM[0] in covers(fresh)
    fresh.heroctl('suspend', 'one')
    fresh.restart_daemon()
    assert address_of(fresh, 'one') == one
    fresh.heroctl('resume', 'one')
    assert ping(fresh, one) and ping(fresh, four)


def test_a_vm_that_runs_keeps_its_addresses_when_the_configuration_has_others(fresh):
    one = echo(fresh, 'one')
    four = fresh.get('one', 'IPAddress')
    configure(fresh, '[Network]\nSubnet=fd77:1:2:3::/64\nIPv4Pool=10.66.0.0/24\n')
    assert (address_of(fresh, 'one'), fresh.get('one', 'IPAddress')) == (one, four)
    assert ping(fresh, one) and ping(fresh, four.removesuffix('/32'))
    two = echo(fresh, 'two')
    assert is_of(two, 'fd77:1:2:3::/64') and is_of(fresh.get('two', 'IPAddress').removesuffix('/32'), '10.66.0.0/24')
    assert manager(fresh, 'SubnetSource') == 'configured' and ping(fresh, two)
    fresh.heroctl('restart', 'one')
    assert is_of(address_of(fresh, 'one'), 'fd77:1:2:3::/64') and ping(fresh, address_of(fresh, 'one'))
    assert is_of(fresh.get('one', 'IPAddress').removesuffix('/32'), '10.66.0.0/24')
    assert ping(fresh, fresh.get('one', 'IPAddress').removesuffix('/32'))
    assert covers(fresh) == {'fd77:1:2:3::/64'}


def test_mycelium_that_never_answers_holds_a_start_for_seconds_only(fresh, mycelium):
    mycelium.answers('hang')
    took, address = seconds(lambda: echo(fresh, 'one'))
    assert took < 10 and is_of(address, manager(fresh, 'Subnet')) and manager(fresh, 'SubnetSource') == 'local'
    took, _ = seconds(lambda: echo(fresh, 'two'))
    assert took < 3
    assert 'mycelium' in fresh.heroctl('doctor', check=False).out


def test_an_answer_of_mycelium_that_is_none_is_not_believed(fresh, mycelium):
    for answer in ('garbage', '{"nodeSubnet": "2001:db8::/64"}', '{"nodeSubnet": ["54f::/64"]}', '{"nodeSubnet": "54f:1:2:3::/48"}',
                   '{"nodeSubnet": "' + 'x' * 100000 + '"}', '[' * 100000, ''):
        mycelium.answers(answer)
        fresh.restart_daemon()
        fresh.run(['systemctl', 'reset-failed', 'hero-computed'], check=False)
        fresh.mock('one')
        assert manager(fresh, 'SubnetSource') == 'local', answer[:50]
        fresh.heroctl('delete', '--force', 'one')


def test_a_vm_without_a_network_has_no_tap_and_its_guest_a_loopback_only(host):
    before = kernel_state(host)
    host.heroctl('create', '--no-network', '--user=carol', 'carol', timeout=60)
    host.heroctl('start', 'carol', timeout=60)
    assert (host.get('carol', 'TAPDevice'), host.get('carol', 'MyceliumIP'), host.get('carol', 'IPAddress')) == ('', '', '')
    assert host.heroctl('exec', 'carol', '--', 'ls', '/sys/class/net').out.split() == ['lo']
    assert host.heroctl('exec', 'carol', '--', 'sh', '-c', 'ping -c 1 -W 1 ::1 && ping -c 1 -W 1 127.0.0.1').status == 0
    assert kernel_state(host) == before


def test_with_the_network_switched_off_nothing_of_the_hosts_is_touched(fresh):
    fresh.run('systemctl stop hero-computed; nft flush ruleset')
    configure(fresh, '[Network]\nEnable=no\n')
    before = kernel_state(fresh)
    fresh.mock('one')
    assert (fresh.get('one', 'TAPDevice'), fresh.get('one', 'MyceliumIP')) == ('', '')
    assert kernel_state(fresh) == before and not [l for l in before if 'hero-' in l or 'tap-' in l], before
    assert 'Enable=no' in fresh.heroctl('doctor', check=False).out
    assert fresh.heroctl('exec', 'one', '--', 'echo', 'works').out == 'works\n'


def refused_start(host, *sentences):
    before = kernel_state(host)
    host.heroctl('create', '--hypervisor=mock', '--memory=64M', '--disk=16M', 'one')
    r = host.heroctl('start', 'one', check=False)
    assert r.status != 0 and all(s in r.err for s in sentences), r
    assert 'Run it as root' not in r.err, r
    assert host.state('one') == 'start-failed'
    assert 'tap-' not in host.run('ls /sys/class/net').out
    assert kernel_state(host) - before == set()
    return before


def test_without_dev_net_tun_a_start_says_so_and_leaves_nothing(fresh):
    # A full stop, as hero-wake is kept over a restart; and the unit's DeviceAllow= is looked up when it starts.
    fresh.run('systemctl stop hero-computed; systemctl start hero-computed; mv /dev/net/tun /dev/net/tun.away')
    try:
        refused_start(fresh, 'hero-wake', 'module tun')
        assert '/dev/net/tun' in fresh.heroctl('doctor', check=False).out
    finally:
        fresh.run('mv /dev/net/tun.away /dev/net/tun')
    # And it needs no new daemon.
    fresh.heroctl('start', 'one')
    assert fresh.get('one', 'TAPDevice') in fresh.run('ls /sys/class/net').out


@pytest.fixture
def drop_in(fresh):
    path = '/run/systemd/system/hero-computed.service.d/tests.conf'

    def write(text):
        fresh.run(f'mkdir -p $(dirname {path})')
        fresh.run(['tee', path], input=text)
        fresh.run('systemctl stop hero-computed; systemctl daemon-reload; systemctl reset-failed hero-computed; '
                  'systemctl start hero-computed')
    yield write
    fresh.run(f'rm -f {path}; systemctl daemon-reload; systemctl restart hero-computed')


def test_where_tun_is_refused_a_start_says_so_and_leaves_nothing(fresh, drop_in):
    drop_in('[Service]\nDeviceAllow=\nDeviceAllow=/dev/kvm rw\n')
    refused_start(fresh, 'hero-wake', 'Operation not permitted')


def test_where_the_packet_filter_is_refused_a_start_says_so_and_leaves_nothing(fresh, drop_in):
    fresh.run('systemctl stop hero-computed; nft flush ruleset')
    drop_in('[Service]\nCapabilityBoundingSet=~CAP_NET_ADMIN\n')
    refused_start(fresh, 'nftables', 'Operation not permitted')


@pytest.fixture
def uplink(fresh):
    fresh.run('ip link add uplink type veth peer name far; ip link set uplink up; ip link set far up; '
              'sysctl -q -w net.ipv6.conf.all.forwarding=0 net.ipv4.conf.all.forwarding=0 '
              'net.ipv6.conf.uplink.accept_ra=1 net.ipv6.conf.far.accept_ra=0')
    yield
    fresh.run('ip link del uplink; sysctl -q -w net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.forwarding=1')


def sysctl(host, *names):
    return [int(v) for v in host.run(['sysctl', '-n', *(f'net.{n}' for n in names)]).out.split()]


def test_links_still_heed_routers_when_forwarding_is_switched_on(fresh, uplink):
    cursor = fresh.cursor()
    fresh.mock('one')
    assert sysctl(fresh, 'ipv6.conf.all.forwarding', 'ipv4.ip_forward', 'ipv6.conf.uplink.accept_ra',
                  'ipv6.conf.far.accept_ra') == [1, 1, 2, 0]
    said = fresh.journal(cursor, '-u', 'hero-computed')
    assert said.index('uplink heeds routers') < said.index('Switched IPv6 forwarding on')
    assert 'far heeds' not in said and 'Switched IPv4 forwarding on' in said


def test_forwarding_no_leaves_the_hosts_settings_alone(fresh, uplink):
    configure(fresh, '[Network]\nForwarding=no\n')
    address = echo(fresh, 'one')
    assert sysctl(fresh, 'ipv6.conf.all.forwarding', 'ipv4.ip_forward', 'ipv6.conf.uplink.accept_ra') == [0, 0, 1]
    assert ping(fresh, address)
    assert 'does not forward IPv6' in fresh.heroctl('doctor', check=False).out


def test_addresses_are_the_same_again_after_stop_deletion_and_a_new_daemon(fresh):
    one = echo(fresh, 'one', '--user=carol')
    four = fresh.get('one', 'IPAddress')
    fresh.heroctl('stop', 'one')
    fresh.restart_daemon()
    assert (address_of(fresh, 'one'), fresh.get('one', 'IPAddress')) == (one, four)
    fresh.heroctl('start', 'one')
    assert (address_of(fresh, 'one'), fresh.get('one', 'IPAddress')) == (one, four) and ping(fresh, one)
    fresh.heroctl('delete', '--force', 'one')
    took, r = seconds(lambda: fresh.run(f'curl -sS -m 3 http://[{one}]:8080/', check=False))
    assert r.status == 7 and took < 1.5
    assert echo(fresh, 'other', '--user=carol') == one
