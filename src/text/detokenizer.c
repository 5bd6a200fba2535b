/* detokenizer.c - see detokenizer.h. */
#include "text/detokenizer.h"

#include "text/byte_level.h"

#include <string.h>

DecodeStep *detokenizer_add(Detokenizer *d, DecodeKind kind, const char *name, Error *err) {
    if (d->count == DECODE_MAX_STEPS) {
        error_set(err, ERR_UNSUPPORTED, "%s: a decoder of more than %d steps", name, DECODE_MAX_STEPS);
        return NULL;
    }
    DecodeStep *step = &d->steps[d->count++];
    *step = (DecodeStep){.kind = kind};
    return step;
}

void detokenizer_free(Detokenizer *d) {
    for (size_t i = 0; i < d->count; i++) {
        mem_free(d->steps[i].what);
        mem_free(d->steps[i].with);
        regex_free(d->steps[i].regex);
    }
    for (size_t i = 0; i < d->spelling_count; i++)
        mem_free(d->spellings[i].text);
    mem_free(d->spellings);
    mem_free(d->piece_bytes);
    mem_free(d->pieces);
    *d = (Detokenizer){0};
}

/* ---- what a step makes of one token ----------------------------------------------------------------------------- */

/* memmem for short texts, where looking for the first byte nearly decides it. */
static const char *find(const char *text, size_t count, const char *what, size_t what_bytes) {
    while (what_bytes > 0 && count >= what_bytes) {
        const char *first = memchr(text, what[0], count - what_bytes + 1);
        if (first == NULL || memcmp(first, what, what_bytes) == 0)
            return first;
        count -= (size_t)(first + 1 - text);
        text = first + 1;
    }
    return NULL;
}

static void replace_all(const char *text, size_t count, const char *what, size_t what_bytes, const char *with,
                        size_t with_bytes, Text *out) {
    size_t copied = 0;
    const char *found;
    while ((found = find(text + copied, count - copied, what, what_bytes)) != NULL) {
        text_append(out, text + copied, (size_t)(found - text) - copied);
        text_append(out, with, with_bytes);
        copied = (size_t)(found - text) + what_bytes;
    }
    text_append(out, text + copied, count - copied);
}

static Status replace_regex(const DecodeStep *step, const char *text, size_t count, Text *out, Error *err) {
    RegexScratch scratch = {0};
    RegexWalk walk = {.regex = step->regex, .scratch = &scratch, .text = text, .count = count};
    size_t copied = 0;
    Status status;
    for (;;) {
        bool found;
        size_t start, end;
        status = regex_next(&walk, &found, &start, &end, err);
        if (status != OK || !found)
            break;
        text_append(out, text + copied, start - copied);
        text_append(out, step->with, step->with_bytes);
        copied = end;
    }
    text_append(out, text + copied, count - copied);
    regex_scratch_free(&scratch);
    return status;
}

