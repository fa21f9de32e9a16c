/* SPDX-License-Identifier: Apache-2.0 */

#include "guest-init/identity.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"

static void write_if_empty(const char *path, const char *text) {
        _cleanup_close_ int fd = -EBADF;
        struct stat st;

        if (!text || (stat(path, &st) >= 0 && (st.st_size > 0 || !S_ISREG(st.st_mode))))
                return;
        fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY, 0644);
        if (fd >= 0)
                (void) write_all(fd, text, strlen(text));
}

void identity_machine_id(void) {
        _cleanup_free_ char *old = NULL, *uuid = NULL;
        char id[34] = {};
        size_t n = 0;
        _cleanup_close_ int fd = -EBADF;

        if (read_full_file(AT_FDCWD, "/etc/machine-id", 256, &old, NULL) >= 0 && strspn(old, "0123456789abcdef") == 32)
                return;
        if (read_full_file(AT_FDCWD, "/proc/sys/kernel/random/uuid", 256, &uuid, NULL) < 0)
                return;
        for (const char *p = uuid; *p && n < 32; p++)
                if (strchr("0123456789abcdef", *p))
                        id[n++] = *p;
        id[n] = '\n';
        fd = open("/etc/machine-id", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0444);
        if (fd >= 0)
                (void) write_all(fd, id, n + 1);
}

void identity_apply(const char *hostname) {
        _cleanup_free_ char *name_line = NULL, *hosts = NULL;

        (void) mkdir("/etc", 0755);
        hosts = strprintf("127.0.0.1 localhost\n"
                          "::1 localhost ip6-localhost ip6-loopback\n"
                          "%s%s%s", hostname ? "127.0.1.1 " : "", strempty(hostname), hostname ? "\n" : "");
        write_if_empty("/etc/hosts", hosts);
        write_if_empty("/etc/resolv.conf", "# No name server is configured.\n");

        if (!hostname)
                return;
        (void) sethostname(hostname, strlen(hostname));
        name_line = strprintf("%s\n", hostname);
        write_if_empty("/etc/hostname", name_line);
}
