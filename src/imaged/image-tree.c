/* SPDX-License-Identifier: Apache-2.0 */

/* The tree of an image in the making, see the header. Owned by the worker's import; does no I/O. */

#include "imaged/image-tree.h"

#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "basic/alloc-util.h"
#include "basic/sip-hash.h"
#include "basic/string-util.h"
#include "imaged/arena.h"

#define BUCKETS_MIN 1024u

struct Tree {
        Arena arena;
        TreeNode *root;
        TreeNode **buckets; /* all nodes but the root, by parent and name; a power of two */
        size_t n_buckets;
        SipKey key;
        uint32_t n_nodes, max_nodes; /* with those that are no longer there */
        uint32_t n_entries, n_inodes;
        uint8_t layer;
};

/* The components of a path, cut out in place. */
typedef struct Path {
        char buffer[TREE_PATH_MAX];
        const char *components[TREE_DEPTH_MAX];
        unsigned n;
} Path;

/* On the way to an entry. */
typedef struct Walk {
        Tree *tree;
        const char *path; /* for sentences */
        bool create;      /* directories that are missing */
        uint32_t mtime;   /* theirs */
        unsigned n_links;
        char **ret_why;
} Walk;

static int refuse(char **ret_why, int error, const char *path, const char *what) {
        _cleanup_free_ char *quoted = name_quote(path);

        *ret_why = quoted ? strprintf("Entry %s %s.", quoted, what) : NULL;
        return *ret_why ? error : -ENOMEM;
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
        /* "/" alone is what kaniko calls the root. */
        if (text[0] == '/' && text[strspn(text, "/")])
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

        i = arena_alloc(&t->arena, sizeof(TreeInode));
        if (!i)
                return NULL;
        *i = (TreeInode){
                .mode = attributes->mode,
                .uid = attributes->uid,
                .gid = attributes->gid,
                .mtime = attributes->mtime,
                .device = attributes->device,
                .xattrs = attributes->xattrs,
                .location = UINT64_MAX,
        };
        if (S_ISLNK(i->mode)) {
                size_t n = strlen(strempty(attributes->target)) + 1;
                char *target = arena_alloc(&t->arena, n);

                if (!target)
                        return NULL;
                memcpy(target, strempty(attributes->target), n);
                i->target = target;
        }
        return i;
}

/* NULL: there is no longer anything of this name. */
static void node_set_inode(Tree *t, TreeNode *n, TreeInode *i) {
        if (i)
                t->n_inodes += i->n_links++ == 0;
        if (n->inode)
                t->n_inodes -= --n->inode->n_links == 0;
        if (!n->inode != !i) {
                t->n_entries += i ? 1u : UINT32_MAX;
                if (n->parent)
                        n->parent->n_children += i ? 1u : UINT32_MAX;
        }
        n->inode = i;
}

/* Marks it and what it is in as something this layer has. */
static void node_touch(Tree *t, TreeNode *n) {
        for (; n && n->layer != t->layer; n = n->parent)
                n->layer = t->layer;
}

static TreeNode **bucket_of(Tree *t, const TreeNode *parent, const char *name, size_t n) {
        struct {
                const TreeNode *parent;
                char name[TREE_NAME_MAX + 1];
        } key;

        key.parent = parent;
        memcpy(key.name, name, n);
        return &t->buckets[sip_hash(&t->key, &key, sizeof(key.parent) + n) & (t->n_buckets - 1)];
}

static bool node_is(const TreeNode *n, const TreeNode *parent, const char *name, size_t length) {
        return n->parent == parent && strncmp(n->name, name, length) == 0 && !n->name[length];
}

/* Also one that is no longer there. */
static TreeNode *node_find(Tree *t, const TreeNode *parent, const char *name, size_t length) {
        TreeNode *n;

        if (length > TREE_NAME_MAX)
                return NULL;
        n = *bucket_of(t, parent, name, length);
        while (n && !node_is(n, parent, name, length))
                n = n->next_in_bucket;
        return n;
}

