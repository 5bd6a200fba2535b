/* tokenizer_build.c - what all readers of tokenizers need: adding tokens and steps, and the last touches. */
#include "text/tokenizer_parts.h"

#include <string.h>

Status tokenizer_no_memory(const Tokenizer *t, Error *err) {
    return error_set(err, ERR_MEMORY, "%s: no memory for the tokenizer", t->name);
}

void tokenizer_close(Tokenizer *t) {
    if (t == NULL)
        return;
    vocab_free(&t->vocab);
    for (size_t i = 0; i < t->added_count; i++)
        mem_free(t->added[i].content);
    mem_free(t->added);
    trie_free(&t->added_raw);
    trie_free(&t->added_normalized);
    trie_free(&t->added_plain);
    normalizer_free(&t->normalizer);
    pretokenizer_free(&t->pre);
    bpe_free(&t->bpe);
    unigram_free(&t->unigram);
    wordpiece_free(&t->wordpiece);
    trie_free(&t->symbols);
    detokenizer_free(&t->detokenizer);
    token_ids_free(&t->prefix);
    token_ids_free(&t->suffix);
    token_ids_free(&t->between);
    token_ids_free(&t->ends);
    mem_free(t->summary);
    mem_free(t->name);
    mem_free(t);
}

/* A token that is looked for in the normalised text is normalised itself; if that changes it, decoding shows the
 * result. */
static Status normalize_content(Tokenizer *t, AddedToken *token, Error *err) {
    RegexScratch regex = {0};
    NormScratch scratch = {.regex = &regex};
    const char *normal;
    size_t count;
    Status status = normalizer_apply(&t->normalizer, &scratch, token->content, token->bytes, &normal, &count, err);
    if (status == OK && (count != token->bytes || memcmp(normal, token->content, count) != 0)) {
        char *content = mem_strndup(normal, count, MEM_TEXT);
        char *shown = mem_strndup(normal, count, MEM_TEXT);
        Detokenizer *d = &t->detokenizer;
        if (content == NULL || shown == NULL || count > UINT32_MAX ||
            !mem_grow((void **)&d->spellings, &d->spelling_capacity, d->spelling_count + 1, sizeof *d->spellings,
                      MEM_TEXT)) {
            mem_free(content);
            mem_free(shown);
            status = tokenizer_no_memory(t, err);
        } else {
            size_t at = d->spelling_count++;
            for (; at > 0 && d->spellings[at - 1].id > token->id; at--)
                d->spellings[at] = d->spellings[at - 1];
            d->spellings[at] = (DecodeSpelling){.id = token->id, .text = shown, .bytes = count};
            mem_free(token->content);
            token->content = content;
            token->bytes = (uint32_t)count;
        }
    }
    normalizer_scratch_free(&scratch);
    regex_scratch_free(&regex);
    return status;
}

Status tokenizer_add_token(Tokenizer *t, int32_t id, const char *content, size_t bytes, unsigned flags, Error *err) {
    if (bytes == 0)
        return OK;
    FAIL_IF(!vocab_has(&t->vocab, id), ERR_INTERNAL, "%s: added token %d is not in the vocabulary", t->name, (int)id);
    FAIL_IF(bytes > UINT32_MAX, ERR_FORMAT, "%s: a token of %zu bytes", t->name, bytes);
    if (!mem_grow((void **)&t->added, &t->added_capacity, t->added_count + 1, sizeof *t->added, MEM_TEXT))
        return tokenizer_no_memory(t, err);
    AddedToken token = {
        .id = id, .flags = flags, .content = mem_strndup(content, bytes, MEM_TEXT), .bytes = (uint32_t)bytes};
    if (token.content == NULL)
        return tokenizer_no_memory(t, err);
    if ((flags & ADDED_NORMALIZED) != 0) {
        const Status status = normalize_content(t, &token, err);
        if (status != OK) {
            mem_free(token.content);
            return status;
        }
    }
    t->vocab.flags[id] |= TOKEN_ADDED;
    t->added[t->added_count++] = token;
    return OK;
}

static Status build_added(Tokenizer *t, bool normalized, bool special, Trie *trie, Error *err) {
    TrieKey *keys = mem_array(t->added_count + 1, sizeof *keys, MEM_TEXT);
    if (keys == NULL)
        return tokenizer_no_memory(t, err);
    size_t count = 0;
    for (size_t i = 0; i < t->added_count; i++)
        if (((t->added[i].flags & ADDED_NORMALIZED) != 0) == normalized &&
            (special || (t->vocab.flags[t->added[i].id] & TOKEN_CONTROL) == 0))
            keys[count++] = (TrieKey){.bytes = t->added[i].content, .count = t->added[i].bytes, .value = (int32_t)i};
    const Status status = trie_build(trie, keys, count, err);
    mem_free(keys);
    return status;
}

static Status summarise(Tokenizer *t, Error *err) {
    const char *kind = t->model == MODEL_UNIGRAM     ? "unigram"
                       : t->model == MODEL_WORDPIECE ? "word pieces"
                       : t->bpe.bytes                ? "byte-level BPE"
                                                     : "BPE";
    Text text = {0};
    text_append_format(&text, "%s, %zu tokens, from %s", kind, t->vocab.count, t->name);
    TRY(text_check(&text, err));
    t->summary = text_take(&text);
    return t->summary != NULL ? OK : tokenizer_no_memory(t, err);
}

