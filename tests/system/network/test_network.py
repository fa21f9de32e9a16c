# SPDX-License-Identifier: Apache-2.0
"""The network of two users' guests: whom they reach, and whom not, whatever they try and whoever else has a firewall."""

import ipaddress

import pytest

from outside import DOCKER, FIREWALLD, Outside, dropped, kernel_state, seconds, table
from throwaway import BAD_LINES, MANAGER, wait_until

pytestmark = pytest.mark.usefixtures('guests')


class Guest:
    def __init__(self, host, name):
        self.host, self.name = host, name
        self.ip6 = host.get(name, 'MyceliumIP')
        self.ip4 = host.get(name, 'IPAddress').removesuffix('/32')
        self.tap = host.get(name, 'TAPDevice')

    def run(self, command, **kwargs):
        return self.host.heroctl('exec', self.name, '--', 'sh', '-c', command, **kwargs)

    def can(self, command):
        return self.run(command, check=False).status == 0

    def fetch(self, address, path='', port=8080):
        """What a server says, or None."""
        r = self.run(f'timeout 2 wget -q -O - http://{in_url(address)}:{port}/{path}', check=False)
        return r.out if r.status == 0 else None

    def ping(self, address):
        return self.can(f'ping -c 1 -W 1 {address}')

    def reached(self, *addresses):
        """Which of them answer a ping, and which on port 8080."""
        script = ' '.join(f'(ping -c 1 -W 1 {a} >/dev/null 2>&1 && echo ping {a}) & '
                          f'(timeout 1 wget -q -O /dev/null http://{in_url(a)}:8080/ 2>/dev/null && echo web {a}) &'
                          for a in addresses)
        return set(self.run(f'{script} wait').out.splitlines())


def in_url(address):
    return f'[{address}]' if ':' in address else address


def subnet_of(host):
    return host.busctl('get-property', *MANAGER, 'Subnet').out.split('"')[1]


def fetch(host, address, port=8080, netns=None):
    """From the host or a namespace of it."""
    words = ['ip', 'netns', 'exec', netns] if netns else []
    r = host.run([*words, 'curl', '-s', '-m', '2', f'http://{in_url(address)}:{port}/'], check=False)
    return r.out if r.status == 0 else None


@pytest.fixture(scope='module')
def guests(the_host):
    before, cursor = kernel_state(the_host), the_host.cursor()
    outside = Outside(the_host)
    try:
        outside.route(subnet_of(the_host))
        both = [the_host.popen(['heroctl', 'provision', n]) for n in ('alice', 'bob')]
        assert [p.wait(timeout=120) for p in both] == [0, 0]
        yield Guest(the_host, 'alice'), Guest(the_host, 'bob'), outside
    finally:
        for name in the_host.vms():
            the_host.heroctl('delete', '--force', name, check=False)
        outside.close()
    bad = [l for l in the_host.journal(cursor).splitlines() if BAD_LINES.search(l)]
    assert not bad, '\n'.join(bad)
    after = set()

    def clean():
        nonlocal after
        after = kernel_state(the_host)
        return after == before
    try:
        wait_until(clean, 'nothing of the network is left', timeout=5)
    except AssertionError:
        pytest.fail(f'left behind: {sorted(after - before)}; gone: {sorted(before - after)}')


@pytest.fixture
def alice(guests):
    return guests[0]


@pytest.fixture
def bob(guests):
    return guests[1]


@pytest.fixture
def outside(guests):
    return guests[2]


@pytest.fixture(autouse=True)
def servers(guests):
    """Each guest says its name."""
    for g in guests[:2]:
        g.run(f'[ -e /www ] || {{ mkdir /www; echo {g.name} > /www/index.html; httpd -p [::]:8080 -h /www; }}')


