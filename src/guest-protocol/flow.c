/* SPDX-License-Identifier: Apache-2.0 */

#include "guest-protocol/flow.h"

void gp_sender_init(GpSender *s) {
        *s = (GpSender) { .window = GP_WINDOW };
}

size_t gp_sender_room(const GpSender *s) {
        uint64_t left = s->window > s->sent ? s->window - s->sent : 0;

        if (left <= GP_DATA_COST)
                return 0;
        return (size_t) MIN2(left - GP_DATA_COST, (uint64_t) GP_DATA_MAX);
}

void gp_sender_sent(GpSender *s, size_t payload) {
        if (payload > 0)
                s->sent += payload + GP_DATA_COST;
}

bool gp_sender_window(GpSender *s, uint64_t offset) {
        if (offset <= s->window)
                return false;

        s->window = offset;
        return gp_sender_room(s) > 0;
}

void gp_receiver_init(GpReceiver *r) {
        *r = (GpReceiver) { .window = GP_WINDOW };
}

int gp_receiver_take(GpReceiver *r, size_t payload) {
        if (payload == 0)
                return 0;
        if (payload > GP_DATA_MAX || payload + GP_DATA_COST > r->window - r->taken)
                return -EPROTO;

        r->taken += payload + GP_DATA_COST;
        return 0;
}

bool gp_receiver_grant(GpReceiver *r, size_t pending, uint64_t *ret_offset) {
        uint64_t offset;

        /* Frames cost nothing any more once their bytes lie in one buffer: only those bytes still count. */
        offset = r->taken + GP_WINDOW - MIN2((uint64_t) pending, (uint64_t) GP_WINDOW);
        if (offset < r->window + GP_WINDOW / 4)
                return false;

        r->window = offset;
        *ret_offset = offset;
        return true;
}
