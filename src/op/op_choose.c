/* op_choose.c - see op_choose.h. */
#include "op/op_choose.h"

#include "base/half.h"

#include <math.h>
#include <string.h>

float op_index_score(const float *query, const float *weights, const float *key, int heads, int dim, float scale, bool plain) {
    float score = 0;
    for (int h = 0; h < heads; h++) {
        float dot = 0;
        for (int d = 0; d < dim; d++)
            dot += query[h * dim + d] * key[d];
        dot *= scale;
        score += (plain || dot > 0 ? dot : 0) * (weights != NULL ? weights[h] : 1.0f);
    }
    return score;
}

/* Numbers in the order of floats; both zeros alike, NaN as -infinity. */
static uint32_t rank_of(float x) {
    const uint32_t bits = bits_of_float(isnan(x) ? -INFINITY : x + 0.0f);
    return bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
}

static uint32_t rank_at(const float *scores, int i, int first_local) {
    return i >= first_local ? UINT32_MAX : rank_of(scores[i]);
}

/* The rank of the top-th best is found digit by digit, 11 bits at a time: how many have each digit, among those that
 * agree in the digits before. A heap would cost a comparison that is hard to predict for each number. */
int op_choose_best(const float *scores, int n, int top, int local, int32_t *chosen) {
    enum { DIGITS = 3, BITS = 11 };
    static const int shifts[DIGITS] = {21, 10, 0};
    const int first_local = n - local;
    if (n <= top) {
        for (int i = 0; i < n; i++)
            chosen[i] = i;
        return n;
    }
    uint32_t found = 0, mask = 0; /* the leading digits of the rank searched for */
    int left = top;               /* how many of those that agree in them are to be chosen */
    for (int d = 0; d < DIGITS; d++) {
        int32_t counts[1 << BITS];
        memset(counts, 0, sizeof counts);
        const uint32_t digit_mask = (1u << (d == 2 ? 10 : BITS)) - 1;
        for (int i = 0; i < n; i++) {
            const uint32_t rank = rank_at(scores, i, first_local);
            if ((rank & mask) == found)
                counts[rank >> shifts[d] & digit_mask]++;
        }
        uint32_t digit = digit_mask;
        while (counts[digit] < left) {
            left -= counts[digit];
            digit--;
        }
        found |= digit << shifts[d];
        mask |= digit_mask << shifts[d];
    }
    int count = 0;
    for (int i = 0; i < n; i++) {
        const uint32_t rank = rank_at(scores, i, first_local);
        if (rank > found)
            chosen[count++] = i;
        else if (rank == found && left > 0) {
            chosen[count++] = i;
            left--;
        }
    }
    return count;
}
