# SPDX-License-Identifier: Apache-2.0
"""What is around the host of the tests: a network beyond its uplink, other firewalls, a mycelium daemon."""

import json
import re
import time

from throwaway import wait_until

# In the namespace "outside": who asks for / is told the address it is seen with, who asks for /N gets N bytes.
SERVER = r'''
import http.server, socket

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        n = self.path[1:]
        body = bytes(int(n)) if n else self.client_address[0].removeprefix('::ffff:').encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass

class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6

Server(('::', 8080), Handler).serve_forever()
'''

# As mycelium's daemon answers GET /api/v1/admin; what, is in a file. "hang": nothing, for as long as the other end waits.
MYCELIUM = r'''
import http.server, time

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = open('/run/mycelium.answer', 'rb').read()
        if body == b'hang' or self.path != '/api/v1/admin':
            time.sleep(30)
            return
        self.send_response(200)
        self.send_header('content-type', 'application/json')
        self.send_header('content-length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass

http.server.ThreadingHTTPServer(('127.0.0.1', 8989), Handler).serve_forever()
'''

# As firewalld 1.3 writes it, shortened to one zone.
FIREWALLD = '''
table inet firewalld {
  chain filter_PREROUTING { type filter hook prerouting priority 10; policy accept;
    icmpv6 type { nd-router-advert, nd-neighbor-solicit } accept
    meta nfproto ipv6 fib saddr . mark . iif oif missing drop
  }
  chain nat_POSTROUTING { type nat hook postrouting priority 110; policy accept;
  }
  chain filter_INPUT { type filter hook input priority 10; policy accept;
    ct state { established, related } accept
    iifname "lo" accept
    meta l4proto { icmp, ipv6-icmp } accept
    ct state invalid drop
    reject with icmpx admin-prohibited
  }
  chain filter_FORWARD { type filter hook forward priority 10; policy accept;
    ct state { established, related } accept
    ct status dnat accept
    iifname "lo" accept
    ct state invalid drop
    reject with icmpx admin-prohibited
  }
}
'''

# As iptables-nft has Docker's rules.
DOCKER = '''
table ip nat {
  chain DOCKER { iifname "docker0" counter return
  }
  chain PREROUTING { type nat hook prerouting priority -100; policy accept;
    fib daddr type local counter jump DOCKER
  }
  chain POSTROUTING { type nat hook postrouting priority 100; policy accept;
    oifname != "docker0" ip saddr 172.17.0.0/16 counter masquerade
  }
}
table ip filter {
  chain DOCKER {
  }
  chain DOCKER-USER { counter return
  }
  chain FORWARD { type filter hook forward priority 0; policy drop;
    counter jump DOCKER-USER
    oifname "docker0" ct state related,established counter accept
    oifname "docker0" counter jump DOCKER
    iifname "docker0" oifname != "docker0" counter accept
  }
}
'''


class Outside:
    """A namespace at the other end of the host's link "uplink". It knows the way to the VMs' IPv6 subnet only."""

    HOST6, HOST4 = 'fd99::1', '192.0.2.1'
    SELF6, SELF4 = 'fd99::2', '192.0.2.2'

    def __init__(self, host):
        self.host = host
        host.run(f'''
            set -e
            ip netns add outside
            ip link add uplink type veth peer name eth0 netns outside
            ip addr add {self.HOST6}/64 dev uplink nodad
            ip addr add {self.HOST4}/24 dev uplink
            ip link set uplink up
            ip -n outside link set lo up
            ip -n outside addr add {self.SELF6}/64 dev eth0 nodad
            ip -n outside addr add {self.SELF4}/24 dev eth0
            ip -n outside link set eth0 up''')
        host.run(['tee', '/run/outside.py'], input=SERVER)
        host.run('systemd-run -q --unit=outside -p NetworkNamespacePath=/run/netns/outside /usr/bin/python3 /run/outside.py')
        wait_until(lambda: host.run(['curl', '-sf', f'http://[{self.SELF6}]:8080/'], check=False).out == self.HOST6,
                   'the server outside answers')

    def route(self, subnet):
        self.run(f'ip -6 route replace {subnet} via {self.HOST6}')

    def run(self, command, **kwargs):
        return self.host.run(f'ip netns exec outside sh -c {json.dumps(command)}', **kwargs)

    def close(self):
        self.host.run('systemctl stop outside; ip link del uplink; ip netns del outside; rm -f /run/outside.py')


