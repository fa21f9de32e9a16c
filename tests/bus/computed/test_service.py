# SPDX-License-Identifier: Apache-2.0
"""hero-computed as a service: starting, configuration, signals, and losing whom it needs."""

import os
import re
import signal
import subprocess

import pytest
from bus_client import COMPUTE, ERROR, MANAGER, ROOT, BusError, connect, run_for, run_until, spec
from daemon import CONFIG, PROGRAM
from fake_service import Error


def test_it_is_ready_when_it_serves_and_not_before(cold):
    cold.systemd.behaviour['ListUnitsByPatterns'] = 'hold'
    cold.daemon.start(wait=False)
    run_until(lambda: cold.systemd.held)
    run_for(0.2)
    assert not cold.daemon.notify.is_ready()
    assert not cold.root.connection.name_has_owner(COMPUTE)
    cold.systemd.release()
    run_until(cold.daemon.notify.is_ready)
    assert cold.root.connection.name_has_owner(COMPUTE)
    assert all(pid == cold.daemon.pid for _, _, pid in cold.daemon.notify.messages)


def test_sigterm_ends_it_in_good_order(host):
    host.daemon.stop()
    assert any(m.get('STOPPING') == '1' for m, _, _ in host.daemon.notify.messages)


def test_a_lost_bus_ends_it_as_a_failure(host):
    host.running('web')
    host.bus.kill()
    assert host.daemon.wait() == 1
    assert 'bus was lost' in host.daemon.log()


def test_without_a_bus_it_fails_at_once(cold):
    cold.daemon.environment['DBUS_SYSTEM_BUS_ADDRESS'] = 'unix:path=/nonexistent/bus'
    cold.daemon.start(wait=False)
    assert cold.daemon.wait() == 1
    assert 'Cannot connect to the system bus' in cold.daemon.log()


def test_a_taken_name_ends_it_as_a_failure(cold):
    other = connect(cold.address)
    other.request_name(COMPUTE)
    cold.daemon.start(wait=False)
    assert cold.daemon.wait() == 1
    assert 'Cannot have the bus name' in cold.daemon.log()
    other.close()


@pytest.mark.parametrize('how', ['absent', 'error', 'nonsense', 'vanishes'])
def test_without_pid_1_it_ends_rather_than_act_blindly(cold, how):
    cold.start()
    pid = cold.running('web')
    cold.daemon.stop()
    if how == 'absent':
        cold.systemd.vanish()
    elif how == 'error':
        cold.systemd.behaviour['ListUnitsByPatterns'] = Error('org.freedesktop.DBus.Error.Failed', 'No.')
    elif how == 'nonsense':
        cold.systemd.behaviour['ListUnitsByPatterns'] = lambda m, _: cold.systemd.reply(m, 's', 'units')
    else:
        cold.systemd.behaviour['ListUnitsByPatterns'] = lambda m, _: cold.systemd.vanish()
    cold.daemon.start(wait=False)
    assert cold.daemon.wait() == 1
    assert 'systemd does not list its units' in cold.daemon.log()
    os.kill(pid, 0)
    # And with PID 1 back, everything is as it was.
    if not cold.systemd.connection:
        cold.systemd.appear()
    cold.systemd.behaviour.clear()
    cold.daemon.start()
    assert cold.root.state('web') == 'running' and cold.pid() == pid


@pytest.mark.parametrize('line, words', [
    ('Hypervisor=xen', ['Hypervisor', 'qemu']),
    ('Nonsense=1', ['Nonsense']),
    ('VMsMax=many', ['VMsMax']),
    ('Accelerator=warp', ['Accelerator']),
    ('no equals sign', []),
    ('[Nonsense]', []),
])
def test_reloading_a_broken_configuration_names_file_line_and_key_and_goes_on(host, line, words):
    pid = host.running('web')
    host.daemon.config('[Compute]\n# a comment\n' + line + '\n' + CONFIG)
    before = len(host.daemon.log())
    host.daemon.reload()
    said = host.daemon.log()[before:]
    if line != '[Nonsense]':
        m = re.search(r'/etc/hero-compute/compute\.conf:3: (.*)', said)
        assert m, said
        for w in words:
            assert w in m[1]
    assert host.root.state('web') == 'running' and host.pid() == pid
    assert host.root.create('next') == ('done', '')
    assert host.root.do('next', 'Start') == ('done', '')  # the rest of the file holds


def test_a_reload_brings_new_values_into_force(host):
    assert host.root.manager_get('DefaultImage') == 'busybox'
    host.images.known['other'] = 'sha256:' + '33' * 32
    host.daemon.config(CONFIG.replace('[Defaults]', '[Defaults]\nImage=other'))
    host.daemon.reload()
    assert host.root.manager_get('DefaultImage') == 'other'
    assert host.root.create('web') == ('done', '')
    assert host.root.vm_get('web', 'Image') == 'other'


def test_drop_ins_are_read_in_order_of_their_names(cold):
    d = cold.directory / 'etc/compute.conf.d'
    d.mkdir()
    (d / '20-late.conf').write_text('[Defaults]\nImage=late\n')
    (d / '10-early.conf').write_text('[Defaults]\nImage=early\nCPUs=broken\n')
    (d / 'ignored.txt').write_text('[Defaults]\nImage=ignored\n')
    cold.start()
    assert cold.root.manager_get('DefaultImage') == 'late'
    assert '10-early.conf:3: ' in cold.daemon.log()


