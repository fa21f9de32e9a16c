/* SPDX-License-Identifier: Apache-2.0 */

/* The table of the VMs. What it should hold is kept here, on behalf of hero-computed's manager, so that it
 * can be written again as a whole; the kernel has the copy that works. */

#include "network/filter.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <inttypes.h>
#include <malloc.h>
#include <net/if.h>
#include <stdio.h>
#include <uthash.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "basic/strv.h"
#include "network/filter-obstacles.h"
#include "network/filter-ruleset.h"
#include "network/nft-client.h"
#include "network/nft-watch.h"

typedef struct Tap {
        char name[IFNAMSIZ];
        char *owner;
        struct in6_addr address6;
        struct in_addr address4;
        uint64_t transmit_max; /* UINT64_MAX: no limit */
        UT_hash_handle hh;
} Tap;

struct Filter {
        NftClient *client;
        NftWatch *watch;
        Tap *taps;
        bool installed;
        char *baseline; /* how the kernel shows the table without what is in its sets */
        char error[300];
};

static Tap *tap_free(Tap *t) {
        if (!t)
                return NULL;
        free(t->owner);
        return mfree(t);
}
DEFINE_TRIVIAL_CLEANUP_FUNC(Tap *, tap_free);

static bool has_address6(const Tap *t) {
        return !IN6_IS_ADDR_UNSPECIFIED(&t->address6);
}

static bool has_address4(const Tap *t) {
        return t->address4.s_addr != INADDR_ANY;
}

static bool has_limit(const Tap *t) {
        return t->transmit_max != UINT64_MAX;
}

int filter_new(Filter **ret) {
        _cleanup_(filter_freep) Filter *f = NULL;
        int r;

        f = new0(Filter, 1);
        if (!f)
                return -ENOMEM;
        r = nft_client_new(&f->client);
        if (r < 0)
                return r;
        r = nft_watch_new(FILTER_TABLE, &f->watch);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(f);
        return 0;
}

Filter *filter_free(Filter *f) {
        Tap *t, *tmp;

        if (!f)
                return NULL;
        HASH_ITER(hh, f->taps, t, tmp) {
                HASH_DEL(f->taps, t);
                tap_free(t);
        }
        nft_watch_free(f->watch);
        nft_client_free(f->client);
        free(f->baseline);
        return mfree(f);
}

const char *filter_error(const Filter *f) {
        return f->error;
}

static int run(Filter *f, const char *commands) {
        int r;

        r = nft_client_run(f->client, commands);
        if (r < 0)
                (void) snprintf(f->error, sizeof(f->error), "%s", nft_client_error(f->client));
        return r;
}

/* Commands */

typedef enum Set {
        SET_TAPS,
        SET_SOURCES6,
        SET_SOURCES4,
        SET_MASQUERADED,
        SET_LIMITED,
        SET_PEERS6,
        SET_PEERS4,
        _SET_MAX,
} Set;

static const char *const set_names[_SET_MAX] = {
        [SET_TAPS] = "taps",
        [SET_SOURCES6] = "sources6",
        [SET_SOURCES4] = "sources4",
        [SET_MASQUERADED] = "masqueraded",
        [SET_LIMITED] = "limited",
        [SET_PEERS6] = "peers6",
        [SET_PEERS4] = "peers4",
};

/* The elements of each set, "a, b, ". One command per set and not one per element: libnftables would take
 * seconds for 1,000 TAPs. */
typedef struct Elements {
        FILE *streams[_SET_MAX];
        char *texts[_SET_MAX];
        size_t sizes[_SET_MAX];
        size_t counts[_SET_MAX];
} Elements;

static int elements_init(Elements *e) {
        for (size_t i = 0; i < _SET_MAX; i++) {
                e->streams[i] = open_memstream(&e->texts[i], &e->sizes[i]);
                if (!e->streams[i])
                        return -ENOMEM;
        }
        return 0;
}

static void elements_done(Elements *e) {
        for (size_t i = 0; i < _SET_MAX; i++) {
                if (e->streams[i])
                        (void) fclose(e->streams[i]);
                free(e->texts[i]);
        }
}

