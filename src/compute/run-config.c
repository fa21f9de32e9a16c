/* SPDX-License-Identifier: Apache-2.0 */

#include "compute/run-config.h"

#include <signal.h>
#include <strings.h>

#include "basic/alloc-util.h"
#include "basic/parse-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"

/* glibc's, which is what systemd and container tools mean by these words. */
#define RTMIN 34
#define RTMAX 64

void run_config_done(RunConfig *c) {
        strv_free(c->args);
        strv_free(c->environment);
        free(c->working_directory);
        free(c->user);
        *c = (RunConfig) {};
}

static const char *base_name(const char *path) {
        const char *slash = strrchr(path, '/');

        return slash ? slash + 1 : path;
}

bool init_is_wanted(char *const *args) {
        static const char *const paths[] = {
                "/init", "/sbin/init", "/usr/sbin/init", "/bin/init", "/usr/bin/init",
                "/lib/systemd/systemd", "/usr/lib/systemd/systemd", "/bin/systemd", "/usr/bin/systemd", "init",
        };

        if (!args || !args[0])
                return false;
        for (size_t i = 0; i < ELEMENTSOF(paths); i++)
                if (streq(args[0], paths[i]))
                        return true;
        return streq(base_name(args[0]), "openrc-init");
}

static bool is_mere_shell(char *const *args) {
        static const char *const shells[] = { "sh", "bash", "ash", "dash" };

        if (!args || !args[0] || args[1])
                return false;
        for (size_t i = 0; i < ELEMENTSOF(shells); i++)
                if (streq(base_name(args[0]), shells[i]))
                        return true;
        return false;
}

static int parse_offset(const char *s, char sign, int base, int *ret) {
        unsigned n = 0;

        if (*s) {
                if (*s != sign || s[1] < '0' || s[1] > '9' || parse_uint(s + 1, RTMAX - RTMIN, &n) < 0)
                        return -EINVAL;
        }
        *ret = sign == '+' ? base + (int) n : base - (int) n;
        return 0;
}

int stop_signal_from_string(const char *s) {
        const char *rest;
        unsigned n;
        int v;

        if (s[0] >= '0' && s[0] <= '9')
                return parse_uint(s, RTMAX, &n) < 0 || n == 0 ? -EINVAL : (int) n;
        if (strncasecmp(s, "SIG", 3) == 0)
                s += 3;
        rest = strncasecmp(s, "RTMIN", 5) == 0 ? s + 5 : NULL;
        if (rest)
                return parse_offset(rest, '+', RTMIN, &v) < 0 ? -EINVAL : v;
        rest = strncasecmp(s, "RTMAX", 5) == 0 ? s + 5 : NULL;
        if (rest)
                return parse_offset(rest, '-', RTMAX, &v) < 0 ? -EINVAL : v;
        for (v = 1; v < 32; v++)
                if (sigabbrev_np(v) && strcasecmp(sigabbrev_np(v), s) == 0)
                        return v;
        return -EINVAL;
}

static int append(char ***l, char *const *more) {
        STRV_FOREACH(i, more)
                if (strv_extend(l, *i) < 0)
                        return -ENOMEM;
        return 0;
}

static int compose_args(const VmSpec *spec, const VmImageConfig *image, char ***ret) {
        _cleanup_strv_free_ char **args = NULL;
        bool overridden = spec->entrypoint || spec->arguments;
        int r;

        if (spec->run_image == RUN_NOTHING)
                return 0;
        if (strv_length(spec->command) > 0)
                r = append(&args, spec->command);
        else {
                r = append(&args, spec->entrypoint ?: image->entrypoint);
                if (r >= 0)
                        r = append(&args, overridden ? spec->arguments : image->cmd);
                if (r >= 0 && !overridden && is_mere_shell(args))
                        return 0;
        }
        if (r < 0)
                return r;
        *ret = TAKE_PTR(args);
        return 0;
}

/* An entry without a name or a value is nobody's variable. */
static int merge(char ***l, char *const *over) {
        STRV_FOREACH(e, over) {
                size_t n = strcspn(*e, "=");
                bool found = false;

                if (n == 0 || (*e)[n] != '=')
                        continue;
                STRV_FOREACH(i, *l)
                        if (strncmp(*i, *e, n + 1) == 0) {
                                if (free_and_strdup(i, *e) < 0)
                                        return -ENOMEM;
                                found = true;
                                break;
                        }
                if (!found && strv_extend(l, *e) < 0)
                        return -ENOMEM;
        }
        return 0;
}

/* Image makers may leave the slash out. */
static int compose_directory(const VmSpec *spec, const VmImageConfig *image, char **ret) {
        const char *d = spec->working_directory ?: image->working_directory;

        if (isempty(d))
                return 0;
        *ret = strprintf("%s%s", d[0] == '/' ? "" : "/", d);
        return *ret ? 0 : -ENOMEM;
}

static size_t size_of(char *const *l) {
        size_t n = 0;

        STRV_FOREACH(i, l)
                n += strlen(*i) + 8;
        return n;
}

int run_config_compose(const VmSpec *spec, const VmImageConfig *image, RunConfig *ret) {
        _cleanup_(run_config_done) RunConfig c = {};
        int r;

        r = compose_args(spec, image, &c.args);
        if (r >= 0)
                r = merge(&c.environment, image->environment);
        if (r >= 0)
                r = merge(&c.environment, spec->environment);
        if (r >= 0)
                r = compose_directory(spec, image, &c.working_directory);
        if (r >= 0)
                r = free_and_strdup(&c.user, spec->run_as ?: image->user);
        if (r < 0)
                return r;
        if (size_of(c.args) + size_of(c.environment) > VM_STRINGS_SIZE_MAX)
                return -E2BIG;
        c.init = init_is_wanted(c.args);
        c.stop_signal = image->stop_signal ? stop_signal_from_string(image->stop_signal) : SIGTERM;
        if (c.stop_signal < 0)
                c.stop_signal = SIGTERM;
        *ret = c;
        c = (RunConfig) {};
        return 0;
}
