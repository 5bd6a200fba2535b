/* reply_literal.c - calls written as an expression: a name, and arguments with their keys as literals.
 *
 *     f(place='Brest', hours=[1, 2], deep={'a': None})
 *
 * as in Python, or with other marks for the arguments, the keys and the strings (the format's row has them). JSON is
 * made of it as it arrives. Templates write strings between quotes as they stand, without escapes: so a quote ends a
 * string only if what follows it can follow a value. */
#include "text/reply_parts.h"

#include <string.h>

typedef enum Look { LOOK_NO, LOOK_YES, LOOK_MORE } Look;

/* ---- looking ahead ----------------------------------------------------------------------------------------------- */

static bool is_key_char(char c) {
    const unsigned char u = (unsigned char)c, lower = u | 0x20;
    return u >= 0x80 || (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
}

static size_t past_spaces(const Reply *r, size_t at) {
    while (at < r->limit && reply_is_space(r->input.bytes[at]))
        at++;
    return at;
}

/* More may come of what ends with the input. */
static Look at_end(const Reply *r) {
    return r->finished ? LOOK_NO : LOOK_MORE;
}

static Look look_mark(const Reply *r, size_t at, const char *mark, size_t *behind) {
    const Match match = reply_match(r, at, mark);
    *behind = at + (mark != NULL ? strlen(mark) : 0);
    return match == MATCH_YES ? LOOK_YES : match == MATCH_PARTLY ? LOOK_MORE : LOOK_NO;
}

/* A key and the mark behind it. */
static Look look_key(const Reply *r, size_t at, const char *mark, size_t *end, size_t *behind) {
    *end = at;
    while (*end < r->limit && is_key_char(r->input.bytes[*end]))
        (*end)++;
    const size_t next = past_spaces(r, *end);
    if (*end - at > REPLY_MAX_NAME || (*end == at && next < r->limit))
        return LOOK_NO;
    return next == r->limit ? at_end(r) : look_mark(r, next, mark, behind);
}

/* A name and the beginning of arguments, or their end at once. */
static Look look_call(const Reply *r, size_t at, size_t *name, size_t *name_end, size_t *behind) {
    const ReplyFormat *f = r->format;
    if (f->name_prefix != NULL) {
        const Look prefix = look_mark(r, at, f->name_prefix, &at);
        if (prefix != LOOK_YES)
            return prefix;
    }
    *name = at;
    while (at < r->limit && at - *name <= REPLY_MAX_NAME && reply_is_name(r->input.bytes + at, 1))
        at++;
    *name_end = at;
    at = past_spaces(r, at);
    if (at == r->limit)
        return at_end(r);
    if (!reply_is_name(r->input.bytes + *name, *name_end - *name))
        return LOOK_NO;
    const Look open = look_mark(r, at, f->args_open, &at);
    if (open != LOOK_YES)
        return open;
    *behind = at;
    at = past_spaces(r, at);
    size_t end, after;
    const Look close = at < r->limit ? look_mark(r, at, f->args_close, &after) : at_end(r);
    return close != LOOK_NO ? close : look_key(r, at, f->key_end, &end, &after);
}

/* ---- levels ------------------------------------------------------------------------------------------------------ */

static LiteralLevel *top(Reply *r) {
    return &r->literal.levels[r->literal.depth - 1];
}

static bool push_level(Reply *r, char close, bool keyed) {
    if (r->literal.depth == REPLY_DEPTH)
        return false;
    r->literal.levels[r->literal.depth++] = (LiteralLevel){.close = close, .keyed = keyed};
    reply_emit_arguments(r, keyed ? "{" : "[", 1);
    r->mode = MODE_LITERAL_NEXT;
    return true;
}

static void close_level(Reply *r) {
    reply_emit_arguments(r, top(r)->keyed ? "}" : "]", 1);
    r->mode = --r->literal.depth > 0 ? MODE_LITERAL_AFTER : MODE_LITERAL_CALL;
}

static void separate(Reply *r) {
    if (top(r)->any)
        reply_emit_arguments(r, ", ", 2);
    top(r)->any = true;
}

/* It is no expression: what is left passes on as it is, up to where the call must end. */
static bool give_up(Reply *r) {
    r->object.in_array = false;
    r->mode = MODE_VERBATIM;
    return true;
}

/* ---- calls ------------------------------------------------------------------------------------------------------- */

static bool end_of_calls(Reply *r, size_t at) {
    r->at = at;
    if (r->section_used)
        reply_end_call(r);
    else
        reply_not_a_call(r);
    return true;
}

/* Between calls: lists of them are Python's, some write objects of JSON. */
static bool step_call(Reply *r) {
    const ReplyFormat *f = r->format;
    size_t at = r->at, name, name_end, behind;
    bool bracket = false;
    for (; at < r->limit && (reply_is_space(r->input.bytes[at]) || strchr("[],;", r->input.bytes[at]) != NULL); at++)
        bracket = bracket || r->input.bytes[at] == '[';
    if (at == r->limit)
        return r->finished && r->section_used ? end_of_calls(r, at) : false;
    const Look close = look_mark(r, at, f->call_close, &behind);
    if (close == LOOK_MORE)
        return false;
    if (close == LOOK_YES)
        return end_of_calls(r, behind);
    if (!r->section_used && r->input.bytes[at] == '{') {
        r->object.in_array = bracket;
        r->at = at;
        r->mode = MODE_OBJECT_START;
        return true;
    }
    const Look call = look_call(r, at, &name, &name_end, &behind);
    if (call == LOOK_MORE)
        return false;
    if (call == LOOK_NO || (f->style == CALLS_BARE && !reply_is_tool(r, r->input.bytes + name, name_end - name)))
        return end_of_calls(r, at);
    reply_announce(r, r->input.bytes + name, name_end - name, NULL, 0);
    r->at = behind;
    r->literal.depth = 0;
    return push_level(r, *f->args_close, true);
}

/* ---- strings ----------------------------------------------------------------------------------------------------- */

/* Whether a quote before this byte ends its string. */
static Look look_behind_quote(const Reply *r, size_t at) {
    const LiteralLevel *level = &r->literal.levels[r->literal.depth - 1];
    size_t end, behind;
    at = past_spaces(r, at);
    if (at == r->limit)
        return r->finished ? LOOK_YES : LOOK_MORE;
    const char c = r->input.bytes[at];
    if (r->literal.is_key)
        return c == ':' ? LOOK_YES : LOOK_NO;
    if (r->literal.depth > 1)
        return c == ',' || c == level->close ? LOOK_YES : LOOK_NO;
    if (c == ',') {
        at = past_spaces(r, at + 1);
        if (at < r->limit && r->input.bytes[at] == level->close)
            return LOOK_YES;
        return look_key(r, at, r->format->key_end, &end, &behind);
    }
    if (c != level->close)
        return LOOK_NO;
    for (at++; at < r->limit && (r->input.bytes[at] == ' ' || r->input.bytes[at] == '\t'); at++) {
    }
    if (at == r->limit)
        return r->finished ? LOOK_YES : LOOK_MORE;
    return strchr("],;\r\n<", r->input.bytes[at]) != NULL ? LOOK_YES : LOOK_NO;
}

/* A quote, or three of them, at a byte. */
static Look look_quotes(const Reply *r, size_t at, size_t *behind) {
    const size_t wanted = r->literal.triple ? 3 : 1;
    size_t n = 0;
    while (n < wanted && at + n < r->limit && r->input.bytes[at + n] == r->literal.quote)
        n++;
    *behind = at + n;
    return n == wanted ? LOOK_YES : at + n == r->limit ? at_end(r) : LOOK_NO;
}

static void end_string(Reply *r, size_t behind) {
    reply_emit_arguments(r, "\"", 1);
    r->at = behind;
    r->mode = r->literal.is_key ? MODE_LITERAL_COLON : MODE_LITERAL_AFTER;
}

/* \xNN, \uNNNN, \UNNNNNNNN: halves of pairs are JSON's own notation. */
static bool emit_code(Reply *r, size_t digits) {
    uint32_t code = 0;
    char text[16];
    for (size_t i = 0; i < digits; i++) {
        const int digit = parse_hex_digit(r->input.bytes[r->at + 2 + i]);
        if (digit < 0)
            return false;
        code = code << 4 | (uint32_t)digit;
    }
    if (code > 0x10FFFF)
        return false;
    if (code > 0xFFFF) {
        reply_emit_escaped(r, text, (size_t)utf8_encode(code, text));
    } else {
        snprintf(text, sizeof text, "\\u%04x", (unsigned)code);
        reply_emit_arguments(r, text, 6);
    }
    r->at += 2 + digits;
    return true;
}

/* A backslash at r->at, and what it says; false when more must come. */
static bool step_escape(Reply *r) {
    static const struct {
        char letter, means;
    } letters[] = {{'n', '\n'}, {'t', '\t'}, {'r', '\r'},   {'b', '\b'}, {'f', '\f'}, {'v', '\v'}, {'a', '\a'},
                   {'0', '\0'}, {'\\', '\\'}, {'\'', '\''}, {'"', '"'},  {'/', '/'}};
    if (r->at + 1 == r->limit && !r->finished)
        return false;
    const char c = r->at + 1 < r->limit ? r->input.bytes[r->at + 1] : '\0';
    const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (digits > 0 && r->at + 2 + digits > r->limit && !r->finished)
        return false;
    if (digits > 0 && r->at + 2 + digits <= r->limit && emit_code(r, digits))
        return true;
    for (size_t i = 0; i < COUNT(letters) && r->at + 1 < r->limit; i++)
        if (letters[i].letter == c) {
            reply_emit_escaped(r, &letters[i].means, 1);
            r->at += 2;
            return true;
        }
    reply_emit_escaped(r, "\\", 1); /* it means itself before anything else */
    r->at++;
    return true;
}

static bool step_marked_string(Reply *r) {
    const char *const mark = r->format->quote;
    size_t which, place, clear;
    const bool found = reply_find(r, r->at, &mark, 1, &which, &place, &clear);
    const size_t end = found ? place : clear;
    reply_emit_escaped(r, reply_at(r), end - r->at);
    r->at = end;
    if (found)
        end_string(r, place + strlen(mark));
    return found;
}

static bool step_string(Reply *r) {
    if (r->literal.quote == 0)
        return step_marked_string(r);
    const size_t from = r->at;
    while (r->at < r->limit && *reply_at(r) != '\\' && *reply_at(r) != r->literal.quote)
        r->at++;
    reply_emit_escaped(r, r->input.bytes + from, r->at - from);
    if (r->at == r->limit)
        return false;
    if (*reply_at(r) == '\\')
        return step_escape(r);
    size_t behind;
    Look ends = look_quotes(r, r->at, &behind);
    if (ends == LOOK_YES && !r->literal.triple)
        ends = look_behind_quote(r, behind);
    if (ends == LOOK_MORE)
        return false;
    if (ends == LOOK_YES) {
        end_string(r, behind);
    } else {
        reply_emit_escaped(r, reply_at(r), 1);
        r->at++;
    }
    return true;
}

/* Whether a string begins at r->at, and with what. */
static Look look_string(const Reply *r, LiteralScan *scan, size_t *behind) {
    const char c = *reply_at(r);
    if (r->format->quote != NULL) {
        scan->quote = 0;
        return look_mark(r, r->at, r->format->quote, behind);
    }
    if (c != '"' && c != '\'')
        return LOOK_NO;
    scan->quote = c;
    size_t n = 1;
    while (n < 3 && r->at + n < r->limit && r->input.bytes[r->at + n] == c)
        n++;
    if (n < 3 && r->at + n == r->limit && !r->finished)
        return LOOK_MORE;
    scan->triple = n == 3;
    *behind = r->at + (n == 3 ? 3 : 1);
    return LOOK_YES;
}

static void begin_string(Reply *r, bool is_key, size_t behind) {
    r->literal.is_key = is_key;
    r->at = behind;
    reply_emit_arguments(r, "\"", 1);
    r->mode = MODE_LITERAL_STRING;
}

/* ---- entries and other values ------------------------------------------------------------------------------------ */

static bool step_next(Reply *r) {
    LiteralLevel *level = top(r);
    size_t end, behind;
    r->at = past_spaces(r, r->at);
    if (r->at == r->limit)
        return false;
    if (*reply_at(r) == level->close) {
        r->at++;
        close_level(r);
        return true;
    }
    if (!level->keyed) {
        separate(r);
        r->mode = MODE_LITERAL_VALUE;
        return true;
    }
    Look key = look_key(r, r->at, r->literal.depth > 1 ? ":" : r->format->key_end, &end, &behind);
    if (key == LOOK_YES) {
        separate(r);
        reply_emit_string(r, reply_at(r), end - r->at);
        reply_emit_arguments(r, ": ", 2);
        r->at = behind;
        r->mode = MODE_LITERAL_VALUE;
        return true;
    }
    if (key == LOOK_NO && r->literal.depth > 1) {
        key = look_string(r, &r->literal, &behind);
        if (key == LOOK_YES) {
            separate(r);
            begin_string(r, true, behind);
        }
    }
    return key == LOOK_NO ? give_up(r) : key == LOOK_YES;
}

static bool step_colon(Reply *r) {
    r->at = past_spaces(r, r->at);
    if (r->at == r->limit)
        return false;
    if (*reply_at(r) != ':')
        return give_up(r);
    reply_emit_arguments(r, ": ", 2);
    r->at++;
    r->mode = MODE_LITERAL_VALUE;
    return true;
}

static bool is_word(const char *text, size_t bytes, const char *word) {
    return strlen(word) == bytes && memcmp(text, word, bytes) == 0;
}

/* True, None, a number; what is none of these is a text without its quotes. */
static void emit_word(Reply *r, const char *text, size_t bytes) {
    static const char *const words[][2] = {{"True", "true"}, {"False", "false"}, {"None", "null"}};
    for (size_t i = 0; i < COUNT(words); i++)
        if (is_word(text, bytes, words[i][0])) {
            reply_emit_arguments(r, words[i][1], strlen(words[i][1]));
            return;
        }
    if (json_is_value(text, bytes))
        reply_emit_arguments(r, text, bytes);
    else
        reply_emit_string(r, text, bytes);
}

static bool step_word(Reply *r) {
    const char *const ends[] = {",", ")", "]", "}", "\n", r->format->call_close};
    size_t which, place, clear;
    if (!reply_find(r, r->at, ends, COUNT(ends), &which, &place, &clear)) {
        if (r->finished) {
            reply_emit_arguments(r, reply_at(r), clear - r->at);
            r->at = clear;
        }
        return false;
    }
    size_t end = place;
    while (end > r->at && reply_is_space(r->input.bytes[end - 1]))
        end--;
    if (end == r->at)
        return give_up(r);
    emit_word(r, reply_at(r), end - r->at);
    r->at = place;
    r->mode = MODE_LITERAL_AFTER;
    return true;
}

static bool step_value(Reply *r) {
    r->at = past_spaces(r, r->at);
    if (r->at == r->limit)
        return false;
    const char c = *reply_at(r);
    const char close = c == '{' ? '}' : c == '[' ? ']' : c == '(' ? ')' : 0;
    if (close != 0) {
        if (!push_level(r, close, c == '{'))
            return give_up(r);
        r->at++;
        return true;
    }
    size_t behind;
    const Look string = look_string(r, &r->literal, &behind);
    if (string == LOOK_YES)
        begin_string(r, false, behind);
    return string == LOOK_YES || (string == LOOK_NO && step_word(r));
}

static bool step_after(Reply *r) {
    r->at = past_spaces(r, r->at);
    if (r->at == r->limit)
        return false;
    const char c = *reply_at(r);
    if (c != ',' && c != top(r)->close)
        return give_up(r);
    r->at++;
    if (c == ',')
        r->mode = MODE_LITERAL_NEXT;
    else
        close_level(r);
    return true;
}

bool reply_step_literal(Reply *r) {
    switch (r->mode) {
    case MODE_LITERAL_CALL:
        return step_call(r);
    case MODE_LITERAL_NEXT:
        return step_next(r);
    case MODE_LITERAL_COLON:
        return step_colon(r);
    case MODE_LITERAL_VALUE:
        return step_value(r);
    case MODE_LITERAL_STRING:
        return step_string(r);
    default:
        return step_after(r);
    }
}
