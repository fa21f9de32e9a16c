/* SPDX-License-Identifier: Apache-2.0 */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "rpcd/jwks-url.h"
#include "rpcd/rpc-config.h"

static char dir[64], last_problem[1024];
static RpcConfig config;

static void problem(const char *sentence, void *userdata) {
        (void) snprintf(last_problem, sizeof(last_problem), "%s", sentence);
}

static void write_file(const char *name, const char *text) {
        _cleanup_free_ char *path = strprintf("%s/%s", dir, name);
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        assert_true(fd >= 0);
        assert_int_equal(write_all(fd, text, strlen(text)), 0);
}

static int setup(void **state) {
        _cleanup_free_ char *drop_ins = NULL;

        strcpy(dir, "/tmp/test-rpc-config-XXXXXX");
        assert_non_null(mkdtemp(dir));
        drop_ins = strprintf("%s/rpc.conf.d", dir);
        assert_int_equal(mkdir(drop_ins, 0700), 0);
        last_problem[0] = 0;
        return 0;
}

static int teardown(void **state) {
        rpc_config_done(&config);
        return remove_tree_at(AT_FDCWD, dir);
}

static int load(const char *const *environment) {
        const char *roots[] = { dir, NULL };

        rpc_config_done(&config);
        assert_int_equal(rpc_config_defaults(&config), 0);
        return rpc_config_load(&config, roots, (char *const *) environment, problem);
}

static void without_files_the_defaults_hold(void **state) {
        assert_int_equal(load(NULL), 0);
        assert_string_equal(config.admin_group, "hero-compute");
        assert_false(config.system_users);
        assert_false(config.oauth_enable);
        assert_false(config.oauth_require);
        assert_string_equal(config.jwks_url, "http://localhost:3350/.well-known/jwks.json");
        assert_string_equal(config.issuer, "hero_auth");
        assert_string_equal(config.audience, "hero-compute");
        assert_int_equal(config.connections_max, 10240);
        assert_int_equal(config.request_max, 1 << 20);
        assert_int_equal(config.request_timeout, 10 * USEC_PER_SEC);
        assert_int_equal(config.idle_timeout, 120 * USEC_PER_SEC);
}

static void the_environment_of_the_old_manager_is_honoured(void **state) {
        static const char *const environment[] = {
                "PATH=/bin", "OAUTH_ENABLED=true", "OAUTH_REQUIRE_AUTH=1", "OAUTH_JWKS_URL=https://auth.example/keys",
                "OAUTH_ISSUER=somebody", "OAUTH_AUDIENCE=else", NULL
        };

        assert_int_equal(load(environment), 0);
        assert_true(config.oauth_enable);
        assert_true(config.oauth_require);
        assert_string_equal(config.jwks_url, "https://auth.example/keys");
        assert_string_equal(config.issuer, "somebody");
        assert_string_equal(config.audience, "else");
}

static void the_file_goes_over_the_environment_and_drop_ins_over_the_file(void **state) {
        static const char *const environment[] = { "OAUTH_ENABLED=true", "OAUTH_ISSUER=environment", "OAUTH_AUDIENCE=environment", NULL };

        write_file("rpc.conf", "[OAuth]\nEnable=no\nIssuer=file\n[Limits]\nConnectionsMax=7\n");
        write_file("rpc.conf.d/10-a.conf", "[OAuth]\nIssuer=drop-in\n[Limits]\nRequestTimeoutSec=500ms\n");
        assert_int_equal(load(environment), 0);
        assert_false(config.oauth_enable);
        assert_string_equal(config.issuer, "drop-in");
        assert_string_equal(config.audience, "environment");
        assert_int_equal(config.connections_max, 7);
        assert_int_equal(config.request_timeout, 500 * USEC_PER_MSEC);
}

static void an_empty_value_is_the_default_again(void **state) {
        static const char *const environment[] = { "OAUTH_ENABLED=", "OAUTH_ISSUER=", NULL };

        write_file("rpc.conf", "[Access]\nAdminGroup=wheel\nAdminGroup=\n[Limits]\nRequestMax=64K\nRequestMax=\n");
        assert_int_equal(load(environment), 0);
        assert_string_equal(config.admin_group, "hero-compute");
        assert_string_equal(config.issuer, "hero_auth");
        assert_int_equal(config.request_max, 1 << 20);
}

