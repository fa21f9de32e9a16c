/* SPDX-License-Identifier: Apache-2.0 */

/* An image's JSON documents: what is taken from good ones, and the sentence for each bad one. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "imaged/oci-manifest.h"

#define A64 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B64 "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define C64 "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
#define OCI_MANIFEST_TYPE "application/vnd.oci.image.manifest.v1+json"
#define OCI_INDEX_TYPE "application/vnd.oci.image.index.v1+json"
#define LAYER_TYPE "application/vnd.oci.image.layer.v1.tar"
#define CONFIG "'config':{'mediaType':'application/vnd.oci.image.config.v1+json','digest':'sha256:" A64 "','size':1234}"
#define LAYER(type) "{'mediaType':'" type "','digest':'sha256:" B64 "','size':5678}"
#define MANIFEST(layers) "{'schemaVersion':2," CONFIG ",'layers':[" layers "]}"
#define ENTRY(hex, platform) "{'mediaType':'" OCI_MANIFEST_TYPE "','digest':'sha256:" hex "','size':7" platform "}"
#define PLATFORM(rest) ",'platform':{'os':'linux','architecture':" rest "}"
#define INDEX(entries) "{'schemaVersion':2,'manifests':[" entries "]}"
#define IMAGE(config) "{'os':'linux','architecture':'amd64','rootfs':{'type':'layers','diff_ids':[]},'config':" config "}"

/* JSON is easier read in C with the other quotes. */
static char *quoted(const char *s) {
        char *copy = strdup(s);

        assert_non_null(copy);
        for (char *p = copy; *p; p++)
                if (*p == '\'')
                        *p = '"';
        return copy;
}

static int manifest_of(const char *s, OciManifest *ret, char **ret_why) {
        _cleanup_free_ char *json = quoted(s);

        return oci_manifest_parse(json, strlen(json), ret, ret_why);
}

static int config_of(const char *s, ImageConfig *ret, char **ret_why) {
        _cleanup_free_ char *json = quoted(s);

        return oci_config_parse(json, strlen(json), ret, ret_why);
}

static int archive_of(const char *s, const char *tag, DockerArchive *ret, char **ret_why) {
        _cleanup_free_ char *json = quoted(s);

        return docker_archive_parse(json, strlen(json), tag, ret, ret_why);
}

static void assert_refused(const char *input, int r, int error, char *why, const char *part) {
        _cleanup_free_ char *owned = why;

        if (r != error || !why || !strstr(why, part))
                fail_msg("%s\n gave %d \"%s\", not \"%s\"", input, r, strna(why), part);
        assert_true(utf8_is_clean(why, NULL));
        assert_int_equal(why[strlen(why) - 1], '.');
}

static void manifest_refused(const char *s, const char *part) {
        OciManifest m = {};
        char *why = NULL;
        int r = manifest_of(s, &m, &why);

        assert_refused(s, r, -EBADMSG, why, part);
        assert_null(m.layers);
}

static void config_refused(const char *s, const char *part) {
        ImageConfig c = {};
        char *why = NULL;
        int r = config_of(s, &c, &why);

        assert_refused(s, r, -EBADMSG, why, part);
        assert_null(c.platform);
}

/* With why == NULL: must be chosen. */
static void choose(const char *s, const char *platform, const char *tag, const char *expected) {
        _cleanup_free_ char *json = quoted(s), *why = NULL;
        OciDescriptor d;
        int r;

        r = oci_index_choose(json, strlen(json), platform, tag, &d, &why);
        if (r < 0)
                fail_msg("%s: %s", s, strna(why));
        assert_string_equal(d.digest, expected);
}

static void choose_refused(const char *s, const char *platform, const char *tag, int error, const char *part) {
        _cleanup_free_ char *json = quoted(s);
        OciDescriptor d;
        char *why = NULL;
        int r;

        r = oci_index_choose(json, strlen(json), platform, tag, &d, &why);
        assert_refused(s, r, error, why, part);
}

