/* tokenizer_json.c - tokenizer.json: the file's frame, the model, the added tokens.
 *
 * The vocabulary and the merges are most of the file (up to tens of megabytes) and are read by pulling value after
 * value; the descriptions of the steps are small and go through jansson, see tokenizer_steps.c. Steps are wanted before
 * the model, because they say how its pieces are spelled; a file with another order is read in two turns. */
#include "text/tokenizer_json.h"

#include "text/byte_level.h"

#include <math.h>
#include <string.h>

typedef struct Slice {
    const char *bytes; /* NULL = not in the file */
    size_t count;
} Slice;

/* An entry of added_tokens; the content is a range of Reader.contents. */
typedef struct Entry {
    int64_t id;
    size_t start, bytes;
    unsigned flags;
    bool special;
} Entry;

typedef struct Reader {
    Tokenizer *t;
    Text contents;
    Entry *entries;
    size_t entry_count, entry_capacity;
    Text type, unknown; /* of the model */
    bool has_type, has_unknown, has_vocab, has_merges, has_scores;
    uint64_t unknown_id;
    bool has_unknown_id;
    Text scratch;
} Reader;

static Status fail_key(const Tokenizer *t, const char *where, const char *what, Error *err) {
    return error_set(err, ERR_FORMAT, "%s: %s: %s", t->name, where, what);
}

/* ---- small values ----------------------------------------------------------------------------------------------- */

/* A string, or null (*given = false). */
static Status pull_text(JsonPull *pull, Text *text, bool *given, Error *err) {
    JsonKind kind;
    TRY(json_pull_peek(pull, &kind, err));
    *given = kind != JSON_KIND_WORD;
    if (!*given)
        return json_pull_skip(pull, err);
    const char *bytes;
    size_t count;
    TRY(json_pull_string(pull, &bytes, &count, err));
    text_clear(text);
    text_append(text, bytes, count);
    return text_check(text, err);
}

/* true, false, or null (stays as it is). */
static Status pull_bool(JsonPull *pull, bool *value, Error *err) {
    JsonKind kind;
    TRY(json_pull_peek(pull, &kind, err));
    const char c = *pull->at;
    FAIL_IF(kind != JSON_KIND_WORD, ERR_FORMAT, "%s: true or false expected at byte %zu", pull->name,
            (size_t)(pull->at - pull->start));
    if (c != 'n')
        *value = c == 't';
    return json_pull_skip(pull, err);
}

static Status pull_natural(JsonPull *pull, uint64_t *value, bool *given, Error *err) {
    JsonKind kind;
    TRY(json_pull_peek(pull, &kind, err));
    *given = kind != JSON_KIND_WORD;
    return *given ? json_pull_natural(pull, value, err) : json_pull_skip(pull, err);
}

static Status pull_real(JsonPull *pull, double *value, Error *err) {
    JsonKind kind;
    TRY(json_pull_peek(pull, &kind, err));
    const char *from = pull->at;
    TRY(json_pull_skip(pull, err));
    char digits[64];
    const size_t count = (size_t)(pull->at - from);
    FAIL_IF(kind != JSON_KIND_NUMBER || count >= sizeof digits, ERR_FORMAT, "%s: a number expected at byte %zu",
            pull->name, (size_t)(from - pull->start));
    memcpy(digits, from, count);
    digits[count] = '\0';
    FAIL_IF(!parse_double(digits, value), ERR_FORMAT, "%s: %s is not a number of use", pull->name, digits);
    return OK;
}

static Status pull_slice(JsonPull *pull, Slice *slice, Error *err) {
    JsonKind kind;
    TRY(json_pull_peek(pull, &kind, err));
    slice->bytes = pull->at;
    TRY(json_pull_skip(pull, err));
    slice->count = (size_t)(pull->at - slice->bytes);
    return OK;
}

/* ---- pieces ----------------------------------------------------------------------------------------------------- */

/* Text of the file as the vocabulary spells it: out of GPT-2's alphabet for byte-level models. *raw is set where it is
 * not of that alphabet. Appends to `out`. */
