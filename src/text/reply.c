/* reply.c - see reply.h: the text between the calls, the deltas, and what all styles of calls need.
 *
 *     feed ──▶ input ──step by step, mode by mode──▶ pending deltas ──▶ deltas
 *
 * A step consumes input as far as its meaning is certain. The input is kept from where a call began until it is
 * announced (or, for calls that are one JSON object, over), because until then it may turn out to be text. */
#include "text/reply_parts.h"

#include "base/clock.h"

#include <stdatomic.h>
#include <string.h>

typedef struct PendingDelta {
    ReplyDeltaKind kind;
    size_t index;
    size_t start, bytes; /* in delta_text */
} PendingDelta;

/* ---- looking at the input ---------------------------------------------------------------------------------------- */

Match reply_match(const Reply *r, size_t at, const char *marker) {
    if (marker == NULL)
        return MATCH_NO;
    const size_t length = strlen(marker), have = r->limit - at;
    if (memcmp(r->input.bytes + at, marker, MIN(length, have)) != 0)
        return MATCH_NO;
    return have >= length ? MATCH_YES : r->finished ? MATCH_NO : MATCH_PARTLY;
}

bool reply_find(const Reply *r, size_t from, const char *const *markers, size_t count, size_t *which, size_t *place,
                size_t *clear) {
    bool begins[256] = {false};
    for (size_t m = 0; m < count; m++)
        if (markers[m] != NULL)
            begins[(unsigned char)markers[m][0]] = true;
    *clear = r->limit;
    for (size_t i = from; i < r->limit; i++) {
        if (!begins[(unsigned char)r->input.bytes[i]])
            continue;
        for (size_t m = 0; m < count; m++) {
            const Match match = reply_match(r, i, markers[m]);
            if (match == MATCH_YES) {
                *which = m;
                *place = i;
                return true;
            }
            if (match == MATCH_PARTLY) {
                *clear = i;
                return false;
            }
        }
    }
    return false;
}

bool reply_skip_spaces(Reply *r) {
    while (r->at < r->limit && reply_is_space(r->input.bytes[r->at]))
        r->at++;
    return r->at < r->limit;
}

/* ---- emitting ---------------------------------------------------------------------------------------------------- */

static void add_text(Reply *r, Text *text, const char *bytes, size_t count) {
    if (!text_append(text, bytes, count))
        r->failed = true;
}

static void push_delta(Reply *r, ReplyDeltaKind kind, size_t index, const char *text, size_t bytes) {
    PendingDelta *last = r->pending_count > 0 ? &r->pending[r->pending_count - 1] : NULL;
    if (last == NULL || last->kind != kind || last->index != index || kind == REPLY_CALL) {
        if (!mem_grow((void **)&r->pending, &r->pending_capacity, r->pending_count + 1, sizeof *r->pending, MEM_TEXT)) {
            r->failed = true;
            return;
        }
        last = &r->pending[r->pending_count++];
        *last = (PendingDelta){.kind = kind, .index = index, .start = r->delta_text.count};
    }
    add_text(r, &r->delta_text, text, bytes);
    last->bytes = r->delta_text.count - last->start;
}

/* What follows a call ends it; so does the end of the output. */
static void end_last_call(Reply *r) {
    ReplyCall *call = r->call_count > 0 ? &r->calls[r->call_count - 1] : NULL;
    if (call == NULL || call->ended)
        return;
    call->ended = true;
    call->complete = call->arguments.count > 0 && json_is_value(call->arguments.bytes, call->arguments.count);
    push_delta(r, REPLY_CALL_END, r->call_count - 1, "", 0);
}

static void emit_now(Reply *r, bool reasoning, const char *text, size_t bytes) {
    if (bytes == 0)
        return;
    end_last_call(r);
    add_text(r, reasoning ? &r->reasoning : &r->content, text, bytes);
    push_delta(r, reasoning ? REPLY_REASONING : REPLY_CONTENT, 0, text, bytes);
}

