/* tile_emulation.h - AMX tiles in plain C, for machines without: what kernel/tiles.h offers, by Intel's description of the
 * instructions. Stops the test when tiles are used without being configured, or with shapes that do not fit each other. */
#ifndef HOULE_TILE_EMULATION_H
#define HOULE_TILE_EMULATION_H

#include "base/half.h"
#include "kernel/kernel_parts.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

TILES_OF_LEVEL(emulated)

static _Thread_local TileConfig tile_config;
static _Thread_local uint8_t tiles[8][TILE_ROWS][TILE_BYTES];

static inline void tiles_expect(bool right) {
    if (!right)
        abort();
}

static inline void tiles_configure(const TileConfig *config) {
    tile_config = *config;
    for (int t = 0; t < 8; t++)
        tiles_expect(config->palette == 1 && config->rows[t] <= TILE_ROWS && config->row_bytes[t] <= TILE_BYTES);
    memset(tiles, 0, sizeof tiles);
}

static inline void tiles_release(void) {
    tile_config = (TileConfig){0};
}

static inline void tile_zero(int t) {
    tiles_expect(tile_config.palette == 1);
    memset(tiles[t], 0, sizeof tiles[t]);
}

static inline void tile_load(int t, const void *p, size_t stride) {
    tile_zero(t);
    for (int r = 0; r < tile_config.rows[t]; r++)
        memcpy(tiles[t][r], (const uint8_t *)p + (size_t)r * stride, tile_config.row_bytes[t]);
}

static inline void tile_store(int t, void *p, size_t stride) {
    tiles_expect(tile_config.palette == 1);
    for (int r = 0; r < tile_config.rows[t]; r++)
        memcpy((uint8_t *)p + (size_t)r * stride, tiles[t][r], tile_config.row_bytes[t]);
}

static inline void tile_shapes(int c, int a, int b) {
    tiles_expect(tile_config.palette == 1 && c != a && c != b && a != b);
    tiles_expect(tile_config.rows[c] == tile_config.rows[a] && tile_config.row_bytes[c] == tile_config.row_bytes[b] &&
                 tile_config.row_bytes[a] == 4 * tile_config.rows[b]);
}

static inline void tile_dot_s8(int c, int a, int b) {
    tile_shapes(c, a, b);
    for (int m = 0; m < tile_config.rows[a]; m++)
        for (int n = 0; n < tile_config.row_bytes[b] / 4; n++) {
            uint32_t sum; /* wraps, as the instruction's does */
            memcpy(&sum, &tiles[c][m][4 * n], sizeof sum);
            for (int k = 0; k < tile_config.row_bytes[a]; k++)
                sum += (uint32_t)((int8_t)tiles[a][m][k] * (int8_t)tiles[b][k / 4][4 * n + k % 4]);
            memcpy(&tiles[c][m][4 * n], &sum, sizeof sum);
        }
}

/* A denormal number counts as a zero of its sign. */
static inline float tile_flushed(float x) {
    const uint32_t bits = bits_of_float(x);
    return (bits & 0x7F800000) == 0 ? float_of_bits(bits & 0x80000000u) : x;
}

static inline float tile_bf16(const uint8_t *p) {
    uint16_t half;
    memcpy(&half, p, sizeof half);
    return tile_flushed(float_of_bf16(half));
}

static inline void tile_dot_bf16(int c, int a, int b) {
    tile_shapes(c, a, b);
    for (int m = 0; m < tile_config.rows[a]; m++)
        for (int n = 0; n < tile_config.row_bytes[b] / 4; n++) {
            float chain[2] = {0}, sum;
            for (int k = 0; k < tile_config.row_bytes[a] / 4; k++)
                for (int i = 0; i < 2; i++)
                    chain[i] = tile_flushed(fmaf(tile_bf16(&tiles[a][m][4 * k + 2 * i]), tile_bf16(&tiles[b][k][4 * n + 2 * i]), chain[i]));
            memcpy(&sum, &tiles[c][m][4 * n], sizeof sum);
            sum = tile_flushed(tile_flushed(sum) + tile_flushed(chain[0] + chain[1]));
            memcpy(&tiles[c][m][4 * n], &sum, sizeof sum);
        }
}

#define TILE_ZERO(t) tile_zero(t)
#define TILE_LOAD(t, p, stride) tile_load(t, p, stride)
#define TILE_STORE(t, p, stride) tile_store(t, p, stride)
#define TILE_DOT_S8(c, a, b) tile_dot_s8(c, a, b)
#define TILE_DOT_BF16(c, a, b) tile_dot_bf16(c, a, b)

#endif
