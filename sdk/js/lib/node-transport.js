// SPDX-License-Identifier: Apache-2.0

import http from 'node:http';
import https from 'node:https';
import { text } from 'node:stream/consumers';

import { endpoint } from './endpoint.js';

const DEFAULT_SOCKET = '/run/hero-compute/rpc.sock';
// Calls beyond these wait for a connection.
const CONNECTIONS_MAX = 64;
// Less than hero-rpcd's IdleTimeoutSec=, so that no call goes into a connection that is just being closed.
const IDLE_MS = 60_000;

/** HTTP over a Unix socket or TCP, on connections that are kept. */
export class NodeTransport {
  #request;
  #target;
  #agent;

  constructor({ socketPath, url, prefix }) {
    if (socketPath !== undefined && url !== undefined)
      throw new TypeError('socketPath and url: there can be only one of them');
    if (url === undefined) {
      this.where = socketPath ?? DEFAULT_SOCKET;
      this.#target = { socketPath: this.where, path: endpoint('', prefix) };
    } else {
      const { protocol, hostname, port, pathname } = new URL(url);
      if (protocol !== 'http:' && protocol !== 'https:')
        throw new TypeError(`url: ${protocol} is neither http: nor https:`);
      this.where = String(url);
      this.#target = { hostname: hostname.replace(/^\[|\]$/g, ''), port, path: endpoint(pathname, prefix) };
      if (protocol === 'https:') this.#request = https.request;
    }
    this.#request ??= http.request;
    const Agent = this.#request === https.request ? https.Agent : http.Agent;
    this.#agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS_MAX, timeout: IDLE_MS });
  }

  /** What the service answers to `body`: `{ status, text }`. */
  async post(body, headers, signal) {
    const response = await new Promise((resolve, reject) => {
      const request = this.#request({
        ...this.#target,
        method: 'POST',
        headers: { ...headers, 'content-length': Buffer.byteLength(body) },
        agent: this.#agent,
        signal,
      });
      request.on('response', resolve);
      request.on('error', reject);
      request.end(body);
    });
    return { status: response.statusCode, text: await text(response) };
  }

  close() {
    this.#agent.destroy();
  }
}
