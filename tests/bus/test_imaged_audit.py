# SPDX-License-Identifier: Apache-2.0
"""hero-imaged tells the journal who changed images, once for each call; what only reads is not told."""

import os
import re

import pytest
from gi.repository import GLib

import test_imaged
from imaged_fixtures import ERROR, Host, make_tar, wait_for

public_path = test_imaged.public_path
SMALL = make_tar({'hello': b'world\n'})


@pytest.fixture
def host(public_path):
    h = Host(public_path)
    yield h
    h.close()


@pytest.fixture
def bus(host):
    return host.connect()


def entries(host):
    """(action, image, who, result) in their order"""
    found = re.findall(r"^Audit: (\S+)(?: of image '(.*?)')? by (.*?) over bus: (\S+) after \d+\.\d{3} ms(?:$|: .)",
                       host.log(), re.M)
    assert len(found) == host.log().count('Audit: ')
    return found


def test_an_import_is_told_when_it_has_ended_and_so_is_a_failed_one(host, bus):
    r, w = os.pipe()
    job = bus.start_import('a', r)
    os.write(w, SMALL)
    wait_for(host.workers)
    assert entries(host) == []
    os.close(w)
    assert bus.wait_done(job)[0] == 'done'
    os.close(r)
    result, _, _ = bus.import_bytes('b', b'this is no tar' * 100)
    assert entries(host) == [('Images.Import', 'a', "'root' (uid 0)", 'ok'),
                             ('Images.Import', 'b', "'root' (uid 0)", result.removeprefix(ERROR))]


def test_a_canceled_import_and_who_canceled_it_are_two_entries(host, bus):
    r, w = os.pipe()
    job = bus.start_import('never', r)
    os.close(r)
    os.write(w, SMALL[:1000])
    wait_for(host.workers)
    bus.cancel(job)
    assert bus.wait_done(job)[0] == 'canceled'
    os.close(w)
    assert sorted(entries(host)) == [('ImageJob.Cancel', 'never:latest', "'root' (uid 0)", 'ok'),
                                     ('Images.Import', 'never', "'root' (uid 0)", 'Canceled')]


def test_what_hero_computed_has_to_be_asked_for_is_one_entry_and_reads_are_none(host, bus):
    uses = []
    host.play_computed(uses)
    digest = bus.imported('a', SMALL)
    bus.list()
    bus.get('a')
    bus.open('a')
    prune = lambda **options: bus.call('Prune', '(a{sv})', {k: GLib.Variant('b', v) for k, v in options.items()})
    prune(DryRun=True, All=True)
    uses.append(('web', 'a', digest))
    assert bus.error('Remove', '(s)', 'a')[0] == ERROR + 'ImageInUse'
    prune(All=True)
    uses.clear()
    bus.call('Remove', '(s)', 'a')
    assert bus.error('Remove', '(s)', 'a')[0] == ERROR + 'NoSuchImage'
    assert entries(host) == [('Images.Import', 'a', "'root' (uid 0)", 'ok'), ('Images.Remove', 'a', "'root' (uid 0)", 'ImageInUse'),
                             ('Images.Prune', '', "'root' (uid 0)", 'ok'), ('Images.Remove', 'a', "'root' (uid 0)", 'ok'),
                             ('Images.Remove', 'a', "'root' (uid 0)", 'NoSuchImage')]


def test_refused_calls_are_told(host, bus):
    bus.imported('a', SMALL)
    host.play_polkit(lambda action, details: False)
    call = test_imaged.TestAuthorisation().call
    for arguments in ['List'], ['Remove', 's', 'a'], ['Prune', 'a{sv}', '0'], ['Get', 's', 'a'], ['Pull', 'sa{sv}', 'x', '0']:
        assert call(host, *arguments)[0] != 0
    assert entries(host)[1:] == [('Images.Remove', 'a', 'uid 65534', 'refused'), ('Images.Prune', '', 'uid 65534', 'refused'),
                                 ('Images.Pull', 'x', 'uid 65534', 'refused')]


def test_what_is_under_way_when_the_service_ends_is_told(host, bus):
    r, w = os.pipe()
    bus.start_import('never', r)
    os.close(r)
    os.write(w, SMALL[:1000])
    wait_for(host.workers)
    host.stop()
    os.close(w)
    assert entries(host) == [('Images.Import', 'never', "'root' (uid 0)", 'NoReply')]
