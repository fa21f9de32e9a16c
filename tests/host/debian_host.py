# SPDX-License-Identifier: Apache-2.0
"""A whole Debian with our build in it, booted under QEMU: where limits bite.

    root file system    made by mmdebstrap (tools/lib/debian-tar)
    kernel              Debian's cloud kernel, unpacked by tools/fetch-kernel
    our programs        meson install of a build without sanitizers

It has no network, two CPUs (by translation: a guest in it would take minutes, so its VMs are those of the mock
hypervisor) and a port through which commands are run in it. All is made in the directory host of the build, where
the tar and the programs are kept; the disk is a file without a name, gone whatever ends the tests.
"""

import base64
import concurrent.futures
import ctypes
import os
import pathlib
import secrets
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = HERE.parent.parent
BUILD = pathlib.Path(os.environ.get('HERO_BUILD_DIR', SOURCE / 'build')).resolve()
# In the tar for those who want to read them, of no use here.
NO_DOCUMENTATION = tuple(f'--exclude=./usr/share/{d}/*' for d in ('doc', 'info', 'locale', 'man'))
# Would wait for devices of a machine with udev, or reach for a network.
MASKED = ('serial-getty@ttyS0.service', 'getty.target', 'systemd-timesyncd.service', 'apt-daily.timer',
          'apt-daily-upgrade.timer', 'e2scrub_all.timer', 'fstrim.timer', 'dpkg-db-backup.timer',
          # Nobody asks for these, and translated code is slow.
          'e2scrub_reap.service', 'systemd-logind.service', 'systemd-update-utmp.service',
          'systemd-update-utmp-runlevel.service', 'systemd-binfmt.service', 'proc-sys-fs-binfmt_misc.automount')
UNITS = ('hero-computed.service', 'hero-test-port.service')
TOOLS = {'mmdebstrap': 'mmdebstrap', 'qemu-system-x86_64': 'qemu-system-x86', 'mkfs.ext4': 'e2fsprogs',
         'meson': 'meson', 'systemd-sysusers': 'systemd', 'tar': 'tar'}
DISK_SIZE = '1536M'
CGROUPS = '/sys/fs/cgroup/machine.slice/machine-hero.slice' # of the VMs, on the host
BOOT_TIMEOUT_SEC = 180
POWEROFF_TIMEOUT_SEC = 120
PR_SET_PDEATHSIG = 1

libc = ctypes.CDLL(None)


class HostError(Exception):
    """The host could not be made or does not behave; says what was written where one would look first."""


def missing_tools():
    """Debian packages to install before any of this can work."""
    path = os.environ.get('PATH', '') + ':/usr/sbin:/sbin'
    return sorted({package for tool, package in TOOLS.items() if not shutil.which(tool, path=path)})


def call(*command, **options):
    result = subprocess.run([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, errors='replace', check=False, **options)
    if result.returncode:
        raise HostError(f'{" ".join(map(str, command))} failed with status {result.returncode}:\n{result.stdout[-8000:]}')
    return result.stdout


# --- the root file system --------------------------------------------------------------------------------------

def plain_build(directory):
    """As an administrator makes it: without sanitizers, which would count as the VMM's memory."""
    build = directory / 'build'
    if not (build / 'build.ninja').exists():
        call('meson', 'setup', build, SOURCE, '-Dtests=false', '-Dman=false', '--buildtype=plain')
    call('ninja', '-C', build)
    return build


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding='utf-8')


def configure(root):
    write(root / 'etc/machine-id', secrets.token_hex(16) + '\n')
    write(root / 'etc/hostname', 'hero-host\n')
    write(root / 'etc/hosts', '127.0.0.1 localhost hero-host\n::1 localhost hero-host\n')
    write(root / 'etc/fstab', '')
    write(root / 'etc/systemd/journald.conf.d/test.conf', '[Journal]\nStorage=persistent\nRateLimitBurst=0\n')
    write(root / 'etc/hero-compute/compute.conf.d/test.conf', '[Compute]\nHypervisor=mock\n')
    units = root / 'etc/systemd/system'
    units.mkdir(parents=True, exist_ok=True)
    for unit in MASKED:
        (units / unit).unlink(missing_ok=True)
        (units / unit).symlink_to('/dev/null')
    shutil.copy(HERE / 'guest/hero-test-port', root / 'usr/local/sbin/hero-test-port')
    shutil.copy(HERE / 'guest/hero-test-port.service', units)


def check_libraries(root, build):
    """A library that was added to the build and not to tools/lib/debian-tar would otherwise show as a unit that fails."""
    for path in (root / 'usr/bin/heroctl', *(root / 'usr/lib/hero-compute').iterdir()):
        name = '/' + str(path.relative_to(root))
        result = subprocess.run(['chroot', root, 'ldd', name], capture_output=True, text=True, check=False)
        if 'not found' in result.stdout:
            raise HostError(f'{name} of {build} needs what tools/lib/debian-tar leaves out:\n{result.stdout}')


def install(root, build):
    """The build's files, and what a package's scripts do after unpacking them."""
    call('meson', 'install', '-C', build, '--no-rebuild', '--destdir', root)
    check_libraries(root, build)
    call('systemd-sysusers', f'--root={root}')
    call('journalctl', f'--root={root}', '--update-catalog')
    call('systemctl', f'--root={root}', 'enable', *UNITS)


def install_kernel(root, kernel):
    call('cp', '-aT', kernel / 'boot', root / 'boot')
    call('cp', '-aT', kernel / 'lib/modules', root / 'usr/lib/modules')
    for version in (kernel / 'lib/modules').iterdir():
        call('chroot', root, 'depmod', version.name)


