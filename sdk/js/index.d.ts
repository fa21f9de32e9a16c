// SPDX-License-Identifier: Apache-2.0

import type { ErrorName, MethodTypes, Methods } from './lib/methods.js';

export * from './lib/methods.js';

export interface HeroComputeOptions {
  /** Node: the service's Unix socket (default: /run/hero-compute/rpc.sock, where there is no `url`). */
  socketPath?: string;
  /** Where the service is over HTTP, up to what `prefix` adds. In a browser it may be a path, or left out for the page's origin. */
  url?: string | URL;
  /** Before /rpc, such as /hero_compute_manager behind hero_proxy. */
  prefix?: string;
  /** Bearer token, or what gets one; asked before each request. */
  token?: string | (() => string | undefined | Promise<string | undefined>);
  /** More headers, sent with each request. */
  headers?: Record<string, string>;
  /** How long calls wait for their answer, in milliseconds (default: as long as it takes). */
  timeoutMs?: number;
}

export interface CallOptions {
  /** Aborts the wait. What was called goes on; the promise is rejected with the signal's reason. */
  signal?: AbortSignal;
  /** In place of the client's; 0: as long as it takes. */
  timeoutMs?: number;
}

export type MethodName = keyof MethodTypes;

export type BatchCall = {
  [M in MethodName]: {
    method: M;
    params?: MethodTypes[M]['params'];
    /** No answer is wanted. */
    notify?: boolean;
  };
}[MethodName];

export type BatchResults<Calls extends readonly BatchCall[]> = {
  -readonly [I in keyof Calls]: PromiseSettledResult<
    Calls[I] extends { notify: true } ? undefined : MethodTypes[Calls[I]['method']]['result']
  >;
};

/** A client of Hero Compute. Each method of the service is one here: vm.list is `client.vm.list()`. */
export class HeroCompute {
  constructor(options?: HeroComputeOptions);

  /** Calls a method by its name. */
  call<M extends MethodName>(
    method: M,
    params?: MethodTypes[M]['params'],
    options?: CallOptions,
  ): Promise<MethodTypes[M]['result']>;
  call(method: string, params?: object, options?: CallOptions): Promise<unknown>;

  /** Calls without wanting an answer. The promise is fulfilled when the service has taken it. */
  notify<M extends MethodName>(method: M, params?: MethodTypes[M]['params'], options?: CallOptions): Promise<void>;
  notify(method: string, params?: object, options?: CallOptions): Promise<void>;

  /** Several calls in one request, at most 100. Each has an outcome of its own, in the order of the calls. */
  batch<const Calls extends readonly BatchCall[]>(calls: Calls, options?: CallOptions): Promise<BatchResults<Calls>>;

  /** Closes the connections that are kept. Calls under way fail. */
  close(): void;
}

export interface HeroCompute extends Methods {}

/** The service answered, with an error. `name` and `code` are stable, `message` is for people. */
export class HeroComputeError extends Error {
  readonly name: ErrorName | 'ServerError' | 'ParseError' | 'InvalidRequest' | 'MethodNotFound' | 'InvalidParams' | (string & {});
  readonly code: number;
  readonly data?: { name?: string; detail?: string; [member: string]: unknown };
}

/**
 * There is no answer, or none of JSON-RPC: whether a call that changes something was carried out is not known, but for an
 * HttpError with a `status` below 500: nothing was called.
 */
export class HeroComputeTransportError extends Error {
  readonly name: 'ConnectionError' | 'TimeoutError' | 'HttpError' | 'InvalidAnswer';
  /** Of an HttpError. */
  readonly status?: number;
}
