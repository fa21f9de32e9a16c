/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "compute/run-config.h"

#define STRV(...) ((char **) (const char *[]) { __VA_ARGS__ __VA_OPT__(, ) NULL })
#define TEXT(s) ((char *) (s))

static void runs(VmSpec spec, VmImageConfig image, char *const *expected) {
        _cleanup_(run_config_done) RunConfig c = {};

        assert_int_equal(run_config_compose(&spec, &image, &c), 0);
        assert_int_equal(c.args != NULL, expected != NULL);
        if (!strv_equal(c.args, expected))
                fail_msg("runs '%s' (%zu words) rather than '%s'", c.args ? c.args[0] : "nothing", strv_length(c.args),
                         expected ? expected[0] : "nothing");
}

static const VmImageConfig server = {
        .entrypoint = STRV("/entry"),
        .cmd = STRV("serve", "-v"),
};

static void the_image_s_entrypoint_gets_its_command_as_arguments(void **state) {
        runs((VmSpec) {}, server, STRV("/entry", "serve", "-v"));
        runs((VmSpec) {}, (VmImageConfig) { .cmd = STRV("top") }, STRV("top"));
        runs((VmSpec) {}, (VmImageConfig) { .entrypoint = STRV("top") }, STRV("top"));
        runs((VmSpec) { .run_image = RUN_IMAGE }, server, STRV("/entry", "serve", "-v"));
}

static void an_image_that_names_no_command_runs_nothing(void **state) {
        runs((VmSpec) {}, (VmImageConfig) {}, NULL);
        runs((VmSpec) { .command = STRV("top") }, (VmImageConfig) {}, STRV("top"));
}

static void command_replaces_all_of_it(void **state) {
        runs((VmSpec) { .command = STRV("top", "-b") }, server, STRV("top", "-b"));
        runs((VmSpec) { .command = STRV() }, server, STRV("/entry", "serve", "-v"));
}

static void arguments_replace_the_image_s_arguments(void **state) {
        runs((VmSpec) { .arguments = STRV("check") }, server, STRV("/entry", "check"));
        runs((VmSpec) { .arguments = STRV() }, server, STRV("/entry"));
}

static void an_entrypoint_leaves_the_image_s_arguments_behind(void **state) {
        runs((VmSpec) { .entrypoint = STRV("/other") }, server, STRV("/other"));
        runs((VmSpec) { .entrypoint = STRV("/other"), .arguments = STRV("x") }, server, STRV("/other", "x"));
        runs((VmSpec) { .entrypoint = STRV(), .arguments = STRV("x", "y") }, server, STRV("x", "y"));
        runs((VmSpec) { .entrypoint = STRV() }, server, NULL);
}

static void a_mere_shell_of_the_image_does_not_run(void **state) {
        static const char *const shells[] = { "sh", "/bin/sh", "bash", "/usr/local/bin/bash", "/bin/ash", "dash" };

        for (size_t i = 0; i < ELEMENTSOF(shells); i++) {
                runs((VmSpec) {}, (VmImageConfig) { .cmd = STRV(shells[i]) }, NULL);
                runs((VmSpec) {}, (VmImageConfig) { .entrypoint = STRV(shells[i]) }, NULL);
        }
        runs((VmSpec) {}, (VmImageConfig) { .cmd = STRV("sh", "-c", "exit") }, STRV("sh", "-c", "exit"));
        runs((VmSpec) {}, (VmImageConfig) { .entrypoint = STRV("sh"), .cmd = STRV("x") }, STRV("sh", "x"));
        runs((VmSpec) {}, (VmImageConfig) { .cmd = STRV("/bin/zsh") }, STRV("/bin/zsh"));
        /* Whoever asks for it gets it. */
        runs((VmSpec) { .command = STRV("sh") }, server, STRV("sh"));
        runs((VmSpec) { .entrypoint = STRV("sh") }, server, STRV("sh"));
        runs((VmSpec) { .arguments = STRV() }, (VmImageConfig) { .entrypoint = STRV("sh") }, STRV("sh"));
}

static void run_image_false_runs_nothing(void **state) {
        runs((VmSpec) { .run_image = RUN_NOTHING }, server, NULL);
        runs((VmSpec) { .run_image = RUN_NOTHING }, (VmImageConfig) { .cmd = STRV("/sbin/init") }, NULL);
}

