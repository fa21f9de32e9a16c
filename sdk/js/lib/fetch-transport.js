// SPDX-License-Identifier: Apache-2.0

import { endpoint } from './endpoint.js';

/** `url` may be left out in a page that comes from the service's own origin. */
export class FetchTransport {
  #endpoint;

  constructor({ socketPath, url, prefix }) {
    if (socketPath !== undefined)
      throw new TypeError('socketPath: there are no Unix sockets here, only url');
    const [, origin, path] = /^([a-z]+:\/\/[^/]+)?(.*)$/i.exec(String(url ?? ''));
    this.#endpoint = (origin ?? '') + endpoint(path, prefix);
    this.where = this.#endpoint;
  }

  async post(body, headers, signal) {
    const response = await fetch(this.#endpoint, {
      method: 'POST',
      headers,
      body,
      signal,
      cache: 'no-store',
      redirect: 'error', // whoever is at the other end is not to be told the token
    });
    return { status: response.status, text: await response.text() };
  }

  close() {}
}
