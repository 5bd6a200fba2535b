/* run_experts.c - the experts of a layer: each expert's matrices are applied to all rows that chose it.
 *
 * A slot is one choice of one token. Slots are sorted by expert; a unit is 64 outputs of one expert for all its slots,
 * so that an expert's weights are read once per step. Units of one expert that follow each other are multiplied together
 * when there are few slots. */
#include "graph/program_parts.h"

#include "base/carve.h"

#include <string.h>

/* In a thread's scratch: slots sorted by expert, and where each expert's begin. */
typedef struct Sorted {
    int32_t *slots; /* [T * used] */
    int32_t *rows;  /* the token of each of them */
    int32_t *begin; /* [experts + 1] */
    int32_t *active; /* experts with slots, and how many there are before it */
    int32_t *n_active;
    float *gate, *up; /* [EXPERT_ROWS][64], or fewer and longer rows */
    uint8_t *kernel;
} Sorted;

static size_t cut_sorted(const Program *p, const Op *op, uint8_t *block, Sorted *s) {
    const size_t slots = (size_t)p->spec.max_rows * (size_t)op->u.experts.used, experts = (size_t)op->u.experts.experts;
    Carve c = {.block = block};
    s->kernel = carve(&c, LINEAR_SCRATCH_BYTES);
    s->gate = carve(&c, EXPERT_ROWS * LINEAR_UNIT * sizeof(float));
    s->up = carve(&c, EXPERT_ROWS * LINEAR_UNIT * sizeof(float));
    s->slots = carve(&c, slots * sizeof(int32_t));
    s->rows = carve(&c, slots * sizeof(int32_t));
    s->begin = carve(&c, (experts + 1) * sizeof(int32_t));
    s->active = carve(&c, experts * sizeof(int32_t));
    s->n_active = carve(&c, sizeof(int32_t));
    return c.used;
}

size_t experts_bytes(const Program *p, const Op *op) {
    Sorted s;
    return cut_sorted(p, op, NULL, &s);
}

/* Where the slots of the which-th active expert end. */
static int end_of(const Sorted *s, int which) {
    return which + 1 < *s->n_active ? s->begin[s->active[which + 1] + 1] : s->begin[0];
}

/* Has the experts read, while there is nothing else to read, that the next layer may choose: the better half of the guess, as
 * wrong ones are in the way of what is needed. 12 GB in 4, random weights, a disk of 1.2 GB/s: 24 tokens take
 * 26.6 s without guesses, 19.9 with half of them, 22.0 with all. */
static void guess_next(const Ctx *ctx, const Guess *guess, uint8_t *scratch) {
    const Weights *w = ctx->program->weights;
    const OpRoute *r = &guess->route->u.route;
    const int all = r->experts + r->zero_experts;
    float logits[MAX_ROUTED], chosen[2 * MAX_ROUTED];
    const float *vector[3];
    for (int i = 0; i < 3; i++)
        vector[i] = weight_vector(w, guess->route->weight[i]);
    for (int row = 0; row < ctx->batch->n_row; row++) {
        Matrix room;
        const LinearJob job = {.m = weight_acquire(w, guess->router->weight[0], 0, &room), .end = all,
                               .acts = ref_at(ctx, guess->seen, row), .n_row = 1, .out = logits, .scratch = scratch};
        ctx->kernels->linear[PRECISION_F32](&job);
        weight_release(w, guess->router->weight[0], 0);
        const float *bias = weight_vector(w, guess->router->weight[1]);
        if (bias != NULL)
            ctx->kernels->add(logits, logits, bias, all);
        route(ctx, r, vector, logits, ctx->batch->tokens[row], chosen);
        for (int k = 0; k < (r->used + 1) / 2; k++) {
            const int e = ((const int32_t *)(const void *)chosen)[k];
            for (int which = 0; which < 3 && e < r->experts; which++)
                weight_guess(w, guess->weights[which], e);
        }
    }
}

