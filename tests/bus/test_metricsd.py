# SPDX-License-Identifier: Apache-2.0
"""hero-metricsd on a private bus: what it measures of VMs, tells and remembers."""

import json
import math
import os
import pathlib
import re
import sqlite3
import subprocess
import time
import xml.etree.ElementTree as ElementTree

import pytest
from gi.repository import Gio, GLib

from heroctl_fixtures import Terminal
from imaged_fixtures import wait_for
from metricsd_fixtures import BUILD, ERROR, HERE, INTERFACE, MIB, OBJECT, PROPERTIES, Host

XML = HERE.parent.parent / 'dbus/org.hero.Compute.Metrics.xml'


@pytest.fixture
def host(tmp_path):
    h = Host(tmp_path)
    yield h
    h.close()


@pytest.fixture
def bus(host):
    return host.connect()


def passes(bus):
    return bus.series()['hero_metrics_passes_total']


def next_pass(bus, n=1):
    """A pass that began after now has ended."""
    end = passes(bus) + n + 1
    wait_for(lambda: passes(bus) >= end)


def wait_sampled(bus, name):
    wait_for(lambda: bus.latest().get(name, {}).get('time', 0) > 0)


def test_a_vm_that_does_not_run_is_listed_without_numbers(host, bus):
    id = host.computed.add('web', User='alice')
    wait_for(lambda: 'web' in bus.latest())
    vm = bus.latest()['web']
    assert (vm['id'], vm['user'], vm['state'], vm['time'], vm['cpus'], vm['memory_limit_bytes']) == (id, 'alice', 'stopped', 0, 2, 256 * MIB)
    assert all(math.isnan(v) for k, v in vm.items() if k.startswith(('cpu_', 'memory_b', 'network', 'disk', 'io_')))
    assert bus.query('web')[2] == []


def test_rates_are_of_the_time_between_two_passes(host, bus):
    host.run_vm('web')
    wait_sampled(bus, 'web')
    seen = []
    cpu, begin = 0, time.monotonic()
    while len(seen) < 4:  # half a CPU, as steadily as a test can write it
        time.sleep(0.05)
        elapsed = time.monotonic() - begin
        host.used('web', cpu + int(elapsed * 500000), memory=100 * MIB, read=int(elapsed * MIB), pressure=int(elapsed * 100000))
        vm = bus.latest()['web']
        if not math.isnan(vm['cpu_percent']) and vm['time'] not in [v['time'] for v in seen]:
            seen.append(vm)
        assert elapsed < 20
    vm = seen[-1]
    assert vm['cpu_percent'] == pytest.approx(50, abs=15)
    assert vm['disk_read_bytes_per_second'] == pytest.approx(MIB, rel=0.3)
    assert vm['disk_reads_per_second'] == pytest.approx(256, rel=0.3)
    assert vm['cpu_pressure_percent'] == vm['memory_pressure_percent'] == pytest.approx(10, abs=3)
    assert vm['memory_bytes'] == vm['memory_max_bytes'] == 100 * MIB
    assert vm['disk_write_bytes_per_second'] == 0
    assert math.isnan(vm['network_receive_bytes_per_second'])
    assert abs(vm['time'] / 1e6 - time.time()) < 5


def test_counters_that_go_back_are_no_negative_rate(host, bus):
    host.run_vm('web', cpu=10**9)
    wait_sampled(bus, 'web')
    next_pass(bus)
    host.used('web', 5 * 10**8)
    next_pass(bus)
    assert bus.latest()['web']['cpu_percent'] == 0
    assert all(p['cpu_percent'] >= 0 for p in bus.query('web')[2])
    assert bus.series()['hero_vm_cpu_seconds_total{vm="web",user=""}'] == 500


def test_a_vm_that_is_started_again_is_counted_from_nothing(host, bus):
    host.run_vm('web', cpu=100000)
    wait_sampled(bus, 'web')
    host.computed.change('web', State='stopped', PID=0)
    wait_for(lambda: bus.latest()['web']['time'] == 0)
    assert math.isnan(bus.latest()['web']['cpu_percent'])
    next_pass(bus)
    host.used('web', 300000)
    host.computed.change('web', State='running', PID=os.getpid())
    wait_sampled(bus, 'web')
    assert 20 < bus.latest()['web']['cpu_percent'] < 31  # 0.3 s in a pass of 1 s
    points = bus.query('web')[2]
    assert max(p['cpu_percent'] for p in points) < 31


