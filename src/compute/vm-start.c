/* SPDX-License-Identifier: Apache-2.0 */

/* Starting a VM: what it needs (resources.h) → launcher, blocked → scope → release → monitor and agent → running.
 *
 * A failure at any point ends in vm_start_fail(): the VMM and its scope are ended first, and only when both are gone
 * (vm-end.c) is the failure reported and everything given back. */

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "compute/agent.h"
#include "compute/console.h"
#include "compute/fd-store.h"
#include "compute/manager.h"
#include "compute/registration.h"
#include "compute/scope.h"
#include "compute/steps.h"
#include "compute/transient.h"
#include "compute/vm-exit.h"
#include "compute/vm-record.h"
#include "network/tap.h"
#include "shared/bus-util.h"
#include "shared/log.h"

/* The kernel takes 34 ms for it, more when many go at once. */
#define TAP_RETRY_USEC (10 * USEC_PER_MSEC)
#define TAP_TRIES 300u

#define LOAD_BYTES_PER_USEC_MIN 20u /* 20 MB/s */

void vm_start_fail(Vm *vm, int error, const char *text) {
        if (vm->failure < 0)
                return; /* the first reason counts */
        vm->failure = error;
        (void) free_and_strdup(&vm->failure_text, text ?: strerror(-error));
        resources_forget(vm);
        vm_disarm_timer(vm);
        vm_kill(vm);
}

static int on_start_timeout(sd_event_source *s, uint64_t usec, void *userdata) {
        _cleanup_free_ char *text = NULL;
        char limit[FORMAT_TIMESPAN_MAX];
        Vm *vm = userdata;
        VmRuntime *rt = vm->runtime;
        const ComputeConfig *c = &vm->manager->config;

        if (!rt->scope_up) {
                text = strprintf("systemd did not make %s within %s (ScopeTimeoutSec=).", vm->unit,
                                 format_timespan(limit, c->scope_timeout));
                vm_start_fail(vm, -EREMOTEIO, text);
        } else if (!rt->monitor_ready || vm->state == VM_RESUMING) {
                text = strprintf("The %s VMM did not answer within %s (MonitorTimeoutSec=).", vm->hypervisor->name,
                                 format_timespan(limit, c->monitor_timeout));
                vm_start_fail(vm, -ENOTRECOVERABLE, text);
        } else {
                text = strprintf("The guest's agent was not ready within %s (AgentTimeoutSec=). See 'heroctl logs %s'.",
                                 format_timespan(limit, c->agent_timeout), vm->name);
                vm_start_fail(vm, -ETIME, text);
        }
        return 0;
}

int vm_start_wait_for_agent(Vm *vm) {
        return vm_arm_timer(vm, vm->manager->config.agent_timeout, on_start_timeout);
}

void vm_start_adopted(Vm *vm) {
        /* Monitor and agent are asked where they are; their answers lead to vm_start_check_running(). */
        (void) vm_start_wait_for_agent(vm);
}

void vm_start_check_running(Vm *vm) {
        VmRuntime *rt = vm->runtime;

        if (vm->state != VM_STARTING || vm->failure < 0 || !rt->monitor_ready || !rt->agent_ready)
                return;
        vm_disarm_timer(vm);
        vm->started = now_usec(CLOCK_REALTIME);
        vm_touch(vm);
        /* Ahead of the record, which says "starting": a daemon that finds that asks the guest and comes here again. */
        vm_set_state_ahead(vm, VM_RUNNING, "The guest is ready.");
        vm_changed(vm, "AgentReady", "StartedTimestamp", "Accelerator", NULL);
        job_step_done(vm, 0, NULL);
}

/* The launcher reported: EOF for success. */
static int on_launched(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        _cleanup_free_ char *why = NULL, *text = NULL;
        Vm *vm = userdata;
        VmRuntime *rt = vm->runtime;
        int r;

        r = vmm_process_result(&rt->process, &why);
        if (r == 0)
                return 0;
        rt->control_source = sd_event_source_disable_unref(rt->control_source);
        if (r < 0) {
                text = strprintf("The %s VMM could not be started: %s", vm->hypervisor->name, why ?: strerror(-r));
                vm_start_fail(vm, vm_restore_is_bad_image(vm, r) ? -ESTALE : -ENOTRECOVERABLE, text);
                return 0;
        }
        rt->executed = true;
        vm->phases.executed = now_usec(CLOCK_MONOTONIC);
        if (vm->job)
                job_set_word(vm->job, "boot");
        if (rt->restoring)
                vm_restore_ready(vm);
        return 0;
}

