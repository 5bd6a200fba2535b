/* scheduler.c - see scheduler.h.
 *
 *   submit ──▶ waiting ──admit──▶ running ── step ── step ── … ──▶ on_end
 *                 ▲                  │
 *                 └──── preempted ───┘   when the cache is full: the youngest gives way and starts again later
 *
 * A running text is a list of tokens of which the first `sequence_tokens` are in the cache. If one is missing, it is
 * generating: a step computes that one and draws the next. If more are missing, it is still reading its prompt. */
#include "engine/scheduler.h"

#include "base/clock.h"
#include "engine/draft.h"
#include "engine/pace.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

struct Request {
    RequestSpec spec;
    atomic_int references;
    atomic_bool cancelled;
    Request *next;
    uint64_t submitted_us, admitted_us, first_us;

    int32_t *tokens; /* prompt and what was drawn */
    int n, n_prompt;
    size_t capacity;
    Sequence *sequence;
    Sampler *sampler;
    RequestStats stats;
    bool started;    /* a token was drawn: a second admission goes on with the text */
    int rows, first_row, first_wanted; /* in the step being made */
    int drafts;      /* of these rows guessed tokens */
    int told;        /* prompt tokens whose log-probabilities were given */

    /* What the draw after the step gave, for the rows that were wanted. */
    int n_drawn;
    RequestToken drawn[DRAFT_MAX + 1];
    Status draw_status;
    Error draw_error;
};

typedef struct Client {
    uint64_t id, served; /* tokens: of prompts, and generated */
} Client;

enum { MAX_CLIENTS = 256 };

struct Scheduler {
    const Model *model;
    SchedulerSpec spec;
    const Kernels *kernels;
    Program *program;
    Cache *cache;
    Prefix *prefix;
    pthread_t thread;
    bool has_thread;

    pthread_mutex_t lock; /* of the queue and the statistics */
    pthread_cond_t wake, idle;
    Request *waiting, *waiting_last;
    int n_waiting;
    bool closing;
    SchedulerStats stats; /* the thread's own */
    SchedulerStats shown; /* the same for others, under the lock */

    /* The scheduler's thread only. */
    Request **running;
    int n_running;
    Client clients[MAX_CLIENTS];
    int n_client;
    uint64_t served_floor;
    int32_t *tokens, *wanted; /* of a step */
    Run *runs;
    int max_wanted;
    atomic_int next_draw;
    Pace pace;
    Draft *draft; /* NULL: nothing is guessed ahead */
};

/* ---- opening ---------------------------------------------------------------------------------------------------------- */

static Status complete(const Model *model, SchedulerSpec *spec, ProgramSpec *program, Error *err) {
    TRY(model_must_write(model, err));
    FAIL_IF(spec->context < 1 || spec->sequences < 1 || spec->pool == NULL, ERR_ARGUMENT, "a scheduler for nothing");
    const Kernels *kernels;
    TRY(kernels_best(&kernels, err));
    if (spec->max_rows == 0)
        spec->max_rows = 512;
    spec->max_rows = MAX(spec->max_rows, spec->sequences);
    if (spec->cache_tokens == 0)
        spec->cache_tokens = (int64_t)spec->context * spec->sequences;
    spec->cache_tokens = MAX(spec->cache_tokens, spec->context);
    if (spec->precision == PRECISION_F32)
        spec->cache_type = CACHE_F32;
    spec->draft_tokens = MIN(MAX(spec->draft_tokens, 0), DRAFT_MAX);
    /* Rows of logits: one for each text, guesses for one of them, and pieces of a prompt whose logits are asked for. */
    *program = (ProgramSpec){.precision = spec->precision, .kernels = kernels, .max_rows = spec->max_rows,
                             .max_wanted = spec->sequences + DRAFT_MAX + 16, .max_context = spec->context,
                             .n_thread = pool_threads(spec->pool)};
    return OK;
}

static DraftSpec draft_spec(const Model *model, const SchedulerSpec *spec) {
    return (DraftSpec){.target = model, .model = spec->draft, .precision = spec->precision, .cache_type = spec->cache_type,
                       .context = spec->context, .most = spec->draft_tokens, .pool = spec->pool};
}

