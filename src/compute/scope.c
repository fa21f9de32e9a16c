/* SPDX-License-Identifier: Apache-2.0 */

#include "compute/scope.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "compute/manager.h"
#include "compute/steps.h"
#include "hypervisor/launch-protocol.h"
#include "shared/bus-util.h"
#include "shared/log.h"

/* QEMU has a handful of threads plus one per CPU and up to 64 of the thread pool. */
#define TASKS_MAX 512u
#define UNIT_PREFIX SYSTEMD_OBJECT "/unit"
#define OUR_SLICE "machine-hero.slice"
#define OUR_SUBSLICES "machine-hero-" /* within it */
#define SCOPE_INTERFACE SYSTEMD_BUS_NAME ".Scope"

/* One call to PID 1. A start or stop is over when PID 1's job is, the others with the answer. */
struct ScopeCall {
        TAILQ_ENTRY(ScopeCall) calls;
        UT_hash_handle hh;
        Manager *manager;
        Vm *vm;
        const char *member;
        scope_done_t done;
        sd_bus_slot *slot; /* the answer is outstanding */
        sd_event_source *timer; /* not of a start: that is the operation's own */
        char *job;         /* PID 1's job, in Manager.scope_jobs */
        bool is_start, is_job, sent;
};

static void scope_next(Manager *m);

static void scope_call_answered(ScopeCall *c) {
        if (!c->slot)
                return;
        c->slot = sd_bus_slot_unref(c->slot);
        if (!c->is_start)
                c->manager->n_scope_questions--;
}

static ScopeCall *scope_call_free(ScopeCall *c) {
        Manager *m = c->manager;

        if (c->job)
                HASH_DEL(m->scope_jobs, c);
        TAILQ_REMOVE(&m->scope_calls, c, calls);
        scope_call_answered(c);
        sd_event_source_disable_unref(c->timer);
        if (c->is_start && c->sent)
                m->n_scope_starts--;
        free(c->job);
        return mfree(c);
}

/* Frees the call before it tells: whoever is told may well free the VM. */
static void scope_call_end(ScopeCall *c, int error, const char *text) {
        scope_done_t done = c->done;
        Manager *m = c->manager;
        Vm *vm = c->vm;

        scope_call_free(c);
        done(vm, error, text);
        scope_next(m);
}

void scope_forget(Vm *vm) {
        ScopeCall *c, *next;

        for (c = TAILQ_FIRST(&vm->manager->scope_calls); c; c = next) {
                next = TAILQ_NEXT(c, calls);
                if (c->vm == vm)
                        scope_call_free(c);
        }
        scope_next(vm->manager);
}

bool scope_withdraw_start(Vm *vm) {
        ScopeCall *c;

        TAILQ_FOREACH(c, &vm->manager->scope_calls, calls)
                if (c->vm == vm && c->is_start && !c->sent) {
                        scope_call_free(c);
                        return true;
                }
        return false;
}

static int on_job_removed(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        const char *path, *unit, *result;
        Manager *m = userdata;
        ScopeCall *c;
        uint32_t id;
        int r;

        r = sd_bus_message_read(message, "uoss", &id, &path, &unit, &result);
        if (r < 0)
                return 0;
        HASH_FIND(hh, m->scope_jobs, path, strlen(path), c);
        if (!c)
                return 0;
        if (!c->is_start || streq(result, "done"))
                scope_call_end(c, 0, NULL);
        else {
                _cleanup_free_ char *text = strprintf("systemd could not start %s: the job ended with '%s'.", unit, result);

                scope_call_end(c, -EREMOTEIO, text);
        }
        return 0;
}

/* The answer to a call: of those with a job, its path. */
static int on_reply(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        ScopeCall *c = userdata;
        const sd_bus_error *e;
        const char *path;
        int r;

        scope_call_answered(c);
        e = sd_bus_message_get_error(reply);
        if (e && !c->is_start && c->is_job && sd_bus_error_has_name(e, "org.freedesktop.systemd1.NoSuchUnit")) {
                scope_call_end(c, 0, NULL); /* to be stopped, and not there */
                return 0;
        }
        if (e) {
                _cleanup_free_ char *text = strprintf("systemd refused: %s", e->message ?: e->name);

                scope_call_end(c, -EREMOTEIO, text);
                return 0;
        }
        if (!c->is_job) {
                scope_call_end(c, 0, NULL);
                return 0;
        }
        r = sd_bus_message_read(reply, "o", &path);
        if (r >= 0 && !(c->job = strdup(path)))
                r = -ENOMEM;
        if (r < 0)
                scope_call_end(c, r, NULL);
        else {
                HASH_ADD_KEYPTR(hh, c->manager->scope_jobs, c->job, strlen(c->job), c);
                scope_next(c->manager);
        }
        return 0;
}

