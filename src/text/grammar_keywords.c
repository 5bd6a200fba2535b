/* grammar_keywords.c - see grammar_schema.h: what each keyword is, references, and failures with their pointers.
 *
 * Every keyword is known here, or refused: this is where nothing fails open. */
#include "text/grammar_schema.h"

#include "base/text.h"
#include "format/json.h"

#include <string.h>

bool schema_bad(const Schema *s) {
    return s->net->status != OK;
}

bool schema_spend(Schema *s, const Dfa *dfa) {
    s->work -= 5 + dfa->state_count / 20;
    if (s->work <= 0)
        net_fail(s->net, ERR_LIMIT, "JSON schema: its patterns are too many or too large");
    return !schema_bad(s);
}

json_t *schema_keep(Schema *s, json_t *value) {
    if (value == NULL || json_array_append_new(s->kept, value) != 0) {
        net_fail(s->net, ERR_MEMORY, "no memory for a schema");
        return NULL;
    }
    return value;
}

/* The pointer of a member: exactly where `schema` is the published object, else where the same value stands. */
static bool append_pointer(Text *path, const json_t *node, const json_t *schema, const char *key, const json_t *value,
                           int depth) {
    if (depth > JSON_MAX_DEPTH)
        return false;
    if (json_is_object(node)) {
        const json_t *found = json_object_get(node, key);
        if (found == value && (node == schema || schema == NULL)) {
            text_append_char(path, '/');
            text_append_str(path, key);
            return true;
        }
    }
    const size_t length = path->count;
    if (json_is_object(node)) {
        for (void *i = json_object_iter((json_t *)node); i != NULL; i = json_object_iter_next((json_t *)node, i)) {
            text_append_char(path, '/');
            for (const char *c = json_object_iter_key(i); *c != '\0'; c++)
                text_append_str(path, *c == '~' ? "~0" : *c == '/' ? "~1" : (const char[]){*c, '\0'});
            if (append_pointer(path, json_object_iter_value(i), schema, key, value, depth + 1))
                return true;
            path->count = length;
        }
    } else if (json_is_array(node)) {
        for (size_t i = 0; i < json_array_size(node); i++) {
            text_append_format(path, "/%zu", i);
            if (append_pointer(path, json_array_get(node, i), schema, key, value, depth + 1))
                return true;
            path->count = length;
        }
    }
    return false;
}

static void find_pointer(const Schema *s, Text *path, const json_t *schema, const char *keyword) {
    text_append(path, "", 0);
    const json_t *value = json_object_get(schema, keyword);
    if (strcmp(keyword, KEY_PATTERNS) == 0) { /* the first of those that were collected */
        keyword = "pattern";
        value = json_array_get(value, 0);
    }
    if (value == NULL || !append_pointer(path, s->root, schema, keyword, value, 0)) {
        path->count = 0;
        if (value == NULL || !append_pointer(path, s->root, NULL, keyword, value, 0)) {
            path->count = 0;
            text_append_format(path, "/.../%s", keyword);
        }
    }
    if (path->bytes != NULL)
        path->bytes[path->count] = '\0';
}

void schema_fail(Schema *s, Status status, const json_t *schema, const char *keyword, const char *why) {
    if (schema_bad(s))
        return;
    Text path = {0}, shown = {0};
    find_pointer(s, &path, schema, keyword);
    if (path.bytes != NULL)
        text_append_printable(&shown, path.bytes, MIN(path.count, (size_t)300));
    net_fail(s->net, status, "JSON schema, #%s: %s", shown.bytes != NULL ? shown.bytes : "", why);
    text_free(&path);
    text_free(&shown);
}

void schema_context(Schema *s, const json_t *schema, const char *keyword) {
    Text path = {0}, shown = {0};
    find_pointer(s, &path, schema, keyword);
    if (path.bytes != NULL)
        text_append_printable(&shown, path.bytes, MIN(path.count, (size_t)300));
    error_context(s->net->err, "JSON schema, #%s", shown.bytes != NULL ? shown.bytes : "");
    text_free(&path);
    text_free(&shown);
}

