# SPDX-License-Identifier: Apache-2.0
"""Jobs: what is heard of one and in which order, and Cancel at every stage."""

import pytest
from bus_client import ERROR, JOB, MANAGER, ROOT, VM, BusError, encode, run_for, run_until, spec, user_path, vm_path
from fake_service import Error

OTHER = 'sha256:' + '11' * 32


@pytest.fixture
def slow(host):
    """An image that is being opened for as long as the test likes."""
    host.images.known['other'] = OTHER
    host.images.known[OTHER] = OTHER
    host.images.behaviour['Open'] = 'hold'
    return host


def test_the_image_a_vm_is_being_made_of_is_told_by_name_and_then_by_digest(slow):
    uses = lambda: slow.root.manager('ListImageUses')
    assert uses() == []
    _, job = slow.root.manager('CreateVM', 'sa{sv}', 'web', spec(Image='other'))
    run_until(lambda: slow.images.held)
    assert uses() == [('web', 'other', '')]
    slow.images.release()
    assert slow.root.job(job) == ('done', '')
    assert uses() == [('web', 'other', OTHER)]


def heard(client):
    """Members in their order; of properties, which."""
    r = []
    for path, member, arguments in client.log:
        if member == 'PropertiesChanged':
            r += [k for k in arguments[1]]
        elif member == 'Transition':
            r.append(arguments[4])
        else:
            r.append('reply' if path == 'reply' else member)
    return r


def in_order(what, *members):
    i = iter(what)
    return all(m in i for m in members)


def test_a_new_vm_is_announced_after_the_answer_and_before_its_job_ends(host):
    host.root.log.clear()
    vm, job = host.root.manager('CreateVM', 'sa{sv}', 'web', spec())
    assert heard(host.root) == ['reply']
    assert host.root.job(job) == ('done', '')
    assert in_order(heard(host.root), 'reply', 'InterfacesAdded', 'JobNew', 'VMNew', 'JobRemoved')
    run_until(lambda: in_order(heard(host.root), 'reply', 'provisioning', 'configured'))


def test_a_job_is_announced_after_the_answer_and_what_it_did_is_told_before_it_ends(host):
    assert host.root.create('web') == ('done', '')
    run_for(0.05)
    host.root.log.clear()
    job = host.root.vm('web', 'Start')
    assert heard(host.root) == ['reply']
    assert host.root.job(job) == ('done', '')
    h = heard(host.root)
    assert in_order(h, 'reply', 'State', 'JobRemoved') and in_order(h, 'JobNew', 'JobRemoved')
    states = [a[1]['State'] for p, m, a in host.root.log if m == 'PropertiesChanged' and 'State' in a[1]]
    assert states[-1] == 'running'


def test_everybody_hears_of_a_start_step_by_step(host):
    assert host.root.create('web', MockScript='slow-ready=300') == ('done', '')
    run_for(0.05)
    other = host.client()
    job = host.root.vm('web', 'Start')
    assert other.job(job) == ('done', '')
    run_until(lambda: 'running' in heard(other))
    changes = lambda key: [a[1][key] for p, m, a in other.log if m == 'PropertiesChanged' and key in a[1]]
    assert changes('State') == ['starting', 'running']
    assert changes('Step')[-1] == 'boot'
    assert changes('Job') == [job, '/']
    assert [p for p in changes('PID') if p] and changes('AgentReady') == [True]
    assert in_order(heard(other), 'starting', 'running')


def test_transition_signals_are_numbered_without_gaps_and_are_what_events_since_says(host):
    assert host.root.provision('alice') == ('done', '')
    assert host.root.do('alice', 'Delete', 't', 1) == ('done', '')
    run_for(0.05)
    signals = [tuple(a) for _, a in host.root.signals('Transition')]
    events, following, lost = host.root.manager('EventsSince', 'ts', 0, '')
    assert events == signals and lost == 0 and following == signals[-1][0]
    assert [s[0] for s in signals] == list(range(1, len(signals) + 1))
    assert [(s[3], s[4]) for s in signals] == [
        ('pending', 'provisioning'), ('provisioning', 'configured'), ('configured', 'starting'), ('starting', 'running'),
        ('running', 'stopping'), ('stopping', 'stopped')]


def test_users_come_and_go_with_their_vm(host):
    assert host.root.provision('alice@example.org') == ('done', '')
    path = user_path('alice@example.org')
    assert [a[0] for _, a in host.root.signals('InterfacesAdded')] == [vm_path('alice-example-org'), path]
    assert host.root.job(host.root.manager('DeprovisionUser', 's', 'alice@example.org')) == ('done', '')
    assert [a[0] for _, a in host.root.signals('InterfacesRemoved')] == [path, vm_path('alice-example-org')]


