/* SPDX-License-Identifier: Apache-2.0 */

/* user.provision … user.stop: a user has one VM, and need not know its name. */

#include "basic/string-util.h"
#include "rpcd/call.h"
#include "rpcd/jobs.h"
#include "rpcd/methods.h"
#include "rpcd/spec-params.h"
#include "shared/error-names.h"

static bool has_vm(Call *c) {
        const char *name;
        int code;

        if (c->vm_path)
                return true;
        code = rpc_error_code(ERROR_NO_SUCH_USER, &name);
        call_error(c, code, name, "User '%s' has no VM.", call_string(c, "user_id"));
        return false;
}

static void on_changed(Call *c, const sd_bus_error *e) {
        if (e)
                call_bus_error(c, e);
        else
                call_result_user_vm(c);
}

static void on_deprovisioned(Call *c, const sd_bus_error *e) {
        if (e)
                call_bus_error(c, e);
        else
                call_result(c, json_pack("{s:b, s:s, s:s}", "deleted", true, "user_id", call_string(c, "user_id"), "vm_id",
                                         c->vm_id));
}

static sd_bus_message *user_message(Call *c, const char *member) {
        sd_bus_message *m = call_manager_message(c, member);
        int r;

        if (!m)
                return NULL;
        r = sd_bus_message_append(m, "s", call_string(c, "user_id"));
        if (r < 0) {
                sd_bus_message_unref(m);
                call_errno(c, r);
                return NULL;
        }
        return m;
}

static void simple(Call *c, const char *member, job_done_t done) {
        sd_bus_message *m = has_vm(c) ? user_message(c, member) : NULL;

        if (m)
                jobs_call(c, m, done);
}

void method_user_vm(Call *c) {
        if (has_vm(c))
                call_result_user_vm(c);
}

void method_user_provision(Call *c) {
        sd_bus_message *m = user_message(c, "ProvisionUser");

        if (!m)
                return;
        if (spec_append(c, m, call_string(c, "name")) < 0)
                sd_bus_message_unref(m);
        else
                jobs_call(c, m, on_changed);
}

void method_user_deprovision(Call *c) {
        simple(c, "DeprovisionUser", on_deprovisioned);
}

void method_user_start(Call *c) {
        simple(c, "StartUser", on_changed);
}

void method_user_stop(Call *c) {
        simple(c, "StopUser", on_changed);
}