def test_a_vm_made_while_it_watches_is_counted_from_its_beginning(host, bus):
    wait_for(lambda: bus.series()['hero_metrics_up'] == 1)
    next_pass(bus)
    host.run_vm('new', cpu=200000)
    wait_sampled(bus, 'new')
    assert 10 < bus.latest()['new']['cpu_percent'] < 21


def test_what_ran_before_it_watched_is_not_taken_for_a_rate(tmp_path):
    host = Host(tmp_path, start=False)
    try:
        host.run_vm('old', cpu=10**12)
        host.start()
        bus = host.connect()
        wait_sampled(bus, 'old')
        wait_for(lambda: not math.isnan(bus.latest()['old']['cpu_percent']))
        assert bus.latest()['old']['cpu_percent'] == 0
    finally:
        host.close()


def test_network_is_told_as_the_vm_sees_it(host, bus):
    host.tap('tap-0a0b0c0d')
    host.run_vm('web', TAPDevice='tap-0a0b0c0d')
    wait_sampled(bus, 'web')
    labels = '{vm="web",user=""}'
    before = bus.series()
    assert before[f'hero_vm_network_transmit_packets_total{labels}'] >= 0
    host.send('tap-0a0b0c0d', 1000, 50)
    wait_for(lambda: bus.series()[f'hero_vm_network_transmit_bytes_total{labels}'] - before[f'hero_vm_network_transmit_bytes_total{labels}'] >= 50000)
    after = bus.series()
    assert after[f'hero_vm_network_transmit_packets_total{labels}'] - before[f'hero_vm_network_transmit_packets_total{labels}'] == 50
    # The kernel's own router solicitations go the other way.
    assert after[f'hero_vm_network_receive_bytes_total{labels}'] < 5000
    wait_for(lambda: any(p['network_transmit_packets_per_second'] > 20 for p in bus.query('web')[2]))


def test_a_link_made_anew_is_counted_from_nothing(host, bus):
    host.tap('tap-1')
    host.send('tap-1', 1000, 500)
    host.run_vm('web', TAPDevice='tap-1')
    wait_sampled(bus, 'web')
    next_pass(bus)
    host.remove_tap('tap-1')
    next_pass(bus)
    assert 'hero_vm_network_transmit_bytes_total{vm="web",user=""}' not in bus.series()
    begin = time.time() * 1e6
    host.tap('tap-1')
    host.send('tap-1', 1000, 3)
    wait_for(lambda: bus.series().get('hero_vm_network_transmit_bytes_total{vm="web",user=""}', 0) >= 3000)

    def rates():
        sent = [p['network_transmit_bytes_per_second'] for p in bus.query('web')[2] if p['time'] >= begin - 1500000]
        return [v for v in sent if not math.isnan(v)]
    wait_for(lambda: max(rates(), default=0) > 500)  # it is written beside the loop
    assert max(rates()) < 10000


def test_without_controllers_there_is_what_the_kernel_counts_anyway(host, bus):
    host.cgroup('bare', cpu_stat='usage_usec 1000000\nuser_usec 900000\nsystem_usec 100000\n')
    host.computed.add('bare', State='running', PID=os.getpid())
    wait_sampled(bus, 'bare')
    series = bus.series()
    assert series['hero_vm_cpu_seconds_total{vm="bare",user=""}'] == 1
    assert series['hero_vm_memory_bytes{vm="bare",user=""}'] > MIB  # of the process, here this test
    assert not [s for s in series if re.match(r'hero_vm_(disk|cpu_throttled|.*pressure|memory_(peak|anon|file))', s)]


def test_a_vm_elsewhere_is_found_by_its_process(host, bus):
    process = subprocess.Popen(['sleep', '60'])
    try:
        unit = pathlib.Path('/proc/self/cgroup').read_text()
        path = re.search('^0::/(.*)$', unit, re.M)[1]
        host.computed.add('web', State='running', PID=process.pid, Unit=os.path.basename(path) or 'none.scope')
        host.cgroup('web', slice=os.path.dirname(path), cpu_stat='usage_usec 7000000\n')
        wait_for(lambda: 'web' in bus.latest())
        next_pass(bus)
        # Where this runs in the root of all cgroups there is no unit it could be in.
        assert (bus.latest()['web']['time'] > 0) == (os.path.basename(path) != '' and (host.cgroups / path / 'cpu.stat').exists())
    finally:
        process.kill()
        process.wait()


