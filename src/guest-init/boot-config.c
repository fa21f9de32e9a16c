/* SPDX-License-Identifier: Apache-2.0 */

#include "guest-init/boot-config.h"

#include "basic/alloc-util.h"
#include "basic/strv.h"
#include "guest-init/field.h"

void boot_config_done(BootConfig *c) {
        free(c->hostname);
        free(c->root_device);
        free(c->overlay_device);
        free(c->cwd);
        free(c->user);
        strv_free(c->args);
        strv_free(c->environment);
        *c = (BootConfig) {};
}

static int parse_field(const GpReader *r, BootConfig *c) {
        switch (r->tag) {
        case GP_FIELD_HOSTNAME:
                return field_string(r, &c->hostname);
        case GP_FIELD_ROOT_DEVICE:
                return field_string(r, &c->root_device);
        case GP_FIELD_OVERLAY_DEVICE:
                return field_string(r, &c->overlay_device);
        case GP_FIELD_CWD:
                return field_string(r, &c->cwd);
        case GP_FIELD_USER:
                return field_string(r, &c->user);
        case GP_FIELD_ARG:
                return field_strv(r, &c->args);
        case GP_FIELD_ENV:
                return field_strv(r, &c->environment);
        case GP_FIELD_REALTIME:
                return gp_reader_u64(r, &c->realtime);
        case GP_FIELD_CONSOLE_SHELL:
                return field_bool(r, &c->console_shell);
        default:
                return 0;
        }
}

int boot_config_parse(const uint8_t *payload, size_t n, BootConfig *ret) {
        _cleanup_(boot_config_done) BootConfig c = {};
        GpReader reader;
        int r;

        gp_reader_init(&reader, payload, n);
        while ((r = gp_reader_next(&reader)) > 0) {
                r = parse_field(&reader, &c);
                if (r < 0)
                        return r;
        }
        if (r < 0)
                return r;
        if (!c.root_device)
                return -ENODATA;

        *ret = c;
        c = (BootConfig) {};
        return 0;
}
