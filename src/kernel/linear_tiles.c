/* linear_tiles.c - multiplying rows by a weight matrix with AMX tiles: what the level amx does for many rows of integers,
 * and for any rows of bf16.
 *
 * As in linear_simd.c, a group of four panels (4 x 16 outputs) is unpacked 256 inputs at a time and multiplied with all rows
 * before it is gone. An unpacked panel, q[k / 4][output][k % 4], is what the instructions want of their second factor; the
 * first is 16 rows of activations as they lie, so one instruction gives 16 rows x 16 outputs.
 *
 *   class SUPER  The integer scales are multiplied into the weights while unpacking: sc (q - offset) = 256 high + low, two
 *                signed bytes. So nothing has to be done between the groups: 256 inputs are four instructions for each
 *                byte, then `low + 256 high` is the exact sum that linear_simd.c has. (8 instructions of 16 cycles for
 *                131,072 operations: half of what tiles can do at the most.)
 *   class BLOCK  Each group of 32 has a float scale: one instruction of half depth, whose sums are stored and multiplied
 *                while the next one runs. The vector part is what takes the time: about 28 cycles for 16,384 operations.
 *   bf16         Two blocks of rows x two panels, so that each tile that is loaded is used twice.
 *
 * The bits of integers are those of the vector kernels, which multiply few rows. The order in which the instruction adds up
 * bf16 is its own, so at this level all products of bf16 are made by it, those of one row too. */
#include "kernel/linear_group.h"
#include "kernel/native.h"
#include "kernel/tiles.h"

#include "base/half.h"

#include <math.h>

enum {
    BLOCKS = ROW_BLOCK / TILE_ROWS,
    STEP_BYTES = 64,  /* inputs of an instruction: 64 bytes, or 32 bf16 */
    FEWEST_ROWS = 8,  /* fewer rows of integers are left to the vector kernels */
    ALL_LANES = 0xFFFF,
};

/* A panel of class SUPER, scales folded in. */
typedef struct Folded {
    _Alignas(64) int8_t low[TILE_COLS / 4][16][4];
    int8_t high[TILE_COLS / 4][16][4];
    int16_t mn[TILE_COLS / 32][16][2];
    float d[16], dm[16];
    bool two; /* high is not all zero */
} Folded;

typedef int32_t TileSums[TILE_ROWS][16];

/* What rows of class BLOCK bring to 256 inputs. */
typedef struct RowScales {
    float d[TILE_COLS / 32][TILE_ROWS], s[TILE_COLS / 32][TILE_ROWS];
} RowScales;
_Static_assert(offsetof(ActBlock32, s) == offsetof(ActBlock32, d) + sizeof(float[8]), "a row's are turned together");

typedef struct TileScratch {
    union {
        struct {
            Folded panel[GROUP_PANELS];
            SuperTile from;
            _Alignas(64) TileSums sums[2][2][2]; /* [of this turn, of the one before][block][low, high] */
        } super;
        struct {
            BlockTile panel[GROUP_PANELS];
            _Alignas(64) TileSums sums[2];
            RowScales scales;
        } block;
        PairTile pairs[GROUP_PANELS];
    } u;
    _Alignas(64) uint8_t rows[2][TILE_ROWS][2 * TILE_COLS]; /* of two blocks, when they do not lie one after another */
    _Alignas(64) float buffer[BLOCKS][GROUP_PANELS][TILE_ROWS][LINEAR_PANEL];
} TileScratch;
_Static_assert(sizeof(TileScratch) <= LINEAR_SCRATCH_BYTES, "LINEAR_SCRATCH_BYTES is too small");

static Unpackers unpackers;
static void (*linear_below)(const LinearJob *job); /* of the level below */

/* Rows [r0, r0 + n_row) times the outputs of a group. The last block of rows ends with the last row and so overlaps the one
 * before, as the last panel of a matrix does. */
typedef struct Walk {
    const LinearJob *job;
    Group g;
    TileScratch *s;
    int r0, n_row;
    int block_rows, n_block;
    int col, n; /* the inputs at hand */
    bool first, last;
    __mmask16 lanes[GROUP_PANELS]; /* outputs of a panel that are wanted */
} Walk;

