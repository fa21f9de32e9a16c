/* SPDX-License-Identifier: Apache-2.0 */

/* Exec sessions of the mock guest: a few commands, each a state machine, so that one process plays them all.
 *
 *     echo WORD…       complain WORD… (to stderr, status 1)       true, false      pwd, env
 *     cat              stdin to stdout, with flow control         sleep SECONDS    burn SECONDS (of CPU)
 *     boot             what BOOT said, a line per field
 *     spew SIZE        that many bytes of output                  size             ROWS COLUMNS, now and whenever
 *     sh -c COMMAND    "exit N", or one of these                                   it changes, until EOF
 *     restored         how often the guest was, as its memory has it
 *
 * Anything else is EXEC_FAILED, ENOENT. With a terminal, ^D is the end of input and ^C is SIGINT. */

#include <stdio.h>

#include "basic/alloc-util.h"
#include "basic/parse-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "basic/time-util.h"
#include "hypervisor/mock/mock-state.h"

#define BURN_SLICE (5 * USEC_PER_MSEC)

typedef struct Output {
        GpType type;
        GpSender flow;
        uint8_t *buf;
        size_t n, allocated;
        bool closed; /* the end of file was sent */
} Output;

typedef enum Mode { MODE_PLAIN, MODE_CAT, MODE_SLEEP, MODE_BURN, MODE_SPEW, MODE_SIZE } Mode;

struct Session {
        uint32_t stream;
        bool tty, done, stdin_closed;
        Mode mode;
        uint32_t rows, columns;
        uint32_t status;
        int sig; /* it ended by that one */
        uint64_t until, left;
        GpReceiver in;
        Output out, err;
};

static void append(Output *o, const void *p, size_t n) {
        if (n == 0 || !GREEDY_REALLOC(o->buf, o->allocated, o->n + n))
                return;
        memcpy(o->buf + o->n, p, n);
        o->n += n;
}

static void append_words(Session *s, Output *o, char **words) {
        STRV_FOREACH(w, words) {
                append(o, *w, strlen(*w));
                if (w[1])
                        append(o, " ", 1);
        }
        append(o, s->tty ? "\r\n" : "\n", s->tty ? 2 : 1);
}

static void append_lines(Session *s, char *const *lines) {
        STRV_FOREACH(l, lines) {
                char *one[] = { *l, NULL };

                append_words(s, &s->out, one);
        }
}

static void say_size(Session *s) {
        char buf[32];

        (void) snprintf(buf, sizeof(buf), "%u %u\n", s->rows, s->columns);
        append(&s->out, buf, strlen(buf));
}

static void say_restored(Session *s, const MockMemory *memory) {
        char buf[32];

        (void) snprintf(buf, sizeof(buf), "%llu\n", memory ? (unsigned long long) memory->restored : 0);
        append(&s->out, buf, strlen(buf));
}

static int wait_for(Session *s, Mode mode, const char *arg) {
        double seconds;

        if (!arg || parse_double(arg, &seconds) < 0 || seconds < 0 || seconds > 1e6)
                return -EINVAL;
        s->mode = mode;
        s->done = false;
        s->until = now_usec(CLOCK_BOOTTIME) + (uint64_t) (seconds * (double) USEC_PER_SEC);
        return 0;
}

static int spew(Session *s, const char *arg) {
        s->mode = MODE_SPEW;
        s->done = false;
        return arg ? parse_size(arg, &s->left) : -EINVAL;
}

static int begin(Session *s, char **argv, const ExecRequest *request);

