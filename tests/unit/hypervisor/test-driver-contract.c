/* SPDX-License-Identifier: Apache-2.0 */

/* What every driver promises, shown with a real process in a real sandbox, for each driver in turn. The guest of
 * the QEMU driver is tiny-guest.S: no kernel package is needed. */

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
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "../network/own-tap.h"
#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "hypervisor/vmm-process.h"

#define PATIENCE (30 * USEC_PER_SEC)
#define NOT_YET 12345

typedef struct Vmm {
        const Hypervisor *hypervisor;
        sd_event *event;
        VmmProcess process;
        VmmMonitor *monitor;
        int console_fd, agent_fd, monitor_fd; /* our ends; monitor_fd is a copy */
        int tap_fd;
        int memory_fd;
        bool incoming;
        char *said; /* with the last answer */
        unsigned events[VMM_EVENT_LOST + 1];
        bool free_when_ready;
} Vmm;

static void on_event(VmmMonitor *m, VmmEvent event, void *userdata) {
        Vmm *v = userdata;

        v->events[event]++;
        if (event == VMM_EVENT_READY && v->free_when_ready)
                v->monitor = v->hypervisor->monitor_free(v->monitor);
}

static void on_done(VmmMonitor *m, int error, const char *text, void *userdata) {
        int *result = userdata;

        assert_int_equal(*result, NOT_YET); /* once, and not twice */
        *result = error;
        if (text) {
                Vmm *v = m->userdata;

                free(v->said);
                v->said = strdup(text);
        }
}

/* Runs the loop until the number changes. */
static void run_while(Vmm *v, const unsigned *counter, unsigned value) {
        uint64_t end = now_usec(CLOCK_MONOTONIC) + PATIENCE;

        while (*counter == value && now_usec(CLOCK_MONOTONIC) < end)
                assert_true(sd_event_run(v->event, 100 * USEC_PER_MSEC) >= 0);
        if (*counter == value) {
                _cleanup_free_ char *words = NULL;

                (void) vmm_process_last_words(&v->process, &words);
                fail_msg("nothing happened in a long time; the VMM said: %s", strna(words));
        }
}

static int answer(Vmm *v, int (*call)(VmmMonitor *m, vmm_done_t done, void *userdata)) {
        int result = NOT_YET;

        assert_int_equal(call(v->monitor, on_done, &result), 0);
        run_while(v, (unsigned *) &result, NOT_YET);
        return result;
}

static int answer_with_file(Vmm *v, int (*call)(VmmMonitor *m, int fd, vmm_done_t done, void *userdata), int fd) {
        int result = NOT_YET;

        assert_int_equal(call(v->monitor, fd, on_done, &result), 0);
        run_while(v, (unsigned *) &result, NOT_YET);
        return result;
}

static int reap(Vmm *v) {
        struct pollfd p = { .fd = v->process.pidfd, .events = POLLIN };
        siginfo_t si = {};

        assert_int_equal(poll(&p, 1, (int) (PATIENCE / USEC_PER_MSEC)), 1);
        assert_return_code(waitid(P_PID, (id_t) v->process.pid, &si, WEXITED), errno);
        v->process.pid = 0;
        return si.si_code == CLD_EXITED ? si.si_status : -si.si_status;
}

static int open_kernel(void) {
        const char *path = getenv("HERO_TEST_TINY_GUEST");

        assert_non_null(path);
        return open(path, O_RDONLY | O_CLOEXEC);
}

static int some_memory(size_t size) {
        int fd = memfd_create("hero-test", MFD_CLOEXEC);

        assert_return_code(fd, errno);
        assert_return_code(ftruncate(fd, (off_t) size), errno);
        return fd;
}

/* A disk that is handed over read-only must be open read-only. */
static int read_only(int fd) {
        _cleanup_free_ char *path = strprintf("/proc/self/fd/%d", fd);
        int copy = open(path, O_RDONLY | O_CLOEXEC);

        assert_return_code(copy, errno);
        close(fd);
        return copy;
}

static void channel(int *ours, int *theirs) {
        int pair[2];

        assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), errno);
        *ours = pair[0];
        *theirs = pair[1];
}

