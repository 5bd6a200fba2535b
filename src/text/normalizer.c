/* normalizer.c - see normalizer.h. The four Unicode normal forms are in normal_form.c. */
#include "text/normalizer.h"

#include "text/byte_level.h"
#include "text/normal_form.h"
#include "text/unicode_class.h"

#include <string.h>
#include <utf8proc.h>

NormStep *normalizer_add(Normalizer *normalizer, NormKind kind) {
    if (!mem_grow((void **)&normalizer->steps, &normalizer->capacity, normalizer->count + 1, sizeof *normalizer->steps,
                  MEM_TEXT))
        return NULL;
    NormStep *step = &normalizer->steps[normalizer->count++];
    *step = (NormStep){.kind = kind};
    return step;
}

void normalizer_free(Normalizer *normalizer) {
    for (size_t i = 0; i < normalizer->count; i++) {
        NormStep *step = &normalizer->steps[i];
        mem_free(step->what);
        mem_free(step->with);
        regex_free(step->regex);
        charsmap_free(&step->charsmap);
    }
    mem_free(normalizer->steps);
    *normalizer = (Normalizer){0};
}

void normalizer_scratch_free(NormScratch *scratch) {
    text_free(&scratch->a);
    text_free(&scratch->b);
    mem_free(scratch->code_points);
    *scratch = (NormScratch){0};
}

/* ---- steps ------------------------------------------------------------------------------------------------------ */

/* The character at *at, which moves behind it. The text is known to be valid. */
static uint32_t take(const char *text, size_t count, size_t *at) {
    uint32_t c;
    int bad;
    const int length = utf8_decode(text + *at, count - *at, &c, &bad);
    *at += (size_t)length;
    return c;
}

static void lower_case(const char *text, size_t count, Text *out) {
    for (size_t at = 0; at < count;) {
        uint32_t lower[2];
        const int n = unicode_lower(take(text, count, &at), lower);
        for (int i = 0; i < n; i++)
            text_append_code_point(out, lower[i]);
    }
}

static void strip(const NormStep *step, const char *text, size_t count, Text *out) {
    size_t from = 0, to = count;
    while (step->left && from < to) {
        size_t next = from;
        if (!unicode_is_space(take(text, count, &next)))
            break;
        from = next;
    }
    while (step->right && to > from) {
        size_t start = to - 1;
        while (start > from && ((unsigned char)text[start] & 0xC0) == 0x80)
            start--;
        size_t next = start;
        if (!unicode_is_space(take(text, count, &next)))
            break;
        to = start;
    }
    text_append(out, text + from, to - from);
}

static void filter(const char *text, size_t count, bool (*drop)(uint32_t c), Text *out) {
    for (size_t at = 0; at < count;) {
        const size_t start = at;
        if (!drop(take(text, count, &at)))
            text_append(out, text + start, at - start);
    }
}

static void replace(const NormStep *step, const char *text, size_t count, Text *out) {
    size_t copied = 0;
    const char *found;
    while ((found = memmem(text + copied, count - copied, step->what, step->what_bytes)) != NULL) {
        text_append(out, text + copied, (size_t)(found - text) - copied);
        text_append(out, step->with, step->with_bytes);
        copied = (size_t)(found - text) + step->what_bytes;
    }
    text_append(out, text + copied, count - copied);
}

static Status replace_regex(const NormStep *step, RegexScratch *scratch, const char *text, size_t count, Text *out,
                            Error *err) {
    RegexWalk walk = {.regex = step->regex, .scratch = scratch, .text = text, .count = count};
    size_t copied = 0;
    for (;;) {
        bool found;
        size_t start, end;
        TRY(regex_next(&walk, &found, &start, &end, err));
        if (!found)
            break;
        text_append(out, text + copied, start - copied);
        text_append(out, step->with, step->with_bytes);
        copied = end;
    }
    text_append(out, text + copied, count - copied);
    return OK;
}

/* The library looks a whole grapheme up when it is shorter than 6 bytes, and takes the replacement of the shortest
 * sequence that it begins with in place of all of it; failing that, character by character in the same manner. */
