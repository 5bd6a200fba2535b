/* tiktoken.c - byte-level tables of ranks: tiktoken's files and tekken.json.
 *
 * A tiktoken file is lines of "base64 of the bytes, blank, rank"; the rank is the id. The special tokens are in
 * tokenizer_config.json, the split pattern is in Python code that comes with the model: split_table.c knows it by the
 * name of the tokenizer's class. tekken.json has all of it in one file, with the special tokens in
 * front of the others. */
#include "text/published.h"
#include "text/split_table.h"
#include "text/tokenizer_json.h"

#include "format/json_pull.h"

#include "base/file.h"

#include <stdio.h>
#include <string.h>

/* Ranks, pattern and decoder of a table whose pieces are in the vocabulary: those below `first` and from `end` on are
 * special. */
static Status set_model(Tokenizer *t, size_t first, size_t end, const char *pattern, size_t pattern_bytes, Error *err) {
    t->model = MODEL_BPE;
    t->bpe.bytes = t->bpe.whole_first = t->detokenizer.alphabet = true;
    t->bpe.ranks = mem_alloc(t->vocab.count * sizeof *t->bpe.ranks, MEM_TEXT);
    if (t->bpe.ranks == NULL)
        return tokenizer_no_memory(t, err);
    for (size_t i = 0; i < t->vocab.count; i++)
        t->bpe.ranks[i] = i >= first && i < end && t->vocab.flags[i] != 0 ? (uint32_t)i : BPE_NEVER;
    /* The library encodes what the pattern matches and drops what is between. */
    TRY(tokenizer_pre_regex(t, pattern, pattern_bytes, REGEX_RUST, SPLIT_REMOVED, true, err));
    if (detokenizer_add(&t->detokenizer, DECODE_BYTE_LEVEL, t->name, err) == NULL)
        return ERR_UNSUPPORTED;
    return vocab_build_index(&t->vocab, t->name, err);
}

/* ---- tiktoken --------------------------------------------------------------------------------------------------- */

static Status read_line(Tokenizer *t, const char *line, size_t count, size_t number, char *piece, Error *err) {
    const char *blank = memchr(line, ' ', count);
    size_t bytes = 0;
    uint64_t rank = 0;
    bool ok = blank != NULL && base64_decode(line, (size_t)(blank - line), piece, &bytes) && bytes > 0 &&
              blank + 1 < line + count;
    for (const char *p = ok ? blank + 1 : line + count; p < line + count; p++) {
        ok = ok && *p >= '0' && *p <= '9' && rank <= INT32_MAX;
        rank = rank * 10 + (uint64_t)(*p - '0');
    }
    FAIL_IF(!ok, ERR_FORMAT, "%s: line %zu is not a token in base64 and its rank", t->name, number);
    return vocab_set(&t->vocab, (int64_t)rank, piece, bytes, 0, t->name, err);
}

static Status read_lines(Tokenizer *t, const char *bytes, size_t count, Text *piece, Error *err) {
    size_t number = 1;
    for (const char *at = bytes, *end = bytes + count; at < end; number++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *line_end = newline != NULL ? newline : end;
        size_t length = (size_t)(line_end - at);
        if (length > 0 && at[length - 1] == '\r')
            length--;
        if (length > 0) {
            text_clear(piece);
            text_append(piece, at, length); /* room for what it decodes to */
            TRY(text_check(piece, err));
            TRY(read_line(t, at, length, number, piece->bytes, err));
        }
        at = newline != NULL ? newline + 1 : end;
    }
    return OK;
}

/* 256 ids behind the table are special; those that the configuration does not name are called
 * <|reserved_token_163594|>, by their id. */
static Status add_reserved(Tokenizer *t, size_t base, Error *err) {
    enum { RESERVED = 256 };
    for (size_t id = base; id < base + RESERVED; id++) {
        if (vocab_has(&t->vocab, (int64_t)id))
            continue;
        Text name = {0};
        text_append_format(&name, "<|reserved_token_%zu|>", id);
        Status status = text_check(&name, err);
        if (status == OK)
            status = vocab_set(&t->vocab, (int64_t)id, name.bytes, name.count,
                               TOKEN_CONTROL | TOKEN_UNUSED | PIECE_HIDDEN | PIECE_RAW, t->name, err);
        if (status == OK)
            status = tokenizer_add_token(t, (int32_t)id, name.bytes, name.count, 0, err);
        text_free(&name);
        TRY(status);
    }
    return OK;
}

