/* SPDX-License-Identifier: Apache-2.0 */

#include "ctl/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "ctl/sanitize.h"

#define BYTES_FROM (1024 * 1024) /* a total above this is bytes, not a count */
#define BAR_WIDTH 30u

static bool shown = false;

void progress_clear(void) {
        if (!shown)
                return;
        fputs("\r\033[K", stderr);
        fflush(stderr);
        shown = false;
}

/* Cut to the terminal's width, in characters, so that the line never becomes two. */
static void show(const char *line) {
        struct winsize ws = {};
        size_t n = 0, width;

        width = ioctl(STDERR_FILENO, TIOCGWINSZ, &ws) >= 0 && ws.ws_col > 1 ? ws.ws_col - 1u : 79u;
        for (; line[n]; n++)
                if (((unsigned char) line[n] & 0xc0) != 0x80 && width-- == 0)
                        break;
        fprintf(stderr, "\r%.*s\033[K", (int) n, line);
        fflush(stderr);
        shown = true;
}

static void format_amount(char *buf, size_t n, uint64_t done, uint64_t total) {
        char a[FORMAT_BYTES_MAX], b[FORMAT_BYTES_MAX];

        buf[0] = 0;
        if (total >= BYTES_FROM)
                snprintf(buf, n, " %u %% (%s of %s)", (unsigned) ((double) done * 100 / (double) total),
                         format_bytes(a, done), format_bytes(b, total));
        else if (total > 0)
                snprintf(buf, n, " %u %%", (unsigned) (done * 100 / total));
        else if (done >= BYTES_FROM)
                snprintf(buf, n, " %s", format_bytes(a, done));
        else if (done > 0)
                snprintf(buf, n, " %" PRIu64, done);
}

void progress_show(const char *what, const char *step, uint64_t done, uint64_t total, uint64_t elapsed_usec,
                   unsigned others) {
        _cleanup_free_ char *line = NULL, *clean = NULL;
        char amount[64], more[32] = "", elapsed[FORMAT_TIMESPAN_MAX];

        clean = sanitize_line(isempty(step) ? "waiting" : step);
        format_amount(amount, sizeof(amount), done, total);
        if (others > 0)
                snprintf(more, sizeof(more), " (and %u more)", others);
        line = strprintf("%s: %s%s, %s%s", what, strna(clean), amount, format_timespan(elapsed, elapsed_usec), more);
        if (line)
                show(line);
}

void progress_bar(const char *what, uint64_t done, uint64_t total, const char *text) {
        _cleanup_free_ char *line = NULL;
        char bar[BAR_WIDTH + 1] = "";
        unsigned full;

        if (total > 0) {
                full = (unsigned) ((double) MIN2(done, total) * BAR_WIDTH / (double) total);
                memset(bar, '#', full);
                memset(bar + full, '-', BAR_WIDTH - full);
                bar[BAR_WIDTH] = 0;
                line = strprintf("%s [%s] %3u %% %s", what, bar,
                                 (unsigned) ((double) MIN2(done, total) * 100 / (double) total), text);
        } else
                line = strprintf("%s: %s", what, text);
        if (line)
                show(line);
}
