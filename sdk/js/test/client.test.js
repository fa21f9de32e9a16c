// SPDX-License-Identifier: Apache-2.0

// What holds however calls are carried: each test runs over a Unix socket, over TCP, and with fetch() as in a browser.

import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import { setImmediate } from 'node:timers/promises';

import * as browser from '../browser.js';
import * as node from '../index.js';
import { FakeService, send } from './fake-service.js';

const NO_SUCH_VM = { code: -32003, message: "There is no VM 'x'.", data: { name: 'NoSuchVM' } };

const answers = {
  health: () => ({ result: { status: 'ok' } }),
  'vm.list': () => ({ result: [] }),
  'vm.get': ({ vm_id: id }) => (id === 'x' ? { error: NO_SUCH_VM } : { result: { id, name: 'grüße' } }),
  'vm.console.endpoint': ({ vm_id: id }) => ({ result: { vm_id: id, endpoint: 'unix:/x' } }),
  'vm.start': () => ({ error: { code: -32602, message: 'Invalid params', data: { name: 'InvalidParams', detail: 'vm_id is missing.' } } }),
  'job.get': () => ({ result: null }),
  'vm.stop': () => (response) => send(response, 401, { error: 'The token has expired.' }),
  'vm.restart': () => (response) => response.writeHead(502).end('<html>'),
  'vm.delete': () => (response) => response.socket.destroy(),
  'vm.suspend': () => (response) => response.writeHead(200).end('{'),
  'vm.resume': () => (response, call) => send(response, 200, { jsonrpc: '2.0', id: call.id + 1, result: {} }),
  'vm.hibernate': () => (response) => {
    response.writeHead(200, { 'content-length': 100 }).write('{"jsonrpc"');
    setTimeout(() => response.socket.destroy(), 20);
  },
  'vm.wait': () => () => {}, // never
  'user.list': () => (response) => send(response, 200, { jsonrpc: '2.0', id: null, error: { code: -32600, message: 'Invalid Request' } }),
};

const roads = [
  ['a Unix socket', node, 'listenUnix'],
  ['TCP', node, 'listenTcp'],
  ['fetch', browser, 'listenTcp'],
];

