/* linear_walk.h - one row times a matrix, reading each row of weights from its first byte to its last.
 *
 * What generation does, where AVX-512 has byte dot products. Memory is delivered fastest to a thread that reads one run of
 * bytes in plain order: the hardware fetches far ahead then. Sixteen rows side by side, as the tiles have them, leave some
 * of that, the more the longer the rows are (Zen 5, two threads, share of what reading in plain order reaches: Q8_0 82 ->
 * 93%, Q4_K 84 -> 97%, Q6_K 77 -> 99%). For forms with many scales per byte the tiles are as fast (Q4_0), or as long as scales
 * are picked by byte permutations this is (MXFP4).
 *
 *     for each 16 rows
 *         for each row: lanes along the inputs; the exact sums of its groups, and its scales, go to scratch
 *         turn them round: lanes are rows; the float operations, in the order that the tiles have
 *
 * Lines are fetched in the second part too: without, memory rests for a tenth of the time (Q8_0, 2,880 inputs, one thread:
 * 27.0 -> 31.0 GB/s, reading alone 32.6; two threads 35.5 -> 40.2, 38.9).
 *
 * Integer sums are exact and everything else is done as in linear_one.h, so the bits are the same. */
#ifndef HOULE_KERNEL_LINEAR_WALK_H
#define HOULE_KERNEL_LINEAR_WALK_H

#include "kernel/linear_dots.h"
#include "kernel/linear_group.h"

#if defined(NATIVE_512) && defined(NATIVE_DOT4)
#define CAN_WALK 1

#include "kernel/groups_ggml.h"

enum {
    WALK_ROWS = 16,
    WALK_GROUPS = 16,       /* of 32 inputs, summed up in one vector */
    WALK_BLOCKS = 4,        /* of 256 inputs, of Q4_K and Q5_K */
    WALK_MOST_COLS = 32768, /* as the scratch holds */
    WALK_CHUNKS = WALK_MOST_COLS / (32 * WALK_GROUPS) + 1,
};

typedef struct WalkScratch {
    _Alignas(64) int8_t acts[WALK_MOST_COLS + 32 * WALK_GROUPS]; /* in the order that the weights' bits come in */
    union {
        struct {
            int32_t start[WALK_CHUNKS][WALK_GROUPS];
            int32_t sums[WALK_CHUNKS][WALK_ROWS][WALK_GROUPS];
            uint16_t d[WALK_MOST_COLS / 32][WALK_ROWS];
        } block;
        struct { /* of four blocks four parts of each sum; d and dm as in the file, row r at r % 4 * 4 + r / 4 */
            int32_t total[WALK_MOST_COLS / 1024][WALK_ROWS][16], less[WALK_MOST_COLS / 1024][WALK_ROWS][16];
            uint32_t scales[WALK_MOST_COLS / 1024][WALK_ROWS][WALK_BLOCKS];
            int16_t counts[WALK_MOST_COLS / 1024][8 * WALK_BLOCKS];
        } blocks;
        struct {
            /* Four parts of each sum. Row r stands at r % 4 * 4 + r / 4, so that turn_4x4() gives lanes in order. */
            int32_t total[WALK_MOST_COLS / 256][WALK_ROWS][4];
            uint16_t d[WALK_MOST_COLS / 256][WALK_ROWS];
        } super;
    } of;
} WalkScratch;
_Static_assert(sizeof(WalkScratch) <= LINEAR_SCRATCH_BYTES, "LINEAR_SCRATCH_BYTES is too small");

/* Asks for the lines that will be read when `bytes` at p have been walked over. */
static ALWAYS_INLINE void walk_ahead(const WalkFetch *f, const uint8_t *p, int bytes) {
    const uint8_t *behind = walk_behind(f, p);
    UNROLL
    for (int line = 0; line < bytes + 63; line += 64)
        PREFETCH(behind + line);
}

/* ---- class BLOCK ------------------------------------------------------------------------------------------------- */

