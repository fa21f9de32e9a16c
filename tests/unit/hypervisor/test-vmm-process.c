/* SPDX-License-Identifier: Apache-2.0 */

#include "hypervisor/vmm-process.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "hypervisor/memory-image.h"

#define UID 64001
#define GID 64002
#define PATIENCE_MSEC 20000

static const char *checker;

static void wait_readable(int fd) {
        struct pollfd p = { .fd = fd, .events = POLLIN };

        assert_int_equal(poll(&p, 1, PATIENCE_MSEC), 1);
}

static int result(VmmProcess *p, char **ret_text) {
        int r;

        do {
                wait_readable(p->control_fd);
                r = vmm_process_result(p, ret_text);
        } while (r == 0);
        return r;
}

static int reap(VmmProcess *p) {
        siginfo_t si = {};

        wait_readable(p->pidfd);
        assert_return_code(waitid(P_PID, (id_t) p->pid, &si, WEXITED), errno);
        return si.si_code == CLD_EXITED ? si.si_status : -si.si_status;
}

/* Starts the checker with one socket at fd 3 and returns our end of it. */
static int start(const char *program, const char *arg, const VmmSandbox *sandbox, VmmProcess *ret) {
        const char *argv[] = { program, arg, NULL };
        VmmCommand command = { .argv = (char **) argv, .n_fds = 1 };
        int pair[2];

        assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), errno);
        command.fds[0] = pair[1];
        assert_int_equal(vmm_process_spawn(&command, sandbox, UID, GID, ret), 0);
        close(pair[1]);
        return pair[0];
}

static char *read_to_end(int fd) {
        _cleanup_free_ char *buf = calloc(1, 65536);
        size_t n = 0;

        assert_non_null(buf);
        for (;;) {
                ssize_t k;

                wait_readable(fd);
                k = read(fd, buf + n, 65535 - n);
                if (k <= 0)
                        break;
                n += (size_t) k;
                if (strstr(buf, "end: of it\n"))
                        break;
        }
        return TAKE_PTR(buf);
}

static void assert_line(const char *text, const char *line) {
        _cleanup_free_ char *framed = strprintf("\n%s\n", line), *all = strprintf("\n%s", text);

        if (!strstr(all, framed))
                fail_msg("\"%s\" is not a line of:\n%s", line, text);
}

static char *look_around(const VmmSandbox *sandbox) {
        _cleanup_free_ char *text = NULL;
        VmmProcess p = VMM_PROCESS_NULL;
        char *seen;
        int fd, r;

        fd = start(checker, NULL, sandbox, &p);
        assert_return_code(vmm_process_release(&p), errno);
        r = result(&p, &text);
        if (r != 1)
                fail_msg("%s (%d)", strna(text), r);
        assert_int_equal(p.control_fd, -EBADF);
        seen = read_to_end(fd);
        assert_int_equal(reap(&p), 0);
        vmm_process_done(&p);
        close(fd);
        return seen;
}

static void the_vmm_sees_only_what_it_was_handed(void **state) {
        static const char *const paths[] = { "/usr/lib", "/lib", "/does/not/exist", NULL };
        static const char *const hidden[] = { " bin", " boot", " does", " etc", " run", " sbin", " sys", " var" };
        static const VmmSandbox sandbox = { .paths = paths, .proc = true };
        _cleanup_free_ char *seen = look_around(&sandbox);
        char *root = strstr(seen, "root:"), *end;

        assert_non_null(root);
        end = strchr(root, '\n');
        /* /lib is a symlink here and stays one; the checker's own path is shown without being asked for. */
        for (size_t i = 0; i < ELEMENTSOF(hidden); i++)
                if (strncmp(checker + 1, hidden[i] + 1, strlen(hidden[i]) - 1) != 0 && memmem(root, (size_t) (end - root), hidden[i], strlen(hidden[i])))
                        fail_msg("%s is visible: %.*s", hidden[i], (int) (end - root), root);
        assert_line(seen, "dev: null urandom");
        assert_non_null(strstr(seen, "x86_64-linux-gnu"));
        assert_line(seen, "fds: 0 1 2 3");
}

