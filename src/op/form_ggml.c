/* form_ggml.c - ggml's quantised blocks (the types GGUF files hold), decoded to integers and scales.
 *
 * Source of the layouts: the GGUF format as published with ggml; reference values in tests/golden/gguf/types. The
 * formulas in comments are w(i) in terms of the fields. All multi-byte fields are little-endian. */
#include "op/form_ggml.h"

#include "base/bytes.h"
#include "base/half.h"
#include "op/iq_grids.h"

#include <string.h>

static float half_at(const uint8_t *p) {
    return float_of_f16(load_u16(p));
}

static const uint8_t *block_at(const Matrix *m, int row, int col, int length, int bytes) {
    return m->data + (size_t)row * m->row_bytes + (size_t)(col / length) * (size_t)bytes;
}

static void same_scale(Block32 *out, float d, float m) {
    out->d[0] = out->d[1] = d;
    out->m[0] = out->m[1] = m;
}

/* Low nibbles are the first half of a block, high nibbles the second. */
static void nibbles(int8_t *q, const uint8_t *bytes, int half, int less) {
    for (int i = 0; i < half; i++) {
        q[i] = (int8_t)((bytes[i] & 15) - less);
        q[i + half] = (int8_t)((bytes[i] >> 4) - less);
    }
}

/* Q4_0: d, 16 bytes of nibbles; w = d (q - 8) */
static void block_q4_0(const Matrix *m, int row, int col, Block32 *out) {
    const uint8_t *b = block_at(m, row, col, 32, 18);
    same_scale(out, half_at(b), 0);
    nibbles(out->q, b + 2, 16, 8);
}

/* Q4_1: d, m, nibbles; w = d q + m */
static void block_q4_1(const Matrix *m, int row, int col, Block32 *out) {
    const uint8_t *b = block_at(m, row, col, 32, 20);
    same_scale(out, half_at(b), half_at(b + 2));
    nibbles(out->q, b + 4, 16, 0);
}

static void fifth_bits(int8_t *q, uint32_t bits) {
    for (int i = 0; i < 32; i++)
        q[i] = (int8_t)(q[i] + (int)((bits >> i & 1) << 4));
}

/* Q5_0: d, 32 fifth bits, nibbles; w = d (q - 16) */
static void block_q5_0(const Matrix *m, int row, int col, Block32 *out) {
    const uint8_t *b = block_at(m, row, col, 32, 22);
    same_scale(out, half_at(b), 0);
    nibbles(out->q, b + 6, 16, 16);
    fifth_bits(out->q, load_u32(b + 2));
}

/* Q5_1: d, m, 32 fifth bits, nibbles; w = d q + m */
static void block_q5_1(const Matrix *m, int row, int col, Block32 *out) {
    const uint8_t *b = block_at(m, row, col, 32, 24);
    same_scale(out, half_at(b), half_at(b + 2));
    nibbles(out->q, b + 8, 16, 0);
    fifth_bits(out->q, load_u32(b + 4));
}

/* Q8_0: d, 32 signed bytes; w = d q */
static void block_q8_0(const Matrix *m, int row, int col, Block32 *out) {
    const uint8_t *b = block_at(m, row, col, 32, 34);
    same_scale(out, half_at(b), 0);
    memcpy(out->q, b + 2, 32);
}

/* IQ4_NL: d, nibbles that index a table of 16 values; w = d v[q] */
static void block_iq4_nl(const Matrix *m, int row, int col, Block32 *out) {
    const uint8_t *b = block_at(m, row, col, 32, 18);
    same_scale(out, half_at(b), 0);
    nibbles(out->q, b + 2, 16, 0);
    for (int i = 0; i < 32; i++)
        out->q[i] = iq4_levels[out->q[i]];
}

/* MXFP4: exponent e, nibbles of E2M1; w = 2^(e - 127) v[q], with v doubled and the scale halved */
static void block_mxfp4(const Matrix *m, int row, int col, Block32 *out) {
    const uint8_t *b = block_at(m, row, col, 32, 17);
    same_scale(out, half_of_e8m0(b[0]), 0);
    nibbles(out->q, b + 1, 16, 0);
    for (int i = 0; i < 32; i++)
        out->q[i] = fp4_levels_doubled[out->q[i]];
}

