/* SPDX-License-Identifier: Apache-2.0 */

/* The host's end of the agent channel against a hostile guest: everything a guest can send, to an agent with exec
 * sessions whose clients read, do not read, or have left.
 *
 * The first byte says how: 1 = an adopted VM, 2 = the bytes come in small pieces, 4 = nobody reads what the host
 * answers, 8 = the first session's client has left, 16 = the sessions are adopted, too. The rest is what the guest
 * sends, with eight bytes of 0xee standing for the nonce of the host's RESUME. */

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/time-util.h"
#include "compute/agent.h"
#include "compute/manager.h"
#include "guest-protocol/guest-protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SESSIONS 3u

enum {
        ADOPTED = 1,
        PIECES = 2,
        DEAF = 4,
        LEFT = 8,
        SESSIONS_ADOPTED = 16,
};

static void failed(int line, const char *what) {
        fprintf(stderr, "line %i: %s does not hold\n", line, what);
        abort();
}

#define check(expression) ((expression) ? (void) 0 : failed(__LINE__, #expression))

static struct {
        Manager manager;
        Vm vm;
        VmRuntime runtime;
        unsigned ready, failed, lost;
} host;

static void on_agent(Agent *a, AgentEvent event, int status, const char *text, void *userdata) {
        check(a == host.runtime.agent || !host.runtime.agent);
        check(!host.lost); /* no event follows */
        if (event == AGENT_READY)
                check(++host.ready == 1);
        if (event == AGENT_LOST)
                host.lost++;
        if (event == AGENT_COMMAND_EXIT)
                check(status >= 0 && status <= 255);
        if (event == AGENT_COMMAND_SIGNAL)
                check(status >= 0 && status <= 127);
        if (event == AGENT_BOOT_FAILED)
                check(status >= 0 && status <= 255);
        /* These words go to the bus. */
        check(!text || strlen(text) < 1000);
}

static void drain(int fd) {
        char buf[65536];

        while (recv(fd, buf, sizeof(buf), MSG_DONTWAIT) > 0)
                ;
}

static void turn(void) {
        for (unsigned i = 0; i < 100 && sd_event_run(host.manager.event, 0) > 0; i++)
                ;
}

static void open_sessions(uint8_t how, int clients[static SESSIONS][3]) {
        for (unsigned i = 0; i < SESSIONS; i++) {
                char *command[] = { (char *) "cat", NULL };
                ExecOptions o = { .command = command, .tty = i == 1, .rows = 24, .columns = 80 };
                int r;

                if (how & SESSIONS_ADOPTED) {
                        int pairs[3][2];

                        for (unsigned k = 0; k < 3; k++) {
                                check(socketpair(AF_UNIX, (k == 2 ? SOCK_SEQPACKET : SOCK_STREAM) | SOCK_CLOEXEC, 0, pairs[k]) == 0);
                                clients[i][k] = pairs[k][1];
                        }
                        r = agent_adopt_session(host.runtime.agent, i + 1, pairs[0][0], pairs[1][0], pairs[2][0]);
                } else
                        r = agent_exec(host.runtime.agent, &o, &clients[i][0], &clients[i][1], &clients[i][2]);
                check(r == 0);
                (void) send(clients[i][0], "input", 5, MSG_DONTWAIT | MSG_NOSIGNAL);
                (void) send(clients[i][2], "resize 10 20", 12, MSG_DONTWAIT | MSG_NOSIGNAL);
        }
        if (how & LEFT)
                for (unsigned k = 0; k < 3; k++)
                        clients[0][k] = safe_close(clients[0][k]);
}

/* The host's first frame to an adopted guest is RESUME with one field, the nonce. */
static uint8_t *with_nonce(int guest, const uint8_t *data, size_t size) {
        static const uint8_t placeholder[8] = { 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee };
        uint8_t resume[GP_HEADER_SIZE + 16], *copy;

        check(recv(guest, resume, sizeof(resume), MSG_PEEK | MSG_DONTWAIT) == (ssize_t) sizeof(resume));
        copy = malloc(size + 1);
        check(copy);
        memcpy(copy, data, size);
        for (uint8_t *p = copy; (p = memmem(p, size - (size_t) (p - copy), placeholder, sizeof(placeholder)));)
                memcpy(p, resume + GP_HEADER_SIZE + 8, sizeof(placeholder));
        return copy;
}

static void feed(uint8_t how, int guest, const uint8_t *data, size_t size) {
        while (size > 0 && !host.lost) {
                size_t n = how & PIECES ? MIN2(size, 1 + (size_t) data[0] % 40) : MIN2(size, (size_t) 4096);

                if (send(guest, data, n, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t) n)
                        return;
                data += n;
                size -= n;
                turn();
                if (!(how & DEAF))
                        drain(guest);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ uint8_t *copy = NULL;
        int pair[2], clients[SESSIONS][3];
        uint8_t how;

        if (size == 0)
                return 0;
        how = *data++;
        size--;
        memset(&host, 0, sizeof(host));
        check(sd_event_new(&host.manager.event) >= 0);
        host.vm = (Vm) { .manager = &host.manager, .name = (char *) "fuzz", .runtime = &host.runtime, .state = VM_RUNNING };
        check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
        check(fd_nonblock(pair[0], true) >= 0);
        check(agent_new(&host.vm, pair[0], how & ADOPTED, on_agent, NULL, &host.runtime.agent) == 0);
        if (how & ADOPTED)
                data = copy = with_nonce(pair[1], data, size);
        open_sessions(how, clients);
        turn();
        if (!(how & DEAF))
                drain(pair[1]);
        feed(how, pair[1], data, size);
        turn();
        check(agent_n_sessions(host.runtime.agent) <= SESSIONS);
        /* Whatever was sent, the end of the channel is noticed. */
        pair[1] = safe_close(pair[1]);
        for (unsigned i = 0; !host.lost && i < 100; i++) /* a guest that floods is served at a limited rate */
                (void) sd_event_run(host.manager.event, 50 * USEC_PER_MSEC);
        check(host.lost == 1 && agent_n_sessions(host.runtime.agent) == 0);
        agent_free(host.runtime.agent);
        for (unsigned i = 0; i < SESSIONS; i++)
                for (unsigned k = 0; k < 3; k++)
                        safe_close(clients[i][k]);
        sd_event_unref(host.manager.event);
        return 0;
}
