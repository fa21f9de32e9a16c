/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The directory tree of an image in the making: names and attributes, no contents. It decides what a stream
 * of entries means when put together: missing parents appear, a later entry of the same name wins, hard
 * links need their target to be there, nothing goes up or through what is not a directory.
 *
 * Everything comes from a hostile archive: names are bytes, all counts are bounded. */

#include "basic/macro.h"

#define TREE_PATH_MAX 4096u /* with the terminator, as PATH_MAX */
#define TREE_NAME_MAX 255u  /* of one component */
#define TREE_DEPTH_MAX 256u /* components */
#define TREE_NO_XATTRS UINT32_MAX

typedef struct TreeInode TreeInode;
typedef struct TreeNode TreeNode;
typedef struct Tree Tree;

struct TreeInode {
        mode_t mode; /* type and permissions */
        uid_t uid;
        gid_t gid;
        uint32_t mtime;
        uint32_t device;  /* as the kernel encodes it for user space, see tree_device() */
        uint32_t xattrs;  /* index in the file system's table or TREE_NO_XATTRS */
        uint32_t n_links; /* names; 0: replaced meanwhile */
        char *target;     /* of a symbolic link */

        /* For whoever writes the tree. */
        uint32_t number;
        uint64_t location;
        void *data;

        TreeInode *next;
};

struct TreeNode {
        TreeNode *parent; /* made before this one; NULL: the root */
        TreeNode *next;   /* in the order they were made */
        TreeNode *previous;
        TreeNode *first_child, *sibling; /* in no order */
        TreeInode *inode;
        uint32_t n_children;
        const char *name; /* "" for the root */
};

/* Entries, implied directories included, are at most max_entries. */
int tree_new(uint32_t max_entries, Tree **ret);
Tree *tree_free(Tree *t); /* inodes' data is not the tree's */
DEFINE_TRIVIAL_CLEANUP_FUNC(Tree *, tree_free);

/* Adds an entry; path as the archive has it ("./", "//" and a "/" at the end are nothing). The attributes
 * are copied (mode, ids, mtime, device, xattrs, target); "" or "." sets those of the root directory. Parents
 * that are not there become directories root:root 0755 with the mtime of the entry. Returns the inode in
 * *ret. -EBADMSG with a sentence in *ret_why: the path or what is there already does not allow it; -EDQUOT
 * with one: too many entries; -ENOMEM. */
int tree_add(Tree *t, const char *path, const TreeInode *attributes, TreeInode **ret, char **ret_why);

/* Another name of a file that was added before. Errors as above. */
int tree_link(Tree *t, const char *path, const char *target, char **ret_why);

TreeNode *tree_root(Tree *t);
TreeNode *tree_last(Tree *t);    /* ->previous leads to the root; a node comes after its parent */
TreeInode *tree_inodes(Tree *t); /* all, ->next; with n_links == 0 those no longer wanted */
uint32_t tree_n_entries(const Tree *t);
TreeNode *tree_find(Tree *t, const char *path); /* NULL: not there (or not a path) */

/* The encoding of device numbers, -ERANGE when Linux has no such device. */
int tree_device(uint64_t major, uint64_t minor, uint32_t *ret);

/* A name for people: quoted, control characters, \ and what is not UTF-8 as \ooo, cut after some 200
 * characters. NULL on ENOMEM. */
char *name_quote(const char *name);
