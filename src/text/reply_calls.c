/* reply_calls.c - see reply_calls.h.
 *
 *     CALLS_OBJECT   <open>\n{"name": NAME, "arguments": [schema]}\n<close>
 *     CALLS_ARRAY    <open>[{"name": NAME, "arguments": [schema]}]
 *     CALLS_BARE     {"name": NAME, "parameters": [schema]}
 *     CALLS_HEADER   <section><open>NAME<header_end>[schema]<close></section>
 *                    NAME<header_end>[schema], where such a line needs no mark
 *     CALLS_XML      <section><open>NAME( <param>KEY..[value]</param> )*<close></section>
 *     CALLS_TREE     <section><open>NAME( <KEY>[value]</KEY> )*<close></section>
 *     CALLS_LITERAL  <open>NAME(KEY=[value], ...)<close>
 *     CALLS_HARMONY  <|channel|>commentary to=functions.NAME <|constrain|>json<|message|>[schema]
 *
 * Values between tags are texts as they stand or JSON, by their types (reply_xml.c reads them back so); their sequence,
 * and values that have a notation of their own, are written as a grammar in Lark's notation. */
#include "text/reply_calls.h"

#include "format/json.h"
#include "format/json_write.h"
#include "text/reply_parts.h"

#include <string.h>

enum { CALLS_MOST = 256 };

typedef struct CallGrammar {
    Text begin, trigger, end;
    Text body, rules; /* of a grammar in Lark's notation: its first rule, and others that it names */
    int n_rule;
    GrammarSpec content;
} CallGrammar;

struct ReplyCalls {
    const ReplyFormat *format;
    ReplyCallsSpec spec;
    GrammarSpec grammar;
    size_t n;
    GrammarTag tags[2 * CALLS_MOST];
    CallGrammar calls[2 * CALLS_MOST];
};

static void append(Text *text, const char *mark) {
    text_append_str(text, mark != NULL ? mark : "");
}

static void append_json_string(Text *text, const char *string) {
    JsonWriter writer = {.out = text};
    json_write_string(&writer, string);
}

/* ---- the arguments as JSON --------------------------------------------------------------------------------------- */

/* The grammar that the parameter "input" of a tool keeps; false when it is a tool like others. */
static bool custom_grammar(const ReplyCalls *r, const char *name, GrammarSpec *grammar) {
    const json_t *format = json_object_get(json_object_get(r->spec.customs, name), "format");
    const json_t *definition = json_object_get(format, "definition");
    if (!json_is_string(definition))
        return false;
    *grammar = (GrammarSpec){.kind = strcmp(json_word(format, "syntax"), "regex") == 0 ? GRAMMAR_REGEX : GRAMMAR_LARK,
                             .text = json_string_value(definition),
                             .text_count = json_string_length(definition)};
    return true;
}

/* What stands between `begin` and `end`, which may be lengthened by what is sure of it. */
static void set_json_content(const ReplyCalls *r, CallGrammar *c, const json_t *function) {
    const json_t *parameters = json_object_get(function, "parameters");
    if (custom_grammar(r, json_word(function, "name"), &c->content)) {
        Text end = c->end;
        c->content.in_json_string = true;
        append(&c->begin, "{\"input\": \"");
        c->end = (Text){0};
        append(&c->end, "\"}");
        append(&c->end, end.bytes);
        text_free(&end);
    } else if (json_is_object(parameters))
        c->content = (GrammarSpec){.kind = GRAMMAR_SCHEMA, .schema = parameters};
    else
        c->content = (GrammarSpec){.kind = GRAMMAR_OBJECT};
}

/* ---- the arguments between tags ---------------------------------------------------------------------------------- */

static void append_lark_string(Text *text, const char *bytes, size_t count) {
    text_append_char(text, '"');
    for (size_t i = 0; i < count; i++) {
        const char b = bytes[i];
        if (b == '\n')
            text_append_str(text, "\\n");
        else {
            if (b == '"' || b == '\\')
                text_append_char(text, '\\');
            text_append_char(text, b);
        }
    }
    text_append_char(text, '"');
}

