/* SPDX-License-Identifier: Apache-2.0 */

/* The pieces of heroctl that need no bus. */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "ctl/exec-result.h"
#include "ctl/image-text.h"
#include "ctl/json-text.h"
#include "ctl/options.h"
#include "ctl/relay.h"
#include "ctl/run-words.h"
#include "ctl/sanitize.h"
#include "ctl/sleep-text.h"
#include "ctl/terminal.h"

static void three_escapes_within_a_second_are_found(void **state) {
        EscapeDetector d = {};

        assert_int_equal(escape_detect(&d, "ab\x1d\x1d\x1d" "c", 6, 0), 4);
        assert_int_equal(escape_detect(&d, "\x1d\x1d", 2, 0), 3);
        assert_int_equal(escape_detect(&d, "\x1d", 1, 1000000), 0);
}

static void slow_or_interrupted_escapes_are_not(void **state) {
        EscapeDetector d = {};

        assert_int_equal(escape_detect(&d, "\x1d\x1d", 2, 0), 3);
        assert_int_equal(escape_detect(&d, "\x1d", 1, 1000001), 2);
        assert_int_equal(escape_detect(&d, "\x1d", 1, 1000002), 2);
        assert_int_equal(escape_detect(&d, "\x1d", 1, 1000003), 0);
        assert_int_equal(escape_detect(&d, "\x1d\x1dx\x1d", 4, 2000000), 5);
}

static void a_line_is_cleaned_of_controls_and_bad_bytes(void **state) {
        static const char *const table[][2] = {
                { "plain ü → €", "plain ü → €" },
                { "a\033[2Jb\tc\r\nd\x7f", "a?[2Jb c  d?" },
                { "ü\xff", "???" },
                { "x\xc2\x9bJ", "x??J" }, /* CSI as one control character of two bytes */
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_free_ char *s = sanitize_line(table[i][0]);

                assert_string_equal(s, table[i][1]);
        }
}

/* Fed in pieces of every size the result is the same. */
static void check_stream(const char *in, const char *expected) {
        size_t n = strlen(in);

        for (size_t piece = 1; piece <= n; piece++) {
                char out[256] = "";
                Sanitizer s = {};
                size_t k = 0;

                for (size_t i = 0; i < n; i += piece)
                        k += sanitize_stream(&s, in + i, MIN2(piece, n - i), out + k);
                out[k] = 0;
                assert_string_equal(out, expected);
        }
}

static void a_stream_keeps_colours_and_loses_other_sequences(void **state) {
        check_stream("a\033[1;31mred\033[0m\n", "a\033[1;31mred\033[0m\n");
        check_stream("a\033[2Jb\033[10;10Hc\033[?25ld", "abcd");
        check_stream("\033]0;title\a|\033]52;c;aGk=\033\\|\033Pq\033\\|", "|||");
        check_stream("\033(B\033=\033cx\x05\x0e", "x");
        check_stream("\033]0;never ended\nnext", "next");
        check_stream("ü\xc2\x9b" "2Jé\xc2\xa0.", "ü2Jé\xc2\xa0.");
        check_stream("\033[1234567890123456789012345678901234567890mx", "x");
        check_stream("\033[>4;2m\033[6n\033[1\033[31mx", "[31mx"); /* broken off: text, never a sequence */
}

