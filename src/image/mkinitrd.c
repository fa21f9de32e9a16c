/* SPDX-License-Identifier: Apache-2.0 */

/* hero-mkinitrd: makes what a guest boots from, or finds what was made before: the initrd, and with --kernel the
 * kernel in the form that boots fastest. Run by the daemon before a VM starts; with --cache-dir and nothing
 * changed it only hashes hero-init and prints paths. */

#include <dirent.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "image/initrd.h"
#include "image/vmlinux.h"

static InitrdSpec arg_spec = { .init_path = PKGLIBEXECDIR "/hero-init" };
static const char *arg_output, *arg_cache_dir, *arg_kernel;

static int help(void) {
        printf("hero-mkinitrd --kernel-version VERSION --modules-dir DIR [--init PATH] (--output FILE|--cache-dir DIR)\n"
               "\n"
               "Makes the initrd of guests: hero-init and the kernel modules they need.\n"
               "\n"
               "     --kernel-version VERSION  part of the name in the cache\n"
               "     --modules-dir DIR         .../lib/modules/VERSION\n"
               "     --init PATH               hero-init (" PKGLIBEXECDIR "/hero-init)\n"
               "     --output FILE             where to write it\n"
               "     --cache-dir DIR           makes it there unless it is there, and prints its path\n"
               "     --kernel VMLINUZ          with --cache-dir: also unpacks this kernel and prints, on a second line,\n"
               "                               the path of what to boot (VMLINUZ itself if it cannot be entered\n"
               "                               directly)\n"
               "  -h --help\n"
               "     --version\n");
        return 0;
}

static int parse_argv(int argc, char **argv) {
        enum { ARG_VERSION = 0x100, ARG_KERNEL_VERSION, ARG_MODULES_DIR, ARG_INIT, ARG_OUTPUT, ARG_CACHE_DIR, ARG_KERNEL };
        static const struct option options[] = {
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, ARG_VERSION },
                { "kernel-version", required_argument, NULL, ARG_KERNEL_VERSION },
                { "modules-dir", required_argument, NULL, ARG_MODULES_DIR },
                { "init", required_argument, NULL, ARG_INIT },
                { "output", required_argument, NULL, ARG_OUTPUT },
                { "cache-dir", required_argument, NULL, ARG_CACHE_DIR },
                { "kernel", required_argument, NULL, ARG_KERNEL },
                {},
        };
        int c;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0)
                switch (c) {
                case 'h':
                        return help();
                case ARG_VERSION:
                        printf("hero-mkinitrd %s\n", HERO_VERSION);
                        return 0;
                case ARG_KERNEL_VERSION:
                        arg_spec.kernel_version = optarg;
                        break;
                case ARG_MODULES_DIR:
                        arg_spec.modules_dir = optarg;
                        break;
                case ARG_INIT:
                        arg_spec.init_path = optarg;
                        break;
                case ARG_OUTPUT:
                        arg_output = optarg;
                        break;
                case ARG_CACHE_DIR:
                        arg_cache_dir = optarg;
                        break;
                case ARG_KERNEL:
                        arg_kernel = optarg;
                        break;
                default:
                        return -EINVAL;
                }

        if (optind < argc || !arg_spec.kernel_version || !arg_spec.modules_dir || !arg_output == !arg_cache_dir ||
                        (arg_kernel && !arg_cache_dir)) {
                fprintf(stderr, "hero-mkinitrd: --kernel-version, --modules-dir and one of --output and --cache-dir "
                                "are needed, see --help.\n");
                return -EINVAL;
        }
        if (strchr(arg_spec.kernel_version, '/') || arg_spec.kernel_version[0] == '.') {
                fprintf(stderr, "hero-mkinitrd: \"%s\" is no kernel version.\n", arg_spec.kernel_version);
                return -EINVAL;
        }
        return 1;
}

static int fail(int error, const char *what, const char *why) {
        fprintf(stderr, "hero-mkinitrd: %s: %s\n", what, why ?: strerror(-error));
        return error;
}

typedef int (*writer_t)(int fd, char **ret_why);

static int write_initrd(int fd, char **ret_why) {
        return initrd_write(&arg_spec, fd, ret_why);
}

static int write_kernel(int fd, char **ret_why) {
        return vmlinux_extract(arg_kernel, fd);
}

