/* unpack_iq_simd.c - tiles from ggml's codebook types (op/form_iq.c); compiled for each level that has vectors of bytes.
 *
 * Entries of the codebooks are looked up one by one, a row at a time, into lines of 256 bytes; signs are applied to a
 * vector of them at once, and the lines are turned into lanes as any rows are. */
#include "kernel/kernel_parts.h"

#include "kernel/native.h"

#if defined(NATIVE_X86)

#include "base/bytes.h"
#include "op/iq_grids.h"

/* A block of 256 numbers of one row, before signs. */
typedef struct Line {
    uint64_t codes[32]; /* eight magnitudes each */
    uint8_t signs[32];  /* bit i: number i of the eight is negative */
    uint8_t sc[16];
    float d;
} Line;

typedef void (*LineFn)(Line *line, const uint8_t *b);

static float half_at(const uint8_t *p) {
    return _cvtsh_ss(load_u16(p));
}

static ALWAYS_INLINE uint64_t two_fours(uint32_t first, uint32_t second) {
    return first | (uint64_t)second << 32;
}

static void line_iq2_xxs(Line *line, const uint8_t *b) {
    line->d = half_at(b) * 0.125f;
    for (int g = 0; g < 8; g++) {
        const uint8_t *group = b + 2 + 8 * g;
        const uint32_t word = load_u32(group + 4);
        for (int i = 0; i < 4; i++) {
            line->codes[4 * g + i] = iq2_xxs_grid[group[i]];
            line->signs[4 * g + i] = iq_signs[word >> (7 * i) & 127];
        }
        line->sc[g] = (uint8_t)(2 * (word >> 28) + 1);
    }
}

static void line_iq2_xs(Line *line, const uint8_t *b) {
    line->d = half_at(b) * 0.125f;
    for (int i = 0; i < 32; i++) {
        const unsigned word = load_u16(b + 2 + 2 * i);
        line->codes[i] = iq2_xs_grid[word & 511];
        line->signs[i] = iq_signs[word >> 9];
    }
    for (int g = 0; g < 16; g++)
        line->sc[g] = (uint8_t)(2 * (b[66 + g / 2] >> (4 * (g % 2)) & 15) + 1);
}

static void line_iq2_s(Line *line, const uint8_t *b) {
    line->d = half_at(b) * 0.125f;
    for (int i = 0; i < 32; i++)
        line->codes[i] = iq2_s_grid[b[2 + i] | (unsigned)(b[66 + i / 4] >> (2 * (i % 4)) & 3) << 8];
    memcpy(line->signs, b + 34, 32);
    for (int g = 0; g < 16; g++)
        line->sc[g] = (uint8_t)(2 * (b[74 + g / 2] >> (4 * (g % 2)) & 15) + 1);
}

static void line_iq3_xxs(Line *line, const uint8_t *b) {
    line->d = half_at(b) * 0.25f;
    for (int i = 0; i < 32; i++)
        line->codes[i] = two_fours(iq3_xxs_grid[b[2 + 2 * i]], iq3_xxs_grid[b[3 + 2 * i]]);
    for (int g = 0; g < 8; g++) {
        const uint32_t word = load_u32(b + 66 + 4 * g);
        for (int i = 0; i < 4; i++)
            line->signs[4 * g + i] = iq_signs[word >> (7 * i) & 127];
        line->sc[g] = (uint8_t)(2 * (word >> 28) + 1);
    }
}

static void line_iq3_s(Line *line, const uint8_t *b) {
    line->d = half_at(b);
    for (int i = 0; i < 32; i++) {
        const unsigned high = b[66 + i / 4] >> (2 * (i % 4));
        line->codes[i] = two_fours(iq3_s_grid[b[2 + 2 * i] | (high & 1) << 8], iq3_s_grid[b[3 + 2 * i] | (high & 2) << 7]);
    }
    memcpy(line->signs, b + 74, 32);
    for (int g = 0; g < 8; g++)
        line->sc[g] = (uint8_t)(2 * (b[106 + g / 2] >> (4 * (g % 2)) & 15) + 1);
}

/* -1, 0, 1 shifted by an eighth up or down, times eight: signs tell which way. */
static void line_iq1_s(Line *line, const uint8_t *b) {
    line->d = half_at(b) * 0.125f;
    for (int g = 0; g < 8; g++) {
        const unsigned word = load_u16(b + 34 + 2 * g);
        for (int i = 0; i < 4; i++) {
            line->codes[4 * g + i] = iq1_grid[b[2 + 4 * g + i] | (word >> (3 * i) & 7) << 8];
            line->signs[4 * g + i] = word >> 15 != 0 ? 0xFF : 0;
        }
        line->sc[g] = (uint8_t)(2 * (word >> 12 & 7) + 1);
    }
}