static void spawn(Vmm *v, VmmSpec *spec) {
        _cleanup_(vmm_command_done) VmmCommand command = {};

        assert_int_equal(v->hypervisor->command(spec, &command), 0);
        assert_int_equal(vmm_process_spawn(&command, v->hypervisor->sandbox(spec), 64003, 64004, &v->process), 0);
}

static void wait_for_exec(Vmm *v) {
        struct pollfd p = { .fd = v->process.control_fd, .events = POLLIN };
        _cleanup_free_ char *text = NULL;
        int r;

        assert_return_code(vmm_process_release(&v->process), errno);
        do {
                assert_int_equal(poll(&p, 1, (int) (PATIENCE / USEC_PER_MSEC)), 1);
                r = vmm_process_result(&v->process, &text);
        } while (r == 0);
        if (r != 1)
                fail_msg("%s", strna(text));
}

static void vmm_start(Vmm *v, const char *script) {
        int console, monitor, agent;
        VmmSpec spec = {
                .name = "contract",
                .id = "0123456789ab",
                .cpus = 1,
                .memory = UINT64_C(64) << 20,
                .accelerator = ACCELERATOR_TCG,
                .mock_script = script,
                .kernel_fd = v->incoming ? -EBADF : open_kernel(),
                .initrd_fd = v->incoming ? -EBADF : some_memory(4096),
                .root_fd = read_only(some_memory(1 << 20)),
                .overlay_fd = some_memory(1 << 20),
                .memory_fd = v->memory_fd,
                .incoming = v->incoming,
                .tap_fd = v->tap_fd,
                .mac = { 2, 0, 0, 0, 0, 1 },
                .mtu = 1400,
        };

        channel(&v->console_fd, &console);
        channel(&v->monitor_fd, &monitor);
        channel(&v->agent_fd, &agent);
        spec.console_fd = console;
        spec.monitor_fd = monitor;
        spec.agent_fd = agent;
        spawn(v, &spec);
        wait_for_exec(v);
        close(console);
        close(monitor);
        close(agent);
        safe_close(spec.kernel_fd);
        safe_close(spec.initrd_fd);
        close(spec.root_fd);
        close(spec.overlay_fd);
}

static void vmm_connect(Vmm *v, bool adopted) {
        int fd = fcntl(v->monitor_fd, F_DUPFD_CLOEXEC, 3);

        assert_return_code(fd, errno);
        assert_int_equal(v->hypervisor->monitor_new(v->event, fd, adopted, on_event, v, &v->monitor), 0);
}

static void vmm_start_ready(Vmm *v, const char *script) {
        vmm_start(v, script);
        vmm_connect(v, false);
        run_while(v, &v->events[VMM_EVENT_READY], 0);
}

/* Reads the console until text has come. */
static void expect_console(Vmm *v, const char *text) {
        char buf[4096] = "";
        size_t n = 0;

        while (!strstr(buf, text)) {
                struct pollfd p = { .fd = v->console_fd, .events = POLLIN };
                ssize_t k;

                if (poll(&p, 1, (int) (PATIENCE / USEC_PER_MSEC)) != 1)
                        fail_msg("\"%s\" did not come on the console, but \"%s\"", text, buf);
                k = read(v->console_fd, buf + n, sizeof(buf) - 1 - n);
                assert_true(k > 0);
                n += (size_t) k;
                buf[n] = 0;
        }
}

static bool console_is_silent(Vmm *v, int msec) {
        struct pollfd p = { .fd = v->console_fd, .events = POLLIN };

        return poll(&p, 1, msec) == 0;
}

static int setup(void **state) {
        Vmm *v = calloc(1, sizeof(Vmm));
        const char *name = *state;

        *v = (Vmm) {
                .hypervisor = hypervisor_find(name),
                .process = VMM_PROCESS_NULL,
                .console_fd = -EBADF,
                .agent_fd = -EBADF,
                .monitor_fd = -EBADF,
                .tap_fd = -EBADF,
                .memory_fd = -EBADF,
        };
        assert_non_null(v->hypervisor);
        assert_return_code(sd_event_new(&v->event), 0);
        *state = v;
        return 0;
}

