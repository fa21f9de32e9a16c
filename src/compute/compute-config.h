/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* compute.conf(5). Read at start and on reload; what a running VM got from it stays as it was. */

#include "basic/macro.h"
#include "hypervisor/hypervisor.h"
#include "network/address.h"
#include "shared/conf-file.h"

typedef struct ComputeConfig {
        /* [Compute] */
        char *hypervisor;
        Accelerator accelerator;
        char *kernel;            /* path, NULL: find one */
        char *kernel_modules;    /* directory, NULL: belongs to the kernel found */
        char *slice;
        unsigned vms_max;
        unsigned uid_base, uid_count;
        int register_machines;   /* boolean */

        /* [Defaults] */
        char *image;
        unsigned cpus;
        uint64_t memory, disk;

        /* [Images] */
        int images_pull;         /* boolean: what is not here is pulled */

        /* [Network] */
        int network_enable;      /* boolean */
        Subnet subnet;           /* an IPv6 /64; family 0: mycelium's, or our own */
        char *mycelium_url;      /* NULL: not asked */
        Subnet ipv4_pool;        /* family 0: no IPv4 */
        char **dns;              /* NULL: the host's */
        char *wake_policy;
        int forwarding;          /* boolean */

        /* [Users]: what somebody may take for the own VM without being an administrator */
        unsigned users_cpus_max;
        uint64_t users_memory_max, users_disk_max;

        /* [Capacity] */
        double cpu_overcommit, memory_overcommit, disk_overcommit;

        /* [Timeouts] */
        uint64_t scope_timeout, agent_timeout, shutdown_timeout, powerdown_timeout, stop_timeout, monitor_timeout;

        /* [Console] */
        uint64_t console_history;
        int console_shell;       /* boolean */

        /* [Idle] */
        unsigned idle_signals;   /* IdleSignal */
        uint64_t idle_timeout, hibernate_delay, check_interval;
        uint64_t network_noise;  /* bytes in a check_interval */
        double cpu_threshold;    /* percent */
        double keep_memory_max;  /* percent of the host's */
} ComputeConfig;

int compute_config_defaults(ComputeConfig *c);
void compute_config_done(ComputeConfig *c);

/* Reads files and drop-ins below the roots (NULL-terminated; NULL: /etc, /run, /usr/lib) into a config that holds the
 * defaults; problems are given to problem(), one sentence each. Returns their number or -errno. */
int compute_config_load(ComputeConfig *c, const char *const *roots, conf_problem_t problem);
