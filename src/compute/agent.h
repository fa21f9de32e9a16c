/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The host's end of the agent channel (guest-protocol/guest-protocol.h) and the exec sessions on it. Owned by the VM's
 * runtime.
 *
 * Nothing that the guest or a client has sent lives in this process only: bytes are peeked at, passed on whole, and only
 * then taken from their socket, and a frame goes into a socket in one piece or not at all. All sockets are in systemd's
 * fd store. So the daemon can be killed between any two instructions and the next one goes on; at worst the frame that was
 * being passed on right then is passed on twice. */

#include "compute/vm.h"

typedef enum AgentEvent {
        AGENT_HELLO,
        AGENT_READY,
        AGENT_BOOT_FAILED,   /* text; status: 126 or 127 when it was the command that could not be executed, else 0 */
        AGENT_COMMAND_EXIT,  /* status 0…255 */
        AGENT_COMMAND_SIGNAL,/* status: the number of the signal that ended it */
        AGENT_STOPPING,
        AGENT_ACTIVITY,      /* exec data went through */
        AGENT_LOST,          /* end of file or nonsense (text); no event follows */
} AgentEvent;

typedef void (*agent_event_t)(Agent *a, AgentEvent event, int status, const char *text, void *userdata);

/* Takes fd over. adopted: asks the guest where it is (RESUME). */
int agent_new(Vm *vm, int fd, bool adopted, agent_event_t callback, void *userdata, Agent **ret);
Agent *agent_free(Agent *a); /* ends all sessions with "lost" */

/* The daemon ends: closes our copies only, sessions go on with the next one. */
void agent_forget(Agent *a);

/* It was asked where the guest is and has not answered yet: a moment ago the guest slept, or the daemon was another. */
bool agent_is_asked(const Agent *a);

int agent_shutdown(Agent *a);
int agent_set_time(Agent *a); /* and random numbers, see GP_FIELD_SEED */

typedef struct ExecOptions {
        char **command, **environment;
        char *working_directory, *user;
        bool tty;
        unsigned rows, columns;
} ExecOptions;

/* The three fds are the caller's. -EDQUOT: too many sessions, -E2BIG: command and environment too long. */
int agent_exec(Agent *a, const ExecOptions *options, int *ret_stdio, int *ret_stderr, int *ret_control);

/* A session found in the fd store; takes the fds over. */
int agent_adopt_session(Agent *a, uint32_t stream, int stdio_fd, int stderr_fd, int control_fd);

unsigned agent_n_sessions(const Agent *a);
int agent_fd(const Agent *a); /* stays the agent's */
