/* SPDX-License-Identifier: Apache-2.0 */

#include <archive.h>
#include <archive_entry.h>
#include <elf.h>
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
#include "image/initrd.h"
#include "image/module-set.h"
#include "image/vmlinux.h"

static char tree[] = "/tmp/test-initrd-XXXXXX";
static char *order;

static int setup(void **state) {
        strcpy(tree + strlen(tree) - 6, "XXXXXX");
        order = strdup("");
        return mkdtemp(tree) && order ? 0 : -1;
}

static int teardown(void **state) {
        free(order);
        return remove_tree_at(AT_FDCWD, tree);
}

static void put(const char *name, const void *p, size_t n) {
        _cleanup_free_ char *path = strprintf("%s/%s", tree, name);
        _cleanup_close_ int fd = -EBADF;

        fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
        assert_true(fd >= 0);
        assert_int_equal(write_all(fd, p, n), 0);
}

/* The smallest ELF file that libkmod takes for a module: nothing but .modinfo. */
typedef struct FakeModule {
        Elf64_Ehdr header;
        Elf64_Shdr sections[3];
        char names[24], info[256];
} FakeModule;

static FakeModule fake_module(const char *name, const char *depends) {
        FakeModule m = {
                .header = {
                        .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
                        .e_type = ET_REL, .e_machine = EM_X86_64, .e_version = EV_CURRENT,
                        .e_shoff = offsetof(FakeModule, sections), .e_ehsize = sizeof(Elf64_Ehdr),
                        .e_shentsize = sizeof(Elf64_Shdr), .e_shnum = 3, .e_shstrndx = 1,
                },
                .sections = {
                        [1] = { .sh_name = 1, .sh_type = SHT_STRTAB, .sh_offset = offsetof(FakeModule, names),
                                .sh_size = sizeof(m.names) },
                        [2] = { .sh_name = 11, .sh_type = SHT_PROGBITS, .sh_offset = offsetof(FakeModule, info) },
                },
                .names = "\0.shstrtab\0.modinfo",
        };
        int n = snprintf(m.info, sizeof(m.info), "depends=%s%cname=%s", depends, 0, name);

        m.sections[2].sh_size = (Elf64_Xword) n + 1;
        return m;
}

static void add_xz(const char *path, const void *p, size_t n) {
        _cleanup_free_ char *file = strprintf("%s/%s", tree, path);
        struct archive *a = archive_write_new();
        struct archive_entry *e = archive_entry_new();

        assert_int_equal(archive_write_set_format_raw(a), ARCHIVE_OK);
        assert_int_equal(archive_write_add_filter_xz(a), ARCHIVE_OK);
        assert_int_equal(archive_write_open_filename(a, file), ARCHIVE_OK);
        archive_entry_set_filetype(e, AE_IFREG);
        assert_int_equal(archive_write_header(a, e), ARCHIVE_OK);
        assert_int_equal(archive_write_data(a, p, n), n);
        archive_entry_free(e);
        assert_int_equal(archive_write_free(a), ARCHIVE_OK);
}

static void add_module(const char *name, const char *depends, bool compressed) {
        _cleanup_free_ char *path = strprintf("%s.ko", name), *xz = strprintf("%s.ko.xz", name);
        FakeModule m = fake_module(name, depends);
        char *longer;

        if (compressed)
                add_xz(xz, &m, sizeof(m));
        else
                put(path, &m, sizeof(m));
        longer = strprintf("%s%s\n", order, path);
        free(order);
        order = longer;
        put("modules.order", order, strlen(order));
}

static void add_everything(void) {
        add_module("virtio-ring", "", false);
        add_module("virtio", "virtio-ring", true);
        add_module("virtio_blk", "virtio,virtio_ring", false);
        add_module("virtio_console", "virtio,virtio_ring", true);
        add_module("squashfs", "", false);
        add_module("overlay", "", false);
        put("modules.builtin", "kernel/fs/ext4/ext4.ko\nkernel/lib/lzo.ko\n", 41);
        put("init", "#!", 2);
}

static InitrdSpec spec(void) {
        static char init[64];

        snprintf(init, sizeof(init), "%s/init", tree);
        return (InitrdSpec) { .kernel_version = "1.0", .modules_dir = tree, .init_path = init };
}

