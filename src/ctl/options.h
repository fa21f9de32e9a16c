/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Command line options as tables: one row is the parser's entry, the line in --help and what the checks of man
 * page and completion compare with. Values go to the variable that the row names. */

#include "basic/macro.h"

typedef enum OptionType {
        OPTION_FLAG,   /* bool, set to true */
        OPTION_UNFLAG, /* bool, set to false */
        OPTION_STRING, /* const char *, points into argv */
        OPTION_STRV,   /* char **, appended to */
        OPTION_UINT,   /* unsigned */
        OPTION_COUNT,  /* unsigned, at least 1: 0 stands for "not given" */
        OPTION_UINT64, /* uint64_t */
        OPTION_SIZE,   /* uint64_t, bytes: 512M, 2G */
        OPTION_USEC,   /* uint64_t, a time span: 90, 2min */
        OPTION_RATE,   /* uint64_t, bytes a second: 2M; "max" is UINT64_MAX, and 0 stands for "not given" */
        OPTION_DELAY,  /* uint64_t, a time span; "never" is UINT64_MAX, and 0 stands for "not given" */
        OPTION_JSON,   /* JsonMode, value optional */
        OPTION_IGNORED,
} OptionType;

typedef struct Option {
        char letter; /* 0: none */
        const char *name;
        const char *metavar; /* NULL for options without a value */
        OptionType type;
        void *target;
        const char *help;
} Option;

typedef enum JsonMode {
        JSON_OFF,
        JSON_PRETTY,
        JSON_SHORT,
} JsonMode;

extern JsonMode arg_json;
extern bool arg_legend;
extern bool arg_ask_password;
extern bool arg_quiet;
extern bool arg_help;
extern bool arg_version;

extern const Option common_options[];

/* Parses argv[1…]; options (may be NULL) and the common ones are known. *ret_first is the index of the first
 * positional argument; unless options_first they are all moved behind the options. -EINVAL: said why on stderr. */
int parse_options(const Option *options, bool options_first, int argc, char **argv, int *ret_first);

void print_options(const Option *options);
