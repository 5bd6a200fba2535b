/* sentencepiece.c - tokenizer.model: SentencePiece's own file, a protocol buffer message.
 *
 *     ModelProto   1 pieces (repeated: 1 piece, 2 score, 3 type)   2 trainer_spec   3 normalizer_spec
 *
 * A field is a varint (number << 3 | wire type) and its value; unknown fields are passed over. */
#include "text/tokenizer_parts.h"

#include <string.h>

typedef struct Proto {
    const uint8_t *at, *end;
} Proto;

typedef struct Field {
    uint32_t number;
    uint32_t type; /* 0 varint, 1 eight bytes, 2 bytes, 5 four bytes */
    uint64_t value;
    const uint8_t *bytes;
    size_t count;
} Field;

static bool read_varint(Proto *p, uint64_t *value) {
    *value = 0;
    for (unsigned shift = 0; shift < 64 && p->at < p->end; shift += 7) {
        const uint8_t byte = *p->at++;
        *value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80)
            return true;
    }
    return false;
}

/* The next field; *more = false at the end of the message. */
static bool read_field(Proto *p, Field *f, bool *more) {
    uint64_t key;
    *more = p->at < p->end;
    if (!*more)
        return true;
    if (!read_varint(p, &key) || key >> 3 == 0 || key >> 3 > UINT32_MAX)
        return false;
    *f = (Field){.number = (uint32_t)(key >> 3), .type = (uint32_t)(key & 7)};
    if (f->type == 0)
        return read_varint(p, &f->value);
    uint64_t count = f->type == 1 ? 8 : f->type == 5 ? 4 : 0;
    if (f->type != 1 && f->type != 5 && (f->type != 2 || !read_varint(p, &count)))
        return false;
    if (count > (uint64_t)(p->end - p->at))
        return false;
    f->bytes = p->at;
    f->count = (size_t)count;
    p->at += count;
    return true;
}

static float float_of(const Field *f) {
    const uint32_t bits =
        (uint32_t)f->bytes[0] | (uint32_t)f->bytes[1] << 8 | (uint32_t)f->bytes[2] << 16 | (uint32_t)f->bytes[3] << 24;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Types of pieces. */
enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, USER_DEFINED = 4, UNUSED_PIECE = 5, BYTE = 6 };
enum { MODEL_TYPE_UNIGRAM = 1, MODEL_TYPE_BPE = 2, MODEL_TYPE_WORD = 3, MODEL_TYPE_CHAR = 4 };

typedef struct Spec {
    Tokenizer *t;
    float *scores;
    uint8_t *types;
    size_t count, scores_capacity, types_capacity;
    uint64_t model_type;
    bool byte_fallback, as_suffix, dummy_prefix, remove_extra, escape;
    const uint8_t *charsmap;
    size_t charsmap_bytes;
    const uint8_t *names[SPECIAL_COUNT]; /* bos_piece etc.; NULL = the usual one */
    size_t name_bytes[SPECIAL_COUNT];
    Text unknown_surface;
} Spec;

static Status broken(const Spec *s, Error *err) {
    return error_set(err, ERR_FORMAT, "%s: not a SentencePiece model (a field is broken)", s->t->name);
}

