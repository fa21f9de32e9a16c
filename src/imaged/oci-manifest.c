/* SPDX-License-Identifier: Apache-2.0 */

/* Indexes and manifests, see the header. Pure. */

#include "imaged/oci-manifest.h"

#include <stdio.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "imaged/oci-json.h"

#define DOCUMENT "The image's manifest"
#define INDEX "The image's index"
#define TAG_ANNOTATION "org.opencontainers.image.ref.name"

/* clang-format off */
static const char *const index_types[] = {
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
};

static const char *const manifest_types[] = {
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
};

static const char *const config_types[] = {
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.docker.container.image.v1+json",
};

/* What is said here about the compression is not relied upon: the bytes say it themselves, as for all other readers of
 * images. */
static const char *const layer_types[] = {
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "application/vnd.docker.image.rootfs.diff.tar.zstd",
};
/* clang-format on */

static bool is_one_of(const char *s, const char *const *types, size_t n) {
        for (size_t i = 0; i < n; i++)
                if (streq(s, types[i]))
                        return true;
        return false;
}
#define IS_ONE_OF(s, types) is_one_of((s), (types), ELEMENTSOF(types))

void oci_manifest_done(OciManifest *m) {
        free(m->layers);
        *m = (OciManifest){};
}

/* What it says it is, and what it looks like: when the two differ, two readers would see two images. */
static int document_kind(json_t *j, OciKind *ret, char **ret_why) {
        bool index = json_object_get(j, "manifests"),
             manifest = json_object_get(j, "layers") || json_object_get(j, "config");
        const char *type;
        json_t *version;
        int r;

        if (!json_is_object(j))
                return oci_refuse(-EBADMSG, ret_why, DOCUMENT " is not a JSON object.");
        r = oci_json_member(j, "schemaVersion", JSON_INTEGER, DOCUMENT, &version, ret_why);
        if (r >= 0)
                r = oci_json_string(j, "mediaType", DOCUMENT, &type, ret_why);
        if (r < 0)
                return r;
        if (json_integer_value(version) == 1)
                return oci_refuse(-EBADMSG, ret_why,
                                "The image has a manifest of Docker's old schema 1, which has been given up.");
        if (json_integer_value(version) != 2)
                return oci_refuse(-EBADMSG, ret_why, DOCUMENT " has no schemaVersion that is known.");
        if (index == manifest || (type && !IS_ONE_OF(type, index_types) && !IS_ONE_OF(type, manifest_types)))
                return oci_refuse(-EBADMSG, ret_why, DOCUMENT " is neither an index nor a manifest.");
        if (type && index != IS_ONE_OF(type, index_types))
                return oci_refuse(-EBADMSG, ret_why, DOCUMENT " is not what its mediaType says.");
        *ret = index ? OCI_INDEX : OCI_MANIFEST;
        return 0;
}

static int load_document(
                const char *json, size_t n, OciKind kind, const char *what, json_t **ret, char **ret_why) {
        _cleanup_json_ json_t *j = NULL;
        OciKind k;
        int r;

        r = oci_json_load(json, n, what, &j, ret_why);
        if (r >= 0)
                r = document_kind(j, &k, ret_why);
        if (r < 0)
                return r;
        if (k != kind)
                return oci_refuse(-EBADMSG, ret_why, "%s is an %s.", what,
                                k == OCI_INDEX ? "index" : "image's manifest");
        *ret = TAKE_PTR(j);
        return 0;
}

int oci_document_kind(const char *json, size_t n, OciKind *ret, char **ret_why) {
        _cleanup_json_ json_t *j = NULL;
        int r;

        r = oci_json_load(json, n, DOCUMENT, &j, ret_why);
        return r < 0 ? r : document_kind(j, ret, ret_why);
}

static OciKind kind_of_type(const char *type) {
        return IS_ONE_OF(type, index_types)      ? OCI_INDEX
               : IS_ONE_OF(type, manifest_types) ? OCI_MANIFEST
                                                 : OCI_OTHER;
}

/* Returns the media type in *ret_type, never NULL. */
static int read_descriptor(
                json_t *j, const char *what, OciDescriptor *ret, const char **ret_type, char **ret_why) {
        const char *digest, *type;
        json_t *size;
        int r;

        if (!json_is_object(j))
                return oci_refuse(-EBADMSG, ret_why, "%s refers to something that is not an object.", what);
        r = oci_json_string(j, "mediaType", what, &type, ret_why);
        if (r >= 0)
                r = oci_json_string(j, "digest", what, &digest, ret_why);
        if (r >= 0)
                r = oci_json_member(j, "size", JSON_INTEGER, what, &size, ret_why);
        if (r < 0)
                return r;
        if (!type || !digest || !size)
                return oci_refuse(-EBADMSG, ret_why,
                                "%s refers to something without mediaType, digest or size.", what);
        if (!digest_is_valid(digest))
                return oci_refuse(-EBADMSG, ret_why, "%s has the digest \"%.80s\", which is not a SHA-256.",
                                what, digest);
        if (json_integer_value(size) <= 0 || (uint64_t) json_integer_value(size) > OCI_BLOB_SIZE_MAX)
                return oci_refuse(-EBADMSG, ret_why, "%s refers to something of an impossible size.", what);
        *ret = (OciDescriptor){ .kind = kind_of_type(type), .size = (uint64_t) json_integer_value(size) };
        memcpy(ret->digest, digest, sizeof(ret->digest));
        *ret_type = type;
        return 0;
}

