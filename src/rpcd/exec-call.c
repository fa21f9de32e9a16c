/* SPDX-License-Identifier: Apache-2.0 */

/* vm.exec: a command in the guest, its output collected. Its streams are sockets of VM.Exec() and are read on the loop. */

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/parse-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "basic/time-util.h"
#include "rpcd/call-util.h"
#include "rpcd/drain.h"
#include "rpcd/guests.h"
#include "rpcd/text.h"
#include "shared/bus-util.h"
#include "shared/error-names.h"

#define OUTPUT_MAX (1024u * 1024u)
#define TIMEOUT_DEFAULT 60
/* As of a shell. */
#define NOT_EXECUTABLE 126
#define NOT_FOUND 127

typedef struct ExecCall {
        WaitingCall waiting; /* first */
        sd_bus_slot *slot;
        sd_event_source *timer, *input_source, *control_source;
        int input, control;
        const char *stdin_text; /* what of it is still to be written; the call's */
        size_t stdin_size;
        Drain out, err;
        char *result; /* the last message on control; NULL: not yet */
} ExecCall;

static void exec_call_free(WaitingCall *w) {
        ExecCall *x = (ExecCall *) w;

        waiting_end(w);
        sd_bus_slot_unref(x->slot);
        sd_event_source_disable_unref(x->timer);
        sd_event_source_disable_unref(x->input_source);
        sd_event_source_disable_unref(x->control_source);
        safe_close(x->input);
        safe_close(x->control); /* with it the command, if it still runs */
        drain_done(&x->out);
        drain_done(&x->err);
        free(x->result);
        free(x);
}

static int set_output(json_t *answer, const char *key, const Drain *d, bool cut) {
        size_t n = cut ? text_complete(strempty(d->data), d->size) : d->size;

        return json_set_bytes(answer, key, d->data, n);
}

/* exit_code, signal: -1 for none. error: why it could not be executed. */
static void answer(ExecCall *x, int exit_code, int signal_number, const char *error, bool timed_out) {
        json_t *j;
        int r;

        j = json_pack("{s:o, s:o}", "exit_code", exit_code < 0 ? json_null() : json_integer(exit_code),
                      "signal", signal_number < 0 ? json_null() : json_integer(signal_number));
        r = j ? 0 : -ENOMEM;
        if (r >= 0)
                r = set_output(j, "stdout", &x->out, timed_out || x->out.truncated);
        if (r >= 0)
                r = set_output(j, "stderr", &x->err, timed_out || x->err.truncated);
        if (r >= 0)
                r = json_object_set_new(j, "truncated", json_boolean(x->out.truncated || x->err.truncated));
        if (r >= 0)
                r = json_object_set_new(j, "timed_out", json_boolean(timed_out));
        if (r >= 0 && error)
                r = json_object_set_new(j, "error", json_string(error));
        if (r < 0) {
                json_decref(j);
                j = NULL;
        }
        call_result(waiting_take(&x->waiting), j);
}

/* "failed ERRNO TEXT" */
static void answer_failed(ExecCall *x, const char *rest) {
        char number[16] = "";
        size_t n = strcspn(rest, " ");
        unsigned error = 0;

        if (n < sizeof(number))
                memcpy(number, rest, n);
        (void) parse_uint(number, INT32_MAX, &error);
        rest += n + (rest[n] == ' ');
        answer(x, error == ENOENT ? NOT_FOUND : NOT_EXECUTABLE, -1, rest[0] ? rest : strerror((int) error), false);
}

static void answer_lost(ExecCall *x, const char *why) {
        _cleanup_free_ char *text = strdup(why);
        Call *c = waiting_take(&x->waiting);

        call_refuse(c, ERROR_NO_AGENT, "Lost the command in VM '%s': %s", strna(c->vm_name),
                    isempty(text) ? "the VM went away." : text);
}

