/* SPDX-License-Identifier: Apache-2.0 */

#include "compute/requests.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/random.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "basic/time-util.h"
#include "compute/scope.h"
#include "compute/steps.h"
#include "compute/vm-record.h"
#include "shared/bus-util.h"
#include "shared/error-names.h"
#include "storage/overlay.h"

/* A TAP's name has less room than an id. */
static bool tap_is_taken(Manager *m, const char *id) {
        for (Vm *vm = m->vms_by_name; vm; vm = vm->hh_name.next)
                if (vm_tap_id(vm->id) == vm_tap_id(id))
                        return true;
        return false;
}

static int new_id(Manager *m, char ret[static VM_ID_LENGTH + 1]) {
        uint8_t bytes[VM_ID_LENGTH / 2];
        Vm *other;

        do {
                if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
                        return negative_errno();
                for (size_t i = 0; i < sizeof(bytes); i++)
                        sprintf(ret + 2 * i, "%02x", bytes[i]);
                HASH_FIND(hh_id, m->vms_by_id, ret, VM_ID_LENGTH, other);
        } while (other || tap_is_taken(m, ret));
        return 0;
}

static int fill_defaults(Manager *m, VmSpec *s) {
        const ComputeConfig *c = &m->config;

        s->cpus = s->cpus ?: c->cpus;
        s->memory = s->memory ?: c->memory;
        s->disk = s->disk ?: c->disk;
        if (!s->image && free_and_strdup(&s->image, c->image) < 0)
                return -ENOMEM;
        if (!s->hypervisor && free_and_strdup(&s->hypervisor, c->hypervisor) < 0)
                return -ENOMEM;
        return 0;
}

/* All that can be refused is refused here, before anything exists. */
static int make_vm(Manager *m, const char *name, VmSpec *spec, Vm **ret, sd_bus_error *error) {
        char id[VM_ID_LENGTH + 1];
        Vm *vm;
        int r;

        if (!vm_name_is_valid(name))
                return sd_bus_error_setf(error, ERROR_INVALID_ARGUMENT,
                                         "'%s' is not a VM name: 1 to 63 characters a-z, 0-9 and '-', not '-' at either end.",
                                         name);
        if (m->n_vms >= m->config.vms_max)
                return sd_bus_error_setf(error, ERROR_LIMIT_EXCEEDED, "There are %u VMs already, the limit is VMsMax=%u.",
                                         m->n_vms, m->config.vms_max);
        for (size_t i = 0; i < m->n_quarantined; i++)
                if (streq(m->quarantined[i].name, name))
                        return sd_bus_error_setf(error, ERROR_VM_EXISTS,
                                                 "The record of VM '%s' is broken (%s). Mend or remove its directory first.",
                                                 name, m->quarantined[i].why);
        r = fill_defaults(m, spec);
        if (r >= 0)
                r = vm_spec_check(spec, error);
        if (r >= 0)
                r = new_id(m, id);
        if (r < 0)
                return r;
        if (spec->mock_script && !streq(spec->hypervisor, "mock"))
                return sd_bus_error_set(error, ERROR_INVALID_ARGUMENT, "MockScript is for the hypervisor 'mock' only.");
        r = vm_new(m, name, id, spec, &vm);
        if (r == -EEXIST)
                return sd_bus_error_setf(error, ERROR_VM_EXISTS, "There is a VM '%s' already.", name);
        if (r == -EADDRINUSE) {
                Vm *other = manager_find_vm_by_user(m, spec->user);

                return sd_bus_error_setf(error, ERROR_USER_HAS_VM, "User '%s' has the VM '%s' already.", spec->user,
                                         other ? other->name : "?");
        }
        if (r < 0)
                return r;
        r = vm_network_assign(vm, error);
        if (r < 0) {
                vm_free(vm);
                return r;
        }
        vm->created = now_usec(CLOCK_REALTIME);
        *ret = vm;
        return 0;
}

/* The job is last: from here on the VM is its to undo. */
static int announce(Vm *vm, JobType type, const JobStep *steps, unsigned n, Job **ret, sd_bus_error *error) {
        int r;

        r = vm_record_save(vm);
        if (r < 0)
                r = sd_bus_error_setf(error, r == -ENOSPC ? ERROR_NO_CAPACITY : SD_BUS_ERROR_FAILED,
                                      "Cannot write the record of VM '%s': %s.", vm->name, strerror(-r));
        else
                r = job_new(vm, type, steps, n, false, ret, error);
        if (r < 0) {
                (void) vm_record_remove(vm);
                vm_free(vm);
                return r;
        }
        (*ret)->made_vm = true;
        signals_vm_added(vm);
        return 0;
}