static void results_of_exec_become_statuses_as_in_a_shell(void **state) {
        static const struct {
                const char *message;
                ExecResult kind;
                int status;
                const char *text;
        } table[] = {
                { "exit 0", EXEC_ENDED, 0, NULL },
                { "exit 255", EXEC_ENDED, 255, NULL },
                { "signal 9", EXEC_ENDED, 137, NULL },
                { "failed 2 No such file", EXEC_FAILED, 127, "No such file" },
                { "failed 13 Permission denied", EXEC_FAILED, 126, "Permission denied" },
                { "failed 8", EXEC_FAILED, 126, "Exec format error" },
                { "failed nonsense here", EXEC_FAILED, 126, "here" },
                { "lost the VM stopped", EXEC_LOST, 125, "the VM stopped" },
                { "lost", EXEC_LOST, 125, "" },
                { "exit 256", EXEC_LOST, 125, "" },
                { "exit -1", EXEC_LOST, 125, "" },
                { "signal 65", EXEC_LOST, 125, "" },
                { "", EXEC_LOST, 125, "" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_free_ char *text = NULL;
                int status = -1;

                assert_int_equal(exec_result_parse(table[i].message, &status, &text), table[i].kind);
                assert_int_equal(status, table[i].status);
                assert_true(streq_ptr(text, table[i].text));
        }
        assert_false(exec_result_is("progress 5"));
        assert_true(exec_result_is("exit 5"));
}

static char *json(const char *text, JsonShape shape, bool pretty) {
        char *out = NULL;
        size_t n;
        FILE *f = open_memstream(&out, &n);

        assert_non_null(f);
        assert_int_equal(json_text_print(f, text, shape, pretty), 0);
        fclose(f);
        return out;
}

static void json_is_laid_out_as_promised(void **state) {
        const char *text = "{\n   \"rows\": [\n      {\"a\":\"x, [\\\"{ y\", \"b\":1},{\n\"a\":null, \"b\": []}\n   ]\n}\n";
        _cleanup_free_ char *lines = json(text, JSON_OBJECT, false), *line = json(text, JSON_ARRAY, false),
                            *pretty = json(text, JSON_ARRAY, true);

        assert_string_equal(line, "[{\"a\":\"x, [\\\"{ y\",\"b\":1},{\"a\":null,\"b\":[]}]\n");
        assert_string_equal(lines, "{\"a\":\"x, [\\\"{ y\",\"b\":1}\n{\"a\":null,\"b\":[]}\n");
        assert_string_equal(pretty,
                            "[\n  {\n    \"a\": \"x, [\\\"{ y\",\n    \"b\": 1\n  },\n"
                            "  {\n    \"a\": null,\n    \"b\": []\n  }\n]\n");
        assert_int_equal(json_text_print(stderr, "nothing of the kind", JSON_ARRAY, true), -EBADMSG);
}

static void options_reach_their_variables(void **state) {
        static bool flag = false;
        static const char *word = NULL;
        static uint64_t size = 0;
        static const Option options[] = {
                { 'f', "flag", NULL, OPTION_FLAG, &flag, "" },
                { 'w', "word", "WORD", OPTION_STRING, &word, "" },
                { 0, "size", "SIZE", OPTION_SIZE, &size, "" },
                {},
        };
        char *argv[] = { (char[]) { "test" }, (char[]) { "one" },      (char[]) { "-fw" }, (char[]) { "x" },
                         (char[]) { "two" },  (char[]) { "--size=2G" }, (char[]) { "--json=short" }, (char[]) { "--" },
                         (char[]) { "-q" },   NULL };
        int first;

        assert_int_equal(parse_options(options, false, 9, argv, &first), 0);
        assert_true(flag);
        assert_string_equal(word, "x");
        assert_int_equal(size, UINT64_C(2) << 30);
        assert_int_equal(arg_json, JSON_SHORT);
        assert_false(arg_quiet);
        assert_int_equal(first, 6);
        assert_string_equal(argv[6], "one");
        assert_string_equal(argv[8], "-q");
}

static void limits_have_words_for_none(void **state) {
        static uint64_t rate = 0, delay = 0;
        static const Option options[] = {
                { 0, "rate", "RATE", OPTION_RATE, &rate, "" },
                { 0, "delay", "TIME", OPTION_DELAY, &delay, "" },
                {},
        };
        static const char *const bad[] = { "--rate=0", "--rate=never", "--delay=0", "--delay=max", "--delay=" };
        char *none[] = { (char[]) { "test" }, (char[]) { "--rate=max" }, (char[]) { "--delay=never" }, NULL };
        char *some[] = { (char[]) { "test" }, (char[]) { "--rate=2M" }, (char[]) { "--delay=2min" }, NULL };
        int first;

        assert_int_equal(parse_options(options, false, 3, none, &first), 0);
        assert_true(rate == UINT64_MAX && delay == UINT64_MAX);
        assert_int_equal(parse_options(options, false, 3, some, &first), 0);
        assert_int_equal(rate, 2 << 20);
        assert_int_equal(delay, 120000000);
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                char *argv[] = { (char[]) { "test" }, (char *) bad[i], NULL };

                assert_int_equal(parse_options(options, false, 2, argv, &first), -EINVAL);
        }
        assert_int_equal(rate, 2 << 20);
}

