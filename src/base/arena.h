/* arena.h - memory that lives and dies together.
 *
 * A description, a parsed header, a compiled template: thousands of small pieces freed at once. Pieces are aligned to
 * 16 bytes and zeroed. Under AddressSanitizer each piece is followed by a red zone. Not thread-safe. */
#ifndef HOULE_BASE_ARENA_H
#define HOULE_BASE_ARENA_H

#include "base/mem.h"

typedef struct ArenaChunk ArenaChunk;

typedef struct Arena {
    ArenaChunk *chunks;
    size_t bytes_used;  /* handed out, for limits and reports */
    size_t bytes_limit; /* 0 = none; beyond it arena_alloc returns NULL */
    MemTag tag;
} Arena;

void arena_init(Arena *arena, MemTag tag);
void *arena_alloc(Arena *arena, size_t bytes);
void *arena_array(Arena *arena, size_t count, size_t element_bytes);
char *arena_strndup(Arena *arena, const char *text, size_t bytes);
char *arena_strdup(Arena *arena, const char *text);
/* Frees every piece; the arena can be used again. */
void arena_free(Arena *arena);

#endif
