/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* STATEDIR/vms/NAME/: a VM's directory with vm.json (what it is and what was last intended), overlay.img and
 * console.log. vm.json is versioned, written temp + fsync + rename + fsync of the directory, and unknown fields in it
 * are kept, so that an older daemon does not lose what a newer one wrote. */

#include "compute/vm.h"

#define VM_RECORD_VERSION 1
#define VM_RECORD_EVENTS 16u /* transitions that outlive a restart of the daemon */

/* What a record says beyond the VM itself: where an interrupted daemon had got to. */
typedef struct VmRecordRuntime {
        pid_t pid;
        uid_t uid;
        Accelerator accelerator;
        char vmm_version[256]; /* "": not known */
        unsigned cpus;   /* 0: as the spec says */
        uint64_t memory; /* likewise */
        bool same_boot, restoring;
        bool present;
} VmRecordRuntime;

int vm_directory_open(Vm *vm, bool create);

int vm_record_save(Vm *vm);

/* Saves what vm_set_state_ahead() left unsaved. A failure is logged. */
void vm_record_settle(Vm *vm);

/* Makes a VM of the record in the directory. -EBADMSG with a sentence in *ret_why: quarantine it. -ENODATA: the record is
 * empty, as that of a VM whose creation had not begun. */
int vm_record_load(Manager *m, const char *name, Vm **ret, VmRecordRuntime *ret_runtime, char **ret_why);

/* What the record of a quarantined VM still says of its image, NULL for what it does not. False: there is no record of a VM
 * any more, or never was. */
bool vm_record_read_image(Manager *m, const char *name, char **ret_image, char **ret_digest);

/* The directory, when there is nothing in it but an empty record. */
int vm_record_remove_empty(Manager *m, const char *name);

int vm_record_remove(Vm *vm); /* the directory with all in it */
