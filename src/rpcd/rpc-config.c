/* SPDX-License-Identifier: Apache-2.0 */

#include "rpcd/rpc-config.h"

#include "basic/alloc-util.h"
#include "basic/parse-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "rpcd/jwks-url.h"

#define GROUP_NAME_MAX 32u
#define WORD_MAX 255u

typedef enum Kind {
        KIND_GROUP,
        KIND_SWITCH,     /* what cannot be read is yes: it is the stricter one */
        KIND_PERMISSION, /* … is no */
        KIND_URL,
        KIND_WORD,
        KIND_COUNT,
        KIND_SIZE,
        KIND_TIME,
} Kind;

typedef struct Key {
        const char *section, *name, *environment;
        Kind kind;
        size_t offset;
        const char *fallback; /* the default, as one would write it */
} Key;

#define KEY(section, name, environment, kind, member, fallback) \
        { section, name, environment, kind, offsetof(RpcConfig, member), fallback }

static const Key keys[] = {
        KEY("Access", "AdminGroup", NULL, KIND_GROUP, admin_group, "hero-compute"),
        KEY("Access", "SystemUsers", NULL, KIND_PERMISSION, system_users, "no"),
        KEY("OAuth", "Enable", "OAUTH_ENABLED", KIND_SWITCH, oauth_enable, "no"),
        KEY("OAuth", "Require", "OAUTH_REQUIRE_AUTH", KIND_SWITCH, oauth_require, "no"),
        KEY("OAuth", "JWKSURL", "OAUTH_JWKS_URL", KIND_URL, jwks_url, "http://localhost:3350/.well-known/jwks.json"),
        KEY("OAuth", "Issuer", "OAUTH_ISSUER", KIND_WORD, issuer, "hero_auth"),
        KEY("OAuth", "Audience", "OAUTH_AUDIENCE", KIND_WORD, audience, "hero-compute"),
        KEY("OAuth", "AdminClaim", NULL, KIND_WORD, admin_claim, "scope"),
        KEY("OAuth", "AdminValue", NULL, KIND_WORD, admin_value, "hero-compute:admin"),
        KEY("Limits", "ConnectionsMax", NULL, KIND_COUNT, connections_max, "10240"),
        KEY("Limits", "RequestMax", NULL, KIND_SIZE, request_max, "1M"),
        KEY("Limits", "RequestTimeoutSec", NULL, KIND_TIME, request_timeout, "10s"),
        KEY("Limits", "IdleTimeoutSec", NULL, KIND_TIME, idle_timeout, "2min"),
};

/* Variables of hero_compute_manager whose matter is another place's now. */
static const struct {
        const char *name, *instead;
} elsewhere[] = {
        { "COMPUTE_HOST", "where hero-rpcd listens is ListenStream= of hero-rpcd-tcp.socket (systemctl edit hero-rpcd-tcp.socket)." },
        { "COMPUTE_PORT", "where hero-rpcd listens is ListenStream= of hero-rpcd-tcp.socket (systemctl edit hero-rpcd-tcp.socket)." },
        { "HERO_COMPUTE_BIND", "hero-rpcd listens on /run/hero-compute/rpc.sock; for another path enable hero-rpcd@.socket, named by "
                               "\"systemd-escape --path PATH\"." },
        { "PATH_SOCKET", "for $PATH_SOCKET/hero_compute_manager/rpc.sock enable hero-rpcd@.socket, named by \"systemd-escape --path PATH\"." },
        { "REDIS_URL", "no Redis is used: hero-computed keeps the VMs' state below /var/lib/hero-compute." },
        { "CHVM_ENABLED", "the hypervisor is Hypervisor= in section [Compute] of compute.conf." },
        { "MYCELIUM_ENABLED", "mycelium is asked by MyceliumURL= in section [Network] of compute.conf." },
        { "MYCELIUM_PEERS", "peers are the mycelium daemon's own matter; it is asked by MyceliumURL= in section [Network] of compute.conf." },
        { "IDLE_TIMEOUT_SECS", "it is IdleTimeoutSec= in section [Idle] of compute.conf." },
        { "IDLE_CHECK_INTERVAL_SECS", "it is CheckIntervalSec= in section [Idle] of compute.conf." },
        { "METRICS_INTERVAL_SECS", "it is Interval= in section [Metrics] of metrics.conf." },
        { "RUST_LOG", "how much is logged is told by \"systemctl service-log-level hero-rpcd.service debug\"." },
};

static int why(char **ret, const char *sentence) {
        *ret = strdup(sentence);
        return -EINVAL;
}

/* getent takes a number for the id of a group. */
static bool group_name_is_valid(const char *s) {
        size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

        return n > 0 && n <= GROUP_NAME_MAX && !s[n] && s[0] != '-' && strspn(s, "0123456789") < n;
}

static bool word_is_valid(const char *s) {
        return !isempty(s) && strlen(s) <= WORD_MAX && utf8_is_clean(s, NULL);
}

/* What cannot be used must not leave a default behind, which somebody else might answer to: nobody has access by it then. */
static int assign_string(const Key *k, const char *value, char **p, char **ret_why) {
        *p = mfree(*p);
        if (k->kind == KIND_GROUP && !group_name_is_valid(value))
                return why(ret_why, "Must be the name of a group. Only root is an administrator until it is.");
        if (k->kind == KIND_URL && !jwks_url_is_valid(value))
                return why(ret_why, "Must be an https:// URL, or an http:// URL of this host's loopback. No token is valid until it is.");
        if (k->kind == KIND_WORD && !word_is_valid(value))
                return why(ret_why, "Must be a text of at most 255 bytes. No token is valid until it is.");
        return free_and_strdup(p, value);
}

