# SPDX-License-Identifier: Apache-2.0
"""heroctl against the fake service: verbs, errors, statuses, JSON."""

import ast
import json
import os
import re
import subprocess
import time

from heroctl_fixtures import *


def test_without_arguments_it_lists(bus):
    text = bus.text()
    assert text == bus.text('list')
    assert text.splitlines()[0].split() == ['NAME', 'USER', 'STATE', 'IMAGE', 'CPUS', 'MEMORY', 'ADDRESS']
    assert 'alice    alice running   busybox    1   256M fd12::' in text
    assert text.endswith('\n10 VMs listed.\n')
    assert bus.text('list', '--users').endswith('\n1 user listed.\n')


def test_a_long_list_has_every_address(bus):
    for i in range(70):  # more than are asked for at a time
        bus.text('create', f'many-{i}', '--no-wait', *(['--no-network'] if i % 2 else []))
    vms = {v['name']: v for v in json.loads(bus.text('list', '--json'))}
    assert len(vms) == 80
    for i in range(70):
        address = vms[f'many-{i}']['address']
        assert (address is None) if i % 2 else address == json.loads(bus.text('status', f'many-{i}', '--json', check=3))['mycelium-ip']


def test_no_legend_leaves_out_headings_and_total(bus):
    lines = bus.text('list', '--no-legend').splitlines()
    assert len(lines) == 10 and lines[0].startswith('alice')


def test_quiet_list_is_names_alone(bus):
    assert bus.text('-q').split() == ['alice', 'broken-1', 'crash-1', 'db', 'dbus-1', 'firm-1', 'sick', 'slow-1',
                                      'stuck-1', 'web']
    assert bus.text('list', '--users', '-q') == 'alice\n'


def test_json_is_an_array_of_objects(bus):
    vms = json.loads(bus.text('list', '--json'))
    web = next(v for v in vms if v['name'] == 'web')
    assert web == {'name': 'web', 'user': None, 'state': 'running', 'image': 'busybox', 'cpus': 1, 'memory': 268435456,
                   'address': web['address'], 'object': '/org/hero/Compute/vm/web'}
    assert web['address'].startswith('fd12::')
    short = bus.text('list', '--json=short')
    assert short.count('\n') == 1 and json.loads(short) == vms
    assert json.loads(bus.text('list', '--users', '--json'))[0]['vm'] == 'alice'


def test_json_may_stand_before_the_verb(bus):
    assert json.loads(bus.text('--json=short', 'list')) == json.loads(bus.text('list', '--json=short'))


def test_empty_json_list_is_an_array(bus):
    bus.text('deprovision', 'alice')
    assert json.loads(bus.text('list', '--users', '--json')) == []


def test_status_shows_a_vm_and_its_console_safely(bus):
    text = bus.text('status', 'web')
    assert text.startswith('web - ')
    assert 'State: running since 2026-' in text
    assert 'Main PID: 4711 (uid 61000)' in text
    assert 'Resources: 1 CPU, 256M memory, 1G disk' in text
    assert 'Last start: scope +5ms, VMM +9ms, monitor +60ms, kernel +1.3s, agent +1.5s' in text
    assert 'pending → running: made' in text
    assert '| first line' in text and '| third? line' in text
    assert '\x1b' not in text, 'a guest must not reach the terminal'


def test_status_of_a_stopped_vm_exits_with_3(bus):
    r = bus.run('status', 'db', check=3)
    assert 'State: stopped since 2026-' in r.stdout.decode()


def test_status_json_is_one_object(bus):
    o = json.loads(bus.text('status', 'web', '--json'))
    assert o['name'] == 'web' and o['pid'] == 4711 and o['agent-ready'] is True and o['agent-usec'] == 1500000
    assert o['created'] == '2026-11-18T11:06:40Z' and o['stopped'] is None and o['exit-code'] == -1 and o['exit-reason'] is None and o['job'] is None


def test_status_without_a_vm_is_the_host(bus):
    text = bus.text('status')
    assert 'CPUs: 3 of 8 promised, 5 left' in text
    assert 'Memory: 1G of 4G promised, 3G left' in text
    assert 'lost: vm.json, line 3' in text
    assert '      Network: fd12::/64 (local), 10.104.0.0/16\n' in text
    o = json.loads(bus.text('status', '--json'))
    assert o['memory-total'] == 4 << 30 and o['quarantined'] == 1


