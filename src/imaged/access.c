/* SPDX-License-Identifier: Apache-2.0 */

/* Who may change images, see imaged.h; and that it is told about. */

#include "basic/string-util.h"
#include "imaged/imaged.h"

static const struct {
        const char *interface, *member;
        const char *verb; /* for rules of polkit */
} table[] = {
        { "Images", "Pull", "pull" },
        { "Images", "Import", "import" },
        { "Images", "Remove", "remove" },
        { "Images", "Prune", "prune" },
        { "ImageJob", "Cancel", "cancel" },
};

/* As it was given; those whose first argument is another have none. */
static const char *read_image(sd_bus_message *call) {
        const char *s = NULL;
        char type;

        if (sd_bus_message_peek_type(call, &type, NULL) > 0 && type == 's')
                (void) sd_bus_message_read_basic(call, 's', &s);
        (void) sd_bus_message_rewind(call, true);
        return s;
}

int change_check(Imaged *m, sd_bus_message *call, const char *image, bool allowed, sd_bus_error *error) {
        const char *member = sd_bus_message_get_member(call);
        PolkitQuestion question = { .action = ACTION_IMAGES };
        AuditWhat what = { .image = image ?: read_image(call) };
        int r = 1;

        for (size_t i = 0; i < ELEMENTSOF(table); i++)
                if (streq(table[i].member, member)) {
                        what.interface = table[i].interface;
                        what.member = member;
                        question.verb = table[i].verb;
                }
        if (!what.member)
                return -EACCES;
        if (!allowed)
                r = polkit_check(m->polkit, call, &question, error);
        return audit_authorised(m->audit, call, &what, r, error);
}
