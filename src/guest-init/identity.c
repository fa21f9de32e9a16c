/* SPDX-License-Identifier: Apache-2.0 */

#include "guest-init/identity.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "guest-init/network.h"

#define OURS "# Written by hero-init at every boot.\n"
#define TEMPORARY ".#hero-init"
#define FILE_MAX ((size_t) 1 << 20)

/* Neither out of the root nor into /proc, /dev or another of its mounts. */
static int open_in_root(int root_fd, const char *path, int flags) {
        struct open_how how = {
                .flags = (uint64_t) (flags | O_CLOEXEC),
                .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS,
        };
        long fd = syscall(SYS_openat2, root_fd, path, &how, sizeof(how));

        return fd < 0 ? negative_errno() : (int) fd;
}

static int open_etc(int root_fd) {
        int fd;

        fd = open_in_root(root_fd, "etc", O_RDONLY | O_DIRECTORY);
        if (fd != -ENOENT)
                return fd;
        if (mkdirat(root_fd, "etc", 0755) < 0)
                return negative_errno();
        return open_in_root(root_fd, "etc", O_RDONLY | O_DIRECTORY);
}

/* Whether there is something in a file of /etc that was not written by us: somebody means it. */
static bool is_theirs(int root_fd, const char *path) {
        _cleanup_close_ int fd = -EBADF, path_fd = -EBADF;
        _cleanup_free_ char *text = NULL;
        struct stat st;

        /* A device is not opened to find out that it is one. */
        path_fd = open_in_root(root_fd, path, O_PATH);
        if (path_fd < 0 || fstat(path_fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size == 0)
                return false;
        fd = open_in_root(root_fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
        return fd < 0 || read_full_fd(fd, FILE_MAX, &text, NULL) < 0 || !startswith(text, OURS);
}

/* At once or not at all; a power failure may lose it, and the next boot writes it again. */
static int replace(int etc_fd, const char *name, const char *text, mode_t mode) {
        _cleanup_close_ int fd = -EBADF;
        int r;

        (void) unlinkat(etc_fd, TEMPORARY, 0);
        fd = openat(etc_fd, TEMPORARY, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
        if (fd < 0)
                return negative_errno();
        r = write_all(fd, text, strlen(text));
        if (r >= 0 && renameat(etc_fd, TEMPORARY, etc_fd, name) < 0)
                r = negative_errno();
        if (r < 0)
                (void) unlinkat(etc_fd, TEMPORARY, 0);
        return r;
}

void identity_machine_id(void) {
        _cleanup_free_ char *old = NULL, *uuid = NULL;
        _cleanup_close_ int root_fd = -EBADF, etc_fd = -EBADF;
        char id[34] = {};
        size_t n = 0;

        if (read_full_file(AT_FDCWD, "/etc/machine-id", 256, &old, NULL) >= 0 && strspn(old, "0123456789abcdef") == 32)
                return;
        if (read_full_file(AT_FDCWD, "/proc/sys/kernel/random/uuid", 256, &uuid, NULL) < 0)
                return;
        for (const char *p = uuid; *p && n < 32; p++)
                if (strchr("0123456789abcdef", *p))
                        id[n++] = *p;
        id[n] = '\n';
        root_fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        etc_fd = root_fd < 0 ? -EBADF : open_etc(root_fd);
        if (etc_fd >= 0)
                (void) replace(etc_fd, "machine-id", id, 0444);
}

static char *join_lines(const char *text, char *const *lines) {
        char *all = strdup(text);

        STRV_FOREACH(i, lines) {
                char *longer = all ? strprintf("%s%s\n", all, *i) : NULL;

                free(all);
                all = longer;
        }
        return all;
}

static char *hosts_text(const char *hostname, const NetworkConfig *network) {
        _cleanup_free_ char *own = NULL;

        own = strprintf(OURS "127.0.0.1 localhost\n"
                        "::1 localhost ip6-localhost ip6-loopback\n"
                        "%s%s%s", hostname ? "127.0.1.1 " : "", strempty(hostname), hostname ? "\n" : "");
        return own ? join_lines(own, network->hosts) : NULL;
}

static char *resolv_conf_text(const NetworkConfig *network) {
        char *text = strdup(network->n_dns_servers > 0 ? OURS : OURS "# No name server is configured.\n");

        for (size_t i = 0; i < network->n_dns_servers; i++) {
                const GpAddress *a = &network->dns_servers[i];
                bool link_local = a->family == AF_INET6 && a->bytes[0] == 0xfe && (a->bytes[1] & 0xc0) == 0x80;
                char buf[INET6_ADDRSTRLEN] = "", *longer;

                (void) inet_ntop(a->family, a->bytes, buf, sizeof(buf));
                longer = text ? strprintf("%snameserver %s%s\n", text, buf, link_local ? "%" NETWORK_DEVICE : "") : NULL;
                free(text);
                text = longer;
        }
        return text;
}

int identity_write_files(int root_fd, const char *hostname, const NetworkConfig *network, const char **ret_file) {
        _cleanup_free_ char *name = hostname ? strprintf("%s\n", hostname) : NULL, *hosts = hosts_text(hostname, network),
                            *resolv_conf = resolv_conf_text(network);
        const struct {
                const char *path, *text;
                bool always;
        } files[] = {
                { "etc/hostname", name, false },
                { "etc/hosts", hosts, false },
                { "etc/resolv.conf", resolv_conf, network->n_dns_servers > 0 },
        };
        _cleanup_close_ int etc_fd = -EBADF;
        int r = 0;

        *ret_file = "etc";
        etc_fd = open_etc(root_fd);
        if (etc_fd < 0)
                return etc_fd;
        if (!hosts || !resolv_conf || (hostname && !name))
                return -ENOMEM;
        for (size_t i = 0; i < ELEMENTSOF(files); i++) {
                int k;

                if (!files[i].text || (!files[i].always && is_theirs(root_fd, files[i].path)))
                        continue;
                k = replace(etc_fd, files[i].path + strlen("etc/"), files[i].text, 0644);
                if (k < 0 && r >= 0) {
                        *ret_file = files[i].path;
                        r = k;
                }
        }
        return r;
}
