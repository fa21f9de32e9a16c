/* SPDX-License-Identifier: Apache-2.0 */

/* image.list, image.pull, image.import, image.delete: hero-imaged's. */

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "rpcd/call-util.h"
#include "rpcd/image-jobs.h"
#include "rpcd/methods.h"
#include "shared/bus-util.h"
#include "shared/error-names.h"

/* hero-imaged may have to be started, and hero-computed be asked by it. */
#define CALL_TIMEOUT (60 * USEC_PER_SEC)

typedef struct ImageRow {
        const char *reference, *digest, *platform, *path;
        uint64_t size, created;
} ImageRow;

static int read_row(sd_bus_message *m, ImageRow *ret) {
        return sd_bus_message_read(m, "(ssstto)", &ret->reference, &ret->digest, &ret->platform, &ret->size, &ret->created, &ret->path);
}

static json_t *row_to_json(const ImageRow *i) {
        return json_pack("{s:s, s:s?, s:s?, s:I, s:o}", "reference", i->reference, "digest", i->digest[0] ? i->digest : NULL, "platform",
                         i->platform[0] ? i->platform : NULL, "size_bytes", (json_int_t) i->size, "created_at",
                         json_timestamp(i->created));
}

static sd_bus_message *message_new(Call *c, const char *member) {
        sd_bus_message *m = NULL;
        int r;

        r = sd_bus_message_new_method_call(c->rpcd->bus, &m, IMAGES_BUS_NAME, IMAGES_OBJECT, IMAGES_INTERFACE, member);
        if (r < 0)
                call_errno(c, r);
        return m;
}

static int on_list(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        Call *c = userdata;
        json_t *rows;
        ImageRow i;
        int r;

        if (call_failed(c, reply))
                return 0;
        rows = json_array();
        r = rows ? sd_bus_message_enter_container(reply, 'a', "(ssstto)") : -ENOMEM;
        while (r >= 0 && (r = read_row(reply, &i)) > 0)
                if (json_array_append_new(rows, row_to_json(&i)) < 0)
                        r = -ENOMEM;
        if (r >= 0)
                call_result(c, rows);
        else {
                json_decref(rows);
                call_errno(c, r);
        }
        return 0;
}

/* image.list (ACCESS_KNOWN): "Images that are here, one for each reference"
 * → ImageList [{ reference: string, digest: string|null, platform: string|null, size_bytes: integer, created_at: string|null }]
 * digest is null for the builtin busybox before its first use, platform for what was made from a root file system. */
void method_image_list(Call *c) {
        sd_bus_message *m = message_new(c, "List");

        if (m)
                call_bus(c, m, on_list, CALL_TIMEOUT);
}

static bool is_reference(const char *of_row, const char *asked) {
        return asked && (streq(of_row, asked) || streq_ptr(startswith(of_row, asked), ":latest"));
}

/* The image that a job made. */
static int on_made(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        Call *c = userdata;
        const char *digest = call_string(c, "digest");
        json_t *found = NULL;
        bool exact = false;
        ImageRow i;
        int r;

        if (call_failed(c, reply))
                return 0;
        r = sd_bus_message_enter_container(reply, 'a', "(ssstto)");
        while (r >= 0 && !exact && (r = read_row(reply, &i)) > 0)
                if (streq(i.digest, digest)) {
                        exact = is_reference(i.reference, call_string(c, "reference"));
                        if (!found || exact) {
                                json_decref(found);
                                found = row_to_json(&i);
                        }
                }
        if (found)
                call_result(c, found);
        else
                call_refuse(c, ERROR_NO_SUCH_IMAGE, "The image was removed meanwhile.");
        return 0;
}

static void on_job(Call *c, const sd_bus_error *error, const char *digest) {
        sd_bus_message *m;

        if (error) {
                call_bus_error(c, error);
                return;
        }
        if (json_object_set_new(c->params, "digest", json_string(digest)) < 0) {
                call_errno(c, -ENOMEM);
                return;
        }
        m = message_new(c, "List");
        if (m)
                call_bus(c, m, on_made, CALL_TIMEOUT);
}

