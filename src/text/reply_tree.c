/* reply_tree.c - calls with an element for each parameter, named like it: entries of objects and lists are elements in
 * turn, what holds none is text. A mark of its own stands before every tag, so that "<" in a text is text.
 *
 *     <invoke name="f"><place><city>Brest</city></place><hours><item>3</item></hours></invoke>
 *
 * The schema decides what becomes a string, and which elements are lists; where it is silent, entries called "item" are
 * those of a list. The calls and their names are found by reply_xml.c. */
#include "text/reply_parts.h"

#include <string.h>

static const char item[] = "item";

static TreeLevel *top(Reply *r) {
    return &r->tree.levels[r->tree.depth - 1];
}

static void close_level(Reply *r) {
    const TreeLevel *level = top(r);
    const char *whole = level->list ? "[]" : "{}";
    reply_emit_arguments(r, level->any ? whole + 1 : whole, level->any ? 1 : 2);
    r->tree.depth--;
}

static void end_call(Reply *r, bool in_section) {
    while (r->tree.depth > 0)
        close_level(r);
    if (in_section && r->format->section_open != NULL)
        r->mode = MODE_XML_SECTION;
    else
        reply_end_call(r);
}

static bool step_next(Reply *r) {
    const ReplyFormat *f = r->format;
    const char *const marks[] = {f->call_close, f->section_close, f->param_close, f->param_open};
    size_t which, place, clear;
    if (!reply_find(r, r->at, marks, COUNT(marks), &which, &place, &clear)) {
        r->at = clear;
        if (r->finished && r->tree.depth == 1) /* all parameters that were written are complete */
            end_call(r, false);
        return r->mode != MODE_TREE_NEXT;
    }
    r->at = place + strlen(marks[which]);
    if (which <= 1)
        end_call(r, which == 0);
    else if (which == 2) {
        if (r->tree.depth > 1)
            close_level(r);
        r->mode = MODE_TREE_CLOSE;
    } else
        r->mode = MODE_TREE_TAG;
    return true;
}

/* What is left of a closing tag. */
static bool step_close(Reply *r) {
    const char *const end = r->format->param_name_end;
    size_t which, place, clear;
    if (!reply_find(r, r->at, &end, 1, &which, &place, &clear)) {
        r->at = clear;
        return false;
    }
    r->at = place + strlen(end);
    r->mode = MODE_TREE_NEXT;
    return true;
}

static const json_t *entry_schema(const TreeLevel *level, const char *tag) {
    const json_t *schema = json_object_get(level->schema, "items");
    if (level->list)
        return schema;
    schema = json_object_get(json_object_get(level->schema, "properties"), tag);
    return schema != NULL ? schema : json_object_get(level->schema, "additionalProperties");
}

static bool step_tag(Reply *r) {
    const char *const end = r->format->param_name_end;
    size_t which, place, clear;
    if (!reply_find(r, r->at, &end, 1, &which, &place, &clear)) {
        if (clear - r->at > REPLY_MAX_NAME || r->finished)
            r->mode = MODE_TREE_NEXT; /* no name: passed over */
        return r->mode == MODE_TREE_NEXT;
    }
    char tag[REPLY_MAX_NAME + 1];
    const size_t bytes = MIN(place - r->at, (size_t)REPLY_MAX_NAME);
    memcpy(tag, reply_at(r), bytes);
    tag[bytes] = '\0';
    TreeLevel *level = top(r);
    r->tree.schema = entry_schema(level, tag);
    reply_emit_arguments(r, level->any ? ", " : level->list ? "[" : "{", level->any ? 2 : 1);
    level->any = true;
    if (!level->list) {
        reply_emit_string(r, tag, bytes);
        reply_emit_arguments(r, ": ", 2);
    }
    r->at = place + strlen(end);
    r->mode = MODE_TREE_VALUE_START;
    return true;
}

/* Whether the element that begins at a byte is an entry of a list. */
static bool is_item(const Reply *r, size_t at) {
    const char *tag = r->input.bytes + at + strlen(r->format->param_open);
    return strncmp(tag, item, strlen(item)) == 0 && tag[strlen(item)] == *r->format->param_name_end;
}

static bool step_value_start(Reply *r) {
    const ReplyFormat *f = r->format;
    const json_t *schema = r->tree.schema;
    size_t at = r->at;
    while (at < r->limit && reply_is_space(r->input.bytes[at]))
        at++;
    const Match close = reply_match(r, at, f->param_close), open = reply_match(r, at, f->param_open);
    if (!r->finished && (at == r->limit || close == MATCH_PARTLY || open == MATCH_PARTLY))
        return false;
    const bool list = reply_allows(schema, "array"), object = reply_allows(schema, "object");
    if (open == MATCH_YES && close != MATCH_YES) {
        if (!r->finished && r->limit < at + strlen(f->param_open) + sizeof item)
            return false;
        if (r->tree.depth == REPLY_DEPTH) {
            r->mode = MODE_VERBATIM;
            return true;
        }
        r->tree.levels[r->tree.depth++] = (TreeLevel){.schema = schema, .list = !object && (list || is_item(r, at))};
        r->mode = MODE_TREE_NEXT;
        return true;
    }
    r->param = reply_param_kind(schema);
    r->mode = MODE_TREE_TEXT;
    if (close == MATCH_YES && r->param == PARAM_JSON && (list || object)) {
        reply_emit_arguments(r, object ? "{}" : "[]", 2);
        r->at = at + strlen(f->param_close);
        r->mode = MODE_TREE_CLOSE;
    } else if (r->param == PARAM_TEXT) {
        reply_emit_arguments(r, "\"", 1);
    }
    r->searched = r->at;
    return true;
}

/* A text ends with the next tag, which should be its own. */
static bool step_text(Reply *r) {
    const ReplyFormat *f = r->format;
    const char *const marks[] = {f->call_close, f->param_close, f->param_open};
    size_t which, place, clear;
    const bool found = reply_find(r, MAX(r->searched, r->at), marks, COUNT(marks), &which, &place, &clear);
    const size_t end = found ? place : clear;
    r->searched = end;
    if (r->param == PARAM_TEXT)
        reply_emit_escaped(r, reply_at(r), end - r->at);
    else if (found)
        reply_emit_value(r, r->param, reply_at(r), end - r->at);
    else if (r->finished)
        reply_emit_arguments(r, reply_at(r), end - r->at);
    else
        return false;
    r->at = end;
    if (!found)
        return false;
    if (r->param == PARAM_TEXT)
        reply_emit_arguments(r, "\"", 1);
    r->mode = which == 1 ? MODE_TREE_CLOSE : MODE_TREE_NEXT;
    r->at += which == 1 ? strlen(f->param_close) : 0;
    return true;
}

bool reply_step_tree(Reply *r) {
    switch (r->mode) {
    case MODE_TREE_NEXT:
        return step_next(r);
    case MODE_TREE_TAG:
        return step_tag(r);
    case MODE_TREE_VALUE_START:
        return step_value_start(r);
    case MODE_TREE_TEXT:
        return step_text(r);
    default:
        return step_close(r);
    }
}
