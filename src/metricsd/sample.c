/* SPDX-License-Identifier: Apache-2.0 */

#include "metricsd/sample.h"

#include <fcntl.h>
#include <stdio.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "metricsd/cgroup-file.h"
#include "metricsd/links.h"
#include "shared/log.h"

#define CGROUPS "/sys/fs/cgroup"
#define BATCH 64u /* VMs between two looks at the bus: some 2 ms */

/* Longer than so many intervals without a pass (the host was asleep) is a gap, not a slow time. */
#define GAP_INTERVALS 4

/* Links are read for all VMs at once, but what they did counts for the time between readings of a VM's own. Where a pass is held up
 * for longer than this part of the interval they are read again, else they would be told of a time that is not theirs. */
#define LINKS_AGE_PART 50

/* By how much the clock may go another way than time, and how long it must not, before what it calls old is deleted; and, for a host
 * that starts with a clock of long ago would lose all it has, before what lies ahead of it is. */
#define CLOCK_JUMP (10 * USEC_PER_SEC)
#define CLOCK_STEADY (600 * USEC_PER_SEC)
#define CLOCK_SETTLED (86400 * USEC_PER_SEC)

struct Sampler {
        Vms *vms;
        History *history;
        uint64_t interval;
        void (*passed)(void *userdata);
        void *userdata;
        sd_event_source *timer, *batch;
        int cgroups;
        Links links;
        bool has_links, links_failed;
        uint64_t links_time;      /* when they were read, CLOCK_BOOTTIME */
        SamplerStatus status;

        /* the pass under way */
        Vm *next;
        Pass *pass;
        uint64_t begun, before;   /* CLOCK_BOOTTIME of this and of the last pass; 0: there was none */
        uint64_t offset, steady;  /* from CLOCK_BOOTTIME to _REALTIME, and since when it is that */
};

const SamplerStatus *sampler_status(const Sampler *s) {
        return &s->status;
}

/* It was not read. What it is counted from next time: nothing, or that reading. */
static void forget_reading(Vm *vm, bool from_nothing) {
        cgroup_close(&vm->cgroup);
        vm->link = 0;
        vm->sampled = 0;
        vm->usage = (Usage) {};
        counters_unknown(&vm->counters);
        vm->known = from_nothing;
}

/* There is nothing to be read of it: it does not run. Any other error says nothing about that. */
static bool is_gone(int error) {
        return error == -ENOENT || error == -ENODEV || error == -ESRCH;
}

static void on_unread(Vm *vm, int error) {
        forget_reading(vm, is_gone(error));
        if (is_gone(error))
                vm->sampled_time = 0;
        else
                log_debug_errno(error, "Failed to read the cgroup of VM %s: %m", strna(vm->name));
}

/* Counters of a cgroup or link that was not there in the last pass began at 0 since. */
static void begin_at_nothing(Counters *before, const Counters *now, Counter from, Counter to) {
        for (Counter i = from; i <= to; i++)
                if (counter_info[i].type != COUNTER_LEVEL && now->v[i] != VALUE_UNKNOWN)
                        before->v[i] = 0;
}

/* Its link may have been made anew, under another index. */
static void read_link(Sampler *s, Vm *vm, Counters *before, Counters *now) {
        const LinkCounters *l = vm->link > 0 ? links_find(&s->links, vm->link) : NULL;

        if (!s->has_links || isempty(vm->tap))
                return;
        if (!l) {
                vm->link = links_index(&s->links, vm->tap);
                l = vm->link > 0 ? links_find(&s->links, vm->link) : NULL;
        } else
                before = NULL;
        if (!l) /* made since the dump */
                return;
        now->v[COUNTER_RECEIVE] = l->tx_bytes;
        now->v[COUNTER_TRANSMIT] = l->rx_bytes;
        now->v[COUNTER_RECEIVE_PACKETS] = l->tx_packets;
        now->v[COUNTER_TRANSMIT_PACKETS] = l->rx_packets;
        now->v[COUNTER_RECEIVE_DROPS] = l->tx_dropped;
        now->v[COUNTER_TRANSMIT_DROPS] = l->rx_dropped;
        if (before && vm->known)
                begin_at_nothing(before, now, COUNTER_RECEIVE, COUNTER_TRANSMIT_DROPS);
}

