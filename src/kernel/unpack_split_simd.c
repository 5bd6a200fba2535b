/* unpack_split_simd.c - tiles from quantised weights as safetensors checkpoints publish them (op/form_split.c): values in
 * one tensor, scales and zero points in others; compiled for each level that has vectors of bytes.
 *
 * Scales that reach over more than 32 inputs are read once for all of them. */
#include "kernel/kernel_parts.h"

#include "kernel/native.h"

#if defined(NATIVE_X86)

typedef struct Sink {
    uint8_t *q;
} Sink;

static ALWAYS_INLINE void put(Sink *s, int i, NI four) {
    ni_store(s->q + 64 * i, four);
}

#include "kernel/groups_ggml.h"

#include "base/bytes.h"
#include "op/form_split.h"

/* ---- scales ---- */

/* E4M3 with sign, not a number where all its other bits are set; see half_scale_of_e4m3. */
static ALWAYS_INLINE NF f8_of_lanes(NI byte) {
    const NI magnitude = ni_and(byte, ni_set(0x7F)), sign = ni_and(byte, ni_set(0x80));
    const NF x = nf_mul(nf_of_f16_lanes(ni_or(ni_sll(magnitude, 7), ni_sll(sign, 8))), nf_set(256.0f));
#if defined(NATIVE_512)
    return _mm512_mask_mov_ps(x, _mm512_cmpeq_epi32_mask(magnitude, ni_set(0x7F)), nf_bits(ni_set(0x7FC00000)));
#else
    const NI nan = _mm256_cmpeq_epi32(magnitude, ni_set(0x7F));
    return nf_bits(ni_pick(nan, ni_set(0x7FC00000), _mm256_castps_si256(x)));
#endif
}

/* One scale of each of NI_LANES rows, `stride` bytes apart. */
static ALWAYS_INLINE NF scales_of_rows(const Matrix *m, const uint8_t *p, int index, size_t stride) {
    switch ((ScaleType)m->scale_type) {
    case SCALE_F32: return nf_bits(gather_32(p + 4 * index, stride));
    case SCALE_F16: return gather_f16(p + 2 * index, stride);
    case SCALE_E4M3: return f8_of_lanes(gather_8(p + index, stride));
    case SCALE_BF16: {
        NI v = ni_zero();
        uint16_t x[NI_LANES];
        for (int l = 0; l < NI_LANES; l++)
            x[l] = load_u16(p + 2 * index + (size_t)l * stride);
#if defined(NATIVE_512)
        v = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)x));
#else
        v = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)x));
#endif
        return nf_bits(ni_sll(v, 16));
    }
    default: {
        float x[NI_LANES];
        for (int l = 0; l < NI_LANES; l++)
            x[l] = float_of_e8m0(p[index + (ptrdiff_t)((size_t)l * stride)]);
        return nf_load(x);
    }
    }
}

/* NI_LANES scales that stand side by side. */
static ALWAYS_INLINE NF scales_in_line(const Matrix *m, const uint8_t *line, int row) {
    switch ((ScaleType)m->scale_type) {
    case SCALE_F32: return nf_load((const float *)(const void *)(line + 4 * (size_t)row));
    case SCALE_F16: return nf_load_f16(line + 2 * (size_t)row);
    default: return scales_of_rows(m, line, row, m->scale_type == SCALE_BF16 ? 2 : 1);
    }
}

/* ---- values ---- */

/* Eight nibbles of each lane, low ones first, as two fours. */
static ALWAYS_INLINE void spread_nibbles(NI *first, NI *second, NI x) {
    const NI low = ni_set16(_mm_setr_epi8(0, 0, 1, 1, 4, 4, 5, 5, 8, 8, 9, 9, 12, 12, 13, 13));
    const NI high = ni_set16(_mm_setr_epi8(2, 2, 3, 3, 6, 6, 7, 7, 10, 10, 11, 11, 14, 14, 15, 15));
    const NI even = ni_set(0x00FF00FF), nibble = ni_set8(0x0F);
    const NI a = ni_shuffle8(x, low), b = ni_shuffle8(x, high);
    *first = ni_and(ni_pick(even, a, ni_srl(a, 4)), nibble);
    *second = ni_and(ni_pick(even, b, ni_srl(b, 4)), nibble);
}

