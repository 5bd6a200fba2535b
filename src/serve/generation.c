/* generation.c - see generation.h. The structure lives until both sides have let go of it: the reply's thread, and the
 * callbacks of every choice that was submitted. */
#include "serve/generation.h"

#include "base/clock.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

typedef struct Item Item;
struct Item {
    Item *next;
    Piece piece;
    RequestToken token;
    char strings[]; /* id, name, text: each with its NUL */
};

typedef struct Strand {
    Generation *generation;
    int index;
    Answer *answer;
    Request *request;
    bool in_reasoning;
    GrammarState *state; /* NULL: anything may come */
    bool constrained;    /* the reasoning is over */
    size_t looked_at;    /* of the answer: no mark that ends the reasoning begins before */
    uint64_t *mask;
    bool enough;     /* single_call: there is one */
    bool closing;    /* the mark that ends the reasoning is being forced, or was */
    size_t closed;   /* tokens of it that have come */
    int prompt_left; /* prompt tokens whose log-probabilities are still to come */
    Ending ending; /* the scheduler's */
    Ending shown;  /* the same for the reply's thread, under the lock */
    Error err;
} Strand;

struct Generation {
    GenerationSpec spec;
    atomic_int references;
    int32_t *tokens;
    LogitBias *bias;
    int32_t *breakers;
    TokenIds close_mark; /* what ends the reasoning */
    int bell;            /* eventfd: there is something in the queue */
    uint64_t began_us;

    pthread_mutex_t lock;
    Item *first, *last;
    int ended, submitted;
    atomic_bool failed; /* no memory for a piece: the text would have a hole */

    Item *taken; /* by generation_next, reply's thread only */
    bool cancelled;
    int n_choice;
    Strand choices[];
};

static void drop(Generation *g) {
    if (atomic_fetch_sub(&g->references, 1) != 1)
        return;
    if (g->spec.released != NULL)
        g->spec.released(g->spec.user, g);
    for (int i = 0; i < g->n_choice; i++) {
        answer_close(g->choices[i].answer);
        grammar_state_free(g->choices[i].state);
        mem_free(g->choices[i].mask);
        request_release(g->choices[i].request);
    }
    grammar_free(g->spec.grammar);
    token_ids_free(&g->close_mark);
    while (g->first != NULL) {
        Item *next = g->first->next;
        mem_free(g->first);
        g->first = next;
    }
    mem_free(g->taken);
    if (g->bell >= 0)
        close(g->bell);
    json_decref((json_t *)(uintptr_t)g->spec.tools);
    mem_free(g->tokens);
    mem_free(g->bias);
    mem_free(g->breakers);
    pthread_mutex_destroy(&g->lock);
    mem_free(g);
}

/* ---- the scheduler's side ---------------------------------------------------------------------------------------- */

static void ring(const Generation *g) {
    const uint64_t one = 1;
    ssize_t wrote;
    do
        wrote = write(g->bell, &one, sizeof one);
    while (wrote < 0 && errno == EINTR);
}

static size_t length(const char *string) {
    return string != NULL ? strlen(string) + 1 : 0;
}

static void add_piece(Strand *c, Piece piece) {
    Generation *g = c->generation;
    const size_t id = length(piece.id), name = length(piece.name);
    Item *item = mem_alloc(sizeof *item + id + name + piece.bytes + 1, MEM_NETWORK);
    if (item == NULL) {
        g->failed = true;
        return;
    }
    item->next = NULL;
    piece.choice = c->index;
    char *at = item->strings;
    if (id > 0)
        piece.id = memcpy(at, piece.id, id);
    at += id;
    if (name > 0)
        piece.name = memcpy(at, piece.name, name);
    at += name;
    if (piece.bytes > 0)
        memcpy(at, piece.text, piece.bytes);
    at[piece.bytes] = '\0';
    piece.text = at;
    if (piece.token != NULL) {
        item->token = *piece.token;
        piece.token = &item->token;
    }
    item->piece = piece;
    pthread_mutex_lock(&g->lock);
    if (g->last != NULL)
        g->last->next = item;
    else
        g->first = item;
    g->last = item;
    pthread_mutex_unlock(&g->lock);
    ring(g);
}

