/* SPDX-License-Identifier: Apache-2.0 */

/* What mycelium's daemon answers, see mycelium.h. Pure. */

#include <jansson.h>

#include "network/mycelium.h"

static void json_put(json_t **j) {
        json_decref(*j);
}

int mycelium_parse_subnet(const char *text, Subnet *ret) {
        const Subnet all = { .address = { AF_INET6, { 0x04 } }, .prefix = 7 };
        Subnet s;

        if (subnet_parse(text, &s) < 0 || s.prefix != 64 || !subnet_contains(&all, &s.address))
                return -EBADMSG;
        *ret = s;
        return 0;
}

int mycelium_parse(const char *body, size_t size, Subnet *ret) {
        _cleanup_(json_put) json_t *j = json_loadb(body, size, JSON_REJECT_DUPLICATES, NULL);
        const char *text = json_string_value(json_object_get(j, "nodeSubnet"));

        return text ? mycelium_parse_subnet(text, ret) : -EBADMSG;
}