/* Without marks there is nothing that white space could stand before: it goes out with its token. */
static bool has_marks(const ReplyFormat *f) {
    return f->style != CALLS_NONE || f->think_open != NULL || f->think_close != NULL || f->content_open != NULL ||
           f->content_close != NULL;
}

void reply_emit_text(Reply *r, bool reasoning, const char *text, size_t bytes) {
    if (!has_marks(r->format)) {
        emit_now(r, reasoning, text, bytes);
        return;
    }
    Text *held = reasoning ? &r->held_reasoning : &r->held_content;
    bool *any = reasoning ? &r->any_reasoning : &r->any_content;
    size_t start = 0, end = bytes;
    while (end > 0 && reply_is_space(text[end - 1]))
        end--;
    if (r->text_begins || (!reasoning && r->skip_spaces && !*any)) {
        while (start < end && reply_is_space(text[start]))
            start++;
        if (end == 0)
            return;
        text_clear(held);
    }
    if (end == 0) {
        add_text(r, held, text, bytes);
        return;
    }
    if (r->text_begins && *any)
        emit_now(r, reasoning, "\n\n", 2);
    r->text_begins = false;
    *any = true;
    if (held->count > 0)
        emit_now(r, reasoning, held->bytes, held->count);
    emit_now(r, reasoning, text + start, end - start);
    text_clear(held);
    add_text(r, held, text + end, bytes - end);
}

void reply_emit_arguments(Reply *r, const char *text, size_t bytes) {
    if (bytes == 0 || r->call_count == 0)
        return;
    add_text(r, &r->calls[r->call_count - 1].arguments, text, bytes);
    push_delta(r, REPLY_ARGUMENTS, r->call_count - 1, text, bytes);
}

void reply_emit_escaped(Reply *r, const char *text, size_t bytes) {
    Text escaped = {0};
    if (!json_append_escaped(&escaped, text, bytes))
        r->failed = true;
    else
        reply_emit_arguments(r, escaped.bytes, escaped.count);
    text_free(&escaped);
}

void reply_emit_string(Reply *r, const char *text, size_t bytes) {
    reply_emit_arguments(r, "\"", 1);
    reply_emit_escaped(r, text, bytes);
    reply_emit_arguments(r, "\"", 1);
}

JsonStep reply_stream_json(Reply *r, JsonScan *scan, int depth) {
    size_t start = r->at;
    for (; r->at < r->limit; r->at++) {
        const char c = r->input.bytes[r->at];
        const bool control = json_scan_in_string(scan) && (unsigned char)c < 0x20;
        if (json_scan(scan, c) == JSON_STEP_INVALID) {
            reply_emit_arguments(r, r->input.bytes + start, r->at - start);
            return JSON_STEP_INVALID;
        }
        if (control) {
            reply_emit_arguments(r, r->input.bytes + start, r->at - start);
            reply_emit_escaped(r, &c, 1);
            start = r->at + 1;
        } else if (scan->depth == depth && scan->state == JSON_AFTER_VALUE) {
            r->at++;
            reply_emit_arguments(r, r->input.bytes + start, r->at - start);
            return JSON_STEP_DONE;
        }
    }
    reply_emit_arguments(r, r->input.bytes + start, r->at - start);
    return JSON_STEP_MORE;
}

void reply_emit_json(Reply *r, size_t from, size_t to) {
    const size_t at = r->at, limit = r->limit;
    JsonScan scan;
    json_scan_open(&scan);
    r->at = from;
    r->limit = to;
    reply_stream_json(r, &scan, 0);
    r->at = at;
    r->limit = limit;
}