static Status read_table(Tokenizer *t, const char *bytes, size_t count, const char *folder, Text *text, Error *err) {
    TRY(read_lines(t, bytes, count, text, err));
    text_clear(text);
    TRY(tokenizer_config_class(folder, text, err));
    const char *name = split_name_of_tiktoken(text->count > 0 ? text->bytes : NULL, path_name(t->name));
    FAIL_IF(
        name == NULL, ERR_UNSUPPORTED,
        "%s: the pattern that splits texts for this table is in the model's Python code, and the tokenizer class %s is "
        "not known",
        t->name, text->count > 0 ? text->bytes : "(none in tokenizer_config.json)");
    const SplitRule *rule = split_rule(name, strlen(name));
    const size_t base = t->vocab.count;
    TRY(tokenizer_config_added(t, folder, err));
    if ((rule->flags & SPLIT_RESERVED) != 0 && t->vocab.count > base)
        TRY(add_reserved(t, base, err));
    return set_model(t, 0, base, rule->patterns[0], strlen(rule->patterns[0]), err);
}

Status tiktoken_read(Tokenizer *t, const char *bytes, size_t count, const char *folder, Error *err) {
    Text text = {0};
    const Status status = read_table(t, bytes, count, folder, &text, err);
    text_free(&text);
    return status;
}

/* ---- tekken ----------------------------------------------------------------------------------------------------- */

typedef struct TekkenEntry {
    uint64_t rank;
    size_t start, bytes; /* in Tekken.bytes */
} TekkenEntry;

typedef struct Tekken {
    Tokenizer *t;
    Text pattern, bytes;
    uint64_t vocab_size, special_count;
    TekkenEntry *pieces, *specials;
    size_t piece_count, piece_capacity, special_entries, special_capacity;
    bool has_config, has_specials;
} Tekken;

static Status read_config(Tekken *k, JsonPull *pull, Error *err) {
    TRY(json_pull_object(pull, err));
    for (;;) {
        bool more;
        const char *key, *text;
        size_t bytes;
        TRY(json_pull_key(pull, &more, &key, &bytes, err));
        if (!more)
            break;
        if (json_key_is(key, bytes, "pattern")) {
            TRY(json_pull_string(pull, &text, &bytes, err));
            text_clear(&k->pattern);
            text_append(&k->pattern, text, bytes);
            TRY(text_check(&k->pattern, err));
        } else if (json_key_is(key, bytes, "default_vocab_size")) {
            TRY(json_pull_natural(pull, &k->vocab_size, err));
        } else if (json_key_is(key, bytes, "default_num_special_tokens")) {
            TRY(json_pull_natural(pull, &k->special_count, err));
        } else {
            TRY(json_pull_skip(pull, err));
        }
    }
    k->has_config = true;
    return OK;
}

/* {"rank": 0, "token_bytes": "AA==", ...} or {"rank": 0, "token_str": "<unk>", ...} */
static Status read_entry(Tekken *k, JsonPull *pull, bool special, TekkenEntry *entry, Error *err) {
    bool has_rank = false, has_text = false;
    TRY(json_pull_object(pull, err));
    for (;;) {
        bool more;
        const char *key, *text;
        size_t bytes;
        TRY(json_pull_key(pull, &more, &key, &bytes, err));
        if (!more)
            break;
        if (json_key_is(key, bytes, "rank")) {
            TRY(json_pull_natural(pull, &entry->rank, err));
            has_rank = true;
        } else if (json_key_is(key, bytes, special ? "token_str" : "token_bytes")) {
            TRY(json_pull_string(pull, &text, &bytes, err));
            entry->start = k->bytes.count;
            text_append(&k->bytes, text, bytes);
            TRY(text_check(&k->bytes, err));
            entry->bytes = bytes;
            FAIL_IF(!special && !base64_decode(text, bytes, k->bytes.bytes + entry->start, &entry->bytes), ERR_FORMAT,
                    "%s: token_bytes is not base64 at byte %zu", k->t->name, (size_t)(pull->at - pull->start));
            k->bytes.count = entry->start + entry->bytes;
            has_text = true;
        } else {
            TRY(json_pull_skip(pull, err));
        }
    }
    FAIL_IF(!has_rank || !has_text || entry->bytes == 0, ERR_FORMAT,
            "%s: a token without rank or bytes before byte %zu", k->t->name, (size_t)(pull->at - pull->start));
    return OK;
}

static Status read_entries(Tekken *k, JsonPull *pull, bool special, Error *err) {
    JsonKind kind;
    TRY(json_pull_peek(pull, &kind, err));
    if (kind == JSON_KIND_WORD) /* null */
        return json_pull_skip(pull, err);
    k->has_specials = k->has_specials || special;
    TRY(json_pull_array(pull, err));
    for (;;) {
        bool more;
        TekkenEntry entry = {0};
        TRY(json_pull_element(pull, &more, err));
        if (!more)
            return OK;
        TRY(read_entry(k, pull, special, &entry, err));
        TekkenEntry **list = special ? &k->specials : &k->pieces;
        size_t *count = special ? &k->special_entries : &k->piece_count;
        size_t *capacity = special ? &k->special_capacity : &k->piece_capacity;
        if (!mem_grow((void **)list, capacity, *count + 1, sizeof **list, MEM_TEXT))
            return tokenizer_no_memory(k->t, err);
        (*list)[(*count)++] = entry;
    }
}