static int read_config(json_t *j, OciManifest *m, char **ret_why) {
        const char *type;
        json_t *config;
        int r;

        r = oci_json_member(j, "config", JSON_OBJECT, DOCUMENT, &config, ret_why);
        if (r < 0)
                return r;
        if (!config)
                return oci_refuse(-EBADMSG, ret_why, DOCUMENT " has no configuration.");
        r = read_descriptor(config, DOCUMENT, &m->config, &type, ret_why);
        if (r < 0)
                return r;
        if (!IS_ONE_OF(type, config_types))
                return oci_refuse(-EBADMSG, ret_why, "This is not a container image but \"%.100s\".", type);
        if (m->config.size > OCI_JSON_MAX)
                return oci_refuse(
                                -EBADMSG, ret_why, DOCUMENT " refers to a configuration that is too large.");
        return 0;
}

static int check_layer(json_t *j, const char *type, size_t i, char **ret_why) {
        json_t *urls;
        int r;

        r = oci_json_member(j, "urls", JSON_ARRAY, DOCUMENT, &urls, ret_why);
        if (r < 0)
                return r;
        if (json_array_size(urls) > 0 || strstr(type, "nondistributable") || strstr(type, ".foreign."))
                return oci_refuse(-EBADMSG, ret_why,
                                "Layer %zu of the image is a foreign one, to be fetched from elsewhere.",
                                i + 1);
        if (strstr(type, "+encrypted"))
                return oci_refuse(-EBADMSG, ret_why, "Layer %zu of the image is encrypted.", i + 1);
        if (!IS_ONE_OF(type, layer_types))
                return oci_refuse(-EBADMSG, ret_why,
                                "Layer %zu of the image is of the unknown type \"%.100s\".", i + 1, type);
        return 0;
}

static int read_layers(json_t *j, OciManifest *m, char **ret_why) {
        json_t *layers, *layer;
        const char *type;
        size_t i;
        int r;

        r = oci_json_member(j, "layers", JSON_ARRAY, DOCUMENT, &layers, ret_why);
        if (r < 0)
                return r;
        if (json_array_size(layers) == 0)
                return oci_refuse(-EBADMSG, ret_why, "The image has no layers.");
        if (json_array_size(layers) > OCI_LAYERS_MAX)
                return oci_refuse(-EBADMSG, ret_why, "The image has more than %u layers.", OCI_LAYERS_MAX);
        m->layers = new0(OciDescriptor, json_array_size(layers));
        if (!m->layers)
                return -ENOMEM;
        json_array_foreach(layers, i, layer) {
                r = read_descriptor(layer, DOCUMENT, &m->layers[i], &type, ret_why);
                if (r >= 0)
                        r = check_layer(layer, type, i, ret_why);
                if (r < 0)
                        return r;
                m->layers_size += m->layers[i].size; /* 128 × 64 GiB at most */
        }
        m->n_layers = json_array_size(layers);
        return 0;
}

int oci_manifest_parse(const char *json, size_t n, OciManifest *ret, char **ret_why) {
        _cleanup_(oci_manifest_done) OciManifest m = {};
        _cleanup_json_ json_t *j = NULL;
        int r;

        r = load_document(json, n, OCI_MANIFEST, DOCUMENT, &j, ret_why);
        if (r >= 0)
                r = read_config(j, &m, ret_why);
        if (r >= 0)
                r = read_layers(j, &m, ret_why);
        if (r < 0)
                return r;
        *ret = m;
        m = (OciManifest){};
        return 0;
}

/* Choosing from an index. */

typedef struct Choice {
        const char *platform, *tag;
        OciDescriptor best;
        int score;       /* 0: nothing yet */
        size_t n_silent; /* entries that do not say their platform */
        char *platforms; /* those that are there, for the sentence */
} Choice;

