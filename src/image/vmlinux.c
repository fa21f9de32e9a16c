/* SPDX-License-Identifier: Apache-2.0 */

#include "image/vmlinux.h"

#include <archive.h>
#include <archive_entry.h>
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "image/digest.h"

#define VMLINUZ_MAX ((size_t) 256 * 1024 * 1024)
#define VMLINUX_MAX ((size_t) 1024 * 1024 * 1024)

/* Documentation/arch/x86/boot.rst */
#define SETUP_SECTS 0x1f1u
#define SETUP_MAGIC 0x202u
#define SETUP_VERSION 0x206u
#define SETUP_PAYLOAD_OFFSET 0x248u
#define SETUP_PAYLOAD_LENGTH 0x24cu
#define SETUP_END 0x250u

#define XEN_ELFNOTE_PHYS32_ENTRY 18u

int vmlinux_key(const char *path, char ret[static VMLINUX_KEY_MAX]) {
        _cleanup_free_ char *text = NULL;
        struct stat st;

        if (stat(path, &st) < 0)
                return negative_errno();
        text = strprintf("vmlinux 1 %s %jd %jd.%09ld %ju", path, (intmax_t) st.st_size, (intmax_t) st.st_mtim.tv_sec,
                        st.st_mtim.tv_nsec, (uintmax_t) st.st_ino);
        return text ? digest_hex(text, strlen(text), ret, VMLINUX_KEY_MAX) : -ENOMEM;
}

static uint32_t read_u32(const uint8_t *p) {
        uint32_t v;

        memcpy(&v, p, sizeof(v));
        return v;
}

/* Where the compressed kernel lies in a bzImage. */
static int find_payload(const uint8_t *p, size_t n, const uint8_t **ret, size_t *ret_size) {
        uint64_t offset, size;

        if (n < SETUP_END || memcmp(p + SETUP_MAGIC, "HdrS", 4) != 0 || p[SETUP_VERSION + 1] < 2 ||
                        (p[SETUP_VERSION + 1] == 2 && p[SETUP_VERSION] < 8))
                return -EOPNOTSUPP;

        offset = ((uint64_t) (p[SETUP_SECTS] ?: 4) + 1) * 512 + read_u32(p + SETUP_PAYLOAD_OFFSET);
        size = read_u32(p + SETUP_PAYLOAD_LENGTH);
        if (offset > n || size > n - offset || size < 8)
                return -EOPNOTSUPP;

        *ret = p + offset;
        /* Its size, uncompressed, is the end of a gzip file, and was appended to the others. */
        *ret_size = size - (memcmp(p + offset, "\x1f\x8b", 2) == 0 ? 0 : 4);
        return 0;
}

static bool notes_have_pvh_entry(const uint8_t *p, size_t n) {
        while (n >= sizeof(Elf64_Nhdr)) {
                Elf64_Nhdr h;
                size_t size, name, desc;

                memcpy(&h, p, sizeof(h));
                name = ((size_t) h.n_namesz + 3) & ~(size_t) 3;
                desc = ((size_t) h.n_descsz + 3) & ~(size_t) 3;
                size = sizeof(h) + name + desc;
                if (size > n)
                        return false;
                if (h.n_type == XEN_ELFNOTE_PHYS32_ENTRY && h.n_namesz == 4 && memcmp(p + sizeof(h), "Xen", 4) == 0)
                        return true;
                p += size;
                n -= size;
        }
        return false;
}

bool vmlinux_has_pvh_entry(const uint8_t *p, size_t n) {
        Elf64_Ehdr e;

        if (n < sizeof(e))
                return false;
        memcpy(&e, p, sizeof(e));
        if (memcmp(e.e_ident, ELFMAG, SELFMAG) != 0 || e.e_ident[EI_CLASS] != ELFCLASS64 || e.e_machine != EM_X86_64 ||
                        e.e_phentsize != sizeof(Elf64_Phdr) || e.e_phoff > n ||
                        (n - e.e_phoff) / sizeof(Elf64_Phdr) < e.e_phnum)
                return false;

        for (size_t i = 0; i < e.e_phnum; i++) {
                Elf64_Phdr ph;

                memcpy(&ph, p + e.e_phoff + i * sizeof(ph), sizeof(ph));
                if (ph.p_type == PT_NOTE && ph.p_offset <= n && ph.p_filesz <= n - ph.p_offset &&
                                notes_have_pvh_entry(p + ph.p_offset, ph.p_filesz))
                        return true;
        }
        return false;
}

/* Through whatever compression it has: libarchive knows all that the kernel may be built with. */
static int decompress(const uint8_t *p, size_t n, uint8_t **ret, size_t *ret_size) {
        _cleanup_free_ uint8_t *buf = NULL;
        size_t size = 0, allocated = 0;
        struct archive_entry *e;
        struct archive *a;
        la_ssize_t k = -1;

        a = archive_read_new();
        if (!a)
                return -ENOMEM;
        archive_read_support_filter_all(a);
        archive_read_support_format_raw(a);
        if (archive_read_open_memory(a, p, n) == ARCHIVE_OK && archive_read_next_header(a, &e) == ARCHIVE_OK)
                do {
                        if (size > VMLINUX_MAX || !GREEDY_REALLOC(buf, allocated, size + 4 * 1024 * 1024)) {
                                k = -1;
                                break;
                        }
                        k = archive_read_data(a, buf + size, allocated - size);
                        size += k > 0 ? (size_t) k : 0;
                } while (k > 0);
        archive_read_free(a);
        if (k < 0)
                return -EOPNOTSUPP;

        *ret = TAKE_PTR(buf);
        *ret_size = size;
        return 0;
}

int vmlinux_extract(const char *path, int fd) {
        _cleanup_free_ uint8_t *kernel = NULL;
        _cleanup_free_ char *image = NULL;
        const uint8_t *payload;
        size_t n, size;
        int r;

        r = read_full_file(AT_FDCWD, path, VMLINUZ_MAX, &image, &n);
        if (r < 0)
                return r;
        r = find_payload((const uint8_t *) image, n, &payload, &size);
        if (r < 0)
                return r;
        r = decompress(payload, size, &kernel, &size);
        if (r < 0)
                return r;
        if (!vmlinux_has_pvh_entry(kernel, size))
                return -EOPNOTSUPP;
        return write_all(fd, kernel, size);
}
