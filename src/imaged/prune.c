/* SPDX-License-Identifier: Apache-2.0 */

/* Making space, see imaged.h: what would go, and taking it away. */

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "imaged/imaged.h"
#include "shared/bus-util.h"
#include "shared/error-names.h"
#include "shared/log.h"

#define FOREACH_IMAGE(i, m) for (Image *i = (m)->catalog.images; i; i = i->hh.next)

/* Images that are to go, in this order, and what each of them frees. They are doomed until the plan is done. */
typedef struct Plan {
        Image **images;
        uint64_t *freed;
        size_t n, n_images, n_freed;
        uint64_t size;      /* of what stays */
        uint64_t sum_freed;
} Plan;

static void plan_done(Plan *p) {
        for (size_t i = 0; i < p->n; i++)
                p->images[i]->doomed = false;
        free(p->images);
        free(p->freed);
}

static int plan_add(Imaged *m, Plan *p, Image *image) {
        if (!GREEDY_REALLOC(p->images, p->n_images, p->n + 1) || !GREEDY_REALLOC(p->freed, p->n_freed, p->n + 1))
                return -ENOMEM;
        image->doomed = true;
        p->images[p->n] = image;
        p->freed[p->n] = catalog_count_content(&m->catalog, image->record.content) > 0 ? 0 : image->record.size;
        p->size -= p->freed[p->n];
        p->sum_freed += p->freed[p->n++];
        return 0;
}

static bool is_free(const Image *image) {
        return !image->doomed && !image->kept;
}

/* The one used least recently. */
static Image *choose(Imaged *m) {
        Image *found = NULL;

        FOREACH_IMAGE(i, m)
                if ((!found || i->record.last_used < found->record.last_used) && is_free(i))
                        found = i;
        return found;
}

/* Will there be need bytes more than now, within the budget and with KeepFree= left, when the plan is carried out? */
static bool plan_fits(Imaged *m, const Plan *p, uint64_t need) {
        uint64_t free_space = 0;
        const Job *j;

        if (p->size > m->config.space_max)
                return false;
        if (need == 0)
                return true;
        TAILQ_FOREACH(j, &m->jobs, jobs)
                need += j->reserved;
        if (need > m->config.space_max - p->size)
                return false;
        if (image_store_free_space(m->store, &free_space) < 0)
                return true; /* the worker will notice */
        free_space += p->sum_freed;
        return free_space >= m->config.keep_free && free_space - m->config.keep_free >= need;
}

