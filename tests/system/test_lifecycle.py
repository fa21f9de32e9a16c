# SPDX-License-Identifier: Apache-2.0
"""The whole life of VMs: a real guest once, the mock hypervisor where the guest does not matter."""

import json
import os
import re
import xml.etree.ElementTree as ET

from throwaway import MANAGER, STATE, TOP, wait_until


def transitions(host, name):
    out = host.busctl('--json=short', 'call', *host.vm_object(name), 'GetTransitions').out
    return [(t[2], t[3]) for t in json.loads(out)['data'][0]]


def test_a_user_gets_a_real_guest_runs_a_command_sleeps_wakes_and_goes(host):
    host.heroctl('provision', 'alice', timeout=120)
    assert host.state('alice') == 'running' and host.get('alice', 'AgentReady')
    assert 'hero-busybox' in host.heroctl('exec', 'alice', '--', 'cat', '/etc/os-release').out
    assert host.heroctl('exec', 'alice', '--', 'cat', '/proc/1/comm').out.strip() == 'init'

    host.heroctl('suspend', 'alice')
    assert host.unit('hero-vm-alice.scope', 'FreezerState') == 'frozen'
    host.heroctl('resume', 'alice')
    assert host.unit('hero-vm-alice.scope', 'FreezerState') == 'running'
    assert host.heroctl('exec', 'alice', '--', 'echo', 'awake').out == 'awake\n'

    phases = host.get('alice', 'StartPhases')
    assert all(0 < a <= b for a, b in zip(phases, phases[1:])), phases
    assert transitions(host, 'alice') == [
        ('pending', 'provisioning'), ('provisioning', 'configured'), ('configured', 'starting'),
        ('starting', 'running'), ('running', 'suspending'), ('suspending', 'suspended'),
        ('suspended', 'resuming'), ('resuming', 'running')]
    host.heroctl('deprovision', 'alice')
    assert host.vms() == []


def test_the_guests_clock_is_right_after_a_suspension(host):
    host.heroctl('provision', 'alice', timeout=120)
    host.heroctl('suspend', 'alice')
    host.run('sleep 3')
    host.heroctl('resume', 'alice')
    guest = int(host.heroctl('exec', 'alice', '--', 'date', '+%s').out)
    assert abs(guest - int(host.run('date +%s').out)) <= 1


def test_busctl_alone_can_do_the_whole_life_of_a_vm(host):
    spec = ['a{sv}', 'carol', '4', 'Hypervisor', 's', 'mock', 'User', 's', 'carol',
            'Memory', 't', str(64 << 20), 'Disk', 't', str(16 << 20)]
    host.call(MANAGER, 'CreateVM', 's' + spec[0], *spec[1:])
    vm = host.vm_object('carol')
    host.call(vm, 'Wait', 'ast', '1', 'configured', '20000000')
    for method, arguments, state in (('Start', (), 'running'), ('Suspend', (), 'suspended'),
                                     ('Resume', (), 'running'), ('Stop', ('t', '0'), 'stopped')):
        host.call(vm, method, *arguments)
        answer = json.loads(host.busctl('--json=short', 'call', *vm, 'Wait', 'ast', '1', state, '20000000').out)['data']
        assert answer[0] == state and answer[2] is False, answer
    assert vm[1] in host.busctl('tree', 'org.hero.Compute').out
    host.call(vm, 'Delete', 't', '0')
    wait_until(lambda: not host.vms(), 'the VM is gone')


def test_live_introspection_is_the_documented_contract(host):
    def members(interface):
        found = set()
        for tag in ('method', 'signal', 'property'):
            for m in interface.findall(tag):
                arguments = tuple((a.get('type'), a.get('direction', 'out') if tag == 'method' else 'out')
                                  for a in m.findall('arg'))
                found.add((tag, m.get('name'), m.get('type'), m.get('access'), arguments))
        return found

    host.mock('dave', '--user=dave')
    for name, path in (('Manager', '/org/hero/Compute'), ('VM', host.vm_object('dave')[1]),
                       ('User', '/org/hero/Compute/user/dave')):
        documented = ET.parse(os.path.join(TOP, 'dbus', f'org.hero.Compute.{name}.xml')).getroot().find('interface')
        xml = json.loads(host.busctl('--json=short', 'call', 'org.hero.Compute', path,
                                     'org.freedesktop.DBus.Introspectable', 'Introspect').out)['data'][0]
        live = [i for i in ET.fromstring(xml).findall('interface') if i.get('name') == f'org.hero.Compute.{name}']
        assert live, f'{path} has no {name} interface'
        assert members(live[0]) == members(documented)