static void on_delta(void *user, const ReplyDelta *d) {
    static const PieceKind kinds[] = {[REPLY_CONTENT] = PIECE_TEXT,
                                      [REPLY_REASONING] = PIECE_REASONING,
                                      [REPLY_CALL] = PIECE_CALL,
                                      [REPLY_ARGUMENTS] = PIECE_ARGUMENTS,
                                      [REPLY_CALL_END] = PIECE_CALL_END};
    Strand *c = user;
    if (c->generation->spec.single_call) {
        c->enough = c->enough || d->kind == REPLY_CALL_END;
        if (d->index > 0 && d->kind != REPLY_CONTENT && d->kind != REPLY_REASONING)
            return;
    }
    c->in_reasoning = d->kind == REPLY_REASONING;
    c->ending.calls = c->ending.calls || d->kind == REPLY_CALL;
    if (d->bytes == 0 && (d->kind == REPLY_CONTENT || d->kind == REPLY_REASONING || d->kind == REPLY_ARGUMENTS))
        return;
    add_piece(c, (Piece){.kind = kinds[d->kind],
                         .index = d->index,
                         .id = d->id,
                         .name = d->name,
                         .text = d->text,
                         .bytes = d->bytes});
}

/* When the reasoning has used up its tokens, the mark that ends it must come. */
static bool must_close(Strand *c) {
    const Generation *g = c->generation;
    const int most = g->spec.reasoning_tokens;
    if (!c->closing && most >= 0 && c->in_reasoning && c->ending.reasoning_tokens >= most)
        c->closing = true;
    return c->closing && c->closed < g->close_mark.count;
}

/* Which tokens may come. What goes wrong here ends the text at the next token: it must not go on without its bounds. */
static const uint64_t *mask(void *user) {
    Strand *c = user;
    if (c->err.status != OK)
        return NULL;
    if (must_close(c)) {
        const size_t next = (size_t)c->generation->close_mark.ids[c->closed];
        memset(c->mask, 0, (((size_t)model_vocab(c->generation->spec.model) + 63) / 64 + 1) * sizeof *c->mask);
        c->mask[next / 64] |= (uint64_t)1 << next % 64;
        return c->mask;
    }
    if (!c->constrained)
        return NULL;
    return grammar_mask(c->state, (uint32_t *)(void *)c->mask, &c->err) == OK ? c->mask : NULL;
}

/* The reasoning is over behind the mark that ends it. */
static bool reasoning_is_over(Strand *c) {
    const char *mark = reply_reasoning_close(c->generation->spec.reply_format);
    const Text *answer = answer_text(c->answer);
    const size_t length = mark != NULL ? strlen(mark) : 0;
    for (; c->looked_at + length <= answer->count; c->looked_at++)
        if (length == 0 || memcmp(answer->bytes + c->looked_at, mark, length) == 0)
            return true;
    return false;
}

/* The token of a constrained text; false when that is at its end, or something went wrong. */
static bool advance(Strand *c, const RequestToken *token) {
    if (!c->constrained) {
        c->constrained = reasoning_is_over(c);
        return true;
    }
    return grammar_accept(c->state, token->token, &c->err) == OK && !grammar_is_done(c->state);
}

static void show(Strand *c) {
    pthread_mutex_lock(&c->generation->lock);
    c->shown = c->ending;
    pthread_mutex_unlock(&c->generation->lock);
}

