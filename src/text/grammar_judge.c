/* grammar_judge.c - what can be told about flat schemas without building them: bounds, whether a value satisfies one,
 * whether two exclude each other. What cannot be told for certain is said to be unknown. */
#include "text/grammar_schema.h"

#include "base/text.h"

#include <math.h>
#include <string.h>

enum { MAX_JUDGE_DEPTH = 12 };

uint32_t schema_count(Schema *s, const json_t *flat, const char *keyword, uint32_t none) {
    const json_t *value = json_object_get(flat, keyword);
    if (value == NULL)
        return none;
    const double n = json_number_value(value);
    if (n != floor(n) || n < 0) {
        schema_fail(s, ERR_ARGUMENT, flat, keyword, "a whole number, zero or more, was expected");
        return none;
    }
    return n < 1e9 ? (uint32_t)n : 1000000000u;
}

static bool bound(Schema *s, const json_t *flat, const char *closed, const char *open, bool low, bool *has,
                  bool *is_open, Decimal *decimal) {
    const json_t *c = json_object_get(flat, closed), *o = json_object_get(flat, open);
    if (c == NULL && o == NULL)
        return true;
    const double x = json_number_value(c), y = json_number_value(o);
    *has = true;
    *is_open = c == NULL || (o != NULL && (low ? y >= x : y <= x));
    const json_t *chosen = *is_open ? o : c;
    if (!decimal_of(chosen, decimal)) {
        net_fail(s->net, ERR_MEMORY, "no memory for a bound");
        return false;
    }
    if (decimal->inexact && !decimal->huge) {
        schema_fail(s, ERR_UNSUPPORTED, flat, *is_open ? open : closed, "a bound with too many digits after the point");
        return false;
    }
    return true;
}

bool schema_range(Schema *s, const json_t *flat, NumberRange *range) {
    *range = (NumberRange){.multiple = json_object_get(flat, "multipleOf")};
    const char *format = json_string_value(json_object_get(flat, "format"));
    if (!bound(s, flat, "minimum", "exclusiveMinimum", true, &range->has_low, &range->open_low, &range->low) ||
        !bound(s, flat, "maximum", "exclusiveMaximum", false, &range->has_high, &range->open_high, &range->high))
        return false;
    if (format != NULL && strcmp(format, "int32") == 0) {
        if (!range->has_low) {
            range->has_low = true;
            range->low = (Decimal){.whole = 2147483648u, .negative = true};
        }
        if (!range->has_high) {
            range->has_high = true;
            range->high = (Decimal){.whole = 2147483647u};
        }
    }
    return true;
}

static size_t count_chars(const char *bytes, size_t count) {
    size_t chars = 0;
    for (size_t i = 0; i < count; i++)
        chars += ((unsigned char)bytes[i] & 0xC0) != 0x80;
    return chars;
}

static int number_holds(const json_t *flat, const json_t *value) {
    const double v = json_number_value(value);
    const json_t *k;
    if (((k = json_object_get(flat, "minimum")) != NULL && v < json_number_value(k)) ||
        ((k = json_object_get(flat, "maximum")) != NULL && v > json_number_value(k)) ||
        ((k = json_object_get(flat, "exclusiveMinimum")) != NULL && v <= json_number_value(k)) ||
        ((k = json_object_get(flat, "exclusiveMaximum")) != NULL && v >= json_number_value(k)))
        return 0;
    if (json_object_get(flat, "format") != NULL && (v < -2147483648.0 || v > 2147483647.0))
        return 0;
    k = json_object_get(flat, "multipleOf");
    if (k == NULL)
        return 1;
    if (!json_is_integer(k) || !json_is_integer(value) || json_integer_value(k) <= 0)
        return -1;
    return json_integer_value(value) % json_integer_value(k) == 0;
}

static int string_holds(Schema *s, const json_t *flat, const json_t *value) {
    const char *bytes = json_string_value(value);
    const size_t count = json_string_length(value), chars = count_chars(bytes, count);
    if (chars < schema_count(s, flat, "minLength", 0) || chars > schema_count(s, flat, "maxLength", NET_NO_END))
        return 0;
    const json_t *patterns = json_object_get(flat, KEY_PATTERNS);
    for (size_t i = 0; i < json_array_size(patterns); i++) {
        const json_t *pattern = json_array_get(patterns, i);
        Dfa dfa;
        if (dfa_of_regex(json_string_value(pattern), json_string_length(pattern), false, &dfa, s->net->err) != OK) {
            s->net->status = s->net->err->status;
            schema_context(s, flat, KEY_PATTERNS);
            return -1;
        }
        const bool fits = schema_spend(s, &dfa) && dfa_matches(&dfa, bytes, count);
        dfa_free(&dfa);
        if (!fits)
            return 0;
    }
    return 1;
}

