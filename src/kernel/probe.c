/* probe.c - see probe.h. */
#include "kernel/probe.h"

#include "base/carve.h"
#include "base/clock.h"
#include "base/median.h"
#include "base/mem.h"
#include "op/form_sample.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { UNIT = 64, MAX_COPIES = 4096, MAX_SWEEPS = 256, LEAST_SWEEPS = 3, PATIENCE = 8 };
static const size_t least_cold_bytes = 96 << 20, most_cold_bytes = (size_t)1 << 30;

struct Probes {
    Pool *pool;
    uint8_t *cold;
    size_t cold_bytes;
    uint8_t *scratch;       /* of each thread */
    size_t scratch_bytes;
    int sweeps, disturbed;  /* measurements, and those that other processes never left alone */
    atomic_int next[MAX_COPIES]; /* units taken of each copy */
};

Status probes_open(Pool *pool, Probes **out, Error *err) {
    *out = NULL;
    Probes *p = mem_zalloc(sizeof *p, MEM_SCRATCH);
    FAIL_IF(p == NULL, ERR_MEMORY, "no memory to measure kernels");
    const long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
    p->pool = pool;
    p->cold_bytes = MIN(MAX(3 * (size_t)MAX(cache, 0), least_cold_bytes), most_cold_bytes);
    p->scratch_bytes = LINEAR_SCRATCH_BYTES + attend_scratch_bytes(ATTEND_MAX_ROWS, 256, 256) +
                       (size_t)ATTEND_MAX_ROWS * (256 + 2) * sizeof(float) + recur_scratch_bytes(256) + 4096;
    p->scratch_bytes = (p->scratch_bytes + 63) & ~(size_t)63;
    p->cold = mem_alloc_aligned(p->cold_bytes, MEM_SCRATCH);
    p->scratch = mem_alloc_aligned(p->scratch_bytes * (size_t)pool_threads(pool), MEM_SCRATCH);
    if (p->cold == NULL || p->scratch == NULL) {
        probes_close(p);
        return error_set(err, ERR_MEMORY, "no memory to measure kernels");
    }
    *out = p;
    return OK;
}

bool probes_disturbed(const Probes *p) {
    return 4 * p->disturbed > p->sweeps;
}

void probes_close(Probes *p) {
    if (p == NULL)
        return;
    mem_free(p->cold);
    mem_free(p->scratch);
    mem_free(p);
}

/* ---- sweeps: each copy of the work in turn, units shared out among the threads, a barrier after each ----------------------- */

typedef struct Sweep {
    Probes *probes;
    int copies, units;  /* copies of one sweep */
    int first, all;     /* the copy that it begins with; all that there are: sweeps take turns, so that none finds its own in a cache */
    bool few;   /* threads take many units at once, as for few rows */
    void (*run)(const void *work, int copy, int unit, int n, uint8_t *scratch);
    const void *work;
} Sweep;

static int take(const Sweep *s, atomic_int *next, int n_thread, int *n) {
    *n = 1;
    if (!s->few)
        return atomic_fetch_add_explicit(next, 1, memory_order_relaxed);
    int at = atomic_load_explicit(next, memory_order_relaxed);
    do {
        if (at >= s->units)
            return s->units;
        *n = MAX(1, (s->units - at) * 3 / (4 * n_thread));
    } while (!atomic_compare_exchange_weak_explicit(next, &at, at + *n, memory_order_relaxed, memory_order_relaxed));
    return at;
}

static void sweep_thread(void *arg, int thread, int n_thread) {
    const Sweep *s = arg;
    uint8_t *scratch = s->probes->scratch + (size_t)thread * s->probes->scratch_bytes;
    for (int copy = 0; copy < s->copies; copy++) {
        int n;
        for (int unit; (unit = take(s, &s->probes->next[copy], n_thread, &n)) < s->units;)
            s->run(s->work, (s->first + copy) % s->all, unit, n, scratch);
        pool_barrier(s->probes->pool);
    }
}

static double sweep_once(Sweep *s) {
    for (int copy = 0; copy < s->copies; copy++)
        atomic_store_explicit(&s->probes->next[copy], 0, memory_order_relaxed);
    const uint64_t at = clock_ns();
    pool_run(s->probes->pool, sweep_thread, s);
    const double seconds = (double)(clock_ns() - at) * 1e-9 / s->copies;
    s->first = (s->first + s->copies) % s->all;
    return seconds;
}

