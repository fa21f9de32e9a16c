/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Words that every file uses: cleanup attributes, ownership transfer, small arithmetic. libc only. */

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#define _cleanup_(f) __attribute__((__cleanup__(f)))
#define _unused_ __attribute__((__unused__))
#define _pure_ __attribute__((__pure__))
#define _printf_(a, b) __attribute__((__format__(printf, a, b)))
#define _packed_ __attribute__((__packed__))

#define ELEMENTSOF(x) (sizeof(x) / sizeof((x)[0]))
#define MIN2(a, b) ((a) < (b) ? (a) : (b))
#define MAX2(a, b) ((a) > (b) ? (a) : (b))
#define STRINGIFY_(x) #x
#define STRINGIFY(x) STRINGIFY_(x)

/* Takes a pointer (or fd) out of a variable, leaving NULL (or -EBADF) for the cleanup attribute. */
#define TAKE_PTR(p)                            \
        ({                                     \
                typeof(p) *_pp_ = &(p);        \
                typeof(p) _p_ = *_pp_;         \
                *_pp_ = NULL;                  \
                _p_;                           \
        })
#define TAKE_FD(fd)                            \
        ({                                     \
                int *_fdp_ = &(fd);            \
                int _fd_ = *_fdp_;             \
                *_fdp_ = -EBADF;               \
                _fd_;                          \
        })

/* Defines funcp(T *p) for _cleanup_(funcp). */
#define DEFINE_TRIVIAL_CLEANUP_FUNC(type, func)                \
        static inline void func##p(type *p) {                  \
                if (*p)                                        \
                        *p = func(*p);                         \
        }                                                      \
        struct __useless_struct_to_allow_trailing_semicolon__

/* enum ↔ string: one table, both directions; from_string returns -EINVAL for an unknown word. */
#define DEFINE_STRING_TABLE_LOOKUP(name, type)                                   \
        const char *name##_to_string(type i) {                                   \
                if ((int) i < 0 || (size_t) i >= ELEMENTSOF(name##_table))       \
                        return NULL;                                             \
                return name##_table[i];                                          \
        }                                                                        \
        type name##_from_string(const char *s) {                                 \
                if (!s)                                                          \
                        return (type) -EINVAL;                                   \
                for (size_t i = 0; i < ELEMENTSOF(name##_table); i++)            \
                        if (name##_table[i] && strcmp(name##_table[i], s) == 0)  \
                                return (type) i;                                 \
                return (type) -EINVAL;                                           \
        }                                                                        \
        struct __useless_struct_to_allow_trailing_semicolon__

#define PROTECT_ERRNO _cleanup_(reset_errno) _unused_ int _saved_errno_ = errno
static inline void reset_errno(int *saved) {
        errno = *saved;
}

/* errno as a negative return value, never 0 even when a library forgot to set it. */
static inline int negative_errno(void) {
        return errno > 0 ? -errno : -EIO;
}
