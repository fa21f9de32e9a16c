/* SPDX-License-Identifier: Apache-2.0 */

#include "network/forwarding.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "network/link.h"
#include "shared/log.h"

#define IPV6_LINKS "/proc/sys/net/ipv6/conf"

static int read_setting(const char *family, const char *link, const char *setting, int *ret) {
        _cleanup_free_ char *path = strprintf("/proc/sys/net/%s/conf/%s/%s", family, link, setting), *value = NULL;
        int r;

        r = path ? read_full_file(AT_FDCWD, path, 64, &value, NULL) : -ENOMEM;
        if (r >= 0)
                *ret = atoi(value);
        return r;
}

static bool is_on(const char *family) {
        int v;

        return read_setting(family, "all", "forwarding", &v) >= 0 && v > 0;
}

/* "all" and "default" are no links; what "default" says holds for links that are yet to come. */
static int keep_advertisements(const char *link) {
        int accept, forwarding, r;

        if (streq(link, "all") || streq(link, "lo"))
                return 0;
        if (read_setting("ipv6", link, "accept_ra", &accept) < 0 || read_setting("ipv6", link, "forwarding", &forwarding) < 0 ||
            accept != 1 || forwarding != 0)
                return 0;
        r = link_set_sysctl(link, "ipv6", "accept_ra", 2);
        if (r >= 0 && !streq(link, "default"))
                log_notice("%s heeds routers' advertisements: set its accept_ra=2, so that it still does with IPv6 forwarding.",
                           link);
        return r;
}

static int keep_all_advertisements(void) {
        _cleanup_closedir_ DIR *d = NULL;
        int r;

        r = open_directory_stream(AT_FDCWD, IPV6_LINKS, &d);
        if (r < 0)
                return r;
        for (struct dirent *de; r >= 0 && (de = readdir(d));)
                if (de->d_name[0] != '.')
                        r = keep_advertisements(de->d_name);
        return r;
}

static int enable(const char *family, const char *name) {
        int r;

        if (is_on(family))
                return 0;
        r = streq(family, "ipv6") ? keep_all_advertisements() : 0;
        if (r >= 0)
                r = link_set_sysctl("all", family, "forwarding", 1);
        if (r < 0)
                return log_warning_errno(r, "Cannot switch %s forwarding on (net.%s.conf.all.forwarding), VMs reach this host only: %m",
                                         name, family);
        log_notice("Switched %s forwarding on, which VMs need to get beyond this host (net.%s.conf.all.forwarding=1).", name, family);
        return 0;
}

int forwarding_enable(void) {
        int r, q;

        r = enable("ipv4", "IPv4");
        q = enable("ipv6", "IPv6");
        return r < 0 ? r : q;
}
