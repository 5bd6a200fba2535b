/* run.c - running a program: threads walk its steps, taking units of work and meeting at barriers. */
#include "graph/program_parts.h"

#include "base/clock.h"

#include <limits.h>
#include <string.h>

/* ---- making a program -------------------------------------------------------------------------------------------------- */

static size_t rounded(size_t bytes) {
    return (bytes + 4095) & ~(size_t)4095;
}

static void size_up(Program *p) {
    const ProgramSpec *spec = &p->spec;
    p->scratch_bytes = linear_bytes(p);
    for (int i = 0; i < p->n_step; i++) {
        const Step *s = &p->steps[i];
        if (s->kind == STEP_MIX && s->mix->scratch != NULL)
            p->scratch_bytes = MAX(p->scratch_bytes, s->mix->scratch(p, s->op));
        if (s->kind == STEP_MIX && s->mix->shared != NULL)
            p->shared_bytes = MAX(p->shared_bytes, s->mix->shared(p, s->op));
        if (s->kind == STEP_EXPERTS_UP || s->kind == STEP_EXPERTS_DOWN)
            p->scratch_bytes = MAX(p->scratch_bytes, experts_bytes(p, s->op));
    }
    p->scratch_bytes = rounded(p->scratch_bytes);
    p->shared_bytes = rounded(p->shared_bytes);
    p->own_bytes = rounded((p->all_bytes + p->wanted_bytes) * FEW_ROWS);
    p->memory_bytes = rounded(p->all_bytes * (size_t)spec->max_rows) + rounded(p->wanted_bytes * (size_t)spec->max_wanted) +
                      p->shared_bytes + (p->scratch_bytes + p->own_bytes) * (size_t)spec->n_thread;
}

Status program_plan(const Graph *graph, const Weights *weights, ProgramSpec spec, Program **out, Error *err) {
    *out = NULL;
    FAIL_IF(spec.max_rows < 1 || spec.max_wanted < 1 || spec.n_thread < 1, ERR_ARGUMENT, "a program for no rows");
    Program *p = mem_zalloc(sizeof *p, MEM_GRAPH);
    FAIL_IF(p == NULL, ERR_MEMORY, "no memory for the program");
    arena_init(&p->arena, MEM_GRAPH);
    p->graph = graph;
    p->weights = weights;
    p->spec = spec;
    Status status = lower(p, err);
    if (status == OK)
        status = plan(p, err);
    if (status != OK) {
        program_close(p);
        return status;
    }
    size_up(p);
    *out = p;
    return OK;
}

Status program_open(const Graph *graph, const Weights *weights, ProgramSpec spec, Program **out, Error *err) {
    Program *p;
    TRY(program_plan(graph, weights, spec, &p, err));
    *out = NULL;
    p->memory = mem_alloc_aligned(p->memory_bytes, MEM_SCRATCH);
    p->next_unit = mem_array((size_t)p->n_step + 1, sizeof *p->next_unit, MEM_GRAPH);
    p->threads = mem_array((size_t)spec.n_thread, sizeof *p->threads, MEM_GRAPH);
    p->times = spec.profile ? mem_array(step_times(p), sizeof *p->times, MEM_GRAPH) : NULL;
    if (p->memory == NULL || p->next_unit == NULL || p->threads == NULL || (spec.profile && p->times == NULL)) {
        char size[16];
        error_set(err, ERR_MEMORY, "no memory for %s of scratch", format_bytes(p->memory_bytes, size));
        program_close(p);
        return ERR_MEMORY;
    }
    uint8_t *at = p->memory;
    p->all = at;
    at += rounded(p->all_bytes * (size_t)spec.max_rows);
    p->wanted = at;
    at += rounded(p->wanted_bytes * (size_t)spec.max_wanted);
    p->shared = at;
    at += p->shared_bytes;
    for (int i = 0; i < spec.n_thread; i++) {
        p->threads[i] = (Ctx){.program = p, .kernels = spec.kernels, .thread = i, .scratch = at, .own = at + p->scratch_bytes};
        at += p->scratch_bytes + p->own_bytes;
    }
    *out = p;
    return OK;
}

Status program_bytes(const Graph *graph, const Weights *weights, ProgramSpec spec, size_t *bytes, Error *err) {
    Program *p;
    TRY(program_plan(graph, weights, spec, &p, err));
    *bytes = p->memory_bytes;
    program_close(p);
    return OK;
}

void program_close(Program *p) {
    if (p == NULL)
        return;
    for (int i = 0; i < p->n_step; i++)
        mem_free(p->steps[i].row_ops);
    mem_free(p->steps);
    mem_free(p->buffers);
    mem_free(p->memory);
    mem_free(p->next_unit);
    mem_free(p->times);
    mem_free(p->threads);
    arena_free(&p->arena);
    mem_free(p);
}

/* ---- running ------------------------------------------------------------------------------------------------------------- */

/* Rows in runs of this many per take: fine enough to share out, coarse enough to be worth the counter. */
enum { ROWS_PER_UNIT = 4 };

