/* SPDX-License-Identifier: Apache-2.0 */

/* A drop in any table is a drop, so a firewall beside ours can keep the VMs from the network without knowing
 * of them. */

#include "network/filter-obstacles.h"

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "network/filter.h"
#include "network/wake.h"

/* As tap.c names them, in the words of nft and of iptables-nft. */
#define OUR_TAPS "tap-*"

static const char *text_of(const json_t *o, const char *key) {
        return strempty(json_string_value(json_object_get(o, key)));
}

static bool is_ours(const char *family, const char *table) {
        return streq(family, "inet") && streq(table, FILTER_TABLE);
}

static bool has(const json_t *expression, const char *key) {
        return json_object_get(expression, key) != NULL;
}

/* A rule without a condition whose verdict is no. */
static bool drops_everything(const json_t *rule) {
        const json_t *expressions = json_object_get(rule, "expr"), *e;
        bool drops = false;
        size_t i;

        json_array_foreach(expressions, i, e) {
                if (has(e, "drop") || has(e, "reject"))
                        drops = true;
                else if (!has(e, "counter") && !has(e, "log"))
                        return false;
        }
        return drops;
}

/* Whether the rule is about packets from (iifname) or to (oifname) that interface and can let them through.
 */
static bool lets_through(const json_t *rule, const char *key, const char *interface) {
        const json_t *expressions = json_object_get(rule, "expr"), *e;
        bool matches = false, accepts = false;
        size_t i;

        json_array_foreach(expressions, i, e) {
                const json_t *match = json_object_get(e, "match");

                if (match && streq(text_of(json_object_get(json_object_get(match, "left"), "meta"), "key"),
                                             key))
                        matches = streq(text_of(match, "op"), "==") &&
                                  streq(text_of(match, "right"), interface);
                accepts = accepts || has(e, "accept") || has(e, "jump") || has(e, "goto");
        }
        return matches && accepts;
}

typedef struct Verdict {
        bool last_drops, from, to, to_sleeping;
} Verdict;

static Verdict look_through(
                const json_t *ruleset, const char *family, const char *table, const char *chain) {
        const json_t *o, *rule;
        Verdict v = {};
        size_t i;

        json_array_foreach(ruleset, i, o) {
                rule = json_object_get(o, "rule");
                if (!rule || !streq(text_of(rule, "family"), family) ||
                                !streq(text_of(rule, "table"), table))
                        continue;
                if (streq(text_of(rule, "chain"), chain))
                        v.last_drops = drops_everything(rule);
                v.from = v.from || lets_through(rule, "iifname", OUR_TAPS);
                v.to = v.to || lets_through(rule, "oifname", OUR_TAPS);
                v.to_sleeping = v.to_sleeping || lets_through(rule, "oifname", WAKE_INTERFACE);
        }
        return v;
}

int find_filter_obstacles(const json_t *ruleset, char ***ret) {
        _cleanup_strv_free_ char **l = NULL;
        const json_t *o;
        size_t i;

        json_array_foreach(ruleset, i, o) {
                const json_t *chain = json_object_get(o, "chain");
                const char *family = text_of(chain, "family"), *table = text_of(chain, "table");
                const char *name = text_of(chain, "name");
                Verdict v;

                if (!chain || !streq(text_of(chain, "hook"), "forward") || is_ours(family, table))
                        continue;
                if (!streq(family, "ip") && !streq(family, "ip6") && !streq(family, "inet"))
                        continue;
                v = look_through(ruleset, family, table, name);
                if ((!v.last_drops && !streq(text_of(chain, "policy"), "drop")) ||
                                (v.from && v.to && v.to_sleeping))
                        continue;
                if (strv_extendf(&l, "%s %s %s", family, table, name) < 0)
                        return -ENOMEM;
        }
        *ret = TAKE_PTR(l);
        return 0;
}
