/* SPDX-License-Identifier: Apache-2.0 */

/* org.hero.Compute.Image, documented in dbus/org.hero.Compute.Image.xml, and what is said when images change. */

#include <stdio.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "imaged/imaged.h"
#include "shared/bus-util.h"
#include "shared/log.h"

void image_path(const Image *i, char buf[static IMAGE_PATH_MAX]) {
        (void) snprintf(buf, IMAGE_PATH_MAX, IMAGE_PREFIX "/%s", i->record.digest + strlen(DIGEST_PREFIX));
}

static int append_strv(sd_bus_message *reply, char *const *l) {
        int r;

        r = sd_bus_message_open_container(reply, 'a', "s");
        STRV_FOREACH(s, l)
                if (r >= 0)
                        r = sd_bus_message_append(reply, "s", *s);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

#define GETTER(name)                                                                                      \
        static int get_##name(sd_bus *bus, const char *path, const char *interface, const char *property, \
                        sd_bus_message *reply, void *userdata, sd_bus_error *error)

#define STRING_GETTER(name, value)                                            \
        GETTER(name) {                                                        \
                const Image *i = userdata;                                    \
                                                                              \
                return sd_bus_message_append(reply, "s", strempty(value));    \
        }
#define STRV_GETTER(name, value)                                              \
        GETTER(name) {                                                        \
                const Image *i = userdata;                                    \
                                                                              \
                return append_strv(reply, value);                             \
        }

STRING_GETTER(digest, i->record.digest)
STRING_GETTER(content, i->record.content)
STRING_GETTER(platform, i->record.config.platform)
STRING_GETTER(user, i->record.config.user)
STRING_GETTER(working_directory, i->record.config.working_directory)
STRING_GETTER(stop_signal, i->record.config.stop_signal)
STRV_GETTER(entrypoint, i->record.config.entrypoint)
STRV_GETTER(cmd, i->record.config.cmd)
STRV_GETTER(env, i->record.config.env)

