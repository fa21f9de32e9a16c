/* SPDX-License-Identifier: Apache-2.0 */

/* Records of images as JSON, see the header. Owned by the store. */

#include "imaged/image-record.h"

#include <jansson.h>
#include <stdio.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"

#define RECORD_VERSION 1

static const struct {
        const char *key;
        size_t offset;
} strings[] = {
        { "platform", offsetof(ImageConfig, platform) },
        { "user", offsetof(ImageConfig, user) },
        { "working_directory", offsetof(ImageConfig, working_directory) },
        { "stop_signal", offsetof(ImageConfig, stop_signal) },
}, lists[] = {
        { "entrypoint", offsetof(ImageConfig, entrypoint) },
        { "cmd", offsetof(ImageConfig, cmd) },
        { "env", offsetof(ImageConfig, env) },
        { "labels", offsetof(ImageConfig, labels) },
};

#define member(type, config, offset) ((type *) (void *) ((char *) (config) + (offset)))

void image_record_done(ImageRecord *r) {
        for (size_t i = 0; i < ELEMENTSOF(strings); i++)
                free(*member(char *, &r->config, strings[i].offset));
        for (size_t i = 0; i < ELEMENTSOF(lists); i++)
                strv_free(*member(char **, &r->config, lists[i].offset));
        strv_free(r->config.diff_ids);
        *r = (ImageRecord) {};
}

static json_t *format_list(char *const *l) {
        _cleanup_(json_decrefp) json_t *a = json_array();

        STRV_FOREACH(s, l)
                if (json_array_append_new(a, json_string(*s)) < 0)
                        return NULL;
        return TAKE_PTR(a);
}

static json_t *format_config(const ImageConfig *c) {
        _cleanup_(json_decrefp) json_t *j = json_object();

        for (size_t i = 0; i < ELEMENTSOF(strings); i++)
                if (json_object_set_new(j, strings[i].key,
                                json_string(strempty(*member(char *const, c, strings[i].offset)))) < 0)
                        return NULL;
        for (size_t i = 0; i < ELEMENTSOF(lists); i++)
                if (json_object_set_new(j, lists[i].key,
                                format_list(*member(char **const, c, lists[i].offset))) < 0)
                        return NULL;
        return TAKE_PTR(j);
}

char *image_record_format(const ImageRecord *r) {
        _cleanup_(json_decrefp) json_t *j = NULL;

        j = json_pack("{si ss sI sI sI sI sI sI ss}", "version", RECORD_VERSION, "content", r->content, "size",
                        (json_int_t) r->size, "entries", (json_int_t) r->entries, "layers",
                        (json_int_t) r->layers, "created", (json_int_t) r->created, "pulled",
                        (json_int_t) r->pulled, "last_used", (json_int_t) r->last_used, "source", r->source);
        if (!j || (r->has_config && json_object_set_new(j, "config", format_config(&r->config)) < 0))
                return NULL;
        return json_dumps(j, JSON_INDENT(1));
}

static int parse_list(const json_t *a, char ***ret) {
        _cleanup_strv_free_ char **l = NULL;
        const json_t *v;
        size_t i;

        if (!json_is_array(a))
                return -EUCLEAN;
        json_array_foreach(a, i, v)
                if (!json_is_string(v))
                        return -EUCLEAN;
                else if (strv_extend(&l, json_string_value(v)) < 0)
                        return -ENOMEM;
        *ret = TAKE_PTR(l);
        return 0;
}

static int parse_config(const json_t *j, ImageConfig *c) {
        int r;

        if (!json_is_object(j))
                return -EUCLEAN;
        for (size_t i = 0; i < ELEMENTSOF(strings); i++) {
                const json_t *v = json_object_get(j, strings[i].key);

                if (!json_is_string(v))
                        return -EUCLEAN;
                r = free_and_strdup(member(char *, c, strings[i].offset), json_string_value(v));
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < ELEMENTSOF(lists); i++) {
                r = parse_list(json_object_get(j, lists[i].key), member(char **, c, lists[i].offset));
                if (r < 0)
                        return r;
        }
        return 0;
}

static bool number_is_valid(json_int_t n, json_int_t max) {
        return n >= 0 && n <= max;
}

static int parse_numbers(const json_t *j, ImageRecord *ret) {
        json_int_t version, size, entries, layers, created, pulled, last_used;
        const char *content, *source;

        if (json_unpack((json_t *) j, "{sI ss sI sI sI sI sI sI ss}", "version", &version, "content", &content, "size",
                        &size, "entries", &entries, "layers", &layers, "created", &created, "pulled", &pulled,
                        "last_used", &last_used, "source", &source) < 0)
                return -EUCLEAN;
        if (version != RECORD_VERSION || !digest_is_valid(content) || strlen(source) > RECORD_SOURCE_MAX ||
            !number_is_valid(size, INT64_MAX) || !number_is_valid(entries, UINT32_MAX) ||
            !number_is_valid(layers, UINT32_MAX) || !number_is_valid(created, INT64_MAX) ||
            !number_is_valid(pulled, INT64_MAX) || !number_is_valid(last_used, INT64_MAX))
                return -EUCLEAN;
        ret->size = (uint64_t) size;
        ret->entries = (uint32_t) entries;
        ret->layers = (uint32_t) layers;
        ret->created = (uint64_t) created;
        ret->pulled = (uint64_t) pulled;
        ret->last_used = (uint64_t) last_used;
        strcpy(ret->content, content);
        strcpy(ret->source, source);
        return 0;
}

int image_record_parse(const char *text, size_t n, const char *digest, ImageRecord *ret) {
        _cleanup_(image_record_done) ImageRecord record = {};
        _cleanup_(json_decrefp) json_t *j = NULL;
        const json_t *config;
        int r;

        j = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
        if (!j || !digest_is_valid(digest))
                return -EUCLEAN;
        r = parse_numbers(j, &record);
        config = json_object_get(j, "config");
        if (r >= 0 && config)
                r = parse_config(config, &record.config);
        if (r < 0)
                return r;
        record.has_config = config;
        strcpy(record.digest, digest);
        *ret = record;
        record = (ImageRecord) {};
        return 0;
}