/* How often this process had to leave a CPU to another one. */
static long preemptions(void) {
    struct rusage usage = {0};
    return getrusage(RUSAGE_SELF, &usage) == 0 ? usage.ru_nivcsw : 0;
}

/* Seconds of one copy, in the median sweep: of those in which no other process took a CPU, if there are any (else in the
 * best). Under two busy processes per CPU one sweep in some is whole; to find a few, it may take a while longer. */
static double sweep(Sweep *s, int ms) {
    const uint64_t began = clock_ns(), until = began + (uint64_t)ms * 1000000u, patience = began + (uint64_t)ms * PATIENCE * 1000000u;
    s->all = s->copies;
    s->copies = 1;
    const double first = sweep_once(s); /* warms up, too; what is slow does not wait for memory: it needs few copies */
    s->copies = MAX(1, (int)fmin(s->all, ms * 1e-3 / first));
    double undisturbed[MAX_SWEEPS], disturbed = INFINITY;
    int whole = 0;
    for (int i = 0; i < MAX_SWEEPS && (i < LEAST_SWEEPS || clock_ns() < (whole < LEAST_SWEEPS ? patience : until)); i++) {
        const long before = preemptions();
        const double seconds = sweep_once(s);
        if (preemptions() == before) {
            undisturbed[whole++] = seconds;
        } else {
            disturbed = fmin(disturbed, seconds);
        }
    }
    s->probes->sweeps++;
    s->probes->disturbed += whole == 0;
    return whole > 0 ? median_of(undisturbed, whole) : disturbed;
}

static void fill_floats(float *x, size_t n) {
    uint32_t state = 4711;
    for (size_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = (float)(state >> 8) / 8388608.0f - 1.0f;
    }
}

/* ---- matrices --------------------------------------------------------------------------------------------------------------- */

typedef struct LinearWork {
    const LinearProbe *probe;
    Matrix matrix;      /* the first copy */
    size_t copy_bytes;
    const uint8_t *acts;
    size_t act_bytes;
    float *out;
} LinearWork;

static void run_linear_units(const void *arg, int copy, int unit, int n, uint8_t *scratch) {
    const LinearWork *w = arg;
    const size_t offset = (size_t)copy * w->copy_bytes;
    Matrix m = w->matrix;
    m.data += offset;
    m.scales = m.scales != NULL ? m.scales + offset : NULL;
    m.zeros = m.zeros != NULL ? m.zeros + offset : NULL;
    const LinearJob job = {.m = &m, .begin = unit * UNIT, .end = MIN((unit + n) * UNIT, m.rows), .acts = w->acts,
                           .act_bytes = w->act_bytes, .n_row = w->probe->tokens, .out = w->out, .out_stride = (size_t)m.rows,
                           .scratch = scratch};
    w->probe->kernels->linear[w->probe->precision](&job);
}

/* Bytes that a sample of a form takes in a file: what its pointers show. */
static double stored_bytes(const Matrix *m, Form form) {
    const double numbers = (double)m->rows * m->cols;
    if (form == FORM_GPTQ || form == FORM_GPTQ_ORDER || form == FORM_AWQ)
        return numbers * m->bits / 8 + numbers / m->block_cols * 2.5;
    const bool turned = form == FORM_F32_T || form == FORM_F16_T || form == FORM_BF16_T || form == FORM_F8_BLOCK_T ||
                        form == FORM_F8_E8M0_T;
    const double scale_rows = m->block_rows > 0 ? (double)m->rows / m->block_rows : m->rows;
    return (double)m->row_bytes * (turned ? m->cols : m->rows) + (m->scales != NULL ? scale_rows * (double)m->scale_row_bytes : 0);
}

