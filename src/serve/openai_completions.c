/* openai_completions.c - POST /v1/completions: text or tokens in, their continuation out, with log-probabilities of the
 * prompt if they are wanted (echo), as programs that evaluate models ask for them.
 *
 * Several prompts are answered one after the other; their choices are numbered through. */
#include "serve/api.h"

#include <string.h>

enum { PROMPTS_MOST = 256 };

typedef struct Texts {
    Text text;
    json_t *tokens, *token_logprobs, *top_logprobs, *offsets;
    int64_t characters; /* so far, as offsets count */
    double sum;         /* of log-probabilities of what was generated */
    int count;
} Texts;

typedef struct Completions {
    ApiCall *call;
    Ask ask;
    Generation *generation;
    char id[64];
    int64_t created;
    bool stream, echo, usage, over;
    json_t *timings; /* of the last prompt that was answered */
    const char *suffix; /* what stands behind; NULL: nothing */
    int n_stop;         /* of the request */
    bool suppress_text; /* max_tokens 0 with echo: only the prompt */
    json_t *prompts;    /* array: texts and arrays of tokens */
    size_t prompt;      /* which of them is being answered */
    int n, best_of;     /* choices of each; so many are made, and the likeliest kept */
    bool logprobs;      /* are wanted */
    Texts texts[GENERATION_CHOICES];
    json_t *choices; /* of whole answers */
    int prompt_tokens, cached_tokens, completion_tokens;
    Status failed;
    Error err;
} Completions;

static void clear_texts(Completions *c) {
    for (int i = 0; i < GENERATION_CHOICES; i++) {
        Texts *t = &c->texts[i];
        text_free(&t->text);
        json_decref(t->tokens);
        json_decref(t->token_logprobs);
        json_decref(t->top_logprobs);
        json_decref(t->offsets);
        *t = (Texts){0};
    }
}

static void close_completions(void *user) {
    Completions *c = user;
    if (c->generation != NULL)
        api_count(c->call, c->generation, c->over);
    generation_close(c->generation);
    ask_free(&c->ask);
    clear_texts(c);
    json_decref(c->prompts);
    json_decref(c->choices);
    json_decref(c->timings);
    api_release(c->call);
    mem_free(c);
}

/* ---- fields ------------------------------------------------------------------------------------------------------ */

static const char *const no_matter[] = {"user",  "metadata",     "cache_prompt",      "id_slot",
                                        "store", "service_tier", "safety_identifier", NULL};

static bool is_tokens(const json_t *value) {
    return json_is_array(value) && json_array_size(value) > 0 && json_is_integer(json_array_get(value, 0));
}

static Status read_prompts(Completions *c, Fields *f, Error *err) {
    const json_t *prompt = field(f, "prompt");
    c->prompts = json_array();
    FAIL_IF(c->prompts == NULL, ERR_MEMORY, "no memory for the prompts");
    if (json_is_string(prompt) || is_tokens(prompt))
        json_array_append(c->prompts, (json_t *)(uintptr_t)prompt);
    else if (json_is_array(prompt))
        json_array_extend(c->prompts, (json_t *)(uintptr_t)prompt);
    const size_t n = json_array_size(c->prompts);
    if (n == 0 || n > PROMPTS_MOST)
        return field_wrong(c->call, "prompt", err,
                           "a text, an array of token ids, or an array of up to %d of these is expected", PROMPTS_MOST);
    for (size_t i = 0; i < n; i++) {
        const json_t *one = json_array_get(c->prompts, i);
        if (!json_is_string(one) && !is_tokens(one))
            return field_wrong(c->call, "prompt", err, "prompt %zu is neither a text nor an array of token ids", i);
    }
    return OK;
}

