/* pretokenizer.c - see pretokenizer.h. */
#include "text/pretokenizer.h"

#include "text/byte_level.h"
#include "text/unicode_class.h"
#include "text/unicode_news.h"

#include <string.h>

PreStep *pretokenizer_add(PreTokenizer *pre, PreKind kind) {
    if (!mem_grow((void **)&pre->steps, &pre->capacity, pre->count + 1, sizeof *pre->steps, MEM_TEXT))
        return NULL;
    PreStep *step = &pre->steps[pre->count++];
    *step = (PreStep){.kind = kind};
    return step;
}

void pretokenizer_free(PreTokenizer *pre) {
    for (size_t i = 0; i < pre->count; i++) {
        regex_free(pre->steps[i].regex);
        mem_free(pre->steps[i].what);
    }
    mem_free(pre->steps);
    *pre = (PreTokenizer){0};
}

void pretokenizer_scratch_free(PreScratch *scratch) {
    mem_free(scratch->spans.items);
    mem_free(scratch->other.items);
    text_free(&scratch->text);
    text_free(&scratch->rewritten);
    text_free(&scratch->older);
    *scratch = (PreScratch){0};
}

static Status add_span(Spans *spans, size_t start, size_t end, Error *err) {
    if (start == end)
        return OK;
    FAIL_IF(!mem_grow((void **)&spans->items, &spans->capacity, spans->count + 1, sizeof *spans->items, MEM_TEXT),
            ERR_MEMORY, "no memory for the words of a text");
    spans->items[spans->count++] = (Span){.start = (uint32_t)start, .count = (uint32_t)(end - start)};
    return OK;
}

/* ---- cutting at delimiters -------------------------------------------------------------------------------------- */

/* Takes delimiters and what is between them, in order, and applies the behaviour. Spans that one call of the library
 * would have made are held back until nothing can be added to them. */
typedef struct Cutter {
    const PreStep *step;
    Spans *out;
    bool open;           /* [start, end) is held back */
    bool last_delimiter; /* the element before was one */
    size_t start, end;
} Cutter;

static Status cut_flush(Cutter *c, Error *err) {
    if (c->open)
        TRY(add_span(c->out, c->start, c->end, err));
    c->open = false;
    return OK;
}

static Status cut_element(Cutter *c, size_t start, size_t end, bool found, Error *err) {
    const bool delimiter = found != c->step->invert;
    const bool last = c->last_delimiter;
    bool joined = false;
    switch (c->step->behavior) {
    case SPLIT_ISOLATED:
        return add_span(c->out, start, end, err);
    case SPLIT_REMOVED:
        return delimiter ? OK : add_span(c->out, start, end, err);
    case SPLIT_CONTIGUOUS:
        joined = delimiter == last;
        break;
    case SPLIT_MERGED_WITH_PREVIOUS:
        joined = delimiter && !last;
        break;
    case SPLIT_MERGED_WITH_NEXT:
        joined = !delimiter && last;
        break;
    }
    c->last_delimiter = delimiter;
    if (joined && c->open) {
        c->end = end;
        return OK;
    }
    TRY(cut_flush(c, err));
    c->open = true;
    c->start = start;
    c->end = end;
    return OK;
}

static bool is_delimiter(const PreStep *step, uint32_t c) {
    return step->kind == PRE_SPACE         ? unicode_is_space(c)
           : step->kind == PRE_PUNCTUATION ? unicode_is_punctuation(c)
                                           : unicode_is_number(c);
}

static Status cut_characters(Cutter *c, const char *base, Span span, Error *err) {
    const size_t end = (size_t)span.start + span.count;
    size_t between = span.start;
    for (size_t at = span.start; at < end;) {
        uint32_t character;
        int bad;
        const size_t next = at + (size_t)utf8_decode(base + at, end - at, &character, &bad);
        if (is_delimiter(c->step, character)) {
            if (between < at)
                TRY(cut_element(c, between, at, false, err));
            TRY(cut_element(c, at, next, true, err));
            between = next;
        }
        at = next;
    }
    return between < end ? cut_element(c, between, end, false, err) : OK;
}

static Status cut_string(Cutter *c, const char *base, Span span, Error *err) {
    const size_t end = (size_t)span.start + span.count;
    size_t between = span.start;
    const char *found;
    while ((found = memmem(base + between, end - between, c->step->what, c->step->what_bytes)) != NULL) {
        const size_t at = (size_t)(found - base);
        if (between < at)
            TRY(cut_element(c, between, at, false, err));
        TRY(cut_element(c, at, at + c->step->what_bytes, true, err));
        between = at + c->step->what_bytes;
    }
    return between < end ? cut_element(c, between, end, false, err) : OK;
}

static Status cut_regex(Cutter *c, RegexScratch *regex, const char *base, Span span, Error *err) {
    RegexWalk walk = {.regex = c->step->regex, .scratch = regex, .text = base + span.start, .count = span.count};
    size_t between = 0;
    for (;;) {
        bool found;
        size_t start, end;
        TRY(regex_next(&walk, &found, &start, &end, err));
        if (!found)
            break;
        if (between < start)
            TRY(cut_element(c, span.start + between, span.start + start, false, err));
        TRY(cut_element(c, span.start + start, span.start + end, true, err));
        between = end;
    }
    return between < span.count ? cut_element(c, span.start + between, (size_t)span.start + span.count, false, err)
                                : OK;
}

