/* op_ngram.c - see op_ngram.h. */
#include "op/op_ngram.h"

#include <math.h>

void op_ngram(int64_t *rows, const int32_t *tokens, int size, int heads, int32_t stop, const int64_t *factors,
              const int64_t *sizes, const int64_t *offsets) {
    uint64_t mixed = (uint64_t)tokens[0] * (uint64_t)factors[0];
    int stopped = 0;
    for (int n = 1; n < size; n++) {
        stopped = stopped || tokens[n] == stop;
        mixed ^= (uint64_t)(stopped ? stop : tokens[n]) * (uint64_t)factors[n];
        for (int j = (n - 1) * heads; j < n * heads; j++) {
            const int64_t rest = (int64_t)mixed % sizes[j];
            rows[j] = offsets[j] + (rest < 0 ? rest + sizes[j] : rest);
        }
    }
}

float op_signed_root(float x) {
    const float root = sqrtf(fmaxf(fabsf(x), 1e-6f));
    return x > 0 ? root : x < 0 ? -root : x;
}
