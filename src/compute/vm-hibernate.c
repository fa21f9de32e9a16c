/* SPDX-License-Identifier: Apache-2.0 */

/* Hibernating a suspended VM: thaw → the VMM saves its devices → it ends → the guest's memory, which was in a memfd all the time,
 * is written to the disk with them by hero-hibernate, in the background → all of it is given back.
 *
 * Until the VMM has saved, everything can be taken back, and the VM is suspended as before. From then on the guest is in memory
 * without a VMM: called back, it is restored from there (vm-restore.c), whether or not its way to the disk is half done. Only when the
 * image would survive a power cut is the VM called hibernated and the memory let go, or kept for as long as nobody else wants it
 * (kept-memory.h). */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/close-later.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "compute/fd-store.h"
#include "compute/manager.h"
#include "compute/registration.h"
#include "compute/scope.h"
#include "compute/steps.h"
#include "compute/vm-record.h"
#include "hypervisor/memory-image.h"
#include "shared/child.h"
#include "shared/log.h"
#include "shared/program-path.h"

/* A VMM that has nothing left to do. */
#define QUIT_TIMEOUT (500 * USEC_PER_MSEC)
/* 20 MB/s and a minute. */
#define WRITE_TIMEOUT(bytes) (60 * USEC_PER_SEC + (bytes) / 20)

static void on_frozen_again(Vm *vm, int error, const char *text) {
        if (vm->state != VM_HIBERNATING)
                return;
        if (error < 0)
                log_vm_warning(vm, "Freezing %s: %s", vm->unit, text ?: strerror(-error));
        vm_set_state(vm, VM_SUSPENDED, "%s", strempty(vm->failure_text));
        error = vm->failure;
        vm->failure = 0;
        job_step_done(vm, error, vm->reason);
}

/* The VMM is still there and its guest paused. Who wants it awake need not wait for the freeze. */
static void back_to_suspended(Vm *vm, int error, const char *text) {
        vm_disarm_timer(vm);
        vm->runtime->state_fd = safe_close(vm->runtime->state_fd);
        vm->failure = error;
        (void) free_and_strdup(&vm->failure_text, text ?: strerror(-error));
        if (vm->wake_wanted || scope_freeze(vm, on_frozen_again) < 0)
                on_frozen_again(vm, 0, NULL);
}

static int on_quit_timeout(sd_event_source *s, uint64_t usec, void *userdata) {
        Vm *vm = userdata;

        log_vm_debug(vm, "The VMM of VM '%s' does not end, killing it.", vm->name);
        (void) pidfd_send(vm->runtime->process.pidfd, SIGKILL);
        return 0;
}

static void on_saved(VmmMonitor *m, int error, const char *text, void *userdata) {
        Vm *vm = userdata;
        VmRuntime *rt = vm->runtime;

        if (rt->late_saves > 0) {
                rt->late_saves--;
                return;
        }
        if (vm->state != VM_HIBERNATING || rt->saved || error == -ECONNRESET)
                return; /* of the VMM's end its exit tells more */
        if (error < 0 || (vm->job && vm->job->canceled)) {
                back_to_suspended(vm, error < 0 ? -ENOTRECOVERABLE : -ECANCELED,
                                  error < 0 ? text ?: "The VMM could not save the guest." : "The hibernation was canceled.");
                return;
        }
        rt->saved = true;
        fd_store_push_state(vm);
        if (vm->hypervisor->quit(rt->monitor, NULL, NULL) < 0 || vm_arm_timer(vm, QUIT_TIMEOUT, on_quit_timeout) < 0)
                (void) pidfd_send(rt->process.pidfd, SIGKILL);
}

static int on_save_timeout(sd_event_source *s, uint64_t usec, void *userdata) {
        Vm *vm = userdata;

        /* Whatever it answers yet, nobody relies on it; and what it was told cannot be taken back. Counted by itself: a VMM may
         * answer everything else and this never. */
        vm->runtime->late_saves++;
        back_to_suspended(vm, -ENOTRECOVERABLE, "The VMM did not save the guest in time (MonitorTimeoutSec=).");
        return 0;
}

