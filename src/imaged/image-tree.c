/* SPDX-License-Identifier: Apache-2.0 */

/* The tree of an image in the making, see the header. Owned by the worker's import; does no I/O. */

#include "imaged/image-tree.h"

#include <stdio.h>
#include <sys/stat.h>

/* One table for all directories: a key is the number of the directory, then the name. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"

#define QUOTE_MAX 200u

typedef struct Entry {
        TreeNode node;
        UT_hash_handle hh;
        uint32_t id;
        uint32_t parent_id; /* begins the key */
        char name[];
} Entry;

struct Tree {
        Entry *root, *last;
        Entry *table;
        TreeInode *inodes;
        uint32_t n_entries, max_entries, next_id;
};

/* The components of a path, cut out in place. */
typedef struct Path {
        char buffer[TREE_PATH_MAX];
        const char *components[TREE_DEPTH_MAX];
        unsigned n;
} Path;

static int refuse(char **ret_why, int error, const char *path, const char *what) {
        _cleanup_free_ char *quoted = name_quote(path);

        *ret_why = quoted ? strprintf("Entry %s %s.", quoted, what) : NULL;
        return *ret_why ? error : -ENOMEM;
}

char *name_quote(const char *name) {
        char buf[QUOTE_MAX + 8];
        const char *end;
        size_t n = 0;

        buf[n++] = '"';
        for (; *name && n < QUOTE_MAX; name = end) {
                /* The longest piece, up to 4 bytes, that is one clean character. */
                size_t k = 0;

                for (size_t i = 1; i <= 4 && name[i - 1]; i++)
                        if (utf8_is_valid_n(name, i)) {
                                k = i;
                                break;
                        }
                end = name + (k ?: 1);
                if (k > 1 && !((unsigned char) name[0] == 0xc2 && (unsigned char) name[1] < 0xa0)) {
                        memcpy(buf + n, name, k);
                        n += k;
                } else if (k == 1 && name[0] >= ' ' && name[0] < 0x7f && name[0] != '\\' && name[0] != '"')
                        buf[n++] = name[0];
                else {
                        end = name + 1;
                        n += (size_t) snprintf(buf + n, 5, "\\%03o", (unsigned char) name[0]);
                }
        }
        buf[n] = 0;
        return strprintf("%s%s\"", buf, *name ? "…" : "");
}

int tree_device(uint64_t major, uint64_t minor, uint32_t *ret) {
        if (major >= 1u << 12 || minor >= 1u << 20)
                return -ERANGE;
        *ret = (uint32_t) ((minor & 0xff) | (major << 8) | ((minor & ~UINT64_C(0xff)) << 12));
        return 0;
}

static int path_split(const char *text, Path *p, char **ret_why) {
        size_t length = strnlen(text, TREE_PATH_MAX);
        char *c;

        p->n = 0;
        if (length >= TREE_PATH_MAX)
                return refuse(ret_why, -EBADMSG, text, "has a name longer than 4095 bytes");
        if (text[0] == '/')
                return refuse(ret_why, -EBADMSG, text, "has an absolute name");
        memcpy(p->buffer, text, length + 1);
        for (c = p->buffer; *c;) {
                char *begin = c;

                c += strcspn(c, "/");
                if (*c)
                        *c++ = 0;
                if (streq(begin, "") || streq(begin, "."))
                        continue;
                if (streq(begin, ".."))
                        return refuse(ret_why, -EBADMSG, text, "has \"..\" in its name");
                if (strlen(begin) > TREE_NAME_MAX)
                        return refuse(ret_why, -EBADMSG, text, "has a component longer than 255 bytes");
                if (p->n >= TREE_DEPTH_MAX)
                        return refuse(ret_why, -EBADMSG, text, "is more than 256 directories deep");
                p->components[p->n++] = begin;
        }
        return 0;
}

