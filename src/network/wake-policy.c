/* SPDX-License-Identifier: Apache-2.0 */

/* The words of a wake policy and what they mean for a packet. */

#include "network/wake-policy.h"

#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <stdio.h>

#include "basic/alloc-util.h"
#include "basic/parse-util.h"
#include "basic/string-util.h"

#define SEPARATORS " \t\n,"

static int parse_port(const char *s, uint16_t *ret) {
        unsigned u;

        if (parse_uint(s, UINT16_MAX, &u) < 0 || u == 0)
                return -EINVAL;
        *ret = (uint16_t) u;
        return 0;
}

/* "", ":22", ":8000-8999" */
static int parse_ports(char *s, WakeRange *r) {
        char *dash;
        int k;

        r->first = 0;
        r->last = UINT16_MAX;
        if (s[0] == 0)
                return 0;
        if (s[0] != ':')
                return -EINVAL;
        dash = strchr(s, '-');
        if (dash)
                *dash = 0;
        k = parse_port(s + 1, &r->first);
        if (k >= 0)
                k = parse_port(dash ? dash + 1 : s + 1, &r->last);
        return k < 0 ? k : r->first <= r->last ? 0 : -EINVAL;
}

static int parse_word(char *word, WakePolicy *p) {
        const char *rest;
        WakeRange r = {};
        int k;

        if (streq(word, "ping")) {
                p->ping = true;
                return 0;
        }
        if ((rest = startswith(word, "tcp")))
                r.protocol = IPPROTO_TCP;
        else if ((rest = startswith(word, "udp")))
                r.protocol = IPPROTO_UDP;
        else
                return -EINVAL;
        k = parse_ports(word + (rest - word), &r);
        if (k < 0)
                return k;
        if (p->n_ranges == WAKE_RANGES_MAX)
                return -E2BIG;
        p->ranges[p->n_ranges++] = r;
        return 0;
}

int wake_policy_parse(const char *text, WakePolicy *ret) {
        _cleanup_free_ char *copy = NULL;
        WakePolicy p = {};
        char *word, *save;
        unsigned words = 0;
        bool none = false;
        int k;

        copy = strdup(text);
        if (!copy)
                return -ENOMEM;
        for (word = strtok_r(copy, SEPARATORS, &save); word; word = strtok_r(NULL, SEPARATORS, &save)) {
                words++;
                if (streq(word, "none")) {
                        none = true;
                        continue;
                }
                k = parse_word(word, &p);
                if (k < 0)
                        return k;
        }
        if (words == 0 || (none && words > 1))
                return -EINVAL;
        *ret = p;
        return 0;
}

char *wake_policy_to_string(const WakePolicy *p) {
        _cleanup_free_ char *text = NULL;
        const char *separator = "";
        size_t size;
        FILE *f;

        f = open_memstream(&text, &size);
        if (!f)
                return NULL;
        for (unsigned i = 0; i < p->n_ranges; i++) {
                const WakeRange *r = p->ranges + i;

                fprintf(f, "%s%s", separator, r->protocol == IPPROTO_TCP ? "tcp" : "udp");
                if (r->first != 0)
                        fprintf(f, ":%u", r->first);
                if (r->first != 0 && r->last != r->first)
                        fprintf(f, "-%u", r->last);
                separator = " ";
        }
        if (p->ping)
                fprintf(f, "%sping", separator);
        else if (p->n_ranges == 0)
                fputs("none", f);
        if (fclose(f) != 0)
                return NULL;
        return TAKE_PTR(text);
}

/* What a host that means to talk can send first, or go on with. */
static bool tcp_is_sensible(uint8_t flags) {
        if (flags & PACKET_TCP_RST)
                return false;
        if (flags & PACKET_TCP_SYN)
                return !(flags & PACKET_TCP_FIN);
        return flags & PACKET_TCP_ACK;
}

bool wake_policy_allows(const WakePolicy *p, const PacketInfo *i) {
        if (!i->has_header)
                return false;
        if (i->family == AF_INET && i->protocol == IPPROTO_ICMP)
                return p->ping && i->icmp_type == ICMP_ECHO;
        if (i->family == AF_INET6 && i->protocol == IPPROTO_ICMPV6)
                return p->ping && i->icmp_type == ICMP6_ECHO_REQUEST;
        if (i->protocol == IPPROTO_TCP && !tcp_is_sensible(i->tcp_flags))
                return false;
        for (unsigned k = 0; k < p->n_ranges; k++) {
                const WakeRange *r = p->ranges + k;

                if (r->protocol == i->protocol && i->destination_port >= r->first &&
                                i->destination_port <= r->last)
                        return true;
        }
        return false;
}
