/* ollama_chat.c - POST /api/chat and /api/generate: one JSON object a line, the last with times and counts.
 *
 * Both are the same work: a prompt is made of messages (for /api/generate of one, unless it is "raw"), the answer's
 * pieces are put under "message" or under "response". */
#include "serve/api.h"

#include "base/clock.h"
#include "text/chat_template.h"

#include <stdlib.h>
#include <string.h>

typedef struct Talk {
    Answering a;
    bool chat;
    uint64_t load_us;
    json_t *context; /* array: all tokens so far, for clients that go on so; NULL = not wanted */
    Text text, thinking;
    char *call_name; /* of the tool call that is being written */
    Text arguments;
    json_t *calls; /* whole ones, not yet sent */
    const Tokenizer *tokenizer;
    json_t *logprobs; /* not yet sent; NULL = not wanted */
} Talk;

static void close_talk(void *user) {
    Talk *t = user;
    text_free(&t->text);
    text_free(&t->thinking);
    text_free(&t->arguments);
    mem_free(t->call_name);
    json_decref(t->calls);
    json_decref(t->context);
    json_decref(t->logprobs);
    answering_close(&t->a);
}

/* ---- fields ------------------------------------------------------------------------------------------------------ */

/* Seconds of a number, or of "5m", "1h30m", "-1". */
static bool read_duration(const json_t *value, int64_t *seconds) {
    static const struct {
        const char *unit;
        double seconds;
    } units[] = {{"ms", 1e-3}, {"us", 1e-6}, {"ns", 1e-9}, {"h", 3600}, {"m", 60}, {"s", 1}};
    const char *text = json_string_value(value);
    double sum = 0, number = 0;
    if (json_is_number(value)) {
        sum = json_number_value(value);
    } else if (text != NULL && parse_double(text, &number)) {
        sum = number;
    } else {
        if (text == NULL || text[0] == '\0')
            return false;
        const double sign = *text == '-' ? -1 : 1;
        text += *text == '-';
        while (*text != '\0') {
            char digits[24];
            const size_t n = strspn(text, "0123456789.");
            size_t u = 0;
            if (n == 0 || n >= sizeof digits)
                return false;
            memcpy(digits, text, n);
            digits[n] = '\0';
            text += n;
            while (u < COUNT(units) && !starts_with(text, units[u].unit))
                u++;
            if (u == COUNT(units) || !parse_double(digits, &number))
                return false;
            text += strlen(units[u].unit);
            sum += number * units[u].seconds;
        }
        sum *= sign;
    }
    *seconds = sum < 0 ? -1 : sum > 1e9 ? 1000000000 : (int64_t)(sum + 0.5);
    return true;
}

static Status read_keep_alive(Ask *ask, Fields *f, int64_t *seconds, Error *err) {
    const json_t *value = field(f, "keep_alive");
    *seconds = INT64_MAX; /* not given */
    if (value == NULL)
        return OK;
    if (!read_duration(value, seconds))
        return field_wrong(ask->call, "keep_alive", err,
                           "a number of seconds or a duration such as \"5m\" is expected");
    return OK;
}

static Status read_think(Ask *ask, Fields *f, Error *err) {
    const json_t *think = field(f, "think");
    if (think == NULL)
        return OK;
    if (!json_is_boolean(think) && !json_is_string(think))
        return field_wrong(ask->call, "think", err, "true, false or a level is expected");
    if (json_is_string(think))
        return ask_effort(ask, json_string_value(think), err);
    return ask_switch_thinking(ask, json_is_true(think), err);
}

/* The last two are of a sampler that is off. */
const char *const ollama_machine_options[] = {
    "num_ctx", "num_thread", "num_gpu", "main_gpu",   "num_batch",  "use_mmap",       "use_mlock",    "num_keep",
    "numa",    "low_vram",   "f16_kv",  "vocab_only", "logits_all", "embedding_only", "mirostat_tau", "mirostat_eta", NULL};

