/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a mock VMM is told to do: comma-separated directives, "slow-ready=200,load=50". Pure; used by the driver (to
 * refuse nonsense early) and by the mock VMM. libc only.
 *
 *     die-at-start        complains on stderr and exits with status 1 before anything else
 *     exit-after=MS       the guest powers off that long after the start
 *     command-exit=STATUS the VM's own command ended with it: told before exit-after, and with boot-failed
 *     command-signal=N    the VM's own command was ended by that signal, likewise
 *     crash-after=MS      the VMM dies of SIGABRT
 *     panic-after=MS      the guest panics: event, and the VMM ends
 *     no-agent            the agent channel stays silent
 *     agent-silent        HELLO, but never READY
 *     agent-garbage       bytes that are no frame on the agent channel
 *     boot-failed         BOOT_FAILED instead of READY, then the guest powers off
 *     slow-ready=MS       READY that long after BOOT
 *     slow-resume=MS      an answer to RESUME that long after it
 *     monitor-silent      neither greeting nor answers
 *     monitor-garbage     bytes that are no lines on the monitor
 *     crash-on-pause      dies of SIGABRT when told to pause
 *     save-fails          answers save with an error, and goes on
 *     load-fails          answers load with an error, and ends, as every VMM does that cannot load
 *     save-hangs          never answers save
 *     load-hangs          never answers load
 *     ignore-shutdown     takes no notice of the agent's SHUTDOWN
 *     ignore-powerdown    says "ok" to powerdown and goes on
 *     load=PERCENT        uses that much of one CPU, 1…6400; beyond 100 that of several, with a thread for each
 *     console-flood=N     writes N bytes per second to the console
 *     net-echo            sends every frame of its network back, with the addresses swapped: see mock-frame.h
 *     memory=SIZE         touches that much memory at the start ("64M"), in its file if that is large enough
 *     memory-after=MS     does so that long after the start */

#include "basic/macro.h"

typedef struct MockScript {
        bool die_at_start, no_agent, agent_silent, agent_garbage, boot_failed, monitor_silent, monitor_garbage,
                crash_on_pause, save_fails, load_fails, save_hangs, load_hangs, ignore_shutdown, ignore_powerdown, net_echo;
        uint64_t exit_after, crash_after, panic_after, slow_ready, slow_resume, memory_after; /* µs; 0: not */
        uint64_t load, console_flood, memory;
        uint64_t command_exit;   /* status + 1; 0: not */
        uint64_t command_signal; /* 0: not */
} MockScript;

/* NULL or "" is an empty script. -EINVAL: unknown directive or bad value. */
int mock_script_parse(const char *s, MockScript *ret);
