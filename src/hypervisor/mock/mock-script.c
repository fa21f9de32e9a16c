/* SPDX-License-Identifier: Apache-2.0 */

#include "hypervisor/mock/mock-script.h"

#include "basic/alloc-util.h"
#include "basic/parse-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"

#define MILLISECONDS_MAX UINT64_C(86400000)
#define LOAD_MAX 6400
#define FLOOD_MAX (UINT64_C(1) << 30)

typedef enum Kind { FLAG, MILLISECONDS, PERCENT, SIZE, STATUS, SIGNAL } Kind;

static const struct {
        const char *name;
        Kind kind;
        size_t offset;
} directives[] = {
        { "die-at-start", FLAG, offsetof(MockScript, die_at_start) },
        { "exit-after", MILLISECONDS, offsetof(MockScript, exit_after) },
        { "crash-after", MILLISECONDS, offsetof(MockScript, crash_after) },
        { "panic-after", MILLISECONDS, offsetof(MockScript, panic_after) },
        { "no-agent", FLAG, offsetof(MockScript, no_agent) },
        { "agent-silent", FLAG, offsetof(MockScript, agent_silent) },
        { "agent-garbage", FLAG, offsetof(MockScript, agent_garbage) },
        { "boot-failed", FLAG, offsetof(MockScript, boot_failed) },
        { "slow-ready", MILLISECONDS, offsetof(MockScript, slow_ready) },
        { "slow-resume", MILLISECONDS, offsetof(MockScript, slow_resume) },
        { "monitor-silent", FLAG, offsetof(MockScript, monitor_silent) },
        { "monitor-garbage", FLAG, offsetof(MockScript, monitor_garbage) },
        { "crash-on-pause", FLAG, offsetof(MockScript, crash_on_pause) },
        { "save-fails", FLAG, offsetof(MockScript, save_fails) },
        { "load-fails", FLAG, offsetof(MockScript, load_fails) },
        { "save-hangs", FLAG, offsetof(MockScript, save_hangs) },
        { "load-hangs", FLAG, offsetof(MockScript, load_hangs) },
        { "ignore-shutdown", FLAG, offsetof(MockScript, ignore_shutdown) },
        { "ignore-powerdown", FLAG, offsetof(MockScript, ignore_powerdown) },
        { "net-echo", FLAG, offsetof(MockScript, net_echo) },
        { "load", PERCENT, offsetof(MockScript, load) },
        { "console-flood", SIZE, offsetof(MockScript, console_flood) },
        { "command-exit", STATUS, offsetof(MockScript, command_exit) },
        { "command-signal", SIGNAL, offsetof(MockScript, command_signal) },
        { "memory", SIZE, offsetof(MockScript, memory) },
        { "memory-after", MILLISECONDS, offsetof(MockScript, memory_after) },
};

static int parse_value(Kind kind, const char *value, void *p) {
        uint64_t v;
        int r;

        if (kind == FLAG) {
                if (value)
                        return -EINVAL;
                *(bool *) p = true;
                return 0;
        }
        if (!value)
                return -EINVAL;
        r = kind == SIZE ? parse_size(value, &v) : parse_uint64(value, &v);
        if (kind == STATUS)
                v = r >= 0 && v <= 255 ? v + 1 : 0;
        if (r < 0 || v == 0 || (kind == SIGNAL && v > 64) || (kind == MILLISECONDS && v > MILLISECONDS_MAX) ||
            (kind == PERCENT && v > LOAD_MAX) ||
            (kind == SIZE && v > FLOOD_MAX * 64))
                return -EINVAL;
        *(uint64_t *) p = kind == MILLISECONDS ? v * USEC_PER_MSEC : v;
        return 0;
}

static int parse_directive(char *s, MockScript *script) {
        char *value;

        value = strchr(s, '=');
        if (value)
                *value++ = 0;
        for (size_t i = 0; i < ELEMENTSOF(directives); i++)
                if (streq(s, directives[i].name))
                        return parse_value(directives[i].kind, value, (char *) script + directives[i].offset);
        return -EINVAL;
}

int mock_script_parse(const char *s, MockScript *ret) {
        _cleanup_free_ char *copy = NULL;
        MockScript script = {};
        char *p;
        int r;

        if (!isempty(s)) {
                p = copy = strdup(s);
                if (!copy)
                        return -ENOMEM;
                for (char *word; (word = strsep(&p, ","));) {
                        r = parse_directive(word, &script);
                        if (r < 0)
                                return r;
                }
        }
        *ret = script;
        return 0;
}
