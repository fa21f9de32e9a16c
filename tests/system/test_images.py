# SPDX-License-Identifier: Apache-2.0
"""Root file systems as images: what goes in comes out the same in a guest, and nothing is ever unpacked on the host."""

import io
import os
import stat
import subprocess
import tarfile

import pytest

from throwaway import TOP, wait_until

CAPABILITY = bytes.fromhex('0100000200040000000000000000000000000000')  # cap_net_bind_service,… as VFS_CAP_REVISION_2


@pytest.fixture(scope='session')
def guest_stat(build):
    path = os.path.join(build, 'guest-stat')
    subprocess.run(['musl-gcc', '-static', '-Os', '-Wall', '-Werror', '-o', path, os.path.join(TOP, 'tests/system/guest-stat.c')],
                   check=True)
    return path


def put(host, path, data):
    """Bytes into a file of the host."""
    p = subprocess.run(host.words(['tee', path]), input=data, stdout=subprocess.DEVNULL, check=True)
    assert p.returncode == 0


def member(tar, name, kind=tarfile.REGTYPE, mode=0o644, uid=0, gid=0, data=b'', link='', dev=(0, 0), xattrs=None):
    t = tarfile.TarInfo(name)
    t.type, t.mode, t.uid, t.gid, t.linkname, t.size = kind, mode, uid, gid, link, len(data)
    t.devmajor, t.devminor = dev
    t.mtime = 1600000000
    t.pax_headers = {f'SCHILY.xattr.{k}': v.decode('latin-1') for k, v in (xattrs or {}).items()}
    tar.addfile(t, io.BytesIO(data) if data else None)


def rich_tar(guest_stat):
    """(bytes of the tar, {path: line that guest-stat is to print})"""
    buf, expected = io.BytesIO(), {}
    busybox = open('/bin/busybox', 'rb').read()

    def want(path, kind, mode, uid=0, gid=0, nlink=1, size=0, rest=''):
        expected[path] = f'{path} {kind | mode:o} {uid} {gid} {nlink} {size}{rest}'
    with tarfile.open(fileobj=buf, mode='w', format=tarfile.PAX_FORMAT) as tar:
        for d in ('bin', 'etc', 'dev', 'proc', 'sys', 'run', 'odd'):
            member(tar, d, tarfile.DIRTYPE, 0o755)
        member(tar, 'bin/busybox', mode=0o755, data=busybox)
        member(tar, 'bin/sh', tarfile.SYMTYPE, 0o777, link='busybox')
        member(tar, 'bin/guest-stat', mode=0o755, data=open(guest_stat, 'rb').read())
        member(tar, 'etc/passwd', data=b'root:x:0:0::/root:/bin/sh\n')
        member(tar, 'odd/ids', mode=0o640, uid=70001, gid=70002, data=b'x')
        want('/odd/ids', stat.S_IFREG, 0o640, 70001, 70002, 1, 1)
        member(tar, 'odd/setuid', mode=0o4755, uid=33, data=b'y' * 5000)
        want('/odd/setuid', stat.S_IFREG, 0o4755, 33, 0, 1, 5000)
        member(tar, 'odd/one', data=b'hard')
        member(tar, 'odd/two', tarfile.LNKTYPE, link='odd/one')
        want('/odd/one', stat.S_IFREG, 0o644, nlink=2, size=4)
        want('/odd/two', stat.S_IFREG, 0o644, nlink=2, size=4)
        member(tar, 'odd/link', tarfile.SYMTYPE, 0o777, link='../nowhere')
        want('/odd/link', stat.S_IFLNK, 0o777, rest=' -> ../nowhere')
        member(tar, 'odd/chr', tarfile.CHRTYPE, 0o600, dev=(1, 3))
        want('/odd/chr', stat.S_IFCHR, 0o600, rest=' dev=1:3')
        member(tar, 'odd/blk', tarfile.BLKTYPE, 0o660, gid=6, dev=(8, 1))
        want('/odd/blk', stat.S_IFBLK, 0o660, 0, 6, rest=' dev=8:1')
        member(tar, 'odd/fifo', tarfile.FIFOTYPE, 0o600)
        want('/odd/fifo', stat.S_IFIFO, 0o600)
        member(tar, 'odd/caps', mode=0o755, data=b'z', xattrs={'security.capability': CAPABILITY})
        want('/odd/caps', stat.S_IFREG, 0o755, size=1, rest=f' security.capability={CAPABILITY.hex()}')
        member(tar, 'odd/user', data=b'z', xattrs={'user.colour': b'blue'})
        want('/odd/user', stat.S_IFREG, 0o644, size=1, rest=f' user.colour={b"blue".hex()}')
        member(tar, 'odd/sticky', tarfile.DIRTYPE, 0o1777)
        want('/odd/sticky', stat.S_IFDIR, 0o1777, nlink=0)
        member(tar, 'odd/' + 'n' * 200, data=b'')
        want('/odd/' + 'n' * 200, stat.S_IFREG, 0o644)
    return buf.getvalue(), expected


