# SPDX-License-Identifier: Apache-2.0
"""Pulls as jobs: shared, watched, canceled, and pulled by whoever needs the image."""

import json

from throwaway import end, wait_until

JOB = 'org.hero.Compute.ImageJob'


def layer_requests(hostile):
    return [r for r in hostile.requests() if '/blobs/' in r]


def test_pulls_of_one_reference_at_the_same_time_are_one_job(host, images, hostile):
    reference = hostile.reference('slow')
    hostile.forget_requests()
    jobs = [images.begin(reference) for _ in range(20)]
    assert len(set(jobs)) == 1
    other = images.begin(hostile.reference('slow_other'))
    assert other not in jobs
    assert images.ask('wait', job=jobs[0])['result'] == 'done'
    images.ask('wait', job=other)
    fetched = [r for r in layer_requests(hostile) if '/slow/' in r]
    assert len(fetched) == len(set(fetched)), fetched


def test_a_job_tells_bytes_and_layers_and_its_steps_in_order(images, hostile):
    answer = images.pull(hostile.reference('slow'))
    assert answer['result'] == 'done', answer
    steps = [c['Step'] for c in answer['changes'] if 'Step' in c]
    order = ['wait', 'resolve', 'fetch', 'convert', 'store']
    assert steps == sorted(steps, key=order.index) and 'fetch' in steps, steps
    progress = [tuple(c['Progress']) for c in answer['changes'] if 'Progress' in c]
    assert progress and all(done <= total or total == 0 for done, total in progress), progress
    assert any(0 < done for done, _ in progress)
    assert any(tuple(c['Layers'])[1] == 2 for c in answer['changes'] if 'Layers' in c), answer['changes']


def test_a_canceled_pull_leaves_nothing_and_who_else_asked_keeps_it(host, images, hostile):
    reference = hostile.reference('slow')
    job = images.begin(reference)
    assert 'value' in images.ask('call', path=job, interface=JOB, method='Cancel')
    assert images.ask('wait', job=job)['result'] == 'canceled'
    assert reference not in images.list()

    other = host.popen(['heroctl', 'image', 'pull', reference], text=True)
    wait_until(lambda: host.run('busctl --list tree org.hero.Compute.Images | grep job/', check=False).out, 'the job of another')
    job = images.begin(reference)
    images.ask('call', path=job, interface=JOB, method='Cancel')
    assert other.wait(timeout=30) == 0, other.stderr.read()
    assert images.ask('wait', job=job)['result'] == 'done'
    end(other)


def test_control_c_ends_the_pull_of_heroctl(host, images, hostile):
    reference = hostile.reference('crawls')
    p = host.popen(['heroctl', 'image', 'pull', reference], text=True)
    job = wait_until(lambda: host.run('busctl --list tree org.hero.Compute.Images | grep job/', check=False).out.strip(), 'there is a job')
    host.run(['pkill', '-INT', '-x', 'heroctl'])
    assert p.wait(timeout=10) != 0
    wait_until(lambda: job not in host.run('busctl --list tree org.hero.Compute.Images').out, 'the job has gone', timeout=3)
    end(p)


def test_creating_a_vm_pulls_its_image_in_the_same_job_and_canceling_that_ends_the_pull(host, images, hostile):
    reference = hostile.reference('slow')
    p = host.popen(['heroctl', 'create', 'gina', '--hypervisor=mock', '--image', reference], text=True)
    steps = set()

    def pulling():
        steps.update(host.run('busctl --json=short call org.hero.Compute /org/hero/Compute org.hero.Compute.Manager ListJobs', check=False).out.split('"'))
        return 'pull' in steps or p.poll() is not None
    wait_until(pulling, 'the job of the VM pulls')
    assert p.wait(timeout=30) == 0, p.stderr.read()
    end(p)
    assert host.get('gina', 'ImageDigest') == images.list()[reference]['digest']

    p = host.popen(['heroctl', 'provision', 'hans', '--hypervisor=mock', '--image', hostile.reference('crawls')], text=True)
    wait_until(lambda: host.run('busctl --list tree org.hero.Compute.Images | grep -q job/', check=False).status == 0, 'the image is being pulled')
    host.run(['pkill', '-INT', '-x', 'heroctl'])
    assert p.wait(timeout=10) != 0
    end(p)
    wait_until(lambda: 'job/' not in host.run('busctl --list tree org.hero.Compute.Images').out, 'the pull has been canceled', timeout=3)
    assert host.vms() == ['gina']


def test_a_vm_whose_image_is_nowhere_fails_with_that_and_is_not_there(host, images, hostile):
    r = host.heroctl('create', 'ida', '--hypervisor=mock', '--image', hostile.reference('not-found'), check=False)
    assert r.status != 0 and 'not-found' in r.err, r
    r = host.heroctl('create', 'ida', '--hypervisor=mock', '--image', hostile.reference('name-dot-dot'), check=False)
    assert r.status != 0 and '..' in r.err, r
    assert host.vms() == []


def test_heroctl_tells_what_it_pulled_and_shows_it(host, images, registry):
    out = host.heroctl('image', 'pull', 'app').out
    digest = images.list()['app:latest']['digest']
    assert digest[7:19] in out or digest in out, out
    shown = json.loads(host.heroctl('image', 'show', '--json=short', 'app').out)
    text = json.dumps(shown)
    for word in (digest, '/bin/app', 'two words', 'COLOUR=red', 'web:staff', '/srv', 'linux/'):
        assert word in text, (word, text)
    rows = json.loads(host.heroctl('image', 'list', '--json=short').out)
    assert 'app:latest' in json.dumps(rows)
    host.heroctl('image', 'rm', 'app')
    assert 'app:latest' not in images.list()
