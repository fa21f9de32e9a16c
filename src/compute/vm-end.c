/* SPDX-License-Identifier: Apache-2.0 */

/* The end of a VMM, wanted or not: noticed by its pidfd, explained by whoever knows something, and over only when
 * process and scope are both gone, so that name, uid and disk are never in two hands. */

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "compute/fd-store.h"
#include "compute/manager.h"
#include "compute/registration.h"
#include "compute/scope.h"
#include "compute/steps.h"
#include "compute/transient.h"
#include "compute/vm-exit.h"
#include "shared/child.h"
#include "shared/log.h"

static bool has_counted(const char *events, const char *name) {
        const char *p = strstr(events, name);

        return p && strtoull(p + strlen(name), NULL, 10) > 0;
}

/* A kill for want of memory, or VM_END_UNKNOWN; -errno: the cgroup is gone. "oom" is only counted where the limit is that
 * was reached, "oom_kill" where the victim was. */
static int read_oom(int fd) {
        char buf[512];
        ssize_t n;

        n = pread(fd, buf, sizeof(buf) - 1, 0);
        if (n < 0)
                return negative_errno();
        buf[n] = 0;
        if (!has_counted(buf, "\noom_kill "))
                return VM_END_UNKNOWN;
        return has_counted(buf, "\noom ") ? VM_END_OOM : VM_END_HOST_OOM;
}

static void look_for_oom(Vm *vm) {
        VmRuntime *rt = vm->runtime;
        int r;

        r = rt->oom_source ? read_oom(sd_event_source_get_io_fd(rt->oom_source)) : VM_END_UNKNOWN;
        if (r > 0)
                rt->end = (VmEnd) r;
        else if (r < 0)
                /* A file of a cgroup that is gone is readable for ever, and cannot be read. */
                rt->oom_source = sd_event_source_disable_unref(rt->oom_source);
}

static int on_memory_event(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        look_for_oom(userdata);
        return 0;
}

/* The kernel tells of an OOM kill here before the process is gone; afterwards the cgroup may be gone, too. */
int vm_watch_oom(Vm *vm) {
        _cleanup_free_ char *cgroup = NULL, *path = NULL;
        VmRuntime *rt = vm->runtime;
        int fd, r;

        cgroup = scope_cgroup_path(vm, rt->process.pid);
        path = cgroup ? strprintf("%s/memory.events", cgroup) : NULL;
        fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        if (fd < 0)
                return 0; /* no memory controller here */
        r = sd_event_add_io(vm->manager->event, &rt->oom_source, fd, EPOLLPRI, on_memory_event, vm);
        if (r < 0) {
                safe_close(fd);
                return r;
        }
        r = sd_event_source_set_io_fd_own(rt->oom_source, true);
        if (r < 0)
                return r;
        /* Before what PID 1 does about it: there is nothing to read any more when the cgroup is gone. */
        return sd_event_source_set_priority(rt->oom_source, SD_EVENT_PRIORITY_IMPORTANT);
}

static void collect_status(VmRuntime *rt) {
        siginfo_t si = {};

        if (waitid(P_PIDFD, (id_t) rt->process.pidfd, &si, WEXITED | WNOHANG) < 0 || si.si_pid == 0)
                return; /* adopted, hence not our child: whoever reaped it knows */
        rt->end_status = si.si_status;
        if (rt->end == VM_END_UNKNOWN)
                rt->end = si.si_code == CLD_EXITED ? VM_END_EXITED : VM_END_KILLED;
}

static int on_exit_event(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        Vm *vm = userdata;
        VmRuntime *rt = vm->runtime;

        look_for_oom(vm);
        rt->oom_source = sd_event_source_disable_unref(rt->oom_source);
        collect_status(rt);
        rt->exit_source = sd_event_source_disable_unref(rt->exit_source);
        rt->exited = true;
        log_vm_debug(vm, "The VMM of VM '%s' has ended.", vm->name);
        vm_check_gone(vm);
        return 0;
}

int vm_watch_exit(Vm *vm) {
        VmRuntime *rt = vm->runtime;
        int r;

        r = sd_event_add_io(vm->manager->event, &rt->exit_source, rt->process.pidfd, EPOLLIN, on_exit_event, vm);
        if (r < 0)
                return r;
        /* After what its sockets still hold, which often explains the end. */
        return sd_event_source_set_priority(rt->exit_source, SD_EVENT_PRIORITY_NORMAL + 10);
}

bool vm_has_ended(const Vm *vm) {
        const VmRuntime *rt = vm->runtime;
        struct pollfd p = { .fd = rt ? rt->process.pidfd : -EBADF, .events = POLLIN };

        return rt && rt->process.pid > 0 && (rt->exited || poll(&p, 1, 0) > 0);
}

static void on_scope_stopped(Vm *vm, int error, const char *text) {
        if (error < 0)
                log_vm_warning(vm, "Stopping %s: %s", vm->unit, text ?: strerror(-error));
        vm->runtime->scope_gone = true;
        vm_check_gone(vm);
}

void vm_kill(Vm *vm) {
        VmRuntime *rt = vm->runtime;

        if (rt) {
                rt->killed_by_us = true;
                if (rt->process.pid > 0 && !rt->exited)
                        (void) pidfd_send(rt->process.pidfd, SIGKILL);
                if (rt->scope_up)
                        scope_kill(vm);
                else if (scope_withdraw_start(vm))
                        rt->scope_gone = true;
        }
        vm_check_gone(vm);
}

