/* grammar_flatten.c - see grammar_schema.h: combinations and merging of schemas. */
#include "text/grammar_schema.h"

#include "base/text.h"
#include "format/json.h"

#include <string.h>

enum { MAX_FLAT = 256, MAX_FLATTEN_DEPTH = 64 };

const json_t *schema_both(Schema *s, const json_t *a, const json_t *b) {
    if (a == NULL || b == NULL)
        return a != NULL ? a : b;
    json_t *both = json_pack("{s:[O,O]}", "allOf", (json_t *)a, (json_t *)b);
    return schema_keep(s, both);
}

unsigned schema_type_of(const json_t *value) {
    switch (json_typeof(value)) {
    case JSON_NULL:
        return TYPE_NULL;
    case JSON_TRUE:
    case JSON_FALSE:
        return TYPE_BOOLEAN;
    case JSON_INTEGER:
        return TYPE_INTEGER;
    case JSON_REAL: {
        const double v = json_real_value(value);
        return v == (double)(int64_t)MAX(MIN(v, 9e18), -9e18) ? TYPE_INTEGER : TYPE_NUMBER;
    }
    case JSON_STRING:
        return TYPE_STRING;
    case JSON_ARRAY:
        return TYPE_ARRAY;
    default:
        return TYPE_OBJECT;
    }
}

static unsigned type_named(const char *name) {
    static const struct {
        const char *name;
        unsigned bits;
    } names[] = {{"null", TYPE_NULL},       {"boolean", TYPE_BOOLEAN},
                 {"integer", TYPE_INTEGER}, {"number", TYPE_INTEGER | TYPE_NUMBER},
                 {"string", TYPE_STRING},   {"array", TYPE_ARRAY},
                 {"object", TYPE_OBJECT}};
    for (size_t i = 0; i < COUNT(names); i++)
        if (strcmp(names[i].name, name) == 0)
            return names[i].bits;
    return 0;
}

static bool concerns(const json_t *flat, const char *const *list) {
    for (; *list != NULL; list++)
        if (json_object_get(flat, *list) != NULL)
            return true;
    return false;
}

/* Without a type: what its keywords are about, when they are about one type only. */
static unsigned implied_types(const json_t *flat) {
    static const char *const of_object[] = {"properties",    "patternProperties", "additionalProperties", "required",
                                            "propertyNames", "minProperties",     "maxProperties",        NULL},
                             *const of_array[] = {"items", "prefixItems", "minItems", "maxItems", "uniqueItems", NULL},
                             *const of_string[] = {KEY_PATTERNS, "minLength", "maxLength", NULL},
                             *const of_number[] = {"minimum",          "maximum",    "exclusiveMinimum",
                                                   "exclusiveMaximum", "multipleOf", NULL};
    const unsigned found =
        (concerns(flat, of_object) ? TYPE_OBJECT : 0u) | (concerns(flat, of_array) ? TYPE_ARRAY : 0u) |
        (concerns(flat, of_string) ? TYPE_STRING : 0u) | (concerns(flat, of_number) ? TYPE_INTEGER | TYPE_NUMBER : 0u);
    const bool one =
        found == TYPE_OBJECT || found == TYPE_ARRAY || found == TYPE_STRING || found == (TYPE_INTEGER | TYPE_NUMBER);
    return one ? found : TYPE_ALL;
}

unsigned schema_types(Schema *s, const json_t *flat) {
    const json_t *type = json_object_get(flat, "type");
    if (type == NULL)
        return json_object_get(flat, "enum") != NULL ? TYPE_ALL : implied_types(flat);
    unsigned bits = 0;
    const size_t count = json_is_array(type) ? json_array_size(type) : 1;
    for (size_t i = 0; i < count; i++) {
        const char *name = json_string_value(json_is_array(type) ? json_array_get(type, i) : type);
        const unsigned named = name != NULL ? type_named(name) : 0;
        if (named == 0) {
            schema_fail(s, ERR_ARGUMENT, flat, "type", "no such type");
            return 0;
        }
        bits |= named;
    }
    return bits;
}

