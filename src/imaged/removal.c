/* SPDX-License-Identifier: Apache-2.0 */

/* Taking images away, see imaged.h: the question to hero-computed, and what its answer permits. */

#include <stdio.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "imaged/imaged.h"
#include "imaged/reference.h"
#include "shared/bus-util.h"
#include "shared/error-names.h"
#include "shared/log.h"

struct Removal {
        TAILQ_ENTRY(Removal) removals;
        Imaged *imaged;
        sd_bus_message *call;
        sd_bus_slot *slot;
        char reference[REFERENCE_MAX + 1];
        bool by_digest;
};

static Removal *removal_free(Removal *x) {
        if (!x)
                return NULL;
        TAILQ_REMOVE(&x->imaged->removals, x, removals);
        x->imaged->n_removals--;
        sd_bus_slot_unref(x->slot);
        sd_bus_message_unref(x->call);
        return mfree(x);
}
DEFINE_TRIVIAL_CLEANUP_FUNC(Removal *, removal_free);

void removals_free(Imaged *m) {
        while (!TAILQ_EMPTY(&m->removals))
                removal_free(TAILQ_FIRST(&m->removals));
        m->collect_slot = sd_bus_slot_unref(m->collect_slot);
}

static int ask_computed(Imaged *m, bool start_it, sd_bus_message_handler_t callback, void *userdata,
                sd_bus_slot **ret) {
        _cleanup_message_ sd_bus_message *call = NULL;
        int r;

        r = sd_bus_message_new_method_call(m->bus, &call, COMPUTE_BUS_NAME, COMPUTE_OBJECT,
                        COMPUTE_MANAGER_INTERFACE, "ListImageUses");
        if (r >= 0)
                r = sd_bus_message_set_auto_start(call, start_it);
        if (r >= 0)
                r = sd_bus_call_async(m->bus, ret, call, callback, userdata, 0);
        return r;
}

/* Whether a VM that has got no digest yet is being made of the content. */
static bool refers_to(Imaged *m, const char *image, const char *digest) {
        char reference[REFERENCE_MAX + 1];
        ImageTag tag;
        int r;

        r = reference_normalize(image, reference);
        if (r == 0)
                r = image_store_resolve(m->store, reference, &tag);
        else if (r > 0)
                return streq(reference, digest);
        return r >= 0 && streq(tag.digest, digest);
}

/* Which VM the content must stay for, *ret_vm pointing into the reply. 1: that one uses it. 2: it may, nobody can tell.
 * 0: none. */
static int find_user(Imaged *m, sd_bus_message *reply, const char *digest, const char **ret_vm) {
        const char *vm, *image, *used;
        int r, found = 0;

        if (sd_bus_message_is_method_error(reply, NULL))
                return -sd_bus_message_get_errno(reply);
        r = sd_bus_message_rewind(reply, true);
        if (r >= 0)
                r = sd_bus_message_enter_container(reply, 'a', "(sss)");
        while (r >= 0 && (r = sd_bus_message_read(reply, "(sss)", &vm, &image, &used)) > 0) {
                bool unknown = isempty(used) && isempty(image);

                if (unknown ? found != 0 : isempty(used) ? !refers_to(m, image, digest) : !streq(used, digest))
                        continue;
                *ret_vm = vm;
                found = unknown ? 2 : 1;
                if (!unknown)
                        break;
        }
        return r < 0 ? r : found;
}

/* The tags with this digest, counted. */
static int count_tags(Imaged *m, const char *digest, unsigned *ret) {
        _cleanup_free_ ImageTag *tags = NULL;
        unsigned k = 0, broken;
        size_t n;
        int r;

        r = image_store_list(m->store, &tags, &n, &broken);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++)
                k += streq(tags[i].digest, digest);
        /* One that cannot be read may be another of them. */
        *ret = k + broken;
        return 0;
}

static int untag_all(Imaged *m, const char *digest) {
        _cleanup_free_ ImageTag *tags = NULL;
        size_t n;
        int r;

        r = image_store_list(m->store, &tags, &n, NULL);
        for (size_t i = 0; r >= 0 && i < n; i++)
                if (streq(tags[i].digest, digest))
                        r = image_store_untag(m->store, tags[i].reference);
        return r;
}

/* What the reference means now. *ret_last: with it, the content goes, too. */
static int look(Imaged *m, const char *reference, bool by_digest, char digest[static DIGEST_LENGTH + 1],
                bool *ret_last, sd_bus_error *error) {
        unsigned n = 0;
        ImageTag tag;
        int r, fd;

        if (by_digest) {
                fd = image_store_open_content(m->store, reference, UINT64_MAX);
                safe_close(fd);
                r = fd == -EUCLEAN ? 0 : MIN2(fd, 0);
                (void) snprintf(digest, DIGEST_LENGTH + 1, "%s", reference);
        } else {
                r = image_store_resolve(m->store, reference, &tag);
                (void) snprintf(digest, DIGEST_LENGTH + 1, "%s", r >= 0 ? tag.digest : "");
        }
        if (r == -ENOENT)
                return sd_bus_error_setf(error, ERROR_NO_SUCH_IMAGE, "There is no image %s.", reference);
        if (r == -EUCLEAN) { /* a tag that cannot be read points at nothing: only the tag goes */
                *ret_last = false;
                return 0;
        }
        if (r < 0 || (!by_digest && (r = count_tags(m, digest, &n)) < 0))
                return sd_bus_error_set_errno(error, r);
        *ret_last = by_digest || n <= 1;
        return 0;
}

