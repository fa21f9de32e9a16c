/* SPDX-License-Identifier: Apache-2.0 */

/* audit.query: what heroctl audit shows. It reads the journal, which is on disk and may have to be waited for, so heroctl does it. */

#include <inttypes.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "basic/time-util.h"
#include "rpcd/call-util.h"
#include "rpcd/call.h"
#include "rpcd/methods.h"
#include "rpcd/replica.h"
#include "shared/child.h"
#include "shared/error-names.h"
#include "shared/program-path.h"

#define LIMIT_DEFAULT 100
#define READ_TIMEOUT (30 * USEC_PER_SEC)
#define CHILDREN_MAX 8u
#define CHILDREN_USERS_MAX 6u /* of them of those who are no administrators, of whom each may have one */
/* Of 1,000 entries, whose every field may be as long as it gets and of characters that JSON writes as six. */
#define OUTPUT_MAX (16u << 20)

static Call *reading[CHILDREN_MAX];

/* heroctl's names are those of the journal and its units those of the bus. */
static json_t *entry_from(json_t *e) {
        static const char *const fields[][2] = {
                { "timestamp", "time" }, { "road", "road" }, { "uid", "uid" },      { "subject", "subject" }, { "action", "action" },
                { "vm", "vm" },          { "user_id", "user" }, { "image", "image" }, { "result", "result" },   { "error", "error" },
        };
        json_t *v = json_object();

        for (size_t i = 0; v && i < ELEMENTSOF(fields); i++) {
                json_t *value = json_object_get(e, fields[i][1]);

                if (json_object_set_new(v, fields[i][0], value ? json_incref(value) : json_null()) < 0) {
                        json_decref(v);
                        return NULL;
                }
        }
        if (v && json_object_set_new(v, "duration_ms",
                                     json_real((double) json_integer_value(json_object_get(e, "duration-usec")) / 1000)) < 0) {
                json_decref(v);
                return NULL;
        }
        return v;
}

static json_t *entries_from(const char *output) {
        json_t *all = json_loads(output, 0, NULL), *entries = json_is_array(all) ? json_array() : NULL, *e;
        size_t i;

        json_array_foreach(all, i, e)
                if (entries && json_array_append_new(entries, entry_from(e)) < 0) {
                        json_decref(entries);
                        entries = NULL;
                }
        json_decref(all);
        return entries;
}

static void fail(Call *c, const char *bus_name, const char *text) {
        call_bus_error(c, &SD_BUS_ERROR_MAKE_CONST(bus_name, text));
}

static void on_read(int status, const char *output, void *userdata) {
        _cleanup_free_ char *sentence = NULL;
        Call *c = userdata;
        json_t *entries;

        for (unsigned i = 0; i < CHILDREN_MAX; i++)
                if (reading[i] == c)
                        reading[i] = NULL;
        if (status == 0) {
                entries = entries_from(output);
                if (entries)
                        call_result(c, entries);
                else
                        fail(c, SD_BUS_ERROR_FAILED, "What heroctl audit wrote cannot be read.");
                return;
        }
        sentence = strndup(output, MIN2(strcspn(output, "\n"), 300u));
        if (sentence)
                utf8_sanitize(sentence);
        if (status == 2) /* heroctl(1): wrong usage, and what is not ours are the times */
                fail(c, ERROR_INVALID_ARGUMENT, strempty(sentence));
        else if (status == -ETIME)
                fail(c, SD_BUS_ERROR_TIMEOUT, "Reading the journal takes too long; ask for less.");
        else
                fail(c, SD_BUS_ERROR_FAILED, isempty(sentence) ? "The journal cannot be read." : sentence);
}

static int add(char ***argv, const char *option, const char *value) {
        _cleanup_free_ char *word = NULL;

        if (!value)
                return 0;
        word = strprintf("--%s=%s", option, value);
        return word ? strv_extend(argv, word) : -ENOMEM;
}

/* The journal has names: those of VMs that are gone by now are known to nobody else. */
static const char *vm_name(const Call *c) {
        const char *given = call_string(c, "vm_id");
        const ReplicaVm *vm = given ? replica_find(c->rpcd->replica, given) : NULL;

        return vm ? vm->name : given;
}

static int command_line(const Call *c, char ***ret) {
        _cleanup_strv_free_ char **argv = NULL;
        _cleanup_free_ char *heroctl = command_path("heroctl"), *limit = NULL;
        int r;

        limit = strprintf("%" PRIi64, call_integer(c, "limit", LIMIT_DEFAULT));
        if (!heroctl || !limit)
                return -ENOMEM;
        r = strv_extend(&argv, heroctl);
        if (r >= 0)
                r = strv_extend(&argv, "audit");
        if (r >= 0)
                r = strv_extend(&argv, "--json=short");
        if (r >= 0)
                r = add(&argv, "lines", limit);
        /* Who is no administrator sees what was done to the own VM. */
        if (r >= 0)
                r = add(&argv, "user", c->caller->admin ? call_string(c, "user_id") : c->caller->user);
        if (r >= 0)
                r = add(&argv, "vm", vm_name(c));
        if (r >= 0)
                r = add(&argv, "action", call_string(c, "action"));
        if (r >= 0)
                r = add(&argv, "since", call_string(c, "since"));
        if (r >= 0)
                r = add(&argv, "until", call_string(c, "until"));
        if (r >= 0)
                *ret = TAKE_PTR(argv);
        return r;
}

/* Where c may be; NULL: nowhere now. */
static Call **find_place(const Call *c) {
        unsigned users = 0;
        Call **free_place = NULL;

        for (unsigned i = 0; i < CHILDREN_MAX; i++) {
                if (!reading[i])
                        free_place = reading + i;
                else if (!reading[i]->caller->admin) {
                        if (!c->caller->admin && caller_is_same(reading[i]->caller, c->caller))
                                return NULL;
                        users++;
                }
        }
        return c->caller->admin || users < CHILDREN_USERS_MAX ? free_place : NULL;
}

void method_audit_query(Call *c) {
        const char *user = call_string(c, "user_id");
        _cleanup_strv_free_ char **argv = NULL;
        Call **place;
        Child *child;
        int r;

        if (!c->caller->admin && user && !streq_ptr(user, c->caller->user)) {
                call_error(c, RPC_PERMISSION_DENIED, "PermissionDenied", "What was done to another user's VM is for administrators.");
                return;
        }
        place = find_place(c);
        if (!place) {
                fail(c, ERROR_LIMIT_EXCEEDED, "You or too many others read the journal already, try again later.");
                return;
        }
        r = command_line(c, &argv);
        if (r >= 0)
                r = child_run(c->rpcd->event, argv, -EBADF, READ_TIMEOUT, on_read, c, &child);
        if (r < 0) {
                call_errno(c, r);
                return;
        }
        child_set_output_max(child, OUTPUT_MAX);
        *place = c;
}
