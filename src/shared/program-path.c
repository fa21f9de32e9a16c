/* SPDX-License-Identifier: Apache-2.0 */

#include "shared/program-path.h"

#include <stdlib.h>

#include "basic/string-util.h"

char *program_path(const char *name) {
        const char *dir = secure_getenv("HERO_LIBEXEC_DIR");

        return strprintf("%s/%s", isempty(dir) ? PKGLIBEXECDIR : dir, name);
}
