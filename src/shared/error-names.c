/* SPDX-License-Identifier: Apache-2.0 */

#include "shared/error-names.h"

#include <errno.h>
#include <stddef.h>
#include <systemd/sd-bus.h>

static const sd_bus_error_map error_map[] = {
        SD_BUS_ERROR_MAP(ERROR_NO_SUCH_VM, ENXIO),
        SD_BUS_ERROR_MAP(ERROR_NO_SUCH_USER, ESRCH),
        SD_BUS_ERROR_MAP(ERROR_NO_SUCH_JOB, ENOMSG),
        SD_BUS_ERROR_MAP(ERROR_NO_SUCH_IMAGE, ENOMEDIUM),
        SD_BUS_ERROR_MAP(ERROR_BAD_IMAGE, EUCLEAN),
        SD_BUS_ERROR_MAP(ERROR_IMAGE_IN_USE, ETXTBSY),
        SD_BUS_ERROR_MAP(ERROR_VM_EXISTS, EEXIST),
        SD_BUS_ERROR_MAP(ERROR_USER_HAS_VM, EADDRINUSE),
        SD_BUS_ERROR_MAP(ERROR_AMBIGUOUS_NAME, ENOTUNIQ),
        SD_BUS_ERROR_MAP(ERROR_INVALID_ARGUMENT, EINVAL),
        SD_BUS_ERROR_MAP(ERROR_WRONG_STATE, EBADFD),
        SD_BUS_ERROR_MAP(ERROR_BUSY, EBUSY),
        SD_BUS_ERROR_MAP(ERROR_NO_CAPACITY, ENOSPC),
        SD_BUS_ERROR_MAP(ERROR_LIMIT_EXCEEDED, EDQUOT),
        SD_BUS_ERROR_MAP(ERROR_NO_KERNEL, ENOPKG),
        SD_BUS_ERROR_MAP(ERROR_NO_ACCELERATOR, ENODEV),
        SD_BUS_ERROR_MAP(ERROR_NO_HYPERVISOR, ELIBACC),
        SD_BUS_ERROR_MAP(ERROR_NOT_SUPPORTED, EOPNOTSUPP),
        SD_BUS_ERROR_MAP(ERROR_VMM_FAILED, ENOTRECOVERABLE),
        SD_BUS_ERROR_MAP(ERROR_SCOPE_FAILED, EREMOTEIO),
        SD_BUS_ERROR_MAP(ERROR_BOOT_FAILED, ENOEXEC),
        SD_BUS_ERROR_MAP(ERROR_AGENT_TIMEOUT, ETIME),
        SD_BUS_ERROR_MAP(ERROR_NO_AGENT, EHOSTDOWN),
        SD_BUS_ERROR_MAP(ERROR_CANCELED, ECANCELED),
        SD_BUS_ERROR_MAP(ERROR_NOT_CANCELABLE, EINPROGRESS),
        SD_BUS_ERROR_MAP(ERROR_IMPORT_FAILED, EBADMSG),
        SD_BUS_ERROR_MAP(ERROR_BAD_MEMORY_IMAGE, ESTALE),
        SD_BUS_ERROR_MAP(ERROR_PULL_FAILED, ECONNABORTED),
        SD_BUS_ERROR_MAP_END,
};

const char *error_name_from_errno(int error) {
        error = error < 0 ? -error : error;
        for (size_t i = 0; error_map[i].name; i++)
                if (error_map[i].code == error)
                        return error_map[i].name;
        switch (error) {
        case EACCES:
        case EPERM:
                return SD_BUS_ERROR_ACCESS_DENIED;
        case ENOMEM:
                return SD_BUS_ERROR_NO_MEMORY;
        case EIO:
                return SD_BUS_ERROR_IO_ERROR;
        case ETIMEDOUT:
                return SD_BUS_ERROR_TIMEOUT;
        default:
                return SD_BUS_ERROR_FAILED;
        }
}

int error_names_register(void) {
        return sd_bus_error_add_map(error_map);
}