static int block_begin(const Walk *w, int block) {
    return MIN(block * TILE_ROWS, w->n_row - w->block_rows);
}

static const uint8_t *row_of_block(const Walk *w, int block, int r) {
    return act_row(w->job, w->r0 + block_begin(w, block) + MIN(r, w->block_rows - 1));
}

/* A block's inputs: `bytes` from `at` on in each row. */
static const uint8_t *inputs_of(const Walk *w, int block, size_t at, size_t bytes, uint8_t *copy, size_t *stride) {
    *stride = w->job->act_bytes;
    if (w->job->act_rows == NULL)
        return row_of_block(w, block, 0) + at;
    for (int r = 0; r < w->block_rows; r++)
        memcpy(copy + (size_t)r * bytes, row_of_block(w, block, r) + at, bytes);
    *stride = bytes;
    return copy;
}

/* Row 0 of a block, lane 0 of a panel, in the results. */
static float *results_of(const Walk *w, int block, int panel) {
    return w->job->out + (size_t)(w->r0 + block_begin(w, block)) * w->job->out_stride + panel_row(&w->g, panel);
}

/* ---- class SUPER --------------------------------------------------------------------------------------------------------- */

/* Products of a group's weights with their scales, as bytes. */
static ALWAYS_INLINE __m512i fold_group(Folded *to, const SuperTile *from, int g, int group, int offset) {
    const __m512i sc = ni_load(from->sc[g]), low_half = ni_set(0xFFFF);
    const __m512i scale = ni_or(ni_and(sc, low_half), ni_sll(sc, 16));
    const __m512i round = _mm512_set1_epi16(128), even = _mm512_set1_epi16(0x00FF);
    __m512i all = ni_zero();
    for (int k = g * group / 4; k < (g + 1) * group / 4; k++) {
        const __m512i q = ni_sub8(ni_load(from->q[k]), ni_set8(offset));
        const __m512i a = ni_mul16(_mm512_srai_epi16(_mm512_slli_epi16(q, 8), 8), scale); /* bytes 0 and 2 */
        const __m512i b = ni_mul16(_mm512_srai_epi16(q, 8), scale);                      /* 1 and 3 */
        ni_store(to->low[k], ni_pick(even, a, _mm512_slli_epi16(b, 8)));
        const __m512i high = ni_pick(even, _mm512_srli_epi16(ni_add16(a, round), 8), ni_add16(b, round));
        ni_store(to->high[k], high);
        all = ni_or(all, high);
    }
    return all;
}

static void fold(Folded *to, const SuperTile *from, const FormInfo *info, int offset) {
    __m512i all = ni_zero();
    for (int g = 0; g < TILE_COLS / info->group; g++)
        all = ni_or(all, fold_group(to, from, g, info->group, offset));
    to->two = _mm512_test_epi8_mask(all, all) != 0;
    memcpy(to->mn, from->mn, sizeof to->mn);
    memcpy(to->d, from->d, sizeof to->d);
    memcpy(to->dm, from->dm, sizeof to->dm);
}

/* One or two blocks of rows times a panel, all 256 inputs: tiles 0 and 1 the first block's low and high sums, 2 and 3 the
 * second's. */
static void super_multiply(const Folded *w, const uint8_t *const a[2], const size_t stride[2], int n_block) {
    TILE_ZERO(0);
    TILE_ZERO(1);
    TILE_ZERO(2);
    TILE_ZERO(3);
    for (int k = 0; k < TILE_COLS / STEP_BYTES; k++) {
        TILE_LOAD(4, a[0] + STEP_BYTES * k, stride[0]);
        TILE_LOAD(6, w->low[TILE_ROWS * k], TILE_BYTES);
        TILE_DOT_S8(0, 4, 6);
        if (n_block == 2) {
            TILE_LOAD(5, a[1] + STEP_BYTES * k, stride[1]);
            TILE_DOT_S8(2, 5, 6);
        }
        if (w->two) {
            TILE_LOAD(7, w->high[TILE_ROWS * k], TILE_BYTES);
            TILE_DOT_S8(1, 4, 7);
            if (n_block == 2)
                TILE_DOT_S8(3, 5, 7);
        }
    }
}

