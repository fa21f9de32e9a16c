/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What BOOT says. */

#include "guest-protocol/guest-protocol.h"

/* The guest's end of its network: values only. */
typedef struct NetworkConfig {
        GpPrefix addresses[GP_ADDRESSES_MAX];
        size_t n_addresses;
        GpRoute routes[GP_ROUTES_MAX];
        size_t n_routes;
        GpAddress dns_servers[GP_DNS_SERVERS_MAX];
        size_t n_dns_servers;
        char **hosts; /* lines */
        uint32_t mtu; /* 0: as the device has it */
} NetworkConfig;

typedef struct BootConfig {
        char *hostname, *root_device, *overlay_device, *cwd, *user;
        char **args, **environment;
        uint64_t realtime; /* 0: not given */
        int stop_signal;   /* for the command; SIGTERM where nothing is said */
        bool console_shell, init;
        NetworkConfig network;
} BootConfig;

void boot_config_done(BootConfig *c);

/* -EBADMSG (also for more of something than the protocol allows), or -ENODATA when ROOT_DEVICE is missing. Pure. */
int boot_config_parse(const uint8_t *payload, size_t n, BootConfig *ret);
