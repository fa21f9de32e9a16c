/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* metrics.conf(5). Read at start. */

#include "basic/macro.h"
#include "shared/conf-file.h"

typedef struct MetricsConfig {
        /* [Metrics] */
        uint64_t interval; /* µs */

        /* [History] */
        uint64_t space_max; /* bytes */
} MetricsConfig;

/* With METRICS_INTERVAL_SECS, as hero_compute_manager had it (seconds; NULL: it is not set). */
void metrics_config_defaults(MetricsConfig *c, const char *interval_secs, conf_problem_t problem, void *userdata);

/* The files go over it; as compute_config_load(). */
int metrics_config_load(MetricsConfig *c, const char *const *roots, conf_problem_t problem);
