# SPDX-License-Identifier: Apache-2.0
"""The methods of hero-rpcd that wait for a guest, for events or for images, over HTTP on a Unix socket."""

import base64
import json
import os
import select
import socket
import threading
import time

import pytest

from rpcd_fixtures import SOMEBODY, Rpcd, bus, call, rpcd, somebody, wait_until  # noqa: F401

DENIED, UNAVAILABLE, NO_VM, NO_JOB, NO_IMAGE = -32001, -32002, -32003, -32005, -32006
WRONG_STATE, LIMIT, CANCELED, PULL_FAILED, NO_AGENT, INVALID = -32010, -32013, -32015, -32020, -32028, -32602


def sh(script):
    return ['sh', '-c', script]


@pytest.fixture
def own(rpcd, bus):
    """Calls as a user who has a VM, 'mine'."""
    bus.call('Add', 'mine', 'games', 'running')
    return rpcd.client(SOMEBODY)


def in_background(function, *arguments, **named):
    result = []
    t = threading.Thread(target=lambda: result.append(function(*arguments, **named)), daemon=True)
    t.start()

    def join():
        t.join(30)
        assert result, 'it did not come back'
        return result[0]
    return join


# vm.exec

def test_a_command_runs_and_says_how_it_ended(call):
    assert call('vm.exec', vm_id='web', command=sh('echo out; echo err >&2; exit 3')) == {
        'exit_code': 3, 'signal': None, 'stdout': 'out\n', 'stderr': 'err\n', 'truncated': False, 'timed_out': False}
    r = call('vm.exec', vm_id='web', command=sh('kill -9 $$'))
    assert (r['exit_code'], r['signal']) == (None, 9)


def test_a_command_gets_environment_directory_user_and_input(call):
    r = call('vm.exec', vm_id='web', command=sh('echo $GREETING $(pwd) $FAKE_USER; cat'), env=['GREETING=hello'], cwd='/usr', user='app',
             stdin='from outside\n')
    assert r['stdout'] == 'hello /usr app\nfrom outside\n'
    text = 'ä' * 32768
    assert call('vm.exec', vm_id='web', command=['cat'], stdin=text)['stdout'] == text
    assert call('vm.exec', vm_id='web', command=sh('exec true'), stdin='x' * 65536)['exit_code'] == 0  # who does not read


def test_output_that_is_not_text_is_base64(call):
    r = call('vm.exec', vm_id='web', command=sh(r"printf '\377\000x'; printf '\303\274' >&2"))
    assert base64.b64decode(r['stdout_base64']) == b'\xff\0x' and 'stdout' not in r
    assert r['stderr'] == 'ü'
    assert call('vm.exec', vm_id='web', command=sh(r"printf 'a\000b'"))['stdout'] == 'a\0b'


def test_output_is_bounded_and_the_command_goes_on(call):
    r = call('vm.exec', vm_id='web', command=sh("head -c 3000001 /dev/zero | tr '\\0' x; echo end >&2; exit 7"))
    assert (len(r['stdout']), r['truncated'], r['stderr'], r['exit_code']) == (1 << 20, True, 'end\n', 7)
    # Not in the middle of a character.
    r = call('vm.exec', vm_id='web', command=sh("printf x; yes ä | tr -d '\\n' | head -c 2000000"))
    assert r['truncated'] and len(r['stdout'].encode()) == (1 << 20) - 1


def test_a_command_that_takes_too_long_is_ended(call):
    begun = time.monotonic()
    r = call('vm.exec', vm_id='web', command=sh('echo $$; exec sleep 60'), timeout_secs=1)
    assert 1 <= time.monotonic() - begun < 10
    assert r == {'exit_code': None, 'signal': None, 'stdout': r['stdout'], 'stderr': '', 'truncated': False, 'timed_out': True}
    wait_until(lambda: not os.path.exists(f"/proc/{int(r['stdout'])}"))


def test_a_command_that_cannot_be_executed_says_why(call):
    r = call('vm.exec', vm_id='web', command=['/nonexistent'])
    assert (r['exit_code'], r['error']) == (127, 'No such file or directory')
    assert call('vm.exec', vm_id='web', command=['/etc/passwd'])['exit_code'] == 126
    e = call.error('vm.exec', vm_id='web', command=['vanish'])
    assert (e.code, e.name, e.message) == (NO_AGENT, 'NoAgent', "Lost the command in VM 'web': the VM stopped")
    assert call.error('vm.exec', vm_id='db', command=['true']).name == 'NoAgent'  # it is stopped


