/* SPDX-License-Identifier: Apache-2.0 */

#include "guest-init/field.h"

#include "basic/strv.h"

int field_string(const GpReader *r, char **p) {
        char *s;
        int k;

        k = gp_reader_string(r, &s);
        if (k < 0)
                return k;
        free(*p);
        *p = s;
        return 0;
}

int field_strv(const GpReader *r, char ***l) {
        char *s;
        int k;

        k = gp_reader_string(r, &s);
        return k < 0 ? k : strv_consume(l, s);
}

int field_bool(const GpReader *r, bool *b) {
        uint32_t v;
        int k;

        k = gp_reader_u32(r, &v);
        if (k >= 0)
                *b = v != 0;
        return k;
}
