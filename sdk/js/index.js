// SPDX-License-Identifier: Apache-2.0

// For Node: over a Unix socket, or HTTP.

import { Client } from './lib/client.js';
import { methods } from './lib/methods.js';
import { NodeTransport } from './lib/node-transport.js';

export { HeroComputeError, HeroComputeTransportError } from './lib/errors.js';

export class HeroCompute extends Client {
  constructor(options = {}) {
    super(new NodeTransport(options), options);
    Object.assign(this, methods(this));
  }
}
