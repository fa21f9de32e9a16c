# SPDX-License-Identifier: Apache-2.0
"""One throwaway host for all tests of a run, and a look after each at what it left there."""

import os
import re
import subprocess

import pytest

from throwaway import BAD_LINES, STATE, Host, TOP, wait_until

os.environ.setdefault('HERO_TEST_HOST', f'/tmp/hero-test.{os.getpid()}')


@pytest.fixture(scope='session')
def build():
    return os.environ.get('HERO_BUILD_DIR', os.path.join(TOP, 'build'))


@pytest.fixture(scope='session')
def kernel():
    return os.environ.get('HERO_KERNEL', '/var/cache/hero-compute/kernel')


@pytest.fixture(scope='session')
def the_host(build, kernel):
    made = os.path.join(build, 'test-images')            # by tests/system/images, when its tests run
    os.makedirs(made, exist_ok=True)
    h = Host(os.environ['HERO_TEST_HOST'], build, [f'{kernel}:{STATE}/kernel:ro', f'{made}:/srv/hero-test-images:ro',
                                                   f'{os.path.join(TOP, "tests/system/images")}:/srv/hero-tests:ro'])
    h.start()
    try:
        for user in ('alice', 'bob'):
            h.run(['useradd', '-m', user])
        # The first VM makes what all others share: the built-in image, the initrd, the disk template.
        h.run(['systemctl', 'start', 'polkit', 'systemd-machined'])
        h.heroctl('provision', 'warm-up', timeout=120)
        h.heroctl('delete', 'warm-up')
        yield h
    finally:
        h.stop()


WHAT_HANGS = r'''
        uptime; systemctl list-jobs --no-pager; busctl --timeout=2 list --no-pager | head -n 40
        ps -eo pid,ppid,stat,etimes,wchan:20,args
        for p in $(pgrep "hero-(comp|imag)|polkitd|dbus-daemon|systemd-machine"); do
                echo "-- $p $(cat /proc/$p/comm)"; cat /proc/$p/task/*/stack
        done'''


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """What the host has to say about a failure: first who is stuck where, as that passes."""
    report = (yield).get_result()
    h = item.funcargs.get('the_host') if hasattr(item, 'funcargs') else None
    if not report.failed or not h:
        return
    for title, command in (('The host', f'exec 2>&1; {WHAT_HANGS}'),
                           ('Its journal', 'journalctl --no-pager -o short-monotonic -n 60')):
        try:
            report.sections.append((title, h.run(command, check=False, timeout=20).out))
        except (subprocess.TimeoutExpired, OSError) as e:
            report.sections.append((title, f'cannot be asked: {e}'))


def same_but_for_noise(before, after):
    """The daemon keeps open what it used last (an image or two, kernel and initrd, a launcher); a VM costs five."""
    def split(lines):
        counts = {l for l in lines if l.startswith('open in ')}
        return lines - counts, [int(re.search(r'\d+$', l).group()) for l in counts]
    (rest_before, n_before), (rest_after, n_after) = split(before), split(after)
    return rest_before == rest_after and n_after and n_after[0] <= n_before[0] + 4


@pytest.fixture
def host(the_host):
    """The host, as the test found it and as it has to leave it."""
    cursor, before = the_host.cursor(), the_host.remains()
    yield the_host
    for name in the_host.vms():
        the_host.heroctl('delete', '--force', name, check=False)
    bad = [l for l in the_host.journal(cursor).splitlines() if BAD_LINES.search(l)]
    assert not bad, '\n'.join(bad)
    after = set()

    def clean():
        nonlocal after
        after = the_host.remains()
        return same_but_for_noise(before, after)
    try:
        wait_until(clean, 'nothing is left behind', timeout=10)
    except AssertionError:
        pytest.fail(f'left behind: {sorted(after - before)}; gone: {sorted(before - after)}')


@pytest.fixture
def restarts(host):
    """For a test that restarts the daemon: brings what it caches (image, template, launcher) back, so that the number
    of its open files can be compared."""
    yield host
    host.run(['systemctl', 'reset-failed', 'hero-computed'], check=False)
    host.mock('warm-up')
    host.heroctl('delete', 'warm-up')
