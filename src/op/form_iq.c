/* form_iq.c - ggml's codebook types (IQ1 to IQ3), decoded to integers and scales.
 *
 * Groups of numbers are entries of published grids (op/iq_grids.h), with signs and small scales beside them. Scales are
 * of the form d (s + 1/2) / 4 or similar; they become whole numbers here by taking the fraction into d. */
#include "op/form_ggml.h"

#include "base/bytes.h"
#include "base/half.h"
#include "op/iq_grids.h"

#include <string.h>

static const uint8_t *block_at(const Matrix *m, int row, int col, int bytes) {
    return m->data + (size_t)row * m->row_bytes + (size_t)(col / 256) * (size_t)bytes;
}

static float half_at(const uint8_t *p) {
    return float_of_f16(load_u16(p));
}

static void begin(Super256 *out, float d) {
    memset(out, 0, sizeof *out);
    out->d = d;
}

/* Eight magnitudes of a grid with eight signs. */
static void eight(int8_t *q, uint64_t grid, unsigned signs) {
    for (int i = 0; i < 8; i++) {
        const int value = (int)(grid >> (8 * i) & 0xFF);
        q[i] = (int8_t)(signs >> i & 1 ? -value : value);
    }
}

static void four(int8_t *q, uint32_t grid, unsigned signs) {
    for (int i = 0; i < 4; i++) {
        const int value = (int)(grid >> (8 * i) & 0xFF);
        q[i] = (int8_t)(signs >> i & 1 ? -value : value);
    }
}

/* IQ2_XXS: d, then per 32 numbers four grid bytes and a word with four 7-bit sign entries and a scale of 4 bits;
 * w = d (s + 1/2) / 4 q = d/8 (2 s + 1) q */
static void super_iq2_xxs(const Matrix *m, int row, int col, Super256 *out) {
    const uint8_t *b = block_at(m, row, col, 66);
    begin(out, half_at(b) * 0.125f);
    for (int g = 0; g < 8; g++) {
        const uint8_t *group = b + 2 + 8 * g;
        const uint32_t word = load_u32(group + 4);
        for (int i = 0; i < 4; i++)
            eight(out->q + 32 * g + 8 * i, iq2_xxs_grid[group[i]], iq_signs[word >> (7 * i) & 127]);
        out->sc[2 * g] = out->sc[2 * g + 1] = (int16_t)(2 * (word >> 28) + 1);
    }
}

/* IQ2_XS: d, 32 words of a 9-bit grid entry and a 7-bit sign entry, 16 scales of 4 bits */
static void super_iq2_xs(const Matrix *m, int row, int col, Super256 *out) {
    const uint8_t *b = block_at(m, row, col, 74);
    begin(out, half_at(b) * 0.125f);
    for (int i = 0; i < 32; i++) {
        const unsigned word = load_u16(b + 2 + 2 * i);
        eight(out->q + 8 * i, iq2_xs_grid[word & 511], iq_signs[word >> 9]);
    }
    for (int g = 0; g < 16; g++)
        out->sc[g] = (int16_t)(2 * (b[66 + g / 2] >> (4 * (g % 2)) & 15) + 1);
}

/* IQ2_S: d, 32 low bytes of grid entries, 32 bytes of signs, 8 bytes of high pairs, 16 scales of 4 bits */
static void super_iq2_s(const Matrix *m, int row, int col, Super256 *out) {
    const uint8_t *b = block_at(m, row, col, 82);
    begin(out, half_at(b) * 0.125f);
    for (int i = 0; i < 32; i++) {
        const unsigned entry = b[2 + i] | (unsigned)(b[66 + i / 4] >> (2 * (i % 4)) & 3) << 8;
        eight(out->q + 8 * i, iq2_s_grid[entry], b[34 + i]);
    }
    for (int g = 0; g < 16; g++)
        out->sc[g] = (int16_t)(2 * (b[74 + g / 2] >> (4 * (g % 2)) & 15) + 1);
}

/* IQ3_XXS: d, 64 grid bytes, then per 32 numbers a word as in IQ2_XXS; w = d (s + 1/2) / 2 q = d/4 (2 s + 1) q */
static void super_iq3_xxs(const Matrix *m, int row, int col, Super256 *out) {
    const uint8_t *b = block_at(m, row, col, 98);
    begin(out, half_at(b) * 0.25f);
    for (int g = 0; g < 8; g++) {
        const uint32_t word = load_u32(b + 66 + 4 * g);
        for (int i = 0; i < 8; i++)
            four(out->q + 32 * g + 4 * i, iq3_xxs_grid[b[2 + 8 * g + i]],
                 (unsigned)iq_signs[word >> (7 * (i / 2)) & 127] >> (4 * (i % 2)));
        out->sc[2 * g] = out->sc[2 * g + 1] = (int16_t)(2 * (word >> 28) + 1);
    }
}

