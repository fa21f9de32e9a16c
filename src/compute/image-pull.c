/* SPDX-License-Identifier: Apache-2.0 */

/* An image that is not here yet is pulled inside the jobs that need it: Images.Pull() → the path of hero-imaged's job → its
 * progress, told on as ours → JobRemoved → Open() again. The pull is given up when the last VM that waits for it is. */

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "compute/manager.h"
#include "compute/resources-internal.h"
#include "compute/vm-record.h"
#include "shared/bus-util.h"
#include "shared/error-names.h"
#include "shared/log.h"

#define PULL_TIMEOUT_USEC (120 * UINT64_C(1000000)) /* of the answer, not of the pull */

/* The name of an error, as the errno that leads back to it. */
static int error_from_name(const char *name) {
        sd_bus_error e = SD_BUS_ERROR_MAKE_CONST(name, name);
        int r = sd_bus_error_get_errno(&e);

        return r > 0 ? -r : -EIO;
}

static void take_back(CachedImage *i) {
        _cleanup_message_ sd_bus_message *call = NULL;
        sd_bus *bus = i->manager->bus;

        /* What it answers changes nothing for us. */
        if (sd_bus_message_new_method_call(bus, &call, IMAGES_BUS_NAME, i->pull_job, IMAGE_JOB_INTERFACE, "Cancel") >= 0 &&
            sd_bus_message_set_expect_reply(call, false) >= 0)
                (void) sd_bus_send(bus, call, NULL);
}

static void tell_progress(CachedImage *i) {
        Vm *vm;

        TAILQ_FOREACH(vm, &i->waiting, waiting)
                image_pull_joined(i, vm);
}

void image_pull_joined(CachedImage *i, Vm *vm) {
        job_set_word(vm->job, "pull");
        job_set_progress(vm->job, i->done, i->total);
        if (vm->pulling || vm->state != VM_PROVISIONING)
                return;
        /* Should we be restarted in the middle, the next one goes on rather than undo what took so long. */
        vm->pulling = true;
        vm->unsaved = true;
        vm_record_settle(vm);
}

bool image_pull_is_wanted(const CachedImage *i, const sd_bus_error *e) {
        /* A digest alone is nowhere to be had. */
        return i->manager->config.images_pull && !i->pulled && sd_bus_error_has_name(e, ERROR_NO_SUCH_IMAGE) &&
                !startswith(i->reference, "sha256:");
}

static int on_pull(sd_bus_message *reply, void *userdata, sd_bus_error *error);

int image_pull_begin(CachedImage *i) {
        _cleanup_message_ sd_bus_message *call = NULL;
        sd_bus *bus = i->manager->bus;
        int r;

        i->pull_job = mfree(i->pull_job);
        i->done = i->total = 0;
        r = sd_bus_message_new_method_call(bus, &call, IMAGES_BUS_NAME, IMAGES_OBJECT, IMAGES_INTERFACE, "Pull");
        if (r >= 0)
                r = sd_bus_message_append(call, "sa{sv}", i->reference, 0);
        if (r >= 0)
                r = sd_bus_call_async(bus, &i->slot, call, on_pull, i, PULL_TIMEOUT_USEC);
        if (r < 0)
                return r;
        i->pulling = true;
        tell_progress(i);
        return 0;
}

/* hero-imaged is gone, with what it was doing for us; it may have been the one thing that was wrong. */
static void pull_lost(CachedImage *i) {
        i->pull_job = mfree(i->pull_job);
        if (!i->retried) {
                i->retried = true;
                log_info("hero-imaged ended while it pulled '%s'; asking again.", i->reference);
                if (image_pull_begin(i) >= 0)
                        return;
        }
        cached_image_failed(i, error_from_name(ERROR_PULL_FAILED), "hero-imaged ended while it pulled the image, twice.");
}

static bool is_gone(const sd_bus_error *e) {
        return sd_bus_error_has_names(e, SD_BUS_ERROR_NO_REPLY, SD_BUS_ERROR_NAME_HAS_NO_OWNER, SD_BUS_ERROR_DISCONNECTED);
}

static int on_pull(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        const sd_bus_error *e = sd_bus_message_get_error(reply);
        _cleanup_free_ char *text = NULL;
        CachedImage *i = userdata;
        const char *path;
        int r;

        i->slot = sd_bus_slot_unref(i->slot);
        /* It was about to leave; the next call starts the next one. */
        if (e && sd_bus_error_has_name(e, ERROR_BUSY) && !i->was_busy) {
                i->was_busy = true;
                if (image_pull_begin(i) >= 0)
                        return 0;
        }
        if (e && is_gone(e)) {
                pull_lost(i);
                return 0;
        }
        if (e) {
                text = strprintf("The image is not here and cannot be pulled: %s", strna(e->message));
                cached_image_failed(i, -sd_bus_error_get_errno(e), startswith(strna(e->name), HERO_ERROR) ? e->message : text);
                return 0;
        }
        r = sd_bus_message_read(reply, "o", &path);
        if (r >= 0)
                r = free_and_strdup(&i->pull_job, path);
        if (r < 0)
                cached_image_failed(i, r, NULL);
        else
                images_check_abandoned(i->manager); /* while we did not know whom to tell */
        return 0;
}