/* 1: it was opened just now. */
static int need_cgroup(const Sampler *s, Vm *vm) {
        int r;

        if (vm->pid == 0) /* nor a scope worth looking at: a moment of it may be left */
                return -ENOENT;
        if (cgroup_is_open(&vm->cgroup) && vm->cgroup_pid == vm->pid)
                return 0;
        cgroup_close(&vm->cgroup);
        r = cgroup_open(s->cgroups, strempty(vm->unit), vm->pid, &vm->cgroup);
        if (r < 0)
                return r;
        vm->cgroup_pid = vm->pid;
        return 1;
}

static int read_cgroup(const Sampler *s, Vm *vm, Counters *before, Counters *now) {
        int r, opened;

        opened = need_cgroup(s, vm);
        if (opened < 0)
                return opened;
        r = cgroup_read(&vm->cgroup, now);
        if (r < 0)
                return r;
        if (opened && vm->known)
                begin_at_nothing(before, now, COUNTER_CPU, COUNTER_IO_PRESSURE);
        return 0;
}

static int add_row(Sampler *s, const Vm *vm) {
        Pass *p = s->pass;
        PassRow *row;

        if (isempty(vm->id) || strlen(vm->id) >= VM_ID_MAX)
                return 0;
        if (!GREEDY_REALLOC(p->rows, p->n_allocated, p->n + 1))
                return -ENOMEM;
        row = p->rows + p->n++;
        row->usage = vm->usage;
        (void) snprintf(row->id, sizeof(row->id), "%s", vm->id);
        (void) snprintf(row->name, sizeof(row->name), "%s", strempty(vm->name));
        return 0;
}

static void sample(Sampler *s, Vm *vm) {
        Counters before = vm->counters, now;
        bool known = vm->known;
        uint64_t time, since;
        int r;

        r = read_cgroup(s, vm, &before, &now);
        if (r < 0) {
                on_unread(vm, r);
                return;
        }
        time = now_usec(CLOCK_BOOTTIME);
        since = vm->sampled > 0 ? vm->sampled : known ? s->before : 0;
        read_link(s, vm, &before, &now);
        vm->usage = (Usage) {};
        if (since > 0 && time > since && time - since <= GAP_INTERVALS * s->interval) {
                usage_between(&before, &now, time - since, &vm->usage);
                if (add_row(s, vm) < 0)
                        (void) log_oom();
        }
        vm->counters = now;
        vm->sampled = time;
        vm->sampled_time = now_usec(CLOCK_REALTIME);
        vm->known = true;
}

static int rearm(Sampler *s) {
        uint64_t now = now_usec(CLOCK_BOOTTIME), next = s->begun + s->interval;

        if (next <= now) /* late: nothing is made up for */
                next = now + s->interval;
        if (sd_event_source_set_time(s->timer, next) < 0)
                return -EIO;
        return sd_event_source_set_enabled(s->timer, SD_EVENT_ONESHOT);
}

static void end_pass(Sampler *s) {
        uint64_t now = now_usec(CLOCK_BOOTTIME);

        (void) sd_event_source_set_enabled(s->batch, SD_EVENT_OFF);
        if (s->pass->n > 0)
                history_write(s->history, TAKE_PTR(s->pass));
        s->pass = pass_free(s->pass);
        s->status.passes++;
        s->status.duration = now - s->begun;
        s->status.time = now_usec(CLOCK_REALTIME);
        s->before = s->begun;
        s->passed(s->userdata);
}

static void read_links(Sampler *s) {
        int r = links_read(&s->links);

        s->links_time = now_usec(CLOCK_BOOTTIME);
        s->has_links = r >= 0;
        if (r < 0 && !s->links_failed)
                log_warning_errno(r, "Failed to read the counters of network links, going on without: %m");
        s->links_failed = r < 0;
}

