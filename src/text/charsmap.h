/* charsmap.h - SentencePiece's compiled table of character replacements ("precompiled_charsmap").
 *
 *     u32 bytes of the trie | trie: a double array of u32 units | replacements, each ended by NUL
 *
 * The trie maps byte sequences to places among the replacements. It comes from a file: every step is checked. */
#ifndef HOULE_TEXT_CHARSMAP_H
#define HOULE_TEXT_CHARSMAP_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct Charsmap {
    uint32_t *units; /* NULL = no table */
    size_t unit_count;
    char *replacements; /* ends with NUL */
    size_t replacement_bytes;
} Charsmap;

Status charsmap_read(const uint8_t *blob, size_t bytes, Charsmap *map, Error *err);
void charsmap_free(Charsmap *map);

/* The replacement of the longest (or the shortest) sequence that `text` begins with: NUL-terminated, and in *length how
 * much it replaces. NULL when there is none. */
const char *charsmap_longest(const Charsmap *map, const char *text, size_t count, size_t *length);
const char *charsmap_shortest(const Charsmap *map, const char *text, size_t count, size_t *length);

#endif
