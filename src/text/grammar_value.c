/* grammar_value.c - see grammar_value.h. */
#include "text/grammar_value.h"

#include "base/text.h"
#include "format/json_write.h"
#include "text/grammar_parts.h"

#include <string.h>

enum { INDENT = 40 };

static uint32_t new_rule(ValueRules *j, uint32_t *slot, const char *name) {
    *slot = net_rule(j->net, name);
    return j->net->status == OK ? *slot : 0;
}

static uint32_t start_of(const ValueRules *j, uint32_t rule) {
    return j->net->status == OK ? j->net->rules[rule].start : 0;
}

static uint32_t end_of(const ValueRules *j, uint32_t rule) {
    return j->net->status == OK ? j->net->rules[rule].end : 0;
}

/* Nothing, one blank, or a newline and some blanks or tabs: a model that lays out its JSON can, but none can go on
 * writing blanks for ever. */
static void build_blank(ValueRules *j) {
    const uint32_t start = start_of(j, j->blank), end = end_of(j, j->blank);
    net_link(j->net, start, end);
    net_range(j->net, start, end, ' ', ' ');
    ByteSet indent = {{0}};
    byte_set_add(&indent, ' ', ' ');
    byte_set_add(&indent, '\t', '\t');
    uint32_t at = net_node(j->net);
    net_range(j->net, start, at, '\n', '\n');
    for (int i = 0; i < INDENT && j->net->status == OK; i++) {
        const uint32_t next = net_node(j->net);
        net_link(j->net, at, end);
        net_bytes(j->net, at, next, &indent);
        at = next;
    }
    net_link(j->net, at, end);
}

void value_blank(ValueRules *j, uint32_t from, uint32_t to, bool separator) {
    if (j->space == GRAMMAR_SPACE_LINES) {
        if (j->blank == 0 && new_rule(j, &j->blank, "blank") != 0)
            build_blank(j);
        net_call(j->net, from, to, j->blank);
        return;
    }
    net_link(j->net, from, to);
    if (separator && j->space == GRAMMAR_SPACE_ONE)
        net_range(j->net, from, to, ' ', ' ');
}

void value_separator(ValueRules *j, uint32_t from, uint32_t to, char mark) {
    const uint32_t after = net_node(j->net);
    net_range(j->net, from, after, (unsigned char)mark, (unsigned char)mark);
    value_blank(j, after, to, true);
}

/* Hexadecimal digits of a \u escape that is a character, or of the first or second half of a pair. */
static void build_hex(Net *net, uint32_t from, uint32_t to, const char *const classes[4]) {
    for (int i = 0; i < 4 && net->status == OK; i++) {
        ByteSet set = {{0}};
        for (const char *c = classes[i]; *c != '\0'; c++)
            byte_set_add(&set, (unsigned char)*c, (unsigned char)*c);
        const uint32_t next = i == 3 ? to : net_node(net);
        net_bytes(net, from, next, &set);
        from = next;
    }
}

/* One character as JSON writes it. */
static void build_char(Net *net, uint32_t from, uint32_t to) {
    CharSet plain = {0};
    charset_add(net, &plain, 0x20, 0x21);
    charset_add(net, &plain, 0x23, 0x5B);
    charset_add(net, &plain, 0x5D, CHAR_LAST);
    charset_build(net, from, to, &plain);
    const uint32_t escape = net_node(net), unicode = net_node(net), pair = net_node(net), half = net_node(net),
                   second = net_node(net);
    net_range(net, from, escape, '\\', '\\');
    ByteSet simple = {{0}};
    for (const char *c = "\"\\/bfnrt"; *c != '\0'; c++)
        byte_set_add(&simple, (unsigned char)*c, (unsigned char)*c);
    net_bytes(net, escape, to, &simple);
    net_range(net, escape, unicode, 'u', 'u');
    static const char any[] = "0123456789abcdefABCDEF", no_d[] = "0123456789abcefABCEF", d[] = "dD", low[] = "01234567",
                      middle[] = "89abAB", high[] = "cdefCDEF";
    build_hex(net, unicode, to, (const char *const[]){no_d, any, any, any});
    build_hex(net, unicode, to, (const char *const[]){d, low, any, any});
    build_hex(net, unicode, pair, (const char *const[]){d, middle, any, any});
    net_range(net, pair, half, '\\', '\\');
    net_range(net, half, second, 'u', 'u');
    build_hex(net, second, to, (const char *const[]){d, high, any, any});
}

void value_any_string(ValueRules *j, uint32_t from, uint32_t to) {
    if (j->string == 0 && new_rule(j, &j->string, "string") != 0) {
        const uint32_t middle = net_node(j->net), after = net_node(j->net);
        net_range(j->net, start_of(j, j->string), middle, '"', '"');
        build_char(j->net, middle, after);
        net_link(j->net, after, middle);
        net_range(j->net, middle, end_of(j, j->string), '"', '"');
    }
    net_call(j->net, from, to, j->string);
}

