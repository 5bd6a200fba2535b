/* linear_few_simd.c - a few rows times a matrix of class BLOCK, weights staying in registers for all of them; compiled once
 * per level, of use where there are byte dot products of 512 bits.
 *
 * With few rows, writing tiles and reading them again costs about as much as the products. Here
 *
 *     for each 32 outputs (two panels)
 *         for each 32 inputs: groups_ggml.h turns the weights into lanes, 16 registers
 *             for each three rows: products, scales, on to the results so far, which are in the L1 cache
 *
 * so that the turning of the next weights and the products of these overlap. The numbers and their order are those of
 * linear_simd.c's tiles, so the bits are the same. */
#include "kernel/linear_dots.h"
#include "kernel/linear_few.h"
#include "kernel/linear_group.h"

#if defined(NATIVE_512) && defined(NATIVE_DOT4)

/* Where vectors go: a group's eight. */
typedef struct Sink {
    NI *x;
} Sink;

static ALWAYS_INLINE void put(Sink *s, int i, NI four) {
    s->x[i] = four;
}

#include "kernel/groups_ggml.h"

enum {
    AT_ONCE = 3, /* rows: six chains of sums, beside 16 registers of weights */
    OUTS = 2 * LINEAR_PANEL,
};

typedef struct FewScratch {
    _Alignas(64) float results[LINEAR_FEW_ROWS][OUTS];
    int32_t start[LINEAR_FEW_ROWS][16]; /* of each row's groups in 256 inputs: -offset * the sum of its inputs */
    const uint8_t *acts[LINEAR_FEW_ROWS];
} FewScratch;
_Static_assert(sizeof(FewScratch) <= LINEAR_SCRATCH_BYTES, "LINEAR_SCRATCH_BYTES is too small");

/* n_row rows of results, 32 inputs further. */
static ALWAYS_INLINE void few_rows(FewScratch *s, int row, int n_row, NI x[2][8], const GroupScale scale[2],
                                   size_t block, int at, bool has_min, bool offset) {
    NI sum[AT_ONCE][2];
    const ActBlock32 *a[AT_ONCE];
    UNROLL
    for (int r = 0; r < n_row; r++) {
        a[r] = (const ActBlock32 *)(const void *)(s->acts[row + r] + block);
        sum[r][0] = sum[r][1] = offset ? ni_set(s->start[row + r][at]) : ni_zero();
    }
    UNROLL
    for (int i = 0; i < 8; i++)
        UNROLL
        for (int r = 0; r < n_row; r++) {
            const NI four = four_of(a[r]->q + 32 * at + 4 * i);
            sum[r][0] = ni_dot4(sum[r][0], x[0][i], four);
            sum[r][1] = ni_dot4(sum[r][1], x[1][i], four);
        }
    UNROLL
    for (int r = 0; r < n_row; r++) {
        float *to = s->results[row + r];
        const NF d = nf_set(a[r]->d[at]);
        UNROLL
        for (int p = 0; p < 2; p++) {
            NF acc = nf_fma(nf_of_ni(sum[r][p]), nf_mul(scale[p].d[0], d), nf_load(to + LINEAR_PANEL * p));
            if (has_min)
                acc = nf_fma(scale[p].m, nf_set(a[r]->s[at]), acc);
            nf_store(to + LINEAR_PANEL * p, acc);
        }
    }
}

