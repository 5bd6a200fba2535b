/* tokenizer.c - the way of a text through a tokenizer, and questions about its vocabulary. Files are read elsewhere. */
#include "text/tokenizer_parts.h"

#include "text/unicode_class.h"

#include <string.h>

/* ---- encoding --------------------------------------------------------------------------------------------------- */

/* One call of tokenizer_encode. */
typedef struct Encoder {
    const Tokenizer *t;
    unsigned flags;
    TokenIds *ids;
    RegexScratch regex;
    NormScratch norm;
    PreScratch pre;
    BpeScratch bpe;
    UnigramScratch unigram;
    Text spelled;
} Encoder;

static Status append(Encoder *e, int32_t id, Error *err) {
    FAIL_IF(!token_ids_append(e->ids, id), ERR_MEMORY, "no memory for the tokens of a text");
    return OK;
}

static Status encode_word(Encoder *e, const char *word, size_t count, Error *err) {
    switch (e->t->model) {
    case MODEL_BPE:
        return bpe_encode(&e->t->bpe, &e->bpe, word, count, e->ids, err);
    case MODEL_UNIGRAM:
        return unigram_encode(&e->t->unigram, &e->unigram, word, count, e->ids, err);
    case MODEL_WORDPIECE:
        return wordpiece_encode(&e->t->wordpiece, &e->spelled, word, count, e->ids, err);
    }
    return error_set(err, ERR_INTERNAL, "a tokenizer without a model");
}

/* Normalised text without added tokens. */
static Status encode_words(Encoder *e, const char *text, size_t count, bool at_start, Error *err) {
    if (count == 0)
        return OK;
    const char *base;
    TRY(pretokenizer_apply(&e->t->pre, &e->pre, text, count, at_start, &base, err));
    for (size_t i = 0; i < e->pre.spans.count; i++)
        TRY(encode_word(e, base + e->pre.spans.items[i].start, e->pre.spans.items[i].count, err));
    return OK;
}

/* The character that ends before `at`; 0 at the start. */
static uint32_t character_before(const char *text, size_t at) {
    size_t start = at;
    while (start > 0 && at - start < 4 && ((unsigned char)text[--start] & 0xC0) == 0x80)
        continue;
    uint32_t c = 0;
    int bad;
    if (at > 0)
        utf8_decode(text + start, at - start, &c, &bad);
    return c;
}

static uint32_t character_at(const char *text, size_t count, size_t at, size_t *length) {
    uint32_t c = 0;
    int bad;
    const int n = at < count ? utf8_decode(text + at, count - at, &c, &bad) : 0;
    *length = n > 0 ? (size_t)n : 1;
    return n > 0 ? c : 0;
}

static bool is_single_word(const char *text, size_t count, size_t start, size_t end) {
    size_t length;
    return !(start > 0 && unicode_is_word(character_before(text, start))) &&
           !(end < count && unicode_is_word(character_at(text, count, end, &length)));
}

/* The next added token from *at on: its place in the list, and where it is with the white space it takes. *at moves
 * behind the token itself. -1 when there is none. */
static int32_t find_added(const Encoder *e, const Trie *trie, const char *text, size_t count, size_t *at, size_t floor,
                          size_t *start, size_t *end) {
    for (size_t i = *at; trie->nodes != NULL && i < count;) {
        size_t length;
        const int32_t place =
            trie_first(trie, (uint8_t)text[i]) != 0 ? trie_longest(trie, text + i, count - i, &length) : -1;
        if (place < 0) {
            i++;
            continue;
        }
        const AddedToken *token = &e->t->added[place];
        const size_t from = i;
        *at = i = i + length;
        if ((e->flags & ENCODE_PARSE_SPECIAL) == 0 && (e->t->vocab.flags[token->id] & TOKEN_CONTROL) != 0)
            continue;
        if ((token->flags & ADDED_SINGLE_WORD) != 0 && !is_single_word(text, count, from, i))
            continue;
        *start = from;
        *end = i;
        while ((token->flags & ADDED_LSTRIP) != 0 && *start > floor && unicode_is_space(character_before(text, *start)))
            do
                --*start;
            while (*start > floor && ((unsigned char)text[*start] & 0xC0) == 0x80);
        size_t space;
        while ((token->flags & ADDED_RSTRIP) != 0 && *end < count &&
               unicode_is_space(character_at(text, count, *end, &space)))
            *end += space;
        return place;
    }
    *at = count;
    return -1;
}

/* Cuts `text` at added tokens and hands the parts between to `encode`. */
static Status encode_around(Encoder *e, const Trie *trie, const char *text, size_t count, bool at_start,
                            Status (*encode)(Encoder *, const char *, size_t, bool, Error *), Error *err) {
    size_t done = 0;
    for (size_t at = 0; at < count;) {
        size_t start, end;
        const int32_t place = find_added(e, trie, text, count, &at, done, &start, &end);
        if (place < 0)
            break;
        if (done < start)
            TRY(encode(e, text + done, start - done, at_start && done == 0, err));
        TRY(append(e, e->t->added[place].id, err));
        done = end;
    }
    return done < count ? encode(e, text + done, count - done, at_start && done == 0, err) : OK;
}

