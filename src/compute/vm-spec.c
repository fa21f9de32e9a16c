/* SPDX-License-Identifier: Apache-2.0 */

#include "compute/vm-spec.h"

#include <ctype.h>
#include <inttypes.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "compute/compute-config.h"
#include "hypervisor/hypervisor.h"
#include "hypervisor/mock/mock-script.h"
#include "network/shaper.h"
#include "shared/bus-util.h"
#include "shared/error-names.h"
#include "storage/overlay.h"

#define KERNEL_ARGUMENTS_MAX 1024u
#define PATH_LENGTH_MAX 4095u
#define RUN_AS_MAX 256u

void vm_spec_done(VmSpec *s) {
        free(s->name);
        free(s->user);
        free(s->image);
        free(s->hypervisor);
        strv_free(s->command);
        strv_free(s->entrypoint);
        strv_free(s->arguments);
        strv_free(s->environment);
        free(s->working_directory);
        free(s->run_as);
        free(s->kernel_arguments);
        free(s->mock_script);
        *s = (VmSpec) {};
}

bool vm_name_is_valid(const char *name) {
        size_t n = strlen(name);

        if (n == 0 || n > VM_NAME_MAX || name[0] == '-' || name[n - 1] == '-')
                return false;
        return strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}

bool user_id_is_valid(const char *user) {
        size_t n = strlen(user);

        if (n == 0 || n > USER_ID_MAX)
                return false;
        for (; *user; user++)
                if (!isalnum((unsigned char) *user) && !strchr("._@-", *user))
                        return false;
        return true;
}

char *vm_name_from_user(const char *user) {
        _cleanup_free_ char *name = strndup(user, VM_NAME_MAX);
        char *p;

        if (!name)
                return NULL;
        for (p = name; *p; p++) {
                *p = (char) tolower((unsigned char) *p);
                if (!isalnum((unsigned char) *p))
                        *p = '-';
        }
        while (p > name && p[-1] == '-')
                *--p = 0;
        p = name + strspn(name, "-");
        return *p ? strdup(p) : NULL;
}

static bool variable_name_is_valid(const char *s, size_t n) {
        if (n == 0 || isdigit((unsigned char) s[0]))
                return false;
        for (size_t i = 0; i < n; i++)
                if (!isalnum((unsigned char) s[i]) && s[i] != '_')
                        return false;
        return true;
}

bool environment_is_valid(char *const *environment) {
        STRV_FOREACH(e, environment) {
                const char *eq = strchr(*e, '=');

                if (!eq || !variable_name_is_valid(*e, (size_t) (eq - *e)) || !utf8_is_clean(eq + 1, "\n\t"))
                        return false;
        }
        return true;
}

static int bad(sd_bus_error *error, const char *format, ...) _printf_(2, 3);
static int bad(sd_bus_error *error, const char *format, ...) {
        va_list ap;
        int r;

        va_start(ap, format);
        r = sd_bus_error_setfv(error, ERROR_INVALID_ARGUMENT, format, ap);
        va_end(ap);
        return r < 0 ? r : -EINVAL;
}

/* What is to run in the guest: lists of bounded length, of words that can be shown. */
static int check_command(const VmSpec *s, sd_bus_error *error) {
        const struct {
                const char *key;
                char *const *list;
        } lists[] = {
                { "Command", s->command },
                { "Entrypoint", s->entrypoint },
                { "Arguments", s->arguments },
                { "Environment", s->environment },
        };
        size_t size = 0;

        for (size_t k = 0; k < ELEMENTSOF(lists); k++) {
                STRV_FOREACH(i, lists[k].list) {
                        size += strlen(*i) + 8;
                        if (!utf8_is_clean(*i, "\n\t"))
                                return bad(error, "%s holds control characters or is not UTF-8.", lists[k].key);
                }
                if (strv_length(lists[k].list) > VM_STRINGS_MAX || size > VM_STRINGS_SIZE_MAX)
                        return bad(error,
                                   "Command, Entrypoint, Arguments and Environment may have %u entries each and %u bytes together.",
                                   VM_STRINGS_MAX, VM_STRINGS_SIZE_MAX);
        }
        if (strv_length(s->command) > 0 && (s->entrypoint || s->arguments))
                return bad(error, "Command is all that runs: give it, or Entrypoint and Arguments.");
        if (s->run_image == RUN_NOTHING && (strv_length(s->command) > 0 || s->entrypoint || s->arguments))
                return bad(error, "RunImage=false runs nothing, and Command, Entrypoint or Arguments say what to run.");
        if (s->run_as && (isempty(s->run_as) || strlen(s->run_as) > RUN_AS_MAX || !utf8_is_clean(s->run_as, NULL)))
                return bad(error, "RunAs must be USER or USER:GROUP, names or numbers.");
        return 0;
}

