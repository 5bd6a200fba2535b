/* spill.h - pieces of caches on disk: content-addressed, checksummed, within a budget, safe against being killed.
 *
 * A piece is a file named by its 16-byte key. It is written under another name and renamed when whole, by a thread of
 * its own; it is read back only if its checksum is right, and thrown away if not. When the folder exceeds its budget,
 * the pieces that were used longest ago go. Thread-safe. Any number of processes may share a folder. */
#ifndef HOULE_ENGINE_SPILL_H
#define HOULE_ENGINE_SPILL_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

enum { SPILL_KEY_BYTES = 16 };

typedef struct Spill Spill;

/* The folder is made when it is not there. */
Status spill_open(const char *folder, uint64_t budget_bytes, Spill **spill, Error *err);
/* Finishes what waits to be written. */
void spill_close(Spill *spill);

bool spill_has(Spill *spill, const uint8_t key[SPILL_KEY_BYTES]);
/* Takes `bytes` (a block of mem.h), also on failure, and writes them some time later. A piece that is there already is
 * not written again. When the disk is too slow and too much waits, the piece is dropped: a cache may forget. */
void spill_put(Spill *spill, const uint8_t key[SPILL_KEY_BYTES], uint8_t *bytes, size_t count);
/* Reads a piece into a fresh block (mem_free); ERR_NOT_FOUND when it is not there or not whole. */
Status spill_get(Spill *spill, const uint8_t key[SPILL_KEY_BYTES], uint8_t **bytes, size_t *count, Error *err);
/* Returns when everything put so far is on disk. */
void spill_flush(Spill *spill);

typedef struct SpillStats { uint64_t pieces, bytes, written, read, refused, dropped; } SpillStats;
SpillStats spill_stats(Spill *spill);

#endif
