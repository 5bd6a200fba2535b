/* run_rows.c - row operations of a program: what one token has at one place of the network. */
#include "graph/program_parts.h"

#include <math.h>
#include <string.h>

const Run *run_of_row(const Batch *batch, int row) {
    int low = 0, high = batch->n_run - 1;
    while (low < high) {
        const int middle = (low + high + 1) / 2;
        if (batch->runs[middle].row0 <= row)
            low = middle;
        else
            high = middle - 1;
    }
    return &batch->runs[low];
}

int place_of_row(const Batch *batch, int row) {
    const Run *run = run_of_row(batch, row);
    return sequence_tokens(run->sequence) + row - run->row0;
}

static int table_row(const Batch *batch, const OpEmbed *spec, int row) {
    if (spec->by == BY_PLACE)
        return spec->first + place_of_row(batch, row);
    if (spec->by == BY_SEGMENT)
        return batch->segments != NULL ? batch->segments[row] : 0;
    for (int i = 0; i < spec->blanks.n; i++)
        if (spec->blanks.token[i] == batch->tokens[row])
            return spec->blanks.as;
    return batch->tokens[row];
}

static void row_embed(const Ctx *ctx, const RowOp *op, int row) {
    const int at = table_row(ctx->batch, &op->op->u.embed, row);
    weight_decode_row(ctx->program->weights, op->op->weight[0], 0, at, op->out.width, ctx->scratch, ref_floats(ctx, op->out, row));
}

static void row_wanted(const Ctx *ctx, const RowOp *op, int row) {
    memcpy(ref_floats(ctx, op->out, row), ref_floats(ctx, op->in[0], ctx->batch->wanted[row]),
           (size_t)op->out.width * sizeof(float));
}

static void row_norm(const Ctx *ctx, const RowOp *op, int row) {
    const OpNorm *n = &op->op->u.norm;
    const float *x = ref_floats(ctx, op->in[0], row);
    float *y = ref_floats(ctx, op->out, row);
    for (int i = 0, run = 0; i < op->out.width; i += n->run, run++) {
        const size_t at = (size_t)(run % n->weight_runs) * (size_t)n->run;
        const float *weight = op->vector[0] != NULL ? op->vector[0] + at : NULL;
        if (n->kind == NORM_RMS)
            ctx->kernels->rms_norm(y + i, x + i, weight, n->run, n->eps, n->plus);
        else if (n->kind == NORM_LAYER)
            ctx->kernels->layer_norm(y + i, x + i, weight, op->vector[1] != NULL ? op->vector[1] + at : NULL, n->run, n->eps);
        else
            ctx->kernels->l2_norm(y + i, x + i, n->run, n->eps);
    }
}

static void row_add(const Ctx *ctx, const RowOp *op, int row) {
    ctx->kernels->add(ref_floats(ctx, op->out, row), ref_floats(ctx, op->in[0], row), ref_floats(ctx, op->in[1], row),
                      op->out.width);
}

static void row_mul(const Ctx *ctx, const RowOp *op, int row) {
    float *y = ref_floats(ctx, op->out, row);
    const float *a = ref_floats(ctx, op->in[0], row), *b = ref_floats(ctx, op->in[1], row);
    const int runs = op->in[1].width, run = op->out.width / runs;
    if (run == 1)
        ctx->kernels->mul(y, a, b, runs);
    else
        for (int i = 0; i < runs; i++)
            ctx->kernels->affine(y + i * run, a + i * run, run, b[i], 0);
}

static void row_affine(const Ctx *ctx, const RowOp *op, int row) {
    ctx->kernels->affine(ref_floats(ctx, op->out, row), ref_floats(ctx, op->in[0], row), op->out.width,
                         op->op->u.affine.factor, op->op->u.affine.plus);
}

static void row_act(const Ctx *ctx, const RowOp *op, int row) {
    ctx->kernels->act(ref_floats(ctx, op->out, row), ref_floats(ctx, op->in[0], row), op->out.width, op->op->u.act.act);
}

static void row_cap(const Ctx *ctx, const RowOp *op, int row) {
    ctx->kernels->softcap(ref_floats(ctx, op->out, row), ref_floats(ctx, op->in[0], row), op->out.width, op->op->u.cap.cap);
}

