# SPDX-License-Identifier: Apache-2.0
"""heroctl image: what arrives at the service, and what happens when something breaks on the way."""

import json
import os
import re
import stat
import subprocess
import tarfile
import time

import pytest
from gi.repository import Gio, GLib
from heroctl_fixtures import *
from imaged_fixtures import Connection


@pytest.fixture
def tar_bus(tmp_path):
    """The fake keeps a copy of what it read."""
    (tmp_path / 'bus').mkdir()
    b = Bus(tmp_path / 'bus', FAKE_TAR=str(tmp_path / 'seen.tar'))
    b.seen = tmp_path / 'seen.tar'
    yield b
    b.close()


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / 'root'
    (root / 'etc').mkdir(parents=True)
    (root / 'etc/plain').write_bytes(b'contents')
    os.link(root / 'etc/plain', root / 'second')
    os.symlink('etc/plain', root / 'link')
    os.chown(root / 'etc/plain', 1234, 70000)
    os.chmod(root / 'etc/plain', 0o4711)
    os.setxattr(root / 'etc/plain', 'user.note', b'a\0b')
    os.mknod(root / 'null', 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.mkfifo(root / 'fifo')
    os.mknod(root / 'socket', 0o666 | stat.S_IFSOCK)
    (root / 'empty').touch()
    (root / ('long' * 50)).write_bytes(b'x')
    open(os.path.join(os.fsencode(root), b'n\xe4me-\xc3\xbc'), 'wb').close()
    with open(root / 'sparse', 'wb') as f:
        f.seek(8 << 20)
        f.write(b'middle')
        f.truncate(64 << 20)
    (root / 'below').mkdir()
    os.chmod(root, 0o751)
    return root


def test_directory_arrives_as_a_tar(tar_bus, tree):
    assert tar_bus.text('image', 'import', 'debian:12', str(tree)) == 'sha256:' + 'c' * 64 + '\n'
    assert tar_bus.seen.stat().st_size < 1 << 20, 'holes are not sent'
    members = {m.name.removeprefix('./'): m for m in tarfile.open(tar_bus.seen)}
    plain, second = members['etc/plain'], members['second']
    if plain.islnk():
        plain, second = second, plain
    assert (plain.uid, plain.gid, plain.mode, plain.uname, plain.gname) == (1234, 70000, 0o4711, '', '')
    assert second.islnk() and second.linkname.removeprefix('./') in ('etc/plain', 'second')
    assert plain.pax_headers['SCHILY.xattr.user.note'] == 'a\0b'
    assert members['link'].linkname == 'etc/plain'
    assert members['null'].ischr() and (members['null'].devmajor, members['null'].devminor) == (1, 3)
    assert members['fifo'].isfifo() and members['below'].isdir() and members['empty'].size == 0
    assert 'socket' not in members and 'long' * 50 in members
    assert members['.'].mode == 0o751
    assert members['sparse'].size == 64 << 20
    f = tarfile.open(tar_bus.seen)
    f = f.extractfile('./sparse')
    f.seek((8 << 20) - 2)
    assert f.read(10) == b'\0\0middle\0\0'
    names = subprocess.run(['bsdtar', '-tf', tar_bus.seen], capture_output=True) if os.path.exists('/usr/bin/bsdtar') else None
    assert names is None or b'n\xe4me-\xc3\xbc' in names.stdout


def test_tar_file_and_standard_input_arrive_as_they_are(tar_bus, tmp_path):
    path = tmp_path / 'some.tar.xz'
    path.write_bytes(os.urandom(300000))
    tar_bus.text('image', 'import', 'a', str(path))
    assert tar_bus.seen.read_bytes() == path.read_bytes()
    r = tar_bus.run('image', 'import', 'b', '-', input=b'from a pipe', check=0)
    assert tar_bus.seen.read_bytes() == b'from a pipe'
    assert json.loads(tar_bus.text('image', 'import', 'c', str(path), '--json')) == {
        'reference': 'c', 'digest': 'sha256:' + 'c' * 64, 'job': None}
    assert r.stderr == b''


def test_oci_layout_arrives_with_what_tells_it_first(tar_bus, tmp_path):
    layout = tmp_path / 'layout'
    (layout / 'blobs/sha256').mkdir(parents=True)
    for i in range(20):
        (layout / f'blobs/sha256/{i:064x}').write_bytes(b'blob %d' % i)
    (layout / 'index.json').write_text('{}')
    (layout / 'oci-layout').write_text('{"imageLayoutVersion": "1.0.0"}')
    (layout / 'a-file-of-somebody-else').write_text('')
    tar_bus.text('image', 'import', 'app:2', str(layout))
    names = tarfile.open(tar_bus.seen).getnames()
    assert names[:2] == ['oci-layout', 'index.json']
    assert sorted(names[2:]) == ['blobs', 'blobs/sha256'] + [f'blobs/sha256/{i:064x}' for i in range(20)]
    (layout / 'index.json').unlink()  # no layout then, but a directory
    tar_bus.text('image', 'import', 'app:2', str(layout))
    assert './a-file-of-somebody-else' in tarfile.open(tar_bus.seen).getnames()


def test_list(bus, tmp_path):
    bus.run('image', 'import', 'mine', '-', input=b'x' * 1024, check=0)
    images = {i['reference']: i for i in json.loads(bus.text('image', 'list', '--json'))}
    assert images['mine:latest'] == {'reference': 'mine:latest', 'digest': 'sha256:' + 'c' * 64, 'platform': 'linux/amd64',
                                     'size': 1024, 'created': '2026-11-18T11:06:40Z'}
    assert images['busybox:latest']['platform'] is None
    assert bus.text('image', 'list', '-q').split() == ['app:1', 'busybox:latest', 'mine:latest',
                                                       'registry.example:5000/team/app:1', 'system:latest']
    text = bus.text('image', 'list')
    assert re.search(r'^app:1 +a1a1a1a1a1a1 +linux/amd64 +5M ', text, re.M) and '5 images listed.' in text


def test_remove_by_reference_digest_and_its_beginning(bus):
    assert bus.text('image', 'rm', 'system') == ''
    assert bus.text('image', 'rm', 'a1a1a1a1a1a1') == ''
    assert bus.calls()[-1] == 'Remove sha256:' + 'a1' * 32
    assert bus.text('image', 'list', '-q') == 'busybox:latest\n'
    assert bus.error('image', 'rm', 'busybox', check=1) == (
        "Failed to remove image 'busybox': VM 'web' uses this image.\n"
        "See 'heroctl image show IMAGE' for the VMs that use it.\n")
    assert "no image 'nope:latest'" in bus.error('image', 'rm', 'nope', check=4)
    assert "no image 'feedbeef:latest'" in bus.error('image', 'rm', 'feedbeef', check=4)
    assert bus.error('image', 'rm', 'doubtful', check=1) == (
        "Failed to remove image 'doubtful': Which image VM 'lost' uses cannot be told, so doubtful stays.\n")


def test_show(bus):
    text = bus.text('image', 'show', 'app:1')
    assert text == """\
        Image: app:1
               registry.example:5000/team/app:1
       Digest: sha256:%s
      Content: sha256:%s
     Platform: linux/amd64
         Size: 5M on disk, 12 entries of 3 layers
   Entrypoint: /bin/echo in
      Command: 'it is' 'o'\\''clock'
  Environment: PATH=/usr/bin:/bin
               COLOR=?[31mred
         User: app:users
    Directory: /usr
  Stop signal: SIGQUIT
       Labels: vendor=Example
               note=two lines
      Created: 2026-11-18 11:06:40 UTC
       Pulled: 2026-11-18 11:06:41 UTC
""" % ('a1' * 32, 'd' * 64)
    assert 'Used by: web' in bus.text('image', 'show', 'busybox')
    assert bus.text('image', 'show', 'a1a1a1', '-q') == 'sha256:' + 'a1' * 32 + '\n'
    assert "no image 'nope'" in bus.error('image', 'show', 'nope', check=4)


def test_show_as_json(bus):
    image = json.loads(bus.text('image', 'show', 'app:1', '--json'))
    assert image == {
        'references': ['app:1', 'registry.example:5000/team/app:1'], 'digest': 'sha256:' + 'a1' * 32,
        'content-digest': 'sha256:' + 'd' * 64, 'platform': 'linux/amd64', 'size': 5 << 20, 'entries': 12, 'layers': 3,
        'entrypoint': ['/bin/echo', 'in'], 'cmd': ['it is', "o'clock"], 'env': ['PATH=/usr/bin:/bin', 'COLOR=\x1b[31mred'],
        'user': 'app:users', 'working-directory': '/usr', 'stop-signal': 'SIGQUIT',
        'labels': {'vendor': 'Example', 'note': 'two\nlines'}, 'created': '2026-11-18T11:06:40Z',
        'pulled': '2026-11-18T11:06:41Z', 'last-used': None, 'used-by': []}
    assert bus.text('image', 'show', 'app:1', '--json=short').count('\n') == 1


def test_prune(bus):
    assert bus.text('image', 'prune') == 'Nothing to remove.\n'
    assert bus.text('image', 'prune', '--dry-run') == 'Nothing would be removed.\n'
    text = bus.text('image', 'prune', '--all', '--dry-run')
    assert re.search(r'^app:1 +a1a1a1a1a1a1 +5M\n- +999999999999 +3M$', text, re.M) and text.endswith('\n\n8M would be freed.\n')
    assert bus.text('image', 'prune', '-a').endswith('\n8M freed.\n')
    assert bus.calls() == ['Prune ', 'Prune DryRun=True', 'Prune All=True DryRun=True', 'Prune All=True']
    assert json.loads(bus.text('image', 'prune', '--json')) == []
    assert json.loads(bus.text('image', 'prune', '--all', '--json'))[1] == {
        'reference': None, 'digest': 'sha256:' + '9' * 64, 'freed': 3 << 20}


def test_pull_prints_the_digest(bus):
    r = bus.run('image', 'pull', 'alpine:3', check=0)
    assert r.stdout.decode() == 'sha256:' + 'f' * 64 + '\n'
    assert 'alpine:3' in bus.text('image', 'list', '-q')
    assert bus.text('image', 'pull', 'alpine', '--platform', 'linux/arm64', '-q') == ''
    assert bus.calls() == ['Pull alpine:3 ', 'Pull alpine Platform=linux/arm64']
    assert json.loads(bus.text('image', 'pull', 'alpine', '--json')) == {
        'reference': 'alpine', 'digest': 'sha256:' + 'f' * 64, 'job': None}


def test_pull_without_waiting_prints_the_job(bus):
    job = bus.text('image', 'pull', 'stuck/a', '--no-wait')
    assert re.fullmatch('/org/hero/Compute/Images/job/[0-9]+\n', job)
    assert json.loads(bus.text('image', 'pull', 'stuck/a', '--no-wait', '--json')) == {
        'reference': 'stuck/a', 'digest': None, 'job': job[:-2] + str(int(job[-2]) + 1)}


def test_pull_that_fails(bus):
    assert bus.error('image', 'pull', 'missing/a', '-q', check=4) == (
        "Failed to pull image 'missing/a': The registry has no image 'missing/a'.\n"
        "Check its name and tag; 'heroctl image list' shows the images that are here.\n")
    assert bus.error('image', 'pull', 'broken/a', '-q', check=1).startswith(
        "Failed to pull image 'broken/a': registry.example: connection refused.\n")
    assert 'not an image reference' in bus.error('image', 'pull', 'NOT A NAME', check=2)
    assert bus.error('image', 'pull', 'crash/a', '-q', check=6).startswith(
        "Failed to pull image 'crash/a': the image service ended while it was at work.\n")


def test_pull_says_in_lines_what_it_does(bus):
    lines = bus.error('image', 'pull', 'slow/app', check=0).splitlines()
    assert lines[0].startswith('Pulling slow/app: asking the registry, ')
    assert re.fullmatch(r'Pulling slow/app: fetching [\d.]+M of 30M, 0/3 layers, [\d.]+m?s', lines[1])
    assert re.fullmatch(r'Pulling slow/app: fetching [\d.]+M of 30M, 1/3 layers(, [\d.]+M/s)?, 1[\d.]*s', lines[2])
    assert len(lines) <= 4


def test_pull_shows_one_line_on_a_terminal(terminal):
    t = terminal('image', 'pull', 'slow/app', columns=120)
    t.expect(rb'\rPulling slow/app: asking the registry, ')
    t.expect(rb'\rPulling slow/app \[#+-+\] +\d+ % [\d.]+M of 30M, 1/3 layers, [\d.]+M/s, 1[\d.]*s')
    assert t.wait() == 0
    assert t.seen.endswith(b'\r\x1b[Ksha256:' + b'f' * 64 + b'\r\n') and b'\n' not in t.seen[:-2]


def test_progress_fits_the_terminal(terminal):
    t = terminal('image', 'pull', 'slow/app', columns=76)
    t.expect(rb'\rPulling slow/app \[[#-]{8,18}\] +\d+ % [\d.]+M of 30M, 1/3 layers')
    assert t.wait() == 0
    t = terminal('image', 'pull', 'slow/app', columns=50)
    t.expect(rb'\rPulling slow/app: \d+ % [\d.]+M of 30M, 1/3 layer')
    assert t.wait() == 0
    assert all(len(line) < 50 for line in t.seen.replace(b'\x1b[K', b'').split(b'\r') if line.startswith(b'Pulling'))


def interrupted(bus, reference, number=signal.SIGINT):
    p = bus.start('image', 'pull', reference, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_until(lambda: any(c.startswith('Pull ') for c in bus.calls()))
    time.sleep(0.3)
    p.send_signal(number)
    out, err = p.communicate(timeout=20)
    assert out == b''
    return p.returncode, err.decode()


def test_interrupt_cancels_the_pull(bus):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        status, said = interrupted(bus, 'stuck/a', number)
        assert status == 130 and said.endswith("Canceling…\nCanceled: pull image 'stuck/a'.\n")
        assert bus.calls() == ['Cancel pull stuck/a']


def test_interrupt_of_a_pull_that_others_wait_for(bus):
    status, said = interrupted(bus, 'shared/a')
    assert status == 130
    assert said.endswith("Canceled: pull image 'shared/a'. It goes on for others who asked for it, too.\n")


def test_bad_names_paths_and_tars(bus, tmp_path, terminal):
    assert 'not an image reference' in bus.error('image', 'import', 'NOT A NAME', '/etc/hostname', check=2)
    assert bus.error('image', 'import', 'a', '/no/such', check=1) == (
        "Failed to open '/no/such': No such file or directory.\n")
    r = bus.run('image', 'import', 'a', '-', input=b'bad' * 1000000, check=1)
    assert r.stderr == b"Failed to import image 'a': this is not a tar.\n"
    t = terminal('image', 'import', 'a', '-')
    t.expect(b'a terminal is no tar')
    assert t.wait() == 2


@pytest.mark.skipif(os.geteuid() != 0, reason='needs another user to be one')
def test_directory_that_cannot_be_read_whole_cancels(bus, tree, tmp_path):
    """A tar that breaks off between two files looks whole: the service must hear of it before the pipe closes."""
    os.chmod(tree / 'etc/plain', 0o600)
    os.chmod(tree, 0o755)
    for p in [tmp_path, *tmp_path.parents][:-2]:
        os.chmod(p, os.stat(p).st_mode | 0o755)
    os.chmod(tmp_path / 'bus', 0o666)
    r = subprocess.run([HEROCTL, 'image', 'import', 'part', str(tree)], env=bus.environment, capture_output=True,
                       preexec_fn=lambda: (os.setgroups([]), os.setgid(65534), os.setuid(65534)), timeout=30)
    assert r.returncode == 1
    assert r.stderr in [b"Failed to import image 'part': cannot read ./%s: Permission denied.\n" % p
                        for p in (b'second', b'etc/plain')]
    assert 'Cancel import part' in bus.calls()
    assert 'part' not in bus.text('image', 'list', '-q')


def test_interrupt_cancels_the_import(bus, tmp_path):
    p = bus.start('image', 'import', 'slow', '-', stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    p.stdin.write(b'x' * 300000)
    p.stdin.flush()
    time.sleep(0.8)
    p.send_signal(signal.SIGINT)
    assert p.stderr.readline().decode().startswith('Importing slow: converting ')
    assert p.stderr.readline().decode() == 'Canceling…\n'
    time.sleep(0.3)
    p.stdin.close()
    assert p.stderr.read().decode() == "Canceled: import image 'slow'.\n"
    p.stderr.close()
    assert p.wait(10) == 130
    assert 'slow' not in bus.text('image', 'list', '-q')


def test_progress_on_a_terminal(terminal, tmp_path):
    path = tmp_path / 'big.tar'
    path.write_bytes(b'\0' * (65536 * 12))
    t = terminal('image', 'import', 'slow', str(path), columns=120)
    t.expect(rb'Importing slow \[#+-+\] +\d+ % converting [\d.]+K of 768K, [\d.]+K/s, 1\.\ds')
    assert t.wait() == 0
    assert t.seen.endswith(b'\r\x1b[Ksha256:' + b'c' * 64 + b'\r\n')


def test_image_service_that_is_not_there(empty_bus):
    e = empty_bus.error('image', 'list', check=6)
    assert 'the service is not running' in e and 'hero-imaged' in e


@pytest.mark.parametrize('words', [('pull', 'alpine'), ('import', 'mine', '-')], ids=['pull', 'import'])
def test_a_service_that_is_about_to_leave_is_asked_once_more(empty_bus, words):
    """It gives up its name first, so the second call starts its successor; that it has gone is not taken for the end of
    the job, which is the successor's."""
    images = 'org.hero.Compute.Images'
    leaving = Connection(empty_bus.address)

    def on_message(bus, message, incoming):
        if incoming and message.get_interface() == images:
            release = Gio.DBusMessage.new_method_call('org.freedesktop.DBus', '/', 'org.freedesktop.DBus', 'ReleaseName')
            release.set_body(GLib.Variant('(s)', (images,)))
            for m in (release, message.new_method_error_literal('org.hero.Compute.Error.Busy', 'About to leave.')):
                bus.send_message(m, Gio.DBusSendMessageFlags.NONE)
            return None
        return message
    leaving.bus.add_filter(on_message)
    assert leaving.ask_bus('RequestName', '(su)', images, 4) == 1
    empty_bus.start_on_demand(images)
    assert re.fullmatch('sha256:[cf]{64}\n', empty_bus.text('image', *words))
    leaving.close()
