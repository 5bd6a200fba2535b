/* op_hyper.h - hyper-connections: a residual of n streams, mixed by weights that each token makes for itself. */
#ifndef HOULE_OP_HYPER_H
#define HOULE_OP_HYPER_H

/* From the projection `mixed` [(2 + n) n] to weights of the same layout: [pre n | post n | comb n x n].
 *     pre  = sigmoid(mixed * scale[0] + base) + eps
 *     post = 2 sigmoid(mixed * scale[1] + base)
 *     comb = softmax of each row of mixed * scale[2] + base, + eps, then columns and rows divided by their sums (+ eps) in
 *            turn: columns, then `iterations` - 1 times rows and columns
 * (Xie et al. 2026). weights may be mixed. n is at most 16. */
void op_hyper_weights(float *weights, const float *mixed, const float *base, const float *scale, int n, int iterations, float eps);
/* Only pre: mixed, weights, base [n], scale [1]. */
void op_hyper_end_weights(float *weights, const float *mixed, const float *base, const float *scale, int n, float eps);

/* y[d] = sum over streams of pre[s] x[s][d]; streams x [n][width]. */
void op_hyper_collapse(float *y, const float *x, const float *pre, int n, int width);
/* out[k][d] = post[k] y[d] + sum over j of comb[j][k] x[j][d]; out may be x. */
void op_hyper_expand(float *out, const float *x, const float *y, const float *post, const float *comb, int n, int width);

#endif