def test_create_passes_the_whole_spec(bus):
    assert bus.text('create', 'new', '--image', 'busybox', '--cpus=2', '--memory', '512M', '--disk', '2G', '--hypervisor',
                    'mock', '--user', 'bob', '-e', 'A=1', '-e', 'B=2', '-w', '/srv', '--kernel-arguments', 'quiet',
                    '--mock-script', 'crash', '--', 'sleep', '-x', '5') == 'new\n'
    spec = ast.literal_eval(bus.calls()[0].removeprefix('spec '))
    assert spec == {'CPUs': '2', 'Command': ['sleep', '-x', '5'], 'Disk': str(2 << 30), 'Environment': ['A=1', 'B=2'],
                    'Hypervisor': 'mock', 'Image': 'busybox', 'KernelArguments': 'quiet', 'Memory': str(512 << 20),
                    'MockScript': 'crash', 'User': 'bob', 'WorkingDirectory': '/srv'}
    assert 'configured' in bus.text('list')


def test_network_and_sleep_are_part_of_the_spec(bus):
    bus.text('create', 'new', '--receive-max=2M', '--transmit-max', 'max', '--idle-timeout=10min', '--hibernate-delay=never')
    bus.text('provision', 'bob', '--no-network', '--idle-timeout', 'never')
    bus.text('run', '-d', '--name=server', '--no-network', '--hibernate-delay=1h', 'busybox', 'true')
    specs = [ast.literal_eval(c.removeprefix('spec ')) for c in bus.calls() if c.startswith('spec ')]
    never = str(2**64 - 1)
    assert specs[0] == {'NetworkReceiveMax': str(2 << 20), 'NetworkTransmitMax': never, 'IdleTimeoutUSec': '600000000',
                        'HibernateDelayUSec': never}
    assert specs[1] == {'Network': '0', 'IdleTimeoutUSec': never}
    assert specs[2]['Network'] == '0' and specs[2]['HibernateDelayUSec'] == '3600000000'
    for option in ('--receive-max=0', '--receive-max=never', '--idle-timeout=max', '--idle-timeout=0', '--transmit-max=much'):
        assert 'Option --' in bus.error('create', 'x', option, check=2)
    assert 'nothing to limit' in bus.error('create', 'x', '--no-network', '--receive-max=1M', check=2)


def test_command_option_goes_to_a_shell(bus):
    bus.text('provision', 'bob', '--name', 'bobs', '--command', 'echo hi')
    assert "'Command': ['/bin/sh', '-c', 'echo hi'], 'Name': 'bobs'" in bus.calls()[0]


def test_provision_prints_the_vm_and_json_does_too(bus):
    assert bus.text('provision', 'carol') == 'carol\n'
    o = json.loads(bus.text('provision', 'dave', '--json', '--no-wait'))
    assert o['name'] == 'dave' and o['job'].startswith('/org/hero/Compute/job/')
    assert bus.text('provision', 'erin', '-q') == ''


def test_lifecycle_verbs_take_several_names_and_prefixes(bus):
    bus.text('start', 'db', 'slow-1')
    assert bus.text('wait', 'slow') == 'running\n'
    bus.text('suspend', 'web')
    assert 'suspended' in bus.text('status', 'web', check=3)
    bus.text('resume', 'web')
    bus.text('restart', 'web')
    bus.text('stop', 'web')
    bus.text('stop', 'db', '--force')
    bus.text('delete', '-f', 'db')
    assert bus.calls() == ['Start db', 'Start slow-1', 'Stop web 0', 'Stop db 1', 'Delete db 1']
    assert 'db' not in bus.text('list', '-q').split()


def test_a_vm_sleeps_on_disk_and_wakes(bus):
    bus.text('hibernate', 'web', 'dbus-1')
    assert bus.text('wait', 'web', '--state=hibernated') == 'hibernated\n'
    text = bus.text('status', 'web', check=3)
    assert re.search(r'     Asleep: hibernated .* ago \(64M kept in memory, too\); wakes on the first packet\n', text)
    assert bus.text('exec', 'web', 'echo', 'awake') == 'awake\n'
    bus.text('resume', 'dbus-1')
    assert bus.text('wait', 'dbus-1') == 'running\n'
    bus.text('hibernate', 'web')
    assert 'broken-1' in bus.error('hibernate', 'broken-1', check=1)
    bus.text('stop', '--all')
    assert 'Stop web 0' in bus.calls()


