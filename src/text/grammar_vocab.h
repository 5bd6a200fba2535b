/* grammar_vocab.h - the vocabulary as a tree over bytes, laid out so that a walk reads memory from front to back.
 *
 * Nodes lie in the order of a depth-first walk; a node's tokens, and those below it, are a run of `tokens`:
 *
 *     nodes   (root) a ab abc b ...       end: the node after all that are below
 *     tokens  |  a  | ab | ab' | abc | b  first_token[node]..first_token[node + 1] end at the node
 *
 * The bytes of a special token are FF '[' id ']': FF occurs in no UTF-8 text, so that only a grammar that means the
 * token can reach it. */
#ifndef HOULE_TEXT_GRAMMAR_VOCAB_H
#define HOULE_TEXT_GRAMMAR_VOCAB_H

#include "text/grammar.h"

enum { SPECIAL_BYTE = 0xFF, SPECIAL_BYTES = 16 };

typedef struct VocabNode {
    uint32_t end;
    uint32_t first_token;
    uint16_t depth; /* bytes from the root */
    uint8_t byte;
} VocabNode;

typedef struct VocabToken {
    uint32_t start, count; /* in `bytes` */
} VocabToken;

struct GrammarVocab {
    VocabNode *nodes; /* [node_count + 1] */
    size_t node_count;
    int32_t *tokens;      /* ids in the order of their bytes */
    VocabToken *spelling; /* by id; count 0 = never allowed */
    char *bytes;
    size_t count; /* of ids */
    int32_t *ends;
    size_t end_count;
    int32_t *specials; /* ids of special tokens */
    VocabToken *names; /* of special tokens, in `bytes` */
    size_t special_count;
    uint32_t longest;
};

/* The special token whose name `text` begins with (the longest), -1 when there is none. */
int32_t vocab_special_at(const GrammarVocab *vocab, const char *text, size_t count, size_t *name_bytes);
/* Its spelling in the tree; returns the bytes used. */
size_t special_spelling(int32_t id, char bytes[SPECIAL_BYTES]);

#endif