/* 32 nibbles of each row, as they are or as indices into a table. */
static ALWAYS_INLINE void put_rows_of_nibbles(Sink *s, const uint8_t *p, size_t stride, const NI *table) {
    NI x[4];
    turn_rows_16(x, p, stride);
    for (int i = 0; i < 4; i++) {
        NI a, b;
        spread_nibbles(&a, &b, x[i]);
        put(s, 2 * i, table != NULL ? ni_shuffle8(*table, a) : a);
        put(s, 2 * i + 1, table != NULL ? ni_shuffle8(*table, b) : b);
    }
}

static ALWAYS_INLINE void put_rows_of_bytes(Sink *s, const uint8_t *p, size_t stride, int flip) {
    NI x[8];
    turn_rows_32(x, p, stride);
    for (int i = 0; i < 8; i++)
        put(s, i, ni_xor(x[i], ni_set8(flip)));
}

/* ---- forms ---- */

static void unpack_mxfp4_split(const Matrix *m, int row0, int col, int n, BlockTile *tile) {
    const NI table = table_16(fp4_levels_doubled, 16);
    for (int lane = 0; lane < LINEAR_PANEL; lane += NI_LANES) {
        const uint8_t *p = m->data + (size_t)(row0 + lane) * m->row_bytes + (size_t)col / 2;
        const uint8_t *scales = m->scales + (size_t)(row0 + lane) * m->scale_row_bytes + (size_t)col / 32;
        for (int g = 0; g < n / 32; g++) {
            Sink s = {tile->q[8 * g][lane]};
            put_rows_of_nibbles(&s, p + 16 * g, m->row_bytes, &table);
            nf_store(tile->d[g] + lane, half_scale_of_e8m0(gather_8(scales + g, m->scale_row_bytes)));
        }
    }
}

static void unpack_nvfp4_split(const Matrix *m, int row0, int col, int n, BlockTile *tile) {
    const NI table = table_16(fp4_levels_doubled, 16);
    const NF global = nf_set(m->global_scale), half = nf_set(0.5f);
    for (int lane = 0; lane < LINEAR_PANEL; lane += NI_LANES) {
        const uint8_t *p = m->data + (size_t)(row0 + lane) * m->row_bytes + (size_t)col / 2;
        const uint8_t *scales = m->scales + (size_t)(row0 + lane) * m->scale_row_bytes;
        for (int g = 0; g < n / 32; g++) {
            Sink s = {tile->q[8 * g][lane]};
            put_rows_of_nibbles(&s, p + 16 * g, m->row_bytes, &table);
            for (int i = 2 * g; i < 2 * g + 2; i++) {
                const NF scale = scales_of_rows(m, scales, col / 16 + i, m->scale_row_bytes);
                nf_store(tile->d[i] + lane, nf_mul(nf_mul(scale, global), half));
            }
        }
    }
}

static void unpack_i8_scaled(const Matrix *m, int row0, int col, int n, BlockTile *tile) {
    for (int lane = 0; lane < LINEAR_PANEL; lane += NI_LANES) {
        const uint8_t *p = m->data + (size_t)(row0 + lane) * m->row_bytes + (size_t)col;
        const uint8_t *scales = m->scales + (size_t)(row0 + lane) * m->scale_row_bytes;
        NF d = nf_zero();
        for (int g = 0; g < n / 32; g++) {
            Sink s = {tile->q[8 * g][lane]};
            put_rows_of_bytes(&s, p + 32 * g, m->row_bytes, 0x80);
            if (g == 0 || (col + 32 * g) % m->block_cols == 0)
                d = scales_of_rows(m, scales, (col + 32 * g) / m->block_cols, m->scale_row_bytes);
            nf_store(tile->d[g] + lane, d);
        }
    }
}

