/* reply_xml.c - calls with a tag for each parameter, whose values are plain text; the tool's schema says what becomes
 * a string of JSON and what is JSON already. The JSON of the arguments is made here. */
#include "text/reply_parts.h"

#include <string.h>

/* ---- types ------------------------------------------------------------------------------------------------------- */

static bool names_type(const json_t *type, const char *wanted) {
    if (json_is_string(type))
        return strcmp(json_string_value(type), wanted) == 0;
    for (size_t i = 0; i < json_array_size(type); i++)
        if (names_type(json_array_get(type, i), wanted))
            return true;
    return false;
}

/* Whether a value may be of the type; `depth` bounds schemas within schemas. */
static bool allows(const json_t *schema, const char *type, int depth) {
    const json_t *named = json_object_get(schema, "type");
    if (named != NULL)
        return names_type(named, type);
    static const char *const unions[] = {"anyOf", "oneOf", "allOf"};
    for (size_t u = 0; u < COUNT(unions) && depth > 0; u++) {
        const json_t *parts = json_object_get(schema, unions[u]);
        for (size_t i = 0; i < json_array_size(parts); i++)
            if (allows(json_array_get(parts, i), type, depth - 1))
                return true;
    }
    const json_t *values = json_object_get(schema, "enum");
    for (size_t i = 0; i < json_array_size(values); i++)
        if (strcmp(type, "string") == 0 && json_is_string(json_array_get(values, i)))
            return true;
    return strcmp(type, "string") == 0 && json_is_string(json_object_get(schema, "const"));
}

bool reply_allows(const json_t *schema, const char *type) {
    return allows(schema, type, 4);
}

ParamKind reply_param_kind(const json_t *schema) {
    static const char *const others[] = {"number", "integer", "boolean", "array", "object"};
    if (!allows(schema, "string", 4))
        return PARAM_JSON;
    for (size_t i = 0; i < COUNT(others); i++)
        if (allows(schema, others[i], 4))
            return PARAM_JSON; /* a union: JSON if it is any, else the text */
    return allows(schema, "null", 4) ? PARAM_NULLABLE_TEXT : PARAM_TEXT;
}

/* ---- arguments --------------------------------------------------------------------------------------------------- */

static void emit_key(Reply *r, const char *key, size_t bytes) {
    reply_emit_arguments(r, r->first_param ? "{" : ", ", r->first_param ? 1 : 2);
    reply_emit_string(r, key, bytes);
    reply_emit_arguments(r, ": ", 2);
    r->first_param = false;
}

static void close_arguments(Reply *r) {
    reply_emit_arguments(r, r->first_param ? "{}" : "}", r->first_param ? 2 : 1);
}

static bool is_word(const char *text, size_t bytes, const char *word) {
    return strlen(word) == bytes && memcmp(text, word, bytes) == 0;
}

/* A whole value that need not be a string. */
void reply_emit_value(Reply *r, ParamKind kind, const char *text, size_t bytes) {
    size_t start = 0, end = bytes;
    while (start < end && reply_is_space(text[start]))
        start++;
    while (end > start && reply_is_space(text[end - 1]))
        end--;
    const char *inner = text + start;
    const size_t count = end - start;
    const bool json = kind == PARAM_JSON && json_is_value(inner, count);
    Text converted = {0};
    if (!json && kind == PARAM_JSON && reply_python_json(inner, count, &converted)) {
        r->failed = r->failed || converted.failed;
        reply_emit_arguments(r, converted.bytes, converted.count);
        text_free(&converted);
        return;
    }
    text_free(&converted);
    if (json || is_word(inner, count, "null"))
        reply_emit_arguments(r, inner, count);
    else if (kind == PARAM_JSON && (is_word(inner, count, "True") || is_word(inner, count, "False")))
        reply_emit_arguments(r, *inner == 'T' ? "true" : "false", *inner == 'T' ? 4 : 5); /* as Python spells them */
    else if (is_word(inner, count, "None"))
        reply_emit_arguments(r, "null", 4);
    else
        reply_emit_string(r, text, bytes);
}

