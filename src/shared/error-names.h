/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The errors of org.hero.Compute, and the one place where they meet errno. Include, call
 * error_names_register() once, and `return -Exxx` or sd_bus_error_setf() with a name below. */

#define HERO_ERROR "org.hero.Compute.Error."

#define ERROR_NO_SUCH_VM HERO_ERROR "NoSuchVM"                   /* ENXIO */
#define ERROR_NO_SUCH_USER HERO_ERROR "NoSuchUser"               /* ESRCH */
#define ERROR_NO_SUCH_JOB HERO_ERROR "NoSuchJob"                 /* ENOMSG */
#define ERROR_NO_SUCH_IMAGE HERO_ERROR "NoSuchImage"             /* ENOMEDIUM */
#define ERROR_BAD_IMAGE HERO_ERROR "BadImage"                    /* EUCLEAN: exists, cannot be used */
#define ERROR_IMAGE_IN_USE HERO_ERROR "ImageInUse"               /* ETXTBSY */
#define ERROR_VM_EXISTS HERO_ERROR "VMExists"                    /* EEXIST */
#define ERROR_USER_HAS_VM HERO_ERROR "UserHasVM"                 /* EADDRINUSE */
#define ERROR_AMBIGUOUS_NAME HERO_ERROR "AmbiguousName"          /* ENOTUNIQ */
#define ERROR_INVALID_ARGUMENT HERO_ERROR "InvalidArgument"      /* EINVAL */
#define ERROR_WRONG_STATE HERO_ERROR "WrongState"                /* EBADFD */
#define ERROR_BUSY HERO_ERROR "Busy"                             /* EBUSY: another job works on the VM */
#define ERROR_NO_CAPACITY HERO_ERROR "NoCapacity"                /* ENOSPC: CPU, memory or disk; says which, how much is left */
#define ERROR_LIMIT_EXCEEDED HERO_ERROR "LimitExceeded"          /* EDQUOT: too many VMs, sessions, jobs */
#define ERROR_NO_KERNEL HERO_ERROR "NoKernel"                    /* ENOPKG */
#define ERROR_NO_ACCELERATOR HERO_ERROR "NoAccelerator"          /* ENODEV: KVM was asked for and cannot run a guest */
#define ERROR_NO_HYPERVISOR HERO_ERROR "NoHypervisor"            /* ELIBACC: the VMM's program is not there */
#define ERROR_NOT_SUPPORTED HERO_ERROR "NotSupported"            /* EOPNOTSUPP */
#define ERROR_VMM_FAILED HERO_ERROR "VMMFailed"                  /* ENOTRECOVERABLE: died or could not be executed */
#define ERROR_SCOPE_FAILED HERO_ERROR "ScopeFailed"              /* EREMOTEIO: PID 1 refused the scope */
#define ERROR_BOOT_FAILED HERO_ERROR "BootFailed"                /* ENOEXEC: the guest said so */
#define ERROR_AGENT_TIMEOUT HERO_ERROR "AgentTimeout"            /* ETIME */
#define ERROR_NO_AGENT HERO_ERROR "NoAgent"                      /* EHOSTDOWN: exec without an agent */
#define ERROR_CANCELED HERO_ERROR "Canceled"                     /* ECANCELED */
#define ERROR_NOT_CANCELABLE HERO_ERROR "NotCancelable"          /* EINPROGRESS */
#define ERROR_IMPORT_FAILED HERO_ERROR "ImportFailed"            /* EBADMSG: not a usable tar or archive of images */
#define ERROR_BAD_MEMORY_IMAGE HERO_ERROR "BadMemoryImage"       /* ESTALE: of a hibernated VM; torn, or another VMM's */
#define ERROR_PULL_FAILED HERO_ERROR "PullFailed"                 /* ECONNABORTED: the registry refuses, is not reachable, or broken */

/* The name for ±errno: ours where there is one, else the one sd-bus has (never NULL). sd_bus_error_set_errno() knows
 * only its own names, the map below works the other way round. */
const char *error_name_from_errno(int error);

/* Makes sd-bus translate both ways, on the side of the daemons and of the clients. */
int error_names_register(void);