Status probe_linear(Probes *p, const LinearProbe *probe, ProbeTime *time, Error *err) {
    const size_t block = (form_sample_bytes(probe->form, probe->rows, probe->cols) + 63) & ~(size_t)63;
    FAIL_IF(block == 0, ERR_ARGUMENT,
            "rows of %d numbers do not fit %s", probe->cols, form_info(probe->form)->name);
    FAIL_IF(block > p->cold_bytes, ERR_LIMIT, "a matrix of %d x %d is too large to measure", probe->rows, probe->cols);
    LinearWork w = {.probe = probe, .copy_bytes = block};
    w.matrix = form_sample(probe->form, probe->rows, probe->cols, 4, SAMPLE_RANDOM, 1, p->cold);
    const int copies = (int)MIN(p->cold_bytes / block, MAX_COPIES);
    for (int c = 1; c < copies; c++)
        memcpy(p->cold + (size_t)c * block, p->cold, block);
    const ActForm form = kernel_act_form(probe->kernels, probe->form, probe->precision);
    w.act_bytes = (act_form_bytes(form, probe->cols) + 63) & ~(size_t)63;
    const size_t tokens = (size_t)probe->tokens;
    uint8_t *acts = mem_alloc_aligned(tokens * w.act_bytes + (size_t)probe->cols * sizeof(float) + 64, MEM_SCRATCH);
    w.out = mem_alloc_aligned(tokens * (size_t)probe->rows * sizeof(float), MEM_SCRATCH);
    if (acts == NULL || w.out == NULL) {
        mem_free(acts);
        mem_free(w.out);
        return error_set(err, ERR_MEMORY, "no memory to measure kernels");
    }
    float *x = (float *)(void *)(acts + tokens * w.act_bytes);
    fill_floats(x, (size_t)probe->cols);
    for (size_t t = 0; t < tokens; t++)
        act_form_convert(probe->kernels, form, acts + t * w.act_bytes, x, probe->cols);
    w.acts = acts;
    Sweep s = {.probes = p, .copies = copies, .units = (probe->rows + UNIT - 1) / UNIT,
               .few = probe->tokens <= LINEAR_FEW_ROWS, .run = run_linear_units, .work = &w};
    *time = (ProbeTime){.seconds = sweep(&s, probe->ms), .bytes = stored_bytes(&w.matrix, probe->form),
                        .operations = 2.0 * probe->rows * probe->cols * probe->tokens};
    mem_free(acts);
    mem_free(w.out);
    return OK;
}

/* ---- attention ---------------------------------------------------------------------------------------------------------------- */

typedef struct AttendWork {
    const AttendProbe *probe;
    const uint8_t *cache;   /* copies of [2][kv_heads][entries] */
    size_t entry_bytes, copy_bytes;
    const float *query;     /* of ATTEND_MAX_ROWS rows */
    int rows, row_blocks, chunks; /* rows of a unit; units of a head */
} AttendWork;

static void run_attend_units(const void *arg, int copy, int first, int n, uint8_t *scratch) {
    const AttendWork *w = arg;
    const AttendProbe *probe = w->probe;
    for (int unit = first; unit < first + n; unit++) {
        const int chunk = unit % w->chunks, head = unit / w->chunks / w->row_blocks;
        const size_t head_bytes = (size_t)probe->entries * w->entry_bytes;
        const uint8_t *keys = w->cache + (size_t)copy * w->copy_bytes + (size_t)head * head_bytes;
        const uint8_t *values = keys + (size_t)probe->kv_heads * head_bytes;
        const uint8_t *key_blocks[CACHE_CHUNK / CACHE_BLOCK], *value_blocks[CACHE_CHUNK / CACHE_BLOCK];
        int32_t begin[ATTEND_MAX_ROWS], end[ATTEND_MAX_ROWS];
        const int group = probe->heads / probe->kv_heads, from = chunk * CACHE_CHUNK, to = MIN(from + CACHE_CHUNK, probe->entries);
        for (int b = 0; b * CACHE_BLOCK < to - from; b++) { /* the job's entries begin at 0: the chunk alone */
            key_blocks[b] = keys + (size_t)(from + b * CACHE_BLOCK) * w->entry_bytes;
            value_blocks[b] = values + (size_t)(from + b * CACHE_BLOCK) * w->entry_bytes;
        }
        for (int t = 0; t < w->rows / group; t++) {
            begin[t] = 0;
            end[t] = to - from - 1;
        }
        Carve c = {.block = scratch};
        float *top = carve(&c, ATTEND_MAX_ROWS * sizeof(float)), *sum = carve(&c, ATTEND_MAX_ROWS * sizeof(float));
        float *out = carve(&c, ATTEND_MAX_ROWS * (size_t)probe->width * sizeof(float));
        const AttendJob job = {.type = probe->type, .key_width = probe->width, .value_width = probe->width, .n_row = w->rows,
                               .group = group, .query = w->query, .key_blocks = key_blocks, .value_blocks = value_blocks,
                               .key_stride = w->entry_bytes, .value_stride = w->entry_bytes, .first = begin, .last = end,
                               .begin = 0, .end = to - from, .top = top, .sum = sum, .out = out,
                               .scratch = carve(&c, attend_scratch_bytes(ATTEND_MAX_ROWS, probe->width, probe->width))};
        probe->kernels->attend[PRECISION_F32](&job); /* as the first chunk of every text: run_attend.c */
    }
}