static int check_strings(const VmSpec *s, sd_bus_error *error) {
        MockScript script;
        int r;

        r = check_command(s, error);
        if (r < 0)
                return r;
        if (!environment_is_valid(s->environment))
                return bad(error, "Environment must be a list of NAME=VALUE without control characters.");
        if (s->working_directory &&
            (s->working_directory[0] != '/' || strlen(s->working_directory) > PATH_LENGTH_MAX ||
             !utf8_is_clean(s->working_directory, NULL)))
                return bad(error, "WorkingDirectory must be an absolute path in the guest.");
        if (s->kernel_arguments &&
            (strlen(s->kernel_arguments) > KERNEL_ARGUMENTS_MAX || !utf8_is_clean(s->kernel_arguments, NULL)))
                return bad(error, "KernelArguments may have %u characters and no control characters.",
                           KERNEL_ARGUMENTS_MAX);
        if (s->image &&
            (isempty(s->image) || strlen(s->image) > IMAGE_REFERENCE_MAX || !utf8_is_clean(s->image, NULL)))
                return bad(error, "Image must be a reference NAME[:TAG] or a digest.");
        if (s->mock_script && mock_script_parse(s->mock_script, &script) < 0)
                return bad(error, "MockScript holds something else than the directives of hero-mock-vmm(8).");
        return 0;
}

static bool rate_is_valid(uint64_t rate) {
        return rate == 0 || rate == UINT64_MAX || (rate >= SHAPER_RATE_MIN && rate <= VM_RATE_MAX);
}

int vm_spec_check(const VmSpec *s, sd_bus_error *error) {
        if (s->name && !vm_name_is_valid(s->name))
                return bad(error,
                           "'%s' is not a VM name: 1 to 63 characters a-z, 0-9 and '-', not '-' at either end.", s->name);
        if (s->user && !user_id_is_valid(s->user))
                return bad(error, "'%s' is not a user id: 1 to 64 characters A-Z, a-z, 0-9 and '._@-'.", s->user);
        if (s->cpus > VM_CPUS_MAX)
                return bad(error, "CPUs must be between 1 and %u, not %u.", VM_CPUS_MAX, s->cpus);
        if (s->memory != 0 &&
            (s->memory < VM_MEMORY_MIN || s->memory > VM_MEMORY_MAX || s->memory % VM_MEMORY_ALIGN != 0))
                return bad(error, "Memory must be between 64 MiB and 1 TiB and a multiple of 1 MiB, not %" PRIu64 " bytes.",
                           s->memory);
        if (s->disk != 0 && !overlay_size_is_valid(s->disk))
                return bad(error, "Disk must be between 16 MiB and 15 TiB and a multiple of 1 MiB, not %" PRIu64 " bytes.",
                           s->disk);
        if (s->cpu_weight > VM_WEIGHT_MAX || s->io_weight > VM_WEIGHT_MAX)
                return bad(error, "A weight must be between 1 and %u.", VM_WEIGHT_MAX);
        if (!rate_is_valid(s->receive_max) || !rate_is_valid(s->transmit_max))
                return bad(error, "NetworkReceiveMax and NetworkTransmitMax must be between 1 KiB and 1 TiB a second, or "
                                  "2^64-1 for no limit.");
        if (s->hypervisor && !hypervisor_find(s->hypervisor))
                return bad(error, "There is no hypervisor driver '%s', only %s.", s->hypervisor, hypervisor_names());
        return check_strings(s, error);
}

