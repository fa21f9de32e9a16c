# SPDX-License-Identifier: Apache-2.0
"""Who may do what, with the real polkit: alice and bob are accounts of the host and each may have a VM.

A user "at the machine" is in a session on a seat; one "from afar" is not, and cannot be asked for a password here, so
what needs one is refused."""

import json
import re
import shlex
import xml.etree.ElementTree as ET

import pytest

from throwaway import IMAGES, MANAGER

SMALL = ('--hypervisor=mock', '--memory=64M', '--disk=16M')


def ctl(*words):
    return ['heroctl', '--no-ask-password', *words]


@pytest.fixture
def vms(host):
    for user in ('alice', 'bob'):
        host.heroctl('provision', user, *SMALL)
    return host


REFUSED = re.compile('authentication required|access denied|permission denied|password is needed', re.I)


def refused(result):
    return result.status != 0 and REFUSED.search(result.err)


@pytest.fixture
def mock_by_default(host):
    """Which driver is not for users to say."""
    conf = '/etc/hero-compute/compute.conf.d/test.conf'
    host.run(f'mkdir -p $(dirname {conf}); printf "[Compute]\\nHypervisor=mock\\n" >{conf}; systemctl reload hero-computed')
    yield host
    host.run(f'rm {conf}; systemctl reload hero-computed')


def test_a_user_at_the_machine_has_the_whole_life_of_her_own_vm(mock_by_default):
    host = mock_by_default
    host.run_at_seat('alice', ctl('provision', 'alice'))
    for verb in ('suspend', 'resume', 'stop', 'start', 'restart'):
        host.run_at_seat('alice', ctl(verb, 'alice'))
    host.run_at_seat('alice', ctl('set-resources', 'alice', '--memory=128M'))
    assert host.run_at_seat('alice', ctl('exec', 'alice', '--', 'true'), check=False).status in (0, 125)
    host.run_at_seat('alice', ctl('logs', 'alice'))
    host.run_at_seat('alice', ctl('deprovision', 'alice'))
    assert host.vms() == []


def test_a_user_at_the_machine_cannot_touch_the_vm_of_another(vms):
    def bobs():
        return (vms.vms(), vms.get('bob', 'PID'), vms.state('bob'), vms.unit('hero-vm-bob.scope', 'CPUWeight'))
    before = bobs()
    attempts = [('provision', 'bob'), ('deprovision', 'bob'), ('stop', 'bob'), ('stop', '--force', 'bob'),
                ('suspend', 'bob'), ('restart', 'bob'), ('delete', 'bob'), ('set-resources', 'bob', '--cpu-weight=50'),
                ('exec', 'bob', '--', 'id'), ('logs', 'bob'), ('console', 'bob'),
                ('create', 'nobodys'), ('create', '--user=bob', 'bobs')]
    # In one session: what counts is who asks, not how often one logs in.
    script = '; '.join(' '.join(ctl(*words)) + ' 2>&1; echo "status $?"' for words in attempts)
    out = vms.run_at_seat('alice', script, check=False, timeout=120).out
    answers = out.split('status ')
    for words, text in zip(attempts, answers):
        assert REFUSED.search(text), (words, text)
    assert len(answers) == len(attempts) + 1 and bobs() == before


def test_a_user_from_afar_needs_her_password_even_for_her_own_vm(vms):
    for words in (('suspend', 'alice'), ('stop', 'alice'), ('exec', 'alice', '--', 'id'), ('deprovision', 'alice')):
        assert refused(vms.run(ctl(*words), user='alice', check=False)), words
    assert vms.state('alice') == 'running'


def test_everybody_may_see_which_vms_there_are(vms):
    assert vms.run(ctl('list', '-q'), user='alice').out.split() == ['alice', 'bob']
    assert 'running' in vms.run(ctl('status', 'bob'), user='alice', check=False).out