/* m = scale * (half - zero): what a zero point adds. */
static ALWAYS_INLINE NF min_of_zeros(NF scale, const int32_t *zeros, int half) {
    return nf_mul(scale, nf_of_ni(ni_sub(ni_set(half), ni_load(zeros))));
}

static void zeros_int_packed(const Matrix *m, int row, int group, int32_t *zeros) {
    const int per_word = 32 / m->bits;
    for (int l = 0; l < NI_LANES; l++) {
        const int at = row + l + m->scale_row0;
        const uint8_t *word = m->zeros + (size_t)(at / per_word) * m->zero_row_bytes + 4 * (size_t)group;
        zeros[l] = (int32_t)(load_u32(word) >> (at % per_word * m->bits) & ((1u << m->bits) - 1));
    }
}

static void unpack_int_packed(const Matrix *m, int row0, int col, int n, BlockTile *tile) {
    const int half = 1 << (m->bits - 1);
    for (int lane = 0; lane < LINEAR_PANEL; lane += NI_LANES) {
        const uint8_t *p = m->data + (size_t)(row0 + lane) * m->row_bytes + (size_t)(col * m->bits / 8);
        const uint8_t *scales = m->scales + (size_t)(row0 + lane) * m->scale_row_bytes;
        NF d = nf_zero(), min = nf_zero();
        for (int g = 0; g < n / 32; g++) {
            Sink s = {tile->q[8 * g][lane]};
            if (m->bits == 4)
                put_rows_of_nibbles(&s, p + 16 * g, m->row_bytes, NULL);
            else
                put_rows_of_bytes(&s, p + 32 * g, m->row_bytes, 0);
            if (g == 0 || (col + 32 * g) % m->block_cols == 0) {
                const int group = (col + 32 * g) / m->block_cols;
                d = scales_of_rows(m, scales, group, m->scale_row_bytes);
                if (m->zeros != NULL) {
                    int32_t zeros[NI_LANES];
                    zeros_int_packed(m, row0 + lane, group, zeros);
                    min = min_of_zeros(d, zeros, half);
                } else {
                    min = nf_mul(d, nf_zero()); /* its sign and its NaN, as the definition has them */
                }
            }
            nf_store(tile->d[g] + lane, d);
            nf_store(tile->m[g] + lane, min);
        }
    }
}

/* GPTQ and AWQ have the outputs side by side: no turning. */
static void unpack_gptq(const Matrix *m, int row0, int col, int n, BlockTile *tile) {
    const int half = 1 << (m->bits - 1), per_word = 32 / m->bits;
    for (int lane = 0; lane < LINEAR_PANEL; lane += NI_LANES) {
        const int row = row0 + lane;
        const uint8_t *p = m->data + (size_t)(col / per_word) * m->row_bytes + 4 * (size_t)row;
        NF d = nf_zero(), min = nf_zero();
        for (int g = 0; g < n / 32; g++) {
            Sink s = {tile->q[8 * g][lane]};
            if (m->bits == 4) {
                for (int i = 0; i < 4; i++) {
                    NI a, b;
                    spread_nibbles(&a, &b, ni_load(p + (size_t)(4 * g + i) * m->row_bytes));
                    put(&s, 2 * i, a);
                    put(&s, 2 * i + 1, b);
                }
            } else {
                for (int i = 0; i < 8; i++)
                    put(&s, i, ni_load(p + (size_t)(8 * g + i) * m->row_bytes));
            }
            if (g == 0 || (col + 32 * g) % m->block_cols == 0) {
                const size_t group = (size_t)((col + 32 * g) / m->block_cols);
                const uint8_t *words = m->zeros + group * m->zero_row_bytes;
                int32_t zeros[NI_LANES];
                for (int l = 0; l < NI_LANES; l++) {
                    const uint32_t word = load_u32(words + (size_t)((row + l) / per_word) * 4);
                    zeros[l] = (int32_t)(word >> ((row + l) % per_word * m->bits) & ((1u << m->bits) - 1)) + m->zero_plus;
                }
                d = scales_in_line(m, m->scales + group * m->scale_row_bytes, row);
                min = min_of_zeros(d, zeros, half);
            }
            nf_store(tile->d[g] + lane, d);
            nf_store(tile->m[g] + lane, min);
        }
    }
}