/* Tells what will be needed, in the order in which units are taken. */
static void announce(const Ctx *ctx, const Step *step, const Sorted *s) {
    const Weights *w = ctx->program->weights;
    const int *weights = step->op->weight, n = step->kind == STEP_EXPERTS_UP ? 2 : 1;
    weights_layer(w);
    for (int i = 0; i < *s->n_active; i++) {
        const int e = s->active[i], slots = end_of(s, i) - s->begin[e + 1];
        for (int k = 0; k < n; k++)
            weight_use(w, weights[k], e, (float)slots / (float)ctx->batch->n_row);
    }
    for (int i = 0; i < *s->n_active && step->next_weight >= 0; i++)
        weight_prefetch(w, step->next_weight, s->active[i]);
    if (step->guess.route != NULL && ctx->batch->n_row <= FEW_ROWS)
        guess_next(ctx, &step->guess, s->kernel);
}

void experts_begin(const Ctx *ctx, const Step *step) {
    const int used = step->op->u.experts.used, experts = step->op->u.experts.experts, rows = ctx->batch->n_row;
    Sorted s;
    cut_sorted(ctx->program, step->op, ctx->scratch, &s);
    memset(s.begin, 0, ((size_t)experts + 1) * sizeof *s.begin);
    for (int r = 0; r < rows; r++) {
        const int32_t *chosen = (const int32_t *)(const void *)ref_at(ctx, step->in[1], r);
        for (int k = 0; k < used; k++)
            if (chosen[k] < experts) /* those beyond are identities, without weights */
                s.begin[chosen[k] + 1]++;
    }
    *s.n_active = 0;
    int32_t total = 0;
    for (int e = 0; e < experts; e++) {
        if (s.begin[e + 1] > 0)
            s.active[(*s.n_active)++] = e;
        total += s.begin[e + 1];
        s.begin[e + 1] = total;
    }
    s.begin[0] = total;
    for (int r = rows - 1; r >= 0; r--) { /* from the back: begin[e + 1] moves down to where expert e begins */
        const int32_t *chosen = (const int32_t *)(const void *)ref_at(ctx, step->in[1], r);
        for (int k = used - 1; k >= 0; k--) {
            if (chosen[k] >= experts)
                continue;
            const int32_t at = --s.begin[chosen[k] + 1];
            s.slots[at] = r * used + k;
            s.rows[at] = r;
        }
    }
    /* Now begin[e + 1] is the first slot of expert e, which ends where the next active one begins; begin[0] is the end
     * of the last. */
    if (ctx->thread == 0 && weights_streamed(ctx->program->weights))
        announce(ctx, step, &s);
}

int experts_units(const Ctx *ctx, const Step *step) {
    Sorted s;
    cut_sorted(ctx->program, step->op, ctx->scratch, &s);
    return *s.n_active * ((step->out.width + LINEAR_UNIT - 1) / LINEAR_UNIT);
}

static float weight_of_slot(const Ctx *ctx, const Step *step, int slot) {
    const int used = step->op->u.experts.used;
    return ref_floats(ctx, step->in[1], slot / used)[used + slot % used];
}

