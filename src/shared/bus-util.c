/* SPDX-License-Identifier: Apache-2.0 */

#include "shared/bus-util.h"

#include <stdarg.h>

#include "basic/alloc-util.h"
#include "basic/strv.h"
#include "shared/error-names.h"

void bus_reply_error(sd_bus_message *call, int error, const char *text) {
        (void) sd_bus_reply_method_errorf(call, error_name_from_errno(error), "%s",
                                          text ?: strerror(error < 0 ? -error : error));
}

int bus_call_async(sd_bus *bus, sd_bus_slot **ret_slot, const char *destination, const char *path,
                   const char *interface, const char *member, sd_bus_message_handler_t callback, void *userdata,
                   const char *types, ...) {
        _cleanup_message_ sd_bus_message *m = NULL;
        va_list ap;
        int r;

        r = sd_bus_message_new_method_call(bus, &m, destination, path, interface, member);
        if (r < 0)
                return r;
        if (types) {
                va_start(ap, types);
                r = sd_bus_message_appendv(m, types, ap);
                va_end(ap);
                if (r < 0)
                        return r;
        }
        if (!callback) {
                r = sd_bus_message_set_expect_reply(m, false);
                return r < 0 ? r : sd_bus_send(bus, m, NULL);
        }
        return sd_bus_call_async(bus, ret_slot, m, callback, userdata, 0);
}

int bus_read_variant(sd_bus_message *m, const char *key, const char *type, void *ret, sd_bus_error *error) {
        const char *contents;
        int r;

        r = sd_bus_message_peek_type(m, NULL, &contents);
        if (r < 0)
                return r;
        if (strcmp(contents, type) != 0)
                return sd_bus_error_setf(error, ERROR_INVALID_ARGUMENT, "%s must be of type '%s', not '%s'.", key, type,
                                         contents);
        return sd_bus_message_read(m, "v", type, ret);
}

int bus_read_strv(sd_bus_message *m, size_t max, char ***ret) {
        _cleanup_strv_free_ char **l = NULL;
        size_t n = 0, allocated = 0;
        const char *s;
        int r;

        r = sd_bus_message_enter_container(m, 'a', "s");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read_basic(m, 's', &s)) > 0) {
                if (n >= max)
                        return -E2BIG;
                if (!GREEDY_REALLOC(l, allocated, n + 2))
                        return -ENOMEM;
                l[n] = strdup(s);
                if (!l[n])
                        return -ENOMEM;
                l[++n] = NULL;
        }
        if (r < 0)
                return r;
        r = sd_bus_message_exit_container(m);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(l);
        return 0;
}