static Status spell(const Tokenizer *t, const char *bytes, size_t count, Text *out, bool *raw, Error *err) {
    const size_t before = out->count;
    text_append(out, bytes, count);
    TRY(text_check(out, err));
    *raw = false;
    size_t decoded;
    if (!t->bpe.bytes)
        return OK;
    if (byte_level_decode(bytes, count, out->bytes + before, &decoded)) {
        out->count = before + decoded;
    } else {
        memcpy(out->bytes + before, bytes, count); /* decoding has written over it */
        *raw = true;
    }
    return OK;
}

static Status read_vocab_entry(Reader *r, const char *key, size_t bytes, int64_t id, Error *err) {
    bool raw;
    text_clear(&r->scratch);
    TRY(spell(r->t, key, bytes, &r->scratch, &raw, err));
    return vocab_set(&r->t->vocab, id, r->scratch.bytes, r->scratch.count, raw ? PIECE_HIDDEN | PIECE_RAW : 0,
                     r->t->name, err);
}

/* {"piece": id, ...} */
static Status read_vocab_object(Reader *r, JsonPull *pull, Error *err) {
    TRY(json_pull_object(pull, err));
    for (;;) {
        bool more;
        const char *key;
        size_t bytes;
        uint64_t id;
        TRY(json_pull_key(pull, &more, &key, &bytes, err));
        if (!more)
            return OK;
        /* The key may lie in memory that the next string takes; ids are no strings. */
        TRY(json_pull_natural(pull, &id, err));
        FAIL_IF(id > INT32_MAX, ERR_FORMAT, "%s: token id %llu is too high", r->t->name, (unsigned long long)id);
        TRY(read_vocab_entry(r, key, bytes, (int64_t)id, err));
    }
}

static Status set_score(Tokenizer *t, size_t id, size_t *capacity, double score, Error *err) {
    if (!mem_grow((void **)&t->unigram.scores, capacity, id + 1, sizeof *t->unigram.scores, MEM_TEXT))
        return tokenizer_no_memory(t, err);
    t->unigram.scores[id] = score;
    return OK;
}

/* [["piece", score], ...] */
static Status read_vocab_array(Reader *r, JsonPull *pull, Error *err) {
    size_t capacity = 0;
    TRY(json_pull_array(pull, err));
    for (int64_t id = 0;; id++) {
        bool more;
        const char *piece;
        size_t bytes;
        double score;
        TRY(json_pull_element(pull, &more, err));
        if (!more)
            break;
        TRY(json_pull_array(pull, err));
        TRY(json_pull_element(pull, &more, err));
        if (!more)
            return fail_key(r->t, "vocab", "an entry without a piece", err);
        TRY(json_pull_string(pull, &piece, &bytes, err));
        TRY(read_vocab_entry(r, piece, bytes, id, err));
        TRY(json_pull_element(pull, &more, err));
        if (!more)
            return fail_key(r->t, "vocab", "an entry without a score", err);
        TRY(pull_real(pull, &score, err));
        TRY(set_score(r->t, (size_t)id, &capacity, score, err));
        TRY(json_pull_element(pull, &more, err));
        if (more)
            return fail_key(r->t, "vocab", "an entry of more than two values", err);
    }
    r->has_scores = true;
    return OK;
}

static Status read_vocab(Reader *r, JsonPull *pull, Error *err) {
    /* Room from the start: a piece and its id take some 20 bytes of the file, with a list of merges behind it. */
    const size_t left = (size_t)(pull->end - pull->at);
    if (!vocab_reserve(&r->t->vocab, left / 64 + 256, left / 16 + 1024))
        return tokenizer_no_memory(r->t, err);
    JsonKind kind;
    TRY(json_pull_peek(pull, &kind, err));
    TRY(kind == JSON_KIND_ARRAY ? read_vocab_array(r, pull, err) : read_vocab_object(r, pull, err));
    r->has_vocab = true;
    return vocab_build_index(&r->t->vocab, r->t->name, err);
}