/* Sums of sixteen groups; group g in lane place_of_pair(g). v[i] holds groups 2 i and 2 i + 1 in its halves. */
static ALWAYS_INLINE NI fold_halves(const NI v[8]) {
    NI x[2];
    UNROLL
    for (int h = 0; h < 2; h++) {
        const NI *u = v + 4 * h;
        const NI a = ni_add(ni_unpack32_low(u[0], u[1]), ni_unpack32_high(u[0], u[1]));
        const NI b = ni_add(ni_unpack32_low(u[2], u[3]), ni_unpack32_high(u[2], u[3]));
        x[h] = ni_add(ni_unpack64_low(a, b), ni_unpack64_high(a, b));
    }
    return ni_add(_mm512_shuffle_i32x4(x[0], x[1], 0x88), _mm512_shuffle_i32x4(x[0], x[1], 0xDD));
}

static ALWAYS_INLINE unsigned place_of_pair(unsigned g) {
    return g / 8 * 8 + g % 2 * 4 + g / 2 % 4;
}

/* Where chunk c of 16 groups begins: the last one ends with the row and may overlap the one before. */
static ALWAYS_INLINE int chunk_begin(int c, int groups) {
    return MIN(WALK_GROUPS * c, groups - WALK_GROUPS);
}

/* A chunk's sums, lanes being rows. */
static ALWAYS_INLINE void turn_sums(const WalkScratch *s, int chunk, VF turned[WALK_ROWS]) {
    for (int r = 0; r < WALK_ROWS; r++)
        turned[r] = (VF)ni_load(s->of.block.sums[chunk][r]);
    vf_transpose(turned);
}

static void walk_order_q8_0(WalkScratch *s, const void *acts, int cols) {
    const ActBlock32 *a = acts;
    const int groups = cols / 32;
    for (int c = 0; WALK_GROUPS * c < groups; c++)
        for (int i = 0; i < WALK_GROUPS; i++) {
            const int g = chunk_begin(c, groups) + i;
            memcpy(s->acts + 32 * (WALK_GROUPS * c + i), a[g / 8].q + 32 * (g % 8), 32);
        }
}

static void walk_rows_q8_0(const Matrix *m, int row0, const void *acts, const WalkFetch *fetch, WalkScratch *s, float *out) {
    enum { BYTES = 34, OFFSET = 128 };
    const WalkFetch f = *fetch; /* which stores to *s don't touch */
    const int groups = m->cols / 32;
    for (int r = 0; r < WALK_ROWS; r++) {
        const uint8_t *row = m->data + (size_t)(row0 + r) * m->row_bytes;
        for (int c = 0; WALK_GROUPS * c < groups; c++) {
            const int g0 = chunk_begin(c, groups);
            const uint8_t *p = row + (size_t)g0 * BYTES;
            const int8_t *a = s->acts + 32 * WALK_GROUPS * c;
            walk_ahead(&f, p, WALK_GROUPS * BYTES);
            NI v[8];
            UNROLL
            for (int i = 0; i < 8; i++) {
                const uint8_t *q = p + 2 * i * BYTES + 2;
                const NI x = _mm512_inserti64x4(_mm512_castsi256_si512(HALF(q)), HALF(q + BYTES), 1);
                v[i] = ni_dot4(ni_zero(), ni_xor(x, ni_set8(OFFSET)), ni_load(a + 64 * i));
            }
            ni_store(s->of.block.sums[c][r], fold_halves(v));
            uint16_t *d = &s->of.block.d[g0][r];
            UNROLL
            for (int i = 0; i < WALK_GROUPS; i++)
                memcpy(d + (size_t)i * WALK_ROWS, p + i * BYTES, sizeof *d);
        }
    }
    const ActBlock32 *a = acts;
    const uint8_t *behind = walk_behind(&f, m->data + (size_t)(row0 + WALK_ROWS) * m->row_bytes);
    NF acc = nf_zero();
    for (int c = 0; WALK_GROUPS * c < groups; c++) {
        const int g0 = chunk_begin(c, groups);
        VF turned[WALK_ROWS];
        turn_sums(s, c, turned);
        for (unsigned i = (unsigned)(WALK_GROUPS * c - g0); i < WALK_GROUPS; i++, behind += 64) {
            const unsigned g = (unsigned)g0 + i, at = g % 8;
            PREFETCH(behind);
            const int16_t *counts = a[g / 8].counts + 2 * at;
            const NI sum = ni_add((NI)turned[place_of_pair(i)], ni_set(-OFFSET * (counts[0] + counts[1])));
            const NF scale = nf_mul(nf_load_f16(s->of.block.d[g]), nf_set(a[g / 8].d[at]));
            acc = nf_fma(nf_of_ni(sum), scale, acc);
        }
    }
    nf_store(out, acc);
}

