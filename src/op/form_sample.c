/* form_sample.c - see form_sample.h. Codes are random bits, which every form can take; what must be a sensible float (the
 * scales) is written over them. */
#include "op/form_sample.h"

#include "base/half.h"

#include <string.h>

/* ggml's blocks: numbers and bytes in one, and where its binary16 scales are. */
typedef struct BlockLayout {
    uint16_t length, bytes;
    int16_t scales[2]; /* -1: none */
} BlockLayout;

static const BlockLayout layouts[FORM_COUNT] = {
    [FORM_Q4_0] = {32, 18, {0, -1}},     [FORM_Q4_1] = {32, 20, {0, 2}},      [FORM_Q5_0] = {32, 22, {0, -1}},
    [FORM_Q5_1] = {32, 24, {0, 2}},      [FORM_Q8_0] = {32, 34, {0, -1}},     [FORM_IQ4_NL] = {32, 18, {0, -1}},
    [FORM_MXFP4] = {32, 17, {-1, -1}},   [FORM_NVFP4] = {64, 36, {-1, -1}},   [FORM_Q1_0] = {128, 18, {0, -1}},
    [FORM_Q2_0] = {64, 18, {0, -1}},     [FORM_Q2_K] = {256, 84, {80, 82}},   [FORM_Q3_K] = {256, 110, {108, -1}},
    [FORM_Q4_K] = {256, 144, {0, 2}},    [FORM_Q5_K] = {256, 176, {0, 2}},    [FORM_Q6_K] = {256, 210, {208, -1}},
    [FORM_IQ1_S] = {256, 50, {0, -1}},   [FORM_IQ1_M] = {256, 56, {-1, -1}},  [FORM_IQ2_XXS] = {256, 66, {0, -1}},
    [FORM_IQ2_XS] = {256, 74, {0, -1}},  [FORM_IQ2_S] = {256, 82, {0, -1}},   [FORM_IQ3_XXS] = {256, 98, {0, -1}},
    [FORM_IQ3_S] = {256, 110, {0, -1}},  [FORM_IQ4_XS] = {256, 136, {0, -1}}, [FORM_TQ1_0] = {256, 54, {52, -1}},
    [FORM_TQ2_0] = {256, 66, {64, -1}},
};

