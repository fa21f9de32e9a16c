/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* org.freedesktop.LogControl1 (org.freedesktop.LogControl1(5)): `systemctl service-log-level` works. */

#include <systemd/sd-bus.h>

int log_control_register(sd_bus *bus);