def test_ids_links_devices_and_attributes_come_out_the_same_in_the_guest(host, guest_stat):
    data, expected = rich_tar(guest_stat)
    put(host, '/var/tmp/rich.tar', data)
    host.heroctl('image', 'import', 'rich', '/var/tmp/rich.tar')
    try:
        host.heroctl('provision', 'heidi', '--image=rich', timeout=120)
        out = host.heroctl('exec', 'heidi', '--', '/bin/guest-stat', *expected).out
        assert out.splitlines() == list(expected.values())
        assert host.heroctl('exec', 'heidi', '--', '/bin/busybox', 'cat', '/odd/two').out == 'hard'
        host.heroctl('deprovision', 'heidi')
    finally:
        host.heroctl('image', 'rm', 'rich')
        host.run('rm /var/tmp/rich.tar')


def test_what_a_guest_writes_outlives_its_restart_and_not_its_vm(host):
    host.heroctl('provision', 'ivan', timeout=120)
    host.heroctl('exec', 'ivan', '--', 'sh', '-c', 'echo mine > /root/note; rm /etc/motd 2>/dev/null; sync')
    host.heroctl('restart', 'ivan', timeout=120)
    assert host.heroctl('exec', 'ivan', '--', 'cat', '/root/note').out == 'mine\n'
    host.heroctl('deprovision', 'ivan')
    host.heroctl('provision', 'ivan', timeout=120)
    assert host.heroctl('exec', 'ivan', '--', 'cat', '/root/note', check=False).status == 1


def test_a_disk_that_grew_is_larger_in_the_guest(host):
    host.heroctl('provision', 'kim', '--disk=64M', timeout=120)
    host.heroctl('exec', 'kim', '--', 'sh', '-c', 'echo kept > /root/note')
    r = host.heroctl('set-resources', 'kim', '--disk=1G', check=False)
    assert 'stop it first' in r.err, r
    host.heroctl('stop', 'kim')
    host.heroctl('set-resources', 'kim', '--disk=1G')
    assert 'only grow' in host.heroctl('set-resources', 'kim', '--disk=64M', check=False).err
    host.heroctl('start', 'kim', timeout=120)
    size = int(host.heroctl('exec', 'kim', '--', 'df', '-k', '/').out.splitlines()[-1].split()[1])
    assert size > 900000
    assert host.heroctl('exec', 'kim', '--', 'cat', '/root/note').out == 'kept\n'


def test_a_tag_that_moved_is_followed_by_new_vms_only(host):
    host.run('mkdir -p /var/tmp/tree && echo one > /var/tmp/tree/a')
    host.heroctl('image', 'import', 'moving', '/var/tmp/tree')
    host.heroctl('create', 'first', '--hypervisor=mock', '--image=moving')
    before = host.get('first', 'ImageDigest')
    host.run('echo two > /var/tmp/tree/a')
    host.heroctl('image', 'import', 'moving', '/var/tmp/tree')
    host.heroctl('create', 'second', '--hypervisor=mock', '--image=moving')
    assert host.get('first', 'ImageDigest') == before
    assert host.get('second', 'ImageDigest') != before
    for name in ('first', 'second'):
        host.heroctl('start', name)
        host.heroctl('delete', name)
    host.heroctl('image', 'rm', 'moving')
    host.run('rm -r /var/tmp/tree')


