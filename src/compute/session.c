/* SPDX-License-Identifier: Apache-2.0 */

/* Exec sessions: a client's three sockets (see VM.Exec()) on one side, a stream of the agent channel on the other. */

#include <inttypes.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "compute/agent-internal.h"
#include "compute/fd-store.h"
#include "compute/manager.h"
#include "compute/vm-awake.h"

/* What the guest may send ahead must fit into the socket with the kernel's overhead for small pieces, so that a
 * client which does not read never holds up the channel. */
#define SOCKET_BUFFER (2 * (int) GP_WINDOW)
#define CONTROL_MAX 128u

enum {
        STDIO,
        STDERR,
        CONTROL,
        _SOCKETS_MAX,
};

struct Session {
        TAILQ_ENTRY(Session) sessions;
        Agent *agent;
        uint32_t stream;
        int fds[_SOCKETS_MAX];
        sd_event_source *io[_SOCKETS_MAX];
        GpSender in;
        GpReceiver out[2]; /* of STDIO and STDERR */
        bool stdin_closed:1, stdout_closed:1, stderr_closed:1;
        bool client_gone:1, named:1;
};

static char *session_fd_name(const Session *s) {
        return strprintf("exec-%" PRIu32 "-%s", s->stream, s->agent->vm->name);
}

static Session *session_free(Session *s) {
        TAILQ_REMOVE(&s->agent->sessions, s, sessions);
        s->agent->n_sessions--;
        for (unsigned i = 0; i < _SOCKETS_MAX; i++) {
                sd_event_source_disable_unref(s->io[i]);
                safe_close(s->fds[i]);
        }
        return mfree(s);
}

void session_end(Session *s, const char *message) {
        _cleanup_free_ char *name = session_fd_name(s);

        if (message)
                (void) send(s->fds[CONTROL], message, strlen(message), MSG_NOSIGNAL | MSG_DONTWAIT);
        for (unsigned i = 0; i < _SOCKETS_MAX; i++) {
                /* In this order: PID 1 has duplicates, so closing alone does not take a socket out of epoll. */
                s->io[i] = sd_event_source_disable_unref(s->io[i]);
                s->fds[i] = fd_store_shutdown(s->fds[i]);
        }
        if (name)
                fd_store_remove(name);
        session_free(s);
}

void session_forget_all(Agent *a) {
        while (!TAILQ_EMPTY(&a->sessions))
                session_free(TAILQ_FIRST(&a->sessions));
}

void session_end_all(Agent *a, const char *message) {
        while (!TAILQ_EMPTY(&a->sessions))
                session_end(TAILQ_FIRST(&a->sessions), message);
}

void session_end_unnamed(Agent *a) {
        Session *s, *next;

        for (s = TAILQ_FIRST(&a->sessions); s; s = next) {
                next = TAILQ_NEXT(s, sessions);
                if (!s->named)
                        session_end(s, "lost The command ended while hero-computed was restarted.");
        }
}

static Session *session_find(Agent *a, uint32_t stream) {
        Session *s;

        TAILQ_FOREACH(s, &a->sessions, sessions)
                if (s->stream == stream)
                        return s;
        return NULL;
}

/* After a restart of ours a guest that sleeps has not answered yet, and will not before it is awake. An end of file is none of
 * the things that wake it then: it may have been there all the time. */
static void session_call(Session *s) {
        char c;

        if (recv(s->fds[STDIO], &c, 1, MSG_PEEK | MSG_DONTWAIT) > 0)
                vm_awake(s->agent->vm, "somebody writes to a command in it.");
}

