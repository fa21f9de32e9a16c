/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The host name, and the files in /etc that say it: written only where the image has none (or the empty ones
 * that container tools leave behind). hostname may be NULL. */
void identity_apply(const char *hostname);

/* /etc/machine-id, for systemd: without one it takes this for the first boot of an installation, and asks on the console. */
void identity_machine_id(void);
