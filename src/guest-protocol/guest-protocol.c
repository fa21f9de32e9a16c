/* SPDX-License-Identifier: Apache-2.0 */

/* Frames and fields of the agent channel, see guest-protocol.h. Pure: bytes in, values out; no file
 * descriptors, no allocation other than the copies gp_reader_string() returns. */

#include "guest-protocol/guest-protocol.h"

#define FIELD_HEADER_SIZE 8u
#define STREAM_STATE_SIZE 48u
#define PREFIX_HEADER_SIZE 4u
#define ADDRESS_MAX 16u

/* The wire is little endian whatever the machine is, and nothing in it is aligned. */
static uint16_t read_le16(const uint8_t *p) {
        return (uint16_t) (p[0] | p[1] << 8);
}

static uint32_t read_le32(const uint8_t *p) {
        return (uint32_t) p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16 | (uint32_t) p[3] << 24;
}

static uint64_t read_le64(const uint8_t *p) {
        return (uint64_t) read_le32(p) | (uint64_t) read_le32(p + 4) << 32;
}

static void write_le16(uint8_t *p, uint16_t v) {
        p[0] = (uint8_t) v;
        p[1] = (uint8_t) (v >> 8);
}

static void write_le32(uint8_t *p, uint32_t v) {
        write_le16(p, (uint16_t) v);
        write_le16(p + 2, (uint16_t) (v >> 16));
}

static void write_le64(uint8_t *p, uint64_t v) {
        write_le32(p, (uint32_t) v);
        write_le32(p + 4, (uint32_t) (v >> 32));
}

int gp_header_parse(const uint8_t p[static GP_HEADER_SIZE], GpHeader *ret) {
        GpHeader h = {
                .length = read_le32(p),
                .type = read_le16(p + 4),
                .stream = read_le32(p + 8),
        };

        if (h.length > GP_PAYLOAD_MAX || read_le16(p + 6) != 0)
                return -EBADMSG;

        *ret = h;
        return 0;
}

void gp_header_write(uint8_t p[static GP_HEADER_SIZE], const GpHeader *h) {
        write_le32(p, h->length);
        write_le16(p + 4, h->type);
        write_le16(p + 6, 0);
        write_le32(p + 8, h->stream);
}

int gp_frame_next(const uint8_t *buf, size_t n, GpHeader *ret, const uint8_t **ret_payload, size_t *ret_size) {
        GpHeader h;
        int r;

        if (n < GP_HEADER_SIZE)
                return 0;

        r = gp_header_parse(buf, &h);
        if (r < 0)
                return r;
        if (n - GP_HEADER_SIZE < h.length)
                return 0;

        *ret = h;
        *ret_payload = buf + GP_HEADER_SIZE;
        *ret_size = GP_HEADER_SIZE + h.length;
        return 1;
}

void gp_writer_init(GpWriter *w, GpType type, uint32_t stream) {
        GpHeader h = { .type = (uint16_t) type, .stream = stream };

        /* Not the whole structure: that would clear 32 KiB for every frame. */
        w->n = GP_HEADER_SIZE;
        w->error = 0;
        gp_header_write(w->buf, &h);
}

void gp_writer_raw(GpWriter *w, const void *p, size_t n) {
        if (w->error < 0)
                return;
        if (n > sizeof(w->buf) - w->n) {
                w->error = -E2BIG;
                return;
        }
        if (n == 0)
                return;

        memcpy(w->buf + w->n, p, n);
        w->n += n;
}

void gp_writer_bytes(GpWriter *w, GpField tag, const void *p, size_t n) {
        uint8_t head[FIELD_HEADER_SIZE] = {};

        if (w->error < 0)
                return;
        /* Checked as one, so that a field that does not fit leaves nothing of itself behind. */
        if (sizeof(w->buf) - w->n < sizeof(head) || n > sizeof(w->buf) - w->n - sizeof(head)) {
                w->error = -E2BIG;
                return;
        }

        write_le16(head, (uint16_t) tag);
        write_le32(head + 4, (uint32_t) n);
        gp_writer_raw(w, head, sizeof(head));
        gp_writer_raw(w, p, n);
}

void gp_writer_u32(GpWriter *w, GpField tag, uint32_t v) {
        uint8_t b[4];

        write_le32(b, v);
        gp_writer_bytes(w, tag, b, sizeof(b));
}

