/* op_ngram.h - looking up runs of tokens in hashed tables, in plain C: the definition.
 *
 * A token and the ones before it, up to `size` in all, are mixed to one number for each length n = 2 .. size:
 *
 *     h_n = t_0 f_0 ^ t_1 f_1 ^ .. ^ t_(n-1) f_(n-1)          t_0 the token itself, t_1 the one before, ..
 *
 * in 64-bit integers that wrap. For each length there are `heads` tables with a prime number of rows each, and the row is h_n
 * modulo that prime. Runs end at a stop token (and at the beginning): what lies behind it counts as that token itself. */
#ifndef HOULE_OP_NGRAM_H
#define HOULE_OP_NGRAM_H

#include <stdint.h>

enum { NGRAM_SIZE = 8 }; /* at the most */

/* tokens [size], the newest first; those before the beginning are the stop token. factors [size]; sizes and offsets
 * [(size - 1) * heads], as rows; sizes > 0. The row in table j is rows[j], its offset added. */
void op_ngram(int64_t *rows, const int32_t *tokens, int size, int heads, int32_t stop, const int64_t *factors,
              const int64_t *sizes, const int64_t *offsets);

/* sign(x) sqrt(|x|), where |x| counts as at least 1e-6; 0 for 0. */
float op_signed_root(float x);

#endif
