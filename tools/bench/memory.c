/* SPDX-License-Identifier: Apache-2.0 */

/* Where a guest's memory should live, and what it costs to bring it to the disk and back. On the machine as it is, without a
 * throwaway host:
 *
 *     hero-bench-memory dirty memfd|FILE MIB SECONDS     pages of a memory, mapped shared, are written at random: how long one
 *                                                        takes, and what it makes the disk do
 *     hero-bench-memory image DIRECTORY MIB USED_MIB     a memory image of so much used memory: written (hero-hibernate's
 *                                                        work, fsync included) and loaded from the page cache, medians of 5
 *
 * What it says of the disk (/proc/diskstats) is of the whole machine: compare with a run on memfd. */

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/parse-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "hypervisor/memory-image.h"

#define PAGE 4096u
#define MIB (UINT64_C(1) << 20)
#define ROUNDS 5u
#define BUCKETS 512u

static uint64_t now_nsec(void) {
        struct timespec t;

        (void) clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t) t.tv_sec * 1000000000u + (uint64_t) t.tv_nsec;
}

/* xorshift64 */
static uint64_t random_number(void) {
        static uint64_t x = 0x9e3779b97f4a7c15;

        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        return x;
}

/* Eight buckets for each power of two. */
static unsigned bucket(uint64_t nsec) {
        unsigned log2 = 63 - (unsigned) __builtin_clzll(nsec | 8);

        return MIN2((log2 - 3) * 8 + (unsigned) (nsec >> (log2 - 3) & 7), BUCKETS - 1);
}

static uint64_t bucket_begin(unsigned i) {
        return (UINT64_C(8) + i % 8) << (i / 8);
}

static uint64_t percentile(const uint64_t counts[static BUCKETS], uint64_t total, double part) {
        uint64_t n = 0;
        unsigned i = 0;

        while (i < BUCKETS - 1 && (double) (n += counts[i]) < (double) total * part)
                i++;
        return bucket_begin(i);
}

/* What all disks have written; loop devices and partitions are their disk's. */
static uint64_t disk_bytes(void) {
        uint64_t sectors, sum = 0;
        char line[512], name[64];
        FILE *f;

        f = fopen("/proc/diskstats", "re");
        if (!f)
                return 0;
        while (fgets(line, sizeof(line), f))
                if (sscanf(line, "%*u %*u %63s %*u %*u %*u %*u %*u %*u %" SCNu64, name, &sectors) == 2 &&
                    !startswith(name, "loop") && !startswith(name, "ram") && !startswith(name, "dm-"))
                        sum += sectors * 512;
        fclose(f);
        return sum;
}

static int open_memory(const char *where, uint64_t size) {
        int fd;

        fd = streq(where, "memfd") ? memfd_create("bench", MFD_CLOEXEC) :
                open(where, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0 || ftruncate(fd, (off_t) size) < 0)
                return negative_errno();
        return fd;
}

typedef struct Measured {
        uint64_t counts[BUCKETS], total; /* of page writes */
        uint64_t longest_nsec;
        uint64_t disk;
        struct rusage use;
} Measured;

static void write_pages(volatile uint64_t *memory, uint64_t n_pages, uint64_t nsec, Measured *m) {
        uint64_t begin = now_nsec();

        for (uint64_t t = begin, end; t - begin < nsec; t = end) {
                memory[random_number() % n_pages * PAGE / sizeof(*memory)] = t;
                end = now_nsec();
                m->counts[bucket(end - t)]++;
                m->total++;
                m->longest_nsec = MAX2(m->longest_nsec, end - t);
        }
}

/* Faults: a page that is written back is write-protected, and the next write to it asks the file system again. Waits: the
 * process slept, which is for the disk, whatever else the machine does. */
static void print_measured(const char *where, uint64_t size, uint64_t seconds, const Measured *m) {
        printf("%s, %" PRIu64 " MiB, %" PRIu64 " s: %.1f million page writes/s; p50 %" PRIu64 " ns, p99 %" PRIu64
               " ns, p99.99 %" PRIu64 " ns, longest %.1f ms; %.2f s of CPU in the kernel, %ld faults, %ld waits;"
               " the disks wrote %" PRIu64 " MiB\n",
               where, size / MIB, seconds, (double) m->total / (double) seconds / 1e6, percentile(m->counts, m->total, 0.5),
               percentile(m->counts, m->total, 0.99), percentile(m->counts, m->total, 0.9999), (double) m->longest_nsec / 1e6,
               (double) m->use.ru_stime.tv_sec + (double) m->use.ru_stime.tv_usec / 1e6, m->use.ru_minflt, m->use.ru_nvcsw,
               m->disk / MIB);
}

