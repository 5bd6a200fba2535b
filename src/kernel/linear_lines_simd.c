/* linear_lines_simd.c - rows times a matrix of plain numbers as it lies in the file; compiled once per level, of use where
 * vectors have 512 bits.
 *
 * Lanes are inputs: sixteen numbers of one output (or sixteen pairs of bf16) meet the same inputs of a row. So weights are never
 * turned, and one row reads them in plain order, which is how memory is fastest:
 *
 *     sum[lane] += w[lane] a[lane]      for each sixteen inputs (pairs), in ascending order
 *     y = the sixteen lanes, added as fold_lanes() adds them
 *
 * The order of additions of an output is the same for any number of rows, outputs and inputs at once. Inputs behind the last
 * whole line are zero to both sides.
 *
 * Against lanes that are outputs (Zen 5, pairs of bf16, two threads, 2,048 inputs, one row from memory): 43 to 46 -> 48 to 51 GB/s
 * while reading alone got 46 to 51, and 70 -> 77 while it got 82; docs/speed.md has the steps of whole models. */
#include "kernel/linear_lines.h"
#include "kernel/linear_group.h"
#include "kernel/native.h"

#if defined(NATIVE_512)

enum {
    LINE = 64,            /* bytes of a row that meet a vector of weights */
    OUTS = 4,             /* four outputs of six rows: 24 chains of sums in registers */
    ROWS = 6,
    BLOCK_OUTS = 64,      /* 48 rows of so many outputs stay in the L2 cache: their inputs, weights and sums */
    BLOCK_ROWS = 48,
    BLOCK_BYTES = 4096,   /* of a row: six of them stay in the L1 cache while outputs pass by. Twice as many or half cost a tenth */
};

typedef NF LaneSums[ROWS][OUTS];

typedef struct LinesScratch {
    NF sums[BLOCK_ROWS][BLOCK_OUTS];
} LinesScratch;
_Static_assert(sizeof(LinesScratch) <= LINEAR_SCRATCH_BYTES, "LINEAR_SCRATCH_BYTES is too small");

/* What weights are, and rows: floats, but for pairs both are bf16. */
typedef enum Kind { KIND_F32, KIND_F16, KIND_BF16, KIND_PAIRS } Kind;

static ALWAYS_INLINE size_t weight_bytes(Kind kind) { return kind == KIND_F32 ? 4 : 2; }

/* Bytes of weights in a vector; inputs in it. */
static ALWAYS_INLINE size_t weight_line(Kind kind) { return kind == KIND_F32 || kind == KIND_PAIRS ? LINE : LINE / 2; }
static ALWAYS_INLINE size_t line_inputs(Kind kind) { return weight_line(kind) / weight_bytes(kind); }

static ALWAYS_INLINE NF floats_of_16(Kind kind, __m256i x) {
    return kind == KIND_F16 ? _mm512_cvtph_ps(x) : nf_bits(ni_sll(_mm512_cvtepu16_epi32(x), 16));
}

static ALWAYS_INLINE NF load_weights(Kind kind, const uint8_t *p) {
    return weight_line(kind) == LINE ? nf_bits(ni_load(p)) : floats_of_16(kind, HALF(p));
}

/* The first n inputs. */
static ALWAYS_INLINE NF load_some_weights(Kind kind, const uint8_t *p, unsigned n) {
    const __mmask32 numbers = ((__mmask32)1 << n) - 1;
    switch (kind) {
    case KIND_F32: return _mm512_maskz_loadu_ps((__mmask16)numbers, p);
    case KIND_PAIRS: return nf_bits(_mm512_maskz_loadu_epi16(numbers, p));
    default: return floats_of_16(kind, _mm256_maskz_loadu_epi16((__mmask16)numbers, p));
    }
}

static ALWAYS_INLINE NF load_some_inputs(Kind kind, const uint8_t *p, unsigned n) {
    return load_some_weights(kind == KIND_PAIRS ? KIND_PAIRS : KIND_F32, p, n);
}

static ALWAYS_INLINE NF multiply_line(Kind kind, NF sum, NF w, NF a) {
#if defined(__AVX512BF16__)
    if (kind == KIND_PAIRS)
        return (NF)dot_pairs((VF)sum, (VI)w, (VI)a);
#endif
    (void)kind;
    return nf_fma(w, a, sum);
}

/* Where the inputs of some rows and outputs begin. */
typedef struct Lines {
    const uint8_t *w[OUTS], *a[ROWS];
    size_t inputs;
    const uint8_t *ahead; /* to be fetched: the same bytes of `fetch` rows of weights */
    size_t stride;
    int fetch;
} Lines;

