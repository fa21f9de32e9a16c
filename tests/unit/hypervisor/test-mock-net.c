/* SPDX-License-Identifier: Apache-2.0 */

/* The mock guest's network: what it answers as frames, the VMM with a socket as its TAP, and with a TAP in a network
 * namespace, where the kernel has to be content with the answers (needs root; says so and skips otherwise). */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "../network/own-tap.h"
#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "guest-init/network.h"
#include "hypervisor/mock/mock-frame.h"

#define PATIENCE_MSEC 20000

static const uint8_t mac[6] = { 2, 0, 0, 0, 0, 2 };

static const uint8_t udp4[] = {
        2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00,
        0x45, 0, 0, 29, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        0x12, 0x34, 0, 9, 0, 9, 0, 0, 'x',
};

static void a_datagram_comes_back_with_everything_swapped(void **state) {
        static const uint8_t expected[] = {
                2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00,
                0x45, 0, 0, 29, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1,
                0, 9, 0x12, 0x34, 0, 9, 0, 0, 'x',
        };
        uint8_t frame[256];

        memcpy(frame, udp4, sizeof(udp4));
        assert_int_equal(mock_frame_answer(frame, sizeof(udp4), mac), sizeof(udp4));
        assert_memory_equal(frame, expected, sizeof(expected));
}

static void a_later_fragment_has_no_ports_to_swap(void **state) {
        uint8_t frame[256];

        memcpy(frame, udp4, sizeof(udp4));
        frame[21] = 1;
        assert_int_equal(mock_frame_answer(frame, sizeof(udp4), mac), sizeof(udp4));
        assert_memory_equal(frame + 34, udp4 + 34, sizeof(udp4) - 34);
}

static void who_asks_for_an_address_is_told_ours(void **state) {
        static const uint8_t request[42] = {
                255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 0x08, 0x06,
                0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 169, 254, 1, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2,
        }, reply[42] = {
                2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x06,
                0, 1, 8, 0, 6, 4, 0, 2, 2, 0, 0, 0, 0, 2, 10, 0, 0, 2, 2, 0, 0, 0, 0, 1, 169, 254, 1, 1,
        };
        uint8_t frame[256];

        memcpy(frame, request, sizeof(request));
        assert_int_equal(mock_frame_answer(frame, sizeof(request), mac), sizeof(reply));
        assert_memory_equal(frame, reply, sizeof(reply));
        /* Not who announces or checks its own. */
        memcpy(frame, request, sizeof(request));
        memcpy(frame + 28, frame + 38, 4);
        assert_int_equal(mock_frame_answer(frame, sizeof(request), mac), 0);
        memcpy(frame, request, sizeof(request));
        memset(frame + 28, 0, 4);
        assert_int_equal(mock_frame_answer(frame, sizeof(request), mac), 0);
}

static void broadcasts_and_fragments_of_frames_are_dropped(void **state) {
        uint8_t frame[256];

        memcpy(frame, udp4, sizeof(udp4));
        memset(frame, 255, 6);
        assert_int_equal(mock_frame_answer(frame, sizeof(udp4), mac), 0);
        for (size_t n = 0; n < 34; n++) {
                memcpy(frame, udp4, sizeof(udp4));
                assert_int_equal(mock_frame_answer(frame, n, mac), 0);
        }
}

/* For the sanitizers: a block of its own for every frame, exactly as large as promised. */
static void nonsense_stays_within_its_frame(void **state) {
        static const uint8_t types[][2] = { { 0x08, 0x00 }, { 0x08, 0x06 }, { 0x86, 0xdd }, { 0x88, 0xcc } };
        unsigned seed = 1;

        for (unsigned i = 0; i < 20000; i++) {
                size_t n = (size_t) rand_r(&seed) % 128, room = MAX2(n, (size_t) MOCK_ANSWER_MIN);
                _cleanup_free_ uint8_t *frame = malloc(room);

                for (size_t k = 0; k < n; k++)
                        frame[k] = (uint8_t) rand_r(&seed);
                if (n >= 14)
                        memcpy(frame + 12, types[i % 4], 2);
                if (n > 54 && i % 4 == 2) {
                        frame[20] = IPPROTO_ICMPV6;
                        frame[54] = 135;
                }
                assert_true(mock_frame_answer(frame, n, mac) <= room);
        }
}

/* The VMM. */

typedef struct Vmm {
        pid_t pid;
        int monitor_fd;
} Vmm;

static void start(Vmm *v, int tap_fd, const char *script) {
        _cleanup_free_ char *path = strprintf("%s/hero-mock-vmm", getenv("HERO_LIBEXEC_DIR")),
                            *word = strprintf("script=%s", script);
        char *argv[] = { path, (char *) "monitor=10", (char *) "tap=11", (char *) "mac=02:00:00:00:00:02", word, NULL };
        posix_spawn_file_actions_t a;
        int pair[2];

        assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), errno);
        posix_spawn_file_actions_init(&a);
        posix_spawn_file_actions_adddup2(&a, pair[1], 10);
        posix_spawn_file_actions_adddup2(&a, tap_fd, 11);
        assert_int_equal(posix_spawn(&v->pid, path, &a, NULL, argv, environ), 0);
        posix_spawn_file_actions_destroy(&a);
        close(pair[1]);
        v->monitor_fd = pair[0];
}

