/* vocab.h - the table of pieces: id -> bytes, bytes -> id.
 *
 * All bytes lie one behind the other in one block; a piece is a place and a length in it. The index is a hash table of
 * (hash, id) pairs, half full at the most, built once when all pieces are there:
 *
 *     bytes   | <unk> | he | llo | ...            pieces[id] = {start, count}, flags[id]
 *     slots   | - | 9F3A:2 | - | - | 0C11:1 | ... probed linearly
 *
 * The spelling is the one that the model's algorithm works on: raw bytes for byte-level vocabularies, U+2581 for blanks
 * in those of SentencePiece. */
#ifndef HOULE_TEXT_VOCAB_H
#define HOULE_TEXT_VOCAB_H

#include "base/text.h"
#include "text/token_ids.h"

enum {
    VOCAB_MAX_IDS = 1 << 22,
    /* Flags beside TOKEN_*. */
    PIECE_HIDDEN = 256,  /* not to be found by its bytes */
    PIECE_RAW = 512,     /* in a byte-level vocabulary: spelled with characters that are not of GPT-2's alphabet */
    PIECE_SYMBOL = 1024, /* a symbol of the user (SentencePiece): matched in texts before anything else */
};

typedef struct Piece {
    uint32_t start;
    uint32_t count;
} Piece;

typedef struct VocabSlot {
    uint32_t hash;
    int32_t place; /* id + 1; 0 = free, so that fresh memory is an empty table */
} VocabSlot;

typedef struct Vocab {
    char *bytes;
    size_t bytes_count, bytes_capacity;
    Piece *pieces;
    uint16_t *flags; /* TOKEN_PRESENT etc.; 0 = no such id */
    size_t count;    /* ids are below this */
    size_t pieces_capacity, flags_capacity;
    VocabSlot *slots;
    size_t mask;      /* number of slots - 1 */
    uint32_t longest; /* bytes of the longest piece that can be found */
} Vocab;

/* Room for so many ids and bytes, so that adding them does not move blocks again and again. */
bool vocab_reserve(Vocab *vocab, size_t ids, size_t bytes) MUST_CHECK;
/* Gives `id` these bytes; a second time replaces the first. `name` is the file, for messages. */
Status vocab_set(Vocab *vocab, int64_t id, const char *bytes, size_t count, unsigned flags, const char *name,
                 Error *err);
/* Builds the index of all pieces without PIECE_HIDDEN. Of two with the same bytes the higher id is found. */
Status vocab_build_index(Vocab *vocab, const char *name, Error *err);
void vocab_free(Vocab *vocab);

static inline bool vocab_has(const Vocab *vocab, int64_t id) {
    return id >= 0 && (uint64_t)id < vocab->count && vocab->flags[id] != 0;
}

static inline const char *vocab_bytes(const Vocab *vocab, int32_t id) {
    return vocab->bytes + vocab->pieces[id].start;
}

/* The id with these bytes, -1 when there is none. The second form takes the hash, whose slot can be fetched ahead. */
uint32_t vocab_hash(const char *bytes, size_t count);
int32_t vocab_find(const Vocab *vocab, const char *bytes, size_t count);
int32_t vocab_find_hashed(const Vocab *vocab, uint32_t hash, const char *bytes, size_t count);

/* A look-up goes through three places in memory, none of which is in the caches when a large vocabulary is loaded. Who
 * has many of them to make fetches the slots of some, then their pieces, then their bytes, before the first is made. */
static inline void vocab_prefetch_slot(const Vocab *vocab, uint32_t hash) {
    PREFETCH(&vocab->slots[hash & vocab->mask]);
}

static inline void vocab_prefetch_piece(const Vocab *vocab, uint32_t hash) {
    const int32_t place = vocab->slots[hash & vocab->mask].place;
    if (place > 0)
        PREFETCH(&vocab->pieces[place - 1]);
}

static inline void vocab_prefetch_bytes(const Vocab *vocab, uint32_t hash) {
    const int32_t place = vocab->slots[hash & vocab->mask].place;
    if (place > 0)
        PREFETCH(vocab->bytes + vocab->pieces[place - 1].start);
}

#endif
