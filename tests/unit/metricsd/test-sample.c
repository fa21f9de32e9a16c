/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "metricsd/cgroup-file.h"
#include "metricsd/sample.h"

/* Passes of a real loop, step by step, over one VM whose cgroup is a directory of ours. */

#define INTERVAL (800 * USEC_PER_MSEC)
#define SCOPE "machine.slice/machine-hero.slice/hero-vm-a.scope"

static char root[64];
static sd_event *event;
static Vms vms;
static Vm vm;
static History *history;
static Sampler *sampler;

static void ignore(void *userdata) {
}

static void removing(Vm *v, void *userdata) {
}

/* In place, as the kernel: the file is kept open. */
static void used(uint64_t cpu) {
        _cleanup_close_ int fd = open(SCOPE "/cpu.stat", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        char text[128] = {};

        assert_true(fd >= 0);
        (void) snprintf(text, sizeof(text), "usage_usec %-20" PRIu64 "\n", cpu);
        assert_int_equal(write_all(fd, text, strlen(text)), 0);
}

static int setup(void **state) {
        static char id[] = "0123456789ab", name[] = "a", unit[] = "hero-vm-a.scope", tap[] = "lo";

        (void) snprintf(root, sizeof(root), "/tmp/test-sample-XXXXXX");
        if (!mkdtemp(root) || chdir(root) < 0 || mkdir("machine.slice", 0700) < 0 ||
            mkdir("machine.slice/machine-hero.slice", 0700) < 0 || mkdir(SCOPE, 0700) < 0)
                return -1;
        used(0);
        if (setenv("HERO_CGROUP_DIR", root, 1) < 0 || sd_event_new(&event) < 0 || history_new(event, NULL, 1 << 20, &history) < 0)
                return -1;
        vms = (Vms) { .list = TAILQ_HEAD_INITIALIZER(vms.list), .removing = removing };
        vm = (Vm) { .id = id, .name = name, .unit = unit, .tap = tap, .pid = (uint32_t) getpid(), .cgroup = CGROUP_NULL };
        counters_unknown(&vm.counters);
        TAILQ_INSERT_TAIL(&vms.list, &vm, vms);
        return sampler_new(event, &vms, history, INTERVAL, ignore, NULL, &sampler);
}

static int teardown(void **state) {
        sampler = sampler_free(sampler);
        cgroup_close(&vm.cgroup);
        history = history_free(history);
        event = sd_event_unref(event);
        return chdir("/") < 0 ? -1 : remove_tree_at(AT_FDCWD, root);
}

/* Its timer, and then its only batch. */
static void begin_pass(void) {
        assert_true(sd_event_run(event, UINT64_MAX) > 0);
}

static void end_pass(void) {
        uint64_t passes = sampler_status(sampler)->passes;

        assert_true(sd_event_run(event, UINT64_MAX) > 0);
        assert_int_equal(sampler_status(sampler)->passes, passes + 1);
}

static void pass(void) {
        begin_pass();
        end_pass();
}

static void break_reading(void) {
        _cleanup_close_ int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        assert_true(dup3(fd, vm.cgroup.fds[CGROUP_CPU_STAT], O_CLOEXEC) >= 0); /* EISDIR */
}

static void what_fails_to_be_read_is_a_gap_and_no_new_beginning(void **state) {
        uint64_t sampled;

        used(1000000000);
        pass();
        used(1000100000);
        pass();
        assert_int_equal(vm.usage.v[METRIC_CPU], 100000);
        sampled = vm.sampled_time;
        break_reading();
        pass();
        assert_int_equal(vm.usage.span, 0);
        assert_true(vm.counters.v[COUNTER_CPU] == VALUE_UNKNOWN);
        assert_true(vm.sampled_time == sampled); /* 0 would say that it does not run */
        used(1000300000);
        pass();
        assert_int_equal(vm.usage.span, 0);
        assert_int_equal(vm.counters.v[COUNTER_CPU], 1000300000);
        used(1000400000);
        pass();
        assert_int_equal(vm.usage.v[METRIC_CPU], 100000);
}

static void a_cgroup_that_is_gone_begins_at_nothing_when_it_is_back(void **state) {
        used(1000000000);
        pass();
        vm.pid = 0;
        pass();
        assert_int_equal(vm.sampled_time, 0);
        used(50000);
        vm.pid = (uint32_t) getpid();
        pass();
        assert_int_equal(vm.usage.v[METRIC_CPU], 50000);
}

static void rates_of_a_late_pass_are_of_the_time_that_passed(void **state) {
        uint64_t begin, passed;

        used(0);
        pass();
        begin = vm.sampled;
        (void) usleep(2 * INTERVAL);
        used(100000);
        pass();
        passed = vm.sampled - begin;
        assert_true(passed >= 2 * INTERVAL);
        assert_int_equal(vm.usage.span, passed);
        assert_int_equal(vm.usage.v[METRIC_CPU], 100000);
}

static void send_datagrams(unsigned n) {
        const struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        _cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        static const char data[1000];

        for (unsigned i = 0; i < n; i++)
                if (sendto(fd, data, sizeof(data), 0, (const struct sockaddr *) &address, sizeof(address)) < 0)
                        skip(); /* without a loopback link that is up */
}

static void what_a_link_did_while_a_pass_was_held_up_belongs_to_its_time(void **state) {
        pass();
        begin_pass();
        (void) usleep(INTERVAL);
        send_datagrams(1000);
        end_pass();
        assert_true(vm.usage.span >= INTERVAL);
        assert_true(vm.usage.v[METRIC_RECEIVE] >= 1000000);
        assert_true(vm.usage.v[METRIC_TRANSMIT_PACKETS] >= 1000);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(what_fails_to_be_read_is_a_gap_and_no_new_beginning, setup, teardown),
                cmocka_unit_test_setup_teardown(a_cgroup_that_is_gone_begins_at_nothing_when_it_is_back, setup, teardown),
                cmocka_unit_test_setup_teardown(rates_of_a_late_pass_are_of_the_time_that_passed, setup, teardown),
                cmocka_unit_test_setup_teardown(what_a_link_did_while_a_pass_was_held_up_belongs_to_its_time, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
