/* SPDX-License-Identifier: Apache-2.0 */

/* Images come from hero-imaged as open files, so no path of its store is known here. What was opened is kept by the name
 * it was asked for and by digest; a digest never changes its content, a name may (ImagesChanged). */

#include <fcntl.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "compute/manager.h"
#include "compute/resources-internal.h"
#include "shared/bus-util.h"
#include "shared/error-names.h"
#include "shared/log.h"

/* Making the builtin image, or a cold start of hero-imaged on a busy host. */
#define OPEN_TIMEOUT_USEC (120 * UINT64_C(1000000))

CachedImage *image_free(CachedImage *i) {
        TAILQ_REMOVE(&i->manager->resources.images, i, images);
        i->manager->resources.n_images--;
        sd_bus_slot_unref(i->slot);
        safe_close(i->fd);
        free(i->reference);
        free(i->digest);
        free(i->pull_job);
        vm_image_config_done(&i->config);
        return mfree(i);
}

void images_done(Manager *m) {
        while (!TAILQ_EMPTY(&m->resources.images))
                image_free(TAILQ_FIRST(&m->resources.images));
}

static CachedImage *image_find(Manager *m, const char *reference) {
        CachedImage *i;

        TAILQ_FOREACH(i, &m->resources.images, images)
                if (streq(i->reference, reference))
                        return i;
        return NULL;
}

static CachedImage *image_new(Manager *m, const char *reference) {
        CachedImage *i, *last;

        i = new0(CachedImage, 1);
        if (!i)
                return NULL;
        i->manager = m;
        i->fd = -EBADF;
        TAILQ_INIT(&i->waiting);
        TAILQ_INSERT_HEAD(&m->resources.images, i, images);
        m->resources.n_images++;
        i->reference = strdup(reference);
        if (!i->reference) {
                image_free(i);
                return NULL;
        }
        last = TAILQ_LAST(&m->resources.images, CachedImages);
        if (m->resources.n_images > IMAGE_CACHE_MAX && last->fd >= 0)
                image_free(last);
        return i;
}

static int read_open_reply(sd_bus_message *reply, CachedImage *i, char **ret_text) {
        _cleanup_(vm_image_config_done) VmImageConfig config = {};
        _cleanup_close_ int copy = -EBADF;
        const char *digest;
        int fd, r;

        r = sd_bus_message_read(reply, "sh", &digest, &fd);
        if (r >= 0)
                r = vm_image_config_read(reply, &config, ret_text);
        if (r < 0)
                return r;
        /* The message owns its fd. */
        copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (copy < 0)
                return negative_errno();
        i->digest = strdup(digest);
        if (!i->digest)
                return -ENOMEM;
        i->config = config;
        config = (VmImageConfig) {};
        i->fd = TAKE_FD(copy);
        return 0;
}

static int on_opened(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        _cleanup_free_ char *text = NULL;
        CachedImage *i = userdata;
        const sd_bus_error *e;
        int r;

        i->slot = sd_bus_slot_unref(i->slot);
        e = sd_bus_message_get_error(reply);
        if (e && image_pull_is_wanted(i, e) && image_pull_begin(i) >= 0)
                return 0;
        if (e) {
                r = -sd_bus_error_get_errno(e);
                text = strprintf(startswith(strna(e->name), HERO_ERROR) ? "%s" : "hero-imaged cannot open the image: %s",
                                 strna(e->message));
        } else
                r = read_open_reply(reply, i, &text);
        if (r < 0)
                cached_image_failed(i, r, text);
        else
                resources_wake(&i->waiting, 0, NULL);
        return 0;
}

/* Whoever is told may ask for the same image at once, and is to get a new try. */
void cached_image_failed(CachedImage *i, int error, const char *text) {
        _cleanup_free_ char *copy = text ? strdup(text) : NULL; /* it may be the image's own */
        VmQueue waiting = TAILQ_HEAD_INITIALIZER(waiting);

        TAILQ_CONCAT(&waiting, &i->waiting, waiting);
        for (Vm *vm = TAILQ_FIRST(&waiting); vm; vm = TAILQ_NEXT(vm, waiting))
                vm->waiting_queue = &waiting;
        image_free(i);
        resources_wake(&waiting, error, copy);
}

int image_open(CachedImage *i, const char *reference) {
        _cleanup_message_ sd_bus_message *call = NULL;
        sd_bus *bus = i->manager->bus;
        int r;

        r = sd_bus_message_new_method_call(bus, &call, IMAGES_BUS_NAME, IMAGES_OBJECT, IMAGES_INTERFACE, "Open");
        if (r >= 0)
                r = sd_bus_message_append(call, "s", reference);
        return r < 0 ? r : sd_bus_call_async(bus, &i->slot, call, on_opened, i, OPEN_TIMEOUT_USEC);
}

int resources_need_image(Vm *vm, const char *reference, const char **ret_digest, int *ret_fd,
                         const VmImageConfig **ret_config, char **ret_text) {
        Manager *m = vm->manager;
        CachedImage *i;
        int r;

        i = image_find(m, reference);
        if (i && i->fd >= 0) {
                TAILQ_REMOVE(&m->resources.images, i, images);
                TAILQ_INSERT_HEAD(&m->resources.images, i, images);
                *ret_digest = i->digest;
                *ret_fd = i->fd;
                if (ret_config)
                        *ret_config = &i->config;
                return 1;
        }
        if (!i) {
                i = image_new(m, reference);
                if (!i)
                        return -ENOMEM;
                r = image_open(i, reference);
                if (r < 0) {
                        image_free(i);
                        *ret_text = strdup("Cannot ask hero-imaged for the image.");
                        return r;
                }
        }
        resources_wait(vm, &i->waiting);
        if (i->pulling)
                image_pull_joined(i, vm);
        return 0;
}

void resources_forget_images(Manager *m) {
        CachedImage *i, *next;

        for (i = TAILQ_FIRST(&m->resources.images); i; i = next) {
                next = TAILQ_NEXT(i, images);
                if (i->fd >= 0)
                        image_free(i);
        }
}

static int on_images_changed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        resources_forget_images(userdata);
        return 0;
}

int images_register(Manager *m) {
        int r;

        r = image_pull_register(m);
        return r < 0 ? r : sd_bus_match_signal_async(m->bus, NULL, IMAGES_BUS_NAME, IMAGES_OBJECT, IMAGES_INTERFACE,
                                                     "ImagesChanged", on_images_changed, NULL, m);
}
