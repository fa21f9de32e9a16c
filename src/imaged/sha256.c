/* SPDX-License-Identifier: Apache-2.0 */

/* SHA-256, see the header. */

#include "imaged/sha256.h"

#include <gcrypt.h>
#include <stdio.h>

#include "basic/alloc-util.h"

struct Sha256 {
        gcry_md_hd_t md;
};

int sha256_init(void) {
        static bool done;

        if (done)
                return 0;
        if (!gcry_check_version(NULL))
                return -ELIBBAD;
        /* No secrets here: the memory need not be locked. */
        (void) gcry_control(GCRYCTL_DISABLE_SECMEM, 0);
        (void) gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
        done = true;
        return 0;
}

int sha256_new(Sha256 **ret) {
        _cleanup_(sha256_freep) Sha256 *s = NULL;
        int r;

        r = sha256_init();
        if (r < 0)
                return r;
        s = new0(Sha256, 1);
        if (!s || gcry_md_open(&s->md, GCRY_MD_SHA256, 0) != 0)
                return -ENOMEM;
        *ret = TAKE_PTR(s);
        return 0;
}

Sha256 *sha256_free(Sha256 *s) {
        if (s)
                gcry_md_close(s->md);
        return mfree(s);
}

void sha256_write(Sha256 *s, const void *p, size_t n) {
        gcry_md_write(s->md, p, n);
}

void sha256_read(Sha256 *s, char hex[static SHA256_HEX_LENGTH + 1]) {
        const uint8_t *digest = gcry_md_read(s->md, GCRY_MD_SHA256);

        for (size_t i = 0; i < SHA256_HEX_LENGTH / 2; i++)
                (void) snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}