int request_create(Manager *m, const char *name, VmSpec *spec, Vm **ret_vm, Job **ret_job, sd_bus_error *error) {
        static const JobStep steps[] = { STEP_PREPARE };
        Vm *vm;
        int r;

        r = make_vm(m, name, spec, &vm, error);
        if (r < 0)
                return r;
        r = capacity_reserve_disk(vm, error);
        if (r < 0) {
                vm_free(vm);
                return r;
        }
        *ret_vm = vm;
        return announce(vm, JOB_CREATE, steps, ELEMENTSOF(steps), ret_job, error);
}

/* What was asked for, where something was asked for. */
static const char *spec_difference(const Vm *vm, const VmSpec *s) {
        const VmSpec *have = &vm->spec;

        if (s->name && !streq(s->name, vm->name))
                return "Name";
        if (s->image && !streq(s->image, have->image))
                return "Image";
        if (s->hypervisor && !streq(s->hypervisor, have->hypervisor))
                return "Hypervisor";
        if (s->cpus && s->cpus != have->cpus)
                return "CPUs";
        if (s->memory && s->memory != have->memory)
                return "Memory";
        if (s->disk && s->disk != have->disk)
                return "Disk";
        if (s->receive_max && s->receive_max != vm_spec_receive_max(have))
                return "NetworkReceiveMax";
        if (s->transmit_max && s->transmit_max != vm_spec_transmit_max(have))
                return "NetworkTransmitMax";
        if (s->command && !strv_equal(s->command, have->command))
                return "Command";
        if (s->entrypoint && (!have->entrypoint || !strv_equal(s->entrypoint, have->entrypoint)))
                return "Entrypoint";
        if (s->arguments && (!have->arguments || !strv_equal(s->arguments, have->arguments)))
                return "Arguments";
        if (s->run_as && !streq_ptr(s->run_as, have->run_as))
                return "RunAs";
        if (s->run_image != RUN_IMAGE_DEFAULT && (s->run_image == RUN_NOTHING) != (have->run_image == RUN_NOTHING))
                return "RunImage";
        if (s->network_given && s->no_network != have->no_network)
                return "Network";
        if (s->environment && !strv_equal(s->environment, have->environment))
                return "Environment";
        if (s->working_directory && !streq_ptr(s->working_directory, have->working_directory))
                return "WorkingDirectory";
        if (s->kernel_arguments && !streq_ptr(s->kernel_arguments, have->kernel_arguments))
                return "KernelArguments";
        if (s->mock_script && !streq_ptr(s->mock_script, have->mock_script))
                return "MockScript";
        if (s->idle_timeout && s->idle_timeout != have->idle_timeout)
                return "IdleTimeoutUSec";
        if (s->hibernate_delay && s->hibernate_delay != have->hibernate_delay)
                return "HibernateDelayUSec";
        return NULL;
}

/* "alice@example" and "alice.example" would get the same name; the second one is told apart by a number. */
static int name_for_user(Manager *m, const char *user, char **ret) {
        _cleanup_free_ char *base = vm_name_from_user(user);

        if (!base)
                return -EINVAL;
        for (unsigned i = 1; i < 100; i++) {
                _cleanup_free_ char *name = i == 1 ? strdup(base) : strprintf("%.*s-%u", (int) VM_NAME_MAX - 3, base, i);

                if (!name)
                        return -ENOMEM;
                if (!manager_find_vm(m, name)) {
                        *ret = TAKE_PTR(name);
                        return 0;
                }
        }
        return -EEXIST;
}

static int provision_existing(Vm *vm, const VmSpec *spec, Vm **ret_vm, Job **ret_job, sd_bus_error *error) {
        const char *difference = spec_difference(vm, spec);

        if (difference)
                return sd_bus_error_setf(error, ERROR_USER_HAS_VM,
                                         "User '%s' has the VM '%s' already, with another %s. Deprovision it first, or leave "
                                         "%s out.",
                                         vm->spec.user, vm->name, difference, difference);
        *ret_vm = vm;
        return request_wake(vm, ret_job, error);
}

