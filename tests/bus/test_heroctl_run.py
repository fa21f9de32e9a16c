# SPDX-License-Identifier: Apache-2.0
"""heroctl run, and the options of create and provision that say what runs: what the service is asked for, what comes
back, and that no VM is left behind on any way out."""

import json
import os
import re
import subprocess
import time

import pytest
from heroctl_fixtures import *


def specs(calls):
    return [eval(c.removeprefix('spec ')) for c in calls if c.startswith('spec ')]


def names(bus):
    return bus.text('list', '-q').split()


def test_run_passes_output_and_status_on_and_stops_the_vm(bus):
    r = bus.run('run', '--name', 'one', 'busybox', 'sh', '-c', 'echo out; echo err >&2; exit 7', check=7)
    assert (r.stdout, r.stderr) == (b'out\n', b'err\n')
    assert bus.calls() == ["spec {'Image': 'busybox', 'RunImage': '0'}", 'Start one',
                           "Exec one ['sh', '-c', 'echo out; echo err >&2; exit 7'] ", 'Stop one 0']
    assert json.loads(bus.text('status', 'one', '--json', check=3))['state'] == 'stopped'


def test_run_deletes_with_rm(bus):
    before = names(bus)
    assert bus.text('run', '--rm', 'busybox', 'echo', 'x') == 'x\n'
    calls = bus.calls()
    assert re.fullmatch(r'Delete busybox-[0-9a-f]{6} 1', calls[-1]) and names(bus) == before


def test_run_makes_names_of_the_image(bus):
    for image, pattern in (('registry.example:5000/team/app:1', 'app-[0-9a-f]{6}'), ('sha256:' + 'b' * 64, 'vm-[0-9a-f]{6}')):
        assert re.fullmatch(pattern + '\n', bus.text('run', '-d', image))


def test_run_puts_the_command_behind_the_images_entrypoint_as_its_user(bus):
    assert bus.text('run', '--rm', 'app:1') == "in it is o'clock\n"
    assert bus.calls()[2].endswith(""" ['/bin/echo', 'in', 'it is', "o'clock"] app:users""")
    assert bus.text('run', '--rm', '-u', 'bob', 'app:1', '-n', 'a') == 'in -n a\n'
    assert bus.calls()[2].endswith(" ['/bin/echo', 'in', '-n', 'a'] bob")
    assert bus.text('run', '--rm', '--entrypoint', 'printenv', '-e', 'A=x y', '-e', 'FROM_HERE', '-e', 'NOT_SET', 'app:1',
                    'A', check=0) == 'x y\n'
    calls = bus.calls()
    assert specs(calls) == [{'Environment': ['A=x y'], 'Image': 'app:1', 'RunImage': '0', 'Transient': '1'}]
    assert calls[2].endswith(" ['printenv', 'A'] app:users")
    assert bus.text('run', '--rm', '--entrypoint', '["sh", "-c"]', '-w', '/usr', 'app:1', 'pwd') == '/usr\n'
    assert bus.text('run', '--rm', '--entrypoint', '', 'app:1', 'echo', 'bare') == 'bare\n'


def test_run_without_any_command_is_a_shell(bus):
    r = bus.run('run', '--rm', '-i', 'busybox', input=b'echo $0; exit 3\n', check=3)
    assert r.stdout == b'/bin/sh\n'


def test_run_takes_a_variable_from_here(tmp_path):
    b = Bus(tmp_path, FROM_HERE='value')
    try:
        assert b.text('run', '--rm', '-e', 'FROM_HERE', 'busybox', 'printenv', 'FROM_HERE') == 'value\n'
    finally:
        b.close()


def test_run_status_of_commands_that_cannot_run_and_of_our_own_failures(bus):
    assert 'No such file' in bus.error('run', '--rm', 'busybox', 'nosuch', check=127)
    bus.error('run', '--rm', 'busybox', '/etc/hostname', check=126)
    bus.run('run', '--rm', 'busybox', 'sh', '-c', 'kill -9 $$', check=137)
    assert 'Lost the command' in bus.error('run', '--rm', 'busybox', 'vanish', check=125)
    assert all(n in ('alice', 'db', 'dbus-1', 'sick', 'web') or n.endswith('-1') for n in names(bus))
    bus.calls()
    assert "no image 'nope'" in bus.error('run', 'nope', check=125)
    assert 'is not a name' in bus.error('run', '--name', 'NotAName', 'busybox', check=125)
    assert "a VM 'web' already" in bus.error('run', '--name', 'web', 'busybox', check=125)
    bus.error('run', check=125)
    bus.error('run', '--nonsense', 'busybox', check=125)
    assert 'heroctl exec -it' in bus.error('run', '-dit', 'busybox', check=125)
    assert 'JSON array' in bus.error('run', '--entrypoint', '[1]', 'busybox', check=125)
    assert not [c for c in bus.calls() if c.startswith(('Start', 'Stop', 'Delete'))]


