/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the image service says about an image: the properties of org.hero.Compute.Image. */

#include <systemd/sd-bus.h>

#include "basic/macro.h"

typedef struct ImageProperties {
        char *digest, *content_digest, *platform, *user, *directory, *stop_signal;
        char **references, **entrypoint, **cmd, **env, **used_by;
        char **labels; /* key, value, key, value, … */
        uint64_t size, created, pulled, last_used;
        uint32_t entries, layers;
} ImageProperties;

void image_properties_done(ImageProperties *p);
#define _cleanup_image_properties_ _cleanup_(image_properties_done)

/* By a reference, a digest or its beginning. */
int image_properties_get(sd_bus *bus, const char *image, ImageProperties *ret, sd_bus_error *error);