Status tokenizer_finish(Tokenizer *t, Error *err) {
    FAIL_IF(t->vocab.count == 0, ERR_FORMAT, "%s: an empty vocabulary", t->name);
    TRY(build_added(t, false, true, &t->added_raw, err));
    TRY(build_added(t, true, true, &t->added_normalized, err));
    if (t->ignores_special)
        TRY(build_added(t, false, false, &t->added_plain, err));
    t->bpe.vocab = t->unigram.vocab = t->wordpiece.vocab = t->detokenizer.vocab = &t->vocab;
    if (t->model == MODEL_BPE)
        bpe_prepare(&t->bpe);
    else if (t->model == MODEL_UNIGRAM)
        TRY(unigram_prepare(&t->unigram, t->name, err));
    else
        TRY(wordpiece_prepare(&t->wordpiece, t->name, err));
    if (t->detokenizer.pieces == NULL)
        TRY(detokenizer_prepare(&t->detokenizer, &t->vocab, err));
    for (int i = 0; i < SPECIAL_COUNT; i++)
        if (!vocab_has(&t->vocab, t->special[i]))
            t->special[i] = -1;
    if (t->special[SPECIAL_UNK] >= 0)
        t->vocab.flags[t->special[SPECIAL_UNK]] |= TOKEN_UNKNOWN;
    TRY(tokenizer_end(t, t->special[SPECIAL_EOS], err));
    TRY(tokenizer_end(t, t->special[SPECIAL_EOT], err));
    return summarise(t, err);
}

/* ---- steps ------------------------------------------------------------------------------------------------------ */

Status tokenizer_pre_regex(Tokenizer *t, const char *pattern, size_t count, RegexDialect dialect,
                           SplitBehavior behavior, bool invert, Error *err) {
    SplitRegex *regex;
    const Status status = regex_compile(pattern, count, dialect, &regex, err);
    if (status != OK) {
        error_context(err, "%s: pre_tokenizer", t->name);
        return status;
    }
    PreStep *step = pretokenizer_add(&t->pre, PRE_REGEX);
    if (step == NULL) {
        regex_free(regex);
        return tokenizer_no_memory(t, err);
    }
    step->regex = regex;
    step->behavior = behavior;
    step->invert = invert;
    return OK;
}

Status tokenizer_norm_replace(Tokenizer *t, const char *what, size_t what_bytes, const char *with, size_t with_bytes,
                              Error *err) {
    FAIL_IF(what_bytes == 0, ERR_FORMAT, "%s: normalizer Replace with an empty pattern", t->name);
    NormStep *step = normalizer_add(&t->normalizer, NORM_REPLACE);
    if (step == NULL)
        return tokenizer_no_memory(t, err);
    step->what = mem_strndup(what, what_bytes, MEM_TEXT);
    step->with = mem_strndup(with, with_bytes, MEM_TEXT);
    step->what_bytes = what_bytes;
    step->with_bytes = with_bytes;
    return step->what != NULL && step->with != NULL ? OK : tokenizer_no_memory(t, err);
}

Status tokenizer_norm_prepend(Tokenizer *t, const char *with, size_t with_bytes, Error *err) {
    NormStep *step = normalizer_add(&t->normalizer, NORM_PREPEND);
    if (step == NULL)
        return tokenizer_no_memory(t, err);
    step->with = mem_strndup(with, with_bytes, MEM_TEXT);
    step->with_bytes = with_bytes;
    return step->with != NULL ? OK : tokenizer_no_memory(t, err);
}

Status tokenizer_decode_blanks(Tokenizer *t, Error *err) {
    DecodeStep *replace = detokenizer_add(&t->detokenizer, DECODE_REPLACE, t->name, err);
    if (replace == NULL)
        return ERR_UNSUPPORTED;
    replace->what = mem_strdup("\xE2\x96\x81", MEM_TEXT);
    replace->with = mem_strdup(" ", MEM_TEXT);
    replace->what_bytes = 3;
    replace->with_bytes = 1;
    if (replace->what == NULL || replace->with == NULL)
        return tokenizer_no_memory(t, err);
    if (detokenizer_add(&t->detokenizer, DECODE_BYTE_FALLBACK, t->name, err) == NULL ||
        detokenizer_add(&t->detokenizer, DECODE_FUSE, t->name, err) == NULL)
        return ERR_UNSUPPORTED;
    return OK;
}

Status tokenizer_decode_strip(Tokenizer *t, size_t left, Error *err) {
    DecodeStep *strip = detokenizer_add(&t->detokenizer, DECODE_STRIP, t->name, err);
    if (strip == NULL)
        return ERR_UNSUPPORTED;
    strip->left = left;
    strip->what_bytes = 1;
    strip->what = mem_strdup(" ", MEM_TEXT);
    return strip->what != NULL ? OK : tokenizer_no_memory(t, err);
}

Status tokenizer_end(Tokenizer *t, int32_t id, Error *err) {
    if (id < 0 || tokenizer_ends(t, id))
        return OK;
    return token_ids_append(&t->ends, id) ? OK : tokenizer_no_memory(t, err);
}
