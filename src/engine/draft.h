/* draft.h - guessing tokens ahead, so that one step of the model can confirm several.
 *
 * Guesses come from two sources. A text repeats itself (code, quotations, lists): what followed the same few tokens
 * earlier costs nothing to look up. And a smaller model with the same vocabulary can read along and guess by itself.
 * The model computes the guessed tokens in one step, and those are kept that it would have drawn itself: the output
 * does not change.
 *
 * Whether to guess, from which source and how many, follows what is measured: the time of steps with so many guesses,
 * the time that the small model takes, and how many of each source's guesses were right. A source that does not pay is
 * left alone for a while, the longer the more often that happened. */
#ifndef HOULE_ENGINE_DRAFT_H
#define HOULE_ENGINE_DRAFT_H

#include "engine/model.h"
#include "engine/sample.h"
#include "engine/session.h"

enum { DRAFT_MAX = 8 };

typedef struct Draft Draft;

typedef struct DraftSpec {
    const Model *target; /* the one whose tokens are guessed */
    const Model *model;  /* the one that guesses; NULL = from the text only */
    Precision precision; /* of the guessing model */
    CacheType cache_type;
    int context;         /* tokens of one text, at most */
    int most;            /* guesses in one step, at most DRAFT_MAX */
    bool always;         /* guess, and as many, whether it pays or not: for measurements */
    Pool *pool;
} DraftSpec;

/* Whether the last few tokens of a sequence of this model can be taken back. Where they cannot (a recurrent layer's
 * memory has no way back), nothing is ever guessed. */
bool draft_possible(const Model *target);
/* Guesses in one step, at most, unless somebody says otherwise: what a text alone tells is worth less than what a model
 * tells. */
int draft_usual(bool with_model);

/* Memory that guessing takes, beside the weights of the guessing model. */
Status draft_memory(const DraftSpec *spec, size_t *bytes, Error *err);
/* ERR_ARGUMENT when the two models have different vocabularies; ERR_UNSUPPORTED when tokens of one of them cannot be
 * taken back. The models must outlive the draft, which belongs to one thread. */
Status draft_open(const DraftSpec *spec, Draft **draft, Error *err);
void draft_close(Draft *draft);

/* Guesses what follows the n tokens of a text, of which `prompt` are its prompt: writes up to `most` and returns how
 * many; 0 when nothing is known, when it would not pay, or when the guessing model fails (it is not asked again then).
 * The text may be another one than last time. `sampler` is the one that will draw: guesses are drawn ahead of it with
 * the same numbers, and it is left as it was. */
int draft_guess(Draft *draft, const int32_t *tokens, int n, int prompt, Sampler *sampler, int most, int32_t guesses[DRAFT_MAX]);
/* A step that generated this text, with so many guesses, took so long. Steps without guesses are told as well. */
void draft_learn_cost(Draft *draft, int guesses, double ns);
/* Of the last guesses, so many were right. */
void draft_learn_luck(Draft *draft, int guesses, int right);

typedef struct DraftStats {
    uint64_t guessed, right;             /* of both sources */
    uint64_t model_guessed, model_right; /* of the guessing model */
    uint64_t model_ns;                   /* its time */
    Error failure;                       /* why the guessing model is not asked any more; OK when it is */
} DraftStats;
DraftStats draft_stats(const Draft *draft);

#endif
