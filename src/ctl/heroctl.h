/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What every verb of heroctl sees: the common options, the shape of a verb, and the exit statuses. */

#include "basic/macro.h"
#include "ctl/options.h"

#define HERO_SERVICE "org.hero.Compute"
#define HERO_PATH "/org/hero/Compute"
#define HERO_MANAGER "org.hero.Compute.Manager"
#define HERO_VM "org.hero.Compute.VM"
#define HERO_JOB "org.hero.Compute.Job"
#define HERO_IMAGES "org.hero.Compute.Images"
#define HERO_IMAGES_PATH "/org/hero/Compute/Images"
#define HERO_IMAGE "org.hero.Compute.Image"
#define HERO_IMAGE_JOB "org.hero.Compute.ImageJob"

/* As heroctl(1) documents them. */
enum {
        STATUS_SUCCESS = 0,
        STATUS_FAILURE = 1,
        STATUS_USAGE = 2,       /* also: the service refused an argument */
        STATUS_NOT_RUNNING = 3, /* heroctl status VM */
        STATUS_NOT_FOUND = 4,   /* no such VM, user or image */
        STATUS_DENIED = 5,
        STATUS_UNREACHABLE = 6, /* no bus, or no service on it */
        STATUS_TIMED_OUT = 124, /* heroctl wait */
        STATUS_EXEC = 125,      /* heroctl exec, run: anything that went wrong on this side of the command */
        STATUS_SIGNAL = 128,    /* + number of the signal */
};

typedef struct Verb {
        const char *name;      /* "start", "image import" */
        const char *arguments; /* for the usage line */
        const char *summary;   /* for heroctl --help */
        const char *help;      /* further paragraphs of heroctl VERB --help, NULL for none */
        const Option *options; /* ends with an empty one; NULL for none but the common ones */
        int min, max;          /* positional arguments; max < 0: any number */
        bool options_first;    /* options end at the first argument that is none (exec, run) */
        int usage_status;      /* of wrong options and arguments, where it is not STATUS_USAGE */
        int (*run)(int argc, char **argv); /* positional arguments; an exit status, or -errno, reported already */
} Verb;

/* The exit status for a failure that has been reported: STATUS_NOT_FOUND for -ENXIO and so on. */
int status_from_errno(int error);

extern const Verb verb_audit, verb_console, verb_create, verb_delete, verb_deprovision, verb_doctor, verb_events, verb_exec,
        verb_hibernate, verb_hold, verb_image_import, verb_image_list, verb_image_prune, verb_image_pull, verb_image_rm,
        verb_image_show, verb_list, verb_logs, verb_provision, verb_restart, verb_resume, verb_run, verb_set_idle,
        verb_set_resources, verb_start, verb_status, verb_stop, verb_suspend, verb_top, verb_touch, verb_wait, verb_whois;