static void proc_shows_the_vmm_itself_and_nothing_of_the_kernel(void **state) {
        static const VmmSandbox sandbox = { .proc = true };
        _cleanup_free_ char *seen = look_around(&sandbox);
        char *proc = strstr(seen, "\nproc:");
        unsigned numbers = 0, others = 0;

        assert_non_null(proc);
        proc += strlen("\nproc:");
        *strchr(proc, '\n') = 0;
        for (char *word = strtok(proc, " "); word; word = strtok(NULL, " ")) {
                if (word[0] >= '0' && word[0] <= '9')
                        numbers++;
                else if (!streq(word, "self") && !streq(word, "thread-self"))
                        others++;
        }
        assert_int_equal(numbers, 1);
        assert_int_equal(others, 0);
}

static void the_vmm_has_no_privilege_whatsoever(void **state) {
        static const VmmSandbox sandbox = { .proc = true };
        _cleanup_free_ char *seen = look_around(&sandbox);

        assert_line(seen, "Uid:\t64001\t64001\t64001\t64001");
        assert_line(seen, "Gid:\t64002\t64002\t64002\t64002");
        assert_line(seen, "Groups:\t ");
        assert_line(seen, "CapInh:\t0000000000000000");
        assert_line(seen, "CapPrm:\t0000000000000000");
        assert_line(seen, "CapEff:\t0000000000000000");
        assert_line(seen, "CapBnd:\t0000000000000000");
        assert_line(seen, "CapAmb:\t0000000000000000");
        assert_line(seen, "NoNewPrivs:\t1");
        assert_line(seen, "Seccomp:\t2");
}

static void forbidden_system_calls_fail_and_do_not_kill(void **state) {
        static const VmmSandbox sandbox = {};
        _cleanup_free_ char *seen = look_around(&sandbox);

        assert_line(seen, "socket: EPERM");
        assert_line(seen, "netlink: EPERM");
        assert_line(seen, "mount: EPERM");
        assert_line(seen, "unshare: EPERM");
        assert_line(seen, "ptrace: EPERM");
        assert_line(seen, "bpf: EPERM");
        assert_line(seen, "keyctl: EPERM");
}

static void the_root_is_read_only_and_devices_work(void **state) {
        static const VmmSandbox sandbox = {};
        _cleanup_free_ char *seen = look_around(&sandbox);

        assert_line(seen, "write: EROFS");
        assert_line(seen, "write-dev: EROFS");
        assert_line(seen, "null: yes");
        assert_line(seen, "proc:");
}

static void nothing_is_inherited_but_what_is_meant_to_be(void **state) {
        static const VmmSandbox sandbox = {};
        _cleanup_free_ char *seen = NULL;
        int stray;

        /* A fd without O_CLOEXEC, an ignored and a blocked signal, the environment of the daemon. */
        stray = fcntl(STDERR_FILENO, F_DUPFD, 100);
        assert_true(stray >= 100);
        signal(SIGTERM, SIG_IGN);
        setenv("SECRET", "of the daemon", 1);
        seen = look_around(&sandbox);
        signal(SIGTERM, SIG_DFL);
        close(stray);

        assert_line(seen, "fds: 0 1 2 3");
        assert_line(seen, "sigterm: default");
        assert_line(seen, "environment: LANG=C.UTF-8");
        assert_null(strstr(seen, "SECRET"));
        assert_line(seen, "session: own");
        assert_line(seen, "umask: 077");
        assert_true(strstr(seen, "\ncore: 0\n") || strstr(seen, "\ncore: 1\n"));
}

static void the_host_has_no_mount_left_of_it(void **state) {
        static const VmmSandbox sandbox = {};
        _cleanup_free_ char *before = NULL, *after = NULL, *seen = NULL;

        assert_return_code(read_full_file(AT_FDCWD, "/proc/self/mountinfo", 1 << 20, &before, NULL), 0);
        seen = look_around(&sandbox);
        assert_return_code(read_full_file(AT_FDCWD, "/proc/self/mountinfo", 1 << 20, &after, NULL), 0);
        assert_string_equal(before, after);
}

