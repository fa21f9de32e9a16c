/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Follows the objects of another service: all of them by GetManagedObjects() first, then every change by its signals. What they are
 * kept as is the user's; this only says what is to be known. Starts the service where the bus can, and follows it over restarts. */

#include <systemd/sd-bus.h>

#include "basic/macro.h"

typedef struct ObjectMirror ObjectMirror;

/* Called from the loop, never from object_mirror_new(). */
typedef struct ObjectMirrorHandlers {
        /* An interface of an object, new or changed. properties: an a{sv} comes next, to be read to its end (or
         * sd_bus_message_skip()ped); it has only what changed, if the object was known. < 0 ends the reading and is logged. */
        int (*properties)(const char *path, const char *interface, sd_bus_message *properties, void *userdata);
        void (*removed)(const char *path, const char *interface, void *userdata);
        void (*synced)(void *userdata); /* all there is has been told */
        void (*lost)(void *userdata);   /* the service is gone, and with it all that was told; also before the first synced */
} ObjectMirrorHandlers;

/* service: its name; manager: the object with org.freedesktop.DBus.ObjectManager, of which all others are below. handlers must
 * outlive it. */
int object_mirror_new(sd_bus *bus, const char *service, const char *manager, const ObjectMirrorHandlers *handlers, void *userdata,
                      ObjectMirror **ret);
/* Somebody wants what it has now: a service that was stopped is started. Nothing while it is asked, or about to be. */
void object_mirror_need(ObjectMirror *m);

ObjectMirror *object_mirror_free(ObjectMirror *m);
DEFINE_TRIVIAL_CLEANUP_FUNC(ObjectMirror *, object_mirror_free);
