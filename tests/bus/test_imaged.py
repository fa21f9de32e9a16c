# SPDX-License-Identifier: Apache-2.0
"""hero-imaged on a private bus: imports, opens, removals, and what goes wrong with them."""

import io
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import tarfile
import tempfile
import threading
import time
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor

import pytest
from gi.repository import Gio, GLib

from imaged_fixtures import ERROR, HERE, IMAGE, INTERFACE, JOB, LIBEXEC, NAME, OBJECT, Host, make_tar, wait_for

SMALL = make_tar({'hello': b'world\n', 'etc/os-release': b'ID=test\n'})
OTHER = make_tar({'hello': b'moon\n'})


@pytest.fixture
def host(tmp_path):
    h = Host(tmp_path)
    yield h
    h.close()


@pytest.fixture
def bus(host):
    return host.connect()


@pytest.fixture
def public_path():
    """A directory other users can get at."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix='test-imaged-', dir='/tmp'))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def unsquash(data, name, tmp_path):
    (tmp_path / 'image').write_bytes(data)
    return subprocess.run(['unsquashfs', '-cat', tmp_path / 'image', name], check=True, capture_output=True).stdout


def test_an_import_can_be_listed_and_opened(bus, tmp_path):
    result, message, digest = bus.import_bytes('library/test:1.0', SMALL)
    assert (result, message) == ('done', '')
    listed, platform, size, created, path = bus.list()['library/test:1.0']
    assert (listed, platform, path) == (digest, '', f'{OBJECT}/image/{digest[7:]}')
    assert abs(created / 1e6 - time.time()) < 60
    opened, data = bus.open('library/test:1.0')
    assert (opened, len(data)) == (digest, size)
    image = bus.get('library/test:1.0')
    assert (image['Entries'], image['Layers'], image['Size'], image['References']) == (4, 0, size, ['library/test:1.0'])
    assert (image['Digest'], image['ContentDigest'], image['Entrypoint'], image['UsedBy']) == (digest, digest, [], [])
    assert unsquash(data, 'hello', tmp_path) == b'world\n'
    assert bus.open(digest)[0] == digest
    assert ('ImagesChanged',) in bus.signals


def test_the_list_is_sorted_with_the_builtin_in_its_place(bus):
    for name in 'zebra', 'apple', 'busyboy':
        bus.imported(name, SMALL)
    assert [i[0] for i in bus.call('List')[0]] == ['apple:latest', 'busybox:latest', 'busyboy:latest', 'zebra:latest']


def test_the_opened_file_cannot_be_written(bus):
    bus.imported('test', SMALL)
    _, handle, _ = bus.call('Open', '(s)', 'test')
    fd = bus.fds[handle]
    with pytest.raises(OSError):
        os.write(fd, b'x')
    os.close(fd)


def test_the_same_archive_makes_the_same_image(host, bus):
    first = bus.imported('a', SMALL)
    assert bus.imported('b', SMALL) == first
    assert len(host.contents()) == 1


def test_an_import_through_a_slow_pipe_reports_progress(bus):
    tar = make_tar({f'f{i}': os.urandom(100000) for i in range(20)})
    r, w = os.pipe()
    number = bus.start_import('slow', r)
    os.close(r)
    for i in range(0, len(tar), len(tar) // 8 + 1):
        os.write(w, tar[i:i + len(tar) // 8 + 1])
        time.sleep(0.25)
    os.close(w)
    assert bus.wait_done(number)[0] == 'done'
    changes = bus.changes(number)
    progress = [c['Progress'] for c in changes if c['Step'] == 'convert']
    assert len(progress) >= 3
    assert progress == sorted(progress)
    assert 0 < progress[-1][0] <= len(tar)
    assert list(dict.fromkeys(c['Step'] for c in changes)) == ['fetch', 'convert']


@pytest.mark.parametrize('data, part', [
    (b'', 'The archive is empty.'),
    (b'nonsense' * 1000, 'Unrecognized archive format'),
    (SMALL[:700], 'Truncated'),
    (make_tar({'/etc/passwd': b'x'}), 'has an absolute name'),
    (make_tar({'a/../../x': b'x'}), 'has ".." in its name'),
])
def test_an_archive_that_cannot_be_used_leaves_nothing(host, bus, data, part):
    result, message, digest = bus.import_bytes('bad', data)
    assert result == ERROR + 'ImportFailed'
    assert part in message
    assert digest == ''
    assert 'bad:latest' not in bus.list()
    assert host.contents() == []
    assert list((host.state / 'tags').iterdir()) == []


def test_a_failed_import_leaves_the_old_image(bus):
    digest = bus.imported('a', SMALL)
    assert bus.import_bytes('a', b'nonsense')[0] != 'done'
    assert bus.open('a')[0] == digest


@pytest.mark.parametrize('reference', ['', 'A', 'a:', 'a//b', '../x', 'a b', 'sha256:abc', 'a' * 251, 'a:' + 'b' * 129, 'a@b', 'a.b:x/c'])
def test_a_bad_reference_is_refused_everywhere(bus, reference):
    for method in 'Open', 'Remove':
        assert bus.error(method, '(s)', reference)[0] == ERROR + 'InvalidArgument'
    with open('/dev/null') as f:
        assert bus.error('Import', '(sha{sv})', reference, 0, {}, fds=[f.fileno()])[0] == ERROR + 'InvalidArgument'


def test_what_is_not_there_is_said_so(bus):
    for reference in 'nothing', 'sha256:' + '0' * 64, 'a@sha256:' + '0' * 64:
        for method in 'Open', 'Remove', 'Get':
            assert bus.error(method, '(s)', reference)[0] == ERROR + 'NoSuchImage'
    assert bus.error('Cancel', path=f'{OBJECT}/job/77', interface=JOB)[0] == 'org.freedesktop.DBus.Error.UnknownObject'


def test_unknown_options_digests_and_the_builtin_name_are_refused(bus):
    with open('/dev/null') as f:
        error, message = bus.error('Import', '(sha{sv})', 'a', 0, {'Fast': GLib.Variant('b', True)}, fds=[f.fileno()])
        assert error == ERROR + 'InvalidArgument' and '"Fast"' in message
        for reference in 'busybox', 'sha256:' + '0' * 64, 'a@sha256:' + '0' * 64:
            assert bus.error('Import', '(sha{sv})', reference, 0, {}, fds=[f.fileno()])[0] == ERROR + 'InvalidArgument'


def test_a_canceled_import_leaves_nothing(host, bus):
    r, w = os.pipe()
    number = bus.start_import('never', r)
    os.write(w, SMALL[:1000])
    wait_for(host.workers)
    bus.cancel(number)
    assert bus.wait_done(number)[0] == 'canceled'
    wait_for(lambda: not host.workers())
    assert host.contents() == []
    assert bus.error('Cancel', path=number, interface=JOB)[0] == 'org.freedesktop.DBus.Error.UnknownObject'
    os.close(r)
    with pytest.raises(BrokenPipeError):  # nobody reads any more
        for _ in range(100):
            os.write(w, b'x' * 65536)
    os.close(w)


def test_an_import_ends_with_its_caller(host, bus):
    caller = host.connect()
    r, w = os.pipe()
    number = caller.start_import('never', r)
    os.close(r)
    os.write(w, SMALL[:1000])
    wait_for(host.workers)
    caller.close()
    result, message, _ = bus.wait_done(number)
    assert result == 'canceled' and 'left the bus' in message
    wait_for(lambda: not host.workers())
    assert host.contents() == []
    os.close(w)


def test_a_worker_that_is_killed_is_an_error_not_a_hang(host, bus):
    r, w = os.pipe()
    number = bus.start_import('never', r)
    os.write(w, SMALL[:1000])
    wait_for(host.workers)
    os.kill(int(host.workers()[0]), signal.SIGKILL)
    result, message, _ = bus.wait_done(number)
    assert result == ERROR + 'ImportFailed' and 'killed' in message
    os.close(r)
    os.close(w)
    bus.imported('after', SMALL)


def test_no_more_than_eight_imports_at_a_time(bus):
    pipes = [os.pipe() for _ in range(8)]
    numbers = [bus.start_import(f'n{i}', r) for i, (r, _) in enumerate(pipes)]
    with open('/dev/null') as f:
        assert bus.error('Import', '(sha{sv})', 'n9', 0, {}, fds=[f.fileno()])[0] == ERROR + 'LimitExceeded'
    for r, w in pipes:
        os.close(r)
        os.write(w, SMALL)
        os.close(w)
    assert {bus.wait_done(n)[0] for n in numbers} == {'done'}
    assert set(bus.list()) >= {f'n{i}:latest' for i in range(8)}


def test_a_daemon_killed_in_an_import_leaves_nothing(host, bus):
    digest = bus.imported('kept', SMALL)
    r, w = os.pipe()
    bus.start_import('never', r)
    os.close(r)
    os.write(w, SMALL[:1000])
    wait_for(host.workers)
    worker = host.workers()[0]
    host.daemon.kill()
    host.daemon.wait()
    wait_for(lambda: not pathlib.Path(f'/proc/{worker}').exists() or
             'State:\tZ' in pathlib.Path(f'/proc/{worker}/status').read_text())
    os.close(w)
    host.start()
    assert len(host.contents()) == 1
    assert bus.open('kept')[0] == digest


class TestBusybox:
    def test_opens_at_the_same_time_share_one_build(self, host, bus, tmp_path):
        assert bus.list()['busybox:latest'] == ('', '', 0, 0, '/')
        answers = []

        def open_it():
            answers.append(host.connect().open('busybox'))
        threads = [threading.Thread(target=open_it) for _ in range(10)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert len(answers) == 10
        assert len(set(answers)) == 1
        assert host.log().count('Made the built-in image') == 1
        assert b'ID=hero-busybox' in unsquash(answers[0][1], 'etc/os-release', tmp_path)
        assert unsquash(answers[0][1], 'bin/busybox', tmp_path) == pathlib.Path('/bin/busybox').read_bytes()
        assert bus.list()['busybox:latest'][0] == answers[0][0]
        listing = subprocess.run(['unsquashfs', '-lln', tmp_path / 'image'], check=True, capture_output=True, text=True).stdout
        assert 'squashfs-root/bin/sh -> /bin/busybox' in listing

    def test_it_is_made_again_when_busybox_changed(self, tmp_path, request):
        shutil.copy2('/bin/busybox', tmp_path / 'busybox')
        h = Host(tmp_path, HERO_BUSYBOX=str(tmp_path / 'busybox'))
        request.addfinalizer(h.close)
        h.play_computed([])
        c = h.connect()
        first = c.open('busybox')[0]
        assert c.open('busybox')[0] == first
        os.utime(tmp_path / 'busybox', (1, 1))
        second = c.open('busybox')[0]
        assert second != first
        wait_for(lambda: h.contents() == [second[7:] + '.squashfs'])  # nobody uses the old one
        os.unlink(tmp_path / 'busybox')
        assert c.open('busybox')[0] == second

    def test_without_a_static_busybox_it_says_what_to_do(self, tmp_path, request):
        h = Host(tmp_path, HERO_BUSYBOX=str(tmp_path / 'busybox'))
        request.addfinalizer(h.close)
        c = h.connect()
        assert 'busybox:latest' not in c.list()
        error, message = c.error('Open', '(s)', 'busybox')
        assert error == ERROR + 'NoSuchImage' and 'busybox-static' in message
        shutil.copy2('/bin/true', tmp_path / 'busybox')
        error, message = c.error('Open', '(s)', 'busybox')
        assert error == ERROR + 'BadImage' and 'busybox-static' in message
        assert h.contents() == []

    def test_removed_it_comes_back(self, host, bus):
        host.play_computed([])
        digest = bus.open('busybox')[0]
        bus.call('Remove', '(s)', 'busybox')
        assert host.contents() == []
        assert bus.open('busybox')[0] == digest


class TestRemove:
    def test_one_of_two_tags_needs_no_question(self, host, bus):
        digest = bus.imported('a', SMALL)
        bus.imported('b', SMALL)
        bus.call('Remove', '(s)', 'a')
        assert bus.error('Open', '(s)', 'a')[0] == ERROR + 'NoSuchImage'
        assert bus.open('b')[0] == digest

    def test_with_the_last_tag_the_content_goes(self, host, bus):
        host.play_computed([])
        bus.imported('a', SMALL)
        bus.call('Remove', '(s)', 'a:latest')
        assert host.contents() == []
        assert 'a:latest' not in bus.list()

    def test_by_digest_all_tags_go(self, host, bus):
        host.play_computed([])
        digest = bus.imported('a', SMALL)
        bus.imported('b', SMALL)
        bus.imported('c', OTHER)
        bus.call('Remove', '(s)', digest)
        assert set(bus.list()) == {'c:latest', 'busybox:latest'}
        assert len(host.contents()) == 1

    def test_not_while_a_vm_uses_it(self, host, bus):
        digest = bus.imported('a', SMALL)
        host.play_computed([('other', 'b:latest', 'sha256:' + 64 * '0'), ('lost', '', ''), ('web', 'b', digest)])
        for reference in 'a', digest:
            error, message = bus.error('Remove', '(s)', reference)
            assert error == ERROR + 'ImageInUse' and "'web'" in message
        assert bus.open('a')[0] == digest

    @pytest.mark.parametrize('image', ['a', 'a:latest', 'b', 'DIGEST'])
    def test_not_while_a_vm_is_made_of_it(self, host, bus, image):
        digest = bus.imported('a', SMALL)
        bus.imported('b', SMALL)
        bus.imported('c', OTHER)
        host.play_computed([('web', image.replace('DIGEST', digest), '')])
        error, message = bus.error('Remove', '(s)', digest)
        assert error == ERROR + 'ImageInUse' and "'web'" in message
        bus.call('Remove', '(s)', 'c')
        assert bus.open('a')[0] == digest

    def test_a_vm_to_be_made_of_what_is_not_there_keeps_nothing(self, host, bus):
        bus.imported('a', SMALL)
        host.play_computed([('one', 'none', ''), ('two', 'N O N E', ''), ('three', 'sha256:' + 64 * '0', '')])
        bus.call('Remove', '(s)', 'a')
        assert host.contents() == []

    def test_not_while_the_image_of_a_vm_cannot_be_told(self, host, bus):
        used = [('lost', '', '')]
        host.play_computed(used)
        old = bus.imported('a', SMALL)
        error, message = bus.error('Remove', '(s)', 'a')
        assert error == ERROR + 'Busy' and "'lost'" in message and '/vms/lost' in message
        assert bus.open('a')[0] == old
        bus.imported('a', OTHER)
        time.sleep(0.3)
        assert len(host.contents()) == 2  # nothing is collected either
        used.clear()
        bus.call('Remove', '(s)', 'a')
        assert bus.open(old)[0] == old

    def test_not_while_nobody_knows(self, host, bus):
        digest = bus.imported('a', SMALL)
        error, message = bus.error('Remove', '(s)', 'a')
        assert error == ERROR + 'Busy' and 'hero-computed' in message
        assert bus.open('a')[0] == digest

    def test_a_replaced_content_stays_as_long_as_a_vm_uses_it(self, host, bus):
        used = []
        host.play_computed(used)
        old = bus.imported('a', SMALL)
        used.append(('web', 'a', old))
        new = bus.imported('a', OTHER)
        assert bus.open('a')[0] == new
        assert bus.open(old)[0] == old
        assert bus.call('Prune', '(a{sv})', {})[0] == []
        used.clear()
        assert [r[1] for r in bus.call('Prune', '(a{sv})', {})[0]] == [old]
        assert len(host.contents()) == 1

    def test_a_broken_tag_is_shown_and_goes_alone(self, host, bus):
        digest = bus.imported('a', SMALL)
        tag = host.state / 'tags/broken=latest'
        host.stop()
        tag.write_text('{"version":')
        host.start()
        assert bus.error('Open', '(s)', 'broken')[0] == ERROR + 'BadImage'
        assert set(bus.list()) == {'a:latest', 'busybox:latest'}
        bus.call('Remove', '(s)', 'broken')
        assert not tag.exists()
        assert bus.open('a')[0] == digest

    def test_a_damaged_content_is_not_handed_out(self, host, bus):
        bus.imported('a', SMALL)
        path = host.state / 'content' / host.contents()[0]
        os.truncate(path, 4096 if path.stat().st_size != 4096 else 2048)
        error, message = bus.error('Open', '(s)', 'a')
        assert error == ERROR + 'BadImage' and 'damaged' in message
        path.unlink()
        assert 'gone' in bus.error('Open', '(s)', 'a')[1]


class TestAuthorisation:
    """As a user without rights, on a bus that lets everything through."""

    @pytest.fixture
    def host(self, public_path):
        h = Host(public_path)
        yield h
        h.close()

    def call(self, host, *arguments):
        r = subprocess.run(['busctl', f'--address={host.address}', 'call', NAME, OBJECT, INTERFACE, *arguments],
                           user=65534, group=65534, extra_groups=[], capture_output=True, text=True)
        return r.returncode, r.stdout + r.stderr

    def test_without_polkit_nothing_is_permitted(self, host):
        host.connect().imported('a', SMALL)
        for arguments in ['List'], ['Remove', 's', 'a'], ['Prune', 'a{sv}', '0'], ['Get', 's', 'a'], ['Open', 's', 'a']:
            status, text = self.call(host, *arguments)
            assert status != 0 and 'denied' in text, text
        assert 'a:latest' in host.connect().list()

    def test_polkit_decides_by_action_and_verb(self, host):
        asked = []

        def answer(action, details):
            asked.append((action, details))
            return action == 'org.hero.compute.inspect-images'
        host.play_polkit(answer)
        host.connect().imported('a', SMALL)
        assert self.call(host, 'List')[0] == 0
        assert self.call(host, 'Remove', 's', 'a')[0] != 0
        assert self.call(host, 'Prune', 'a{sv}', '0')[0] != 0
        assert self.call(host, 'Get', 's', 'a')[0] == 0
        assert asked == [('org.hero.compute.inspect-images', {'verb': 'list-images'}),
                         ('org.hero.compute.images', {'verb': 'remove'}), ('org.hero.compute.images', {'verb': 'prune'}),
                         ('org.hero.compute.inspect-images', {'verb': 'get-image'})]

    def test_open_is_for_root_whatever_polkit_says(self, host):
        host.play_polkit(lambda action, details: True)
        host.connect().imported('a', SMALL)
        status, text = self.call(host, 'Open', 's', 'a')
        assert status != 0 and 'denied' in text


def test_it_needs_no_privilege(public_path):
    """As a user without any, owners and devices of others included."""
    libexec = public_path / 'libexec'
    libexec.mkdir(mode=0o755)
    for name in 'hero-imaged', 'hero-image-worker':
        shutil.copy(LIBEXEC / name, libexec)
    h = Host(public_path, user=65534, HERO_LIBEXEC_DIR=str(libexec))
    c = h.connect()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w') as t:
        null, file = tarfile.TarInfo('dev/null'), tarfile.TarInfo('secret')
        null.type, null.devmajor, null.devminor = tarfile.CHRTYPE, 1, 3
        file.uid, file.gid, file.mode = 12345, 54321, 0o4700
        t.addfile(null)
        t.addfile(file)
    c.imported('a', out.getvalue())
    (public_path / 'image').write_bytes(c.open('a')[1])
    listing = subprocess.run(['unsquashfs', '-lln', public_path / 'image'], check=True, capture_output=True, text=True).stdout
    assert re.search(r'^crw-r--r-- 0/0 +1, +3 .*dev/null$', listing, re.M), listing
    assert re.search(r'^-rws------ 12345/54321 .*secret$', listing, re.M), listing
    assert c.open('busybox')[0].startswith('sha256:')
    for p in (h.state / 'content').iterdir():
        assert (p.stat().st_uid, p.stat().st_mode & 0o777) == (65534, 0o400)
    h.close()


def test_it_leaves_when_nobody_wants_it_and_comes_back(tmp_path):
    h = Host(tmp_path, activated=True, HERO_IDLE_SEC='500ms')
    c = h.connect()
    digest = c.imported('a', SMALL)

    def owned():
        return c.ask_bus('NameHasOwner', '(s)', NAME)
    wait_for(lambda: not owned())
    assert c.open('a')[0] == digest
    # Not in the middle of an import, however long it takes.
    r, w = os.pipe()
    number = c.start_import('slow', r)
    os.close(r)
    time.sleep(1.5)
    os.write(w, OTHER)
    os.close(w)
    assert c.wait_done(number)[0] == 'done'
    wait_for(lambda: not owned())
    h.close()


def test_no_call_is_lost_while_it_leaves(tmp_path):
    h = Host(tmp_path, activated=True, HERO_IDLE_SEC='5ms')
    c = h.connect()
    for _ in range(100): # it may be about to leave already, which it says
        try:
            digest = c.imported('a', SMALL)
            break
        except GLib.Error as e:
            assert Gio.DBusError.get_remote_error(e) == ERROR + 'Busy'
    rng = random.Random(1)
    for _ in range(40):
        assert c.open('a')[0] == digest
        time.sleep(rng.uniform(0.003, 0.009))
    h.close()


@pytest.fixture
def leaving(tmp_path):
    """Calls that the bus hands over between hero-imaged's decision to leave and the loss of its name: the bus is held
    still meanwhile, and works off what it then finds in the order in which it came."""
    h = Host(tmp_path, activated=True, HERO_IDLE_SEC='1s')
    c = h.connect()
    c.imported('a', SMALL)

    def call(*arguments, fails=False, **options):
        """The answer, and the bus's name for who gave it. The caller is one it has to ask the bus about."""
        owner, caller = c.ask_bus('GetNameOwner', '(s)', NAME), h.connect()
        h.bus.send_signal(signal.SIGSTOP)
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(caller.error if fails else caller.call, *arguments, **options)
            time.sleep(2)
            h.bus.send_signal(signal.SIGCONT)
            return answer.result(), owner
    yield c, call, lambda name: c.ask_bus('NameHasOwner', '(s)', name)
    h.close()


