// SPDX-License-Identifier: Apache-2.0

// What the types allow and what they do not: `npm run check-types` compiles it. Nothing runs it.

import { HeroCompute, HeroComputeError, HeroComputeTransportError, type DetailState, type VmModel } from 'hero-compute';

const client = new HeroCompute({ url: new URL('http://127.0.0.1:3389'), token: async () => 'abc', timeoutMs: 1000 });

export const vms: VmModel[] = await client.vm.list();
export const address: string | null = (await client.vm.get({ vm_id: 'a' })).mycelium_ip;
export const state: DetailState = (await client.vm.list({}, { signal: AbortSignal.timeout(3) }))[0].detail_state;
export const endpoint: string = (await client.vm.console.endpoint({ vm_id: 'a' })).endpoint;

// A job only where it is asked for.
export const id: string = (await client.user.provision({ user_id: 'a', resources: { memory_mb: 512 } })).vm_id;
export const job: string = (await client.user.provision({ user_id: 'a', wait: false })).job_id;
const either = await client.user.provision({ user_id: 'a', wait: Math.random() < 0.5 });
export const eitherId: string = 'job_id' in either ? either.job_id : either.user_id;

// @ts-expect-error vm_id is needed
await client.vm.get();
// @ts-expect-error and it is a string
await client.vm.get({ vm_id: 3 });
// @ts-expect-error there is no such parameter
await client.vm.list({ all: true });
// @ts-expect-error there is no such method
await client.vm.fly({ vm_id: 'a' });

export const version: string = (await client.call('health')).version;
export const future: unknown = await client.call('new.thing', { a: 1 });

const [list, one, nothing] = await client.batch([
  { method: 'vm.list' },
  { method: 'vm.get', params: { vm_id: 'a' } },
  { method: 'vm.stop', params: { vm_id: 'a' }, notify: true },
]);
if (list.status === 'fulfilled') list.value.length.toFixed();
if (one.status === 'fulfilled') one.value.name.trim();
if (nothing.status === 'fulfilled') nothing.value satisfies undefined;

try {
  await client.info();
} catch (error) {
  if (error instanceof HeroComputeError && error.name === 'NoSuchVM') error.code.toFixed();
  if (error instanceof HeroComputeTransportError && error.name === 'HttpError') error.status?.toFixed();
}