def test_activity_can_be_told(bus):
    bus.text('touch', 'web', 'db')
    bus.text('hold', 'web', '2h')
    bus.text('hold', 'web', '0')
    bus.text('set-idle', 'web', '--idle-timeout=never')
    bus.text('set-idle', 'web', '--idle-timeout=10min', '--hibernate-delay=never')
    assert bus.calls() == ['Touch web', 'Touch db', 'Hold web 7200000000', 'Hold web 0',
                           f'SetIdlePolicy web IdleTimeoutUSec={2**64 - 1}',
                           f'SetIdlePolicy web HibernateDelayUSec={2**64 - 1} IdleTimeoutUSec=600000000']
    bus.error('touch', 'nosuch', check=4)
    bus.error('set-idle', 'web', check=2)
    assert 'is not a time span' in bus.error('hold', 'web', 'long', check=2)


def test_status_says_why_it_is_awake_and_when_it_sleeps(bus):
    text = bus.text('status', 'web')
    assert re.search(r'       Idle: since 2min [3-9]s, will be suspended in 2min 5\ds\n', text)
    assert '  When idle: suspended after 5min 0s, hibernated 1h 0min later\n' in text
    for name, line in (('busy-1', 'Awake: 12 KB of network traffic in the last 10s'),
                       ('held-1', 'Awake: held for another 9min 5')):
        bus.text('provision', name)
        assert f'      {line}' in bus.text('status', name)
    bus.text('set-idle', 'web', '--idle-timeout=never')
    assert 'is not suspended by itself\n  When idle: never suspended\n' in bus.text('status', 'web').replace('\n\n', '\n')
    assert re.search('Asleep: suspended .* ago, will be hibernated in 5.min .*s; wakes on the first packet',
                     bus.text('status', 'dbus-1', check=3))


def test_status_shows_the_network(bus):
    bus.text('set-resources', 'web', '--receive-max=2M', '--transmit-max=512K')
    text = bus.text('status', 'web')
    assert re.search('    Network: tap-[0-9a-f]{8}\n  Addresses: fd12::[0-9a-f]{4}:[0-9a-f]{4}, 10.104.0.2/32\n'
                     '      Rates: receives at most 2M/s, sends at most 512K/s\n', text)
    bus.text('set-resources', 'web', '--receive-max=max')
    assert 'Rates: sends at most 512K/s\n' in bus.text('status', 'web')
    o = json.loads(bus.text('status', 'web', '--json'))
    assert o['network-receive-max'] is None and o['network-transmit-max'] == 512 << 10
    assert o['tap-device'].startswith('tap-') and o['ip-address'] == '10.104.0.2/32' and o['mycelium-ip'].startswith('fd12::')
    assert o['idle-timeout-usec'] == 300000000 and o['awake-reason'] is None and o['held-until'] is None
    assert o['idle-since'].startswith('20') and o['sleeps'].startswith('20')
    bus.text('create', 'alone', '--no-network')
    text = bus.text('status', 'alone', check=3)
    assert 'Network' not in text and 'Addresses' not in text
    alone = next(v for v in json.loads(bus.text('list', '--json')) if v['name'] == 'alone')
    assert alone['address'] is None


def test_whois(bus):
    address = json.loads(bus.text('status', 'alice', '--json'))['mycelium-ip']
    assert bus.text('whois', address, '--no-legend').split() == [address, 'alice', 'alice']
    assert bus.text('whois', '10.104.0.9', '-q') == 'alice\n'
    o = json.loads(bus.text('whois', address, '--json'))
    assert o == {'address': address, 'user': 'alice', 'vm': 'alice', 'object': '/org/hero/Compute/vm/alice'}
    assert 'No VM has the address' in bus.error('whois', 'fd12::77', check=4)