/* NVFP4: 4 scales (unsigned E4M3, 0x7F reads as zero) for 16 numbers each, then 8 bytes of nibbles for each of them */
static void block_nvfp4(const Matrix *m, int row, int col, Block32 *out) {
    const uint8_t *b = block_at(m, row, col, 64, 36);
    const int first = col % 64 / 16;
    for (int g = 0; g < 2; g++) {
        const uint8_t scale = b[first + g] & 0x7F;
        out->d[g] = scale == 0x7F ? 0 : float_of_f8e4m3(scale) * 0.5f;
        out->m[g] = 0;
        nibbles(out->q + 16 * g, b + 4 + 8 * (first + g), 8, 0);
    }
    for (int i = 0; i < 32; i++)
        out->q[i] = fp4_levels_doubled[out->q[i]];
}

/* Q1_0: d, 128 bits, lowest first; w = d or -d */
static void block_q1_0(const Matrix *m, int row, int col, Block32 *out) {
    const uint8_t *b = block_at(m, row, col, 128, 18);
    same_scale(out, half_at(b), 0);
    const uint32_t bits = load_u32(b + 2 + col % 128 / 8);
    for (int i = 0; i < 32; i++)
        out->q[i] = bits >> i & 1 ? 1 : -1;
}

/* Q2_0: d, 64 pairs of bits, lowest first; w = d (q - 1) */
static void block_q2_0(const Matrix *m, int row, int col, Block32 *out) {
    const uint8_t *b = block_at(m, row, col, 64, 18);
    same_scale(out, half_at(b), 0);
    const uint8_t *pairs = b + 2 + col % 64 / 4;
    for (int i = 0; i < 32; i++)
        out->q[i] = (int8_t)((pairs[i / 4] >> (2 * (i % 4)) & 3) - 1);
}

/* ---- blocks of 256 --------------------------------------------------------------------------------------------- */

/* Numbers 128 h + 32 j + l come from byte 32 h + l, bits 2 j (Q2_K, Q3_K). */
static void two_bit_planes(int8_t *q, const uint8_t *bytes) {
    for (int i = 0; i < 256; i++)
        q[i] = (int8_t)(bytes[i / 128 * 32 + i % 32] >> (2 * (i % 128 / 32)) & 3);
}

/* Q2_K: 16 bytes of scale (low nibble) and min (high nibble), 64 bytes of q, d, dm; w = d sc q - dm mn */
static void super_q2_k(const Matrix *m, int row, int col, Super256 *out) {
    const uint8_t *b = block_at(m, row, col, 256, 84);
    for (int g = 0; g < 16; g++) {
        out->sc[g] = b[g] & 15;
        out->mn[g] = b[g] >> 4;
    }
    two_bit_planes(out->q, b + 16);
    out->d = half_at(b + 80);
    out->dm = half_at(b + 82);
}

/* Q3_K: 32 bytes of third bits (inverted: clear means minus 4), 64 bytes of q, 12 bytes of 6-bit scales, d;
 * w = d (sc - 32) q */
static void super_q3_k(const Matrix *m, int row, int col, Super256 *out) {
    const uint8_t *b = block_at(m, row, col, 256, 110);
    two_bit_planes(out->q, b + 32);
    for (int i = 0; i < 256; i++)
        if ((b[i % 32] >> (i / 32) & 1) == 0)
            out->q[i] = (int8_t)(out->q[i] - 4);
    const uint8_t *s = b + 96;
    for (int g = 0; g < 16; g++) {
        const int low = g < 8 ? s[g] & 15 : s[g - 8] >> 4;
        const int high = s[8 + g % 4] >> (2 * (g / 4)) & 3;
        out->sc[g] = (int16_t)((low | high << 4) - 32);
        out->mn[g] = 0;
    }
    out->d = half_at(b + 108);
    out->dm = 0;
}

