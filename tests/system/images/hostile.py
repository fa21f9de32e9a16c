# SPDX-License-Identifier: Apache-2.0
"""A registry that means harm, and images that do: /usr/bin/python3 hostile.py PORT [LOG] serves them on loopback, each under its own name; on
PORT + 1 to those only who bring a token.

CASES says for each what it must end with (the result of the pull's job). Whatever is not said otherwise is served as it should be."""

import dataclasses
import gzip
import hashlib
import http.server
import json
import re
import sys
import tarfile
import threading
import time

from oci import MANIFEST, Image, Index, Tar, compress, digest

ERROR = 'org.hero.Compute.Error.'
DONE, BAD, FAILED, NONE, LIMIT = 'done', ERROR + 'BadImage', ERROR + 'PullFailed', ERROR + 'NoSuchImage', ERROR + 'LimitExceeded'

# What the tests configure, so that what is too large is not large.
ENTRIES_MAX = 60000
SIZE_MAX = 256 << 20
STALL_SEC, PULL_SEC = 3, 12

CASES, MORE = {}, {}


@dataclasses.dataclass
class Case:
    name: str
    result: tuple
    image: object               # makes it
    answer: object = None       # answers a request instead: (request, kind, reference, image) -> True when it did
    sentence: str = ''          # in the job's message
    seconds: float = 5          # it must have ended by then, on a machine that does nothing else
    slow: bool = False          # only time ends it
    token: object = None        # answers the request for a token; then the case is on the port where one is needed

    def made(self, lock=threading.Lock()):
        with lock:
            if callable(self.image):
                self.image = self.image()
        return self.image


def case(name, result, image=None, **kwargs):
    CASES[name] = Case(name, result if isinstance(result, tuple) else (result,), image or good, **kwargs)


def small(text='small'):
    return Tar().directory('etc').file('etc/os-release', f'ID={text}\n')


def good(text='good'):
    return Image([small(text), Tar().file('etc/second', text)])


def large(text='large'):
    """Of 4 MiB that do not compress, so that something is under way for a while."""
    return Image([small(text), Tar().file('noise', noise(4 << 20) + text.encode())])


def noise(n):
    return hashlib.shake_256(b'hostile').digest(n)


# --- what layers hold ---------------------------------------------------------------------------------------------

def of(*layers, **kwargs):
    return lambda: Image([l() if callable(l) else l for l in layers], **kwargs)


def raw_entry(name, kind=b'0', size=0, link=b'', mode=b'0000644', uid=b'0000000'):
    """A ustar header by hand, for what tarfile would correct."""
    h = bytearray(512)
    h[0:len(name)] = name
    h[100:107], h[108:115], h[116:123] = mode, uid, b'0000000'
    h[124:135] = b'%011o' % size if isinstance(size, int) else size
    h[136:147] = b'%011o' % 1600000000
    h[148:156] = b' ' * 8
    h[156:157] = kind
    h[157:157 + len(link)] = link
    h[257:265] = b'ustar\x0000'
    h[148:155] = b'%06o\0' % sum(h)
    return bytes(h)


END = bytes(1024)

