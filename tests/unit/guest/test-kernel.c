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
#include "image/kernel.h"

static char tree[] = "/tmp/test-kernel-XXXXXX";

static int setup(void **state) {
        strcpy(tree + strlen(tree) - 6, "XXXXXX");
        return mkdtemp(tree) ? 0 : -1;
}

static int teardown(void **state) {
        return remove_tree_at(AT_FDCWD, tree);
}

static void make_directories(const char *path) {
        _cleanup_free_ char *copy = strdup(path);

        for (char *p = copy + 1; (p = strchr(p, '/')); p++) {
                *p = 0;
                (void) mkdir(copy, 0755);
                *p = '/';
        }
}

static void add(const char *format, const char *version) {
        _cleanup_free_ char *path = strprintf(format, tree, version);
        int fd;

        make_directories(path);
        fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
        assert_true(fd >= 0);
        close(fd);
}

static void add_kernel(const char *version) {
        add("%s/boot/vmlinuz-%s", version);
        add("%s/lib/modules/%s/modules.order", version);
}

static void find(const char *configured, const char *expected_version) {
        const char *const roots[] = { "/nowhere", tree, NULL };
        _cleanup_(kernel_done) Kernel k = {};
        _cleanup_free_ char *why = NULL;

        assert_int_equal(kernel_find(configured, NULL, roots, &k, &why), 0);
        assert_string_equal(k.version, expected_version);
        assert_true(access(k.path, R_OK) >= 0 && access(k.modules_dir, R_OK) >= 0);
}

static void find_none(const char *configured, const char *expected_word) {
        const char *const roots[] = { tree, NULL };
        _cleanup_(kernel_done) Kernel k = {};
        _cleanup_free_ char *why = NULL;

        assert_int_equal(kernel_find(configured, NULL, roots, &k, &why), -ENOPKG);
        assert_non_null(why);
        assert_non_null(strstr(why, expected_word));
}

static void versions_are_ordered_as_people_do(void **state) {
        static const char *const ascending[] = { "5.10.0-9-amd64", "5.10.0-28-amd64", "6.1.0~rc1", "6.1.0", "6.1.0-9-cloud-amd64",
                                                 "6.1.0-10-cloud-amd64", "6.9.1", "6.10.0", "10.0" };

        for (size_t i = 0; i < ELEMENTSOF(ascending); i++)
                for (size_t j = 0; j < ELEMENTSOF(ascending); j++) {
                        int c = kernel_version_compare(ascending[i], ascending[j]);

                        assert_true(i < j ? c < 0 : i > j ? c > 0 : c == 0);
                }
}

static void newest_cloud_kernel_is_taken(void **state) {
        add_kernel("6.1.0-9-cloud-amd64");
        add_kernel("6.1.0-10-cloud-amd64");
        add_kernel("6.12.0-1-amd64");
        find(NULL, "6.1.0-10-cloud-amd64");
}

static void any_kernel_is_better_than_none(void **state) {
        add_kernel("6.1.0-9-amd64");
        add_kernel("6.1.0-10-amd64");
        find(NULL, "6.1.0-10-amd64");
}

static void modules_may_be_below_usr(void **state) {
        add("%s/boot/vmlinuz-%s", "6.1.0-1-cloud-amd64");
        add("%s/usr/lib/modules/%s/modules.order", "6.1.0-1-cloud-amd64");
        find(NULL, "6.1.0-1-cloud-amd64");
}

static void kernel_without_modules_is_passed_over(void **state) {
        add_kernel("6.1.0-1-cloud-amd64");
        add("%s/boot/vmlinuz-%s", "6.1.0-2-cloud-amd64");
        find(NULL, "6.1.0-1-cloud-amd64");
}

static void configured_modules_need_not_lie_beside_the_kernel(void **state) {
        _cleanup_free_ char *path = NULL, *modules = NULL, *why = NULL;
        const char *const roots[] = { "/nowhere", NULL };
        _cleanup_(kernel_done) Kernel k = {};

        add("%s/srv/vmlinuz-%s", "6.5.0-own");
        add("%s/srv/modules/%s", "modules.order");
        path = strprintf("%s/srv/vmlinuz-6.5.0-own", tree);
        modules = strprintf("%s/srv/modules", tree);
        assert_int_equal(kernel_find(path, modules, roots, &k, &why), 0);
        assert_string_equal(k.version, "6.5.0-own");
        assert_string_equal(k.modules_dir, modules);
        kernel_done(&k);
        k = (Kernel) {};
        assert_int_equal(kernel_find(path, "/nowhere/modules", roots, &k, &why), -ENOPKG);
        assert_non_null(strstr(why, "/nowhere/modules"));
}

static void what_is_missing_is_said(void **state) {
        find_none(NULL, "linux-image-cloud-amd64");
        add("%s/boot/vmlinuz-%s", "6.1.0-2-cloud-amd64");
        find_none(NULL, "vmlinuz-6.1.0-2-cloud-amd64 has no modules");
}

static void configured_kernel_is_the_one(void **state) {
        _cleanup_free_ char *path = strprintf("%s/boot/vmlinuz-5.0", tree), *other = strprintf("%s/elsewhere", tree);

        add_kernel("5.0");
        add_kernel("6.1.0-10-cloud-amd64");
        find(path, "5.0");
        find_none("vmlinuz-5.0", "absolute");
        find_none(other, "vmlinuz-VERSION");
        path[strlen(path) - 1] = '1';
        find_none(path, "cannot be read");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(versions_are_ordered_as_people_do),
                cmocka_unit_test_setup_teardown(newest_cloud_kernel_is_taken, setup, teardown),
                cmocka_unit_test_setup_teardown(any_kernel_is_better_than_none, setup, teardown),
                cmocka_unit_test_setup_teardown(modules_may_be_below_usr, setup, teardown),
                cmocka_unit_test_setup_teardown(kernel_without_modules_is_passed_over, setup, teardown),
                cmocka_unit_test_setup_teardown(configured_modules_need_not_lie_beside_the_kernel, setup, teardown),
                cmocka_unit_test_setup_teardown(what_is_missing_is_said, setup, teardown),
                cmocka_unit_test_setup_teardown(configured_kernel_is_the_one, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
