/* sample.h - choosing the next token from logits.
 *
 * In this order: bias and mask, penalties (repeat, presence, frequency, DRY), top-k, typical, top-p, min-p, XTC,
 * temperature, a draw. Temperature 0 takes the best. The draw depends on the seed and on how many were drawn before,
 * and on nothing else: the same request gives the same tokens whatever runs beside it. */
#ifndef HOULE_ENGINE_SAMPLE_H
#define HOULE_ENGINE_SAMPLE_H

#include "base/status.h"

#include <stdint.h>

typedef struct LogitBias { int32_t token; float bias; } LogitBias;

typedef struct SampleSpec {
    float temperature; /* 0 = always the best */
    int top_k;         /* 0 = off */
    float top_p;       /* 1 = off; Holtzman et al. 2020 */
    float min_p;       /* 0 = off; Nguyen et al. 2024 */
    float typical_p;   /* 1 = off; Meister et al. 2023 */
    float repeat_penalty;    /* 1 = off; Keskar et al. 2019: divides positive logits, multiplies negative ones */
    float presence_penalty;  /* 0 = off: subtracted once from each token that occurred */
    float frequency_penalty; /* 0 = off: subtracted for each occurrence */
    int penalty_last;        /* tokens looked back at for these three; -1 = all */
    /* DRY (p-e-w 2024): a token that would continue a repetition of n tokens loses multiplier * base^(n - allowed). */
    float dry_multiplier;    /* 0 = off */
    float dry_base;
    int dry_allowed;
    int dry_last;            /* tokens looked back at; -1 = all */
    const int32_t *dry_breakers; /* tokens that no repetition reaches across; kept by the caller */
    int n_dry_breaker;
    float xtc_probability, xtc_threshold; /* exclude top choices (p-e-w 2024): 0 = off */
    const LogitBias *bias;   /* kept by the caller */
    int n_bias;
    uint64_t seed;
} SampleSpec;

/* Everything off, temperature 0.8: then the model's defaults are laid over it (model_sampling), then what the user says. */
SampleSpec sample_defaults(void);

typedef struct Sampler Sampler;

Status sampler_open(SampleSpec spec, int vocab, Sampler **sampler, Error *err);
void sampler_close(Sampler *sampler);

/* Chooses a token. history: all tokens so far, prompt included; `prompt` of them are the prompt (presence and frequency
 * count what was generated; repeat and DRY look at all). allowed: bit i set = token i may be chosen; NULL = all.
 * Logits that are not finite never win; ERR_INTERNAL when nothing can be chosen. */
Status sampler_pick(Sampler *sampler, const float *logits, const int32_t *history, int n_history, int prompt,
                    const uint64_t *allowed, int32_t *token, Error *err);

/* How many numbers were drawn; and back to an earlier count, so that what was drawn ahead is drawn again alike. */
uint64_t sampler_draws(const Sampler *sampler);
void sampler_rewind(Sampler *sampler, uint64_t draws);

/* log softmax of the logits as they came: of one token, and of the n best (n <= 64), best first. */
float logprob_of(const float *logits, int vocab, int32_t token);
void best_logprobs(const float *logits, int vocab, int n, int32_t *tokens, float *logprobs);

#endif