/* PID 1 hangs, or was re-executed and has forgotten the job. */
static int on_call_timeout(sd_event_source *s, uint64_t usec, void *userdata) {
        scope_call_end(userdata, -EREMOTEIO, "systemd did not do it in time (ScopeTimeoutSec=).");
        return 0;
}

/* Somebody (systemctl, or PID 1 at shutdown) wants the scope to stop. KillSignal= does nothing to a VMM, so we get to
 * do it gracefully; PID 1 kills after TimeoutStopUSec. */
static void on_stop_wanted(Vm *vm) {
        /* PID 1 thaws a frozen unit before it stops it. */
        static const JobStep graceful[] = { STEP_STOP };
        _cleanup_bus_error_ sd_bus_error e = SD_BUS_ERROR_NULL;
        Job *j;

        vm->runtime->end = VM_END_HOST_STOP;
        if (vm->job)
                vm_kill(vm); /* in the middle of something: its undo takes over */
        else if ((vm->state == VM_RUNNING || vm->state == VM_SUSPENDED) &&
                 job_new(vm, JOB_STOP, graceful, 1, false, &j, &e) < 0)
                vm_kill(vm);
}

/* The VM that the unit is the scope of, or NULL. */
static Vm *vm_of_scope(Manager *m, const char *unit) {
        _cleanup_free_ char *name = NULL;
        const char *rest;
        size_t n;

        rest = startswith(unit, "hero-vm-");
        n = rest ? strlen(rest) : 0;
        if (n <= strlen(".scope") || !streq(rest + n - strlen(".scope"), ".scope"))
                return NULL;
        name = strndup(rest, n - strlen(".scope"));
        return name ? manager_find_vm(m, name) : NULL;
}

/* The VM whose scope the unit is, unless a stop of it would be our own doing. */
static Vm *vm_to_stop(Manager *m, const char *unit) {
        Vm *vm = vm_of_scope(m, unit);

        if (!vm || !vm->runtime || !vm->runtime->scope_up || vm->state == VM_STOPPING || vm->runtime->stop_unit_sent ||
            vm->runtime->exited)
                return NULL;
        return vm;
}

static int on_jobs(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        const char *unit, *type, *state;
        Manager *m = userdata;
        int r;

        m->stops_call = sd_bus_slot_unref(m->stops_call);
        m->stops_waiting = false;
        if (sd_bus_message_is_method_error(reply, NULL))
                return 0;
        r = sd_bus_message_enter_container(reply, 'a', "(usssoo)");
        if (r < 0)
                return 0;
        while (sd_bus_message_read(reply, "(usssoo)", NULL, &unit, &type, &state, NULL, NULL) > 0) {
                Vm *vm = streq(type, "stop") ? vm_to_stop(m, unit) : NULL;

                if (vm && streq(state, "running"))
                        on_stop_wanted(vm);
                else if (vm)
                        m->stops_waiting = true; /* for other units, at shutdown */
        }
        if (m->stops_unseen)
                scope_look_for_stops(m);
        return 0;
}

/* One question, whatever the number of scopes: at shutdown all are stopped at once. */
void scope_look_for_stops(Manager *m) {
        m->stops_unseen = m->stops_call;
        if (!m->stops_call)
                (void) bus_call_async(m->bus, &m->stops_call, SYSTEMD_BUS_NAME, SYSTEMD_OBJECT, SYSTEMD_MANAGER_INTERFACE,
                                      "ListJobs", on_jobs, m, NULL);
}

/* PID 1 has a new job; of which kind, it does not say, but a scope that is up can only be stopped. Not Controller= and
 * its RequestStop: PID 1 would need a match rule per VM, of which the bus allows it 512 for everything, and would forget
 * it when we are restarted. */
static int on_job_new(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        const char *path, *unit;
        Manager *m = userdata;
        uint32_t id;

        if (sd_bus_message_read(message, "uos", &id, &path, &unit) >= 0 && vm_to_stop(m, unit))
                scope_look_for_stops(m);
        return 0;
}

static int on_job_changed(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        Manager *m = userdata;

        if (m->stops_waiting)
                scope_look_for_stops(m);
        return 0;
}

