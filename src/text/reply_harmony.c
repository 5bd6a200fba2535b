/* reply_harmony.c - outputs made of messages with a channel each: analysis is reasoning, final and commentary are
 * content, and whatever has a recipient is a call of it.
 *
 *     <|channel|>analysis<|message|>...<|end|><|start|>assistant<|channel|>commentary to=functions.NAME
 *     <|constrain|>json<|message|>{...}<|call|>
 *
 * The prompt ends with "<|start|>assistant", so that the first header has no beginning. The recipient may stand before
 * the channel or behind it. */
#include "text/reply_parts.h"

#include <string.h>

enum { MAX_HEADER = 1024 };

static const char start_mark[] = "<|start|>", channel_mark[] = "<|channel|>", message_mark[] = "<|message|>";
static const char *const end_marks[] = {"<|end|>", "<|call|>", "<|return|>", start_mark};
enum { END_MARKS = 4, END_BY_START = 3 };

static bool step_start(Reply *r) {
    const size_t from = r->at;
    if (!reply_skip_spaces(r)) {
        r->at = from;
        return false;
    }
    static const char *const openings[] = {start_mark, channel_mark, message_mark, "to=", "assistant"};
    for (size_t i = 0; i < COUNT(openings); i++) {
        const Match match = reply_match(r, r->at, openings[i]);
        if (match == MATCH_PARTLY) {
            r->at = from;
            return false;
        }
        if (match == MATCH_YES) {
            reply_begin_call(r, from); /* no header until its end is seen */
            if (i == 0)
                r->at += strlen(start_mark);
            r->mode = MODE_MESSAGE_HEADER;
            return true;
        }
    }
    /* A model that forgets all this means to say something. */
    r->message = MESSAGE_CONTENT;
    r->text_begins = r->any_content;
    r->at = from;
    r->mode = MODE_MESSAGE_TEXT;
    return true;
}

/* The word behind `what` in the header, ended by white space or a mark. */
static bool header_word(const char *header, const char *what, const char **word, size_t *bytes) {
    const char *found = strstr(header, what);
    if (found == NULL)
        return false;
    *word = found + strlen(what);
    *bytes = strcspn(*word, " \t\r\n<");
    return *bytes > 0;
}

static void take_header(Reply *r, const char *header) {
    const char *word;
    size_t bytes;
    r->in_call = false;
    r->text_begins = true;
    r->message = MESSAGE_CONTENT;
    if (header_word(header, "to=", &word, &bytes) && reply_is_name(word, bytes) && strncmp(word, "user", bytes) != 0) {
        static const char prefix[] = "functions.";
        const size_t skip = bytes > strlen(prefix) && starts_with(word, prefix) ? strlen(prefix) : 0;
        text_clear(&r->name);
        if (!text_append(&r->name, word + skip, bytes - skip))
            r->failed = true;
        r->text_begins = false;
        r->mode = MODE_MESSAGE_ARGUMENTS;
        return;
    }
    if (header_word(header, channel_mark, &word, &bytes) && bytes == strlen("analysis") &&
        memcmp(word, "analysis", bytes) == 0)
        r->message = MESSAGE_REASONING;
    r->mode = MODE_MESSAGE_TEXT;
}

/* It was no header after all. */
static void no_header(Reply *r) {
    reply_not_a_call(r);
    r->message = MESSAGE_CONTENT;
    r->mode = MODE_MESSAGE_TEXT;
}

static bool step_header(Reply *r) {
    const char *const mark = message_mark;
    size_t which, place, clear;
    if (!reply_find(r, r->at, &mark, 1, &which, &place, &clear)) {
        const bool marked = r->input.bytes[r->at] == '<' || r->at > r->call_at;
        if (r->finished && marked) { /* an output that ends within a header has said no more */
            r->in_call = false;
            r->at = r->limit;
        } else if (r->finished || clear - r->at > MAX_HEADER) {
            r->at = clear;
            no_header(r);
            return true;
        }
        return false;
    }
    if (place - r->at > MAX_HEADER) {
        r->at = place;
        no_header(r);
        return true;
    }
    char header[MAX_HEADER + 1];
    memcpy(header, reply_at(r), place - r->at);
    header[place - r->at] = '\0';
    r->at = place + strlen(message_mark);
    take_header(r, header);
    return true;
}

static bool step_text(Reply *r) {
    size_t which, place, clear;
    const bool found = reply_find(r, r->at, end_marks, END_MARKS, &which, &place, &clear);
    const size_t end = found ? place : clear;
    if (r->message != MESSAGE_DROPPED)
        reply_emit_text(r, r->message == MESSAGE_REASONING, reply_at(r), end - r->at);
    r->at = end;
    if (!found)
        return false;
    if (which != END_BY_START)
        r->at += strlen(end_marks[which]);
    text_clear(&r->held_content);
    text_clear(&r->held_reasoning);
    r->text_begins = false;
    r->skip_spaces = true;
    r->mode = MODE_MESSAGE_START;
    return true;
}

static void announce(Reply *r) {
    reply_announce(r, r->name.bytes, r->name.count, NULL, 0);
}

static bool step_arguments(Reply *r) {
    if (r->section_used) { /* the call is announced: pass on */
        const JsonStep step = reply_stream_json(r, &r->scan, 0);
        if (step == JSON_STEP_MORE)
            return false;
        r->section_used = false;
        r->message = MESSAGE_DROPPED;
        r->mode = step == JSON_STEP_DONE ? MODE_MESSAGE_TEXT : MODE_VERBATIM;
        return true;
    }
    if (!reply_skip_spaces(r))
        return false;
    if (*reply_at(r) == '{') {
        announce(r);
        json_scan_open(&r->scan);
        return true;
    }
    for (size_t i = 0; i < END_MARKS; i++) {
        const Match match = reply_match(r, r->at, end_marks[i]);
        if (match == MATCH_PARTLY)
            return false;
        if (match == MATCH_YES) {
            announce(r);
            reply_emit_arguments(r, "{}", 2);
            r->section_used = false;
            r->message = MESSAGE_DROPPED;
            r->mode = MODE_MESSAGE_TEXT;
            return true;
        }
    }
    r->message = MESSAGE_CONTENT; /* no arguments: what it says is all there is */
    r->text_begins = true;
    r->mode = MODE_MESSAGE_TEXT;
    return true;
}

bool reply_step_harmony(Reply *r) {
    switch (r->mode) {
    case MODE_MESSAGE_START:
        return step_start(r);
    case MODE_MESSAGE_HEADER:
        return step_header(r);
    case MODE_MESSAGE_TEXT:
        return step_text(r);
    default:
        return step_arguments(r);
    }
}
