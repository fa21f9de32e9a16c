# SPDX-License-Identifier: Apache-2.0
"""What runs in a VM: the image's word and the spec's, as the guest is told; how it ended, as the VM tells."""

import json

import pytest
from bus_client import ERROR, BusError, run_until
from fake_images import DIGEST
from sockets import Exec

CONFIG = {'Entrypoint': ['/entry'], 'Cmd': ['serve', '-v'], 'Env': ['PATH=/app', 'A=image', 'B=image'], 'User': 'app:web',
          'WorkingDirectory': '/srv', 'StopSignal': 'SIGRTMIN+3', 'Platform': 'linux/amd64', 'Newer': ['x']}


@pytest.fixture
def image(host):
    host.images.known['app'] = 'sha256:' + '6b' * 32
    host.images.known['sha256:' + '6b' * 32] = 'sha256:' + '6b' * 32
    host.images.config['app'] = dict(CONFIG)
    return host


def boot(host, name='web'):
    """What BOOT said to the guest, as (word, text)."""
    e = Exec(host.root, name, 'boot')
    assert e.result() == 'exit 0'
    text = b''
    while chunk := e.stdio.recv(65536):
        text += chunk
    e.close()
    return [tuple(line.split(' ', 1)) for line in text.decode().splitlines()]


def words(host, key, name='web'):
    return [text for word, text in boot(host, name) if word == key]


def record(host, name='web'):
    return json.loads((host.daemon.state / 'vms' / name / 'vm.json').read_text())


def test_the_guest_gets_what_the_image_says(image):
    image.running('web', Image='app')
    assert words(image, 'arg') == ['/entry', 'serve', '-v']
    assert words(image, 'env') == ['PATH=/app', 'A=image', 'B=image']
    assert words(image, 'user') == ['app:web'] and words(image, 'cwd') == ['/srv'] and words(image, 'signal') == ['37']
    assert words(image, 'init') == []


def test_the_spec_goes_over_the_image(image):
    image.running('web', Image='app', Arguments=['check'], Environment=['B=spec', 'C=spec'], RunAs='1000', WorkingDirectory='/tmp')
    assert words(image, 'arg') == ['/entry', 'check']
    assert words(image, 'env') == ['PATH=/app', 'A=image', 'B=spec', 'C=spec']
    assert words(image, 'user') == ['1000'] and words(image, 'cwd') == ['/tmp']


@pytest.mark.parametrize('keys, expected', [
    ({'Command': ['top', '-b']}, ['top', '-b']), ({'Entrypoint': ['/other']}, ['/other']),
    ({'Entrypoint': [], 'Arguments': ['x']}, ['x']), ({'RunImage': False}, []), ({'Arguments': []}, ['/entry'])], ids=str)
def test_what_runs_can_be_replaced(image, keys, expected):
    image.running('web', Image='app', **keys)
    assert words(image, 'arg') == expected


def test_a_mere_shell_does_not_run(image):
    image.images.config['app'] = {'Cmd': ['/bin/sh']}
    image.running('web', Image='app')
    assert words(image, 'arg') == []


def test_an_init_is_announced(image):
    image.images.config['app'] = {'Cmd': ['/sbin/init']}
    image.running('web', Image='app')
    assert words(image, 'arg') == ['/sbin/init'] and words(image, 'init') == ['1']


def test_commands_run_in_the_image_s_environment_and_directory(image):
    image.running('web', Image='app', Environment=['B=spec'])
    e = Exec(image.root, 'web', 'env', Environment=['D=1'])
    assert e.expect(b'D=1\n').decode().split() == ['PATH=/app', 'A=image', 'B=spec', 'D=1']
    e.close()
    e = Exec(image.root, 'web', 'pwd')
    assert e.expect(b'\n') == b'/srv\n'
    e.close()


def test_an_image_that_moves_changes_nothing_for_a_vm_that_is_there(image):
    image.running('web', Image='app')
    digest = image.root.vm_get('web', 'ImageDigest')
    image.images.known['app'] = DIGEST
    image.images.config['app'] = {'Cmd': ['/changed']}
    image.images.changed()
    assert image.root.do('web', 'Restart') == ('done', '')
    assert words(image, 'arg') == ['/entry', 'serve', '-v'] and image.root.vm_get('web', 'ImageDigest') == digest
    image.running('new', Image='app')
    assert words(image, 'arg', 'new') == ['/changed']


def test_what_the_image_says_survives_a_restart_of_the_daemon(image):
    assert image.root.create('web', Image='app', Entrypoint=[], Arguments=['x'], RunAs='7', RunImage=True) == ('done', '')
    assert record(image)['image_config']['stop_signal'] == 'SIGRTMIN+3'
    image.daemon.kill()
    image.images.config.clear()
    image.daemon.start()
    assert image.root.do('web', 'Start') == ('done', '')
    assert words(image, 'arg') == ['x'] and words(image, 'user') == ['7'] and words(image, 'cwd') == ['/srv']


