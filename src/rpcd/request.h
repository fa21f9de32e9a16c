/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What rpc.c and call.c have between them: from the answer of a call to that of its request. */

#include "rpcd/call.h"
#include "rpcd/json-text.h"

/* ,"id":…} */
void request_add_id(JsonText *t, json_t *id);

/* A whole answer. The standard's errors have its words as their message, and text as data.detail. id NULL: null. */
void request_error_text(JsonText *t, int code, const char *name, const char *text, json_t *id);

/* The call ends here, is audited where it changes something, and freed. t: its answer, taken over; empty for a notification.
 * error: data.name, NULL: it succeeded; text: its sentence. */
void request_answered(Call *c, JsonText *t, const char *error, const char *text);