static int finish(Imaged *m, sd_bus_message *call, const char *reference, bool by_digest, const char *digest,
                bool last, sd_bus_error *error) {
        int r;

        /* The tags first: a tag without content would be a broken image, content without a tag only takes
         * space. */
        r = by_digest ? untag_all(m, digest) : image_store_untag(m->store, reference);
        if (r >= 0 && last)
                r = image_store_remove_content(m->store, digest);
        if (r < 0)
                return sd_bus_error_setf(error,
                                sd_bus_error_is_set(error) ? error->name : SD_BUS_ERROR_FAILED,
                                "The image cannot be removed: %s.", strerror(-r));
        log_info("Removed %s%s.", reference, last && !by_digest ? " and its content" : "");
        emit_images_changed(m);
        return sd_bus_reply_method_return(call, NULL);
}

static int decide(Removal *x, sd_bus_message *reply, sd_bus_error *error) {
        char digest[DIGEST_LENGTH + 1];
        int r, used = 0;
        const char *vm;
        bool last;

        /* Read again: a tag can have moved while we asked. */
        r = look(x->imaged, x->reference, x->by_digest, digest, &last, error);
        if (r < 0)
                return r;
        if (last)
                used = find_user(x->imaged, reply, digest, &vm);
        if (used < 0) {
                const sd_bus_error *e = sd_bus_message_get_error(reply);

                return sd_bus_error_setf(error, ERROR_BUSY,
                                "hero-computed does not say which images its VMs use (%s), so "
                                "%s stays. Is hero-computed running?",
                                e ? strna(e->message) : strerror(-used), x->reference);
        }
        if (used == 1)
                return sd_bus_error_setf(error, ERROR_IMAGE_IN_USE, "VM '%s' uses the image %s.", vm, x->reference);
        if (used == 2)
                return sd_bus_error_setf(error, ERROR_BUSY,
                                "Which image VM '%s' uses cannot be told, for its record is broken, so %s stays. "
                                "Mend or remove " STATEDIR "/vms/%s first.",
                                vm, x->reference, vm);
        return finish(x->imaged, x->call, x->reference, x->by_digest, digest, last, error);
}

static int on_answer(sd_bus_message *reply, void *userdata, sd_bus_error *unused) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(removal_freep) Removal *x = userdata;
        int r;

        r = decide(x, reply, &error);
        if (r < 0) {
                if (!sd_bus_error_is_set(&error))
                        sd_bus_error_set_errno(&error, r);
                (void) sd_bus_reply_method_error(x->call, &error);
        }
        return 0;
}

int removal_new(Imaged *m, sd_bus_message *call, const char *reference, bool by_digest,
                sd_bus_error *error) {
        _cleanup_(removal_freep) Removal *x = NULL;
        char digest[DIGEST_LENGTH + 1];
        bool last;
        int r;

        r = look(m, reference, by_digest, digest, &last, error);
        if (r < 0)
                return r;
        if (!last)
                return finish(m, call, reference, by_digest, digest, false, error);
        if (m->n_removals >= REMOVALS_MAX)
                return sd_bus_error_setf(error, ERROR_LIMIT_EXCEEDED,
                                "%u images are being removed already, try again later.", REMOVALS_MAX);
        x = new(Removal, 1);
        if (!x)
                return -ENOMEM;
        *x = (Removal) { .imaged = m, .call = sd_bus_message_ref(call), .by_digest = by_digest };
        (void) snprintf(x->reference, sizeof(x->reference), "%s", reference);
        TAILQ_INSERT_TAIL(&m->removals, x, removals);
        m->n_removals++;
        r = ask_computed(m, true, on_answer, x, &x->slot);
        if (r < 0)
                return r;
        TAKE_PTR(x);
        return 1;
}

static int on_collect(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        _cleanup_strv_free_ char **untagged = NULL;
        const char *vm;
        Imaged *m = userdata;
        int r;

        m->collect_slot = sd_bus_slot_unref(m->collect_slot);
        r = image_store_untagged(m->store, &untagged);
        if (r < 0) {
                log_debug_errno(r, "Contents without a tag stay for now: %m");
                return 0;
        }
        STRV_FOREACH(d, untagged) {
                r = find_user(m, reply, *d, &vm);
                if (r < 0) {
                        log_debug_errno(r, "Contents without a tag stay for now: %m");
                        return 0;
                }
                if (r > 0)
                        continue;
                r = image_store_remove_content(m->store, *d);
                if (r < 0)
                        log_warning_errno(r, "Failed to remove %s, which nothing uses: %m", *d);
                else
                        log_info("Removed %s, which nothing uses.", *d);
        }
        return 0;
}

void collect_contents(Imaged *m) {
        _cleanup_strv_free_ char **untagged = NULL;
        int r;

        if (m->collect_slot)
                return;
        r = image_store_untagged(m->store, &untagged);
        if (r >= 0 && strv_length(untagged) > 0)
                r = ask_computed(m, false, on_collect, m, &m->collect_slot);
        if (r == -EUCLEAN)
                log_warning("A tag in the image store cannot be read; contents without a tag stay.");
        else if (r < 0)
                log_warning_errno(r, "Failed to look for contents that nothing uses: %m");
}