def test_provisioning_again_returns_the_same_vm_and_another_spec_is_refused(host):
    host.heroctl('provision', 'erin', '--hypervisor=mock', '--memory=64M', '--disk=16M')
    first = host.get('erin', 'Id')
    host.heroctl('provision', 'erin', '--hypervisor=mock', '--memory=64M', '--disk=16M')
    assert host.get('erin', 'Id') == first
    r = host.heroctl('provision', 'erin', '--hypervisor=mock', '--memory=128M', '--disk=16M', check=False)
    assert r.status != 0 and 'erin' in r.err


def test_a_vm_that_ends_by_itself_is_stopped_with_its_exit_status(host):
    host.heroctl('create', '--memory=128M', 'short', '--', 'sh', '-c', 'exit 3')
    host.heroctl('start', 'short', check=False, timeout=120)
    host.heroctl('wait', 'short', '--state=stopped', check=False, timeout=60)
    host.wait_for_state('short', 'stopped')
    assert host.get('short', 'ExitCode') == 3 and host.get('short', 'ExitReason') == 'exited'


def test_limits_of_the_scope_follow_the_spec(host):
    host.mock('limited', '--cpus=2')
    unit = 'hero-vm-limited.scope'
    assert host.unit(unit, 'CPUQuotaPerSecUSec') == '2s'
    assert int(host.unit(unit, 'MemoryMax')) > 64 << 20, 'a cap equal to the guest\'s memory kills full guests'
    assert host.unit(unit, 'Slice') == 'machine-hero.slice'
    assert host.unit(unit, 'DevicePolicy') == 'strict'
    host.heroctl('set-resources', 'limited', '--cpu-weight=50')
    assert host.unit(unit, 'CPUWeight') == '50'


def test_the_vmm_has_a_uid_of_its_own_and_no_privileges_and_sees_nothing(host):
    host.heroctl('provision', 'alice', timeout=120)
    host.mock('other')
    status = {}
    for name in ('alice', 'other'):
        pid = host.get(name, 'PID')
        text = host.run(['cat', f'/proc/{pid}/status']).out
        status[name] = dict(re.findall(r'^(\w+):\t(.*)$', text, re.M))
        assert all(status[name][c] == '0000000000000000' for c in ('CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'))
        assert status[name]['NoNewPrivs'] == '1' and status[name]['Seccomp'] == '2'
        assert status[name]['Groups'].strip() == ''
        seen = host.run(f'ls /proc/{pid}/root').out.split()
        assert not {'etc', 'home', 'root', 'var', 'run', 'sys', 'tmp'} & set(seen), seen
    assert status['alice']['Uid'] != status['other']['Uid'] and not status['alice']['Uid'].startswith('0')


def test_records_and_disks_are_for_root_alone(host):
    host.mock('private')
    assert host.run(['ls', STATE + '/vms'], user='alice', check=False).status != 0


def test_machinectl_shows_the_vm(host):
    host.mock('seen')
    assert 'seen' in host.run('machinectl list').out
    host.heroctl('delete', 'seen')
    assert 'seen' not in host.run('machinectl list').out


def test_events_tell_every_transition_since_a_number(host):
    data = json.loads(host.busctl('--json=short', 'call', *MANAGER, 'EventsSince', 'ts', '0', '').out)['data']
    since = data[1]
    host.mock('told')
    data = json.loads(host.busctl('--json=short', 'call', *MANAGER, 'EventsSince', 'ts', str(since), 'told').out)['data']
    assert [e[4] for e in data[0]] == ['provisioning', 'configured', 'starting', 'running']
    assert data[2] == 0
