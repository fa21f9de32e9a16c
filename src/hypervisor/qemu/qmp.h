/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* QMP, QEMU's monitor: one JSON object per line, over an inherited socket. */

#include "hypervisor/connection.h"

int qmp_new(sd_event *event, int fd, bool adopted, vmm_event_t callback, void *userdata, VmmMonitor **ret);
VmmMonitor *qmp_free(VmmMonitor *m);

/* A command without arguments whose answer says no more than that it was done. */
int qmp_command(VmmMonitor *m, const char *command, vmm_done_t done, void *userdata);
int qmp_query_paused(VmmMonitor *m, vmm_done_t done, void *userdata);

/* See hypervisor.h. -EBUSY: the one before has not ended. */
int qmp_save(VmmMonitor *m, int fd, vmm_done_t done, void *userdata);
int qmp_load(VmmMonitor *m, int fd, vmm_done_t done, void *userdata);
const char *qmp_version(const VmmMonitor *m);