#if defined(__AVX512VBMI__)
#define CAN_WALK_NIBBLES 1

/* MXFP4: four groups in a vector, the low nibbles (their first 16 inputs), then the high ones. Sixteen groups' sums have
 * less than 20 bits, so that their scales (a byte) go through scratch beside them. */
enum { MXFP4_BYTES = 17, MXFP4_OFFSET = 16 };

/* The lane of group g of sixteen, as fold_quarters_of_groups() leaves them. */
static ALWAYS_INLINE unsigned place_of_quarter(unsigned g) {
    return g % 4 * 4 + g / 4;
}

static void walk_order_mxfp4(WalkScratch *s, const void *acts, int cols) {
    const ActBlock32 *a = acts;
    const int groups = cols / 32;
    for (int c = 0; WALK_GROUPS * c < groups; c++)
        for (int i = 0; i < WALK_GROUPS; i++) {
            const int g = chunk_begin(c, groups) + i;
            const int8_t *q = a[g / 8].q + 32 * (g % 8);
            const int16_t *counts = a[g / 8].counts + 2 * (g % 8);
            int8_t *to = s->acts + 32 * (WALK_GROUPS * c + i / 4 * 4) + 16 * (i % 4);
            memcpy(to, q, 16);
            memcpy(to + 64, q + 16, 16);
            s->of.block.start[c][place_of_quarter(i)] = -MXFP4_OFFSET * (counts[0] + counts[1]);
        }
}

/* v[i] has four parts of the sums of groups 4 i .. 4 i + 3. */
static ALWAYS_INLINE NI fold_quarters_of_groups(NI v[4]) {
    turn_4x4(v);
    return ni_add(ni_add(v[0], v[1]), ni_add(v[2], v[3]));
}

/* Bytes of four groups' nibbles, from their blocks' first 64 bytes; the last lane is loaded by itself. */
static ALWAYS_INLINE NI nibbles_of_four(void) {
    enum { B = MXFP4_BYTES };
    const NI lane = _mm512_set_epi32(0, 0, 0, 0, 2 * B, 2 * B, 2 * B, 2 * B, B, B, B, B, 0, 0, 0, 0);
    const NI byte = ni_set16(_mm_setr_epi8(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16));
    return ni_add8(ni_mul(lane, ni_set(0x01010101)), byte);
}

/* Scales of eight groups, from two times 64 bytes, as the low bytes of lanes 4 q + pair and 4 q + pair + 1. */
static ALWAYS_INLINE NI scales_of_eight(int pair) {
    const int32_t first = 0, second = 64;
    const __m128i two = pair == 0 ? _mm_setr_epi32(first, second, 0, 0) : _mm_setr_epi32(0, 0, first, second);
    const NI lane = _mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0);
    return ni_add(ni_mul(lane, ni_set(MXFP4_BYTES)), ni_set16(two));
}