static void variables_that_have_another_place_are_told_it(void **state) {
        static const char *const places[][2] = {
                { "COMPUTE_HOST=0.0.0.0", "hero-rpcd-tcp.socket" },
                { "COMPUTE_PORT=3760", "hero-rpcd-tcp.socket" },
                { "HERO_COMPUTE_BIND=unix:/x", "hero-rpcd@.socket" },
                { "PATH_SOCKET=/x", "hero-rpcd@.socket" },
                { "REDIS_URL=redis://x", "Redis" },
                { "CHVM_ENABLED=true", "Hypervisor=" },
                { "MYCELIUM_ENABLED=true", "MyceliumURL=" },
                { "MYCELIUM_PEERS=x", "MyceliumURL=" },
                { "IDLE_TIMEOUT_SECS=300", "IdleTimeoutSec= in section [Idle] of compute.conf" },
                { "IDLE_CHECK_INTERVAL_SECS=60", "CheckIntervalSec=" },
                { "METRICS_INTERVAL_SECS=5", "metrics.conf" },
                { "RUST_LOG=debug", "service-log-level" },
        };

        for (size_t i = 0; i < ELEMENTSOF(places); i++) {
                const char *environment[] = { places[i][0], NULL };

                assert_int_equal(load(environment), 1);
                assert_true(startswith(last_problem, "Environment: "));
                if (!strstr(last_problem, places[i][1]))
                        fail_msg("%s: %s", places[i][0], last_problem);
        }
}

static void unknown_variables_with_our_names_are_reported(void **state) {
        static const char *const environment[] = {
                "OAUTH_SECRET=x", "COMPUTE_X=1", "HERO_COMPUTE_Y=\001", "COMPUTER=1", "HERO_LIBEXEC_DIR=/x", "OAUTH=1", NULL
        };

        assert_int_equal(load(environment), 3);
        assert_string_equal(last_problem, "Environment: HERO_COMPUTE_Y: There is no such variable, ignored.");
}

static void what_cannot_be_read_never_opens_a_door(void **state) {
        static const char *const environment[] = { "OAUTH_REQUIRE_AUTH=ture", NULL };

        assert_int_equal(load(environment), 2);
        assert_true(config.oauth_require);
        assert_true(config.oauth_enable);
        write_file("rpc.conf", "[OAuth]\nEnable=perhaps\nJWKSURL=http://auth.example/\nIssuer=\033\n[Access]\nSystemUsers=ys\nAdminGroup=0\n");
        assert_int_equal(load(NULL), 5);
        assert_true(config.oauth_enable);
        assert_null(config.jwks_url);
        assert_null(config.issuer);
        assert_null(config.admin_group);
        assert_false(config.system_users);
        assert_non_null(strstr(last_problem, "rpc.conf:7: AdminGroup=0: Must be the name of a group."));
}

static void a_token_that_is_required_is_enabled_and_said_so(void **state) {
        write_file("rpc.conf", "[OAuth]\nRequire=yes\n");
        assert_int_equal(load(NULL), 1);
        assert_true(config.oauth_enable);
        assert_non_null(strstr(last_problem, "Enable=yes"));
}

static void every_kind_of_wrong_value_is_refused(void **state) {
        static const char *const wrong[] = {
                "[Access]\nAdminGroup=-x\n", "[Access]\nAdminGroup=a:b\n", "[Access]\nOwner=root\n",
                "[OAuth]\nEnable=2\n", "[OAuth]\nJWKSURL=ftp://localhost/\n",
                "[Limits]\nConnectionsMax=0\n", "[Limits]\nConnectionsMax=-1\n", "[Limits]\nRequestMax=1K\n",
                "[Limits]\nRequestMax=1G\n", "[Limits]\nRequestTimeoutSec=0\n", "[Limits]\nIdleTimeoutSec=infinity\n",
                "[Limits]\nIdleTimeoutSec=soon\n", "Enable=yes\n",
        };

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                write_file("rpc.conf", wrong[i]);
                if (load(NULL) < 1)
                        fail_msg("accepted: %s", wrong[i]);
        }
}

