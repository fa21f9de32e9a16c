/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The text format of Prometheus (https://prometheus.io/docs/instrumenting/exposition_formats/), version 0.0.4. Names of series stay as
 * they are: dashboards are made of them. docs/metrics.md lists them. */

#include "metricsd/metricsd.h"

/* An answer that a bus carries; VMs that do not fit are left out, which hero_metrics_vms_left_out tells. */
#define PROMETHEUS_TEXT_MAX (UINT64_C(24) << 20)

/* To be freed. */
int prometheus_text(const Metricsd *m, char **ret);

/* Appends s as it is in the value of a label. For tests. */
char *prometheus_escape(const char *s);
