/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Words that the parsers of an image's JSON documents share: bounded loading, and members of objects with
 * one type and no other. A member that is null counts as not there, for that is how Go writes an empty list.
 * Functions return 0, -ENOMEM or -EBADMSG with a sentence, as those of oci-manifest.h. */

#include <jansson.h>

#include "basic/macro.h"

static inline void json_unrefp(json_t **j) {
        json_decref(*j);
}
#define _cleanup_json_ _cleanup_(json_unrefp)

/* Sets the sentence (made clean) and returns error, or -ENOMEM. */
int oci_refuse(int error, char **ret_why, const char *format, ...) _printf_(3, 4);

/* what: "The image's manifest", begins the sentences. */
int oci_json_load(const char *json, size_t n, const char *what, json_t **ret, char **ret_why);

/* *ret is NULL when there is no such member. */
int oci_json_member(json_t *object, const char *key, json_type type, const char *what, json_t **ret,
                char **ret_why);
int oci_json_string(json_t *object, const char *key, const char *what, const char **ret, char **ret_why);

/* A list of strings, valid UTF-8 without noncharacters, at most max; a copy. Empty: NULL. */
int oci_json_strings(
                json_t *object, const char *key, const char *what, size_t max, char ***ret, char **ret_why);
