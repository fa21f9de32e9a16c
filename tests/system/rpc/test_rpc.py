# SPDX-License-Identifier: Apache-2.0
"""hero-rpcd on a real host: the quick start of hero_compute_manager word for word, transcripts of every method, and who may."""

import json
import pathlib
import sys

import pytest

sys.path[:0] = [str(pathlib.Path(__file__).parent), str(pathlib.Path(__file__).parent.parent)]
from throwaway import wait_until  # noqa: E402
import transcript  # noqa: E402

TRANSCRIPTS = pathlib.Path(__file__).parent / 'transcripts'
SOCKET = '/run/hero-compute/rpc.sock'

# As they are in the README of hero_compute_manager.
PROVISION = '''curl -X POST http://localhost:3760/rpc \\
-H "Content-Type: application/json" \\
-d '{
"jsonrpc": "2.0",
"id": 1,
"method": "user.provision",
"params": {
"user_id": "alice",
"name": "alice-vm",
"image": "alpine:latest",
"cpu_count": 2,
"memory_mb": 1024
}
}'
'''
GET = '''curl -X POST http://localhost:3760/rpc \\
-H "Content-Type: application/json" \\
-d '{"jsonrpc":"2.0","id":1,"method":"user.vm","params":{"user_id":"alice"}}'
'''
RESUME = '''curl -X POST http://localhost:3760/rpc \\
-H "Content-Type: application/json" \\
-d '{"jsonrpc":"2.0","id":1,"method":"user.start","params":{"user_id":"alice"}}'
'''


@pytest.fixture(scope='module')
def served(the_host):
    """The sockets that are off by default are on."""
    the_host.run('systemctl stop hero-rpcd.service; systemctl start hero-rpcd.socket hero-rpcd-tcp.socket hero-rpcd-line.socket')
    yield the_host
    the_host.run('systemctl stop hero-rpcd-tcp.socket hero-rpcd-line.socket')


@pytest.fixture
def rpc(served, host):
    def send(body, user='root', words=('--unix-socket', SOCKET, 'http://localhost/rpc')):
        r = host.run(['curl', '-sS', '-H', 'Content-Type: application/json', '--data-binary', '@-', *words], user=user, input=body)
        return json.loads(r.out)
    host.send = send
    yield host
    del host.send


@pytest.fixture
def alpine(host):
    """An image of that name: no registry is to be reached."""
    host.run('mkdir -p /tmp/alpine/bin && cp /bin/busybox /tmp/alpine/bin/ && ln -sf busybox /tmp/alpine/bin/sh && '
             'echo ID=alpine >/tmp/alpine/os-release && tar -C /tmp/alpine -cf /tmp/alpine.tar . && '
             'heroctl image import alpine:latest /tmp/alpine.tar && rm -rf /tmp/alpine /tmp/alpine.tar')
    yield
    host.heroctl('image', 'rm', 'alpine:latest', check=False)


def test_the_quick_start_of_hero_compute_manager_works_word_for_word(rpc, alpine):
    r = json.loads(rpc.run(PROVISION, timeout=120).out)
    vm = r['result']
    assert r['jsonrpc'] == '2.0' and r['id'] == 1
    assert (vm['user_id'], vm['vm_name'], vm['image'], vm['state']) == ('alice', 'alice-vm', 'alpine:latest', 'running')
    assert vm['resources']['cpu_count'] == 2 and vm['resources']['memory_mb'] == 1024 and vm['mycelium_ip']
    assert json.loads(rpc.run(GET).out)['result']['vm_id'] == vm['vm_id']
    rpc.heroctl('suspend', 'alice-vm')
    assert json.loads(rpc.run(GET).out)['result']['state'] == 'stopped'
    assert json.loads(rpc.run(RESUME).out)['result']['state'] == 'running'
    # The other road and the other port of the same documents.
    for url in ('http://localhost:3389/api/root/compute/rpc', 'http://localhost:3389/hero_compute_manager/rpc'):
        assert json.loads(rpc.run(GET.replace('http://localhost:3760/rpc', url)).out)['result']['vm_id'] == vm['vm_id']
    for path in ('/health', '/hero_compute_manager/health'):
        assert json.loads(rpc.run(['curl', '-sS', f'http://localhost:3389{path}']).out)['status'] == 'ok'
    rpc.heroctl('deprovision', 'alice')


@pytest.mark.parametrize('name', sorted(p.name for p in TRANSCRIPTS.glob('*.txt')))
def test_a_transcript_is_what_happens(rpc, name):
    transcript.play((TRANSCRIPTS / name).read_text(), rpc.send, rpc.run)


def test_every_method_is_in_a_transcript(rpc):
    called = set()
    for p in TRANSCRIPTS.glob('*.txt'):
        for _, kind, rest in transcript.steps(p.read_text()):
            if kind == '>' and rest.startswith('{'):
                called.add(json.loads(rest)['method'])
    methods = {m['name'] for m in rpc.send('{"jsonrpc":"2.0","id":1,"method":"rpc.discover"}')['result']['methods']}
    assert methods - called == set()


