/* SPDX-License-Identifier: Apache-2.0 */

#include "hypervisor/memory-image.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "hypervisor/memory-image-format.h"

/* For devices that are not saved yet: QEMU's have some 70 KB. */
#define STATE_USUAL (1u << 20)

/* What the disk is to begin with at a time, so that the fsync() at the end has little left to wait for, and few dirty pages of
 * ours are in the way of others. */
#define WRITE_BEHIND (8u << 20)

#define WRITE "write the hibernation image"

typedef struct Writer {
        int fd, memory_fd;
        const volatile sig_atomic_t *cancelled;
        ImageHeader header;
        ImageBlock *map;
        uint8_t *state;
        uint8_t *buffer;        /* a block */
        uint64_t offset, begun; /* in the file: where the next page goes; until where the disk is at it */
        char **ret_why;
} Writer;

static int memory_size(int memory_fd, uint64_t *ret_size, uint64_t *ret_used, char **ret_why) {
        struct stat st;

        if (fstat(memory_fd, &st) < 0)
                return image_failed_errno(ret_why, "look at the guest's memory");
        if (!S_ISREG(st.st_mode) || st.st_size <= 0 || st.st_size % IMAGE_PAGE != 0 || (uint64_t) st.st_size > IMAGE_MEMORY_MAX)
                return image_failed(ret_why, -EINVAL, "The guest's memory has no size a memory can have.");
        *ret_size = (uint64_t) st.st_size;
        *ret_used = MIN2((uint64_t) st.st_blocks * 512, *ret_size);
        return 0;
}

static uint64_t space_needed(uint64_t size, uint64_t used, uint64_t state_size) {
        return image_data_offset(size, state_size) + image_align(used);
}

int memory_image_space_needed(int memory_fd, uint64_t *ret) {
        _cleanup_free_ char *why = NULL;
        uint64_t size = 0, used = 0;
        int r;

        r = memory_size(memory_fd, &size, &used, &why);
        if (r >= 0)
                *ret = space_needed(size, used, STATE_USUAL);
        return r;
}

int memory_image_check_room(int memory_fd, int dir_fd, char **ret_why) {
        uint64_t size = 0, used = 0, needed, there;
        struct statvfs st;
        int r;

        *ret_why = NULL;
        r = memory_size(memory_fd, &size, &used, ret_why);
        if (r < 0)
                return r;
        if (fstatvfs(dir_fd, &st) < 0)
                return image_failed_errno(ret_why, "look for room for the hibernation image");
        needed = space_needed(size, used, STATE_USUAL);
        there = (uint64_t) st.f_bavail * st.f_frsize;
        if (there < needed)
                return image_failed(ret_why, -ENOSPC,
                                    "There is no room for the hibernation image, which needs %" PRIu64 " MiB of the %" PRIu64
                                    " MiB that are free.", (needed + IMAGE_BLOCK - 1) / IMAGE_BLOCK, there / IMAGE_BLOCK);
        return 0;
}

static int put_text(char *to, size_t size, const char *text, char **ret_why) {
        if (!text || strlen(text) >= size || !utf8_is_clean(text, NULL))
                return image_failed(ret_why, -EINVAL, "The hibernation image cannot say whose it is.");
        memcpy(to, text, strlen(text) + 1);
        return 0;
}

static int make_header(Writer *w, const MemoryImageSource *s, uint64_t size) {
        ImageHeader *h = &w->header;
        int r;

        *h = (ImageHeader) {
                .format = IMAGE_FORMAT,
                .page_size = IMAGE_PAGE,
                .created_usec = now_usec(CLOCK_REALTIME),
                .memory_size = size,
        };
        memcpy(h->magic, IMAGE_MAGIC, sizeof(h->magic));
        r = put_text(h->id, sizeof(h->id), s->id, w->ret_why);
        if (r >= 0)
                r = put_text(h->vmm, sizeof(h->vmm), s->vmm, w->ret_why);
        if (r >= 0)
                r = put_text(h->version, sizeof(h->version), s->version, w->ret_why);
        return r;
}

