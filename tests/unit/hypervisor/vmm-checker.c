/* SPDX-License-Identifier: Apache-2.0 */

/* Plays the VMM in test-vmm-process.c: static, so that it needs nothing in its root, and writes to fd 3 what it
 * finds itself in, one "word: …" per line. Argument "complain": writes to stderr and fails. "wait": lives on
 * until fd 3 is closed on the other side. "memory": waits for a byte on fd 3 and writes what is in fd 4, its memory, instead. */

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "basic/macro.h"

static FILE *out;

static int compare(const struct dirent **a, const struct dirent **b) {
        return strcmp((*a)->d_name, (*b)->d_name);
}

static void list(const char *word, const char *path) {
        struct dirent **names;
        int n;

        fprintf(out, "%s:", word);
        n = scandir(path, &names, NULL, compare);
        for (int i = 0; i < n; i++) {
                if (names[i]->d_name[0] != '.')
                        fprintf(out, " %s", names[i]->d_name);
                free(names[i]);
        }
        fprintf(out, "\n");
        if (n >= 0)
                free(names);
}

static void list_fds(void) {
        fprintf(out, "fds:");
        for (int fd = 0; fd < 1024; fd++)
                if (fcntl(fd, F_GETFD) >= 0)
                        fprintf(out, " %d", fd);
        fprintf(out, "\n");
}

static void status(void) {
        char line[256];
        FILE *f;

        f = fopen("/proc/self/status", "re");
        if (!f)
                return;
        while (fgets(line, sizeof(line), f))
                if (strncmp(line, "Cap", 3) == 0 || strncmp(line, "NoNewPrivs", 10) == 0 ||
                    strncmp(line, "Seccomp:", 8) == 0 || strncmp(line, "Uid", 3) == 0 ||
                    strncmp(line, "Gid", 3) == 0 || strncmp(line, "Groups", 6) == 0)
                        fputs(line, out);
        fclose(f);
}

static void can(const char *word, long r) {
        fprintf(out, "%s: %s\n", word, r >= 0 ? "yes" : strerrorname_np(errno));
}

static void look_around(void) {
        struct rlimit rl = {};
        sigset_t blocked;

        list("root", "/");
        list("dev", "/dev");
        list("proc", "/proc");
        list("lib", "/usr/lib");
        list_fds();
        status();
        can("write", open("/new", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
        can("write-dev", mkdir("/dev/new", 0700));
        can("null", open("/dev/null", O_RDWR | O_CLOEXEC));
        can("socket", socket(AF_INET, SOCK_STREAM, 0));
        can("netlink", socket(AF_NETLINK, SOCK_RAW, 0));
        can("mount", mount("none", "/", "tmpfs", 0, NULL));
        can("unshare", syscall(SYS_unshare, 0x10000000 /* CLONE_NEWUSER */));
        can("ptrace", ptrace(PTRACE_TRACEME, 0, NULL, NULL));
        can("bpf", syscall(SYS_bpf, 0, NULL, 0));
        can("keyctl", syscall(SYS_keyctl, 0, 0, 0, 0, 0));
        (void) getrlimit(RLIMIT_CORE, &rl);
        fprintf(out, "core: %llu\n", (unsigned long long) rl.rlim_max);
        fprintf(out, "umask: %03o\n", umask(0));
        fprintf(out, "session: %s\n", getsid(0) == getpid() ? "own" : "other");
        sigemptyset(&blocked);
        (void) sigprocmask(SIG_BLOCK, NULL, &blocked);
        fprintf(out, "sigterm: %s\n",
                sigismember(&blocked, SIGTERM) || signal(SIGTERM, SIG_DFL) != SIG_DFL ? "blocked" : "default");
        for (char **e = environ; *e; e++)
                fprintf(out, "environment: %s\n", *e);
}

/* As a VMM has it: mapped, shared, to be written to. */
static int show_memory(void) {
        struct stat st;
        char *p, c;

        /* Not before it is told to, as it is loaded meanwhile. */
        if (read(3, &c, 1) != 1)
                return 0;
        if (fstat(4, &st) < 0)
                return 1;
        p = mmap(NULL, (size_t) st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, 4, 0);
        if (p == MAP_FAILED)
                return 2;
        for (const char *at = p; at < p + st.st_size;) {
                ssize_t n = write(3, at, (size_t) (p + st.st_size - at));

                if (n <= 0)
                        return 3;
                at += n;
        }
        return 0;
}

int main(int argc, char *argv[]) {
        char c;

        if (argc > 1 && strcmp(argv[1], "memory") == 0)
                return show_memory();

        if (argc > 1 && strcmp(argv[1], "complain") == 0) {
                fprintf(stderr, "first line\nchecker: disk \033[31mon\033[0m fire\n");
                return 3;
        }
        out = fdopen(3, "w");
        if (!out)
                return 1;
        look_around();
        fprintf(out, "end: of it\n");
        fflush(out);
        if (argc > 1 && strcmp(argv[1], "wait") == 0)
                while (read(3, &c, 1) > 0)
                        ;
        return 0;
}
