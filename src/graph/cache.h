/* cache.h - where the states of sequences live: pages of 64 entries, and memories of recurrent layers.
 *
 * States that advance alike (same stride and window) form a group, and each sequence has one page table per group. A
 * page holds 64 entries of all states of its group, each head's one after the other:
 *
 *     a group:      [page][state][head][64 entries][width]
 *     page table:   entry e of the sequence is in page table[e / 64], place e % 64
 *
 * So tokens that are kept lie together, whatever the number of layers: of the large pages that memory is taken in, as
 * many are touched as the tokens need. (With a slab for each state, the first token of a model of 36 layers touched 144 MB.)
 *
 * Memories (of recurrent layers) lie apart, one after the other for each sequence; so do the last tokens' numbers that
 * convolutions look back at, as a ring: entry e is in place e % ring.
 *
 * The cache knows nothing of layers. Memory is reserved at once and touched as pages are first used, so that the
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
/* A step failed half-way. Entries of rows are written again by the next one, but a memory has changed for good: a
 * sequence that has any forgets everything. */
void sequence_abandon(Sequence *sequence);

/* ---- sharing ----------------------------------------------------------------------------------------------------------
 *
 * A page whose 64 entries are all written never changes again, so sequences (and a store of prefixes) may share it: each
 * holds a reference. Groups are numbered from 0; only groups of stride 1 have a page for every 64 tokens. */
int cache_groups(const Cache *cache);
int cache_group_stride(const Cache *cache, int group);
int cache_group_window(const Cache *cache, int group); /* 0: everything is kept */
int cache_free_pages(const Cache *cache, int group);
int cache_pages(const Cache *cache, int group);
size_t cache_page_bytes(const Cache *cache, int group); /* of all its states together */
/* The page that holds entries 64 index and on: -1 when it was given back. The reference is the caller's. */
int32_t sequence_share_page(const Sequence *sequence, int group, int index);
/* An empty page (not zeroed), or -1. */
int32_t cache_take_page(Cache *cache, int group);
void cache_hold_page(Cache *cache, int group, int32_t page); /* one reference more */
void cache_drop_page(Cache *cache, int group, int32_t page);
int cache_page_references(const Cache *cache, int group, int32_t page);
/* All bytes of a page, states one after the other: cache_page_bytes of them. */
void cache_read_page(const Cache *cache, int group, int32_t page, uint8_t *bytes);
void cache_write_page(Cache *cache, int group, int32_t page, const uint8_t *bytes);
/* Makes an empty sequence one that has `tokens` tokens: its page `index` becomes this one (the reference is given
 * away). After all pages of all groups, and the memories, sequence_resume sets the count. Pages that no window needs may
 * be left out. */
void sequence_adopt_page(Sequence *sequence, int group, int index, int32_t page);
void sequence_resume(Sequence *sequence, int tokens);

/* Entries of a group, from one to another, of all its states: for groups whose stride is over 1. */
size_t cache_entries_bytes(const Cache *cache, int group, int entries);
void sequence_read_entries(const Sequence *sequence, int group, int from, int to, uint8_t *bytes);
/* Writes into pages that sequence_reserve or adoption provided; makes them if they are not there (false: none left). */
bool sequence_write_entries(Sequence *sequence, int group, int from, int to, const uint8_t *bytes);
/* All memories of a sequence together. */
size_t cache_memories_bytes(const Cache *cache);
void sequence_read_memories(const Sequence *sequence, uint8_t *bytes);
void sequence_write_memories(Sequence *sequence, const uint8_t *bytes);

/* ---- for the running of steps ------------------------------------------------------------------------------------- */

const Cache *sequence_cache(const Sequence *sequence);
CacheType cache_type_of(const Cache *cache, State state);
uint8_t *sequence_page(const Sequence *sequence, State state, int entry); /* the page that holds this entry */
float *sequence_memory(const Sequence *sequence, State state);
/* Where the numbers of token `entry` are kept (state_recent); NULL before the beginning. */
float *sequence_recent(const Sequence *sequence, State state, int entry);
/* How many tokens back from the last one are kept: older ones need not be written. */
int cache_recent_tokens(const Cache *cache, State state);
/* Bytes that each sequence takes for memories and last tokens. */
size_t cache_sequence_bytes(const Graph *graph);
size_t cache_head_bytes(const Cache *cache, State state);  /* from one head to the next inside a page */
size_t cache_stride_bytes(const Cache *cache, State state); /* from one entry to the next */

#endif
