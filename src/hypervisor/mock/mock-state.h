/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The state of the mock VMM in a file. Each part of it says once what it consists of, in its mock_…_state(): the functions
 * below write that or read it, as the case may be, and the first error sticks. */

#include "hypervisor/mock/mock-vmm.h"

typedef struct MockState {
        uint8_t *p;
        size_t n, allocated, at;
        bool loading;
        int error;
} MockState;

void mock_state_bytes(MockState *s, void *p, size_t n);
#define mock_state_value(s, v) mock_state_bytes(s, &(v), sizeof(v))
/* A fixed buffer of that size, *n bytes of it used; and one that grows. */
void mock_state_buffer(MockState *s, void *p, size_t size, size_t *n);
void mock_state_allocated(MockState *s, uint8_t **p, size_t *n, size_t *allocated);
void mock_state_string(MockState *s, char **p); /* may be NULL */
void mock_state_strv(MockState *s, char ***l);
void mock_state_time(MockState *s, uint64_t *t); /* CLOCK_BOOTTIME, kept as the distance from now; 0 stays 0 */

/* Of the whole VMM, from the file's offset on. -EBADMSG: this is none, -ESTALE: the memory belongs to another. */
int mock_state_save(Mock *m, int fd);
int mock_state_load(Mock *m, int fd);

void mock_agent_state(Mock *m, MockState *s);
void mock_console_state(MockState *s);
void mock_sessions_state(Mock *m, MockState *s);
