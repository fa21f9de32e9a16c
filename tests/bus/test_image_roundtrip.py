# SPDX-License-Identifier: Apache-2.0
"""A tree with everything a root file system has goes through tar and the import worker, and is compared with what the
kernel (or, where nothing can be mounted, unsquashfs) makes of the result."""

import contextlib
import errno
import os
import pathlib
import stat
import subprocess

import pytest

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ.get('HERO_BUILD_DIR', HERE.parent.parent / 'build'))
WORKER = BUILD / 'src/imaged/hero-image-worker'

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason='makes devices and owners')


def run_worker(tar, image):
    image.unlink(missing_ok=True)
    with open(tar, 'rb') as i:
        # The fds of worker-protocol.h.
        r = subprocess.run(['/bin/sh', '-c', 'exec "$0" tar 3<>"$1" 4>&1', WORKER, image], stdin=i, stdout=subprocess.PIPE, text=True)
    lines = r.stdout.splitlines()
    assert r.returncode == 0, lines
    assert lines[-1].startswith('done '), lines
    return lines[-1].split()[1:]


@contextlib.contextmanager
def look_into(image, tmp_path):
    target = tmp_path / 'mounted'
    target.mkdir()
    mounted = subprocess.run(['mount', '-t', 'squashfs', '-o', 'loop,ro', image, target], capture_output=True).returncode == 0
    try:
        if not mounted:
            subprocess.run(['unsquashfs', '-quiet', '-no-progress', '-force', '-dest', target, image], check=True)
        yield target, mounted
    finally:
        if mounted:
            subprocess.run(['umount', target], check=True)