int request_provision(Manager *m, const char *user, VmSpec *spec, Vm **ret_vm, Job **ret_job, sd_bus_error *error) {
        static const JobStep steps[] = { STEP_PREPARE, STEP_START };
        _cleanup_free_ char *name = NULL;
        Vm *vm;
        int r;

        if (!user_id_is_valid(user))
                return sd_bus_error_setf(error, ERROR_INVALID_ARGUMENT,
                                         "'%s' is not a user id: 1 to 64 characters A-Z, a-z, 0-9 and '._@-'.", user);
        vm = manager_find_vm_by_user(m, user);
        if (vm)
                return provision_existing(vm, spec, ret_vm, ret_job, error);
        if (free_and_strdup(&spec->user, user) < 0)
                return -ENOMEM;
        if (spec->name)
                name = TAKE_PTR(spec->name);
        else {
                r = name_for_user(m, user, &name);
                if (r < 0)
                        return sd_bus_error_setf(error, ERROR_INVALID_ARGUMENT,
                                                 "No VM name can be made of user id '%s'; give one.", user);
        }
        r = make_vm(m, name, spec, &vm, error);
        if (r < 0)
                return r;
        r = capacity_reserve_disk(vm, error);
        if (r >= 0)
                r = capacity_reserve_run(vm, error);
        if (r < 0) {
                vm_free(vm);
                return r;
        }
        vm->phases = (VmPhases) { .requested = now_usec(CLOCK_MONOTONIC) };
        *ret_vm = vm;
        return announce(vm, JOB_PROVISION, steps, ELEMENTSOF(steps), ret_job, error);
}

int request_go_on(Vm *vm, sd_bus_error *error) {
        static const JobStep steps[] = { STEP_PREPARE, STEP_START };
        bool start = vm->pull_provisions;
        Job *j;
        int r;

        r = job_new(vm, start ? JOB_PROVISION : JOB_CREATE, steps, start ? 2 : 1, false, &j, error);
        if (r >= 0)
                j->made_vm = true;
        return r;
}

static int wrong_state(Vm *vm, const char *what, const char *advice, sd_bus_error *error) {
        return sd_bus_error_setf(error, ERROR_WRONG_STATE, "VM '%s' is %s and cannot be %s%s.", vm->name,
                                 vm_state_to_string(vm->state), what, advice);
}

int request_start(Vm *vm, Job **ret, sd_bus_error *error) {
        static const JobStep steps[] = { STEP_START };
        int r;

        if (!vm->job && !vm_state_is_startable(vm->state))
                return wrong_state(vm, "started", vm_is_asleep(vm) ? "; resume it" : "", error);
        if (!vm->job) {
                if (!vm->image_digest)
                        return wrong_state(vm, "started", ": its creation was never completed; delete it", error);
                r = capacity_reserve_run(vm, error);
                if (r < 0)
                        return r;
        }
        r = job_new(vm, JOB_START, steps, ELEMENTSOF(steps), false, ret, error);
        if (r < 0 && !vm->job)
                capacity_release_run(vm);
        if (r >= 0)
                vm->phases = (VmPhases) { .requested = now_usec(CLOCK_MONOTONIC) };
        return r;
}

int request_stop(Vm *vm, bool force, Job **ret, sd_bus_error *error) {
        JobStep steps[2];
        unsigned n = 0;

        if (vm->job && vm->job->type == JOB_STOP && vm->state == VM_STOPPING) {
                /* Under way already; force shortens it. */
                if (force)
                        vm_stop_by_force(vm);
                *ret = vm->job;
                return 0;
        }
        if (!vm->job && (vm->state == VM_PENDING || vm->state == VM_PROVISIONING || vm->state == VM_CONFIGURED))
                return wrong_state(vm, "stopped", ": it was never started", error);
        if (vm_is_asleep(vm) && !force)
                steps[n++] = STEP_RESUME; /* a guest that sleeps cannot shut down */
        steps[n++] = STEP_STOP;
        return job_new(vm, JOB_STOP, steps, n, force, ret, error);
}

int request_restart(Vm *vm, Job **ret, sd_bus_error *error) {
        static const JobStep steps[] = { STEP_STOP, STEP_START };

        if (!vm->job && vm->state != VM_RUNNING)
                return wrong_state(vm, "restarted", vm_is_asleep(vm) ? "; resume it first" : "; start it", error);
        return job_new(vm, JOB_RESTART, steps, ELEMENTSOF(steps), false, ret, error);
}