static void walk_rows_mxfp4(const Matrix *m, int row0, const void *acts, const WalkFetch *fetch, WalkScratch *s, float *out) {
    enum { BYTES = MXFP4_BYTES };
    const WalkFetch f = *fetch;
    const int groups = m->cols / 32;
    const NI table = table_16(fp4_levels_doubled, MXFP4_OFFSET), nibbles = nibbles_of_four();
    for (int r = 0; r < WALK_ROWS; r++) {
        const uint8_t *row = m->data + (size_t)(row0 + r) * m->row_bytes;
        for (int c = 0; WALK_GROUPS * c < groups; c++) {
            const uint8_t *p = row + (size_t)chunk_begin(c, groups) * BYTES;
            const int8_t *a = s->acts + 32 * WALK_GROUPS * c;
            walk_ahead(&f, p, WALK_GROUPS * BYTES);
            NI x[4], v[4];
            UNROLL
            for (int i = 0; i < 4; i++) {
                const uint8_t *q = p + 4 * i * BYTES;
                x[i] = ni_load(q);
                const NI w = _mm512_inserti32x4(_mm512_permutexvar_epi8(nibbles, x[i]), PART(q + 3 * BYTES + 1), 3);
                /* The table stands in all 64 bytes, so the upper bits of an index make no difference. */
                v[i] = ni_dot4(ni_zero(), _mm512_permutexvar_epi8(w, table), ni_load(a + 128 * i));
                v[i] = ni_dot4(v[i], _mm512_permutexvar_epi8(ni_srl(w, 4), table), ni_load(a + 128 * i + 64));
            }
            const NI low = _mm512_maskz_permutex2var_epi8(0x0011001100110011u, x[0], scales_of_eight(0), x[1]);
            const NI high = _mm512_maskz_permutex2var_epi8(0x1100110011001100u, x[2], scales_of_eight(2), x[3]);
            const NI sums = ni_add(fold_quarters_of_groups(v), ni_load(s->of.block.start[c]));
            ni_store(s->of.block.sums[c][r], ni_or(ni_sll(sums, 8), ni_or(low, high)));
        }
    }
    const ActBlock32 *a = acts;
    const uint8_t *behind = walk_behind(&f, m->data + (size_t)(row0 + WALK_ROWS) * m->row_bytes);
    NF acc = nf_zero();
    for (int c = 0; WALK_GROUPS * c < groups; c++) {
        const int g0 = chunk_begin(c, groups);
        VF turned[WALK_ROWS];
        turn_sums(s, c, turned);
        for (unsigned i = (unsigned)(WALK_GROUPS * c - g0); i < WALK_GROUPS; i++, behind += 32) {
            const unsigned g = (unsigned)g0 + i;
            PREFETCH(behind);
            const NI both = (NI)turned[place_of_quarter(i)];
            const NF scale = nf_mul(half_scale_of_e8m0(ni_and(both, ni_set(0xFF))), nf_set(a[g / 8].d[g % 8]));
            acc = nf_fma(nf_of_ni(ni_sra(both, 8)), scale, acc);
        }
    }
    nf_store(out, acc);
}
#endif

/* ---- class SUPER ------------------------------------------------------------------------------------------------- */

/* Products of four bytes fit 16 bits here: |sum| <= 4 * 63 * 127. So a scale (16 bits, zeros above) multiplies them by
 * one instruction, which also adds. */

/* Lanes being rows: the sums of four parts each of sixteen rows. */
static ALWAYS_INLINE NI sum_of_parts(const NI parts[4]) {
    NI v[4];
    memcpy(v, parts, sizeof v);
    turn_4x4(v);
    return ni_add(ni_add(v[0], v[1]), ni_add(v[2], v[3]));
}

/* v[0] gets the first 16 bytes of all four, and so on. */
static ALWAYS_INLINE void turn_quarters(NI v[4]) {
    const NI a = _mm512_shuffle_i32x4(v[0], v[1], 0x88), b = _mm512_shuffle_i32x4(v[0], v[1], 0xDD);
    const NI c = _mm512_shuffle_i32x4(v[2], v[3], 0x88), d = _mm512_shuffle_i32x4(v[2], v[3], 0xDD);
    v[0] = _mm512_shuffle_i32x4(a, c, 0x88);
    v[1] = _mm512_shuffle_i32x4(b, d, 0x88);
    v[2] = _mm512_shuffle_i32x4(a, c, 0xDD);
    v[3] = _mm512_shuffle_i32x4(b, d, 0xDD);
}

/* ---- Q4_K, Q5_K: four blocks at once, for their heads are much of the work ---- */

