# SPDX-License-Identifier: Apache-2.0
"""An image that is not here is pulled inside the job that needs it, whatever becomes of either daemon or of the caller."""

import pytest
from bus_client import ERROR, JOB, MANAGER, ROOT, run_for, run_until, spec, vm_path
from fake_service import Error

DIGEST = 'sha256:' + '7c' * 32


def begin(host, name='web', image='alpine', member='CreateVM', n=1):
    """A creation that has come to its pull: the path of its job."""
    vm, job = host.root.manager(member, 'sa{sv}', name, spec(Image=image))
    run_until(lambda: host.images.count('Pull') >= n, 10, 'the image is not pulled')
    run_until(lambda: step(host, job) == 'pull')
    return job


def step(host, job):
    return host.root.get(job, JOB, 'Step')


def pulled(host):
    return [a for m, a in host.images.calls if m == 'Pull']


def the_pull(host):
    run_until(lambda: host.images.jobs)
    return next(iter(host.images.jobs))


def test_what_is_not_here_is_pulled(host):
    job = begin(host)
    assert pulled(host) == [['alpine', {}]] and host.root.state('web') == 'provisioning'
    host.images.end(the_pull(host), digest=DIGEST)
    assert host.root.job(job) == ('done', '')
    assert host.root.vm_get('web', 'ImageDigest') == DIGEST
    # By digest: a tag may have moved again since.
    assert [a for m, a in host.images.calls if m == 'Open'] == [['alpine'], [DIGEST]]
    assert host.root.do('web', 'Start') == ('done', '')
    assert host.root.create('again', Image='alpine') == ('done', '')
    assert host.images.count('Pull') == 1


def test_provision_pulls_and_starts(host):
    job = begin(host, 'alice', member='ProvisionUser')
    host.images.end(the_pull(host), digest=DIGEST)
    assert host.root.job(job) == ('done', '') and host.root.state('alice') == 'running'


def test_many_who_want_the_same_wait_for_one_pull(host):
    jobs = [begin(host, f'vm-{i}') for i in range(3)]
    assert host.images.count('Pull') == 1
    host.images.end(the_pull(host), digest=DIGEST)
    for job in jobs:
        assert host.root.job(job) == ('done', '')


def test_two_references_of_one_image_are_two_requests_for_one_job(host):
    first = begin(host, 'one', 'alpine')
    second = begin(host, 'two', 'alpine:latest', n=2)
    path = the_pull(host)
    host.images.jobs = {path: 'alpine'}
    for reference in ('alpine', 'alpine:latest'):
        host.images.known[reference] = DIGEST
    host.images.end(path, digest=DIGEST)
    assert host.root.job(first) == ('done', '')
    host.images.jobs = {'/org/hero/Compute/Images/job/2': 'alpine:latest'}
    host.images.end('/org/hero/Compute/Images/job/2', digest=DIGEST)
    assert host.root.job(second) == ('done', '')


def test_its_progress_is_the_job_s(host):
    job = begin(host)
    assert host.root.get(job, JOB, 'Progress') == (0, 0)
    host.images.progress(the_pull(host), 1000, 5000)
    run_until(lambda: host.root.get(job, JOB, 'Progress') == (1000, 5000))
    run_until(lambda: [a for p, m, a in host.root.log if p == job and m == 'PropertiesChanged'
                       and a[1].get('Progress') == (1000, 5000)])
    # Of somebody else's.
    host.images.progress('/org/hero/Compute/Images/job/99', 7, 8)
    late = begin(host, 'late')
    assert host.root.get(late, JOB, 'Progress') == (1000, 5000)
    host.images.end(the_pull(host), digest=DIGEST)
    assert host.root.job(job) == host.root.job(late) == ('done', '')


@pytest.mark.parametrize('name', ['PullFailed', 'NoSuchImage', 'LimitExceeded', 'BadImage', 'NoCapacity'])
def test_what_fails_is_passed_on_by_name(host, name):
    job = begin(host)
    host.images.end(the_pull(host), ERROR + name, 'The registry says no.')
    assert host.root.job(job) == (ERROR + name, 'The registry says no.')
    assert host.root.names() == [] and host.root.reserved() == (0, 0, 0)
    host.nothing_left('web')
    # The next one asks again.
    job = begin(host, n=2)
    host.images.end(the_pull(host), digest=DIGEST)
    assert host.root.job(job) == ('done', '')


@pytest.mark.parametrize('error, expected', [(ERROR + 'InvalidArgument', ERROR + 'InvalidArgument'),
                                             ('org.freedesktop.DBus.Error.AccessDenied', 'org.freedesktop.DBus.Error.AccessDenied'),
                                             ('org.freedesktop.DBus.Error.UnknownMethod', None)])
def test_a_pull_that_is_refused_fails_the_creation(host, error, expected):
    host.images.behaviour['Pull'] = Error(error, 'No.')
    result, text = host.root.create('web', Image='alpine')
    assert result.startswith('org.') and (expected is None or result == expected) and 'No.' in text
    assert host.root.names() == []


def test_an_image_that_is_gone_right_after_its_pull_is_not_pulled_for_ever(host):
    job = begin(host)
    path = the_pull(host)
    host.images.jobs[path] = 'something else'
    host.images.behaviour['Open'] = Error(ERROR + 'NoSuchImage', 'Gone.')
    host.images.end(path, digest=DIGEST)
    assert host.root.job(job) == (ERROR + 'NoSuchImage', 'Gone.')
    assert host.images.count('Pull') == 1