/* NI_LANES outputs of four inputs: words of eight outputs in the order 0 2 4 6 1 3 5 7. In each 16-byte lane, whose four
 * outputs are 0-3 or 4-7 of a word, the words of the four inputs are gathered; outputs 0, 1 (4, 5) are the low nibbles
 * of bytes 0, 2 (1, 3), outputs 2, 3 (6, 7) the high ones. */
static ALWAYS_INLINE NI awq_four(const uint8_t *p, size_t stride) {
    const __m128i even = _mm_setr_epi8(0, 4, 8, 12, 2, 6, 10, 14, 0, 4, 8, 12, 2, 6, 10, 14);
    const __m128i odd = _mm_add_epi8(even, _mm_set1_epi8(1));
#if defined(NATIVE_512)
    const __m128i a = _mm_set_epi64x((long long)load_u64(p + stride), (long long)load_u64(p));
    const __m128i b = _mm_set_epi64x((long long)load_u64(p + 3 * stride), (long long)load_u64(p + 2 * stride));
    const __m512i all = _mm512_castsi256_si512(_mm256_set_m128i(b, a));
    const __m512i words = _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6, 1, 3, 5, 7, 1, 3, 5, 7), all);
    const __m256i both = _mm256_set_m128i(odd, even);
    const NI bytes = ni_shuffle8(words, _mm512_broadcast_i64x4(both));
    const NI shift = ni_set16(_mm_setr_epi32(0, 0, 4, 4));
    return ni_and(_mm512_srlv_epi32(bytes, shift), ni_set8(0x0F));
#else
    const __m128i words = _mm_setr_epi32((int)load_u32(p), (int)load_u32(p + stride), (int)load_u32(p + 2 * stride),
                                         (int)load_u32(p + 3 * stride));
    const NI bytes = ni_shuffle8(ni_set16(words), _mm256_set_m128i(odd, even));
    return ni_and(_mm256_srlv_epi32(bytes, ni_set16(_mm_setr_epi32(0, 0, 4, 4))), ni_set8(0x0F));
#endif
}

static void unpack_awq(const Matrix *m, int row0, int col, int n, BlockTile *tile) {
    static const uint8_t place[8] = {0, 4, 1, 5, 2, 6, 3, 7};
    for (int lane = 0; lane < LINEAR_PANEL; lane += NI_LANES) {
        const int row = row0 + lane;
        const uint8_t *p = m->data + (size_t)col * m->row_bytes + (size_t)(row / 8) * 4;
        NF d = nf_zero(), min = nf_zero();
        for (int g = 0; g < n / 32; g++) {
            Sink s = {tile->q[8 * g][lane]};
            for (int i = 0; i < 8; i++)
                put(&s, i, awq_four(p + (size_t)(32 * g + 4 * i) * m->row_bytes, m->row_bytes));
            if (g == 0 || (col + 32 * g) % m->block_cols == 0) {
                const size_t group = (size_t)((col + 32 * g) / m->block_cols);
                const uint8_t *words = m->zeros + group * m->zero_row_bytes;
                int32_t zeros[NI_LANES];
                for (int l = 0; l < NI_LANES; l++)
                    zeros[l] = (int32_t)(load_u32(words + (size_t)((row + l) / 8) * 4) >> (4 * place[(row + l) % 8]) & 15);
                d = scales_in_line(m, m->scales + group * m->scale_row_bytes, row);
                min = min_of_zeros(d, zeros, 8);
            }
            nf_store(tile->d[g] + lane, d);
            nf_store(tile->m[g] + lane, min);
        }
    }
}

