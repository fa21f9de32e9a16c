/* SPDX-License-Identifier: Apache-2.0 */

/* Imports in flight: one build each, for a caller that must stay on the bus, and the tag at its end. */

#include <stdio.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "imaged/imaged.h"
#include "shared/error-names.h"
#include "shared/log.h"
#include "shared/peer-watch.h"

/* Progress is for people: no more often than they can read it, whatever the worker says. */
#define PROGRESS_INTERVAL (200 * USEC_PER_MSEC)

struct Import {
        TAILQ_ENTRY(Import) imports;
        Imaged *imaged;
        uint32_t id;
        char reference[REFERENCE_MAX + 1];
        char *sender;
        PeerWatch *watch;
        Build *build;
        uint64_t last_progress;
};

static Import *import_free(Import *i) {
        if (!i)
                return NULL;
        TAILQ_REMOVE(&i->imaged->imports, i, imports);
        i->imaged->n_imports--;
        peer_watch_free(i->watch);
        build_free(i->build);
        free(i->sender);
        return mfree(i);
}
DEFINE_TRIVIAL_CLEANUP_FUNC(Import *, import_free);

void imports_free(Imaged *m) {
        while (!TAILQ_EMPTY(&m->imports))
                import_free(TAILQ_FIRST(&m->imports));
}

const char *import_error_name(int error) {
        switch (error) {
        case -ENOSPC:
                return ERROR_NO_CAPACITY;
        case -EDQUOT:
                return ERROR_LIMIT_EXCEEDED;
        default:
                return ERROR_IMPORT_FAILED;
        }
}

Import *import_find(Imaged *m, uint32_t id) {
        Import *i;

        TAILQ_FOREACH(i, &m->imports, imports)
                if (i->id == id)
                        return i;
        return NULL;
}

bool import_is_of(const Import *i, const char *sender) {
        return streq_ptr(i->sender, sender);
}

static void import_end(Import *i, const char *result, const char *message, const char *digest) {
        emit_import_done(i->imaged, i->id, result, message, digest);
        import_free(i);
}

void import_cancel(Import *i) {
        log_info("Import %u of %s was canceled.", i->id, i->reference);
        import_end(i, "canceled", "The import was canceled.", "");
}

static void on_gone(void *userdata) {
        Import *i = userdata;

        log_info("Import %u of %s was canceled: its caller left the bus.", i->id, i->reference);
        import_end(i, "canceled", "The caller of the import left the bus.", "");
}

static void on_progress(uint64_t bytes, uint32_t entries, void *userdata) {
        uint64_t now = now_usec(CLOCK_MONOTONIC);
        Import *i = userdata;

        if (now - i->last_progress < PROGRESS_INTERVAL)
                return;
        i->last_progress = now;
        emit_import_progress(i->imaged, i->id, bytes, entries);
}

static int set_tag(Import *i, const BuildResult *result) {
        ImageTag tag = {
                .size = result->size,
                .created = now_usec(CLOCK_REALTIME),
                .entries = result->entries,
        };

        (void) snprintf(tag.reference, sizeof(tag.reference), "%s", i->reference);
        (void) snprintf(tag.digest, sizeof(tag.digest), "%s", result->digest);
        return image_store_tag(i->imaged->store, &tag);
}

static void on_done(const BuildResult *result, void *userdata) {
        Import *i = userdata;
        Imaged *m = i->imaged;
        int r;

        i->build = NULL; /* frees itself */
        if (result->error < 0) {
                log_notice("Import %u of %s failed: %s", i->id, i->reference, result->sentence);
                return import_end(i, import_error_name(result->error), result->sentence, "");
        }
        r = set_tag(i, result);
        if (r < 0) {
                log_error_errno(r, "Failed to write the tag %s: %m", i->reference);
                import_end(i, import_error_name(r),
                                r == -EDQUOT ? "There are 1024 images already, remove one first."
                                             : "The tag of the image could not be written.",
                                "");
        } else {
                log_info("Image %s is %s, %u entries, %llu bytes.", i->reference, result->digest,
                                result->entries, (unsigned long long) result->size);
                if (result->dropped_xattrs > 0)
                        log_notice("%u extended attributes of %s (POSIX ACLs) have no place in a SquashFS and were left out.",
                                        result->dropped_xattrs, i->reference);
                emit_images_changed(m);
                import_end(i, "done", "", result->digest);
        }
        /* What the tag pointed at before, or the content that got none. */
        collect_contents(m);
}

int import_new(Imaged *m, const char *reference, const char *sender, int tar_fd, uint32_t *ret_id,
                sd_bus_error *error) {
        static const char *const arguments[] = { "tar", NULL };
        _cleanup_(import_freep) Import *i = NULL;
        int r;

        if (m->n_imports >= IMPORTS_MAX)
                return sd_bus_error_setf(error, ERROR_LIMIT_EXCEEDED,
                                "%u imports are running already, try again later.", IMPORTS_MAX);
        i = new(Import, 1);
        if (!i)
                return -ENOMEM;
        *i = (Import) { .imaged = m };
        TAILQ_INSERT_TAIL(&m->imports, i, imports);
        m->n_imports++;
        do
                i->id = ++m->last_import_id;
        while (i->id == 0);
        (void) snprintf(i->reference, sizeof(i->reference), "%s", reference);
        i->sender = strdup(sender);
        if (!i->sender)
                return -ENOMEM;
        r = peer_watch_new(m->bus, sender, on_gone, i, &i->watch);
        if (r < 0)
                return r;
        r = build_start(m->event, m->store, arguments, tar_fd, on_progress, on_done, i, &i->build);
        if (r < 0)
                return sd_bus_error_setf(error, import_error_name(r), "The import cannot be started: %s.",
                                strerror(-r));
        *ret_id = i->id;
        TAKE_PTR(i);
        return 0;
}
