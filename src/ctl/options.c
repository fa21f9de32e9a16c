/* SPDX-License-Identifier: Apache-2.0 */

#include "ctl/options.h"

#include <getopt.h>
#include <stdio.h>

#include "basic/parse-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "basic/time-util.h"

#define OPTIONS_MAX 40
#define LONG_BASE 256 /* what getopt_long() returns is this + the index of the option */

JsonMode arg_json = JSON_OFF;
bool arg_legend = true;
bool arg_ask_password = true;
bool arg_quiet = false;
bool arg_help = false;
bool arg_version = false;

const Option common_options[] = {
        { 0, "json", "pretty|short", OPTION_JSON, &arg_json, "Write JSON instead of text" },
        { 0, "no-legend", NULL, OPTION_UNFLAG, &arg_legend, "Leave out headings and totals" },
        { 0, "no-pager", NULL, OPTION_IGNORED, NULL, "Accepted for habit; there is no pager" },
        { 0, "no-ask-password", NULL, OPTION_UNFLAG, &arg_ask_password, "Fail rather than ask for a password" },
        { 'q', "quiet", NULL, OPTION_FLAG, &arg_quiet, "Say nothing but errors; lists: names only" },
        { 'h', "help", NULL, OPTION_FLAG, &arg_help, "Show help and leave" },
        { 0, "version", NULL, OPTION_FLAG, &arg_version, "Show the version and leave" },
        {},
};

static int parse_json(const char *value, JsonMode *ret) {
        if (!value || streq(value, "pretty"))
                *ret = JSON_PRETTY;
        else if (streq(value, "short"))
                *ret = JSON_SHORT;
        else if (streq(value, "off"))
                *ret = JSON_OFF;
        else
                return -EINVAL;
        return 0;
}

static int parse_count(const char *value, unsigned *ret) {
        unsigned u;
        int r;

        r = parse_uint(value, UINT32_MAX, &u);
        if (r < 0)
                return r;
        if (u == 0)
                return -ERANGE;
        *ret = u;
        return 0;
}

static int parse_positive_size(const char *value, uint64_t *ret) {
        uint64_t u;
        int r;

        r = parse_size(value, &u);
        if (r < 0)
                return r;
        if (u == 0)
                return -ERANGE;
        *ret = u;
        return 0;
}

static int parse_rate(const char *value, uint64_t *ret) {
        if (streq(value, "max") || streq(value, "infinity")) {
                *ret = UINT64_MAX;
                return 0;
        }
        return parse_positive_size(value, ret);
}

static int parse_delay(const char *value, uint64_t *ret) {
        uint64_t u = USEC_INFINITY;
        int r = 0;

        if (!streq(value, "never"))
                r = parse_usec(value, &u);
        if (r < 0)
                return r;
        if (u == 0)
                return -ERANGE;
        *ret = u;
        return 0;
}

static int store(const Option *o, const char *value) {
        switch (o->type) {
        case OPTION_FLAG:
                *(bool *) o->target = true;
                return 0;
        case OPTION_UNFLAG:
                *(bool *) o->target = false;
                return 0;
        case OPTION_STRING:
                *(const char **) o->target = value;
                return 0;
        case OPTION_STRV:
                return strv_extend((char ***) o->target, value);
        case OPTION_UINT:
                return parse_uint(value, UINT32_MAX, o->target);
        case OPTION_COUNT:
                return parse_count(value, o->target);
        case OPTION_UINT64:
                return parse_uint64(value, o->target);
        case OPTION_SIZE:
                return parse_positive_size(value, o->target);
        case OPTION_USEC:
                return parse_usec(value, o->target);
        case OPTION_RATE:
                return parse_rate(value, o->target);
        case OPTION_DELAY:
                return parse_delay(value, o->target);
        case OPTION_JSON:
                return parse_json(value, o->target);
        case OPTION_IGNORED:
                return 0;
        }
        return -EINVAL;
}

/* Both tables as one array of pointers; the verb's own come first, so that they win. */
static size_t collect(const Option *options, const Option *ret[static OPTIONS_MAX]) {
        size_t n = 0;

        for (const Option *o = options; o && o->name; o++)
                ret[n++] = o;
        for (const Option *o = common_options; o->name; o++)
                ret[n++] = o;
        assert(n < OPTIONS_MAX);
        return n;
}

static void build_getopt(const Option *const *options, size_t n, bool options_first, char *letters,
                         struct option *long_options) {
        if (options_first)
                *letters++ = '+';
        for (size_t i = 0; i < n; i++) {
                long_options[i] = (struct option) {
                        .name = options[i]->name,
                        .has_arg = !options[i]->metavar ? no_argument :
                                options[i]->type == OPTION_JSON ? optional_argument : required_argument,
                        .val = LONG_BASE + (int) i,
                };
                if (options[i]->letter == 0)
                        continue;
                *letters++ = options[i]->letter;
                if (options[i]->metavar)
                        *letters++ = ':';
        }
        *letters = 0;
}

static const Option *find(const Option *const *options, size_t n, int c) {
        if (c >= LONG_BASE)
                return options[c - LONG_BASE];
        for (size_t i = 0; i < n; i++)
                if (options[i]->letter == c)
                        return options[i];
        return NULL;
}

static const char *expected(OptionType type) {
        switch (type) {
        case OPTION_SIZE:
                return "a size such as 512M or 2G";
        case OPTION_USEC:
                return "a time span such as 90s or 2min";
        case OPTION_RATE:
                return "a number of bytes per second such as 512K or 2M, or 'max'";
        case OPTION_DELAY:
                return "a time span such as 90s or 2min, or 'never'";
        case OPTION_JSON:
                return "'pretty' or 'short'";
        default:
                return "a number";
        }
}

int parse_options(const Option *options, bool options_first, int argc, char **argv, int *ret_first) {
        const Option *all[OPTIONS_MAX];
        struct option long_options[OPTIONS_MAX + 1] = {};
        char letters[2 * OPTIONS_MAX + 2];
        size_t n;
        int c, r;

        n = collect(options, all);
        build_getopt(all, n, options_first, letters, long_options);
        optind = 0; /* glibc: start over, argv is another one */
        while ((c = getopt_long(argc, argv, letters, long_options, NULL)) >= 0) {
                const Option *o = find(all, n, c);

                if (!o) /* getopt said what */
                        return -EINVAL;
                r = store(o, optarg);
                if (r == -ENOMEM)
                        return r;
                if (r < 0) {
                        fprintf(stderr, "Option --%s: '%s' is not %s.\n", o->name, optarg,
                                r == -ERANGE ? "in range" : expected(o->type));
                        return -EINVAL;
                }
        }
        *ret_first = optind;
        return 0;
}

void print_options(const Option *options) {
        for (const Option *o = options; o && o->name; o++) {
                _cleanup_(strv_freep) char **word = NULL;

                if (strv_extendf(&word, "%s--%s%s%s%s", "", o->name, !o->metavar ? "" : o->type == OPTION_JSON ? "[=" : "=",
                                 strempty(o->metavar), o->type == OPTION_JSON ? "]" : "") < 0)
                        return;
                printf("  %c%c%c %-24s %s\n", o->letter ? '-' : ' ', o->letter ?: ' ', o->letter ? ',' : ' ', word[0],
                       o->help);
        }
}