Status tokenizer_json_vocab(Tokenizer *t, JsonPull *pull, Error *err) {
    Reader r = {.t = t};
    const Status status = read_vocab(&r, pull, err);
    text_free(&r.scratch);
    FAIL_IF(status == OK && r.has_scores, ERR_FORMAT, "%s: a list with scores, which has no merges", t->name);
    return status;
}

/* ---- merges ----------------------------------------------------------------------------------------------------- */

void merge_list_free(MergeList *list) {
    mem_free(list->bytes);
    mem_free(list->triples);
    *list = (MergeList){0};
}

/* The id of both together. Lists often go on with the same id, or the next one, so these are tried first. */
static int32_t find_merged(const Tokenizer *t, const MergePair *m, const char *bytes, int32_t before) {
    const size_t skip = t->bpe.prefix_bytes <= m->right_bytes ? t->bpe.prefix_bytes : 0;
    const char *left = bytes + m->left;
    const size_t count = m->left_bytes + m->right_bytes - skip;
    for (int32_t id = before; id <= before + 1 && id >= 0 && skip == 0; id++)
        if (vocab_has(&t->vocab, id) && t->vocab.pieces[id].count == count &&
            (t->vocab.flags[id] & PIECE_HIDDEN) == 0 && memcmp(vocab_bytes(&t->vocab, id), left, count) == 0)
            return id;
    if (skip == 0)
        return vocab_find(&t->vocab, left, count);
    Text whole = {0};
    text_append(&whole, left, m->left_bytes);
    text_append(&whole, bytes + m->right + skip, m->right_bytes - skip);
    const int32_t id = whole.failed ? -1 : vocab_find(&t->vocab, whole.bytes, whole.count);
    text_free(&whole);
    return id;
}

static Status flush_merges(MergeList *list, Error *err) {
    const Tokenizer *t = list->t;
    const Vocab *vocab = &t->vocab;
    if (!mem_grow((void **)&list->triples, &list->capacity, list->count + list->waiting, sizeof *list->triples,
                  MEM_TEXT))
        return tokenizer_no_memory(t, err);
    for (size_t i = 0; i < list->waiting; i++) {
        vocab_prefetch_piece(vocab, list->pairs[i].left_hash);
        vocab_prefetch_piece(vocab, list->pairs[i].right_hash);
    }
    for (size_t i = 0; i < list->waiting; i++) {
        vocab_prefetch_bytes(vocab, list->pairs[i].left_hash);
        vocab_prefetch_bytes(vocab, list->pairs[i].right_hash);
    }
    for (size_t i = 0; i < list->waiting; i++) {
        const MergePair *m = &list->pairs[i];
        int32_t *triple = list->triples[list->count++];
        triple[0] = triple[1] = triple[2] = -1;
        if (m->ignored)
            continue;
        const char *left = list->bytes + m->left, *right = list->bytes + m->right;
        const int32_t a = vocab_find_hashed(vocab, m->left_hash, left, m->left_bytes);
        const int32_t b = vocab_find_hashed(vocab, m->right_hash, right, m->right_bytes);
        const int32_t merged = a >= 0 && b >= 0 ? find_merged(t, m, list->bytes, list->last) : -1;
        if (merged < 0 && list->lenient)
            continue;
        FAIL_IF(merged < 0, ERR_FORMAT, "%s: merge %zu joins \"%.*s\" and \"%.*s\", but %s is not in the vocabulary",
                t->name, list->count - 1, (int)MIN(m->left_bytes, 64), left, (int)MIN(m->right_bytes, 64), right,
                a < 0   ? "the first"
                : b < 0 ? "the second"
                        : "the result");
        list->last = merged;
        triple[0] = a;
        triple[1] = b;
        triple[2] = merged;
    }
    list->waiting = list->used = 0;
    return OK;
}

/* Like spell, into memory that is known to be enough. */
static size_t spell_at(const Tokenizer *t, const char *bytes, size_t count, char *out, bool *raw) {
    size_t decoded;
    if (t->bpe.bytes && byte_level_decode(bytes, count, out, &decoded))
        return decoded;
    memcpy(out, bytes, count);
    *raw = *raw || t->bpe.bytes;
    return count;
}

