/* SPDX-License-Identifier: Apache-2.0 */

/* /org/hero/Compute/Images on the bus; the contract is dbus/org.hero.Compute.Images.xml. */

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "imaged/imaged.h"
#include "shared/bus-util.h"
#include "shared/error-names.h"
#include "shared/log.h"

#define ACTION_IMAGES "org.hero.compute.images"
#define ACTION_INSPECT "org.hero.compute.inspect-images"

static void log_unless_sent(int r, const char *what) {
        if (r < 0)
                log_debug_errno(r, "Failed to send %s: %m", what);
}

void emit_import_progress(Imaged *m, uint32_t id, uint64_t bytes, uint32_t entries) {
        log_unless_sent(sd_bus_emit_signal(m->bus, IMAGES_OBJECT, IMAGES_INTERFACE, "ImportProgress", "utu",
                                        id, bytes, entries),
                        "ImportProgress");
}

void emit_import_done(Imaged *m, uint32_t id, const char *result, const char *message, const char *digest) {
        log_unless_sent(sd_bus_emit_signal(m->bus, IMAGES_OBJECT, IMAGES_INTERFACE, "ImportDone", "usss", id,
                                        result, message, digest),
                        "ImportDone");
}

void emit_images_changed(Imaged *m) {
        log_unless_sent(sd_bus_emit_signal(m->bus, IMAGES_OBJECT, IMAGES_INTERFACE, "ImagesChanged", NULL),
                        "ImagesChanged");
}

static int read_reference(sd_bus_message *call, char buf[static REFERENCE_MAX + 1], sd_bus_error *error) {
        const char *text;
        int r;

        r = sd_bus_message_read(call, "s", &text);
        if (r < 0)
                return r;
        r = reference_normalize(text, buf);
        if (r < 0)
                return sd_bus_error_setf(error, ERROR_INVALID_ARGUMENT,
                                "\"%.200s\" is not an image reference: that is "
                                "NAME[:TAG] with a NAME of lower case letters, digits and single . _ / - between them, or "
                                "sha256:HEX.",
                                text);
        return r;
}

static int read_no_options(sd_bus_message *call, sd_bus_error *error) {
        const char *key;
        int r;

        r = sd_bus_message_enter_container(call, 'a', "{sv}");
        if (r >= 0)
                r = sd_bus_message_enter_container(call, 'e', "sv");
        if (r <= 0)
                return r < 0 ? r : sd_bus_message_exit_container(call);
        r = sd_bus_message_read(call, "s", &key);
        return r < 0 ? r
                     : sd_bus_error_setf(
                                       error, ERROR_INVALID_ARGUMENT, "There is no option \"%.200s\".", key);
}

static int method_import(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        const PolkitQuestion question = { .action = ACTION_IMAGES, .verb = "import" };
        char reference[REFERENCE_MAX + 1];
        Imaged *m = userdata;
        uint32_t id;
        int r, fd;

        if (m->leaving) /* before anybody is asked for a password */
                return sd_bus_error_set(error, ERROR_BUSY, "hero-imaged was just about to leave, try again.");
        r = polkit_check(m->polkit, call, &question, error);
        if (r <= 0)
                return r < 0 ? r : 1; /* will be dispatched again */
        r = read_reference(call, reference, error);
        if (r < 0)
                return r;
        if (r > 0)
                return sd_bus_error_set(error, ERROR_INVALID_ARGUMENT,
                                "An image is imported by name: its digest is known only afterwards.");
        if (streq(reference, BUILTIN_REFERENCE))
                return sd_bus_error_set(error, ERROR_INVALID_ARGUMENT,
                                "The image " BUILTIN_REFERENCE " is built in, use another name or tag.");
        r = sd_bus_message_read(call, "h", &fd);
        if (r >= 0)
                r = read_no_options(call, error);
        if (r >= 0)
                r = import_new(m, reference, sd_bus_message_get_sender(call), fd, &id, error);
        if (r < 0)
                return r;
        log_info("Import %u of %s begins.", id, reference);
        return sd_bus_reply_method_return(call, "u", id);
}

static int method_cancel_import(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        const PolkitQuestion question = { .action = ACTION_IMAGES, .verb = "cancel-import" };
        Imaged *m = userdata;
        uint32_t id;
        Import *i;
        int r;

        r = sd_bus_message_read(call, "u", &id);
        if (r < 0)
                return r;
        i = import_find(m, id);
        /* Whoever started it can also end it by leaving the bus. */
        if (!i || !import_is_of(i, sd_bus_message_get_sender(call))) {
                r = polkit_check(m->polkit, call, &question, error);
                if (r <= 0)
                        return r < 0 ? r : 1;
        }
        if (!i)
                return sd_bus_error_setf(error, ERROR_NO_SUCH_JOB, "There is no import %u.", id);
        import_cancel(i);
        return sd_bus_reply_method_return(call, NULL);
}

static int append_images(Imaged *m, sd_bus_message *reply) {
        _cleanup_free_ ImageTag *tags = NULL;
        bool builtin = false;
        unsigned broken;
        size_t n;
        int r;

        r = image_store_list(m->store, &tags, &n, &broken);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(sstut)");
        for (size_t i = 0; r >= 0 && i < n; i++) {
                builtin |= streq(tags[i].reference, BUILTIN_REFERENCE);
                r = sd_bus_message_append(reply, "(sstut)", tags[i].reference, tags[i].digest, tags[i].size,
                                tags[i].entries, tags[i].created);
        }
        if (r >= 0 && !builtin && builtin_is_possible())
                r = sd_bus_message_append(
                                reply, "(sstut)", BUILTIN_REFERENCE, "", UINT64_C(0), 0u, UINT64_C(0));
        if (r < 0)
                return r;
        if (broken > 0)
                log_warning("%u tags in the image store cannot be read.", broken);
        return sd_bus_message_close_container(reply);
}

