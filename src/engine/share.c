/* share.c - see share.h. Written so that compilers make vectors of it: sixteen partial sums, no branches. */
#include "engine/share.h"

#include "base/compiler.h"
#include "base/half.h"

#include <math.h>

enum { LANES = 16 };

/* e^x for x in [-87, 0]: 2^n e^r, n found by adding a number so large that fractions are rounded away, e^r by its series. */
static inline float exp_below_zero(float x) {
    const float rounder = 12582912.0f; /* 1.5 * 2^23 */
    const float shifted = x * 1.44269504f + rounder, n = shifted - rounder;
    const float r = (x - n * 0.693145752f) - n * 1.42860677e-6f; /* ln 2 in two parts */
    float e = 1.0f / 720;
    e = e * r + 1.0f / 120;
    e = e * r + 1.0f / 24;
    e = e * r + 1.0f / 6;
    e = e * r + 0.5f;
    e = e * r + 1.0f;
    e = e * r + 1.0f;
    return e * float_of_bits((bits_of_float(shifted) + 127u) << 23);
}

static inline float share(const Shares *s, float logit) {
    const float x = (logit - s->top) * s->scale;
    const float e = exp_below_zero(x > -87.0f ? x : -87.0f);
    return ((logit >= s->least) & (logit < INFINITY) & (x > -87.0f)) ? e : 0.0f;
}

static float block_sum(const Shares *s, int from, int to) {
    float part[LANES] = {0};
    int i = from;
    for (; i + LANES <= to; i += LANES)
        for (int k = 0; k < LANES; k++)
            part[k] += share(s, s->logits[i + k]);
    for (int k = 0; i + k < to; k++)
        part[k] += share(s, s->logits[i + k]);
    float sum = 0;
    for (int k = 0; k < LANES; k++)
        sum += part[k];
    return sum;
}

double shares_sum(const Shares *s, float *blocks) {
    double sum = 0;
    for (int from = 0, b = 0; from < s->vocab; from += SHARE_BLOCK, b++) {
        const float of_block = block_sum(s, from, MIN(from + SHARE_BLOCK, s->vocab));
        if (blocks != NULL)
            blocks[b] = of_block;
        sum += (double)of_block;
    }
    return sum;
}

int32_t shares_find(const Shares *s, const float *blocks, double at) {
    int32_t last = -1; /* rounding may leave a little of `at` behind the last share */
    for (int from = 0, b = 0; from < s->vocab; from += SHARE_BLOCK, b++) {
        const int to = MIN(from + SHARE_BLOCK, s->vocab);
        if (at >= (double)blocks[b] && to < s->vocab) {
            at -= (double)blocks[b];
            continue;
        }
        for (int i = from; i < to; i++) {
            const float e = share(s, s->logits[i]);
            if (e > 0)
                last = i;
            if (e > 0 && at < (double)e)
                return i;
            at -= (double)e;
        }
    }
    for (int i = s->vocab - 1; i >= 0 && last < 0; i--)
        if (share(s, s->logits[i]) > 0)
            last = i;
    return last;
}
