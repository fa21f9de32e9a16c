/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Reads a pipe, socket or file to its end on the loop, keeping the first max bytes and dropping the others: whoever writes is
 * never held up, and nobody can fill our memory. Embedded in its owner; zero-initialised is "not started". */

#include <systemd/sd-event.h>

#include "basic/macro.h"

typedef struct Drain Drain;
typedef void (*drain_done_t)(Drain *d, void *userdata); /* once, at the end; may drain_done() it */

struct Drain {
        int fd;
        sd_event_source *source;
        char *data;
        size_t size, allocated, max;
        bool started, ended, truncated;
        drain_done_t done;
        void *userdata;
};

/* Takes fd over, also when it fails. */
int drain_start(Drain *d, sd_event *event, int fd, size_t max, drain_done_t done, void *userdata);
void drain_done(Drain *d);
