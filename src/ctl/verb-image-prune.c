/* SPDX-License-Identifier: Apache-2.0 */

#include <stdio.h>

#include "basic/string-util.h"
#include "basic/time-util.h"
#include "ctl/bus.h"
#include "ctl/heroctl.h"
#include "ctl/image-text.h"
#include "ctl/spec.h"
#include "ctl/table.h"

static bool arg_dry_run = false, arg_all = false;

static int call(sd_bus *bus, sd_bus_error *error, sd_bus_message **ret) {
        _cleanup_message_ sd_bus_message *m = NULL;
        int r;

        r = sd_bus_message_new_method_call(bus, &m, HERO_IMAGES, HERO_IMAGES_PATH, HERO_IMAGES, "Prune");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "{sv}");
        if (r >= 0 && arg_dry_run)
                r = append_variant(m, "DryRun", "b", 1);
        if (r >= 0 && arg_all)
                r = append_variant(m, "All", "b", 1);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        return r < 0 ? r : sd_bus_call(bus, m, 0, error, ret);
}

static int read_removed(sd_bus_message *m, Table *t, uint64_t *ret_sum) {
        const char *reference, *digest;
        char short_digest[SHORT_DIGEST_MAX];
        uint64_t size;
        int r;

        *ret_sum = 0;
        r = sd_bus_message_enter_container(m, 'a', "(sst)");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read(m, "(sst)", &reference, &digest, &size)) > 0) {
                *ret_sum += size;
                r = table_add(t, reference, arg_json == JSON_OFF ? shorten_digest(short_digest, digest) : digest, size);
                if (r < 0)
                        return r;
        }
        return r;
}

static int print(Table *t, uint64_t sum) {
        char bytes[FORMAT_BYTES_MAX];
        size_t n = table_rows(t);
        int r;

        if (arg_json != JSON_OFF)
                return table_print(t, NULL);
        if (arg_quiet)
                return 0;
        if (n == 0) {
                if (arg_legend)
                        puts(arg_dry_run ? "Nothing would be removed." : "Nothing to remove.");
                return 0;
        }
        r = table_print(t, NULL);
        if (r >= 0 && arg_legend)
                printf("\n%s %s.\n", format_bytes(bytes, sum), arg_dry_run ? "would be freed" : "freed");
        return r;
}

static int run(int argc, char **argv) {
        static const Column columns[] = {
                { "IMAGE", "reference", COLUMN_STRING },
                { "DIGEST", "digest", COLUMN_STRING },
                { "FREED", "freed", COLUMN_BYTES },
        };
        _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_message_ sd_bus_message *reply = NULL;
        _cleanup_bus_ sd_bus *bus = NULL;
        _cleanup_table_ Table *t = NULL;
        uint64_t sum;
        int r;

        r = bus_connect(&bus);
        if (r < 0)
                return r;
        r = table_new(columns, ELEMENTSOF(columns), &t);
        if (r >= 0)
                r = call(bus, &error, &reply);
        if (r >= 0)
                r = read_removed(reply, t, &sum);
        if (r < 0)
                return report_error(r, &error, "remove unused images");
        return print(t, sum);
}

static const Option options[] = {
        { 0, "dry-run", NULL, OPTION_FLAG, &arg_dry_run, "Only show what would be removed" },
        { 'a', "all", NULL, OPTION_FLAG, &arg_all, "All images that no VM uses, with their tags" },
        {},
};

const Verb verb_image_prune = {
        .name = "image prune",
        .arguments = "",
        .summary = "Remove images that are not needed",
        .help = "\nRemoves contents that no tag points at and, while the images take more space than they may, the least recently\n"
                "used. An image that a VM uses stays, whatever state the VM is in.\n",
        .options = options,
        .run = run,
};
