# SPDX-License-Identifier: Apache-2.0
"""Each call that changes something is one entry of the journal, with who, what and how it ended; no other call is."""

import os
import pathlib
import re

import pytest
from bus_client import DENIED, ERROR, JOB, MANAGER, ROOT, USER, VM, BusError, run_for, run_until, spec, user_path, vm_path
from daemon import ALICE, BOB, STRANGERS, Journal, passwd
from test_authorisation import METHODS, path_of

TOP = pathlib.Path(__file__).resolve().parents[3]
ID = re.search(r'CATALOG_AUDIT "(\w+)"', (TOP / 'src/shared/catalog-ids.h').read_text())[1]
RPCD = STRANGERS[1]
READS = re.compile(r'Get.*|List.*|Wait|Logs|EventsSince|Diagnose')


@pytest.fixture
def cold_journal(cold):
    cold.journal = Journal(cold.directory)
    cold.daemon.environment['HERO_LOG_TARGET'] = 'journal'
    cold.daemon.environment['HERO_LOG_LEVEL'] = 'info'
    yield cold
    cold.journal.close()


@pytest.fixture
def host(cold_journal):
    host = cold_journal.start()
    host.alice, host.bob = host.client(ALICE), host.client(BOB)
    return host


def entries(host):
    return host.journal.entries(MESSAGE_ID=ID)


def one(host, **wanted):
    """The only entry so far of these fields, after a while in which a second one would have come."""
    run_until(lambda: host.journal.entries(MESSAGE_ID=ID, **wanted), 10, f'no entry {wanted}')
    run_for(0.2)
    found = host.journal.entries(MESSAGE_ID=ID, **wanted)
    assert len(found) == 1, found
    return found[0]


def own_only(host):
    host.polkit.answer_is = lambda action, details: 'yes' if action.endswith('-own') else 'no'


def test_call_that_makes_a_job_is_told_when_the_job_has_ended(host):
    host.systemd.behaviour['StartTransientUnit'] = 'hold'
    assert host.root.create('web') == ('done', '')
    job = host.root.vm('web', 'Start')
    run_for(0.3)
    assert not host.journal.entries(AUDIT_ACTION='VM.Start')
    host.systemd.release()
    assert host.root.job(job) == ('done', '')
    e = one(host, AUDIT_ACTION='VM.Start')
    assert int(e.pop('AUDIT_DURATION_USEC')) >= 300000
    assert re.fullmatch(r"Audit: VM\.Start of VM 'web' by 'root' \(uid 0\) over bus: ok after \d+\.\d{3} ms", e.pop('MESSAGE'))
    assert e == {'MESSAGE_ID': ID, 'PRIORITY': '6', 'SYSLOG_IDENTIFIER': 'hero-computed', 'AUDIT_ROAD': 'bus', 'AUDIT_UID': '0',
                 'AUDIT_SUBJECT': 'root', 'AUDIT_ACTION': 'VM.Start', 'HERO_VM': 'web', 'AUDIT_RESULT': 'ok'}
    assert one(host, AUDIT_ACTION='Manager.CreateVM')['HERO_VM'] == 'web'
    assert len(entries(host)) == 2


def test_call_that_is_done_at_once_is_told_at_once(host):
    assert host.root.create('web') == ('done', '')
    host.root.vm('web', 'Hold', 't', 60000000)
    e = one(host, AUDIT_ACTION='VM.Hold')
    assert e['AUDIT_RESULT'] == 'ok' and e['HERO_VM'] == 'web' and int(e['AUDIT_DURATION_USEC']) < 10**6


def test_owner_has_a_name_and_so_has_whose_vm_it_is(host):
    own_only(host)
    assert host.alice.provision('alice', Name='home') == ('done', '')
    e = one(host, AUDIT_ACTION='Manager.ProvisionUser')
    assert (e['AUDIT_UID'], e['AUDIT_SUBJECT'], e['HERO_VM'], e['HERO_USER']) == (str(ALICE), 'alice', 'home', 'alice')
    assert host.alice.job(host.alice.call(user_path('alice'), USER, 'Stop')) == ('done', '')
    e = one(host, AUDIT_ACTION='User.Stop')
    assert (e['AUDIT_UID'], e['AUDIT_SUBJECT'], e['HERO_VM'], e['HERO_USER']) == (str(ALICE), 'alice', 'home', 'alice')


def test_vm_of_a_user_is_named_though_the_call_did_not(host):
    assert host.root.provision('carol@example.org') == ('done', '')
    e = one(host, AUDIT_ACTION='Manager.ProvisionUser')
    assert e['HERO_USER'] == 'carol@example.org' and e['HERO_VM'] == host.root.names()[0]


