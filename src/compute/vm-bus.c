/* SPDX-License-Identifier: Apache-2.0 */

/* org.hero.Compute.VM, documented in dbus/org.hero.Compute.VM.xml. */

#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "compute/access.h"
#include "compute/agent.h"
#include "compute/console.h"
#include "compute/manager.h"
#include "compute/requests.h"
#include "compute/vm-awake.h"
#include "compute/vm-wait.h"
#include "shared/bus-util.h"
#include "shared/error-names.h"

#define FLAG_FORCE UINT64_C(1)
#define FLAG_HISTORY UINT64_C(1)
#define FLAG_FOLLOW UINT64_C(1)

static int reply_job(sd_bus_message *message, int r, Job *const *j) {
        return r < 0 ? r : job_reply(*j, message, false);
}

static int read_flags(sd_bus_message *message, uint64_t known, uint64_t *ret, sd_bus_error *error) {
        int r;

        r = sd_bus_message_read(message, "t", ret);
        if (r < 0)
                return r;
        if (*ret & ~known)
                return sd_bus_error_setf(error, ERROR_INVALID_ARGUMENT, "Unknown flags %#llx.",
                                         (unsigned long long) (*ret & ~known));
        return 0;
}

static int method_start(sd_bus_message *message, Vm *vm, sd_bus_error *error) {
        Job *j;

        return reply_job(message, request_start(vm, &j, error), &j);
}

static int method_stop(sd_bus_message *message, Vm *vm, sd_bus_error *error) {
        uint64_t flags;
        Job *j;
        int r;

        r = read_flags(message, FLAG_FORCE, &flags, error);
        if (r < 0)
                return r;
        return reply_job(message, request_stop(vm, flags & FLAG_FORCE, &j, error), &j);
}

static int method_restart(sd_bus_message *message, Vm *vm, sd_bus_error *error) {
        Job *j;

        return reply_job(message, request_restart(vm, &j, error), &j);
}

static int method_suspend(sd_bus_message *message, Vm *vm, sd_bus_error *error) {
        Job *j;

        return reply_job(message, request_suspend(vm, &j, error), &j);
}

static int method_hibernate(sd_bus_message *message, Vm *vm, sd_bus_error *error) {
        Job *j;

        return reply_job(message, request_hibernate(vm, &j, error), &j);
}

static int method_resume(sd_bus_message *message, Vm *vm, sd_bus_error *error) {
        Job *j;
        int r;

        if (vm_awake_is_needed(vm)) {
                r = vm_awake_for_call(vm, message, method_resume, error);
                if (r <= 0)
                        return r < 0 ? r : 1;
        }
        return reply_job(message, request_resume(vm, &j, error), &j);
}

static int method_delete(sd_bus_message *message, Vm *vm, sd_bus_error *error) {
        uint64_t flags;
        Job *j;
        int r;

        r = read_flags(message, FLAG_FORCE, &flags, error);
        if (r < 0)
                return r;
        return reply_job(message, request_delete(vm, flags & FLAG_FORCE, JOB_DELETE, &j, error), &j);
}

static int method_set_resources(sd_bus_message *message, Vm *vm, sd_bus_error *error) {
        _cleanup_(vm_spec_done) VmSpec spec = {};
        int r;

        r = vm_spec_read(message, VM_SPEC_RESOURCES, &spec, error);
        if (r >= 0)
                r = request_set_resources(vm, &spec, error);
        return r < 0 ? r : sd_bus_reply_method_return(message, NULL);
}

static int method_touch(sd_bus_message *message, Vm *vm, sd_bus_error *error) {
        idle_touch(vm);
        return sd_bus_reply_method_return(message, NULL);
}

static int method_hold(sd_bus_message *message, Vm *vm, sd_bus_error *error) {
        uint64_t usec;
        int r;

        r = sd_bus_message_read(message, "t", &usec);
        if (r >= 0)
                r = request_hold(vm, usec, error);
        return r < 0 ? r : sd_bus_reply_method_return(message, NULL);
}

static int method_set_idle_policy(sd_bus_message *message, Vm *vm, sd_bus_error *error) {
        _cleanup_(vm_spec_done) VmSpec spec = {};
        int r;

        r = vm_spec_read(message, VM_SPEC_IDLE, &spec, error);
        if (r >= 0)
                r = request_set_idle_policy(vm, &spec, error);
        return r < 0 ? r : sd_bus_reply_method_return(message, NULL);
}

