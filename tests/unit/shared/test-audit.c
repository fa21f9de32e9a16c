/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "basic/string-util.h"
#include "shared/audit.h"
#include "shared/error-names.h"

static const AuditEntry done = {
        .road = "bus", .uid = 12001, .subject = "alice", .action = "VM.Start", .vm = "alices", .user = "alice", .duration = 1234567,
};

static const char *value(AuditFields fields, size_t n, const char *name) {
        for (size_t i = 0; i < n; i++) {
                const char *rest = startswith(fields[i], name);

                if (rest && rest[0] == '=')
                        return rest + 1;
        }
        return NULL;
}

static void a_call_that_did_what_it_was_to_do_says_who_what_and_how_long(void **state) {
        char message[AUDIT_MESSAGE_SIZE];
        AuditFields f;
        size_t n = audit_fields(&done, f);

        assert_string_equal(value(f, n, "AUDIT_ROAD"), "bus");
        assert_string_equal(value(f, n, "AUDIT_UID"), "12001");
        assert_string_equal(value(f, n, "AUDIT_SUBJECT"), "alice");
        assert_string_equal(value(f, n, "AUDIT_ACTION"), "VM.Start");
        assert_string_equal(value(f, n, "HERO_VM"), "alices");
        assert_string_equal(value(f, n, "HERO_USER"), "alice");
        assert_string_equal(value(f, n, "AUDIT_RESULT"), "ok");
        assert_null(value(f, n, "AUDIT_ERROR"));
        assert_string_equal(value(f, n, "AUDIT_DURATION_USEC"), "1234567");
        audit_message(&done, message);
        assert_string_equal(message, "Audit: VM.Start of VM 'alices' of user 'alice' by 'alice' (uid 12001) over bus: "
                                     "ok after 1234.567 ms");
}

static void who_may_not_is_refused_and_other_errors_have_their_names(void **state) {
        assert_string_equal(audit_result(NULL), "ok");
        assert_string_equal(audit_result("org.freedesktop.DBus.Error.AccessDenied"), "refused");
        assert_string_equal(audit_result("org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"), "refused");
        assert_string_equal(audit_result("PermissionDenied"), "refused");
        assert_string_equal(audit_result(ERROR_NO_SUCH_VM), "NoSuchVM");
        assert_string_equal(audit_result("NoSuchUser"), "NoSuchUser");
        assert_string_equal(audit_result("odd."), "odd.");
}

static void what_is_not_known_has_no_field(void **state) {
        const AuditEntry e = { .road = "http", .uid = (uid_t) -1, .action = "user.stop", .user = "" };
        char message[AUDIT_MESSAGE_SIZE];
        AuditFields f;
        size_t n = audit_fields(&e, f);

        assert_int_equal(n, 4);
        assert_null(value(f, n, "AUDIT_UID"));
        assert_null(value(f, n, "HERO_USER"));
        audit_message(&e, message);
        assert_string_equal(message, "Audit: user.stop by somebody over http: ok after 0.000 ms");
}

static void the_sentence_of_an_error_is_told(void **state) {
        AuditEntry e = done;
        char message[AUDIT_MESSAGE_SIZE];
        AuditFields f;
        size_t n;

        e.error = ERROR_BUSY;
        e.text = "VM 'alices' is busy.";
        e.duration = 42;
        n = audit_fields(&e, f);
        assert_string_equal(value(f, n, "AUDIT_RESULT"), "Busy");
        assert_string_equal(value(f, n, "AUDIT_ERROR"), "VM 'alices' is busy.");
        audit_message(&e, message);
        assert_string_equal(message, "Audit: VM.Start of VM 'alices' of user 'alice' by 'alice' (uid 12001) over bus: "
                                     "Busy after 0.042 ms: VM 'alices' is busy.");
}

static void what_strangers_say_is_bounded_and_cannot_look_like_ours(void **state) {
        static const char evil[] = "x' by 'root' (uid 0)\nAUDIT_UID=0\033[2J\xff";
        char message[AUDIT_MESSAGE_SIZE], *longest;
        AuditEntry e = done;
        AuditFields f;
        size_t n;

        longest = malloc(100001);
        assert_non_null(longest);
        memset(longest, 'a', 100000);
        longest[100000] = 0;
        e.vm = evil;
        e.user = e.image = e.subject = e.action = e.error = e.text = longest;
        n = audit_fields(&e, f);
        assert_int_equal(n, AUDIT_FIELDS_MAX);
        for (size_t i = 0; i < n; i++) {
                assert_true(strlen(f[i]) < AUDIT_FIELD_SIZE);
                assert_true(utf8_is_clean(f[i], NULL));
        }
        audit_message(&e, message);
        assert_true(utf8_is_clean(message, NULL));
        assert_non_null(strstr(message, " of VM 'x? by ?root? (uid 0)?AUDIT_UID=0?[2J?'"));
        free(longest);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_call_that_did_what_it_was_to_do_says_who_what_and_how_long),
                cmocka_unit_test(who_may_not_is_refused_and_other_errors_have_their_names),
                cmocka_unit_test(what_is_not_known_has_no_field),
                cmocka_unit_test(the_sentence_of_an_error_is_told),
                cmocka_unit_test(what_strangers_say_is_bounded_and_cannot_look_like_ours),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