def test_a_job_can_be_looked_at(slow):
    vm, job = slow.root.manager('CreateVM', 'sa{sv}', 'web', spec(Image='other'))
    run_until(lambda: slow.images.held)
    assert slow.root.get(job, JOB, 'VM') == ('web', vm)
    assert slow.root.get(job, JOB, 'Type') == 'create'
    assert slow.root.get(job, JOB, 'Step') == 'image'
    assert slow.root.vm_get('web', 'Job') == job
    assert slow.root.manager('ListJobs') == [(slow.root.get(job, JOB, 'Id'), 'web', 'create', 'image', job)]
    slow.images.release()
    assert slow.root.job(job) == ('done', '')
    with pytest.raises(BusError):
        slow.root.get(job, JOB, 'Type')


def test_a_vm_has_one_job_and_says_which(slow):
    vm, job = slow.root.manager('CreateVM', 'sa{sv}', 'web', spec(Image='other'))
    for member, signature, *arguments in (('Start', ''), ('Restart', ''), ('Stop', 't', 0), ('Suspend', ''), ('Resume', ''),
                                          ('Delete', 't', 1), ('SetResources', 'a{sv}', spec(CPUs=2))):
        with pytest.raises(BusError) as e:
            slow.root.vm('web', member, signature, *arguments)
        assert e.value.name == ERROR + 'Busy', member
        assert 'create' in e.value.text
    slow.images.release()
    assert slow.root.job(job) == ('done', '')


# Cancel

def test_cancelling_while_the_image_is_opened_takes_the_vm_away(slow):
    vm, job = slow.root.manager('CreateVM', 'sa{sv}', 'web', spec(Image='other'))
    run_until(lambda: slow.images.held)
    slow.root.call(job, JOB, 'Cancel')
    assert slow.root.job(job) == ('canceled', 'Canceled.')
    assert slow.root.names() == [] and slow.root.reserved() == (0, 0, 0)
    slow.nothing_left('web')
    slow.images.release()
    run_for(0.1)
    assert slow.root.create('web', Image='other') == ('done', '')


def test_cancelling_a_provision_that_boots_takes_the_vm_away(host):
    vm, job = host.root.manager('ProvisionUser', 'sa{sv}', 'alice', spec(MockScript='slow-ready=5000'))
    host.wait_state('alice', 'starting')
    run_until(lambda: host.root.get(job, JOB, 'Step') == 'boot')
    host.root.call(job, JOB, 'Cancel')
    assert host.root.job(job)[0] == 'canceled'
    assert host.root.names() == [] and host.root.reserved() == (0, 0, 0)
    host.nothing_left('alice')


@pytest.mark.parametrize('stage', ['image', 'scope', 'scope-job', 'boot'])
def test_cancelling_a_start_brings_back_what_was_before(host, stage):
    script = {'MockScript': 'slow-ready=5000'} if stage == 'boot' else {}
    assert host.root.create('web', **script) == ('done', '')
    if stage == 'image':
        host.images.changed()
        host.images.behaviour['Open'] = 'hold'
    elif stage == 'scope':
        host.systemd.behaviour['StartTransientUnit'] = 'hold'
    elif stage == 'scope-job':
        host.systemd.behaviour['StartTransientUnit'] = lambda m, _: host.systemd.reply(m, 'o', '/org/freedesktop/systemd1/job/7')
    run_for(0.05)
    job = host.root.vm('web', 'Start')
    run_until({'image': lambda: host.images.held, 'scope': lambda: host.systemd.held,
               'scope-job': lambda: host.systemd.count('StartTransientUnit'),
               'boot': lambda: host.root.get(job, JOB, 'Step') == 'boot'}[stage])
    run_for(0.05)
    calls = [host.root.send(job, JOB, 'Cancel') for _ in range(2)]
    assert calls[0].result() is None
    run_until(calls[1].done)  # on its way already, or over
    host.systemd.release()
    assert host.root.job(job)[0] == 'canceled'
    assert host.root.state('web') == 'configured'
    assert host.root.reserved() == (0, 0, 16 << 20)
    host.nothing_left('web', files=True)
    host.images.release()
    host.systemd.behaviour.clear()
    if stage != 'boot':
        assert host.root.do('web', 'Start') == ('done', '')


def test_a_job_at_a_step_without_return_cannot_be_cancelled(host):
    host.running('web', MockScript='ignore-shutdown')
    job = host.root.vm('web', 'Stop', 't', 0)
    host.wait_state('web', 'stopping')
    with pytest.raises(BusError) as e:
        host.root.call(job, JOB, 'Cancel')
    assert e.value.name == ERROR + 'NotCancelable' and 'stop' in e.value.text
    assert host.root.job(job) == ('done', '')