/* What there is to say about the end, and whether it is a failure. */
static bool describe_end(Vm *vm, char **ret) {
        _cleanup_free_ char *words = NULL;
        VmRuntime *rt = vm->runtime;

        switch (rt->end) {

        case VM_END_OOM:
                *ret = strprintf("The VMM reached the memory limit of %s and was killed by the kernel.", vm->unit);
                return true;

        case VM_END_HOST_OOM:
                *ret = strprintf("Memory ran out on the host or in %s, and the kernel killed the VMM.", vm->manager->config.slice);
                return true;

        case VM_END_COMMAND:
                *ret = vm_exit_sentence(vm);
                return false;

        case VM_END_GUEST_SHUTDOWN:
                *ret = strdup("The guest shut down.");
                return false;

        case VM_END_HOST_STOP:
                *ret = strdup("Stopped through systemd or by a signal.");
                return false;

        case VM_END_KILLED:
                if (rt->end_status == SIGTERM || rt->end_status == SIGINT || rt->end_status == SIGHUP) {
                        *ret = strprintf("The VMM was ended by SIG%s.", strna(sigabbrev_np(rt->end_status)));
                        return false;
                }
                *ret = strprintf("The VMM was killed by SIG%s.", strna(sigabbrev_np(rt->end_status)));
                return true;

        case VM_END_EXITED:
                if (rt->end_status == 0) {
                        *ret = strdup("The VMM ended.");
                        return false;
                }
                (void) vmm_process_last_words(&rt->process, &words);
                *ret = strprintf("The VMM exited with status %i%s%s", rt->end_status, words ? ": " : ".", strempty(words));
                return true;

        default:
                *ret = strdup("The VMM ended unexpectedly.");
                return true;
        }
}

/* Gives everything back. What the new state is was decided before, for the runtime knows why. */
static void release(Vm *vm) {
        if (vm->runtime && vm->runtime->process.pid > 0)
                fd_store_remove_vm(vm);
        vm_network_down(vm);
        vm_runtime_free(vm);
        scope_forget(vm);
        capacity_release_run(vm);
        vm->stopped = now_usec(CLOCK_REALTIME);
}

static void vm_gone(Vm *vm) {
        _cleanup_free_ char *end = NULL, *failure = TAKE_PTR(vm->failure_text), *text = NULL;
        VmState state = vm->state;
        int error = vm->failure;
        bool bad, asked_by_systemd, forced;

        if (state == VM_HIBERNATING && vm->runtime->saved) {
                vm_hibernate_gone(vm);
                return;
        }
        bad = describe_end(vm, &end);
        if (state == VM_RESUMING && vm->runtime->restoring) {
                vm_restore_gone(vm, error < 0 ? error : -ENOTRECOVERABLE, failure ?: end);
                return;
        }
        vm_exit_gone(vm);
        vm->failure = 0;
        asked_by_systemd = vm->runtime->end == VM_END_HOST_STOP;
        forced = vm->runtime->killed_by_us;
        release(vm);
        if (state == VM_STARTING) {
                if (error == 0)
                        error = -ENOTRECOVERABLE;
                text = failure ? TAKE_PTR(failure) : strprintf("The VM ended before it was ready: %s", strempty(end));
                if (error == -ECANCELED)
                        vm_set_state(vm, vm->before, "The start was canceled.");
                else
                        vm_set_state(vm, VM_START_FAILED, "%s", strempty(text));
        } else if (state == VM_STOPPING) {
                vm_set_state(vm, VM_STOPPED, "%s", asked_by_systemd ? strempty(end) : forced ? "Stopped by force." :
                                                                                    "Stopped on request.");
                error = 0;
        } else {
                /* That we killed it is not the reason why. */
                text = error < 0 && failure ? TAKE_PTR(failure) : TAKE_PTR(end);
                vm_set_state(vm, bad ? VM_FAILED : VM_STOPPED, "%s", strempty(text));
                error = -ENOTRECOVERABLE; /* for a suspend or resume it happened to */
        }
        vm_changed(vm, "PID", "UID", "AgentReady", "StoppedTimestamp", NULL);
        vm_network_readdress(vm);
        if (!vm->job)
                transient_look(vm, 0);
        else
                job_step_done(vm, error, text); /* may free it */
}

void vm_end_asleep(Vm *vm) {
        /* First, so that no image comes after its removal. */
        child_free(vm->runtime->hibernator);
        vm->runtime->hibernator = NULL;
        (void) vm_hibernate_discard(vm);
        fd_store_remove_vm(vm);
        vm_exit_gone(vm);
        release(vm);
        vm_set_state(vm, VM_STOPPED, "Stopped by force while it was hibernated.");
        vm_changed(vm, "UID", "AgentReady", "StoppedTimestamp", NULL);
        job_step_done(vm, 0, NULL);
}

void vm_check_gone(Vm *vm) {
        VmRuntime *rt = vm->runtime;
        bool unregistered;

        if (!rt)
                return;
        if (rt->process.pid > 0 && !rt->exited)
                return;
        unregistered = registration_is_gone(vm);
        if (scope_withdraw_start(vm))
                rt->scope_gone = true;
        if (rt->scope_requested && !rt->scope_gone) {
                if (!rt->stop_unit_sent) {
                        rt->stop_unit_sent = true;
                        if (scope_stop(vm, on_scope_stopped) < 0)
                                rt->scope_gone = true;
                }
                if (!rt->scope_gone)
                        return;
        }
        if (unregistered)
                vm_gone(vm);
}