static int method_list(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        const PolkitQuestion question = { .action = ACTION_INSPECT, .verb = "list-images" };
        _cleanup_message_ sd_bus_message *reply = NULL;
        Imaged *m = userdata;
        int r;

        r = polkit_check(m->polkit, call, &question, error);
        if (r <= 0)
                return r < 0 ? r : 1;
        r = sd_bus_message_new_method_return(call, &reply);
        if (r >= 0)
                r = append_images(m, reply);
        return r < 0 ? r : sd_bus_message_send(reply);
}

static int method_remove(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        const PolkitQuestion question = { .action = ACTION_IMAGES, .verb = "remove" };
        char reference[REFERENCE_MAX + 1];
        Imaged *m = userdata;
        int r;

        r = polkit_check(m->polkit, call, &question, error);
        if (r <= 0)
                return r < 0 ? r : 1;
        r = read_reference(call, reference, error);
        return r < 0 ? r : removal_new(m, call, reference, r > 0, error);
}

int open_reply(Imaged *m, sd_bus_message *call, const ImageTag *tag, sd_bus_error *error) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        _cleanup_close_ int fd = -EBADF;
        int r;

        fd = image_store_open_content(m->store, tag->digest, tag->size);
        if (fd == -ENOENT || fd == -EUCLEAN)
                return sd_bus_error_setf(error, ERROR_BAD_IMAGE,
                                "The content of the image %s is %s. Remove it and import it again.",
                                tag->reference, fd == -ENOENT ? "gone" : "damaged");
        if (fd < 0)
                return fd;
        r = sd_bus_message_new_method_return(call, &reply);
        if (r >= 0)
                r = sd_bus_message_append(reply, "sha{sv}", tag->digest, fd, 0);
        return r < 0 ? r : sd_bus_message_send(reply);
}

static int open_by_digest(Imaged *m, sd_bus_message *call, const char *digest, sd_bus_error *error) {
        ImageTag tag = { .size = UINT64_MAX };
        int fd;

        fd = image_store_open_content(m->store, digest, UINT64_MAX);
        safe_close(fd);
        if (fd == -ENOENT)
                return sd_bus_error_setf(error, ERROR_NO_SUCH_IMAGE, "There is no image %s.", digest);
        strcpy(tag.reference, digest);
        strcpy(tag.digest, digest);
        return open_reply(m, call, &tag, error);
}

static int method_open(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        char reference[REFERENCE_MAX + 1];
        Imaged *m = userdata;
        ImageTag tag;
        uid_t uid;
        int r;

        r = polkit_get_sender_uid(m->polkit, call, &uid, error);
        if (r <= 0)
                return r < 0 ? r : 1;
        if (uid != 0)
                return sd_bus_error_set(
                                error, SD_BUS_ERROR_ACCESS_DENIED, "Only hero-computed opens images.");
        r = read_reference(call, reference, error);
        if (r < 0)
                return r;
        if (r > 0)
                return open_by_digest(m, call, reference, error);
        if (streq(reference, BUILTIN_REFERENCE)) {
                r = builtin_need(m, call, &tag, error);
                if (r <= 0)
                        return r < 0 ? r : 1; /* answered when it is made */
                return open_reply(m, call, &tag, error);
        }
        r = image_store_resolve(m->store, reference, &tag);
        if (r == -ENOENT)
                return sd_bus_error_setf(error, ERROR_NO_SUCH_IMAGE, "There is no image %s.", reference);
        if (r == -EUCLEAN)
                return sd_bus_error_setf(error, ERROR_BAD_IMAGE,
                                "The tag %s cannot be read. Remove it and import it again.", reference);
        return r < 0 ? r : open_reply(m, call, &tag, error);
}

/* clang-format off */
static const sd_bus_vtable images_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("Import",
                SD_BUS_ARGS("s", reference, "h", tar, "a{sv}", options), SD_BUS_RESULT("u", id),
                method_import, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("CancelImport",
                SD_BUS_ARGS("u", id), SD_BUS_NO_RESULT,
                method_cancel_import, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("List",
                SD_BUS_NO_ARGS, SD_BUS_RESULT("a(sstut)", images),
                method_list, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Remove",
                SD_BUS_ARGS("s", reference), SD_BUS_NO_RESULT,
                method_remove, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Open",
                SD_BUS_ARGS("s", reference), SD_BUS_RESULT("s", digest, "h", rootfs, "a{sv}", config),
                method_open, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_SIGNAL_WITH_ARGS("ImportProgress", SD_BUS_ARGS("u", id, "t", bytes, "u", entries), 0),
        SD_BUS_SIGNAL_WITH_ARGS("ImportDone",
                SD_BUS_ARGS("u", id, "s", result, "s", message, "s", digest), 0),
        SD_BUS_SIGNAL("ImagesChanged", NULL, 0),
        SD_BUS_VTABLE_END,
};
/* clang-format on */

int images_bus_register(Imaged *m) {
        return sd_bus_add_object_vtable(m->bus, NULL, IMAGES_OBJECT, IMAGES_INTERFACE, images_vtable, m);
}