static Status read_piece(Spec *s, const Field *message, Error *err) {
    Proto p = {.at = message->bytes, .end = message->bytes + message->count};
    Field f, piece = {0};
    float score = 0;
    uint64_t type = NORMAL;
    for (bool more;;) {
        if (!read_field(&p, &f, &more))
            return broken(s, err);
        if (!more)
            break;
        if (f.number == 1 && f.type == 2)
            piece = f;
        else if (f.number == 2 && f.type == 5)
            score = float_of(&f);
        else if (f.number == 3 && f.type == 0)
            type = f.value;
    }
    FAIL_IF(piece.count == 0 || type < NORMAL || type > BYTE, ERR_FORMAT,
            "%s: piece %zu is empty or of an unknown type", s->t->name, s->count);
    FAIL_IF(!utf8_valid((const char *)piece.bytes, piece.count), ERR_FORMAT, "%s: piece %zu is not UTF-8", s->t->name,
            s->count);
    FAIL_IF(score != score, ERR_FORMAT, "%s: piece %zu has no number as its score", s->t->name, s->count);
    static const unsigned flags[] = {[NORMAL] = 0,
                                     [UNKNOWN] = TOKEN_UNKNOWN | TOKEN_CONTROL,
                                     [CONTROL] = TOKEN_CONTROL,
                                     [USER_DEFINED] = TOKEN_ADDED | PIECE_SYMBOL,
                                     [UNUSED_PIECE] = TOKEN_UNUSED,
                                     [BYTE] = TOKEN_BYTE};
    if (!mem_grow((void **)&s->scores, &s->scores_capacity, s->count + 1, sizeof *s->scores, MEM_TEXT) ||
        !mem_grow((void **)&s->types, &s->types_capacity, s->count + 1, sizeof *s->types, MEM_TEXT))
        return tokenizer_no_memory(s->t, err);
    s->scores[s->count] = score;
    s->types[s->count] = (uint8_t)type;
    return vocab_set(&s->t->vocab, (int64_t)s->count++, (const char *)piece.bytes, piece.count, flags[type], s->t->name,
                     err);
}

static Status read_trainer(Spec *s, const Field *message, Error *err) {
    Proto p = {.at = message->bytes, .end = message->bytes + message->count};
    Field f;
    for (bool more;;) {
        if (!read_field(&p, &f, &more))
            return broken(s, err);
        if (!more)
            return text_check(&s->unknown_surface, err);
        if (f.number == 3 && f.type == 0)
            s->model_type = f.value;
        else if (f.number == 24 && f.type == 0)
            s->as_suffix = f.value != 0;
        else if (f.number == 35 && f.type == 0)
            s->byte_fallback = f.value != 0;
        else if (f.number == 44 && f.type == 2) {
            text_clear(&s->unknown_surface);
            text_append(&s->unknown_surface, (const char *)f.bytes, f.count);
        } else if (f.number >= 45 && f.number <= 48 && f.type == 2) {
            static const SpecialToken which[] = {SPECIAL_UNK, SPECIAL_BOS, SPECIAL_EOS, SPECIAL_PAD};
            s->names[which[f.number - 45]] = f.bytes;
            s->name_bytes[which[f.number - 45]] = f.count;
        }
    }
}

static Status read_normalizer_spec(Spec *s, const Field *message, Error *err) {
    Proto p = {.at = message->bytes, .end = message->bytes + message->count};
    Field f;
    for (bool more;;) {
        if (!read_field(&p, &f, &more))
            return broken(s, err);
        if (!more)
            return OK;
        if (f.number == 2 && f.type == 2) {
            s->charsmap = f.bytes;
            s->charsmap_bytes = f.count;
        } else if (f.number == 3 && f.type == 0) {
            s->dummy_prefix = f.value != 0;
        } else if (f.number == 4 && f.type == 0) {
            s->remove_extra = f.value != 0;
        } else if (f.number == 5 && f.type == 0) {
            s->escape = f.value != 0;
        }
    }
}

static Status read_message(Spec *s, const uint8_t *bytes, size_t count, Error *err) {
    Proto p = {.at = bytes, .end = bytes + count};
    Field f;
    for (bool more;;) {
        if (!read_field(&p, &f, &more))
            return broken(s, err);
        if (!more)
            break;
        if (f.number == 1 && f.type == 2)
            TRY(read_piece(s, &f, err));
        else if (f.number == 2 && f.type == 2)
            TRY(read_trainer(s, &f, err));
        else if (f.number == 3 && f.type == 2)
            TRY(read_normalizer_spec(s, &f, err));
    }
    FAIL_IF(s->count == 0, ERR_FORMAT, "%s: not a SentencePiece model (no pieces)", s->t->name);
    return vocab_build_index(&s->t->vocab, s->t->name, err);
}