/* Into memory, with the zeros behind it: how much there is decides where the rest goes. */
static int read_state(Writer *w, int state_fd) {
        struct stat st;
        size_t size;
        int r;

        if (fstat(state_fd, &st) < 0)
                return image_failed_errno(w->ret_why, "look at the state of the devices");
        if (!S_ISREG(st.st_mode) || (uint64_t) st.st_size > MEMORY_IMAGE_STATE_MAX)
                return image_failed(w->ret_why, -E2BIG, "The state of the devices is too large.");
        size = image_align((uint64_t) st.st_size);
        w->state = calloc(1, size ?: 1);
        if (!w->state)
                return -ENOMEM;
        r = image_read_at(state_fd, w->state, (size_t) st.st_size, 0, "read the state of the devices", w->ret_why);
        w->header.state_size = (uint64_t) st.st_size;
        w->header.state_hash = image_hash(w->state, size);
        return r;
}

static bool is_zero(const uint8_t *page) {
        return page[0] == 0 && memcmp(page, page + 1, IMAGE_PAGE - 1) == 0;
}

static bool is_cancelled(const Writer *w) {
        return w->cancelled && *w->cancelled;
}

static int cancelled(Writer *w) {
        return image_failed(w->ret_why, -ECANCELED, "Writing the hibernation image was cancelled.");
}

/* Moves the pages of the buffer that are not zeros to its beginning. Returns how many bytes that are. */
static size_t pick_pages(Writer *w, ImageBlock *b, size_t size) {
        size_t n = 0;

        for (unsigned i = 0; i < size / IMAGE_PAGE; i++) {
                const uint8_t *page = w->buffer + (size_t) i * IMAGE_PAGE;

                if (is_zero(page))
                        continue;
                b->pages[i / 64] |= UINT64_C(1) << (i % 64);
                if (page != w->buffer + n)
                        memcpy(w->buffer + n, page, IMAGE_PAGE);
                n += IMAGE_PAGE;
        }
        return n;
}

static int write_block(Writer *w, uint64_t i) {
        uint64_t at = i * IMAGE_BLOCK;
        size_t size = MIN2(w->header.memory_size - at, IMAGE_BLOCK);
        int r;

        /* Not through a mapping, which would give every hole a page. */
        r = image_read_at(w->memory_fd, w->buffer, size, at, "read the guest's memory", w->ret_why);
        if (r < 0)
                return r;
        size = pick_pages(w, w->map + i, size);
        if (size == 0)
                return 0;
        w->map[i].hash = image_hash(w->buffer, size);
        w->header.n_pages += size / IMAGE_PAGE;
        r = image_write_at(w->fd, w->buffer, size, w->offset, WRITE, w->ret_why);
        w->offset += size;
        if (w->offset - w->begun >= WRITE_BEHIND) {
                (void) sync_file_range(w->fd, (off_t) w->begun, (off_t) (w->offset - w->begun), SYNC_FILE_RANGE_WRITE);
                w->begun = w->offset;
        }
        return r;
}

/* All blocks that are not a hole. */
static int write_data(Writer *w) {
        int r;

        for (uint64_t at = 0; at < w->header.memory_size;) {
                off_t data = lseek(w->memory_fd, (off_t) at, SEEK_DATA);

                if (data < 0 && errno == ENXIO) /* nothing but a hole from here on */
                        return 0;
                if (data < 0)
                        return image_failed_errno(w->ret_why, "look for the guest's memory");
                if (is_cancelled(w))
                        return cancelled(w);
                r = write_block(w, (uint64_t) data / IMAGE_BLOCK);
                if (r < 0)
                        return r;
                at = ((uint64_t) data / IMAGE_BLOCK + 1) * IMAGE_BLOCK;
        }
        return 0;
}