Status merge_list_add(MergeList *list, const char *left, size_t left_bytes, const char *right, size_t right_bytes,
                      Error *err) {
    const Tokenizer *t = list->t;
    if (list->waiting == COUNT(list->pairs))
        TRY(flush_merges(list, err));
    FAIL_IF(left_bytes > INT32_MAX || right_bytes > INT32_MAX, ERR_FORMAT, "%s: a merge of over 2 GiB", t->name);
    const size_t needed = list->used + left_bytes + right_bytes;
    if (!mem_grow((void **)&list->bytes, &list->bytes_capacity, needed, 1, MEM_TEXT))
        return tokenizer_no_memory(t, err);
    MergePair *m = &list->pairs[list->waiting++];
    *m = (MergePair){.left = list->used};
    m->left_bytes = spell_at(t, left, left_bytes, list->bytes + m->left, &m->ignored);
    m->right = m->left + m->left_bytes;
    m->right_bytes = spell_at(t, right, right_bytes, list->bytes + m->right, &m->ignored);
    list->used = m->right + m->right_bytes;
    m->left_hash = vocab_hash(list->bytes + m->left, m->left_bytes);
    m->right_hash = vocab_hash(list->bytes + m->right, m->right_bytes);
    vocab_prefetch_slot(&t->vocab, m->left_hash);
    vocab_prefetch_slot(&t->vocab, m->right_hash);
    return OK;
}

Status merge_list_finish(MergeList *list, Tokenizer *t, Error *err) {
    TRY(flush_merges(list, err));
    t->bpe.vocab = &t->vocab;
    return bpe_set_merges(&t->bpe, (const int32_t(*)[3])list->triples, list->count, t->name, err);
}

Status merge_list_add_line(MergeList *list, const char *line, size_t count, Error *err) {
    const char *blank = count > 1 ? memchr(line + 1, ' ', count - 1) : NULL;
    FAIL_IF(blank == NULL || (!list->lenient && memchr(blank + 1, ' ', (size_t)(line + count - blank - 1)) != NULL),
            ERR_FORMAT, "%s: merge %zu, \"%.*s\", is not two tokens with a blank between", list->t->name,
            list->count + list->waiting, (int)MIN(count, 64), line);
    return merge_list_add(list, line, (size_t)(blank - line), blank + 1, (size_t)(line + count - blank - 1), err);
}

/* ["a b", ...] or [["a", "b"], ...] */
static Status pull_merges(MergeList *list, Text *first, JsonPull *pull, Error *err) {
    TRY(json_pull_array(pull, err));
    for (;;) {
        bool more;
        const char *bytes;
        size_t count;
        JsonKind kind;
        TRY(json_pull_element(pull, &more, err));
        if (!more)
            return OK;
        TRY(json_pull_peek(pull, &kind, err));
        if (kind == JSON_KIND_STRING) {
            TRY(json_pull_string(pull, &bytes, &count, err));
            TRY(merge_list_add_line(list, bytes, count, err));
            continue;
        }
        TRY(json_pull_array(pull, err));
        TRY(json_pull_element(pull, &more, err));
        if (!more)
            return fail_key(list->t, "merges", "an empty pair", err);
        TRY(json_pull_string(pull, &bytes, &count, err));
        text_clear(first); /* reading the second string may overwrite the first */
        text_append(first, bytes, count);
        TRY(text_check(first, err));
        TRY(json_pull_element(pull, &more, err));
        if (!more)
            return fail_key(list->t, "merges", "a pair of one", err);
        TRY(json_pull_string(pull, &bytes, &count, err));
        TRY(merge_list_add(list, first->bytes, first->count, bytes, count, err));
        TRY(json_pull_element(pull, &more, err));
        if (more)
            return fail_key(list->t, "merges", "a pair of three", err);
    }
}

static Status read_merges(Reader *r, JsonPull *pull, Error *err) {
    MergeList list = {.t = r->t};
    Status status = pull_merges(&list, &r->scratch, pull, err);
    if (status == OK)
        status = merge_list_finish(&list, r->t, err);
    merge_list_free(&list);
    r->has_merges = true;
    return status;
}