static int read_platform(json_t *entry, char buf[static OCI_PLATFORM_MAX + 1], char **ret_why) {
        const char *os, *architecture, *variant;
        json_t *j;
        int r;

        buf[0] = 0;
        r = oci_json_member(entry, "platform", JSON_OBJECT, INDEX, &j, ret_why);
        if (r < 0 || !j)
                return r;
        r = oci_json_string(j, "os", INDEX, &os, ret_why);
        if (r >= 0)
                r = oci_json_string(j, "architecture", INDEX, &architecture, ret_why);
        if (r >= 0)
                r = oci_json_string(j, "variant", INDEX, &variant, ret_why);
        if (r < 0)
                return r;
        r = snprintf(buf, OCI_PLATFORM_MAX + 1, "%s/%s%s%s", strempty(os), strempty(architecture),
                        isempty(variant) ? "" : "/", strempty(variant));
        if (!os || !architecture || r > (int) OCI_PLATFORM_MAX)
                return oci_refuse(-EBADMSG, ret_why, INDEX " has a platform that is none.");
        return 0;
}

/* Is the annotation the tag, or a reference that ends in it? */
static bool tag_matches(const char *name, const char *tag) {
        size_t n = strlen(name), k = strlen(tag);

        return streq(name, tag) || (n > k && name[n - k - 1] == ':' && streq(name + n - k, tag));
}

static int has_tag(json_t *entry, const char *tag, char **ret_why) {
        const char *name = NULL;
        json_t *annotations;
        int r;

        r = oci_json_member(entry, "annotations", JSON_OBJECT, INDEX, &annotations, ret_why);
        if (r >= 0 && annotations)
                r = oci_json_string(annotations, TAG_ANNOTATION, INDEX, &name, ret_why);
        if (r < 0)
                return r;
        return !tag || (name && tag_matches(name, tag));
}

/* 0: does not fit. */
static int platform_score(const char *wanted, const char *platform) {
        if (!*platform)
                return 1;
        if (streq(wanted, platform))
                return 3;
        return oci_platform_matches(wanted, platform) ? 2 : 0;
}

static int note_platform(Choice *c, const char *platform) {
        char *p;

        if (!*platform || streq(platform, "unknown/unknown") || (c->platforms && strlen(c->platforms) > 200))
                return 0;
        p = c->platforms ? strprintf("%s, %s", c->platforms, platform) : strdup(platform);
        if (!p)
                return -ENOMEM;
        free(c->platforms);
        c->platforms = p;
        return 0;
}

static int consider(Choice *c, json_t *entry, char **ret_why) {
        char platform[OCI_PLATFORM_MAX + 1];
        const char *type;
        OciDescriptor d;
        int r, score;

        r = read_descriptor(entry, INDEX, &d, &type, ret_why);
        if (r >= 0)
                r = read_platform(entry, platform, ret_why);
        if (r < 0)
                return r;
        r = has_tag(entry, c->tag, ret_why);
        /* Of what may be in an index besides images: signatures, attestations ("unknown/unknown"). */
        if (r <= 0 || d.kind == OCI_OTHER)
                return r;
        r = note_platform(c, platform);
        if (r < 0)
                return r;
        c->n_silent += !*platform;
        score = platform_score(c->platform, platform);
        /* The first one of equals, as everywhere else. */
        if (score > c->score) {
                c->score = score;
                c->best = d;
        }
        return 0;
}

static int nothing_chosen(const Choice *c, char **ret_why) {
        if (c->platforms)
                return oci_refuse(-ENOENT, ret_why, "There is no such image for %s (only for %s).",
                                c->platform, c->platforms);
        if (c->tag)
                return oci_refuse(
                                -ENOENT, ret_why, "There is no image of the tag \"%.128s\" in it.", c->tag);
        return oci_refuse(-ENOENT, ret_why, INDEX " names no image.");
}

static int choose(Choice *c, json_t *j, char **ret_why) {
        json_t *entries, *entry;
        size_t i;
        int r;

        r = oci_json_member(j, "manifests", JSON_ARRAY, INDEX, &entries, ret_why);
        if (r < 0)
                return r;
        if (json_array_size(entries) > OCI_INDEX_MAX)
                return oci_refuse(-EBADMSG, ret_why, INDEX " has more than %u entries.", OCI_INDEX_MAX);
        json_array_foreach(entries, i, entry) {
                r = consider(c, entry, ret_why);
                if (r < 0)
                        return r;
        }
        if (c->score == 0)
                return nothing_chosen(c, ret_why);
        if (c->score == 1 && c->n_silent > 1)
                return oci_refuse(-EBADMSG, ret_why, INDEX " names %zu images without their platforms%s.",
                                c->n_silent, c->tag ? " of this tag" : " or a tag to choose by");
        return 0;
}

int oci_index_choose(const char *json, size_t n, const char *platform, const char *tag, OciDescriptor *ret,
                char **ret_why) {
        Choice c = { .platform = platform, .tag = tag };
        _cleanup_json_ json_t *j = NULL;
        int r;

        r = load_document(json, n, OCI_INDEX, INDEX, &j, ret_why);
        if (r >= 0)
                r = choose(&c, j, ret_why);
        free(c.platforms);
        if (r < 0)
                return r;
        *ret = c.best;
        return 0;
}
