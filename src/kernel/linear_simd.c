/* linear_simd.c - multiplying rows by a weight matrix in its stored form; compiled once per level.
 *
 * One scheme for every form and any number of rows (with 512 bits, F32, F16 and BF16 that lie row by row have their own,
 * linear_lines_simd.c; one row and few rows have shorter ways to the same bits):
 *
 *     for each group of four panels (4 x 16 outputs)
 *         for each 256 inputs: unpack the weights once into tiles that stay in the L1 cache,
 *             then for each few rows: the dot products of linear_dots.h, results so far in a buffer
 *
 * Lanes are outputs, so nothing is ever summed across lanes, and every output is summed over its inputs in one order
 * that does not depend on how many rows there are.
 *
 * The last panel of a matrix begins 16 rows before its end and so overlaps the one before: what is computed twice has
 * the same bits, and is written once. */
#include "kernel/linear_dots.h"
#include "kernel/linear_few.h"
#include "kernel/linear_group.h"
#include "kernel/linear_lines.h"
#include "kernel/linear_one.h"
#include "kernel/linear_walk.h"

enum {
    TOUCH_BYTES = 64 << 10, /* of few rows: groups of short ones are read several at a time */
    TOUCH_ROWS = 4,         /* up to here weights are read before they are used, beyond it while others are multiplied
                               (run_ahead(); 0.6B shape in Q4_K, 24 rows: 28.9 -> 25.6 ms a step, 40 rows: 40.0 -> 36.3) */
};

typedef struct LinearScratch {
    union {
        BlockTile block[GROUP_PANELS];
        SuperTile super[GROUP_PANELS];
        PairTile pairs[GROUP_PANELS];
        struct {
            FloatTile of[PANELS];
            union {
                BlockTile block;
                SuperTile super;
            } from; /* integers on their way into a float tile */
        } floats;
    } tile;
    float buffer[ROW_BLOCK * GROUP_OUTS];
} LinearScratch;
_Static_assert(sizeof(LinearScratch) <= LINEAR_SCRATCH_BYTES, "LINEAR_SCRATCH_BYTES is too small");

/* Unpacking is the same for all levels with AVX-512. */
#if defined(NATIVE_512)
#define UNPACK(name) KERNEL_NAME(name, avx512)
#else
#define UNPACK(name) KERNEL_NAME(name, LEVEL)
#endif

static Unpackers unpackers;

static void group_flush(const Group *g, const LinearJob *job, int r0, int n_row) {
    for (int p = 0; p * LINEAR_PANEL < g->count; p++) {
        const int begin = g->begin + LINEAR_PANEL * p;
        const float *from = g->buffer + LINEAR_PANEL * p + (begin - panel_row(g, p));
        float *to = job->out + (size_t)r0 * job->out_stride + begin;
        const int count = MIN(LINEAR_PANEL, g->count - LINEAR_PANEL * p);
        if (count == LINEAR_PANEL) /* of fixed length: four moves instead of a call */
            for (int r = 0; r < n_row; r++)
                memcpy(to + (size_t)r * job->out_stride, from + r * GROUP_OUTS, LINEAR_PANEL * sizeof *to);
        else
            for (int r = 0; r < n_row; r++)
                memcpy(to + (size_t)r * job->out_stride, from + r * GROUP_OUTS, (size_t)count * sizeof *to);
    }
}

/* The next few rows: as even parts as possible. */
static int rows_at_once(int left, int most) {
    const int parts = (left + most - 1) / most;
    return (left + parts - 1) / parts;
}

/* The same code for each number of rows, so that all of it is unrolled into registers. */
#if LANES_ARE_16
#define FIVE_OR_SIX(call)                                                                                              \
    case 5: { enum { R = 5 }; call; break; }                                                                           \
    case 6: { enum { R = 6 }; call; break; }
#else
#define FIVE_OR_SIX(call)
#endif
#define FOR_ROWS(n_row, call)                                                                                          \
    switch (n_row) {                                                                                                   \
        case 1: { enum { R = 1 }; call; break; }                                                                       \
        case 2: { enum { R = 2 }; call; break; }                                                                       \
        case 3: { enum { R = 3 }; call; break; }                                                                       \
        case 4: { enum { R = 4 }; call; break; }                                                                       \
        FIVE_OR_SIX(call)                                                                                              \
    }

