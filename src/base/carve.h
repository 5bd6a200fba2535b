/* carve.h - one block cut into aligned pieces. Without a block only the bytes are counted: the function that tells how
 * much is needed is the one that cuts. */
#ifndef HOULE_BASE_CARVE_H
#define HOULE_BASE_CARVE_H

#include <stddef.h>
#include <stdint.h>

typedef struct Carve {
    uint8_t *block; /* NULL: count only */
    size_t used;
} Carve;

/* The next piece, aligned to 64 bytes as the block is; NULL when only counting. */
static inline void *carve(Carve *c, size_t bytes) {
    void *piece = c->block != NULL ? c->block + c->used : NULL;
    c->used += (bytes + 63) & ~(size_t)63;
    return piece;
}

#endif
