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

/* caller: NULL: nobody. road: "http" or "line", a constant. namespace: "", or "compute." on the line socket, where methods have that
 * before their names, some have others, and a VM may be called "id" or "name". What is wrong with the text becomes an answer of its
 * own; < 0 only without memory, and then done is not called. *ret is NULL when done was called already. */
int rpc_handle(Rpcd *d, Caller *caller, const char *road, const char *namespace, const char *body, size_t size, rpc_done_t done,
               void *userdata, RpcRequest **ret);

/* Whoever asked is gone: what was begun is finished and audited, and done is not called. */
void rpc_request_abandon(RpcRequest *q);

/* hero-computed has told what VMs there are: calls that waited for that go on. */
void rpc_ready(Rpcd *d);

/* The end: who still waits for hero-computed is told. */
void rpc_stop(Rpcd *d);