/* ---- class BLOCK ------------------------------------------------------------------------------------------------- */

typedef void (*BlockFn)(const BlockTile *tiles, const RowPart *row, int n_row, int n, bool first);

#define BLOCK_DOT(name, group, has_min, offset, top)                                                                   \
    static NOINLINE void name(const BlockTile *tiles, const RowPart *row, int n_row, int n, bool first) {              \
        FOR_ROWS(n_row, block_rows(tiles, row, R, n, group, has_min, offset, top, first))                              \
    }

#if defined(NATIVE_DOT4) || !defined(NATIVE_X86)
/* The largest weight makes no difference. */
BLOCK_DOT(block_offset, 32, false, true, 255)
BLOCK_DOT(block_min, 32, true, false, 255)
BLOCK_DOT(block_min_offset, 32, true, true, 255)

static BlockFn block_fn(bool has_min, bool offset, int top) {
    (void)top;
    return !has_min ? block_offset : offset ? block_min_offset : block_min;
}
#else
BLOCK_DOT(block_offset_15, 32, false, true, 15)
BLOCK_DOT(block_offset_31, 32, false, true, 31)
BLOCK_DOT(block_offset_255, 32, false, true, 255)
BLOCK_DOT(block_min_15, 32, true, false, 15)
BLOCK_DOT(block_min_31, 32, true, false, 31)
BLOCK_DOT(block_min_offset_15, 32, true, true, 15)
BLOCK_DOT(block_min_offset_255, 32, true, true, 255)

static BlockFn block_fn(bool has_min, bool offset, int top) {
    if (has_min && offset)
        return top <= 15 ? block_min_offset_15 : block_min_offset_255;
    if (has_min)
        return top <= 15 ? block_min_15 : block_min_31;
    return top <= 15 ? block_offset_15 : top <= 31 ? block_offset_31 : block_offset_255;
}
#endif

BLOCK_DOT(block_16, 16, false, true, 31) /* NVFP4 */

/* ---- class SUPER ------------------------------------------------------------------------------------------------- */

typedef void (*SuperFn)(const SuperTile *tiles, const RowPart *row, int n_row, bool first);

#define SUPER_DOT(name, group, has_min, offset, top)                                                                   \
    static NOINLINE void name(const SuperTile *tiles, const RowPart *row, int n_row, bool first) {                     \
        FOR_ROWS(n_row, super_rows(tiles, row, R, group, has_min, offset, top, first))                                 \
    }

#if defined(NATIVE_DOT4) || !defined(NATIVE_X86)
SUPER_DOT(super_16_min, 16, true, false, 255)
SUPER_DOT(super_16_offset, 16, false, true, 255)
SUPER_DOT(super_32_min, 32, true, false, 255)
SUPER_DOT(super_32_offset, 32, false, true, 255)

static SuperFn super_fn(int group, bool has_min, int top) {
    (void)top;
    return group == 16 ? (has_min ? super_16_min : super_16_offset) : has_min ? super_32_min : super_32_offset;
}
#else
SUPER_DOT(super_16_min_15, 16, true, false, 15)
SUPER_DOT(super_16_offset_15, 16, false, true, 15)
SUPER_DOT(super_16_offset_31, 16, false, true, 31)
SUPER_DOT(super_16_offset_63, 16, false, true, 63)
SUPER_DOT(super_16_offset_127, 16, false, true, 127)
SUPER_DOT(super_32_min_15, 32, true, false, 15)
SUPER_DOT(super_32_min_31, 32, true, false, 31)
SUPER_DOT(super_32_offset_15, 32, false, true, 15)
SUPER_DOT(super_32_offset_31, 32, false, true, 31)
SUPER_DOT(super_32_offset_127, 32, false, true, 127)
SUPER_DOT(super_32_offset_255, 32, false, true, 255)

