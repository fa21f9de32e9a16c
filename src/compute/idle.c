/* SPDX-License-Identifier: Apache-2.0 */

/* What a check reads is read for all VMs together where that can be: the counters of all links are one dump, and so are all
 * connections; only the CPU time is a file for each. What idle-policy.c makes of it is decided there. */

#include "compute/idle.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "compute/agent.h"
#include "compute/manager.h"
#include "compute/requests.h"
#include "compute/scope.h"
#include "network/flows.h"
#include "network/link.h"
#include "shared/log.h"

/* Jobs of ours at a time: each makes PID 1 work, and others want something from it, too. */
#define JOBS_AT_ONCE 16u
/* Until those are looked at for which it were too many. */
#define LEFT_OVER_USEC (100 * USEC_PER_MSEC)
/* A VM that may not be hibernated now, as the disk is full, say, is not asked for all the time. */
#define RETRY_USEC (60 * USEC_PER_SEC)
/* Reading the table of connections takes as long as there are many, whosever they are; so much of our time may go into it. */
#define CONNECTIONS_SHARE 100u
/* After what is to be done about VMs: input that waits to be read is activity. */
#define PRIORITY (SD_EVENT_PRIORITY_NORMAL + 10)
/* What two readings of two clocks may differ in without one of them having been set. */
#define OFFSET_TOLERANCE ((int64_t) (10 * USEC_PER_MSEC))

uint64_t idle_timeout(const Vm *vm) {
        return vm->spec.idle_timeout ?: vm->manager->config.idle_timeout;
}

uint64_t idle_hibernate_delay(const Vm *vm) {
        return vm->spec.hibernate_delay ?: vm->manager->config.hibernate_delay;
}

static bool may_suspend(const Vm *vm) {
        return vm->state == VM_RUNNING && vm->hypervisor->pause && idle_timeout(vm) != USEC_INFINITY;
}

static bool may_hibernate(const Vm *vm) {
        return vm->state == VM_SUSPENDED && vm->hypervisor->save && idle_hibernate_delay(vm) != USEC_INFINITY;
}

static bool may_sleep(const Vm *vm) {
        return may_suspend(vm) || may_hibernate(vm);
}

/* What is said for people */

/* The offset is kept, so that two who ask get the same answer, until somebody sets the clock. */
static uint64_t to_realtime(Manager *m, uint64_t boottime) {
        int64_t offset = (int64_t) (now_usec(CLOCK_REALTIME) - now_usec(CLOCK_BOOTTIME)), *kept = &m->idle.realtime_offset;

        if (offset - *kept > OFFSET_TOLERANCE || *kept - offset > OFFSET_TOLERANCE)
                *kept = offset;
        return boottime == USEC_INFINITY ? USEC_INFINITY : boottime + (uint64_t) *kept;
}

uint64_t idle_held_until(const Vm *vm) {
        uint64_t held = vm->idle.clock.held;

        return held > now_usec(CLOCK_BOOTTIME) ? to_realtime(vm->manager, held) : 0;
}

static IdleReason awake_reason(const Vm *vm) {
        if (vm->state != VM_RUNNING)
                return IDLE_NOTHING;
        if (!vm->hypervisor->pause)
                return IDLE_CANNOT_SUSPEND;
        if (idle_timeout(vm) == USEC_INFINITY)
                return IDLE_NEVER;
        if (vm->idle.clock.held > now_usec(CLOCK_BOOTTIME))
                return IDLE_HELD;
        return vm->idle.clock.reason;
}

const char *idle_awake_reason(const Vm *vm, char buf[static IDLE_SENTENCE_MAX]) {
        IdleReason r = awake_reason(vm);
        char until[FORMAT_TIMESTAMP_MAX];

        if (r == IDLE_CANNOT_SUSPEND)
                (void) snprintf(buf, IDLE_SENTENCE_MAX, "The %s hypervisor cannot suspend.", vm->hypervisor->name);
        else if (r == IDLE_HELD)
                (void) snprintf(buf, IDLE_SENTENCE_MAX, "It is held awake until %s.",
                                format_timestamp(until, idle_held_until(vm)));
        else
                (void) snprintf(buf, IDLE_SENTENCE_MAX, "%s", idle_reason_sentence(r));
        return buf;
}