static void on_thawed(Vm *vm, int error, const char *text) {
        VmRuntime *rt = vm->runtime;
        int r;

        if (vm->state != VM_HIBERNATING)
                return;
        if (error < 0 || (vm->job && vm->job->canceled)) {
                back_to_suspended(vm, error < 0 ? error : -ECANCELED, error < 0 ? text : "The hibernation was canceled.");
                return;
        }
        rt->state_fd = memfd_create("vm-state", MFD_CLOEXEC);
        r = rt->state_fd < 0 ? negative_errno() : vm_arm_timer(vm, vm->manager->config.monitor_timeout, on_save_timeout);
        if (r >= 0)
                r = vm->hypervisor->save(rt->monitor, rt->state_fd, on_saved, vm);
        if (r < 0)
                back_to_suspended(vm, r, "The VMM cannot be asked to save the guest.");
}

static void to_disk_failed(Vm *vm, int error, const char *text) {
        _cleanup_free_ char *why = strprintf("Its memory could not be written to the disk: %s", strempty(text)), *restore = NULL;
        int r;

        log_vm_warning(vm, "VM '%s': %s", vm->name, strempty(why));
        vm->runtime->sleep_error = error;
        (void) free_and_strdup(&vm->runtime->sleep_text, why);
        vm->runtime->to_suspended = true;
        vm_set_state(vm, VM_HIBERNATED, "%s", strempty(why));
        r = vm_restore_begin(vm, &restore);
        if (r < 0)
                vm_restore_gone(vm, r, restore);
}

/* In memory, and on its way back: to who called it. Who writes the image is told to stop, and not waited for: with a large memory
 * that would take a while, in which the kernel still writes what it had been given. */
static void called_back(Vm *vm) {
        if (vm->runtime->hibernator)
                (void) child_signal(vm->runtime->hibernator, SIGTERM);
        vm_set_state(vm, VM_HIBERNATED, "Called back on its way to the disk.");
        vm->wake_wanted = true;
        job_step_done(vm, -ECANCELED, "The hibernation was canceled.");
}

void vm_give_memory_back(Vm *vm) {
        VmRuntime *rt = vm->runtime;
        int tap_fd = vm_network_take_tap(vm);

        rt->memory_fd = close_memory_later(rt->memory_fd);
        rt->state_fd = safe_close(rt->state_fd);
        rt->image_fd = safe_close(rt->image_fd);
        fd_store_remove_state(vm);
        fd_store_remove_vm(vm); /* whatever state this is called in: memory and TAP would live on in there */
        fd_store_push_vm(vm);   /* console and agent */
        fd_store_close_after(vm->manager, tap_fd);
        capacity_release_run(vm);
}

static void on_disk(Vm *vm) {
        vm_set_state(vm, VM_HIBERNATED, "Its memory is on disk.");
        kept_memory_add(vm);
        vm_give_memory_back(vm);
        job_step_done(vm, 0, NULL);
}

