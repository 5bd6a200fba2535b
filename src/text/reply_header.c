/* reply_header.c - calls whose name stands in a header before bare JSON arguments, and arguments that are no JSON. */
#include "text/reply_parts.h"

#include <string.h>

Match reply_match_header(const Reply *r, size_t at) {
    const size_t start = at;
    while (at < r->limit && at - start <= REPLY_MAX_NAME && reply_is_name(r->input.bytes + at, 1))
        at++;
    if (at == r->limit)
        return !r->finished && reply_begins_tool(r, r->input.bytes + start, at - start) ? MATCH_PARTLY : MATCH_NO;
    if (!reply_is_tool(r, r->input.bytes + start, at - start))
        return MATCH_NO;
    const Match end = reply_match(r, at, r->format->header_end);
    if (end != MATCH_YES)
        return end;
    for (at += strlen(r->format->header_end); at < r->limit && reply_is_space(r->input.bytes[at]); at++) {
    }
    if (at == r->limit)
        return r->finished ? MATCH_NO : MATCH_PARTLY;
    return r->input.bytes[at] == '{' ? MATCH_YES : MATCH_NO;
}

static void set_name(Reply *r, size_t start, size_t end) {
    while (start < end && reply_is_space(r->input.bytes[start]))
        start++;
    while (end > start && reply_is_space(r->input.bytes[end - 1]))
        end--;
    text_clear(&r->name);
    text_clear(&r->object.id);
    if (!text_append(&r->name, r->input.bytes + start, end - start))
        r->failed = true;
}

/* "functions.get_weather:0" is the id; the name is what stands between the prefix and the colon. */
static void split_prefixed_id(Reply *r) {
    const char *text = r->name.bytes;
    size_t start = 0, end = r->name.count;
    if (!text_append(&r->object.id, text, end))
        r->failed = true;
    if (starts_with(text, r->format->name_prefix))
        start = strlen(r->format->name_prefix);
    size_t digits = end;
    while (digits > start && text[digits - 1] >= '0' && text[digits - 1] <= '9')
        digits--;
    if (digits > start && digits < end && text[digits - 1] == ':')
        end = digits - 1;
    memmove(r->name.bytes, text + start, end - start);
    r->name.count = end - start;
    r->name.bytes[r->name.count] = '\0';
}

/* name[CALL_ID]id */
static void split_marked_id(Reply *r) {
    char *found = strstr(r->name.bytes, r->format->id_open);
    if (found == NULL)
        return;
    if (!text_append_str(&r->object.id, found + strlen(r->format->id_open)))
        r->failed = true;
    r->name.count = (size_t)(found - r->name.bytes);
    *found = '\0';
}

static bool step_header(Reply *r) {
    const ReplyFormat *f = r->format;
    const char *const marks[] = {f->header_end, f->call_close, f->call_open};
    size_t which, place, clear;
    if (f->bare) {
        const Match header = reply_match_header(r, r->at);
        if (header == MATCH_NO)
            reply_not_a_call(r);
        if (header != MATCH_YES)
            return header == MATCH_NO;
    }
    if (f->section_open == NULL && r->at < r->limit && (*reply_at(r) == '[' || *reply_at(r) == '{') &&
        reply_match(r, r->at, f->header_end) == MATCH_NO) {
        r->object.in_array = false; /* the older way to write them: an array of objects */
        r->mode = MODE_OBJECT_START;
        return true;
    }
    if (!reply_find(r, r->at, marks, COUNT(marks), &which, &place, &clear)) {
        if (clear - r->at <= REPLY_MAX_NAME * 2)
            return false;
        reply_not_a_call(r);
        return true;
    }
    if (which != 0) {
        reply_not_a_call(r);
        return true;
    }
    set_name(r, r->at, place);
    if (r->failed)
        return false;
    if (f->id_open != NULL)
        split_marked_id(r);
    else if (f->name_prefix != NULL)
        split_prefixed_id(r);
    r->at = place + strlen(f->header_end);
    if (f->fence_open != NULL)
        r->mode = MODE_FENCE;
    else if (reply_is_name(r->name.bytes, r->name.count))
        r->mode = MODE_ARGUMENTS_START;
    else
        reply_not_a_call(r);
    return true;
}