static SuperFn super_fn(int group, bool has_min, int top) {
    if (group == 16)
        return has_min     ? super_16_min_15
               : top <= 15 ? super_16_offset_15
               : top <= 31 ? super_16_offset_31
               : top <= 63 ? super_16_offset_63
                           : super_16_offset_127;
    if (has_min)
        return top <= 15 ? super_32_min_15 : super_32_min_31;
    return top <= 15    ? super_32_offset_15
           : top <= 31  ? super_32_offset_31
           : top <= 127 ? super_32_offset_127
                        : super_32_offset_255;
}
#endif

/* ---- integers: the walk ------------------------------------------------------------------------------------------ */

/* Where the results of rows [r, r + rows) of a block are until now, and where they go. */
#define BEGIN_RESULTS(part, job, g, r0, r, rows, last)                                                                 \
    for (int i = 0; i < (rows); i++) {                                                                                 \
        float *buffer = (g)->buffer + ((r) + i) * GROUP_OUTS;                                                          \
        (part)[i].from = buffer;                                                                                       \
        (part)[i].to = (last) && (g)->whole ? (job)->out + (size_t)((r0) + (r) + i) * (job)->out_stride + (g)->begin   \
                                            : buffer;                                                                  \
    }

/* On to the next panels. */
#define NEXT_RESULTS(part, rows)                                                                                       \
    for (int i = 0; i < (rows); i++) {                                                                                 \
        (part)[i].from += LINEAR_PANEL * PANELS;                                                                       \
        (part)[i].to += LINEAR_PANEL * PANELS;                                                                         \
    }

static void linear_block(const LinearJob *job, const Group *g, LinearScratch *s, int r0, int n_row) {
    const FormInfo *info = form_info(job->m->form);
    const int cols = job->m->cols, group = info->group, offset = form_offset(job->m);
    const BlockFn dot = group == 16 ? block_16 : block_fn(info->has_min, offset > 0, form_top(job->m));
    const UnpackBlockFn fast = job->m->rows >= LINEAR_PANEL ? unpackers.block[job->m->form] : NULL;
    const UnpackBlockFn unpack = fast != NULL ? fast : unpack_block_any;
    for (int col = 0; col < cols; col += TILE_COLS) {
        const int n = MIN(cols - col, TILE_COLS);
        for (int p = 0; p < g->panels; p++)
            unpack(job->m, panel_row(g, p), col, n, &s->tile.block[p]);
        Ahead inputs = ahead_of(job, g, col, n_row, ROWS), *ahead = g->run != NULL ? g->run : &inputs;
        for (int r = 0, rows; r < n_row; r += rows) {
            rows = rows_at_once(n_row - r, ROWS);
            RowPart part[ROWS];
            for (int i = 0; i < rows; i++) {
                part[i].a.block = (const ActBlock32 *)(const void *)act_row(job, r0 + r + i) + col / TILE_COLS;
                if (offset > 0)
                    start_of_sums(part[i].start, part[i].a.block->counts, group, offset);
            }
            BEGIN_RESULTS(part, job, g, r0, r, rows, col + TILE_COLS >= cols)
            fetch_ahead(ahead);
            for (int p = 0; p < g->panels; p += PANELS) {
                dot(&s->tile.block[p], part, rows, n, col == 0);
                NEXT_RESULTS(part, rows)
            }
        }
    }
}

static void linear_super(const LinearJob *job, const Group *g, LinearScratch *s, int r0, int n_row) {
    const FormInfo *info = form_info(job->m->form);
    const int cols = job->m->cols, group = info->group, offset = form_offset(job->m);
    const SuperFn dot = super_fn(group, info->has_min, form_top(job->m));
    const UnpackSuperFn fast = job->m->rows >= LINEAR_PANEL ? unpackers.super[job->m->form] : NULL;
    const UnpackSuperFn unpack = fast != NULL ? fast : unpack_super_any;
    for (int col = 0; col < cols; col += TILE_COLS) {
        for (int p = 0; p < g->panels; p++)
            unpack(job->m, panel_row(g, p), col, &s->tile.super[p]);
        Ahead inputs = ahead_of(job, g, col, n_row, ROWS), *ahead = g->run != NULL ? g->run : &inputs;
        for (int r = 0, rows; r < n_row; r += rows) {
            rows = rows_at_once(n_row - r, ROWS);
            RowPart part[ROWS];
            for (int i = 0; i < rows; i++) {
                part[i].a.super = (const ActBlock256 *)(const void *)act_row(job, r0 + r + i) + col / TILE_COLS;
                if (offset > 0)
                    start_of_sums(part[i].start, part[i].a.super->counts, group, offset);
            }
            BEGIN_RESULTS(part, job, g, r0, r, rows, col + TILE_COLS >= cols)
            fetch_ahead(ahead);
            for (int p = 0; p < g->panels; p += PANELS) {
                dot(&s->tile.super[p], part, rows, col == 0);
                NEXT_RESULTS(part, rows)
            }
        }
    }
}

