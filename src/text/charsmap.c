/* charsmap.c - see charsmap.h. */
#include "text/charsmap.h"

#include "base/mem.h"

#include <string.h>

/* Fields of a unit of the double array (Darts-clone). */
static uint32_t unit_label(uint32_t unit) {
    return unit & (1u << 31 | 0xFF);
}
static uint32_t unit_offset(uint32_t unit) {
    return unit >> 10 << ((unit & 1u << 9) >> 6);
}
static bool unit_has_leaf(uint32_t unit) {
    return (unit >> 8 & 1) != 0;
}
static uint32_t unit_value(uint32_t unit) {
    return unit & ~(1u << 31);
}

Status charsmap_read(const uint8_t *blob, size_t bytes, Charsmap *map, Error *err) {
    *map = (Charsmap){0};
    if (bytes == 0)
        return OK;
    FAIL_IF(bytes < 5, ERR_FORMAT, "precompiled_charsmap: %zu bytes are too few", bytes);
    const size_t trie_bytes = (size_t)blob[0] | (size_t)blob[1] << 8 | (size_t)blob[2] << 16 | (size_t)blob[3] << 24;
    FAIL_IF(trie_bytes > bytes - 4 || trie_bytes % 4 != 0, ERR_FORMAT,
            "precompiled_charsmap: a trie of %zu bytes does not fit into %zu", trie_bytes, bytes);
    map->unit_count = trie_bytes / 4;
    map->replacement_bytes = bytes - 4 - trie_bytes;
    map->units = mem_alloc(trie_bytes + 4, MEM_TEXT);
    map->replacements = mem_alloc(map->replacement_bytes + 1, MEM_TEXT);
    if (map->units == NULL || map->replacements == NULL) {
        charsmap_free(map);
        return error_set(err, ERR_MEMORY, "no memory for a table of characters");
    }
    for (size_t i = 0; i < map->unit_count; i++) {
        const uint8_t *p = blob + 4 + 4 * i;
        map->units[i] = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    }
    memcpy(map->replacements, blob + 4 + trie_bytes, map->replacement_bytes);
    map->replacements[map->replacement_bytes] = '\0';
    return OK;
}

void charsmap_free(Charsmap *map) {
    mem_free(map->units);
    mem_free(map->replacements);
    *map = (Charsmap){0};
}

static const char *find(const Charsmap *map, const char *text, size_t count, bool longest, size_t *length) {
    const char *best = NULL;
    if (map->unit_count == 0)
        return NULL;
    size_t node = unit_offset(map->units[0]);
    for (size_t i = 0; i < count && text[i] != '\0'; i++) {
        const uint8_t byte = (uint8_t)text[i];
        node ^= byte;
        if (node >= map->unit_count || unit_label(map->units[node]) != byte)
            break;
        const uint32_t unit = map->units[node];
        node ^= unit_offset(unit);
        if (node >= map->unit_count)
            break;
        if (!unit_has_leaf(unit))
            continue;
        const uint32_t value = unit_value(map->units[node]);
        if (value > map->replacement_bytes)
            break;
        best = map->replacements + value;
        *length = i + 1;
        if (!longest)
            break;
    }
    return best;
}

const char *charsmap_longest(const Charsmap *map, const char *text, size_t count, size_t *length) {
    return find(map, text, count, true, length);
}

const char *charsmap_shortest(const Charsmap *map, const char *text, size_t count, size_t *length) {
    return find(map, text, count, false, length);
}
