# SPDX-License-Identifier: Apache-2.0
"""The hostile corpus (hostile.py): each ends with its own error, in its time, leaves nothing, and the next pull works."""

import re
import time

import pytest

import hostile as corpus

# Those that only time ends, which is why they are all asked for at once.
SLOW = [n for n, c in corpus.CASES.items() if c.seconds in (corpus.SLOW, corpus.STALLED)]
QUICK = [n for n in corpus.CASES if n not in SLOW]
BYTES_MAX = 96 << 20            # of disk, whatever is pulled: nothing in the corpus is larger


def used(host):
    return int(host.run("df --output=used -B1 /var/lib/hero-compute | tail -n1").out)


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


@pytest.mark.parametrize('name', QUICK)
def test_each_of_the_corpus_ends_as_it_must(host, images, hostile, name):
    before = used(host)
    check(name, images.pull(hostile.reference(name)), slack=3)
    assert used(host) - before < BYTES_MAX
    next_pull_works(images, hostile)


def test_what_only_time_can_end_ends_in_time_and_many_at_once_hinder_nobody(host, images, hostile):
    began, before = time.monotonic(), used(host)
    for batch in (SLOW[:7], SLOW[7:]):
        asked = {n: images.start('pull', reference=hostile.reference(n), options={}) for n in batch}
        next_pull_works(images, hostile)
        for name, number in asked.items():
            check(name, images.result(number, 60), slack=1.5)
        assert used(host) - before < BYTES_MAX
    assert time.monotonic() - began < 60