static int shell(Session *s, const char *command, const ExecRequest *request) {
        _cleanup_strv_free_ char **words = NULL;
        _cleanup_free_ char *copy = NULL;
        const char *status;
        unsigned n;
        char *p;
        int r;

        status = command ? startswith(command, "exit ") : NULL;
        if (status && parse_uint(status, 255, &n) >= 0) {
                s->status = n;
                return 0;
        }
        p = copy = strdup(strempty(command));
        if (!copy)
                return -ENOMEM;
        for (char *w; (w = strsep(&p, " "));)
                if (!isempty(w)) {
                        r = strv_extend(&words, w);
                        if (r < 0)
                                return r;
                }
        r = words && !streq(words[0], "sh") ? begin(s, words, request) : -ENOENT;
        if (r == -ENOENT) {
                s->status = 127; /* as a shell would */
                return 0;
        }
        return r;
}

/* 0, or -errno: the command could not be started. */
static int begin(Session *s, char **argv, const ExecRequest *request) {
        char *cwd[] = { request->cwd ?: (char *) "/", NULL };
        const char *name = strrchr(argv[0], '/');

        name = name ? name + 1 : argv[0];
        s->done = true;
        if (streq(name, "true"))
                return 0;
        if (streq(name, "false"))
                s->status = 1;
        else if (streq(name, "echo"))
                append_words(s, &s->out, argv + 1);
        else if (streq(name, "complain")) {
                append_words(s, s->tty ? &s->out : &s->err, argv + 1);
                s->status = 1;
        } else if (streq(name, "env"))
                append_lines(s, request->env);
        else if (streq(name, "boot"))
                append_lines(s, request->boot);
        else if (streq(name, "restored"))
                say_restored(s, request->memory);
        else if (streq(name, "pwd"))
                append_lines(s, cwd);
        else if (streq(name, "sleep"))
                return wait_for(s, MODE_SLEEP, argv[1]);
        else if (streq(name, "burn"))
                return wait_for(s, MODE_BURN, argv[1]);
        else if (streq(name, "spew"))
                return spew(s, argv[1]);
        else if (streq(name, "sh") && argv[1] && streq(argv[1], "-c"))
                return shell(s, argv[2], request);
        else if (streq(name, "cat") || streq(name, "size")) {
                s->mode = streq(name, "cat") ? MODE_CAT : MODE_SIZE;
                s->done = false;
                if (s->mode == MODE_SIZE)
                        say_size(s);
        } else
                return -ENOENT;
        return 0;
}

static void send_failure(uint32_t stream, int error, const char *message) {
        GpWriter *w = mock_agent_writer(GP_EXEC_FAILED, stream);

        gp_writer_u32(w, GP_FIELD_ERRNO, (uint32_t) -error);
        gp_writer_string(w, GP_FIELD_MESSAGE, message);
        mock_agent_send(w);
}

static Session *session_free(Session *s) {
        free(s->out.buf);
        free(s->err.buf);
        free(s);
        return NULL;
}

static Session *session_new(uint32_t stream, const ExecRequest *request) {
        Session *s = new0(Session, 1);

        if (!s)
                return NULL;
        *s = (Session) {
                .stream = stream,
                .tty = request->tty,
                .rows = request->rows,
                .columns = request->columns,
                .out.type = GP_STDOUT,
                .err.type = GP_STDERR,
        };
        gp_receiver_init(&s->in);
        gp_sender_init(&s->out.flow);
        gp_sender_init(&s->err.flow);
        return s;
}

void mock_session_exec(Mock *m, uint32_t stream, ExecRequest *request) {
        Session **slot = NULL, *s;
        GpWriter *w;
        int r;

        for (size_t i = 0; i < ELEMENTSOF(m->sessions) && !slot; i++)
                if (!m->sessions[i])
                        slot = &m->sessions[i];
        if (m->phase != GP_PHASE_READY)
                return send_failure(stream, -EAGAIN, "The guest has not booted.");
        if (!slot || mock_session_find(m, stream))
                return send_failure(stream, -EAGAIN, "There are too many sessions.");
        if (!request->argv)
                return send_failure(stream, -EINVAL, "There is no command.");
        s = session_new(stream, request);
        if (!s)
                return send_failure(stream, -ENOMEM, "The guest is out of memory.");
        r = begin(s, request->argv, request);
        if (r < 0) {
                session_free(s);
                return send_failure(stream, r, r == -ENOENT ? "There is no such command." : "The arguments are wrong.");
        }
        *slot = s;
        w = mock_agent_writer(GP_STARTED, stream);
        gp_writer_u32(w, GP_FIELD_PID, 100 + stream);
        mock_agent_send(w);
}

