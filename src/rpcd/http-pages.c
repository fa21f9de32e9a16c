/* SPDX-License-Identifier: Apache-2.0 */

#include "rpcd/http-pages.h"

#include <microhttpd.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "rpcd/openrpc.h"
#include "rpcd/replica.h"
#include "shared/bus-util.h"
#include "shared/log.h"

#define SERVICE "hero_compute_manager"
#define TITLE "Hero Compute"

/* body is taken over. */
static int fill(HttpAnswer *a, const char *type, char *body) {
        if (!body)
                return -ENOMEM;
        *a = (HttpAnswer) {
                .status = MHD_HTTP_OK,
                .type = type,
                .body = body,
                .size = strlen(body),
        };
        return 1;
}

int page_health(Rpcd *d, HttpExchange *e, HttpAnswer *a) {
        return fill(a, "application/json",
                    strdup("{\"status\":\"ok\",\"service\":\"" SERVICE "\",\"version\":\"" HERO_VERSION "\"}"));
}

int page_service(Rpcd *d, HttpExchange *e, HttpAnswer *a) {
        return fill(a, "application/json",
                    strdup("{\"protocol\":\"openrpc\",\"name\":\"" SERVICE "\",\"title\":\"" TITLE
                           "\",\"version\":\"" HERO_VERSION
                           "\",\"description\":\"Virtual machines of users: create, start, stop, suspend, measure.\""
                           ",\"socket\":\"rpc\"}"));
}

int page_openrpc(Rpcd *d, HttpExchange *e, HttpAnswer *a) {
        const char *text;
        size_t size;

        text = openrpc_document(&size);
        if (!text)
                return -ENOMEM;
        *a = (HttpAnswer) {
                .status = MHD_HTTP_OK,
                .type = "application/json",
                .body = (char *) text,
                .constant = true,
                .size = size,
        };
        return 1;
}

int page_status(Rpcd *d, HttpExchange *e, HttpAnswer *a) {
        static const char *const states[] = { "created", "running", "stopped", "failed" };
        unsigned n[ELEMENTSOF(states)] = {};
        char since[FORMAT_TIMESTAMP_MAX];
        int r;

        for (size_t i = 0; i < ELEMENTSOF(states); i++)
                replica_count(d->replica, states[i], &n[i]);
        r = fill(a, "text/html; charset=utf-8",
                 strprintf("<!DOCTYPE html>\n"
                           "<html lang=\"en\"><head><meta charset=\"utf-8\"><title>" TITLE "</title></head><body>\n"
                           "<h1>" TITLE "</h1>\n"
                           "<p>Version " HERO_VERSION ", serving since %s. hero-computed %s.</p>\n"
                           "<table>\n"
                           "<tr><th>Virtual machines</th><td>%u</td></tr>\n"
                           "<tr><th>%s</th><td>%u</td></tr>\n<tr><th>%s</th><td>%u</td></tr>\n"
                           "<tr><th>%s</th><td>%u</td></tr>\n<tr><th>%s</th><td>%u</td></tr>\n"
                           "</table>\n"
                           "<p><a href=\"openrpc.json\">openrpc.json</a>, <a href=\"health\">health</a>, "
                           "<a href=\"metrics\">metrics</a></p>\n"
                           "</body></html>\n",
                           format_timestamp(since, d->started),
                           replica_is_ready(d->replica) ? "answers" : "is not there",
                           replica_n_vms(d->replica), states[0], n[0], states[1], n[1], states[2], n[2], states[3], n[3]));
        a->header = "Content-Security-Policy";
        a->value = "default-src 'none'; frame-ancestors 'none'";
        return r;
}

static int on_exported(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        HttpExchange *e = userdata;
        HttpAnswer a = {};
        const char *text;

        if (sd_bus_message_is_method_error(reply, NULL) || sd_bus_message_read(reply, "s", &text) < 0 ||
            fill(&a, "text/plain; version=0.0.4", strdup(text)) < 0)
                http_answer_error(&a, MHD_HTTP_SERVICE_UNAVAILABLE, "hero-metricsd does not answer, or is not there.");
        http_exchange_done(e, &a);
        return 0;
}

int page_metrics(Rpcd *d, HttpExchange *e, HttpAnswer *a) {
        sd_bus_slot *slot;
        int r;

        r = bus_call_async(d->bus, &slot, METRICS_BUS_NAME, METRICS_OBJECT, METRICS_INTERFACE, "Export", on_exported, e, NULL);
        if (r < 0) {
                log_debug_errno(r, "Failed to ask hero-metricsd: %m");
                http_answer_error(a, MHD_HTTP_SERVICE_UNAVAILABLE, "hero-metricsd cannot be asked.");
                return 1;
        }
        http_exchange_wait(e, slot);
        return 0;
}
