/* SPDX-License-Identifier: Apache-2.0 */

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "ctl/bus.h"
#include "ctl/heroctl.h"
#include "ctl/image-text.h"
#include "shared/error-names.h"

static int call_remove(sd_bus *bus, const char *reference, sd_bus_error *error) {
        return sd_bus_call_method(bus, HERO_IMAGES, HERO_IMAGES_PATH, HERO_IMAGES, "Remove", error, NULL, "s", reference);
}

/* What lists show of a digest must do here, too; the service removes by references and whole digests only. */
static int remove_by_beginning(sd_bus *bus, const char *text, sd_bus_error *error) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        _cleanup_free_ char *digest = NULL;
        const char *path, *hex;
        int r;

        r = sd_bus_call_method(bus, HERO_IMAGES, HERO_IMAGES_PATH, HERO_IMAGES, "Get", error, &reply, "s", text);
        if (r >= 0)
                r = sd_bus_message_read_basic(reply, 'o', &path);
        if (r < 0)
                return r;
        hex = startswith(path, HERO_IMAGES_PATH "/image/");
        if (!hex)
                return -EBADMSG;
        digest = strprintf("sha256:%s", hex);
        return digest ? call_remove(bus, digest, error) : -ENOMEM;
}

static int run(int argc, char **argv) {
        _cleanup_bus_ sd_bus *bus = NULL;
        int r, result = 0;

        r = bus_connect(&bus);
        if (r < 0)
                return r;
        STRV_FOREACH(image, argv) {
                _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL, second = SD_BUS_ERROR_NULL;

                r = call_remove(bus, *image, &error);
                if (r < 0 && is_digest_beginning(*image) && !sd_bus_error_has_name(&error, ERROR_IMAGE_IN_USE)) {
                        r = remove_by_beginning(bus, *image, &second);
                        if (r < 0 && !sd_bus_error_has_name(&second, ERROR_NO_SUCH_IMAGE)) {
                                sd_bus_error_free(&error);
                                sd_bus_error_move(&error, &second);
                        }
                }
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
        .help = "\nBy a reference only that goes, and with its last reference the image; by a digest (or its beginning) the image\n"
                "with all its references.\n",
        .min = 1,
        .max = -1,
        .run = run,
};
