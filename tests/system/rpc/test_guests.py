# SPDX-License-Identifier: Apache-2.0
"""hero-rpcd in its sandbox, with real guests, real users and the real bus policy: the methods that need more of them than an answer
of hero-computed."""

import json
import pathlib
import sys
import time

import pytest

sys.path[:0] = [str(pathlib.Path(__file__).parent.parent)]
from throwaway import end  # noqa: E402

CONSOLE = '''
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(20)
s.connect(sys.argv[1])
data = b''
try:
    while b'con-42' not in data:
        s.sendall(b'\\necho con-$((40+2))\\n')
        more = s.recv(4096)
        if not more:
            break
        data += more
except OSError:
    pass
print(b'con-42' in data)
'''


def request(method, params):
    body = json.dumps({'jsonrpc': '2.0', 'id': 1, 'method': method, 'params': params})
    return ['curl', '-s', '--max-time', '60', '--unix-socket', '/run/hero-compute/rpc.sock', '-H', 'Content-Type: application/json',
            '-d', body, 'http://localhost/rpc']


def ask(host, method, user='root', **params):
    return json.loads(host.run(request(method, params), user=user, timeout=90).out)


def call(host, method, user='root', **params):
    answer = ask(host, method, user, **params)
    assert 'result' in answer, answer
    return answer['result']


def refused(host, method, user, **params):
    return ask(host, method, user, **params)['error']['data']['name'] == 'PermissionDenied'


@pytest.fixture
def alice(host):
    """A real guest of hers."""
    host.heroctl('provision', 'alice', timeout=120)
    return 'alice'


def test_a_user_works_with_the_own_guest(host, alice):
    r = call(host, 'vm.exec', 'alice', vm_id=alice, command=['sh', '-c', 'echo $GREETING; cat; exit 3'], env=['GREETING=hello'],
             stdin='from outside')
    assert r == {'exit_code': 3, 'signal': None, 'stdout': 'hello\nfrom outside', 'stderr': '', 'truncated': False, 'timed_out': False}
    r = call(host, 'vm.exec', 'alice', vm_id=alice, command=['nonesuch'])
    assert r['exit_code'] == 127 and 'nonesuch' in r['error']
    r = call(host, 'vm.exec', 'alice', vm_id=alice, command=['sh', '-c', 'head -c 2000000 /dev/zero | tr "\\0" x'])
    assert r['truncated'] and r['stdout'] == 'x' * (1 << 20)
    assert 'console' in call(host, 'vm.logs', 'alice', vm_id=alice)['text']
    for method, more in (('vm.exec', {'command': ['true']}), ('vm.logs', {}), ('vm.console.endpoint', {}), ('vm.suspend', {})):
        assert refused(host, method, 'bob', vm_id=alice, **more), method
    assert call(host, 'events.tail', 'bob')['events'] == []


def test_a_command_that_takes_too_long_is_gone_from_the_guest(host, alice):
    r = call(host, 'vm.exec', vm_id=alice, command=['sleep', '4711'], timeout_secs=1)
    assert r['timed_out'] is True
    for _ in range(50):
        if '4711' not in call(host, 'vm.exec', vm_id=alice, command=['ps'])['stdout']:
            break
        time.sleep(0.2)
    else:
        pytest.fail('it still runs')


def test_a_console_opens_for_its_owner_and_administrators(host, alice):
    endpoint = call(host, 'vm.console.endpoint', 'alice', vm_id=alice)['endpoint']
    assert endpoint == 'unix:/run/hero-rpcd/console/alice.sock'
    for user, opens in (('alice', True), ('bob', False), ('root', True)):
        out = host.run(['python3', '-c', CONSOLE, endpoint.removeprefix('unix:')], user=user).out
        assert out.strip() == str(opens), user
    host.heroctl('delete', '--force', alice)
    host.run(['test', '!', '-e', endpoint.removeprefix('unix:')])


def test_sleep_and_wake_are_waited_for_and_told(host, alice):
    next = call(host, 'events.tail', vm_id=alice)['next']
    waiter = host.popen(request('vm.wait', {'vm_id': alice, 'state': 'hibernated', 'timeout_secs': 50}))
    tail = host.popen(request('events.tail', {'since': next, 'timeout_secs': 50}))
    try:
        time.sleep(0.5)
        assert call(host, 'vm.hibernate', vm_id=alice)['detail_state'] == 'hibernated'
        r = json.loads(waiter.stdout.read())['result']
        assert (r['detail_state'], r['timed_out']) == ('hibernated', False)
        assert json.loads(tail.stdout.read())['result']['events'][0]['from'] == 'running'
    finally:
        end(waiter)
        end(tail)
    assert [e['to'] for e in call(host, 'events.tail', since=next)['events']][-1] == 'hibernated'
    assert call(host, 'vm.exec', vm_id=alice, command=['echo', 'awake'])['stdout'] == 'awake\n'
    assert call(host, 'vm.get', vm_id=alice)['detail_state'] == 'running'


def test_resources_of_an_owner_are_bounded_as_on_the_bus(host, alice):
    assert call(host, 'vm.set_resources', vm_id=alice, memory_mb=320, cpu_weight=200)['resources']['memory_mb'] == 320
    assert host.get(alice, 'Memory') == 320 << 20
    assert refused(host, 'vm.set_resources', 'alice', vm_id=alice, cpu_count=64)


def test_images_come_and_go(host):
    """Jobs of hero-imaged: their signals have to come through the bus policy."""
    host.run('mkdir -p /srv/rpc/root/bin && cp /bin/busybox /srv/rpc/root/bin/sh && tar -C /srv/rpc/root -cf /srv/rpc/Small.tar . && chmod -R go+rX /srv/rpc')
    try:
        assert call(host, 'image.import', path='/srv/rpc/Small.tar')['reference'] == 'small:latest'
        assert 'small:latest' in [i['reference'] for i in call(host, 'image.list', 'bob')]
        assert call(host, 'image.delete', reference='small') == {'deleted': True, 'reference': 'small'}
        assert ask(host, 'image.pull', reference='127.0.0.1:1/nothing')['error']['data']['name'] == 'PullFailed'
        assert refused(host, 'image.import', 'alice', path='/srv/rpc/Small.tar')
        assert ask(host, 'image.import', path='/etc/shadow')['error']['data']['name'] == 'InvalidArgument'
    finally:
        host.run(['rm', '-r', '/srv/rpc'])
