/* SPDX-License-Identifier: Apache-2.0 */

#include "rpcd/rpc.h"

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "rpcd/call-util.h"
#include "rpcd/call.h"
#include "rpcd/params.h"
#include "rpcd/replica.h"
#include "rpcd/request.h"
#include "shared/audit.h"
#include "shared/error-names.h"
#include "shared/log.h"

#define CALLS_MAX 4096u                       /* under way, of all requests */
#define CALLS_USERS_MAX 3072u                 /* of them, of those who are no administrators … */
#define CALLS_USER_MAX 200u                   /* … and of each of them: those whose requests are gone among them */
#define ID_MAX 256                            /* bytes of an id that is a string, as it is kept as long as the call takes */
#define WAITING_MAX 1024u                     /* for hero-computed */
#define WAIT_TIMEOUT (10 * USEC_PER_SEC)      /* a restart with 1,000 VMs takes one */

struct RpcRequest {
        Rpcd *rpcd;
        Caller *caller;
        const char *road, *namespace;
        rpc_done_t done;
        void *userdata;
        char **answers;
        size_t *sizes;
        char *one_answer;       /* what the two point at for a single call */
        size_t one_size;
        unsigned n, n_left;
        bool batch, abandoned, entered; /* entered: rpc_handle() is not over */
};

static TAILQ_HEAD(, Call) waiting = TAILQ_HEAD_INITIALIZER(waiting);
static TAILQ_HEAD(, Call) calls = TAILQ_HEAD_INITIALIZER(calls);
static unsigned n_waiting, n_calls;
static sd_event_source *wait_timer;

void request_add_id(JsonText *t, json_t *id) {
        _cleanup_free_ char *text = NULL;

        json_text_raw(t, ",\"id\":");
        if (json_is_integer(id))
                json_text_integer(t, json_integer_value(id));
        else if (json_is_string(id) && strlen(json_string_value(id)) == json_string_length(id))
                json_text_string(t, json_string_value(id));
        else if (!id || json_is_null(id))
                json_text_raw(t, "null");
        else {
                text = json_dumps(id, JSON_COMPACT | JSON_ENCODE_ANY);
                json_text_raw(t, text ?: "null");
        }
        json_text_raw(t, "}");
}

static const char *standard_message(int code) {
        switch (code) {
        case RPC_PARSE_ERROR:
                return "Parse error";
        case RPC_INVALID_REQUEST:
                return "Invalid Request";
        case RPC_METHOD_NOT_FOUND:
                return "Method not found";
        case RPC_INVALID_PARAMS:
                return "Invalid params";
        case RPC_INTERNAL_ERROR:
                return "Internal error";
        default:
                return NULL;
        }
}