static void super_store(TileSums sums[2][2]) {
    TILE_STORE(0, sums[0][0], TILE_BYTES);
    TILE_STORE(1, sums[0][1], TILE_BYTES);
    TILE_STORE(2, sums[1][0], TILE_BYTES);
    TILE_STORE(3, sums[1][1], TILE_BYTES);
}

/* One or two blocks of rows with a panel, whose sums are made or are to be finished. */
typedef struct Turn {
    int block, n_block, panel;
    const ActBlock256 *(*acts)[TILE_ROWS]; /* of the rows of each block */
} Turn;

/* The float operations of a block's rows with a panel: as super_rows() in linear_dots.h. */
static ALWAYS_INLINE void super_finish_block(const Walk *w, const Folded *panel, TileSums sums[2],
                                             const ActBlock256 *const *acts, int block, int p, int group, bool has_min) {
    enum { MOST_PAIRS = 8 };
    const NF d = nf_load(panel->d), dm = nf_load(panel->dm);
    const size_t stride = w->last ? w->job->out_stride : LINEAR_PANEL;
    const float *from = w->s->buffer[block][p][0];
    float *to = w->last ? results_of(w, block, p) : w->s->buffer[block][p][0];
    const __mmask16 lanes = w->last ? w->lanes[p] : ALL_LANES;
    const int pairs = has_min ? TILE_COLS / 2 / group : 0;
    NI mn[MOST_PAIRS];
    UNROLL
    for (int g = 0; g < pairs; g++)
        mn[g] = ni_load(panel->mn[g]);
    for (int r = 0; r < w->block_rows; r++, from += LINEAR_PANEL, to += stride) {
        const ActBlock256 *a = acts[r];
        const NI total = ni_add(ni_load(sums[0][r]), ni_sll(ni_load(sums[1][r]), 8));
        const NF scale = nf_set(a->d);
        NF acc = w->first ? nf_zero() : nf_load(from);
        acc = nf_fma(nf_of_ni(total), nf_mul(d, scale), acc);
        if (has_min) {
            const int16_t *counts = group == 16 ? a->counts : a->counts32;
            NI less[2] = {ni_zero(), ni_zero()}; /* exact in any order */
            UNROLL
            for (int g = 0; g < pairs; g++) {
                int32_t two;
                memcpy(&two, counts + 2 * g, sizeof two);
                less[g % 2] = ni_dot2(less[g % 2], mn[g], ni_set(two));
            }
            acc = nf_fnma(nf_of_ni(ni_add(less[0], less[1])), nf_mul(dm, scale), acc);
        }
        _mm512_mask_storeu_ps(to, lanes, acc);
    }
}

static void super_finish(const Walk *w, const Turn *t, TileSums sums[2][2]) {
    const FormInfo *info = form_info(w->job->m->form);
    const Folded *panel = &w->s->u.super.panel[t->panel];
    for (int i = 0; i < t->n_block; i++) {
        const int block = t->block + i;
        if (!info->has_min)
            super_finish_block(w, panel, sums[i], t->acts[i], block, t->panel, 32, false);
        else if (info->group == 16)
            super_finish_block(w, panel, sums[i], t->acts[i], block, t->panel, 16, true);
        else
            super_finish_block(w, panel, sums[i], t->acts[i], block, t->panel, 32, true);
    }
}

