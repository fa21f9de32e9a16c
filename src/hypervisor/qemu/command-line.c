/* SPDX-License-Identifier: Apache-2.0 */

#include "hypervisor/qemu/command-line.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "guest-protocol/guest-protocol.h"

#define MIB (UINT64_C(1) << 20)

/* A command line that grows; the first error sticks. */
typedef struct Builder {
        VmmCommand command;
        int error;
} Builder;

static void add(Builder *b, const char *option, const char *value) {
        if (b->error >= 0)
                b->error = strv_extend(&b->command.argv, option);
        if (b->error >= 0 && value)
                b->error = strv_extend(&b->command.argv, value);
}

static void addf(Builder *b, const char *option, const char *format, ...) _printf_(3, 4);
static void addf(Builder *b, const char *option, const char *format, ...) {
        va_list ap;
        char *value;

        va_start(ap, format);
        if (vasprintf(&value, format, ap) < 0)
                value = NULL;
        va_end(ap);
        if (!value) {
                b->error = -ENOMEM;
                return;
        }
        add(b, option, value);
        free(value);
}

static int add_fd(Builder *b, int fd) {
        int k;

        if (b->error < 0)
                return b->error;
        k = vmm_command_add_fd(&b->command, fd);
        if (k < 0)
                b->error = k;
        return k;
}

/* QEMU's option syntax has the comma as separator; doubled it stands for itself. */
static char *escape(const char *s) {
        char *escaped, *p;

        p = escaped = new(char, strlen(s) * 2 + 1);
        if (!escaped)
                return NULL;
        for (; *s; s++) {
                if (*s == ',')
                        *p++ = ',';
                *p++ = *s;
        }
        *p = 0;
        return escaped;
}

/* What QEMU does by itself when it is not told otherwise is not wanted: no default devices, no configuration
 * files, no window, no reboot (a VM that reboots ends; whether it starts again is the daemon's decision). */
