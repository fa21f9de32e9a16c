/* SPDX-License-Identifier: Apache-2.0 */

#include "metricsd/metrics-config.h"

#include "basic/alloc-util.h"
#include "basic/parse-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"

#define INTERVAL_DEFAULT (5 * USEC_PER_SEC)
#define INTERVAL_MIN (1 * USEC_PER_SEC)
#define INTERVAL_MAX (60 * USEC_PER_SEC)
#define SPACE_MIN (UINT64_C(8) << 20)

void metrics_config_defaults(MetricsConfig *c, const char *interval_secs, conf_problem_t problem, void *userdata) {
        _cleanup_free_ char *sentence = NULL;
        double seconds;

        *c = (MetricsConfig) { .interval = INTERVAL_DEFAULT, .space_max = UINT64_C(1) << 30 };
        if (isempty(interval_secs))
                return;
        if (parse_double(interval_secs, &seconds) >= 0 && seconds >= 1 && seconds <= 60) {
                c->interval = (uint64_t) (seconds * 1e6);
                return;
        }
        sentence = strprintf("METRICS_INTERVAL_SECS=%s: Must be a number between 1 and 60. The value is ignored.", interval_secs);
        problem(sentence ?: "METRICS_INTERVAL_SECS= is ignored.", userdata);
}

typedef enum Kind {
        KIND_INTERVAL,
        KIND_SIZE,
} Kind;

static const struct {
        const char *section, *key;
        Kind kind;
        size_t offset;
} keys[] = {
        { "Metrics", "Interval", KIND_INTERVAL, offsetof(MetricsConfig, interval) },
        { "History", "SpaceMax", KIND_SIZE, offsetof(MetricsConfig, space_max) },
};

static int why(char **ret, const char *sentence) {
        *ret = strdup(sentence);
        return -EINVAL;
}

static int assign_value(Kind kind, const char *value, uint64_t *target, char **ret_why) {
        uint64_t v;

        switch (kind) {

        case KIND_INTERVAL:
                if (parse_usec(value, &v) < 0 || v < INTERVAL_MIN || v > INTERVAL_MAX)
                        return why(ret_why, "Must be a time between 1s and 1min.");
                break;

        case KIND_SIZE:
                if (parse_size(value, &v) < 0 || v < SPACE_MIN || v > INT64_MAX)
                        return why(ret_why, "Must be a size of at least 8M, like 512M or 2G.");
                break;

        default:
                return -EINVAL;
        }
        *target = v;
        return 0;
}

static int assign(const char *section, const char *key, const char *value, void *userdata, char **ret_why) {
        for (size_t k = 0; k < ELEMENTSOF(keys); k++)
                if (streq(keys[k].section, section) && streq(keys[k].key, key))
                        return assign_value(keys[k].kind, value, (uint64_t *) ((char *) userdata + keys[k].offset), ret_why);
        return -ENOENT;
}

int metrics_config_load(MetricsConfig *c, const char *const *roots, conf_problem_t problem) {
        static const char *const defaults[] = { PKGSYSCONFDIR, "/run/hero-compute/conf", "/usr/lib/hero-compute", NULL };

        return conf_parse(roots ?: defaults, "metrics.conf", assign, problem, c);
}
