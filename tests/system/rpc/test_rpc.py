# SPDX-License-Identifier: Apache-2.0
"""hero-rpcd on a real host: the quick start of hero_compute_manager word for word, transcripts of every method, and who may."""

import json
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent.parent / 'bus')]
from throwaway import end, wait_until  # noqa: E402
from token_key import Key  # noqa: E402
import transcript  # noqa: E402

TRANSCRIPTS = pathlib.Path(__file__).parent / 'transcripts'
SOCKET = '/run/hero-compute/rpc.sock'

# Serves its argument and tells whose connection it was.
ISSUER = '''
import http.server, ssl, sys
keys, certificate = sys.argv[1].encode(), sys.argv[2]
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        ends = [f'0100007F:{port:04X}' for port in (self.client_address[1], self.server.server_port)]
        print(*(words[7] for words in map(str.split, open('/proc/net/tcp')) if words[1:3] == ends), flush=True)
        self.send_response(200)
        self.send_header('Content-Length', str(len(keys)))
        self.end_headers()
        self.wfile.write(keys)
server = http.server.HTTPServer(('127.0.0.1', 0), Handler)
if certificate:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
'''

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


@pytest.fixture
def issuer(rpc, tmp_path):
    """Starts one with a key, whose tokens hero-rpcd then takes."""
    key = Key(tmp_path, 'one')
    authorities = '/etc/ssl/certs/ca-certificates.crt'
    started = []

    def trusted_certificate():
        """The host's, for localhost; in one file with its private key."""
        pem = tmp_path / 'localhost.pem'
        subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-noenc', '-subj', '/CN=localhost', '-addext',
                        'subjectAltName=DNS:localhost', '-keyout', tmp_path / 'key', '-out', tmp_path / 'certificate'],
                       check=True, capture_output=True)
        pem.write_bytes((tmp_path / 'key').read_bytes() + (tmp_path / 'certificate').read_bytes())
        rpc.run('cat >/run/issuer.pem && chown bob /run/issuer.pem && chmod 400 /run/issuer.pem', input=pem.read_text())
        rpc.run(f'cp {authorities} /run/authorities && cat >>{authorities}', input=(tmp_path / 'certificate').read_text())
        return '/run/issuer.pem'

    def start(scheme):
        certificate = trusted_certificate() if scheme == 'https' else ''
        keys = json.dumps({'keys': [key.public()]})
        started.append(rpc.popen(['/usr/bin/python3', '-c', ISSUER, keys, certificate], user='bob', text=True))
        port = int(started[0].stdout.readline())
        rpc.run('mkdir -p /etc/hero-compute/rpc.conf.d && cat >/etc/hero-compute/rpc.conf.d/50-issuer.conf',
                input=f'[OAuth]\nEnable=yes\nJWKSURL={scheme}://localhost:{port}/keys\n')
        rpc.run('systemctl reset-failed hero-rpcd.service; systemctl restart hero-rpcd.service')  # restarts in a row are no start limit
        return started[0], key

    yield start
    for process in started:
        end(process)
    rpc.run(f'rm -f /etc/hero-compute/rpc.conf.d/50-issuer.conf /run/issuer.pem; '
            f'test ! -e /run/authorities || {{ cat /run/authorities >{authorities}; rm /run/authorities; }}; '
            f'systemctl start hero-jwks-fetch.socket; systemctl reset-failed hero-rpcd.service; systemctl restart hero-rpcd.service')


def list_vms(rpc, token):
    return rpc.send('{"jsonrpc":"2.0","id":1,"method":"vm.list"}',
                    words=('--unix-socket', SOCKET, '-H', f'Authorization: Bearer {token}', 'http://localhost/rpc'))


@pytest.mark.parametrize('scheme', ('http', 'https'))
def test_the_keys_of_tokens_are_fetched_by_another_user_than_hero_rpcd(rpc, issuer, scheme):
    rpc.heroctl('provision', 'alice', '--hypervisor', 'mock')
    server, key = issuer(scheme)
    cursor = rpc.cursor()
    assert [v['name'] for v in list_vms(rpc, key.token('alice'))['result']] == ['alice']
    assert list_vms(rpc, key.token('bob'))['result'] == []
    assert server.stdout.readline() == rpc.run(['id', '-u', 'hero-jwks-fetch']).out
    assert f'Keys for tokens fetched from {scheme}://localhost' in rpc.journal(cursor, '-u', 'hero-rpcd.service')
    wait_until(lambda: rpc.run('systemctl list-units --all --no-legend "hero-jwks-fetch@*"').out == '', 'no fetch is left')
    rpc.heroctl('deprovision', 'alice')


def test_without_its_socket_there_are_no_keys_and_no_token_is_valid(rpc, issuer):
    _, key = issuer('http')
    cursor = rpc.cursor()
    rpc.run(['systemctl', 'stop', 'hero-jwks-fetch.socket'])
    assert 'cannot be had' in list_vms(rpc, key.token('alice'))['error']
    assert 'hero-jwks-fetch.socket is not started' in rpc.journal(cursor, '-u', 'hero-rpcd.service')


def test_nobody_but_hero_rpcd_has_keys_fetched(rpc):
    script = "import socket; socket.socket(socket.AF_UNIX).connect('/run/hero-compute/jwks-fetch')"
    for user in ('alice', 'hero-imaged', 'hero-image-fetch', 'hero-jwks-fetch', 'hero-metricsd'):
        r = rpc.run(['setpriv', '--reuid', user, '--clear-groups', '/usr/bin/python3', '-c', script], check=False)
        assert r.status != 0 and 'PermissionError' in r.err, (user, r)
    rpc.run(['setpriv', '--reuid', 'hero-rpcd', '--clear-groups', '/usr/bin/python3', '-c', script])