Status probe_attend(Probes *p, const AttendProbe *probe, ProbeTime *time, Error *err) {
    const int group = probe->heads / probe->kv_heads, all = probe->tokens * group;
    AttendWork w = {.probe = probe, .cache = p->cold, .entry_bytes = cache_entry_bytes(probe->type, probe->width)};
    w.rows = MIN(all, ATTEND_MAX_ROWS / group * group);
    w.row_blocks = (all + w.rows - 1) / w.rows;
    w.chunks = (probe->entries + CACHE_CHUNK - 1) / CACHE_CHUNK;
    w.copy_bytes = 2 * (size_t)probe->kv_heads * (size_t)probe->entries * w.entry_bytes;
    FAIL_IF(probe->width > 256 || w.copy_bytes > p->cold_bytes || probe->entries % CACHE_BLOCK != 0, ERR_LIMIT,
            "attention of that size is not measured");
    float *query = mem_alloc_aligned(ATTEND_MAX_ROWS * (size_t)probe->width * sizeof(float), MEM_SCRATCH);
    FAIL_IF(query == NULL, ERR_MEMORY, "no memory to measure kernels");
    fill_floats(query, ATTEND_MAX_ROWS * (size_t)probe->width);
    w.query = query;
    const int copies = probe->tokens <= LINEAR_FEW_ROWS ? (int)MIN(p->cold_bytes / w.copy_bytes, MAX_COPIES) : 1;
    for (int e = 0; e < CACHE_BLOCK; e++)
        probe->kernels->cache_store(probe->type, p->cold + (size_t)e * w.entry_bytes, query + (size_t)e * (size_t)probe->width,
                                    probe->width);
    const size_t block = CACHE_BLOCK * w.entry_bytes;
    for (size_t at = block; at < (size_t)copies * w.copy_bytes; at += block)
        memcpy(p->cold + at, p->cold, block);
    Sweep s = {.probes = p, .copies = copies, .units = probe->kv_heads * w.row_blocks * w.chunks, .run = run_attend_units, .work = &w};
    *time = (ProbeTime){.seconds = sweep(&s, probe->ms), .bytes = (double)w.copy_bytes,
                        .operations = 4.0 * probe->heads * probe->width * (double)probe->entries * probe->tokens};
    mem_free(query);
    return OK;
}

/* ---- recurrent layers ----------------------------------------------------------------------------------------------------------- */

enum { RECUR_COLUMNS = 2 * RECUR_BLOCK };

typedef struct RecurWork {
    const RecurProbe *probe;
    float *states;      /* copies of [heads] */
    size_t head_floats;
    const float *rows;  /* numbers for queries, keys, values */
    float *out;
} RecurWork;

static void run_recur_units(const void *arg, int copy, int first, int n, uint8_t *scratch) {
    const RecurWork *w = arg;
    const RecurProbe *probe = w->probe;
    const int parts = (probe->width + RECUR_COLUMNS - 1) / RECUR_COLUMNS;
    static const float decay = 0.9f, strength = 0.5f;
    for (int unit = first; unit < first + n; unit++) {
        const int head = unit / parts, column = unit % parts * RECUR_COLUMNS;
        float *state = w->states + ((size_t)copy * (size_t)probe->heads + (size_t)head) * w->head_floats +
                       (size_t)column * (size_t)probe->width;
        const size_t stride = (size_t)probe->width;
        const RecurJob job = {.n_row = probe->tokens, .key_width = probe->width, .n_col = MIN(RECUR_COLUMNS, probe->width - column),
                              .delta = true, .scale = 0.1f, .query = w->rows, .query_stride = stride, .key = w->rows,
                              .key_stride = stride, .value = w->rows + column, .value_stride = stride, .decay = &decay,
                              .strength = &strength, .out = w->out + (size_t)head * stride + (size_t)column,
                              .out_stride = stride * (size_t)probe->heads, .state = state, .scratch = scratch};
        probe->kernels->recur(&job);
    }
}

