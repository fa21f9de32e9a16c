/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Who else decides about forwarded packets, from what nft shows: pure, for filter_obstacles(), see there. */

#include <jansson.h>

int find_filter_obstacles(const json_t *ruleset, char ***ret);
