// SPDX-License-Identifier: Apache-2.0

/** The service answered, with an error. `name` and `code` are stable, `message` is for people. */
export class HeroComputeError extends Error {
  constructor({ code, message, data }) {
    // The standard's codes have the standard's messages; what is wrong is in data then.
    super(data?.detail ? `${message}: ${data.detail}` : message);
    this.name = data?.name ?? 'ServerError';
    this.code = code;
    this.data = data;
  }
}

/**
 * There is no answer, or none of JSON-RPC: whether a call that changes something was carried out is not known, but for an
 * HttpError with a `status` below 500: nothing was called.
 *
 * `name` is ConnectionError, TimeoutError, HttpError (`status` says which) or InvalidAnswer.
 */
export class HeroComputeTransportError extends Error {
  constructor(name, message, { status, cause } = {}) {
    super(message, { cause });
    this.name = name;
    this.status = status;
  }
}
