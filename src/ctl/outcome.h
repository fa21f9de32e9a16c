/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* How a verb went when its job can no longer be asked, because the service was restarted: by what became of the VM. */

#include <systemd/sd-bus.h>

#include "basic/macro.h"

/* VM.Wait of the service that is there now, started for nothing else, until the VM is in none of the states that lead on
 * to another by themselves. */
int outcome_ask(sd_bus *bus, const char *vm, sd_bus_message_handler_t callback, void *userdata, sd_bus_slot **ret);

typedef enum Outcome {
        OUTCOME_REACHED,
        OUTCOME_MISSED, /* *ret_text says what there is instead, allocated; NULL: out of memory */
        OUTCOME_AWAY,   /* the service has gone again */
        OUTCOME_ERROR,  /* the reply is an error that says so */
} Outcome;

/* Whether the answer is what the verb ("start", …) was to bring about. */
Outcome outcome_judge(const char *verb, sd_bus_message *reply, char **ret_text);