bool vm_spec_is_privileged(const VmSpec *s, const ComputeConfig *c) {
        return s->kernel_arguments || s->mock_script || s->hypervisor || s->cpu_weight > 0 || s->io_weight > 0 ||
                s->cpus > c->users_cpus_max || s->memory > c->users_memory_max || s->disk > c->users_disk_max;
}

int vm_spec_needs_admin(const VmSpec *s, const ComputeConfig *c, sd_bus_error *error) {
        bool privileged = vm_spec_is_privileged(s, c);

        if (privileged && s->as_owner)
                return sd_bus_error_setf(error, SD_BUS_ERROR_ACCESS_DENIED,
                                         "A user who is no administrator may have at most %u CPUs, %" PRIu64 " MiB of memory and %" PRIu64
                                         " MiB of disk ([Users] in compute.conf), and sets neither hypervisor nor weights.",
                                         c->users_cpus_max, c->users_memory_max >> 20, c->users_disk_max >> 20);
        return privileged;
}

static int read_string(sd_bus_message *m, const char *key, char **ret, sd_bus_error *error) {
        const char *s;
        int r;

        r = bus_read_variant(m, key, "s", &s, error);
        if (r < 0)
                return r;
        return free_and_strdup(ret, s);
}

static int read_strv(sd_bus_message *m, const char *key, char ***ret, sd_bus_error *error) {
        const char *contents;
        int r;

        r = sd_bus_message_peek_type(m, NULL, &contents);
        if (r < 0)
                return r;
        if (!streq(contents, "as"))
                return bad(error, "%s must be of type 'as', not '%s'.", key, contents);
        r = sd_bus_message_enter_container(m, 'v', "as");
        if (r < 0)
                return r;
        *ret = strv_free(*ret);
        r = bus_read_strv(m, VM_STRINGS_MAX, ret);
        if (r == -E2BIG)
                return bad(error, "%s may have %u entries.", key, VM_STRINGS_MAX);
        if (r < 0)
                return r;
        return sd_bus_message_exit_container(m);
}

/* As above, where a list that is given and empty is another thing than none. */
static int read_list(sd_bus_message *m, const char *key, char ***ret, sd_bus_error *error) {
        int r;

        r = read_strv(m, key, ret, error);
        if (r >= 0 && !*ret) {
                *ret = new0(char *, 1);
                if (!*ret)
                        return -ENOMEM;
        }
        return r;
}

static int read_run_image(sd_bus_message *m, RunImage *ret, sd_bus_error *error) {
        int r, b;

        r = bus_read_variant(m, "RunImage", "b", &b, error);
        if (r >= 0)
                *ret = b ? RUN_IMAGE : RUN_NOTHING;
        return r;
}

static int read_network(sd_bus_message *m, VmSpec *s, sd_bus_error *error) {
        int r, b;

        r = bus_read_variant(m, "Network", "b", &b, error);
        s->network_given = r >= 0;
        s->no_network = r >= 0 && !b;
        return r;
}

static int read_boolean(sd_bus_message *m, const char *key, bool *ret, sd_bus_error *error) {
        int r, b;

        r = bus_read_variant(m, key, "b", &b, error);
        if (r >= 0)
                *ret = b;
        return r;
}

static int read_transient(sd_bus_message *m, VmSpecKeys keys, bool *ret, sd_bus_error *error) {
        if (keys != VM_SPEC_CREATE)
                return bad(error, "Transient is for CreateVM() only: the VM of a user stays until it is deprovisioned.");
        return read_boolean(m, "Transient", ret, error);
}

/* The zero of a key that was given would read as "not given". */
static int read_u64(sd_bus_message *m, const char *key, uint64_t *ret, sd_bus_error *error) {
        int r;

        r = bus_read_variant(m, key, "t", ret, error);
        if (r >= 0 && *ret == 0)
                return bad(error, "%s must not be 0.", key);
        return r;
}

static int read_cpus(sd_bus_message *m, unsigned *ret, sd_bus_error *error) {
        uint32_t v;
        int r;

        r = bus_read_variant(m, "CPUs", "u", &v, error);
        if (r < 0)
                return r;
        if (v == 0)
                return bad(error, "CPUs must be between 1 and %u, not 0.", VM_CPUS_MAX);
        *ret = v;
        return 0;
}

