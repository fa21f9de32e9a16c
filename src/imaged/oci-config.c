/* SPDX-License-Identifier: Apache-2.0 */

/* The configuration of an image, see oci-manifest.h. Pure. */

#include <stdio.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "basic/time-util.h"
#include "imaged/oci-json.h"
#include "imaged/oci-manifest.h"

#define DOCUMENT "The image's configuration"
#define USER_MAX 256u
#define PATH_MAX_LENGTH 4095u
#define SIGNAL_MAX 16u

void image_config_done(ImageConfig *c) {
        free(c->platform);
        strv_free(c->entrypoint);
        strv_free(c->cmd);
        strv_free(c->env);
        free(c->user);
        free(c->working_directory);
        free(c->stop_signal);
        strv_free(c->labels);
        strv_free(c->diff_ids);
        *c = (ImageConfig){};
}

static bool word_is_valid(const char *s) {
        return s && strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789") == strlen(s);
}

static int read_platform(json_t *j, ImageConfig *c, char **ret_why) {
        const char *os, *architecture, *variant;
        int r;

        r = oci_json_string(j, "os", DOCUMENT, &os, ret_why);
        if (r >= 0)
                r = oci_json_string(j, "architecture", DOCUMENT, &architecture, ret_why);
        if (r >= 0)
                r = oci_json_string(j, "variant", DOCUMENT, &variant, ret_why);
        if (r < 0)
                return r;
        if (isempty(os) || isempty(architecture) || !word_is_valid(os) || !word_is_valid(architecture) ||
                        !word_is_valid(strempty(variant)) ||
                        strlen(os) + strlen(architecture) + strlen(strempty(variant)) + 2 > OCI_PLATFORM_MAX)
                return oci_refuse(-EBADMSG, ret_why, DOCUMENT " does not say which platform it is for.");
        c->platform = strprintf(
                        "%s/%s%s%s", os, architecture, isempty(variant) ? "" : "/", strempty(variant));
        if (!c->platform)
                return -ENOMEM;
        if (!streq(os, "linux"))
                return oci_refuse(-EBADMSG, ret_why, "The image is for %s, not for Linux.", c->platform);
        return 0;
}

static bool digits(const char **p, unsigned n, unsigned *ret) {
        *ret = 0;
        for (; n > 0; n--, (*p)++) {
                if (**p < '0' || **p > '9')
                        return false;
                *ret = *ret * 10 + (unsigned) (**p - '0');
        }
        return true;
}

static bool literal(const char **p, char c) {
        if (**p != c)
                return false;
        (*p)++;
        return true;
}

/* Z or ±HH:MM, to the end of the text; seconds to subtract. */
static bool read_offset(const char **p, int64_t *ret) {
        unsigned hours, minutes;
        bool minus = **p == '-';

        *ret = 0;
        if (literal(p, 'Z') || literal(p, 'z'))
                return !**p;
        if (!minus && **p != '+')
                return false;
        (*p)++;
        if (!digits(p, 2, &hours) || !literal(p, ':') || !digits(p, 2, &minutes) || **p || hours > 23 ||
                        minutes > 59)
                return false;
        *ret = (int64_t) (hours * 3600 + minutes * 60) * (minus ? -1 : 1);
        return true;
}

/* RFC 3339. What was before 1970 (Go's zero is the year 1) is 0. */
static bool parse_timestamp(const char *p, uint64_t *ret) {
        unsigned year, month, day, hour, minute, second, usec = 0, weight = 100000;
        int64_t offset, t;
        struct tm tm;

        if (!digits(&p, 4, &year) || !literal(&p, '-') || !digits(&p, 2, &month) || !literal(&p, '-') ||
                        !digits(&p, 2, &day) || !(literal(&p, 'T') || literal(&p, 't')) ||
                        !digits(&p, 2, &hour) || !literal(&p, ':') || !digits(&p, 2, &minute) ||
                        !literal(&p, ':') || !digits(&p, 2, &second))
                return false;
        if (month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 60)
                return false;
        if (literal(&p, '.'))
                for (; *p >= '0' && *p <= '9'; p++, weight /= 10)
                        usec += (unsigned) (*p - '0') * weight;
        if (!read_offset(&p, &offset))
                return false;
        tm = (struct tm){
                .tm_year = (int) year - 1900,
                .tm_mon = (int) month - 1,
                .tm_mday = (int) day,
                .tm_hour = (int) hour,
                .tm_min = (int) minute,
                .tm_sec = (int) second,
        };
        t = (int64_t) timegm(&tm) - offset;
        *ret = t <= 0 ? 0 : (uint64_t) t * USEC_PER_SEC + usec;
        return true;
}

