/* SPDX-License-Identifier: Apache-2.0 */

#include "shared/program-path.h"

#include <stdlib.h>

#include "basic/string-util.h"

static char *path_of(const char *variable, const char *fallback, const char *name) {
        const char *dir = secure_getenv(variable);

        return strprintf("%s/%s", isempty(dir) ? fallback : dir, name);
}

char *program_path(const char *name) {
        return path_of("HERO_LIBEXEC_DIR", PKGLIBEXECDIR, name);
}

char *command_path(const char *name) {
        return path_of("HERO_BIN_DIR", BINDIR, name);
}