/* The map, and the header last: until then the file is none of ours. */
static int write_end(Writer *w) {
        uint64_t map = image_map_offset(w->header.state_size), size;
        int r;

        size = image_data_offset(w->header.memory_size, w->header.state_size) - map;
        w->header.map_hash = image_hash(w->map, size);
        w->header.hash = image_header_hash(&w->header);
        r = image_write_at(w->fd, w->map, size, map, WRITE, w->ret_why);
        if (r >= 0)
                r = image_write_at(w->fd, &w->header, sizeof(w->header), 0, WRITE, w->ret_why);
        if (r >= 0 && ftruncate(w->fd, (off_t) w->offset) < 0)
                r = image_failed_errno(w->ret_why, "give the hibernation image its length");
        return r;
}

/* Before anything is written. Where the file system cannot reserve, the writing tells. */
static int reserve(Writer *w, uint64_t needed) {
        if (fallocate(w->fd, 0, 0, (off_t) needed) >= 0 || errno == EOPNOTSUPP)
                return 0;
        if (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)
                return image_failed(w->ret_why, -ENOSPC,
                                    "There is no room for the hibernation image, which needs %" PRIu64 " MiB.",
                                    (needed + IMAGE_BLOCK - 1) / IMAGE_BLOCK);
        return image_failed_errno(w->ret_why, "reserve room for the hibernation image");
}

static int write_parts(Writer *w) {
        const ImageHeader *h = &w->header;
        uint64_t map = image_map_offset(h->state_size), data = image_data_offset(h->memory_size, h->state_size);
        int r;

        w->map = calloc(1, data - map);
        w->buffer = malloc(IMAGE_BLOCK);
        if (!w->map || !w->buffer)
                return -ENOMEM;
        r = image_write_at(w->fd, w->state, map - sizeof(ImageHeader), sizeof(ImageHeader), WRITE, w->ret_why);
        if (r < 0)
                return r;
        w->offset = w->begun = data;
        r = write_data(w);
        return r < 0 ? r : write_end(w);
}

static int write_file(Writer *w, const MemoryImageSource *s) {
        uint64_t size = 0, used = 0;
        int r;

        r = memory_size(s->memory_fd, &size, &used, w->ret_why);
        if (r >= 0)
                r = make_header(w, s, size);
        if (r >= 0)
                r = read_state(w, s->state_fd);
        if (r >= 0)
                r = reserve(w, space_needed(size, used, w->header.state_size));
        return r < 0 ? r : write_parts(w);
}

/* From here on it is there, whole, or not at all. */
static int publish(Writer *w, const char *temporary, int dir_fd, const char *name) {
        int r;

        if (fsync(w->fd) < 0)
                return image_failed_errno(w->ret_why, "bring the hibernation image to the disk");
        if (is_cancelled(w))
                return cancelled(w);
        r = tmpfile_link(w->fd, temporary, dir_fd, name);
        if (r >= 0 && fsync(dir_fd) < 0) {
                r = negative_errno();
                (void) unlinkat(dir_fd, name, 0);
        }
        if (r < 0)
                return image_failed(w->ret_why, r, "Cannot give the hibernation image its name: %s.", strerror(-r));
        return 0;
}

int memory_image_write(const MemoryImageSource *source, int dir_fd, const char *name, const volatile sig_atomic_t *stop,
                       char **ret_why) {
        Writer w = { .memory_fd = source->memory_fd, .cancelled = stop, .ret_why = ret_why };
        _cleanup_free_ char *temporary = NULL;
        int r;

        *ret_why = NULL;
        if (unlinkat(dir_fd, name, 0) < 0 && errno != ENOENT)
                return image_failed_errno(ret_why, "remove the hibernation image of an earlier sleep");
        w.fd = tmpfile_open(dir_fd, 0600, &temporary);
        if (w.fd < 0)
                return image_failed(ret_why, w.fd, "Cannot make the hibernation image: %s.", strerror(-w.fd));
        r = write_file(&w, source);
        if (r >= 0)
                r = publish(&w, temporary, dir_fd, name);
        if (r < 0 && temporary)
                (void) unlinkat(dir_fd, temporary, 0);
        safe_close(w.fd);
        free(w.state);
        free(w.map);
        free(w.buffer);
        return r;
}
