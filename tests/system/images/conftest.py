# SPDX-License-Identifier: Apache-2.0
"""Registries on the host of the run, the images in them, and a look after each test at what pulls left there."""

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import benign  # noqa: E402
from registry import TLS_NAME, Hostile, Images, Registry  # noqa: E402
from settings import CONFIGURATION, clear, configure  # noqa: E402
from throwaway import wait_until  # noqa: E402

@pytest.fixture(scope='session')
def layout(build):
    return benign.make(os.path.join(build, 'test-images'))


@pytest.fixture(scope='session')
def registry(the_host, layout):
    """With every benign image under docker.io's name for it."""
    r = Registry(the_host).start()
    for tag in ('alpine', 'layers', 'many', 'app'):
        r.push(tag)
    for tag in ('multi', 'elsewhere'):
        r.push(tag, everything=True)
    yield r
    r.stop()


@pytest.fixture(scope='session')
def secret_registry(the_host, layout):
    r = Registry(the_host, int(TLS_NAME.rpartition(':')[2]), tls=True).start()
    r.push('alpine', 'private/alpine:1')
    yield r
    r.stop()


@pytest.fixture(scope='session')
def hostile(the_host):
    r = Hostile(the_host).start()
    yield r
    r.stop()


@pytest.fixture(scope='session')
def client(the_host):
    configure(the_host, CONFIGURATION)
    c = Images(the_host)
    yield c
    c.stop()


@pytest.fixture
def images(host, client):
    """The service, as the test found it and as it has to leave it: its images go, and everything else of them."""
    before = client.remains()
    yield client
    for name in host.vms():
        host.heroctl('delete', '--force', name, check=False)
    clear(client)
    client.open('busybox')                                          # the built-in one may have been pruned
    try:
        wait_until(lambda: {l for l in client.remains() ^ before if not l.startswith('open in')} == set(), 'nothing is left behind', timeout=10)
    except AssertionError:
        after = client.remains()
        pytest.fail(f'left behind: {sorted(after - before)}; gone: {sorted(before - after)}')
