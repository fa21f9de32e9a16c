/* SPDX-License-Identifier: Apache-2.0 */

/* print-openrpc: writes the OpenRPC document to stdout, for docs/schemas and its test. Part of the build, not installed. */

#include <stdio.h>
#include <stdlib.h>

#include "rpcd/openrpc.h"

int main(void) {
        const char *document;
        size_t n;

        document = openrpc_document(&n);
        if (!document || fwrite(document, 1, n, stdout) != n || fflush(stdout) != 0) {
                fputs("print-openrpc: cannot write the document.\n", stderr);
                return EXIT_FAILURE;
        }
        return EXIT_SUCCESS;
}
