/* SPDX-License-Identifier: Apache-2.0 */

/* The checks of a Manager that has nothing but one VM, with lo for its network device and a file for its CPU time. That it is
 * to be suspended shows in the job that is made for it. */

#include "compute/idle.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "../network/network-namespace.h"
#include "../network/playground.h"
#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "compute/manager.h"
#include "network/nft-client.h"

#define LO 1
#define INTERVAL (20 * USEC_PER_MSEC)
/* Long, for a machine that has other work and lets us stand still now and then. */
#define TIMEOUT (500 * USEC_PER_MSEC)
#define LONG_ENOUGH (3 * TIMEOUT)
#define AT_LAST (60 * USEC_PER_SEC)
#define WEB "10.104.0.2"
#define OUTSIDE "10.99.0.1"
#define PORT 7777
#define NOISE 16384u

static Manager manager;
static Vm *vm;

static void set_cpu(uint64_t usec) {
        char text[64];
        int n = snprintf(text, sizeof(text), "usage_usec %" PRIu64 "\nuser_usec 1\nsystem_usec 1\n", usec);

        assert_int_equal(pwrite(vm->runtime->cpu_stat_fd, text, (size_t) n, 0), n);
}

static int setup(void **state) {
        VmSpec spec = { .hypervisor = strdup("mock") };

        manager = (Manager) { .serving = true };
        TAILQ_INIT(&manager.scope_calls);
        TAILQ_INIT(&manager.registrations);
        assert_return_code(sd_event_new(&manager.event), 0);
        assert_return_code(signals_init(&manager), 0);
        assert_return_code(compute_config_defaults(&manager.config), 0);
        manager.config.check_interval = INTERVAL;
        manager.config.idle_timeout = TIMEOUT;
        manager.config.network_noise = NOISE;
        assert_return_code(vm_new(&manager, "web", "0123456789ab", &spec, &vm), 0);
        assert_non_null(vm_runtime_new(vm));
        vm->runtime->cpu_stat_fd = memfd_create("cpu.stat", MFD_CLOEXEC);
        set_cpu(1000);
        vm->tap_ifindex = LO;
        assert_int_equal(address_parse(WEB, &vm->network.address4), 0);
        vm->state = VM_RUNNING;
        idle_vm_state_changed(vm);
        return 0;
}

static int teardown(void **state) {
        manager.serving = false;
        idle_done(&manager);
        while (manager.jobs)
                job_free(manager.jobs);
        vm_free(vm);
        signals_done(&manager);
        compute_config_done(&manager.config);
        sd_event_unref(manager.event);
        return 0;
}

/* Whether it was to be suspended within that time; what it does meanwhile is done again and again. */
static bool sleeps_within(uint64_t usec, void (*work)(void)) {
        uint64_t end = now_usec(CLOCK_BOOTTIME) + usec;

        vm->idle.job = 0;
        while (vm->idle.job == 0 && now_usec(CLOCK_BOOTTIME) < end) {
                if (work)
                        work();
                assert_return_code(sd_event_run(manager.event, INTERVAL / 4), 0);
        }
        return vm->idle.job != 0;
}

static void vm_that_does_nothing_is_suspended(void **state) {
        uint64_t begun = now_usec(CLOCK_BOOTTIME);

        assert_true(sleeps_within(AT_LAST, NULL));
        assert_true(now_usec(CLOCK_BOOTTIME) - begun >= TIMEOUT);
}

static void make_traffic(void) {
        _cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        static const char bytes[NOISE];

        for (unsigned i = 0; i < 20; i++)
                (void) sendto(fd, bytes, sizeof(bytes), 0, (struct sockaddr *) &to, sizeof(to));
}

static void traffic_keeps_it_awake(void **state) {
        assert_false(sleeps_within(LONG_ENOUGH, make_traffic));
        assert_int_equal(vm->idle.clock.reason, IDLE_ON_NETWORK);
        assert_true(sleeps_within(AT_LAST, NULL));
}

static void compute(void) {
        static uint64_t used = 1000;

        set_cpu(used += 20 * INTERVAL);
}

static void cpu_time_keeps_it_awake(void **state) {
        assert_false(sleeps_within(LONG_ENOUGH, compute));
        assert_int_equal(vm->idle.clock.reason, IDLE_COMPUTES);
        assert_true(sleeps_within(AT_LAST, NULL));
}

static void network_device_that_is_gone_keeps_it_awake(void **state) {
        vm->tap_ifindex = 999;
        assert_false(sleeps_within(LONG_ENOUGH, NULL));
        assert_int_equal(vm->idle.clock.reason, IDLE_NETWORK_UNKNOWN);
}

static int make_socket(const char *address, uint16_t port) {
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        assert_int_equal(inet_pton(AF_INET, address, &a.sin_addr), 1);
        assert_return_code(bind(fd, (struct sockaddr *) &a, sizeof(a)), errno);
        return fd;
}

static void open_connection_keeps_it_awake_until_it_is_closed(void **state) {
        int server = make_socket(WEB, PORT), client = make_socket(OUTSIDE, 0);
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(PORT) };

        memcpy(&a.sin_addr, vm->network.address4.bytes, sizeof(a.sin_addr));
        assert_return_code(listen(server, 1), errno);
        assert_return_code(connect(client, (struct sockaddr *) &a, sizeof(a)), errno);
        assert_false(sleeps_within(LONG_ENOUGH, NULL));
        assert_int_equal(vm->idle.clock.reason, IDLE_CONNECTED);
        /* With a reset, as whoever was to accept it has gone. */
        safe_close(server);
        safe_close(client);
        /* It may be a while until the connections are read again. */
        assert_true(sleeps_within(AT_LAST, NULL));
}

static void connection_of_somebody_else_does_not(void **state) {
        int server = make_socket("127.0.0.1", PORT), client = make_socket("127.0.0.1", 0);
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

        assert_return_code(listen(server, 1), errno);
        assert_return_code(connect(client, (struct sockaddr *) &a, sizeof(a)), errno);
        assert_true(sleeps_within(AT_LAST, NULL));
        safe_close(server);
        safe_close(client);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(vm_that_does_nothing_is_suspended, setup, teardown),
                cmocka_unit_test_setup_teardown(traffic_keeps_it_awake, setup, teardown),
                cmocka_unit_test_setup_teardown(cpu_time_keeps_it_awake, setup, teardown),
                cmocka_unit_test_setup_teardown(network_device_that_is_gone_keeps_it_awake, setup, teardown),
                cmocka_unit_test_setup_teardown(open_connection_keeps_it_awake_until_it_is_closed, setup, teardown),
                cmocka_unit_test_setup_teardown(connection_of_somebody_else_does_not, setup, teardown),
        };
        NftClient *nft;
        int r = playground_enter();

        if (r < 0) {
                fprintf(stderr, "No network namespace of its own: %s\n", strerror(-r));
                return EXIT_SKIP;
        }
        playground_address("lo:1", WEB, 32);
        playground_address("lo:2", OUTSIDE, 32);
        /* A rule that asks makes the kernel track. */
        r = nft_client_new(&nft);
        if (r >= 0)
                r = nft_client_run(nft, "add table inet t; add chain inet t c { type filter hook output priority 0; }; "
                                        "add rule inet t c ct state invalid accept");
        nft_client_free(nft);
        if (r < 0) {
                fprintf(stderr, "No connection tracking: %s\n", strerror(-r));
                return 1;
        }
        return cmocka_run_group_tests(tests, NULL, NULL);
}
