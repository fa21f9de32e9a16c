/* SPDX-License-Identifier: Apache-2.0 */

/* hero-jwks-fetch: fetches a set of keys by HTTP, once. Exit status 0: those that are for tokens are on stdout, as a JSON text; else
 * an errno, and why in words on stdout.
 *
 *     hero-jwks-fetch URL MILLISECONDS
 *
 * A process of its own: see shared/http-get.h. */

#include <stdio.h>
#include <unistd.h>

#include "basic/parse-util.h"
#include "basic/string-util.h"
#include "rpcd/jwk-set.h"
#include "rpcd/jwks-url.h"
#include "shared/http-get.h"

#define MEMORY_MAX (UINT64_C(512) << 20) /* address space, most of it libraries and a thread that resolves the name */

static int read_answer(const HttpGet *g) {
        JwkSet *keys;
        char *text;
        int r;

        r = jwk_set_parse(g->body, g->body_size, &keys);
        if (r < 0) {
                puts(r == -ENOKEY ? "The answer has no key for RS256, PS256 or ES256" :
                     r == -E2BIG ? "The answer has too many keys" : "The answer is no set of keys");
                return r;
        }
        text = jwk_set_format(keys);
        if (!text)
                return -ENOMEM;
        puts(text);
        return 0;
}

static int ask(HttpGet *g) {
        int r;

        r = http_get(g);
        if (r >= 0)
                return read_answer(g);
        puts(g->why);
        return r;
}

static int run(int argc, char *argv[]) {
        static char body[JWK_SET_SIZE_MAX];
        HttpGet g = { .https = true, .body = body, .body_max = sizeof(body) };
        int r;

        if (argc != 3 || parse_uint(argv[2], INT32_MAX, &g.timeout_msec) < 0 || !jwks_url_is_valid(argv[1])) {
                printf("%s is started by hero-rpcd, with a URL that keys may come from\n", argv[0]);
                return -EINVAL;
        }
        g.url = argv[1];
        g.loopback_only = startswith(g.url, "http://");
        r = http_get_shut_in(MEMORY_MAX);
        if (r < 0) {
                printf("hero-jwks-fetch cannot give up its privileges: %s\n", strerror(-r));
                return r;
        }
        return ask(&g);
}

int main(int argc, char *argv[]) {
        int r = run(argc, argv);

        /* The kernel clears up faster than libcurl and its libraries. */
        (void) fflush(stdout);
        _exit(-r);
}
