/* chunk_map.c - see chunk_map.h.
 *
 * header:  "HOULEMAP", version u32, chunk_bytes u32, file_bytes u64, identity [32], check u64
 * record:  kind u32, 0 u32, number u64, content [32], check u64            (all numbers little-endian) */
#include "store/chunk_map.h"

#include "base/map.h"
#include "base/mem.h"

#include <assert.h>
#include <string.h>

enum { KIND_DONE = 1, KIND_UNDONE = 2, KIND_DURABLE = 3, KIND_SESSION = 4, MAP_VERSION = 1 };
enum { AT_NUMBER = 8, AT_CONTENT = 16, AT_CHECK = 48, AT_HEADER_CHECK = 56 };
_Static_assert(AT_CHECK + 8 == CHUNK_RECORD_BYTES && AT_HEADER_CHECK + 8 == CHUNK_HEADER_BYTES, "layout");

static const char magic[8] = {'H', 'O', 'U', 'L', 'E', 'M', 'A', 'P'};

static void put_number(uint8_t *to, uint64_t number, int bytes) {
    for (int i = 0; i < bytes; i++)
        to[i] = (uint8_t)(number >> 8 * i);
}

static uint64_t get_number(const uint8_t *from, int bytes) {
    uint64_t number = 0;
    for (int i = 0; i < bytes; i++)
        number |= (uint64_t)from[i] << 8 * i;
    return number;
}

Status chunk_map_init(ChunkMap *map, uint64_t file_bytes, uint32_t chunk_bytes, Error *err) {
    assert(chunk_bytes > 0);
    *map = (ChunkMap){.file_bytes = file_bytes, .chunk_bytes = chunk_bytes};
    const uint64_t chunks = file_bytes / chunk_bytes + (file_bytes % chunk_bytes != 0);
    FAIL_IF(chunks > UINT32_MAX, ERR_LIMIT, "a file of %llu bytes is too large to download",
            (unsigned long long)file_bytes);
    map->n_chunk = (size_t)chunks;
    map->states = mem_array(map->n_chunk, 1, MEM_NETWORK);
    map->hashes = mem_array(map->n_chunk, CHUNK_HASH_BYTES, MEM_NETWORK);
    if (map->states == NULL || map->hashes == NULL) {
        chunk_map_free(map);
        return error_set(err, ERR_MEMORY, "no memory for a map of %zu chunks", (size_t)chunks);
    }
    return OK;
}

void chunk_map_free(ChunkMap *map) {
    mem_free(map->states);
    mem_free(map->hashes);
    *map = (ChunkMap){0};
}

void chunk_map_clear(ChunkMap *map) {
    if (map->n_chunk > 0)
        memset(map->states, CHUNK_MISSING, map->n_chunk);
    map->n_done = 0;
    map->done_bytes = 0;
}

uint64_t chunk_start(const ChunkMap *map, size_t chunk) {
    return (uint64_t)chunk * map->chunk_bytes;
}

uint64_t chunk_length(const ChunkMap *map, size_t chunk) {
    return MIN(map->chunk_bytes, map->file_bytes - chunk_start(map, chunk));
}

const uint8_t *chunk_hash(const ChunkMap *map, size_t chunk) {
    return map->hashes + chunk * CHUNK_HASH_BYTES;
}

static void change_state(ChunkMap *map, size_t chunk, ChunkState state) {
    if (map->states[chunk] == CHUNK_DONE) {
        map->n_done--;
        map->done_bytes -= chunk_length(map, chunk);
    }
    if (state == CHUNK_DONE) {
        map->n_done++;
        map->done_bytes += chunk_length(map, chunk);
    }
    map->states[chunk] = (uint8_t)state;
}

void chunk_map_set(ChunkMap *map, size_t chunk, const uint8_t hash[CHUNK_HASH_BYTES]) {
    memcpy(map->hashes + chunk * CHUNK_HASH_BYTES, hash, CHUNK_HASH_BYTES);
    change_state(map, chunk, CHUNK_DONE);
}

void chunk_map_unset(ChunkMap *map, size_t chunk) {
    change_state(map, chunk, CHUNK_MISSING);
}

uint64_t chunk_map_frontier(const ChunkMap *map) {
    const uint8_t *missing = map->states;
    while (missing < map->states + map->n_chunk && *missing == CHUNK_DONE)
        missing++;
    return MIN(chunk_start(map, (size_t)(missing - map->states)), map->file_bytes);
}

/* ---- the log ----------------------------------------------------------------------------------------------------- */

