/* SPDX-License-Identifier: Apache-2.0 */

/* What no VMM has a use for: whole subsystems of the kernel that a guest which has broken out of its VMM would
 * try next. A list of what is denied and not of what is allowed, because it is on top of what the VMM does to
 * itself (QEMU's -sandbox), and because a VMM of another version must not die of a call we have not heard of. */

#include "hypervisor/launch.h"

#include <limits.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "basic/fd-util.h"

/* New mounts and namespaces, other processes, new sockets (a VMM gets its own handed over; AF_PACKET, AF_NETLINK
 * and all the others are the largest piece of the kernel's surface), kernel code, keys, time, the machine. */
static const int denied[] = {
        SCMP_SYS(mount), SCMP_SYS(umount2), SCMP_SYS(pivot_root), SCMP_SYS(move_mount), SCMP_SYS(open_tree),
        SCMP_SYS(fsopen), SCMP_SYS(fsconfig), SCMP_SYS(fsmount), SCMP_SYS(fspick), SCMP_SYS(mount_setattr),
        SCMP_SYS(chroot), SCMP_SYS(unshare), SCMP_SYS(setns), SCMP_SYS(open_by_handle_at),
        SCMP_SYS(name_to_handle_at), SCMP_SYS(quotactl), SCMP_SYS(quotactl_fd), SCMP_SYS(fanotify_init),
        SCMP_SYS(mknod), SCMP_SYS(mknodat), SCMP_SYS(swapon), SCMP_SYS(swapoff),

        SCMP_SYS(ptrace), SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev), SCMP_SYS(process_madvise),
        SCMP_SYS(pidfd_getfd), SCMP_SYS(kcmp), SCMP_SYS(move_pages), SCMP_SYS(migrate_pages),

        SCMP_SYS(socket), SCMP_SYS(bind), SCMP_SYS(connect), SCMP_SYS(listen), SCMP_SYS(accept),
        SCMP_SYS(accept4),

        SCMP_SYS(bpf), SCMP_SYS(perf_event_open), SCMP_SYS(userfaultfd), SCMP_SYS(io_uring_setup),
        SCMP_SYS(io_uring_enter), SCMP_SYS(io_uring_register), SCMP_SYS(init_module), SCMP_SYS(finit_module),
        SCMP_SYS(delete_module), SCMP_SYS(kexec_load), SCMP_SYS(kexec_file_load), SCMP_SYS(lookup_dcookie),
        SCMP_SYS(keyctl), SCMP_SYS(add_key), SCMP_SYS(request_key), SCMP_SYS(syslog), SCMP_SYS(modify_ldt),

        SCMP_SYS(settimeofday), SCMP_SYS(clock_settime), SCMP_SYS(clock_adjtime), SCMP_SYS(adjtimex),
        SCMP_SYS(sethostname), SCMP_SYS(setdomainname), SCMP_SYS(reboot), SCMP_SYS(acct), SCMP_SYS(vhangup),
        SCMP_SYS(iopl), SCMP_SYS(ioperm), SCMP_SYS(personality), SCMP_SYS(setuid), SCMP_SYS(setgid),
        SCMP_SYS(setreuid), SCMP_SYS(setregid), SCMP_SYS(setresuid), SCMP_SYS(setresgid), SCMP_SYS(setgroups),
        SCMP_SYS(setfsuid), SCMP_SYS(setfsgid), SCMP_SYS(capset),
};

static int add_rules(scmp_filter_ctx f) {
        static const uint64_t namespaces[] = {
                CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET,
        };
        int r;

        for (size_t i = 0; i < ELEMENTSOF(denied); i++) {
                r = seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), denied[i], 0);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < ELEMENTSOF(namespaces); i++) {
                r = seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
                                     SCMP_A0(SCMP_CMP_MASKED_EQ, namespaces[i], namespaces[i]));
                if (r < 0)
                        return r;
        }
        /* Its flags are behind a pointer a filter cannot follow; libc falls back to clone(2). */
        return seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
}

static int build(int fd) {
        scmp_filter_ctx f;
        int r;

        f = seccomp_init(SCMP_ACT_ALLOW);
        if (!f)
                return -ENOMEM;
        r = add_rules(f);
        if (r >= 0)
                r = seccomp_export_bpf(f, fd);
        seccomp_release(f);
        return r;
}

int launch_seccomp_new(LaunchFilter *ret) {
        _cleanup_close_ int fd = -EBADF;
        struct stat st;
        void *p;
        int r;

        fd = memfd_create("hero-seccomp", MFD_CLOEXEC);
        if (fd < 0)
                return negative_errno();
        r = build(fd);
        if (r < 0)
                return r;
        if (fstat(fd, &st) < 0)
                return negative_errno();
        if (st.st_size == 0 || (size_t) st.st_size / sizeof(struct sock_filter) > USHRT_MAX)
                return -E2BIG;
        p = mmap(NULL, (size_t) st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
                return negative_errno();
        *ret = (LaunchFilter) { .len = (unsigned short) ((size_t) st.st_size / sizeof(struct sock_filter)), .filter = p };
        return 0;
}

int launch_seccomp_load(Launch *l, const LaunchFilter *filter) {
        if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, filter) < 0)
                return launch_failed(l, errno, "Cannot load the system call filter");
        return 0;
}