def test_an_init_is_the_vms_own_command_and_its_console_is_shown(bus):
    r = bus.run('run', '--rm', '-i', '--name', 'x', 'system', input=b'quit\n', check=125)  # the fake tells no reason
    assert r.stdout == b'history\r\n<quit\n>'
    calls = bus.calls()
    assert [c.split('{')[0] for c in calls] == ['spec ', 'Delete x 1', 'spec ', 'Start x', "console b'quit\\n'", 'Delete x 1']
    # The second is not transient: how it ended is asked for when it has.
    assert specs(calls) == [{'Image': 'system', 'RunImage': '0', 'Transient': '1'}, {'Image': 'system'}]


def test_how_an_init_ended_is_the_status(bus):
    for name, status in (('down-1', 0), ('ended-1', 3), ('oom-1', 125)):
        bus.run('run', '--rm', '-i', '--name', name, 'system', input=b'quit\n', check=status)
    status, out, _, calls = interrupt(bus, signal.SIGINT, '--rm', '--name', 'y', 'system', when='Start y')
    assert status == 130 and calls[-1] == 'Delete y 1' and out == 'history\r\n'


def test_run_detached_leaves_the_command_to_the_vm(bus):
    assert bus.text('run', '-d', '--name', 'bg', '-e', 'A=1', '-u', 'bob:staff', 'app:1', 'more', '-d') == 'bg\n'
    calls = bus.calls()
    assert specs(calls) == [{'Arguments': ['more', '-d'], 'Environment': ['A=1'], 'Image': 'app:1', 'RunAs': 'bob:staff'}]
    assert calls[1:] == ['Start bg'] and 'bg' in names(bus)
    assert json.loads(bus.text('run', '-d', '--name', 'bg2', '--entrypoint', '/x', '--cpus', '2', '--memory', '1G', '--json',
                               'app:1')) == {'name': 'bg2', 'object': '/org/hero/Compute/vm/bg2', 'job': None}
    assert specs(bus.calls()) == [{'CPUs': '2', 'Entrypoint': ['/x'], 'Image': 'app:1', 'Memory': str(1 << 30)}]


def test_run_detached_with_rm_leaves_the_deletion_to_the_service(bus):
    assert bus.text('run', '-d', '--rm', '--name', 'bg', 'app:1', 'more') == 'bg\n'
    calls = bus.calls()
    assert specs(calls) == [{'Arguments': ['more'], 'Image': 'app:1', 'Transient': '1'}] and calls[1:] == ['Start bg']
    status = json.loads(bus.text('status', 'bg', '--json'))
    assert (status['state'], status['transient']) == ('running', True) and 'deleted when it has ended' in bus.text('status', 'bg')


def test_run_detached_with_rm_deletes_what_does_not_start_and_tells_why(bus):
    bus.error('run', '-d', '--rm', '--name', 'latebroken-3', 'busybox', 'true', check=125)
    bus.error('run', '-d', '--rm', '--name', 'absent-2', 'busybox', 'nosuch', check=127)
    assert [c for c in bus.calls() if c.startswith('Delete')] == ['Delete latebroken-3 1', 'Delete absent-2 1']
    assert not {'latebroken-3', 'absent-2'} & set(names(bus))


def test_a_vm_with_rm_that_the_service_has_deleted_already_is_no_error(bus):
    p = bus.start('run', '--rm', '--name', 'x', 'busybox', 'sh', '-c', 'echo up; sleep 1; exit 4', stdout=subprocess.PIPE)
    assert p.stdout.readline() == b'up\n'
    bus.run('delete', '--force', 'x')
    assert p.wait(30) == 4 and 'x' not in names(bus)
    p.stdout.close()


def test_create_makes_a_transient_vm_and_provision_none(bus):
    bus.run('create', 'tr', '--transient', '--image', 'app:1')
    assert specs(bus.calls()) == [{'Image': 'app:1', 'Transient': '1'}]
    bus.error('provision', '--transient', 'someone', check=2)


def test_run_whose_vm_does_not_start(bus):
    error = bus.error('run', '--name', 'latebroken-1', 'busybox', 'true', check=125)
    assert error.startswith("Failed to start VM 'latebroken-1': the hypervisor ended") and "heroctl delete latebroken-1" in error
    assert 'latebroken-1' in names(bus)
    bus.error('run', '--rm', '--name', 'latebroken-2', 'busybox', 'true', check=125)
    assert 'latebroken-2' not in names(bus)
    bus.error('run', '-d', '--name', 'absent-1', 'busybox', 'nosuch', check=127)


def interrupt(bus, number, *arguments, when, **options):
    p = bus.start('run', *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, **options)
    seen = []

    def is_time():
        seen.extend(bus.calls())
        return any(when in c for c in seen)
    wait_until(is_time)
    time.sleep(0.4)
    p.send_signal(number)
    out, err = p.communicate(timeout=30)
    return p.returncode, out.decode(), err.decode(), seen + bus.calls()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize('rm', [[], ['--rm']])
