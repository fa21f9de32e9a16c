/* SPDX-License-Identifier: Apache-2.0 */

/* Images in archives, see the header. Owned by an import. */

#include "imaged/archive-image.h"

#include <stdio.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "imaged/document.h"

#define INDEXES_MAX 3u /* index.json is one */

void archive_index_done(ArchiveIndex *x) {
        for (size_t i = 0; i < x->n; i++)
                free(x->entries[i].name);
        free(x->entries);
        *x = (ArchiveIndex) {};
}

int archive_index_add(ArchiveIndex *x, const WorkerLine *line) {
        char *name;

        if (x->n >= WORKER_ENTRIES_MAX)
                return -E2BIG;
        name = strdup(line->name);
        if (!name || !GREEDY_REALLOC(x->entries, x->n_allocated, x->n + 1)) {
                free(name);
                return -ENOMEM;
        }
        x->entries[x->n++] = (ArchiveEntry) { .offset = line->offset, .size = line->bytes, .name = name };
        return 0;
}

void archive_image_done(ArchiveImage *i) {
        image_config_done(&i->config);
        oci_manifest_done(&i->manifest);
        free(i->layers);
        *i = (ArchiveImage) {};
}

/* The last one of the name, as whoever unpacks a tar has it. */
static const ArchiveEntry *find(const ArchiveIndex *x, const char *name) {
        for (size_t i = x->n; i-- > 0;)
                if (streq(x->entries[i].name, name))
                        return x->entries + i;
        return NULL;
}

static const ArchiveEntry *find_blob(const ArchiveIndex *x, const char *digest) {
        char name[sizeof("blobs/sha256/") + DIGEST_HEX_LENGTH];

        (void) snprintf(name, sizeof(name), "blobs/sha256/%s", digest + strlen(DIGEST_PREFIX));
        return find(x, name);
}

_printf_(3, 4) static int refuse(char **ret_why, int error, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        if (vasprintf(ret_why, format, ap) < 0) {
                *ret_why = NULL;
                error = -ENOMEM;
        }
        va_end(ap);
        return error;
}

static int read_entry(int fd, const ArchiveEntry *e, char **ret, size_t *ret_n, char **ret_why) {
        int r;

        r = document_read(fd, e->offset, e->size, ret, ret_n);
        if (r == -E2BIG)
                return refuse(ret_why, -EBADMSG, "%s in the archive is larger than such a document may be.", e->name);
        if (r < 0 && r != -ENOMEM)
                return refuse(ret_why, r, "%s in the archive cannot be read: %s.", e->name, strerror(-r));
        return r;
}

/* A document by digest and size. */
static int read_blob(int fd, const ArchiveIndex *x, const OciDescriptor *d, char **ret, size_t *ret_n, char **ret_why) {
        const ArchiveEntry *e = find_blob(x, d->digest);
        char digest[DIGEST_LENGTH + 1];
        int r;

        if (!e)
                return refuse(ret_why, -EBADMSG, "The archive does not have %s, which it refers to.", d->digest);
        r = read_entry(fd, e, ret, ret_n, ret_why);
        if (r >= 0)
                r = document_digest(*ret, *ret_n, digest);
        if (r < 0)
                return r;
        if (e->size != d->size || !streq(digest, d->digest))
                return refuse(ret_why, -EBADMSG, "%s in the archive is not what its name says.", d->digest);
        return 0;
}

/* From index.json on to a manifest; its text is in *ret. */
static int find_manifest(int fd, const ArchiveIndex *x, const char *tag, const char *platform, OciDescriptor *d, char **ret,
                size_t *ret_n, char **ret_why) {
        _cleanup_free_ char *json = NULL;
        size_t n;
        int r;

        r = read_entry(fd, find(x, "index.json"), &json, &n, ret_why);
        if (r < 0)
                return r;
        r = oci_index_choose(json, n, platform, tag, d, ret_why);
        if (r == -ENOENT && tag) {
                *ret_why = mfree(*ret_why);
                r = oci_index_choose(json, n, platform, NULL, d, ret_why);
        }
        for (unsigned i = 1; r >= 0; i++) {
                char *text = NULL;

                r = read_blob(fd, x, d, &text, &n, ret_why);
                free(json);
                json = text;
                if (r < 0 || d->kind != OCI_INDEX)
                        break;
                if (i >= INDEXES_MAX)
                        return refuse(ret_why, -EBADMSG, "It is an index of indexes of indexes.");
                r = oci_index_choose(json, n, platform, NULL, d, ret_why);
        }
        if (r < 0)
                return r;
        *ret = TAKE_PTR(json);
        *ret_n = n;
        return 0;
}