/* Byte `group` of the scales that six_bit_numbers() leaves: in the low bytes of 32-bit lanes, group a in the lower half of the
 * vector, b in the upper one. */
static ALWAYS_INLINE NI scales_in_halves(int a, int b) {
    const int32_t x = (int32_t)(0x80808000u | (unsigned)(a < 4 ? a : a + 4)), y = (int32_t)(0x80808000u | (unsigned)(b < 4 ? b : b + 4));
    return _mm512_inserti64x4(_mm512_set1_epi32(x), _mm256_set1_epi32(y), 1);
}

/* In each quarter a block's first 16 bytes: d, dm, then eight scales and eight minima of 6 bits. Comes: bytes of scales 0 to 3, minima 0
 * to 3, scales 4 to 7, minima 4 to 7. */
static ALWAYS_INLINE NI six_bit_numbers(NI heads) {
    const NI low = _mm512_srlv_epi32(_mm512_shuffle_epi32(heads, 0x99), ni_set16(_mm_setr_epi32(0, 0, 2, 2)));
    const NI high = _mm512_srlv_epi32(_mm512_shuffle_epi32(heads, 0xFF), ni_set16(_mm_setr_epi32(0, 0, 0, 4)));
    return ni_or(ni_and(low, ni_set16(_mm_setr_epi32(0x3F3F3F3F, 0x3F3F3F3F, 0x30303030, 0x30303030))),
                 ni_and(high, ni_set16(_mm_setr_epi32(0, 0, 0x0F0F0F0F, 0x0F0F0F0F))));
}

/* Parts of the sum of scale * (weight * input) over a block at p; its scales are in all quarters of sc. */
static ALWAYS_INLINE NI total_of_block(const uint8_t *p, const int8_t *q, NI sc, bool five_bits) {
    const NI bit = ni_set8(16);
    const NI fifth = five_bits ? _mm512_broadcast_i64x4(HALF(p + 16)) : ni_zero(); /* bit g of byte i: number i of group g */
    const uint8_t *nibbles = p + (five_bits ? 48 : 16);
    NI total = ni_zero();
    UNROLL
    for (int i = 0; i < 2; i++) {
        const NI x = ni_load(nibbles + 64 * i);
        UNROLL
        for (int odd = 0; odd < 2; odd++) {
            const int a = 4 * i + odd, b = a + 2;
            NI w = odd ? high_nibbles(x) : low_nibbles(x);
            if (five_bits) {
                const NI count = _mm512_inserti64x4(_mm512_set1_epi32((4 - a) & 31), _mm256_set1_epi32((4 - b) & 31), 1);
                w = ni_or(w, ni_and(_mm512_rolv_epi32(fifth, count), bit));
            }
            const NI sum = ni_dot4(ni_zero(), w, ni_load(q + 128 * i + 64 * odd));
            total = ni_dot2(total, sum, ni_shuffle8(sc, scales_in_halves(a, b)));
        }
    }
    return total;
}