static void options_first_leaves_the_rest_alone(void **state) {
        char *argv[] = { (char[]) { "test" }, (char[]) { "-q" }, (char[]) { "vm" }, (char[]) { "-q" }, (char[]) { "--nonsense" },
                         NULL };
        int first;

        assert_int_equal(parse_options(NULL, true, 5, argv, &first), 0);
        assert_int_equal(first, 2);
}

#define MIN UINT64_C(60000000)

static void sleep_is_explained(void **state) {
        static const struct {
                SleepStatus status;
                const char *label, *text;
        } table[] = {
                { { .state = "running", .idle_since = 58 * MIN, .sleep_at = 63 * MIN },
                  "Idle", "since 2min 0s, will be suspended in 3min 0s" },
                { { .state = "running", .idle_since = 58 * MIN, .sleep_at = 60 * MIN },
                  "Idle", "since 2min 0s, is about to be suspended" },
                { { .state = "running", .idle_since = 58 * MIN, .sleep_at = UINT64_MAX },
                  "Idle", "since 2min 0s, is not suspended by itself" },
                { { .state = "running", .idle_since = 58 * MIN, .awake_reason = "x" }, "Awake", "x" },
                { { .state = "running", .idle_since = 58 * MIN, .held_until = 60 * MIN + 5000000 },
                  "Awake", "held for another 5s" },
                { { .state = "running", .held_until = UINT64_MAX }, "Awake", "held until further notice" },
                { { .state = "running", .idle_timeout = UINT64_MAX }, "Awake", "it is not suspended by itself" },
                { { .state = "running" }, "Awake", "not known to be idle" },
                { { .state = "suspended", .since = 59 * MIN, .sleep_at = 61 * MIN, .has_address = true },
                  "Asleep", "suspended 1min 0s ago, will be hibernated in 1min 0s; wakes on the first packet" },
                { { .state = "suspended", .since = 59 * MIN, .sleep_at = UINT64_MAX },
                  "Asleep", "suspended 1min 0s ago; wakes when it is used" },
                { { .state = "hibernating" }, "Asleep", "is being written to disk; wakes when it is used" },
                { { .state = "hibernated", .has_address = true }, "Asleep", "hibernated 1h 0min ago; wakes on the first packet" },
                { { .state = "hibernated", .kept = 64 << 20 },
                  "Asleep", "hibernated 1h 0min ago (64M kept in memory, too); wakes when it is used" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_free_ char *text = NULL;
                const char *label;

                assert_int_equal(sleep_describe(&table[i].status, 60 * MIN, &label, &text), 1);
                assert_string_equal(label, table[i].label);
                assert_string_equal(text, table[i].text);
        }
}

static void who_does_not_run_is_neither_awake_nor_asleep(void **state) {
        static const char *const states[] = { "configured", "starting", "suspending", "resuming", "stopped", "failed" };
        const char *label;
        char *text;

        for (size_t i = 0; i < ELEMENTSOF(states); i++)
                assert_int_equal(sleep_describe(&(SleepStatus) { .state = states[i] }, 60 * MIN, &label, &text), 0);
}

static void check_policy(uint64_t timeout, uint64_t delay, const char *expected) {
        _cleanup_free_ char *text = sleep_policy_describe(&(SleepStatus) { .idle_timeout = timeout, .hibernate_delay = delay });

        assert_string_equal(text, expected);
}

static void a_policy_is_told(void **state) {
        check_policy(5 * MIN, 60 * MIN, "suspended after 5min 0s, hibernated 1h 0min later");
        check_policy(5 * MIN, UINT64_MAX, "suspended after 5min 0s, never hibernated");
        check_policy(UINT64_MAX, MIN, "never suspended");
}

typedef struct Ends {
        sd_event *event;
        int error;
        bool done;
} Ends;

static void on_done(Flow *f, int error, void *userdata) {
        Ends *e = userdata;

        e->done = true;
        e->error = error;
        sd_event_exit(e->event, 0);
}

static void a_flow_carries_everything_and_then_ends(void **state) {
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        _cleanup_flow_ Flow *f = NULL;
        char buffer[4096];
        size_t total = 0;
        Ends e = {};
        int in[2], out[2];
        ssize_t n;

        assert_int_equal(sd_event_new(&event), 0);
        e.event = event;
        assert_int_equal(pipe2(in, O_CLOEXEC), 0);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, out), 0);
        assert_int_equal(flow_new(event, in[0], out[0], on_done, &e, &f), 0);
        close(in[0]);
        memset(buffer, 'x', sizeof(buffer));
        for (size_t written = 0; written < 1024 * 1024; written += sizeof(buffer)) {
                assert_int_equal(write(in[1], buffer, sizeof(buffer)), sizeof(buffer));
                for (int i = 0; i < 4; i++)
                        assert_true(sd_event_run(event, 0) >= 0);
                while ((n = recv(out[1], buffer, sizeof(buffer), MSG_DONTWAIT)) > 0)
                        total += (size_t) n;
        }
        assert_false(e.done);
        close(in[1]);
        while (!e.done) {
                assert_true(sd_event_run(event, UINT64_MAX) >= 0);
                while ((n = recv(out[1], buffer, sizeof(buffer), MSG_DONTWAIT)) > 0)
                        total += (size_t) n;
        }
        assert_int_equal(total, 1024 * 1024);
        assert_int_equal(e.error, 0);
        assert_true(fcntl(out[0], F_GETFL) >= 0 && !(fcntl(out[0], F_GETFL) & O_NONBLOCK));
        close(out[0]);
        close(out[1]);
}

