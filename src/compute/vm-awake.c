/* SPDX-License-Identifier: Apache-2.0 */

#include "compute/vm-awake.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "compute/agent.h"
#include "compute/console.h"
#include "compute/manager.h"
#include "compute/requests.h"
#include "shared/bus-util.h"
#include "shared/error-names.h"
#include "shared/log.h"

#define WAKE_PAUSE_MIN (250 * USEC_PER_MSEC)
#define WAKE_PAUSE_MAX (5 * 60 * USEC_PER_SEC)

/* As long as people wait for a prompt, and a guest that lives needs milliseconds. */
#define AGENT_TIMEOUT (5 * USEC_PER_SEC)

struct VmCall {
        TAILQ_ENTRY(VmCall) calls;
        sd_bus_message *message;
        vm_call_t handler;
};

/* Also where it could not be written to the disk and goes back to being suspended. */
static bool is_falling_asleep(const Vm *vm) {
        return vm->state == VM_SUSPENDING || vm->state == VM_HIBERNATING ||
                (vm->state == VM_RESUMING && vm->runtime && vm->runtime->to_suspended);
}

bool vm_awake_is_needed(const Vm *vm) {
        return vm->job && is_falling_asleep(vm);
}

static void resume(Vm *vm) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        Job *j;
        int r;

        vm->wake_wanted = false;
        r = request_resume(vm, &j, &error);
        if (r >= 0)
                return;
        log_vm_warning(vm, "VM '%s' cannot be woken: %s", vm->name, error.message ?: strerror(-r));
        vm_awake_look(vm, r, error.message);
}

void vm_awake(Vm *vm, const char *why) {
        if (!vm_is_asleep(vm) && !is_falling_asleep(vm))
                return;
        if (!vm->wake_wanted)
                log_vm_debug(vm, "VM '%s' is %s and is woken: %s", vm->name, vm_state_to_string(vm->state), why);
        vm->wake_wanted = true;
        /* What it is called back from looks whether it was canceled; or is past that, and then it is resumed. */
        if (vm->job && (is_falling_asleep(vm) || vm->job->type == JOB_HIBERNATE))
                (void) job_cancel(vm->job, NULL);
        if (vm_is_asleep(vm) && !vm->job)
                resume(vm);
}

void vm_awake_packet(Vm *vm, const PacketInfo *packet) {
        _cleanup_free_ char *why = NULL;
        char source[INET6_ADDRSTRLEN] = "?";

        if (now_usec(CLOCK_MONOTONIC) < vm->wake_after) {
                vm_network_rest(vm);
                return;
        }
        (void) inet_ntop(AF_INET6, &packet->source, source, sizeof(source));
        why = packet->has_header && (packet->protocol == IPPROTO_TCP || packet->protocol == IPPROTO_UDP) ?
                strprintf("a packet from %s to port %u (%s).", source, packet->destination_port,
                          packet->protocol == IPPROTO_TCP ? "TCP" : "UDP") :
                strprintf("a packet from %s.", source);
        vm_awake(vm, strempty(why));
}

/* The one that has waited longest, for the caller to answer and free; NULL: none waits. */
static VmCall *call_take(Vm *vm) {
        VmCall *c = TAILQ_FIRST(&vm->calls);

        if (c) {
                TAILQ_REMOVE(&vm->calls, c, calls);
                vm->n_calls--;
        }
        return c;
}

static void call_free(VmCall *c) {
        sd_bus_message_unref(c->message);
        free(c);
}

static void answer_error(VmCall *c, int r, sd_bus_error *error) {
        if (sd_bus_error_is_set(error))
                (void) sd_bus_reply_method_error(c->message, error);
        else
                (void) sd_bus_reply_method_errno(c->message, r, NULL);
}

/* It runs, and what was asked of it can be done; those that find that they have to wait again are put behind the others. */
static void go_on(Vm *vm) {
        for (unsigned n = vm->n_calls; n > 0 && vm->state == VM_RUNNING; n--) {
                _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
                VmCall *c = call_take(vm);
                int r;

                if (!c)
                        break;
                audit_go_on(vm->manager->audit, c->message);
                r = sd_bus_message_rewind(c->message, true);
                if (r >= 0)
                        r = c->handler(c->message, vm, &error);
                (void) audit_answered(vm->manager->audit, c->message, r, &error);
                if (r < 0)
                        answer_error(c, r, &error);
                call_free(c);
        }
}

