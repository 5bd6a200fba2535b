/* test_kernel.c - the linear kernels of every CPU level this machine has, for every form of weights.
 *
 * Guards against: a kernel that is wrong for some form, code, shape or number of rows; results that depend on how many
 * rows are computed together, on the split of the outputs or on the choice of rows; writes outside the outputs asked
 * for; a number that is not finite leaving its row. */
#include "kernel/kernel.h"

#include "base/half.h"
#include "base/mem.h"
#include "op/form_sample.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint32_t seed = 12345;

static float random_float(void) {
    seed = seed * 1664525u + 1013904223u;
    return (float)((int)(seed >> 8) - (1 << 23)) * 0x1p-23f;
}

/* Activations with a few large ones, as those of models. */
static void fill_activations(float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const float r = random_float();
        x[i] = r * r * r * (i % 97 == 0 ? 30.0f : 2.0f);
    }
}

typedef struct Case {
    Matrix m;
    uint8_t *block;
    int n_row;
    float *x;       /* [n_row][cols] */
    uint8_t *acts;  /* converted */
    size_t act_bytes;
    void *scratch;
} Case;

static bool make_case(Case *c, const Kernels *k, Precision precision, Form form, int rows, int cols, int bits,
                      SampleKind kind, int n_row) {
    const size_t bytes = form_sample_bytes(form, rows, cols);
    if (bytes == 0)
        return false;
    *c = (Case){.block = malloc(bytes), .n_row = n_row};
    assert_non_null(c->block);
    c->m = form_sample(form, rows, cols, bits, kind, 7u + (uint32_t)form, c->block);
    c->x = malloc((size_t)n_row * (size_t)cols * sizeof *c->x);
    fill_activations(c->x, (size_t)n_row * (size_t)cols);
    const ActForm act = kernel_act_form(k, form, precision);
    c->act_bytes = act_form_bytes(act, cols);
    c->acts = aligned_alloc(64, c->act_bytes * (size_t)n_row);
    for (int r = 0; r < n_row; r++)
        act_form_convert(k, act, c->acts + (size_t)r * c->act_bytes, c->x + (size_t)r * (size_t)cols, cols);
    c->scratch = aligned_alloc(64, LINEAR_SCRATCH_BYTES);
    memset(c->scratch, 0xFF, LINEAR_SCRATCH_BYTES); /* not a number, wherever it is read as one */
    return true;
}

static void free_case(Case *c) {
    free(c->block);
    free(c->x);
    free(c->acts);
    free(c->scratch);
}

static void multiply(const Kernels *k, Precision precision, const Case *c, int begin, int end, int first, int n_row,
                     float *out, size_t stride) {
    const LinearJob job = {.m = &c->m, .begin = begin, .end = end, .acts = c->acts + (size_t)first * c->act_bytes,
                           .act_bytes = c->act_bytes, .n_row = n_row, .out = out, .out_stride = stride,
                           .scratch = c->scratch};
    k->linear[precision](&job);
}

/* ---- what results must be ---------------------------------------------------------------------------------------- */

/* Row r, output o, by the contract of kernel.h in plain C: the same exact sums, the same float operations. */
static float by_contract(const Case *c, int r, int o) {
    const Matrix *m = &c->m;
    const FormInfo *info = form_info(m->form);
    const uint8_t *a = c->acts + (size_t)r * c->act_bytes;
    float acc = 0;
    if (info->kind == CLASS_BLOCK) {
        for (int k = 0; k < m->cols; k += 32) {
            const ActBlock32 *act = (const ActBlock32 *)(const void *)a + k / 256;
            const int8_t *q = act->q + k % 256;
            Block32 b;
            info->block(m, o, k, &b);
            for (int g = 0; g < 32; g += info->group) {
                int32_t sum = 0;
                for (int i = g; i < g + info->group; i++)
                    sum += b.q[i] * q[i];
                acc = fmaf((float)sum, b.d[g / 16] * act->d[k % 256 / 32], acc);
            }
            if (info->has_min)
                acc = fmaf(b.m[0], act->s[k % 256 / 32], acc);
        }
    } else {
        for (int k = 0; k < m->cols; k += 256) {
            const ActBlock256 *act = (const ActBlock256 *)(const void *)a + k / 256;
            Super256 s;
            info->super(m, o, k, &s);
            int32_t total = 0, less = 0;
            for (int i = 0; i < 256; i++) {
                total += s.sc[i / 16] * s.q[i] * act->q[i];
                less += s.mn[i / 16] * act->q[i];
            }
            acc = fmaf((float)total, s.d * act->d, acc);
            if (info->has_min)
                acc = fmaf((float)less, -(s.dm * act->d), acc);
        }
    }
    return acc;
}

