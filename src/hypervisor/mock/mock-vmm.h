/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* hero-mock-vmm, the program: one process, one poll() loop, no thread unless a load of several CPUs is asked for, no
 * library but libc (static musl: it is started hundreds of times per second, and a thousand of them live side by side).
 *
 *     mock-main.c      arguments, the loop, monitor, what the script says
 *     mock-console.c   the console
 *     mock-net.c       the network, and mock-frame.c what is answered there
 *     mock-agent.c     the guest's end of the agent channel
 *     mock-session.c   exec sessions and the commands there are
 *     mock-memory.c    memory that outlives the process
 *     mock-state.c     all the rest, into a file and out of it */

#include <stdatomic.h>

#include "basic/macro.h"
#include "guest-protocol/flow.h"
#include "guest-protocol/guest-protocol.h"
#include "hypervisor/mock/mock-protocol.h"
#include "hypervisor/mock/mock-script.h"

typedef struct Session Session;

/* Begins the memory, when that is in a file. */
typedef struct MockMemory {
        char magic[16];
        uint64_t id;       /* of this guest, at random */
        uint64_t restored; /* how often */
} MockMemory;

typedef struct Mock {
        const char *name;
        MockScript script;
        int console_fd, monitor_fd, agent_fd, tap_fd, memory_fd;
        int passed_fd; /* came with a line of the monitor */
        size_t tap_header; /* bytes before each of its frames */
        uint8_t mac[6];
        uint64_t started; /* µs, CLOCK_BOOTTIME */
        atomic_bool paused; /* the threads that make load look at it, too */
        bool ended; /* the guest is down */
        bool incoming; /* there is no guest before load */
        int status; /* to exit with */
        MockMemory *memory; /* NULL: not in a file */
        uint64_t memory_size;

        char line[MOCK_LINE_MAX]; /* of the monitor */
        size_t n_line;

        GpPhase phase;
        char **boot;      /* what BOOT said, a line per field, for the command "boot" */
        char **boot_env;
        char *boot_cwd;
        uint64_t ready_at; /* µs; 0: not */
        uint64_t resumed_at, resume_nonce; /* likewise: the RESUME that has not been answered */
        Session *sessions[GP_SESSIONS_MAX];

        uint64_t load_at, flood_at, memory_at;
} Mock;

/* In the main file. */
void mock_event(Mock *m, const char *name);
void mock_shutdown(Mock *m); /* the guest powers off */
void mock_spin(uint64_t usec);
int mock_fd_gone(int fd);    /* closes; -EBADF */

int mock_memory_start(Mock *m);
bool mock_memory_is(const Mock *m, uint64_t id); /* has the mark of that guest */
int mock_memory_touch(Mock *m, uint64_t size); /* in the file, if it is large enough */

void mock_console_start(Mock *m);
void mock_console_input(Mock *m);
void mock_console_flood(Mock *m, uint64_t usec); /* the share of that much time */

void mock_net_start(Mock *m);
void mock_net_input(Mock *m);

void mock_agent_start(Mock *m);
void mock_agent_command_exit(Mock *m); /* says that the VM's own command ended, if the script has it */
short mock_agent_events(const Mock *m); /* for poll() */
void mock_agent_io(Mock *m, short revents);
void mock_agent_tick(Mock *m, uint64_t now);
uint64_t mock_agent_deadline(const Mock *m);

/* Frames are put into the agent's output; room for data is limited, room for others is made sure of by not reading
 * while there is too little. */
bool mock_agent_has_room(void);
void mock_agent_send(GpWriter *w);
GpWriter *mock_agent_writer(GpType type, uint32_t stream); /* the only one there is */

/* One EXEC; takes over the content of the request. */
typedef struct ExecRequest {
        char **argv, **env;
        char *const *boot; /* Mock.boot */
        const MockMemory *memory;
        char *cwd;
        bool tty;
        uint32_t rows, columns;
} ExecRequest;

void mock_session_exec(Mock *m, uint32_t stream, ExecRequest *request);
Session *mock_session_find(Mock *m, uint32_t stream);
void mock_session_stdin(Mock *m, Session *s, const uint8_t *p, size_t n);
void mock_session_window(Mock *m, Session *s, GpType kind, uint64_t offset);
void mock_session_resize(Mock *m, Session *s, uint32_t rows, uint32_t columns);
void mock_session_signal(Mock *m, Session *s, int sig);
GpStreamState mock_session_state(const Session *s);
/* Goes on with every session: sends what can be sent, ends what is over. */
void mock_sessions_tick(Mock *m, uint64_t now);
uint64_t mock_sessions_deadline(const Mock *m);