static int read_key(sd_bus_message *m, const char *key, VmSpecKeys keys, VmSpec *s, sd_bus_error *error) {
        if (keys != VM_SPEC_RESOURCES && streq(key, "IdleTimeoutUSec"))
                return read_u64(m, key, &s->idle_timeout, error);
        if (keys != VM_SPEC_RESOURCES && streq(key, "HibernateDelayUSec"))
                return read_u64(m, key, &s->hibernate_delay, error);
        if (keys != VM_SPEC_IDLE && streq(key, "AsOwner"))
                return read_boolean(m, key, &s->as_owner, error);
        if (keys == VM_SPEC_IDLE)
                return bad(error, "An idle policy has no '%s', only IdleTimeoutUSec and HibernateDelayUSec.", key);
        if (streq(key, "CPUs"))
                return read_cpus(m, &s->cpus, error);
        if (streq(key, "Memory"))
                return read_u64(m, key, &s->memory, error);
        if (streq(key, "Disk"))
                return read_u64(m, key, &s->disk, error);
        if (streq(key, "NetworkReceiveMax"))
                return read_u64(m, key, &s->receive_max, error);
        if (streq(key, "NetworkTransmitMax"))
                return read_u64(m, key, &s->transmit_max, error);
        if (keys == VM_SPEC_RESOURCES) {
                if (streq(key, "CPUWeight"))
                        return read_u64(m, key, &s->cpu_weight, error);
                if (streq(key, "IOWeight"))
                        return read_u64(m, key, &s->io_weight, error);
                return bad(error, "There is no resource '%s', only CPUs, Memory, Disk, CPUWeight, IOWeight, NetworkReceiveMax, "
                                  "NetworkTransmitMax.", key);
        }
        if (streq(key, "Name") && keys == VM_SPEC_PROVISION)
                return read_string(m, key, &s->name, error);
        if (streq(key, "User") && keys == VM_SPEC_CREATE)
                return read_string(m, key, &s->user, error);
        if (streq(key, "Image"))
                return read_string(m, key, &s->image, error);
        if (streq(key, "Hypervisor"))
                return read_string(m, key, &s->hypervisor, error);
        if (streq(key, "Command"))
                return read_strv(m, key, &s->command, error);
        if (streq(key, "Entrypoint"))
                return read_list(m, key, &s->entrypoint, error);
        if (streq(key, "Arguments"))
                return read_list(m, key, &s->arguments, error);
        if (streq(key, "RunAs"))
                return read_string(m, key, &s->run_as, error);
        if (streq(key, "RunImage"))
                return read_run_image(m, &s->run_image, error);
        if (streq(key, "Environment"))
                return read_strv(m, key, &s->environment, error);
        if (streq(key, "Network"))
                return read_network(m, s, error);
        if (streq(key, "Transient"))
                return read_transient(m, keys, &s->transient, error);
        if (streq(key, "WorkingDirectory"))
                return read_string(m, key, &s->working_directory, error);
        if (streq(key, "KernelArguments"))
                return read_string(m, key, &s->kernel_arguments, error);
        if (streq(key, "MockScript"))
                return read_string(m, key, &s->mock_script, error);
        return bad(error, "There is no key '%s' in a VM's specification.", key);
}

int vm_spec_read(sd_bus_message *m, VmSpecKeys keys, VmSpec *ret, sd_bus_error *error) {
        _cleanup_(vm_spec_done) VmSpec s = {};
        int r;

        r = sd_bus_message_enter_container(m, 'a', "{sv}");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                const char *key;

                r = sd_bus_message_read(m, "s", &key);
                if (r >= 0)
                        r = read_key(m, key, keys, &s, error);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
                if (r < 0)
                        return r;
        }
        if (r >= 0)
                r = sd_bus_message_exit_container(m);
        if (r < 0)
                return r;
        r = vm_spec_check(&s, error);
        if (r < 0)
                return r;
        *ret = s;
        s = (VmSpec) {};
        return 0;
}