def test_a_reload_in_the_middle_of_a_start_disturbs_nothing(host):
    assert host.root.create('web', MockScript='slow-ready=500') == ('done', '')
    job = host.root.vm('web', 'Start')
    for _ in range(5):
        host.daemon.reload()
    assert host.root.job(job) == ('done', '')


def test_the_uid_range_stays_what_it_was_until_a_restart(host):
    host.running('web')
    uid = host.root.vm_get('web', 'UID')
    host.daemon.config(CONFIG.replace('UIDCount=1000', 'UIDCount=1000\nUIDBase=200000'))
    host.daemon.reload()
    host.running('next')
    assert abs(host.root.vm_get('next', 'UID') - uid) < 1000
    host.daemon.stop()
    host.daemon.start()
    assert host.root.vm_get('web', 'UID') == uid
    host.running('after')
    assert 200000 <= host.root.vm_get('after', 'UID') < 201000
    for name in ('web', 'next', 'after'):
        assert host.root.do(name, 'Delete', 't', 1) == ('done', '')


def test_the_watchdog_is_fed(cold):
    cold.daemon.environment['WATCHDOG_USEC'] = '1000000'
    cold.start()
    run_until(lambda: any(m.get('WATCHDOG') == '1' for m, _, _ in cold.daemon.notify.messages), 5)


def test_the_log_level_can_be_changed_over_the_bus(host):
    interface, path = 'org.freedesktop.LogControl1', '/org/freedesktop/LogControl1'
    assert host.root.get(path, interface, 'SyslogIdentifier') == 'hero-computed'
    assert host.root.get(path, interface, 'LogLevel') == 'debug'
    import dbus
    properties = 'org.freedesktop.DBus.Properties'
    host.root.call(path, properties, 'Set', 'ssv', interface, 'LogLevel', dbus.String('warning', variant_level=1))
    assert host.root.get(path, interface, 'LogLevel') == 'warning'
    with pytest.raises(BusError):
        host.root.call(path, properties, 'Set', 'ssv', interface, 'LogLevel', dbus.String('loud', variant_level=1))


@pytest.mark.parametrize('arguments, status, words', [(['--version'], 0, 'hero-computed '), (['--help'], 0, 'hero-computed.service(8)'),
                                                      (['--nonsense'], 2, '--nonsense')])
def test_options(arguments, status, words):
    r = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=20)
    assert r.returncode == status and words in r.stdout + r.stderr


def test_only_root_can_start_it():
    r = subprocess.run([PROGRAM], capture_output=True, text=True, timeout=20, user=65534)
    assert r.returncode == 1 and 'root' in r.stderr


def test_a_state_directory_that_cannot_be_used_is_named(cold):
    (cold.directory / 'state/vms').write_text('in the way')
    cold.daemon.start(wait=False)
    assert cold.daemon.wait() == 1
    assert '/var/lib/hero-compute/vms' in cold.daemon.log()


def test_signals_of_others_are_not_taken_for_pid_1s(host):
    """JobRemoved and RequestStop from anybody else on the bus."""
    host.running('web')
    host.systemd.behaviour['StartTransientUnit'] = lambda m, _: host.systemd.reply(m, 'o', '/org/freedesktop/systemd1/job/77')
    assert host.root.create('next') == ('done', '')
    job = host.root.vm('next', 'Start')
    run_until(lambda: host.root.get(job, 'org.hero.Compute.Job', 'Step') == 'scope')
    import dbus.lowlevel
    evil = host.client(12001)
    s = dbus.lowlevel.SignalMessage('/org/freedesktop/systemd1', 'org.freedesktop.systemd1.Manager', 'JobRemoved')
    s.append(77, '/org/freedesktop/systemd1/job/77', 'hero-vm-next.scope', 'done', signature='uoss')
    evil.connection.send_message(s)
    s = dbus.lowlevel.SignalMessage('/org/freedesktop/systemd1/unit/hero_2dvm_2dweb_2escope', 'org.freedesktop.systemd1.Scope', 'RequestStop')
    evil.connection.send_message(s)
    for path, member in (('/org/hero/Compute/Images', 'ImagesChanged'),):
        evil.connection.send_message(dbus.lowlevel.SignalMessage(path, 'org.hero.Compute.Images', member))
    evil.connection.flush()
    result, text = host.root.job(job)
    assert result == ERROR + 'ScopeFailed'
    assert host.root.state('web') == 'running'


def test_registration_with_machined_is_asked_for_once_and_missed_by_nobody(cold):
    cold.daemon.config(CONFIG.replace('RegisterMachines=no', 'RegisterMachines=yes'))
    cold.start()
    cold.running('web')  # there is no machined


def test_registration_with_machined_has_name_and_leader(cold):
    from fake_service import FakeService

    class Machined(FakeService):
        NAME = 'org.freedesktop.machine1'

        def do_RegisterMachineWithNetwork(self, message, *arguments):
            self.reply(message, 'o', '/org/freedesktop/machine1/machine/web')

    machined = Machined(cold.address)
    cold.daemon.config(CONFIG.replace('RegisterMachines=no', 'RegisterMachines=yes'))
    cold.start()
    pid = cold.running('web')
    run_until(lambda: machined.calls)
    [(member, (name, uuid, service, kind, leader, directory, interfaces))] = machined.calls
    assert (name, service, kind, leader, interfaces) == ('web', 'hero-compute', 'vm', pid, [])
    assert len(uuid) == 16
    machined.close()