static bool take_token(Strand *c, const RequestToken *token) {
    Generation *g = c->generation;
    const bool of_prompt = c->prompt_left > 0;
    if (of_prompt)
        c->prompt_left--;
    if (g->spec.logprobs >= 0 || g->spec.tokens_wanted)
        add_piece(c, (Piece){.kind = PIECE_TOKEN, .token = token, .of_prompt = of_prompt});
    if (of_prompt)
        return !g->failed;
    c->ending.last_us = clock_us();
    if (c->ending.first_us == 0)
        c->ending.first_us = c->ending.last_us;
    c->ending.stats.generated_tokens++; /* counted also when the client leaves before the end */
    c->ending.reasoning_tokens += c->in_reasoning;
    if (c->err.status != OK) /* of the mask */
        return false;
    if (c->closing && c->closed < g->close_mark.count)
        c->in_reasoning = ++c->closed < g->close_mark.count;
    if (token->is_end)
        return true;
    if (answer_push(c->answer, token->token, &c->err) != OK)
        return false;
    c->ending.stop = answer_stop(c->answer);
    return c->ending.stop == NULL && !g->failed && !c->enough && (c->state == NULL || advance(c, token));
}

static bool on_token(void *user, const RequestToken *token) {
    const bool more = take_token(user, token);
    show(user);
    return more;
}

static void on_prompt(void *user, int done, int total, int cached) {
    add_piece(user, (Piece){.kind = PIECE_PROGRESS, .done = done, .total = total, .cached = cached});
}

static void on_end(void *user, RequestEnd end, const RequestStats *stats, const Error *err) {
    Strand *c = user;
    Generation *g = c->generation;
    if (end == REQUEST_FAILED)
        c->err = *err;
    if (c->err.status == OK)
        answer_finish(c->answer, &c->err);
    if (g->failed && c->err.status == OK)
        error_set(&c->err, ERR_MEMORY, "no memory for the answer's text");
    c->ending.end = c->err.status != OK ? REQUEST_FAILED : end;
    c->ending.stats = *stats;
    show(c);
    add_piece(c, (Piece){.kind = PIECE_END});
    pthread_mutex_lock(&g->lock);
    g->ended++;
    pthread_mutex_unlock(&g->lock);
    ring(g);
    drop(g);
}

/* ---- the reply's side -------------------------------------------------------------------------------------------- */

static Status submit(Generation *g, int index, Error *err) {
    Strand *c = &g->choices[index];
    RequestSpec request = {.tokens = g->tokens,
                           .n = g->spec.n,
                           .sample = g->spec.sample,
                           .max_tokens = g->spec.max_tokens,
                           .ignore_end = g->spec.ignore_end,
                           .logprobs = g->spec.logprobs,
                           .prompt_logprobs = g->spec.prompt_logprobs,
                           .client = g->spec.client,
                           .deadline_us = g->spec.deadline_us,
                           .on_token = on_token,
                           .on_prompt = g->spec.progress ? on_prompt : NULL,
                           .on_end = on_end,
                           .user = c,
                           .mask = c->mask != NULL ? mask : NULL};
    request.sample.seed += (uint64_t)index;
    atomic_fetch_add(&g->references, 1);
    const Status status = scheduler_submit(g->spec.scheduler, &request, &c->request, err);
    if (status != OK)
        atomic_fetch_sub(&g->references, 1);
    else
        g->submitted++;
    return status;
}

static Status copy_lists(Generation *g, const GenerationSpec *spec, Error *err) {
    const size_t tokens = (size_t)spec->n, bias = (size_t)spec->sample.n_bias,
                 breakers = (size_t)spec->sample.n_dry_breaker;
    g->tokens = mem_array(tokens, sizeof *g->tokens, MEM_NETWORK);
    g->bias = mem_array(bias + 1, sizeof *g->bias, MEM_NETWORK);
    g->breakers = mem_array(breakers + 1, sizeof *g->breakers, MEM_NETWORK);
    FAIL_IF(g->tokens == NULL || g->bias == NULL || g->breakers == NULL, ERR_MEMORY, "no memory for a request");
    memcpy(g->tokens, spec->tokens, tokens * sizeof *g->tokens);
    if (bias > 0)
        memcpy(g->bias, spec->sample.bias, bias * sizeof *g->bias);
    if (breakers > 0)
        memcpy(g->breakers, spec->sample.dry_breakers, breakers * sizeof *g->breakers);
    g->spec.tokens = g->tokens;
    g->spec.sample.bias = g->bias;
    g->spec.sample.dry_breakers = g->breakers;
    return OK;
}

