/* SPDX-License-Identifier: Apache-2.0 */

/* The command lines of QEMU against golden files, one word per line. After a wanted change:
 * HERO_TEST_REGENERATE=1 meson test 'QEMU command line', and look at the difference. */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "hypervisor/qemu/command-line.h"

#define MIB (UINT64_C(1) << 20)

static VmmSpec example(void) {
        return (VmmSpec) {
                .name = "alice",
                .id = "0123456789ab",
                .cpus = 2,
                .memory = 512 * MIB,
                .accelerator = ACCELERATOR_TCG,
                .kernel_fd = 20,
                .initrd_fd = 21,
                .root_fd = 22,
                .overlay_fd = 23,
                .console_fd = 24,
                .monitor_fd = 25,
                .agent_fd = 26,
                .memory_fd = -EBADF,
                .tap_fd = -EBADF,
        };
}

static char *join(char **argv) {
        char *text = strdup("");

        STRV_FOREACH(i, argv) {
                char *longer = strprintf("%s%s\n", text, *i);

                free(text);
                text = longer;
        }
        return text;
}

static void compare(const VmmSpec *spec, const char *name) {
        _cleanup_(vmm_command_done) VmmCommand c = {};
        _cleanup_free_ char *path = NULL, *expected = NULL, *text = NULL;
        const char *dir = getenv("HERO_TEST_DATA");

        assert_non_null(dir);
        path = strprintf("%s/qemu-%s.args", dir, name);
        assert_int_equal(qemu_command_line(spec, 2500000, &c), 0);
        text = join(c.argv);
        if (getenv("HERO_TEST_REGENERATE")) {
                FILE *f = fopen(path, "we");

                assert_non_null(f);
                fputs(text, f);
                fclose(f);
        }
        assert_return_code(read_full_file(AT_FDCWD, path, 1 << 16, &expected, NULL), 0);
        assert_string_equal(text, expected);
}

static void tcg_with_everything(void **state) {
        VmmSpec spec = example();

        spec.kernel_args = "hero.debug=1";
        compare(&spec, "tcg");
}

static void kvm_with_everything(void **state) {
        VmmSpec spec = example();

        spec.accelerator = ACCELERATOR_KVM;
        compare(&spec, "kvm");
}

static void without_disks_and_agent(void **state) {
        VmmSpec spec = example();

        spec.root_fd = spec.overlay_fd = spec.agent_fd = -EBADF;
        compare(&spec, "minimal");
}

static VmmSpec example_with_network(void) {
        VmmSpec spec = example();

        spec.tap_fd = 27;
        memcpy(spec.mac, (uint8_t[6]) { 0x52, 0x54, 0, 0xab, 0xcd, 0x0f }, sizeof(spec.mac));
        spec.mtu = 1400;
        return spec;
}

static void with_a_network(void **state) {
        VmmSpec spec = example_with_network();

        compare(&spec, "network");
}

/* Everything else stays as it is without one. */
static void a_network_is_four_words_more(void **state) {
        _cleanup_(vmm_command_done) VmmCommand with = {}, without = {};
        VmmSpec spec = example_with_network();
        size_t n, k;

        spec.mtu = 0;
        assert_int_equal(qemu_command_line(&spec, 0, &with), 0);
        spec = example();
        assert_int_equal(qemu_command_line(&spec, 0, &without), 0);
        assert_int_equal(with.n_fds, without.n_fds + 1);
        n = strv_length(without.argv);
        assert_int_equal(strv_length(with.argv), n + 4);
        for (k = 0; k < n && streq(with.argv[k], without.argv[k]); k++)
                ;
        assert_string_equal(with.argv[k], "-netdev");
        assert_string_equal(with.argv[k + 1], "tap,id=net,fd=10,vhost=off");
        assert_string_equal(with.argv[k + 2], "-device");
        assert_string_equal(with.argv[k + 3], "virtio-net-device,netdev=net,mac=52:54:00:ab:cd:0f");
        assert_true(strv_equal(with.argv + k + 4, without.argv + k));
}

static void a_network_without_a_mac_of_one_machine_is_refused(void **state) {
        VmmSpec spec = example_with_network();
        VmmCommand c = {};

        spec.mac[0] |= 1;
        assert_int_equal(qemu_command_line(&spec, 0, &c), -EINVAL);
        memset(spec.mac, 0, sizeof(spec.mac));
        assert_int_equal(qemu_command_line(&spec, 0, &c), -EINVAL);
        spec = example_with_network();
        spec.mtu = 65536;
        assert_int_equal(qemu_command_line(&spec, 0, &c), -EINVAL);
        assert_null(c.argv);
}

static VmmSpec example_with_memory(void) {
        VmmSpec spec = example();

        spec.memory_fd = 28;
        return spec;
}