void chunk_write_header(const ChunkMap *map, const uint8_t identity[CHUNK_HASH_BYTES], uint8_t to[CHUNK_HEADER_BYTES]) {
    memcpy(to, magic, sizeof magic);
    put_number(to + 8, MAP_VERSION, 4);
    put_number(to + 12, map->chunk_bytes, 4);
    put_number(to + 16, map->file_bytes, 8);
    memcpy(to + 24, identity, CHUNK_HASH_BYTES);
    put_number(to + AT_HEADER_CHECK, hash_bytes(to, AT_HEADER_CHECK), 8);
}

static void write_record(int kind, uint64_t number, const uint8_t *content, size_t bytes,
                         uint8_t to[CHUNK_RECORD_BYTES]) {
    memset(to, 0, CHUNK_RECORD_BYTES);
    put_number(to, (uint64_t)kind, 4);
    put_number(to + AT_NUMBER, number, 8);
    if (bytes > 0)
        memcpy(to + AT_CONTENT, content, bytes);
    put_number(to + AT_CHECK, hash_bytes(to, AT_CHECK), 8);
}

void chunk_write_done(size_t chunk, const uint8_t hash[CHUNK_HASH_BYTES], uint8_t to[CHUNK_RECORD_BYTES]) {
    write_record(KIND_DONE, chunk, hash, CHUNK_HASH_BYTES, to);
}

void chunk_write_undone(size_t chunk, uint8_t to[CHUNK_RECORD_BYTES]) {
    write_record(KIND_UNDONE, chunk, NULL, 0, to);
}

void chunk_write_durable(uint64_t records, uint8_t to[CHUNK_RECORD_BYTES]) {
    write_record(KIND_DURABLE, records, NULL, 0, to);
}

void chunk_write_session(const uint8_t boot[CHUNK_BOOT_BYTES], uint8_t to[CHUNK_RECORD_BYTES]) {
    write_record(KIND_SESSION, 0, boot, CHUNK_BOOT_BYTES, to);
}

static bool header_fits(const ChunkMap *map, const uint8_t *log, size_t bytes, const uint8_t *identity) {
    uint8_t expected[CHUNK_HEADER_BYTES];
    chunk_write_header(map, identity, expected);
    return bytes >= CHUNK_HEADER_BYTES && memcmp(log, expected, CHUNK_HEADER_BYTES) == 0;
}

static bool sound_record(const ChunkMap *map, const uint8_t *record) {
    if (get_number(record + AT_CHECK, 8) != hash_bytes(record, AT_CHECK))
        return false;
    const uint64_t kind = get_number(record, 4), number = get_number(record + AT_NUMBER, 8);
    switch (kind) {
    case KIND_DONE:
    case KIND_UNDONE:
        return number < map->n_chunk;
    case KIND_DURABLE:
    case KIND_SESSION:
        return true;
    default:
        return false;
    }
}

void chunk_map_replay(ChunkMap *map, const uint8_t *log, size_t bytes, const uint8_t identity[CHUNK_HASH_BYTES],
                      const uint8_t boot[CHUNK_BOOT_BYTES], size_t *good_bytes) {
    *good_bytes = 0;
    if (!header_fits(map, log, bytes, identity))
        return;
    /* First how far the log is sound and how many of its records were made durable, then what they say. */
    const uint8_t *records = log + CHUNK_HEADER_BYTES;
    const size_t most = (bytes - CHUNK_HEADER_BYTES) / CHUNK_RECORD_BYTES;
    size_t n = 0;
    uint64_t durable = 0;
    while (n < most && sound_record(map, records + n * CHUNK_RECORD_BYTES)) {
        const uint8_t *r = records + n * CHUNK_RECORD_BYTES;
        if (get_number(r, 4) == KIND_DURABLE)
            durable = MAX(durable, MIN(get_number(r + AT_NUMBER, 8), n)); /* it cannot speak of later ones */
        n++;
    }
    static const uint8_t unknown[CHUNK_BOOT_BYTES] = {0};
    bool same_boot = false;
    for (size_t i = 0; i < n; i++) {
        const uint8_t *r = records + i * CHUNK_RECORD_BYTES;
        const size_t chunk = (size_t)get_number(r + AT_NUMBER, 8);
        switch (get_number(r, 4)) {
        case KIND_SESSION:
            same_boot =
                memcmp(r + AT_CONTENT, boot, CHUNK_BOOT_BYTES) == 0 && memcmp(boot, unknown, CHUNK_BOOT_BYTES) != 0;
            break;
        case KIND_DONE:
            memcpy(map->hashes + chunk * CHUNK_HASH_BYTES, r + AT_CONTENT, CHUNK_HASH_BYTES);
            change_state(map, chunk, i < durable || same_boot ? CHUNK_DONE : CHUNK_DOUBTFUL);
            break;
        case KIND_UNDONE:
            change_state(map, chunk, CHUNK_MISSING);
            break;
        default:
            break;
        }
    }
    map->n_record = n;
    *good_bytes = CHUNK_HEADER_BYTES + n * CHUNK_RECORD_BYTES;
}