/* Where tokens cannot be taken back, only who asks for a guessing model is told of it. */
static bool is_drafting(const Model *model, const SchedulerSpec *spec) {
    return spec->draft_tokens > 0 && (spec->draft != NULL || draft_possible(model));
}

static size_t small_bytes(const SchedulerSpec *spec, const Model *model) {
    /* A sampler holds the logits, candidates and counts of a vocabulary. */
    return (size_t)spec->sequences * (size_t)model_vocab(model) * 18;
}

Status scheduler_memory(const Model *model, const SchedulerSpec *wanted, size_t *bytes, Error *err) {
    SchedulerSpec spec = *wanted;
    ProgramSpec program;
    TRY(complete(model, &spec, &program, err));
    TRY(program_bytes(model_graph(model), model_weights(model), program, bytes, err));
    *bytes += cache_bytes(model_graph(model), spec.cache_type, spec.cache_tokens, spec.sequences) + small_bytes(&spec, model);
    if (is_drafting(model, &spec)) {
        const DraftSpec draft = draft_spec(model, &spec);
        size_t more;
        TRY(draft_memory(&draft, &more, err));
        *bytes += more;
    }
    return OK;
}

static void *run_scheduler(void *arg);

Status scheduler_open(const Model *model, SchedulerSpec spec, Scheduler **out, Error *err) {
    *out = NULL;
    ProgramSpec program;
    TRY(complete(model, &spec, &program, err));
    Scheduler *s = mem_zalloc(sizeof *s, MEM_MISC);
    FAIL_IF(s == NULL, ERR_MEMORY, "no memory for a scheduler");
    s->model = model;
    s->spec = spec;
    s->kernels = program.kernels;
    s->max_wanted = program.max_wanted;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->wake, NULL);
    pthread_cond_init(&s->idle, NULL);
    s->running = mem_array((size_t)spec.sequences, sizeof(Request *), MEM_MISC);
    s->tokens = mem_array((size_t)spec.max_rows, sizeof *s->tokens, MEM_MISC);
    s->wanted = mem_array((size_t)program.max_wanted, sizeof *s->wanted, MEM_MISC);
    s->runs = mem_array((size_t)spec.sequences, sizeof *s->runs, MEM_MISC);
    Status status = OK;
    if (s->running == NULL || s->tokens == NULL || s->wanted == NULL || s->runs == NULL)
        status = error_set(err, ERR_MEMORY, "no memory for a scheduler");
    if (status == OK)
        status = program_open(model_graph(model), model_weights(model), program, &s->program, err);
    if (status == OK)
        status = cache_open(model_graph(model), spec.cache_type, spec.cache_tokens, spec.sequences, &s->cache, err);
    if (status == OK)
        status = prefix_open(s->cache, spec.identity, spec.identity_bytes, (size_t)512 << 20, spec.spill, &s->prefix, err);
    if (status == OK && is_drafting(model, &spec)) {
        const DraftSpec draft = draft_spec(model, &spec);
        status = draft_open(&draft, &s->draft, err);
    }
    if (status == OK) {
        s->has_thread = pthread_create(&s->thread, NULL, run_scheduler, s) == 0;
        if (!s->has_thread)
            status = error_set(err, ERR_MEMORY, "the scheduler's thread could not be started");
    }
    if (status != OK) {
        scheduler_close(s);
        return status;
    }
    *out = s;
    return OK;
}

void scheduler_close(Scheduler *s) {
    if (s == NULL)
        return;
    if (s->has_thread) {
        pthread_mutex_lock(&s->lock);
        s->closing = true;
        pthread_cond_signal(&s->wake);
        pthread_mutex_unlock(&s->lock);
        pthread_join(s->thread, NULL);
    }
    draft_close(s->draft);
    prefix_close(s->prefix);
    cache_close(s->cache);
    program_close(s->program);
    mem_free(s->running);
    mem_free(s->tokens);
    mem_free(s->wanted);
    mem_free(s->runs);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->wake);
    pthread_cond_destroy(&s->idle);
    mem_free(s);
}

/* ---- requests ------------------------------------------------------------------------------------------------------------- */

static void release_parts(Request *r) {
    sampler_close(r->sampler);
    mem_free(r->tokens);
    mem_free(r);
}