def test_stop_all_stops_what_is_up_and_nothing_else(bus):
    bus.text('stop', '--all')
    assert bus.calls() == ['Stop alice 0', 'Stop dbus-1 0', 'Stop web 0']
    bus.text('stop', '--all')
    assert bus.calls() == []
    bus.error('stop', '--all', 'web', check=2)
    bus.error('stop', check=2)


def test_delete_touches_nothing_else(bus):
    before = bus.text('list', '-q').split()
    bus.text('delete', 'web')
    before.remove('web')
    assert bus.text('list', '-q').split() == before


def test_one_bad_name_does_not_hold_up_the_others(bus):
    e = bus.error('start', 'nosuch', 'db', check=4)
    assert e == "Failed to start VM 'nosuch': there is no VM 'nosuch'.\nSee 'heroctl list'.\n"
    assert bus.text('wait', 'db') == 'running\n'


def test_errors_are_a_sentence_and_a_hint_with_a_status(bus):
    assert bus.error('start', 'web', check=1) == (
        "Failed to start VM 'web': VM 'web' is running already.\nSee 'heroctl status VM' for its state.\n")
    assert "Failed to start VM 'st': there is no" not in bus.error('start', 's', check=1)
    assert "'s' is the beginning of 3 VMs.\n" in bus.error('start', 's', check=1)
    assert bus.error('create', 'NotAName', check=2).startswith("Failed to create VM 'NotAName': 'NotAName' is not a name")
    assert "no image 'nope'.\nCheck its name and tag;" in bus.error('create', 'x', '--image', 'nope', check=4)
    assert 'UserHasVM' not in bus.error('provision', 'alice', check=1)
    assert "user 'nobody' has no VM" in bus.error('deprovision', 'nobody', check=4)
    assert 'polkit' in bus.error('provision', 'denied', check=5)


def test_failed_job_is_reported_with_its_sentence(bus):
    assert bus.error('start', 'broken-1', check=1) == (
        "Failed to start VM 'broken-1': the hypervisor ended with status 1.\n"
        "'heroctl logs VM' and 'journalctl -u hero-computed' have the details.\n")


def test_service_that_is_not_there(empty_bus):
    e = empty_bus.error('list', check=6)
    assert e == "Failed to list VMs: the service is not running.\nStart it with 'systemctl start hero-computed'.\n"


def test_bus_that_is_not_there(bus):
    bus.environment['DBUS_SYSTEM_BUS_ADDRESS'] = 'unix:path=/nonexistent/bus'
    assert bus.error('list', check=6).startswith('Failed to connect to the system bus: No such file')


def test_a_service_that_is_started_by_the_call_was_not_restarted(empty_bus):
    empty_bus.start_on_demand()
    assert empty_bus.text('start', 'slow-1') == ''
    assert empty_bus.calls()


def test_a_service_that_is_restarted_during_a_job_undoes_it(bus):
    assert bus.error('start', 'crash-1', check=1) == (
        "Failed to start VM 'crash-1': the service was restarted while it was at work, and the VM is stopped: because\n")
    assert bus.error('create', 'crash-new', check=1) == (
        "Failed to create VM 'crash-new': the service was restarted while it was at work, and there is no VM any more.\n")
    assert bus.text('stop', 'crash-1') == ''  # by whatever
    assert "and the VM is stopped" in bus.error('delete', 'crash-1', check=1)


def test_a_service_that_is_restarted_during_a_job_finishes_it(bus):
    assert bus.text('provision', 'adopt-1') == 'adopt-1\n'
    for verb in ('suspend', 'hibernate', 'resume', 'restart', 'stop', 'start'):
        assert bus.text(verb, 'adopt-1') == ''
    assert bus.text('deprovision', 'adopt-1') == ''
    assert 'adopt-1' not in bus.text('list', '-q')


def test_jobs_of_a_service_that_is_restarted_are_told_apart(bus):
    """Their numbers begin again with it."""
    bus.text('create', 'other')
    p = bus.start('provision', 'adopt-1', stderr=subprocess.PIPE)
    while 'crash' not in bus.calls():
        time.sleep(0.02)
    time.sleep(0.4)
    for _ in range(3):
        bus.text('restart', 'web')
    assert p.poll() is None
    assert p.wait(10) == 0, p.stderr.read()
    p.stderr.close()
    assert bus.text('wait', 'adopt-1') == 'running\n'


