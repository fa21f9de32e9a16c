/* SPDX-License-Identifier: Apache-2.0 */

#include "guest-init/modules.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"

#define LIST_PATH "/modules/list"
#define LIST_MAX ((size_t) 64 * 1024)
#define VIRTIO_TYPES 64u
#define VIRTIO_CONSOLE 3

static int load(const char *file) {
        _cleanup_free_ char *path = NULL;
        _cleanup_close_ int fd = -EBADF;

        path = strprintf("/modules/%s", file);
        if (!path)
                return -ENOMEM;

        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                /* Shared by two groups, and gone since the first. */
                return errno == ENOENT ? 0 : negative_errno();
        if (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST)
                return negative_errno();

        /* The initramfs is memory. */
        (void) unlink(path);
        return 0;
}

int modules_load_group(const char *group, char **ret_file) {
        _cleanup_free_ char *list = NULL;
        char *p, *line;
        int r;

        r = read_full_file(AT_FDCWD, LIST_PATH, LIST_MAX, &list, NULL);
        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return r;

        p = list;
        while ((line = strsep(&p, "\n"))) {
                char *name = strsep(&line, " ");

                if (!streq(name, group) || isempty(line))
                        continue;
                r = load(line);
                if (r < 0) {
                        if (ret_file)
                                *ret_file = strdup(line);
                        return r;
                }
        }
        return 0;
}

static bool directory_has_entries(const char *path) {
        struct dirent *de;
        bool found = false;
        DIR *d;

        d = opendir(path);
        if (!d)
                return false;
        while (!found && (de = readdir(d)))
                found = de->d_name[0] != '.';
        closedir(d);
        return found;
}

/* Which types of virtio devices there are, as a bit mask. */
static uint64_t virtio_types(void) {
        struct dirent *de;
        uint64_t types = 0;
        DIR *d;

        d = opendir("/sys/bus/virtio/devices");
        if (!d)
                return 0;
        while ((de = readdir(d))) {
                _cleanup_free_ char *path = NULL, *text = NULL;
                unsigned long type;

                if (de->d_name[0] == '.')
                        continue;
                path = strprintf("%s/device", de->d_name);
                if (!path || read_full_file(dirfd(d), path, 64, &text, NULL) < 0)
                        continue;
                type = strtoul(text, NULL, 16);
                if (type < VIRTIO_TYPES)
                        types |= UINT64_C(1) << type;
        }
        closedir(d);
        return types;
}

static void load_and_note(const char *group, int *r) {
        int k;

        k = modules_load_group(group, NULL);
        if (k < 0 && *r >= 0)
                *r = k;
}

int modules_load_port(void) {
        int r = 0;

        load_and_note("base", &r);
        if (directory_has_entries("/sys/bus/pci/devices"))
                load_and_note("pci", &r);
        load_and_note("virtio-" STRINGIFY(VIRTIO_CONSOLE), &r);
        return r;
}

int modules_load_devices(void) {
        uint64_t types = virtio_types();
        int r = 0;

        for (unsigned i = 0; i < VIRTIO_TYPES; i++) {
                char group[sizeof("virtio-64")];

                if (i == VIRTIO_CONSOLE || !(types & UINT64_C(1) << i))
                        continue;
                snprintf(group, sizeof(group), "virtio-%u", i);
                load_and_note(group, &r);
        }

        /* The root's own type is known only when its disk is looked at, but it is hardly ever another. */
        load_and_note("squashfs", &r);
        load_and_note("overlay", &r);
        return r;
}
