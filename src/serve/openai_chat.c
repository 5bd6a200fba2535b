/* openai_chat.c - POST /v1/chat/completions: messages in, a message (or its deltas) out. */
#include "serve/api.h"

#include "base/clock.h"

#include <string.h>

typedef struct Message { /* a choice that is being put together */
    json_t *logprobs;    /* array: of tokens not yet sent, or of all when nothing is streamed */
    Text text, reasoning;
    json_t *calls;
    Text input;     /* of a call to a custom tool, as the model writes it */
    bool in_custom; /* that call is being written */
    bool begun;
} Message;

typedef struct Chat {
    Answering a;
    const Tokenizer *tokenizer;
    json_t *customs; /* tools that take any text */
    char id[64];
    int64_t created;
    bool usage, progress, logprobs, timings;
    bool exclude; /* the reasoning is not shown */
    bool both;    /* it is shown under both names that clients know */
    int n;
    Message messages[GENERATION_CHOICES];
} Chat;

static void close_chat(void *user) {
    Chat *c = user;
    for (int i = 0; i < GENERATION_CHOICES; i++) {
        json_decref(c->messages[i].logprobs);
        json_decref(c->messages[i].calls);
        text_free(&c->messages[i].text);
        text_free(&c->messages[i].reasoning);
        text_free(&c->messages[i].input);
    }
    json_decref(c->customs);
    answering_close(&c->a);
}

/* ---- fields ------------------------------------------------------------------------------------------------------ */

/* Accepted because nothing in an answer of ours depends on them. */
static const char *const no_matter[] = {
    "user",
    "metadata",
    "safety_identifier",
    "service_tier",
    "store",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "prediction",
    "cache_prompt",
    "id_slot",
    "moderation",
    NULL,
};

typedef struct Wishes {
    bool stream, usage, progress, timings, add_prompt, continue_final, exclude, both;
} Wishes;

/* What OpenRouter's clients say of reasoning, in one object; they look for it under "reasoning". */
static Status read_reasoning_object(Ask *ask, Fields *f, Wishes *w, Error *err) {
    const json_t *reasoning = NULL;
    const char *effort = NULL;
    bool enabled = true, include = true;
    int64_t most = -1;
    TRY(field_object(f, "reasoning", &reasoning, err));
    TRY(field_bool(f, "include_reasoning", &include, err));
    w->exclude = !include;
    w->both = reasoning != NULL || field(f, "include_reasoning") != NULL;
    if (reasoning == NULL)
        return OK;
    Fields inner = fields_of(ask->call, reasoning);
    TRY(field_string(&inner, "effort", &effort, err));
    TRY(field_int(&inner, "max_tokens", 0, 1 << 30, &most, err));
    TRY(field_bool(&inner, "enabled", &enabled, err));
    TRY(field_bool(&inner, "exclude", &w->exclude, err));
    TRY(fields_end(&inner, err));
    ask->spec.reasoning_tokens = (int)most;
    if (!enabled)
        effort = "none";
    return effort != NULL ? ask_effort(ask, effort, err) : OK;
}

static Status read_reasoning(Ask *ask, Fields *f, Wishes *w, Error *err) {
    const char *effort = NULL, *verbosity = NULL, *how = "auto";
    const json_t *format = NULL;
    TRY(field_string(f, "reasoning_effort", &effort, err));
    if (effort != NULL)
        TRY(ask_effort(ask, effort, err));
    TRY(read_reasoning_object(ask, f, w, err));
    TRY(ask_thinking(ask, f, err));
    TRY(field_string(f, "verbosity", &verbosity, err));
    if (verbosity != NULL)
        TRY(ask_variable(ask, "verbosity", json_string(verbosity), err));
    TRY(field_string(f, "reasoning_format", &how, err));
    if (strcmp(how, "auto") != 0 && strcmp(how, "de"
                                                "epseek") != 0) /* so other servers call it */
        return field_wrong(ask->call, "reasoning_format", err, "reasoning stands apart here, in \"reasoning_content\"");
    TRY(field_object(f, "response_format", &format, err));
    TRY(ask_format(ask, "response_format", format, err));
    return ask_constraints(ask, f, err);
}