def test_a_restart_can_be_cancelled_once_it_boots_again(host):
    host.running('web', MockScript='slow-ready=300')
    job = host.root.vm('web', 'Restart')
    run_until(lambda: host.root.state('web') == 'starting')
    host.root.call(job, JOB, 'Cancel')
    assert host.root.job(job)[0] == 'canceled'
    assert host.root.state('web') == 'stopped'
    assert host.root.reserved() == (0, 0, 16 << 20)


def test_cancelling_what_has_ended_is_unknown(host):
    vm, job = host.root.manager('CreateVM', 'sa{sv}', 'web', spec())
    host.root.job(job)
    with pytest.raises(BusError) as e:
        host.root.call(job, JOB, 'Cancel')
    assert e.value.name in ('org.freedesktop.DBus.Error.UnknownObject', 'org.freedesktop.DBus.Error.UnknownMethod')


# Images

def test_an_unknown_image_fails_the_creation_by_name(host):
    result, text = host.root.create('web', Image='nothing')
    assert result == ERROR + 'NoSuchImage' and "'nothing'" in text
    assert host.root.names() == []
    host.nothing_left('web')


@pytest.mark.parametrize('error', ['BadImage', 'NoSuchImage'])
def test_an_image_lost_between_creation_and_start_fails_the_start_by_name(host, error):
    assert host.root.create('web') == ('done', '')
    host.images.changed()
    host.images.behaviour['Open'] = Error(ERROR + error, 'The image is gone.')
    run_for(0.05)
    result, text = host.root.do('web', 'Start')
    assert (result, text) == (ERROR + error, 'The image is gone.')
    assert host.root.state('web') == 'start-failed'
    assert host.root.reserved() == (0, 0, 16 << 20)
    host.images.behaviour.clear()
    assert host.root.do('web', 'Start') == ('done', '')


def test_without_hero_imaged_a_creation_fails_and_says_so(host):
    host.images.vanish()
    result, text = host.root.create('web')
    assert result != 'done' and 'hero-imaged' in text
    assert host.root.names() == []


def test_hero_imaged_that_dies_while_it_opens_fails_all_who_wait(slow):
    jobs = [slow.root.manager('CreateVM', 'sa{sv}', f'web-{i}', spec(Image='other'))[1] for i in range(5)]
    run_until(lambda: slow.images.held)
    slow.images.vanish()
    for j in jobs:
        assert slow.root.job(j)[0] != 'done'
    assert slow.root.names() == [] and slow.daemon.vm_directories() == []


def test_one_image_is_opened_once_for_all_who_wait(slow):
    jobs = [slow.root.manager('CreateVM', 'sa{sv}', f'web-{i}', spec(Image='other'))[1] for i in range(5)]
    run_until(lambda: slow.images.held)
    slow.images.release()
    for j in jobs:
        assert slow.root.job(j) == ('done', '')
    assert [a for m, a in slow.images.calls].count(['other']) == 1


def test_hero_imaged_that_answers_nonsense_fails_the_creation(host):
    host.images.behaviour['Open'] = lambda m, _: host.images.reply(m, 's', 'no fd')
    assert host.root.create('web')[0] != 'done'
    host.images.behaviour.clear()
    assert host.root.create('web') == ('done', '')


# Provision

def test_provisioning_again_with_the_same_spec_gives_the_same_vm(host):
    assert host.root.provision('alice', CPUs=2) == ('done', '')
    pid = host.pid('alice')
    vm, job = host.root.manager('ProvisionUser', 'sa{sv}', 'alice', spec(CPUs=2))
    assert vm == vm_path('alice') and host.root.job(job) == ('done', '')
    assert host.root.provision('alice') == ('done', '')
    assert host.pid('alice') == pid
    assert host.root.do('alice', 'Suspend') == ('done', '')
    assert host.root.provision('alice') == ('done', '')
    assert host.root.state('alice') == 'running'


def test_provisioning_again_while_it_is_under_way_gives_the_same_job(slow):
    first = slow.root.manager('ProvisionUser', 'sa{sv}', 'alice', spec(Image='other'))
    assert slow.root.manager('ProvisionUser', 'sa{sv}', 'alice', spec(Image='other')) == first
    slow.images.release()
    assert slow.root.job(first[1]) == ('done', '')


@pytest.mark.parametrize('key, value', [('CPUs', 3), ('Memory', 128 << 20), ('Disk', 32 << 20), ('Image', 'other'), ('Name', 'x'),
                                        ('Command', ['sleep', '1']), ('Environment', ['A=b']), ('WorkingDirectory', '/srv')])
