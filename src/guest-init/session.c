/* SPDX-License-Identifier: Apache-2.0 */

#include "guest-init/session.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "guest-init/exec-request.h"
#include "guest-init/session-start.h"
#include "guest-protocol/flow.h"

#define SILENCE_USEC (200 * USEC_PER_MSEC)
#define DRAIN_USEC (5 * USEC_PER_SEC)
#define CLOSE_USEC (5 * USEC_PER_SEC)

typedef struct Output {
        Source source;
        GpSender sender;
        bool readable;
        bool ended;            /* end of file was sent */
        size_t left_behind;    /* what the pipe held when the leader ended: always sent */
        uint64_t silent_until; /* closed then unless something comes; 0: not counting */
} Output;

struct Session {
        TAILQ_ENTRY(Session) sessions;
        uint32_t stream;
        pid_t pid;             /* leader of its session and process group; 0 once it was reaped */
        int status;            /* wait status, valid then */
        bool tty, started, closed, ended;
        char *program, *cwd;   /* for the sentence when it cannot be executed */

        Source error;
        Source input;
        Buffer stdin;
        GpReceiver receiver;
        bool writable, stdin_eof, line_open;

        Output outputs[2];     /* stdout, stderr */
        uint64_t drain_until;  /* outputs are closed then though they are never silent */
        uint64_t kill_at;      /* after CLOSE; 0: not */
};

static const GpType output_type[2] = { GP_STDOUT, GP_STDERR };

static Session *find(Guest *g, uint32_t stream) {
        Session *s;

        TAILQ_FOREACH(s, &g->sessions, sessions)
                if (s->stream == stream && !s->ended)
                        return s;
        return NULL;
}

static void session_free(Guest *g, Session *s) {
        source_close(g->epoll_fd, &s->error);
        source_close(g->epoll_fd, &s->input);
        for (size_t i = 0; i < ELEMENTSOF(s->outputs); i++)
                source_close(g->epoll_fd, &s->outputs[i].source);
        buffer_done(&s->stdin);
        free(s->program);
        free(s->cwd);
        TAILQ_REMOVE(&g->sessions, s, sessions);
        g->n_sessions--;
        free(s);
}

/* Start. */

static void send_exec_failed(Guest *g, uint32_t stream, int error, const char *message) {
        GpWriter *w = guest_writer(GP_EXEC_FAILED, stream);

        gp_writer_u32(w, GP_FIELD_ERRNO, (uint32_t) error);
        gp_writer_string(w, GP_FIELD_MESSAGE, message);
        guest_send(g, w);
}

/* The error pipe says whether the program was executed. */
static void on_error_pipe(Source *source, uint32_t events) {
        Session *s = source->userdata;

        s->started = true; /* looked at by pump_start() */
}

static void on_input(Source *source, uint32_t events) {
        ((Session *) source->userdata)->writable = true;
}

static void on_output(Source *source, uint32_t events) {
        ((Output *) source->userdata)->readable = true;
}

static int session_watch(Guest *g, Session *s, SessionProcess *p) {
        int r;

        r = source_add(g->epoll_fd, &s->error, p->error_fd, EPOLLIN, on_error_pipe, s);
        if (r < 0)
                return r;
        p->error_fd = -EBADF;

        r = source_add(g->epoll_fd, &s->input, p->input_fd, EPOLLOUT, on_input, s);
        if (r < 0)
                return r;
        p->input_fd = -EBADF;

        for (size_t i = 0; i < ELEMENTSOF(s->outputs); i++) {
                if (p->output_fds[i] < 0) {
                        s->outputs[i].ended = true;
                        continue;
                }
                r = source_add(g->epoll_fd, &s->outputs[i].source, p->output_fds[i], EPOLLIN, on_output,
                                &s->outputs[i]);
                if (r < 0)
                        return r;
                p->output_fds[i] = -EBADF;
        }
        return 0;
}

static Session *session_new(Guest *g, uint32_t stream) {
        Session *s = new0(Session, 1);

        if (!s)
                return NULL;

        s->stream = stream;
        s->error = s->input = SOURCE_NONE;
        gp_receiver_init(&s->receiver);
        for (size_t i = 0; i < ELEMENTSOF(s->outputs); i++) {
                s->outputs[i].source = SOURCE_NONE;
                gp_sender_init(&s->outputs[i].sender);
        }
        TAILQ_INSERT_TAIL(&g->sessions, s, sessions);
        g->n_sessions++;
        return s;
}

