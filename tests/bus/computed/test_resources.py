# SPDX-License-Identifier: Apache-2.0
"""What a VM needs and the host does not have: kernel, initrd, VMM, space. QEMU is never executed here."""

import os
import pathlib
import stat

import pytest
from bus_client import ERROR, JOB, run_for, run_until
from daemon import CONFIG

QEMU = pathlib.Path('/usr/bin/qemu-system-x86_64')


def script(path, text):
    path.write_text('#!/bin/sh\n' + text + '\n')
    path.chmod(0o755)


@pytest.fixture
def kernel(cold):
    """A host with something that may pass for a kernel, and a hero-mkinitrd that a test writes."""
    if not QEMU.exists():
        pytest.skip('QEMU is not installed')
    modules = cold.directory / 'etc/modules'
    modules.mkdir()
    (cold.directory / 'etc/vmlinuz-1.2.3').write_bytes(b'no kernel')
    cold.mkinitrd = cold.directory / 'lib/hero-mkinitrd'
    (cold.directory / 'lib/hero-init').write_bytes(b'')
    cold.daemon.config(CONFIG.replace('[Compute]', '[Compute]\nAccelerator=tcg\nKernel=/etc/hero-compute/vmlinuz-1.2.3\n'
                                                   'KernelModules=/etc/hero-compute/modules'))
    return cold


def start(host):
    assert host.root.create('web', Hypervisor='qemu') == ('done', '')
    return host.root.do('web', 'Start')


def check_undone(host):
    assert host.root.state('web') in ('start-failed', 'configured')
    assert host.root.reserved() == (0, 0, 16 << 20)
    host.nothing_left('web', files=True)
    assert host.root.do('web', 'Delete', 't', 0) == ('done', '')


def test_a_kernel_that_is_not_there_fails_the_start_by_its_path(cold):
    if not QEMU.exists():
        pytest.skip('QEMU is not installed')
    cold.daemon.config(CONFIG.replace('[Compute]', '[Compute]\nAccelerator=tcg\nKernel=/nonexistent/vmlinuz'))
    result, text = start(cold.start())
    assert result == ERROR + 'NoKernel' and '/nonexistent/vmlinuz' in text
    check_undone(cold)


def test_an_initrd_that_cannot_be_made_fails_the_start_in_its_makers_words(kernel):
    script(kernel.mkinitrd, 'echo "The module virtio_blk is missing." >&2; exit 1')
    result, text = start(kernel.start())
    assert result == ERROR + 'NoKernel' and 'virtio_blk is missing' in text
    check_undone(kernel)


def test_words_that_are_no_text_still_reach_the_caller(kernel):
    script(kernel.mkinitrd, r"printf '\377\033[31m%0600d' 0; printf '\303'; exit 1")
    result, text = start(kernel.start())
    assert result == ERROR + 'NoKernel' and '?' in text and '\x1b' not in text
    kernel.root.call('/org/hero/Compute', 'org.freedesktop.DBus.ObjectManager', 'GetManagedObjects')
    check_undone(kernel)


def test_a_missing_mkinitrd_fails_the_start(kernel):
    result, text = start(kernel.start())
    assert result != 'done' and 'hero-mkinitrd' in text
    check_undone(kernel)


def test_an_initrd_that_is_not_where_it_was_said_to_be_fails_the_start(kernel):
    script(kernel.mkinitrd, 'echo /nonexistent/initrd')
    result, text = start(kernel.start())
    assert result != 'done' and '/nonexistent/initrd' in text
    check_undone(kernel)


