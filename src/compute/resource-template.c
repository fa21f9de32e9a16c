/* SPDX-License-Identifier: Apache-2.0 */

/* Overlay templates: one per disk size, made by mke2fs in a child, kept open; see storage/overlay.h. */

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "basic/time-util.h"
#include "compute/manager.h"
#include "compute/resources-internal.h"
#include "shared/child.h"
#include "storage/overlay.h"

#define MKFS_TIMEOUT (5 * 60 * USEC_PER_SEC)

struct Template {
        TAILQ_ENTRY(Template) templates;
        Manager *manager;
        uint64_t size;
        int fd;       /* open for reading; -EBADF: being made */
        int new_fd;   /* while mke2fs writes */
        Child *mkfs;
        VmQueue waiting;
};

static Template *template_free(Template *t) {
        TAILQ_REMOVE(&t->manager->resources.templates, t, templates);
        t->manager->resources.n_templates--;
        child_free(t->mkfs);
        safe_close(t->fd);
        safe_close(t->new_fd);
        return mfree(t);
}

void templates_done(Manager *m) {
        while (!TAILQ_EMPTY(&m->resources.templates))
                template_free(TAILQ_FIRST(&m->resources.templates));
}

static Template *template_new(Manager *m, uint64_t size) {
        Template *t, *last;

        t = new(Template, 1);
        if (!t)
                return NULL;
        *t = (Template) { .manager = m, .size = size, .fd = -EBADF, .new_fd = -EBADF };
        TAILQ_INIT(&t->waiting);
        TAILQ_INSERT_HEAD(&m->resources.templates, t, templates);
        m->resources.n_templates++;
        last = TAILQ_LAST(&m->resources.templates, Templates);
        if (m->resources.n_templates > TEMPLATE_CACHE_MAX && last->fd >= 0)
                template_free(last);
        return t;
}

static void on_mkfs(int status, const char *output, void *userdata) {
        _cleanup_free_ char *text = NULL;
        VmQueue waiting = TAILQ_HEAD_INITIALIZER(waiting);
        Template *t = userdata;
        int r;

        t->mkfs = NULL;
        if (status != 0) {
                r = -EIO;
                text = strprintf("mke2fs could not make a disk of %llu MiB (status %i): %.200s", (unsigned long long) t->size >> 20,
                                 status, output);
        } else {
                r = overlay_template_publish(t->new_fd, t->manager->templates_fd, t->size);
                if (r >= 0)
                        r = t->fd = overlay_template_open(t->manager->templates_fd, t->size);
                if (r < 0)
                        text = strprintf("Cannot keep the disk template: %s.", strerror(-r));
        }
        t->new_fd = safe_close(t->new_fd);
        TAILQ_CONCAT(&waiting, &t->waiting, waiting);
        for (Vm *vm = TAILQ_FIRST(&waiting); vm; vm = TAILQ_NEXT(vm, waiting))
                vm->waiting_queue = &waiting;
        if (r < 0)
                template_free(t);
        resources_wake(&waiting, r < 0 ? r : 0, text);
}

static int template_make(Template *t, char **ret_text) {
        _cleanup_strv_free_ char **argv = NULL;
        int r;

        t->new_fd = overlay_template_new(t->manager->templates_fd, t->size);
        if (t->new_fd < 0) {
                *ret_text = strprintf("Cannot make a disk of %llu MiB: %s.", (unsigned long long) t->size >> 20,
                                      strerror(-t->new_fd));
                return t->new_fd;
        }
        argv = overlay_mkfs_argv(3, t->size);
        if (!argv)
                return -ENOMEM;
        r = child_run(t->manager->event, argv, t->new_fd, MKFS_TIMEOUT, on_mkfs, t, &t->mkfs);
        if (r < 0)
                *ret_text = strprintf("Cannot run %s: %s. Is e2fsprogs installed?", argv[0], strerror(-r));
        return r;
}

int resources_need_template(Vm *vm, uint64_t size, int *ret_fd, char **ret_text) {
        Manager *m = vm->manager;
        Template *t;
        int r;

        TAILQ_FOREACH(t, &m->resources.templates, templates)
                if (t->size == size)
                        break;
        if (!t) {
                t = template_new(m, size);
                if (!t)
                        return -ENOMEM;
                t->fd = overlay_template_open(m->templates_fd, size);
                if (t->fd < 0) {
                        r = t->fd == -ENOENT ? template_make(t, ret_text) : t->fd;
                        if (r < 0) {
                                template_free(t);
                                return r;
                        }
                }
        }
        if (t->fd >= 0) {
                *ret_fd = t->fd;
                return 1;
        }
        resources_wait(vm, &t->waiting);
        return 0;
}