static int session_start(Guest *g, uint32_t stream, ExecRequest *e, char **ret_why) {
        _cleanup_(session_process_done) SessionProcess p = SESSION_PROCESS_NONE;
        Session *s;
        int r;

        s = session_new(g, stream);
        if (!s)
                return -ENOMEM;

        r = session_process_start(&g->config, e, &p, ret_why);
        if (r >= 0)
                r = session_watch(g, s, &p);
        if (r < 0) {
                if (p.pid > 0)
                        (void) kill(p.pid, SIGKILL);
                session_free(g, s);
                return r;
        }

        s->pid = p.pid;
        s->tty = e->tty;
        s->program = strdup(e->args[0]);
        s->cwd = TAKE_PTR(e->cwd);
        return 0;
}

void session_exec(Guest *g, uint32_t stream, const uint8_t *payload, size_t n) {
        _cleanup_(exec_request_done) ExecRequest e = {};
        _cleanup_free_ char *why = NULL;
        int r;

        if (stream == 0 || find(g, stream))
                return guest_log("EXEC for the stream %u, which is not free, was ignored.", stream);
        if (g->phase != GP_PHASE_READY)
                return send_exec_failed(g, stream, EHOSTDOWN, "The guest is not running: it is booting or stopping");
        if (g->n_sessions >= GP_SESSIONS_MAX)
                return send_exec_failed(g, stream, EUSERS, "There are 64 sessions in the guest already");

        r = exec_request_parse(payload, n, &e);
        if (r < 0)
                return send_exec_failed(g, stream, -r, r == -ENODATA ? "No command was given" : "Malformed EXEC");

        r = session_start(g, stream, &e, &why);
        if (r < 0)
                send_exec_failed(g, stream, -r, why ?: strerror(-r));
}

/* Frames. */

static bool read_number(const uint8_t *payload, size_t n, GpField tag, uint32_t *ret) {
        GpReader r;

        gp_reader_init(&r, payload, n);
        while (gp_reader_next(&r) > 0)
                if (r.tag == tag)
                        return gp_reader_u32(&r, ret) >= 0;
        return false;
}

void session_stdin(Guest *g, uint32_t stream, const uint8_t *payload, size_t n) {
        Session *s = find(g, stream);

        if (!s || s->stdin_eof)
                return;
        if (n == 0) {
                s->stdin_eof = true;
                return;
        }
        if (gp_receiver_take(&s->receiver, n) < 0)
                return guest_log("Input beyond the window of the session %u was dropped.", stream);

        /* Nobody reads it any more: counted, granted again, and forgotten. */
        if (s->input.fd >= 0 && buffer_append(&s->stdin, payload, n) < 0)
                guest_log("Out of memory: %zu bytes of input for the session %u were lost.", n, stream);
}

void session_resize(Guest *g, uint32_t stream, const uint8_t *payload, size_t n) {
        Session *s = find(g, stream);
        struct winsize ws = {};
        GpReader r;

        if (!s || !s->tty || s->outputs[0].ended)
                return;
        gp_reader_init(&r, payload, n);
        while (gp_reader_next(&r) > 0)
                if ((r.tag == GP_FIELD_ROWS && exec_request_parse_size(&r, &ws.ws_row) < 0) ||
                                (r.tag == GP_FIELD_COLUMNS && exec_request_parse_size(&r, &ws.ws_col) < 0))
                        return;
        (void) ioctl(s->outputs[0].source.fd, TIOCSWINSZ, &ws);
}

static void signal_group(const Session *s, int sig) {
        if (s->pid <= 0)
                return;
        /* No group of its own yet: the child has not come to its setsid(). */
        if (kill(-s->pid, sig) < 0 && errno == ESRCH)
                (void) kill(s->pid, sig);
}

void session_signal(Guest *g, uint32_t stream, const uint8_t *payload, size_t n) {
        Session *s = find(g, stream);
        uint32_t sig;

        if (s && read_number(payload, n, GP_FIELD_SIGNAL, &sig) && sig > 0 && sig <= 64)
                signal_group(s, (int) sig);
}

void session_window(Guest *g, uint32_t stream, const uint8_t *payload, size_t n) {
        Session *s = find(g, stream);
        uint64_t offset = 0;
        uint32_t kind = 0;
        GpReader r;

        if (!s)
                return;
        gp_reader_init(&r, payload, n);
        while (gp_reader_next(&r) > 0)
                if ((r.tag == GP_FIELD_KIND && gp_reader_u32(&r, &kind) < 0) ||
                                (r.tag == GP_FIELD_OFFSET && gp_reader_u64(&r, &offset) < 0))
                        return;
        for (size_t i = 0; i < ELEMENTSOF(s->outputs); i++)
                if (kind == output_type[i])
                        (void) gp_sender_window(&s->outputs[i].sender, offset);
}

