# SPDX-License-Identifier: Apache-2.0
"""Whatever is wrong, the answer is a specific error and a sentence one can act on; nothing half-made stays (the fixture
looks), and nobody else is disturbed."""

import pytest

from throwaway import MANAGER, wait_until


def refused(host, words, *parts):
    """heroctl fails with one line that holds all the parts, and leaves no VM."""
    r = host.heroctl(*words, check=False)
    assert r.status not in (0, 70), r
    for p in parts:
        assert p in r.err, r
    return r


@pytest.mark.parametrize('words, parts', [
    (['create', 'Upper'], ['is not a VM name', 'a-z']),
    (['create', '-dash'], []),
    (['create', 'x' * 64], ['1 to 63 characters']),
    (['create', 'a/../b'], ['is not a VM name']),
    (['provision', 'b/b'], ['is not a user id']),
    (['provision', 'u' * 65], ['1 to 64 characters']),
    (['create', 'x', '--memory=1M'], ['64 MiB', '1 TiB']),
    (['create', 'x', '--memory=2T'], ['64 MiB', '1 TiB']),
    (['create', 'x', '--disk=1M'], ['16 MiB', '15 TiB']),
    (['create', 'x', '--disk=1P'], ['16 MiB', '15 TiB']),
    (['create', 'x', '--cpus=65'], ['between 1 and 64']),
    (['create', 'x', '--cpus=0'], ['not in range']),
    (['create', 'x', '--hypervisor=xen'], ["no hypervisor driver 'xen'", 'qemu, mock']),
    (['create', 'x', '--image=nope'], ['docker.io/library/nope:latest cannot be pulled', 'images.conf(5)']),
    (['create', 'x', '--image=Bad Name'], ['not an image reference']),
    (['create', 'x', '--mock-script=die-at-start'], ["hypervisor 'mock' only"]),
    (['start', 'nobody'], ["no VM 'nobody'"]),
    (['deprovision', 'nobody'], ['has no VM']),
    (['image', 'rm', 'nope'], ['nope']),
    (['image', 'import', 'Bad Name', '/dev/null'], ['not an image reference']),
    (['image', 'import', 'x', '/nowhere'], ['/nowhere']),
    (['image', 'import', 'x', '/etc/passwd'], []),
])
def test_out_of_bounds_or_unknown(host, words, parts):
    refused(host, words, *parts)
    assert host.vms() == []


def test_an_unknown_key_or_a_wrong_type_in_a_specification_is_named(host):
    r = host.call(MANAGER, 'CreateVM', 'sa{sv}', 'x', '1', 'Memroy', 't', '1', check=False)
    assert "no key 'Memroy'" in r.err
    r = host.call(MANAGER, 'CreateVM', 'sa{sv}', 'x', '1', 'Memory', 's', 'lots', check=False)
    assert "Memory must be of type 't', not 's'" in r.err


def test_a_name_or_a_user_that_is_taken(host):
    host.heroctl('provision', 'dave', '--hypervisor=mock')
    refused(host, ['create', 'dave'], "There is a VM 'dave' already")
    refused(host, ['create', 'other', '--user=dave'], "User 'dave' has the VM 'dave' already")
    refused(host, ['provision', 'dave', '--hypervisor=mock', '--cpus=2'], 'another CPUs')
    assert host.heroctl('provision', 'dave', '--hypervisor=mock').out == 'dave\n'


def test_the_wrong_state_is_said_with_what_to_do(host):
    host.mock('erin')
    refused(host, ['start', 'erin'], 'is running')
    host.heroctl('suspend', 'erin')
    refused(host, ['start', 'erin'], 'resume it')
    refused(host, ['restart', 'erin'], 'resume it first')
    host.heroctl('stop', 'erin')
    refused(host, ['exec', 'erin', '--', 'true'], 'start it first')
    refused(host, ['suspend', 'erin'], 'does not run')
    refused(host, ['console', 'erin'], 'start it first')


def test_more_than_the_host_has_is_refused_with_what_is_left(host):
    host.heroctl('create', 'fat', '--hypervisor=mock', '--memory=1T', '--disk=16M')
    refused(host, ['start', 'fat'], 'Not enough memory: 1T is asked for', 'left', 'MemoryOvercommit=')
    refused(host, ['create', 'wide', '--disk=15T'], 'Not enough disk', 'DiskOvercommit=')
    host.heroctl('create', 'busy', '--hypervisor=mock', '--cpus=64', '--memory=64M', '--disk=16M')
    refused(host, ['start', 'busy'], 'Not enough CPUs', 'CPUOvercommit=')