static Status open_choice(Generation *g, int index, Error *err) {
    Strand *c = &g->choices[index];
    const AnswerSpec answer = {.stops = g->spec.stops,
                               .n_stop = g->spec.n_stop,
                               .reply_format = g->spec.reply_format,
                               .tools = g->spec.tools,
                               .inside_reasoning = g->spec.inside_reasoning,
                               .keep_special = g->spec.keep_special,
                               .on_delta = on_delta,
                               .user = c};
    AnswerSpec spec = answer;
    c->generation = g;
    c->index = index;
    c->in_reasoning = g->spec.inside_reasoning;
    c->prompt_left = g->spec.prompt_logprobs && g->spec.logprobs >= 0 ? g->spec.n - 1 : 0;
    TRY(model_tokenizer(g->spec.model, &spec.tokenizer, err));
    if (g->spec.grammar != NULL || g->close_mark.count > 0) {
        c->mask = mem_array(((size_t)model_vocab(g->spec.model) + 63) / 64 + 1, sizeof *c->mask, MEM_NETWORK);
        FAIL_IF(c->mask == NULL, ERR_MEMORY, "no memory for a request");
    }
    if (g->spec.grammar != NULL) {
        c->constrained = !g->spec.inside_reasoning;
        TRY(grammar_state_new(g->spec.grammar, &c->state, err));
    }
    return answer_open(&spec, &c->answer, err);
}

/* A format without reasoning has no mark, and nothing to bound. */
static Status find_close_mark(Generation *g, Error *err) {
    const Tokenizer *tokenizer;
    const char *mark = g->spec.reply_format != NULL ? reply_reasoning_close(g->spec.reply_format) : NULL;
    if (g->spec.reasoning_tokens < 0 || mark == NULL)
        return OK;
    TRY(model_tokenizer(g->spec.model, &tokenizer, err));
    TRY(tokenizer_encode(tokenizer, mark, strlen(mark), ENCODE_PARSE_SPECIAL, &g->close_mark, err));
    for (size_t i = 0; i < g->close_mark.count; i++)
        FAIL_IF(g->close_mark.ids[i] >= model_vocab(g->spec.model), ERR_FORMAT, "token %d is outside the vocabulary",
                g->close_mark.ids[i]);
    return OK;
}

Status generation_open(const GenerationSpec *spec, Generation **out, Error *err) {
    *out = NULL;
    FAIL_IF(spec->n < 1, ERR_ARGUMENT, "the prompt is empty");
    FAIL_IF(spec->choices < 1 || spec->choices > GENERATION_CHOICES, ERR_ARGUMENT, "%d choices: 1 to %d are possible",
            spec->choices, GENERATION_CHOICES);
    Generation *g = mem_zalloc(sizeof *g + (size_t)spec->choices * sizeof(Strand), MEM_NETWORK);
    FAIL_IF(g == NULL, ERR_MEMORY, "no memory for a request");
    g->spec = *spec;
    g->spec.released = NULL; /* until there is something to release */
    g->spec.tools = json_incref((json_t *)(uintptr_t)spec->tools);
    g->n_choice = spec->choices;
    g->began_us = clock_us();
    atomic_store(&g->references, 1);
    pthread_mutex_init(&g->lock, NULL);
    g->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    Status status = g->bell < 0 ? error_set(err, ERR_IO, "eventfd: %s", strerror(errno)) : copy_lists(g, spec, err);
    if (status == OK)
        status = find_close_mark(g, err);
    for (int i = 0; status == OK && i < g->n_choice; i++)
        status = open_choice(g, i, err);
    g->spec.stops = NULL;
    g->spec.n_stop = 0;
    if (status == OK)
        status = submit(g, 0, err);
    if (status != OK) {
        g->spec.grammar = NULL; /* still the caller's: its states go with the choices */
        drop(g);
        return status;
    }
    g->spec.released = spec->released;
    *out = g;
    return OK;
}

