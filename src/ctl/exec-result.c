/* SPDX-License-Identifier: Apache-2.0 */

#include "ctl/exec-result.h"

#include <stdlib.h>

#include "basic/alloc-util.h"
#include "basic/parse-util.h"
#include "basic/string-util.h"
#include "ctl/heroctl.h"

#define STATUS_NOT_EXECUTABLE 126
#define STATUS_COMMAND_NOT_FOUND 127

bool exec_result_is(const char *message) {
        return startswith(message, "exit ") || startswith(message, "signal ") || startswith(message, "failed ") ||
                startswith(message, "lost ") || streq(message, "lost");
}

static ExecResult parse_failed(const char *rest, int *ret_status, char **ret_text) {
        unsigned error = 0;
        char number[16] = "";
        size_t n = strcspn(rest, " ");

        if (n < sizeof(number))
                memcpy(number, rest, n);
        (void) parse_uint(number, INT32_MAX, &error);
        *ret_status = error == ENOENT ? STATUS_COMMAND_NOT_FOUND : STATUS_NOT_EXECUTABLE;
        rest += n + (rest[n] == ' ');
        *ret_text = strdup(rest[0] ? rest : strerror((int) error));
        return EXEC_FAILED;
}

ExecResult exec_result_parse(const char *message, int *ret_status, char **ret_text) {
        const char *rest;
        unsigned n;

        *ret_text = NULL;
        rest = startswith(message, "exit ");
        if (rest && parse_uint(rest, 255, &n) >= 0) {
                *ret_status = (int) n;
                return EXEC_ENDED;
        }
        rest = startswith(message, "signal ");
        if (rest && parse_uint(rest, 64, &n) >= 0) {
                *ret_status = STATUS_SIGNAL + (int) n;
                return EXEC_ENDED;
        }
        rest = startswith(message, "failed ");
        if (rest)
                return parse_failed(rest, ret_status, ret_text);
        rest = startswith(message, "lost ");
        *ret_status = STATUS_EXEC;
        *ret_text = strdup(strempty(rest));
        return EXEC_LOST;
}
