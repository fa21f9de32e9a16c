/* SPDX-License-Identifier: Apache-2.0 */

/* The guest's end of the agent channel: what hero-init does, without a guest. */

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "basic/time-util.h"
#include "hypervisor/mock/mock-state.h"

/* Data is only added below DATA_MAX and input only read below INPUT_MAX, so that no answer ever finds the buffer
 * full: one read brings at most one buffer of requests, each answered with less than its own size, or with
 * RESUMED. */
#define OUT_MAX (320u * 1024u)
#define OUT_DATA_MAX (96u * 1024u)
#define OUT_INPUT_MAX (160u * 1024u)

static uint8_t in[GP_FRAME_MAX], out[OUT_MAX];
static size_t n_in, n_out;
static GpWriter writer;

static void gone(Mock *m) {
        m->agent_fd = mock_fd_gone(m->agent_fd);
        n_in = n_out = 0;
}

static void flush_output(Mock *m) {
        ssize_t n;

        if (m->agent_fd < 0 || n_out == 0)
                return;
        n = send(m->agent_fd, out, n_out, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0) {
                if (errno != EAGAIN && errno != EINTR)
                        gone(m);
                return;
        }
        memmove(out, out + n, n_out - (size_t) n);
        n_out -= (size_t) n;
}

bool mock_agent_has_room(void) {
        return n_out < OUT_DATA_MAX;
}

GpWriter *mock_agent_writer(GpType type, uint32_t stream) {
        gp_writer_init(&writer, type, stream);
        return &writer;
}

void mock_agent_send(GpWriter *w) {
        size_t n;

        if (gp_writer_finish(w, &n) < 0 || n > OUT_MAX - n_out)
                return;
        memcpy(out + n_out, w->buf, n);
        n_out += n;
}

void mock_agent_start(Mock *m) {
        static const uint8_t garbage[GP_HEADER_SIZE] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
        GpWriter *w;

        if (m->agent_fd < 0 || m->script.no_agent)
                return;
        if (m->script.agent_garbage) {
                (void) send(m->agent_fd, garbage, sizeof(garbage), MSG_NOSIGNAL);
                return;
        }
        w = mock_agent_writer(GP_HELLO, 0);
        gp_writer_u32(w, GP_FIELD_VERSION, GP_VERSION_MAJOR << 16 | GP_VERSION_MINOR);
        mock_agent_send(w);
        flush_output(m);
}

static int read_network_field(Mock *m, const GpReader *r) {
        char a[INET6_ADDRSTRLEN] = "", b[INET6_ADDRSTRLEN] = "-";
        GpAddress address;
        GpPrefix prefix;
        GpRoute route;
        uint32_t v = 0;
        int k;

        switch (r->tag) {
        case GP_FIELD_MTU:
                k = gp_reader_u32(r, &v);
                return k < 0 ? k : strv_extendf(&m->boot, "mtu %u", v);
        case GP_FIELD_DNS_SERVER:
                k = gp_reader_address(r, &address);
                if (k < 0)
                        return k;
                (void) inet_ntop(address.family, address.bytes, a, sizeof(a));
                return strv_extendf(&m->boot, "dns %s", a);
        case GP_FIELD_ADDRESS:
                k = gp_reader_prefix(r, &prefix);
                if (k < 0)
                        return k;
                (void) inet_ntop(prefix.address.family, prefix.address.bytes, a, sizeof(a));
                return strv_extendf(&m->boot, "address %s/%u", a, prefix.length);
        case GP_FIELD_ROUTE:
                k = gp_reader_route(r, &route);
                if (k < 0)
                        return k;
                (void) inet_ntop(route.destination.address.family, route.destination.address.bytes, a, sizeof(a));
                if (route.gateway.family != AF_UNSPEC)
                        (void) inet_ntop(route.gateway.family, route.gateway.bytes, b, sizeof(b));
                return strv_extendf(&m->boot, "route %s/%u %s", a, route.destination.length, b);
        default:
                return 0;
        }
}

static int read_boot_field(Mock *m, const GpReader *r) {
        static const struct {
                GpField tag;
                const char *word;
        } strings[] = {
                { GP_FIELD_ARG, "arg" },   { GP_FIELD_ENV, "env" },           { GP_FIELD_CWD, "cwd" },
                { GP_FIELD_USER, "user" }, { GP_FIELD_HOSTNAME, "hostname" }, { GP_FIELD_HOST, "host" },
        };
        _cleanup_free_ char *s = NULL;
        uint32_t v = 0;
        int k;

        if (r->tag == GP_FIELD_INIT || r->tag == GP_FIELD_SIGNAL) {
                k = gp_reader_u32(r, &v);
                return k < 0 ? k : strv_extendf(&m->boot, "%s %u", r->tag == GP_FIELD_INIT ? "init" : "signal", v);
        }
        for (size_t i = 0; i < ELEMENTSOF(strings); i++) {
                if (strings[i].tag != r->tag)
                        continue;
                k = gp_reader_string(r, &s);
                if (k >= 0)
                        k = strv_extendf(&m->boot, "%s %s", strings[i].word, s);
                if (k >= 0 && r->tag == GP_FIELD_CWD)
                        k = free_and_strdup(&m->boot_cwd, s);
                if (k >= 0 && r->tag == GP_FIELD_ENV)
                        k = strv_extend(&m->boot_env, s);
                return k;
        }
        return read_network_field(m, r);
}