def test_history_outlives_the_vm_and_the_daemon(host, bus):
    id = host.run_vm('gone', cpu=10**6)
    wait_for(lambda: len(bus.query('gone')[2]) >= 2)
    assert bus.query('gone')[0] == bus.query(id)[0] == id
    host.computed.remove('gone')
    wait_for(lambda: 'gone' not in bus.latest())
    assert len(bus.query('gone')[2]) >= 2
    host.stop()
    host.start()
    bus = host.connect()
    found, step, points = bus.query('gone')
    assert found == id and len(points) >= 2 and points == sorted(points, key=lambda p: p['time'])
    assert [p['time'] for p in bus.query(id)[2]] == [p['time'] for p in points]


def test_a_new_vm_of_the_same_name_has_its_own_history(host, bus):
    first = host.run_vm('web')
    wait_for(lambda: len(bus.query('web')[2]) >= 1)
    host.computed.remove('web')
    second = host.run_vm('web', Id='0123456789ab')
    wait_for(lambda: 'web' in bus.latest())
    assert bus.query('web')[0] == '0123456789ab' and second == '0123456789ab'
    assert len(bus.query(first)[2]) >= 1


def test_points_are_as_coarse_as_wanted(host, bus):
    host.run_vm('web')
    wait_for(lambda: len(bus.query('web')[2]) >= 3, 30)
    now = int(time.time() * 1e6)
    fine = bus.query('web', now - 60 * 10**6)
    assert fine[1] == 10**6
    coarse = bus.query('web', now - 60 * 10**6, step=3600 * 10**6)
    assert coarse[1] == 3600 * 10**6 and 1 <= len(coarse[2]) <= 2
    assert all(p['time'] % (3600 * 10**6) == 0 for p in coarse[2])
    assert bus.query('web', 0)[1] == 3600 * 10**6  # since 1970
    assert bus.query('web', now - 3600 * 10**6)[1] == 10**6
    assert bus.query('web', now - 7200 * 10**6)[1] == 60 * 10**6


def error_of(function, *arguments):
    with pytest.raises(GLib.Error) as e:
        function(*arguments)
    return Gio.DBusError.get_remote_error(e.value), e.value.message.split(': ', 1)[1]


def test_what_cannot_be_asked(host, bus):
    now = int(time.time() * 1e6)
    assert error_of(bus.query, 'nobody') == (ERROR + 'NoSuchVM', 'There is no VM "nobody", and no history of one.')
    assert error_of(bus.query, '')[0] == ERROR + 'NoSuchVM'
    host.computed.add('web')
    wait_for(lambda: 'web' in bus.latest())
    assert error_of(bus.query, 'web', now, now - 1)[0] == ERROR + 'InvalidArgument'
    assert error_of(bus.query, 'web', now + 10**9)[0] == ERROR + 'InvalidArgument'
    assert bus.query('web', 0, 2**64 - 1, 2**64 - 1)[2] == []
    assert bus.query('web', 0, 2**64 - 1, 1)[1] == 1000


def test_prometheus_text_is_well_formed(host, bus):
    host.run_vm('web', User='a"b\\c\nd', TAPDevice='')
    wait_sampled(bus, 'web')
    text = bus.export()
    assert text.endswith('\n')
    help, types, last = set(), {}, None
    for line in text.splitlines():
        if m := re.fullmatch(r'# HELP (\w+) \S.*', line):
            assert m[1] not in help
            help.add(m[1])
        elif m := re.fullmatch(r'# TYPE (\w+) (counter|gauge)', line):
            assert m[1] not in types and m[1] in help
            types[m[1]] = m[2]
        else:
            m = re.fullmatch(r'(hero_\w+)(\{(\w+="(\\.|[^"\\])*",?)+\})? (\d+(\.\d+)?)', line)
            assert m and m[1] in types, line
            assert (types[m[1]] == 'counter') == m[1].endswith('_total')
    assert 'hero_vm_cpus{vm="web",user="a\\"b\\\\c\\nd"} 2' in text.splitlines()
    assert 'hero_vms{state="running"} 1' in text.splitlines()
    assert 'hero_vms{state="start-failed"} 0' in text.splitlines()


def test_it_goes_on_while_hero_computed_is_away(host, bus):
    host.run_vm('web')
    host.run_vm('lost')
    wait_sampled(bus, 'web')
    host.computed.leave()
    wait_for(lambda: bus.series()['hero_metrics_up'] == 0)
    before = len(bus.query('web')[2])
    wait_for(lambda: len(bus.query('web')[2]) > before)
    del host.computed.vms['lost']
    host.computed.come_back()
    wait_for(lambda: set(bus.latest()) == {'web'})
    assert bus.series()['hero_metrics_up'] == 1
    assert bus.latest()['web']['time'] > 0


