/* SPDX-License-Identifier: Apache-2.0 */

#include "hypervisor/qemu/tsc.h"

#include "basic/time-util.h"

/* Each sample is good to about 0.1 µs, so this much between two of them is good to 40 ppm. */
#define ENOUGH_NSEC 5000000u

typedef struct Sample {
        uint64_t nsec, cycles;
} Sample;

#ifdef __x86_64__
static Sample first;
static unsigned khz;

static uint64_t now_nsec(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_MONOTONIC_RAW, &ts);
        return (uint64_t) ts.tv_sec * 1000000000u + (uint64_t) ts.tv_nsec;
}

/* The best of a few: an interruption between the two readings only ever makes them lie further apart. */
static Sample take_sample(void) {
        uint64_t best = UINT64_MAX;
        Sample s = {};

        for (unsigned i = 0; i < 5; i++) {
                uint64_t before = __builtin_ia32_rdtsc(), nsec = now_nsec(), after = __builtin_ia32_rdtsc();

                if (after - before < best) {
                        best = after - before;
                        s = (Sample) { .nsec = nsec, .cycles = before + best / 2 };
                }
        }
        return s;
}

void tsc_begin(void) {
        if (first.nsec == 0)
                first = take_sample();
}

unsigned tsc_khz(void) {
        Sample s;

        tsc_begin();
        if (khz > 0)
                return khz;
        do
                s = take_sample();
        while (s.nsec - first.nsec < ENOUGH_NSEC);
        khz = (unsigned) ((double) (s.cycles - first.cycles) * 1e6 / (double) (s.nsec - first.nsec) + 0.5);
        return khz;
}
#else
void tsc_begin(void) {
}

unsigned tsc_khz(void) {
        return 0;
}
#endif
