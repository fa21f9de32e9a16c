/* SPDX-License-Identifier: Apache-2.0 */

/* What systemd's fd store holds of a VM, back in its place. */

#include <stdlib.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/parse-util.h"
#include "basic/string-util.h"
#include "compute/adoption-internal.h"
#include "compute/agent.h"
#include "compute/console.h"
#include "compute/manager.h"

int adoption_take(FdStore *store, const char *name, FdTag tag) {
        for (size_t i = 0; i < store->n; i++)
                if (store->fds[i].fd >= 0 && streq(store->fds[i].name, name) &&
                    (tag == FD_TAG_NONE || fd_store_get_tag(store->fds[i].fd) == tag))
                        return TAKE_FD(store->fds[i].fd);
        return -EBADF;
}

static void take_sessions(FdStore *store, Vm *vm) {
        _cleanup_free_ char *suffix = strprintf("-%s", vm->name);
        size_t l = suffix ? strlen(suffix) : 0;

        for (size_t i = 0; suffix && i < store->n; i++) {
                _cleanup_free_ char *name = NULL, *number = NULL;
                const char *rest;
                int stdio, standard_error, control;
                size_t n;
                unsigned stream;

                if (store->fds[i].fd < 0)
                        continue;
                rest = startswith(store->fds[i].name, "exec-");
                n = rest ? strcspn(rest, "-") : 0;
                if (n == 0 || !streq(rest + n, suffix) || l == 0)
                        continue;
                number = strndup(rest, n);
                name = strdup(store->fds[i].name);
                if (!number || !name || parse_uint(number, UINT32_MAX, &stream) < 0)
                        continue;
                stdio = adoption_take(store, name, FD_TAG_STDIO);
                standard_error = adoption_take(store, name, FD_TAG_STDERR);
                control = adoption_take(store, name, FD_TAG_CONTROL);
                if (agent_adopt_session(vm->runtime->agent, stream, stdio, standard_error, control) < 0) {
                        fd_store_shutdown(stdio);
                        fd_store_shutdown(standard_error);
                        fd_store_shutdown(control);
                        fd_store_remove(name);
                }
        }
}

static void take_attachments(FdStore *store, Vm *vm) {
        static const char *const kinds[] = { "console", "log" };

        for (unsigned k = 0; k < ELEMENTSOF(kinds); k++) {
                _cleanup_free_ char *name = strprintf("%s-%s", kinds[k], vm->name);
                int fd;

                while (name && (fd = adoption_take(store, name, FD_TAG_NONE)) >= 0)
                        if (console_adopt_attachment(vm->runtime->console, fd, k == 0) < 0)
                                fd_store_shutdown(fd);
        }
}

void adoption_take_channels(FdStore *store, Vm *vm, const char *name) {
        VmRuntime *rt = vm->runtime;

        rt->monitor_fd = adoption_take(store, name, FD_TAG_MONITOR);
        rt->agent_fd = adoption_take(store, name, FD_TAG_AGENT);
        rt->console_fd = adoption_take(store, name, FD_TAG_CONSOLE);
        rt->agent_peer = adoption_take(store, name, FD_TAG_AGENT_PEER);
        rt->console_peer = adoption_take(store, name, FD_TAG_CONSOLE_PEER);
        rt->memory_fd = adoption_take(store, name, FD_TAG_MEMORY);
}

int adoption_take_state(FdStore *store, Vm *vm) {
        _cleanup_free_ char *name = strprintf("state-%s", vm->name);

        return name ? adoption_take(store, name, FD_TAG_NONE) : -EBADF;
}

void adoption_take_clients(FdStore *store, Vm *vm) {
        if (vm->runtime->agent)
                take_sessions(store, vm);
        take_attachments(store, vm);
}

VmRuntime *adoption_runtime_new(Vm *vm, const VmRecordRuntime *record) {
        VmRuntime *rt = vm_runtime_new(vm);

        if (!rt)
                return NULL;
        rt->uid = record->uid;
        uid_pool_reserve(vm->manager, rt->uid);
        rt->accelerator = record->accelerator;
        rt->cpus = record->cpus ?: vm->spec.cpus;
        rt->memory = record->memory ?: vm->spec.memory;
        rt->restoring = record->restoring && vm->state == VM_RESUMING;
        if (!isempty(record->vmm_version))
                rt->vmm_version = strdup(record->vmm_version);
        return rt;
}