static Status read_fields(Ask *ask, Fields *f, Wishes *w, const json_t **messages, Error *err) {
    int64_t n = 1, most = -1, top = 0;
    bool logprobs = false, parallel = true;
    const json_t *stream_options = NULL, *modalities = NULL;
    TRY(field_array(f, "messages", messages, err));
    if (*messages == NULL || json_array_size(*messages) == 0)
        return field_wrong(ask->call, "messages", err, "an array of at least one message is expected");
    TRY(ask_sampling(ask, f, err));
    TRY(field_int(f, "max_completion_tokens", 0, 1 << 30, &most, err));
    if (most >= 0)
        ask->spec.max_tokens = (int)most;
    TRY(field_int(f, "n", 1, GENERATION_CHOICES, &n, err));
    ask->spec.choices = (int)n;
    TRY(field_bool(f, "logprobs", &logprobs, err));
    TRY(field_int(f, "top_logprobs", 0, REQUEST_LOGPROBS, &top, err));
    if (top > 0 && !logprobs)
        return field_wrong(ask->call, "top_logprobs", err, "goes with \"logprobs\": true");
    ask->spec.logprobs = logprobs ? (int)top : -1;
    TRY(field_bool(f, "stream", &w->stream, err));
    TRY(field_object(f, "stream_options", &stream_options, err));
    w->usage = json_is_true(json_object_get(stream_options, "include_usage"));
    TRY(field_bool(f, "return_progress", &w->progress, err));
    TRY(field_bool(f, "timings_per_token", &w->timings, err));
    w->add_prompt = true;
    TRY(field_bool(f, "add_generation_prompt", &w->add_prompt, err));
    TRY(field_bool(f, "continue_final_message", &w->continue_final, err));
    TRY(field_array(f, "modalities", &modalities, err));
    for (size_t i = 0; i < json_array_size(modalities); i++) {
        const char *kind = json_string_value(json_array_get(modalities, i));
        if (kind == NULL || strcmp(kind, "text") != 0)
            return field_wrong(ask->call, "modalities", err, "only \"text\" is supported");
    }
    TRY(ask_tools(ask, f, err));
    TRY(ask_tool_choice(ask, field(f, "tool_choice") != NULL ? "tool_choice" : "function_call",
                        field(f, field(f, "tool_choice") != NULL ? "tool_choice" : "function_call"), err));
    TRY(field_bool(f, "parallel_tool_calls", &parallel, err));
    ask->spec.single_call = !parallel;
    TRY(read_reasoning(ask, f, w, err));
    (void)field(f, "model");
    fields_ignore(f, no_matter);
    return fields_end(f, err);
}

/* ---- pieces ------------------------------------------------------------------------------------------------------ */

static void add_logprob(Chat *c, Message *m, const Piece *piece) {
    if (piece->of_prompt || piece->token->is_end)
        return;
    if (m->logprobs == NULL)
        m->logprobs = json_array();
    json_array_append_new(m->logprobs, logprob_value(c->tokenizer, piece->token));
}

static json_t *take_logprobs(const Chat *c, Message *m) {
    json_t *list = m->logprobs;
    m->logprobs = NULL;
    if (!c->logprobs)
        return json_null();
    return json_pack("{s:o, s:n}", "content", list != NULL ? list : json_array(), "refusal");
}

static json_t *chunk(const Chat *c, json_t *choices) {
    return json_pack("{s:s, s:s, s:I, s:s, s:o}", "id", c->id, "object", "chat.completion.chunk", "created",
                     (json_int_t)c->created, "model", c->a.call->model, "choices", choices);
}

static void send_delta(Chat *c, Text *out, int choice, json_t *delta, const char *finish) {
    Message *m = &c->messages[choice];
    if (!m->begun)
        json_object_set_new(delta, "role", json_string("assistant"));
    m->begun = true;
    json_t *value = chunk(c, json_pack("[{s:i, s:o, s:o, s:s?}]", "index", choice, "delta", delta, "logprobs",
                                       take_logprobs(c, m), "finish_reason", finish));
    if (c->usage && value != NULL)
        json_object_set_new(value, "usage", json_null());
    sse_append(out, NULL, value);
}

/* Of a call to a custom tool: its text is known when all of it has come. True when the piece was about one. */
static bool take_custom(const Chat *c, Message *m, const Piece *p) {
    if (p->kind == PIECE_CALL) {
        m->in_custom = json_object_get(c->customs, p->name) != NULL;
        text_clear(&m->input);
    } else if (m->in_custom && p->kind == PIECE_ARGUMENTS)
        text_append(&m->input, p->text, p->bytes);
    return m->in_custom;
}

static json_t *custom_delta(const Message *m, const Piece *p) {
    if (p->kind == PIECE_CALL)
        return json_pack("{s:[{s:I, s:s, s:s, s:{s:s, s:s}}]}", "tool_calls", "index", (json_int_t)p->index, "id",
                         p->id, "type", "custom", "custom", "name", p->name, "input", "");
    return json_pack("{s:[{s:I, s:{s:o}}]}", "tool_calls", "index", (json_int_t)p->index, "custom", "input",
                     custom_input(&m->input));
}

