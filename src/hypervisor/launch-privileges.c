/* SPDX-License-Identifier: Apache-2.0 */

/* Limits and identity of a VMM. */

#include "hypervisor/launch.h"

#include <cap-ng.h>
#include <grp.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define NOFILE_MAX 4096u

static int limit(Launch *l, int resource, rlim_t value, const char *name) {
        struct rlimit rl;

        if (getrlimit(resource, &rl) < 0)
                return launch_failed(l, errno, "Cannot read the limit %s", name);
        /* Never above what we were given: raising needs CAP_SYS_RESOURCE, and nobody asked for more. */
        if (value < rl.rlim_max)
                rl.rlim_max = value;
        rl.rlim_cur = rl.rlim_max;
        if (setrlimit(resource, &rl) < 0)
                return launch_failed(l, errno, "Cannot set the limit %s", name);
        return 0;
}

int launch_limits(Launch *l) {
        int r;

        /* A core dump would hold the guest's memory. 1 and not 0: it is less than any dump, and unlike 0 it also
         * keeps the kernel from feeding the dump to a program (core_pattern "|…"), see core(5). */
        r = limit(l, RLIMIT_CORE, 1, "RLIMIT_CORE");
        if (r >= 0)
                r = limit(l, RLIMIT_NOFILE, NOFILE_MAX, "RLIMIT_NOFILE");
        return r;
}

/* A daemon that protects itself from the OOM killer must not protect its guests with it, and when memory runs
 * out, a guest is the better victim than what runs the host. Raising needs no privilege. */
int launch_raise_oom_score(Launch *l) {
        FILE *f = fopen("/proc/self/oom_score_adj", "we");

        if (!f)
                return launch_failed(l, errno, "Cannot open /proc/self/oom_score_adj");
        (void) fputs("100", f);
        if (fclose(f) != 0)
                return launch_failed(l, errno, "Cannot set the OOM score");
        return 0;
}

int launch_drop_bounding_set(void) {
        for (int c = 0; prctl(PR_CAPBSET_READ, c, 0, 0, 0) >= 0; c++)
                if (prctl(PR_CAPBSET_DROP, c, 0, 0, 0) < 0)
                        return negative_errno();
        return 0;
}

int launch_drop_privileges(Launch *l) {
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return launch_failed(l, errno, "Cannot set no_new_privs");
        if (setgroups(l->n_groups, l->groups) < 0)
                return launch_failed(l, errno, "Cannot leave the groups of the daemon");
        capng_clear(CAPNG_SELECT_ALL);
        if (capng_change_id((int) l->uid, (int) l->gid, CAPNG_CLEAR_AMBIENT) != 0)
                return launch_failed(l, errno ?: EPERM, "Cannot change to uid %u, gid %u without capabilities", l->uid,
                                     l->gid);
        /* Trust, and look: everything behind this rests on it. */
        if (capng_get_caps_process() != 0 || capng_have_capabilities(CAPNG_SELECT_ALL) != CAPNG_NONE ||
            getuid() != l->uid || geteuid() != l->uid || getgid() != l->gid || getgroups(0, NULL) != (int) l->n_groups)
                return launch_failed(l, EPERM, "The VMM would have kept privileges");
        return 0;
}