void request_release(Request *r) {
    if (r != NULL && atomic_fetch_sub(&r->references, 1) == 1)
        release_parts(r);
}

void request_cancel(Request *r) {
    atomic_store(&r->cancelled, true);
}

Status scheduler_submit(Scheduler *s, const RequestSpec *spec, Request **out, Error *err) {
    *out = NULL;
    FAIL_IF(spec->n < 1, ERR_ARGUMENT, "the prompt is empty");
    FAIL_IF(spec->n > s->spec.context || (spec->n == s->spec.context && spec->max_tokens != 0), ERR_LIMIT,
            "the prompt has %d tokens, the context %d; shorten it or serve the model with a larger context", spec->n,
            s->spec.context);
    for (int i = 0; i < spec->n; i++)
        FAIL_IF(spec->tokens[i] < 0 || spec->tokens[i] >= model_graph(s->model)->vocab_rows, ERR_ARGUMENT,
                "token %d is outside the vocabulary of %d", spec->tokens[i], model_graph(s->model)->vocab_rows);
    Request *r = mem_zalloc(sizeof *r, MEM_MISC);
    FAIL_IF(r == NULL, ERR_MEMORY, "no memory for a request");
    atomic_store(&r->references, 2); /* the caller's and ours */
    r->spec = *spec;
    r->n = r->n_prompt = spec->n;
    r->capacity = (size_t)spec->n + 64;
    r->tokens = mem_array(r->capacity, sizeof *r->tokens, MEM_MISC);
    Status status = r->tokens == NULL ? error_set(err, ERR_MEMORY, "no memory for a prompt of %d tokens", spec->n) : OK;
    if (status == OK)
        status = sampler_open(spec->sample, model_vocab(s->model), &r->sampler, err);
    if (status != OK) {
        release_parts(r);
        return status;
    }
    memcpy(r->tokens, spec->tokens, (size_t)spec->n * sizeof *r->tokens);
    r->spec.tokens = NULL;
    r->stats.prompt_tokens = spec->n;
    r->submitted_us = clock_us();

    pthread_mutex_lock(&s->lock);
    if (s->closing || s->n_waiting >= s->spec.max_waiting) {
        const int waiting = s->n_waiting;
        const bool closing = s->closing;
        pthread_mutex_unlock(&s->lock);
        release_parts(r);
        return error_set(err, ERR_BUSY, closing ? "the model is being unloaded" : "%d requests wait already; try again later",
                         waiting);
    }
    if (s->waiting_last != NULL)
        s->waiting_last->next = r;
    else
        s->waiting = r;
    s->waiting_last = r;
    s->n_waiting++;
    pthread_cond_signal(&s->wake);
    pthread_mutex_unlock(&s->lock);
    *out = r;
    return OK;
}

/* Takes a request out of the running ones and tells its end. What was computed of it is kept for others. */
static void end_request(Scheduler *s, Request *r, RequestEnd end, const Error *err) {
    static const Error none = {0};
    const uint64_t now = clock_us();
    if (r->admitted_us != 0)
        r->stats.generate_us = now - (r->first_us != 0 ? r->first_us : r->admitted_us);
    else
        r->stats.queue_us = now - r->submitted_us;
    for (int i = 0; i < s->n_running; i++)
        if (s->running[i] == r)
            s->running[i] = s->running[--s->n_running];
    if (r->sequence != NULL && end != REQUEST_FAILED)
        prefix_keep(s->prefix, r->tokens, r->n, r->sequence, true);
    sequence_close(r->sequence);
    r->sequence = NULL;
    pthread_mutex_lock(&s->lock); /* who is told of the end finds it counted */
    s->shown = s->stats;
    pthread_mutex_unlock(&s->lock);
    r->spec.on_end(r->spec.user, end, &r->stats, err != NULL ? err : &none);
    request_release(r);
}

/* ---- admission -------------------------------------------------------------------------------------------------------------- */

static Client *client_of(Scheduler *s, uint64_t id) {
    for (int i = 0; i < s->n_client; i++)
        if (s->clients[i].id == id)
            return &s->clients[i];
    int at = s->n_client < MAX_CLIENTS ? s->n_client++ : 0;
    for (int i = 0; at == 0 && s->n_client == MAX_CLIENTS && i < MAX_CLIENTS; i++)
        if (s->clients[i].served < s->clients[at].served)
            at = i;
    s->clients[at] = (Client){.id = id, .served = s->served_floor}; /* a newcomer does not make up for the past */
    return &s->clients[at];
}

