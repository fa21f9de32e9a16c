/* SPDX-License-Identifier: Apache-2.0 */

/* The registry of drivers and what they have in common. */

#include "hypervisor/hypervisor.h"

#include "basic/string-util.h"
#include "basic/strv.h"

static const Hypervisor *const hypervisors[] = { &hypervisor_qemu, &hypervisor_mock };

static const char *const accelerator_table[_ACCELERATOR_MAX] = {
        [ACCELERATOR_AUTO] = "auto",
        [ACCELERATOR_KVM] = "kvm",
        [ACCELERATOR_TCG] = "tcg",
};
DEFINE_STRING_TABLE_LOOKUP(accelerator, Accelerator);

static const char *const vmm_event_table[] = {
        [VMM_EVENT_READY] = "ready",
        [VMM_EVENT_PAUSED] = "paused",
        [VMM_EVENT_RESUMED] = "resumed",
        [VMM_EVENT_GUEST_SHUTDOWN] = "guest-shutdown",
        [VMM_EVENT_HOST_SHUTDOWN] = "host-shutdown",
        [VMM_EVENT_GUEST_RESET] = "guest-reset",
        [VMM_EVENT_GUEST_PANIC] = "guest-panic",
        [VMM_EVENT_LOST] = "lost",
};

const char *vmm_event_to_string(VmmEvent e) {
        return (int) e >= 0 && (size_t) e < ELEMENTSOF(vmm_event_table) ? vmm_event_table[e] : NULL;
}

const Hypervisor *hypervisor_find(const char *name) {
        for (size_t i = 0; i < ELEMENTSOF(hypervisors); i++)
                if (streq_ptr(name, hypervisors[i]->name))
                        return hypervisors[i];
        return NULL;
}

const char *hypervisor_names(void) {
        return "qemu, mock";
}

int hypervisor_unsupported(const Hypervisor *h, const char *what, char **ret_text) {
        *ret_text = strprintf("The %s hypervisor cannot %s.", h->name, what);
        return -EOPNOTSUPP;
}

void vmm_command_done(VmmCommand *c) {
        c->argv = strv_free(c->argv);
        c->n_fds = 0;
}

int vmm_command_add_fd(VmmCommand *c, int fd) {
        if (fd < 0)
                return -EBADF;
        if (c->n_fds >= VMM_FDS_MAX)
                return -E2BIG;
        c->fds[c->n_fds++] = fd;
        return 3 + (int) c->n_fds - 1;
}