def test_a_service_that_leaves_during_a_job_is_not_waited_for_for_ever(bus):
    e = bus.error('provision', 'leave-1', check=6)
    assert e.startswith("Failed to provision user 'leave-1': the service ended while it was at work.\n")


def test_status_says_how_the_last_run_ended(bus):
    for name, text in (('ended-1', 'its command ended, exit code 3'), ('hit-1', 'its command was killed by SIGKILL, exit code 137'),
                       ('oom-1', 'out of memory: the VMM reached its limit'),
                       ('absent-1', 'its command could not be executed, exit code 127')):
        bus.text('create', name)
        assert f'   Last run: {text}\n' in bus.text('status', name, check=3)
    assert 'Last run' not in bus.text('status', 'web')


def test_usage_errors_exit_with_2(bus):
    for arguments in (['nonsense'], ['start'], ['list', 'x'], ['status', '--nonsense'], ['create', 'x', '--memory', 'much'],
                      ['wait', 'web', '--timeout', 'soon'], ['--json=tall'], ['image'], ['set-resources', 'web'],
                      ['logs', 'web', '-n', 'few'], ['logs', 'web', '-n', '0']):
        e = bus.error(*arguments, check=2)
        assert e and 'Failed to connect' not in e, arguments


def test_help_needs_no_bus(bus):
    bus.environment['DBUS_SYSTEM_BUS_ADDRESS'] = 'unix:path=/nonexistent/bus'
    assert 'Usage: heroctl' in bus.text('--help') and bus.text('--help') == bus.text('help')
    assert 'Usage: heroctl exec' in bus.text('exec', '--help')
    assert bus.text('--version').startswith('heroctl ')


def test_wait(bus):
    assert bus.text('wait', 'web') == 'running\n'
    assert bus.text('wait', 'web', '--state', 'agent') == 'running\n'
    assert 'Timed out' in bus.error('wait', 'web', '--state', 'stopped', '--timeout', '200ms', check=124)
    assert "VM 'sick' is failed: because" in bus.error('wait', 'sick', check=1)
    assert bus.text('wait', 'sick', '--state', 'stopped,failed') == 'failed\n'
    assert json.loads(bus.text('wait', 'web', '--json'))['timed-out'] is False
    p = bus.start('wait', 'web', '-s', 'stopped', stdout=subprocess.PIPE)
    bus.text('stop', 'web')
    assert p.communicate(timeout=20)[0] == b'stopped\n' and p.returncode == 0


def test_set_resources(bus):
    bus.text('set-resources', 'web', '--cpus', '4', '--memory', '1G', '--disk', '3G', '--cpu-weight', '50', '--io-weight',
             '20')
    assert bus.calls() == [f'SetResources CPUWeight=50 CPUs=4 Disk={3 << 30} IOWeight=20 Memory={1 << 30}']


def test_doctor(bus, tmp_path):
    bus.close()
    tmp_path.joinpath('second').mkdir()
    sick = Bus(tmp_path / 'second', FAKE_SICK=str(tmp_path))
    try:
        text = sick.text('doctor', check=1)
        assert 'kernel' in text and 'No kernel: install linux-image-cloud-amd64.' in text
        checks = {c['check']: c for c in json.loads(sick.text('doctor', '--json', check=1))}
        assert checks['systemd']['result'] == 'error' and checks['service']['result'] == 'ok'
        assert checks['images']['result'] == 'ok' and checks['polkit']['result'] == 'warning'
        assert checks['kvm']['result'] == 'warning'
        assert checks['tun']['result'] == ('ok' if os.path.exists('/dev/net/tun') else 'error')
        assert 'forwarding' in checks and 'nftables' in checks
    finally:
        sick.close()


def test_doctor_without_a_service(empty_bus):
    checks = {c['check']: c for c in json.loads(empty_bus.text('doctor', '--json', check=1))}
    assert 'systemctl start hero-computed' in checks['service']['message']
    assert checks['images']['result'] == 'error'


def test_full_output_device_is_an_error(bus):
    with open('/dev/full', 'w') as full:
        r = subprocess.run([HEROCTL, 'list'], env=bus.environment, stdout=full, stderr=subprocess.PIPE)
    assert r.returncode == 1 and b'No space left' in r.stderr
