/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Manager.Diagnose(): what heroctl doctor shows. Each check is a sentence that says what to do. */

#include "compute/manager.h"

int diagnose(Manager *m, sd_bus_message *call);
