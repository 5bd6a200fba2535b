/* unpack_float_simd.c - tiles of plain numbers: floats, halves, and 8-bit floats with their scales; compiled for each level
 * that has vectors of bytes.
 *
 * Numbers stored by output are turned, 32 bytes of NI_LANES rows at a time; numbers stored by input already stand as a
 * tile has them. */
#include "kernel/kernel_parts.h"

#include "kernel/native.h"

#if defined(NATIVE_X86)

#include "base/bytes.h"

static ALWAYS_INLINE const uint8_t *number_at(const Matrix *m, int row, int col, int bytes) {
    return m->data + (size_t)row * m->row_bytes + (size_t)col * (size_t)bytes;
}

/* ---- stored by output ---- */

static void unpack_f32(const Matrix *m, int row0, int col, int n, FloatTile *tile) {
    for (int lane = 0; lane < LINEAR_PANEL; lane += NI_LANES)
        for (int k = 0; k < n; k += 8) {
            NI x[8];
            turn_rows_32(x, number_at(m, row0 + lane, col + k, 4), m->row_bytes);
            for (int i = 0; i < 8; i++)
                ni_store(&tile->w[k + i][lane], x[i]);
        }
}

static void unpack_f16(const Matrix *m, int row0, int col, int n, FloatTile *tile) {
    for (int lane = 0; lane < LINEAR_PANEL; lane += NI_LANES)
        for (int k = 0; k < n; k += 16) {
            NI x[8];
            turn_rows_32(x, number_at(m, row0 + lane, col + k, 2), m->row_bytes);
            for (int i = 0; i < 8; i++) {
                nf_store(&tile->w[k + 2 * i][lane], nf_of_f16_lanes(x[i]));
                nf_store(&tile->w[k + 2 * i + 1][lane], nf_of_f16_lanes(ni_srl(x[i], 16)));
            }
        }
}

static void unpack_bf16(const Matrix *m, int row0, int col, int n, FloatTile *tile) {
    for (int lane = 0; lane < LINEAR_PANEL; lane += NI_LANES)
        for (int k = 0; k < n; k += 16) {
            NI x[8];
            turn_rows_32(x, number_at(m, row0 + lane, col + k, 2), m->row_bytes);
            for (int i = 0; i < 8; i++) {
                ni_store(&tile->w[k + 2 * i][lane], ni_sll(x[i], 16));
                ni_store(&tile->w[k + 2 * i + 1][lane], ni_and(x[i], ni_set((int32_t)0xFFFF0000)));
            }
        }
}

static void unpack_bf16_pairs(const Matrix *m, int row0, int col, int n, PairTile *tile) {
    for (int lane = 0; lane < LINEAR_PANEL; lane += NI_LANES)
        for (int k = 0; k < n; k += 16) {
            NI x[8];
            turn_rows_32(x, number_at(m, row0 + lane, col + k, 2), m->row_bytes);
            for (int i = 0; i < 8; i++)
                ni_store(&tile->w[k / 2 + i][lane], x[i]);
        }
}

/* ---- stored by input ---- */

static ALWAYS_INLINE const uint8_t *input_at(const Matrix *m, int row, int col, int bytes) {
    const size_t step = m->row_step != 0 ? (size_t)m->row_step : 1;
    return m->data + (size_t)col * m->row_bytes + (size_t)row * step * (size_t)bytes;
}

static void unpack_f32_by_input(const Matrix *m, int row0, int col, int n, FloatTile *tile) {
    const size_t step = m->row_step != 0 ? (size_t)m->row_step : 1;
    for (int k = 0; k < n; k++) {
        const uint8_t *p = input_at(m, row0, col + k, 4);
        if (step == 1)
            memcpy(tile->w[k], p, sizeof tile->w[k]);
        else
            for (int o = 0; o < LINEAR_PANEL; o++)
                memcpy(&tile->w[k][o], p + 4 * step * (size_t)o, sizeof(float));
    }
}

/* Sixteen halves of an input, side by side. */
static ALWAYS_INLINE void halves_of_input(uint16_t *line, const Matrix *m, int row0, int col) {
    const size_t step = m->row_step != 0 ? (size_t)m->row_step : 1;
    const uint8_t *p = input_at(m, row0, col, 2);
    if (step == 1)
        memcpy(line, p, LINEAR_PANEL * sizeof *line);
    else
        for (int o = 0; o < LINEAR_PANEL; o++)
            line[o] = load_u16(p + 2 * step * (size_t)o);
}

static void unpack_f16_by_input(const Matrix *m, int row0, int col, int n, FloatTile *tile) {
    for (int k = 0; k < n; k++) {
        uint16_t line[LINEAR_PANEL];
        halves_of_input(line, m, row0, col + k);
        vf_store(tile->w[k], vf_load_f16(line));
    }
}

static void unpack_bf16_by_input(const Matrix *m, int row0, int col, int n, FloatTile *tile) {
    for (int k = 0; k < n; k++) {
        uint16_t line[LINEAR_PANEL];
        halves_of_input(line, m, row0, col + k);
        vf_store(tile->w[k], vf_load_bf16(line));
    }
}

static void unpack_bf16_pairs_by_input(const Matrix *m, int row0, int col, int n, PairTile *tile) {
    for (int k = 0; k < n; k += 2) {
        uint16_t line[2][LINEAR_PANEL];
        halves_of_input(line[0], m, row0, col + k);
        halves_of_input(line[1], m, row0, col + k + 1);
        for (int o = 0; o < LINEAR_PANEL; o++)
            tile->w[k / 2][o] = line[0][o] | (uint32_t)line[1][o] << 16;
    }
}

void K(unpackers_fill_float)(Unpackers *u) {
    u->floats[FORM_F32] = unpack_f32;
    u->floats[FORM_F16] = unpack_f16;
    u->floats[FORM_BF16] = unpack_bf16;
    u->floats[FORM_F32_T] = unpack_f32_by_input;
    u->floats[FORM_F16_T] = unpack_f16_by_input;
    u->floats[FORM_BF16_T] = unpack_bf16_by_input;
    u->pairs[FORM_BF16] = unpack_bf16_pairs;
    u->pairs[FORM_BF16_T] = unpack_bf16_pairs_by_input;
}

#endif