/* The waiting request whose client has been served least; the older one of a client first. Under the lock. */
static Request *pick_waiting(Scheduler *s, Request **before) {
    Request *best = NULL, *previous = NULL;
    uint64_t least = UINT64_MAX;
    *before = NULL;
    for (Request *r = s->waiting; r != NULL; previous = r, r = r->next) {
        const uint64_t served = client_of(s, r->spec.client)->served;
        if (served < least) {
            least = served;
            best = r;
            *before = previous;
        }
    }
    return best;
}

static void unlink_waiting(Scheduler *s, Request *r, Request *before) {
    if (before != NULL)
        before->next = r->next;
    else
        s->waiting = r->next;
    if (s->waiting_last == r)
        s->waiting_last = before;
    r->next = NULL;
    s->n_waiting--;
}

/* Requests that ended while they waited. */
static void sweep_waiting(Scheduler *s) {
    for (;;) {
        Request *gone = NULL;
        const uint64_t now = clock_us();
        pthread_mutex_lock(&s->lock);
        Request *before = NULL;
        for (Request *r = s->waiting; r != NULL && gone == NULL; r = r->next) {
            if (atomic_load(&r->cancelled) || (r->spec.deadline_us != 0 && now > r->spec.deadline_us))
                gone = r;
            else
                before = r;
        }
        if (gone != NULL)
            unlink_waiting(s, gone, before);
        pthread_mutex_unlock(&s->lock);
        if (gone == NULL)
            return;
        end_request(s, gone, atomic_load(&gone->cancelled) ? REQUEST_CANCELLED : REQUEST_DEADLINE, NULL);
    }
}

static bool admit_one(Scheduler *s) {
    Request *before;
    pthread_mutex_lock(&s->lock);
    Request *r = s->n_running < s->spec.sequences ? pick_waiting(s, &before) : NULL;
    if (r != NULL) {
        /* Its prompt must fit beside what runs; if nothing runs, it must fit. */
        const int pages = (r->n + PREFIX_RUN - 1) / PREFIX_RUN + 1;
        const bool room = prefix_make_room(s->prefix, MIN(pages, cache_pages(s->cache, 0)));
        if (!room && s->n_running > 0)
            r = NULL;
    }
    if (r != NULL)
        unlink_waiting(s, r, before);
    pthread_mutex_unlock(&s->lock);
    if (r == NULL)
        return false;
    Error err = {0};
    if (sequence_open(s->cache, s->spec.context, &r->sequence, &err) != OK) {
        end_request(s, r, REQUEST_FAILED, &err);
        return true;
    }
    const uint64_t now = clock_us();
    const int found = r->spec.prompt_logprobs ? 0 : prefix_resume(s->prefix, r->tokens, r->n, r->sequence);
    if (r->admitted_us == 0) {
        r->admitted_us = now;
        r->stats.queue_us = now - r->submitted_us;
        r->stats.cached_tokens = found;
        r->stats.first_difference = MAX(found, prefix_difference(s->prefix, r->tokens, r->n_prompt));
        s->stats.cached_tokens += (uint64_t)found;
    }
    s->running[s->n_running++] = r;
    return true;
}

/* The youngest text goes back to wait, so that the others can go on; not one that has rows in the step being made. */
static bool preempt(Scheduler *s, const Request *but) {
    Request *youngest = NULL;
    for (int i = 0; i < s->n_running; i++) {
        Request *r = s->running[i];
        if (r != but && r->rows == 0 && (youngest == NULL || r->admitted_us > youngest->admitted_us))
            youngest = r;
    }
    if (youngest == NULL)
        return false;
    for (int i = 0; i < s->n_running; i++)
        if (s->running[i] == youngest)
            s->running[i] = s->running[--s->n_running];
    prefix_keep(s->prefix, youngest->tokens, youngest->n, youngest->sequence, true);
    sequence_close(youngest->sequence);
    youngest->sequence = NULL;
    youngest->rows = 0;
    pthread_mutex_lock(&s->lock);
    youngest->next = s->waiting;
    s->waiting = youngest;
    if (s->waiting_last == NULL)
        s->waiting_last = youngest;
    s->n_waiting++;
    s->stats.preempted++;
    pthread_mutex_unlock(&s->lock);
    return true;
}

