/* SPDX-License-Identifier: Apache-2.0 */

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "basic/parse-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "bench.h"
#include "shared/bus-util.h"

#define USER_NAME "bench"
#define HAND_SCOPE "hero-bare-by-hand.scope"

static unsigned number(const char *s) {
        return (unsigned) strtoul(s, NULL, 10);
}

static bool yes(const char *s) {
        return streq(s, "yes");
}

static int clear(Client *c, unsigned first, unsigned count) {
        int r;

        r = client_run(c, &vm_delete, NULL, first, count, WIDTH_MAX / 2, NULL);
        return r < 0 ? r : client_settle(c, "hero-vm-bench-*.scope");
}

/* One at a time, in turns. */
static int verb_latency(Client *c, char **argv) {
        unsigned count = number(argv[0]);
        char name[64];
        int r = 0;

        c->no_network = !yes(argv[1]);
        for (unsigned i = 0; r >= 0 && i < count; i++) {
                r = client_run(c, &scope_create, "bare", i, 1, 1, NULL);
                if (r >= 0)
                        r = client_run(c, &vm_create_and_start, "ours", i, 1, 1, NULL);
                snprintf(name, sizeof(name), "bench-%u", i);
                if (r >= 0)
                        r = vm_report_phases(c, name);
        }
        if (r >= 0)
                r = scopes_clear(c);
        return r < 0 ? r : clear(c, 0, count);
}

/* COUNT of each, WIDTH in flight: what one took on average. */
static int verb_rate(Client *c, char **argv) {
        unsigned count = number(argv[0]), width = MIN2(number(argv[1]), WIDTH_MAX);
        CpuTimes before;
        uint64_t usec;
        int r;

        c->no_network = !yes(argv[2]);
        cpu_times(&before);
        r = client_run(c, &scope_create, NULL, 0, count, width, &usec);
        if (r < 0)
                return r;
        report("bare-each", usec / count);
        cpu_report("bare", &before, count);
        r = scopes_clear(c);
        if (r < 0)
                return r;
        cpu_times(&before);
        r = client_run(c, &vm_create_and_start, NULL, 0, count, width, &usec);
        if (r < 0)
                return r;
        report("ours-each", usec / count);
        cpu_report("ours", &before, count);
        return clear(c, 0, count);
}

static int verb_populate(Client *c, char **argv) {
        c->no_network = !yes(argv[1]);
        return client_run(c, &vm_create_and_start, NULL, 0, number(argv[0]), WIDTH_MAX / 2, NULL);
}

static int verb_clear(Client *c, char **argv) {
        return clear(c, 0, number(argv[0]));
}

static int reference(Client *c, const char *hypervisor, Pattern *ret) {
        pid_t pid;
        int r;

        r = user_provision(c, USER_NAME, hypervisor, 0, NULL);
        if (r >= 0)
                r = vm_get_pid(c, USER_NAME, &pid);
        return r < 0 ? r : pattern_new(pid, ret);
}

/* What the one before has left warm, in our processor and in that of whoever runs us, is not the next one's gain: the
 * same boot right after the end of another takes a tenth less. */
static void rest(void) {
        (void) sleep(1);
}

/* A user's VM from the call to the agent's "ready", and the same VMM by hand, in turns. */
static int verb_provision(Client *c, char **argv) {
        unsigned count = number(argv[1]);
        Pattern p;
        int r;

        r = reference(c, argv[0], &p);
        if (r < 0)
                return r;
        r = user_deprovision(c, USER_NAME);
        for (unsigned i = 0; r >= 0 && i < count; i++) {
                uint64_t usec;
                Vmm v;

                rest();
                r = vmm_boot(&p, &v);
                vmm_done(&v);
                if (r >= 0)
                        r = client_settle(c, "hero-vm-*.scope");
                rest();
                if (r >= 0)
                        r = user_provision(c, USER_NAME, argv[0], 0, &usec);
                if (r < 0)
                        break;
                report("ours", usec);
                r = vm_report_phases(c, USER_NAME);
                if (r >= 0)
                        r = user_deprovision(c, USER_NAME);
        }
        pattern_done(&p);
        return r;
}

static uint64_t since(uint64_t *t) {
        uint64_t now = now_usec(CLOCK_MONOTONIC), d = now - *t;

        *t = now;
        return d;
}

/* The kernel tells of changes in a cgroup at most every 10 ms (CGROUP_FILE_NOTIFY_MIN_INTV): PID 1 would wait for that when
 * a scope is thawed right after it was frozen, which nobody does. */
static void sleep_a_while(void) {
        (void) usleep(50000);
}

/* What the daemon has to do, without a daemon: the VMM's pause, PID 1's freeze, and back. */
static int by_hand(Client *c, Vmm *v) {
        uint64_t start = now_usec(CLOCK_MONOTONIC), t = start;
        int r;

        r = vmm_pause(v, true);
        report("hand-pause", since(&t));
        if (r >= 0)
                r = unit_call(c, "FreezeUnit", HAND_SCOPE);
        report("hand-freeze", since(&t));
        report("hand-suspend", t - start);
        sleep_a_while();
        start = t = now_usec(CLOCK_MONOTONIC);
        if (r >= 0)
                r = unit_call(c, "ThawUnit", HAND_SCOPE);
        report("hand-thaw", since(&t));
        if (r >= 0)
                r = vmm_pause(v, false);
        report("hand-cont", since(&t));
        report("hand-resume", t - start);
        sleep_a_while();
        return r;
}