Status probe_recur(Probes *p, const RecurProbe *probe, ProbeTime *time, Error *err) {
    const size_t head_floats = recur_state_floats(probe->width, probe->width);
    const size_t copy_bytes = head_floats * (size_t)probe->heads * sizeof(float), width = (size_t)probe->width;
    FAIL_IF(probe->width > 256 || copy_bytes > p->cold_bytes, ERR_LIMIT, "a recurrent layer of that size is not measured");
    const int copies = probe->tokens <= LINEAR_FEW_ROWS ? (int)MIN(p->cold_bytes / copy_bytes, MAX_COPIES) : 1;
    const size_t tokens = (size_t)probe->tokens;
    float *rows = mem_alloc_aligned((tokens + 2) * width * (1 + (size_t)probe->heads) * sizeof(float), MEM_SCRATCH);
    FAIL_IF(rows == NULL, ERR_MEMORY, "no memory to measure kernels");
    memset(p->cold, 0, (size_t)copies * copy_bytes);
    fill_floats(rows, (tokens + 2) * width);
    for (size_t i = 0; i < (tokens + 2) * width; i++)
        rows[i] *= 0.05f; /* keys of at most length one: the state stays finite */
    const RecurWork w = {.probe = probe, .states = (float *)(void *)p->cold, .head_floats = head_floats, .rows = rows,
                         .out = rows + (tokens + 2) * width};
    const int parts = (probe->width + RECUR_COLUMNS - 1) / RECUR_COLUMNS;
    Sweep s = {.probes = p, .copies = copies, .units = probe->heads * parts, .run = run_recur_units, .work = &w};
    *time = (ProbeTime){.seconds = sweep(&s, probe->ms), .bytes = 2.0 * (double)copy_bytes,
                        .operations = 8.0 * (double)head_floats * probe->heads * probe->tokens};
    mem_free(rows);
    return OK;
}

/* ---- rows ------------------------------------------------------------------------------------------------------------------------ */

typedef struct RowWork {
    const Kernels *k;
    float *y, *a, *b;
    int n;
} RowWork;

static void do_rms_norm(const RowWork *w) { w->k->rms_norm(w->y, w->a, w->b, w->n, 1e-6f, 0); }
static void do_layer_norm(const RowWork *w) { w->k->layer_norm(w->y, w->a, w->b, w->b, w->n, 1e-6f); }
static void do_l2_norm(const RowWork *w) { w->k->l2_norm(w->y, w->a, w->n, 1e-6f); }
static void do_silu(const RowWork *w) { w->k->act(w->y, w->a, w->n, ACT_SILU); }
static void do_gelu(const RowWork *w) { w->k->act(w->y, w->a, w->n, ACT_GELU_TANH); }
static void do_glu(const RowWork *w) { w->k->glu(w->y, w->a, w->b, w->n, ACT_SILU, 0); }
static void do_glu_oai(const RowWork *w) { w->k->glu_oai(w->y, w->a, w->b, w->n, 1.702f, 7); }
static void do_softcap(const RowWork *w) { w->k->softcap(w->y, w->a, w->n, 30); }
static void do_softmax(const RowWork *w) { w->k->softmax(w->y, w->a, w->n); }
static void do_add(const RowWork *w) { w->k->add(w->y, w->a, w->b, w->n); }
static void do_mul(const RowWork *w) { w->k->mul(w->y, w->a, w->b, w->n); }
static void do_affine(const RowWork *w) { w->k->affine(w->y, w->a, w->n, 0.5f, 1); }
static void do_axpy(const RowWork *w) { w->k->axpy(w->y, w->a, w->n, 1e-6f); }
static void do_rope(const RowWork *w) { w->k->rope(w->y, w->a, w->b, w->n, false); }
static void do_q8_32(const RowWork *w) { w->k->quantise_q8_32(w->y, w->a, w->n); }
static void do_q8_256(const RowWork *w) { w->k->quantise_q8_256(w->y, w->a, w->n); }
static void do_bf16(const RowWork *w) { w->k->round_bf16((uint16_t *)(void *)w->y, w->a, w->n); }
static void do_dot(const RowWork *w) { w->y[0] = w->k->dot(w->a, w->b, w->n); }

