/* SPDX-License-Identifier: Apache-2.0 */

#include "rpcd/params.h"

#include <inttypes.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"



static const struct {
        const char *schema, *words;
} types[] = {
        [PARAM_STRING] = { "string", "a string" },
        [PARAM_INTEGER] = { "integer", "an integer" },
        [PARAM_NUMBER] = { "number", "a number" },
        [PARAM_BOOLEAN] = { "boolean", "true or false" },
        [PARAM_STRINGS] = { "array", "an array of strings" },
        [PARAM_OBJECT] = { "object", "an object" },
};

const char *param_type_to_string(ParamType t) {
        return types[t].schema;
}

static const Param *find(const Param *params, unsigned n, const char *name) {
        for (unsigned i = 0; i < n; i++)
                if (streq(params[i].name, name))
                        return params + i;
        return NULL;
}

static int64_t maximum(const Param *p) {
        return p->minimum == 0 && p->maximum == 0 ? PARAM_LENGTH_MAX : p->maximum;
}

/* Integers as such: a double does not tell 2^53 from the next one. */
static int check_range(const Param *p, const json_t *v, char **ret_why) {
        int64_t i = json_integer_value(v);
        double d = json_real_value(v);

        if (json_is_integer(v) ? i >= p->minimum && i <= p->maximum : d >= (double) p->minimum && d <= (double) p->maximum)
                return 0;
        *ret_why = strprintf("%s must be from %" PRIi64 " to %" PRIi64 ".", p->name, p->minimum, p->maximum);
        return -EINVAL;
}

static int check_length(const Param *p, size_t n, const char *unit, char **ret_why) {
        if ((int64_t) n >= p->minimum && (int64_t) n <= maximum(p))
                return 0;
        *ret_why = strprintf("%s must have from %" PRIi64 " to %" PRIi64 " %s.", p->name, p->minimum, maximum(p), unit);
        return -EINVAL;
}

static bool is_type(const Param *p, const json_t *v) {
        size_t i;
        json_t *e;

        switch (p->type) {
        case PARAM_STRING:
                return json_is_string(v);
        case PARAM_INTEGER:
                return json_is_integer(v);
        case PARAM_NUMBER:
                return json_is_number(v);
        case PARAM_BOOLEAN:
                return json_is_boolean(v);
        case PARAM_STRINGS:
                json_array_foreach(v, i, e)
                        if (!json_is_string(e))
                                return false;
                return json_is_array(v);
        case PARAM_OBJECT:
                return json_is_object(v);
        }
        return false;
}

static int check_object(const Param *params, unsigned n, const char *what, json_t *object, char **ret_why);

static int check_value(const Param *p, json_t *v, char **ret_why) {
        size_t i;
        json_t *e;

        if (!is_type(p, v)) {
                *ret_why = strprintf("%s must be %s.", p->name, types[p->type].words);
                return -EINVAL;
        }
        switch (p->type) {
        case PARAM_STRING:
                return check_length(p, json_string_length(v), "bytes", ret_why);
        case PARAM_INTEGER:
        case PARAM_NUMBER:
                return check_range(p, v, ret_why);
        case PARAM_STRINGS:
                json_array_foreach(v, i, e)
                        if (json_string_length(e) > PARAM_LENGTH_MAX) {
                                *ret_why = strprintf("A string in %s has more than %i bytes.", p->name, PARAM_LENGTH_MAX);
                                return -EINVAL;
                        }
                return check_length(p, json_array_size(v), "strings", ret_why);
        case PARAM_OBJECT:
                return check_object(p->members, p->n_members, p->name, v, ret_why);
        default:
                return 0;
        }
}

static char *names(const Param *params, unsigned n) {
        char *s = NULL;

        for (unsigned i = 0; i < n; i++) {
                char *t = strprintf("%s%s%s", strempty(s), i > 0 ? ", " : "", params[i].name);

                free(s);
                s = t;
        }
        return s;
}

/* Also takes out what is null, which is as if it were not there. */
static int check_object(const Param *params, unsigned n, const char *what, json_t *object, char **ret_why) {
        _cleanup_free_ char *known = NULL;
        const char *key;
        json_t *v;
        void *next;
        int r;

        json_object_foreach_safe(object, next, key, v) {
                const Param *p = find(params, n, key);

                if (!p) {
                        known = names(params, n);
                        *ret_why = n > 0 ? strprintf("%s has no parameter '%.64s'; it has: %s.", what, key, strempty(known)) :
                                           strprintf("%s has no parameters.", what);
                        if (*ret_why)
                                utf8_sanitize(*ret_why); /* it may be cut within a character */
                        return -EINVAL;
                }
                if (json_is_null(v)) {
                        (void) json_object_del(object, key);
                        continue;
                }
                r = check_value(p, v, ret_why);
                if (r < 0)
                        return r;
        }
        for (unsigned i = 0; i < n; i++)
                if (params[i].required && !json_object_get(object, params[i].name)) {
                        *ret_why = strprintf("%s needs the parameter '%s': %s", what, params[i].name, params[i].description);
                        return -EINVAL;
                }
        return 0;
}

static int from_positions(const Method *m, json_t *array, json_t **ret, char **ret_why) {
        json_t *object, *v;
        size_t i;

        if (json_array_size(array) > m->n_params) {
                *ret_why = strprintf("%s has %u parameters, and %zu are given.", m->name, m->n_params, json_array_size(array));
                return -EINVAL;
        }
        object = json_object();
        if (!object)
                return -ENOMEM;
        json_array_foreach(array, i, v)
                if (json_object_set(object, m->params[i].name, v) < 0) {
                        json_decref(object);
                        return -ENOMEM;
                }
        *ret = object;
        return 0;
}

int params_check(const Method *m, json_t *params, json_t **ret, char **ret_why) {
        json_t *object;
        int r;

        *ret_why = NULL;
        if (json_is_array(params)) {
                r = from_positions(m, params, &object, ret_why);
                if (r < 0)
                        return r;
        } else {
                object = params ? json_incref(params) : json_object();
                if (!object)
                        return -ENOMEM;
        }
        r = check_object(m->params, m->n_params, m->name, object, ret_why);
        if (r < 0) {
                json_decref(object);
                return r;
        }
        *ret = object;
        return 0;
}