def test_a_broken_history_is_put_aside(host, bus):
    host.run_vm('web')
    wait_for(lambda: len(bus.query('web')[2]) >= 1)
    host.stop()
    path = host.state / 'history.db'
    path.write_bytes(b'this is not a database' * 1000)
    host.start()
    bus = host.connect()
    wait_sampled(bus, 'web')
    wait_for(lambda: len(bus.query('web')[2]) >= 1)
    assert (host.state / 'history.db.broken').read_bytes().startswith(b'this is not')
    assert 'is broken. It is put aside' in host.log()


def test_a_table_that_breaks_is_noticed_at_the_next_pass(host, bus):
    host.run_vm('web')
    wait_for(lambda: len(bus.query('web')[2]) >= 1)
    host.stop()
    with sqlite3.connect(host.state / 'history.db') as db:
        page = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'fine'").fetchone()[0]
    with open(host.state / 'history.db', 'r+b') as f:
        f.seek((page - 1) * 4096)
        f.write(b'garbage!' * 512)
    host.start()
    bus = host.connect()
    wait_for(lambda: (host.state / 'history.db.broken').exists())
    wait_for(lambda: len(bus.query('web')[2]) >= 2)
    assert 'History is on the disk again' in host.log()
    assert (host.state / 'history.db').exists()


def test_a_full_disk_keeps_history_in_memory(tmp_path):
    (tmp_path / 'state').mkdir()
    subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', tmp_path / 'state'], check=True)
    try:
        host = FullHost(tmp_path)
        try:
            bus = host.connect()
            host.run_vm('web')
            wait_for(lambda: len(bus.query('web')[2]) >= 1)
            filler = host.state / 'filler'
            with open(filler, 'wb', buffering=0) as f:
                try:
                    while True:
                        f.write(bytes(4096))
                except OSError:
                    pass
            wait_for(lambda: 'going on in memory' in host.log(), 60)
            points = bus.query('web')[2]  # by their times, as a minute that is over is one point
            wait_for(lambda: bus.query('web')[2][-1]['time'] > points[-1]['time'])
            kept = bus.query('web')[2]
            filler.unlink()
            wait_for(lambda: 'History is on the disk again' in host.log(), 60)
            after = bus.query('web')[2]
            assert after[0]['time'] <= points[0]['time'] and after[-1]['time'] >= kept[-1]['time']
        finally:
            host.close()
    finally:
        subprocess.run(['umount', tmp_path / 'state'], check=True)


class FullHost(Host):
    """With a state directory that is there already."""

    def __init__(self, directory):
        (directory / 'inner').mkdir()
        super().__init__(directory / 'inner', STATE_DIRECTORY=str(directory / 'state'))
        self.state = directory / 'state'


def test_polkit_is_asked_before_anything_is_told(tmp_path):
    tmp_path.chmod(0o755)
    asked = []
    host = Host(tmp_path)
    try:
        def answer(action, details):
            asked.append((action, details))
            return details['verb'] != 'export-metrics'
        host.play_polkit(answer)
        host.computed.add('web', User='alice')
        wait_for(lambda: 'web' in host.connect().latest())

        def as_nobody(*arguments):
            return subprocess.run(['busctl', '--system', 'call', INTERFACE, OBJECT, INTERFACE, *arguments], env=host.environment,
                                  capture_output=True, text=True, preexec_fn=lambda: (os.setgroups([]), os.setgid(65534), os.setuid(65534)))
        for parent in list(tmp_path.parents)[:2]:
            parent.chmod(0o755)
        assert as_nobody('Latest').returncode == 0
        assert as_nobody('Query', 'sttt', 'web', '0', '0', '0').returncode == 0
        assert 'Access denied' in as_nobody('Export').stderr
        assert asked == [('org.hero.compute.inspect', {'verb': 'latest-metrics'}),
                         ('org.hero.compute.inspect', {'verb': 'query-metrics', 'vm': 'web', 'user': 'alice'}),
                         ('org.hero.compute.inspect', {'verb': 'export-metrics'})]
    finally:
        host.close()


def test_the_interface_is_the_documented_one(host, bus):
    def shape(root):
        i = next(i for i in root.iter('interface') if i.get('name') == INTERFACE)
        return {(e.tag, e.get('name'), e.get('type'), e.get('access'),
                 tuple((a.get('type'), a.get('direction'), a.get('name')) for a in e.iter('arg')))
                for e in i if e.tag in ('method', 'signal', 'property')}
    live = ElementTree.fromstring(bus.call('Introspect', interface='org.freedesktop.DBus.Introspectable')[0])
    assert shape(live) == shape(ElementTree.parse(XML).getroot())
    documented = re.findall(r'^ {9}(\w+(?:_percent|_bytes|_per_second)|cpus)\b', XML.read_text(), re.M)
    assert documented == bus.call('Latest')[0]