void value_string_of_length(ValueRules *j, uint32_t from, uint32_t to, uint32_t min, uint32_t max) {
    if (j->one_char == 0 && new_rule(j, &j->one_char, "character") != 0)
        build_char(j->net, start_of(j, j->one_char), end_of(j, j->one_char));
    /* A rule of its own, so that all that lies outside of the string is left out of its masks. */
    const uint32_t rule = net_rule(j->net, "string"), open = net_node(j->net), close = net_node(j->net);
    net_range(j->net, start_of(j, rule), open, '"', '"');
    net_loop(j->net, open, close, j->one_char, min, max);
    net_range(j->net, close, end_of(j, rule), '"', '"');
    net_call(j->net, from, to, rule);
}

/* At most so many digits: no endless numbers, and every reader's integers hold them. */
static void build_regex(ValueRules *j, uint32_t rule, const char *regex) {
    regex_build(j->net, start_of(j, rule), end_of(j, rule), regex, strlen(regex));
}

void value_number(ValueRules *j, uint32_t from, uint32_t to, bool integer) {
    uint32_t *rule = integer ? &j->integer : &j->number;
    if (*rule == 0 && new_rule(j, rule, integer ? "integer" : "number") != 0)
        build_regex(j, *rule,
                    integer ? "-?(0|[1-9][0-9]{0,17})"
                            : "-?(0|[1-9][0-9]{0,17})(\\.[0-9]{1,17})?([eE][+-]?[0-9]{1,2})?");
    net_call(j->net, from, to, *rule);
}

static void build_object(ValueRules *j) {
    Net *net = j->net;
    const uint32_t start = start_of(j, j->object), end = end_of(j, j->object);
    const uint32_t first = net_node(net), member = net_node(net), colon = net_node(net), value = net_node(net),
                   after = net_node(net), close = net_node(net);
    const uint32_t open = net_node(net);
    net_range(net, start, open, '{', '{');
    value_blank(j, open, first, false);
    net_range(net, first, end, '}', '}');
    net_link(net, first, member);
    value_any_string(j, member, colon);
    value_separator(j, colon, value, ':');
    value_any(j, value, after);
    value_separator(j, after, member, ',');
    value_blank(j, after, close, false);
    net_range(net, close, end, '}', '}');
}

static void build_array(ValueRules *j) {
    Net *net = j->net;
    const uint32_t start = start_of(j, j->array), end = end_of(j, j->array);
    const uint32_t open = net_node(net), first = net_node(net), value = net_node(net), after = net_node(net),
                   close = net_node(net);
    net_range(net, start, open, '[', '[');
    value_blank(j, open, first, false);
    net_range(net, first, end, ']', ']');
    net_link(net, first, value);
    value_any(j, value, after);
    value_separator(j, after, value, ',');
    value_blank(j, after, close, false);
    net_range(net, close, end, ']', ']');
}

void value_object(ValueRules *j, uint32_t from, uint32_t to) {
    if (j->object == 0 && new_rule(j, &j->object, "object") != 0)
        build_object(j);
    net_call(j->net, from, to, j->object);
}

void value_any(ValueRules *j, uint32_t from, uint32_t to) {
    if (j->value == 0 && new_rule(j, &j->value, "value") != 0) {
        const uint32_t start = start_of(j, j->value), end = end_of(j, j->value);
        value_object(j, start, end);
        if (j->array == 0 && new_rule(j, &j->array, "array") != 0)
            build_array(j);
        net_call(j->net, start, end, j->array);
        value_any_string(j, start, end);
        value_number(j, start, end, false);
        net_string(j->net, start, end, "true");
        net_string(j->net, start, end, "false");
        net_string(j->net, start, end, "null");
    }
    net_call(j->net, from, to, j->value);
}

void value_literal_string(ValueRules *j, uint32_t from, uint32_t to, const char *bytes, size_t count) {
    Text text = {0};
    JsonWriter w = {.out = &text};
    json_write_bytes(&w, bytes, count);
    if (text.failed)
        net_fail(j->net, ERR_MEMORY, "no memory for a key");
    else
        net_literal(j->net, from, to, text.bytes, text.count);
    text_free(&text);
}

void value_literal(ValueRules *j, uint32_t from, uint32_t to, const json_t *value) {
    Text text = {0};
    JsonWriter w = {.out = &text};
    json_write_value(&w, value);
    if (text.failed)
        net_fail(j->net, ERR_MEMORY, "no memory for a value");
    else
        net_literal(j->net, from, to, text.bytes, text.count);
    text_free(&text);
}

void value_build(Net *net, uint32_t from, uint32_t to, GrammarSpace space, bool object) {
    ValueRules j = {.net = net, .space = space};
    if (object)
        value_object(&j, from, to);
    else
        value_any(&j, from, to);
}
