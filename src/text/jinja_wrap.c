/* jinja_wrap.c - see jinja_wrap.h. */
#include "text/jinja_wrap.h"

#include "text/jinja_str.h"
#include "text/jinja_unicode.h"

#include <string.h>

/* The value as text, as most text filters take it; undefined is "". */
static Status soft_string(Jinja *j, Value v, Value *string) {
    return value_to_string(j, v, string);
}

static Status write_string(Jinja *j, Value v) {
    return jinja_write(j, v.as.text, v.count);
}

/* ---- indent, truncate, title, wordcount -------------------------------------------------------------------------- */

Status filter_indent(Jinja *j, Value v, const Args *args, Value *result) {
    if (v.kind == V_UNDEFINED)
        return undefined_fail(j, v);
    REFUSE_IF(v.kind != V_STRING, j, "indent: a string is expected, not %s", value_type(v));
    Value indent = args->items[0];
    const bool first = value_truth(args->items[1]), blank = value_truth(args->items[2]);
    const size_t mark = jinja_mark(j);
    if (indent.kind != V_STRING) {
        int64_t width = 4;
        if (is_given(indent))
            TRY(value_to_int64(j, indent, "indent", &width));
        TRY(jinja_write_repeat(j, " ", 1, width > 0 ? (size_t)width : 0));
        TRY(jinja_take(j, mark, &indent));
    }
    /* A newline is added in front of splitting, so that "a\n" has two lines, the last one empty. */
    Value text;
    TRY(string_concat(j, v, value_str("\n"), &text));
    List *lines;
    TRY(str_split_lines(j, text, false, &lines));
    for (size_t i = 0; i < lines->count; i++) {
        TRY(jinja_spend_bytes(j, (size_t)lines->items[i].count + indent.count));
        if (i > 0)
            TRY(jinja_write_char(j, '\n'));
        if (i == 0 ? first : blank || lines->items[i].count > 0)
            TRY(write_string(j, indent));
        TRY(write_string(j, lines->items[i]));
    }
    TRY(jinja_take(j, mark, result));
    result->flags |= v.flags & STR_MARKUP;
    return OK;
}

Status filter_truncate(Jinja *j, Value v, const Args *args, Value *result) {
    int64_t length = 255, leeway = 5;
    if (is_given(args->items[0]))
        TRY(value_to_int64(j, args->items[0], "truncate", &length));
    if (!is_nothing(args->items[3]))
        TRY(value_to_int64(j, args->items[3], "truncate", &leeway));
    const bool kill_words = value_truth(args->items[1]);
    const Value end = is_given(args->items[2]) ? args->items[2] : value_str("...");
    REFUSE_IF(end.kind != V_STRING, j, "truncate: the end must be a string");
    const int64_t end_length = (int64_t)string_length(end);
    REFUSE_IF(length < end_length, j, "truncate: expected length >= %lld, got %lld", (long long)end_length,
              (long long)length);
    REFUSE_IF(leeway < 0, j, "truncate: expected leeway >= 0, got %lld", (long long)leeway);
    bool has;
    const size_t have = value_length(v, &has);
    REFUSE_IF(!has, j, "truncate: object of type '%s' has no len()", value_type(v));
    if ((int64_t)have <= length + leeway) {
        *result = v;
        return OK;
    }
    REFUSE_IF(v.kind != V_STRING, j, "truncate: a string is expected, not %s", value_type(v));
    Value kept = value_slice(v, 0, string_offset(v, (size_t)(length - end_length)));
    if (!kill_words)
        kept = str_before_last(kept, ' ');
    return value_binary(j, OP_ADD, kept, end, result);
}

