/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What images.conf(5) says of registries, as skopeo reads it: containers-registries.conf(5), version 2. Pure. */

#include "imaged/images-config.h"

/* The file's text; NULL: out of memory. */
char *registries_conf(const ImagesConfig *c);
