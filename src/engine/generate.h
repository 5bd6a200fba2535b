/* generate.h - a sequence that grows: prompt tokens in, drawn tokens out. */
#ifndef HOULE_ENGINE_GENERATE_H
#define HOULE_ENGINE_GENERATE_H

#include "engine/draft.h"

typedef struct Generator Generator;

typedef enum GenerateEnd {
    END_NONE,    /* a token was drawn, more may follow */
    END_TOKEN,   /* the model ended its text */
    END_CONTEXT, /* the context is full */
} GenerateEnd;

/* Draws with this sampler from sequence `sequence` of a session. Both stay the caller's and must outlive it. */
Status generator_open(Session *session, int sequence, Generator **generator, Error *err);
void generator_close(Generator *generator);

/* Guesses ahead from now on, as many tokens as the session has rows of logits for (max_wanted, less one). The draws are
 * the same; generator_next just finds some of them computed already. The session must be this generator's alone then. The
 * draft stays the caller's; NULL = no more. */
void generator_guess(Generator *generator, Draft *draft);

/* Makes `tokens` the whole text: what the cache already has of it (the longest common beginning, where the layers allow
 * going back) is not computed again. The last token's logits are computed by the first draw. Returns in *reused how many
 * tokens were there already (may be NULL). */
Status generator_set(Generator *generator, const int32_t *tokens, int n, int *reused, Error *err);

/* Computes everything but the last token of the text (long prompts, with progress). Optional: drawing does it. */
Status generator_prepare(Generator *generator, const Progress *progress, Error *err);

/* Draws the next token and appends it to the text; *end tells whether it was one that ends the text (it is appended
 * then as well, unless nothing could be). ignore_end: end tokens are drawn like others. allowed as in sampler_pick. */
Status generator_next(Generator *generator, Sampler *sampler, bool ignore_end, const uint64_t *allowed, int32_t *token,
                      GenerateEnd *end, Error *err);

/* The text so far; the logits that the last draw was made from. */
const int32_t *generator_tokens(const Generator *generator, int *n);
const float *generator_logits(const Generator *generator);
/* The first token that counts as generated (for penalties). */
void generator_mark_prompt(Generator *generator);

#endif