/* ---- steps ------------------------------------------------------------------------------------------------------- */

static void announce(Reply *r, size_t start, size_t end) {
    text_clear(&r->name);
    if (!text_append(&r->name, r->input.bytes + start, end - start)) {
        r->failed = true;
        return;
    }
    reply_announce(r, r->name.bytes, r->name.count, NULL, 0);
    r->first_param = true;
    r->mode = MODE_XML_PARAMS;
    if (r->format->style == CALLS_TREE) {
        r->tree = (TreeScan){.levels[0] = {.schema = reply_parameters(r, r->name.bytes)}, .depth = 1};
        r->mode = MODE_TREE_NEXT;
    }
}

/* The name ends where its characters do; a parameter or the call's end must follow. */
static bool step_open_name(Reply *r) {
    const ReplyFormat *f = r->format;
    size_t start = r->at;
    while (start < r->limit && reply_is_space(r->input.bytes[start]))
        start++;
    size_t end = start;
    while (end < r->limit && reply_is_name(r->input.bytes + end, 1) && end - start <= REPLY_MAX_NAME)
        end++;
    size_t next = end;
    while (next < r->limit && reply_is_space(r->input.bytes[next]))
        next++;
    const bool valid = reply_is_name(r->input.bytes + start, end - start);
    if (next == r->limit && (valid || end == r->limit) && end - start <= REPLY_MAX_NAME)
        return false;
    const Match param = reply_match(r, next, f->param_open), close = reply_match(r, next, f->call_close);
    if (valid && (param == MATCH_PARTLY || close == MATCH_PARTLY))
        return false;
    r->at = next;
    if (valid && (param == MATCH_YES || close == MATCH_YES))
        announce(r, start, end);
    else
        reply_not_a_call(r);
    return true;
}

static bool step_name(Reply *r) {
    const ReplyFormat *f = r->format;
    if (f->name_end == NULL)
        return step_open_name(r);
    size_t which, place, clear;
    if (!reply_find(r, r->at, &f->name_end, 1, &which, &place, &clear)) {
        if (clear - r->at <= REPLY_MAX_NAME)
            return false;
        reply_not_a_call(r);
        return true;
    }
    const size_t start = r->at;
    if (!reply_is_name(r->input.bytes + start, place - start)) {
        reply_not_a_call(r);
        return true;
    }
    r->at = place + strlen(f->name_end);
    announce(r, start, place);
    return true;
}

/* Between parameters nothing counts but what comes next. */
static bool step_params(Reply *r) {
    const ReplyFormat *f = r->format;
    const char *const marks[] = {f->param_open, f->call_close, f->section_close};
    size_t which, place, clear;
    if (!reply_find(r, r->at, marks, COUNT(marks), &which, &place, &clear)) {
        r->at = clear;
        if (!r->finished)
            return false;
        close_arguments(r); /* all parameters that were written are complete */
        reply_end_call(r);
        return true;
    }
    r->at = place + strlen(marks[which]);
    if (which == 0) {
        r->mode = MODE_XML_KEY;
        return true;
    }
    close_arguments(r);
    if (which == 1 && f->section_open != NULL)
        r->mode = MODE_XML_SECTION;
    else
        reply_end_call(r);
    return true;
}

