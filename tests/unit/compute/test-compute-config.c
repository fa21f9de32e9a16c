/* SPDX-License-Identifier: Apache-2.0 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/time-util.h"
#include "compute/compute-config.h"
#include "compute/idle-policy.h"

static char dir[64], last_problem[1024];

static void problem(const char *sentence, void *userdata) {
        snprintf(last_problem, sizeof(last_problem), "%s", sentence);
}

static void write_file(const char *name, const char *text) {
        char path[256];
        int fd;

        snprintf(path, sizeof(path), "%s/%s", dir, name);
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(write_all(fd, text, strlen(text)), 0);
        close(fd);
}

static int setup(void **state) {
        char path[128];

        strcpy(dir, "/tmp/test-compute-config-XXXXXX");
        assert_non_null(mkdtemp(dir));
        snprintf(path, sizeof(path), "%s/compute.conf.d", dir);
        assert_int_equal(mkdir(path, 0700), 0);
        last_problem[0] = 0;
        return 0;
}

static int teardown(void **state) {
        return remove_tree_at(AT_FDCWD, dir);
}

static int load(ComputeConfig *c) {
        const char *roots[] = { dir, NULL };

        assert_int_equal(compute_config_defaults(c), 0);
        return compute_config_load(c, roots, problem);
}

static void without_files_the_defaults_hold(void **state) {
        ComputeConfig c;

        assert_int_equal(load(&c), 0);
        assert_string_equal(c.hypervisor, "qemu");
        assert_int_equal(c.accelerator, ACCELERATOR_AUTO);
        assert_int_equal(c.memory, 256 << 20);
        assert_true(c.cpu_overcommit > 3.99 && c.cpu_overcommit < 4.01);
        compute_config_done(&c);
}

static void a_drop_in_wins_over_the_file_and_later_names_over_earlier(void **state) {
        ComputeConfig c;

        write_file("compute.conf", "[Compute]\nAccelerator=kvm\n[Defaults]\nMemory=1G\nCPUs=2\n");
        write_file("compute.conf.d/10-a.conf", "[Defaults]\nMemory=512M\n");
        write_file("compute.conf.d/20-b.conf", "# comment\n[Defaults]\nMemory = 128M\n");
        assert_int_equal(load(&c), 0);
        assert_int_equal(c.accelerator, ACCELERATOR_KVM);
        assert_int_equal(c.memory, 128 << 20);
        assert_int_equal(c.cpus, 2);
        compute_config_done(&c);
}

static void a_wrong_value_is_named_with_file_line_and_key_and_the_rest_holds(void **state) {
        ComputeConfig c;

        write_file("compute.conf", "[Defaults]\nMemory=lots\nCPUs=3\n");
        assert_int_equal(load(&c), 1);
        assert_non_null(strstr(last_problem, "compute.conf:2: Memory=lots: Must be a size between 64M and 1T"));
        assert_int_equal(c.memory, 256 << 20);
        assert_int_equal(c.cpus, 3);
        compute_config_done(&c);
}

static void an_unknown_key_is_named_with_its_section(void **state) {
        ComputeConfig c;

        write_file("compute.conf", "\n[Compute]\nMemory=1G\n");
        assert_int_equal(load(&c), 1);
        assert_non_null(strstr(last_problem, "compute.conf:3: Memory=: There is no such key in section [Compute]"));
        compute_config_done(&c);
}

static void idle_vms_sleep_as_the_file_says(void **state) {
        ComputeConfig c;

        write_file("compute.conf", "[Idle]\nIdleTimeoutSec=infinity\nHibernateDelaySec=90\nCheckIntervalSec=50ms\n"
                                   "Signals=flows cpu\nNetworkNoise=0\nCPUThreshold=12.5%\n");
        if (load(&c) != 0)
                fail_msg("%s", last_problem);
        assert_true(c.idle_timeout == USEC_INFINITY);
        assert_int_equal(c.hibernate_delay, 90 * USEC_PER_SEC);
        assert_int_equal(c.check_interval, 50 * USEC_PER_MSEC);
        assert_int_equal(c.idle_signals, IDLE_FLOWS | IDLE_CPU);
        assert_int_equal(c.network_noise, 0);
        assert_true(c.cpu_threshold > 12.49 && c.cpu_threshold < 12.51);
        compute_config_done(&c);
}

static void every_kind_of_wrong_value_is_refused(void **state) {
        static const char *const wrong[] = {
                "[Compute]\nHypervisor=xen\n", "[Compute]\nAccelerator=hax\n", "[Compute]\nKernel=vmlinuz\n",
                "[Compute]\nSlice=machine\n", "[Compute]\nVMsMax=0\n", "[Compute]\nUIDBase=1000\n",
                "[Compute]\nRegisterMachines=perhaps\n", "[Defaults]\nImage=\n", "[Defaults]\nCPUs=65\n",
                "[Defaults]\nDisk=1K\n", "[Capacity]\nCPUOvercommit=0\n", "[Timeouts]\nAgentTimeoutSec=0\n",
                "[Timeouts]\nAgentTimeoutSec=5 parsecs\n", "[Console]\nHistorySize=1T\n",
                "[Idle]\nIdleTimeoutSec=0\n", "[Idle]\nHibernateDelaySec=never\n", "[Idle]\nCheckIntervalSec=49ms\n",
                "[Idle]\nCheckIntervalSec=infinity\n", "[Idle]\nSignals=\n", "[Idle]\nSignals=network, cpu\n",
                "[Idle]\nNetworkNoise=2G\n", "[Idle]\nCPUThreshold=2\n", "[Idle]\nCPUThreshold=0%\n",
                "[Idle]\nCPUThreshold=%\n",
                "Key=1\n", "[Broken\n", "nonsense\n",
        };

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                ComputeConfig c;

                write_file("compute.conf", wrong[i]);
                if (load(&c) < 1)
                        fail_msg("accepted: %s", wrong[i]);
                compute_config_done(&c);
        }
}

/* Uncomments the shipped file and reads it: every key must exist and hold the default. */
static void the_shipped_file_says_the_defaults(void **state) {
        _cleanup_free_ char *text = NULL;
        ComputeConfig shipped, defaults;
        size_t n;

        assert_int_equal(read_full_file(AT_FDCWD, SHIPPED_CONFIG, 65536, &text, &n), 0);
        for (char *p = text; (p = strstr(p, "\n#")); p += 2)
                if (p[2] >= 'A' && p[2] <= 'Z' && strchr(p, '=') && strchr(p, '=') < strchrnul(p + 2, ' '))
                        p[1] = ' ';
        write_file("compute.conf", text);
        if (load(&shipped) != 0)
                fail_msg("%s", last_problem);
        assert_int_equal(compute_config_defaults(&defaults), 0);
        assert_string_equal(shipped.hypervisor, defaults.hypervisor);
        assert_string_equal(shipped.slice, defaults.slice);
        assert_string_equal(shipped.image, defaults.image);
        assert_string_equal(shipped.mycelium_url, defaults.mycelium_url);
        assert_string_equal(shipped.wake_policy, defaults.wake_policy);
        /* The rest holds no pointers that differ: kernel, modules and name servers are empty in both. */
        assert_null(shipped.kernel);
        free(shipped.hypervisor);
        free(shipped.slice);
        free(shipped.image);
        free(shipped.mycelium_url);
        free(shipped.wake_policy);
        shipped.hypervisor = defaults.hypervisor;
        shipped.slice = defaults.slice;
        shipped.image = defaults.image;
        shipped.mycelium_url = defaults.mycelium_url;
        shipped.wake_policy = defaults.wake_policy;
        assert_memory_equal(&shipped, &defaults, sizeof(shipped));
        compute_config_done(&defaults);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(without_files_the_defaults_hold, setup, teardown),
                cmocka_unit_test_setup_teardown(a_drop_in_wins_over_the_file_and_later_names_over_earlier, setup, teardown),
                cmocka_unit_test_setup_teardown(a_wrong_value_is_named_with_file_line_and_key_and_the_rest_holds, setup, teardown),
                cmocka_unit_test_setup_teardown(an_unknown_key_is_named_with_its_section, setup, teardown),
                cmocka_unit_test_setup_teardown(idle_vms_sleep_as_the_file_says, setup, teardown),
                cmocka_unit_test_setup_teardown(every_kind_of_wrong_value_is_refused, setup, teardown),
                cmocka_unit_test_setup_teardown(the_shipped_file_says_the_defaults, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
