/* form_split.c - quantised weights as safetensors checkpoints publish them: packed integers in one tensor, scales (and
 * zero points) in others.
 *
 * Sources: OCP Microscaling Formats 1.0 (MXFP4); compressed-tensors ("pack-quantized", "nvfp4-pack-quantized",
 * "int-quantized"); AutoGPTQ's and AutoAWQ's published layouts. Zero points become a constant per group,
 * w = s (q - z) = s (q - h) + s (h - z) with h half the range, so that q - h fits a signed byte whatever z is. */
#include "op/form_split.h"

#include "base/bytes.h"
#include "base/half.h"
#include "op/iq_grids.h"

#include <string.h>

float form_scale_at(const Matrix *m, size_t row, size_t col) {
    const uint8_t *p = m->scales + row * m->scale_row_bytes;
    uint16_t half;
    float f;
    switch ((ScaleType)m->scale_type) {
    case SCALE_F32: memcpy(&f, p + 4 * col, 4); return f;
    case SCALE_F16: memcpy(&half, p + 2 * col, 2); return float_of_f16(half);
    case SCALE_BF16: memcpy(&half, p + 2 * col, 2); return float_of_bf16(half);
    case SCALE_E8M0: return float_of_e8m0(p[col]);
    case SCALE_E4M3: return float_of_f8e4m3(p[col]);
    }
    return 0;
}

/* MXFP4: [row][block of 32][16 bytes], even numbers in low nibbles; scales E8M0 [row][block] */
static void block_mxfp4(const Matrix *m, int row, int col, Block32 *out) {
    const uint8_t *bytes = m->data + (size_t)row * m->row_bytes + (size_t)col / 2;
    const uint8_t e = m->scales[(size_t)row * m->scale_row_bytes + (size_t)col / 32];
    out->d[0] = out->d[1] = half_of_e8m0(e);
    out->m[0] = out->m[1] = 0;
    for (int i = 0; i < 32; i++)
        out->q[i] = fp4_levels_doubled[bytes[i / 2] >> (4 * (i % 2)) & 15];
}

/* NVFP4: even numbers in low nibbles; scales E4M3 per 16 numbers, times one scale for the tensor */
static void block_nvfp4(const Matrix *m, int row, int col, Block32 *out) {
    const uint8_t *bytes = m->data + (size_t)row * m->row_bytes + (size_t)col / 2;
    for (int g = 0; g < 2; g++) {
        out->d[g] = form_scale_at(m, (size_t)row, (size_t)col / 16 + (size_t)g) * m->global_scale * 0.5f;
        out->m[g] = 0;
    }
    for (int i = 0; i < 32; i++)
        out->q[i] = fp4_levels_doubled[bytes[i / 2] >> (4 * (i % 2)) & 15];
}

/* Signed bytes with a scale per group of inputs (block_cols) of a row */
static void block_i8_scaled(const Matrix *m, int row, int col, Block32 *out) {
    memcpy(out->q, m->data + (size_t)row * m->row_bytes + (size_t)col, 32);
    out->d[0] = out->d[1] = form_scale_at(m, (size_t)row, (size_t)(col / m->block_cols));
    out->m[0] = out->m[1] = 0;
}

static void scale_and_zero(Block32 *out, float scale, int half, int zero) {
    out->d[0] = out->d[1] = scale;
    out->m[0] = out->m[1] = scale * (float)(half - zero);
}

/* compressed-tensors: words of 32 / bits numbers along the inputs, lowest bits first, shifted by half the range.
 * Zero points (optional) are packed along the outputs. */
static void block_int_packed(const Matrix *m, int row, int col, Block32 *out) {
    const int bits = m->bits, per_word = 32 / bits, half = 1 << (bits - 1);
    const uint32_t mask = (1u << bits) - 1;
    const uint8_t *words = m->data + (size_t)row * m->row_bytes + (size_t)(col / per_word) * 4;
    for (int i = 0; i < 32; i++) {
        const uint32_t word = load_u32(words + i / per_word * 4);
        out->q[i] = (int8_t)((int)(word >> (i % per_word * bits) & mask) - half);
    }
    const int group = col / m->block_cols;
    int zero = half;
    if (m->zeros != NULL) {
        const int tensor_row = row + m->scale_row0;
        const uint32_t word = load_u32(m->zeros + (size_t)(tensor_row / per_word) * m->zero_row_bytes + (size_t)group * 4);
        zero = (int)(word >> (tensor_row % per_word * bits) & mask);
    }
    scale_and_zero(out, form_scale_at(m, (size_t)row, (size_t)group), half, zero);
}

