/* SPDX-License-Identifier: Apache-2.0 */

/* The protocol with hero-image-fetch, what skopeo's words mean, and the configuration made for it. */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "basic/time-util.h"
#include "imaged/fetch-protocol.h"
#include "imaged/fetch-registries.h"
#include "imaged/fetch-words.h"
#include "imaged/images-config.h"

static int parse(const char *text, FetchMessage *ret) {
        static char buf[FETCH_MESSAGE_MAX + 64];

        strcpy(buf, text);
        return fetch_message_parse(buf, strlen(buf), ret);
}

static void messages_go_there_and_back(void **state) {
        static const FetchMessage messages[] = {
                { .type = FETCH_INSPECT, .text = (char *) "docker.io/library/a:b" },
                { .type = FETCH_COPY, .bytes = INT64_MAX, .text = (char *) "a.b/c@sha256:x" },
                { .type = FETCH_PROGRESS, .bytes = 5, .blobs = 7 },
                { .type = FETCH_DOCUMENT },
                { .type = FETCH_FILES, .text = (char *) "aa bb" },
                { .type = FETCH_FILES },
                { .type = FETCH_ERROR, .error = FETCH_NO_SPACE, .text = (char *) "There is none." },
        };

        for (size_t i = 0; i < ELEMENTSOF(messages); i++) {
                char buf[FETCH_MESSAGE_MAX + 1];
                FetchMessage back;

                assert_true(fetch_message_format(messages + i, buf) > 0);
                assert_int_equal(parse(buf, &back), 0);
                assert_int_equal(back.type, messages[i].type);
                assert_int_equal(back.bytes, messages[i].bytes);
                assert_int_equal(back.blobs, messages[i].blobs);
                assert_int_equal(back.error, messages[i].error);
                assert_string_equal(back.text, strempty(messages[i].text));
        }
}

static void what_is_no_message_is_refused(void **state) {
        static const char *const bad[] = {
                "", " ", "inspect", "inspect ", "Inspect a", "copy", "copy a", "copy 1", "copy -1 a", "copy 9223372036854775808 a",
                "progress", "progress 1", "progress 1 x", "progress 1 4294967296", "progress 1 1 1", "document x", "error",
                "error failed", "error what Why.",
        };
        FetchMessage m;

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                if (parse(bad[i], &m) != -EBADMSG)
                        fail_msg("\"%s\" was taken", bad[i]);
        assert_int_equal(fetch_message_parse((char[]) { "inspect a\0b" }, 11, &m), -EBADMSG);
}

static void sentences_are_cut_and_made_clean(void **state) {
        char buf[FETCH_MESSAGE_MAX + 1];
        static char many[3 * FETCH_SENTENCE_MAX];
        FetchMessage m = { .type = FETCH_ERROR, .text = many }, back;

        memset(many, 'x', sizeof(many) - 1);
        assert_true(fetch_message_format(&m, buf) < (int) FETCH_SENTENCE_MAX + 64);
        assert_int_equal(parse("error failed a\x1b[31m\xff\nb", &back), 0);
        assert_string_equal(back.text, "a?[31m??b");
        m = (FetchMessage) { .type = FETCH_INSPECT, .text = strndupa(many, sizeof(many)) };
        assert_true(fetch_message_format(&m, buf) > 0);
}