/* The n blocks at p, of chunk c of row r. */
static ALWAYS_INLINE void walk_blocks(const WalkFetch *f, const uint8_t *p, int bytes, int n, int c, int r, WalkScratch *s) {
    walk_ahead(f, p, n * bytes);
    NI heads = _mm512_castsi128_si512(PART(p));
    heads = n > 1 ? _mm512_inserti32x4(heads, PART(p + bytes), 1) : heads;
    heads = n > 2 ? _mm512_inserti32x4(heads, PART(p + 2 * bytes), 2) : heads;
    heads = n > 3 ? _mm512_inserti32x4(heads, PART(p + 3 * bytes), 3) : heads;
    const NI numbers = six_bit_numbers(heads);
    const int8_t *q = s->acts + 256 * WALK_BLOCKS * c;
    NI v[WALK_BLOCKS] = {ni_zero(), ni_zero(), ni_zero(), ni_zero()};
    v[0] = total_of_block(p, q, _mm512_shuffle_i32x4(numbers, numbers, 0x00), bytes == 176);
    if (n > 1)
        v[1] = total_of_block(p + bytes, q + 256, _mm512_shuffle_i32x4(numbers, numbers, 0x55), bytes == 176);
    if (n > 2)
        v[2] = total_of_block(p + 2 * bytes, q + 512, _mm512_shuffle_i32x4(numbers, numbers, 0xAA), bytes == 176);
    if (n > 3)
        v[3] = total_of_block(p + 3 * bytes, q + 768, _mm512_shuffle_i32x4(numbers, numbers, 0xFF), bytes == 176);
    turn_quarters(v);
    ni_store(s->of.blocks.total[c][r], ni_add(ni_add(v[0], v[1]), ni_add(v[2], v[3])));
    const NI minima = ni_shuffle8(numbers, ni_set16(_mm_setr_epi8(4, -1, 5, -1, 6, -1, 7, -1, 12, -1, 13, -1, 14, -1, 15, -1)));
    ni_store(s->of.blocks.less[c][r], _mm512_madd_epi16(minima, ni_load(s->of.blocks.counts[c])));
    const NI scales = _mm512_permutexvar_epi32(ni_set16(_mm_setr_epi32(0, 4, 8, 12)), heads);
    _mm_store_si128((__m128i *)(void *)s->of.blocks.scales[c][r % 4 * 4 + r / 4], _mm512_castsi512_si128(scales));
}

/* Lanes being rows: the sums of four parts each of four blocks. */
static ALWAYS_INLINE void sums_of_blocks(NI sums[WALK_BLOCKS], const int32_t parts[WALK_ROWS][16]) {
    UNROLL
    for (int i = 0; i < 4; i++) {
        const NI v[4] = {ni_load(parts[4 * i]), ni_load(parts[4 * i + 1]), ni_load(parts[4 * i + 2]), ni_load(parts[4 * i + 3])};
        sums[i] = sum_of_parts(v);
    }
    turn_quarters(sums);
}

static ALWAYS_INLINE void walk_rows_heads(const Matrix *m, int row0, const void *acts, const WalkFetch *fetch, WalkScratch *s,
                                          float *out, int bytes) {
    const WalkFetch f = *fetch;
    const int blocks = m->cols / 256, chunks = blocks / WALK_BLOCKS, left = blocks % WALK_BLOCKS;
    for (int r = 0; r < WALK_ROWS; r++) {
        const uint8_t *p = m->data + (size_t)(row0 + r) * m->row_bytes;
        for (int c = 0; c < chunks; c++, p += WALK_BLOCKS * bytes)
            walk_blocks(&f, p, bytes, WALK_BLOCKS, c, r, s);
        switch (left) {
        case 1: walk_blocks(&f, p, bytes, 1, chunks, r, s); break;
        case 2: walk_blocks(&f, p, bytes, 2, chunks, r, s); break;
        case 3: walk_blocks(&f, p, bytes, 3, chunks, r, s); break;
        default: break;
        }
    }
    const ActBlock256 *a = acts;
    const uint8_t *behind = walk_behind(&f, m->data + (size_t)(row0 + WALK_ROWS) * m->row_bytes);
    NF acc = nf_zero();
    for (int c = 0; c * WALK_BLOCKS < blocks; c++) {
        NI total[WALK_BLOCKS], less[WALK_BLOCKS], scales[4];
        sums_of_blocks(total, s->of.blocks.total[c]);
        sums_of_blocks(less, s->of.blocks.less[c]);
        UNROLL
        for (int i = 0; i < 4; i++)
            scales[i] = ni_load(s->of.blocks.scales[c][4 * i]);
        turn_4x4(scales);
        for (int i = 0; i < MIN(blocks - c * WALK_BLOCKS, WALK_BLOCKS); i++, a++, behind += 64) {
            PREFETCH(behind);
            const NF scale = nf_set(a->d);
            acc = nf_fma(nf_of_ni(total[i]), nf_mul(nf_of_f16_lanes(scales[i]), scale), acc);
            acc = nf_fnma(nf_of_ni(less[i]), nf_mul(nf_of_f16_lanes(ni_srl(scales[i], 16)), scale), acc);
        }
    }
    nf_store(out, acc);
}