/* A name may end in a way that says of what type the value is; else the schema does. */
static bool step_key(Reply *r) {
    const ReplyFormat *f = r->format;
    const char *const ends[] = {f->param_name_end, f->text_end, f->json_end};
    size_t which, place, clear;
    if (!reply_find(r, r->at, ends, COUNT(ends), &which, &place, &clear)) {
        if (clear - r->at > REPLY_MAX_NAME || r->finished)
            r->mode = MODE_XML_PARAMS; /* no name: passed over */
        return r->mode == MODE_XML_PARAMS;
    }
    size_t start = r->at, end = place;
    while (start < end && reply_is_space(r->input.bytes[start]))
        start++;
    while (end > start && reply_is_space(r->input.bytes[end - 1]))
        end--;
    char key[REPLY_MAX_NAME + 1];
    const size_t bytes = MIN(end - start, (size_t)REPLY_MAX_NAME);
    memcpy(key, r->input.bytes + start, bytes);
    key[bytes] = '\0';
    r->param = which == 1   ? PARAM_TEXT
               : which == 2 ? PARAM_JSON
                            : reply_param_kind(reply_parameter(r, r->name.bytes, key));
    emit_key(r, key, bytes);
    r->at = place + strlen(ends[which]);
    r->mode = MODE_XML_VALUE_START;
    return true;
}

static bool step_value_start(Reply *r) {
    const ReplyFormat *f = r->format;
    if (f->value_open != NULL) {
        const size_t from = r->at;
        if (!reply_skip_spaces(r)) {
            r->at = from;
            return false;
        }
        const Match open = reply_match(r, r->at, f->value_open);
        if (open == MATCH_PARTLY) {
            r->at = from;
            return false;
        }
        r->at = open == MATCH_YES ? r->at + strlen(f->value_open) : from;
    }
    if (f->trim_newlines) {
        if (r->at == r->limit)
            return false;
        if (*reply_at(r) == '\r') {
            if (r->at + 1 == r->limit && !r->finished)
                return false;
            r->at += r->at + 1 < r->limit && r->input.bytes[r->at + 1] == '\n';
        }
        r->own_line = *reply_at(r) == '\n';
        r->at += r->own_line;
    }
    if (r->param == PARAM_TEXT)
        reply_emit_arguments(r, "\"", 1);
    r->searched = r->at;
    r->mode = MODE_XML_VALUE;
    return true;
}

/* The end of the value without the newline before its closing tag. */
static size_t trimmed_end(const Reply *r, size_t start, size_t end) {
    const bool trim = r->format->trim_newlines && (r->own_line || !r->format->inline_values);
    if (!trim || end == start || r->input.bytes[end - 1] != '\n')
        return end;
    end--;
    return end > start && r->input.bytes[end - 1] == '\r' ? end - 1 : end;
}

static bool step_value(Reply *r) {
    const ReplyFormat *f = r->format;
    size_t which, place, clear;
    const bool found = reply_find(r, MAX(r->searched, r->at), &f->param_close, 1, &which, &place, &clear);
    if (!found) {
        r->searched = clear;
        size_t sure = clear;
        if (r->param == PARAM_TEXT && !r->finished) { /* a newline may be the one before the closing tag */
            sure = trimmed_end(r, r->at, clear);
            if (sure == clear && sure > r->at && f->trim_newlines && r->input.bytes[sure - 1] == '\r')
                sure--;
        }
        if (r->param == PARAM_TEXT)
            reply_emit_escaped(r, reply_at(r), sure - r->at);
        else if (r->finished)
            reply_emit_arguments(r, reply_at(r), clear - r->at);
        if (r->param == PARAM_TEXT || r->finished)
            r->at = sure;
        return false;
    }
    const size_t end = trimmed_end(r, r->at, place);
    if (r->param == PARAM_TEXT) {
        reply_emit_escaped(r, reply_at(r), end - r->at);
        reply_emit_arguments(r, "\"", 1);
    } else {
        reply_emit_value(r, r->param, reply_at(r), end - r->at);
    }
    r->at = place + strlen(f->param_close);
    r->mode = MODE_XML_PARAMS;
    return true;
}

bool reply_step_xml(Reply *r) {
    switch (r->mode) {
    case MODE_XML_SECTION:
        return reply_step_section(r, MODE_XML_NAME);
    case MODE_XML_NAME:
        return step_name(r);
    case MODE_XML_PARAMS:
        return step_params(r);
    case MODE_XML_KEY:
        return step_key(r);
    case MODE_XML_VALUE_START:
        return step_value_start(r);
    default:
        return step_value(r);
    }
}