static void a_flow_notices_an_idle_reader_that_leaves(void **state) {
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        _cleanup_flow_ Flow *f = NULL;
        Ends e = {};
        int in[2], out[2];

        assert_int_equal(sd_event_new(&event), 0);
        e.event = event;
        assert_int_equal(pipe2(in, O_CLOEXEC), 0);
        assert_int_equal(pipe2(out, O_CLOEXEC), 0);
        assert_int_equal(flow_new(event, in[0], out[1], on_done, &e, &f), 0);
        assert_true(sd_event_run(event, 0) >= 0);
        assert_false(e.done);
        close(out[0]);
        while (!e.done)
                assert_true(sd_event_run(event, UINT64_MAX) >= 0);
        assert_int_equal(e.error, -EPIPE);
        close(in[0]);
        close(in[1]);
        close(out[1]);
}

static void check_words(const char *given, const char *expected) {
        _cleanup_strv_free_ char **words = NULL;
        _cleanup_free_ char *text = NULL;

        assert_int_equal(entrypoint_parse(given, &words), 0);
        text = quote_words(words);
        assert_string_equal(text, expected);
}

static void an_entrypoint_is_a_word_or_json(void **state) {
        static const char *const bad[] = { "[", "[1]", "[\"a\", null]", "[\"a\"] b", "[\"a\\u0000b\"]" };
        char **words;

        check_words("", "");
        check_words("/bin/sh -c", "'/bin/sh -c'");
        check_words("[]", "");
        check_words("[\"/bin/sh\", \"-c\", \"it's \\u00e4\", \"\"]", "/bin/sh -c 'it'\\''s \xc3\xa4' ''");
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_int_equal(entrypoint_parse(bad[i], &words), -EINVAL);
}