GETTER(references) {
        const Image *i = userdata;
        int r;

        r = sd_bus_message_open_container(reply, 'a', "s");
        for (const Tag *t = i->catalog->tags; r >= 0 && t; t = t->hh.next)
                if (t->image == i)
                        r = sd_bus_message_append(reply, "s", t->reference);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

GETTER(labels) {
        const Image *i = userdata;
        int r;

        r = sd_bus_message_open_container(reply, 'a', "{ss}");
        STRV_FOREACH(s, i->record.config.labels) {
                const char *equals = strchr(*s, '=');
                _cleanup_free_ char *key = equals ? strndup(*s, (size_t) (equals - *s)) : NULL;

                if (r >= 0 && key)
                        r = sd_bus_message_append(reply, "{ss}", key, equals + 1);
        }
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

GETTER(used_by) {
        const Image *i = userdata;
        const Imaged *m = i->catalog->userdata;
        int r;

        r = sd_bus_message_open_container(reply, 'a', "s");
        for (size_t k = 0; r >= 0 && k < m->n_uses; k++)
                if (streq(m->uses[k].digest, i->record.digest))
                        r = sd_bus_message_append(reply, "s", m->uses[k].vm);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

#define CONSTANT(name, type, getter) SD_BUS_PROPERTY(name, type, getter, 0, SD_BUS_VTABLE_PROPERTY_CONST)
#define NUMBER(name, type, member, flags) SD_BUS_PROPERTY(name, type, NULL, offsetof(Image, record.member), flags)

/* clang-format off */
static const sd_bus_vtable image_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("References", "as", get_references, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        CONSTANT("Digest", "s", get_digest),
        CONSTANT("ContentDigest", "s", get_content),
        CONSTANT("Platform", "s", get_platform),
        NUMBER("Size", "t", size, SD_BUS_VTABLE_PROPERTY_CONST),
        NUMBER("Entries", "u", entries, SD_BUS_VTABLE_PROPERTY_CONST),
        NUMBER("Layers", "u", layers, SD_BUS_VTABLE_PROPERTY_CONST),
        CONSTANT("Entrypoint", "as", get_entrypoint),
        CONSTANT("Cmd", "as", get_cmd),
        CONSTANT("Env", "as", get_env),
        CONSTANT("User", "s", get_user),
        CONSTANT("WorkingDirectory", "s", get_working_directory),
        CONSTANT("StopSignal", "s", get_stop_signal),
        CONSTANT("Labels", "a{ss}", get_labels),
        NUMBER("CreatedTimestamp", "t", created, SD_BUS_VTABLE_PROPERTY_CONST),
        NUMBER("PulledTimestamp", "t", pulled, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        NUMBER("LastUsedTimestamp", "t", last_used, 0),
        SD_BUS_PROPERTY("UsedBy", "as", get_used_by, 0, 0),
        SD_BUS_VTABLE_END,
};
/* clang-format on */

static int image_find(sd_bus *bus, const char *path, const char *interface, void *userdata, void **ret_found,
                sd_bus_error *error) {
        const char *hex = startswith(path, IMAGE_PREFIX "/");
        char digest[DIGEST_LENGTH + 1];
        Imaged *m = userdata;
        Image *i;

        if (!hex || strlen(hex) != DIGEST_HEX_LENGTH)
                return 0;
        (void) snprintf(digest, sizeof(digest), DIGEST_PREFIX "%s", hex);
        i = catalog_image(&m->catalog, digest);
        if (!i)
                return 0;
        *ret_found = i;
        return 1;
}

static int image_enumerate(sd_bus *bus, const char *prefix, void *userdata, char ***ret_nodes, sd_bus_error *error) {
        _cleanup_strv_free_ char **l = NULL;
        Imaged *m = userdata;

        for (const Image *i = m->catalog.images; i; i = i->hh.next) {
                char path[IMAGE_PATH_MAX];

                image_path(i, path);
                if (strv_extend(&l, path) < 0)
                        return -ENOMEM;
        }
        *ret_nodes = TAKE_PTR(l);
        return 1;
}

static void log_unless_sent(int r, const char *what) {
        if (r < 0)
                log_debug_errno(r, "Failed to send %s: %m", what);
}

static int on_changed(sd_event_source *s, void *userdata) {
        Imaged *m = userdata;

        log_unless_sent(sd_bus_emit_signal(m->bus, IMAGES_OBJECT, IMAGES_INTERFACE, "ImagesChanged", NULL),
                        "ImagesChanged");
        return 0;
}

void images_changed_flush(Imaged *m) {
        int enabled = SD_EVENT_OFF;

        if (!m->changed || sd_event_source_get_enabled(m->changed, &enabled) <= 0)
                return;
        (void) sd_event_source_set_enabled(m->changed, SD_EVENT_OFF);
        (void) on_changed(m->changed, m);
}

/* Once for all that changes before the loop is back. */
static void images_changed(Imaged *m) {
        int r;

        if (m->changed)
                r = sd_event_source_set_enabled(m->changed, SD_EVENT_ONESHOT);
        else
                r = sd_event_add_defer(m->event, &m->changed, on_changed, m);
        log_unless_sent(r, "ImagesChanged");
}

void image_changed(CatalogEvent event, const Image *image, void *userdata) {
        char path[IMAGE_PATH_MAX];
        Imaged *m = userdata;

        image_path(image, path);
        switch (event) {

        case CATALOG_IMAGE_ADDED:
                log_unless_sent(sd_bus_emit_object_added(m->bus, path), "InterfacesAdded");
                break;

        case CATALOG_IMAGE_REMOVED:
                log_unless_sent(sd_bus_emit_object_removed(m->bus, path), "InterfacesRemoved");
                images_changed(m);
                break;

        case CATALOG_TAGS_CHANGED:
                log_unless_sent(sd_bus_emit_properties_changed(m->bus, path, IMAGE_INTERFACE, "References", NULL),
                                "PropertiesChanged");
                images_changed(m);
                break;

        case CATALOG_PULLED:
                log_unless_sent(sd_bus_emit_properties_changed(
                                                m->bus, path, IMAGE_INTERFACE, "PulledTimestamp", NULL),
                                "PropertiesChanged");
                break;
        }
}

int image_bus_register(Imaged *m) {
        int r;

        r = sd_bus_add_fallback_vtable(m->bus, NULL, IMAGE_PREFIX, IMAGE_INTERFACE, image_vtable, image_find, m);
        return r < 0 ? r : sd_bus_add_node_enumerator(m->bus, NULL, IMAGE_PREFIX, image_enumerate, m);
}
