/* SPDX-License-Identifier: Apache-2.0 */

/* /org/hero/Compute/Metrics on the bus; the contract is dbus/org.hero.Compute.Metrics.xml. */

#include <math.h>
#include <stdio.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "metricsd/metricsd.h"
#include "metricsd/prometheus.h"
#include "shared/bus-util.h"
#include "shared/error-names.h"

/* What Latest() has besides metric_info. */
static const char *const level_names[] = { "cpus", "memory_limit_bytes" };

static int may(Metricsd *m, sd_bus_message *call, const char *vm, const char *user, const char *verb, sd_bus_error *error) {
        return polkit_check(m->polkit, call,
                            &(PolkitQuestion) { .action = ACTION_INSPECT, .vm = vm, .user = user, .verb = verb }, error);
}

static int append_names(sd_bus_message *reply, bool levels) {
        int r;

        r = sd_bus_message_open_container(reply, 'a', "s");
        for (Metric i = 0; r >= 0 && i < _METRIC_MAX; i++)
                r = sd_bus_message_append(reply, "s", metric_info[i].name);
        for (size_t i = 0; r >= 0 && levels && i < ELEMENTSOF(level_names); i++)
                r = sd_bus_message_append(reply, "s", level_names[i]);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int append_point(sd_bus_message *reply, const Point *p) {
        double values[_METRIC_MAX];
        int r;

        for (Metric i = 0; i < _METRIC_MAX; i++)
                values[i] = usage_value(&p->usage, i);
        r = sd_bus_message_open_container(reply, 'r', "tad");
        if (r >= 0)
                r = sd_bus_message_append(reply, "t", p->time * USEC_PER_MSEC);
        if (r >= 0)
                r = sd_bus_message_append_array(reply, 'd', values, sizeof(values));
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int reply_points(sd_bus_message *call, const char *id, uint64_t step, const Points *points) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        int r;

        r = sd_bus_message_new_method_return(call, &reply);
        if (r >= 0)
                r = sd_bus_message_append(reply, "st", id, step);
        if (r >= 0)
                r = append_names(reply, false);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(tad)");
        for (size_t i = 0; r >= 0 && points && i < points->n; i++)
                r = append_point(reply, points->points + i);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_message_send(reply);
}

/* A question that is with history. */
typedef struct Query {
        sd_bus_message *call;
        char *vm;
        uint64_t step; /* µs */
        bool exists;   /* there is such a VM now; vm is its id */
} Query;

static Query *query_free(Query *q) {
        if (!q)
                return NULL;
        sd_bus_message_unref(q->call);
        free(q->vm);
        return mfree(q);
}
DEFINE_TRIVIAL_CLEANUP_FUNC(Query *, query_free);

static void on_points(int error, const Points *points, void *userdata) {
        _cleanup_(query_freep) Query *q = userdata;
        _cleanup_free_ char *text = NULL;
        int r = 0;

        if (error >= 0 || (error == -ENOENT && q->exists))
                r = reply_points(q->call, points ? points->id : q->vm, q->step, points);
        else if (error == -ENOENT) {
                text = strprintf("There is no VM \"%.200s\", and no history of one.", q->vm);
                bus_reply_error(q->call, -ENXIO, text);
        } else if (error == -E2BIG) {
                text = strprintf("There are more than %u points, ask for a shorter time or a greater step.", POINTS_MAX);
                bus_reply_error(q->call, -EDQUOT, text);
        } else
                r = error;
        if (r < 0)
                bus_reply_error(q->call, r, NULL);
}

/* As fine as there is, where the points begin. */
static uint64_t step_for(const Metricsd *m, uint64_t from, uint64_t now) {
        uint64_t age = now > from ? (now - from) / USEC_PER_MSEC : 0;

        /* An hour ago, when somebody asked that, is a little more by now. */
        for (Tier t = TIER_FINE; t < TIER_HOURS; t++)
                if (age <= tier_keep(t) + tier_step(t + 1))
                        return t == TIER_FINE ? m->config.interval : tier_step(t) * USEC_PER_MSEC;
        return tier_step(TIER_HOURS) * USEC_PER_MSEC;
}

static int read_times(Metricsd *m, sd_bus_message *call, uint64_t *ret_from, uint64_t *ret_to, uint64_t *ret_step, sd_bus_error *error) {
        uint64_t now = now_usec(CLOCK_REALTIME);
        int r;

        r = sd_bus_message_read(call, "ttt", ret_from, ret_to, ret_step);
        if (r < 0)
                return r;
        if (*ret_to == 0 || *ret_to > now)
                *ret_to = now;
        if (*ret_from > *ret_to)
                return sd_bus_error_set(error, ERROR_INVALID_ARGUMENT, "The time begins after its end, or in the future.");
        if (*ret_step == 0)
                *ret_step = step_for(m, *ret_from, now);
        *ret_step = MIN2(MAX2((*ret_step + USEC_PER_MSEC - 1) / USEC_PER_MSEC * USEC_PER_MSEC, USEC_PER_MSEC), UINT64_C(366) * 86400 * USEC_PER_SEC);
        return 0;
}

static int method_query(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        _cleanup_(query_freep) Query *q = NULL;
        uint64_t from, to, step;
        Metricsd *m = userdata;
        const char *text;
        const Vm *vm;
        int r;

        r = sd_bus_message_read(call, "s", &text);
        if (r < 0)
                return r;
        vm = vms_find(&m->vms, text);
        r = may(m, call, vm ? vm->name : text, vm ? vm->user : NULL, "query-metrics", error);
        if (r <= 0)
                return r < 0 ? r : 1; /* will be dispatched again */
        r = read_times(m, call, &from, &to, &step, error);
        if (r < 0)
                return r;
        q = new0(Query, 1);
        if (!q)
                return -ENOMEM;
        q->vm = strdup(vm ? strempty(vm->id) : text);
        if (!q->vm)
                return -ENOMEM;
        q->call = sd_bus_message_ref(call);
        q->step = step;
        q->exists = !!vm;
        r = history_query(m->history, q->vm, from / USEC_PER_MSEC, to / USEC_PER_MSEC, step / USEC_PER_MSEC, on_points, q);
        if (r == -EBUSY)
                return sd_bus_error_set(error, ERROR_BUSY, "Too many questions are waiting for an answer, try again.");
        if (r < 0)
                return r;
        TAKE_PTR(q);
        return 1;
}

static int append_latest(sd_bus_message *reply, const Vm *vm) {
        double values[_METRIC_MAX + ELEMENTSOF(level_names)];
        int r;

        for (Metric i = 0; i < _METRIC_MAX; i++)
                values[i] = vm->usage.span > 0 ? usage_value(&vm->usage, i) : NAN;
        if (vm->usage.span == 0 && vm->counters.v[COUNTER_MEMORY] != VALUE_UNKNOWN)
                values[METRIC_MEMORY] = values[METRIC_MEMORY_MAX] = (double) vm->counters.v[COUNTER_MEMORY];
        values[_METRIC_MAX] = vm->cpus;
        values[_METRIC_MAX + 1] = (double) vm->memory;
        r = sd_bus_message_open_container(reply, 'r', "sssstad");
        if (r >= 0)
                r = sd_bus_message_append(reply, "sssst", strempty(vm->id), strempty(vm->name), strempty(vm->user), strempty(vm->state),
                                vm->sampled_time);
        if (r >= 0)
                r = sd_bus_message_append_array(reply, 'd', values, sizeof(values));
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int method_latest(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        Metricsd *m = userdata;
        Vm *vm;
        int r;

        r = may(m, call, NULL, NULL, "latest-metrics", error);
        if (r <= 0)
                return r < 0 ? r : 1;
        r = sd_bus_message_new_method_return(call, &reply);
        if (r >= 0)
                r = append_names(reply, true);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(sssstad)");
        TAILQ_FOREACH(vm, &m->vms.list, vms)
                if (r >= 0)
                        r = append_latest(reply, vm);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_message_send(reply);
}

static int method_export(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        Metricsd *m = userdata;
        int r;

        r = may(m, call, NULL, NULL, "export-metrics", error);
        if (r <= 0)
                return r < 0 ? r : 1;
        if (!m->text) {
                r = prometheus_text(m, &m->text);
                if (r < 0)
                        return r;
        }
        return sd_bus_reply_method_return(call, "s", m->text);
}

static int property_get_interval(sd_bus *bus, const char *path, const char *interface, const char *property, sd_bus_message *reply,
                                 void *userdata, sd_bus_error *error) {
        const Metricsd *m = userdata;

        return sd_bus_message_append(reply, "t", m->config.interval);
}

/* clang-format off */
static const sd_bus_vtable metrics_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("Query",
                SD_BUS_ARGS("s", vm, "t", from, "t", to, "t", step),
                SD_BUS_RESULT("s", id, "t", step, "as", metrics, "a(tad)", points),
                method_query, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Latest",
                SD_BUS_NO_ARGS, SD_BUS_RESULT("as", metrics, "a(sssstad)", vms),
                method_latest, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Export",
                SD_BUS_NO_ARGS, SD_BUS_RESULT("s", text),
                method_export, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("IntervalUSec", "t", property_get_interval, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_VTABLE_END,
};
/* clang-format on */

int metrics_bus_register(Metricsd *m) {
        return sd_bus_add_object_vtable(m->bus, NULL, METRICS_OBJECT, METRICS_INTERFACE, metrics_vtable, m);
}
