/* SPDX-License-Identifier: Apache-2.0 */

#include "basic/strv.h"
#include "ctl/bus.h"
#include "ctl/heroctl.h"

static int run(int argc, char **argv) {
        _cleanup_bus_ sd_bus *bus = NULL;
        int r, result = 0;

        r = bus_connect(&bus);
        if (r < 0)
                return r;
        STRV_FOREACH(image, argv) {
                _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;

                r = sd_bus_call_method(bus, HERO_IMAGES, HERO_IMAGES_PATH, HERO_IMAGES, "Remove", &error, NULL, "s", *image);
                if (r >= 0)
                        continue;
                r = report_error(r, &error, "remove image '%s'", *image);
                if (result == 0)
                        result = r;
        }
        return result;
}

const Verb verb_image_rm = {
        .name = "image rm",
        .arguments = "IMAGE…",
        .summary = "Remove images that no VM uses",
        .min = 1,
        .max = -1,
        .run = run,
};