/* stdin: peeked at, sent on, then taken. */
void session_pump(Session *s) {
        static uint8_t buf[GP_DATA_MAX];
        Agent *a = s->agent;

        if (a->resuming && !a->lost)
                session_call(s);
        while (!s->stdin_closed && !a->resuming && !a->lost) {
                size_t room = gp_sender_room(&s->in);
                ssize_t n;

                if (room == 0)
                        return; /* WINDOW_UPDATE brings us back */
                n = recv(s->fds[STDIO], buf, room, MSG_PEEK | MSG_DONTWAIT);
                if (n < 0 && (errno == EAGAIN || errno == EINTR))
                        return;
                if (n < 0)
                        n = 0;
                vm_awake(a->vm, "somebody writes to a command in it.");
                if (agent_send_data(a, GP_STDIN, s->stream, buf, (size_t) n) < 0)
                        return; /* the channel is full; its EPOLLOUT brings us back */
                if (n == 0) {
                        s->stdin_closed = true;
                        return;
                }
                (void) recv(s->fds[STDIO], buf, (size_t) n, MSG_DONTWAIT);
                gp_sender_sent(&s->in, (size_t) n);
                agent_activity(a);
        }
}

void session_pump_all(Agent *a) {
        Session *s;

        TAILQ_FOREACH(s, &a->sessions, sessions)
                session_pump(s);
}

/* Lets the guest send as much more as the client has read. */
static void session_grant(Session *s, unsigned which) {
        static GpWriter w;
        uint64_t offset;
        int pending = 0;

        if (s->agent->resuming || s->agent->lost)
                return;
        (void) ioctl(s->fds[which], SIOCOUTQ, &pending);
        if (!gp_receiver_grant(&s->out[which], (size_t) MAX2(pending, 0), &offset))
                return;
        gp_writer_init(&w, GP_WINDOW_UPDATE, s->stream);
        gp_writer_u32(&w, GP_FIELD_KIND, which == STDIO ? GP_STDOUT : GP_STDERR);
        gp_writer_u64(&w, GP_FIELD_OFFSET, offset);
        (void) agent_send(s->agent, &w);
}

static void send_plain(Session *s, GpType type) {
        static GpWriter w;

        gp_writer_init(&w, type, s->stream);
        (void) agent_send(s->agent, &w);
}