static uint64_t next_random(Reply *r) {
    r->id_seed += 0x9E3779B97F4A7C15u; /* splitmix64 */
    uint64_t x = r->id_seed;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

/* Different for all calls of the process, and unlikely to meet again in another. */
static void make_id(Reply *r, char id[40]) {
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    const size_t prefix = r->format->short_ids ? 0 : 5, digits = r->format->short_ids ? 9 : 24;
    memcpy(id, "call_", prefix);
    for (size_t i = 0; i < digits; i++)
        id[prefix + i] = alphabet[next_random(r) % (sizeof alphabet - 1)];
    id[prefix + digits] = '\0';
}

void reply_announce(Reply *r, const char *name, size_t name_bytes, const char *id, size_t id_bytes) {
    char made[40];
    if (id == NULL || id_bytes == 0) {
        make_id(r, made);
        id = made;
        id_bytes = strlen(made);
    }
    end_last_call(r);
    if (!mem_grow((void **)&r->calls, &r->call_capacity, r->call_count + 1, sizeof *r->calls, MEM_TEXT)) {
        r->failed = true;
        return;
    }
    ReplyCall *call = &r->calls[r->call_count];
    *call = (ReplyCall){.id = mem_strndup(id, id_bytes, MEM_TEXT), .name = mem_strndup(name, name_bytes, MEM_TEXT)};
    if (call->id == NULL || call->name == NULL) {
        mem_free(call->id);
        mem_free(call->name);
        r->failed = true;
        return;
    }
    r->call_count++;
    push_delta(r, REPLY_CALL, r->call_count - 1, "", 0);
    r->section_used = true;
    r->in_call = false;
}

/* ---- calls ------------------------------------------------------------------------------------------------------- */

void reply_begin_call(Reply *r, size_t from) {
    r->in_call = true;
    r->call_at = from;
    r->skip_spaces = true;
}

void reply_not_a_call(Reply *r) {
    size_t from = r->call_at;
    if (r->format->bare && reply_match(r, from, r->format->call_open) == MATCH_YES)
        from += strlen(r->format->call_open); /* a message began, which is text */
    r->in_call = false;
    r->mode = MODE_TEXT;
    r->bare_tried = true;
    reply_emit_text(r, false, r->input.bytes + from, r->at - from);
}

bool reply_step_section(Reply *r, ReplyMode call) {
    const ReplyFormat *f = r->format;
    const size_t from = r->at;
    if (!reply_skip_spaces(r)) {
        r->at = from;
        return false;
    }
    const Match open = reply_match(r, r->at, f->call_open), close = reply_match(r, r->at, f->section_close);
    if (open == MATCH_PARTLY || close == MATCH_PARTLY) {
        r->at = from;
        return false;
    }
    if (open == MATCH_YES) {
        if (r->section_used)
            reply_begin_call(r, r->at);
        r->at += strlen(f->call_open);
        r->mode = call;
    } else if (r->section_used) {
        r->at = close == MATCH_YES ? r->at + strlen(f->section_close) : from;
        reply_end_call(r);
    } else {
        reply_not_a_call(r);
    }
    return true;
}

void reply_end_call(Reply *r) {
    r->in_call = false;
    r->mode = MODE_TEXT;
    end_last_call(r);
}

bool reply_is_name(const char *name, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        const unsigned char c = (unsigned char)name[i], lower = c | 0x20;
        if (!(c >= 0x80 || (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || (c != 0 && strchr("_-./:", c))))
            return false;
    }
    return bytes > 0 && bytes <= REPLY_MAX_NAME;
}

/* A tool is {"type": "function", "function": {"name", "parameters"}}, or the inner object alone. */
static const json_t *tool_function(const json_t *tool) {
    const json_t *function = json_object_get(tool, "function");
    return json_is_object(function) ? function : tool;
}

static const json_t *find_tool(const Reply *r, const char *name, size_t bytes) {
    for (size_t i = 0; i < json_array_size(r->tools); i++) {
        const json_t *function = tool_function(json_array_get(r->tools, i));
        const json_t *other = json_object_get(function, "name");
        if (json_is_string(other) && json_string_length(other) == bytes &&
            memcmp(json_string_value(other), name, bytes) == 0)
            return function;
    }
    return NULL;
}

bool reply_is_tool(const Reply *r, const char *name, size_t bytes) {
    return find_tool(r, name, bytes) != NULL;
}

bool reply_begins_tool(const Reply *r, const char *name, size_t bytes) {
    for (size_t i = 0; i < json_array_size(r->tools); i++) {
        const json_t *other = json_object_get(tool_function(json_array_get(r->tools, i)), "name");
        if (json_is_string(other) && json_string_length(other) >= bytes &&
            memcmp(json_string_value(other), name, bytes) == 0)
            return true;
    }
    return false;
}

const json_t *reply_parameters(const Reply *r, const char *tool) {
    const json_t *function = find_tool(r, tool, strlen(tool));
    const json_t *schema = json_object_get(function, "parameters");
    return schema != NULL ? schema : json_object_get(function, "input_schema");
}

const json_t *reply_parameter(const Reply *r, const char *tool, const char *parameter) {
    return json_object_get(json_object_get(reply_parameters(r, tool), "properties"), parameter);
}

/* ---- text and reasoning ------------------------------------------------------------------------------------------ */

enum {
    MARK_THINK,
    MARK_THINK_END,
    MARK_CONTENT,
    MARK_CONTENT_END,
    MARK_SECTION,
    MARK_CALL,
    MARK_ALONE,
    MARK_LINE,
    MARK_STRAY_SECTION,
    MARK_STRAY_CALL,
    MARK_COUNT
};

static void enter_calls(Reply *r, size_t mark, size_t place) {
    reply_begin_call(r, place);
    r->section_used = false;
    switch (r->format->style) {
    case CALLS_HEADER:
        r->mode = mark == MARK_SECTION ? MODE_SECTION : MODE_HEADER;
        break;
    case CALLS_XML:
    case CALLS_TREE:
        r->mode = mark == MARK_SECTION ? MODE_XML_SECTION : MODE_XML_NAME;
        break;
    case CALLS_LITERAL:
        r->mode = MODE_LITERAL_CALL;
        break;
    default:
        r->object.in_array = false;
        r->mode = MODE_OBJECT_START;
        break;
    }
}

static void pass_mark(Reply *r, size_t mark, size_t place) {
    switch (mark) {
    case MARK_THINK:
        if (!r->any_content)
            text_clear(&r->held_content);
        r->mode = MODE_REASONING;
        r->opening_passed = true;
        r->text_begins = true;
        r->skip_spaces = true;
        break;
    case MARK_CONTENT:
        text_clear(&r->held_content);
        r->skip_spaces = true;
        break;
    case MARK_CONTENT_END:
        text_clear(&r->held_content);
        r->content_closed = true;
        break;
    case MARK_SECTION:
    case MARK_CALL:
    case MARK_ALONE:
        enter_calls(r, mark, place);
        break;
    default: /* a close without its opening says nothing */
        r->skip_spaces = true;
        break;
    }
}

/* A format without markers around its calls: the output as a whole is a call, or none is. */
static bool try_bare(Reply *r) {
    size_t at = r->at;
    while (at < r->limit && reply_is_space(r->input.bytes[at]))
        at++;
    if (at == r->limit)
        return false;
    const Match tag = reply_match(r, at, r->format->call_open);
    if (tag == MATCH_PARTLY)
        return false;
    r->bare_tried = true;
    const char c = r->input.bytes[at];
    if (tag == MATCH_YES || ((c == '{' || (c == '[' && r->format->args_open != NULL)) && json_array_size(r->tools) > 0)) {
        reply_begin_call(r, r->at);
        r->at = at + (tag == MATCH_YES ? strlen(r->format->call_open) : 0);
        r->object.in_array = false;
        r->mode = MODE_OBJECT_START;
    }
    return true;
}

/* A line begins at a byte: as a call, or text goes on. False when more must come. */
static bool try_line(Reply *r, size_t at) {
    const Match header = reply_match_header(r, at);
    if (header == MATCH_PARTLY)
        return false;
    r->bare_tried = true;
    if (header == MATCH_YES) {
        reply_emit_text(r, false, reply_at(r), at - r->at);
        reply_begin_call(r, at);
        r->mode = MODE_HEADER;
        r->at = at;
    }
    return true;
}

/* The output, or what follows a call, begins. */
static bool try_first_line(Reply *r) {
    size_t at = r->at;
    while (at < r->limit && reply_is_space(r->input.bytes[at]))
        at++;
    return (at < r->limit || r->finished) && try_line(r, at);
}

static bool step_text(Reply *r) {
    const ReplyFormat *f = r->format;
    if (f->style == CALLS_BARE && !r->bare_tried)
        return try_bare(r);
    if (f->bare && !r->bare_tried && r->at < r->limit)
        return try_first_line(r);
    const bool bare = f->style == CALLS_BARE, called = r->call_count > 0;
    const char *const marks[MARK_COUNT] = {
        [MARK_THINK] = f->think_open,
        [MARK_THINK_END] = f->think_close,
        [MARK_CONTENT] = f->content_open,
        [MARK_CONTENT_END] = f->content_close,
        [MARK_SECTION] = f->section_open,
        [MARK_CALL] = f->section_open == NULL && !bare ? f->call_open : NULL,
        [MARK_ALONE] = f->call_alone,
        [MARK_LINE] = f->bare && json_array_size(r->tools) > 0 ? "\n" : NULL,
        [MARK_STRAY_SECTION] = called ? f->section_close : NULL,
        [MARK_STRAY_CALL] = called && !bare ? f->call_close : NULL,
    };
    size_t which, place, clear;
    if (!reply_find(r, r->at, marks, MARK_COUNT, &which, &place, &clear)) {
        reply_emit_text(r, false, reply_at(r), clear - r->at);
        r->at = clear;
        return false;
    }
    reply_emit_text(r, false, reply_at(r), place - r->at);
    r->at = place;
    if (which == MARK_LINE) {
        const bool sure = try_line(r, place + 1);
        if (sure && r->mode == MODE_TEXT)
            reply_emit_text(r, false, r->input.bytes + r->at++, 1);
        return sure;
    }
    r->at += strlen(marks[which]);
    pass_mark(r, which, place);
    return true;
}

/* At the beginning of the reasoning: the opening may be repeated where the prompt had it already. */
static bool pass_repeated_opening(Reply *r) {
    if (!reply_skip_spaces(r))
        return false;
    const Match opening = reply_match(r, r->at, r->format->think_open);
    if (opening == MATCH_PARTLY)
        return false;
    if (opening == MATCH_YES)
        r->at += strlen(r->format->think_open);
    r->opening_passed = true;
    return true;
}

static bool step_reasoning(Reply *r) {
    const ReplyFormat *f = r->format;
    if (!r->opening_passed)
        return pass_repeated_opening(r);
    const char *const marks[] = {f->think_close, f->calls_end_reasoning ? f->section_open : NULL};
    size_t which, place, clear;
    if (!reply_find(r, r->at, marks, COUNT(marks), &which, &place, &clear)) {
        reply_emit_text(r, true, reply_at(r), clear - r->at);
        r->at = clear;
        return false;
    }
    reply_emit_text(r, true, reply_at(r), place - r->at);
    r->at = place;
    if (which == 0) /* calls are looked at as in the text */
        r->at += strlen(f->think_close);
    text_clear(&r->held_reasoning);
    r->text_begins = false;
    r->skip_spaces = true;
    r->mode = MODE_TEXT;
    return true;
}

/* ---- the way in -------------------------------------------------------------------------------------------------- */

static bool step(Reply *r) {
    switch (r->mode) {
    case MODE_TEXT:
        return step_text(r);
    case MODE_REASONING:
        return step_reasoning(r);
    case MODE_OBJECT_START:
    case MODE_OBJECT:
    case MODE_OBJECT_AFTER:
        return reply_step_object(r);
    case MODE_SECTION:
    case MODE_HEADER:
    case MODE_FENCE:
    case MODE_ARGUMENTS_START:
    case MODE_ARGUMENTS:
    case MODE_ARGUMENTS_AFTER:
    case MODE_VERBATIM:
        return reply_step_header(r);
    case MODE_XML_SECTION:
    case MODE_XML_NAME:
    case MODE_XML_PARAMS:
    case MODE_XML_KEY:
    case MODE_XML_VALUE_START:
    case MODE_XML_VALUE:
        return reply_step_xml(r);
    case MODE_TREE_NEXT:
    case MODE_TREE_TAG:
    case MODE_TREE_VALUE_START:
    case MODE_TREE_TEXT:
    case MODE_TREE_CLOSE:
        return reply_step_tree(r);
    case MODE_LITERAL_CALL:
    case MODE_LITERAL_NEXT:
    case MODE_LITERAL_COLON:
    case MODE_LITERAL_VALUE:
    case MODE_LITERAL_STRING:
    case MODE_LITERAL_AFTER:
        return reply_step_literal(r);
    case MODE_MESSAGE_START:
    case MODE_MESSAGE_HEADER:
    case MODE_MESSAGE_TEXT:
    case MODE_MESSAGE_ARGUMENTS:
        return reply_step_harmony(r);
    }
    return false;
}

Status reply_open(const char *format, const json_t *tools, bool inside_reasoning, Reply **reply, Error *err) {
    *reply = NULL;
    const ReplyFormat *found = reply_format_find(format);
    FAIL_IF(found == NULL, ERR_NOT_FOUND, "%s: no such reply format", format);
    Reply *r = mem_zalloc(sizeof *r, MEM_TEXT);
    FAIL_IF(r == NULL, ERR_MEMORY, "no memory for a reply");
    static atomic_uint_fast64_t opened;
    r->id_seed = clock_ns() ^ (atomic_fetch_add(&opened, 1) << 48) ^ (uint64_t)(uintptr_t)r;
    r->format = found;
    r->tools = tools;
    r->skip_spaces = found->bare; /* a newline ends the header of a message that is text */
    if (found->style == CALLS_HARMONY) {
        r->mode = inside_reasoning ? MODE_MESSAGE_TEXT : MODE_MESSAGE_START;
        r->message = inside_reasoning ? MESSAGE_REASONING : MESSAGE_CONTENT;
    } else if (inside_reasoning && found->think_close != NULL) {
        r->mode = MODE_REASONING;
        r->text_begins = true;
    }
    *reply = r;
    return OK;
}

void reply_close(Reply *r) {
    if (r == NULL)
        return;
    for (size_t i = 0; i < r->call_count; i++) {
        mem_free(r->calls[i].id);
        mem_free(r->calls[i].name);
        text_free(&r->calls[i].arguments);
    }
    mem_free(r->calls);
    mem_free(r->pending);
    mem_free(r->deltas);
    Text *const texts[] = {&r->input,     &r->held_content, &r->held_reasoning, &r->name,     &r->object.name,
                           &r->object.id, &r->delta_text,   &r->content,        &r->reasoning};
    for (size_t i = 0; i < COUNT(texts); i++)
        text_free(texts[i]);
    mem_free(r);
}

/* Forgets the input that is not needed any more. */
static void compact(Reply *r) {
    const size_t keep = r->in_call ? MIN(r->call_at, r->at) : r->at;
    if (keep < r->input.count && keep < (size_t)1 << 16)
        return;
    memmove(r->input.bytes, r->input.bytes + keep, r->input.count - keep);
    r->input.count -= keep;
    r->at -= keep;
    r->call_at -= MIN(keep, r->call_at);
    r->searched -= MIN(keep, r->searched);
    r->object.token -= MIN(keep, r->object.token);
    r->object.arguments -= MIN(keep, r->object.arguments);
    r->object.arguments_end -= MIN(keep, r->object.arguments_end);
}

static void publish_deltas(Reply *r) {
    r->delta_count = 0;
    if (!mem_grow((void **)&r->deltas, &r->delta_capacity, r->pending_count, sizeof *r->deltas, MEM_TEXT)) {
        r->failed = true;
        return;
    }
    for (size_t i = 0; i < r->pending_count; i++) {
        const PendingDelta *p = &r->pending[i];
        ReplyDelta *delta = &r->deltas[r->delta_count++];
        *delta = (ReplyDelta){.kind = p->kind, .index = p->index};
        if (p->kind == REPLY_CALL) {
            delta->id = r->calls[p->index].id;
            delta->name = r->calls[p->index].name;
        } else {
            delta->text = r->delta_text.bytes + p->start;
            delta->bytes = p->bytes;
        }
    }
}

static Status run(Reply *r, Error *err) {
    while (!r->failed && step(r)) {
    }
    return r->failed ? error_set(err, ERR_MEMORY, "no memory for a reply of %zu bytes", r->input.count) : OK;
}

static void begin_deltas(Reply *r) {
    r->pending_count = 0;
    r->delta_count = 0;
    text_clear(&r->delta_text);
}

Status reply_feed(Reply *r, const char *text, size_t bytes, Error *err) {
    FAIL_IF(r->finished, ERR_ARGUMENT, "the reply is finished already");
    begin_deltas(r);
    add_text(r, &r->input, text, bytes);
    r->limit = r->at;
    if (!r->failed && r->input.count > r->at)
        r->limit += utf8_complete_prefix(r->input.bytes + r->at, r->input.count - r->at);
    TRY(run(r, err));
    publish_deltas(r);
    compact(r);
    FAIL_IF(r->failed, ERR_MEMORY, "no memory for a reply");
    return OK;
}

/* White space at the end: of unfinished reasoning, and of plain text, it is part of it. */
static void flush_held(Reply *r) {
    if (r->mode == MODE_REASONING && r->any_reasoning)
        emit_now(r, true, r->held_reasoning.bytes, r->held_reasoning.count);
    const bool layout = r->call_count > 0 || r->content_closed || (r->skip_spaces && !r->any_content);
    if (r->mode == MODE_TEXT && !layout)
        emit_now(r, false, r->held_content.bytes, r->held_content.count);
}

Status reply_finish(Reply *r, Error *err) {
    FAIL_IF(r->finished, ERR_ARGUMENT, "the reply is finished already");
    begin_deltas(r);
    r->finished = true;
    r->limit = r->input.count;
    add_text(r, &r->input, "", 0); /* so that the bytes are never NULL */
    TRY(run(r, err));
    if (r->in_call && !r->failed) {
        r->at = r->limit;
        reply_not_a_call(r);
    }
    flush_held(r);
    end_last_call(r);
    publish_deltas(r);
    FAIL_IF(r->failed, ERR_MEMORY, "no memory for a reply");
    return OK;
}

size_t reply_delta_count(const Reply *r) {
    return r->delta_count;
}

const ReplyDelta *reply_delta(const Reply *r, size_t index) {
    return &r->deltas[index];
}

const Text *reply_content(const Reply *r) {
    return &r->content;
}

const Text *reply_reasoning(const Reply *r) {
    return &r->reasoning;
}

size_t reply_call_count(const Reply *r) {
    return r->call_count;
}

const ReplyCall *reply_call(const Reply *r, size_t index) {
    return &r->calls[index];
}
