/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The OpenRPC document (https://spec.open-rpc.org, 1.2.6), made of the table of methods (method.h), of the schemas of results
 * (openrpc-schemas.c) and of the codes of errors. */

#include <stddef.h>

/* Made once; NULL: no memory. */
const char *openrpc_document(size_t *ret_size);

/* "NAME": SCHEMA, … as JSON text of an object: components.schemas. */
extern const char openrpc_schemas[];
