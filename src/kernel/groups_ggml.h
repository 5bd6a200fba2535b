/* groups_ggml.h - reading ggml's blocks of NI_LANES rows at once: the layouts of op/form_ggml.c, in vectors.
 *
 * Rows begin at p, `stride` bytes apart. A vector that is put has four consecutive inputs in each lane, lanes are rows:
 * exactly what a tile holds and a byte dot product takes. Where it goes (into a tile, or at once into a dot product) is
 * the business of whoever defines put(). */
#ifndef HOULE_KERNEL_GROUPS_GGML_H
#define HOULE_KERNEL_GROUPS_GGML_H

#include "kernel/native.h"

#include "op/iq_grids.h"

/* Scales of one group of 32 (or two of 16) of a class BLOCK form. */
typedef struct GroupScale {
    NF d[2], m;
} GroupScale;

/* Scales of a block of 256 of a class SUPER form. */
typedef struct SuperScale {
    NI sc[16]; /* 32 bits, one per group */
    NI mn[8];  /* pairs of 16 bits, for two groups each */
    NF d, dm;
} SuperScale;

/* ---- bits ---- */

static ALWAYS_INLINE NI low_nibbles(NI x) { return ni_and(x, ni_set8(0x0F)); }
static ALWAYS_INLINE NI high_nibbles(NI x) { return ni_and(ni_srl(x, 4), ni_set8(0x0F)); }

/* Byte `at` of each lane in all its four bytes. */
static ALWAYS_INLINE NI spread_byte(NI x, int at) {
    const __m128i index = _mm_add_epi8(_mm_setr_epi8(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12), _mm_set1_epi8((char)at));
    return ni_shuffle8(x, ni_set16(index));
}

/* `value` in the bytes i of each lane where bit 4 odd + i of byte `at` is set, for fifth bits and signs. */
static ALWAYS_INLINE NI bits_to_bytes(NI x, int at, int odd, int value) {
    const NI bit = ni_set(odd ? (int32_t)0x80402010 : 0x08040201);
    const NI y = spread_byte(x, at);
#if defined(NATIVE_512)
    return _mm512_maskz_mov_epi8(_mm512_test_epi8_mask(y, bit), ni_set8(value));
#else
    return ni_and(_mm256_cmpeq_epi8(ni_and(y, bit), bit), ni_set8(value));
#endif
}

/* Byte i of each lane, without its sign and with. */
static ALWAYS_INLINE NI byte_of(NI x, int i) {
    return i == 3 ? ni_srl(x, 24) : ni_and(i > 0 ? ni_srl(x, 8 * i) : x, ni_set(0xFF));
}

static ALWAYS_INLINE NI signed_byte_of(NI x, int i) {
    return ni_sra(i < 3 ? ni_sll(x, 24 - 8 * i) : x, 24);
}

/* Bytes 2 i and 2 i + 1 of each lane as a pair of 16 bits. */
static ALWAYS_INLINE NI byte_pair_of(NI x, int i) {
    const __m128i index = i == 0 ? _mm_setr_epi8(0, -1, 1, -1, 4, -1, 5, -1, 8, -1, 9, -1, 12, -1, 13, -1)
                                 : _mm_setr_epi8(2, -1, 3, -1, 6, -1, 7, -1, 10, -1, 11, -1, 14, -1, 15, -1);
    return ni_shuffle8(x, ni_set16(index));
}

/* A table of 16 bytes, each plus `offset`, for ni_shuffle8. */
static ALWAYS_INLINE NI table_16(const int8_t *levels, int offset) {
    const __m128i x = _mm_loadu_si128((const __m128i *)(const void *)levels);
    return ni_set16(_mm_add_epi8(x, _mm_set1_epi8((char)offset)));
}

/* ---- class BLOCK: 32 inputs; put(sink, i, four) for i = 0 .. 7 ---- */

#define LOAD_BLOCK(name) static ALWAYS_INLINE void name(Sink *s, GroupScale *scale, const uint8_t *p, size_t stride)

static ALWAYS_INLINE void put_nibbles(Sink *s, const uint8_t *p, size_t stride) {
    NI x[4];
    turn_rows_16(x, p, stride);
    UNROLL
    for (int i = 0; i < 4; i++) {
        put(s, i, low_nibbles(x[i]));
        put(s, 4 + i, high_nibbles(x[i]));
    }
}

