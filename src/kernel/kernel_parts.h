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
    float m[TILE_COLS / 32][16]; /* with a minimum only */
} BlockTile;

/* Class SUPER: w = d sc (q - offset) - dm mn */
typedef struct SuperTile {
    _Alignas(64) uint8_t q[TILE_COLS / 4][16][4];
    int32_t sc[TILE_COLS / 16][16];
    int16_t mn[TILE_COLS / 32][16][2]; /* pairs of groups; with a minimum only, as dm */
    float d[16], dm[16];
} SuperTile;

/* Plain numbers: [input][output] as floats, or two inputs of an output together as bf16. */
typedef struct FloatTile {
    _Alignas(64) float w[TILE_COLS][16];
} FloatTile;

typedef struct PairTile {
    _Alignas(64) uint32_t w[TILE_COLS / 2][16];
} PairTile;

/* Unpacks rows row0 .. row0 + 15, inputs col .. col + n - 1. All 16 rows exist; unpack_*_any take the last for those that
 * do not. Fast unpackers of floats take only multiples of 16 inputs. */
typedef void (*UnpackBlockFn)(const Matrix *m, int row0, int col, int n, BlockTile *tile);
typedef void (*UnpackSuperFn)(const Matrix *m, int row0, int col, SuperTile *tile);
typedef void (*UnpackFloatFn)(const Matrix *m, int row0, int col, int n, FloatTile *tile);
typedef void (*UnpackPairFn)(const Matrix *m, int row0, int col, int n, PairTile *tile);

void unpack_block_any(const Matrix *m, int row0, int col, int n, BlockTile *tile);
void unpack_super_any(const Matrix *m, int row0, int col, SuperTile *tile);
/* from .. n - 1 of the n inputs that the tile is to hold */
void unpack_float_any(const Matrix *m, int row0, int col, int from, int n, FloatTile *tile);
void unpack_pair_any(const Matrix *m, int row0, int col, int from, int n, PairTile *tile);

/* Fast unpackers of a level, NULL where the plain one is to be used. */
typedef struct Unpackers {
    UnpackBlockFn block[FORM_COUNT];
    UnpackSuperFn super[FORM_COUNT];
    UnpackFloatFn floats[FORM_COUNT];
    UnpackPairFn pairs[FORM_COUNT];
} Unpackers;

/* In a switch over a number of rows: `call` with R as that number, known when it is compiled. */
#define CASE_ROWS(n, call) case n: { enum { R = n }; call; break; }
#define CASES_1_TO_6(call)                                                                                             \
    CASE_ROWS(1, call) CASE_ROWS(2, call) CASE_ROWS(3, call) CASE_ROWS(4, call) CASE_ROWS(5, call) CASE_ROWS(6, call)

#define KERNELS_OF_LEVEL(level)                                                                                        \
    void kernels_fill_rows_##level(Kernels *k);                                                                        \
    void kernels_fill_linear_##level(Kernels *k);                                                                      \
    void kernels_fill_attend_##level(Kernels *k);                                                                      \
    void attend_floats_##level(const AttendJob *job);                                                                  \
    void kernels_fill_recur_##level(Kernels *k);                                                                       \
    void kernels_fill_index_##level(Kernels *k);                                                                       \
    void kernels_fill_streams_##level(Kernels *k);

KERNELS_OF_LEVEL(generic)
KERNELS_OF_LEVEL(avx2)
KERNELS_OF_LEVEL(avx512)
KERNELS_OF_LEVEL(avx512vnni)
KERNELS_OF_LEVEL(avx512bf16)

/* Multiplying with tiles: linear_tiles.c. Filled in over the table of the level below, which does what tiles do not. */
#define TILES_OF_LEVEL(level)                                                                                          \
    void kernels_fill_linear_##level(Kernels *k);                                                                      \
    bool tiles_work_##level(void);

TILES_OF_LEVEL(amx)

#define UNPACKERS_OF_LEVEL(level)                                                                                      \
    void unpackers_fill_float_##level(Unpackers *u);                                                                   \
    void unpackers_fill_ggml_##level(Unpackers *u);                                                                    \
    void unpackers_fill_iq_##level(Unpackers *u);                                                                      \
    void unpackers_fill_split_##level(Unpackers *u);

UNPACKERS_OF_LEVEL(avx2)
UNPACKERS_OF_LEVEL(avx512)

#endif
