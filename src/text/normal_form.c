/* normal_form.c - see normal_form.h.
 *
 * ASCII passes as it is; each run of other characters, with the one character in front of it that a combining mark may
 * join, is decomposed, its marks sorted by combining class, and composed again. Decomposing and composing characters is
 * utf8proc's; the sorting is ours, because utf8proc moves marks one place at a time, which takes hours for a text made
 * of a million of them. */
#include "text/normal_form.h"

#include <string.h>
#include <utf8proc.h>

enum { MAX_DECOMPOSED = 32 }; /* code points that one may become; U+FDFA becomes 18 */

typedef struct Points {
    int32_t *items;
    size_t count;
} Points;

static unsigned combining_class(int32_t c) {
    return c < 0x300 ? 0 : (unsigned)utf8proc_get_property(c)->combining_class;
}

/* Sorts marks (no class is 0), equal ones keeping their order. */
static Status sort_marks(int32_t *marks, size_t count, Error *err) {
    if (count <= 32) {
        for (size_t i = 1; i < count; i++) {
            const int32_t mark = marks[i];
            const unsigned class = combining_class(mark);
            size_t at = i;
            for (; at > 0 && combining_class(marks[at - 1]) > class; at--)
                marks[at] = marks[at - 1];
            marks[at] = mark;
        }
        return OK;
    }
    int32_t *sorted = mem_alloc(count * sizeof *sorted, MEM_TEXT);
    FAIL_IF(sorted == NULL, ERR_MEMORY, "no memory for a normal form");
    size_t starts[257] = {0};
    for (size_t i = 0; i < count; i++)
        starts[combining_class(marks[i]) + 1]++;
    for (int class = 0; class < 256; class ++)
        starts[class + 1] += starts[class];
    for (size_t i = 0; i < count; i++)
        sorted[starts[combining_class(marks[i])]++] = marks[i];
    memcpy(marks, sorted, count * sizeof *marks);
    mem_free(sorted);
    return OK;
}

static Status sort_runs(Points *p, Error *err) {
    for (size_t at = 0; at < p->count;) {
        size_t end = at;
        while (end < p->count && combining_class(p->items[end]) != 0)
            end++;
        if (end - at > 1)
            TRY(sort_marks(p->items + at, end - at, err));
        at = end + 1;
    }
    return OK;
}

/* One run: text without ASCII but for its first character. */
static Status normalize_run(const char *text, size_t count, NormalForm form, int32_t **code_points, size_t *capacity,
                            Text *out, Error *err) {
    const bool compatible = form == FORM_NFKC || form == FORM_NFKD;
    const bool compose = form == FORM_NFC || form == FORM_NFKC;
    const utf8proc_option_t decompose =
        (utf8proc_option_t)(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | (compatible ? UTF8PROC_COMPAT : 0));
    Points p = {0};
    for (size_t at = 0; at < count;) {
        FAIL_IF(!mem_grow((void **)code_points, capacity, p.count + MAX_DECOMPOSED, sizeof **code_points, MEM_TEXT),
                ERR_MEMORY, "no memory for a normal form");
        uint32_t c;
        int bad, boundary_class = 0;
        at += (size_t)utf8_decode(text + at, count - at, &c, &bad);
        const utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)c, *code_points + p.count, MAX_DECOMPOSED,
                                                           decompose, &boundary_class);
        FAIL_IF(n < 0 || n > MAX_DECOMPOSED, ERR_INTERNAL, "U+%04X cannot be decomposed", (unsigned)c);
        p.count += (size_t)n;
    }
    p.items = *code_points;
    TRY(sort_runs(&p, err));
    if (compose) {
        const utf8proc_ssize_t n = utf8proc_normalize_utf32(
            p.items, (utf8proc_ssize_t)p.count,
            (utf8proc_option_t)(UTF8PROC_STABLE | UTF8PROC_COMPOSE | (compatible ? UTF8PROC_COMPAT : 0)));
        FAIL_IF(n < 0, ERR_INTERNAL, "a text cannot be composed");
        p.count = (size_t)n;
    }
    for (size_t i = 0; i < p.count; i++)
        text_append_code_point(out, (uint32_t)p.items[i]);
    return OK;
}

Status normal_form(const char *text, size_t count, NormalForm form, int32_t **code_points, size_t *capacity, Text *out,
                   Error *err) {
    size_t copied = 0;
    for (size_t at = 0; at < count;) {
        if ((unsigned char)text[at] < 0x80) {
            at++;
            continue;
        }
        size_t start = at > copied ? at - 1 : at; /* an ASCII letter that the run's first mark may join */
        size_t end = at;
        while (end < count && (unsigned char)text[end] >= 0x80)
            end++;
        text_append(out, text + copied, start - copied);
        TRY(normalize_run(text + start, end - start, form, code_points, capacity, out, err));
        copied = at = end;
    }
    text_append(out, text + copied, count - copied);
    return text_check(out, err);
}