static void without_release_it_never_executes(void **state) {
        static const VmmSandbox sandbox = {};
        VmmProcess p = VMM_PROCESS_NULL;
        struct pollfd pfd;
        char c;
        int fd;

        fd = start(checker, NULL, &sandbox, &p);
        pfd = (struct pollfd) { .fd = fd, .events = POLLIN };
        assert_int_equal(poll(&pfd, 1, 200), 0);
        /* The daemon dies or gives up: its end of the control socket is closed. */
        p.control_fd = safe_close(p.control_fd);
        assert_int_equal(reap(&p), 0);
        assert_int_equal(read(fd, &c, 1), 0);
        vmm_process_done(&p);
        close(fd);
}

static void a_missing_program_is_named(void **state) {
        static const VmmSandbox sandbox = {};
        _cleanup_free_ char *text = NULL;
        VmmProcess p = VMM_PROCESS_NULL;
        int fd;

        fd = start("/usr/bin/no-such-vmm", NULL, &sandbox, &p);
        assert_return_code(vmm_process_release(&p), errno);
        assert_int_equal(result(&p, &text), -ENOENT);
        assert_string_equal(text, "Cannot execute /usr/bin/no-such-vmm: No such file or directory.");
        assert_int_not_equal(reap(&p), 0);
        vmm_process_done(&p);
        close(fd);
}

static void a_device_that_is_none_is_refused(void **state) {
        static const char *const devices[] = { "/etc/passwd", NULL };
        static const VmmSandbox sandbox = { .devices = devices };
        _cleanup_free_ char *text = NULL;
        VmmProcess p = VMM_PROCESS_NULL;
        int fd;

        fd = start(checker, NULL, &sandbox, &p);
        (void) vmm_process_release(&p); /* -EPIPE when it has found out and gone already */
        assert_int_equal(result(&p, &text), -ENODEV);
        assert_string_equal(text, "/etc/passwd is not a device: No such device.");
        reap(&p);
        vmm_process_done(&p);
        close(fd);
}

static void a_launcher_killed_before_exec_is_no_success(void **state) {
        static const VmmSandbox sandbox = {};
        _cleanup_free_ char *text = NULL;
        VmmProcess p = VMM_PROCESS_NULL;
        int fd;

        fd = start(checker, NULL, &sandbox, &p);
        assert_return_code(pidfd_send(p.pidfd, SIGKILL), 0);
        assert_int_equal(result(&p, &text), -EPIPE);
        assert_string_equal(text, "The VMM's launcher ended before it started the VMM.");
        assert_int_equal(reap(&p), -SIGKILL);
        vmm_process_done(&p);
        close(fd);
}

static void the_last_words_are_kept_and_harmless(void **state) {
        static const VmmSandbox sandbox = {};
        _cleanup_free_ char *text = NULL, *words = NULL;
        VmmProcess p = VMM_PROCESS_NULL;
        int fd;

        fd = start(checker, "complain", &sandbox, &p);
        assert_return_code(vmm_process_release(&p), errno);
        assert_int_equal(result(&p, &text), 1);
        assert_int_equal(reap(&p), 3);
        assert_int_equal(vmm_process_last_words(&p, &words), 0);
        assert_string_equal(words, "checker: disk ?[31mon?[0m fire");
        vmm_process_done(&p);
        close(fd);
}

static void root_is_no_uid_for_a_vmm(void **state) {
        const char *argv[] = { checker, NULL };
        VmmCommand command = { .argv = (char **) argv };
        static const VmmSandbox sandbox = {};
        VmmProcess p = VMM_PROCESS_NULL;

        assert_int_equal(vmm_process_spawn(&command, &sandbox, 0, GID, &p), -EINVAL);
        assert_int_equal(vmm_process_spawn(&command, &sandbox, UID, 0, &p), -EINVAL);
        argv[0] = "relative";
        assert_int_equal(vmm_process_spawn(&command, &sandbox, UID, GID, &p), -EINVAL);
}

