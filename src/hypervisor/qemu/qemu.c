/* SPDX-License-Identifier: Apache-2.0 */

/* The QEMU driver: a microvm that opens no path of ours, see command-line.c. */

#include <unistd.h>

#include "basic/string-util.h"
#include "hypervisor/qemu/command-line.h"
#include "hypervisor/qemu/qmp.h"
#include "hypervisor/qemu/tsc.h"

/* Directories rather than files, so that an upgrade of QEMU is seen; libraries only, not all of /usr/lib. */
static const char *const paths[] = {
        "/lib",
        "/lib64",
        "/usr/lib64",
        "/usr/lib/x86_64-linux-gnu",
        "/usr/share/qemu",
        "/usr/share/seabios",
        NULL,
};

static const VmmSandbox *qemu_sandbox(const VmmSpec *spec) {
        static const char *const devices[] = { "/dev/kvm", NULL };
        static const VmmSandbox tcg = { .paths = paths, .proc = true },
                                kvm = { .paths = paths, .devices = devices, .proc = true };

        return spec->accelerator == ACCELERATOR_KVM ? &kvm : &tcg;
}

static int qemu_available(char **ret_why) {
        int r;

        tsc_begin();
        if (access(QEMU_PROGRAM, X_OK) >= 0)
                return 0;
        r = negative_errno();
        *ret_why = strprintf("QEMU (%s) cannot be executed: %s. On Debian it is in the package qemu-system-x86.",
                             QEMU_PROGRAM, strerror(-r));
        return r;
}

static int qemu_command(const VmmSpec *spec, VmmCommand *ret) {
        return qemu_command_line(spec, tsc_khz(), ret);
}

static int qemu_pause(VmmMonitor *m, vmm_done_t done, void *userdata) {
        return qmp_command(m, "stop", done, userdata);
}

static int qemu_resume(VmmMonitor *m, vmm_done_t done, void *userdata) {
        return qmp_command(m, "cont", done, userdata);
}

static int qemu_powerdown(VmmMonitor *m, vmm_done_t done, void *userdata) {
        return qmp_command(m, "system_powerdown", done, userdata);
}

static int qemu_quit(VmmMonitor *m, vmm_done_t done, void *userdata) {
        return qmp_command(m, "quit", done, userdata);
}

const Hypervisor hypervisor_qemu = {
        .name = "qemu",
        .needs_kernel = true,
        .sandbox = qemu_sandbox,
        .available = qemu_available,
        .memory_overhead = qemu_memory_overhead,
        .command = qemu_command,
        .monitor_new = qmp_new,
        .monitor_free = qmp_free,
        .pause = qemu_pause,
        .resume = qemu_resume,
        .powerdown = qemu_powerdown,
        .quit = qemu_quit,
        .save = qmp_save,
        .load = qmp_load,
        .version = qmp_version,
        .query_paused = qmp_query_paused,
};