def test_a_result_can_overtake_the_output(call):
    r = call('vm.exec', vm_id='web', command=['early'])
    assert (r['exit_code'], r['stdout']) == (0, 'late' * 100000)


def test_a_command_wakes_the_vm(call):
    assert call('vm.get', vm_id='dbus-1')['detail_state'] == 'suspended'
    assert call('vm.exec', vm_id='dbus-1', command=['true'])['exit_code'] == 0
    assert call('vm.get', vm_id='dbus-1')['detail_state'] == 'running'


@pytest.mark.parametrize('wrong', [{'command': []}, {'command': 'ls'}, {'command': [1]}, {}, {'command': ['x'], 'timeout_secs': 0},
                                   {'command': ['x'], 'timeout_secs': 3601}, {'command': ['x'], 'stdin': 'x' * 65537},
                                   {'command': ['x'], 'env': {}}, {'command': ['x'], 'shell': True}])
def test_wrong_parameters_of_exec_are_refused(call, bus, wrong):
    assert call.error('vm.exec', vm_id='web', **wrong).code == INVALID
    assert not any(c.startswith('Exec') for c in bus.calls())


def test_a_command_goes_on_when_its_caller_has_left(rpcd, tmp_path):
    c = rpcd.client()
    c.send('vm.exec', vm_id='web', command=sh(f'sleep 1; touch {tmp_path}/done'))
    time.sleep(0.3)
    c.close()
    wait_until((tmp_path / 'done').exists)


def test_commands_are_bounded_for_a_vm(rpcd):
    clients = [rpcd.client() for _ in range(9)]
    for c in clients[:8]:
        c.send('vm.exec', vm_id='web', command=['sleep', '2'])
    time.sleep(0.5)
    e = clients[8].error('vm.exec', vm_id='web', command=['true'])
    assert (e.code, e.name) == (LIMIT, 'LimitExceeded')
    assert clients[8]('vm.exec', vm_id='alice', command=['true'])['exit_code'] == 0
    for c in clients[:8]:
        assert c.answer()['exit_code'] == 0
    assert clients[8]('vm.exec', vm_id='web', command=['true'])['exit_code'] == 0


def test_answers_that_nobody_reads_are_bounded(rpcd, own, call):
    """12 MiB each, of which one user's share is 64."""
    command = sh('head -c 1048576 /dev/zero; head -c 1048576 /dev/zero >&2')
    idle = [rpcd.client(SOMEBODY) for _ in range(5)]
    for c in idle:
        c.send('vm.exec', vm_id='mine', command=command)
        assert select.select([c.connection.sock], [], [], 30)[0]
    own.send('vm.exec', vm_id='mine', command=command)
    r = own.connection.getresponse()
    assert r.status == 503 and b'wait to be read' in r.read()
    assert call('vm.exec', vm_id='mine', command=command)['truncated'] is False  # an administrator
    for c in idle:
        c.close()
    wait_until(lambda: own('vm.get', vm_id='mine'))
    assert own('vm.exec', vm_id='mine', command=command)['stdout'] == '\0' * (1 << 20)


def test_a_user_may_with_the_own_vm_only(own):
    assert own('vm.exec', vm_id='mine', command=['echo', 'hello'])['stdout'] == 'hello\n'
    for method, more in (('vm.exec', {'command': ['true']}), ('vm.logs', {}), ('vm.console.endpoint', {}), ('vm.wait', {}),
                         ('vm.set_resources', {'cpu_count': 2}), ('vm.suspend', {}), ('vm.resume', {}), ('vm.hibernate', {})):
        assert own.error(method, vm_id='web', **more).code == DENIED, method
    for method, more in (('image.pull', {'reference': 'x'}), ('image.import', {'path': '/etc/passwd'}), ('image.delete', {'reference': 'x'})):
        assert own.error(method, **more).code == DENIED, method
    assert own('image.list')


# vm.logs

def test_logs_are_text_whatever_the_guest_wrote(call):
    r = call('vm.logs', vm_id='web')
    assert r['text'] == 'first line\r\n\x1b[2J\x1b]0;title\x07second \x1b[31mred\x1b[0m line\r\nthird\ufffd line\r\n'
    assert r['vm_id'] == call('vm.get', vm_id='web')['id']