def test_provisioning_again_with_another_spec_is_refused_and_says_what_differs(host, key, value):
    assert host.root.provision('alice') == ('done', '')
    with pytest.raises(BusError) as e:
        host.root.provision('alice', **{key: value})
    assert e.value.name == ERROR + 'UserHasVM' and key in e.value.text
    assert host.root.state('alice') == 'running'


def test_users_whose_names_look_alike_get_vms_of_their_own(host):
    for user, vm in (('al.ice', 'al-ice'), ('al@ice', 'al-ice-2'), ('AL_ICE', 'al-ice-3')):
        assert host.root.provision(user) == ('done', '')
        assert host.root.manager('GetUser', 's', user) == user_path(user)
        assert host.root.get(user_path(user), 'org.hero.Compute.User', 'VM') == (vm, vm_path(vm))


@pytest.mark.parametrize('name', ['', '-a', 'a-', 'A', 'a_b', 'a' * 64, 'ä', 'a/b', '..', 'a b', 'a\n'])
def test_what_is_no_vm_name_is_refused(host, name):
    with pytest.raises(BusError) as e:
        host.root.create(name)
    assert e.value.name == ERROR + 'InvalidArgument'
    assert host.daemon.vm_directories() == []


@pytest.mark.parametrize('user', ['', 'a/b', 'a b', 'a' * 65, 'ä', '...'])
def test_what_is_no_user_id_is_refused(host, user):
    with pytest.raises(BusError) as e:
        host.root.provision(user)
    assert e.value.name == ERROR + 'InvalidArgument'


@pytest.mark.parametrize('keys', [{'CPUs': 0}, {'CPUs': 65}, {'Memory': 0}, {'Memory': 1}, {'Memory': (64 << 20) + 1}, {'Memory': 1 << 41},
                                  {'Disk': 1}, {'Disk': 1 << 60}, {'Image': ''}, {'Image': 'x' * 300}, {'Hypervisor': 'xen'},
                                  {'Nonsense': '1'}, {'Environment': ['novalue']}, {'Command': ['a\x1bb']},
                                  {'WorkingDirectory': 'relative'}, {'MockScript': 'no-such-directive'}],
                         ids=lambda k: str(k)[:30])
def test_what_is_no_spec_is_refused_and_leaves_nothing(host, keys):
    with pytest.raises(BusError) as e:
        host.root.create('web', **keys)
    assert e.value.name == ERROR + 'InvalidArgument', e.value
    assert host.root.names() == [] and host.daemon.vm_directories() == []


def test_wrong_states_are_refused_with_what_to_do(host):
    assert host.root.create('web') == ('done', '')
    for member, signature, *arguments in (('Stop', 't', 0), ('Suspend', ''), ('Resume', ''), ('Restart', ''), ('OpenConsole', 't', 0),
                                          ('Exec', 'asa{sv}', ['true'], spec())):
        with pytest.raises(BusError) as e:
            host.root.vm('web', member, signature, *arguments)
        assert e.value.name == ERROR + 'WrongState', member
    assert host.root.do('web', 'Start') == ('done', '')
    with pytest.raises(BusError) as e:
        host.root.vm('web', 'Start')
    assert e.value.name == ERROR + 'WrongState'
    with pytest.raises(BusError) as e:
        host.root.vm('web', 'Stop', 't', 2)
    assert e.value.name == ERROR + 'InvalidArgument'


def test_names_and_ids_resolve_by_unambiguous_beginnings(host):
    for n in ('web', 'web-2', 'mail'):
        assert host.root.create(n) == ('done', '')
    assert host.root.manager('GetVM', 's', 'web') == vm_path('web')
    assert host.root.manager('GetVM', 's', 'ma') == vm_path('mail')
    assert host.root.manager('GetVM', 's', host.root.vm_get('mail', 'Id')) == vm_path('mail')
    for name, error in (('we', 'AmbiguousName'), ('x', 'NoSuchVM'), ('', 'NoSuchVM')):
        with pytest.raises(BusError) as e:
            host.root.manager('GetVM', 's', name)
        assert e.value.name == ERROR + error


def test_a_process_is_found_by_its_scope(host):
    pid = host.running('web')
    assert host.root.manager('GetVMByPID', 'u', pid) == vm_path('web')
    for p in (1, 2**31, 0):
        with pytest.raises(BusError) as e:
            host.root.manager('GetVMByPID', 'u', p)
        assert e.value.name in (ERROR + 'NoSuchVM', ERROR + 'InvalidArgument')
