# SPDX-License-Identifier: Apache-2.0
"""hero-metricsd on a host: what it tells of a real VM is what the kernel says, and Prometheus reads it through hero-rpcd."""

import json
import math
import time

import pytest

from throwaway import wait_until

METRICS = ('org.hero.Compute.Metrics', '/org/hero/Compute/Metrics', 'org.hero.Compute.Metrics')
PROMETHEUS = '''global: {scrape_interval: 1s, scrape_timeout: 1s}
scrape_configs: [{job_name: hero-compute, static_configs: [{targets: ["127.0.0.1:3389"]}]}]
'''
SEND = '''
import socket, sys, time
for _ in range(40):
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
        s.sendto(bytes(1000), (sys.argv[1], 4711))
    time.sleep(0.05)
'''


def latest(host, name):
    out = host.run(['heroctl', 'top', '--json']).out
    return next((r for r in json.loads(out) if r['name'] == name), None)


def series(host):
    text = json.loads(host.busctl('--json=short', 'call', *METRICS, 'Export').out)['data'][0]
    return {l.rpartition(' ')[0]: float(l.rpartition(' ')[2]) for l in text.splitlines() if not l.startswith('#')}


@pytest.fixture
def often(host):
    """A pass a second."""
    host.run('mkdir -p /run/hero-compute/conf/metrics.conf.d; echo "[Metrics]\nInterval=1s" > /run/hero-compute/conf/metrics.conf.d/often.conf; '
             'systemctl restart hero-metricsd')
    yield
    host.run('rm -r /run/hero-compute/conf/metrics.conf.d; systemctl reset-failed hero-metricsd; systemctl restart hero-metricsd')


def test_it_runs_from_the_boot_without_privilege(host):
    assert host.unit('hero-metricsd', 'ActiveState') == 'active' and host.unit('hero-metricsd', 'UnitFileState') == 'enabled'
    pid = host.unit('hero-metricsd', 'MainPID')
    assert host.run(f'ps -o user= -p {pid}').out.strip().startswith('hero-met')
    status = host.run(f'cat /proc/{pid}/status').out
    assert 'CapEff:\t0000000000000000' in status and 'NoNewPrivs:\t1' in status and 'Seccomp:\t2' in status
    assert host.run('stat -c %a /var/lib/hero-compute/metrics').out.strip() == '700'
    assert 'hero-metricsd' not in host.run('systemctl --failed').out


def test_a_real_vm_is_measured(host, often):
    host.heroctl('provision', 'alice', timeout=120)
    labels = '{vm="alice",user="alice"}'
    wait_until(lambda: f'hero_vm_cpu_seconds_total{labels}' in series(host), 'the VM is measured')
    host.heroctl('exec', 'alice', '--', 'sh', '-c', 'i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done', timeout=120)
    before = series(host)
    pid = host.get('alice', 'PID')
    cgroup = host.run(f'sed -n s/^0:://p /proc/{pid}/cgroup').out.strip()
    usage = host.run(f'sed -n "s/^usage_usec //p" /sys/fs/cgroup{cgroup}/cpu.stat').out
    assert before[f'hero_vm_cpu_seconds_total{labels}'] == pytest.approx(int(usage) / 1e6, abs=3)
    assert before[f'hero_vm_cpu_seconds_total{labels}'] > 1
    assert 32 << 20 < before[f'hero_vm_memory_bytes{labels}'] < 2 << 30
    assert before[f'hero_vm_cpus{labels}'] == host.get('alice', 'CPUs')

    # What the guest receives it answers: there is nobody at that port.
    host.run(['python3', '-c', SEND, host.get('alice', 'MyceliumIP')])
    wait_until(lambda: series(host)[f'hero_vm_network_receive_bytes_total{labels}'] - before[f'hero_vm_network_receive_bytes_total{labels}'] > 20000,
               'what it received is counted')
    after = series(host)
    sent = f'hero_vm_network_transmit_bytes_total{labels}'
    assert 500 < after[sent] - before[sent] < after[f'hero_vm_network_receive_bytes_total{labels}']
    tap = host.get('alice', 'TAPDevice')
    assert after[f'hero_vm_network_receive_bytes_total{labels}'] <= int(host.run(f'cat /sys/class/net/{tap}/statistics/tx_bytes').out)

    row = latest(host, 'alice')
    assert row['user'] == 'alice' and row['state'] == 'running' and row['cpu-percent'] is not None and row['memory'] > 0
    assert 'alice' in host.run(['heroctl', 'top'], user='bob').out
    id = host.get('alice', 'Id')
    host.heroctl('deprovision', 'alice')
    wait_until(lambda: latest(host, 'alice') is None, 'the VM is gone')
    start = int((time.time() - 600) * 1e6)
    answer = json.loads(host.busctl('--json=short', 'call', *METRICS, 'Query', 'sttt', id, str(start), '0', '0').out)['data']
    assert answer[0] == id and answer[1] == 1000000 and len(answer[3]) > 3
    cpu = [p[1][answer[2].index('cpu_percent')] for p in answer[3]]
    assert max(v for v in cpu if not isinstance(v, str) and not math.isnan(v)) > 10