/* The exact product of the weights with the activations as floats. */
static double exact(const Case *c, const float *w, int r) {
    double sum = 0;
    for (int k = 0; k < c->m.cols; k++)
        sum += (double)w[k] * (double)c->x[(size_t)r * (size_t)c->m.cols + (size_t)k];
    return sum;
}

static bool is_integer(Form form) {
    const FormClass kind = form_info(form)->kind;
    return kind == CLASS_BLOCK || kind == CLASS_SUPER;
}

static bool same_float(float a, float b) {
    return bits_of_float(a) == bits_of_float(b) || (isnan(a) && isnan(b));
}

static void check_values(const Kernels *k, Precision precision, const Case *c, const float *y, const char *what) {
    const int rows = c->m.rows, cols = c->m.cols;
    const bool fused = k->level != LEVEL_GENERIC; /* plain C has no fused multiply-add to rely on */
    if (precision == PRECISION_FAST && is_integer(c->m.form) && fused) {
        for (int r = 0; r < c->n_row; r++)
            for (int o = 0; o < rows; o++) {
                const float want = by_contract(c, r, o), got = y[(size_t)r * (size_t)rows + (size_t)o];
                if (!same_float(want, got))
                    fail_msg("%s: y[%d][%d] is %.9g, %.9g by the contract", what, r, o, (double)got, (double)want);
            }
    }
    float *w = malloc((size_t)cols * sizeof *w);
    double error = 0, norm = 0;
    for (int o = 0; o < rows; o++) {
        form_decode_row(&c->m, o, 0, cols, w);
        for (int r = 0; r < c->n_row; r++) {
            const double want = exact(c, w, r), got = (double)y[(size_t)r * (size_t)rows + (size_t)o];
            error += (want - got) * (want - got);
            norm += want * want;
        }
    }
    free(w);
    /* Codes and zero points may cancel: the floor is what weights of 1/64 would give. */
    for (size_t i = 0; i < (size_t)c->n_row * (size_t)cols; i++)
        norm += (double)c->x[i] * (double)c->x[i] * rows / 4096;
    /* Float products and sums: 1e-10. Activations in bf16 (each within 2^-8), or in 8 bits with one scale for up to 256 of them (some a
     * hundred times larger than the rest, and minimums that cancel): what counts there is the contract above. */
    const ActForm act = kernel_act_form(k, c->m.form, precision);
    const double limit = act == ACT_FORM_F32 ? 1e-10 : act == ACT_FORM_BF16 ? 2e-5 : 2e-2;
    if (!(error <= limit * norm))
        fail_msg("%s: normalised squared error %.3g", what, error / norm);
}

static const Form all_forms[] = {
    FORM_F32, FORM_F16, FORM_BF16, FORM_F32_T, FORM_F16_T, FORM_BF16_T, FORM_GPTQ_ORDER, FORM_F8_BLOCK, FORM_F8_E8M0,
    FORM_F8_BLOCK_T, FORM_F8_E8M0_T, FORM_Q4_0, FORM_Q4_1, FORM_Q5_0, FORM_Q5_1, FORM_Q8_0, FORM_IQ4_NL, FORM_MXFP4,
    FORM_NVFP4, FORM_Q1_0, FORM_Q2_0, FORM_MXFP4_SPLIT, FORM_NVFP4_SPLIT, FORM_I8_SCALED, FORM_INT_PACKED, FORM_GPTQ,
    FORM_AWQ, FORM_Q2_K, FORM_Q3_K, FORM_Q4_K, FORM_Q5_K, FORM_Q6_K, FORM_IQ1_S, FORM_IQ1_M, FORM_IQ2_XXS, FORM_IQ2_XS,
    FORM_IQ2_S, FORM_IQ3_XXS, FORM_IQ3_S, FORM_IQ4_XS, FORM_TQ1_0, FORM_TQ2_0,
};
_Static_assert(sizeof all_forms / sizeof *all_forms == FORM_COUNT, "a form is not tested");