def test_configuration_goes_over_the_environment(tmp_path):
    host = Host(tmp_path, start=False, METRICS_INTERVAL_SECS='7')
    try:
        host.start()
        get = lambda: host.connect().call('Get', '(ss)', INTERFACE, 'IntervalUSec', interface=PROPERTIES)[0]
        assert get() == 7 * 10**6
        host.stop()
        (host.config / 'metrics.conf').write_text('[Metrics]\nInterval=2s\nIntervall=3\n[History]\nSpaceMax=1\n')
        host.start()
        assert get() == 2 * 10**6
        assert 'metrics.conf:3: Intervall=: There is no such key' in host.log()
        assert 'metrics.conf:5: SpaceMax=1: Must be a size of at least 8M' in host.log()
    finally:
        host.close()


def test_many_vms_are_sampled_in_one_pass(host, bus):
    for i in range(300):
        host.run_vm(f'vm-{i}', cpu=i)
    wait_for(lambda: len([v for v in bus.latest().values() if v['time'] > 0]) == 300, 30)
    next_pass(bus)
    series = bus.series()
    assert series['hero_metrics_pass_duration_seconds'] < 1
    assert len([s for s in series if s.startswith('hero_vm_cpu_seconds_total')]) == 300
    with sqlite3.connect(f'file:{host.state}/history.db?mode=ro', uri=True) as db:
        wait_for(lambda: db.execute('SELECT max(n) FROM (SELECT count(*) AS n FROM fine GROUP BY time)').fetchone()[0] == 300)


def heroctl(host, *arguments, check=0):
    p = subprocess.run([BUILD / 'src/ctl/heroctl', *arguments], env={**host.environment, 'LC_ALL': 'C.UTF-8'}, capture_output=True, text=True, timeout=30)
    assert p.returncode == check and 'Sanitizer' not in p.stderr, p.stderr
    return p.stdout if check == 0 else p.stderr


def test_top_shows_what_vms_use(host, bus):
    host.computed.add('idle', User='bob')
    for i, name in enumerate(('small', 'large')):
        host.run_vm(name, cpu=300000 * (i + 1))
        host.used(name, 300000 * (i + 1), memory=(2 - i) * 10 * MIB)
    wait_for(lambda: not math.isnan(bus.latest().get('large', {}).get('cpu_percent', math.nan)))
    text = heroctl(host, 'top', '--sort=memory').splitlines()
    assert text[0].split() == ['NAME', 'USER', 'STATE', 'CPU%', 'MEMORY', 'OF', 'RECV/s', 'SENT/s', 'READ/s', 'WRITE/s']
    assert [l.split()[0] for l in text[1:4]] == ['small', 'large', 'idle']
    assert text[1].split()[4:7] == ['20M', '256M', '-'] and text[3].split()[1:6] == ['bob', 'stopped', '-', '-', '256M']
    assert text[-1] == '3 VMs listed.'
    assert [l.split()[0] for l in heroctl(host, 'top', '--sort', 'name', '--no-legend').splitlines()] == ['idle', 'large', 'small']
    rows = {r['name']: r for r in json.loads(heroctl(host, 'top', '--json'))}
    assert rows['idle']['cpu-percent'] is None and rows['idle']['memory'] is None and rows['idle']['memory-limit'] == 256 * MIB
    assert rows['large']['memory'] == 10 * MIB and rows['large']['cpu-percent'] >= 0 and rows['large']['id'] == bus.latest()['large']['id']
    assert 'is not one of cpu, memory' in heroctl(host, 'top', '--sort=size', check=2)


def test_top_without_the_service_says_so(tmp_path):
    host = Host(tmp_path, start=False)
    try:
        assert 'Failed to read what VMs use' in heroctl(host, 'top', check=6)
    finally:
        host.close()


def test_top_is_live_on_a_terminal(host, bus):
    for i in range(60):
        host.computed.add(f'vm-{i:02}')
    wait_for(lambda: len(bus.latest()) == 60)
    t = Terminal(host, 'top', rows=20, columns=90, LC_ALL='C.UTF-8')
    try:
        t.expect(b'60 VMs, by cpu')
        t.expect(b'vm-16')
        assert b'vm-17' not in t.seen and b'\n\n' not in t.seen
        t.type(b'n')
        t.expect(b'60 VMs, by name')
        host.computed.add('aardvark')
        t.expect(b'aardvark')
        t.type(b'q')
        assert t.wait() == 0
        assert t.mode_is_as_before()
    finally:
        t.close()
