/* linear_lines_simd.c - rows times a matrix of bf16 as it lies in the file, for levels that multiply pairs of bf16.
 *
 * Lanes are inputs: a line of 64 bytes, 32 inputs of one output, meets the same inputs of a row. So weights are never
 * turned, and one row reads them in plain order, which is how memory is fastest:
 *
 *     sum[lane] += w[2 lane] a[2 lane] + w[2 lane + 1] a[2 lane + 1]      for each line, in ascending order
 *     y = the sixteen lanes, added as fold_lanes() adds them
 *
 * The order of additions of an output is the same for any number of rows, outputs and inputs at once. Inputs behind the last
 * whole line are zero to both sides.
 *
 * Against lanes that are outputs (Zen 5, two threads, 2,048 inputs, one row from memory): 43 to 46 -> 48 to 51 GB/s while reading
 * alone got 46 to 51, and 70 -> 77 while it got 82; docs/speed.md has the steps of whole models. */
#include "kernel/linear_lines.h"
#include "kernel/linear_group.h"
#include "kernel/native.h"

#if defined(__AVX512BF16__)

enum {
    LINE = 64,
    OUTS = 4,             /* four outputs of six rows: 24 chains of sums in registers */
    ROWS = 6,
    BLOCK_OUTS = 64,      /* 48 rows of so many outputs stay in the L2 cache: their inputs, weights and sums */
    BLOCK_ROWS = 48,
    BLOCK_BYTES = 4096,   /* of a row: six of them stay in the L1 cache while outputs pass by */
};

typedef NF LaneSums[ROWS][OUTS];

typedef struct LinesScratch {
    NF sums[BLOCK_ROWS][BLOCK_OUTS];
} LinesScratch;
_Static_assert(sizeof(LinesScratch) <= LINEAR_SCRATCH_BYTES, "LINEAR_SCRATCH_BYTES is too small");

/* Where the inputs of some rows and outputs begin. */
typedef struct Lines {
    const uint8_t *w[OUTS], *a[ROWS];
    size_t bytes;         /* of each */
    const uint8_t *ahead; /* to be fetched: the same bytes of `fetch` rows of weights */
    size_t stride;
    int fetch;
} Lines;

static ALWAYS_INLINE NF dot_lines(NF sum, NI w, NI a) {
    return (NF)dot_pairs((VF)sum, (VI)w, (VI)a);
}

static ALWAYS_INLINE void add_lines(LaneSums sum, const Lines *l, int n_row, int fetch) {
    const size_t whole = l->bytes / LINE * LINE;
    NO_UNROLL
    for (size_t at = 0; at < whole; at += LINE) {
        NI w[OUTS];
        UNROLL
        for (int o = 0; o < OUTS; o++)
            w[o] = ni_load(l->w[o] + at);
        UNROLL
        for (int r = 0; r < n_row; r++) {
            const NI a = ni_load(l->a[r] + at);
            UNROLL
            for (int o = 0; o < OUTS; o++)
                sum[r][o] = dot_lines(sum[r][o], w[o], a);
        }
        UNROLL
        for (int i = 0; i < fetch; i++)
            PREFETCH(l->ahead + (size_t)i * l->stride + at);
    }
    if (whole == l->bytes)
        return;
    const __mmask32 numbers = ((__mmask32)1 << (l->bytes - whole) / 2) - 1;
    UNROLL
    for (int r = 0; r < n_row; r++) {
        const NI a = _mm512_maskz_loadu_epi16(numbers, l->a[r] + whole);
        UNROLL
        for (int o = 0; o < OUTS; o++)
            sum[r][o] = dot_lines(sum[r][o], _mm512_maskz_loadu_epi16(numbers, l->w[o] + whole), a);
    }
}

/* Four outputs, each the sum of its lanes: ((l + l8) + (l4 + l12)) of lanes l, l + 4, l + 8, l + 12, then of l and l + 2, then of
 * those two. */
