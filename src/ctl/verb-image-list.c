/* SPDX-License-Identifier: Apache-2.0 */

#include <stdio.h>

#include "ctl/bus.h"
#include "ctl/heroctl.h"
#include "ctl/image-text.h"
#include "ctl/table.h"

#define IMAGE_ROW "(ssstto)"

static int read_images(sd_bus_message *m, Table *t) {
        const char *reference, *digest, *platform;
        char short_digest[SHORT_DIGEST_MAX];
        uint64_t size, created;
        int r;

        r = sd_bus_message_enter_container(m, 'a', IMAGE_ROW);
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read(m, IMAGE_ROW, &reference, &digest, &platform, &size, &created, NULL)) > 0) {
                if (arg_quiet) {
                        puts(reference);
                        continue;
                }
                r = table_add(t, reference, arg_json == JSON_OFF ? shorten_digest(short_digest, digest) : digest, platform,
                              size, created);
                if (r < 0)
                        return r;
        }
        return r;
}

static int run(int argc, char **argv) {
        static const Column columns[] = {
                { "IMAGE", "reference", COLUMN_STRING },   { "DIGEST", "digest", COLUMN_STRING },
                { "PLATFORM", "platform", COLUMN_STRING }, { "SIZE", "size", COLUMN_BYTES },
                { "CREATED", "created", COLUMN_TIME },
        };
        _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_message_ sd_bus_message *reply = NULL;
        _cleanup_bus_ sd_bus *bus = NULL;
        _cleanup_table_ Table *t = NULL;
        int r;

        r = bus_connect(&bus);
        if (r < 0)
                return r;
        r = table_new(columns, ELEMENTSOF(columns), &t);
        if (r >= 0)
                r = sd_bus_call_method(bus, HERO_IMAGES, HERO_IMAGES_PATH, HERO_IMAGES, "List", &error, &reply, NULL);
        if (r >= 0)
                r = read_images(reply, t);
        if (r < 0)
                return report_error(r, &error, "list images");
        return arg_quiet ? 0 : table_print(t, "images");
}

const Verb verb_image_list = {
        .name = "image list",
        .arguments = "",
        .summary = "List images",
        .run = run,
};
