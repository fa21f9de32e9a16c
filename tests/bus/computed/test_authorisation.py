# SPDX-License-Identifier: Apache-2.0
"""Authorise first, act after: every method, every answer polkit can give, and everything that can change while it thinks."""

import os

import pytest
from bus_client import COMPUTE, DENIED, ERROR, JOB, MANAGER, ROOT, USER, VM, BusError, run_for, run_until, spec, user_path, vm_path
from daemon import ALICE, BOB, STRANGERS
from fake_service import Error
from test_introspection import documented

MANAGE, MANAGE_OWN = 'org.hero.compute.manage', 'org.hero.compute.manage-own'
ACCESS, ACCESS_OWN = 'org.hero.compute.access', 'org.hero.compute.access-own'
INSPECT = 'org.hero.compute.inspect'
INTERACTIVE = 'org.freedesktop.DBus.Error.InteractiveAuthorizationRequired'

# interface, member, signature, arguments, action; of VM, User and Job it is alice's.
METHODS = [
    (MANAGER, 'CreateVM', 'sa{sv}', ('new', spec()), MANAGE),
    (MANAGER, 'ProvisionUser', 'sa{sv}', ('carol', spec()), MANAGE),
    (MANAGER, 'DeprovisionUser', 's', ('alice',), MANAGE),
    (MANAGER, 'StartUser', 's', ('alice',), MANAGE),
    (MANAGER, 'StopUser', 's', ('alice',), MANAGE),
    (MANAGER, 'GetVM', 's', ('alice',), INSPECT),
    (MANAGER, 'GetVMByPID', 'u', (1,), INSPECT),
    (MANAGER, 'GetUserByAddress', 's', ('10.104.0.1',), INSPECT),
    (MANAGER, 'GetUser', 's', ('alice',), INSPECT),
    (MANAGER, 'ListVMs', '', (), INSPECT),
    (MANAGER, 'ListUsers', '', (), INSPECT),
    (MANAGER, 'ListJobs', '', (), INSPECT),
    (MANAGER, 'ListImageUses', '', (), INSPECT),
    (MANAGER, 'EventsSince', 'ts', (0, ''), INSPECT),
    (MANAGER, 'Diagnose', '', (), INSPECT),
    (VM, 'Start', '', (), MANAGE),
    (VM, 'Stop', 't', (0,), MANAGE),
    (VM, 'Restart', '', (), MANAGE),
    (VM, 'Suspend', '', (), MANAGE),
    (VM, 'Resume', '', (), MANAGE),
    (VM, 'Hibernate', '', (), MANAGE),
    (VM, 'Delete', 't', (1,), MANAGE),
    (VM, 'SetResources', 'a{sv}', (spec(CPUs=2),), MANAGE),
    (VM, 'Touch', '', (), MANAGE),
    (VM, 'Hold', 't', (60000000,), MANAGE),
    (VM, 'SetIdlePolicy', 'a{sv}', (spec(IdleTimeoutUSec=60000000),), MANAGE),
    (VM, 'OpenConsole', 't', (0,), ACCESS),
    (VM, 'Exec', 'asa{sv}', (['true'], spec()), ACCESS),
    (VM, 'Logs', 'tt', (0, 0), ACCESS),
    (VM, 'Wait', 'ast', (['running'], 1000), INSPECT),
    (VM, 'GetTransitions', '', (), INSPECT),
    (USER, 'Start', '', (), MANAGE),
    (USER, 'Stop', '', (), MANAGE),
    (USER, 'Deprovision', '', (), MANAGE),
    (JOB, 'Cancel', '', (), MANAGE),
]


def path_of(interface, job='/'):
    return {MANAGER: ROOT, VM: vm_path('alice'), USER: user_path('alice'), JOB: job}[interface]


def everything(host):
    """What a side effect would show in."""
    return (host.root.manager('ListVMs'), host.root.vm_get('alice', 'CPUs'), host.root.reserved(), list(host.systemd.calls),
            list(host.images.calls), host.root.vm('alice', 'GetTransitions'), host.daemon.n_fds())