static json_t *types_value(unsigned bits) {
    static const char *const names[] = {"null", "boolean", "integer", "number", "string", "array", "object"};
    json_t *list = json_array();
    bool done = list != NULL;
    for (unsigned i = 0; i < COUNT(names) && done; i++)
        if (bits >> i & 1)
            done = json_array_append_new(list, json_string(names[i])) == 0;
    if (!done) {
        json_decref(list);
        return NULL;
    }
    return list;
}

/* Equal as JSON Schema means it: 1 and 1.0 are. */
static bool same_value(const json_t *a, const json_t *b) {
    if (json_is_number(a) && json_is_number(b) && (json_is_real(a) || json_is_real(b)))
        return json_number_value(a) == json_number_value(b);
    return json_equal(a, b) != 0;
}

static bool no_memory(Schema *s) {
    net_fail(s->net, ERR_MEMORY, "no memory for a schema");
    return false;
}

static bool merge_enums(Schema *s, json_t *into, const json_t *b) {
    const json_t *a = json_object_get(into, "enum");
    json_t *list = json_array();
    bool done = list != NULL;
    for (size_t i = 0; i < json_array_size(a) && done; i++)
        for (size_t k = 0; k < json_array_size(b); k++)
            if (same_value(json_array_get(a, i), json_array_get(b, k))) {
                done = json_array_append(list, json_array_get(a, i)) == 0;
                break;
            }
    done = done && json_object_set(into, "enum", list) == 0;
    json_decref(list);
    return done || no_memory(s);
}

/* The schema that a property named so must satisfy in `flat`, beyond "properties": for merging with another schema that
 * names it. NULL = anything. */
static bool others_schema(Schema *s, const json_t *flat, const char *name, const json_t **schema) {
    *schema = NULL;
    bool matched = false;
    const json_t *patterns = json_object_get(flat, "patternProperties");
    for (void *i = json_object_iter((json_t *)patterns); i != NULL; i = json_object_iter_next((json_t *)patterns, i)) {
        const char *pattern = json_object_iter_key(i);
        Dfa dfa;
        if (dfa_of_regex(pattern, strlen(pattern), false, &dfa, s->net->err) != OK) {
            s->net->status = s->net->err->status;
            schema_context(s, flat, "patternProperties");
            return false;
        }
        if (schema_spend(s, &dfa) && dfa_matches(&dfa, name, strlen(name))) {
            matched = true;
            *schema = schema_both(s, *schema, json_object_iter_value(i));
        }
        dfa_free(&dfa);
    }
    if (!matched)
        *schema = json_object_get(flat, "additionalProperties");
    return !schema_bad(s);
}