static void run_rows(const Ctx *ctx, const Step *step, int begin, int end) {
    for (int row = begin; row < end; row++)
        for (int i = 0; i < step->n_row_op; i++)
            step->row_ops[i].run(ctx, &step->row_ops[i], row);
}

static int units_of(const Ctx *ctx, const Step *step) {
    switch (step->kind) {
    case STEP_LINEAR: return step->n_unit;
    case STEP_MIX: return step->mix->units(ctx, step);
    case STEP_EXPERTS_UP: case STEP_EXPERTS_DOWN: return experts_units(ctx, step);
    default: return (rows_of_kind(ctx->batch, step->rows) + ROWS_PER_UNIT - 1) / ROWS_PER_UNIT;
    }
}

static bool waits_for_weights(const Step *step, int rows) {
    const bool weights = step->kind == STEP_LINEAR || step->kind == STEP_EXPERTS_UP || step->kind == STEP_EXPERTS_DOWN;
    return weights && rows <= LINEAR_FEW_ROWS;
}

/* How many units of a linear step with few rows a thread begins with: three quarters of its share, always those of its own
 * place, so that it can fetch their weights while it is still busy with the step before. */
static int units_to_begin_with(const Ctx *ctx, const Step *step, int rows) {
    return step->kind == STEP_LINEAR && waits_for_weights(step, rows) ? step->n_unit * 3 / (4 * ctx->n_thread) : 0;
}

/* Units [at, at + n) of a step. */
typedef struct Take {
    int at, n; /* n = 0: all are taken */
} Take;

/* Takes the next units of a step, after the first `taken`. Weights that few rows wait for are read fastest in long runs: a
 * thread takes three quarters of its share of what is left, so that all end together. */
static Take take_units(const Ctx *ctx, const Step *step, atomic_int *next, int taken, int units, int rows) {
    if (!waits_for_weights(step, rows)) {
        const int at = atomic_fetch_add_explicit(next, 1, memory_order_relaxed);
        return (Take){at, at < units};
    }
    int at = atomic_load_explicit(next, memory_order_relaxed), n;
    do {
        if (taken + at >= units)
            return (Take){units, 0};
        n = MAX(1, (units - taken - at) * 3 / (4 * ctx->n_thread));
    } while (!atomic_compare_exchange_weak_explicit(next, &at, at + n, memory_order_relaxed, memory_order_relaxed));
    return (Take){taken + at, n};
}

/* The weights that a thread begins its next linear step with, behind step i; NULL: not known. */
static const uint8_t *weights_of_next_step(const Ctx *ctx, int i) {
    const Program *p = ctx->program;
    while (++i < p->n_step && p->steps[i].kind != STEP_LINEAR)
        ;
    const Step *step = i < p->n_step ? &p->steps[i] : NULL;
    const int first = step != NULL ? units_to_begin_with(ctx, step, rows_of_kind(ctx->batch, step->rows)) : 0;
    return first > 0 ? linear_weights(ctx, step, ctx->thread * first) : NULL;
}

/* The units of linear step i with few rows, what comes next in hand while a thread is at work. */
static void run_linear_few(const Ctx *ctx, int i, atomic_int *next, int rows) {
    const Step *step = &ctx->program->steps[i];
    const int first = units_to_begin_with(ctx, step, rows), taken = first * ctx->n_thread;
    Take now = first > 0 ? (Take){ctx->thread * first, first} : take_units(ctx, step, next, taken, step->n_unit, rows);
    while (now.n > 0) {
        const Take then = take_units(ctx, step, next, taken, step->n_unit, rows);
        run_linear(ctx, step, now.at, now.n, then.n > 0 ? linear_weights(ctx, step, then.at) : weights_of_next_step(ctx, i));
        now = then;
    }
}

static void run_units(const Ctx *ctx, const Step *step, int unit, int n) {
    switch (step->kind) {
    case STEP_LINEAR: run_linear(ctx, step, unit, n, NULL); break;
    case STEP_MIX: step->mix->run(ctx, step, unit); break;
    case STEP_EXPERTS_UP: case STEP_EXPERTS_DOWN: run_experts(ctx, step, unit, n); break;
    default: {
        const int rows = rows_of_kind(ctx->batch, step->rows);
        const int begin = unit * ROWS_PER_UNIT;
        run_rows(ctx, step, begin, MIN(begin + ROWS_PER_UNIT, rows));
    }
    }
}

/* What has passed since the last call belongs to *ns. */
static void note_time(uint64_t *ns, uint64_t *since) {
    const uint64_t now = clock_ns();
    *ns += now - *since;
    *since = now;
}

