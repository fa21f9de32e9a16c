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
#define REFERENCE(required, text) { "reference", PARAM_STRING, required, text, 1, 250 }
#define PLATFORM { "platform", PARAM_STRING, false, "Such as linux/amd64 (default: the host's).", 1, 64 }
static const Param vm_exec[] = {
        VM_ID,
        { "command", PARAM_STRINGS, true, "The program, looked for in the guest's $PATH, and its arguments; no shell.", 1, 4096 },
        { "env", PARAM_STRINGS, false, "NAME=VALUE, over the environment of the image and the VM.", 0, 256 },
        { "cwd", PARAM_STRING, false, "Absolute path in the guest (default: as the VM's own command).", 1, 4096 },
        { "user", PARAM_STRING, false, "USER[:GROUP], names of the guest or numbers (default: root).", 1, 256 },
        { "stdin", PARAM_STRING, false, "What the command reads (default: nothing).", 0, 64 << 10 },
        { "timeout_secs", PARAM_INTEGER, false, "After so many seconds the command is ended (default: 60).", 1, 3600 },
};
static const Param vm_logs[] = {
        VM_ID,
        { "bytes", PARAM_INTEGER, false, "At most so many of the last bytes (default: 65536; with lines 1048576).", 1, 1 << 20 },
        { "lines", PARAM_INTEGER, false, "At most so many of the last lines.", 1, 1 << 20 },
};
static const Param vm_wait[] = {
        VM_ID,
        { "states", PARAM_STRINGS, false, "Any of these detail states; \"agent\": commands can be run (default: running).", 1, 16 },
        { "state", PARAM_STRING, false, "One more of them.", 1, 32 },
        { "timeout_secs", PARAM_INTEGER, false, "How many seconds to wait (default: 60).", 0, 3600 },
};
static const Param vm_set_resources[] = {
        VM_ID,
        { "cpu_count", PARAM_INTEGER, false, "CPUs.", 1, 64 },
        { "memory_mb", PARAM_INTEGER, false, "Memory in MiB.", 64, 1 << 20 },
        { "disk_gb", PARAM_NUMBER, false, "Disk in GiB, a fraction is rounded up to MiB; it only grows.", 0, 15 << 10 },
        { "cpu_weight", PARAM_INTEGER, false, "Share of CPU time where it is short, against 100 of the others.", 1, 10000 },
        { "io_weight", PARAM_INTEGER, false, "Share of the disk, likewise.", 1, 10000 },
        { "receive_max", PARAM_INTEGER, false, "Bytes a second that it may receive, 1024 or more; -1: no limit.", -1, INT64_C(1) << 40 },
        { "transmit_max", PARAM_INTEGER, false, "Bytes a second that it may send, likewise.", -1, INT64_C(1) << 40 },
};
static const Param vm_metrics_query[] = {
        VM_ID,
        { "from", PARAM_STRING, false, "Time like 2026-11-21T11:20:12Z, or seconds since 1970 (default: an hour before to).", 1, 64 },
        { "to", PARAM_STRING, false, "Not included (default: now).", 1, 64 },
        { "step", PARAM_INTEGER, false, "Seconds from one point to the next (default: as fine as it is kept).", 1, 366 * 86400 },
        { "metric", PARAM_STRING, false, "Only this one (default: all).", 1, 64 },
};
static const Param events_tail[] = {
        { "since", PARAM_INTEGER, false, "Only those with a higher sequence number (default: the last ones there are).", 0,
          INT64_C(1) << 53 },
        { "vm_id", PARAM_STRING, false, "Of this VM only: 12-digit id or name.", 1, 63 },
        { "limit", PARAM_INTEGER, false, "At most so many (default: 100).", 1, 1000 },
        { "timeout_secs", PARAM_INTEGER, false, "Where there is none, how many seconds to wait for one (default: 0).", 0, 60 },
};
static const Param image_pull[] = { REFERENCE(true, "[REGISTRY/]NAME[:TAG][@DIGEST]"), PLATFORM, WAIT };
static const Param image_import[] = {
        { "path", PARAM_STRING, true, "Absolute path of a regular file that hero-rpcd may read, so not in /tmp or a home.", 1, 4096 },
        REFERENCE(false, "NAME[:TAG] (default: the file's name)."), PLATFORM, WAIT,
};
static const Param image_delete[] = { REFERENCE(true, "NAME[:TAG], or a digest for all references of an image.") };