static void append_lark(Text *text, const char *string) {
    append_lark_string(text, string, strlen(string));
}

/* Words that bound a text, or that refer to what stands elsewhere: not said in tags. */
static bool is_bound(const json_t *schema) {
    static const char *const words[] = {"pattern", "format", "minLength", "maxLength", "anyOf", "oneOf",      "allOf",
                                        "not",     "if",     "$ref",      "const",     "$defs", "definitions"};
    for (size_t i = 0; i < COUNT(words); i++)
        if (json_object_get(schema, words[i]) != NULL)
            return true;
    return false;
}

static bool refers(const json_t *value, int depth) {
    const char *key;
    json_t *inner;
    size_t i;
    if (depth > 64 || json_object_get(value, "$ref") != NULL)
        return true;
    if (json_is_object(value))
        json_object_foreach((json_t *)(uintptr_t)value, key, inner) if (refers(inner, depth + 1)) return true;
    if (json_is_array(value))
        json_array_foreach((json_t *)(uintptr_t)value, i, inner) if (refers(inner, depth + 1)) return true;
    return false;
}

static bool is_type(const json_t *schema, const char *type) {
    return strcmp(json_word(schema, "type"), type) == 0;
}

static bool append_json(Text *body, const json_t *schema) {
    JsonWriter writer = {.out = body};
    if (!json_is_string(json_object_get(schema, "type")) || refers(schema, 0))
        return false; /* of several types: how it is read back depends on what stands there */
    text_append_str(body, "%json ");
    json_write_value(&writer, schema);
    return true;
}

/* One of several texts, as the notation writes them (NULL: as they stand). */
static bool append_choices(Text *body, const json_t *choices, void (*write)(Text *, const char *, const char *),
                           const char *quote) {
    size_t i;
    json_t *one;
    if (json_array_size(choices) == 0)
        return false;
    text_append_char(body, '(');
    json_array_foreach((json_t *)(uintptr_t)choices, i, one) {
        const char *choice = json_string_value(one);
        if (choice == NULL || strlen(choice) != json_string_length(one))
            return false;
        text_append_str(body, i > 0 ? " | " : "");
        if (write != NULL)
            write(body, choice, quote);
        else
            append_lark(body, choice);
    }
    text_append_char(body, ')');
    return true;
}

/* Any text in which nothing begins like the mark behind it. */
static void append_text_before(Text *body, const char *mark) {
    static const char special[] = "\\/[]^-|";
    char first[3] = {0}, second[3] = {0};
    snprintf(first, sizeof first, "%s%c", strchr(special, mark[0]) != NULL ? "\\" : "", mark[0]);
    snprintf(second, sizeof second, "%s%c", strchr(special, mark[1]) != NULL ? "\\" : "", mark[1]);
    text_append_format(body, "/([^%s]|%s[^%s%s])*/", first, first, first, second);
}

/* A text as it stands, one of several, or JSON. False when this cannot be said here. */
static bool append_value(Text *body, const json_t *schema, const char *close) {
    const json_t *choices = json_object_get(schema, "enum");
    if (!is_type(schema, "string"))
        return append_json(body, schema);
    if (is_bound(schema))
        return false;
    if (choices != NULL)
        return append_choices(body, choices, NULL, NULL);
    append_text_before(body, close);
    return true;
}

static bool is_required(const json_t *parameters, const char *key) {
    size_t i;
    json_t *one;
    json_array_foreach(json_object_get(parameters, "required"), i,
                       one) if (json_is_string(one) && strcmp(json_string_value(one), key) == 0) return true;
    return false;
}

static bool append_parameter(const ReplyFormat *f, Text *body, const char *key, const json_t *schema) {
    const bool own_lines = f->trim_newlines && !f->inline_values;
    Text open = {0}, close = {0};
    append(&open, f->param_open);
    append(&open, key);
    append(&open, f->text_end == NULL ? f->param_name_end : is_type(schema, "string") ? f->text_end : f->json_end);
    if (f->value_open != NULL) {
        append(&open, f->lines ? "\n" : "");
        append(&open, f->value_open);
    }
    append(&open, own_lines ? "\n" : "");
    append(&close, own_lines ? "\n" : "");
    append(&close, f->param_close);
    append(&close, f->lines ? "\n" : "");
    bool good = !open.failed && !close.failed;
    if (good) {
        append_lark(body, open.bytes);
        text_append_char(body, ' ');
        good = append_value(body, schema, f->param_close);
        text_append_char(body, ' ');
        append_lark(body, close.bytes);
    }
    text_free(&open);
    text_free(&close);
    return good;
}