/* GPTQ: words of numbers along the inputs, [in * bits / 32][out]; zeros [group][out * bits / 32]; scales [group][out] */
static int gptq_q(const Matrix *m, int row, int col) {
    const int per_word = 32 / m->bits;
    const uint32_t word = load_u32(m->data + (size_t)(col / per_word) * m->row_bytes + (size_t)row * 4);
    return (int)(word >> (col % per_word * m->bits) & ((1u << m->bits) - 1));
}

static int gptq_zero(const Matrix *m, int row, int group) {
    const int per_word = 32 / m->bits;
    const uint32_t word = load_u32(m->zeros + (size_t)group * m->zero_row_bytes + (size_t)(row / per_word) * 4);
    const int mask = (1 << m->bits) - 1;
    return ((int)(word >> (row % per_word * m->bits)) & mask) + m->zero_plus;
}

static void block_gptq(const Matrix *m, int row, int col, Block32 *out) {
    const int half = 1 << (m->bits - 1), group = col / m->block_cols;
    for (int i = 0; i < 32; i++)
        out->q[i] = (int8_t)(gptq_q(m, row, col + i) - half);
    scale_and_zero(out, form_scale_at(m, (size_t)group, (size_t)row), half, gptq_zero(m, row, group));
}

void form_gptq_decode_ordered(const Matrix *m, int row, int col, int n, float *out) {
    for (int i = 0; i < n; i++) {
        const int group = m->order[col + i];
        const float scale = form_scale_at(m, (size_t)group, (size_t)row);
        out[i] = scale * (float)(gptq_q(m, row, col + i) - gptq_zero(m, row, group));
    }
}

/* AWQ: words of 8 numbers along the outputs, [in][out / 8], in the order 0 2 4 6 1 3 5 7; zeros alike per group */
static int awq_nibble(const uint8_t *line, int row) {
    static const uint8_t place[8] = {0, 4, 1, 5, 2, 6, 3, 7}; /* where output row % 8 is found in its word */
    return (int)(load_u32(line + (size_t)(row / 8) * 4) >> (4 * place[row % 8]) & 15);
}

static void block_awq(const Matrix *m, int row, int col, Block32 *out) {
    for (int i = 0; i < 32; i++)
        out->q[i] = (int8_t)(awq_nibble(m->data + (size_t)(col + i) * m->row_bytes, row) - 8);
    const size_t group = (size_t)(col / m->block_cols);
    scale_and_zero(out, form_scale_at(m, group, (size_t)row), 8,
                   awq_nibble(m->zeros + group * m->zero_row_bytes, row));
}

const FormInfo form_infos_split[FORM_COUNT] = {
    [FORM_MXFP4_SPLIT] = {"MXFP4 + scales", CLASS_BLOCK, 32, false, 16, 31, 32, block_mxfp4, NULL},
    [FORM_NVFP4_SPLIT] = {"NVFP4 + scales", CLASS_BLOCK, 16, false, 16, 31, 32, block_nvfp4, NULL},
    [FORM_I8_SCALED] = {"I8 + scales", CLASS_BLOCK, 32, false, 128, 255, 32, block_i8_scaled, NULL},
    [FORM_INT_PACKED] = {"packed integers", CLASS_BLOCK, 32, true, 128, 255, 32, block_int_packed, NULL},
    [FORM_GPTQ] = {"GPTQ", CLASS_BLOCK, 32, true, 128, 255, 32, block_gptq, NULL},
    [FORM_AWQ] = {"AWQ", CLASS_BLOCK, 32, true, 8, 15, 32, block_awq, NULL},
};
