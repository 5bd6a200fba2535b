/* unigram.c - see unigram.h. */
#include "text/unigram.h"

#include <math.h>

static const double unknown_penalty = 10.0;

typedef struct UnigramStep {
    double score;   /* of the best way to here; a float's value in the flavour that sums in float */
    int32_t id;     /* its last piece */
    uint32_t start; /* where that begins; NOWHERE: no way leads here */
} UnigramStep;

enum { NOWHERE = 0xFFFFFFFF };

/* Which pieces a text may be written with, and which count for the lowest and highest score. */
static bool is_candidate(const Unigram *u, unsigned flags) {
    if (flags == 0)
        return false;
    return u->flavor == UNIGRAM_TOKENIZERS || (flags & PIECE_SYMBOL) != 0 ||
           (flags & (TOKEN_CONTROL | TOKEN_UNKNOWN | TOKEN_BYTE)) == 0;
}

static bool is_normal(const Unigram *u, unsigned flags) {
    return is_candidate(u, flags) && (u->flavor == UNIGRAM_TOKENIZERS || (flags & (PIECE_SYMBOL | TOKEN_UNUSED)) == 0);
}

Status unigram_prepare(Unigram *u, const char *name, Error *err) {
    const Vocab *vocab = u->vocab;
    TrieKey *keys = mem_array(vocab->count, sizeof *keys, MEM_TEXT);
    FAIL_IF(keys == NULL, ERR_MEMORY, "%s: no memory for the pieces", name);
    size_t count = 0;
    double min_score = INFINITY;
    for (size_t i = 0; i < vocab->count; i++) {
        if (is_candidate(u, vocab->flags[i]) && (vocab->flags[i] & PIECE_HIDDEN) == 0)
            keys[count++] = (TrieKey){
                .bytes = vocab_bytes(vocab, (int32_t)i), .count = vocab->pieces[i].count, .value = (int32_t)i};
        if (is_normal(u, vocab->flags[i]) && (vocab->flags[i] & PIECE_HIDDEN) == 0)
            min_score = u->scores[i] < min_score ? u->scores[i] : min_score;
    }
    const Status status = trie_build(&u->trie, keys, count, err);
    mem_free(keys);
    u->unknown_score = u->flavor == UNIGRAM_TOKENIZERS ? min_score - unknown_penalty
                                                       : (double)((float)min_score - (float)unknown_penalty);
    for (int i = 0; i < 256; i++) {
        static const char digits[] = "0123456789ABCDEF";
        const char spelled[6] = {'<', '0', 'x', digits[i >> 4], digits[i & 15], '>'};
        u->byte_ids[i] = u->byte_fallback ? vocab_find(vocab, spelled, sizeof spelled) : -1;
    }
    return status;
}

void unigram_free(Unigram *unigram) {
    mem_free(unigram->scores);
    trie_free(&unigram->trie);
    *unigram = (Unigram){0};
}

void unigram_scratch_free(UnigramScratch *scratch) {
    mem_free(scratch->steps);
    *scratch = (UnigramScratch){0};
}

/* Symbols of the user have score 0, which is more than other pieces have. */
static double score_of(const Unigram *u, int32_t id) {
    return u->flavor != UNIGRAM_TOKENIZERS && (u->vocab->flags[id] & PIECE_SYMBOL) != 0 ? 0.0 : u->scores[id];
}

static void offer(const Unigram *u, UnigramStep *step, double score, int32_t id, size_t start) {
    if (u->flavor == UNIGRAM_SENTENCEPIECE) /* what is lost here decides between equals */
        score = (double)(float)score;
    if (step->start == NOWHERE || score > step->score)
        *step = (UnigramStep){.score = score, .id = id, .start = (uint32_t)start};
}

static size_t character_length(const char *text, size_t count, size_t at) {
    size_t end = at + 1;
    while (end < count && ((unsigned char)text[end] & 0xC0) == 0x80)
        end++;
    return end - at;
}

