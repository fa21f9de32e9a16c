/* SPDX-License-Identifier: Apache-2.0 */

#include "rpcd/vm-model.h"

#include <stdio.h>

#include "basic/string-util.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

static const struct {
        const char *state, *folded;
} states[] = {
        { "running", "running" },       { "suspended", "stopped" },      { "hibernated", "stopped" },  { "stopped", "stopped" },
        { "pending", "created" },       { "provisioning", "created" },   { "configured", "created" },  { "starting", "running" },
        { "suspending", "running" },    { "resuming", "running" },       { "stopping", "running" },    { "hibernating", "stopped" },
        { "start-failed", "failed" },   { "failed", "failed" },
};

const char *vm_model_state(const char *state) {
        for (unsigned i = 0; i < ELEMENTSOF(states); i++)
                if (streq(states[i].state, state))
                        return states[i].folded;
        return "failed"; /* of a newer service: nothing to rely on */
}

static void add_member(JsonText *t, const char *key, const char *value) {
        json_text_key(t, key);
        json_text_string(t, isempty(value) ? NULL : value);
}

static void add_time(JsonText *t, const char *key, uint64_t usec) {
        json_text_key(t, key);
        json_text_time(t, usec);
}

/* Whole when it is, for who reads it into an integer as the seed's documents suggest. */
static void add_gib(JsonText *t, uint64_t bytes) {
        char buf[32];

        if (bytes % GIB == 0)
                json_text_unsigned(t, bytes / GIB);
        else {
                (void) snprintf(buf, sizeof(buf), "%.6g", (double) bytes / (double) GIB);
                json_text_raw(t, buf);
        }
}

static void add_resources(JsonText *t, const ReplicaVm *vm) {
        json_text_key(t, "resources");
        json_text_raw(t, "{");
        json_text_key(t, "cpu_count");
        json_text_unsigned(t, vm->cpus);
        json_text_key(t, "memory_mb");
        json_text_unsigned(t, vm->memory / MIB);
        json_text_key(t, "disk_gb");
        add_gib(t, vm->disk);
        json_text_raw(t, "}");
}

static void add_state(JsonText *t, const ReplicaVm *vm) {
        add_member(t, "state", vm_model_state(vm->state));
        add_member(t, "detail_state", vm->state);
}

static void add_times(JsonText *t, const ReplicaVm *vm) {
        add_time(t, "created_at", vm->created);
        add_time(t, "started_at", vm->started);
        add_time(t, "stopped_at", vm->stopped);
}

void vm_model_vm(JsonText *t, const ReplicaVm *vm) {
        json_text_raw(t, "{");
        add_member(t, "id", vm->id);
        add_member(t, "name", vm->name);
        add_state(t, vm);
        add_member(t, "image", vm->image);
        add_resources(t, vm);
        add_member(t, "mycelium_ip", vm->mycelium_ip);
        add_member(t, "tap_device", vm->tap_device);
        add_member(t, "ip_address", vm->ip_address);
        add_times(t, vm);
        json_text_raw(t, "}");
}

void vm_model_user_vm(JsonText *t, const ReplicaVm *vm) {
        json_text_raw(t, "{");
        add_member(t, "user_id", vm->user);
        add_member(t, "vm_id", vm->id);
        add_member(t, "vm_name", vm->name);
        add_member(t, "mycelium_ip", vm->mycelium_ip);
        add_state(t, vm);
        add_resources(t, vm);
        add_member(t, "image", vm->image);
        add_times(t, vm);
        add_time(t, "last_activity", vm->last_activity);
        json_text_raw(t, "}");
}
