/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "basic/strv.h"
#include "guest-init/boot-config.h"
#include "guest-init/exec-request.h"

static GpWriter writer;

static int parse_boot(BootConfig *c) {
        size_t n;

        assert_int_equal(gp_writer_finish(&writer, &n), 0);
        return boot_config_parse(writer.buf + GP_HEADER_SIZE, n - GP_HEADER_SIZE, c);
}

static int parse_exec(ExecRequest *e) {
        size_t n;

        assert_int_equal(gp_writer_finish(&writer, &n), 0);
        return exec_request_parse(writer.buf + GP_HEADER_SIZE, n - GP_HEADER_SIZE, e);
}

static void boot_says_everything(void **state) {
        char *const args[] = { (char *) "nginx", (char *) "-g", NULL };
        BootConfig c;

        gp_writer_init(&writer, GP_BOOT, 0);
        gp_writer_string(&writer, GP_FIELD_HOSTNAME, "alice");
        gp_writer_string(&writer, GP_FIELD_ROOT_DEVICE, "serial:root");
        gp_writer_string(&writer, GP_FIELD_OVERLAY_DEVICE, "/dev/vdb");
        gp_writer_strv(&writer, GP_FIELD_ARG, args);
        gp_writer_string(&writer, GP_FIELD_ENV, "A=1");
        gp_writer_string(&writer, GP_FIELD_CWD, "/srv");
        gp_writer_string(&writer, GP_FIELD_USER, "www");
        gp_writer_u64(&writer, GP_FIELD_REALTIME, 123);
        gp_writer_u32(&writer, GP_FIELD_CONSOLE_SHELL, 1);
        gp_writer_u32(&writer, GP_FIELD_SIGNAL, 37);
        gp_writer_u32(&writer, GP_FIELD_INIT, 1);
        assert_int_equal(parse_boot(&c), 0);
        assert_string_equal(c.hostname, "alice");
        assert_string_equal(c.root_device, "serial:root");
        assert_string_equal(c.overlay_device, "/dev/vdb");
        assert_true(strv_equal(c.args, args));
        assert_string_equal(c.environment[0], "A=1");
        assert_string_equal(c.cwd, "/srv");
        assert_string_equal(c.user, "www");
        assert_int_equal(c.realtime, 123);
        assert_true(c.console_shell);
        assert_int_equal(c.stop_signal, 37);
        assert_true(c.init);
        boot_config_done(&c);
}

static void a_stop_signal_is_one_the_kernel_has(void **state) {
        static const uint32_t wrong[] = { 0, 65, UINT32_MAX };
        BootConfig c;

        gp_writer_init(&writer, GP_BOOT, 0);
        gp_writer_string(&writer, GP_FIELD_ROOT_DEVICE, "serial:root");
        assert_int_equal(parse_boot(&c), 0);
        assert_int_equal(c.stop_signal, SIGTERM);
        assert_false(c.init);
        boot_config_done(&c);
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                gp_writer_init(&writer, GP_BOOT, 0);
                gp_writer_string(&writer, GP_FIELD_ROOT_DEVICE, "serial:root");
                gp_writer_u32(&writer, GP_FIELD_SIGNAL, wrong[i]);
                assert_int_equal(parse_boot(&c), -EBADMSG);
        }
}

static const GpPrefix alice = { .address = { .family = AF_INET, .bytes = { 10, 0, 0, 2 } }, .length = 32 };
static const GpRoute everywhere = {
        .destination = { .address = { .family = AF_INET6 } },
        .gateway = { .family = AF_INET6, .bytes = { 0xfe, 0x80, [15] = 1 } },
};

static void begin_boot(void) {
        gp_writer_init(&writer, GP_BOOT, 0);
        gp_writer_string(&writer, GP_FIELD_ROOT_DEVICE, "serial:root");
}

static void boot_says_the_network(void **state) {
        const NetworkConfig *n;
        BootConfig c;

        begin_boot();
        gp_writer_prefix(&writer, GP_FIELD_ADDRESS, &alice);
        gp_writer_route(&writer, GP_FIELD_ROUTE, &everywhere);
        gp_writer_u32(&writer, GP_FIELD_MTU, 1400);
        gp_writer_address(&writer, GP_FIELD_DNS_SERVER, &everywhere.gateway);
        gp_writer_string(&writer, GP_FIELD_HOST, "10.0.0.1 gateway");
        assert_int_equal(parse_boot(&c), 0);
        n = &c.network;
        assert_int_equal(n->n_addresses, 1);
        assert_int_equal(n->addresses[0].length, 32);
        assert_memory_equal(&n->addresses[0].address, &alice.address, sizeof(GpAddress));
        assert_int_equal(n->n_routes, 1);
        assert_memory_equal(&n->routes[0].gateway, &everywhere.gateway, sizeof(GpAddress));
        assert_int_equal(n->mtu, 1400);
        assert_int_equal(n->n_dns_servers, 1);
        assert_int_equal(strv_length(n->hosts), 1);
        assert_string_equal(n->hosts[0], "10.0.0.1 gateway");
        boot_config_done(&c);
}

static void a_line_of_hosts_is_one_line(void **state) {
        static const char *const wrong[] = { "", "::1 a\n::2 b", "::1 a\tb", "::1 \303\244" };
        BootConfig c;

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                begin_boot();
                gp_writer_string(&writer, GP_FIELD_HOST, wrong[i]);
                assert_int_equal(parse_boot(&c), -EBADMSG);
        }
}