/* Eight 6-bit scales and mins in 12 bytes (Q4_K, Q5_K); each reaches over 32 numbers, two of our groups. */
static void six_bit_scales(const uint8_t *s, Super256 *out) {
    for (int g = 0; g < 8; g++) {
        int sc, mn;
        if (g < 4) {
            sc = s[g] & 63;
            mn = s[g + 4] & 63;
        } else {
            sc = (s[g + 4] & 15) | (s[g - 4] >> 6) << 4;
            mn = s[g + 4] >> 4 | (s[g] >> 6) << 4;
        }
        out->sc[2 * g] = out->sc[2 * g + 1] = (int16_t)sc;
        out->mn[2 * g] = out->mn[2 * g + 1] = (int16_t)mn;
    }
}

/* Q4_K: d, dm, 12 bytes of scales, 4 runs of 32 bytes: low nibbles 32 numbers, high nibbles the next 32 */
static void super_q4_k(const Matrix *m, int row, int col, Super256 *out) {
    const uint8_t *b = block_at(m, row, col, 256, 144);
    out->d = half_at(b);
    out->dm = half_at(b + 2);
    six_bit_scales(b + 4, out);
    for (int run = 0; run < 4; run++)
        nibbles(out->q + 64 * run, b + 16 + 32 * run, 32, 0);
}

/* Q5_K: as Q4_K with 32 bytes of fifth bits (bit g of byte l for number 32 g + l) before the nibbles */
static void super_q5_k(const Matrix *m, int row, int col, Super256 *out) {
    const uint8_t *b = block_at(m, row, col, 256, 176);
    out->d = half_at(b);
    out->dm = half_at(b + 2);
    six_bit_scales(b + 4, out);
    for (int run = 0; run < 4; run++)
        nibbles(out->q + 64 * run, b + 48 + 32 * run, 32, 0);
    for (int i = 0; i < 256; i++)
        out->q[i] = (int8_t)(out->q[i] | (b[16 + i % 32] >> (i / 32) & 1) << 4);
}

/* Q6_K: 128 bytes of low nibbles, 64 of high pairs, 16 signed scales, d; w = d sc (q - 32).
 * In each half of 128: number 32 j + l has the nibble j / 2 of byte 32 (j % 2) + l and the pair j of byte l. */
static void super_q6_k(const Matrix *m, int row, int col, Super256 *out) {
    const uint8_t *b = block_at(m, row, col, 256, 210);
    for (int i = 0; i < 256; i++) {
        const int half = i / 128, j = i % 128 / 32, l = i % 32;
        const int low = b[half * 64 + 32 * (j % 2) + l] >> (4 * (j / 2)) & 15;
        const int high = b[128 + half * 32 + l] >> (2 * j) & 3;
        out->q[i] = (int8_t)((low | high << 4) - 32);
    }
    for (int g = 0; g < 16; g++) {
        out->sc[g] = (int8_t)b[192 + g];
        out->mn[g] = 0;
    }
    out->d = half_at(b + 208);
    out->dm = 0;
}

static void flat_scale(Super256 *out, float d) {
    for (int g = 0; g < 16; g++) {
        out->sc[g] = 1;
        out->mn[g] = 0;
    }
    out->d = d;
    out->dm = 0;
}

/* IQ4_XS: d, 8 scales of 6 bits (high pairs in 2 bytes, low nibbles in 4), nibbles; w = d (sc - 32) v[q] */
static void super_iq4_xs(const Matrix *m, int row, int col, Super256 *out) {
    const uint8_t *b = block_at(m, row, col, 256, 136);
    flat_scale(out, half_at(b));
    const unsigned high = load_u16(b + 2);
    for (int g = 0; g < 8; g++) {
        const int sc = (b[4 + g / 2] >> (4 * (g % 2)) & 15) | (int)(high >> (2 * g) & 3) << 4;
        out->sc[2 * g] = out->sc[2 * g + 1] = (int16_t)(sc - 32);
        nibbles(out->q + 32 * g, b + 8 + 16 * g, 16, 0);
    }
    for (int i = 0; i < 256; i++)
        out->q[i] = iq4_levels[out->q[i]];
}

/* The trit number n (0 = first) of a byte that holds five as a fixed-point fraction of 243. */
static int8_t trit(uint8_t byte, int n) {
    static const uint8_t powers[5] = {1, 3, 9, 27, 81};
    const uint8_t shifted = (uint8_t)(byte * powers[n]);
    return (int8_t)((shifted * 3 >> 8) - 1);
}