void request_error_text(JsonText *t, int code, const char *name, const char *text, json_t *id) {
        const char *message = standard_message(code);

        json_text_raw(t, "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":");
        json_text_integer(t, code);
        json_text_key(t, "message");
        json_text_string(t, message ?: text);
        json_text_raw(t, ",\"data\":{");
        json_text_key(t, "name");
        json_text_string(t, name);
        if (message) {
                json_text_key(t, "detail");
                json_text_string(t, text);
        }
        json_text_raw(t, "}}");
        request_add_id(t, id);
}

static void request_free(RpcRequest *q) {
        if (q->batch) {
                for (unsigned i = 0; i < q->n; i++)
                        free(q->answers[i]);
                free(q->answers);
                free(q->sizes);
        } else
                free(q->one_answer);
        caller_unref(q->caller);
        free(q);
}

/* The answers, in the order of the calls, without those of notifications. */
static char *join(RpcRequest *q, size_t *ret_size) {
        JsonText t = {};

        if (!q->batch) {
                *ret_size = q->one_size;
                return TAKE_PTR(q->one_answer);
        }
        for (unsigned i = 0; i < q->n; i++)
                if (q->answers[i]) {
                        json_text_raw(&t, t.n == 0 ? "[" : ",");
                        json_text_add(&t, q->answers[i], q->sizes[i]);
                }
        *ret_size = 0;
        if (t.n == 0)
                return NULL;
        json_text_raw(&t, "]");
        return json_text_take(&t, ret_size);
}

static void request_end(RpcRequest *q) {
        size_t size;
        char *text;

        if (!q->abandoned) {
                text = join(q, &size);
                q->done(text, size, q->userdata);
        }
        request_free(q);
}

static void set_answer(RpcRequest *q, unsigned i, JsonText *t) {
        if (t->n > 0 || t->failed)
                q->answers[i] = json_text_take(t, q->sizes + i);
        q->n_left--;
}

static void call_free(Call *c) {
        TAILQ_REMOVE(&calls, c, calls);
        n_calls--;
        call_leave_bus(c);
        json_decref(c->params);
        json_decref(c->id);
        caller_unref(c->caller);
        sd_bus_slot_unref(c->slot);
        free(c->vm_path);
        free(c->vm_id);
        free(c->vm_name);
        free(c->vm_user);
        free(c);
}

static void audit(const Call *c, const char *error, const char *text) {
        /* What a job made has a name only now. */
        const ReplicaVm *vm = c->vm_path && !c->vm_name ? replica_find_path(c->rpcd->replica, c->vm_path) : NULL;
        const Caller *who = c->caller;

        audit_log(&(AuditEntry) {
                          .road = c->road,
                          .uid = who ? who->uid : UID_INVALID,
                          .subject = !who ? NULL : who->subject ?: who->user,
                          .action = c->method->name,
                          .vm = vm ? vm->name : c->vm_name ?: call_string(c, "vm_id") ?: call_string(c, "name"),
                          .user = c->vm_user ?: call_string(c, "user_id"),
                          .image = call_string(c, "reference"),
                          .error = error,
                          .text = text,
                          .duration = now_usec(CLOCK_MONOTONIC) - c->begun,
                  });
}

void request_answered(Call *c, JsonText *t, const char *error, const char *text) {
        RpcRequest *q = c->request;

        if (c->method->changes)
                audit(c, error, text);
        set_answer(q, c->index, t);
        call_free(c);
        if (q->n_left == 0 && !q->entered)
                request_end(q);
}

/* Who may, before the handler: the object that access depends on is looked up here, and what is not there is told to
 * administrators and to those who ask for their own. */

static bool own(const Call *c, const char *user) {
        return c->caller && c->caller->user && !isempty(user) && streq(c->caller->user, user);
}

static void refuse(Call *c) {
        if (!c->caller || (!c->caller->admin && !c->caller->user))
                call_error(c, RPC_PERMISSION_DENIED, "PermissionDenied", "%s is for users who can log in to this host (and for accounts of services where SystemUsers= in rpc.conf says so).",
                           c->method->name);
        else
                call_error(c, RPC_PERMISSION_DENIED, "PermissionDenied",
                           c->method->access == ACCESS_ADMIN ? "%s is for administrators." :
                           "%s of another user's VM is for administrators.", c->method->name);
}

static int remember_vm(Call *c, const ReplicaVm *vm) {
        c->vm_path = strdup(vm->path);
        c->vm_id = strdup(vm->id);
        c->vm_name = strdup(vm->name);
        c->vm_user = strdup(strempty(vm->user));
        return c->vm_path && c->vm_id && c->vm_name && c->vm_user ? 0 : -ENOMEM;
}

/* True: go on. Else it has been answered. */
static bool vm_is_allowed(Call *c) {
        const char *id = call_string(c, "vm_id"), *name;
        ReplicaVm *vm;
        int code;

        if (!id)
                return true; /* optional there, and the handler shows the own only */
        vm = replica_find(c->rpcd->replica, id);
        if (!vm) {
                code = rpc_error_code(ERROR_NO_SUCH_VM, &name);
                call_error(c, code, name, "There is no VM '%s'.", id);
                return false;
        }
        if (!c->caller->admin && !own(c, vm->user)) {
                refuse(c);
                return false;
        }
        if (remember_vm(c, vm) < 0) {
                call_errno(c, -ENOMEM);
                return false;
        }
        return true;
}

static bool user_is_allowed(Call *c) {
        const char *user = call_string(c, "user_id");
        ReplicaVm *vm;

        if (!c->caller->admin && !own(c, user)) {
                refuse(c);
                return false;
        }
        vm = replica_find_user(c->rpcd->replica, user);
        if (vm && remember_vm(c, vm) < 0) {
                call_errno(c, -ENOMEM);
                return false;
        }
        return true;
}

static bool is_allowed(Call *c) {
        if (c->method->access == ACCESS_ANYBODY)
                return true;
        if (!c->caller || (!c->caller->admin && (c->method->access == ACCESS_ADMIN || !c->caller->user))) {
                refuse(c);
                return false;
        }
        if (c->method->access == ACCESS_VM)
                return vm_is_allowed(c);
        return c->method->access != ACCESS_USER || user_is_allowed(c);
}

static void call_begin(Call *c) {
        if (is_allowed(c))
                c->method->handler(c);
}

/* Waiting for hero-computed, which is bus-activated or being restarted. */

static void refuse_waiting(const char *text) {
        Call *c;

        while ((c = TAILQ_FIRST(&waiting))) {
                TAILQ_REMOVE(&waiting, c, waiting);
                n_waiting--;
                call_error(c, RPC_SERVICE_UNAVAILABLE, "ServiceUnavailable", "%s", text);
        }
}

static int on_wait_timeout(sd_event_source *s, uint64_t usec, void *userdata) {
        refuse_waiting("hero-computed does not answer; see `systemctl status hero-computed`.");
        return 0;
}

static void call_wait(Call *c) {
        if (n_waiting >= WAITING_MAX) {
                call_error(c, RPC_SERVICE_UNAVAILABLE, "ServiceUnavailable", "hero-computed does not answer, and %u calls wait for it.",
                           n_waiting);
                return;
        }
        if (TAILQ_EMPTY(&waiting)) {
                wait_timer = sd_event_source_disable_unref(wait_timer);
                (void) sd_event_add_time_relative(c->rpcd->event, &wait_timer, CLOCK_MONOTONIC, WAIT_TIMEOUT, 0, on_wait_timeout,
                                                  NULL);
        }
        TAILQ_INSERT_TAIL(&waiting, c, waiting);
        n_waiting++;
        replica_need(c->rpcd->replica);
}

void rpc_ready(Rpcd *d) {
        wait_timer = sd_event_source_disable_unref(wait_timer);
        for (unsigned n = n_waiting; n > 0 && replica_is_ready(d->replica); n--) {
                Call *c = TAILQ_FIRST(&waiting);

                TAILQ_REMOVE(&waiting, c, waiting);
                n_waiting--;
                call_begin(c);
        }
}

void rpc_stop(Rpcd *d) {
        wait_timer = sd_event_source_disable_unref(wait_timer);
        refuse_waiting("hero-rpcd ends.");
}

/* From JSON to calls. */

static void answer_error(RpcRequest *q, unsigned i, int code, const char *name, const char *text, json_t *id) {
        JsonText t = {};

        request_error_text(&t, code, name, text, id);
        set_answer(q, i, &t);
}

/* my_hypervisor's programs name a VM by "id" or "name". */
static void translate_line(const Method *m, json_t *params) {
        static const char *const aliases[] = { "id", "name" };

        if (!json_is_object(params) || json_object_get(params, "vm_id"))
                return;
        for (unsigned i = 0; i < m->n_params; i++)
                if (streq(m->params[i].name, "vm_id"))
                        for (unsigned k = 0; k < ELEMENTSOF(aliases); k++) {
                                json_t *v = json_object_get(params, aliases[k]);

                                if (v && !json_object_get(params, "vm_id")) {
                                        (void) json_object_set(params, "vm_id", v);
                                        (void) json_object_del(params, aliases[k]);
                                }
                        }
}

static bool id_is_valid(const json_t *id) {
        return !id || (json_is_string(id) && json_string_length(id) <= ID_MAX) || json_is_number(id) || json_is_null(id);
}

static Call *call_new(RpcRequest *q, unsigned i, const Method *m, json_t *params, json_t *id) {
        Call *c = new(Call, 1);

        if (!c)
                return NULL;
        *c = (Call) {
                .rpcd = q->rpcd,
                .method = m,
                .params = params,
                .caller = q->caller ? caller_ref(q->caller) : NULL,
                .road = q->road,
                .begun = now_usec(CLOCK_MONOTONIC),
                .request = q,
                .index = i,
                .id = json_incref(id),
        };
        TAILQ_INSERT_TAIL(&calls, c, calls);
        n_calls++;
        return c;
}

/* So that nobody keeps the others out. */
static bool are_too_many(const Call *c) {
        unsigned n = 0;
        const Call *o;

        if (n_calls > CALLS_MAX || c->method->access == ACCESS_ANYBODY || !c->caller || c->caller->admin)
                return n_calls > CALLS_MAX;
        if (n_calls > CALLS_USERS_MAX)
                return true;
        if (n_calls > CALLS_USER_MAX)
                TAILQ_FOREACH(o, &calls, calls)
                        n += o->caller && caller_is_same(o->caller, c->caller);
        return n > CALLS_USER_MAX;
}

static const Method *find_method(const RpcRequest *q, const char *name) {
        if (!isempty(q->namespace)) {
                name = startswith(name, q->namespace) ?: name;
                if (streq(name, "vm.remove"))
                        name = "vm.delete";
                else if (streq(name, "vm.status"))
                        name = "vm.get";
                else if (streq(name, "vm.events.tail"))
                        name = "events.tail";
        }
        return method_find(name);
}

static void begin(RpcRequest *q, unsigned i, json_t *object) {
        json_t *id = json_object_get(object, "id"), *params = json_object_get(object, "params"), *checked;
        const char *version = json_string_value(json_object_get(object, "jsonrpc")),
                   *name = json_string_value(json_object_get(object, "method"));
        _cleanup_free_ char *why = NULL;
        const Method *m;
        Call *c;
        int r;

        if (!json_is_object(object) || !version || !streq(version, "2.0") || !name || !id_is_valid(id) ||
            (params && !json_is_object(params) && !json_is_array(params))) {
                answer_error(q, i, RPC_INVALID_REQUEST, "InvalidRequest",
                             "A request is an object with \"jsonrpc\": \"2.0\", a \"method\", an \"id\" that is a string (of at most "
                             STRINGIFY(ID_MAX) " bytes), a number or null, and \"params\" that are an object or an array.",
                             id_is_valid(id) ? id : NULL);
                return;
        }
        m = find_method(q, name);
        if (m && !isempty(q->namespace))
                translate_line(m, params);
        r = m ? params_check(m, params, &checked, &why) : -ENOENT;
        if (r < 0) {
                if (!id)
                        q->n_left--; /* a notification is not answered, whatever is wrong with it */
                else if (r == -ENOENT)
                        answer_error(q, i, RPC_METHOD_NOT_FOUND, "MethodNotFound", "rpc.discover lists the methods.", id);
                else
                        answer_error(q, i, r == -EINVAL ? RPC_INVALID_PARAMS : RPC_INTERNAL_ERROR,
                                     r == -EINVAL ? "InvalidParams" : "InternalError", why ?: strerror(-r), id);
                return;
        }
        c = call_new(q, i, m, checked, id);
        if (!c) {
                json_decref(checked);
                answer_error(q, i, RPC_INTERNAL_ERROR, "InternalError", strerror(ENOMEM), id);
        } else if (are_too_many(c))
                call_error(c, RPC_SERVICE_UNAVAILABLE, "ServiceUnavailable", "Too many calls are under way.");
        else if (m->access != ACCESS_ANYBODY && c->caller && (c->caller->admin || c->caller->user) &&
                 !replica_is_ready(q->rpcd->replica))
                call_wait(c);
        else
                call_begin(c);
}

/* jansson would go down 2,048 levels; a request has few. */
static bool is_too_deep(const char *s, size_t n) {
        unsigned depth = 0;
        bool quoted = false;

        for (size_t i = 0; i < n; i++)
                if (quoted) {
                        if (s[i] == '\\')
                                i++;
                        else if (s[i] == '"')
                                quoted = false;
                } else if (s[i] == '"')
                        quoted = true;
                else if (s[i] == '{' || s[i] == '[') {
                        if (++depth > RPC_DEPTH_MAX)
                                return true;
                } else if ((s[i] == '}' || s[i] == ']') && depth > 0)
                        depth--;
        return false;
}

static json_t *parse(const char *body, size_t size, char **ret_why) {
        json_error_t e;
        json_t *v;

        if (is_too_deep(body, size)) {
                *ret_why = strprintf("It is nested more than %u levels deep.", RPC_DEPTH_MAX);
                return NULL;
        }
        v = json_loadb(body, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
        if (!v)
                *ret_why = strprintf("Line %i, column %i: %s.", e.line, e.column, utf8_sanitize(e.text));
        return v;
}

static int batch_new(RpcRequest *q, unsigned n) {
        q->batch = true;
        q->answers = new0(char *, n);
        q->sizes = new0(size_t, n);
        q->n = q->n_left = q->answers && q->sizes ? n : 0;
        return q->n > 0 ? 0 : -ENOMEM;
}

static void one_error(RpcRequest *q, int code, const char *name, const char *text) {
        answer_error(q, 0, code, name, text, NULL);
}

static int begin_all(RpcRequest *q, json_t *v) {
        _cleanup_free_ char *why = NULL;
        size_t n = json_array_size(v);
        int r;

        if (!json_is_array(v))
                begin(q, 0, v);
        else if (n == 0)
                one_error(q, RPC_INVALID_REQUEST, "InvalidRequest", "A batch has at least one request.");
        else if (n > RPC_BATCH_MAX) {
                why = strprintf("A batch has at most %u requests, and this has %zu.", RPC_BATCH_MAX, n);
                one_error(q, RPC_INVALID_REQUEST, "InvalidRequest", strempty(why));
        } else {
                r = batch_new(q, (unsigned) n);
                if (r < 0)
                        return r;
                for (unsigned i = 0; i < n; i++)
                        begin(q, i, json_array_get(v, i));
        }
        return 0;
}

int rpc_handle(Rpcd *d, Caller *caller, const char *road, const char *namespace, const char *body, size_t size, rpc_done_t done,
               void *userdata, RpcRequest **ret) {
        _cleanup_free_ char *why = NULL;
        RpcRequest *q;
        json_t *v;
        int r = 0;

        *ret = NULL;
        q = new(RpcRequest, 1);
        if (!q)
                return -ENOMEM;
        *q = (RpcRequest) {
                .rpcd = d, .caller = caller ? caller_ref(caller) : NULL, .road = road, .namespace = namespace, .done = done,
                .userdata = userdata, .n = 1, .n_left = 1, .entered = true,
        };
        q->answers = &q->one_answer;
        q->sizes = &q->one_size;
        v = parse(body, size, &why);
        if (v)
                r = begin_all(q, v);
        else
                one_error(q, RPC_PARSE_ERROR, "ParseError", strempty(why));
        json_decref(v);
        q->entered = false;
        if (r < 0) {
                request_free(q);
                return r;
        }
        if (q->n_left == 0)
                request_end(q);
        else
                *ret = q;
        return 0;
}

void rpc_request_abandon(RpcRequest *q) {
        q->abandoned = true;
}