static void row_softmax(const Ctx *ctx, const RowOp *op, int row) {
    const float *x = ref_floats(ctx, op->in[0], row);
    float *y = ref_floats(ctx, op->out, row);
    for (int i = 0; i < op->out.width; i += op->op->u.act.run)
        ctx->kernels->softmax(y + i, x + i, op->op->u.act.run);
}

static void row_glu(const Ctx *ctx, const RowOp *op, int row) {
    apply_glu(ctx->kernels, &op->op->u.glu, ref_floats(ctx, op->out, row), ref_floats(ctx, op->in[0], row),
              ref_floats(ctx, op->in[1], row), op->out.width);
}

static void row_runs(const Ctx *ctx, const RowOp *op, int row) {
    const OpRuns *r = &op->op->u.runs;
    float *y = ref_floats(ctx, op->out, row);
    const float *a = ref_floats(ctx, op->in[0], row) + r->a_begin;
    const float *b = op->in[1].buffer >= 0 ? ref_floats(ctx, op->in[1], row) + r->b_begin : NULL;
    for (int i = 0; i < r->runs; i++) {
        memcpy(y, a + (size_t)(i / r->a_repeat) * (size_t)r->a_stride, (size_t)r->a_width * sizeof *y);
        y += r->a_width;
        if (b != NULL)
            memcpy(y, b + (size_t)i * (size_t)r->b_stride, (size_t)r->b_width * sizeof *y);
        y += r->b_width;
    }
}

static void row_weight_mul(const Ctx *ctx, const RowOp *op, int row) {
    float *y = ref_floats(ctx, op->out, row);
    const float *x = ref_floats(ctx, op->in[0], row), *w = op->vector[0];
    const int n = op->op->u.vector.n, run = op->out.width / n;
    if (run == 1) {
        ctx->kernels->mul(y, x, w, n);
    } else if (op->op->u.vector.repeated && n > 1) {
        for (int i = 0; i < op->out.width; i += n)
            ctx->kernels->mul(y + i, x + i, w, n);
    } else {
        for (int i = 0; i < n; i++)
            ctx->kernels->affine(y + i * run, x + i * run, run, w[i], 0);
    }
}

static void row_weight_add(const Ctx *ctx, const RowOp *op, int row) {
    ctx->kernels->add(ref_floats(ctx, op->out, row), ref_floats(ctx, op->in[0], row), op->vector[0], op->out.width);
}

void row_angles(const Ctx *ctx, const RowOp *op, int row) {
    const RopeTable *table = &ctx->program->graph->ropes[op->parts];
    const Run *run = run_of_row(ctx->batch, row);
    const int place = place_of_row(ctx->batch, row) / table->stride * table->stride;
    float *cosine = ref_floats(ctx, op->out, row);
    rope_angles(&table->rope, place, sequence_declared(run->sequence), cosine, cosine + table->rope.dim / 2);
}

static void row_rope(const Ctx *ctx, const RowOp *op, int row) {
    const OpRope *spec = &op->op->u.rope;
    const Rope *rope = &ctx->program->graph->ropes[spec->table].rope;
    const float *x = ref_floats(ctx, op->in[0], row), *angles = ref_floats(ctx, op->in[2], row);
    float *y = ref_floats(ctx, op->out, row);
    memcpy(y, x, (size_t)op->out.width * sizeof *y);
    float inverse[1024];
    const int half = rope->dim / 2;
    const float *sine = angles + half;
    if (spec->at.inverse && half <= (int)COUNT(inverse)) {
        for (int i = 0; i < half; i++)
            inverse[i] = -sine[i];
        sine = inverse;
    }
    for (int h = 0; h < spec->at.heads; h++)
        ctx->kernels->rope(y + h * spec->run + spec->at.begin, angles, sine, rope->dim, rope->interleaved);
}

static void row_position_scale(const Ctx *ctx, const RowOp *op, int row) {
    const int place = place_of_row(ctx->batch, row) + op->op->u.position.plus;
    const float steps = (float)(place / op->op->u.position.floor_at);
    const float factor = 1.0f + op->op->u.position.scale * logf(steps + 1.0f);
    ctx->kernels->affine(ref_floats(ctx, op->out, row), ref_floats(ctx, op->in[0], row), op->out.width, factor, 0);
}

