/* unigram.h - the unigram model: of all ways to write a text with the pieces, the one with the highest sum of scores.
 *
 * One pass from left to right: best[i] is the best way to write the first i bytes; from each character on, all pieces
 * that the text goes on with are tried. The two libraries that use this model differ in details that decide ties, hence
 * the flavours. */
#ifndef HOULE_TEXT_UNIGRAM_H
#define HOULE_TEXT_UNIGRAM_H

#include "text/trie.h"
#include "text/vocab.h"

typedef enum UnigramFlavor {
    UNIGRAM_TOKENIZERS,    /* sums in double; a run of unknown characters may be a piece or bytes as a whole */
    UNIGRAM_SENTENCEPIECE, /* sums in float; symbols of the user always win */
    UNIGRAM_GGUF,          /* sums in double; symbols of the user have score 0 */
} UnigramFlavor;

typedef struct Unigram {
    const Vocab *vocab;
    UnigramFlavor flavor;
    double *scores; /* by id */
    Trie trie;
    double unknown_score;
    int32_t unknown; /* -1 = none */
    bool byte_fallback;
    int32_t byte_ids[256];
} Unigram;

/* Builds the trie from vocab->flags and scores (which must be there, one for each id). */
Status unigram_prepare(Unigram *unigram, const char *name, Error *err);
void unigram_free(Unigram *unigram);

typedef struct UnigramScratch {
    struct UnigramStep *steps;
    size_t capacity;
} UnigramScratch;
void unigram_scratch_free(UnigramScratch *scratch);

/* Appends the ids of `count` bytes of valid UTF-8. */
Status unigram_encode(const Unigram *unigram, UnigramScratch *scratch, const char *text, size_t count, TokenIds *ids,
                      Error *err);

#endif