uint64_t idle_since(const Vm *vm) {
        if (vm->state == VM_RUNNING)
                return may_suspend(vm) && awake_reason(vm) == IDLE_NOTHING ? to_realtime(vm->manager, vm->idle.clock.active) : 0;
        if (vm->state == VM_SUSPENDING || vm->state == VM_SUSPENDED || vm->state == VM_HIBERNATING || vm->state == VM_HIBERNATED)
                return to_realtime(vm->manager, vm->idle.clock.active);
        return 0;
}

static uint64_t hibernation_time(const Vm *vm) {
        return MAX2(idle_time_add(vm->idle.asleep, idle_hibernate_delay(vm)), vm->idle.clock.held);
}

uint64_t idle_sleep_time(const Vm *vm) {
        if (may_suspend(vm))
                return to_realtime(vm->manager, idle_clock_end(&vm->idle.clock, idle_timeout(vm)));
        return may_hibernate(vm) ? to_realtime(vm->manager, hibernation_time(vm)) : USEC_INFINITY;
}

/* Whether the sentence is another, not whether its time is. */
static void announce(Vm *vm) {
        IdleReason r = awake_reason(vm);

        if (r == vm->idle.shown)
                return;
        vm->idle.shown = r;
        vm_changed(vm, "AwakeReason", NULL);
}

/* It moves with every key that is pressed, so it is told at checks and with changes of the state only. */
static void announce_activity(Vm *vm) {
        if (vm->last_activity != vm->idle.told)
                vm_changed(vm, "LastActivityTimestamp", NULL);
}

void idle_activity_told(Vm *vm) {
        vm->idle.told = vm->last_activity;
}

/* Reading */

typedef struct Check {
        Manager *manager;
        IdleSettings settings;
        uint64_t now;
        LinkCounters *counters;
        size_t n_counters;
        bool counted;           /* … or tried to */
        Vm **quiet;             /* nothing but a connection may keep these awake */
        size_t n_quiet, allocated_quiet;
        Vm **asleep;            /* these are to be hibernated */
        size_t n_asleep, allocated_asleep;
        unsigned jobs;          /* of ours that run */
        bool any;               /* there are VMs that may come to sleep */
} Check;

static void check_done(Check *c) {
        free(c->counters);
        free(c->quiet);
        free(c->asleep);
}

static void read_counters(Check *c) {
        Idle *i = &c->manager->idle;
        int r = 0;

        c->counted = true;
        c->counters = mfree(c->counters);
        c->n_counters = 0;
        if (!i->links)
                r = netlink_open(&i->links);
        if (r >= 0)
                r = link_counters(i->links, &c->counters, &c->n_counters);
        if (r < 0)
                (void) log_debug_errno(r, "Cannot read the counters of network devices: %m");
}

static uint64_t bytes_of(Check *c, const Vm *vm) {
        const LinkCounters *l;

        if (!c->counted)
                read_counters(c);
        l = link_counters_find(c->counters, c->n_counters, vm->tap_ifindex);
        return l ? l->received_bytes + l->sent_bytes : IDLE_UNKNOWN;
}

static int open_cpu_stat(const Vm *vm) {
        _cleanup_free_ char *cgroup = scope_cgroup_path(vm, vm->runtime->process.pid), *path = NULL;

        path = cgroup ? strprintf("%s/cpu.stat", cgroup) : NULL;
        return path ? open(path, O_RDONLY | O_CLOEXEC) : -EBADF;
}

static uint64_t cpu_of(const Vm *vm) {
        VmRuntime *rt = vm->runtime;
        const char *number;
        char buf[64];
        ssize_t n;

        if (rt->cpu_stat_fd < 0)
                rt->cpu_stat_fd = open_cpu_stat(vm);
        n = rt->cpu_stat_fd >= 0 ? pread(rt->cpu_stat_fd, buf, sizeof(buf) - 1, 0) : -1;
        if (n <= 0)
                return IDLE_UNKNOWN;
        buf[n] = 0;
        number = startswith(buf, "usage_usec ");
        return number ? strtoull(number, NULL, 10) : IDLE_UNKNOWN;
}

static IdleSample sample(Check *c, const Vm *vm) {
        unsigned signals = c->settings.signals;

        return (IdleSample) {
                .time = c->now,
                .no_network = vm->tap_ifindex == 0,
                .bytes = signals & IDLE_NETWORK && vm->tap_ifindex != 0 ? bytes_of(c, vm) : 0,
                .cpu = signals & IDLE_CPU ? cpu_of(vm) : 0,
                .used = vm->idle.used,
                .sessions = agent_n_sessions(vm->runtime->agent),
        };
}