/* ---- experts ---- */

/* The `n` best of `count` scores, best first, the lower index first among equals; chosen ones become -inf. */
static void choose_best(float *scores, int count, int n, int32_t *chosen) {
    for (int k = 0; k < n; k++) {
        int best = 0;
        for (int e = 1; e < count; e++)
            if (scores[e] > scores[best])
                best = e;
        chosen[k] = best;
        scores[best] = -INFINITY;
    }
}

/* Leaves only the best groups of experts in the choice. */
static void limit_groups(const OpRoute *r, float *choice) {
    const int size = r->experts / r->groups;
    float best[256];
    int32_t chosen[256];
    const int groups = MIN(r->groups, (int)COUNT(best));
    for (int g = 0; g < groups; g++) {
        float first = -INFINITY, second = -INFINITY;
        for (int e = g * size; e < (g + 1) * size; e++) {
            if (choice[e] > first) {
                second = first;
                first = choice[e];
            } else if (choice[e] > second) {
                second = choice[e];
            }
        }
        best[g] = r->group_by_top2 ? first + second : first;
    }
    bool keep[256] = {false};
    choose_best(best, groups, MIN(r->groups_used, groups), chosen);
    for (int i = 0; i < MIN(r->groups_used, groups); i++)
        keep[chosen[i]] = true;
    for (int e = 0; e < r->experts; e++)
        if (!keep[MIN(e / size, groups - 1)])
            choice[e] = -INFINITY;
}

void route(const Ctx *ctx, const OpRoute *r, const float *const vector[3], const float *logits, int32_t token, float *out) {
    const int all = r->experts + r->zero_experts;
    int32_t *chosen = (int32_t *)(void *)out;
    float *weight = out + r->used;
    float scores[MAX_ROUTED], choice[MAX_ROUTED];
    switch (r->score) {
    case SCORE_SOFTMAX: ctx->kernels->softmax(scores, logits, all); break;
    case SCORE_SIGMOID: ctx->kernels->act(scores, logits, all, ACT_SIGMOID); break;
    case SCORE_SOFTMAX_TOPK: case SCORE_SIGMOID_TOPK: memcpy(scores, logits, (size_t)all * sizeof *scores); break;
    case SCORE_SQRT_SOFTPLUS:
        for (int e = 0; e < all; e++)
            scores[e] = sqrtf(logits[e] > 20 ? logits[e] : log1pf(expf(logits[e])));
        break;
    }
    if (vector[2] != NULL) { /* chosen by the token's id */
        const float *table = vector[2] + (size_t)token * (size_t)r->used;
        for (int k = 0; k < r->used; k++) {
            const int e = (int)table[k];
            chosen[k] = e >= 0 && e < all ? e : 0;
        }
    } else {
        memcpy(choice, scores, (size_t)all * sizeof *choice);
        if (vector[0] != NULL)
            ctx->kernels->add(choice, choice, vector[0], all);
        if (r->groups > 1)
            limit_groups(r, choice);
        choose_best(choice, all, r->used, chosen);
    }
    float sum = 0;
    for (int k = 0; k < r->used; k++) {
        weight[k] = scores[chosen[k]];
        sum += weight[k];
    }
    sum = MAX(sum, r->renormalise_min);
    if (r->score == SCORE_SOFTMAX_TOPK)
        ctx->kernels->softmax(weight, weight, r->used);
    else if (r->score == SCORE_SIGMOID_TOPK)
        ctx->kernels->act(weight, weight, r->used, ACT_SIGMOID);
    else if (r->renormalise)
        for (int k = 0; k < r->used; k++)
            weight[k] /= sum + r->renormalise_eps;
    for (int k = 0; k < r->used; k++)
        weight[k] *= r->scale * (vector[1] != NULL ? vector[1][chosen[k]] : 1.0f);
}

static void row_route(const Ctx *ctx, const RowOp *op, int row) {
    route(ctx, &op->op->u.route, op->vector, ref_floats(ctx, op->in[0], row), ctx->batch->tokens[row],
          ref_floats(ctx, op->out, row));
}