static int console_error(Vm *vm, int r, sd_bus_error *error) {
        if (r == -EDQUOT)
                return sd_bus_error_setf(error, ERROR_LIMIT_EXCEEDED, "%u are attached to the console of VM '%s' already.",
                                         CONSOLE_ATTACHED_MAX, vm->name);
        return r;
}

static int method_open_console(sd_bus_message *message, Vm *vm, sd_bus_error *error) {
        _cleanup_close_ int fd = -EBADF;
        uint64_t flags;
        int r;

        r = read_flags(message, FLAG_HISTORY, &flags, error);
        if (r >= 0)
                r = vm_awake_for_call(vm, message, method_open_console, error);
        if (r <= 0)
                return r < 0 ? r : 1;
        r = console_attach(vm->runtime->console, flags & FLAG_HISTORY, 0, true, &fd);
        return r < 0 ? console_error(vm, r, error) : sd_bus_reply_method_return(message, "h", fd);
}

static int method_logs(sd_bus_message *message, Vm *vm, sd_bus_error *error) {
        _cleanup_close_ int fd = -EBADF;
        uint64_t bytes, flags;
        int r;

        r = sd_bus_message_read(message, "t", &bytes);
        if (r >= 0)
                r = read_flags(message, FLAG_FOLLOW, &flags, error);
        if (r < 0)
                return r;
        if (flags & FLAG_FOLLOW && vm->runtime && vm->runtime->console)
                r = console_attach(vm->runtime->console, true, bytes, false, &fd);
        else
                r = console_read_history(vm, bytes, &fd);
        return r < 0 ? console_error(vm, r, error) : sd_bus_reply_method_return(message, "h", fd);
}

static void exec_options_done(ExecOptions *o) {
        strv_free(o->command);
        strv_free(o->environment);
        free(o->working_directory);
        free(o->user);
}

static int read_exec_string(sd_bus_message *m, const char *key, char **ret, sd_bus_error *error) {
        const char *s;
        int r;

        r = bus_read_variant(m, key, "s", &s, error);
        if (r < 0)
                return r;
        if (!utf8_is_clean(s, NULL) || strlen(s) > 4095)
                return sd_bus_error_setf(error, ERROR_INVALID_ARGUMENT, "%s is too long or holds control characters.", key);
        return free_and_strdup(ret, s);
}

/* More could not go to the agent, whatever they are. */
#define EXEC_WORDS_MAX 8192u

static int read_words(sd_bus_message *m, char ***ret, sd_bus_error *error) {
        int r;

        r = bus_read_strv(m, EXEC_WORDS_MAX, ret);
        if (r == -E2BIG)
                return sd_bus_error_setf(error, ERROR_INVALID_ARGUMENT, "Command and environment may have %u words each.",
                                         EXEC_WORDS_MAX);
        return r;
}

static int read_exec_option(sd_bus_message *m, const char *key, ExecOptions *o, sd_bus_error *error) {
        uint32_t u;
        int r, b;

        if (streq(key, "TTY")) {
                r = bus_read_variant(m, key, "b", &b, error);
                o->tty = r >= 0 && b;
                return r;
        }
        if (streq(key, "Rows") || streq(key, "Columns")) {
                r = bus_read_variant(m, key, "u", &u, error);
                if (r >= 0)
                        *(streq(key, "Rows") ? &o->rows : &o->columns) = MIN2(u, 65535u);
                return r;
        }
        if (streq(key, "WorkingDirectory"))
                return read_exec_string(m, key, &o->working_directory, error);
        if (streq(key, "User"))
                return read_exec_string(m, key, &o->user, error);
        if (streq(key, "Environment")) {
                r = sd_bus_message_enter_container(m, 'v', "as");
                if (r < 0)
                        return sd_bus_error_setf(error, ERROR_INVALID_ARGUMENT, "Environment must be of type 'as'.");
                o->environment = strv_free(o->environment);
                r = read_words(m, &o->environment, error);
                return r < 0 ? r : sd_bus_message_exit_container(m);
        }
        return sd_bus_error_setf(error, ERROR_INVALID_ARGUMENT, "There is no option '%s'.", key);
}