static void precompiled(const NormStep *step, const char *text, size_t count, Text *out) {
    for (size_t at = 0; at < count;) {
        const size_t start = at;
        utf8proc_int32_t state = 0;
        uint32_t c = take(text, count, &at);
        while (at < count) {
            size_t next = at;
            const uint32_t following = take(text, count, &next);
            if (utf8proc_grapheme_break_stateful((utf8proc_int32_t)c, (utf8proc_int32_t)following, &state))
                break;
            c = following;
            at = next;
        }
        size_t length;
        const char *whole =
            at - start < 6 ? charsmap_shortest(&step->charsmap, text + start, at - start, &length) : NULL;
        if (whole != NULL) {
            text_append_str(out, whole);
            continue;
        }
        for (size_t part = start; part < at;) {
            const size_t from = part;
            take(text, count, &part);
            const char *one = charsmap_shortest(&step->charsmap, text + from, part - from, &length);
            if (one != NULL)
                text_append_str(out, one);
            else
                text_append(out, text + from, part - from);
        }
    }
}

static bool is_chinese(uint32_t c) {
    return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
           (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) ||
           (c >= 0x2B920 && c <= 0x2CEAF) /* not 2B820: a slip of the reference that models were trained with */ ||
           (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

static Status bert(const NormStep *step, NormScratch *scratch, const char *text, size_t count, Text *out, Error *err) {
    Text first = {0}, second = {0};
    for (size_t at = 0; at < count;) {
        const size_t start = at;
        const uint32_t c = take(text, count, &at);
        if (step->clean_text && c != '\t' && c != '\n' && c != '\r' && (c == 0 || c == 0xFFFD || unicode_is_other(c)))
            continue;
        const bool alone = step->chinese && is_chinese(c);
        if (alone)
            text_append_char(&first, ' ');
        if (step->clean_text && unicode_is_space(c))
            text_append_char(&first, ' ');
        else
            text_append(&first, text + start, at - start);
        if (alone)
            text_append_char(&first, ' ');
    }
    Status status = text_check(&first, err);
    if (status == OK && step->accents && first.count > 0) {
        status = normal_form(first.bytes, first.count, FORM_NFD, &scratch->code_points, &scratch->code_points_capacity,
                             &second, err);
        text_clear(&first);
        if (status == OK)
            filter(second.bytes, second.count, unicode_is_nonspacing, &first);
    }
    if (status == OK) {
        if (step->lowercase)
            lower_case(first.bytes, first.count, out);
        else
            text_append(out, first.bytes, first.count);
        status = text_check(&first, err);
    }
    text_free(&first);
    text_free(&second);
    return status;
}

static bool nmt_drops(uint32_t c) {
    return (c >= 1 && c <= 8) || c == 0x0B || (c >= 0x0E && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F;
}

static void nmt(const char *text, size_t count, Text *out) {
    for (size_t at = 0; at < count;) {
        const size_t start = at;
        const uint32_t c = take(text, count, &at);
        if (nmt_drops(c))
            continue;
        if (c == '\t' || c == '\n' || c == '\f' || c == '\r' || c == 0x1680 || (c >= 0x200B && c <= 0x200F) ||
            c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD)
            text_append_char(out, ' ');
        else
            text_append(out, text + start, at - start);
    }
}

static void byte_level(const char *text, size_t count, Text *out) {
    for (size_t i = 0; i < count; i++)
        text_append_code_point(out, byte_level_char((uint8_t)text[i]));
}

/* ---- SentencePiece ---------------------------------------------------------------------------------------------- */

/* What the text at `at` becomes next: a user's symbol as it is, else the charsmap's longest, else itself. */
static const char *sentencepiece_next(const NormStep *step, const char *text, size_t count, size_t at, size_t *consumed,
                                      size_t *length) {
    if (step->symbols != NULL && trie_longest(step->symbols, text + at, count - at, consumed) >= 0) {
        *length = *consumed;
        return text + at;
    }
    const char *replacement = charsmap_longest(&step->charsmap, text + at, count - at, consumed);
    if (replacement != NULL) {
        *length = strlen(replacement);
        return replacement;
    }
    size_t next = at;
    take(text, count, &next);
    *consumed = *length = next - at;
    return text + at;
}

static void sentencepiece(const NormStep *step, const char *text, size_t count, Text *out) {
    const char *const blank = step->escape_blank ? "\xE2\x96\x81" : " ";
    const size_t blank_bytes = strlen(blank);
    size_t at = 0, consumed, length;
    while (step->remove_extra && at < count) { /* blanks at the beginning */
        const char *next = sentencepiece_next(step, text, count, at, &consumed, &length);
        if (length != 1 || next[0] != ' ')
            break;
        at += consumed;
    }
    if (at == count)
        return;
    if (step->prefix)
        text_append(out, blank, blank_bytes);
    bool after_blank = step->remove_extra;
    while (at < count) {
        const char *next = sentencepiece_next(step, text, count, at, &consumed, &length);
        while (after_blank && length > 0 && *next == ' ') {
            next++;
            length--;
        }
        for (size_t i = 0; i < length; i++) {
            if (next[i] == ' ')
                text_append(out, blank, blank_bytes);
            else
                text_append_char(out, next[i]);
        }
        if (length > 0)
            after_blank = step->remove_extra && next[length - 1] == ' ';
        at += consumed;
    }
    while (step->remove_extra && out->count >= blank_bytes && !out->failed &&
           memcmp(out->bytes + out->count - blank_bytes, blank, blank_bytes) == 0)
        out->count -= blank_bytes;
    if (step->suffix)
        text_append(out, blank, blank_bytes);
}

/* ---- all together ----------------------------------------------------------------------------------------------- */

static Status apply_step(const NormStep *step, NormScratch *scratch, const char *text, size_t count, Text *out,
                         Error *err) {
    switch (step->kind) {
    case NORM_NFC:
    case NORM_NFD:
    case NORM_NFKC:
    case NORM_NFKD: {
        static const NormalForm forms[] = {FORM_NFC, FORM_NFD, FORM_NFKC, FORM_NFKD};
        TRY(normal_form(text, count, forms[step->kind - NORM_NFC], &scratch->code_points,
                        &scratch->code_points_capacity, out, err));
        break;
    }
    case NORM_LOWERCASE:
        lower_case(text, count, out);
        break;
    case NORM_STRIP:
        strip(step, text, count, out);
        break;
    case NORM_STRIP_ACCENTS:
        filter(text, count, unicode_is_mark, out);
        break;
    case NORM_PREPEND:
        text_append(out, step->with, step->with_bytes);
        text_append(out, text, count);
        break;
    case NORM_REPLACE:
        replace(step, text, count, out);
        break;
    case NORM_REPLACE_REGEX:
        TRY(replace_regex(step, scratch->regex, text, count, out, err));
        break;
    case NORM_PRECOMPILED:
        precompiled(step, text, count, out);
        break;
    case NORM_BERT:
        TRY(bert(step, scratch, text, count, out, err));
        break;
    case NORM_NMT:
        nmt(text, count, out);
        break;
    case NORM_BYTE_LEVEL:
        byte_level(text, count, out);
        break;
    case NORM_SENTENCEPIECE:
        sentencepiece(step, text, count, out);
        break;
    }
    return text_check(out, err);
}

static bool is_ascii(const char *text, size_t count) {
    size_t i = 0;
    for (uint64_t word; i + 8 <= count; i += 8) {
        memcpy(&word, text + i, 8);
        if ((word & 0x8080808080808080u) != 0)
            return false;
    }
    for (; i < count; i++)
        if ((unsigned char)text[i] >= 0x80)
            return false;
    return true;
}

static bool changes_nothing(const NormStep *step, const char *text, size_t count) {
    switch (step->kind) {
    case NORM_NFC:
    case NORM_NFD:
    case NORM_NFKC:
    case NORM_NFKD:
    case NORM_STRIP_ACCENTS:
        return is_ascii(text, count);
    case NORM_REPLACE:
        return memmem(text, count, step->what, step->what_bytes) == NULL;
    default:
        return false;
    }
}

Status normalizer_apply(const Normalizer *normalizer, NormScratch *scratch, const char *text, size_t count,
                        const char **result, size_t *result_count, Error *err) {
    for (size_t i = 0; i < normalizer->count && count > 0; i++) {
        const NormStep *step = &normalizer->steps[i];
        if (changes_nothing(step, text, count))
            continue;
        Text *out = scratch->a.bytes != NULL && text == scratch->a.bytes ? &scratch->b : &scratch->a;
        text_clear(out);
        TRY(apply_step(step, scratch, text, count, out, err));
        text = out->bytes != NULL ? out->bytes : "";
        count = out->count;
    }
    *result = text;
    *result_count = count;
    return OK;
}