for (const [road, { HeroCompute, HeroComputeError, HeroComputeTransportError }, listen] of roads) {
  describe(`over ${road}`, () => {
    let service, where, client;

    before(async () => {
      service = new FakeService(answers);
      where = await service[listen]();
      client = new HeroCompute(where);
    });
    beforeEach(() => {
      service.requests.length = 0;
    });
    after(async () => {
      client.close();
      await service.stop();
    });

    const isTransportError = (name, more = {}) => (error) => {
      assert.ok(error instanceof HeroComputeTransportError, error);
      assert.ok(!(error instanceof HeroComputeError));
      assert.equal(error.name, name);
      for (const [member, value] of Object.entries(more)) assert.equal(error[member], value);
      return true;
    };

    it('calls a method', async () => {
      assert.deepEqual(await client.vm.get({ vm_id: 'a' }), { id: 'a', name: 'grüße' });
      const [{ path, headers, body }] = service.requests;
      assert.equal(path, '/rpc');
      assert.equal(headers['content-type'], 'application/json');
      assert.equal(headers.authorization, undefined);
      assert.deepEqual({ ...body, id: 0 }, { jsonrpc: '2.0', method: 'vm.get', params: { vm_id: 'a' }, id: 0 });
    });

    it('calls methods of namespaces in namespaces, and of none', async () => {
      assert.equal((await client.vm.console.endpoint({ vm_id: 'a' })).endpoint, 'unix:/x');
      assert.equal((await client.health()).status, 'ok');
    });

    it('sends no params where there are none', async () => {
      await client.vm.list();
      assert.ok(!('params' in service.requests[0].body));
    });

    it('calls a method by its name, with params by position', async () => {
      await client.call('health', ['a']);
      assert.deepEqual(service.requests[0].body.params, ['a']);
    });

    it('gives a result of null', async () => {
      assert.equal(await client.job.get({ job_id: '1' }), null);
    });

    it('takes no id twice', async () => {
      await Promise.all([client.health(), client.health(), client.health()]);
      assert.equal(new Set(service.requests.map((r) => r.body.id)).size, 3);
    });

    it('rejects with the error of the service', async () => {
      await assert.rejects(client.vm.get({ vm_id: 'x' }), (error) => {
        assert.ok(error instanceof HeroComputeError && error instanceof Error);
        assert.equal(error.name, 'NoSuchVM');
        assert.equal(error.code, -32003);
        assert.equal(error.message, "There is no VM 'x'.");
        assert.deepEqual(error.data, { name: 'NoSuchVM' });
        return true;
      });
    });

    it('says what is wrong where the message is the standard\'s', async () => {
      await assert.rejects(client.vm.start(), { name: 'InvalidParams', message: 'Invalid params: vm_id is missing.' });
    });

    it('rejects with an error that has no id', async () => {
      await assert.rejects(client.user.list(), { code: -32600 });
    });

    it('notifies', async () => {
      assert.equal(await client.notify('vm.list'), undefined);
      assert.ok(!('id' in service.requests[0].body));
    });

    it('has an outcome for each call of a batch, in their order', async () => {
      const outcomes = await client.batch([
        { method: 'vm.get', params: { vm_id: 'a' } },
        { method: 'vm.list', notify: true },
        { method: 'vm.get', params: { vm_id: 'x' } },
        { method: 'health' },
      ]);
      assert.equal(service.requests.length, 1);
      assert.deepEqual(outcomes.map((o) => o.status), ['fulfilled', 'fulfilled', 'rejected', 'fulfilled']);
      assert.equal(outcomes[0].value.id, 'a');
      assert.equal(outcomes[1].value, undefined);
      assert.ok(outcomes[2].reason instanceof HeroComputeError);
      assert.equal(outcomes[2].reason.name, 'NoSuchVM');
      assert.equal(outcomes[3].value.status, 'ok');
    });

    it('takes batches of notifications, and of nothing', async () => {
      assert.deepEqual(await client.batch([{ method: 'health', notify: true }]), [{ status: 'fulfilled', value: undefined }]);
      assert.deepEqual(await client.batch([]), []);
      assert.equal(service.requests.length, 1);
    });

    it('rejects a batch that the service does not take', async () => {
      await assert.rejects(client.batch([{ method: 'user.list' }, { method: 'health' }]), { code: -32600 });
      await assert.rejects(client.batch([{ method: 'vm.resume' }]), isTransportError('InvalidAnswer'));
    });

    it('sends the token and the headers', async () => {
      const authorised = new HeroCompute({ ...where, token: 'abc', headers: { 'x-trace': '7' } });
      await authorised.health();
      authorised.close();
      assert.equal(service.requests[0].headers.authorization, 'Bearer abc');
      assert.equal(service.requests[0].headers['x-trace'], '7');
    });

    it('asks for the token before each request', async () => {
      let n = 0;
      const authorised = new HeroCompute({ ...where, token: async () => (n < 2 ? `t${++n}` : undefined) });
      for (let i = 0; i < 3; i++) await authorised.health();
      authorised.close();
      assert.deepEqual(service.requests.map((r) => r.headers.authorization), ['Bearer t1', 'Bearer t2', undefined]);
    });

    it('is told why there is no token', async () => {
      const unlucky = new HeroCompute({ ...where, token: () => Promise.reject(new RangeError('logged out')) });
      await assert.rejects(unlucky.health(), RangeError);
      assert.equal(service.requests.length, 0);
    });

    it('puts the prefix before the path', async () => {
      for (const prefix of ['/hero_compute_manager', 'hero_compute_manager/']) {
        const proxied = new HeroCompute({ ...where, prefix });
        await proxied.health();
        proxied.close();
      }
      assert.deepEqual(service.requests.map((r) => r.path), Array(2).fill('/hero_compute_manager/rpc'));
    });

    it('tells errors of HTTP apart, with what the service says', async () => {
      await assert.rejects(client.vm.stop({ vm_id: 'a' }),
        isTransportError('HttpError', { status: 401, message: 'HTTP 401: The token has expired.' }));
      await assert.rejects(client.vm.restart({ vm_id: 'a' }), isTransportError('HttpError', { status: 502, message: 'HTTP 502' }));
    });

    it('tells of a connection that ends before the answer, or in it', async () => {
      await assert.rejects(client.vm.delete({ vm_id: 'a' }), isTransportError('ConnectionError'));
      await assert.rejects(client.vm.hibernate({ vm_id: 'a' }), isTransportError('ConnectionError'));
      assert.equal((await client.health()).status, 'ok');
    });

    it('tells of an answer that is none', async () => {
      await assert.rejects(client.vm.suspend({ vm_id: 'a' }), isTransportError('InvalidAnswer'));
      await assert.rejects(client.vm.resume({ vm_id: 'a' }), isTransportError('InvalidAnswer'));
    });

    it('gives up after timeoutMs, the client\'s or the call\'s', async () => {
      await assert.rejects(client.vm.wait({ vm_id: 'a' }, { timeoutMs: 30 }), isTransportError('TimeoutError'));
      const hasty = new HeroCompute({ ...where, timeoutMs: 30 });
      await assert.rejects(hasty.vm.wait({ vm_id: 'a' }), isTransportError('TimeoutError'));
      assert.equal((await hasty.health({}, { timeoutMs: 10_000 })).status, 'ok');
      hasty.close();
    });

    it('is aborted, with the reason of the signal', async () => {
      const controller = new AbortController();
      const waiting = client.vm.wait({ vm_id: 'a' }, { signal: controller.signal, timeoutMs: 10_000 });
      while (service.requests.length === 0) await setImmediate();
      controller.abort(new RangeError('enough'));
      await assert.rejects(waiting, RangeError);
      await assert.rejects(client.health({}, { signal: controller.signal }), RangeError);
      assert.equal(service.requests.length, 1);
      await assert.rejects(client.vm.wait({ vm_id: 'a' }, { signal: AbortSignal.timeout(30) }), { name: 'TimeoutError' });
    });

    // fetch() has connections of its own.
    if (road !== 'fetch')
      it('keeps its connection', async () => {
        const frugal = new HeroCompute(where);
        await frugal.health();
        const opened = service.connections;
        for (let i = 0; i < 20; i++) await frugal.health();
        frugal.close();
        assert.equal(service.connections, opened);
      });
  });
}