static json_t *call_delta(const Piece *p) {
    if (p->kind == PIECE_CALL)
        return json_pack("{s:[{s:I, s:s, s:s, s:{s:s, s:s}}]}", "tool_calls", "index", (json_int_t)p->index, "id",
                         p->id, "type", "function", "function", "name", p->name, "arguments", "");
    return json_pack("{s:[{s:I, s:{s:s%}}]}", "tool_calls", "index", (json_int_t)p->index, "function", "arguments",
                     p->text, p->bytes);
}

static json_t *reasoning_delta(const Chat *c, const Piece *p) {
    json_t *delta = json_pack("{s:s%}", "reasoning_content", p->text, p->bytes);
    if (c->both)
        json_object_set(delta, "reasoning", json_object_get(delta, "reasoning_content"));
    return delta;
}

static void stream_piece(Chat *c, const Piece *p, Text *out) {
    switch (p->kind) {
    case PIECE_TOKEN:
        add_logprob(c, &c->messages[p->choice], p);
        break;
    case PIECE_TEXT:
        send_delta(c, out, p->choice, json_pack("{s:s%}", "content", p->text, p->bytes), NULL);
        break;
    case PIECE_REASONING:
        if (!c->exclude)
            send_delta(c, out, p->choice, reasoning_delta(c, p), NULL);
        break;
    case PIECE_CALL:
    case PIECE_ARGUMENTS:
        if (!take_custom(c, &c->messages[p->choice], p))
            send_delta(c, out, p->choice, call_delta(p), NULL);
        else if (p->kind == PIECE_CALL)
            send_delta(c, out, p->choice, custom_delta(&c->messages[p->choice], p), NULL);
        break;
    case PIECE_CALL_END:
        if (c->messages[p->choice].in_custom)
            send_delta(c, out, p->choice, custom_delta(&c->messages[p->choice], p), NULL);
        break;
    case PIECE_PROGRESS: {
        json_t *value = chunk(c, json_array());
        json_object_set_new(value, "prompt_progress", progress_value(c->a.generation, p));
        sse_append(out, NULL, value);
        break;
    }
    case PIECE_END: {
        const Ending e = generation_ending(c->a.generation, p->choice);
        Error err = {0};
        const Status status = ending_status(&e, &err);
        if (status != OK)
            sse_append(out, NULL, api_error_value(c->a.call, status, &err));
        else
            send_delta(c, out, p->choice, json_object(), finish_word(&e));
        break;
    }
    }
}

static void end_stream(Chat *c, Text *out) {
    if (c->usage || c->timings || c->a.call->warnings != NULL) {
        json_t *value = chunk(c, json_array());
        json_object_set_new(value, "usage", usage_value(c->a.generation));
        json_object_set_new(value, "timings", timings_value(c->a.generation));
        if (c->a.call->warnings != NULL)
            json_object_set(value, "warnings", c->a.call->warnings);
        sse_append(out, NULL, value);
    }
    text_append_str(out, "data: [DONE]\n\n");
}

static bool next(void *user, Text *out) {
    Chat *c = user;
    while (out->count == 0) {
        Piece piece;
        switch (api_next(c->a.call, c->a.generation, api_ping_ms(c->a.call), &piece)) {
        case NEWS_PIECE:
            stream_piece(c, &piece, out);
            break;
        case NEWS_QUIET:
            text_append_str(out, ": still at work\n\n");
            break;
        case NEWS_GONE:
            return false;
        case NEWS_DONE:
            c->a.over = true;
            end_stream(c, out);
            return false;
        }
    }
    return true;
}

/* ---- all at once ------------------------------------------------------------------------------------------------- */

