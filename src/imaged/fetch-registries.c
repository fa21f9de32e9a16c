/* SPDX-License-Identifier: Apache-2.0 */

/* registries.conf for skopeo, see the header. Prefixes and hosts hold nothing that would have to be quoted: they are parts of
 * references. */

#include "imaged/fetch-registries.h"

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"

static bool is_insecure(const ImagesConfig *c, const char *prefix) {
        _cleanup_free_ char *host = strndup(prefix, strcspn(prefix, "/"));

        return host && strv_contains(c->insecure, host);
}

static const char *yes_no(bool b) {
        return b ? "true" : "false";
}

static int add_registry(const ImagesConfig *c, const char *prefix, char ***lines) {
        int r;

        r = strv_extendf(lines, "\n[[registry]]\nprefix = \"%s\"\nlocation = \"%s\"\ninsecure = %s\n", prefix, prefix,
                        yes_no(is_insecure(c, prefix)));
        for (size_t i = 0; r >= 0 && i < c->n_mirrors; i++)
                if (streq(c->mirrors[i].prefix, prefix))
                        r = strv_extendf(lines, "[[registry.mirror]]\nlocation = \"%s\"\ninsecure = %s\n",
                                        c->mirrors[i].location, yes_no(is_insecure(c, c->mirrors[i].location)));
        return r;
}

char *registries_conf(const ImagesConfig *c) {
        _cleanup_strv_free_ char **prefixes = NULL, **lines = NULL;
        size_t n = 1;
        char *text, *p;
        int r;

        r = strv_extend(&lines, "# Made of images.conf(5) for one pull.\nunqualified-search-registries = []\n");
        for (size_t i = 0; r >= 0 && i < c->n_mirrors; i++)
                if (!strv_contains(prefixes, c->mirrors[i].prefix))
                        r = strv_extend(&prefixes, c->mirrors[i].prefix);
        STRV_FOREACH(host, c->insecure)
                if (r >= 0 && !strv_contains(prefixes, *host))
                        r = strv_extend(&prefixes, *host);
        STRV_FOREACH(prefix, prefixes)
                if (r >= 0)
                        r = add_registry(c, *prefix, &lines);
        if (r < 0)
                return NULL;
        STRV_FOREACH(line, lines)
                n += strlen(*line);
        p = text = new(char, n);
        if (!text)
                return NULL;
        STRV_FOREACH(line, lines)
                p = stpcpy(p, *line);
        return text;
}