static int read_created(json_t *j, ImageConfig *c, char **ret_why) {
        const char *s;
        int r;

        r = oci_json_string(j, "created", DOCUMENT, &s, ret_why);
        if (r < 0 || isempty(s))
                return r;
        if (!parse_timestamp(s, &c->created))
                return oci_refuse(-EBADMSG, ret_why, DOCUMENT " has a \"created\" that is not a time.");
        return 0;
}

/* Replaces an earlier one of the same name. */
static void keep_last_of_each_name(char **env) {
        size_t n = 0;

        for (size_t i = 0; env && env[i]; i++) {
                size_t length = strcspn(env[i], "=") + 1, k = 0;

                while (k < n && strncmp(env[k], env[i], length) != 0)
                        k++;
                if (k < n)
                        free(env[k]);
                else
                        n++;
                env[k] = env[i];
                if (k != i)
                        env[i] = NULL;
        }
}

static int check_env(char **env, char **ret_why) {
        STRV_FOREACH(e, env) {
                size_t n = strcspn(*e, "=");

                if (n == 0 || !(*e)[n])
                        return oci_refuse(-EBADMSG, ret_why,
                                        DOCUMENT " has an \"Env\" with \"%.80s\", which is not NAME=VALUE.",
                                        *e);
        }
        return 0;
}

static size_t strings_size(char *const *l) {
        size_t n = 0;

        STRV_FOREACH(s, l)
                n += strlen(*s) + 8;
        return n;
}

/* What the guest is to run. */
static int read_strings(json_t *j, ImageConfig *c, char **ret_why) {
        int r;

        r = oci_json_strings(j, "Entrypoint", DOCUMENT, OCI_STRINGS_MAX, &c->entrypoint, ret_why);
        if (r >= 0)
                r = oci_json_strings(j, "Cmd", DOCUMENT, OCI_STRINGS_MAX, &c->cmd, ret_why);
        if (r >= 0)
                r = oci_json_strings(j, "Env", DOCUMENT, OCI_STRINGS_MAX, &c->env, ret_why);
        if (r >= 0)
                r = check_env(c->env, ret_why);
        if (r < 0)
                return r;
        keep_last_of_each_name(c->env);
        if (strings_size(c->entrypoint) + strings_size(c->cmd) + strings_size(c->env) > OCI_STRINGS_SIZE_MAX)
                return oci_refuse(-EBADMSG, ret_why,
                                DOCUMENT " has an entrypoint, cmd and env of more than %u bytes together.",
                                OCI_STRINGS_SIZE_MAX);
        return 0;
}

/* A word without control characters, "" when it is not there. */
static int read_word(json_t *j, const char *key, size_t max, char **ret, char **ret_why) {
        const char *s;
        int r;

        r = oci_json_string(j, key, DOCUMENT, &s, ret_why);
        if (r < 0)
                return r;
        s = strempty(s);
        if (strlen(s) > max || !utf8_is_clean(s, NULL))
                return oci_refuse(-EBADMSG, ret_why, DOCUMENT " has a \"%s\" that is too long or not clean.",
                                key);
        *ret = strdup(s);
        return *ret ? 0 : -ENOMEM;
}

