/* SPDX-License-Identifier: Apache-2.0 */

/* vm.wait: VM.Wait() with no time to wait, asked again whenever something happened to the VM. VM.Wait() itself would keep one of
 * the few replies that the bus lets be pending for every call that waits here. */

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "basic/time-util.h"
#include "rpcd/call-util.h"
#include "rpcd/guests.h"
#include "rpcd/vm-model.h"
#include "shared/bus-util.h"
#include "shared/error-names.h"

#define TIMEOUT_DEFAULT 60
#define AGAIN_AFTER (1 * USEC_PER_SEC)

typedef struct WaitCall {
        WaitingCall waiting; /* first */
        FeedListener listener;
        sd_bus_slot *slot; /* of the question that is on its way */
        sd_event_source *again;
        char **states;
        char *seen, *seen_reason; /* the last transition into one of them: of a VM that is gone when we ask */
        uint64_t deadline;
        bool asked, news; /* once at least; again since the question */
} WaitCall;

static void look(WaitCall *w);

static void wait_call_free(WaitingCall *waiting) {
        WaitCall *w = (WaitCall *) waiting;

        waiting_end(waiting);
        feed_remove(waiting->call->rpcd->guests->feed, &w->listener);
        sd_bus_slot_unref(w->slot);
        sd_event_source_disable_unref(w->again);
        strv_free(w->states);
        free(w->seen);
        free(w->seen_reason);
        free(w);
}

static void answer(WaitCall *w, const char *state, const char *reason, bool timed_out) {
        Call *c = w->waiting.call;
        json_t *j;

        j = json_pack("{s:s, s:s, s:s, s:s, s:b}", "vm_id", c->vm_id, "state", vm_model_state(state), "detail_state", state,
                      "reason", reason, "timed_out", timed_out);
        call_result(waiting_take(&w->waiting), j);
}

static void look_again(WaitCall *w) {
        uint64_t now = now_usec(CLOCK_MONOTONIC), at = MIN2(now + AGAIN_AFTER, MAX2(w->deadline, now));

        (void) sd_event_source_set_time(w->again, at);
        (void) sd_event_source_set_enabled(w->again, SD_EVENT_ONESHOT);
}

static void arm_deadline(WaitCall *w) {
        (void) sd_event_source_set_time(w->again, w->deadline);
        (void) sd_event_source_set_enabled(w->again, SD_EVENT_ONESHOT);
}

/* After the first answer hero-computed may be away for a while, or the bus be busy. */
static bool is_passing(const sd_bus_error *e) {
        static const char *const names[] = { SD_BUS_ERROR_SERVICE_UNKNOWN, SD_BUS_ERROR_NAME_HAS_NO_OWNER, SD_BUS_ERROR_NO_REPLY,
                                             SD_BUS_ERROR_LIMITS_EXCEEDED, SD_BUS_ERROR_TIMEOUT, ERROR_LIMIT_EXCEEDED };

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (sd_bus_error_has_name(e, names[i]))
                        return true;
        return false;
}

static bool is_gone(const WaitCall *w, const sd_bus_error *e) {
        const Call *c = w->waiting.call;

        return sd_bus_error_has_name(e, SD_BUS_ERROR_UNKNOWN_OBJECT) || sd_bus_error_has_name(e, ERROR_NO_SUCH_VM) ||
                (replica_is_ready(c->rpcd->replica) && !replica_find_path(c->rpcd->replica, c->vm_path));
}

static void take_error(WaitCall *w, const sd_bus_error *e) {
        Call *c;

        if (w->asked && is_passing(e) && now_usec(CLOCK_MONOTONIC) < w->deadline) {
                look_again(w);
                return;
        }
        if (!is_gone(w, e)) {
                call_bus_error(waiting_take(&w->waiting), e);
                return;
        }
        if (w->seen) { /* a transient one, that ended and was deleted */
                answer(w, w->seen, strempty(w->seen_reason), false);
                return;
        }
        c = waiting_take(&w->waiting);
        call_refuse(c, ERROR_NO_SUCH_VM, "VM '%s' was deleted.", strna(c->vm_name));
}

static int on_looked(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        const sd_bus_error *e = sd_bus_message_get_error(reply);
        const char *state, *reason;
        WaitCall *w = userdata;
        int timed_out, r;

        w->slot = sd_bus_slot_unref(w->slot);
        if (e) {
                take_error(w, e);
                return 0;
        }
        r = sd_bus_message_read(reply, "ssb", &state, &reason, &timed_out);
        if (r < 0)
                call_errno(waiting_take(&w->waiting), r);
        else if (!timed_out || now_usec(CLOCK_MONOTONIC) >= w->deadline)
                answer(w, state, reason, timed_out);
        else {
                w->asked = true;
                arm_deadline(w);
                if (w->news)
                        look(w);
        }
        return 0;
}

