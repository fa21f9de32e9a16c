// SPDX-License-Identifier: Apache-2.0

// For browsers, and whatever else has fetch().

import { Client } from './lib/client.js';
import { FetchTransport } from './lib/fetch-transport.js';
import { methods } from './lib/methods.js';

export { HeroComputeError, HeroComputeTransportError } from './lib/errors.js';

export class HeroCompute extends Client {
  constructor(options = {}) {
    super(new FetchTransport(options), options);
    Object.assign(this, methods(this));
  }
}