def test_refused_call_is_told(host):
    own_only(host)
    assert host.root.provision('alice') == ('done', '')
    with pytest.raises(BusError) as error:
        host.bob.vm('alice', 'Stop', 't', 1)
    assert error.value.name == DENIED
    e = one(host, AUDIT_ACTION='VM.Stop')
    assert (e['AUDIT_RESULT'], e['AUDIT_UID'], e['AUDIT_SUBJECT']) == ('refused', str(BOB), 'bob')
    assert (e['HERO_VM'], e['HERO_USER'], e['PRIORITY']) == ('alice', 'alice', '5')
    assert 'Permission denied' in e['AUDIT_ERROR'] and 'refused' in e['MESSAGE']


def test_call_that_needs_a_password_nobody_gives_is_refused(host):
    host.polkit.answer_is = 'challenge'
    assert host.root.provision('alice') == ('done', '')
    with pytest.raises(BusError):
        host.bob.manager('StopUser', 's', 'alice')
    assert one(host, AUDIT_ACTION='Manager.StopUser')['AUDIT_RESULT'] == 'refused'


def test_time_that_polkit_took_counts(host):
    host.polkit.answer_is = 'yes'
    assert host.root.create('web') == ('done', '')
    host.polkit.behaviour['CheckAuthorization'] = 'hold'
    call = host.bob.send(vm_path('web'), VM, 'Touch')
    run_until(lambda: host.polkit.held)
    run_for(0.4)
    assert not host.journal.entries(AUDIT_ACTION='VM.Touch')
    host.polkit.release()
    call.result()
    assert int(one(host, AUDIT_ACTION='VM.Touch')['AUDIT_DURATION_USEC']) >= 400000


def test_caller_who_leaves_while_polkit_thinks_has_neither_been_allowed_nor_refused(host):
    assert host.root.create('web') == ('done', '')
    host.polkit.behaviour['CheckAuthorization'] = 'hold'
    host.bob.send(vm_path('web'), VM, 'Touch')
    run_until(lambda: host.polkit.held)
    host.bob.close()
    host.clients.remove(host.bob)
    host.root.manager('ListVMs')
    host.polkit.release()
    run_for(0.3)
    assert not host.journal.entries(AUDIT_ACTION='VM.Touch')


def test_failed_call_is_told_with_the_name_of_its_error(host):
    assert host.root.create('web') == ('done', '')
    with pytest.raises(BusError) as error:
        host.root.vm('web', 'Suspend')
    e = one(host, AUDIT_ACTION='VM.Suspend')
    assert error.value.name == ERROR + e['AUDIT_RESULT'] == ERROR + 'WrongState'
    assert e['AUDIT_ERROR'] == error.value.text
    with pytest.raises(BusError):
        host.root.manager('StartUser', 's', 'nobody@here')
    e = one(host, AUDIT_ACTION='Manager.StartUser')
    assert (e['AUDIT_RESULT'], e['HERO_USER']) == ('NoSuchUser', 'nobody@here') and 'HERO_VM' not in e


def test_failed_job_is_told_with_the_name_of_its_error(host):
    assert host.root.create('web', MockScript='boot-failed') == ('done', '')
    result, text = host.root.do('web', 'Start')
    assert result != 'done'
    e = one(host, AUDIT_ACTION='VM.Start')
    assert ERROR + e['AUDIT_RESULT'] == result and e['AUDIT_ERROR'] == text


def test_canceled_job_and_who_canceled_it_are_two_entries(host):
    assert host.root.create('web') == ('done', '')
    host.systemd.behaviour['StartTransientUnit'] = 'hold'
    job = host.root.vm('web', 'Start')
    run_until(lambda: host.systemd.held)
    host.root.call(job, JOB, 'Cancel')
    host.systemd.release()
    assert host.root.job(job)[0] == 'canceled'
    assert one(host, AUDIT_ACTION='VM.Start')['AUDIT_RESULT'] == 'Canceled'
    e = one(host, AUDIT_ACTION='Job.Cancel')
    assert (e['AUDIT_RESULT'], e['HERO_VM']) == ('ok', 'web')


def test_two_who_ask_for_the_same_job_are_two_entries(host):
    host.polkit.answer_is = 'yes'
    assert host.root.provision('alice') == ('done', '')
    assert host.root.do('alice', 'Stop', 't', 1) == ('done', '')
    host.systemd.behaviour['StartTransientUnit'] = 'hold'
    jobs = [c.manager('StartUser', 's', 'alice') for c in (host.alice, host.bob)]
    assert jobs[0] == jobs[1]
    host.systemd.release()
    assert host.root.job(jobs[0]) == ('done', '')
    run_for(0.2)
    assert [e['AUDIT_UID'] for e in host.journal.entries(AUDIT_ACTION='Manager.StartUser')] == [str(ALICE), str(BOB)]


