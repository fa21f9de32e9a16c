/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Kernel modules of the initrd. /modules/list has lines "GROUP FILE", every group complete and in the order of
 * its dependencies; a group is loaded when the machine or the boot configuration calls for it:
 *
 *     base          always
 *     pci           the machine has a PCI bus
 *     virtio-N      a virtio device of type N is there (1 net, 2 block, 3 console, 4 entropy, …)
 *     squashfs, erofs, ext4, overlay      when such a file system is to be mounted
 *
 * A group without lines is built into the kernel. */

#include "basic/macro.h"

/* Loads base, the buses, and the driver behind which the agent port appears. 0 or the first error; the rest is
 * still tried. */
int modules_load_port(void);

/* Loads the drivers of all other devices, and what nearly every root needs. 0 or the first error, likewise. */
int modules_load_devices(void);

/* 0, also when there is nothing to load. -errno with the failing file in *ret_file (allocated). */
int modules_load_group(const char *group, char **ret_file);
