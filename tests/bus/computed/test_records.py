# SPDX-License-Identifier: Apache-2.0
"""A record that is broken takes its own VM out of the game, and nothing else."""

import json
import os
import shutil

import pytest
from bus_client import ERROR, BusError, run_for, run_until
from daemon import processes_named


@pytest.fixture
def three(host):
    """'good' runs, 'bad' rests; the daemon is down."""
    host.good_pid = host.running('good')
    assert host.root.create('bad', User='alice', Command=['sleep', '1'], Environment=['A=b']) == ('done', '')
    host.daemon.stop()
    host.vms = host.daemon.state / 'vms'
    host.record = host.vms / 'bad' / 'vm.json'
    return host


def start(host):
    host.daemon.start()
    assert host.root.state('good') == 'running' and host.pid('good') == host.good_pid
    return dict(host.root.manager_get('Quarantined'))


def check_quarantined(host, word=None):
    quarantined = start(host)
    assert set(quarantined) == {'bad'}
    if word:
        assert word in quarantined['bad'], quarantined
    assert host.root.names() == ['good']
    assert any(check == 'record' and level == 'error' and "'bad'" in text for check, level, text in host.root.manager('Diagnose'))
    # Its name is taken, by what is left of it.
    with pytest.raises(BusError) as e:
        host.root.create('bad')
    assert e.value.name == ERROR + 'VMExists' and 'broken' in e.value.text
    assert host.record.parent.exists()


@pytest.mark.parametrize('part', [0, 1, 10, 0.5, -1])
def test_a_truncated_record_is_quarantined(three, part):
    text = three.record.read_bytes()
    n = int(len(text) * part) if isinstance(part, float) else part
    three.record.write_bytes(text[:n] if n >= 0 else text[:n])
    check_quarantined(three, 'vm.json')


