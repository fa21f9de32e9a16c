// SPDX-License-Identifier: Apache-2.0

// JSON-RPC 2.0, whatever it goes over.

import { HeroComputeError, HeroComputeTransportError } from './errors.js';

const NO_CONTENT = 204;

export class Client {
  #transport;
  #token;
  #headers;
  #timeoutMs;
  #lastId = 0;

  constructor(transport, { token, headers, timeoutMs }) {
    this.#transport = transport;
    this.#token = token;
    this.#headers = headers;
    this.#timeoutMs = timeoutMs;
  }

  async call(method, params, options) {
    const request = this.#request(method, params);
    const answer = await this.#exchange(request, options);
    const settled = settle(request, [answer]);
    if (settled.status === 'rejected') throw settled.reason;
    return settled.value;
  }

  async notify(method, params, options) {
    const answer = await this.#exchange(notification(method, params), options);
    if (isError(answer)) throw new HeroComputeError(answer.error);
  }

  async batch(calls, options) {
    if (calls.length === 0) return [];
    const requests = calls.map(({ method, params, notify }) =>
      notify ? notification(method, params) : this.#request(method, params));
    const answers = (await this.#exchange(requests, options)) ?? [];
    // The service did not accept it as a batch.
    if (!Array.isArray(answers)) {
      if (isError(answers)) throw new HeroComputeError(answers.error);
      throw invalid('The answer to a batch is not an array.');
    }
    return requests.map((request) =>
      request.id === undefined ? { status: 'fulfilled', value: undefined } : settle(request, answers));
  }

  /** Closes the connections that are kept. Calls under way fail. */
  close() {
    this.#transport.close();
  }

  #request(method, params) {
    return { ...notification(method, params), id: ++this.#lastId };
  }

  /** The answer to one request or to an array of them, parsed; undefined where there is none. */
  async #exchange(message, { signal, timeoutMs = this.#timeoutMs } = {}) {
    const body = JSON.stringify(message);
    const { status, text } = await withDeadline(signal, timeoutMs, async (either) => {
      const headers = await this.#requestHeaders();
      try {
        either?.throwIfAborted();
        return await this.#transport.post(body, headers, either);
      } catch (cause) {
        either?.throwIfAborted();
        throw new HeroComputeTransportError('ConnectionError', `${this.#transport.where}: ${explain(cause)}`, { cause });
      }
    });
    if (status === NO_CONTENT) return undefined;
    if (status !== 200) throw new HeroComputeTransportError('HttpError', httpMessage(status, text), { status });
    try {
      return JSON.parse(text);
    } catch (cause) {
      throw invalid('The answer is not JSON.', cause);
    }
  }

  async #requestHeaders() {
    const headers = { 'content-type': 'application/json', accept: 'application/json', ...this.#headers };
    const token = typeof this.#token === 'function' ? await this.#token() : this.#token;
    if (token !== undefined) headers.authorization = `Bearer ${token}`;
    return headers;
  }
}

function notification(method, params) {
  return { jsonrpc: '2.0', method, params };
}

function isError(answer) {
  return Number.isInteger(answer?.error?.code) && typeof answer.error.message === 'string';
}

/** What became of a request, as Promise.allSettled() puts it. */
function settle(request, answers) {
  // An error of a request that could not be read has no id.
  const answer = answers.find((a) => a?.id === request.id) ?? answers.find((a) => a?.id === null && isError(a));
  if (isError(answer)) return { status: 'rejected', reason: new HeroComputeError(answer.error) };
  if (answer?.result !== undefined) return { status: 'fulfilled', value: answer.result };
  return { status: 'rejected', reason: invalid(`There is no answer to ${request.method}.`) };
}

/** Calls `work` with a signal that is `signal`, aborted after `timeoutMs` at the latest. */
async function withDeadline(signal, timeoutMs, work) {
  signal?.throwIfAborted();
  if (!timeoutMs) return work(signal);
  const controller = new AbortController();
  const follow = () => controller.abort(signal.reason);
  const timer = setTimeout(() => {
    controller.abort(new HeroComputeTransportError('TimeoutError', `There was no answer within ${timeoutMs} ms.`));
  }, timeoutMs);
  signal?.addEventListener('abort', follow, { once: true });
  try {
    return await work(controller.signal);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', follow);
  }
}

function invalid(message, cause) {
  return new HeroComputeTransportError('InvalidAnswer', message, { cause });
}

/** Errors of fetch() say what happened in their cause. */
function explain(error) {
  return error.cause?.message ?? error.message;
}

/** The service says in a body of JSON what is wrong; whatever is in between says it in other ways. */
function httpMessage(status, text) {
  try {
    const { error } = JSON.parse(text);
    if (typeof error === 'string') return `HTTP ${status}: ${error}`;
  } catch {
    // then the status has to do
  }
  return `HTTP ${status}`;
}
