/* run_conv.c - one unit of a causal convolution: some channels of one sequence, for all its tokens in the step.
 *
 * A token's neighbours are rows of the step, or, before its first token, what the sequence keeps of the last ones. Channels
 * do not meet, so that a unit may bring its own channels of what is kept up to date as soon as it is through. */
#include "graph/program_parts.h"

#include <string.h>

enum { CONV_CHANNELS = 512 }; /* of a unit: in the first cache with the weights of a few taps */

static int blocks_of(const Step *step, int input) {
    return (step->in[input].width + CONV_CHANNELS - 1) / CONV_CHANNELS;
}

static int blocks_of_run(const Step *step) {
    int blocks = 0;
    for (int i = 0; i < step->op->u.conv.inputs; i++)
        blocks += blocks_of(step, i);
    return blocks;
}

static int conv_units(const Ctx *ctx, const Step *step) {
    return ctx->batch->n_run * blocks_of_run(step);
}

static void run_conv(const Ctx *ctx, const Step *step, int unit) {
    static const float zeros[CONV_CHANNELS];
    const OpConv *spec = &step->op->u.conv;
    const Run *run = &ctx->batch->runs[unit / blocks_of_run(step)];
    int block = unit % blocks_of_run(step), input = 0, before = 0;
    for (; block >= blocks_of(step, input); input++) {
        block -= blocks_of(step, input);
        before += step->in[input].width;
    }
    const int begin = block * CONV_CHANNELS, width = step->in[input].width, n = MIN(CONV_CHANNELS, width - begin);
    const int past = sequence_tokens(run->sequence);
    const float *weight = step->vector[input] + begin, *bias = step->vector[spec->inputs];
    for (int r = 0; r < run->n_row; r++) {
        const float *x[MAX_TAPS];
        for (int j = 0; j < spec->taps; j++) {
            const int entry = past + r - (spec->taps - 1 - j) * spec->dilation;
            const float *kept = entry < past ? sequence_recent(run->sequence, step->op->state, entry) : NULL;
            if (entry >= past)
                x[j] = ref_floats(ctx, step->in[input], run->row0 + entry - past) + begin;
            else
                x[j] = kept != NULL ? kept + before + begin : zeros;
        }
        float *y = ref_floats(ctx, step->out, run->row0 + r) + before + begin;
        ctx->kernels->conv(y, x, weight, width, bias != NULL ? bias + before + begin : NULL, spec->taps, n);
        if (spec->act != ACT_NONE)
            ctx->kernels->act(y, y, n, spec->act);
    }
    const int kept = cache_recent_tokens(sequence_cache(run->sequence), step->op->state);
    for (int r = MAX(run->n_row - kept, 0); r < run->n_row; r++)
        memcpy(sequence_recent(run->sequence, step->op->state, past + r) + before + begin,
               ref_floats(ctx, step->in[input], run->row0 + r) + begin, (size_t)n * sizeof(float));
}

const MixOps mix_conv = {.units = conv_units, .run = run_conv};