static void walk_rows_q4_k(const Matrix *m, int row0, const void *acts, const WalkFetch *fetch, WalkScratch *s, float *out) {
    walk_rows_heads(m, row0, acts, fetch, s, out, 144);
}

static void walk_rows_q5_k(const Matrix *m, int row0, const void *acts, const WalkFetch *fetch, WalkScratch *s, float *out) {
    walk_rows_heads(m, row0, acts, fetch, s, out, 176);
}

/* Of two runs of 64 numbers, whose nibbles lie in the same 32 bytes each, the first halves, then the second. */
static void walk_order_heads(WalkScratch *s, const void *acts, int cols) {
    const ActBlock256 *a = acts;
    for (int b = 0; b < cols / 256; b++) {
        int8_t *to = s->acts + 256 * b;
        for (int g = 0; g < 8; g++)
            memcpy(to + 32 * (g / 4 * 4 + g % 2 * 2 + g / 2 % 2), a[b].q + 32 * g, 32);
        memcpy(s->of.blocks.counts[b / WALK_BLOCKS] + b % WALK_BLOCKS * 8, a[b].counts32, sizeof a[b].counts32);
    }
}

/* ---- Q6_K ---- */

/* Words 4 i .. 4 i + 3, one for each quarter, in the low halves of its 32-bit lanes. */
static ALWAYS_INLINE NI word_in_quarters(__m256i words, int i) {
    const NI at = _mm512_setr_epi32(4 * i, 4 * i, 4 * i, 4 * i, 4 * i + 1, 4 * i + 1, 4 * i + 1, 4 * i + 1, 4 * i + 2, 4 * i + 2,
                                    4 * i + 2, 4 * i + 2, 4 * i + 3, 4 * i + 3, 4 * i + 3, 4 * i + 3);
    return _mm512_maskz_permutexvar_epi16(0x55555555u, at, _mm512_castsi256_si512(words));
}

/* Takes `offset` * the sum over groups of scale * inputs away. */
static ALWAYS_INLINE __m128i less_offset(__m128i total, __m256i scales, const ActBlock256 *a, int shift) {
    const __m256i x = _mm256_madd_epi16(scales, _mm256_loadu_si256((const __m256i *)(const void *)a->counts));
    const __m128i y = _mm_add_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    return _mm_sub_epi32(total, _mm_slli_epi32(y, shift));
}

static ALWAYS_INLINE __m128i fold_quarters_of(NI x) {
    const __m256i y = _mm256_add_epi32(_mm512_castsi512_si256(x), _mm512_extracti64x4_epi64(x, 1));
    return _mm_add_epi32(_mm256_castsi256_si128(y), _mm256_extracti128_si256(y, 1));
}

/* Four parts of the exact total of one block of one row. */
static ALWAYS_INLINE __m128i walk_q6_k(const uint8_t *p, const int8_t *q, const ActBlock256 *a) {
    const __m256i scales = _mm256_cvtepi8_epi16(PART(p + 192));
    const NI two = ni_set8(0x30);
    NI total = ni_zero();
    UNROLL
    for (int half = 0; half < 2; half++) {
        const NI x = ni_load(p + 64 * half), h = _mm512_broadcast_i64x4(HALF(p + 128 + 32 * half));
        const NI up = _mm512_sllv_epi32(h, _mm512_inserti64x4(ni_set(4), _mm256_set1_epi32(2), 1));
        const NI down = _mm512_srlv_epi32(h, _mm512_inserti64x4(ni_set(0), _mm256_set1_epi32(2), 1));
        const NI low = ni_dot4(ni_zero(), ni_or(low_nibbles(x), ni_and(up, two)), ni_load(q + 128 * half));
        const NI high = ni_dot4(ni_zero(), ni_or(high_nibbles(x), ni_and(down, two)), ni_load(q + 128 * half + 64));
        total = ni_dot2(total, low, word_in_quarters(scales, 2 * half));
        total = ni_dot2(total, high, word_in_quarters(scales, 2 * half + 1));
    }
    return less_offset(fold_quarters_of(total), scales, a, 5);
}