/* What the guest is sent from now on wakes it, also when it is there before the job begins: an answer may be owed. */
static int fall_asleep(Vm *vm, JobType type, const JobStep *steps, unsigned n, Job **ret, sd_bus_error *error) {
        bool begins = !vm->job && vm->state == VM_RUNNING;
        int r;

        r = job_new(vm, type, steps, n, false, ret, error);
        if (r >= 0 && begins)
                vm_network_listen(vm, NULL);
        return r;
}

int request_suspend(Vm *vm, Job **ret, sd_bus_error *error) {
        static const JobStep steps[] = { STEP_SUSPEND };

        if (!vm->hypervisor->pause)
                return sd_bus_error_setf(error, ERROR_NOT_SUPPORTED, "The %s hypervisor cannot suspend.", vm->hypervisor->name);
        if (!vm->job && vm->state != VM_RUNNING && vm->state != VM_SUSPENDED)
                return wrong_state(vm, "suspended", ": it does not run", error);
        return fall_asleep(vm, JOB_SUSPEND, steps, ELEMENTSOF(steps), ret, error);
}

int request_hibernate(Vm *vm, Job **ret, sd_bus_error *error) {
        static const JobStep steps[] = { STEP_SUSPEND, STEP_HIBERNATE };
        unsigned skip = vm_is_asleep(vm);

        if (!vm->hypervisor->save)
                return sd_bus_error_setf(error, ERROR_NOT_SUPPORTED, "The %s hypervisor cannot hibernate.", vm->hypervisor->name);
        if (!vm->job && vm->state != VM_RUNNING && !vm_is_asleep(vm))
                return wrong_state(vm, "hibernated", ": it does not run", error);
        return fall_asleep(vm, JOB_HIBERNATE, steps + skip, ELEMENTSOF(steps) - skip, ret, error);
}

int request_resume(Vm *vm, Job **ret, sd_bus_error *error) {
        static const JobStep steps[] = { STEP_RESUME };

        if (!vm->job && vm->state != VM_RUNNING && !vm_is_asleep(vm))
                return wrong_state(vm, "resumed", ": it is not asleep", error);
        return job_new(vm, JOB_RESUME, steps, ELEMENTSOF(steps), false, ret, error);
}

int request_wake(Vm *vm, Job **ret, sd_bus_error *error) {
        if (vm->job && (vm->job->type == JOB_PROVISION || vm->job->type == JOB_START || vm->job->type == JOB_RESUME)) {
                *ret = vm->job; /* what is asked for is under way */
                return 0;
        }
        return vm->state == VM_RUNNING || vm_is_asleep(vm) ? request_resume(vm, ret, error) :
                                                                      request_start(vm, ret, error);
}

int request_delete(Vm *vm, bool force, JobType type, Job **ret, sd_bus_error *error) {
        JobStep steps[JOB_STEPS_MAX];
        unsigned n = 0;

        if (vm->spec.transient && vm->job && vm->job->type == JOB_DELETE && !vm_state_is_active(vm->state)) {
                *ret = vm->job; /* it ended, and what is asked for is under way */
                return 0;
        }
        if (vm_state_is_active(vm->state)) {
                if (vm_is_asleep(vm))
                        force = true; /* what it would write while shutting down is deleted right after */
                steps[n++] = STEP_STOP;
        }
        steps[n++] = STEP_REMOVE;
        return job_new(vm, type, steps, n, force, ret, error);
}

static int grow_disk(Vm *vm, uint64_t disk, sd_bus_error *error) {
        _cleanup_close_ int dir_fd = -EBADF, fd = -EBADF;
        int r;

        if (disk < vm->spec.disk)
                return sd_bus_error_set(error, ERROR_INVALID_ARGUMENT, "A disk can only grow.");
        if (vm_state_is_active(vm->state))
                return wrong_state(vm, "given a larger disk", "; stop it first", error);
        r = capacity_grow_disk(vm, disk, error);
        if (r < 0)
                return r;
        dir_fd = vm_directory_open(vm, false);
        fd = dir_fd < 0 ? -1 : openat(dir_fd, "overlay.img", O_RDWR | O_CLOEXEC | O_NOFOLLOW);
        r = dir_fd < 0 ? dir_fd : fd < 0 ? negative_errno() : overlay_grow(fd, disk);
        if (r < 0) {
                capacity_shrink_disk(vm, vm->spec.disk);
                return sd_bus_error_setf(error, SD_BUS_ERROR_FAILED, "Cannot grow the disk of VM '%s': %s.", vm->name, strerror(-r));
        }
        return 0;
}