void generation_cancel(Generation *g) {
    for (int i = 0; i < g->n_choice; i++)
        if (g->choices[i].request != NULL)
            request_cancel(g->choices[i].request);
}

void generation_close(Generation *g) {
    if (g == NULL)
        return;
    g->cancelled = true;
    generation_cancel(g);
    drop(g);
}

/* The other choices begin when the first has read the prompt: they find it in the cache then. */
static void submit_others(Generation *g) {
    for (int i = g->submitted; i < g->n_choice; i++) {
        Error err = {0};
        Strand *c = &g->choices[i];
        if (submit(g, i, &err) == OK)
            continue;
        c->err = err;
        c->ending.end = REQUEST_FAILED;
        show(c);
        g->submitted++;
        pthread_mutex_lock(&g->lock);
        g->ended++;
        pthread_mutex_unlock(&g->lock);
        add_piece(c, (Piece){.kind = PIECE_END});
    }
}

static bool wait_for_news(Generation *g, int socket, int quiet_ms, GenerationNews *news) {
    struct pollfd wait[2] = {{.fd = g->bell, .events = POLLIN}, {.fd = socket, .events = POLLRDHUP}};
    const int ready = poll(wait, socket >= 0 ? 2 : 1, quiet_ms);
    if (ready < 0 && errno != EINTR) {
        *news = NEWS_GONE;
        return true;
    }
    if (ready > 0 && socket >= 0 && wait[1].revents != 0) {
        *news = NEWS_GONE;
        return true;
    }
    if (ready == 0) {
        *news = NEWS_QUIET;
        return true;
    }
    uint64_t rings;
    if (read(g->bell, &rings, sizeof rings) < 0 && errno != EAGAIN && errno != EINTR) {
        *news = NEWS_GONE;
        return true;
    }
    return false;
}

GenerationNews generation_next(Generation *g, int socket, int quiet_ms, Piece *piece) {
    GenerationNews news;
    mem_free(g->taken);
    g->taken = NULL;
    for (;;) {
        pthread_mutex_lock(&g->lock);
        Item *item = g->first;
        if (item != NULL && (g->first = item->next) == NULL)
            g->last = NULL;
        const bool over = item == NULL && g->ended == g->n_choice;
        pthread_mutex_unlock(&g->lock);
        if (item != NULL) {
            g->taken = item;
            *piece = item->piece;
            if (g->submitted < g->n_choice && piece->kind != PIECE_PROGRESS && !g->cancelled)
                submit_others(g);
            return NEWS_PIECE;
        }
        if (over)
            return NEWS_DONE;
        if (wait_for_news(g, socket, quiet_ms, &news)) {
            if (news == NEWS_GONE) {
                g->cancelled = true;
                generation_cancel(g);
            }
            return news;
        }
    }
}

static Ending shown(const Generation *g, int choice) {
    pthread_mutex_t *lock = &((Generation *)(uintptr_t)g)->lock;
    pthread_mutex_lock(lock);
    const Ending e = g->choices[choice].shown;
    pthread_mutex_unlock(lock);
    return e;
}

Ending generation_ending(const Generation *g, int choice) {
    Ending e = shown(g, choice);
    e.err = &g->choices[choice].err;
    return e;
}

int generation_choices(const Generation *g) {
    return g->n_choice;
}

uint64_t generation_began_us(const Generation *g) {
    return g->began_us;
}

Usage generation_usage(const Generation *g) {
    Usage u = {.prompt = g->spec.n};
    for (int i = 0; i < g->n_choice; i++) {
        const Ending own = shown(g, i), *e = &own;
        u.cached = i == 0 ? e->stats.cached_tokens : u.cached;
        u.generated += e->stats.generated_tokens;
        u.reasoning += e->reasoning_tokens;
        u.drafted += e->stats.drafted_tokens;
        u.accepted += e->stats.accepted_tokens;
    }
    return u;
}
