# SPDX-License-Identifier: Apache-2.0
"""hero-rpcd as a server: HTTP and lines on its sockets, limits, and its end. What methods do is tested elsewhere."""

import json
import pathlib
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from rpcd_fixtures import Rpcd, UnixConnection, bus, call, rpcd, wait_until  # noqa: F401 (fixtures)

GET = b'GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n'
METRICS = '# TYPE hero_vms gauge\nhero_vms{state="running"} 3\n'


def request(text, *, headers='', path='/rpc'):
    body = text if isinstance(text, str) else json.dumps(text)
    return (f'POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{headers}'
            f'Content-Length: {len(body.encode())}\r\n\r\n{body}').encode()


def rpc(method, number=1, **params):
    return {'jsonrpc': '2.0', 'id': number, 'method': method, 'params': params}


class Raw:
    """A client that speaks, or does not speak, HTTP itself."""

    def __init__(self, rpcd, name='http'):  # pylint: disable=redefined-outer-name
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(str(rpcd.directory / f'{name}.sock'))
        self.socket.settimeout(20)
        self.heard = b''

    def say(self, data):
        self.socket.sendall(data)

    def hear(self, until):
        while until not in self.heard:
            data = self.socket.recv(65536)
            assert data, self.heard
            self.heard += data
        before, _, self.heard = self.heard.partition(until)
        return before

    def answer(self):
        """Status, headers and body of the next answer."""
        status, *lines = self.hear(b'\r\n\r\n').decode().split('\r\n')
        headers = dict(line.split(': ', 1) for line in lines)
        length = int(headers.get('Content-Length', 0))
        while len(self.heard) < length:
            data = self.socket.recv(65536)
            assert data
            self.heard += data
        body, self.heard = self.heard[:length], self.heard[length:]
        return int(status.split()[1]), headers, body

    def line(self, message):
        self.say(json.dumps(message).encode() + b'\n')
        return json.loads(self.hear(b'\n'))

    def is_cut_off(self, timeout):
        if not select.select([self.socket], [], [], timeout)[0]:
            return False
        try:
            return self.socket.recv(65536) == b''
        except ConnectionResetError:
            return True

    def close(self):
        self.socket.close()


def get(rpcd, path, method='GET', **headers):  # pylint: disable=redefined-outer-name
    c = UnixConnection(rpcd.directory / 'http.sock')
    c.request(method, path, headers=headers)
    r = c.getresponse()
    body = r.read().decode()
    c.close()
    return r.status, r.headers, body


def resident(process):
    status = pathlib.Path(f'/proc/{process.pid}/status').read_text(encoding='utf-8')
    return int(status.split('VmRSS:')[1].split()[0]) * 1024


def configure(rpcd, text):  # pylint: disable=redefined-outer-name
    """Read at the start, so that it is started again, on the same sockets."""
    rpcd.stop()
    (rpcd.directory / 'config/rpc.conf').write_text(text, encoding='utf-8')
    rpcd.log_file.close()
    rpcd.start()


@pytest.mark.parametrize('prefix', ['', '/hero_compute_manager'])
def test_pages(rpcd, prefix):
    status, headers, body = get(rpcd, f'{prefix}/health')
    assert status == 200 and headers['Content-Type'] == 'application/json'
    assert json.loads(body).items() >= {'status': 'ok', 'service': 'hero_compute_manager'}.items()
    status, headers, body = get(rpcd, f'{prefix}/openrpc.json')
    assert status == 200 and json.loads(body)['openrpc'].startswith('1.')
    status, _, text = get(rpcd, f'{prefix}/openrpc.json', 'HEAD')
    assert status == 200 and text == ''
    status, _, body = get(rpcd, f'{prefix}/.well-known/heroservice.json')
    assert json.loads(body).items() >= {'protocol': 'openrpc', 'name': 'hero_compute_manager', 'socket': 'rpc'}.items()
    assert get(rpcd, f'{prefix}/nothing')[0] == 404
    assert get(rpcd, f'{prefix}/rpc')[0] == 405


def test_the_status_page_counts(rpcd, call):
    vms = call('vm.list')
    status, headers, page = get(rpcd, '/')
    assert status == 200 and headers['Content-Type'].startswith('text/html')
    assert '<script' not in page and "default-src 'none'" in headers['Content-Security-Policy']
    assert f'<tr><th>Virtual machines</th><td>{len(vms)}</td></tr>' in page
    for state in ('created', 'running', 'stopped', 'failed'):
        n = sum(vm['state'] == state for vm in vms)
        assert f'<tr><th>{state}</th><td>{n}</td></tr>' in page, state


