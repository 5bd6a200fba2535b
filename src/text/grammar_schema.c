/* grammar_schema.c - JSON Schemas as nets: one path for each flat schema and type.
 *
 * An object's members are a chain of nodes. F[i]: nothing written yet, N[i]: something was, so that a comma comes
 * first:
 *
 *     F0 ──"a":..──▶ N1      F0 ─▶ F1 when "a" is optional
 *     N1 ──, "b":..─▶ N2     N1 ─▶ N2 when "b" is optional       ...       N ──, other members──▶ }
 *
 * With minProperties or maxProperties there is one such row for each number of members. */
#include "text/grammar_schema.h"

#include "base/text.h"
#include "format/json.h"
#include "text/grammar_parts.h"

#include <string.h>

enum { MAX_BUILD_DEPTH = 300, MAX_COUNTED = 64, WORK = 50000 };

struct PendingRule {
    uint32_t rule;
    const json_t *schema;
};

static void build(Schema *s, uint32_t from, uint32_t to, const json_t *schema);

/* Notes a failure of an automaton in the net, with the place in the schema. */
static bool checked(Schema *s, Status status, const json_t *flat, const char *keyword) {
    if (status == OK)
        return true;
    if (!schema_bad(s)) {
        s->net->status = status;
        schema_context(s, flat, keyword);
    }
    return false;
}

/* The strings of a flat schema without enum. */
static bool strings_dfa(Schema *s, const json_t *flat, Dfa *dfa) {
    const uint32_t min = schema_count(s, flat, "minLength", 0), max = schema_count(s, flat, "maxLength", NET_NO_END);
    const json_t *patterns = json_object_get(flat, KEY_PATTERNS);
    const size_t count = json_array_size(patterns);
    const bool bounded = min > 0 || max != NET_NO_END || count == 0;
    *dfa = (Dfa){0};
    if (bounded &&
        !checked(s, dfa_of_length(min, max, dfa, s->net->err), flat, max != NET_NO_END ? "maxLength" : "minLength"))
        return false;
    for (size_t i = 0; i < count; i++) {
        const json_t *pattern = json_array_get(patterns, i);
        Dfa one;
        Status status = dfa_of_regex(json_string_value(pattern), json_string_length(pattern), false, &one, s->net->err);
        if (status == OK && !schema_spend(s, &one)) {
            dfa_free(&one);
            dfa_free(dfa);
            return false;
        }
        if (status == OK && dfa->next == NULL) {
            *dfa = one;
            continue;
        }
        if (status == OK)
            status = dfa_and(dfa, &one, false, s->net->err);
        dfa_free(&one);
        if (!checked(s, status, flat, KEY_PATTERNS)) {
            dfa_free(dfa);
            return false;
        }
    }
    return true;
}

static void build_string(Schema *s, uint32_t from, uint32_t to, const json_t *flat) {
    Net *net = s->net;
    const uint32_t min = schema_count(s, flat, "minLength", 0), max = schema_count(s, flat, "maxLength", NET_NO_END);
    if (json_object_get(flat, KEY_PATTERNS) == NULL) {
        if (min == 0 && max == NET_NO_END)
            value_any_string(&s->values, from, to);
        else if (min <= max)
            value_string_of_length(&s->values, from, to, min, max);
        return;
    }
    Dfa dfa;
    if (!strings_dfa(s, flat, &dfa))
        return;
    const uint32_t rule = net_rule(net, "string"), open = net_node(net), close = net_node(net);
    if (!schema_bad(s)) {
        net_range(net, net->rules[rule].start, open, '"', '"');
        dfa_build(net, open, close, &dfa, true);
        net_range(net, close, net->rules[rule].end, '"', '"');
        net_call(net, from, to, rule);
    }
    dfa_free(&dfa);
}

/* A rule of its own for a schema, so that several places can use it. */
static uint32_t rule_of(Schema *s, const json_t *schema) {
    const uint32_t rule = net_rule(s->net, NULL);
    if (!schema_bad(s))
        build(s, s->net->rules[rule].start, s->net->rules[rule].end, schema);
    return rule;
}

static uint32_t rule_start(const Schema *s, uint32_t rule) {
    return schema_bad(s) ? 0 : s->net->rules[rule].start;
}

