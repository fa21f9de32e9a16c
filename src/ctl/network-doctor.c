/* SPDX-License-Identifier: Apache-2.0 */

#include "ctl/network-doctor.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/parse-util.h"
#include "basic/string-util.h"

/* Entries of the neighbour tables: a VM has its address and its link-local one; the rest is for the host's own. */
#define NEIGHBOURS_PER_VM 2u
#define NEIGHBOURS_OF_HOST 256u
#define ROUTES_MAX (UINT64_C(4) << 20)
#define MODULES_MAX (UINT64_C(4) << 20)
#define CONNTRACK_FULL_PERCENT 80
#define RTF_ADDRCONF 0x40000u /* linux/ipv6_route.h: by a router's advertisement */

static int note(const NetworkDoctor *d, const char *check, const char *result, const char *format, ...) _printf_(4, 5);
static int note(const NetworkDoctor *d, const char *check, const char *result, const char *format, ...) {
        char sentence[512];
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(sentence, sizeof(sentence), format, ap);
        va_end(ap);
        return d->note(d->userdata, check, result, sentence);
}

/* Of proc/sys; -1: there is none, or it is no number. */
static int64_t setting(const NetworkDoctor *d, const char *format, ...) _printf_(2, 3);
static int64_t setting(const NetworkDoctor *d, const char *format, ...) {
        _cleanup_free_ char *text = NULL;
        char path[128] = "proc/sys/";
        uint64_t v;
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(path + strlen(path), sizeof(path) - strlen(path), format, ap);
        va_end(ap);
        if (read_full_file(d->root, path, 64, &text, NULL) < 0 || parse_uint64(strstrip(text), &v) < 0 || v > INT64_MAX)
                return -1;
        return (int64_t) v;
}

static int check_tun(const NetworkDoctor *d) {
        if (faccessat(d->root, "dev/net/tun", F_OK, 0) >= 0)
                return note(d, "tun", "ok", "/dev/net/tun is there.");
        return note(d, "tun", "error", "There is no /dev/net/tun, so VMs can have no network: 'modprobe tun'.");
}

static bool kernel_has_nf_tables(const NetworkDoctor *d) {
        _cleanup_close_ int fd = openat(d->root, "proc/kallsyms", O_RDONLY | O_CLOEXEC);
        _cleanup_free_ char *line = NULL;
        bool found = false;
        size_t n = 0;
        FILE *f;

        f = fd >= 0 ? fdopen(fd, "re") : NULL;
        if (!f)
                return false;
        TAKE_FD(fd);
        while (!found && getline(&line, &n, f) > 0)
                found = strstr(line, " nf_tables_");
        fclose(f);
        return found;
}

static bool nf_tables_can_be_loaded(const NetworkDoctor *d) {
        _cleanup_free_ char *release = NULL, *path = NULL, *modules = NULL;

        if (read_full_file(d->root, "proc/sys/kernel/osrelease", 128, &release, NULL) < 0)
                return false;
        path = strprintf("lib/modules/%s/modules.dep", strstrip(release));
        return path && read_full_file(d->root, path, MODULES_MAX, &modules, NULL) >= 0 && strstr(modules, "/nf_tables.ko");
}

static int check_nf_tables(const NetworkDoctor *d) {
        if (nf_tables_can_be_loaded(d) || kernel_has_nf_tables(d))
                return note(d, "nftables", "ok", "The kernel has nf_tables, which keeps VMs apart.");
        return note(d, "nftables", "warning",
                    "The kernel's nf_tables, which keeps VMs apart, cannot be found: 'modprobe nf_tables', or boot a kernel that "
                    "has it.");
}

static int check_forwarding(const NetworkDoctor *d) {
        bool ipv6 = setting(d, "net/ipv6/conf/all/forwarding") > 0, ipv4 = !d->ipv4 || setting(d, "net/ipv4/ip_forward") > 0;
        int r = 0;

        if (ipv6 && ipv4)
                return note(d, "forwarding", "ok", "The host forwards %s.", d->ipv4 ? "IPv6 and IPv4" : "IPv6");
        if (!ipv6)
                r = note(d, "forwarding", "warning",
                         "The host does not forward IPv6, so VMs reach nobody but the host: "
                         "'sysctl -w net.ipv6.conf.all.forwarding=1', after any finding about accept_ra, and in /etc/sysctl.d.");
        if (r >= 0 && !ipv4)
                r = note(d, "forwarding", "warning",
                         "The host does not forward IPv4, so VMs reach nobody but the host by it: "
                         "'sysctl -w net.ipv4.ip_forward=1', and in /etc/sysctl.d.");
        return r;
}