static bool is_result_oom(sd_bus_message *message) {
        const char *key, *result;

        if (sd_bus_message_skip(message, "s") < 0 || sd_bus_message_enter_container(message, 'a', "{sv}") < 0)
                return false;
        while (sd_bus_message_enter_container(message, 'e', "sv") > 0) {
                if (sd_bus_message_read(message, "s", &key) < 0)
                        return false;
                if (streq(key, "Result"))
                        return sd_bus_message_read(message, "v", "s", &result) >= 0 && streq(result, "oom-kill");
                if (sd_bus_message_skip(message, "v") < 0 || sd_bus_message_exit_container(message) < 0)
                        return false;
        }
        return false;
}

/* PID 1 removes a cgroup that is empty, and memory.events with it, maybe before we looked. What it says of the scope comes
 * before its answer to our stop of it. Not a reference to the scope (AddRef=): that is a match rule per VM, too. */
static int on_scope_changed(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        _cleanup_free_ char *unit = NULL;
        Vm *vm;

        if (sd_bus_path_decode(sd_bus_message_get_path(message), UNIT_PREFIX, &unit) <= 0)
                return 0;
        vm = vm_of_scope(userdata, unit);
        if (vm && vm->runtime && vm->runtime->scope_requested && vm->runtime->end < VM_END_OOM && is_result_oom(message))
                vm->runtime->end = VM_END_OOM;
        return 0;
}

int scope_register(Manager *m) {
        int r;

        r = sd_bus_match_signal_async(m->bus, NULL, SYSTEMD_BUS_NAME, SYSTEMD_OBJECT, SYSTEMD_MANAGER_INTERFACE,
                                      "JobRemoved", on_job_removed, NULL, m);
        if (r >= 0)
                r = sd_bus_match_signal_async(m->bus, NULL, SYSTEMD_BUS_NAME, SYSTEMD_OBJECT, SYSTEMD_MANAGER_INTERFACE,
                                              "JobNew", on_job_new, NULL, m);
        if (r >= 0)
                r = sd_bus_add_match_async(m->bus, NULL, "type='signal',sender='" SYSTEMD_BUS_NAME "',"
                                           "path_namespace='" SYSTEMD_OBJECT "/job',"
                                           "interface='org.freedesktop.DBus.Properties',member='PropertiesChanged'",
                                           on_job_changed, NULL, m);
        if (r >= 0)
                r = sd_bus_add_match_async(m->bus, NULL, "type='signal',sender='" SYSTEMD_BUS_NAME "',"
                                           "path_namespace='" UNIT_PREFIX "',"
                                           "interface='org.freedesktop.DBus.Properties',member='PropertiesChanged',"
                                           "arg0='" SCOPE_INTERFACE "'",
                                           on_scope_changed, NULL, m);
        /* Of other people's jobs PID 1 tells those who asked to be told. */
        if (r >= 0)
                r = bus_call_async(m->bus, NULL, SYSTEMD_BUS_NAME, SYSTEMD_OBJECT, SYSTEMD_MANAGER_INTERFACE, "Subscribe",
                                   NULL, NULL, NULL);
        return r;
}

void scope_manager_done(Manager *m) {
        m->stops_call = sd_bus_slot_unref(m->stops_call);
        while (!TAILQ_EMPTY(&m->scope_calls))
                scope_call_free(TAILQ_FIRST(&m->scope_calls));
}

static VmmSpec scope_vmm_spec(const Vm *vm) {
        return (VmmSpec) {
                .name = vm->name,
                .id = vm->id,
                .cpus = vm->spec.cpus,
                .memory = vm->runtime && vm->runtime->memory > 0 ? vm->runtime->memory : vm->spec.memory,
                .accelerator = vm->runtime ? vm->runtime->accelerator : ACCELERATOR_TCG,
                .memory_fd = -EBADF,
                .tap_fd = -EBADF,
        };
}

/* The VMM's root has these and nothing else in its /dev; not "closed", which would add terminals. */
static int append_devices(sd_bus_message *m, const Vm *vm) {
        static const char *const always[] = { LAUNCH_DEVICES };
        VmmSpec spec = scope_vmm_spec(vm);
        const VmmSandbox *sandbox = vm->hypervisor->sandbox(&spec);
        int r;

        r = sd_bus_message_open_container(m, 'r', "sv");
        if (r >= 0)
                r = sd_bus_message_append(m, "s", "DeviceAllow");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'v', "a(ss)");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "(ss)");
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(always); i++)
                r = sd_bus_message_append(m, "(ss)", always[i], "rw");
        for (const char *const *d = sandbox ? sandbox->devices : NULL; r >= 0 && d && *d; d++)
                r = sd_bus_message_append(m, "(ss)", *d, "rw");
        for (unsigned i = 0; r >= 0 && i < 3; i++)
                r = sd_bus_message_close_container(m);
        return r;
}

