/* SPDX-License-Identifier: Apache-2.0 */

/* A real guest: kernel, initrd, hero-init and a busybox image under QEMU, spoken to over the agent channel.
 *
 *     guest-boot-test KERNEL INITRD ROOT OVERLAY
 *
 * tests/system/guest-boot makes these files and runs it. Prints the boot's timeline. */

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

static GuestVm vm = { .agent_fd = -EBADF, .console_fd = -EBADF };

static const char *text(const GuestOutput *o) {
        return o->p ? (const char *) o->p : "";
}

static const char *output_of(const char *command) {
        return text(&guest_run(&vm, command)->outputs[0]);
}

static GuestSession *run_as(const char *user, const char *cwd, const char *program) {
        uint32_t stream;
        GpWriter *w = guest_exec_frame(&vm, &stream);

        gp_writer_string(w, GP_FIELD_ARG, program);
        gp_writer_string(w, GP_FIELD_USER, user);
        gp_writer_string(w, GP_FIELD_CWD, cwd);
        return guest_wait_exit(&vm, guest_exec_fields(&vm, w), 30);
}

static uint32_t exec_tty(const char *command, uint32_t rows, uint32_t columns) {
        char *const argv[] = { (char *) "sh", (char *) "-c", (char *) command, NULL };
        uint32_t stream;
        GpWriter *w = guest_exec_frame(&vm, &stream);

        gp_writer_strv(w, GP_FIELD_ARG, argv);
        gp_writer_u32(w, GP_FIELD_TTY, 1);
        gp_writer_u32(w, GP_FIELD_ROWS, rows);
        gp_writer_u32(w, GP_FIELD_COLUMNS, columns);
        return guest_exec_fields(&vm, w);
}

/* A guest that stays. */

static void guest_boots_and_says_ready(void **state) {
        guest_start(&vm);
        guest_boot(&vm, true, NULL, NULL);
        guest_wait(&vm, &vm.ready, 60);
        assert_false(vm.boot_failed);
        printf("boot: hello %u ms, ready %u ms after exec; %u ms on the guest's own clock\n", vm.hello_ms, vm.ready_ms,
                        vm.boot_ms);
}

static void output_and_status_come_back(void **state) {
        GuestSession *s = guest_run(&vm, "echo out; echo err >&2; exit 42");

        assert_string_equal(text(&s->outputs[0]), "out\n");
        assert_string_equal(text(&s->outputs[1]), "err\n");
        assert_int_equal(s->status, 42);
        assert_int_equal(s->signal, 0);
        assert_true(s->pid > 1);
}

static void death_by_signal_is_told_as_such(void **state) {
        GuestSession *s = guest_run(&vm, "kill -9 $$");

        assert_int_equal(s->signal, SIGKILL);
        assert_int_equal(s->status, 0);
}