static const struct {
    const char *keyword;
    Role role;
} keywords[] = {
    {"$schema", ROLE_NOTE},
    {"$comment", ROLE_NOTE},
    {"title", ROLE_NOTE},
    {"description", ROLE_NOTE},
    {"default", ROLE_NOTE},
    {"examples", ROLE_NOTE},
    {"example", ROLE_NOTE},
    {"deprecated", ROLE_NOTE},
    {"readOnly", ROLE_NOTE},
    {"writeOnly", ROLE_NOTE},
    {"contentEncoding", ROLE_NOTE},
    {"contentMediaType", ROLE_NOTE},
    {"contentSchema", ROLE_NOTE},
    {"discriminator", ROLE_NOTE},
    {"externalDocs", ROLE_NOTE},
    {"xml", ROLE_NOTE},
    {"strict", ROLE_NOTE},
    {"$anchor", ROLE_NOTE},
    {"propertyOrdering", ROLE_NOTE},
    {"enumDescriptions", ROLE_NOTE},
    {"$defs", ROLE_PART},
    {"definitions", ROLE_PART},
    {"$ref", ROLE_COMBINE},
    {"allOf", ROLE_COMBINE},
    {"anyOf", ROLE_COMBINE},
    {"oneOf", ROLE_COMBINE},
    {"not", ROLE_COMBINE},
    {"nullable", ROLE_COMBINE},
    {"type", ROLE_OTHER},
    {"enum", ROLE_OTHER},
    {"const", ROLE_OTHER},
    {"required", ROLE_OTHER},
    {"uniqueItems", ROLE_OTHER},
    {"items", ROLE_OTHER},
    {"minimum", ROLE_NUMBER},
    {"maximum", ROLE_NUMBER},
    {"exclusiveMinimum", ROLE_NUMBER},
    {"exclusiveMaximum", ROLE_NUMBER},
    {"multipleOf", ROLE_NUMBER},
    {"minLength", ROLE_COUNT},
    {"maxLength", ROLE_COUNT},
    {"minItems", ROLE_COUNT},
    {"maxItems", ROLE_COUNT},
    {"minProperties", ROLE_COUNT},
    {"maxProperties", ROLE_COUNT},
    {"pattern", ROLE_STRING},
    {"format", ROLE_STRING},
    {"additionalProperties", ROLE_SCHEMA},
    {"propertyNames", ROLE_SCHEMA},
    {"additionalItems", ROLE_SCHEMA},
    {"properties", ROLE_SCHEMAS},
    {"patternProperties", ROLE_SCHEMAS},
    {"prefixItems", ROLE_LIST},
    {KEY_PATTERNS, ROLE_OTHER},
    {KEY_LATER, ROLE_OTHER},
};

Role schema_role(const char *keyword) {
    for (size_t i = 0; i < COUNT(keywords); i++)
        if (strcmp(keywords[i].keyword, keyword) == 0)
            return keywords[i].role;
    return starts_with(keyword, "x-") ? ROLE_NOTE : ROLE_REFUSED;
}

static bool is_schema(const json_t *value) {
    return json_is_object(value) || json_is_boolean(value);
}

static bool all_schemas(const json_t *value, bool list) {
    if (list ? !json_is_array(value) : !json_is_object(value))
        return false;
    if (list) {
        for (size_t i = 0; i < json_array_size(value); i++)
            if (!is_schema(json_array_get(value, i)))
                return false;
        return true;
    }
    for (void *i = json_object_iter((json_t *)value); i != NULL; i = json_object_iter_next((json_t *)value, i))
        if (!is_schema(json_object_iter_value(i)))
            return false;
    return true;
}

static bool all_strings(const json_t *list) {
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!json_is_string(json_array_get(list, i)))
            return false;
    return json_is_array(list);
}

