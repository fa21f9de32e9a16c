/* SPDX-License-Identifier: Apache-2.0 */

#include "guest-init/exec-request.h"

#include "basic/strv.h"
#include "guest-init/field.h"

void exec_request_done(ExecRequest *e) {
        strv_free(e->args);
        strv_free(e->environment);
        free(e->cwd);
        free(e->user);
        *e = (ExecRequest) {};
}

int exec_request_parse_size(const GpReader *r, uint16_t *ret) {
        uint32_t v;
        int k;

        k = gp_reader_u32(r, &v);
        if (k < 0)
                return k;
        if (v > UINT16_MAX)
                return -EBADMSG;
        *ret = (uint16_t) v;
        return 0;
}

static int parse_field(const GpReader *r, ExecRequest *e) {
        switch (r->tag) {
        case GP_FIELD_ARG:
                return field_strv(r, &e->args);
        case GP_FIELD_ENV:
                return field_strv(r, &e->environment);
        case GP_FIELD_CWD:
                return field_string(r, &e->cwd);
        case GP_FIELD_USER:
                return field_string(r, &e->user);
        case GP_FIELD_TTY:
                return field_bool(r, &e->tty);
        case GP_FIELD_ROWS:
                return exec_request_parse_size(r, &e->rows);
        case GP_FIELD_COLUMNS:
                return exec_request_parse_size(r, &e->columns);
        default:
                return 0;
        }
}

int exec_request_parse(const uint8_t *payload, size_t n, ExecRequest *ret) {
        _cleanup_(exec_request_done) ExecRequest e = {};
        GpReader reader;
        int r;

        gp_reader_init(&reader, payload, n);
        while ((r = gp_reader_next(&reader)) > 0) {
                r = parse_field(&reader, &e);
                if (r < 0)
                        return r;
        }
        if (r < 0)
                return r;
        if (!e.args)
                return -ENODATA;

        *ret = e;
        e = (ExecRequest) {};
        return 0;
}
