/* SPDX-License-Identifier: Apache-2.0 */

/* A real guest that goes on in another QEMU, twice: its processes, what it holds in memory, its disk, its clock, and every
 * byte of the agent channel and the console.
 *
 *     guest-sleep-test KERNEL INITRD ROOT OVERLAY
 *
 * tests/system/guest/guest-boot makes these files and runs it. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/parse-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "guest-vm.h"

#define LINES 60000

static GuestVm vm = { .agent_fd = -EBADF, .console_fd = -EBADF };
static uint32_t counter, holder, echo, printer;
static char *checksum;

static const char *output_of(const char *command) {
        GuestSession *s = guest_run(&vm, command);

        if (s->outputs[1].n > 0)
                printf("%s\n", (const char *) s->outputs[1].p);
        return s->outputs[0].p ? (const char *) s->outputs[0].p : "";
}

static void boot(void **state) {
        const char *memory = getenv("HERO_TEST_MEMORY");
        uint64_t size = UINT64_C(256) << 20;

        assert_true(!memory || parse_size(memory, &size) >= 0);
        guest_start_in_bed(&vm, size);
        guest_boot(&vm, true, NULL, NULL);
        guest_wait(&vm, &vm.ready, 120);
        assert_false(vm.boot_failed);
        printf("booted in %u ms\n", vm.ready_ms);
}

static void much_is_under_way(void **state) {
        counter = guest_exec(&vm, "n=0; while :; do n=$((n+1)); echo $n > /run/count; sleep 0.05; done");
        holder = guest_exec(&vm, "exec 3> /root/held; while read line; do echo $line >&3; sync; echo wrote $line; done");
        echo = guest_exec(&vm, "cat");
        guest_stdin(&vm, holder, "zero\n", 5);
        guest_wait_output(&vm, holder, "wrote zero\n");
        guest_stdin(&vm, echo, "before\n", 7);
        guest_wait_output(&vm, echo, "before\n");
        (void) guest_run(&vm, "dmesg > /run/dmesg");
        checksum = strdup(output_of("dd if=/dev/urandom of=/run/random bs=1M count=24 2>/dev/null; md5sum /run/random"));
        assert_int_equal(strlen(checksum), 32 + strlen("  /run/random\n"));
        printer = guest_exec(&vm, "n=0; while [ $n -lt " STRINGIFY(LINES) " ]; do n=$((n+1)); echo $n; done");
        guest_wait_output(&vm, printer, "\n");
}

static long number_in(const char *command) {
        return strtol(output_of(command), NULL, 10);
}

/* The host's clock is read last, so that the guest's is never ahead. */
static long seconds_late(void) {
        long guest = number_in("date +%s");

        return (long) (now_usec(CLOCK_REALTIME) / USEC_PER_SEC) - guest;
}

static void set_time(void) {
        GpWriter *w = guest_frame(GP_SET_TIME, 0);

        gp_writer_u64(w, GP_FIELD_REALTIME, now_usec(CLOCK_REALTIME));
        vm.time_set = false;
        guest_put(&vm, w);
        guest_wait(&vm, &vm.time_set, 30);
}

/* Not read: much of it lies in QEMU and in the socket when QEMU ends. */
static void sleep_and_wake(void) {
        uint64_t begin;

        printf("asleep %u µs after save\n", guest_sleep(&vm));
        /* While there is no QEMU, something is written to the guest. */
        guest_stdin(&vm, echo, "meanwhile\n", 10);
        sleep(3);
        printf("awake %u µs after exec\n", guest_wake(&vm));
        begin = now_usec(CLOCK_MONOTONIC);
        guest_wait_output(&vm, echo, "meanwhile\n");
        printf("first answer after another %u µs\n", (unsigned) (now_usec(CLOCK_MONOTONIC) - begin));
}

static void check_guest(const char *word) {
        _cleanup_free_ char *line = strprintf("%s\n", word), *wrote = strprintf("wrote %s\n", word);
        long count, later;

        /* Its clock stood still, until it is told the time. */
        assert_in_range(seconds_late(), 2, 30);
        set_time();
        assert_in_range(seconds_late(), 0, 2);

        count = number_in("cat /run/count");
        sleep(1);
        later = number_in("cat /run/count");
        assert_true(count > 0 && later > count);
        assert_false(vm.sessions[counter].exited);
        guest_stdin(&vm, holder, line, strlen(line));
        guest_wait_output(&vm, holder, wrote);
        assert_string_equal(output_of("md5sum /run/random"), checksum);
        assert_string_equal(output_of("dmesg | grep -vxFf /run/dmesg | grep -E 'BUG:|Call Trace|blocked for|I/O error'"), "");
}

static void it_goes_on_in_another_qemu(void **state) {
        sleep_and_wake();
        check_guest("one");
}

static void and_once_more(void **state) {
        guest_drain(&vm, 200);
        vm.sessions[echo].outputs[0].n = 0;
        vm.sessions[echo].outputs[0].p[0] = 0;
        sleep_and_wake();
        check_guest("two");
        assert_string_equal(output_of("cat /root/held"), "zero\none\ntwo\n");
}

static void no_byte_was_lost_or_came_twice(void **state) {
        GuestSession *s = guest_wait_exit(&vm, printer, 120);
        const char *p = (const char *) s->outputs[0].p;
        char *end;

        assert_int_equal(s->status, 0);
        for (unsigned long i = 1; i <= (unsigned long) LINES; i++) {
                assert_int_equal(strtoul(p, &end, 10), i);
                assert_int_equal(*end, '\n');
                p = end + 1;
        }
        assert_int_equal(*p, 0);
}

static void console_goes_on(void **state) {
        guest_wait_console(&vm, "Press Enter to activate this console.");
        assert_int_equal(write(vm.console_fd, "\n", 1), 1);
        guest_drain(&vm, 2000);
        assert_int_equal(write(vm.console_fd, "echo con$((40+2)); exit\n", 24), 24);
        guest_wait_console(&vm, "con42");
}

static void it_powers_off_as_if_nothing_had_been(void **state) {
        guest_stdin(&vm, echo, NULL, 0);
        assert_int_equal(guest_wait_exit(&vm, echo, 30)->status, 0);
        guest_shutdown(&vm);
        guest_wait(&vm, &vm.stopping, 30);
        assert_int_equal(guest_wait_gone(&vm, 60), 0);
}

static int stop_guest(void **state) {
        free(checksum);
        guest_kill(&vm);
        return 0;
}

int main(int argc, char **argv) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(boot),
                cmocka_unit_test(much_is_under_way),
                cmocka_unit_test(it_goes_on_in_another_qemu),
                cmocka_unit_test(and_once_more),
                cmocka_unit_test(no_byte_was_lost_or_came_twice),
                cmocka_unit_test(console_goes_on),
                cmocka_unit_test(it_powers_off_as_if_nothing_had_been),
        };

        if (!guest_arguments(argc, argv))
                return EXIT_FAILURE;
        return cmocka_run_group_tests(tests, NULL, stop_guest);
}