def test_logs_by_lines_and_bytes(call):
    assert call('vm.logs', vm_id='db', lines=2)['text'] == 'line 29\nline 30\n'
    assert call('vm.logs', vm_id='db', bytes=5)['text'] == 'e 30\n'
    assert call('vm.logs', vm_id='db', bytes=12, lines=5)['text'] == ' 29\nline 30\n'
    for wrong in ({'lines': 0}, {'bytes': 0}, {'bytes': (1 << 20) + 1}, {'bytes': '5'}, {'bytes': 1.5}):
        assert call.error('vm.logs', vm_id='db', **wrong).code == INVALID
    assert call.error('vm.logs', vm_id='nobody-has-it').code == NO_VM


# vm.console.endpoint

def connect(endpoint, who=None):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.settimeout(20)
    if who:
        with somebody(who.pw_uid, who.pw_gid):
            s.connect(endpoint.removeprefix('unix:'))
    else:
        s.connect(endpoint.removeprefix('unix:'))
    return s


def receive(s, n):
    data = b''
    while len(data) < n and (more := s.recv(n - len(data))):
        data += more
    return data


def test_a_console_is_a_socket(call, rpcd):
    r = call('vm.console.endpoint', vm_id='web')
    assert r['endpoint'] == f'unix:{rpcd.directory}/run/console/web.sock'
    assert call('vm.console.endpoint', vm_id='web') == r
    with connect(r['endpoint']) as s, connect(r['endpoint']) as other:
        assert receive(s, 9) == b'history\r\n'
        s.sendall(b'hello')
        assert receive(s, 7) == b'<hello>'
        assert receive(other, 9) == b'history\r\n'
        other.shutdown(socket.SHUT_WR)
        assert other.recv(1) == b''
        s.sendall(b'quit')
        assert receive(s, 100) == b'<quit>'
    assert 'vm.console' in rpcd.log()


def test_whose_console_it_is_decides_the_kernel(call, own, rpcd):
    with connect(call('vm.console.endpoint', vm_id='web')['endpoint'], SOMEBODY) as s:
        assert s.recv(100) == b''
    with connect(own('vm.console.endpoint', vm_id='mine')['endpoint'], SOMEBODY) as s:
        assert receive(s, 9) == b'history\r\n'
    with connect(own('vm.console.endpoint', vm_id='mine')['endpoint']) as s:  # root
        assert receive(s, 9) == b'history\r\n'
    assert 'refused' in rpcd.log()


def test_a_console_is_bounded_and_goes_with_its_vm(call, own, bus):
    path = call('vm.console.endpoint', vm_id='mine')['endpoint']
    all = [connect(path) for _ in range(16)]
    for s in all:
        assert receive(s, 9) == b'history\r\n'
    with connect(path) as s:
        assert s.recv(1) == b''
    all.pop().close()
    time.sleep(0.2)
    with connect(path) as s:
        assert receive(s, 9) == b'history\r\n'
        bus.call('Remove', 'mine')
        for s in all:
            assert receive(s, 1) == b''
            s.close()
    assert not os.path.exists(path.removeprefix('unix:'))
    assert call.error('vm.console.endpoint', vm_id='mine').code == NO_VM


def test_a_stale_socket_is_removed(bus):
    r = Rpcd(bus)
    try:
        (r.directory / 'run/console').mkdir()
        for name in ('web', 'gone'):
            s = socket.socket(socket.AF_UNIX)
            s.bind(str(r.directory / f'run/console/{name}.sock'))
            s.close()
        with connect(r.client()('vm.console.endpoint', vm_id='web')['endpoint']) as s:
            assert receive(s, 9) == b'history\r\n'
        assert os.listdir(r.directory / 'run/console') == ['web.sock']
        r.stop()
        assert os.listdir(r.directory / 'run/console') == []
    finally:
        r.close()


def test_a_console_carries_much(call, rpcd):
    """The fake puts < and > around each piece."""
    with connect(call('vm.console.endpoint', vm_id='web')['endpoint']) as s:
        assert receive(s, 9) == b'history\r\n'
        sent = b'0123456789' * 30000
        writer = in_background(lambda: s.sendall(sent) or True)
        data = b''
        while len(data) < len(sent):
            data += s.recv(65536).replace(b'<', b'').replace(b'>', b'')
        assert writer() and data == sent


# vm.wait