static void add_basics(Builder *b, const VmmSpec *spec) {
        _cleanup_free_ char *name = escape(spec->name);

        if (!name) {
                b->error = -ENOMEM;
                return;
        }
        addf(b, "-name", "guest=%s,debug-threads=on", name);
        add(b, "-nodefaults", NULL);
        add(b, "-no-user-config", NULL);
        add(b, "-no-reboot", NULL);
        add(b, "-display", "none");
        add(b, "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
}

/* Without KVM the guest calibrates its clock against PIT and RTC and hangs when they are missing; with KVM there is
 * kvm-clock, and every device that is not there is one less to emulate and to initialise. ACPI stays on: it is how
 * a guest powers off. */
static void add_machine(Builder *b, const VmmSpec *spec) {
        const char *backend = spec->memory_fd >= 0 ? ",memory-backend=" QEMU_MEMORY : "";

        if (spec->accelerator == ACCELERATOR_KVM) {
                addf(b, "-machine", "microvm,acpi=on,pit=off,pic=off,rtc=off,x-option-roms=off,auto-kernel-cmdline=off,"
                                    "mem-merge=off,dump-guest-core=off%s", backend);
                add(b, "-accel", "kvm");
                add(b, "-cpu", "host");
        } else {
                addf(b, "-machine", "microvm,acpi=on,x-option-roms=off,auto-kernel-cmdline=off,mem-merge=off,"
                                    "dump-guest-core=off%s", backend);
                addf(b, "-accel", "tcg,thread=multi,tb-size=%" PRIu64, QEMU_TB_SIZE / MIB);
                add(b, "-cpu", "max");
        }
        addf(b, "-smp", "cpus=%u,maxcpus=%u", spec->cpus, spec->cpus);
        addf(b, "-m", "size=%" PRIu64 "k", spec->memory / 1024);
        add(b, "-global", "virtio-mmio.force-legacy=off");
}

/* The file's size is the memory's already, and may be sealed: QEMU makes only an empty file larger. */
static void add_memory(Builder *b, const VmmSpec *spec) {
        if (spec->memory_fd < 0)
                return;
        addf(b, "-object", "memory-backend-file,id=" QEMU_MEMORY ",size=%" PRIu64 "k,mem-path=/proc/self/fd/%d,share=on",
             spec->memory / 1024, add_fd(b, spec->memory_fd));
}

/* "defer" is until QMP says what to read. -S: whatever the state says, it is the daemon that lets the guest go on. */
static void add_incoming(Builder *b) {
        add(b, "-incoming", "defer");
        add(b, "-S", NULL);
}

/* Without KVM: the frequency of the TSC, which Linux would fail to measure on a busy host; and no mitigations, for
 * the emulated CPU does not speculate, page table isolation and its friends would only cost. */
static char *tcg_arguments(unsigned tsc_khz) {
        return tsc_khz > 0 ? strprintf(" mitigations=off tsc_early_khz=%u", tsc_khz) : strdup(" mitigations=off");
}

static void add_kernel(Builder *b, const VmmSpec *spec, unsigned tsc_khz) {
        static const char common[] = "console=ttyS0 quiet loglevel=3 reboot=t panic=-1 no_timer_check cryptomgr.notests";
        _cleanup_free_ char *tcg = spec->accelerator == ACCELERATOR_TCG ? tcg_arguments(tsc_khz) : strdup("");

        if (!tcg) {
                b->error = -ENOMEM;
                return;
        }
        addf(b, "-kernel", "/proc/self/fd/%d", add_fd(b, spec->kernel_fd));
        addf(b, "-initrd", "/proc/self/fd/%d", add_fd(b, spec->initrd_fd));
        addf(b, "-append", "%s%s%s%s", common, tcg, isempty(spec->kernel_args) ? "" : " ", strempty(spec->kernel_args));
}

static void add_console(Builder *b, const VmmSpec *spec) {
        if (spec->console_fd < 0)
                return;
        addf(b, "-chardev", "socket,id=console,fd=%d", add_fd(b, spec->console_fd));
        add(b, "-serial", "chardev:console");
}

static void add_monitor(Builder *b, const VmmSpec *spec) {
        if (spec->monitor_fd < 0)
                return;
        addf(b, "-chardev", "socket,id=monitor,fd=%d", add_fd(b, spec->monitor_fd));
        add(b, "-mon", "chardev=monitor,mode=control");
}

static void add_agent(Builder *b, const VmmSpec *spec) {
        if (spec->agent_fd < 0)
                return;
        addf(b, "-chardev", "socket,id=agent,fd=%d", add_fd(b, spec->agent_fd));
        /* One port: the guest's driver sets up two queues for each that could be, 64 by default, one slow register
         * after the other. */
        add(b, "-device", "virtio-serial-device,max_ports=2");
        add(b, "-device", "virtserialport,chardev=agent,name=" GP_PORT_NAME);
}

/* Raw, whatever the image says it is: a guest that writes a qcow2 header into its own disk must not make QEMU
 * follow it. The serial number is how hero-init finds the disk. */
static void add_disk(Builder *b, const char *name, int fd, bool writable) {
        int k;

        if (fd < 0)
                return;
        k = add_fd(b, fd);
        addf(b, "-add-fd", "fd=%d,set=%d", k, k);
        addf(b, "-blockdev",
             "driver=raw,node-name=%s,read-only=%s,%sfile.driver=file,file.filename=/dev/fdset/%d,file.locking=off",
             name, writable ? "off" : "on", writable ? "discard=unmap,detect-zeroes=unmap," : "", k);
        addf(b, "-device", "virtio-blk-device,drive=%s,serial=%s", name, name);
}

/* Not vhost: it would want /dev/vhost-net, and work in the kernel's name. */
static void add_network(Builder *b, const VmmSpec *spec) {
        char mac[sizeof("00:00:00:00:00:00")], mtu[sizeof(",host_mtu=65535")] = "";
        const uint8_t *m = spec->mac;

        if (spec->tap_fd < 0)
                return;
        if (m[0] & 1 || (m[0] | m[1] | m[2] | m[3] | m[4] | m[5]) == 0 || spec->mtu > UINT16_MAX) {
                b->error = b->error < 0 ? b->error : -EINVAL;
                return;
        }
        snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
        if (spec->mtu > 0)
                snprintf(mtu, sizeof(mtu), ",host_mtu=%u", spec->mtu & UINT16_MAX);
        addf(b, "-netdev", "tap,id=net,fd=%d,vhost=off", add_fd(b, spec->tap_fd));
        addf(b, "-device", "virtio-net-device,netdev=net,mac=%s%s", mac, mtu);
}

int qemu_command_line(const VmmSpec *spec, unsigned tsc_khz, VmmCommand *ret) {
        Builder b = {};

        assert(spec && ret);

        if (spec->accelerator != ACCELERATOR_KVM && spec->accelerator != ACCELERATOR_TCG)
                return -EINVAL;
        if (spec->cpus == 0 || spec->memory == 0 || (spec->incoming && spec->memory_fd < 0))
                return -EINVAL;

        add(&b, QEMU_PROGRAM, NULL);
        add_basics(&b, spec);
        add_machine(&b, spec);
        add_memory(&b, spec);
        /* The kernel of an incoming guest is in its memory. */
        if (spec->incoming)
                add_incoming(&b);
        else
                add_kernel(&b, spec, tsc_khz);
        add_monitor(&b, spec);
        add_console(&b, spec);
        add_agent(&b, spec);
        add_disk(&b, "root", spec->root_fd, false);
        add_disk(&b, "overlay", spec->overlay_fd, true);
        add_network(&b, spec);
        add(&b, "-object", "rng-builtin,id=rng");
        add(&b, "-device", "virtio-rng-device,rng=rng");
        if (b.error < 0) {
                vmm_command_done(&b.command);
                return b.error;
        }
        *ret = b.command;
        return 0;
}

/* QEMU itself, its heap and stacks, what it caches of the disks' metadata; per CPU its state, thread and TCG's
 * per-CPU tables; page tables and dirty bitmaps in proportion to the guest's memory. */
uint64_t qemu_memory_overhead(const VmmSpec *spec) {
        uint64_t overhead = 96 * MIB + spec->cpus * 8 * MIB + spec->memory / 64;

        return spec->accelerator == ACCELERATOR_TCG ? overhead + QEMU_TB_SIZE : overhead;
}
