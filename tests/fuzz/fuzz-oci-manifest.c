/* SPDX-License-Identifier: Apache-2.0 */

/* What a registry says an image is, given to every parser: a value within bounds, or a clean sentence. */

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "imaged/oci-manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool b) {
        if (!b)
                abort();
}

static bool ended(int r, char **why) {
        _cleanup_free_ char *owned = TAKE_PTR(*why);

        must(r >= 0 || ((r == -EBADMSG || r == -ENOENT) && owned && utf8_is_clean(owned, NULL)));
        return r >= 0;
}

static void index_and_manifest(const char *json, size_t size) {
        _cleanup_(oci_manifest_done) OciManifest m = {};
        OciDescriptor d;
        char *why = NULL;
        OciKind kind;

        (void) ended(oci_document_kind(json, size, &kind, &why), &why);
        if (ended(oci_index_choose(json, size, "linux/amd64", NULL, &d, &why), &why))
                must(digest_is_valid(d.digest) && d.kind != OCI_OTHER && d.size <= OCI_BLOB_SIZE_MAX);
        (void) ended(oci_index_choose(json, size, "linux/arm", "1", &d, &why), &why);
        if (ended(oci_manifest_parse(json, size, &m, &why), &why))
                must(m.n_layers > 0 && m.n_layers <= OCI_LAYERS_MAX && m.config.size <= OCI_JSON_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(docker_archive_done) DockerArchive a = {};
        _cleanup_(image_config_done) ImageConfig c = {};
        const char *json = (const char *) data;
        char *why = NULL;

        index_and_manifest(json, size);
        if (ended(oci_config_parse(json, size, &c, &why), &why)) {
                must(oci_platform_is_valid(c.platform) && strv_length(c.labels) <= OCI_LABELS_MAX);
                (void) ended(oci_config_check(&c, 1, "linux/amd64", &why), &why);
        }
        if (ended(docker_archive_parse(json, size, NULL, &a, &why), &why))
                must(a.config && a.layers);
        return 0;
}
