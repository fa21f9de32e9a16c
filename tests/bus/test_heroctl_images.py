# SPDX-License-Identifier: Apache-2.0
"""heroctl image: what arrives at the service, and what happens when something breaks on the way."""

import json
import os
import stat
import subprocess
import tarfile
import time

import pytest
from heroctl_fixtures import *


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
        'reference': 'c', 'digest': 'sha256:' + 'c' * 64}
    assert r.stderr == b''


def test_list_and_remove(bus, tmp_path):
    bus.run('image', 'import', 'mine', '-', input=b'x' * 1024, check=0)
    images = json.loads(bus.text('image', 'list', '--json'))
    assert images[0] == {'reference': 'busybox:latest', 'digest': 'sha256:' + 'b' * 64, 'size': 2 << 20, 'entries': 12,
                         'created': '2026-11-18T11:06:40Z'}
    assert bus.text('image', 'list', '-q') == 'busybox:latest\nmine:latest\n'
    assert '2M' in bus.text('image', 'list')
    bus.text('image', 'rm', 'mine')
    assert bus.text('image', 'list', '-q') == 'busybox:latest\n'
    assert bus.error('image', 'rm', 'busybox', check=1) == (
        "Failed to remove image 'busybox': VM 'web' uses this image.\nSee 'heroctl list' for the VMs that use it.\n")
    assert "no image 'nope:latest'" in bus.error('image', 'rm', 'nope', check=4)
    assert bus.error('image', 'rm', 'doubtful', check=1) == (
        "Failed to remove image 'doubtful': Which image VM 'lost' uses cannot be told, so doubtful stays.\n")


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
    assert 'CancelImport' in bus.calls()
    assert bus.text('image', 'list', '-q') == 'busybox:latest\n'


def test_interrupt_cancels_the_import(bus, tmp_path):
    p = bus.start('image', 'import', 'slow', '-', stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    p.stdin.write(b'x' * 300000)
    p.stdin.flush()
    time.sleep(0.8)
    p.send_signal(signal.SIGINT)
    assert p.stderr.readline().decode() == 'Canceling…\n'
    time.sleep(0.3)
    p.stdin.close()
    assert p.stderr.read().decode() == "Canceled: import image 'slow'.\n"
    p.stderr.close()
    assert p.wait(10) == 130
    assert bus.text('image', 'list', '-q') == 'busybox:latest\n'


def test_progress_on_a_terminal(terminal, tmp_path):
    path = tmp_path / 'big.tar'
    path.write_bytes(b'\0' * (65536 * 12))
    t = terminal('image', 'import', 'slow', str(path), columns=120)
    t.expect(rb'Importing slow \[#+-+\] +\d+ % [\d.]+K, \d+ entries, 1\.\ds')
    assert t.wait() == 0
    assert t.seen.endswith(b'\r\x1b[Ksha256:' + b'c' * 64 + b'\r\n')


def test_image_service_that_is_not_there(empty_bus):
    e = empty_bus.error('image', 'list', check=6)
    assert 'the service is not running' in e and 'hero-imaged' in e