static Status read_fields(Completions *c, Fields *f, Error *err) {
    Ask *ask = &c->ask;
    int64_t n = 1, best_of = 1, logprobs = -1;
    const char *suffix = NULL;
    const json_t *options = NULL;
    bool progress = false;
    TRY(read_prompts(c, f, err));
    TRY(ask_sampling(ask, f, err));
    TRY(ask_constraints(ask, f, err));
    if (ask->grammar != NULL && json_array_size(c->prompts) > 1)
        return field_wrong(c->call, "prompt", err, "with a constraint only one prompt is possible");
    TRY(field_int(f, "n", 1, GENERATION_CHOICES, &n, err));
    best_of = n;
    TRY(field_int(f, "best_of", 1, GENERATION_CHOICES, &best_of, err));
    if (best_of < n)
        return field_wrong(c->call, "best_of", err, "at least the value of \"n\" is expected");
    TRY(field_int(f, "logprobs", 0, REQUEST_LOGPROBS, &logprobs, err));
    TRY(field_bool(f, "echo", &c->echo, err));
    TRY(field_bool(f, "stream", &c->stream, err));
    TRY(field_object(f, "stream_options", &options, err));
    c->usage = json_is_true(json_object_get(options, "include_usage"));
    TRY(field_bool(f, "return_progress", &progress, err));
    ask->spec.progress = progress && c->stream;
    TRY(field_string(f, "suffix", &suffix, err));
    c->suffix = suffix != NULL && suffix[0] != '\0' ? suffix : NULL;
    for (size_t i = 0; c->suffix != NULL && i < json_array_size(c->prompts); i++)
        if (!json_is_string(json_array_get(c->prompts, i)) || c->echo)
            return field_wrong(c->call, "suffix", err, "goes with a text as \"prompt\", and without \"echo\"");
    if (ask->spec.max_tokens < 0 && field(f, "max_tokens") == NULL)
        ask->spec.max_tokens = 16; /* as the API documents */
    if (best_of > n && c->stream)
        return field_wrong(c->call, "best_of", err, "goes without \"stream\": the best is known in the end");
    ask->spec.choices = c->best_of = (int)best_of;
    c->n = (int)n;
    c->logprobs = logprobs >= 0;
    ask->spec.logprobs = best_of > n ? (int)MAX(logprobs, 0) : (int)logprobs;
    ask->spec.prompt_logprobs = c->echo && logprobs >= 0;
    ask->spec.keep_special = false;
    c->n_stop = ask->spec.n_stop;
    c->suppress_text = ask->spec.max_tokens == 0;
    (void)field(f, "model");
    fields_ignore(f, no_matter);
    return fields_end(f, err);
}

/* ---- one prompt -------------------------------------------------------------------------------------------------- */

/* What the token adds to the text; one that is no text by itself is written as its bytes. */
static json_t *token_name(const Tokenizer *t, int32_t id) {
    const char *bytes = "";
    size_t count = 0;
    tokenizer_piece(t, id, &bytes, &count);
    json_t *name = json_stringn(bytes, count);
    if (name != NULL)
        return name;
    Text text = {0};
    text_append_str(&text, "bytes:");
    for (size_t i = 0; i < count; i++)
        text_append_format(&text, "\\x%02x", (unsigned char)bytes[i]);
    name = json_stringn(text.bytes, text.count);
    text_free(&text);
    return name;
}

static int64_t characters(const char *bytes, size_t count) {
    int64_t n = 0;
    for (size_t i = 0; i < count; i++)
        n += ((unsigned char)bytes[i] & 0xc0) != 0x80;
    return n;
}

static void add_token(Completions *c, Texts *t, int32_t id, const RequestToken *token) {
    const Tokenizer *tokenizer = c->ask.tokenizer;
    const char *bytes = "";
    size_t count = 0;
    if (t->tokens == NULL) {
        t->tokens = json_array();
        t->token_logprobs = json_array();
        t->top_logprobs = json_array();
        t->offsets = json_array();
    }
    tokenizer_piece(tokenizer, id, &bytes, &count);
    json_array_append_new(t->tokens, token_name(tokenizer, id));
    json_array_append_new(t->offsets, json_integer(t->characters));
    if ((tokenizer_flags(tokenizer, id) & TOKEN_CONTROL) == 0) /* the others are not in the text */
        t->characters += characters(bytes, count);
    if (token == NULL) { /* the first of the prompt: nothing stands before it */
        json_array_append_new(t->token_logprobs, json_null());
        json_array_append_new(t->top_logprobs, json_null());
        return;
    }
    json_t *top = json_object();
    for (int i = 0; i < token->n_top; i++) {
        json_t *name = token_name(tokenizer, token->top[i]);
        if (json_object_get(top, json_string_value(name)) == NULL)
            json_object_set_new(top, json_string_value(name), json_real((double)MAX(token->top_logprobs[i], -9999.0f)));
        json_decref(name);
    }
    json_array_append_new(t->token_logprobs, json_real((double)MAX(token->logprob, -9999.0f)));
    json_array_append_new(t->top_logprobs, top);
}

static json_t *take_logprobs(Completions *c, Texts *t) {
    if (!c->logprobs || t->tokens == NULL)
        return json_null();
    json_t *value = json_pack("{s:o, s:o, s:o, s:o}", "tokens", t->tokens, "token_logprobs", t->token_logprobs,
                              "top_logprobs", t->top_logprobs, "text_offset", t->offsets);
    t->tokens = t->token_logprobs = t->top_logprobs = t->offsets = NULL;
    return value;
}