static void thread_main(void *arg, int thread, int n_thread) {
    Program *p = arg;
    StepTime *const times = step_times_of(p, phase_of(p->batch), thread); /* NULL: not wanted */
    uint64_t since = times != NULL ? clock_ns() : 0;
    Ctx *ctx = &p->threads[thread];
    ctx->batch = p->batch;
    ctx->n_thread = n_thread;
    ctx->own_all = p->batch->n_row <= FEW_ROWS;
    ctx->own_wanted = p->batch->n_wanted <= FEW_ROWS;
    for (int i = 0; i < p->n_step; i++) {
        const Step *step = &p->steps[i];
        const int rows = rows_of_kind(ctx->batch, step->rows);
        if (step->kind == STEP_ROWS && (step->rows == ROWS_WANTED ? ctx->own_wanted : ctx->own_all)) {
            run_rows(ctx, step, 0, rows);
            if (times != NULL)
                note_time(&times[i].work_ns, &since);
            continue;
        }
        if (step->may_skip && step->mix->units(ctx, step) == 0)
            continue; /* not needed this time, as all threads find */
        if (rows > 0) {
            if (step->kind == STEP_EXPERTS_UP || step->kind == STEP_EXPERTS_DOWN)
                experts_begin(ctx, step);
            const int units = units_of(ctx, step);
            if (step->kind == STEP_LINEAR && waits_for_weights(step, rows)) {
                run_linear_few(ctx, i, &p->next_unit[i], rows);
            } else {
                for (Take t; (t = take_units(ctx, step, &p->next_unit[i], 0, units, rows)).n > 0;)
                    run_units(ctx, step, t.at, t.n);
            }
        }
        if (thread == 0 && ctx->batch->stop != NULL && ctx->batch->stop(ctx->batch->user))
            atomic_store(&p->stop_behind, i);
        if (times != NULL)
            note_time(&times[i].work_ns, &since);
        pool_barrier(ctx->pool);
        if (times != NULL)
            note_time(&times[i].wait_ns, &since);
        if (atomic_load_explicit(&p->stop_behind, memory_order_relaxed) <= i)
            return; /* all at the same barrier: who is late may see here what was said at the next one */
    }
}

/* What a network demands of texts as wholes. */
static Status check_texts(const Graph *g, const Batch *batch, Error *err) {
    for (int i = 0; i < batch->n_run; i++) {
        const Run *run = &batch->runs[i];
        const int before = sequence_tokens(run->sequence);
        FAIL_IF(g->places > 0 && before + run->n_row > g->places, ERR_LIMIT, "a text of %d tokens; the model knows %d positions",
                before + run->n_row, g->places);
        FAIL_IF(g->whole_texts && before > 0, ERR_LIMIT,
                "the model reads a text as a whole, and %d of its tokens were computed before: a step must have room for all",
                before);
    }
    for (int i = 0; batch->segments != NULL && g->segments > 0 && i < batch->n_row; i++)
        FAIL_IF(batch->segments[i] >= g->segments, ERR_ARGUMENT, "segment %d of a text; the model knows %d", batch->segments[i],
                g->segments);
    return OK;
}

Status program_run(Program *p, Pool *pool, const Batch *batch, Error *err) {
    FAIL_IF(batch->n_row < 1 || batch->n_row > p->spec.max_rows || batch->n_wanted > p->spec.max_wanted, ERR_INTERNAL,
            "a step of %d rows, %d wanted, in a program for %d and %d", batch->n_row, batch->n_wanted, p->spec.max_rows,
            p->spec.max_wanted);
    FAIL_IF(pool_threads(pool) > p->spec.n_thread, ERR_INTERNAL, "a program for %d threads runs on %d", p->spec.n_thread,
            pool_threads(pool));
    for (int i = 0; i < batch->n_row; i++)
        FAIL_IF(batch->tokens[i] < 0 || batch->tokens[i] >= p->graph->vocab_rows, ERR_ARGUMENT,
                "token %d is outside the vocabulary of %d", batch->tokens[i], p->graph->vocab_rows);
    TRY(check_texts(p->graph, batch, err));
    p->batch = batch;
    weights_step(p->weights, batch->n_row);
    atomic_store(&p->stop_behind, INT_MAX);
    for (int i = 0; i < p->n_step; i++)
        atomic_store_explicit(&p->next_unit[i], 0, memory_order_relaxed);
    for (int i = 0; i < p->spec.n_thread; i++)
        p->threads[i].pool = pool;
    pool_run(pool, thread_main, p);
    p->runs[phase_of(batch)]++;
    FAIL_IF(atomic_load(&p->stop_behind) < INT_MAX, ERR_CANCELLED, "stopped");
    return weights_check(p->weights, err);
}

static const float *row_of_value(const Program *p, Val v, int row, int *width) {
    if (v == NO_VAL)
        return NULL;
    const Value *value = &p->graph->values[v];
    const Val base = value->base != NO_VAL ? value->base : v;
    const Ref ref = {.buffer = p->buffer_of_value[base], .offset = (size_t)value->offset * sizeof(float)};
    *width = value->width;
    return ref_floats(&p->threads[0], ref, row);
}

const float *program_logits(const Program *p, int row) {
    int width;
    return row_of_value(p, p->graph->output, row, &width);
}

const float *program_hidden(const Program *p, int layer, int row, int *width) {
    return row_of_value(p, layer <= p->graph->n_layer ? p->graph->hidden[layer] : NO_VAL, row, width);
}

const float *program_last_hidden(const Program *p, int row, int *width) {
    return row_of_value(p, p->graph->last_hidden, row, width);
}

const char *step_kind_word(StepKind kind) {
    static const char *const words[] = {"rows", "linear", "store", "mix", "experts up", "experts down"};
    return words[kind];
}