def test_a_digest_is_not_pulled(host):
    assert host.root.create('web', Image='sha256:' + '00' * 32)[0] == ERROR + 'NoSuchImage'
    assert host.images.count('Pull') == 0


def test_pulling_can_be_forbidden(cold):
    text = (cold.directory / 'etc/compute.conf').read_text()
    cold.start(text + '\n[Images]\nPull=never\n')
    assert cold.root.create('web', Image='alpine')[0] == ERROR + 'NoSuchImage'
    assert cold.images.count('Pull') == 0


def cancel(host, job):
    host.root.call(job, JOB, 'Cancel')
    assert host.root.job(job)[0] == 'canceled'


def test_the_last_who_cancels_takes_the_pull_back(host):
    first, second = begin(host, 'one'), begin(host, 'two')
    path = the_pull(host)
    cancel(host, first)
    run_for(0.3)
    assert host.images.canceled == [] and host.root.names() == ['two']
    cancel(host, second)
    run_until(lambda: host.images.canceled == [path])
    assert host.root.names() == [] and host.root.reserved() == (0, 0, 0)
    # What it says about it then is for nobody.
    host.images.end(path, 'canceled')
    job = begin(host, n=2)
    host.images.end(the_pull(host), digest=DIGEST)
    assert host.root.job(job) == ('done', '')


def test_a_cancel_before_the_pull_has_a_job_reaches_it_too(host):
    host.images.behaviour['Pull'] = 'hold'
    vm, job = host.root.manager('CreateVM', 'sa{sv}', 'web', spec(Image='alpine'))
    run_until(lambda: host.images.held)
    cancel(host, job)
    host.images.release()
    run_until(lambda: host.images.canceled == [the_pull(host)])


def test_who_comes_after_such_a_cancel_keeps_the_pull(host):
    host.images.behaviour['Pull'] = 'hold'
    vm, job = host.root.manager('CreateVM', 'sa{sv}', 'web', spec(Image='alpine'))
    run_until(lambda: host.images.held)
    cancel(host, job)
    vm, job = host.root.manager('CreateVM', 'sa{sv}', 'next', spec(Image='alpine'))
    run_until(lambda: step(host, job) == 'pull')
    host.images.release()
    host.images.end(the_pull(host), digest=DIGEST)
    assert host.root.job(job) == ('done', '') and host.images.canceled == []


def test_a_pull_canceled_by_somebody_else_cancels_the_creation(host):
    job = begin(host)
    host.images.end(the_pull(host), 'canceled')
    result, text = host.root.job(job)
    assert result == 'canceled' and 'alpine' in text
    assert host.root.names() == []


@pytest.mark.parametrize('member, name', [('CreateVM', 'web'), ('ProvisionUser', 'alice')])
@pytest.mark.parametrize('how', ['stop', 'kill'])
def test_a_restart_in_the_middle_goes_on(host, how, member, name):
    begin(host, name, member=member)
    path = the_pull(host)
    getattr(host.daemon, how)()
    assert host.images.canceled == []
    host.daemon.start()
    run_until(lambda: host.images.count('Pull') == 2)
    job = host.root.vm_get(name, 'Job')
    run_until(lambda: step(host, job) == 'pull')
    assert host.root.get(job, JOB, 'Type') == ('create' if member == 'CreateVM' else 'provision')
    if member == 'ProvisionUser':
        assert host.root.manager(member, 'sa{sv}', name, spec(Image='alpine')) == (vm_path(name), job)
    host.images.end(path, digest=DIGEST)
    assert host.root.job(job) == ('done', '')
    assert host.root.state(name) == ('configured' if member == 'CreateVM' else 'running')


def test_what_went_on_after_a_restart_can_still_fail_and_leaves_nothing(host):
    begin(host)
    path = the_pull(host)
    host.daemon.kill()
    host.daemon.start()
    run_until(lambda: host.images.count('Pull') == 2)
    job = host.root.vm_get('web', 'Job')
    run_until(lambda: step(host, job) == 'pull')
    host.images.end(path, ERROR + 'PullFailed', 'No.')
    assert host.root.job(job) == (ERROR + 'PullFailed', 'No.')
    assert host.root.names() == [] and host.root.reserved() == (0, 0, 0)
    host.nothing_left('web')


def test_hero_imaged_that_dies_in_the_middle_is_asked_again_once(host):
    job = begin(host)
    host.images.die()
    run_until(lambda: host.images.count('Pull') == 2)
    host.images.end(the_pull(host), digest=DIGEST)
    assert host.root.job(job) == ('done', '')


def test_hero_imaged_that_dies_twice_fails_the_creation(host):
    job = begin(host)
    host.images.die()
    run_until(lambda: host.images.count('Pull') == 2)
    run_for(0.3)
    host.images.die()
    result, text = host.root.job(job)
    assert result == ERROR + 'PullFailed' and 'twice' in text
    assert host.root.names() == [] and host.images.count('Pull') == 2


def test_no_hero_imaged_at_all_says_so(host):
    job = begin(host)
    host.images.vanish()
    assert host.root.job(job)[0].startswith('org.')
    assert host.root.names() == []
    host.images.appear()
    assert host.root.create('web') == ('done', '')


def test_who_was_told_of_uses_is_asked_for_the_next_image(host):
    assert host.root.create('one') == ('done', '') and host.root.create('two') == ('done', '')
    assert host.images.count('Open') == 1
    host.root.manager('ListImageUses')
    assert host.root.create('three') == ('done', '')
    assert host.images.count('Open') == 2