static void with_memory_in_a_file(void **state) {
        VmmSpec spec = example_with_memory();

        compare(&spec, "memory");
        spec.accelerator = ACCELERATOR_KVM;
        compare(&spec, "memory-kvm");
}

/* Neither kernel nor initrd nor arguments: what was read of them at the boot is in the memory. */
static void incoming(void **state) {
        VmmSpec spec = example_with_memory();

        spec.incoming = true;
        spec.kernel_fd = spec.initrd_fd = -EBADF;
        compare(&spec, "incoming");
}

/* What is restored must find the machine it was saved from. */
static void memory_is_two_words_more_and_the_machine_is_the_same_when_incoming(void **state) {
        _cleanup_(vmm_command_done) VmmCommand without = {}, with = {}, in = {};
        VmmSpec spec = example();

        assert_int_equal(qemu_command_line(&spec, 0, &without), 0);
        spec.memory_fd = 28;
        assert_int_equal(qemu_command_line(&spec, 0, &with), 0);
        spec.incoming = true;
        assert_int_equal(qemu_command_line(&spec, 0, &in), 0);
        assert_int_equal(strv_length(with.argv), strv_length(without.argv) + 2);
        assert_int_equal(with.n_fds, without.n_fds + 1);
        assert_int_equal(in.n_fds, with.n_fds - 2);
        assert_true(strv_contains(in.argv, "-incoming"));
        assert_true(strv_contains(in.argv, "-S"));
        assert_false(strv_contains(with.argv, "-S"));
        STRV_FOREACH(i, with.argv)
                if (streq(*i, "-machine") || streq(*i, "-m") || streq(*i, "-smp") || streq(*i, "-cpu"))
                        assert_true(strv_contains(in.argv, i[1]));
}

static void who_is_incoming_has_memory_in_a_file(void **state) {
        VmmSpec spec = example();
        VmmCommand c = {};

        spec.incoming = true;
        assert_int_equal(qemu_command_line(&spec, 0, &c), -EINVAL);
        assert_null(c.argv);
}

static void a_comma_in_the_name_stays_in_the_name(void **state) {
        VmmSpec spec = example();

        spec.name = "a,debug-threads=off";
        compare(&spec, "comma");
}

static void fds_are_numbered_in_the_order_they_are_handed_over(void **state) {
        static const int expected[] = { 20, 21, 25, 24, 26, 22, 23 };
        _cleanup_(vmm_command_done) VmmCommand c = {};
        VmmSpec spec = example();

        assert_int_equal(qemu_command_line(&spec, 0, &c), 0);
        assert_int_equal(c.n_fds, ELEMENTSOF(expected));
        assert_memory_equal(c.fds, expected, sizeof(expected));
}

static void a_spec_without_kernel_or_accelerator_is_refused(void **state) {
        VmmCommand c = {};
        VmmSpec spec = example();

        spec.kernel_fd = -EBADF;
        assert_int_equal(qemu_command_line(&spec, 0, &c), -EBADF);
        spec = example();
        spec.accelerator = ACCELERATOR_AUTO;
        assert_int_equal(qemu_command_line(&spec, 0, &c), -EINVAL);
        spec = example();
        spec.cpus = 0;
        assert_int_equal(qemu_command_line(&spec, 0, &c), -EINVAL);
        assert_null(c.argv);
}

static void the_translation_cache_counts_as_overhead(void **state) {
        VmmSpec spec = example();
        uint64_t tcg = qemu_memory_overhead(&spec);

        spec.accelerator = ACCELERATOR_KVM;
        assert_true(tcg == qemu_memory_overhead(&spec) + QEMU_TB_SIZE);
        spec.memory *= 2;
        assert_true(qemu_memory_overhead(&spec) > tcg - QEMU_TB_SIZE);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(tcg_with_everything),
                cmocka_unit_test(kvm_with_everything),
                cmocka_unit_test(without_disks_and_agent),
                cmocka_unit_test(with_a_network),
                cmocka_unit_test(a_network_is_four_words_more),
                cmocka_unit_test(a_network_without_a_mac_of_one_machine_is_refused),
                cmocka_unit_test(with_memory_in_a_file),
                cmocka_unit_test(incoming),
                cmocka_unit_test(memory_is_two_words_more_and_the_machine_is_the_same_when_incoming),
                cmocka_unit_test(who_is_incoming_has_memory_in_a_file),
                cmocka_unit_test(a_comma_in_the_name_stays_in_the_name),
                cmocka_unit_test(fds_are_numbered_in_the_order_they_are_handed_over),
                cmocka_unit_test(a_spec_without_kernel_or_accelerator_is_refused),
                cmocka_unit_test(the_translation_cache_counts_as_overhead),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
