# SPDX-License-Identifier: Apache-2.0
"""The JavaScript client (sdk/js) with hero-rpcd itself, in Node over its Unix socket."""

import json
import pathlib
import shutil
import subprocess

import pytest

from rpcd_fixtures import SOMEBODY, bus, call, rpcd  # noqa: F401

SDK = pathlib.Path(__file__).resolve().parent.parent.parent / 'sdk/js'
NODE = shutil.which('node') or shutil.which('nodejs')

PROGRAM = '''
import { HeroCompute, HeroComputeError } from '%(sdk)s/index.js';
const client = new HeroCompute({ socketPath: '%(socket)s', timeoutMs: 30_000 });
console.log(JSON.stringify(await (async () => %(expression)s)()) ?? 'null');
'''


@pytest.fixture
def js(rpcd):
    """What an expression of JavaScript gives, with a client in `client`."""
    def evaluate(expression, who=None):
        program = PROGRAM % {'sdk': SDK, 'socket': rpcd.directory / 'http.sock', 'expression': expression}
        ids = {'user': who.pw_uid, 'group': who.pw_gid, 'extra_groups': []} if who else {}
        # It ends by itself, though the client keeps its connection.
        r = subprocess.run([NODE, '--input-type=module'], input=program, capture_output=True, text=True, timeout=60, cwd='/', **ids)
        assert r.returncode == 0 and not r.stderr, r.stderr
        return json.loads(r.stdout)
    return evaluate


def test_every_method_of_the_service_is_one_of_the_client(js):
    assert js('''(await client.rpc.discover()).methods
        .map(({ name }) => name)
        .filter((name) => typeof name.split('.').reduce((node, key) => node?.[key], client) !== 'function')''') == []


def test_vms_are_listed_and_got_as_the_service_has_them(js, call):
    vms = call('vm.list')
    assert vms and js('client.vm.list()') == vms
    assert js("client.vm.get({ vm_id: 'web' })") == call('vm.get', vm_id='web')
    assert js("client.call('vm.get', ['web'])") == call('vm.get', vm_id='web')
    assert js('client.health()') == call('health')


def test_a_user_gets_a_vm_and_loses_it(js, call):
    vm = js("client.user.provision({ user_id: 'carol', cpu_count: 2, memory_mb: 512 })")
    assert (vm['user_id'], vm['state'], vm['resources']['memory_mb']) == ('carol', 'running', 512)
    assert call('user.vm', user_id='carol') == vm
    assert js("client.user.deprovision({ user_id: 'carol' })") == {'deleted': True, 'user_id': 'carol', 'vm_id': vm['vm_id']}
    assert call.error('user.vm', user_id='carol').name == 'NoSuchUser'


def test_a_job_is_started_and_followed(js):
    assert js('''{
        const { job_id } = await client.user.provision({ user_id: 'carol', wait: false });
        for (;;) {
            const job = await client.job.get({ job_id });
            if (job.state !== 'running') return [typeof job_id, job.state, job.error];
        }
    }''') == ['string', 'done', None]


def test_an_error_is_the_service_s(js):
    describe = '''.catch((error) => ({ own: error instanceof HeroComputeError, code: error.code, name: error.name,
                                       message: error.message }))'''
    e = js("client.vm.get({ vm_id: 'nothing' })" + describe)
    assert (e['own'], e['code'], e['name']) == (True, -32003, 'NoSuchVM') and 'nothing' in e['message']
    e = js('client.vm.get({ vm: 1 })' + describe)
    assert (e['code'], e['name']) == (-32602, 'InvalidParams') and e['message'].startswith('Invalid params: ')
    assert js("client.call('vm.fly')" + describe)['name'] == 'MethodNotFound'
    assert js("client.vm.get({ vm_id: 'web' })" + describe, SOMEBODY)['name'] == 'PermissionDenied'


def test_outcomes_of_a_batch_are_those_of_its_calls(js):
    assert js('''(await client.batch([
        { method: 'health' }, { method: 'vm.get', params: { vm_id: 'nothing' } }, { method: 'health', notify: true },
        { method: 'vm.get', params: { vm_id: 'web' } }]))
        .map((outcome) => outcome.value?.name ?? outcome.value?.status ?? outcome.reason?.name ?? null)''') == [
            'ok', 'NoSuchVM', None, 'web']
    assert js('client.batch(Array(101).fill({ method: "health" })).catch((error) => error.name)') == 'InvalidRequest'
    assert js('client.notify("health")') is None


def test_many_calls_at_once_share_connections(js):
    assert js('(await Promise.all(Array.from({ length: 500 }, () => client.vm.get({ vm_id: "web" })))).length') == 500
