/* SPDX-License-Identifier: Apache-2.0 */

/* The manifest.json of "docker save", see oci-manifest.h. Pure. */

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "imaged/oci-json.h"
#include "imaged/oci-manifest.h"

#define DOCUMENT "The archive's manifest.json"
#define TAGS_MAX 1024u
#define IMAGES_MAX 1024u

void docker_archive_done(DockerArchive *a) {
        free(a->config);
        strv_free(a->layers);
        strv_free(a->tags);
        *a = (DockerArchive){};
}

static bool has_tag(char *const *tags, const char *tag) {
        STRV_FOREACH(t, tags) {
                size_t n = strlen(*t), k = strlen(tag);

                if (streq(*t, tag) || (n > k && (*t)[n - k - 1] == ':' && streq(*t + n - k, tag)))
                        return true;
        }
        return false;
}

static int read_image(json_t *j, DockerArchive *a, char **ret_why) {
        const char *config;
        int r;

        if (!json_is_object(j))
                return oci_refuse(-EBADMSG, ret_why, DOCUMENT " is not a list of images.");
        r = oci_json_string(j, "Config", DOCUMENT, &config, ret_why);
        if (r >= 0)
                r = oci_json_strings(j, "Layers", DOCUMENT, OCI_LAYERS_MAX, &a->layers, ret_why);
        if (r >= 0)
                r = oci_json_strings(j, "RepoTags", DOCUMENT, TAGS_MAX, &a->tags, ret_why);
        if (r < 0)
                return r;
        if (isempty(config) || !a->layers)
                return oci_refuse(-EBADMSG, ret_why,
                                DOCUMENT " names an image without configuration or layers.");
        return free_and_strdup(&a->config, config);
}

static int choose(json_t *images, const char *tag, DockerArchive *ret, char **ret_why) {
        json_t *image;
        size_t i;
        int r;

        json_array_foreach(images, i, image) {
                _cleanup_(docker_archive_done) DockerArchive a = {};

                r = read_image(image, &a, ret_why);
                if (r < 0)
                        return r;
                if (tag && !has_tag(a.tags, tag))
                        continue;
                *ret = a;
                a = (DockerArchive){};
                return 0;
        }
        return oci_refuse(-ENOENT, ret_why, "The archive holds no image of the tag \"%.128s\".",
                        strempty(tag));
}

int docker_archive_parse(const char *json, size_t n, const char *tag, DockerArchive *ret, char **ret_why) {
        _cleanup_json_ json_t *j = NULL;
        int r;

        r = oci_json_load(json, n, DOCUMENT, &j, ret_why);
        if (r < 0)
                return r;
        if (!json_is_array(j) || json_array_size(j) == 0 || json_array_size(j) > IMAGES_MAX)
                return oci_refuse(-EBADMSG, ret_why, DOCUMENT " is not a list of images.");
        if (!tag && json_array_size(j) > 1)
                return oci_refuse(-EBADMSG, ret_why, "The archive holds %zu images: the tag must say which.",
                                json_array_size(j));
        return choose(j, tag, ret, ret_why);
}
