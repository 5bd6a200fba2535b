/* run_recur.c - one unit of a recurrent step: some columns of one head of one sequence, token after token. */
#include "graph/program_parts.h"

enum { COLUMNS = 2 * RECUR_BLOCK }; /* of a unit */

static int parts_of(const Recur *r) {
    return (r->value_width + COLUMNS - 1) / COLUMNS;
}

static size_t recur_bytes(const Program *p, const Op *op) {
    (void)p;
    return recur_scratch_bytes(op->u.recur.key_width);
}

static int recur_units(const Ctx *ctx, const Step *step) {
    const Recur *r = &step->op->u.recur;
    return ctx->batch->n_run * r->heads * parts_of(r);
}

/* From one row of an operand to the next, in floats. */
static size_t row_floats(const Ctx *ctx, Ref ref) {
    return slot_bytes(ctx->program, ref) / sizeof(float);
}

static void run_recur(const Ctx *ctx, const Step *step, int unit) {
    const Recur *r = &step->op->u.recur;
    const int part = unit % parts_of(r), head = unit / parts_of(r) % r->heads, column = part * COLUMNS;
    const Run *run = &ctx->batch->runs[unit / parts_of(r) / r->heads];
    const int key_head = r->tiled ? head % r->key_heads : head / (r->heads / r->key_heads);
    const Ref query = step->in[0], key = step->in[1], value = step->in[2], decay = step->in[3], strength = step->in[4];
    const bool by_channel = decay.buffer >= 0 && decay.width != r->heads;
    const size_t state = recur_state_floats(r->key_width, r->value_width) * (size_t)head + (size_t)column * (size_t)r->key_width;
    RecurJob job = {
        .n_row = run->n_row,
        .key_width = r->key_width,
        .n_col = MIN(COLUMNS, r->value_width - column),
        .delta = r->delta,
        .by_channel = by_channel,
        .scale = r->scale,
        .query = ref_floats(ctx, query, run->row0) + key_head * r->key_width,
        .query_stride = row_floats(ctx, query),
        .key = ref_floats(ctx, key, run->row0) + key_head * r->key_width,
        .key_stride = row_floats(ctx, key),
        .value = ref_floats(ctx, value, run->row0) + head * r->value_width + column,
        .value_stride = row_floats(ctx, value),
        .decay = r->decays != NULL ? r->decays + head : NULL,
        .out = ref_floats(ctx, step->out, run->row0) + head * r->value_width + column,
        .out_stride = row_floats(ctx, step->out),
        .state = sequence_memory(run->sequence, step->op->state) + state,
        .scratch = ctx->scratch,
    };
    if (decay.buffer >= 0) {
        job.decay = ref_floats(ctx, decay, run->row0) + head * (by_channel ? r->key_width : 1);
        job.decay_stride = row_floats(ctx, decay);
    }
    if (strength.buffer >= 0) {
        job.strength = ref_floats(ctx, strength, run->row0) + head;
        job.strength_stride = row_floats(ctx, strength);
    }
    ctx->kernels->recur(&job);
}

const MixOps mix_recur = {.units = recur_units, .run = run_recur, .scratch = recur_bytes};