static Status begin_prompt(Completions *c, Error *err) {
    Ask *ask = &c->ask;
    const json_t *prompt = json_array_get(c->prompts, c->prompt);
    ask->prompt.count = 0;
    text_clear(&ask->text);
    clear_texts(c);
    if (c->suffix != NULL) {
        const FillText before = {json_string_value(prompt), json_string_length(prompt)}, none = {"", 0};
        ask->spec.n_stop = c->n_stop;
        TRY(ask_fill(ask, "suffix", NULL, 0, before, (FillText){c->suffix, strlen(c->suffix)}, none, err));
    } else if (json_is_string(prompt)) {
        TRY(ask_text(ask, json_string_value(prompt), json_string_length(prompt), true, err));
    } else {
        TRY(ask_token_ids(ask, "prompt", prompt, model_vocab(ask->model), &ask->prompt, err));
        TRY(tokenizer_decode(ask->tokenizer, ask->prompt.ids, ask->prompt.count, DECODE_SKIP_SPECIAL, &ask->text, err));
    }
    TRY(ask_start(ask, &c->generation, err));
    for (int i = 0; i < c->best_of && c->echo; i++) {
        text_append(&c->texts[i].text, ask->text.bytes != NULL ? ask->text.bytes : "", ask->text.count);
        if (ask->spec.prompt_logprobs)
            add_token(c, &c->texts[i], ask->prompt.ids[0], NULL);
    }
    return OK;
}

static void end_prompt(Completions *c) {
    const Usage u = generation_usage(c->generation);
    c->prompt_tokens += u.prompt;
    c->cached_tokens += u.cached;
    c->completion_tokens += c->suppress_text ? 0 : u.generated;
    json_decref(c->timings);
    c->timings = timings_value(c->generation);
    api_count(c->call, c->generation, true);
    generation_close(c->generation);
    c->generation = NULL;
    c->prompt++;
}

static json_t *usage(const Completions *c) {
    return json_pack("{s:i, s:i, s:i, s:{s:i}}", "prompt_tokens", c->prompt_tokens, "completion_tokens",
                     c->completion_tokens, "total_tokens", c->prompt_tokens + c->completion_tokens,
                     "prompt_tokens_details", "cached_tokens", c->cached_tokens);
}

/* Which of those that were made is so good that so many are better; of equal ones the first. */
static int rank_of(const Completions *c, int choice) {
    const Texts *own = &c->texts[choice];
    const double mean = own->count > 0 ? own->sum / own->count : -1e9;
    int rank = 0;
    for (int i = 0; i < c->best_of; i++) {
        const Texts *t = &c->texts[i];
        const double other = t->count > 0 ? t->sum / t->count : -1e9;
        rank += other > mean || (other == mean && i < choice);
    }
    return rank;
}

static json_t *choice_value(Completions *c, int choice, const char *finish) {
    Texts *t = &c->texts[choice];
    json_t *value = json_pack("{s:i, s:s%, s:o, s:s?}", "index", (int)c->prompt * c->n + choice, "text",
                              t->text.bytes != NULL ? t->text.bytes : "", t->text.count, "logprobs",
                              take_logprobs(c, t), "finish_reason", finish);
    text_clear(&t->text);
    return value;
}

static json_t *envelope(const Completions *c, json_t *choices) {
    return json_pack("{s:s, s:s, s:I, s:s, s:o}", "id", c->id, "object", "text_completion", "created",
                     (json_int_t)c->created, "model", c->call->model, "choices", choices);
}

/* Takes a piece in; true when there is something to send. */
static bool take_piece(Completions *c, const Piece *p, const char **finish, Error *err, Status *status) {
    Texts *t = &c->texts[p->choice];
    *finish = NULL;
    if (p->kind == PIECE_TOKEN && !(p->token->is_end || (c->suppress_text && !p->of_prompt)))
        add_token(c, t, p->token->token, p->token);
    if (p->kind == PIECE_TOKEN && !p->of_prompt) {
        t->sum += (double)p->token->logprob;
        t->count++;
    }
    if (p->kind == PIECE_TEXT)
        text_append(&t->text, p->text, p->bytes);
    if (p->kind != PIECE_END)
        return p->kind == PIECE_TEXT;
    const Ending e = generation_ending(c->generation, p->choice);
    *status = ending_status(&e, err);
    *finish = finish_word(&e);
    return true;
}

/* What the server says beyond the choices. */
static json_t *with_extras(Completions *c, json_t *value) {
    json_object_set_new(value, "usage", usage(c));
    json_object_set(value, "timings", c->timings);
    return value;
}

/* ---- streamed ---------------------------------------------------------------------------------------------------- */