def test_wait_answers_at_once_when_it_is_so(call, bus):
    r = call('vm.wait', vm_id='web', state='running', timeout_secs=0)
    assert r == {'vm_id': call('vm.get', vm_id='web')['id'], 'state': 'running', 'detail_state': 'running', 'reason': 'because',
                 'timed_out': False}
    assert call('vm.wait', vm_id='web')['timed_out'] is False
    assert call('vm.wait', vm_id='dbus-1', states=['stopped', 'suspended'])['detail_state'] == 'suspended'
    bus.call('Move', 'db', 'configured', 'somebody')
    assert call('vm.wait', vm_id='db', state='created')['state'] == 'created'
    r = call('vm.wait', vm_id='sick', state='running')  # it has failed
    assert (r['state'], r['timed_out']) == ('failed', False)


def test_wait_times_out(call):
    begun = time.monotonic()
    r = call('vm.wait', vm_id='db', state='running', timeout_secs=1)
    assert (r['detail_state'], r['timed_out']) == ('stopped', True)
    assert 0.9 <= time.monotonic() - begun < 5
    assert call('vm.wait', vm_id='db', timeout_secs=0)['timed_out'] is True


def test_wait_hears_of_it(call, bus, rpcd):
    waiter = in_background(rpcd.client(), 'vm.wait', vm_id='db', states=['running'])
    other = in_background(rpcd.client(), 'vm.wait', vm_id='db', state='agent')
    time.sleep(0.3)
    bus.call('Move', 'db', 'starting', 'somebody')
    time.sleep(0.1)
    bus.call('Move', 'db', 'running', 'somebody')
    r = waiter()
    assert (r['detail_state'], r['timed_out']) == ('running', False)
    assert other()['timed_out'] is False


def test_wait_ends_with_the_vm(rpcd, bus):
    waiter = in_background(rpcd.client().error, 'vm.wait', vm_id='db', state='running')
    time.sleep(0.3)
    bus.call('Remove', 'db')
    assert waiter().code == NO_VM


def test_wait_outlives_the_service(rpcd, bus):
    waiter = in_background(rpcd.client(), 'vm.wait', vm_id='db', state='running', timeout_secs=20)
    time.sleep(0.3)
    bus.call('Crash')
    time.sleep(1.5)
    bus.call('Move', 'db', 'running', 'again')
    assert waiter()['timed_out'] is False


def test_waits_are_bounded_for_a_vm(rpcd, bus):
    clients = [rpcd.client() for _ in range(17)]
    for c in clients[:16]:
        c.send('vm.wait', vm_id='db')
    time.sleep(0.5)
    assert clients[16].error('vm.wait', vm_id='db').code == LIMIT
    assert clients[16]('vm.wait', vm_id='web')['timed_out'] is False
    bus.call('Move', 'db', 'running', 'again')
    for c in clients[:16]:
        assert c.answer()['detail_state'] == 'running'


def test_who_waits_is_told_when_the_service_ends(rpcd):
    c = rpcd.client()
    waiter, tail = in_background(c.error, 'vm.wait', vm_id='db'), in_background(rpcd.client().error, 'events.tail', since=1 << 40, timeout_secs=60)
    time.sleep(0.3)
    begun = time.monotonic()
    rpcd.stop()
    assert time.monotonic() - begun < 4
    assert waiter().code == CANCELED and tail().code == CANCELED


def test_wrong_states_are_refused(call):
    for wrong in ({'states': []}, {'states': 'running'}, {'states': ['x'] * 17}, {'timeout_secs': -1}, {'timeout_secs': 3601}):
        assert call.error('vm.wait', vm_id='web', **wrong).code == INVALID


# vm.suspend, vm.resume, vm.set_resources

def test_sleep_and_wake(call):
    assert call('vm.suspend', vm_id='web')['detail_state'] == 'suspended'
    assert call('vm.resume', vm_id='web')['detail_state'] == 'running'
    r = call('vm.hibernate', vm_id='web')
    assert (r['state'], r['detail_state']) == ('stopped', 'hibernated')
    r = call('vm.suspend', vm_id='slow-1', wait=False)
    assert r['vm_id'] == call('vm.get', vm_id='slow-1')['id']
    assert call('job.get', job_id=r['job_id'])['state'] == 'running'
    assert call.error('vm.suspend', vm_id='broken-1').name == 'VMMFailed'


