/* reply_object.c - calls that are JSON objects with a name and arguments: in tags, in an array, or the whole output.
 *
 * The object is scanned once, byte by byte. When the name is known before the arguments begin (as models are taught to
 * write it), the arguments pass through as they arrive; otherwise they wait for the name, and for the id where
 * the format has ids of its own, which stand behind them. */
#include "text/reply_parts.h"

#include <string.h>

static void object_open(Reply *r) {
    CallObject *o = &r->object;
    Text name = o->name, id = o->id;
    text_clear(&name);
    text_clear(&id);
    const bool in_array = o->in_array;
    *o = (CallObject){.name = name, .id = id, .in_array = in_array};
    json_scan_open(&o->scan);
    r->mode = MODE_OBJECT;
}

/* Arguments that had to wait: an object as it stands, or a string that holds the JSON. */
static void emit_waiting(Reply *r) {
    const CallObject *o = &r->object;
    const char *text = r->input.bytes + o->arguments;
    const size_t bytes = o->arguments_end - o->arguments;
    if (!o->has_arguments || bytes < 2 || text[0] == 'n') {
        reply_emit_arguments(r, "{}", 2);
    } else if (text[0] == '"') {
        Text inner = {0};
        if (!json_append_unescaped(&inner, text + 1, bytes - 2))
            r->failed = true;
        else
            reply_emit_arguments(r, inner.count > 0 ? inner.bytes : "{}", MAX(inner.count, inner.count > 0 ? 0u : 2u));
        text_free(&inner);
    } else {
        reply_emit_json(r, o->arguments, o->arguments_end);
    }
}

static bool announced(const Reply *r) {
    return r->section_used;
}

static void announce(Reply *r) {
    const CallObject *o = &r->object;
    reply_announce(r, o->name.bytes, o->name.count, o->id.bytes, o->id.count);
    r->in_call = true; /* positions in the object are still needed */
}

/* The object is complete, or as good as: false when it is no call. */
static bool object_close(Reply *r) {
    CallObject *o = &r->object;
    if (!announced(r)) {
        if (o->name.count == 0 || (o->has_arguments && !o->arguments_done))
            return false;
        announce(r);
        emit_waiting(r);
    }
    r->in_call = false;
    r->mode = MODE_OBJECT_AFTER;
    return true;
}

static ObjectValue key_of(const Reply *r, size_t start, size_t end) {
    static const struct {
        const char *key;
        ObjectValue value;
    } keys[] = {{"name", VALUE_NAME},
                {"arguments", VALUE_ARGUMENTS},
                {"parameters", VALUE_ARGUMENTS},
                {"id", VALUE_ID},
                {"type", VALUE_OTHER}};
    for (size_t i = 0; i < COUNT(keys); i++)
        if (strlen(keys[i].key) == end - start && memcmp(r->input.bytes + start, keys[i].key, end - start) == 0)
            return keys[i].value;
    /* Where nothing but the object itself says that it is a call, every key must be one of a call. */
    return r->format->style == CALLS_BARE ? VALUE_NONE : VALUE_OTHER;
}

/* A value begins with `c` at r->at: false when the object is no call. */
static bool value_begins(Reply *r, char c) {
    CallObject *o = &r->object;
    o->value = o->key;
    o->token = r->at;
    if (o->value == VALUE_NAME)
        return c == '"';
    if (o->value != VALUE_ARGUMENTS)
        return true;
    if (c != '{' && c != '"' && c != 'n')
        return false;
    o->has_arguments = true;
    o->arguments = r->at;
    if (c == '{' && o->name.count > 0 && !announced(r) && !r->format->short_ids) {
        announce(r);
        o->streaming = true;
    }
    return true;
}

/* The value that began at o->token ended before `end`: false when the object is no call. */
static bool value_ends(Reply *r, size_t end) {
    CallObject *o = &r->object;
    const ObjectValue value = o->value;
    const char *text = r->input.bytes + o->token;
    o->value = VALUE_NONE;
    if (value == VALUE_ARGUMENTS) {
        o->arguments_done = true;
        o->arguments_end = end;
    } else if (value == VALUE_ID && *text == '"') {
        text_clear(&o->id);
        if (!json_append_unescaped(&o->id, text + 1, end - o->token - 2))
            r->failed = true;
    } else if (value == VALUE_NAME && o->name.count == 0) {
        if (!json_append_unescaped(&o->name, text + 1, end - o->token - 2))
            r->failed = true;
        if (o->name.count == 0 || o->name.count > REPLY_MAX_NAME)
            return false;
        if (r->format->style == CALLS_BARE && !reply_is_tool(r, o->name.bytes, o->name.count))
            return false;
    }
    return true;
}

