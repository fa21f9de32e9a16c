/* SPDX-License-Identifier: Apache-2.0 */

/* Watching another connection, see the header. */

#include "shared/peer-watch.h"

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "shared/bus-util.h"

#define DRIVER "org.freedesktop.DBus"
#define DRIVER_OBJECT "/org/freedesktop/DBus"

struct PeerWatch {
        sd_bus *bus;
        sd_bus_slot *match, *question;
        char *name;
        peer_gone_t gone;
        void *userdata;
};

PeerWatch *peer_watch_free(PeerWatch *w) {
        if (!w)
                return NULL;
        sd_bus_slot_unref(w->match);
        sd_bus_slot_unref(w->question);
        sd_bus_unref(w->bus);
        free(w->name);
        return mfree(w);
}

static void peer_gone(PeerWatch *w) {
        peer_gone_t gone = w->gone;

        w->gone = NULL;
        if (gone)
                gone(w->userdata);
}

static int on_owner_changed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *name, *old, *new_owner;

        if (sd_bus_message_read(m, "sss", &name, &old, &new_owner) >= 0 && isempty(new_owner))
                peer_gone(userdata);
        return 0;
}

static int on_has_owner(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        PeerWatch *w = userdata;
        int yes;

        w->question = sd_bus_slot_unref(w->question);
        if (sd_bus_message_is_method_error(m, NULL) || sd_bus_message_read(m, "b", &yes) < 0 || !yes)
                peer_gone(w);
        return 0;
}

/* Only now can nothing be missed; it may have left before. */
static int on_installed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        PeerWatch *w = userdata;

        if (sd_bus_message_is_method_error(m, NULL) ||
            bus_call_async(w->bus, &w->question, DRIVER, DRIVER_OBJECT, DRIVER, "NameHasOwner", on_has_owner, w, "s",
                    w->name) < 0)
                peer_gone(w);
        return 0;
}

int peer_watch_new(sd_bus *bus, const char *unique_name, peer_gone_t gone, void *userdata, PeerWatch **ret) {
        _cleanup_(peer_watch_freep) PeerWatch *w = NULL;
        _cleanup_free_ char *rule = NULL;
        int r;

        w = new(PeerWatch, 1);
        if (!w)
                return -ENOMEM;
        *w = (PeerWatch) { .bus = sd_bus_ref(bus), .name = strdup(unique_name), .gone = gone, .userdata = userdata };
        rule = strprintf("type='signal',sender='" DRIVER "',path='" DRIVER_OBJECT "',interface='" DRIVER "',"
                         "member='NameOwnerChanged',arg0='%s'", unique_name);
        if (!w->name || !rule)
                return -ENOMEM;
        r = sd_bus_add_match_async(bus, &w->match, rule, on_owner_changed, on_installed, w);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(w);
        return 0;
}