static uint32_t rule_end(const Schema *s, uint32_t rule) {
    return schema_bad(s) ? 0 : s->net->rules[rule].end;
}

static void build_array(Schema *s, uint32_t from, uint32_t to, const json_t *flat) {
    Net *net = s->net;
    const json_t *prefix = json_object_get(flat, "prefixItems"), *rest = json_object_get(flat, "items");
    const uint32_t min = schema_count(s, flat, "minItems", 0);
    uint32_t max = schema_count(s, flat, "maxItems", NET_NO_END);
    const uint32_t fixed = (uint32_t)json_array_size(prefix);
    if (json_is_true(json_object_get(flat, "uniqueItems")) && max > 1)
        schema_fail(s, ERR_UNSUPPORTED, flat, "uniqueItems", "it cannot be enforced; leave it out, or use maxItems 1");
    /* After a tuple, more items come only where they are described or demanded. */
    if (json_is_false(rest) || (fixed > 0 && rest == NULL && min <= fixed))
        max = MIN(max, fixed);
    if (schema_bad(s) || min > max)
        return;
    const uint32_t open = net_node(net), close = net_node(net);
    uint32_t at = net_node(net);
    net_range(net, from, open, '[', '[');
    value_blank(&s->values, open, at, false);
    if (min == 0)
        net_range(net, at, to, ']', ']');
    for (uint32_t i = 0; i < fixed && i < max && !schema_bad(s); i++) {
        uint32_t item = at;
        if (i > 0) {
            item = net_node(net);
            value_separator(&s->values, at, item, ',');
        }
        at = net_node(net);
        build(s, item, at, json_array_get(prefix, i));
        if (i + 1 >= min)
            net_link(net, at, close);
    }
    if (max > fixed) {
        const uint32_t least = min > fixed ? min - fixed : 0, most = max == NET_NO_END ? max : max - fixed;
        /* The first of these has a comma only after others; so they are one, and then a loop of comma and item. */
        uint32_t item = net_node(net);
        const uint32_t after = net_node(net);
        if (fixed > 0)
            value_separator(&s->values, at, item, ',');
        else
            net_link(net, at, item);
        if (most == NET_NO_END && least <= 1) {
            if (rest != NULL)
                build(s, item, after, rest);
            else
                value_any(&s->values, item, after);
            value_separator(&s->values, after, item, ',');
            net_link(net, after, close);
        } else {
            uint32_t rule = 0;
            if (rest != NULL) {
                rule = rule_of(s, rest);
                net_call(net, item, after, rule);
            } else {
                value_any(&s->values, item, after);
            }
            const uint32_t turn = net_rule(net, NULL), value = net_node(net);
            value_separator(&s->values, rule_start(s, turn), value, ',');
            if (rest != NULL)
                net_call(net, value, rule_end(s, turn), rule);
            else
                value_any(&s->values, value, rule_end(s, turn));
            net_loop(net, after, close, turn, least > 0 ? least - 1 : 0, most == NET_NO_END ? most : most - 1);
        }
    }
    const uint32_t end = net_node(net);
    value_blank(&s->values, close, end, false);
    net_range(net, end, to, ']', ']');
}

/* What an object's members are made from. */
typedef struct Member {
    const char *name;
    const json_t *schema; /* NULL = anything */
    bool required;
} Member;

typedef struct Members {
    Schema *s;
    const json_t *flat;
    Member *list;
    size_t count;
    uint32_t others; /* a rule: one member that is not named; 0 = none */
    uint32_t min, max;
} Members;

static bool list_has(const json_t *list, const char *name) {
    for (size_t i = 0; i < json_array_size(list); i++)
        if (strcmp(json_string_value(json_array_get(list, i)), name) == 0)
            return true;
    return false;
}

/* What stands in "patternProperties", with its automaton. */
typedef struct Pattern {
    Dfa dfa;
    const json_t *schema;
} Pattern;