static const struct { const char *name; void (*run)(const RowWork *work); } row_kernels[ROW_PROBE_COUNT] = {
    [ROW_PROBE_RMS_NORM] = {"rms_norm", do_rms_norm}, [ROW_PROBE_LAYER_NORM] = {"layer_norm", do_layer_norm},
    [ROW_PROBE_L2_NORM] = {"l2_norm", do_l2_norm}, [ROW_PROBE_SILU] = {"silu", do_silu}, [ROW_PROBE_GELU] = {"gelu", do_gelu},
    [ROW_PROBE_GLU] = {"glu", do_glu}, [ROW_PROBE_GLU_OAI] = {"glu_oai", do_glu_oai}, [ROW_PROBE_SOFTCAP] = {"softcap", do_softcap},
    [ROW_PROBE_SOFTMAX] = {"softmax", do_softmax}, [ROW_PROBE_ADD] = {"add", do_add}, [ROW_PROBE_MUL] = {"mul", do_mul},
    [ROW_PROBE_AFFINE] = {"affine", do_affine}, [ROW_PROBE_AXPY] = {"axpy", do_axpy}, [ROW_PROBE_ROPE] = {"rope", do_rope},
    [ROW_PROBE_Q8_32] = {"quantise_q8_32", do_q8_32}, [ROW_PROBE_Q8_256] = {"quantise_q8_256", do_q8_256},
    [ROW_PROBE_BF16] = {"round_bf16", do_bf16}, [ROW_PROBE_DOT] = {"dot", do_dot},
};

const char *probe_row_name(RowProbe which) {
    return row_kernels[which].name;
}

Status probe_row(Probes *p, const Kernels *kernels, RowProbe which, int n, int ms, ProbeTime *time, Error *err) {
    Carve c = {.block = p->cold};
    const size_t bytes = ((size_t)n + 64) * sizeof(float) * 2; /* rows of quantised numbers are smaller */
    const RowWork w = {.k = kernels, .y = carve(&c, bytes), .a = carve(&c, bytes), .b = carve(&c, bytes), .n = n};
    FAIL_IF(n < 256 || n % 256 != 0 || c.used > p->cold_bytes, ERR_ARGUMENT, "a row of %d numbers", n);
    fill_floats(w.a, (size_t)n);
    fill_floats(w.b, (size_t)n);
    memset(w.y, 0, bytes);
    double best = INFINITY;
    enum { CALLS = 16 };
    for (const uint64_t began = clock_ns(); clock_ns() - began < (uint64_t)ms * 1000000u || best == INFINITY;) {
        const uint64_t at = clock_ns();
        for (int i = 0; i < CALLS; i++)
            row_kernels[which].run(&w);
        best = fmin(best, (double)(clock_ns() - at) * 1e-9 / CALLS);
    }
    *time = (ProbeTime){.seconds = fmax(best, 1e-9), .bytes = (double)n * sizeof(float)};
    return OK;
}

enum { FAR_ROUNDS = 16, FAR_UNIT = 4, FAR_OPERATIONS = 2 };

typedef struct FarRows {
    Probes *probes;
    const Kernels *kernels;
    float *weights;
    uint8_t *regions;   /* rounds take turns with them: what is written was not in a cache */
    size_t region_bytes, to_bytes; /* of a region; of a converted row */
    int n_region, rows, n;
    _Atomic uint64_t ns[FAR_ROUNDS]; /* of all threads together */
} FarRows;

