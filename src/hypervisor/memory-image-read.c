/* SPDX-License-Identifier: Apache-2.0 */

#include "hypervisor/memory-image.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Compiled in, as the library offers: the launcher, which is in every VMM's scope until the exec, then has no library more. */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "hypervisor/memory-image-format.h"

/* How far ahead of what is checked and copied the disk is asked for more. */
#define READ_AHEAD (8u * IMAGE_BLOCK)

uint64_t image_hash(const void *p, size_t n) {
        return XXH3_64bits(p, n);
}

uint64_t image_header_hash(const ImageHeader *h) {
        return image_hash(h, offsetof(ImageHeader, hash));
}

int image_failed(char **ret_why, int error, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        if (vasprintf(ret_why, format, ap) < 0)
                *ret_why = NULL;
        va_end(ap);
        return error;
}

int image_failed_errno(char **ret_why, const char *what) {
        int error = negative_errno();

        return image_failed(ret_why, error, "Cannot %s: %s.", what, strerror(-error));
}

int image_read_at(int fd, void *p, size_t n, uint64_t offset, const char *what, char **ret_why) {
        for (size_t done = 0; done < n;) {
                ssize_t k = pread(fd, (char *) p + done, n - done, (off_t) (offset + done));

                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0)
                        return image_failed_errno(ret_why, what);
                if (k == 0)
                        return image_failed(ret_why, -EBADMSG, "Cannot %s: the file ends at byte %" PRIu64 ".", what,
                                            offset + done);
                done += (size_t) k;
        }
        return 0;
}

int image_write_at(int fd, const void *p, size_t n, uint64_t offset, const char *what, char **ret_why) {
        for (size_t done = 0; done < n;) {
                ssize_t k = pwrite(fd, (const char *) p + done, n - done, (off_t) (offset + done));

                if (k < 0 && errno == EINTR)
                        continue;
                if (k == 0)
                        errno = EIO;
                if (k <= 0)
                        return image_failed_errno(ret_why, what);
                done += (size_t) k;
        }
        return 0;
}

static bool is_text(const char *s, size_t size) {
        return memchr(s, 0, size) && utf8_is_clean(s, NULL);
}

/* Whether the header is one, and what it says can be. */
static int check_header(const ImageHeader *h, char **ret_why) {
        if (memcmp(h->magic, IMAGE_MAGIC, sizeof(h->magic)) != 0)
                return image_failed(ret_why, -EBADMSG, "The file is no hibernation image.");
        if (h->format != IMAGE_FORMAT)
                return image_failed(ret_why, -EPROTONOSUPPORT,
                                    "The hibernation image has format %" PRIu32 ", known here is %u.", h->format, IMAGE_FORMAT);
        if (h->hash != image_header_hash(h))
                return image_failed(ret_why, -EBADMSG, "The header of the hibernation image was altered.");
        if (h->page_size != IMAGE_PAGE || h->memory_size == 0 || h->memory_size % IMAGE_PAGE != 0 ||
            h->memory_size > IMAGE_MEMORY_MAX)
                return image_failed(ret_why, -EBADMSG,
                                    "The hibernation image is of a memory of %" PRIu64 " bytes, which cannot be.",
                                    h->memory_size);
        if (h->state_size > MEMORY_IMAGE_STATE_MAX)
                return image_failed(ret_why, -EBADMSG,
                                    "The hibernation image has %" PRIu64 " bytes of devices, which is too much.", h->state_size);
        if (h->n_pages > h->memory_size / IMAGE_PAGE)
                return image_failed(ret_why, -EBADMSG, "The hibernation image has more pages than the memory it is of.");
        if (!is_text(h->id, sizeof(h->id)) || !is_text(h->vmm, sizeof(h->vmm)) || !is_text(h->version, sizeof(h->version)))
                return image_failed(ret_why, -EBADMSG, "The hibernation image does not say whose it is.");
        return 0;
}

static uint64_t file_size(const ImageHeader *h) {
        return image_data_offset(h->memory_size, h->state_size) + h->n_pages * IMAGE_PAGE;
}

/* The length of the file is the first thing a crash gets wrong. */
static int check_file(int fd, const ImageHeader *h, char **ret_why) {
        struct stat st;

        if (fstat(fd, &st) < 0)
                return image_failed_errno(ret_why, "look at the hibernation image");
        if (!S_ISREG(st.st_mode))
                return image_failed(ret_why, -EBADMSG, "The hibernation image is not a file.");
        if ((uint64_t) st.st_size != file_size(h))
                return image_failed(ret_why, -EBADMSG,
                                    "The hibernation image is torn: it has %" PRIu64 " bytes and should have %" PRIu64 ".",
                                    (uint64_t) st.st_size, file_size(h));
        return 0;
}

