/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* hero-metricsd: what its parts share. Owned by main.c.
 *
 *     vms.h          which VMs there are, by following hero-computed
 *     sample.h       the pass: every few seconds all of them are read
 *     cgroup.h       … from their cgroups
 *     links.h        … and the links of the host
 *     history.h      where passes go to
 *     metrics-bus.c  who asks for them
 *     prometheus.h   as text */

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "metricsd/history.h"
#include "metricsd/metrics-config.h"
#include "metricsd/sample.h"
#include "metricsd/vms.h"
#include "shared/polkit.h"

#define ACTION_INSPECT "org.hero.compute.inspect"

typedef struct Metricsd {
        sd_event *event;
        sd_bus *bus;
        Polkit *polkit;
        MetricsConfig config;
        Vms vms;
        Sampler *sampler;
        History *history;
        char *text; /* of Prometheus, of this pass; NULL: nobody has asked for it yet */
} Metricsd;

int metrics_bus_register(Metricsd *m);
