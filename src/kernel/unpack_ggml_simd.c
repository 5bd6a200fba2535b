/* unpack_ggml_simd.c - tiles from ggml's blocks; compiled for each level that has vectors of bytes.
 *
 * The layouts are read by groups_ggml.h; here what is read goes into tiles, NI_LANES outputs at a time. */
#include "kernel/kernel_parts.h"

#include "kernel/native.h"

#if defined(NATIVE_X86)

/* Where vectors go: the tile's bytes, from the first lane on. */
typedef struct Sink {
    uint8_t *q;
} Sink;

static ALWAYS_INLINE void put(Sink *s, int i, NI four) {
    ni_store(s->q + 64 * i, four);
}

#include "kernel/groups_ggml.h"

static ALWAYS_INLINE const uint8_t *block_at(const Matrix *m, int row, int col, int length, int bytes) {
    return m->data + (size_t)row * m->row_bytes + (size_t)(col / length) * (size_t)bytes;
}

/* Tiles of a form whose blocks are 32 numbers. */
#define UNPACK_BLOCK(name, bytes, has_min)                                                                             \
    static void unpack_##name(const Matrix *m, int row0, int col, int n, BlockTile *tile) {                            \
        for (int lane = 0; lane < LINEAR_PANEL; lane += NI_LANES) {                                                       \
            const uint8_t *p = block_at(m, row0 + lane, col, 32, bytes);                                               \
            for (int g = 0; g < n / 32; g++, p += bytes) {                                                             \
                Sink s = {tile->q[8 * g][lane]};                                                                       \
                GroupScale scale;                                                                                      \
                load_##name(&s, &scale, p, m->row_bytes);                                                              \
                nf_store(tile->d[g] + lane, scale.d[0]);                                                               \
                if (has_min)                                                                                           \
                    nf_store(tile->m[g] + lane, scale.m);                                                              \
            }                                                                                                          \
        }                                                                                                              \
    }

UNPACK_BLOCK(q4_0, 18, false)
UNPACK_BLOCK(q4_1, 20, true)
UNPACK_BLOCK(q5_0, 22, false)
UNPACK_BLOCK(q5_1, 24, true)
UNPACK_BLOCK(q8_0, 34, false)
UNPACK_BLOCK(iq4_nl, 18, false)
UNPACK_BLOCK(mxfp4, 17, false)

/* Tiles of a form whose blocks are `length` numbers, several groups of 32. */
#define UNPACK_LONG(name, length, bytes)                                                                               \
    static void unpack_##name(const Matrix *m, int row0, int col, int n, BlockTile *tile) {                            \
        for (int lane = 0; lane < LINEAR_PANEL; lane += NI_LANES)                                                         \
            for (int g = 0; g < n / 32; g++) {                                                                         \
                Sink s = {tile->q[8 * g][lane]};                                                                       \
                GroupScale scale;                                                                                      \
                load_##name(&s, &scale, block_at(m, row0 + lane, col + 32 * g, length, bytes), m->row_bytes,           \
                            (col + 32 * g) % length / 32);                                                             \
                store_scales_##name(tile, g, lane, &scale);                                                            \
            }                                                                                                          \
    }

static ALWAYS_INLINE void store_scales_nvfp4(BlockTile *tile, int g, int lane, const GroupScale *scale) {
    nf_store(tile->d[2 * g] + lane, scale->d[0]);
    nf_store(tile->d[2 * g + 1] + lane, scale->d[1]);
}

static ALWAYS_INLINE void store_scales_q1_0(BlockTile *tile, int g, int lane, const GroupScale *scale) {
    nf_store(tile->d[g] + lane, scale->d[0]);
}

static ALWAYS_INLINE void store_scales_q2_0(BlockTile *tile, int g, int lane, const GroupScale *scale) {
    nf_store(tile->d[g] + lane, scale->d[0]);
}

UNPACK_LONG(nvfp4, 64, 36)
UNPACK_LONG(q1_0, 128, 18)
UNPACK_LONG(q2_0, 64, 18)

/* Tiles of a form whose blocks are 256 numbers. */
#define UNPACK_SUPER(name, bytes, groups, has_min)                                                                     \
    static void unpack_##name(const Matrix *m, int row0, int col, SuperTile *tile) {                                   \
        for (int lane = 0; lane < LINEAR_PANEL; lane += NI_LANES) {                                                       \
            const uint8_t *p = block_at(m, row0 + lane, col, 256, bytes);                                              \
            SuperScale scale;                                                                                          \
            scales_##name(&scale, p, m->row_bytes);                                                                    \
            for (int g = 0; g < groups; g++)                                                                           \
                ni_store(tile->sc[g] + lane, scale.sc[g]);                                                             \
            nf_store(tile->d + lane, scale.d);                                                                         \
            if (has_min) {                                                                                             \
                for (int g = 0; g < groups / 2; g++)                                                                   \
                    ni_store(tile->mn[g] + lane, scale.mn[g]);                                                         \
                nf_store(tile->dm + lane, scale.dm);                                                                   \
            }                                                                                                          \
            Sink s = {tile->q[0][lane]};                                                                               \
            load_##name(&s, p, m->row_bytes);                                                                          \
        }                                                                                                              \
    }

#define scales_q5_k scales_q4_k

UNPACK_SUPER(q2_k, 84, 16, true)
UNPACK_SUPER(q3_k, 110, 16, false)
UNPACK_SUPER(q4_k, 144, 8, true)
UNPACK_SUPER(q5_k, 176, 8, true)
UNPACK_SUPER(q6_k, 210, 16, false)
UNPACK_SUPER(iq4_xs, 136, 8, false)
UNPACK_SUPER(tq1_0, 54, 8, false)
UNPACK_SUPER(tq2_0, 66, 8, false)

void K(unpackers_fill_ggml)(Unpackers *u) {
    u->block[FORM_Q4_0] = unpack_q4_0;
    u->block[FORM_Q4_1] = unpack_q4_1;
    u->block[FORM_Q5_0] = unpack_q5_0;
    u->block[FORM_Q5_1] = unpack_q5_1;
    u->block[FORM_Q8_0] = unpack_q8_0;
    u->block[FORM_IQ4_NL] = unpack_iq4_nl;
    u->block[FORM_MXFP4] = unpack_mxfp4;
    u->block[FORM_NVFP4] = unpack_nvfp4;
    u->block[FORM_Q1_0] = unpack_q1_0;
    u->block[FORM_Q2_0] = unpack_q2_0;
    u->super[FORM_Q2_K] = unpack_q2_k;
    u->super[FORM_Q3_K] = unpack_q3_k;
    u->super[FORM_Q4_K] = unpack_q4_k;
    u->super[FORM_Q5_K] = unpack_q5_k;
    u->super[FORM_Q6_K] = unpack_q6_k;
    u->super[FORM_IQ4_XS] = unpack_iq4_xs;
    u->super[FORM_TQ1_0] = unpack_tq1_0;
    u->super[FORM_TQ2_0] = unpack_tq2_0;
}

#endif