@pytest.fixture
def alices(host):
    """A host on which alice has a VM that runs, and bob has a connection."""
    assert host.root.provision('alice') == ('done', '')
    host.bob = host.client(BOB)
    host.alice = host.client(ALICE)
    return host


def test_the_table_here_has_every_method_there_is():
    assert {(i, m) for i, m, *_ in METHODS} == {(i, m) for i in (MANAGER, VM, USER, JOB) for m in documented(i)['methods']}


@pytest.mark.parametrize('interface, member, signature, arguments, action', [m for m in METHODS if m[0] != JOB],
                         ids=[f'{i.split(".")[-1]}.{m}' for i, m, *_ in METHODS if i != JOB])
def test_a_method_does_nothing_for_a_user_whom_polkit_refuses(alices, interface, member, signature, arguments, action):
    alices.root.manager('ListVMs')
    before = everything(alices)
    for answer, error in (('no', DENIED), ('challenge', INTERACTIVE)):
        alices.polkit.answer_is = answer
        alices.polkit.questions.clear()
        with pytest.raises(BusError) as e:
            alices.bob.call(path_of(interface), interface, member, signature, *arguments)
        assert e.value.name == error
        assert [(a, d['verb'], i) for a, d, i in alices.polkit.questions] == [(action, member, False)]
    assert everything(alices) == before


def test_a_job_is_not_cancelled_for_a_user_whom_polkit_refuses(alices):
    alices.images.known['other'] = 'sha256:' + '11' * 32
    alices.images.behaviour['Open'] = 'hold'
    vm, job = alices.root.manager('CreateVM', 'sa{sv}', 'slow', spec(Image='other', User='dave'))
    with pytest.raises(BusError) as e:
        alices.bob.call(job, JOB, 'Cancel')
    assert e.value.name == DENIED
    assert alices.polkit.questions[-1][:2] == (MANAGE, {'vm': 'slow', 'user': 'dave', 'verb': 'Cancel'})
    alices.images.release()
    assert alices.root.job(job) == ('done', '')


def test_polkit_that_says_yes_lets_a_user_in(alices):
    alices.polkit.answer_is = 'yes'
    assert alices.bob.do('alice', 'Suspend') == ('done', '')
    assert alices.root.state('alice') == 'suspended'
    assert alices.polkit.questions == [(MANAGE, {'vm': 'alice', 'user': 'alice', 'verb': 'Suspend'}, False)]


def test_an_interactive_call_is_asked_interactively(alices):
    alices.polkit.answer_is = 'yes'
    alices.bob.vm('alice', 'Suspend', interactive=True)
    assert alices.polkit.questions[-1][2] is True


def test_root_needs_no_polkit(alices):
    alices.polkit.vanish()
    alices.polkit.questions.clear()
    assert alices.root.do('alice', 'Suspend') == ('done', '')


def test_who_owns_a_vm_is_asked_about_the_own_action(alices):
    alices.polkit.answer_is = lambda action, details: 'yes' if action.endswith('-own') else 'no'
    assert alices.alice.do('alice', 'Suspend') == ('done', '')
    assert alices.alice.do('alice', 'Resume') == ('done', '')
    assert isinstance(alices.alice.vm('alice', 'Logs', 'tt', 0, 0), int)
    assert alices.alice.job(alices.alice.manager('StopUser', 's', 'alice')) == ('done', '')
    assert alices.alice.job(alices.alice.call(user_path('alice'), USER, 'Start')) == ('done', '')
    assert [a for a, _, _ in alices.polkit.questions] == [MANAGE_OWN, MANAGE_OWN, ACCESS_OWN, MANAGE_OWN, MANAGE_OWN]
    with pytest.raises(BusError) as e:
        alices.bob.vm('alice', 'Suspend')
    assert e.value.name == DENIED


def test_a_user_may_provision_for_oneself_and_not_for_others(alices):
    alices.polkit.answer_is = lambda action, details: 'yes' if action.endswith('-own') else 'no'
    assert alices.bob.provision('bob') == ('done', '')
    with pytest.raises(BusError) as e:
        alices.bob.provision('carol')
    assert e.value.name == DENIED
    with pytest.raises(BusError) as e:
        alices.bob.create('mine')  # nobody's VM is an administrator's
    assert e.value.name == DENIED