def test_the_guest_is_told_its_addresses_routes_mtu_and_names(the_host, alice, bob):
    assert f'inet6 {alice.ip6}/128 scope global' in alice.run('ip -6 addr show dev eth0').out
    assert f'inet {alice.ip4}/32 ' in alice.run('ip -4 addr show dev eth0').out
    assert 'mtu 1400' in alice.run('ip link show dev eth0').out
    v6 = alice.run('ip -6 route').out
    assert '400::/7 via fe80::1 dev eth0' in v6 and 'fc00::/7 via fe80::1 dev eth0' in v6 and 'default' not in v6
    assert alice.run('ip -4 route').out.startswith('default via 169.254.1.1 dev eth0')
    hosts = alice.run('cat /etc/hosts').out
    assert f'{alice.ip6} alice' in hosts and f'{alice.ip4} alice' in hosts and 'localhost' in hosts
    assert alice.run('hostname').out == 'alice\n'
    assert the_host.run(f'cat /sys/class/net/{alice.tap}/mtu').out == '1400\n'
    for g in alice, bob:
        assert ipaddress.ip_address(g.ip6) in ipaddress.ip_network(subnet_of(the_host))
        assert ipaddress.ip_address(g.ip4) in ipaddress.ip_network('10.104.0.0/16')


def test_a_guest_asks_the_name_servers_of_the_host_but_those_on_its_loopback(the_host, bob):
    asked = [l.split()[1] for l in the_host.run('cat /etc/resolv.conf').out.splitlines() if l.startswith('nameserver')]
    told = [l.split()[1] for l in bob.run('cat /etc/resolv.conf', check=False).out.splitlines() if l.startswith('nameserver')]
    assert told == [a for a in asked if not ipaddress.ip_address(a).is_loopback][:len(told)]


def test_the_outside_sees_a_guest_by_its_own_ipv6_and_by_the_hosts_ipv4_address(alice, bob, outside):
    for g in alice, bob:
        assert g.fetch(outside.SELF6) == g.ip6
        assert g.fetch(outside.SELF4) == outside.HOST4


def test_the_outside_reaches_a_guest_by_its_ipv6_address(the_host, alice, bob):
    for g in alice, bob:
        assert fetch(the_host, g.ip6, netns='outside') == f'{g.name}\n'


def test_host_and_guests_reach_each_other(the_host, alice, bob, outside):
    own = str(ipaddress.ip_network(subnet_of(the_host)).network_address + 1)
    for g in alice, bob:
        assert fetch(the_host, g.ip6) == fetch(the_host, g.ip4) == f'{g.name}\n'
        hosts = own, outside.HOST6, outside.HOST4, '169.254.1.1'
        assert g.reached(*hosts) == {f'ping {a}' for a in hosts}


def test_guests_of_two_users_do_not_reach_each_other(the_host, alice, bob):
    for a, b in ((alice, bob), (bob, alice)):
        before = dropped(the_host, 'between')
        assert a.reached(b.ip6, b.ip4) == set()
        assert dropped(the_host, 'between') >= before + 4


def test_a_guest_asks_for_the_others_address_and_its_server_hears_nothing(the_host, alice, bob):
    """UDP, where one direction would do."""
    bob.run('rm -f /tmp/heard; (timeout 4 nc -u -l -p 9 > /tmp/heard) >/dev/null 2>&1 &')
    for address in bob.ip6, bob.ip4:
        alice.run(f'echo hello | timeout 1 nc -u -w 1 {address} 9', check=False)
    assert bob.run('cat /tmp/heard').out == ''


@pytest.fixture
def spy(the_host, outside):
    """Counts what comes outside from an address; nobody there has a table of ours."""
    outside.run('nft add table inet spy; nft add chain inet spy in "{ type filter hook prerouting priority -400; }"')
    yield lambda: outside.run('nft list table inet spy').out
    outside.run('nft delete table inet spy')