/* IQ3_S: d, 64 low bytes of grid entries, 8 bytes of high bits, 32 bytes of signs, 8 scales of 4 bits;
 * w = d (2 s + 1) q */
static void super_iq3_s(const Matrix *m, int row, int col, Super256 *out) {
    const uint8_t *b = block_at(m, row, col, 110);
    begin(out, half_at(b));
    for (int i = 0; i < 64; i++) {
        const unsigned entry = b[2 + i] | (unsigned)(b[66 + i / 8] >> (i % 8) & 1) << 8;
        four(out->q + 4 * i, iq3_s_grid[entry], (unsigned)b[74 + i / 2] >> (4 * (i % 2)));
    }
    for (int g = 0; g < 8; g++)
        out->sc[2 * g] = out->sc[2 * g + 1] = (int16_t)(2 * (b[106 + g / 2] >> (4 * (g % 2)) & 15) + 1);
}

/* Eight of {-1, 0, 1} shifted by an eighth up or down, times eight. */
static void eight_thirds(int8_t *q, uint64_t grid, bool down) {
    for (int i = 0; i < 8; i++)
        q[i] = (int8_t)(8 * (int8_t)(grid >> (8 * i) & 0xFF) + (down ? -1 : 1));
}

/* IQ1_S: d, 32 low bytes of grid entries, per 32 numbers a word: four high triples, scale of 3 bits, sign of the shift;
 * w = d (2 s + 1) (q +- 1/8) */
static void super_iq1_s(const Matrix *m, int row, int col, Super256 *out) {
    const uint8_t *b = block_at(m, row, col, 50);
    begin(out, half_at(b) * 0.125f);
    for (int g = 0; g < 8; g++) {
        const unsigned word = load_u16(b + 34 + 2 * g);
        for (int i = 0; i < 4; i++)
            eight_thirds(out->q + 32 * g + 8 * i, iq1_grid[b[2 + 4 * g + i] | (word >> (3 * i) & 7) << 8], word >> 15 != 0);
        out->sc[2 * g] = out->sc[2 * g + 1] = (int16_t)(2 * (word >> 12 & 7) + 1);
    }
}

/* IQ1_M: 32 low bytes, 16 bytes of nibbles (high triple, sign of the shift), four words of four 3-bit scales whose top
 * nibbles together are d */
static void super_iq1_m(const Matrix *m, int row, int col, Super256 *out) {
    const uint8_t *b = block_at(m, row, col, 56);
    unsigned d = 0;
    for (int i = 0; i < 4; i++)
        d |= (unsigned)(load_u16(b + 48 + 2 * i) >> 12) << (4 * i);
    begin(out, float_of_f16((uint16_t)d) * 0.125f);
    for (int i = 0; i < 32; i++) {
        const unsigned nibble = b[32 + i / 2] >> (4 * (i % 2)) & 15;
        eight_thirds(out->q + 8 * i, iq1_grid[b[i] | (nibble & 7) << 8], nibble >> 3 != 0);
    }
    for (int g = 0; g < 16; g++)
        out->sc[g] = (int16_t)(2 * (load_u16(b + 48 + 2 * (g / 4)) >> (3 * (g % 4)) & 7) + 1);
}

const FormInfo form_infos_iq[FORM_COUNT] = {
    [FORM_IQ1_S] = {"IQ1_S", CLASS_SUPER, 32, false, 16, 31, 256, NULL, super_iq1_s},
    [FORM_IQ1_M] = {"IQ1_M", CLASS_SUPER, 16, false, 16, 31, 256, NULL, super_iq1_m},
    [FORM_IQ2_XXS] = {"IQ2_XXS", CLASS_SUPER, 32, false, 64, 127, 256, NULL, super_iq2_xxs},
    [FORM_IQ2_XS] = {"IQ2_XS", CLASS_SUPER, 16, false, 64, 127, 256, NULL, super_iq2_xs},
    [FORM_IQ2_S] = {"IQ2_S", CLASS_SUPER, 16, false, 64, 127, 256, NULL, super_iq2_s},
    [FORM_IQ3_XXS] = {"IQ3_XXS", CLASS_SUPER, 32, false, 64, 127, 256, NULL, super_iq3_xxs},
    [FORM_IQ3_S] = {"IQ3_S", CLASS_SUPER, 32, false, 16, 31, 256, NULL, super_iq3_s},
};
