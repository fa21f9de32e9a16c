# SPDX-License-Identifier: Apache-2.0
"""The images that tools/bench/bench pulls, made by tar and umoci of the machine's own files, and the commands that do by hand what a pull does."""

import io
import json
import os
import subprocess
import tarfile

PORT = 5000
TREES = ('usr/bin', 'usr/lib', 'usr/share')
MTIME = 1600000000


def run(*words, **options):
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **options)


def add(tar, name, kind=tarfile.REGTYPE, mode=0o644, data=b'', link=''):
    t = tarfile.TarInfo(name)
    t.type, t.mode, t.size, t.linkname, t.mtime = kind, mode, len(data), link, MTIME
    tar.addfile(t, io.BytesIO(data) if data else None)


def machine_files():
    """(name, bytes, mode) of what a distribution is made of: programs, libraries, data, in an order that is always the same."""
    for tree in TREES:
        for directory, inside, names in os.walk('/' + tree):
            inside.sort()
            for name in sorted(names):
                path = os.path.join(directory, name)
                if os.path.isfile(path) and not os.path.islink(path) and os.path.getsize(path) < 4 << 20:
                    with open(path, 'rb') as f:
                        yield path[1:], f.read(), os.stat(path).st_mode & 0o777


def five_layers(directory, total):
    """Five tars, a fifth of the bytes each; the upper ones also replace and take away a few files of the first. Every third file of the
    machine goes in, so that it is enough of everything."""
    paths, names, size = [], [], 0
    tar = None
    for n, (name, data, mode) in enumerate(machine_files()):
        if n % 3:
            continue
        if tar is None or size > total // 5:
            if tar is not None:
                tar.close()
            if len(paths) == 5:
                break
            paths.append(os.path.join(directory, f'layer{len(paths)}.tar'))
            tar, size = tarfile.open(paths[-1], 'w', format=tarfile.PAX_FORMAT), 0
            for old in names[len(paths)::40] if len(paths) > 1 else []:
                head, _, tail = old.rpartition('/')
                if len(paths) % 2:
                    add(tar, f'{head}/.wh.{tail}')
                else:
                    add(tar, old, data=b'replaced\n')
        if len(paths) == 1:
            names.append(name)
        add(tar, name, mode=mode, data=data)
        size += len(data)
    tar.close()
    if len(paths) < 5:
        raise RuntimeError('the files of this machine do not make five layers')
    return paths


