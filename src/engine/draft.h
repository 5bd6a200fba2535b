/* draft.h - guessing tokens ahead, so that one step can confirm several: from the text itself.
 *
 * A text repeats itself (code, quotations, lists). The last few tokens are looked up in what came before; what followed
 * there is the guess. The model computes the guessed tokens in one step, and those are kept that it would have drawn
 * itself: the output does not change. How many are guessed follows what is measured, and is none when it does not pay. */
#ifndef HOULE_ENGINE_DRAFT_H
#define HOULE_ENGINE_DRAFT_H

#include <stddef.h>
#include <stdint.h>

enum { DRAFT_MAX = 8 };

typedef struct DraftCosts {
    double step_ns[DRAFT_MAX + 1]; /* a step with so many guesses; 0 = not measured */
    double luck;                   /* moving average: share of guesses that were right */
    int quiet;                     /* steps until the next try after guessing did not pay */
} DraftCosts;

/* Writes up to `most` guesses behind the n tokens (the array may move; mem.h) and returns how many: 0 when nothing is
 * known or it would not pay. */
int draft_from_text(DraftCosts *costs, int32_t **tokens, size_t *capacity, int n, int most);
void draft_learn_cost(DraftCosts *costs, int drafts, double ns);
void draft_learn_luck(DraftCosts *costs, int drafts, int right);

#endif
