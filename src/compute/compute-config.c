/* SPDX-License-Identifier: Apache-2.0 */

#include "compute/compute-config.h"

#include <inttypes.h>

#include "basic/alloc-util.h"
#include "basic/parse-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "basic/time-util.h"
#include "compute/idle-policy.h"
#include "compute/vm-spec.h"
#include "network/ipv4-pool.h"
#include "network/mycelium.h"
#include "network/wake-policy.h"
#include "shared/conf-file.h"
#include "storage/overlay.h"

/* Between the ranges that systemd's UIDS-GIDS document gives to containers (…1879048191) and to foreign images, and
 * below INT32_MAX, above which polkit misreads a uid. */
#define UID_BASE_DEFAULT 1879048192u
#define UID_COUNT_DEFAULT 65536u

/* Private (RFC 1918), and in nobody's defaults that we know of. */
#define IPV4_POOL_DEFAULT "10.104.0.0/16"

static int set_string(char **p, const char *value) {
        return free_and_strdup(p, isempty(value) ? NULL : value);
}

int compute_config_defaults(ComputeConfig *c) {
        *c = (ComputeConfig) {
                .accelerator = ACCELERATOR_AUTO,
                .vms_max = 4096,
                .uid_base = UID_BASE_DEFAULT,
                .uid_count = UID_COUNT_DEFAULT,
                .register_machines = true,
                .cpus = 1,
                .memory = UINT64_C(256) << 20,
                .disk = UINT64_C(1) << 30,
                .images_pull = true,
                .network_enable = true,
                .forwarding = true,
                .users_cpus_max = 2,
                .users_memory_max = UINT64_C(2) << 30,
                .users_disk_max = UINT64_C(10) << 30,
                .cpu_overcommit = 4.0,
                .memory_overcommit = 1.0,
                .disk_overcommit = 1.0,
                .scope_timeout = 30 * USEC_PER_SEC,
                .agent_timeout = 60 * USEC_PER_SEC,
                .shutdown_timeout = 20 * USEC_PER_SEC,
                .powerdown_timeout = 5 * USEC_PER_SEC,
                .stop_timeout = 10 * USEC_PER_SEC,
                .monitor_timeout = 10 * USEC_PER_SEC,
                .console_history = UINT64_C(1) << 20,
                .console_shell = true,
                .idle_signals = IDLE_ALL_SIGNALS,
                .idle_timeout = 5 * 60 * USEC_PER_SEC,
                .hibernate_delay = 60 * 60 * USEC_PER_SEC,
                .check_interval = 10 * USEC_PER_SEC,
                .network_noise = 2048,
                .cpu_threshold = 10, /* a guest that does nothing takes 4 without KVM */
                .keep_memory_max = 10,
        };
        if (set_string(&c->hypervisor, "qemu") < 0 || set_string(&c->slice, "machine-hero.slice") < 0 ||
            set_string(&c->image, "busybox") < 0 || set_string(&c->mycelium_url, MYCELIUM_URL) < 0 ||
            set_string(&c->wake_policy, WAKE_POLICY_DEFAULT) < 0 || subnet_parse(IPV4_POOL_DEFAULT, &c->ipv4_pool) < 0)
                return -ENOMEM;
        return 0;
}

void compute_config_done(ComputeConfig *c) {
        free(c->hypervisor);
        free(c->kernel);
        free(c->kernel_modules);
        free(c->slice);
        free(c->image);
        free(c->mycelium_url);
        free(c->wake_policy);
        strv_free(c->dns);
        *c = (ComputeConfig) {};
}

typedef enum Kind {
        KIND_DRIVER,
        KIND_ACCELERATOR,
        KIND_PATH,
        KIND_SLICE,
        KIND_IMAGE,
        KIND_COUNT,
        KIND_CPUS,
        KIND_UID,
        KIND_BOOLEAN,
        KIND_PULL,
        KIND_MEMORY,
        KIND_DISK,
        KIND_SIZE,
        KIND_RATIO,
        KIND_TIME,
        KIND_SUBNET,
        KIND_POOL,
        KIND_URL,
        KIND_ADDRESSES,
        KIND_WAKE,
        KIND_INTERVAL,
        KIND_SIGNALS,
        KIND_NOISE,
        KIND_PERCENT,
        KIND_SHARE,
} Kind;

