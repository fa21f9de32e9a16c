/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* JSON-RPC 2.0 (https://www.jsonrpc.org/specification): a text in, a text out. Knows nothing of HTTP. */

#include "rpcd/caller.h"
#include "rpcd/rpcd.h"

typedef struct RpcRequest RpcRequest;

#define RPC_BATCH_MAX 100u
#define RPC_DEPTH_MAX 32u

/* response: allocated, the callee's; NULL with size 0: there is nothing to answer (notifications only). May be called from within
 * rpc_handle(). */
typedef void (*rpc_done_t)(char *response, size_t size, void *userdata);

/* namespace: put before the names of methods that come without it ("" or, on the line socket, "compute."). What is wrong with the
 * text becomes an answer of its own; < 0 only without memory. *ret is NULL when done was called already. */
int rpc_handle(Rpcd *d, Caller *caller, const char *road, const char *body, size_t size, rpc_done_t done, void *userdata,
               RpcRequest **ret);

/* Whoever asked is gone: what was begun is finished and audited, and done is not called. */
void rpc_request_abandon(RpcRequest *q);
