/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The pass: every Interval= all VMs are read, some at a time so that calls are answered in between, and what they used since the pass
 * before goes into history. */

#include <systemd/sd-event.h>

#include "metricsd/history.h"
#include "metricsd/vms.h"

typedef struct Sampler Sampler;

typedef struct SamplerStatus {
        uint64_t passes;
        uint64_t late;     /* passes that were left out, for the one before had not ended */
        uint64_t duration; /* of the last one, µs of CPU and waiting together */
        uint64_t time;     /* its end, CLOCK_REALTIME; 0: there was none yet */
} SamplerStatus;

/* passed: is called after each pass. */
int sampler_new(sd_event *event, Vms *vms, History *history, uint64_t interval, void (*passed)(void *userdata), void *userdata,
                Sampler **ret);
Sampler *sampler_free(Sampler *s);
DEFINE_TRIVIAL_CLEANUP_FUNC(Sampler *, sampler_free);

/* Before a VM is forgotten. */
void sampler_forget(Sampler *s, Vm *vm);

const SamplerStatus *sampler_status(const Sampler *s);
