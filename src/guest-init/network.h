/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The guest's interfaces, by rtnetlink: an image need not have a program for it. */

#include "guest-init/boot-config.h"

#define NETWORK_DEVICE "eth0" /* the only one there is */

/* Brings up the loopback and, when the configuration names addresses or routes, NETWORK_DEVICE with them: see
 * guest-protocol.h. Addresses are usable at once (no duplicate address detection), and whatever a router on the other
 * end may announce is not listened to. What is there already is no error. 0, or -errno with a sentence that says at
 * what it failed in *ret_why (allocated). */
int network_up(const NetworkConfig *c, char **ret_why);