/* Before it answers, a VMM whose guest slept on disk has the memory read, at worst from a slow one. */
static uint64_t monitor_timeout(const Vm *vm) {
        uint64_t t = vm->manager->config.monitor_timeout;

        return vm->runtime->image_fd >= 0 ? t + vm->runtime->memory / LOAD_BYTES_PER_USEC_MIN : t;
}

static void on_scope(Vm *vm, int error, const char *text) {
        VmRuntime *rt = vm->runtime;
        int r;

        if (error < 0) {
                rt->scope_gone = true; /* there never was one */
                vm_start_fail(vm, error, text);
                return;
        }
        rt->scope_up = true;
        vm->phases.scope = now_usec(CLOCK_MONOTONIC);
        if (vm->failure < 0)
                return; /* its end is under way */
        r = vmm_process_release(&rt->process);
        /* Not before PID 1 has made the scope, for it compares each with all it has; nor before the VMM, which has enough to
         * do until then: a daemon killed right here leaves a start to be undone (adoption.c). */
        if (rt->restoring)
                fd_store_remove_vm(vm);
        fd_store_push_vm(vm);
        if (r == -EPIPE)
                r = 0; /* it could not build the sandbox and has gone; on_launched() is about to read why */
        if (r >= 0)
                r = vm_arm_timer(vm, monitor_timeout(vm), on_start_timeout);
        if (r >= 0)
                r = vm_watch_oom(vm);
        if (r >= 0)
                r = vm_open_channels(vm, false);
        if (r < 0) {
                vm_start_fail(vm, r, "Cannot release the launcher or talk to the VMM.");
                return;
        }
        vm_changed(vm, "PID", "UID", NULL);
        registration_add(vm);
}

static int channel(int type, FdTag tag, FdTag peer_tag, int *ret_ours, int *ret_theirs) {
        _cleanup_close_ int ours = -EBADF, theirs = -EBADF;
        int pair[2], r;

        if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair) < 0)
                return negative_errno();
        ours = pair[0];
        theirs = pair[1];
        r = fd_nonblock(ours, true);
        if (r >= 0)
                r = fd_store_tag(ours, tag);
        if (r >= 0)
                r = fd_store_tag(theirs, peer_tag);
        if (r < 0)
                return r;
        *ret_ours = TAKE_FD(ours);
        *ret_theirs = TAKE_FD(theirs);
        return 0;
}