def test_cancelling_while_the_initrd_is_made_brings_back_what_was_before(kernel):
    script(kernel.mkinitrd, f'echo $$ > {kernel.directory}/mkinitrd.pid; exec sleep 100')
    kernel.start()
    assert kernel.root.create('web', Hypervisor='qemu') == ('done', '')
    job = kernel.root.vm('web', 'Start')
    pid = kernel.directory / 'mkinitrd.pid'
    run_until(lambda: pid.exists() and pid.read_text())
    kernel.root.call(job, JOB, 'Cancel')
    assert kernel.root.job(job)[0] == 'canceled'
    assert kernel.root.state('web') == 'configured'
    # One who wants the mock VMM waits for no kernel.
    assert kernel.root.create('mock') == ('done', '')
    assert kernel.root.do('mock', 'Start') == ('done', '')
    kernel.daemon.stop()
    run_until(lambda: not os.path.exists(f'/proc/{pid.read_text().strip()}'), 5)


def test_one_initrd_is_made_for_all_who_wait_and_again_when_the_kernel_changed(kernel):
    script(kernel.mkinitrd, f'echo x >> {kernel.directory}/made; sleep 0.3; exit 1')
    kernel.start()
    for i in range(4):
        assert kernel.root.create(f'vm-{i}', Hypervisor='qemu') == ('done', '')
    for job in [kernel.root.vm(f'vm-{i}', 'Start') for i in range(4)]:
        assert kernel.root.job(job)[0] == ERROR + 'NoKernel'
    assert (kernel.directory / 'made').read_text() == 'x\n'
    kernel.root.do('vm-0', 'Start')
    assert (kernel.directory / 'made').read_text() == 'x\nx\n'


def test_a_reload_while_the_initrd_is_made_loses_nobody(kernel):
    script(kernel.mkinitrd, 'sleep 0.5; echo no >&2; exit 1')
    kernel.start()
    assert kernel.root.create('web', Hypervisor='qemu') == ('done', '')
    job = kernel.root.vm('web', 'Start')
    run_for(0.1)
    kernel.daemon.reload()
    assert kernel.root.job(job)[0] == ERROR + 'NoKernel'
    check_undone(kernel)


def test_without_space_a_creation_fails_and_leaves_nothing(cold):
    cold.daemon.config(CONFIG.replace('CPUOvercommit=100', 'CPUOvercommit=100\nDiskOvercommit=100000'))
    cold.daemon.state_size = '32k'
    host = cold.start()
    result, text = host.root.create('web')
    assert result != 'done' and text
    assert host.root.names() == [] and host.root.reserved() == (0, 0, 0)
    seen = pathlib.Path(f'/proc/{host.daemon.pid}/root/var/lib/hero-compute/vms')
    assert os.listdir(seen) == []


def test_a_disk_that_fills_up_does_not_end_the_daemon(cold):
    cold.daemon.config(CONFIG.replace('CPUOvercommit=100', 'CPUOvercommit=100\nDiskOvercommit=100000'))
    cold.daemon.state_size = '8m'
    host = cold.start()
    host.running('web')
    fill = pathlib.Path(f'/proc/{host.daemon.pid}/root/var/lib/hero-compute/fill')
    with open(fill, 'wb', buffering=0) as f:
        try:
            while True:
                f.write(bytes(4096))
        except OSError:
            pass
    with pytest.raises(Exception):
        assert host.root.create('more') == ('done', '')
    assert host.root.do('web', 'Suspend') == ('done', '')
    assert host.root.do('web', 'Resume') == ('done', '')
    assert host.root.names() == ['web']
    fill.unlink()
    assert host.root.create('more') == ('done', '')
    assert host.root.do('web', 'Delete', 't', 1) == ('done', '')


@pytest.mark.parametrize('size', ['16M', '1G', '100G'])
def test_an_overlay_has_the_size_asked_for_and_takes_little(host, size):
    n = {'16M': 16 << 20, '1G': 1 << 30, '100G': 100 << 30}[size]
    if n > host.root.manager_get('DiskTotal'):
        pytest.skip('the host has less disk')
    assert host.root.create('web', Disk=n) == ('done', '')
    st = (host.daemon.state / 'vms/web/overlay.img').stat()
    assert st.st_size == n and st.st_blocks * 512 < 64 << 20
    assert stat.S_IMODE(st.st_mode) & 0o077 == 0
    assert stat.S_IMODE((host.daemon.state / 'vms').stat().st_mode) == 0o700
