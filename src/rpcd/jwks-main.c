/* SPDX-License-Identifier: Apache-2.0 */

/* hero-jwks-fetch: fetches a set of keys by HTTP, once, for hero-rpcd, which has no network. Started by PID 1 for each connection to
 * JWKS_SOCKET, under a user of its own: see jwks-protocol.h, and shared/http-get.h. Only keys that are for tokens are handed on. */

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "basic/parse-util.h"
#include "basic/string-util.h"
#include "rpcd/jwks-protocol.h"
#include "shared/http-get.h"

#define MEMORY_MAX (UINT64_C(512) << 20) /* address space, most of it libraries and a thread that resolves the name */

static void answer_error(const char *why) {
        printf(JWKS_ERROR "%s\n", why);
}

static void answer_keys(const HttpGet *g) {
        JwkSet *keys;
        char *text;
        int r;

        r = jwk_set_parse(g->body, g->body_size, &keys);
        if (r < 0)
                return answer_error(r == -ENOKEY ? "The answer has no key for RS256, PS256 or ES256" :
                                    r == -E2BIG ? "The answer has too many keys" : "The answer is no set of keys");
        text = jwk_set_format(keys);
        if (!text)
                return answer_error(strerror(ENOMEM));
        printf(JWKS_KEYS "%s\n", text);
}

/* The line in two, in place. */
static int parse_question(char *line, HttpGet *g) {
        char *end = strchr(line, '\n'), *url = strchr(line, ' ');

        if (!end || !url)
                return -EBADMSG;
        *end = *url++ = 0;
        if (parse_uint(line, INT32_MAX, &g->timeout_msec) < 0 || !jwks_url_is_valid(url))
                return -EBADMSG;
        g->url = url;
        g->loopback_only = startswith(url, "http://");
        return 0;
}

static int run(void) {
        static char body[JWK_SET_SIZE_MAX], line[JWKS_QUESTION_MAX + 2];
        HttpGet g = { .https = true, .body = body, .body_max = sizeof(body) };
        int r;

        r = http_get_shut_in(MEMORY_MAX);
        if (r < 0) {
                fprintf(stderr, "Failed to give up privileges: %s\n", strerror(-r));
                answer_error("hero-jwks-fetch cannot give up its privileges");
                return r;
        }
        if (!fgets(line, sizeof(line), stdin) || parse_question(line, &g) < 0) {
                fputs("Not to be run by hand: hero-jwks-fetch.socket does it, see hero-jwks-fetch(8).\n", stderr);
                answer_error("hero-jwks-fetch is asked what it must not be");
                return -EBADMSG;
        }
        if (http_get(&g) < 0)
                answer_error(g.why);
        else
                answer_keys(&g);
        return 0; /* it has been said */
}

int main(void) {
        int r = run();

        (void) fflush(stdout);
        /* The kernel clears up faster than libcurl and its libraries. */
        _exit(r < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}