static bool look(Check *c, Vm *vm) {
        const IdleSample s = sample(c, vm);

        return idle_clock_check(&vm->idle.clock, &c->settings, &s);
}

/* The addresses by which the VM is known to the kernel. */
static size_t addresses_of(const Vm *vm, FlowAddress ret[static VM_ADDRESSES_MAX]) {
        const Address *a[VM_ADDRESSES_MAX];
        size_t n = vm_network_addresses(vm, a);

        for (size_t i = 0; i < n; i++)
                ret[i] = (FlowAddress) { .address = *a[i] };
        return n;
}

static int read_flows(Check *c, FlowAddress *addresses, size_t n) {
        uint64_t begun = now_usec(CLOCK_BOOTTIME), now;
        Idle *i = &c->manager->idle;
        int r = 0;

        if (n == 0)
                return 0;
        if (!i->connections)
                r = netlink_open_netfilter(&i->connections);
        if (r >= 0)
                r = flows_find(i->connections, addresses, n);
        if (r < 0)
                (void) log_debug_errno(r, "Cannot read the table of connections: %m");
        now = now_usec(CLOCK_BOOTTIME);
        i->connections_after = now + (now - begun) * CONNECTIONS_SHARE;
        return r;
}

static bool needs_flows(const Check *c, const Vm *vm) {
        return idle_clock_needs_flows(&vm->idle.clock, &c->settings, c->now, idle_timeout(vm));
}

/* It is too early to read them again: those that had one may have it still, and the others are due a little later. */
static void put_off_flows(Check *c) {
        size_t n = 0;

        for (size_t i = 0; i < c->n_quiet; i++) {
                Vm *vm = c->quiet[i];

                if (!needs_flows(c, vm))
                        c->quiet[n++] = vm;
                else if (vm->idle.clock.reason != IDLE_NOTHING)
                        idle_clock_touch(&vm->idle.clock, c->now, vm->idle.clock.reason);
        }
        c->n_quiet = n;
}

static void look_at_flows(Check *c) {
        _cleanup_free_ FlowAddress *all = new(FlowAddress, 2 * c->n_quiet + 1);
        size_t n = 0;
        int r;

        for (size_t i = 0; all && i < c->n_quiet; i++)
                if (needs_flows(c, c->quiet[i]))
                        n += addresses_of(c->quiet[i], all + n);
        r = all ? read_flows(c, all, n) : -ENOMEM;
        for (size_t i = 0; i < c->n_quiet; i++) {
                Vm *vm = c->quiet[i];
                FlowAddress own[VM_ADDRESSES_MAX];
                size_t n_own = addresses_of(vm, own);
                bool open = false;

                if (!needs_flows(c, vm))
                        continue;
                for (size_t k = 0; k < n_own; k++)
                        open = open || (r >= 0 && flows_is_open(all, n, &own[k].address));
                idle_clock_flows(&vm->idle.clock, c->now, n_own == 0 ? 0 : r < 0 ? r : open);
        }
}

/* Acting */

static bool is_due(const Check *c, const Vm *vm) {
        return idle_clock_is_due(&vm->idle.clock, c->now, idle_timeout(vm));
}

/* False: there are too many already. */
static bool has_room(Check *c) {
        if (c->jobs < JOBS_AT_ONCE)
                return true;
        c->manager->idle.left_over = true;
        return false;
}

static void suspend(Check *c, Vm *vm) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        char idle[FORMAT_TIMESPAN_MAX];
        const LinkCounters *l;
        Job *j;
        int r;

        log_vm_debug(vm, "VM '%s' has been idle for %s and is suspended.", vm->name,
                     format_timespan(idle, c->now - vm->idle.clock.active));
        r = request_suspend(vm, &j, &error);
        if (r < 0) {
                log_vm_warning(vm, "VM '%s' is idle and cannot be suspended: %s", vm->name, error.message ?: strerror(-r));
                return;
        }
        /* What came since it was looked at counts. */
        if (c->counted && (l = link_counters_find(c->counters, c->n_counters, vm->tap_ifindex)))
                vm_network_listen(vm, l);
        vm->idle.job = j->id;
        c->jobs++;
}