/* TQ1_0: 48 bytes of 5 trits, 4 bytes of 4 trits, d. Bytes 0..31 hold numbers 0..159 (32 n + byte), bytes 32..47
 * numbers 160..239 (16 n + byte), the last four 240..255 (4 n + byte). */
static void super_tq1_0(const Matrix *m, int row, int col, Super256 *out) {
    const uint8_t *b = block_at(m, row, col, 256, 54);
    for (int i = 0; i < 160; i++)
        out->q[i] = trit(b[i % 32], i / 32);
    for (int i = 0; i < 80; i++)
        out->q[160 + i] = trit(b[32 + i % 16], i / 16);
    for (int i = 0; i < 16; i++)
        out->q[240 + i] = trit(b[48 + i % 4], i / 4);
    flat_scale(out, half_at(b + 52));
}

/* TQ2_0: 64 bytes of pairs as in Q2_K, d; w = d (q - 1) */
static void super_tq2_0(const Matrix *m, int row, int col, Super256 *out) {
    const uint8_t *b = block_at(m, row, col, 256, 66);
    two_bit_planes(out->q, b);
    for (int i = 0; i < 256; i++)
        out->q[i] = (int8_t)(out->q[i] - 1);
    flat_scale(out, half_at(b + 64));
}

const FormInfo form_infos_ggml[FORM_COUNT] = {
    [FORM_Q4_0] = {"Q4_0", CLASS_BLOCK, 32, false, 8, 15, 32, block_q4_0, NULL},
    [FORM_Q4_1] = {"Q4_1", CLASS_BLOCK, 32, true, 0, 15, 32, block_q4_1, NULL},
    [FORM_Q5_0] = {"Q5_0", CLASS_BLOCK, 32, false, 16, 31, 32, block_q5_0, NULL},
    [FORM_Q5_1] = {"Q5_1", CLASS_BLOCK, 32, true, 0, 31, 32, block_q5_1, NULL},
    [FORM_Q8_0] = {"Q8_0", CLASS_BLOCK, 32, false, 128, 255, 32, block_q8_0, NULL},
    [FORM_IQ4_NL] = {"IQ4_NL", CLASS_BLOCK, 32, false, 128, 255, 32, block_iq4_nl, NULL},
    [FORM_MXFP4] = {"MXFP4", CLASS_BLOCK, 32, false, 16, 31, 32, block_mxfp4, NULL},
    [FORM_NVFP4] = {"NVFP4", CLASS_BLOCK, 16, false, 16, 31, 64, block_nvfp4, NULL},
    [FORM_Q1_0] = {"Q1_0", CLASS_BLOCK, 32, false, 1, 15, 128, block_q1_0, NULL},
    [FORM_Q2_0] = {"Q2_0", CLASS_BLOCK, 32, false, 1, 15, 64, block_q2_0, NULL},
    [FORM_Q2_K] = {"Q2_K", CLASS_SUPER, 16, true, 0, 15, 256, NULL, super_q2_k},
    [FORM_Q3_K] = {"Q3_K", CLASS_SUPER, 16, false, 4, 15, 256, NULL, super_q3_k},
    [FORM_Q4_K] = {"Q4_K", CLASS_SUPER, 32, true, 0, 15, 256, NULL, super_q4_k},
    [FORM_Q5_K] = {"Q5_K", CLASS_SUPER, 32, true, 0, 31, 256, NULL, super_q5_k},
    [FORM_Q6_K] = {"Q6_K", CLASS_SUPER, 16, false, 32, 63, 256, NULL, super_q6_k},
    [FORM_IQ4_XS] = {"IQ4_XS", CLASS_SUPER, 32, false, 128, 255, 256, NULL, super_iq4_xs},
    [FORM_TQ1_0] = {"TQ1_0", CLASS_SUPER, 32, false, 1, 15, 256, NULL, super_tq1_0},
    [FORM_TQ2_0] = {"TQ2_0", CLASS_SUPER, 32, false, 1, 15, 256, NULL, super_tq2_0},
};