static int read_words(json_t *j, ImageConfig *c, char **ret_why) {
        int r;

        r = read_word(j, "User", USER_MAX, &c->user, ret_why);
        if (r >= 0)
                r = read_word(j, "WorkingDir", PATH_MAX_LENGTH, &c->working_directory, ret_why);
        if (r >= 0)
                r = read_word(j, "StopSignal", SIGNAL_MAX, &c->stop_signal, ret_why);
        if (r < 0)
                return r;
        if (*c->working_directory && *c->working_directory != '/')
                return oci_refuse(-EBADMSG, ret_why, DOCUMENT " has a \"WorkingDir\" that is not absolute.");
        if (c->stop_signal[strspn(c->stop_signal,
                            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-")])
                return oci_refuse(-EBADMSG, ret_why, DOCUMENT " has a \"StopSignal\" that is not a signal.");
        return 0;
}

static int read_label(const char *key, json_t *value, char **ret, size_t *size, char **ret_why) {
        if (isempty(key) || strchr(key, '=') || !utf8_is_clean(key, NULL))
                return oci_refuse(-EBADMSG, ret_why,
                                DOCUMENT " has a label with the impossible name \"%.80s\".", key);
        if (!json_is_string(value) || !utf8_is_valid_n(json_string_value(value), json_string_length(value)))
                return oci_refuse(-EBADMSG, ret_why, DOCUMENT " has a label \"%.80s\" that is not a string.",
                                key);
        *size += strlen(key) + json_string_length(value) + 2;
        if (*size > OCI_LABELS_SIZE_MAX)
                return oci_refuse(-EBADMSG, ret_why, DOCUMENT " has labels of more than %u bytes.",
                                OCI_LABELS_SIZE_MAX);
        *ret = strprintf("%s=%s", key, json_string_value(value));
        return *ret ? 0 : -ENOMEM;
}

static int read_labels(json_t *j, ImageConfig *c, char **ret_why) {
        json_t *labels, *value;
        size_t size = 0, n = 0;
        const char *key;
        int r;

        r = oci_json_member(j, "Labels", JSON_OBJECT, DOCUMENT, &labels, ret_why);
        if (r < 0 || json_object_size(labels) == 0)
                return r;
        if (json_object_size(labels) > OCI_LABELS_MAX)
                return oci_refuse(-EBADMSG, ret_why, DOCUMENT " has more than %u labels.", OCI_LABELS_MAX);
        c->labels = new0(char *, json_object_size(labels) + 1);
        if (!c->labels)
                return -ENOMEM;
        json_object_foreach(labels, key, value) {
                r = read_label(key, value, &c->labels[n++], &size, ret_why);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int read_layers(json_t *j, ImageConfig *c, char **ret_why) {
        const char *type;
        json_t *rootfs;
        int r;

        r = oci_json_member(j, "rootfs", JSON_OBJECT, DOCUMENT, &rootfs, ret_why);
        if (r < 0)
                return r;
        r = oci_json_string(rootfs, "type", DOCUMENT, &type, ret_why);
        if (r < 0)
                return r;
        if (!streq_ptr(type, "layers"))
                return oci_refuse(-EBADMSG, ret_why, DOCUMENT " has no \"rootfs\" of the type \"layers\".");
        r = oci_json_strings(rootfs, "diff_ids", DOCUMENT, OCI_LAYERS_MAX, &c->diff_ids, ret_why);
        if (r < 0)
                return r;
        STRV_FOREACH(d, c->diff_ids)
                if (!digest_is_valid(*d))
                        return oci_refuse(-EBADMSG, ret_why,
                                        DOCUMENT " has the diff_id \"%.80s\", which is not a SHA-256.", *d);
        return 0;
}

int oci_config_parse(const char *json, size_t n, ImageConfig *ret, char **ret_why) {
        _cleanup_(image_config_done) ImageConfig c = {};
        _cleanup_json_ json_t *j = NULL;
        json_t *config;
        int r;

        r = oci_json_load(json, n, DOCUMENT, &j, ret_why);
        if (r < 0)
                return r;
        if (!json_is_object(j))
                return oci_refuse(-EBADMSG, ret_why, DOCUMENT " is not a JSON object.");
        r = read_platform(j, &c, ret_why);
        if (r >= 0)
                r = read_created(j, &c, ret_why);
        if (r >= 0)
                r = read_layers(j, &c, ret_why);
        if (r >= 0)
                r = oci_json_member(j, "config", JSON_OBJECT, DOCUMENT, &config, ret_why);
        /* An image may say nothing of what to run: then all of these are not there. */
        if (r >= 0)
                r = read_strings(config, &c, ret_why);
        if (r >= 0)
                r = read_words(config, &c, ret_why);
        if (r >= 0)
                r = read_labels(config, &c, ret_why);
        if (r < 0)
                return r;
        *ret = c;
        c = (ImageConfig){};
        return 0;
}

int oci_config_check(const ImageConfig *c, size_t n_layers, const char *wanted, char **ret_why) {
        *ret_why = NULL;
        if (strv_length(c->diff_ids) != n_layers)
                return oci_refuse(-EBADMSG, ret_why, DOCUMENT " names %zu layers, but its manifest %zu.",
                                strv_length(c->diff_ids), n_layers);
        if (wanted && !oci_platform_matches(wanted, c->platform))
                return oci_refuse(-ENOENT, ret_why, "The image is for %s, not for %s.", c->platform, wanted);
        return 0;
}