static void names_of_vms_are_made_of_names_of_images(void **state) {
        static const struct {
                const char *image, *name;
        } table[] = {
                { "busybox", "busybox-00002a" },
                { "localhost:5000/Team/App__1.2:latest@sha256:00", "app-1-2-00002a" },
                { "sha256:abcdef", "vm-00002a" },
                { "..:x", "vm-00002a" },
                { "a_", "a-00002a" },
                { "0123456789012345678901234567890123456789tail", "0123456789012345678901234567890123456789-00002a" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_free_ char *name = vm_name_make(table[i].image, 0xff00002a);

                assert_string_equal(name, table[i].name);
        }
}

static void a_command_is_composed_as_containers_have_it(void **state) {
        char *image_entrypoint[] = { (char *) "e", NULL }, *image_arguments[] = { (char *) "a", (char *) "b", NULL };
        char *given[] = { (char *) "g", NULL }, *none[] = { NULL };
        const struct {
                const char *entrypoint;
                char **image_entrypoint, **given, **image_arguments;
                const char *expected;
        } table[] = {
                { NULL, image_entrypoint, none, image_arguments, "e a b" },
                { NULL, image_entrypoint, given, image_arguments, "e g" },
                { NULL, NULL, given, image_arguments, "g" },
                { NULL, NULL, NULL, NULL, "" },
                { "x", image_entrypoint, none, image_arguments, "x" },
                { "x", image_entrypoint, given, image_arguments, "x g" },
                { "", image_entrypoint, given, image_arguments, "g" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                _cleanup_strv_free_ char **words = NULL;
                _cleanup_free_ char *text = NULL;

                assert_int_equal(command_compose(table[i].entrypoint, table[i].image_entrypoint, table[i].given,
                                                 table[i].image_arguments, &words), 0);
                text = quote_words(words);
                assert_string_equal(text, table[i].expected);
        }
}

static void beginnings_of_digests_are_told_from_names(void **state) {
        char text[SHORT_DIGEST_MAX];

        assert_true(is_digest_beginning("abcdef") && is_digest_beginning("sha256:012345"));
        assert_false(is_digest_beginning("abcde"));
        assert_false(is_digest_beginning("abcdefg"));
        assert_false(is_digest_beginning("sha256:"));
        assert_string_equal(shorten_digest(text, "sha256:0123456789abcdef"), "0123456789ab");
        assert_string_equal(shorten_digest(text, ""), "");
        assert_true(is_init("/sbin/init") && is_init("/any/openrc-init"));
        assert_false(is_init("/bin/initialise"));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(three_escapes_within_a_second_are_found),
                cmocka_unit_test(slow_or_interrupted_escapes_are_not),
                cmocka_unit_test(a_line_is_cleaned_of_controls_and_bad_bytes),
                cmocka_unit_test(a_stream_keeps_colours_and_loses_other_sequences),
                cmocka_unit_test(results_of_exec_become_statuses_as_in_a_shell),
                cmocka_unit_test(json_is_laid_out_as_promised),
                cmocka_unit_test(options_reach_their_variables),
                cmocka_unit_test(options_first_leaves_the_rest_alone),
                cmocka_unit_test(limits_have_words_for_none),
                cmocka_unit_test(sleep_is_explained),
                cmocka_unit_test(who_does_not_run_is_neither_awake_nor_asleep),
                cmocka_unit_test(a_policy_is_told),
                cmocka_unit_test(a_flow_carries_everything_and_then_ends),
                cmocka_unit_test(a_flow_notices_an_idle_reader_that_leaves),
                cmocka_unit_test(an_entrypoint_is_a_word_or_json),
                cmocka_unit_test(names_of_vms_are_made_of_names_of_images),
                cmocka_unit_test(a_command_is_composed_as_containers_have_it),
                cmocka_unit_test(beginnings_of_digests_are_told_from_names),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