def test_a_bit_that_flipped_anywhere_stops_nobody_else(three):
    text = three.record.read_bytes()
    loaded = 0
    for i in range(0, len(text), 50):
        broken = bytearray(text)
        broken[i] ^= 1 << (i // 50) % 8
        three.record.write_bytes(broken)
        quarantined = start(three)
        objects = three.root.call('/org/hero/Compute', 'org.freedesktop.DBus.ObjectManager', 'GetManagedObjects')
        assert ('bad' in quarantined) != ('bad' in three.root.names()), i
        assert len(objects) >= 1
        loaded += 'bad' in three.root.names()
        three.daemon.kill()
    assert loaded < len(text) / 50  # some of them did break it
    three.record.write_bytes(text)
    assert start(three) == {}
    assert sorted(three.root.names()) == ['bad', 'good']


def test_what_a_quarantined_vm_is_made_of_is_told_as_far_as_it_can_be_read(three):
    text = three.record.read_text()
    digest = json.loads(text)['image_digest']
    good = ('good', 'busybox', digest)
    for o, told in [({'image': 'a', 'image_digest': digest}, ('a', digest)), ({'image': 'a'}, ('a', '')),
                    ({'image': 5, 'image_digest': digest}, ('', digest)), ({'image': 'a\x07', 'image_digest': {}}, ('', '')),
                    ({'image': 'a' * 1000}, ('', '')), ([], ('', ''))]:
        three.record.write_text(json.dumps(o))
        start(three)
        assert sorted(three.root.manager('ListImageUses')) == [('bad', *told), good]
        three.daemon.stop()
    three.record.write_text(text[:-1])
    (three.vms / 'lost+found').mkdir()
    assert set(start(three)) == {'bad', 'lost+found'}
    assert sorted(three.root.manager('ListImageUses')) == [('bad', '', ''), good]
    three.record.unlink()
    assert sorted(three.root.manager('ListImageUses')) == [('bad', '', ''), good]
    # It is looked at anew each time, so that who removes it need not restart anything.
    shutil.rmtree(three.record.parent)
    assert three.root.manager('ListImageUses') == [good]


def edit(**keys):
    def f(o):
        for k, v in keys.items():
            if v is None:
                del o[k]
            else:
                o[k] = v
    return f


@pytest.mark.parametrize('change, word', [
    (edit(version=0), 'version'),
    (edit(version='one'), 'version'),
    (edit(version=None), 'version'),
    (edit(name='good'), "'good'"),
    (edit(name=None), ''),
    (edit(name='x' * 100000), ''),
    (edit(id='short'), ''),
    (edit(id='0123456789AB'), ''),
    (edit(state='sleeping'), "'sleeping'"),
    (edit(state=None), ''),
    (edit(hypervisor='xen'), "'xen'"),
    (edit(hypervisor=None), ''),
    (edit(image=None), ''),
    (edit(image=''), ''),
    (edit(cpus=0), ''),
    (edit(cpus=65), ''),
    (edit(cpus=-1), ''),
    (edit(cpus=2**32 + 1), ''),
    (edit(cpus='1'), ''),
    (edit(memory=1), ''),
    (edit(disk=0), ''),
    (edit(user='a b'), ''),
    (edit(user=''), ''),
    (edit(command=['a\x1b[2J']), ''),
    (edit(environment=['novalue']), ''),
    (edit(mock_script='explode'), ''),
    (edit(cpu_weight=10**6), ''),
    (edit(receive_max=1), ''),
    (edit(transmit_max=2**62), ''),
], ids=lambda v: None if callable(v) else v or '-')
def test_a_record_with_an_impossible_value_is_quarantined(three, change, word):
    o = json.loads(three.record.read_text())
    change(o)
    three.record.write_text(json.dumps(o))
    check_quarantined(three, word)


@pytest.mark.parametrize('change', [
    edit(version=2, something_new={'deep': [1, 2, 3]}),
    edit(before='suspended', state='starting'),
    edit(before='running', state='starting'),
    edit(before='nonsense', state='starting'),
    edit(state='running'),
    edit(state='running', runtime={'pid': 1, 'uid': 0, 'accelerator': 'tcg'}),
    edit(state='running', runtime={'pid': -5, 'uid': -5, 'accelerator': 'none'}),
    edit(state='running', runtime={'pid': 2**40, 'uid': 2**40}),
    edit(state='running', runtime='none'),
    edit(state='stopping'), edit(state='suspended'), edit(state='suspending'), edit(state='resuming'),
    edit(events=[]), edit(events={}), edit(events=[1, 'a', [], [1, 2, 3, 4, 5], [-1, 0, 'running', 'stopped', 'x']]),
    edit(events=[[2**62, 0, 'running', 'stopped', 'far ahead']]),
    edit(events=[[5, 0, 'running', 'stopped', 'back'], [1, 0, 'running', 'stopped', 'and forth']] * 500),
    edit(reason=5), edit(exit_code='x'), edit(exit_code=2**40), edit(exit_status='x'), edit(created=-1), edit(created=2**62), edit(resize_disk='maybe'),
    edit(image_digest=None), edit(image_digest='sha256:nonsense'),
    edit(reason='line\nbreak \x07'),
], ids=str)
def test_a_record_with_an_odd_value_is_lived_with(three, change):
    o = json.loads(three.record.read_text())
    change(o)
    three.record.write_text(json.dumps(o))
    assert start(three) == {}
    assert sorted(three.root.names()) == ['bad', 'good']
    run_until(lambda: three.root.state('bad') in ('stopped', 'configured', 'failed'))
    three.root.call('/org/hero/Compute', 'org.freedesktop.DBus.ObjectManager', 'GetManagedObjects')
    three.root.manager('EventsSince', 'ts', 0, '')
    three.root.manager('EventsSince', 'ts', 3, '')
    try:
        three.root.do('bad', 'Start')
    except BusError as e:
        assert e.name == ERROR + 'WrongState'
    assert three.daemon.runs()
    assert three.root.do('bad', 'Delete', 't', 1) == ('done', '')


def test_fields_of_a_newer_daemon_are_kept(three):
    o = json.loads(three.record.read_text())
    o['something_new'] = {'deep': [1, 2, 3]}
    three.record.write_text(json.dumps(o))
    start(three)
    assert three.root.do('bad', 'Start') == ('done', '')
    assert json.loads(three.record.read_text())['something_new'] == {'deep': [1, 2, 3]}


@pytest.mark.parametrize('content', [b'', b'\0' * 500, b'[]', b'null', b'"x"', b'{}', b'{"version": 1, "version": 1}', b'\xff\xfe',
                                     b'[' * 100000, b'{"a":' * 5000, b' ' * (2 << 20), b'{"reason": "\xc3("}'],
                         ids=lambda c: repr(c[:20]))
def test_what_is_no_record_is_quarantined(three, content):
    three.record.write_bytes(content)
    check_quarantined(three, 'vm.json')


def test_a_second_vm_of_a_user_is_quarantined(three):
    start(three)
    assert three.root.create('also') == ('done', '')
    three.daemon.stop()
    o = json.loads((three.vms / 'also/vm.json').read_text())
    o['user'] = 'alice'
    (three.vms / 'also/vm.json').write_text(json.dumps(o))
    quarantined = start(three)
    assert len(quarantined) == 1 and set(quarantined) < {'bad', 'also'}
    assert 'user' in next(iter(quarantined.values()))
    assert len(three.root.manager('ListUsers')) == 1


def test_a_copied_directory_is_quarantined(three):
    shutil.copytree(three.vms / 'bad', three.vms / 'copy')
    quarantined = start(three)
    assert set(quarantined) == {'copy'} and "'bad'" in quarantined['copy']


def test_the_same_id_twice_is_quarantined(three):
    o = json.loads(three.record.read_text())
    o['id'] = json.loads((three.vms / 'good/vm.json').read_text())['id']
    three.record.write_text(json.dumps(o))
    three.daemon.start()
    quarantined = dict(three.root.manager_get('Quarantined'))
    assert len(quarantined) == 1 and 'id' in next(iter(quarantined.values()))
    assert processes_named('good') == [three.good_pid]  # whichever of the two it was, its processes are left alone


@pytest.mark.parametrize('name', ['UPPER', 'a b', 'x' * 100, '-a', 'ünï', os.fsdecode(b'\xff\xfe'), 'bell\x07'])
def test_a_directory_that_has_no_vms_name_is_quarantined(three, name):
    (three.vms / name).mkdir()
    quarantined = start(three)
    assert len(quarantined) == 1
    assert three.root.call('/org/hero/Compute', 'org.freedesktop.DBus.Properties', 'GetAll', 's', 'org.hero.Compute.Manager')


def test_what_is_no_directory_is_quarantined(three):
    (three.vms / 'file').write_text('')
    (three.vms / 'link').symlink_to(three.vms / 'good')
    (three.vms / 'empty').mkdir()
    (three.vms / 'odd').mkdir()
    (three.vms / 'odd/vm.json').mkdir()
    (three.vms / 'fifo').mkdir()
    os.mkfifo(three.vms / 'fifo/vm.json')
    (three.vms / 'symlinked').mkdir()
    (three.vms / 'symlinked/vm.json').symlink_to(three.vms / 'bad/vm.json')
    assert set(start(three)) == {'file', 'link', 'empty', 'odd', 'fifo', 'symlinked'}


def test_a_broken_record_of_a_running_vm_leaves_the_vm_running(host):
    pid = host.running('web')
    host.daemon.stop()
    record = host.daemon.state / 'vms/web/vm.json'
    text = record.read_bytes()
    record.write_bytes(text[:100])
    host.daemon.start()
    run_for(0.2)
    assert processes_named('web') == [pid]
    assert dict(host.root.manager_get('Quarantined')).keys() == {'web'}
    # Mended by hand, it is adopted; its sockets are still kept for it.
    host.daemon.stop()
    record.write_bytes(text)
    host.daemon.start()
    assert host.root.state('web') == 'running' and host.pid() == pid
    assert host.root.do('web', 'Stop', 't', 0) == ('done', '')


def test_a_record_that_cannot_be_written_fails_the_creation(host):
    (host.daemon.state / 'vms/web').write_text('in the way')
    with pytest.raises(BusError) as e:
        host.root.create('web')
    assert 'record' in e.value.text and "'web'" in e.value.text
    assert host.root.names() == [] and host.root.reserved() == (0, 0, 0)
    assert host.root.create('next') == ('done', '')


def test_a_leftover_temporary_of_a_record_is_ignored(three):
    (three.vms / 'bad' / '.vm.json.tmp').write_text('{"half')
    assert start(three) == {}
    assert three.root.do('bad', 'Start') == ('done', '')
    assert three.root.do('bad', 'Delete', 't', 1) == ('done', '')
    assert not (three.vms / 'bad').exists()


def test_a_vm_whose_record_could_not_be_written_does_not_come_back_from_its_removal(host):
    host.running('web')
    record = host.daemon.state / 'vms' / 'web' / 'vm.json'
    record.unlink()
    record.mkdir()
    assert host.root.do('web', 'Stop', 't', 1) == ('done', '')
    assert record.is_dir()
    assert host.root.do('web', 'Delete', 't', 0) == ('done', '')
    assert not record.parent.exists()


def test_a_creation_that_was_ended_before_its_record_was_written_leaves_nothing(host):
    host.daemon.stop()
    vms = host.daemon.state / 'vms'
    (vms / 'unmade').mkdir(mode=0o700)
    (vms / 'unmade/vm.json').touch()
    (vms / 'odd').mkdir(mode=0o700)
    (vms / 'odd/vm.json').touch()
    (vms / 'odd/overlay.img').write_bytes(b'somebody may want it')
    host.daemon.start()
    assert sorted(p.name for p in vms.iterdir()) == ['odd']
    assert (vms / 'odd/overlay.img').read_bytes() == b'somebody may want it'
