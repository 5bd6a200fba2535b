/* keeper.h - the thread behind a download: it makes what came durable, and computes the checksum as the file grows.
 *
 *     network ──chunks──▶ Partial ◀──reads up to the frontier── keeper ──▶ SHA-256, syncs
 *
 * The checksum of a file needs its bytes in order, chunks come in any order: the keeper follows the first gap, reading
 * from the page cache, so that the answer is there moments after the last byte. */
#ifndef HOULE_STORE_KEEPER_H
#define HOULE_STORE_KEEPER_H

#include "base/digest.h"
#include "store/partial.h"

typedef struct Keeper Keeper;

typedef enum KeptState {
    KEPT_NOTHING,  /* not watched */
    KEPT_FILLING,  /* bytes are missing, or not yet looked at */
    KEPT_REOPENED, /* chunks turned out bad, or all were to be forgotten: see which are missing, then keeper_go_on */
    KEPT_RIGHT,    /* complete, and what it should be (or nothing says what it should be) */
    KEPT_WRONG,    /* complete, and not what it should be; every chunk has been forgotten */
} KeptState;

/* For items 0 .. n_item - 1. `wake` is called from the keeper's thread whenever a state has changed. */
Status keeper_open(size_t n_item, void (*wake)(void *user), void *user, Keeper **keeper, Error *err);
/* Syncs what is still being filled, stops the thread and forgets everything. The Partials stay the caller's. */
void keeper_close(Keeper *keeper);

/* Follows a Partial until its state is RIGHT or WRONG. sha256 and git_sha1 are the expected digits, or NULL. */
void keeper_watch(Keeper *keeper, size_t item, Partial *partial, uint64_t bytes, const char *sha256,
                  const char *git_sha1);
/* Tells that chunks were marked. */
void keeper_nudge(Keeper *keeper);
/* The content has changed on the other side: forget every chunk. The state becomes REOPENED when that is done. */
void keeper_forget(Keeper *keeper, size_t item);
void keeper_go_on(Keeper *keeper, size_t item);

/* The state and, when RIGHT or WRONG, the SHA-256 that was found. */
KeptState keeper_state(Keeper *keeper, size_t item, char sha256[DIGEST_HEX]);
/* Bytes hashed so far, of all items watched. */
uint64_t keeper_hashed_bytes(Keeper *keeper);
/* The first failure of the keeper's own work: reading, syncing. */
Status keeper_check(Keeper *keeper, Error *err);

#endif