static ALWAYS_INLINE void put_levels(Sink *s, const uint8_t *p, size_t stride, NI table) {
    NI x[4];
    turn_rows_16(x, p, stride);
    UNROLL
    for (int i = 0; i < 4; i++) {
        put(s, i, ni_shuffle8(table, low_nibbles(x[i])));
        put(s, 4 + i, ni_shuffle8(table, high_nibbles(x[i])));
    }
}

static ALWAYS_INLINE void put_nibbles_and_fifth(Sink *s, const uint8_t *p, size_t stride, NI fifth) {
    NI x[4];
    turn_rows_16(x, p, stride);
    UNROLL
    for (int i = 0; i < 4; i++) {
        put(s, i, ni_or(low_nibbles(x[i]), bits_to_bytes(fifth, i / 2, i % 2, 16)));
        put(s, 4 + i, ni_or(high_nibbles(x[i]), bits_to_bytes(fifth, 2 + i / 2, i % 2, 16)));
    }
}

/* A pair of binary16 at the start of each row. */
static ALWAYS_INLINE void load_d_and_m(GroupScale *scale, const uint8_t *p, size_t stride) {
    const NI both = gather_32(p, stride);
    scale->d[0] = nf_of_f16_lanes(both);
    scale->m = nf_of_f16_lanes(ni_srl(both, 16));
}

LOAD_BLOCK(load_q4_0) {
    scale->d[0] = gather_f16(p, stride);
    put_nibbles(s, p + 2, stride);
}

LOAD_BLOCK(load_q4_1) {
    load_d_and_m(scale, p, stride);
    put_nibbles(s, p + 4, stride);
}

LOAD_BLOCK(load_q5_0) {
    scale->d[0] = gather_f16(p, stride);
    put_nibbles_and_fifth(s, p + 6, stride, gather_32(p + 2, stride));
}

LOAD_BLOCK(load_q5_1) {
    load_d_and_m(scale, p, stride);
    put_nibbles_and_fifth(s, p + 8, stride, gather_32(p + 4, stride));
}

LOAD_BLOCK(load_q8_0) {
    scale->d[0] = gather_f16(p, stride);
    NI x[8];
    turn_rows_32(x, p + 2, stride);
    UNROLL
    for (int i = 0; i < 8; i++)
        put(s, i, ni_xor(x[i], ni_set8(0x80)));
}

LOAD_BLOCK(load_iq4_nl) {
    scale->d[0] = gather_f16(p, stride);
    put_levels(s, p + 2, stride, table_16(iq4_levels, 128));
}

/* half_of_e8m0: the exponent less one, and the two smallest by hand. */
static ALWAYS_INLINE NF half_scale_of_e8m0(NI e) {
#if defined(NATIVE_512)
    const __mmask16 tiny = _mm512_cmplt_epi32_mask(e, ni_set(2));
    return nf_bits(_mm512_mask_sllv_epi32(ni_sll(ni_sub(e, ni_set(1)), 23), tiny, ni_set(0x00200000), e));
#else
    const NI tiny = _mm256_cmpgt_epi32(ni_set(2), e);
    return nf_bits(ni_pick(tiny, _mm256_sllv_epi32(ni_set(0x00200000), e), ni_sll(ni_sub(e, ni_set(1)), 23)));
#endif
}

LOAD_BLOCK(load_mxfp4) {
    scale->d[0] = half_scale_of_e8m0(gather_8(p, stride));
    put_levels(s, p + 1, stride, table_16(fp4_levels_doubled, 16));
}

/* Half of an unsigned E4M3 (the sign bit is ignored), 0x7F reads as zero. As binary16 the seven bits at bit 7 mean
 * 2^(e - 15) (1 + m / 8) (2^-14 m / 8 when e is 0): E4M3's value times 2^-8, subnormals included, so times 128 it is
 * half of the value. */
static ALWAYS_INLINE NF half_scale_of_e4m3(NI byte) {
    const NI bits = ni_and(byte, ni_set(0x7F));
#if defined(NATIVE_512)
    const NI kept = _mm512_maskz_mov_epi32(_mm512_cmpneq_epi32_mask(bits, ni_set(0x7F)), bits);
#else
    const NI kept = _mm256_andnot_si256(_mm256_cmpeq_epi32(bits, ni_set(0x7F)), bits);
#endif
    return nf_mul(nf_of_f16_lanes(ni_sll(kept, 7)), nf_set(128.0f));
}