/* The weighted sum of the slots' outputs, in the order of choice. */
static void row_combine(const Ctx *ctx, const RowOp *op, int row) {
    const int used = op->op->u.experts.used, experts = op->op->u.experts.experts;
    const float *route = ref_floats(ctx, op->in[1], row);
    const int32_t *chosen = (const int32_t *)(const void *)route;
    const float *weight = route + used;
    float *y = ref_floats(ctx, op->out, row);
    const size_t slot = slot_bytes(ctx->program, op->in[0]) / sizeof(float);
    const float *x = ref_floats(ctx, op->in[0], row), *input = ref_floats(ctx, op->in[2], row);
    memset(y, 0, (size_t)op->out.width * sizeof *y);
    for (int k = 0; k < used; k++) {
        const bool identity = chosen[k] >= experts;
        const float w = op->op->u.experts.scale_input && !identity ? 1.0f : weight[k];
        ctx->kernels->axpy(y, identity ? input : x + (size_t)k * slot, op->out.width, w);
    }
}

/* ---- conversions and caches ---- */

void row_convert(const Ctx *ctx, const RowOp *op, int row) {
    const Program *p = ctx->program;
    const int slots = p->buffers[op->out.buffer].per_row, width = op->out.width;
    const size_t in_slot = slot_bytes(p, op->in[0]), out_slot = slot_bytes(p, op->out);
    const size_t out_part = act_form_bytes(op->form, width);
    for (int s = 0; s < slots; s++) {
        const float *x = (const float *)(const void *)(ref_at(ctx, op->in[0], row) + (size_t)s * in_slot);
        uint8_t *y = ref_at(ctx, op->out, row) + (size_t)s * out_slot;
        for (int i = 0; i < op->parts; i++)
            act_form_convert(ctx->kernels, op->form, y + (size_t)i * out_part, x + (size_t)i * (size_t)width, width);
    }
}

void row_store(const Ctx *ctx, const RowOp *op, int row) {
    const State state = op->op->state;
    const RowState *rows = &ctx->program->graph->states[state].rows;
    const Run *run = run_of_row(ctx->batch, row);
    const Cache *cache = sequence_cache(run->sequence);
    const int place = sequence_tokens(run->sequence) + row - run->row0, entry = place / rows->stride;
    if ((place + 1) % rows->stride != 0)
        return; /* an entry over several tokens is made by the last of them */
    const size_t stride = cache_stride_bytes(cache, state), head = cache_head_bytes(cache, state);
    uint8_t *at = sequence_page(run->sequence, state, entry) + (size_t)(entry % CACHE_BLOCK) * stride;
    const float *x = ref_floats(ctx, op->in[0], row);
    for (int h = 0; h < rows->heads; h++)
        ctx->kernels->cache_store(cache_type_of(cache, state), at + (size_t)h * head, x + h * rows->width, rows->width);
}

const MixOps *mix_ops_of(OpKind kind) {
    switch (kind) {
    case OP_ATTEND: return &mix_attend;
    case OP_CHOOSE: return &mix_choose;
    case OP_CONV: return &mix_conv;
    case OP_RECUR: return &mix_recur;
    default: return NULL;
    }
}

RowFn row_fn_of(OpKind kind) {
    switch (kind) {
    case OP_EMBED: return row_embed;
    case OP_WANTED: return row_wanted;
    case OP_NORM: return row_norm;
    case OP_ADD: return row_add;
    case OP_MUL: return row_mul;
    case OP_AFFINE: return row_affine;
    case OP_ACT: return row_act;
    case OP_CAP: return row_cap;
    case OP_SOFTMAX: return row_softmax;
    case OP_GLU: return row_glu;
    case OP_RUNS: return row_runs;
    case OP_WEIGHT_MUL: return row_weight_mul;
    case OP_WEIGHT_ADD: return row_weight_add;
    case OP_ROPE: return row_rope;
    case OP_POSITION_SCALE: return row_position_scale;
    case OP_ROUTE: return row_route;
    case OP_COMBINE: return row_combine;
    case OP_TOKEN: return row_token;
    case OP_NGRAM: return row_ngram;
    case OP_DOT: return row_dot;
    case OP_POOL: return row_pool;
    case OP_HYPER_WEIGHTS: return row_hyper_weights;
    case OP_HYPER_COLLAPSE: return row_hyper_collapse;
    case OP_HYPER_EXPAND: return row_hyper_expand;
    default: return NULL;
    }
}