static int buckets_grow(Tree *t) {
        TreeNode **old = t->buckets;
        size_t n = t->n_buckets;

        t->buckets = new0(TreeNode *, n * 2);
        if (!t->buckets) {
                t->buckets = old;
                return -ENOMEM;
        }
        t->n_buckets = n * 2;
        for (size_t i = 0; i < n; i++)
                while (old[i]) {
                        TreeNode *e = old[i], **b = bucket_of(t, e->parent, e->name, strlen(e->name));

                        old[i] = e->next_in_bucket;
                        e->next_in_bucket = *b;
                        *b = e;
                }
        free(old);
        return 0;
}

static void node_insert(Tree *t, TreeNode *n, TreeNode *parent, size_t length) {
        TreeNode **b = bucket_of(t, parent, n->name, length);

        n->parent = parent;
        n->depth = parent->depth + 1;
        n->next_in_bucket = *b;
        *b = n;
        n->sibling = parent->first_child;
        parent->first_child = n;
}

/* Makes one without inode, at most TREE_NAME_MAX long. */
static int node_new(Tree *t, const char *path, TreeNode *parent, const char *name, size_t length,
                TreeNode **ret, char **ret_why) {
        TreeNode *n;

        if (t->n_nodes >= t->max_nodes) {
                *ret_why = strprintf("The archive holds more than %u entries.", t->max_nodes);
                return *ret_why ? -EDQUOT : -ENOMEM;
        }
        if (parent && parent->depth >= TREE_DEPTH_MAX)
                return refuse(ret_why, -EBADMSG, path, "is more than 256 directories deep");
        if (t->n_nodes >= t->n_buckets && buckets_grow(t) < 0)
                return -ENOMEM;
        n = arena_alloc(&t->arena, sizeof(TreeNode) + length + 1);
        if (!n)
                return -ENOMEM;
        memcpy(n->name, name, length);
        if (parent)
                node_insert(t, n, parent, length);
        t->n_nodes++;
        *ret = n;
        return 0;
}

static int tree_start(Tree *t) {
        static const TreeInode attributes = { .mode = S_IFDIR | 0755, .xattrs = TREE_NO_XATTRS };
        char *why;
        TreeInode *i;
        int r;

        if (getrandom(&t->key, sizeof(t->key), 0) != sizeof(t->key))
                return -EIO;
        t->buckets = new0(TreeNode *, BUCKETS_MIN);
        t->n_buckets = BUCKETS_MIN;
        i = inode_new(t, &attributes);
        if (!t->buckets || !i)
                return -ENOMEM;
        r = node_new(t, "", NULL, "", 0, &t->root, &why);
        if (r < 0)
                return r;
        node_set_inode(t, t->root, i);
        node_touch(t, t->root);
        return 0;
}

int tree_new(uint32_t max_entries, Tree **ret) {
        _cleanup_(tree_freep) Tree *t = NULL;
        int r;

        t = new (Tree, 1);
        if (!t)
                return -ENOMEM;
        *t = (Tree){ .max_nodes = MAX2(max_entries, 1u), .layer = 1 };
        r = tree_start(t);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(t);
        return 0;
}

Tree *tree_free(Tree *t) {
        if (!t)
                return NULL;
        free(t->buckets);
        arena_done(&t->arena);
        return mfree(t);
}

void tree_next_layer(Tree *t) {
        assert(t->layer < UINT8_MAX);
        t->layer++;
}

static int follow(Walk *w, TreeNode *link, TreeNode **ret);

static int make_directory(Walk *w, TreeNode *parent, const char *name, size_t length, TreeNode **node) {
        const TreeInode implied = { .mode = S_IFDIR | 0755, .mtime = w->mtime, .xattrs = TREE_NO_XATTRS };
        TreeInode *inode;
        int r;

        if (!*node) {
                r = node_new(w->tree, w->path, parent, name, length, node, w->ret_why);
                if (r < 0)
                        return r;
        }
        inode = inode_new(w->tree, &implied);
        if (!inode)
                return -ENOMEM;
        node_set_inode(w->tree, *node, inode);
        return 0;
}

