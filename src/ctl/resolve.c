/* SPDX-License-Identifier: Apache-2.0 */

#include "ctl/resolve.h"

#include "basic/alloc-util.h"
#include "ctl/bus.h"
#include "ctl/heroctl.h"

int resolve_vm(sd_bus *bus, const char *text, char **ret_path, char **ret_name, sd_bus_error *error) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        _cleanup_free_ char *path = NULL, *name = NULL;
        const char *p;
        int r;

        r = manager_call(bus, "GetVM", error, &reply, "s", text);
        if (r < 0)
                return r;
        r = sd_bus_message_read_basic(reply, 'o', &p);
        if (r < 0)
                return r;
        path = strdup(p);
        if (!path)
                return -ENOMEM;
        r = sd_bus_path_decode(path, HERO_PATH "/vm", &name);
        if (r < 0)
                return r;
        if (r == 0)
                return -EBADMSG;
        *ret_path = TAKE_PTR(path);
        if (ret_name)
                *ret_name = TAKE_PTR(name);
        return 0;
}