/* ---- making a step ------------------------------------------------------------------------------------------------------------ */

static int missing(const Request *r) {
    return r->n - sequence_tokens(r->sequence);
}

static bool reserve(Scheduler *s, Request *r, int rows) {
    while (sequence_reserve(r->sequence, rows, NULL) != OK) {
        const int pages = rows / PREFIX_RUN + 2;
        if (!prefix_make_room(s->prefix, pages) && !preempt(s, r))
            return false;
    }
    return true;
}

/* The prompt of the client that has been served least. */
static Request *pick_reader(Scheduler *s) {
    Request *best = NULL;
    for (int i = 0; i < s->n_running; i++) {
        Request *r = s->running[i];
        if (r->rows > 0 || missing(r) <= 1)
            continue;
        if (best == NULL || client_of(s, r->spec.client)->served < client_of(s, best->spec.client)->served ||
            (r->spec.client == best->spec.client && r->admitted_us < best->admitted_us))
            best = r;
    }
    return best;
}

/* How far a prompt may go in one piece: layers with a memory stop at the last whole run, where it is copied. */
static int piece_of(const Scheduler *s, const Request *r, int budget) {
    int rows = MIN(missing(r), budget);
    if (prefix_needs_memory(s->prefix)) {
        const int at = sequence_tokens(r->sequence), border = (r->n - 1) / PREFIX_RUN * PREFIX_RUN;
        if (at < border && at + rows > border)
            rows = border - at;
    }
    if (r->spec.prompt_logprobs)
        rows = MIN(rows, 16);
    return rows;
}

static void add_rows(Scheduler *s, Batch *b, Request *r, int rows) {
    const int at = sequence_tokens(r->sequence);
    r->first_row = b->n_row;
    r->first_wanted = b->n_wanted;
    r->rows = rows;
    s->runs[b->n_run++] = (Run){.sequence = r->sequence, .row0 = b->n_row, .n_row = rows};
    memcpy(s->tokens + b->n_row, r->tokens + at, (size_t)rows * sizeof *s->tokens);
    const bool all = r->spec.prompt_logprobs && at < r->n_prompt;
    const bool last = at + rows == r->n + r->drafts;
    for (int i = 0; i < rows; i++)
        if (all || (last && i >= rows - 1 - r->drafts))
            s->wanted[b->n_wanted++] = b->n_row + i;
    b->n_row += rows;
}

/* Guesses behind the tokens of a text that is generated alone. Constraints advance with each token that is taken: they
 * cannot judge a guess ahead of its time. */
static int guess_ahead(Scheduler *s, Request *r) {
    if (s->draft == NULL || s->n_running != 1 || r->spec.mask != NULL || prefix_needs_memory(s->prefix))
        return 0;
    int most = s->spec.context - r->n - 1;
    if (r->spec.max_tokens >= 0)
        most = MIN(most, r->spec.max_tokens - r->stats.generated_tokens - 1);
    if (!mem_grow((void **)&r->tokens, &r->capacity, (size_t)r->n + DRAFT_MAX + 1, sizeof *r->tokens, MEM_MISC))
        return 0;
    return draft_guess(s->draft, r->tokens, r->n, r->n_prompt, r->sampler, most, r->tokens + r->n);
}