static Status encode_valid(Encoder *e, const char *text, size_t count, bool at_start, Error *err) {
    const char *normal;
    size_t normal_count;
    TRY(normalizer_apply(&e->t->normalizer, &e->norm, text, count, &normal, &normal_count, err));
    FAIL_IF(normal_count > UINT32_MAX / 2, ERR_LIMIT, "a text of %zu bytes is too long once it is normalised", count);
    return encode_around(e, &e->t->added_normalized, normal, normal_count, at_start, encode_words, err);
}

static const int32_t *byte_tokens(const Tokenizer *t) {
    return t->model == MODEL_BPE && (t->bpe.bytes || t->bpe.byte_fallback) ? t->bpe.byte_ids
           : t->model == MODEL_UNIGRAM && t->unigram.byte_fallback         ? t->unigram.byte_ids
                                                                           : NULL;
}

/* Text with bytes that are no UTF-8: these become byte tokens, or U+FFFD where there are none. */
static Status encode_broken(Encoder *e, const char *text, size_t count, bool at_start, Error *err) {
    const int32_t *bytes = byte_tokens(e->t);
    Text mended = {0};
    Status status = OK;
    size_t good = 0; /* start of the valid text before `at` */
    for (size_t at = 0; at < count && status == OK;) {
        uint32_t c;
        int bad = 1;
        const int length = utf8_decode(text + at, count - at, &c, &bad);
        if (length > 0) {
            at += (size_t)length;
            continue;
        }
        bool known = bytes != NULL;
        for (int i = 0; i < bad && known; i++)
            known = bytes[(unsigned char)text[at + (size_t)i]] >= 0;
        text_append(&mended, text + good, at - good);
        if (!known) {
            text_append_code_point(&mended, 0xFFFD);
        } else {
            status = text_check(&mended, err);
            if (status == OK && mended.count > 0)
                status = encode_valid(e, mended.bytes, mended.count, at_start, err);
            text_clear(&mended);
            for (int i = 0; i < bad && status == OK; i++)
                status = append(e, bytes[(unsigned char)text[at + (size_t)i]], err);
            at_start = false;
        }
        at += (size_t)bad;
        good = at;
    }
    text_append(&mended, text + good, count - good);
    if (status == OK)
        status = text_check(&mended, err);
    if (status == OK && mended.count > 0)
        status = encode_valid(e, mended.bytes, mended.count, at_start, err);
    text_free(&mended);
    return status;
}

static Status encode_part(Encoder *e, const char *text, size_t count, bool at_start, Error *err) {
    return utf8_valid(text, count) ? encode_valid(e, text, count, at_start, err)
                                   : encode_broken(e, text, count, at_start, err);
}

static Status append_all(TokenIds *ids, const TokenIds *more, Error *err) {
    for (size_t i = 0; i < more->count; i++)
        FAIL_IF(!token_ids_append(ids, more->ids[i]), ERR_MEMORY, "no memory for the tokens of a text");
    return OK;
}

Status tokenizer_encode(const Tokenizer *t, const char *text, size_t bytes, unsigned flags, TokenIds *ids, Error *err) {
    enum { WORTH_REMEMBERING = 1024 };
    FAIL_IF(bytes > ENCODE_MAX_BYTES, ERR_LIMIT, "a text of %zu bytes; at most %d can be encoded at once", bytes,
            ENCODE_MAX_BYTES);
    if ((flags & ENCODE_ADD_SPECIAL) != 0)
        TRY(append_all(ids, &t->prefix, err));
    if (bytes > 0) {
        Encoder e = {.t = t, .flags = flags, .ids = ids};
        e.norm.regex = e.pre.regex = &e.regex;
        if (bytes >= WORTH_REMEMBERING)
            bpe_scratch_remember(&e.bpe);
        const bool plain = t->ignores_special && (flags & ENCODE_PARSE_SPECIAL) == 0;
        const Trie *added = plain ? &t->added_plain : &t->added_raw;
        const Status status = encode_around(&e, added, text, bytes, true, encode_part, err);
        regex_scratch_free(&e.regex);
        normalizer_scratch_free(&e.norm);
        pretokenizer_scratch_free(&e.pre);
        bpe_scratch_free(&e.bpe);
        unigram_scratch_free(&e.unigram);
        text_free(&e.spelled);
        TRY(status);
    }
    return (flags & ENCODE_ADD_SPECIAL) != 0 ? append_all(ids, &t->suffix, err) : OK;
}

Status tokenizer_encode_pair(const Tokenizer *t, const char *a, size_t a_bytes, const char *b, size_t b_bytes, TokenIds *ids,
                             size_t *first, Error *err) {
    const size_t before = ids->count;
    TRY(append_all(ids, &t->prefix, err));
    TRY(tokenizer_encode(t, a, a_bytes, 0, ids, err));
    TRY(append_all(ids, t->between.count > 0 ? &t->between : &t->suffix, err));
    *first = ids->count - before;
    TRY(tokenizer_encode(t, b, b_bytes, 0, ids, err));
    return append_all(ids, &t->suffix, err);
}

