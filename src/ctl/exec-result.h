/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The last message on the control socket of VM.Exec(), and the exit status that it means. */

#include "basic/macro.h"

typedef enum ExecResult {
        EXEC_ENDED,  /* "exit STATUS", "signal NUMBER" */
        EXEC_FAILED, /* "failed ERRNO TEXT" */
        EXEC_LOST,   /* "lost TEXT", and whatever is none of these */
} ExecResult;

/* True when the message is one of the four. */
bool exec_result_is(const char *message);

/* *ret_status: as a shell would have it; *ret_text: a sentence, NULL for EXEC_ENDED. */
ExecResult exec_result_parse(const char *message, int *ret_status, char **ret_text);
