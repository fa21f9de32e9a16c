/* SPDX-License-Identifier: Apache-2.0 */

#include "ctl/log-tail.h"

#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "ctl/bus.h"
#include "ctl/heroctl.h"

/* More history than the service keeps; a bound all the same. */
#define TAIL_MAX (16u * 1024u * 1024u)

int log_open(sd_bus *bus, const char *path, uint64_t bytes, bool follow, int *ret, sd_bus_error *error) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        int r;

        r = vm_call(bus, path, "Logs", error, &reply, "tt", bytes, (uint64_t) follow);
        if (r < 0)
                return r;
        return message_take_fd(reply, ret);
}

int log_read_tail(int fd, size_t max, char **ret, size_t *ret_size) {
        _cleanup_free_ char *buf = NULL;
        size_t size = 0, allocated = 0;

        for (;;) {
                ssize_t n;

                if (!GREEDY_REALLOC(buf, allocated, size + 4096 + 1))
                        return -ENOMEM;
                n = read(fd, buf + size, allocated - size - 1);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return negative_errno();
                if (n == 0)
                        break;
                size += (size_t) n;
                if (size > 2 * max) {
                        memmove(buf, buf + size - max, max);
                        size = max;
                }
        }
        if (size > max) {
                memmove(buf, buf + size - max, max);
                size = max;
        }
        buf[size] = 0;
        *ret = TAKE_PTR(buf);
        *ret_size = size;
        return 0;
}

size_t tail_offset(const char *p, size_t n, uint64_t lines) {
        size_t i = n;

        if (i > 0 && p[i - 1] == '\n')
                i--;
        for (; i > 0; i--)
                if (p[i - 1] == '\n' && --lines == 0)
                        break;
        return i;
}

int log_tail_size(sd_bus *bus, const char *path, uint64_t lines, uint64_t *ret, sd_bus_error *error) {
        _cleanup_free_ char *text = NULL;
        _cleanup_close_ int fd = -EBADF;
        size_t n;
        int r;

        r = log_open(bus, path, 0, false, &fd, error);
        if (r < 0)
                return r;
        r = log_read_tail(fd, TAIL_MAX, &text, &n);
        if (r < 0)
                return r;
        *ret = MAX2(n - tail_offset(text, n, lines), 1u);
        return 0;
}