static const struct {
        const char *section, *key;
        Kind kind;
        size_t offset;
} keys[] = {
        { "Compute", "Hypervisor", KIND_DRIVER, offsetof(ComputeConfig, hypervisor) },
        { "Compute", "Accelerator", KIND_ACCELERATOR, offsetof(ComputeConfig, accelerator) },
        { "Compute", "Kernel", KIND_PATH, offsetof(ComputeConfig, kernel) },
        { "Compute", "KernelModules", KIND_PATH, offsetof(ComputeConfig, kernel_modules) },
        { "Compute", "Slice", KIND_SLICE, offsetof(ComputeConfig, slice) },
        { "Compute", "VMsMax", KIND_COUNT, offsetof(ComputeConfig, vms_max) },
        { "Compute", "UIDBase", KIND_UID, offsetof(ComputeConfig, uid_base) },
        { "Compute", "UIDCount", KIND_COUNT, offsetof(ComputeConfig, uid_count) },
        { "Compute", "RegisterMachines", KIND_BOOLEAN, offsetof(ComputeConfig, register_machines) },
        { "Defaults", "Image", KIND_IMAGE, offsetof(ComputeConfig, image) },
        { "Defaults", "CPUs", KIND_CPUS, offsetof(ComputeConfig, cpus) },
        { "Defaults", "Memory", KIND_MEMORY, offsetof(ComputeConfig, memory) },
        { "Defaults", "Disk", KIND_DISK, offsetof(ComputeConfig, disk) },
        { "Images", "Pull", KIND_PULL, offsetof(ComputeConfig, images_pull) },
        { "Network", "Enable", KIND_BOOLEAN, offsetof(ComputeConfig, network_enable) },
        { "Network", "Subnet", KIND_SUBNET, offsetof(ComputeConfig, subnet) },
        { "Network", "MyceliumURL", KIND_URL, offsetof(ComputeConfig, mycelium_url) },
        { "Network", "IPv4Pool", KIND_POOL, offsetof(ComputeConfig, ipv4_pool) },
        { "Network", "DNS", KIND_ADDRESSES, offsetof(ComputeConfig, dns) },
        { "Network", "Wake", KIND_WAKE, offsetof(ComputeConfig, wake_policy) },
        { "Network", "Forwarding", KIND_BOOLEAN, offsetof(ComputeConfig, forwarding) },
        { "Users", "CPUsMax", KIND_CPUS, offsetof(ComputeConfig, users_cpus_max) },
        { "Users", "MemoryMax", KIND_MEMORY, offsetof(ComputeConfig, users_memory_max) },
        { "Users", "DiskMax", KIND_DISK, offsetof(ComputeConfig, users_disk_max) },
        { "Capacity", "CPUOvercommit", KIND_RATIO, offsetof(ComputeConfig, cpu_overcommit) },
        { "Capacity", "MemoryOvercommit", KIND_RATIO, offsetof(ComputeConfig, memory_overcommit) },
        { "Capacity", "DiskOvercommit", KIND_RATIO, offsetof(ComputeConfig, disk_overcommit) },
        { "Timeouts", "ScopeTimeoutSec", KIND_TIME, offsetof(ComputeConfig, scope_timeout) },
        { "Timeouts", "AgentTimeoutSec", KIND_TIME, offsetof(ComputeConfig, agent_timeout) },
        { "Timeouts", "MonitorTimeoutSec", KIND_TIME, offsetof(ComputeConfig, monitor_timeout) },
        { "Timeouts", "ShutdownTimeoutSec", KIND_TIME, offsetof(ComputeConfig, shutdown_timeout) },
        { "Timeouts", "PowerdownTimeoutSec", KIND_TIME, offsetof(ComputeConfig, powerdown_timeout) },
        { "Timeouts", "StopTimeoutSec", KIND_TIME, offsetof(ComputeConfig, stop_timeout) },
        { "Console", "HistorySize", KIND_SIZE, offsetof(ComputeConfig, console_history) },
        { "Console", "Shell", KIND_BOOLEAN, offsetof(ComputeConfig, console_shell) },
        { "Idle", "IdleTimeoutSec", KIND_TIME, offsetof(ComputeConfig, idle_timeout) },
        { "Idle", "HibernateDelaySec", KIND_TIME, offsetof(ComputeConfig, hibernate_delay) },
        { "Idle", "CheckIntervalSec", KIND_INTERVAL, offsetof(ComputeConfig, check_interval) },
        { "Idle", "Signals", KIND_SIGNALS, offsetof(ComputeConfig, idle_signals) },
        { "Idle", "NetworkNoise", KIND_NOISE, offsetof(ComputeConfig, network_noise) },
        { "Idle", "CPUThreshold", KIND_PERCENT, offsetof(ComputeConfig, cpu_threshold) },
        { "Idle", "KeepMemoryMax", KIND_SHARE, offsetof(ComputeConfig, keep_memory_max) },
};