static void add_address(Elements *e, Set set, const char *tap, int family, const void *address) {
        char text[INET6_ADDRSTRLEN];

        (void) inet_ntop(family, address, text, sizeof(text));
        if (tap)
                fprintf(e->streams[set], "\"%s\" . ", tap);
        fprintf(e->streams[set], "%s, ", text);
        e->counts[set]++;
}

static void print_limit(FILE *s, const Tap *t) {
        fprintf(s, "\"%s\" limit rate over %" PRIu64 " bytes/second burst %" PRIu64 " bytes, ", t->name,
                        MIN2(t->transmit_max, FILTER_TRANSMIT_MAX), FILTER_TRANSMIT_BURST);
}

static void add_tap(Elements *e, const Tap *t) {
        fprintf(e->streams[SET_TAPS], "\"%s\", ", t->name);
        e->counts[SET_TAPS]++;
        if (has_address6(t))
                add_address(e, SET_SOURCES6, t->name, AF_INET6, &t->address6);
        if (has_address4(t)) {
                add_address(e, SET_SOURCES4, t->name, AF_INET, &t->address4);
                add_address(e, SET_MASQUERADED, NULL, AF_INET, &t->address4);
        }
        if (has_limit(t)) {
                print_limit(e->streams[SET_LIMITED], t);
                e->counts[SET_LIMITED]++;
        }
}

static bool are_peers(const Tap *a, const Tap *b) {
        return a != b && a->owner && streq_ptr(a->owner, b->owner);
}

/* That from can send to to. */
static void add_peer(Elements *e, const Tap *from, const Tap *to) {
        if (!are_peers(from, to))
                return;
        if (has_address6(to))
                add_address(e, SET_PEERS6, from->name, AF_INET6, &to->address6);
        if (has_address4(to))
                add_address(e, SET_PEERS4, from->name, AF_INET, &to->address4);
}

/* t, and how it stands to those known; or all that are known when t is NULL. */
static void add_elements(Elements *e, const Filter *f, const Tap *t) {
        if (t) {
                add_tap(e, t);
                for (const Tap *o = f->taps; o; o = o->hh.next) {
                        add_peer(e, t, o);
                        add_peer(e, o, t);
                }
                return;
        }
        for (const Tap *a = f->taps; a; a = a->hh.next) {
                add_tap(e, a);
                for (const Tap *b = f->taps; b; b = b->hh.next)
                        add_peer(e, a, b);
        }
}

/* What add_elements() says as commands behind those in before. */
static int element_commands(
                const Filter *f, const char *before, const char *verb, const Tap *t, char **ret) {
        _cleanup_(elements_done) Elements e = {};
        _cleanup_free_ char *text = NULL;
        size_t size;
        FILE *s;
        int r;

        r = elements_init(&e);
        if (r < 0)
                return r;
        add_elements(&e, f, t);
        s = open_memstream(&text, &size);
        if (!s)
                return -ENOMEM;
        fputs(before, s);
        for (size_t i = 0; i < _SET_MAX && r >= 0; i++)
                if (fflush(e.streams[i]) != 0)
                        r = -ENOMEM;
                else if (e.counts[i] > 0)
                        fprintf(s, "%s element inet " FILTER_TABLE " %s { %s }\n", verb, set_names[i],
                                        e.texts[i]);
        if (fclose(s) != 0 || r < 0)
                return -ENOMEM;
        *ret = TAKE_PTR(text);
        return 0;
}

/* The kernel cannot change what an element has: another takes its place, in the same transaction. */
static int limit_commands(const Tap *t, bool limited_before, char **ret) {
        _cleanup_free_ char *text = NULL;
        size_t size;
        FILE *s;

        s = open_memstream(&text, &size);
        if (!s)
                return -ENOMEM;
        if (limited_before)
                fprintf(s, "delete element inet " FILTER_TABLE " limited { \"%s\" }\n", t->name);
        if (has_limit(t)) {
                fputs("add element inet " FILTER_TABLE " limited { ", s);
                print_limit(s, t);
                fputs("}\n", s);
        }
        if (fclose(s) != 0)
                return -ENOMEM;
        *ret = TAKE_PTR(text);
        return 0;
}

