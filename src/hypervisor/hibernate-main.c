/* SPDX-License-Identifier: Apache-2.0 */

/* hero-hibernate: writes the memory of a guest whose VMM is gone to the disk, beside the daemon and out of everybody's way.
 * Exit status 0: the image is there and would survive a power cut; else an errno, and why in one sentence on stdout. SIGTERM
 * ends it soon (the guest is wanted again), and then there is no file either.
 *
 *     hero-hibernate FILE ID VMM VERSION      3: the memory, 4: the state of the devices, 5: the directory of FILE */

#include <cap-ng.h>
#include <fcntl.h>
#include <linux/ioprio.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "hypervisor/memory-image.h"

static volatile sig_atomic_t terminated;

static void on_term(int signal) {
        terminated = true;
}

/* Nobody waits for us. What cannot be had is done without. */
static void be_humble(void) {
        static const struct sched_param param = {};
        int fd;

        /* All it needs is open, and it reads what a guest wrote. */
        capng_clear(CAPNG_SELECT_CAPS);
        (void) capng_apply(CAPNG_SELECT_CAPS);
        (void) prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        /* The daemon is spared, and we are not the daemon. */
        fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
        if (fd >= 0) {
                (void) write_all(fd, "0", 1);
                safe_close(fd);
        }
        (void) sched_setscheduler(0, SCHED_IDLE, &param);
        (void) syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0));
}

int main(int argc, char *argv[]) {
        const struct sigaction action = { .sa_handler = on_term }; /* no SA_RESTART: what waits is to end */
        _cleanup_free_ char *why = NULL;
        int r;

        if (argc != 5 || isempty(argv[1]) || strchr(argv[1], '/')) {
                printf("%s is started by hero-computed.\n", argv[0]);
                return EINVAL;
        }
        (void) sigaction(SIGTERM, &action, NULL);
        be_humble();
        r = memory_image_write(&(const MemoryImageSource) {
                .memory_fd = MEMORY_IMAGE_CHILD_MEMORY_FD,
                .state_fd = MEMORY_IMAGE_CHILD_STATE_FD,
                .id = argv[2],
                .vmm = argv[3],
                .version = argv[4],
        }, MEMORY_IMAGE_CHILD_DIRECTORY_FD, argv[1], &terminated, &why);
        if (r < 0)
                puts(why ?: strerror(-r));
        return -r;
}
