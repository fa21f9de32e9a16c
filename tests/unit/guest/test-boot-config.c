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
                cmocka_unit_test(boot_needs_a_root_disk),
                cmocka_unit_test(field_said_twice_counts_the_last_time),
                cmocka_unit_test(malformed_boot_is_refused_and_leaks_nothing),
                cmocka_unit_test(exec_says_everything),
                cmocka_unit_test(exec_needs_a_command),
                cmocka_unit_test(terminal_of_impossible_size_is_refused),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