/* ---- floats ------------------------------------------------------------------------------------------------------ */

#if defined(NATIVE_512)
#define FOR_FLOAT_ROWS(n_row, call)                                                                                    \
    switch (n_row) {                                                                                                   \
        CASES_1_TO_6(call)                                                                                             \
        CASE_ROWS(7, call)                                                                                             \
        CASE_ROWS(8, call)                                                                                             \
        CASE_ROWS(9, call)                                                                                             \
        CASE_ROWS(10, call)                                                                                            \
        CASE_ROWS(11, call)                                                                                            \
        CASE_ROWS(12, call)                                                                                            \
    }
#elif defined(NATIVE_256)
#define FOR_FLOAT_ROWS(n_row, call)                                                                                    \
    switch (n_row) {                                                                                                   \
        CASES_1_TO_6(call)                                                                                             \
    }
#else
#define FOR_FLOAT_ROWS(n_row, call)                                                                                    \
    switch (n_row) {                                                                                                   \
        CASE_ROWS(1, call)                                                                                             \
        CASE_ROWS(2, call)                                                                                             \
    }
#endif

static NOINLINE void float_dot(const FloatTile *tiles, const FloatRow *row, int n_row, int n, bool first) {
    FOR_FLOAT_ROWS(n_row, float_rows(tiles, row, R, n, first))
}

/* Integer tiles as floats, by the formulas of form_decode_row(). */
static void floats_of_block(FloatTile *to, const BlockTile *from, const FormInfo *info, int offset, int n) {
    for (int k = 0; k < n; k++)
        for (int o = 0; o < LINEAR_PANEL; o++) {
            const float scaled = from->d[k / info->group][o] * (float)(from->q[k / 4][o][k % 4] - offset);
            to->w[k][o] = info->has_min ? scaled + from->m[k / 32][o] : scaled;
        }
}

static void floats_of_super(FloatTile *to, const SuperTile *from, const FormInfo *info, int offset) {
    for (int k = 0; k < TILE_COLS; k++)
        for (int o = 0; o < LINEAR_PANEL; o++) {
            const int g = k / info->group;
            const float scaled = from->d[o] * (float)from->sc[g][o] * (float)(from->q[k / 4][o][k % 4] - offset);
            to->w[k][o] = info->has_min ? scaled - from->dm[o] * (float)from->mn[g / 2][o][g % 2] : scaled;
        }
}

static void unpack_floats(const Matrix *m, int row0, int col, int n, LinearScratch *s, FloatTile *tile) {
    const FormInfo *info = form_info(m->form);
    int done = 0;
    if (m->rows >= LINEAR_PANEL) {
        if (unpackers.block[m->form] != NULL) {
            unpackers.block[m->form](m, row0, col, n, &s->tile.floats.from.block);
            floats_of_block(tile, &s->tile.floats.from.block, info, form_offset(m), n);
            done = n;
        } else if (unpackers.super[m->form] != NULL) {
            unpackers.super[m->form](m, row0, col, &s->tile.floats.from.super);
            floats_of_super(tile, &s->tile.floats.from.super, info, form_offset(m));
            done = n;
        } else if (unpackers.floats[m->form] != NULL) {
            done = n & ~15;
            unpackers.floats[m->form](m, row0, col, done, tile);
        }
    }
    if (done < n)
        unpack_float_any(m, row0, col, done, n, tile);
}

