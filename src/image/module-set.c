/* SPDX-License-Identifier: Apache-2.0 */

#include "image/module-set.h"

#include <fcntl.h>
#include <libkmod.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"

#define LIST_MAX ((size_t) 4 * 1024 * 1024)
#define DEPTH_MAX 16u

/* group, module, and whether a guest cannot do without it. A network card calls for IPv6, too, where the kernel has it as a
 * module. */
#define WANTED(X)                               \
        X("base", "virtio_mmio", false)         \
        X("pci", "virtio_pci", false)           \
        X("virtio-1", "ipv6", false)            \
        X("virtio-1", "virtio_net", false)      \
        X("virtio-2", "virtio_blk", true)       \
        X("virtio-3", "virtio_console", true)   \
        X("virtio-4", "virtio_rng", false)      \
        X("squashfs", "squashfs", true)         \
        X("erofs", "erofs", false)              \
        X("ext4", "ext4", true)                 \
        X("overlay", "overlay", true)

typedef struct Wanted {
        const char *group, *name;
        bool required;
} Wanted;

#define WANTED_ROW(group, name, required) { group, name, required },
static const Wanted wanted[] = { WANTED(WANTED_ROW) };

const char *module_set_wanted(void) {
#define WANTED_TEXT(group, name, required) group " " name "\n"
        return WANTED(WANTED_TEXT);
}

void module_set_done(ModuleSet *s) {
        for (size_t i = 0; i < s->n_modules; i++) {
                free(s->modules[i].name);
                free(s->modules[i].path);
                strv_free(s->modules[i].depends);
        }
        free(s->modules);
        free(s->entries);
        *s = (ModuleSet) {};
}

/* The kernel takes both for the same. */
static void use_underscores(char *name) {
        for (; name && *name; name++)
                if (*name == '-')
                        *name = '_';
}

char *module_name_of_path(const char *path) {
        const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path, *end = strstr(base, ".ko");
        char *name;

        if (!end || end == base || (end[3] != 0 && end[3] != '.'))
                return NULL;
        name = strndup(base, (size_t) (end - base));
        use_underscores(name);
        return name;
}

static int compare_modules(const void *a, const void *b) {
        return strcmp(((const Module *) a)->name, ((const Module *) b)->name);
}

static Module *find_module(const ModuleSet *s, const char *name) {
        Module key = { .name = (char *) name };

        return s->n_modules == 0 ? NULL : bsearch(&key, s->modules, s->n_modules, sizeof(Module), compare_modules);
}

static int read_order(int dir_fd, ModuleSet *s) {
        _cleanup_free_ char *text = NULL;
        size_t allocated = 0;
        char *p, *line;
        int r;

        r = read_full_file(dir_fd, "modules.order", LIST_MAX, &text, NULL);
        if (r < 0)
                return r;
        for (p = text; (line = strsep(&p, "\n"));) {
                Module m = { .name = module_name_of_path(line) };

                if (!m.name)
                        continue;
                m.path = strdup(line);
                if (!m.path || !GREEDY_REALLOC(s->modules, allocated, s->n_modules + 1)) {
                        free(m.name);
                        free(m.path);
                        return -ENOMEM;
                }
                s->modules[s->n_modules++] = m;
        }
        qsort(s->modules, s->n_modules, sizeof(Module), compare_modules);
        return 0;
}

static bool is_builtin(const char *builtin, const char *name) {
        for (const char *p = strempty(builtin); *p;) {
                size_t n = strcspn(p, "\n");
                char line[PATH_MAX];

                if (n < sizeof(line)) {
                        _cleanup_free_ char *found = NULL;

                        memcpy(line, p, n);
                        line[n] = 0;
                        found = module_name_of_path(line);
                        if (found && streq(found, name))
                                return true;
                }
                p += n + (p[n] == '\n');
        }
        return false;
}

/* modules.order names the .ko even where it was compressed afterwards. */
static int find_file(int dir_fd, Module *m) {
        static const char *const suffixes[] = { "", ".xz", ".zst", ".gz" };

        for (size_t i = 0; i < ELEMENTSOF(suffixes); i++) {
                char *path = strprintf("%s%s", m->path, suffixes[i]);

                if (!path)
                        return -ENOMEM;
                if (faccessat(dir_fd, path, R_OK, 0) >= 0) {
                        free(m->path);
                        m->path = path;
                        return 0;
                }
                free(path);
        }
        return -ENOENT;
}

