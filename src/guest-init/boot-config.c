/* SPDX-License-Identifier: Apache-2.0 */

#include "guest-init/boot-config.h"

#include <signal.h>

#include "basic/alloc-util.h"
#include "basic/strv.h"
#include "guest-init/field.h"

#define SIGNALS_MAX 65u /* of the kernel; the word NSIG means something else to every libc */

void boot_config_done(BootConfig *c) {
        free(c->hostname);
        free(c->root_device);
        free(c->overlay_device);
        free(c->cwd);
        free(c->user);
        strv_free(c->args);
        strv_free(c->environment);
        strv_free(c->network.hosts);
        *c = (BootConfig) {};
}

static int parse_signal(const GpReader *r, int *ret) {
        uint32_t v;
        int k;

        k = gp_reader_u32(r, &v);
        if (k < 0)
                return k;
        if (v == 0 || v >= SIGNALS_MAX)
                return -EBADMSG;
        *ret = (int) v;
        return 0;
}

static int parse_address(const GpReader *r, NetworkConfig *c) {
        if (c->n_addresses >= GP_ADDRESSES_MAX)
                return -EBADMSG;
        return gp_reader_prefix(r, &c->addresses[c->n_addresses++]);
}

static int parse_route(const GpReader *r, NetworkConfig *c) {
        if (c->n_routes >= GP_ROUTES_MAX)
                return -EBADMSG;
        return gp_reader_route(r, &c->routes[c->n_routes++]);
}

static int parse_dns_server(const GpReader *r, NetworkConfig *c) {
        if (c->n_dns_servers >= GP_DNS_SERVERS_MAX)
                return -EBADMSG;
        return gp_reader_address(r, &c->dns_servers[c->n_dns_servers++]);
}

static int parse_mtu(const GpReader *r, NetworkConfig *c) {
        uint32_t v;
        int k;

        k = gp_reader_u32(r, &v);
        if (k < 0)
                return k;
        if (v < GP_MTU_MIN || v > GP_MTU_MAX)
                return -EBADMSG;
        c->mtu = v;
        return 0;
}

/* One line, and nothing else: it goes into a file as it is. */
static int parse_host(const GpReader *r, NetworkConfig *c) {
        if (strv_length(c->hosts) >= GP_HOSTS_MAX || r->size == 0)
                return -EBADMSG;
        for (uint32_t i = 0; i < r->size; i++)
                if (r->value[i] < ' ' || r->value[i] > '~')
                        return -EBADMSG;
        return field_strv(r, &c->hosts);
}

static int parse_network_field(const GpReader *r, NetworkConfig *c) {
        switch (r->tag) {
        case GP_FIELD_ADDRESS:
                return parse_address(r, c);
        case GP_FIELD_ROUTE:
                return parse_route(r, c);
        case GP_FIELD_MTU:
                return parse_mtu(r, c);
        case GP_FIELD_DNS_SERVER:
                return parse_dns_server(r, c);
        case GP_FIELD_HOST:
                return parse_host(r, c);
        default:
                return 0;
        }
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
        case GP_FIELD_SIGNAL:
                return parse_signal(r, &c->stop_signal);
        case GP_FIELD_INIT:
                return field_bool(r, &c->init);
        case GP_FIELD_CONSOLE_SHELL:
                return field_bool(r, &c->console_shell);
        default:
                return parse_network_field(r, &c->network);
        }
}

int boot_config_parse(const uint8_t *payload, size_t n, BootConfig *ret) {
        _cleanup_(boot_config_done) BootConfig c = { .stop_signal = SIGTERM };
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
