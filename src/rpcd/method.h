/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The one table of methods: it drives dispatch, validation and access, and the OpenRPC document is made of it. */

#include "basic/macro.h"

typedef struct Call Call;

typedef enum ParamType {
        PARAM_STRING,
        PARAM_INTEGER,
        PARAM_NUMBER,
        PARAM_BOOLEAN,
        PARAM_STRINGS,          /* array of strings */
        PARAM_OBJECT,           /* resources: with members of its own, see Param.members */
} ParamType;

typedef struct Param {
        const char *name;
        ParamType type;
        bool required;
        const char *description; /* with unit and default */
        int64_t minimum, maximum; /* of numbers; of strings and arrays: length; both 0: 0 … 4096 */
        const struct Param *members;
        unsigned n_members;
} Param;

typedef enum Access {
        ACCESS_ANYBODY,         /* also without being known */
        ACCESS_KNOWN,           /* whoever is somebody; the handler shows him his own only (list) */
        ACCESS_VM,              /* parameter vm_id: administrators, and whose VM it is */
        ACCESS_USER,            /* parameter user_id: administrators, and that user */
        ACCESS_ADMIN,
} Access;

typedef struct Method {
        const char *name;
        const char *summary;
        Access access;
        bool changes;           /* audited */
        const Param *params;
        unsigned n_params;
        const char *result;     /* name of a schema in openrpc-schemas.c */
        void (*handler)(Call *c);
} Method;

const Method *method_find(const char *name);
const Method *method_get(unsigned i); /* NULL: there are no more */
