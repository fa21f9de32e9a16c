/* SPDX-License-Identifier: Apache-2.0 */

/* The bus keeps the order of what one connection sends: what was signalled before the answer to GetManagedObjects() is in it
 * already, what comes after is newer. So signals are dropped until the answer is there, and none is lost. */

#include "shared/object-mirror.h"

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "shared/bus-util.h"
#include "shared/log.h"

#define OBJECT_MANAGER "org.freedesktop.DBus.ObjectManager"
#define PROPERTIES "org.freedesktop.DBus.Properties"
#define CALL_TIMEOUT (30 * USEC_PER_SEC)
#define RETRY_MIN (500 * USEC_PER_MSEC)
#define RETRY_MAX (30 * USEC_PER_SEC)

struct ObjectMirror {
        sd_bus *bus;
        char *service, *manager;
        const ObjectMirrorHandlers *handlers;
        void *userdata;
        sd_bus_slot *added, *removed, *changed, *owner, *call;
        sd_event_source *retry;
        uint64_t retry_delay;
        bool synced;
};

static int ask(ObjectMirror *m);

/* From an a{sa{sv}} to the handler. */
static int tell_interfaces(ObjectMirror *m, const char *path, sd_bus_message *message) {
        int r;

        r = sd_bus_message_enter_container(message, 'a', "{sa{sv}}");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_enter_container(message, 'e', "sa{sv}")) > 0) {
                const char *interface;

                r = sd_bus_message_read_basic(message, 's', &interface);
                if (r < 0)
                        return r;
                if (startswith(interface, "org.freedesktop.DBus."))
                        r = sd_bus_message_skip(message, "a{sv}");
                else
                        r = m->handlers->properties(path, interface, message, m->userdata);
                if (r < 0)
                        return r;
                r = sd_bus_message_exit_container(message);
                if (r < 0)
                        return r;
        }
        return r < 0 ? r : sd_bus_message_exit_container(message);
}

static int on_added(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        ObjectMirror *m = userdata;
        const char *path;
        int r;

        if (!m->synced)
                return 0;
        r = sd_bus_message_read_basic(message, 'o', &path);
        if (r >= 0)
                r = tell_interfaces(m, path, message);
        if (r < 0)
                log_warning_errno(r, "Cannot read what %s says of a new object: %m", m->service);
        return 0;
}

static int on_removed(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        const char *path, *interface;
        ObjectMirror *m = userdata;
        int r;

        if (!m->synced)
                return 0;
        r = sd_bus_message_read_basic(message, 'o', &path);
        if (r >= 0)
                r = sd_bus_message_enter_container(message, 'a', "s");
        while (r >= 0 && (r = sd_bus_message_read_basic(message, 's', &interface)) > 0)
                m->handlers->removed(path, interface, m->userdata);
        if (r < 0)
                log_warning_errno(r, "Cannot read what %s says of an object that went: %m", m->service);
        return 0;
}

static int on_changed(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        ObjectMirror *m = userdata;
        const char *interface;
        int r;

        if (!m->synced)
                return 0;
        r = sd_bus_message_read_basic(message, 's', &interface);
        if (r >= 0)
                r = m->handlers->properties(sd_bus_message_get_path(message), interface, message, m->userdata);
        if (r < 0)
                log_warning_errno(r, "Cannot read what %s says of a change: %m", m->service);
        return 0;
}

static void lost(ObjectMirror *m) {
        m->synced = false;
        m->handlers->lost(m->userdata);
}

static int on_retry(sd_event_source *s, uint64_t usec, void *userdata) {
        (void) ask(userdata);
        return 0;
}

static void try_again(ObjectMirror *m) {
        uint64_t delay = m->retry_delay;

        m->retry_delay = MIN2(2 * delay, RETRY_MAX);
        if (!m->retry)
                (void) sd_event_add_time_relative(sd_bus_get_event(m->bus), &m->retry, CLOCK_MONOTONIC, delay, 0, on_retry, m);
        else if (sd_event_source_set_time_relative(m->retry, delay) >= 0)
                (void) sd_event_source_set_enabled(m->retry, SD_EVENT_ONESHOT);
}

static int read_objects(ObjectMirror *m, sd_bus_message *message) {
        const char *path;
        int r;

        r = sd_bus_message_enter_container(message, 'a', "{oa{sa{sv}}}");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_enter_container(message, 'e', "oa{sa{sv}}")) > 0) {
                r = sd_bus_message_read_basic(message, 'o', &path);
                if (r >= 0)
                        r = tell_interfaces(m, path, message);
                if (r >= 0)
                        r = sd_bus_message_exit_container(message);
                if (r < 0)
                        return r;
        }
        return r;
}

