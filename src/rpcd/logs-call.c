/* SPDX-License-Identifier: Apache-2.0 */

/* vm.logs: the last of what a guest wrote to its console. */

#include <fcntl.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "rpcd/call-util.h"
#include "rpcd/drain.h"
#include "rpcd/guests.h"
#include "rpcd/text.h"
#include "shared/bus-util.h"
#include "shared/error-names.h"

#define BYTES_DEFAULT (64 * 1024)
#define BYTES_MAX (1024 * 1024)
#define LOGS_TIMEOUT (30 * USEC_PER_SEC)

typedef struct LogsCall {
        WaitingCall waiting; /* first */
        sd_bus_slot *slot;
        sd_event_source *timer;
        Drain text;
        uint64_t bytes, lines; /* 0: as many as there are */
} LogsCall;

static void logs_call_free(WaitingCall *w) {
        LogsCall *l = (LogsCall *) w;

        waiting_end(w);
        sd_bus_slot_unref(l->slot);
        sd_event_source_disable_unref(l->timer);
        drain_done(&l->text);
        free(l);
}

static void on_end(Drain *d, void *userdata) {
        _cleanup_free_ char *text = NULL;
        LogsCall *l = userdata;
        Call *c = l->waiting.call;
        size_t begin, size = 0;
        json_t *j = NULL;

        begin = l->lines > 0 ? text_tail(strempty(d->data), d->size, l->lines) : 0;
        if (begin == 0 && d->size >= l->bytes)
                begin = text_broken_head(strempty(d->data), d->size);
        text = text_replace_invalid(strempty(d->data) + begin, d->size - begin, &size);
        if (text)
                j = json_pack("{s:s, s:s%}", "vm_id", c->vm_id, "text", text, size);
        call_result(waiting_take(&l->waiting), j);
}

static int on_opened(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error) {
        const sd_bus_error *e = sd_bus_message_get_error(reply);
        LogsCall *l = userdata;
        int fd, r;

        l->slot = sd_bus_slot_unref(l->slot);
        if (e) {
                call_bus_error(waiting_take(&l->waiting), e);
                return 0;
        }
        r = sd_bus_message_read(reply, "h", &fd);
        if (r >= 0) {
                fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
                r = fd < 0 ? negative_errno() :
                             drain_start(&l->text, l->waiting.call->rpcd->event, fd, l->bytes, on_end, l);
        }
        if (r < 0)
                call_errno(waiting_take(&l->waiting), r);
        return 0;
}

static int on_timeout(sd_event_source *source, uint64_t usec, void *userdata) {
        LogsCall *l = userdata;

        call_refuse(waiting_take(&l->waiting), SD_BUS_ERROR_TIMEOUT, "The log did not come in time.");
        return 0;
}

/* vm.logs (ACCESS_VM): "What the guest wrote to its console, as far as it is kept"
 *   vm_id  string, required
 *   bytes  integer (1 … 1048576): "At most so many of the last bytes (65536; with lines: 1048576)"
 *   lines  integer (1 … 1048576): "At most so many of the last lines"
 * → VmLogs { vm_id: string, text: string }; what is not UTF-8 is U+FFFD. */
void method_vm_logs(Call *c) {
        LogsCall *l;
        int r;

        l = new0(LogsCall, 1);
        if (!l) {
                call_errno(c, -ENOMEM);
                return;
        }
        l->lines = (uint64_t) call_integer(c, "lines", 0);
        l->bytes = (uint64_t) call_integer(c, "bytes", l->lines > 0 ? BYTES_MAX : BYTES_DEFAULT);
        if (!waiting_begin(&l->waiting, WAITING_LOGS, c, logs_call_free)) {
                free(l);
                return;
        }
        r = bus_call_async(c->rpcd->bus, &l->slot, COMPUTE_BUS_NAME, c->vm_path, COMPUTE_VM_INTERFACE, "Logs", on_opened, l,
                           "tt", l->bytes, UINT64_C(0));
        if (r >= 0)
                r = sd_event_add_time_relative(c->rpcd->event, &l->timer, CLOCK_MONOTONIC, LOGS_TIMEOUT, 0, on_timeout, l);
        if (r < 0)
                call_errno(waiting_take(&l->waiting), r);
}
