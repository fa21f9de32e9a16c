# SPDX-License-Identifier: Apache-2.0
"""The hostile corpus (hostile.py): each ends with its own error, in its time, leaves nothing, and the next pull works."""

import re
import time

import pytest

import hostile as corpus
from settings import clear
from throwaway import BAD_LINES, wait_until

SLOW = [n for n, c in corpus.CASES.items() if c.slow]
QUICK = [n for n, c in corpus.CASES.items() if not c.slow]
BYTES_MAX = 96 << 20            # of disk, whatever is pulled: nothing in the corpus is larger


def check(name, answer, slack=1):
    c = corpus.CASES[name]
    assert answer['result'] in c.result, (name, answer)
    assert c.sentence in answer['message'], (name, answer)
    assert answer['seconds'] < c.seconds * slack, (name, answer)
    if answer['result'] != 'done':
        # A sentence for people, of one line, with no bytes that a terminal obeys.
        assert answer['message'] and len(answer['message']) < 1500 and re.fullmatch(r'[^\x00-\x1f\x7f-\x9f]+', answer['message']), (name, answer)


def next_pull_works(images, hostile):
    good = hostile.reference('good')
    images.pulled(good)
    images.remove(good)


@pytest.fixture(scope='module')
def service(the_host, client, hostile):
    """One look at the host for all of the corpus; the store is looked at after each (see one())."""
    cursor = the_host.cursor()
    client.pulled(hostile.reference('moving-before'))           # there from before, and left alone
    yield client
    clear(client)
    bad = [l for l in the_host.journal(cursor).splitlines() if BAD_LINES.search(l)]
    assert not bad, '\n'.join(bad)


def settled(images, before):
    """Nothing is there that was not before; what PID 1 clears away may take it a moment."""
    def kept(lines):
        return {l for l in lines if not l.startswith(('open in', 'process', 'unit'))}

    def same():
        now = images.remains()
        return kept(now) == kept(before) and {l for l in now - before if not l.startswith('open in')} == set()
    try:
        wait_until(same, 'nothing is left behind', timeout=5)
    except AssertionError:
        after = images.remains()
        pytest.fail(f'left behind: {sorted(after - before)}; gone: {sorted(before - after)}')


@pytest.mark.parametrize('name', QUICK)
def test_each_of_the_corpus_ends_as_it_must(service, hostile, name):
    before, used = service.remains(), service.ask('used')['value']
    answer = service.pull(hostile.reference(name))
    check(name, answer, slack=3)
    assert service.ask('used')['value'] - used < BYTES_MAX
    if answer['result'] == 'done':
        service.remove(hostile.reference(name))
    next_pull_works(service, hostile)
    settled(service, before)


def test_what_only_time_can_end_ends_in_time_and_many_at_once_hinder_nobody(service, hostile):
    began, before, used = time.monotonic(), service.remains(), service.ask('used')['value']
    for batch in (SLOW[:7], SLOW[7:]):
        asked = {n: service.start('pull', reference=hostile.reference(n), options={}) for n in batch}
        next_pull_works(service, hostile)
        for name, number in asked.items():
            check(name, service.result(number, 60), slack=1.5)
        assert service.ask('used')['value'] - used < BYTES_MAX
    assert time.monotonic() - began < 60
    settled(service, before)
