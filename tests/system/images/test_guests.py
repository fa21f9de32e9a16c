# SPDX-License-Identifier: Apache-2.0
"""Images of a registry as guests: what umoci, which is somebody else's, unpacks of an image is what its guest has, entry by entry."""

import os

import pytest

from compare import assert_same
from registry import IMAGES_DIRECTORY
from throwaway import wait_until


def listed(layout, tag):
    with open(os.path.join(layout, tag + '.list'), encoding='utf-8') as f:
        return f.read()


def test_provision_from_a_registry_gives_a_guest_with_the_os_release_of_the_image(host, images, registry):
    host.heroctl('provision', 'alice', '--image', 'alpine:latest', timeout=60)
    release = host.heroctl('exec', 'alice', '--', 'cat', '/etc/os-release').out
    assert release.splitlines()[0] == 'ID=alpine-like', release
    assert images.list()['alpine:latest']['digest'] == host.get('alice', 'ImageDigest')
    assert images.show('alpine')['UsedBy'] == ['alice']
    host.heroctl('deprovision', 'alice')


@pytest.mark.parametrize('tag, memory, at_least, every', [('alpine', '256M', 30, 1), ('layers', '256M', 150, 1), ('many', '512M', 50000, 50)])
def test_a_guest_sees_what_umoci_unpacks(host, images, registry, layout, tag, memory, at_least, every):
    # With a network resolv.conf would be the host's.
    host.heroctl('provision', 'carol', '--no-network', '--image', tag, f'--memory={memory}', timeout=90)
    seen = host.heroctl('exec', 'carol', '--', '/bin/tree-list', '/', str(every), timeout=120).out
    assert_same(listed(layout, tag), seen, at_least)
    host.heroctl('deprovision', 'carol')


def test_all_bytes_of_fifty_thousand_files_are_those_that_umoci_unpacks(host, images, registry, layout):
    """Which a guest without KVM takes a minute to read: by somebody else's reader of SquashFS."""
    images.pulled('many')
    path = f'/var/lib/hero-compute/images/content/{images.show("many")["ContentDigest"][7:]}.squashfs'
    try:
        host.run(['unsquashfs', '-q', '-n', '-d', '/var/tmp/many', path])
        seen = host.run([f'{IMAGES_DIRECTORY}/tree-list', '/var/tmp/many']).out
    finally:
        host.run('rm -rf /var/tmp/many')
    assert_same(listed(layout, 'many'), seen, 50000)


def test_a_debian_with_systemd_as_its_command_boots_it_and_has_what_umoci_unpacks(host, images, registry, layout):
    registry.push('debian')
    images.pulled('debian', timeout=90)
    # First without systemd, which writes.
    seen = host.heroctl('run', '--rm', '--no-network', '--memory=512M', 'debian', 'tree-list', '/', '5', timeout=120).out
    assert_same(listed(layout, 'debian'), seen, 6000)

    host.heroctl('provision', 'dave', '--image', 'debian', '--memory=512M', timeout=120)
    assert host.heroctl('exec', 'dave', '--', 'cat', '/proc/1/comm').out == 'systemd\n'
    wait_until(lambda: host.heroctl('exec', 'dave', '--', 'systemctl', 'is-system-running', check=False).out.strip() in ('running', 'degraded'),
               'systemd of the guest has booted', timeout=90)
    assert host.heroctl('exec', 'dave', '--', 'systemctl', 'is-active', 'dbus.socket').out == 'active\n'
    host.heroctl('stop', 'dave', timeout=60)
    assert host.get('dave', 'ExitReason') in ('', 'exited', 'shutdown', 'stopped')
    host.heroctl('deprovision', 'dave')


def test_the_run_configuration_of_an_image_holds_and_its_status_is_kept(host, images, registry):
    host.heroctl('create', 'erin', '--image', 'app', timeout=60)
    host.heroctl('start', 'erin', timeout=60)
    host.wait_for_state('erin', 'stopped')
    assert (host.get('erin', 'ExitCode'), host.get('erin', 'ExitReason')) == (7, 'exited')
    log = host.heroctl('logs', 'erin').out
    assert '1234\r\n50\r\n/srv\r\nred one two words' in log or '1234\n50\n/srv\nred one two words' in log, log
    host.heroctl('delete', 'erin')


def test_run_is_a_vm_of_which_nothing_stays(host, images, registry):
    r = host.heroctl('run', '--rm', '-i', 'alpine', 'sh', '-c', 'cat; echo error >&2; exit 9', input='through', check=False, timeout=90)
    assert (r.status, r.out) == (9, 'through') and r.err.endswith('error\n'), r
    assert host.vms() == []


def test_the_image_for_this_machine_is_taken_out_of_an_index(host, images, registry, layout):
    machine = {'x86_64': 'amd64', 'aarch64': 'arm64'}[os.uname().machine]
    images.pulled('multi')
    assert images.show('multi')['Platform'] == f'linux/{machine}'
    host.heroctl('provision', 'frank', '--image', 'multi', timeout=60)
    assert host.heroctl('exec', 'frank', '--', 'head', '-n', '1', '/etc/os-release').out == f'ID={machine}\n'
    host.heroctl('deprovision', 'frank')


def test_another_platform_can_be_asked_for_and_one_that_is_not_there_is_named(images, registry):
    other = images.pulled('multi', Platform='linux/s390x')
    assert images.show(other)['Platform'] == 'linux/s390x'
    r = images.pull('multi', Platform='linux/riscv64')
    assert r['result'].endswith('.NoSuchImage') and 'linux/riscv64' in r['message'], r
    r = images.pull('elsewhere')
    assert r['result'].endswith('.NoSuchImage') and 'linux/' in r['message'], r