static void super_columns(const Walk *w) {
    const Matrix *m = w->job->m;
    TileScratch *s = w->s;
    const UnpackSuperFn fast = m->rows >= LINEAR_PANEL ? unpackers.super[m->form] : NULL;
    for (int p = 0; p < w->g.panels; p++) {
        (fast != NULL ? fast : unpack_super_any)(m, panel_row(&w->g, p), w->col, &s->u.super.from);
        fold(&s->u.super.panel[p], &s->u.super.from, form_info(m->form), form_offset(m));
    }
    Ahead ahead = ahead_of(w->job, &w->g, w->col, w->n_row, 2 * TILE_ROWS);
    const size_t at = (size_t)(w->col / TILE_COLS) * sizeof(ActBlock256);
    const ActBlock256 *acts[2][2][TILE_ROWS]; /* of the blocks at hand, and of those before them */
    Turn before = {0};
    int turn = 0;
    for (int block = 0; block < w->n_block; block += 2) {
        const int n_block = MIN(2, w->n_block - block);
        const uint8_t *a[2] = {0};
        size_t stride[2] = {0};
        for (int i = 0; i < n_block; i++) {
            a[i] = inputs_of(w, block + i, at, TILE_COLS, s->rows[i][0], &stride[i]);
            for (int r = 0; r < TILE_ROWS; r++)
                acts[block / 2 % 2][i][r] = (const ActBlock256 *)(const void *)(row_of_block(w, block + i, r) + at);
        }
        fetch_ahead(&ahead);
        for (int p = 0; p < w->g.panels; p++, turn++) {
            super_multiply(&s->u.super.panel[p], a, stride, n_block);
            if (turn > 0) /* while the tiles are at work */
                super_finish(w, &before, s->u.super.sums[(turn - 1) % 2]);
            super_store(s->u.super.sums[turn % 2]);
            before = (Turn){block, n_block, p, acts[block / 2 % 2]};
        }
    }
    super_finish(w, &before, s->u.super.sums[(turn - 1) % 2]);
}

/* ---- class BLOCK --------------------------------------------------------------------------------------------------------- */

/* Unpacked weights are without sign, plus an offset; tiles take signed bytes. */
static void take_offset(BlockTile *tile, int n, int offset) {
    for (int k = 0; k < n / 4; k++)
        ni_store(tile->q[k], ni_sub8(ni_load(tile->q[k]), ni_set8(offset)));
}

static ALWAYS_INLINE void block_multiply(const BlockTile *panel, const uint8_t *a, size_t stride, int g, int group) {
    TILE_ZERO(0);
    TILE_LOAD(4, a + g * group, stride);
    TILE_LOAD(6, panel->q[g * group / 4], TILE_BYTES);
    TILE_DOT_S8(0, 4, 6);
}

/* A block of rows times a panel: as block_rows() in linear_dots.h. */
static ALWAYS_INLINE void block_rows_of(const Walk *w, const BlockTile *panel, const uint8_t *a, size_t stride, int block, int p,
                                        int group, bool has_min) {
    const RowScales *scales = &w->s->u.block.scales;
    TileSums *sums = w->s->u.block.sums;
    float(*buffer)[LINEAR_PANEL] = w->s->buffer[block][p];
    NF acc[TILE_ROWS];
    UNROLL
    for (int r = 0; r < TILE_ROWS; r++)
        acc[r] = w->first ? nf_zero() : nf_load(buffer[r]);
    const int groups = w->n / group;
    block_multiply(panel, a, stride, 0, group);
    TILE_STORE(0, sums[0], TILE_BYTES);
    for (int g = 0; g < groups; g++) {
        const int at = g * group / 32;
        if (g + 1 < groups)
            block_multiply(panel, a, stride, g + 1, group);
        const NF d = nf_load(panel->d[g]);
        UNROLL
        for (int r = 0; r < TILE_ROWS; r++)
            acc[r] = nf_fma(nf_of_ni(ni_load(sums[g % 2][r])), nf_mul(d, nf_set(scales->d[at][r])), acc[r]);
        if (has_min) {
            const NF m = nf_load(panel->m[at]);
            UNROLL
            for (int r = 0; r < TILE_ROWS; r++)
                acc[r] = nf_fma(m, nf_set(scales->s[at][r]), acc[r]);
        }
        if (g + 1 < groups)
            TILE_STORE(0, sums[(g + 1) % 2], TILE_BYTES);
    }
    if (!w->last) {
        UNROLL
        for (int r = 0; r < TILE_ROWS; r++)
            nf_store(buffer[r], acc[r]);
        return;
    }
    float *out = results_of(w, block, p);
    UNROLL
    for (int r = 0; r < TILE_ROWS; r++)
        if (r < w->block_rows)
            _mm512_mask_storeu_ps(out + (size_t)r * w->job->out_stride, w->lanes[p], acc[r]);
}