/* "options" are sampling fields; the machine's are the server's own business. */
static Status read_options(Ask *ask, Fields *body, int64_t *most_context, Error *err) {
    const json_t *options = NULL;
    Fields f;
    int64_t predict = -1;
    TRY(field_object(body, "options", &options, err));
    TRY(ask_fields(ask, options, &f, err));
    TRY(ask_sampling(ask, &f, err));
    TRY(field_int(&f, "num_predict", -2, 1 << 30, &predict, err));
    TRY(field_int(&f, "num_ctx", 1, 1 << 30, most_context, err));
    if (predict >= 0)
        ask->spec.max_tokens = (int)predict;
    float tail_free = 1;
    bool newlines = true;
    TRY(field_real(&f, "tfs_z", 1, 1, &tail_free, err)); /* samplers that are not here may be off */
    TRY(field_bool(&f, "penalize_newline", &newlines, err));
    if (!newlines)
        return field_wrong(ask->call, "penalize_newline", err, "penalties concern all tokens here");
    fields_ignore(&f, ollama_machine_options);
    return fields_end(&f, err);
}

static Status no_images(ApiCall *call, const json_t *images, Error *err) {
    if (json_array_size(images) > 0)
        return field_wrong(call, "images", err, "this model cannot see images");
    return OK;
}

/* Their names of fields, where templates have others. */
static Status adapt_messages(ApiCall *call, const json_t *messages, json_t **out, Error *err) {
    size_t i;
    json_t *message;
    *out = json_array();
    json_array_foreach((json_t *)(uintptr_t)messages, i, message) {
        if (!json_is_object(message))
            return field_wrong(call, "messages", err, "messages[%zu] is no object", i);
        TRY(no_images(call, json_object_get(message, "images"), err));
        json_t *copy = json_copy(message);
        if (json_object_get(copy, "tool_name") != NULL && json_object_get(copy, "name") == NULL)
            json_object_set(copy, "name", json_object_get(copy, "tool_name"));
        if (json_object_get(copy, "content") == NULL)
            json_object_set_new(copy, "content", json_string(""));
        FAIL_IF(json_array_append_new(*out, copy) != 0, ERR_MEMORY, "no memory for the messages");
    }
    return OK;
}

static Status messages_of_prompt(Fields *f, const char *prompt, json_t **out, Error *err) {
    const char *system = NULL;
    TRY(field_string(f, "system", &system, err));
    *out = json_array();
    if (system != NULL)
        json_array_append_new(*out, json_pack("{s:s, s:s}", "role", "system", "content", system));
    FAIL_IF(json_array_append_new(*out, json_pack("{s:s, s:s}", "role", "user", "content", prompt)) != 0, ERR_MEMORY,
            "no memory for the messages");
    return OK;
}

typedef struct Wishes {
    bool stream, raw, load_only;
    int64_t keep_alive, context;
    const char *prompt, *suffix;
    const json_t *tokens; /* of the conversation so far: "context" */
    json_t *messages;     /* owned */
} Wishes;

/* Nothing is cut off or shifted out: prompts that do not fit are refused, answers end where the context does. */
static Status read_lengths(ApiCall *call, Fields *f, Error *err) {
    static const char *const names[] = {"truncate", "shift"};
    for (size_t i = 0; i < COUNT(names); i++) {
        bool wanted = false;
        TRY(field_bool(f, names[i], &wanted, err));
        if (wanted)
            return field_wrong(call, names[i], err, "texts that are too long are refused here, not cut");
    }
    return OK;
}

static Status read_common(Ask *ask, Fields *f, Wishes *w, Error *err) {
    const json_t *format = NULL;
    bool logprobs = false;
    int64_t top = 0;
    w->context = INT32_MAX;
    w->stream = true;
    (void)field(f, "model");
    TRY(field_bool(f, "stream", &w->stream, err));
    TRY(field_bool(f, "return_progress", &ask->spec.progress, err));
    ask->spec.progress = ask->spec.progress && w->stream;
    TRY(read_lengths(ask->call, f, err));
    TRY(field_bool(f, "logprobs", &logprobs, err));
    TRY(field_int(f, "top_logprobs", 0, REQUEST_LOGPROBS, &top, err));
    if (top > 0 && !logprobs)
        return field_wrong(ask->call, "top_logprobs", err, "goes with \"logprobs\": true");
    ask->spec.logprobs = logprobs ? (int)top : -1;
    TRY(read_keep_alive(ask, f, &w->keep_alive, err));
    TRY(read_think(ask, f, err));
    TRY(read_options(ask, f, &w->context, err));
    format = field(f, "format");
    if (json_is_string(format) && strcmp(json_string_value(format), "json") == 0)
        return ask_json(ask, "format", NULL, err);
    if (format != NULL && !(json_is_string(format) && json_string_length(format) == 0))
        return ask_json(ask, "format", format, err);
    return OK;
}