/* From a directory into one in it. *ret is NULL when it is not there and not to be made. */
static int descend(Walk *w, TreeNode *n, const char *name, size_t length, TreeNode **ret) {
        TreeNode *child = node_find(w->tree, n, name, length);
        int r;

        if (length > TREE_NAME_MAX)
                return refuse(w->ret_why, -EBADMSG, w->path, "has a component longer than 255 bytes");
        *ret = NULL;
        if (!child || !child->inode) {
                if (!w->create)
                        return 0;
                r = make_directory(w, n, name, length, &child);
                if (r < 0)
                        return r;
        }
        if (S_ISLNK(child->inode->mode))
                return follow(w, child, ret);
        if (S_ISDIR(child->inode->mode))
                *ret = child;
        else if (w->create)
                return refuse(w->ret_why, -EBADMSG, w->path, "goes through what is not a directory");
        return 0;
}

/* To where a symbolic link of a lower layer leads. Recursive, as deep as links are allowed. */
static int follow(Walk *w, TreeNode *link, TreeNode **ret) {
        const char *p = link->inode->target;
        TreeNode *n = *p == '/' ? w->tree->root : link->parent;
        int r;

        if (link->layer == w->tree->layer)
                return refuse(w->ret_why, -EBADMSG, w->path, "goes through a symbolic link");
        if (++w->n_links > TREE_LINKS_MAX)
                return refuse(w->ret_why, -EBADMSG, w->path, "goes through more than 40 symbolic links");
        while (n && *p) {
                size_t length = strcspn(p, "/");

                if (length == 2 && p[0] == '.' && p[1] == '.')
                        n = n->parent ?: n;
                else if (length > 1 || (length == 1 && *p != '.')) {
                        r = descend(w, n, p, length, &n);
                        if (r < 0)
                                return r;
                }
                p += length + (p[length] == '/');
        }
        *ret = n;
        return 0;
}

/* The directory that holds the last component, NULL when it is not there and not to be made. */
static int walk_to_parent(Walk *w, const Path *p, TreeNode **ret) {
        TreeNode *n = w->tree->root;
        int r;

        for (unsigned i = 0; n && i + 1 < p->n; i++) {
                r = descend(w, n, p->components[i], strlen(p->components[i]), &n);
                if (r < 0)
                        return r;
        }
        *ret = n;
        return 0;
}

static void remove_all(Tree *t, TreeNode *n) {
        for (TreeNode *c = n->first_child; c && n->n_children > 0; c = c->sibling)
                if (c->inode)
                        remove_all(t, c);
        node_set_inode(t, n, NULL);
}

/* Takes away what is in the directory and not of this layer. Once for a directory and layer: what comes
 * later is of it. */
static void hide_children(Tree *t, TreeNode *n) {
        if (n->hidden == t->layer)
                return;
        n->hidden = t->layer;
        for (TreeNode *c = n->first_child; c && n->n_children > 0; c = c->sibling)
                if (c->inode && c->layer != t->layer)
                        remove_all(t, c);
                else if (c->inode)
                        hide_children(t, c);
}

/* A directory gives way to a file when this layer has put nothing into it. */
static int clear_directory(Tree *t, const char *path, TreeNode *n, char **ret_why) {
        hide_children(t, n);
        if (n->n_children > 0)
                return refuse(ret_why, -EBADMSG, path, "would replace a directory that is not empty");
        return 0;
}

/* Puts inode where the path leads, in the place of what was there. */
static int tree_place(Tree *t, const char *path, const Path *p, TreeInode *inode, char **ret_why) {
        Walk w = { .tree = t, .path = path, .create = true, .mtime = inode->mtime, .ret_why = ret_why };
        const char *name = p->components[p->n - 1];
        TreeNode *parent, *n;
        int r;

        r = walk_to_parent(&w, p, &parent);
        if (r < 0)
                return r;
        n = node_find(t, parent, name, strlen(name));
        if (!n)
                r = node_new(t, path, parent, name, strlen(name), &n, ret_why);
        else if (n->n_children > 0 && !S_ISDIR(inode->mode))
                r = clear_directory(t, path, n, ret_why);
        if (r < 0)
                return r;
        node_set_inode(t, n, inode);
        node_touch(t, n);
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
                node_set_inode(t, t->root, inode);
        else {
                r = tree_place(t, path, &p, inode, ret_why);
                if (r < 0)
                        return r;
        }
        *ret = inode;
        return 0;
}