static bool make_batch(Scheduler *s, Batch *b) {
    *b = (Batch){.tokens = s->tokens, .runs = s->runs, .wanted = s->wanted};
    int generating = 0;
    for (int i = 0; i < s->n_running; i++) {
        s->running[i]->rows = s->running[i]->drafts = 0;
        generating += missing(s->running[i]) == 1;
    }
    for (int i = 0; i < s->n_running; i++) { /* preempting moves the last one to place i: look at it again */
        Request *r = s->running[i];
        if (missing(r) != 1)
            continue;
        r->drafts = guess_ahead(s, r);
        if (!reserve(s, r, 1 + r->drafts)) {
            if (b->n_run > 0) { /* those that are in this step will end and make room */
                r->drafts = 0;
                continue;
            }
            Error err = {0};
            error_set(&err, ERR_LIMIT, "the cache has no room for another token");
            end_request(s, r, REQUEST_FAILED, &err);
            i--;
            continue;
        }
        if (i < s->n_running && s->running[i] == r)
            add_rows(s, b, r, 1 + r->drafts);
        else
            i--;
    }
    int budget = pace_rows(&s->pace, generating > 0, s->spec.max_rows - generating);
    for (Request *r; budget > 0 && b->n_run < s->spec.sequences && (r = pick_reader(s)) != NULL;) {
        const int rows = piece_of(s, r, budget);
        if (rows < 1 || b->n_wanted + 16 > s->max_wanted)
            break;
        bool fits = sequence_reserve(r->sequence, rows, NULL) == OK;
        if (!fits && prefix_make_room(s->prefix, rows / PREFIX_RUN + 2))
            fits = sequence_reserve(r->sequence, rows, NULL) == OK;
        if (!fits && b->n_run > 0)
            break; /* texts that are being generated will end and make room */
        if (!fits && !reserve(s, r, rows)) {
            Error err = {0};
            error_set(&err, ERR_LIMIT, "the cache has no room for the prompt");
            end_request(s, r, REQUEST_FAILED, &err);
            continue;
        }
        add_rows(s, b, r, rows);
        budget -= rows;
        Client *c = client_of(s, r->spec.client);
        c->served += (uint64_t)rows;
        s->served_floor = MAX(s->served_floor, c->served > 4096 ? c->served - 4096 : 0);
    }
    return b->n_row > 0;
}

/* ---- after a step ---------------------------------------------------------------------------------------------------------------- */

static void describe_token(const Scheduler *s, const Request *r, const float *logits, RequestToken *t) {
    const int vocab = model_vocab(s->model);
    t->n_top = 0;
    if (r->spec.logprobs < 0)
        return;
    t->logprob = logprob_of(logits, vocab, t->token);
    t->n_top = MIN(r->spec.logprobs, REQUEST_LOGPROBS);
    if (t->n_top > 0)
        best_logprobs(logits, vocab, t->n_top, t->top, t->top_logprobs);
}

/* Draws for one request: the next token, and as long as it is what was guessed, the one after it. */
static void draw_for(Scheduler *s, Request *r) {
    int row = r->first_wanted;
    const int at = sequence_tokens(r->sequence); /* not advanced yet */
    r->n_drawn = 0;
    r->draw_status = OK;
    const bool whole = at + r->rows >= r->n;
    if (!whole)
        return;
    if (r->spec.prompt_logprobs && at < r->n_prompt)
        row += r->rows - 1;
    for (int i = 0; i <= r->drafts; i++) {
        RequestToken *t = &r->drawn[r->n_drawn];
        const uint64_t *mask = r->spec.mask != NULL ? r->spec.mask(r->spec.user) : NULL;
        const float *logits = program_logits(s->program, row + i);
        r->draw_status = sampler_pick(r->sampler, logits, r->tokens, r->n + i, r->n_prompt, mask,
                                      &t->token, &r->draw_error);
        if (r->draw_status != OK)
            return;
        t->is_end = !r->spec.ignore_end && model_ends_at(s->model, t->token);
        describe_token(s, r, logits, t);
        r->n_drawn++;
        if (i == r->drafts || t->token != r->tokens[r->n + i] || t->is_end)
            return;
    }
}

static void draw_in_parallel(void *arg, int thread, int n_thread) {
    Scheduler *s = arg;
    (void)thread;
    (void)n_thread;
    for (;;) {
        const int i = atomic_fetch_add(&s->next_draw, 1);
        if (i >= s->n_running)
            return;
        if (s->running[i]->rows > 0)
            draw_for(s, s->running[i]);
    }
}

/* Log-probabilities of the prompt's own tokens, from the rows that were just computed. */
static bool tell_prompt(Scheduler *s, Request *r, int at) {
    for (int i = 0; i < r->rows && at + i + 1 < r->n_prompt; i++) {
        RequestToken t = {.token = r->tokens[at + i + 1]};
        describe_token(s, r, program_logits(s->program, r->first_wanted + i), &t);
        if (!r->spec.on_token(r->spec.user, &t))
            return false;
    }
    return true;
}

