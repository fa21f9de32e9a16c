/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The memory of a guest that sleeps on disk: one file with what the VMM said of its devices and what is in the guest's memory.
 *
 *     memory-image-format.h   how it is laid out
 *     memory-image-write.c    memory → file: hero-hibernate, beside the daemon
 *     memory-image-read.c     the header and the devices for the daemon; file → memory for the VM's own process, so that the
 *                             pages are charged to the VM
 *
 * Pages that are holes of the memfd or full of zeros are not in it. Every byte of the file is below a checksum, against what
 * crashes and disks do to files; it is no protection from who may write to it, so it is root's and 0600.
 *
 * Whatever fails leaves a sentence in *ret_why (allocated, NULL if there was no memory for it): -EBADMSG when the file is torn,
 * altered or none of ours, -EPROTONOSUPPORT when it is of another format, -ESTALE when it is not for this VM or VMM. */

#include <signal.h>

#include "basic/macro.h"

#define MEMORY_IMAGE_NAME "hibernation.img"

/* The program that writes one, and the fds it wants: see hibernate-main.c. It may have just finished when it is told to end, and
 * then the image is there: who does not want it any more removes it when the program has ended, and trusts no image but one
 * that a record says is good. Only one at a time for a VM. */
#define MEMORY_IMAGE_CHILD "hero-hibernate"
enum {
        MEMORY_IMAGE_CHILD_MEMORY_FD = 3,
        MEMORY_IMAGE_CHILD_STATE_FD,
        MEMORY_IMAGE_CHILD_DIRECTORY_FD,
};

#define MEMORY_IMAGE_STATE_MAX (UINT64_C(64) << 20)
#define MEMORY_IMAGE_ID_SIZE 32u
#define MEMORY_IMAGE_VMM_SIZE 32u
#define MEMORY_IMAGE_VERSION_SIZE 256u

typedef struct MemoryImage {
        uint64_t created_usec;  /* CLOCK_REALTIME */
        uint64_t memory_size;   /* of the guest */
        uint64_t stored_size;   /* of it, in the file */
        uint64_t state_size;    /* of the devices */
        uint64_t file_size;
        char id[MEMORY_IMAGE_ID_SIZE];           /* the VM's */
        char vmm[MEMORY_IMAGE_VMM_SIZE];         /* "qemu" */
        char version[MEMORY_IMAGE_VERSION_SIZE]; /* as Hypervisor.version() gave it */
} MemoryImage;

typedef struct MemoryImageSource {
        int memory_fd;          /* nobody may write to it */
        int state_fd;           /* what Hypervisor.save() wrote, from its beginning; a file */
        const char *id, *vmm, *version;
} MemoryImageSource;

/* How many bytes an image will need at most, of a memory of now and about as much state as devices have. -errno. */
int memory_image_space_needed(int memory_fd, uint64_t *ret);

/* Whether the file system of dir_fd has so much: 0, or -ENOSPC with both numbers in the sentence. What is reserved for root
 * is left alone. It may be gone when it is wanted; writing an image notices that. */
int memory_image_check_room(int memory_fd, int dir_fd, char **ret_why);

/* Makes dir_fd/name, 0600, and returns when it would survive a power cut. An image that is there is removed first: it is of an
 * earlier sleep, and its guest has gone on since. -ENOSPC at once where there is no room; -ECANCELED soon after *cancelled (may
 * be NULL) becomes true. No failure leaves a file. */
int memory_image_write(const MemoryImageSource *source, int dir_fd, const char *name, const volatile sig_atomic_t *cancelled,
                       char **ret_why);

/* What the file says of itself, by one read; its length is checked, its contents are not. */
int memory_image_read_header(int image_fd, MemoryImage *ret, char **ret_why);

/* Whether it is of this VM and VMM: 0 or -ESTALE. NULL and 0 are not looked at. */
int memory_image_check(const MemoryImage *image, const char *id, const char *vmm, const char *version, uint64_t memory_size,
                       char **ret_why);

/* The devices, as a new memfd at its beginning, for Hypervisor.load(). */
int memory_image_read_state(int image_fd, int *ret_fd, char **ret_why);

/* Pages that are not in an image must be zeros already: to be called before anybody else may touch the memory. */
int memory_image_check_new(int memory_fd, char **ret_why);

/* Fills memory_fd, which must be new and of just the size. After a failure it is of no use. */
int memory_image_load(int image_fd, int memory_fd, char **ret_why);