/* ---- the model -------------------------------------------------------------------------------------------------- */

static Status keep(const Tokenizer *t, const Text *text, char **kept, size_t *bytes, Error *err) {
    enum { MAX_AFFIX = 64 };
    FAIL_IF(text->count > MAX_AFFIX, ERR_UNSUPPORTED, "%s: a prefix or suffix of %zu bytes", t->name, text->count);
    mem_free(*kept);
    *kept = mem_strndup(text->bytes != NULL ? text->bytes : "", text->count, MEM_TEXT);
    *bytes = text->count;
    return *kept != NULL ? OK : tokenizer_no_memory(t, err);
}

static Status read_model_key(Reader *r, JsonPull *pull, const char *key, size_t bytes, Slice *vocab, Slice *merges,
                             Error *err) {
    Tokenizer *t = r->t;
    bool given;
    uint64_t number = 0;
    if (json_key_is(key, bytes, "type"))
        return pull_text(pull, &r->type, &r->has_type, err);
    if (json_key_is(key, bytes, "unk_token"))
        return pull_text(pull, &r->unknown, &r->has_unknown, err);
    if (json_key_is(key, bytes, "unk_id"))
        return pull_natural(pull, &r->unknown_id, &r->has_unknown_id, err);
    if (json_key_is(key, bytes, "continuing_subword_prefix")) {
        TRY(pull_text(pull, &r->scratch, &given, err));
        return given ? keep(t, &r->scratch, &t->bpe.prefix, &t->bpe.prefix_bytes, err) : OK;
    }
    if (json_key_is(key, bytes, "end_of_word_suffix")) {
        TRY(pull_text(pull, &r->scratch, &given, err));
        return given ? keep(t, &r->scratch, &t->bpe.suffix, &t->bpe.suffix_bytes, err) : OK;
    }
    if (json_key_is(key, bytes, "fuse_unk"))
        return pull_bool(pull, &t->bpe.fuse_unknown, err);
    if (json_key_is(key, bytes, "byte_fallback"))
        return pull_bool(pull, &t->bpe.byte_fallback, err);
    if (json_key_is(key, bytes, "ignore_merges"))
        return pull_bool(pull, &t->bpe.whole_first, err);
    if (json_key_is(key, bytes, "max_input_chars_per_word")) {
        TRY(pull_natural(pull, &number, &given, err));
        t->wordpiece.max_characters = given ? (size_t)number : 100;
        return OK;
    }
    if (json_key_is(key, bytes, "vocab"))
        return r->has_vocab ? pull_slice(pull, vocab, err) : read_vocab(r, pull, err);
    if (json_key_is(key, bytes, "merges")) /* names pieces: after the vocabulary, and when a prefix is known */
        return r->has_vocab && !r->has_merges ? read_merges(r, pull, err) : pull_slice(pull, merges, err);
    return json_pull_skip(pull, err); /* dropout and what training left behind */
}

static Status choose_model(Reader *r, Error *err) {
    static const struct {
        const char *type;
        ModelKind kind;
        WordPieceKind words;
    } kinds[] = {{"BPE", MODEL_BPE, WORD_PIECES},
                 {"Unigram", MODEL_UNIGRAM, WORD_PIECES},
                 {"WordPiece", MODEL_WORDPIECE, WORD_PIECES},
                 {"WordLevel", MODEL_WORDPIECE, WORD_WHOLE}};
    Tokenizer *t = r->t;
    /* Old files do not say which it is. */
    const char *type = r->has_type               ? r->type.bytes
                       : r->has_scores           ? "Unigram"
                       : r->has_merges           ? "BPE"
                       : t->bpe.prefix_bytes > 0 ? "WordPiece"
                                                 : "WordLevel";
    for (size_t i = 0; i < COUNT(kinds); i++)
        if (strcmp(kinds[i].type, type) == 0) {
            t->model = kinds[i].kind;
            t->wordpiece.kind = kinds[i].words;
            return OK;
        }
    return error_set(err, ERR_UNSUPPORTED,
                     "%s: a model of type %s is not known; BPE, Unigram, WordPiece and WordLevel are", t->name, type);
}

