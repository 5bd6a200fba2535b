/* tokenizer_gguf.c - the tokenizer that a GGUF carries in its keys (tokenizer.ggml.*), after llama.cpp's conventions.
 *
 *     model   what it is: BPE by merges or by scores, unigram, word pieces, longest piece first
 *     pre     for BPE: the name of the split patterns
 *     tokens, token_type, scores, merges; *_token_id; add_bos_token, add_eos_token, add_space_prefix
 *
 * Normalisers have no key (what a tokenizer.json does by NFC is not done here). */
#include "text/published.h"
#include "text/split_table.h"
#include "text/tokenizer_json.h"

#include "text/byte_level.h"

#include "format/model_files.h"

#include <stdio.h>
#include <string.h>

/* Values of token_type. */
enum { TYPE_NORMAL = 1, TYPE_UNKNOWN = 2, TYPE_CONTROL = 3, TYPE_USER_DEFINED = 4, TYPE_UNUSED = 5, TYPE_BYTE = 6 };

typedef struct Source {
    Tokenizer *t;
    const ModelFiles *files;
    const GgufKind *kind;
    const SplitRule *rule;           /* of GGUF_MERGES; NULL otherwise */
    const MetaValue *tokens, *types; /* types may be NULL */
    bool space_prefix;
    Text scratch;
    Text pieces; /* what the ids decode to */
} Source;

/* Byte-level: pieces are spelled in GPT-2's alphabet. */
static bool is_byte_level(const Source *s) {
    return s->rule != NULL && (s->rule->flags & (SPLIT_BLANKS | SPLIT_NO_SPACE)) == 0;
}

/* ---- keys ------------------------------------------------------------------------------------------------------- */

static const MetaValue *find(const Source *s, const char *name) {
    char key[64];
    snprintf(key, sizeof key, "tokenizer.ggml.%s", name);
    return model_files_meta_find(s->files, key);
}

static bool find_bool(const Source *s, const char *name, bool otherwise) {
    int64_t value;
    return meta_int(find(s, name), &value) ? value != 0 : otherwise;
}

static Status find_text(const Source *s, const char *name, const char **bytes, size_t *count, Error *err) {
    const MetaValue *value = find(s, name);
    *bytes = NULL;
    *count = 0;
    if (value == NULL)
        return OK;
    FAIL_IF(value->type != META_STRING, ERR_FORMAT, "%s: tokenizer.ggml.%s is no string", s->t->name, name);
    *bytes = value->as.string.bytes;
    *count = value->as.string.count;
    return OK;
}

/* An array of at least `count` elements; NULL when the key is not there. */
static Status find_array(const Source *s, const char *name, size_t count, const MetaValue **array, Error *err) {
    *array = find(s, name);
    FAIL_IF(*array != NULL && ((*array)->type != META_ARRAY || (*array)->as.array.count < count), ERR_FORMAT,
            "%s: tokenizer.ggml.%s is no array of %zu elements", s->t->name, name, count);
    return OK;
}

/* The id of a key, or the usual one, or -1. */
static int32_t find_id(const Source *s, const char *name, int otherwise) {
    int64_t id;
    if (!meta_int(find(s, name), &id) || !vocab_has(&s->t->vocab, id))
        id = otherwise;
    return vocab_has(&s->t->vocab, id) ? (int32_t)id : -1;
}

/* ---- pieces ----------------------------------------------------------------------------------------------------- */