static void subtract(struct rusage *a, const struct rusage *b) {
        timersub(&a->ru_stime, &b->ru_stime, &a->ru_stime);
        a->ru_minflt -= b->ru_minflt;
        a->ru_nvcsw -= b->ru_nvcsw;
}

static int dirty(const char *where, uint64_t size, uint64_t seconds) {
        _cleanup_close_ int fd = open_memory(where, size);
        volatile uint64_t *memory;
        struct rusage before;
        Measured m = {};

        memory = fd < 0 ? MAP_FAILED : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (memory == MAP_FAILED)
                return fd < 0 ? fd : negative_errno();
        if (!streq(where, "memfd"))
                (void) unlink(where);
        for (uint64_t i = 0; i < size / PAGE; i++) /* the guest has used all of it before */
                memory[i * PAGE / sizeof(*memory)] = random_number();
        m.disk = disk_bytes();
        (void) getrusage(RUSAGE_SELF, &before);
        write_pages(memory, size / PAGE, seconds * 1000000000u, &m);
        (void) getrusage(RUSAGE_SELF, &m.use);
        subtract(&m.use, &before);
        m.disk = disk_bytes() - m.disk;
        print_measured(where, size, seconds, &m);
        return 0;
}

static int use_memory(int fd, uint64_t size, uint64_t used) {
        uint64_t *p = malloc(MIB);

        if (!p)
                return -ENOMEM;
        for (uint64_t i = 0; i < used / MIB; i++) {
                for (size_t k = 0; k < MIB / sizeof(*p); k++)
                        p[k] = random_number();
                if (pwrite(fd, p, MIB, (off_t) (i * (size / used) * MIB)) < 0)
                        return negative_errno();
        }
        free(p);
        return 0;
}

static int compare(const void *a, const void *b) {
        double x = *(const double *) a, y = *(const double *) b;

        return (x > y) - (x < y);
}

static double median(double values[static ROUNDS]) {
        qsort(values, ROUNDS, sizeof(double), compare);
        return values[ROUNDS / 2];
}

/* One way and the other, each in ms. */
static int image_once(const MemoryImageSource *s, int dir_fd, uint64_t size, double *ret_write, double *ret_load, char **why) {
        _cleanup_close_ int memory = memfd_create("bench", MFD_CLOEXEC), image = -EBADF;
        uint64_t begin = now_nsec();
        int r;

        r = memory_image_write(s, dir_fd, MEMORY_IMAGE_NAME, NULL, why);
        if (r < 0)
                return r;
        *ret_write = (double) (now_nsec() - begin) / 1e6;
        image = openat(dir_fd, MEMORY_IMAGE_NAME, O_RDONLY | O_CLOEXEC);
        if (image < 0 || ftruncate(memory, (off_t) size) < 0)
                return negative_errno();
        begin = now_nsec();
        r = memory_image_load(image, memory, why);
        *ret_load = (double) (now_nsec() - begin) / 1e6;
        return r;
}

static int image(const char *directory, uint64_t size, uint64_t used) {
        _cleanup_close_ int dir_fd = open_directory_at(AT_FDCWD, directory, 0, false), memory = open_memory("memfd", size);
        _cleanup_close_ int devices = open_memory("memfd", 70000);
        const MemoryImageSource s = { memory, devices, "0123456789ab", "bench", "1" };
        double written[ROUNDS], loaded[ROUNDS], w, l;
        _cleanup_free_ char *why = NULL;
        int r;

        r = dir_fd < 0 ? dir_fd : use_memory(memory, size, used);
        for (unsigned i = 0; i < ROUNDS && r >= 0; i++)
                r = image_once(&s, dir_fd, size, written + i, loaded + i, &why);
        (void) unlinkat(dir_fd, MEMORY_IMAGE_NAME, 0);
        if (r < 0) {
                fprintf(stderr, "%s\n", why ?: strerror(-r));
                return r;
        }
        w = median(written);
        l = median(loaded);
        printf("%s, %" PRIu64 " of %" PRIu64 " MiB: written in %.0f ms (%.0f MB/s), loaded in %.1f ms (%.2f GB/s)\n", directory,
               used / MIB, size / MIB, w, (double) used / w / 1e3, l, (double) used / l / 1e6);
        return 0;
}

int main(int argc, char *argv[]) {
        uint64_t a, b;
        int r = -EINVAL;

        if (argc == 5 && parse_uint64(argv[3], &a) >= 0 && parse_uint64(argv[4], &b) >= 0 && a > 0 && b > 0 && a < 1 << 20) {
                if (streq(argv[1], "dirty"))
                        r = dirty(argv[2], a * MIB, b);
                else if (streq(argv[1], "image") && b <= a)
                        r = image(argv[2], a * MIB, b * MIB);
        }
        if (r < 0)
                fprintf(stderr, "%s: %s\n", argv[0], strerror(-r));
        return r < 0;
}
