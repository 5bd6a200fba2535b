/* op_recur.h - what recurrent layers do with one token, in plain C: the definitions.
 *
 * Each head keeps a matrix S of key_width rows (one per channel of the key) and value_width columns, at first zero.
 * A token lets it fade, writes the outer product of its key with a vector u, and reads along its query:
 *
 *     S = diag(decay) S + key u^T          out = S^T query
 *
 *     linear:  u = strength * value                               Mamba-2 (Dao & Gu 2024), lightning attention
 *     delta:   u = strength * (value - (diag(decay) S)^T key)     gated delta rule (Yang et al. 2024), KDA
 *
 * With a decay that is the same for all channels this is the gated delta net, with one for each channel it is KDA. */
#ifndef HOULE_OP_RECUR_H
#define HOULE_OP_RECUR_H

#include <stdbool.h>

/* One token of one head. state [key_width][value_width]; query, key and decay [key_width]; value, out [value_width]. */
void op_recur(float *out, float *state, const float *query, const float *key, const float *value, const float *decay,
              float strength, bool delta, int key_width, int value_width);

/* A causal convolution of each channel with itself (depthwise), for one token: y[c] = bias[c] + sum over taps j of
 * weight[j][c] * x[j][c], where x[0] is the oldest token that is looked at and x[taps - 1] the token itself; weight
 * [taps][stride], n <= stride channels. bias may be NULL. y must not be one of x. */
void op_conv(float *y, const float *const *x, const float *weight, int stride, const float *bias, int taps, int n);

#endif