/* Ends. */

static void input_end(Guest *g, Session *s) {
        source_close(g->epoll_fd, &s->input);
        buffer_done(&s->stdin);
}

static void output_end(Guest *g, Session *s, size_t i) {
        Output *o = &s->outputs[i];

        if (o->ended)
                return;
        if (!channel_reserve_data(&g->channel, 0))
                return guest_log("Out of memory, end of file of the session %u not sent.", s->stream);
        channel_send_data(&g->channel, output_type[i], s->stream, 0);
        source_close(g->epoll_fd, &o->source);
        o->ended = true;
        o->readable = false;
        o->silent_until = 0;
}

void session_close(Guest *g, uint32_t stream) {
        Session *s = find(g, stream);

        if (!s || s->closed)
                return;
        s->closed = true;
        signal_group(s, SIGHUP);
        s->kill_at = now_usec(CLOCK_MONOTONIC) + CLOSE_USEC;
        input_end(g, s);
        for (size_t i = 0; i < ELEMENTSOF(s->outputs); i++)
                output_end(g, s, i);
}

static void send_exit(Guest *g, const Session *s) {
        GpWriter *w = guest_writer(GP_EXIT, s->stream);

        if (WIFSIGNALED(s->status))
                gp_writer_u32(w, GP_FIELD_SIGNAL, (uint32_t) WTERMSIG(s->status));
        else
                gp_writer_u32(w, GP_FIELD_STATUS, (uint32_t) WEXITSTATUS(s->status));
        guest_send(g, w);
}

bool sessions_reaped(Guest *g, pid_t pid, int status) {
        Session *s;

        TAILQ_FOREACH(s, &g->sessions, sessions) {
                if (s->pid != pid)
                        continue;

                s->pid = 0;
                s->status = status;
                s->kill_at = 0;
                s->drain_until = now_usec(CLOCK_MONOTONIC) + DRAIN_USEC;
                for (size_t i = 0; i < ELEMENTSOF(s->outputs); i++) {
                        Output *o = &s->outputs[i];
                        int left = 0;

                        if (o->ended)
                                continue;
                        (void) ioctl(o->source.fd, FIONREAD, &left);
                        o->left_behind = left > 0 ? (size_t) left : 0;
                        o->readable = true; /* to find end of file or silence */
                }
                return true;
        }
        return false;
}

/* Work. */

static bool pump_start(Guest *g, Session *s) {
        SpawnError e;
        ssize_t n;

        if (s->error.fd < 0 || !s->started)
                return false;

        n = read(s->error.fd, &e, sizeof(e));
        if (n < 0 && errno == EAGAIN) {
                s->started = false;
                return false;
        }
        source_close(g->epoll_fd, &s->error);

        if (n == (ssize_t) sizeof(e)) {
                _cleanup_free_ char *why = spawn_error_sentence(&e, strna(s->program), s->cwd);

                send_exec_failed(g, s->stream, e.error, why);
                s->ended = true;
        } else {
                GpWriter *w = guest_writer(GP_STARTED, s->stream);

                /* 0: it has ended already. */
                gp_writer_u32(w, GP_FIELD_PID, (uint32_t) s->pid);
                guest_send(g, w);
        }
        return true;
}

/* End of input on a terminal is a character, and only at the beginning of a line. */
static void tty_end_of_input(Session *s) {
        struct termios t;
        char eof[2];

        if (tcgetattr(s->input.fd, &t) < 0 || !(t.c_lflag & ICANON))
                return;
        eof[0] = eof[1] = (char) t.c_cc[VEOF];
        (void) !write(s->input.fd, eof, s->line_open ? 2 : 1);
}

static bool pump_input(Guest *g, Session *s) {
        bool moved = false;
        uint64_t offset;

        while (s->input.fd >= 0 && s->writable && buffer_size(&s->stdin) > 0) {
                ssize_t n = write(s->input.fd, buffer_front(&s->stdin), buffer_size(&s->stdin));

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno == EAGAIN)
                        s->writable = false;
                else if (n < 0)
                        input_end(g, s); /* the reader closed it */
                else {
                        s->line_open = buffer_front(&s->stdin)[n - 1] != '\n';
                        buffer_consume(&s->stdin, (size_t) n);
                        moved = true;
                }
        }

        if (s->stdin_eof && s->input.fd >= 0 && buffer_size(&s->stdin) == 0) {
                if (s->tty)
                        tty_end_of_input(s);
                input_end(g, s);
        }

        if (gp_receiver_grant(&s->receiver, buffer_size(&s->stdin), &offset)) {
                GpWriter *w = guest_writer(GP_WINDOW_UPDATE, s->stream);

                gp_writer_u32(w, GP_FIELD_KIND, GP_STDIN);
                gp_writer_u64(w, GP_FIELD_OFFSET, offset);
                guest_send(g, w);
        }
        return moved;
}