static void fds_arrive_in_order_whatever_their_numbers(void **state) {
        static const VmmSandbox sandbox = {};
        const char *argv[] = { checker, NULL };
        VmmCommand command = { .argv = (char **) argv, .n_fds = 3 };
        _cleanup_free_ char *text = NULL, *seen = NULL;
        VmmProcess p = VMM_PROCESS_NULL;
        int pair[2], low[2], fds[3];

        /* Numbers that collide with their own targets: 5, 3, 4 are to become 3, 4, 5. The checker only speaks to
         * what it gets as 3. */
        assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), errno);
        low[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        low[1] = open("/dev/zero", O_RDONLY | O_CLOEXEC);
        fds[0] = pair[1];
        fds[1] = low[0];
        fds[2] = low[1];
        memcpy(command.fds, fds, sizeof(fds));
        assert_int_equal(vmm_process_spawn(&command, &sandbox, UID, GID, &p), 0);
        close(low[0]);
        close(low[1]);
        close(pair[1]);
        assert_return_code(vmm_process_release(&p), errno);
        assert_int_equal(result(&p, &text), 1);
        seen = read_to_end(pair[0]);
        assert_line(seen, "fds: 0 1 2 3 4 5");
        reap(&p);
        vmm_process_done(&p);
        close(pair[0]);
}

/* While no VMM runs, the children are, for each kind of root that was used, a launcher and the process it has made in
 * advance, which may still be on its way. The last launcher is that of the kind that was new last. */
static pid_t last_launcher(void) {
        _cleanup_free_ char *path = strprintf("/proc/self/task/%d/children", getpid());
        pid_t children[64] = {};
        size_t n;

        do {
                _cleanup_free_ char *list = NULL;

                assert_return_code(read_full_file(AT_FDCWD, path, 4096, &list, NULL), 0);
                n = 0;
                for (char *p = strtok(list, " "); p; p = strtok(NULL, " ")) {
                        pid_t pid = (pid_t) atoi(p);
                        siginfo_t si = {};

                        assert_true(n < ELEMENTSOF(children));
                        /* Not those that had no root to offer and ended. */
                        if (waitid(P_PID, (id_t) pid, &si, WEXITED | WNOHANG | WNOWAIT) == 0 && si.si_pid == 0)
                                children[n++] = pid;
                }
                assert_true(n > 0);
        } while (n % 2 != 0);
        return children[n - 2];
}

static void is_replaced_after(const VmmSandbox *sandbox, int signal) {
        pid_t before;

        free(look_around(sandbox));
        before = last_launcher();
        free(look_around(sandbox));
        assert_int_equal(last_launcher(), before);
        assert_return_code(kill(before, signal), errno);
        free(look_around(sandbox)); /* with what is in hand */
        free(look_around(sandbox));
        assert_int_not_equal(last_launcher(), before);
        assert_int_equal(kill(before, 0), -1);
}

static void a_dead_launcher_is_replaced(void **state) {
        static const char *const paths[] = { "/etc/hostname", NULL };
        static const VmmSandbox sandbox = { .paths = paths };

        is_replaced_after(&sandbox, SIGKILL);
}

static void a_stuck_launcher_is_replaced(void **state) {
        static const char *const paths[] = { "/etc/passwd", NULL };
        static const VmmSandbox sandbox = { .paths = paths };

        is_replaced_after(&sandbox, SIGSTOP);
}

/* One that is stopped when it has made a process and before it has told of it. */
static void a_process_that_nobody_was_told_of_leaves_no_zombie(void **state) {
        static const char script[] =
                "#!/usr/bin/python3\n"
                "import ctypes, os, time\n"
                "if ctypes.CDLL(None).syscall(56, 0x8000 | 17, 0, 0, 0, 0) == 0:  # clone(CLONE_PARENT | SIGCHLD)\n"
                "    os._exit(0)\n"
                "time.sleep(100)\n";
        static const char *const paths[] = { "/etc/group", NULL };
        static const VmmSandbox sandbox = { .paths = paths };
        const char *argv[] = { checker, NULL };
        const VmmCommand command = { .argv = (char **) argv };
        char directory[] = "/tmp/hero-test-XXXXXX";
        _cleanup_free_ char *before = strdup(getenv("HERO_LIBEXEC_DIR")), *path = NULL;
        siginfo_t si = {};
        VmmProcess p;
        int fd;

        assert_non_null(mkdtemp(directory));
        path = strprintf("%s/hero-vmm-launch", directory);
        fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
        assert_int_equal(write(fd, script, strlen(script)), strlen(script));
        close(fd);
        assert_return_code(setenv("HERO_LIBEXEC_DIR", directory, 1), errno);
        assert_int_equal(vmm_process_spawn(&command, &sandbox, UID, GID, &p), -ETIME);
        assert_return_code(setenv("HERO_LIBEXEC_DIR", before, 1), errno);
        (void) waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT);
        assert_int_equal(si.si_pid, 0);
        unlink(path);
        rmdir(directory);
}