static void a_manifest_names_configuration_and_layers(void **state) {
        _cleanup_(oci_manifest_done) OciManifest m = {};
        char *why = NULL;

        assert_int_equal(manifest_of("{'schemaVersion':2,'mediaType':'" OCI_MANIFEST_TYPE "'," CONFIG
                                     ",'layers':[" LAYER(LAYER_TYPE "+gzip") "," LAYER("application/vnd.docker.image.rootfs."
                                                                                       "diff.tar.gzip") "],'annotations':{}}",
                                         &m, &why),
                        0);
        assert_string_equal(m.config.digest, "sha256:" A64);
        assert_int_equal(m.config.size, 1234);
        assert_int_equal(m.n_layers, 2);
        assert_string_equal(m.layers[0].digest, "sha256:" B64);
        assert_int_equal(m.layers_size, 2 * 5678);
}

static void bad_manifests_are_refused(void **state) {
        static const struct {
                const char *json, *sentence;
        } bad[] = {
                { "", "is not valid JSON" },
                { "[]", "is not a JSON object" },
                { "{'schemaVersion':2,'schemaVersion':2}", "duplicate object key" },
                { "{'schemaVersion':1,'fsLayers':[]}", "Docker's old schema 1" },
                { "{'schemaVersion':'2'}", "\"schemaVersion\" that is not a whole number" },
                { "{'schemaVersion':2.0}", "\"schemaVersion\" that is not a whole number" },
                { "{}", "no schemaVersion that is known" },
                { "{'schemaVersion':2}", "neither an index nor a manifest" },
                { "{'schemaVersion':2,'manifests':[]}", "is an index." },
                { "{'schemaVersion':2,'manifests':[]," CONFIG ",'layers':[]}", "neither an index nor a manifest" },
                { "{'schemaVersion':2,'mediaType':'text/plain'," CONFIG ",'layers':[]}", "neither an index nor a manifest" },
                { "{'schemaVersion':2,'mediaType':'" OCI_INDEX_TYPE "'," CONFIG "}", "not what its mediaType says" },
                { MANIFEST(""), "no layers" },
                { "{'schemaVersion':2,'layers':[" LAYER(LAYER_TYPE) "]}", "has no configuration" },
                { "{'schemaVersion':2,'config':[],'layers':[]}", "\"config\" that is not an object" },
                { "{'schemaVersion':2,'config':{'mediaType':'application/vnd.cncf.helm.config.v1+json','digest':'sha256:" A64
                  "','size':2},'layers':[]}",
                  "not a container image but \"application/vnd.cncf.helm.config.v1+json\"" },
                { "{'schemaVersion':2,'config':{'mediaType':'application/vnd.oci.image.config.v1+json','digest':'sha256:" A64
                  "','size':99999999},'layers':[]}",
                  "a configuration that is too large" },
                { MANIFEST("7"), "something that is not an object" },
                { MANIFEST("{}"), "without mediaType, digest or size" },
                { MANIFEST("{'mediaType':'" LAYER_TYPE "','digest':'sha512:00','size':1}"), "not a SHA-256" },
                { MANIFEST("{'mediaType':'" LAYER_TYPE "','digest':'sha256:../../etc','size':1}"), "not a SHA-256" },
                { MANIFEST("{'mediaType':'" LAYER_TYPE "','digest':'sha256:" B64 "','size':-1}"), "impossible size" },
                { MANIFEST("{'mediaType':'" LAYER_TYPE "','digest':'sha256:" B64 "','size':0}"), "impossible size" },
                { MANIFEST("{'mediaType':'" LAYER_TYPE "','digest':'sha256:" B64 "','size':'5'}"),
                  "\"size\" that is not a whole number" },
                { MANIFEST("{'mediaType':'" LAYER_TYPE "','digest':'sha256:" B64 "','size':9223372036854775807}"),
                  "impossible size" },
                { MANIFEST("{'mediaType':'" LAYER_TYPE "','digest':'sha256:" B64 "','size':92233720368547758070}"),
                  "too big integer" },
                { MANIFEST(LAYER("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip")), "Layer 1 of the image is a foreign" },
                { MANIFEST(LAYER("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")), "is a foreign one" },
                { MANIFEST("{'mediaType':'" LAYER_TYPE "','digest':'sha256:" B64 "','size':1,'urls':['http://x/']}"), "is a foreign one" },
                { MANIFEST(LAYER(LAYER_TYPE) "," LAYER(LAYER_TYPE "+gzip+encrypted")), "Layer 2 of the image is encrypted" },
                { MANIFEST(LAYER(LAYER_TYPE "+br")), "of the unknown type" },
                { MANIFEST("{'mediaType':'new\\nline\\u001b[0m','digest':'sha256:" B64 "','size':1}"), "of the unknown type \"new?line?[0m\"" },
        };

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                manifest_refused(bad[i].json, bad[i].sentence);
}

