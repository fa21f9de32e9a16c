/* SPDX-License-Identifier: Apache-2.0 */

#include "image/kernel.h"

#include <ctype.h>
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"

#define PREFIX "vmlinuz-"

const char *const kernel_default_roots[] = { "/", STATEDIR "/kernel", NULL };

void kernel_done(Kernel *k) {
        free(k->path);
        free(k->version);
        free(k->modules_dir);
        *k = (Kernel) {};
}

/* A tilde sorts before everything, the end of the string included. */
static int order(char c) {
        if (c == '~')
                return -1;
        return isalnum((unsigned char) c) || c == 0 ? (unsigned char) c : (unsigned char) c + 256;
}

int kernel_version_compare(const char *a, const char *b) {
        while (*a || *b) {
                size_t na, nb;
                int d;

                if (isdigit((unsigned char) *a) && isdigit((unsigned char) *b)) {
                        a += strspn(a, "0");
                        b += strspn(b, "0");
                        na = strspn(a, "0123456789");
                        nb = strspn(b, "0123456789");
                        d = na != nb ? (na < nb ? -1 : 1) : strncmp(a, b, na);
                        if (d != 0)
                                return d;
                        a += na;
                        b += nb;
                        continue;
                }
                d = order(*a) - order(*b);
                if (d != 0)
                        return d;
                a++;
                b++;
        }
        return 0;
}

static bool is_directory(const char *path) {
        struct stat st;

        return stat(path, &st) >= 0 && S_ISDIR(st.st_mode);
}

/* root without its last slash, so that "/" gives "/boot". */
static int root_length(const char *root) {
        size_t n = strlen(root);

        while (n > 0 && root[n - 1] == '/')
                n--;
        return (int) n;
}

/* 1 found, 0 not, -ENOMEM. */
static int find_modules(const char *root, const char *version, char **ret) {
        static const char *const places[] = { "lib/modules", "usr/lib/modules" };

        for (size_t i = 0; i < ELEMENTSOF(places); i++) {
                _cleanup_free_ char *path = NULL;

                path = strprintf("%.*s/%s/%s", root_length(root), root, places[i], version);
                if (!path)
                        return -ENOMEM;
                if (is_directory(path)) {
                        *ret = TAKE_PTR(path);
                        return 1;
                }
        }
        return 0;
}

static int find_configured(const char *configured, const char *modules, const char *const roots[], Kernel *k, char **ret_why) {
        const char *base = strrchr(configured, '/'), *version = base ? startswith(base + 1, PREFIX) : NULL;
        _cleanup_free_ char *root = NULL;
        int r;

        if (configured[0] != '/' || isempty(version)) {
                *ret_why = strprintf("The configured kernel %s is not an absolute path of a file named "
                                     "vmlinuz-VERSION", configured);
                return -ENOPKG;
        }
        if (access(configured, R_OK) < 0) {
                *ret_why = strprintf("The configured kernel %s cannot be read: %m", configured);
                return -ENOPKG;
        }
        k->path = strdup(configured);
        k->version = strdup(version);
        /* TREE/boot/vmlinuz-VERSION */
        root = strndup(configured, (size_t) (base - configured));
        if (!k->path || !k->version || !root)
                return -ENOMEM;
        if (modules)
                return 0; /* kernel_find() takes those */
        if (strrchr(root, '/'))
                *strrchr(root, '/') = 0;

        r = find_modules(root, version, &k->modules_dir);
        for (size_t i = 0; r == 0 && roots[i]; i++)
                r = find_modules(roots[i], version, &k->modules_dir);
        if (r == 0) {
                *ret_why = strprintf("There are no modules for the configured kernel %s: no directory "
                                     "lib/modules/%s", configured, version);
                return -ENOPKG;
        }
        return r < 0 ? r : 0;
}

static bool is_better(const char *version, const Kernel *than) {
        bool a, b;

        if (!than->version)
                return true;
        a = strstr(version, "-cloud-") != NULL;
        b = strstr(than->version, "-cloud-") != NULL;
        return a != b ? a : kernel_version_compare(version, than->version) > 0;
}

static int consider(const char *root, const char *name, Kernel *best, char **without_modules) {
        const char *version = startswith(name, PREFIX);
        _cleanup_(kernel_done) Kernel k = {};
        int r;

        if (isempty(version) || !is_better(version, best))
                return 0;
        k.path = strprintf("%.*s/boot/%s", root_length(root), root, name);
        k.version = strdup(version);
        if (!k.path || !k.version)
                return -ENOMEM;
        /* Kernels are readable by root alone on some hosts; whoever we are must be able to. */
        if (access(k.path, R_OK) < 0)
                return 0;
        r = find_modules(root, version, &k.modules_dir);
        if (r < 0)
                return r;
        if (r == 0)
                return free_and_strdup(without_modules, k.path);

        kernel_done(best);
        *best = k;
        k = (Kernel) {};
        return 0;
}

static int search_root(const char *root, Kernel *best, char **without_modules) {
        _cleanup_free_ char *boot = NULL;
        struct dirent *de;
        int r = 0;
        DIR *d;

        boot = strprintf("%.*s/boot", root_length(root), root);
        if (!boot)
                return -ENOMEM;
        d = opendir(boot);
        if (!d)
                return 0; /* a root without kernels */
        while (r >= 0 && (de = readdir(d)))
                r = consider(root, de->d_name, best, without_modules);
        closedir(d);
        return r;
}

int kernel_find(const char *configured, const char *modules, const char *const roots[], Kernel *ret, char **ret_why) {
        _cleanup_free_ char *without_modules = NULL;
        _cleanup_(kernel_done) Kernel best = {};
        int r = 0;

        if (configured)
                r = find_configured(configured, modules, roots, &best, ret_why);
        else
                for (size_t i = 0; r >= 0 && roots[i]; i++)
                        r = search_root(roots[i], &best, &without_modules);
        if (r < 0)
                return r;
        if (!best.version) {
                *ret_why = without_modules ?
                                strprintf("The kernel %s has no modules beside it; install the whole package "
                                          "linux-image-cloud-amd64, or set Kernel= in compute.conf", without_modules) :
                                strdup("There is no kernel for guests: install linux-image-cloud-amd64 (any place "
                                       "with boot/vmlinuz-VERSION and lib/modules/VERSION will do), or set Kernel= "
                                       "in compute.conf");
                return -ENOPKG;
        }

        if (modules) {
                if (!is_directory(modules)) {
                        *ret_why = strprintf("The configured directory of kernel modules %s is not there", modules);
                        return -ENOPKG;
                }
                r = free_and_strdup(&best.modules_dir, modules);
                if (r < 0)
                        return r;
        }
        *ret = best;
        best = (Kernel) {};
        return 0;
}
