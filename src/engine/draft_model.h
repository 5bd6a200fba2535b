/* draft_model.h - a small model that reads a text along with a larger one and guesses how it goes on.
 *
 * It has a session of its own and remembers what this has read. A text that differs from that (a cut, another
 * conversation, guesses that were wrong or came from elsewhere) is taken up where the two part. */
#ifndef HOULE_ENGINE_DRAFT_MODEL_H
#define HOULE_ENGINE_DRAFT_MODEL_H

#include "engine/sample.h"
#include "engine/session.h"

typedef struct DraftModel DraftModel;

Status draft_model_memory(const Model *target, const Model *model, SessionSpec spec, size_t *bytes, Error *err);
/* For draws with samplers of the target's vocabulary. The two must have the same one; ERR_ARGUMENT names the first token
 * that differs. Entries of a table that only one of them has at its end (filled up to a round number) do not matter. The
 * models must outlive it. */
Status draft_model_open(const Model *target, const Model *model, SessionSpec spec, DraftModel **out, Error *err);
void draft_model_close(DraftModel *d);

/* Forgets what the text does not begin with; returns how many of its tokens must be read before guessing (at least 1),
 * or -1 when it has tokens that this model does not know. */
int draft_model_follow(DraftModel *d, const int32_t *tokens, int n);
/* Reads the next `rows` of them. */
Status draft_model_read(DraftModel *d, const int32_t *tokens, int rows, Error *err);
/* Draws what follows the n tokens, all of which were read: `count` guesses, each drawn as the sampler would draw it. */
Status draft_model_guess(DraftModel *d, int n, int prompt, Sampler *sampler, int count, int32_t *guesses, Error *err);

#endif