/* properties of both; one that only one side names must satisfy what the other says of unnamed ones. */
static bool merge_objects(Schema *s, json_t *into, const json_t *b) {
    static const char *const about[] = {"properties", "patternProperties", "additionalProperties", NULL};
    if (!concerns(b, about))
        return true;
    if (!concerns(into, about)) {
        for (const char *const *k = about; *k != NULL; k++)
            if (json_object_get(b, *k) != NULL && json_object_set(into, *k, json_object_get(b, *k)) != 0)
                return no_memory(s);
        return true;
    }
    const json_t *pa = json_object_get(into, "properties"), *pb = json_object_get(b, "properties");
    json_t *all = json_object();
    bool done = all != NULL;
    for (int side = 0; side < 2 && done; side++) {
        const json_t *mine = side == 0 ? pa : pb, *theirs = side == 0 ? pb : pa;
        for (void *i = json_object_iter((json_t *)mine); i != NULL && done;
             i = json_object_iter_next((json_t *)mine, i)) {
            const char *name = json_object_iter_key(i);
            if (json_object_get(all, name) != NULL)
                continue;
            const json_t *other = json_object_get(theirs, name);
            done = other != NULL || others_schema(s, side == 0 ? b : into, name, &other);
            const json_t *both = done ? schema_both(s, json_object_iter_value(i), other) : NULL;
            done = both != NULL && json_object_set(all, name, (json_t *)both) == 0;
        }
    }
    done = done && json_object_set(into, "properties", all) == 0;
    json_decref(all);
    if (!done)
        return no_memory(s);
    const json_t *xa = json_object_get(into, "patternProperties"), *xb = json_object_get(b, "patternProperties");
    const json_t *ra = json_object_get(into, "additionalProperties"), *rb = json_object_get(b, "additionalProperties");
    if ((xa != NULL || xb != NULL) && !(xa != NULL && xb == NULL && rb == NULL) &&
        !(xb != NULL && xa == NULL && ra == NULL) && !(ra == NULL && rb == NULL)) {
        schema_fail(s, ERR_UNSUPPORTED, xa != NULL ? into : b, "patternProperties",
                    "it is not supported in schemas that are combined with additionalProperties of others");
        return false;
    }
    if (xb != NULL) {
        json_t *patterns = xa != NULL ? json_copy((json_t *)xa) : json_object();
        done = patterns != NULL;
        for (void *i = json_object_iter((json_t *)xb); i != NULL && done; i = json_object_iter_next((json_t *)xb, i)) {
            const char *key = json_object_iter_key(i);
            const json_t *both = schema_both(s, json_object_get(patterns, key), json_object_iter_value(i));
            done = both != NULL && json_object_set(patterns, key, (json_t *)both) == 0;
        }
        done = done && json_object_set(into, "patternProperties", patterns) == 0;
        json_decref(patterns);
        if (!done)
            return no_memory(s);
    }
    const json_t *rest = schema_both(s, ra, rb);
    if (rest != NULL && json_object_set(into, "additionalProperties", (json_t *)rest) != 0)
        return no_memory(s);
    return !schema_bad(s);
}

static bool merge_arrays(Schema *s, json_t *into, const json_t *b) {
    static const char *const about[] = {"items", "prefixItems", NULL};
    if (!concerns(b, about))
        return true;
    const json_t *xa = json_object_get(into, "prefixItems"), *xb = json_object_get(b, "prefixItems");
    const json_t *ra = json_object_get(into, "items"), *rb = json_object_get(b, "items");
    const size_t count = MAX(json_array_size(xa), json_array_size(xb));
    if (count > 0) {
        json_t *list = json_array();
        bool done = list != NULL;
        for (size_t i = 0; i < count && done; i++) {
            const json_t *one = i < json_array_size(xa) ? json_array_get(xa, i) : ra;
            const json_t *other = i < json_array_size(xb) ? json_array_get(xb, i) : rb;
            const json_t *both = schema_both(s, one, other);
            done = both != NULL && json_array_append(list, (json_t *)both) == 0;
        }
        done = done && json_object_set(into, "prefixItems", list) == 0;
        json_decref(list);
        if (!done)
            return no_memory(s);
    }
    const json_t *rest = schema_both(s, ra, rb);
    if (rest != NULL && json_object_set(into, "items", (json_t *)rest) != 0)
        return no_memory(s);
    return !schema_bad(s);
}

static bool append_all(json_t *into, const char *key, const json_t *values) {
    json_t *list = json_array();
    const json_t *old = json_object_get(into, key);
    bool done = list != NULL && (old == NULL || json_array_extend(list, (json_t *)old) == 0) &&
                json_array_extend(list, (json_t *)values) == 0 && json_object_set(into, key, list) == 0;
    json_decref(list);
    return done;
}

