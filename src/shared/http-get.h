/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One GET, for programs that do nothing else: not daemons, because who answers may be anybody, and what parses his HTTP needs none of
 * their rights; and because libcurl comes with some twenty libraries. Not part of the library that daemons link. Blocks. */

#include "basic/macro.h"

#define HTTP_GET_WHY_MAX 256u

typedef struct HttpGet {
        const char *url;
        bool https;             /* may be https, too */
        bool loopback_only;     /* nothing else is connected to, whatever the name in the URL stands for */
        unsigned timeout_msec;  /* all in all */
        char *body;             /* the caller's buffer */
        size_t body_max, body_size;
        char why[HTTP_GET_WHY_MAX]; /* in words, after a failure */
} HttpGet;

/* Before anything is said: open files but the standard ones are closed, root becomes nobody without a way back, and time, memory
 * (bytes of address space) and files have limits. -EPERM and others: go no further. */
int http_get_shut_in(uint64_t memory_max);

/* The body of an answer of status 200; no proxy, no redirection. 0, -E2BIG: body or head are too large, -EPROTO: another status, or
 * no HTTP; -ETIMEDOUT, -ECONNREFUSED, … */
int http_get(HttpGet *g);