static void go_through_rows(void *arg, int thread, int n_thread) {
    FarRows *f = arg;
    const int share = f->n / n_thread, begin = thread * share, count = thread + 1 < n_thread ? share : f->n - begin;
    for (int round = 0; round < FAR_ROUNDS; round++) {
        const size_t numbers = (size_t)f->rows * (size_t)f->n;
        float *from = (float *)(void *)(f->regions + (size_t)(round % f->n_region) * f->region_bytes), *between = from + numbers;
        uint8_t *to = (uint8_t *)(between + numbers);
        for (int r = 0; r < f->rows; r++)
            f->kernels->affine(from + (size_t)r * (size_t)f->n + begin, f->weights + begin, count, 0.5f, 1);
        pool_barrier(f->probes->pool);
        const uint64_t began = clock_ns();
        for (int r; (r = atomic_fetch_add(&f->probes->next[round], FAR_UNIT)) < f->rows;)
            for (int i = r; i < MIN(r + FAR_UNIT, f->rows); i++) {
                float *row = between + (size_t)i * (size_t)f->n;
                f->kernels->rms_norm(row, from + (size_t)i * (size_t)f->n, f->weights, f->n, 1e-6f, 0);
                f->kernels->quantise_q8_256(to + (size_t)i * f->to_bytes, row, f->n);
            }
        atomic_fetch_add(&f->ns[round], clock_ns() - began);
        pool_barrier(f->probes->pool);
    }
}

Status probe_rows(Probes *p, const Kernels *kernels, int rows, int n, double *seconds, Error *err) {
    Carve c = {.block = p->cold};
    FAIL_IF(rows < 1 || n < 256 || n % 256 != 0 || (size_t)rows * (size_t)n > p->cold_bytes / 16, ERR_ARGUMENT,
            "%d rows of %d numbers", rows, n);
    FarRows f = {.probes = p, .kernels = kernels, .to_bytes = (act_form_bytes(ACT_FORM_Q8_256, n) + 63) & ~(size_t)63, .rows = rows, .n = n};
    f.weights = carve(&c, (size_t)n * sizeof(float));
    f.regions = carve(&c, 0);
    f.region_bytes = (size_t)rows * (2 * (size_t)n * sizeof(float) + f.to_bytes);
    f.n_region = (int)MIN((p->cold_bytes - c.used) / f.region_bytes, FAR_ROUNDS);
    fill_floats(f.weights, (size_t)n);
    for (int round = 0; round < FAR_ROUNDS; round++)
        atomic_store(&p->next[round], 0);
    pool_run(p->pool, go_through_rows, &f);
    double each[FAR_ROUNDS];
    for (int round = 0; round < FAR_ROUNDS; round++)
        each[round] = (double)atomic_load(&f.ns[round]) * 1e-9 / ((double)rows * n * FAR_OPERATIONS);
    *seconds = median_of(each, FAR_ROUNDS);
    return OK;
}

/* ---- from one step to the next --------------------------------------------------------------------------------------------- */

enum { MEETINGS = 500 };

typedef struct Handover {
    Probes *probes;
    const Kernels *kernels;
    float *rows[2];
    int n;
} Handover;

/* Every thread writes its share of a row; when all have, each reads all of it. */
static void hand_over(void *arg, int thread, int n_thread) {
    const Handover *h = arg;
    const int share = h->n / n_thread, begin = thread * share, count = thread + 1 < n_thread ? share : h->n - begin;
    float *own = (float *)(void *)(h->probes->scratch + (size_t)thread * h->probes->scratch_bytes);
    for (int i = 0; i < MEETINGS; i++) {
        float *row = h->rows[i % 2];
        h->kernels->affine(row + begin, own, count, 0.5f, 1);
        pool_barrier(h->probes->pool);
        h->kernels->add(own, row, row, h->n);
    }
}

Status probe_handover(Probes *p, const Kernels *kernels, int n, double *seconds, Error *err) {
    Carve c = {.block = p->cold};
    const size_t bytes = ((size_t)n + 64) * sizeof(float);
    FAIL_IF(n < 1 || 2 * bytes > p->cold_bytes || bytes > p->scratch_bytes, ERR_ARGUMENT, "a row of %d numbers", n);
    Handover h = {.probes = p, .kernels = kernels, .n = n};
    h.rows[0] = carve(&c, bytes);
    h.rows[1] = carve(&c, bytes);
    *seconds = INFINITY;
    for (int i = 0; i < 4 * LEAST_SWEEPS; i++) {
        const uint64_t at = clock_ns();
        pool_run(p->pool, hand_over, &h);
        *seconds = fmin(*seconds, (double)(clock_ns() - at) * 1e-9 / MEETINGS);
    }
    return OK;
}