static Status find_unknown(Reader *r, int32_t *id, Error *err) {
    Tokenizer *t = r->t;
    *id = -1;
    if (r->has_unknown_id && t->model == MODEL_UNIGRAM) {
        FAIL_IF(!vocab_has(&t->vocab, (int64_t)MIN(r->unknown_id, INT32_MAX)), ERR_FORMAT,
                "%s: unk_id %llu is not in the vocabulary", t->name, (unsigned long long)r->unknown_id);
        *id = (int32_t)r->unknown_id;
    } else if (r->has_unknown && t->model != MODEL_UNIGRAM) {
        text_clear(&r->scratch);
        bool raw;
        TRY(spell(t, r->unknown.bytes, r->unknown.count, &r->scratch, &raw, err));
        *id = vocab_find(&t->vocab, r->scratch.bytes, r->scratch.count);
    }
    t->special[SPECIAL_UNK] = *id;
    return OK;
}

static Status finish_model(Reader *r, Error *err) {
    Tokenizer *t = r->t;
    FAIL_IF(!r->has_vocab, ERR_FORMAT, "%s: the model has no vocab", t->name);
    TRY(choose_model(r, err));
    FAIL_IF((t->model == MODEL_UNIGRAM) != r->has_scores, ERR_FORMAT, "%s: the vocab has %s scores", t->name,
            r->has_scores ? "unexpected" : "no");
    FAIL_IF(t->model == MODEL_BPE && !r->has_merges, ERR_FORMAT, "%s: the model has no merges", t->name);
    int32_t unknown;
    TRY(find_unknown(r, &unknown, err));
    if (t->model == MODEL_BPE) {
        FAIL_IF(r->has_unknown && r->unknown.count > 0 && unknown < 0 && !t->bpe.bytes, ERR_FORMAT,
                "%s: unk_token \"%.64s\" is not in the vocabulary", t->name, r->unknown.bytes);
        t->bpe.unknown = unknown;
    } else if (t->model == MODEL_UNIGRAM) {
        t->unigram.unknown = unknown;
        t->unigram.flavor = UNIGRAM_TOKENIZERS;
        t->unigram.byte_fallback = t->bpe.byte_fallback;
    } else {
        t->wordpiece.unknown = unknown;
        t->wordpiece.inside = t->bpe.prefix;
        t->wordpiece.inside_bytes = t->bpe.prefix_bytes;
        t->bpe.prefix = NULL;
        t->bpe.prefix_bytes = 0;
        if (t->wordpiece.inside == NULL && t->wordpiece.kind == WORD_PIECES) {
            t->wordpiece.inside = mem_strdup("##", MEM_TEXT);
            t->wordpiece.inside_bytes = 2;
            if (t->wordpiece.inside == NULL)
                return tokenizer_no_memory(t, err);
        }
    }
    return OK;
}

static Status read_model(Reader *r, JsonPull *pull, Error *err) {
    Slice vocab = {0}, merges = {0};
    TRY(json_pull_object(pull, err));
    for (;;) {
        bool more;
        const char *key;
        size_t bytes;
        TRY(json_pull_key(pull, &more, &key, &bytes, err));
        if (!more)
            break;
        TRY(read_model_key(r, pull, key, bytes, &vocab, &merges, err));
    }
    FAIL_IF(vocab.bytes != NULL, ERR_FORMAT, "%s: the model has two vocabs", r->t->name);
    if (merges.bytes != NULL) {
        FAIL_IF(r->has_merges || !r->has_vocab, ERR_FORMAT, "%s: merges without a vocab, or twice", r->t->name);
        JsonPull late;
        json_pull_open(&late, merges.bytes, merges.count, r->t->name);
        const Status status = read_merges(r, &late, err);
        json_pull_close(&late);
        TRY(status);
    }
    return finish_model(r, err);
}

