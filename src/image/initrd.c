/* SPDX-License-Identifier: Apache-2.0 */

#include "image/initrd.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "image/digest.h"
#include "image/module-set.h"

#define INIT_MAX ((size_t) 16 * 1024 * 1024)
#define MODULE_MAX ((size_t) 64 * 1024 * 1024)

/* Change it when the archive's form changes. */
#define FORMAT "hero-initrd 1\n"

/* The key. */

/* A package that brings other modules under the same version has another modules.order: the time says so, for
 * the content need not. */
static int describe_modules_dir(const char *modules_dir, char **ret) {
        _cleanup_free_ char *path = NULL;
        struct stat st;

        path = strprintf("%s/modules.order", modules_dir);
        if (!path)
                return -ENOMEM;
        if (stat(path, &st) < 0)
                return negative_errno();
        *ret = strprintf("%s %jd %jd.%09ld", path, (intmax_t) st.st_size, (intmax_t) st.st_mtim.tv_sec,
                        st.st_mtim.tv_nsec);
        return *ret ? 0 : -ENOMEM;
}

int initrd_key(const InitrdSpec *spec, char ret[static INITRD_KEY_MAX], char **ret_why) {
        _cleanup_free_ char *init = NULL, *modules = NULL, *text = NULL;
        char init_digest[65];
        size_t n = 0;
        int r;

        r = read_full_file(AT_FDCWD, spec->init_path, INIT_MAX, &init, &n);
        if (r < 0) {
                *ret_why = strprintf("Cannot read %s: %s", spec->init_path, strerror(-r));
                return r;
        }
        r = describe_modules_dir(spec->modules_dir, &modules);
        if (r < 0) {
                *ret_why = strprintf("There are no kernel modules in %s: %s", spec->modules_dir, strerror(-r));
                return r;
        }
        r = digest_hex(init, n, init_digest, sizeof(init_digest));
        if (r < 0)
                return r;
        text = strprintf(FORMAT "%s\n%s\n%s\n%s", spec->kernel_version, modules, init_digest, module_set_wanted());
        return text ? digest_hex(text, strlen(text), ret, INITRD_KEY_MAX) : -ENOMEM;
}

/* The archive. */

static int add_entry(struct archive *a, const char *path, mode_t mode, const void *p, size_t n) {
        struct archive_entry *e;
        int r = 0;

        e = archive_entry_new();
        if (!e)
                return -ENOMEM;
        archive_entry_set_pathname(e, path);
        archive_entry_set_mode(e, mode);
        archive_entry_set_size(e, (la_int64_t) n);
        /* No time, no number that differs from run to run: the same input gives the same bytes. */
        archive_entry_set_mtime(e, 0, 0);
        if (archive_write_header(a, e) != ARCHIVE_OK ||
                        (n > 0 && archive_write_data(a, p, n) != (la_ssize_t) n))
                r = -EIO;
        archive_entry_free(e);
        return r;
}

/* Reads a module through whatever compression it has. */
static int read_module(const char *path, char **ret, size_t *ret_size) {
        _cleanup_free_ char *buf = NULL;
        size_t n = 0, allocated = 0;
        struct archive_entry *e;
        la_ssize_t k = -1;
        struct archive *a;

        a = archive_read_new();
        if (!a)
                return -ENOMEM;
        archive_read_support_filter_all(a);
        archive_read_support_format_raw(a);
        if (archive_read_open_filename(a, path, 65536) == ARCHIVE_OK &&
                        archive_read_next_header(a, &e) == ARCHIVE_OK)
                do {
                        if (n > MODULE_MAX || !GREEDY_REALLOC(buf, allocated, n + 65536)) {
                                k = -1;
                                break;
                        }
                        k = archive_read_data(a, buf + n, allocated - n);
                        n += k > 0 ? (size_t) k : 0;
                } while (k > 0);
        archive_read_free(a);
        if (k < 0)
                return -EIO;

        *ret = TAKE_PTR(buf);
        *ret_size = n;
        return 0;
}

static bool seen_before(const ModuleSet *set, size_t i) {
        for (size_t j = 0; j < i; j++)
                if (set->entries[j].module == set->entries[i].module)
                        return true;
        return false;
}

static int add_modules(struct archive *a, const InitrdSpec *spec, char **ret_why) {
        _cleanup_(module_set_done) ModuleSet set = {};
        _cleanup_free_ char *list = NULL;
        int r;

        r = module_set_load(spec->modules_dir, &set, ret_why);
        if (r < 0)
                return r;

        for (size_t i = 0; i < set.n_entries; i++) {
                const Module *m = set.entries[i].module;
                _cleanup_free_ char *from = NULL, *to = NULL, *data = NULL, *former = NULL;
                size_t n = 0;

                former = TAKE_PTR(list);
                list = strprintf("%s%s %s.ko\n", strempty(former), set.entries[i].group, m->name);
                from = strprintf("%s/%s", spec->modules_dir, m->path);
                to = strprintf("modules/%s.ko", m->name);
                if (!list || !from || !to)
                        return -ENOMEM;
                if (seen_before(&set, i))
                        continue;
                r = read_module(from, &data, &n);
                if (r >= 0)
                        r = add_entry(a, to, S_IFREG | 0444, data, n);
                if (r < 0) {
                        *ret_why = strprintf("Cannot copy the module %s", from);
                        return r;
                }
        }
        return add_entry(a, "modules/list", S_IFREG | 0444, strempty(list), strlen(strempty(list)));
}

static int add_all(struct archive *a, const InitrdSpec *spec, char **ret_why) {
        static const char *const directories[] = { "dev", "mnt", "modules", "proc", "run", "sys", "tmp" };
        _cleanup_free_ char *init = NULL;
        size_t n;
        int r;

        for (size_t i = 0; i < ELEMENTSOF(directories); i++) {
                r = add_entry(a, directories[i], S_IFDIR | 0755, NULL, 0);
                if (r < 0)
                        return r;
        }
        r = read_full_file(AT_FDCWD, spec->init_path, INIT_MAX, &init, &n);
        if (r < 0) {
                *ret_why = strprintf("Cannot read %s: %s", spec->init_path, strerror(-r));
                return r;
        }
        r = add_entry(a, "init", S_IFREG | 0755, init, n);
        return r < 0 ? r : add_modules(a, spec, ret_why);
}

int initrd_write(const InitrdSpec *spec, int fd, char **ret_why) {
        struct archive *a;
        int r;

        a = archive_write_new();
        if (!a)
                return -ENOMEM;
        /* Not compressed: a megabyte and a half is loaded as fast as an emulated CPU unpacks lz4, and a tenth of a
         * second faster than it unpacks gzip; and nothing has to be in the kernel for it. */
        if (archive_write_set_format_cpio_newc(a) != ARCHIVE_OK || archive_write_add_filter_none(a) != ARCHIVE_OK ||
                        archive_write_open_fd(a, fd) != ARCHIVE_OK)
                r = -EIO;
        else {
                r = add_all(a, spec, ret_why);
                if (archive_write_close(a) != ARCHIVE_OK && r >= 0)
                        r = -EIO;
        }
        if (r < 0 && !*ret_why)
                *ret_why = strprintf("Cannot write the initrd: %s", archive_error_string(a) ?: strerror(-r));
        archive_write_free(a);
        return r;
}
