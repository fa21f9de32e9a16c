/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The steps of jobs, one file each. begin() starts the work and returns 0 (job_step_done() follows, possibly from within) or
 * -errno with a sentence in *ret_text, nothing having been begun. cancel() asks a step under way to undo itself; it
 * ends with job_step_done(-ECANCELED). NULL: cannot be cancelled. */

#include "compute/vm.h"

typedef struct Step {
        const char *word;
        int (*begin)(Vm *vm, char **ret_text);
        void (*cancel)(Vm *vm);
} Step;

extern const Step step_prepare, step_start, step_stop, step_suspend, step_hibernate, step_resume, step_remove;

/* vm-prepare.c, vm-start.c: what the step waited for has come, or will not. */
void vm_prepare_resource(Vm *vm, int error, const char *text);
void vm_start_resource(Vm *vm, int error, const char *text);

/* vm-start.c: the start cannot go on; and: monitor or agent has become ready. */
void vm_start_fail(Vm *vm, int error, const char *text);
void vm_start_check_running(Vm *vm);
int vm_start_wait_for_agent(Vm *vm);

/* vm-suspend.c. The guest goes on after a sleep of either kind: its clock, its packets, its state. */
void vm_woken(Vm *vm, const char *reason);

/* A VMM for the VM, in its scope: what a start and a wake from hibernation have in common. -errno and *ret_text: nothing was
 * begun; later failures come to vm_start_fail(). */
int vm_launch(Vm *vm, int tap_fd, int root_fd, int kernel_fd, int initrd_fd, char **ret_text);

/* Its TAP, filter and routes, which is what a VM without a network does not need: 1. 0: the TAP of its last run is on its way out; in a
 * moment the start, or the wake, goes on from its beginning. -errno and *ret_text. */
int vm_start_network(Vm *vm, int *ret_fd, char **ret_text);

/* vm-hibernate.c. The VMM of a guest that was saved is gone. */
void vm_hibernate_gone(Vm *vm);
/* hibernation.img; -ENOENT: there is none. And its removal, for which that is no error. */
int vm_hibernate_open_image(Vm *vm);
int vm_hibernate_remove_image(Vm *vm);
/* What the guest sleeps in is removed: it goes on, or is no more. -errno: the image is there yet. */
int vm_hibernate_discard(Vm *vm);

/* It is on disk, and all that it held is free for others. */
void vm_give_memory_back(Vm *vm);

/* vm-restore.c. Begins to bring a guest back that sleeps without a VMM; ends in job_step_done(). */
int vm_restore_begin(Vm *vm, char **ret_text);
void vm_restore_resource(Vm *vm, int error, const char *text);
void vm_restore_ready(Vm *vm); /* the monitor is, or the memory: nothing until both are */
/* error is of reading hibernation.img, and says that it cannot be used. */
bool vm_restore_is_bad_image(const Vm *vm, int error);
void vm_restore_gone(Vm *vm, int error, const char *text); /* it came to nothing: the guest sleeps on */

/* A step that the former daemon was in the middle of: goes on, or back. */
void vm_start_adopted(Vm *vm);
void vm_suspend_adopted(Vm *vm, bool frozen);
void vm_stop_adopted(Vm *vm);

/* vm-end.c. The VMM must go now: kills it and its scope. Its end is noticed as ever and leads to vm_gone(). */
void vm_kill(Vm *vm);
/* Everything that can tell about the VMM's end calls this. */
void vm_check_gone(Vm *vm);
int vm_watch_exit(Vm *vm);
/* A stop by force of a VM that is hibernated: its image is removed. */
void vm_end_asleep(Vm *vm);
/* Its VMM is no more, and what there is to do about that is not done yet. */
bool vm_has_ended(const Vm *vm);
int vm_watch_oom(Vm *vm);

/* vm-channels.c: monitor, agent and console of a VM that was just started or is adopted. */
int vm_open_channels(Vm *vm, bool adopted);

/* vm-stop.c: a graceful stop under way goes on with the kill, once the loop is back. */
void vm_stop_by_force(Vm *vm);

/* Arms the one timer of the operation under way. */
int vm_arm_timer(Vm *vm, uint64_t usec, sd_event_time_handler_t handler);
void vm_disarm_timer(Vm *vm);