/* English habits of BERT's time: no blank before punctuation, contractions joined. */
static Status clean_up(const char *text, size_t count, Text *out, Error *err) {
    static const char *const rules[][2] = {{" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
                                           {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
                                           {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
    Text a = {0}, b = {0};
    text_append(&a, text, count);
    for (size_t i = 0; i < COUNT(rules) && !a.failed; i++) {
        text_clear(&b);
        replace_all(a.bytes, a.count, rules[i][0], strlen(rules[i][0]), rules[i][1], strlen(rules[i][1]), &b);
        const Text swap = a;
        a = b;
        b = swap;
    }
    const Status status = text_check(&a, err);
    text_append(out, a.bytes, a.count);
    text_free(&a);
    text_free(&b);
    return status;
}

static bool begins_with(const char *text, size_t count, const char *what, size_t what_bytes) {
    return count >= what_bytes && what_bytes > 0 && memcmp(text, what, what_bytes) == 0;
}

static void strip(const DecodeStep *step, const char *text, size_t count, Text *out) {
    size_t start = 0, end = count;
    for (size_t i = 0; i < step->left && begins_with(text + start, end - start, step->what, step->what_bytes); i++)
        start += step->what_bytes;
    for (size_t i = 0; i < step->right && end - start >= step->what_bytes &&
                       memcmp(text + end - step->what_bytes, step->what, step->what_bytes) == 0;
         i++)
        end -= step->what_bytes;
    text_append(out, text + start, end - start);
}

/* Does what the step does to the token at `index`, of which `last` tells whether it is the last one. Steps that carry
 * something from token to token (CTC's repetitions, bytes of a character) do that elsewhere. */
static Status map_token(const DecodeStep *step, const char *text, size_t count, size_t index, bool last, Text *out,
                        Error *err) {
    switch (step->kind) {
    case DECODE_REPLACE:
        replace_all(text, count, step->what, step->what_bytes, step->with, step->with_bytes, out);
        break;
    case DECODE_REPLACE_REGEX:
        TRY(replace_regex(step, text, count, out, err));
        break;
    case DECODE_STRIP:
        strip(step, text, count, out);
        break;
    case DECODE_METASPACE:
        replace_all(text, count, step->what, step->what_bytes, " ", step->drop_first && index == 0 ? 0 : 1, out);
        break;
    case DECODE_SUFFIX:
        replace_all(text, count, step->what, step->what_bytes, " ", last ? 0 : 1, out);
        break;
    case DECODE_BLANKS:
    case DECODE_WORDPIECE: {
        Text spaced = {0};
        const bool inside =
            step->kind == DECODE_WORDPIECE && index > 0 && begins_with(text, count, step->what, step->what_bytes);
        if (index > 0 && !inside)
            text_append_char(&spaced, ' ');
        const size_t skip = inside ? step->what_bytes : 0;
        text_append(&spaced, text + skip, count - skip);
        Status status = text_check(&spaced, err);
        if (status == OK && step->cleanup)
            status = clean_up(spaced.bytes, spaced.count, out, err);
        else
            text_append(out, spaced.bytes, spaced.count);
        text_free(&spaced);
        TRY(status);
        break;
    }
    case DECODE_CTC: {
        Text kept = {0}, cleaned = {0};
        replace_all(text, count, step->what, step->what_bytes, "", 0, &kept);
        Status status = text_check(&kept, err);
        if (status == OK && step->cleanup) {
            status = clean_up(kept.bytes, kept.count, &cleaned, err);
            if (status == OK && text_check(&cleaned, err) == OK)
                replace_all(cleaned.bytes != NULL ? cleaned.bytes : "", cleaned.count, step->with, step->with_bytes,
                            " ", 1, out);
        } else if (status == OK) {
            text_append(out, kept.bytes, kept.count);
        }
        if (status == OK)
            status = text_check(&cleaned, err);
        text_free(&kept);
        text_free(&cleaned);
        TRY(status);
        break;
    }
    case DECODE_BYTE_FALLBACK:
    case DECODE_BYTE_LEVEL:
    case DECODE_FUSE:
        text_append(out, text, count);
        break;
    }
    return text_check(out, err);
}

/* ---- tokens as the steps see them ------------------------------------------------------------------------------- */

static const DecodeSpelling *find_spelling(const Detokenizer *d, int32_t id) {
    size_t low = 0, high = d->spelling_count;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (d->spellings[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < d->spelling_count && d->spellings[low].id == id ? &d->spellings[low] : NULL;
}

/* The token's text in tokenizer.json; `buffer` is room for it. */
static Status token_text(const Detokenizer *d, int32_t id, Text *buffer, const char **text, size_t *count, Error *err) {
    const DecodeSpelling *spelling = find_spelling(d, id);
    if (spelling != NULL) {
        *text = spelling->text;
        *count = spelling->bytes;
        return OK;
    }
    *text = vocab_bytes(d->vocab, id);
    *count = d->vocab->pieces[id].count;
    if (!d->alphabet || (d->vocab->flags[id] & PIECE_RAW) != 0)
        return OK;
    text_clear(buffer);
    for (size_t i = 0; i < *count; i++)
        text_append_code_point(buffer, byte_level_char((uint8_t)(*text)[i]));
    TRY(text_check(buffer, err));
    *text = buffer->bytes != NULL ? buffer->bytes : "";
    *count = buffer->count;
    return OK;
}

/* The byte that <0x..> means; -1 for any other token. */
static int byte_of_token(const char *text, size_t count) {
    if (count != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>')
        return -1;
    const int high = parse_hex_digit(text[3]), low = parse_hex_digit(text[4]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/* How many steps at the beginning the pieces can stand for: those that treat a token alike wherever it stands, up to
 * the one that joins all tokens. */
static size_t count_piece_steps(const Detokenizer *d) {
    if (d->count > 0 && d->steps[0].kind == DECODE_BYTE_LEVEL)
        return 1;
    size_t i = 0;
    while (i < d->count && (d->steps[i].kind == DECODE_REPLACE || d->steps[i].kind == DECODE_STRIP))
        i++;
    if (i < d->count && d->steps[i].kind == DECODE_BYTE_FALLBACK)
        i++;
    return i < d->count && d->steps[i].kind == DECODE_FUSE ? i + 1 : 0;
}

/* One token through the steps [0, count) as if it stood in the middle of a text. */
static Status make_piece(const Detokenizer *d, size_t count, int32_t id, Text *a, Text *b, int *byte,
                         const char **bytes, size_t *length, Error *err) {
    *byte = -1;
    TRY(token_text(d, id, a, bytes, length, err));
    for (size_t i = 0; i < count; i++) {
        const DecodeStep *step = &d->steps[i];
        if (step->kind == DECODE_BYTE_FALLBACK && *byte < 0)
            *byte = byte_of_token(*bytes, *length);
        /* Most tokens of most vocabularies need no copy. */
        if (step->kind == DECODE_BYTE_FALLBACK || step->kind == DECODE_FUSE ||
            (step->kind == DECODE_REPLACE && find(*bytes, *length, step->what, step->what_bytes) == NULL))
            continue;
        Text *out = *bytes == a->bytes ? b : a;
        text_clear(out);
        TRY(map_token(step, *bytes, *length, 1, false, out, err));
        if (step->kind == DECODE_BYTE_LEVEL) {
            size_t decoded;
            Text *in = out == a ? b : a; /* decoded beside, because a failure leaves rubbish */
            text_clear(in);
            text_append(in, out->bytes, out->count);
            TRY(text_check(in, err));
            if (out->count > 0 && byte_level_decode(out->bytes, out->count, in->bytes, &decoded)) {
                in->count = decoded;
                out = in;
            }
        }
        *bytes = out->bytes != NULL ? out->bytes : "";
        *length = out->count;
    }
    return OK;
}

static Status make_pieces(Detokenizer *d, Vocab *vocab, size_t steps, Text *a, Text *b, Text *all, Error *err) {
    d->pieces = mem_array(vocab->count + 1, sizeof *d->pieces, MEM_TEXT);
    FAIL_IF(d->pieces == NULL, ERR_MEMORY, "no memory for the vocabulary");
    for (size_t i = 0; i < vocab->count; i++) {
        if (vocab->flags[i] == 0)
            continue;
        const char *bytes;
        size_t count;
        int byte;
        TRY(make_piece(d, steps, (int32_t)i, a, b, &byte, &bytes, &count, err));
        FAIL_IF(all->count > UINT32_MAX / 2, ERR_LIMIT, "the tokens have over 2 GiB");
        const size_t start = all->count;
        if (byte >= 0) {
            text_append_char(all, (char)byte);
            vocab->flags[i] |= TOKEN_BYTE;
        } else {
            text_append(all, bytes, count);
        }
        d->pieces[i] = (Piece){.start = (uint32_t)start, .count = (uint32_t)(all->count - start)};
    }
    TRY(text_check(all, err));
    d->piece_bytes = text_take(all);
    if (d->piece_bytes == NULL) /* not one byte in all pieces */
        d->piece_bytes = mem_strdup("", MEM_TEXT);
    FAIL_IF(d->piece_bytes == NULL, ERR_MEMORY, "no memory for the vocabulary");
    return OK;
}

Status detokenizer_prepare(Detokenizer *d, Vocab *vocab, Error *err) {
    d->piece_steps = count_piece_steps(d);
    const size_t steps = d->piece_steps > 0 ? d->piece_steps : d->count;
    /* Raw bytes are what BYTE_LEVEL would make of the alphabet: nothing to do. */
    if (steps == 1 && d->piece_steps == 1 && d->alphabet && d->spelling_count == 0)
        return OK;
    Text a = {0}, b = {0}, all = {0};
    const Status status = make_pieces(d, vocab, steps, &a, &b, &all, err);
    text_free(&a);
    text_free(&b);
    text_free(&all);
    return status;
}

/* ---- streaming -------------------------------------------------------------------------------------------------- */

static Status to_step(TokenizerStream *s, size_t i, const char *text, size_t count, Text *out, Error *err);

static bool is_fused(const Detokenizer *d, size_t i) {
    if (d->piece_steps > 0)
        return true;
    for (size_t k = 0; k < i; k++)
        if (d->steps[k].kind == DECODE_FUSE || d->steps[k].kind == DECODE_BYTE_LEVEL)
            return true;
    return false;
}

/* Gives on what is whole characters of state->text, bad parts as U+FFFD; keeps a beginning that may still be completed,
 * unless this is the end. */
static Status give_characters(TokenizerStream *s, size_t next, DecodeState *state, bool end, Text *out, Error *err) {
    Text *pending = &state->text;
    TRY(text_check(pending, err));
    const size_t whole =
        end ? pending->count : utf8_complete_prefix(pending->bytes != NULL ? pending->bytes : "", pending->count);
    size_t good = 0; /* start of what is valid and not given yet */
    for (size_t at = 0; at < whole;) {
        uint32_t c;
        int bad;
        const int length = utf8_decode(pending->bytes + at, whole - at, &c, &bad);
        if (length > 0) {
            at += (size_t)length;
            continue;
        }
        if (at > good)
            TRY(to_step(s, next, pending->bytes + good, at - good, out, err));
        TRY(to_step(s, next, "\xEF\xBF\xBD", 3, out, err));
        at += (size_t)bad;
        good = at;
    }
    if (whole > good)
        TRY(to_step(s, next, pending->bytes + good, whole - good, out, err));
    if (whole > 0) {
        memmove(pending->bytes, pending->bytes + whole, pending->count - whole);
        pending->count -= whole;
    }
    return OK;
}

/* Strips a text that comes in parts: counts what it takes away in front, holds back what may be the end. */
static Status strip_part(TokenizerStream *s, size_t i, const char *text, size_t count, Text *out, Error *err) {
    const DecodeStep *step = &s->detokenizer->steps[i];
    DecodeState *state = &s->states[i + 1];
    size_t start = 0;
    while (state->index < step->left && begins_with(text + start, count - start, step->what, step->what_bytes)) {
        start += step->what_bytes;
        state->index++;
    }
    if (start == count)
        return OK;
    state->index = SIZE_MAX; /* the front is over */
    size_t tail = count;
    size_t held = 0;
    while (held < step->right && tail - start >= step->what_bytes &&
           memcmp(text + tail - step->what_bytes, step->what, step->what_bytes) == 0) {
        tail -= step->what_bytes;
        held++;
    }
    /* What was held back is no end after all, except when all of this part may be one. */
    size_t give = state->held;
    if (tail == start && held < step->right)
        give = state->held + held > step->right ? state->held + held - step->right : 0;
    for (size_t k = 0; k < give; k++)
        TRY(to_step(s, i + 1, step->what, step->what_bytes, out, err));
    state->held = state->held - give + held;
    return tail > start ? to_step(s, i + 1, text + start, tail - start, out, err) : OK;
}

/* A replacement in a text that comes in parts: an end that may be the beginning of the pattern waits. */
static Status replace_part(TokenizerStream *s, size_t i, const char *text, size_t count, bool end, Text *out,
                           Error *err) {
    const DecodeStep *step = &s->detokenizer->steps[i];
    DecodeState *state = &s->states[i + 1];
    text_append(&state->text, text, count);
    TRY(text_check(&state->text, err));
    size_t ready = state->text.count;
    if (!end) {
        size_t wait = MIN(step->what_bytes > 0 ? step->what_bytes - 1 : 0, state->text.count);
        /* Only a beginning of the pattern waits that no earlier match uses up; matches are found from the left. */
        size_t at = 0;
        const char *found;
        while ((found = find(state->text.bytes + at, state->text.count - at, step->what, step->what_bytes)) != NULL)
            at = (size_t)(found - state->text.bytes) + step->what_bytes;
        while (wait > 0 && (state->text.count - wait < at ||
                            memcmp(state->text.bytes + state->text.count - wait, step->what, wait) != 0))
            wait--;
        ready = state->text.count - wait;
    }
    if (ready == 0)
        return OK;
    Text *made = &s->mapped[i + 1];
    text_clear(made);
    TRY(map_token(step, state->text.bytes, ready, 1, false, made, err));
    memmove(state->text.bytes, state->text.bytes + ready, state->text.count - ready);
    state->text.count -= ready;
    return made->count > 0 ? to_step(s, i + 1, made->bytes, made->count, out, err) : OK;
}

/* A part of the one text that a fusing step made. */
static Status part_to_step(TokenizerStream *s, size_t i, const char *text, size_t count, Text *out, Error *err) {
    const DecodeStep *step = &s->detokenizer->steps[i];
    DecodeState *state = &s->states[i + 1];
    switch (step->kind) {
    case DECODE_FUSE:
    case DECODE_BLANKS:
        return to_step(s, i + 1, text, count, out, err);
    case DECODE_STRIP:
        return strip_part(s, i, text, count, out, err);
    case DECODE_REPLACE:
        return replace_part(s, i, text, count, false, out, err);
    default: /* looks at the token as a whole: wait for its end */
        text_append(&state->text, text, count);
        return text_check(&state->text, err);
    }
}

static Status token_to_step(TokenizerStream *s, size_t i, const char *text, size_t count, Text *out, Error *err) {
    const DecodeStep *step = &s->detokenizer->steps[i];
    DecodeState *state = &s->states[i + 1];
    Text *made = &s->mapped[i + 1];
    const size_t index = state->index++;
    switch (step->kind) {
    case DECODE_BYTE_FALLBACK: {
        const int byte = byte_of_token(text, count);
        if (byte >= 0) {
            text_append_char(&state->text, (char)byte);
            return give_characters(s, i + 1, state, false, out, err);
        }
        TRY(give_characters(s, i + 1, state, true, out, err));
        return to_step(s, i + 1, text, count, out, err);
    }
    case DECODE_BYTE_LEVEL: {
        const size_t before = state->text.count;
        size_t decoded;
        text_append(&state->text, text, count);
        TRY(text_check(&state->text, err));
        if (byte_level_decode(text, count, state->text.bytes + before, &decoded))
            state->text.count = before + decoded;
        else
            memcpy(state->text.bytes + before, text, count);
        return give_characters(s, i + 1, state, false, out, err);
    }
    case DECODE_SUFFIX: /* one token behind, since the last is treated otherwise */
        text_clear(made);
        if (index > 0)
            TRY(map_token(step, state->text.bytes != NULL ? state->text.bytes : "", state->text.count, index - 1, false,
                          made, err));
        text_clear(&state->text);
        text_append(&state->text, text, count);
        TRY(text_check(&state->text, err));
        return index > 0 ? to_step(s, i + 1, made->bytes != NULL ? made->bytes : "", made->count, out, err) : OK;
    case DECODE_CTC:
        if (index > 0 && state->text.count == count && (count == 0 || memcmp(state->text.bytes, text, count) == 0))
            return OK;
        text_clear(&state->text);
        text_append(&state->text, text, count);
        TRY(text_check(&state->text, err));
        text_clear(made);
        TRY(map_token(step, text, count, index, false, made, err));
        return made->count > 0 ? to_step(s, i + 1, made->bytes, made->count, out, err) : OK;
    default:
        text_clear(made);
        TRY(map_token(step, text, count, index, false, made, err));
        return to_step(s, i + 1, made->bytes != NULL ? made->bytes : "", made->count, out, err);
    }
}

/* Hands a token, or a part of the fused text, to step i; behind the last step it is text for the caller. */
static Status to_step(TokenizerStream *s, size_t i, const char *text, size_t count, Text *out, Error *err) {
    const Detokenizer *d = s->detokenizer;
    if (i < d->count)
        return is_fused(d, i) ? part_to_step(s, i, text, count, out, err) : token_to_step(s, i, text, count, out, err);
    Text *to = d->tidy && (s->flags & DECODE_TIDY) != 0 ? &s->tidied : out;
    text_append(to, text, count);
    return text_check(to, err);
}

Status stream_push(TokenizerStream *s, int32_t id, Text *out, Error *err) {
    const Detokenizer *d = s->detokenizer;
    if (!vocab_has(d->vocab, id) ||
        ((s->flags & DECODE_SKIP_SPECIAL) != 0 && (d->vocab->flags[id] & TOKEN_CONTROL) != 0))
        return OK;
    const char *text;
    size_t count;
    if (d->piece_steps == 0) {
        TRY(token_text(d, id, &s->mapped[0], &text, &count, err));
        return to_step(s, 0, text, count, out, err);
    }
    text = detokenizer_piece(d, id, &count);
    const bool blank = !s->begun && d->front != FRONT_KEPT && count > 0 && text[0] == ' ' &&
                       (d->vocab->flags[id] & (TOKEN_CONTROL | TOKEN_UNKNOWN | TOKEN_BYTE)) == 0;
    text += blank;
    count -= blank;
    s->begun = s->begun || count > 0 || (blank && d->front == FRONT_FIRST);
    text_append(&s->states[0].text, text, count);
    return give_characters(s, d->piece_steps, &s->states[0], false, out, err);
}

static Status flush_step(TokenizerStream *s, size_t i, Text *out, Error *err) {
    const Detokenizer *d = s->detokenizer;
    const DecodeStep *step = &d->steps[i];
    DecodeState *state = &s->states[i + 1];
    Text *made = &s->mapped[i + 1];
    text_clear(made);
    if (!is_fused(d, i)) {
        if (step->kind == DECODE_BYTE_FALLBACK || step->kind == DECODE_BYTE_LEVEL)
            return give_characters(s, i + 1, state, true, out, err);
        if (step->kind != DECODE_SUFFIX || state->index == 0)
            return OK;
        TRY(map_token(step, state->text.bytes, state->text.count, state->index - 1, true, made, err));
    } else if (step->kind == DECODE_REPLACE) {
        return replace_part(s, i, "", 0, true, out, err);
    } else if (step->kind == DECODE_STRIP || step->kind == DECODE_FUSE || step->kind == DECODE_BLANKS) {
        return OK;
    } else if (step->kind == DECODE_BYTE_FALLBACK || step->kind == DECODE_BYTE_LEVEL) {
        const int byte = step->kind == DECODE_BYTE_FALLBACK && state->text.count > 0
                             ? byte_of_token(state->text.bytes, state->text.count)
                             : -1;
        size_t decoded;
        Text *pending = &state->text;
        if (byte >= 0) {
            pending->bytes[0] = (char)byte;
            pending->count = 1;
        } else if (step->kind == DECODE_BYTE_LEVEL && pending->count > 0) {
            text_append(made, pending->bytes, pending->count);
            TRY(text_check(made, err));
            if (byte_level_decode(pending->bytes, pending->count, made->bytes, &decoded)) {
                memcpy(pending->bytes, made->bytes, decoded);
                pending->count = decoded;
            }
        }
        return give_characters(s, i + 1, state, true, out, err);
    } else if (state->text.count > 0) {
        TRY(map_token(step, state->text.bytes, state->text.count, 0, true, made, err));
    }
    return made->count > 0 ? to_step(s, i + 1, made->bytes, made->count, out, err) : OK;
}

/* The blanks that llama.cpp deletes when it writes a whole reply at once: three passes over the bytes, in its order. */
static void tidy(Text *text) {
    char *t = text->bytes;
    size_t kept = 0, count = text->count;
    for (size_t i = 0; i < count; i++) { /* " ?" */
        if (i > 0 && t[i - 1] == ' ' && strchr("?!.,", t[i]) != NULL && t[i] != '\0')
            kept--;
        t[kept++] = t[i];
    }
    count = kept;
    kept = 0;
    for (size_t i = 0; i < count; i++) { /* " ' " */
        const char c = t[i];
        if (c == '\'' && i > 0 && i + 1 < count && t[i - 1] == ' ' && t[i + 1] == ' ') {
            kept--;
            t[++i] = '\0';
        }
        t[kept++] = c;
    }
    count = kept;
    kept = 0;
    for (size_t i = 0; i < count; i++) { /* " 's", " 'm", " 're", " 've" */
        const char *c = t + i;
        const size_t left = count - i;
        if (i > 0 && c[-1] == ' ' && c[0] == '\'' && left > 1 &&
            (c[1] == 's' || c[1] == 'm' || (left > 2 && (c[1] == 'r' || c[1] == 'v') && c[2] == 'e')))
            kept--;
        t[kept++] = t[i];
    }
    text->count = kept;
}

Status stream_flush(TokenizerStream *s, Text *out, Error *err) {
    const Detokenizer *d = s->detokenizer;
    if (d->piece_steps > 0)
        TRY(give_characters(s, d->piece_steps, &s->states[0], true, out, err));
    for (size_t i = d->piece_steps; i < d->count; i++)
        TRY(flush_step(s, i, out, err));
    if (s->tidied.count > 0) {
        tidy(&s->tidied);
        text_append(out, s->tidied.bytes, s->tidied.count);
        TRY(text_check(out, err));
    }
    for (size_t i = 0; i <= DECODE_MAX_STEPS; i++) {
        text_clear(&s->states[i].text);
        s->states[i].index = s->states[i].held = 0;
    }
    text_clear(&s->tidied);
    s->begun = false;
    return OK;
}

void stream_free(TokenizerStream *s) {
    for (size_t i = 0; i <= DECODE_MAX_STEPS; i++) {
        text_free(&s->states[i].text);
        text_free(&s->mapped[i]);
    }
    text_free(&s->tidied);
}