def test_an_image_in_use_cannot_be_removed(host):
    host.run('mkdir -p /var/tmp/tree/bin && cp /bin/busybox /var/tmp/tree/bin/sh')
    host.heroctl('image', 'import', 'tree:1', '/var/tmp/tree')
    host.heroctl('create', 'user-of-it', '--hypervisor=mock', '--image=tree:1')
    r = host.heroctl('image', 'rm', 'tree:1', check=False)
    assert r.status != 0 and 'uses the image' in r.err, r
    host.heroctl('delete', 'user-of-it')
    host.heroctl('image', 'rm', 'tree:1')
    host.run('rm -r /var/tmp/tree')


@pytest.fixture
def impatient(host):
    """hero-imaged leaves after a second instead of half a minute."""
    directory = '/run/systemd/system/hero-imaged.service.d'
    host.run(f'mkdir -p {directory} && printf "[Service]\\nEnvironment=HERO_IDLE_SEC=1s\\n" > {directory}/idle.conf && '
             'systemctl daemon-reload && systemctl stop hero-imaged')
    yield host
    host.run(f'rm -r {directory} && systemctl daemon-reload && systemctl stop hero-imaged')


def test_the_service_of_images_goes_when_idle_and_comes_when_needed(impatient):
    host = impatient
    host.heroctl('image', 'list')
    assert host.unit('hero-imaged', 'ActiveState') == 'active'
    wait_until(lambda: host.unit('hero-imaged', 'ActiveState') == 'inactive', 'hero-imaged exits', timeout=10)
    assert 'busybox' in host.heroctl('image', 'list').out


def test_importing_unpacks_nothing_and_runs_as_nobody_important(host):
    host.run('mkdir -p /var/tmp/tree && head -c 60000000 /dev/urandom > /var/tmp/tree/blob')
    # Slowly, or it is done before anybody looks.
    p = host.popen('tar -C /var/tmp/tree -c . | { head -c 1000000; sleep 2; cat; } | heroctl image import blob -')
    who = wait_until(lambda: host.run('ps -o user= -C hero-image-worker,sqfstar', check=False).out.split(), 'the worker runs')
    assert set(who) == {'hero-imaged'} or all(u.startswith('hero-im') for u in who), who
    assert host.run('find /var/lib/hero-compute/images -name blob').out == ''
    assert p.wait(timeout=60) == 0, p.stderr.read()
    host.heroctl('image', 'rm', 'blob')
    host.run('rm -r /var/tmp/tree')


@pytest.fixture(scope='session')
def debian_tar(build):
    """Made once per build directory, which takes a while."""
    return subprocess.run([os.path.join(TOP, 'tools/lib/debian-tar'), build], stdout=subprocess.PIPE, text=True, check=True,
                          timeout=500).stdout.strip()


def test_a_debian_by_mmdebstrap_runs(host, debian_tar):
    with open(debian_tar, 'rb') as f:
        subprocess.run(host.words(['heroctl', 'image', 'import', 'debian:12', '-']), stdin=f, check=True, timeout=120)
    host.heroctl('provision', 'judy', '--image=debian:12', '--memory=512M', timeout=120)
    assert 'VERSION_CODENAME=bookworm' in host.heroctl('exec', 'judy', '--', 'cat', '/etc/os-release').out
    assert host.heroctl('exec', 'judy', '--', 'dpkg', '--audit', timeout=120).out == ''
    assert host.heroctl('exec', '-u', 'nobody', 'judy', '--', 'id', '-un').out == 'nobody\n'
    host.heroctl('deprovision', 'judy')
    host.heroctl('image', 'rm', 'debian:12')
