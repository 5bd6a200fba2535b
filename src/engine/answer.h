/* answer.h - from drawn tokens to what a reader gets: text, cut at stop strings, taken apart into reasoning, content and
 * tool calls. One for each generated text; whoever draws the tokens (a chat, a server's request) feeds it.
 *
 *     TRY(answer_open(&spec, &answer, err));
 *     while (answer_stop(answer) == NULL && draw(&token))
 *         TRY(answer_push(answer, token, err));
 *     TRY(answer_finish(answer, err));
 */
#ifndef HOULE_ENGINE_ANSWER_H
#define HOULE_ENGINE_ANSWER_H

#include "text/reply.h"
#include "text/tokenizer.h"

typedef struct Answer Answer;

enum { ANSWER_STOPS = 64, ANSWER_STOP_BYTES = 4096 };

typedef struct AnswerSpec {
    const Tokenizer *tokenizer; /* must outlive the answer */
    const char *const *stops;   /* strings at which the text ends; they are not part of it. Copied. */
    int n_stop;
    const char *reply_format;   /* NULL: the text is not taken apart (all of it is content) */
    const json_t *tools;        /* as in reply_open */
    bool inside_reasoning;
    bool keep_special;          /* without a reply format: special tokens are shown as their text */
    /* Called with each piece that is certain, from within push and finish. May be NULL. */
    void (*on_delta)(void *user, const ReplyDelta *delta);
    void *user;
} AnswerSpec;

/* ERR_LIMIT for too many or too long stop strings. */
Status answer_open(const AnswerSpec *spec, Answer **answer, Error *err);
void answer_close(Answer *answer);

/* The next token; not the one that ended the text. */
Status answer_push(Answer *answer, int32_t token, Error *err);
/* No token follows: gives what was held back. */
Status answer_finish(Answer *answer, Error *err);

/* A stop string was met: which one, or NULL. */
const char *answer_stop(const Answer *answer);
/* The whole text so far, as the model wrote it, up to the stop string; and taken apart. */
const Text *answer_text(const Answer *answer);
const Reply *answer_reply(const Answer *answer);

#endif