static int why(char **ret, const char *sentence) {
        *ret = strdup(sentence);
        return -EINVAL;
}

static int assign_string(Kind kind, const char *value, char **p, char **ret_why) {
        size_t n = strlen(value);

        if (kind == KIND_DRIVER && !hypervisor_find(value)) {
                *ret_why = strprintf("There is no such hypervisor driver, only %s.", hypervisor_names());
                return -EINVAL;
        }
        if (kind == KIND_PATH && !isempty(value) && value[0] != '/')
                return why(ret_why, "Must be an absolute path.");
        if (kind == KIND_SLICE && (n < 7 || !streq(value + n - 6, ".slice") || strchr(value, '/')))
                return why(ret_why, "Must be the name of a slice unit.");
        if (kind == KIND_IMAGE && isempty(value))
                return why(ret_why, "Must be an image reference.");
        return set_string(p, value);
}

static int assign_subnet(Kind kind, const char *value, Subnet *p, char **ret_why) {
        Subnet s = {};

        if (kind == KIND_SUBNET) {
                if (!streq(value, "auto") &&
                    (subnet_parse(value, &s) < 0 || s.address.family != AF_INET6 || s.prefix != 64))
                        return why(ret_why, "Must be an IPv6 subnet of 64 bits, or auto.");
        } else if (!isempty(value) && (subnet_parse(value, &s) < 0 || s.address.family != AF_INET ||
                                       s.prefix < IPV4_POOL_PREFIX_MIN || s.prefix > IPV4_POOL_PREFIX_MAX))
                return why(ret_why, "Must be an IPv4 subnet of 8 to 30 bits, or empty.");
        *p = s;
        return 0;
}

static int assign_addresses(const char *value, char ***p, char **ret_why) {
        _cleanup_strv_free_ char **l = NULL;
        const char *s = value + strspn(value, " \t,");

        while (*s) {
                size_t n = strcspn(s, " \t,");
                char *word = strndup(s, n);
                Address a;

                if (strv_consume(&l, word) < 0)
                        return -ENOMEM;
                if (address_parse(word, &a) < 0)
                        return why(ret_why, "Must be IP addresses, separated by spaces.");
                s += n + strspn(s + n, " \t,");
        }
        strv_free(*p);
        *p = TAKE_PTR(l);
        return 0;
}

static int assign_words(Kind kind, const char *value, char **p, char **ret_why) {
        WakePolicy policy;

        if (kind == KIND_URL && !isempty(value) && !startswith(value, "http://"))
                return why(ret_why, "Must be an http:// URL, or empty.");
        if (kind == KIND_WAKE && wake_policy_parse(value, &policy) < 0)
                return why(ret_why, "Must be words like \"tcp udp\", \"tcp:22 tcp:8000-8999 ping\", or none.");
        return set_string(p, value);
}

static int parse_percent(const char *s, double *ret) {
        _cleanup_free_ char *number = NULL;
        size_t n = strlen(s);

        if (n == 0 || s[n - 1] != '%')
                return -EINVAL;
        number = strndup(s, n - 1);
        return number ? parse_double(number, ret) : -ENOMEM;
}

