/* trie.c - see trie.h.
 *
 * Built without recursion, level by level: a queue holds for each node the range of keys below it; a range is sorted by
 * its next byte, and each group becomes a child. Keys with the same beginning stay in their order, so the last one of
 * equals can be told. */
#include "text/trie.h"

#include "base/mem.h"

#include <string.h>

typedef struct Range {
    uint32_t from, to; /* keys below the node */
    uint32_t depth;    /* bytes they have in common */
} Range;

typedef struct Builder {
    TrieNode *nodes;
    Range *ranges; /* of the same index as the nodes */
    size_t count, nodes_capacity, ranges_capacity;
    TrieKey *keys, *sorted; /* `sorted` is room for as many keys */
} Builder;

static bool add_node(Builder *b, uint8_t byte, Range range) {
    if (!mem_grow((void **)&b->nodes, &b->nodes_capacity, b->count + 1, sizeof *b->nodes, MEM_TEXT) ||
        !mem_grow((void **)&b->ranges, &b->ranges_capacity, b->count + 1, sizeof *b->ranges, MEM_TEXT))
        return false;
    b->nodes[b->count] = (TrieNode){.byte = byte, .value = -1};
    b->ranges[b->count] = range;
    b->count++;
    return true;
}

static uint8_t byte_at(const TrieKey *key, uint32_t depth) {
    return (uint8_t)key->bytes[depth];
}

/* Sorts keys[from, to) by the byte at `depth`, keeping the order of equals. */
static void sort_range(Builder *b, Range r) {
    TrieKey *keys = b->keys;
    if (r.to - r.from <= 24) {
        for (uint32_t i = r.from + 1; i < r.to; i++) {
            const TrieKey key = keys[i];
            const uint8_t byte = byte_at(&key, r.depth);
            uint32_t at = i;
            for (; at > r.from && byte_at(&keys[at - 1], r.depth) > byte; at--)
                keys[at] = keys[at - 1];
            keys[at] = key;
        }
        return;
    }
    uint32_t starts[257] = {0};
    for (uint32_t i = r.from; i < r.to; i++)
        starts[byte_at(&keys[i], r.depth) + 1]++;
    for (int i = 0; i < 256; i++)
        starts[i + 1] += starts[i];
    for (uint32_t i = r.from; i < r.to; i++)
        b->sorted[starts[byte_at(&keys[i], r.depth)]++] = keys[i];
    memcpy(keys + r.from, b->sorted, (r.to - r.from) * sizeof *keys);
}

/* Puts the keys that end at this node in front and takes the last one's value. Returns where the others begin. */
static uint32_t take_ended(Builder *b, size_t node, Range r) {
    uint32_t others = 0, ended = r.from;
    for (uint32_t i = r.from; i < r.to; i++) {
        if (b->keys[i].count != r.depth) {
            b->sorted[others++] = b->keys[i];
        } else {
            b->nodes[node].value = b->keys[i].value;
            b->keys[ended++] = b->keys[i];
        }
    }
    if (ended > r.from)
        memcpy(b->keys + ended, b->sorted, others * sizeof *b->keys);
    return ended;
}

/* Gives the node its value and its children. */
static bool expand(Builder *b, size_t node) {
    Range r = b->ranges[node];
    r.from = take_ended(b, node, r);
    if (r.from == r.to)
        return true;
    sort_range(b, r);
    b->nodes[node].first = (uint32_t)b->count;
    for (uint32_t i = r.from; i < r.to;) {
        const uint8_t byte = byte_at(&b->keys[i], r.depth);
        uint32_t end = i + 1;
        while (end < r.to && byte_at(&b->keys[end], r.depth) == byte)
            end++;
        if (!add_node(b, byte, (Range){.from = i, .to = end, .depth = r.depth + 1}))
            return false;
        b->nodes[node].children++;
        i = end;
    }
    return true;
}

Status trie_build(Trie *trie, TrieKey *keys, size_t count, Error *err) {
    *trie = (Trie){0};
    size_t filled = 0;
    for (size_t i = 0; i < count; i++)
        if (keys[i].count > 0)
            keys[filled++] = keys[i];
    if (filled == 0)
        return OK;
    FAIL_IF(filled > UINT32_MAX / 2, ERR_LIMIT, "%zu strings are too many for a table of prefixes", filled);
    Builder b = {.keys = keys, .sorted = mem_array(filled, sizeof *keys, MEM_TEXT)};
    bool ok = b.sorted != NULL && add_node(&b, 0, (Range){.from = 0, .to = (uint32_t)filled, .depth = 0});
    for (size_t node = 0; ok && node < b.count; node++)
        ok = b.count < UINT32_MAX / 2 && expand(&b, node);
    mem_free(b.sorted);
    mem_free(b.ranges);
    if (!ok) {
        mem_free(b.nodes);
        return error_set(err, ERR_MEMORY, "no memory for a table of prefixes");
    }
    trie->nodes = b.nodes;
    trie->count = b.count;
    for (uint32_t i = 0; i < b.nodes[0].children; i++)
        trie->roots[b.nodes[b.nodes[0].first + i].byte] = b.nodes[0].first + i;
    return OK;
}

void trie_free(Trie *trie) {
    mem_free(trie->nodes);
    *trie = (Trie){0};
}

uint32_t trie_next(const Trie *trie, uint32_t node, uint8_t byte) {
    const TrieNode *parent = &trie->nodes[node];
    uint32_t low = parent->first, high = parent->first + parent->children;
    while (high - low > 8) { /* few nodes have many children; the rest of the search is a scan */
        const uint32_t middle = low + (high - low) / 2;
        if (trie->nodes[middle].byte <= byte)
            low = middle;
        else
            high = middle;
    }
    for (; low < high; low++)
        if (trie->nodes[low].byte == byte)
            return low;
    return 0;
}

int32_t trie_longest(const Trie *trie, const char *bytes, size_t count, size_t *length) {
    int32_t best = -1;
    if (count == 0 || trie->nodes == NULL)
        return best;
    uint32_t node = trie_first(trie, (uint8_t)bytes[0]);
    for (size_t at = 1; node != 0; at++) {
        if (trie_value(trie, node) >= 0) {
            best = trie_value(trie, node);
            *length = at;
        }
        node = at < count ? trie_next(trie, node, (uint8_t)bytes[at]) : 0;
    }
    return best;
}
