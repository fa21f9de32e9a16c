// SPDX-License-Identifier: Apache-2.0

// Made by tools/generate-sdk of docs/schemas/openrpc.json.

/** The methods of the service, each where its name says. */
export function methods(client) {
  return {
    /** What this host is and has. */
    info: (params, options) => client.call('info', params, options),
    /** That the service answers. */
    health: (params, options) => client.call('health', params, options),
    rpc: {
      /** This document. */
      discover: (params, options) => client.call('rpc.discover', params, options),
    },
    vm: {
      /** All VMs; for who is no administrator the own one. */
      list: (params, options) => client.call('vm.list', params, options),
      /** A VM. */
      get: (params, options) => client.call('vm.get', params, options),
      /** Makes a VM without starting it. */
      create: (params, options) => client.call('vm.create', params, options),
      /** Starts a VM, or wakes it. One that runs is left alone. */
      start: (params, options) => client.call('vm.start', params, options),
      /** Shuts a VM down. */
      stop: (params, options) => client.call('vm.stop', params, options),
      /** Stops a VM and starts it. */
      restart: (params, options) => client.call('vm.restart', params, options),
      /** Stops a VM and removes it with its disk. */
      delete: (params, options) => client.call('vm.delete', params, options),
      /** Pauses a running VM in memory: no CPU time until it is resumed. */
      suspend: (params, options) => client.call('vm.suspend', params, options),
      /** Suspends a VM and saves it to the disk: no memory and no process until it is resumed. */
      hibernate: (params, options) => client.call('vm.hibernate', params, options),
      /** Lets a VM that sleeps go on where it was. */
      resume: (params, options) => client.call('vm.resume', params, options),
      /** Weights and limits act at once; the guest sees other CPUs, memory and disk at its next start. */
      set_resources: (params, options) => client.call('vm.set_resources', params, options),
      /** Runs a command in the guest, waking it, and waits for the end; of each output the first MiB is kept. */
      exec: (params, options) => client.call('vm.exec', params, options),
      /** What the guest wrote to its console, as far as it is kept; what is not UTF-8 is U+FFFD. */
      logs: (params, options) => client.call('vm.logs', params, options),
      console: {
        /** A Unix socket that is the console, for root, administrators and the owner, while it is used. */
        endpoint: (params, options) => client.call('vm.console.endpoint', params, options),
      },
      /** Waits until a VM is in a state, or has failed. */
      wait: (params, options) => client.call('vm.wait', params, options),
      metrics: {
        /** What a VM used, in points of time. */
        query: (params, options) => client.call('vm.metrics.query', params, options),
      },
    },
    events: {
      /** Transitions of VMs, oldest first; for who is no administrator of the own one. */
      tail: (params, options) => client.call('events.tail', params, options),
    },
    user: {
      /** Makes and starts the VM of a user; who has one of the same spec gets it back, started. */
      provision: (params, options) => client.call('user.provision', params, options),
      /** Stops a user's VM and removes it with its disk. */
      deprovision: (params, options) => client.call('user.deprovision', params, options),
      /** A user's VM. */
      vm: (params, options) => client.call('user.vm', params, options),
      /** Starts a user's VM, or wakes it. */
      start: (params, options) => client.call('user.start', params, options),
      /** Suspends a user's VM. */
      stop: (params, options) => client.call('user.stop', params, options),
      /** All VMs that are users'; for who is no administrator the own one. */
      list: (params, options) => client.call('user.list', params, options),
    },
    image: {
      /** Images that are here, one for each reference. */
      list: (params, options) => client.call('image.list', params, options),
      /** Gets an image from its registry. */
      pull: (params, options) => client.call('image.pull', params, options),
      /** Makes an image of a tar: a root file system, an OCI layout, or what docker save writes. */
      import: (params, options) => client.call('image.import', params, options),
      /** Removes a reference and, with the last one, its image. */
      delete: (params, options) => client.call('image.delete', params, options),
    },
    job: {
      /** How far a job is, or how it ended. */
      get: (params, options) => client.call('job.get', params, options),
      /** Undoes what a job has done so far. */
      cancel: (params, options) => client.call('job.cancel', params, options),
    },
    audit: {
      /** Who changed what by which road, newest last; for who is no administrator of the own VM. */
      query: (params, options) => client.call('audit.query', params, options),
    },
  };
}
