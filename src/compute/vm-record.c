/* SPDX-License-Identifier: Apache-2.0 */

#include "compute/vm-record.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <systemd/sd-id128.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "basic/time-util.h"
#include "compute/manager.h"
#include "shared/bus-util.h"
#include "shared/log.h"

#define RECORD_NAME "vm.json"
#define RECORD_MAX (1024u * 1024u)

int vm_directory_open(Vm *vm, bool create) {
        return open_directory_at(vm->manager->vms_fd, vm->name, 0700, create);
}

/* Absent rather than null for what there is not. */
static int set_string(json_t *o, const char *key, const char *value) {
        if (value)
                return json_object_set_new(o, key, json_string(value));
        (void) json_object_del(o, key);
        return 0;
}

static int set_uint(json_t *o, const char *key, uint64_t value) {
        return json_object_set_new(o, key, json_integer((json_int_t) value));
}

/* Of times and rates: absent for what is not given, -1 for infinity. */
static int set_limit(json_t *o, const char *key, uint64_t value) {
        if (value > 0)
                return json_object_set_new(o, key, json_integer(value > INT64_MAX ? -1 : (json_int_t) value));
        (void) json_object_del(o, key);
        return 0;
}

static int set_strv(json_t *o, const char *key, char *const *l) {
        json_t *a = json_array();

        STRV_FOREACH(i, l)
                if (json_array_append_new(a, json_string(*i)) < 0) {
                        json_decref(a);
                        return -1;
                }
        return json_object_set_new(o, key, a);
}

/* Absent when there is none, which is not the same as an empty one. */
static int set_list(json_t *o, const char *key, char *const *l) {
        if (l)
                return set_strv(o, key, l);
        (void) json_object_del(o, key);
        return 0;
}

static int set_image_config(json_t *o, const VmImageConfig *c) {
        json_t *j = json_object();
        int r;

        r = set_list(j, "entrypoint", c->entrypoint) | set_list(j, "cmd", c->cmd) | set_list(j, "env", c->environment) |
                set_string(j, "user", c->user) | set_string(j, "working_directory", c->working_directory) |
                set_string(j, "stop_signal", c->stop_signal);
        return json_object_set_new(o, "image_config", j) | r;
}

/* Read by the next daemon only: what is to become of a VM in the middle of its creation. */
static int set_pulling(json_t *o, const Vm *vm) {
        return set_string(o, "pulling_for",
                          vm->pulling ? vm->job && vm->job->type == JOB_PROVISION ? "provision" : "create" : NULL);
}

static int set_run_image(json_t *o, RunImage run) {
        if (run != RUN_IMAGE_DEFAULT)
                return json_object_set_new(o, "run_image", json_boolean(run == RUN_IMAGE));
        (void) json_object_del(o, "run_image");
        return 0;
}

static int set_transient(json_t *o, bool transient) {
        if (transient)
                return json_object_set_new(o, "transient", json_true());
        (void) json_object_del(o, "transient");
        return 0;
}

static int set_network(json_t *o, const Vm *vm) {
        const VmNetwork *v = &vm->network;
        char four[ADDRESS_STRING_MAX], six[ADDRESS_STRING_MAX];

        if (vm->spec.no_network)
                return json_object_set_new(o, "network", json_false());
        if (!v->assigned)
                return 0;
        return json_object_set_new(o, "network", json_pack("{s:I, s:s*, s:s*}", "address_counter", (json_int_t) v->address_counter, "ipv4",
                                                           v->address4.family ? address_format(four, &v->address4) : NULL, "ipv6",
                                                           v->address6.family ? address_format(six, &v->address6) : NULL));
}

