/* SPDX-License-Identifier: Apache-2.0 */

#include "basic/parse-util.h"

#include <ctype.h>
#include <math.h>

#include "basic/string-util.h"
#include "basic/time-util.h"

int parse_boolean(const char *s) {
        static const char *const yes[] = { "1", "yes", "y", "true", "t", "on" };
        static const char *const no[] = { "0", "no", "n", "false", "f", "off" };

        for (size_t i = 0; i < ELEMENTSOF(yes); i++) {
                if (strcasecmp(s, yes[i]) == 0)
                        return 1;
                if (strcasecmp(s, no[i]) == 0)
                        return 0;
        }
        return -EINVAL;
}

int parse_uint64(const char *s, uint64_t *ret) {
        uint64_t v;
        char *e;

        if (!isdigit((unsigned char) s[0]))
                return -EINVAL;
        errno = 0;
        v = strtoull(s, &e, 10);
        if (errno > 0)
                return -errno;
        if (*e)
                return -EINVAL;
        *ret = v;
        return 0;
}

int parse_uint(const char *s, unsigned max, unsigned *ret) {
        uint64_t v;
        int r;

        r = parse_uint64(s, &v);
        if (r < 0)
                return r;
        if (v > max)
                return -ERANGE;
        *ret = (unsigned) v;
        return 0;
}

/* Reads digits[.digits] and returns what follows, or NULL. By hand, because strtod() asks the locale. */
static const char *read_decimal(const char *s, double *ret) {
        double v = 0, scale = 1;

        if (!isdigit((unsigned char) *s))
                return NULL;
        for (; isdigit((unsigned char) *s); s++)
                v = v * 10 + (*s - '0');
        if (*s == '.') {
                s++;
                if (!isdigit((unsigned char) *s))
                        return NULL;
                for (; isdigit((unsigned char) *s); s++)
                        v += (*s - '0') * (scale /= 10);
        }
        *ret = v;
        return s;
}

int parse_double(const char *s, double *ret) {
        double v;

        s = read_decimal(s, &v);
        if (!s || *s)
                return -EINVAL;
        *ret = v;
        return 0;
}

int parse_size(const char *s, uint64_t *ret) {
        static const char units[] = "KMGTP";
        const char *u;
        double v;
        int r;

        if (s[strspn(s, "0123456789")] == 0) /* exact for plain numbers, a double is not */
                return parse_uint64(s, ret);
        s = read_decimal(s, &v);
        if (!s)
                return -EINVAL;
        u = *s ? strchr(units, toupper((unsigned char) *s)) : NULL;
        if (u) {
                v *= (double) (UINT64_C(1) << (10 * (u - units + 1))); /* not ldexp(): libm for this alone */
                s++;
                if (*s == 'i')
                        s++;
        }
        if (*s == 'B')
                s++;
        r = *s ? -EINVAL : v >= 18446744073709551615.0 ? -ERANGE : 0;
        if (r == 0)
                *ret = (uint64_t) v;
        return r;
}

int parse_usec(const char *s, uint64_t *ret) {
        static const struct {
                const char *unit;
                uint64_t usec;
        } table[] = {
                { "usec", 1 },           { "us", 1 },
                { "msec", USEC_PER_MSEC },     { "ms", USEC_PER_MSEC },
                { "seconds", USEC_PER_SEC },   { "second", USEC_PER_SEC },
                { "sec", USEC_PER_SEC },       { "s", USEC_PER_SEC },
                { "minutes", 60 * USEC_PER_SEC }, { "minute", 60 * USEC_PER_SEC },
                { "min", 60 * USEC_PER_SEC },  { "m", 60 * USEC_PER_SEC },
                { "hours", 3600 * USEC_PER_SEC }, { "hour", 3600 * USEC_PER_SEC },
                { "hr", 3600 * USEC_PER_SEC }, { "h", 3600 * USEC_PER_SEC },
                { "days", 86400 * USEC_PER_SEC }, { "day", 86400 * USEC_PER_SEC },
                { "d", 86400 * USEC_PER_SEC },
        };
        double total = 0;

        s += strspn(s, " \t");
        if (streq(s, "infinity")) {
                *ret = UINT64_MAX;
                return 0;
        }
        if (!*s)
                return -EINVAL;
        while (*s) {
                uint64_t unit = USEC_PER_SEC;
                size_t n;
                double v;

                s = read_decimal(s, &v);
                if (!s)
                        return -EINVAL;
                s += strspn(s, " \t");
                n = strcspn(s, " \t0123456789");
                if (n > 0) {
                        bool found = false;

                        for (size_t i = 0; i < ELEMENTSOF(table) && !found; i++)
                                if (strlen(table[i].unit) == n && strncmp(s, table[i].unit, n) == 0) {
                                        unit = table[i].usec;
                                        found = true;
                                }
                        if (!found)
                                return -EINVAL;
                }
                total += v * (double) unit;
                s += n;
                s += strspn(s, " \t");
        }
        if (total >= 9e18)
                return -ERANGE;
        *ret = (uint64_t) total;
        return 0;
}
