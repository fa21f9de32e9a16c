/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"

/* Whatever the machine: an answer within three seconds, yes without words or no with one sentence. */
static void it_says_yes_or_why_not_in_time(void **state) {
        _cleanup_free_ char *command = strprintf("%s/hero-kvm-probe", getenv("HERO_LIBEXEC_DIR"));
        uint64_t begin = now_usec(CLOCK_MONOTONIC);
        char output[1024] = "";
        size_t n;
        int status;
        FILE *f;

        f = popen(command, "re");
        assert_non_null(f);
        n = fread(output, 1, sizeof(output) - 1, f);
        status = pclose(f);
        assert_true(now_usec(CLOCK_MONOTONIC) - begin < 3 * USEC_PER_SEC);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
                assert_string_equal(output, "");
                return;
        }
        print_message("no KVM: %s", output);
        /* Killed by its alarm it has no words. */
        if (WIFEXITED(status)) {
                assert_int_equal(WEXITSTATUS(status), 1);
                assert_true(n > 2);
                assert_string_equal(output + n - 2, ".\n");
                assert_ptr_equal(strchr(output, '\n'), output + n - 1);
        }
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(it_says_yes_or_why_not_in_time),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
