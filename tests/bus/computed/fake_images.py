# SPDX-License-Identifier: Apache-2.0
"""hero-imaged: every name it knows is the same small file."""

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
        super().__init__(address)

    def do_Open(self, message, reference):
        if reference not in self.known:
            self.error(message, 'org.hero.Compute.Error.NoSuchImage', f"There is no image '{reference}'.")
            return
        fd = os.open(self.file, os.O_RDONLY)
        self.reply(message, 'sh', self.known[reference], dbus.types.UnixFd(fd))
        os.close(fd)

    def changed(self):
        s = dbus.lowlevel.SignalMessage('/org/hero/Compute/Images', 'org.hero.Compute.Images', 'ImagesChanged')
        self.connection.send_message(s)