/* The 32 inputs from half `half` of a block of 64. */
static ALWAYS_INLINE void load_nvfp4(Sink *s, GroupScale *scale, const uint8_t *p, size_t stride, int half) {
    const NI scales = gather_32(p, stride), table = table_16(fp4_levels_doubled, 16);
    scale->d[0] = half_scale_of_e4m3(byte_of(half ? ni_srl(scales, 16) : scales, 0));
    scale->d[1] = half_scale_of_e4m3(byte_of(half ? ni_srl(scales, 16) : scales, 1));
    NI x[4];
    turn_rows_16(x, p + 4 + 16 * half, stride);
    UNROLL
    for (int g = 0; g < 2; g++)
        UNROLL
        for (int i = 0; i < 2; i++) {
            put(s, 4 * g + i, ni_shuffle8(table, low_nibbles(x[2 * g + i])));
            put(s, 4 * g + 2 + i, ni_shuffle8(table, high_nibbles(x[2 * g + i])));
        }
}

/* Quarter `at` of a block of 128 bits: 1 or -1, plus 1. */
static ALWAYS_INLINE void load_q1_0(Sink *s, GroupScale *scale, const uint8_t *p, size_t stride, int at) {
    scale->d[0] = gather_f16(p, stride);
    const NI bits = gather_32(p + 2 + 4 * at, stride);
    UNROLL
    for (int i = 0; i < 8; i++)
        put(s, i, bits_to_bytes(bits, i / 2, i % 2, 2));
}

/* Half `at` of a block of 64 pairs of bits. */
static ALWAYS_INLINE void load_q2_0(Sink *s, GroupScale *scale, const uint8_t *p, size_t stride, int at) {
    scale->d[0] = gather_f16(p, stride);
    UNROLL
    for (int w = 0; w < 2; w++) {
        const NI pairs = gather_32(p + 2 + 8 * at + 4 * w, stride);
        UNROLL
        for (int i = 0; i < 4; i++) {
            const NI x = spread_byte(pairs, i);
            const NI low = ni_pick(ni_set(0x000000FF), x, ni_srl(x, 2));
            const NI high = ni_pick(ni_set(0x00FF0000), ni_srl(x, 4), ni_srl(x, 6));
            put(s, 4 * w + i, ni_and(ni_pick(ni_set(0x0000FFFF), low, high), ni_set8(3)));
        }
    }
}

/* ---- class SUPER: 256 inputs; put(sink, i, four) for i = 0 .. 63 ---- */

#define LOAD_SUPER(name) static ALWAYS_INLINE void name(Sink *s, const uint8_t *p, size_t stride)
#define LOAD_SCALES(name) static ALWAYS_INLINE void name(SuperScale *scale, const uint8_t *p, size_t stride)

/* d and dm at p; the eight scales and mins of 6 bits in the 12 bytes after them (Q4_K, Q5_K). */
LOAD_SCALES(scales_q4_k) {
    NI x[4];
    turn_rows_16(x, p, stride);
    scale->d = nf_of_f16_lanes(x[0]);
    scale->dm = nf_of_f16_lanes(ni_srl(x[0], 16));
    const NI six = ni_set8(0x3F), two = ni_set8(0x30);
    const NI sc[2] = {ni_and(x[1], six), ni_or(low_nibbles(x[3]), ni_and(ni_srl(x[1], 2), two))};
    const NI mn[2] = {ni_and(x[2], six), ni_or(high_nibbles(x[3]), ni_and(ni_srl(x[2], 2), two))};
    UNROLL
    for (int g = 0; g < 8; g++)
        scale->sc[g] = byte_of(sc[g / 4], g % 4);
    UNROLL
    for (int g = 0; g < 4; g++)
        scale->mn[g] = byte_pair_of(mn[g / 2], g % 2);
}

LOAD_SUPER(load_q4_k) {
    UNROLL
    for (int run = 0; run < 4; run++) {
        NI x[8];
        turn_rows_32(x, p + 16 + 32 * run, stride);
        UNROLL
        for (int i = 0; i < 8; i++)
            put(s, 16 * run + i, low_nibbles(x[i]));
        UNROLL
        for (int i = 0; i < 8; i++)
            put(s, 16 * run + 8 + i, high_nibbles(x[i]));
    }
}