/* In the kernel first: where it cannot be done, nothing is promised. */
static int set_network_limits(Vm *vm, const VmSpec *w, sd_bus_error *error) {
        uint64_t receive = vm->spec.receive_max, transmit = vm->spec.transmit_max;
        int r = 0;

        vm->spec.receive_max = w->receive_max ?: receive;
        vm->spec.transmit_max = w->transmit_max ?: transmit;
        if (w->receive_max > 0 || w->transmit_max > 0)
                r = vm_network_set_limits(vm);
        if (r >= 0)
                return 0;
        vm->spec.receive_max = receive;
        vm->spec.transmit_max = transmit;
        /* One direction may be limited by now, and what is not promised is not to stay. */
        (void) vm_network_set_limits(vm);
        if (r == -EOPNOTSUPP)
                return sd_bus_error_setf(error, SD_BUS_ERROR_NOT_SUPPORTED,
                                         "The kernel lacks the module sch_tbf, which the NetworkReceiveMax of VM '%s' needs.",
                                         vm->name);
        return sd_bus_error_setf(error, SD_BUS_ERROR_FAILED, "Cannot limit the network of VM '%s': %s.", vm->name, strerror(-r));
}

static int not_recorded(Vm *vm, int r, sd_bus_error *error) {
        return sd_bus_error_setf(error, SD_BUS_ERROR_FAILED, "Cannot write the record of VM '%s': %s.", vm->name, strerror(-r));
}

int request_set_resources(Vm *vm, const VmSpec *w, sd_bus_error *error) {
        VmSpec *s = &vm->spec;
        bool limits;
        int r;

        if (vm->job)
                return sd_bus_error_setf(error, ERROR_BUSY, "VM '%s' is busy: job %u (%s) works on it.", vm->name, vm->job->id,
                                         job_type_to_string(vm->job->type));
        r = set_network_limits(vm, w, error);
        if (r < 0)
                return r;
        if (w->disk > 0 && w->disk != s->disk) {
                r = grow_disk(vm, w->disk, error);
                if (r < 0)
                        return r;
                s->disk = w->disk;
        }
        limits = w->cpus > 0 || w->cpu_weight > 0 || w->io_weight > 0;
        s->cpus = w->cpus ?: s->cpus;
        s->memory = w->memory ?: s->memory;
        s->cpu_weight = w->cpu_weight ?: s->cpu_weight;
        s->io_weight = w->io_weight ?: s->io_weight;
        r = vm_record_save(vm);
        if (r < 0)
                return not_recorded(vm, r, error);
        if (limits && vm->runtime && vm->runtime->scope_up)
                (void) scope_set_limits(vm, w->cpus > 0);
        vm_changed(vm, "CPUs", "Memory", "Disk", "NetworkReceiveMax", "NetworkTransmitMax", NULL);
        return 0;
}

int request_set_idle_policy(Vm *vm, const VmSpec *w, sd_bus_error *error) {
        uint64_t timeout = vm->spec.idle_timeout, delay = vm->spec.hibernate_delay;
        int r;

        vm->spec.idle_timeout = w->idle_timeout ?: timeout;
        vm->spec.hibernate_delay = w->hibernate_delay ?: delay;
        r = vm_record_save(vm);
        if (r < 0) {
                vm->spec.idle_timeout = timeout;
                vm->spec.hibernate_delay = delay;
                return not_recorded(vm, r, error);
        }
        vm_changed(vm, "IdleTimeoutUSec", "HibernateDelayUSec", NULL);
        idle_vm_policy_changed(vm);
        return 0;
}

int request_hold(Vm *vm, uint64_t usec, sd_bus_error *error) {
        IdleClock before = vm->idle.clock;
        int r;

        if (usec > IDLE_HOLD_MAX)
                return sd_bus_error_set(error, ERROR_INVALID_ARGUMENT,
                                        "A VM can be held awake for at most 24 hours; for longer, set its IdleTimeoutUSec.");
        idle_hold(vm, usec);
        r = vm_record_save(vm);
        if (r < 0) {
                vm->idle.clock = before;
                idle_vm_policy_changed(vm);
                return not_recorded(vm, r, error);
        }
        return 0;
}
