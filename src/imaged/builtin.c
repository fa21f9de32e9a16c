/* SPDX-License-Identifier: Apache-2.0 */

/* The built-in busybox image: made by the first Open() that wants it, once for all that want it meanwhile,
 * and again after the busybox program or the recipe changed. */

#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "imaged/busybox-tree.h"
#include "imaged/imaged.h"
#include "shared/bus-util.h"
#include "shared/error-names.h"
#include "shared/log.h"

#define BUSYBOX "/bin/busybox"

struct WaitingOpen {
        TAILQ_ENTRY(WaitingOpen) opens;
        sd_bus_message *call;
};

/* $HERO_BUSYBOX is for tests. */
static const char *busybox_path(void) {
        return secure_getenv("HERO_BUSYBOX") ?: BUSYBOX;
}

static int busybox_source(char buf[static RECORD_SOURCE_MAX + 1]) {
        struct stat st;

        if (stat(busybox_path(), &st) < 0)
                return negative_errno();
        if (!S_ISREG(st.st_mode))
                return -ENOENT;
        (void) snprintf(buf, RECORD_SOURCE_MAX + 1, "%u-%" PRIu64 "-%" PRIu64 ".%09lu", BUSYBOX_TREE_VERSION,
                        (uint64_t) st.st_size, (uint64_t) st.st_mtim.tv_sec,
                        (unsigned long) st.st_mtim.tv_nsec);
        return 0;
}

bool builtin_is_possible(void) {
        char source[RECORD_SOURCE_MAX + 1];

        return busybox_source(source) >= 0;
}

static void waiting_free(Imaged *m, WaitingOpen *o) {
        TAILQ_REMOVE(&m->opens, o, opens);
        m->n_opens--;
        sd_bus_message_unref(o->call);
        free(o);
}

void builtin_free(Imaged *m) {
        while (!TAILQ_EMPTY(&m->opens))
                waiting_free(m, TAILQ_FIRST(&m->opens));
        m->builtin = build_free(m->builtin);
}

static void answer_all(Imaged *m, Image *image, int error, const char *sentence) {
        while (!TAILQ_EMPTY(&m->opens)) {
                _cleanup_bus_error_ sd_bus_error e = SD_BUS_ERROR_NULL;
                WaitingOpen *o = TAILQ_FIRST(&m->opens);
                int r = error;

                if (r < 0)
                        sd_bus_error_setf(&e, ERROR_BAD_IMAGE, "The built-in image cannot be made: %s",
                                        sentence);
                else
                        r = open_reply(m, o->call, image, &e);
                if (r < 0) {
                        if (!sd_bus_error_is_set(&e))
                                sd_bus_error_set_errno(&e, r);
                        (void) sd_bus_reply_method_error(o->call, &e);
                }
                waiting_free(m, o);
        }
}

static void on_done(const BuildResult *result, void *userdata) {
        uint64_t now = now_usec(CLOCK_REALTIME);
        ImageRecord record = { .created = now, .pulled = now, .last_used = now };
        Image *image = NULL;
        Imaged *m = userdata;
        int r;

        m->builtin = NULL; /* frees itself */
        if (result->error < 0) {
                log_error("The built-in image cannot be made: %s", result->sentence);
                return answer_all(m, NULL, result->error, result->sentence);
        }
        record.size = result->size;
        record.entries = result->entries;
        (void) snprintf(record.digest, sizeof(record.digest), "%s", result->digest);
        (void) snprintf(record.content, sizeof(record.content), "%s", result->digest);
        /* A busybox that was replaced meanwhile shows at the next Open(). */
        r = busybox_source(record.source);
        if (r >= 0)
                r = catalog_put(&m->catalog, &record, BUILTIN_REFERENCE, &image);
        if (r < 0) {
                log_error_errno(r, "Failed to write the record of the built-in image: %m");
                return answer_all(m, NULL, r, "its record cannot be written.");
        }
        log_info("Made the built-in image " BUILTIN_REFERENCE " from %s: %s.", busybox_path(), result->digest);
        answer_all(m, image, 0, NULL);
        collect_images(m);
}

static int wait_for_it(Imaged *m, sd_bus_message *call, sd_bus_error *error) {
        WaitingOpen *o;

        if (m->n_opens >= OPENS_WAITING_MAX)
                return sd_bus_error_setf(error, ERROR_LIMIT_EXCEEDED,
                                "%u calls are waiting for the built-in image already.", OPENS_WAITING_MAX);
        o = new(WaitingOpen, 1);
        if (!o)
                return -ENOMEM;
        o->call = sd_bus_message_ref(call);
        TAILQ_INSERT_TAIL(&m->opens, o, opens);
        m->n_opens++;
        return 0;
}

int builtin_need(Imaged *m, sd_bus_message *call, Image **ret, sd_bus_error *error) {
        const char *const arguments[] = { "busybox", busybox_path(), NULL };
        const BuildRequest request = { .argv = arguments, .input_fd = -EBADF, .done = on_done, .userdata = m };
        char source[RECORD_SOURCE_MAX + 1];
        Image *image;
        bool there;
        int r, k;

        if (!m->builtin) {
                r = catalog_resolve(&m->catalog, BUILTIN_REFERENCE, &image);
                there = r >= 0 && image_is_complete(&m->catalog, image);
                k = busybox_source(source);
                /* Without the program the image made before is as good as ever. */
                if (there && (k < 0 || streq(image->record.source, source))) {
                        *ret = image;
                        return 1;
                }
                if (k < 0)
                        return sd_bus_error_setf(error, ERROR_NO_SUCH_IMAGE,
                                        "The built-in image needs %s: %s. Install "
                                        "busybox-static or import an image.",
                                        busybox_path(), strerror(-k));
                r = build_start(m->event, m->store, &request, &m->builtin);
                if (r < 0)
                        return sd_bus_error_setf(error, ERROR_BAD_IMAGE,
                                        "The built-in image cannot be made: %s.", strerror(-r));
        }
        return wait_for_it(m, call, error);
}