static Status read_chat(Ask *ask, Fields *f, Wishes *w, Error *err) {
    const json_t *messages = NULL;
    TRY(read_common(ask, f, w, err));
    TRY(field_array(f, "messages", &messages, err));
    TRY(ask_tools(ask, f, err));
    w->load_only = json_array_size(messages) == 0;
    TRY(adapt_messages(ask->call, messages, &w->messages, err));
    return fields_end(f, err);
}

/* A template for this request only. */
static Status use_template(Ask *ask, const char *text, Error *err) {
    if (text == NULL || text[0] == '\0')
        return OK;
    TRY(ollama_check_notation(ask->call, text, "\"raw\": true uses none", err));
    json_t *preset = ask->preset != NULL ? json_copy(ask->preset) : json_object();
    json_decref(ask->preset);
    ask->preset = preset;
    FAIL_IF(json_object_set_new(preset, "template", json_string(text)) != 0, ERR_MEMORY, "no memory for the template");
    return OK;
}

static Status read_generate(Ask *ask, Fields *f, Wishes *w, Error *err) {
    const json_t *images = NULL;
    const char *template = NULL;
    TRY(read_common(ask, f, w, err));
    TRY(field_string(f, "prompt", &w->prompt, err));
    TRY(field_bool(f, "raw", &w->raw, err));
    TRY(field_array(f, "images", &images, err));
    TRY(no_images(ask->call, images, err));
    TRY(field_string(f, "suffix", &w->suffix, err));
    if (w->suffix != NULL && w->suffix[0] == '\0')
        w->suffix = NULL;
    TRY(field_array(f, "context", &w->tokens, err));
    TRY(field_string(f, "template", &template, err));
    TRY(use_template(ask, template, err));
    w->load_only = (w->prompt == NULL || w->prompt[0] == '\0') && w->suffix == NULL;
    ask->spec.tokens_wanted = !w->raw && w->suffix == NULL;
    if (w->raw || w->suffix != NULL)
        (void)field(f, "system");
    else
        TRY(messages_of_prompt(f, w->prompt != NULL ? w->prompt : "", &w->messages, err));
    return fields_end(f, err);
}

/* ---- the answer -------------------------------------------------------------------------------------------------- */

static json_t *envelope(const Talk *t, bool done) {
    char time[32];
    iso_time(unix_seconds(), time);
    return json_pack("{s:s, s:s, s:b}", "model", t->a.call->model, "created_at", time, "done", done);
}

/* What has come so far, as one line's object; empties it. NULL without memory for all of it. */
static json_t *take_line(Talk *t, bool done) {
    json_t *line = envelope(t, done),
           *said = t->chat ? json_pack("{s:s, s:o}", "role", "assistant", "content", json_of_text(&t->text))
                           : json_pack("{s:o}", "response", json_of_text(&t->text));
    bool good = said != NULL;
    if (t->thinking.count > 0 || t->thinking.failed)
        good = json_object_set_new(said, "thinking", json_of_text(&t->thinking)) == 0 && good;
    if (t->calls != NULL)
        good = json_object_set_new(said, "tool_calls", t->calls) == 0 && good;
    t->calls = NULL;
    good = (t->chat ? json_object_set(line, "message", said) : json_object_update(line, said)) == 0 && good;
    json_decref(said);
    if (!good) {
        json_decref(line);
        line = NULL;
    }
    if (json_array_size(t->logprobs) > 0) {
        json_object_set_new(line, "logprobs", t->logprobs);
        t->logprobs = json_array();
    }
    text_clear(&t->text);
    text_clear(&t->thinking);
    return line;
}

static void end_call(Talk *t) {
    json_t *arguments = json_loadb(t->arguments.bytes != NULL ? t->arguments.bytes : "", t->arguments.count, 0, NULL);
    if (!json_is_object(arguments)) { /* the model's arguments are no JSON: the client gets to see them */
        json_decref(arguments);
        arguments = json_pack("{s:o}", "_raw_arguments", json_of_text(&t->arguments));
    }
    if (t->calls == NULL)
        t->calls = json_array();
    json_t *one = json_pack("{s:{s:s, s:o}}", "function", "name", t->call_name, "arguments", arguments);
    if (json_array_append_new(t->calls, one) != 0)
        t->text.failed = true; /* no line then, rather than one without the call */
}