/* Offers all pieces that begin at `at`, and unknown when none of them is the one character there. */
static void try_pieces(const Unigram *u, UnigramStep *steps, const char *text, size_t count, size_t at) {
    const double here = steps[at].score;
    const size_t length = character_length(text, count, at);
    bool single = false;
    uint32_t node = u->trie.nodes != NULL ? trie_first(&u->trie, (uint8_t)text[at]) : 0;
    for (size_t end = at + 1; node != 0; end++) {
        const int32_t id = trie_value(&u->trie, node);
        const bool usable =
            id >= 0 && (u->flavor != UNIGRAM_SENTENCEPIECE || (u->vocab->flags[id] & TOKEN_UNUSED) == 0);
        if (usable) {
            offer(u, &steps[end], score_of(u, id) + here, id, at);
            single = single || end - at == length;
        }
        node = end < count ? trie_next(&u->trie, node, (uint8_t)text[end]) : 0;
    }
    if (single)
        return;
    offer(u, &steps[at + length], u->unknown_score + here, u->unknown, at);
}

/* Unknown bytes [start, end): byte tokens if the model has them, else one unknown. */
static Status append_unknown(const Unigram *u, const char *text, size_t start, size_t end, TokenIds *ids, Error *err) {
    bool bytes = u->byte_fallback;
    for (size_t i = start; i < end && bytes; i++)
        bytes = u->byte_ids[(unsigned char)text[i]] >= 0;
    bool ok = true;
    if (u->flavor == UNIGRAM_TOKENIZERS && vocab_find(u->vocab, text + start, end - start) >= 0) {
        ok = token_ids_append(ids, vocab_find(u->vocab, text + start, end - start));
    } else if (bytes) {
        for (size_t i = start; i < end && ok; i++)
            ok = token_ids_append(ids, u->byte_ids[(unsigned char)text[i]]);
    } else {
        FAIL_IF(u->unknown < 0, ERR_UNSUPPORTED, "the text has characters that this tokenizer has no token for");
        ok = token_ids_append(ids, u->unknown);
    }
    FAIL_IF(!ok, ERR_MEMORY, "no memory for the tokens of a text");
    return OK;
}

Status unigram_encode(const Unigram *u, UnigramScratch *scratch, const char *text, size_t count, TokenIds *ids,
                      Error *err) {
    if (count == 0)
        return OK;
    FAIL_IF(!mem_grow((void **)&scratch->steps, &scratch->capacity, count + 1, sizeof *scratch->steps, MEM_TEXT),
            ERR_MEMORY, "no memory for the tokens of a text");
    UnigramStep *steps = scratch->steps;
    for (size_t i = 0; i <= count; i++)
        steps[i] = (UnigramStep){.start = NOWHERE, .id = -1};
    for (size_t at = 0; at < count; at += character_length(text, count, at))
        try_pieces(u, steps, text, count, at);
    /* The way back, its steps turned round: from now on `id` of a step's start is where the way goes on. */
    size_t end = count, first = count;
    for (uint32_t next = NOWHERE; end > 0;) {
        const uint32_t start = steps[end].start;
        FAIL_IF(start == NOWHERE, ERR_INTERNAL, "a text has no way through it");
        steps[end].start = next; /* the end of the piece behind this one */
        next = (uint32_t)end;
        first = end;
        end = start;
    }
    size_t start = 0, unknown_from = count;
    for (size_t at = first;; at = steps[at].start) {
        const int32_t id = steps[at].id;
        const bool unknown = id == u->unknown;
        if (!unknown) {
            if (unknown_from < start)
                TRY(append_unknown(u, text, unknown_from, start, ids, err));
            unknown_from = count;
            FAIL_IF(!token_ids_append(ids, id), ERR_MEMORY, "no memory for the tokens of a text");
        } else if (unknown_from == count) {
            unknown_from = start;
        }
        start = at;
        if (at == count)
            break;
    }
    return unknown_from < count ? append_unknown(u, text, unknown_from, count, ids, err) : OK;
}
