/* SPDX-License-Identifier: Apache-2.0 */

/* hero-mycelium: asks the host's mycelium daemon for its subnet, once. Exit status 0: the subnet is on stdout; else an errno,
 * and why in words on stdout.
 *
 *     hero-mycelium URL MILLISECONDS
 *
 * A process of its own: see shared/http-get.h. */

#include <stdio.h>
#include <unistd.h>

#include "basic/parse-util.h"
#include "network/mycelium.h"
#include "shared/http-get.h"

/* An answer has about 200 bytes. */
#define BODY_MAX (16u << 10)
#define MEMORY_MAX (UINT64_C(256) << 20) /* address space, most of it libraries */

/* These two print what there is to say: the subnet, or why there is none. */
static int read_answer(const HttpGet *g) {
        char text[SUBNET_STRING_MAX];
        Subnet subnet;
        int r;

        r = mycelium_parse(g->body, g->body_size, &subnet);
        puts(r < 0 ? "The answer names no subnet of mycelium" : subnet_format(text, &subnet));
        return r;
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
        static char body[BODY_MAX];
        HttpGet g = { .body = body, .body_max = sizeof(body) };
        int r;

        if (argc != 3 || parse_uint(argv[2], INT32_MAX, &g.timeout_msec) < 0) {
                printf("%s is started by hero-computed.\n", argv[0]);
                return -EINVAL;
        }
        g.url = argv[1];
        r = http_get_shut_in(MEMORY_MAX);
        if (r < 0) {
                printf("hero-mycelium cannot give up its privileges: %s\n", strerror(-r));
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