def test_a_rule_can_let_a_group_stop_and_start_and_no_more(vms):
    vms.run('groupadd -f operators; usermod -aG operators alice')
    rules = '/etc/polkit-1/rules.d/50-test.rules'
    vms.run(['tee', rules], input='''
        polkit.addRule(function(action, subject) {
            if (action.id == "org.hero.compute.manage" && subject.isInGroup("operators") &&
                action.lookup("user") == "bob" && ["Stop", "Start"].indexOf(action.lookup("verb")) >= 0)
                return polkit.Result.YES;
        });''')
    try:
        vms.run('systemctl restart polkit')
        vms.run(ctl('stop', 'bob'), user='alice')
        vms.run(ctl('start', 'bob'), user='alice')
        assert refused(vms.run(ctl('delete', 'bob'), user='alice', check=False))
    finally:
        vms.run(f'rm {rules}; systemctl restart polkit; gpasswd -d alice operators')


def test_a_rule_can_forbid_looking(vms):
    rules = '/etc/polkit-1/rules.d/50-test.rules'
    vms.run(['tee', rules], input='''
        polkit.addRule(function(action, subject) {
            if (action.id == "org.hero.compute.inspect")
                return polkit.Result.NO;
        });''')
    try:
        vms.run('systemctl restart polkit')
        assert refused(vms.run(ctl('list', '-q'), user='alice', check=False))
    finally:
        vms.run(f'rm {rules}; systemctl restart polkit')


def test_images_are_for_administrators_to_change_and_for_all_to_list(host):
    assert 'busybox' in host.run(ctl('image', 'list'), user='alice').out
    assert refused(host.run('tar -C /etc -c hostname | heroctl --no-ask-password image import mine -',
                            user='alice', check=False))
    assert refused(host.run(ctl('image', 'rm', 'busybox'), user='alice', check=False))
    assert 'mine' not in host.heroctl('image', 'list').out


def test_the_content_of_an_image_is_not_handed_to_users(host):
    r = host.busctl('call', *IMAGES, 'Open', 's', 'busybox', user='alice', check=False)
    assert r.status != 0 and 'denied' in r.err.lower()


def test_what_only_an_administrator_gives_is_refused_to_users_for_their_own_vm(host):
    host.heroctl('provision', 'bob', *SMALL)
    assert refused(host.run_at_seat('bob', ctl('set-resources', 'bob', '--cpu-weight=10000'), check=False))
    host.heroctl('deprovision', 'bob')
    for option in ('--kernel-arguments=init=/bin/sh', '--hypervisor=mock', '--memory=900G'):
        r = host.run_at_seat('alice', ctl('provision', 'alice', option), check=False)
        assert refused(r), (option, r)
    assert host.vms() == []


def methods(host, path):
    xml = json.loads(host.busctl('--json=short', 'call', MANAGER[0], path, 'org.freedesktop.DBus.Introspectable',
                                 'Introspect').out)['data'][0]
    for interface in ET.fromstring(xml).findall('interface'):
        if interface.get('name').startswith('org.hero.'):
            for m in interface.findall('method'):
                yield interface.get('name'), m.get('name'), [a.get('type') for a in m.findall('arg')
                                                             if a.get('direction') == 'in']


def test_no_method_does_anything_for_a_stranger(vms):
    """Each is called by nobody with arguments that name bob's VM. None acts, crashes or hangs."""
    samples = {'s': ['bob'], 'a{sv}': ['0'], 'u': ['1'], 't': ['0'], 'as': ['1', 'id']}
    pid, script, n = vms.get('bob', 'PID'), [], 0
    for path in (MANAGER[1], vms.vm_object('bob')[1], '/org/hero/Compute/user/bob'):
        for interface, method, types in methods(vms, path):
            if method == 'Wait':        # hangs for whoever is patient: that is what it is for
                continue
            words = [''.join(types), *(w for t in types for w in samples[t])] if types else []
            script.append(shlex.join(['busctl', '--timeout=60', 'call', MANAGER[0], path, interface, method, *words]))
            n += 1
    assert n >= 25
    out = vms.run('{ ' + '; '.join(script) + '; } 2>&1', user='nobody', check=False, timeout=200).out
    assert 'timed out' not in out.lower() and 'Unknown' not in out, out
    assert vms.get('bob', 'PID') == pid and vms.state('bob') == 'running' and sorted(vms.vms()) == ['alice', 'bob']
