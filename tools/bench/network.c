/* SPDX-License-Identifier: Apache-2.0 */

/* What the way to a VM costs: the same guest twice, once as ever, once restored by hand behind a TAP that nobody filters, and
 * beside them a veth pair. In turns. */

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "bench.h"

#define NAME "bench"
#define BIG (UINT64_C(32) << 20)
#define ECHOES 51

static int serve_in_guest(Client *c) {
        char script[512];

        (void) snprintf(script, sizeof(script),
                        "mkdir -p /run/www && echo hello >/run/www/index.html && "
                        "dd if=/dev/zero of=/run/www/big bs=1M count=%u && httpd -p '[::]:%i' -h /run/www && "
                        "{ nc -ll -p %i -e sh -c 'exec cat >/dev/null' </dev/null >/dev/null 2>&1 & }",
                        (unsigned) (BIG >> 20), HTTP_PORT, SINK_PORT);
        return vm_shell(c, NAME, script);
}

static int measure(const HandNetwork *n, int namespace, const struct sockaddr_in6 *a, const char *prefix) {
        char down[64], up[64], delay[64];
        uint64_t bytes;
        int r, q;

        (void) snprintf(down, sizeof(down), "%s-down", prefix);
        (void) snprintf(up, sizeof(up), "%s-up", prefix);
        (void) snprintf(delay, sizeof(delay), "%s-echo", prefix);
        r = enter_namespace(namespace);
        if (r >= 0)
                r = echoes(a, delay, ECHOES);
        if (r >= 0)
                r = download(a, down, &bytes);
        if (r >= 0 && bytes < BIG)
                r = complain(0, "%s: %llu bytes only", down, (unsigned long long) bytes);
        if (r >= 0)
                r = upload(a, up, BIG);
        q = enter_namespace(n->home);
        return r < 0 ? r : q;
}

static int measure_all(const HandNetwork *n, const struct sockaddr_in6 *guest, unsigned count) {
        struct sockaddr_in6 veth = *guest;
        int r = 0;

        (void) inet_pton(AF_INET6, VETH_ADDRESS, &veth.sin6_addr);
        for (unsigned i = 0; r >= 0 && i < count; i++) {
                r = measure(n, n->home, guest, "ours");
                if (r >= 0)
                        r = measure(n, n->hand, guest, "hand");
                if (r >= 0)
                        r = measure(n, n->outside, guest, "ours-outside");
                if (r >= 0)
                        r = measure(n, n->hand_outside, guest, "hand-outside");
                if (r >= 0)
                        r = measure(n, n->hand, &veth, "veth");
        }
        return r;
}

/* The guest sleeps, wakes by hand from its image, and then again, as ever. */
static int twice(Client *c, const Pattern *p, const HandNetwork *n, Vmm *ret) {
        _cleanup_close_ int image = -EBADF, overlay = -EBADF;
        uint64_t usec;
        int r;

        r = vm_call(c, NAME, "Hibernate", NULL);
        if (r < 0)
                return r;
        image = open_image();
        overlay = copy_overlay();
        if (image < 0 || overlay < 0)
                return -EIO;
        r = vmm_restore(p, &(Guest) { image, -EBADF, -EBADF, overlay, n->tap }, ret, &usec, NULL);
        return r < 0 ? r : vm_call(c, NAME, "Resume", NULL);
}

int verb_network(Client *c, char **argv) {
        Pattern p = { .kernel_fd = -EBADF, .initrd_fd = -EBADF, .root_fd = -EBADF };
        HandNetwork n = { -EBADF, -EBADF, -EBADF, -EBADF, -EBADF };
        Vmm v = { .monitor = -EBADF, .console = -EBADF, .agent = -EBADF };
        struct sockaddr_in6 a;
        pid_t server = 0;
        int r, q;

        r = user_provision(c, NAME, "qemu", 0, NULL);
        if (r < 0)
                return r;
        a = vm_address(c, NAME);
        r = serve_in_guest(c);
        if (r >= 0)
                r = hand_network_new(c, NAME, true, &n);
        if (r >= 0)
                r = enter_namespace(n.hand);
        if (r >= 0) {
                r = veth_server_new(BIG, &server);
                q = enter_namespace(n.home);
                r = r < 0 ? r : q;
        }
        if (r >= 0)
                r = first_sleep(c, &p);
        if (r >= 0)
                r = twice(c, &p, &n, &v);
        if (r >= 0)
                r = measure_all(&n, &a, (unsigned) strtoul(argv[0], NULL, 10));
        if (server > 0) {
                (void) kill(server, SIGKILL);
                (void) waitpid(server, NULL, 0);
        }
        vmm_done(&v);
        pattern_done(&p);
        hand_network_done(&n);
        return r < 0 ? r : user_deprovision(c, NAME);
}
