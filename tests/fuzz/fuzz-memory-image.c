/* SPDX-License-Identifier: Apache-2.0 */

/* A memory image that somebody else wrote, or a disk garbled. The first byte of the input says which checksums are made right
 * (bit 0: the header's, 1: the map's, 2: the devices', 3: those of the blocks), without which hardly any input would get far, and
 * whether the file has the length its header says (bit 4). Then the header without the zeros at its end; the rest is the file
 * from its second page on, whose pages are filled up with zeros: one of devices, one of the map, and each 64 bytes of input
 * behind that are a page of data. */

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "hypervisor/memory-image-format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FILE_MAX (UINT64_C(8) << 20)
#define PIECE 64u

typedef struct Input {
        const uint8_t *data;
        size_t size;
} Input;

static void take(Input *in, void *to, size_t n) {
        n = MIN2(n, in->size);
        memcpy(to, in->data, n);
        in->data += n;
        in->size -= n;
}

/* Of what is in the file: the reader is to find nothing wrong with it. */
static uint64_t hash_part(int fd, uint64_t offset, uint64_t size) {
        _cleanup_free_ uint8_t *p = NULL;

        if (size > FILE_MAX)
                return 0;
        p = calloc(1, size ?: 1);
        return p && pread(fd, p, size, (off_t) offset) >= 0 ? image_hash(p, size) : 0;
}

static void fix_blocks(int fd, const ImageHeader *h) {
        uint64_t at = image_data_offset(h->memory_size, h->state_size);

        for (uint64_t i = 0; i < MIN2(image_n_blocks(h->memory_size), FILE_MAX / sizeof(ImageBlock)); i++) {
                off_t offset = (off_t) (image_map_offset(h->state_size) + i * sizeof(ImageBlock));
                ImageBlock b;

                if (pread(fd, &b, sizeof(b), offset) != sizeof(b))
                        return;
                b.hash = hash_part(fd, at, (uint64_t) image_block_n_pages(&b) * IMAGE_PAGE);
                at += (uint64_t) image_block_n_pages(&b) * IMAGE_PAGE;
                (void) pwrite(fd, &b, sizeof(b), offset);
        }
}

static void make_right(int fd, ImageHeader *h, unsigned flags) {
        uint64_t map, end;

        if (h->memory_size <= FILE_MAX && h->state_size <= FILE_MAX && h->n_pages <= FILE_MAX / IMAGE_PAGE) {
                map = image_map_offset(h->state_size);
                end = image_data_offset(h->memory_size, h->state_size);
                if (flags & 16)
                        (void) ftruncate(fd, (off_t) (end + h->n_pages * IMAGE_PAGE));
                if (flags & 8)
                        fix_blocks(fd, h);
                if (flags & 4)
                        h->state_hash = hash_part(fd, sizeof(*h), map - sizeof(*h));
                if (flags & 2)
                        h->map_hash = hash_part(fd, map, end - map);
        }
        if (flags & 1)
                h->hash = image_header_hash(h);
}

static void write_pages(int fd, Input *in) {
        uint8_t page[IMAGE_PAGE];

        for (uint64_t i = 1; in->size > 0 && i < FILE_MAX / IMAGE_PAGE; i++) {
                memset(page, 0, sizeof(page));
                take(in, page, i == 2 ? 4 * PIECE : PIECE);
                (void) pwrite(fd, page, sizeof(page), (off_t) (i * IMAGE_PAGE));
        }
}

/* Whatever is accepted has filled the memory with just so many pages. */
static void load(int fd, const MemoryImage *image) {
        _cleanup_close_ int memory = memfd_create("fuzz", MFD_CLOEXEC);
        _cleanup_free_ char *why = NULL;
        struct stat st;

        if (image->memory_size > FILE_MAX || ftruncate(memory, (off_t) image->memory_size) < 0)
                return;
        if (memory_image_load(fd, memory, &why) < 0) {
                if (!why)
                        abort();
                return;
        }
        if (fstat(memory, &st) < 0 || (uint64_t) st.st_blocks * 512 != image->stored_size)
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *why = NULL, *of_state = NULL;
        _cleanup_close_ int fd = -EBADF, devices = -EBADF;
        Input in = { data, size };
        ImageHeader h = {};
        MemoryImage image;
        uint8_t flags = 0;

        fd = memfd_create("fuzz", MFD_CLOEXEC);
        if (fd < 0)
                return 0;
        take(&in, &flags, 1);
        take(&in, &h, offsetof(ImageHeader, zero));
        write_pages(fd, &in);
        make_right(fd, &h, flags);
        (void) pwrite(fd, &h, sizeof(h), 0);
        if (memory_image_read_header(fd, &image, &why) < 0)
                return 0;
        if (image.file_size > FILE_MAX)
                return 0;
        (void) memory_image_read_state(fd, &devices, &of_state);
        load(fd, &image);
        return 0;
}