static int teardown(void **state) {
        Vmm *v = *state;

        v->monitor = v->hypervisor->monitor_free(v->monitor);
        if (v->process.pid > 0) {
                (void) pidfd_send(v->process.pidfd, SIGKILL);
                reap(v);
        }
        vmm_process_done(&v->process);
        safe_close(v->console_fd);
        safe_close(v->agent_fd);
        safe_close(v->monitor_fd);
        safe_close(v->tap_fd);
        safe_close(v->memory_fd);
        free(v->said);
        sd_event_unref(v->event);
        free(v);
        return 0;
}

/* The QEMU driver's tests are skipped, aloud, where there is no QEMU. */
static Vmm *need(void **state) {
        _cleanup_free_ char *why = NULL;
        Vmm *v = *state;

        if (v->hypervisor->available(&why) < 0) {
                print_message("skipped: %s\n", why);
                skip();
        }
        return v;
}

static void the_monitor_says_ready_and_the_guest_runs(void **state) {
        Vmm *v = need(state);

        vmm_start_ready(v, NULL);
        expect_console(v, "guest");
        assert_int_equal(write(v->console_fd, "abc", 3), 3);
        expect_console(v, "abc");
        assert_int_equal(v->events[VMM_EVENT_LOST], 0);
}

/* Its uid, its capabilities and the system call filter leave a VMM everything it needs of a TAP, and nothing more. */
static void a_tap_is_handed_over_and_not_opened(void **state) {
        Vmm *v = need(state);

        v->tap_fd = open_own_tap("tap-test");
        if (v->tap_fd < 0) {
                print_message("skipped: network namespace and /dev/net/tun: %s\n", strerror(-v->tap_fd));
                skip();
        }
        vmm_start_ready(v, NULL);
        expect_console(v, "guest");
        assert_int_equal(answer(v, v->hypervisor->pause), 0);
        assert_int_equal(answer(v, v->hypervisor->resume), 0);
        assert_int_equal(answer(v, v->hypervisor->quit), 0);
        run_while(v, &v->events[VMM_EVENT_LOST], 0);
        assert_int_equal(reap(v), 0);
}

static void a_paused_guest_does_nothing_until_it_is_resumed(void **state) {
        Vmm *v = need(state);

        vmm_start_ready(v, NULL);
        expect_console(v, "guest");
        while (!console_is_silent(v, 200)) {
                char buf[64];

                assert_true(read(v->console_fd, buf, sizeof(buf)) > 0);
        }
        assert_int_equal(answer(v, v->hypervisor->query_paused), 0);
        assert_int_equal(answer(v, v->hypervisor->pause), 0);
        assert_int_equal(v->events[VMM_EVENT_PAUSED], 1);
        assert_int_equal(answer(v, v->hypervisor->query_paused), 1);
        assert_int_equal(write(v->console_fd, "abc", 3), 3);
        assert_true(console_is_silent(v, 300));
        assert_int_equal(answer(v, v->hypervisor->resume), 0);
        assert_int_equal(v->events[VMM_EVENT_RESUMED], 1);
        assert_int_equal(answer(v, v->hypervisor->query_paused), 0);
        expect_console(v, "abc");
}

static void pausing_and_resuming_twice_is_no_error(void **state) {
        Vmm *v = need(state);

        vmm_start_ready(v, NULL);
        assert_int_equal(answer(v, v->hypervisor->pause), 0);
        assert_int_equal(answer(v, v->hypervisor->pause), 0);
        assert_int_equal(answer(v, v->hypervisor->resume), 0);
        assert_int_equal(answer(v, v->hypervisor->resume), 0);
}

static void quit_ends_it_with_status_zero(void **state) {
        Vmm *v = need(state);

        vmm_start_ready(v, NULL);
        assert_int_equal(answer(v, v->hypervisor->quit), 0);
        run_while(v, &v->events[VMM_EVENT_LOST], 0);
        assert_int_equal(reap(v), 0);
        assert_int_equal(v->events[VMM_EVENT_GUEST_SHUTDOWN], 0);
        assert_int_equal(v->events[VMM_EVENT_HOST_SHUTDOWN], 1);
}

