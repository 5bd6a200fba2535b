/* scheduler.h - many requests of one model: one thread that puts their tokens into steps.
 *
 * Every step takes one token of each text that is being generated, and what fits of the prompts that wait, in pieces
 * small enough that running texts don't stall. Tokens are drawn from each request's own seed, and a row's numbers don't
 * depend on the rows beside it: a request gets the same tokens whatever else runs.
 *
 * Callbacks run on the scheduler's thread and must be quick; they may not call the scheduler. */
#ifndef HOULE_ENGINE_SCHEDULER_H
#define HOULE_ENGINE_SCHEDULER_H

#include "engine/prefix.h"
#include "engine/sample.h"
#include "engine/session.h"

typedef struct Scheduler Scheduler;
typedef struct Request Request;

typedef struct SchedulerSpec {
    Precision precision;
    CacheType cache_type;
    Pool *pool;
    int context;          /* tokens of one text, at most */
    int64_t cache_tokens; /* of all together, shared prefixes included; 0 = context * sequences */
    int sequences;        /* texts at once */
    int max_rows;         /* tokens in a step; 0 = 512 */
    int max_waiting;      /* requests that may wait; more are refused */
    Spill *spill;         /* prefixes on disk; NULL = in memory only */
    const void *identity; /* of the model, for the disk */
    size_t identity_bytes;
    int draft_tokens;     /* tokens guessed ahead, at most; 0 = off (engine/draft.h) */
    const Model *draft;   /* a smaller model that guesses too; NULL = from the text itself only */
} SchedulerSpec;

typedef enum RequestEnd {
    REQUEST_STOP,      /* the model ended its text */
    REQUEST_LENGTH,    /* max_tokens, or the context is full */
    REQUEST_ENOUGH,    /* on_token said so */
    REQUEST_CANCELLED,
    REQUEST_DEADLINE,
    REQUEST_FAILED,    /* the Error says why */
} RequestEnd;

typedef struct RequestStats {
    int prompt_tokens, cached_tokens, generated_tokens;
    int drafted_tokens, accepted_tokens; /* guessed ahead */
    int first_difference;                /* prompt token at which it leaves all known texts; they are taken up only at some places */
    uint64_t queue_us, prompt_us, generate_us;
} RequestStats;

enum { REQUEST_LOGPROBS = 20 };

typedef struct RequestToken {
    int32_t token;
    bool is_end;  /* one that ends the text: not part of it */
    float logprob;
    int n_top;    /* best alternatives, as asked for */
    int32_t top[REQUEST_LOGPROBS];
    float top_logprobs[REQUEST_LOGPROBS];
} RequestToken;

typedef struct RequestSpec {
    const int32_t *tokens; /* the prompt; copied */
    int n;
    SampleSpec sample;     /* its lists must live until the end */
    int max_tokens;        /* -1 = until the context is full */
    bool ignore_end;
    int logprobs;          /* -1 = none, else how many alternatives (0 = only the token's own) */
    bool prompt_logprobs;  /* on_token also for the prompt's tokens from the second on, before the first new one */
    uint64_t client;       /* requests of one client share its turn */
    uint64_t deadline_us;  /* of clock_us(); 0 = none */
    /* Which tokens may come next (bit i of the array = token i), asked before each draw; NULL = all. */
    const uint64_t *(*mask)(void *user);
    bool (*on_token)(void *user, const RequestToken *token); /* false: enough */
    /* Progress of the prompt, of which `cached` tokens were known; may be NULL. */
    void (*on_prompt)(void *user, int done, int total, int cached);
    void (*on_end)(void *user, RequestEnd end, const RequestStats *stats, const Error *err); /* exactly once */
    void *user;
} RequestSpec;

/* Memory that a scheduler of this kind takes beside the weights. */
Status scheduler_memory(const Model *model, const SchedulerSpec *spec, size_t *bytes, Error *err);
Status scheduler_open(const Model *model, SchedulerSpec spec, Scheduler **scheduler, Error *err);
/* Ends all requests (cancelled) and waits for the thread. */
void scheduler_close(Scheduler *scheduler);

/* Queues a request. ERR_BUSY when too many wait, ERR_LIMIT (with the numbers) when the prompt is longer than the context.
 * On success on_end will be called; the handle is good until request_release. */
Status scheduler_submit(Scheduler *scheduler, const RequestSpec *spec, Request **request, Error *err);
/* Asks a request to end soon, also in the middle of its prompt. Any thread. */
void request_cancel(Request *request);
/* Gives the handle back (after on_end or before). Any thread. */
void request_release(Request *request);

/* Returns when nothing runs or waits, or false after so many microseconds. */
bool scheduler_drain(Scheduler *scheduler, uint64_t wait_us);

typedef struct SchedulerStats {
    int running, waiting, sequences;
    int pages_used, pages;
    uint64_t steps, prompt_tokens, generated_tokens, cached_tokens, preempted, drafted, accepted;
    PrefixStats prefix;
} SchedulerStats;
SchedulerStats scheduler_stats(Scheduler *scheduler);

#endif