/* Builds that run slowly do less of the same. */
static bool few(void) {
    return getenv("HOULE_TEST_FEW") != NULL;
}

/* Calls a check for every present level and precision. */
typedef void (*Check)(const Kernels *k, Precision precision, Form form, int bits);

#if defined(EMULATED_TILES)
void kernels_fill_linear_emulated(Kernels *k);
bool tiles_work_emulated(void);

/* The kernels of level amx over tiles in plain C (tile_emulation.h), where the machine has what lies below them. */
static const Kernels *emulated_amx(void) {
    static Kernels table;
    Error err;
    const Kernels *below;
    if (!level_present(LEVEL_AVX512BF16))
        return NULL;
    assert_int_equal(kernels_of(LEVEL_AVX512BF16, &below, &err), OK);
    table = *below;
    table.level = LEVEL_AMX;
    kernels_fill_linear_emulated(&table);
    return &table;
}
#endif

static void for_level(const Kernels *k, Precision precision, Check check) {
    for (size_t f = 0; f < sizeof all_forms / sizeof *all_forms; f++)
        for (int bits = 4; bits <= 8; bits += 4) {
            const Form form = all_forms[f];
            const bool choice = form == FORM_INT_PACKED || form == FORM_GPTQ || form == FORM_GPTQ_ORDER;
            if (bits == 4 || choice)
                check(k, precision, form, bits);
        }
}

static void for_all(Check check) {
    for (int l = 0; l < LEVEL_COUNT; l++) {
        if (!level_present((Level)l))
            continue;
        Error err;
        const Kernels *k;
        assert_int_equal(kernels_of((Level)l, &k, &err), OK);
        for_level(k, PRECISION_F32, check);
        for_level(k, PRECISION_FAST, check);
    }
#if defined(EMULATED_TILES)
    if (emulated_amx() != NULL)
        for_level(emulated_amx(), PRECISION_FAST, check);
#endif
}

static void describe(char what[128], const Kernels *k, Precision precision, const Case *c, SampleKind kind) {
    static const char *const kinds[] = {"random", "high", "zero"};
    snprintf(what, 128, "%s %s %s %d x %d, %d rows, %s", level_word(k->level), precision == PRECISION_F32 ? "f32" : "fast",
             form_info(c->m.form)->name, c->m.rows, c->m.cols, c->n_row, kinds[kind]);
}

static void check_shapes(const Kernels *k, Precision precision, Form form, int bits) {
    static const int shapes[][2] = {{48, 512}, {16, 256}, {100, 768}, {33, 1280}, {7, 256}, {1, 256},
                                    {72, 32}, {40, 96},  {24, 576},  {129, 288}, {19, 64}, {17, 333}, {64, 1},  {32, 127},
                                    {9, 4127}};
    const int n_row = k->level == LEVEL_AMX ? 19 : 7; /* tiles are for more */
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int kind = 0; kind < (few() ? 1 : 3); kind++) {
            int rows = shapes[s][0];
            if (form == FORM_AWQ || form == FORM_GPTQ || form == FORM_GPTQ_ORDER)
                rows = (rows + 7) & ~7; /* packed along the outputs */
            Case c;
            if (!make_case(&c, k, precision, form, rows, shapes[s][1], bits, (SampleKind)kind, n_row))
                continue;
            char what[128];
            describe(what, k, precision, &c, (SampleKind)kind);
            float *y = malloc((size_t)rows * (size_t)n_row * sizeof *y);
            multiply(k, precision, &c, 0, rows, 0, n_row, y, (size_t)rows);
            check_values(k, precision, &c, y, what);
            free(y);
            free_case(&c);
        }
}

/* Every form at every level, against plain C. */
static void test_values(void **state) {
    (void)state;
    for_all(check_shapes);
}

