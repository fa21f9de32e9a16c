/* SPDX-License-Identifier: Apache-2.0 */

/* What the daemon asks for, see launch-protocol.h. */

#include <sys/socket.h>

#include "basic/parse-util.h"
#include "basic/string-util.h"
#include "hypervisor/launch.h"

static int parse_id(const char *s, unsigned *ret) {
        return parse_uint(s, UINT32_MAX - 1, ret) < 0 || *ret == 0 ? -EINVAL : 0;
}

static int add(const char *list[], size_t *n, const char *path) {
        if (*n >= LAUNCH_PATHS_MAX || path[0] != '/')
                return -EINVAL;
        list[(*n)++] = path;
        return 0;
}

static int parse_option(Launch *l, const char *arg) {
        const char *v;

        v = startswith(arg, LAUNCH_PATH);
        if (v)
                return add(l->paths, &l->n_paths, v);
        v = startswith(arg, LAUNCH_DEVICE);
        if (v)
                return add(l->devices, &l->n_devices, v);
        if (!streq(arg, LAUNCH_PROC))
                return -EINVAL;
        l->proc = true;
        return 0;
}

/* From the first path to the program; *i is behind it afterwards. */
static int parse_kind(Launch *l, char **words, size_t n, size_t *i) {
        l->kind = words[*i];
        for (; *i + 1 < n; (*i)++) {
                if (streq(words[*i], LAUNCH_COMMAND)) {
                        l->argv = words + ++*i; /* ends with the NULL behind the last word */
                        l->n_kind = (size_t) (l->argv[0] + strlen(l->argv[0]) - l->kind);
                        (*i)++;
                        return 0;
                }
                if (parse_option(l, words[*i]) < 0)
                        return -EINVAL;
        }
        return -EINVAL;
}

static int parse_words(Launch *l, char **words, size_t n, size_t n_fds) {
        unsigned n_handed, n_load;
        size_t i = 4;

        if (n < 6 || parse_uint(words[0], LAUNCH_FDS_MAX, &n_handed) < 0 || parse_id(words[1], &l->uid) < 0 ||
            parse_id(words[2], &l->gid) < 0 || parse_uint(words[3], LAUNCH_N_LOAD, &n_load) < 0)
                return -EINVAL;
        if ((n_load != 0 && n_load != LAUNCH_N_LOAD) || n_handed + n_load + 1 != n_fds)
                return -EINVAL;
        l->n_load = n_load;
        return parse_kind(l, words, n, &i);
}

static int split_words(char *request, size_t size, char *words[static LAUNCH_WORDS_MAX + 1], size_t *ret_n) {
        size_t n = 0;

        if (size == 0 || request[size - 1] != 0)
                return -EINVAL;
        for (char *p = request; p < request + size; p += strlen(p) + 1) {
                if (n >= LAUNCH_WORDS_MAX)
                        return -E2BIG;
                words[n++] = p;
        }
        words[n] = NULL;
        *ret_n = n;
        return 0;
}

int launch_parse(Launch *ret, char *request, size_t size, size_t n_fds, char *words[static LAUNCH_WORDS_MAX + 1]) {
        size_t n;
        int r;

        r = split_words(request, size, words, &n);
        return r < 0 ? r : parse_words(ret, words, n, n_fds);
}

int launch_parse_kind(Launch *ret, char *text, size_t size, char *words[static LAUNCH_WORDS_MAX + 1]) {
        size_t n, i = 0;
        int r;

        r = split_words(text, size, words, &n);
        if (r >= 0)
                r = parse_kind(ret, words, n, &i);
        return r >= 0 && i != n ? -EINVAL : r;
}
