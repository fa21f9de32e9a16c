/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The TAP of a VM: "tap-" and eight hexadecimal digits, a link of its own without a bridge.
 *
 * It lives as long as somebody has it open (it is not persistent), so nothing of ours stays when daemon and VMM are
 * both gone: its addresses, settings and routes go with it. The host's end has the same MAC address each time the
 * TAP is made, so that a guest which slept meanwhile still knows its gateway.
 *
 * Making one takes a millisecond. Removing one, by closing its last copy too, waits for a grace period of the kernel
 * (34 ms measured): a VMM that has to be gone quickly must not have the last copy. */

#include <net/if.h>

#include "network/address.h"
#include "network/netlink.h"

#define TAP_MTU 1400u /* mycelium's */
/* The gateways that every VM sees, on every TAP. */
#define TAP_GATEWAY_IPV6 "fe80::1"
#define TAP_GATEWAY_IPV4 "169.254.1.1"

void tap_name(char buf[static IFNAMSIZ], uint32_t id);
bool tap_name_is_valid(const char *name) _pure_;

/* The MAC address of the host's end (6 bytes), made from a valid name: locally administered, 0a:68 and the digits. */
void tap_mac(const char *name, uint8_t ret[static 6]);

/* Makes the TAP with the gateways' addresses, up, forwarding, taking no router's advertisements, and returns it open
 * (close-on-exec, non-blocking, with IFF_VNET_HDR and no IFF_MULTI_QUEUE) for a VMM. Closing the last copy of *ret_fd
 * removes it, and that is what happens on failure. The kernel finishes fe80::1 a moment (some ms) later, by itself:
 * a guest's solicitation before that goes unanswered and is repeated by the guest after a second.
 * -EINVAL: not a name of ours; -EEXIST: there is a link of this name; -ENOENT, -ENODEV: a kernel without TUN;
 * -EPERM, -EACCES: not allowed; -EAFNOSUPPORT: a kernel without IPv6; -EROFS: a setting has to be made that
 * /proc/sys does not permit. netlink_error_text() may say more. */
int tap_create(Netlink *nl, const char *name, int *ret_fd, int *ret_ifindex);

/* A TAP of ours by its name: -ENODEV also for a link that only has such a name (a bridge, a veth, a TUN). */
int tap_find(Netlink *nl, const char *name, int *ret_ifindex);
/* Even while it is open somewhere: whoever has it open gets EBADFD. It is no error that it is not there. */
int tap_remove(Netlink *nl, const char *name);

/* All TAPs of ours, by their links' names and kinds, for the caller to free(). */
typedef struct Tap {
        char name[IFNAMSIZ];
        int ifindex;
} Tap;

int tap_list(Netlink *nl, Tap **ret, size_t *ret_n);