/* Bit `from` of each byte as bit `to`. */
static ALWAYS_INLINE NI move_bit(NI x, int from, int to) {
    const NI moved = from < to ? ni_sll(x, to - from) : from > to ? ni_srl(x, from - to) : x;
    return ni_and(moved, ni_set8(1 << to));
}

LOAD_SUPER(load_q5_k) {
    NI fifth[8];
    turn_rows_32(fifth, p + 16, stride);
    UNROLL
    for (int run = 0; run < 4; run++) {
        NI x[8];
        turn_rows_32(x, p + 48 + 32 * run, stride);
        UNROLL
        for (int i = 0; i < 8; i++)
            put(s, 16 * run + i, ni_or(low_nibbles(x[i]), move_bit(fifth[i], 2 * run, 4)));
        UNROLL
        for (int i = 0; i < 8; i++)
            put(s, 16 * run + 8 + i, ni_or(high_nibbles(x[i]), move_bit(fifth[i], 2 * run + 1, 4)));
    }
}

LOAD_SCALES(scales_q6_k) {
    NI x[4];
    turn_rows_16(x, p + 192, stride);
    UNROLL
    for (int g = 0; g < 16; g++)
        scale->sc[g] = signed_byte_of(x[g / 4], g % 4);
    scale->d = gather_f16(p + 208, stride);
}

LOAD_SUPER(load_q6_k) {
    const NI two = ni_set8(0x30);
    UNROLL
    for (int half = 0; half < 2; half++) {
        NI high[8];
        turn_rows_32(high, p + 128 + 32 * half, stride);
        UNROLL
        for (int odd = 0; odd < 2; odd++) {
            NI x[8];
            turn_rows_32(x, p + 64 * half + 32 * odd, stride);
            UNROLL
            for (int i = 0; i < 8; i++)
                put(s, 32 * half + 8 * odd + i, ni_or(low_nibbles(x[i]), ni_and(ni_sll(high[i], odd ? 2 : 4), two)));
            UNROLL
            for (int i = 0; i < 8; i++)
                put(s, 32 * half + 16 + 8 * odd + i,
                    ni_or(high_nibbles(x[i]), ni_and(odd ? ni_srl(high[i], 2) : high[i], two)));
        }
    }
}

LOAD_SCALES(scales_q2_k) {
    NI x[4];
    turn_rows_16(x, p, stride);
    UNROLL
    for (int g = 0; g < 16; g++)
        scale->sc[g] = ni_and(g % 4 > 0 ? ni_srl(x[g / 4], 8 * (g % 4)) : x[g / 4], ni_set(15));
    UNROLL
    for (int g = 0; g < 8; g++)
        scale->mn[g] = byte_pair_of(high_nibbles(x[g / 2]), g % 2);
    const NI both = gather_32(p + 80, stride);
    scale->d = nf_of_f16_lanes(both);
    scale->dm = nf_of_f16_lanes(ni_srl(both, 16));
}

/* Pairs of bits as in Q2_K. */
static ALWAYS_INLINE void put_planes(Sink *s, const uint8_t *p, size_t stride) {
    UNROLL
    for (int half = 0; half < 2; half++) {
        NI x[8];
        turn_rows_32(x, p + 32 * half, stride);
        UNROLL
        for (int j = 0; j < 4; j++)
            UNROLL
            for (int i = 0; i < 8; i++)
                put(s, 32 * half + 8 * j + i, ni_and(j > 0 ? ni_srl(x[i], 2 * j) : x[i], ni_set8(3)));
    }
}

LOAD_SUPER(load_q2_k) {
    put_planes(s, p + 16, stride);
}

LOAD_SUPER(load_tq2_0) {
    put_planes(s, p, stride);
}

LOAD_SCALES(scales_q3_k) {
    /* The 12 bytes of scales stand before the block's last two: read from two bytes before them, so as not to read
     * past the end of the last row. */
    const NI shift = ni_set16(_mm_setr_epi8(2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, -1, -1));
    NI x[4];
    UNROLL
    for (int i = 0; i < 4; i++)
        x[i] = ni_shuffle8(parts_of_rows(p + 94 + (size_t)i * stride, stride), shift);
    turn_4x4(x);
    scale->d = nf_of_f16_lanes(x[3]);
    UNROLL
    for (int i = 0; i < 4; i++) {
        const NI low = i < 2 ? low_nibbles(x[i]) : high_nibbles(x[i - 2]);
        const NI high = ni_and(i > 0 ? ni_srl(x[2], 2 * i) : x[2], ni_set8(3));
        const NI six = ni_sub8(ni_or(low, ni_sll(high, 4)), ni_set8(32));
        UNROLL
        for (int g = 0; g < 4; g++)
            scale->sc[4 * i + g] = signed_byte_of(six, g);
    }
}