def test_resources_are_set_and_the_answer_has_them(call, bus):
    r = call('vm.set_resources', vm_id='web', cpu_count=3, memory_mb=512, disk_gb=2.5, cpu_weight=200, io_weight=50, receive_max=-1,
             transmit_max=1048576)
    assert r['resources'] == {'cpu_count': 3, 'memory_mb': 512, 'disk_gb': 2.5}
    assert call('vm.get', vm_id='web') == r
    assert bus.calls()[-1] == ('SetResources CPUWeight=200 CPUs=3 Disk=2684354560 IOWeight=50 Memory=536870912 '
                               f'NetworkReceiveMax={2**64 - 1} NetworkTransmitMax=1048576')
    assert call('vm.set_resources', vm_id='web', cpu_weight=1)['resources'] == r['resources']
    for wrong in ({'cpu_count': 0}, {'cpu_count': 1.5}, {'memory_mb': 63}, {'cpu_weight': 10001}, {'receive_max': -2}):
        assert call.error('vm.set_resources', vm_id='web', **wrong).code == INVALID


# events.tail

def test_events_of_the_past(call):
    r = call('events.tail')
    assert [e['sequence'] for e in r['events']] == list(range(1, r['next'] + 1)) and r['lost'] == 0
    e = r['events'][0]
    assert (e['vm_name'], e['from'], e['to'], e['reason']) == ('web', 'pending', 'running', 'made')
    assert e['vm_id'] == call('vm.get', vm_id='web')['id']
    assert e['timestamp'].endswith('Z')
    last = call('events.tail', limit=2)
    assert last['events'] == r['events'][-2:] and last['next'] == r['next']
    first = call('events.tail', since=1, limit=3)
    assert first['events'] == r['events'][1:4] and first['next'] == 4
    assert call('events.tail', since=r['next'])['events'] == []
    assert [e['vm_name'] for e in call('events.tail', vm_id='db')['events']] == ['db']
    assert call.error('events.tail', vm_id='unknown').code == NO_VM


def test_events_are_waited_for(call, rpcd, bus):
    next = call('events.tail')['next']
    all, web, db = (in_background(rpcd.client(), 'events.tail', since=next, timeout_secs=30, **more)
                    for more in ({}, {'vm_id': 'web'}, {'vm_id': 'db'}))
    time.sleep(0.3)
    bus.call('Move', 'db', 'starting', 'somebody')
    assert all() == db()
    r = all()
    assert [(e['vm_name'], e['to']) for e in r['events']] == [('db', 'starting')] and r['next'] == next + 1
    bus.call('Move', 'web', 'stopping', 'somebody')
    r = web()
    assert [(e['vm_name'], e['to']) for e in r['events']] == [('web', 'stopping')] and r['next'] == next + 2
    begun = time.monotonic()
    assert call('events.tail', since=r['next'], timeout_secs=1)['events'] == []
    assert 0.9 <= time.monotonic() - begun < 5


def test_a_user_sees_events_of_the_own_vm(own, bus, rpcd):
    r = own('events.tail')
    assert {e['vm_name'] for e in r['events']} == {'mine'}
    assert own.error('events.tail', vm_id='web').code == DENIED
    assert own.error('events.tail', vm_id='unknown').code == DENIED
    waiter = in_background(rpcd.client(SOMEBODY), 'events.tail', since=r['next'], timeout_secs=30)
    time.sleep(0.3)
    bus.call('Move', 'web', 'stopping', 'somebody')
    bus.call('Move', 'mine', 'stopping', 'somebody')
    assert [e['vm_name'] for e in waiter()['events']] == ['mine']


def test_who_has_no_vm_yet_sees_its_first_events(rpcd, bus):
    c = rpcd.client(SOMEBODY)
    assert c('events.tail')['events'] == []
    c.send('events.tail', timeout_secs=30)
    time.sleep(0.3)
    bus.call('Move', 'web', 'stopping', 'somebody')
    bus.call('Add', 'mine', 'games', 'configured')
    bus.call('Move', 'mine', 'starting', 'somebody')
    assert {e['vm_name'] for e in c.answer()['events']} == {'mine'}


# images

def test_images_are_listed(call):
    images = {i['reference']: i for i in call('image.list')}
    assert images['app:1'] == {'reference': 'app:1', 'digest': 'sha256:' + 'a1' * 32, 'platform': 'linux/amd64',
                               'size_bytes': 5 << 20, 'created_at': '2026-11-18T11:06:40Z'}
    assert images['busybox:latest']['platform'] is None