static uint32_t next(uint32_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

/* Of either sign, from 1/128 to 1/32. */
static float scale_of(uint32_t *state) {
    const uint32_t bits = next(state);
    return (1.0f + (float)(bits >> 8 & 0xFFFF) / 21846.0f) / 128.0f * (bits & 1 ? -1.0f : 1.0f);
}

static void fill(uint8_t *p, size_t n, SampleKind kind, uint32_t *state) {
    if (kind == SAMPLE_RANDOM)
        for (size_t i = 0; i < n; i++)
            p[i] = (uint8_t)(next(state) >> 11);
    else
        memset(p, kind == SAMPLE_HIGH ? 0xFF : 0, n);
}

static void put_f16(uint8_t *p, float f) {
    const uint16_t h = f16_of_float(f);
    memcpy(p, &h, sizeof h);
}

static size_t row_bytes_of(Form form, size_t cols) {
    const BlockLayout *layout = &layouts[form];
    if (layout->bytes != 0)
        return cols / layout->length * layout->bytes;
    switch (form) {
    case FORM_F32: case FORM_F32_T: return cols * 4;
    case FORM_F16: case FORM_F16_T: case FORM_BF16: case FORM_BF16_T: return cols * 2;
    case FORM_MXFP4_SPLIT: case FORM_NVFP4_SPLIT: return cols / 2;
    default: return cols; /* 8 bits, or 4 in half of it */
    }
}

enum { SCALE_BLOCK = 128, PACKED_GROUP = 64 };

static bool is_turned(Form form) {
    return form == FORM_F32_T || form == FORM_F16_T || form == FORM_BF16_T || form == FORM_F8_BLOCK_T ||
           form == FORM_F8_E8M0_T;
}

size_t form_sample_bytes(Form form, int rows, int cols) {
    if (cols % form_info(form)->multiple != 0)
        return 0;
    const size_t n_row = (size_t)rows, n_col = (size_t)cols;
    const size_t codes = is_turned(form) ? row_bytes_of(form, n_row) * n_col : row_bytes_of(form, n_col) * n_row;
    /* Scales, zero points and orders take no more than a float for each 16 numbers and an int for each column. */
    return codes + 8 * (n_row + 8) * (n_col / 16 + 2) + 4 * n_col + 64;
}

static Matrix sample_ggml(Form form, int rows, int cols, SampleKind kind, uint32_t *state, uint8_t *block) {
    const BlockLayout *layout = &layouts[form];
    const size_t row_bytes = row_bytes_of(form, (size_t)cols), n = row_bytes * (size_t)rows;
    fill(block, n, kind, state);
    for (uint8_t *p = block; p < block + n; p += layout->bytes) {
        for (int i = 0; i < 2; i++)
            if (layout->scales[i] >= 0)
                put_f16(p + layout->scales[i], scale_of(state));
        if (form == FORM_MXFP4)
            p[0] = (uint8_t)(114 + next(state) % 12);
        if (form == FORM_NVFP4)
            for (int i = 0; i < 4; i++)
                p[i] = kind == SAMPLE_RANDOM ? (uint8_t)(next(state) >> 9) : (uint8_t)(p[i] & 0x7E);
        if (form == FORM_IQ1_M) { /* the scale's four nibbles are the top ones of four words */
            const uint16_t d = f16_of_float(scale_of(state));
            for (int i = 0; i < 4; i++)
                p[49 + 2 * i] = (uint8_t)((p[49 + 2 * i] & 15) | (d >> (4 * i) & 15) << 4);
        }
    }
    return (Matrix){.form = form, .rows = rows, .cols = cols, .data = block, .row_bytes = row_bytes};
}

static Matrix sample_plain(Form form, int rows, int cols, SampleKind kind, uint32_t *state, uint8_t *block) {
    const bool turned = is_turned(form);
    const size_t lines = (size_t)(turned ? cols : rows), along = (size_t)(turned ? rows : cols);
    Matrix m = {.form = form, .rows = rows, .cols = cols, .data = block, .row_bytes = row_bytes_of(form, along)};
    for (size_t i = 0; i < lines * along; i++) {
        const float x = kind == SAMPLE_ZERO ? 0 : scale_of(state) * (kind == SAMPLE_HIGH ? 1e4f : 1.0f);
        uint16_t half;
        switch (form) {
        case FORM_F32: case FORM_F32_T: memcpy(block + 4 * i, &x, 4); break;
        case FORM_F16: case FORM_F16_T: put_f16(block + 2 * i, x); break;
        default:
            half = bf16_of_float(x);
            memcpy(block + 2 * i, &half, 2);
        }
    }
    return m;
}

static Matrix sample_f8(Form form, int rows, int cols, SampleKind kind, uint32_t *state, uint8_t *block) {
    const bool turned = is_turned(form);
    const size_t lines = (size_t)(turned ? cols : rows), along = (size_t)(turned ? rows : cols);
    fill(block, lines * along, kind, state);
    for (size_t i = 0; i < lines * along; i++)
        if ((block[i] & 0x7F) == 0x7F) /* not a number */
            block[i] &= 0xFE;
    const size_t down = (lines + SCALE_BLOCK - 1) / SCALE_BLOCK, across = (along + SCALE_BLOCK - 1) / SCALE_BLOCK;
    uint8_t *scales = block + ((lines * along + 3) & ~(size_t)3);
    const bool powers = form == FORM_F8_E8M0 || form == FORM_F8_E8M0_T;
    for (size_t i = 0; i < down * across; i++) {
        const float scale = scale_of(state);
        if (powers)
            scales[i] = (uint8_t)(114 + next(state) % 12);
        else
            memcpy(scales + 4 * i, &scale, 4);
    }
    return (Matrix){.form = form, .rows = rows, .cols = cols, .data = block, .row_bytes = along, .scales = scales,
                    .scale_row_bytes = across * (powers ? 1 : 4), .scale_type = powers ? SCALE_E8M0 : SCALE_F32,
                    .block_rows = SCALE_BLOCK, .block_cols = SCALE_BLOCK};
}

/* Values along the inputs, scales [row][group]. */
static Matrix sample_split(Form form, int rows, int cols, int bits, SampleKind kind, uint32_t *state, uint8_t *block) {
    const size_t n_row = (size_t)rows, n_col = (size_t)cols;
    const bool packed = form == FORM_INT_PACKED;
    Matrix m = {.form = form, .rows = rows, .cols = cols, .data = block, .global_scale = 1,
                .row_bytes = packed ? n_col * (size_t)bits / 8 : row_bytes_of(form, n_col), .bits = (uint8_t)bits};
    const size_t codes = m.row_bytes * n_row, group = form == FORM_MXFP4_SPLIT ? 32 : form == FORM_NVFP4_SPLIT ? 16 : 32;
    fill(block, codes, kind, state);
    uint8_t *scales = block + codes;
    const size_t groups = n_col / group;
    m.scales = scales;
    m.block_cols = (uint16_t)group;
    if (form == FORM_MXFP4_SPLIT || form == FORM_NVFP4_SPLIT) {
        m.scale_type = form == FORM_MXFP4_SPLIT ? SCALE_E8M0 : SCALE_E4M3;
        m.scale_row_bytes = groups;
        m.global_scale = form == FORM_NVFP4_SPLIT ? 0.01f : 1;
        for (size_t i = 0; i < n_row * groups; i++)
            scales[i] = (uint8_t)(form == FORM_MXFP4_SPLIT ? 114 + next(state) % 12 : 40 + next(state) % 30);
        return m;
    }
    m.scale_type = SCALE_F16;
    m.scale_row_bytes = 2 * groups;
    for (size_t i = 0; i < n_row * groups; i++)
        put_f16(scales + 2 * i, scale_of(state));
    if (packed) {
        uint8_t *zeros = scales + 2 * n_row * groups;
        m.zeros = zeros;
        m.zero_row_bytes = 4 * groups;
        fill(zeros, (n_row * (size_t)bits / 32 + 1) * m.zero_row_bytes, kind, state);
    }
    return m;
}

/* GPTQ and AWQ: values, scales and zero points by input (or group) first. */
static Matrix sample_gptq(Form form, int rows, int cols, int bits, SampleKind kind, uint32_t *state, uint8_t *block) {
    const size_t n_row = (size_t)rows, n_col = (size_t)cols, groups = (n_col + PACKED_GROUP - 1) / PACKED_GROUP;
    const bool awq = form == FORM_AWQ;
    const size_t zero_bytes = (n_row * (size_t)bits + 31) / 32 * 4;
    Matrix m = {.form = form, .rows = rows, .cols = cols, .data = block, .bits = (uint8_t)(awq ? 4 : bits),
                .row_bytes = awq ? (n_row + 7) / 8 * 4 : 4 * n_row, .scale_type = SCALE_F16, .scale_row_bytes = 2 * n_row,
                .zero_row_bytes = zero_bytes, .zero_plus = awq ? 0 : 1, .block_cols = PACKED_GROUP};
    const size_t codes = m.row_bytes * (awq ? n_col : n_col * (size_t)bits / 32);
    fill(block, codes, kind, state);
    uint8_t *at = block + ((codes + 3) & ~(size_t)3);
    m.scales = at;
    for (size_t i = 0; i < n_row * groups; i++)
        put_f16(at + 2 * i, scale_of(state));
    at += (2 * n_row * groups + 3) & ~(size_t)3;
    m.zeros = at;
    fill(at, zero_bytes * groups, kind, state);
    if (form == FORM_GPTQ_ORDER) {
        int32_t *order = (int32_t *)(void *)(at + zero_bytes * groups);
        for (size_t k = 0; k < n_col; k++)
            order[k] = (int32_t)(next(state) % groups);
        m.order = order;
    }
    return m;
}

Matrix form_sample(Form form, int rows, int cols, int bits, SampleKind kind, uint32_t seed, uint8_t *block) {
    uint32_t state = seed * 2654435761u + 1;
    if (state == 0)
        state = 1;
    switch (form) {
    case FORM_F32: case FORM_F16: case FORM_BF16: case FORM_F32_T: case FORM_F16_T: case FORM_BF16_T:
        return sample_plain(form, rows, cols, kind, &state, block);
    case FORM_F8_BLOCK: case FORM_F8_E8M0: case FORM_F8_BLOCK_T: case FORM_F8_E8M0_T:
        return sample_f8(form, rows, cols, kind, &state, block);
    case FORM_GPTQ: case FORM_GPTQ_ORDER: case FORM_AWQ:
        return sample_gptq(form, rows, cols, bits, kind, &state, block);
    case FORM_MXFP4_SPLIT: case FORM_NVFP4_SPLIT: case FORM_I8_SCALED: case FORM_INT_PACKED:
        return sample_split(form, rows, cols, bits, kind, &state, block);
    default:
        return sample_ggml(form, rows, cols, kind, &state, block);
    }
}