void gp_writer_u64(GpWriter *w, GpField tag, uint64_t v) {
        uint8_t b[8];

        write_le64(b, v);
        gp_writer_bytes(w, tag, b, sizeof(b));
}

void gp_writer_string(GpWriter *w, GpField tag, const char *s) {
        if (s)
                gp_writer_bytes(w, tag, s, strlen(s));
}

void gp_writer_strv(GpWriter *w, GpField tag, char *const *l) {
        for (; l && *l; l++)
                gp_writer_string(w, tag, *l);
}

int gp_writer_finish(GpWriter *w, size_t *ret_size) {
        if (w->error < 0)
                return w->error;

        write_le32(w->buf, (uint32_t) (w->n - GP_HEADER_SIZE));
        *ret_size = w->n;
        return 0;
}

void gp_reader_init(GpReader *r, const uint8_t *payload, size_t n) {
        *r = (GpReader) { .p = payload, .n = n };
}

int gp_reader_next(GpReader *r) {
        uint32_t size;

        if (r->n == 0)
                return 0;
        if (r->n < FIELD_HEADER_SIZE)
                return -EBADMSG;

        size = read_le32(r->p + 4);
        if (read_le16(r->p + 2) != 0 || size > r->n - FIELD_HEADER_SIZE)
                return -EBADMSG;

        r->tag = read_le16(r->p);
        r->value = r->p + FIELD_HEADER_SIZE;
        r->size = size;
        r->p += FIELD_HEADER_SIZE + size;
        r->n -= FIELD_HEADER_SIZE + size;
        return 1;
}

int gp_reader_u32(const GpReader *r, uint32_t *ret) {
        if (r->size != 4)
                return -EBADMSG;

        *ret = read_le32(r->value);
        return 0;
}

int gp_reader_u64(const GpReader *r, uint64_t *ret) {
        if (r->size != 8)
                return -EBADMSG;

        *ret = read_le64(r->value);
        return 0;
}

int gp_reader_string(const GpReader *r, char **ret) {
        char *s;

        if (r->size > 0 && memchr(r->value, 0, r->size))
                return -EBADMSG;

        s = malloc((size_t) r->size + 1);
        if (!s)
                return -ENOMEM;
        if (r->size > 0)
                memcpy(s, r->value, r->size);
        s[r->size] = 0;

        *ret = s;
        return 0;
}

void gp_writer_stream_state(GpWriter *w, const GpStreamState *s) {
        uint8_t b[STREAM_STATE_SIZE] = {};

        write_le32(b, s->stream);
        write_le32(b + 4, s->flags);
        write_le64(b + 8, s->stdin_taken);
        write_le64(b + 16, s->stdin_window);
        write_le64(b + 24, s->stdout_sent);
        write_le64(b + 32, s->stderr_sent);
        gp_writer_bytes(w, GP_FIELD_STREAM, b, sizeof(b));
}

int gp_reader_stream_state(const GpReader *r, GpStreamState *ret) {
        if (r->size != STREAM_STATE_SIZE)
                return -EBADMSG;

        *ret = (GpStreamState) {
                .stream = read_le32(r->value),
                .flags = read_le32(r->value + 4),
                .stdin_taken = read_le64(r->value + 8),
                .stdin_window = read_le64(r->value + 16),
                .stdout_sent = read_le64(r->value + 24),
                .stderr_sent = read_le64(r->value + 32),
        };
        return 0;
}

static bool family_is_known(GpWriter *w, int family) {
        if (gp_family_size(family) == 0 && w->error >= 0)
                w->error = -EINVAL;
        return w->error >= 0;
}

void gp_writer_address(GpWriter *w, GpField tag, const GpAddress *a) {
        if (family_is_known(w, a->family))
                gp_writer_bytes(w, tag, a->bytes, gp_family_size(a->family));
}

static size_t write_prefix(uint8_t *b, const GpPrefix *p) {
        size_t n = gp_family_size(p->address.family);

        b[0] = p->length;
        memset(b + 1, 0, PREFIX_HEADER_SIZE - 1);
        memcpy(b + PREFIX_HEADER_SIZE, p->address.bytes, n);
        return PREFIX_HEADER_SIZE + n;
}

void gp_writer_prefix(GpWriter *w, GpField tag, const GpPrefix *p) {
        uint8_t b[PREFIX_HEADER_SIZE + ADDRESS_MAX];

        if (family_is_known(w, p->address.family))
                gp_writer_bytes(w, tag, b, write_prefix(b, p));
}

