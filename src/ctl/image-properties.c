/* SPDX-License-Identifier: Apache-2.0 */

#include "ctl/image-properties.h"

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "ctl/bus.h"
#include "ctl/heroctl.h"

static const PropertyMap properties[] = {
        { "Digest", "s", offsetof(ImageProperties, digest) },
        { "ContentDigest", "s", offsetof(ImageProperties, content_digest) },
        { "Platform", "s", offsetof(ImageProperties, platform) },
        { "User", "s", offsetof(ImageProperties, user) },
        { "WorkingDirectory", "s", offsetof(ImageProperties, directory) },
        { "StopSignal", "s", offsetof(ImageProperties, stop_signal) },
        { "References", "as", offsetof(ImageProperties, references) },
        { "Entrypoint", "as", offsetof(ImageProperties, entrypoint) },
        { "Cmd", "as", offsetof(ImageProperties, cmd) },
        { "Env", "as", offsetof(ImageProperties, env) },
        { "UsedBy", "as", offsetof(ImageProperties, used_by) },
        { "Labels", "a{ss}", offsetof(ImageProperties, labels) },
        { "Size", "t", offsetof(ImageProperties, size) },
        { "CreatedTimestamp", "t", offsetof(ImageProperties, created) },
        { "PulledTimestamp", "t", offsetof(ImageProperties, pulled) },
        { "LastUsedTimestamp", "t", offsetof(ImageProperties, last_used) },
        { "Entries", "u", offsetof(ImageProperties, entries) },
        { "Layers", "u", offsetof(ImageProperties, layers) },
        {},
};

void image_properties_done(ImageProperties *p) {
        char *strings[] = { p->digest, p->content_digest, p->platform, p->user, p->directory, p->stop_signal };
        char **lists[] = { p->references, p->entrypoint, p->cmd, p->env, p->used_by, p->labels };

        for (size_t i = 0; i < ELEMENTSOF(strings); i++)
                free(strings[i]);
        for (size_t i = 0; i < ELEMENTSOF(lists); i++)
                strv_free(lists[i]);
        *p = (ImageProperties) {};
}

int image_properties_get(sd_bus *bus, const char *image, ImageProperties *ret, sd_bus_error *error) {
        _cleanup_image_properties_ ImageProperties p = {};
        _cleanup_message_ sd_bus_message *reply = NULL;
        const char *path;
        int r;

        r = sd_bus_call_method(bus, HERO_IMAGES, HERO_IMAGES_PATH, HERO_IMAGES, "Get", error, &reply, "s", image);
        if (r >= 0)
                r = sd_bus_message_read_basic(reply, 'o', &path);
        if (r >= 0)
                r = bus_get_properties_of(bus, HERO_IMAGES, path, HERO_IMAGE, properties, &p, error);
        if (r < 0)
                return r;
        *ret = p;
        p = (ImageProperties) {};
        return 0;
}
