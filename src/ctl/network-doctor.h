/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* heroctl doctor's look at the network of the host: settings that are the administrator's, which Hero Compute needs and never
 * changes itself. Only reads, and only below a root directory that tests make up. */

#include "basic/macro.h"

typedef struct NetworkDoctor {
        int root;     /* a directory: / */
        uint64_t vms; /* for which there has to be room */
        bool ipv4;    /* VMs have IPv4 addresses */
        int (*note)(void *userdata, const char *check, const char *result, const char *sentence);
        void *userdata;
} NetworkDoctor;

int network_doctor(const NetworkDoctor *d);