Session *mock_session_find(Mock *m, uint32_t stream) {
        for (size_t i = 0; i < ELEMENTSOF(m->sessions); i++)
                if (m->sessions[i] && m->sessions[i]->stream == stream)
                        return m->sessions[i];
        return NULL;
}

void mock_session_signal(Mock *m, Session *s, int sig) {
        if (s->done)
                return;
        s->sig = sig;
        s->done = true;
        s->left = 0;
}

static void end_of_input(Session *s) {
        s->stdin_closed = true;
        if (s->mode == MODE_CAT || s->mode == MODE_SIZE)
                s->done = true;
}

/* Opens the window again for what lies nowhere any more. */
static void grant(Session *s) {
        uint64_t offset;
        GpWriter *w;

        if (s->done || !gp_receiver_grant(&s->in, s->mode == MODE_CAT ? s->out.n : 0, &offset))
                return;
        w = mock_agent_writer(GP_WINDOW_UPDATE, s->stream);
        gp_writer_u32(w, GP_FIELD_KIND, GP_STDIN);
        gp_writer_u64(w, GP_FIELD_OFFSET, offset);
        mock_agent_send(w);
}

void mock_session_stdin(Mock *m, Session *s, const uint8_t *p, size_t n) {
        const uint8_t *special = NULL;

        if (s->done || s->stdin_closed || gp_receiver_take(&s->in, n) < 0)
                return;
        for (size_t i = 0; s->tty && i < n && !special; i++)
                if (p[i] == 3 || p[i] == 4)
                        special = p + i;
        if (s->mode == MODE_CAT)
                append(&s->out, p, special ? (size_t) (special - p) : n);
        if (special && *special == 3)
                mock_session_signal(m, s, 2 /* SIGINT */);
        else if (special || n == 0)
                end_of_input(s);
}

void mock_session_window(Mock *m, Session *s, GpType kind, uint64_t offset) {
        if (kind == GP_STDOUT)
                (void) gp_sender_window(&s->out.flow, offset);
        else if (kind == GP_STDERR)
                (void) gp_sender_window(&s->err.flow, offset);
}

void mock_session_resize(Mock *m, Session *s, uint32_t rows, uint32_t columns) {
        s->rows = rows;
        s->columns = columns;
        if (s->mode == MODE_SIZE && !s->done)
                say_size(s);
}

GpStreamState mock_session_state(const Session *s) {
        return (GpStreamState) {
                .stream = s->stream,
                .flags = (s->stdin_closed ? GP_STREAM_STDIN_CLOSED : 0) | (s->out.closed ? GP_STREAM_STDOUT_CLOSED : 0) |
                        (s->err.closed ? GP_STREAM_STDERR_CLOSED : 0) | (s->tty ? GP_STREAM_TTY : 0),
                .stdin_taken = s->in.taken,
                .stdin_window = s->in.window,
                .stdout_sent = s->out.flow.sent,
                .stderr_sent = s->err.flow.sent,
        };
}

static void send_data(Session *s, Output *o, const void *p, size_t n) {
        GpWriter *w = mock_agent_writer(o->type, s->stream);

        gp_writer_raw(w, p, n);
        mock_agent_send(w);
        gp_sender_sent(&o->flow, n);
}