static int ours(Client *c) {
        uint64_t usec;
        int r;

        r = vm_call(c, USER_NAME, "Suspend", &usec);
        if (r < 0)
                return r;
        report("suspend", usec);
        sleep_a_while();
        r = vm_call(c, USER_NAME, "Resume", &usec);
        if (r < 0)
                return r;
        report("resume", usec);
        sleep_a_while();
        return 0;
}

static int verb_suspend(Client *c, char **argv) {
        unsigned count = number(argv[1]);
        Vmm v = {};
        Pattern p;
        int r;

        r = reference(c, argv[0], &p);
        if (r < 0)
                return r;
        r = vmm_boot(&p, &v);
        if (r >= 0)
                r = vmm_greet(&v);
        if (r >= 0)
                r = scope_of_process(c, HAND_SCOPE, v.pid);
        for (unsigned i = 0; r >= 0 && i < count; i++) {
                r = by_hand(c, &v);
                if (r >= 0)
                        r = ours(c);
        }
        vmm_done(&v);
        pattern_done(&p);
        return r < 0 ? r : user_deprovision(c, USER_NAME);
}

/* VMs of an image that is here and of the built-in one, in turns; and the question itself. */
static int verb_image(Client *c, char **argv) {
        unsigned count = number(argv[1]);
        int r = 0;

        for (unsigned i = 0; r >= 0 && i < count; i++) {
                uint64_t usec;

                r = image_open(c, argv[0], &usec);
                if (r < 0)
                        break;
                report("open", usec);
                c->image = NULL;
                r = client_run(c, &vm_create_and_start, "create-builtin", 2 * i, 1, 1, NULL);
                c->image = argv[0];
                if (r >= 0)
                        r = client_run(c, &vm_create_and_start, "create-pulled", 2 * i + 1, 1, 1, NULL);
        }
        return r < 0 ? r : clear(c, 0, 2 * count);
}

static int restart(void) {
        int status;
        pid_t pid;

        pid = fork();
        if (pid == 0) {
                execl("/bin/systemctl", "systemctl", "restart", "hero-computed.service", NULL);
                _exit(127);
        }
        if (pid < 0 || waitpid(pid, &status, 0) < 0)
                return -errno;
        return status == 0 ? 0 : complain(0, "systemctl restart failed");
}

/* COUNT VMs there, all served again? */
static int verb_restart(Client *c, char **argv) {
        unsigned count = number(argv[0]), sample = number(argv[1]), n;
        uint64_t start = now_usec(CLOCK_MONOTONIC), t = start;
        int r;

        r = restart();
        if (r < 0)
                return r;
        report("restart-systemctl", since(&t));
        r = vms_count(c, &n);
        if (r < 0)
                return complain(r, "GetManagedObjects");
        if (n != count)
                return complain(0, "%u VMs of %u are there", n, count);
        report("restart-objects", since(&t));
        for (unsigned i = 0; r >= 0 && i < sample; i++) {
                char name[64];

                snprintf(name, sizeof(name), "bench-%u", i * (count / sample));
                r = vm_exec(c, name);
        }
        if (r < 0)
                return r;
        report("restart-execs", since(&t));
        report("restart-all", t - start);
        return 0;
}

static const struct {
        const char *name;
        int n_arguments;
        int (*run)(Client *c, char **argv);
} verbs[] = {
        { "latency", 2, verb_latency },     /* COUNT NETWORK */
        { "rate", 3, verb_rate },           /* COUNT WIDTH NETWORK */
        { "populate", 2, verb_populate },   /* COUNT NETWORK */
        { "clear", 1, verb_clear },         /* COUNT */
        { "provision", 2, verb_provision }, /* HYPERVISOR COUNT */
        { "suspend", 2, verb_suspend },     /* HYPERVISOR COUNT */
        { "restart", 2, verb_restart },     /* COUNT EXECS */
        { "image", 2, verb_image },         /* REFERENCE COUNT */
        { "sleep", 4, verb_sleep },         /* MEMORY-MIB USED-MIB COUNT quiet|- */
        { "network", 1, verb_network },     /* COUNT */
        { "rpc-load", 5, verb_rpc_load },   /* SOCKET BODY CONNECTIONS MSEC NAME */
        { "rpc-time", 4, verb_rpc_time },   /* SOCKET BODY COUNT NAME */
        { "rpc-mutation", 1, verb_rpc_mutation }, /* COUNT */
        { "rpc-objects", 1, verb_rpc_objects },   /* COUNT; does not return */
};

int main(int argc, char *argv[]) {
        _cleanup_(client_freep) Client *c = NULL;

        for (size_t i = 0; i < ELEMENTSOF(verbs); i++) {
                if (argc < 2 || !streq(argv[1], verbs[i].name) || argc != 2 + verbs[i].n_arguments)
                        continue;
                if (client_new(&c) < 0)
                        return EXIT_FAILURE;
                return verbs[i].run(c, argv + 2) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
        }
        fprintf(stderr, "hero-bench: run tools/bench/bench; this is its load\n");
        return EXIT_FAILURE;
}
