/* SPDX-License-Identifier: Apache-2.0 */

#include "rpcd/call-util.h"

#include <stdarg.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "basic/time-util.h"
#include "shared/bus-util.h"
#include "shared/error-names.h"

void call_refuse(Call *c, const char *error_name, const char *format, ...) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        va_list ap;

        va_start(ap, format);
        (void) sd_bus_error_setfv(&error, error_name, format, ap);
        va_end(ap);
        call_bus_error(c, &error);
}

bool caller_may_vm(const Caller *caller, const ReplicaVm *vm) {
        return caller->admin || (!isempty(caller->user) && streq_ptr(caller->user, vm->user));
}

bool caller_is_same(const Caller *a, const Caller *b) {
        return a->uid == b->uid && streq_ptr(a->user, b->user) && streq_ptr(a->subject, b->subject);
}

json_t *json_timestamp(uint64_t realtime_usec) {
        char buf[FORMAT_TIMESTAMP_MAX];

        return realtime_usec > 0 ? json_string(format_timestamp(buf, realtime_usec)) : json_null();
}

int json_to_strv(const json_t *array, char ***ret) {
        _cleanup_strv_free_ char **l = NULL;
        json_t *item;
        size_t i;

        l = new0(char *, json_array_size(array) + 1);
        if (!l)
                return -ENOMEM;
        json_array_foreach(array, i, item) {
                l[i] = strdup(json_string_value(item));
                if (!l[i])
                        return -ENOMEM;
        }
        *ret = TAKE_PTR(l);
        return 0;
}
