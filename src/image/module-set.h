/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Which kernel modules a guest may need, and in which order: the wanted ones of each group (the groups are
 * explained in guest-init/modules.h) with everything they depend on.
 *
 * Resolved from modules.order, modules.builtin and what the modules say of themselves, not from modules.dep: a
 * kernel package that was only unpacked has had no depmod run over it. */

#include "basic/macro.h"

typedef struct Module {
        char *name;     /* virtio_blk */
        char *path;     /* below the modules directory, as it is on disk: kernel/drivers/block/virtio_blk.ko.xz */
        char **depends; /* names; only for those that are in a group */
        bool examined;
} Module;

typedef struct ModuleEntry {
        const char *group;
        const Module *module;
} ModuleEntry;

typedef struct ModuleSet {
        Module *modules; /* every module of the kernel, sorted by name */
        size_t n_modules;
        ModuleEntry *entries;
        size_t n_entries, allocated;
} ModuleSet;

void module_set_done(ModuleSet *s);

/* 0, or -errno with a sentence in *ret_why (allocated). */
int module_set_load(const char *modules_dir, ModuleSet *ret, char **ret_why);

/* "drivers/block/virtio-blk.ko.xz" → "virtio_blk"; NULL when it is no module or on ENOMEM. */
char *module_name_of_path(const char *path);

/* What is wanted, as one string: changes when the compiled-in list does. */
const char *module_set_wanted(void);
