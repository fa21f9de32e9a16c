/* SPDX-License-Identifier: Apache-2.0 */

/* vm.suspend, vm.hibernate, vm.resume, vm.set_resources. */

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "rpcd/call-util.h"
#include "rpcd/guests.h"
#include "rpcd/jobs.h"
#include "rpcd/spec-params.h"
#include "shared/bus-util.h"
#include "shared/error-names.h"

#define MIB UINT64_C(1048576)
/* Changes of properties come a few milliseconds after the answer of the call that made them. */
#define REPLICA_TIMEOUT (1 * USEC_PER_SEC)

static void on_job(Call *c, const sd_bus_error *error) {
        if (error)
                call_bus_error(c, error);
        else
                call_result_vm(c);
}

static void call_job(Call *c, const char *member) {
        sd_bus_message *m = call_vm_message(c, member);

        if (m)
                jobs_call(c, m, on_job);
}

/* vm.suspend (ACCESS_VM, changes): "Pauses a running VM in memory: no CPU time until it is resumed"
 *   vm_id  string, required
 *   wait   boolean: "false: answer with the job at once (true)"
 * → Vm (or Job, with "wait": false) */
void method_vm_suspend(Call *c) {
        call_job(c, "Suspend");
}

/* vm.hibernate (ACCESS_VM, changes): "Suspends a VM and saves it to the disk: no memory and no process until it is resumed"; as
 * vm.suspend. */
void method_vm_hibernate(Call *c) {
        call_job(c, "Hibernate");
}

/* vm.resume (ACCESS_VM, changes): "Lets a VM that sleeps go on where it was"; as vm.suspend. */
void method_vm_resume(Call *c) {
        call_job(c, "Resume");
}

typedef struct ResourcesCall {
        WaitingCall waiting; /* first */
        FeedListener listener;
        sd_bus_slot *slot;
        sd_event_source *look, *timer;
        uint64_t cpus, memory, disk; /* 0: not asked for */
        bool done;
} ResourcesCall;

static void resources_call_free(WaitingCall *w) {
        ResourcesCall *x = (ResourcesCall *) w;

        waiting_end(w);
        feed_remove(w->call->rpcd->guests->feed, &x->listener);
        sd_bus_slot_unref(x->slot);
        sd_event_source_disable_unref(x->look);
        sd_event_source_disable_unref(x->timer);
        free(x);
}

static bool is_known(const ResourcesCall *x) {
        const ReplicaVm *vm = replica_find_path(x->waiting.call->rpcd->replica, x->waiting.call->vm_path);

        return !vm || ((x->cpus == 0 || vm->cpus == x->cpus) && (x->memory == 0 || vm->memory == x->memory) &&
                       (x->disk == 0 || vm->disk == x->disk));
}

static void answer(ResourcesCall *x) {
        call_result_vm(waiting_take(&x->waiting));
}

static int on_look(sd_event_source *source, void *userdata) {
        ResourcesCall *x = userdata;

        if (x->done && is_known(x))
                answer(x);
        return 0;
}

static int on_timeout(sd_event_source *source, uint64_t usec, void *userdata) {
        answer(userdata); /* somebody else has changed it meanwhile, or hero-computed is gone */
        return 0;
}

/* The replica may hear of it after us. */
static void on_changed(const char *vm_path, void *userdata) {
        ResourcesCall *x = userdata;

        if (streq_ptr(vm_path, x->waiting.call->vm_path))
                (void) sd_event_source_set_enabled(x->look, SD_EVENT_ONESHOT);
}

static int on_set(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        const sd_bus_error *e = sd_bus_message_get_error(reply);
        ResourcesCall *x = userdata;
        int r;

        x->slot = sd_bus_slot_unref(x->slot);
        x->done = true;
        if (e)
                call_bus_error(waiting_take(&x->waiting), e);
        else if (is_known(x))
                answer(x);
        else {
                r = sd_event_add_time_relative(x->waiting.call->rpcd->event, &x->timer, CLOCK_MONOTONIC, REPLICA_TIMEOUT, 0, on_timeout,
                                               x);
                if (r < 0)
                        call_errno(waiting_take(&x->waiting), r);
        }
        return 0;
}

/* m is taken over. */
static int set_resources(ResourcesCall *x, sd_bus_message *m) {
        sd_event *event = x->waiting.call->rpcd->event;
        int r;

        r = sd_event_add_defer(event, &x->look, on_look, x);
        if (r >= 0)
                r = sd_event_source_set_enabled(x->look, SD_EVENT_OFF);
        if (r >= 0)
                r = sd_bus_call_async(x->waiting.call->rpcd->bus, &x->slot, m, on_set, x, 0);
        sd_bus_message_unref(m);
        return r;
}

/* vm.set_resources (ACCESS_VM, changes): "Changes what a VM may use. Weights and limits act at once, the guest sees other CPUs, memory
 * and disk at its next start"
 *   vm_id         string, required
 *   cpu_count     integer (1 … 64): "CPUs"
 *   memory_mb     integer (64 … 1048576): "Memory in MiB"
 *   disk_gb       number (… 15360): "Disk in GiB; it only grows"
 *   cpu_weight    integer (1 … 10000): "Share of CPU time where it is short"
 *   io_weight     integer (1 … 10000): "Share of disk time"
 *   receive_max   integer (-1 … 2^40): "Bytes a second that it may receive, 1024 or more; -1: no limit"
 *   transmit_max  integer (-1 … 2^40): "Bytes a second that it may send"
 * → Vm */
void method_vm_set_resources(Call *c) {
        sd_bus_message *m = call_vm_message(c, "SetResources");
        ResourcesCall *x;
        int r;

        if (!m)
                return;
        if (resources_append(c, m) < 0) {
                sd_bus_message_unref(m);
                return;
        }
        x = new0(ResourcesCall, 1);
        if (!x || !waiting_begin(&x->waiting, WAITING_RESOURCES, c, resources_call_free)) {
                sd_bus_message_unref(m);
                if (!x)
                        call_errno(c, -ENOMEM);
                free(x);
                return;
        }
        x->listener = (FeedListener){ .changed = on_changed, .userdata = x };
        feed_add(c->rpcd->guests->feed, &x->listener);
        x->cpus = (uint64_t) call_integer(c, "cpu_count", 0);
        x->memory = (uint64_t) call_integer(c, "memory_mb", 0) * MIB;
        x->disk = ((uint64_t) (call_number(c, "disk_gb", 0) * 1024 * (double) MIB) + MIB - 1) / MIB * MIB;
        r = set_resources(x, m);
        if (r < 0)
                call_errno(waiting_take(&x->waiting), r);
}