LOAD_SUPER(load_q3_k) {
    NI third[8];
    turn_rows_32(third, p, stride);
    UNROLL
    for (int half = 0; half < 2; half++) {
        NI x[8];
        turn_rows_32(x, p + 32 + 32 * half, stride);
        UNROLL
        for (int j = 0; j < 4; j++)
            UNROLL
            for (int i = 0; i < 8; i++)
                put(s, 32 * half + 8 * j + i, ni_or(ni_and(j > 0 ? ni_srl(x[i], 2 * j) : x[i], ni_set8(3)),
                                                   move_bit(third[i], 4 * half + j, 2)));
    }
}

LOAD_SCALES(scales_iq4_xs) {
    const NI both = gather_32(p, stride), low = gather_32(p + 4, stride);
    scale->d = nf_of_f16_lanes(both);
    UNROLL
    for (int g = 0; g < 8; g++) {
        const NI nibble = ni_and(g > 0 ? ni_srl(low, 4 * g) : low, ni_set(15));
        const NI pair = ni_and(ni_srl(both, 12 + 2 * g), ni_set(0x30));
        scale->sc[g] = ni_sub(ni_or(nibble, pair), ni_set(32));
    }
}

LOAD_SUPER(load_iq4_xs) {
    const NI table = table_16(iq4_levels, 128);
    UNROLL
    for (int c = 0; c < 4; c++) {
        NI x[8];
        turn_rows_32(x, p + 8 + 32 * c, stride);
        UNROLL
        for (int i = 0; i < 8; i++) { /* the 32 bytes are two groups of 16 bytes */
            put(s, 16 * c + i / 4 * 8 + i % 4, ni_shuffle8(table, low_nibbles(x[i])));
            put(s, 16 * c + i / 4 * 8 + 4 + i % 4, ni_shuffle8(table, high_nibbles(x[i])));
        }
    }
}

static ALWAYS_INLINE void flat_scales(SuperScale *scale) {
    UNROLL
    for (int g = 0; g < 8; g++)
        scale->sc[g] = ni_set(1);
}

LOAD_SCALES(scales_tq2_0) {
    flat_scales(scale);
    scale->d = gather_f16(p + 64, stride);
}

LOAD_SCALES(scales_tq1_0) {
    flat_scales(scale);
    scale->d = gather_f16(p + 52, stride);
}

/* The trit number n of each byte: (byte * 3^n mod 256) * 3 / 256. */
static ALWAYS_INLINE NI trits(NI x, int power) {
    const NI bytes = ni_set(0x00FF00FF);
    const NI even = ni_and(ni_mul16(ni_and(x, bytes), ni_set(power * 0x00010001)), bytes);
    const NI odd = ni_and(ni_mul16(ni_and(ni_srl(x, 8), bytes), ni_set(power * 0x00010001)), bytes);
    const NI three = ni_set(0x00030003);
    const NI low = ni_and(ni_srl(ni_mul16(even, three), 8), bytes);
    return ni_or(low, ni_and(ni_mul16(odd, three), ni_set((int32_t)0xFF00FF00)));
}

LOAD_SUPER(load_tq1_0) {
    static const int powers[5] = {1, 3, 9, 27, 81};
    NI x[8], y[4];
    turn_rows_32(x, p, stride);
    UNROLL
    for (int n = 0; n < 5; n++)
        UNROLL
        for (int i = 0; i < 8; i++)
            put(s, 8 * n + i, trits(x[i], powers[n]));
    turn_rows_16(y, p + 32, stride);
    UNROLL
    for (int n = 0; n < 5; n++)
        UNROLL
        for (int i = 0; i < 4; i++)
            put(s, 40 + 4 * n + i, trits(y[i], powers[n]));
    const NI last = gather_32(p + 48, stride);
    UNROLL
    for (int n = 0; n < 4; n++)
        put(s, 60 + n, trits(last, powers[n]));
}

#endif