static const Param job_id[] = { { "job_id", PARAM_STRING, true, "As a call with \"wait\": false answered.", 1, 20 } };

static const Param audit_query[] = {
        { "user_id", PARAM_STRING, false, "What was done to this user's VM; who is no administrator sees the own one's only.", 1, 64 },
        { "vm_id", PARAM_STRING, false, "What was done to this VM: 12-digit id or name; name where it is gone.", 1, 63 },
        { "action", PARAM_STRING, false, "\"user.start\", \"VM.Start\" on the bus; with *, ? and [ as in glob(7).", 1, 64 },
        { "since", PARAM_STRING, false, "\"2026-11-21T12:00:00Z\", or how long ago: \"1h\".", 1, 64 },
        { "until", PARAM_STRING, false, "Likewise.", 1, 64 },
        { "limit", PARAM_INTEGER, false, "The last so many (default: 100).", 1, 1000 },
};

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

        { "vm.suspend", "Pauses a running VM in memory: no CPU time until it is resumed.", ACCESS_VM, true, PARAMS(vm_id_wait),
          .result = "Vm", .handler = method_vm_suspend },
        { "vm.hibernate", "Suspends a VM and saves it to the disk: no memory and no process until it is resumed.", ACCESS_VM, true,
          PARAMS(vm_id_wait), .result = "Vm", .handler = method_vm_hibernate },
        { "vm.resume", "Lets a VM that sleeps go on where it was.", ACCESS_VM, true, PARAMS(vm_id_wait), .result = "Vm",
          .handler = method_vm_resume },
        { "vm.set_resources", "Weights and limits act at once; the guest sees other CPUs, memory and disk at its next start.", ACCESS_VM,
          true, PARAMS(vm_set_resources), .result = "VmModel", .handler = method_vm_set_resources },
        { "vm.exec", "Runs a command in the guest, waking it, and waits for the end; of each output the first MiB is kept.", ACCESS_VM,
          true, PARAMS(vm_exec), .result = "ExecResult", .handler = method_vm_exec },
        { "vm.logs", "What the guest wrote to its console, as far as it is kept; what is not UTF-8 is U+FFFD.", ACCESS_VM,
          PARAMS(vm_logs), .result = "VmLogs", .handler = method_vm_logs },
        { "vm.console.endpoint", "A Unix socket that is the console, for root, administrators and the owner, while it is used.",
          ACCESS_VM, PARAMS(vm_id), .result = "VmConsole", .handler = method_vm_console_endpoint },
        { "vm.wait", "Waits until a VM is in a state, or has failed.", ACCESS_VM, PARAMS(vm_wait), .result = "VmWait",
          .handler = method_vm_wait },
        { "vm.metrics.query", "What a VM used, in points of time.", ACCESS_VM, PARAMS(vm_metrics_query), .result = "VmMetrics",
          .handler = method_vm_metrics_query },
        { "events.tail", "Transitions of VMs, oldest first; for who is no administrator of the own one.", ACCESS_KNOWN,
          PARAMS(events_tail), .result = "Events", .handler = method_events_tail },

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

        { "image.list", "Images that are here, one for each reference.", ACCESS_KNOWN, .result = "ImageList",
          .handler = method_image_list },
        { "image.pull", "Gets an image from its registry.", ACCESS_ADMIN, true, PARAMS(image_pull), .result = "Image",
          .handler = method_image_pull },
        { "image.import", "Makes an image of a tar: a root file system, an OCI layout, or what docker save writes.", ACCESS_ADMIN, true,
          PARAMS(image_import), .result = "Image", .handler = method_image_import },
        { "image.delete", "Removes a reference and, with the last one, its image.", ACCESS_ADMIN, true, PARAMS(image_delete),
          .result = "ImageDeleted", .handler = method_image_delete },

        { "job.get", "How far a job is, or how it ended.", ACCESS_KNOWN, PARAMS(job_id), .result = "Job", .handler = method_job_get },
        { "job.cancel", "Undoes what a job has done so far.", ACCESS_KNOWN, true, PARAMS(job_id), .result = "Canceled",
          .handler = method_job_cancel },

        { "audit.query", "Who changed what by which road, newest last; for who is no administrator of the own VM.", ACCESS_KNOWN,
          PARAMS(audit_query), .result = "AuditEntries", .handler = method_audit_query },
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
