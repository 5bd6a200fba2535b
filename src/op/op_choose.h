/* op_choose.h - choosing what attention looks at: scores of entries by narrow index keys, and the best of them. */
#ifndef HOULE_OP_CHOOSE_H
#define HOULE_OP_CHOOSE_H

#include <stdbool.h>
#include <stdint.h>

/* The score of one entry: the sum over the heads of weight * max(0, scale * query . key), or of weight * scale * query . key
 * when plain. query [heads][dim], key [dim]; weights NULL = ones. Liu et al. 2025, section 2. */
float op_index_score(const float *query, const float *weights, const float *key, int heads, int dim, float scale, bool plain);

/* The `top` best of n scores; of equal ones the first. The last `local` count as better than all others. NaN counts as
 * -infinity. Writes their places in ascending order and returns how many: min(top, n). */
int op_choose_best(const float *scores, int n, int top, int local, int32_t *chosen);

#endif