static void session_output(Session *s, unsigned which, const uint8_t *p, size_t n) {
        if (n == 0) {
                (void) shutdown(s->fds[which], SHUT_WR);
                if (which == STDIO)
                        s->stdout_closed = true;
                else
                        s->stderr_closed = true;
                return;
        }
        if (!s->agent->resuming && gp_receiver_take(&s->out[which], n) < 0) {
                send_plain(s, GP_CLOSE);
                session_end(s, "lost The guest sent more than it was allowed to.");
                return;
        }
        /* A client that closed its end early loses what it did not want (EPIPE); the command learns by GP_CLOSE
         * when the control socket goes. */
        (void) send(s->fds[which], p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        session_grant(s, which);
}

/* Fields of EXIT, EXEC_FAILED and WINDOW_UPDATE. */
typedef struct SessionMessage {
        uint32_t status, signal, error, kind;
        uint64_t offset;
        char *text;
        bool has_signal;
} SessionMessage;

static int session_message_parse(const uint8_t *payload, size_t n, SessionMessage *ret) {
        GpReader f;
        int r;

        gp_reader_init(&f, payload, n);
        while ((r = gp_reader_next(&f)) > 0) {
                if (f.tag == GP_FIELD_STATUS)
                        r = gp_reader_u32(&f, &ret->status);
                else if (f.tag == GP_FIELD_SIGNAL) {
                        r = gp_reader_u32(&f, &ret->signal);
                        ret->has_signal = true;
                } else if (f.tag == GP_FIELD_ERRNO)
                        r = gp_reader_u32(&f, &ret->error);
                else if (f.tag == GP_FIELD_KIND)
                        r = gp_reader_u32(&f, &ret->kind);
                else if (f.tag == GP_FIELD_OFFSET)
                        r = gp_reader_u64(&f, &ret->offset);
                else if (f.tag == GP_FIELD_MESSAGE && !ret->text)
                        r = gp_reader_string(&f, &ret->text);
                if (r < 0)
                        return r;
        }
        return r;
}

static void session_message(Session *s, uint16_t type, const SessionMessage *m) {
        char line[CONTROL_MAX + 400];

        switch (type) {

        case GP_EXIT:
                snprintf(line, sizeof(line), "%s %" PRIu32, m->has_signal ? "signal" : "exit",
                         m->has_signal ? m->signal & 127 : m->status & 255);
                session_end(s, line);
                break;

        case GP_EXEC_FAILED:
                snprintf(line, sizeof(line), "failed %" PRIu32 " %.400s", m->error & 0xfff,
                         m->text && utf8_is_clean(m->text, NULL) ? m->text : strerror((int) (m->error & 0xfff)));
                session_end(s, line);
                break;

        case GP_WINDOW_UPDATE:
                if (m->kind == GP_STDIN && gp_sender_window(&s->in, m->offset))
                        session_pump(s);
                break;

        default:
                break;
        }
}

bool session_frame(Agent *a, const GpHeader *h, const uint8_t *payload) {
        SessionMessage m = {};
        Session *s;

        s = session_find(a, h->stream);
        if (!s)
                return false; /* ended on our side; what the guest had under way is of no use */
        if (h->type == GP_STDOUT || h->type == GP_STDERR) {
                agent_activity(a);
                session_output(s, h->type == GP_STDOUT ? STDIO : STDERR, payload, h->length);
                return true;
        }
        if (h->type != GP_EXIT && h->type != GP_EXEC_FAILED && h->type != GP_WINDOW_UPDATE)
                return false;
        if (session_message_parse(payload, h->length, &m) >= 0)
                session_message(s, h->type, &m);
        free(m.text);
        return true;
}

void session_resumed(Agent *a, const GpStreamState *state) {
        Session *s = session_find(a, state->stream);

        if (!s) {
                /* Its sockets did not survive: nobody is there for it any more. */
                static GpWriter w;

                gp_writer_init(&w, GP_CLOSE, state->stream);
                (void) agent_send(a, &w);
                return;
        }
        s->named = true;
        s->in = (GpSender) { .sent = state->stdin_taken, .window = state->stdin_window };
        /* All that was sent has been passed on by now, for the channel keeps its order; grant anew from there. */
        s->out[STDIO] = (GpReceiver) { .taken = state->stdout_sent, .window = state->stdout_sent };
        s->out[STDERR] = (GpReceiver) { .taken = state->stderr_sent, .window = state->stderr_sent };
        s->stdin_closed = state->flags & GP_STREAM_STDIN_CLOSED;
        a->resuming = false;
        session_grant(s, STDIO);
        session_grant(s, STDERR);
        a->resuming = true;
}

static void session_control(Session *s, char *line) {
        unsigned x, y;
        static GpWriter w;
        int n = 0;

        if (sscanf(line, "resize %5u %5u%n", &x, &y, &n) == 2 && !line[n]) {
                gp_writer_init(&w, GP_RESIZE, s->stream);
                gp_writer_u32(&w, GP_FIELD_ROWS, x);
                gp_writer_u32(&w, GP_FIELD_COLUMNS, y);
                (void) agent_send(s->agent, &w);
        } else if (sscanf(line, "signal %3u%n", &x, &n) == 1 && !line[n] && x > 0 && x < 65) {
                gp_writer_init(&w, GP_SIGNAL, s->stream);
                gp_writer_u32(&w, GP_FIELD_SIGNAL, x);
                (void) agent_send(s->agent, &w);
        }
}

static int on_control(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        char line[CONTROL_MAX + 1];
        Session *s = userdata;
        ssize_t n;

        n = recv(fd, line, CONTROL_MAX, MSG_DONTWAIT);
        if (n > 0) {
                line[n] = 0;
                session_control(s, line);
        } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
                /* The client is gone. The guest ends the command, and its EXIT the session. */
                s->client_gone = true;
                s->io[CONTROL] = sd_event_source_disable_unref(s->io[CONTROL]);
                send_plain(s, GP_CLOSE);
        }
        return 0;
}

static int on_stdio(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Session *s = userdata;

        if (revents & EPOLLOUT)
                session_grant(s, STDIO);
        session_pump(s);
        return 0;
}

static int on_stderr(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        session_grant(userdata, STDERR);
        return 0;
}