static json_t *events_to_json(const Vm *vm) {
        unsigned skip = vm->events.n > VM_RECORD_EVENTS ? vm->events.n - VM_RECORD_EVENTS : 0;
        json_t *a = json_array();

        for (unsigned i = skip; i < vm->events.n; i++) {
                const Event *e = event_ring_get(&vm->events, i);

                if (json_array_append_new(a, json_pack("[I, I, s, s, s]", (json_int_t) e->sequence,
                                                       (json_int_t) e->timestamp, vm_state_to_string(e->from),
                                                       vm_state_to_string(e->to), e->reason)) < 0) {
                        json_decref(a);
                        return NULL;
                }
        }
        return a;
}

static int set_spec(json_t *o, const Vm *vm) {
        const VmSpec *s = &vm->spec;

        return set_string(o, "user", s->user) | set_string(o, "image", s->image) |
                set_string(o, "image_digest", vm->image_digest) | set_string(o, "hypervisor", vm->hypervisor->name) |
                set_uint(o, "cpus", s->cpus) | set_uint(o, "memory", s->memory) | set_uint(o, "disk", s->disk) |
                set_limit(o, "idle_timeout_usec", s->idle_timeout) | set_limit(o, "hibernate_delay_usec", s->hibernate_delay) |
                set_uint(o, "cpu_weight", s->cpu_weight) | set_uint(o, "io_weight", s->io_weight) |
                set_limit(o, "receive_max", s->receive_max) | set_limit(o, "transmit_max", s->transmit_max) |
                set_strv(o, "command", s->command) | set_strv(o, "environment", s->environment) |
                set_list(o, "entrypoint", s->entrypoint) | set_list(o, "arguments", s->arguments) |
                set_string(o, "working_directory", s->working_directory) | set_string(o, "run_as", s->run_as) |
                set_run_image(o, s->run_image) | set_transient(o, s->transient) |
                set_image_config(o, &vm->image_config) |
                set_string(o, "kernel_arguments", s->kernel_arguments) | set_string(o, "mock_script", s->mock_script);
}

/* This one: what a record says of a moment is no longer so after the host was started anew. */
static const char *boot_id(void) {
        static char text[SD_ID128_STRING_MAX];
        sd_id128_t id;

        if (isempty(text) && sd_id128_get_boot(&id) >= 0)
                (void) sd_id128_to_string(id, text);
        return text;
}

static int set_runtime(json_t *o, const Vm *vm) {
        const VmRuntime *rt = vm->runtime;
        json_t *j;

        if (!rt) {
                (void) json_object_del(o, "runtime");
                return 0;
        }
        j = json_pack("{s:i, s:I, s:s, s:s*, s:s, s:b, s:I, s:I}", "pid", (int) rt->process.pid, "uid", (json_int_t) rt->uid, "accelerator",
                      accelerator_to_string(rt->accelerator), "vmm", rt->vmm_version, "boot", boot_id(), "restoring",
                      (int) rt->restoring, "cpus", (json_int_t) rt->cpus, "memory", (json_int_t) rt->memory);
        return json_object_set_new(o, "runtime", j);
}

/* Fields that this version does not know stay as they were in the file. */
static json_t *record_object(int dir_fd) {
        _cleanup_free_ char *text = NULL;
        json_t *o = NULL;

        if (read_full_file(dir_fd, RECORD_NAME, RECORD_MAX, &text, NULL) >= 0)
                o = json_loads(text, 0, NULL);
        if (!json_is_object(o)) {
                json_decref(o);
                o = json_object();
        }
        return o;
}

static int directory_entries(int dir_fd) {
        _cleanup_closedir_ DIR *d = NULL;
        int r, n = 0;

        r = open_directory_stream(dir_fd, ".", &d);
        if (r < 0)
                return r;
        for (struct dirent *de; (de = readdir(d));)
                n += !streq(de->d_name, ".") && !streq(de->d_name, "..");
        return n;
}

/* The record of a VM that is about to be made says only what the next daemon has to remove, so it need not outlive the host.
 * Written in one piece: whole or empty, if we are killed, see vm_record_load(). */