static void fail_calls(Vm *vm, const char *text) {
        VmCall *c;

        while ((c = call_take(vm))) {
                _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
                int r;

                r = sd_bus_error_setf(&error, ERROR_WRONG_STATE, "VM '%s' is %s and could not be woken: %s", vm->name,
                                      vm_state_to_string(vm->state), text);
                answer_error(c, r, &error);
                audit_go_on(vm->manager->audit, c->message);
                (void) audit_answered(vm->manager->audit, c->message, r, &error);
                call_free(c);
        }
}

/* One that cannot be woken costs a scope and a VMM each time it is tried, and who sends packets does not know. */
static void pause_packets(Vm *vm) {
        vm->wake_pause = vm->wake_pause > 0 ? MIN2(2 * vm->wake_pause, WAKE_PAUSE_MAX) : WAKE_PAUSE_MIN;
        vm->wake_after = now_usec(CLOCK_MONOTONIC) + vm->wake_pause;
        vm_network_rest(vm);
}

void vm_awake_look(Vm *vm, int error, const char *text) {
        if (vm->state == VM_RUNNING || !vm_state_is_active(vm->state)) {
                vm->wake_wanted = false;
                vm->wake_pause = vm->wake_after = 0;
        }
        if (vm->state == VM_RUNNING) {
                if (vm->runtime)
                        console_go_on(vm->runtime->console, false);
                go_on(vm);
        } else if (!vm_state_is_active(vm->state) || (error < 0 && !vm->wake_wanted && vm_is_asleep(vm))) {
                if (vm->runtime)
                        console_go_on(vm->runtime->console, true);
                fail_calls(vm, text ?: vm->reason);
                pause_packets(vm);
        }
        if (vm->wake_wanted && vm_is_asleep(vm) && !vm->job)
                resume(vm);
}

static int call_new(Vm *vm, sd_bus_message *message, vm_call_t handler, sd_bus_error *error) {
        VmCall *c;

        if (vm->n_calls >= AWAKE_CALLS_MAX)
                return sd_bus_error_setf(error, ERROR_LIMIT_EXCEEDED, "%u calls wait for VM '%s' to wake already.", vm->n_calls,
                                         vm->name);
        c = new(VmCall, 1);
        if (!c)
                return -ENOMEM;
        *c = (VmCall) { .message = sd_bus_message_ref(message), .handler = handler };
        TAILQ_INSERT_TAIL(&vm->calls, c, calls);
        vm->n_calls++;
        audit_wait(vm->manager->audit, message);
        return 0;
}

int vm_awake_for_call(Vm *vm, sd_bus_message *message, vm_call_t handler, sd_bus_error *error) {
        int r;

        if (vm->state == VM_RUNNING || (vm->state == VM_STARTING && vm->runtime && vm->runtime->executed))
                return 1;
        if (!vm_is_asleep(vm) && !is_falling_asleep(vm) && vm->state != VM_RESUMING)
                return sd_bus_error_setf(error, ERROR_WRONG_STATE, "VM '%s' is %s; start it first.", vm->name,
                                         vm_state_to_string(vm->state));
        r = call_new(vm, message, handler, error);
        if (r >= 0)
                vm_awake(vm, "a call needs it.");
        return r;
}

static int on_agent_timeout(sd_event_source *s, uint64_t usec, void *userdata) {
        Vm *vm = userdata;

        log_vm_debug(vm, "The agent in VM '%s' does not say that it is there.", vm->name);
        vm->runtime->agent_silent = true;
        if (vm_is_asleep(vm) && !vm->wake_wanted && !vm->job)
                fail_calls(vm, "Its agent had not answered when it fell asleep again.");
        vm_awake_agent(vm);
        return 0;
}

int vm_agent_for_call(Vm *vm, sd_bus_message *message, vm_call_t handler, sd_bus_error *error) {
        VmRuntime *rt = vm->runtime;
        int r = 0;

        if (vm_agent_is_ready(vm))
                return 1;
        if (vm->state != VM_RUNNING || !agent_is_asked(rt->agent) || rt->agent_silent)
                return sd_bus_error_setf(error, ERROR_NO_AGENT, "The agent in VM '%s' is not there (AgentReady is false).",
                                         vm->name);
        if (!rt->agent_timer)
                r = sd_event_add_time_relative(vm->manager->event, &rt->agent_timer, CLOCK_MONOTONIC, AGENT_TIMEOUT, 0,
                                               on_agent_timeout, vm);
        return r < 0 ? r : call_new(vm, message, handler, error);
}

void vm_awake_agent(Vm *vm) {
        if (vm->state != VM_RUNNING)
                return; /* the time limit answers those that wait, if nothing wakes it before */
        vm->runtime->agent_timer = sd_event_source_disable_unref(vm->runtime->agent_timer);
        go_on(vm);
}

void vm_awake_done(Vm *vm) {
        fail_calls(vm, "it was deleted.");
}
