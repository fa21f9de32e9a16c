/* SPDX-License-Identifier: Apache-2.0 */

#include "compute/fd-store.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "compute/manager.h"

/* A box as the daemon makes it, at fd 3, with n fds in it. */
static void put_box(size_t n) {
        int fds[16] = {}, pair[2];
        char control[CMSG_SPACE(sizeof(fds))] = {}, word = 'B';
        struct iovec iov = { &word, 1 };
        struct msghdr m = {
                .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(n * sizeof(int)),
        };
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);

        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n * sizeof(int));
        memcpy(CMSG_DATA(c), fds, n * sizeof(int));
        if (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) < 0 || sendmsg(pair[0], &m, 0) != 1 ||
            dup2(pair[1], SD_LISTEN_FDS_START) < 0 || close_range(SD_LISTEN_FDS_START + 1, ~0U, 0) < 0)
                _exit(10);
}

/* In a process of its own: the fds begin at 3. Its status is how many fds came out of the box. */
static int receive(size_t n_in_box) {
        int status;
        pid_t pid;

        pid = fork();
        if (pid == 0) {
                _cleanup_free_ char *self = strprintf("%i", getpid());
                FdStore store;

                put_box(n_in_box);
                setenv("LISTEN_PID", self, 1);
                setenv("LISTEN_FDS", "1", 1);
                setenv("LISTEN_FDNAMES", "vm-web", 1);
                if (fd_store_receive(&store) < 0)
                        _exit(11);
                for (size_t i = 0; i < store.n; i++)
                        if (!streq(store.fds[i].name, "vm-web") || store.fds[i].fd < 0)
                                _exit(12);
                /* What was too much is not left open, behind the number kept for libnftables, the box and eight. */
                if (n_in_box > 8 && fcntl(SD_LISTEN_FDS_START + 10, F_GETFD) >= 0)
                        _exit(13);
                _exit((int) store.n);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void what_is_in_a_box_comes_out_under_its_name(void **state) {
        assert_int_equal(receive(3), 3);
}

static void a_box_of_another_version_does_no_harm(void **state) {
        assert_int_equal(receive(1), 1);
        assert_int_equal(receive(8), 8);
        assert_int_equal(receive(9), 8);
        assert_int_equal(receive(16), 8);
}

static int send_something(void) {
        char control[CMSG_SPACE(sizeof(int))] = {}, word = 'x';
        struct iovec iov = { &word, 1 };
        struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        int pair[2];

        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
                return 20;
        return sendmsg(pair[0], &m, 0) == 1 ? 0 : errno;
}

/* PID 1's part: takes what comes and keeps it. */
static int notify_socket(void) {
        static const char name[] = "@hero-test-fd-store";
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        memcpy(a.sun_path + 1, name + 1, sizeof(name) - 2);
        if (fd < 0 || bind(fd, (struct sockaddr *) &a, (socklen_t) (offsetof(struct sockaddr_un, sun_path) + sizeof(name) - 1)) < 0)
                _exit(21);
        setenv("NOTIFY_SOCKET", name, 1);
        return fd;
}

static void keep_one(int notify) {
        char text[256], control[256];
        struct iovec iov = { text, sizeof(text) };
        struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };

        if (recvmsg(notify, &m, 0) <= 0 || !CMSG_FIRSTHDR(&m))
                _exit(22);
}

/* With as many VMs as make more sockets than a process may have open, one of root's without capabilities passes an fd on. */
static void keep_many_and_send(void) {
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct nothing[2] = {};
        Manager m = { .config = { .uid_base = 1879048192, .uid_count = 65536 } };
        VmRuntime rt = { .monitor_fd = 0, .agent_fd = 1, .console_fd = 2 };
        Vm vm = { .manager = &m, .runtime = &rt, .name = (char *) "web" };
        int notify = notify_socket();

        for (unsigned i = 0; i < 40; i++) {
                fd_store_push_vm(&vm);
                keep_one(notify);
        }
        if (getuid() != 0 || setrlimit(RLIMIT_NOFILE, &(struct rlimit) { 100, 100 }) < 0 ||
            syscall(SYS_capset, &header, nothing) < 0)
                _exit(23);
        _exit(send_something());
}

static void what_is_kept_keeps_nobody_from_passing_files_on(void **state) {
        int status;
        pid_t pid;

        if (geteuid() != 0) {
                print_message("Only root can charge to another uid.\n");
                skip();
        }
        pid = fork();
        if (pid == 0)
                keep_many_and_send();
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(what_is_in_a_box_comes_out_under_its_name),
                cmocka_unit_test(what_is_kept_keeps_nobody_from_passing_files_on),
                cmocka_unit_test(a_box_of_another_version_does_no_harm),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