static void handle_boot(Mock *m, const uint8_t *p, size_t n) {
        GpReader r;

        if (m->phase == GP_PHASE_WAITING) {
                m->phase = GP_PHASE_BOOTING;
                gp_reader_init(&r, p, n);
                while (gp_reader_next(&r) > 0 && read_boot_field(m, &r) >= 0)
                        ;
        }
        if (m->phase == GP_PHASE_BOOTING && !m->script.agent_silent)
                m->ready_at = now_usec(CLOCK_BOOTTIME) + m->script.slow_ready;
}

static void boot_finished(Mock *m, uint64_t now) {
        GpWriter *w;

        m->ready_at = 0;
        if (m->script.boot_failed) {
                w = mock_agent_writer(GP_BOOT_FAILED, 0);
                gp_writer_string(w, GP_FIELD_MESSAGE, "The mock guest was told to fail its boot.");
                gp_writer_u32(w, GP_FIELD_ERRNO, EIO);
                if (m->script.command_exit > 0)
                        gp_writer_u32(w, GP_FIELD_STATUS, (uint32_t) m->script.command_exit - 1);
                mock_agent_send(w);
                flush_output(m);
                mock_shutdown(m);
                return;
        }
        m->phase = GP_PHASE_READY;
        w = mock_agent_writer(GP_READY, 0);
        gp_writer_u64(w, GP_FIELD_BOOT_USEC, now - m->started);
        mock_agent_send(w);
}

void mock_agent_command_exit(Mock *m) {
        GpWriter *w;

        if (m->script.command_exit == 0 && m->script.command_signal == 0)
                return;
        w = mock_agent_writer(GP_COMMAND_EXIT, 0);
        if (m->script.command_signal > 0)
                gp_writer_u32(w, GP_FIELD_SIGNAL, (uint32_t) m->script.command_signal);
        else
                gp_writer_u32(w, GP_FIELD_STATUS, (uint32_t) m->script.command_exit - 1);
        mock_agent_send(w);
        flush_output(m);
}

static void handle_shutdown(Mock *m) {
        if (m->script.ignore_shutdown)
                return;
        m->phase = GP_PHASE_STOPPING;
        mock_agent_send(mock_agent_writer(GP_STOPPING, 0));
        flush_output(m);
        mock_shutdown(m);
}

static int read_exec_field(const GpReader *r, ExecRequest *request) {
        uint32_t v = 0;
        char *s = NULL;
        int k;

        switch (r->tag) {
        case GP_FIELD_ARG:
        case GP_FIELD_ENV:
                k = gp_reader_string(r, &s);
                return k < 0 ? k : strv_consume(r->tag == GP_FIELD_ARG ? &request->argv : &request->env, s);
        case GP_FIELD_CWD:
                free(request->cwd);
                request->cwd = NULL;
                return gp_reader_string(r, &request->cwd);
        case GP_FIELD_TTY:
                k = gp_reader_u32(r, &v);
                request->tty = v == 1;
                return k;
        case GP_FIELD_ROWS:
                return gp_reader_u32(r, &request->rows);
        case GP_FIELD_COLUMNS:
                return gp_reader_u32(r, &request->columns);
        default:
                return 0;
        }
}

static void handle_exec(Mock *m, uint32_t stream, const uint8_t *p, size_t n) {
        ExecRequest request = {
                .env = strv_copy(m->boot_env),
                .boot = m->boot,
                .memory = m->memory,
                .cwd = m->boot_cwd ? strdup(m->boot_cwd) : NULL,
        };
        GpReader r;
        int k;

        gp_reader_init(&r, p, n);
        while ((k = gp_reader_next(&r)) > 0) {
                k = read_exec_field(&r, &request);
                if (k < 0)
                        break;
        }
        if (k >= 0)
                mock_session_exec(m, stream, &request);
        strv_free(request.argv);
        strv_free(request.env);
        free(request.cwd);
}

/* The last value of a number field, 0 when there is none. */
static uint64_t find_number(const uint8_t *p, size_t n, GpField tag) {
        uint64_t found = 0;
        uint32_t small;
        GpReader r;

        gp_reader_init(&r, p, n);
        while (gp_reader_next(&r) > 0) {
                if (r.tag != tag || gp_reader_u64(&r, &found) >= 0)
                        continue;
                if (gp_reader_u32(&r, &small) >= 0)
                        found = small;
        }
        return found;
}

static void send_resumed(Mock *m) {
        GpWriter *w;

        m->resumed_at = 0;
        w = mock_agent_writer(GP_RESUMED, 0);
        gp_writer_u64(w, GP_FIELD_NONCE, m->resume_nonce);
        gp_writer_u32(w, GP_FIELD_PHASE, m->phase);
        for (size_t i = 0; i < ELEMENTSOF(m->sessions); i++)
                if (m->sessions[i]) {
                        GpStreamState s = mock_session_state(m->sessions[i]);

                        gp_writer_stream_state(w, &s);
                }
        mock_agent_send(w);
}

