/* SPDX-License-Identifier: Apache-2.0 */

/* What VMs use, see imaged.h: the question to hero-computed, and what its answer permits. */

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "imaged/imaged.h"
#include "shared/bus-util.h"
#include "shared/error-names.h"

#define USES_MAX 65536u

struct Question {
        TAILQ_ENTRY(Question) questions;
        Imaged *imaged;
        sd_bus_message *call;
        sd_bus_slot *slot;
        uses_answer_t answer;
};

static Question *question_free(Question *q) {
        if (!q)
                return NULL;
        TAILQ_REMOVE(&q->imaged->questions, q, questions);
        q->imaged->n_questions--;
        sd_bus_slot_unref(q->slot);
        sd_bus_message_unref(q->call);
        return mfree(q);
}
DEFINE_TRIVIAL_CLEANUP_FUNC(Question *, question_free);

void questions_free(Imaged *m) {
        while (!TAILQ_EMPTY(&m->questions))
                question_free(TAILQ_FIRST(&m->questions));
}

void uses_free(Imaged *m) {
        for (size_t i = 0; i < m->n_uses; i++) {
                free(m->uses[i].vm);
                free(m->uses[i].reference);
        }
        m->uses = mfree(m->uses);
        m->n_uses = 0;
}

int uses_ask(Imaged *m, bool start_it, sd_bus_message_handler_t callback, void *userdata, sd_bus_slot **ret) {
        _cleanup_message_ sd_bus_message *call = NULL;
        int r;

        /* It must not answer and then make a VM of what a tag meant before. */
        images_changed_flush(m);
        r = sd_bus_message_new_method_call(m->bus, &call, COMPUTE_BUS_NAME, COMPUTE_OBJECT,
                        COMPUTE_MANAGER_INTERFACE, "ListImageUses");
        if (r >= 0)
                r = sd_bus_message_set_auto_start(call, start_it);
        return r < 0 ? r : sd_bus_call_async(m->bus, ret, call, callback, userdata, 0);
}

static int on_answer(sd_bus_message *reply, void *userdata, sd_bus_error *unused) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(question_freep) Question *q = userdata;
        int r;

        audit_go_on(q->imaged->audit, q->call);
        r = sd_bus_message_rewind(q->call, true);
        if (r >= 0)
                r = q->answer(q->imaged, q->call, reply, &error);
        (void) audit_answered(q->imaged->audit, q->call, r, &error);
        if (r < 0) {
                if (!sd_bus_error_is_set(&error))
                        sd_bus_error_set_errno(&error, r);
                (void) sd_bus_reply_method_error(q->call, &error);
        }
        return 0;
}

int uses_ask_for(Imaged *m, sd_bus_message *call, bool start_it, uses_answer_t answer, sd_bus_error *error) {
        _cleanup_(question_freep) Question *q = NULL;
        int r;

        if (m->n_questions >= QUESTIONS_MAX)
                return sd_bus_error_setf(error, ERROR_LIMIT_EXCEEDED,
                                "%u calls wait for hero-computed already, try again later.", QUESTIONS_MAX);
        q = new(Question, 1);
        if (!q)
                return -ENOMEM;
        *q = (Question) { .imaged = m, .call = sd_bus_message_ref(call), .answer = answer };
        TAILQ_INSERT_TAIL(&m->questions, q, questions);
        m->n_questions++;
        r = uses_ask(m, start_it, on_answer, q, &q->slot);
        if (r < 0)
                return r;
        TAKE_PTR(q);
        audit_wait(m->audit, call);
        return 1;
}

static int read_use(ImageUse *use, const char *vm, const char *reference, const char *digest) {
        *use = (ImageUse) { .vm = strdup(vm), .reference = strdup(reference) };
        if (!use->vm || !use->reference)
                return -ENOMEM;
        if (digest_is_valid(digest))
                strcpy(use->digest, digest);
        else if (!isempty(digest))
                return -EBADMSG;
        return 0;
}

int uses_read(Imaged *m, sd_bus_message *reply) {
        const char *vm, *reference, *digest;
        size_t allocated = 0;
        int r;

        if (sd_bus_message_is_method_error(reply, NULL))
                return -sd_bus_message_get_errno(reply);
        uses_free(m);
        r = sd_bus_message_get_reply_cookie(reply, &m->uses_asked);
        if (r >= 0)
                r = sd_bus_message_enter_container(reply, 'a', "(sss)");
        while (r >= 0 && (r = sd_bus_message_read(reply, "(sss)", &vm, &reference, &digest)) > 0) {
                if (m->n_uses >= USES_MAX)
                        r = -E2BIG;
                else if (!GREEDY_REALLOC(m->uses, allocated, m->n_uses + 1))
                        r = -ENOMEM;
                else
                        r = read_use(m->uses + m->n_uses++, vm, reference, digest);
        }
        if (r < 0)
                uses_free(m);
        return r;
}

int uses_unknown(sd_bus_message *reply, int error, const char *what, sd_bus_error *ret) {
        const sd_bus_error *e = sd_bus_message_get_error(reply);

        return sd_bus_error_setf(ret, ERROR_BUSY,
                        "hero-computed does not say which images its VMs use (%s), so %s. Is hero-computed running?",
                        e ? strna(e->message) : strerror(-error), what);
}

static bool is_named(const Imaged *m, const Image *image, const char *reference) {
        char normalized[REFERENCE_MAX + 1];
        Image *named;

        return reference_normalize(reference, normalized) >= 0 &&
               catalog_resolve(&m->catalog, normalized, &named) >= 0 && named == image;
}

static const char *name_to_show(const Imaged *m, const Image *image) {
        for (const Tag *t = m->catalog.tags; t; t = t->hh.next)
                if (t->image == image)
                        return t->reference;
        return image->record.digest;
}

int uses_permit_removal(const Imaged *m, const Image *image, sd_bus_error *error) {
        const char *shown = name_to_show(m, image);
        const ImageUse *doubt = NULL;

        for (size_t k = 0; k < m->n_uses; k++) {
                const ImageUse *u = m->uses + k;

                /* A VM without a digest has not been given an image yet: our answer to Open comes to hero-computed before the
                 * question it has answered here. So it is only about what its name means now. */
                if (streq(u->digest, image->record.digest) ||
                    (isempty(u->digest) && is_named(m, image, u->reference)))
                        return sd_bus_error_setf(error, ERROR_IMAGE_IN_USE, "VM '%s' uses the image %s.", u->vm, shown);
                if (isempty(u->digest) && isempty(u->reference))
                        doubt = u;
        }
        if (image->opened > m->uses_asked)
                return sd_bus_error_setf(error, ERROR_BUSY, "The image %s is being given to a VM, try again.", shown);
        if (!doubt)
                return 0;
        return sd_bus_error_setf(error, ERROR_BUSY,
                        "Which image VM '%s' uses cannot be told, for its record is broken, so %s stays. "
                        "Mend or remove " STATEDIR "/vms/%s first.",
                        doubt->vm, shown, doubt->vm);
}