static void hibernate(Check *c, Vm *vm) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        Job *j;
        int r;

        r = request_hibernate(vm, &j, &error);
        if (r >= 0) {
                vm->idle.job = j->id;
                c->jobs++;
                return;
        }
        log_vm_warning(vm, "VM '%s' stays suspended and cannot be hibernated: %s", vm->name, error.message ?: strerror(-r));
        vm->idle.asleep = MAX2(c->now, c->now + RETRY_USEC - MIN2(idle_hibernate_delay(vm), RETRY_USEC));
}

/* What was read of these may be as old as all that was done meanwhile: they are looked at again. */
static void suspend_due(Check *c) {
        c->counted = false;
        c->now = now_usec(CLOCK_BOOTTIME);
        for (size_t i = 0; i < c->n_quiet; i++) {
                Vm *vm = c->quiet[i];

                if (is_due(c, vm) && has_room(c) && look(c, vm) && is_due(c, vm))
                        suspend(c, vm);
                announce(vm);
        }
}

static void hibernate_due(Check *c) {
        for (size_t i = 0; i < c->n_asleep; i++)
                if (has_room(c))
                        hibernate(c, c->asleep[i]);
}

/* The first part, which is all there is to it for nearly all VMs. */
static int check_vm(Check *c, Vm *vm) {
        c->any = c->any || may_sleep(vm);
        announce_activity(vm);
        if (vm->job) {
                c->jobs += vm->job->id == vm->idle.job;
                return 0;
        }
        if (may_hibernate(vm) && c->now >= hibernation_time(vm)) {
                if (!GREEDY_REALLOC(c->asleep, c->allocated_asleep, c->n_asleep + 1))
                        return -ENOMEM;
                c->asleep[c->n_asleep++] = vm;
        }
        if (!may_suspend(vm) || !vm->runtime)
                return 0;
        if (!look(c, vm) || (!needs_flows(c, vm) && !is_due(c, vm))) {
                announce(vm);
                return 0;
        }
        if (!GREEDY_REALLOC(c->quiet, c->allocated_quiet, c->n_quiet + 1))
                return -ENOMEM;
        c->quiet[c->n_quiet++] = vm;
        return 0;
}

static void arm(Manager *m, uint64_t usec);

static int on_check(sd_event_source *s, uint64_t usec, void *userdata) {
        Manager *m = userdata;
        const ComputeConfig *config = &m->config;
        _cleanup_(check_done) Check c = {
                .manager = m,
                .now = now_usec(CLOCK_BOOTTIME),
                .settings = {
                        .signals = config->idle_signals,
                        .interval = config->check_interval,
                        .network_noise = config->network_noise,
                        .cpu_threshold = config->cpu_threshold,
                },
        };
        Vm *vm, *next;

        m->idle.left_over = false;
        HASH_ITER(hh_name, m->vms_by_name, vm, next)
                if (check_vm(&c, vm) < 0)
                        (void) log_oom(); /* it stays awake until the next time */
        if (c.n_quiet > 0) {
                if (c.now >= m->idle.connections_after)
                        look_at_flows(&c);
                else
                        put_off_flows(&c);
                suspend_due(&c);
        }
        hibernate_due(&c);
        if (c.any)
                arm(m, config->check_interval);
        return 0;
}

/* No later than in that time. */
static void arm(Manager *m, uint64_t usec) {
        uint64_t accuracy = MIN2(m->config.check_interval / 10, USEC_PER_SEC), at = now_usec(CLOCK_BOOTTIME) + usec, armed;
        sd_event_source **t = &m->idle.timer;
        int enabled = SD_EVENT_OFF, r = 0;

        if (!m->serving)
                return;
        if (!*t) {
                r = sd_event_add_time(m->event, t, CLOCK_BOOTTIME, at, accuracy, on_check, m);
                if (r >= 0)
                        r = sd_event_source_set_priority(*t, PRIORITY);
        } else if (sd_event_source_get_enabled(*t, &enabled) <= 0 || sd_event_source_get_time(*t, &armed) < 0 || armed > at) {
                r = sd_event_source_set_time(*t, at);
                if (r >= 0)
                        r = sd_event_source_set_time_accuracy(*t, accuracy);
                if (r >= 0)
                        r = sd_event_source_set_enabled(*t, SD_EVENT_ONESHOT);
        }
        if (r < 0)
                (void) log_error_errno(r, "Idle VMs are not noticed: %m");
}