/* True when there is something to send. */
static bool take_piece(Talk *t, const Piece *p) {
    switch (p->kind) {
    case PIECE_TOKEN:
        if (t->context != NULL)
            json_array_append_new(t->context, json_integer(p->token->token));
        if (t->logprobs != NULL && !p->token->is_end)
            json_array_append_new(t->logprobs, logprob_value(t->tokenizer, p->token));
        return false;
    case PIECE_TEXT:
        text_append(&t->text, p->text, p->bytes);
        return true;
    case PIECE_REASONING:
        text_append(&t->thinking, p->text, p->bytes);
        return true;
    case PIECE_CALL:
        mem_free(t->call_name);
        t->call_name = mem_strdup(p->name, MEM_NETWORK);
        text_clear(&t->arguments);
        return false;
    case PIECE_ARGUMENTS:
        text_append(&t->arguments, p->text, p->bytes);
        return false;
    case PIECE_CALL_END:
        end_call(t);
        return true;
    default:
        return false;
    }
}

static json_t *last_line(Talk *t) {
    const Ending e = generation_ending(t->a.generation, 0);
    const Usage u = generation_usage(t->a.generation);
    json_t *line = take_line(t, true);
    const char *word = finish_word(&e);
    const uint64_t us = 1000; /* ns in a us */
    json_object_set_new(line, "done_reason",
                        json_string(word != NULL && strcmp(word, "length") == 0 ? "length" : "stop"));
    json_object_set_new(line, "total_duration", json_integer((json_int_t)((clock_us() - t->a.call->began_us) * us)));
    json_object_set_new(line, "load_duration", json_integer((json_int_t)(t->load_us * us)));
    json_object_set_new(line, "prompt_eval_count", json_integer(u.prompt));
    json_object_set_new(line, "prompt_eval_duration", json_integer((json_int_t)(e.stats.prompt_us * us)));
    json_object_set_new(line, "eval_count", json_integer(u.generated));
    json_object_set_new(line, "eval_duration", json_integer((json_int_t)(e.stats.generate_us * us)));
    json_object_set_new(line, "prompt_cached_count", json_integer(u.cached));
    json_object_set_new(line, "timings", timings_value(t->a.generation));
    if (t->context != NULL)
        json_object_set(line, "context", t->context);
    if (t->a.call->warnings != NULL)
        json_object_set(line, "warnings", t->a.call->warnings);
    return line;
}

static json_t *progress_line(Talk *t, const Piece *p) {
    json_t *line = take_line(t, false);
    json_object_set_new(line, "prompt_progress", progress_value(t->a.generation, p));
    return line;
}

static bool next(void *user, Text *out) {
    Talk *t = user;
    Piece piece;
    while (out->count == 0) {
        const GenerationNews news = api_next(t->a.call, t->a.generation, api_ping_ms(t->a.call), &piece);
        if (news == NEWS_GONE)
            return false;
        if (news == NEWS_PIECE && piece.kind == PIECE_PROGRESS)
            ndjson_append(out, progress_line(t, &piece));
        else if (news == NEWS_QUIET || (news == NEWS_PIECE && take_piece(t, &piece)))
            ndjson_append(out, take_line(t, false)); /* without news an empty one: proxies give up what is silent */
        if (news != NEWS_DONE)
            continue;
        const Ending e = generation_ending(t->a.generation, 0);
        Error err = {0};
        const Status status = ending_status(&e, &err);
        t->a.over = true;
        ndjson_append(out, status != OK ? api_error_value(t->a.call, status, &err) : last_line(t));
        return false;
    }
    return true;
}

static Status reply_whole(Talk *t, Error *err) {
    Piece piece;
    GenerationNews news;
    while ((news = api_next(t->a.call, t->a.generation, INT32_MAX / 2, &piece)) != NEWS_DONE) {
        FAIL_IF(news == NEWS_GONE, ERR_CANCELLED, "the client has left");
        if (news == NEWS_PIECE)
            (void)take_piece(t, &piece);
    }
    const Ending e = generation_ending(t->a.generation, 0);
    t->a.over = true;
    TRY(ending_status(&e, err));
    TRY(text_check(&t->text, err));
    return api_reply_json(t->a.call, 200, last_line(t), err);
}

