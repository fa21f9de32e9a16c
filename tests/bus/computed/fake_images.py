# SPDX-License-Identifier: Apache-2.0
"""hero-imaged: every name it knows is the same small file; what an image says about running it is config[reference]."""

import os

import dbus

from fake_service import FakeService

DIGEST = 'sha256:' + '5a' * 32


class FakeImages(FakeService):
    NAME = 'org.hero.Compute.Images'

    def __init__(self, address, file):
        self.file = file
        file.write_bytes(bytes(4096))
        file.chmod(0o644)
        self.known = {'busybox': DIGEST, DIGEST: DIGEST}
        self.config = {}
        self.jobs = {}       # path: reference, of pulls under way
        self.n_jobs = 0
        self.canceled = []   # paths
        super().__init__(address)

    def do_Open(self, message, reference):
        if reference not in self.known:
            self.error(message, 'org.hero.Compute.Error.NoSuchImage', f"There is no image '{reference}'.")
            return
        fd = os.open(self.file, os.O_RDONLY)
        self.reply(message, 'sha{sv}', self.known[reference], dbus.types.UnixFd(fd), self.image_config(reference))
        os.close(fd)

    def image_config(self, reference):
        return dbus.Dictionary({k: dbus.Array(v, signature='s') if isinstance(v, list) else v
                                for k, v in self.config.get(reference, {}).items()}, signature='sv')

    def do_Pull(self, message, reference, options):
        """As the real one: those who ask for the same get the same job. The test decides how it ends."""
        path = next((p for p, r in self.jobs.items() if r == reference), None)
        if not path:
            self.n_jobs += 1
            path = f'/org/hero/Compute/Images/job/{self.n_jobs}'
            self.jobs[path] = reference
        self.reply(message, 'o', path)

    def do_Cancel(self, message):
        self.canceled.append(str(message.get_path()))
        self.reply(message)

    def progress(self, path, done, total):
        self.signal(path, 'org.freedesktop.DBus.Properties', 'PropertiesChanged', 'sa{sv}as', 'org.hero.Compute.ImageJob',
                    {'Step': dbus.String('fetch', variant_level=1),
                     'Progress': dbus.Struct((dbus.UInt64(done), dbus.UInt64(total)), signature='tt', variant_level=1),
                     'Layers': dbus.Struct((dbus.UInt32(1), dbus.UInt32(3)), signature='uu', variant_level=1)},
                    dbus.Array([], signature='s'))

    def end(self, path, result='done', text='', digest=''):
        """The pull is over; what was pulled is there."""
        reference = self.jobs.pop(path)
        if result == 'done':
            self.known[reference] = self.known[digest] = digest
        self.signal('/org/hero/Compute/Images', self.NAME, 'JobRemoved', 'uossss', dbus.UInt32(path.rsplit('/', 1)[1]),
                    dbus.ObjectPath(path), reference, result, text, digest)

    def vanish(self):
        self.jobs = {}
        super().vanish()

    def die(self):
        """And is there again at once, as bus activation has it: the next one waits for the name already."""
        former = self.connection
        self.appear()
        self.jobs, self.held = {}, []
        former.close()

    def changed(self):
        s = dbus.lowlevel.SignalMessage('/org/hero/Compute/Images', 'org.hero.Compute.Images', 'ImagesChanged')
        self.connection.send_message(s)
