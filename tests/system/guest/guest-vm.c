/* SPDX-License-Identifier: Apache-2.0 */

#include "guest-vm.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "basic/time-util.h"
#include "hypervisor/qemu/command-line.h"
#include "hypervisor/qemu/tsc.h"

const char *guest_kernel, *guest_initrd, *guest_root, *guest_overlay;
int guest_tap_fd = -EBADF;

bool guest_arguments(int argc, char **argv) {
        if (argc != 5) {
                fprintf(stderr, "Usage: %s KERNEL INITRD ROOT OVERLAY\n", argv[0]);
                return false;
        }
        guest_kernel = argv[1];
        guest_initrd = argv[2];
        guest_root = argv[3];
        guest_overlay = argv[4];
        return true;
}

/* The machine. */

static _Noreturn void become_qemu(const VmmCommand *c) {
        /* A test that dies takes its guest along. */
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (size_t i = 0; i < c->n_fds; i++) {
                int fd = fcntl(c->fds[i], F_DUPFD, 100);

                if (fd < 0)
                        _exit(126);
                ((VmmCommand *) c)->fds[i] = fd;
        }
        for (size_t i = 0; i < c->n_fds; i++)
                if (dup2(c->fds[i], 3 + (int) i) < 0 || close(c->fds[i]) < 0)
                        _exit(126);
        execv(c->argv[0], c->argv);
        _exit(127);
}

/* The driver hands over a connected socket; a listening one takes its place. */
static void replace_agent(VmmCommand *c, const char *path) {
        STRV_FOREACH(i, c->argv)
                if (startswith(*i, "socket,id=agent,")) {
                        free(*i);
                        *i = strprintf("socket,id=agent,path=%s,server=on,wait=off", path);
                        assert_non_null(*i);
                }
}

void guest_connect(GuestVm *vm, const char *path) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        unsigned tries = 0;

        vm->n_in = 0;
        safe_close(vm->agent_fd);
        vm->agent_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(vm->agent_fd >= 0 && strlen(path) < sizeof(address.sun_path));
        strcpy(address.sun_path, path);
        while (connect(vm->agent_fd, (struct sockaddr *) &address, sizeof(address)) < 0) {
                assert_true(++tries < 500);
                usleep(10000);
        }
}

/* The spec's sockets and memory are the caller's. */
static void spawn(GuestVm *vm, VmmSpec *spec, const char *path) {
        VmmCommand c = {};

        spec->kernel_fd = open(guest_kernel, O_RDONLY | O_CLOEXEC);
        spec->initrd_fd = open(guest_initrd, O_RDONLY | O_CLOEXEC);
        spec->root_fd = open(guest_root, O_RDONLY | O_CLOEXEC);
        spec->overlay_fd = open(guest_overlay, O_RDWR | O_CLOEXEC);
        assert_true(spec->kernel_fd >= 0 && spec->initrd_fd >= 0 && spec->root_fd >= 0 && spec->overlay_fd >= 0);
        assert_int_equal(qemu_command_line(spec, tsc_khz(), &c), 0);
        if (path)
                replace_agent(&c, path);

        vm->started_usec = now_usec(CLOCK_MONOTONIC);
        vm->pid = fork();
        assert_true(vm->pid >= 0);
        if (vm->pid == 0)
                become_qemu(&c);

        vmm_command_done(&c);
        close(spec->kernel_fd);
        close(spec->initrd_fd);
        close(spec->root_fd);
        close(spec->overlay_fd);
}

static VmmSpec example_spec(void) {
        return (VmmSpec) {
                .name = "guest-boot-test",
                .id = "0123456789ab",
                .cpus = 1,
                .memory = UINT64_C(256) << 20,
                .accelerator = ACCELERATOR_TCG,
                .monitor_fd = -EBADF,
                .memory_fd = -EBADF,
                .tap_fd = guest_tap_fd,
                .mac = { 2, 0, 0, 0, 0, 1 },
                .mtu = 1400,
        };
}

