/* SPDX-License-Identifier: Apache-2.0 */

#include "shared/conf-file.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "basic/alloc-util.h"
#include "basic/fd-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"

#define FILE_MAX (1024u * 1024u)

static int report(conf_problem_t problem, void *userdata, const char *path, unsigned line, const char *what) {
        _cleanup_free_ char *s = strprintf("%s:%u: %s", path, line, what);

        problem(s ?: path, userdata);
        return 1;
}

static int parse_assignment(const char *path, unsigned line, const char *section, char *text, conf_assign_t assign,
                            conf_problem_t problem, void *userdata) {
        _cleanup_free_ char *why = NULL, *what = NULL;
        char *eq, *key, *value;
        int r;

        eq = strchr(text, '=');
        if (!eq)
                return report(problem, userdata, path, line, "Neither 'Key=value' nor '[Section]', ignored.");
        *eq = 0;
        key = strstrip(text);
        value = strstrip(eq + 1);
        if (!section)
                return report(problem, userdata, path, line, "Assignment before the first [Section], ignored.");
        r = assign(section, key, value, userdata, &why);
        if (r == -ENOENT)
                what = strprintf("%s=: There is no such key in section [%s], ignored.", key, section);
        else if (r < 0)
                what = strprintf("%s=%s: %s The value is ignored.", key, value, why ?: strerror(-r));
        else
                return 0;
        return report(problem, userdata, path, line, what ?: "Out of memory.");
}

int conf_parse_buffer(const char *path, char *text, conf_assign_t assign, conf_problem_t problem, void *userdata) {
        _cleanup_free_ char *section = NULL;
        unsigned line = 0;
        int problems = 0;

        for (char *p = text, *next; p; p = next) {
                char begin = p[strspn(p, " \t")];
                bool is_comment = begin == '#' || begin == ';';
                unsigned first = ++line;
                char *l, *e;

                next = strchr(p, '\n');
                /* Join continued lines in place: "a \<newline> b" becomes "a   b". Comments do not go on. */
                while (!is_comment && next && next > p && next[-1] == '\\') {
                        next[-1] = next[0] = ' ';
                        line++;
                        next = strchr(next, '\n');
                }
                if (next)
                        *next++ = 0;
                l = strstrip(p);
                if (!*l || is_comment)
                        continue;
                if (*l != '[') {
                        problems += parse_assignment(path, first, section, l, assign, problem, userdata);
                        continue;
                }
                e = strchr(l, ']');
                if (!e || e[1]) {
                        problems += report(problem, userdata, path, first, "A section must be '[Name]', ignored.");
                        continue;
                }
                *e = 0;
                if (free_and_strdup(&section, l + 1) < 0)
                        return -ENOMEM;
        }
        return problems;
}

static int parse_path(const char *path, conf_assign_t assign, conf_problem_t problem, void *userdata) {
        _cleanup_free_ char *text = NULL;
        size_t n;
        int r;

        r = read_full_file(AT_FDCWD, path, FILE_MAX, &text, &n);
        if (r == -ENOENT)
                return 0;
        if (r < 0) {
                _cleanup_free_ char *s = strprintf("%s: Cannot be read: %s.", path, strerror(-r));

                problem(s ?: path, userdata);
                return r;
        }
        if (strlen(text) != n)
                return report(problem, userdata, path, 1, "Holds a NUL byte; what follows it is ignored.");
        return conf_parse_buffer(path, text, assign, problem, userdata);
}

typedef struct DropIn {
        const char *name; /* points into path */
        char *path;
} DropIn;

static int drop_in_compare(const void *a, const void *b) {
        return strcmp(((const DropIn *) a)->name, ((const DropIn *) b)->name);
}

/* A drop-in of an earlier root hides one of the same name in a later root. */
static int collect_drop_ins(const char *dir, DropIn **list, size_t *n, size_t *allocated) {
        struct dirent *de;
        DIR *d;

        d = opendir(dir);
        if (!d)
                return errno == ENOENT ? 0 : negative_errno();
        while ((de = readdir(d))) {
                size_t l = strlen(de->d_name);
                bool hidden = false;
                char *path;

                if (l < 6 || !streq(de->d_name + l - 5, ".conf") || de->d_name[0] == '.')
                        continue;
                for (size_t i = 0; i < *n; i++)
                        hidden = hidden || streq((*list)[i].name, de->d_name);
                if (hidden)
                        continue;
                path = strprintf("%s/%s", dir, de->d_name);
                if (!path || !GREEDY_REALLOC(*list, *allocated, *n + 1)) {
                        free(path);
                        closedir(d);
                        return -ENOMEM;
                }
                (*list)[(*n)++] = (DropIn) { strrchr(path, '/') + 1, path };
        }
        closedir(d);
        return 0;
}

int conf_parse(const char *const *roots, const char *name, conf_assign_t assign, conf_problem_t problem,
               void *userdata) {
        _cleanup_free_ DropIn *list = NULL;
        size_t n = 0, allocated = 0;
        int r, problems = 0, error = 0;

        for (const char *const *root = roots; *root; root++) {
                _cleanup_free_ char *path = strprintf("%s/%s", *root, name);

                if (!path)
                        return -ENOMEM;
                if (access(path, F_OK) < 0)
                        continue;
                r = parse_path(path, assign, problem, userdata);
                if (r < 0)
                        error = r;
                else
                        problems += r;
                break; /* the first one found hides the others */
        }
        for (const char *const *root = roots; *root; root++) {
                _cleanup_free_ char *dir = strprintf("%s/%s.d", *root, name);

                r = dir ? collect_drop_ins(dir, &list, &n, &allocated) : -ENOMEM;
                if (r < 0)
                        error = r;
        }
        if (n > 0)
                qsort(list, n, sizeof(*list), drop_in_compare);
        for (size_t i = 0; i < n; i++) {
                r = parse_path(list[i].path, assign, problem, userdata);
                if (r < 0)
                        error = r;
                else
                        problems += r;
                free(list[i].path);
        }
        return error < 0 ? error : problems;
}