def test_what_has_a_wrong_source_goes_nowhere(the_host, alice, bob, outside, spy):
    """Another VM's address, the host's, one of the outside, one next to the own; both families."""
    outside.run('nft add rule inet spy in icmp type echo-request counter; '
                'nft add rule inet spy in icmpv6 type echo-request counter')
    next_to = str(ipaddress.ip_address(int(ipaddress.ip_address(alice.ip6)) ^ 1))
    to6, to4 = (outside.SELF6, outside.HOST6, bob.ip6), (outside.SELF4, outside.HOST4, bob.ip4)
    everybody = outside.SELF6, outside.HOST6, bob.ip6, outside.SELF4, outside.HOST4, bob.ip4
    before, n, script = dropped(the_host, 'source'), 0, []
    for sources in (bob.ip6, bob.ip4), (outside.HOST6, outside.HOST4), ('fd99::77', next_to, '192.0.2.77', '10.104.77.7'):
        pairs = [(s, t) for s in sources for t in everybody if t not in sources and (':' in s) == (':' in t)]
        pings = ''.join(f'(ping -c 1 -W 1 -I {s} {t} >/dev/null && echo {s} to {t}) & ' for s, t in pairs)
        script += [f'for a in {" ".join(sources)}; do ip addr add $a dev eth0; done; {pings} wait',
                   f'for a in {" ".join(sources)}; do ip addr del $a dev eth0; done']
        n += len(pairs)
    assert alice.run('\n'.join(script)).out == ''
    assert dropped(the_host, 'source') >= before + n
    assert spy().count('packets 0 ') == 2, spy()
    assert alice.fetch(outside.SELF6) == alice.ip6        # and the own still is one
    assert alice.fetch(outside.SELF4) == outside.HOST4


def test_metadata_and_link_local_addresses_are_out_of_reach(the_host, alice, outside):
    """Even where there is somebody who has them, beyond the host."""
    v4, v6 = ('169.254.169.254', '169.254.5.5', '168.63.129.16', '100.100.100.200'), ('fd00:ec2::254', 'fd20:ce::254')
    each = [(f'{a}/32', outside.SELF4) for a in v4] + [(f'{a}/128', outside.SELF6) for a in v6]
    outside.run('; '.join(f'ip addr add {a} dev lo' for a, _ in each))
    the_host.run('; '.join(f'ip route add {a} via {via}' for a, via in each))
    try:
        before = dropped(the_host, 'source')
        for address in v4 + v6:
            assert fetch(the_host, address) is not None
        assert alice.reached(*v4, *v6) == set()
        assert dropped(the_host, 'source') >= before + 2 * len(each)
    finally:
        the_host.run('; '.join(f'ip route del {a}' for a, _ in each))
        outside.run('; '.join(f'ip addr del {a} dev lo' for a, _ in each))


def test_a_guest_has_no_use_of_link_local_addresses_but_the_gateways(the_host, alice):
    before = dropped(the_host, 'source')
    assert alice.run('(ping -c 1 -W 1 fe80::2%eth0 & ping -c 1 -W 1 fe80::1%eth0 & wait) | grep "bytes from"', check=False).out == ''
    assert dropped(the_host, 'source') > before


def test_a_flood_of_neighbour_discovery_leaves_the_others_their_neighbours(the_host, alice, bob):
    """All that a guest may send beside packets of its own: what it says about its neighbours, at a limited rate."""
    alice.run('for i in $(seq 1 60); do ping -c 1 -W 1 fe80::$i:1%eth0 >/dev/null 2>&1 & done; wait')
    neighbours = the_host.run(f'ip neigh show dev {alice.tap}').out.splitlines()
    assert len(neighbours) <= 4, neighbours
    assert fetch(the_host, bob.ip6) == 'bob\n' and fetch(the_host, alice.ip6) == 'alice\n'


def test_an_address_that_nobody_has_is_unreachable_at_once(the_host, alice, outside):
    nobody = subnet_of(the_host).removesuffix('::/64') + ':ff0f:dead:beef:1'
    for words in ([], ['ip', 'netns', 'exec', 'outside']):
        took, r = seconds(lambda: the_host.run([*words, 'curl', '-sS', '-m', '3', f'http://[{nobody}]:8080/'], check=False))
        assert r.status == 7 and took < 1.5, r
    took, answer = seconds(lambda: alice.run(f'wget -q -O - http://[{nobody}]:8080/', check=False))
    assert answer.status != 0 and took < 2, answer