case('name-dot-dot', BAD, of(small(), Tar().file('../outside', 'x')), sentence='..')
case('name-dot-dot-inside', BAD, of(small(), Tar().file('etc/../../outside', 'x')))
case('name-of-the-root-is-a-slash', DONE, lambda: Image([raw_entry(b'/', b'5', mode=b'0000755') + small().bytes()]))     # as kaniko writes it
case('name-absolute', (BAD, DONE), of(small(), Tar().file('/etc/absolute', 'x')))
case('name-of-4-kib', BAD, of(Tar().file('/'.join(['d' * 200] * 25), 'x')))
case('name-component-too-long', BAD, of(Tar().file('d' * 256, 'x')))
case('name-empty', BAD, lambda: Image([raw_entry(b'') + END]))
case('name-nested-too-deep', BAD, of(Tar().file('d/' * 300 + 'x', 'x')))
case('names-with-newlines', DONE, of(Tar().file('a\nprogress 1 1\ndone 1 1 0\n', 'x').symlink('l\n', 'a\nb').directory('\x1b[2J')))
case('names-not-utf-8', DONE, lambda: Image([raw_entry(b'\xff\xfe\x80') + END]))
case('link-hard-out', BAD, of(small(), Tar().hardlink('shadow', '../../../../etc/shadow')))
case('link-hard-absolute', (BAD, DONE), of(small(), Tar().hardlink('shadow', '/etc/os-release')))
case('link-hard-to-the-host', BAD, of(small(), Tar().hardlink('shadow', '/etc/shadow')))
case('link-hard-to-nothing', BAD, of(small(), Tar().hardlink('x', 'not/there')), sentence='not there')
case('link-hard-to-a-directory', BAD, of(small(), Tar().hardlink('x', 'etc')))
case('link-hard-to-itself', BAD, of(Tar().hardlink('x', 'x')))
case('link-hard-to-what-its-own-layer-takes-away', (BAD, DONE), of(small(), Tar().whiteout('etc/os-release').hardlink('x', 'etc/os-release')))
case('link-sym-out-then-through-it', (BAD, DONE), of(Tar().symlink('etc', '../../../../etc'), Tar().file('etc/passwd', 'root::0:0:::\n')))
case('link-sym-absolute-then-through-it', (BAD, DONE), of(Tar().symlink('rootfs', '/'), Tar().file('rootfs/etc/passwd', 'root::0:0:::\n')))
case('link-sym-in-one-layer', (BAD, DONE), of(Tar().symlink('templates', '/var/lib/hero-compute').file('templates/x', 'x')))
case('link-sym-loop', BAD, of(Tar().symlink('a', 'b').symlink('b', 'a'), Tar().file('a/x', 'x')))
case('link-sym-chain', BAD, lambda: Image([chain(3000), Tar().file('l2999/x', 'x')]))
case('link-sym-to-nothing-then-through-it', (BAD, DONE), of(Tar().symlink('a', 'not-there'), Tar().file('a/x', 'x')))
case('link-sym-empty', BAD, lambda: Image([raw_entry(b'l', b'2') + END]))
case('through-a-file', BAD, of(Tar().file('a', 'x').file('a/b', 'x')))
case('devices-and-setuid', DONE, of(Tar().device('mem', 'c', 1, 1, 0o666).device('sda', 'b', 8, 0, 0o666).file('su', 'x', 0o6777).fifo('f')))
case('device-of-no-number', (BAD, DONE), of(Tar().device('x', 'c', 5000, 3)))
case('entry-of-no-type', (BAD, DONE), lambda: Image([raw_entry(b'x', b'Q') + END]))
case('owner-of-no-number', BAD, of(Tar().file('x', 'x', uid=1 << 40)))
case('xattr-of-the-overlay', DONE, of(Tar().directory('d', xattrs={'trusted.overlay.opaque': b'y'})))
case('xattrs-without-end', BAD, of(Tar().file('x', 'x', xattrs={f'user.{i}': b'v' for i in range(5000)})))
case('xattr-of-1-mib', BAD, of(Tar().file('x', 'x', xattrs={'user.a': b'v' * (1 << 20)})))
case('whiteout-of-dot-dot', (BAD, DONE), of(small(), Tar().file('.wh...', '')))
case('whiteout-of-dot', (BAD, DONE), of(small(), Tar().file('etc/.wh..', '')))
case('whiteout-of-no-name', (BAD, DONE), of(small(), Tar().file('etc/.wh.', '')))
case('whiteout-through-a-symlink', (BAD, DONE), of(Tar().symlink('etc', '../../../etc'), Tar().whiteout('etc/passwd')))
case('whiteout-that-is-a-directory', (BAD, DONE), of(small(), Tar().directory('.wh.etc').file('.wh.etc/x', 'x')))
case('opaque-that-is-a-symlink', (BAD, DONE), of(small(), Tar().directory('etc').symlink('etc/.wh..wh..opq', '/etc')))