/* A request without a prompt loads the model, or gives it up. */
static Status reply_loaded(ApiCall *call, const Wishes *w, bool chat, Error *err) {
    Talk t = {.a.call = call, .chat = chat};
    if (w->keep_alive == 0)
        TRY(registry_unload(call->server->registry, call->model, err));
    json_t *line = take_line(&t, true);
    json_object_set_new(line, "done_reason", json_string(w->keep_alive == 0 ? "unload" : "load"));
    return api_reply_json(call, 200, line, err);
}

/* The tokens of the conversation so far stand in front of the prompt. */
static Status put_context(Ask *ask, const json_t *tokens, Error *err) {
    if (json_array_size(tokens) == 0)
        return OK;
    TokenIds own = ask->prompt;
    ask->prompt = (TokenIds){0};
    Status status = ask_token_ids(ask, "context", tokens, model_vocab(ask->model), &ask->prompt, err);
    for (size_t i = 0; i < own.count && status == OK; i++)
        if (!token_ids_append(&ask->prompt, own.ids[i]))
            status = error_set(err, ERR_MEMORY, "no memory for the prompt");
    token_ids_free(&own);
    return status;
}

static json_t *context_value(const Ask *ask) {
    json_t *list = json_array();
    for (size_t i = 0; i < ask->prompt.count; i++)
        json_array_append_new(list, json_integer(ask->prompt.ids[i]));
    return list;
}

static Status prepare(Ask *ask, Wishes *w, bool chat, Error *err) {
    ApiCall *call = ask->call;
    Fields f = fields_of(call, call->body);
    TRY(chat ? read_chat(ask, &f, w, err) : read_generate(ask, &f, w, err));
    if (w->keep_alive != INT64_MAX)
        served_keep_alive(ask->served, w->keep_alive);
    if (w->load_only)
        return OK;
    const FillText none = {"", 0};
    if (w->suffix != NULL) {
        const char *before = w->prompt != NULL ? w->prompt : "";
        TRY(ask_fill(ask, "suffix", NULL, 0, (FillText){before, strlen(before)},
                     (FillText){w->suffix, strlen(w->suffix)}, none, err));
    } else if (w->raw)
        TRY(ask_text(ask, w->prompt, strlen(w->prompt), true, err));
    else
        TRY(ask_chat(ask, w->messages, true, false, err));
    TRY(put_context(ask, w->tokens, err));
    /* The context that the client expects bounds the answer; it never cuts the prompt. */
    if (w->context < served_context(ask->served)) {
        const int64_t room = w->context - (int64_t)ask->prompt.count;
        if (room <= 0) {
            call->code = "context_length_exceeded";
            return field_wrong(call, "num_ctx", err, "the prompt has %zu tokens, the context asked for %lld",
                               ask->prompt.count, (long long)w->context);
        }
        if (ask->spec.max_tokens < 0 || ask->spec.max_tokens > room)
            ask->spec.max_tokens = (int)room;
    }
    return OK;
}

static Status talk(ApiCall *call, bool chat, Error *err) {
    Ask ask = {0};
    Wishes w = {0};
    Status status = ask_model(call, json_string_value(json_object_get(call->body, "model")), &ask, err);
    if (status == OK)
        status = prepare(&ask, &w, chat, err);
    json_decref(w.messages);
    if (status == OK && w.load_only) {
        ask_free(&ask);
        return reply_loaded(call, &w, chat, err);
    }
    Talk *t = status == OK ? answering_open(&ask, sizeof *t, &status, err) : NULL;
    if (t != NULL) {
        t->chat = chat;
        t->load_us = ask.load_us;
        t->context = ask.spec.tokens_wanted ? context_value(&ask) : NULL;
        t->tokenizer = ask.tokenizer;
        t->logprobs = ask.spec.logprobs >= 0 ? json_array() : NULL;
    }
    ask_free(&ask);
    if (t == NULL)
        return status;
    if (w.stream) {
        api_stream(call, "application/x-ndjson",
                   (HttpSource){.next = next, .close = close_talk, .user = t});
        return OK;
    }
    status = reply_whole(t, err);
    close_talk(t);
    return status;
}

Status ollama_chat(ApiCall *call, Error *err) {
    return talk(call, true, err);
}

Status ollama_generate(ApiCall *call, Error *err) {
    return talk(call, false, err);
}
