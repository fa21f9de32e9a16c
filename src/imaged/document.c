/* SPDX-License-Identifier: Apache-2.0 */

/* Documents, see the header. */

#include "imaged/document.h"

#include <sys/stat.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "image/digest.h"

int document_read(int fd, uint64_t offset, uint64_t size, char **ret, size_t *ret_size) {
        _cleanup_free_ char *buf = NULL;
        struct stat st;
        uint64_t there;
        size_t n = 0;

        if (fstat(fd, &st) < 0)
                return negative_errno();
        if (!S_ISREG(st.st_mode) || offset > (uint64_t) st.st_size)
                return -EBADMSG;
        there = (uint64_t) st.st_size - offset;
        if (size == UINT64_MAX)
                size = there;
        if (size > OCI_JSON_MAX)
                return -E2BIG;
        if (size > there)
                return -EBADMSG;
        buf = new(char, (size_t) size + 1);
        if (!buf)
                return -ENOMEM;
        while (n < size) {
                ssize_t k = pread(fd, buf + n, (size_t) size - n, (off_t) (offset + n));

                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0)
                        return negative_errno();
                if (k == 0)
                        return -EBADMSG;
                n += (size_t) k;
        }
        buf[n] = 0;
        *ret = TAKE_PTR(buf);
        *ret_size = n;
        return 0;
}

int document_digest(const char *p, size_t n, char digest[static DIGEST_LENGTH + 1]) {
        strcpy(digest, DIGEST_PREFIX);
        return digest_hex(p, n, digest + strlen(DIGEST_PREFIX), DIGEST_HEX_LENGTH + 1);
}
