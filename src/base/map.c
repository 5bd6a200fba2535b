/* map.c - see map.h. Filled to three quarters at the most; keys are never removed. */
#include "base/map.h"

#include <string.h>

uint64_t hash_bytes(const void *bytes, size_t count) {
    const unsigned char *p = bytes;
    uint64_t hash = 0xCBF29CE484222325u;
    for (size_t i = 0; i < count; i++)
        hash = (hash ^ p[i]) * 0x100000001B3u;
    hash ^= hash >> 32;
    hash *= 0x9E3779B97F4A7C15u;
    return hash ^ hash >> 29;
}

static MapSlot *slot_of(MapSlot *slots, size_t capacity, const char *key, uint32_t bytes, uint32_t hash) {
    for (size_t at = hash & (capacity - 1);; at = (at + 1) & (capacity - 1)) {
        MapSlot *slot = &slots[at];
        if (slot->key == NULL ||
            (slot->hash == hash && slot->bytes == bytes && memcmp(slot->key, key, bytes) == 0))
            return slot;
    }
}

bool map_reserve(Map *map, size_t count) {
    size_t capacity = map->capacity > 0 ? map->capacity : 16;
    while (capacity / 4 * 3 <= count) {
        if (capacity > SIZE_MAX / 2)
            return false;
        capacity *= 2;
    }
    if (capacity == map->capacity)
        return true;
    MapSlot *slots = mem_array(capacity, sizeof *slots, MEM_MISC);
    if (slots == NULL)
        return false;
    for (size_t i = 0; i < map->capacity; i++) {
        const MapSlot *old = &map->slots[i];
        if (old->key != NULL)
            *slot_of(slots, capacity, old->key, old->bytes, old->hash) = *old;
    }
    mem_free(map->slots);
    map->slots = slots;
    map->capacity = capacity;
    return true;
}

bool map_put(Map *map, const char *key, size_t bytes, int64_t value) {
    if (bytes > UINT32_MAX || !map_reserve(map, map->count + 1))
        return false;
    const uint32_t hash = (uint32_t)hash_bytes(key, bytes);
    MapSlot *slot = slot_of(map->slots, map->capacity, key, (uint32_t)bytes, hash);
    if (slot->key == NULL)
        map->count++;
    *slot = (MapSlot){.key = key, .bytes = (uint32_t)bytes, .hash = hash, .value = value};
    return true;
}

int64_t *map_find(const Map *map, const char *key, size_t bytes) {
    if (map->count == 0 || bytes > UINT32_MAX)
        return NULL;
    MapSlot *slot = slot_of(map->slots, map->capacity, key, (uint32_t)bytes, (uint32_t)hash_bytes(key, bytes));
    return slot->key != NULL ? &slot->value : NULL;
}

void map_free(Map *map) {
    mem_free(map->slots);
    *map = (Map){0};
}
