/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The paths there are, and the pages below them. A page fills an answer at once, or later through http_exchange_done(). */

#include "rpcd/rpcd.h"

typedef struct HttpExchange HttpExchange; /* http.c's */

typedef struct HttpAnswer {
        unsigned status;
        const char *type;   /* a constant; NULL: there is no body */
        char *body;         /* allocated, or: */
        bool constant;      /* it is there as long as the process */
        size_t size;
        const char *header; /* one more, with its value; constants; or NULL */
        const char *value;
        bool close;         /* the connection ends with it */
} HttpAnswer;

typedef struct HttpRoute {
        const char *path;
        const char *allow; /* "POST", or "GET, HEAD" */
        bool known;        /* where authorisation is required, for those only that are somebody */
        /* 1: a is filled. 0: http_exchange_done() is called later with it. < 0. NULL: JSON-RPC. */
        int (*page)(Rpcd *d, HttpExchange *e, HttpAnswer *a);
} HttpRoute;

/* NULL: there is no such path. */
const HttpRoute *http_route_find(const char *path);
bool http_route_allows(const HttpRoute *route, const char *method);

/* True when a body of this Content-Type: (NULL: it says nothing) may be JSON. */
bool http_type_is_json(const char *type);

/* {"error": sentence}: what is wrong on the level of HTTP. Without memory there is no body. */
void http_answer_error(HttpAnswer *a, unsigned status, const char *sentence);

/* For a page that waits for the bus: the slot is dropped when whoever asked is gone. */
void http_exchange_wait(HttpExchange *e, sd_bus_slot *slot);
void http_exchange_done(HttpExchange *e, HttpAnswer *a);