static void pump_spew(Session *s) {
        static const char line[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ\n";
        static char block[GP_DATA_MAX / sizeof(line) * (sizeof(line) - 1)];
        size_t n;

        if (!block[0])
                for (size_t i = 0; i < sizeof(block); i += sizeof(line) - 1)
                        memcpy(block + i, line, sizeof(line) - 1);
        while (mock_agent_has_room() && s->left > 0 && (n = gp_sender_room(&s->out.flow)) > 0) {
                n = MIN2(MIN2(n, s->left), sizeof(block));
                send_data(s, &s->out, block, n);
                s->left -= n;
        }
        if (s->left == 0)
                s->done = true;
}

/* True when everything is out, the end of file included. */
static bool pump(Session *s, Output *o) {
        size_t sent = 0, n;

        while (mock_agent_has_room() && sent < o->n && (n = gp_sender_room(&o->flow)) > 0) {
                n = MIN2(n, o->n - sent);
                send_data(s, o, o->buf + sent, n);
                sent += n;
        }
        if (sent > 0) {
                memmove(o->buf, o->buf + sent, o->n - sent);
                o->n -= sent;
        }
        if (s->done && o->n == 0 && !o->closed) {
                send_data(s, o, NULL, 0);
                o->closed = true;
        }
        return o->closed;
}

static void send_exit(const Session *s) {
        GpWriter *w = mock_agent_writer(GP_EXIT, s->stream);

        gp_writer_u32(w, s->sig ? GP_FIELD_SIGNAL : GP_FIELD_STATUS, s->sig ? (uint32_t) s->sig : s->status);
        mock_agent_send(w);
}

/* True when the session is over. */
static bool session_tick(Session *s, uint64_t now) {
        if (!s->done && s->mode == MODE_BURN)
                mock_spin(MIN2(BURN_SLICE, s->until > now ? s->until - now : 0));
        if (!s->done && (s->mode == MODE_BURN || s->mode == MODE_SLEEP) && now_usec(CLOCK_BOOTTIME) >= s->until)
                s->done = true;
        if (!s->done && s->mode == MODE_SPEW)
                pump_spew(s);
        if (s->tty)
                s->err.closed = true; /* there is only one stream of output */
        if (!pump(s, &s->out) || !pump(s, &s->err)) {
                grant(s);
                return false;
        }
        send_exit(s);
        return true;
}

void mock_sessions_tick(Mock *m, uint64_t now) {
        for (size_t i = 0; i < ELEMENTSOF(m->sessions); i++)
                if (m->sessions[i] && session_tick(m->sessions[i], now))
                        m->sessions[i] = session_free(m->sessions[i]);
}

uint64_t mock_sessions_deadline(const Mock *m) {
        uint64_t d = 0;

        for (size_t i = 0; i < ELEMENTSOF(m->sessions); i++) {
                const Session *s = m->sessions[i];

                if (!s || s->done)
                        continue;
                if (s->mode == MODE_BURN)
                        return 1; /* at once */
                if (s->mode == MODE_SLEEP && (d == 0 || s->until < d))
                        d = s->until;
        }
        return d;
}

static void session_state(Session *s, MockState *state) {
        Output *outputs[] = { &s->out, &s->err };

        /* Whole, for only the same program reads it; then what is elsewhere now. */
        mock_state_value(state, *s);
        for (size_t i = 0; i < ELEMENTSOF(outputs); i++) {
                if (state->loading) {
                        outputs[i]->buf = NULL;
                        outputs[i]->allocated = 0;
                }
                mock_state_allocated(state, &outputs[i]->buf, &outputs[i]->n, &outputs[i]->allocated);
        }
        mock_state_time(state, &s->until);
}

void mock_sessions_state(Mock *m, MockState *s) {
        for (size_t i = 0; i < ELEMENTSOF(m->sessions); i++) {
                bool there = m->sessions[i] != NULL;

                mock_state_value(s, there);
                if (!there || s->error < 0)
                        continue;
                if (s->loading)
                        m->sessions[i] = new0(Session, 1);
                if (m->sessions[i])
                        session_state(m->sessions[i], s);
                else
                        s->error = -ENOMEM;
        }
}