/* The table */

/* Takes the elements out of what nft shows and counts them by set, and takes off what differs without
 * meaning (handles). *ret_table is NULL when there is no table. */
static int show_table(Filter *f, bool terse, size_t counts[static _SET_MAX], char **ret_table) {
        json_t *objects, *o;
        size_t i;
        int r;

        memset(counts, 0, _SET_MAX * sizeof(counts[0]));
        *ret_table = NULL;
        r = nft_client_list(f->client, "list table inet " FILTER_TABLE, terse, &objects);
        if (r == -ENOENT)
                return 0;
        if (r < 0) {
                (void) snprintf(f->error, sizeof(f->error), "%s", nft_client_error(f->client));
                return r;
        }
        json_array_foreach(objects, i, o) {
                json_t *value = json_object_iter_value(json_object_iter(o));
                const char *name = strempty(json_string_value(json_object_get(value, "name")));

                (void) json_object_del(value, "handle");
                if (!json_object_get(o, "set"))
                        continue;
                for (size_t k = 0; k < _SET_MAX; k++)
                        if (streq(name, set_names[k]))
                                counts[k] = json_array_size(json_object_get(value, "elem"));
                (void) json_object_del(value, "elem");
        }
        *ret_table = json_dumps(objects, JSON_COMPACT | JSON_SORT_KEYS);
        json_decref(objects);
        return *ret_table ? 0 : -ENOMEM;
}

/* libnftables takes megabytes to speak of 1,000 TAPs, in pieces that malloc() would keep. */
static void give_memory_back(void) {
        (void) malloc_trim(0);
}

int filter_install(Filter *f) {
        _cleanup_free_ char *commands = NULL, *table = NULL;
        size_t counts[_SET_MAX];
        int r;

        /* "add" so that "delete" finds one; the kernel sees one change. */
        r = element_commands(f,
                        "add table inet " FILTER_TABLE "\n"
                        "delete table inet " FILTER_TABLE "\n" FILTER_RULESET,
                        "add", NULL, &commands);
        if (r < 0)
                return r;
        r = run(f, commands);
        if (r < 0)
                return r;
        f->installed = true;
        r = show_table(f, true, counts, &table);
        if (r < 0)
                return r;
        free(f->baseline);
        f->baseline = TAKE_PTR(table);
        give_memory_back();
        return 0;
}

int filter_uninstall(Filter *f) {
        f->installed = false;
        f->baseline = mfree(f->baseline);
        return run(f, "add table inet " FILTER_TABLE "\ndelete table inet " FILTER_TABLE "\n");
}

int filter_check(Filter *f) {
        _cleanup_(elements_done) Elements e = {};
        _cleanup_free_ char *table = NULL;
        size_t counts[_SET_MAX];
        int r;

        r = elements_init(&e);
        if (r < 0)
                return r;
        r = show_table(f, false, counts, &table);
        if (r < 0)
                return r;
        add_elements(&e, f, NULL);
        give_memory_back();
        return table && streq_ptr(table, f->baseline) && memcmp(counts, e.counts, sizeof(counts)) == 0;
}

/* TAPs */

static bool name_is_valid(const char *s) {
        size_t n = strlen(strempty(s));

        if (n == 0 || n >= IFNAMSIZ || !isalnum((unsigned char) s[0]))
                return false;
        return strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == n;
}

static bool address6_is_valid(const struct in6_addr *a) {
        return !IN6_IS_ADDR_MULTICAST(a) && !IN6_IS_ADDR_LINKLOCAL(a) && !IN6_IS_ADDR_LOOPBACK(a) &&
               !IN6_IS_ADDR_V4MAPPED(a);
}

static bool address4_is_valid(struct in_addr a) {
        uint32_t h = ntohl(a.s_addr);

        return h == 0 || (h >> 24 != 0 && h >> 24 != 127 && h >> 16 != 0xa9fe && h >> 28 < 0xe);
}