static bool is_number_state(JsonScanState state) {
    return state >= JSON_NUMBER_SIGN;
}

typedef enum ObjectStep { OBJECT_MORE, OBJECT_DONE, OBJECT_BROKEN, OBJECT_NO_CALL } ObjectStep;

/* One byte of the object, outside of arguments that pass through. */
static ObjectStep scan_byte(Reply *r) {
    CallObject *o = &r->object;
    const char c = r->input.bytes[r->at];
    const JsonScanState before = o->scan.state;
    const int depth = o->scan.depth;
    if (depth == 1 && (before == JSON_AT_KEY || before == JSON_AT_KEY_OR_END) && c == '"')
        o->token = r->at + 1;
    if (depth == 1 && before == JSON_AT_VALUE && !reply_is_space(c)) {
        if (!value_begins(r, c))
            return OBJECT_NO_CALL;
        if (o->streaming)
            return OBJECT_MORE;
    }
    const JsonStep step = json_scan(&o->scan, c);
    if (step == JSON_STEP_INVALID)
        return OBJECT_BROKEN;
    r->at++;
    if (depth == 1 && before == JSON_IN_KEY && o->scan.state == JSON_AT_COLON) {
        o->key = key_of(r, o->token, r->at - 1);
        if (o->key == VALUE_NONE)
            return OBJECT_NO_CALL;
    }
    if (o->value != VALUE_NONE && o->scan.depth <= 1 &&
        (o->scan.state == JSON_AFTER_VALUE || o->scan.state == JSON_AT_KEY) &&
        !value_ends(r, depth == 1 && is_number_state(before) ? r->at - 1 : r->at))
        return OBJECT_NO_CALL;
    return step == JSON_STEP_DONE ? OBJECT_DONE : OBJECT_MORE;
}

static bool step_inside(Reply *r) {
    CallObject *o = &r->object;
    ObjectStep step = OBJECT_MORE;
    while (r->at < r->limit && step == OBJECT_MORE && !r->failed) {
        if (!o->streaming) {
            step = scan_byte(r);
            continue;
        }
        const JsonStep json = reply_stream_json(r, &o->scan, 1);
        if (json == JSON_STEP_DONE) {
            o->streaming = false;
            value_ends(r, r->at);
        } else if (json == JSON_STEP_INVALID) {
            r->in_call = false;
            r->mode = MODE_VERBATIM;
            return true;
        }
    }
    if (step == OBJECT_MORE) {
        /* An output that ends within the object has a call if its arguments are there. */
        if (r->finished && announced(r))
            r->in_call = false;
        else if (r->finished && o->arguments_done)
            return object_close(r);
        return false;
    }
    if (step == OBJECT_NO_CALL || !object_close(r))
        reply_not_a_call(r);
    return true;
}

static bool step_start(Reply *r) {
    if (!reply_skip_spaces(r))
        return false;
    const char c = *reply_at(r);
    r->section_used = false;
    if (c == '[' && r->format->style == CALLS_BARE && r->format->args_open != NULL) {
        r->mode = MODE_LITERAL_CALL;
    } else if (c == '[' && !r->object.in_array && r->format->style != CALLS_BARE) {
        r->object.in_array = true;
        r->at++;
    } else if (c == ']' && r->object.in_array) { /* an empty array */
        r->at++;
        reply_end_call(r);
    } else if (c == '{') {
        object_open(r);
    } else {
        reply_not_a_call(r);
    }
    return true;
}

static bool step_after(Reply *r) {
    const ReplyFormat *f = r->format;
    const size_t from = r->at;
    if (!reply_skip_spaces(r)) {
        r->at = from; /* white space may yet be text */
        if (r->finished)
            reply_end_call(r);
        return r->finished;
    }
    const char c = *reply_at(r);
    const bool separator = r->object.in_array ? c == ',' : c == ';' && f->style == CALLS_BARE;
    if (separator || (c == '{' && !r->object.in_array)) {
        r->at += separator;
        reply_begin_call(r, r->at);
        r->mode = MODE_OBJECT_START;
        return true;
    }
    if (c == ']' && r->object.in_array) {
        r->at++;
        r->object.in_array = false;
        return true;
    }
    const Match close = reply_match(r, r->at, f->call_close);
    if (close == MATCH_PARTLY) {
        r->at = from;
        return false;
    }
    r->at = close == MATCH_YES ? r->at + strlen(f->call_close) : from;
    reply_end_call(r);
    return true;
}

bool reply_step_object(Reply *r) {
    if (r->mode == MODE_OBJECT_START)
        return step_start(r);
    return r->mode == MODE_OBJECT ? step_inside(r) : step_after(r);
}