static void fds_come_with_the_message(void **state) {
        char buf[FETCH_MESSAGE_MAX + 1];
        int pair[2], fds[FETCH_FILES_MAX];
        FetchMessage m = { .type = FETCH_FILES, .text = (char *) "aa bb" };
        struct stat a, b;
        size_t n;

        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
        fds[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        fds[1] = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(fstat(fds[1], &a), 0);
        assert_int_equal(fetch_send(pair[0], &m, fds, 2), 0);
        safe_close(fds[0]);
        safe_close(fds[1]);
        assert_int_equal(fetch_receive(pair[1], buf, &m, fds, &n), 1);
        assert_int_equal(n, 2);
        assert_int_equal(fstat(fds[1], &b), 0);
        assert_int_equal(a.st_ino, b.st_ino);
        assert_true(fcntl(fds[0], F_GETFD) & FD_CLOEXEC);
        safe_close(fds[0]);
        safe_close(fds[1]);
        assert_int_equal(fetch_receive(pair[1], buf, &m, fds, &n), -EAGAIN);
        safe_close(pair[0]);
        assert_int_equal(fetch_receive(pair[1], buf, &m, fds, &n), 0);
        safe_close(pair[1]);
}

#define LINE(words) "time=\"2026-11-21T15:12:31Z\" level=debug msg=\"GET https://r/v2/\"\n" \
                    "time=\"2026-11-21T15:12:31Z\" level=fatal msg=\"" words "\"\n"
#define AT "Error parsing image name \\\"docker://r:1/x:y\\\": "

static void what_skopeo_said_is_told_apart(void **state) {
        static const struct {
                const char *log;
                FetchError error;
                const char *part;
        } cases[] = {
                { LINE(AT "reading manifest y in r:1/x: manifest unknown: manifest unknown"), FETCH_NO_SUCH_IMAGE,
                  "The registry has no image r:1/x:y: reading manifest y in r:1/x: manifest unknown: manifest unknown." },
                { LINE(AT "reading manifest y in r:1/x: name unknown: repository name not known to registry"), FETCH_NO_SUCH_IMAGE,
                  "no image" },
                { LINE(AT "reading manifest y in r:1/x: unauthorized: authentication required"), FETCH_FAILED, "/etc/credstore" },
                { LINE(AT "unable to retrieve auth token: invalid username/password: unauthorized"), FETCH_FAILED, "credentials" },
                { LINE(AT "reading manifest y in r:1/x: errors:\\ndenied: requested access to the resource is denied\\n"), FETCH_FAILED,
                  "or has no such image" },
                { LINE(AT "pinging container registry r:1: Get \\\"https://r:1/v2/\\\": dial tcp: connect: connection refused"), FETCH_FAILED,
                  "r:1/x:y cannot be pulled: pinging container registry r:1: Get \"https://r:1/v2/\": dial tcp: connect: "
                  "connection refused." },
                { LINE(AT "reading manifest y in r:1/x: received unexpected HTTP status: 500 Internal Server Error"), FETCH_FAILED,
                  "500 Internal Server Error" },
                { LINE(AT "reading manifest y in r:1/x: too many requests to registry"), FETCH_FAILED, "try again later" },
                { LINE("writing blob: write /var/tmp/x: no space left on device"), FETCH_NO_SPACE, "no space" },
                { LINE("writing blob: write /var/tmp/x: file too large"), FETCH_TOO_LARGE, "more than" },
                { "/usr/bin/skopeo cannot be executed: No such file or directory. Is skopeo installed?\n", FETCH_FAILED,
                  "Is skopeo installed?" },
                { "", FETCH_FAILED, "without a word" },
                { "\x1b[31m\xff\n", FETCH_FAILED, "?[31m?" },
        };
        char buf[FETCH_SENTENCE_MAX];

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                assert_int_equal(fetch_words(cases[i].log, "r:1/x:y", false, false, buf), cases[i].error);
                if (!strstr(buf, cases[i].part))
                        fail_msg("\"%s\" has no \"%s\"", buf, cases[i].part);
                assert_true(utf8_is_clean(buf, NULL));
        }
}

static void credentials_that_were_given_are_not_asked_for(void **state) {
        char buf[FETCH_SENTENCE_MAX];

        (void) fetch_words(LINE(AT "unauthorized"), "r:1/x:y", false, true, buf);
        assert_non_null(strstr(buf, "does not accept"));
        assert_null(strstr(buf, "credstore"));
}

static void a_blob_that_is_not_there_is_not_an_image_that_is_not_there(void **state) {
        static const char log[] = LINE("reading blob sha256:00: fetching blob: blob unknown: name unknown: 404 (Not Found)");
        char buf[FETCH_SENTENCE_MAX];

        assert_int_equal(fetch_words(log, "r:1/x@sha256:00", false, false, buf), FETCH_NO_SUCH_IMAGE);
        assert_int_equal(fetch_words(log, "r:1/x@sha256:00", true, false, buf), FETCH_FAILED);
}

static void a_word_as_long_as_can_be_is_cut(void **state) {
        char buf[FETCH_SENTENCE_MAX];
        static char log[200000];

        memset(log, 'x', sizeof(log) - 1);
        assert_int_equal(fetch_words(log, log, false, false, buf), FETCH_FAILED);
        assert_true(strlen(buf) < sizeof(buf));
}

static unsigned n_problems;

static void on_problem(const char *sentence, void *userdata) {
        n_problems++;
}

/* Reads it as images.conf of a directory of its own. */
static unsigned load(ImagesConfig *c, const char *text) {
        char directory[] = "/tmp/test-fetch-XXXXXX";
        const char *roots[] = { directory, NULL };
        int dir_fd;

        assert_non_null(mkdtemp(directory));
        dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(write_file_atomic(dir_fd, "images.conf", text, strlen(text), 0600), 0);
        safe_close(dir_fd);
        n_problems = 0;
        images_config_defaults(c);
        (void) images_config_load(c, roots, on_problem);
        assert_int_equal(remove_tree_at(AT_FDCWD, directory), 0);
        return n_problems;
}