/* As when a package was upgraded: what the root was made of is not there any more. */
static void a_file_that_was_replaced_makes_a_new_root(void **state) {
        char path[] = "/tmp/hero-test-XXXXXX";
        const char *const paths[] = { path, NULL };
        const VmmSandbox sandbox = { .paths = paths };
        _cleanup_free_ char *other = NULL;
        pid_t before;
        int fd;

        fd = mkstemp(path);
        assert_return_code(fd, errno);
        close(fd);
        other = strprintf("%s.new", path);
        free(look_around(&sandbox));
        before = last_launcher();
        fd = open(other, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        assert_return_code(fd, errno);
        close(fd);
        assert_return_code(rename(other, path), errno);
        free(look_around(&sandbox));
        assert_int_not_equal(last_launcher(), before);
        unlink(path);
}

/* As when udev(7) gives /dev/kvm to its group after the first VM was started. */
static void a_device_that_changes_its_group_is_given_with_it(void **state) {
        char directory[] = "/tmp/hero-test-XXXXXX";
        _cleanup_free_ char *path = NULL, *before = NULL, *after = NULL;

        assert_non_null(mkdtemp(directory));
        path = strprintf("%s/device", directory);
        if (mknod(path, S_IFCHR | 0600, makedev(1, 3)) < 0) {
                rmdir(directory);
                skip();
        }
        before = look_around(&(const VmmSandbox) { .proc = true, .devices = (const char *const[]) { path, NULL } });
        assert_return_code(chown(path, 0, 4711), errno);
        assert_return_code(chmod(path, 0660), errno);
        after = look_around(&(const VmmSandbox) { .proc = true, .devices = (const char *const[]) { path, NULL } });
        unlink(path);
        rmdir(directory);
        assert_line(before, "Groups:\t ");
        assert_line(after, "Groups:\t4711 ");
}

#define MEMORY_SIZE ((3u << 20) + 4096)

static int new_memfd(size_t size) {
        int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        assert_return_code(fd, errno);
        assert_return_code(ftruncate(fd, (off_t) size), errno);
        return fd;
}

/* An image of a memory with three bytes in it, at its ends and in between, open for reading and writing. */
static int make_image(void) {
        _cleanup_close_ int memory = new_memfd(MEMORY_SIZE), devices = new_memfd(100), dir_fd = -EBADF;
        const MemoryImageSource source = { memory, devices, "0123456789ab", "checker", "1" };
        char directory[] = "/var/tmp/hero-test-XXXXXX";
        _cleanup_free_ char *why = NULL;
        int fd;

        assert_int_equal(pwrite(memory, "a", 1, 0), 1);
        assert_int_equal(pwrite(memory, "b", 1, MEMORY_SIZE / 2), 1);
        assert_int_equal(pwrite(memory, "c", 1, MEMORY_SIZE - 1), 1);
        assert_non_null(mkdtemp(directory));
        dir_fd = open_directory_at(AT_FDCWD, directory, 0, false);
        assert_int_equal(memory_image_write(&source, dir_fd, MEMORY_IMAGE_NAME, NULL, &why), 0);
        fd = openat(dir_fd, MEMORY_IMAGE_NAME, O_RDWR | O_CLOEXEC);
        assert_return_code(fd, errno);
        assert_return_code(remove_tree_at(AT_FDCWD, directory), 0);
        return fd;
}

/* The checker as a VMM whose memory is in the image; returns our end of its fd 3. As the daemon has it: the memory belongs to
 * the VM and cannot change its size, and the image can only be read. */
static int start_loading(int image_fd, int memory_fd, VmmProcess *ret) {
        _cleanup_free_ char *path = strprintf("/proc/self/fd/%d", image_fd);
        _cleanup_close_ int image = open(path, O_RDONLY | O_CLOEXEC);
        static const VmmSandbox sandbox = {};
        const char *argv[] = { checker, "memory", NULL };
        VmmCommand command = { .argv = (char **) argv, .n_fds = 2, .load = true };
        int pair[2];

        assert_return_code(image, errno);
        assert_return_code(fchown(memory_fd, UID, GID), errno);
        assert_return_code(fcntl(memory_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), errno);
        assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), errno);
        command.fds[0] = pair[1];
        command.fds[1] = memory_fd;
        command.load_image_fd = image;
        command.load_memory_fd = memory_fd;
        assert_int_equal(vmm_process_spawn(&command, &sandbox, UID, GID, ret), 0);
        close(pair[1]);
        return pair[0];
}

