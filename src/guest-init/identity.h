/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Who and where this machine is, for its programs: the host name, and the files in /etc. The image's symbolic links are
 * followed within its own file system only, and never written through: a link in the place of such a file is replaced. */

#include "guest-init/boot-config.h"

/* /etc/hostname and /etc/hosts are written where the image has none (or the empty ones that container tools leave
 * behind), and hosts again where the one that is there is ours; /etc/resolv.conf likewise, but always when name servers
 * are given. hostname may be NULL. All are tried: 0, or the first -errno with the file's name in *ret_file. */
int identity_write_files(int root_fd, const char *hostname, const NetworkConfig *network, const char **ret_file);

/* /etc/machine-id, for systemd: without one it takes this for the first boot of an installation, and asks on the console. */
void identity_machine_id(void);
