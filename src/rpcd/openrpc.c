/* SPDX-License-Identifier: Apache-2.0 */

#include "rpcd/openrpc.h"

#include <jansson.h>

#include "basic/alloc-util.h"
#include "basic/string-util.h"
#include "rpcd/call.h"
#include "rpcd/params.h"

static json_t *reference(const char *schema) {
        _cleanup_free_ char *s = strprintf("#/components/schemas/%s", schema);

        return json_pack("{s:s}", "$ref", strempty(s));
}

static json_t *param_schema(const Param *p);

static void set_new(json_t *object, const char *key, json_t *value) {
        (void) json_object_set_new(object, key, value);
}

static void add_bounds(json_t *schema, const Param *p, const char *low, const char *high) {
        int64_t maximum = p->minimum == 0 && p->maximum == 0 ? PARAM_LENGTH_MAX : p->maximum;

        if (p->minimum != 0)
                set_new(schema, low, json_integer(p->minimum));
        set_new(schema, high, json_integer(maximum));
}

static void add_members(json_t *schema, const Param *p) {
        json_t *properties = json_object();

        for (unsigned i = 0; i < p->n_members; i++)
                set_new(properties, p->members[i].name, param_schema(p->members + i));
        set_new(schema, "properties", properties);
        set_new(schema, "additionalProperties", json_false());
}

static json_t *param_schema(const Param *p) {
        json_t *schema = json_pack("{s:s}", "type", param_type_to_string(p->type));

        switch (p->type) {
        case PARAM_STRING:
                add_bounds(schema, p, "minLength", "maxLength");
                break;
        case PARAM_INTEGER:
        case PARAM_NUMBER:
                set_new(schema, "minimum", json_integer(p->minimum));
                set_new(schema, "maximum", json_integer(p->maximum));
                break;
        case PARAM_STRINGS:
                set_new(schema, "items", json_pack("{s:s, s:i}", "type", "string", "maxLength", PARAM_LENGTH_MAX));
                add_bounds(schema, p, "minItems", "maxItems");
                break;
        case PARAM_OBJECT:
                add_members(schema, p);
                break;
        case PARAM_BOOLEAN:
                break;
        }
        return schema;
}

static json_t *method_params(const Method *m) {
        json_t *params = json_array();

        for (unsigned i = 0; i < m->n_params; i++)
                (void) json_array_append_new(params, json_pack("{s:s, s:s, s:b, s:o}", "name", m->params[i].name, "description",
                                                               m->params[i].description, "required", m->params[i].required,
                                                               "schema", param_schema(m->params + i)));
        return params;
}

static const char *access_words(Access a) {
        switch (a) {
        case ACCESS_ANYBODY:
                return "For everybody.";
        case ACCESS_KNOWN:
                return "For users who are known; who is no administrator sees what is his own.";
        case ACCESS_VM:
        case ACCESS_USER:
                return "For administrators, and for the user whose VM it is.";
        case ACCESS_ADMIN:
                return "For administrators.";
        }
        return "";
}

static json_t *method_document(const Method *m) {
        return json_pack("{s:s, s:s, s:s, s:s, s:o, s:{s:s, s:o}, s:[{s:s}]}", "name", m->name, "summary", m->summary, "description",
                         access_words(m->access), "paramStructure", "either", "params", method_params(m), "result", "name", m->result,
                         "schema", reference(m->result), "errors", "$ref", "#/components/errors/Domain");
}

/* OpenRPC wants one code in each; the list of all is data. */
static json_t *error_codes(void) {
        json_t *codes = json_object();
        const char *name;
        int code;

        for (unsigned i = 0; (name = rpc_error_name(i, &code)); i++)
                set_new(codes, name, json_integer(code));
        return codes;
}

static json_t *document(void) {
        json_t *methods = json_array(), *schemas;
        const Method *m;

        for (unsigned i = 0; (m = method_get(i)); i++)
                (void) json_array_append_new(methods, method_document(m));
        schemas = json_loads(openrpc_schemas, JSON_REJECT_DUPLICATES, NULL);
        return json_pack("{s:s, s:{s:s, s:s, s:s, s:{s:s}}, s:o, s:{s:o, s:{s:{s:i, s:s, s:{s:o}}}}}", "openrpc", "1.2.6", "info",
                         "title", "hero_compute_manager", "version", HERO_VERSION, "description",
                         "A VM for every user of a host. Replaces hero_compute_manager.", "license", "name", "Apache-2.0",
                         "methods", methods, "components", "schemas", schemas, "errors", "Domain", "code", RPC_SERVER_ERROR,
                         "message", "An error of the domain: code by data.name, as listed in data.codes here.", "data", "codes",
                         error_codes());
}

const char *openrpc_document(size_t *ret_size) {
        static char *text;
        static size_t size;
        json_t *d;

        if (!text) {
                d = document();
                text = d ? json_dumps(d, JSON_COMPACT) : NULL;
                json_decref(d);
                size = text ? strlen(text) : 0;
        }
        *ret_size = size;
        return text;
}
