/* SPDX-License-Identifier: Apache-2.0 */

/* The names, parameters and results of the seed (hero_compute_manager's README) where it states them, and docs/json-rpc.md where it
 * does not. Only ever added to. */

#include "rpcd/method.h"

#include "basic/string-util.h"
#include "rpcd/methods.h"

#define VM_ID { "vm_id", PARAM_STRING, true, "12-digit id or name of the VM.", 1, 63 }
#define USER_ID { "user_id", PARAM_STRING, true, "Whose VM: 1 to 64 characters of A-Za-z0-9._@-.", 1, 64 }
#define WAIT { "wait", PARAM_BOOLEAN, false, "false: answers with a job at once, see job.get (default: true)." }
#define CPU_COUNT { "cpu_count", PARAM_INTEGER, false, "CPUs (default: compute.conf's).", 1, 64 }
#define MEMORY_MB { "memory_mb", PARAM_INTEGER, false, "Memory in MiB (default: compute.conf's).", 64, 1 << 20 }
#define DISK_GB { "disk_gb", PARAM_NUMBER, false, "Disk in GiB, a fraction is rounded up to MiB (default: compute.conf's).", 0, 15 << 10 }

static const Param resources[] = { CPU_COUNT, MEMORY_MB, DISK_GB };

#define RESOURCES                                                                                                                  \
        CPU_COUNT, MEMORY_MB, DISK_GB,                                                                                             \
        { "resources", PARAM_OBJECT, false, "The three above, as in the data model; those beside it go over it.",                  \
          .members = resources, .n_members = ELEMENTSOF(resources) }
#define SPEC                                                                                                                       \
        { "image", PARAM_STRING, false, "NAME[:TAG] or digest (default: compute.conf's).", 1, 512 }, RESOURCES,                    \
        { "hypervisor", PARAM_STRING, false, "\"qemu\" or \"mock\" (default: compute.conf's).", 1, 32 },                           \
        { "command", PARAM_STRINGS, false, "Run in place of all that the image says.", 0, 256 },                                   \
        { "env", PARAM_STRINGS, false, "NAME=VALUE, over the image's by name.", 0, 256 }

static const Param vm_id[] = { VM_ID };
static const Param vm_id_wait[] = { VM_ID, WAIT };
static const Param vm_id_force_wait[] = { VM_ID, { "force", PARAM_BOOLEAN, false, "Without asking the guest (default: false)." }, WAIT };
static const Param vm_create[] = { { "name", PARAM_STRING, true, "Of the new VM: [a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", 1, 63 }, SPEC, WAIT };
static const Param user_id[] = { USER_ID };
static const Param user_id_wait[] = { USER_ID, WAIT };
static const Param user_provision[] = {
        USER_ID, { "name", PARAM_STRING, false, "Of the VM (default: made from the user's id).", 1, 63 }, SPEC, WAIT,
};
static const Param job_id[] = { { "job_id", PARAM_STRING, true, "As a call with \"wait\": false answered.", 1, 20 } };

#define PARAMS(p) .params = (p), .n_params = ELEMENTSOF(p)
static const Method methods[] = {
        { "info", "What this host is and has.", ACCESS_KNOWN, .result = "Info", .handler = method_info },
        { "health", "That the service answers.", ACCESS_ANYBODY, .result = "Health", .handler = method_health },
        { "rpc.discover", "This document.", ACCESS_ANYBODY, .result = "Document", .handler = method_discover },

        { "vm.list", "All VMs; for who is no administrator the own one.", ACCESS_KNOWN, .result = "VmList", .handler = method_vm_list },
        { "vm.get", "A VM.", ACCESS_VM, PARAMS(vm_id), .result = "Vm", .handler = method_vm_get },
        { "vm.create", "Makes a VM without starting it.", ACCESS_ADMIN, true, PARAMS(vm_create), .result = "Vm",
          .handler = method_vm_create },
        { "vm.start", "Starts a VM, or wakes it. One that runs is left alone.", ACCESS_VM, true, PARAMS(vm_id_wait), .result = "Vm",
          .handler = method_vm_start },
        { "vm.stop", "Shuts a VM down.", ACCESS_VM, true, PARAMS(vm_id_force_wait), .result = "Vm", .handler = method_vm_stop },
        { "vm.restart", "Stops a VM and starts it.", ACCESS_VM, true, PARAMS(vm_id_wait), .result = "Vm",
          .handler = method_vm_restart },
        { "vm.delete", "Stops a VM and removes it with its disk.", ACCESS_VM, true, PARAMS(vm_id_force_wait), .result = "Deleted",
          .handler = method_vm_delete },

        { "user.provision", "Makes and starts the VM of a user; who has one of the same spec gets it back, started.", ACCESS_USER, true,
          PARAMS(user_provision), .result = "UserVm", .handler = method_user_provision },
        { "user.deprovision", "Stops a user's VM and removes it with its disk.", ACCESS_USER, true, PARAMS(user_id_wait),
          .result = "Deleted", .handler = method_user_deprovision },
        { "user.vm", "A user's VM.", ACCESS_USER, PARAMS(user_id), .result = "UserVm", .handler = method_user_vm },
        { "user.start", "Starts a user's VM, or wakes it.", ACCESS_USER, true, PARAMS(user_id_wait), .result = "UserVm",
          .handler = method_user_start },
        { "user.stop", "Suspends a user's VM.", ACCESS_USER, true, PARAMS(user_id_wait), .result = "UserVm",
          .handler = method_user_stop },
        { "user.list", "All VMs that are users'; for who is no administrator the own one.", ACCESS_KNOWN, .result = "UserVmList",
          .handler = method_user_list },

        { "job.get", "How far a job is, or how it ended.", ACCESS_KNOWN, PARAMS(job_id), .result = "Job", .handler = method_job_get },
        { "job.cancel", "Undoes what a job has done so far.", ACCESS_KNOWN, true, PARAMS(job_id), .result = "Canceled",
          .handler = method_job_cancel },
};

/* Few enough to be looked through: the first letter tells most apart. */
const Method *method_find(const char *name) {
        for (unsigned i = 0; i < ELEMENTSOF(methods); i++)
                if (methods[i].name[0] == name[0] && streq(methods[i].name, name))
                        return methods + i;
        return NULL;
}

const Method *method_get(unsigned i) {
        return i < ELEMENTSOF(methods) ? methods + i : NULL;
}
