/* SPDX-License-Identifier: Apache-2.0 */

#include "compute/vm.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/close-later.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "basic/time-util.h"
#include "compute/agent.h"
#include "compute/console.h"
#include "compute/manager.h"
#include "compute/registration.h"
#include "compute/scope.h"
#include "compute/steps.h"
#include "compute/vm-awake.h"
#include "compute/vm-record.h"
#include "compute/vm-wait.h"
#include "shared/bus-util.h"
#include "shared/catalog-ids.h"
#include "shared/child.h"
#include "shared/log.h"

static int vm_init(Vm *vm, const char *name, const char *id, VmSpec *spec) {
        int r;

        vm->events.max = EVENT_RING_VM;
        vm->exit_code = -1;
        vm->state_since = now_usec(CLOCK_BOOTTIME);
        vm->spec = *spec;
        *spec = (VmSpec) {};
        vm->spec.name = mfree(vm->spec.name);
        LIST_INIT(&vm->waiters);
        TAILQ_INIT(&vm->calls);
        vm->network.tap_fd = vm->kept.memory_fd = vm->kept.state_fd = -EBADF;
        strcpy(vm->id, id);
        vm->name = strdup(name);
        vm->unit = strprintf("hero-vm-%s.scope", name);
        r = sd_bus_path_encode(COMPUTE_VM_PREFIX, name, &vm->path);
        if (r < 0 || !vm->name || !vm->unit || free_and_strdup(&vm->reason, "") < 0)
                return -ENOMEM;
        return 0;
}

int vm_new(Manager *m, const char *name, const char *id, VmSpec *spec, Vm **ret) {
        Vm *vm, *other;
        int r;

        HASH_FIND(hh_name, m->vms_by_name, name, strlen(name), other);
        if (!other)
                HASH_FIND(hh_id, m->vms_by_id, id, strlen(id), other);
        if (other)
                return -EEXIST;
        if (spec->user) {
                HASH_FIND(hh_user, m->vms_by_user, spec->user, strlen(spec->user), other);
                if (other)
                        return -EADDRINUSE;
        }
        vm = new0(Vm, 1);
        if (!vm)
                return -ENOMEM;
        r = vm_init(vm, name, id, spec);
        if (r < 0) {
                vm_free(vm);
                return r;
        }
        vm->manager = m;
        vm->hypervisor = hypervisor_find(vm->spec.hypervisor);
        HASH_ADD_KEYPTR(hh_name, m->vms_by_name, vm->name, strlen(vm->name), vm);
        HASH_ADD_KEYPTR(hh_id, m->vms_by_id, vm->id, strlen(vm->id), vm);
        if (vm->spec.user)
                HASH_ADD_KEYPTR(hh_user, m->vms_by_user, vm->spec.user, strlen(vm->spec.user), vm);
        m->n_vms++;
        *ret = vm;
        return 0;
}

Vm *vm_free(Vm *vm) {
        Manager *m;

        if (!vm)
                return NULL;
        m = vm->manager;
        if (m) {
                signals_forget_vm(vm);
                resources_forget(vm);
                scope_forget(vm);
                vm_runtime_free(vm);
                vm_waiters_done(vm);
                vm_awake_done(vm);
                vm_network_give_back(vm);
                capacity_release_run(vm);
                capacity_release_disk(vm);
                HASH_DELETE(hh_name, m->vms_by_name, vm);
                HASH_DELETE(hh_id, m->vms_by_id, vm);
                if (vm->spec.user)
                        HASH_DELETE(hh_user, m->vms_by_user, vm);
                m->n_vms--;
                if (vm->job)
                        vm->job->vm = NULL;
        }
        sd_event_source_disable_unref(vm->transient_timer);
        event_ring_done(&vm->events);
        vm_spec_done(&vm->spec);
        vm_image_config_done(&vm->image_config);
        free(vm->image_digest);
        free(vm->exit_reason);
        free(vm->failure_text);
        free(vm->reason);
        free(vm->path);
        free(vm->unit);
        free(vm->name);
        return mfree(vm);
}

void vm_forget(Vm *vm) {
        if (vm->runtime) {
                agent_forget(vm->runtime->agent);
                console_forget(vm->runtime->console);
                vm->runtime->memory_fd = safe_close(vm->runtime->memory_fd); /* the guest goes on in it */
        }
        vm_free(vm);
}

VmRuntime *vm_runtime_new(Vm *vm) {
        VmRuntime *rt;

        rt = new(VmRuntime, 1);
        if (!rt)
                return NULL;
        *rt = (VmRuntime) {
                .uid = UID_INVALID,
                .accelerator = ACCELERATOR_TCG,
                .process = VMM_PROCESS_NULL,
                .monitor_fd = -EBADF,
                .agent_fd = -EBADF,
                .console_fd = -EBADF,
                .agent_peer = -EBADF,
                .console_peer = -EBADF,
                .root_fd = -EBADF,
                .memory_fd = -EBADF,
                .state_fd = -EBADF,
                .image_fd = -EBADF,
                .cpu_stat_fd = -EBADF,
        };
        return vm->runtime = rt;
}