static int read_exec(sd_bus_message *m, ExecOptions *o, sd_bus_error *error) {
        int r;

        r = read_words(m, &o->command, error);
        if (r >= 0)
                r = sd_bus_message_enter_container(m, 'a', "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                const char *key;

                r = sd_bus_message_read(m, "s", &key);
                if (r >= 0)
                        r = read_exec_option(m, key, o, error);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        if (r < 0)
                return r;
        if (strv_length(o->command) == 0 || isempty(o->command[0]))
                return sd_bus_error_set(error, ERROR_INVALID_ARGUMENT, "The command is empty.");
        if (!environment_is_valid(o->environment))
                return sd_bus_error_set(error, ERROR_INVALID_ARGUMENT,
                                        "Environment must be a list of NAME=VALUE without control characters.");
        return 0;
}

static int method_exec(sd_bus_message *message, Vm *vm, sd_bus_error *error) {
        _cleanup_close_ int stdio = -EBADF, standard_error = -EBADF, control = -EBADF;
        _cleanup_(exec_options_done) ExecOptions o = {};
        int r;

        r = read_exec(message, &o, error);
        if (r >= 0)
                r = vm_awake_for_call(vm, message, method_exec, error);
        if (r > 0)
                r = vm_agent_for_call(vm, message, method_exec, error);
        if (r <= 0)
                return r < 0 ? r : 1;
        /* The guest puts the options over what BOOT told it of environment and directory. */
        r = agent_exec(vm->runtime->agent, &o, &stdio, &standard_error, &control);
        if (r == -EDQUOT)
                return sd_bus_error_setf(error, ERROR_LIMIT_EXCEEDED, "VM '%s' has %u exec sessions already.", vm->name,
                                         agent_n_sessions(vm->runtime->agent));
        if (r == -E2BIG)
                return sd_bus_error_set(error, ERROR_INVALID_ARGUMENT,
                                        "Command and environment are longer than 32 KiB together.");
        if (r < 0)
                return r;
        vm_touch(vm);
        return sd_bus_reply_method_return(message, "hhh", stdio, standard_error, control);
}

static int method_wait(sd_bus_message *message, Vm *vm, sd_bus_error *error) {
        return vm_method_wait(message, vm, error);
}

static int method_get_transitions(sd_bus_message *message, Vm *vm, sd_bus_error *error) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        int r;

        r = sd_bus_message_new_method_return(message, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(ttsss)");
        for (unsigned i = 0; r >= 0 && i < vm->events.n; i++) {
                const Event *e = event_ring_get(&vm->events, i);

                r = sd_bus_message_append(reply, "(ttsss)", e->sequence, e->timestamp, vm_state_to_string(e->from),
                                          vm_state_to_string(e->to), e->reason);
        }
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

typedef struct VmMethod {
        const char *member;
        int (*handler)(sd_bus_message *message, Vm *vm, sd_bus_error *error);
} VmMethod;

static const VmMethod methods[] = {
        { "Start", method_start },
        { "Stop", method_stop },
        { "Restart", method_restart },
        { "Suspend", method_suspend },
        { "Hibernate", method_hibernate },
        { "Resume", method_resume },
        { "Delete", method_delete },
        { "SetResources", method_set_resources },
        { "Touch", method_touch },
        { "Hold", method_hold },
        { "SetIdlePolicy", method_set_idle_policy },
        { "OpenConsole", method_open_console },
        { "Exec", method_exec },
        { "Logs", method_logs },
        { "Wait", method_wait },
        { "GetTransitions", method_get_transitions },
};

/* Whether the call asks for more than owning the VM gives. */
static int needs_admin(sd_bus_message *message, const Vm *vm, sd_bus_error *error) {
        _cleanup_(vm_spec_done) VmSpec spec = {};
        int r;

        if (!streq(sd_bus_message_get_member(message), "SetResources"))
                return 0;
        r = vm_spec_read(message, VM_SPEC_RESOURCES, &spec, error);
        if (r >= 0)
                r = sd_bus_message_rewind(message, true);
        return r < 0 ? r : vm_spec_needs_admin(&spec, &vm->manager->config, error);
}

/* The one way into every method: authorise, then act. */
static int vm_dispatch(sd_bus_message *message, Vm *vm, sd_bus_error *error) {
        int r;

        r = needs_admin(message, vm, error);
        if (r >= 0)
                r = access_check(vm->manager, message, "VM", vm->name, vm->spec.user, r > 0, error);
        if (r < 0)
                return r;
        if (r == 0)
                return 1; /* dispatched again when it is known */
        for (size_t i = 0; i < ELEMENTSOF(methods); i++)
                if (streq(methods[i].member, sd_bus_message_get_member(message)))
                        return methods[i].handler(message, vm, error);
        return -EBADRQC;
}

static int vm_method(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        Vm *vm = userdata;
        Audit *audit = vm->manager->audit;

        return audit_answered(audit, message, vm_dispatch(message, vm, error), error);
}

#define GETTER(name, type, expression)                                                                        \
        static int get_##name(sd_bus *bus, const char *path, const char *interface, const char *property,     \
                              sd_bus_message *reply, void *userdata, sd_bus_error *error) {                   \
                const Vm *vm = userdata;                                                                      \
                return sd_bus_message_append(reply, type, expression);                                        \
        }                                                                                                     \
        struct __useless_struct_to_allow_trailing_semicolon__

GETTER(id, "s", vm->id);
GETTER(user, "s", strempty(vm->spec.user));
GETTER(image, "s", vm->spec.image);
GETTER(image_digest, "s", strempty(vm->image_digest));
GETTER(hypervisor, "s", vm->hypervisor->name);
GETTER(cpus, "u", (uint32_t) vm->spec.cpus);
GETTER(memory, "t", vm->spec.memory);
GETTER(disk, "t", vm->spec.disk);
GETTER(receive_max, "t", vm_spec_receive_max(&vm->spec));
GETTER(transmit_max, "t", vm_spec_transmit_max(&vm->spec));
GETTER(state, "s", vm_state_to_string(vm->state));
GETTER(agent_ready, "b", vm_agent_is_ready(vm));
GETTER(accelerator, "s",
       vm->runtime && vm->hypervisor->needs_kernel ? accelerator_to_string(vm->runtime->accelerator) : "");
GETTER(pid, "u", (uint32_t) (vm->runtime && !vm->runtime->exited ? vm->runtime->process.pid : 0));
GETTER(uid, "u", (uint32_t) (vm->runtime && vm->runtime->uid != UID_INVALID ? vm->runtime->uid : 0));
GETTER(exit_code, "i", (int32_t) vm->exit_code);
GETTER(exit_reason, "s", strempty(vm->exit_reason));
GETTER(tap_device, "s", vm->network.tap);
GETTER(idle_timeout, "t", idle_timeout(vm));
GETTER(hibernate_delay, "t", idle_hibernate_delay(vm));
GETTER(awake_reason, "s", idle_awake_reason(vm, (char[IDLE_SENTENCE_MAX]) {}));
GETTER(idle_since, "t", idle_since(vm));
GETTER(sleep_time, "t", idle_sleep_time(vm));
GETTER(held_until, "t", idle_held_until(vm));
GETTER(transient, "b", vm->spec.transient);
GETTER(job, "o", vm->job ? vm->job->path : "/");

static int get_mycelium_ip(sd_bus *bus, const char *path, const char *interface, const char *property,
                           sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        const VmNetwork *v = &((const Vm *) userdata)->network;
        char buf[ADDRESS_STRING_MAX];

        return sd_bus_message_append(reply, "s", v->address6.family ? address_format(buf, &v->address6) : "");
}

/* With the length of the prefix, which is as long as the address: nobody else is on that link. */
static int get_ip_address(sd_bus *bus, const char *path, const char *interface, const char *property,
                          sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        const VmNetwork *v = &((const Vm *) userdata)->network;
        const Subnet s = { .address = v->address4, .prefix = 32 };
        char buf[SUBNET_STRING_MAX];

        return sd_bus_message_append(reply, "s", v->address4.family ? subnet_format(buf, &s) : "");
}

static uint64_t since(const VmPhases *p, uint64_t t) {
        return t > p->requested && p->requested > 0 ? t - p->requested : 0;
}

static int get_start_phases(sd_bus *bus, const char *path, const char *interface, const char *property,
                            sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        const VmPhases *p = &((const Vm *) userdata)->phases;

        return sd_bus_message_append(reply, "(ttttt)", since(p, p->scope), since(p, p->executed), since(p, p->monitor),
                                     since(p, p->hello), since(p, p->ready));
}

static int get_state_durations(sd_bus *bus, const char *path, const char *interface, const char *property,
                               sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        const Vm *vm = userdata;
        int r;

        r = sd_bus_message_open_container(reply, 'a', "{st}");
        for (VmState s = 0; r >= 0 && s < _VM_STATE_MAX; s++) {
                uint64_t usec = vm_state_duration(vm, s);

                if (usec > 0)
                        r = sd_bus_message_append(reply, "{st}", vm_state_to_string(s), usec);
        }
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

#define CONST SD_BUS_VTABLE_PROPERTY_CONST
#define CHANGES SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE
#define UNPRIVILEGED SD_BUS_VTABLE_UNPRIVILEGED

static const sd_bus_vtable vm_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("Start", SD_BUS_NO_ARGS,
                                SD_BUS_RESULT("o", job), vm_method, UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Stop", SD_BUS_ARGS("t", flags),
                                SD_BUS_RESULT("o", job), vm_method, UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Restart", SD_BUS_NO_ARGS,
                                SD_BUS_RESULT("o", job), vm_method, UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Suspend", SD_BUS_NO_ARGS,
                                SD_BUS_RESULT("o", job), vm_method, UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Hibernate", SD_BUS_NO_ARGS,
                                SD_BUS_RESULT("o", job), vm_method, UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Resume", SD_BUS_NO_ARGS,
                                SD_BUS_RESULT("o", job), vm_method, UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Delete", SD_BUS_ARGS("t", flags),
                                SD_BUS_RESULT("o", job), vm_method, UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("SetResources", SD_BUS_ARGS("a{sv}", resources),
                                SD_BUS_NO_RESULT, vm_method, UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Touch", SD_BUS_NO_ARGS,
                                SD_BUS_NO_RESULT, vm_method, UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Hold", SD_BUS_ARGS("t", usec),
                                SD_BUS_NO_RESULT, vm_method, UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("SetIdlePolicy", SD_BUS_ARGS("a{sv}", policy),
                                SD_BUS_NO_RESULT, vm_method, UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("OpenConsole", SD_BUS_ARGS("t", flags),
                                SD_BUS_RESULT("h", console), vm_method, UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Exec", SD_BUS_ARGS("as", command, "a{sv}", options),
                                SD_BUS_RESULT("h", stdio, "h", stderr, "h", control), vm_method, UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Logs", SD_BUS_ARGS("t", bytes, "t", flags),
                                SD_BUS_RESULT("h", log), vm_method, UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Wait", SD_BUS_ARGS("as", states, "t", timeout_usec),
                                SD_BUS_RESULT("s", state, "s", reason, "b", timed_out), vm_method, UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetTransitions", SD_BUS_NO_ARGS,
                                SD_BUS_RESULT("a(ttsss)", transitions), vm_method, UNPRIVILEGED),
        SD_BUS_PROPERTY("Id", "s", get_id, 0, CONST),
        SD_BUS_PROPERTY("Name", "s", NULL, offsetof(Vm, name), CONST),
        SD_BUS_PROPERTY("User", "s", get_user, 0, CONST),
        SD_BUS_PROPERTY("Image", "s", get_image, 0, CONST),
        SD_BUS_PROPERTY("ImageDigest", "s", get_image_digest, 0, CHANGES),
        SD_BUS_PROPERTY("Hypervisor", "s", get_hypervisor, 0, CONST),
        SD_BUS_PROPERTY("Transient", "b", get_transient, 0, CONST),
        SD_BUS_PROPERTY("Accelerator", "s", get_accelerator, 0, CHANGES),
        SD_BUS_PROPERTY("CPUs", "u", get_cpus, 0, CHANGES),
        SD_BUS_PROPERTY("Memory", "t", get_memory, 0, CHANGES),
        SD_BUS_PROPERTY("Disk", "t", get_disk, 0, CHANGES),
        SD_BUS_PROPERTY("NetworkReceiveMax", "t", get_receive_max, 0, CHANGES),
        SD_BUS_PROPERTY("NetworkTransmitMax", "t", get_transmit_max, 0, CHANGES),
        SD_BUS_PROPERTY("State", "s", get_state, 0, CHANGES),
        SD_BUS_PROPERTY("StateReason", "s", NULL, offsetof(Vm, reason), CHANGES),
        SD_BUS_PROPERTY("AgentReady", "b", get_agent_ready, 0, CHANGES),
        SD_BUS_PROPERTY("TAPDevice", "s", get_tap_device, 0, CONST),
        SD_BUS_PROPERTY("MyceliumIP", "s", get_mycelium_ip, 0, CHANGES),
        SD_BUS_PROPERTY("IPAddress", "s", get_ip_address, 0, CONST),
        SD_BUS_PROPERTY("Unit", "s", NULL, offsetof(Vm, unit), CONST),
        SD_BUS_PROPERTY("PID", "u", get_pid, 0, CHANGES),
        SD_BUS_PROPERTY("UID", "u", get_uid, 0, CHANGES),
        SD_BUS_PROPERTY("CreatedTimestamp", "t", NULL, offsetof(Vm, created), CONST),
        SD_BUS_PROPERTY("StartedTimestamp", "t", NULL, offsetof(Vm, started), CHANGES),
        SD_BUS_PROPERTY("StoppedTimestamp", "t", NULL, offsetof(Vm, stopped), CHANGES),
        SD_BUS_PROPERTY("LastActivityTimestamp", "t", NULL, offsetof(Vm, last_activity), CHANGES),
        SD_BUS_PROPERTY("IdleTimeoutUSec", "t", get_idle_timeout, 0, CHANGES),
        SD_BUS_PROPERTY("HibernateDelayUSec", "t", get_hibernate_delay, 0, CHANGES),
        SD_BUS_PROPERTY("AwakeReason", "s", get_awake_reason, 0, CHANGES),
        SD_BUS_PROPERTY("IdleSinceTimestamp", "t", get_idle_since, 0, 0),
        SD_BUS_PROPERTY("SleepTimestamp", "t", get_sleep_time, 0, 0),
        SD_BUS_PROPERTY("HeldUntilTimestamp", "t", get_held_until, 0, 0),
        SD_BUS_PROPERTY("KeptMemory", "t", NULL, offsetof(Vm, kept.size), 0),
        SD_BUS_PROPERTY("StartPhases", "(ttttt)", get_start_phases, 0, 0),
        SD_BUS_PROPERTY("StateDurations", "a{st}", get_state_durations, 0, 0),
        SD_BUS_PROPERTY("ExitCode", "i", get_exit_code, 0, CHANGES),
        SD_BUS_PROPERTY("ExitReason", "s", get_exit_reason, 0, CHANGES),
        SD_BUS_PROPERTY("Job", "o", get_job, 0, CHANGES),
        SD_BUS_VTABLE_END,
};

static int vm_find(sd_bus *bus, const char *path, const char *interface, void *userdata, void **ret_found,
                   sd_bus_error *error) {
        _cleanup_free_ char *name = NULL;
        Vm *vm;
        int r;

        r = sd_bus_path_decode(path, COMPUTE_VM_PREFIX, &name);
        if (r <= 0)
                return r;
        vm = manager_find_vm(userdata, name);
        if (!vm)
                return 0;
        *ret_found = vm;
        return 1;
}

static int vm_enumerate(sd_bus *bus, const char *prefix, void *userdata, char ***ret_nodes, sd_bus_error *error) {
        _cleanup_strv_free_ char **l = NULL;
        Manager *m = userdata;
        Vm *vm, *next;
        size_t n = 0;

        l = new0(char *, m->n_vms + 1);
        if (!l)
                return -ENOMEM;
        HASH_ITER(hh_name, m->vms_by_name, vm, next) {
                l[n] = strdup(vm->path);
                if (!l[n++])
                        return -ENOMEM;
        }
        *ret_nodes = TAKE_PTR(l);
        return 1;
}

int vm_bus_register(Manager *m) {
        int r;

        r = sd_bus_add_fallback_vtable(m->bus, NULL, COMPUTE_VM_PREFIX, COMPUTE_VM_INTERFACE, vm_vtable, vm_find, m);
        if (r < 0)
                return r;
        return sd_bus_add_node_enumerator(m->bus, NULL, COMPUTE_VM_PREFIX, vm_enumerate, m);
}

const sd_bus_vtable *vm_bus_vtable(void) {
        return vm_vtable;
}