static json_t *progress_chunk(const Completions *c, const Piece *p) {
    json_t *value = envelope(c, json_array());
    json_object_set_new(value, "prompt_progress", progress_value(c->generation, p));
    return value;
}

static bool next(void *user, Text *out) {
    Completions *c = user;
    while (out->count == 0) {
        Piece piece;
        Error err = {0};
        const char *finish;
        Status status = OK;
        switch (api_next(c->call, c->generation, api_ping_ms(c->call), &piece)) {
        case NEWS_PIECE:
            if (piece.kind == PIECE_PROGRESS)
                sse_append(out, NULL, progress_chunk(c, &piece));
            if (!take_piece(c, &piece, &finish, &err, &status))
                break;
            if (status != OK)
                sse_append(out, NULL, api_error_value(c->call, status, &err));
            else
                sse_append(out, NULL, envelope(c, json_pack("[o]", choice_value(c, piece.choice, finish))));
            break;
        case NEWS_QUIET:
            text_append_str(out, ": still at work\n\n");
            break;
        case NEWS_GONE:
            return false;
        case NEWS_DONE:
            end_prompt(c);
            if (c->prompt < json_array_size(c->prompts)) {
                c->call->counted = false;
                status = begin_prompt(c, &err);
                if (status == OK)
                    break;
                sse_append(out, NULL, api_error_value(c->call, status, &err));
            }
            c->over = true;
            if (c->usage)
                sse_append(out, NULL, with_extras(c, envelope(c, json_array())));
            text_append_str(out, "data: [DONE]\n\n");
            return false;
        }
    }
    return true;
}

/* ---- all at once ------------------------------------------------------------------------------------------------- */

/* Of the choices of one prompt, which have numbers beyond those of the prompts before, the best get the places. */
static void keep_best(Completions *c) {
    if (c->best_of == c->n)
        return;
    const size_t first = c->prompt * (size_t)c->n;
    for (size_t i = json_array_size(c->choices); i > first; i--) {
        json_t *choice = json_array_get(c->choices, i - 1);
        const int own = (int)(json_integer_value(json_object_get(choice, "index")) - (json_int_t)first);
        const int rank = rank_of(c, own);
        if (rank < c->n)
            json_object_set_new(choice, "index", json_integer((json_int_t)first + rank));
        else
            json_array_remove(c->choices, i - 1);
    }
}

static Status reply_whole(Completions *c, Error *err) {
    c->choices = json_array();
    for (;;) {
        Piece piece;
        const char *finish;
        Status status = OK;
        const GenerationNews news = api_next(c->call, c->generation, INT32_MAX / 2, &piece);
        FAIL_IF(news == NEWS_GONE, ERR_CANCELLED, "the client has left");
        if (news == NEWS_PIECE && take_piece(c, &piece, &finish, err, &status) && piece.kind == PIECE_END) {
            TRY(status);
            json_array_append_new(c->choices, choice_value(c, piece.choice, finish));
        }
        if (news != NEWS_DONE)
            continue;
        keep_best(c);
        end_prompt(c);
        if (c->prompt == json_array_size(c->prompts))
            break;
        c->call->counted = false;
        TRY(begin_prompt(c, err));
    }
    c->over = true;
    /* Choices end in any order. */
    json_t *sorted = json_array();
    for (size_t index = 0; index < json_array_size(c->choices); index++)
        for (size_t i = 0; i < json_array_size(c->choices); i++) {
            json_t *choice = json_array_get(c->choices, i);
            if (json_integer_value(json_object_get(choice, "index")) == (json_int_t)index)
                json_array_append(sorted, choice);
        }
    return api_reply_json(c->call, 200, with_extras(c, envelope(c, sorted)), err);
}

Status openai_completions(ApiCall *call, Error *err) {
    Fields fields;
    Completions *c = mem_zalloc(sizeof *c, MEM_NETWORK);
    FAIL_IF(c == NULL, ERR_MEMORY, "no memory for the answer");
    c->call = call;
    c->created = unix_seconds();
    api_hold(call);
    api_make_id(call, "cmpl-", c->id);
    Status status = ask_model(call, json_string_value(json_object_get(call->body, "model")), &c->ask, err);
    if (status == OK)
        status = ask_fields(&c->ask, call->body, &fields, err);
    if (status == OK)
        status = read_fields(c, &fields, err);
    if (status == OK)
        status = begin_prompt(c, err);
    if (status == OK && c->stream) {
        api_stream(call, "text/event-stream; charset=utf-8",
                   (HttpSource){.next = next, .close = close_completions, .user = c});
        return OK;
    }
    if (status == OK)
        status = reply_whole(c, err);
    close_completions(c);
    return status;
}
