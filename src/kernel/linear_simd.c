/* linear_simd.c - multiplying rows by a weight matrix in its stored form; compiled once per level.
 *
 * One scheme for every form and any number of rows:
 *
 *     for each pair of panels (2 x 16 outputs)
 *         for each 256 inputs: unpack the weights once into tiles that stay in the L1 cache,
 *             then for each 6 rows: 6 x 2 vectors of 16 outputs are kept in registers
 *
 * Lanes are outputs, so nothing is ever summed across lanes, and every output is summed over its inputs in one order
 * that does not depend on how many rows there are. Integer products are exact; per group (class BLOCK) or per 256
 * inputs (class SUPER) one float multiply-add follows. */
#include "kernel/kernel_parts.h"
#include "kernel/simd.h"

enum {
    ROWS = 6,       /* rows in registers: 12 integer + 12 float accumulators + operands fill 32 registers */
    ROW_BLOCK = 96, /* rows that go through a tile pair before the next: their 256 inputs stay in L1/L2 */
};

/* ---- byte dot products ---------------------------------------------------------------------------------------- */

/* acc[o] += sum of 4 products w[o][i] (unsigned) * a[i] (signed, the same for all outputs). `wide`: w may exceed 127. */
static ALWAYS_INLINE VI dot4(VI acc, const uint8_t (*w)[4], const int8_t *a, bool wide) {
    int32_t four;
    memcpy(&four, a, sizeof four);
#if defined(__AVX512VNNI__)
    (void)wide;
    return (VI)_mm512_dpbusd_epi32((__m512i)acc, _mm512_load_si512(w), _mm512_set1_epi32(four));
#elif defined(__AVX512BW__)
    const __m512i x = _mm512_load_si512(w), y = _mm512_set1_epi32(four);
    if (!wide)
        return acc + (VI)_mm512_madd_epi16(_mm512_maddubs_epi16(x, y), _mm512_set1_epi16(1));
    /* Two products of 255 * 127 overflow 16 bits: take bit 7 apart, at half its value. */
    const __m512i low = _mm512_and_si512(x, _mm512_set1_epi8(0x7F));
    const __m512i top = _mm512_and_si512(_mm512_srli_epi16(x, 1), _mm512_set1_epi8(0x40));
    return acc + (VI)_mm512_madd_epi16(_mm512_maddubs_epi16(low, y), _mm512_set1_epi16(1)) +
           (VI)_mm512_madd_epi16(_mm512_maddubs_epi16(top, y), _mm512_set1_epi16(2));
#elif defined(__AVX2__)
    __m256i sum[2];
    memcpy(sum, &acc, sizeof sum);
    const __m256i y = _mm256_set1_epi32(four), ones = _mm256_set1_epi16(1);
    for (int h = 0; h < 2; h++) {
        const __m256i x = _mm256_load_si256((const __m256i *)(const void *)(w + 8 * h));
        if (wide) {
            const __m256i low = _mm256_and_si256(x, _mm256_set1_epi8(0x7F));
            const __m256i top = _mm256_and_si256(_mm256_srli_epi16(x, 1), _mm256_set1_epi8(0x40));
            sum[h] = _mm256_add_epi32(sum[h], _mm256_madd_epi16(_mm256_maddubs_epi16(low, y), ones));
            sum[h] = _mm256_add_epi32(sum[h], _mm256_madd_epi16(_mm256_maddubs_epi16(top, y), _mm256_set1_epi16(2)));
        } else {
            sum[h] = _mm256_add_epi32(sum[h], _mm256_madd_epi16(_mm256_maddubs_epi16(x, y), ones));
        }
    }
    memcpy(&acc, sum, sizeof acc);
    return acc;
#else
    (void)wide;
    (void)four;
    for (int o = 0; o < 16; o++)
        acc[o] += w[o][0] * a[0] + w[o][1] * a[1] + w[o][2] * a[2] + w[o][3] * a[3];
    return acc;
#endif
}