static void keys_come_by_https_or_from_this_host(void **state) {
        static const char *const right[] = {
                "https://auth.example/jwks.json", "https://auth.example:8443/a?b=c", "https://[2001:db8::1]/", "http://localhost:3350/x",
                "http://127.0.0.1/", "http://127.1.2.3:80", "http://[::1]:80/", "https://x",
        };
        static const char *const wrong[] = {
                "", "http://", "https://", "http://auth.example/", "http://10.0.0.1/", "http://127.1/", "http://127.0.0.1.example/",
                "http://localhost.example/", "http://localhost@auth.example/", "http://[::2]/", "http://[::1/", "http://[::1]x/",
                "http://127.0.0.1:0/", "http://127.0.0.1:65536/", "http://127.0.0.1:80:90/", "file:///etc/passwd", "HTTP://127.0.0.1/",
                "http://127.0.0.1\\@auth.example/", "http://127.0.0.1/\n", "http://127.0.0.1/ x", "http://[::1]@auth.example/",
                "http://localhost#@auth.example/", "https://user:password@auth.example/", "//localhost/", "http:/localhost/",
        };

        for (size_t i = 0; i < ELEMENTSOF(right); i++)
                if (!jwks_url_is_valid(right[i]))
                        fail_msg("refused: %s", right[i]);
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++)
                if (jwks_url_is_valid(wrong[i]))
                        fail_msg("accepted: %s", wrong[i]);
}

/* Uncomments the shipped file and reads it: every key must exist and hold the default. */
static void the_shipped_file_says_the_defaults(void **state) {
        _cleanup_free_ char *text = NULL;
        RpcConfig d;
        unsigned n_keys = 0;
        size_t n;

        assert_int_equal(read_full_file(AT_FDCWD, SHIPPED_CONFIG, 65536, &text, &n), 0);
        for (char *p = text; (p = strstr(p, "\n#")); p += 2)
                if (p[2] >= 'A' && p[2] <= 'Z' && strchr(p, '=') && strchr(p, '=') < strchrnul(p + 2, ' ')) {
                        p[1] = ' ';
                        n_keys++;
                }
        assert_int_equal(n_keys, 13);
        write_file("rpc.conf", text);
        if (load(NULL) != 0)
                fail_msg("%s", last_problem);
        assert_int_equal(rpc_config_defaults(&d), 0);
        assert_string_equal(config.admin_group, d.admin_group);
        assert_int_equal(config.system_users, d.system_users);
        assert_int_equal(config.oauth_enable, d.oauth_enable);
        assert_int_equal(config.oauth_require, d.oauth_require);
        assert_string_equal(config.jwks_url, d.jwks_url);
        assert_string_equal(config.issuer, d.issuer);
        assert_string_equal(config.audience, d.audience);
        assert_string_equal(config.admin_claim, d.admin_claim);
        assert_string_equal(config.admin_value, d.admin_value);
        assert_int_equal(config.connections_max, d.connections_max);
        assert_int_equal(config.request_max, d.request_max);
        assert_int_equal(config.request_timeout, d.request_timeout);
        assert_int_equal(config.idle_timeout, d.idle_timeout);
        rpc_config_done(&d);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(without_files_the_defaults_hold),
                TEST(the_environment_of_the_old_manager_is_honoured),
                TEST(the_file_goes_over_the_environment_and_drop_ins_over_the_file),
                TEST(an_empty_value_is_the_default_again),
                TEST(variables_that_have_another_place_are_told_it),
                TEST(unknown_variables_with_our_names_are_reported),
                TEST(what_cannot_be_read_never_opens_a_door),
                TEST(a_token_that_is_required_is_enabled_and_said_so),
                TEST(every_kind_of_wrong_value_is_refused),
                TEST(keys_come_by_https_or_from_this_host),
                TEST(the_shipped_file_says_the_defaults),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