#define FEW_BLOCK(name, bytes, has_min, offset)                                                                        \
    static NOINLINE void few_##name(const Matrix *m, int row0, int n_row, FewScratch *s, const uint8_t *ahead) {       \
        enum { LINES = (OUTS * bytes + 63) / 64 };                                                                     \
        const uint8_t *p = m->data + (size_t)row0 * m->row_bytes;                                                      \
        const size_t stride = m->row_bytes;                                                                            \
        const int share = (LINES * AT_ONCE + n_row - 1) / n_row;                                                       \
        for (int g = 0; g < m->cols / 32; g++, p += bytes) {                                                           \
            const int at = g % 8;                                                                                      \
            const size_t block = (size_t)(g / 8) * sizeof(ActBlock32);                                                 \
            if (offset > 0 && at == 0)                                                                                 \
                for (int r = 0; r < n_row; r++)                                                                        \
                    start_of_sums(s->start[r], ((const ActBlock32 *)(const void *)(s->acts[r] + block))->counts, 32, offset); \
            NI x[2][8];                                                                                                \
            GroupScale scale[2];                                                                                       \
            Sink low = {x[0]}, high = {x[1]};                                                                          \
            load_##name(&low, &scale[0], p, stride);                                                                   \
            load_##name(&high, &scale[1], p + LINEAR_PANEL * stride, stride);                                          \
            int r = 0, left = LINES;                                                                                   \
            NO_UNROLL                                                                                                  \
            for (; r + AT_ONCE <= n_row; r += AT_ONCE) {                                                               \
                for (int i = MIN(share, left); i > 0; i--, left--, ahead += 64)                                        \
                    PREFETCH(ahead);                                                                                   \
                few_rows(s, r, AT_ONCE, x, scale, block, at, has_min, offset > 0);                                     \
            }                                                                                                          \
            if (r + 2 == n_row)                                                                                        \
                few_rows(s, r, 2, x, scale, block, at, has_min, offset > 0);                                           \
            else if (r + 1 == n_row)                                                                                   \
                few_rows(s, r, 1, x, scale, block, at, has_min, offset > 0);                                           \
            for (; left > 0; left--, ahead += 64)                                                                      \
                PREFETCH(ahead);                                                                                       \
        }                                                                                                              \
    }

FEW_BLOCK(q4_0, 18, false, 8)
FEW_BLOCK(q4_1, 20, true, 0)
FEW_BLOCK(q5_0, 22, false, 16)
FEW_BLOCK(q5_1, 24, true, 0)
FEW_BLOCK(q8_0, 34, false, 128)
FEW_BLOCK(iq4_nl, 18, false, 128)
FEW_BLOCK(mxfp4, 17, false, 16)

typedef void (*FewFn)(const Matrix *m, int row0, int n_row, FewScratch *s, const uint8_t *ahead);

static const FewFn few[FORM_COUNT] = {
    [FORM_Q4_0] = few_q4_0, [FORM_Q4_1] = few_q4_1, [FORM_Q5_0] = few_q5_0, [FORM_Q5_1] = few_q5_1,
    [FORM_Q8_0] = few_q8_0, [FORM_IQ4_NL] = few_iq4_nl, [FORM_MXFP4] = few_mxfp4,
};

bool K(linear_few)(const LinearJob *job) {
    const Matrix *m = job->m;
    const FewFn run = few[m->form];
    if (run == NULL || job->n_row > LINEAR_FEW_ROWS || m->rows < OUTS || m->cols % 32 != 0)
        return false;
    FewScratch *s = job->scratch;
    for (int r = 0; r < job->n_row; r++)
        s->acts[r] = act_row(job, r);
    touch(m, job->begin, MIN(job->begin + OUTS, job->end));
    for (int o = job->begin; o < job->end; o += OUTS) {
        const int row0 = MIN(o, m->rows - OUTS), count = MIN(job->end - o, OUTS);
        memset(s->results, 0, (size_t)job->n_row * sizeof s->results[0]);
        const bool last = o + OUTS >= job->end;
        const uint8_t *own = m->data + (size_t)row0 * m->row_bytes; /* fetched again: nothing */
        run(m, row0, job->n_row, s, !last ? own + OUTS * m->row_bytes : job->ahead != NULL ? job->ahead : own);
        for (int r = 0; r < job->n_row; r++)
            memcpy(job->out + (size_t)r * job->out_stride + o, s->results[r] + (o - row0), (size_t)count * sizeof(float));
    }
    return true;
}

#else

bool K(linear_few)(const LinearJob *job) {
    (void)job;
    return false;
}

#endif