static ALWAYS_INLINE __m128 fold_lanes(const NF v[OUTS]) {
    const NF a = nf_add(_mm512_shuffle_f32x4(v[0], v[1], 0x44), _mm512_shuffle_f32x4(v[0], v[1], 0xEE));
    const NF b = nf_add(_mm512_shuffle_f32x4(v[2], v[3], 0x44), _mm512_shuffle_f32x4(v[2], v[3], 0xEE));
    NF x = nf_add(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xDD));
    x = nf_add(x, _mm512_permute_ps(x, 0x4E));
    x = nf_add(x, _mm512_permute_ps(x, 0xB1));
    return _mm512_castps512_ps128(_mm512_permutexvar_ps(_mm512_setr_epi32(0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12), x));
}

static ALWAYS_INLINE void store_outputs(float *out, const NF v[OUTS], int count) {
    _mm_mask_storeu_ps(out, (__mmask8)((1u << count) - 1), fold_lanes(v));
}

static ALWAYS_INLINE const uint8_t *weight_row(const Matrix *m, int o) {
    return m->data + (size_t)MIN(o, m->rows - 1) * m->row_bytes;
}

/* ---- one row ------------------------------------------------------------------------------------------------------------- */

static void one_row(const LinearJob *job) {
    const Matrix *m = job->m;
    const uint8_t *a = act_row(job, 0);
    const WalkFetch fetch = walk_fetch(job);
    const size_t bytes = (size_t)m->cols * 2, whole = bytes / LINE * LINE;
    const __mmask32 numbers = ((__mmask32)1 << (bytes - whole) / 2) - 1;
    for (int o = job->begin; o < job->end; o += OUTS) {
        const int count = MIN(job->end - o, OUTS);
        NF sum[OUTS] = {nf_zero(), nf_zero(), nf_zero(), nf_zero()};
        UNROLL
        for (int i = 0; i < OUTS; i++) {
            if (i >= count)
                break;
            const uint8_t *w = weight_row(m, o + i), *behind = walk_behind(&fetch, w);
            for (size_t at = 0; at < whole; at += LINE) {
                sum[i] = dot_lines(sum[i], ni_load(w + at), ni_load(a + at));
                PREFETCH(behind + at);
            }
            if (whole < bytes)
                sum[i] = dot_lines(sum[i], _mm512_maskz_loadu_epi16(numbers, w + whole), _mm512_maskz_loadu_epi16(numbers, a + whole));
        }
        store_outputs(job->out + o, sum, count);
    }
}

/* ---- some rows: all inputs at once ------------------------------------------------------------------------------------------ */

static NOINLINE void whole_outputs(const Lines *l, int n_row, float *out, size_t out_stride, int count) {
    LaneSums sum;
    switch (n_row) {
        CASES_1_TO_6({
            UNROLL
            for (int r = 0; r < R; r++)
                UNROLL
                for (int o = 0; o < OUTS; o++)
                    sum[r][o] = nf_zero();
            add_lines(sum, l, R, OUTS);
        })
    }
    for (int r = 0; r < n_row; r++)
        store_outputs(out + (size_t)r * out_stride, sum[r], count);
}

static void some_rows(const LinearJob *job) {
    const Matrix *m = job->m;
    Lines l = {.bytes = (size_t)m->cols * 2, .stride = m->row_bytes};
    for (int r = 0; r < job->n_row; r++)
        l.a[r] = act_row(job, r);
    touch(m, job->begin, MIN(job->begin + OUTS, job->end));
    for (int o = job->begin; o < job->end; o += OUTS) {
        for (int i = 0; i < OUTS; i++)
            l.w[i] = weight_row(m, o + i);
        l.ahead = o + OUTS < job->end ? weight_row(m, o + OUTS) : job->ahead != NULL ? job->ahead : l.w[0];
        whole_outputs(&l, job->n_row, job->out + o, job->out_stride, MIN(job->end - o, OUTS));
    }
}

