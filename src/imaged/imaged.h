/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* hero-imaged: what its parts share. One Imaged per process, owned by main.c. */

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>
#include <sys/queue.h>

#include "basic/macro.h"
#include "imaged/build.h"
#include "imaged/image-catalog.h"
#include "imaged/image-store.h"
#include "imaged/images-config.h"
#include "imaged/job.h"
#include "shared/audit-calls.h"
#include "shared/bus-util.h"
#include "shared/polkit.h"

#define ACTION_IMAGES "org.hero.compute.images"
#define ACTION_INSPECT "org.hero.compute.inspect-images"

#define IMPORTS_MAX 8u
#define OPENS_WAITING_MAX 128u
#define QUESTIONS_MAX 128u

typedef struct Question Question;
typedef struct WaitingOpen WaitingOpen;

/* A VM, the reference of its image, and the digest it has been given; "" while that is not known. */
typedef struct ImageUse {
        char *vm, *reference;
        char digest[DIGEST_LENGTH + 1];
} ImageUse;

struct Imaged {
        sd_event *event;
        sd_bus *bus;
        Polkit *polkit;
        Audit *audit;
        ImagesConfig config;
        ImageStore *store;
        Catalog catalog;
        sd_event_source *changed; /* ImagesChanged is to be sent */

        TAILQ_HEAD(Jobs, Job) jobs;
        unsigned n_jobs, n_imports, n_pulls; /* pulls under way, without those that wait */
        sd_event_source *watch;              /* of the disk, while there are jobs */
        uint32_t last_job_id;

        ImageUse *uses; /* what hero-computed said last */
        size_t n_uses;
        uint64_t uses_asked; /* the cookie of the question that was the answer to */
        TAILQ_HEAD(, Question) questions;
        unsigned n_questions;
        sd_bus_slot *collect_slot; /* the question of a collection in flight */

        Build *builtin;                  /* being made */
        TAILQ_HEAD(, WaitingOpen) opens; /* for it */
        unsigned n_opens;

        sd_event_source *idle;
        bool leaving;  /* no pull or import is begun any more: there is no time for it */
        bool nameless; /* and nobody calls any more */
};

/* uses.c: which images VMs use. Only hero-computed knows (also of stopped ones, whose image is open nowhere). So an image
 * goes only after it was asked; where it does not answer, because it is not installed, fails, or whatever, the image stays.
 * The answer is kept for people to look at, and never used to decide later. */
int uses_ask(Imaged *m, bool start_it, sd_bus_message_handler_t callback, void *userdata, sd_bus_slot **ret);
int uses_read(Imaged *m, sd_bus_message *reply); /* into m->uses */
int uses_unknown(sd_bus_message *reply, int error, const char *what, sd_bus_error *ret); /* Busy, because of this reply */
void uses_free(Imaged *m);

/* For a method call that is answered when hero-computed has answered: answer() reads the call again from its beginning,
 * then replies and returns >= 0, or fails as a handler may. */
typedef int (*uses_answer_t)(Imaged *m, sd_bus_message *call, sd_bus_message *reply, sd_bus_error *error);
int uses_ask_for(Imaged *m, sd_bus_message *call, bool start_it, uses_answer_t answer, sd_bus_error *error);
void questions_free(Imaged *m);

/* May the image be removed, as of the answer just read? ImageInUse, Busy. Whoever has been given it after the question was asked
 * was perhaps not heard of in the answer. */
int uses_permit_removal(const Imaged *m, const Image *image, sd_bus_error *error);

/* pull.c: Pull(). Joins one of the same reference and platform that is under way (*ret_new false). */
int pull_new(Imaged *m, const char *reference, const char *platform, const char *sender, Job **ret, bool *ret_new,
                sd_bus_error *error);
void pulls_continue(Imaged *m); /* with one that waits */

/* import.c: Import(). */
int import_new(Imaged *m, const char *reference, const char *platform, const char *sender, int tar_fd, Job **ret,
                sd_bus_error *error);
/* The name of an error of the worker. */
const char *import_error_name(int error);

/* builtin.c: the image that is made on first use. */
#define BUILTIN_REFERENCE "busybox:latest"

/* True where there is a busybox to make it from. */
bool builtin_is_possible(void);

/* 1: *ret is it, up to date. 0: it is being made; call is answered then, by open_reply() or with an error. */
int builtin_need(Imaged *m, sd_bus_message *call, Image **ret, sd_bus_error *error);
void builtin_free(Imaged *m);

/* removal.c: Remove(), once it is permitted. */
int removal_handle(Imaged *m, sd_bus_message *call, const char *reference, sd_bus_error *error);

/* prune.c: Prune(), once it is permitted; and making room. */
int prune_handle(Imaged *m, sd_bus_message *call, sd_bus_error *error);

/* Is there room for so many bytes? */
bool space_fits(Imaged *m, uint64_t bytes);

/* Makes room, as of this answer of hero-computed. -ENOSPC: not possible, nothing was removed; other -errno: no answer. */
int prune_for(Imaged *m, sd_bus_message *reply, uint64_t bytes);

/* Removes what prune would, that is images without a tag and what is over the budget; without starting hero-computed for it. */
void collect_images(Imaged *m);

/* access.c: as polkit_check(), for methods that change something, which all go through here: they are audited. The dispatcher calls
 * audit_answered(). image: NULL where it is the first argument. allowed: polkit need not be asked. */
int change_check(Imaged *m, sd_bus_message *call, const char *image, bool allowed, sd_bus_error *error);

/* images-bus.c: the object on the bus. */
int images_bus_register(Imaged *m);
int read_reference(sd_bus_message *call, char buf[static REFERENCE_MAX + 1], sd_bus_error *error); /* 1: a digest */
int open_reply(Imaged *m, sd_bus_message *call, Image *image, sd_bus_error *error);

/* image-bus.c: the objects of the images. */
#define IMAGE_PATH_MAX (sizeof(IMAGE_PREFIX "/") + DIGEST_HEX_LENGTH)
int image_bus_register(Imaged *m);
void image_path(const Image *i, char buf[static IMAGE_PATH_MAX]);
void image_changed(CatalogEvent event, const Image *image, void *userdata);
void images_changed_flush(Imaged *m); /* ImagesChanged, if it is to be sent, goes out now */
