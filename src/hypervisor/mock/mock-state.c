/* SPDX-License-Identifier: Apache-2.0 */

#include "hypervisor/mock/mock-state.h"

#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/sip-hash.h"
#include "basic/strv.h"
#include "basic/time-util.h"

#define STATE_MAX (64u * 1024u * 1024u)

typedef struct Header {
        char magic[16];
        uint64_t size; /* of what follows */
        uint64_t hash;
} Header;

static const char magic[16] = "mock VMM state 1";
static const SipKey key = { .k0 = 1, .k1 = 2 };

void mock_state_bytes(MockState *s, void *p, size_t n) {
        if (s->error < 0 || n == 0)
                return;
        if (s->loading && n > s->n - s->at)
                s->error = -EBADMSG;
        else if (s->loading) {
                memcpy(p, s->p + s->at, n);
                s->at += n;
        } else if (!GREEDY_REALLOC(s->p, s->allocated, s->n + n))
                s->error = -ENOMEM;
        else {
                memcpy(s->p + s->n, p, n);
                s->n += n;
        }
}

void mock_state_buffer(MockState *s, void *p, size_t size, size_t *n) {
        mock_state_value(s, *n);
        if (s->error >= 0 && *n > size)
                s->error = -EBADMSG;
        if (s->error < 0)
                *n = 0;
        mock_state_bytes(s, p, *n);
}

void mock_state_allocated(MockState *s, uint8_t **p, size_t *n, size_t *allocated) {
        mock_state_value(s, *n);
        if (s->loading && s->error >= 0 && *n > s->n - s->at)
                s->error = -EBADMSG;
        if (s->loading && s->error >= 0 && !GREEDY_REALLOC(*p, *allocated, *n))
                s->error = -ENOMEM;
        mock_state_bytes(s, *p, *n);
}

void mock_state_string(MockState *s, char **p) {
        size_t n = *p ? strlen(*p) + 1 : 0, allocated = 0;
        uint8_t *bytes = (uint8_t *) *p;

        if (s->loading)
                bytes = NULL;
        mock_state_allocated(s, &bytes, &n, &allocated);
        if (!s->loading)
                return;
        if (s->error >= 0 && n > 0 && bytes[n - 1] != 0)
                s->error = -EBADMSG;
        if (s->error < 0 || n == 0)
                bytes = mfree(bytes);
        free(*p);
        *p = (char *) bytes;
}

void mock_state_strv(MockState *s, char ***l) {
        size_t n = strv_length(*l);
        char *one;
        int r;

        mock_state_value(s, n);
        for (size_t i = 0; i < n && s->error >= 0; i++) {
                one = s->loading ? NULL : (*l)[i];
                mock_state_string(s, &one);
                if (!s->loading || s->error < 0)
                        continue;
                r = one ? strv_consume(l, one) : -EBADMSG;
                if (r < 0)
                        s->error = r;
        }
}

void mock_state_time(MockState *s, uint64_t *t) {
        uint64_t now = now_usec(CLOCK_BOOTTIME);
        int64_t distance = *t ? (int64_t) (*t - now) : INT64_MAX;

        mock_state_value(s, distance);
        if (!s->loading || s->error < 0)
                return;
        /* The host may have been booted after that: then it is over, whenever it was. */
        if (distance < 0 && (uint64_t) -distance >= now)
                *t = 1;
        else
                *t = distance == INT64_MAX ? 0 : now + (uint64_t) distance;
}

static void whole_state(Mock *m, MockState *s) {
        uint64_t id = m->memory->id;

        mock_state_value(s, id);
        if (s->error >= 0 && !mock_memory_is(m, id))
                s->error = -ESTALE;
        mock_state_time(s, &m->started);
        mock_state_time(s, &m->load_at);
        mock_state_time(s, &m->flood_at);
        mock_state_time(s, &m->memory_at);
        mock_agent_state(m, s);
        mock_console_state(s);
        mock_sessions_state(m, s);
        if (s->loading && s->error >= 0 && s->at != s->n)
                s->error = -EBADMSG;
}

int mock_state_save(Mock *m, int fd) {
        _cleanup_free_ uint8_t *p = NULL;
        MockState s = {};
        Header header = {};
        int r;

        whole_state(m, &s);
        p = s.p;
        if (s.error < 0)
                return s.error;
        memcpy(header.magic, magic, sizeof(magic));
        header.size = s.n;
        header.hash = sip_hash(&key, s.p, s.n);
        r = write_all(fd, &header, sizeof(header));
        return r < 0 ? r : write_all(fd, s.p, s.n);
}

static int read_all(int fd, void *p, size_t n) {
        ssize_t k;

        for (size_t i = 0; i < n; i += (size_t) k) {
                k = read(fd, (uint8_t *) p + i, n - i);
                if (k <= 0)
                        return k == 0 ? -EBADMSG : negative_errno();
        }
        return 0;
}

int mock_state_load(Mock *m, int fd) {
        _cleanup_free_ uint8_t *p = NULL;
        MockState s = { .loading = true };
        Header header;
        int r;

        r = read_all(fd, &header, sizeof(header));
        if (r < 0)
                return r;
        if (memcmp(header.magic, magic, sizeof(magic)) != 0 || header.size > STATE_MAX)
                return -EBADMSG;
        s.p = p = new(uint8_t, header.size + 1);
        if (!p)
                return -ENOMEM;
        s.n = header.size;
        r = read_all(fd, p, s.n);
        if (r < 0)
                return r;
        if (sip_hash(&key, p, s.n) != header.hash)
                return -EBADMSG;
        whole_state(m, &s);
        if (s.error < 0)
                return s.error;
        m->memory->restored++;
        return 0;
}
