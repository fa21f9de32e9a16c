/* SPDX-License-Identifier: Apache-2.0 */

/* Kernel and initrd: the kernel is found by image/kernel.h, the initrd made (or found in its cache) by hero-mkinitrd in a
 * child. Both stay open until the kernel, its modules' directory or hero-init is another one than it was. */

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "compute/manager.h"
#include "compute/resources-internal.h"
#include "image/kernel.h"
#include "shared/child.h"
#include "shared/log.h"
#include "shared/program-path.h"

#define MKINITRD "hero-mkinitrd"
#define GUEST_INIT "hero-init"
#define CACHE_DIR STATEDIR "/boot"
#define MKINITRD_TIMEOUT (60 * USEC_PER_SEC)

void boot_files_done(Manager *m) {
        Resources *r = &m->resources;

        r->kernel_fd = safe_close(r->kernel_fd);
        r->initrd_fd = safe_close(r->initrd_fd);
        r->kernel_path = mfree(r->kernel_path);
        r->kernel_version = mfree(r->kernel_version);
        if (r->mkinitrd && TAILQ_EMPTY(&r->boot_waiting)) {
                child_free(r->mkinitrd);
                r->mkinitrd = NULL;
        }
}

/* Differs when one of the files does: their mtimes and sizes mixed. Not a security boundary, root owns them all. */
static uint64_t stamp_of(const Kernel *k) {
        _cleanup_free_ char *init = program_path(GUEST_INIT);
        const char *const paths[] = { k->path, k->modules_dir, strempty(init) };
        uint64_t stamp = 14695981039346656037u; /* FNV-1a */

        for (size_t i = 0; i < ELEMENTSOF(paths); i++) {
                struct stat st = {};

                (void) stat(paths[i], &st);
                stamp = (stamp ^ (uint64_t) st.st_mtim.tv_sec) * 1099511628211u;
                stamp = (stamp ^ (uint64_t) st.st_mtim.tv_nsec) * 1099511628211u;
                stamp = (stamp ^ (uint64_t) st.st_size) * 1099511628211u;
                stamp = (stamp ^ st.st_ino) * 1099511628211u;
        }
        return stamp;
}

/* The VMM opens what it gets once more, through /proc/self/fd and as its own uid. Some distributions hide their kernel
 * from everybody but root: such a file goes over as a sealed copy in memory, made once for all VMs. */
static int open_for_vmm(const char *path) {
        _cleanup_close_ int fd = -EBADF, copy = -EBADF;
        struct stat st;
        off_t offset = 0;

        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0)
                return negative_errno();
        if (st.st_mode & S_IROTH)
                return TAKE_FD(fd);
        copy = memfd_create("boot-file", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (copy < 0)
                return negative_errno();
        while (offset < st.st_size) {
                ssize_t n = sendfile(copy, fd, &offset, (size_t) (st.st_size - offset));

                if (n <= 0)
                        return n < 0 ? negative_errno() : -EIO;
        }
        if (fcntl(copy, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
                return negative_errno();
        return TAKE_FD(copy);
}

static void on_mkinitrd(int status, const char *output, void *userdata) {
        _cleanup_free_ char *path = NULL, *kernel = NULL, *text = NULL;
        Manager *m = userdata;
        Resources *r = &m->resources;
        const char *second;
        int error = 0;

        r->mkinitrd = NULL;
        /* The initrd, and the kernel as it is to be booted: unpacked where that is possible. */
        path = strndup(output, strcspn(output, "\n"));
        second = output + strcspn(output, "\n");
        second += *second == '\n';
        kernel = strndup(second, strcspn(second, "\n"));
        if (status != 0) {
                error = -ENOPKG;
                text = strprintf("hero-mkinitrd could not make the guest's initrd: %.300s", strempty(path));
        } else {
                r->kernel_fd = open_for_vmm(isempty(kernel) ? r->kernel_path : kernel);
                r->initrd_fd = open_for_vmm(strempty(path));
                if (r->kernel_fd < 0 || r->initrd_fd < 0) {
                        error = r->kernel_fd < 0 ? r->kernel_fd : r->initrd_fd;
                        text = strprintf("Cannot open the kernel %s or its initrd %s: %s.", r->kernel_path, strempty(path),
                                         strerror(-error));
                }
        }
        if (error < 0)
                boot_files_done(m);
        else
                log_debug("Guests boot %s as %s with %s.", r->kernel_path, strempty(kernel), path);
        resources_wake(&r->boot_waiting, error, text);
}

static int boot_files_make(Manager *m, const Kernel *k, char **ret_text) {
        _cleanup_free_ char *mkinitrd = program_path(MKINITRD), *init = program_path(GUEST_INIT);
        Resources *r = &m->resources;
        char *argv[] = {
                mkinitrd, (char *) "--kernel-version", k->version, (char *) "--modules-dir", k->modules_dir,
                (char *) "--init", init, (char *) "--cache-dir", (char *) CACHE_DIR,
                (char *) "--kernel", k->path, NULL,
        };
        int error;

        if (!mkinitrd || !init)
                return -ENOMEM;
        boot_files_done(m);
        if (free_and_strdup(&r->kernel_path, k->path) < 0 || free_and_strdup(&r->kernel_version, k->version) < 0)
                return -ENOMEM;
        r->kernel_stamp = stamp_of(k);
        if (mkdirat(m->state_fd, "boot", 0700) < 0 && errno != EEXIST)
                return negative_errno();
        error = child_run(m->event, argv, -EBADF, MKINITRD_TIMEOUT, on_mkinitrd, m, &r->mkinitrd);
        if (error < 0)
                *ret_text = strprintf("Cannot run %s: %s.", mkinitrd, strerror(-error));
        return error;
}

int resources_need_boot(Vm *vm, int *ret_kernel_fd, int *ret_initrd_fd, char **ret_text) {
        Manager *m = vm->manager;
        Resources *r = &m->resources;
        _cleanup_(kernel_done) Kernel k = {};
        int error;

        if (!r->mkinitrd) {
                error = kernel_find(m->config.kernel, m->config.kernel_modules, kernel_default_roots, &k, ret_text);
                if (error < 0)
                        return error;
                if (r->initrd_fd >= 0 && streq_ptr(r->kernel_path, k.path) && r->kernel_stamp == stamp_of(&k)) {
                        *ret_kernel_fd = r->kernel_fd;
                        *ret_initrd_fd = r->initrd_fd;
                        return 1;
                }
                error = boot_files_make(m, &k, ret_text);
                if (error < 0)
                        return error;
        }
        resources_wait(vm, &r->boot_waiting);
        return 0;
}
