/* bench_draft.h - how much faster a model writes when another guesses for it. */
#ifndef HOULE_CLI_BENCH_DRAFT_H
#define HOULE_CLI_BENCH_DRAFT_H

#include "engine/session.h"
#include "format/json.h"

enum { DRAFT_ROUNDS_MOST = 64 };

typedef struct DraftRates {
    double plain, adaptive, always;  /* tokens per second, medians of the rounds */
    uint64_t guessed, right;         /* of the adaptive rounds together */
    uint64_t always_guessed, always_right;
} DraftRates;

/* Writes `tokens` tokens, always the likeliest, behind a text of our own: without guesses, with those of the model
 * `draft` as they pay, and with as many as possible. ERR_INTERNAL if the tokens were not the same. */
Status bench_draft(const Model *model, const char *draft, const SessionSpec *spec, int tokens, int rounds, DraftRates *rates, Error *err);
void bench_draft_print(const DraftRates *rates, int tokens);
json_t *bench_draft_json(const DraftRates *rates, int tokens);

#endif
