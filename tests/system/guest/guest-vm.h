/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A real guest under QEMU with the very command line of the qemu driver, and the host's end of its agent channel:
 * blocking, with time limits, for tests. Fails the running cmocka test when something takes too long. */

#include "guest-protocol/flow.h"

#define SESSIONS 128u

typedef struct GuestOutput {
        GpReceiver receiver;
        uint8_t *p;
        size_t n, allocated;
        bool ended;
        bool held;        /* no window is granted */
} GuestOutput;

typedef struct GuestSession {
        bool used, started, failed, exited;
        uint32_t pid, status, signal, error;
        char *message;
        GpSender sender;
        GuestOutput outputs[2];
} GuestSession;

typedef struct GuestVm {
        pid_t pid;                 /* 0: gone */
        int agent_fd, console_fd;
        uint64_t started_usec;
        unsigned hello_ms, ready_ms, boot_ms;

        uint8_t *in;
        size_t n_in, allocated_in;
        char *console;
        size_t n_console, allocated_console;

        bool hello, ready, boot_failed, stopping, command_exited, time_set, resumed;
        uint32_t error, status, phase;
        uint64_t nonce;
        char *message;
        GpStreamState states[SESSIONS];
        size_t n_states;

        uint32_t next_stream;
        GuestSession sessions[SESSIONS];

        struct Bed *bed; /* of a guest that can sleep */
} GuestVm;

/* What to run; set from the command line of the test. */
extern const char *guest_kernel, *guest_initrd, *guest_root, *guest_overlay;
extern int guest_tap_fd; /* -EBADF: no network */

/* For main(): that command line, or false and how it is to be. */
bool guest_arguments(int argc, char **argv);

void guest_start(GuestVm *vm);
/* The agent channel over a listening socket at path, so that the host can go away and come back. */
void guest_start_listening(GuestVm *vm, const char *path);
void guest_connect(GuestVm *vm, const char *path);
/* A guest whose memory is in a file. guest_sleep() saves what else there is of it and ends QEMU; guest_wake() starts
 * another one, with the very same sockets. Both say how long it took: until QEMU was gone, and until the guest ran. */
void guest_start_in_bed(GuestVm *vm, uint64_t memory);
unsigned guest_sleep(GuestVm *vm);
unsigned guest_wake(GuestVm *vm);
/* Waits for QEMU's end; its exit status. */
int guest_wait_gone(GuestVm *vm, unsigned seconds);
void guest_kill(GuestVm *vm);

/* Reads until *condition or, without one, until nothing comes for so long. Fails after so many seconds. */
void guest_wait(GuestVm *vm, const bool *condition, unsigned seconds);
void guest_drain(GuestVm *vm, unsigned milliseconds);
void guest_wait_output(GuestVm *vm, uint32_t stream, const char *text);
void guest_wait_console(GuestVm *vm, const char *text);

/* Frames. */
GpWriter *guest_frame(GpType type, uint32_t stream);
void guest_put(GuestVm *vm, GpWriter *w);
void guest_put_bytes(GuestVm *vm, const void *p, size_t n);

/* BOOT with a host name, the root and (overlay) the overlay disk; command may be NULL. */
void guest_boot(GuestVm *vm, bool overlay, char *const *command, const char *user);
/* … with a working directory and a stop signal; NULL, 0: none. */
void guest_boot_more(GuestVm *vm, bool overlay, char *const *command, const char *user, const char *cwd, unsigned signal);

/* A new session of a shell command, or of the writer's fields as they are. */
uint32_t guest_exec(GuestVm *vm, const char *command);
uint32_t guest_exec_fields(GuestVm *vm, GpWriter *w);
GpWriter *guest_exec_frame(GuestVm *vm, uint32_t *ret_stream);
/* … and waits for its end. */
GuestSession *guest_run(GuestVm *vm, const char *command);
GuestSession *guest_wait_exit(GuestVm *vm, uint32_t stream, unsigned seconds);

/* Sends stdin as the window allows; n 0 is the end of file. */
void guest_stdin(GuestVm *vm, uint32_t stream, const void *p, size_t n);
void guest_signal(GuestVm *vm, uint32_t stream, unsigned signal);
void guest_release(GuestVm *vm, uint32_t stream, unsigned output);
void guest_shutdown(GuestVm *vm);