def test_a_call_that_comes_while_it_leaves_is_answered_and_does_not_keep_it(leaving):
    c, call, is_on_bus = leaving
    answer, process = call('List')
    assert answer[0][0][0] == 'a:latest'
    # Long before it would have been idle once more: systemd starts no other while it lives.
    wait_for(lambda: not is_on_bus(process), 0.8)
    assert 'a:latest' in c.list()


def test_no_import_is_begun_while_it_leaves(leaving):
    c, call, _ = leaving
    fd = os.memfd_create('tar')
    os.write(fd, SMALL)
    (name, sentence), _ = call('Import', '(sha{sv})', 'b', 0, {}, fds=[fd], fails=True)
    assert name == ERROR + 'Busy' and 'try again' in sentence
    os.lseek(fd, 0, os.SEEK_SET)
    assert c.wait_done(c.start_import('b', fd))[0] == 'done'
    os.close(fd)


def members(text, interface):
    root = ElementTree.fromstring(text)
    element = next(i for i in root.iter('interface') if i.get('name') == interface)
    found = {(m.tag, m.get('name')): [(a.get('type'), a.get('name'), a.get('direction', 'out' if m.tag == 'signal' else 'in'))
                                      for a in m.iter('arg')] for m in element if m.tag != 'property'}
    found |= {('property', m.get('name')): (m.get('type'), m.get('access'), [a.get('value') for a in m.iter('annotation')])
              for m in element.iter('property')}
    return found