def make_tree(root):
    def write(name, data=b'', mode=0o644, uid=0, gid=0):
        path = os.path.join(os.fsencode(root), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'wb') as f:
            f.write(data)
        os.chown(path, uid, gid)
        os.chmod(path, mode)
        return path

    write(b'etc/hostname', b'hero\n')
    write(b'usr/bin/sudo', os.urandom(300001), 0o4755)
    write(b'usr/bin/wall', b'x', 0o2755, 0, 5)
    os.setxattr(write(b'usr/bin/ping', os.urandom(70000), 0o755), 'security.capability',
                bytes.fromhex('0100000200200000000000000000000000000000'))
    path = write(b'home/alice/notes', b'text', 0o600, 1000, 1000)
    os.setxattr(path, 'user.comment', b'\x00\xffbinary')
    os.setxattr(path, 'user.empty', b'')
    os.setxattr(path, 'trusted.thing', b'v' * 2000)
    os.setxattr(os.path.dirname(path), 'user.on.directory', b'd')
    write(b'home/big', b'', 0o644, 4294967294, 65534)
    os.chmod(os.path.join(os.fsencode(root), b'home'), 0o1777)
    for name in b'new\nline', b'sp ace', b'caf\xc3\xa9', b'not\xff\xfeutf8', b'back\\slash', b'-dash', b'.hidden', b'n' * 255:
        write(b'names/' + name, name)
    write(b'/'.join([b'deep' * 10] * 20) + b'/file', b'deep')
    os.link(root / 'etc/hostname', root / 'etc/hostname2')
    os.link(root / 'etc/hostname', root / 'hostname3')
    os.symlink('usr/bin', root / 'bin')
    os.symlink('/dangling/' + 'x' * 3000, root / 'dangling')
    os.lchown(root / 'dangling', 12, 34)
    os.link(root / 'dangling', root / 'dangling2', follow_symlinks=False)
    os.mkdir(root / 'dev')
    os.mknod(root / 'dev/null', stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(root / 'dev/big', stat.S_IFBLK | 0o660, os.makedev(4095, 1048575))
    os.mkfifo(root / 'dev/fifo')
    os.mkdir(root / 'empty', 0o700)
    with open(root / 'sparse', 'wb') as f:
        f.seek(5 << 20)
        f.write(b'middle')
        f.seek(20 << 20)
        f.write(b'end')
        f.truncate(40 << 20)
    with open(root / 'hole', 'wb') as f:
        f.truncate(10 << 20)
    for i in range(2000):
        write(b'many/%04d' % i, b'%d' % (i % 7))
    for size in 1, 4095, 131071, 131072, 131073, 1000000:
        write(b'sizes/%d' % size, os.urandom(size))
        write(b'sizes/same%d' % size, (root / f'sizes/{size}').read_bytes())
    os.utime(root / 'etc/hostname', (5, 5))
    os.utime(root / 'empty', (1 << 31, (1 << 31) + 5))
    os.chmod(root, 0o751)
    os.chown(root, 7, 8)
    os.utime(root, (12345, 12345))


def xattrs(path):
    try:
        return {a: os.getxattr(path, a, follow_symlinks=False) for a in os.listxattr(path, follow_symlinks=False)}
    except OSError as e:
        if e.errno != errno.EOPNOTSUPP:  # a SquashFS without any
            raise
        return {}


def describe(root):
    """{name: everything about it}, with hard links as sets of names."""
    base = os.fsencode(root)
    result, links = {}, {}
    names = [b'.'] + [os.path.relpath(os.path.join(d, n), base) for d, ds, fs in os.walk(base) for n in ds + fs]
    for name in names:
        path = os.path.join(base, name)
        st = os.lstat(path)
        about = {'mode': oct(st.st_mode), 'uid': st.st_uid, 'gid': st.st_gid, 'mtime': int(st.st_mtime),
                 'nlink': st.st_nlink if not stat.S_ISDIR(st.st_mode) else None,
                 'xattrs': xattrs(path)}
        if stat.S_ISREG(st.st_mode):
            with open(path, 'rb') as f:
                about['data'] = f.read()
        elif stat.S_ISLNK(st.st_mode):
            about['target'] = os.readlink(path)
        elif stat.S_ISBLK(st.st_mode) or stat.S_ISCHR(st.st_mode):
            about['device'] = st.st_rdev
        result[name] = about
        links.setdefault(st.st_ino, set()).add(name)
    return result, {frozenset(s) for s in links.values() if len(s) > 1}


@pytest.mark.parametrize('format', ['pax', 'gnu'])
def test_a_tree_comes_out_as_it_went_in(tmp_path, format):
    root, tar, image = tmp_path / 'root', tmp_path / 'tar', tmp_path / 'image'
    root.mkdir()
    make_tree(root)
    # GNU's format has no extended attributes.
    options = ['--xattrs', '--xattrs-include=*'] if format == 'pax' else []
    subprocess.run(['tar', '--sparse', f'--format={format}', *options, '-C', root, '-cf', tar, '.'], check=True)
    entries, size, dropped = run_worker(tar, image)
    wanted, wanted_links = describe(root)
    if format == 'gnu':
        for about in wanted.values():
            about['xattrs'] = {}
    assert int(entries) == len(wanted)
    assert dropped == '0'
    assert image.stat().st_size < 30 << 20  # of 210 MiB of holes nothing is there
    with look_into(image, tmp_path) as (found_root, mounted):
        found, found_links = describe(found_root)
    assert found.keys() == wanted.keys()
    for name, about in wanted.items():
        assert found[name] == about, name
    assert found_links == wanted_links


def test_the_same_tar_compressed_is_the_same_image(tmp_path):
    root = tmp_path / 'root'
    root.mkdir()
    make_tree(root)
    subprocess.run(['tar', '--format=pax', '-C', root, '-cf', tmp_path / 'tar', '.'], check=True)
    run_worker(tmp_path / 'tar', tmp_path / 'image')
    for program in ['gzip', '-1'], ['xz', '-0'], ['zstd', '-1'], ['bzip2', '-1']:
        with open(tmp_path / 'tar', 'rb') as i, open(tmp_path / 'compressed', 'wb') as o:
            subprocess.run([*program, '-c'], stdin=i, stdout=o, check=True)
        run_worker(tmp_path / 'compressed', tmp_path / 'again')
        assert (tmp_path / 'again').read_bytes() == (tmp_path / 'image').read_bytes(), program