void vm_runtime_end_process(Vm *vm) {
        VmRuntime *rt = vm->runtime;

        registration_forget(vm);
        scope_forget(vm);
        rt->exit_source = sd_event_source_disable_unref(rt->exit_source);
        rt->control_source = sd_event_source_disable_unref(rt->control_source);
        rt->timer = sd_event_source_disable_unref(rt->timer);
        rt->oom_source = sd_event_source_disable_unref(rt->oom_source);
        rt->agent_timer = sd_event_source_disable_unref(rt->agent_timer);
        rt->agent_silent = false;
        vmm_process_done(&rt->process);
        rt->process = VMM_PROCESS_NULL;
        if (rt->monitor)
                rt->monitor = vm->hypervisor->monitor_free(rt->monitor);
        rt->monitor_fd = safe_close(rt->monitor_fd);
        rt->cpu_stat_fd = safe_close(rt->cpu_stat_fd); /* the next scope has a cgroup of its own */
        rt->launch_why = mfree(rt->launch_why);
        rt->monitor_ready = false;
        rt->scope_requested = rt->scope_up = rt->scope_gone = false;
        rt->registering = rt->registered = rt->unregistering = false;
        rt->executed = rt->exited = rt->stop_unit_sent = rt->killed_by_us = false;
        rt->late_answers = rt->late_saves = 0;
        rt->end = VM_END_UNKNOWN;
        rt->end_status = 0;
}

void vm_runtime_free(Vm *vm) {
        VmRuntime *rt = vm->runtime;

        if (!rt)
                return;
        registration_forget(vm);
        kept_memory_drop(vm);
        vm->runtime = NULL;
        sd_event_source_disable_unref(rt->exit_source);
        sd_event_source_disable_unref(rt->control_source);
        sd_event_source_disable_unref(rt->timer);
        sd_event_source_disable_unref(rt->oom_source);
        sd_event_source_disable_unref(rt->agent_timer);
        vmm_process_done(&rt->process);
        if (rt->monitor)
                vm->hypervisor->monitor_free(rt->monitor);
        agent_free(rt->agent);
        console_free(rt->console);
        safe_close(rt->monitor_fd);
        safe_close(rt->agent_fd);
        safe_close(rt->console_fd);
        safe_close(rt->agent_peer);
        safe_close(rt->console_peer);
        safe_close(rt->root_fd);
        (void) close_memory_later(rt->memory_fd);
        safe_close(rt->state_fd);
        safe_close(rt->image_fd);
        free(rt->vmm_version);
        free(rt->sleep_text);
        child_free(rt->hibernator);
        safe_close(rt->cpu_stat_fd);
        if (rt->uid != UID_INVALID)
                uid_pool_give_back(vm->manager, rt->uid);
        free(rt->launch_why);
        free(rt);
}

void vm_changed(Vm *vm, const char *property, ...) {
        va_list ap;

        va_start(ap, property);
        for (; property; property = va_arg(ap, const char *))
                signals_vm_changed(vm, property);
        va_end(ap);
}

uint64_t vm_state_duration(const Vm *vm, VmState s) {
        return vm->durations[s] + (vm->state == s ? now_usec(CLOCK_BOOTTIME) - vm->state_since : 0);
}

bool vm_is_asleep(const Vm *vm) {
        return vm->state == VM_SUSPENDED || vm->state == VM_HIBERNATED;
}

bool vm_agent_is_ready(const Vm *vm) {
        return vm->runtime && vm->runtime->agent_ready && !vm->runtime->agent_lost;
}

void vm_touch(Vm *vm) {
        vm->last_activity = now_usec(CLOCK_REALTIME);
        idle_used(vm);
}

static void vm_log_transition(Vm *vm, VmState from, VmState to) {
        bool bad = to == VM_FAILED || to == VM_START_FAILED;

        log_full(bad ? LOG_WARNING : vm_state_is_resting(to) ? LOG_INFO : LOG_DEBUG, 0, __FILE__, __LINE__, __func__, vm->name,
                 vm->spec.user, bad ? CATALOG_VM_FAILED : CATALOG_VM_TRANSITION, "VM '%s': %s → %s: %s", vm->name,
                 vm_state_to_string(from), vm_state_to_string(to), vm->reason);
}

static void set_state(Vm *vm, VmState to, bool save, const char *format, va_list ap) _printf_(4, 0);
static void set_state(Vm *vm, VmState to, bool save, const char *format, va_list ap) {
        uint64_t now = now_usec(CLOCK_BOOTTIME);
        VmState from = vm->state;
        char reason[512];
        Event *e;

        assert(vm_transition_is_allowed(from, to));
        if (vsnprintf(reason, sizeof(reason), format, ap) < 0)
                reason[0] = 0;
        /* It may hold words of a guest or a VMM, cut anywhere. */
        (void) free_and_strdup(&vm->reason, utf8_sanitize(reason));
        vm->durations[from] += now - vm->state_since;
        vm->state_since = now;
        vm->state = to;
        if (to == VM_STARTING)
                vm->before = from == VM_CONFIGURED ? VM_CONFIGURED : VM_STOPPED;

        e = event_new(vm->manager->next_sequence++, vm->name, from, to, reason);
        if (e) {
                (void) event_ring_push(&vm->events, e);
                manager_add_event(vm->manager, e);
                event_unref(e);
        }
        vm->unsaved = true;
        /* The intent is on disk before the first thing is done about it; what follows from it is found out anew. */
        if (save)
                vm_record_settle(vm);
        vm_log_transition(vm, from, to);
        vm_changed(vm, "State", "StateReason", NULL);
        idle_vm_state_changed(vm);
        vm_waiters_wake(vm);
        if (!vm->job)
                vm_awake_look(vm, 0, NULL);
}

void vm_set_state(Vm *vm, VmState to, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        set_state(vm, to, true, format, ap);
        va_end(ap);
}

void vm_set_state_ahead(Vm *vm, VmState to, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        set_state(vm, to, false, format, ap);
        va_end(ap);
}