static void the_configuration_is_read(void **state) {
        _cleanup_(images_config_done) ImagesConfig c = {};

        assert_int_equal(load(&c, "[Images]\nSpaceMax=infinity\nKeepFree=1G\nImageSizeMax=2M\nEntriesMax=5\nPullsMax=16\n"
                                  "[Registries]\nMirror=docker.io=a.b:5000/hub\nMirror=quay.io/x=c.d\nInsecure=127.0.0.1:5000\n"
                                  "Insecure=a.b:5000\nAuthFile=/etc/x\n[Timeouts]\nPullTimeoutSec=infinity\nStallTimeoutSec=5s\n"), 0);
        assert_int_equal(c.space_max, INT64_MAX);
        assert_int_equal(c.keep_free, 1 << 30);
        assert_int_equal(c.image_size_max, 2 << 20);
        assert_int_equal(c.entries_max, 5);
        assert_int_equal(c.pulls_max, 16);
        assert_int_equal(c.n_mirrors, 2);
        assert_string_equal(c.mirrors[0].prefix, "docker.io");
        assert_string_equal(c.mirrors[0].location, "a.b:5000/hub");
        assert_int_equal(strv_length(c.insecure), 2);
        assert_string_equal(c.auth_file, "/etc/x");
        assert_int_equal(c.pull_timeout, USEC_INFINITY);
        assert_int_equal(c.stall_timeout, 5 * USEC_PER_SEC);
}

static void what_cannot_be_used_is_left_out_and_said(void **state) {
        static const char *const bad[] = {
                "[Images]\nSpaceMax=lots", "[Images]\nEntriesMax=0", "[Images]\nEntriesMax=10000001", "[Images]\nPullsMax=17",
                "[Images]\nWhat=1", "[Registries]\nMirror=docker.io", "[Registries]\nMirror=docker.io=\"x\"",
                "[Registries]\nMirror=docker=a.b", "[Registries]\nMirror=docker.io=a.b\"]", "[Registries]\nInsecure=a b",
                "[Registries]\nInsecure=host", "[Registries]\nInsecure=a.b/c", "[Registries]\nAuthFile=x",
                "[Timeouts]\nStallTimeoutSec=0",
        };

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                _cleanup_(images_config_done) ImagesConfig c = {};

                if (load(&c, bad[i]) != 1)
                        fail_msg("%s", bad[i]);
        }
}

static void empty_values_take_back_what_was_added(void **state) {
        _cleanup_(images_config_done) ImagesConfig c = {};

        assert_int_equal(load(&c, "[Registries]\nMirror=docker.io=a.b\nMirror=\nInsecure=a.b\nInsecure=\nInsecure=c.d\nAuthFile=/x\n"
                                  "AuthFile=\n"), 0);
        assert_int_equal(c.n_mirrors, 0);
        assert_int_equal(strv_length(c.insecure), 1);
        assert_null(c.auth_file);
}

static void registries_are_written_as_skopeo_reads_them(void **state) {
        _cleanup_(images_config_done) ImagesConfig c = {};
        _cleanup_free_ char *text = NULL;

        assert_int_equal(load(&c, "[Registries]\nMirror=docker.io=a.b:5000/hub\nMirror=quay.io/x=c.d\nMirror=docker.io=localhost\n"
                                  "Insecure=127.0.0.1:5000\nInsecure=a.b:5000\n"), 0);
        text = registries_conf(&c);
        assert_string_equal(text,
                        "# Made of images.conf(5) for one pull.\n"
                        "unqualified-search-registries = []\n"
                        "\n[[registry]]\nprefix = \"docker.io\"\nlocation = \"docker.io\"\ninsecure = false\n"
                        "[[registry.mirror]]\nlocation = \"a.b:5000/hub\"\ninsecure = true\n"
                        "[[registry.mirror]]\nlocation = \"localhost\"\ninsecure = false\n"
                        "\n[[registry]]\nprefix = \"quay.io/x\"\nlocation = \"quay.io/x\"\ninsecure = false\n"
                        "[[registry.mirror]]\nlocation = \"c.d\"\ninsecure = false\n"
                        "\n[[registry]]\nprefix = \"127.0.0.1:5000\"\nlocation = \"127.0.0.1:5000\"\ninsecure = true\n"
                        "\n[[registry]]\nprefix = \"a.b:5000\"\nlocation = \"a.b:5000\"\ninsecure = true\n");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(messages_go_there_and_back),
                cmocka_unit_test(what_is_no_message_is_refused),
                cmocka_unit_test(sentences_are_cut_and_made_clean),
                cmocka_unit_test(fds_come_with_the_message),
                cmocka_unit_test(what_skopeo_said_is_told_apart),
                cmocka_unit_test(credentials_that_were_given_are_not_asked_for),
                cmocka_unit_test(a_blob_that_is_not_there_is_not_an_image_that_is_not_there),
                cmocka_unit_test(a_word_as_long_as_can_be_is_cut),
                cmocka_unit_test(the_configuration_is_read),
                cmocka_unit_test(what_cannot_be_used_is_left_out_and_said),
                cmocka_unit_test(empty_values_take_back_what_was_added),
                cmocka_unit_test(registries_are_written_as_skopeo_reads_them),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