/* What "systemctl stop" of the scope does. */
static void sigterm_ends_it_in_good_order(void **state) {
        Vmm *v = need(state);

        vmm_start_ready(v, NULL);
        assert_return_code(pidfd_send(v->process.pidfd, SIGTERM), 0);
        run_while(v, &v->events[VMM_EVENT_LOST], 0);
        assert_int_equal(v->events[VMM_EVENT_HOST_SHUTDOWN], 1);
        assert_int_equal(reap(v), 0);
}

static void powerdown_is_answered(void **state) {
        Vmm *v = need(state);

        vmm_start_ready(v, NULL);
        assert_int_equal(answer(v, v->hypervisor->powerdown), 0);
}

static void calls_may_overlap(void **state) {
        int results[20];
        Vmm *v = need(state);

        vmm_start_ready(v, NULL);
        for (size_t i = 0; i < ELEMENTSOF(results); i++) {
                results[i] = NOT_YET;
                assert_int_equal(v->hypervisor->query_paused(v->monitor, on_done, &results[i]), 0);
        }
        for (size_t i = 0; i < ELEMENTSOF(results); i++) {
                run_while(v, (unsigned *) &results[i], NOT_YET);
                assert_int_equal(results[i], 0);
        }
}

static void a_killed_vmm_is_lost_once_and_its_calls_fail(void **state) {
        Vmm *v = need(state);
        int result = NOT_YET;

        vmm_start_ready(v, NULL);
        assert_return_code(pidfd_send(v->process.pidfd, SIGSTOP), 0);
        assert_int_equal(v->hypervisor->pause(v->monitor, on_done, &result), 0);
        assert_return_code(pidfd_send(v->process.pidfd, SIGKILL), 0);
        run_while(v, &v->events[VMM_EVENT_LOST], 0);
        assert_int_equal(result, -ECONNRESET);
        assert_int_equal(reap(v), -SIGKILL);
        assert_int_equal(v->hypervisor->pause(v->monitor, on_done, &result), -ENOTCONN);
        assert_int_equal(sd_event_run(v->event, 50 * USEC_PER_MSEC), 0);
        assert_int_equal(v->events[VMM_EVENT_LOST], 1);
}

static void the_monitor_may_be_freed_by_its_own_callback(void **state) {
        Vmm *v = need(state);

        v->free_when_ready = true;
        vmm_start_ready(v, NULL);
        assert_null(v->monitor);
        assert_int_equal(sd_event_run(v->event, 50 * USEC_PER_MSEC), 0);
}

/* The daemon was restarted: the connection is handed on, with half an answer to the former daemon in it. */
static void an_adopted_connection_goes_on_in_the_middle_of_a_message(void **state) {
        Vmm *v = need(state);
        struct pollfd p;
        char byte;
        int result = NOT_YET;

        vmm_start_ready(v, NULL);
        assert_int_equal(answer(v, v->hypervisor->pause), 0);
        assert_int_equal(v->hypervisor->query_paused(v->monitor, on_done, &result), 0);
        v->monitor = v->hypervisor->monitor_free(v->monitor);
        p = (struct pollfd) { .fd = v->monitor_fd, .events = POLLIN };
        assert_int_equal(poll(&p, 1, (int) (PATIENCE / USEC_PER_MSEC)), 1);
        assert_int_equal(read(v->monitor_fd, &byte, 1), 1);

        vmm_connect(v, true);
        run_while(v, &v->events[VMM_EVENT_READY], 1);
        assert_int_equal(answer(v, v->hypervisor->query_paused), 1);
        assert_int_equal(answer(v, v->hypervisor->resume), 0);
        assert_int_equal(result, NOT_YET); /* the former daemon's call is nobody's any more */
        assert_int_equal(v->events[VMM_EVENT_LOST], 0);
}

static void the_vmm_outlives_its_monitor(void **state) {
        Vmm *v = need(state);

        vmm_start_ready(v, NULL);
        expect_console(v, "guest");
        v->monitor = v->hypervisor->monitor_free(v->monitor);
        v->monitor_fd = safe_close(v->monitor_fd);
        assert_int_equal(write(v->console_fd, "xyz", 3), 3);
        expect_console(v, "xyz");
}