/* acc[o] += w[o][0] * a[0] + w[o][1] * a[1], 16-bit numbers */
static ALWAYS_INLINE VI dot2(VI acc, const int16_t (*w)[2], const int16_t *a) {
    int32_t two;
    memcpy(&two, a, sizeof two);
#if defined(__AVX512VNNI__)
    return (VI)_mm512_dpwssd_epi32((__m512i)acc, _mm512_loadu_si512(w), _mm512_set1_epi32(two));
#elif defined(__AVX512BW__)
    return acc + (VI)_mm512_madd_epi16(_mm512_loadu_si512(w), _mm512_set1_epi32(two));
#elif defined(__AVX2__)
    __m256i sum[2];
    memcpy(sum, &acc, sizeof sum);
    for (int h = 0; h < 2; h++) {
        const __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)(w + 8 * h));
        sum[h] = _mm256_add_epi32(sum[h], _mm256_madd_epi16(x, _mm256_set1_epi32(two)));
    }
    memcpy(&acc, sum, sizeof acc);
    return acc;
#else
    (void)two;
    for (int o = 0; o < 16; o++)
        acc[o] += w[o][0] * a[0] + w[o][1] * a[1];
    return acc;
#endif
}

static ALWAYS_INLINE VI vi_load(const int32_t *p) {
    VI v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* ---- one tile pair, a few rows ---------------------------------------------------------------------------------- */

/* What a row brings to 256 inputs beginning at `col`. */
typedef struct RowPart {
    const int8_t *q;
    const float *d, *s;     /* BLOCK: per 32 inputs; SUPER: d[0] */
    const int32_t *count;   /* BLOCK: sums of q per 32 (per-16 groups have no offset to correct by it: see below) */
    const int16_t *sums;    /* SUPER */
    float *out;
} RowPart;

/* Class BLOCK, groups of 32 inputs. n = inputs here, a multiple of 32, at most 256. */
static ALWAYS_INLINE void block_rows(const BlockTile *tiles, int n_panel, const RowPart *row, int n_row, int n,
                                     int offset, bool has_min, bool wide, bool first) {
    VF acc[ROWS][2];
    for (int r = 0; r < n_row; r++)
        for (int p = 0; p < n_panel; p++)
            acc[r][p] = first ? vf_set(0) : vf_load(row[r].out + 16 * p);
    for (int g = 0; g < n / 32; g++) {
        VI sum[ROWS][2];
        for (int r = 0; r < n_row; r++)
            for (int p = 0; p < n_panel; p++)
                sum[r][p] = vi_set(-offset * row[r].count[g]);
        for (int j = 0; j < 8; j++)
            for (int r = 0; r < n_row; r++)
                for (int p = 0; p < n_panel; p++)
                    sum[r][p] = dot4(sum[r][p], tiles[p].q[g * 8 + j], row[r].q + g * 32 + j * 4, wide);
        for (int r = 0; r < n_row; r++) {
            const VF d = vf_set(row[r].d[g]);
            for (int p = 0; p < n_panel; p++) {
                acc[r][p] = vf_fma(vf_of_vi(sum[r][p]), vf_load(tiles[p].d[g]) * d, acc[r][p]);
                if (has_min)
                    acc[r][p] = vf_fma(vf_load(tiles[p].m[g]), vf_set(row[r].s[g]), acc[r][p]);
            }
        }
    }
    for (int r = 0; r < n_row; r++)
        for (int p = 0; p < n_panel; p++)
            vf_store(row[r].out + 16 * p, acc[r][p]);
}

/* Class BLOCK, groups of 16 inputs (NVFP4): two scales within each 32; no minimum. */
static ALWAYS_INLINE void block16_rows(const BlockTile *tiles, int n_panel, const RowPart *row, int n_row, int n,
                                       int offset, bool first) {
    VF acc[ROWS][2];
    for (int r = 0; r < n_row; r++)
        for (int p = 0; p < n_panel; p++)
            acc[r][p] = first ? vf_set(0) : vf_load(row[r].out + 16 * p);
    for (int g = 0; g < n / 16; g++) {
        for (int r = 0; r < n_row; r++) {
            int32_t count = 0;
            for (int i = 0; i < 16; i++)
                count += row[r].q[g * 16 + i];
            const VF d = vf_set(row[r].d[g / 2]);
            for (int p = 0; p < n_panel; p++) {
                VI sum = vi_set(-offset * count);
                for (int j = 0; j < 4; j++)
                    sum = dot4(sum, tiles[p].q[g * 4 + j], row[r].q + g * 16 + j * 4, false);
                acc[r][p] = vf_fma(vf_of_vi(sum), vf_load(tiles[p].d[g]) * d, acc[r][p]);
            }
        }
    }
    for (int r = 0; r < n_row; r++)
        for (int p = 0; p < n_panel; p++)
            vf_store(row[r].out + 16 * p, acc[r][p]);
}

/* Class SUPER: 256 inputs; `group` is 16 or 32. Everything up to the last line is exact. */
static ALWAYS_INLINE void super_rows(const SuperTile *tiles, int n_panel, const RowPart *row, int n_row, int group,
                                     bool has_min, bool wide, bool first) {
    VI total[ROWS][2];
    for (int r = 0; r < n_row; r++)
        for (int p = 0; p < n_panel; p++)
            total[r][p] = vi_set(0);
    const int steps = group / 4;
    for (int g = 0; g < 256 / group; g++) {
        VI sum[ROWS][2];
        for (int r = 0; r < n_row; r++)
            for (int p = 0; p < n_panel; p++)
                sum[r][p] = vi_set(0);
        for (int j = 0; j < steps; j++)
            for (int r = 0; r < n_row; r++)
                for (int p = 0; p < n_panel; p++)
                    sum[r][p] = dot4(sum[r][p], tiles[p].q[g * steps + j], row[r].q + g * group + j * 4, wide);
        for (int p = 0; p < n_panel; p++) {
            const VI sc = vi_load(tiles[p].sc[g]);
            for (int r = 0; r < n_row; r++)
                total[r][p] += sum[r][p] * sc;
        }
    }
    for (int r = 0; r < n_row; r++) {
        const VF d = vf_set(row[r].d[0]);
        for (int p = 0; p < n_panel; p++) {
            VI less = vi_set(0);
            for (int g = 0; g < 128 / group; g++)
                less = dot2(less, tiles[p].mn[g], row[r].sums + 2 * g);
            VF acc = first ? vf_set(0) : vf_load(row[r].out + 16 * p);
            if (has_min) {
                acc = vf_fma(vf_of_vi(total[r][p]), vf_load(tiles[p].d) * d, acc);
                acc = vf_fma(vf_of_vi(less), -(vf_load(tiles[p].dm) * d), acc);
            } else {
                acc = vf_fma(vf_of_vi(total[r][p] - less), vf_load(tiles[p].d) * d, acc);
            }
            vf_store(row[r].out + 16 * p, acc);
        }
    }
}

/* Floats: w [k][output], in one chain over the inputs. */
static ALWAYS_INLINE void float_rows(const float *tile0, const float *tile1, int n_panel, const float *const *x,
                                     float *const *out, int n_row, int n, bool first) {
    VF acc[ROWS][2];
    for (int r = 0; r < n_row; r++)
        for (int p = 0; p < n_panel; p++)
            acc[r][p] = first ? vf_set(0) : vf_load(out[r] + 16 * p);
    for (int k = 0; k < n; k++) {
        const VF w0 = vf_load(tile0 + 16 * k), w1 = n_panel > 1 ? vf_load(tile1 + 16 * k) : w0;
        for (int r = 0; r < n_row; r++) {
            const VF a = vf_set(x[r][k]);
            acc[r][0] = vf_fma(w0, a, acc[r][0]);
            if (n_panel > 1)
                acc[r][1] = vf_fma(w1, a, acc[r][1]);
        }
    }
    for (int r = 0; r < n_row; r++)
        for (int p = 0; p < n_panel; p++)
            vf_store(out[r] + 16 * p, acc[r][p]);
}

/* The same code for each number of rows, so that all of it is unrolled into registers. */
#define FOR_ROWS(n_row, call)                                                                                          \
    do {                                                                                                               \
        switch (n_row) {                                                                                               \
        case 1: { enum { R = 1 }; call; break; }                                                                       \
        case 2: { enum { R = 2 }; call; break; }                                                                       \
        case 3: { enum { R = 3 }; call; break; }                                                                       \
        case 4: { enum { R = 4 }; call; break; }                                                                       \
        case 5: { enum { R = 5 }; call; break; }                                                                       \
        default: { enum { R = 6 }; call; break; }                                                                      \
        }                                                                                                              \
    } while (0)

static NOINLINE void block_min(const BlockTile *t, int panels, const RowPart *row, int rows, int n, bool first) {
    if (panels == 2)
        FOR_ROWS(rows, block_rows(t, 2, row, R, n, 0, true, false, first));
    else
        FOR_ROWS(rows, block_rows(t, 1, row, R, n, 0, true, false, first));
}

static NOINLINE void block_min_wide(const BlockTile *t, int panels, const RowPart *row, int rows, int n, int offset,
                                    bool first) {
    for (int r = 0; r < rows; r++)
        block_rows(t, panels, row + r, 1, n, offset, true, true, first);
}

static NOINLINE void block_narrow(const BlockTile *t, int panels, const RowPart *row, int rows, int n, int offset,
                                  bool first) {
    if (panels == 2)
        FOR_ROWS(rows, block_rows(t, 2, row, R, n, offset, false, false, first));
    else
        FOR_ROWS(rows, block_rows(t, 1, row, R, n, offset, false, false, first));
}

static NOINLINE void block_wide(const BlockTile *t, int panels, const RowPart *row, int rows, int n, int offset,
                                bool first) {
    if (panels == 2)
        FOR_ROWS(rows, block_rows(t, 2, row, R, n, offset, false, true, first));
    else
        FOR_ROWS(rows, block_rows(t, 1, row, R, n, offset, false, true, first));
}

static NOINLINE void block_16(const BlockTile *t, int panels, const RowPart *row, int rows, int n, int offset,
                              bool first) {
    block16_rows(t, panels, row, rows, n, offset, first);
}

static NOINLINE void super_32_min(const SuperTile *t, int panels, const RowPart *row, int rows, bool first) {
    if (panels == 2)
        FOR_ROWS(rows, super_rows(t, 2, row, R, 32, true, false, first));
    else
        FOR_ROWS(rows, super_rows(t, 1, row, R, 32, true, false, first));
}

static NOINLINE void super_16(const SuperTile *t, int panels, const RowPart *row, int rows, bool has_min, bool first) {
    if (panels == 2)
        FOR_ROWS(rows, super_rows(t, 2, row, R, 16, has_min, false, first));
    else
        FOR_ROWS(rows, super_rows(t, 1, row, R, 16, has_min, false, first));
}

static NOINLINE void super_wide(const SuperTile *t, int panels, const RowPart *row, int rows, int group, bool first) {
    if (group == 16 && panels == 2)
        FOR_ROWS(rows, super_rows(t, 2, row, R, 16, false, true, first));
    else if (group == 16)
        FOR_ROWS(rows, super_rows(t, 1, row, R, 16, false, true, first));
    else if (panels == 2)
        FOR_ROWS(rows, super_rows(t, 2, row, R, 32, false, true, first));
    else
        FOR_ROWS(rows, super_rows(t, 1, row, R, 32, false, true, first));
}

static NOINLINE void super_32(const SuperTile *t, int panels, const RowPart *row, int rows, bool first) {
    if (panels == 2)
        FOR_ROWS(rows, super_rows(t, 2, row, R, 32, false, false, first));
    else
        FOR_ROWS(rows, super_rows(t, 1, row, R, 32, false, false, first));
}

static NOINLINE void float_any(const float *tile0, const float *tile1, int panels, const float *const *x,
                               float *const *out, int rows, int n, bool first) {
    if (panels == 2)
        FOR_ROWS(rows, float_rows(tile0, tile1, 2, x, out, R, n, first));
    else
        FOR_ROWS(rows, float_rows(tile0, tile1, 1, x, out, R, n, first));
}

/* ---- the walk over a matrix ------------------------------------------------------------------------------------- */

static Unpackers unpackers;

static const uint8_t *act_row(const LinearJob *job, int r) {
    return job->acts + (size_t)(job->act_rows != NULL ? job->act_rows[r] : r) * job->act_bytes;
}

/* Vectors of 16 outputs are written whole, so results go through a buffer where a panel is not full. */
typedef struct Target {
    float *buffer; /* [ROW_BLOCK][32] of the scratch, or NULL when y itself takes them */
    const LinearJob *job;
    int first_row, begin, count; /* outputs begin .. begin + count - 1 */
} Target;

static float *target_row(const Target *t, int r) {
    return t->buffer != NULL ? t->buffer + r * 32 : t->job->out + (size_t)(t->first_row + r) * t->job->out_stride + t->begin;
}

static void target_flush(const Target *t, int n_row) {
    for (int r = 0; t->buffer != NULL && r < n_row; r++)
        memcpy(t->job->out + (size_t)(t->first_row + r) * t->job->out_stride + t->begin, t->buffer + r * 32,
               (size_t)t->count * sizeof(float));
}

typedef struct LinearScratch {
    union {
        BlockTile block[2];
        SuperTile super[2];
        _Alignas(64) float floats[2][TILE_COLS * 16];
    } tile;
    float rows[16][TILE_COLS]; /* decoded rows on their way into a float tile */
    float buffer[ROW_BLOCK * 32];
} LinearScratch;
_Static_assert(sizeof(LinearScratch) <= LINEAR_SCRATCH_BYTES, "LINEAR_SCRATCH_BYTES is too small");

static void dot_block_tiles(const FormInfo *info, const BlockTile *tiles, int panels, const RowPart *row, int rows,
                            int n, bool first) {
    if (info->group == 16)
        block_16(tiles, panels, row, rows, n, info->offset, first);
    else if (info->has_min && info->offset == 0)
        block_min(tiles, panels, row, rows, n, first);
    else if (info->has_min)
        block_min_wide(tiles, panels, row, rows, n, info->offset, first);
    else if (info->offset > 16)
        block_wide(tiles, panels, row, rows, n, info->offset, first);
    else
        block_narrow(tiles, panels, row, rows, n, info->offset, first);
}

static void dot_super_tiles(const FormInfo *info, const SuperTile *tiles, int panels, const RowPart *row, int rows,
                            bool first) {
    if (info->offset > 64)
        super_wide(tiles, panels, row, rows, info->group, first);
    else if (info->group == 16)
        super_16(tiles, panels, row, rows, info->has_min, first);
    else if (info->has_min)
        super_32_min(tiles, panels, row, rows, first);
    else
        super_32(tiles, panels, row, rows, first);
}

static void unpack_block(const Matrix *m, int row0, int col, int n, BlockTile *tile) {
    const UnpackBlockFn fast = unpackers.block[m->form];
    (fast != NULL ? fast : unpack_block_any)(m, row0, col, n, tile);
}

static void unpack_super(const Matrix *m, int row0, int col, SuperTile *tile) {
    const UnpackSuperFn fast = unpackers.super[m->form];
    (fast != NULL ? fast : unpack_super_any)(m, row0, col, tile);
}

/* Integer activations times one pair of panels, rows [r0, r1). */
static void linear_integers(const LinearJob *job, const FormInfo *info, LinearScratch *s, const Target *target, int r0,
                            int r1, int panels) {
    const Matrix *m = job->m;
    const int cols = m->cols;
    for (int col = 0; col < cols; col += TILE_COLS) {
        const int n = cols - col < TILE_COLS ? cols - col : TILE_COLS;
        const bool first = col == 0;
        for (int p = 0; p < panels; p++) {
            if (info->kind == CLASS_BLOCK)
                unpack_block(m, target->begin + 16 * p, col, n, &s->tile.block[p]);
            else
                unpack_super(m, target->begin + 16 * p, col, &s->tile.super[p]);
        }
        for (int r = r0; r < r1; r += ROWS) {
            const int rows = r1 - r < ROWS ? r1 - r : ROWS;
            RowPart part[ROWS];
            for (int i = 0; i < rows; i++) {
                const uint8_t *a = act_row(job, r + i);
                part[i] = (RowPart){.q = (const int8_t *)a + col, .out = target_row(target, r + i - r0)};
                if (info->kind == CLASS_BLOCK) {
                    part[i].d = act_q8_scales(a, cols) + col / 32;
                    part[i].s = act_q8_32_sums(a, cols) + col / 32;
                    part[i].count = act_q8_32_counts(a, cols) + col / 32;
                } else {
                    part[i].d = act_q8_scales(a, cols) + col / 256;
                    part[i].sums = info->group == 16 ? act_q8_256_sums16(a, cols) + col / 16
                                                     : act_q8_256_sums32(a, cols) + col / 32;
                }
            }
            if (info->kind == CLASS_BLOCK)
                dot_block_tiles(info, s->tile.block, panels, part, rows, n, first);
            else
                dot_super_tiles(info, s->tile.super, panels, part, rows, first);
        }
    }
}

/* A float tile [k][output] of any form. */
static void unpack_floats(const Matrix *m, int row0, int col, int n, float *tile, float (*rows)[TILE_COLS]) {
    for (int o = 0; o < 16; o++)
        form_decode_row(m, row0 + o < m->rows ? row0 + o : m->rows - 1, col, n, rows[o]);
    for (int k = 0; k < n; k++)
        for (int o = 0; o < 16; o++)
            tile[16 * k + o] = rows[o][k];
}

static void linear_floats(const LinearJob *job, LinearScratch *s, const Target *target, int r0, int r1, int panels) {
    const Matrix *m = job->m;
    for (int col = 0; col < m->cols; col += TILE_COLS) {
        const int n = m->cols - col < TILE_COLS ? m->cols - col : TILE_COLS;
        for (int p = 0; p < panels; p++)
            unpack_floats(m, target->begin + 16 * p, col, n, s->tile.floats[p], s->rows);
        for (int r = r0; r < r1; r += ROWS) {
            const int rows = r1 - r < ROWS ? r1 - r : ROWS;
            const float *x[ROWS];
            float *out[ROWS];
            for (int i = 0; i < rows; i++) {
                x[i] = (const float *)(const void *)act_row(job, r + i) + col;
                out[i] = target_row(target, r + i - r0);
            }
            float_any(s->tile.floats[0], s->tile.floats[1], panels, x, out, rows, n, col == 0);
        }
    }
}

static void linear(const LinearJob *job, Precision precision) {
    const FormInfo *info = form_info(job->m->form);
    const bool integers = precision == PRECISION_FAST && (info->kind == CLASS_BLOCK || info->kind == CLASS_SUPER);
    LinearScratch *s = job->scratch;
    for (int r0 = 0; r0 < job->n_row; r0 += ROW_BLOCK) {
        const int r1 = job->n_row - r0 < ROW_BLOCK ? job->n_row : r0 + ROW_BLOCK;
        for (int o = job->begin; o < job->end; o += 32) {
            const int count = job->end - o < 32 ? job->end - o : 32;
            const int panels = count > 16 ? 2 : 1;
            const Target target = {.buffer = count % 16 == 0 ? NULL : s->buffer, .job = job, .first_row = r0,
                                   .begin = o, .count = count};
            if (integers)
                linear_integers(job, info, s, &target, r0, r1, panels);
            else
                linear_floats(job, s, &target, r0, r1, panels);
            target_flush(&target, r1 - r0);
        }
    }
}

static void linear_f32(const LinearJob *job) {
    linear(job, PRECISION_F32);
}

static void linear_fast(const LinearJob *job) {
    linear(job, PRECISION_FAST);
}

void K(kernels_fill_linear)(Kernels *k) {
    k->linear[PRECISION_F32] = linear_f32;
    k->linear[PRECISION_FAST] = linear_fast;
}
