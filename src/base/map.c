/* map.c - see map.h. Filled to three quarters at the most; keys are never removed. */
#include "base/map.h"

#include "base/bytes.h"
#include "base/clock.h"

#include <pthread.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

uint64_t hash_bytes(const void *bytes, size_t count) {
    const unsigned char *p = bytes;
    uint64_t hash = 0xCBF29CE484222325u;
    for (size_t i = 0; i < count; i++)
        hash = (hash ^ p[i]) * 0x100000001B3u;
    hash ^= hash >> 32;
    hash *= 0x9E3779B97F4A7C15u;
    return hash ^ hash >> 29;
}

/* ---- keys from strangers ----------------------------------------------------------------------------------------- */

static uint64_t secret[2];

static void make_secret(void) {
    if (getrandom(secret, sizeof secret, GRND_NONBLOCK) == (ssize_t)sizeof secret)
        return;
    secret[0] = clock_us(); /* early in the boot, or a kernel that forbids it: something at least */
    secret[1] = (uint64_t)(uintptr_t)&secret ^ (uint64_t)getpid() << 32;
}

static uint64_t rotated(uint64_t word, int by) {
    return word << by | word >> (64 - by);
}

static void sip_round(uint64_t v[4]) {
    v[0] += v[1];
    v[1] = rotated(v[1], 13) ^ v[0];
    v[0] = rotated(v[0], 32);
    v[2] += v[3];
    v[3] = rotated(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotated(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotated(v[1], 17) ^ v[2];
    v[2] = rotated(v[2], 32);
}

static void sip_word(uint64_t v[4], uint64_t word) {
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
}

/* SipHash-1-3 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012). */
uint64_t hash_keyed(const uint64_t key[2], const void *bytes, size_t count) {
    const unsigned char *p = bytes;
    uint64_t v[4] = {key[0] ^ 0x736F6D6570736575u, key[1] ^ 0x646F72616E646F6Du, key[0] ^ 0x6C7967656E657261u,
                     key[1] ^ 0x7465646279746573u};
    uint64_t last = (uint64_t)count << 56;
    for (; count >= 8; p += 8, count -= 8)
        sip_word(v, load_u64(p));
    for (size_t i = 0; i < count; i++)
        last |= (uint64_t)p[i] << 8 * i;
    sip_word(v, last);
    v[2] ^= 0xFF;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

uint64_t hash_secretly(const void *bytes, size_t count) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_secret);
    return hash_keyed(secret, bytes, count);
}

/* ---- the table --------------------------------------------------------------------------------------------------- */

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
    const uint32_t hash = (uint32_t)hash_secretly(key, bytes);
    MapSlot *slot = slot_of(map->slots, map->capacity, key, (uint32_t)bytes, hash);
    if (slot->key == NULL)
        map->count++;
    *slot = (MapSlot){.key = key, .bytes = (uint32_t)bytes, .hash = hash, .value = value};
    return true;
}

int64_t *map_find(const Map *map, const char *key, size_t bytes) {
    if (map->count == 0 || bytes > UINT32_MAX)
        return NULL;
    MapSlot *slot = slot_of(map->slots, map->capacity, key, (uint32_t)bytes, (uint32_t)hash_secretly(key, bytes));
    return slot->key != NULL ? &slot->value : NULL;
}

void map_free(Map *map) {
    mem_free(map->slots);
    *map = (Map){0};
}