case('layer-is-no-tar', BAD, lambda: Image([b'#!/bin/sh\necho I am a layer\n' * 100]))
case('layer-is-noise', BAD, lambda: Image([noise(100000)]))
case('layer-is-empty', (BAD, DONE), lambda: Image([b'']))
case('layer-is-cut-in-its-tar', BAD, lambda: Image([Tar().file('x', noise(20000)).bytes()[:10000]]))
case('layer-is-cut-in-its-gzip', BAD, lambda: changed_layers(cut=True))
# Of a gzip checksum, which is of 32 bits, nothing depends: the diff_id is of 256.
case('layer-has-a-wrong-gzip-checksum', (BAD, DONE), lambda: changed_layers(checksum=True))
case('layer-has-another-diff-id', BAD, of(small(), diff_ids=['sha256:' + '0' * 64]))
case('layer-has-garbage-behind-it', (BAD, DONE), lambda: changed_layers(garbage=True))
case('layer-says-a-negative-size', BAD, lambda: Image([raw_entry(b'x', size=b'-0000000001') + END]))
case('layer-says-a-huge-size', (BAD, LIMIT), lambda: Image([raw_entry(b'x', size=(1 << 32) - 1) + END]))
case('layer-is-called-gzip-and-is-zstd', (BAD, DONE), lambda: mislabelled())
case('layer-is-encrypted', BAD, lambda: Image([small()], change_manifest=lambda m: m['layers'][0].update(mediaType=m['layers'][0]['mediaType'] + '+encrypted')))
case('layers-twice-the-same', DONE, lambda: Image([small('twice')] * 2))
case('layers-128', DONE, lambda: Image([Tar().file(f'f{i}', f'{i}') for i in range(128)]), seconds=20)
case('layers-129', (BAD, LIMIT), lambda: Image([Tar().file(f'f{i}', f'{i}') for i in range(129)]))
case('layers-none', (BAD, DONE), lambda: Image([]))

# --- bombs: 1,000:1, in bytes, in entries, in work -----------------------------------------------------------------

case('bomb-of-zeros', LIMIT, lambda: zeros(1 << 30), seconds=15)
case('bomb-of-a-sparse-file', LIMIT, lambda: sparse_bomb())
case('bomb-of-entries', LIMIT, lambda: entries(lambda i: b'%06x' % i, 100000), seconds=15)
case('bomb-of-one-name', (LIMIT, BAD), lambda: one_name(1000000), seconds=30)
case('bomb-of-implied-directories', (LIMIT, BAD), lambda: entries(lambda i: b'%05x' % i + b'/d' * 44 + b'/', 3000), seconds=15)
case('bomb-of-hard-links', (LIMIT, BAD), lambda: entries(lambda i: b'%06x' % i if i else b'first', 100000, b'first'), seconds=15)
case('bomb-of-padding', (LIMIT, BAD), lambda: padding(1 << 30), seconds=30)
case('bomb-in-zstd', (LIMIT, BAD), lambda: Image([raw_entry(b'zero', size=1 << 30) + bytes(300 << 20)], compression='zstd'), seconds=15)


def chain(n):
    t = Tar()
    t.directory('l0')
    for i in range(1, n):
        t.symlink(f'l{i}', f'l{i - 1}')
    return t


def members(*parts):
    """gzip of (bytes, times) after one another: no byte of it is made twice."""
    return b''.join(gzip.compress(data, 9, mtime=0) * times for data, times in parts)


def image_of(blob, diff_id='sha256:' + '1' * 64):
    """Of a layer that is compressed already; its diff_id would take long, and nobody should get that far."""
    image = Image([small()], diff_ids=[diff_id], change_manifest=lambda m: m['layers'][0].update(digest=digest(blob), size=len(blob)))
    image.blobs[digest(blob)] = blob
    return image


