/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The arithmetic of flow control, see guest-protocol.h: one GpSender at the sending end and one GpReceiver at
 * the receiving end of every kind of data of every stream. Pure; the same on both sides of the channel. */

#include "guest-protocol/guest-protocol.h"

typedef struct GpSender {
        uint64_t sent;   /* offset: payload and GP_DATA_COST of every frame sent */
        uint64_t window; /* may be sent up to here */
} GpSender;

typedef struct GpReceiver {
        uint64_t taken;  /* offset received */
        uint64_t window; /* as granted to the sender */
} GpReceiver;

void gp_sender_init(GpSender *s);
/* How many bytes the next data frame may carry now: 0…GP_DATA_MAX. */
size_t gp_sender_room(const GpSender *s);
void gp_sender_sent(GpSender *s, size_t payload);
/* A WINDOW_UPDATE arrived. An offset behind the present window changes nothing. True: there is new room. */
bool gp_sender_window(GpSender *s, uint64_t offset);

void gp_receiver_init(GpReceiver *r);
/* A data frame arrived. 0, or -EPROTO when it goes beyond the window or GP_DATA_MAX. The end of file (payload
 * 0) is free. */
int gp_receiver_take(GpReceiver *r, size_t payload);
/* pending: bytes taken which nobody has consumed yet. True when it is time for a WINDOW_UPDATE to *ret_offset;
 * false as long as the sender still has most of its window, so that not every read causes a frame. */
bool gp_receiver_grant(GpReceiver *r, size_t pending, uint64_t *ret_offset);