/* ---- the model -------------------------------------------------------------------------------------------------- */

/* The trie of the user's symbols, for the normaliser and (BPE) the model. */
static Status build_symbols(const Spec *s, Trie *trie, Error *err) {
    const Vocab *vocab = &s->t->vocab;
    TrieKey *keys = mem_array(s->count, sizeof *keys, MEM_TEXT);
    if (keys == NULL)
        return tokenizer_no_memory(s->t, err);
    size_t count = 0;
    for (size_t i = 0; i < s->count; i++)
        if (s->types[i] == USER_DEFINED)
            keys[count++] = (TrieKey){
                .bytes = vocab_bytes(vocab, (int32_t)i), .count = vocab->pieces[i].count, .value = (int32_t)i};
    const Status status = trie_build(trie, keys, count, err);
    mem_free(keys);
    return status;
}

uint32_t rank_of_score(float score) {
    uint32_t bits;
    score += 0.0f; /* -0 is 0 */
    memcpy(&bits, &score, sizeof bits);
    /* Order of floats as order of integers, turned round: the highest score is the lowest rank. */
    bits = bits >> 31 != 0 ? ~bits : bits | 1u << 31;
    const uint32_t rank = ~bits;
    return rank == BPE_NEVER ? BPE_NEVER - 1 : rank;
}

static Status set_model(Spec *s, Error *err) {
    Tokenizer *t = s->t;
    if (s->model_type == MODEL_TYPE_UNIGRAM) {
        t->model = MODEL_UNIGRAM;
        t->unigram.flavor = UNIGRAM_SENTENCEPIECE;
        t->unigram.byte_fallback = s->byte_fallback;
        t->unigram.unknown = t->special[SPECIAL_UNK];
        t->unigram.scores = mem_array(s->count, sizeof *t->unigram.scores, MEM_TEXT);
        if (t->unigram.scores == NULL)
            return tokenizer_no_memory(t, err);
        for (size_t i = 0; i < s->count; i++)
            t->unigram.scores[i] = (double)s->scores[i];
        return OK;
    }
    FAIL_IF(s->model_type != MODEL_TYPE_BPE, ERR_UNSUPPORTED,
            "%s: a SentencePiece model of %s; unigram and BPE are known", t->name,
            s->model_type == MODEL_TYPE_WORD ? "words" : "characters");
    t->model = MODEL_BPE;
    t->bpe.byte_fallback = s->byte_fallback;
    t->bpe.fuse_unknown = true;
    t->bpe.unknown = t->special[SPECIAL_UNK];
    t->bpe.ranks = mem_array(s->count, sizeof *t->bpe.ranks, MEM_TEXT);
    if (t->bpe.ranks == NULL)
        return tokenizer_no_memory(t, err);
    for (size_t i = 0; i < s->count; i++) {
        const bool merges = s->types[i] == NORMAL || s->types[i] == USER_DEFINED || s->types[i] == UNUSED_PIECE;
        t->bpe.ranks[i] = merges ? rank_of_score(s->scores[i]) : BPE_NEVER;
        t->bpe.has_unused = t->bpe.has_unused || s->types[i] == UNUSED_PIECE;
    }
    return build_symbols(s, &t->bpe.symbols, err);
}

static Status set_normalizer(Spec *s, Error *err) {
    Tokenizer *t = s->t;
    TRY(build_symbols(s, &t->symbols, err));
    NormStep *step = normalizer_add(&t->normalizer, NORM_SENTENCEPIECE);
    if (step == NULL)
        return tokenizer_no_memory(t, err);
    step->prefix = s->dummy_prefix && !s->as_suffix;
    step->suffix = s->dummy_prefix && s->as_suffix;
    step->remove_extra = s->remove_extra;
    step->escape_blank = s->escape;
    step->symbols = &t->symbols;
    const Status status = charsmap_read(s->charsmap, s->charsmap_bytes, &step->charsmap, err);
    if (status != OK)
        error_context(err, "%s", t->name);
    return status;
}