def test_it_outlives_the_manager_and_is_brought_back(host, often, restarts):
    host.mock('db')
    wait_until(lambda: (latest(host, 'db') or {}).get('memory'), 'the VM is measured')
    host.restart_daemon()
    wait_until(lambda: series(host).get('hero_metrics_up') == 1, 'it heard of the restart')
    wait_until(lambda: (latest(host, 'db') or {}).get('memory'), 'the VM is measured')
    pid = host.unit('hero-metricsd', 'MainPID')
    host.run(f'kill -KILL {pid}')
    wait_until(lambda: host.unit('hero-metricsd', 'MainPID') not in ('0', pid), 'it is back')
    wait_until(lambda: (latest(host, 'db') or {}).get('memory'), 'the VM is measured')


def test_prometheus_scrapes_it(host, often):
    host.mock('shop', '--user=carol')
    host.run('systemctl stop hero-rpcd.service; systemctl start hero-rpcd-tcp.socket')
    try:
        head = host.run(['curl', '-sSi', 'http://127.0.0.1:3389/metrics']).out
        assert 'HTTP/1.1 200' in head and 'text/plain; version=0.0.4' in head
        host.run(['mkdir', '-p', '/tmp/prometheus'])
        host.run(['tee', '/tmp/prometheus/config.yml'], input=PROMETHEUS)
        host.run('promtool check config /tmp/prometheus/config.yml; curl -sS http://127.0.0.1:3389/metrics | promtool check metrics')
        pid = host.run('prometheus --config.file=/tmp/prometheus/config.yml --storage.tsdb.path=/tmp/prometheus/data '
                       '--web.listen-address=127.0.0.1:9099 >/tmp/prometheus/log 2>&1 & echo $!').out.strip()
        try:
            def query(text):
                out = host.run(['curl', '-sS', '--get', '--data-urlencode', f'query={text}', 'http://127.0.0.1:9099/api/v1/query'], check=False)
                return json.loads(out.out)['data']['result'] if out.status == 0 and out.out.startswith('{') else []
            wait_until(lambda: query('up{job="hero-compute"} == 1'), 'Prometheus reads the host', timeout=60)
            wait_until(lambda: query('hero_vm_cpu_seconds_total{vm="shop",user="carol"}'), 'it has the VM', timeout=30)
            assert query('hero_vms{state="running"}')[0]['value'][1] == '1'
            wait_until(lambda: query('rate(hero_metrics_passes_total[10s]) > 0'), 'a rate can be told', timeout=30)
            assert query('hero_vm_info{vm="shop"}')[0]['metric']['state'] == 'running'
        finally:
            host.run(f'kill {pid}; while kill -0 {pid} 2>/dev/null; do sleep 0.1; done; rm -r /tmp/prometheus')
    finally:
        host.run('systemctl stop hero-rpcd-tcp.socket hero-rpcd.service; systemctl start hero-rpcd.socket', check=False)


def test_json_rpc_has_it(host, often):
    host.mock('till', '--user=dora')

    def ask(user='root', **params):
        body = json.dumps({'jsonrpc': '2.0', 'id': 1, 'method': 'vm.metrics.query', 'params': {'vm_id': 'till', **params}})
        return json.loads(host.run(['curl', '-sS', '--unix-socket', '/run/hero-compute/rpc.sock', '-H', 'Content-Type: application/json',
                                    '-d', body, 'http://localhost/rpc'], user=user).out)
    wait_until(lambda: ask().get('result', {}).get('points'), 'there are points', timeout=30)
    result = ask()['result']
    assert result['vm_id'] == host.get('till', 'Id') and result['interval_secs'] == 1
    point = result['points'][-1]
    assert abs(time.mktime(time.strptime(point['timestamp'], '%Y-%m-%dT%H:%M:%SZ')) - time.mktime(time.gmtime())) < 60
    assert point['cpu_percent'] >= 0 and isinstance(point['memory_bytes'], int)
    only = ask(metric='cpu_percent', step=3600)['result']
    assert only['interval_secs'] == 3600 and all(set(p) == {'timestamp', 'cpu_percent'} for p in only['points'])
    assert ask(**{'from': '2020-01-01T00:00:00Z', 'to': '2020-01-02T00:00:00Z'})['result']['points'] == []
    assert 'There is no metric' in ask(metric='cpu')['error']['data']['detail']
    assert 'must be a time' in ask(**{'from': 'yesterday'})['error']['data']['detail']
    assert ask(user='bob')['error']['data']['name'] == 'PermissionDenied'
