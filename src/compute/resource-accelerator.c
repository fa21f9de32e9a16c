/* SPDX-License-Identifier: Apache-2.0 */

/* KVM or TCG. /dev/kvm may be there and useless (nested without hardware help: it opens, runs firmware, and hangs every
 * kernel), so hero-kvm-probe runs a few instructions in a child that may hang without harm. Asked once per start of the
 * daemon. */

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "compute/manager.h"
#include "compute/resources-internal.h"
#include "shared/catalog-ids.h"
#include "shared/child.h"
#include "shared/log.h"
#include "shared/program-path.h"

#define KVM_PROBE "hero-kvm-probe"
#define PROBE_TIMEOUT (5 * USEC_PER_SEC)

void accelerator_done(Manager *m) {
        Resources *r = &m->resources;

        if (r->kvm_probe && TAILQ_EMPTY(&r->accelerator_waiting)) {
                child_free(r->kvm_probe);
                r->kvm_probe = NULL;
        }
        r->accelerator = ACCELERATOR_AUTO;
        r->accelerator_why = mfree(r->accelerator_why);
}

static void on_probe(int status, const char *output, void *userdata) {
        Manager *m = userdata;
        Resources *r = &m->resources;

        r->kvm_probe = NULL;
        r->accelerator = status == 0 ? ACCELERATOR_KVM : ACCELERATOR_TCG;
        r->accelerator_why = status == -ETIME ? strdup("KVM was tried and hung.") :
                                                strndup(output, MIN2(strcspn(output, "\n"), (size_t) 300));
        if (status != 0)
                log_full(LOG_NOTICE, 0, __FILE__, __LINE__, __func__, NULL, NULL, CATALOG_NO_KVM,
                         "KVM cannot run guests here, using TCG, which is many times slower: %s", strempty(r->accelerator_why));
        resources_wake(&r->accelerator_waiting, 0, NULL);
}

static int check_wanted(Manager *m, Accelerator *ret, char **ret_text) {
        Resources *r = &m->resources;

        if (m->config.accelerator == ACCELERATOR_KVM && r->accelerator != ACCELERATOR_KVM) {
                *ret_text = strprintf("Accelerator=kvm is configured, but KVM cannot run guests here: %s Set it to auto or tcg.",
                                      strempty(r->accelerator_why));
                return -ENODEV;
        }
        *ret = r->accelerator;
        return 1;
}

int resources_need_accelerator(Vm *vm, Accelerator *ret, char **ret_text) {
        _cleanup_free_ char *path = NULL;
        Manager *m = vm->manager;
        Resources *r = &m->resources;
        int error;

        if (m->config.accelerator == ACCELERATOR_TCG) {
                *ret = ACCELERATOR_TCG;
                return 1;
        }
        if (r->accelerator != ACCELERATOR_AUTO)
                return check_wanted(m, ret, ret_text);
        if (!r->kvm_probe) {
                path = program_path(KVM_PROBE);
                if (!path)
                        return -ENOMEM;
                error = child_run(m->event, (char *[]) { path, NULL }, -EBADF, PROBE_TIMEOUT, on_probe, m, &r->kvm_probe);
                if (error < 0) {
                        *ret_text = strprintf("Cannot run %s: %s.", path, strerror(-error));
                        return error;
                }
        }
        resources_wait(vm, &r->accelerator_waiting);
        return 0;
}
