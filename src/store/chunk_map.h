/* chunk_map.h - which chunks of a file being downloaded are here, kept so that no crash can make it lie.
 *
 * The map is a log: a header, then records of one size, appended and never changed. A torn last record fails its check
 * and is cut off. This file is the map in memory and its bytes; partial.h keeps it on disk beside the data.
 *
 *     header | SESSION boot | CHUNK 4 hash | CHUNK 0 hash | DURABLE 3 | CHUNK 1 hash | SESSION boot' | ...
 *
 * After a killed process the page cache still has what was written, so every CHUNK record counts. After a power cut
 * only those do that a DURABLE record covers: it is written after the data was synced. The others are told apart by
 * the machine's boot, and their hash decides whether the bytes reached the disk. */
#ifndef HOULE_STORE_CHUNK_MAP_H
#define HOULE_STORE_CHUNK_MAP_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

enum {
    CHUNK_HASH_BYTES = 32, /* SHA-256 */
    CHUNK_HEADER_BYTES = 64,
    CHUNK_RECORD_BYTES = 56,
    CHUNK_BOOT_BYTES = 16,
};

typedef enum ChunkState {
    CHUNK_MISSING,
    CHUNK_DOUBTFUL, /* recorded, but nothing says that the bytes survived the machine's end */
    CHUNK_DONE,
} ChunkState;

typedef struct ChunkMap {
    uint64_t file_bytes;
    uint32_t chunk_bytes; /* of every chunk but the last */
    size_t n_chunk, n_done;
    uint64_t done_bytes;
    uint64_t n_record; /* in the log */
    uint8_t *states;   /* ChunkState */
    uint8_t *hashes;   /* [n_chunk, CHUNK_HASH_BYTES], of those not missing */
} ChunkMap;

/* An empty map; chunk_bytes > 0. */
Status chunk_map_init(ChunkMap *map, uint64_t file_bytes, uint32_t chunk_bytes, Error *err);
void chunk_map_free(ChunkMap *map);
/* All chunks become missing. */
void chunk_map_clear(ChunkMap *map);

uint64_t chunk_start(const ChunkMap *map, size_t chunk);
uint64_t chunk_length(const ChunkMap *map, size_t chunk);
const uint8_t *chunk_hash(const ChunkMap *map, size_t chunk);
void chunk_map_set(ChunkMap *map, size_t chunk, const uint8_t hash[CHUNK_HASH_BYTES]);
void chunk_map_unset(ChunkMap *map, size_t chunk);
/* Bytes from the start up to the first chunk that is not done. */
uint64_t chunk_map_frontier(const ChunkMap *map);

/* The log's pieces. `identity` says what content the map is about: a map of other content must not be believed. */
void chunk_write_header(const ChunkMap *map, const uint8_t identity[CHUNK_HASH_BYTES], uint8_t to[CHUNK_HEADER_BYTES]);
void chunk_write_done(size_t chunk, const uint8_t hash[CHUNK_HASH_BYTES], uint8_t to[CHUNK_RECORD_BYTES]);
void chunk_write_undone(size_t chunk, uint8_t to[CHUNK_RECORD_BYTES]);
void chunk_write_durable(uint64_t records, uint8_t to[CHUNK_RECORD_BYTES]);
void chunk_write_session(const uint8_t boot[CHUNK_BOOT_BYTES], uint8_t to[CHUNK_RECORD_BYTES]);

/* Fills an empty map from a log. *good_bytes is the length of its sound part, after which new records go; 0 when the
 * header is not that of this content (the map stays empty). `boot` is the machine's present boot, all zeros when it is
 * not known. Never fails: a bad log is a short one. */
void chunk_map_replay(ChunkMap *map, const uint8_t *log, size_t bytes, const uint8_t identity[CHUNK_HASH_BYTES],
                      const uint8_t boot[CHUNK_BOOT_BYTES], size_t *good_bytes);

#endif
