/* SPDX-License-Identifier: Apache-2.0 */

/* What heroctl doctor says about the settings of a host that is made up of files. */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "ctl/network-doctor.h"

typedef struct Host {
        char directory[64];
        int root;
        char *findings; /* a line each */
} Host;

static void put(Host *h, const char *path, const char *text) {
        char copy[256];
        int fd;

        (void) snprintf(copy, sizeof(copy), "%s", path);
        for (char *slash = strchr(copy, '/'); slash; slash = strchr(slash + 1, '/')) {
                *slash = 0;
                (void) mkdirat(h->root, copy, 0755);
                *slash = '/';
        }
        fd = openat(h->root, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        assert_true(fd >= 0);
        assert_int_equal(write_all(fd, text, strlen(text)), 0);
        close(fd);
}

/* As it should be. */
static int host_new(void **state) {
        static const char *const files[][2] = {
                { "dev/net/tun", "" },
                { "proc/kallsyms", "0 t nf_log\n0 T nf_tables_newtable\n" },
                { "proc/sys/net/ipv6/conf/all/forwarding", "1\n" },
                { "proc/sys/net/ipv6/conf/all/accept_ra", "1\n" },
                { "proc/sys/net/ipv6/conf/default/accept_ra", "1\n" },
                { "proc/sys/net/ipv6/conf/eth0/accept_ra", "2\n" },
                { "proc/sys/net/ipv6/conf/eth0/forwarding", "1\n" },
                { "proc/sys/net/ipv6/conf/docker0/accept_ra", "1\n" },
                { "proc/sys/net/ipv6/conf/docker0/forwarding", "1\n" },
                { "sys/class/net/eth0/device", "" },
                { "proc/sys/net/ipv4/ip_forward", "1\n" },
                { "proc/sys/net/ipv4/conf/all/rp_filter", "0\n" },
                { "proc/sys/net/ipv4/conf/default/rp_filter", "2\n" },
                { "proc/sys/net/ipv6/neigh/default/gc_thresh3", "1024\n" },
                { "proc/sys/net/ipv4/neigh/default/gc_thresh3", "1024\n" },
                { "proc/sys/net/netfilter/nf_conntrack_count", "10\n" },
                { "proc/sys/net/netfilter/nf_conntrack_max", "262144\n" },
        };
        Host *h = new0(Host, 1);

        assert_non_null(h);
        (void) strcpy(h->directory, "/tmp/network-doctor.XXXXXX");
        assert_non_null(mkdtemp(h->directory));
        h->root = open(h->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(h->root >= 0);
        for (size_t i = 0; i < ELEMENTSOF(files); i++)
                put(h, files[i][0], files[i][1]);
        *state = h;
        return 0;
}

static int host_free(void **state) {
        Host *h = *state;

        close(h->root);
        assert_int_equal(remove_tree_at(AT_FDCWD, h->directory), 0);
        free(h->findings);
        free(h);
        return 0;
}

static int on_finding(void *userdata, const char *check, const char *result, const char *sentence) {
        Host *h = userdata;
        char *all = strprintf("%s%s %s: %s\n", strempty(h->findings), check, result, sentence);

        free(h->findings);
        h->findings = all;
        return all ? 0 : -ENOMEM;
}

static const char *look(Host *h, uint64_t vms, bool ipv4) {
        h->findings = mfree(h->findings);
        assert_int_equal(network_doctor(&(NetworkDoctor) { h->root, vms, ipv4, on_finding, h }), 0);
        return h->findings;
}

static void expect(Host *h, const char *text) {
        if (!strstr(look(h, 10, true), text))
                fail_msg("'%s' is not in:\n%s", text, h->findings);
}

static void a_host_as_it_should_be_has_no_findings(void **state) {
        assert_string_equal(look(*state, 100, true),
                            "tun ok: /dev/net/tun is there.\n"
                            "nftables ok: The kernel has nf_tables, which keeps VMs apart.\n"
                            "forwarding ok: The host forwards IPv6 and IPv4.\n");
}

static void forwarding_is_missed(void **state) {
        put(*state, "proc/sys/net/ipv6/conf/all/forwarding", "0\n");
        expect(*state, "forwarding warning: The host does not forward IPv6");
        assert_null(strstr(look(*state, 1, true), "ip_forward"));
        put(*state, "proc/sys/net/ipv4/ip_forward", "0\n");
        expect(*state, "'sysctl -w net.ipv6.conf.all.forwarding=1'");
        expect(*state, "'sysctl -w net.ipv4.ip_forward=1'");
        put(*state, "proc/sys/net/ipv6/conf/all/forwarding", "1\n");
        assert_non_null(strstr(look(*state, 1, false), "forwarding ok: The host forwards IPv6.\n"));
}

static void an_uplink_that_stops_listening_to_routers_is_found(void **state) {
        put(*state, "proc/sys/net/ipv6/conf/eth0/accept_ra", "1\n");
        expect(*state, "accept-ra warning: As forwarding is on, eth0 takes no router advertisements");
        expect(*state, "'sysctl -w net.ipv6.conf.eth0.accept_ra=2'");
        assert_null(strstr(look(*state, 1, true), "docker0"));
        put(*state, "proc/sys/net/ipv6/conf/eth0/forwarding", "0\n");
        expect(*state, "eth0 takes router advertisements only until forwarding is switched on");
        put(*state, "proc/sys/net/ipv6/conf/eth0/accept_ra", "0\n");
        assert_null(strstr(look(*state, 1, true), "accept-ra"));
}

static void a_link_with_an_advertised_route_is_an_uplink(void **state) {
        put(*state, "proc/net/ipv6_route",
            "fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 "
            "00000001 00000000 00000001  docker0\n"
            "00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 "
            "00000003 00000000 00450003     br0\n");
        put(*state, "proc/sys/net/ipv6/conf/br0/accept_ra", "1\n");
        expect(*state, "net.ipv6.conf.br0.accept_ra=2");
        assert_null(strstr(look(*state, 1, true), "docker0"));
}

static void a_strict_rp_filter_is_found(void **state) {
        put(*state, "proc/sys/net/ipv4/conf/default/rp_filter", "1\n");
        expect(*state, "'sysctl -w net.ipv4.conf.all.rp_filter=2'");
        assert_null(strstr(look(*state, 1, false), "rp-filter"));
        put(*state, "proc/sys/net/ipv4/conf/all/rp_filter", "2\n");
        assert_null(strstr(look(*state, 1, true), "rp-filter"));
}

static void neighbour_tables_are_measured_by_the_vms(void **state) {
        assert_null(strstr(look(*state, 384, true), "neighbours"));
        assert_non_null(strstr(look(*state, 385, true), "net.ipv6.neigh.default.gc_thresh3=2052"));
        assert_non_null(strstr(look(*state, 385, true), "net.ipv4.neigh.default.gc_thresh3=2052"));
        assert_null(strstr(look(*state, 385, false), "net.ipv4"));
}

static void a_full_table_of_connections_is_found(void **state) {
        put(*state, "proc/sys/net/netfilter/nf_conntrack_count", "209716\n");
        expect(*state, "'sysctl -w net.netfilter.nf_conntrack_max=524288'");
        put(*state, "proc/sys/net/netfilter/nf_conntrack_count", "209714\n");
        assert_null(strstr(look(*state, 1, true), "conntrack"));
}

static void what_the_kernel_lacks_is_said(void **state) {
        Host *h = *state;

        put(h, "proc/kallsyms", "0 t nf_log\n");
        expect(h, "nftables warning: The kernel's nf_tables");
        put(h, "proc/sys/kernel/osrelease", "6.1.0-1-amd64\n");
        put(h, "lib/modules/6.1.0-1-amd64/modules.dep", "kernel/net/netfilter/nf_tables.ko: kernel/x.ko\n");
        expect(h, "nftables ok");
        assert_int_equal(unlinkat(h->root, "dev/net/tun", 0), 0);
        expect(h, "tun error: There is no /dev/net/tun");
}

static void a_host_without_anything_is_examined_to_the_end(void **state) {
        Host *h = *state;

        assert_int_equal(remove_tree_at(h->root, "proc"), 0);
        expect(h, "accept-ra error: The kernel has no IPv6");
        expect(h, "The host does not forward IPv4");
        assert_null(strstr(h->findings, "neighbours"));
        assert_null(strstr(h->findings, "conntrack"));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(a_host_as_it_should_be_has_no_findings, host_new, host_free),
                cmocka_unit_test_setup_teardown(forwarding_is_missed, host_new, host_free),
                cmocka_unit_test_setup_teardown(an_uplink_that_stops_listening_to_routers_is_found, host_new, host_free),
                cmocka_unit_test_setup_teardown(a_link_with_an_advertised_route_is_an_uplink, host_new, host_free),
                cmocka_unit_test_setup_teardown(a_strict_rp_filter_is_found, host_new, host_free),
                cmocka_unit_test_setup_teardown(neighbour_tables_are_measured_by_the_vms, host_new, host_free),
                cmocka_unit_test_setup_teardown(a_full_table_of_connections_is_found, host_new, host_free),
                cmocka_unit_test_setup_teardown(what_the_kernel_lacks_is_said, host_new, host_free),
                cmocka_unit_test_setup_teardown(a_host_without_anything_is_examined_to_the_end, host_new, host_free),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
