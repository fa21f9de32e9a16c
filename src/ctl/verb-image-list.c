/* SPDX-License-Identifier: Apache-2.0 */

#include <stdio.h>

#include "ctl/bus.h"
#include "ctl/heroctl.h"
#include "ctl/table.h"

static int read_images(sd_bus_message *m, Table *t) {
        const char *reference, *digest;
        uint64_t size, created;
        uint32_t entries;
        int r;

        r = sd_bus_message_enter_container(m, 'a', "(sstut)");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read(m, "(sstut)", &reference, &digest, &size, &entries, &created)) > 0) {
                if (arg_quiet) {
                        puts(reference);
                        continue;
                }
                r = table_add(t, reference, digest, size, (uint64_t) entries, created);
                if (r < 0)
                        return r;
        }
        return r;
}

static int run(int argc, char **argv) {
        static const Column columns[] = {
                { "IMAGE", "reference", COLUMN_STRING }, { "DIGEST", "digest", COLUMN_STRING },
                { "SIZE", "size", COLUMN_BYTES },        { "ENTRIES", "entries", COLUMN_NUMBER },
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