/* ---- decoding --------------------------------------------------------------------------------------------------- */

Status tokenizer_decode(const Tokenizer *t, const int32_t *ids, size_t count, unsigned flags, Text *text, Error *err) {
    TokenizerStream stream = {.detokenizer = &t->detokenizer, .flags = flags};
    Status status = OK;
    for (size_t i = 0; i < count && status == OK; i++)
        status = stream_push(&stream, ids[i], text, err);
    if (status == OK)
        status = stream_flush(&stream, text, err);
    stream_free(&stream);
    return status;
}

Status tokenizer_stream_open(const Tokenizer *t, unsigned flags, TokenizerStream **stream, Error *err) {
    *stream = mem_zalloc(sizeof **stream, MEM_TEXT);
    FAIL_IF(*stream == NULL, ERR_MEMORY, "no memory for a stream of text");
    (*stream)->detokenizer = &t->detokenizer;
    (*stream)->flags = flags;
    return OK;
}

Status tokenizer_stream_push(TokenizerStream *stream, int32_t id, Text *text, Error *err) {
    return stream_push(stream, id, text, err);
}

Status tokenizer_stream_flush(TokenizerStream *stream, Text *text, Error *err) {
    return stream_flush(stream, text, err);
}

void tokenizer_stream_close(TokenizerStream *stream) {
    if (stream != NULL)
        stream_free(stream);
    mem_free(stream);
}

/* ---- the vocabulary --------------------------------------------------------------------------------------------- */

int32_t tokenizer_count(const Tokenizer *t) {
    return (int32_t)t->vocab.count;
}

unsigned tokenizer_flags(const Tokenizer *t, int32_t id) {
    return vocab_has(&t->vocab, id) ? t->vocab.flags[id] & 255u : 0;
}

bool tokenizer_piece(const Tokenizer *t, int32_t id, const char **bytes, size_t *count) {
    if (!vocab_has(&t->vocab, id))
        return false;
    *bytes = detokenizer_piece(&t->detokenizer, id, count);
    return true;
}

static bool piece_is(const Tokenizer *t, int32_t id, const char *bytes, size_t count) {
    size_t length;
    const char *piece = id >= 0 ? detokenizer_piece(&t->detokenizer, id, &length) : NULL;
    return piece != NULL && length == count && memcmp(piece, bytes, count) == 0;
}

int32_t tokenizer_find(const Tokenizer *t, const char *bytes, size_t count) {
    for (size_t i = 0; i < t->added_count; i++) {
        const Piece piece = t->vocab.pieces[t->added[i].id];
        if ((t->added[i].bytes == count && memcmp(t->added[i].content, bytes, count) == 0) ||
            (piece.count == count && memcmp(t->vocab.bytes + piece.start, bytes, count) == 0))
            return t->added[i].id;
    }
    int32_t id = vocab_find(&t->vocab, bytes, count);
    if (id >= 0 && (t->detokenizer.pieces == NULL || piece_is(t, id, bytes, count)))
        return id;
    /* The other spellings of vocabularies: U+2581 for a blank, "##" inside a word, <0x..> for a byte. */
    Text spelled = {0};
    for (size_t i = 0; i < count; i++)
        text_append(&spelled, bytes[i] == ' ' ? "\xE2\x96\x81" : bytes + i, bytes[i] == ' ' ? 3 : 1);
    const int32_t blank =
        spelled.failed || spelled.bytes == NULL ? -1 : vocab_find(&t->vocab, spelled.bytes, spelled.count);
    text_clear(&spelled);
    int32_t inside = -1;
    if (t->model == MODEL_WORDPIECE && count > 0) {
        text_append(&spelled, t->wordpiece.inside, bytes[0] == ' ' ? 0 : t->wordpiece.inside_bytes);
        text_append(&spelled, bytes + (bytes[0] == ' '), count - (bytes[0] == ' '));
        inside = spelled.failed ? -1 : vocab_find(&t->vocab, spelled.bytes, spelled.count);
    }
    text_free(&spelled);
    const int32_t *byte_ids = byte_tokens(t);
    const int32_t byte = byte_ids != NULL && count == 1 ? byte_ids[(unsigned char)bytes[0]] : -1;
    if (piece_is(t, blank, bytes, count))
        return blank;
    if (piece_is(t, inside, bytes, count))
        return inside;
    return piece_is(t, byte, bytes, count) ? byte : -1;
}

int32_t tokenizer_special(const Tokenizer *t, SpecialToken which) {
    return (unsigned)which < SPECIAL_COUNT ? t->special[which] : -1;
}

bool tokenizer_ends(const Tokenizer *t, int32_t id) {
    for (size_t i = 0; i < t->ends.count; i++)
        if (t->ends.ids[i] == id)
            return true;
    return false;
}

bool tokenizer_adds_bos(const Tokenizer *t) {
    return t->prefix.count > 0 && t->prefix.ids[0] == t->special[SPECIAL_BOS];
}

const char *tokenizer_summary(const Tokenizer *t) {
    return t->summary;
}