static void line_iq1_m(Line *line, const uint8_t *b) {
    unsigned d = 0;
    for (int i = 0; i < 4; i++)
        d |= (unsigned)(load_u16(b + 48 + 2 * i) >> 12) << (4 * i);
    line->d = _cvtsh_ss((uint16_t)d) * 0.125f;
    for (int i = 0; i < 32; i++) {
        const unsigned nibble = b[32 + i / 2] >> (4 * (i % 2)) & 15;
        line->codes[i] = iq1_grid[b[i] | (nibble & 7) << 8];
        line->signs[i] = nibble >> 3 != 0 ? 0xFF : 0;
    }
    for (int g = 0; g < 16; g++)
        line->sc[g] = (uint8_t)(2 * (load_u16(b + 48 + 2 * (g / 4)) >> (3 * (g % 4)) & 7) + 1);
}

/* Four bytes per lane of all ones where the bit is set: bit i of the byte for number i of eight. */
static ALWAYS_INLINE NI negative(const uint8_t *signs) {
#if defined(NATIVE_512)
    uint64_t bits;
    memcpy(&bits, signs, 8);
    return _mm512_movm_epi8(bits);
#else
    int32_t bits;
    memcpy(&bits, signs, 4);
    const __m256i index = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3,
                                           3, 3, 3, 3, 3);
    const NI bit = _mm256_set1_epi64x((long long)0x8040201008040201ull);
    return _mm256_cmpeq_epi8(ni_and(ni_shuffle8(ni_set(bits), index), bit), bit);
#endif
}

static ALWAYS_INLINE void unpack_lines(const Matrix *m, int row0, int col, SuperTile *tile, LineFn decode, int bytes,
                                       int groups, int offset, bool thirds) {
    _Alignas(64) uint8_t q[NI_LANES][256];
    for (int lane = 0; lane < LINEAR_PANEL; lane += NI_LANES) {
        for (int l = 0; l < NI_LANES; l++) {
            Line line;
            decode(&line, m->data + (size_t)(row0 + lane + l) * m->row_bytes + (size_t)(col / 256 * bytes));
            for (int g = 0; g < groups; g++)
                tile->sc[g][lane + l] = line.sc[g];
            tile->d[lane + l] = line.d;
            for (int i = 0; i < 256; i += 4 * NI_LANES) {
                const NI minus = negative(line.signs + i / 8);
                NI x = ni_load((const uint8_t *)line.codes + i);
                if (thirds) {
                    const NI twice = ni_add8(x, x), four = ni_add8(twice, twice);
                    x = ni_add8(ni_add8(four, four), ni_or(minus, ni_set8(1)));
                } else {
                    x = ni_sub8(ni_xor(x, minus), minus);
                }
                ni_store(q[l] + i, ni_add8(x, ni_set8(offset)));
            }
        }
        for (int c = 0; c < 8; c++) {
            NI x[8];
            turn_rows_32(x, q[0] + 32 * c, sizeof q[0]);
            for (int i = 0; i < 8; i++)
                ni_store(tile->q[8 * c + i][lane], x[i]);
        }
    }
}

#define UNPACK_IQ(name, bytes, groups, offset, thirds)                                                                 \
    static void unpack_##name(const Matrix *m, int row0, int col, SuperTile *tile) {                                   \
        unpack_lines(m, row0, col, tile, line_##name, bytes, groups, offset, thirds);                                  \
    }

UNPACK_IQ(iq1_s, 50, 8, 16, true)
UNPACK_IQ(iq1_m, 56, 16, 16, true)
UNPACK_IQ(iq2_xxs, 66, 8, 64, false)
UNPACK_IQ(iq2_xs, 74, 16, 64, false)
UNPACK_IQ(iq2_s, 82, 16, 64, false)
UNPACK_IQ(iq3_xxs, 98, 8, 64, false)
UNPACK_IQ(iq3_s, 110, 8, 16, false)

void K(unpackers_fill_iq)(Unpackers *u) {
    u->super[FORM_IQ1_S] = unpack_iq1_s;
    u->super[FORM_IQ1_M] = unpack_iq1_m;
    u->super[FORM_IQ2_XXS] = unpack_iq2_xxs;
    u->super[FORM_IQ2_XS] = unpack_iq2_xs;
    u->super[FORM_IQ2_S] = unpack_iq2_s;
    u->super[FORM_IQ3_XXS] = unpack_iq3_xxs;
    u->super[FORM_IQ3_S] = unpack_iq3_s;
}

#endif