static void documents_have_bounds(void **state) {
        size_t n = OCI_JSON_MAX + 1;
        _cleanup_free_ char *big = malloc(n + 1), *layers = strdup(LAYER(LAYER_TYPE));

        assert_non_null(big);
        memset(big, ' ', n);
        big[n] = 0;
        manifest_refused(big, "The image's manifest is too large.");
        big[n - 1] = 0;
        manifest_refused(big, "is not valid JSON");
        /* Many values, deep ones. */
        for (size_t i = 0; i + 2 < n; i += 3)
                memcpy(big + i, "{},", 3);
        manifest_refused(big, "The image's manifest is too large.");
        memset(big, '[', 30000);
        big[30000] = 0;
        manifest_refused(big, "maximum parsing depth");

        for (unsigned i = 0; i < OCI_LAYERS_MAX; i++) {
                char *longer = strprintf("%s," LAYER(LAYER_TYPE), layers);

                free(layers);
                layers = longer;
                assert_non_null(layers);
        }
        free(big);
        big = strprintf("{'schemaVersion':2," CONFIG ",'layers':[%s]}", layers);
        manifest_refused(big, "more than 128 layers");
}

static void the_platform_is_chosen(void **state) {
#define MULTI \
        ENTRY(A64, PLATFORM("'386'")) "," ENTRY(B64, PLATFORM("'amd64'")) "," ENTRY(C64, PLATFORM("'arm','variant':'v7'"))
        choose(INDEX(MULTI), "linux/amd64", NULL, "sha256:" B64);
        choose(INDEX(MULTI), "linux/386", NULL, "sha256:" A64);
        choose(INDEX(MULTI), "linux/arm/v7", NULL, "sha256:" C64);
        choose(INDEX(MULTI), "linux/arm", NULL, "sha256:" C64);
        choose_refused(INDEX(MULTI), "linux/arm/v6", NULL, -ENOENT,
                        "There is no such image for linux/arm/v6 (only for linux/386, linux/amd64, linux/arm/v7).");
        choose_refused(INDEX(MULTI), "linux/arm64", NULL, -ENOENT, "no such image for linux/arm64");
        choose(INDEX(ENTRY(A64, PLATFORM("'arm64','variant':'v8'"))), "linux/arm64", NULL, "sha256:" A64);
        choose(INDEX(ENTRY(A64, PLATFORM("'arm64'"))), "linux/arm64/v8", NULL, "sha256:" A64);
        /* More than the least of all such processors is only taken when asked for. */
        choose_refused(INDEX(ENTRY(A64, PLATFORM("'amd64','variant':'v3'"))), "linux/amd64", NULL, -ENOENT, "linux/amd64/v3");
        /* The first of equals; the exact one before that which also fits. */
        choose(INDEX(ENTRY(A64, PLATFORM("'amd64'")) "," ENTRY(B64, PLATFORM("'amd64'"))), "linux/amd64", NULL, "sha256:" A64);
        choose(INDEX(ENTRY(A64, PLATFORM("'amd64','variant':'v1'")) "," ENTRY(B64, PLATFORM("'amd64'"))), "linux/amd64", NULL,
                        "sha256:" B64);
        /* Attestations as buildkit adds them. */
        choose(INDEX(ENTRY(A64, ",'platform':{'os':'unknown','architecture':'unknown'}") "," ENTRY(B64, PLATFORM("'amd64'"))),
                        "linux/amd64", NULL, "sha256:" B64);
        choose_refused(INDEX(""), "linux/amd64", NULL, -ENOENT, "names no image");
        choose_refused(INDEX(ENTRY(A64, ",'platform':'linux/amd64'")), "linux/amd64", NULL, -EBADMSG, "is not an object");
        choose_refused(INDEX(ENTRY(A64, ",'platform':{}")), "linux/amd64", NULL, -EBADMSG, "a platform that is none");
        choose_refused(MANIFEST(LAYER(LAYER_TYPE)), "linux/amd64", NULL, -EBADMSG, "is an image's manifest");
        choose_refused("{'schemaVersion':2,'manifests':{}}", "linux/amd64", NULL, -EBADMSG, "\"manifests\" that is not a list");
}

