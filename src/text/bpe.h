/* bpe.h - byte pair encoding: a word starts as characters or bytes, and neighbours are merged, the best pair first,
 * until no pair can be.
 *
 * What "best" means comes in two forms, and one algorithm serves both:
 *   - a list of merges: the pair (left id, right id) with the lowest place in the list (tokenizer.json, GGUF "gpt2");
 *   - a rank for each piece: two neighbours merge when their bytes together are a piece, the lowest rank first
 *     (tiktoken: the id; SentencePiece: the order of scores, from high to low).
 * Of equal pairs the leftmost goes first. Short words are searched for the best pair again and again; long ones (ten
 * thousand equal letters, a text without blanks) use a heap, so that time grows as n log n. */
#ifndef HOULE_TEXT_BPE_H
#define HOULE_TEXT_BPE_H

#include "text/trie.h"
#include "text/vocab.h"

enum { BPE_NEVER = 0xFFFFFFFF }; /* rank of what is never made by merging */

typedef struct BpeSlot {
    uint32_t left; /* id + 1; 0 = free, so that fresh memory is an empty table */
    int32_t right;
    uint32_t rank;
    int32_t id;
} BpeSlot;

typedef struct Bpe {
    const Vocab *vocab;
    BpeSlot *merges; /* a hash table; NULL = pieces have ranks */
    size_t slots;
    uint32_t *ranks; /* by id */

    bool bytes;            /* a word starts as bytes, not as characters */
    bool whole_first;      /* a word that is a piece is taken as it is */
    bool byte_fallback;    /* a character that is no piece becomes its bytes' tokens, if there are all of them */
    bool fuse_unknown;     /* neighbours that are unknown become one */
    int32_t unknown;       /* -1: what is unknown vanishes */
    int32_t byte_ids[256]; /* by byte: the piece of that byte alone, or <0x..>; -1 = none */
    char *prefix, *suffix; /* of characters inside a word; of its last one; NULL = none */
    size_t prefix_bytes, suffix_bytes;
    Trie symbols;    /* SentencePiece's user symbols: never split, never merged */
    bool has_unused; /* some pieces may be merged through but not be the result (SentencePiece) */
    /* SentencePiece's vocabularies work on whole texts, but hardly a piece goes on over a blank (U+2581): the text may
     * be cut in front of each run of blanks, unless the byte before is one of the joints. */
    bool cut_at_blank;
    bool joints[256];
} Bpe;

/* Makes the table of merges from `count` triples in order of rank; entries with left < 0 are passed over. */
Status bpe_set_merges(Bpe *bpe, const int32_t (*triples)[3], size_t count, const char *name, Error *err);
/* Fills byte_ids and finds out what pieces allow (cut_at_blank). Call when the vocabulary's index is there. */
void bpe_prepare(Bpe *bpe);
void bpe_free(Bpe *bpe);

/* What one encoding works with; zeroed to begin with. */
typedef struct BpeCacheEntry BpeCacheEntry;
typedef struct BpeScratch {
    struct BpeSymbol *symbols;
    uint64_t *heap;
    uint32_t *splits; /* by id of an unused piece: bytes of the left of the two it was last made of */
    size_t symbols_capacity, heap_capacity;
    Text spelled;
    BpeCacheEntry *cache; /* words of this text that were seen before; NULL = not worth it */
} BpeScratch;
void bpe_scratch_free(BpeScratch *scratch);
/* Words come back; in a text longer than a few lines it pays to remember them. Without memory nothing is. */
void bpe_scratch_remember(BpeScratch *scratch);

/* Appends the ids of one word. */
Status bpe_encode(const Bpe *bpe, BpeScratch *scratch, const char *word, size_t count, TokenIds *ids, Error *err);

#endif
