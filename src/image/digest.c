/* SPDX-License-Identifier: Apache-2.0 */

#include "image/digest.h"

#include <gcrypt.h>
#include <stdio.h>

int digest_hex(const void *p, size_t n, char *ret, size_t size) {
        static const char digits[] = "0123456789abcdef";
        uint8_t digest[32];

        assert(size > 0 && size <= 2 * sizeof(digest) + 1);
        if (!gcry_check_version(NULL))
                return -ELIBBAD;
        /* No secrets here: the memory need not be locked, which takes time. */
        (void) gcry_control(GCRYCTL_DISABLE_SECMEM, 0);
        (void) gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
        gcry_md_hash_buffer(GCRY_MD_SHA256, digest, p, n);

        for (size_t i = 0; i + 1 < size; i++)
                ret[i] = digits[i % 2 == 0 ? digest[i / 2] >> 4 : digest[i / 2] & 15];
        ret[size - 1] = 0;
        return 0;
}
