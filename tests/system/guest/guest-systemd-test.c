/* SPDX-License-Identifier: Apache-2.0 */

/* A Debian whose command is systemd: it is PID 1, and the agent a process beside it.
 *
 *     guest-systemd-test KERNEL INITRD ROOT OVERLAY */

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "guest-vm.h"

/* READY is when systemd begins; --wait wants a bus, which is not there yet. */
#define WAIT_FOR_IT \
        "for i in $(seq 240); do s=$(systemctl is-system-running 2>&1); case $s in running|degraded) break;; esac; sleep 0.5; " \
        "done; echo $s"

static GuestVm vm = { .agent_fd = -EBADF, .console_fd = -EBADF };

static const char *output_of(const char *command) {
        GuestSession *s = guest_wait_exit(&vm, guest_exec(&vm, command), 180);

        if (s->outputs[1].n > 0)
                printf("%s\n", (const char *) s->outputs[1].p);
        return s->outputs[0].p ? (const char *) s->outputs[0].p : "";
}

static void boot(const char *init) {
        GpWriter *w;

        guest_start(&vm);
        guest_wait(&vm, &vm.hello, 60);
        w = guest_frame(GP_BOOT, 0);
        gp_writer_string(w, GP_FIELD_HOSTNAME, "debian-vm");
        gp_writer_string(w, GP_FIELD_ROOT_DEVICE, "serial:root");
        gp_writer_string(w, GP_FIELD_OVERLAY_DEVICE, "serial:overlay");
        gp_writer_string(w, GP_FIELD_ENV, "COLOUR=blue");
        gp_writer_string(w, GP_FIELD_ARG, init);
        gp_writer_u32(w, GP_FIELD_INIT, 1);
        gp_writer_u32(w, GP_FIELD_SIGNAL, 37); /* as images for containers have it: SIGRTMIN+3 would halt for ever */
        gp_writer_u32(w, GP_FIELD_CONSOLE_SHELL, 1);
        gp_writer_u64(w, GP_FIELD_REALTIME, now_usec(CLOCK_REALTIME));
        guest_put(&vm, w);
        guest_wait(&vm, &vm.ready, 90);
        assert_false(vm.boot_failed);
}

static void systemd_boots_as_pid_1(void **state) {
        uint64_t begin = now_usec(CLOCK_MONOTONIC);
        const char *running;

        boot("/sbin/init");
        running = output_of(WAIT_FOR_IT);
        if (!streq(running, "running\n"))
                fail_msg("The system is %s", output_of("systemctl is-system-running; systemctl --failed --no-pager --plain; "
                                                       "systemctl list-jobs; journalctl -b -p warning --no-pager | tail -20"));
        printf("systemd: running %u ms after exec\n", (unsigned) ((now_usec(CLOCK_MONOTONIC) - begin) / USEC_PER_MSEC));
        assert_string_equal(output_of("cat /proc/1/comm; readlink /proc/1/exe"), "systemd\n/usr/lib/systemd/systemd\n");
        assert_string_equal(output_of("systemd-detect-virt -c"), "none\n");
}

static void agent_is_a_process_beside_it(void **state) {
        assert_string_equal(output_of("cat /proc/$PPID/comm /proc/$PPID/cgroup /proc/self/cgroup"),
                            "hero-agent\n0::/hero-agent\n0::/hero-agent\n");
        assert_string_equal(output_of("id -un; echo $COLOUR; grep -c . /etc/machine-id; hostname | wc -l"), "root\nblue\n1\n1\n");
        assert_string_equal(output_of("for d in /proc /sys /dev /dev/pts /run /sys/fs/cgroup; do "
                                      "echo -n \"$d $(grep -c \" $d \" /proc/mounts) \"; done"),
                            "/proc 1 /sys 1 /dev 1 /dev/pts 1 /run 1 /sys/fs/cgroup 1 ");
}

static void services_run(void **state) {
        assert_string_equal(output_of("systemd-run --quiet --wait --pipe -p User=nobody id -un"), "nobody\n");
        assert_string_equal(output_of("systemctl is-active dbus.socket systemd-journald.service"), "active\nactive\n");
}

