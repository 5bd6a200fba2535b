/* run_linear.c - units of a linear step. A unit is up to 64 outputs of one matrix, for all rows; units that follow each
 * other in one matrix are multiplied together when there are few rows. */
#include "graph/program_parts.h"

#include <string.h>

/* A gated unit is computed in blocks of PAIR_ROWS; weights are unpacked for each block again. Few rows take several units
 * at once, as many as make that many rows of one unit. */
enum { PAIR_FEW_ROWS = 96 };

size_t linear_bytes(const Program *p) {
    (void)p;
    return LINEAR_SCRATCH_BYTES + 2 * (size_t)PAIR_ROWS * LINEAR_UNIT * sizeof(float);
}

static void add_bias(const Kernels *k, float *y, const float *bias, int n) {
    if (bias != NULL)
        k->add(y, y, bias, n);
}

static LinearJob job_of(const Ctx *ctx, const LinearPart *part, const Matrix *m, int group, int begin, int end,
                        const uint8_t *ahead) {
    return (LinearJob){
        .m = m,
        .begin = begin,
        .end = end,
        .acts = ref_at(ctx, part->acts, 0) + (size_t)group * part->act_bytes,
        .act_bytes = slot_bytes(ctx->program, part->acts),
        .scratch = ctx->scratch,
        .ahead = ahead,
    };
}

static void run_single(const Ctx *ctx, const LinearPart *part, int rows, int group, int begin, int end, const uint8_t *ahead) {
    const Weights *w = ctx->program->weights;
    Matrix room;
    LinearJob job = job_of(ctx, part, weight_acquire(w, part->weight, group, &room), group, begin, end, ahead);
    job.n_row = rows;
    job.out = ref_floats(ctx, part->out, 0) + (size_t)group * (size_t)part->out_width;
    job.out_stride = slot_bytes(ctx->program, part->out) / sizeof(float);
    ctx->kernels->linear[part->precision](&job);
    weight_release(w, part->weight, group);
    for (int r = 0; part->bias != NULL && r < rows; r++)
        add_bias(ctx->kernels, job.out + (size_t)r * job.out_stride + begin,
                 part->bias + (size_t)group * (size_t)part->out_width + begin, end - begin);
}

/* NULL where outputs are not runs of bytes. */
static const uint8_t *weights_of_output(const Matrix *m, int output) {
    return form_by_rows(m->form) ? m->data + (size_t)output * m->row_bytes : NULL;
}

/* Both halves of a gated unit, and what comes of them, for outputs [begin, end) that the halves' buffers can hold. */
static void run_pair(const Ctx *ctx, const LinearPart *gate, const LinearPart *up, int rows, int begin, int end,
                     const uint8_t *ahead) {
    const Weights *w = ctx->program->weights;
    const int n = end - begin, stride = MAX(n, LINEAR_UNIT), most = PAIR_ROWS * LINEAR_UNIT / stride;
    float *g = (float *)(void *)(ctx->scratch + LINEAR_SCRATCH_BYTES), *u = g + PAIR_ROWS * LINEAR_UNIT;
    Matrix gate_room, up_room;
    LinearJob up_job = job_of(ctx, up, weight_acquire(w, up->weight, 0, &up_room), 0, begin, end, ahead);
    LinearJob gate_job = job_of(ctx, gate, weight_acquire(w, gate->weight, 0, &gate_room), 0, begin, end,
                                weights_of_output(up_job.m, begin));
    gate_job.out_stride = up_job.out_stride = (size_t)stride;
    for (int r0 = 0; r0 < rows; r0 += most) {
        gate_job.n_row = up_job.n_row = MIN(most, rows - r0);
        gate_job.out = g - begin; /* the kernels write at outputs `begin` and on */
        up_job.out = u - begin;
        ctx->kernels->linear[gate->precision](&gate_job);
        ctx->kernels->linear[up->precision](&up_job);
        for (int r = 0; r < gate_job.n_row; r++) {
            float *gr = g + r * stride, *ur = u + r * stride;
            add_bias(ctx->kernels, gr, gate->bias != NULL ? gate->bias + begin : NULL, n);
            add_bias(ctx->kernels, ur, up->bias != NULL ? up->bias + begin : NULL, n);
            apply_glu(ctx->kernels, &gate->glu, ref_floats(ctx, gate->out, r0 + r) + begin, gr, ur, n);
        }
        gate_job.acts += (size_t)most * gate_job.act_bytes;
        up_job.acts += (size_t)most * up_job.act_bytes;
    }
    weight_release(w, gate->weight, 0);
    weight_release(w, up->weight, 0);
}

/* The part of a step that a unit belongs to, its group, and its place there. */
typedef struct Place {
    const LinearPart *part;
    int group, first, left; /* units: before it in the group, and from it to the group's end */
} Place;

static Place place_of(const Step *step, int unit) {
    const LinearPart *part = step->parts;
    while (unit >= part->first_unit + part->units)
        part++;
    const int per_group = part->units / part->groups, at = unit - part->first_unit;
    return (Place){.part = part, .group = at / per_group, .first = at % per_group, .left = per_group - at % per_group};
}

const uint8_t *linear_weights(const Ctx *ctx, const Step *step, int unit) {
    const Place at = place_of(step, unit);
    const Weights *w = ctx->program->weights;
    Matrix room;
    const Matrix *m = weight_acquire(w, at.part->weight, at.group, &room);
    const uint8_t *weights = weights_of_output(m, at.first * LINEAR_UNIT);
    weight_release(w, at.part->weight, at.group);
    return weights;
}

void run_linear(const Ctx *ctx, const Step *step, int unit, int n, const uint8_t *ahead) {
    const int rows = rows_of_kind(ctx->batch, step->rows);
    for (int take; n > 0; n -= take, unit += take) {
        const Place at = place_of(step, unit);
        const LinearPart *part = at.part;
        take = MIN(n, at.left);
        if (part->pair >= 0)
            take = MIN(take, MAX(1, PAIR_FEW_ROWS / rows));
        const int begin = at.first * LINEAR_UNIT, end = MIN(begin + take * LINEAR_UNIT, part->out_width);
        const uint8_t *next = take == n ? ahead : linear_weights(ctx, step, unit + take);
        if (part->pair >= 0)
            run_pair(ctx, part, &step->parts[part->pair], rows, begin, end, next);
        else
            run_single(ctx, part, rows, at.group, begin, end, next);
    }
}
