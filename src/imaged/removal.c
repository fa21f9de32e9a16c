/* SPDX-License-Identifier: Apache-2.0 */

/* Taking one image away, see imaged.h. */

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "imaged/imaged.h"
#include "shared/bus-util.h"
#include "shared/error-names.h"
#include "shared/log.h"

/* A name that is none may be the beginning of a digest; its tag is only what it was made complete with. */
static int find_by_digest(Imaged *m, const char *reference, Image **ret) {
        _cleanup_free_ char *text = strndup(reference, strcspn(reference, ":"));
        const char *hex;

        if (digest_is_valid(reference))
                return catalog_resolve(&m->catalog, reference, ret);
        hex = text ? digest_abbreviated(text) : NULL;
        return hex ? catalog_find_abbreviated(&m->catalog, hex, ret) : -ENOENT;
}

/* What the reference means now. *ret: the image that goes with it; NULL: only the tag goes. */
static int look(Imaged *m, const char *reference, Image **ret, sd_bus_error *error) {
        const Tag *t = catalog_tag(&m->catalog, reference);
        Image *i = t ? t->image : NULL;
        int r = 0;

        if (!t)
                r = find_by_digest(m, reference, &i);
        if (r == -ENOTUNIQ)
                return sd_bus_error_setf(error, ERROR_AMBIGUOUS_NAME,
                                "More than one image has a digest that begins with %s.", reference);
        if (r < 0)
                return sd_bus_error_setf(error, ERROR_NO_SUCH_IMAGE, "There is no image %s.", reference);
        /* A tag that cannot be read points at nothing. */
        *ret = t && (!t->image || image_count_tags(&m->catalog, t->image) > 1) ? NULL : i;
        return 0;
}

static int finish(Imaged *m, sd_bus_message *call, const char *reference, Image *image, sd_bus_error *error) {
        int r;

        if (image)
                r = catalog_remove(&m->catalog, image);
        else
                r = catalog_untag(&m->catalog, reference);
        if (r < 0)
                return sd_bus_error_setf(error, SD_BUS_ERROR_FAILED, "The image cannot be removed: %s.", strerror(-r));
        log_info("Removed %s%s.", reference, image && !digest_is_valid(reference) ? " and its content" : "");
        return sd_bus_reply_method_return(call, NULL);
}

static int on_uses(Imaged *m, sd_bus_message *call, sd_bus_message *reply, sd_bus_error *error) {
        char reference[REFERENCE_MAX + 1];
        Image *image = NULL;
        int r;

        r = read_reference(call, reference, error);
        if (r < 0)
                return r;
        r = uses_read(m, reply);
        if (r < 0) {
                _cleanup_free_ char *what = strprintf("%s stays", reference);

                return uses_unknown(reply, r, strna(what), error);
        }
        /* Looked up again: a tag can have moved while we asked. */
        r = look(m, reference, &image, error);
        if (r >= 0 && image)
                r = uses_permit_removal(m, image, error);
        return r < 0 ? r : finish(m, call, reference, image, error);
}

int removal_handle(Imaged *m, sd_bus_message *call, const char *reference, sd_bus_error *error) {
        Image *image = NULL;
        int r;

        r = look(m, reference, &image, error);
        if (r < 0)
                return r;
        return image ? uses_ask_for(m, call, true, on_uses, error) : finish(m, call, reference, NULL, error);
}