static bool names_dfa(Schema *s, const json_t *flat, const json_t *properties, Dfa *dfa) {
    const size_t count = json_object_size(properties);
    NetText *texts = mem_array(count + 1, sizeof *texts, MEM_TEXT);
    if (texts == NULL) {
        net_fail(s->net, ERR_MEMORY, "no memory for a schema");
        return false;
    }
    size_t i = 0;
    for (void *p = json_object_iter((json_t *)properties); p != NULL;
         p = json_object_iter_next((json_t *)properties, p))
        texts[i++] = (NetText){json_object_iter_key(p), strlen(json_object_iter_key(p))};
    const bool done = checked(s, dfa_of_texts(texts, count, dfa, s->net->err), flat, "properties");
    mem_free(texts);
    return done;
}

/* The keys that propertyNames allows. */
static bool keys_dfa(Schema *s, const json_t *flat, Dfa *dfa) {
    const json_t *names = json_object_get(flat, "propertyNames");
    if (names == NULL)
        return checked(s, dfa_of_length(0, NET_NO_END, dfa, s->net->err), flat, "additionalProperties");
    json_t *list = schema_flatten(s, names);
    *dfa = (Dfa){0};
    bool done = list != NULL;
    if (done && json_array_size(list) == 0) {
        done = checked(s, dfa_of_texts(NULL, 0, dfa, s->net->err), flat, "propertyNames");
    } else if (done) {
        const json_t *one = json_array_get(list, 0);
        const json_t *values = json_object_get(one, "enum");
        if (json_array_size(list) > 1 || json_object_get(one, "$ref") != NULL ||
            !(schema_types(s, one) & TYPE_STRING)) {
            schema_fail(s, ERR_UNSUPPORTED, flat, "propertyNames",
                        "only pattern, format, lengths or an enum are supported");
            done = false;
        } else if (values != NULL) {
            json_t *keys = json_object();
            for (size_t i = 0; i < json_array_size(values) && keys != NULL; i++)
                if (json_is_string(json_array_get(values, i)) && schema_holds(s, one, json_array_get(values, i)) == 1 &&
                    json_object_set(keys, json_string_value(json_array_get(values, i)), json_array_get(values, i)) != 0)
                    net_fail(s->net, ERR_MEMORY, "no memory for a schema");
            done = keys != NULL && !schema_bad(s) && names_dfa(s, flat, keys, dfa);
            json_decref(keys);
        } else {
            done = strings_dfa(s, one, dfa);
        }
    }
    json_decref(list);
    if (!done && !schema_bad(s))
        net_fail(s->net, ERR_MEMORY, "no memory for a schema");
    return done;
}

/* One alternative of the rule for members that are not named: "key" ':' value. */
static void add_others(Members *m, const Dfa *keys, const json_t *schema) {
    Schema *s = m->s;
    Net *net = s->net;
    if (json_is_false(schema) || (keys != NULL && dfa_empty(keys)))
        return;
    if (m->others == 0)
        m->others = net_rule(net, "member");
    const uint32_t start = rule_start(s, m->others), open = net_node(net), close = net_node(net), colon = net_node(net),
                   value = net_node(net);
    if (keys != NULL) {
        net_range(net, start, open, '"', '"');
        dfa_build(net, open, close, keys, true);
        net_range(net, close, colon, '"', '"');
    } else {
        value_any_string(&s->values, start, colon);
    }
    value_separator(&s->values, colon, value, ':');
    if (schema != NULL)
        build(s, value, rule_end(s, m->others), schema);
    else
        value_any(&s->values, value, rule_end(s, m->others));
}

static bool find_patterns(Schema *s, const json_t *flat, Pattern *patterns, size_t *count) {
    const json_t *published = json_object_get(flat, "patternProperties");
    for (void *i = json_object_iter((json_t *)published); i != NULL;
         i = json_object_iter_next((json_t *)published, i)) {
        const char *regex = json_object_iter_key(i);
        Pattern *p = &patterns[*count];
        if (!checked(s, dfa_of_regex(regex, strlen(regex), false, &p->dfa, s->net->err), flat, "patternProperties"))
            return false;
        p->schema = json_object_iter_value(i);
        (*count)++;
    }
    return true;
}