static void block_columns(const Walk *w) {
    const Matrix *m = w->job->m;
    const FormInfo *info = form_info(m->form);
    TileScratch *s = w->s;
    const UnpackBlockFn fast = m->rows >= LINEAR_PANEL ? unpackers.block[m->form] : NULL;
    for (int p = 0; p < w->g.panels; p++) {
        (fast != NULL ? fast : unpack_block_any)(m, panel_row(&w->g, p), w->col, w->n, &s->u.block.panel[p]);
        take_offset(&s->u.block.panel[p], w->n, form_offset(m));
    }
    Ahead ahead = ahead_of(w->job, &w->g, w->col, w->n_row, TILE_ROWS);
    for (int block = 0; block < w->n_block; block++) {
        const size_t at = (size_t)(w->col / TILE_COLS) * sizeof(ActBlock32);
        size_t stride;
        const uint8_t *a = inputs_of(w, block, at, TILE_COLS, s->rows[0][0], &stride);
        VF both[TILE_ROWS]; /* d and s of a row, then one of them of all rows */
        for (int r = 0; r < TILE_ROWS; r++)
            both[r] = vf_load(((const ActBlock32 *)(const void *)(row_of_block(w, block, r) + at))->d);
        vf_transpose(both);
        memcpy(&s->u.block.scales, both, sizeof both);
        fetch_ahead(&ahead);
        for (int p = 0; p < w->g.panels; p++) {
            const BlockTile *panel = &s->u.block.panel[p];
            if (info->group == 16)
                block_rows_of(w, panel, a, stride, block, p, 16, false);
            else if (info->has_min)
                block_rows_of(w, panel, a, stride, block, p, 32, true);
            else
                block_rows_of(w, panel, a, stride, block, p, 32, false);
        }
    }
}

/* ---- bf16 ---------------------------------------------------------------------------------------------------------------- */

/* One or two blocks of rows times one or two panels, all inputs: tile 2 i + j has block i and panel j. */
static void pairs_multiply(const PairTile *w, const uint8_t *const a[2], const size_t stride[2], int n, int n_block, int n_panel) {
    for (int k = 0; k < n / 32; k++) {
        TILE_LOAD(4, a[0] + STEP_BYTES * k, stride[0]);
        TILE_LOAD(6, w[0].w[TILE_ROWS * k], TILE_BYTES);
        TILE_DOT_BF16(0, 4, 6);
        if (n_block == 2) {
            TILE_LOAD(5, a[1] + STEP_BYTES * k, stride[1]);
            TILE_DOT_BF16(2, 5, 6);
        }
        if (n_panel == 2) {
            TILE_LOAD(7, w[1].w[TILE_ROWS * k], TILE_BYTES);
            TILE_DOT_BF16(1, 4, 7);
            if (n_block == 2)
                TILE_DOT_BF16(3, 5, 7);
        }
    }
}

#define PAIRS_BEGIN(t, w, block, p)                                                                                    \
    do {                                                                                                               \
        if ((w)->first)                                                                                                \
            TILE_ZERO(t);                                                                                              \
        else                                                                                                           \
            TILE_LOAD(t, (w)->s->buffer[block][p], TILE_BYTES);                                                        \
    } while (0)

/* Results go straight to where they belong when all lanes of the panel are wanted. */
#define PAIRS_END(t, w, block, p)                                                                                      \
    do {                                                                                                               \
        if ((w)->last && (w)->lanes[p] == ALL_LANES)                                                                   \
            TILE_STORE(t, results_of(w, block, p), (w)->job->out_stride * sizeof(float));                              \
        else                                                                                                           \
            TILE_STORE(t, (w)->s->buffer[block][p], TILE_BYTES);                                                       \
    } while (0)

static void pairs_flush(const Walk *w, int block, int p) {
    float *out = results_of(w, block, p);
    for (int r = 0; w->lanes[p] != ALL_LANES && r < w->block_rows; r++)
        _mm512_mask_storeu_ps(out + (size_t)r * w->job->out_stride, w->lanes[p], nf_load(w->s->buffer[block][p][r]));
}