def test_an_image_is_pulled(call, bus):
    r = call('image.pull', reference='new/thing:2', platform='linux/arm64')
    assert (r['reference'], r['digest'], r['platform']) == ('new/thing:2', 'sha256:' + 'f' * 64, 'linux/arm64')
    assert 'Pull new/thing:2 Platform=linux/arm64' in bus.calls()
    assert call('image.pull', reference='other')['reference'] == 'other:latest'
    assert call.error('image.pull', reference='missing/thing').code == NO_IMAGE
    e = call.error('image.pull', reference='broken/thing')
    assert (e.code, e.name, e.message) == (PULL_FAILED, 'PullFailed', 'registry.example: connection refused')
    assert call.error('image.pull', reference='NOT A REFERENCE').code == INVALID
    assert call.error('image.pull').code == INVALID


def test_a_pull_is_a_job(call, own):
    r = call('image.pull', reference='slow/thing', wait=False)
    assert r == {'job_id': 'image-1', 'vm_id': None}
    time.sleep(1)
    j = call('job.get', job_id='image-1')
    assert (j['state'], j['type'], j['step'], j['progress']['total']) == ('running', 'pull', 'fetch', 30 << 20)
    assert own.error('job.get', job_id='image-1').code == NO_JOB
    assert own.error('job.cancel', job_id='image-1').code == NO_JOB
    wait_until(lambda: call('job.get', job_id='image-1')['state'] == 'done')
    assert call('job.get', job_id='image-1')['error'] is None
    for wrong in ('image-99', 'image-', 'image-x', 'image-0', 'image-99999999999'):
        assert call.error('job.get', job_id=wrong).code == NO_JOB
        assert call.error('job.cancel', job_id=wrong).code == NO_JOB


def test_a_pull_is_canceled(call, rpcd):
    waiter = in_background(rpcd.client().error, 'image.pull', reference='stuck/thing')
    time.sleep(0.3)
    assert call('job.cancel', job_id='image-1') == {'job_id': 'image-1', 'canceled': True}
    assert waiter().code == CANCELED
    j = call('job.get', job_id='image-1')
    assert (j['state'], j['error']['data']['name']) == ('canceled', 'Canceled')


def test_a_pull_ends_with_its_service(call):
    assert call.error('image.pull', reference='crash/thing').code == UNAVAILABLE


def test_an_image_is_imported(call, rpcd, tmp_path):
    (tmp_path / 'My-App.tar.gz').write_bytes(b'tar' * 1000)
    r = call('image.import', path=str(tmp_path / 'My-App.tar.gz'))
    assert (r['reference'], r['digest'], r['size_bytes']) == ('my-app:latest', 'sha256:' + 'c' * 64, 3000)
    assert "image.import of image 'my-app'" in rpcd.log()
    assert call('image.import', path=str(tmp_path / 'My-App.tar.gz'), reference='other:1', wait=False)['job_id'] == 'image-2'
    (tmp_path / 'bad').write_bytes(b'bad')
    assert call.error('image.import', path=str(tmp_path / 'bad')).name == 'ImportFailed'


def test_what_is_imported_is_a_file(call, tmp_path):
    os.mkfifo(tmp_path / 'fifo')
    (tmp_path / 'file').write_bytes(b'x')
    (tmp_path / 'link').symlink_to('file')
    for path in (tmp_path / 'fifo', tmp_path / 'link', tmp_path, tmp_path / 'missing', '/dev/zero', 'relative', '', 'x' * 4097):
        assert call.error('image.import', path=str(path)).code == INVALID


def test_an_image_is_deleted(call):
    assert call('image.delete', reference='app:1') == {'deleted': True, 'reference': 'app:1'}
    assert call.error('image.delete', reference='app:1').code == NO_IMAGE
    assert call.error('image.delete', reference='busybox:latest').name == 'ImageInUse'


# the line socket

def test_the_line_socket_has_the_names_of_my_hypervisor(rpcd, bus):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(20)
    s.connect(str(rpcd.directory / 'line.sock'))
    f = s.makefile('rw')

    def ask(method, **params):
        f.write(json.dumps({'jsonrpc': '2.0', 'id': 1, 'method': 'compute.' + method, 'params': params}) + '\n')
        f.flush()
        return json.loads(f.readline())['result']

    assert ask('vm.exec', name='web', command=['echo', 'hello'])['stdout'] == 'hello\n'
    id = ask('vm.status', name='web')['id']
    assert ask('vm.logs', id=id, lines=1)['vm_id'] == id
    assert ask('vm.events.tail', limit=1)['events'][0]['sequence'] > 1
    with connect(ask('vm.console.endpoint', id=id)['endpoint']) as console:
        assert receive(console, 9) == b'history\r\n'
    assert ask('vm.remove', name='db')['deleted'] is True
    f.close()
    s.close()