static int any_holds(Schema *s, const json_t *schema, const json_t *value, int depth);

static int object_holds(Schema *s, const json_t *flat, const json_t *value, int depth) {
    const json_t *required = json_object_get(flat, "required"), *properties = json_object_get(flat, "properties"),
                 *rest = json_object_get(flat, "additionalProperties");
    for (size_t i = 0; i < json_array_size(required); i++)
        if (json_object_get(value, json_string_value(json_array_get(required, i))) == NULL)
            return 0;
    const size_t count = json_object_size(value);
    if (count < schema_count(s, flat, "minProperties", 0) || count > schema_count(s, flat, "maxProperties", NET_NO_END))
        return 0;
    if (json_object_get(flat, "patternProperties") != NULL || json_object_get(flat, "propertyNames") != NULL)
        return -1;
    int all = 1;
    for (void *i = json_object_iter((json_t *)value); i != NULL; i = json_object_iter_next((json_t *)value, i)) {
        const json_t *schema = json_object_get(properties, json_object_iter_key(i));
        schema = schema != NULL ? schema : rest;
        const int holds = schema != NULL ? any_holds(s, schema, json_object_iter_value(i), depth + 1) : 1;
        if (holds == 0)
            return 0;
        all = MIN(all, holds);
    }
    return all;
}

static int array_holds(Schema *s, const json_t *flat, const json_t *value, int depth) {
    const size_t count = json_array_size(value);
    if (count < schema_count(s, flat, "minItems", 0) || count > schema_count(s, flat, "maxItems", NET_NO_END))
        return 0;
    if (json_is_true(json_object_get(flat, "uniqueItems")) && count > 1)
        return -1;
    const json_t *prefix = json_object_get(flat, "prefixItems"), *rest = json_object_get(flat, "items");
    int all = 1;
    for (size_t i = 0; i < count; i++) {
        const json_t *schema = i < json_array_size(prefix) ? json_array_get(prefix, i) : rest;
        const int holds = schema != NULL ? any_holds(s, schema, json_array_get(value, i), depth + 1) : 1;
        if (holds == 0)
            return 0;
        all = MIN(all, holds);
    }
    return all;
}

static int flat_holds(Schema *s, const json_t *flat, const json_t *value, int depth) {
    if (json_object_get(flat, "$ref") != NULL) {
        const json_t *target = schema_resolve(s, flat);
        return target != NULL ? any_holds(s, target, value, depth + 1) : -1;
    }
    const unsigned type = schema_type_of(value);
    if ((schema_types(s, flat) & type) == 0)
        return 0;
    const json_t *values = json_object_get(flat, "enum");
    if (values != NULL) {
        bool found = false;
        for (size_t i = 0; i < json_array_size(values) && !found; i++) {
            const json_t *one = json_array_get(values, i);
            found = json_is_number(one) && json_is_number(value) ? json_number_value(one) == json_number_value(value)
                                                                 : json_equal(one, value) != 0;
        }
        if (!found)
            return 0;
    }
    switch (type) {
    case TYPE_INTEGER:
    case TYPE_NUMBER:
        return number_holds(flat, value);
    case TYPE_STRING:
        return string_holds(s, flat, value);
    case TYPE_ARRAY:
        return array_holds(s, flat, value, depth);
    case TYPE_OBJECT:
        return object_holds(s, flat, value, depth);
    default:
        return 1;
    }
}

static int any_holds(Schema *s, const json_t *schema, const json_t *value, int depth) {
    if (depth > MAX_JUDGE_DEPTH)
        return -1;
    json_t *list = schema_flatten(s, schema);
    int best = list != NULL ? 0 : -1;
    for (size_t i = 0; i < json_array_size(list) && best != 1; i++) {
        const int holds = flat_holds(s, json_array_get(list, i), value, depth);
        best = holds == 0 ? best : holds;
    }
    json_decref(list);
    return best;
}

