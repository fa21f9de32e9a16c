/* SPDX-License-Identifier: Apache-2.0 */

/* Reading images.conf, see the header. */

#include "imaged/images-config.h"

#include "basic/alloc-util.h"
#include "basic/parse-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "basic/time-util.h"
#include "imaged/reference.h"

#define ENTRIES_MAX_MAX 10000000u
#define INSECURE_MAX 64u

void images_config_defaults(ImagesConfig *c) {
        *c = (ImagesConfig) {
                .space_max = UINT64_C(20) << 30,
                .keep_free = UINT64_C(512) << 20,
                .image_size_max = UINT64_C(16) << 30,
                .entries_max = 1000000,
                .pulls_max = 3,
                .pull_timeout = 3600 * USEC_PER_SEC,
                .stall_timeout = 60 * USEC_PER_SEC,
        };
}

void images_config_done(ImagesConfig *c) {
        for (size_t i = 0; i < c->n_mirrors; i++) {
                free(c->mirrors[i].prefix);
                free(c->mirrors[i].location);
        }
        free(c->mirrors);
        strv_free(c->insecure);
        free(c->auth_file);
        *c = (ImagesConfig) {};
}

typedef enum Kind {
        KIND_SIZE,
        KIND_COUNT,
        KIND_TIME,
        KIND_PATH,
        KIND_MIRROR,
        KIND_HOST,
} Kind;

static const struct {
        const char *section, *key;
        Kind kind;
        size_t offset;
        unsigned max; /* of a count */
} keys[] = {
        { "Images", "SpaceMax", KIND_SIZE, offsetof(ImagesConfig, space_max) },
        { "Images", "KeepFree", KIND_SIZE, offsetof(ImagesConfig, keep_free) },
        { "Images", "ImageSizeMax", KIND_SIZE, offsetof(ImagesConfig, image_size_max) },
        { "Images", "EntriesMax", KIND_COUNT, offsetof(ImagesConfig, entries_max), ENTRIES_MAX_MAX },
        { "Images", "PullsMax", KIND_COUNT, offsetof(ImagesConfig, pulls_max), 16 },
        { "Registries", "Mirror", KIND_MIRROR, 0 },
        { "Registries", "Insecure", KIND_HOST, offsetof(ImagesConfig, insecure) },
        { "Registries", "AuthFile", KIND_PATH, offsetof(ImagesConfig, auth_file) },
        { "Timeouts", "PullTimeoutSec", KIND_TIME, offsetof(ImagesConfig, pull_timeout) },
        { "Timeouts", "StallTimeoutSec", KIND_TIME, offsetof(ImagesConfig, stall_timeout) },
};

static int why(char **ret, const char *sentence) {
        *ret = strdup(sentence);
        return -EINVAL;
}

bool registry_host_is_valid(const char *s) {
        char buf[REFERENCE_MAX + 1];
        _cleanup_free_ char *probe = strprintf("%s/x:x", s);

        /* A host as such need not have a "." or ":", but here it has to be recognised as one later. */
        return probe && !strchr(s, '/') && reference_normalize(probe, buf) == 0 &&
               (strpbrk(s, ".:") || streq(s, "localhost"));
}

bool registry_prefix_is_valid(const char *s) {
        _cleanup_free_ char *host = strndup(s, strcspn(s, "/"));
        _cleanup_free_ char *probe = strprintf("%s/x:x", s);
        char buf[REFERENCE_MAX + 1];

        return host && probe && registry_host_is_valid(host) && reference_normalize(probe, buf) == 0;
}

static int add_mirror(ImagesConfig *c, const char *value, char **ret_why) {
        _cleanup_free_ char *prefix = strndup(value, strcspn(value, "=")), *location = NULL;
        const char *equals = strchr(value, '=');

        if (isempty(value)) {
                while (c->n_mirrors > 0) {
                        free(c->mirrors[--c->n_mirrors].prefix);
                        free(c->mirrors[c->n_mirrors].location);
                }
                return 0;
        }
        if (!equals || !prefix || !registry_prefix_is_valid(prefix) || !registry_prefix_is_valid(equals + 1))
                return why(ret_why, "Must be REGISTRY[/PATH]=REGISTRY[/PATH], like docker.io=mirror.example.com:5000.");
        if (c->n_mirrors >= MIRRORS_MAX)
                return why(ret_why, "There are too many.");
        location = strdup(equals + 1);
        if (!location || !GREEDY_REALLOC(c->mirrors, c->n_mirrors_allocated, c->n_mirrors + 1))
                return -ENOMEM;
        c->mirrors[c->n_mirrors++] = (Mirror) { TAKE_PTR(prefix), TAKE_PTR(location) };
        return 0;
}

static int add_host(char ***l, const char *value, char **ret_why) {
        if (isempty(value)) {
                *l = strv_free(*l);
                return 0;
        }
        if (!registry_host_is_valid(value))
                return why(ret_why, "Must be a registry, like registry.example.com or 127.0.0.1:5000.");
        if (strv_length(*l) >= INSECURE_MAX)
                return why(ret_why, "There are too many.");
        return strv_contains(*l, value) ? 0 : strv_extend(l, value);
}

static int assign_value(size_t k, const char *value, ImagesConfig *c, char **ret_why) {
        void *p = (char *) c + keys[k].offset;
        uint64_t v;
        unsigned u;

        switch (keys[k].kind) {

        case KIND_SIZE:
                if (streq(value, "infinity"))
                        v = INT64_MAX;
                else if (parse_size(value, &v) < 0 || v > INT64_MAX)
                        return why(ret_why, "Must be a size, like 512M or 20G, or infinity.");
                *(uint64_t *) p = v;
                return 0;

        case KIND_COUNT:
                if (parse_uint(value, keys[k].max, &u) < 0 || u == 0) {
                        *ret_why = strprintf("Must be a number between 1 and %u.", keys[k].max);
                        return -EINVAL;
                }
                *(unsigned *) p = u;
                return 0;

        case KIND_TIME:
                if (parse_usec(value, &v) < 0 || v == 0)
                        return why(ret_why, "Must be a time, like 90, 500ms or 5min.");
                *(uint64_t *) p = v;
                return 0;

        case KIND_PATH:
                if (!isempty(value) && *value != '/')
                        return why(ret_why, "Must be an absolute path.");
                return free_and_strdup(p, isempty(value) ? NULL : value);

        case KIND_MIRROR:
                return add_mirror(c, value, ret_why);

        case KIND_HOST:
                return add_host(p, value, ret_why);
        }
        return -EINVAL;
}

static int assign(const char *section, const char *key, const char *value, void *userdata, char **ret_why) {
        for (size_t k = 0; k < ELEMENTSOF(keys); k++)
                if (streq(keys[k].section, section) && streq(keys[k].key, key))
                        return assign_value(k, value, userdata, ret_why);
        return -ENOENT;
}

int images_config_load(ImagesConfig *c, const char *const *roots, conf_problem_t problem) {
        static const char *const defaults[] = { PKGSYSCONFDIR, "/run/hero-compute/conf", "/usr/lib/hero-compute", NULL };

        return conf_parse(roots ?: defaults, "images.conf", assign, problem, c);
}