/* h = act(gate x) * (up x), or act(up x), for the slots [from, to) of an expert. */
static void experts_up(const Ctx *ctx, const Step *step, Sorted *s, int e, int from, int to, int begin, int end) {
    const Op *op = step->op;
    const Weights *w = ctx->program->weights;
    const size_t out_slot = slot_bytes(ctx->program, step->out);
    const int n = end - begin, dim = step->out.width, stride = MAX(n, LINEAR_UNIT);
    const int most = EXPERT_ROWS * LINEAR_UNIT / stride;
    LinearJob job = {.begin = begin, .end = end, .acts = ref_at(ctx, step->in[0], 0),
                     .act_bytes = slot_bytes(ctx->program, step->in[0]), .out_stride = (size_t)stride,
                     .scratch = s->kernel};
    for (int at = from; at < to; at += most) {
        job.act_rows = s->rows + at;
        job.n_row = MIN(most, to - at);
        for (int which = op->u.experts.no_gate ? 1 : 0; which < 2; which++) {
            float *y = which == 0 ? s->gate : s->up;
            job.out = y - begin;
            Matrix room;
            job.m = weight_acquire(w, op->weight[which], e, &room);
            ctx->kernels->linear[step->precision](&job);
            weight_release(w, op->weight[which], e);
            const float *bias = step->vector[which];
            for (int r = 0; r < job.n_row; r++, y += stride) {
                if (op->u.experts.scale_input) /* the product is linear in its input */
                    ctx->kernels->affine(y, y, n, weight_of_slot(ctx, step, s->slots[at + r]), 0);
                if (bias != NULL)
                    ctx->kernels->add(y, y, bias + (size_t)e * (size_t)dim + begin, n);
            }
        }
        for (int r = 0; r < job.n_row; r++) {
            float *h = (float *)(void *)(ref_at(ctx, step->out, 0) + (size_t)s->slots[at + r] * out_slot) + begin;
            const float *g = s->gate + r * stride, *u = s->up + r * stride;
            if (op->u.experts.no_gate)
                ctx->kernels->act(h, u, n, op->u.experts.act);
            else
                apply_glu(ctx->kernels, &op->u.experts.glu, h, g, u, n);
        }
    }
}

static void experts_down(const Ctx *ctx, const Step *step, Sorted *s, int e, int from, int to, int begin, int end) {
    const Weights *w = ctx->program->weights;
    const size_t out_slot = slot_bytes(ctx->program, step->out);
    const int n = end - begin, stride = MAX(n, LINEAR_UNIT), most = EXPERT_ROWS * LINEAR_UNIT / stride;
    LinearJob job = {.begin = begin, .end = end, .acts = ref_at(ctx, step->in[0], 0),
                     .act_bytes = slot_bytes(ctx->program, step->in[0]), .out_stride = (size_t)stride,
                     .scratch = s->kernel};
    Matrix room;
    job.m = weight_acquire(w, step->op->weight[0], e, &room);
    for (int at = from; at < to; at += most) {
        job.act_rows = s->slots + at;
        job.n_row = MIN(most, to - at);
        job.out = s->gate - begin;
        ctx->kernels->linear[step->precision](&job);
        for (int r = 0; r < job.n_row; r++) {
            float *y = (float *)(void *)(ref_at(ctx, step->out, 0) + (size_t)s->slots[at + r] * out_slot) + begin;
            memcpy(y, s->gate + r * stride, (size_t)n * sizeof *y);
            if (step->vector[0] != NULL)
                ctx->kernels->add(y, y, step->vector[0] + (size_t)e * (size_t)step->out.width + begin, n);
        }
    }
    weight_release(w, step->op->weight[0], e);
}

void run_experts(const Ctx *ctx, const Step *step, int unit, int n) {
    Sorted s;
    cut_sorted(ctx->program, step->op, ctx->scratch, &s);
    const int per_expert = (step->out.width + LINEAR_UNIT - 1) / LINEAR_UNIT;
    for (int take; n > 0; n -= take, unit += take) {
        const int which = unit / per_expert, e = s.active[which], first = unit % per_expert;
        const int from = s.begin[e + 1];
        const int to = end_of(&s, which);
        take = MIN(MIN(n, per_expert - first), MAX(1, EXPERT_ROWS / (to - from)));
        const int begin = first * LINEAR_UNIT, end = MIN(begin + take * LINEAR_UNIT, step->out.width);
        if (step->kind == STEP_EXPERTS_UP)
            experts_up(ctx, step, &s, e, from, to, begin, end);
        else
            experts_down(ctx, step, &s, e, from, to, begin, end);
        if (first + take == per_expert) /* units are taken in order: others are at work on it, or through */
            for (int k = 0; k < (step->kind == STEP_EXPERTS_UP ? 2 : 1); k++)
                weight_done(ctx->program->weights, step->op->weight[k], e);
    }
}