static void a_layout_is_chosen_from_by_tag(void **state) {
#define TAG(t) ",'annotations':{'org.opencontainers.image.ref.name':" t "}"
        choose(INDEX(ENTRY(A64, "")), "linux/amd64", NULL, "sha256:" A64);
        choose(INDEX(ENTRY(A64, TAG("'one'")) "," ENTRY(B64, TAG("'two'"))), "linux/amd64", "two", "sha256:" B64);
        choose(INDEX(ENTRY(A64, TAG("'docker.io/library/x:one'"))), "linux/amd64", "one", "sha256:" A64);
        choose_refused(INDEX(ENTRY(A64, TAG("'one'")) "," ENTRY(B64, TAG("'two'"))), "linux/amd64", NULL, -EBADMSG,
                        "2 images without their platforms or a tag");
        choose_refused(INDEX(ENTRY(A64, TAG("'one'"))), "linux/amd64", "wone", -ENOENT, "no image of the tag \"wone\"");
        choose_refused(INDEX(ENTRY(A64, TAG("'wone'"))), "linux/amd64", "one", -ENOENT, "no image of the tag \"one\"");
        choose_refused(INDEX(ENTRY(A64, TAG("5"))), "linux/amd64", "one", -EBADMSG, "is not a string");
}

static void an_index_may_point_to_an_index(void **state) {
        _cleanup_free_ char *json = quoted(INDEX("{'mediaType':'" OCI_INDEX_TYPE "','digest':'sha256:" A64 "','size':7}"));
        char *why = NULL;
        OciDescriptor d;
        OciKind kind;

        assert_int_equal(oci_index_choose(json, strlen(json), "linux/amd64", NULL, &d, &why), 0);
        assert_int_equal(d.kind, OCI_INDEX);
        assert_int_equal(d.size, 7);
        assert_int_equal(oci_document_kind(json, strlen(json), &kind, &why), 0);
        assert_int_equal(kind, OCI_INDEX);
}

static void platforms_are_words(void **state) {
        assert_true(oci_platform_is_valid(oci_platform_native()));
        assert_true(oci_platform_is_valid("linux/arm/v7"));
        assert_false(oci_platform_is_valid("linux/"));
        assert_false(oci_platform_is_valid("linux/arm/"));
        assert_false(oci_platform_is_valid("linux/arm/v7/x"));
        assert_false(oci_platform_is_valid("windows/amd64"));
        assert_false(oci_platform_is_valid("linux/AMD64"));
        assert_false(oci_platform_matches("linux/arm", "linux/arm64"));
        assert_false(oci_platform_matches("linux/amd64", "linux/amd"));
}

static void a_configuration_is_read_whole(void **state) {
        _cleanup_(image_config_done) ImageConfig c = {};
        char *why = NULL;

        assert_int_equal(config_of("{'created':'2024-05-22T18:18:12.052034407+02:00','os':'linux','architecture':'arm','variant':'v7',"
                                   "'config':{'User':'app:www','Env':['PATH=/bin','A=1','A=2','B='],'Entrypoint':['/entry','a b'],"
                                   "'Cmd':['run'],'WorkingDir':'/srv','StopSignal':'SIGRTMIN+3','Labels':{'a':'1=2','b':''},"
                                   "'ExposedPorts':{'80/tcp':{}},'Volumes':null},"
                                   "'rootfs':{'type':'layers','diff_ids':['sha256:" A64 "','sha256:" B64 "']},'history':[{}]}",
                                         &c, &why),
                        0);
        assert_string_equal(c.platform, "linux/arm/v7");
        assert_int_equal(c.created, 1716394692052034);
        assert_true(strv_equal(c.entrypoint, (char *[]) { (char *) "/entry", (char *) "a b", NULL }));
        assert_true(strv_equal(c.cmd, (char *[]) { (char *) "run", NULL }));
        assert_true(strv_equal(c.env, (char *[]) { (char *) "PATH=/bin", (char *) "A=2", (char *) "B=", NULL }));
        assert_string_equal(c.user, "app:www");
        assert_string_equal(c.working_directory, "/srv");
        assert_string_equal(c.stop_signal, "SIGRTMIN+3");
        assert_true(strv_equal(c.labels, (char *[]) { (char *) "a=1=2", (char *) "b=", NULL }));
        assert_true(strv_equal(c.diff_ids, (char *[]) { (char *) "sha256:" A64, (char *) "sha256:" B64, NULL }));

        assert_int_equal(oci_config_check(&c, 2, "linux/arm/v7", &why), 0);
        assert_int_equal(oci_config_check(&c, 3, NULL, &why), -EBADMSG);
        assert_refused("", -EBADMSG, -EBADMSG, why, "names 2 layers, but its manifest 3");
        assert_int_equal(oci_config_check(&c, 2, "linux/amd64", &why), -ENOENT);
        assert_refused("", -ENOENT, -ENOENT, why, "The image is for linux/arm/v7, not for linux/amd64.");
}

