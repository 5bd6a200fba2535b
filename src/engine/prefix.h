/* prefix.h - what was computed for the beginning of a text is kept for other texts that begin alike.
 *
 * Texts are cut into runs of 64 tokens; each run that some sequence has completed is a node of a tree, found by a hash
 * over the tokens from the start. A node shares the pages of the sequences' cache; layers with a memory have theirs
 * copied at some nodes (a text can be taken up only there), layers with one entry for several tokens have the entries
 * copied. Nodes are given up, longest unused first, when the cache needs their pages; all of them are written to disk
 * (spill.h), so that they outlive the model and the process. Used by one thread: the scheduler's. */
#ifndef HOULE_ENGINE_PREFIX_H
#define HOULE_ENGINE_PREFIX_H

#include "engine/spill.h"
#include "graph/cache.h"

enum { PREFIX_RUN = CACHE_BLOCK };

typedef struct Prefix Prefix;

/* `identity` says whose numbers these are: model files, precision, level, cache type; pieces on disk of another identity
 * are never found. memory_budget: bytes for copies (memories, entries) beside the shared pages. spill may be NULL. */
Status prefix_open(Cache *cache, const void *identity, size_t identity_bytes, size_t memory_budget, Spill *spill,
                   Prefix **prefix, Error *err);
void prefix_close(Prefix *prefix);

/* Takes up the longest known beginning of the tokens in an empty sequence, at most n - 1 of them; returns how many. */
int prefix_resume(Prefix *prefix, const int32_t *tokens, int n, Sequence *sequence);
/* How many tokens prefix_resume would find in memory (for choosing what to run first). */
int prefix_known(Prefix *prefix, const int32_t *tokens, int n);
/* The place of the first token at which the text differs from all that are known in memory; n: it is the beginning of one.
 * Of known texts only complete runs count. */
int prefix_difference(Prefix *prefix, const int32_t *tokens, int n);

/* Keeps what a sequence has of the tokens, runs that are complete. With `with_memory`, layers with a memory are copied:
 * only right when the sequence is at a multiple of 64 tokens now. */
void prefix_keep(Prefix *prefix, const int32_t *tokens, int n, const Sequence *sequence, bool with_memory);
/* True when sequences can be taken up only where a memory was copied. */
bool prefix_needs_memory(const Prefix *prefix);

/* Gives up nodes until `pages` pages of every group are free, or none is left to give up. */
bool prefix_make_room(Prefix *prefix, int pages);

typedef struct PrefixStats {
    uint64_t lookups, tokens_asked, tokens_found, nodes, evicted, from_disk;
    size_t copied_bytes;
} PrefixStats;
PrefixStats prefix_stats(const Prefix *prefix);

#endif