static uint64_t scope_memory_max(const Vm *vm) {
        VmmSpec spec = scope_vmm_spec(vm);

        return vm->spec.memory + vm->hypervisor->memory_overhead(&spec);
}

static int append_quota(sd_bus_message *m, const Vm *vm) {
        return sd_bus_message_append(m, "(sv)", "CPUQuotaPerSecUSec", "t", (uint64_t) vm->spec.cpus * USEC_PER_SEC);
}

static int append_weights(sd_bus_message *m, const Vm *vm) {
        int r = 0;

        if (vm->spec.cpu_weight > 0)
                r = sd_bus_message_append(m, "(sv)", "CPUWeight", "t", vm->spec.cpu_weight);
        if (r >= 0 && vm->spec.io_weight > 0)
                r = sd_bus_message_append(m, "(sv)", "IOWeight", "t", vm->spec.io_weight);
        return r;
}

static int append_limits(sd_bus_message *m, const Vm *vm) {
        int r;

        r = sd_bus_message_append(m, "(sv)(sv)(sv)", "MemoryMax", "t", scope_memory_max(vm), "MemorySwapMax", "t",
                                  (uint64_t) 0, "TasksMax", "t", (uint64_t) (TASKS_MAX + vm->spec.cpus));
        if (r >= 0)
                r = append_quota(m, vm);
        return r < 0 ? r : append_weights(m, vm);
}

/* At shutdown PID 1 stops a VM while we are still there to ask its guest. Our own slice sees to that: it is After= us, and what
 * is in it is stopped with it and before it. So the scope needs no dependencies of its own: of each unit that it is
 * ordered with, PID 1 would write and send half a dozen properties, per VM. */
static int append_order(sd_bus_message *m, const char *slice) {
        if (streq(slice, OUR_SLICE) || startswith(slice, OUR_SUBSLICES))
                return sd_bus_message_append(m, "(sv)", "DefaultDependencies", "b", false);
        return sd_bus_message_append(m, "(sv)", "After", "as", 1, "hero-computed.service");
}

static int append_properties(sd_bus_message *m, const Vm *vm) {
        const ComputeConfig *c = &vm->manager->config;
        _cleanup_free_ char *description = NULL;
        uint64_t stop;
        int r;

        if (asprintf(&description, vm->spec.user ? "VM %s of user %s" : "VM %s", vm->name, vm->spec.user) < 0)
                return -ENOMEM;
        stop = c->shutdown_timeout + c->powerdown_timeout + c->stop_timeout;
        r = sd_bus_message_append(m, "(sv)(sv)(sv)(sv)(sv)(sv)(sv)(sv)", "Description", "s", description, "Slice", "s", c->slice,
                                  "PIDs", "au", 1, (uint32_t) vm->runtime->process.pid, "CollectMode", "s",
                                  "inactive-or-failed", "KillSignal", "i", SIGCONT, "TimeoutStopUSec", "t", stop, "OOMPolicy",
                                  "s", "kill", "DevicePolicy", "s", "strict");
        if (r >= 0)
                r = append_order(m, c->slice);
        if (r >= 0)
                r = append_limits(m, vm);
        if (r >= 0)
                r = append_devices(m, vm);
        return r;
}

static int append_start(sd_bus_message *m, const Vm *vm) {
        int r;

        r = sd_bus_message_append(m, "ss", vm->unit, "fail");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "(sv)");
        if (r >= 0)
                r = append_properties(m, vm);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        if (r >= 0)
                r = sd_bus_message_append(m, "a(sa(sv))", 0);
        return r;
}

static int scope_send(ScopeCall *c) {
        _cleanup_message_ sd_bus_message *m = NULL;
        Vm *vm = c->vm;
        int r;

        r = sd_bus_message_new_method_call(vm->manager->bus, &m, SYSTEMD_BUS_NAME, SYSTEMD_OBJECT,
                                           SYSTEMD_MANAGER_INTERFACE, c->member);
        if (r >= 0)
                r = c->is_start ? append_start(m, vm) : sd_bus_message_append(m, "s", vm->unit);
        if (r >= 0 && !c->is_start && c->is_job)
                r = sd_bus_message_append(m, "s", "replace");
        if (r < 0)
                return r;
        /* A busy PID 1 takes seconds (runc had to go from 1 s to 30 s); timers of our own decide. */
        r = sd_bus_call_async(vm->manager->bus, &c->slot, m, on_reply, c, UINT64_MAX);
        if (r < 0)
                return r;
        c->sent = true;
        if (c->is_start) {
                c->manager->n_scope_starts++;
                return 0;
        }
        c->manager->n_scope_questions++;
        if (vm->manager->config.scope_timeout == USEC_INFINITY)
                return 0;
        return sd_event_add_time_relative(vm->manager->event, &c->timer, CLOCK_MONOTONIC,
                                          vm->manager->config.scope_timeout, 0, on_call_timeout, c);
}

