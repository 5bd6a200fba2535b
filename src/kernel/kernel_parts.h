/* kernel_parts.h - what the files of the kernel room tell each other; see kernel.h for what they offer. */
#ifndef HOULE_KERNEL_PARTS_H
#define HOULE_KERNEL_PARTS_H

#include "kernel/kernel.h"

/* ---- tiles: sixteen outputs x up to 256 inputs, unpacked for multiplying ------------------------------------------
 *
 * Lanes are outputs. Four inputs of one output stand together, as the byte dot products of all CPUs want them:
 *
 *     q[k / 4][output][k % 4]
 */
enum { TILE_COLS = 256 };

/* Class BLOCK: w = d (q - offset) + m */
typedef struct BlockTile {
    _Alignas(64) uint8_t q[TILE_COLS / 4][16][4];
    float d[TILE_COLS / 16][16]; /* [group][output] */
    float m[TILE_COLS / 16][16];
} BlockTile;

/* Class SUPER: w = d sc (q - offset) - dm mn. Either mn and dm are in use (offset 0), or mn holds sc * offset and is
 * subtracted before the multiplication by d: `less` below. */
typedef struct SuperTile {
    _Alignas(64) uint8_t q[TILE_COLS / 4][16][4];
    int32_t sc[TILE_COLS / 16][16];
    int16_t mn[TILE_COLS / 32][16][2]; /* pairs of groups */
    float d[16], dm[16];
} SuperTile;

/* Unpacks rows row0 .. row0 + 15 (clamped to the last row), inputs col .. col + n - 1; the rest of the 256 is zero. */
typedef void (*UnpackBlockFn)(const Matrix *m, int row0, int col, int n, BlockTile *tile);
typedef void (*UnpackSuperFn)(const Matrix *m, int row0, int col, SuperTile *tile);

void unpack_block_any(const Matrix *m, int row0, int col, int n, BlockTile *tile);
void unpack_super_any(const Matrix *m, int row0, int col, SuperTile *tile);

/* Fast unpackers of a level, NULL where the plain one is to be used. */
typedef struct Unpackers {
    UnpackBlockFn block[FORM_COUNT];
    UnpackSuperFn super[FORM_COUNT];
} Unpackers;

#define KERNELS_OF_LEVEL(level)                                                                                        \
    void kernels_fill_rows_##level(Kernels *k);                                                                        \
    void kernels_fill_linear_##level(Kernels *k);                                                                      \
    void kernels_fill_attend_##level(Kernels *k);                                                                      \
    void kernels_fill_recur_##level(Kernels *k);                                                                       \
    void kernels_fill_index_##level(Kernels *k);                                                                       \
    void kernels_fill_streams_##level(Kernels *k);

KERNELS_OF_LEVEL(generic)
KERNELS_OF_LEVEL(avx2)
KERNELS_OF_LEVEL(avx512)
KERNELS_OF_LEVEL(avx512vnni)
KERNELS_OF_LEVEL(avx512bf16)
KERNELS_OF_LEVEL(amx)

void unpackers_fill_avx512(Unpackers *u);

#endif