@pytest.fixture
def short_limits(host):
    host.run('mkdir -p /etc/hero-compute/compute.conf.d; printf "[Timeouts]\\nAgentTimeoutSec=2\\nMonitorTimeoutSec=2\\n'
             'ShutdownTimeoutSec=1\\nPowerdownTimeoutSec=1\\nStopTimeoutSec=1\\n" '
             '> /etc/hero-compute/compute.conf.d/limits.conf; systemctl reload hero-computed')
    yield host
    host.run('rm /etc/hero-compute/compute.conf.d/limits.conf; systemctl reload hero-computed')


@pytest.mark.parametrize('script, parts', [
    ('die-at-start', ['before it was ready', 'told to die']),
    ('boot-failed', ['could not boot']),
    ('agent-silent', ['agent was not ready within', 'heroctl logs']),
    ('no-agent', ['agent was not ready within']),
    ('monitor-silent', ['did not answer within']),
    ('monitor-garbage', ['did not answer within']),
])
def test_a_vmm_or_guest_that_does_not_come_up(short_limits, script, parts):
    refused(short_limits, ['provision', 'frank', '--hypervisor=mock', f'--mock-script={script}'], *parts)
    assert short_limits.vms() == []


def test_a_vmm_that_dies_in_the_suspend_takes_nothing_with_it(host):
    host.mock('bystander')
    host.mock('crash', script='crash-on-pause')
    refused(host, ['suspend', 'crash'])
    host.wait_for_state('crash', 'failed')
    assert 'SIGABRT' in host.get('crash', 'StateReason')
    assert host.heroctl('exec', 'bystander', '--', 'echo', 'ok').out == 'ok\n'
    host.heroctl('delete', 'crash')


def test_a_guest_that_will_not_shut_down_is_ended_all_the_same(short_limits):
    short_limits.mock('stubborn', script='ignore-shutdown,ignore-powerdown')
    short_limits.heroctl('stop', 'stubborn')
    assert short_limits.state('stubborn') == 'stopped'


def with_config(host, text, check):
    path = '/etc/hero-compute/compute.conf.d/broken.conf'
    host.run(['mkdir', '-p', '/etc/hero-compute/compute.conf.d'])
    host.run(['tee', path], input=text)
    host.run('systemctl reload hero-computed')
    try:
        check()
    finally:
        host.run(f'rm {path}; systemctl reload hero-computed')


def test_no_kernel(host):
    with_config(host, '[Compute]\nKernel=/nowhere/vmlinuz-1\n',
                lambda: refused(host, ['provision', 'grace'], '/nowhere/vmlinuz-1 cannot be read'))


def test_no_kvm_where_it_is_demanded(host):
    if 'vmx' in open('/proc/cpuinfo').read() or ' svm' in open('/proc/cpuinfo').read():
        pytest.skip('this machine has KVM')
    with_config(host, '[Compute]\nAccelerator=kvm\n',
                lambda: refused(host, ['provision', 'grace'], 'KVM cannot run guests here', 'auto or tcg'))


def test_no_vmm(host):
    host.run('mv /usr/bin/qemu-system-x86_64 /usr/bin/qemu-away')
    try:
        refused(host, ['provision', 'grace'], 'qemu-system-x86')
    finally:
        host.run('mv /usr/bin/qemu-away /usr/bin/qemu-system-x86_64')


def test_a_mistake_in_the_configuration_is_named_with_file_line_and_key(host):
    cursor = host.cursor()

    def check():
        wait_until(lambda: 'broken.conf:2: Memory=lots' in host.journal(cursor), 'the mistake is in the journal')
        assert 'broken.conf:3: Nonsense=: There is no such key' in host.journal(cursor)
        host.mock('fine')
    with_config(host, '[Defaults]\nMemory=lots\nNonsense=1\n', check)


def test_no_polkit_means_no_for_users_and_nothing_for_root(host):
    host.run('systemctl mask --runtime --now polkit')
    try:
        r = host.run(['heroctl', '--no-ask-password', 'provision', 'alice'], user='alice', check=False)
        assert r.status != 0 and 'polkit' in r.err, r
        host.mock('rootly')
    finally:
        host.run('systemctl unmask --runtime polkit; systemctl start polkit')


def test_no_machined_is_normal(host):
    host.run('systemctl mask --runtime --now systemd-machined')
    try:
        host.mock('alone')
        assert host.state('alone') == 'running'
    finally:
        host.run('systemctl unmask --runtime systemd-machined; systemctl start systemd-machined')


def test_a_full_disk_is_said_and_cleaned_up_after(restarts):
    host = restarts
    host.run('mount -t tmpfs -o size=200k tmpfs /var/lib/hero-compute/vms')
    try:
        host.run('systemctl restart hero-computed')
        r = refused(host, ['create', 'full', '--hypervisor=mock', '--disk=1G'])
        assert 'space' in r.err.lower() or 'disk' in r.err.lower(), r
        assert host.vms() == []
    finally:
        host.run('systemctl stop hero-computed; umount /var/lib/hero-compute/vms; systemctl start hero-computed')