static Status cut_length(Cutter *c, const char *base, Span span, Error *err) {
    const size_t end = (size_t)span.start + span.count;
    for (size_t at = span.start; at < end;) {
        const size_t start = at;
        for (size_t i = 0; i < c->step->length && at < end; i++)
            do
                at++;
            while (at < end && ((unsigned char)base[at] & 0xC0) == 0x80);
        TRY(add_span(c->out, start, at, err));
    }
    return OK;
}

/* Cuts all spans into scratch->other, which then becomes scratch->spans. */
static Status cut_all(const PreStep *step, PreScratch *scratch, const char *base, Error *err) {
    scratch->other.count = 0;
    if (step->kind == PRE_REGEX && scratch->spans.count > 0) {
        const Span *last = &scratch->spans.items[scratch->spans.count - 1];
        if (unicode_without_news(base, (size_t)last->start + last->count, &scratch->older)) {
            TRY(text_check(&scratch->older, err));
            base = scratch->older.bytes;
        }
    }
    for (size_t i = 0; i < scratch->spans.count; i++) {
        const Span span = scratch->spans.items[i];
        Cutter cutter = {.step = step, .out = &scratch->other};
        if (step->kind == PRE_REGEX)
            TRY(cut_regex(&cutter, scratch->regex, base, span, err));
        else if (step->kind == PRE_STRING || step->kind == PRE_METASPACE)
            TRY(cut_string(&cutter, base, span, err));
        else if (step->kind == PRE_LENGTH)
            TRY(cut_length(&cutter, base, span, err));
        else
            TRY(cut_characters(&cutter, base, span, err));
        TRY(cut_flush(&cutter, err));
    }
    const Spans spans = scratch->spans;
    scratch->spans = scratch->other;
    scratch->other = spans;
    return OK;
}

/* ---- rewriting -------------------------------------------------------------------------------------------------- */

static bool begins_with(const char *text, size_t count, const char *what, size_t what_bytes) {
    return count >= what_bytes && memcmp(text, what, what_bytes) == 0;
}

static void rewrite_span(const PreStep *step, const char *text, size_t count, bool first, Text *out) {
    if (step->kind == PRE_BYTE_LEVEL) {
        for (size_t i = 0; i < count; i++)
            text_append_code_point(out, byte_level_char((uint8_t)text[i]));
        return;
    }
    if (step->kind == PRE_BYTES) {
        const size_t before = out->count;
        size_t bytes = 0;
        text_append(out, text, count); /* as much room as it can need */
        if (!out->failed && byte_level_decode(text, count, out->bytes + before, &bytes))
            out->count = before + bytes;
        return;
    }
    if (step->kind == PRE_PREFIX) {
        if (text[0] != ' ')
            text_append_char(out, ' ');
        text_append(out, text, count);
        return;
    }
    const bool marked = text[0] == ' ' || begins_with(text, count, step->what, step->what_bytes);
    if (!marked && (step->prepend == PREPEND_ALWAYS || (step->prepend == PREPEND_FIRST && first)))
        text_append(out, step->what, step->what_bytes);
    for (size_t at = 0; at < count;) {
        const char *blank = memchr(text + at, ' ', count - at);
        const size_t plain = blank != NULL ? (size_t)(blank - text) - at : count - at;
        text_append(out, text + at, plain);
        at += plain;
        if (at < count) {
            text_append(out, step->what, step->what_bytes);
            at++;
        }
    }
}

/* Writes the spans' texts anew, one behind the other, and lets the spans point to them. */
static Status rewrite_all(const PreStep *step, PreScratch *scratch, bool at_start, const char **base, Error *err) {
    Text *out = &scratch->rewritten;
    text_clear(out);
    for (size_t i = 0; i < scratch->spans.count; i++) {
        Span *span = &scratch->spans.items[i];
        const size_t start = out->count;
        rewrite_span(step, *base + span->start, span->count, at_start && i == 0, out);
        FAIL_IF(out->count > UINT32_MAX, ERR_LIMIT, "the text is too long");
        *span = (Span){.start = (uint32_t)start, .count = (uint32_t)(out->count - start)};
    }
    TRY(text_check(out, err));
    const Text text = scratch->text;
    scratch->text = scratch->rewritten;
    scratch->rewritten = text;
    *base = scratch->text.bytes != NULL ? scratch->text.bytes : "";
    return OK;
}

Status pretokenizer_apply(const PreTokenizer *pre, PreScratch *scratch, const char *text, size_t count, bool at_start,
                          const char **base, Error *err) {
    scratch->spans.count = 0;
    *base = text;
    TRY(add_span(&scratch->spans, 0, count, err));
    for (size_t i = 0; i < pre->count; i++) {
        const PreStep *step = &pre->steps[i];
        const bool rewrites = step->kind == PRE_METASPACE || step->kind == PRE_PREFIX || step->kind == PRE_BYTE_LEVEL ||
                              step->kind == PRE_BYTES;
        if (rewrites)
            TRY(rewrite_all(step, scratch, at_start, base, err));
        if (!rewrites || (step->kind == PRE_METASPACE && step->split))
            TRY(cut_all(step, scratch, *base, err));
    }
    return OK;
}
