/* SPDX-License-Identifier: Apache-2.0 */

/* OS/ARCHITECTURE[/VARIANT] in Go's words, see oci-manifest.h. Pure. */

#include "basic/string-util.h"
#include "imaged/oci-manifest.h"

#define WORD_CHARACTERS "abcdefghijklmnopqrstuvwxyz0123456789"

const char *oci_platform_native(void) {
#if defined(__x86_64__)
        return "linux/amd64";
#elif defined(__aarch64__)
        return "linux/arm64";
#elif defined(__riscv)
        return "linux/riscv64";
#else
#error "Which platform is this in Go's words?"
#endif
}

bool oci_platform_is_valid(const char *platform) {
        const char *p = startswith(platform, "linux/");
        size_t n;

        if (!p || strlen(platform) > OCI_PLATFORM_MAX)
                return false;
        n = strspn(p, WORD_CHARACTERS);
        if (n == 0 || !p[n])
                return n > 0;
        if (p[n] != '/')
                return false;
        p += n + 1;
        n = strspn(p, WORD_CHARACTERS);
        return n > 0 && !p[n];
}

bool oci_platform_matches(const char *wanted, const char *platform) {
        const char *rest = startswith(platform, wanted);

        if (!rest)
                /* What every processor of the kind has may be named or left out. */
                return streq(wanted, "linux/arm64/v8") && streq(platform, "linux/arm64");
        if (!*rest)
                return true;
        if (streq(wanted, "linux/arm"))
                return *rest == '/';
        return (streq(wanted, "linux/arm64") && streq(rest, "/v8")) ||
               (streq(wanted, "linux/amd64") && streq(rest, "/v1"));
}