static int ask(WaitCall *w) {
        _cleanup_message_ sd_bus_message *m = NULL;
        Call *c = w->waiting.call;
        int r;

        r = sd_bus_message_new_method_call(c->rpcd->bus, &m, COMPUTE_BUS_NAME, c->vm_path, COMPUTE_VM_INTERFACE, "Wait");
        if (r >= 0)
                r = sd_bus_message_append_strv(m, w->states);
        if (r >= 0)
                r = sd_bus_message_append(m, "t", UINT64_C(0));
        return r < 0 ? r : sd_bus_call_async(c->rpcd->bus, &w->slot, m, on_looked, w, 0);
}

static void look(WaitCall *w) {
        int r;

        w->news = true;
        if (w->slot)
                return;
        w->news = false;
        r = ask(w);
        if (r < 0)
                call_errno(waiting_take(&w->waiting), r);
}

/* At the deadline too: the last word is hero-computed's. */
static int on_again(sd_event_source *source, uint64_t usec, void *userdata) {
        look(userdata);
        return 0;
}

/* It may be one from before our question, told late: the answer is not taken from it while the VM is there. */
static void on_transition(const Transition *t, void *userdata) {
        WaitCall *w = userdata;

        if (!streq_ptr(t->vm, w->waiting.call->vm_name))
                return;
        if (strv_contains(w->states, t->to)) {
                (void) free_and_strdup(&w->seen, t->to);
                (void) free_and_strdup(&w->seen_reason, t->reason);
        }
        look(w);
}

static void on_object(const char *vm_path, void *userdata) {
        WaitCall *w = userdata;

        if (streq_ptr(vm_path, w->waiting.call->vm_path))
                look(w);
}

/* Not all at once. */
static void on_returned(void *userdata) {
        look_again(userdata);
}

static int take_states(WaitCall *w) {
        Call *c = w->waiting.call;
        _cleanup_strv_free_ char **given = NULL;
        int r;

        r = json_to_strv(call_value(c, "states"), &given);
        if (r >= 0 && call_string(c, "state"))
                r = strv_extend(&w->states, call_string(c, "state"));
        STRV_FOREACH(i, given)
                if (r >= 0)
                        r = strv_extend(&w->states, *i);
        if (r >= 0 && !w->states)
                r = strv_extend(&w->states, "running");
        if (r >= 0 && strv_contains(w->states, "created"))
                for (char **i = w->states; *i; i++)
                        if (streq(*i, "created")) {
                                r = free_and_strdup(i, "configured");
                                if (r < 0)
                                        return r;
                        }
        return r;
}

/* vm.wait (ACCESS_VM): "Waits until the VM is in a state, or cannot come there any more"
 *   vm_id         string, required
 *   states        strings (1 … 16): "Any of these detail states, or 'agent': commands can be run in it (running)"
 *   state         string: "One more of them"
 *   timeout_secs  integer (0 … 3600): "Seconds (60)"
 * → VmWait { vm_id, state, detail_state, reason: strings, timed_out: boolean }
 * Words are those of detail_state: "stopped" is not a suspended VM. "created" is "configured". "failed" and "start-failed" end
 * every wait. */
void method_vm_wait(Call *c) {
        WaitCall *w;
        int r;

        w = new0(WaitCall, 1);
        if (!w) {
                call_errno(c, -ENOMEM);
                return;
        }
        if (!waiting_begin(&w->waiting, WAITING_STATE, c, wait_call_free)) {
                free(w);
                return;
        }
        w->listener = (FeedListener){ .transition = on_transition, .changed = on_object, .removed = on_object,
                                      .returned = on_returned, .userdata = w };
        feed_add(c->rpcd->guests->feed, &w->listener);
        w->deadline = now_usec(CLOCK_MONOTONIC) + (uint64_t) call_integer(c, "timeout_secs", TIMEOUT_DEFAULT) * USEC_PER_SEC;
        r = take_states(w);
        if (r >= 0)
                r = sd_event_add_time(c->rpcd->event, &w->again, CLOCK_MONOTONIC, w->deadline, 0, on_again, w);
        if (r < 0)
                call_errno(waiting_take(&w->waiting), r);
        else
                look(w);
}
