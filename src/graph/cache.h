/* cache.h - where the states of sequences live: pages of 64 entries, and memories of recurrent layers.
 *
 * States that advance alike (same stride and window) form a group, and each sequence has one page table per group. A
 * state's slab holds page p at p * page_bytes; within a page, each head has its 64 entries one after the other:
 *
 *     slab of a state:   [page][head][64 entries][width]
 *     page table:        entry e of the sequence is in page table[e / 64], place e % 64
 *
 * The cache knows nothing of layers. Slabs are reserved at once and touched as pages are first used, so that the
 * memory in use follows the tokens kept, and the bytes that cache_bytes() tells are the bytes that can be used. */
#ifndef HOULE_GRAPH_CACHE_H
#define HOULE_GRAPH_CACHE_H

#include "graph/graph_parts.h"
#include "kernel/kernel.h"

typedef struct Cache Cache;
typedef struct Sequence Sequence;

/* Bytes for `tokens` tokens in all, in up to `sequences` sequences. */
size_t cache_bytes(const Graph *graph, CacheType type, int64_t tokens, int sequences);
Status cache_open(const Graph *graph, CacheType type, int64_t tokens, int sequences, Cache **cache, Error *err);
void cache_close(Cache *cache);

/* A sequence, empty. ERR_MEMORY when all are taken. `declared`: how long it may become (some rotations depend on it). */
Status sequence_open(Cache *cache, int64_t declared, Sequence **sequence, Error *err);
void sequence_close(Sequence *sequence);
int sequence_tokens(const Sequence *sequence);
int64_t sequence_declared(const Sequence *sequence);
/* Makes room for n more tokens; ERR_LIMIT when the pages do not suffice (nothing is changed then). */
Status sequence_reserve(Sequence *sequence, int n, Error *err);
/* n more tokens are in the cache now: after a step. Pages that no window reaches any more are given back. */
void sequence_advance(Sequence *sequence, int n);
/* Forgets the tokens from `tokens` on. False when that is not possible (a recurrent layer has no state for that
 * point, or a window has already dropped what would be needed); the sequence is then unchanged. 0 always works. */
bool sequence_cut(Sequence *sequence, int tokens);

/* For the running of steps. */
const Cache *sequence_cache(const Sequence *sequence);
CacheType cache_type_of(const Cache *cache, State state);
uint8_t *sequence_page(const Sequence *sequence, State state, int entry); /* the page that holds this entry */
float *sequence_memory(const Sequence *sequence, State state);
size_t cache_head_bytes(const Cache *cache, State state);  /* from one head to the next inside a page */
size_t cache_stride_bytes(const Cache *cache, State state); /* from one entry to the next */

#endif