static int on_objects(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        const sd_bus_error *e = sd_bus_message_get_error(message);
        ObjectMirror *m = userdata;
        int r;

        m->call = sd_bus_slot_unref(m->call);
        if (e) {
                log_debug("%s does not say what objects it has: %s", m->service, strna(e->message));
                try_again(m);
                return 0;
        }
        r = read_objects(m, message);
        if (r < 0) {
                log_warning_errno(r, "Cannot read what %s says of its objects: %m", m->service);
                lost(m);
                try_again(m);
                return 0;
        }
        m->synced = true;
        m->retry_delay = RETRY_MIN;
        m->handlers->synced(m->userdata);
        return 0;
}

static int ask(ObjectMirror *m) {
        _cleanup_message_ sd_bus_message *message = NULL;
        int r;

        m->call = sd_bus_slot_unref(m->call);
        r = sd_bus_message_new_method_call(m->bus, &message, m->service, m->manager, OBJECT_MANAGER, "GetManagedObjects");
        if (r >= 0)
                r = sd_bus_call_async(m->bus, &m->call, message, on_objects, m, CALL_TIMEOUT);
        if (r < 0)
                log_warning_errno(r, "Cannot ask %s what objects it has: %m", m->service);
        return r;
}

void object_mirror_need(ObjectMirror *m) {
        if (!m->synced && !m->call && (!m->retry || sd_event_source_get_enabled(m->retry, NULL) <= 0))
                (void) ask(m);
}

static int on_owner(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        const char *name, *before, *after;
        ObjectMirror *m = userdata;
        int r;

        r = sd_bus_message_read(message, "sss", &name, &before, &after);
        if (r < 0)
                return 0;
        if (!isempty(before))
                lost(m);
        if (!isempty(after)) {
                m->retry_delay = RETRY_MIN;
                (void) ask(m);
        } else
                m->call = sd_bus_slot_unref(m->call);
        return 0;
}

static int add_match(ObjectMirror *m, sd_bus_slot **ret, const char *interface, const char *member, bool below,
                     sd_bus_message_handler_t handler) {
        _cleanup_free_ char *rule = strprintf("type='signal',sender='%s',interface='%s',member='%s',path%s='%s'", m->service,
                                              interface, member, below ? "_namespace" : "", m->manager);

        return rule ? sd_bus_add_match_async(m->bus, ret, rule, handler, NULL, m) : -ENOMEM;
}

int object_mirror_new(sd_bus *bus, const char *service, const char *manager, const ObjectMirrorHandlers *handlers, void *userdata,
                      ObjectMirror **ret) {
        _cleanup_(object_mirror_freep) ObjectMirror *m = NULL;
        _cleanup_free_ char *rule = NULL;
        int r;

        m = new0(ObjectMirror, 1);
        rule = strprintf("type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',member='NameOwnerChanged',"
                         "path='/org/freedesktop/DBus',arg0='%s'", service);
        if (!m || !rule)
                return -ENOMEM;
        m->bus = sd_bus_ref(bus);
        m->service = strdup(service);
        m->manager = strdup(manager);
        m->handlers = handlers;
        m->userdata = userdata;
        m->retry_delay = RETRY_MIN;
        if (!m->service || !m->manager)
                return -ENOMEM;
        r = sd_bus_add_match_async(bus, &m->owner, rule, on_owner, NULL, m);
        if (r >= 0)
                r = add_match(m, &m->added, OBJECT_MANAGER, "InterfacesAdded", false, on_added);
        if (r >= 0)
                r = add_match(m, &m->removed, OBJECT_MANAGER, "InterfacesRemoved", false, on_removed);
        if (r >= 0)
                r = add_match(m, &m->changed, PROPERTIES, "PropertiesChanged", true, on_changed);
        if (r >= 0)
                r = ask(m);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(m);
        return 0;
}

ObjectMirror *object_mirror_free(ObjectMirror *m) {
        if (!m)
                return NULL;
        sd_bus_slot_unref(m->call);
        sd_bus_slot_unref(m->changed);
        sd_bus_slot_unref(m->removed);
        sd_bus_slot_unref(m->added);
        sd_bus_slot_unref(m->owner);
        sd_event_source_disable_unref(m->retry);
        free(m->service);
        free(m->manager);
        sd_bus_unref(m->bus);
        return mfree(m);
}
