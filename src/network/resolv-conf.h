/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The name servers that the host asks, as guests can ask them. */

#include "basic/macro.h"

/* Addresses as text, in order, NULL: none. Those of the host's own loopback are left out, as they are another one's in a guest;
 * where nothing else is left in resolv.conf(5), the servers behind systemd-resolved's are taken. */
int resolv_conf_servers(char ***ret);

/* Of one file's text. Pure. */
int resolv_conf_parse(const char *text, char ***ret);