/* ---- added tokens ----------------------------------------------------------------------------------------------- */

static Status read_entry(Reader *r, JsonPull *pull, Error *err) {
    Entry entry = {.id = -1, .flags = ADDED_NORMALIZED};
    bool single = false, lstrip = false, rstrip = false, normalized = true, has_content = false;
    TRY(json_pull_object(pull, err));
    for (;;) {
        bool more;
        const char *key, *content;
        size_t bytes;
        TRY(json_pull_key(pull, &more, &key, &bytes, err));
        if (!more)
            break;
        if (json_key_is(key, bytes, "id")) {
            uint64_t id;
            TRY(json_pull_natural(pull, &id, err));
            entry.id = (int64_t)MIN(id, INT32_MAX);
        } else if (json_key_is(key, bytes, "content")) {
            TRY(json_pull_string(pull, &content, &entry.bytes, err));
            entry.start = r->contents.count;
            text_append(&r->contents, content, entry.bytes);
            TRY(text_check(&r->contents, err));
            has_content = true;
        } else if (json_key_is(key, bytes, "single_word")) {
            TRY(pull_bool(pull, &single, err));
        } else if (json_key_is(key, bytes, "lstrip")) {
            TRY(pull_bool(pull, &lstrip, err));
        } else if (json_key_is(key, bytes, "rstrip")) {
            TRY(pull_bool(pull, &rstrip, err));
        } else if (json_key_is(key, bytes, "normalized")) {
            TRY(pull_bool(pull, &normalized, err));
        } else if (json_key_is(key, bytes, "special")) {
            TRY(pull_bool(pull, &entry.special, err));
        } else {
            TRY(json_pull_skip(pull, err));
        }
    }
    if (entry.id < 0 || !has_content)
        return fail_key(r->t, "added_tokens", "an entry without id or content", err);
    entry.flags = (single ? ADDED_SINGLE_WORD : 0u) | (lstrip ? ADDED_LSTRIP : 0u) | (rstrip ? ADDED_RSTRIP : 0u) |
                  (normalized ? ADDED_NORMALIZED : 0u);
    if (!mem_grow((void **)&r->entries, &r->entry_capacity, r->entry_count + 1, sizeof *r->entries, MEM_TEXT))
        return tokenizer_no_memory(r->t, err);
    r->entries[r->entry_count++] = entry;
    return OK;
}

static Status read_entries(Reader *r, JsonPull *pull, Error *err) {
    JsonKind kind;
    TRY(json_pull_peek(pull, &kind, err));
    if (kind == JSON_KIND_WORD)
        return json_pull_skip(pull, err);
    TRY(json_pull_array(pull, err));
    for (;;) {
        bool more;
        TRY(json_pull_element(pull, &more, err));
        if (!more)
            return OK;
        TRY(read_entry(r, pull, err));
    }
}

static bool piece_is(const Vocab *vocab, int64_t id, const char *bytes, size_t count) {
    return vocab_has(vocab, id) && vocab->pieces[id].count == count &&
           memcmp(vocab_bytes(vocab, (int32_t)id), bytes, count) == 0;
}

/* Where the vocabulary has the token already, its id there counts, as in the library; else the entry's own, or a fresh
 * one when that is taken. */
static Status add_entry(Reader *r, const Entry *entry, Error *err) {
    Tokenizer *t = r->t;
    const char *content = r->contents.bytes + entry->start;
    bool raw;
    text_clear(&r->scratch);
    TRY(spell(t, content, entry->bytes, &r->scratch, &raw, err));
    const char *spelled = r->scratch.bytes;
    const size_t bytes = r->scratch.count;
    int64_t id = entry->id;
    if (!piece_is(&t->vocab, id, spelled, bytes)) {
        const int32_t found = raw ? -1 : vocab_find(&t->vocab, spelled, bytes);
        if (found >= 0)
            id = found;
        else if (vocab_has(&t->vocab, id))
            id = (int64_t)t->vocab.count;
        if (found < 0)
            TRY(vocab_set(&t->vocab, id, spelled, bytes, PIECE_HIDDEN | (raw ? PIECE_RAW : 0), t->name, err));
    }
    if (entry->special)
        t->vocab.flags[id] |= TOKEN_CONTROL;
    return tokenizer_add_token(t, (int32_t)id, content, entry->bytes, entry->flags, err);
}

