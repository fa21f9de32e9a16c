/* SPDX-License-Identifier: Apache-2.0 */

#include "ctl/outcome.h"

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "ctl/bus.h"
#include "ctl/heroctl.h"
#include "ctl/sanitize.h"
#include "shared/error-names.h"

#define STATES_MAX 8u

static const char *const settled[] = { "configured", "running",      "suspended", "hibernated",
                                       "stopped",    "start-failed", "failed",    NULL };

/* A verb that is not here (delete) has done its work when there is no VM. */
static const struct {
        const char *verb;
        const char *states[STATES_MAX];
} goals[] = {
        { "create", { "configured", "running", "suspended", "stopped", "start-failed" } },
        { "provision", { "running" } },
        { "start", { "running" } },
        { "restart", { "running" } },
        { "resume", { "running" } },
        { "suspend", { "suspended", "hibernated" } },
        { "hibernate", { "hibernated" } },
        { "stop", { "configured", "stopped", "start-failed", "failed" } },
};

int outcome_ask(sd_bus *bus, const char *vm, sd_bus_message_handler_t callback, void *userdata, sd_bus_slot **ret) {
        _cleanup_message_ sd_bus_message *m = NULL;
        int r;

        r = sd_bus_message_new_method_call(bus, &m, HERO_SERVICE, vm, HERO_VM, "Wait");
        if (r >= 0)
                r = sd_bus_message_set_auto_start(m, false);
        if (r >= 0)
                r = sd_bus_message_append_strv(m, (char **) settled);
        if (r >= 0)
                r = sd_bus_message_append(m, "t", UINT64_MAX);
        /* What goes on in there has its own time limits. */
        return r < 0 ? r : sd_bus_call_async(bus, ret, m, callback, userdata, UINT64_MAX);
}

static bool is_goal(const char *verb, const char *state) {
        for (size_t i = 0; i < ELEMENTSOF(goals); i++)
                for (size_t k = 0; streq(goals[i].verb, verb) && k < STATES_MAX && goals[i].states[k]; k++)
                        if (streq(goals[i].states[k], state))
                                return true;
        return false;
}

static Outcome judge_error(const char *verb, const sd_bus_error *e, char **ret_text) {
        static const char *const away[] = { SD_BUS_ERROR_NO_REPLY, SD_BUS_ERROR_SERVICE_UNKNOWN,
                                            SD_BUS_ERROR_NAME_HAS_NO_OWNER };

        for (size_t i = 0; i < ELEMENTSOF(away); i++)
                if (streq(e->name, away[i]))
                        return OUTCOME_AWAY;
        if (!streq(e->name, SD_BUS_ERROR_UNKNOWN_OBJECT) && !streq(e->name, SD_BUS_ERROR_UNKNOWN_METHOD) &&
            !streq(e->name, ERROR_NO_SUCH_VM))
                return OUTCOME_ERROR;
        if (streq(verb, "delete"))
                return OUTCOME_REACHED;
        *ret_text = strdup("there is no VM any more.");
        return OUTCOME_MISSED;
}

Outcome outcome_judge(const char *verb, sd_bus_message *reply, char **ret_text) {
        const sd_bus_error *e = sd_bus_message_get_error(reply);
        _cleanup_free_ char *clean = NULL;
        const char *state, *reason;

        *ret_text = NULL;
        if (e)
                return judge_error(verb, e, ret_text);
        if (sd_bus_message_read(reply, "ssb", &state, &reason, NULL) < 0)
                return OUTCOME_MISSED;
        if (is_goal(verb, state))
                return OUTCOME_REACHED;
        clean = sanitize_line(reason);
        *ret_text = strprintf("the VM is %s: %s", state, strempty(clean));
        return OUTCOME_MISSED;
}