/* Whether t can stand beside those that are there. */
static int check_tap(const Filter *f, const Tap *t) {
        unsigned peers = 0;

        if (!address6_is_valid(&t->address6) || !address4_is_valid(t->address4))
                return -EINVAL;
        for (const Tap *o = f->taps; o; o = o->hh.next) {
                if (streq(o->name, t->name))
                        return -EEXIST;
                if ((has_address6(t) && IN6_ARE_ADDR_EQUAL(&o->address6, &t->address6)) ||
                                (has_address4(t) && o->address4.s_addr == t->address4.s_addr))
                        return -EADDRINUSE;
                peers += are_peers(t, o);
        }
        return peers < FILTER_OWNER_TAPS_MAX ? 0 : -E2BIG;
}

int filter_add(Filter *f, const FilterTap *tap) {
        _cleanup_free_ char *commands = NULL;
        _cleanup_(tap_freep) Tap *t = NULL;
        Tap *added;
        int r;

        if (!name_is_valid(tap->tap))
                return -EINVAL;
        t = new0(Tap, 1);
        if (!t)
                return -ENOMEM;
        memcpy(t->name, tap->tap, strlen(tap->tap));
        t->address6 = tap->address6;
        t->address4 = tap->address4;
        t->transmit_max = tap->transmit_max ?: UINT64_MAX;
        if (free_and_strdup(&t->owner, tap->owner) < 0)
                return -ENOMEM;
        r = check_tap(f, t);
        if (r < 0)
                return r;
        if (f->installed) {
                r = element_commands(f, "", "add", t, &commands);
                if (r < 0)
                        return r;
                r = run(f, commands);
                if (r < 0 && r != -ENOENT)
                        return r;
        }
        added = TAKE_PTR(t);
        HASH_ADD_STR(f->taps, name, added);
        if (!f->installed || r >= 0)
                return 0;
        /* Somebody has taken the table away. */
        r = filter_install(f);
        if (r < 0) {
                HASH_DEL(f->taps, added);
                tap_free(added);
        }
        return r;
}

static int replace_limit(Filter *f, const Tap *t, bool limited_before) {
        _cleanup_free_ char *commands = NULL;
        int r;

        r = limit_commands(t, limited_before, &commands);
        if (r < 0)
                return r;
        r = run(f, commands);
        return r == -ENOENT ? filter_install(f) : r;
}

int filter_set_transmit_max(Filter *f, const char *tap, uint64_t transmit_max) {
        uint64_t before;
        int r = 0;
        Tap *t;

        HASH_FIND_STR(f->taps, tap, t);
        if (!t)
                return -ENOENT;
        before = t->transmit_max;
        t->transmit_max = transmit_max ?: UINT64_MAX;
        if (f->installed && t->transmit_max != before)
                r = replace_limit(f, t, before != UINT64_MAX);
        if (r < 0)
                t->transmit_max = before;
        return r;
}

int filter_remove(Filter *f, const char *tap) {
        _cleanup_free_ char *commands = NULL;
        _cleanup_(tap_freep) Tap *t = NULL;
        int r;

        HASH_FIND_STR(f->taps, tap, t);
        if (!t)
                return 0;
        HASH_DEL(f->taps, t);
        if (!f->installed)
                return 0;
        r = element_commands(f, "", "delete", t, &commands);
        if (r < 0)
                return r;
        r = run(f, commands);
        return r == -ENOENT ? filter_install(f) : r;
}

int filter_fd(const Filter *f) {
        return nft_watch_fd(f->watch);
}

int filter_dispatch(Filter *f) {
        int r;

        r = nft_watch_dispatch(f->watch);
        return r > 0 ? f->installed : r;
}

int filter_obstacles(Filter *f, char ***ret) {
        json_t *ruleset;
        int r;

        r = nft_client_list(f->client, "list ruleset", false, &ruleset);
        if (r < 0) {
                (void) snprintf(f->error, sizeof(f->error), "%s", nft_client_error(f->client));
                return r;
        }
        r = find_filter_obstacles(ruleset, ret);
        json_decref(ruleset);
        return r;
}
