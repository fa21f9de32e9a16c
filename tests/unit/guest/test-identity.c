/* SPDX-License-Identifier: Apache-2.0 */

/* What hero-init writes into the image's /etc, and where the image's symbolic links do not lead it. */

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "guest-init/identity.h"

static char top[] = "/tmp/test-identity-XXXXXX";
static int top_fd = -EBADF, root_fd = -EBADF;

static const NetworkConfig none, network = {
        .dns_servers = {
                { .family = AF_INET, .bytes = { 9, 9, 9, 9 } },
                { .family = AF_INET6, .bytes = { 0xfe, 0x80, [15] = 1 } },
        },
        .n_dns_servers = 2,
        .hosts = (char *[]) { (char *) "5ab::1 alice", NULL },
};

static const char hosts_of_alice[] =
        "# Written by hero-init at every boot.\n127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
        "127.0.1.1 alice\n5ab::1 alice\n";
static const char resolv_conf_of_alice[] =
        "# Written by hero-init at every boot.\nnameserver 9.9.9.9\nnameserver fe80::1%eth0\n";

static int setup(void **state) {
        strcpy(top + strlen(top) - 6, "XXXXXX");
        if (!mkdtemp(top))
                return -1;
        top_fd = open_directory_at(AT_FDCWD, top, 0755, false);
        root_fd = open_directory_at(top_fd, "root", 0755, true);
        return top_fd >= 0 && root_fd >= 0 ? 0 : -1;
}

static int teardown(void **state) {
        top_fd = safe_close(top_fd);
        root_fd = safe_close(root_fd);
        return remove_tree_at(AT_FDCWD, top);
}

static void put(int dir_fd, const char *path, const char *text) {
        _cleanup_close_ int fd = openat(dir_fd, path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);

        assert_return_code(fd, errno);
        assert_return_code(write_all(fd, text, strlen(text)), 0);
}

static void expect(int dir_fd, const char *path, const char *text) {
        _cleanup_free_ char *found = NULL;

        assert_return_code(read_full_file(dir_fd, path, 1 << 16, &found, NULL), 0);
        assert_string_equal(found, text);
}

static void expect_regular(const char *path) {
        struct stat st;

        assert_return_code(fstatat(root_fd, path, &st, AT_SYMLINK_NOFOLLOW), errno);
        assert_true(S_ISREG(st.st_mode));
        assert_int_equal(st.st_mode & 07777, 0644);
}

static void write_files(const NetworkConfig *c) {
        const char *file;

        assert_int_equal(identity_write_files(root_fd, "alice", c, &file), 0);
        assert_int_equal(faccessat(root_fd, "etc/.#hero-init", F_OK, AT_SYMLINK_NOFOLLOW), -1);
}

static void an_image_without_etc_gets_one(void **state) {
        write_files(&network);
        expect(root_fd, "etc/hostname", "alice\n");
        expect(root_fd, "etc/hosts", hosts_of_alice);
        expect(root_fd, "etc/resolv.conf", resolv_conf_of_alice);
        expect_regular("etc/resolv.conf");
}

static void what_somebody_wrote_stays(void **state) {
        assert_return_code(mkdirat(root_fd, "etc", 0755), errno);
        put(root_fd, "etc/hosts", "127.0.0.1 mine\n");
        put(root_fd, "etc/hostname", "other\n");
        put(root_fd, "etc/resolv.conf", "nameserver 192.0.2.1\n");
        write_files(&none);
        expect(root_fd, "etc/hosts", "127.0.0.1 mine\n");
        expect(root_fd, "etc/hostname", "other\n");
        expect(root_fd, "etc/resolv.conf", "nameserver 192.0.2.1\n");
}

/* That of the machine an image was made on is worth nothing. */
static void given_name_servers_replace_the_image_s(void **state) {
        assert_return_code(mkdirat(root_fd, "etc", 0755), errno);
        put(root_fd, "etc/resolv.conf", "nameserver 192.0.2.1\n");
        write_files(&network);
        expect(root_fd, "etc/resolv.conf", resolv_conf_of_alice);
}