/* Hands out what was drawn; false when the request has ended. */
static bool deliver(Scheduler *s, Request *r, int at) {
    if (r->draw_status != OK) {
        end_request(s, r, REQUEST_FAILED, &r->draw_error);
        return false;
    }
    if (r->spec.prompt_logprobs && at < r->n_prompt && !tell_prompt(s, r, at)) {
        end_request(s, r, REQUEST_ENOUGH, NULL);
        return false;
    }
    if (at < r->n_prompt && !r->started) {
        if (r->spec.on_prompt != NULL)
            r->spec.on_prompt(r->spec.user, MIN(at + r->rows, r->n_prompt), r->n_prompt, r->stats.cached_tokens);
        s->stats.prompt_tokens += (uint64_t)r->rows;
    }
    for (int i = 0; i < r->n_drawn; i++) {
        const RequestToken *t = &r->drawn[i];
        if (!r->started) {
            r->started = true;
            r->first_us = clock_us();
            r->stats.prompt_us = r->first_us - r->admitted_us;
        }
        if (r->spec.max_tokens == 0) {
            end_request(s, r, REQUEST_LENGTH, NULL);
            return false;
        }
        if (!mem_grow((void **)&r->tokens, &r->capacity, (size_t)r->n + 2, sizeof *r->tokens, MEM_MISC)) {
            Error err = {0};
            error_set(&err, ERR_MEMORY, "no memory for a longer text");
            end_request(s, r, REQUEST_FAILED, &err);
            return false;
        }
        r->tokens[r->n++] = t->token;
        client_of(s, r->spec.client)->served++;
        r->stats.generated_tokens++;
        s->stats.generated_tokens++;
        const bool go_on = r->spec.on_token(r->spec.user, t);
        const bool full = r->n >= s->spec.context || (r->spec.max_tokens >= 0 && r->stats.generated_tokens >= r->spec.max_tokens);
        if (t->is_end || !go_on || full) {
            end_request(s, r, t->is_end ? REQUEST_STOP : !go_on ? REQUEST_ENOUGH : REQUEST_LENGTH, NULL);
            return false;
        }
    }
    return true;
}

/* True when everybody in the step has left: it is not worth finishing. */
static bool nobody_left(void *user) {
    const Scheduler *s = user;
    for (int i = 0; i < s->n_running; i++)
        if (s->running[i]->rows > 0 && !atomic_load(&s->running[i]->cancelled))
            return false;
    return true;
}

static void learn(Scheduler *s, double ns) {
    int generating = 0, prompt = 0, drafts = 0;
    for (int i = 0; i < s->n_running; i++) {
        const Request *r = s->running[i];
        if (r->rows > 1 + r->drafts || (r->rows == 1 && !r->started))
            prompt += r->rows;
        else if (r->rows > 0)
            generating++;
        drafts += r->drafts;
    }
    if (drafts == 0)
        pace_learn(&s->pace, generating, prompt, ns);
    if (prompt == 0 && generating == 1 && s->draft != NULL)
        draft_learn_cost(s->draft, drafts, ns);
}