static void a_configuration_may_say_little(void **state) {
        _cleanup_(image_config_done) ImageConfig c = {};
        char *why = NULL;

        assert_int_equal(config_of("{'os':'linux','architecture':'amd64','rootfs':{'type':'layers','diff_ids':null},'config':"
                                   "{'Env':null,'Cmd':[]},'created':'0001-01-01T00:00:00Z'}",
                                         &c, &why),
                        0);
        assert_null(c.entrypoint);
        assert_null(c.cmd);
        assert_null(c.labels);
        assert_string_equal(c.user, "");
        assert_string_equal(c.working_directory, "");
        assert_string_equal(c.stop_signal, "");
        assert_int_equal(c.created, 0);
}

static void bad_configurations_are_refused(void **state) {
        static const struct {
                const char *json, *sentence;
        } bad[] = {
                { "[]", "is not a JSON object" },
                { "{}", "does not say which platform" },
                { "{'os':'linux'}", "does not say which platform" },
                { "{'os':'linux','architecture':'../x'}", "does not say which platform" },
                { "{'os':5,'architecture':'amd64'}", "\"os\" that is not a string" },
                { "{'os':'windows','architecture':'amd64'}", "The image is for windows/amd64, not for Linux." },
                { "{'os':'linux','architecture':'amd64'}", "no \"rootfs\"" },
                { "{'os':'linux','architecture':'amd64','rootfs':[]}", "\"rootfs\" that is not an object" },
                { "{'os':'linux','architecture':'amd64','rootfs':{'type':'x'}}", "no \"rootfs\" of the type" },
                { "{'os':'linux','architecture':'amd64','rootfs':{'type':'layers','diff_ids':['x']}}", "diff_id \"x\"" },
                { "{'os':'linux','architecture':'amd64','rootfs':{'type':'layers'},'created':'yesterday'}", "\"created\" that is not a time" },
                { "{'os':'linux','architecture':'amd64','rootfs':{'type':'layers'},'created':'2024-13-01T00:00:00Z'}", "is not a time" },
                { "{'os':'linux','architecture':'amd64','rootfs':{'type':'layers'},'created':'2024-12-01T00:00:00Zx'}", "is not a time" },
                { IMAGE("[]"), "\"config\" that is not an object" },
                { IMAGE("{'Cmd':'sh'}"), "\"Cmd\" that is not a list" },
                { IMAGE("{'Cmd':[['sh']]}"), "\"Cmd\" that is not a list of strings" },
                { IMAGE("{'Entrypoint':{}}"), "\"Entrypoint\" that is not a list" },
                { IMAGE("{'Env':[1]}"), "\"Env\" that is not a list of strings" },
                { IMAGE("{'Env':['=x']}"), "which is not NAME=VALUE" },
                { IMAGE("{'Env':['x']}"), "\"x\", which is not NAME=VALUE" },
                { IMAGE("{'Env':['x=\\u0000']}"), "is not valid JSON" },
                { IMAGE("{'Env':['x=\xff']}"), "is not valid JSON" },
                { IMAGE("{'User':1000}"), "\"User\" that is not a string" },
                { IMAGE("{'User':'a\\nb'}"), "\"User\" that is too long or not clean" },
                { IMAGE("{'WorkingDir':'srv'}"), "not absolute" },
                { IMAGE("{'StopSignal':15}"), "\"StopSignal\" that is not a string" },
                { IMAGE("{'StopSignal':'15; reboot'}"), "not a signal" },
                { IMAGE("{'Labels':['a=b']}"), "\"Labels\" that is not an object" },
                { IMAGE("{'Labels':{'a':1}}"), "label \"a\" that is not a string" },
                { IMAGE("{'Labels':{'':'x'}}"), "impossible name" },
                { IMAGE("{'Labels':{'a=b':'x'}}"), "impossible name \"a=b\"" },
        };

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                config_refused(bad[i].json, bad[i].sentence);
}

