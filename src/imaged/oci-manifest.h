/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The JSON documents that an image consists of, as OCI and Docker (schema 2) write them: index, manifest,
 * configuration, and the manifest.json of "docker save". Pure and bounded: bytes in, values out. A registry
 * or whoever made the archive wrote them: what has the wrong type, is missing, too large or of a kind we do
 * not know is refused with a sentence, never guessed at. That bytes are those of a digest is for the caller
 * to have checked.
 *
 * All parsers return 0, -ENOMEM, or -EBADMSG with a sentence for people in *ret_why (clean, one line, ends
 * in "."). On failure *ret is untouched. Errors of another kind are named where they exist. */

#include "basic/macro.h"
#include "imaged/reference.h"

#define OCI_JSON_MAX (4u * 1024u * 1024u) /* of one document; registries have the same bound */
#define OCI_JSON_VALUES_MAX \
        32768u              /* values in it: what they need of memory is many times what they need as text */
#define OCI_INDEX_MAX 1024u /* images in an index */
#define OCI_LAYERS_MAX 128u
#define OCI_BLOB_SIZE_MAX (UINT64_C(64) << 30) /* as it is transferred */
#define OCI_PLATFORM_MAX 64u                   /* "linux/arm/v7" */

/* Entrypoint, cmd and env: entries of each, and bytes of all together: a VM's own (VM_STRINGS_MAX) have the
 * same bounds. */
#define OCI_STRINGS_MAX 256u
#define OCI_STRINGS_SIZE_MAX 24576u
#define OCI_LABELS_MAX 1024u
#define OCI_LABELS_SIZE_MAX (256u * 1024u)

typedef enum OciKind {
        OCI_INDEX,    /* of images for several platforms; a Docker "manifest list" */
        OCI_MANIFEST, /* of one image */
        OCI_OTHER,    /* only in descriptors: an artifact */
} OciKind;

typedef struct OciDescriptor {
        OciKind kind;                   /* what it points to, where that is an index or a manifest */
        char digest[DIGEST_LENGTH + 1]; /* "sha256:…" */
        uint64_t size;
} OciDescriptor;

typedef struct OciManifest {
        OciDescriptor config;
        OciDescriptor *layers; /* the lowest first */
        size_t n_layers;
        uint64_t layers_size; /* their sizes together */
} OciManifest;

typedef struct ImageConfig {
        char *platform; /* "linux/amd64", "linux/arm/v7" */
        char **entrypoint, **cmd;
        char **env;              /* NAME=VALUE, each name once (the last one counts) */
        char *user;              /* "", or as the image has it: USER[:GROUP], names or numbers */
        char *working_directory; /* "" or absolute */
        char *stop_signal;       /* "", or as the image has it: "SIGTERM", "TERM", "15", "SIGRTMIN+3" */
        char **labels;           /* KEY=VALUE, no "=" in a key */
        uint64_t created;        /* µs since 1970, 0: not known */
        char **diff_ids;         /* "sha256:…" of the uncompressed layers, the lowest first */
} ImageConfig;

/* What "docker save" put into manifest.json: names within the archive. */
typedef struct DockerArchive {
        char *config;  /* the configuration's JSON */
        char **layers; /* the lowest first; normally plain tars. May name one file twice. */
        char **tags;   /* as given at "docker save", may be empty */
} DockerArchive;

void oci_manifest_done(OciManifest *m);
void image_config_done(ImageConfig *c);
void docker_archive_done(DockerArchive *a);

/* "linux/amd64" of the machine this was compiled for. */
const char *oci_platform_native(void);

/* OS/ARCHITECTURE[/VARIANT], OS is linux. */
bool oci_platform_is_valid(const char *platform);

/* "linux/arm64" runs "linux/arm64/v8", "linux/arm" any of its variants, else both are the same. */
bool oci_platform_matches(const char *wanted, const char *platform);

/* Is it an index or a manifest? */
int oci_document_kind(const char *json, size_t n, OciKind *ret, char **ret_why);

/* Chooses from an index. platform: as oci_platform_is_valid(); an entry that does not say its platform fits
 * when it is the only one that could. tag: NULL, or what the annotation org.opencontainers.image.ref.name of
 * the entry must be, for the index.json of a layout (a whole reference there ends in ":" and the tag). *ret
 * may be an index again: a layout's index.json mostly points to one, indexes of registries may. The caller
 * bounds that (2). -ENOENT with a sentence: nothing in it for this platform, or of this tag. */
int oci_index_choose(const char *json, size_t n, const char *platform, const char *tag, OciDescriptor *ret,
                char **ret_why);

int oci_manifest_parse(const char *json, size_t n, OciManifest *ret, char **ret_why);
int oci_config_parse(const char *json, size_t n, ImageConfig *ret, char **ret_why);

/* tag: NULL, or which of several images; a whole reference or its tag. With NULL there must be one only.
 * -ENOENT: none. */
int docker_archive_parse(const char *json, size_t n, const char *tag, DockerArchive *ret, char **ret_why);

/* A configuration must have one diff_id for each layer; and be for a platform that wanted (NULL: any) can
 * run. -ENOENT with a sentence: it is not. */
int oci_config_check(const ImageConfig *c, size_t n_layers, const char *wanted, char **ret_why);