static void linear_floats(const LinearJob *job, const Group *g, LinearScratch *s, int r0, int n_row) {
    const Matrix *m = job->m;
    for (int col = 0; col < m->cols; col += TILE_COLS) {
        const int n = MIN(m->cols - col, TILE_COLS);
        for (int p = 0; p < g->panels; p += PANELS) {
            for (int i = 0; i < PANELS; i++)
                unpack_floats(m, panel_row(g, p + i), col, n, s, &s->tile.floats.of[i]);
            Ahead inputs = p == 0 ? ahead_of(job, g, col, n_row, FLOAT_ROWS) : (Ahead){0};
            Ahead *ahead = g->run != NULL ? g->run : &inputs;
            for (int r = 0, rows; r < n_row; r += rows) {
                rows = rows_at_once(n_row - r, FLOAT_ROWS);
                FloatRow part[FLOAT_ROWS];
                BEGIN_RESULTS(part, job, g, r0, r, rows, col + TILE_COLS >= m->cols)
                for (int i = 0; i < rows; i++) {
                    part[i].a.x = (const float *)(const void *)act_row(job, r0 + r + i) + col;
                    part[i].from += LINEAR_PANEL * p;
                    part[i].to += LINEAR_PANEL * p;
                }
                fetch_ahead(ahead);
                float_dot(s->tile.floats.of, part, rows, n, col == 0);
            }
        }
    }
}

#if defined(__AVX512BF16__)

static NOINLINE void pair_dot(const PairTile *tiles, const FloatRow *row, int n_row, int n, bool first) {
    FOR_FLOAT_ROWS(n_row, pair_rows(tiles, row, R, n, first))
}

static void linear_pairs(const LinearJob *job, const Group *g, LinearScratch *s, int r0, int n_row) {
    const Matrix *m = job->m;
    const UnpackPairFn unpack = m->rows >= LINEAR_PANEL ? unpackers.pairs[m->form] : NULL;
    for (int col = 0; col < m->cols; col += TILE_COLS) {
        const int n = MIN(m->cols - col, TILE_COLS), fast = unpack != NULL ? n & ~15 : 0;
        for (int p = 0; p < g->panels; p++) {
            if (fast > 0)
                unpack(m, panel_row(g, p), col, fast, &s->tile.pairs[p]);
            if (fast < n)
                unpack_pair_any(m, panel_row(g, p), col, fast, n, &s->tile.pairs[p]);
        }
        Ahead inputs = ahead_of(job, g, col, n_row, FLOAT_ROWS), *ahead = g->run != NULL ? g->run : &inputs;
        for (int r = 0, rows; r < n_row; r += rows) {
            rows = rows_at_once(n_row - r, FLOAT_ROWS);
            FloatRow part[FLOAT_ROWS];
            for (int i = 0; i < rows; i++)
                part[i].a.pairs = (const uint16_t *)(const void *)act_row(job, r0 + r + i) + col;
            BEGIN_RESULTS(part, job, g, r0, r, rows, col + TILE_COLS >= m->cols)
            fetch_ahead(ahead);
            for (int p = 0; p < g->panels; p += PANELS) {
                pair_dot(&s->tile.pairs[p], part, rows, n + n % 2, col == 0);
                NEXT_RESULTS(part, rows)
            }
        }
    }
}

#endif

/* ---- the walk over a matrix -------------------------------------------------------------------------------------- */

typedef void (*GroupFn)(const LinearJob *job, const Group *g, LinearScratch *s, int r0, int n_row);

static GroupFn group_fn(Form form, Precision precision) {
    const FormClass kind = form_info(form)->kind;
    if (precision == PRECISION_FAST && kind == CLASS_BLOCK)
        return linear_block;
    if (precision == PRECISION_FAST && kind == CLASS_SUPER)
        return linear_super;
#if defined(__AVX512BF16__)
    if (precision == PRECISION_FAST && unpackers.pairs[form] != NULL)
        return linear_pairs;
#endif
    return linear_floats;
}

#if defined(NATIVE_X86)

