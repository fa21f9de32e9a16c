/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What EXEC says. */

#include "guest-protocol/guest-protocol.h"

typedef struct ExecRequest {
        char **args, **environment;
        char *cwd, *user;
        bool tty;
        uint16_t rows, columns; /* 0: not given */
} ExecRequest;

void exec_request_done(ExecRequest *e);

/* -EBADMSG, or -ENODATA without any ARG. Pure. */
int exec_request_parse(const uint8_t *payload, size_t n, ExecRequest *ret);

/* ROWS and COLUMNS of EXEC and RESIZE: 0…65535. */
int exec_request_parse_size(const GpReader *r, uint16_t *ret);
