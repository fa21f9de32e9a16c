/* SPDX-License-Identifier: Apache-2.0 */

#include "rpcd/feed.h"

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "shared/bus-util.h"

struct Feed {
        TAILQ_HEAD(, FeedListener) listeners;
        sd_bus_slot *transition, *changed, *removed, *owner;
};

/* New ones come before the first, and so are not told what they came by. */
void feed_add(Feed *f, FeedListener *l) {
        TAILQ_INSERT_HEAD(&f->listeners, l, listeners);
}

void feed_remove(Feed *f, FeedListener *l) {
        TAILQ_REMOVE(&f->listeners, l, listeners);
}

#define FOREACH_LISTENER(f, l)                                                                                       \
        for (FeedListener *l = TAILQ_FIRST(&(f)->listeners), *next_ = NULL; l && (next_ = TAILQ_NEXT(l, listeners), true); \
             l = next_)

static int on_transition(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        Feed *f = userdata;
        Transition t;

        if (sd_bus_message_read(m, "ttssss", &t.sequence, &t.timestamp, &t.vm, &t.from, &t.to, &t.reason) < 0)
                return 0;
        FOREACH_LISTENER(f, l)
                if (l->transition)
                        l->transition(&t, l->userdata);
        return 0;
}

static int on_changed(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        const char *path = sd_bus_message_get_path(m);
        Feed *f = userdata;

        FOREACH_LISTENER(f, l)
                if (l->changed)
                        l->changed(path, l->userdata);
        return 0;
}

static int on_removed(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        Feed *f = userdata;
        const char *path;

        if (sd_bus_message_read(m, "so", NULL, &path) < 0)
                return 0;
        FOREACH_LISTENER(f, l)
                if (l->removed)
                        l->removed(path, l->userdata);
        return 0;
}

static int on_owner(sd_bus_message *m, void *userdata, sd_bus_error *ret_error) {
        const char *owner;
        Feed *f = userdata;

        if (sd_bus_message_read(m, "sss", NULL, NULL, &owner) < 0 || isempty(owner))
                return 0;
        FOREACH_LISTENER(f, l)
                if (l->returned)
                        l->returned(l->userdata);
        return 0;
}

#define MATCH_COMPUTE "type='signal',sender='" COMPUTE_BUS_NAME "',"

int feed_new(sd_bus *bus, Feed **ret) {
        _cleanup_(feed_freep) Feed *f = NULL;
        int r;

        f = new0(Feed, 1);
        if (!f)
                return -ENOMEM;
        TAILQ_INIT(&f->listeners);
        r = sd_bus_match_signal_async(bus, &f->transition, COMPUTE_BUS_NAME, COMPUTE_OBJECT, COMPUTE_MANAGER_INTERFACE,
                                      "Transition", on_transition, NULL, f);
        if (r >= 0)
                r = sd_bus_match_signal_async(bus, &f->removed, COMPUTE_BUS_NAME, COMPUTE_OBJECT, COMPUTE_MANAGER_INTERFACE,
                                              "VMRemoved", on_removed, NULL, f);
        if (r >= 0)
                r = sd_bus_add_match_async(bus, &f->changed,
                                           MATCH_COMPUTE "path_namespace='" COMPUTE_VM_PREFIX "',"
                                                         "interface='org.freedesktop.DBus.Properties',member='PropertiesChanged'",
                                           on_changed, NULL, f);
        if (r >= 0)
                r = sd_bus_add_match_async(bus, &f->owner,
                                           "type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',"
                                           "interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='" COMPUTE_BUS_NAME "'",
                                           on_owner, NULL, f);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(f);
        return 0;
}

Feed *feed_free(Feed *f) {
        if (!f)
                return NULL;
        sd_bus_slot_unref(f->transition);
        sd_bus_slot_unref(f->changed);
        sd_bus_slot_unref(f->removed);
        sd_bus_slot_unref(f->owner);
        return mfree(f);
}
