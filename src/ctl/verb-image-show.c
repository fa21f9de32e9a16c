/* SPDX-License-Identifier: Apache-2.0 */

/* heroctl image show: all that is known of an image. */

#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "basic/time-util.h"
#include "ctl/bus.h"
#include "ctl/heroctl.h"
#include "ctl/image-properties.h"
#include "ctl/image-text.h"
#include "ctl/sanitize.h"
#include "ctl/table.h"

/* Whoever made the image wrote most of it: cleaned before it goes to a terminal. Nothing for empty ones. */
static void field(const char *label, const char *format, ...) _printf_(2, 3);
static void field(const char *label, const char *format, ...) {
        _cleanup_free_ char *text = NULL, *clean = NULL;
        va_list ap;

        va_start(ap, format);
        if (vasprintf(&text, format, ap) < 0)
                text = NULL;
        va_end(ap);
        clean = text ? sanitize_line(text) : NULL;
        if (!isempty(clean))
                printf("%13s%s %s\n", label, label[0] ? ":" : " ", clean);
}

static void lines(const char *label, char *const *l) {
        STRV_FOREACH(s, l)
                field(s == l ? label : "", "%s", *s);
}

static void time_field(const char *label, uint64_t usec) {
        char local[LOCAL_TIME_MAX];

        field(label, "%s", format_local_time(local, usec));
}

static int words_field(const char *label, char *const *words) {
        _cleanup_free_ char *text = NULL;

        text = quote_words(words);
        if (!text)
                return -ENOMEM;
        field(label, "%s", text);
        return 0;
}

static int print_text(const ImageProperties *p) {
        char size[FORMAT_BYTES_MAX], layers[32] = "";
        int r;

        lines("Image", p->references);
        field("Digest", "%s", strempty(p->digest));
        field("Content", "%s", streq_ptr(p->digest, p->content_digest) ? "" : strempty(p->content_digest));
        field("Platform", "%s", strempty(p->platform));
        if (p->layers > 0)
                snprintf(layers, sizeof(layers), " of %" PRIu32 " layer%s", p->layers, p->layers == 1 ? "" : "s");
        field("Size", "%s on disk, %" PRIu32 " entr%s%s", format_bytes(size, p->size), p->entries,
              p->entries == 1 ? "y" : "ies", layers);
        r = words_field("Entrypoint", p->entrypoint);
        if (r >= 0)
                r = words_field("Command", p->cmd);
        if (r < 0)
                return r;
        lines("Environment", p->env);
        field("User", "%s", strempty(p->user));
        field("Directory", "%s", strempty(p->directory));
        field("Stop signal", "%s", strempty(p->stop_signal));
        for (char **l = p->labels; l && l[0] && l[1]; l += 2)
                field(l == p->labels ? "Labels" : "", "%s=%s", l[0], l[1]);
        time_field("Created", p->created);
        time_field("Pulled", p->pulled);
        time_field("Last used", p->last_used);
        lines("Used by", p->used_by);
        return 0;
}

static json_t *json_list(char *const *l) {
        json_t *a = json_array();

        STRV_FOREACH(s, l)
                json_array_append_new(a, json_string(*s));
        return a;
}

static json_t *json_map(char *const *l) {
        json_t *o = json_object();

        for (; l && l[0] && l[1]; l += 2)
                json_object_set_new(o, l[0], json_string(l[1]));
        return o;
}

static json_t *json_text(const char *s) {
        return isempty(s) ? json_null() : json_string(s);
}

static json_t *json_time(uint64_t usec) {
        char utc[FORMAT_TIMESTAMP_MAX];

        return json_text(format_timestamp(utc, usec));
}

static int print_json(const ImageProperties *p) {
        _cleanup_free_ char *text = NULL;
        json_t *o;

        o = json_pack("{s:o, s:o, s:o, s:o, s:I, s:i, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
                      "references", json_list(p->references), "digest", json_text(p->digest), "content-digest",
                      json_text(p->content_digest), "platform", json_text(p->platform), "size", (json_int_t) p->size,
                      "entries", (int) p->entries, "layers", (int) p->layers, "entrypoint", json_list(p->entrypoint), "cmd",
                      json_list(p->cmd), "env", json_list(p->env), "user", json_text(p->user), "working-directory",
                      json_text(p->directory), "stop-signal", json_text(p->stop_signal), "labels", json_map(p->labels),
                      "created", json_time(p->created), "pulled", json_time(p->pulled), "last-used", json_time(p->last_used),
                      "used-by", json_list(p->used_by));
        if (o)
                text = json_dumps(o, arg_json == JSON_PRETTY ? JSON_INDENT(2) : JSON_COMPACT);
        json_decref(o);
        if (!text)
                return -ENOMEM;
        puts(text);
        return 0;
}

static int run(int argc, char **argv) {
        _cleanup_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_image_properties_ ImageProperties p = {};
        _cleanup_bus_ sd_bus *bus = NULL;
        int r;

        r = bus_connect(&bus);
        if (r < 0)
                return r;
        r = image_properties_get(bus, argv[0], &p, &error);
        if (r < 0)
                return report_error(r, &error, "show image '%s'", argv[0]);
        if (arg_quiet && arg_json == JSON_OFF) {
                puts(strempty(p.digest));
                return 0;
        }
        return arg_json == JSON_OFF ? print_text(&p) : print_json(&p);
}

const Verb verb_image_show = {
        .name = "image show",
        .arguments = "IMAGE",
        .summary = "Show what is known of an image",
        .help = "\nIMAGE is a reference, a digest, or at least six digits of the beginning of one.\n",
        .min = 1,
        .max = 1,
        .run = run,
};