static void strings_of_a_configuration_have_bounds(void **state) {
        char x[OCI_LABELS_SIZE_MAX + 1];
        _cleanup_free_ char *json = NULL;

        memset(x, 'x', sizeof(x));
        x[OCI_STRINGS_SIZE_MAX] = 0;
        json = strprintf(IMAGE("{'Cmd':['%s']}"), x);
        config_refused(json, "more than 24576 bytes together");
        x[OCI_STRINGS_SIZE_MAX] = 'x';
        x[sizeof(x) - 1] = 0;
        free(json);
        json = strprintf(IMAGE("{'Labels':{'a':'%s'}}"), x);
        config_refused(json, "labels of more than 262144 bytes");
        for (size_t i = 0; i < 257; i++)
                memcpy(x + i * 4, "'a',", 4);
        x[257 * 4 - 1] = 0;
        free(json);
        json = strprintf(IMAGE("{'Entrypoint':[%s]}"), x);
        config_refused(json, "more than 256 entries");
}

static void a_saved_image_is_found_by_its_tag(void **state) {
#define SAVED(name) "{'Config':'" name ".json','RepoTags':['" name ":1','" name ":2'],'Layers':['x/layer.tar','y/layer.tar']}"
        _cleanup_(docker_archive_done) DockerArchive a = {};
        char *why = NULL;

        assert_int_equal(archive_of("[" SAVED("one") "]", NULL, &a, &why), 0);
        assert_string_equal(a.config, "one.json");
        assert_int_equal(strv_length(a.layers), 2);
        assert_string_equal(a.layers[1], "y/layer.tar");
        docker_archive_done(&a);
        assert_int_equal(archive_of("[" SAVED("one") "," SAVED("two") "]", "two:2", &a, &why), 0);
        assert_string_equal(a.config, "two.json");
        assert_int_equal(strv_length(a.tags), 2);

        assert_int_equal(archive_of("[" SAVED("one") "," SAVED("two") "]", NULL, &a, &why), -EBADMSG);
        assert_refused("", -EBADMSG, -EBADMSG, why, "holds 2 images");
        assert_int_equal(archive_of("[" SAVED("one") "]", "three", &a, &why), -ENOENT);
        assert_refused("", -ENOENT, -ENOENT, why, "no image of the tag \"three\"");
        assert_int_equal(archive_of("[]", NULL, &a, &why), -EBADMSG);
        assert_refused("", -EBADMSG, -EBADMSG, why, "is not a list of images");
        assert_int_equal(archive_of("[{'Layers':['x']}]", NULL, &a, &why), -EBADMSG);
        assert_refused("", -EBADMSG, -EBADMSG, why, "without configuration or layers");
        assert_int_equal(archive_of("[{'Config':'x','Layers':'x'}]", NULL, &a, &why), -EBADMSG);
        assert_refused("", -EBADMSG, -EBADMSG, why, "\"Layers\" that is not a list");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_manifest_names_configuration_and_layers),
                cmocka_unit_test(bad_manifests_are_refused),
                cmocka_unit_test(documents_have_bounds),
                cmocka_unit_test(the_platform_is_chosen),
                cmocka_unit_test(a_layout_is_chosen_from_by_tag),
                cmocka_unit_test(an_index_may_point_to_an_index),
                cmocka_unit_test(platforms_are_words),
                cmocka_unit_test(a_configuration_is_read_whole),
                cmocka_unit_test(a_configuration_may_say_little),
                cmocka_unit_test(bad_configurations_are_refused),
                cmocka_unit_test(strings_of_a_configuration_have_bounds),
                cmocka_unit_test(a_saved_image_is_found_by_its_tag),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