/* Whether one of the lines ends with the name and has a route that a router advertised. */
static bool has_advertised_route(const char *routes, const char *link) {
        char name[IFNAMSIZ];
        unsigned flags;

        for (const char *line = routes; *line; line += strcspn(line, "\n"), line += *line == '\n')
                if (sscanf(line, "%*s %*s %*s %*s %*s %*s %*s %*s %x %15s", &flags, name) == 2 && flags & RTF_ADDRCONF &&
                    streq(name, link))
                        return true;
        return false;
}

/* A real network card, or one whose routes come from a router. Bridges and ends of other people's containers have the kernel's
 * accept_ra=1, too, and hear no router. */
static bool is_uplink(const NetworkDoctor *d, const char *link, const char *routes) {
        char device[64];

        (void) snprintf(device, sizeof(device), "sys/class/net/%s/device", link);
        return faccessat(d->root, device, F_OK, 0) >= 0 || (routes && has_advertised_route(routes, link));
}

static int check_accept_ra_of(const NetworkDoctor *d, const char *link) {
        if (setting(d, "net/ipv6/conf/%s/forwarding", link) > 0)
                return note(d, "accept-ra", "warning",
                            "As forwarding is on, %s takes no router advertisements any more and may lose its IPv6 addresses and "
                            "routes: 'sysctl -w net.ipv6.conf.%s.accept_ra=2', and in /etc/sysctl.d.", link, link);
        return note(d, "accept-ra", "warning",
                    "%s takes router advertisements only until forwarding is switched on: before that, "
                    "'sysctl -w net.ipv6.conf.%s.accept_ra=2', and in /etc/sysctl.d.", link, link);
}

static int check_accept_ra(const NetworkDoctor *d) {
        _cleanup_free_ char *routes = NULL;
        _cleanup_closedir_ DIR *links = NULL;
        int r = 0;

        if (open_directory_stream(d->root, "proc/sys/net/ipv6/conf", &links) < 0)
                return note(d, "accept-ra", "error", "The kernel has no IPv6, which VMs have addresses of: boot without "
                                                     "ipv6.disable=1.");
        (void) read_full_file(d->root, "proc/net/ipv6_route", ROUTES_MAX, &routes, NULL);
        for (struct dirent *e; r >= 0 && (e = readdir(links));)
                if (e->d_name[0] != '.' && strlen(e->d_name) < IFNAMSIZ &&
                    setting(d, "net/ipv6/conf/%s/accept_ra", e->d_name) == 1 && is_uplink(d, e->d_name, routes))
                        r = check_accept_ra_of(d, e->d_name);
        return r;
}

/* The kernel takes the greater one of "all" and the link's, and a link that is made has the default. */
static int check_rp_filter(const NetworkDoctor *d) {
        int64_t all = setting(d, "net/ipv4/conf/all/rp_filter"), links = setting(d, "net/ipv4/conf/default/rp_filter");

        if (!d->ipv4 || MAX2(all, links) != 1)
                return 0;
        return note(d, "rp-filter", "warning",
                    "IPv4 packets of a VM that wakes are dropped while its route still leads to hero-wake, as rp_filter is strict: "
                    "'sysctl -w net.ipv4.conf.all.rp_filter=2', and in /etc/sysctl.d.");
}

static int check_neighbours(const NetworkDoctor *d) {
        uint64_t needed = d->vms * NEIGHBOURS_PER_VM + NEIGHBOURS_OF_HOST;
        int r = 0;

        for (int family = 4; r >= 0 && family <= 6; family += 2) {
                int64_t limit = setting(d, "net/ipv%d/neigh/default/gc_thresh3", family);

                if (limit >= 0 && (uint64_t) limit < needed && (family == 6 || d->ipv4))
                        r = note(d, "neighbours", "warning",
                                 "%" PRIi64 " neighbours of IPv%d are few for %" PRIu64 " VMs; more than that cannot be reached: "
                                 "'sysctl -w net.ipv%d.neigh.default.gc_thresh3=%" PRIu64 "', and in /etc/sysctl.d.",
                                 limit, family, d->vms, family, needed * 2);
        }
        return r;
}

static int check_conntrack(const NetworkDoctor *d) {
        /* ints of the kernel */
        int64_t count = setting(d, "net/netfilter/nf_conntrack_count"), max = setting(d, "net/netfilter/nf_conntrack_max");

        if (count < 0 || max <= 0 || count * 100 < max * CONNTRACK_FULL_PERCENT)
                return 0;
        return note(d, "conntrack", "warning",
                    "The host tracks %" PRIi64 " of at most %" PRIi64 " connections, and drops new ones beyond that: "
                    "'sysctl -w net.netfilter.nf_conntrack_max=%" PRIi64 "', and in /etc/sysctl.d.", count, max, max * 2);
}

int network_doctor(const NetworkDoctor *d) {
        static int (*const checks[])(const NetworkDoctor *d) = {
                check_tun, check_nf_tables, check_accept_ra, check_forwarding, check_rp_filter, check_neighbours, check_conntrack,
        };
        int r = 0;

        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(checks); i++)
                r = checks[i](d);
        return r;
}
