/* trie.h - a fixed set of byte strings, walked byte by byte.
 *
 * For finding all pieces that a text goes on with (unigram), the longest of them (added tokens, SentencePiece's user
 * symbols). Nodes lie in breadth-first order, so that a node's children are neighbours, sorted by their byte:
 *
 *     node {first child, number of children, byte that leads here, value or -1}
 */
#ifndef HOULE_TEXT_TRIE_H
#define HOULE_TEXT_TRIE_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct TrieNode {
    uint32_t first;
    int32_t value;
    uint16_t children;
    uint8_t byte;
} TrieNode;

typedef struct Trie {
    TrieNode *nodes; /* NULL = empty set */
    size_t count;
    uint32_t roots[256]; /* the children of the root by byte, 0 = none */
} Trie;

typedef struct TrieKey {
    const char *bytes;
    uint32_t count;
    int32_t value; /* >= 0 */
} TrieKey;

/* Builds the trie; `keys` are put into another order. Of equal keys the last one's value counts; empty keys do not. */
Status trie_build(Trie *trie, TrieKey *keys, size_t count, Error *err);
void trie_free(Trie *trie);

/* The node after `byte`; 0 when no key goes on like this. Begin with trie_first. */
uint32_t trie_next(const Trie *trie, uint32_t node, uint8_t byte);
static inline uint32_t trie_first(const Trie *trie, uint8_t byte) {
    return trie->roots[byte];
}
/* The value of the key that ends at this node, -1 when none does. */
static inline int32_t trie_value(const Trie *trie, uint32_t node) {
    return trie->nodes[node].value;
}

/* The longest key that `bytes` begins with: its value and length; -1 when there is none. */
int32_t trie_longest(const Trie *trie, const char *bytes, size_t count, size_t *length);

#endif