/* One keyword of b that both have and that is not about properties or items. */
static bool merge_keyword(Schema *s, json_t *into, const char *key, const json_t *b_schema) {
    const json_t *a = json_object_get(into, key);
    json_t *b = json_object_get(b_schema, key);
    if (strcmp(key, "enum") == 0)
        return merge_enums(s, into, b);
    if (strcmp(key, "required") == 0 || strcmp(key, KEY_PATTERNS) == 0)
        return append_all(into, key, b) || no_memory(s);
    if (strcmp(key, "type") == 0) {
        json_t *types = types_value(schema_types(s, into) & schema_types(s, b_schema));
        return (types != NULL && json_object_set_new(into, key, types) == 0) || no_memory(s);
    }
    if (strcmp(key, "uniqueItems") == 0)
        return json_is_false(b) || json_object_set(into, key, b) == 0 || no_memory(s);
    if (strcmp(key, "propertyNames") == 0) {
        const json_t *both = schema_both(s, a, b);
        return (both != NULL && json_object_set(into, key, (json_t *)both) == 0) || no_memory(s);
    }
    const Role role = schema_role(key);
    if ((role == ROLE_NUMBER && strcmp(key, "multipleOf") != 0) || role == ROLE_COUNT) {
        const bool least = starts_with(key, "min") || strcmp(key, "exclusiveMinimum") == 0;
        const double x = json_number_value(a), y = json_number_value(b);
        return (least ? x >= y : x <= y) || json_object_set(into, key, b) == 0 || no_memory(s);
    }
    if (json_equal(a, b))
        return true;
    schema_fail(s, ERR_UNSUPPORTED, b_schema, key, "two different values of it are combined, which is not supported");
    return false;
}

/* Both hold. A new object of the caller. */
static json_t *merge(Schema *s, const json_t *a, const json_t *b) {
    if (--s->work <= 0) {
        net_fail(s->net, ERR_LIMIT, "JSON schema: its combinations are too many");
        return NULL;
    }
    json_t *into = json_copy((json_t *)a);
    bool done = into != NULL && merge_objects(s, into, b) && merge_arrays(s, into, b);
    if (into == NULL)
        no_memory(s);
    for (void *i = json_object_iter((json_t *)b); i != NULL && done; i = json_object_iter_next((json_t *)b, i)) {
        static const char *const merged[] = {"properties", "patternProperties", "additionalProperties",
                                             "items",      "prefixItems",       NULL};
        const char *key = json_object_iter_key(i);
        bool passed = false;
        for (const char *const *k = merged; *k != NULL; k++)
            passed = passed || strcmp(*k, key) == 0;
        if (passed)
            continue;
        if (json_object_get(into, key) == NULL)
            done = json_object_set(into, key, json_object_iter_value(i)) == 0 || no_memory(s);
        else
            done = merge_keyword(s, into, key, b);
    }
    if (!done) {
        json_decref(into);
        return NULL;
    }
    return into;
}

static json_t *flatten(Schema *s, const json_t *schema, bool follow);

/* Every one of `list` with every one of `other`; both references are taken. */
static json_t *product(Schema *s, json_t *list, json_t *other, const json_t *schema, const char *keyword) {
    json_t *result = list != NULL && other != NULL ? json_array() : NULL;
    bool done = result != NULL;
    for (size_t i = 0; i < json_array_size(list) && done; i++)
        for (size_t k = 0; k < json_array_size(other) && done; k++) {
            json_t *both = merge(s, json_array_get(list, i), json_array_get(other, k));
            if (both != NULL && json_array_size(result) >= MAX_FLAT)
                schema_fail(s, ERR_LIMIT, schema, keyword, "its combinations are too many");
            /* A merge that leaves no type at all is no alternative. */
            if (both != NULL && json_object_get(both, "type") != NULL && schema_types(s, both) == 0) {
                json_decref(both);
                done = !schema_bad(s);
                continue;
            }
            done = both != NULL && !schema_bad(s) && json_array_append(result, both) == 0;
            json_decref(both);
        }
    json_decref(list);
    json_decref(other);
    if (!done) {
        no_memory(s);
        json_decref(result);
        return NULL;
    }
    return result;
}