static ALWAYS_INLINE void add_lines(Kind kind, LaneSums sum, const Lines *l, int n_row, int fetch) {
    const size_t per = line_inputs(kind), whole = l->inputs / per * per * weight_bytes(kind), step = weight_line(kind);
    size_t in = 0; /* bytes of rows */
    NO_UNROLL
    for (size_t at = 0; at < whole; at += step, in += LINE) {
        NF w[OUTS];
        UNROLL
        for (int o = 0; o < OUTS; o++)
            w[o] = load_weights(kind, l->w[o] + at);
        UNROLL
        for (int r = 0; r < n_row; r++) {
            const NF a = nf_bits(ni_load(l->a[r] + in));
            UNROLL
            for (int o = 0; o < OUTS; o++)
                sum[r][o] = multiply_line(kind, sum[r][o], w[o], a);
        }
        UNROLL
        for (int i = 0; i < fetch; i++)
            PREFETCH(l->ahead + (size_t)i * l->stride + at);
    }
    const unsigned left = (unsigned)(l->inputs % per);
    if (left == 0)
        return;
    UNROLL
    for (int r = 0; r < n_row; r++) {
        const NF a = load_some_inputs(kind, l->a[r] + in, left);
        UNROLL
        for (int o = 0; o < OUTS; o++)
            sum[r][o] = multiply_line(kind, sum[r][o], load_some_weights(kind, l->w[o] + whole, left), a);
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

static ALWAYS_INLINE void one_row(Kind kind, const LinearJob *job) {
    const Matrix *m = job->m;
    const uint8_t *a = act_row(job, 0);
    const WalkFetch fetch = walk_fetch(job);
    const size_t inputs = (size_t)m->cols, per = line_inputs(kind), step = weight_line(kind);
    const size_t whole = inputs / per * per * weight_bytes(kind);
    const unsigned left = (unsigned)(inputs % per);
    for (int o = job->begin; o < job->end; o += OUTS) {
        NF sum[OUTS] = {nf_zero(), nf_zero(), nf_zero(), nf_zero()};
        UNROLL
        for (int i = 0; i < OUTS; i++) {
            const uint8_t *w = weight_row(m, o + i), *behind = walk_behind(&fetch, w);
            size_t in = 0;
            for (size_t at = 0; at < whole; at += step, in += LINE) {
                sum[i] = multiply_line(kind, sum[i], load_weights(kind, w + at), nf_bits(ni_load(a + in)));
                PREFETCH(behind + at);
            }
            if (left > 0)
                sum[i] = multiply_line(kind, sum[i], load_some_weights(kind, w + whole, left), load_some_inputs(kind, a + in, left));
        }
        store_outputs(job->out + o, sum, MIN(job->end - o, OUTS));
    }
}

/* ---- some rows: all inputs at once ------------------------------------------------------------------------------------------ */

static ALWAYS_INLINE void zero_sums(LaneSums sum, int n_row) {
    UNROLL
    for (int r = 0; r < n_row; r++)
        UNROLL
        for (int o = 0; o < OUTS; o++)
            sum[r][o] = nf_zero();
}

static ALWAYS_INLINE void all_inputs(Kind kind, const Lines *l, int n_row, float *out, size_t out_stride, int count) {
    switch (n_row) {
        CASES_1_TO_6({
            LaneSums sum;
            zero_sums(sum, R);
            add_lines(kind, sum, l, R, OUTS);
            UNROLL
            for (int r = 0; r < R; r++)
                store_outputs(out + (size_t)r * out_stride, sum[r], count);
        })
    }
}

typedef void (*AllInputsFn)(const Lines *l, int n_row, float *out, size_t out_stride, int count);

static void some_rows(const LinearJob *job, AllInputsFn multiply) {
    const Matrix *m = job->m;
    Lines l = {.inputs = (size_t)m->cols, .stride = m->row_bytes};
    for (int r = 0; r < job->n_row; r++)
        l.a[r] = act_row(job, r);
    touch(m, job->begin, MIN(job->begin + OUTS, job->end));
    for (int o = job->begin; o < job->end; o += OUTS) {
        for (int i = 0; i < OUTS; i++)
            l.w[i] = weight_row(m, o + i);
        l.ahead = o + OUTS < job->end ? weight_row(m, o + OUTS) : job->ahead != NULL ? job->ahead : l.w[0];
        multiply(&l, job->n_row, job->out + o, job->out_stride, MIN(job->end - o, OUTS));
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

static ALWAYS_INLINE void some_inputs(Kind kind, const Lines *l, int n_row, const Sums *s) {
    switch (n_row) {
        CASES_1_TO_6({
            LaneSums sum;
            zero_sums(sum, R);
            if (!s->first)
                UNROLL
                for (int r = 0; r < R; r++)
                    UNROLL
                    for (int o = 0; o < OUTS; o++)
                        sum[r][o] = s->so_far[r][o];
            if (l->fetch == 0)
                add_lines(kind, sum, l, R, 0);
            else if (l->fetch == 1)
                add_lines(kind, sum, l, R, 1);
            else
                add_lines(kind, sum, l, R, OUTS);
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

typedef void (*SomeInputsFn)(const Lines *l, int n_row, const Sums *s);

/* Rows [r0, r0 + n_row) of the job, outputs [o0, o0 + count). While the first rows are multiplied, weights are fetched: with the
 * first inputs the next outputs', then the next inputs', a row of them with each four outputs. */
static void block_of_rows(const LinearJob *job, Kind kind, SomeInputsFn multiply, int r0, int n_row, int o0, int count) {
    const Matrix *m = job->m;
    LinesScratch *scratch = job->scratch;
    const size_t inputs = (size_t)m->cols, block = BLOCK_BYTES / LINE * line_inputs(kind);
    for (size_t at = 0, in = 0; in < inputs; in += block, at += BLOCK_BYTES) {
        const size_t w_at = in * weight_bytes(kind);
        Lines l = {.inputs = MIN(inputs - in, block), .stride = m->row_bytes};
        Sums s = {.out_stride = job->out_stride, .first = in == 0, .last = in + block >= inputs};
        int fetched = 0;
        for (int r = 0; r < n_row; r += ROWS) {
            const int rows = MIN(n_row - r, ROWS);
            for (int i = 0; i < rows; i++)
                l.a[i] = act_row(job, r0 + r + i) + at;
            for (int o = 0; o < count; o += OUTS) {
                for (int i = 0; i < OUTS; i++)
                    l.w[i] = weight_row(m, o0 + o + i) + w_at;
                if (r0 == 0 && r == 0 && s.first) {
                    l.fetch = OUTS;
                    l.ahead = weight_row(m, o0 + o + OUTS);
                } else {
                    l.fetch = r0 == 0 && !s.last && fetched < count;
                    l.ahead = weight_row(m, o0 + fetched) + w_at + block * weight_bytes(kind);
                    fetched += l.fetch;
                }
                s.so_far = (NF(*)[BLOCK_OUTS])&scratch->sums[r][o];
                s.out = job->out + (size_t)(r0 + r) * job->out_stride + o0 + o;
                s.count = MIN(count - o, OUTS);
                multiply(&l, rows, &s);
            }
        }
    }
}

/* ---- by kind ----------------------------------------------------------------------------------------------------------------- */

#define LINES_OF(name, kind)                                                                                           \
    static NOINLINE void one_row_##name(const LinearJob *job) {                                                        \
        one_row(kind, job);                                                                                            \
    }                                                                                                                  \
    static NOINLINE void all_inputs_##name(const Lines *l, int n_row, float *out, size_t out_stride, int count) {      \
        all_inputs(kind, l, n_row, out, out_stride, count);                                                            \
    }                                                                                                                  \
    static NOINLINE void some_inputs_##name(const Lines *l, int n_row, const Sums *s) {                                \
        some_inputs(kind, l, n_row, s);                                                                                \
    }

LINES_OF(f32, KIND_F32)
LINES_OF(f16, KIND_F16)
LINES_OF(bf16, KIND_BF16)
#if defined(__AVX512BF16__)
LINES_OF(pairs, KIND_PAIRS)
#endif

typedef struct LinesOf {
    void (*one_row)(const LinearJob *job); /* NULL: not made here */
    AllInputsFn all_inputs;
    SomeInputsFn some_inputs;
} LinesOf;

static const LinesOf lines_of[] = {
    [KIND_F32] = {one_row_f32, all_inputs_f32, some_inputs_f32},
    [KIND_F16] = {one_row_f16, all_inputs_f16, some_inputs_f16},
    [KIND_BF16] = {one_row_bf16, all_inputs_bf16, some_inputs_bf16},
#if defined(__AVX512BF16__)
    [KIND_PAIRS] = {one_row_pairs, all_inputs_pairs, some_inputs_pairs},
#endif
};

bool K(linear_lines)(const LinearJob *job, Precision precision) {
    Kind kind;
    switch (job->m->form) {
    case FORM_F32: kind = KIND_F32; break;
    case FORM_F16: kind = KIND_F16; break;
    case FORM_BF16: kind = KIND_BF16; break;
    default: return false;
    }
#if defined(__AVX512BF16__)
    if (kind == KIND_BF16 && precision == PRECISION_FAST)
        kind = KIND_PAIRS;
#else
    (void)precision;
#endif
    const LinesOf *of = &lines_of[kind];
    if (job->n_row == 1) {
        of->one_row(job);
    } else if (job->n_row <= ROWS) {
        some_rows(job, of->all_inputs);
    } else {
        for (int r = 0; r < job->n_row; r += BLOCK_ROWS)
            for (int o = job->begin; o < job->end; o += BLOCK_OUTS)
                block_of_rows(job, kind, of->some_inputs, r, MIN(job->n_row - r, BLOCK_ROWS), o, MIN(job->end - o, BLOCK_OUTS));
    }
    return true;
}

#else

bool K(linear_lines)(const LinearJob *job, Precision precision) {
    (void)job;
    (void)precision;
    return false;
}

#endif