static void channel(int *ours, int *theirs) {
        int pair[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        *ours = pair[0];
        *theirs = pair[1];
}

void guest_start(GuestVm *vm) {
        guest_start_listening(vm, NULL);
}

void guest_start_listening(GuestVm *vm, const char *path) {
        VmmSpec spec = example_spec();

        *vm = (GuestVm) { .next_stream = 1 };
        channel(&vm->agent_fd, &spec.agent_fd);
        channel(&vm->console_fd, &spec.console_fd);
        spawn(vm, &spec, path);
        close(spec.agent_fd);
        close(spec.console_fd);
        if (path)
                guest_connect(vm, path);
}

/* Sleep. What stays while there is no QEMU. */

typedef struct Bed {
        uint64_t memory;
        int memory_fd, state_fd, agent_fd, console_fd; /* QEMU's ends of the sockets */
        sd_event *event;
        VmmMonitor *monitor;
        bool ready, lost, answered;
        int error;
} Bed;

static void on_monitor(VmmMonitor *m, VmmEvent event, void *userdata) {
        Bed *bed = userdata;

        bed->ready = bed->ready || event == VMM_EVENT_READY;
        bed->lost = bed->lost || event == VMM_EVENT_LOST;
}

static void on_answer(VmmMonitor *m, int error, const char *text, void *userdata) {
        Bed *bed = userdata;

        if (error < 0)
                printf("QEMU: %s\n", strna(text));
        bed->answered = true;
        bed->error = error;
}

static void run_until(Bed *bed, const bool *condition) {
        uint64_t until = now_usec(CLOCK_MONOTONIC) + 60 * USEC_PER_SEC;

        while (!*condition && now_usec(CLOCK_MONOTONIC) < until)
                assert_true(sd_event_run(bed->event, 100 * USEC_PER_MSEC) >= 0);
        assert_true(*condition);
}

static void monitor_do(Bed *bed, int (*call)(VmmMonitor *m, vmm_done_t done, void *userdata)) {
        bed->answered = false;
        assert_int_equal(call(bed->monitor, on_answer, bed), 0);
        run_until(bed, &bed->answered);
        assert_int_equal(bed->error, 0);
}

/* From the beginning of the file. */
static void monitor_do_with_state(Bed *bed, int (*call)(VmmMonitor *m, int fd, vmm_done_t done, void *userdata)) {
        bed->answered = false;
        assert_int_equal(lseek(bed->state_fd, 0, SEEK_SET), 0);
        assert_int_equal(call(bed->monitor, bed->state_fd, on_answer, bed), 0);
        run_until(bed, &bed->answered);
        assert_int_equal(bed->error, 0);
}

static void spawn_in_bed(GuestVm *vm, bool incoming) {
        VmmSpec spec = example_spec();
        Bed *bed = vm->bed;
        int ours;

        spec.memory = bed->memory;
        spec.memory_fd = bed->memory_fd;
        spec.incoming = incoming;
        spec.agent_fd = bed->agent_fd;
        spec.console_fd = bed->console_fd;
        channel(&ours, &spec.monitor_fd);
        spawn(vm, &spec, NULL);
        close(spec.monitor_fd);
        bed->ready = bed->lost = false;
        assert_int_equal(hypervisor_qemu.monitor_new(bed->event, ours, false, on_monitor, bed, &bed->monitor), 0);
        run_until(bed, &bed->ready);
}

void guest_start_in_bed(GuestVm *vm, uint64_t memory) {
        Bed *bed = new0(Bed, 1);

        assert_non_null(bed);
        *vm = (GuestVm) { .next_stream = 1, .bed = bed };
        bed->memory = memory;
        bed->memory_fd = memfd_create("hero-test-memory", MFD_CLOEXEC);
        bed->state_fd = memfd_create("hero-test-state", MFD_CLOEXEC);
        assert_true(bed->memory_fd >= 0 && bed->state_fd >= 0);
        assert_return_code(ftruncate(bed->memory_fd, (off_t) memory), errno);
        assert_true(sd_event_new(&bed->event) >= 0);
        channel(&vm->agent_fd, &bed->agent_fd);
        channel(&vm->console_fd, &bed->console_fd);
        spawn_in_bed(vm, false);
}

unsigned guest_sleep(GuestVm *vm) {
        uint64_t begin;
        Bed *bed = vm->bed;
        int status;

        monitor_do(bed, hypervisor_qemu.pause);
        begin = now_usec(CLOCK_MONOTONIC);
        monitor_do_with_state(bed, hypervisor_qemu.save);
        monitor_do(bed, hypervisor_qemu.quit);
        assert_int_equal(waitpid(vm->pid, &status, 0), vm->pid);
        vm->pid = 0;
        assert_int_equal(status, 0);
        bed->monitor = hypervisor_qemu.monitor_free(bed->monitor);
        return (unsigned) (now_usec(CLOCK_MONOTONIC) - begin);
}

unsigned guest_wake(GuestVm *vm) {
        Bed *bed = vm->bed;
        uint64_t ready, loaded, now;

        spawn_in_bed(vm, true);
        ready = now_usec(CLOCK_MONOTONIC);
        monitor_do_with_state(bed, hypervisor_qemu.load);
        loaded = now_usec(CLOCK_MONOTONIC);
        monitor_do(bed, hypervisor_qemu.resume);
        now = now_usec(CLOCK_MONOTONIC);
        printf("wake: ready %u µs after exec, load %u µs, resume %u µs\n", (unsigned) (ready - vm->started_usec),
               (unsigned) (loaded - ready), (unsigned) (now - loaded));
        return (unsigned) (now - vm->started_usec);
}

static Bed *bed_free(Bed *bed) {
        if (bed) {
                hypervisor_qemu.monitor_free(bed->monitor);
                sd_event_unref(bed->event);
                close(bed->memory_fd);
                close(bed->state_fd);
                close(bed->agent_fd);
                close(bed->console_fd);
                free(bed);
        }
        return NULL;
}

static void guest_done(GuestVm *vm) {
        for (size_t i = 0; i < SESSIONS; i++) {
                free(vm->sessions[i].message);
                free(vm->sessions[i].outputs[0].p);
                free(vm->sessions[i].outputs[1].p);
        }
        free(vm->message);
        free(vm->in);
        free(vm->console);
        safe_close(vm->agent_fd);
        safe_close(vm->console_fd);
        bed_free(vm->bed);
        *vm = (GuestVm) { .agent_fd = -EBADF, .console_fd = -EBADF };
}

void guest_kill(GuestVm *vm) {
        if (vm->pid > 0) {
                (void) kill(vm->pid, SIGKILL);
                (void) waitpid(vm->pid, NULL, 0);
        }
        guest_done(vm);
}

/* What comes from the guest. */

static void append(void *pp, size_t *n, size_t *allocated, const void *data, size_t size) {
        assert_true(greedy_realloc(pp, allocated, *n + size + 1, 1));
        memcpy(*(uint8_t **) pp + *n, data, size);
        *n += size;
        (*(uint8_t **) pp)[*n] = 0;
}

static void grant(GuestVm *vm, uint32_t stream, unsigned i) {
        GuestOutput *o = &vm->sessions[stream].outputs[i];
        uint64_t offset;
        GpWriter *w;

        if (o->held || !gp_receiver_grant(&o->receiver, 0, &offset))
                return;
        w = guest_frame(GP_WINDOW_UPDATE, stream);
        gp_writer_u32(w, GP_FIELD_KIND, i == 0 ? GP_STDOUT : GP_STDERR);
        gp_writer_u64(w, GP_FIELD_OFFSET, offset);
        guest_put(vm, w);
}

void guest_release(GuestVm *vm, uint32_t stream, unsigned output) {
        vm->sessions[stream].outputs[output].held = false;
        grant(vm, stream, output);
}

static void on_data(GuestVm *vm, const GpHeader *h, const uint8_t *payload) {
        unsigned i = h->type == GP_STDERR;
        GuestOutput *o = &vm->sessions[h->stream].outputs[i];

        assert_false(o->ended);
        assert_true(vm->sessions[h->stream].started);
        assert_int_equal(gp_receiver_take(&o->receiver, h->length), 0);
        if (h->length == 0)
                o->ended = true;
        else
                append(&o->p, &o->n, &o->allocated, payload, h->length);
        grant(vm, h->stream, i);
}

typedef struct Fields {
        uint32_t error, pid, status, signal, kind, phase, version;
        uint64_t nonce, offset, boot_usec;
        char *message;
        GpStreamState states[SESSIONS];
        size_t n_states;
} Fields;

static void read_fields(const uint8_t *payload, size_t n, Fields *f) {
        GpReader r;
        int k;

        *f = (Fields) {};
        gp_reader_init(&r, payload, n);
        while ((k = gp_reader_next(&r)) > 0)
                switch (r.tag) {
                case GP_FIELD_ERRNO:
                        assert_int_equal(gp_reader_u32(&r, &f->error), 0);
                        break;
                case GP_FIELD_PID:
                        assert_int_equal(gp_reader_u32(&r, &f->pid), 0);
                        break;
                case GP_FIELD_STATUS:
                        assert_int_equal(gp_reader_u32(&r, &f->status), 0);
                        break;
                case GP_FIELD_SIGNAL:
                        assert_int_equal(gp_reader_u32(&r, &f->signal), 0);
                        break;
                case GP_FIELD_KIND:
                        assert_int_equal(gp_reader_u32(&r, &f->kind), 0);
                        break;
                case GP_FIELD_PHASE:
                        assert_int_equal(gp_reader_u32(&r, &f->phase), 0);
                        break;
                case GP_FIELD_VERSION:
                        assert_int_equal(gp_reader_u32(&r, &f->version), 0);
                        break;
                case GP_FIELD_NONCE:
                        assert_int_equal(gp_reader_u64(&r, &f->nonce), 0);
                        break;
                case GP_FIELD_OFFSET:
                        assert_int_equal(gp_reader_u64(&r, &f->offset), 0);
                        break;
                case GP_FIELD_BOOT_USEC:
                        assert_int_equal(gp_reader_u64(&r, &f->boot_usec), 0);
                        break;
                case GP_FIELD_MESSAGE:
                        assert_int_equal(gp_reader_string(&r, &f->message), 0);
                        break;
                case GP_FIELD_STREAM:
                        assert_true(f->n_states < SESSIONS);
                        assert_int_equal(gp_reader_stream_state(&r, &f->states[f->n_states++]), 0);
                        break;
                default:
                        fail_msg("Field %u was not expected.", r.tag);
                }
        assert_int_equal(k, 0);
}

static unsigned elapsed_ms(const GuestVm *vm) {
        return (unsigned) ((now_usec(CLOCK_MONOTONIC) - vm->started_usec) / USEC_PER_MSEC);
}

static void on_vm_frame(GuestVm *vm, const GpHeader *h, Fields *f) {
        switch ((int) h->type) {
        case GP_HELLO:
                assert_int_equal(f->version, GP_VERSION_MAJOR << 16 | GP_VERSION_MINOR);
                vm->hello = true;
                vm->hello_ms = elapsed_ms(vm);
                break;
        case GP_READY:
                vm->ready = true;
                vm->ready_ms = elapsed_ms(vm);
                vm->boot_ms = (unsigned) (f->boot_usec / USEC_PER_MSEC);
                break;
        case GP_BOOT_FAILED:
                vm->boot_failed = true;
                vm->error = f->error;
                vm->status = f->status;
                break;
        case GP_COMMAND_EXIT:
                vm->command_exited = true;
                vm->status = f->signal ? 128 + f->signal : f->status;
                break;
        case GP_STOPPING:
                vm->stopping = true;
                break;
        case GP_TIME_SET:
                vm->time_set = true;
                break;
        case GP_RESUMED:
                vm->resumed = true;
                vm->nonce = f->nonce;
                vm->phase = f->phase;
                memcpy(vm->states, f->states, sizeof(f->states));
                vm->n_states = f->n_states;
                break;
        default:
                fail_msg("Frame %u was not expected.", h->type);
        }
        if (f->message) {
                free(vm->message);
                vm->message = f->message;
        }
}

static void on_session_frame(GuestVm *vm, const GpHeader *h, Fields *f) {
        GuestSession *s = &vm->sessions[h->stream];

        switch ((int) h->type) {
        case GP_STARTED:
                assert_false(s->started);
                s->started = true;
                s->pid = f->pid;
                break;
        case GP_EXEC_FAILED:
                s->failed = true;
                s->error = f->error;
                s->message = f->message;
                break;
        case GP_EXIT:
                assert_true(s->outputs[0].ended);
                s->exited = true;
                s->status = f->status;
                s->signal = f->signal;
                break;
        case GP_WINDOW_UPDATE:
                assert_int_equal(f->kind, GP_STDIN);
                (void) gp_sender_window(&s->sender, f->offset);
                break;
        default:
                fail_msg("Frame %u for a session was not expected.", h->type);
        }
}

static void on_frame(GuestVm *vm, const GpHeader *h, const uint8_t *payload) {
        Fields f;

        assert_true(h->stream < SESSIONS);
        if (h->stream > 0) {
                assert_true(vm->sessions[h->stream].used);
                assert_false(vm->sessions[h->stream].exited || vm->sessions[h->stream].failed);
        }
        if (h->type == GP_STDOUT || h->type == GP_STDERR)
                return on_data(vm, h, payload);
        read_fields(payload, h->length, &f);
        if (h->stream == 0)
                on_vm_frame(vm, h, &f);
        else
                on_session_frame(vm, h, &f);
}

/* False at the end of the connection. */
static bool read_agent(GuestVm *vm) {
        static uint8_t buf[65536];
        const uint8_t *payload;
        size_t size, at = 0;
        GpHeader h;
        ssize_t n;
        int r;

        n = recv(vm->agent_fd, buf, sizeof(buf), MSG_DONTWAIT);
        if (n <= 0)
                return n < 0 && errno == EAGAIN;
        append(&vm->in, &vm->n_in, &vm->allocated_in, buf, (size_t) n);
        while ((r = gp_frame_next(vm->in + at, vm->n_in - at, &h, &payload, &size)) > 0) {
                on_frame(vm, &h, payload);
                at += size;
        }
        assert_int_equal(r, 0);
        memmove(vm->in, vm->in + at, vm->n_in - at);
        vm->n_in -= at;
        return true;
}

static void read_console(GuestVm *vm) {
        char buf[4096];
        ssize_t n;

        n = recv(vm->console_fd, buf, sizeof(buf), MSG_DONTWAIT);
        if (n > 0)
                append(&vm->console, &vm->n_console, &vm->allocated_console, buf, (size_t) n);
}

/* One round; false when nothing came in time or the VM is gone. */
static bool step(GuestVm *vm, int milliseconds) {
        struct pollfd p[2] = {
                { .fd = vm->agent_fd, .events = POLLIN },
                { .fd = vm->console_fd, .events = POLLIN },
        };

        if (poll(p, 2, milliseconds) <= 0)
                return false;
        if (p[1].revents)
                read_console(vm);
        return !p[0].revents || read_agent(vm);
}

static void give_up(GuestVm *vm, const char *what) {
        fail_msg("%s did not happen in time; console:\n%s", what, strempty(vm->console));
}

void guest_wait(GuestVm *vm, const bool *condition, unsigned seconds) {
        uint64_t until = now_usec(CLOCK_MONOTONIC) + seconds * USEC_PER_SEC;

        while (!*condition) {
                if (now_usec(CLOCK_MONOTONIC) >= until)
                        give_up(vm, "What was waited for");
                (void) step(vm, 100);
        }
}

void guest_drain(GuestVm *vm, unsigned milliseconds) {
        while (step(vm, (int) milliseconds))
                ;
}

void guest_wait_output(GuestVm *vm, uint32_t stream, const char *text) {
        GuestOutput *o = &vm->sessions[stream].outputs[0];
        uint64_t until = now_usec(CLOCK_MONOTONIC) + 30 * USEC_PER_SEC;

        while (!o->p || !strstr((char *) o->p, text)) {
                if (now_usec(CLOCK_MONOTONIC) >= until)
                        fail_msg("No \"%s\" in: %s", text, strempty((char *) o->p));
                (void) step(vm, 100);
        }
}

void guest_wait_console(GuestVm *vm, const char *text) {
        uint64_t until = now_usec(CLOCK_MONOTONIC) + 30 * USEC_PER_SEC;

        while (!vm->console || !strstr(vm->console, text)) {
                if (now_usec(CLOCK_MONOTONIC) >= until)
                        give_up(vm, text);
                (void) step(vm, 100);
        }
}

int guest_wait_gone(GuestVm *vm, unsigned seconds) {
        uint64_t until = now_usec(CLOCK_MONOTONIC) + seconds * USEC_PER_SEC;
        int status;

        while (waitpid(vm->pid, &status, WNOHANG) == 0) {
                if (now_usec(CLOCK_MONOTONIC) >= until)
                        give_up(vm, "The end of QEMU");
                (void) step(vm, 20);
        }
        while (step(vm, 0))
                ;
        vm->pid = 0;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* What goes to the guest. */

GpWriter *guest_frame(GpType type, uint32_t stream) {
        static GpWriter w[2];
        static unsigned i;

        /* Two, for a window update may come up while a frame is being made. */
        i = !i;
        gp_writer_init(&w[i], type, stream);
        return &w[i];
}

void guest_put_bytes(GuestVm *vm, const void *p, size_t n) {
        uint64_t until = now_usec(CLOCK_MONOTONIC) + 60 * USEC_PER_SEC;

        while (n > 0) {
                ssize_t k = send(vm->agent_fd, p, n, MSG_DONTWAIT | MSG_NOSIGNAL);

                if (k > 0) {
                        p = (const uint8_t *) p + k;
                        n -= (size_t) k;
                } else if (errno != EAGAIN || now_usec(CLOCK_MONOTONIC) > until)
                        give_up(vm, "Sending to the guest");
                else
                        (void) poll(&(struct pollfd) { .fd = vm->agent_fd, .events = POLLOUT }, 1, 100);
        }
}

void guest_put(GuestVm *vm, GpWriter *w) {
        size_t n;

        assert_int_equal(gp_writer_finish(w, &n), 0);
        guest_put_bytes(vm, w->buf, n);
}

void guest_boot(GuestVm *vm, bool overlay, char *const *command, const char *user) {
        guest_boot_more(vm, overlay, command, user, NULL, 0);
}

void guest_boot_more(GuestVm *vm, bool overlay, char *const *command, const char *user, const char *cwd, unsigned signal) {
        GpWriter *w;

        guest_wait(vm, &vm->hello, 60);
        w = guest_frame(GP_BOOT, 0);
        gp_writer_string(w, GP_FIELD_HOSTNAME, "alice-vm");
        gp_writer_string(w, GP_FIELD_ROOT_DEVICE, "serial:root");
        gp_writer_string(w, GP_FIELD_OVERLAY_DEVICE, overlay ? "serial:overlay" : NULL);
        gp_writer_string(w, GP_FIELD_ENV, "COLOUR=blue");
        gp_writer_string(w, GP_FIELD_USER, user);
        gp_writer_string(w, GP_FIELD_CWD, cwd);
        gp_writer_strv(w, GP_FIELD_ARG, command);
        if (signal > 0)
                gp_writer_u32(w, GP_FIELD_SIGNAL, signal);
        gp_writer_u64(w, GP_FIELD_REALTIME, now_usec(CLOCK_REALTIME));
        if (!command)
                gp_writer_u32(w, GP_FIELD_CONSOLE_SHELL, 1);
        guest_put(vm, w);
}

GpWriter *guest_exec_frame(GuestVm *vm, uint32_t *ret_stream) {
        *ret_stream = vm->next_stream;
        return guest_frame(GP_EXEC, vm->next_stream);
}

uint32_t guest_exec_fields(GuestVm *vm, GpWriter *w) {
        GuestSession *s;

        assert_true(vm->next_stream < SESSIONS);
        s = &vm->sessions[vm->next_stream];
        s->used = true;
        gp_sender_init(&s->sender);
        gp_receiver_init(&s->outputs[0].receiver);
        gp_receiver_init(&s->outputs[1].receiver);
        guest_put(vm, w);
        return vm->next_stream++;
}

uint32_t guest_exec(GuestVm *vm, const char *command) {
        char *const argv[] = { (char *) "sh", (char *) "-c", (char *) command, NULL };
        uint32_t stream;
        GpWriter *w = guest_exec_frame(vm, &stream);

        gp_writer_strv(w, GP_FIELD_ARG, argv);
        return guest_exec_fields(vm, w);
}

GuestSession *guest_wait_exit(GuestVm *vm, uint32_t stream, unsigned seconds) {
        GuestSession *s = &vm->sessions[stream];
        uint64_t until = now_usec(CLOCK_MONOTONIC) + seconds * USEC_PER_SEC;

        while (!s->exited && !s->failed) {
                if (now_usec(CLOCK_MONOTONIC) >= until)
                        give_up(vm, "The end of a session");
                (void) step(vm, 100);
        }
        return s;
}

GuestSession *guest_run(GuestVm *vm, const char *command) {
        return guest_wait_exit(vm, guest_exec(vm, command), 60);
}

void guest_stdin(GuestVm *vm, uint32_t stream, const void *p, size_t n) {
        GuestSession *s = &vm->sessions[stream];
        uint64_t until = now_usec(CLOCK_MONOTONIC) + 120 * USEC_PER_SEC;

        do {
                size_t k = MIN2(n, gp_sender_room(&s->sender));

                if (n > 0 && k == 0) {
                        if (now_usec(CLOCK_MONOTONIC) >= until)
                                give_up(vm, "A window for stdin");
                        (void) step(vm, 100);
                        continue;
                }
                GpWriter *w = guest_frame(GP_STDIN, stream);

                gp_writer_raw(w, p, k);
                guest_put(vm, w);
                gp_sender_sent(&s->sender, k);
                p = (const uint8_t *) p + k;
                n -= k;
                while (step(vm, 0))
                        ;
        } while (n > 0);
}

void guest_signal(GuestVm *vm, uint32_t stream, unsigned signal) {
        GpWriter *w = guest_frame(GP_SIGNAL, stream);

        gp_writer_u32(w, GP_FIELD_SIGNAL, signal);
        guest_put(vm, w);
}

void guest_shutdown(GuestVm *vm) {
        GpWriter *w = guest_frame(GP_SHUTDOWN, 0);

        gp_writer_u32(w, GP_FIELD_MODE, GP_POWEROFF);
        guest_put(vm, w);
}