static bool alike_branches(Schema *s, const json_t *schema, const json_t *branches) {
    const size_t count = json_array_size(branches);
    for (size_t i = 0; i < count; i++)
        for (size_t k = i + 1; k < count; k++) {
            json_t *a = flatten(s, json_array_get(branches, i), true),
                   *b = flatten(s, json_array_get(branches, k), true);
            bool apart = a != NULL && b != NULL;
            for (size_t x = 0; x < json_array_size(a) && apart; x++)
                for (size_t y = 0; y < json_array_size(b) && apart; y++)
                    apart = schema_disjoint(s, json_array_get(a, x), json_array_get(b, y), 0);
            json_decref(a);
            json_decref(b);
            if (!apart) {
                schema_fail(
                    s, ERR_UNSUPPORTED, schema, "oneOf",
                    "its schemas may hold at the same time; use anyOf, or a property with a different const in each");
                return true;
            }
        }
    return false;
}

static json_t *flatten_any(Schema *s, const json_t *branches) {
    json_t *all = json_array();
    bool done = all != NULL;
    for (size_t i = 0; i < json_array_size(branches) && done; i++) {
        json_t *flat = flatten(s, json_array_get(branches, i), false);
        done = flat != NULL && json_array_extend(all, flat) == 0;
        json_decref(flat);
    }
    if (!done) {
        no_memory(s);
        json_decref(all);
        return NULL;
    }
    return all;
}

/* What "not" leaves: only where it speaks of types, or of all and nothing. */
static json_t *flatten_not(Schema *s, const json_t *schema) {
    const json_t *inner = json_object_get(schema, "not");
    if (json_is_false(inner))
        return json_pack("[{}]");
    if (json_is_true(inner) || json_object_size(inner) == 0)
        return json_array();
    json_t *types = NULL;
    if (json_object_size(inner) == 1 && json_object_get(inner, "type") != NULL) {
        const unsigned bits = schema_types(s, inner);
        /* Numbers that are not integers cannot be told from integers that are written with a point. */
        if (!schema_bad(s) && !((bits & TYPE_INTEGER) && !(bits & TYPE_NUMBER)))
            types = types_value(TYPE_ALL & ~bits);
    }
    if (types == NULL) {
        schema_fail(s, ERR_UNSUPPORTED, schema, "not", "not supported, except of types");
        return NULL;
    }
    return json_pack("[{s:o}]", "type", types);
}

static bool only_reference(const json_t *schema) {
    for (void *i = json_object_iter((json_t *)schema); i != NULL; i = json_object_iter_next((json_t *)schema, i)) {
        const char *key = json_object_iter_key(i);
        const Role role = schema_role(key);
        if (strcmp(key, "$ref") != 0 && role != ROLE_NOTE && role != ROLE_PART && strcmp(key, "$id") != 0)
            return false;
    }
    return json_object_get(schema, "$ref") != NULL;
}

/* A reference in a list that is merged with others is followed now. */
static json_t *follow_references(Schema *s, json_t *list) {
    bool any = false;
    for (size_t i = 0; i < json_array_size(list); i++)
        any = any || json_object_get(json_array_get(list, i), "$ref") != NULL;
    if (!any || list == NULL)
        return list;
    json_t *result = json_array();
    bool done = result != NULL;
    for (size_t i = 0; i < json_array_size(list) && done; i++) {
        json_t *one = json_array_get(list, i);
        if (json_object_get(one, "$ref") == NULL) {
            done = json_array_append(result, one) == 0;
            continue;
        }
        json_t *flat = flatten(s, one, true);
        done = flat != NULL && json_array_extend(result, flat) == 0;
        json_decref(flat);
    }
    json_decref(list);
    if (!done) {
        no_memory(s);
        json_decref(result);
        return NULL;
    }
    return result;
}

