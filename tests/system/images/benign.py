# SPDX-License-Identifier: Apache-2.0
"""Images as people have them, made by umoci: /usr/bin/python3 benign.py DIRECTORY makes DIRECTORY/layout and, by `umoci unpack`, what is
in each of them: DIRECTORY/unpacked/TAG/rootfs. Nothing is made again that is there."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile

from oci import INDEX, MTIME, Tar, digest

HERE = os.path.dirname(os.path.abspath(__file__))

# As in tests/system/test_images.py: cap_net_bind_service as a VFS_CAP_REVISION_2.
CAPABILITY = bytes.fromhex('0100000200040000000000000000000000000000')

OS_RELEASE = 'ID=alpine-like\nNAME="Alpine-like"\nVERSION_ID=3.99\nPRETTY_NAME="Alpine-like 3.99 of the tests"\n'
PASSWD = 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/nonexistent:/bin/false\nweb:x:1234:4321::/srv:/bin/sh\n'
GROUP = 'root:x:0:\nnobody:x:65534:\nstaff:x:50:web\nweb:x:4321:\n'
APPLETS = ('sh', 'cat', 'ls', 'echo', 'env', 'id', 'pwd', 'sleep', 'stat', 'find', 'mount', 'test', 'true', 'false', 'kill', 'ps', 'head')


def run(*words, **kwargs):
    return subprocess.run(list(map(str, words)), check=True, stdin=subprocess.DEVNULL, **kwargs)


def base(programs, os_release=OS_RELEASE):
    """A layer that boots and stays as it is: what hero-init writes where it is empty is not empty."""
    t = Tar()
    for name, mode in (('.', 0o755), ('bin', 0o755), ('dev', 0o755), ('etc', 0o755), ('proc', 0o555), ('root', 0o700), ('run', 0o755),
                       ('srv', 0o755), ('sys', 0o555), ('tmp', 0o1777)):
        t.directory(name, mode)
    for name, text in (('os-release', os_release), ('passwd', PASSWD), ('group', GROUP), ('hostname', 'from-the-image\n'),
                       ('hosts', '127.0.0.1 localhost\n'), ('resolv.conf', '# none\n')):
        t.file('etc/' + name, text)
    for name, path in programs.items():
        with open(path, 'rb') as f:
            t.file('bin/' + name, f.read(), 0o755)
    for applet in APPLETS:
        t.symlink('bin/' + applet, 'busybox')
    return t


def rich(t):
    """Of everything one, and more where two are not the same as one."""
    t.directory('odd', 0o751, uid=11, gid=12, mtime=MTIME + 1)
    t.file('odd/ids', 'x', 0o640, uid=70001, gid=70002)
    t.file('odd/setuid', 'y' * 5000, 0o4755, uid=33)
    t.file('odd/setgid', 'y', 0o2711, gid=33)
    t.directory('odd/sticky', 0o1777)
    t.file('odd/large-ids', '', uid=4294967290, gid=2000000000)
    t.file('odd/a name with spaces\tand\nlines', 'hm')
    t.file('odd/' + 'n' * 255, 'long')
    t.file('odd/ünïcödé-☃', 'utf-8')
    t.symlink('odd/dangling', '../nowhere/' + 'l' * 1000, uid=5, gid=6, mtime=MTIME + 7)
    t.device('odd/null', 'c', 1, 3, 0o666)
    t.device('odd/disk', 'b', 8, 4095, 0o660, gid=6)
    t.fifo('odd/fifo', 0o622, uid=7)
    t.file('odd/capability', 'z', 0o755, xattrs={'security.capability': CAPABILITY})
    t.file('odd/user-xattrs', 'z', xattrs={'user.colour': b'blue', 'user.binary': bytes(range(256))})
    t.directory('odd/xattr-directory', xattrs={'user.on': b'directory', 'trusted.secret': b'1'})
    t.file('odd/old', 'before 1980', mtime=3)
    t.file('odd/compressible', b'abcdefgh' * 200000)
    t.file('odd/random', hashlib.shake_256(b'tests').digest(700001))
    deep = 'odd/deep'
    for i in range(60):
        t.directory(deep, 0o700 + i % 8)
        deep += f'/{i}'
    t.file(deep, 'at the bottom')
    # Hard links: in one directory and across, of a device, one whose first name a later layer takes away.
    t.directory('links')
    t.file('links/a', 'shared', 0o600, uid=1)
    t.hardlink('links/b', 'links/a')
    t.hardlink('odd/c', 'links/b')
    t.fifo('links/fifo')
    t.hardlink('links/fifo2', 'links/fifo')
    t.symlink('links/symlink', 'a')
    t.hardlink('links/symlink2', 'links/symlink')
    for name in ('first', 'replaced', 'both', 'changed'):
        t.file(f'links/{name}', name, mtime=MTIME + 100)
        t.hardlink(f'links/{name}-other', f'links/{name}')
    return t


def below(t):
    """What the layers above change."""
    for d in ('gone', 'gone/inside', 'opaque', 'opaque/inside', 'opaque/kept', 'became', 'became/x', 'same', 'usr', 'usr/lib'):
        t.directory(d)
    for f in ('gone/inside/file', 'gone/file', 'opaque/old', 'opaque/inside/old', 'opaque/kept/old', 'became/x/y', 'same/remove-me', 'same/keep-me',
              'same/over', 'again', 'back', 'types', 'usr/lib/lower'):
        t.file(f, f'lower {f}')
    t.symlink('lib', 'usr/lib')
    t.symlink('was-a-link', 'usr/lib')
    return t


def upper():
    second = (Tar().whiteout('gone').whiteout('same/remove-me').file('same/over', 'replaced', 0o600, uid=9)
              .whiteout('again').whiteout('back').whiteout('not-there')
              .directory('opaque', 0o711, mtime=MTIME + 9).opaque('opaque').file('opaque/new', 'new').directory('opaque/kept', 0o700).file('opaque/kept/new', 'n')
              .whiteout('links/first').file('links/replaced', 'another file', 0o640)
              .whiteout('links/both').whiteout('links/both-other')
              .file('became', 'a file now'))
    # A file whose link group is written anew in an upper layer, and one that is added to a group of a lower one.
    third = (Tar().file('links/changed', 'changed', 0o755).hardlink('links/changed-other', 'links/changed')
             .file('back', 'is back', 0o444).directory('types', 0o500).file('types/inside', 'i')
             .file('lib/through-a-link', 'in usr/lib')
             .directory('was-a-link', 0o750).file('was-a-link/file', 'in a directory of its own')
             .directory('same', 0o700, uid=3, mtime=MTIME + 33))
    # Opaque where the marker comes last, after what the same layer puts there; and where nothing is below.
    fourth = (Tar().directory('late').file('late/new', 'of this layer').opaque('late').directory('nothing-below').opaque('nothing-below')
              .directory('gone').file('gone/new', 'after a whiteout'))
    return [second, third, fourth]


def sparse(directory):
    """A layer by GNU tar: a file of 64 MiB with three islands of data."""
    os.makedirs(os.path.join(directory, 'sparse'))
    path = os.path.join(directory, 'sparse/islands')
    with open(path, 'wb') as f:
        f.truncate(64 << 20)
        for offset, text in ((4096, b'first'), (1 << 20, b'second' * 1000), ((64 << 20) - 4096, b'e' * 4096)):
            f.seek(offset)
            f.write(text)
    for name in ('islands', '.'):
        os.utime(os.path.join(directory, 'sparse', name), (MTIME, MTIME))
    out = os.path.join(directory, 'sparse.tar')
    # Of the formats that tar has for it this is the one that umoci knows.
    run('tar', '--format=posix', '--sparse-version=1.0', '--sparse', '--owner=0', '--group=0', '-C', directory, '-cf', out, 'sparse')
    return out


def many(count, each=50):
    """COUNT small files, of which a second layer takes a few away and replaces a few. Not many in a directory: a guest looks through all of it
    for each name."""
    first, second = Tar(), Tar()
    first.directory('many')
    for d in range(count // each):
        first.directory(f'many/{d:04d}')
        for f in range(each):
            first.file(f'many/{d:04d}/{f:02d}', f'{d} {f}\n' * (f % 7), 0o600 + f % 64, uid=f)
    for d in range(0, count // each, 10):
        second.whiteout(f'many/{d:04d}/07').file(f'many/{d:04d}/08', 'replaced')
    return [first, second]


class Umoci:
    """One layout that umoci fills."""

    def __init__(self, directory):
        self.directory, self.layout = directory, os.path.join(directory, 'layout')
        if not os.path.exists(self.layout):
            run('umoci', 'init', '--layout', self.layout)

    def new(self, tag, layers, *config):
        image = f'{self.layout}:{tag}'
        run('umoci', 'new', '--image', image)
        for layer in layers:
            if isinstance(layer, str):
                run('umoci', 'raw', 'add-layer', '--image', image, layer)
                continue
            with tempfile.NamedTemporaryFile(dir=self.directory) as f:
                f.write(layer.bytes())
                f.flush()
                run('umoci', 'raw', 'add-layer', '--image', image, f.name)
        if config:
            run('umoci', 'config', '--image', image, *config)

    def unpack(self, tag):
        bundle = os.path.join(self.directory, 'unpacked', tag)
        os.makedirs(os.path.dirname(bundle), exist_ok=True)
        run('umoci', 'unpack', '--image', f'{self.layout}:{tag}', bundle)
        return bundle

    # An index is the one thing umoci does not make.

    def index(self, tag, tags):
        path = os.path.join(self.layout, 'index.json')
        with open(path, encoding='utf-8') as f:
            top = json.load(f)
        by_tag = {m['annotations']['org.opencontainers.image.ref.name']: m for m in top['manifests']}
        manifests = []
        for platform, name in tags:
            os_name, architecture = platform.split('/')
            m = dict(by_tag[name], platform={'os': os_name, 'architecture': architecture})
            del m['annotations']
            manifests.append(m)
        data = json.dumps({'schemaVersion': 2, 'mediaType': INDEX, 'manifests': manifests}).encode()
        d = digest(data)
        with open(os.path.join(self.layout, 'blobs/sha256', d[7:]), 'wb') as f:
            f.write(data)
        top['manifests'] = [m for n, m in by_tag.items() if n != tag]
        top['manifests'].append({'mediaType': INDEX, 'digest': d, 'size': len(data),
                                 'annotations': {'org.opencontainers.image.ref.name': tag}})
        with open(path + '.new', 'w', encoding='utf-8') as f:
            json.dump(top, f)
        os.rename(path + '.new', path)


def alpine(u, programs):
    """The way umoci is meant to be used: unpack, change, repack."""
    u.new('alpine', [base(programs)])
    bundle = u.unpack('alpine')
    root = os.path.join(bundle, 'rootfs')
    os.unlink(os.path.join(root, 'bin/stat'))
    os.makedirs(os.path.join(root, 'var/log'))
    with open(os.path.join(root, 'etc/motd'), 'w', encoding='utf-8') as f:
        f.write('Welcome\n')
    os.chown(os.path.join(root, 'var/log'), 13, 14)
    os.link(os.path.join(root, 'etc/motd'), os.path.join(root, 'etc/issue'))
    run('umoci', 'repack', '--image', f'{u.layout}:alpine', bundle)
    shutil.rmtree(bundle)
    run('umoci', 'config', '--image', f'{u.layout}:alpine', '--config.cmd', '/bin/sh', '--config.env', 'PATH=/bin', '--config.env', 'COLOUR=green',
        '--config.label', 'org.example.purpose=tests', '--author', 'tests')


def others(u, programs):
    with tempfile.TemporaryDirectory(dir=u.directory) as scratch:
        u.new('layers', [below(rich(base(programs))), *upper(), sparse(scratch)], '--config.cmd', '/bin/sh')
    u.new('many', [base(programs), *many(50000)], '--config.cmd', '/bin/sh')
    u.new('app', [base(programs), Tar().file('bin/app', '#!/bin/sh\nid -u; id -g; pwd; echo "$COLOUR $*"; exit 7\n', 0o755)],
          '--config.entrypoint', '/bin/app', '--config.cmd', 'one', '--config.cmd', 'two words', '--config.env', 'PATH=/bin', '--config.env', 'COLOUR=red',
          '--config.user', 'web:staff', '--config.workingdir', '/srv', '--config.stopsignal', 'SIGUSR1')
    for architecture in ('amd64', 'arm64', 's390x'):
        u.new(f'multi-{architecture}', [base(programs, OS_RELEASE.replace('alpine-like', architecture))], '--config.cmd', '/bin/sh', '--architecture', architecture)
    u.index('multi', [('linux/arm64', 'multi-arm64'), ('linux/amd64', 'multi-amd64'), ('linux/s390x', 'multi-s390x')])
    u.index('elsewhere', [('linux/arm64', 'multi-arm64'), ('linux/s390x', 'multi-s390x')])


def debian(u, programs):
    """With systemd as what runs. Slow to make: a minute."""
    tar = os.path.join(u.directory, 'debian.tar')
    if not os.path.exists(tar):
        run('mmdebstrap', '--quiet', '--format=tar', '--variant=minbase', '--include=systemd,systemd-sysv,dbus', '--dpkgopt=path-exclude=/usr/share/doc/*',
            '--dpkgopt=path-exclude=/usr/share/locale/*', '--dpkgopt=path-exclude=/usr/share/man/*',
            '--customize-hook=rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*; : >"$1"/etc/machine-id',
            '--customize-hook=for f in hostname hosts resolv.conf; do echo "# none" >"$1"/etc/$f; done',
            '--customize-hook=chroot "$1" systemctl mask systemd-timesyncd.service getty.target console-getty.service',
            'bookworm', tar + '.part', timeout=400)
        os.rename(tar + '.part', tar)
    with open(programs['tree-list'], 'rb') as f:
        lister = Tar().file('usr/bin/tree-list', f.read(), 0o755)
    u.new('debian', [tar, lister], '--config.cmd', '/lib/systemd/systemd')


UNPACKED = ('alpine', 'layers', 'many', 'debian')


def make(directory):
    """Everything, once: the recipe's own text is part of the name of what is done."""
    recipe = hashlib.sha256()
    for name in ('benign.py', 'oci.py', 'tree-list.c'):
        with open(os.path.join(HERE, name), 'rb') as f:
            recipe.update(f.read())
    done = os.path.join(directory, 'done-' + recipe.hexdigest()[:16])
    if os.path.exists(done):
        return directory
    os.makedirs(directory, exist_ok=True)
    for name in os.listdir(directory):
        path = os.path.join(directory, name)
        if name != 'debian.tar':
            shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)
    lister = os.path.join(directory, 'tree-list')
    run('musl-gcc', '-static', '-O2', '-Wall', '-Wextra', '-Werror', '-o', lister, os.path.join(HERE, 'tree-list.c'))
    programs = {'busybox': '/bin/busybox', 'tree-list': lister}
    u = Umoci(directory)
    alpine(u, programs)
    others(u, programs)
    debian(u, programs)
    for tag in UNPACKED:
        u.unpack(tag)
        with open(os.path.join(directory, tag + '.list'), 'wb') as f:
            run(lister, os.path.join(directory, 'unpacked', tag, 'rootfs'), stdout=f)
        shutil.rmtree(os.path.join(directory, 'unpacked', tag))
    open(done, 'w', encoding='utf-8').close()
    return directory


if __name__ == '__main__':
    make(sys.argv[1])
