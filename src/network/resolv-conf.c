/* SPDX-License-Identifier: Apache-2.0 */

#include "network/resolv-conf.h"

#include <fcntl.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "network/address.h"

#define FILE_MAX (64u * 1024u)

static bool is_loopback(const Address *a) {
        static const uint8_t one[16] = { [15] = 1 };

        return a->family == AF_INET ? a->bytes[0] == 127 : memcmp(a->bytes, one, sizeof(one)) == 0;
}

int resolv_conf_parse(const char *text, char ***ret) {
        _cleanup_strv_free_ char **servers = NULL;

        for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
                char word[ADDRESS_STRING_MAX];
                const char *rest;
                Address a;
                size_t n;

                rest = startswith(line, "nameserver");
                if (!rest || (*rest != ' ' && *rest != '\t'))
                        continue;
                rest += strspn(rest, " \t");
                n = strcspn(rest, " \t\r\n");
                if (n == 0 || n >= sizeof(word))
                        continue;
                memcpy(word, rest, n);
                word[n] = 0;
                if (address_parse(word, &a) >= 0 && !is_loopback(&a) && strv_extend(&servers, word) < 0)
                        return -ENOMEM;
        }
        *ret = TAKE_PTR(servers);
        return 0;
}

int resolv_conf_servers(char ***ret) {
        static const char *const files[] = { "/etc/resolv.conf", "/run/systemd/resolve/resolv.conf" };
        int r = 0;

        *ret = NULL;
        for (size_t i = 0; i < ELEMENTSOF(files) && r >= 0 && strv_length(*ret) == 0; i++) {
                _cleanup_free_ char *text = NULL;

                if (read_full_file(AT_FDCWD, files[i], FILE_MAX, &text, NULL) >= 0)
                        r = resolv_conf_parse(text, ret);
        }
        return r;
}
