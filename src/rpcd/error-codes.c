/* SPDX-License-Identifier: Apache-2.0 */

/* Codes of errors of the domain: never changed once published, new ones at the end. docs/json-rpc.md lists them, and a test
 * compares. */

#include "basic/string-util.h"
#include "rpcd/call.h"
#include "shared/error-names.h"

#define FREEDESKTOP "org.freedesktop.DBus.Error."

static const struct {
        int code;
        const char *bus_name, *name;
} codes[] = {
        { RPC_PERMISSION_DENIED, FREEDESKTOP "AccessDenied", "PermissionDenied" },
        { RPC_PERMISSION_DENIED, FREEDESKTOP "AuthFailed", "PermissionDenied" },
        { RPC_PERMISSION_DENIED, FREEDESKTOP "InteractiveAuthorizationRequired", "PermissionDenied" },
        { RPC_SERVICE_UNAVAILABLE, FREEDESKTOP "ServiceUnknown", "ServiceUnavailable" },
        { RPC_SERVICE_UNAVAILABLE, FREEDESKTOP "NameHasNoOwner", "ServiceUnavailable" },
        { RPC_SERVICE_UNAVAILABLE, FREEDESKTOP "NoReply", "ServiceUnavailable" },
        { RPC_SERVICE_UNAVAILABLE, FREEDESKTOP "Timeout", "ServiceUnavailable" },
        { RPC_SERVICE_UNAVAILABLE, FREEDESKTOP "Disconnected", "ServiceUnavailable" },
        { -32003, FREEDESKTOP "UnknownObject", "NoSuchVM" },
        { -32003, ERROR_NO_SUCH_VM, NULL },
        { -32004, ERROR_NO_SUCH_USER, NULL },
        { -32005, ERROR_NO_SUCH_JOB, NULL },
        { -32006, ERROR_NO_SUCH_IMAGE, NULL },
        { -32007, ERROR_VM_EXISTS, NULL },
        { -32008, ERROR_USER_HAS_VM, NULL },
        { -32009, ERROR_AMBIGUOUS_NAME, NULL },
        { -32010, ERROR_WRONG_STATE, NULL },
        { -32011, ERROR_BUSY, NULL },
        { -32012, ERROR_NO_CAPACITY, NULL },
        { -32013, ERROR_LIMIT_EXCEEDED, NULL },
        { -32014, ERROR_NOT_SUPPORTED, NULL },
        { -32015, ERROR_CANCELED, NULL },
        { -32016, ERROR_NOT_CANCELABLE, NULL },
        { -32017, ERROR_IMAGE_IN_USE, NULL },
        { -32018, ERROR_BAD_IMAGE, NULL },
        { -32019, ERROR_IMPORT_FAILED, NULL },
        { -32020, ERROR_PULL_FAILED, NULL },
        { -32021, ERROR_NO_KERNEL, NULL },
        { -32022, ERROR_NO_ACCELERATOR, NULL },
        { -32023, ERROR_NO_HYPERVISOR, NULL },
        { -32024, ERROR_VMM_FAILED, NULL },
        { -32025, ERROR_SCOPE_FAILED, NULL },
        { -32026, ERROR_BOOT_FAILED, NULL },
        { -32027, ERROR_AGENT_TIMEOUT, NULL },
        { -32028, ERROR_NO_AGENT, NULL },
        { -32029, ERROR_BAD_MEMORY_IMAGE, NULL },
        { RPC_INVALID_PARAMS, ERROR_INVALID_ARGUMENT, NULL },
        { RPC_INTERNAL_ERROR, FREEDESKTOP "NoMemory", "InternalError" },
};

int rpc_error_code(const char *bus_name, const char **ret_name) {
        const char *own = startswith(bus_name, HERO_ERROR);

        for (unsigned i = 0; i < ELEMENTSOF(codes); i++)
                if (streq(codes[i].bus_name, bus_name)) {
                        *ret_name = codes[i].name ?: own;
                        return codes[i].code;
                }
        *ret_name = own ?: "ServerError";
        return RPC_SERVER_ERROR;
}

const char *rpc_error_name(unsigned i, int *ret_code) {
        if (i >= ELEMENTSOF(codes))
                return NULL;
        *ret_code = codes[i].code;
        return codes[i].name ?: startswith(codes[i].bus_name, HERO_ERROR);
}
