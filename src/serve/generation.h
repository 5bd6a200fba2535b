/* generation.h - one or several answers to one prompt, from the scheduler's thread to the thread that writes the reply.
 *
 * The scheduler's callback turns tokens into pieces (text, reasoning, calls) as it gets them, so that a stop string
 * ends the work at once; whoever answers takes the pieces out in order, and meanwhile watches the client's socket: work
 * for somebody who left is cancelled, also in the middle of a prompt.
 *
 *     scheduler's thread:  on_token -> Answer -> pieces -> [queue, bounded by max_tokens] -> eventfd
 *     reply's thread:      poll(eventfd, socket) -> generation_next -> JSON */
#ifndef HOULE_SERVE_GENERATION_H
#define HOULE_SERVE_GENERATION_H

#include "engine/answer.h"
#include "engine/scheduler.h"
#include "text/grammar.h"

typedef struct Generation Generation;

enum { GENERATION_CHOICES = 32 };

typedef struct GenerationSpec {
    const Model *model;
    Scheduler *scheduler;
    const int32_t *tokens; /* copied */
    int n;
    SampleSpec sample; /* the lists are copied; choice i draws with seed + i */
    int choices;       /* 1 to GENERATION_CHOICES */
    int max_tokens;    /* -1: until the context is full */
    const char *const *stops;
    int n_stop;
    bool ignore_end;
    int logprobs;       /* as in RequestSpec; pieces of kind PIECE_TOKEN come then */
    bool tokens_wanted; /* these pieces come without log-probabilities */
    bool prompt_logprobs;
    const char *reply_format; /* NULL: plain text */
    const json_t *tools;      /* a reference is kept */
    bool inside_reasoning;
    bool keep_special;
    int reasoning_tokens; /* behind so many the reasoning is closed; -1: when the model ends it */
    bool single_call;     /* the answer ends behind its first tool call */
    Grammar *grammar;     /* what the answer must look like, behind its reasoning; NULL = anything. Taken on success */
    bool progress; /* PIECE_PROGRESS is wanted */
    uint64_t client, deadline_us;
    /* Called once, from any thread, when no callback of the scheduler will come any more. */
    void (*released)(void *user, const Generation *generation);
    void *user;
} GenerationSpec;

typedef enum PieceKind {
    PIECE_TEXT,
    PIECE_REASONING,
    PIECE_CALL,      /* index, id, name */
    PIECE_ARGUMENTS, /* index, text */
    PIECE_CALL_END,  /* index */
    PIECE_TOKEN,     /* a token was drawn (or, with prompt_logprobs, read): before what it adds to the text */
    PIECE_PROGRESS,  /* done, total, cached: tokens of the prompt */
    PIECE_END,       /* of a choice: its last */
} PieceKind;

typedef struct Piece {
    PieceKind kind;
    int choice;
    size_t index;
    const char *id, *name, *text; /* text: bytes of them, NUL behind */
    size_t bytes;
    const RequestToken *token;
    bool of_prompt; /* the token */
    int done, total, cached;
} Piece;

typedef enum GenerationNews {
    NEWS_PIECE, /* *piece is good until the next call */
    NEWS_QUIET, /* nothing for so many milliseconds */
    NEWS_GONE,  /* the client has left; the work is cancelled */
    NEWS_DONE,  /* all choices have ended */
} GenerationNews;

Status generation_open(const GenerationSpec *spec, Generation **generation, Error *err);
/* Cancels what still runs. */
void generation_close(Generation *generation);
/* socket: the client's, -1 = nobody's. */
GenerationNews generation_next(Generation *generation, int socket, int quiet_ms, Piece *piece);
/* Asks all choices to end soon. Any thread. */
void generation_cancel(Generation *generation);

/* Of a choice that has ended. */
typedef struct Ending {
    RequestEnd end;
    const char *stop; /* the stop string that was met, or NULL */
    bool calls;       /* there are tool calls */
    int reasoning_tokens;
    RequestStats stats;
    uint64_t first_us, last_us; /* clock_us() of the first and the last token; 0 = none came */
    const Error *err;
} Ending;
Ending generation_ending(const Generation *generation, int choice);
int generation_choices(const Generation *generation);
uint64_t generation_began_us(const Generation *generation);

/* What was generated for all choices together: for usage. cached is that of the first. */
typedef struct Usage {
    int prompt, cached, generated, reasoning, drafted, accepted;
} Usage;
Usage generation_usage(const Generation *generation);

#endif
