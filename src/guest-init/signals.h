/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The end of children, as an event. */

#include "guest-init/guest.h"

int signals_watch(Guest *g);