@pytest.mark.parametrize('key', [{'Hypervisor': 'mock'}, {'MockScript': 'load=1'}, {'KernelArguments': 'quiet'}],
                         ids=lambda k: next(iter(k)))
def test_what_only_administrators_choose_is_not_for_owners(alices, key):
    alices.polkit.answer_is = lambda action, details: 'yes' if action.endswith('-own') else 'no'
    with pytest.raises(BusError) as e:
        alices.bob.provision('bob', **key)
    assert e.value.name == DENIED
    assert alices.polkit.questions[-1][0] == MANAGE


@pytest.mark.parametrize('key', [{'CPUs': 3}, {'Memory': 3 << 30}, {'Disk': 11 << 30}], ids=lambda k: next(iter(k)))
def test_more_than_users_may_take_by_themselves_is_an_administrators_decision(alices, key):
    """[Users] of compute.conf."""
    alices.polkit.answer_is = lambda action, details: 'yes' if action.endswith('-own') else 'no'
    for call in (lambda: alices.bob.provision('bob', **key),
                 lambda: alices.alice.vm('alice', 'SetResources', 'a{sv}', spec(**key))):
        with pytest.raises(BusError) as e:
            call()
        assert e.value.name == DENIED
        assert alices.polkit.questions[-1][0] == MANAGE
    alices.alice.vm('alice', 'SetResources', 'a{sv}', spec(CPUs=2))
    assert alices.polkit.questions[-1][0] == MANAGE_OWN
    assert alices.root.vm_get('alice', 'CPUs') == 2


@pytest.mark.parametrize('key', [{'CPUs': 3}, {'Memory': 3 << 30}, {'Disk': 11 << 30}, {'Hypervisor': 'mock'}], ids=lambda k: next(iter(k)))
def test_who_asks_in_the_name_of_an_owner_gets_no_more_than_that_one_may(alices, key):
    """As hero-rpcd does, which itself may everything: here root does."""
    calls = [lambda: alices.root.provision('bob', AsOwner=True, **key),
             lambda: alices.root.vm('alice', 'SetResources', 'a{sv}', spec(AsOwner=True, **key))]
    for call in calls[:1 if 'Hypervisor' in key else 2]:
        with pytest.raises(BusError, match='no administrator may have at most 2 CPUs') as e:
            call()
        assert e.value.name == DENIED
    alices.root.vm('alice', 'SetResources', 'a{sv}', spec(AsOwner=True, CPUs=2))


def test_a_uid_without_a_name_owns_nothing(alices):
    alices.polkit.answer_is = lambda action, details: 'yes' if action.endswith('-own') else 'no'
    with pytest.raises(BusError) as e:
        alices.client(STRANGERS[0]).vm('alice', 'Suspend')
    assert e.value.name == DENIED
    assert alices.polkit.questions[-1][0] == MANAGE


def test_without_polkit_users_are_refused_and_told_why(alices):
    alices.polkit.vanish()
    with pytest.raises(BusError) as e:
        alices.bob.vm('alice', 'Suspend')
    assert e.value.name == DENIED and 'polkit' in e.value.text
    assert alices.root.state('alice') == 'running'


def test_polkit_that_answers_with_an_error_refuses(alices):
    alices.polkit.behaviour['CheckAuthorization'] = Error('org.freedesktop.PolicyKit1.Error.Failed', 'action is not registered')
    with pytest.raises(BusError) as e:
        alices.bob.vm('alice', 'Suspend')
    assert e.value.name == DENIED and 'action is not registered' in e.value.text


@pytest.mark.parametrize('signature, values', [('s', ('yes',)), ('(bb)', ((True, False),)), ('', ()), ('b', (True,))])
def test_polkit_that_answers_nonsense_refuses(alices, signature, values):
    alices.polkit.behaviour['CheckAuthorization'] = lambda message, _: alices.polkit.reply(message, signature, *values)
    with pytest.raises(BusError):
        alices.bob.vm('alice', 'Suspend')
    assert alices.root.state('alice') == 'running'


