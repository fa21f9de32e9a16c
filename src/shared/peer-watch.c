/* SPDX-License-Identifier: Apache-2.0 */

/* Watching another connection, see the header. */

#include "shared/peer-watch.h"

#include <sys/queue.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "shared/bus-util.h"

#define DRIVER "org.freedesktop.DBus"
#define DRIVER_OBJECT "/org/freedesktop/DBus"

/* A connection may have 512 matches on the system bus, and anybody can make us watch: so one match serves all
 * watches of the process. It tells of every connection that leaves; there is one bus connection per process. */
struct PeerWatch {
        TAILQ_ENTRY(PeerWatch) watches;
        sd_bus *bus;
        sd_bus_slot *question;
        char *name;
        peer_gone_t gone;
        void *userdata;
};

static TAILQ_HEAD(, PeerWatch) watches = TAILQ_HEAD_INITIALIZER(watches);
static sd_bus_slot *match;
static bool installed;

PeerWatch *peer_watch_free(PeerWatch *w) {
        if (!w)
                return NULL;
        TAILQ_REMOVE(&watches, w, watches);
        if (TAILQ_EMPTY(&watches)) {
                match = sd_bus_slot_unref(match);
                installed = false;
        }
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

/* Whoever is told may free its watch and others, so the list is looked through anew after each. */
static void name_gone(const char *name) {
        PeerWatch *w;

        do {
                TAILQ_FOREACH(w, &watches, watches)
                        if (w->gone && (!name || streq(w->name, name)))
                                break;
                if (w)
                        peer_gone(w);
        } while (w);
}

static int on_owner_changed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *name, *old, *new_owner;

        if (sd_bus_message_read(m, "sss", &name, &old, &new_owner) >= 0 && isempty(new_owner))
                name_gone(name);
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

/* Asked once nothing can be missed any more: it may have left before. */
static int ask(PeerWatch *w) {
        return bus_call_async(w->bus, &w->question, DRIVER, DRIVER_OBJECT, DRIVER, "NameHasOwner", on_has_owner, w, "s",
                              w->name);
}

static int on_installed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        PeerWatch *w;

        if (sd_bus_message_is_method_error(m, NULL)) {
                name_gone(NULL);
                return 0;
        }
        installed = true;
        TAILQ_FOREACH(w, &watches, watches)
                if (!w->question)
                        (void) ask(w);
        return 0;
}

int peer_watch_new(sd_bus *bus, const char *unique_name, peer_gone_t gone, void *userdata, PeerWatch **ret) {
        static const char rule[] = "type='signal',sender='" DRIVER "',path='" DRIVER_OBJECT "',interface='" DRIVER "',"
                                   "member='NameOwnerChanged',arg2=''";
        PeerWatch *w;
        int r = 0;

        w = new(PeerWatch, 1);
        if (!w)
                return -ENOMEM;
        *w = (PeerWatch) { .bus = sd_bus_ref(bus), .name = strdup(unique_name), .gone = gone, .userdata = userdata };
        TAILQ_INSERT_TAIL(&watches, w, watches);
        if (!w->name)
                r = -ENOMEM;
        else if (installed)
                r = ask(w);
        else if (!match)
                r = sd_bus_add_match_async(bus, &match, rule, on_owner_changed, on_installed, NULL);
        if (r < 0) {
                peer_watch_free(w);
                return r;
        }
        *ret = w;
        return 0;
}