/* False: the form has no matrix of so many inputs. */
static bool same_bits(const Kernels *k, Precision precision, Form form, int bits, int cols) {
    enum { OUTS = 120, MOST = 97 };
    Case c;
    if (!make_case(&c, k, precision, form, OUTS, cols, bits, SAMPLE_RANDOM, MOST))
        return false;
    char what[128];
    describe(what, k, precision, &c, SAMPLE_RANDOM);
    const size_t bytes = (size_t)OUTS * MOST * sizeof(float);
    float *one = malloc(bytes), *many = malloc(bytes);
    for (int r = 0; r < MOST; r++)
        multiply(k, precision, &c, 0, OUTS, r, 1, one + r * OUTS, OUTS);
    for (int n = 2; n <= MOST; n += few() ? 19 : n < 20 ? 1 : 11) {
        memset(many, 0x7F, bytes);
        for (int r = 0; r < MOST; r += n)
            multiply(k, precision, &c, 0, OUTS, r, r + n < MOST ? n : MOST - r, many + r * OUTS, OUTS);
        if (memcmp(one, many, bytes) != 0)
            fail_msg("%s: other bits with %d rows at once", what, n);
    }
    for (int cut = 16; cut < OUTS; cut += few() ? 64 : 16) {
        memset(many, 0x7F, bytes);
        multiply(k, precision, &c, 0, cut, 0, MOST, many, OUTS);
        multiply(k, precision, &c, cut, OUTS, 0, MOST, many, OUTS);
        if (memcmp(one, many, bytes) != 0)
            fail_msg("%s: other bits when cut at output %d", what, cut);
    }
    /* Rows chosen by an index, in any order and repeated. */
    int32_t chosen[MOST];
    for (int i = 0; i < MOST; i++)
        chosen[i] = (i * 61 + 5) % (MOST - 7);
    const LinearJob job = {.m = &c.m, .begin = 0, .end = OUTS, .acts = c.acts, .act_bytes = c.act_bytes,
                           .act_rows = chosen, .n_row = MOST, .out = many, .out_stride = OUTS, .scratch = c.scratch};
    k->linear[precision](&job);
    for (int i = 0; i < MOST; i++)
        if (memcmp(many + i * OUTS, one + chosen[i] * OUTS, OUTS * sizeof(float)) != 0)
            fail_msg("%s: other bits for a chosen row", what);
    free(one);
    free(many);
    free_case(&c);
    return true;
}

static void check_same_bits(const Kernels *k, Precision precision, Form form, int bits) {
    if (!same_bits(k, precision, form, bits, 768))
        assert_true(same_bits(k, precision, form, bits, 1024));
    if (form == FORM_F32 || form == FORM_F16 || form == FORM_BF16)
        same_bits(k, precision, form, bits, 4127); /* many rows take so many inputs in parts, the last not whole */
}

/* The number of rows, the split of the outputs and the choice of rows change no bit. */
static void test_same_bits(void **state) {
    (void)state;
    for_all(check_same_bits);
}

static void check_edges(const Kernels *k, Precision precision, Form form, int bits) {
    enum { OUTS = 56, ROWS = 9, STRIDE = OUTS + 24 };
    Case c;
    assert_true(make_case(&c, k, precision, form, OUTS, 512, bits, SAMPLE_RANDOM, ROWS));
    char what[128];
    describe(what, k, precision, &c, SAMPLE_RANDOM);
    float *y = malloc((STRIDE * ROWS + 16) * sizeof *y), *clean = malloc(ROWS * OUTS * sizeof *clean);
    multiply(k, precision, &c, 0, OUTS, 0, ROWS, clean, OUTS);
    /* One row with infinities and NaN. */
    const ActForm act = kernel_act_form(k, form, precision);
    float *bad = c.x + 4 * 512;
    bad[3] = INFINITY;
    bad[300] = NAN;
    act_form_convert(k, act, c.acts + 4 * c.act_bytes, bad, 512);
    memset(y, 0xAB, (STRIDE * ROWS + 16) * sizeof *y);
    multiply(k, precision, &c, 16, OUTS, 0, ROWS, y, STRIDE);
    const uint32_t guard = 0xABABABABu;
    for (int i = 0; i < STRIDE * ROWS + 16; i++) {
        const int r = i / STRIDE, o = i % STRIDE;
        if (r >= ROWS || o < 16 || o >= OUTS) {
            if (memcmp(&y[i], &guard, sizeof guard) != 0)
                fail_msg("%s: wrote at row %d, output %d", what, r, o);
        } else if (r == 4) {
            if (isfinite(y[i]))
                fail_msg("%s: an infinity and a NaN were lost", what);
        } else if (memcmp(&y[i], &clean[r * OUTS + o], sizeof *y) != 0) {
            fail_msg("%s: a row that is not finite changed row %d", what, r);
        }
    }
    free(y);
    free(clean);
    free_case(&c);
}

