/* dequantise_blocks.c - ggml's blocks whose numbers are a scale times a small integer (and perhaps minus an offset).
 *
 * Written for reading, not for speed: out[n] is spelled by n, and each function opens with the bytes of its block. The
 * order of the multiplications is ggml's, because the results must agree to the last bit. f16 is 2 bytes,
 * little-endian.
 *
 * In the K forms 256 numbers share f16 scales; sub-blocks of 16 or 32 have small integer scales of their own. Their
 * 2-bit codes lie as four planes in 32 bytes: byte l of a half holds numbers l, 32 + l, 64 + l and 96 + l. */
#include "format/dequantise.h"

#include "op/iq_grids.h"

/* Number n of 32 in 16 bytes: the low halves of the bytes are the first 16 numbers. */
static int nibble(const uint8_t *codes, int n) {
    return codes[n % 16] >> 4 * (n / 16) & 15;
}

/* ---- 32 numbers ------------------------------------------------------------------------------------------------ */

/* f16 d, 16 bytes of codes: d (code - 8) */
void dequantise_q4_0(const uint8_t *block, float *out) {
    const float d = load_f16(block);
    for (int n = 0; n < 32; n++)
        out[n] = (float)(nibble(block + 2, n) - 8) * d;
}

/* f16 d, f16 m, 16 bytes of codes: d code + m */
void dequantise_q4_1(const uint8_t *block, float *out) {
    const float d = load_f16(block), m = load_f16(block + 2);
    for (int n = 0; n < 32; n++)
        out[n] = (float)nibble(block + 4, n) * d + m;
}

/* f16 d, 32 fifth bits, 16 bytes of codes: d (code - 16) */
void dequantise_q5_0(const uint8_t *block, float *out) {
    const float d = load_f16(block);
    const uint32_t high = load_u32(block + 2);
    for (int n = 0; n < 32; n++)
        out[n] = (float)((nibble(block + 6, n) | (int)(high >> n & 1) << 4) - 16) * d;
}

/* f16 d, f16 m, 32 fifth bits, 16 bytes of codes: d code + m */
void dequantise_q5_1(const uint8_t *block, float *out) {
    const float d = load_f16(block), m = load_f16(block + 2);
    const uint32_t high = load_u32(block + 4);
    for (int n = 0; n < 32; n++)
        out[n] = (float)(nibble(block + 8, n) | (int)(high >> n & 1) << 4) * d + m;
}

/* f16 d, 32 signed bytes */
void dequantise_q8_0(const uint8_t *block, float *out) {
    const float d = load_f16(block);
    for (int n = 0; n < 32; n++)
        out[n] = (float)(int8_t)block[2 + n] * d;
}

/* f16 d, f16 d times the sum of the codes (for products, not needed here), 32 signed bytes */
void dequantise_q8_1(const uint8_t *block, float *out) {
    const float d = load_f16(block);
    for (int n = 0; n < 32; n++)
        out[n] = (float)(int8_t)block[4 + n] * d;
}

/* ---- 256 numbers: the K forms ---------------------------------------------------------------------------------- */

/* Number n of 256 in 64 bytes of 2-bit codes. */
static int plane2(const uint8_t *codes, int n) {
    return codes[n / 128 * 32 + n % 32] >> 2 * (n % 128 / 32) & 3;
}

/* 16 bytes of scales (low half: scale, high half: offset), 64 bytes of codes, f16 d, f16 dmin */
void dequantise_q2_k(const uint8_t *block, float *out) {
    const uint8_t *scales = block, *codes = block + 16;
    const float d = load_f16(block + 80), dmin = load_f16(block + 82);
    for (int n = 0; n < 256; n++) {
        const uint8_t scale = scales[n / 16];
        out[n] = d * (float)(scale & 15) * (float)plane2(codes, n) - dmin * (float)(scale >> 4);
    }
}

/* Scale i of 16: six bits, four of them in bytes 0..7, two in bytes 8..11. */
static int q3_k_scale(const uint8_t *packed, int i) {
    const int low = packed[i % 8] >> 4 * (i / 8) & 15;
    const int high = packed[8 + i % 4] >> 2 * (i / 4) & 3;
    return (low | high << 4) - 32;
}

/* 32 bytes of third bits (byte l holds those of l, 32 + l, ... 224 + l), 64 bytes of codes, 12 bytes of scales, f16 d.
 * A third bit of 0 means minus 4. */
void dequantise_q3_k(const uint8_t *block, float *out) {
    const uint8_t *high = block, *codes = block + 32, *scales = block + 96;
    const float d = load_f16(block + 108);
    for (int n = 0; n < 256; n++) {
        const int code = plane2(codes, n) - ((high[n % 32] >> n / 32 & 1) != 0 ? 0 : 4);
        out[n] = d * (float)q3_k_scale(scales, n / 16) * (float)code;
    }
}

/* Scale and offset i of 8: six bits each in 12 bytes. The first four lie whole in bytes 0..3 and 4..7; of the others,
 * bytes 8..11 have the low four bits and the free top bits of bytes 0..7 the high two. */
static void q4_k_scale(const uint8_t *packed, int i, int *scale, int *offset) {
    if (i < 4) {
        *scale = packed[i] & 63;
        *offset = packed[4 + i] & 63;
    } else {
        *scale = (packed[4 + i] & 15) | packed[i - 4] >> 6 << 4;
        *offset = packed[4 + i] >> 4 | packed[i] >> 6 << 4;
    }
}