void images_check_abandoned(Manager *m) {
        CachedImage *i, *next;

        /* The daemon ends, and leaves everything as it is for the next one. */
        if (!m->serving)
                return;
        for (i = TAILQ_FIRST(&m->resources.images); i; i = next) {
                next = TAILQ_NEXT(i, images);
                if (!i->pulling || !i->pull_job || !TAILQ_EMPTY(&i->waiting))
                        continue;
                take_back(i);
                image_free(i);
        }
}

static CachedImage *find_by_job(Manager *m, const char *path) {
        CachedImage *i;

        TAILQ_FOREACH(i, &m->resources.images, images)
                if (i->pulling && streq_ptr(i->pull_job, path))
                        return i;
        return NULL;
}

static void pull_ended(CachedImage *i, const char *result, const char *text, const char *digest) {
        _cleanup_free_ char *sentence = NULL;
        int r;

        i->pulling = false;
        i->pull_job = mfree(i->pull_job);
        if (streq(result, "done")) {
                i->pulled = true;
                r = image_open(i, isempty(digest) ? i->reference : digest);
                if (r < 0)
                        cached_image_failed(i, r, NULL);
                return;
        }
        if (streq(result, "canceled")) {
                sentence = strprintf("The pull of '%s' was canceled.", i->reference);
                cached_image_failed(i, -ECANCELED, sentence);
        } else
                cached_image_failed(i, error_from_name(result), isempty(text) ? NULL : text);
}

static int on_job_removed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *path, *reference, *result, *text, *digest;
        Manager *manager = userdata;
        CachedImage *i;
        uint32_t id;
        int r;

        r = sd_bus_message_read(m, "uossss", &id, &path, &reference, &result, &text, &digest);
        if (r < 0) {
                (void) log_warning_errno(r, "hero-imaged sent something else than it should: %m");
                return 0;
        }
        /* One that two references of ours share, each under the name it was asked for. */
        while ((i = find_by_job(manager, path)))
                pull_ended(i, result, text, digest);
        return 0;
}

static int read_progress(sd_bus_message *m, uint64_t *ret_done, uint64_t *ret_total) {
        const char *key;
        int r, found = 0;

        r = sd_bus_message_read(m, "s", NULL);
        if (r >= 0)
                r = sd_bus_message_enter_container(m, 'a', "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = sd_bus_message_read(m, "s", &key);
                if (r >= 0 && streq(key, "Progress")) {
                        r = sd_bus_message_read(m, "v", "(tt)", ret_done, ret_total);
                        found = 1;
                } else if (r >= 0)
                        r = sd_bus_message_skip(m, "v");
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        return r < 0 ? r : found;
}

static int on_progress(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Manager *manager = userdata;
        uint64_t done, total;
        CachedImage *i;

        if (read_progress(m, &done, &total) <= 0)
                return 0;
        TAILQ_FOREACH(i, &manager->resources.images, images)
                if (i->pulling && streq_ptr(i->pull_job, sd_bus_message_get_path(m))) {
                        i->done = done;
                        i->total = total;
                        tell_progress(i);
                }
        return 0;
}

static int on_owner_changed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *name, *old, *new;
        Manager *manager = userdata;
        CachedImage *i;

        if (sd_bus_message_read(m, "sss", &name, &old, &new) < 0 || isempty(old))
                return 0;
        /* Those that are asked for again have no job any more, the others are freed, and who is told may ask for more. */
        do {
                TAILQ_FOREACH(i, &manager->resources.images, images)
                        if (i->pulling && i->pull_job)
                                break;
                if (i)
                        pull_lost(i);
        } while (i);
        return 0;
}

int image_pull_register(Manager *m) {
        int r;

        r = sd_bus_match_signal_async(m->bus, NULL, IMAGES_BUS_NAME, IMAGES_OBJECT, IMAGES_INTERFACE, "JobRemoved",
                                      on_job_removed, NULL, m);
        if (r >= 0)
                r = sd_bus_add_match_async(m->bus, NULL,
                                           "type='signal',sender='" IMAGES_BUS_NAME "',"
                                           "interface='org.freedesktop.DBus.Properties',member='PropertiesChanged',"
                                           "arg0='" IMAGE_JOB_INTERFACE "'",
                                           on_progress, NULL, m);
        if (r >= 0)
                r = sd_bus_add_match_async(m->bus, NULL,
                                           "type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',"
                                           "member='NameOwnerChanged',arg0='" IMAGES_BUS_NAME "'",
                                           on_owner_changed, NULL, m);
        return r;
}