/* One row. */
static void linear_one(const LinearJob *job, const One *one) {
    const Matrix *m = job->m;
    const uint8_t *acts = act_row(job, 0);
    touch(m, job->begin, MIN(job->begin + NI_LANES, job->end));
    for (int o = job->begin; o < job->end; o += NI_LANES) {
        const int row0 = MIN(o, m->rows - NI_LANES), count = MIN(job->end - o, NI_LANES);
        const bool last = o + NI_LANES >= job->end;
        const uint8_t *own = m->data + (size_t)row0 * m->row_bytes; /* fetched again: nothing */
        const uint8_t *ahead = !last ? own + NI_LANES * m->row_bytes : job->ahead != NULL ? job->ahead : own;
        if (count == NI_LANES && row0 == o) {
            one->run(m, row0, acts, ahead, job->out + o);
        } else {
            float part[NI_LANES];
            one->run(m, row0, acts, ahead, part);
            memcpy(job->out + o, part + (o - row0), (size_t)count * sizeof(float));
        }
    }
}

#endif

static void linear(const LinearJob *job, Precision precision) {
    LinearScratch *s = job->scratch;
    if (K(linear_lines)(job, precision))
        return;
#if defined(NATIVE_X86)
    const Matrix *m = job->m;
    const One *one = &ones[m->form];
#if defined(CAN_WALK)
    const Walk *walk = job->n_row == 1 && precision == PRECISION_FAST ? walk_of(m) : NULL;
    if (walk != NULL) {
        linear_walk(job, walk, act_row(job, 0));
        return;
    }
#endif
    if (job->n_row == 1 && precision == PRECISION_FAST && one->run != NULL && m->rows >= NI_LANES &&
        m->cols % one->multiple == 0) {
        linear_one(job, one);
        return;
    }
#endif
    if (precision == PRECISION_FAST && K(linear_few)(job))
        return;
    const GroupFn group = group_fn(job->m->form, precision);
    const bool few = job->n_row <= LINEAR_FEW_ROWS;
    const bool spread = few && job->n_row > TOUCH_ROWS;
    const int most = group == linear_block || group == linear_super ? ROWS : FLOAT_ROWS;
    const int parts = (job->m->cols + TILE_COLS - 1) / TILE_COLS * ((job->n_row + most - 1) / most);
    const int outs = few ? FEW_OUTS : GROUP_OUTS;
    const int ahead = (int)(MAX(1, TOUCH_BYTES / (job->m->row_bytes * FEW_OUTS + 1))) * FEW_OUTS;
    for (int r0 = 0; r0 < job->n_row; r0 += ROW_BLOCK) {
        const int n_row = MIN(job->n_row - r0, ROW_BLOCK);
        int touched = job->begin;
        for (int o = job->begin; o < job->end; o += outs) {
            const int count = MIN(job->end - o, outs);
            Ahead run = spread ? run_ahead(job, o + outs, MIN(o + 2 * outs, job->end), parts) : (Ahead){0};
            const Group g = {.m = job->m, .begin = o, .count = count,
                             .panels = (count + 2 * LINEAR_PANEL - 1) / (2 * LINEAR_PANEL) * 2,
                             .whole = count % (2 * LINEAR_PANEL) == 0, .buffer = s->buffer, .run = spread ? &run : NULL};
            if (spread && o == job->begin)
                touch(job->m, o, o + count);
            for (; few && !spread && touched < MIN(o + 2 * outs, job->end); touched += ahead)
                touch(job->m, touched, MIN(touched + ahead, job->end));
            group(job, &g, s, r0, n_row);
            if (!g.whole)
                group_flush(&g, job, r0, n_row);
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
#if defined(NATIVE_X86)
    UNPACK(unpackers_fill_float)(&unpackers);
    UNPACK(unpackers_fill_ggml)(&unpackers);
    UNPACK(unpackers_fill_iq)(&unpackers);
    UNPACK(unpackers_fill_split)(&unpackers);
#endif
    k->linear[PRECISION_F32] = linear_f32;
    k->linear[PRECISION_FAST] = linear_fast;
}