static TreeInode *inode_new(Tree *t, const TreeInode *attributes) {
        TreeInode *i;

        i = new(TreeInode, 1);
        if (!i)
                return NULL;
        *i = (TreeInode) {
                .mode = attributes->mode,
                .uid = attributes->uid,
                .gid = attributes->gid,
                .mtime = attributes->mtime,
                .device = attributes->device,
                .xattrs = attributes->xattrs,
        };
        if (attributes->target) {
                i->target = strdup(attributes->target);
                if (!i->target)
                        return mfree(i);
        }
        i->next = t->inodes;
        t->inodes = i;
        return i;
}

static void node_set_inode(TreeNode *n, TreeInode *i) {
        if (n->inode)
                n->inode->n_links--;
        n->inode = i;
        i->n_links++;
}

static Entry *entry_find(Tree *t, const TreeNode *parent, const char *name) {
        struct {
                uint32_t id;
                char name[TREE_NAME_MAX + 1];
        } key;
        size_t n = strlen(name);
        Entry *e;

        if (n > TREE_NAME_MAX)
                return NULL;
        key.id = ((const Entry *) parent)->id;
        memcpy(key.name, name, n);
        HASH_FIND(hh, t->table, &key, (unsigned) (sizeof(uint32_t) + n), e);
        return e;
}

static int entry_new(Tree *t, TreeNode *parent, const char *name, TreeInode *inode, char **ret_why,
                TreeNode **ret) {
        size_t n = strlen(name);
        Entry *e;

        if (t->n_entries >= t->max_entries) {
                *ret_why = strprintf("The archive holds more than %u entries.", t->max_entries);
                return *ret_why ? -EDQUOT : -ENOMEM;
        }
        e = calloc(1, sizeof(Entry) + n + 1);
        if (!e)
                return -ENOMEM;
        memcpy(e->name, name, n + 1);
        e->id = t->next_id++;
        e->node = (TreeNode) { .parent = parent, .name = e->name };
        if (parent) {
                e->parent_id = ((Entry *) parent)->id;
                HASH_ADD_KEYPTR(hh, t->table, &e->parent_id, (unsigned) (sizeof(uint32_t) + n), e);
                if (!e->hh.tbl) { /* uthash ran out of memory */
                        free(e);
                        return -ENOMEM;
                }
                e->node.sibling = parent->first_child;
                parent->first_child = &e->node;
                parent->n_children++;
                e->node.previous = &t->last->node;
                t->last->node.next = &e->node;
        }
        t->last = e;
        t->n_entries++;
        node_set_inode(&e->node, inode);
        *ret = &e->node;
        return 0;
}

int tree_new(uint32_t max_entries, Tree **ret) {
        static const TreeInode attributes = { .mode = S_IFDIR | 0755, .xattrs = TREE_NO_XATTRS };
        _cleanup_(tree_freep) Tree *t = NULL;
        char *why = NULL;
        TreeInode *i;
        TreeNode *n;
        int r;

        t = new0(Tree, 1);
        if (!t)
                return -ENOMEM;
        t->max_entries = MAX2(max_entries, 1u);
        i = inode_new(t, &attributes);
        if (!i)
                return -ENOMEM;
        r = entry_new(t, NULL, "", i, &why, &n);
        if (r < 0)
                return r;
        t->root = (Entry *) n;
        *ret = TAKE_PTR(t);
        return 0;
}

Tree *tree_free(Tree *t) {
        if (!t)
                return NULL;
        HASH_CLEAR(hh, t->table);
        while (t->last) {
                Entry *e = t->last;

                t->last = (Entry *) e->node.previous;
                free(e);
        }
        while (t->inodes) {
                TreeInode *i = t->inodes;

                t->inodes = i->next;
                free(i->target);
                free(i);
        }
        return mfree(t);
}