/* ---- 8-bit floats with a scale for each block of the tensor as it is stored ---- */

/* The scales of NI_LANES outputs (those of a row, for numbers stored by input) at an input. */
static ALWAYS_INLINE NF scales_of_f8(const Matrix *m, int row, int col, bool by_input) {
    float x[NI_LANES];
    for (int l = 0; l < NI_LANES; l++) {
        const int stored_row = (by_input ? col : row + l) + m->scale_row0;
        const int stored_col = (by_input ? row + l : col) + m->scale_col0;
        x[l] = form_scale_at(m, (size_t)(stored_row / m->block_rows), (size_t)(stored_col / m->block_cols));
    }
    return nf_load(x);
}

/* Inputs from `col` on, at most n, that share their scales with it. */
static ALWAYS_INLINE int inputs_of_scale(const Matrix *m, int col, int n, bool by_input) {
    const int length = by_input ? m->block_rows : m->block_cols;
    return MIN(n, length - (col + (by_input ? m->scale_row0 : m->scale_col0)) % length);
}

/* Values first, sixteen inputs at a time; then scales, which may reach to any input. */
static ALWAYS_INLINE void scale_f8(const Matrix *m, int row0, int col, int n, FloatTile *tile, bool by_input) {
    for (int lane = 0; lane < LINEAR_PANEL; lane += NI_LANES)
        for (int k = 0; k < n;) {
            const NF scale = scales_of_f8(m, row0 + lane, col + k, by_input);
            for (const int end = k + inputs_of_scale(m, col + k, n - k, by_input); k < end; k++)
                nf_store(tile->w[k] + lane, nf_mul(nf_load(tile->w[k] + lane), scale));
        }
}

static void unpack_f8(const Matrix *m, int row0, int col, int n, FloatTile *tile) {
    for (int lane = 0; lane < LINEAR_PANEL; lane += NI_LANES)
        for (int k = 0; k < n; k += 16) {
            NI x[4];
            turn_rows_16(x, m->data + (size_t)(row0 + lane) * m->row_bytes + (size_t)(col + k), m->row_bytes);
            for (int i = 0; i < 16; i++)
                nf_store(tile->w[k + i] + lane, f8_of_lanes(ni_and(ni_srl(x[i / 4], 8 * (i % 4)), ni_set(0xFF))));
        }
    scale_f8(m, row0, col, n, tile, false);
}

static void unpack_f8_by_input(const Matrix *m, int row0, int col, int n, FloatTile *tile) {
    const size_t step = m->row_step != 0 ? (size_t)m->row_step : 1;
    for (int k = 0; k < n; k++) {
        const uint8_t *p = m->data + (size_t)(col + k) * m->row_bytes + (size_t)row0 * step;
        for (int lane = 0; lane < LINEAR_PANEL; lane += NI_LANES)
            nf_store(tile->w[k] + lane, f8_of_lanes(gather_8(p + (size_t)lane * step, step)));
    }
    scale_f8(m, row0, col, n, tile, true);
}

void K(unpackers_fill_split)(Unpackers *u) {
    u->block[FORM_MXFP4_SPLIT] = unpack_mxfp4_split;
    u->block[FORM_NVFP4_SPLIT] = unpack_nvfp4_split;
    u->block[FORM_I8_SCALED] = unpack_i8_scaled;
    u->block[FORM_INT_PACKED] = unpack_int_packed;
    u->block[FORM_GPTQ] = unpack_gptq;
    u->block[FORM_AWQ] = unpack_awq;
    u->floats[FORM_F8_BLOCK] = u->floats[FORM_F8_E8M0] = unpack_f8;
    u->floats[FORM_F8_BLOCK_T] = u->floats[FORM_F8_E8M0_T] = unpack_f8_by_input;
}

#endif