static Status keep_piece(Chat *c, const Piece *p, Error *err) {
    Message *m = &c->messages[p->choice];
    switch (p->kind) {
    case PIECE_TOKEN:
        add_logprob(c, m, p);
        break;
    case PIECE_TEXT:
        text_append(&m->text, p->text, p->bytes);
        break;
    case PIECE_REASONING:
        if (!c->exclude)
            text_append(&m->reasoning, p->text, p->bytes);
        break;
    case PIECE_CALL:
        if (m->calls == NULL)
            m->calls = json_array();
        (void)take_custom(c, m, p);
        json_array_append_new(m->calls, json_pack("{s:s, s:s, s:{s:s, s:s}}", "id", p->id, "type", "function",
                                                  "function", "name", p->name, "arguments", ""));
        break;
    case PIECE_ARGUMENTS: {
        if (take_custom(c, m, p))
            break;
        json_t *function = json_object_get(json_array_get(m->calls, p->index), "function");
        const json_t *old = json_object_get(function, "arguments");
        Text text = {0};
        text_append(&text, json_string_value(old) != NULL ? json_string_value(old) : "", json_string_length(old));
        text_append(&text, p->text, p->bytes);
        const bool set =
            json_object_set_new(function, "arguments", json_of_text(&text)) == 0;
        text_free(&text);
        FAIL_IF(!set, ERR_MEMORY, "no memory for the arguments of a call");
        break;
    }
    case PIECE_CALL_END:
        if (m->in_custom) {
            json_t *one = json_array_get(m->calls, p->index),
                   *name = json_object_get(json_object_get(one, "function"), "name");
            json_object_set_new(one, "type", json_string("custom"));
            json_object_set_new(one, "custom", json_pack("{s:O, s:o}", "name", name, "input", custom_input(&m->input)));
            json_object_del(one, "function");
        }
        break;
    case PIECE_PROGRESS:
        break;
    case PIECE_END: {
        const Ending e = generation_ending(c->a.generation, p->choice);
        TRY(ending_status(&e, err));
        break;
    }
    }
    TRY(text_check(&m->text, err));
    TRY(text_check(&m->input, err));
    return text_check(&m->reasoning, err);
}

static json_t *message_value(const Chat *c, const Message *m) {
    const bool silent = m->text.count == 0 && m->calls != NULL;
    json_t *message =
        json_pack("{s:s, s:o}", "role", "assistant", "content",
                  silent ? json_null() : json_of_text(&m->text));
    if (m->reasoning.count > 0)
        json_object_set_new(message, "reasoning_content", json_of_text(&m->reasoning));
    if (m->reasoning.count > 0 && c->both)
        json_object_set(message, "reasoning", json_object_get(message, "reasoning_content"));
    if (m->calls != NULL)
        json_object_set(message, "tool_calls", m->calls);
    json_object_set_new(message, "refusal", json_null());
    return message;
}

static Status reply_whole(Chat *c, Error *err) {
    Piece piece;
    GenerationNews news;
    while ((news = api_next(c->a.call, c->a.generation, INT32_MAX / 2, &piece)) != NEWS_DONE) {
        FAIL_IF(news == NEWS_GONE, ERR_CANCELLED, "the client has left");
        if (news == NEWS_PIECE)
            TRY(keep_piece(c, &piece, err));
    }
    c->a.over = true;
    json_t *choices = json_array();
    for (int i = 0; i < c->n; i++) {
        const Ending e = generation_ending(c->a.generation, i);
        json_array_append_new(choices, json_pack("{s:i, s:o, s:o, s:s?}", "index", i, "message",
                                                 message_value(c, &c->messages[i]), "logprobs",
                                                 take_logprobs(c, &c->messages[i]), "finish_reason", finish_word(&e)));
    }
    return api_reply_json(c->a.call, 200,
                          json_pack("{s:s, s:s, s:I, s:s, s:o, s:o, s:o, s:s}", "id", c->id, "object",
                                    "chat.completion", "created", (json_int_t)c->created, "model", c->a.call->model,
                                    "choices", choices, "usage", usage_value(c->a.generation), "timings",
                                    timings_value(c->a.generation), "system_fingerprint", "houle"),
                          err);
}

Status openai_chat(ApiCall *call, Error *err) {
    const json_t *messages = NULL;
    Ask ask;
    Fields fields;
    Wishes wishes = {0};
    Status status = ask_model(call, json_string_value(json_object_get(call->body, "model")), &ask, err);
    if (status == OK)
        status = ask_fields(&ask, call->body, &fields, err);
    if (status == OK)
        status = read_fields(&ask, &fields, &wishes, &messages, err);
    if (status == OK)
        status = ask_chat(&ask, messages, wishes.add_prompt, wishes.continue_final, err);
    ask.spec.progress = wishes.progress && wishes.stream;
    Chat *c = status == OK ? answering_open(&ask, sizeof *c, &status, err) : NULL;
    if (c != NULL) {
        c->tokenizer = ask.tokenizer;
        c->created = unix_seconds();
        c->usage = wishes.usage;
        c->progress = wishes.progress;
        c->timings = wishes.timings;
        c->exclude = wishes.exclude;
        c->both = wishes.both;
        c->logprobs = ask.spec.logprobs >= 0;
        c->n = ask.spec.choices;
        c->customs = json_incref(ask.customs);
    }
    ask_free(&ask);
    if (c == NULL)
        return status;
    api_make_id(call, "chatcmpl-", c->id);
    if (wishes.stream) {
        api_stream(call, "text/event-stream; charset=utf-8",
                   (HttpSource){.next = next, .close = close_chat, .user = c});
        return OK;
    }
    status = reply_whole(c, err);
    close_chat(c);
    return status;
}