int vm_hibernate_open_image(Vm *vm) {
        _cleanup_close_ int dir_fd = -EBADF, fd = -EBADF;

        dir_fd = vm_directory_open(vm, false);
        if (dir_fd < 0)
                return dir_fd;
        fd = openat(dir_fd, MEMORY_IMAGE_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        return fd < 0 ? negative_errno() : TAKE_FD(fd);
}

int vm_hibernate_remove_image(Vm *vm) {
        _cleanup_close_ int dir_fd = vm_directory_open(vm, false);

        if (dir_fd < 0)
                return dir_fd;
        return unlinkat(dir_fd, MEMORY_IMAGE_NAME, 0) < 0 && errno != ENOENT ? negative_errno() : 0;
}

static void on_written(int status, const char *output, void *userdata) {
        _cleanup_free_ char *text = strndup(output, strcspn(output, "\n"));
        Vm *vm = userdata;

        vm->runtime->hibernator = NULL;
        if (vm->state != VM_HIBERNATING) {
                /* Called back, and its memory is another one by now. */
                if (status == 0)
                        (void) vm_hibernate_remove_image(vm);
                return;
        }
        if (status == 0)
                on_disk(vm);
        else
                to_disk_failed(vm, status < 0 ? status : -EIO, isempty(text) ? "hero-hibernate failed." : text);
}

static int write_begin(Vm *vm) {
        _cleanup_free_ char *program = program_path(MEMORY_IMAGE_CHILD);
        _cleanup_close_ int dir_fd = -EBADF;
        VmRuntime *rt = vm->runtime;
        char *argv[] = { program, (char *) MEMORY_IMAGE_NAME, vm->id, (char *) vm->hypervisor->name,
                         (char *) strempty(rt->vmm_version), NULL };

        dir_fd = vm_directory_open(vm, false);
        if (dir_fd < 0)
                return dir_fd;
        if (!program)
                return -ENOMEM;
        job_set_word(vm->job, "write");
        return child_run_fds(vm->manager->event, argv, (int[]) { rt->memory_fd, rt->state_fd, dir_fd }, 3,
                             WRITE_TIMEOUT(rt->memory), on_written, vm, &rt->hibernator);
}

static void write_image(Vm *vm) {
        int r;

        r = write_begin(vm);
        if (r < 0)
                to_disk_failed(vm, r, strerror(-r));
}

void vm_hibernate_gone(Vm *vm) {
        vm->runtime->saved = false;
        vm_runtime_end_process(vm);
        vm_changed(vm, "PID", NULL);
        if (vm->wake_wanted || (vm->job && vm->job->canceled))
                called_back(vm);
        else
                write_image(vm);
}

static int check_hibernation(Vm *vm, char **ret_text) {
        _cleanup_close_ int dir_fd = -EBADF;
        VmRuntime *rt = vm->runtime;

        if (!vm->hypervisor->save)
                return hypervisor_unsupported(vm->hypervisor, "hibernate", ret_text);
        if (!rt->monitor || !rt->vmm_version || rt->memory_fd < 0 || rt->agent_peer < 0 || rt->console_peer < 0) {
                *ret_text = strdup("The VM was started by another version of hero-computed, or what that knew of it is lost; it can "
                                   "hibernate after its next start.");
                return -EOPNOTSUPP;
        }
        dir_fd = vm_directory_open(vm, false);
        return dir_fd < 0 ? dir_fd : memory_image_check_room(rt->memory_fd, dir_fd, ret_text);
}

/* A daemon before us was ended after the VMM, and before the memory was on disk. */
static bool is_in_memory(const Vm *vm) {
        return vm->state == VM_HIBERNATED && vm->runtime->memory_fd >= 0 && vm->runtime->state_fd >= 0;
}

static int hibernate_begin(Vm *vm, char **ret_text) {
        int r;

        if (vm->state == VM_HIBERNATED && !is_in_memory(vm)) {
                job_step_done(vm, 0, NULL);
                return 0;
        }
        if (vm->state != VM_SUSPENDED && vm->state != VM_HIBERNATED) {
                *ret_text = strprintf("VM '%s' is %s and cannot be hibernated.", vm->name, vm_state_to_string(vm->state));
                return -EBADFD;
        }
        if (vm->runtime->hibernator) {
                *ret_text = strdup("The image that was being written when it was called back the last time is not given up yet; try "
                                   "again in a moment.");
                return -EBUSY;
        }
        if (is_in_memory(vm)) {
                vm_set_state(vm, VM_HIBERNATING, "Going on with its way to the disk.");
                write_image(vm);
                return 0;
        }
        if (vm->wake_wanted) {
                *ret_text = strdup("The hibernation was canceled: the VM is wanted awake.");
                return -ECANCELED;
        }
        r = check_hibernation(vm, ret_text);
        if (r < 0)
                return r;
        (void) vm_hibernate_discard(vm); /* of an earlier sleep, by a host that lost its power while that was removed */
        vm_set_state(vm, VM_HIBERNATING, "Saving.");
        r = scope_thaw(vm, on_thawed);
        if (r < 0)
                back_to_suspended(vm, r, "Cannot ask systemd to thaw the scope.");
        return 0;
}

static void hibernate_cancel(Vm *vm) {
        /* What waits for the VMM looks at Job.canceled, within milliseconds. */
        if (vm->runtime->hibernator)
                called_back(vm);
}

int vm_hibernate_discard(Vm *vm) {
        int r;

        r = vm_hibernate_remove_image(vm);
        if (r < 0)
                return log_vm_warning_errno(vm, r, "Cannot remove the " MEMORY_IMAGE_NAME " of VM '%s': %m", vm->name);
        fd_store_remove_state(vm);
        return 0;
}

const Step step_hibernate = { .word = "hibernate", .begin = hibernate_begin, .cancel = hibernate_cancel };