static int write_first(int dir_fd, const char *text) {
        _cleanup_close_ int fd = -EBADF;

        fd = openat(dir_fd, RECORD_NAME, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        return fd < 0 ? negative_errno() : write_all(fd, text, strlen(text));
}

int vm_record_save(Vm *vm) {
        _cleanup_close_ int fd = -EBADF;
        _cleanup_free_ char *text = NULL;
        json_t *o;
        int r;

        fd = vm_directory_open(vm, true);
        if (fd < 0)
                return fd;
        o = vm->loaded ? record_object(fd) : json_object();
        if (!o)
                return -ENOMEM;
        r = set_uint(o, "version", VM_RECORD_VERSION) | set_string(o, "id", vm->id) | set_string(o, "name", vm->name) |
                set_spec(o, vm) | set_string(o, "state", vm_state_to_string(vm->state)) |
                set_string(o, "before", vm_state_to_string(vm->before)) | set_string(o, "reason", vm->reason) |
                set_uint(o, "created", vm->created) | set_uint(o, "started", vm->started) |
                set_uint(o, "stopped", vm->stopped) | set_uint(o, "last_activity", vm->last_activity) |
                set_limit(o, "held_until", idle_held_until(vm)) |
                json_object_set_new(o, "exit_code", json_integer(vm->exit_code)) |
                set_string(o, "exit_reason", vm->exit_reason) | set_pulling(o, vm) |
                json_object_set_new(o, "events", events_to_json(vm)) | set_network(o, vm) | set_runtime(o, vm);
        text = r == 0 ? json_dumps(o, JSON_COMPACT) : NULL;
        json_decref(o);
        if (!text)
                return -ENOMEM;
        r = vm->state == VM_PENDING ? write_first(fd, text) : write_file_atomic(fd, RECORD_NAME, text, strlen(text), 0600);
        if (r >= 0)
                vm->unsaved = false;
        return r;
}

void vm_record_settle(Vm *vm) {
        int r;

        if (!vm->unsaved)
                return;
        r = vm_record_save(vm);
        if (r < 0)
                log_vm_error_errno(vm, r, "Cannot write the record of VM '%s': %m", vm->name);
}

static const char *get_string(json_t *o, const char *key) {
        return json_string_value(json_object_get(o, key));
}

static uint64_t get_uint(json_t *o, const char *key) {
        json_int_t v = json_integer_value(json_object_get(o, key));

        return v < 0 ? 0 : (uint64_t) v;
}

static uint64_t get_limit(json_t *o, const char *key) {
        json_int_t v = json_integer_value(json_object_get(o, key));

        return v < 0 ? UINT64_MAX : (uint64_t) v;
}

static int get_strv(json_t *o, const char *key, char ***ret) {
        json_t *a = json_object_get(o, key), *v;
        size_t i;

        json_array_foreach(a, i, v)
                if (json_is_string(v) && strv_extend(ret, json_string_value(v)) < 0)
                        return -ENOMEM;
        return 0;
}

static int get_list(json_t *o, const char *key, char ***ret) {
        if (json_is_array(json_object_get(o, key))) {
                *ret = new0(char *, 1);
                if (!*ret)
                        return -ENOMEM;
        }
        return get_strv(o, key, ret);
}

static int get_image_config(json_t *o, VmImageConfig *c) {
        json_t *j = json_object_get(o, "image_config");

        if (get_strv(j, "entrypoint", &c->entrypoint) < 0 || get_strv(j, "cmd", &c->cmd) < 0 ||
            get_strv(j, "env", &c->environment) < 0 || free_and_strdup(&c->user, get_string(j, "user")) < 0 ||
            free_and_strdup(&c->working_directory, get_string(j, "working_directory")) < 0 ||
            free_and_strdup(&c->stop_signal, get_string(j, "stop_signal")) < 0)
                return -ENOMEM;
        return 0;
}

static int get_exit_code(json_t *o) {
        json_t *j = json_object_get(o, "exit_code") ?: json_object_get(o, "exit_status"); /* as version 0.1 called it */
        json_int_t v = json_is_integer(j) ? json_integer_value(j) : -1;

        return v < 0 || v > 255 ? -1 : (int) v;
}

static RunImage get_run_image(json_t *o) {
        json_t *j = json_object_get(o, "run_image");

        return json_is_boolean(j) ? json_is_true(j) ? RUN_IMAGE : RUN_NOTHING : RUN_IMAGE_DEFAULT;
}

static int get_spec(json_t *o, VmSpec *s) {
        s->cpus = (unsigned) MIN2(get_uint(o, "cpus"), (uint64_t) UINT32_MAX);
        s->memory = get_uint(o, "memory");
        s->disk = get_uint(o, "disk");
        s->cpu_weight = get_uint(o, "cpu_weight");
        s->io_weight = get_uint(o, "io_weight");
        s->receive_max = get_limit(o, "receive_max");
        s->transmit_max = get_limit(o, "transmit_max");
        s->idle_timeout = get_limit(o, "idle_timeout_usec");
        s->hibernate_delay = get_limit(o, "hibernate_delay_usec");
        s->run_image = get_run_image(o);
        s->no_network = json_is_false(json_object_get(o, "network"));
        s->transient = json_is_true(json_object_get(o, "transient"));
        if (free_and_strdup(&s->user, get_string(o, "user")) < 0 || free_and_strdup(&s->image, get_string(o, "image")) < 0 ||
            free_and_strdup(&s->hypervisor, get_string(o, "hypervisor")) < 0 ||
            free_and_strdup(&s->working_directory, get_string(o, "working_directory")) < 0 ||
            free_and_strdup(&s->kernel_arguments, get_string(o, "kernel_arguments")) < 0 ||
            free_and_strdup(&s->mock_script, get_string(o, "mock_script")) < 0 ||
            free_and_strdup(&s->run_as, get_string(o, "run_as")) < 0 ||
            get_list(o, "entrypoint", &s->entrypoint) < 0 || get_list(o, "arguments", &s->arguments) < 0 ||
            get_strv(o, "command", &s->command) < 0 || get_strv(o, "environment", &s->environment) < 0)
                return -ENOMEM;
        return 0;
}

static void get_address(json_t *o, const char *key, int family, Address *ret) {
        const char *text = get_string(o, key);

        if (!text || address_parse(text, ret) < 0 || ret->family != family)
                *ret = (Address) {};
}

/* The IPv6 address is for guests that know it already; a VM that is started gets that of the subnet of then. */
static void get_network(json_t *o, VmNetwork *v) {
        json_t *j = json_object_get(o, "network");

        v->address_counter = (uint32_t) MIN2(get_uint(j, "address_counter"), (uint64_t) UINT32_MAX);
        get_address(j, "ipv4", AF_INET, &v->address4);
        get_address(j, "ipv6", AF_INET6, &v->address6);
}

static int get_events(json_t *o, Vm *vm) {
        json_t *a = json_object_get(o, "events"), *v;
        size_t i;

        json_array_foreach(a, i, v) {
                const char *from, *to, *reason;
                json_int_t sequence, timestamp;
                VmState f, t;
                Event *e;

                if (json_unpack(v, "[I, I, s, s, s]", &sequence, &timestamp, &from, &to, &reason) < 0)
                        continue;
                f = vm_state_from_string(from);
                t = vm_state_from_string(to);
                if ((int) f < 0 || (int) t < 0 || sequence < 0)
                        continue;
                e = event_new((uint64_t) sequence, vm->name, f, t, reason);
                if (!e)
                        return -ENOMEM;
                e->timestamp = (uint64_t) timestamp;
                (void) event_ring_push(&vm->events, e);
                event_unref(e);
                if ((uint64_t) sequence >= vm->manager->next_sequence)
                        vm->manager->next_sequence = (uint64_t) sequence + 1;
        }
        return 0;
}

static void get_hold(json_t *o, Vm *vm) {
        uint64_t left = idle_hold_left(get_uint(o, "held_until"), now_usec(CLOCK_REALTIME));

        if (left > 0)
                vm->idle.clock.held = now_usec(CLOCK_BOOTTIME) + left;
}

static void get_runtime(json_t *o, VmRecordRuntime *ret) {
        json_t *j = json_object_get(o, "runtime");
        Accelerator a = accelerator_from_string(get_string(j, "accelerator"));

        *ret = (VmRecordRuntime) {
                .present = json_is_object(j),
                .pid = (pid_t) get_uint(j, "pid"),
                .uid = (uid_t) get_uint(j, "uid"),
                .accelerator = (int) a < 0 ? ACCELERATOR_TCG : a,
                .restoring = json_is_true(json_object_get(j, "restoring")),
                .cpus = (unsigned) MIN2(get_uint(j, "cpus"), (uint64_t) VM_CPUS_MAX),
                .memory = get_uint(j, "memory"),
                .same_boot = streq_ptr(get_string(j, "boot"), boot_id()),
        };
        if (get_string(j, "vmm"))
                (void) snprintf(ret->vmm_version, sizeof(ret->vmm_version), "%s", get_string(j, "vmm"));
}

static int broken(char **ret_why, const char *format, ...) _printf_(2, 3);
static int broken(char **ret_why, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        if (vasprintf(ret_why, format, ap) < 0)
                *ret_why = NULL;
        va_end(ap);
        return -EBADMSG;
}

static bool id_is_valid(const char *id) {
        return id && strlen(id) == VM_ID_LENGTH && strspn(id, "0123456789abcdef") == VM_ID_LENGTH;
}

static int vm_from_json(Manager *m, const char *name, json_t *o, Vm **ret, char **ret_why) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(vm_image_config_done) VmImageConfig image_config = {};
        _cleanup_(vm_spec_done) VmSpec spec = {};
        _cleanup_free_ char *why = NULL;
        const char *state = get_string(o, "state");
        VmState s, before;
        Vm *vm;
        int r;

        if (get_uint(o, "version") < 1)
                return broken(ret_why, "vm.json has no version.");
        if (!streq_ptr(get_string(o, "name"), name) || !id_is_valid(get_string(o, "id")))
                return broken(ret_why, "vm.json belongs to another VM (name '%s').", strna(get_string(o, "name")));
        s = vm_state_from_string(state);
        before = vm_state_from_string(get_string(o, "before"));
        if ((int) s < 0)
                return broken(ret_why, "vm.json holds the unknown state '%s'.", strna(state));
        r = get_spec(o, &spec);
        if (r >= 0)
                r = get_image_config(o, &image_config);
        if (r < 0)
                return r;
        r = vm_spec_check(&spec, &error);
        if (r < 0)
                return broken(ret_why, "vm.json: %s", strna(error.message));
        r = vm_image_config_check(&image_config, &why);
        if (r < 0)
                return broken(ret_why, "vm.json: %s", strna(why));
        if (!spec.hypervisor || !spec.image || spec.cpus == 0 || spec.memory == 0 || spec.disk == 0)
                return broken(ret_why, "vm.json lacks hypervisor, image, cpus, memory or disk.");
        r = vm_new(m, name, get_string(o, "id"), &spec, &vm);
        if (r == -EEXIST || r == -EADDRINUSE)
                return broken(ret_why, r == -EEXIST ? "Another VM has the same id." : "The user has another VM.");
        if (r < 0)
                return r;
        vm->loaded = true;
        vm->state = s;
        vm->before = before == VM_STOPPED ? VM_STOPPED : VM_CONFIGURED;
        vm->created = get_uint(o, "created");
        vm->started = get_uint(o, "started");
        vm->stopped = get_uint(o, "stopped");
        vm->last_activity = get_uint(o, "last_activity");
        get_hold(o, vm);
        vm->exit_code = get_exit_code(o);
        vm->pulling = get_string(o, "pulling_for") && s == VM_PROVISIONING;
        vm->pull_provisions = streq_ptr(get_string(o, "pulling_for"), "provision");
        get_network(o, &vm->network);
        vm->image_config = image_config;
        image_config = (VmImageConfig) {};
        if (free_and_strdup(&vm->reason, strempty(get_string(o, "reason"))) < 0 ||
            free_and_strdup(&vm->exit_reason, get_string(o, "exit_reason")) < 0 ||
            free_and_strdup(&vm->image_digest, get_string(o, "image_digest")) < 0 || get_events(o, vm) < 0) {
                vm_free(vm);
                return -ENOMEM;
        }
        r = vm_network_assign(vm, &error);
        if (r < 0)
                log_vm_warning_errno(vm, r, "VM '%s' has no address: %m", vm->name);
        *ret = vm;
        return 0;
}