@pytest.mark.parametrize('config', [{'Entrypoint': 'a string'}, {'User': ['a', 'list']}, {'Cmd': ['x' * 30000]}, {'Cmd': [''] * 300},
                                    {'User': 'x\n'}, {'WorkingDirectory': '/' * 5000}], ids=lambda c: str(c)[:30])
def test_an_image_that_says_nonsense_is_refused(image, config):
    image.images.config['app'] = config
    result, text = image.root.create('web', Image='app')
    assert result == ERROR + 'BadImage' and 'image' in text
    assert image.daemon.vm_directories() == []
    assert image.root.create('web') == ('done', '')


def test_what_does_not_fit_into_the_boot_message_together_is_refused_at_once(image):
    image.images.config['app'] = {'Env': ['A=' + 'x' * 20000]}
    result, text = image.root.create('web', Image='app', Command=['y' * 20000])
    assert result == ERROR + 'LimitExceeded' and '24 KiB' in text
    assert image.daemon.vm_directories() == []


@pytest.mark.parametrize('keys', [{'Command': ['a'], 'Entrypoint': ['b']}, {'Command': ['a'], 'RunImage': False}, {'RunAs': ''},
                                  {'Entrypoint': ['a\x1b']}, {'RunAs': 'x' * 300}], ids=str)
def test_a_spec_that_contradicts_itself_is_refused(host, keys):
    with pytest.raises(BusError) as e:
        host.root.create('web', **keys)
    assert e.value.name == ERROR + 'InvalidArgument'


@pytest.mark.parametrize('keys', [{'Entrypoint': ['x']}, {'Arguments': []}, {'RunAs': 'x'}, {'RunImage': False}], ids=str)
def test_provisioning_again_with_another_way_to_run_is_refused(host, keys):
    assert host.root.provision('alice') == ('done', '')
    with pytest.raises(BusError) as e:
        host.root.provision('alice', **keys)
    assert e.value.name == ERROR + 'UserHasVM' and list(keys)[0] in e.value.text
    assert host.root.provision('alice', RunImage=True) == ('done', '')


def exit_of(host, name='web'):
    return host.root.vm_get(name, 'ExitCode'), host.root.vm_get(name, 'ExitReason')


@pytest.mark.parametrize('script, expected', [
    ('exit-after=500,command-exit=0', (0, 'exited')), ('exit-after=500,command-exit=255', (255, 'exited')),
    ('exit-after=500,command-signal=9', (137, 'signaled')), ('exit-after=500', (-1, 'shutdown')),
    ('crash-after=500', (-1, 'vmm-failed'))])
def test_the_end_is_kept_until_the_next_start(host, script, expected):
    assert host.root.create('web', MockScript=script) == ('done', '')
    assert exit_of(host) == (-1, '')
    assert host.root.do('web', 'Start') == ('done', '')
    assert exit_of(host) == (-1, '')
    run_until(lambda: host.root.state('web') in ('stopped', 'failed'))
    assert exit_of(host) == expected
    told = lambda: [a[1]['ExitReason'] for m, a in host.root.signals('PropertiesChanged') if 'ExitReason' in a[1]]
    run_until(lambda: told()[-1:] == [expected[1]])
    host.daemon.kill()
    host.daemon.start()
    assert exit_of(host) == expected
    assert host.root.do('web', 'Start') == ('done', '')
    assert exit_of(host) == (-1, '')


def test_a_command_that_cannot_be_executed_says_so(host):
    assert host.root.create('web', MockScript='boot-failed,command-exit=127') == ('done', '')
    assert host.root.do('web', 'Start')[0] == ERROR + 'BootFailed'
    assert exit_of(host) == (127, 'not-executed')


def test_a_boot_that_fails_for_another_reason_has_no_code(host):
    assert host.root.create('web', MockScript='boot-failed') == ('done', '')
    assert host.root.do('web', 'Start')[0] == ERROR + 'BootFailed'
    assert exit_of(host) == (-1, 'boot-failed')


@pytest.mark.parametrize('flags, expected', [(0, 'stopped'), (1, 'killed')])
def test_a_stop_is_told_from_a_kill(host, flags, expected):
    host.running('web')
    assert host.root.do('web', 'Stop', 't', flags) == ('done', '')
    assert exit_of(host) == (-1, expected)


def test_a_canceled_start_is_no_end(host):
    assert host.root.create('web', MockScript='slow-ready=60000') == ('done', '')
    job = host.root.vm('web', 'Start')
    run_until(lambda: host.root.state('web') == 'starting')
    host.root.call(job, 'org.hero.Compute.Job', 'Cancel')
    assert host.root.job(job)[0] == 'canceled'
    assert exit_of(host) == (-1, '')


def test_a_record_of_the_former_version_keeps_its_exit_status(host):
    assert host.root.create('web') == ('done', '')
    host.daemon.stop()
    path = host.daemon.state / 'vms/web/vm.json'
    old = json.loads(path.read_text())
    for key in ('exit_code', 'image_config'):
        del old[key]
    path.write_text(json.dumps(old | {'exit_status': 3}))
    host.daemon.start()
    assert exit_of(host) == (3, '')
    assert host.root.do('web', 'Start') == ('done', '')
    assert words(host, 'arg') == []