def test_whois_knows_both_addresses_and_nobody_elses(the_host, alice, bob):
    for g in alice, bob:
        for address in g.ip6, g.ip4:
            assert g.name in the_host.heroctl('whois', address).out
            answer = the_host.call(MANAGER, 'GetUserByAddress', 's', address).out
            assert answer == f'sso "{g.name}" "{g.name}" "{the_host.vm_object(g.name)[1]}"\n'
    long = ipaddress.ip_address(alice.ip6).exploded
    assert 'alice' in the_host.heroctl('whois', long).out
    for address in ('fd99::2', '192.0.2.2', '127.0.0.1', alice.ip6[:-1], 'alice', '', f'{alice.ip4}/32', f'{alice.ip6}%eth0', '::'):
        r = the_host.heroctl('whois', address, check=False)
        assert r.status != 0 and r.err.strip(), (address, r)


def test_the_rules_are_back_within_a_second_when_somebody_flushes_them(the_host, alice, bob, outside):
    before = table(the_host)
    assert alice.tap in before
    for command in ('nft flush ruleset', 'nft delete table inet hero-compute', 'nft flush table inet hero-compute',
                    f'nft delete element inet hero-compute taps "{{ {alice.tap} }}"'):
        the_host.run(command)
        took, _ = seconds(lambda: wait_until(lambda: table(the_host) == before, f'the table is back after {command}', timeout=5))
        assert took < 1.5, command
        assert alice.reached(bob.ip6, outside.SELF6) == {f'ping {outside.SELF6}', f'web {outside.SELF6}'}
    assert alice.fetch(outside.SELF4) == outside.HOST4


@pytest.fixture
def firewall(the_host):
    loaded = []

    def load(text):
        the_host.run(['nft', '-f', '-'], input=text)
        names = [tuple(l.split()[1:3]) for l in text.splitlines() if l.startswith('table')]
        loaded.extend(names)
        return lambda: [the_host.run(['nft', '-s', 'list', 'table', *n]).out for n in names]
    yield load
    for family, name in loaded:
        the_host.run(['nft', 'delete', 'table', family, name])


def findings(host):
    return host.heroctl('doctor', check=False).out


def test_foreign_tables_stay_as_they_are_when_ours_is_taken_away(the_host, alice, firewall):
    shown = firewall(FIREWALLD + DOCKER)
    before = shown()
    the_host.run('nft delete table inet hero-compute')
    wait_until(lambda: alice.tap in table(the_host), 'the table is back', timeout=5)
    assert shown() == before


@pytest.mark.parametrize('rules,chain,families,mend', [
    (FIREWALLD, 'inet firewalld filter_FORWARD', (4, 6), 'inet firewalld filter_FORWARD'),
    (DOCKER, 'ip filter FORWARD', (4,), 'ip filter DOCKER-USER')], ids=['firewalld', 'docker'])
def test_beside_another_firewall_vms_stay_apart_and_doctor_names_what_is_in_the_way(the_host, alice, bob, outside, firewall,
                                                                                     rules, chain, families, mend):
    assert 'No other firewall keeps VMs from the network' in findings(the_host)
    firewall(rules)
    # The host reaches its guests, and they do not reach each other; what is forwarded is the other's to decide.
    assert fetch(the_host, alice.ip6) == fetch(the_host, alice.ip4) == 'alice\n'
    out = {6: outside.SELF6, 4: outside.SELF4}
    gateways = '169.254.1.1', outside.HOST6
    let = [*gateways, *(out[f] for f in out if f not in families)]
    assert {l for l in alice.reached(*gateways, *out.values(), bob.ip6, bob.ip4) if l.startswith('ping')} == {f'ping {a}' for a in let}
    assert f"'{chain}'" in findings(the_host)

    # As doctor says.
    for match in ('iifname "tap-*"', 'oifname "tap-*"', 'oifname "hero-wake"'):
        the_host.run(f"nft 'insert rule {mend} {match} accept'")
    assert alice.reached(*out.values(), bob.ip6, bob.ip4) == {f'{kind} {a}' for kind in ('ping', 'web') for a in out.values()}
    assert fetch(the_host, alice.ip6, netns='outside') == 'alice\n'
    assert 'No other firewall keeps VMs from the network' in findings(the_host)