static void pairs_unpack(const Walk *w, int p, int n) {
    const Matrix *m = w->job->m;
    PairTile *tile = &w->s->u.pairs[p];
    const UnpackPairFn unpack = m->rows >= LINEAR_PANEL ? unpackers.pairs[m->form] : NULL;
    const int fast = unpack != NULL ? w->n & ~15 : 0;
    if (fast > 0)
        unpack(m, panel_row(&w->g, p), w->col, fast, tile);
    if (fast < w->n)
        unpack_pair_any(m, panel_row(&w->g, p), w->col, fast, w->n, tile);
    for (int k = (w->n + 1) / 2; k < n / 2; k++) /* rows of activations end in zeros too */
        memset(tile->w[k], 0, sizeof tile->w[k]);
}

static void pairs_columns(const Walk *w) {
    const int n = (w->n + 31) & ~31;
    for (int p = 0; p < w->g.panels; p++)
        pairs_unpack(w, p, n);
    Ahead ahead = ahead_of(w->job, &w->g, w->col, w->n_row, 2 * TILE_ROWS);
    for (int block = 0; block < w->n_block; block += 2) {
        const int n_block = MIN(2, w->n_block - block);
        const uint8_t *a[2] = {0};
        size_t stride[2] = {0};
        for (int i = 0; i < n_block; i++)
            a[i] = inputs_of(w, block + i, 2 * (size_t)w->col, 2 * (size_t)n, w->s->rows[i][0], &stride[i]);
        fetch_ahead(&ahead);
        for (int p = 0; p < w->g.panels; p += 2) {
            const int n_panel = MIN(2, w->g.panels - p);
            PAIRS_BEGIN(0, w, block, p);
            if (n_panel == 2)
                PAIRS_BEGIN(1, w, block, p + 1);
            if (n_block == 2)
                PAIRS_BEGIN(2, w, block + 1, p);
            if (n_block == 2 && n_panel == 2)
                PAIRS_BEGIN(3, w, block + 1, p + 1);
            pairs_multiply(&w->s->u.pairs[p], a, stride, n, n_block, n_panel);
            PAIRS_END(0, w, block, p);
            if (n_panel == 2)
                PAIRS_END(1, w, block, p + 1);
            if (n_block == 2)
                PAIRS_END(2, w, block + 1, p);
            if (n_block == 2 && n_panel == 2)
                PAIRS_END(3, w, block + 1, p + 1);
            for (int i = 0; w->last && i < n_block; i++)
                for (int j = 0; j < n_panel; j++)
                    pairs_flush(w, block + i, p + j);
        }
    }
}

/* ---- the walk over a matrix ---------------------------------------------------------------------------------------------- */

typedef void (*ColumnsFn)(const Walk *w);

/* How products of a form are made with tiles, or NULL. */
static ColumnsFn columns_fn(const LinearJob *job) {
    const FormClass kind = form_info(job->m->form)->kind;
    if (unpackers.pairs[job->m->form] != NULL)
        return pairs_columns;
    if (job->n_row < FEWEST_ROWS)
        return NULL;
    return kind == CLASS_SUPER ? super_columns : kind == CLASS_BLOCK ? block_columns : NULL;
}

/* Tiles 0 to 3 are sums, 4 and 5 rows of inputs, 6 and 7 weights. */
static void configure(int rows, int depth) {
    TileConfig c = {.palette = 1};
    for (int t = 0; t < 8; t++) {
        c.rows[t] = (uint8_t)(t < 6 ? rows : depth / 4);
        c.row_bytes[t] = (uint16_t)(t == 4 || t == 5 ? depth : TILE_BYTES);
    }
    tiles_configure(&c);
}