/* One frame at most, so that sessions take turns. */
static bool pump_output(Guest *g, Session *s, size_t i, uint64_t now) {
        Output *o = &s->outputs[i];
        size_t room = gp_sender_room(&o->sender);
        uint8_t *p;
        ssize_t n;

        if (o->ended)
                return false;
        if (!o->readable) {
                if (o->silent_until > 0 && now >= o->silent_until)
                        output_end(g, s, i);
                return false;
        }
        if (room == 0 || !channel_takes_data(&g->channel))
                return false;

        p = channel_reserve_data(&g->channel, room);
        if (!p)
                return false;
        do
                n = read(o->source.fd, p, room);
        while (n < 0 && errno == EINTR);

        if (n < 0 && errno == EAGAIN) {
                o->readable = false;
                if (s->pid == 0)
                        o->silent_until = now + SILENCE_USEC;
                return false;
        }
        if (n <= 0) { /* EIO is the end of file of a terminal */
                output_end(g, s, i);
                return true;
        }

        channel_send_data(&g->channel, output_type[i], s->stream, (size_t) n);
        gp_sender_sent(&o->sender, (size_t) n);
        o->silent_until = 0;
        o->left_behind -= MIN2(o->left_behind, (size_t) n);
        if (s->pid == 0 && o->left_behind == 0 && now >= s->drain_until)
                output_end(g, s, i);
        return true;
}

static bool session_pump(Guest *g, Session *s, uint64_t now) {
        bool moved;

        if (s->kill_at > 0 && now >= s->kill_at) {
                signal_group(s, SIGKILL);
                s->kill_at = 0;
        }
        moved = pump_start(g, s);
        if (s->ended || s->error.fd >= 0)
                return moved;
        if (pump_input(g, s))
                moved = true;
        for (size_t i = 0; i < ELEMENTSOF(s->outputs); i++)
                if (pump_output(g, s, i, now))
                        moved = true;

        if (s->pid == 0 && s->outputs[0].ended && s->outputs[1].ended) {
                send_exit(g, s);
                s->ended = true;
        }
        return moved;
}

bool sessions_pump(Guest *g, uint64_t now) {
        Session *s, *next;
        bool moved = false;

        for (s = TAILQ_FIRST(&g->sessions); s; s = next) {
                next = TAILQ_NEXT(s, sessions);
                if (session_pump(g, s, now))
                        moved = true;
                if (s->ended)
                        session_free(g, s);
        }
        return moved;
}

uint64_t sessions_deadline(Guest *g) {
        uint64_t deadline = USEC_INFINITY;
        Session *s;

        TAILQ_FOREACH(s, &g->sessions, sessions) {
                if (s->kill_at > 0)
                        deadline = MIN2(deadline, s->kill_at);
                for (size_t i = 0; i < ELEMENTSOF(s->outputs); i++)
                        if (s->outputs[i].silent_until > 0)
                                deadline = MIN2(deadline, s->outputs[i].silent_until);
        }
        return deadline;
}

void sessions_hangup(Guest *g) {
        Session *s;

        TAILQ_FOREACH(s, &g->sessions, sessions)
                if (s->tty)
                        signal_group(s, SIGHUP);
}

void sessions_write_state(Guest *g, GpWriter *w) {
        Session *s;

        TAILQ_FOREACH(s, &g->sessions, sessions)
                gp_writer_stream_state(w, &(GpStreamState) {
                        .stream = s->stream,
                        .flags = (s->stdin_eof || s->input.fd < 0 ? GP_STREAM_STDIN_CLOSED : 0) |
                                        (s->outputs[0].ended ? GP_STREAM_STDOUT_CLOSED : 0) |
                                        (s->outputs[1].ended ? GP_STREAM_STDERR_CLOSED : 0) |
                                        (s->tty ? GP_STREAM_TTY : 0),
                        .stdin_taken = s->receiver.taken,
                        .stdin_window = s->receiver.window,
                        .stdout_sent = s->outputs[0].sender.sent,
                        .stderr_sent = s->outputs[1].sender.sent,
                });
}
