/* wordpiece.h - models without merging: a word is written with the longest pieces from its left (WordPiece), looked up
 * whole (WordLevel), or a text is eaten from the left by the longest piece (greedy, RWKV). */
#ifndef HOULE_TEXT_WORDPIECE_H
#define HOULE_TEXT_WORDPIECE_H

#include "text/trie.h"
#include "text/vocab.h"

typedef enum WordPieceKind { WORD_PIECES, WORD_WHOLE, WORD_GREEDY } WordPieceKind;

typedef struct WordPiece {
    const Vocab *vocab;
    WordPieceKind kind;
    int32_t unknown;      /* -1 = none: then a word that cannot be written is an error */
    char *first, *inside; /* spelled before the word; before pieces that do not begin it ("##"); NULL = nothing */
    size_t first_bytes, inside_bytes;
    size_t max_characters; /* a longer word is unknown */
    Trie trie;             /* WORD_GREEDY */
} WordPiece;

/* Builds what the kind needs. */
Status wordpiece_prepare(WordPiece *model, const char *name, Error *err);
void wordpiece_free(WordPiece *model);

/* Appends the ids of one word; `spelled` is scratch memory. */
Status wordpiece_encode(const WordPiece *model, Text *spelled, const char *word, size_t count, TokenIds *ids,
                        Error *err);

#endif