static int append_options(sd_bus_message *m, const Call *c) {
        const char *platform = call_string(c, "platform");
        int r;

        r = sd_bus_message_open_container(m, 'a', "{sv}");
        if (r >= 0 && platform)
                r = sd_bus_message_append(m, "{sv}", "Platform", "s", platform);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

/* image.pull (ACCESS_ADMIN, changes): "Gets an image from its registry"
 *   reference  string (1 … 250), required: "[REGISTRY/]NAME[:TAG][@DIGEST]"
 *   platform   string (1 … 64): "linux/amd64 (the host's)"
 *   wait       boolean: "false: answer with the job at once (true)"
 * → Image (a member of ImageList), or JobStarted; its ids are "image-7" */
void method_image_pull(Call *c) {
        sd_bus_message *m = message_new(c, "Pull");
        int r;

        if (!m)
                return;
        r = sd_bus_message_append(m, "s", call_string(c, "reference"));
        if (r >= 0)
                r = append_options(m, c);
        if (r >= 0)
                image_jobs_call(c, m, on_job);
        else {
                sd_bus_message_unref(m);
                call_errno(c, r);
        }
}

/* "/tmp/My-App.tar.gz": "my-app" */
static char *reference_of_path(const char *path) {
        static const char *const endings[] = { ".gz", ".xz", ".bz2", ".zst", ".lz4", ".tgz", ".txz", ".tar" };
        const char *name = strrchr(path, '/');
        char *s = strdup(name ? name + 1 : path);

        for (size_t i = 0; s && i < ELEMENTSOF(endings); i++) {
                size_t n = strlen(s), k = strlen(endings[i]);

                if (n > k && streq(s + n - k, endings[i]))
                        s[n - k] = 0;
        }
        for (char *p = s; p && *p; p++)
                if (*p >= 'A' && *p <= 'Z')
                        *p = (char) (*p - 'A' + 'a');
        return s;
}

/* Where it was not given: audited and looked for, too. */
static int add_reference(Call *c) {
        _cleanup_free_ char *reference = NULL;

        if (call_string(c, "reference"))
                return 0;
        reference = reference_of_path(call_string(c, "path"));
        return reference ? json_object_set_new(c->params, "reference", json_string(reference)) : -ENOMEM;
}

/* What was asked for is opened with our rights, and only what can be read to an end. */
static int open_archive(Call *c, int *ret) {
        const char *path = call_string(c, "path");
        _cleanup_close_ int fd = -EBADF;
        struct stat st;

        if (path[0] != '/') {
                call_refuse(c, ERROR_INVALID_ARGUMENT, "'path' must be an absolute path.");
                return 0;
        }
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
        if (fd < 0 || fstat(fd, &st) < 0) {
                call_refuse(c, ERROR_INVALID_ARGUMENT, "hero-rpcd cannot open '%s': %m", path);
                return 0;
        }
        if (!S_ISREG(st.st_mode)) {
                call_refuse(c, ERROR_INVALID_ARGUMENT, "'%s' is not a regular file.", path);
                return 0;
        }
        *ret = TAKE_FD(fd);
        return 1;
}

/* image.import (ACCESS_ADMIN, changes): "Makes an image from a tar: a root file system, an OCI layout, or what docker save writes"
 *   path       string (1 … 4096), required: "Absolute path of a regular file that hero-rpcd may read; no symbolic link"
 *   reference  string (1 … 250): "NAME[:TAG] (the name of the file)"
 *   platform   string (1 … 64): "linux/amd64 (the host's)"
 *   wait       boolean: "false: answer with the job at once (true)"
 * → Image, or JobStarted */
void method_image_import(Call *c) {
        _cleanup_close_ int fd = -EBADF;
        sd_bus_message *m;
        int r;

        if (open_archive(c, &fd) <= 0)
                return;
        if (add_reference(c) < 0) {
                call_errno(c, -ENOMEM);
                return;
        }
        m = message_new(c, "Import");
        if (!m)
                return;
        r = sd_bus_message_append(m, "sh", call_string(c, "reference"), fd);
        if (r >= 0)
                r = append_options(m, c);
        if (r >= 0)
                image_jobs_call(c, m, on_job);
        else {
                sd_bus_message_unref(m);
                call_errno(c, r);
        }
}

static int on_removed(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        Call *c = userdata;

        if (!call_failed(c, reply))
                call_result(c, json_pack("{s:b, s:s}", "deleted", true, "reference", call_string(c, "reference")));
        return 0;
}

/* image.delete (ACCESS_ADMIN, changes): "Removes a reference and, with the last one, the image"
 *   reference  string (1 … 250), required: "NAME[:TAG], or a digest: all references of the image"
 * → ImageDeleted { deleted: true, reference: string } */
void method_image_delete(Call *c) {
        sd_bus_message *m = message_new(c, "Remove");
        int r;

        if (!m)
                return;
        r = sd_bus_message_append(m, "s", call_string(c, "reference"));
        if (r >= 0)
                call_bus(c, m, on_removed, CALL_TIMEOUT);
        else {
                sd_bus_message_unref(m);
                call_errno(c, r);
        }
}
