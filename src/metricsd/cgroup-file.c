/* SPDX-License-Identifier: Apache-2.0 */

#include "metricsd/cgroup-file.h"

#include <unistd.h>

#include "basic/string-util.h"

void counters_unknown(Counters *c) {
        for (Counter i = 0; i < _COUNTER_MAX; i++)
                c->v[i] = VALUE_UNKNOWN;
}

/* Reads digits; NULL when there are none, or too many. By hand: a pass has some 50,000 of them for 1,000 VMs. */
static const char *read_number(const char *s, uint64_t *ret) {
        const char *begin = s;
        uint64_t v = 0;

        for (; *s >= '0' && *s <= '9'; s++)
                if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, (uint64_t) (*s - '0'), &v))
                        return NULL;
        if (s == begin)
                return NULL;
        *ret = v;
        return s;
}

typedef struct Key {
        const char *name; /* with the space or = behind it */
        Counter counter;
} Key;

/* "name value" lines, only the n of keys. */
static void parse_lines(const char *text, const Key *keys, size_t n, Counters *c) {
        for (const char *line = text; line; line = strchr(line, '\n')) {
                line += *line == '\n';
                for (size_t i = 0; i < n; i++) {
                        const char *value = *line == *keys[i].name ? startswith(line, keys[i].name) : NULL;

                        if (!value)
                                continue;
                        (void) read_number(value, &c->v[keys[i].counter]);
                        break;
                }
        }
}

void parse_cpu_stat(const char *text, Counters *c) {
        static const Key keys[] = {
                { "usage_usec ", COUNTER_CPU },
                { "user_usec ", COUNTER_CPU_USER },
                { "system_usec ", COUNTER_CPU_SYSTEM },
                { "throttled_usec ", COUNTER_CPU_THROTTLED },
        };

        parse_lines(text, keys, ELEMENTSOF(keys), c);
}

void parse_memory_current(const char *text, Counters *c) {
        (void) read_number(text, &c->v[COUNTER_MEMORY]);
}

void parse_memory_peak(const char *text, Counters *c) {
        (void) read_number(text, &c->v[COUNTER_MEMORY_PEAK]);
}

void parse_memory_stat(const char *text, Counters *c) {
        static const Key keys[] = {
                { "anon ", COUNTER_MEMORY_ANON },
                { "file ", COUNTER_MEMORY_FILE },
                { "shmem ", COUNTER_MEMORY_SHMEM },
        };

        parse_lines(text, keys, ELEMENTSOF(keys), c);
}

/* "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6", a line for each disk; no disk: nothing was read or written. */
void parse_io_stat(const char *text, Counters *c) {
        static const Key keys[] = {
                { " rbytes=", COUNTER_DISK_READ },
                { " wbytes=", COUNTER_DISK_WRITE },
                { " rios=", COUNTER_DISK_READS },
                { " wios=", COUNTER_DISK_WRITES },
        };

        for (size_t i = 0; i < ELEMENTSOF(keys); i++) {
                uint64_t sum = 0, v;

                for (const char *p = text; (p = strstr(p, keys[i].name));) {
                        p += strlen(keys[i].name);
                        if (read_number(p, &v))
                                sum += v;
                }
                c->v[keys[i].counter] = sum;
        }
}

/* "some avg10=0.00 avg60=0.00 avg300=0.00 total=1234" comes first. */
static void parse_pressure(const char *text, Counter counter, Counters *c) {
        const char *some = startswith(text, "some "), *total = some ? strstr(some, " total=") : NULL;
        const char *end = some ? strchr(some, '\n') : NULL;

        if (total && (!end || total < end))
                (void) read_number(total + strlen(" total="), &c->v[counter]);
}

void parse_cpu_pressure(const char *text, Counters *c) {
        parse_pressure(text, COUNTER_CPU_PRESSURE, c);
}

void parse_memory_pressure(const char *text, Counters *c) {
        parse_pressure(text, COUNTER_MEMORY_PRESSURE, c);
}

void parse_io_pressure(const char *text, Counters *c) {
        parse_pressure(text, COUNTER_IO_PRESSURE, c);
}

void parse_statm(const char *text, Counters *c) {
        uint64_t size, resident;
        const char *p = read_number(text, &size);

        if (p && *p == ' ' && read_number(p + 1, &resident) &&
            !__builtin_mul_overflow(resident, (uint64_t) sysconf(_SC_PAGESIZE), &resident))
                c->v[COUNTER_MEMORY] = resident;
}

int parse_proc_cgroup(const char *text, const char *unit, char **ret) {
        for (const char *line = text; line; line = strchr(line, '\n')) {
                const char *path, *slash;
                size_t n;

                line += *line == '\n';
                path = startswith(line, "0::/");
                if (!path)
                        continue;
                path--;
                n = strcspn(path, "\n");
                slash = memrchr(path, '/', n);
                if (strlen(unit) != n - (size_t) (slash + 1 - path) || strncmp(slash + 1, unit, strlen(unit)) != 0)
                        return -ENOENT;
                *ret = strndup(path, n);
                return *ret ? 0 : -ENOMEM;
        }
        return -ENOENT;
}
