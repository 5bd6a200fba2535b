/* peak_tiles.c - the loops behind peak.h for AMX: four products in a row that share their factors two by two, as those of
 * linear_tiles.c do. */
#include "kernel/peak_parts.h"
#include "kernel/tiles.h"

static void begin(void) {
    TileConfig c = {.palette = 1};
    for (int t = 0; t < 8; t++) {
        c.rows[t] = TILE_ROWS;
        c.row_bytes[t] = TILE_BYTES;
    }
    tiles_configure(&c);
    TILE_ZERO(0);
    TILE_ZERO(1);
    TILE_ZERO(2);
    TILE_ZERO(3);
    TILE_ZERO(4);
    TILE_ZERO(5);
    TILE_ZERO(6);
    TILE_ZERO(7);
}

#define FOUR(dot)                                                                                                      \
    dot(0, 4, 6);                                                                                                      \
    dot(1, 4, 7);                                                                                                      \
    dot(2, 5, 6);                                                                                                      \
    dot(3, 5, 7)

uint64_t peak_int8_amx(long rounds) {
    begin();
    for (long r = 0; r < rounds; r++) {
        FOUR(TILE_DOT_S8);
    }
    tiles_release();
    return (uint64_t)rounds * 4 * 16 * 16 * 64 * 2;
}

uint64_t peak_bf16_amx(long rounds) {
    begin();
    for (long r = 0; r < rounds; r++) {
        FOUR(TILE_DOT_BF16);
    }
    tiles_release();
    return (uint64_t)rounds * 4 * 16 * 16 * 32 * 2;
}
