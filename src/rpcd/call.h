/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One call of a method, as its handler sees it: checked parameters, who asks, and exactly one answer. The call frees itself with the
 * answer; before it, it outlives whoever asked. */

#include <jansson.h>
#include <sys/queue.h>
#include <systemd/sd-bus.h>

#include "rpcd/method.h"
#include "rpcd/rpcd.h"

typedef struct ReplicaVm ReplicaVm;

typedef struct RpcRequest RpcRequest;

struct Call {
        Rpcd *rpcd;
        const Method *method;
        json_t *params;         /* an object; every key is in the method's table and of its type */
        Caller *caller;         /* NULL: nobody */
        const char *road;       /* "http", "line" */
        char *vm_path, *vm_id;  /* the VM that is meant, where access depends on one; or that a job made */
        char *vm_name, *vm_user; /* "" for nobody's */
        uint64_t begun;         /* CLOCK_MONOTONIC */
        void *userdata;         /* the handler's, which frees it */
        sd_bus_slot *slot;      /* its call on the bus, dropped with the answer */
        sd_bus_message_handler_t callback; /* of that call */
        sd_bus_message *queued; /* the same, until there is a place on the bus: call.c */
        uint64_t timeout;
        bool sent;
        TAILQ_ENTRY(Call) queue;

        RpcRequest *request;    /* rpc.c's */
        unsigned index;
        json_t *id;             /* NULL: a notification */
        TAILQ_ENTRY(Call) waiting, calls;
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
void call_errno(Call *c, int error);            /* the domain's code for it, or -32603 */
void call_bus_error(Call *c, const sd_bus_error *e);

/* For calls on the bus: sends m (taken over), callback gets the Call. What cannot be sent is answered. The bus lets a connection wait
 * for 128 answers (max_replies_per_connection): what would be too many is sent when others are answered. */
void call_bus(Call *c, sd_bus_message *m, sd_bus_message_handler_t callback, uint64_t timeout_usec);
void call_leave_bus(Call *c); /* the call ends: its place is another's */
/* In callback: true when it is an error, which has been answered then. */
bool call_failed(Call *c, sd_bus_message *reply);
/* A method call of the VM's object, to be appended to; answers and returns NULL without memory. */
sd_bus_message *call_vm_message(Call *c, const char *member);
sd_bus_message *call_manager_message(Call *c, const char *member);

/* The VM's data model, as it is now. */
void call_result_vm(Call *c);
void call_result_user_vm(Call *c);

/* Codes: the standard's, and those of the domain by the names of error-names.h: error-codes.c has the table. name is data.name. */
#define RPC_PARSE_ERROR (-32700)
#define RPC_INVALID_REQUEST (-32600)
#define RPC_METHOD_NOT_FOUND (-32601)
#define RPC_INVALID_PARAMS (-32602)
#define RPC_INTERNAL_ERROR (-32603)

#define RPC_SERVER_ERROR (-32000)       /* of the domain, with no code of its own */
#define RPC_PERMISSION_DENIED (-32001)
#define RPC_SERVICE_UNAVAILABLE (-32002)

int rpc_error_code(const char *bus_name, const char **ret_name); /* of a D-Bus error name; ret_name: what data.name says */
const char *rpc_error_name(unsigned i, int *ret_code);           /* the table, for the documentation; NULL: no more */
