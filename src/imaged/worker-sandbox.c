/* SPDX-License-Identifier: Apache-2.0 */

/* The worker's sandbox, see the header. */

#include "imaged/worker-sandbox.h"

#include <cap-ng.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>

static int limit(int resource, uint64_t value) {
        struct rlimit old, l;

        if (getrlimit(resource, &old) < 0)
                return negative_errno();
        l.rlim_cur = l.rlim_max = MIN2((rlim_t) value, old.rlim_max);
        return setrlimit(resource, &l) < 0 ? negative_errno() : 0;
}

static int set_limits(const SandboxLimits *limits) {
        int r;

        r = limit(RLIMIT_CORE, 0);
        if (r >= 0)
                r = limit(RLIMIT_FSIZE, limits->file_size);
        if (r >= 0)
                r = limit(RLIMIT_CPU, limits->cpu_seconds);
        if (r >= 0)
                r = limit(RLIMIT_NOFILE, 256); /* those of the layers are open */
#ifndef __SANITIZE_ADDRESS__ /* whose shadow memory is terabytes of address space */
        if (r >= 0)
                r = limit(RLIMIT_AS, limits->memory);
#endif
        return r;
}

int sandbox_enter(const SandboxLimits *limits, const char **ret_missing) {
        int r;

        *ret_missing = NULL;
        r = set_limits(limits);
        if (r < 0)
                return r;
        /* Then write() fails with EFBIG, and there is somebody to say so. */
        if (signal(SIGXFSZ, SIG_IGN) == SIG_ERR)
                return negative_errno();
        if (unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS) < 0)
                *ret_missing = "namespaces";
        /* Those of the new user namespace, or of whoever started us as root. The bounding set can only be
         * lowered with a capability: without one there is nothing to bound. */
        capng_clear(CAPNG_SELECT_BOTH);
        if (capng_apply(CAPNG_SELECT_BOTH) < 0 && capng_apply(CAPNG_SELECT_CAPS) < 0)
                return -EPERM;
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
                return negative_errno();
        /* Last: changing credentials clears it. */
        return prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 ? negative_errno() : 0;
}

/* clang-format off */
static const int allowed[] = {
        SCMP_SYS(read), SCMP_SYS(readv), SCMP_SYS(pread64), SCMP_SYS(write), SCMP_SYS(writev),
        SCMP_SYS(pwrite64), SCMP_SYS(lseek), SCMP_SYS(close), SCMP_SYS(fstat), SCMP_SYS(newfstatat),
        SCMP_SYS(ftruncate), SCMP_SYS(fsync), SCMP_SYS(fdatasync), SCMP_SYS(poll), SCMP_SYS(ppoll),
        SCMP_SYS(fadvise64), SCMP_SYS(mmap), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(mprotect),
        SCMP_SYS(madvise), SCMP_SYS(brk), SCMP_SYS(futex), SCMP_SYS(rseq), SCMP_SYS(set_robust_list),
        SCMP_SYS(sched_yield), SCMP_SYS(membarrier), SCMP_SYS(sched_getaffinity), SCMP_SYS(getpid),
        SCMP_SYS(gettid), SCMP_SYS(getrandom), SCMP_SYS(clock_gettime), SCMP_SYS(clock_nanosleep),
        SCMP_SYS(gettimeofday), SCMP_SYS(time), SCMP_SYS(restart_syscall), SCMP_SYS(rt_sigreturn),
        SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigaction), SCMP_SYS(sigaltstack), SCMP_SYS(tgkill),
        SCMP_SYS(exit), SCMP_SYS(exit_group),
};

/* Nothing in here does these by accident. (Whatever is in neither list fails with EPERM.) */
static const int fatal[] = {
        SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(fork), SCMP_SYS(vfork), SCMP_SYS(clone),
        SCMP_SYS(clone3), SCMP_SYS(socket), SCMP_SYS(socketpair), SCMP_SYS(connect), SCMP_SYS(bind),
        SCMP_SYS(ptrace), SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev), SCMP_SYS(mount),
        SCMP_SYS(umount2), SCMP_SYS(pivot_root), SCMP_SYS(setns), SCMP_SYS(unshare), SCMP_SYS(bpf),
        SCMP_SYS(io_uring_setup), SCMP_SYS(userfaultfd), SCMP_SYS(perf_event_open), SCMP_SYS(keyctl),
        SCMP_SYS(add_key), SCMP_SYS(request_key), SCMP_SYS(init_module), SCMP_SYS(finit_module),
        SCMP_SYS(kexec_load), SCMP_SYS(unlink), SCMP_SYS(unlinkat), SCMP_SYS(rename), SCMP_SYS(renameat),
        SCMP_SYS(renameat2), SCMP_SYS(link), SCMP_SYS(linkat), SCMP_SYS(symlink), SCMP_SYS(symlinkat),
        SCMP_SYS(mkdir), SCMP_SYS(mkdirat), SCMP_SYS(mknod), SCMP_SYS(mknodat), SCMP_SYS(chmod),
        SCMP_SYS(fchmod), SCMP_SYS(fchmodat), SCMP_SYS(chown), SCMP_SYS(fchown), SCMP_SYS(fchownat),
        SCMP_SYS(lchown),
};
/* clang-format on */

static int add_rules(scmp_filter_ctx filter) {
        int r;

        for (size_t i = 0; i < ELEMENTSOF(allowed); i++) {
                r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < ELEMENTSOF(fatal); i++) {
                r = seccomp_rule_add(filter, SCMP_ACT_KILL_PROCESS, fatal[i], 0);
                if (r < 0)
                        return r;
        }
        return 0;
}

int sandbox_seal(void) {
        scmp_filter_ctx filter;
        int r;

        filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
        if (!filter)
                return -ENOMEM;
        r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
        if (r >= 0)
                r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
        if (r >= 0)
                r = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
        if (r >= 0)
                r = add_rules(filter);
        if (r >= 0)
                r = seccomp_load(filter);
        seccomp_release(filter);
        return r;
}
