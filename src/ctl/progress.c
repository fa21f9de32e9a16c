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
#define BAR_MAX 30u
#define BAR_MIN 8u /* a smaller one says nothing */
#define BAR_FRAME (sizeof(" [] 100 % ") - 1)

static bool shown = false;

void progress_clear(void) {
        if (!shown)
                return;
        fputs("\r\033[K", stderr);
        fflush(stderr);
        shown = false;
}

/* In characters; a line that fills the last column would become two. */
static size_t terminal_width(void) {
        struct winsize ws = {};

        return ioctl(STDERR_FILENO, TIOCGWINSZ, &ws) >= 0 && ws.ws_col > 1 ? ws.ws_col - 1u : 79u;
}

static size_t characters(const char *s) {
        size_t n = 0;

        for (; *s; s++)
                n += ((unsigned char) *s & 0xc0) != 0x80;
        return n;
}

/* Cut to the terminal's width. */
static void show(const char *line) {
        size_t n = 0, width = terminal_width();

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

/* What the words leave of the line. */
static unsigned bar_width(const char *what, const char *text) {
        size_t taken = characters(what) + characters(text) + BAR_FRAME, width = terminal_width();

        return width < taken + BAR_MIN ? 0 : (unsigned) MIN2(width - taken, (size_t) BAR_MAX);
}

void progress_bar(const char *what, uint64_t done, uint64_t total, const char *text) {
        _cleanup_free_ char *line = NULL;
        char bar[BAR_MAX + 1] = "";
        unsigned width, full, percent;

        if (total > 0) {
                done = MIN2(done, total);
                width = bar_width(what, text);
                percent = (unsigned) ((double) done * 100 / (double) total);
                full = (unsigned) ((double) done * width / (double) total);
                memset(bar, '#', full);
                memset(bar + full, '-', width - full);
                bar[width] = 0;
                line = width > 0 ? strprintf("%s [%s] %3u %% %s", what, bar, percent, text) :
                                   strprintf("%s: %u %% %s", what, percent, text);
        } else
                line = strprintf("%s: %s", what, text);
        if (line)
                show(line);
}