static int read_header(int fd, ImageHeader *ret, char **ret_why) {
        int r;

        r = image_read_at(fd, ret, sizeof(*ret), 0, "read the header of the hibernation image", ret_why);
        if (r >= 0)
                r = check_header(ret, ret_why);
        if (r >= 0)
                r = check_file(fd, ret, ret_why);
        return r;
}

int memory_image_read_header(int image_fd, MemoryImage *ret, char **ret_why) {
        ImageHeader h;
        int r;

        *ret_why = NULL;
        r = read_header(image_fd, &h, ret_why);
        if (r < 0)
                return r;
        *ret = (MemoryImage) {
                .created_usec = h.created_usec,
                .memory_size = h.memory_size,
                .stored_size = h.n_pages * IMAGE_PAGE,
                .state_size = h.state_size,
                .file_size = file_size(&h),
        };
        memcpy(ret->id, h.id, sizeof(h.id));
        memcpy(ret->vmm, h.vmm, sizeof(h.vmm));
        memcpy(ret->version, h.version, sizeof(h.version));
        return 0;
}

int memory_image_check(const MemoryImage *image, const char *id, const char *vmm, const char *version, uint64_t memory_size,
                       char **ret_why) {
        *ret_why = NULL;
        if (id && !streq(image->id, id))
                return image_failed(ret_why, -ESTALE, "The hibernation image is of another VM, %s.", image->id);
        if (vmm && !streq(image->vmm, vmm))
                return image_failed(ret_why, -ESTALE, "The hibernation image was written by the VMM %s, and this is %s.",
                                    image->vmm, vmm);
        if (version && !streq(image->version, version))
                return image_failed(ret_why, -ESTALE, "The hibernation image was written by %s, and this is %s.", image->version,
                                    version);
        if (memory_size != 0 && image->memory_size != memory_size)
                return image_failed(ret_why, -ESTALE,
                                    "The hibernation image is of a memory of %" PRIu64 " bytes, and the VM has %" PRIu64 ".",
                                    image->memory_size, memory_size);
        return 0;
}

/* A part that has one checksum, with the zeros behind it. */
static int read_part(int fd, uint64_t offset, uint64_t size, uint64_t hash, const char *name, void **ret, char **ret_why) {
        _cleanup_free_ char *what = strprintf("read %s of the hibernation image", name);
        _cleanup_free_ void *p = NULL;
        int r;

        p = malloc(size ?: 1);
        if (!p || !what)
                return -ENOMEM;
        r = image_read_at(fd, p, size, offset, what, ret_why);
        if (r < 0)
                return r;
        if (image_hash(p, size) != hash)
                return image_failed(ret_why, -EBADMSG, "The hibernation image was altered: %s.", name);
        *ret = TAKE_PTR(p);
        return 0;
}

int memory_image_read_state(int image_fd, int *ret_fd, char **ret_why) {
        _cleanup_close_ int fd = -EBADF;
        _cleanup_free_ void *p = NULL;
        ImageHeader h;
        int r;

        *ret_why = NULL;
        r = read_header(image_fd, &h, ret_why);
        if (r >= 0)
                r = read_part(image_fd, sizeof(h), image_align(h.state_size), h.state_hash, "the devices", &p, ret_why);
        if (r < 0)
                return r;
        fd = memfd_create("hero-devices", MFD_CLOEXEC);
        if (fd < 0)
                return image_failed_errno(ret_why, "make a memfd for the devices");
        r = image_write_at(fd, p, h.state_size, 0, "copy the devices", ret_why);
        if (r >= 0)
                *ret_fd = TAKE_FD(fd);
        return r;
}

/* The map may name no page beyond the memory, and as many as there are. */
static int check_map(const ImageHeader *h, const ImageBlock *map, char **ret_why) {
        uint64_t n_blocks = image_n_blocks(h->memory_size), n = 0;
        unsigned last = (unsigned) (h->memory_size / IMAGE_PAGE - (n_blocks - 1) * IMAGE_BLOCK_PAGES);

        for (uint64_t i = 0; i < n_blocks; i++)
                n += image_block_n_pages(map + i);
        if (n != h->n_pages)
                return image_failed(ret_why, -EBADMSG, "The map of the hibernation image contradicts its header.");
        for (unsigned i = last; i < IMAGE_BLOCK_PAGES; i++)
                if (image_block_has(map + n_blocks - 1, i))
                        return image_failed(ret_why, -EBADMSG,
                                            "The map of the hibernation image names pages beyond the memory.");
        return 0;
}

