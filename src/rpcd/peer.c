/* SPDX-License-Identifier: Apache-2.0 */

#include "rpcd/peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "basic/alloc-util.h"
#include "rpcd/caller.h"
#include "rpcd/socket-owner.h"
#include "shared/log.h"
#include "shared/login-name.h"

#define GROUPS_MAX 65536u /* the kernel's NGROUPS_MAX */

typedef union Name {
        struct sockaddr any;
        struct sockaddr_in ipv4;
        struct sockaddr_in6 ipv6;
        struct sockaddr_un local;
} Name;

void peer_credentials_done(PeerCredentials *p) {
        free(p->groups);
        *p = (PeerCredentials) { .uid = UID_INVALID, .gid = GID_INVALID };
}

bool peer_credentials_have_group(const PeerCredentials *p, gid_t gid) {
        bool found = p->gid == gid;

        for (size_t i = 0; i < p->n_groups && !found; i++)
                found = p->groups[i] == gid;
        return found && gid != GID_INVALID;
}

static int read_groups(int fd, PeerCredentials *p) {
        _cleanup_free_ gid_t *groups = NULL;
        socklen_t size = 16 * sizeof(gid_t);

        for (;;) {
                gid_t *g = realloc(groups, size);

                if (!g)
                        return -ENOMEM;
                groups = g;
                if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) >= 0)
                        break;
                if (errno != ERANGE || size > GROUPS_MAX * sizeof(gid_t))
                        return negative_errno(); /* not known: none */
        }
        p->n_groups = size / sizeof(gid_t);
        if (p->n_groups > 0)
                p->groups = TAKE_PTR(groups);
        return 0;
}

/* As they were when it connected: what the process becomes later changes nothing. */
static int unix_peer(int fd, PeerCredentials *p) {
        struct ucred u;
        socklen_t size = sizeof(u);
        int r;

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &u, &size) < 0 || size != sizeof(u) || u.uid == UID_INVALID)
                return 0;
        r = read_groups(fd, p);
        if (r == -ENOMEM)
                return r;
        p->uid = u.uid;
        p->gid = u.gid;
        p->has_groups = true;
        return 0;
}

/* An IPv4 address in IPv6's clothes: the socket of the other end may be of either family, and is found as IPv4's. */
static void unmap(Name *n) {
        struct sockaddr_in a = { .sin_family = AF_INET };

        if (n->any.sa_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&n->ipv6.sin6_addr))
                return;
        a.sin_port = n->ipv6.sin6_port;
        memcpy(&a.sin_addr, n->ipv6.sin6_addr.s6_addr + 12, sizeof(a.sin_addr));
        n->ipv4 = a;
}

static bool is_loopback(const Name *n) {
        if (n->any.sa_family == AF_INET)
                return ntohl(n->ipv4.sin_addr.s_addr) >> 24 == 127;
        return n->any.sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&n->ipv6.sin6_addr);
}

/* A kernel that cannot tell makes everybody nobody: that is worth a word, once. */
static void tell_failure(int error) {
        static bool told;

        if (!told)
                log_warning("The kernel cannot tell whose a TCP socket is (CONFIG_INET_DIAG, tcp_diag): %s. Who connects by TCP is nobody.",
                            strerror(-error));
        told = true;
}

static void tcp_peer(Name *ours, Name *theirs, PeerCredentials *p) {
        uid_t uid;
        int r;

        unmap(ours);
        unmap(theirs);
        if (ours->any.sa_family != theirs->any.sa_family || !is_loopback(ours) || !is_loopback(theirs))
                return;
        r = socket_owner_get(&theirs->any, &ours->any, &uid);
        if (r >= 0)
                p->uid = uid;
        else if (r != -ENOENT)
                tell_failure(r);
}

int peer_credentials_get(int fd, PeerCredentials *ret) {
        PeerCredentials p = { .uid = UID_INVALID, .gid = GID_INVALID };
        Name ours = {}, theirs = {};
        socklen_t size = sizeof(ours);
        int r = 0;

        if (getsockname(fd, &ours.any, &size) < 0)
                ours.any.sa_family = AF_UNSPEC;
        size = sizeof(theirs);
        if (getpeername(fd, &theirs.any, &size) < 0)
                theirs.any.sa_family = AF_UNSPEC;
        if (ours.any.sa_family == AF_UNIX)
                r = unix_peer(fd, &p);
        else
                tcp_peer(&ours, &theirs, &p);
        *ret = p;
        return r;
}
