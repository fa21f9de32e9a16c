/* SPDX-License-Identifier: Apache-2.0 */

#include "rpcd/jwks-url.h"

#include <arpa/inet.h>

#include "basic/alloc-util.h"
#include "basic/parse-util.h"
#include "basic/string-util.h"

/* Texts of addresses as inet_pton() takes them: not "127.1", which a resolver might take for a name. libcurl never asks the
 * network for localhost. */
static bool is_loopback(const char *host) {
        struct in6_addr v6;
        struct in_addr v4;

        if (streq(host, "localhost"))
                return true;
        if (inet_pton(AF_INET, host, &v4) == 1)
                return ntohl(v4.s_addr) >> 24 == 127;
        return inet_pton(AF_INET6, host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

/* Printable ASCII without what parsers of URLs understand differently; no password, it would be in the journal. */
static bool characters_are_plain(const char *url) {
        for (const char *p = url; *p; p++)
                if (*p <= ' ' || *p > '~' || strchr("\"<>\\^`{|}@", *p))
                        return false;
        return true;
}

static bool port_is_valid(const char *s) {
        unsigned port;

        return !*s || (*s == ':' && parse_uint(s + 1, UINT16_MAX, &port) >= 0 && port > 0);
}

bool jwks_url_is_valid(const char *url) {
        const char *plain = startswith(url, "http://"), *rest = plain ?: startswith(url, "https://");
        _cleanup_free_ char *authority = NULL, *host = NULL;
        size_t n;

        if (!rest || strlen(url) > JWKS_URL_MAX || !characters_are_plain(url))
                return false;
        authority = strndup(rest, strcspn(rest, "/?#"));
        if (!authority)
                return false;
        if (authority[0] == '[') {
                n = strcspn(authority, "]");
                if (!authority[n] || !port_is_valid(authority + n + 1))
                        return false;
                host = strndup(authority + 1, n - 1);
        } else {
                n = strcspn(authority, ":");
                if (!port_is_valid(authority + n))
                        return false;
                host = strndup(authority, n);
        }
        return !isempty(host) && (!plain || is_loopback(host));
}