static void arm_for(Vm *vm) {
        Manager *m = vm->manager;

        if (may_sleep(vm))
                arm(m, m->config.check_interval);
        if (m->idle.left_over)
                arm(m, LEFT_OVER_USEC);
}

void idle_vm_state_changed(Vm *vm) {
        uint64_t now = now_usec(CLOCK_BOOTTIME);

        if (vm->state == VM_RUNNING)
                idle_clock_start(&vm->idle.clock, now, IDLE_WOKEN);
        if (vm->state == VM_SUSPENDED)
                vm->idle.asleep = now;
        announce(vm);
        announce_activity(vm);
        arm_for(vm);
}

/* What is being done as the VM is idle, which it is not any more. */
static void cancel(Vm *vm) {
        if (vm->job && vm->job->id == vm->idle.job)
                (void) job_cancel(vm->job, NULL);
}

void idle_vm_policy_changed(Vm *vm) {
        if (vm->state != VM_SUSPENDED && idle_timeout(vm) == USEC_INFINITY)
                cancel(vm);
        /* Nobody has looked at it while it was never to sleep. */
        if (vm->state == VM_RUNNING && (vm->idle.shown == IDLE_NEVER || vm->idle.shown == IDLE_CANNOT_SUSPEND) && may_suspend(vm))
                idle_clock_start(&vm->idle.clock, now_usec(CLOCK_BOOTTIME), IDLE_TOUCHED);
        announce(vm);
        arm_for(vm);
}

void idle_config_changed(Manager *m, uint64_t old_timeout, uint64_t old_delay) {
        Vm *vm, *next;

        HASH_ITER(hh_name, m->vms_by_name, vm, next) {
                if (vm->spec.idle_timeout == 0 && m->config.idle_timeout != old_timeout)
                        vm_changed(vm, "IdleTimeoutUSec", NULL);
                if (vm->spec.hibernate_delay == 0 && m->config.hibernate_delay != old_delay)
                        vm_changed(vm, "HibernateDelayUSec", NULL);
                idle_vm_policy_changed(vm);
        }
}

void idle_used(Vm *vm) {
        vm->idle.used = now_usec(CLOCK_BOOTTIME);
        cancel(vm);
        if (vm->last_activity != vm->idle.told)
                arm(vm->manager, vm->manager->config.check_interval); /* which nobody may have needed so far */
}

void idle_touch(Vm *vm) {
        uint64_t now = now_usec(CLOCK_BOOTTIME);

        vm_touch(vm);
        idle_clock_touch(&vm->idle.clock, now, IDLE_TOUCHED);
        vm->idle.asleep = now;
        announce(vm);
}

void idle_hold(Vm *vm, uint64_t usec) {
        bool held = vm->idle.shown == IDLE_HELD;

        if (usec > 0)
                cancel(vm);
        idle_clock_hold(&vm->idle.clock, now_usec(CLOCK_BOOTTIME), usec);
        announce(vm);
        if (held && vm->idle.shown == IDLE_HELD)
                vm_changed(vm, "AwakeReason", NULL); /* until another time */
}

/* Since when it sleeps is in its history; what came before a restart of ours counts, too. */
static uint64_t asleep_since(const Vm *vm) {
        uint64_t now = now_usec(CLOCK_BOOTTIME), realtime = now_usec(CLOCK_REALTIME), age;
        const Event *e = vm->events.n > 0 ? event_ring_get(&vm->events, vm->events.n - 1) : NULL;

        age = e && e->to == vm->state && e->timestamp < realtime ? realtime - e->timestamp : 0;
        return age < now ? now - age : now;
}

void idle_begin(Manager *m) {
        Vm *vm, *next;

        HASH_ITER(hh_name, m->vms_by_name, vm, next) {
                vm->idle.told = vm->last_activity;
                idle_vm_state_changed(vm);
                vm->idle.asleep = asleep_since(vm);
                if (vm->state != VM_RUNNING)
                        vm->idle.clock.active = vm->idle.asleep;
        }
}

void idle_done(Manager *m) {
        m->idle.timer = sd_event_source_disable_unref(m->idle.timer);
        m->idle.links = netlink_close(m->idle.links);
        m->idle.connections = netlink_close(m->idle.connections);
}