/* f16 d, f16 dmin, 12 bytes of scales, 128 bytes of codes: 32 bytes hold 64 numbers, the first 32 in the low halves */
void dequantise_q4_k(const uint8_t *block, float *out) {
    const float d = load_f16(block), dmin = load_f16(block + 2);
    const uint8_t *codes = block + 16;
    for (int i = 0; i < 8; i++) {
        int scale, offset;
        q4_k_scale(block + 4, i, &scale, &offset);
        for (int l = 0; l < 32; l++) {
            const int code = codes[i / 2 * 32 + l] >> 4 * (i % 2) & 15;
            out[32 * i + l] = d * (float)scale * (float)code - dmin * (float)offset;
        }
    }
}

/* f16 d, f16 dmin, 12 bytes of scales, 32 bytes of fifth bits (as in Q3_K), 128 bytes of codes (as in Q4_K) */
void dequantise_q5_k(const uint8_t *block, float *out) {
    const float d = load_f16(block), dmin = load_f16(block + 2);
    const uint8_t *high = block + 16, *codes = block + 48;
    for (int i = 0; i < 8; i++) {
        int scale, offset;
        q4_k_scale(block + 4, i, &scale, &offset);
        for (int l = 0; l < 32; l++) {
            const int code = (codes[i / 2 * 32 + l] >> 4 * (i % 2) & 15) | (high[l] >> i & 1) << 4;
            out[32 * i + l] = d * (float)scale * (float)code - dmin * (float)offset;
        }
    }
}

/* 128 bytes of low four bits (64 bytes hold 128 numbers, the first 64 in the low halves), 64 bytes of high two bits,
 * 16 signed scales, f16 d */
void dequantise_q6_k(const uint8_t *block, float *out) {
    const uint8_t *low = block, *high = block + 128, *scales = block + 192;
    const float d = load_f16(block + 208);
    for (int n = 0; n < 256; n++) {
        const int code = (low[n / 128 * 64 + n % 64] >> 4 * (n % 128 / 64) & 15) | plane2(high, n) << 4;
        out[n] = d * (float)(int8_t)scales[n / 16] * (float)(code - 32);
    }
}

/* float d, 256 signed bytes, 16 sums of 16 codes (for products, not needed here) */
void dequantise_q8_k(const uint8_t *block, float *out) {
    const float d = float_of_bits(load_u32(block));
    for (int n = 0; n < 256; n++)
        out[n] = d * (float)(int8_t)block[4 + n];
}

/* ---- one to two bits ------------------------------------------------------------------------------------------- */

/* 48 + 4 bytes of ternary digits, f16 d. A byte is a fraction of 256 whose digits to base 3 are the numbers: times
 * 3^k modulo 256 it begins with digit k. Bytes 0..31 hold five planes of 32 numbers, 32..47 five of 16, 48..51 four of
 * 4. */
void dequantise_tq1_0(const uint8_t *block, float *out) {
    static const uint8_t powers[5] = {1, 3, 9, 27, 81};
    const float d = load_f16(block + 52);
    for (int n = 0; n < 256; n++) {
        const int start = n < 160 ? 0 : n < 240 ? 32 : 48;
        const int width = n < 160 ? 32 : n < 240 ? 16 : 4;
        const int m = n < 160 ? n : n < 240 ? n - 160 : n - 240;
        const uint8_t fraction = (uint8_t)(block[start + m % width] * powers[m / width]);
        out[n] = (float)((fraction * 3 >> 8) - 1) * d;
    }
}

/* 64 bytes of 2-bit codes, f16 d: d (code - 1) */
void dequantise_tq2_0(const uint8_t *block, float *out) {
    const float d = load_f16(block + 64);
    for (int n = 0; n < 256; n++)
        out[n] = (float)(plane2(block, n) - 1) * d;
}

/* f16 d, 128 bits in order: d or -d */
void dequantise_q1_0(const uint8_t *block, float *out) {
    const float d = load_f16(block);
    for (int n = 0; n < 128; n++)
        out[n] = (block[2 + n / 8] >> n % 8 & 1) != 0 ? d : -d;
}

/* f16 d, 64 codes of 2 bits in order: d (code - 1) */
void dequantise_q2_0(const uint8_t *block, float *out) {
    const float d = load_f16(block);
    for (int n = 0; n < 64; n++)
        out[n] = (float)((block[2 + n / 4] >> 2 * (n % 4) & 3) - 1) * d;
}

/* ---- 4-bit floats ---------------------------------------------------------------------------------------------- */

/* 2^(e - 128): half an e8m0 scale, because the levels are doubled. 0xFF is no NaN here, as in ggml. */
static float e8m0_half(uint8_t e) {
    return float_of_bits(e < 2 ? (uint32_t)0x00200000 << e : (uint32_t)(e - 1) << 23);
}

/* e8m0 scale, 16 bytes of codes */
void dequantise_mxfp4(const uint8_t *block, float *out) {
    const float d = e8m0_half(block[0]);
    for (int n = 0; n < 32; n++)
        out[n] = (float)fp4_levels_doubled[nibble(block + 1, n)] * d;
}

/* Half an unsigned e4m3 scale. The sign bit is ignored; 0x7F is 0, as in ggml. */
static float ue4m3_half(uint8_t b) {
    return b == 0x7F ? 0.0f : b == 0xFF ? 240.0f : float_of_f8e4m3(b & 0x7F) * 0.5f;
}

/* Four e4m3 scales of 16 numbers each, then for each 8 bytes of codes, the first 8 numbers in the low halves */
void dequantise_nvfp4(const uint8_t *block, float *out) {
    for (int n = 0; n < 64; n++) {
        const int code = block[4 + n / 16 * 8 + n % 8] >> 4 * (n % 16 / 8) & 15;
        out[n] = (float)fp4_levels_doubled[code] * ue4m3_half(block[n / 16]);
    }
}