def test_polkit_that_vanishes_while_it_thinks_refuses(alices):
    alices.polkit.behaviour['CheckAuthorization'] = 'hold'
    call = alices.bob.send(vm_path('alice'), VM, 'Suspend')
    run_until(lambda: alices.polkit.held)
    alices.polkit.vanish()
    with pytest.raises(BusError) as e:
        call.result()
    assert e.value.name == DENIED
    assert alices.root.state('alice') == 'running'


def test_others_are_served_while_polkit_thinks(alices):
    alices.polkit.behaviour['CheckAuthorization'] = 'hold'
    call = alices.bob.send(vm_path('alice'), VM, 'Suspend', interactive=True)
    run_until(lambda: alices.polkit.held)
    assert alices.root.do('alice', 'Suspend') == ('done', '')
    assert alices.root.do('alice', 'Resume') == ('done', '')
    assert not call.done()
    alices.polkit.answer_is = 'yes'
    alices.polkit.release()
    assert alices.root.job(call.result()) == ('done', '')
    assert alices.root.state('alice') == 'suspended'


@pytest.mark.parametrize('answer', ['yes', 'no'])
def test_a_caller_who_leaves_while_polkit_thinks_gets_nothing_done(alices, answer):
    alices.polkit.behaviour['CheckAuthorization'] = 'hold'
    alices.bob.send(vm_path('alice'), VM, 'Delete', 't', 1)
    alices.bob.send(ROOT, MANAGER, 'CreateVM', 'sa{sv}', 'ghost', spec())
    run_until(lambda: len(alices.polkit.held) == 2)
    alices.bob.close()
    alices.clients.remove(alices.bob)
    alices.root.manager('ListVMs')
    alices.polkit.answer_is = answer
    alices.polkit.release()
    run_for(0.3)
    assert alices.root.names() == ['alice']
    assert alices.root.state('alice') == 'running'
    assert alices.daemon.runs()


def test_a_vm_deleted_while_polkit_thinks_is_unknown(alices):
    alices.polkit.behaviour['CheckAuthorization'] = 'hold'
    calls = [alices.bob.send(vm_path('alice'), VM, 'Suspend'), alices.bob.send(user_path('alice'), USER, 'Stop')]
    run_until(lambda: len(alices.polkit.held) == 2)
    assert alices.root.do('alice', 'Delete', 't', 1) == ('done', '')
    alices.polkit.answer_is = 'yes'
    alices.polkit.release()
    for c in calls:
        with pytest.raises(BusError) as e:
            c.result()
        assert e.value.name in ('org.freedesktop.DBus.Error.UnknownObject', 'org.freedesktop.DBus.Error.UnknownMethod')


def test_a_polkit_that_takes_longer_than_a_call_usually_may_is_waited_for(alices):
    """As that of Debian 12 does now and then, see shared/polkit.c."""
    alices.polkit.answer_is = 'yes'
    alices.polkit.behaviour['CheckAuthorization'] = 'hold'
    call = alices.bob.send(ROOT, MANAGER, 'StopUser', 's', 'alice')
    run_for(26)
    alices.polkit.release()
    assert call.result()


def test_a_question_that_changed_while_polkit_thought_is_refused(alices):
    alices.polkit.behaviour['CheckAuthorization'] = 'hold'
    call = alices.bob.send(ROOT, MANAGER, 'StopUser', 's', 'alice')
    run_until(lambda: alices.polkit.held)
    assert alices.root.do('alice', 'Delete', 't', 1) == ('done', '')
    assert alices.root.provision('alice', Name='another') == ('done', '')
    alices.polkit.answer_is = 'yes'
    alices.polkit.release()
    with pytest.raises(BusError) as e:
        call.result()
    assert e.value.name == DENIED and 'changed' in e.value.text
    assert alices.root.state('another') == 'running'