static int assign_number(Kind kind, const char *value, void *p, char **ret_why) {
        uint64_t v;
        unsigned u;
        double d;
        int r;

        switch (kind) {

        case KIND_BOOLEAN:
                r = parse_boolean(value);
                if (r < 0)
                        return why(ret_why, "Must be yes or no.");
                *(int *) p = r;
                return 0;

        case KIND_PULL:
                if (!streq(value, "missing") && !streq(value, "never"))
                        return why(ret_why, "Must be missing or never.");
                *(int *) p = streq(value, "missing");
                return 0;

        case KIND_ACCELERATOR:
                r = (int) accelerator_from_string(value);
                if (r < 0)
                        return why(ret_why, "Must be auto, kvm or tcg.");
                *(Accelerator *) p = (Accelerator) r;
                return 0;

        case KIND_COUNT:
                if (parse_uint(value, 1000000, &u) < 0 || u == 0)
                        return why(ret_why, "Must be a number between 1 and 1000000.");
                *(unsigned *) p = u;
                return 0;

        case KIND_CPUS:
                if (parse_uint(value, VM_CPUS_MAX, &u) < 0 || u == 0)
                        return why(ret_why, "Must be a number between 1 and 64.");
                *(unsigned *) p = u;
                return 0;

        case KIND_UID:
                if (parse_uint(value, INT32_MAX - 1000000, &u) < 0 || u < 65536)
                        return why(ret_why, "Must be a number between 65536 and 2146483647.");
                *(unsigned *) p = u;
                return 0;

        case KIND_MEMORY:
                if (parse_size(value, &v) < 0 || v < VM_MEMORY_MIN || v > VM_MEMORY_MAX || v % VM_MEMORY_ALIGN != 0)
                        return why(ret_why, "Must be a size between 64M and 1T, a multiple of 1M.");
                *(uint64_t *) p = v;
                return 0;

        case KIND_DISK:
                if (parse_size(value, &v) < 0 || !overlay_size_is_valid(v))
                        return why(ret_why, "Must be a size between 16M and 15T, a multiple of 1M.");
                *(uint64_t *) p = v;
                return 0;

        case KIND_SIZE:
                if (parse_size(value, &v) < 0 || v < 4096 || v > (UINT64_C(64) << 20))
                        return why(ret_why, "Must be a size between 4K and 64M.");
                *(uint64_t *) p = v;
                return 0;

        case KIND_RATIO:
                if (parse_double(value, &d) < 0 || d < 0.01 || d > 100000)
                        return why(ret_why, "Must be a number between 0.01 and 100000.");
                *(double *) p = d;
                return 0;

        case KIND_TIME:
                if (parse_usec(value, &v) < 0 || v == 0)
                        return why(ret_why, "Must be a time, like 90, 500ms or 5min.");
                *(uint64_t *) p = v;
                return 0;

        case KIND_INTERVAL:
                if (parse_usec(value, &v) < 0 || v < 50 * USEC_PER_MSEC || v > 60 * 60 * USEC_PER_SEC)
                        return why(ret_why, "Must be a time between 50ms and 1h.");
                *(uint64_t *) p = v;
                return 0;

        case KIND_SIGNALS:
                if (idle_signals_parse(value, p) < 0)
                        return why(ret_why, "Must be one or more of network, cpu, sessions and flows.");
                return 0;

        case KIND_NOISE:
                if (parse_size(value, &v) < 0 || v > (UINT64_C(1) << 30))
                        return why(ret_why, "Must be a size between 0 and 1G.");
                *(uint64_t *) p = v;
                return 0;

        case KIND_SHARE:
                if (parse_percent(value, &d) < 0 || d < 0 || d > 90)
                        return why(ret_why, "Must be between 0% and 90% of the host's memory.");
                *(double *) p = d;
                return 0;

        case KIND_PERCENT:
                if (parse_percent(value, &d) < 0 || d < 0.1 || d > 100 * VM_CPUS_MAX)
                        return why(ret_why, "Must be between 0.1% and 6400% of one CPU.");
                *(double *) p = d;
                return 0;

        default:
                return -EINVAL;
        }
}

static int assign(const char *section, const char *key, const char *value, void *userdata, char **ret_why) {
        for (size_t i = 0; i < ELEMENTSOF(keys); i++) {
                void *p = (char *) userdata + keys[i].offset;

                if (!streq(keys[i].section, section) || !streq(keys[i].key, key))
                        continue;
                switch (keys[i].kind) {
                case KIND_DRIVER:
                case KIND_PATH:
                case KIND_SLICE:
                case KIND_IMAGE:
                        return assign_string(keys[i].kind, value, p, ret_why);
                case KIND_SUBNET:
                case KIND_POOL:
                        return assign_subnet(keys[i].kind, value, p, ret_why);
                case KIND_ADDRESSES:
                        return assign_addresses(value, p, ret_why);
                case KIND_URL:
                case KIND_WAKE:
                        return assign_words(keys[i].kind, value, p, ret_why);
                default:
                        return assign_number(keys[i].kind, value, p, ret_why);
                }
        }
        return -ENOENT;
}

int compute_config_load(ComputeConfig *c, const char *const *roots, conf_problem_t problem) {
        static const char *const defaults[] = { PKGSYSCONFDIR, "/run/hero-compute/conf", "/usr/lib/hero-compute", NULL };

        return conf_parse(roots ?: defaults, "compute.conf", assign, problem, c);
}