static void a_guest_that_resets_itself_ends_its_vmm(void **state) {
        Vmm *v = need(state);

        vmm_start_ready(v, NULL);
        expect_console(v, "tiny guest");
        assert_int_equal(write(v->console_fd, "r", 1), 1);
        run_while(v, &v->events[VMM_EVENT_LOST], 0);
        assert_int_equal(v->events[VMM_EVENT_GUEST_RESET], 1);
        assert_int_equal(reap(v), 0);
}

static void a_guest_that_powers_off_ends_its_vmm(void **state) {
        Vmm *v = need(state);

        vmm_start_ready(v, NULL);
        expect_console(v, "guest");
        assert_int_equal(write(v->console_fd, "poweroff\r", 9), 9);
        run_while(v, &v->events[VMM_EVENT_LOST], 0);
        assert_int_equal(v->events[VMM_EVENT_GUEST_SHUTDOWN], 1);
        assert_int_equal(reap(v), 0);
}

static void a_vmm_that_dies_at_once_leaves_a_reason(void **state) {
        _cleanup_free_ char *words = NULL;
        Vmm *v = need(state);

        vmm_start(v, "die-at-start");
        assert_int_equal(reap(v), 1);
        assert_int_equal(vmm_process_last_words(&v->process, &words), 0);
        assert_string_equal(words, "hero-mock-vmm: told to die at the start.");
}

static void nonsense_on_the_monitor_is_a_lost_connection(void **state) {
        Vmm *v = need(state);

        vmm_start(v, "monitor-garbage");
        vmm_connect(v, false);
        run_while(v, &v->events[VMM_EVENT_LOST], 0);
        assert_int_equal(v->events[VMM_EVENT_READY], 0);
}

static void a_silent_monitor_is_never_ready(void **state) {
        Vmm *v = need(state);

        vmm_start(v, "monitor-silent");
        vmm_connect(v, false);
        expect_console(v, "guest");
        assert_int_equal(sd_event_run(v->event, 200 * USEC_PER_MSEC), 0);
        assert_int_equal(v->events[VMM_EVENT_READY], 0);
        assert_int_equal(v->events[VMM_EVENT_LOST], 0);
}

static void a_vmm_that_crashes_when_paused_is_lost(void **state) {
        Vmm *v = need(state);

        vmm_start_ready(v, "crash-on-pause");
        assert_int_equal(answer(v, v->hypervisor->pause), -ECONNRESET);
        assert_int_equal(reap(v), -SIGABRT);
}

static void an_ignored_powerdown_changes_nothing(void **state) {
        Vmm *v = need(state);

        vmm_start_ready(v, "ignore-powerdown");
        assert_int_equal(answer(v, v->hypervisor->powerdown), 0);
        assert_int_equal(answer(v, v->hypervisor->query_paused), 0);
        assert_int_equal(v->events[VMM_EVENT_GUEST_SHUTDOWN], 0);
}

/* As the daemon makes it: nobody's but the VM's, and of one size for ever. */
static int guest_memory(void) {
        int fd = memfd_create("hero-test-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        assert_return_code(fd, errno);
        assert_return_code(ftruncate(fd, 64 << 20), errno);
        assert_return_code(fchmod(fd, 0600), errno);
        assert_return_code(fchown(fd, 64003, 64004), errno);
        assert_return_code(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), errno);
        return fd;
}

static void vmm_end(Vmm *v) {
        unsigned lost = v->events[VMM_EVENT_LOST];

        assert_int_equal(answer(v, v->hypervisor->quit), 0);
        run_while(v, &v->events[VMM_EVENT_LOST], lost);
        assert_int_equal(reap(v), 0);
}

/* What the former VMM left to us is closed, but for the memory. */
static void vmm_forget(Vmm *v) {
        v->monitor = v->hypervisor->monitor_free(v->monitor);
        vmm_process_done(&v->process);
        v->process = VMM_PROCESS_NULL;
        v->console_fd = safe_close(v->console_fd);
        v->agent_fd = safe_close(v->agent_fd);
        v->monitor_fd = safe_close(v->monitor_fd);
        memset(v->events, 0, sizeof(v->events));
}