/* The inode of a name, whatever it is; NULL when there is none. */
static int find_target(Tree *t, const char *path, const Path *p, TreeInode **ret, char **ret_why) {
        Walk w = { .tree = t, .path = path, .ret_why = ret_why };
        TreeNode *parent, *n = t->root;
        int r;

        *ret = NULL;
        if (p->n > 0) {
                r = walk_to_parent(&w, p, &parent);
                if (r < 0 || !parent)
                        return r;
                n = node_find(t, parent, p->components[p->n - 1], strlen(p->components[p->n - 1]));
        }
        *ret = n ? n->inode : NULL;
        return 0;
}

static int bad_link(const char *path, const char *target, bool directory, char **ret_why) {
        _cleanup_free_ char *from = name_quote(path), *to = name_quote(target);

        *ret_why = from && to ? strprintf("Entry %s is a hard link to %s, which is %s.", from, to,
                                                directory ? "a directory" : "not there")
                              : NULL;
        return *ret_why ? -EBADMSG : -ENOMEM;
}

int tree_link(Tree *t, const char *path, const char *target, char **ret_why) {
        TreeInode *inode;
        Path p;
        int r;

        *ret_why = NULL;
        /* Some write the name it has in the image, with a "/", rather than that in the archive. */
        r = path_split(target + strspn(target, "/"), &p, ret_why);
        if (r >= 0)
                r = find_target(t, target, &p, &inode, ret_why);
        if (r < 0)
                return r;
        if (!inode || S_ISDIR(inode->mode))
                return bad_link(path, target, inode, ret_why);
        r = path_split(path, &p, ret_why);
        if (r < 0)
                return r;
        if (p.n == 0)
                return refuse(ret_why, -EBADMSG, path, "has no name");
        return tree_place(t, path, &p, inode, ret_why);
}

int tree_hide(Tree *t, const char *path, bool below, char **ret_why) {
        Walk w = { .tree = t, .path = path, .ret_why = ret_why };
        TreeNode *n = t->root;
        Path p;
        int r;

        *ret_why = NULL;
        r = path_split(path, &p, ret_why);
        if (r < 0)
                return r;
        if (p.n > 0) {
                r = walk_to_parent(&w, &p, &n);
                if (r < 0 || !n)
                        return r;
                if (below)
                        r = descend(&w, n, p.components[p.n - 1], strlen(p.components[p.n - 1]), &n);
                else
                        n = node_find(t, n, p.components[p.n - 1], strlen(p.components[p.n - 1]));
        }
        if (r < 0 || !n || !n->inode)
                return r;
        if (!below && n->layer != t->layer && n->parent)
                remove_all(t, n);
        else
                hide_children(t, n);
        return 0;
}

static int compare_names(const void *a, const void *b) {
        return strcmp((*(TreeNode *const *) a)->name, (*(TreeNode *const *) b)->name);
}

/* With an array for as long as it takes: merging the list itself goes all over the memory. */
int tree_sort(TreeNode *directory) {
        _cleanup_free_ TreeNode **children = NULL;
        TreeNode **end = &directory->first_child;
        size_t n = 0, k = 0;

        for (TreeNode *c = directory->first_child; c; c = c->sibling)
                n++;
        children = new (TreeNode *, MAX2(n, 1u));
        if (!children)
                return -ENOMEM;
        for (TreeNode *c = directory->first_child; c; c = c->sibling)
                children[k++] = c;
        qsort(children, n, sizeof(TreeNode *), compare_names);
        for (size_t i = 0; i < n; i++) {
                *end = children[i];
                end = &children[i]->sibling;
        }
        *end = NULL;
        return 0;
}

TreeNode *tree_root(Tree *t) {
        return t->root;
}

uint32_t tree_n_entries(const Tree *t) {
        return t->n_entries;
}

uint32_t tree_n_inodes(const Tree *t) {
        return t->n_inodes;
}

TreeNode *tree_find(Tree *t, const char *path) {
        _cleanup_free_ char *why = NULL;
        TreeNode *n = t->root;
        Path p;

        if (path_split(path, &p, &why) < 0)
                return NULL;
        for (unsigned i = 0; n && i < p.n; i++)
                n = node_find(t, n, p.components[i], strlen(p.components[i]));
        return n && n->inode ? n : NULL;
}
