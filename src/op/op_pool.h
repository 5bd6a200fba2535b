/* op_pool.h - rows of several tokens made one. */
#ifndef HOULE_OP_POOL_H
#define HOULE_OP_POOL_H

/* y[c] = sum over i of w[i][c] values[i][c], where w[..][c] is the softmax over i of gates[i][c] + biases[i][c]. gates NULL:
 * the mean. biases NULL: none. n rows of `width` numbers, summed in the order given; y may be none of them. */
void op_pool(float *y, const float *const *values, const float *const *gates, const float *const *biases, int n, int width);

#endif
