/* SPDX-License-Identifier: Apache-2.0 */

/* /org/hero/Compute/Images on the bus; the contract is dbus/org.hero.Compute.Images.xml. */

#include <stdio.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "imaged/imaged.h"
#include "shared/bus-util.h"
#include "shared/error-names.h"
#include "shared/log.h"

int read_reference(sd_bus_message *call, char buf[static REFERENCE_MAX + 1], sd_bus_error *error) {
        const char *text;
        int r;

        r = sd_bus_message_read(call, "s", &text);
        if (r < 0)
                return r;
        r = reference_normalize(text, buf);
        if (r < 0)
                return sd_bus_error_setf(error, ERROR_INVALID_ARGUMENT,
                                "\"%.200s\" is not an image reference: that is "
                                "[REGISTRY[:PORT]/]NAME[:TAG][@sha256:HEX] with a NAME of lower case letters, digits and "
                                "single . _ / - between them, or sha256:HEX.",
                                text);
        return r;
}

/* Platform, which both Pull() and Import() have. */
static int read_options(sd_bus_message *call, char platform[static OCI_PLATFORM_MAX + 1], sd_bus_error *error) {
        const char *key, *value;
        int r;

        (void) snprintf(platform, OCI_PLATFORM_MAX + 1, "%s", oci_platform_native());
        r = sd_bus_message_enter_container(call, 'a', "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(call, 'e', "sv")) > 0) {
                r = sd_bus_message_read(call, "s", &key);
                if (r < 0)
                        return r;
                if (!streq(key, "Platform"))
                        return sd_bus_error_setf(error, ERROR_INVALID_ARGUMENT, "There is no option \"%.200s\".", key);
                r = bus_read_variant(call, key, "s", &value, error);
                if (r < 0)
                        return r;
                if (!oci_platform_is_valid(value))
                        return sd_bus_error_setf(error, ERROR_INVALID_ARGUMENT,
                                        "\"%.200s\" is not a platform, like linux/amd64 or linux/arm64.", value);
                (void) snprintf(platform, OCI_PLATFORM_MAX + 1, "%s", value);
                r = sd_bus_message_exit_container(call);
        }
        return r < 0 ? r : sd_bus_message_exit_container(call);
}

/* A name that a new image can be given. */
static int read_new_name(sd_bus_message *call, char buf[static REFERENCE_MAX + 1], const char *verb, sd_bus_error *error) {
        int r;

        r = read_reference(call, buf, error);
        if (r > 0)
                return sd_bus_error_setf(error, ERROR_INVALID_ARGUMENT,
                                "An image is %s by name: its digest alone does not say what it is.", verb);
        if (r >= 0 && streq(buf, BUILTIN_REFERENCE))
                return sd_bus_error_set(error, ERROR_INVALID_ARGUMENT,
                                "The image " BUILTIN_REFERENCE " is built in, use another name or tag.");
        return r;
}

/* Before anybody is asked for a password. The name is given up already, so the same call once more reaches our
 * successor. */
static int refuse_when_leaving(const Imaged *m, sd_bus_error *error) {
        return m->leaving ? sd_bus_error_set(error, ERROR_BUSY, "hero-imaged was just about to leave, try again.") : 0;
}

static int dispatch_import(sd_bus_message *call, Imaged *m, sd_bus_error *error) {
        char reference[REFERENCE_MAX + 1], platform[OCI_PLATFORM_MAX + 1];
        int r, fd;
        Job *job;

        r = refuse_when_leaving(m, error);
        if (r < 0)
                return r;
        r = change_check(m, call, NULL, false, error);
        if (r <= 0)
                return r < 0 ? r : 1; /* will be dispatched again */
        r = read_new_name(call, reference, "imported", error);
        if (r < 0)
                return r;
        if (reference_digest(reference))
                return sd_bus_error_set(error, ERROR_INVALID_ARGUMENT,
                                "The digest of an image is known only when it has been imported.");
        r = sd_bus_message_read(call, "h", &fd);
        if (r >= 0)
                r = read_options(call, platform, error);
        if (r >= 0)
                r = import_new(m, reference, platform, sd_bus_message_get_sender(call), fd, &job, error);
        if (r < 0)
                return r;
        audit_give(m->audit, call, NULL, &job->audits);
        r = sd_bus_reply_method_return(call, "o", job->path);
        job_announce(job);
        return r;
}

static int method_import(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        Imaged *m = userdata;

        return audit_answered(m->audit, call, dispatch_import(call, m, error), error);
}

static int dispatch_pull(sd_bus_message *call, Imaged *m, sd_bus_error *error) {
        char reference[REFERENCE_MAX + 1], platform[OCI_PLATFORM_MAX + 1];
        bool is_new;
        Job *job;
        int r;

        r = refuse_when_leaving(m, error);
        if (r < 0)
                return r;
        r = change_check(m, call, NULL, false, error);
        if (r <= 0)
                return r < 0 ? r : 1;
        r = read_new_name(call, reference, "pulled", error);
        if (r >= 0)
                r = read_options(call, platform, error);
        if (r >= 0)
                r = pull_new(m, reference, platform, sd_bus_message_get_sender(call), &job, &is_new, error);
        if (r < 0)
                return r;
        audit_give(m->audit, call, NULL, &job->audits);
        r = sd_bus_reply_method_return(call, "o", job->path);
        if (is_new)
                job_announce(job);
        return r;
}

