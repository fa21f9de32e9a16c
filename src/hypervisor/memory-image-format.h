/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The bytes of a memory image. Each part begins at a multiple of the page size and is filled up with zeros:
 *
 *     ImageHeader      one page
 *     state            the devices, as the VMM wrote them
 *     map              an ImageBlock for each MiB of the guest's memory, the last one for what is left
 *     data             the pages that the map names, in their order
 *
 * So no count in the file can say more than the memory's size allows, and all offsets follow from the header. A checksum is
 * XXH3 (64 bits): the header's is of its page without the checksum itself, those of state and map are of whole pages. Numbers
 * are the machine's own: an image is for the host that wrote it, on which magic and checksum would notice others. */

#include "hypervisor/memory-image.h"

#define IMAGE_PAGE 4096u
#define IMAGE_BLOCK (1u << 20)
#define IMAGE_BLOCK_PAGES (IMAGE_BLOCK / IMAGE_PAGE)
#define IMAGE_MEMORY_MAX (UINT64_C(1) << 42)
#define IMAGE_FORMAT 1u
#define IMAGE_MAGIC "\211HeroMem" /* not text, and not UTF-8 */

typedef struct ImageHeader {
        char magic[8];
        uint32_t format;
        uint32_t page_size;
        uint64_t created_usec;
        uint64_t memory_size;
        uint64_t n_pages; /* in data */
        uint64_t state_size;
        uint64_t state_hash;
        uint64_t map_hash;
        char id[MEMORY_IMAGE_ID_SIZE];
        char vmm[MEMORY_IMAGE_VMM_SIZE];
        char version[MEMORY_IMAGE_VERSION_SIZE];
        uint8_t zero[3704];
        uint64_t hash; /* of all before */
} ImageHeader;

static_assert(sizeof(ImageHeader) == IMAGE_PAGE);

typedef struct ImageBlock {
        uint64_t hash;                         /* of its pages that are in data, 0 without any */
        uint64_t pages[IMAGE_BLOCK_PAGES / 64]; /* one bit for each, the lowest first */
} ImageBlock;

static inline uint64_t image_align(uint64_t n) {
        return (n + IMAGE_PAGE - 1) / IMAGE_PAGE * IMAGE_PAGE;
}

static inline uint64_t image_n_blocks(uint64_t memory_size) {
        return (memory_size + IMAGE_BLOCK - 1) / IMAGE_BLOCK;
}

static inline uint64_t image_map_offset(uint64_t state_size) {
        return sizeof(ImageHeader) + image_align(state_size);
}

static inline uint64_t image_data_offset(uint64_t memory_size, uint64_t state_size) {
        return image_map_offset(state_size) + image_align(image_n_blocks(memory_size) * sizeof(ImageBlock));
}

static inline bool image_block_has(const ImageBlock *b, unsigned page) {
        return b->pages[page / 64] >> (page % 64) & 1;
}

static inline unsigned image_block_n_pages(const ImageBlock *b) {
        unsigned n = 0;

        for (size_t i = 0; i < ELEMENTSOF(b->pages); i++)
                n += (unsigned) __builtin_popcountll(b->pages[i]);
        return n;
}

uint64_t image_hash(const void *p, size_t n);
uint64_t image_header_hash(const ImageHeader *h);

/* Writes the sentence and returns error. */
int image_failed(char **ret_why, int error, const char *format, ...) _printf_(3, 4);
/* The same for a system call: its error is in errno, and said. */
int image_failed_errno(char **ret_why, const char *what);

/* All of it. -EBADMSG when the file ends before. */
int image_read_at(int fd, void *p, size_t n, uint64_t offset, const char *what, char **ret_why);
int image_write_at(int fd, const void *p, size_t n, uint64_t offset, const char *what, char **ret_why);