def test_metrics_are_those_of_metricsd(rpcd, bus):
    status, _, body = get(rpcd, '/metrics')
    assert status == 503 and 'hero-metricsd' in json.loads(body)['error']
    script = ('import dbus, dbus.service, dbus.mainloop.glib\nfrom gi.repository import GLib\n'
              'dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)\nb = dbus.SystemBus()\n'
              'class M(dbus.service.Object):\n'
              '    @dbus.service.method("org.hero.Compute.Metrics", out_signature="s")\n'
              f'    def Export(self): return {METRICS!r}\n'
              'm = M(b, "/org/hero/Compute/Metrics")\nn = dbus.service.BusName("org.hero.Compute.Metrics", b)\n'
              'print("ready", flush=True)\nGLib.MainLoop().run()\n')
    fake = subprocess.Popen([sys.executable, '-c', script], env=bus.environment, stdout=subprocess.PIPE)
    try:
        assert fake.stdout.readline() == b'ready\n'
        status, headers, body = get(rpcd, '/metrics')
        assert (status, body) == (200, METRICS) and headers['Content-Type'] == 'text/plain; version=0.0.4'
    finally:
        fake.terminate()
        fake.wait(10)
        fake.stdout.close()


def test_requests_may_be_pipelined(rpcd, call):
    call('vm.list')  # its VMs are known
    c = Raw(rpcd)
    c.say(b''.join(request(rpc('health', i)) for i in range(20)) + GET + request(rpc('vm.start', 20, vm_id='slow-1')) +
          request(rpc('health', 21)))
    for i in range(20):
        assert json.loads(c.answer()[2])['id'] == i
    assert json.loads(c.answer()[2])['service'] == 'hero_compute_manager'
    assert json.loads(c.answer()[2])['result']['state'] == 'running'
    assert json.loads(c.answer()[2])['id'] == 21
    c.close()


def test_what_is_not_http_or_too_much(rpcd):
    big = json.dumps(rpc('health')) + ' ' * (1 << 20)
    cases = [(request(big), 413), (request(rpc('health'), headers='X: ' + 'x' * 20000 + '\r\n'), 431),
             (request('x').replace(b'application/json', b'text/plain'), 415), 
             (b'POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n', 400),
             (request('[]', path='/other'), 404), (request('[]').replace(b'POST', b'DELETE'), 405),
             (b'POST /rpc HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9999999\r\n\r\n', 413)]
    for data, expected in cases:
        c = Raw(rpcd)
        c.say(data)
        status, _, body = c.answer()
        assert status == expected, (data[:100], status)
        if status not in (400, 431):  # those are libmicrohttpd's
            assert json.loads(body)['error'].endswith('.')
        c.close()


def test_two_lengths_are_no_way_to_smuggle(rpcd):
    """What is a body to one is a request to another, when they do not read the same length."""
    hidden = request(rpc('health', 'hidden'))
    for headers in (b'Content-Length: 4\r\nTransfer-Encoding: chunked\r\n', b'Content-Length: 5\r\nContent-Length: 90\r\n',
                    b'Transfer-Encoding: gzip, chunked\r\n', b'Transfer-Encoding: identity\r\nContent-Length: 5\r\n'):
        c = Raw(rpcd)
        c.say(b'POST /rpc HTTP/1.1\r\nHost: x\r\n' + headers + b'\r\n0\r\n\r\n' + hidden)
        c.socket.shutdown(socket.SHUT_WR)
        heard = b''
        while data := c.socket.recv(65536):
            heard += data
        assert heard.startswith(b'HTTP/1.1 400 ')
        assert b'hidden' not in heard
        c.close()


def test_curl_as_the_documents_have_it(rpcd):
    r = subprocess.run(['curl', '-s', '--unix-socket', rpcd.directory / 'http.sock', 'http://localhost/api/root/compute/rpc',
                        '-H', 'Content-Type: application/json', '-d', '@-'], check=True, capture_output=True, text=True,
                       input=json.dumps(rpc('health')) + '\n' * 100)
    assert json.loads(r.stdout)['result']['status'] == 'ok'
    body = json.dumps([rpc('health', i) for i in range(90)]) + ' ' * 900000  # curl asks first
    r = subprocess.run(['curl', '-sv', '--unix-socket', rpcd.directory / 'http.sock', 'http://localhost/rpc',
                        '-H', 'Content-Type: application/json', '-H', 'Expect: 100-continue', '-d', '@-'], check=True,
                       capture_output=True, text=True, input=body)
    assert '100 Continue' in r.stderr and len(json.loads(r.stdout)) == 90
    r = subprocess.run(['curl', '-sv', '--unix-socket', rpcd.directory / 'http.sock', 'http://localhost/rpc',
                        '-H', 'Content-Type: application/json', '-H', 'Transfer-Encoding: chunked', '-d', '@-'], check=True,
                       capture_output=True, text=True, input=body)
    assert len(json.loads(r.stdout)) == 90


