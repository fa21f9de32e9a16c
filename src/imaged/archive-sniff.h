/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Is a tar one of a root file system, or does it hold images (an OCI layout, "docker save")? Told by the first entry that is
 * more than "./": those of images all have names that no root file system begins with. Looks at headers only. Pure. */

#include "basic/macro.h"

typedef enum Sniff {
        SNIFF_ROOTFS,
        SNIFF_UNKNOWN, /* compressed, or no tar at all */
        SNIFF_ARCHIVE, /* probably of images; the index of the whole will tell */
        SNIFF_MORE,    /* than these n bytes are needed */
} Sniff;

Sniff archive_sniff(const void *p, size_t n);

/* The same of a name: SNIFF_MORE for "./" and the like. */
Sniff archive_sniff_name(const char *name);
