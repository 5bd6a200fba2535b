/* expert_cache.h - pieces of a model's files kept in memory while they are of use, within a fixed number of bytes.
 *
 * A piece is what is read and given up as one: the matrix of one expert, with its scales. Slots of a few sizes are
 * allocated once; a piece takes one of its size. A few threads of the cache read pieces that were asked for ahead, past
 * the page cache; who needs a piece that nobody has begun to read reads it itself.
 *
 *     use ───► queue ───► readers ──┐            hold: waits, or reads; the piece stays
 *     ahead ──►                     ├─► slots ─► drop: it may be given up again
 *     guess ─► queue of guesses ────┘            done: it is not needed any more in this step
 *
 * Each piece, in memory or not, carries an estimate of how likely the next token needs it: an average over the tokens
 * of the past in which the latest count most. Where room is needed, the least likely piece goes; not one that is
 * held, and only if nothing else is left one that was asked for and has not been used yet. Long prompts, which need
 * everything once, therefore leave most of what is there as it is.
 *
 * Results cannot depend on any of this: a piece has the same bytes whenever it is read. Thread-safe; nothing is
 * allocated after the opening. */
#ifndef HOULE_GRAPH_EXPERT_CACHE_H
#define HOULE_GRAPH_EXPERT_CACHE_H

#include "base/direct_file.h"

#include <stdbool.h>

typedef struct ExpertCache ExpertCache;

enum { PIECE_RANGES = 2 };

/* Up to two ranges of files, which must stay open; a range of 0 bytes is none. `least`: so many pieces of this size are
 * used by a token in one layer; a cache that has fewer slots would be of no use. */
typedef struct CachePiece {
    struct { DirectFile *file; uint64_t offset; size_t bytes; } range[PIECE_RANGES];
    int least;
} CachePiece;

/* Bytes of the smallest cache for these pieces, and of one that holds them all: slots and their administration. */
Status expert_cache_bounds(const CachePiece *pieces, int n_piece, size_t *least, size_t *most, Error *err);
/* A cache of at most `bytes` bytes, which must be `least` or more. The pieces are copied. */
Status expert_cache_open(const CachePiece *pieces, int n_piece, size_t bytes, ExpertCache **cache, Error *err);
void expert_cache_close(ExpertCache *cache); /* NULL is fine; nothing may be held */
/* Bytes that it takes. */
size_t expert_cache_bytes(const ExpertCache *cache);

/* A step of so many tokens begins. */
void expert_cache_step(ExpertCache *cache, int tokens);
/* A layer of it begins, and names what it needs with the next three. */
void expert_cache_layer(ExpertCache *cache);
/* This step needs a piece, for a share (0 to 1) of its tokens: counted, and read soon if it is not there. */
void expert_cache_use(ExpertCache *cache, int piece, float share);
/* The step will need it later: read when nothing more urgent is to be read. Counted when it is used. */
void expert_cache_ahead(ExpertCache *cache, int piece);
/* It may be needed: read when there is nothing else to do. */
void expert_cache_guess(ExpertCache *cache, int piece);

/* Waits until a piece is there, or reads it; its ranges lie at bytes[0], bytes[1] until it is dropped, aligned as in the
 * file, with zeros instead when reading failed (expert_cache_check). A thread may hold any number of pieces but must hold
 * none while it waits for another where there are few slots. */
void expert_cache_hold(ExpertCache *cache, int piece, const uint8_t *bytes[PIECE_RANGES]);
void expert_cache_drop(ExpertCache *cache, int piece);
/* Nobody begins to use it any more in this step. */
void expert_cache_done(ExpertCache *cache, int piece);

/* The first failure to read, from when it happened on. */
Status expert_cache_check(ExpertCache *cache, Error *err);

typedef struct CacheCounts {
    uint64_t tokens;        /* of all steps */
    uint64_t uses;          /* pieces that steps needed */
    uint64_t misses;        /* of them those that had to be read for it */
    uint64_t guesses;       /* pieces read because they might be needed */
    uint64_t bytes_read;    /* of all reads */
    uint64_t wait_ns;       /* time for which threads waited for pieces, all threads together */
} CacheCounts;
CacheCounts expert_cache_counts(ExpertCache *cache);
/* The share of uses that found their piece in memory: 1 without any. */
double cache_hit_rate(const CacheCounts *counts);
/* Bytes that a token had read, on average. */
uint64_t cache_read_per_token(const CacheCounts *counts);

#endif