static int on_batch(sd_event_source *source, void *userdata) {
        Sampler *s = userdata;

        if (now_usec(CLOCK_BOOTTIME) - s->links_time > s->interval / LINKS_AGE_PART)
                read_links(s);
        for (unsigned i = 0; i < BATCH && s->next; i++) {
                Vm *vm = s->next;

                s->next = TAILQ_NEXT(vm, vms);
                sample(s, vm);
        }
        if (!s->next)
                end_pass(s);
        return 0;
}

/* A clock that was just set may be set back. Until it has kept its pace for a while, which is what is told, nothing is old by it. */
static uint64_t clock_is_steady_for(Sampler *s) {
        uint64_t offset = now_usec(CLOCK_REALTIME) - s->begun;
        uint64_t jump = offset > s->offset ? offset - s->offset : s->offset - offset;

        if (s->steady == 0 || jump > CLOCK_JUMP) {
                if (s->steady > 0)
                        log_notice("The clock was set. What is old by it is kept for ten minutes more.");
                s->offset = offset;
                s->steady = s->begun;
        }
        return s->begun - s->steady;
}

static int begin_pass(Sampler *s) {
        uint64_t covered, steady;

        s->pass = new0(Pass, 1);
        if (!s->pass)
                return log_oom();
        s->begun = now_usec(CLOCK_BOOTTIME);
        covered = s->before > 0 ? s->begun - s->before : s->interval;
        s->pass->time = (now_usec(CLOCK_REALTIME) - covered) / USEC_PER_MSEC;
        steady = clock_is_steady_for(s);
        s->pass->prune = steady >= CLOCK_STEADY;
        s->pass->settled = steady >= CLOCK_SETTLED;
        read_links(s);
        s->next = TAILQ_FIRST(&s->vms->list);
        return sd_event_source_set_enabled(s->batch, SD_EVENT_ON);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        Sampler *s = userdata;
        int r;

        if (s->pass) { /* the last one has not ended */
                s->status.late++;
        } else {
                r = begin_pass(s);
                if (r < 0)
                        s->pass = pass_free(s->pass);
        }
        return rearm(s);
}

void sampler_forget(Sampler *s, Vm *vm) {
        if (s && s->next == vm)
                s->next = TAILQ_NEXT(vm, vms);
}

static int add_sources(Sampler *s, sd_event *event) {
        int r;

        r = sd_event_add_time_relative(event, &s->timer, CLOCK_BOOTTIME, 0, USEC_PER_MSEC, on_timer, s);
        if (r >= 0)
                r = sd_event_source_set_description(s->timer, "pass");
        if (r >= 0)
                r = sd_event_add_defer(event, &s->batch, on_batch, s);
        if (r >= 0)
                r = sd_event_source_set_enabled(s->batch, SD_EVENT_OFF);
        return r < 0 ? r : sd_event_source_set_description(s->batch, "batch");
}

int sampler_new(sd_event *event, Vms *vms, History *history, uint64_t interval, void (*passed)(void *userdata), void *userdata,
                Sampler **ret) {
        _cleanup_(sampler_freep) Sampler *s = NULL;
        int r;

        s = new0(Sampler, 1);
        if (!s)
                return -ENOMEM;
        s->vms = vms;
        s->history = history;
        s->interval = interval;
        s->passed = passed;
        s->userdata = userdata;
        s->links.fd = -EBADF;
        /* $HERO_CGROUP_DIR is for tests. */
        s->cgroups = open(secure_getenv("HERO_CGROUP_DIR") ?: CGROUPS, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (s->cgroups < 0)
                return negative_errno();
        r = links_open(&s->links);
        if (r < 0)
                return r;
        r = add_sources(s, event);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(s);
        return 0;
}

Sampler *sampler_free(Sampler *s) {
        if (!s)
                return NULL;
        sd_event_source_disable_unref(s->timer);
        sd_event_source_disable_unref(s->batch);
        links_close(&s->links);
        pass_free(s->pass);
        safe_close(s->cgroups);
        return mfree(s);
}
