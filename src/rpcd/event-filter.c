/* SPDX-License-Identifier: Apache-2.0 */

#include "rpcd/event-filter.h"

#include "basic/alloc-util.h"
#include "rpcd/call-util.h"

void event_filter_init(EventFilter *f, unsigned limit, bool oldest, uint64_t since) {
        *f = (EventFilter){ .limit = limit, .oldest = oldest, .next = since };
}

void event_filter_done(EventFilter *f) {
        for (unsigned i = 0; i < f->n; i++)
                json_decref(f->ring[(f->first + i) % f->limit]);
        f->n = 0;
        f->ring = mfree(f->ring);
}

bool event_filter_is_full(const EventFilter *f) {
        return f->oldest && f->n >= f->limit;
}

int event_filter_add(EventFilter *f, const Transition *t, const char *vm_id) {
        json_t *j;

        if (event_filter_is_full(f))
                return 0;
        if (!f->ring) {
                f->ring = new0(json_t *, f->limit);
                if (!f->ring)
                        return -ENOMEM;
        }
        j = json_pack("{s:I, s:o, s:s?, s:s, s:s, s:s, s:s}", "sequence", (json_int_t) t->sequence, "timestamp",
                      json_timestamp(t->timestamp), "vm_id", vm_id, "vm_name", t->vm, "from", t->from, "to", t->to, "reason",
                      t->reason);
        if (!j)
                return -ENOMEM;
        f->next = t->sequence;
        if (f->n < f->limit)
                f->ring[(f->first + f->n++) % f->limit] = j;
        else {
                json_decref(f->ring[f->first]);
                f->ring[f->first] = j;
                f->first = (f->first + 1) % f->limit;
        }
        return 0;
}

json_t *event_filter_take(EventFilter *f) {
        json_t *array = json_array();

        for (unsigned i = 0; array && i < f->n; i++)
                if (json_array_append(array, f->ring[(f->first + i) % f->limit]) < 0) {
                        json_decref(array);
                        array = NULL;
                }
        event_filter_done(f);
        return array;
}