static int method_pull(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        Imaged *m = userdata;

        return audit_answered(m->audit, call, dispatch_pull(call, m, error), error);
}

static int append_image(sd_bus_message *reply, const char *reference, const Image *i) {
        char path[IMAGE_PATH_MAX] = "/";

        if (!i)
                return sd_bus_message_append(reply, "(ssstto)", reference, "", "", UINT64_C(0), UINT64_C(0), path);
        image_path(i, path);
        return sd_bus_message_append(reply, "(ssstto)", reference, i->record.digest, strempty(i->record.config.platform),
                        i->record.size, i->record.created, path);
}

static int append_images(Imaged *m, sd_bus_message *reply) {
        const Tag *builtin = catalog_tag(&m->catalog, BUILTIN_REFERENCE);
        bool said = (builtin && builtin->image) || !builtin_is_possible();
        int r;

        r = sd_bus_message_open_container(reply, 'a', "(ssstto)");
        for (const Tag *t = m->catalog.tags; r >= 0 && t; t = t->hh.next) {
                if (!said && strcmp(t->reference, BUILTIN_REFERENCE) >= 0) {
                        said = true;
                        r = append_image(reply, BUILTIN_REFERENCE, NULL);
                }
                if (r >= 0 && t->image)
                        r = append_image(reply, t->reference, t->image);
        }
        if (r >= 0 && !said)
                r = append_image(reply, BUILTIN_REFERENCE, NULL);
        return r < 0 ? r : sd_bus_message_close_container(reply);
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

static int dispatch_remove(sd_bus_message *call, Imaged *m, sd_bus_error *error) {
        char reference[REFERENCE_MAX + 1];
        int r;

        r = change_check(m, call, NULL, false, error);
        if (r <= 0)
                return r < 0 ? r : 1;
        r = read_reference(call, reference, error);
        return r < 0 ? r : removal_handle(m, call, reference, error);
}

static int method_remove(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        Imaged *m = userdata;

        return audit_answered(m->audit, call, dispatch_remove(call, m, error), error);
}

static int dispatch_prune(sd_bus_message *call, Imaged *m, sd_bus_error *error) {
        int r;

        r = change_check(m, call, NULL, false, error);
        if (r <= 0)
                return r < 0 ? r : 1;
        return prune_handle(m, call, error);
}

static int method_prune(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        Imaged *m = userdata;

        return audit_answered(m->audit, call, dispatch_prune(call, m, error), error);
}

/* By name, by digest, by the beginning of one. */
static int find_image(Imaged *m, const char *text, Image **ret, sd_bus_error *error) {
        const char *hex = digest_abbreviated(text);
        char reference[REFERENCE_MAX + 1];
        int r;

        r = reference_normalize(text, reference);
        if (r < 0 && !hex)
                return sd_bus_error_setf(error, ERROR_INVALID_ARGUMENT, "\"%.200s\" is not an image reference.", text);
        if (r >= 0)
                r = catalog_resolve(&m->catalog, reference, ret);
        if (r == -EUCLEAN)
                return sd_bus_error_setf(error, ERROR_BAD_IMAGE, "There is no image behind the tag %s. Remove it.", reference);
        if (r < 0 && hex)
                r = catalog_find_abbreviated(&m->catalog, hex, ret);
        if (r == -ENOTUNIQ)
                return sd_bus_error_setf(error, ERROR_AMBIGUOUS_NAME, "More than one image has a digest that begins with %s.",
                                hex);
        if (r == -ENOENT && streq(reference, BUILTIN_REFERENCE) && builtin_is_possible())
                return sd_bus_error_setf(error, ERROR_NO_SUCH_IMAGE,
                                "The image " BUILTIN_REFERENCE " is built in and will be made when a VM needs it.");
        if (r == -ENOENT)
                return sd_bus_error_setf(error, ERROR_NO_SUCH_IMAGE, "There is no image %.200s.", text);
        return r;
}

static int on_uses_for_get(Imaged *m, sd_bus_message *call, sd_bus_message *reply, sd_bus_error *error) {
        char path[IMAGE_PATH_MAX];
        const char *text;
        Image *image;
        int r;

        (void) uses_read(m, reply); /* where there is no answer, what it said last is as good as any */
        r = sd_bus_message_read(call, "s", &text);
        if (r >= 0)
                r = find_image(m, text, &image, error);
        if (r < 0)
                return r;
        image_path(image, path);
        return sd_bus_reply_method_return(call, "o", path);
}

static int method_get(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        const PolkitQuestion question = { .action = ACTION_INSPECT, .verb = "get-image" };
        Imaged *m = userdata;
        const char *text;
        Image *image;
        int r;

        r = polkit_check(m->polkit, call, &question, error);
        if (r <= 0)
                return r < 0 ? r : 1;
        r = sd_bus_message_read(call, "s", &text);
        if (r >= 0)
                r = find_image(m, text, &image, error);
        return r < 0 ? r : uses_ask_for(m, call, false, on_uses_for_get, error);
}

static int append_strv(sd_bus_message *reply, const char *key, char *const *l) {
        int r;

        r = sd_bus_message_open_container(reply, 'e', "sv");
        if (r >= 0)
                r = sd_bus_message_append(reply, "s", key);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'v', "as");
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "s");
        STRV_FOREACH(s, l)
                if (r >= 0)
                        r = sd_bus_message_append(reply, "s", *s);
        for (int i = 0; r >= 0 && i < 3; i++)
                r = sd_bus_message_close_container(reply);
        return r;
}