static int read_depends(struct kmod_module *module, Module *m) {
        struct kmod_list *info = NULL, *i;
        int r;

        r = kmod_module_get_info(module, &info);
        if (r < 0)
                return r;
        kmod_list_foreach(i, info) {
                _cleanup_free_ char *copy = NULL;
                char *p, *name;

                if (!streq(kmod_module_info_get_key(i), "depends"))
                        continue;
                p = copy = strdup(kmod_module_info_get_value(i));
                use_underscores(p);
                while (p && r >= 0 && (name = strsep(&p, ",")))
                        if (name[0])
                                r = strv_extend(&m->depends, name);
                if (!copy)
                        r = -ENOMEM;
        }
        kmod_module_info_free_list(info);
        return r < 0 ? r : 0;
}

static int examine(struct kmod_ctx *ctx, const char *modules_dir, int dir_fd, Module *m) {
        _cleanup_free_ char *path = NULL;
        struct kmod_module *module;
        int r;

        if (m->examined)
                return 0;
        r = find_file(dir_fd, m);
        if (r < 0)
                return r;
        path = strprintf("%s/%s", modules_dir, m->path);
        if (!path)
                return -ENOMEM;
        r = kmod_module_new_from_path(ctx, path, &module);
        if (r < 0)
                return r;
        r = read_depends(module, m);
        kmod_module_unref(module);
        m->examined = r >= 0;
        return r;
}

typedef struct Resolver {
        ModuleSet *set;
        struct kmod_ctx *ctx;
        const char *modules_dir;
        int dir_fd;
        char *builtin;
        const char *failed; /* name of the module that is missing or cannot be read */
} Resolver;

static bool has_entry(const ModuleSet *s, const char *group, const Module *m) {
        for (size_t i = 0; i < s->n_entries; i++)
                if (s->entries[i].module == m && streq(s->entries[i].group, group))
                        return true;
        return false;
}

/* Depth first: what is depended on comes before. */
static int add(Resolver *r, const char *group, const char *name, unsigned depth) {
        Module *m = find_module(r->set, name);
        int k;

        r->failed = name;
        if (!m)
                return is_builtin(r->builtin, name) ? 0 : -ENOENT;
        if (has_entry(r->set, group, m))
                return 0;
        if (depth > DEPTH_MAX)
                return -ELOOP;

        k = examine(r->ctx, r->modules_dir, r->dir_fd, m);
        if (k < 0)
                return k;
        STRV_FOREACH(i, m->depends) {
                k = add(r, group, *i, depth + 1);
                if (k < 0)
                        return k;
        }

        if (!GREEDY_REALLOC(r->set->entries, r->set->allocated, r->set->n_entries + 1))
                return -ENOMEM;
        r->set->entries[r->set->n_entries++] = (ModuleEntry) { .group = group, .module = m };
        return 0;
}

static int resolve(Resolver *r, char **ret_why) {
        for (size_t i = 0; i < ELEMENTSOF(wanted); i++) {
                size_t before = r->set->n_entries;
                int k;

                k = add(r, wanted[i].group, wanted[i].name, 0);
                if (k >= 0)
                        continue;
                if (wanted[i].required || k != -ENOENT) {
                        *ret_why = strprintf("The kernel module %s, which guests need, is not usable in %s: %s",
                                        r->failed, r->modules_dir, strerror(-k));
                        return k;
                }
                r->set->n_entries = before;
        }
        return 0;
}

int module_set_load(const char *modules_dir, ModuleSet *ret, char **ret_why) {
        _cleanup_(module_set_done) ModuleSet s = {};
        _cleanup_close_ int dir_fd = -EBADF;
        _cleanup_free_ char *builtin = NULL;
        const char *no_config = NULL;
        Resolver resolver;
        int r;

        dir_fd = open(modules_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        r = dir_fd < 0 ? negative_errno() : read_order(dir_fd, &s);
        if (r < 0) {
                *ret_why = strprintf("Cannot read %s/modules.order: %s", modules_dir, strerror(-r));
                return r;
        }
        r = read_full_file(dir_fd, "modules.builtin", LIST_MAX, &builtin, NULL);
        if (r < 0 && r != -ENOENT) {
                *ret_why = strprintf("Cannot read %s/modules.builtin: %s", modules_dir, strerror(-r));
                return r;
        }

        resolver = (Resolver) {
                .set = &s,
                .ctx = kmod_new(modules_dir, &no_config),
                .modules_dir = modules_dir,
                .dir_fd = dir_fd,
                .builtin = builtin,
        };
        if (!resolver.ctx)
                return -ENOMEM;
        r = resolve(&resolver, ret_why);
        kmod_unref(resolver.ctx);
        if (r < 0)
                return r;

        *ret = s;
        s = (ModuleSet) {};
        return 0;
}