static void vmm_start_with_memory(Vmm *v, const char *script) {
        v->memory_fd = guest_memory();
        vmm_start_ready(v, script);
        expect_console(v, "guest");
}

static void vmm_start_incoming(Vmm *v, const char *script) {
        v->incoming = true;
        vmm_forget(v);
        vmm_start_ready(v, script);
}

static void read_console_dry(Vmm *v) {
        char buf[64];

        while (!console_is_silent(v, 200))
                assert_true(read(v->console_fd, buf, sizeof(buf)) > 0);
}

static void a_saved_guest_goes_on_in_another_vmm(void **state) {
        _cleanup_close_ int file = some_memory(0);
        Vmm *v = need(state);

        vmm_start_with_memory(v, NULL);
        for (unsigned i = 0; i < 3; i++) {
                read_console_dry(v);
                assert_int_equal(answer(v, v->hypervisor->pause), 0);
                /* From an offset on: the file may have something before it. */
                assert_int_equal(lseek(file, 100, SEEK_SET), 100);
                if (answer_with_file(v, v->hypervisor->save, file) < 0)
                        fail_msg("%s", strna(v->said));
                assert_true(lseek(file, 0, SEEK_CUR) > 200);
                vmm_end(v);

                vmm_start_incoming(v, NULL);
                assert_int_equal(answer(v, v->hypervisor->query_paused), 1);
                assert_int_equal(lseek(file, 100, SEEK_SET), 100);
                assert_int_equal(answer_with_file(v, v->hypervisor->load, file), 0);
                assert_int_equal(answer(v, v->hypervisor->query_paused), 1);
                assert_int_equal(write(v->console_fd, "abc", 3), 3);
                assert_true(console_is_silent(v, 300)); /* nor did it boot */
                assert_int_equal(answer(v, v->hypervisor->resume), 0);
                assert_int_equal(v->events[VMM_EVENT_RESUMED], 1);
                assert_int_equal(v->events[VMM_EVENT_LOST], 0);
                expect_console(v, "abc");
        }
}

/* So that what reads it may be behind a checksum. */
static void a_state_may_go_through_a_pipe(void **state) {
        Vmm *v = need(state);
        int pair[2];

        vmm_start_with_memory(v, NULL);
        assert_return_code(pipe2(pair, O_CLOEXEC), errno);
        assert_return_code(fcntl(pair[1], F_SETPIPE_SZ, 1 << 20), errno);
        assert_int_equal(answer(v, v->hypervisor->pause), 0);
        assert_int_equal(answer_with_file(v, v->hypervisor->save, pair[1]), 0);
        vmm_end(v);
        close(pair[1]);
        vmm_start_incoming(v, NULL);
        assert_int_equal(answer_with_file(v, v->hypervisor->load, pair[0]), 0);
        close(pair[0]);
        assert_int_equal(answer(v, v->hypervisor->resume), 0);
        assert_int_equal(write(v->console_fd, "abc", 3), 3);
        expect_console(v, "abc");
}

static void a_guest_that_cannot_be_saved_goes_on(void **state) {
        _cleanup_close_ int full = open("/dev/full", O_WRONLY | O_CLOEXEC), file = some_memory(0);
        Vmm *v = need(state);

        vmm_start_with_memory(v, NULL);
        assert_int_equal(answer(v, v->hypervisor->pause), 0);
        assert_int_equal(answer_with_file(v, v->hypervisor->save, full), -EREMOTEIO);
        assert_non_null(strstr(v->said, "No space left on device"));
        assert_int_equal(answer(v, v->hypervisor->query_paused), 1);
        assert_int_equal(answer(v, v->hypervisor->resume), 0);
        assert_int_equal(write(v->console_fd, "abc", 3), 3);
        expect_console(v, "abc");
        /* Once more, to where there is room. */
        assert_int_equal(answer(v, v->hypervisor->pause), 0);
        assert_int_equal(answer_with_file(v, v->hypervisor->save, file), 0);
        vmm_end(v);
        assert_int_equal(lseek(file, 0, SEEK_SET), 0);
        vmm_start_incoming(v, NULL);
        assert_int_equal(answer_with_file(v, v->hypervisor->load, file), 0);
        assert_int_equal(answer(v, v->hypervisor->resume), 0);
        assert_int_equal(write(v->console_fd, "def", 3), 3);
        expect_console(v, "def");
}