static Status set_specials(Spec *s, Error *err) {
    static const struct {
        SpecialToken which;
        const char *name;
    } usual[] = {{SPECIAL_UNK, "<unk>"}, {SPECIAL_BOS, "<s>"}, {SPECIAL_EOS, "</s>"}, {SPECIAL_PAD, "<pad>"}};
    Tokenizer *t = s->t;
    for (size_t i = 0; i < COUNT(usual); i++) {
        const SpecialToken which = usual[i].which;
        t->special[which] = s->names[which] != NULL
                                ? vocab_find(&t->vocab, (const char *)s->names[which], s->name_bytes[which])
                                : vocab_find(&t->vocab, usual[i].name, strlen(usual[i].name));
    }
    for (size_t i = 0; i < s->count && t->special[SPECIAL_UNK] < 0; i++)
        if (s->types[i] == UNKNOWN)
            t->special[SPECIAL_UNK] = (int32_t)i;
    FAIL_IF(t->special[SPECIAL_UNK] < 0, ERR_FORMAT, "%s: no unknown piece", t->name);
    /* Control pieces are known to nobody but those who write <s> on purpose. */
    for (size_t i = 0; i < s->count; i++)
        if (s->types[i] == CONTROL || s->types[i] == UNKNOWN)
            TRY(tokenizer_add_token(t, (int32_t)i, vocab_bytes(&t->vocab, (int32_t)i), t->vocab.pieces[i].count, 0,
                                    err));
    /* The file does not say whether texts begin with BOS; those with BPE do. */
    if (t->special[SPECIAL_BOS] >= 0 && s->model_type == MODEL_TYPE_BPE &&
        !token_ids_append(&t->prefix, t->special[SPECIAL_BOS]))
        return tokenizer_no_memory(t, err);
    return OK;
}

static Status set_decoder(Spec *s, Error *err) {
    Tokenizer *t = s->t;
    Detokenizer *d = &t->detokenizer;
    TRY(tokenizer_decode_blanks(t, err));
    d->front = s->remove_extra ? FRONT_ALL : s->dummy_prefix ? FRONT_FIRST : FRONT_KEPT;
    d->spellings = mem_array(1, sizeof *d->spellings, MEM_TEXT);
    if (d->spellings == NULL)
        return tokenizer_no_memory(t, err);
    d->spelling_capacity = 1;
    d->spellings[0] =
        (DecodeSpelling){.id = t->special[SPECIAL_UNK],
                         .text = mem_strndup(s->unknown_surface.bytes, s->unknown_surface.count, MEM_TEXT),
                         .bytes = s->unknown_surface.count};
    if (d->spellings[0].text == NULL)
        return tokenizer_no_memory(t, err);
    d->spelling_count = 1;
    return OK;
}

static Status read_all(Spec *s, const uint8_t *bytes, size_t count, Error *err) {
    text_append_str(&s->unknown_surface, " \xE2\x81\x87 "); /* U+2047, two question marks */
    TRY(text_check(&s->unknown_surface, err));
    TRY(read_message(s, bytes, count, err));
    TRY(set_normalizer(s, err));
    TRY(set_specials(s, err));
    TRY(set_model(s, err));
    return set_decoder(s, err);
}

Status sentencepiece_read(Tokenizer *t, const uint8_t *bytes, size_t count, Error *err) {
    Spec s = {.t = t, .model_type = MODEL_TYPE_UNIGRAM, .dummy_prefix = true, .remove_extra = true, .escape = true};
    const Status status = read_all(&s, bytes, count, err);
    mem_free(s.scores);
    mem_free(s.types);
    text_free(&s.unknown_surface);
    return status;
}
