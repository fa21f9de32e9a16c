/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* images.conf(5), for hero-imaged and hero-image-fetch. Read at start: neither runs for long. */

#include "basic/macro.h"
#include "shared/conf-file.h"

typedef struct Mirror {
        char *prefix, *location;
} Mirror;

#define MIRRORS_MAX 64u

typedef struct ImagesConfig {
        /* [Images] */
        uint64_t space_max;      /* INT64_MAX: whatever there is */
        uint64_t keep_free;
        uint64_t image_size_max; /* as transferred, and the files in it together */
        unsigned entries_max;
        unsigned pulls_max;

        /* [Registries] */
        Mirror *mirrors;
        size_t n_mirrors, n_mirrors_allocated;
        char **insecure;
        char *auth_file;

        /* [Timeouts] */
        uint64_t pull_timeout, stall_timeout;
} ImagesConfig;

void images_config_defaults(ImagesConfig *c);
void images_config_done(ImagesConfig *c);

/* Is it HOST[:PORT][/PATH], as a prefix of references can be? Of such a thing: the HOST[:PORT]. */
bool registry_prefix_is_valid(const char *s);
bool registry_host_is_valid(const char *s);

/* As compute_config_load(). */
int images_config_load(ImagesConfig *c, const char *const *roots, conf_problem_t problem);
