/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What is to be had by GET; see HttpRoute.page. */

#include "rpcd/http-routes.h"

int page_health(Rpcd *d, HttpExchange *e, HttpAnswer *a);
int page_service(Rpcd *d, HttpExchange *e, HttpAnswer *a);
int page_openrpc(Rpcd *d, HttpExchange *e, HttpAnswer *a);
int page_status(Rpcd *d, HttpExchange *e, HttpAnswer *a);
int page_metrics(Rpcd *d, HttpExchange *e, HttpAnswer *a);