static int read_map(int fd, const ImageHeader *h, ImageBlock **ret, char **ret_why) {
        _cleanup_free_ void *map = NULL;
        uint64_t offset = image_map_offset(h->state_size);
        int r;

        r = read_part(fd, offset, image_data_offset(h->memory_size, h->state_size) - offset, h->map_hash, "the map", &map,
                      ret_why);
        if (r >= 0)
                r = check_map(h, map, ret_why);
        if (r >= 0)
                *ret = TAKE_PTR(map);
        return r;
}

/* Puts the pages of a block where they were, neighbours at once. By pwrite() and not into a mapping: a page that is written
 * as a whole is not zeroed before, and there is no fault for each (2.0 GB/s; through a mapping 1.2). */
static int place_block(int memory_fd, const ImageBlock *b, uint64_t at, const uint8_t *pages, char **ret_why) {
        for (unsigned i = 0; i < IMAGE_BLOCK_PAGES; i++) {
                unsigned first = i;
                size_t size;
                int r;

                while (i < IMAGE_BLOCK_PAGES && image_block_has(b, i))
                        i++;
                size = (size_t) (i - first) * IMAGE_PAGE;
                if (size == 0)
                        continue;
                r = image_write_at(memory_fd, pages, size, at + (uint64_t) first * IMAGE_PAGE, "fill the guest's memory",
                                   ret_why);
                if (r < 0)
                        return r;
                pages += size;
        }
        return 0;
}

static int load_blocks(int image_fd, int memory_fd, const ImageHeader *h, const ImageBlock *map, uint8_t *buffer,
                       char **ret_why) {
        uint64_t offset = image_data_offset(h->memory_size, h->state_size);
        int r;

        (void) posix_fadvise(image_fd, (off_t) offset, READ_AHEAD, POSIX_FADV_WILLNEED);
        for (uint64_t i = 0; i < image_n_blocks(h->memory_size); i++) {
                size_t size = (size_t) image_block_n_pages(map + i) * IMAGE_PAGE;

                if (size == 0)
                        continue;
                (void) posix_fadvise(image_fd, (off_t) (offset + READ_AHEAD), IMAGE_BLOCK, POSIX_FADV_WILLNEED);
                r = image_read_at(image_fd, buffer, size, offset, "read the memory in the hibernation image", ret_why);
                if (r < 0)
                        return r;
                if (image_hash(buffer, size) != map[i].hash)
                        return image_failed(ret_why, -EBADMSG,
                                            "The hibernation image was altered: the memory at %" PRIu64 " MiB.", i);
                r = place_block(memory_fd, map + i, i * IMAGE_BLOCK, buffer, ret_why);
                if (r < 0)
                        return r;
                offset += size;
        }
        return 0;
}

static int check_memory(int memory_fd, const ImageHeader *h, char **ret_why) {
        struct stat st;

        if (fstat(memory_fd, &st) < 0)
                return image_failed_errno(ret_why, "look at the guest's memory");
        if ((uint64_t) st.st_size != h->memory_size)
                return image_failed(ret_why, -EINVAL, "The guest's memory is not as large as the hibernation image says.");
        return 0;
}

int memory_image_check_new(int memory_fd, char **ret_why) {
        struct stat st;

        if (fstat(memory_fd, &st) < 0)
                return image_failed_errno(ret_why, "look at the guest's memory");
        if (st.st_blocks != 0)
                return image_failed(ret_why, -EINVAL, "The guest's memory is not new.");
        return 0;
}

int memory_image_load(int image_fd, int memory_fd, char **ret_why) {
        _cleanup_free_ ImageBlock *map = NULL;
        _cleanup_free_ uint8_t *buffer = NULL;
        ImageHeader h;
        int r;

        *ret_why = NULL;
        r = read_header(image_fd, &h, ret_why);
        if (r >= 0)
                r = check_memory(memory_fd, &h, ret_why);
        if (r >= 0)
                r = read_map(image_fd, &h, &map, ret_why);
        if (r < 0)
                return r;
        buffer = malloc(IMAGE_BLOCK);
        if (!buffer)
                return -ENOMEM;
        return load_blocks(image_fd, memory_fd, &h, map, buffer, ret_why);
}