static void run_step(Scheduler *s) {
    Batch b;
    if (!make_batch(s, &b))
        return;
    b.stop = nobody_left;
    b.user = s;
    Error err = {0};
    const uint64_t began = clock_ns();
    const Status status = program_run(s->program, s->spec.pool, &b, &err);
    if (status != OK && status != ERR_CANCELLED) { /* a lost file costs this model's requests, not the process */
        while (s->n_running > 0)
            end_request(s, s->running[0], REQUEST_FAILED, &err);
        return;
    }
    if (status == ERR_CANCELLED)
        return; /* those who left are swept away before the next step */
    learn(s, (double)(clock_ns() - began));
    atomic_store(&s->next_draw, 0);
    if (s->n_running > 1)
        pool_run(s->spec.pool, draw_in_parallel, s);
    else
        draw_in_parallel(s, 0, 1);
    pthread_mutex_lock(&s->lock);
    s->stats.steps++;
    pthread_mutex_unlock(&s->lock);
    for (int i = s->n_running - 1; i >= 0; i--) { /* ending one moves the last into its place, which was done already */
        Request *r = s->running[i];
        if (r->rows == 0)
            continue;
        const int at = sequence_tokens(r->sequence), before = r->n;
        sequence_advance(r->sequence, r->rows);
        if (r->drafts > 0) {
            const int taken = MAX(r->n_drawn - 1, 0);
            r->stats.drafted_tokens += r->drafts;
            r->stats.accepted_tokens += taken;
            s->stats.drafted += (uint64_t)r->drafts;
            s->stats.accepted += (uint64_t)taken;
            draft_learn_luck(s->draft, r->drafts, taken);
            sequence_cut(r->sequence, before + taken);
        }
        if (prefix_needs_memory(s->prefix) && sequence_tokens(r->sequence) % PREFIX_RUN == 0 &&
            sequence_tokens(r->sequence) == (r->n_prompt - 1) / PREFIX_RUN * PREFIX_RUN)
            prefix_keep(s->prefix, r->tokens, r->n, r->sequence, true);
        if (deliver(s, r, at) && at < r->n_prompt && r->started)
            prefix_keep(s->prefix, r->tokens, r->n_prompt, r->sequence, false); /* others may have the same prompt */
    }
}

static void sweep_running(Scheduler *s) {
    const uint64_t now = clock_us();
    for (int i = s->n_running - 1; i >= 0; i--) {
        Request *r = s->running[i];
        if (atomic_load(&r->cancelled))
            end_request(s, r, REQUEST_CANCELLED, NULL);
        else if (r->spec.deadline_us != 0 && now > r->spec.deadline_us)
            end_request(s, r, REQUEST_DEADLINE, NULL);
    }
}

static void publish(Scheduler *s) {
    pthread_mutex_lock(&s->lock);
    s->stats.running = s->n_running;
    s->stats.waiting = s->n_waiting;
    s->stats.sequences = s->spec.sequences;
    s->stats.pages = cache_groups(s->cache) > 0 ? cache_pages(s->cache, 0) : 0;
    s->stats.pages_used = s->stats.pages - (cache_groups(s->cache) > 0 ? cache_free_pages(s->cache, 0) : 0);
    s->stats.prefix = prefix_stats(s->prefix);
    s->shown = s->stats;
    if (s->n_running == 0 && s->n_waiting == 0)
        pthread_cond_broadcast(&s->idle);
    pthread_mutex_unlock(&s->lock);
}

static void *run_scheduler(void *arg) {
    Scheduler *s = arg;
    pool_take_long_turns();
    for (;;) {
        pthread_mutex_lock(&s->lock);
        while (!s->closing && s->waiting == NULL && s->n_running == 0)
            pthread_cond_wait(&s->wake, &s->lock);
        const bool closing = s->closing;
        pthread_mutex_unlock(&s->lock);
        if (closing)
            break;
        sweep_waiting(s);
        sweep_running(s);
        while (admit_one(s))
            ;
        if (s->n_running > 0)
            run_step(s);
        publish(s);
    }
    while (s->n_running > 0)
        end_request(s, s->running[0], REQUEST_CANCELLED, NULL);
    for (;;) {
        pthread_mutex_lock(&s->lock);
        Request *r = s->waiting;
        if (r != NULL)
            unlink_waiting(s, r, NULL);
        pthread_mutex_unlock(&s->lock);
        if (r == NULL)
            return NULL;
        end_request(s, r, REQUEST_CANCELLED, NULL);
    }
}

bool scheduler_drain(Scheduler *s, uint64_t wait_us) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)(wait_us / 1000000);
    until.tv_nsec += (long)(wait_us % 1000000) * 1000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&s->lock);
    bool done = true;
    while (done && (s->waiting != NULL || s->shown.running > 0))
        done = pthread_cond_timedwait(&s->idle, &s->lock, &until) == 0;
    pthread_mutex_unlock(&s->lock);
    return done;
}

SchedulerStats scheduler_stats(Scheduler *s) {
    pthread_mutex_lock(&s->lock);
    const SchedulerStats stats = s->shown;
    pthread_mutex_unlock(&s->lock);
    return stats;
}