def test_a_vm_that_got_another_owner_while_polkit_thought_is_not_the_own_one(alices):
    alices.polkit.behaviour['CheckAuthorization'] = 'hold'
    call = alices.alice.send(vm_path('alice'), VM, 'Suspend')
    run_until(lambda: alices.polkit.held)
    assert alices.polkit.questions[-1][0] == MANAGE_OWN
    assert alices.root.do('alice', 'Delete', 't', 1) == ('done', '')
    assert alices.root.provision('bob', Name='alice') == ('done', '')
    alices.polkit.answer_is = 'yes'
    alices.polkit.release()
    with pytest.raises(BusError) as e:
        call.result()
    assert e.value.name == DENIED
    assert alices.root.state('alice') == 'running'


def test_one_user_cannot_use_up_the_places_for_pending_questions(alices):
    alices.polkit.behaviour['CheckAuthorization'] = 'hold'
    calls = [alices.bob.send(vm_path('alice'), VM, 'Suspend', interactive=True) for _ in range(100)]
    run_until(lambda: any(c.done() for c in calls))
    run_for(0.3)
    refused = [c for c in calls if c.done()]
    for c in refused:
        with pytest.raises(BusError) as e:
            c.result()
        assert e.value.name == ERROR + 'LimitExceeded'
    assert len(calls) - len(refused) == len(alices.polkit.held) < 64
    # Somebody else, and root on a connection that was never seen before, get through.
    alices.polkit.behaviour.clear()
    alices.polkit.answer_is = 'yes'
    assert alices.alice.vm('alice', 'GetTransitions')
    assert alices.client().vm('alice', 'GetTransitions')
    alices.polkit.answer_is = 'no'
    alices.polkit.release()
    for c in calls:
        run_until(c.done)
    assert alices.root.state('alice') == 'running'
    # All places are free again.
    for _ in range(70):
        with pytest.raises(BusError) as e:
            alices.bob.vm('alice', 'Suspend')
        assert e.value.name == DENIED


def test_calls_sent_at_once_on_a_new_connection_are_all_answered(alices):
    """Who it is is looked up once."""
    new = alices.client()
    calls = [new.send(vm_path('alice'), VM, 'GetTransitions') for _ in range(120)]
    for c in calls:
        c.result()
    assert [m for p, m, _ in new.log if p == 'reply'] == ['GetTransitions'] * 120


def test_a_user_who_calls_often_at_once_is_looked_up_once_and_answered_as_far_as_the_limit_goes(alices):
    alices.polkit.answer_is = lambda action, details: 'yes' if action.endswith('-own') else 'no'
    calls = [alices.alice.send(vm_path('alice'), VM, 'Logs', 'tt', 0, 0) for _ in range(40)]
    good = 0
    for c in calls:
        try:
            os.close(c.result())
            good += 1
        except BusError as e:
            assert e.name == ERROR + 'LimitExceeded'
    assert good >= 20
    os.close(alices.alice.vm('alice', 'Logs', 'tt', 0, 0))


def test_many_users_waiting_for_polkit_leave_root_its_place(alices):
    alices.polkit.behaviour['CheckAuthorization'] = 'hold'
    calls = [alices.client(STRANGERS[i]).send(vm_path('alice'), VM, 'GetTransitions', interactive=True) for i in range(80)]
    run_until(lambda: sum(c.done() for c in calls) + len(alices.polkit.held) == 80)
    for c in calls:
        if c.done():
            with pytest.raises(BusError) as e:
                c.result()
            assert e.value.name == ERROR + 'LimitExceeded'
    assert alices.client().vm('alice', 'GetTransitions')
    alices.polkit.release()


def test_properties_can_be_read_and_not_written(alices):
    assert alices.bob.vm_get('alice', 'State') == 'running'
    with pytest.raises(BusError) as e:
        alices.bob.call(vm_path('alice'), 'org.freedesktop.DBus.Properties', 'Set', 'ssv', VM, 'State', 'stopped')
    assert e.value.name == 'org.freedesktop.DBus.Error.PropertyReadOnly'


def test_a_method_of_another_interface_is_no_way_round(alices):
    for interface in (COMPUTE, MANAGER, USER):
        with pytest.raises(BusError):
            alices.bob.call(vm_path('alice'), interface, 'Delete', 't', 1)
    assert alices.root.names() == ['alice']
