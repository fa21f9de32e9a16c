/* SPDX-License-Identifier: Apache-2.0 */

/* hero-kvm-probe: can KVM run a guest here? Exit status 0: yes; 1: no, and why in one sentence on stdout.
 *
 * A /dev/kvm that opens is no answer: where a hypervisor does not hand on VT-x or AMD-V there can be one that makes
 * VMs, runs firmware, and then hangs every kernel. So the CPU's flags are looked at, and then a real guest is run in
 * 64-bit mode with paging, for six instructions. A process of its own, because KVM_RUN may never come back: an
 * alarm ends it after two seconds. */

#include <fcntl.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/fd-util.h"
#include "basic/macro.h"

#define DEVICE "/dev/kvm"
#define PATIENCE_SEC 2

/* The guest's memory: code at 0, page tables behind it. */
#define PML4 0x1000u
#define PDPT 0x2000u
#define PD 0x3000u
#define MEMORY_SIZE 0x4000u
#define PORT 0x3f8
#define ANSWER 0x42

static int no(const char *format, ...) _printf_(1, 2);
static int no(const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        vprintf(format, ap);
        va_end(ap);
        putchar('\n');
        return 1;
}

static bool cpu_has_virtualization(void) {
        char line[8192];
        bool found = false;
        FILE *f;

        f = fopen("/proc/cpuinfo", "re");
        if (!f)
                return true; /* the guest will tell */
        while (!found && fgets(line, sizeof(line), f))
                found = strncmp(line, "flags", 5) == 0 && (strstr(line, " vmx") || strstr(line, " svm"));
        fclose(f);
        return found;
}

/* VMs have uids of their own and get the device's group, if that may use it. */
static bool device_is_for_vms(int fd) {
        struct stat st;

        if (fstat(fd, &st) < 0)
                return false;
        return (st.st_mode & 0006) == 0006 || (st.st_gid != 0 && (st.st_mode & 0060) == 0060);
}

static void write_guest(uint8_t *memory) {
        static const uint8_t code[] = {
                0x31, 0xc0,             /* xor %eax, %eax */
                0x0f, 0xa2,             /* cpuid */
                0x66, 0xba, 0xf8, 0x03, /* mov $0x3f8, %dx */
                0xb0, ANSWER,           /* mov $0x42, %al */
                0xee,                   /* out %al, (%dx) */
                0xf4,                   /* hlt */
        };
        uint64_t pml4 = PDPT | 3, pdpt = PD | 3, pd = 0x83; /* present, writable; the last: one page of 2 MiB */

        memcpy(memory, code, sizeof(code));
        memcpy(memory + PML4, &pml4, sizeof(pml4));
        memcpy(memory + PDPT, &pdpt, sizeof(pdpt));
        memcpy(memory + PD, &pd, sizeof(pd));
}

static int set_registers(int cpu) {
        struct kvm_segment data = { .limit = 0xffffffff, .selector = 0x10, .present = 1, .type = 3, .db = 1, .s = 1, .g = 1 };
        struct kvm_segment code = { .limit = 0xffffffff, .selector = 8, .present = 1, .type = 11, .l = 1, .s = 1, .g = 1 };
        struct kvm_regs regs = { .rflags = 2 };
        struct kvm_sregs s;

        if (ioctl(cpu, KVM_GET_SREGS, &s) < 0)
                return negative_errno();
        s.cs = code;
        s.ds = s.es = s.fs = s.gs = s.ss = data;
        s.cr3 = PML4;
        s.cr4 = 1u << 5;              /* PAE */
        s.cr0 = 0x80000011u;          /* PG, ET, PE */
        s.efer = (1u << 8) | (1u << 10); /* LME, LMA */
        if (ioctl(cpu, KVM_SET_SREGS, &s) < 0 || ioctl(cpu, KVM_SET_REGS, &regs) < 0)
                return negative_errno();
        return 0;
}

static int run_guest(int cpu, const struct kvm_run *run) {
        bool answered = false;

        for (unsigned i = 0; i < 16; i++) {
                if (ioctl(cpu, KVM_RUN, 0) < 0)
                        return no("Running a guest with KVM failed: %s.", strerror(errno));
                if (run->exit_reason == KVM_EXIT_HLT)
                        return answered ? 0 : no("A guest run with KVM computed nonsense.");
                if (run->exit_reason != KVM_EXIT_IO)
                        break;
                answered = run->io.port == PORT && *((const uint8_t *) run + run->io.data_offset) == ANSWER;
        }
        return no("A guest run with KVM came to grief (exit reason %u).", run->exit_reason);
}

static int probe_vm(int kvm, int vm) {
        struct kvm_userspace_memory_region region = { .memory_size = MEMORY_SIZE };
        struct kvm_run *run;
        uint8_t *memory;
        int cpu, size;

        memory = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
                return no("No memory for a guest: %s.", strerror(errno));
        write_guest(memory);
        region.userspace_addr = (uint64_t) (uintptr_t) memory;
        cpu = ioctl(vm, KVM_CREATE_VCPU, 0);
        size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
        if (cpu < 0 || size < (int) sizeof(*run) || ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
                return no("KVM cannot set a guest up: %s.", strerror(errno));
        run = mmap(NULL, (size_t) size, PROT_READ | PROT_WRITE, MAP_SHARED, cpu, 0);
        if (run == MAP_FAILED || set_registers(cpu) < 0)
                return no("KVM cannot set a guest's CPU up: %s.", strerror(errno));
        return run_guest(cpu, run);
}

static int probe(bool ignore_flags) {
        int kvm, vm, version;

        if (!ignore_flags && !cpu_has_virtualization())
                return no("The CPU offers no virtualization (neither vmx nor svm among its flags); in a VM, nesting "
                          "must be allowed from outside.");
        kvm = open(DEVICE, O_RDWR | O_CLOEXEC);
        if (kvm < 0)
                return no("%s cannot be opened: %s.", DEVICE, strerror(errno));
        if (!device_is_for_vms(kvm))
                return no("%s is for root alone; its group should be kvm and its mode 0660.", DEVICE);
        version = ioctl(kvm, KVM_GET_API_VERSION, 0);
        if (version != KVM_API_VERSION)
                return no("%s speaks version %i and not %i.", DEVICE, version, KVM_API_VERSION);
        vm = ioctl(kvm, KVM_CREATE_VM, 0);
        if (vm < 0)
                return no("KVM cannot make a VM: %s.", strerror(errno));
        return probe_vm(kvm, vm);
}

int main(int argc, char *argv[]) {
        setvbuf(stdout, NULL, _IOLBF, 0);
        (void) alarm(PATIENCE_SEC);
        /* For whoever wants to know what a KVM without CPU flags does. */
        return probe(argc > 1 && strcmp(argv[1], "--ignore-cpu-flags") == 0);
}
