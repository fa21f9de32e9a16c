# SPDX-License-Identifier: Apache-2.0
"""Plays hero-image-fetch, with the protocol of src/imaged/fetch-protocol.h: a registry in memory, which can be told to
misbehave."""

import array
import gzip
import hashlib
import json
import os
import socket
import threading

from imaged_fixtures import make_tar

PLATFORM = 'linux/amd64'


def digest(data):
    return 'sha256:' + hashlib.sha256(data).hexdigest()


def descriptor(data, kind, **more):
    return {'mediaType': f'application/vnd.oci.image.{kind}+json' if '+' not in kind else f'application/vnd.oci.image.{kind}',
            'digest': digest(data), 'size': len(data), **more}


class Image:
    """Of layers, each a {name: contents}; blobs by digest, the manifest among them."""

    def __init__(self, *layers, platform=PLATFORM, **config):
        tars = [make_tar(files) for files in layers]
        blobs = [gzip.compress(t, mtime=0) for t in tars]
        os_name, architecture = platform.split('/')
        self.config = json.dumps({'os': os_name, 'architecture': architecture, 'created': '2026-01-02T03:04:05Z', 'config': config,
                                  'rootfs': {'type': 'layers', 'diff_ids': [digest(t) for t in tars]}}).encode()
        self.manifest = json.dumps({
            'schemaVersion': 2, 'mediaType': 'application/vnd.oci.image.manifest.v1+json',
            'config': descriptor(self.config, 'config.v1'),
            'layers': [descriptor(b, 'layer.v1.tar+gzip') for b in blobs]}).encode()
        self.digest = digest(self.manifest)
        self.platform = platform
        self.tars = tars
        self.blobs = {digest(b): b for b in [self.config, *blobs]}
        self.layers = [digest(b) for b in blobs]


def make_index(*images):
    return json.dumps({'schemaVersion': 2, 'mediaType': 'application/vnd.oci.image.index.v1+json', 'manifests': [
        descriptor(i.manifest, 'manifest.v1', platform=dict(zip(('os', 'architecture'), i.platform.split('/')))) for i in images]}).encode()


class FakeFetch:
    def __init__(self, directory):
        self.path = str(directory / 'fetch')
        self.documents = {}  # LOCATION → bytes
        self.images = {}     # digest → Image
        self.calls = []
        self.connections = 0
        self.hold = threading.Event()  # set: answers are given
        self.hold.set()
        self.answer = None   # (connection, words) → True when it has answered, differently
        self.directory = directory
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(self.path)
        os.chmod(self.path, 0o666)
        self.listener.listen(32)
        threading.Thread(target=self.accept, daemon=True).start()

    def add(self, location, image, document=None):
        """The name has this image, or this document that leads to it."""
        repository = location.rpartition(':')[0]
        self.documents[location] = document or image.manifest
        for i in [image] if not isinstance(image, list) else image:
            self.documents[f'{repository}@{i.digest}'] = i.manifest
            self.images[i.digest] = i

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        self.connections += 1
        try:
            with connection:
                while words := connection.recv(65536).decode():
                    self.calls.append(tuple(words.split(' ')))
                    self.hold.wait(30)
                    if not (self.answer and self.answer(connection, words.split(' '))):
                        self.respond(connection, words.split(' '))
        except OSError:
            pass
        finally:
            self.connections -= 1

    def respond(self, connection, words):
        if words[0] == 'inspect':
            document = self.documents.get(words[1])
            if document is None:
                self.say(connection, f'error no-such-image The registry has no image {words[1]}.')
            else:
                self.say(connection, 'document', document)
        else:
            image = self.images[words[2].rpartition('@')[2]]
            total = sum(map(len, image.blobs.values()))
            self.say(connection, f'progress {total // 2} 0')
            self.say(connection, f'progress {total} {len(image.blobs)}')
            self.say_files(connection, image.blobs)

    def say_files(self, connection, blobs):
        self.say(connection, 'files ' + ' '.join(d[7:] for d in blobs), *blobs.values())

    def say(self, connection, text, *files):
        fds = []
        for data in files:
            fd = os.memfd_create('blob')
            os.write(fd, data)
            fds.append(fd)
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))] if fds else []
        connection.sendmsg([text.encode()], control)
        for fd in fds:
            os.close(fd)

    def close(self):
        self.hold.set()
        self.listener.close()