/* Members that "properties" does not name: by pattern, and all others. A key must not be in two patterns at once. */
static void build_others(Members *m, const Dfa *names, const Dfa *allowed, Pattern *patterns, size_t count) {
    Schema *s = m->s;
    const json_t *rest = json_object_get(m->flat, "additionalProperties");
    Error *err = s->net->err;
    /* Where properties are named, others come only when that is said. */
    const bool open = rest != NULL ? !json_is_false(rest)
                                   : json_object_size(json_object_get(m->flat, "properties")) == 0 && count == 0;
    if (open && count == 0 && json_object_size(json_object_get(m->flat, "properties")) == 0 && m->count == 0 &&
        json_object_get(m->flat, "propertyNames") == NULL) {
        add_others(m, NULL, rest);
        return;
    }
    Dfa left = {0}, whole = {0};
    if (!checked(s, dfa_of_length(0, NET_NO_END, &whole, err), m->flat, "additionalProperties"))
        return;
    bool fine = checked(s, dfa_and(&whole, names, true, err), m->flat, "properties") &&
                checked(s, dfa_and(&whole, allowed, false, err), m->flat, "propertyNames");
    left = whole; /* keys that may be there and are not named */
    for (size_t i = 0; i < count && fine; i++) {
        Dfa rest_keys = {0}, mine = {0};
        /* mine = left & pattern; then left = left - pattern */
        fine = checked(s, dfa_of_length(0, NET_NO_END, &mine, err), m->flat, "patternProperties") &&
               checked(s, dfa_and(&mine, &left, false, err), m->flat, "patternProperties") &&
               checked(s, dfa_and(&mine, &patterns[i].dfa, false, err), m->flat, "patternProperties");
        for (size_t k = i + 1; k < count && fine; k++) {
            fine = checked(s, dfa_of_length(0, NET_NO_END, &rest_keys, err), m->flat, "patternProperties") &&
                   checked(s, dfa_and(&rest_keys, &mine, false, err), m->flat, "patternProperties") &&
                   checked(s, dfa_and(&rest_keys, &patterns[k].dfa, false, err), m->flat, "patternProperties");
            if (fine && !dfa_empty(&rest_keys)) {
                schema_fail(s, ERR_UNSUPPORTED, m->flat, "patternProperties", "two patterns match the same key");
                fine = false;
            }
            dfa_free(&rest_keys);
        }
        if (fine)
            add_others(m, &mine, patterns[i].schema);
        dfa_free(&mine);
        fine = fine && checked(s, dfa_and(&left, &patterns[i].dfa, true, err), m->flat, "patternProperties");
    }
    if (fine && open)
        add_others(m, &left, rest);
    dfa_free(&left);
}

/* The named members in their order, then those that are only required. */
static bool list_members(Members *m, const Dfa *allowed, const Pattern *patterns, size_t pattern_count) {
    Schema *s = m->s;
    const json_t *properties = json_object_get(m->flat, "properties"), *required = json_object_get(m->flat, "required"),
                 *rest = json_object_get(m->flat, "additionalProperties");
    for (int pass = 0; pass < 2; pass++) {
        void *i = json_object_iter((json_t *)properties);
        for (size_t k = 0; pass == 0 ? i != NULL : k < json_array_size(required); k++) {
            const char *name = pass == 0 ? json_object_iter_key(i) : json_string_value(json_array_get(required, k));
            const json_t *schema = pass == 0 ? json_object_iter_value(i) : NULL;
            if (pass == 0)
                i = json_object_iter_next((json_t *)properties, i);
            bool known = false;
            for (size_t x = 0; x < m->count && pass == 1 && !known; x++)
                known = strcmp(m->list[x].name, name) == 0;
            if (known)
                continue;
            bool matched = false;
            for (size_t p = 0; p < pattern_count; p++)
                if (dfa_matches(&patterns[p].dfa, name, strlen(name))) {
                    matched = true;
                    schema = schema_both(s, schema, patterns[p].schema);
                }
            if (pass == 1 && !matched)
                schema = rest;
            if (schema_bad(s))
                return false;
            const bool must = pass == 1 || list_has(required, name);
            const bool never = json_is_false(schema) || !dfa_matches(allowed, name, strlen(name));
            if (never && must)
                return false; /* no object at all; the caller builds nothing */
            m->list[m->count++] = (Member){.name = name, .schema = never ? NULL : schema, .required = must};
            if (never)
                m->count--;
        }
    }
    return true;
}