static void an_mtu_is_one_that_ipv6_can_use(void **state) {
        static const uint32_t wrong[] = { 0, GP_MTU_MIN - 1, GP_MTU_MAX + 1, UINT32_MAX };
        BootConfig c;

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                begin_boot();
                gp_writer_u32(&writer, GP_FIELD_MTU, wrong[i]);
                assert_int_equal(parse_boot(&c), -EBADMSG);
        }
}

static void put_address(void) {
        gp_writer_prefix(&writer, GP_FIELD_ADDRESS, &alice);
}

static void put_route(void) {
        gp_writer_route(&writer, GP_FIELD_ROUTE, &everywhere);
}

static void put_dns_server(void) {
        gp_writer_address(&writer, GP_FIELD_DNS_SERVER, &alice.address);
}

static void put_host(void) {
        gp_writer_string(&writer, GP_FIELD_HOST, "::1 localhost");
}

static void more_of_a_network_than_the_protocol_allows_is_refused(void **state) {
        static const struct {
                void (*put)(void);
                unsigned max;
        } cases[] = {
                { put_address, GP_ADDRESSES_MAX },
                { put_route, GP_ROUTES_MAX },
                { put_dns_server, GP_DNS_SERVERS_MAX },
                { put_host, GP_HOSTS_MAX },
        };
        BootConfig c;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                begin_boot();
                for (unsigned k = 0; k < cases[i].max; k++)
                        cases[i].put();
                assert_int_equal(parse_boot(&c), 0);
                boot_config_done(&c);
                cases[i].put();
                assert_int_equal(parse_boot(&c), -EBADMSG);
        }
}

static void boot_needs_a_root_disk(void **state) {
        BootConfig c;

        gp_writer_init(&writer, GP_BOOT, 0);
        gp_writer_string(&writer, GP_FIELD_HOSTNAME, "alice");
        assert_int_equal(parse_boot(&c), -ENODATA);
}

static void field_said_twice_counts_the_last_time(void **state) {
        BootConfig c;

        gp_writer_init(&writer, GP_BOOT, 0);
        gp_writer_string(&writer, GP_FIELD_ROOT_DEVICE, "/dev/vda");
        gp_writer_string(&writer, GP_FIELD_ROOT_DEVICE, "/dev/vdc");
        assert_int_equal(parse_boot(&c), 0);
        assert_string_equal(c.root_device, "/dev/vdc");
        boot_config_done(&c);
}

static void malformed_boot_is_refused_and_leaks_nothing(void **state) {
        BootConfig c;

        gp_writer_init(&writer, GP_BOOT, 0);
        gp_writer_string(&writer, GP_FIELD_ROOT_DEVICE, "/dev/vda");
        gp_writer_bytes(&writer, GP_FIELD_ARG, "a\0b", 3);
        assert_int_equal(parse_boot(&c), -EBADMSG);

        gp_writer_init(&writer, GP_BOOT, 0);
        gp_writer_string(&writer, GP_FIELD_ROOT_DEVICE, "/dev/vda");
        gp_writer_raw(&writer, "xyz", 3);
        assert_int_equal(parse_boot(&c), -EBADMSG);
}

static void exec_says_everything(void **state) {
        ExecRequest e;

        gp_writer_init(&writer, GP_EXEC, 1);
        gp_writer_string(&writer, GP_FIELD_ARG, "top");
        gp_writer_string(&writer, GP_FIELD_ENV, "TERM=xterm");
        gp_writer_string(&writer, GP_FIELD_CWD, "/tmp");
        gp_writer_string(&writer, GP_FIELD_USER, "1000:1000");
        gp_writer_u32(&writer, GP_FIELD_TTY, 1);
        gp_writer_u32(&writer, GP_FIELD_ROWS, 24);
        gp_writer_u32(&writer, GP_FIELD_COLUMNS, 65535);
        assert_int_equal(parse_exec(&e), 0);
        assert_string_equal(e.args[0], "top");
        assert_string_equal(e.user, "1000:1000");
        assert_true(e.tty);
        assert_int_equal(e.rows, 24);
        assert_int_equal(e.columns, 65535);
        exec_request_done(&e);
}

static void exec_needs_a_command(void **state) {
        ExecRequest e;

        gp_writer_init(&writer, GP_EXEC, 1);
        gp_writer_u32(&writer, GP_FIELD_TTY, 1);
        assert_int_equal(parse_exec(&e), -ENODATA);
}

static void terminal_of_impossible_size_is_refused(void **state) {
        ExecRequest e;

        gp_writer_init(&writer, GP_EXEC, 1);
        gp_writer_string(&writer, GP_FIELD_ARG, "top");
        gp_writer_u32(&writer, GP_FIELD_ROWS, 65536);
        assert_int_equal(parse_exec(&e), -EBADMSG);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(boot_says_everything),
                cmocka_unit_test(a_stop_signal_is_one_the_kernel_has),
                cmocka_unit_test(boot_says_the_network),
                cmocka_unit_test(a_line_of_hosts_is_one_line),
                cmocka_unit_test(an_mtu_is_one_that_ipv6_can_use),
                cmocka_unit_test(more_of_a_network_than_the_protocol_allows_is_refused),
                cmocka_unit_test(boot_needs_a_root_disk),
                cmocka_unit_test(field_said_twice_counts_the_last_time),
                cmocka_unit_test(malformed_boot_is_refused_and_leaks_nothing),
                cmocka_unit_test(exec_says_everything),
                cmocka_unit_test(exec_needs_a_command),
                cmocka_unit_test(terminal_of_impossible_size_is_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