/* Nothing is written outside; infinities and NaN stay in their row, and reach it. */
static void test_edges(void **state) {
    (void)state;
    for_all(check_edges);
}

static void check_bytes(const char *what, const void *a, const void *b, size_t bytes) {
    if (memcmp(a, b, bytes) != 0)
        fail_msg("%s: other bytes than plain C's", what);
}

/* Activations in 8 bits and in bf16 are the same bytes at every level: large and tiny numbers, zeros, numbers that are
 * not finite, and lengths that fill no block. */
static void test_activations(void **state) {
    (void)state;
    enum { MOST = 1040 };
    static float x[MOST];
    static _Alignas(64) uint8_t want[8192], got[8192];
    static const int lengths[] = {1, 7, 31, 32, 33, 255, 256, 257, 576, 1024, MOST};
    for (int l = 0; l < LEVEL_COUNT; l++) {
        if (!level_present((Level)l))
            continue;
        Error err;
        const Kernels *k;
        assert_int_equal(kernels_of((Level)l, &k, &err), OK);
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
            for (int kind = 0; kind < 5; kind++) {
                static const float sizes[] = {1, 0, 1e30f, 1e-37f, 1};
                const int n = lengths[i];
                fill_activations(x, MOST);
                for (int j = 0; j < MOST; j++)
                    x[j] *= sizes[kind];
                if (kind == 4)
                    x[n / 2] = NAN;
                memset(want, 1, sizeof want);
                memset(got, 2, sizeof got);
                op_quantise_q8_32(want, x, n);
                k->quantise_q8_32(got, x, n);
                for (int b = 0; b < (n + 255) / 256; b++) {
                    const ActBlock32 *w = (const ActBlock32 *)(const void *)want + b, *g = (const ActBlock32 *)(const void *)got + b;
                    check_bytes("quantise_q8_32", w->q, g->q, 256);
                    check_bytes("quantise_q8_32", w->counts, g->counts, sizeof w->counts);
                    for (int j = 0; j < 8; j++)
                        assert_true(same_float(w->d[j], g->d[j]) && same_float(w->s[j], g->s[j]));
                    assert_true(kind != 4 || b != n / 2 / 256 || isnan(w->d[n / 2 % 256 / 32]));
                }
                op_quantise_q8_256(want, x, n);
                k->quantise_q8_256(got, x, n);
                for (int b = 0; b < (n + 255) / 256; b++) {
                    const ActBlock256 *w = (const ActBlock256 *)(const void *)want + b, *g = (const ActBlock256 *)(const void *)got + b;
                    check_bytes("quantise_q8_256", w->q, g->q, 256 + 48);
                    assert_true(same_float(w->d, g->d));
                    assert_true(kind != 4 || b != n / 2 / 256 || isnan(w->d));
                }
                op_round_bf16((uint16_t *)(void *)want, x, n);
                k->round_bf16((uint16_t *)(void *)got, x, n);
                check_bytes("round_bf16", want, got, act_bf16_bytes(n));
            }
    }
}

#if defined(EMULATED_TILES)
/* What decides at the start whether tiles are used finds nothing wrong with right ones. */
static void test_tiles_work(void **state) {
    (void)state;
    if (!level_present(LEVEL_AVX512BF16))
        skip();
    assert_true(tiles_work_emulated());
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_activations),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_same_bits),
        cmocka_unit_test(test_edges),
#if defined(EMULATED_TILES)
        cmocka_unit_test(test_tiles_work),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
