/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The parameters of a call against the method's table: by position or by name, of the right types, within their bounds, and none
 * that is not there. Pure. */

#include <jansson.h>

#include "rpcd/method.h"

#define PARAM_LENGTH_MAX 4096 /* where the table has no bounds */

/* params: what the request has, NULL: none. *ret: a new object without nulls. -EINVAL with a sentence in *ret_why, that names the
 * parameter and says what it must be. */
int params_check(const Method *m, json_t *params, json_t **ret, char **ret_why);

const char *param_type_to_string(ParamType t); /* JSON Schema's word */
