/* SPDX-License-Identifier: Apache-2.0 */

#include "compute/agent.h"

#include <stdio.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "compute/agent-internal.h"
#include "compute/fd-store.h"
#include "compute/manager.h"
#include "compute/run-config.h"

/* Control frames are small; a guest that does not read this many of them does not read at all. */
#define OUT_MAX (256u * 1024u)
/* Peeked input of whichever agent is being served: nothing stays in it between two turns. */
static uint8_t input[2 * GP_FRAME_MAX];

static void agent_lose(Agent *a, const char *text) {
        if (a->lost)
                return;
        a->lost = true;
        a->io = sd_event_source_disable_unref(a->io);
        session_end_all(a, "lost The connection to the guest's agent broke.");
        a->callback(a, AGENT_LOST, 0, text, a->userdata);
}

static int agent_flush(Agent *a) {
        while (a->n_out > 0) {
                ssize_t k = send(a->fd, a->out, a->n_out, MSG_NOSIGNAL | MSG_DONTWAIT);

                if (k < 0)
                        return negative_errno();
                a->n_out -= (size_t) k;
                memmove(a->out, a->out + k, a->n_out);
        }
        a->out = mfree(a->out);
        a->allocated_out = 0;
        return 0;
}

static int agent_write(Agent *a, const uint8_t *p, size_t n, bool may_queue) {
        ssize_t k = 0;

        if (a->lost)
                return -ENOTCONN;
        if (a->n_out == 0) {
                k = send(a->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
                if (k < 0 && errno != EAGAIN && errno != EINTR)
                        return negative_errno();
                k = k < 0 ? 0 : k;
        }
        if ((size_t) k == n)
                return 0;
        if (k == 0 && !may_queue)
                return -EAGAIN;
        n -= (size_t) k;
        if (a->n_out + n > OUT_MAX) {
                (void) shutdown(a->fd, SHUT_RDWR); /* noticed as its end once the loop is back */
                return -ENOBUFS;
        }
        if (!GREEDY_REALLOC(a->out, a->allocated_out, a->n_out + n))
                return -ENOMEM;
        memcpy(a->out + a->n_out, p + k, n);
        a->n_out += n;
        return 0;
}

int agent_send(Agent *a, GpWriter *w) {
        size_t n;
        int r;

        r = gp_writer_finish(w, &n);
        return r < 0 ? r : agent_write(a, w->buf, n, true);
}

int agent_send_data(Agent *a, GpType type, uint32_t stream, const void *p, size_t n) {
        static GpWriter w; /* 32 KiB: not on the stack of every caller */
        size_t size;
        int r;

        gp_writer_init(&w, type, stream);
        gp_writer_raw(&w, p, n);
        r = gp_writer_finish(&w, &size);
        return r < 0 ? r : agent_write(a, w.buf, size, false);
}

void agent_activity(Agent *a) {
        a->callback(a, AGENT_ACTIVITY, 0, NULL, a->userdata);
}

static int agent_send_boot(Agent *a) {
        _cleanup_(run_config_done) RunConfig run = {};
        const Vm *vm = a->vm;
        static GpWriter w;
        int r;

        if (a->boot_sent)
                return 0;
        r = run_config_compose(&vm->spec, &vm->image_config, &run);
        if (r < 0)
                return r;
        a->boot_sent = true;
        gp_writer_init(&w, GP_BOOT, 0);
        gp_writer_string(&w, GP_FIELD_HOSTNAME, vm->name);
        gp_writer_string(&w, GP_FIELD_ROOT_DEVICE, "serial:root");
        gp_writer_string(&w, GP_FIELD_OVERLAY_DEVICE, "serial:overlay");
        gp_writer_strv(&w, GP_FIELD_ARG, run.args);
        gp_writer_strv(&w, GP_FIELD_ENV, run.environment);
        gp_writer_string(&w, GP_FIELD_CWD, run.working_directory);
        gp_writer_string(&w, GP_FIELD_USER, run.user);
        gp_writer_u32(&w, GP_FIELD_SIGNAL, (uint32_t) run.stop_signal);
        if (run.init)
                gp_writer_u32(&w, GP_FIELD_INIT, 1);
        gp_writer_u64(&w, GP_FIELD_REALTIME, now_usec(CLOCK_REALTIME));
        if (vm->manager->config.console_shell)
                gp_writer_u32(&w, GP_FIELD_CONSOLE_SHELL, 1);
        vm_network_write_boot(vm, &w);
        return agent_send(a, &w);
}

int agent_shutdown(Agent *a) {
        static GpWriter w;

        if (!a || a->lost)
                return -ENOTCONN;
        gp_writer_init(&w, GP_SHUTDOWN, 0);
        gp_writer_u32(&w, GP_FIELD_MODE, GP_POWEROFF);
        return agent_send(a, &w);
}

int agent_set_time(Agent *a) {
        uint8_t seed[GP_SEED_SIZE];
        static GpWriter w;

        if (!a || a->lost)
                return -ENOTCONN;
        gp_writer_init(&w, GP_SET_TIME, 0);
        gp_writer_u64(&w, GP_FIELD_REALTIME, now_usec(CLOCK_REALTIME));
        if (getrandom(seed, sizeof(seed), GRND_NONBLOCK) == sizeof(seed))
                gp_writer_bytes(&w, GP_FIELD_SEED, seed, sizeof(seed));
        explicit_bzero(seed, sizeof(seed));
        return agent_send(a, &w);
}

static int agent_send_resume(Agent *a) {
        static GpWriter w;

        if (getrandom(&a->nonce, sizeof(a->nonce), GRND_NONBLOCK) < 0)
                a->nonce = now_usec(CLOCK_BOOTTIME);
        gp_writer_init(&w, GP_RESUME, 0);
        gp_writer_u64(&w, GP_FIELD_NONCE, a->nonce);
        return agent_send(a, &w);
}

/* What the fields of the VM's own frames (stream 0) may hold; the rest is skipped. */
typedef struct Message {
        uint32_t version, error, status, signal, phase;
        uint64_t nonce;
        char *text;
        bool has_status, has_signal;
} Message;

static void message_done(Message *m) {
        free(m->text);
}

static int message_parse(Agent *a, const uint8_t *payload, size_t n, Message *ret) {
        GpReader f;
        int r;

        gp_reader_init(&f, payload, n);
        while ((r = gp_reader_next(&f)) > 0) {
                switch (f.tag) {
                case GP_FIELD_VERSION:
                        r = gp_reader_u32(&f, &ret->version);
                        break;
                case GP_FIELD_ERRNO:
                        r = gp_reader_u32(&f, &ret->error);
                        break;
                case GP_FIELD_STATUS:
                        r = gp_reader_u32(&f, &ret->status);
                        ret->has_status = true;
                        break;
                case GP_FIELD_SIGNAL:
                        r = gp_reader_u32(&f, &ret->signal);
                        ret->has_signal = true;
                        break;
                case GP_FIELD_PHASE:
                        r = gp_reader_u32(&f, &ret->phase);
                        break;
                case GP_FIELD_NONCE:
                        r = gp_reader_u64(&f, &ret->nonce);
                        break;
                case GP_FIELD_MESSAGE:
                        ret->text = mfree(ret->text);
                        r = gp_reader_string(&f, &ret->text);
                        break;
                default:
                        break;
                }
                if (r < 0)
                        return r;
        }
        /* A guest's words end up in journal and terminals. */
        if (ret->text && (strlen(ret->text) > 400 || !utf8_is_clean(ret->text, NULL)))
                ret->text = mfree(ret->text);
        return r;
}

static int agent_on_resumed(Agent *a, const Message *m, const uint8_t *payload, size_t n) {
        GpReader f;
        int r;

        if (!a->resuming || m->nonce != a->nonce)
                return 0;
        gp_reader_init(&f, payload, n);
        while ((r = gp_reader_next(&f)) > 0) {
                GpStreamState s;

                if (f.tag != GP_FIELD_STREAM)
                        continue;
                r = gp_reader_stream_state(&f, &s);
                if (r < 0)
                        return r;
                session_resumed(a, &s);
        }
        if (r < 0)
                return r;
        a->resuming = false;
        session_end_unnamed(a);
        if (m->phase == GP_PHASE_WAITING)
                return agent_send_boot(a);
        if (m->phase == GP_PHASE_READY && !a->ready) {
                a->ready = true;
                a->callback(a, AGENT_READY, 0, NULL, a->userdata);
        }
        session_pump_all(a);
        return 0;
}

static int agent_own_frame(Agent *a, const GpHeader *h, const uint8_t *payload) {
        _cleanup_(message_done) Message m = {};
        int r;

        r = message_parse(a, payload, h->length, &m);
        if (r < 0)
                return r;
        switch (h->type) {

        case GP_HELLO:
                if (m.version >> 16 != GP_VERSION_MAJOR) {
                        a->callback(a, AGENT_BOOT_FAILED, 0, "its agent speaks another version of the protocol.", a->userdata);
                        return 0;
                }
                a->callback(a, AGENT_HELLO, 0, NULL, a->userdata);
                return agent_send_boot(a);

        case GP_READY:
                if (!a->ready) {
                        a->ready = true;
                        a->callback(a, AGENT_READY, 0, NULL, a->userdata);
                }
                return 0;

        case GP_BOOT_FAILED:
                a->callback(a, AGENT_BOOT_FAILED, m.has_status ? (int) (m.status & 255) : 0,
                            m.text ?: strerror((int) (m.error & 0xfff)), a->userdata);
                return 0;

        case GP_COMMAND_EXIT:
                if (a->command_ended)
                        return 0; /* it has one command, which ends once */
                a->command_ended = true;
                if (m.has_signal)
                        a->callback(a, AGENT_COMMAND_SIGNAL, (int) (m.signal & 127), m.text, a->userdata);
                else
                        a->callback(a, AGENT_COMMAND_EXIT, (int) (m.status & 255), m.text, a->userdata);
                return 0;

        case GP_STOPPING:
                a->callback(a, AGENT_STOPPING, 0, NULL, a->userdata);
                return 0;

        case GP_RESUMED:
                return agent_on_resumed(a, &m, payload, h->length);

        default:
                return 0; /* newer than us */
        }
}

static int agent_consume(Agent *a, size_t n) {
        static uint8_t sink[GP_FRAME_MAX];

        while (n > 0) {
                ssize_t k = recv(a->fd, sink, MIN2(n, sizeof(sink)), MSG_DONTWAIT);

                if (k <= 0)
                        return k < 0 ? negative_errno() : -ECONNRESET;
                n -= (size_t) k;
        }
        return 0;
}

/* The guest has the say about the agent's sockets, and must not have it about anybody else's turn. */
#define RATE_INTERVAL (100 * USEC_PER_MSEC)
#define RATE_BURST 400u
#define AGENT_PRIORITY (SD_EVENT_PRIORITY_NORMAL + 5)

/* Whole frames out of one look into the socket. 1: there may be more; 0: more bytes are needed; < 0; -EOWNERDEAD: the
 * agent was freed by what a frame told.
 *
 * What was handed to a client is taken from the socket at once, so that a kill right now repeats one frame at most; what
 * means nothing to us is taken in one go, so that a guest cannot make us work for it. */
static int agent_dispatch(Agent *a) {
        size_t size, offset = 0, taken = 0;
        const uint8_t *payload;
        Vm *vm = a->vm;
        GpHeader h;
        ssize_t n;
        int r;

        n = recv(a->fd, input, sizeof(input), MSG_PEEK | MSG_DONTWAIT);
        if (n < 0)
                return errno == EAGAIN || errno == EINTR ? 0 : negative_errno();
        if (n == 0)
                return -ECONNRESET;
        while ((r = gp_frame_next(input + offset, (size_t) n - offset, &h, &payload, &size)) > 0) {
                offset += size;
                if (h.stream != 0 && !session_frame(a, &h, payload))
                        continue;
                /* The VM's own frames are stated again on RESUME, and may end the VM and with it this agent: taken first. */
                r = agent_consume(a, offset - taken);
                taken = offset;
                if (r >= 0 && h.stream == 0)
                        r = agent_own_frame(a, &h, payload);
                if (!vm->runtime || vm->runtime->agent != a)
                        return -EOWNERDEAD;
                if (r < 0)
                        return r;
        }
        if (r >= 0 && offset > taken)
                r = agent_consume(a, offset - taken);
        return r < 0 ? r : offset > 0;
}

static int on_io(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        Agent *a = userdata;
        int r = 0;

        if (revents & EPOLLOUT) {
                r = agent_flush(a);
                if (r == 0)
                        session_pump_all(a);
                else if (r == -EAGAIN)
                        r = 0;
        }
        if (r >= 0)
                r = agent_dispatch(a);
        if (r == -EOWNERDEAD || (r >= 0 && a->lost))
                return 0;
        if (r == 0 && revents & EPOLLHUP)
                r = -ECONNRESET; /* the rest of the frame will not come */
        if (r < 0)
                agent_lose(a, r == -ECONNRESET ? "end of file" : strerror(-r));
        else if (r > 0)
                /* More may be waiting: setting the events again raises the edge again, after the others' turn. */
                (void) sd_event_source_set_io_events(a->io, EPOLLIN | EPOLLOUT | EPOLLET);
        return 0;
}

int agent_new(Vm *vm, int fd, bool adopted, agent_event_t callback, void *userdata, Agent **ret) {
        Agent *a;
        int r;

        a = new(Agent, 1);
        if (!a) {
                safe_close(fd);
                return -ENOMEM;
        }
        *a = (Agent) {
                .vm = vm,
                .fd = fd,
                .callback = callback,
                .userdata = userdata,
                .resuming = adopted,
                .ready = false,
                /* Numbers are not used twice in the life of a guest; a daemon that does not know which were, starts
                 * somewhere else. */
                .next_stream = adopted ? (uint32_t) (now_usec(CLOCK_BOOTTIME) / USEC_PER_MSEC) | 1u << 31 : 1,
        };
        TAILQ_INIT(&a->sessions);
        /* Edge-triggered: an incomplete frame stays in the socket without waking us again and again. */
        r = sd_event_add_io(vm->manager->event, &a->io, fd, EPOLLIN | EPOLLOUT | EPOLLET, on_io, a);
        if (r >= 0)
                r = sd_event_source_set_priority(a->io, AGENT_PRIORITY);
        if (r >= 0)
                r = sd_event_source_set_ratelimit(a->io, RATE_INTERVAL, RATE_BURST);
        if (r >= 0 && adopted)
                r = agent_send_resume(a);
        if (r < 0) {
                agent_free(a);
                return r;
        }
        *ret = a;
        return 0;
}

Agent *agent_free(Agent *a) {
        if (!a)
                return NULL;
        a->lost = true;
        session_end_all(a, "lost The VM has ended.");
        sd_event_source_disable_unref(a->io);
        safe_close(a->fd);
        free(a->out);
        return mfree(a);
}

void agent_forget(Agent *a) {
        if (a)
                session_forget_all(a);
}

bool agent_is_asked(const Agent *a) {
        return a && a->resuming && !a->lost;
}

unsigned agent_n_sessions(const Agent *a) {
        return a ? a->n_sessions : 0;
}

int agent_fd(const Agent *a) {
        return a->fd;
}