def many_entries(directory, count):
    path = os.path.join(directory, 'entries.tar')
    with tarfile.open(path, 'w', format=tarfile.PAX_FORMAT) as tar:
        for d in range(count // 200):
            add(tar, f'd{d:04d}', tarfile.DIRTYPE, 0o755)
            for f in range(199):
                add(tar, f'd{d:04d}/a-file-of-some-name-{f:03d}', data=b'%d\n' % (d * f) * (f % 3))
    return path


def one_directory(directory, count):
    path = os.path.join(directory, 'directory.tar')
    with tarfile.open(path, 'w', format=tarfile.PAX_FORMAT) as tar:
        add(tar, 'd', tarfile.DIRTYPE, 0o755)
        for f in range(count - 1):
            add(tar, f'd/a-file-of-some-longer-name-as-caches-have-them-{f:06d}', data=b'%d\n' % f * (f % 3))
    return path


def umoci_image(layout, tag, layers):
    if not os.path.exists(layout):
        run('umoci', 'init', '--layout', layout)
    run('umoci', 'new', '--image', f'{layout}:{tag}')
    for path in layers:
        run('umoci', 'raw', 'add-layer', '--image', f'{layout}:{tag}', path)


def make(directory, total=100 << 20, entries=200000):
    """DIRECTORY/layout with the images "five", "entries" and "directory", and DIRECTORY/flat.tar, what "five" is when put together."""
    layout, bundle = os.path.join(directory, 'layout'), os.path.join(directory, 'bundle')
    layers = five_layers(directory, total)
    umoci_image(layout, 'five', layers)
    umoci_image(layout, 'entries', [many_entries(directory, entries)])
    umoci_image(layout, 'directory', [one_directory(directory, entries)])
    run('umoci', 'unpack', '--image', f'{layout}:five', bundle)
    root = os.path.join(bundle, 'rootfs')
    run('tar', '--numeric-owner', '-C', root, '-cf', os.path.join(directory, 'flat.tar'), *sorted(os.listdir(root)))
    run('rm', '-rf', bundle, *layers, *(os.path.join(directory, f'{name}.tar') for name in ('entries', 'directory')))


# What runs on the host, as functions for its shell. SOURCE is the image in the registry; each begins where there is nothing yet.
SCRIPT = r"""
set -e
work=/var/lib/hero-compute/bench
source=127.0.0.1:%(port)d/five:latest
mkdir -p $work
usec() { t=$(date +%%s%%N); echo $((t / 1000)); }
fresh() { rm -rf $work/by-hand; mkdir $work/by-hand; cd $work/by-hand; heroctl image rm $source >/dev/null 2>&1 || :; }
copy() { skopeo copy -q --src-tls-verify=false docker://$source $1 >/dev/null; }
unpacked() { copy oci:layout:x; umoci unpack --image layout:x bundle >/dev/null 2>&1; mkfs.erofs -zlz4 image bundle/rootfs >/dev/null 2>&1; }
flat() { copy dir:blobs; sqfstar -quiet -no-progress -comp lz4 image <$data/flat.tar >/dev/null; }
ours() { heroctl image pull -q $source >/dev/null; }
measure() { fresh; b=$(usec); $1; e=$(usec); echo $1 $((e - b)); }
"""


def registry(host, directory):
    """docker-registry on the host's loopback, with the images of DIRECTORY in it, and hero-imaged told that it has no TLS."""
    host.sh(f"""
mkdir -p /var/tmp/registry /etc/hero-compute/images.conf.d
cat >/var/tmp/registry.yml <<END
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: /var/tmp/registry}}}}
http: {{addr: 127.0.0.1:{PORT}}}
END
printf "[Registries]\\nInsecure=127.0.0.1:{PORT}\\n" >/etc/hero-compute/images.conf.d/bench.conf
systemctl stop hero-imaged
systemd-run -q --unit=bench-registry docker-registry serve /var/tmp/registry.yml
for i in $(seq 100); do grep -q ":{PORT:04X} 0*:0000 0A" /proc/net/tcp /proc/net/tcp6 && break; sleep 0.05; done
skopeo copy -q --dest-tls-verify=false oci:{directory}/layout:five docker://127.0.0.1:{PORT}/five:latest >/dev/null
""")


def pulls(host, directory, rounds):
    """{name: [microseconds]} of flat, unpacked and ours, in turns."""
    script = SCRIPT % {'port': PORT} + f'data={directory}\n' + 'measure ours >/dev/null; measure flat >/dev/null\n'
    script += f'for round in $(seq {rounds}); do measure unpacked; measure ours; measure flat; done; fresh\n'
    samples = {}
    for line in host.sh(script).splitlines():
        name, _, value = line.rpartition(' ')
        samples.setdefault(name, []).append(int(value))
    return samples


def layers(layout, tag):
    def blob(d):
        with open(os.path.join(layout, 'blobs/sha256', d['digest'][7:]), encoding='utf-8') as f:
            return json.load(f)
    with open(os.path.join(layout, 'index.json'), encoding='utf-8') as f:
        top = next(m for m in json.load(f)['manifests'] if m['annotations']['org.opencontainers.image.ref.name'] == tag)
    return blob(top)['layers']


def worker_memory(host, directory, tag):
    """KiB that hero-image-worker had resident at most, converting the image: one of many entries."""
    layer = layers(os.path.join(directory, 'layout'), tag)[0]
    hexadecimal = layer['digest'][7:]
    return int(host.sh(f"""
exec 3<>/var/tmp/{tag}.squashfs 4>/var/tmp/{tag}.status 5<{directory}/layout/blobs/sha256/{hexadecimal}
time -f %M -o /var/tmp/{tag}.time /usr/lib/hero-compute/hero-image-worker layers 300000 1000000000 5:0:{layer["size"]}:{hexadecimal}:- ||
        {{ cat /var/tmp/{tag}.status; exit 1; }}
cat /var/tmp/{tag}.time
""").split()[-1])
