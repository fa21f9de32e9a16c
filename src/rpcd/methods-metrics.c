/* SPDX-License-Identifier: Apache-2.0 */

/* vm.metrics.query: a call of Query() of hero-metricsd, its numbers as JSON. Parameters and result as the seed leaves them open are in
 * docs/json-rpc.md. */

#include <ctype.h>
#include <math.h>

#include "basic/parse-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "rpcd/call-util.h"
#include "rpcd/methods.h"
#include "shared/bus-util.h"
#include "shared/error-names.h"

#define QUERY_TIMEOUT (25 * USEC_PER_SEC)
#define DEFAULT_TIME (3600 * USEC_PER_SEC)
#define NAMES_MAX 64u

/* "2026-11-21T11:20:12Z", as we write times, with or without a fraction; or seconds since the epoch. */
static int parse_time(const char *s, uint64_t *ret) {
        struct tm tm = {};
        const char *rest;
        time_t t;
        int r;

        r = parse_uint64(s, ret);
        if (r >= 0)
                return __builtin_mul_overflow(*ret, USEC_PER_SEC, ret) ? -ERANGE : 0;
        rest = strptime(s, "%Y-%m-%dT%H:%M:%S", &tm);
        if (!rest)
                return -EINVAL;
        if (*rest == '.')
                for (rest++; isdigit((unsigned char) *rest); rest++)
                        ;
        t = timegm(&tm);
        if (!streq(rest, "Z") || t < 0)
                return -EINVAL;
        *ret = (uint64_t) t * USEC_PER_SEC;
        return 0;
}

static int read_time(Call *c, const char *name, uint64_t fallback, uint64_t *ret) {
        const char *s = call_string(c, name);

        *ret = fallback;
        if (!s || parse_time(s, ret) >= 0)
                return 0;
        call_refuse(c, ERROR_INVALID_ARGUMENT, "%s must be a time like 2026-11-21T11:20:12Z, or seconds since 1970.", name);
        return -EINVAL;
}

/* Bytes are whole; of rates and percentages three places say all there is. */
static json_t *number(const char *name, double v) {
        size_t n = strlen(name);

        if (!isfinite(v) || v < 0 || v >= 1e15)
                return json_null();
        if (n > 6 && streq(name + n - 6, "_bytes"))
                return json_integer((json_int_t) v);
        return json_real((double) (int64_t) (v * 1000 + 0.5) / 1000);
}

static int read_names(sd_bus_message *m, const char *names[static NAMES_MAX], size_t *ret_n) {
        const char *s;
        int r;

        *ret_n = 0;
        r = sd_bus_message_enter_container(m, 'a', "s");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read_basic(m, 's', &s)) > 0)
                if (*ret_n < NAMES_MAX)
                        names[(*ret_n)++] = s;
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

/* metric NULL: all. */
static int read_point(sd_bus_message *m, const char *const names[], size_t n, const char *metric, json_t *points) {
        json_t *point = json_object();
        const double *values;
        uint64_t time;
        size_t size;
        int r;

        r = sd_bus_message_read(m, "t", &time);
        if (r >= 0)
                r = sd_bus_message_read_array(m, 'd', (const void **) &values, &size);
        if (r >= 0 && json_object_set_new(point, "timestamp", json_timestamp(time)) < 0)
                r = -ENOMEM;
        for (size_t i = 0; r >= 0 && i < n && i < size / sizeof(double); i++)
                if ((!metric || streq(metric, names[i])) && json_object_set_new_nocheck(point, names[i], number(names[i], values[i])) < 0)
                        r = -ENOMEM;
        if (r < 0) {
                json_decref(point);
                return r;
        }
        return json_array_append_new(points, point) < 0 ? -ENOMEM : 0;
}

static int read_points(sd_bus_message *m, const char *const names[], size_t n, const char *metric, json_t *points) {
        int r;

        r = sd_bus_message_enter_container(m, 'a', "(tad)");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_enter_container(m, 'r', "tad")) > 0) {
                r = read_point(m, names, n, metric, points);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
                if (r < 0)
                        return r;
        }
        return r;
}

static bool is_among(const char *metric, const char *const names[], size_t n) {
        for (size_t i = 0; i < n; i++)
                if (streq(metric, names[i]))
                        return true;
        return false;
}

static json_t *seconds(uint64_t usec) {
        return usec % USEC_PER_SEC == 0 ? json_integer((json_int_t) (usec / USEC_PER_SEC)) : json_real((double) usec / 1e6);
}

static int on_queried(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        const char *names[NAMES_MAX], *id, *metric;
        json_t *points;
        Call *c = userdata;
        uint64_t step;
        size_t n;
        int r;

        if (call_failed(c, reply))
                return 0;
        metric = call_string(c, "metric");
        r = sd_bus_message_read(reply, "st", &id, &step);
        if (r >= 0)
                r = read_names(reply, names, &n);
        if (r < 0) {
                call_errno(c, r);
                return 0;
        }
        if (metric && !is_among(metric, names, n)) {
                call_refuse(c, ERROR_INVALID_ARGUMENT, "There is no metric \"%.100s\".", metric);
                return 0;
        }
        points = json_array();
        r = read_points(reply, names, n, metric, points);
        if (r < 0) {
                json_decref(points);
                call_errno(c, r);
        } else
                call_result(c, json_pack("{s:s, s:o, s:o}", "vm_id", id, "interval_secs", seconds(step), "points", points));
        return 0;
}

void method_vm_metrics_query(Call *c) {
        uint64_t now = now_usec(CLOCK_REALTIME), from, to;
        sd_bus_message *m = NULL;
        int r;

        if (read_time(c, "to", now, &to) < 0 || read_time(c, "from", to > DEFAULT_TIME ? to - DEFAULT_TIME : 0, &from) < 0)
                return;
        r = sd_bus_message_new_method_call(c->rpcd->bus, &m, METRICS_BUS_NAME, METRICS_OBJECT, METRICS_INTERFACE, "Query");
        if (r >= 0)
                r = sd_bus_message_append(m, "sttt", c->vm_id, from, to, (uint64_t) call_integer(c, "step", 0) * USEC_PER_SEC);
        if (r < 0) {
                sd_bus_message_unref(m);
                call_errno(c, r);
                return;
        }
        call_bus(c, m, on_queried, QUERY_TIMEOUT);
}