void gp_writer_route(GpWriter *w, GpField tag, const GpRoute *r) {
        uint8_t b[PREFIX_HEADER_SIZE + 2 * ADDRESS_MAX] = {};
        int family = r->destination.address.family;
        size_t n;

        if (!family_is_known(w, family))
                return;
        if (r->gateway.family != family && r->gateway.family != AF_UNSPEC) {
                w->error = -EINVAL;
                return;
        }
        n = write_prefix(b, &r->destination);
        if (r->gateway.family == family)
                memcpy(b + n, r->gateway.bytes, gp_family_size(family));
        gp_writer_bytes(w, tag, b, n + gp_family_size(family));
}

static int family_of_size(size_t n) {
        return n == 4 ? AF_INET : n == 16 ? AF_INET6 : -EBADMSG;
}

static int read_address(const uint8_t *p, size_t n, GpAddress *ret) {
        int family = family_of_size(n);

        if (family < 0)
                return family;
        *ret = (GpAddress) { .family = family };
        memcpy(ret->bytes, p, n);
        return 0;
}

static int read_prefix(const uint8_t *p, size_t n, GpPrefix *ret) {
        GpPrefix prefix = { .length = p[0] };
        int r;

        if (p[1] != 0 || p[2] != 0 || p[3] != 0)
                return -EBADMSG;
        r = read_address(p + PREFIX_HEADER_SIZE, n, &prefix.address);
        if (r < 0)
                return r;
        if (prefix.length > 8 * n)
                return -EBADMSG;
        *ret = prefix;
        return 0;
}

int gp_reader_address(const GpReader *r, GpAddress *ret) {
        return read_address(r->value, r->size, ret);
}

int gp_reader_prefix(const GpReader *r, GpPrefix *ret) {
        return r->size < PREFIX_HEADER_SIZE ? -EBADMSG : read_prefix(r->value, r->size - PREFIX_HEADER_SIZE, ret);
}

static bool is_zero(const uint8_t *p, size_t n) {
        for (size_t i = 0; i < n; i++)
                if (p[i] != 0)
                        return false;
        return true;
}

static bool has_bits_beyond(const GpPrefix *p) {
        size_t n = p->length / 8u;

        if (p->length % 8u > 0 && p->address.bytes[n++] & 0xffu >> p->length % 8u)
                return true;
        return !is_zero(p->address.bytes + n, sizeof(p->address.bytes) - n);
}

int gp_reader_route(const GpReader *r, GpRoute *ret) {
        size_t n = r->size < PREFIX_HEADER_SIZE ? 0 : (r->size - PREFIX_HEADER_SIZE) / 2;
        GpRoute route = {};
        int k;

        if (r->size != PREFIX_HEADER_SIZE + 2 * n)
                return -EBADMSG;
        k = read_prefix(r->value, n, &route.destination);
        if (k < 0)
                return k;
        if (has_bits_beyond(&route.destination))
                return -EBADMSG;
        if (!is_zero(r->value + PREFIX_HEADER_SIZE + n, n))
                (void) read_address(r->value + PREFIX_HEADER_SIZE + n, n, &route.gateway);
        *ret = route;
        return 0;
}

const char *gp_type_to_string(GpType t) {
        /* No default: the compiler names a type that is forgotten here. */
        switch (t) {
        case GP_HELLO:
                return "hello";
        case GP_READY:
                return "ready";
        case GP_BOOT_FAILED:
                return "boot-failed";
        case GP_STARTED:
                return "started";
        case GP_EXEC_FAILED:
                return "exec-failed";
        case GP_STDOUT:
                return "stdout";
        case GP_STDERR:
                return "stderr";
        case GP_EXIT:
                return "exit";
        case GP_COMMAND_EXIT:
                return "command-exit";
        case GP_RESUMED:
                return "resumed";
        case GP_TIME_SET:
                return "time-set";
        case GP_STOPPING:
                return "stopping";
        case GP_BOOT:
                return "boot";
        case GP_EXEC:
                return "exec";
        case GP_STDIN:
                return "stdin";
        case GP_RESIZE:
                return "resize";
        case GP_SIGNAL:
                return "signal";
        case GP_CLOSE:
                return "close";
        case GP_SHUTDOWN:
                return "shutdown";
        case GP_SET_TIME:
                return "set-time";
        case GP_RESUME:
                return "resume";
        case GP_WINDOW_UPDATE:
                return "window-update";
        }
        return NULL;
}