/* The name up to the fence; some leave the fence out. */
static bool step_fence(Reply *r) {
    const ReplyFormat *f = r->format;
    const char *const marks[] = {f->fence_open, "{", f->call_close};
    size_t which, place, clear;
    if (!reply_find(r, r->at, marks, COUNT(marks), &which, &place, &clear)) {
        if (clear - r->at <= REPLY_MAX_NAME * 2)
            return false;
        reply_not_a_call(r);
        return true;
    }
    set_name(r, r->at, place);
    if (r->failed)
        return false;
    if (!reply_is_name(r->name.bytes, r->name.count)) {
        reply_not_a_call(r);
        return true;
    }
    r->at = place + (which == 0 ? strlen(f->fence_open) : 0);
    r->mode = MODE_ARGUMENTS_START;
    return true;
}

static void announce(Reply *r) {
    reply_announce(r, r->name.bytes, r->name.count, r->object.id.bytes, r->object.id.count);
}

static bool step_arguments_start(Reply *r) {
    const ReplyFormat *f = r->format;
    if (!reply_skip_spaces(r)) {
        if (!r->finished || f->call_close != NULL)
            return false;
        announce(r); /* no arguments, and nothing that could have closed them */
        reply_emit_arguments(r, "{}", 2);
        r->mode = MODE_ARGUMENTS_AFTER;
        return true;
    }
    if (*reply_at(r) == '{') {
        announce(r);
        json_scan_open(&r->scan);
        r->mode = MODE_ARGUMENTS;
        return true;
    }
    const char *const ends[] = {f->fence_close, f->call_close, f->call_close == NULL ? f->call_open : NULL};
    for (size_t i = 0; i < COUNT(ends); i++) {
        const Match match = reply_match(r, r->at, ends[i]);
        if (match == MATCH_PARTLY)
            return false;
        if (match == MATCH_YES) {
            announce(r);
            reply_emit_arguments(r, "{}", 2);
            r->mode = MODE_ARGUMENTS_AFTER;
            return true;
        }
    }
    reply_not_a_call(r);
    return true;
}

static bool step_arguments(Reply *r) {
    switch (reply_stream_json(r, &r->scan, 0)) {
    case JSON_STEP_DONE:
        r->mode = MODE_ARGUMENTS_AFTER;
        return true;
    case JSON_STEP_INVALID:
        r->mode = MODE_VERBATIM;
        return true;
    default:
        return false;
    }
}

static bool step_arguments_after(Reply *r) {
    const ReplyFormat *f = r->format;
    const size_t from = r->at;
    if (f->call_close != NULL) {
        if (!reply_skip_spaces(r)) {
            r->at = from;
            return false;
        }
        const Match fence = reply_match(r, r->at, f->fence_close), close = reply_match(r, r->at, f->call_close);
        if (fence == MATCH_PARTLY || close == MATCH_PARTLY) {
            r->at = from;
            return false;
        }
        if (fence == MATCH_YES) {
            r->at += strlen(f->fence_close);
            return true;
        }
        r->at = close == MATCH_YES ? r->at + strlen(f->call_close) : from;
    }
    if (f->section_open != NULL)
        r->mode = MODE_SECTION;
    else
        reply_end_call(r);
    r->bare_tried = !f->bare;
    return true;
}

/* Arguments that turned out to be no JSON are passed on up to where the call must end. */
static bool step_verbatim(Reply *r) {
    const ReplyFormat *f = r->format;
    const bool harmony = f->style == CALLS_HARMONY;
    const char *const marks[] = {f->call_close, f->section_close, f->call_open, harmony ? "<|call|>" : NULL,
                                 harmony ? "<|end|>" : NULL, harmony ? "<|return|>" : NULL};
    size_t which, place, clear;
    const bool found = reply_find(r, r->at, marks, COUNT(marks), &which, &place, &clear);
    const size_t end = found ? place : clear;
    reply_emit_arguments(r, reply_at(r), end - r->at);
    r->at = end;
    if (!found)
        return false;
    if (harmony) {
        r->message = MESSAGE_DROPPED;
        r->mode = MODE_MESSAGE_TEXT;
    } else {
        r->mode = f->style == CALLS_HEADER ? MODE_ARGUMENTS_AFTER : MODE_OBJECT_AFTER;
    }
    return true;
}

bool reply_step_header(Reply *r) {
    switch (r->mode) {
    case MODE_SECTION:
        return reply_step_section(r, MODE_HEADER);
    case MODE_HEADER:
        return step_header(r);
    case MODE_FENCE:
        return step_fence(r);
    case MODE_ARGUMENTS_START:
        return step_arguments_start(r);
    case MODE_ARGUMENTS:
        return step_arguments(r);
    case MODE_ARGUMENTS_AFTER:
        return step_arguments_after(r);
    default:
        return step_verbatim(r);
    }
}