/* ---- many rows: inputs in blocks --------------------------------------------------------------------------------------------- */

/* Where sums are until now, and where they go. */
typedef struct Sums {
    NF (*so_far)[BLOCK_OUTS]; /* of each row */
    float *out;               /* with the last inputs: the outputs */
    size_t out_stride;
    int count;                /* of them */
    bool first, last;
} Sums;

/* Some inputs of some rows and outputs. */
static NOINLINE void some_inputs(const Lines *l, int n_row, const Sums *s) {
    switch (n_row) {
        CASES_1_TO_6({
            LaneSums sum;
            UNROLL
            for (int r = 0; r < R; r++)
                UNROLL
                for (int o = 0; o < OUTS; o++)
                    sum[r][o] = s->first ? nf_zero() : s->so_far[r][o];
            if (l->fetch == 0)
                add_lines(sum, l, R, 0);
            else if (l->fetch == 1)
                add_lines(sum, l, R, 1);
            else
                add_lines(sum, l, R, OUTS);
            UNROLL
            for (int r = 0; r < R; r++) {
                if (s->last)
                    store_outputs(s->out + (size_t)r * s->out_stride, sum[r], s->count);
                else
                    UNROLL
                    for (int o = 0; o < OUTS; o++)
                        s->so_far[r][o] = sum[r][o];
            }
        })
    }
}

/* Rows [r0, r0 + n_row) of the job, outputs [o0, o0 + count). While the first rows are multiplied, weights are fetched: with the
 * first inputs the next outputs', then the next inputs', a row of them with each four outputs. */
static void block_of_rows(const LinearJob *job, int r0, int n_row, int o0, int count) {
    const Matrix *m = job->m;
    LinesScratch *scratch = job->scratch;
    const size_t bytes = (size_t)m->cols * 2;
    for (size_t at = 0; at < bytes; at += BLOCK_BYTES) {
        Lines l = {.bytes = MIN(bytes - at, (size_t)BLOCK_BYTES), .stride = m->row_bytes};
        Sums s = {.out_stride = job->out_stride, .first = at == 0, .last = at + BLOCK_BYTES >= bytes};
        int fetched = 0;
        for (int r = 0; r < n_row; r += ROWS) {
            const int rows = MIN(n_row - r, ROWS);
            for (int i = 0; i < rows; i++)
                l.a[i] = act_row(job, r0 + r + i) + at;
            for (int o = 0; o < count; o += OUTS) {
                for (int i = 0; i < OUTS; i++)
                    l.w[i] = weight_row(m, o0 + o + i) + at;
                if (r0 == 0 && r == 0 && s.first) {
                    l.fetch = OUTS;
                    l.ahead = weight_row(m, o0 + o + OUTS);
                } else {
                    l.fetch = r0 == 0 && !s.last && fetched < count;
                    l.ahead = weight_row(m, o0 + fetched) + at + BLOCK_BYTES;
                    fetched += l.fetch;
                }
                s.so_far = (NF(*)[BLOCK_OUTS])&scratch->sums[r][o];
                s.out = job->out + (size_t)(r0 + r) * job->out_stride + o0 + o;
                s.count = MIN(count - o, OUTS);
                some_inputs(&l, rows, &s);
            }
        }
    }
}

bool K(linear_lines)(const LinearJob *job) {
    if (job->m->form != FORM_BF16)
        return false;
    if (job->n_row == 1) {
        one_row(job);
    } else if (job->n_row <= ROWS) {
        some_rows(job);
    } else {
        for (int r = 0; r < job->n_row; r += BLOCK_ROWS)
            for (int o = job->begin; o < job->end; o += BLOCK_OUTS)
                block_of_rows(job, r, MIN(job->n_row - r, BLOCK_ROWS), o, MIN(job->end - o, BLOCK_OUTS));
    }
    return true;
}

#else

bool K(linear_lines)(const LinearJob *job) {
    (void)job;
    return false;
}

#endif
