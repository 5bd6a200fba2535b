/* dequantise_iq.c - ggml's IQ forms: blocks of indices into codebooks (op/iq_grids.h).
 *
 * Eight numbers (four in IQ3) are one entry of a grid of magnitudes, eight signs (stored, or seven of them with the
 * eighth following from parity) and the scale of their sub-block. IQ1 has signed grids and a shift of 1/8 instead of
 * signs; IQ4 indexes 16 uneven levels. Blocks are 256 numbers and begin with an f16 scale d except where it says so. */
#include "format/dequantise.h"

#include "op/iq_grids.h"

/* Half i of a row of 4-bit numbers, the first in the low half of its byte. */
static int half_byte(const uint8_t *bytes, int i) {
    return bytes[i / 2] >> 4 * (i % 2) & 15;
}

/* `count` magnitudes of a grid entry (lowest byte first), times d, negative where `signs` has a bit. */
static void put_signed(float *out, float d, uint64_t entry, unsigned signs, int count) {
    for (int i = 0; i < count; i++) {
        const float value = d * (float)(entry >> 8 * i & 255);
        out[i] = (signs >> i & 1) != 0 ? -value : value;
    }
}

/* ---- IQ2 ------------------------------------------------------------------------------------------------------- */

/* Eight times: 4 bytes of indices, 32 bits of which 28 are four times seven signs and the top 4 the scale */
void dequantise_iq2_xxs(const uint8_t *block, float *out) {
    const float d = load_f16(block);
    for (int g = 0; g < 32; g++) {
        const uint8_t *group = block + 2 + g / 4 * 8;
        const uint32_t packed = load_u32(group + 4);
        const float scale = d * (0.5f + (float)(packed >> 28)) * 0.25f;
        put_signed(out + 8 * g, scale, iq2_xxs_grid[group[g % 4]], iq_signs[packed >> 7 * (g % 4) & 127], 8);
    }
}

/* 32 times 16 bits (9 of index, 7 of signs), 16 scales of 4 bits */
void dequantise_iq2_xs(const uint8_t *block, float *out) {
    const float d = load_f16(block);
    for (int g = 0; g < 32; g++) {
        const uint16_t packed = load_u16(block + 2 + 2 * g);
        const float scale = d * (0.5f + (float)half_byte(block + 66, g / 2)) * 0.25f;
        put_signed(out + 8 * g, scale, iq2_xs_grid[packed & 511], iq_signs[packed >> 9], 8);
    }
}

/* 32 low bytes of indices, 32 bytes of signs, 32 times the high 2 bits of an index, 16 scales of 4 bits */
void dequantise_iq2_s(const uint8_t *block, float *out) {
    const float d = load_f16(block);
    const uint8_t *low = block + 2, *signs = block + 34, *high = block + 66, *scales = block + 74;
    for (int g = 0; g < 32; g++) {
        const int index = low[g] | (high[g / 4] >> 2 * (g % 4) & 3) << 8;
        const float scale = d * (0.5f + (float)half_byte(scales, g / 2)) * 0.25f;
        put_signed(out + 8 * g, scale, iq2_s_grid[index], signs[g], 8);
    }
}

/* ---- IQ3 ------------------------------------------------------------------------------------------------------- */

/* 64 indices, then eight times 32 bits as in IQ2_XXS */
void dequantise_iq3_xxs(const uint8_t *block, float *out) {
    const float d = load_f16(block);
    for (int g = 0; g < 64; g++) {
        const uint32_t packed = load_u32(block + 66 + g / 8 * 4);
        const unsigned signs = iq_signs[packed >> 7 * (g % 8 / 2) & 127];
        const float scale = d * (0.5f + (float)(packed >> 28)) * 0.5f;
        put_signed(out + 4 * g, scale, iq3_xxs_grid[block[2 + g]], signs >> 4 * (g % 2), 4);
    }
}

/* 64 low bytes of indices, 64 ninth bits, 32 bytes of signs, 8 scales of 4 bits */
void dequantise_iq3_s(const uint8_t *block, float *out) {
    const float d = load_f16(block);
    const uint8_t *low = block + 2, *high = block + 66, *signs = block + 74, *scales = block + 106;
    for (int g = 0; g < 64; g++) {
        const int index = low[g] | (high[g / 8] >> g % 8 & 1) << 8;
        const float scale = d * (float)(1 + 2 * half_byte(scales, g / 8));
        put_signed(out + 4 * g, scale, iq3_s_grid[index], (unsigned)signs[g / 2] >> 4 * (g % 2), 4);
    }
}

/* ---- IQ1 ------------------------------------------------------------------------------------------------------- */

static void put_shifted(float *out, float scale, int index, bool minus) {
    for (int i = 0; i < 8; i++)
        out[i] = scale * ((float)(int8_t)(iq1_grid[index] >> 8 * i) + (minus ? -0.125f : 0.125f));
}

/* 32 low bytes of indices, eight times 16 bits: four times the high 3 bits of an index, 3 of scale, 1 of shift */
void dequantise_iq1_s(const uint8_t *block, float *out) {
    const float d = load_f16(block);
    for (int g = 0; g < 32; g++) {
        const uint16_t packed = load_u16(block + 34 + g / 4 * 2);
        const int index = block[2 + g] | (packed >> 3 * (g % 4) & 7) << 8;
        put_shifted(out + 8 * g, d * (float)(2 * (packed >> 12 & 7) + 1), index, (packed & 0x8000) != 0);
    }
}

/* 32 low bytes of indices, 32 times 4 bits (3 high ones of the index, 1 of shift), four times 16 bits: four scales of
 * 3 bits and a quarter of the f16 d */
void dequantise_iq1_m(const uint8_t *block, float *out) {
    const uint8_t *low = block, *high = block + 32;
    uint16_t scales[4];
    unsigned d_bits = 0;
    for (int i = 0; i < 4; i++) {
        scales[i] = load_u16(block + 48 + 2 * i);
        d_bits |= (unsigned)(scales[i] >> 12) << 4 * i;
    }
    const float d = float_of_f16((uint16_t)d_bits);
    for (int g = 0; g < 32; g++) {
        const int half = half_byte(high, g);
        const int scale = scales[g / 8] >> 3 * (g % 8 / 2) & 7;
        put_shifted(out + 8 * g, d * (float)(2 * scale + 1), low[g] | (half & 7) << 8, (half & 8) != 0);
    }
}

/* ---- IQ4 ------------------------------------------------------------------------------------------------------- */

/* 32 numbers: f16 d, 16 bytes of codes, the first 16 numbers in the low halves */
void dequantise_iq4_nl(const uint8_t *block, float *out) {
    const float d = load_f16(block);
    for (int n = 0; n < 32; n++)
        out[n] = d * (float)iq4_levels[block[2 + n % 16] >> 4 * (n / 16) & 15];
}

/* f16 d, eight times the high 2 bits of a scale, the low 4 bits of them, eight times 16 bytes of codes as in IQ4_NL */
void dequantise_iq4_xs(const uint8_t *block, float *out) {
    const float d = load_f16(block);
    const uint16_t high = load_u16(block + 2);
    for (int i = 0; i < 8; i++) {
        const int scale = (half_byte(block + 4, i) | (high >> 2 * i & 3) << 4) - 32;
        const float dl = d * (float)scale;
        for (int n = 0; n < 32; n++)
            out[32 * i + n] = dl * (float)iq4_levels[block[8 + 16 * i + n % 16] >> 4 * (n / 16) & 15];
    }
}