static json_t *flatten_object(Schema *s, const json_t *schema, bool follow) {
    if (only_reference(schema)) {
        json_t *checked = json_object();
        const bool fine = checked != NULL && schema_copy_assertions(s, schema, checked);
        json_decref(checked);
        if (!fine)
            return NULL;
        if (!follow)
            return json_pack("[{s:O}]", "$ref", json_object_get(schema, "$ref"));
        const json_t *target = schema_resolve(s, schema);
        return target != NULL ? flatten(s, target, true) : NULL;
    }
    json_t *base = json_object();
    if (base == NULL || !schema_copy_assertions(s, schema, base)) {
        json_decref(base);
        return NULL;
    }
    const json_t *constant = json_object_get(schema, "const"), *values = json_object_get(schema, "enum");
    if (constant != NULL && values != NULL) {
        json_t *list = json_pack("[O]", constant);
        if (list == NULL || json_object_set(base, "enum", (json_t *)values) != 0 || !merge_enums(s, base, list)) {
            json_decref(list);
            json_decref(base);
            return NULL;
        }
        json_decref(list);
    }
    if (json_is_true(json_object_get(schema, "nullable")) && json_object_get(base, "type") != NULL) {
        json_t *types = types_value(schema_types(s, base) | TYPE_NULL);
        if (types == NULL || json_object_set_new(base, "type", types) != 0) {
            json_decref(base);
            return NULL;
        }
    }
    const bool plain = json_object_size(base) == 0;
    json_t *list = json_pack("[o]", base);
    const json_t *all = json_object_get(schema, "allOf"), *any = json_object_get(schema, "anyOf"),
                 *one = json_object_get(schema, "oneOf");
    const size_t parts =
        json_array_size(all) + (any != NULL) + (one != NULL) + (json_object_get(schema, "$ref") != NULL);
    const bool alone = plain && parts == 1 && !follow; /* nothing to merge with: references may stay */
    if (json_object_get(schema, "$ref") != NULL && list != NULL) {
        const json_t *target = schema_resolve(s, schema);
        list = product(s, list, target != NULL ? flatten(s, target, true) : NULL, schema, "$ref");
    }
    for (size_t i = 0; i < json_array_size(all) && list != NULL; i++) {
        json_t *flat = flatten(s, json_array_get(all, i), !alone);
        if (alone) {
            json_decref(list);
            list = flat;
        } else {
            list = product(s, list, flat, schema, "allOf");
        }
    }
    if (one != NULL && list != NULL && alike_branches(s, schema, one)) {
        json_decref(list);
        return NULL;
    }
    const char *const keys[] = {"anyOf", "oneOf"};
    for (int k = 0; k < 2 && list != NULL; k++) {
        const json_t *branches = k == 0 ? any : one;
        if (branches == NULL)
            continue;
        json_t *flat = flatten_any(s, branches);
        if (alone) {
            json_decref(list);
            list = flat;
        } else {
            list = product(s, list, follow_references(s, flat), schema, keys[k]);
        }
    }
    if (json_object_get(schema, "not") != NULL && list != NULL)
        list = product(s, follow_references(s, list), flatten_not(s, schema), schema, "not");
    return list;
}

static json_t *flatten(Schema *s, const json_t *schema, bool follow) {
    if (schema_bad(s))
        return NULL;
    if (++s->depth > MAX_FLATTEN_DEPTH + JSON_MAX_DEPTH || --s->work <= 0) {
        net_fail(s->net, ERR_LIMIT, "JSON schema: it is combined with itself without end, or too large");
        s->depth--;
        return NULL;
    }
    json_t *list;
    if (json_is_true(schema))
        list = json_pack("[{}]");
    else if (json_is_false(schema))
        list = json_array();
    else
        list = flatten_object(s, schema, follow);
    s->depth--;
    if (list == NULL)
        no_memory(s);
    if (schema_bad(s)) {
        json_decref(list);
        return NULL;
    }
    return list;
}

json_t *schema_flatten(Schema *s, const json_t *schema) {
    return flatten(s, schema, false);
}
