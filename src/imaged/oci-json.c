/* SPDX-License-Identifier: Apache-2.0 */

/* Bounded JSON, see the header. Pure. */

#include "imaged/oci-json.h"

#include <stdarg.h>
#include <stdio.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "imaged/oci-manifest.h"

int oci_refuse(int error, char **ret_why, const char *format, ...) {
        va_list ap;
        int r;

        va_start(ap, format);
        r = vasprintf(ret_why, format, ap);
        va_end(ap);
        if (r < 0) {
                *ret_why = NULL;
                return -ENOMEM;
        }
        utf8_sanitize(*ret_why);
        return error;
}

/* Values are counted before there are any: "{},{},…" needs a hundred times as much memory parsed as it does
 * written. */
static bool values_are_bounded(const char *json, size_t n) {
        size_t n_values = 0;
        bool string = false;

        for (size_t i = 0; i < n; i++) {
                if (string && json[i] == '\\')
                        i++;
                else if (json[i] == '"')
                        string = !string;
                else if (!string && (json[i] == ',' || json[i] == '{' || json[i] == '['))
                        if (++n_values > OCI_JSON_VALUES_MAX)
                                return false;
        }
        return true;
}

int oci_json_load(const char *json, size_t n, const char *what, json_t **ret, char **ret_why) {
        json_error_t e;

        *ret_why = NULL;
        if (n > OCI_JSON_MAX || !values_are_bounded(json, n))
                return oci_refuse(-EBADMSG, ret_why, "%s is too large.", what);
        *ret = json_loadb(json, n, JSON_REJECT_DUPLICATES, &e);
        if (*ret)
                return 0;
        if (json_error_code(&e) == json_error_out_of_memory)
                return -ENOMEM;
        return oci_refuse(-EBADMSG, ret_why, "%s is not valid JSON: line %d: %.150s.", what, e.line, e.text);
}

static const char *type_to_string(json_type type) {
        switch (type) {
        case JSON_OBJECT:
                return "an object";
        case JSON_ARRAY:
                return "a list";
        case JSON_STRING:
                return "a string";
        default:
                return "a whole number";
        }
}

int oci_json_member(json_t *object, const char *key, json_type type, const char *what, json_t **ret,
                char **ret_why) {
        json_t *j = json_object_get(object, key);

        *ret = NULL;
        if (!j || json_is_null(j))
                return 0;
        if (json_typeof(j) != type)
                return oci_refuse(-EBADMSG, ret_why, "%s has a \"%s\" that is not %s.", what, key,
                                type_to_string(type));
        *ret = j;
        return 0;
}

int oci_json_string(json_t *object, const char *key, const char *what, const char **ret, char **ret_why) {
        json_t *j;
        int r;

        *ret = NULL;
        r = oci_json_member(object, key, JSON_STRING, what, &j, ret_why);
        if (r < 0 || !j)
                return r;
        if (!utf8_is_valid_n(json_string_value(j), json_string_length(j)))
                return oci_refuse(-EBADMSG, ret_why, "%s has a \"%s\" with characters that are none.", what,
                                key);
        *ret = json_string_value(j);
        return 0;
}

int oci_json_strings(
                json_t *object, const char *key, const char *what, size_t max, char ***ret, char **ret_why) {
        _cleanup_strv_free_ char **l = NULL;
        json_t *list, *j;
        size_t i;
        int r;

        *ret = NULL;
        r = oci_json_member(object, key, JSON_ARRAY, what, &list, ret_why);
        if (r < 0 || json_array_size(list) == 0)
                return r;
        if (json_array_size(list) > max)
                return oci_refuse(-EBADMSG, ret_why, "%s has a \"%s\" of more than %zu entries.", what, key,
                                max);
        l = new0(char *, json_array_size(list) + 1);
        if (!l)
                return -ENOMEM;
        json_array_foreach(list, i, j) {
                if (!json_is_string(j) || !utf8_is_valid_n(json_string_value(j), json_string_length(j)))
                        return oci_refuse(-EBADMSG, ret_why,
                                        "%s has a \"%s\" that is not a list of strings.", what, key);
                l[i] = strdup(json_string_value(j));
                if (!l[i])
                        return -ENOMEM;
        }
        *ret = TAKE_PTR(l);
        return 0;
}