static void empty_files_and_our_own_are_written_again(void **state) {
        assert_return_code(mkdirat(root_fd, "etc", 0755), errno);
        put(root_fd, "etc/hosts", "");
        write_files(&none);
        expect(root_fd, "etc/resolv.conf", "# Written by hero-init at every boot.\n# No name server is configured.\n");
        write_files(&network);
        expect(root_fd, "etc/hosts", hosts_of_alice);
        expect(root_fd, "etc/resolv.conf", resolv_conf_of_alice);
}

static void links_are_replaced_and_never_written_through(void **state) {
        _cleanup_free_ char *outside = strprintf("%s/outside", top);

        put(top_fd, "outside", "");
        assert_return_code(mkdirat(root_fd, "etc", 0755), errno);
        assert_return_code(symlinkat("../../outside", root_fd, "etc/hosts"), errno);
        assert_return_code(symlinkat(outside, root_fd, "etc/hostname"), errno);
        assert_return_code(symlinkat("../run/systemd/resolve/stub-resolv.conf", root_fd, "etc/resolv.conf"), errno);
        write_files(&network);
        expect(top_fd, "outside", "");
        expect_regular("etc/hosts");
        expect_regular("etc/hostname");
        expect_regular("etc/resolv.conf");
}

/* A link to a file of the image's own which says something is somebody's wish, too. */
static void a_link_within_the_image_counts_as_what_it_leads_to(void **state) {
        assert_return_code(mkdirat(root_fd, "etc", 0755), errno);
        put(root_fd, "hosts", "127.0.0.1 mine\n");
        assert_return_code(symlinkat("/hosts", root_fd, "etc/hosts"), errno);
        write_files(&network);
        expect(root_fd, "hosts", "127.0.0.1 mine\n");
        assert_int_equal(readlinkat(root_fd, "etc/hosts", (char[16]) {}, 16), strlen("/hosts"));
}

static void etc_itself_does_not_lead_out(void **state) {
        const char *file = NULL;

        assert_return_code(mkdirat(top_fd, "elsewhere", 0755), errno);
        assert_return_code(symlinkat("../elsewhere", root_fd, "etc"), errno);
        assert_true(identity_write_files(root_fd, "alice", &network, &file) < 0);
        assert_string_equal(file, "etc");
        assert_int_equal(faccessat(top_fd, "elsewhere/hosts", F_OK, 0), -1);

        /* Within the image that name exists. */
        assert_return_code(mkdirat(root_fd, "elsewhere", 0755), errno);
        write_files(&network);
        expect(root_fd, "elsewhere/hosts", hosts_of_alice);
        assert_int_equal(faccessat(top_fd, "elsewhere/hosts", F_OK, 0), -1);
}

static void a_file_that_cannot_be_written_is_named_and_holds_up_no_other(void **state) {
        const char *file = NULL;

        assert_return_code(mkdirat(root_fd, "etc", 0755), errno);
        assert_return_code(mkdirat(root_fd, "etc/hosts", 0755), errno);
        assert_int_equal(identity_write_files(root_fd, "alice", &network, &file), -EISDIR);
        assert_string_equal(file, "etc/hosts");
        expect(root_fd, "etc/resolv.conf", resolv_conf_of_alice);
}

#define file_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
        static const struct CMUnitTest tests[] = {
                file_test(an_image_without_etc_gets_one),
                file_test(what_somebody_wrote_stays),
                file_test(given_name_servers_replace_the_image_s),
                file_test(empty_files_and_our_own_are_written_again),
                file_test(links_are_replaced_and_never_written_through),
                file_test(a_link_within_the_image_counts_as_what_it_leads_to),
                file_test(etc_itself_does_not_lead_out),
                file_test(a_file_that_cannot_be_written_is_named_and_holds_up_no_other),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