static void build_member(Schema *s, uint32_t from, uint32_t to, const Member *member) {
    const uint32_t colon = net_node(s->net), value = net_node(s->net);
    value_literal_string(&s->values, from, colon, member->name, strlen(member->name));
    value_separator(&s->values, colon, value, ':');
    if (member->schema != NULL)
        build(s, value, to, member->schema);
    else
        value_any(&s->values, value, to);
}

/* Any number of members that are not named, `most` at most, with a comma before the first when `comma`. */
static void build_rest(Members *m, uint32_t from, uint32_t to, bool comma, uint32_t most) {
    Net *net = m->s->net;
    if (m->others == 0 || most == 0)
        return;
    const uint32_t member = net_node(net), after = net_node(net);
    if (comma)
        value_separator(&m->s->values, from, member, ',');
    else
        net_link(net, from, member);
    net_call(net, member, after, m->others);
    if (most == NET_NO_END) {
        value_separator(&m->s->values, after, member, ',');
        net_link(net, after, to);
        return;
    }
    const uint32_t turn = net_rule(net, NULL), next = net_node(net);
    value_separator(&m->s->values, rule_start(m->s, turn), next, ',');
    net_call(net, next, rule_end(m->s, turn), m->others);
    net_loop(net, after, to, turn, 0, most - 1);
}

/* Rows F and N of the drawing above. */
static void build_chain(Members *m, uint32_t from, uint32_t to) {
    Net *net = m->s->net;
    uint32_t first = from, next = 0; /* F[i], N[i]; 0 = cannot be reached */
    for (size_t i = 0; i < m->count && net->status == OK; i++) {
        const uint32_t member = net_node(net), after = net_node(net);
        if (first != 0)
            net_link(net, first, member);
        if (next != 0)
            value_separator(&m->s->values, next, member, ',');
        build_member(m->s, member, after, &m->list[i]);
        if (m->list[i].required) {
            first = 0;
        } else {
            if (next != 0)
                net_link(net, next, after);
            if (first != 0) {
                const uint32_t skipped = net_node(net);
                net_link(net, first, skipped);
                first = skipped;
            }
        }
        next = after;
    }
    if (first != 0) {
        net_link(net, first, to);
        build_rest(m, first, to, false, NET_NO_END);
    }
    if (next != 0) {
        net_link(net, next, to);
        build_rest(m, next, to, true, NET_NO_END);
    }
}

/* The same with a row for each number of members so far. Members that are not named might repeat a key, so that all of
 * them together count as one for `min`. */
static void build_counted(Members *m, uint32_t from, uint32_t to) {
    Net *net = m->s->net;
    const uint32_t top = m->max != NET_NO_END ? MIN(m->max, (uint32_t)m->count) : m->min;
    uint32_t row[MAX_COUNTED + 1], below[MAX_COUNTED + 1]; /* the node with c members, before and after a property */
    memset(row, 0, sizeof row);
    row[0] = from;
    for (size_t i = 0; i < m->count && net->status == OK; i++) {
        const uint32_t rule = net_rule(net, NULL);
        build_member(m->s, rule_start(m->s, rule), rule_end(m->s, rule), &m->list[i]);
        memset(below, 0, sizeof below);
        for (uint32_t c = 0; c <= top && net->status == OK; c++) {
            if (row[c] == 0)
                continue;
            if (!m->list[i].required) {
                below[c] = below[c] != 0 ? below[c] : net_node(net);
                net_link(net, row[c], below[c]);
            }
            if (c == top && m->max != NET_NO_END)
                continue;
            const uint32_t more = MIN(c + 1, top);
            below[more] = below[more] != 0 ? below[more] : net_node(net);
            uint32_t member = row[c];
            if (c > 0) {
                member = net_node(net);
                value_separator(&m->s->values, row[c], member, ',');
            }
            net_call(net, member, below[more], rule);
        }
        memcpy(row, below, sizeof row);
    }
    for (uint32_t c = 0; c <= top; c++) {
        if (row[c] == 0)
            continue;
        if (c >= m->min)
            net_link(net, row[c], to);
        if (c + 1 >= m->min)
            build_rest(m, row[c], to, c > 0, m->max == NET_NO_END ? m->max : m->max - MIN(c, m->max));
    }
}

