# SPDX-License-Identifier: Apache-2.0
"""Images written by hand, byte by byte where it must be: layers, configurations, manifests, layouts, archives.

A tool would refuse to make most of what the hostile corpus needs."""

import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile

MANIFEST = 'application/vnd.oci.image.manifest.v1+json'
INDEX = 'application/vnd.oci.image.index.v1+json'
CONFIG = 'application/vnd.oci.image.config.v1+json'
LAYER = 'application/vnd.oci.image.layer.v1.tar'
DOCKER_MANIFEST = 'application/vnd.docker.distribution.manifest.v2+json'
DOCKER_CONFIG = 'application/vnd.docker.container.image.v1+json'
DOCKER_LAYER = 'application/vnd.docker.image.rootfs.diff.tar.gzip'

MTIME = 1600000000


def digest(data):
    return 'sha256:' + hashlib.sha256(data).hexdigest()


def compress(data, how):
    if how == 'gzip':
        return gzip.compress(data, 1, mtime=0)
    if how == 'zstd':
        return subprocess.run(['zstd', '-1', '-c'], input=data, stdout=subprocess.PIPE, check=True).stdout
    assert how is None
    return data


class Tar:
    """A layer in the making. Names are taken as they are, whatever they are."""

    def __init__(self, fileobj=None):
        self.out = fileobj or io.BytesIO()
        self.tar = tarfile.open(fileobj=self.out, mode='w', format=tarfile.PAX_FORMAT)
        self.closed = False

    def add(self, name, kind, mode=0o644, uid=0, gid=0, data=b'', link='', dev=(0, 0), mtime=MTIME, xattrs=None, size=None):
        t = tarfile.TarInfo(name)
        t.type, t.mode, t.uid, t.gid, t.linkname, t.mtime = kind, mode, uid, gid, link, mtime
        t.size = len(data) if size is None else size
        t.devmajor, t.devminor = dev
        t.pax_headers = {f'SCHILY.xattr.{k}': v.decode('latin-1') for k, v in (xattrs or {}).items()}
        self.tar.addfile(t, io.BytesIO(data) if data else None)
        return self

    def file(self, name, data=b'', mode=0o644, **kwargs):
        data = data.encode() if isinstance(data, str) else data
        return self.add(name, tarfile.REGTYPE, mode, data=data, **kwargs)

    def directory(self, name, mode=0o755, **kwargs):
        return self.add(name, tarfile.DIRTYPE, mode, **kwargs)

    def symlink(self, name, to, **kwargs):
        return self.add(name, tarfile.SYMTYPE, 0o777, link=to, **kwargs)

    def hardlink(self, name, to, **kwargs):
        return self.add(name, tarfile.LNKTYPE, link=to, **kwargs)

    def device(self, name, kind, major, minor, mode=0o600, **kwargs):
        return self.add(name, {'c': tarfile.CHRTYPE, 'b': tarfile.BLKTYPE}[kind], mode, dev=(major, minor), **kwargs)

    def fifo(self, name, mode=0o600, **kwargs):
        return self.add(name, tarfile.FIFOTYPE, mode, **kwargs)

    def whiteout(self, name, **kwargs):
        head, _, tail = name.rpartition('/')
        return self.file((head + '/' if head else '') + '.wh.' + tail, **kwargs)

    def opaque(self, directory, **kwargs):
        return self.file(directory + '/.wh..wh..opq', **kwargs)

    def finish(self):
        if not self.closed:
            self.tar.close()
            self.closed = True
        return self.out

    def bytes(self):
        return self.finish().getvalue()