static void command(const Vmm *v, const char *line, const char *answer) {
        char buf[1024] = "";
        size_t n = 0;

        assert_return_code(write_all(v->monitor_fd, line, strlen(line)), 0);
        while (!strstr(buf, answer)) {
                struct pollfd p = { .fd = v->monitor_fd, .events = POLLIN };
                ssize_t k = 0;

                if (poll(&p, 1, PATIENCE_MSEC) != 1 || (k = read(v->monitor_fd, buf + n, sizeof(buf) - 1 - n)) <= 0)
                        fail_msg("no \"%s\" in \"%s\"", answer, buf);
                n += (size_t) k;
        }
}

static void end(Vmm *v) {
        (void) kill(v->pid, SIGKILL);
        assert_int_equal(waitpid(v->pid, NULL, 0), v->pid);
        close(v->monitor_fd);
}

static bool readable(int fd, int milliseconds) {
        return poll(&(struct pollfd) { .fd = fd, .events = POLLIN }, 1, milliseconds) == 1;
}

/* The monitor answers after what came before was read, for it is asked in the next round at the earliest. */
static void without_the_directive_frames_are_read_and_dropped(void **state) {
        int pair[2], left = -1;
        Vmm v;

        assert_return_code(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair), errno);
        start(&v, pair[1], "");
        for (unsigned i = 0; i < 1000; i++) {
                if (!(poll(&(struct pollfd) { .fd = pair[0], .events = POLLOUT }, 1, PATIENCE_MSEC) == 1))
                        fail_msg("frame %u was not read", i);
                assert_int_equal(write(pair[0], udp4, sizeof(udp4)), sizeof(udp4));
        }
        for (unsigned i = 0; i < 1000 && left != 0; i++) {
                command(&v, "1 status\n", "1 running\n");
                assert_return_code(ioctl(pair[1], FIONREAD, &left), errno);
        }
        assert_int_equal(left, 0);
        assert_false(readable(pair[0], 0));
        end(&v);
        close(pair[0]);
        close(pair[1]);
}

static void a_paused_guest_answers_when_it_goes_on(void **state) {
        uint8_t answer[256];
        int pair[2];
        Vmm v;

        assert_return_code(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair), errno);
        start(&v, pair[1], "net-echo");
        close(pair[1]);
        command(&v, "1 pause\n", "1 ok\n");
        assert_int_equal(write(pair[0], udp4, sizeof(udp4)), sizeof(udp4));
        command(&v, "2 status\n", "2 paused\n");
        assert_false(readable(pair[0], 100));
        command(&v, "3 resume\n", "3 ok\n");
        assert_true(readable(pair[0], PATIENCE_MSEC));
        assert_int_equal(read(pair[0], answer, sizeof(answer)), sizeof(udp4));
        assert_memory_equal(answer, udp4 + 6, 6);
        end(&v);
        close(pair[0]);
}

static void configure_host(void) {
        const NetworkConfig c = {
                .addresses = { { { AF_INET6, { 0xfe, 0x80, [15] = 1 } }, 64 }, { { AF_INET6, { 0x05, 0xaa, [15] = 1 } }, 128 },
                               { { AF_INET, { 169, 254, 1, 1 } }, 32 } },
                .n_addresses = 3,
                .routes = { { { { AF_INET6, { 0x05, 0xab, [15] = 2 } }, 128 }, {} }, { { { AF_INET, { 10, 0, 0, 2 } }, 32 }, {} } },
                .n_routes = 2,
        };
        _cleanup_free_ char *why = NULL;

        if (network_up(&c, &why) < 0)
                fail_msg("%s", strna(why));
}

static void expect_echo(const char *destination) {
        bool v6 = strchr(destination, ':');
        struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(7) };
        struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(7) };
        _cleanup_close_ int fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        char buf[2000], answer[sizeof(buf)];

        assert_int_equal(inet_pton(v6 ? AF_INET6 : AF_INET, destination, v6 ? (void *) &in6.sin6_addr : (void *) &in.sin_addr), 1);
        assert_return_code(connect(fd, v6 ? (void *) &in6 : (void *) &in, v6 ? sizeof(in6) : sizeof(in)), errno);
        memset(buf, 'h', sizeof(buf));
        /* The second is longer than a frame; of IPv6 only what has its ports in every one. */
        for (size_t n = 5; n <= (v6 ? 1005 : sizeof(buf)); n += v6 ? 1000 : sizeof(buf) - 5) {
                assert_int_equal(send(fd, buf, n, 0), n);
                if (!readable(fd, PATIENCE_MSEC))
                        fail_msg("%s did not answer to %zu bytes", destination, n);
                assert_int_equal(recv(fd, answer, sizeof(answer), 0), n);
                assert_memory_equal(answer, buf, n);
        }
}

static void the_kernel_gets_its_datagrams_back(void **state) {
        int tap_fd = open_own_tap(NETWORK_DEVICE);
        Vmm v;

        if (tap_fd < 0) {
                fprintf(stderr, "test-mock-net: SKIPPED: network namespace and /dev/net/tun: %s\n", strerror(-tap_fd));
                skip();
        }
        configure_host();
        start(&v, tap_fd, "net-echo");
        close(tap_fd);
        expect_echo("5ab::2");
        expect_echo("10.0.0.2");
        end(&v);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_datagram_comes_back_with_everything_swapped),
                cmocka_unit_test(a_later_fragment_has_no_ports_to_swap),
                cmocka_unit_test(who_asks_for_an_address_is_told_ours),
                cmocka_unit_test(broadcasts_and_fragments_of_frames_are_dropped),
                cmocka_unit_test(nonsense_stays_within_its_frame),
                cmocka_unit_test(without_the_directive_frames_are_read_and_dropped),
                cmocka_unit_test(a_paused_guest_answers_when_it_goes_on),
                cmocka_unit_test(the_kernel_gets_its_datagrams_back),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