/* Words begin behind white space and any of -({[<. */
Status filter_title(Jinja *j, Value v, const Args *args, Value *result) {
    (void)args;
    Value text;
    TRY(soft_string(j, v, &text));
    const size_t mark = jinja_mark(j);
    for (size_t at = 0; at < text.count;) {
        size_t end = at, first = 0;
        bool separator = false;
        while (end < text.count) {
            size_t next = end;
            const uint32_t c = char_next(text, &next);
            const bool separates = char_is_space(c) || (c < 0x80 && c != 0 && strchr("-({[<", (int)c) != NULL);
            if (end == at) {
                separator = separates;
                first = next;
            } else if (separates != separator) {
                break;
            }
            end = next;
        }
        TRY(write_cased(j, value_slice(text, at, first - at), CASE_UPPER));
        TRY(write_cased(j, value_slice(text, first, end - first), CASE_LOWER));
        at = end;
    }
    return jinja_take(j, mark, result);
}

Status filter_wordcount(Jinja *j, Value v, const Args *args, Value *result) {
    (void)args;
    Value text;
    TRY(soft_string(j, v, &text));
    TRY(jinja_spend(j, text.count / 16 + 1));
    int64_t count = 0;
    bool inside = false;
    for (size_t at = 0; at < text.count;) {
        const bool word = char_is_word(char_next(text, &at));
        count += word && !inside;
        inside = word;
    }
    *result = value_int(count);
    return OK;
}

/* ---- striptags --------------------------------------------------------------------------------------------------- */

static Status drop_between(Jinja *j, Value text, const char *open, const char *close, Value *result) {
    const size_t mark = jinja_mark(j);
    const char *at = text.as.text, *end = at + text.count;
    TRY(jinja_spend_bytes(j, text.count));
    for (;;) {
        const char *start = memmem(at, (size_t)(end - at), open, strlen(open));
        const char *stop = start != NULL ? memmem(start, (size_t)(end - start), close, strlen(close)) : NULL;
        if (stop == NULL)
            break;
        TRY(jinja_write(j, at, (size_t)(start - at)));
        at = stop + strlen(close);
    }
    TRY(jinja_write(j, at, (size_t)(end - at)));
    return jinja_take(j, mark, result);
}

/* The entities that escaping makes, and a few common ones; numbers of any character. */
static size_t entity_at(const char *at, size_t count, uint32_t *code) {
    static const struct {
        const char *name;
        uint32_t code;
    } entities[] = {{"amp;", '&'},     {"lt;", '<'},      {"gt;", '>'},      {"quot;", '"'},     {"apos;", '\''},
                    {"nbsp;", 0xA0},   {"copy;", 0xA9},   {"raquo;", 0xBB},  {"laquo;", 0xAB},   {"hellip;", 0x2026},
                    {"mdash;", 0x2014}, {"ndash;", 0x2013}, {"euro;", 0x20AC}};
    for (size_t i = 0; i < COUNT(entities); i++) {
        const size_t length = strlen(entities[i].name);
        if (count > length && memcmp(at + 1, entities[i].name, length) == 0) {
            *code = entities[i].code;
            return length + 1;
        }
    }
    if (count < 4 || at[1] != '#')
        return 0;
    const bool hex = (at[2] | 0x20) == 'x';
    size_t i = hex ? 3 : 2;
    uint32_t value = 0;
    const size_t start = i;
    for (; i < count && i < start + 7; i++) {
        const char c = at[i], lower = (char)(c | 0x20);
        if (c >= '0' && c <= '9')
            value = value * (hex ? 16 : 10) + (uint32_t)(c - '0');
        else if (hex && lower >= 'a' && lower <= 'f')
            value = value * 16 + (uint32_t)(lower - 'a') + 10;
        else
            break;
    }
    if (i == start || i >= count || at[i] != ';' || value == 0)
        return 0;
    *code = value;
    return i + 1;
}

