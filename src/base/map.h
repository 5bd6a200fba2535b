/* map.h - from byte strings to numbers. Open addressing, keys are not copied: they must outlive the map.
 *
 * Keys come from files and requests of strangers, who must not be able to choose names that all fall into one place of
 * the table: the hash depends on a secret that is drawn anew in each process. */
#ifndef HOULE_BASE_MAP_H
#define HOULE_BASE_MAP_H

#include "base/mem.h"

typedef struct MapSlot {
    const char *key; /* NULL = free */
    uint32_t bytes;
    uint32_t hash;
    int64_t value;
} MapSlot;

typedef struct Map {
    MapSlot *slots;
    size_t capacity; /* a power of two, or 0 */
    size_t count;
} Map;

/* Room for `count` keys without growing; false without memory. */
bool map_reserve(Map *map, size_t count) MUST_CHECK;
/* Adds or replaces; false without memory. */
bool map_put(Map *map, const char *key, size_t bytes, int64_t value) MUST_CHECK;
/* NULL when the key is not there; valid until the next map_put. */
int64_t *map_find(const Map *map, const char *key, size_t bytes);
void map_free(Map *map);

/* For tables in memory: with the process's secret, so that nobody outside can make keys collide. */
uint64_t hash_secretly(const void *bytes, size_t count);
/* The same with a given key. */
uint64_t hash_keyed(const uint64_t key[2], const void *bytes, size_t count);
/* For checksums in files: FNV-1a, finished by a multiply-xor so that low bits are good; the same on every machine. */
uint64_t hash_bytes(const void *bytes, size_t count);

#endif
