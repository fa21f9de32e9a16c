/* SPDX-License-Identifier: Apache-2.0 */

/* The memory of the mock guest. Where it lies in a file it is mapped shared, and begins with a mark by which a guest that
 * is restored knows its own memory again. */

#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "hypervisor/mock/mock-vmm.h"

#define PAGE 4096u

static const char magic[16] = "mock guest's own";

int mock_memory_start(Mock *m) {
        struct stat st;
        void *p;

        if (m->memory_fd < 0)
                return m->incoming ? -EINVAL : 0;
        if (fstat(m->memory_fd, &st) < 0)
                return negative_errno();
        if (st.st_size < (off_t) PAGE)
                return -EINVAL;
        p = mmap(NULL, (size_t) st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, m->memory_fd, 0);
        if (p == MAP_FAILED)
                return negative_errno();
        m->memory = p;
        m->memory_size = (uint64_t) st.st_size;
        if (m->incoming)
                return 0;
        if (getrandom(&m->memory->id, sizeof(m->memory->id), 0) < 0)
                return negative_errno();
        memcpy(m->memory->magic, magic, sizeof(magic));
        m->memory->restored = 0;
        return 0;
}

bool mock_memory_is(const Mock *m, uint64_t id) {
        return memcmp(m->memory->magic, magic, sizeof(magic)) == 0 && m->memory->id == id;
}

int mock_memory_touch(Mock *m, uint64_t size) {
        char *p = (char *) m->memory;

        if (size > m->memory_size) {
                p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                if (p == MAP_FAILED)
                        return negative_errno();
        }
        for (uint64_t i = PAGE; i < size; i += PAGE) /* the first has the mark */
                p[i] = 1;
        return 0;
}
