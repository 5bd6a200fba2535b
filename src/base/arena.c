/* arena.c - a list of chunks, filled one after another; a piece too large for a chunk gets one of its own. */
#include "base/arena.h"

#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define ARENA_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_ASAN 1
#endif
#endif
#ifdef ARENA_ASAN
#include <sanitizer/asan_interface.h>
enum { RED_ZONE_BYTES = 32 };
#define POISON(at, bytes) ASAN_POISON_MEMORY_REGION(at, bytes)
#define UNPOISON(at, bytes) ASAN_UNPOISON_MEMORY_REGION(at, bytes)
#else
enum { RED_ZONE_BYTES = 0 };
#define POISON(at, bytes) ((void)(at))
#define UNPOISON(at, bytes) ((void)(at))
#endif

struct ArenaChunk {
    ArenaChunk *next;
    size_t capacity;
    size_t used;
    size_t padding; /* keeps what follows aligned to 16 bytes */
};

enum { CHUNK_BYTES = 1 << 16 };

void arena_init(Arena *arena, MemTag tag) {
    *arena = (Arena){.tag = tag};
}

static char *chunk_bytes(ArenaChunk *chunk) {
    return (char *)chunk + sizeof *chunk;
}

void *arena_alloc(Arena *arena, size_t bytes) {
    size_t whole;
    if (!size_add(bytes, 15 + RED_ZONE_BYTES, &whole))
        return NULL;
    whole = whole / 16 * 16;
    if (arena->bytes_limit != 0 && whole > arena->bytes_limit - MIN(arena->bytes_used, arena->bytes_limit))
        return NULL;
    ArenaChunk *chunk = arena->chunks;
    if (chunk == NULL || chunk->capacity - chunk->used < whole) {
        const size_t capacity = whole > CHUNK_BYTES / 4 ? whole : CHUNK_BYTES;
        size_t total;
        if (!size_add(capacity, sizeof *chunk, &total))
            return NULL;
        chunk = mem_zalloc(total, arena->tag);
        if (chunk == NULL)
            return NULL;
        chunk->capacity = capacity;
        POISON(chunk_bytes(chunk), capacity);
        /* A chunk of one large piece goes behind the current one, which still has room. */
        if (capacity != CHUNK_BYTES && arena->chunks != NULL) {
            chunk->next = arena->chunks->next;
            arena->chunks->next = chunk;
        } else {
            chunk->next = arena->chunks;
            arena->chunks = chunk;
        }
    }
    void *piece = chunk_bytes(chunk) + chunk->used;
    chunk->used += whole;
    arena->bytes_used += whole;
    UNPOISON(piece, bytes);
    return piece;
}

void *arena_array(Arena *arena, size_t count, size_t element_bytes) {
    size_t bytes;
    return size_mul(count, element_bytes, &bytes) ? arena_alloc(arena, bytes) : NULL;
}

char *arena_strndup(Arena *arena, const char *text, size_t bytes) {
    char *copy = arena_alloc(arena, bytes + 1);
    if (copy != NULL && bytes > 0)
        memcpy(copy, text, bytes);
    return copy;
}

char *arena_strdup(Arena *arena, const char *text) {
    return arena_strndup(arena, text, strlen(text));
}

void arena_free(Arena *arena) {
    for (ArenaChunk *chunk = arena->chunks; chunk != NULL;) {
        ArenaChunk *next = chunk->next;
        UNPOISON(chunk_bytes(chunk), chunk->capacity);
        mem_free(chunk);
        chunk = next;
    }
    arena->chunks = NULL;
    arena->bytes_used = 0;
}
