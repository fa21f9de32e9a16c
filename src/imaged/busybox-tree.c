/* SPDX-License-Identifier: Apache-2.0 */

/* The built-in image, see the header. */

#include "imaged/busybox-tree.h"

#include <fcntl.h>
#include <link.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"

#define APPLETS_SIZE_MAX (64u * 1024u)
#define READ_SIZE (64u * 1024u)

/* clang-format off */
static const struct {
        const char *path;
        mode_t mode;
} directories[] = {
        { ".", 0755 },        { "bin", 0755 },      { "dev", 0755 },     { "etc", 0755 },  { "home", 0755 },
        { "lib", 0755 },      { "mnt", 0755 },      { "opt", 0755 },     { "proc", 0555 }, { "root", 0700 },
        { "run", 0755 },      { "sbin", 0755 },     { "srv", 0755 },     { "sys", 0555 },  { "tmp", 01777 },
        { "usr/bin", 0755 },  { "usr/sbin", 0755 }, { "var/log", 0755 }, { "var/spool", 0755 },
        { "var/tmp", 01777 },
};

static const struct {
        const char *path;
        mode_t mode;
        const char *text;
} files[] = {
        { "etc/passwd", 0644,
          "root:x:0:0:root:/root:/bin/sh\n"
          "nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n" },
        { "etc/group", 0644, "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n" },
        { "etc/shadow", 0600, "root:*:::::::\nnobody:*:::::::\n" },
        { "etc/nsswitch.conf", 0644, "passwd: files\ngroup: files\nhosts: files dns\n" },
        { "etc/shells", 0644, "/bin/sh\n/bin/ash\n" },
        { "etc/profile", 0644,
          "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
          "[ -n \"$PS1\" ] && PS1='\\u@\\h:\\w\\$ '\n"
          "umask 022\n" },
        { "etc/os-release", 0644,
          "ID=hero-busybox\n"
          "NAME=\"Hero Compute busybox\"\n"
          "PRETTY_NAME=\"Hero Compute built-in busybox image\"\n"
          "VERSION_ID=" HERO_VERSION "\n" },
};
/* clang-format on */

int busybox_list_applets(const char *busybox, char **ret) {
        char *argv[] = { (char *) busybox, (char *) "--list-full", NULL }, *environment[] = { NULL };
        _cleanup_close_ int read_end = -EBADF, write_end = -EBADF;
        _cleanup_free_ char *text = NULL;
        posix_spawn_file_actions_t actions;
        int r, fds[2], status;
        pid_t pid;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return negative_errno();
        read_end = fds[0];
        write_end = fds[1];
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_adddup2(&actions, write_end, STDOUT_FILENO);
        r = -posix_spawn(&pid, busybox, &actions, NULL, argv, environment);
        posix_spawn_file_actions_destroy(&actions);
        if (r < 0)
                return r;
        write_end = safe_close(write_end);
        r = read_full_fd(read_end, APPLETS_SIZE_MAX, &text, NULL);
        read_end = safe_close(read_end);
        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return negative_errno();
        if (r < 0)
                return r;
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
                return -EOPNOTSUPP;
        *ret = TAKE_PTR(text);
        return 0;
}

/* A busybox that needs a dynamic loader would find none in the image. */
static int check_static(int fd) {
        ElfW(Ehdr) header;
        ElfW(Phdr) segment;

        if (pread(fd, &header, sizeof(header), 0) != sizeof(header) ||
                        memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
                        header.e_phentsize != sizeof(segment))
                return -ENOEXEC;
        for (unsigned i = 0; i < header.e_phnum; i++) {
                if (pread(fd, &segment, sizeof(segment), (off_t) (header.e_phoff + i * sizeof(segment))) !=
                                sizeof(segment))
                        return -ENOEXEC;
                if (segment.p_type == PT_INTERP)
                        return -ENOEXEC;
        }
        return 0;
}

static int add(Tree *t, const char *path, mode_t mode, uint32_t mtime, const char *target, TreeInode **ret) {
        const TreeInode attributes = {
                .mode = mode,
                .mtime = mtime,
                .xattrs = TREE_NO_XATTRS,
                .target = target,
        };
        _cleanup_free_ char *why = NULL;

        return tree_add(t, path, &attributes, ret, &why);
}

static int add_text(Tree *t, SquashfsWriter *w, const char *path, mode_t mode, uint32_t mtime,
                const char *text) {
        TreeInode *inode;
        int r;

        r = add(t, path, S_IFREG | mode, mtime, NULL, &inode);
        if (r >= 0)
                r = squashfs_writer_file_begin(w, inode, strlen(text));
        if (r >= 0)
                r = squashfs_writer_file_data(w, text, strlen(text));
        return r < 0 ? r : squashfs_writer_file_end(w);
}

static int add_busybox(Tree *t, SquashfsWriter *w, int fd, uint64_t size, uint32_t mtime) {
        _cleanup_free_ char *buffer = NULL;
        TreeInode *inode;
        int r;

        buffer = new (char, READ_SIZE);
        if (!buffer)
                return -ENOMEM;
        r = add(t, "bin/busybox", S_IFREG | 0755, mtime, NULL, &inode);
        if (r >= 0)
                r = squashfs_writer_file_begin(w, inode, size);
        while (r >= 0) {
                ssize_t n = read(fd, buffer, READ_SIZE);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return negative_errno();
                if (n == 0)
                        break;
                r = squashfs_writer_file_data(w, buffer, (size_t) n);
        }
        return r < 0 ? r : squashfs_writer_file_end(w);
}

static int add_applets(Tree *t, const char *applets, uint32_t mtime) {
        TreeInode *inode;
        int r;

        while (*applets) {
                size_t n = strcspn(applets, "\n");
                char path[TREE_NAME_MAX];

                if (n > 0 && n < sizeof(path)) {
                        memcpy(path, applets, n);
                        path[n] = 0;
                        if (!streq(path, "bin/busybox") && !tree_find(t, path)) {
                                r = add(t, path, S_IFLNK | 0777, mtime, "/bin/busybox", &inode);
                                if (r < 0)
                                        return r;
                        }
                }
                applets += n + (applets[n] == '\n');
        }
        return 0;
}

int busybox_tree(int fd, const char *applets, Tree *t, SquashfsWriter *w) {
        TreeInode *inode;
        struct stat st;
        uint32_t mtime;
        int r;

        if (fstat(fd, &st) < 0)
                return negative_errno();
        if (!S_ISREG(st.st_mode))
                return -EINVAL;
        r = check_static(fd);
        if (r < 0)
                return r;
        /* From one busybox always the same image, to the byte. */
        mtime = (uint32_t) MAX2(st.st_mtime, 0);
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(directories); i++)
                r = add(t, directories[i].path, S_IFDIR | directories[i].mode, mtime, NULL, &inode);
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(files); i++)
                r = add_text(t, w, files[i].path, files[i].mode, mtime, files[i].text);
        if (r >= 0)
                r = add(t, "var/run", S_IFLNK | 0777, mtime, "/run", &inode);
        if (r >= 0)
                r = add_busybox(t, w, fd, (uint64_t) st.st_size, mtime);
        return r < 0 ? r : add_applets(t, applets, mtime);
}
