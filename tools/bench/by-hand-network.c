/* SPDX-License-Identifier: Apache-2.0 */

/* What a guest of ours is connected to when its VMM runs by hand: a TAP with the same address, in a namespace where nothing
 * else is: no filter, no other TAP, nobody who watches. And a veth pair, for what the kernel can do without a VMM. */

#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "bench.h"

#define TAP "tap0"
#define MTU "1400"

/* Through the shell: this is not what is measured. */
static int shell(const char *format, ...) _printf_(1, 2);
static int shell(const char *format, ...) {
        char command[2048];
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(command, sizeof(command), format, ap);
        va_end(ap);
        return system(command) == 0 ? 0 : complain(0, "failed: %s", command);
}

static int current_namespace(void) {
        int fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

        return fd < 0 ? complain(-errno, "cannot open the network namespace") : fd;
}

int enter_namespace(int fd) {
        return setns(fd, CLONE_NEWNET) < 0 ? complain(-errno, "cannot enter a network namespace") : 0;
}

/* Stays in it. */
static int new_namespace(void) {
        int r;

        if (unshare(CLONE_NEWNET) < 0)
                return complain(-errno, "cannot make a network namespace");
        r = current_namespace();
        if (r >= 0 && shell("ip link set lo up && echo 1 >/proc/sys/net/ipv6/conf/all/forwarding") < 0) {
                safe_close(r);
                r = -EIO;
        }
        return r;
}

/* fd12:3456::…: the first four words. */
static char *subnet_of(const char *address) {
        const char *p = address;

        for (int i = 0; p && i < 4; i++) {
                p = strchr(p, ':');
                p = p ? p + 1 : NULL;
        }
        return p ? strndup(address, (size_t) (p - 1 - address)) : NULL;
}

static int make_hand(HandNetwork *n, const char *mac, const char *address) {
        _cleanup_free_ char *subnet = subnet_of(address);

        n->hand = new_namespace();
        if (n->hand < 0)
                return n->hand;
        n->tap = bench_tap(TAP);
        if (n->tap < 0)
                return n->tap;
        return shell("ip link set " TAP " mtu " MTU " address %s addrgenmode none && ip link set " TAP " up && "
                     "ip address add fe80::1/64 dev " TAP " nodad && ip address add %s::1/128 dev lo && "
                     "ip route add %s/128 dev " TAP, mac, strna(subnet), address);
}

/* A namespace behind the one, which reaches the guest through it. */
static int make_outside(int *ret, int router, const char *name, const char *address) {
        int r;

        *ret = new_namespace();
        if (*ret < 0)
                return *ret;
        r = shell("ip link add %s mtu " MTU " type veth peer name %s-up mtu " MTU " && ip link set %s up && "
                  "ip address add fd00:be::2/64 dev %s nodad", name, name, name, name);
        if (r >= 0)
                r = shell("ip link set %s-up netns /proc/%i/fd/%i", name, getpid(), router);
        if (r >= 0)
                r = enter_namespace(router);
        if (r >= 0)
                r = shell("ip link set %s-up up && ip address add fd00:be::1/64 dev %s-up nodad && "
                          "echo 1 >/proc/sys/net/ipv6/conf/all/forwarding", name, name);
        if (r >= 0)
                r = enter_namespace(*ret);
        return r < 0 ? r : shell("ip route add %s/128 via fd00:be::1", address);
}

int hand_network_new(Client *c, const char *vm, bool outside, HandNetwork *ret) {
        _cleanup_free_ char *tap = NULL, *address = NULL, *mac = NULL;
        HandNetwork n = { -EBADF, -EBADF, -EBADF, -EBADF, -EBADF };
        char path[128];
        int r, q;

        r = vm_get_string(c, vm, "TAPDevice", &tap);
        if (r >= 0)
                r = vm_get_string(c, vm, "MyceliumIP", &address);
        if (r < 0)
                return r;
        (void) snprintf(path, sizeof(path), "/sys/class/net/%s/address", tap);
        r = read_full_file(AT_FDCWD, path, 64, &mac, NULL);
        if (r < 0)
                return complain(r, "cannot read %s", path);
        mac[strcspn(mac, "\n")] = 0;
        n.home = current_namespace();
        if (n.home < 0)
                return n.home;
        r = make_hand(&n, mac, address);
        if (r >= 0 && outside)
                r = make_outside(&n.outside, n.home, "ours", address);
        if (r >= 0 && outside)
                r = make_outside(&n.hand_outside, n.hand, "hand", address);
        q = enter_namespace(n.home);
        *ret = n;
        return r < 0 ? r : q;
}

void hand_network_done(HandNetwork *n) {
        safe_close(n->tap);
        safe_close(n->hand);
        safe_close(n->outside);
        safe_close(n->hand_outside);
        safe_close(n->home);
}

int veth_server_new(uint64_t bytes, pid_t *ret) {
        int ready[2], ns;
        char byte;
        pid_t pid;
        int r;

        if (pipe(ready) < 0)
                return -errno;
        pid = fork();
        if (pid == 0) {
                (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
                ns = new_namespace();
                if (ns < 0 || write(ready[1], "", 1) != 1)
                        _exit(EXIT_FAILURE);
                (void) serve(bytes);
                _exit(EXIT_FAILURE);
        }
        *ret = pid;
        r = pid < 0 || read(ready[0], &byte, 1) != 1 ? complain(0, "cannot start a server") : 0;
        close_many(ready, 2);
        if (r >= 0)
                r = shell("ip link add veth0 mtu " MTU " type veth peer name veth1 mtu " MTU " && ip link set veth1 netns %i && "
                          "ip link set veth0 up && ip address add fd00:bf::1/64 dev veth0 nodad && "
                          "nsenter -t %i -n sh -c 'ip link set veth1 up && ip address add " VETH_ADDRESS "/64 dev veth1 nodad'", pid, pid);
        return r;
}
