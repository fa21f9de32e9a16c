# SPDX-License-Identifier: Apache-2.0
"""hero-rpcd with bearer tokens: an issuer of our own, whose keys openssl makes, and requests over HTTP as anybody sends them."""

import http.server
import json
import os
import socket
import subprocess
import threading
import time

import pytest

from heroctl_fixtures import BUILD
from rpcd_fixtures import SOMEBODY, Rpcd, UnixConnection, bus  # noqa: F401
from token_key import Key


class Issuer:
    def __init__(self, keys):
        self.keys, self.fetches = keys, 0
        issuer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                issuer.fetches += 1
                body = json.dumps({'keys': [k.public() for k in issuer.keys]}).encode()
                self.send_response(200)
                self.send_header('Content-Length', str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments):
                pass

        self.server = http.server.HTTPServer(('127.0.0.1', 0), Handler)
        self.url = f'http://127.0.0.1:{self.server.server_port}/.well-known/jwks.json'
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Fetcher:
    """hero-jwks-fetch.socket: one hero-jwks-fetch for each connection, which is its standard input and output."""

    def __init__(self, path):
        self.path = str(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.bind(self.path)
        self.socket.listen()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:  # closed
                return
            with connection:
                subprocess.run([BUILD / 'src/rpcd/hero-jwks-fetch'], stdin=connection, stdout=connection, check=True, timeout=60)

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        os.unlink(self.path)


@pytest.fixture
def key(tmp_path):
    return Key(tmp_path, 'one')


@pytest.fixture
def issuer(key):
    i = Issuer([key])
    yield i
    i.close()


@pytest.fixture
def fetcher(tmp_path):
    f = Fetcher(tmp_path / 'jwks-fetch')
    yield f
    f.close()


@pytest.fixture
def start(bus, issuer, fetcher):  # noqa: F811
    started = []

    def start(**environment):
        started.append(Rpcd(bus, **{'HERO_JWKS_SOCKET': fetcher.path, 'OAUTH_ENABLED': 'true', 'OAUTH_JWKS_URL': issuer.url, **environment}))
        return started[-1]

    yield start
    for r in started:
        r.close()


def request(rpcd, authorization, method, path='/rpc', **params):
    """Status, headers and the answer."""
    c = UnixConnection(rpcd.directory / 'http.sock')
    headers = {'Content-Type': 'application/json', **({'Authorization': authorization} if authorization is not None else {})}
    if method:
        c.request('POST', path, json.dumps({'jsonrpc': '2.0', 'id': 1, 'method': method, 'params': params}), headers)
    else:
        c.request('GET', path, headers=headers)
    answer = c.getresponse()
    text = answer.read()
    c.close()
    return answer.status, answer.headers, json.loads(text) if text[:1] == b'{' else text.decode()


def call(rpcd, token, method, **params):
    status, _, answer = request(rpcd, f'Bearer {token}', method, **params)
    assert status == 200, (status, answer)
    return answer


def refused(rpcd, authorization, word):
    status, headers, answer = request(rpcd, authorization, 'vm.list')
    assert status == 401, (status, answer)
    assert headers['WWW-Authenticate'].startswith('Bearer')
    assert word in answer['error'], answer


def provision(rpcd, *users):
    for user in users:
        assert 'result' in request(rpcd, None, 'user.provision', user_id=user, name=user)[2]


def test_a_subject_has_its_own_vm_and_nobody_elses(start, key):
    rpcd = start()
    provision(rpcd, 'carol', 'dave')  # root, without a token
    token = key.token()
    assert call(rpcd, token, 'user.vm', user_id='carol')['result']['user_id'] == 'carol'
    assert call(rpcd, token, 'user.vm', user_id='dave')['error']['code'] == -32001
    assert [v['user_id'] for v in call(rpcd, token, 'user.list')['result']] == ['carol']
    assert 'result' in call(rpcd, token, 'user.stop', user_id='carol')


def test_a_scope_makes_an_administrator_wherever_the_token_comes_from(start, key):
    rpcd = start()
    provision(rpcd, 'carol', 'dave')
    token = key.token('operator', scope='openid hero-compute:admin')
    assert {'carol', 'dave'} <= {v['user_id'] for v in call(rpcd, token, 'user.list')['result']}
    client = rpcd.client(SOMEBODY)
    client.connection.request('POST', '/rpc', '{"jsonrpc":"2.0","id":1,"method":"user.list"}',
                              {'Content-Type': 'application/json', 'Authorization': f'bearer {token}'})
    assert {'carol', 'dave'} <= {v['user_id'] for v in json.loads(client.connection.getresponse().read())['result']}


def test_a_token_decides_also_when_root_brings_it(start, key):
    rpcd = start()
    provision(rpcd, 'dave')
    assert call(rpcd, key.token(), 'user.deprovision', user_id='dave')['error']['code'] == -32001


def test_bad_tokens_are_refused_with_401_and_a_sentence(start, key, tmp_path):
    rpcd, stranger = start(), Key(tmp_path, 'stranger')
    stranger.kid = 'one'
    now = int(time.time())
    good = key.token()
    for token, word in (
            (key.token(header={'alg': 'none'}), 'compact form'), (key.token(header={'alg': 'none'}) + 'AAAA', 'not signed by'),
            (key.token(header={'alg': 'HS256'}), 'not signed by'), (stranger.token(), 'signature'), (key.token(aud='other'), 'audience'),
            (key.token(iss='other'), 'issuer'), (key.token(exp=now - 61), 'expired'), (key.token(nbf=now + 120), 'not valid yet'),
            (key.token(iat=now + 120), 'not valid yet'), (key.token(header={'alg': 'PS256'}), 'signature'),
            (key.token(header={'crit': ['x']}), 'critical'), (key.token(sub='a/b'), 'subject'),
            (key.token(exp=None), 'time'), (good[:-4] + 'AAAA', 'signature'), (good + '.x', 'compact form'), ('', 'bearer token')):
        refused(rpcd, f'Bearer {token}'.strip(), word)
    refused(rpcd, 'Basic cm9vdDo=', 'bearer token')
    assert 'result' in call(rpcd, good, 'vm.list')
    assert 'result' in call(rpcd, key.token(x='y' * 4500), 'vm.list')
    assert request(rpcd, f'Bearer {key.token(x="y" * 20000)}', None, '/metrics')[0] == 431  # it does not fit into the headers


def test_without_a_token_the_peer_counts_unless_one_is_required(start, key):
    rpcd = start()
    assert request(rpcd, None, 'vm.list')[0] == 200
    required = start(OAUTH_REQUIRE_AUTH='true')
    status, headers, answer = request(required, None, 'vm.list')
    assert status == 401 and headers['WWW-Authenticate'].startswith('Bearer') and 'token' in answer['error']
    assert request(required, f'Bearer {key.token()}', 'vm.list')[0] == 200
    for path in ('/health', '/openrpc.json', '/.well-known/heroservice.json'):
        assert request(required, None, None, path)[0] == 200


def test_keys_may_change(start, key, issuer, tmp_path):
    rpcd, new = start(), Key(tmp_path, 'two')
    assert 'result' in call(rpcd, key.token(), 'vm.list')
    issuer.keys = [new]
    refused(rpcd, f'Bearer {new.token()}', 'not one of the issuer')  # they were fetched a moment ago
    time.sleep(10)
    assert 'result' in call(rpcd, new.token(), 'vm.list')
    refused(rpcd, f'Bearer {key.token()}', 'not one of the issuer')
    assert issuer.fetches == 2


def test_without_keys_no_token_is_valid(start, key, issuer):
    issuer.keys = []
    rpcd = start()
    refused(rpcd, f'Bearer {key.token()}', 'cannot be had')
    refused(rpcd, f'Bearer {key.token()}', 'cannot be had')
    assert issuer.fetches == 1
    assert 'cannot be fetched' in rpcd.log()


def test_without_a_fetcher_no_token_is_valid(start, key, issuer, tmp_path):
    rpcd = start(HERO_JWKS_SOCKET=str(tmp_path / 'nothing'))
    refused(rpcd, f'Bearer {key.token()}', 'cannot be had')
    assert issuer.fetches == 0
    assert 'hero-jwks-fetch.socket is not started' in rpcd.log()


def test_variables_of_the_old_manager_are_told_their_place(start):
    rpcd = start(COMPUTE_PORT='3760', IDLE_TIMEOUT_SECS='300', OAUTH_SECRET='x')
    assert request(rpcd, None, 'health')[0] == 200
    log = rpcd.log()
    assert 'COMPUTE_PORT' in log and 'hero-rpcd-tcp.socket' in log and 'IdleTimeoutSec=' in log and 'OAUTH_SECRET' in log
