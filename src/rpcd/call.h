/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One call of a method, as its handler sees it: checked parameters, who asks, and exactly one answer. The call frees itself with the
 * answer; before it, it outlives whoever asked. */

#include <jansson.h>
#include <systemd/sd-bus.h>

#include "rpcd/method.h"
#include "rpcd/rpcd.h"

typedef struct ReplicaVm ReplicaVm;
typedef struct RpcBatch RpcBatch;

struct Call {
        Rpcd *rpcd;
        const Method *method;
        json_t *params;         /* an object; every key is in the method's table and of its type */
        Caller *caller;
        const char *road;       /* "http", "line" */
        const char *vm_path;    /* where access depends on a VM: the one meant, its object (own copy) … */
        const char *vm_name, *vm_user; /* … name and owner */
        uint64_t begun;         /* CLOCK_MONOTONIC */

        RpcBatch *batch;        /* rpc.c's */
        unsigned index;
        json_t *id;             /* NULL: a notification */
};

/* Parameters; absent (or null): NULL, or fallback. */
const char *call_string(const Call *c, const char *name);
int64_t call_integer(const Call *c, const char *name, int64_t fallback);
double call_number(const Call *c, const char *name, double fallback);
bool call_boolean(const Call *c, const char *name, bool fallback);
json_t *call_value(const Call *c, const char *name); /* borrowed */

/* Answers. result is taken over. */
void call_result(Call *c, json_t *result);
void call_result_text(Call *c, const char *json, size_t size); /* JSON text, copied */
void call_error(Call *c, int code, const char *name, const char *format, ...) _printf_(4, 5);
void call_errno(Call *c, int error);            /* -32603 or the domain's code for it */
void call_bus_error(Call *c, const sd_bus_error *e);

/* Codes: the standard's, and those of the domain by the names of error-names.h: error-codes.c has the table. name is data.name. */
#define RPC_PARSE_ERROR (-32700)
#define RPC_INVALID_REQUEST (-32600)
#define RPC_METHOD_NOT_FOUND (-32601)
#define RPC_INVALID_PARAMS (-32602)
#define RPC_INTERNAL_ERROR (-32603)

int rpc_error_code(const char *bus_name, const char **ret_name); /* of a D-Bus error name */