def test_over_tcp_the_other_end_is_who_owns_its_socket(rpc):
    rpc.heroctl('provision', 'alice', '--hypervisor', 'mock')
    body = '{"jsonrpc":"2.0","id":1,"method":"vm.list"}'
    for address in ('127.0.0.1:3760', '127.0.0.1:3389'):
        url = (f'http://{address}/rpc',)
        assert [v['name'] for v in rpc.send(body, 'root', url)['result']] == ['alice']
        assert [v['name'] for v in rpc.send(body, 'alice', url)['result']] == ['alice']
        assert rpc.send(body, 'bob', url)['result'] == []
    rpc.heroctl('deprovision', 'alice')


def test_a_member_of_the_group_is_an_administrator(rpc):
    rpc.run('useradd -m -G hero-compute carol')
    try:
        assert rpc.send('{"jsonrpc":"2.0","id":1,"method":"user.provision","params":{"user_id":"bob","hypervisor":"mock"}}',
                        'carol')['result']['user_id'] == 'bob'
        assert rpc.send('{"jsonrpc":"2.0","id":1,"method":"user.deprovision","params":{"user_id":"bob"}}', 'carol')['result']['deleted']
    finally:
        rpc.run('userdel -r carol', check=False)


def test_the_line_socket_speaks_as_my_hypervisor_did(rpc):
    script = '''
import json, socket
s = socket.socket(socket.AF_UNIX)
s.connect('/run/my_hypervisor/rpc.sock')
f = s.makefile('rw')
def ask(method, **params):
    f.write(json.dumps({'jsonrpc': '2.0', 'id': method, 'method': 'compute.vm.' + method, 'params': params}) + '\\n')
    f.flush()
    answer = json.loads(f.readline())
    assert answer['id'] == method, answer
    return answer['result']
vm = ask('create', name='line', hypervisor='mock')
assert ask('start', id=vm['id'])['state'] == 'running'
assert ask('status', name='line')['id'] == vm['id']
assert ask('exec', id=vm['id'], command=['echo', 'hi'])['stdout'] == 'hi\\n'
assert [v['name'] for v in ask('list')] == ['line']
assert ask('events.tail', limit=1)['events'][0]['to'] == 'running'
assert 'text' in ask('logs', id=vm['id'])
assert ask('console.endpoint', id=vm['id'])['endpoint'].startswith('unix:/')
assert ask('stop', id=vm['id'])['state'] == 'stopped'
assert ask('remove', id=vm['id'])['deleted']
'''
    rpc.run(['/usr/bin/python3', '-c', script], timeout=60)


def test_a_restart_of_hero_computed_is_waited_for(rpc):
    rpc.mock('web')
    body = '{"jsonrpc":"2.0","id":1,"method":"vm.get","params":{"vm_id":"web"}}'
    assert rpc.send(body)['result']['state'] == 'running'
    rpc.run(['systemctl', 'restart', '--no-block', 'hero-computed'])
    for _ in range(5):
        assert rpc.send(body)['result']['state'] == 'running'
    wait_until(lambda: rpc.run(['systemctl', 'is-active', 'hero-computed'], check=False).out == 'active\n', 'hero-computed is back')
    assert rpc.send('{"jsonrpc":"2.0","id":1,"method":"vm.stop","params":{"vm_id":"web"}}')['result']['state'] == 'stopped'


def test_a_stopped_hero_computed_is_started_by_a_call(rpc):
    rpc.mock('web')
    rpc.run(['systemctl', 'stop', 'hero-computed'])
    assert rpc.send('{"jsonrpc":"2.0","id":1,"method":"vm.get","params":{"vm_id":"web"}}')['result']['name'] == 'web'
    assert rpc.run(['systemctl', 'is-active', 'hero-computed']).out == 'active\n'


def test_the_account_of_a_service_has_no_vm(rpc):
    body = '{"jsonrpc":"2.0","id":1,"method":"user.provision","params":{"user_id":"games"}}'
    error = rpc.send(body, user='games')['error']
    assert error['data']['name'] == 'PermissionDenied' and 'SystemUsers=' in error['message']


def test_one_socket_more_is_an_instance(rpc):
    path = '/root/hero/var/sockets/hero_compute_manager.sock'
    unit = 'hero-rpcd@' + rpc.run(['systemd-escape', '--path', path]).out.strip() + '.socket'
    rpc.run(['systemctl', 'stop', 'hero-rpcd.service'])  # systemd gives a service that runs no more sockets
    rpc.run(['systemctl', 'start', unit])
    try:
        answer = rpc.send('{"jsonrpc":"2.0","id":1,"method":"health"}', words=('--unix-socket', path, 'http://localhost/api/root/compute/rpc'))
        assert answer['result']['status'] == 'ok'
    finally:
        rpc.run(['systemctl', 'stop', unit])
        rpc.run('rm -rf /root/hero; systemctl restart hero-rpcd.service', check=False)
