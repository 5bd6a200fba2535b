/* share.h - logits as shares of a whole: sums and draws over a vocabulary without sorting it.
 *
 * The share of token i is e^((logit i - top) * scale); logits below `least`, and those that are not finite, have none. The
 * arithmetic is fixed (same bits on every CPU), exact to 2e-7 of a share. */
#ifndef HOULE_ENGINE_SHARE_H
#define HOULE_ENGINE_SHARE_H

#include <stdint.h>

enum { SHARE_BLOCK = 256 }; /* tokens whose sum is kept to find a draw again */

typedef struct Shares {
    const float *logits;
    int vocab;
    float top;   /* the highest finite logit */
    float least; /* -INFINITY: none is too low */
    float scale; /* 1 / temperature */
} Shares;

/* The sum of all; blocks [(vocab + 255) / 256] gets the sums of each block, or is NULL. */
double shares_sum(const Shares *s, float *blocks);
/* The token at which the shares, added up from token 0 on, exceed `at`: a draw when `at` is uniform in [0, sum). -1 when
 * no token has a share. */
int32_t shares_find(const Shares *s, const float *blocks, double at);

#endif
