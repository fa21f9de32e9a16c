/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What BOOT says. */

#include "guest-protocol/guest-protocol.h"

typedef struct BootConfig {
        char *hostname, *root_device, *overlay_device, *cwd, *user;
        char **args, **environment;
        uint64_t realtime; /* 0: not given */
        int stop_signal;   /* for the command; SIGTERM where nothing is said */
        bool console_shell, init;
} BootConfig;

void boot_config_done(BootConfig *c);

/* -EBADMSG, or -ENODATA when ROOT_DEVICE is missing. Pure. */
int boot_config_parse(const uint8_t *payload, size_t n, BootConfig *ret);
