/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The table of filter.c as nft reads it. Sets are keyed by the interface a packet came from; which packets
 * are looked at at all is the set of TAPs, so nothing here is in anybody else's way. For filter.c only. */

#include "network/filter.h"
#include "network/wake.h"

/* Prerouting at raw - 10: before connection tracking, behind defragmentation (which is at -400). */
/* clang-format off */
#define FILTER_RULESET                                                                                      \
        "table inet " FILTER_TABLE " {\n"                                                                   \
        "  set taps { type ifname; }\n"                                                                     \
        "  set sources6 { type ifname . ipv6_addr; }\n"                                                     \
        "  set sources4 { type ifname . ipv4_addr; }\n"                                                     \
        "  set peers6 { type ifname . ipv6_addr; }\n"                                                       \
        "  set peers4 { type ifname . ipv4_addr; }\n"                                                       \
        "  set masqueraded { type ipv4_addr; }\n"                                                           \
        /* who may send so much: every element has a limit of its own, of the kind that is said here */       \
        "  set limited { type ifname; limit rate over 1 bytes/second; }\n"                                 \
        /* who spoke neighbour discovery lately: made by packets, gone by itself */                         \
        "  set neighbours { type ifname; size 65535; flags dynamic,timeout; timeout 10s; }\n"               \
        "  chain prerouting {\n"                                                                            \
        "    type filter hook prerouting priority -310; policy accept;\n"                                   \
        "    iifname @taps jump source\n"                                                                   \
        "  }\n"                                                                                             \
        "  chain source {\n"                                                                                \
        /* matches what is over the limit */                                                                \
        "    iifname @limited counter drop\n"                                                              \
        /* link-local but for the gateway; Azure, Alibaba, Oracle; Amazon, Google, Scaleway */              \
        "    ip daddr 169.254.0.0/16 ip daddr != 169.254.1.1 counter drop\n"                                \
        "    ip daddr { 168.63.129.16, 100.100.100.200, 192.0.0.192 } counter drop\n"                       \
        "    ip6 daddr { fd00:ec2::/32, fd20:ce::254, fd00:42::42 } counter drop\n"                         \
        "    iifname . ip6 saddr @sources6 return\n"                                                        \
        "    iifname . ip saddr @sources4 return\n"                                                         \
        "    ip6 saddr { ::, fe80::/10 } ip6 hoplimit 255 icmpv6 type { nd-router-solicit, "                \
        "nd-neighbor-solicit, nd-neighbor-advert } "                                                        \
        "update @neighbours { iifname limit rate 20/second burst 40 packets } return\n"                     \
        "    counter drop\n"                                                                                \
        "  }\n"                                                                                             \
        "  chain forward {\n"                                                                               \
        "    type filter hook forward priority -10; policy accept;\n"                                       \
        /* a sleeping VM's address is routed to the wake interface */                                       \
        "    iifname @taps oifname @taps goto between\n"                                                    \
        "    iifname @taps oifname \"" WAKE_INTERFACE "\" goto between\n"                                   \
        "  }\n"                                                                                             \
        "  chain between {\n"                                                                               \
        "    iifname . ip6 daddr @peers6 accept\n"                                                          \
        "    iifname . ip daddr @peers4 accept\n"                                                           \
        "    counter drop\n"                                                                                \
        "  }\n"                                                                                             \
        "  chain postrouting {\n"                                                                           \
        "    type nat hook postrouting priority 100; policy accept;\n"                                      \
        "    ip saddr @masqueraded oifname != @taps oifname != \"" WAKE_INTERFACE "\" masquerade\n"         \
        "  }\n"                                                                                             \
        "}\n"
/* clang-format on */