static void finish(ExecCall *x) {
        const char *rest;
        unsigned n;

        if ((rest = startswith(x->result, "exit ")) && parse_uint(rest, 255, &n) >= 0)
                answer(x, (int) n, -1, NULL, false);
        else if ((rest = startswith(x->result, "signal ")) && parse_uint(rest, 64, &n) >= 0)
                answer(x, -1, (int) n, NULL, false);
        else if ((rest = startswith(x->result, "failed ")))
                answer_failed(x, rest);
        else
                answer_lost(x, strempty(startswith(x->result, "lost ")));
}

/* The result can overtake the output. */
static void check_end(ExecCall *x) {
        if (x->result && x->out.ended && x->err.ended)
                finish(x);
}

static void on_output_end(Drain *d, void *userdata) {
        check_end(userdata);
}

static bool is_result(const char *message) {
        return startswith(message, "exit ") || startswith(message, "signal ") || startswith(message, "failed ") ||
                startswith(message, "lost");
}

static int on_control(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        ExecCall *x = userdata;
        char message[4096];
        ssize_t n;

        n = recv(fd, message, sizeof(message) - 1, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        message[n > 0 ? n : 0] = 0;
        if (n > 0 && !is_result(message)) /* something newer; only results count */
                return 0;
        x->control_source = sd_event_source_disable_unref(x->control_source);
        x->result = strdup(n > 0 ? utf8_sanitize(message) : "lost");
        if (!x->result)
                call_errno(waiting_take(&x->waiting), -ENOMEM);
        else
                check_end(x);
        return 0;
}

static void close_input(ExecCall *x) {
        (void) shutdown(x->input, SHUT_WR); /* its end of file; the other direction goes on */
        x->input_source = sd_event_source_disable_unref(x->input_source);
        x->input = safe_close(x->input);
}

static int on_input(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        ExecCall *x = userdata;
        ssize_t n;

        n = send(fd, x->stdin_text, x->stdin_size, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        if (n > 0) {
                x->stdin_text += n;
                x->stdin_size -= (size_t) n;
        }
        if (n < 0 || x->stdin_size == 0) /* a command that does not read is no error */
                close_input(x);
        return 0;
}

static int on_timeout(sd_event_source *source, uint64_t usec, void *userdata) {
        ExecCall *x = userdata;

        if (x->result)
                finish(x); /* it has ended; something it left behind has its output still open */
        else
                answer(x, -1, -1, NULL, true);
        return 0;
}

/* What epoll watches twice needs two fds. */
static int start_input(ExecCall *x, sd_event *event, int stdio) {
        x->input = fcntl(stdio, F_DUPFD_CLOEXEC, 3);
        if (x->input < 0)
                return negative_errno();
        if (x->stdin_size == 0) {
                close_input(x);
                return 0;
        }
        return sd_event_add_io(event, &x->input_source, x->input, EPOLLOUT, on_input, x);
}

static int start_streams(ExecCall *x, sd_bus_message *reply) {
        sd_event *event = x->waiting.call->rpcd->event;
        int fds[3], r;

        r = sd_bus_message_read(reply, "hhh", &fds[0], &fds[1], &fds[2]);
        if (r < 0)
                return r;
        for (unsigned i = 0; i < 3; i++) { /* the message's own go with it */
                fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 3);
                if (fds[i] < 0) {
                        r = negative_errno();
                        close_many(fds, i);
                        return r;
                }
        }
        x->control = fds[2];
        r = start_input(x, event, fds[0]);
        if (r < 0) {
                close_many(fds, 2);
                return r;
        }
        r = drain_start(&x->out, event, fds[0], OUTPUT_MAX, on_output_end, x);
        if (r < 0) {
                safe_close(fds[1]);
                return r;
        }
        r = drain_start(&x->err, event, fds[1], OUTPUT_MAX, on_output_end, x);
        return r < 0 ? r : sd_event_add_io(event, &x->control_source, x->control, EPOLLIN, on_control, x);
}

static int on_opened(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        const sd_bus_error *e = sd_bus_message_get_error(reply);
        ExecCall *x = userdata;
        int r;

        x->slot = sd_bus_slot_unref(x->slot);
        if (e) {
                call_bus_error(waiting_take(&x->waiting), e);
                return 0;
        }
        r = start_streams(x, reply);
        if (r < 0)
                call_errno(waiting_take(&x->waiting), r);
        return 0;
}

static int append_options(sd_bus_message *m, const Call *c) {
        const char *cwd = call_string(c, "cwd"), *user = call_string(c, "user");
        _cleanup_strv_free_ char **env = NULL;
        int r;

        r = json_to_strv(call_value(c, "env"), &env);
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "{sv}");
        if (r >= 0 && env[0]) {
                r = sd_bus_message_open_container(m, 'e', "sv");
                if (r >= 0)
                        r = sd_bus_message_append(m, "s", "Environment");
                if (r >= 0)
                        r = sd_bus_message_open_container(m, 'v', "as");
                if (r >= 0)
                        r = sd_bus_message_append_strv(m, env);
                if (r >= 0)
                        r = sd_bus_message_close_container(m);
                if (r >= 0)
                        r = sd_bus_message_close_container(m);
        }
        if (r >= 0 && cwd)
                r = sd_bus_message_append(m, "{sv}", "WorkingDirectory", "s", cwd);
        if (r >= 0 && user)
                r = sd_bus_message_append(m, "{sv}", "User", "s", user);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int open_command(ExecCall *x, uint64_t timeout) {
        _cleanup_message_ sd_bus_message *m = NULL;
        _cleanup_strv_free_ char **command = NULL;
        Call *c = x->waiting.call;
        int r;

        r = json_to_strv(call_value(c, "command"), &command);
        if (r >= 0)
                r = sd_bus_message_new_method_call(c->rpcd->bus, &m, COMPUTE_BUS_NAME, c->vm_path, COMPUTE_VM_INTERFACE, "Exec");
        if (r >= 0)
                r = sd_bus_message_append_strv(m, command);
        if (r >= 0)
                r = append_options(m, c);
        if (r >= 0) /* the timer is earlier */
                r = sd_bus_call_async(c->rpcd->bus, &x->slot, m, on_opened, x, timeout + 10 * USEC_PER_SEC);
        if (r >= 0)
                r = sd_event_add_time_relative(c->rpcd->event, &x->timer, CLOCK_MONOTONIC, timeout, 0, on_timeout, x);
        return r;
}

/* vm.exec (ACCESS_VM, changes): "Runs a command in the guest and waits for its end"
 *   vm_id         string, required
 *   command       strings (1 … 4096), required: "The program, looked for in the guest's $PATH, and its arguments; no shell"
 *   env           strings: "NAME=VALUE, over the environment of the image and the VM"
 *   cwd           string: "Absolute path in the guest (default: as the VM's own command)"
 *   user          string: "USER[:GROUP], names of the guest or numbers (root)"
 *   stdin         string (0 … 65536): "What the command reads (nothing)"
 *   timeout_secs  integer (1 … 3600): "After this time in seconds the command is ended (60)"
 * → ExecResult { exit_code: integer|null, signal: integer|null, stdout: string or stdout_base64: string, stderr or
 *   stderr_base64, truncated: boolean, timed_out: boolean, error?: string }
 * Each output is cut off at 1 MiB (truncated); stdout_base64 replaces stdout where it is not UTF-8. A command that cannot be
 * executed has exit_code 127 (not found) or 126, and error says why. The command goes on when whoever asked has left. */
void method_vm_exec(Call *c) {
        json_t *text = call_value(c, "stdin");
        ExecCall *x;
        int r;

        x = new0(ExecCall, 1);
        if (!x) {
                call_errno(c, -ENOMEM);
                return;
        }
        x->input = x->control = -EBADF;
        x->stdin_text = json_string_value(text);
        x->stdin_size = json_string_length(text);
        if (!waiting_begin(&x->waiting, WAITING_EXEC, c, exec_call_free)) {
                free(x);
                return;
        }
        r = open_command(x, (uint64_t) call_integer(c, "timeout_secs", TIMEOUT_DEFAULT) * USEC_PER_SEC);
        if (r < 0)
                call_errno(waiting_take(&x->waiting), r);
}