static Status add_special(Tekken *k, uint64_t id, const char *text, size_t bytes, unsigned flags, Error *err) {
    FAIL_IF(id >= k->special_count, ERR_FORMAT, "%s: special token %.64s has the rank %llu of %llu", k->t->name, text,
            (unsigned long long)id, (unsigned long long)k->special_count);
    TRY(vocab_set(&k->t->vocab, (int64_t)id, text, bytes, flags | TOKEN_CONTROL | PIECE_HIDDEN | PIECE_RAW, k->t->name,
                  err));
    return tokenizer_add_token(k->t, (int32_t)id, text, bytes, 0, err);
}

static Status add_specials(Tekken *k, Error *err) {
    for (size_t i = 0; i < k->special_entries; i++)
        TRY(add_special(k, k->specials[i].rank, k->bytes.bytes + k->specials[i].start, k->specials[i].bytes, 0, err));
    for (size_t i = 0; !k->has_specials && tekken_specials[i] != NULL && i < k->special_count; i++)
        TRY(add_special(k, i, tekken_specials[i], strlen(tekken_specials[i]), 0, err));
    for (uint64_t id = 0; id < k->special_count; id++) {
        char name[40];
        if (vocab_has(&k->t->vocab, (int64_t)id))
            continue;
        snprintf(name, sizeof name, "<SPECIAL_%llu>", (unsigned long long)id);
        TRY(add_special(k, id, name, strlen(name), TOKEN_UNUSED, err));
    }
    return OK;
}

static Status build(Tekken *k, Error *err) {
    Tokenizer *t = k->t;
    FAIL_IF(!k->has_config || k->pattern.count == 0 || k->piece_count == 0, ERR_FORMAT,
            "%s: not a tekken tokenizer (config with a pattern, or vocab, is missing)", t->name);
    FAIL_IF(k->special_count >= VOCAB_MAX_IDS || k->vocab_size > VOCAB_MAX_IDS || k->vocab_size <= k->special_count ||
                k->vocab_size - k->special_count > k->piece_count,
            ERR_FORMAT, "%s: %llu tokens with %llu special ones, but %zu in the vocab", t->name,
            (unsigned long long)k->vocab_size, (unsigned long long)k->special_count, k->piece_count);
    TRY(add_specials(k, err));
    for (size_t i = 0; i < k->piece_count; i++) /* the file may have more than the model knows */
        if (k->pieces[i].rank < k->vocab_size - k->special_count)
            TRY(vocab_set(&t->vocab, (int64_t)(k->pieces[i].rank + k->special_count),
                          k->bytes.bytes + k->pieces[i].start, k->pieces[i].bytes, 0, t->name, err));
    TRY(set_model(t, (size_t)k->special_count, t->vocab.count, k->pattern.bytes, k->pattern.count, err));
    t->special[SPECIAL_UNK] = tokenizer_find(t, "<unk>", 5);
    t->special[SPECIAL_BOS] = tokenizer_find(t, "<s>", 3);
    t->special[SPECIAL_EOS] = tokenizer_find(t, "</s>", 4);
    t->special[SPECIAL_PAD] = tokenizer_find(t, "<pad>", 5);
    if (t->special[SPECIAL_BOS] >= 0 && !token_ids_append(&t->prefix, t->special[SPECIAL_BOS]))
        return tokenizer_no_memory(t, err);
    return OK;
}

static Status read_file(Tekken *k, JsonPull *pull, Error *err) {
    TRY(json_pull_object(pull, err));
    for (;;) {
        bool more;
        const char *key;
        size_t bytes;
        TRY(json_pull_key(pull, &more, &key, &bytes, err));
        if (!more)
            break;
        if (json_key_is(key, bytes, "config"))
            TRY(read_config(k, pull, err));
        else if (json_key_is(key, bytes, "vocab") || json_key_is(key, bytes, "special_tokens"))
            TRY(read_entries(k, pull, json_key_is(key, bytes, "special_tokens"), err));
        else
            TRY(json_pull_skip(pull, err));
    }
    TRY(json_pull_finish(pull, err));
    return build(k, err);
}

Status tekken_read(Tokenizer *t, const char *bytes, size_t count, Error *err) {
    Tekken k = {.t = t};
    JsonPull pull;
    json_pull_open(&pull, bytes, count, t->name);
    const Status status = read_file(&k, &pull, err);
    json_pull_close(&pull);
    mem_free(k.pieces);
    mem_free(k.specials);
    text_free(&k.pattern);
    text_free(&k.bytes);
    return status;
}
