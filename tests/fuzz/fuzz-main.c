/* SPDX-License-Identifier: Apache-2.0 */

/* Runs a fuzzer (LLVMFuzzerTestOneInput) where there is no libFuzzer: over every file of the directories given,
 * then over mutations of them, always the same ones, for $HERO_FUZZ_SECONDS (2). With clang, link the fuzzer with
 * -fsanitize=fuzzer instead of this file. */

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"

#define INPUT_MAX 65536u
#define FILES_MAX 1024u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
        uint8_t *data;
        size_t size;
} inputs[FILES_MAX];
static size_t n_inputs;

static int load(const char *dir) {
        struct dirent *de;
        DIR *d;

        d = opendir(dir);
        if (!d)
                return -errno;
        while ((de = readdir(d)) && n_inputs < FILES_MAX) {
                char *text;
                int r;

                if (de->d_name[0] == '.')
                        continue;
                r = read_full_file(dirfd(d), de->d_name, INPUT_MAX, &text, &inputs[n_inputs].size);
                if (r < 0) {
                        closedir(d);
                        return r;
                }
                inputs[n_inputs++].data = (uint8_t *) text;
        }
        closedir(d);
        return 0;
}

/* xorshift64: the same on every machine. */
static uint64_t random_number(uint64_t below) {
        static uint64_t x = 0x9e3779b97f4a7c15;

        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        return x % below;
}

static size_t mutate_once(uint8_t *p, size_t n) {
        size_t at = n > 0 ? random_number(n) : 0, length, from;

        switch (random_number(6)) {
        case 0: /* a bit */
                if (n > 0)
                        p[at] ^= (uint8_t) (1u << random_number(8));
                return n;
        case 1: /* a byte, of those that like to be special */
                if (n > 0)
                        p[at] = (uint8_t) "\0\xff\x7f\x80\n\r\"{}[]:,\\ 09-"[random_number(18)];
                return n;
        case 2: /* cut off */
                return at;
        case 3: /* take a piece out */
                length = n > 0 ? random_number(n - at) : 0;
                memmove(p + at, p + at + length, n - at - length);
                return n - length;
        case 4: /* double a piece */
                length = n > 0 ? random_number(n - at) + 1 : 0; /* not within MIN2(): it would be drawn twice */
                length = MIN2(length, INPUT_MAX - n);
                memmove(p + at + length, p + at, n - at);
                return n + length;
        default: /* a piece of another input */
                from = random_number(n_inputs);
                length = MIN2(inputs[from].size, INPUT_MAX - at);
                memcpy(p + at, inputs[from].data, length);
                return MAX2(n, at + length);
        }
}

static unsigned long fuzz(uint64_t usec) {
        uint64_t end = now_usec(CLOCK_MONOTONIC) + usec;
        static uint8_t buf[INPUT_MAX];
        unsigned long count = 0;

        while (now_usec(CLOCK_MONOTONIC) < end) {
                size_t i = random_number(n_inputs), n = inputs[i].size;

                memcpy(buf, inputs[i].data, n);
                for (uint64_t k = random_number(8) + 1; k > 0; k--)
                        n = mutate_once(buf, n);
                (void) LLVMFuzzerTestOneInput(buf, n);
                count++;
        }
        return count;
}

int main(int argc, char *argv[]) {
        const char *seconds = getenv("HERO_FUZZ_SECONDS");
        unsigned long count;

        for (int i = 1; i < argc; i++) {
                int r = load(argv[i]);

                if (r < 0) {
                        fprintf(stderr, "%s: %s\n", argv[i], strerror(-r));
                        return 1;
                }
        }
        if (n_inputs == 0) {
                fprintf(stderr, "No corpus.\n");
                return 1;
        }
        for (size_t i = 0; i < n_inputs; i++)
                (void) LLVMFuzzerTestOneInput(inputs[i].data, inputs[i].size);
        count = fuzz((seconds ? strtoull(seconds, NULL, 10) : 2) * USEC_PER_SEC);
        printf("%zu inputs, %lu mutations\n", n_inputs, count);
        for (size_t i = 0; i < n_inputs; i++)
                free(inputs[i].data);
        return 0;
}