static void memory_of_the_vmm_s_own_is_not_saved(void **state) {
        _cleanup_close_ int file = some_memory(0);
        Vmm *v = need(state);

        vmm_start_ready(v, NULL);
        expect_console(v, "guest");
        assert_int_equal(answer(v, v->hypervisor->pause), 0);
        assert_int_equal(answer_with_file(v, v->hypervisor->save, file), -EREMOTEIO);
        assert_string_equal(v->said, "The memory of this VM is not in a file, which saving needs.");
        assert_int_equal(lseek(file, 0, SEEK_END), 0);
        assert_int_equal(answer(v, v->hypervisor->resume), 0);
        assert_int_equal(write(v->console_fd, "abc", 3), 3);
        expect_console(v, "abc");
}

static void garbage_is_not_loaded(void **state) {
        static const char garbage[8192] = "This is no state of any VMM.";
        _cleanup_close_ int file = some_memory(0);
        Vmm *v = need(state);

        v->memory_fd = guest_memory();
        v->incoming = true;
        vmm_start_ready(v, NULL);
        assert_int_equal(write(file, garbage, sizeof(garbage)), sizeof(garbage));
        assert_int_equal(lseek(file, 0, SEEK_SET), 0);
        assert_true(answer_with_file(v, v->hypervisor->load, file) < 0);
        run_while(v, &v->events[VMM_EVENT_LOST], 0);
        assert_int_equal(reap(v), 1);
}

static void half_a_state_is_not_loaded(void **state) {
        _cleanup_close_ int file = some_memory(0);
        Vmm *v = need(state);

        vmm_start_with_memory(v, NULL);
        assert_int_equal(answer(v, v->hypervisor->pause), 0);
        assert_int_equal(answer_with_file(v, v->hypervisor->save, file), 0);
        vmm_end(v);
        assert_return_code(ftruncate(file, lseek(file, 0, SEEK_END) / 2), errno);
        assert_int_equal(lseek(file, 0, SEEK_SET), 0);
        vmm_start_incoming(v, NULL);
        assert_true(answer_with_file(v, v->hypervisor->load, file) < 0);
        run_while(v, &v->events[VMM_EVENT_LOST], 0);
        assert_int_equal(reap(v), 1);
}

static void a_state_is_of_no_use_with_other_memory(void **state) {
        _cleanup_close_ int file = some_memory(0);
        Vmm *v = need(state);

        vmm_start_with_memory(v, NULL);
        assert_int_equal(answer(v, v->hypervisor->pause), 0);
        assert_int_equal(answer_with_file(v, v->hypervisor->save, file), 0);
        vmm_end(v);
        safe_close(v->memory_fd);
        v->memory_fd = guest_memory();
        assert_int_equal(lseek(file, 0, SEEK_SET), 0);
        vmm_start_incoming(v, NULL);
        assert_int_equal(answer_with_file(v, v->hypervisor->load, file), -EREMOTEIO);
        assert_string_equal(v->said, "The memory is not that of the guest whose state this is.");
}

static void the_version_is_known_to_who_heard_the_greeting(void **state) {
        Vmm *v = need(state);
        const char *version;

        vmm_start_ready(v, NULL);
        version = v->hypervisor->version(v->monitor);
        assert_non_null(version);
        assert_int_equal(strncasecmp(version, v->hypervisor->name, 4), 0);
        assert_int_equal(version[4], ' ');
        v->monitor = v->hypervisor->monitor_free(v->monitor);
        vmm_connect(v, true);
        run_while(v, &v->events[VMM_EVENT_READY], 1);
        assert_null(v->hypervisor->version(v->monitor));
}

