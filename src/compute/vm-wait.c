/* SPDX-License-Identifier: Apache-2.0 */

#include "compute/vm-wait.h"

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "basic/time-util.h"
#include "compute/manager.h"
#include "compute/transient.h"
#include "shared/bus-util.h"
#include "shared/error-names.h"
#include "shared/peer-watch.h"

struct VmWaiter {
        LIST_ENTRY(VmWaiter) waiters;
        Vm *vm;
        sd_bus_message *call;
        PeerWatch *watch; /* the caller may leave before */
        sd_event_source *timer;
        unsigned states;     /* 1 << VmState */
        bool agent;
};

static VmWaiter *waiter_free(VmWaiter *w) {
        if (!w)
                return NULL;
        LIST_REMOVE(w, waiters);
        sd_event_source_disable_unref(w->timer);
        peer_watch_free(w->watch);
        sd_bus_message_unref(w->call);
        return mfree(w);
}

static void waiter_answer(VmWaiter *w, bool timed_out) {
        (void) sd_bus_reply_method_return(w->call, "ssb", vm_state_to_string(w->vm->state), w->vm->reason, timed_out);
        if (!timed_out)
                transient_answered(w->vm);
        waiter_free(w);
}

/* "failed" ends every wait: nothing leads out of it but a new start. */
static bool waiter_is_over(const VmWaiter *w) {
        const Vm *vm = w->vm;

        return w->states & (1u << vm->state) || (w->agent && vm->state == VM_RUNNING && vm_agent_is_ready(vm)) ||
                (!vm->job && (vm->state == VM_FAILED || vm->state == VM_START_FAILED));
}

static int on_timeout(sd_event_source *s, uint64_t usec, void *userdata) {
        waiter_answer(userdata, true);
        return 0;
}

static void on_gone(void *userdata) {
        waiter_free(userdata);
}

void vm_waiters_wake(Vm *vm) {
        VmWaiter *w, *next;

        for (w = LIST_FIRST(&vm->waiters); w; w = next) {
                next = LIST_NEXT(w, waiters);
                if (waiter_is_over(w))
                        waiter_answer(w, false);
        }
}

void vm_waiters_done(Vm *vm) {
        VmWaiter *w;

        while ((w = LIST_FIRST(&vm->waiters))) {
                (void) sd_bus_reply_method_errorf(w->call, ERROR_NO_SUCH_VM, "VM '%s' was deleted.", vm->name);
                waiter_free(w);
        }
}

static int parse_states(VmWaiter *w, char *const *states, sd_bus_error *error) {
        if (strv_length(states) == 0)
                return sd_bus_error_set(error, ERROR_INVALID_ARGUMENT, "At least one state to wait for must be given.");
        STRV_FOREACH(i, states) {
                VmState s = vm_state_from_string(*i);

                if (streq(*i, "agent"))
                        w->agent = true;
                else if ((int) s >= 0)
                        w->states |= 1u << s;
                else
                        return sd_bus_error_setf(error, ERROR_INVALID_ARGUMENT,
                                                 "There is no state '%s'; states are as in the State property, or 'agent'.", *i);
        }
        return 0;
}

int vm_method_wait(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        _cleanup_strv_free_ char **states = NULL;
        unsigned n = 0;
        Vm *vm = userdata;
        uint64_t timeout;
        VmWaiter *w;
        int r;

        r = bus_read_strv(message, 2 * _VM_STATE_MAX, &states);
        if (r == -E2BIG)
                return sd_bus_error_set(error, ERROR_INVALID_ARGUMENT, "There are not that many states.");
        if (r >= 0)
                r = sd_bus_message_read(message, "t", &timeout);
        if (r < 0)
                return r;
        LIST_FOREACH(w, &vm->waiters, waiters)
                n++;
        if (n >= WAITERS_MAX)
                return sd_bus_error_setf(error, ERROR_LIMIT_EXCEEDED, "%u callers wait for VM '%s' already.", WAITERS_MAX,
                                         vm->name);
        w = new0(VmWaiter, 1);
        if (!w)
                return -ENOMEM;
        w->vm = vm;
        w->call = sd_bus_message_ref(message);
        LIST_INSERT_HEAD(&vm->waiters, w, waiters);
        r = parse_states(w, states, error);
        if (r >= 0)
                r = peer_watch_new(vm->manager->bus, sd_bus_message_get_sender(message), on_gone, w, &w->watch);
        if (r >= 0 && timeout != UINT64_MAX)
                r = sd_event_add_time_relative(vm->manager->event, &w->timer, CLOCK_MONOTONIC, MIN2(timeout, UINT64_C(1) << 60), 0, on_timeout, w);
        if (r < 0) {
                waiter_free(w);
                return r;
        }
        if (waiter_is_over(w))
                waiter_answer(w, false);
        return 1;
}