/* ---- the file --------------------------------------------------------------------------------------------------- */

enum { PART_NORMALIZER, PART_PRE, PART_POST, PART_DECODER, PART_MODEL, PART_COUNT };
static const char *const part_names[PART_COUNT] = {"normalizer", "pre_tokenizer", "post_processor", "decoder", "model"};

static Status read_steps(Tokenizer *t, const Slice *parts, bool *done, Error *err) {
    if (*done)
        return OK;
    *done = true;
    const Slice *n = &parts[PART_NORMALIZER], *p = &parts[PART_PRE], *d = &parts[PART_DECODER];
    if (n->bytes != NULL)
        TRY(tokenizer_json_normalizer(t, n->bytes, n->count, err));
    if (p->bytes != NULL)
        TRY(tokenizer_json_pre_tokenizer(t, p->bytes, p->count, err));
    TRY(tokenizer_json_decoder(t, d->bytes != NULL ? d->bytes : "null", d->bytes != NULL ? d->count : 4, err));
    return tokenizer_json_alphabet(t, err);
}

static Status read_file(Reader *r, JsonPull *pull, Slice *parts, Error *err) {
    bool steps_done = false, model_done = false;
    TRY(json_pull_object(pull, err));
    for (;;) {
        bool more;
        const char *key;
        size_t bytes;
        TRY(json_pull_key(pull, &more, &key, &bytes, err));
        if (!more)
            break;
        int part = 0;
        while (part < PART_COUNT && !json_key_is(key, bytes, part_names[part]))
            part++;
        if (json_key_is(key, bytes, "added_tokens")) {
            TRY(read_entries(r, pull, err));
        } else if (part == PART_MODEL && parts[PART_NORMALIZER].bytes != NULL && parts[PART_PRE].bytes != NULL &&
                   parts[PART_DECODER].bytes != NULL && !model_done) {
            TRY(read_steps(r->t, parts, &steps_done, err));
            TRY(read_model(r, pull, err));
            model_done = true;
        } else if (part < PART_COUNT) {
            TRY(pull_slice(pull, &parts[part], err));
        } else {
            TRY(json_pull_skip(pull, err));
        }
    }
    TRY(json_pull_finish(pull, err));
    TRY(read_steps(r->t, parts, &steps_done, err));
    if (model_done)
        return OK;
    FAIL_IF(parts[PART_MODEL].bytes == NULL, ERR_FORMAT, "%s: there is no model in it", r->t->name);
    JsonPull late;
    json_pull_open(&late, parts[PART_MODEL].bytes, parts[PART_MODEL].count, r->t->name);
    const Status status = read_model(r, &late, err);
    json_pull_close(&late);
    return status;
}

static Status read_all(Reader *r, JsonPull *pull, Error *err) {
    Slice parts[PART_COUNT] = {{NULL, 0}};
    TRY(read_file(r, pull, parts, err));
    for (size_t i = 0; i < r->entry_count; i++)
        TRY(add_entry(r, &r->entries[i], err));
    const Slice *post = &parts[PART_POST];
    return post->bytes != NULL ? tokenizer_json_post_processor(r->t, post->bytes, post->count, err) : OK;
}

Status tokenizer_json_read(Tokenizer *t, const char *bytes, size_t count, Error *err) {
    Reader r = {.t = t};
    JsonPull pull;
    t->wordpiece.max_characters = 100;
    t->bpe.unknown = t->unigram.unknown = t->wordpiece.unknown = -1;
    json_pull_open(&pull, bytes, count, t->name);
    const Status status = read_all(&r, &pull, err);
    json_pull_close(&pull);
    mem_free(r.entries);
    text_free(&r.contents);
    text_free(&r.type);
    text_free(&r.unknown);
    text_free(&r.scratch);
    return status;
}
