/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* hero-imaged: what its parts share. One Imaged per process, owned by main.c. */

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>
#include <sys/queue.h>

#include "basic/macro.h"
#include "imaged/build.h"
#include "imaged/image-store.h"
#include "shared/polkit.h"

#define IMPORTS_MAX 8u
#define REMOVALS_MAX 32u
#define OPENS_WAITING_MAX 128u

typedef struct Imaged Imaged;
typedef struct Import Import;
typedef struct Removal Removal;
typedef struct WaitingOpen WaitingOpen;

struct Imaged {
        sd_event *event;
        sd_bus *bus;
        Polkit *polkit;
        ImageStore *store;

        TAILQ_HEAD(, Import) imports;
        unsigned n_imports;
        uint32_t last_import_id;

        TAILQ_HEAD(, Removal) removals;
        unsigned n_removals;
        sd_bus_slot *collect_slot; /* the question of a collection in flight */

        Build *builtin;                  /* being made */
        TAILQ_HEAD(, WaitingOpen) opens; /* for it */
        unsigned n_opens;

        sd_event_source *idle;
        bool leaving;  /* no import is begun any more: there is no time for it */
        bool nameless; /* and nobody calls any more */
};

/* import.c: Import() and CancelImport(). */
int import_new(Imaged *m, const char *reference, const char *sender, int tar_fd, uint32_t *ret_id,
                sd_bus_error *error);
Import *import_find(Imaged *m, uint32_t id);
bool import_is_of(const Import *i, const char *sender);
void import_cancel(Import *i); /* says ImportDone "canceled" */
void imports_free(Imaged *m);  /* says nothing */

/* builtin.c: the image that is made on first use. */
#define BUILTIN_REFERENCE "busybox:latest"

/* True where there is a busybox to make it from. */
bool builtin_is_possible(void);

/* 1: tag is it, up to date. 0: it is being made; call is answered then, by open_reply() or with an error. */
int builtin_need(Imaged *m, sd_bus_message *call, ImageTag *ret, sd_bus_error *error);
void builtin_free(Imaged *m);

/* removal.c: Remove(), and contents that lost their last tag.
 *
 * Only hero-computed knows which contents VMs use (also stopped ones, whose image is open nowhere). So a
 * content goes only after it was asked; where it does not answer, because it is not installed, fails, or
 * whatever, the content stays. The answer is never remembered. */
int removal_new(Imaged *m, sd_bus_message *call, const char *reference, bool by_digest, sd_bus_error *error);
void removals_free(Imaged *m);

/* Removes contents without a tag that no VM uses; without starting hero-computed for it. */
void collect_contents(Imaged *m);

/* images-bus.c: the object on the bus. */
int images_bus_register(Imaged *m);
int open_reply(Imaged *m, sd_bus_message *call, const ImageTag *tag, sd_bus_error *error);
void emit_import_progress(Imaged *m, uint32_t id, uint64_t bytes, uint32_t entries);
void emit_import_done(Imaged *m, uint32_t id, const char *result, const char *message, const char *digest);
void emit_images_changed(Imaged *m);

/* The name of an import's error, for ImportDone. */
const char *import_error_name(int error);
