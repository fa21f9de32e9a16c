/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* VMs as hero-computed last told them, kept by its ObjectManager signals, with their JSON texts ready to be sent: reading costs no
 * call. While the service is away (a restart), calls wait a few seconds for it and are then refused (ServiceUnavailable). */

#include <stddef.h>

#include "rpcd/rpcd.h"
#include <uthash.h>

typedef struct ReplicaVm {
        char *path, *name, *id, *user, *state, *image; /* user "": nobody's */
        char *mycelium_ip, *ip_address, *tap_device, *state_reason, *unit;
        uint64_t memory, disk; /* bytes */
        unsigned cpus;
        uint64_t created, started, stopped, last_activity; /* CLOCK_REALTIME µs, 0: never */
        unsigned pid;

        char *vm_json, *user_json; /* the data models of VM and User VM; made when first wanted, NULL before and after a change */
        size_t vm_json_size, user_json_size;
        UT_hash_handle hh_path, hh_id, hh_name, hh_user;
} ReplicaVm;

int replica_new(Rpcd *d, Replica **ret);
Replica *replica_free(Replica *r);

bool replica_is_ready(const Replica *r);
/* A call waits: hero-computed is started where it was stopped. */
void replica_need(Replica *r);
unsigned replica_n_vms(const Replica *r);

/* By id or name; by user; by object. NULL: there is none. Valid until the loop runs. */
ReplicaVm *replica_find(const Replica *r, const char *id_or_name);
ReplicaVm *replica_find_user(const Replica *r, const char *user);
ReplicaVm *replica_find_path(const Replica *r, const char *path);

/* NULL, 0 without memory. */
const char *replica_vm_json(ReplicaVm *vm, size_t *ret_size);
const char *replica_user_json(ReplicaVm *vm, size_t *ret_size);

/* Of all, or those of one user; sorted by name. A new JSON array. */
int replica_list(Replica *r, const char *user, bool users_only, char **ret, size_t *ret_size);

/* How many are in one of the four states of vm_model_state(). */
void replica_count(const Replica *r, const char *folded_state, unsigned *ret);