/* How the image wants to be run. */
static int append_config(sd_bus_message *reply, const ImageRecord *record) {
        const ImageConfig *c = &record->config;
        int r;

        r = sd_bus_message_open_container(reply, 'a', "{sv}");
        if (r >= 0 && record->has_config) {
                r = sd_bus_message_append(reply, "{sv}{sv}{sv}{sv}", "Platform", "s", strempty(c->platform), "User", "s",
                                strempty(c->user), "WorkingDirectory", "s", strempty(c->working_directory), "StopSignal",
                                "s", strempty(c->stop_signal));
                if (r >= 0)
                        r = append_strv(reply, "Entrypoint", c->entrypoint);
                if (r >= 0)
                        r = append_strv(reply, "Cmd", c->cmd);
                if (r >= 0)
                        r = append_strv(reply, "Env", c->env);
        }
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

int open_reply(Imaged *m, sd_bus_message *call, Image *image, sd_bus_error *error) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        const ImageRecord *record = &image->record;
        _cleanup_close_ int fd = -EBADF;
        int r;

        fd = image_store_open_content(m->store, record->content, record->size);
        if (fd == -ENOENT || fd == -EUCLEAN)
                return sd_bus_error_setf(error, ERROR_BAD_IMAGE,
                                "The content of the image %s is %s. Remove it and get it again.",
                                record->digest, fd == -ENOENT ? "gone" : "damaged");
        if (fd < 0)
                return fd;
        catalog_touch(&m->catalog, image);
        r = sd_bus_message_new_method_return(call, &reply);
        if (r >= 0)
                r = sd_bus_message_append(reply, "sh", record->digest, fd);
        if (r >= 0)
                r = append_config(reply, record);
        if (r >= 0)
                r = sd_bus_message_send(reply);
        return r < 0 ? r : sd_bus_message_get_cookie(reply, &image->opened);
}

static int method_open(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        char reference[REFERENCE_MAX + 1];
        Imaged *m = userdata;
        Image *image;
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
        if (streq(reference, BUILTIN_REFERENCE)) {
                r = builtin_need(m, call, &image, error);
                if (r <= 0)
                        return r < 0 ? r : 1; /* answered when it is made */
                return open_reply(m, call, image, error);
        }
        r = catalog_resolve(&m->catalog, reference, &image);
        if (r == -ENOENT)
                return sd_bus_error_setf(error, ERROR_NO_SUCH_IMAGE, "There is no image %s.", reference);
        if (r == -EUCLEAN)
                return sd_bus_error_setf(error, ERROR_BAD_IMAGE,
                                "There is no image behind the tag %s. Remove it and get it again.", reference);
        return r < 0 ? r : open_reply(m, call, image, error);
}

/* clang-format off */
static const sd_bus_vtable images_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("Pull",
                SD_BUS_ARGS("s", reference, "a{sv}", options), SD_BUS_RESULT("o", job),
                method_pull, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Import",
                SD_BUS_ARGS("s", reference, "h", tar, "a{sv}", options), SD_BUS_RESULT("o", job),
                method_import, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("List",
                SD_BUS_NO_ARGS, SD_BUS_RESULT("a(ssstto)", images),
                method_list, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Get",
                SD_BUS_ARGS("s", reference), SD_BUS_RESULT("o", image),
                method_get, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Remove",
                SD_BUS_ARGS("s", reference), SD_BUS_NO_RESULT,
                method_remove, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Prune",
                SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("a(sst)", removed),
                method_prune, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Open",
                SD_BUS_ARGS("s", reference), SD_BUS_RESULT("s", digest, "h", rootfs, "a{sv}", config),
                method_open, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_SIGNAL_WITH_ARGS("JobNew", SD_BUS_ARGS("u", id, "o", job, "s", reference), 0),
        SD_BUS_SIGNAL_WITH_ARGS("JobRemoved",
                SD_BUS_ARGS("u", id, "o", job, "s", reference, "s", result, "s", message, "s", digest), 0),
        SD_BUS_SIGNAL("ImagesChanged", NULL, 0),
        SD_BUS_VTABLE_END,
};
/* clang-format on */

int images_bus_register(Imaged *m) {
        int r;

        r = sd_bus_add_object_manager(m->bus, NULL, IMAGES_OBJECT);
        if (r < 0)
                return r;
        return sd_bus_add_object_vtable(m->bus, NULL, IMAGES_OBJECT, IMAGES_INTERFACE, images_vtable, m);
}