static void a_memory_is_loaded_beside_the_vmm(void **state) {
        _cleanup_close_ int image = make_image(), memory = new_memfd(MEMORY_SIZE), fd = -EBADF;
        _cleanup_free_ char *text = NULL, *expected = calloc(1, MEMORY_SIZE), *seen = malloc(MEMORY_SIZE);
        VmmProcess p = VMM_PROCESS_NULL;
        struct stat st;

        expected[0] = 'a';
        expected[MEMORY_SIZE / 2] = 'b';
        expected[MEMORY_SIZE - 1] = 'c';
        fd = start_loading(image, memory, &p);
        /* Nothing before the release: until then the pages would be charged to the daemon. */
        assert_int_equal(poll(&(struct pollfd) { .fd = p.control_fd, .events = POLLIN }, 1, 100), 0);
        assert_return_code(fstat(memory, &st), errno);
        assert_int_equal(st.st_blocks, 0);
        assert_return_code(vmm_process_release(&p), errno);
        if (result(&p, &text) != 1)
                fail_msg("%s", strna(text));
        assert_int_equal(write(fd, "", 1), 1);
        assert_int_equal(recv(fd, seen, MEMORY_SIZE, MSG_WAITALL), MEMORY_SIZE);
        assert_true(memcmp(seen, expected, MEMORY_SIZE) == 0);
        assert_int_equal(reap(&p), 0);
        vmm_process_done(&p);
}

static void check_not_loaded(int image, size_t size, int error, const char *sentence) {
        _cleanup_close_ int memory = new_memfd(size), fd = -EBADF;
        _cleanup_free_ char *text = NULL;
        VmmProcess p = VMM_PROCESS_NULL;
        char c;

        fd = start_loading(image, memory, &p);
        assert_return_code(vmm_process_release(&p), errno);
        assert_int_equal(result(&p, &text), error);
        assert_string_equal(text, sentence);
        assert_return_code(pidfd_send(p.pidfd, SIGKILL), errno); /* the VMM may be there, and waits */
        assert_int_equal(read(fd, &c, 1), 0);
        (void) reap(&p);
        vmm_process_done(&p);
}

static void a_memory_that_is_not_whole_ends_the_start(void **state) {
        _cleanup_close_ int image = make_image();
        struct stat st;

        assert_return_code(fstat(image, &st), errno);
        check_not_loaded(image, 4096, -EINVAL, "The guest's memory is not as large as the hibernation image says.");
        assert_int_equal(pwrite(image, "x", 1, st.st_size - 1), 1);
        check_not_loaded(image, MEMORY_SIZE, -EBADMSG, "The hibernation image was altered: the memory at 3 MiB.");
        assert_return_code(ftruncate(image, st.st_size - 4096), errno);
        check_not_loaded(image, MEMORY_SIZE, -EBADMSG,
                         "The hibernation image is torn: it has 20480 bytes and should have 24576.");
        assert_return_code(ftruncate(image, 0), errno);
        check_not_loaded(image, MEMORY_SIZE, -EBADMSG,
                         "Cannot read the header of the hibernation image: the file ends at byte 0.");
}