/* ---- values of several notations ----------------------------------------------------------------------------------- */

/* What can be said of a value without JSON: its schema has no other words. */
static bool is_plain_schema(const json_t *schema) {
    static const char *const words[] = {"type",     "description", "title", "default",
                                        "examples", "properties",  "items", "required", "enum"};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)schema, key, value) {
        bool known = strcmp(key, "additionalProperties") == 0 && !json_is_object(value);
        for (size_t i = 0; i < COUNT(words); i++)
            known = known || strcmp(key, words[i]) == 0;
        if (!known)
            return false;
    }
    return json_is_string(json_object_get(schema, "type"));
}

static bool append_tree_entries(const ReplyFormat *f, Text *body, const json_t *schema, int depth);

/* <tag>value</tag>, where the value may be such elements. */
static bool append_element(const ReplyFormat *f, Text *body, const char *tag, const json_t *schema, int depth) {
    const bool list = is_type(schema, "array");
    Text open = {0}, close = {0};
    text_append_format(&open, "%s%s%s", f->param_open, tag, f->param_name_end);
    text_append_format(&close, "%s%s%s", f->param_close, tag, f->param_name_end);
    bool good = !open.failed && !close.failed && depth < REPLY_DEPTH && strlen(tag) > 0;
    if (good) {
        append_lark(body, open.bytes);
        text_append_char(body, ' ');
        if (list && is_plain_schema(schema)) {
            text_append_char(body, '(');
            good = append_element(f, body, "item", json_object_get(schema, "items"), depth + 1);
            text_append_str(body, ")*");
        } else if (is_type(schema, "object"))
            good = append_tree_entries(f, body, schema, depth + 1);
        else
            good = !list && append_value(body, schema, close.bytes);
        text_append_char(body, ' ');
        append_lark(body, close.bytes);
    }
    text_free(&open);
    text_free(&close);
    return good;
}

static bool append_tree_entries(const ReplyFormat *f, Text *body, const json_t *schema, int depth) {
    const char *key;
    json_t *value;
    if (!is_plain_schema(schema))
        return false;
    json_object_foreach(json_object_get(schema, "properties"), key, value) {
        text_append_char(body, '(');
        if (!append_element(f, body, key, value, depth))
            return false;
        text_append_str(body, is_required(schema, key) ? ") " : ")? ");
    }
    return true;
}

/* A string between quotes: with the format's own there are no escapes. */
static void write_quoted(Text *body, const char *string, const char *quote) {
    Text text = {0};
    append(&text, quote != NULL ? quote : "'");
    for (const char *c = string; *c != '\0'; c++) {
        const bool special = quote == NULL && (*c == '\'' || *c == '\\' || *c == '\n');
        text_append_str(&text, special ? "\\" : "");
        text_append_char(&text, special && *c == '\n' ? 'n' : *c);
    }
    append(&text, quote != NULL ? quote : "'");
    append_lark_string(body, text.bytes != NULL ? text.bytes : "", text.count);
    text_free(&text);
}

static bool append_entries(const ReplyFormat *f, CallGrammar *c, Text *body, const json_t *schema, const char *key_end,
                           int depth);