static void inits_are_told_by_their_path(void **state) {
        assert_true(init_is_wanted(STRV("/sbin/init")));
        assert_true(init_is_wanted(STRV("/sbin/init", "--log-level=debug")));
        assert_true(init_is_wanted(STRV("/init")));
        assert_true(init_is_wanted(STRV("/lib/systemd/systemd")));
        assert_true(init_is_wanted(STRV("/usr/lib/systemd/systemd")));
        assert_true(init_is_wanted(STRV("/sbin/openrc-init")));
        assert_true(init_is_wanted(STRV("openrc-init")));
        assert_false(init_is_wanted(STRV("/opt/app/init")));
        assert_false(init_is_wanted(STRV("/usr/bin/dumb-init", "/sbin/init")));
        assert_false(init_is_wanted(STRV("sh", "/sbin/init")));
        assert_false(init_is_wanted(NULL));
        assert_false(init_is_wanted(STRV()));
}

static void an_init_is_one_whoever_asks_for_it(void **state) {
        VmSpec spec = { .command = STRV("/sbin/init") };
        VmImageConfig image = { .cmd = STRV("/sbin/init") };
        RunConfig c;

        assert_int_equal(run_config_compose(&spec, &server, &c), 0);
        assert_true(c.init);
        run_config_done(&c);
        assert_int_equal(run_config_compose(&(VmSpec) {}, &image, &c), 0);
        assert_true(c.init);
        run_config_done(&c);
        assert_int_equal(run_config_compose(&(VmSpec) {}, &server, &c), 0);
        assert_false(c.init);
        run_config_done(&c);
}

static void the_vm_s_environment_goes_over_the_image_s(void **state) {
        VmSpec spec = { .environment = STRV("B=3", "C=4") };
        VmImageConfig image = { .environment = STRV("PATH=/x", "B=2", "nonsense", "=empty", "BB=1", "B=two") };
        _cleanup_(run_config_done) RunConfig c = {};

        assert_int_equal(run_config_compose(&spec, &image, &c), 0);
        assert_true(strv_equal(c.environment, STRV("PATH=/x", "B=3", "BB=1", "C=4")));
}

static void user_and_directory_are_the_vm_s_or_the_image_s(void **state) {
        VmImageConfig image = { .user = TEXT("app:web"), .working_directory = TEXT("srv") };
        RunConfig c;

        assert_int_equal(run_config_compose(&(VmSpec) {}, &image, &c), 0);
        assert_string_equal(c.user, "app:web");
        assert_string_equal(c.working_directory, "/srv");
        run_config_done(&c);
        assert_int_equal(run_config_compose(&(VmSpec) { .run_as = TEXT("0"), .working_directory = TEXT("/tmp") }, &image, &c), 0);
        assert_string_equal(c.user, "0");
        assert_string_equal(c.working_directory, "/tmp");
        run_config_done(&c);
        assert_int_equal(run_config_compose(&(VmSpec) {}, &(VmImageConfig) {}, &c), 0);
        assert_null(c.user);
        assert_null(c.working_directory);
        run_config_done(&c);
}

static void stop_signals_have_many_spellings(void **state) {
        static const struct {
                const char *word;
                int number;
        } table[] = {
                { "SIGTERM", 15 }, { "TERM", 15 },       { "sigquit", 3 },      { "9", 9 },          { "SIGRTMIN", 34 },
                { "SIGRTMIN+3", 37 }, { "RTMIN+4", 38 }, { "SIGRTMAX-1", 63 },  { "SIGRTMAX", 64 },  { "64", 64 },
                { "0", -EINVAL },  { "65", -EINVAL },    { "SIGNONE", -EINVAL }, { "", -EINVAL },    { "SIG", -EINVAL },
                { "SIGRTMIN+31", -EINVAL }, { "SIGRTMIN-1", -EINVAL }, { "SIGRTMAX+1", -EINVAL }, { "SIGRTMIN+", -EINVAL },
                { "-1", -EINVAL }, { "15x", -EINVAL },
        };
        RunConfig c;

        for (size_t i = 0; i < ELEMENTSOF(table); i++)
                if (stop_signal_from_string(table[i].word) != table[i].number)
                        fail_msg("'%s' is %d", table[i].word, stop_signal_from_string(table[i].word));
        assert_int_equal(run_config_compose(&(VmSpec) {}, &(VmImageConfig) { .stop_signal = TEXT("SIGINT") }, &c), 0);
        assert_int_equal(c.stop_signal, SIGINT);
        run_config_done(&c);
        assert_int_equal(run_config_compose(&(VmSpec) {}, &(VmImageConfig) { .stop_signal = TEXT("SIGNONSENSE") }, &c), 0);
        assert_int_equal(c.stop_signal, SIGTERM);
        run_config_done(&c);
}