static bool well_formed(const char *keyword, Role role, const json_t *value) {
    switch (role) {
    case ROLE_NUMBER:
        return json_is_number(value);
    case ROLE_COUNT:
        return json_is_number(value) && json_number_value(value) >= 0;
    case ROLE_STRING:
        return json_is_string(value);
    case ROLE_SCHEMA:
        return is_schema(value);
    case ROLE_SCHEMAS:
        return all_schemas(value, false);
    case ROLE_LIST:
        return all_schemas(value, true);
    default:
        break;
    }
    if (strcmp(keyword, "enum") == 0)
        return json_is_array(value);
    if (strcmp(keyword, "required") == 0)
        return all_strings(value);
    if (strcmp(keyword, "type") == 0)
        return json_is_string(value) || all_strings(value);
    if (strcmp(keyword, "uniqueItems") == 0 || strcmp(keyword, "nullable") == 0)
        return json_is_boolean(value);
    if (strcmp(keyword, "items") == 0)
        return is_schema(value) || all_schemas(value, true);
    if (strcmp(keyword, "$ref") == 0)
        return json_is_string(value);
    if (strcmp(keyword, "not") == 0)
        return is_schema(value);
    if (strcmp(keyword, "allOf") == 0 || strcmp(keyword, "anyOf") == 0 || strcmp(keyword, "oneOf") == 0)
        return all_schemas(value, true) && json_array_size(value) > 0;
    return true;
}

bool schema_copy_assertions(Schema *s, const json_t *schema, json_t *flat) {
    for (void *i = json_object_iter((json_t *)schema); i != NULL; i = json_object_iter_next((json_t *)schema, i)) {
        const char *key = json_object_iter_key(i);
        json_t *value = json_object_iter_value(i);
        Role role = schema_role(key);
        if (strcmp(key, "$id") == 0 || strcmp(key, "id") == 0) {
            /* Only at the root does it leave the meaning of references as it is. */
            if (schema == s->root || (key[0] != '$' && !json_is_string(value)))
                role = ROLE_NOTE;
        }
        if (role == ROLE_REFUSED) {
            schema_fail(s, ERR_UNSUPPORTED, schema, key, "this keyword is not supported");
            return false;
        }
        if (!well_formed(key, role, value)) {
            schema_fail(s, ERR_ARGUMENT, schema, key, "its value does not have the form that JSON Schema demands");
            return false;
        }
        if (role == ROLE_NOTE || role == ROLE_PART || role == ROLE_COMBINE)
            continue;
        bool copied;
        if (strcmp(key, "const") == 0) {
            json_t *list = json_array();
            copied = list != NULL && json_array_append(list, value) == 0;
            if (copied && json_object_get(flat, "enum") != NULL) { /* both are there: what both allow */
                copied = json_array_append(s->kept, list) == 0;
                json_decref(list);
                continue;
            }
            copied = copied && json_object_set(flat, "enum", list) == 0;
            json_decref(list);
        } else if (strcmp(key, "items") == 0 && json_is_array(value)) { /* as prefixItems was called */
            copied = json_object_set(flat, "prefixItems", value) == 0;
        } else if (strcmp(key, "additionalItems") == 0) {
            copied = !json_is_array(json_object_get(schema, "items")) || json_object_set(flat, "items", value) == 0;
        } else if (strcmp(key, "pattern") == 0 || strcmp(key, "format") == 0) {
            json_t *list = json_object_get(flat, KEY_PATTERNS);
            copied = true;
            if (list == NULL) {
                list = json_array();
                copied = list != NULL && json_object_set_new(flat, KEY_PATTERNS, list) == 0;
            }
            const char *format = json_string_value(value);
            if (copied && strcmp(key, "pattern") == 0) {
                copied = json_array_append(list, value) == 0;
            } else if (copied && strcmp(format, "int32") == 0) {
                copied = json_object_set(flat, "format", value) == 0;
            } else if (copied && strcmp(format, "int64") != 0 && strcmp(format, "float") != 0 &&
                       strcmp(format, "double") != 0 && strcmp(format, "decimal") != 0) {
                const char *regex = format_regex(format);
                if (regex == NULL) {
                    schema_fail(s, ERR_UNSUPPORTED, schema, key, "this format is not supported");
                    return false;
                }
                copied = *regex == '\0' || json_array_append_new(list, json_string(regex)) == 0;
            }
            if (copied && json_array_size(list) == 0)
                json_object_del(flat, KEY_PATTERNS);
        } else {
            copied = json_object_set(flat, key, value) == 0;
        }
        if (!copied) {
            net_fail(s->net, ERR_MEMORY, "no memory for a schema");
            return false;
        }
    }
    return true;
}

