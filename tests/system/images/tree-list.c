/* SPDX-License-Identifier: Apache-2.0 */

/* tree-list DIRECTORY [EVERY]: what lstat(), readlink(), the extended attributes and the bytes say, a line for each entry below. Static;
 * runs in guests and on hosts alike, so that both can be compared. Does not go where something else is mounted. Of EVERY files one is
 * read; the checksum of the others is "~".
 *
 *   PATH MODE UID GID LINKS SIZE MTIME DEVICE CHECKSUM FIRST-PATH-OF-THE-INODE "-> TARGET" XATTR=HEX… */

#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#define XATTRS_MAX 64

typedef struct Link {
        struct Link *next;
        dev_t dev;
        ino_t ino;
        char *path;
} Link;

static Link *links[4096];
static char path[65536];
static size_t root_length;
static dev_t root_dev;
static int failed;
static unsigned long every = 1, n_files;

static void put(const char *s) {
        for (; *s; s++)
                if (*s > ' ' && *s < 0x7f && *s != '\\')
                        putchar(*s);
                else
                        printf("\\%03o", (unsigned char) *s);
}

static void complain(const char *what) {
        fprintf(stderr, "tree-list: %s: %s: %m\n", path, what);
        failed = 1;
}

static const char *first_path(const struct stat *st) {
        Link **head = links + (st->st_ino * 31 + st->st_dev) % 4096, *l;

        for (l = *head; l; l = l->next)
                if (l->ino == st->st_ino && l->dev == st->st_dev)
                        return l->path;
        l = malloc(sizeof(*l));
        *l = (Link) { *head, st->st_dev, st->st_ino, strdup(path + root_length) };
        *head = l;
        return l->path;
}

static uint64_t checksum(void) {
        static uint64_t buffer[32768];
        uint64_t h = UINT64_C(0x9e3779b97f4a7c15);
        ssize_t n;
        int fd;

        fd = open(path, O_RDONLY | O_NOFOLLOW);
        if (fd < 0) {
                complain("open");
                return 0;
        }
        while ((n = read(fd, buffer, sizeof(buffer))) > 0) {
                if (n % 8)
                        memset((char *) buffer + n, 0, 8 - n % 8);
                for (ssize_t i = 0; i < (n + 7) / 8; i++) {
                        h = (h ^ buffer[i]) * UINT64_C(0xff51afd7ed558ccd);
                        h ^= h >> 29;
                }
        }
        if (n < 0)
                complain("read");
        close(fd);
        return h;
}

static int by_name(const void *a, const void *b) {
        return strcmp(*(char *const *) a, *(char *const *) b);
}

static void put_xattrs(void) {
        static char names[65536], value[65536];
        char *sorted[XATTRS_MAX];
        ssize_t n, l;
        int k = 0;

        /* Asked for the size first: the kernel clears as much memory as it is offered, which without KVM takes longer than all else. */
        n = llistxattr(path, NULL, 0);
        if (n > 0)
                n = llistxattr(path, names, sizeof(names));
        for (char *p = names; n > 0 && p < names + n && k < XATTRS_MAX; p += strlen(p) + 1)
                if (strncmp(p, "trusted.overlay.", 16) != 0) /* overlayfs' own */
                        sorted[k++] = p;
        qsort(sorted, k, sizeof(*sorted), by_name);
        for (int i = 0; i < k; i++) {
                l = lgetxattr(path, sorted[i], value, sizeof(value));
                putchar(' ');
                put(sorted[i]);
                putchar('=');
                for (ssize_t j = 0; j < l; j++)
                        printf("%02x", (unsigned char) value[j]);
        }
}

static void put_entry(const struct stat *st) {
        char target[4096];
        ssize_t n;

        put(path[root_length] ? path + root_length : "/");
        printf(" %06o %u %u %u %lld %lld ", st->st_mode, st->st_uid, st->st_gid, S_ISDIR(st->st_mode) ? 0 : (unsigned) st->st_nlink,
               S_ISREG(st->st_mode) ? (long long) st->st_size : 0LL, (long long) st->st_mtime);
        if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode))
                printf("%u:%u", major(st->st_rdev), minor(st->st_rdev));
        else
                putchar('-');
        if (!S_ISREG(st->st_mode))
                printf(" - ");
        else if (n_files++ % every)
                printf(" ~ ");
        else
                printf(" %016llx ", (unsigned long long) checksum());
        put(!S_ISDIR(st->st_mode) && st->st_nlink > 1 ? first_path(st) : "-");
        if (S_ISLNK(st->st_mode) && (n = readlink(path, target, sizeof(target) - 1)) >= 0) {
                target[n] = 0;
                printf(" -> ");
                put(target);
        }
        put_xattrs();
        putchar('\n');
}

static void walk(void) {
        size_t length = strlen(path), n = 0, k = 0;
        struct dirent *e;
        char **names = NULL;
        struct stat st;
        DIR *d;

        if (lstat(path, &st) < 0) {
                complain("lstat");
                return;
        }
        if (S_ISDIR(st.st_mode) && st.st_dev != root_dev) {
                printf("mount ");
                put(path + root_length);
                putchar('\n');
                return;
        }
        put_entry(&st);
        if (!S_ISDIR(st.st_mode))
                return;
        d = opendir(path);
        if (!d) {
                complain("opendir");
                return;
        }
        while ((e = readdir(d))) {
                if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
                        continue;
                if (n == k)
                        names = realloc(names, (k = k * 2 + 16) * sizeof(*names));
                names[n++] = strdup(e->d_name);
        }
        closedir(d);
        qsort(names, n, sizeof(*names), by_name);
        for (size_t i = 0; i < n; i++) {
                snprintf(path + length, sizeof(path) - length, "%s%s", path[length - 1] == '/' ? "" : "/", names[i]);
                walk();
                path[length] = 0;
                free(names[i]);
        }
        free(names);
}

int main(int argc, char **argv) {
        struct stat st;

        if (argc > 2)
                every = strtoul(argv[2], NULL, 10);
        if (argc < 2 || every < 1 || lstat(argv[1], &st) < 0)
                return 2;
        strcpy(path, argv[1]);
        root_length = strcmp(argv[1], "/") == 0 ? 0 : strlen(argv[1]);
        root_dev = st.st_dev;
        walk();
        if (fflush(stdout) != 0)
                failed = 1;
        return failed;
}