/* The complete file appears under its name or nothing does. */
static int make(int dir_fd, const char *name, writer_t writer, char **ret_why) {
        _cleanup_free_ char *temporary = NULL;
        _cleanup_close_ int fd = -EBADF;
        int r;

        /* Two at a time make two files, and the later one stays. */
        temporary = strprintf(".#%s.%d", name, (int) getpid());
        if (!temporary)
                return -ENOMEM;
        fd = openat(dir_fd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
        if (fd < 0)
                return negative_errno();

        r = writer(fd, ret_why);
        if (r >= 0 && (fsync(fd) < 0 || renameat(dir_fd, temporary, dir_fd, name) < 0 || fsync(dir_fd) < 0))
                r = negative_errno();
        if (r < 0)
                (void) unlinkat(dir_fd, temporary, 0);
        return r;
}

static int make_output(void) {
        _cleanup_free_ char *copy = NULL, *why = NULL;
        _cleanup_close_ int dir_fd = -EBADF;
        char *slash;
        int r;

        copy = strdup(arg_output);
        if (!copy)
                return fail(-ENOMEM, arg_output, NULL);
        slash = strrchr(copy, '/');
        if (slash)
                *slash = 0;
        dir_fd = open(slash ? (copy[0] ? copy : "/") : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir_fd < 0)
                return fail(negative_errno(), arg_output, NULL);
        r = make(dir_fd, slash ? slash + 1 : copy, write_initrd, &why);
        return r < 0 ? fail(r, arg_output, why) : 0;
}

/* What an older hero-init or another build of this kernel left. Guests that run from it have it open. */
static void remove_others(int dir_fd, const char *prefix, const char *name) {
        _cleanup_closedir_ DIR *d = NULL;

        if (open_directory_stream(dir_fd, ".", &d) < 0)
                return;
        for (struct dirent *de; (de = readdir(d));)
                if (startswith(de->d_name, prefix) && !streq(de->d_name, name))
                        (void) unlinkat(dir_fd, de->d_name, 0);
}

/* PREFIX-VERSION-KEY in the cache, made unless it is there. */
static int make_cached(int dir_fd, const char *kind, const char *key, writer_t writer, char **ret_name, char **ret_why) {
        _cleanup_free_ char *prefix = NULL, *name = NULL;
        int r;

        prefix = strprintf("%s-%s-", kind, arg_spec.kernel_version);
        name = prefix ? strprintf("%s%s", prefix, key) : NULL;
        if (!name)
                return -ENOMEM;
        if (faccessat(dir_fd, name, R_OK, 0) < 0) {
                r = make(dir_fd, name, writer, ret_why);
                if (r < 0)
                        return r;
                remove_others(dir_fd, prefix, name);
        }
        *ret_name = TAKE_PTR(name);
        return 0;
}

static int cache_kernel(int dir_fd) {
        _cleanup_free_ char *name = NULL, *why = NULL;
        char key[VMLINUX_KEY_MAX];
        int r;

        r = vmlinux_key(arg_kernel, key);
        if (r >= 0)
                r = make_cached(dir_fd, "vmlinux", key, write_kernel, &name, &why);
        /* It can always be booted as it is. */
        if (r == -EOPNOTSUPP || r == -ENOSPC) {
                printf("%s\n", arg_kernel);
                return 0;
        }
        if (r < 0)
                return fail(r, arg_kernel, why);
        printf("%s/%s\n", arg_cache_dir, name);
        return 0;
}

static int cache_all(void) {
        _cleanup_free_ char *name = NULL, *why = NULL;
        _cleanup_close_ int dir_fd = -EBADF;
        char key[INITRD_KEY_MAX];
        int r;

        dir_fd = open(arg_cache_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir_fd < 0)
                return fail(negative_errno(), arg_cache_dir, NULL);
        r = initrd_key(&arg_spec, key, &why);
        if (r >= 0)
                r = make_cached(dir_fd, "initrd", key, write_initrd, &name, &why);
        if (r < 0)
                return fail(r, arg_spec.kernel_version, why);
        printf("%s/%s\n", arg_cache_dir, name);

        r = arg_kernel ? cache_kernel(dir_fd) : 0;
        if (r < 0)
                return r;
        return fflush(stdout) < 0 ? fail(negative_errno(), "stdout", NULL) : 0;
}

int main(int argc, char **argv) {
        int r;

        r = parse_argv(argc, argv);
        if (r > 0)
                r = arg_output ? make_output() : cache_all();
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