def test_introspection_is_the_contract(bus):
    digest = bus.imported('a', SMALL)
    r, w = os.pipe()
    job = bus.start_import('never', r)
    os.close(r)
    for interface, path in (INTERFACE, OBJECT), (IMAGE, f'{OBJECT}/image/{digest[7:]}'), (JOB, job):
        live = bus.call('Introspect', path=path, interface='org.freedesktop.DBus.Introspectable')[0]
        contract = (HERE.parent.parent / f'dbus/{interface}.xml').read_text()
        assert members(live, interface) == members(contract, interface)
    bus.cancel(job)
    os.close(w)


def test_objects_come_and_go_with_images_and_jobs(bus, host):
    host.play_computed([])
    digest = bus.imported('a', SMALL)
    path = f'{OBJECT}/image/{digest[7:]}'
    r, w = os.pipe()
    job = bus.start_import('never', r)
    os.close(r)
    wait_for(lambda: bus.changes(job))
    objects = bus.objects()
    assert set(objects) == {path, job}
    assert objects[path][IMAGE]['References'] == ['a:latest']
    assert objects[job][JOB] == {'Id': int(job.rpartition('/')[2]), 'Type': 'import', 'Reference': 'never:latest', 'Step': 'fetch',
                                 'Progress': (0, 0), 'Layers': (0, 0)}
    bus.cancel(job)
    os.close(w)
    bus.call('Remove', '(s)', 'a')
    assert bus.objects() == {}