Status filter_striptags(Jinja *j, Value v, const Args *args, Value *result) {
    (void)args;
    Value text;
    TRY(soft_string(j, v, &text));
    TRY(drop_between(j, text, "<!--", "-->", &text));
    TRY(drop_between(j, text, "<", ">", &text));
    const size_t mark = jinja_mark(j);
    bool space = false;
    for (size_t at = 0; at < text.count;) {
        const size_t start = at;
        uint32_t c = char_next(text, &at);
        if (char_is_space(c)) {
            space = jinja_mark(j) > mark;
            continue;
        }
        if (space)
            TRY(jinja_write_char(j, ' '));
        space = false;
        const size_t entity = c == '&' ? entity_at(text.as.text + start, text.count - start, &c) : 0;
        at = entity > 0 ? start + entity : at;
        TRY(jinja_write_code_point(j, c));
    }
    return jinja_take(j, mark, result);
}

/* ---- wordwrap ---------------------------------------------------------------------------------------------------- */

typedef struct Wrap {
    int64_t width;
    bool break_words, break_hyphens;
    Value separator;
} Wrap;

static bool is_wrap_space(uint32_t c) {
    return c == ' ' || (c >= '\t' && c <= '\r'); /* what textwrap takes for white space */
}

/* The line as code points, because the rules look back and ahead. */
typedef struct Line {
    uint32_t *chars;
    size_t count;
} Line;

/* A piece that is white space by any measure is dropped at the ends of lines. */
static bool is_blank(const Line *line, size_t start, size_t end) {
    for (size_t i = start; i < end; i++)
        if (!char_is_space(line->chars[i]))
            return false;
    return true;
}

static bool is_letter(uint32_t c) {
    return char_is_word(c) && !char_is_decimal(c);
}

static bool is_word_mark(uint32_t c) {
    return char_is_word(c) || (c < 0x80 && c != 0 && strchr("!\"'&.,?", (int)c) != NULL);
}

static uint32_t char_at(const Line *line, size_t at) {
    return at < line->count ? line->chars[at] : 0;
}

static bool dash_run_before_word(const Line *line, size_t at, size_t *end) {
    *end = at;
    while (char_at(line, *end) == '-')
        (*end)++;
    return *end - at >= 2 && *end < line->count && char_is_word(line->chars[*end]);
}

/* A hyphen at `at` behind which a word may be cut: two letters before it, and after it, perhaps with a hyphen between
 * them. */
static bool may_cut_after(const Line *line, size_t at) {
    const bool before = (at >= 2 && is_letter(line->chars[at - 1]) && is_letter(line->chars[at - 2])) ||
                        (at >= 3 && is_letter(line->chars[at - 1]) && line->chars[at - 2] == '-' &&
                         is_letter(line->chars[at - 3]));
    if (!before || !is_letter(char_at(line, at + 1)))
        return false;
    return is_letter(char_at(line, at + 2)) ||
           (char_at(line, at + 2) == '-' && is_letter(char_at(line, at + 3)));
}

/* End of the piece that begins at `at`: white space, a dash between words, or a word up to where it may be cut. */
static size_t chunk_end(const Wrap *wrap, const Line *line, size_t at) {
    size_t end = at;
    const bool space = is_wrap_space(line->chars[at]);
    if (space || !wrap->break_hyphens) {
        while (end < line->count && is_wrap_space(line->chars[end]) == space)
            end++;
        return end;
    }
    size_t dashes;
    if (at > 0 && is_word_mark(line->chars[at - 1]) && dash_run_before_word(line, at, &dashes))
        return dashes;
    for (end = at + 1; end < line->count && !is_wrap_space(line->chars[end]); end++) {
        if (line->chars[end] == '-' && may_cut_after(line, end))
            return end + 1;
        if (is_word_mark(line->chars[end - 1]) && dash_run_before_word(line, end, &dashes))
            return end;
    }
    return end;
}

static Status write_chars(Jinja *j, const Line *line, size_t start, size_t end) {
    for (size_t i = start; i < end; i++)
        TRY(jinja_write_code_point(j, line->chars[i]));
    return OK;
}