int vm_record_load(Manager *m, const char *name, Vm **ret, VmRecordRuntime *ret_runtime, char **ret_why) {
        _cleanup_close_ int fd = -EBADF;
        _cleanup_free_ char *text = NULL;
        json_error_t e;
        size_t n;
        json_t *o;
        int r;

        fd = open_directory_at(m->vms_fd, name, 0, false);
        if (fd < 0)
                return fd;
        r = read_full_file(fd, RECORD_NAME, RECORD_MAX, &text, &n);
        if (r < 0)
                return broken(ret_why, "vm.json cannot be read: %s.", strerror(-r));
        if (n == 0) {
                (void) broken(ret_why, "vm.json is empty.");
                return -ENODATA;
        }
        o = json_loadb(text, n, JSON_REJECT_DUPLICATES, &e);
        if (!json_is_object(o)) {
                json_decref(o);
                return broken(ret_why, "vm.json is not valid: line %d: %s.", e.line, e.text);
        }
        get_runtime(o, ret_runtime);
        r = vm_from_json(m, name, o, ret, ret_why);
        json_decref(o);
        return r;
}

/* Nobody has checked it, and it goes over the bus. */
static char *copy_string(json_t *o, const char *key) {
        const char *s = get_string(o, key);

        return s && strlen(s) <= IMAGE_REFERENCE_MAX && utf8_is_clean(s, NULL) ? strdup(s) : NULL;
}