static int assign_value(const Key *k, const char *value, void *p, char **ret_why) {
        uint64_t v;
        unsigned u;
        int r;

        switch (k->kind) {

        case KIND_SWITCH:
                r = parse_boolean(value);
                *(int *) p = r != 0;
                return r < 0 ? why(ret_why, "Must be yes or no, and counts as yes.") : 0;

        case KIND_PERMISSION:
                r = parse_boolean(value);
                *(int *) p = r > 0;
                return r < 0 ? why(ret_why, "Must be yes or no, and counts as no.") : 0;

        case KIND_COUNT:
                if (parse_uint(value, 1000000, &u) < 0 || u == 0)
                        return why(ret_why, "Must be a number between 1 and 1000000.");
                *(unsigned *) p = u;
                return 0;

        case KIND_SIZE:
                if (parse_size(value, &v) < 0 || v < 4096 || v > (UINT64_C(16) << 20))
                        return why(ret_why, "Must be a size between 4K and 16M.");
                *(uint64_t *) p = v;
                return 0;

        case KIND_TIME:
                if (parse_usec(value, &v) < 0 || v < 100 * USEC_PER_MSEC || v > 24 * 60 * 60 * USEC_PER_SEC)
                        return why(ret_why, "Must be a time between 100ms and 24h.");
                *(uint64_t *) p = v;
                return 0;

        default:
                return assign_string(k, value, p, ret_why);
        }
}

static int assign_key(RpcConfig *c, const Key *k, const char *value, char **ret_why) {
        return assign_value(k, isempty(value) ? k->fallback : value, (char *) c + k->offset, ret_why);
}

static int assign(const char *section, const char *key, const char *value, void *userdata, char **ret_why) {
        for (size_t i = 0; i < ELEMENTSOF(keys); i++)
                if (streq(keys[i].section, section) && streq(keys[i].name, key))
                        return assign_key(userdata, keys + i, value, ret_why);
        return -ENOENT;
}

int rpc_config_defaults(RpcConfig *c) {
        int r;

        *c = (RpcConfig) {};
        for (size_t i = 0; i < ELEMENTSOF(keys); i++) {
                _cleanup_free_ char *text = NULL;

                r = assign_key(c, keys + i, "", &text);
                if (r < 0)
                        return r;
        }
        return 0;
}

void rpc_config_done(RpcConfig *c) {
        free(c->admin_group);
        free(c->jwks_url);
        free(c->issuer);
        free(c->audience);
        free(c->admin_claim);
        free(c->admin_value);
        *c = (RpcConfig) {};
}

typedef struct Report {
        conf_problem_t problem;
        RpcConfig *config;
        int n;
} Report;

static void report(Report *t, const char *variable, const char *sentence) {
        _cleanup_free_ char *s = strprintf("Environment: %.*s: %s", (int) strcspn(variable, "="), variable, sentence);

        t->problem(s ? utf8_sanitize(s) : sentence, NULL);
        t->n++;
}

static bool is_named(const char *variable, const char *name) {
        const char *rest = startswith(variable, name);

        return rest && *rest == '=';
}

static bool read_known(Report *t, const char *variable) {
        for (size_t i = 0; i < ELEMENTSOF(keys); i++) {
                _cleanup_free_ char *text = NULL;
                int r;

                if (!keys[i].environment || !is_named(variable, keys[i].environment))
                        continue;
                r = assign_key(t->config, keys + i, strchr(variable, '=') + 1, &text);
                if (r < 0)
                        report(t, variable, text ?: strerror(-r));
                return true;
        }
        return false;
}

static void read_variable(Report *t, const char *variable) {
        if (read_known(t, variable))
                return;
        for (size_t i = 0; i < ELEMENTSOF(elsewhere); i++)
                if (is_named(variable, elsewhere[i].name)) {
                        _cleanup_free_ char *s = strprintf("Means nothing here: %s", elsewhere[i].instead);

                        report(t, variable, s ?: elsewhere[i].instead);
                        return;
                }
        if (startswith(variable, "HERO_COMPUTE_") || startswith(variable, "COMPUTE_") || startswith(variable, "OAUTH_"))
                report(t, variable, "There is no such variable, ignored.");
}

static int check(const RpcConfig *c, conf_problem_t problem) {
        if (!c->oauth_require || c->oauth_enable)
                return 0;
        problem("Require=yes in section [OAuth] (or OAUTH_REQUIRE_AUTH) without Enable=yes (OAUTH_ENABLED): tokens are enabled.", NULL);
        return 1;
}

int rpc_config_load(RpcConfig *c, const char *const *roots, char *const *environment, conf_problem_t problem) {
        static const char *const defaults[] = { PKGSYSCONFDIR, "/run/hero-compute/conf", "/usr/lib/hero-compute", NULL };
        Report t = { .problem = problem, .config = c };
        int r, n;

        for (char *const *v = environment; v && *v; v++)
                read_variable(&t, *v);
        r = conf_parse(roots ?: defaults, "rpc.conf", assign, problem, c);
        n = check(c, problem);
        c->oauth_enable = c->oauth_enable || c->oauth_require;
        return r < 0 ? r : r + t.n + n;
}