/* Where a word that does not fit is cut: at a hyphen if there is one, else at the room that is left. */
static size_t cut_long_word(const Wrap *wrap, const Line *line, size_t start, size_t end, size_t room) {
    size_t cut = start + room;
    if (wrap->break_hyphens) {
        size_t hyphen = 0;
        for (size_t i = start + 1; i < start + room && i < end; i++) {
            bool other = false;
            for (size_t k = start; k < i && !other; k++)
                other = line->chars[k] != '-';
            if (line->chars[i] == '-' && other)
                hyphen = i;
        }
        if (hyphen > 0)
            cut = hyphen + 1;
    }
    return MIN(cut, end);
}

/* textwrap.wrap of one line; spaces at the ends of lines are dropped. */
static Status wrap_line(Jinja *j, const Wrap *wrap, const Line *line) {
    REFUSE_IF(wrap->width <= 0, j, "wordwrap: invalid width %lld (must be > 0)", (long long)wrap->width);
    const size_t width = (size_t)wrap->width;
    size_t at = 0, piece_end = 0; /* piece_end > at: what is left of a word that was cut */
    bool first_line = true;
    while (at < line->count) {
        size_t next = piece_end > at ? piece_end : chunk_end(wrap, line, at);
        if (!first_line && is_blank(line, at, next)) { /* lines but the first begin with a word */
            at = next;
            piece_end = 0;
            if (at >= line->count)
                break;
            next = chunk_end(wrap, line, at);
        }
        const size_t start = at;
        size_t used = 0, last = at; /* where the line's last piece begins: one that is blank is dropped */
        while (at < line->count) {
            TRY(jinja_spend(j, (next - at) / 8 + 1));
            if (used + (next - at) > width)
                break;
            used += next - at;
            last = at;
            at = next;
            piece_end = 0;
            if (at < line->count)
                next = chunk_end(wrap, line, at);
        }
        if (at < line->count && next - at > width) { /* a word that fits on no line */
            if (wrap->break_words) {
                const size_t cut = cut_long_word(wrap, line, at, next, width - used);
                last = at; /* with no room left the piece is empty, and a blank one before it stays */
                at = cut;
                piece_end = next;
            } else if (used == 0) {
                last = at;
                at = next;
                piece_end = 0;
            }
        }
        const size_t content_end = is_blank(line, last, at) ? last : at;
        if (content_end > start) {
            if (!first_line)
                TRY(write_string(j, wrap->separator));
            TRY(write_chars(j, line, start, content_end));
            first_line = false;
        }
    }
    return OK;
}

Status filter_wordwrap(Jinja *j, Value v, const Args *args, Value *result) {
    if (v.kind == V_UNDEFINED)
        return undefined_fail(j, v);
    REFUSE_IF(v.kind != V_STRING, j, "wordwrap: a string is expected, not %s", value_type(v));
    Wrap wrap = {.width = 79, .break_words = true, .break_hyphens = true, .separator = value_str("\n")};
    if (is_given(args->items[0]))
        TRY(value_to_int64(j, args->items[0], "wordwrap", &wrap.width));
    if (is_given(args->items[1]))
        wrap.break_words = value_truth(args->items[1]);
    if (!is_nothing(args->items[2])) {
        REFUSE_IF(args->items[2].kind != V_STRING, j, "wordwrap: the wrapstring must be a string");
        wrap.separator = args->items[2];
    }
    if (is_given(args->items[3]))
        wrap.break_hyphens = value_truth(args->items[3]);
    List *lines;
    TRY(str_split_lines(j, v, false, &lines));
    Line line;
    TRY(jinja_alloc_array(j, (size_t)v.count + 1, sizeof *line.chars, &line.chars));
    const size_t mark = jinja_mark(j);
    for (size_t i = 0; i < lines->count; i++) {
        if (i > 0)
            TRY(write_string(j, wrap.separator));
        line.count = 0;
        for (size_t at = 0; at < lines->items[i].count;)
            line.chars[line.count++] = char_next(lines->items[i], &at);
        TRY(wrap_line(j, &wrap, &line));
    }
    return jinja_take(j, mark, result);
}
