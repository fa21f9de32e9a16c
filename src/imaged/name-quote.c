/* SPDX-License-Identifier: Apache-2.0 */

/* Names of a hostile archive made readable, see image-tree.h. Pure. */

#include <stdio.h>

#include "basic/string-util.h"
#include "imaged/image-tree.h"

#define QUOTE_MAX 200u

char *name_quote(const char *name) {
        char buf[QUOTE_MAX + 8];
        const char *end;
        size_t n = 0;

        buf[n++] = '"';
        for (; *name && n < QUOTE_MAX; name = end) {
                /* The longest piece, up to 4 bytes, that is one clean character. */
                size_t k = 0;

                for (size_t i = 1; i <= 4 && name[i - 1]; i++)
                        if (utf8_is_valid_n(name, i)) {
                                k = i;
                                break;
                        }
                end = name + (k ?: 1);
                if (k > 1 && !((unsigned char) name[0] == 0xc2 && (unsigned char) name[1] < 0xa0)) {
                        memcpy(buf + n, name, k);
                        n += k;
                } else if (k == 1 && name[0] >= ' ' && name[0] < 0x7f && name[0] != '\\' && name[0] != '"')
                        buf[n++] = name[0];
                else {
                        end = name + 1;
                        n += (size_t) snprintf(buf + n, 5, "\\%03o", (unsigned char) name[0]);
                }
        }
        buf[n] = 0;
        return strprintf("%s%s\"", buf, *name ? "…" : "");
}
