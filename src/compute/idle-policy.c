/* SPDX-License-Identifier: Apache-2.0 */

#include "compute/idle-policy.h"

#include "basic/string-util.h"

int idle_signals_parse(const char *s, unsigned *ret) {
        static const char *const names[] = { "network", "cpu", "sessions", "flows" };
        unsigned found = 0;

        while (*(s += strspn(s, " \t"))) {
                size_t n = strcspn(s, " \t"), i;

                for (i = 0; i < ELEMENTSOF(names); i++)
                        if (strlen(names[i]) == n && strncmp(s, names[i], n) == 0)
                                break;
                if (i == ELEMENTSOF(names))
                        return -EINVAL;
                found |= 1u << i;
                s += n;
        }
        if (found == 0)
                return -EINVAL;
        *ret = found;
        return 0;
}

static const char *const sentences[_IDLE_REASON_MAX] = {
        [IDLE_NOTHING] = "",
        [IDLE_CANNOT_SUSPEND] = "Its hypervisor cannot suspend.",
        [IDLE_NEVER] = "Its idle timeout says never.",
        [IDLE_HELD] = "It is held awake.",
        [IDLE_WOKEN] = "It has just been started, resumed or found.",
        [IDLE_TOUCHED] = "It was touched.",
        [IDLE_IN_SESSION] = "An exec session is open.",
        [IDLE_USED] = "It was used through exec or its console.",
        [IDLE_ON_NETWORK] = "There is traffic on its network.",
        [IDLE_COMPUTES] = "It uses CPU time.",
        [IDLE_CONNECTED] = "A connection from or to it is open.",
        [IDLE_NETWORK_UNKNOWN] = "The counters of its network device cannot be read.",
        [IDLE_CPU_UNKNOWN] = "Its CPU time cannot be read.",
        [IDLE_FLOWS_UNKNOWN] = "The host's table of connections cannot be read.",
};

const char *idle_reason_sentence(IdleReason r) {
        return (unsigned) r < _IDLE_REASON_MAX ? sentences[r] : "";
}

uint64_t idle_time_add(uint64_t a, uint64_t b) {
        return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

uint64_t idle_hold_left(uint64_t until_realtime, uint64_t now_realtime) {
        return until_realtime > now_realtime ? MIN2(until_realtime - now_realtime, IDLE_HOLD_MAX) : 0;
}

void idle_clock_start(IdleClock *c, uint64_t now, IdleReason reason) {
        *c = (IdleClock) { .active = now, .held = c->held, .reason = reason };
}

void idle_clock_touch(IdleClock *c, uint64_t now, IdleReason reason) {
        c->active = MAX2(c->active, now);
        c->reason = reason;
}

void idle_clock_hold(IdleClock *c, uint64_t now, uint64_t usec) {
        if (c->held > now || usec > 0)
                idle_clock_touch(c, now, usec > 0 ? IDLE_HELD : IDLE_TOUCHED);
        c->held = usec > 0 ? now + MIN2(usec, IDLE_HOLD_MAX) : 0;
}

/* How many intervals' worth it is to be measured by. A check that comes late finds more. */
static double intervals(const IdleSettings *s, uint64_t elapsed) {
        return elapsed > s->interval && s->interval > 0 ? (double) elapsed / (double) s->interval : 1;
}

static IdleReason look_at_network(const IdleClock *c, const IdleSettings *s, const IdleSample *now, uint64_t elapsed) {
        const IdleSample *then = &c->baseline;

        if (now->no_network)
                return IDLE_NOTHING;
        if (now->bytes == IDLE_UNKNOWN || then->bytes == IDLE_UNKNOWN || then->no_network || now->bytes < then->bytes)
                return IDLE_NETWORK_UNKNOWN;
        return (double) (now->bytes - then->bytes) > (double) s->network_noise * intervals(s, elapsed) ? IDLE_ON_NETWORK :
                                                                                                        IDLE_NOTHING;
}

static IdleReason look_at_cpu(const IdleClock *c, const IdleSettings *s, const IdleSample *now, uint64_t elapsed) {
        const IdleSample *then = &c->baseline;
        double allowed = (double) s->interval * s->cpu_threshold / 100 * intervals(s, elapsed);

        if (now->cpu == IDLE_UNKNOWN || then->cpu == IDLE_UNKNOWN || now->cpu < then->cpu)
                return IDLE_CPU_UNKNOWN;
        return (double) (now->cpu - then->cpu) > allowed ? IDLE_COMPUTES : IDLE_NOTHING;
}

static IdleReason look(const IdleClock *c, const IdleSettings *s, const IdleSample *now, uint64_t elapsed) {
        IdleReason r = IDLE_NOTHING;

        if (c->held > now->time)
                return IDLE_HELD;
        if (s->signals & IDLE_SESSIONS && now->sessions > 0)
                return IDLE_IN_SESSION;
        if (s->signals & IDLE_NETWORK)
                r = look_at_network(c, s, now, elapsed);
        if (r == IDLE_NOTHING && s->signals & IDLE_CPU)
                r = look_at_cpu(c, s, now, elapsed);
        return r;
}

static bool has_flow(const IdleClock *c) {
        return c->reason == IDLE_CONNECTED || c->reason == IDLE_FLOWS_UNKNOWN;
}

bool idle_clock_check(IdleClock *c, const IdleSettings *s, const IdleSample *now) {
        IdleReason flow = has_flow(c) && s->signals & IDLE_FLOWS ? c->reason : IDLE_NOTHING;
        uint64_t elapsed = now->time > c->baseline.time ? now->time - c->baseline.time : 0;
        IdleReason r;

        if (!c->sampled) {
                /* What it did until now is not known. */
                idle_clock_touch(c, now->time, c->held > now->time ? IDLE_HELD : c->reason);
                c->baseline = *now;
                c->sampled = true;
                return false;
        }
        r = look(c, s, now, elapsed);
        if (r != IDLE_NOTHING)
                idle_clock_touch(c, now->time, r);
        else if (s->signals & IDLE_SESSIONS && now->used > c->active) {
                /* When that was is known to the µs, so it may well be due all the same. */
                idle_clock_touch(c, now->used, IDLE_USED);
                r = now->used > c->baseline.time ? IDLE_USED : IDLE_NOTHING;
        }
        c->reason = r != IDLE_NOTHING ? r : flow;
        if (elapsed >= s->interval)
                c->baseline = *now;
        return r == IDLE_NOTHING;
}

bool idle_clock_needs_flows(const IdleClock *c, const IdleSettings *s, uint64_t now, uint64_t timeout) {
        if (!(s->signals & IDLE_FLOWS) || c->baseline.no_network)
                return false;
        /* One that there was is watched until it ends, for it is from then on that the VM is idle. */
        return has_flow(c) || idle_clock_is_due(c, now, timeout);
}

void idle_clock_flows(IdleClock *c, uint64_t now, int flows) {
        if (flows != 0)
                idle_clock_touch(c, now, flows > 0 ? IDLE_CONNECTED : IDLE_FLOWS_UNKNOWN);
        else
                c->reason = IDLE_NOTHING;
}

uint64_t idle_clock_end(const IdleClock *c, uint64_t timeout) {
        return idle_time_add(MAX2(c->active, c->held), timeout);
}

bool idle_clock_is_due(const IdleClock *c, uint64_t now, uint64_t timeout) {
        return c->sampled && c->reason == IDLE_NOTHING && timeout != UINT64_MAX && now >= idle_clock_end(c, timeout);
}