class TestGet:
    def test_by_name_digest_and_beginning_of_one(self, bus):
        digest = bus.imported('a', SMALL)
        for text in 'a', 'a:latest', digest, digest[:13], digest[7:13], digest[7:], 'x@' + digest:
            assert bus.get(text)['Digest'] == digest
        assert bus.error('Get', '(s)', digest[7:12])[0] == ERROR + 'NoSuchImage'  # too short, so it is a name
        assert bus.error('Get', '(s)', 'No Name')[0] == ERROR + 'InvalidArgument'

    def test_it_says_who_uses_the_image_as_far_as_known(self, host, bus):
        digest = bus.imported('a', SMALL)
        assert bus.get('a')['UsedBy'] == []
        uses = [('web', 'a', digest), ('db', 'b', 'sha256:' + '1' * 64), ('new', 'a', '')]
        host.play_computed(uses)
        assert bus.get('a')['UsedBy'] == ['web']
        uses.append(('mail', digest, digest))
        assert bus.get('a')['UsedBy'] == ['web', 'mail']

    def test_the_builtin_that_is_not_made_yet(self, bus):
        error, message = bus.error('Get', '(s)', 'busybox')
        assert error == ERROR + 'NoSuchImage' and 'built in' in message


class TestPrune:
    def prune(self, bus, **options):
        return bus.call('Prune', '(a{sv})', {k: GLib.Variant('b', v) for k, v in options.items()})[0]

    def size(self, bus, digest):
        return bus.get(digest)['Size']

    def test_what_has_no_tag_goes_and_a_dry_run_only_says_so(self, host, bus):
        old = bus.imported('a', SMALL)
        bus.imported('a', OTHER)  # nobody could be asked: the old one stays
        size = self.size(bus, old)
        host.play_computed([])
        assert self.prune(bus, DryRun=True) == [('', old, size)]
        assert len(host.contents()) == 2
        assert self.prune(bus) == [('', old, size)]
        assert len(host.contents()) == 1
        assert self.prune(bus) == []

    def test_all_is_all_that_no_vm_uses(self, host, bus):
        used, other = bus.imported('used', SMALL), bus.imported('b', OTHER)
        bus.imported('a', OTHER)
        host.play_computed([('web', 'used', used)])
        size = self.size(bus, other)
        assert self.prune(bus, All=True, DryRun=True) == [('a:latest', other, size), ('b:latest', other, 0)]
        assert set(bus.list()) == {'used:latest', 'a:latest', 'b:latest', 'busybox:latest'}
        assert self.prune(bus, All=True) == [('a:latest', other, size), ('b:latest', other, 0)]
        assert set(bus.list()) == {'used:latest', 'busybox:latest'}

    def test_not_while_nobody_knows(self, host, bus):
        old = bus.imported('a', SMALL)
        bus.imported('a', OTHER)
        assert bus.error('Prune', '(a{sv})', {})[0] == ERROR + 'Busy'
        uses = [('quarantined', '', '')]
        host.play_computed(uses)
        assert self.prune(bus, All=True) == []
        assert bus.error('Remove', '(s)', old)[0] == ERROR + 'Busy'
        uses[:] = [('made', 'a', '')]  # of what the name means now
        assert bus.error('Remove', '(s)', 'a')[0] == ERROR + 'ImageInUse'
        assert [r[1] for r in self.prune(bus, All=True)] == [old]

    def test_options_it_does_not_know_are_refused(self, bus):
        assert bus.error('Prune', '(a{sv})', {'Some': GLib.Variant('b', True)})[0] == ERROR + 'InvalidArgument'
        assert bus.error('Prune', '(a{sv})', {'All': GLib.Variant('s', 'yes')})[0] == ERROR + 'InvalidArgument'
