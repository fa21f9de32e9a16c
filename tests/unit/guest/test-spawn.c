/* SPDX-License-Identifier: Apache-2.0 */

#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "guest-init/spawn.h"

/* Ourselves: becoming somebody else is tried in the guest. */
static User me;
static gid_t my_groups[64];

static int setup(void **state) {
        int n = getgroups(ELEMENTSOF(my_groups), my_groups);

        me = (User) { .uid = getuid(), .gid = getgid(), .home = (char *) "/", .groups = my_groups,
                      .n_groups = n > 0 ? (size_t) n : 0 };
        return geteuid() == 0 ? 0 : -1;
}

typedef struct Result {
        SpawnError error;
        bool failed;
        int status;
        char output[512];
} Result;

static Result run(Spawn s) {
        _cleanup_close_ int reader = -EBADF, error_fd = -EBADF, null = open("/dev/null", O_RDWR | O_CLOEXEC);
        Result r = {};
        ssize_t n;
        pid_t pid;
        int p[2];

        assert_int_equal(pipe2(p, O_CLOEXEC), 0);
        reader = p[0];
        s.user = &me;
        s.stdin_fd = null;
        s.stdout_fd = s.stderr_fd = p[1];
        assert_int_equal(spawn(&s, &pid, &error_fd), 0);
        close(p[1]);
        assert_int_equal(poll(&(struct pollfd) { .fd = error_fd, .events = POLLIN }, 1, 10000), 1);
        r.failed = read(error_fd, &r.error, sizeof(r.error)) == (ssize_t) sizeof(r.error);
        for (size_t at = 0; (n = read(reader, r.output + at, sizeof(r.output) - 1 - at)) > 0;)
                at += (size_t) n;
        assert_int_equal(waitpid(pid, &r.status, 0), pid);
        return r;
}

static char *const path_only[] = { (char *) "PATH=/nowhere:/usr/bin:/bin", NULL };

static void program_is_found_in_path(void **state) {
        char *const argv[] = { (char *) "echo", (char *) "a b", NULL };
        Result r = run((Spawn) { .argv = argv, .environment = path_only });

        assert_false(r.failed);
        assert_string_equal(r.output, "a b\n");
        assert_int_equal(r.status, 0);
}

static void path_is_the_one_of_the_session(void **state) {
        char *const argv[] = { (char *) "echo", NULL };
        char *const elsewhere[] = { (char *) "PATH=/nowhere", NULL };
        Result r = run((Spawn) { .argv = argv, .environment = elsewhere });

        assert_true(r.failed);
        assert_int_equal(r.error.step, SPAWN_EXEC);
        assert_int_equal(r.error.error, ENOENT);
}

static void child_leads_a_session_and_gets_nothing_else(void **state) {
        char *const argv[] = { (char *) "sh", (char *) "-c",
                (char *) "read -r _ _ _ _ g s _ < /proc/$$/stat; test $g = $$ && test $s = $$ && "
                         "umask; exec ls /proc/self/fd", NULL };
        Result r = run((Spawn) { .argv = argv, .environment = path_only });

        assert_string_equal(r.output, "0022\n0\n1\n2\n3\n"); /* 3: what ls reads */
}

static void directory_that_is_not_there_is_told(void **state) {
        char *const argv[] = { (char *) "pwd", NULL };
        _cleanup_free_ char *sentence = NULL;
        Result r = run((Spawn) { .argv = argv, .environment = path_only, .cwd = "/no/such" });

        assert_true(r.failed);
        assert_int_equal(r.error.step, SPAWN_CWD);
        sentence = spawn_error_sentence(&r.error, "pwd", "/no/such");
        assert_string_equal(sentence, "Cannot change to directory /no/such: No such file or directory");

        r = run((Spawn) { .argv = argv, .environment = path_only, .cwd = "/no/such", .cwd_optional = true });
        assert_false(r.failed);
        assert_string_equal(r.output, "/\n");
}

static void no_permission_is_told_rather_than_not_found(void **state) {
        char *const argv[] = { (char *) "passwd-like", NULL };
        char dir[] = "/tmp/test-spawn-XXXXXX";
        _cleanup_free_ char *path = NULL, *file = NULL;
        Result r;
        int fd;

        assert_non_null(mkdtemp(dir));
        path = strprintf("PATH=%s:/nowhere", dir);
        file = strprintf("%s/passwd-like", dir);
        fd = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
        assert_true(fd >= 0);
        close(fd);
        r = run((Spawn) { .argv = argv, .environment = (char *[]) { path, NULL } });
        assert_true(r.failed);
        assert_int_equal(r.error.error, EACCES);
        unlink(file);
        rmdir(dir);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(program_is_found_in_path),
                cmocka_unit_test(path_is_the_one_of_the_session),
                cmocka_unit_test(child_leads_a_session_and_gets_nothing_else),
                cmocka_unit_test(directory_that_is_not_there_is_told),
                cmocka_unit_test(no_permission_is_told_rather_than_not_found),
        };

        if (geteuid() != 0) {
                fprintf(stderr, "SKIPPED: needs root, for setgroups().\n");
                return 77;
        }
        /* What our own parent left open is not what is tested. */
        (void) close_range(3, UINT_MAX, CLOSE_RANGE_CLOEXEC);
        return cmocka_run_group_tests(tests, setup, NULL);
}