static void build_members(Members *m, uint32_t from, uint32_t to, const Dfa *names, const Dfa *allowed,
                          Pattern *patterns, size_t pattern_count) {
    Schema *s = m->s;
    if (!list_members(m, allowed, patterns, pattern_count))
        return;
    build_others(m, names, allowed, patterns, pattern_count);
    m->min = schema_count(s, m->flat, "minProperties", 0);
    m->max = schema_count(s, m->flat, "maxProperties", NET_NO_END);
    if (schema_bad(s))
        return;
    if (m->others != 0 && m->min > m->count + 1) {
        schema_fail(s, ERR_UNSUPPORTED, m->flat, "minProperties",
                    "it cannot be enforced for more properties than are named, because keys might be repeated");
        return;
    }
    if (m->min > MAX_COUNTED || (m->max != NET_NO_END && MIN(m->max, m->count) > MAX_COUNTED)) {
        schema_fail(s, ERR_UNSUPPORTED, m->flat, m->min > MAX_COUNTED ? "minProperties" : "maxProperties",
                    "only small numbers are supported");
        return;
    }
    Net *net = s->net;
    const uint32_t open = net_node(net), first = net_node(net), last = net_node(net), close = net_node(net);
    net_range(net, from, open, '{', '{');
    value_blank(&s->values, open, first, false);
    if (m->min == 0 && m->max == NET_NO_END)
        build_chain(m, first, last);
    else
        build_counted(m, first, last);
    value_blank(&s->values, last, close, false);
    net_range(net, close, to, '}', '}');
}

static void build_object(Schema *s, uint32_t from, uint32_t to, const json_t *flat) {
    static const char *const about[] = {"properties",    "patternProperties", "additionalProperties", "required",
                                        "propertyNames", "minProperties",     "maxProperties"};
    bool any = true;
    for (size_t i = 0; i < COUNT(about); i++)
        any = any && json_object_get(flat, about[i]) == NULL;
    if (any) {
        value_object(&s->values, from, to);
        return;
    }
    const json_t *properties = json_object_get(flat, "properties");
    const size_t pattern_room = json_object_size(json_object_get(flat, "patternProperties"));
    Members m = {.s = s, .flat = flat};
    m.list = mem_array(json_object_size(properties) + json_array_size(json_object_get(flat, "required")) + 1,
                       sizeof *m.list, MEM_TEXT);
    Pattern *patterns = mem_array(pattern_room + 1, sizeof *patterns, MEM_TEXT);
    Dfa names = {0}, allowed = {0};
    size_t pattern_count = 0;
    if (m.list == NULL || patterns == NULL) {
        net_fail(s->net, ERR_MEMORY, "no memory for a schema");
    } else if (find_patterns(s, flat, patterns, &pattern_count) && keys_dfa(s, flat, &allowed)) {
        /* Names that are only required count as named too: as additional ones they would come twice. */
        json_t *named = properties != NULL ? json_copy((json_t *)properties) : json_object();
        const json_t *required = json_object_get(flat, "required");
        bool done = named != NULL;
        for (size_t i = 0; i < json_array_size(required) && done; i++)
            done = json_object_set_new(named, json_string_value(json_array_get(required, i)), json_true()) == 0;
        if (!done)
            net_fail(s->net, ERR_MEMORY, "no memory for a schema");
        else if (names_dfa(s, flat, named, &names))
            build_members(&m, from, to, &names, &allowed, patterns, pattern_count);
        json_decref(named);
    }
    for (size_t i = 0; i < pattern_count; i++)
        dfa_free(&patterns[i].dfa);
    dfa_free(&names);
    dfa_free(&allowed);
    mem_free(patterns);
    mem_free(m.list);
}

static void build_enum(Schema *s, uint32_t from, uint32_t to, const json_t *flat, const json_t *values) {
    const size_t count = json_array_size(values);
    for (size_t i = 0; i < count && !schema_bad(s); i++) {
        const json_t *value = json_array_get(values, i);
        const int holds = schema_holds(s, flat, value);
        if (holds < 0)
            schema_fail(s, ERR_UNSUPPORTED, flat, "enum",
                        "its values cannot be checked against the other keywords here");
        if (holds > 0)
            value_literal(&s->values, from, to, value);
    }
}