def make_disk(tar, kernel, build, directory):
    """An ext4 file system with all of it, in a file that has no name any more."""
    root = pathlib.Path(tempfile.mkdtemp(prefix='root-', dir=directory))
    image = root.with_suffix('.img')
    try:
        root.chmod(0o755)
        call('tar', '-x', '--numeric-owner', '--xattrs', '--xattrs-include=*', *NO_DOCUMENTATION, '-f', tar, '-C', root)
        install_kernel(root, kernel)
        configure(root)
        install(root, build)
        call('mkfs.ext4', '-q', '-F', '-m', '0', '-E', 'lazy_itable_init=1,nodiscard', '-d', root, image, DISK_SIZE)
        return open(image, 'r+b')
    finally:
        shutil.rmtree(root)
        image.unlink(missing_ok=True)


# --- the machine -----------------------------------------------------------------------------------------------

class Result:
    def __init__(self, command, status, stdout, stderr):
        self.command, self.status, self.stdout, self.stderr = command, status, stdout, stderr

    def __repr__(self):
        return f'{self.command!r}: status {self.status}\n{self.stdout}{self.stderr}'


class DebianHost:
    """Made once, booted as often as wanted."""

    def __init__(self):
        directory = BUILD / 'host'
        directory.mkdir(parents=True, exist_ok=True)
        for left in directory.glob('root-*'): # by a run that was killed
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        self.kernel = pathlib.Path(os.environ.get('HERO_KERNEL', directory / 'kernel'))
        call(SOURCE / 'tools/fetch-kernel', self.kernel)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            tar = pool.submit(call, SOURCE / 'tools/lib/debian-tar', BUILD)
            build = plain_build(directory)
            self.disk = make_disk(tar.result().strip(), self.kernel, build, directory)
        self.console = tempfile.TemporaryFile(dir=directory)
        self.qemu = self.port = None
        self.received = b''

    def close(self):
        self.kill()
        self.disk.close()
        self.console.close()

    def kill(self):
        if self.qemu:
            self.qemu.kill()
            self.qemu.wait()
            self.port.close()
            self.qemu = None

    def command_line(self, port):
        vmlinuz = sorted((self.kernel / 'boot').glob('vmlinuz-*'))[-1]
        return ['qemu-system-x86_64', '-name', 'hero-host', '-M', 'q35,graphics=off,smbus=off,sata=off,usb=off',
                '-accel', 'tcg,thread=multi', '-cpu', 'max,la57=off', '-smp', '2', '-m', '1024', '-nodefaults', '-no-user-config',
                '-nographic', '-no-reboot', '-nic', 'none', '-kernel', str(vmlinuz),
                '-append', 'root=/dev/nvme0n1 rootfstype=ext4 rw console=ttyS0 quiet panic=-1 mitigations=off '
                           'random.trust_cpu=on systemd.show_status=error',
                '-drive', f'if=none,id=root,format=raw,cache=unsafe,file=/proc/self/fd/{self.disk.fileno()}',
                '-device', 'nvme,serial=root,drive=root',
                '-chardev', f'file,id=console,path=/proc/self/fd/{self.console.fileno()},append=on',
                '-serial', 'chardev:console',
                '-chardev', f'socket,id=port,fd={port.fileno()}',
                '-device', 'virtio-serial-pci', '-device', 'virtserialport,chardev=port,name=hero-test']

    def boot(self):
        """Returns when commands can be run."""
        assert not self.qemu
        self.port, theirs = socket.socketpair()
        self.received = b''
        with theirs:
            fds = (self.disk.fileno(), self.console.fileno(), theirs.fileno())
            self.qemu = subprocess.Popen(
                self.command_line(theirs), stdin=subprocess.DEVNULL, stdout=self.console, stderr=self.console, pass_fds=fds,
                preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL))
        line = self.read_line(BOOT_TIMEOUT_SEC, 'the boot')
        if line != 'ready':
            raise HostError(f'The host said {line!r} instead of being ready.')

    def poweroff(self):
        """As an administrator does it; returns when the machine is off."""
        self.send('systemctl poweroff', POWEROFF_TIMEOUT_SEC) # which ends what would answer, too
        try:
            status = self.qemu.wait(POWEROFF_TIMEOUT_SEC)
        except subprocess.TimeoutExpired:
            raise self.trouble('the power-off takes too long') from None
        self.port.close()
        self.qemu = None
        if status:
            raise self.trouble(f'QEMU exited with status {status}')

    def read_line(self, seconds, what):
        end = time.monotonic() + seconds
        while b'\n' not in self.received:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.port], [], [], left)[0]:
                raise self.trouble(f'{what} takes longer than {seconds} s')
            data = self.port.recv(65536)
            if not data:
                raise self.trouble(f'the host went away during {what}')
            self.received += data
        line, _, self.received = self.received.partition(b'\n')
        return line.decode()

    def trouble(self, what):
        size = os.fstat(self.console.fileno()).st_size
        tail = os.pread(self.console.fileno(), 8000, max(0, size - 8000)).decode(errors='replace')
        return HostError(f'{what}; its console:\n{tail}')

    def send(self, command, seconds):
        self.port.sendall(b'%i %s\n' % (seconds, base64.b64encode(command.encode() + b'\n')))

    def run(self, command, check=True, timeout=60):
        """A command of bash in it, as root. With check, its exit status must be 0; 124 is the time-out's."""
        self.send(command, timeout)
        status, stdout, stderr = self.read_line(timeout + 30, repr(command)).split(' ')
        result = Result(command, int(status), *(base64.b64decode(t[1:]).decode(errors='replace') for t in (stdout, stderr)))
        assert result.status == 0 or not check, result
        return result