/* The directory that holds the last component; made where it is missing. */
static int tree_parent(
                Tree *t, const char *path, const Path *p, uint32_t mtime, TreeNode **ret, char **ret_why) {
        const TreeInode implied = { .mode = S_IFDIR | 0755, .mtime = mtime, .xattrs = TREE_NO_XATTRS };
        TreeNode *n = &t->root->node;
        int r;

        for (unsigned i = 0; i + 1 < p->n; i++) {
                TreeNode *child = (TreeNode *) entry_find(t, n, p->components[i]);

                if (!child) {
                        TreeInode *inode = inode_new(t, &implied);

                        if (!inode)
                                return -ENOMEM;
                        r = entry_new(t, n, p->components[i], inode, ret_why, &child);
                        if (r < 0)
                                return r;
                } else if (!S_ISDIR(child->inode->mode))
                        return refuse(ret_why, -EBADMSG, path,
                                        S_ISLNK(child->inode->mode)
                                                        ? "goes through a symbolic link"
                                                        : "goes through what is not a directory");
                n = child;
        }
        *ret = n;
        return 0;
}

/* Puts inode where the path leads, in the place of what was there. */
static int tree_place(Tree *t, const char *path, const Path *p, TreeInode *inode, char **ret_why) {
        TreeNode *parent, *n;
        int r;

        r = tree_parent(t, path, p, inode->mtime, &parent, ret_why);
        if (r < 0)
                return r;
        n = (TreeNode *) entry_find(t, parent, p->components[p->n - 1]);
        if (!n)
                return entry_new(t, parent, p->components[p->n - 1], inode, ret_why, &n);
        if (!S_ISDIR(inode->mode) && n->n_children > 0)
                return refuse(ret_why, -EBADMSG, path, "would replace a directory that is not empty");
        if (n->inode != inode)
                node_set_inode(n, inode);
        return 0;
}

int tree_add(Tree *t, const char *path, const TreeInode *attributes, TreeInode **ret, char **ret_why) {
        TreeInode *inode;
        Path p;
        int r;

        *ret_why = NULL;
        r = path_split(path, &p, ret_why);
        if (r < 0)
                return r;
        if (p.n == 0 && !S_ISDIR(attributes->mode))
                return refuse(ret_why, -EBADMSG, path, "has no name");
        inode = inode_new(t, attributes);
        if (!inode)
                return -ENOMEM;
        if (p.n == 0)
                node_set_inode(&t->root->node, inode);
        else {
                r = tree_place(t, path, &p, inode, ret_why);
                if (r < 0)
                        return r;
        }
        *ret = inode;
        return 0;
}

static TreeNode *find_components(Tree *t, const Path *p) {
        TreeNode *n = &t->root->node;

        for (unsigned i = 0; n && i < p->n; i++)
                n = (TreeNode *) entry_find(t, n, p->components[i]);
        return n;
}

int tree_link(Tree *t, const char *path, const char *target, char **ret_why) {
        TreeNode *n;
        Path p;
        int r;

        *ret_why = NULL;
        r = path_split(target, &p, ret_why);
        if (r < 0)
                return r;
        n = find_components(t, &p);
        if (!n || S_ISDIR(n->inode->mode)) {
                _cleanup_free_ char *from = name_quote(path), *to = name_quote(target);

                *ret_why = from && to ? strprintf("Entry %s is a hard link to %s, which is %s.", from, to,
                                                        n ? "a directory" : "not there")
                                      : NULL;
                return *ret_why ? -EBADMSG : -ENOMEM;
        }
        r = path_split(path, &p, ret_why);
        if (r < 0)
                return r;
        if (p.n == 0)
                return refuse(ret_why, -EBADMSG, path, "has no name");
        return tree_place(t, path, &p, n->inode, ret_why);
}

TreeNode *tree_root(Tree *t) {
        return &t->root->node;
}

TreeNode *tree_last(Tree *t) {
        return &t->last->node;
}

TreeInode *tree_inodes(Tree *t) {
        return t->inodes;
}

uint32_t tree_n_entries(const Tree *t) {
        return t->n_entries;
}

TreeNode *tree_find(Tree *t, const char *path) {
        _cleanup_free_ char *why = NULL;
        Path p;

        return path_split(path, &p, &why) < 0 ? NULL : find_components(t, &p);
}