static int add_layer(ArchiveImage *i, const ArchiveEntry *e, int fd, const char *digest) {
        const size_t k = i->n_layers++;

        i->layers[k] = (LayerBlob) {
                .fd = fd, .offset = e->offset, .size = e->size, .digest = digest, .diff_id = i->config.diff_ids[k]
        };
        i->size += e->size;
        return 0;
}

static int read_layout(int fd, const ArchiveIndex *x, const char *tag, const char *platform, ArchiveImage *i,
                char **ret_why) {
        _cleanup_free_ char *manifest = NULL, *config = NULL;
        OciDescriptor d = {};
        size_t n;
        int r;

        r = find_manifest(fd, x, tag, platform, &d, &manifest, &n, ret_why);
        if (r >= 0)
                r = oci_manifest_parse(manifest, n, &i->manifest, ret_why);
        if (r >= 0)
                r = read_blob(fd, x, &i->manifest.config, &config, &n, ret_why);
        if (r >= 0)
                r = oci_config_parse(config, n, &i->config, ret_why);
        if (r >= 0)
                r = oci_config_check(&i->config, i->manifest.n_layers, platform, ret_why);
        if (r < 0)
                return r;
        strcpy(i->digest, d.digest);
        i->layers = new0(LayerBlob, i->manifest.n_layers);
        if (!i->layers)
                return -ENOMEM;
        for (size_t k = 0; k < i->manifest.n_layers; k++) {
                const OciDescriptor *l = i->manifest.layers + k;
                const ArchiveEntry *e = find_blob(x, l->digest);

                if (!e || e->size != l->size)
                        return refuse(ret_why, -EBADMSG, "The archive does not have the layer %s as it is described.",
                                        l->digest);
                (void) add_layer(i, e, fd, l->digest);
        }
        return 0;
}

static int read_docker(int fd, const ArchiveIndex *x, const char *tag, const char *platform, ArchiveImage *i,
                char **ret_why) {
        _cleanup_(docker_archive_done) DockerArchive a = {};
        _cleanup_free_ char *manifest = NULL, *config = NULL;
        const ArchiveEntry *e;
        size_t n;
        int r;

        r = read_entry(fd, find(x, "manifest.json"), &manifest, &n, ret_why);
        if (r < 0)
                return r;
        r = docker_archive_parse(manifest, n, tag, &a, ret_why);
        if (r == -ENOENT && tag) {
                *ret_why = mfree(*ret_why);
                r = docker_archive_parse(manifest, n, NULL, &a, ret_why);
        }
        if (r < 0)
                return r;
        e = find(x, a.config);
        if (!e)
                return refuse(ret_why, -EBADMSG, "The archive does not have the configuration that it refers to.");
        r = read_entry(fd, e, &config, &n, ret_why);
        if (r >= 0)
                r = document_digest(config, n, i->digest);
        if (r >= 0)
                r = oci_config_parse(config, n, &i->config, ret_why);
        if (r >= 0)
                r = oci_config_check(&i->config, strv_length(a.layers), platform, ret_why);
        if (r < 0)
                return r;
        i->layers = new0(LayerBlob, strv_length(a.layers));
        if (!i->layers)
                return -ENOMEM;
        STRV_FOREACH(layer, a.layers) {
                e = find(x, *layer);
                if (!e)
                        return refuse(ret_why, -EBADMSG, "The archive does not have a layer that it refers to.");
                (void) add_layer(i, e, fd, NULL);
        }
        return 0;
}

int archive_image_read(int fd, const ArchiveIndex *x, const char *tag, const char *platform, ArchiveImage *ret,
                char **ret_why) {
        _cleanup_(archive_image_done) ArchiveImage i = {};
        int r;

        *ret_why = NULL;
        if (find(x, "oci-layout") && !find(x, "index.json"))
                r = refuse(ret_why, -EBADMSG, "The archive is an image layout without a file index.json.");
        else if (find(x, "oci-layout"))
                r = read_layout(fd, x, tag, platform, &i, ret_why);
        else if (find(x, "manifest.json"))
                r = read_docker(fd, x, tag, platform, &i, ret_why);
        else
                return -ENODATA;
        if (r < 0)
                return r;
        *ret = i;
        i = (ArchiveImage) {};
        return 0;
}