def test_who_leaves_in_the_middle_of_a_change_does_not_end_it(rpcd, call):
    call('vm.list')
    c = Raw(rpcd)
    c.say(request(rpc('vm.start', vm_id='slow-1')))
    time.sleep(0.5)
    assert call('vm.get', vm_id='slow-1')['detail_state'] != 'running'
    c.close()
    wait_until(lambda: call('vm.get', vm_id='slow-1')['detail_state'] == 'running')


def test_slow_clients_are_cut_off_and_others_served(rpcd):
    configure(rpcd, '[Limits]\nRequestTimeoutSec=1s\nIdleTimeoutSec=2s\n')
    silent, slow, idle = Raw(rpcd), [Raw(rpcd) for _ in range(200)], rpcd.client()
    assert idle('health')['status'] == 'ok'
    for c in slow:
        c.say(b'POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n')
    begun = time.monotonic()
    while time.monotonic() - begun < 0.6:
        for c in slow:
            c.say(b' ')
        assert rpcd.client()('health')['status'] == 'ok'
    assert silent.is_cut_off(3)
    assert all(c.is_cut_off(3) for c in slow)
    assert time.monotonic() - begun < 3
    assert idle('health')['status'] == 'ok'
    idle.connection.sock.settimeout(5)
    assert idle.connection.sock.recv(1) == b''


def test_many_connections_cost_little(bus):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    n = min(10000, hard - 1500)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    r = Rpcd(bus)
    clients = []
    try:
        assert r.client()('health')['status'] == 'ok'
        before = resident(r.process)
        for _ in range(n):
            clients.append(Raw(r))
        clients[0].say(GET)
        assert clients[0].answer()[0] == 200
        for c in clients[1::10]:
            c.say(request(rpc('health')))
        for c in clients[1::10]:
            assert c.answer()[0] == 200
        each = (resident(r.process) - before) / n
        assert each < 40000, each  # under a sanitizer, too
        assert r.client()('health')['status'] == 'ok'
    finally:
        for c in clients:
            c.close()
        r.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_what_only_the_start_needed_is_given_back(rpcd, call):
    assert call('health')['status'] == 'ok'
    before = resident(rpcd.process)
    wait_until(lambda: resident(rpcd.process) < before - (1 << 20))
    assert call('health')['status'] == 'ok'
    assert json.loads(get(rpcd, '/openrpc.json')[2])['openrpc']


def test_the_end_waits_for_calls_under_way(rpcd, call):
    call('vm.list')
    c = rpcd.client()
    c.send('vm.start', vm_id='slow-1')
    time.sleep(0.5)
    rpcd.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert c.answer()['state'] == 'running'
    assert rpcd.process.wait(10) == 0
    # Nobody is refused in between: the sockets are systemd's.
    late, answers = rpcd.client(), []
    t = threading.Thread(target=lambda: answers.append(late('health')))
    t.start()
    rpcd.log_file.close()
    rpcd.start()
    t.join(20)
    assert answers and answers[0]['status'] == 'ok'


def test_the_end_does_not_wait_for_ever(rpcd, call):
    call('vm.list')
    c = rpcd.client()
    c.send('vm.wait', vm_id='stuck-1', state='failed', timeout=60)
    begun = time.monotonic()
    assert rpcd.stop() == 0
    assert time.monotonic() - begun < 8


def test_lines(rpcd, call):
    call('vm.list')
    c = Raw(rpcd, 'line')
    answer = c.line(rpc('compute.vm.list'))
    assert [vm['name'] for vm in answer['result']] == [vm['name'] for vm in call('vm.list')]
    c.say(json.dumps(rpc('compute.vm.start', 'slow', id='slow-1')).encode() + b'\n' +
          json.dumps(rpc('compute.vm.list', 'quick')).encode() + b'\n')
    assert json.loads(c.hear(b'\n'))['id'] == 'quick'
    assert json.loads(c.hear(b'\n'))['id'] == 'slow'
    c.say(b'{\n')
    assert json.loads(c.hear(b'\n'))['error']['code'] == -32700
    batch = c.line([rpc('compute.vm.list', 1), rpc('compute.nothing', 2)])
    assert [a['id'] for a in batch] == [1, 2] and batch[1]['error']['code'] == -32601
    c.say(b' ' * (1 << 20) + b'  ')
    assert json.loads(c.hear(b'\n'))['error']['code'] == -32600
    assert c.is_cut_off(5)


def test_it_is_started_by_sockets_only(bus, tmp_path):
    program = pathlib.Path(Rpcd.start.__globals__['RPCD'])
    r = subprocess.run([program], env={**bus.environment, 'HERO_LOG_TARGET': 'console'}, capture_output=True, text=True, timeout=20,
                       check=False)
    assert r.returncode == 1 and 'started by systemd' in r.stderr
    r = subprocess.run([program, 'x'], env=bus.environment, capture_output=True, text=True, timeout=20, check=False)
    assert r.returncode == 1 and 'no arguments' in r.stderr