int schema_holds(Schema *s, const json_t *flat, const json_t *value) {
    return flat_holds(s, flat, value, 0);
}

static bool disjoint_schemas(Schema *s, const json_t *a, const json_t *b, int depth) {
    if (depth > MAX_JUDGE_DEPTH)
        return false;
    json_t *x = schema_flatten(s, a), *y = schema_flatten(s, b);
    bool apart = x != NULL && y != NULL;
    for (size_t i = 0; i < json_array_size(x) && apart; i++)
        for (size_t k = 0; k < json_array_size(y) && apart; k++)
            apart = schema_disjoint(s, json_array_get(x, i), json_array_get(y, k), depth + 1);
    json_decref(x);
    json_decref(y);
    return apart;
}

/* A property that a demands and b forbids, or that is different in both. */
static bool objects_apart(Schema *s, const json_t *a, const json_t *b, int depth) {
    const json_t *required = json_object_get(a, "required");
    const json_t *pa = json_object_get(a, "properties"), *pb = json_object_get(b, "properties");
    for (size_t i = 0; i < json_array_size(required); i++) {
        const char *name = json_string_value(json_array_get(required, i));
        const json_t *in_a = json_object_get(pa, name), *in_b = json_object_get(pb, name);
        if (in_b == NULL && json_object_get(b, "patternProperties") == NULL)
            in_b = json_object_get(b, "additionalProperties");
        if (in_b == NULL)
            continue;
        if (json_is_false(in_b) || (in_a != NULL && disjoint_schemas(s, in_a, in_b, depth + 1)))
            return true;
    }
    return false;
}

static bool values_apart(Schema *s, const json_t *values, const json_t *other) {
    for (size_t i = 0; i < json_array_size(values); i++)
        if (schema_holds(s, other, json_array_get(values, i)) != 0)
            return false;
    return true;
}

static bool above(const json_t *flat_a, const char *least, const json_t *flat_b, const char *most) {
    const json_t *low = json_object_get(flat_a, least), *high = json_object_get(flat_b, most);
    return low != NULL && high != NULL && json_number_value(low) > json_number_value(high);
}

static bool apart_by(const json_t *a, const json_t *b, const char *least, const char *most) {
    return above(a, least, b, most) || above(b, least, a, most);
}

/* Without "type" a schema may hold for any type, whatever our reading of it: only a stated one keeps two apart. */
static unsigned stated_types(Schema *s, const json_t *flat) {
    return json_object_get(flat, "type") != NULL ? schema_types(s, flat) : TYPE_ALL;
}

bool schema_disjoint(Schema *s, const json_t *a, const json_t *b, int depth) {
    if (depth > MAX_JUDGE_DEPTH || schema_bad(s))
        return false;
    if (json_object_get(a, "$ref") != NULL || json_object_get(b, "$ref") != NULL) {
        const json_t *x = json_object_get(a, "$ref") != NULL ? schema_resolve(s, a) : a;
        const json_t *y = json_object_get(b, "$ref") != NULL ? schema_resolve(s, b) : b;
        if (x == NULL || y == NULL)
            return false;
        return disjoint_schemas(s, x, y, depth + 1);
    }
    const json_t *ea = json_object_get(a, "enum"), *eb = json_object_get(b, "enum");
    if (ea != NULL && values_apart(s, ea, b))
        return true;
    if (eb != NULL && values_apart(s, eb, a))
        return true;
    unsigned both = stated_types(s, a) & stated_types(s, b);
    if ((both & (TYPE_INTEGER | TYPE_NUMBER)) &&
        (apart_by(a, b, "minimum", "maximum") || apart_by(a, b, "exclusiveMinimum", "maximum") ||
         apart_by(a, b, "minimum", "exclusiveMaximum")))
        both &= ~(unsigned)(TYPE_INTEGER | TYPE_NUMBER);
    if ((both & TYPE_STRING) && apart_by(a, b, "minLength", "maxLength"))
        both &= ~(unsigned)TYPE_STRING;
    if ((both & TYPE_ARRAY) && apart_by(a, b, "minItems", "maxItems"))
        both &= ~(unsigned)TYPE_ARRAY;
    if ((both & TYPE_OBJECT) && (objects_apart(s, a, b, depth) || objects_apart(s, b, a, depth)))
        both &= ~(unsigned)TYPE_OBJECT;
    return both == 0 && !schema_bad(s);
}
