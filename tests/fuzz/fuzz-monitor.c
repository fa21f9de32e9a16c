/* SPDX-License-Identifier: Apache-2.0 */

/* What a VMM may write to its monitor, for every driver. The first byte of the input says which one (bit 0), whether
 * the connection is adopted (bit 1), and whether the monitor is freed in the middle of a callback (bit 2); calls are
 * under way all the time. Their numbers are different every time, so "@" in the input stands for the number of the
 * last call, "&" for that of the one before. */

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "basic/fd-util.h"
#include "hypervisor/hypervisor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct Fuzz {
        VmmMonitor *monitor;
        bool free_early;
        unsigned lost;
} Fuzz;

static void finished(Fuzz *f) {
        if (f->free_early && f->monitor)
                f->monitor = f->monitor->hypervisor->monitor_free(f->monitor);
}

static void on_event(VmmMonitor *m, VmmEvent event, void *userdata) {
        Fuzz *f = userdata;

        if (event == VMM_EVENT_LOST && ++f->lost > 1)
                abort();
        finished(f);
}

static void on_done(VmmMonitor *m, int error, const char *text, void *userdata) {
        finished(userdata);
}

/* The number in the last command that was written. */
static unsigned long long last_id(int fd) {
        char buf[4096], *p;
        ssize_t n;

        n = recv(fd, buf, sizeof(buf) - 1, MSG_DONTWAIT);
        if (n <= 0)
                return 0;
        buf[n] = 0;
        p = strstr(buf, "\"id\":");
        return strtoull(p ? p + 5 : buf, NULL, 10);
}

static void say(int fd, const uint8_t *data, size_t size, const unsigned long long ids[static 2]) {
        for (size_t begin = 0, i = 0; i <= size; i++) {
                char number[32];

                if (i < size && data[i] != '@' && data[i] != '&')
                        continue;
                (void) send(fd, data + begin, i - begin, MSG_DONTWAIT | MSG_NOSIGNAL);
                begin = i + 1;
                if (i == size)
                        return;
                (void) snprintf(number, sizeof(number), "%llu", ids[data[i] == '&']);
                (void) send(fd, number, strlen(number), MSG_DONTWAIT | MSG_NOSIGNAL);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        unsigned long long ids[2];
        sd_event *event = NULL;
        const Hypervisor *h;
        int pair[2];
        Fuzz f = {};

        if (size == 0 || sd_event_new(&event) < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
                return 0;
        h = data[0] & 1 ? &hypervisor_qemu : &hypervisor_mock;
        f.free_early = data[0] & 4;
        if (h->monitor_new(event, pair[0], data[0] & 2, on_event, &f, &f.monitor) >= 0) {
                (void) h->pause(f.monitor, on_done, &f);
                ids[1] = last_id(pair[1]);
                (void) h->query_paused(f.monitor, on_done, &f);
                ids[0] = last_id(pair[1]);
                say(pair[1], data + 1, size - 1, ids);
                (void) shutdown(pair[1], SHUT_WR);
                while (sd_event_run(event, 0) > 0)
                        ;
                if (f.monitor)
                        h->monitor_free(f.monitor);
        }
        close(pair[1]);
        sd_event_unref(event);
        return 0;
}
