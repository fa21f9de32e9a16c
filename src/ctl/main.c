/* SPDX-License-Identifier: Apache-2.0 */

/* heroctl: the command line of Hero Compute. A client of the bus API that owns no state: it finds the verb,
 * parses its options and leaves the rest to the verb's file. */

#include <locale.h>
#include <stdio.h>

#include "basic/string-util.h"
#include "ctl/heroctl.h"
#include "shared/error-names.h"

static const Verb *const verbs[] = {
        &verb_provision,
        &verb_deprovision,
        &verb_list,
        &verb_status,
        &verb_run,
        &verb_create,
        &verb_start,
        &verb_stop,
        &verb_restart,
        &verb_suspend,
        &verb_hibernate,
        &verb_resume,
        &verb_delete,
        &verb_set_resources,
        &verb_touch,
        &verb_hold,
        &verb_set_idle,
        &verb_console,
        &verb_exec,
        &verb_logs,
        &verb_top,
        &verb_events,
        &verb_wait,
        &verb_whois,
        &verb_audit,
        &verb_image_pull,
        &verb_image_import,
        &verb_image_list,
        &verb_image_show,
        &verb_image_rm,
        &verb_image_prune,
        &verb_doctor,
};

int status_from_errno(int error) {
        switch (error < 0 ? -error : error) {
        case 0:
                return STATUS_SUCCESS;
        case EINVAL:
                return STATUS_USAGE;
        case ENXIO:     /* NoSuchVM */
        case ESRCH:     /* NoSuchUser */
        case ENOMEDIUM: /* NoSuchImage */
                return STATUS_NOT_FOUND;
        case EACCES:
        case EPERM:
                return STATUS_DENIED;
        case EHOSTUNREACH: /* nobody owns the name */
        case ENOTCONN:     /* no bus */
                return STATUS_UNREACHABLE;
        case ECANCELED: /* Ctrl-C, and the service confirmed it */
                return STATUS_SIGNAL + 2;
        default:
                return STATUS_FAILURE;
        }
}

/* printf() pads by bytes, and … is three. */
static void print_verb_line(const Verb *v) {
        int width = 20;

        for (const char *p = v->arguments; *p; p++)
                width += ((unsigned char) *p & 0xc0) == 0x80;
        printf("  %-13s %-*s %s\n", v->name, width, v->arguments, v->summary);
}

static int print_help(void) {
        printf("Usage: heroctl [OPTIONS…] VERB [ARGUMENTS…]\n\n"
               "Control the virtual machines of Hero Compute. Without a verb: list them. A VM is given by its\n"
               "name, its id, or an unambiguous beginning of either.\n\nVerbs:\n");
        for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
                print_verb_line(verbs[i]);
        printf("\nOptions of all verbs:\n");
        print_options(common_options);
        printf("\n'heroctl VERB --help' shows the options of one verb, heroctl(1) everything.\n");
        return 0;
}

static int print_verb_help(const Verb *v) {
        printf("Usage: heroctl %s [OPTIONS…]%s%s\n\n%s.\n", v->name, v->arguments[0] ? " " : "", v->arguments,
               v->summary);
        if (v->help)
                printf("%s", v->help);
        if (v->options) {
                printf("\nOptions:\n");
                print_options(v->options);
        }
        printf("\nOptions of all verbs:\n");
        print_options(common_options);
        return 0;
}

/* How many words of argv name the verb: 0 when they do not. */
static int match_verb(const Verb *v, int argc, char **argv) {
        const char *second = strchr(v->name, ' ');
        size_t n = second ? (size_t) (second - v->name) : strlen(v->name);

        if (strlen(argv[0]) != n || strncmp(argv[0], v->name, n) != 0)
                return 0;
        if (!second)
                return 1;
        return argc > 1 && streq(argv[1], second + 1) ? 2 : 0;
}

static const Verb *find_verb(int argc, char **argv, int *ret_words) {
        if (argc == 0) {
                *ret_words = 0;
                return &verb_list;
        }
        for (size_t i = 0; i < ELEMENTSOF(verbs); i++) {
                *ret_words = match_verb(verbs[i], argc, argv);
                if (*ret_words > 0)
                        return verbs[i];
        }
        if (streq(argv[0], "image"))
                fprintf(stderr, "'heroctl image' needs one of: pull, import, list, show, rm, prune.\n");
        else
                fprintf(stderr, "Unknown verb '%s'. See 'heroctl --help'.\n", argv[0]);
        return NULL;
}

/* argv[0] is the program (getopt puts it before its complaints), the verb's words are gone. */
static int run_verb(const Verb *v, int argc, char **argv) {
        int first, n, r;

        r = parse_options(v->options, v->options_first, argc, argv, &first);
        if (r < 0) {
                fprintf(stderr, "See 'heroctl %s --help'.\n", v->name);
                return v->usage_status ?: STATUS_USAGE;
        }
        if (arg_help)
                return print_verb_help(v);
        n = argc - first;
        if (n < v->min || (v->max >= 0 && n > v->max)) {
                fprintf(stderr, "Too %s arguments. Usage: heroctl %s [OPTIONS…] %s\n", n < v->min ? "few" : "many",
                        v->name, v->arguments);
                return v->usage_status ?: STATUS_USAGE;
        }
        r = v->run(n, argv + first);
        return r < 0 ? status_from_errno(r) : r;
}

int main(int argc, char *argv[]) {
        static char name[] = "heroctl";
        const Verb *v;
        int first, words, r;

        setlocale(LC_ALL, "");
        if (argc < 1)
                return STATUS_USAGE;
        error_names_register();
        r = parse_options(NULL, true, argc, argv, &first);
        if (r < 0) {
                fprintf(stderr, "See 'heroctl --help'.\n");
                return STATUS_USAGE;
        }
        if (arg_version) {
                printf("heroctl %s\n", HERO_VERSION);
                return STATUS_SUCCESS;
        }
        if (first == argc && arg_help)
                return print_help();
        if (argc - first == 1 && streq(argv[first], "help"))
                return print_help();
        v = find_verb(argc - first, argv + first, &words);
        if (!v)
                return STATUS_USAGE;
        argv[first + words - 1] = name;
        r = run_verb(v, argc - first - words + 1, argv + first + words - 1);
        if (fflush(stdout) != 0 && r == STATUS_SUCCESS) {
                fprintf(stderr, "Failed to write the output: %m\n");
                r = STATUS_FAILURE;
        }
        return r;
}
