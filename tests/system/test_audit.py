# SPDX-License-Identifier: Apache-2.0
"""Who changed what, by every road, as the real journal keeps it and heroctl and JSON-RPC tell it."""

import json

import pytest

from throwaway import wait_until

SMALL = ('--hypervisor=mock', '--memory=64M', '--disk=16M')


@pytest.fixture
def audited(host):
    host.run('systemctl start hero-rpcd.socket')
    host.begun = int(host.run(['date', '+%s']).out)
    yield host
    del host.begun


def ask(host, method, user='root', **params):
    body = json.dumps({'jsonrpc': '2.0', 'id': 1, 'method': method, 'params': params})
    return json.loads(host.run(['curl', '-sS', '-H', 'Content-Type: application/json', '--data-binary', '@-', '--unix-socket',
                                '/run/hero-compute/rpc.sock', 'http://localhost/rpc'], user=user, input=body).out)


def entries(host, *words):
    """(road, who, action, vm, user, result) of what this test did, and perhaps the one before in the same second."""
    found = json.loads(host.heroctl('audit', '--json=short', f'--since=@{host.begun}', *words).out)
    return [(e['road'], e['subject'] or e['uid'], e['action'], e['vm'], e['user'], e['result']) for e in found]


def has(host, n, *words):
    wait_until(lambda: len(entries(host, *words)) >= n, f'{n} entries are in the journal')
    found = entries(host, *words)
    assert len(found) == n, found
    return found


def test_each_call_is_one_entry_whatever_its_road(audited):
    host = audited
    host.heroctl('provision', 'alice', '--name=audit-1', *SMALL)
    assert ask(host, 'user.stop', user_id='alice')['result']['state'] == 'stopped'
    assert ask(host, 'user.start', user='bob', user_id='alice')['error']['data']['name'] == 'PermissionDenied'
    assert host.run(['heroctl', '--no-ask-password', 'delete', 'audit-1'], user='bob', check=False).status == 5
    host.heroctl('delete', 'audit-1')
    found = has(host, 5, '--user=alice')
    assert found[:2] == [('bus', 'root', 'Manager.ProvisionUser', 'audit-1', 'alice', 'ok'),
                         ('http', 'root', 'user.stop', 'audit-1', 'alice', 'ok')]
    assert [(f[0], f[2], f[5]) for f in found[2:]] == [('http', 'user.start', 'refused'), ('bus', 'VM.Delete', 'refused'),
                                                       ('bus', 'VM.Delete', 'ok')]
    assert found[2][1] == found[3][1] == 'bob'
    # The same over JSON-RPC, where alice sees what was done to her own, and bob nothing of it.
    told = ask(host, 'audit.query', user_id='alice', limit=5)['result']
    assert [(e['road'], e['subject'], e['action'], e['vm'], e['user_id'], e['result']) for e in told] == found
    assert all(e['duration_ms'] > 0 and e['timestamp'].endswith('Z') for e in told)
    assert ask(host, 'audit.query', user='alice', limit=5)['result'] == told
    assert ask(host, 'audit.query', user='bob', user_id='alice')['error']['data']['name'] == 'PermissionDenied'
    assert not [e for e in ask(host, 'audit.query', user='bob', since=f'@{host.begun}')['result'] if e['user_id'] != 'bob']


def test_changes_of_images_are_in_it(audited):
    host = audited
    host.run('mkdir -p /tmp/audit && cp /bin/busybox /tmp/audit/ && heroctl image import audit:1 /tmp/audit && rm -r /tmp/audit')
    host.heroctl('image', 'rm', 'audit:1')
    wait_until(lambda: entries(host, '--action=Images.Remove'), 'the removal is in the journal')
    found = json.loads(host.heroctl('audit', '--json=short', f'--since=@{host.begun}', '--action=Images.*').out)
    assert [(e['action'], e['image'], e['subject'], e['result']) for e in found] == [
        ('Images.Import', 'audit:1', 'root', 'ok'), ('Images.Remove', 'audit:1', 'root', 'ok')]


def test_an_entry_has_its_fields_and_a_text_in_the_catalog(audited):
    host = audited
    host.mock('audit-2')
    host.heroctl('exec', 'audit-2', '--', 'true')
    host.heroctl('delete', 'audit-2')
    has(host, 4, '--vm=audit-2')
    out = host.run(['journalctl', '-q', '-o', 'json', '-n1', 'HERO_VM=audit-2', 'AUDIT_ACTION=VM.Exec']).out
    e = json.loads(out)
    assert (e['AUDIT_ROAD'], e['AUDIT_UID'], e['AUDIT_SUBJECT'], e['AUDIT_RESULT']) == ('bus', '0', 'root', 'ok')
    assert e['_SYSTEMD_UNIT'] == 'hero-computed.service' and int(e['AUDIT_DURATION_USEC']) > 0
    assert 'heroctl audit' in host.run(['journalctl', '-q', '-x', '-n1', '--no-pager', 'HERO_VM=audit-2', 'AUDIT_ACTION=VM.Exec']).out


def test_who_may_not_read_the_journal_is_told_and_cannot_write_into_it(audited):
    host = audited
    r = host.run(['heroctl', 'audit'], user='alice', check=False)
    assert r.status == 5 and 'systemd-journal' in r.err
    message_id = host.run("journalctl -q -o json -n1 AUDIT_ACTION=Manager.ProvisionUser").out
    forged = f"MESSAGE_ID={json.loads(message_id)['MESSAGE_ID']}\nMESSAGE=x\nAUDIT_ACTION=VM.Delete\nHERO_VM=audit-3\nAUDIT_UID=0\n"
    host.run(['logger', '--journald'], user='alice', input=forged)
    wait_until(lambda: host.run(['journalctl', '-q', 'HERO_VM=audit-3']).out, 'what alice wrote is in the journal')
    assert entries(host, '--vm=audit-3') == []