static void scope_next(Manager *m) {
        ScopeCall *c;

        TAILQ_FOREACH(c, &m->scope_calls, calls) {
                int r;

                if (c->sent ||
                    (c->is_start ? m->n_scope_starts >= SCOPE_STARTS_MAX : m->n_scope_questions >= SCOPE_QUESTIONS_MAX))
                        continue;
                r = scope_send(c);
                if (r < 0) {
                        scope_call_end(c, r, "Cannot ask systemd."); /* comes back here for the rest */
                        return;
                }
        }
}

static int scope_call(Vm *vm, const char *member, bool is_start, bool is_job, scope_done_t done) {
        ScopeCall *c;

        c = new0(ScopeCall, 1);
        if (!c)
                return -ENOMEM;
        c->manager = vm->manager;
        c->vm = vm;
        c->member = member;
        c->done = done;
        c->is_start = is_start;
        c->is_job = is_job;
        TAILQ_INSERT_TAIL(&c->manager->scope_calls, c, calls);
        scope_next(vm->manager);
        return 0;
}

int scope_start(Vm *vm, scope_done_t done) {
        return scope_call(vm, "StartTransientUnit", true, true, done);
}

int scope_stop(Vm *vm, scope_done_t done) {
        return scope_call(vm, "StopUnit", false, true, done);
}

int scope_freeze(Vm *vm, scope_done_t done) {
        return scope_call(vm, "FreezeUnit", false, false, done);
}

int scope_thaw(Vm *vm, scope_done_t done) {
        return scope_call(vm, "ThawUnit", false, false, done);
}

void scope_kill(Vm *vm) {
        (void) bus_call_async(vm->manager->bus, NULL, SYSTEMD_BUS_NAME, SYSTEMD_OBJECT, SYSTEMD_MANAGER_INTERFACE,
                              "KillUnit", NULL, NULL, "ssi", vm->unit, "all", SIGKILL);
}

int scope_set_limits(Vm *vm, bool quota) {
        _cleanup_message_ sd_bus_message *m = NULL;
        int r;

        r = sd_bus_message_new_method_call(vm->manager->bus, &m, SYSTEMD_BUS_NAME, SYSTEMD_OBJECT,
                                           SYSTEMD_MANAGER_INTERFACE, "SetUnitProperties");
        if (r >= 0)
                r = sd_bus_message_append(m, "sb", vm->unit, true);
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "(sv)");
        if (r >= 0 && quota)
                r = append_quota(m, vm);
        if (r >= 0)
                r = append_weights(m, vm);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        if (r >= 0)
                r = sd_bus_message_set_expect_reply(m, false);
        return r < 0 ? r : sd_bus_send(vm->manager->bus, m, NULL);
}

/* The path of a process in the unified hierarchy, "" for its root. NULL: no such process, or no such hierarchy. */
static char *cgroup_of_pid(pid_t pid) {
        _cleanup_free_ char *text = NULL;
        char path[32], *line;

        snprintf(path, sizeof(path), "/proc/%i/cgroup", pid);
        if (read_full_file(AT_FDCWD, path, 65536, &text, NULL) < 0)
                return NULL;
        line = startswith(text, "0::") ? text : strstr(text, "\n0::");
        if (!line)
                return NULL;
        line += line == text ? 3 : 4;
        return strndup(line, strcspn(line, "\n"));
}

char *scope_vm_of_pid(pid_t pid) {
        _cleanup_free_ char *cgroup = cgroup_of_pid(pid);
        const char *name;
        size_t n;

        name = cgroup ? strstr(cgroup, "/hero-vm-") : NULL;
        if (!name)
                return NULL;
        name += strlen("/hero-vm-");
        n = strcspn(name, "./");
        return startswith(name + n, ".scope") ? strndup(name, n) : NULL;
}

char *scope_cgroup_path(const Vm *vm, pid_t pid) {
        _cleanup_free_ char *cgroup = cgroup_of_pid(pid);
        size_t n = cgroup ? strlen(cgroup) : 0, l = strlen(vm->unit);

        if (n <= l || cgroup[n - l - 1] != '/' || !streq(cgroup + n - l, vm->unit))
                return NULL;
        return strprintf("/sys/fs/cgroup%s", cgroup);
}
