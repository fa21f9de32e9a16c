/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The layout of JSON that libsmartcols wrote. It knows one layout (an object of one array, indented by three);
 * --json promises an array of objects or one object, pretty or in one line. */

#include <stdio.h>

#include "basic/macro.h"

typedef enum JsonShape {
        JSON_ARRAY,  /* the array inside */
        JSON_OBJECT, /* the array's elements, one after the other */
} JsonShape;

/* text is {"NAME": [ … ]}. -EBADMSG when it is not. */
int json_text_print(FILE *f, const char *text, JsonShape shape, bool pretty);
