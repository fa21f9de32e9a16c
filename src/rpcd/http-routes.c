/* SPDX-License-Identifier: Apache-2.0 */

#include "rpcd/http-routes.h"

#include <microhttpd.h>
#include <strings.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "rpcd/http-pages.h"

/* What hero_proxy routes here may keep it. */
#define PREFIX "/hero_compute_manager"

static const HttpRoute routes[] = {
        { "/rpc", "POST", false, NULL },
        { "/api/root/compute/rpc", "POST", false, NULL },
        { "/health", "GET, HEAD", false, page_health },
        { "/openrpc.json", "GET, HEAD", false, page_openrpc },
        { "/.well-known/heroservice.json", "GET, HEAD", false, page_service },
        { "/", "GET, HEAD", true, page_status },
        { "/metrics", "GET, HEAD", true, page_metrics },
};

const HttpRoute *http_route_find(const char *path) {
        const char *rest;

        rest = startswith(path, PREFIX);
        if (rest && rest[0] == '/')
                path = rest;
        else if (rest && rest[0] == 0)
                path = "/";
        for (size_t i = 0; i < ELEMENTSOF(routes); i++)
                if (streq(path, routes[i].path))
                        return &routes[i];
        return NULL;
}

bool http_route_allows(const HttpRoute *route, const char *method) {
        if (!route->page)
                return streq(method, MHD_HTTP_METHOD_POST);
        return streq(method, MHD_HTTP_METHOD_GET) || streq(method, MHD_HTTP_METHOD_HEAD);
}

bool http_type_is_json(const char *type) {
        static const char application[] = "application/", json[] = "json";
        const char *subtype;
        size_t n;

        if (!type)
                return true;
        if (strncasecmp(type, application, strlen(application)) != 0)
                return false;
        subtype = type + strlen(application);
        n = strcspn(subtype, "; \t");
        if (n < strlen(json) || strncasecmp(subtype + n - strlen(json), json, strlen(json)) != 0)
                return false;
        return n == strlen(json) || subtype[n - strlen(json) - 1] == '+';
}

void http_answer_error(HttpAnswer *a, unsigned status, const char *sentence) {
        free(a->body);
        a->status = status;
        a->body = strprintf("{\"error\":\"%s\"}", sentence);
        a->size = a->body ? strlen(a->body) : 0;
        a->type = a->body ? "application/json" : NULL;
}