class Image:
    """Blobs by digest, and the manifest's descriptor. Everything can be overridden, also with what is not true."""

    def __init__(self, layers, config=None, compression='gzip', docker=False, architecture='amd64', os_name='linux',
                 diff_ids=None, config_bytes=None, change_manifest=None):
        self.blobs = {}
        tars = [l.bytes() if isinstance(l, Tar) else l for l in layers]
        self.config = {'architecture': architecture, 'os': os_name, 'created': '2026-01-02T03:04:05Z', 'config': config or {},
                       'rootfs': {'type': 'layers', 'diff_ids': diff_ids or [digest(t) for t in tars]},
                       'history': [{'created': '2026-01-02T03:04:05Z', 'created_by': 'tests'} for _ in tars]}
        if config_bytes is None:
            config_bytes = json.dumps(self.config).encode()
        suffix = '' if compression is None else '+' + compression
        layer_type = DOCKER_LAYER if docker else LAYER + suffix
        self.layers = [self.blob(compress(t, compression), layer_type) for t in tars]
        self.manifest = {'schemaVersion': 2, 'mediaType': DOCKER_MANIFEST if docker else MANIFEST,
                         'config': self.blob(config_bytes, DOCKER_CONFIG if docker else CONFIG), 'layers': self.layers}
        if change_manifest:
            change_manifest(self.manifest)
        self.platform = {'architecture': architecture, 'os': os_name}
        self.descriptor = self.blob(json.dumps(self.manifest).encode(), self.manifest.get('mediaType', MANIFEST))

    def blob(self, data, media_type):
        d = digest(data)
        self.blobs[d] = data
        return {'mediaType': media_type, 'digest': d, 'size': len(data)}

    @property
    def digest(self):
        return self.descriptor['digest']

    def manifest_bytes(self):
        return self.blobs[self.digest]


class Index:
    """Several images under one name, by platform."""

    def __init__(self, images, platforms=None):
        self.blobs = {}
        manifests = []
        for image, platform in zip(images, platforms or [i.platform for i in images]):
            self.blobs.update(image.blobs)
            manifests.append(dict(image.descriptor, platform=platform))
        self.manifest = {'schemaVersion': 2, 'mediaType': INDEX, 'manifests': manifests}
        data = json.dumps(self.manifest).encode()
        self.descriptor = {'mediaType': INDEX, 'digest': digest(data), 'size': len(data)}
        self.blobs[self.digest] = data

    digest = Image.digest
    manifest_bytes = Image.manifest_bytes


def write_layout(directory, images):
    """{tag: Image or Index} as an OCI layout."""
    os.makedirs(os.path.join(directory, 'blobs/sha256'), exist_ok=True)
    manifests = []
    for tag, image in images.items():
        for d, data in image.blobs.items():
            with open(os.path.join(directory, 'blobs/sha256', d.partition(':')[2]), 'wb') as f:
                f.write(data)
        manifests.append(dict(image.descriptor, annotations={'org.opencontainers.image.ref.name': tag}))
    with open(os.path.join(directory, 'oci-layout'), 'w', encoding='utf-8') as f:
        json.dump({'imageLayoutVersion': '1.0.0'}, f)
    with open(os.path.join(directory, 'index.json'), 'w', encoding='utf-8') as f:
        json.dump({'schemaVersion': 2, 'manifests': manifests}, f)


def layout_tar(image, tag='latest', order=None):
    """The layout as one tar, as `heroctl image import` takes it; order: names first to last, as an archive may have them."""
    entries = {'oci-layout': json.dumps({'imageLayoutVersion': '1.0.0'}).encode(),
               'index.json': json.dumps({'schemaVersion': 2, 'manifests': [
                   dict(image.descriptor, annotations={'org.opencontainers.image.ref.name': tag})]}).encode()}
    entries.update({'blobs/sha256/' + d.partition(':')[2]: data for d, data in image.blobs.items()})
    tar = Tar()
    for name in order or entries:
        tar.file(name, entries[name])
    return tar.bytes()


def docker_archive(image, tag, layers):
    """What `docker save` writes: layers is the tars, not compressed."""
    config = image.blobs[image.manifest['config']['digest']]
    config_name = digest(config).partition(':')[2] + '.json'
    tar, names = Tar(), []
    for l in layers:
        data = l.bytes() if isinstance(l, Tar) else l
        names.append(digest(data).partition(':')[2] + '/layer.tar')
        tar.file(names[-1], data)
    tar.file(config_name, config)
    tar.file('manifest.json', json.dumps([{'Config': config_name, 'RepoTags': [tag], 'Layers': names}]))
    tar.file('repositories', '{}')
    return tar.bytes()
