/* SPDX-License-Identifier: Apache-2.0 */

#include "rpcd/call.h"

#include <stdarg.h>
#include <stdio.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "rpcd/replica.h"
#include "rpcd/request.h"
#include "shared/bus-util.h"
#include "shared/error-names.h"

json_t *call_value(const Call *c, const char *name) {
        return json_object_get(c->params, name);
}

const char *call_string(const Call *c, const char *name) {
        return json_string_value(call_value(c, name));
}

int64_t call_integer(const Call *c, const char *name, int64_t fallback) {
        json_t *v = call_value(c, name);

        return v ? json_integer_value(v) : fallback;
}

double call_number(const Call *c, const char *name, double fallback) {
        json_t *v = call_value(c, name);

        return v ? json_number_value(v) : fallback;
}

bool call_boolean(const Call *c, const char *name, bool fallback) {
        json_t *v = call_value(c, name);

        return v ? json_is_true(v) : fallback;
}

void call_result(Call *c, json_t *result) {
        _cleanup_free_ char *text = NULL;

        if (result)
                text = json_dumps(result, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
        json_decref(result);
        if (text)
                call_result_text(c, text, strlen(text));
        else
                call_errno(c, -ENOMEM);
}

void call_result_text(Call *c, const char *json, size_t size) {
        JsonText t = {};

        if (c->id) {
                json_text_raw(&t, "{\"jsonrpc\":\"2.0\",\"result\":");
                json_text_add(&t, json, size);
                request_add_id(&t, c->id);
        }
        request_answered(c, &t, NULL, NULL);
}

void call_error(Call *c, int code, const char *name, const char *format, ...) {
        _cleanup_free_ char *text = NULL;
        JsonText t = {};
        va_list ap;

        va_start(ap, format);
        if (vasprintf(&text, format, ap) < 0)
                text = NULL;
        va_end(ap);
        if (c->id)
                request_error_text(&t, code, name, strna(text), c->id);
        request_answered(c, &t, name, strna(text));
}

void call_errno(Call *c, int error) {
        const char *bus_name = error_name_from_errno(error), *name;
        int code = rpc_error_code(bus_name, &name);

        if (startswith(bus_name, HERO_ERROR))
                call_error(c, code, name, "%s", strerror(error < 0 ? -error : error));
        else
                call_error(c, RPC_INTERNAL_ERROR, "InternalError", "%s", strerror(error < 0 ? -error : error));
}

void call_bus_error(Call *c, const sd_bus_error *e) {
        const char *name;
        int code = rpc_error_code(e->name, &name);

        call_error(c, code, name, "%s", strempty(e->message));
}

/* The rest of the 128 is for what is not sent from here: the replica, commands, consoles, pages. */
#define BUS_CALLS_MAX 64u

static TAILQ_HEAD(, Call) queue = TAILQ_HEAD_INITIALIZER(queue);
static unsigned n_sent;

static void send_queued(void);

static int on_reply(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        Call *c = userdata;

        c->sent = false;
        n_sent--;
        send_queued();
        return c->callback(reply, c, error);
}

static void send_now(Call *c, sd_bus_message *m) {
        int r;

        c->slot = sd_bus_slot_unref(c->slot);
        r = sd_bus_call_async(c->rpcd->bus, &c->slot, m, on_reply, c, c->timeout);
        sd_bus_message_unref(m);
        if (r < 0) {
                call_errno(c, r);
                return;
        }
        c->sent = true;
        n_sent++;
}

static void send_queued(void) {
        Call *c;

        while (n_sent < BUS_CALLS_MAX && (c = TAILQ_FIRST(&queue))) {
                TAILQ_REMOVE(&queue, c, queue);
                send_now(c, TAKE_PTR(c->queued));
        }
}

void call_leave_bus(Call *c) {
        if (c->queued) {
                TAILQ_REMOVE(&queue, c, queue);
                c->queued = sd_bus_message_unref(c->queued);
        }
        if (c->sent) {
                c->sent = false;
                n_sent--;
        }
}

void call_bus(Call *c, sd_bus_message *m, sd_bus_message_handler_t callback, uint64_t timeout_usec) {
        c->callback = callback;
        c->timeout = timeout_usec;
        if (n_sent < BUS_CALLS_MAX) {
                send_now(c, m);
                return;
        }
        c->queued = m;
        TAILQ_INSERT_TAIL(&queue, c, queue);
}

bool call_failed(Call *c, sd_bus_message *reply) {
        const sd_bus_error *e = sd_bus_message_get_error(reply);

        if (e)
                call_bus_error(c, e);
        return e;
}

static sd_bus_message *message_new(Call *c, const char *path, const char *interface, const char *member) {
        sd_bus_message *m = NULL;
        int r;

        r = sd_bus_message_new_method_call(c->rpcd->bus, &m, COMPUTE_BUS_NAME, path, interface, member);
        if (r < 0) {
                call_errno(c, r);
                return NULL;
        }
        return m;
}

sd_bus_message *call_vm_message(Call *c, const char *member) {
        return message_new(c, c->vm_path, COMPUTE_VM_INTERFACE, member);
}

sd_bus_message *call_manager_message(Call *c, const char *member) {
        return message_new(c, COMPUTE_OBJECT, COMPUTE_MANAGER_INTERFACE, member);
}

static void result_model(Call *c, const char *(*model)(ReplicaVm *vm, size_t *ret_size)) {
        ReplicaVm *vm = c->vm_path ? replica_find_path(c->rpcd->replica, c->vm_path) : NULL;
        const char *s;
        size_t n;
        int code;

        if (!vm) {
                code = rpc_error_code(ERROR_NO_SUCH_VM, &s);
                call_error(c, code, s, "There is no VM '%s' any more.", strna(c->vm_name));
                return;
        }
        s = model(vm, &n);
        if (s)
                call_result_text(c, s, n);
        else
                call_errno(c, -ENOMEM);
}

void call_result_vm(Call *c) {
        result_model(c, replica_vm_json);
}

void call_result_user_vm(Call *c) {
        result_model(c, replica_user_json);
}