static void what_is_loaded_is_not_handed_to_the_vmm(void **state) {
        _cleanup_close_ int image = make_image(), memory = new_memfd(MEMORY_SIZE), ours = -EBADF, theirs = -EBADF;
        const char *argv[] = { checker, NULL };
        VmmCommand command = { .argv = (char **) argv, .n_fds = 1, .load = true };
        _cleanup_free_ char *text = NULL, *seen = NULL;
        static const VmmSandbox sandbox = {};
        VmmProcess p = VMM_PROCESS_NULL;
        int pair[2];

        assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), errno);
        ours = pair[0];
        theirs = pair[1];
        command.fds[0] = theirs;
        command.load_image_fd = image;
        command.load_memory_fd = memory;
        assert_int_equal(vmm_process_spawn(&command, &sandbox, UID, GID, &p), 0);
        assert_return_code(vmm_process_release(&p), errno);
        assert_int_equal(result(&p, &text), 1);
        seen = read_to_end(ours);
        assert_line(seen, "fds: 0 1 2 3");
        reap(&p);
        vmm_process_done(&p);
}

static void a_command_line_without_measure_is_refused(void **state) {
        _cleanup_free_ char *word = calloc(1, 70000);
        char *argv[] = { (char *) checker, memset(word, 'x', 69999), NULL };
        VmmCommand command = { .argv = argv };
        static const VmmSandbox sandbox = {};
        VmmProcess p = VMM_PROCESS_NULL;

        assert_int_equal(vmm_process_spawn(&command, &sandbox, UID, GID, &p), -E2BIG);
}

/* A container without the right to make mount namespaces cannot run these. */
static bool can_unshare(void) {
        int status = 1;
        pid_t pid;

        pid = fork();
        if (pid == 0)
                _exit(unshare(CLONE_NEWNS) < 0 ? 1 : 0);
        return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_vmm_sees_only_what_it_was_handed),
                cmocka_unit_test(proc_shows_the_vmm_itself_and_nothing_of_the_kernel),
                cmocka_unit_test(the_vmm_has_no_privilege_whatsoever),
                cmocka_unit_test(forbidden_system_calls_fail_and_do_not_kill),
                cmocka_unit_test(the_root_is_read_only_and_devices_work),
                cmocka_unit_test(nothing_is_inherited_but_what_is_meant_to_be),
                cmocka_unit_test(the_host_has_no_mount_left_of_it),
                cmocka_unit_test(without_release_it_never_executes),
                cmocka_unit_test(a_missing_program_is_named),
                cmocka_unit_test(a_device_that_is_none_is_refused),
                cmocka_unit_test(a_launcher_killed_before_exec_is_no_success),
                cmocka_unit_test(the_last_words_are_kept_and_harmless),
                cmocka_unit_test(root_is_no_uid_for_a_vmm),
                cmocka_unit_test(fds_arrive_in_order_whatever_their_numbers),
                cmocka_unit_test(a_dead_launcher_is_replaced),
                cmocka_unit_test(a_stuck_launcher_is_replaced),
                cmocka_unit_test(a_process_that_nobody_was_told_of_leaves_no_zombie),
                cmocka_unit_test(a_file_that_was_replaced_makes_a_new_root),
                cmocka_unit_test(a_device_that_changes_its_group_is_given_with_it),
                cmocka_unit_test(a_memory_is_loaded_beside_the_vmm),
                cmocka_unit_test(a_memory_that_is_not_whole_ends_the_start),
                cmocka_unit_test(what_is_loaded_is_not_handed_to_the_vmm),
                cmocka_unit_test(a_command_line_without_measure_is_refused),
        };

        checker = getenv("HERO_TEST_CHECKER");
        if (!checker || geteuid() != 0 || !can_unshare()) {
                printf("skipped: needs root, mount namespaces and $HERO_TEST_CHECKER\n");
                return 77;
        }
        return cmocka_run_group_tests(tests, NULL, NULL);
}