static int byte_of_token(const char *text, size_t count) {
    if (count != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>')
        return -1;
    const int high = parse_hex_digit(text[3]), low = parse_hex_digit(text[4]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/* RWKV's tokens are written with \n, \t, \r, \xHH and \\. */
static void unescape(const char *text, size_t count, Text *out) {
    for (size_t i = 0; i < count; i++) {
        if (text[i] != '\\' || i + 1 == count) {
            text_append_char(out, text[i]);
            continue;
        }
        const char c = text[++i];
        if (c == 'x' && i + 2 < count && parse_hex_digit(text[i + 1]) >= 0 && parse_hex_digit(text[i + 2]) >= 0) {
            text_append_char(out, (char)(parse_hex_digit(text[i + 1]) << 4 | parse_hex_digit(text[i + 2])));
            i += 2;
        } else {
            text_append_char(out, c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c);
        }
    }
}

/* What the token decodes to, appended to s->pieces: its text for special tokens, a byte, or the text with blanks. */
static Status add_piece(Source *s, size_t id, const char *text, size_t count, int64_t type, Error *err) {
    const size_t start = s->pieces.count;
    const int byte = type == TYPE_BYTE ? byte_of_token(text, count) : -1;
    FAIL_IF(type == TYPE_BYTE && byte < 0, ERR_FORMAT, "%s: token %zu is a byte, but not called <0x..>", s->t->name,
            id);
    if (byte >= 0) {
        text_append_char(&s->pieces, (char)byte);
    } else if (type == TYPE_NORMAL || type == TYPE_UNUSED) {
        for (size_t i = 0; i < count; i++) {
            const bool blank = count - i >= 3 && memcmp(text + i, "\xE2\x96\x81", 3) == 0;
            text_append_char(&s->pieces, blank ? ' ' : text[i]);
            i += blank ? 2 : 0;
        }
    } else {
        text_append(&s->pieces, text, count);
    }
    FAIL_IF(s->pieces.count > UINT32_MAX / 2, ERR_LIMIT, "%s: the tokens have over 2 GiB", s->t->name);
    s->t->detokenizer.pieces[id] = (Piece){.start = (uint32_t)start, .count = (uint32_t)(s->pieces.count - start)};
    return text_check(&s->pieces, err);
}

static Status add_token(Source *s, size_t id, Error *err) {
    const char *text;
    size_t count;
    int64_t type = TYPE_NORMAL;
    FAIL_IF(!meta_array_string(s->tokens, id, &text, &count) ||
                (s->types != NULL && !meta_array_int(s->types, id, &type)),
            ERR_FORMAT, "%s: token %zu has no text or type", s->t->name, id);
    const bool special = type == TYPE_CONTROL || type == TYPE_UNKNOWN;
    unsigned flags = (special ? TOKEN_CONTROL | PIECE_HIDDEN : 0u) | (type == TYPE_UNKNOWN ? TOKEN_UNKNOWN : 0u) |
                     (type == TYPE_UNUSED || count == 0 ? TOKEN_UNUSED : 0u) | (type == TYPE_BYTE ? TOKEN_BYTE : 0u) |
                     (type == TYPE_USER_DEFINED ? PIECE_SYMBOL : 0u) | (count == 0 ? PIECE_HIDDEN : 0u);
    if (s->t->detokenizer.pieces != NULL)
        TRY(add_piece(s, id, text, count, type, err));
    text_clear(&s->scratch);
    text_append(&s->scratch, text, count);
    TRY(text_check(&s->scratch, err));
    size_t decoded;
    if (is_byte_level(s) && type != TYPE_BYTE) {
        const bool spelled =
            (type == TYPE_NORMAL || type == TYPE_UNUSED) && byte_level_decode(text, count, s->scratch.bytes, &decoded);
        if (spelled)
            s->scratch.count = decoded;
        else
            flags |= PIECE_RAW | (type == TYPE_USER_DEFINED ? 0u : PIECE_HIDDEN);
        if (!spelled)
            memcpy(s->scratch.bytes, text, count);
    } else if (s->kind->scheme == GGUF_GREEDY) {
        text_clear(&s->scratch);
        unescape(text, count, &s->scratch);
        TRY(text_check(&s->scratch, err));
    } else if (is_byte_level(s)) { /* <0x..> beside GPT-2's alphabet */
        flags |= PIECE_RAW;
        const int byte = byte_of_token(text, count);
        if (byte >= 0) {
            s->scratch.bytes[0] = (char)byte;
            s->scratch.count = 1;
        }
    }
    return vocab_set(&s->t->vocab, (int64_t)id, s->scratch.bytes, s->scratch.count, flags, s->t->name, err);
}

static Status add_special(Source *s, size_t id, int64_t type, Error *err) {
    const char *text;
    size_t count;
    if (type != TYPE_CONTROL && type != TYPE_UNKNOWN && type != TYPE_USER_DEFINED)
        return OK;
    if (!meta_array_string(s->tokens, id, &text, &count))
        return OK;
    return tokenizer_add_token(s->t, (int32_t)id, text, count, 0, err);
}

static Status read_tokens(Source *s, Error *err) {
    Tokenizer *t = s->t;
    TRY(find_array(s, "tokens", 1, &s->tokens, err));
    FAIL_IF(s->tokens == NULL || s->tokens->as.array.type != META_STRING, ERR_NOT_FOUND,
            "%s: no tokenizer.ggml.tokens: this file carries no vocabulary", t->name);
    const size_t count = s->tokens->as.array.count;
    FAIL_IF(count > VOCAB_MAX_IDS, ERR_LIMIT, "%s: a vocabulary of %zu tokens", t->name, count);
    TRY(find_array(s, "token_type", count, &s->types, err));
    const bool bytes_are_pieces = is_byte_level(s) || s->kind->scheme == GGUF_GREEDY;
    if (!bytes_are_pieces) {
        t->detokenizer.pieces = mem_array(count, sizeof *t->detokenizer.pieces, MEM_TEXT);
        if (t->detokenizer.pieces == NULL)
            return tokenizer_no_memory(t, err);
    }
    if (!vocab_reserve(&t->vocab, count, count * 8))
        return tokenizer_no_memory(t, err);
    for (size_t i = 0; i < count; i++)
        TRY(add_token(s, i, err));
    TRY(vocab_build_index(&t->vocab, t->name, err));
    for (size_t i = 0; i < count && s->types != NULL; i++) {
        int64_t type = TYPE_NORMAL;
        if (meta_array_int(s->types, i, &type))
            TRY(add_special(s, i, type, err));
    }
    if (bytes_are_pieces)
        return OK;
    t->detokenizer.piece_bytes = s->pieces.bytes != NULL ? text_take(&s->pieces) : mem_strdup("", MEM_TEXT);
    return t->detokenizer.piece_bytes != NULL ? OK : tokenizer_no_memory(t, err);
}

/* ---- models ----------------------------------------------------------------------------------------------------- */

static Status set_patterns(Source *s, Error *err) {
    for (size_t i = 0; i < SPLIT_MAX_PATTERNS && s->rule->patterns[i] != NULL; i++)
        TRY(tokenizer_pre_regex(s->t, s->rule->patterns[i], strlen(s->rule->patterns[i]), REGEX_RUST, SPLIT_ISOLATED,
                                false, err));
    if ((s->rule->flags & SPLIT_NO_SPACE) != 0) {
        PreStep *step = pretokenizer_add(&s->t->pre, PRE_SPACE);
        if (step == NULL)
            return tokenizer_no_memory(s->t, err);
        step->behavior = SPLIT_REMOVED;
    }
    return OK;
}

static Status read_merges(Source *s, MergeList *list, Error *err) {
    const MetaValue *merges;
    TRY(find_array(s, "merges", 0, &merges, err));
    FAIL_IF(merges == NULL || merges->as.array.type != META_STRING, ERR_FORMAT, "%s: no tokenizer.ggml.merges",
            s->t->name);
    for (size_t i = 0; i < merges->as.array.count; i++) {
        const char *line;
        size_t count;
        FAIL_IF(!meta_array_string(merges, i, &line, &count), ERR_FORMAT, "%s: merge %zu is no string", s->t->name, i);
        TRY(merge_list_add_line(list, line, count, err));
    }
    return merge_list_finish(list, s->t, err);
}

static Status set_bpe(Source *s, Error *err) {
    Tokenizer *t = s->t;
    t->bpe.bytes = t->detokenizer.alphabet = is_byte_level(s);
    t->bpe.byte_fallback = !t->bpe.bytes;
    t->bpe.whole_first = (s->rule->flags & SPLIT_WHOLE_FIRST) != 0;
    t->detokenizer.tidy = (s->rule->flags & SPLIT_TIDY) != 0;
    TRY(set_patterns(s, err));
    if ((s->rule->flags & SPLIT_BLANKS) != 0)
        TRY(tokenizer_norm_replace(t, " ", 1, "\xE2\x96\x81", 3, err));
    if ((s->rule->flags & SPLIT_NO_SPACE) != 0 && find_bool(s, "normalizer.lowercase", false) &&
        normalizer_add(&t->normalizer, NORM_LOWERCASE) == NULL)
        return tokenizer_no_memory(t, err);
    MergeList list = {.t = t, .lenient = true};
    const Status status = read_merges(s, &list, err);
    merge_list_free(&list);
    return status;
}

static Status read_scores(Source *s, double **scores, Error *err) {
    const size_t count = s->t->vocab.count;
    const MetaValue *array;
    TRY(find_array(s, "scores", count, &array, err));
    *scores = mem_array(count, sizeof **scores, MEM_TEXT);
    if (*scores == NULL)
        return tokenizer_no_memory(s->t, err);
    for (size_t i = 0; i < count && array != NULL; i++) {
        int64_t whole;
        if (!meta_array_real(array, i, &(*scores)[i]) && meta_array_int(array, i, &whole))
            (*scores)[i] = (double)whole;
        FAIL_IF((*scores)[i] != (*scores)[i], ERR_FORMAT, "%s: the score of token %zu is no number", s->t->name, i);
    }
    return OK;
}

static Status set_sentencepiece_bpe(Source *s, Error *err) {
    Tokenizer *t = s->t;
    double *scores = NULL;
    Status status = read_scores(s, &scores, err);
    t->bpe.ranks = mem_alloc(t->vocab.count * sizeof *t->bpe.ranks, MEM_TEXT);
    if (status == OK && t->bpe.ranks == NULL)
        status = tokenizer_no_memory(t, err);
    for (size_t i = 0; i < t->vocab.count && status == OK; i++)
        t->bpe.ranks[i] = (t->vocab.flags[i] & PIECE_HIDDEN) != 0 ? BPE_NEVER : rank_of_score((float)scores[i]);
    mem_free(scores);
    TRY(status);
    t->bpe.byte_fallback = t->bpe.fuse_unknown = true;
    t->bpe.unknown = t->special[SPECIAL_UNK];
    if (s->space_prefix)
        TRY(tokenizer_norm_prepend(t, " ", 1, err));
    return tokenizer_norm_replace(t, " ", 1, "\xE2\x96\x81", 3, err);
}

static Status set_unigram(Source *s, Error *err) {
    Tokenizer *t = s->t;
    t->unigram.flavor = UNIGRAM_GGUF;
    t->unigram.unknown = t->special[SPECIAL_UNK];
    TRY(read_scores(s, &t->unigram.scores, err));
    NormStep *step = normalizer_add(&t->normalizer, NORM_SENTENCEPIECE);
    if (step == NULL)
        return tokenizer_no_memory(t, err);
    const bool suffix = find_bool(s, "treat_whitespace_as_suffix", false);
    step->prefix = s->space_prefix && !suffix;
    step->suffix = s->space_prefix && suffix;
    step->remove_extra = find_bool(s, "remove_extra_whitespaces", false);
    step->escape_blank = find_bool(s, "escape_whitespaces", true);
    const MetaValue *map = find(s, "precompiled_charsmap");
    if (map == NULL)
        return OK;
    FAIL_IF(map->type != META_ARRAY || (map->as.array.type != META_U8 && map->as.array.type != META_I8), ERR_FORMAT,
            "%s: tokenizer.ggml.precompiled_charsmap is no array of bytes", t->name);
    const Status status = charsmap_read(map->as.array.data, map->as.array.count, &step->charsmap, err);
    if (status != OK)
        error_context(err, "%s", t->name);
    return status;
}

static Status set_word_pieces(Source *s, Error *err) {
    Tokenizer *t = s->t;
    t->wordpiece.unknown = t->special[SPECIAL_UNK];
    t->wordpiece.max_characters = SIZE_MAX - 1;
    if (s->kind->scheme == GGUF_GREEDY) {
        t->wordpiece.kind = WORD_GREEDY;
        t->detokenizer.alphabet = true; /* the pieces are bytes */
        return OK;
    }
    NormStep *norm = normalizer_add(&t->normalizer, NORM_BERT);
    PreStep *space = pretokenizer_add(&t->pre, PRE_SPACE);
    if (norm == NULL || space == NULL)
        return tokenizer_no_memory(t, err);
    space->behavior = SPLIT_REMOVED;
    PreStep *punctuation = pretokenizer_add(&t->pre, PRE_PUNCTUATION);
    t->wordpiece.first = mem_strdup("\xE2\x96\x81", MEM_TEXT); /* words begin with it, pieces inside with nothing */
    t->wordpiece.first_bytes = 3;
    if (punctuation == NULL || t->wordpiece.first == NULL)
        return tokenizer_no_memory(t, err);
    punctuation->behavior = SPLIT_ISOLATED;
    norm->clean_text = norm->chinese = true;
    norm->lowercase = find_bool(s, "normalizer.lowercase", true);
    norm->accents = find_bool(s, "normalizer.strip_accents", norm->lowercase);
    return OK;
}

static Status set_decoder(Source *s, Error *err) {
    Tokenizer *t = s->t;
    const bool bytes = t->detokenizer.alphabet;
    if (detokenizer_add(&t->detokenizer, bytes ? DECODE_BYTE_LEVEL : DECODE_FUSE, t->name, err) == NULL)
        return ERR_UNSUPPORTED;
    t->detokenizer.piece_steps = 1;
    return s->space_prefix ? tokenizer_decode_strip(t, 1, err) : OK;
}

/* ---- special tokens --------------------------------------------------------------------------------------------- */

/* An end token of the vocabulary by its text. It counts as special whatever type the file gives it. */
static Status add_end(Source *s, const char *text, Error *err) {
    Tokenizer *t = s->t;
    const int32_t id = tokenizer_find(t, text, strlen(text));
    if (id < 0 || (t->vocab.flags[id] & TOKEN_UNUSED) != 0)
        return OK;
    if ((t->vocab.flags[id] & TOKEN_ADDED) == 0)
        TRY(tokenizer_add_token(t, id, text, strlen(text), 0, err));
    t->vocab.flags[id] |= TOKEN_CONTROL;
    return tokenizer_end(t, id, err);
}

static bool is_false_end(const Tokenizer *t, const char *text) {
    for (const FalseEnd *f = published_false_ends; f->text != NULL; f++) {
        bool all = strcmp(f->text, text) == 0;
        for (size_t i = 0; i < COUNT(f->beside) && f->beside[i] != NULL; i++)
            all = all && tokenizer_find(t, f->beside[i], strlen(f->beside[i])) >= 0;
        if (all)
            return true;
    }
    return false;
}

static Status set_ends(Source *s, Error *err) {
    for (const char *const *text = published_ends; *text != NULL; text++)
        if (!is_false_end(s->t, *text))
            TRY(add_end(s, *text, err));
    return OK;
}

static Status set_specials(Source *s, Error *err) {
    const GgufKind *kind = s->kind;
    Tokenizer *t = s->t;
    const bool no_bos = s->rule != NULL && (s->rule->flags & SPLIT_NO_BOS) != 0;
    t->special[SPECIAL_BOS] = find_id(s, "bos_token_id", no_bos ? -1 : kind->bos);
    t->special[SPECIAL_EOS] = find_id(s, "eos_token_id", kind->eos);
    t->special[SPECIAL_UNK] = find_id(s, "unknown_token_id", kind->unknown);
    t->special[SPECIAL_SEP] = find_id(s, "seperator_token_id", kind->separator); /* so spelled in the format */
    t->special[SPECIAL_PAD] = find_id(s, "padding_token_id", kind->padding);
    t->special[SPECIAL_CLS] = find_id(s, "cls_token_id", -1);
    t->special[SPECIAL_MASK] = find_id(s, "mask_token_id", kind->mask);
    t->special[SPECIAL_EOT] = find_id(s, "eot_token_id", -1);
    const bool by_rule = s->rule != NULL && (s->rule->flags & SPLIT_ADD_BOS) != 0;
    const bool forced = s->rule != NULL && (s->rule->flags & SPLIT_FORCE_BOS) != 0;
    const bool bert = kind->scheme == GGUF_WORDPIECE;
    const int32_t bos = t->special[SPECIAL_BOS], eos = bert ? t->special[SPECIAL_SEP] : t->special[SPECIAL_EOS];
    const bool add_bos = bert || forced || find_bool(s, "add_bos_token", kind->add_bos || by_rule);
    const bool add_eos = bert || find_bool(s, "add_eos_token", kind->add_eos);
    if ((add_bos && bos >= 0 && !token_ids_append(&t->prefix, bos)) ||
        (add_eos && eos >= 0 && !token_ids_append(&t->suffix, eos)))
        return tokenizer_no_memory(t, err);
    /* Pairs: SentencePiece models of this kind have their end twice between the texts. */
    for (int i = 0; i < 2 && kind->scheme == GGUF_UNIGRAM && bos >= 0 && eos >= 0; i++)
        if (!token_ids_append(&t->between, eos))
            return tokenizer_no_memory(t, err);
    TRY(set_ends(s, err));
    return tokenizer_end(t, find_id(s, "eom_token_id", -1), err);
}

static bool strips(const StripRule *rule, const char *content) {
    if (rule->token != NULL)
        return strcmp(rule->token, content) == 0;
    for (size_t i = 0; i < COUNT(rule->except); i++)
        if (rule->except[i] != NULL && strcmp(rule->except[i], content) == 0)
            return false;
    return true;
}

/* Which special tokens take the white space beside them; the format has no key for it. */
static Status set_strips(Source *s, Error *err) {
    for (const StripRule *rule = published_strips; rule->key != NULL; rule++) {
        const MetaValue *value = model_files_meta_find(s->files, rule->key);
        text_clear(&s->scratch);
        for (size_t i = 0; value != NULL && value->type == META_STRING && i < value->as.string.count; i++) {
            const char c = value->as.string.bytes[i];
            text_append_char(&s->scratch, c >= 'A' && c <= 'Z' ? (char)(c + 32) : c);
        }
        TRY(text_check(&s->scratch, err));
        if (s->scratch.count == 0 || strstr(s->scratch.bytes, rule->holds) == NULL)
            continue;
        for (size_t i = 0; i < s->t->added_count; i++)
            if (strips(rule, s->t->added[i].content))
                s->t->added[i].flags |= rule->left ? ADDED_LSTRIP : ADDED_RSTRIP;
    }
    return OK;
}

/* ---- the whole -------------------------------------------------------------------------------------------------- */

static Status read_all(Source *s, Error *err) {
    Tokenizer *t = s->t;
    const char *model, *pre;
    size_t model_bytes, pre_bytes;
    TRY(find_text(s, "model", &model, &model_bytes, err));
    TRY(find_text(s, "pre", &pre, &pre_bytes, err));
    FAIL_IF(model == NULL || (model_bytes == 4 && memcmp(model, "none", 4) == 0) ||
                (model_bytes == 8 && memcmp(model, "no_vocab", 8) == 0),
            ERR_NOT_FOUND, "%s: this file carries no tokenizer", t->name);
    s->kind = gguf_kind(model, model_bytes);
    FAIL_IF(s->kind == NULL, ERR_UNSUPPORTED, "%s: the tokenizer model \"%.*s\" is not known", t->name,
            (int)MIN(model_bytes, 64), model);
    if (s->kind->scheme == GGUF_MERGES) {
        const bool named = s->kind->rule == NULL && pre != NULL;
        const char *rule = named ? pre : s->kind->rule != NULL ? s->kind->rule : "default";
        s->rule = split_rule(rule, named ? pre_bytes : strlen(rule));
        FAIL_IF(s->rule == NULL, ERR_UNSUPPORTED, "%s: the pre-tokenizer \"%.*s\" is not known", t->name,
                (int)MIN(pre_bytes, 64), pre);
    }
    static const ModelKind models[] = {[GGUF_MERGES] = MODEL_BPE,
                                       [GGUF_SENTENCEPIECE] = MODEL_BPE,
                                       [GGUF_UNIGRAM] = MODEL_UNIGRAM,
                                       [GGUF_WORDPIECE] = MODEL_WORDPIECE,
                                       [GGUF_GREEDY] = MODEL_WORDPIECE};
    t->model = models[s->kind->scheme];
    s->space_prefix = find_bool(s, "add_space_prefix", s->kind->space_prefix);
    t->detokenizer.tidy = s->kind->tidy;
    TRY(read_tokens(s, err));
    TRY(set_specials(s, err));
    TRY(set_strips(s, err));
    if (s->rule != NULL)
        TRY(set_bpe(s, err));
    else if (t->model == MODEL_BPE)
        TRY(set_sentencepiece_bpe(s, err));
    else if (t->model == MODEL_UNIGRAM)
        TRY(set_unigram(s, err));
    else
        TRY(set_word_pieces(s, err));
    return set_decoder(s, err);
}

Status tokenizer_gguf_read(Tokenizer *t, const ModelFiles *files, Error *err) {
    Source s = {.t = t, .files = files};
    t->detokenizer.vocab = &t->vocab;
    t->ignores_special = true;
    const Status status = read_all(&s, err);
    text_free(&s.scratch);
    text_free(&s.pieces);
    return status;
}
