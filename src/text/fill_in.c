/* fill_in.c - see fill_in.h; the marks are data, fill_in_marks.inc. */
#include "text/fill_in.h"

#include <string.h>

static const FillMarks table[] = {
#include "text/fill_in_marks.inc"
};

static int32_t mark_id(const Tokenizer *t, const char *mark) {
    return mark != NULL ? tokenizer_find(t, mark, strlen(mark)) : -1;
}

static bool has(const Tokenizer *t, const char *mark) {
    return mark == NULL || mark_id(t, mark) >= 0;
}

const FillMarks *fill_marks(const Tokenizer *t) {
    for (size_t i = 0; i < COUNT(table); i++) {
        const FillMarks *m = &table[i];
        if (has(t, m->prefix) && has(t, m->suffix) && has(t, m->middle) && has(t, m->repository) && has(t, m->file) &&
            has(t, m->end))
            return m;
    }
    return NULL;
}

int fill_ends(const FillMarks *m, const char *ends[FILL_ENDS]) {
    const char *const all[FILL_ENDS] = {m->end, m->file, m->repository, m->prefix, m->suffix, m->middle};
    int n = 0;
    for (size_t i = 0; i < COUNT(all); i++)
        if (all[i] != NULL)
            ends[n++] = all[i];
    return n;
}

static Status add_mark(const Tokenizer *t, const char *mark, TokenIds *ids, Error *err) {
    const int32_t id = mark_id(t, mark);
    FAIL_IF(id >= 0 && !token_ids_append(ids, id), ERR_MEMORY, "no memory for a prompt");
    return OK;
}

static Status add_text(const Tokenizer *t, FillText text, TokenIds *ids, Error *err) {
    return text.count > 0 ? tokenizer_encode(t, text.bytes, text.count, 0, ids, err) : OK;
}

static Status add_line(const Tokenizer *t, FillText text, TokenIds *ids, Error *err) {
    Text line = {0};
    text_append(&line, text.bytes != NULL ? text.bytes : "", text.count);
    if (text.count == 0 || text.bytes[text.count - 1] != '\n')
        text_append_char(&line, '\n');
    Status status = text_check(&line, err);
    if (status == OK)
        status = tokenizer_encode(t, line.bytes, line.count, 0, ids, err);
    text_free(&line);
    return status;
}

static Status add_files(const Tokenizer *t, const FillMarks *m, const FillFile *files, size_t n, TokenIds *ids,
                        Error *err) {
    static const FillText project = {"project", 7}, current = {"current", 7};
    if (n > 0 && m->repository != NULL) {
        TRY(add_mark(t, m->repository, ids, err));
        TRY(add_line(t, project, ids, err));
    }
    for (size_t i = 0; i < n; i++) {
        TRY(add_mark(t, m->file, ids, err));
        if (m->file != NULL)
            TRY(add_line(t, files[i].name, ids, err));
        TRY(add_line(t, files[i].text, ids, err));
    }
    if (n > 0 && m->file != NULL) {
        TRY(add_mark(t, m->file, ids, err));
        TRY(add_line(t, current, ids, err));
    }
    return OK;
}

Status fill_prompt(const Tokenizer *t, const FillMarks *m, const FillFile *files, size_t n_file, FillText before,
                   FillText behind, FillText middle, TokenIds *ids, Error *err) {
    if (tokenizer_adds_bos(t))
        FAIL_IF(!token_ids_append(ids, tokenizer_special(t, SPECIAL_BOS)), ERR_MEMORY, "no memory for a prompt");
    TRY(add_files(t, m, files, n_file, ids, err));
    for (int i = 0; i < 2; i++) {
        const bool is_prefix = (i == 0) != m->suffix_first;
        TRY(add_mark(t, is_prefix ? m->prefix : m->suffix, ids, err));
        TRY(add_text(t, is_prefix ? before : behind, ids, err));
    }
    TRY(add_mark(t, m->middle, ids, err));
    return add_text(t, middle, ids, err);
}