static char *large(size_t n) {
        char *s = malloc(n + 1);

        memset(s, 'x', n);
        s[n] = 0;
        return s;
}

static void more_than_the_boot_message_holds_is_refused(void **state) {
        _cleanup_free_ char *a = large(VM_STRINGS_SIZE_MAX / 2), *b = large(VM_STRINGS_SIZE_MAX / 2);
        VmImageConfig image = { .entrypoint = STRV(a) };
        RunConfig c;

        a[0] = b[0] = 'A';
        a[1] = '=';
        assert_int_equal(run_config_compose(&(VmSpec) {}, &image, &c), 0);
        run_config_done(&c);
        assert_int_equal(run_config_compose(&(VmSpec) { .arguments = STRV(b) }, &image, &c), -E2BIG);
        assert_int_equal(run_config_compose(&(VmSpec) { .command = STRV(b), .environment = STRV(a) }, &image, &c), -E2BIG);
        /* What is replaced does not count. */
        assert_int_equal(run_config_compose(&(VmSpec) { .command = STRV(b) }, &image, &c), 0);
        run_config_done(&c);
}

static int check(VmImageConfig c) {
        _cleanup_free_ char *why = NULL;
        int r = vm_image_config_check(&c, &why);

        assert_int_equal(r < 0, why != NULL);
        return r;
}

static void an_image_that_says_too_much_is_refused(void **state) {
        _cleanup_free_ char *half = large(VM_STRINGS_SIZE_MAX / 2), *path = large(4096);
        _cleanup_strv_free_ char **many = NULL;

        for (unsigned i = 0; i <= VM_STRINGS_MAX; i++)
                assert_int_equal(strv_extend(&many, ""), 0);
        assert_int_equal(check(server), 0);
        assert_int_equal(check((VmImageConfig) {}), 0);
        assert_int_equal(check((VmImageConfig) { .cmd = STRV(half) }), 0);
        assert_int_equal(check((VmImageConfig) { .cmd = STRV(half), .environment = STRV(half) }), -EUCLEAN);
        assert_int_equal(check((VmImageConfig) { .cmd = many }), -EUCLEAN);
        assert_int_equal(check((VmImageConfig) { .working_directory = path }), -EUCLEAN);
        assert_int_equal(check((VmImageConfig) { .user = path }), -EUCLEAN);
        assert_int_equal(check((VmImageConfig) { .user = TEXT("a\nb") }), -EUCLEAN);
        assert_int_equal(check((VmImageConfig) { .stop_signal = path }), -EUCLEAN);
}

static void a_copy_is_equal(void **state) {
        VmImageConfig image = { .cmd = STRV("a", "b"), .user = TEXT("x"), .stop_signal = TEXT("9") };
        _cleanup_(vm_image_config_done) VmImageConfig copy = {};

        assert_int_equal(vm_image_config_copy(&image, &copy), 0);
        assert_true(strv_equal(copy.cmd, image.cmd));
        assert_null(copy.entrypoint);
        assert_string_equal(copy.user, "x");
        assert_string_equal(copy.stop_signal, "9");
        assert_null(copy.working_directory);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_image_s_entrypoint_gets_its_command_as_arguments),
                cmocka_unit_test(an_image_that_names_no_command_runs_nothing),
                cmocka_unit_test(command_replaces_all_of_it),
                cmocka_unit_test(arguments_replace_the_image_s_arguments),
                cmocka_unit_test(an_entrypoint_leaves_the_image_s_arguments_behind),
                cmocka_unit_test(a_mere_shell_of_the_image_does_not_run),
                cmocka_unit_test(run_image_false_runs_nothing),
                cmocka_unit_test(inits_are_told_by_their_path),
                cmocka_unit_test(an_init_is_one_whoever_asks_for_it),
                cmocka_unit_test(the_vm_s_environment_goes_over_the_image_s),
                cmocka_unit_test(user_and_directory_are_the_vm_s_or_the_image_s),
                cmocka_unit_test(stop_signals_have_many_spellings),
                cmocka_unit_test(more_than_the_boot_message_holds_is_refused),
                cmocka_unit_test(an_image_that_says_too_much_is_refused),
                cmocka_unit_test(a_copy_is_equal),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
