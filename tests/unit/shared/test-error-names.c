/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <systemd/sd-bus.h>

#include "basic/string-util.h"
#include "shared/error-names.h"

static void every_name_of_ours_survives_the_way_to_errno_and_back(void **state) {
        unsigned n = 0;

        for (int e = 1; e < 140; e++) {
                const char *name = error_name_from_errno(e);
                sd_bus_error error = SD_BUS_ERROR_NULL;

                assert_non_null(name);
                assert_string_equal(name, error_name_from_errno(-e));
                if (!startswith(name, HERO_ERROR))
                        continue;
                n++;
                assert_int_equal(sd_bus_error_set(&error, name, "because"), -e);
                assert_int_equal(sd_bus_error_get_errno(&error), e);
                sd_bus_error_free(&error);
        }
        assert_int_equal(n, 28);
}

static void what_is_not_ours_is_what_everybody_knows(void **state) {
        assert_string_equal(error_name_from_errno(-EACCES), SD_BUS_ERROR_ACCESS_DENIED);
        assert_string_equal(error_name_from_errno(-EPERM), SD_BUS_ERROR_ACCESS_DENIED);
        assert_string_equal(error_name_from_errno(-ENOMEM), SD_BUS_ERROR_NO_MEMORY);
        assert_string_equal(error_name_from_errno(-ETIMEDOUT), SD_BUS_ERROR_TIMEOUT);
        assert_string_equal(error_name_from_errno(0), SD_BUS_ERROR_FAILED);
        assert_string_equal(error_name_from_errno(12345), SD_BUS_ERROR_FAILED);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_name_of_ours_survives_the_way_to_errno_and_back),
                cmocka_unit_test(what_is_not_ours_is_what_everybody_knows),
        };

        if (error_names_register() < 0)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