static int session_new(Agent *a, uint32_t stream, const int fds[static _SOCKETS_MAX], Session **ret) {
        sd_event *e = a->vm->manager->event;
        Session *s;
        int r;

        s = new(Session, 1);
        if (!s)
                return -ENOMEM;
        *s = (Session) { .agent = a, .stream = stream, .fds = { fds[STDIO], fds[STDERR], fds[CONTROL] } };
        gp_sender_init(&s->in);
        gp_receiver_init(&s->out[STDIO]);
        gp_receiver_init(&s->out[STDERR]);
        TAILQ_INSERT_TAIL(&a->sessions, s, sessions);
        a->n_sessions++;
        r = sd_event_add_io(e, &s->io[STDIO], fds[STDIO], EPOLLIN | EPOLLOUT | EPOLLET, on_stdio, s);
        if (r >= 0)
                r = sd_event_add_io(e, &s->io[STDERR], fds[STDERR], EPOLLOUT | EPOLLET, on_stderr, s);
        if (r >= 0)
                r = sd_event_add_io(e, &s->io[CONTROL], fds[CONTROL], EPOLLIN, on_control, s);
        if (r < 0) {
                session_free(s);
                return r;
        }
        *ret = s;
        return 0;
}

static int socket_new(int type, FdTag tag, int *ret_ours, int *ret_theirs) {
        int pair[2], size = SOCKET_BUFFER;

        if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair) < 0)
                return negative_errno();
        if (setsockopt(pair[0], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
                (void) setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
        (void) fd_store_tag(pair[0], tag);
        *ret_ours = pair[0];
        *ret_theirs = pair[1];
        return 0;
}

static int session_send_exec(Session *s, const ExecOptions *o) {
        static GpWriter w;

        gp_writer_init(&w, GP_EXEC, s->stream);
        gp_writer_strv(&w, GP_FIELD_ARG, o->command);
        gp_writer_strv(&w, GP_FIELD_ENV, o->environment);
        gp_writer_string(&w, GP_FIELD_CWD, o->working_directory);
        gp_writer_string(&w, GP_FIELD_USER, o->user);
        if (o->tty) {
                gp_writer_u32(&w, GP_FIELD_TTY, 1);
                gp_writer_u32(&w, GP_FIELD_ROWS, o->rows);
                gp_writer_u32(&w, GP_FIELD_COLUMNS, o->columns);
        }
        return agent_send(s->agent, &w);
}

int agent_exec(Agent *a, const ExecOptions *options, int *ret_stdio, int *ret_stderr, int *ret_control) {
        _cleanup_close_ int stdio = -EBADF, standard_error = -EBADF, control = -EBADF;
        int ours[_SOCKETS_MAX] = { -EBADF, -EBADF, -EBADF }, r;
        _cleanup_free_ char *name = NULL;
        Session *s;

        if (a->n_sessions >= GP_SESSIONS_MAX)
                return -EDQUOT;
        r = socket_new(SOCK_STREAM, FD_TAG_STDIO, &ours[STDIO], &stdio);
        if (r >= 0)
                r = socket_new(SOCK_STREAM, FD_TAG_STDERR, &ours[STDERR], &standard_error);
        if (r >= 0)
                r = socket_new(SOCK_SEQPACKET, FD_TAG_CONTROL, &ours[CONTROL], &control);
        if (r < 0) {
                for (unsigned i = 0; i < _SOCKETS_MAX; i++)
                        safe_close(ours[i]);
                return r;
        }
        r = session_new(a, a->next_stream++, ours, &s); /* has the sockets from here on */
        if (r < 0)
                return r;
        s->named = true; /* a RESUMED under way was written before the guest heard of it */
        name = session_fd_name(s);
        if (name)
                fd_store_push(name, ours, _SOCKETS_MAX);
        r = session_send_exec(s, options);
        if (r < 0) {
                session_end(s, NULL);
                return r;
        }
        *ret_stdio = TAKE_FD(stdio);
        *ret_stderr = TAKE_FD(standard_error);
        *ret_control = TAKE_FD(control);
        return 0;
}

int agent_adopt_session(Agent *a, uint32_t stream, int stdio_fd, int stderr_fd, int control_fd) {
        const int fds[_SOCKETS_MAX] = { stdio_fd, stderr_fd, control_fd };
        Session *s;

        return session_new(a, stream, fds, &s);
}
