// SPDX-License-Identifier: Apache-2.0

// Options that lead nowhere, services that are not there, and what is in the package.

import assert from 'node:assert/strict';
import { access, readFile } from 'node:fs/promises';
import { it } from 'node:test';

import * as browser from '../browser.js';
import * as node from '../index.js';

const { HeroCompute, HeroComputeTransportError } = node;

it('does not take a socket and a URL', () => {
  assert.throws(() => new HeroCompute({ socketPath: '/x', url: 'http://localhost' }), TypeError);
});

it('takes URLs of HTTP only', () => {
  assert.throws(() => new HeroCompute({ url: 'ftp://localhost' }), TypeError);
  assert.throws(() => new HeroCompute({ url: 'nowhere' }), TypeError);
  for (const url of ['https://localhost', new URL('http://[::1]:3389/x')]) new HeroCompute({ url });
});

it('has no Unix sockets in a browser', () => {
  assert.throws(() => new browser.HeroCompute({ socketPath: '/x' }), TypeError);
});

it('takes paths, and the origin of a page, in a browser', async (t) => {
  const urls = [];
  const real = globalThis.fetch;
  t.after(() => {
    globalThis.fetch = real;
  });
  globalThis.fetch = async (url) => {
    urls.push(url);
    return new Response('{"jsonrpc":"2.0","id":1,"result":1}');
  };
  for (const options of [{}, { url: '/a/' }, { url: 'https://h:1/a', prefix: '/b' }])
    await new browser.HeroCompute(options).health();
  assert.deepEqual(urls, ['/rpc', '/a/rpc', 'https://h:1/a/b/rpc']);
});

it('says what cannot be reached', async () => {
  const absent = { socketPath: '/nonexistent/rpc.sock' };
  await assert.rejects(new HeroCompute(absent).health(), (error) => {
    assert.ok(error instanceof HeroComputeTransportError);
    assert.equal(error.name, 'ConnectionError');
    assert.match(error.message, /^\/nonexistent\/rpc\.sock: .*ENOENT/);
    assert.equal(error.cause.code, 'ENOENT');
    return true;
  });
  for (const { HeroCompute: Client } of [node, browser])
    await assert.rejects(new Client({ url: 'http://127.0.0.1:1' }).health(), { name: 'ConnectionError' });
});

it('is published with all that it imports', async () => {
  const top = new URL('../', import.meta.url);
  const { exports, files } = JSON.parse(await readFile(new URL('package.json', top), 'utf8'));
  for (const file of Object.values(exports['.'])) {
    await access(new URL(file, top));
    assert.ok(files.includes(file.slice(2)), file);
  }
  for (const file of ['index.js', 'browser.js', 'index.d.ts', 'lib/methods.d.ts'])
    for (const [, path] of (await readFile(new URL(file, top), 'utf8')).matchAll(/ from '(\.[^']*)'/g))
      assert.match(new URL(path, new URL(file, top)).pathname.slice(top.pathname.length), /^(lib\/|index\.)/);
});

it('imports nothing of Node in a browser', async () => {
  const seen = new Set();
  const visit = async (url) => {
    if (seen.has(url.href)) return;
    seen.add(url.href);
    for (const [, path] of (await readFile(url, 'utf8')).matchAll(/ from '([^']*)'/g)) {
      assert.match(path, /^\./, `${url.pathname} imports ${path}`);
      await visit(new URL(path, url));
    }
  };
  await visit(new URL('../browser.js', import.meta.url));
  assert.ok(seen.size > 3);
});