static bool append_literal(const ReplyFormat *f, CallGrammar *c, Text *body, const json_t *schema, int depth) {
    const json_t *choices = json_object_get(schema, "enum"), *items = json_object_get(schema, "items");
    const bool object = is_type(schema, "object"), python = f->quote == NULL;
    if (is_type(schema, "string")) {
        if (is_bound(schema))
            return false;
        if (choices != NULL)
            return append_choices(body, choices, write_quoted, f->quote);
        append_lark(body, python ? "'" : f->quote);
        if (python)
            text_append_str(body, " /([^'\\\\\\n]|\\\\['\\\\n])*/ ");
        else
            append_text_before(body, f->quote);
        append_lark(body, python ? "'" : f->quote);
        return true;
    }
    if (python && is_type(schema, "boolean") && choices == NULL) {
        text_append_str(body, "(\"True\" | \"False\")");
        return true;
    }
    if (python || !(object || is_type(schema, "array")))
        return append_json(body, schema); /* which is read as Python is */
    if (!is_plain_schema(schema) || depth == REPLY_DEPTH)
        return false;
    append_lark(body, object ? "{" : "[");
    bool good = true;
    if (object) {
        good = append_entries(f, c, body, schema, ":", depth + 1);
    } else {
        const int item = c->n_rule++;
        Text value = {0};
        good = append_literal(f, c, &value, items, depth + 1);
        text_append_format(&c->rules, "v%d: %s\n", item, value.bytes != NULL ? value.bytes : "");
        text_free(&value);
        text_append_format(body, " (v%d (\",\" v%d)*)? ", item, item);
    }
    append_lark(body, object ? "}" : "]");
    return good;
}

/* KEY=[value], ...: a rule for each; those that are not required may be left out, with their commas. */
static bool append_entries(const ReplyFormat *f, CallGrammar *c, Text *body, const json_t *schema, const char *key_end,
                           int depth) {
    json_t *properties = json_object_get(schema, "properties"), *value;
    const char *key, *comma = f->quote == NULL ? "\", \"" : "\",\"";
    const int n = (int)json_object_size(properties), base = c->n_rule;
    bool required[CALLS_MOST], optional = true;
    int i = 0;
    if (n > CALLS_MOST)
        return false;
    c->n_rule += n;
    json_object_foreach(properties, key, value) {
        Text open = {0}, text = {0};
        text_append_format(&open, "%s%s", key, key_end);
        append_lark(&text, open.bytes != NULL ? open.bytes : "");
        text_append_char(&text, ' ');
        const bool good = append_literal(f, c, &text, value, depth);
        text_append_format(&c->rules, "v%d: %s\n", base + i, text.bytes != NULL ? text.bytes : "");
        text_free(&open);
        text_free(&text);
        if (!good)
            return false;
        required[i++] = is_required(schema, key);
    }
    text_append_str(body, " (");
    for (int first = 0; first < n && optional; first++) { /* all before it are left out */
        text_append_format(body, "%sv%d", first > 0 ? " | " : "", base + first);
        for (int k = first + 1; k < n; k++)
            text_append_format(body, required[k] ? " %s v%d" : " (%s v%d)?", comma, base + k);
        optional = !required[first];
    }
    text_append_str(body, !optional ? ") " : n > 0 ? " | \"\") " : "\"\") ");
    return true;
}

/* ---- arguments as Lark's rules ----------------------------------------------------------------------------------- */

/* Parameters in the order of the schema; those that are not required may be left out. */
static bool append_parameters(const ReplyFormat *f, CallGrammar *c, const json_t *parameters) {
    const char *key;
    json_t *schema;
    if (f->style == CALLS_TREE && parameters != NULL)
        return append_tree_entries(f, &c->body, parameters, 0);
    if (f->style == CALLS_LITERAL && parameters != NULL)
        return is_plain_schema(parameters) && append_entries(f, c, &c->body, parameters, f->key_end, 0);
    if (parameters != NULL && is_bound(parameters))
        return false;
    json_object_foreach(json_object_get(parameters, "properties"), key, schema) {
        text_append_str(&c->body, " (");
        if (!append_parameter(f, &c->body, key, schema))
            return false;
        text_append_str(&c->body, is_required(parameters, key) ? ")" : ")?");
    }
    return true;
}

