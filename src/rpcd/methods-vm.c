/* SPDX-License-Identifier: Apache-2.0 */

/* vm.list … vm.delete: as hero_compute_manager had them. */

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "rpcd/call.h"
#include "rpcd/jobs.h"
#include "rpcd/methods.h"
#include "rpcd/replica.h"
#include "rpcd/spec-params.h"

static void list(Call *c, bool users_only) {
        _cleanup_free_ char *text = NULL;
        size_t n;
        int r;

        r = replica_list(c->rpcd->replica, c->caller->admin ? NULL : c->caller->user, users_only, &text, &n);
        if (r < 0)
                call_errno(c, r);
        else
                call_result_text(c, text, n);
}

void method_vm_list(Call *c) {
        list(c, false);
}

void method_user_list(Call *c) {
        list(c, true);
}

void method_vm_get(Call *c) {
        call_result_vm(c);
}

static void on_changed(Call *c, const sd_bus_error *e) {
        if (e)
                call_bus_error(c, e);
        else
                call_result_vm(c);
}

static void on_deleted(Call *c, const sd_bus_error *e) {
        if (e)
                call_bus_error(c, e);
        else
                call_result(c, json_pack("{s:b, s:s}", "deleted", true, "vm_id", c->vm_id));
}

void method_vm_create(Call *c) {
        sd_bus_message *m = call_manager_message(c, "CreateVM");
        int r;

        if (!m)
                return;
        r = sd_bus_message_append(m, "s", call_string(c, "name"));
        if (r < 0)
                call_errno(c, r);
        else
                r = spec_append(c, m, NULL);
        if (r < 0)
                sd_bus_message_unref(m);
        else
                jobs_call(c, m, on_changed);
}

static void simple(Call *c, const char *member, job_done_t done) {
        sd_bus_message *m = call_vm_message(c, member);

        if (m)
                jobs_call(c, m, done);
}

/* With the one flag there is: force. */
static void with_flags(Call *c, const char *member, job_done_t done) {
        sd_bus_message *m = call_vm_message(c, member);
        int r;

        if (!m)
                return;
        r = sd_bus_message_append(m, "t", (uint64_t) call_boolean(c, "force", false));
        if (r < 0) {
                sd_bus_message_unref(m);
                call_errno(c, r);
        } else
                jobs_call(c, m, done);
}

/* A VM that sleeps is woken, as "start" is what the seed has for both. */
void method_vm_start(Call *c) {
        ReplicaVm *vm = replica_find_path(c->rpcd->replica, c->vm_path);
        bool asleep = streq(vm->state, "suspended") || streq(vm->state, "hibernated");

        if (streq(vm->state, "running"))
                call_result_vm(c);
        else
                simple(c, asleep ? "Resume" : "Start", on_changed);
}

void method_vm_stop(Call *c) {
        ReplicaVm *vm = replica_find_path(c->rpcd->replica, c->vm_path);

        if (streq(vm->state, "stopped"))
                call_result_vm(c);
        else
                with_flags(c, "Stop", on_changed);
}

void method_vm_restart(Call *c) {
        simple(c, "Restart", on_changed);
}

void method_vm_delete(Call *c) {
        with_flags(c, "Delete", on_deleted);
}
