/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The directory tree of an image in the making: names and attributes, no contents. It decides what streams
 * of entries mean when put together, one layer on top of the other: missing parents appear, a later entry of
 * the same name wins, hard links need their target to be there, a whiteout takes away what lower layers had.
 *
 * Within one layer nothing goes through a symbolic link or replaces what that layer put into a directory: no
 * archive of a real tree does that. From layer to layer it is allowed, and resolved in this tree, with its
 * root as "/": nothing leads out.
 *
 * Everything comes from a hostile archive: names are bytes, all counts are bounded, the time for an entry
 * does not depend on what else there is. An entry costs some 120 bytes. */

#include "basic/macro.h"

#define TREE_PATH_MAX 4096u /* with the terminator, as PATH_MAX */
#define TREE_NAME_MAX 255u  /* of one component */
#define TREE_DEPTH_MAX 256u /* components */
#define TREE_LINKS_MAX 40u  /* symbolic links on the way to one entry, as in Linux */
#define TREE_NO_XATTRS UINT32_MAX

typedef struct TreeInode TreeInode;
typedef struct TreeNode TreeNode;
typedef struct Tree Tree;

struct TreeInode {
        mode_t mode; /* type and permissions */
        uid_t uid;
        gid_t gid;
        uint32_t mtime;
        uint32_t xattrs;  /* index in the file system's table or TREE_NO_XATTRS */
        uint32_t n_links; /* names; 0: replaced meanwhile */
        uint32_t number;  /* as location: for whoever writes the tree; new ones have 0 and UINT64_MAX */
        union {
                uint32_t device; /* of a device, as the kernel encodes it for user space, see tree_device()
                                  */
                uint32_t data_size; /* of a regular file: for whoever writes its contents */
        };
        union {
                const char *target; /* of a symbolic link */
                uint64_t data;      /* of a regular file, likewise */
        };
        uint64_t location;
};

struct TreeNode {
        TreeNode *parent;                /* NULL: the root */
        TreeNode *first_child, *sibling; /* see tree_sort(); with those that are no longer there */
        TreeNode *next_in_bucket;        /* the tree's own */
        TreeInode *inode;                /* NULL: it is not there, it was removed */
        uint32_t n_children;             /* that are there */
        uint8_t layer;                   /* the last one that had something at or below it */
        uint8_t hidden;                  /* the last one that hid what lower ones had below it */
        uint16_t depth;
        char name[]; /* "" for the root */
};

/* Entries, implied directories and those that were removed included, are at most max_entries. */
int tree_new(uint32_t max_entries, Tree **ret);
Tree *tree_free(Tree *t);
DEFINE_TRIVIAL_CLEANUP_FUNC(Tree *, tree_free);

/* What is added from now on is of the next layer, the first one needs no call. At most 255. */
void tree_next_layer(Tree *t);

/* Adds an entry; path as the archive has it ("./", "//" and a "/" at the end are nothing). The attributes
 * are copied (mode, ids, mtime, device, xattrs, target); "" or "." sets those of the root directory. Parents
 * that are not there become directories root:root 0755 with the mtime of the entry. Returns the inode in
 * *ret. -EBADMSG with a sentence in *ret_why: the path or what is there already does not allow it; -EDQUOT
 * with one: too many entries; -ENOMEM. */
int tree_add(Tree *t, const char *path, const TreeInode *attributes, TreeInode **ret, char **ret_why);

/* Another name of a file that was added before, by whatever layer. Errors as above. */
int tree_link(Tree *t, const char *path, const char *target, char **ret_why);

/* Takes away what lower layers have at the path and below it; what this layer has there stays. below: not
 * the directory itself. Nothing there: nothing happens. */
int tree_hide(Tree *t, const char *path, bool below, char **ret_why);

/* Puts the children of a directory into the order of their names, by bytes. What is added later comes
 * first again. -ENOMEM. */
int tree_sort(TreeNode *directory);

TreeNode *tree_root(Tree *t);
uint32_t tree_n_entries(const Tree *t); /* that are there, with the root */
uint32_t tree_n_inodes(const Tree *t);
TreeNode *tree_find(Tree *t,
                const char *path); /* NULL: not there (or not a path); goes through no symbolic link */

/* The encoding of device numbers, -ERANGE when Linux has no such device. */
int tree_device(uint64_t major, uint64_t minor, uint32_t *ret);

/* A name for people: quoted, control characters, \ and what is not UTF-8 as \ooo, cut after some 200
 * characters. NULL on ENOMEM. */
char *name_quote(const char *name);