static void sessions_end_as_they_did(void **state) {
        uint32_t stream = guest_exec(&vm, "echo go; sleep 100");

        guest_wait_output(&vm, stream, "go");
        guest_signal(&vm, stream, SIGTERM);
        assert_int_equal(guest_wait_exit(&vm, stream, 60)->signal, SIGTERM);
        assert_int_equal(guest_run(&vm, "exit 42")->status, 42);
        /* What loses its parent is PID 1's. */
        assert_string_equal(output_of("(sleep 55 & ) ; sleep 1; ps -o ppid= -p $(pgrep -x sleep) | tr -d ' '; pkill -x sleep"), "1\n");
}

static void agent_survives_a_reexecution_of_pid_1(void **state) {
        uint32_t stream = guest_exec(&vm, "cat");

        guest_stdin(&vm, stream, "first\n", 6);
        guest_wait_output(&vm, stream, "first\n");
        (void) output_of("systemctl daemon-reexec");
        assert_string_equal(output_of("cat /proc/$PPID/cgroup; cat /proc/1/comm"), "0::/hero-agent\nsystemd\n");
        guest_stdin(&vm, stream, "second\n", 7);
        guest_stdin(&vm, stream, NULL, 0);
        assert_int_equal(guest_wait_exit(&vm, stream, 60)->status, 0);
        assert_string_equal((const char *) vm.sessions[stream].outputs[0].p, "first\nsecond\n");
}

static void console_is_our_shell_s(void **state) {
        guest_wait_console(&vm, "Press Enter to activate this console.");
        assert_int_equal(write(vm.console_fd, "\n", 1), 1);
        guest_drain(&vm, 2000);
        assert_int_equal(write(vm.console_fd, "echo con$((40+2)); exit\n", 24), 24);
        guest_wait_console(&vm, "con42");
        assert_string_equal(output_of("systemctl is-active serial-getty@ttyS0.service"), "inactive\n");
}

static void shutdown_is_systemd_s_own(void **state) {
        (void) output_of("printf '[Service]\\nType=oneshot\\nRemainAfterExit=yes\\nExecStart=true\\nExecStop=sh -c \"echo clean > /root/stopped\"\\n' "
                         "> /run/systemd/system/last.service; systemctl daemon-reload; systemctl start last.service; "
                         "cat /etc/machine-id > /root/machine-id");
        guest_shutdown(&vm);
        guest_wait(&vm, &vm.stopping, 30);
        assert_int_equal(guest_wait_gone(&vm, 60), 0);
        assert_false(vm.command_exited);
        guest_kill(&vm);
}

static void machine_is_the_same_one_the_next_time(void **state) {
        boot("/lib/systemd/systemd");
        assert_string_equal(output_of("cat /root/stopped; cmp /etc/machine-id /root/machine-id && echo same"), "clean\nsame\n");
}

static void guest_may_power_off_by_itself(void **state) {
        assert_string_equal(output_of(WAIT_FOR_IT), "running\n");
        (void) guest_exec(&vm, "systemctl poweroff");
        assert_int_equal(guest_wait_gone(&vm, 90), 0);
        assert_false(vm.stopping);
        guest_kill(&vm);
}

static int stop_guest(void **state) {
        guest_kill(&vm);
        return 0;
}

int main(int argc, char **argv) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(systemd_boots_as_pid_1),
                cmocka_unit_test(agent_is_a_process_beside_it),
                cmocka_unit_test(services_run),
                cmocka_unit_test(sessions_end_as_they_did),
                cmocka_unit_test(agent_survives_a_reexecution_of_pid_1),
                cmocka_unit_test(console_is_our_shell_s),
                cmocka_unit_test(shutdown_is_systemd_s_own),
                cmocka_unit_test(machine_is_the_same_one_the_next_time),
                cmocka_unit_test(guest_may_power_off_by_itself),
        };

        if (!guest_arguments(argc, argv))
                return EXIT_FAILURE;
        return cmocka_run_group_tests(tests, NULL, stop_guest);
}