static void walk_order_q6_k(WalkScratch *s, const void *acts, int cols) {
    const ActBlock256 *a = acts;
    for (int b = 0; b < cols / 256; b++)
        memcpy(s->acts + 256 * b, a[b].q, 256);
}

static void walk_rows_q6_k(const Matrix *m, int row0, const void *acts, const WalkFetch *fetch, WalkScratch *s, float *out) {
    enum { BYTES = 210, SCALE_AT = 208 };
    const WalkFetch f = *fetch;
    const int blocks = m->cols / 256;
    const ActBlock256 *a = acts;
    for (int r = 0; r < WALK_ROWS; r++) {
        const uint8_t *p = m->data + (size_t)(row0 + r) * m->row_bytes;
        const int at = r % 4 * 4 + r / 4;
        for (int b = 0; b < blocks; b++, p += BYTES) {
            walk_ahead(&f, p, BYTES);
            _mm_storeu_si128((__m128i *)(void *)s->of.super.total[b][at], walk_q6_k(p, s->acts + 256 * b, &a[b]));
            memcpy(&s->of.super.d[b][r], p + SCALE_AT, sizeof s->of.super.d[b][r]);
        }
    }
    NF acc = nf_zero();
    for (int b = 0; b < blocks; b++) {
        NI parts[4];
        UNROLL
        for (int i = 0; i < 4; i++)
            parts[i] = ni_load(s->of.super.total[b][4 * i]);
        acc = nf_fma(nf_of_ni(sum_of_parts(parts)), nf_mul(nf_load_f16(s->of.super.d[b]), nf_set(a[b].d)), acc);
    }
    nf_store(out, acc);
}

/* ---- by form ------------------------------------------------------------------------------------------------------ */

typedef struct Walk {
    /* Sixteen outputs. NULL: no walk. */
    void (*run)(const Matrix *m, int row0, const void *acts, const WalkFetch *fetch, WalkScratch *s, float *out);
    void (*order)(WalkScratch *s, const void *acts, int cols); /* inputs as run() reads them */
} Walk;

static const Walk walks[FORM_COUNT] = {
    [FORM_Q8_0] = {walk_rows_q8_0, walk_order_q8_0},
#if defined(CAN_WALK_NIBBLES)
    [FORM_MXFP4] = {walk_rows_mxfp4, walk_order_mxfp4},
#endif
    [FORM_Q4_K] = {walk_rows_q4_k, walk_order_heads},
    [FORM_Q5_K] = {walk_rows_q5_k, walk_order_heads},
    [FORM_Q6_K] = {walk_rows_q6_k, walk_order_q6_k},
};

/* NULL: this matrix cannot be walked. */
static const Walk *walk_of(const Matrix *m) {
    const Walk *walk = &walks[m->form];
    const bool super = form_info(m->form)->kind == CLASS_SUPER;
    const bool fits = m->rows >= WALK_ROWS && m->cols <= WALK_MOST_COLS && m->cols % (super ? 256 : 32) == 0 &&
                      m->cols >= 32 * WALK_GROUPS;
    return walk->run != NULL && fits ? walk : NULL;
}

static void linear_walk(const LinearJob *job, const Walk *walk, const uint8_t *acts) {
    const Matrix *m = job->m;
    WalkScratch *s = job->scratch;
    const WalkFetch fetch = walk_fetch(job);
    walk->order(s, acts, m->cols);
    for (int o = job->begin; o < job->end; o += WALK_ROWS) {
        const int row0 = MIN(o, m->rows - WALK_ROWS), count = MIN(job->end - o, WALK_ROWS);
        if (count == WALK_ROWS && row0 == o) {
            walk->run(m, row0, acts, &fetch, s, job->out + o);
        } else {
            float part[WALK_ROWS];
            walk->run(m, row0, acts, &fetch, s, part);
            memcpy(job->out + o, part + (o - row0), (size_t)count * sizeof(float));
        }
    }
}

#endif

#endif