static void handle_resume(Mock *m, uint64_t nonce) {
        m->resume_nonce = nonce;
        if (m->script.slow_resume)
                m->resumed_at = now_usec(CLOCK_BOOTTIME) + m->script.slow_resume;
        else
                send_resumed(m);
}

static void handle_stream_frame(Mock *m, const GpHeader *h, const uint8_t *p) {
        Session *s = mock_session_find(m, h->stream);

        if (!s)
                return; /* ended meanwhile */
        switch (h->type) {
        case GP_STDIN:
                mock_session_stdin(m, s, p, h->length);
                break;
        case GP_RESIZE:
                mock_session_resize(m, s, (uint32_t) find_number(p, h->length, GP_FIELD_ROWS),
                                    (uint32_t) find_number(p, h->length, GP_FIELD_COLUMNS));
                break;
        case GP_SIGNAL:
                mock_session_signal(m, s, (int) find_number(p, h->length, GP_FIELD_SIGNAL));
                break;
        case GP_CLOSE:
                mock_session_signal(m, s, 1 /* SIGHUP */);
                break;
        case GP_WINDOW_UPDATE:
                mock_session_window(m, s, (GpType) find_number(p, h->length, GP_FIELD_KIND),
                                    find_number(p, h->length, GP_FIELD_OFFSET));
                break;
        default:
                break;
        }
}

static void handle_frame(Mock *m, const GpHeader *h, const uint8_t *p) {
        switch (h->type) {
        case GP_BOOT:
                handle_boot(m, p, h->length);
                break;
        case GP_EXEC:
                handle_exec(m, h->stream, p, h->length);
                break;
        case GP_SHUTDOWN:
                handle_shutdown(m);
                break;
        case GP_SET_TIME:
                mock_agent_send(mock_agent_writer(GP_TIME_SET, 0));
                break;
        case GP_RESUME:
                handle_resume(m, find_number(p, h->length, GP_FIELD_NONCE));
                break;
        default:
                handle_stream_frame(m, h, p);
        }
}

static void input(Mock *m) {
        const uint8_t *payload;
        size_t begin = 0, size;
        GpHeader h;
        ssize_t n;
        int r = 0;

        n = recv(m->agent_fd, in + n_in, sizeof(in) - n_in, MSG_DONTWAIT);
        if (n <= 0) {
                if (n == 0 || (errno != EAGAIN && errno != EINTR))
                        gone(m);
                return;
        }
        if (m->script.no_agent || m->script.agent_garbage)
                return;
        n_in += (size_t) n;
        while (!m->ended && (r = gp_frame_next(in + begin, n_in - begin, &h, &payload, &size)) > 0) {
                handle_frame(m, &h, payload);
                begin += size;
        }
        memmove(in, in + begin, n_in - begin);
        n_in -= begin;
        if (r < 0)
                gone(m);
}

short mock_agent_events(const Mock *m) {
        return (short) ((n_out < OUT_INPUT_MAX ? POLLIN : 0) | (n_out > 0 ? POLLOUT : 0));
}

void mock_agent_io(Mock *m, short revents) {
        if (revents & POLLOUT)
                flush_output(m);
        if (m->agent_fd >= 0 && (revents & (POLLIN | POLLHUP | POLLERR)) && n_out < OUT_INPUT_MAX)
                input(m);
}

void mock_agent_tick(Mock *m, uint64_t now) {
        if (m->ended || m->agent_fd < 0)
                return;
        if (m->ready_at && now >= m->ready_at)
                boot_finished(m, now);
        if (m->resumed_at && now >= m->resumed_at)
                send_resumed(m);
        /* What was held back for want of room goes on when the buffer went out at once, for then no POLLOUT will
         * come. The windows of the sessions bound this. */
        do {
                mock_sessions_tick(m, now);
                if (n_out == 0)
                        return;
                flush_output(m);
        } while (n_out == 0 && m->agent_fd >= 0);
}

uint64_t mock_agent_deadline(const Mock *m) {
        uint64_t d = mock_sessions_deadline(m);

        if (m->agent_fd < 0)
                return 0;
        if (m->resumed_at && (d == 0 || m->resumed_at < d))
                d = m->resumed_at;
        return m->ready_at && (d == 0 || m->ready_at < d) ? m->ready_at : d;
}

/* What came of the channel and was not understood yet, or is still to go into it, is part of the guest: the sockets
 * outlive the VMM, and nothing in them may be missing or come twice. */
void mock_agent_state(Mock *m, MockState *s) {
        mock_state_value(s, m->phase);
        mock_state_strv(s, &m->boot);
        mock_state_strv(s, &m->boot_env);
        mock_state_string(s, &m->boot_cwd);
        mock_state_time(s, &m->ready_at);
        mock_state_buffer(s, in, sizeof(in), &n_in);
        mock_state_buffer(s, out, sizeof(out), &n_out);
}
