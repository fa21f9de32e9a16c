/* SPDX-License-Identifier: Apache-2.0 */

/* What the import worker may be given: any archive must end in an error or in an image. Header checksums are set right
 * first, or next to no mutation would get behind them. */

#include <fcntl.h>
#include <locale.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "imaged/tar-import.h"

#define BLOCK 512u
#define CHECKSUM_OFFSET 148u
#define MAGIC_OFFSET 257u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void set_checksum(uint8_t *header) {
        unsigned sum = 0;
        char text[8];

        memset(header + CHECKSUM_OFFSET, ' ', sizeof(text));
        for (size_t i = 0; i < BLOCK; i++)
                sum += header[i];
        (void) snprintf(text, sizeof(text), "%06o", sum);
        memcpy(header + CHECKSUM_OFFSET, text, sizeof(text));
}

static int archive_of(const uint8_t *data, size_t size) {
        _cleanup_close_ int fd = memfd_create("tar", MFD_CLOEXEC);
        _cleanup_free_ uint8_t *copy = new(uint8_t, size + 1);

        if (fd < 0 || !copy)
                abort();
        memcpy(copy, data, size);
        for (size_t i = 0; i + BLOCK <= size; i += BLOCK)
                if (memcmp(copy + i + MAGIC_OFFSET, "ustar", 5) == 0)
                        set_checksum(copy + i);
        if (write_all(fd, copy, size) < 0 || lseek(fd, 0, SEEK_SET) != 0)
                abort();
        return TAKE_FD(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const ImportLimits limits = { .max_entries = 1000, .max_bytes = 16 << 20 };
        _cleanup_close_ int input = archive_of(data, size), output = memfd_create("squashfs", MFD_CLOEXEC);
        _cleanup_(tree_freep) Tree *tree = NULL;
        _cleanup_(squashfs_writer_freep) SquashfsWriter *writer = NULL; /* before the tree */
        _cleanup_free_ char *why = NULL;
        ImportResult result;
        int r;

        (void) setlocale(LC_CTYPE, "C.UTF-8");
        if (output < 0 || tree_new(limits.max_entries, &tree) < 0 || squashfs_writer_new(output, 1, &writer) < 0)
                abort();
        r = tar_import(input, &limits, tree, writer, NULL, NULL, &result, &why);
        if (r < 0) {
                /* The daemon takes a sentence only when it is clean. */
                if (why && !utf8_is_clean(why, NULL))
                        abort();
                return 0;
        }
        if (result.n_entries > limits.max_entries || result.n_bytes > limits.max_bytes)
                abort();
        r = squashfs_writer_finish(writer, tree);
        if (r < 0 && r != -EOVERFLOW)
                abort();
        return 0;
}
