/* SPDX-License-Identifier: Apache-2.0 */

/* Runs in a guest: one line for each path given, what lstat(), readlink() and the extended attributes say. */

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

int main(int argc, char **argv) {
        for (int i = 1; i < argc; i++) {
                char names[4096], value[4096], link[4096];
                struct stat st;
                ssize_t n;

                if (lstat(argv[i], &st) < 0) {
                        printf("%s missing\n", argv[i]);
                        continue;
                }
                printf("%s %o %u %u %u %lld", argv[i], st.st_mode, st.st_uid, st.st_gid,
                       S_ISDIR(st.st_mode) ? 0 : (unsigned) st.st_nlink, S_ISREG(st.st_mode) ? (long long) st.st_size : 0);
                if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode))
                        printf(" dev=%u:%u", major(st.st_rdev), minor(st.st_rdev));
                if (S_ISLNK(st.st_mode) && (n = readlink(argv[i], link, sizeof(link) - 1)) >= 0)
                        printf(" -> %.*s", (int) n, link);
                n = llistxattr(argv[i], names, sizeof(names));
                for (char *p = names; n > 0 && p < names + n; p += strlen(p) + 1) {
                        ssize_t l = lgetxattr(argv[i], p, value, sizeof(value));

                        if (strncmp(p, "trusted.overlay", 15) == 0)
                                continue; /* overlayfs' own */
                        printf(" %s=", p);
                        for (ssize_t k = 0; k < l; k++)
                                printf("%02x", (unsigned char) value[k]);
                }
                putchar('\n');
        }
        return 0;
}