static Status set_lark_content(const ReplyCalls *r, CallGrammar *c, const json_t *function, Error *err) {
    const char *name = json_word(function, "name");
    append(&c->body, "start: \"\" ");
    FAIL_IF(custom_grammar(r, name, &c->content) ||
                !append_parameters(r->format, c, json_object_get(function, "parameters")),
            ERR_UNSUPPORTED, "the parameters of '%.100s' cannot be bound in this notation", name);
    append(&c->body, "\n");
    append(&c->body, c->rules.bytes);
    TRY(text_check(&c->rules, err));
    TRY(text_check(&c->body, err));
    c->content = (GrammarSpec){.kind = GRAMMAR_LARK, .text = c->body.bytes, .text_count = c->body.count};
    return OK;
}

/* ---- one call ---------------------------------------------------------------------------------------------------- */

static Status write_object(const ReplyCalls *r, CallGrammar *c, const json_t *function) {
    const ReplyFormat *f = r->format;
    const bool array = f->style == CALLS_ARRAY, bare = f->style == CALLS_BARE;
    append(&c->trigger, f->call_open);
    if (!bare)
        append(&c->begin, f->call_open);
    append(&c->begin, array ? "[" : bare ? "" : "\n");
    append(&c->begin, "{\"name\": ");
    append_json_string(&c->begin, json_word(function, "name"));
    append(&c->begin, bare ? ", \"parameters\": " : ", \"arguments\": ");
    append(&c->end, array ? "}]" : bare ? "}" : "}\n");
    if (!bare)
        append(&c->end, f->call_close);
    set_json_content(r, c, function);
    return OK;
}

static Status write_header(const ReplyCalls *r, CallGrammar *c, const json_t *function) {
    const ReplyFormat *f = r->format;
    const char *name = json_word(function, "name");
    append(&c->trigger, f->section_open != NULL ? f->section_open : f->call_open);
    append(&c->begin, f->section_open);
    append(&c->begin, f->bare ? NULL : f->call_open);
    if (f->fence_open != NULL) {
        append(&c->begin, "function");
        append(&c->begin, f->header_end);
        append(&c->begin, name);
        append(&c->begin, "\n");
        append(&c->begin, f->fence_open);
        append(&c->begin, "\n");
        append(&c->end, "\n");
        append(&c->end, f->fence_close);
    } else {
        append(&c->begin, f->name_prefix);
        append(&c->begin, name);
        append(&c->begin, f->name_prefix != NULL ? ":0" : "");
        append(&c->begin, f->header_end);
    }
    append(&c->end, f->call_close);
    append(&c->end, f->section_close);
    set_json_content(r, c, function);
    return OK;
}

static Status write_tags(const ReplyCalls *r, CallGrammar *c, const json_t *function, bool alone, Error *err) {
    const ReplyFormat *f = r->format;
    const char *line = f->lines ? "\n" : "";
    const bool section = f->section_open != NULL && !alone;
    append(&c->trigger, section ? f->section_open : f->call_open);
    if (section) {
        append(&c->begin, f->section_open);
        append(&c->begin, line);
        append(&c->end, line);
        append(&c->end, f->section_close);
    }
    Text close = {0};
    append(&close, f->call_close);
    append(&close, c->end.bytes);
    text_free(&c->end);
    c->end = close;
    append(&c->begin, f->call_open);
    append(&c->begin, json_word(function, "name"));
    append(&c->begin, f->name_end);
    append(&c->begin, line);
    return set_lark_content(r, c, function, err);
}

static Status write_literal(const ReplyCalls *r, CallGrammar *c, const json_t *function, Error *err) {
    const ReplyFormat *f = r->format;
    append(&c->trigger, f->call_open);
    append(&c->begin, f->call_open);
    append(&c->begin, f->bracketed ? "[" : "");
    append(&c->begin, f->name_prefix);
    append(&c->begin, json_word(function, "name"));
    append(&c->begin, f->args_open);
    append(&c->end, f->args_close);
    append(&c->end, f->bracketed ? "]" : "");
    append(&c->end, f->call_close);
    return set_lark_content(r, c, function, err);
}

static Status write_message(const ReplyCalls *r, CallGrammar *c, const json_t *function) {
    append(&c->trigger, "<|channel|>commentary to=");
    append(&c->begin, "<|channel|>commentary to=functions.");
    append(&c->begin, json_word(function, "name"));
    append(&c->begin, " <|constrain|>json<|message|>");
    set_json_content(r, c, function);
    return OK;
}