/* One step of a JSON pointer, unescaped; returns where the next begins. */
static const char *pointer_step(const char *at, Text *step) {
    text_clear(step);
    for (; *at != '\0' && *at != '/'; at++) {
        char c = *at;
        if (c == '%' && at[1] != '\0' && at[2] != '\0') {
            const char digits[] = {at[1], at[2], '\0'};
            uint8_t byte;
            static const char hex[] = "0123456789abcdef";
            const char *high = strchr(hex, digits[0] | 0x20), *low = strchr(hex, digits[1] | 0x20);
            if (high != NULL && low != NULL && digits[0] > ' ' && digits[1] > ' ') {
                byte = (uint8_t)((high - hex) << 4 | (low - hex));
                c = (char)byte;
                at += 2;
            }
        }
        if (c == '~' && (at[1] == '0' || at[1] == '1')) {
            c = at[1] == '0' ? '~' : '/';
            at++;
        }
        text_append_char(step, c);
    }
    return at;
}

static const json_t *find_anchor(const json_t *node, const char *name, int depth) {
    const json_t *found = NULL;
    if (json_is_object(node)) {
        const json_t *anchor = json_object_get(node, "$anchor");
        if (json_is_string(anchor) && strcmp(json_string_value(anchor), name) == 0)
            return node;
        for (void *i = json_object_iter((json_t *)node); i != NULL && found == NULL && depth < JSON_MAX_DEPTH;
             i = json_object_iter_next((json_t *)node, i)) {
            const char *key = json_object_iter_key(i);
            if (strcmp(key, "enum") != 0 && strcmp(key, "const") != 0)
                found = find_anchor(json_object_iter_value(i), name, depth + 1);
        }
    } else if (json_is_array(node)) {
        for (size_t i = 0; i < json_array_size(node) && found == NULL && depth < JSON_MAX_DEPTH; i++)
            found = find_anchor(json_array_get(node, i), name, depth + 1);
    }
    return found;
}

static const json_t *follow_pointer(Schema *s, const char *at) {
    Text step = {0};
    const json_t *node = s->root;
    while (*at == '/' && node != NULL) {
        at = pointer_step(at + 1, &step);
        const char *name = step.bytes != NULL ? step.bytes : "";
        int64_t index;
        if (step.failed)
            net_fail(s->net, ERR_MEMORY, "no memory for a schema");
        if (json_is_array(node))
            node = parse_int64(name, &index) && index >= 0 ? json_array_get(node, (size_t)index) : NULL;
        else
            node = json_object_get(node, name);
        /* A schema with a name of its own makes references within it mean something else. */
        if (json_is_string(json_object_get(node, "$id")))
            node = NULL;
    }
    text_free(&step);
    return node;
}

const json_t *schema_resolve(Schema *s, const json_t *schema) {
    const char *ref = json_string_value(json_object_get(schema, "$ref"));
    const char *id = json_string_value(json_object_get(s->root, "$id"));
    const json_t *found = NULL;
    if (id != NULL && starts_with(ref, id) && (ref[strlen(id)] == '#' || ref[strlen(id)] == '\0'))
        ref += strlen(id);
    if (strcmp(ref, "#") == 0 || *ref == '\0')
        found = s->root;
    else if (ref[0] == '#' && ref[1] == '/')
        found = follow_pointer(s, ref + 1);
    else if (ref[0] == '#')
        found = find_anchor(s->root, ref + 1, 0);
    if (found == NULL || !is_schema(found)) {
        schema_fail(s, ERR_UNSUPPORTED, schema, "$ref",
                    "it leads to no schema in this document (others are not looked for)");
        return NULL;
    }
    return found;
}
