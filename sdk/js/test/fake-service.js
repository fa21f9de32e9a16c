// SPDX-License-Identifier: Apache-2.0

// What hero-rpcd is for the client: JSON-RPC over HTTP, on a Unix socket or TCP. It keeps what came in.

import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';

/** An answer is `{ result }`, `{ error }`, or a function of the HTTP response that does what it likes. */
export class FakeService {
  /** As they came in: { path, headers, body }. */
  requests = [];
  connections = 0;

  #answers;
  #server;
  #directory;

  /** @param answers  by method, each called with the parameters */
  constructor(answers) {
    this.#answers = answers;
    this.#server = http.createServer((request, response) => this.#serve(request, response));
    this.#server.on('connection', () => this.connections++);
  }

  async listenUnix() {
    this.#directory = await mkdtemp(join(tmpdir(), 'hero-compute-'));
    this.socketPath = join(this.#directory, 'rpc.sock');
    await once(this.#server.listen(this.socketPath), 'listening');
    return { socketPath: this.socketPath };
  }

  async listenTcp() {
    await once(this.#server.listen(0, '127.0.0.1'), 'listening');
    return { url: `http://127.0.0.1:${this.#server.address().port}` };
  }

  async stop() {
    this.#server.close();
    this.#server.closeAllConnections();
    if (this.#directory) await rm(this.#directory, { recursive: true });
  }

  async #serve(request, response) {
    const body = JSON.parse(await text(request));
    this.requests.push({ path: request.url, headers: request.headers, body });
    const answers = [];
    for (const call of [body].flat()) {
      const answer = this.#answers[call.method]?.(call.params) ?? { error: { code: -32601, message: 'Method not found' } };
      if (typeof answer === 'function') return answer(response, call);
      if ('id' in call) answers.push({ jsonrpc: '2.0', ...answer, id: call.id });
    }
    if (answers.length === 0) return response.writeHead(204).end();
    // In any order: it is the id that tells whose answer it is.
    send(response, 200, Array.isArray(body) ? answers.reverse() : answers[0]);
  }
}

export function send(response, status, value) {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
}