static Status add_call(ReplyCalls *r, const json_t *function, bool alone, Error *err) {
    const ReplyFormat *f = r->format;
    CallGrammar *c = &r->calls[r->n++];
    Status status = OK;
    switch (f->style) {
    case CALLS_NONE:
        return error_set(err, ERR_UNSUPPORTED, "the format '%s' has no calls", f->name);
    case CALLS_OBJECT:
    case CALLS_ARRAY:
    case CALLS_BARE:
        status = write_object(r, c, function);
        break;
    case CALLS_HEADER:
        status = write_header(r, c, function);
        break;
    case CALLS_XML:
    case CALLS_TREE:
        status = write_tags(r, c, function, alone, err);
        break;
    case CALLS_LITERAL:
        status = write_literal(r, c, function, err);
        break;
    case CALLS_HARMONY:
        status = write_message(r, c, function);
        break;
    }
    TRY(status);
    TRY(text_check(&c->begin, err));
    TRY(text_check(&c->trigger, err));
    TRY(text_check(&c->end, err));
    r->tags[r->n - 1] = (GrammarTag){.begin = c->begin.bytes,
                                     .trigger = r->spec.forced ? NULL : c->trigger.bytes,
                                     .content = &c->content,
                                     .end = c->end.bytes};
    return OK;
}

/* ---- all of them ------------------------------------------------------------------------------------------------- */

static Status add_calls(ReplyCalls *r, Error *err) {
    const ReplyFormat *f = r->format;
    size_t i;
    json_t *tool;
    FAIL_IF(!r->spec.forced && (f->style == CALLS_BARE || f->bare || f->style == CALLS_HARMONY), ERR_UNSUPPORTED,
            "calls in the format '%s' begin like other text", f->name);
    json_array_foreach((json_t *)(uintptr_t)r->spec.tools, i, tool) {
        const json_t *function = json_object_get(tool, "function");
        const char *name = json_word(function, "name");
        if (name[0] == '\0' || (r->spec.only != NULL && strcmp(name, r->spec.only) != 0))
            continue;
        FAIL_IF(r->n + 2 > COUNT(r->calls), ERR_LIMIT, "more than %d tools", CALLS_MOST);
        TRY(add_call(r, function, false, err));
        if (!r->spec.forced && f->call_alone != NULL)
            TRY(add_call(r, function, true, err));
    }
    FAIL_IF(r->n == 0, ERR_NOT_FOUND, "there is no tool '%.100s'", r->spec.only != NULL ? r->spec.only : "");
    return OK;
}

Status reply_calls_open(const ReplyCallsSpec *spec, ReplyCalls **out, Error *err) {
    *out = NULL;
    const ReplyFormat *format = reply_format_find(spec->format);
    FAIL_IF(format == NULL, ERR_NOT_FOUND, "there is no reply format '%s'", spec->format);
    ReplyCalls *r = mem_zalloc(sizeof *r, MEM_TEXT);
    FAIL_IF(r == NULL, ERR_MEMORY, "no memory for calls of tools");
    r->format = format;
    r->spec = *spec;
    const Status status = add_calls(r, err);
    if (status != OK) {
        reply_calls_close(r);
        return status;
    }
    r->grammar = (GrammarSpec){.kind = GRAMMAR_TAGS,
                               .tags = r->tags,
                               .count = r->n,
                               .required = spec->forced,
                               .single = spec->forced,
                               .bare = spec->forced};
    *out = r;
    return OK;
}

void reply_calls_close(ReplyCalls *r) {
    if (r == NULL)
        return;
    for (size_t i = 0; i < r->n; i++) {
        text_free(&r->calls[i].begin);
        text_free(&r->calls[i].trigger);
        text_free(&r->calls[i].end);
        text_free(&r->calls[i].body);
        text_free(&r->calls[i].rules);
    }
    mem_free(r);
}

const GrammarSpec *reply_calls_grammar(const ReplyCalls *r) {
    return &r->grammar;
}