/* As of what hero-computed just said. */
static int plan_make(Imaged *m, bool all, uint64_t need, Plan *p) {
        Image *image;
        int r;

        p->size = catalog_size(&m->catalog);
        FOREACH_IMAGE(i, m)
                i->kept = uses_permit_removal(m, i, NULL) < 0;
        /* Where a tag cannot be read, nobody knows which image has lost its last one. */
        if (catalog_is_sure(&m->catalog))
                FOREACH_IMAGE(i, m)
                        if ((all || image_count_tags(&m->catalog, i) == 0) && is_free(i)) {
                                r = plan_add(m, p, i);
                                if (r < 0)
                                        return r;
                        }
        while (!plan_fits(m, p, need) && (image = choose(m))) {
                r = plan_add(m, p, image);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int plan_describe(Imaged *m, const Plan *p, sd_bus_message *reply) {
        int r;

        r = sd_bus_message_open_container(reply, 'a', "(sst)");
        for (size_t i = 0; r >= 0 && i < p->n; i++) {
                const char *digest = p->images[i]->record.digest;
                uint64_t freed = p->freed[i];
                bool any = false;

                for (const Tag *t = m->catalog.tags; r >= 0 && t; t = t->hh.next)
                        if (t->image == p->images[i]) {
                                r = sd_bus_message_append(reply, "(sst)", t->reference, digest, any ? UINT64_C(0) : freed);
                                any = true;
                        }
                if (r >= 0 && !any)
                        r = sd_bus_message_append(reply, "(sst)", "", digest, freed);
        }
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int plan_execute(Imaged *m, Plan *p) {
        size_t n = p->n;
        int r = 0;

        for (size_t i = 0; i < n; i++)
                p->images[i]->doomed = false;
        p->n = 0; /* they will not be there to be looked at */
        for (size_t i = 0; r >= 0 && i < n; i++) {
                char digest[DIGEST_LENGTH + 1];

                strcpy(digest, p->images[i]->record.digest);
                r = catalog_remove(&m->catalog, p->images[i]);
                if (r >= 0)
                        log_info("Removed %s, which no VM uses.", digest);
                else
                        (void) log_warning_errno(r, "Failed to remove %s, which no VM uses: %m", digest);
        }
        return r;
}

static int read_options(sd_bus_message *call, bool *ret_all, bool *ret_dry_run, sd_bus_error *error) {
        int r;

        r = sd_bus_message_enter_container(call, 'a', "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(call, 'e', "sv")) > 0) {
                bool *option;
                const char *key;
                int value = 0;

                r = sd_bus_message_read(call, "s", &key);
                if (r < 0)
                        return r;
                option = streq(key, "All") ? ret_all : streq(key, "DryRun") ? ret_dry_run : NULL;
                if (!option)
                        return sd_bus_error_setf(error, ERROR_INVALID_ARGUMENT, "There is no option \"%.200s\".", key);
                r = bus_read_variant(call, key, "b", &value, error);
                if (r >= 0)
                        r = sd_bus_message_exit_container(call);
                *option = value;
        }
        return r < 0 ? r : sd_bus_message_exit_container(call);
}

static int on_uses(Imaged *m, sd_bus_message *call, sd_bus_message *answer, sd_bus_error *error) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        _cleanup_(plan_done) Plan plan = {};
        bool all = false, dry_run = false;
        int r;

        r = read_options(call, &all, &dry_run, error);
        if (r < 0)
                return r;
        r = uses_read(m, answer);
        if (r < 0)
                return uses_unknown(answer, r, "nothing is removed", error);
        r = plan_make(m, all, 0, &plan);
        if (r >= 0)
                r = sd_bus_message_new_method_return(call, &reply);
        if (r >= 0)
                r = plan_describe(m, &plan, reply);
        if (r >= 0 && !dry_run)
                r = plan_execute(m, &plan);
        return r < 0 ? r : sd_bus_message_send(reply);
}

int prune_handle(Imaged *m, sd_bus_message *call, sd_bus_error *error) {
        bool all = false, dry_run = false;
        int r;

        r = read_options(call, &all, &dry_run, error);
        if (r < 0)
                return r;
        if (dry_run)
                audit_drop(m->audit, call);
        return uses_ask_for(m, call, true, on_uses, error);
}

bool space_fits(Imaged *m, uint64_t bytes) {
        return plan_fits(m, &(Plan) { .size = catalog_size(&m->catalog) }, bytes);
}

int prune_for(Imaged *m, sd_bus_message *reply, uint64_t bytes) {
        _cleanup_(plan_done) Plan plan = {};
        int r;

        r = uses_read(m, reply);
        if (r >= 0)
                r = plan_make(m, false, bytes, &plan);
        if (r < 0)
                return r;
        return plan_fits(m, &plan, bytes) ? plan_execute(m, &plan) : -ENOSPC;
}

static int on_collect(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        _cleanup_(plan_done) Plan plan = {};
        Imaged *m = userdata;
        int r;

        m->collect_slot = sd_bus_slot_unref(m->collect_slot);
        r = uses_read(m, reply);
        if (r >= 0)
                r = plan_make(m, false, 0, &plan);
        if (r >= 0)
                r = plan_execute(m, &plan);
        if (r < 0)
                (void) log_debug_errno(r, "Images that no VM uses stay for now: %m");
        return 0;
}

static bool anything_to_collect(Imaged *m) {
        FOREACH_IMAGE(i, m)
                if (image_count_tags(&m->catalog, i) == 0)
                        return true;
        return catalog_size(&m->catalog) > m->config.space_max;
}

void collect_images(Imaged *m) {
        int r;

        if (m->collect_slot || !anything_to_collect(m))
                return;
        r = uses_ask(m, false, on_collect, m, &m->collect_slot);
        if (r < 0)
                (void) log_warning_errno(r, "Failed to look for images that no VM uses: %m");
}