static void saving_may_be_told_to_fail_or_to_hang(void **state) {
        _cleanup_close_ int file = some_memory(0);
        int result = NOT_YET;
        Vmm *v = need(state);

        vmm_start_with_memory(v, "save-fails");
        assert_int_equal(answer(v, v->hypervisor->pause), 0);
        assert_int_equal(answer_with_file(v, v->hypervisor->save, file), -EREMOTEIO);
        assert_int_equal(answer(v, v->hypervisor->resume), 0);
        vmm_end(v);
        vmm_forget(v);
        vmm_start_ready(v, "save-hangs");
        assert_int_equal(answer(v, v->hypervisor->pause), 0);
        assert_int_equal(v->hypervisor->save(v->monitor, file, on_done, &result), 0);
        assert_int_equal(answer(v, v->hypervisor->query_paused), 1);
        assert_int_equal(result, NOT_YET);
        vmm_end(v);
        assert_int_equal(result, -ECONNRESET);
}

static void loading_may_be_told_to_fail_or_to_hang(void **state) {
        _cleanup_close_ int file = some_memory(0);
        int result = NOT_YET;
        Vmm *v = need(state);

        v->memory_fd = guest_memory();
        vmm_start_incoming(v, "load-fails");
        assert_int_equal(answer_with_file(v, v->hypervisor->load, file), -EREMOTEIO);
        run_while(v, &v->events[VMM_EVENT_LOST], 0);
        assert_int_equal(reap(v), 1);
        vmm_start_incoming(v, "load-hangs");
        assert_int_equal(v->hypervisor->load(v->monitor, file, on_done, &result), 0);
        assert_int_equal(answer(v, v->hypervisor->query_paused), 1);
        assert_int_equal(result, NOT_YET);
}

#define both(f)                                                                                   \
        { .name = "mock: " #f, .test_func = f, .setup_func = setup, .teardown_func = teardown,    \
          .initial_state = (void *) "mock" },                                                     \
        { .name = "qemu: " #f, .test_func = f, .setup_func = setup, .teardown_func = teardown,    \
          .initial_state = (void *) "qemu" }
#define only(h, f)                                                                                \
        { .name = h ": " #f, .test_func = f, .setup_func = setup, .teardown_func = teardown,      \
          .initial_state = (void *) h }

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
                both(the_monitor_says_ready_and_the_guest_runs),
                both(a_tap_is_handed_over_and_not_opened),
                both(a_paused_guest_does_nothing_until_it_is_resumed),
                both(pausing_and_resuming_twice_is_no_error),
                both(quit_ends_it_with_status_zero),
                both(sigterm_ends_it_in_good_order),
                both(powerdown_is_answered),
                both(calls_may_overlap),
                both(a_killed_vmm_is_lost_once_and_its_calls_fail),
                both(the_monitor_may_be_freed_by_its_own_callback),
                both(an_adopted_connection_goes_on_in_the_middle_of_a_message),
                both(the_vmm_outlives_its_monitor),
                both(a_saved_guest_goes_on_in_another_vmm),
                both(a_state_may_go_through_a_pipe),
                both(a_guest_that_cannot_be_saved_goes_on),
                both(memory_of_the_vmm_s_own_is_not_saved),
                both(garbage_is_not_loaded),
                both(half_a_state_is_not_loaded),
                both(the_version_is_known_to_who_heard_the_greeting),
                only("mock", a_state_is_of_no_use_with_other_memory),
                only("mock", saving_may_be_told_to_fail_or_to_hang),
                only("mock", loading_may_be_told_to_fail_or_to_hang),
                only("qemu", a_guest_that_resets_itself_ends_its_vmm),
                only("mock", a_guest_that_powers_off_ends_its_vmm),
                only("mock", a_vmm_that_dies_at_once_leaves_a_reason),
                only("mock", nonsense_on_the_monitor_is_a_lost_connection),
                only("mock", a_silent_monitor_is_never_ready),
                only("mock", a_vmm_that_crashes_when_paused_is_lost),
                only("mock", an_ignored_powerdown_changes_nothing),
        };

        if (geteuid() != 0 || !can_unshare()) {
                printf("skipped: needs root and mount namespaces\n");
                return 77;
        }
        return cmocka_run_group_tests(tests, NULL, NULL);
}
