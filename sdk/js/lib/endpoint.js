// SPDX-License-Identifier: Apache-2.0

/** The path that calls are sent to, below `base` (the path of a URL) and below `prefix`, both of which may be empty. */
export function endpoint(base, prefix) {
  const parts = `${base}/${prefix ?? ''}`.split('/').filter((part) => part !== '');
  return `/${[...parts, 'rpc'].join('/')}`;
}