static void build_flat(Schema *s, uint32_t from, uint32_t to, const json_t *flat) {
    const json_t *values = json_object_get(flat, "enum");
    if (values != NULL) {
        build_enum(s, from, to, flat, values);
        return;
    }
    const unsigned types = schema_types(s, flat);
    if (types == TYPE_ALL && json_object_size(flat) == 0) {
        value_any(&s->values, from, to);
        return;
    }
    if (types & TYPE_NULL)
        net_string(s->net, from, to, "null");
    if (types & TYPE_BOOLEAN) {
        net_string(s->net, from, to, "true");
        net_string(s->net, from, to, "false");
    }
    if (types & (TYPE_INTEGER | TYPE_NUMBER)) {
        NumberRange range;
        if (schema_range(s, flat, &range)) {
            range.integer = !(types & TYPE_NUMBER);
            number_build(&s->values, from, to, &range);
            if (schema_bad(s) && s->net->status == ERR_UNSUPPORTED && range.multiple != NULL)
                schema_context(s, flat, "multipleOf");
        }
    }
    if (types & TYPE_STRING)
        build_string(s, from, to, flat);
    if (types & TYPE_ARRAY)
        build_array(s, from, to, flat);
    if (types & TYPE_OBJECT)
        build_object(s, from, to, flat);
}

/* A schema that is referred to has one rule, whose inside is built later: references may lead in circles. */
static void build_reference(Schema *s, uint32_t from, uint32_t to, const json_t *reference) {
    const json_t *target = schema_resolve(s, reference);
    if (target == NULL)
        return;
    if (json_is_boolean(target)) { /* true and false are the same everywhere: no address of their own */
        build(s, from, to, target);
        return;
    }
    const json_t **key = net_alloc(s->net, sizeof *key);
    if (key == NULL)
        return;
    *key = target;
    const int64_t *known = map_find(&s->refs, (const char *)key, sizeof *key);
    uint32_t rule = known != NULL ? (uint32_t)*known : 0;
    if (known == NULL) {
        rule = net_rule(s->net, json_string_value(json_object_get(reference, "$ref")));
        if (!map_put(&s->refs, (const char *)key, sizeof *key, rule) ||
            !mem_grow((void **)&s->pending, &s->pending_capacity, s->pending_count + 1, sizeof *s->pending, MEM_TEXT)) {
            net_fail(s->net, ERR_MEMORY, "no memory for a schema");
            return;
        }
        s->pending[s->pending_count++] = (struct PendingRule){rule, target};
    }
    net_call(s->net, from, to, rule);
}

static void build(Schema *s, uint32_t from, uint32_t to, const json_t *schema) {
    if (schema_bad(s))
        return;
    if (++s->depth > MAX_BUILD_DEPTH) {
        net_fail(s->net, ERR_LIMIT, "JSON schema: nested more than %d deep, or combined with itself without end",
                 (int)MAX_BUILD_DEPTH);
        return;
    }
    json_t *list = schema_flatten(s, schema);
    for (size_t i = 0; i < json_array_size(list) && !schema_bad(s); i++) {
        const json_t *flat = json_array_get(list, i);
        if (json_object_get(flat, "$ref") != NULL)
            build_reference(s, from, to, flat);
        else
            build_flat(s, from, to, flat);
    }
    json_decref(list);
    s->depth--;
}

void schema_build(Net *net, uint32_t from, uint32_t to, const json_t *schema, GrammarSpace space) {
    json_setup();
    if (!json_is_object(schema) && !json_is_boolean(schema)) {
        net_fail(net, ERR_ARGUMENT, "JSON schema, #: an object, true or false was expected");
        return;
    }
    Schema s = {.net = net, .root = schema, .kept = json_array(), .work = WORK};
    s.values = (ValueRules){.net = net, .space = space};
    if (s.kept == NULL)
        net_fail(net, ERR_MEMORY, "no memory for a schema");
    build(&s, from, to, schema);
    for (size_t i = 0; i < s.pending_count && !schema_bad(&s); i++) {
        const struct PendingRule p = s.pending[i];
        const uint32_t start = rule_start(&s, p.rule), end = rule_end(&s, p.rule);
        /* The rule of a reference that is only a reference, and so on in a circle, stays empty: nothing matches. */
        build(&s, start, end, p.schema);
    }
    json_decref(s.kept);
    map_free(&s.refs);
    mem_free(s.pending);
}