/* The guest's memory, which outlives the VMM. Nobody can make it smaller below whoever has it mapped. */
static int prepare_memory(Vm *vm) {
        VmRuntime *rt = vm->runtime;
        _cleanup_close_ int fd = -EBADF;

        if (!vm->hypervisor->save || rt->memory_fd >= 0)
                return 0;
        fd = memfd_create("vm-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (fd < 0 || ftruncate(fd, (off_t) rt->memory) < 0 ||
            fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
                return negative_errno();
        rt->memory_fd = TAKE_FD(fd);
        return 0;
}

/* Kept for the guest's next VMM. */
static int keep_root(VmRuntime *rt, int root_fd) {
        if (rt->root_fd >= 0 || rt->memory_fd < 0 || root_fd < 0)
                return 0;
        rt->root_fd = fcntl(root_fd, F_DUPFD_CLOEXEC, 3);
        return rt->root_fd < 0 ? negative_errno() : 0;
}

typedef struct Launch {
        int monitor, overlay; /* the VMM's */
        int tap; /* the VM's */
        VmmCommand command;
        const VmmSandbox *sandbox;
} Launch;

static void launch_done(Launch *l) {
        safe_close(l->monitor);
        safe_close(l->overlay);
        vmm_command_done(&l->command);
}

static int launch_prepare(Vm *vm, Launch *l, int root_fd, int kernel_fd, int initrd_fd) {
        VmRuntime *rt = vm->runtime;
        _cleanup_close_ int dir_fd = -EBADF;
        VmmSpec spec;
        int r;

        if (!rt->restoring) {
                rt->cpus = vm->spec.cpus;
                rt->memory = vm->spec.memory;
        }
        dir_fd = vm_directory_open(vm, false);
        if (dir_fd < 0)
                return dir_fd;
        l->overlay = openat(dir_fd, "overlay.img", O_RDWR | O_CLOEXEC | O_NOFOLLOW);
        if (l->overlay < 0)
                return negative_errno();
        r = channel(SOCK_STREAM, FD_TAG_MONITOR, FD_TAG_MONITOR, &rt->monitor_fd, &l->monitor);
        if (r >= 0 && rt->agent_peer < 0)
                r = channel(SOCK_STREAM, FD_TAG_AGENT, FD_TAG_AGENT_PEER, &rt->agent_fd, &rt->agent_peer);
        if (r >= 0 && rt->console_peer < 0)
                r = channel(SOCK_STREAM, FD_TAG_CONSOLE, FD_TAG_CONSOLE_PEER, &rt->console_fd, &rt->console_peer);
        if (r >= 0)
                r = prepare_memory(vm);
        if (r < 0)
                return r;
        spec = (VmmSpec) {
                .name = vm->name,
                .id = vm->id,
                .cpus = rt->cpus,
                .memory = rt->memory,
                .accelerator = rt->accelerator,
                .kernel_args = vm->spec.kernel_arguments,
                .mock_script = vm->spec.mock_script,
                .kernel_fd = kernel_fd,
                .initrd_fd = initrd_fd,
                .root_fd = root_fd,
                .overlay_fd = l->overlay,
                .console_fd = rt->console_peer,
                .monitor_fd = l->monitor,
                .agent_fd = rt->agent_peer,
                .memory_fd = rt->memory_fd,
                .incoming = rt->restoring,
                .tap_fd = l->tap,
                .mtu = TAP_MTU,
        };
        if (l->tap >= 0)
                vm_network_mac(vm, spec.mac);
        l->sandbox = vm->hypervisor->sandbox(&spec);
        r = vm->hypervisor->command(&spec, &l->command);
        if (r >= 0 && rt->image_fd >= 0 && !rt->kept) {
                l->command.load = true;
                l->command.load_image_fd = rt->image_fd;
                l->command.load_memory_fd = rt->memory_fd;
        }
        return r;
}

int vm_launch(Vm *vm, int tap_fd, int root_fd, int kernel_fd, int initrd_fd, char **ret_text) {
        _cleanup_(launch_done) Launch l = { -EBADF, -EBADF, -EBADF, {}, NULL };
        VmRuntime *rt = vm->runtime;
        int r;

        l.tap = tap_fd;
        r = launch_prepare(vm, &l, root_fd, kernel_fd, initrd_fd);
        if (r >= 0)
                r = keep_root(rt, root_fd);
        if (r >= 0 && rt->uid == UID_INVALID)
                r = uid_pool_take(vm->manager, &rt->uid);
        if (r >= 0)
                r = vmm_process_spawn(&l.command, l.sandbox, rt->uid, rt->uid, &rt->process);
        if (r < 0)
                *ret_text = strprintf("Cannot start the launcher of VM '%s': %s.", vm->name, strerror(-r));
        else
                r = vm_watch_exit(vm);
        if (r >= 0)
                r = sd_event_add_io(vm->manager->event, &rt->control_source, rt->process.control_fd, EPOLLIN, on_launched, vm);
        if (r < 0)
                return r;
        job_set_word(vm->job, "scope");
        r = vm_arm_timer(vm, vm->manager->config.scope_timeout, on_start_timeout);
        if (r >= 0) {
                rt->scope_requested = true;
                r = scope_start(vm, on_scope);
        }
        /* While systemd works. pid and uid are in the record before there is a VMM: until it is released the process ends
         * by itself when we do. */
        return r < 0 ? r : vm_record_save(vm);
}

/* Each of these may have to be waited for; when it comes, all are asked again, and those there already answer at once. */
static int start_gather(Vm *vm, int *ret_root, int *ret_kernel, int *ret_initrd, char **ret_text) {
        const char *digest;
        int r;

        *ret_kernel = *ret_initrd = -EBADF;
        if (vm->network.assigned) {
                r = network_open(vm->manager, ret_text);
                if (r >= 0)
                        r = network_need_subnet(vm);
                if (r <= 0)
                        return r;
        }
        if (vm->hypervisor->needs_kernel) {
                r = resources_need_accelerator(vm, &vm->runtime->accelerator, ret_text);
                if (r <= 0)
                        return r;
                r = resources_need_boot(vm, ret_kernel, ret_initrd, ret_text);
                if (r <= 0)
                        return r;
        }
        return resources_need_image(vm, vm->image_digest ?: vm->spec.image, &digest, ret_root, NULL, ret_text);
}

static void start_continue(Vm *vm);

static int on_tap_gone(sd_event_source *s, uint64_t usec, void *userdata) {
        Vm *vm = userdata;

        if (vm->state == VM_RESUMING)
                vm_restore_resource(vm, 0, NULL);
        else
                start_continue(vm);
        return 0;
}

int vm_start_network(Vm *vm, int *ret_fd, char **ret_text) {
        VmRuntime *rt = vm->runtime;
        int r;

        *ret_fd = -EBADF;
        if (!vm->network.assigned)
                return 1;
        vm_network_readdress(vm);
        r = vm_network_up(vm, ret_fd, ret_text);
        if (r != -EEXIST || rt->tap_tries++ >= TAP_TRIES) {
                rt->tap_tries = 0;
                return r < 0 ? r : 1;
        }
        *ret_text = mfree(*ret_text);
        r = vm_arm_timer(vm, TAP_RETRY_USEC, on_tap_gone);
        return r < 0 ? r : 0;
}

static void start_continue(Vm *vm) {
        int tap_fd, root_fd, kernel_fd, initrd_fd, r;
        _cleanup_free_ char *text = NULL;

        r = start_gather(vm, &root_fd, &kernel_fd, &initrd_fd, &text);
        if (r > 0)
                r = vm_start_network(vm, &tap_fd, &text);
        if (r == 0) {
                vm_record_settle(vm);
                return;
        }
        if (r > 0)
                r = vm_launch(vm, tap_fd, root_fd, kernel_fd, initrd_fd, &text);
        if (r < 0)
                vm_start_fail(vm, r, text);
}

void vm_start_resource(Vm *vm, int error, const char *text) {
        if (error < 0)
                vm_start_fail(vm, error, text);
        else
                start_continue(vm);
}

static int start_begin(Vm *vm, char **ret_text) {
        _cleanup_bus_error_ sd_bus_error e = SD_BUS_ERROR_NULL;
        int r;

        if (!vm_state_is_startable(vm->state)) {
                *ret_text = strprintf("VM '%s' is %s and cannot be started.", vm->name, vm_state_to_string(vm->state));
                return -EBADFD;
        }
        r = vm->hypervisor->available ? vm->hypervisor->available(ret_text) : 0;
        if (r < 0)
                return r;
        r = capacity_reserve_run(vm, &e);
        if (r < 0) {
                *ret_text = e.message ? strdup(e.message) : NULL;
                return r;
        }
        if (!vm_runtime_new(vm)) {
                capacity_release_run(vm);
                return -ENOMEM;
        }
        vm->failure = 0;
        vm->failure_text = mfree(vm->failure_text);
        vm_exit_reset(vm);
        transient_reset(vm);
        (void) vm_hibernate_remove_image(vm); /* one that is there is of a guest that is no more */
        if (vm->phases.requested == 0 || vm->phases.ready > 0)
                vm->phases = (VmPhases) { .requested = now_usec(CLOCK_MONOTONIC) };
        vm_set_state_ahead(vm, VM_STARTING, "Starting.");
        start_continue(vm);
        return 0;
}

static void start_cancel(Vm *vm) {
        vm_start_fail(vm, -ECANCELED, "Canceled.");
}

const Step step_start = { .word = "start", .begin = start_begin, .cancel = start_cancel };
