/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Fields into members: a repeated field that should not be replaces the former, lists grow. 0 or -errno. */

#include "guest-protocol/guest-protocol.h"

int field_string(const GpReader *r, char **p);
int field_strv(const GpReader *r, char ***l);
int field_bool(const GpReader *r, bool *b);