class MyceliumDouble:
    def __init__(self, host):
        self.host, self.up = host, False
        host.run(['tee', '/run/mycelium.py'], input=MYCELIUM)

    def answers(self, text):
        self.host.run(['tee', '/run/mycelium.answer'], input=text)
        if not self.up:
            self.host.run('systemd-run -q --collect --unit=mycelium-double /usr/bin/python3 /run/mycelium.py')
            self.up = True
            wait_until(lambda: self.host.run('busybox nc -z 127.0.0.1 8989 || ss -ltn | grep -q 127.0.0.1:8989',
                                             check=False).status == 0, 'the double listens')

    def has_subnet(self, subnet, old_shape=False):
        answer = {'nodeSubnet': subnet, 'nodePubkey': '02468ace13579bdf' * 4}
        if not old_shape:
            answer |= {'nodeIp': subnet.replace('::/64', ':abcd:1234:5678:9abc'), 'nodeStartTime': 1716100000}
        self.answers(json.dumps(answer))

    def goes_away(self):
        if self.up:
            self.host.run('systemctl stop mycelium-double')
        self.up = False

    def close(self):
        self.goes_away()
        self.host.run('rm -f /run/mycelium.py /run/mycelium.answer')


def configure(host, text, name='network-tests'):
    """A drop-in of compute.conf and a daemon that was started with it; "" takes it away. A full stop: nothing of the former
    daemon is left to the new one but what it keeps in the file system and in the kernel."""
    path = f'/etc/hero-compute/compute.conf.d/{name}.conf'
    host.run('mkdir -p /etc/hero-compute/compute.conf.d')
    if text:
        host.run(['tee', path], input=text)
    else:
        host.run(['rm', '-f', path])
    host.run(['systemctl', 'reset-failed', 'hero-computed'], check=False)
    host.restart_daemon()


def kernel_state(host):
    """What VMs may leave in the kernel's network, as lines; counters and what times out by itself are left out."""
    return set(host.run(r'''
        ip -o link | sed -E "s/^[0-9]+: ([^:@]+).*/link \1/"
        ip -6 route show table all | sed -E "s/ expires [0-9]+sec//; s/^/route /"
        ip -4 route show table all | sed "s/^/route /"
        ip -6 addr show | awk '/inet6/ {print "address", $2}'
        ip -4 addr show | awk '/inet / {print "address", $2}'
        ip neigh | grep -v uplink | sed "s/^/neighbour /"
        tc qdisc | sed "s/^/qdisc /"
        ''').out.splitlines()) | set(rules(host, 'ruleset').splitlines())


def rules(host, what):
    """Without what packets write into them, and what goes by itself."""
    text = host.run(f'nft -s list {what}', check=False).out
    return re.sub(r'(set neighbours \{[^{}]*?)\n\t\telements = \{[^{}]*\}', r'\1', text)


def table(host):
    return rules(host, 'table inet hero-compute')


def dropped(host, chain):
    """What the counters of a chain of the table count, in packets."""
    rules = json.loads(host.run(f'nft -j list chain inet hero-compute {chain}').out)['nftables']
    return sum(e['counter']['packets'] for r in rules if 'rule' in r for e in r['rule']['expr'] if 'counter' in e)


def seconds(function):
    """How long it took, and what it returned."""
    begin = time.monotonic()
    value = function()
    return time.monotonic() - begin, value