@pytest.mark.parametrize('member, signature, arguments', [('Exec', 'asa{sv}', (['true'], {})), ('OpenConsole', 't', (0,))])
def test_call_that_wakes_a_vm_is_one_entry(host, member, signature, arguments):
    host.running('web')
    assert host.root.do('web', 'Suspend') == ('done', '')
    host.systemd.behaviour['ThawUnit'] = 'hold'
    call = host.root.send(vm_path('web'), VM, member, signature, *arguments)
    run_until(lambda: host.systemd.held)
    assert not host.journal.entries(AUDIT_ACTION='VM.' + member)
    host.systemd.release()
    fds = call.result()
    for fd in fds if isinstance(fds, tuple) else (fds,):
        os.close(fd)
    assert one(host, AUDIT_ACTION='VM.' + member)['AUDIT_RESULT'] == 'ok'
    assert not host.journal.entries(AUDIT_ACTION='VM.Resume')  # nobody called that


def test_call_that_cannot_wake_a_vm_is_one_entry(host):
    host.running('web')
    assert host.root.do('web', 'Suspend') == ('done', '')
    host.systemd.behaviour['ThawUnit'] = 'hold'
    call = host.root.send(vm_path('web'), VM, 'Exec', 'asa{sv}', ['true'], {})
    run_until(lambda: host.systemd.held)
    os.kill(host.pid(), 9)
    with pytest.raises(BusError):
        call.result()
    e = one(host, AUDIT_ACTION='VM.Exec')
    assert e['AUDIT_RESULT'] == 'WrongState' and 'could not be woken' in e['AUDIT_ERROR']


def test_what_is_under_way_when_the_daemon_ends_is_told(host):
    assert host.root.create('web') == ('done', '')
    host.systemd.behaviour['StartTransientUnit'] = 'hold'
    host.root.vm('web', 'Start')
    run_until(lambda: host.systemd.held)
    host.daemon.stop()
    assert one(host, AUDIT_ACTION='VM.Start')['AUDIT_RESULT'] == 'NoReply'
    host.systemd.release()


def test_calls_of_hero_rpcd_are_not_told_about_for_it_does(cold_journal):
    host = cold_journal
    (host.directory / 'passwd').write_text(passwd({ALICE: 'alice', BOB: 'bob', RPCD: 'hero-rpcd'}))
    host.start()
    host.polkit.answer_is = 'yes'
    assert host.root.create('web') == ('done', '')
    before = len(entries(host))
    rpcd = host.client(RPCD)
    rpcd.vm('web', 'Touch')
    assert rpcd.do('web', 'Start') == ('done', '')
    host.polkit.answer_is = 'no'
    asked = len(host.polkit.questions)
    rpcd.vm('web', 'Touch')  # nor is polkit asked about it: it has decided itself
    assert len(host.polkit.questions) == asked
    with pytest.raises(BusError):
        host.client(BOB).vm('web', 'Touch')
    assert one(host, AUDIT_ACTION='VM.Touch')['AUDIT_UID'] == str(BOB)
    assert len(entries(host)) == before + 1


@pytest.mark.parametrize('answer', ['yes', 'no'])
def test_every_method_gives_one_entry_if_it_changes_something_and_none_if_it_reads(host, answer):
    assert host.root.provision('alice') == ('done', '')
    host.polkit.answer_is = answer
    for interface, member, signature, arguments, _ in METHODS:
        if interface == JOB:
            continue  # above
        action = f'{interface.rpartition(".")[2]}.{member}'
        before = len(entries(host))
        try:
            r = host.bob.call(path_of(interface), interface, member, signature, *arguments)
            for v in r if isinstance(r, tuple) else (r,):
                if isinstance(v, int) and member in ('Exec', 'OpenConsole', 'Logs'):
                    os.close(v)
                elif isinstance(v, str) and '/job/' in v:
                    host.root.job(v)
        except BusError as e:
            assert answer == 'yes' or e.name == DENIED, (action, e)
        run_until(lambda: READS.fullmatch(member) or len(entries(host)) > before, 10, f'{action} gives no entry')
        run_for(0.05)
        new = [e['AUDIT_ACTION'] for e in entries(host)[before:]]
        assert new == ([] if READS.fullmatch(member) else [action])
        if 'alice' not in [u[0] for u in host.root.manager('ListUsers')]:
            assert host.root.provision('alice') == ('done', '')


def test_log_level_does_not_silence_it(cold_journal):
    host = cold_journal
    host.daemon.environment['HERO_LOG_LEVEL'] = 'err'
    host.start()
    assert host.root.create('web') == ('done', '')
    assert one(host, AUDIT_ACTION='Manager.CreateVM')


def test_names_that_callers_make_up_do_not_look_like_fields(host):
    with pytest.raises(BusError):
        host.bob.manager('StartUser', 's', 'x\nAUDIT_UID=0\nHERO_VM=other' + 'y' * 1000)
    e = one(host, AUDIT_ACTION='Manager.StartUser')
    assert e['AUDIT_UID'] == str(BOB) and 'HERO_VM' not in e
    assert e['HERO_USER'].startswith('x?AUDIT_UID=0?HERO_VM=other') and len(e['HERO_USER']) < 320