def test_signals_end_the_command_and_then_the_vm(bus, number, rm):
    status, _, _, calls = interrupt(bus, number, *rm, '--name', 'x', 'busybox', 'sleep', '60', when='Exec x')
    assert status == 128 + number
    assert calls[-1] == ('Delete x 1' if rm else 'Stop x 0') and ('x' in names(bus)) == (not rm)


def test_interrupt_while_the_vm_is_made_or_started_leaves_nothing(bus):
    for name, when in (('stuck-9', 'spec'), ('latestuck-9', 'Start')):
        before = names(bus)
        status, _, err, _ = interrupt(bus, signal.SIGINT, '--name', name, 'busybox', 'true', when=when)
        assert status == 130 and 'Canceled: ' in err
        assert names(bus) == before


def test_command_that_ignores_the_end_of_the_terminal_is_left_after_a_while(bus):
    begun = time.monotonic()
    status, _, _, calls = interrupt(bus, signal.SIGHUP, '--rm', '--name', 'x', 'busybox', 'sh', '-c',
                                    'trap "" HUP; sleep 60; sleep 60', when='Exec x')
    assert status == 129 and calls[-1] == 'Delete x 1' and 9 < time.monotonic() - begun < 25


def test_run_with_a_terminal(bus, terminal):
    t = terminal('run', '--rm', '-it', '--name', 'x', 'busybox', 'sh', '-c', 'stty size; read x; echo "<$x>"; exit 5', rows=33,
                 columns=77)
    t.expect(b'33 77\r\n')
    assert t.is_raw()
    t.type(b'hello\r')
    t.expect(b'<hello>')
    assert t.wait() == 5 and t.mode_is_as_before()
    assert bus.calls()[-1] == 'Delete x 1'


def test_closed_terminal_ends_run_and_its_vm(bus, terminal):
    t = terminal('run', '--rm', '-it', '--name', 'x', 'busybox', 'sh', '-c', 'echo up; sleep 60')
    t.expect(b'up')
    assert 'Delete x 1' not in bus.calls()
    os.close(t.master)
    t.process.wait(20)
    t.master = os.open('/dev/null', os.O_RDONLY)  # for close()
    assert t.process.returncode in (129, 141) and bus.calls()[-1] == 'Delete x 1'


def test_service_that_restarts_meanwhile_is_waited_for(bus):
    p = bus.start('run', '--rm', '--name', 'x', 'busybox', 'sh', '-c', 'echo up; sleep 1', stdout=subprocess.PIPE)
    assert p.stdout.readline() == b'up\n'
    time.sleep(0.5)
    bus.call('Crash')
    assert p.wait(20) == 0 and bus.calls()[-1] == 'Delete x 1'
    p.stdout.close()


def test_create_and_provision_say_what_runs(bus):
    bus.text('create', 'a', '--image', 'app:1', '--entrypoint', '/bin/x', '--run-as', '1000:1000', '--', 'one', '-two')
    bus.text('create', 'b', '--image', 'app:1', '--', 'all', 'of it')
    bus.text('create', 'c', '--image', 'app:1', '--entrypoint', '')
    bus.text('provision', 'carol', '--image', 'app:1', '--no-run')
    assert specs(bus.calls()) == [
        {'Arguments': ['one', '-two'], 'Entrypoint': ['/bin/x'], 'Image': 'app:1', 'RunAs': '1000:1000'},
        {'Command': ['all', 'of it'], 'Image': 'app:1'},
        {'Entrypoint': [], 'Image': 'app:1'},
        {'Image': 'app:1', 'RunImage': '0'}]
    for arguments, sentence in (
            (['--command', 'a', '--', 'b'], 'two commands'), (['--command', 'a', '--entrypoint', 'b'], 'leave out --entrypoint'),
            (['--no-run', '--command', 'a'], '--no-run runs nothing'), (['--no-run', '--', 'a'], '--no-run runs nothing')):
        assert sentence in bus.error('create', 'z', *arguments, check=2)
    assert bus.calls() == []


def test_pull_within_create_is_a_line_without_a_terminal(bus):
    r = bus.run('create', 'pulling-1', check=0)
    assert re.fullmatch(rb"create VM 'pulling-1': pulling [\d.]+M of 30M, 1[\d.]*s\n", r.stderr) and r.stdout == b'pulling-1\n'
    assert bus.run('create', 'slow-2', check=0).stderr == b''


def test_pull_within_create_is_shown_with_its_rate(terminal):
    t = terminal('create', 'pulling-1', columns=120)
    t.expect(rb"create VM 'pulling-1' \[#+-*\] +\d+ % pulling [\d.]+M of 30M, [\d.]+[MK]/s, [\d.]+s")
    assert t.wait() == 0