static void environment_has_the_image_s_and_the_usual(void **state) {
        assert_string_equal(output_of("echo $COLOUR $HOME $USER $PWD $SHELL; echo $PATH"),
                        "blue /root root /root /bin/sh\n"
                        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n");
}

static void system_looks_like_one(void **state) {
        assert_string_equal(output_of("hostname; cat /etc/hostname; grep -c localhost /etc/hosts; test -s /etc/resolv.conf "
                                      "&& echo resolv; ping -c1 -W2 127.0.0.1 >/dev/null && echo lo"),
                        "alice-vm\nalice-vm\n2\nresolv\nlo\n");
        assert_string_equal(output_of("for d in /proc /sys /dev /dev/pts /run /tmp /sys/fs/cgroup /; do "
                                      "grep -q \" $d \" /proc/mounts && echo -n \"$d \"; done"),
                        "/proc /sys /dev /dev/pts /run /tmp /sys/fs/cgroup / ");
        /* Neither the initramfs nor the layers can be reached. */
        assert_string_equal(output_of("ls -d /mnt/lower /mnt/layer /modules /mnt 2>/dev/null; cat /proc/1/comm"), "init\n");
}

static void root_directory_is_the_image_s(void **state) {
        assert_string_equal(output_of("stat -c '%a %u %g' /; up=$(cut -d. -f1 /proc/uptime); [ $(($(date +%s) - up)) -ge $(stat -c %Y /) ] "
                                      "&& echo older than the boot"), "751 0 0\nolder than the boot\n");
}

static void clock_is_the_host_s(void **state) {
        long long t = atoll(output_of("date +%s"));

        assert_in_range(t, now_usec(CLOCK_REALTIME) / USEC_PER_SEC - 30, now_usec(CLOCK_REALTIME) / USEC_PER_SEC + 30);
}

static void what_cannot_be_executed_says_why(void **state) {
        GuestSession *s = run_as(NULL, NULL, "no-such-program");

        assert_true(s->failed);
        assert_int_equal(s->error, ENOENT);
        assert_non_null(strstr(s->message, "no-such-program"));

        s = run_as(NULL, NULL, "/etc/passwd");
        assert_int_equal(s->error, EACCES);
        s = run_as(NULL, "/nowhere", "true");
        assert_int_equal(s->error, ENOENT);
        assert_non_null(strstr(s->message, "/nowhere"));
        s = run_as("nobody-there", NULL, "true");
        assert_int_equal(s->error, ESRCH);
        assert_non_null(strstr(s->message, "nobody-there"));
        s = run_as("root:no-such-group", NULL, "true");
        assert_int_equal(s->error, ENOMSG);
}

static void sessions_run_as_the_image_s_users(void **state) {
        assert_string_equal(text(&run_as("alice", NULL, "id")->outputs[0]),
                        "uid=1000(alice) gid=1000(alice) groups=44(video),1000(alice)\n");
        assert_string_equal(text(&run_as("alice", NULL, "pwd")->outputs[0]), "/home/alice\n");
        assert_string_equal(text(&run_as("alice:video", "/tmp", "id")->outputs[0]),
                        "uid=1000(alice) gid=44(video) groups=44(video)\n");
        assert_string_equal(text(&run_as("4711:42", NULL, "id")->outputs[0]), "uid=4711 gid=42 groups=42\n");
}

static void ten_megabytes_go_through_cat_unchanged(void **state) {
        enum { SIZE = 10 * 1024 * 1024 };
        _cleanup_free_ uint8_t *data = malloc(SIZE);
        uint64_t begin = now_usec(CLOCK_MONOTONIC), x = 88172645463325252u;
        uint32_t stream = guest_exec(&vm, "cat");
        GuestSession *s;

        assert_non_null(data);
        for (size_t i = 0; i < SIZE; i++) {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                data[i] = (uint8_t) x;
        }
        guest_stdin(&vm, stream, data, SIZE);
        guest_stdin(&vm, stream, NULL, 0);
        s = guest_wait_exit(&vm, stream, 120);
        assert_int_equal(s->status, 0);
        assert_int_equal(s->outputs[0].n, SIZE);
        assert_memory_equal(s->outputs[0].p, data, SIZE);
        printf("cat: 10 MB there and back in %u ms\n", (unsigned) ((now_usec(CLOCK_MONOTONIC) - begin) / USEC_PER_MSEC));
}

static void output_stops_at_the_window_and_holds_up_nobody(void **state) {
        uint32_t stream = guest_exec(&vm, "yes | head -c 3000000");
        GuestSession *s = &vm.sessions[stream];

        s->outputs[0].held = true;
        guest_drain(&vm, 500);
        assert_true(s->outputs[0].receiver.taken <= GP_WINDOW);
        assert_true(s->outputs[0].receiver.taken > GP_WINDOW - GP_DATA_MAX - 2 * GP_DATA_COST);
        assert_string_equal(output_of("echo meanwhile"), "meanwhile\n");

        guest_release(&vm, stream, 0);
        guest_wait_exit(&vm, stream, 60);
        assert_int_equal(s->outputs[0].n, 3000000);
}

static void input_that_nobody_reads_does_not_stall(void **state) {
        static uint8_t zeroes[1024 * 1024];
        uint32_t stream = guest_exec(&vm, "exec <&-; sleep 1; echo done");

        guest_wait(&vm, &vm.sessions[stream].started, 30);
        guest_drain(&vm, 200);
        guest_stdin(&vm, stream, zeroes, sizeof(zeroes));
        assert_string_equal(text(&guest_wait_exit(&vm, stream, 30)->outputs[0]), "done\n");
}

static void terminal_is_one(void **state) {
        uint32_t stream = exec_tty("stty size; tty; trap 'stty size; exit 3' WINCH; echo here > /dev/tty; echo go; "
                                   "while :; do sleep 0.1; done", 33, 101);
        GpWriter *w;

        guest_wait_output(&vm, stream, "33 101\r\n/dev/pts/0\r\nhere\r\ngo\r\n");
        w = guest_frame(GP_RESIZE, stream);
        gp_writer_u32(w, GP_FIELD_ROWS, 50);
        gp_writer_u32(w, GP_FIELD_COLUMNS, 132);
        guest_put(&vm, w);
        guest_wait_output(&vm, stream, "50 132\r\n");
        assert_int_equal(guest_wait_exit(&vm, stream, 30)->status, 3);
}

static void keys_on_the_terminal_are_signals(void **state) {
        uint32_t stream = exec_tty("echo go; exec sleep 100", 24, 80);

        guest_wait_output(&vm, stream, "go");
        guest_drain(&vm, 300);
        guest_stdin(&vm, stream, "\003", 1);
        assert_int_equal(guest_wait_exit(&vm, stream, 30)->signal, SIGINT);
}

static void end_of_input_reaches_a_terminal(void **state) {
        uint32_t stream = exec_tty("cat; echo end", 24, 80);

        guest_wait(&vm, &vm.sessions[stream].started, 30);
        guest_drain(&vm, 300);
        guest_stdin(&vm, stream, "abc", 3);
        guest_stdin(&vm, stream, NULL, 0);
        guest_wait_exit(&vm, stream, 30);
        assert_non_null(strstr(text(&vm.sessions[stream].outputs[0]), "end\r\n"));
}

static void signals_go_to_the_whole_group(void **state) {
        uint32_t stream = guest_exec(&vm, "echo go; sleep 100 | sleep 100");

        guest_wait_output(&vm, stream, "go");
        guest_drain(&vm, 200);
        guest_signal(&vm, stream, SIGTERM);
        assert_int_equal(guest_wait_exit(&vm, stream, 30)->signal, SIGTERM);
        assert_string_equal(output_of("pidof sleep | wc -w"), "0\n");
}

static void background_process_does_not_hold_the_session(void **state) {
        uint64_t begin = now_usec(CLOCK_MONOTONIC);
        GuestSession *s = guest_run(&vm, "sleep 77 & echo hi");

        assert_string_equal(text(&s->outputs[0]), "hi\n");
        assert_true(now_usec(CLOCK_MONOTONIC) - begin < 5 * USEC_PER_SEC);
        assert_string_equal(output_of("pidof sleep | wc -w; kill $(pidof sleep)"), "1\n");
}

static void client_that_goes_away_ends_its_session(void **state) {
        uint32_t polite = guest_exec(&vm, "sleep 100"), stubborn = guest_exec(&vm, "trap '' HUP; while :; do sleep 1; done");
        uint64_t begin;

        guest_wait(&vm, &vm.sessions[polite].started, 30);
        guest_wait(&vm, &vm.sessions[stubborn].started, 30);
        guest_drain(&vm, 300);
        begin = now_usec(CLOCK_MONOTONIC);
        guest_put(&vm, guest_frame(GP_CLOSE, polite));
        guest_put(&vm, guest_frame(GP_CLOSE, stubborn));
        assert_int_equal(guest_wait_exit(&vm, polite, 30)->signal, SIGHUP);
        assert_int_equal(guest_wait_exit(&vm, stubborn, 30)->signal, SIGKILL);
        assert_true(now_usec(CLOCK_MONOTONIC) - begin > 2 * USEC_PER_SEC); /* 5 s of the guest, whose clock may be fast without KVM */
}

static void restarted_host_learns_of_its_sessions(void **state) {
        uint32_t stream = guest_exec(&vm, "cat");
        GpStreamState *found = NULL;
        GpWriter *w;

        guest_stdin(&vm, stream, "first\n", 6);
        guest_wait_output(&vm, stream, "first\n");
        w = guest_frame(GP_RESUME, 0);
        gp_writer_u64(w, GP_FIELD_NONCE, 0x123456789abcu);
        guest_put(&vm, w);
        guest_wait(&vm, &vm.resumed, 30);
        assert_true(vm.nonce == 0x123456789abcu);
        assert_int_equal(vm.phase, GP_PHASE_READY);
        for (size_t i = 0; i < vm.n_states; i++)
                if (vm.states[i].stream == stream)
                        found = &vm.states[i];
        assert_non_null(found);
        assert_int_equal(found->flags, 0);
        assert_true(found->stdin_taken == 6 + GP_DATA_COST && found->stdout_sent == 6 + GP_DATA_COST);
        assert_true(found->stdin_window == GP_WINDOW && found->stderr_sent == 0);

        guest_stdin(&vm, stream, "second\n", 7);
        guest_stdin(&vm, stream, NULL, 0);
        assert_string_equal(text(&guest_wait_exit(&vm, stream, 30)->outputs[0]), "first\nsecond\n");
}

static void clock_can_be_set(void **state) {
        GpWriter *w = guest_frame(GP_SET_TIME, 0);

        gp_writer_u64(w, GP_FIELD_REALTIME, UINT64_C(2000000000) * USEC_PER_SEC);
        guest_put(&vm, w);
        guest_wait(&vm, &vm.time_set, 30);
        assert_in_range(atoll(output_of("date +%s")), 2000000000, 2000000030);
}

static void unknown_frames_and_fields_are_skipped(void **state) {
        uint32_t stream;
        GpWriter *w = guest_frame((GpType) 9999, 7);

        gp_writer_raw(w, "what is this?", 13);
        guest_put(&vm, w);
        guest_signal(&vm, 100, SIGKILL); /* no such session */

        w = guest_exec_frame(&vm, &stream);
        gp_writer_string(w, (GpField) 777, "new in version 2");
        gp_writer_string(w, GP_FIELD_ARG, "true");
        assert_int_equal(guest_wait_exit(&vm, guest_exec_fields(&vm, w), 30)->status, 0);
}

static void frame_may_come_in_pieces(void **state) {
        uint32_t stream;
        GpWriter *w = guest_exec_frame(&vm, &stream);
        GuestSession *s = &vm.sessions[stream];
        size_t n;

        gp_writer_string(w, GP_FIELD_ARG, "echo");
        gp_writer_string(w, GP_FIELD_ARG, "pieces");
        assert_int_equal(gp_writer_finish(w, &n), 0);
        s->used = true;
        gp_receiver_init(&s->outputs[0].receiver);
        gp_receiver_init(&s->outputs[1].receiver);
        vm.next_stream++;
        for (size_t i = 0; i < n; i++) {
                guest_put_bytes(&vm, w->buf + i, 1);
                if (i % 8 == 0)
                        usleep(2000);
        }
        assert_string_equal(text(&guest_wait_exit(&vm, stream, 30)->outputs[0]), "pieces\n");
}

static void one_session_too_many_is_refused(void **state) {
        uint32_t streams[GP_SESSIONS_MAX], extra;

        for (unsigned i = 0; i < GP_SESSIONS_MAX; i++)
                streams[i] = guest_exec(&vm, "read x");
        extra = guest_exec(&vm, "true");
        assert_int_equal(guest_wait_exit(&vm, extra, 60)->error, EUSERS);
        for (unsigned i = 0; i < GP_SESSIONS_MAX; i++)
                guest_stdin(&vm, streams[i], NULL, 0);
        for (unsigned i = 0; i < GP_SESSIONS_MAX; i++)
                assert_int_equal(guest_wait_exit(&vm, streams[i], 60)->status, 1);
        assert_int_equal(guest_run(&vm, "true")->status, 0);
}

static void console_gives_a_shell_on_enter(void **state) {
        guest_wait_console(&vm, "Press Enter to activate this console.");
        assert_int_equal(write(vm.console_fd, "\n", 1), 1);
        guest_drain(&vm, 1000);
        assert_int_equal(write(vm.console_fd, "echo con$((40+2)); tty\n", 23), 23);
        guest_wait_console(&vm, "con42");
        guest_wait_console(&vm, "/dev/ttyS0");
        /* … and again. */
        vm.n_console = 0;
        vm.console[0] = 0;
        assert_int_equal(write(vm.console_fd, "exit\n", 5), 5);
        guest_wait_console(&vm, "Press Enter to activate this console.");
}

static void shutdown_ends_even_what_ignores_it(void **state) {
        uint32_t stream = guest_exec(&vm, "echo kept > /root/kept; trap '' TERM; echo go; while :; do sleep 1; done");

        guest_wait_output(&vm, stream, "go");
        guest_shutdown(&vm);
        guest_wait(&vm, &vm.stopping, 30);
        assert_int_equal(guest_wait_gone(&vm, 30), 0);
        assert_int_equal(vm.sessions[stream].signal, SIGKILL);
        guest_kill(&vm);
}

/* Guests that come and go. */

static void disk_is_clean_after_power_off(void **state) {
        _cleanup_free_ char *command = strprintf("/sbin/e2fsck -fn '%s' >/dev/null 2>&1 && "
                                                 "! /sbin/dumpe2fs -h '%s' 2>/dev/null | grep -q needs_recovery",
                        guest_overlay, guest_overlay);

        assert_int_equal(system(command), 0);
}

static void command_s_status_is_reported_and_ends_the_vm(void **state) {
        char *const command[] = { (char *) "sh", (char *) "-c",
                (char *) "cat /root/kept; id -un; echo $COLOUR; tty; exit 7", NULL };

        guest_start(&vm);
        guest_boot(&vm, true, command, NULL);
        assert_int_equal(guest_wait_gone(&vm, 90), 0);
        assert_true(vm.ready && vm.command_exited);
        assert_int_equal(vm.status, 7);
        assert_non_null(strstr(vm.message, "status 7"));
        assert_non_null(vm.console);
        assert_non_null(strstr(vm.console, "kept\r\nroot\r\nblue\r\n/dev/ttyS0\r\n"));
        guest_kill(&vm);
}

static void command_runs_as_the_user_without_an_overlay_disk(void **state) {
        char *const command[] = { (char *) "sh", (char *) "-c",
                (char *) "id -un; test -e /root/kept || echo fresh; kill -15 $$", NULL };

        guest_start(&vm);
        guest_boot(&vm, false, command, "alice");
        assert_int_equal(guest_wait_gone(&vm, 90), 0);
        assert_int_equal(vm.status, 128 + SIGTERM);
        assert_non_null(strstr(strempty(vm.console), "alice\r\nfresh\r\n"));
        guest_kill(&vm);
}

static void command_that_is_not_there_fails_the_boot(void **state) {
        char *const command[] = { (char *) "/no/such/program", NULL };

        guest_start(&vm);
        guest_boot(&vm, true, command, NULL);
        assert_int_equal(guest_wait_gone(&vm, 90), 0);
        assert_false(vm.ready);
        assert_true(vm.boot_failed);
        assert_int_equal(vm.error, ENOENT);
        assert_int_equal(vm.status, 127);
        assert_non_null(strstr(vm.message, "/no/such/program"));
        guest_kill(&vm);
}

static void command_gets_its_directory_and_its_stop_signal(void **state) {
        char *const command[] = { (char *) "sh", (char *) "-c",
                (char *) "trap 'echo asked; sleep 1; exit 5' INT; trap '' TERM; id; pwd; echo home $HOME; while :; do sleep 0.1; done",
                NULL };

        guest_start(&vm);
        guest_boot_more(&vm, true, command, "1000:44", "/srv/app/data", SIGINT);
        guest_wait(&vm, &vm.ready, 90);
        guest_wait_console(&vm, "uid=1000(alice) gid=44(video) groups=44(video)\r\n/srv/app/data\r\nhome /home/alice\r\n");
        /* Commands of the host find themselves there too, but as root. */
        assert_string_equal(output_of("pwd; id -un; stat -c %u:%a /srv/app/data"), "/srv/app/data\nroot\n0:755\n");
        guest_shutdown(&vm);
        assert_int_equal(guest_wait_gone(&vm, 30), 0);
        assert_non_null(strstr(vm.console, "asked"));
        assert_int_equal(vm.status, 5);
        guest_kill(&vm);
}

static void command_that_does_not_heed_its_stop_signal_is_killed(void **state) {
        char *const command[] = { (char *) "sh", (char *) "-c", (char *) "trap '' TERM; echo go; while :; do sleep 1; done", NULL };
        uint64_t begin;

        guest_start(&vm);
        guest_boot(&vm, false, command, NULL);
        guest_wait_console(&vm, "go");
        begin = now_usec(CLOCK_MONOTONIC);
        guest_shutdown(&vm);
        assert_int_equal(guest_wait_gone(&vm, 30), 0);
        assert_int_equal(vm.status, 128 + SIGKILL);
        assert_in_range(now_usec(CLOCK_MONOTONIC) - begin, 9 * USEC_PER_SEC, 18 * USEC_PER_SEC);
        guest_kill(&vm);
}

static void boot_init(const char *init) {
        GpWriter *w;

        guest_start(&vm);
        guest_wait(&vm, &vm.hello, 60);
        w = guest_frame(GP_BOOT, 0);
        gp_writer_string(w, GP_FIELD_ROOT_DEVICE, "serial:root");
        gp_writer_string(w, GP_FIELD_OVERLAY_DEVICE, "serial:overlay");
        gp_writer_string(w, GP_FIELD_ENV, "COLOUR=green");
        gp_writer_string(w, GP_FIELD_ARG, init);
        gp_writer_u32(w, GP_FIELD_INIT, 1);
        gp_writer_u32(w, GP_FIELD_CONSOLE_SHELL, 1);
        guest_put(&vm, w);
}

/* As busybox has it; guest-systemd-test.c has the other one. */
static void init_of_the_image_is_pid_1(void **state) {
        boot_init("/sbin/init");
        guest_wait(&vm, &vm.ready, 90);
        assert_string_equal(output_of("until [ -s /run/colour ]; do sleep 0.1; done; cat /run/up /run/colour; readlink /proc/1/exe; "
                                      "cat /proc/1/comm; [ $PPID -gt 1 ] && cat /proc/$PPID/comm; cat /proc/$PPID/cgroup"),
                            "up\ngreen\n/bin/busybox\ninit\nhero-agent\n0::/hero-agent\n");
        assert_string_equal(output_of("kill -TERM $PPID; kill -HUP $PPID; sleep 1; echo still there"), "still there\n");
        guest_shutdown(&vm);
        assert_int_equal(guest_wait_gone(&vm, 30), 0);
        assert_false(vm.command_exited);
        assert_null(strstr(vm.console, "Press Enter"));
        guest_kill(&vm);
}

static void init_of_the_image_shuts_down_properly(void **state) {
        boot_init("/sbin/init");
        guest_wait(&vm, &vm.ready, 90);
        assert_string_equal(output_of("cat /root/down; until [ -s /run/colour ]; do sleep 0.1; done"), "down\n");
        (void) guest_exec(&vm, "poweroff");
        assert_int_equal(guest_wait_gone(&vm, 30), 0);
        guest_kill(&vm);
}

/* As in s6-overlay: its end has a status, and is no reason for the kernel to panic. */
static void init_made_for_containers_may_end(void **state) {
        boot_init("/init");
        guest_wait(&vm, &vm.ready, 90);
        guest_wait_console(&vm, "I am 1\r\n");
        assert_string_equal(output_of("cat /proc/1/cmdline | tr '\\0' ' '; kill -9 1; sleep 1; echo unharmed"), "/bin/sh /init unharmed\n");
        guest_shutdown(&vm);
        assert_int_equal(guest_wait_gone(&vm, 30), 0);
        assert_true(vm.command_exited);
        assert_int_equal(vm.status, 9);
        guest_kill(&vm);
}

static void init_that_is_not_there_fails_the_boot(void **state) {
        boot_init("/lib/systemd/systemd");
        assert_int_equal(guest_wait_gone(&vm, 90), 0);
        assert_true(vm.boot_failed);
        assert_int_equal(vm.status, 127);
        assert_non_null(strstr(vm.message, "/lib/systemd/systemd"));
        guest_kill(&vm);
}

static void disk_that_is_not_there_fails_the_boot(void **state) {
        GpWriter *w;

        guest_start(&vm);
        guest_wait(&vm, &vm.hello, 60);
        w = guest_frame(GP_BOOT, 0);
        gp_writer_string(w, GP_FIELD_ROOT_DEVICE, "serial:nothing");
        guest_put(&vm, w);
        assert_int_equal(guest_wait_gone(&vm, 90), 0);
        assert_true(vm.boot_failed);
        assert_int_equal(vm.error, ENODEV);
        assert_non_null(strstr(vm.message, "serial:nothing"));
        guest_kill(&vm);
}

static void boot_waits_for_its_configuration(void **state) {
        GpWriter *w;

        guest_start(&vm);
        guest_wait(&vm, &vm.hello, 60);
        guest_exec(&vm, "true");
        assert_int_equal(guest_wait_exit(&vm, 1, 30)->error, EHOSTDOWN);
        w = guest_frame(GP_RESUME, 0);
        gp_writer_u64(w, GP_FIELD_NONCE, 1);
        guest_put(&vm, w);
        guest_wait(&vm, &vm.resumed, 30);
        assert_int_equal(vm.phase, GP_PHASE_WAITING);
        guest_shutdown(&vm);
        assert_int_equal(guest_wait_gone(&vm, 30), 0);
        assert_true(vm.stopping);
        guest_kill(&vm);
}

/* Not what our daemon does (it keeps the socket), but what happens when anything in between goes away. */
static void sessions_survive_a_host_that_goes_away(void **state) {
        _cleanup_free_ char *path = strprintf("%s.socket", guest_overlay);
        uint8_t half[GP_HEADER_SIZE];
        uint32_t cat, ticks;
        GpWriter *w;

        guest_start_listening(&vm, path);
        guest_boot(&vm, true, NULL, NULL);
        guest_wait(&vm, &vm.ready, 60);
        cat = guest_exec(&vm, "cat");
        guest_stdin(&vm, cat, "first\n", 6);
        guest_wait_output(&vm, cat, "first\n");
        ticks = guest_exec(&vm, "echo go; sleep 2; echo still");
        guest_wait_output(&vm, ticks, "go\n");

        /* The first half of a frame, nobody for a while, then the second half. */
        gp_header_write(half, &(GpHeader) { .type = GP_RESIZE, .stream = cat });
        guest_put_bytes(&vm, half, 5);
        guest_drain(&vm, 300);
        safe_close(vm.agent_fd);
        vm.agent_fd = -EBADF;
        sleep(1);
        guest_connect(&vm, path);
        guest_put_bytes(&vm, half + 5, sizeof(half) - 5);

        w = guest_frame(GP_RESUME, 0);
        gp_writer_u64(w, GP_FIELD_NONCE, 7);
        guest_put(&vm, w);
        guest_wait(&vm, &vm.resumed, 30);
        assert_true(vm.nonce == 7);
        assert_int_equal(vm.n_states, 2);
        guest_stdin(&vm, cat, "second\n", 7);
        guest_stdin(&vm, cat, NULL, 0);
        assert_string_equal(text(&guest_wait_exit(&vm, cat, 30)->outputs[0]), "first\nsecond\n");
        assert_string_equal(text(&guest_wait_exit(&vm, ticks, 30)->outputs[0]), "go\nstill\n");
        guest_shutdown(&vm);
        assert_int_equal(guest_wait_gone(&vm, 30), 0);
        guest_kill(&vm);
}

static int stop_guest(void **state) {
        guest_kill(&vm);
        return 0;
}

int main(int argc, char **argv) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(guest_boots_and_says_ready),
                cmocka_unit_test(output_and_status_come_back),
                cmocka_unit_test(death_by_signal_is_told_as_such),
                cmocka_unit_test(environment_has_the_image_s_and_the_usual),
                cmocka_unit_test(system_looks_like_one),
                cmocka_unit_test(root_directory_is_the_image_s),
                cmocka_unit_test(clock_is_the_host_s),
                cmocka_unit_test(what_cannot_be_executed_says_why),
                cmocka_unit_test(sessions_run_as_the_image_s_users),
                cmocka_unit_test(ten_megabytes_go_through_cat_unchanged),
                cmocka_unit_test(output_stops_at_the_window_and_holds_up_nobody),
                cmocka_unit_test(input_that_nobody_reads_does_not_stall),
                cmocka_unit_test(terminal_is_one),
                cmocka_unit_test(keys_on_the_terminal_are_signals),
                cmocka_unit_test(end_of_input_reaches_a_terminal),
                cmocka_unit_test(signals_go_to_the_whole_group),
                cmocka_unit_test(background_process_does_not_hold_the_session),
                cmocka_unit_test(client_that_goes_away_ends_its_session),
                cmocka_unit_test(restarted_host_learns_of_its_sessions),
                cmocka_unit_test(unknown_frames_and_fields_are_skipped),
                cmocka_unit_test(frame_may_come_in_pieces),
                cmocka_unit_test(console_gives_a_shell_on_enter),
                cmocka_unit_test(one_session_too_many_is_refused),
                cmocka_unit_test(clock_can_be_set),
                cmocka_unit_test(shutdown_ends_even_what_ignores_it),
                cmocka_unit_test(disk_is_clean_after_power_off),
                cmocka_unit_test(command_s_status_is_reported_and_ends_the_vm),
                cmocka_unit_test(command_runs_as_the_user_without_an_overlay_disk),
                cmocka_unit_test(command_that_is_not_there_fails_the_boot),
                cmocka_unit_test(command_gets_its_directory_and_its_stop_signal),
                cmocka_unit_test(command_that_does_not_heed_its_stop_signal_is_killed),
                cmocka_unit_test(init_of_the_image_is_pid_1),
                cmocka_unit_test(init_of_the_image_shuts_down_properly),
                cmocka_unit_test(init_made_for_containers_may_end),
                cmocka_unit_test(init_that_is_not_there_fails_the_boot),
                cmocka_unit_test(disk_that_is_not_there_fails_the_boot),
                cmocka_unit_test(boot_waits_for_its_configuration),
                cmocka_unit_test(sessions_survive_a_host_that_goes_away),
        };

        if (!guest_arguments(argc, argv))
                return EXIT_FAILURE;
        return cmocka_run_group_tests(tests, NULL, stop_guest);
}