def zeros(n):
    return image_of(members((raw_entry(b'zero', size=n), 1), (bytes(16 << 20), n >> 24), (END, 1)))


def padding(n):
    return image_of(members((raw_entry(b'x') + END, 1), (bytes(16 << 20), n >> 24)))


def one_name(n):
    return image_of(members((raw_entry(b'x') * 1000, n // 1000), (END, 1)))


def entries(name, n, link_to=None):
    data = b''.join(raw_entry(name(i), b'1' if link_to and i else b'0', link=link_to if link_to and i else b'') for i in range(n))
    return image_of(compress(data + END, 'gzip'))


def sparse_bomb():
    """A pax file of 1 EiB with nothing in it."""
    size = 1 << 60
    t = tarfile.TarInfo('GNUSparseFile.0/huge')
    t.pax_headers = {'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.name': 'huge', 'GNU.sparse.realsize': str(size)}
    data = b'1\n%d\n0\n' % size
    data += bytes(512 - len(data))
    t.size = len(data)
    return image_of(compress(t.tobuf(tarfile.PAX_FORMAT) + data + END, 'gzip'))


def changed_layers(cut=False, checksum=False, garbage=False):
    tar = Tar().file('x', noise(100000)).bytes()
    blob = compress(tar, 'gzip')
    if cut:
        blob = blob[:len(blob) // 2]
    if checksum:
        blob = blob[:-8] + bytes(4) + blob[-4:]
    if garbage:
        blob += b'and there is more'
    return image_of(blob, digest(tar))


def mislabelled():
    tar = small().bytes()
    return image_of(compress(tar, 'zstd'), digest(tar))


# --- what configurations and manifests say ------------------------------------------------------------------------

def config(**fields):
    return lambda: Image([small()], config=fields)


def config_bytes(data):
    return lambda: Image([small()], config_bytes=data)


def manifest(change):
    return lambda: Image([small()], change_manifest=change)


def first_layer(**fields):
    return manifest(lambda m: m['layers'][0].update(fields))


case('config-entrypoint-is-a-number', BAD, config(Entrypoint=5))
case('config-cmd-is-a-string', BAD, config(Cmd='/bin/sh'))
case('config-cmd-of-numbers', BAD, config(Cmd=[1, 2]))
case('config-env-is-an-object', BAD, config(Env={'A': 'b'}))
case('config-env-without-a-sign', (BAD, DONE), config(Env=['NOTHING']))
case('config-env-with-nul', BAD, config(Env=['A=b\0c']))
case('config-env-of-1-mib', (BAD, LIMIT), config(Env=['A=' + 'x' * (1 << 20)]))
case('config-env-of-100000', (BAD, LIMIT), config(Env=[f'A{i}=' for i in range(100000)]))
case('config-user-is-an-array', BAD, config(User=['root']))
case('config-user-with-newline', BAD, config(User='root\nx'))
case('config-labels-are-an-array', BAD, config(Labels=['a=b']))
case('config-labels-without-end', (BAD, LIMIT), config(Labels={f'l{i}': 'x' * 100 for i in range(50000)}))
case('config-stop-signal-of-no-name', (BAD, DONE), config(StopSignal='SIGNOTHING'))
case('config-workdir-relative', (BAD, DONE), config(WorkingDir='../..'))
case('config-nulls', DONE, config(Entrypoint=None, Cmd=None, Env=None, Labels=None, User='', WorkingDir=''))
case('config-is-no-json', (BAD, FAILED), config_bytes(b'{"architecture": "amd64", "os"'))
case('config-is-an-array', (BAD, FAILED), config_bytes(b'[]'))
case('config-is-empty', (BAD, FAILED), config_bytes(b''))
case('config-without-rootfs', BAD, config_bytes(b'{"architecture":"amd64","os":"linux","config":{}}'))
case('config-nested-without-end', (BAD, FAILED), config_bytes(b'[' * 200000))
case('config-not-utf-8', (BAD, FAILED), config_bytes(b'{"architecture":"amd64","os":"linux","config":{"User":"\xff\xfe"},"rootfs":{"type":"layers","diff_ids":[]}}'))
case('config-of-20-mib', (BAD, FAILED, LIMIT), lambda: Image([small()], config_bytes=b' ' * (20 << 20) + b'{}'))
case('config-of-another-platform', (BAD, NONE), lambda: Image([small()], architecture='s390x'))
case('config-has-more-diff-ids-than-layers', BAD, lambda: Image([small()], diff_ids=[digest(small().bytes())] * 2))
case('config-has-diff-ids-of-no-digest', BAD, lambda: Image([small()], diff_ids=['../../etc/passwd']))

case('manifest-of-schema-1', (BAD, FAILED), manifest(lambda m: (m.clear(), m.update(
    schemaVersion=1, name='x', tag='latest', architecture='amd64', fsLayers=[], history=[], mediaType='application/vnd.docker.distribution.manifest.v1+json'))))
case('manifest-is-an-array', (BAD, FAILED), answer=lambda r, kind, ref, image: kind == 'manifests' and r.reply(b'[]', MANIFEST))
case('manifest-is-a-page', (BAD, FAILED, NONE), answer=lambda r, kind, ref, image: kind == 'manifests' and r.reply(b'<html>sign in</html>', 'text/html'))
case('manifest-is-empty', (BAD, FAILED), answer=lambda r, kind, ref, image: kind == 'manifests' and r.reply(b'', MANIFEST))
case('manifest-nested-without-end', (BAD, FAILED), answer=lambda r, kind, ref, image: kind == 'manifests' and r.reply(b'[' * 500000, MANIFEST))
case('manifest-layers-are-a-string', (BAD, FAILED), manifest(lambda m: m.update(layers='all')))
case('manifest-without-a-config', (BAD, FAILED), manifest(lambda m: m.pop('config')))
case('manifest-of-a-negative-size', (BAD, FAILED), first_layer(size=-1))
case('manifest-of-a-size-that-is-a-string', (BAD, FAILED), first_layer(size='12'))
case('manifest-of-a-digest-upwards', (BAD, FAILED), first_layer(digest='sha256:../../../../etc/passwd'))
case('manifest-of-a-digest-upwards-to-nothing', (BAD, FAILED), first_layer(digest='sha256:../../../../tmp/hero-hostile'))
case('manifest-of-a-digest-upwards-in-its-config', (BAD, FAILED), manifest(lambda m: m['config'].update(digest='sha256:../../../../etc/passwd')))
case('manifest-of-a-digest-with-a-slash', (BAD, FAILED), first_layer(digest='sha256:/' + '0' * 63))
case('manifest-of-a-digest-of-md5', (BAD, FAILED), first_layer(digest='md5:' + '0' * 32))
case('manifest-of-a-foreign-layer', (BAD, FAILED), first_layer(
    mediaType='application/vnd.docker.image.rootfs.foreign.diff.tar.gzip', urls=['http://127.0.0.1:1/layer']))
case('manifest-of-a-layer-of-no-known-kind', (BAD, FAILED), first_layer(mediaType='application/x-executable'))
case('manifest-of-1-gib', LIMIT, first_layer(size=1 << 30))
case('manifest-of-1-tib', (BAD, LIMIT), first_layer(size=1 << 40))
case('manifest-of-an-artifact', (BAD, FAILED), manifest(lambda m: (m['config'].update(mediaType='application/vnd.example.chart+json'))))

case('index-without-our-platform', NONE, lambda: Index([Image([small()], architecture=a) for a in ('arm64', 's390x')]), sentence='linux/amd64')
case('index-of-itself', (BAD, FAILED, NONE), lambda: nested_index(100))
case('index-of-nothing', (BAD, FAILED, NONE), lambda: Index([]))
case('index-of-10000', (BAD, FAILED, DONE, LIMIT), lambda: Index([Image([small()], architecture='arm64')] * 9999 + [good('last')]))
case('index-whose-manifest-is-not-there', (BAD, FAILED, NONE), lambda: without(Index([good()]), 'manifests'))


def nested_index(depth):
    top = good()
    for _ in range(depth):
        inner, top = top, Index([top], [{'os': 'linux', 'architecture': 'amd64'}])
        top.blobs.update(inner.blobs)
    return top


def without(index, what):
    for m in index.manifest[what]:
        del index.blobs[m['digest']]
    return index


# --- what the registry does ---------------------------------------------------------------------------------------

def stall(r, *_):
    r.hang()
    return True


def on(kind, what, nth=0):
    """Only for this kind of request: "tag", "digest" (a manifest's), "blob" (a layer's), "config"."""
    def answer(r, k, ref, image):
        is_config = k == 'blobs' and hasattr(image, 'layers') and ref == image.manifest['config']['digest']
        actual = 'config' if is_config else {'blobs': 'blob'}.get(k) or ('digest' if ref.startswith('sha256:') else 'tag')
        return actual == kind and what(r, k, ref, image) is not False
    return answer


def status(code, body=b'{"errors":[{"code":"UNKNOWN","message":"no"}]}', **headers):
    return lambda r, *_: r.reply(body, 'application/json', code, headers)


def half(r, k, ref, image, then=None):
    data = image.blobs[ref]
    r.start(200, len(data))
    r.wfile.write(data[:len(data) // 2])
    r.wfile.flush()
    (then or r.drop)()


def half_then_stall(r, k, ref, image):
    half(r, k, ref, image, r.hang)


def drip(r, k, ref, image):
    data = image.blobs[ref]
    r.start(200, len(data))
    for i in range(len(data)):
        r.wfile.write(data[i:i + 1])
        r.wfile.flush()
        time.sleep(0.5)


def endless(r, *_):
    r.start(200, None)
    chunk = b'%x\r\n' % 65536 + b' ' * 65536 + b'\r\n'
    sent = 0
    while sent < 8 << 30:
        r.wfile.write(chunk)
        sent += 65536


def other_bytes(r, k, ref, image):
    data = bytearray(image.blobs[ref])
    data[-10] ^= 1
    r.reply(bytes(data), image.manifest.get('mediaType', MANIFEST))


def shorter(r, k, ref, image):
    r.reply(image.blobs[ref][:-100], 'application/octet-stream')


def longer(r, k, ref, image):
    r.reply(image.blobs[ref] + bytes(1 << 20), 'application/octet-stream')


def length_lies(r, k, ref, image):
    r.start(200, len(image.blobs[ref]) * 2)
    r.wfile.write(image.blobs[ref])
    r.drop()


def token(data, code=200):
    return lambda r: r.reply(data, 'application/json', code)


def redirect(to):
    return lambda r, *_: r.reply(b'', 'text/plain', 302, {'Location': to(r) if callable(to) else to})


SLOW = {'slow': True, 'seconds': PULL_SEC + 8}
STALLED = {'slow': True, 'seconds': STALL_SEC + 8}
case('stalls-at-the-manifest', FAILED, answer=on('tag', stall), **STALLED)
case('stalls-at-the-config', FAILED, answer=on('config', stall), **STALLED)
case('stalls-in-a-layer', FAILED, large, answer=on('blob', half_then_stall), **STALLED)
case('stalls-at-the-token', FAILED, token=stall, **STALLED)
case('drips', FAILED, large, answer=on('blob', drip), **SLOW)
case('drips-its-manifest', FAILED, answer=on('tag', lambda r, k, ref, image: drip(r, k, image.digest, image)), **SLOW)
case('too-many-requests', FAILED, answer=on('tag', status(429, **{'Retry-After': '1000000'})), **SLOW)
case('too-many-requests-for-layers', FAILED, answer=on('blob', status(429)), **SLOW)
case('drops-at-the-manifest', FAILED, answer=on('tag', lambda r, *_: r.drop()))
case('drops-in-a-layer', FAILED, large, answer=on('blob', half), seconds=20)
case('unauthorised', FAILED, answer=status(401), sentence='')
case('token-refused', FAILED, token=token(b'{"details":"incorrect username or password"}', 401))
case('token-is-no-json', FAILED, token=token(b'<html>'))
case('token-is-a-number', FAILED, token=token(b'{"token": 5}'))
case('token-is-empty', FAILED, token=token(b'{"token": ""}'))
case('token-with-another-header', FAILED, token=token(b'{"token": "x\\r\\nX-Other: y"}'))
case('token-endless', FAILED, token=lambda r: endless(r), seconds=20)
case('token-good', DONE, token=token(b'{"token": "abc"}'))
case('forbidden', FAILED, answer=on('tag', status(403)))
case('not-found', NONE, answer=on('tag', status(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}')))
case('not-found-name', NONE, answer=on('tag', status(404, b'{"errors":[{"code":"NAME_UNKNOWN","message":"repository name not known to registry"}]}')))
case('not-found-layer', FAILED, answer=on('blob', status(404, b'{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown"}]}')))
case('server-error', FAILED, answer=on('tag', status(500)), seconds=20)
case('server-error-layer', FAILED, answer=on('blob', status(500)), seconds=20)
case('server-error-with-escape-sequences', FAILED, answer=on('tag', status(500, b'{"errors":[{"code":"\\u001b[2J","message":"\\u001b]0;x\\u0007\\n\\nlines"}]}')), seconds=20)
case('redirects-to-itself', FAILED, answer=on('tag', redirect(lambda r: r.path)))
case('redirects-to-a-file', FAILED, answer=on('blob', redirect('file:///etc/shadow')))
case('other-manifest-than-its-digest', FAILED, answer=on('digest', other_bytes))
case('other-layer-than-its-digest', (FAILED, BAD), answer=on('blob', other_bytes))
case('other-config-than-its-digest', (FAILED, BAD), answer=on('config', other_bytes))
case('layer-shorter-than-said', (FAILED, BAD), large, answer=on('blob', shorter))
case('layer-longer-than-said', (FAILED, BAD), large, answer=on('blob', longer))
case('length-is-a-lie', (FAILED, BAD), large, answer=on('blob', length_lies), seconds=20)
case('endless-manifest', (FAILED, BAD, LIMIT), answer=on('tag', endless), seconds=20)
case('endless-config', (FAILED, BAD, LIMIT), answer=on('config', endless), seconds=20)
case('endless-layer', (FAILED, BAD, LIMIT), large, answer=on('blob', endless), seconds=20)

def slowly(pause):
    """For what has to happen while a layer is under way."""
    def answer(r, k, ref, image):
        data = image.blobs[ref]
        r.start(200, len(data))
        step = len(data) // 40 + 1
        for i in range(0, len(data), step):
            r.wfile.write(data[i:i + step])
            r.wfile.flush()
            time.sleep(pause)
    return answer


case('good', DONE)
case('slow', DONE, lambda: large('slow'), answer=on('blob', slowly(0.05)), seconds=8)
# Too long to wait for: to be canceled. Not among CASES.
MORE['crawls'] = Case('crawls', (DONE,), lambda: large('crawls'), on('blob', slowly(0.25)))
case('good-docker', DONE, lambda: Image([small('docker')], docker=True))
case('good-zstd', DONE, lambda: Image([small('zstd')], compression='zstd'))
case('good-plain', DONE, lambda: Image([small('plain')], compression=None))
case('good-large', DONE, large)


# Names that begin with "moving" are images of two layers, of which the upper is another one after each request for /move/NAME.
MOVING, MOVED, MADE = Case('moving', (DONE,), None), {}, {}


def moving(name):
    n = MOVED.get(name, 0)
    if n and (name, n) not in MADE:                  # what the tag was before is still there by its digest
        older = moving_version(name, n - 1)
        MADE[name, n] = moving_version(name, n)
        MADE[name, n].blobs.update(older.blobs)
    return MADE.setdefault((name, n), moving_version(name, n))


def moving_version(name, n):
    return Image([Tar().file('noise', noise(2 << 20)), small(f'{name}-{n}').file('more', noise((1 << 20) + n)[n:])])


class Request(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    server_version = 'hostile'
    log = None
    log_lock = threading.Lock()

    def log_message(self, *args):
        if self.log:
            with self.log_lock, open(self.log, 'a', encoding='utf-8') as f:
                f.write(f'{time.time():.3f} {self.command} {self.path} {self.headers.get("Authorization", "").partition(" ")[0]}\n')

    def start(self, code, length, media_type='application/octet-stream', headers=None):
        self.send_response(code)
        self.send_header('Docker-Distribution-Api-Version', 'registry/2.0')
        self.send_header('Content-Type', media_type)
        for k, v in (headers or {}).items():
            self.send_header(k, v)
        if length is None:
            self.send_header('Transfer-Encoding', 'chunked')
        else:
            self.send_header('Content-Length', str(length))
        self.end_headers()

    def reply(self, data, media_type, code=200, headers=None):
        self.start(code, len(data), media_type, headers)
        if self.command != 'HEAD':
            self.wfile.write(data)
        return True

    def drop(self):
        self.wfile.flush()
        self.close_connection = True
        self.connection.close()

    def hang(self):
        """Until the other side goes; not for ever, for these are our threads."""
        self.connection.settimeout(120)
        try:
            while self.connection.recv(1024):
                pass
        except OSError:
            pass
        self.close_connection = True

    def do_GET(self):
        try:
            self.serve()
        except (BrokenPipeError, ConnectionError, ValueError, OSError):
            self.close_connection = True

    do_HEAD = do_GET

    def serve(self):
        if self.path.startswith('/move/'):
            MOVED[self.path[6:]] = MOVED.get(self.path[6:], 0) + 1
            return self.reply(b'{}', 'application/json')
        if self.path.startswith('/token'):
            name = re.search(r'repository%3A([^%&]+)%3A', self.path)
            return CASES[name.group(1).partition('_')[0]].token(self)
        port, wants_token = self.server.server_address[1], self.server.wants_token
        if wants_token and not self.headers.get('Authorization', '').startswith('Bearer '):
            return self.reply(b'{}', 'application/json', 401, {'WWW-Authenticate': f'Bearer realm="http://127.0.0.1:{port}/token",service="x"'})
        if self.path.rstrip('/') == '/v2':
            return self.reply(b'{}', 'application/json')
        m = re.match(r'/v2/([^/]+)/(manifests|blobs)/([^/?]+)', self.path)
        if m and m.group(1).startswith('moving'):
            c, image = MOVING, moving(m.group(1))
        else:
            c = m and (CASES | MORE).get(m.group(1).partition('_')[0])
            image = c and c.made()
        if not c:
            return self.reply(b'{"errors":[{"code":"NAME_UNKNOWN","message":"no such name"}]}', 'application/json', 404)
        kind, ref = m.group(2), m.group(3)
        if c.answer and c.answer(self, kind, ref, image):
            return None
        if kind == 'manifests' and not ref.startswith('sha256:'):
            ref = image.digest
        data = image.blobs.get(ref)
        if data is None:
            return self.reply(b'{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown"}]}', 'application/json', 404)
        media_type = 'application/octet-stream'
        if kind == 'manifests':
            parsed = json.loads(data)
            media_type = parsed.get('mediaType', MANIFEST) if isinstance(parsed, dict) else MANIFEST
        return self.reply(data, media_type, headers={'Docker-Content-Digest': ref})


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    wants_token = False

    def handle_error(self, *_):
        pass


if __name__ == '__main__':
    Request.log = sys.argv[2] if len(sys.argv) > 2 else None
    server, second = (Server(('127.0.0.1', int(sys.argv[1]) + i), Request) for i in range(2))
    second.wants_token = True
    threading.Thread(target=second.serve_forever, daemon=True).start()
    print('ready', flush=True)
    server.serve_forever()