bool vm_record_read_image(Manager *m, const char *name, char **ret_image, char **ret_digest) {
        _cleanup_close_ int fd = -EBADF;
        _cleanup_free_ char *text = NULL;
        json_t *o;
        int r;

        *ret_image = *ret_digest = NULL;
        fd = open_directory_at(m->vms_fd, name, 0, false);
        r = fd < 0 ? fd : read_full_file(fd, RECORD_NAME, RECORD_MAX, &text, NULL);
        if (fd == -ENOENT || fd == -ENOTDIR || (r == -ENOENT && !vm_name_is_valid(name)))
                return false;
        o = r >= 0 ? json_loads(text, 0, NULL) : NULL;
        *ret_image = copy_string(o, "image");
        *ret_digest = copy_string(o, "image_digest");
        json_decref(o);
        return true;
}

int vm_record_remove_empty(Manager *m, const char *name) {
        _cleanup_close_ int fd = -EBADF;
        struct stat st;
        int r;

        fd = open_directory_at(m->vms_fd, name, 0, false);
        if (fd < 0)
                return fd;
        r = directory_entries(fd);
        if (r < 0)
                return r;
        if (r != 1 || fstatat(fd, RECORD_NAME, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode) || st.st_size > 0)
                return -ENOTEMPTY;
        return remove_tree_at(m->vms_fd, name);
}

int vm_record_remove(Vm *vm) {
        int r;

        r = remove_tree_at(vm->manager->vms_fd, vm->name);
        if (r < 0)
                return r;
        vm->unsaved = false; /* else it would come back with what is still to be signalled */
        return fsync(vm->manager->vms_fd) < 0 ? negative_errno() : 0;
}