static void linear_fast(const LinearJob *job) {
    const ColumnsFn columns = columns_fn(job);
    if (columns == NULL) {
        linear_below(job);
        return;
    }
    const Matrix *m = job->m;
    const bool few = job->n_row <= LINEAR_FEW_ROWS;
    const int outs = few ? FEW_OUTS : GROUP_OUTS;
    Walk w = {.job = job, .s = job->scratch};
    for (w.r0 = 0; w.r0 < job->n_row; w.r0 += ROW_BLOCK) {
        w.n_row = MIN(job->n_row - w.r0, ROW_BLOCK);
        w.block_rows = MIN(w.n_row, TILE_ROWS);
        w.n_block = (w.n_row + TILE_ROWS - 1) / TILE_ROWS;
        configure(w.block_rows, columns == block_columns ? form_info(m->form)->group : STEP_BYTES);
        for (int o = job->begin; o < job->end; o += outs) {
            const int count = MIN(job->end - o, outs);
            if (few)
                touch(m, o + count, MIN(o + count + outs, job->end));
            w.g = (Group){.m = m, .begin = o, .count = count, .panels = (count + LINEAR_PANEL - 1) / LINEAR_PANEL};
            for (int p = 0; p < w.g.panels; p++) {
                const int before = o + LINEAR_PANEL * p - panel_row(&w.g, p), lanes = MIN(LINEAR_PANEL, count - LINEAR_PANEL * p);
                w.lanes[p] = (__mmask16)(((1u << lanes) - 1) << before);
            }
            for (w.col = 0; w.col < m->cols; w.col += TILE_COLS) {
                w.n = MIN(m->cols - w.col, TILE_COLS);
                w.first = w.col == 0;
                w.last = w.col + TILE_COLS >= m->cols;
                columns(&w);
            }
        }
    }
    tiles_release();
}

/* ---- do the tiles do what they should? ----------------------------------------------------------------------------------- */

/* A small product of each kind beside plain C. */
bool K(tiles_work)(void) {
    enum { N = 16 };
    _Alignas(64) static int8_t a[N][64], b[N][N][4];
    _Alignas(64) static uint16_t x[N][32], y[N][N][2];
    _Alignas(64) static int32_t sums[N][N];
    _Alignas(64) static float results[N][N];
    uint32_t state = 1;
    for (int i = 0; i < N * 64; i++) {
        state = state * 1664525u + 1013904223u;
        a[i / 64][i % 64] = (int8_t)(state >> 24);
        b[i / 64][i % 64 / 4][i % 4] = (int8_t)(state >> 16);
        if (i % 2 == 0) { /* numbers whose sum depends on its order */
            x[i / 64][i % 64 / 2] = bf16_of_float((float)(int8_t)(state >> 24) * 0.37f);
            y[i / 64][i % 64 / 4][i / 2 % 2] = bf16_of_float((float)(int8_t)(state >> 16) * 0.0123f);
        }
    }
    configure(N, STEP_BYTES);
    TILE_ZERO(0);
    TILE_ZERO(1);
    TILE_LOAD(4, a, TILE_BYTES);
    TILE_LOAD(6, b, TILE_BYTES);
    TILE_DOT_S8(0, 4, 6);
    TILE_STORE(0, sums, TILE_BYTES);
    TILE_LOAD(5, x, TILE_BYTES);
    TILE_LOAD(7, y, TILE_BYTES);
    TILE_DOT_BF16(1, 5, 7);
    TILE_DOT_BF16(1, 5, 7);
    TILE_STORE(1, results, TILE_BYTES);
    tiles_release();
    bool right = true;
    for (int r = 0; r < N; r++)
        for (int o = 0; o < N; o++) {
            int32_t sum = 0;
            float even = 0, odd = 0;
            for (int k = 0; k < 64; k++)
                sum += a[r][k] * b[k / 4][o][k % 4];
            for (int k = 0; k < 16; k++) {
                even = fmaf(float_of_bf16(x[r][2 * k]), float_of_bf16(y[k][o][0]), even);
                odd = fmaf(float_of_bf16(x[r][2 * k + 1]), float_of_bf16(y[k][o][1]), odd);
            }
            const float both = even + odd;
            right = right && sums[r][o] == sum && results[r][o] == both + both;
        }
    return right;
}

void K(kernels_fill_linear)(Kernels *k) {
    KERNEL_NAME(unpackers_fill_float, avx512)(&unpackers);
    KERNEL_NAME(unpackers_fill_ggml, avx512)(&unpackers);
    KERNEL_NAME(unpackers_fill_iq, avx512)(&unpackers);
    KERNEL_NAME(unpackers_fill_split, avx512)(&unpackers);
    linear_below = k->linear[PRECISION_FAST];
    k->linear[PRECISION_FAST] = linear_fast;
}