static void names_come_from_paths(void **state) {
        static const char *const cases[][2] = {
                { "kernel/drivers/block/virtio_blk.ko", "virtio_blk" },
                { "kernel/drivers/char/hw_random/virtio-rng.ko.xz", "virtio_rng" },
                { "x.ko", "x" },
                { "kernel/x.konserve", NULL },
                { "kernel/", NULL },
                { ".ko", NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_free_ char *name = module_name_of_path(cases[i][0]);

                if (cases[i][1])
                        assert_string_equal(name, cases[i][1]);
                else
                        assert_null(name);
        }
}

static void modules_come_after_what_they_depend_on(void **state) {
        _cleanup_(module_set_done) ModuleSet s = {};
        _cleanup_free_ char *why = NULL;
        const char *const expected[][2] = {
                { "virtio-2", "virtio_ring" },    { "virtio-2", "virtio" },  { "virtio-2", "virtio_blk" },
                { "virtio-3", "virtio_ring" },    { "virtio-3", "virtio" },  { "virtio-3", "virtio_console" },
                { "squashfs", "squashfs" },       { "overlay", "overlay" },
        };

        add_everything();
        if (module_set_load(tree, &s, &why) < 0)
                fail_msg("%s", strempty(why));
        assert_int_equal(s.n_entries, ELEMENTSOF(expected));
        for (size_t i = 0; i < s.n_entries; i++) {
                assert_string_equal(s.entries[i].group, expected[i][0]);
                assert_string_equal(s.entries[i].module->name, expected[i][1]);
        }
}

/* Built in or a module, a card comes with both. */
static void a_network_card_calls_for_ipv6(void **state) {
        _cleanup_(module_set_done) ModuleSet s = {};
        _cleanup_free_ char *why = NULL;
        const char *const expected[] = { "ipv6", "virtio_ring", "virtio", "failover", "net_failover", "virtio_net" };

        add_everything();
        add_module("ipv6", "", true);
        add_module("failover", "", false);
        add_module("net_failover", "failover", false);
        add_module("virtio_net", "virtio,virtio_ring,net_failover", true);
        assert_int_equal(module_set_load(tree, &s, &why), 0);
        assert_true(s.n_entries > ELEMENTSOF(expected));
        for (size_t i = 0; i < ELEMENTSOF(expected); i++) {
                assert_string_equal(s.entries[i].group, "virtio-1");
                assert_string_equal(s.entries[i].module->name, expected[i]);
        }
}

static void missing_module_is_named(void **state) {
        _cleanup_(module_set_done) ModuleSet s = {};
        _cleanup_free_ char *why = NULL;

        add_everything();
        put("modules.builtin", "", 0);
        assert_int_equal(module_set_load(tree, &s, &why), -ENOENT);
        assert_non_null(strstr(why, "ext4"));
}

static void modules_that_depend_on_each_other_are_refused(void **state) {
        _cleanup_(module_set_done) ModuleSet s = {};
        _cleanup_free_ char *why = NULL;

        add_everything();
        add_module("virtio_rng", "hen", false);
        add_module("hen", "egg", false);
        add_module("egg", "hen", false);
        assert_int_equal(module_set_load(tree, &s, &why), -ELOOP);
}

static void no_modules_at_all_is_said(void **state) {
        _cleanup_(module_set_done) ModuleSet s = {};
        _cleanup_free_ char *why = NULL;

        assert_int_equal(module_set_load(tree, &s, &why), -ENOENT);
        assert_non_null(strstr(why, "modules.order"));
}

static void archive_holds_init_and_unpacked_modules(void **state) {
        FakeModule virtio = fake_module("virtio", "virtio-ring");
        _cleanup_free_ char *why = NULL, *path = strprintf("%s/out", tree);
        InitrdSpec s;
        struct archive_entry *e;
        struct archive *a;
        unsigned seen = 0;
        char buf[4096];
        int fd;

        add_everything();
        s = spec();
        fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(initrd_write(&s, fd, &why), 0);
        close(fd);

        a = archive_read_new();
        archive_read_support_format_cpio(a);
        assert_int_equal(archive_read_open_filename(a, path, 4096), ARCHIVE_OK);
        while (archive_read_next_header(a, &e) == ARCHIVE_OK) {
                const char *name = archive_entry_pathname(e);
                la_ssize_t n = archive_read_data(a, buf, sizeof(buf) - 1);

                assert_true(n >= 0);
                buf[n] = 0;
                if (streq(name, "init")) {
                        seen |= 1;
                        assert_int_equal(archive_entry_mode(e), S_IFREG | 0755);
                        assert_string_equal(buf, "#!");
                } else if (streq(name, "modules/virtio.ko")) {
                        seen |= 2;
                        assert_int_equal(n, sizeof(virtio));
                        assert_memory_equal(buf, &virtio, sizeof(virtio));
                } else if (streq(name, "modules/list")) {
                        seen |= 4;
                        assert_non_null(strstr(buf, "virtio-3 virtio_ring.ko\nvirtio-3 virtio.ko\nvirtio-3 virtio_console.ko\n"));
                }
        }
        assert_int_equal(seen, 7);
        archive_read_free(a);
}

static void key_changes_with_what_goes_in(void **state) {
        char first[INITRD_KEY_MAX], second[INITRD_KEY_MAX];
        _cleanup_free_ char *why = NULL;
        InitrdSpec s;

        add_everything();
        s = spec();
        assert_int_equal(initrd_key(&s, first, &why), 0);
        assert_int_equal(strlen(first), INITRD_KEY_MAX - 1);
        assert_int_equal(initrd_key(&s, second, &why), 0);
        assert_string_equal(first, second);

        put("init", "##", 2);
        assert_int_equal(initrd_key(&s, second, &why), 0);
        assert_string_not_equal(first, second);

        put("init", "#!", 2);
        put("modules.order", "", 0);
        assert_int_equal(initrd_key(&s, second, &why), 0);
        assert_string_not_equal(first, second);

        s.init_path = "/nowhere/hero-init";
        assert_int_equal(initrd_key(&s, second, &why), -ENOENT);
        assert_non_null(strstr(why, "/nowhere/hero-init"));
}

typedef struct FakeKernel {
        Elf64_Ehdr header;
        Elf64_Phdr program;
        Elf64_Nhdr note;
        char name[4];
        uint32_t entry;
} FakeKernel;

static FakeKernel fake_kernel(void) {
        return (FakeKernel) {
                .header = {
                        .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
                        .e_type = ET_EXEC, .e_machine = EM_X86_64, .e_phoff = offsetof(FakeKernel, program),
                        .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 1,
                },
                .program = { .p_type = PT_NOTE, .p_offset = offsetof(FakeKernel, note),
                             .p_filesz = sizeof(FakeKernel) - offsetof(FakeKernel, note) },
                .note = { .n_namesz = 4, .n_descsz = 4, .n_type = 18 },
                .name = "Xen",
        };
}

static void kernel_needs_an_entry_for_the_vmm(void **state) {
        FakeKernel k = fake_kernel();

        assert_true(vmlinux_has_pvh_entry((uint8_t *) &k, sizeof(k)));
        for (size_t i = 0; i + 1 < sizeof(k) - offsetof(FakeKernel, note); i++)
                assert_false(vmlinux_has_pvh_entry((uint8_t *) &k, offsetof(FakeKernel, note) + i));
        k.note.n_type = 1;
        assert_false(vmlinux_has_pvh_entry((uint8_t *) &k, sizeof(k)));
        k = fake_kernel();
        k.note.n_namesz = UINT32_MAX;
        assert_false(vmlinux_has_pvh_entry((uint8_t *) &k, sizeof(k)));
        k = fake_kernel();
        k.program.p_offset = UINT64_MAX - 3;
        assert_false(vmlinux_has_pvh_entry((uint8_t *) &k, sizeof(k)));
        k = fake_kernel();
        k.header.e_phoff = UINT64_MAX;
        assert_false(vmlinux_has_pvh_entry((uint8_t *) &k, sizeof(k)));
}

static void what_is_no_kernel_is_not_unpacked(void **state) {
        _cleanup_free_ char *path = strprintf("%s/vmlinuz", tree);
        uint8_t image[4096] = {};

        put("vmlinuz", image, sizeof(image));
        assert_int_equal(vmlinux_extract(path, -1), -EOPNOTSUPP);
        memcpy(image + 0x202, "HdrS\x0f\x02", 6);
        memset(image + 0x248, 0xff, 8);
        put("vmlinuz", image, sizeof(image));
        assert_int_equal(vmlinux_extract(path, -1), -EOPNOTSUPP);
        memcpy(image + 0x248, "\x00\x00\x00\x00\x00\x02\x00\x00", 8);
        put("vmlinuz", image, sizeof(image));
        assert_int_equal(vmlinux_extract(path, -1), -EOPNOTSUPP);
        assert_int_equal(vmlinux_extract("/nowhere/vmlinuz", -1), -ENOENT);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(names_come_from_paths),
                cmocka_unit_test_setup_teardown(modules_come_after_what_they_depend_on, setup, teardown),
                cmocka_unit_test_setup_teardown(a_network_card_calls_for_ipv6, setup, teardown),
                cmocka_unit_test_setup_teardown(missing_module_is_named, setup, teardown),
                cmocka_unit_test_setup_teardown(modules_that_depend_on_each_other_are_refused, setup, teardown),
                cmocka_unit_test_setup_teardown(no_modules_at_all_is_said, setup, teardown),
                cmocka_unit_test_setup_teardown(archive_holds_init_and_unpacked_modules, setup, teardown),
                cmocka_unit_test_setup_teardown(key_changes_with_what_goes_in, setup, teardown),
                cmocka_unit_test(kernel_needs_an_entry_for_the_vmm),
                cmocka_unit_test_setup_teardown(what_is_no_kernel_is_not_unpacked, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