def test_what_a_guest_receives_is_limited_and_the_limit_can_be_taken_away(the_host, alice, outside):
    size = 3 << 20

    def transfer():
        return seconds(lambda: alice.run(f'wget -q -O - http://[{outside.SELF6}]:8080/{size} | wc -c'))
    free, r = transfer()
    assert int(r.out) == size
    the_host.heroctl('set-resources', '--receive-max=1M', 'alice')
    assert the_host.get('alice', 'NetworkReceiveMax') == 1 << 20
    limited, r = transfer()
    assert int(r.out) == size and 2 < limited < 12, limited
    the_host.heroctl('set-resources', '--receive-max=infinity', 'alice')
    assert 'tbf' not in the_host.run(f'tc qdisc show dev {alice.tap}').out
    again, r = transfer()
    assert int(r.out) == size and again < max(2, 3 * free), (free, again)


def test_limits_both_ways_are_the_kernels_and_go_again(the_host, alice):
    limited = f'nft list set inet hero-compute limited | grep -c {alice.tap}; tc qdisc show dev {alice.tap} | grep -c tbf'
    the_host.heroctl('set-resources', '--receive-max=1M', '--transmit-max=1M', 'alice')
    assert the_host.run(limited).out == '1\n1\n'
    the_host.heroctl('set-resources', '--receive-max=infinity', '--transmit-max=infinity', 'alice')
    assert the_host.run(limited, check=False).out == '0\n0\n'
    none = (1 << 64) - 1
    assert the_host.get('alice', 'NetworkReceiveMax') == the_host.get('alice', 'NetworkTransmitMax') == none


def test_the_guests_network_goes_on_over_a_restart_of_the_daemon(the_host, alice, bob, outside):
    before = {g.name: (g.ip6, g.ip4, g.tap) for g in (alice, bob)}
    rules = table(the_host)
    the_host.restart_daemon()
    after = {n: Guest(the_host, n) for n in before}
    assert {n: (g.ip6, g.ip4, g.tap) for n, g in after.items()} == before
    wait_until(lambda: table(the_host) == rules, 'the table is as it was', timeout=5)
    assert alice.fetch(outside.SELF6) == alice.ip6 and alice.fetch(outside.SELF4) == outside.HOST4
    assert alice.reached(bob.ip6, bob.ip4) == set()
    assert fetch(the_host, bob.ip6, netns='outside') == 'bob\n'
    the_host.run('nft flush ruleset')
    wait_until(lambda: table(the_host) == rules, 'the new daemon watches the table, too', timeout=5)
    assert not alice.ping(bob.ip6)


def test_the_addresses_are_the_same_after_stop_and_start_and_after_being_provisioned_again(the_host, bob):
    the_host.heroctl('stop', 'bob')
    took, r = seconds(lambda: the_host.run(['curl', '-sS', '-m', '3', f'http://[{bob.ip6}]:8080/'], check=False))
    assert r.status == 7 and took < 1.5, r
    assert 'bob' in the_host.heroctl('whois', bob.ip6).out
    the_host.heroctl('start', 'bob', timeout=60)
    again = Guest(the_host, 'bob')
    assert (again.ip6, again.ip4, again.tap) == (bob.ip6, bob.ip4, bob.tap)
    bob.run('[ -e /www/index.html ] && httpd -p [::]:8080 -h /www')
    wait_until(lambda: fetch(the_host, bob.ip6) == 'bob\n', 'bob answers again', timeout=5)
    the_host.heroctl('deprovision', 'bob')
    assert the_host.heroctl('whois', bob.ip6, check=False).status != 0
    the_host.heroctl('provision', 'bob', timeout=60)
    assert the_host.get('bob', 'MyceliumIP') == bob.ip6
