/* ask.c - from the fields of a request to a generation: model, sampling, prompt, limits. See api.h. */
#include "serve/api.h"

#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

enum { BIAS_MOST = 4096 };

static void released(void *user, const Generation *generation) {
    (void)generation;
    registry_release(user);
}

Status ask_model(ApiCall *call, const char *name, Ask *ask, Error *err) {
    *ask = (Ask){.call = call};
    if (name == NULL || name[0] == '\0')
        return field_wrong(call, "model", err, "the name of a model is expected; GET /v1/models lists them");
    char *known, *path;
    call->param = "model";
    const Status found = registry_name(call->server->registry, name, &known, &path, err);
    if (found == ERR_NOT_FOUND)
        call->code = "model_not_found";
    if (found != OK)
        return found;
    const json_t *preset = ask->preset = registry_preset(call->server->registry, name);
    const bool allowed = keys_allow(call->server->keys, &call->caller, known) ||
                         (preset != NULL && keys_allow(call->server->keys, &call->caller, name));
    strncpy(call->model, preset != NULL ? name : known, sizeof call->model - 1);
    call->model[utf8_complete_prefix(call->model, strlen(call->model))] = '\0';
    mem_free(known);
    mem_free(path);
    FAIL_IF(!allowed, ERR_DENIED, "this key may not use the model '%s'", call->model);
    const uint64_t wait_us = (uint64_t)call->server->spec.queue_seconds * 1000000;
    const Status status = api_acquire(call, name, wait_us, &ask->served, &ask->load_us, err);
    if (status != OK) {
        call->code = status == ERR_BUSY ? "model_busy" : "model_not_loaded";
        /* What is wrong with a model's files is not the client's mistake. */
        call->http_status = status == ERR_BUSY || status == ERR_MEMORY ? 503 : 500;
        return status;
    }
    call->param = NULL;
    call->counts.seconds[TIMING_LOAD] = (double)ask->load_us * 1e-6;
    ask->model = served_model(ask->served);
    ask->spec = (GenerationSpec){.model = ask->model,
                                 .scheduler = served_scheduler(ask->served),
                                 .choices = 1,
                                 .max_tokens = -1,
                                 .logprobs = -1,
                                 .reasoning_tokens = -1,
                                 .client = call->caller.id,
                                 .released = released,
                                 .user = ask->served};
    return model_tokenizer(ask->model, &ask->tokenizer, err);
}

Status ask_only_model(ApiCall *call, Ask *ask, Error *err) {
    const json_t *given = json_object_get(call->body, "model");
    ServedList list;
    *ask = (Ask){.call = call};
    if (given != NULL && !json_is_null(given))
        return ask_model(call, json_string_value(given), ask, err);
    TRY(registry_list(call->server->registry, &list, err));
    const Status status = ask_model(call, list.count == 1 ? list.items[0].name : NULL, ask, err);
    served_list_free(&list);
    return status;
}

void ask_free(Ask *ask) {
    registry_release(ask->served);
    token_ids_free(&ask->prompt);
    text_free(&ask->text);
    json_decref(ask->preset);
    json_decref(ask->merged);
    json_decref(ask->tools);
    json_decref(ask->variables);
    json_decref(ask->customs);
    mem_free(ask->bias);
    mem_free(ask->breakers);
    grammar_free(ask->grammar);
    *ask = (Ask){0};
}

Status ask_fields(Ask *ask, const json_t *object, Fields *fields, Error *err) {
    const json_t *defaults = served_settings(ask->served)->defaults, *own = json_object_get(ask->preset, "fields");
    ask->merged = json_object();
    FAIL_IF(ask->merged == NULL ||
                (defaults != NULL && json_object_update(ask->merged, (json_t *)(uintptr_t)defaults) != 0) ||
                (own != NULL && json_object_update(ask->merged, (json_t *)(uintptr_t)own) != 0) ||
                (object != NULL && json_object_update(ask->merged, (json_t *)(uintptr_t)object) != 0),
            ERR_MEMORY, "no memory for the request");
    *fields = fields_of(ask->call, ask->merged);
    return OK;
}

/* ---- sampling ---------------------------------------------------------------------------------------------------- */

static Status add_bias(Ask *ask, int32_t token, double bias, Error *err) {
    SampleSpec *s = &ask->spec.sample;
    if (token < 0 || token >= model_vocab(ask->model))
        return field_wrong(ask->call, "logit_bias", err, "%d is no token of this model", token);
    if (!(bias >= -100 && bias <= 100))
        return field_wrong(ask->call, "logit_bias", err, "a bias from -100 to 100 is expected");
    if (s->n_bias == BIAS_MOST)
        return field_wrong(ask->call, "logit_bias", err, "more than %d tokens", BIAS_MOST);
    /* -100 is documented as a ban. */
    ask->bias[s->n_bias++] = (LogitBias){.token = token, .bias = bias <= -100 ? -1e9f : (float)bias};
    return OK;
}

static Status read_bias(Ask *ask, Fields *f, Error *err) {
    const json_t *given = field(f, "logit_bias");
    if (given == NULL)
        return OK;
    ask->bias = mem_array(BIAS_MOST, sizeof *ask->bias, MEM_NETWORK);
    FAIL_IF(ask->bias == NULL, ERR_MEMORY, "no memory for the request");
    ask->spec.sample.bias = ask->bias;
    if (json_is_object(given)) {
        const char *key;
        json_t *value;
        json_object_foreach((json_t *)(uintptr_t)given, key, value) {
            int64_t token;
            if (!parse_int64(key, &token) || token < 0 || token > INT32_MAX || !json_is_number(value))
                return field_wrong(ask->call, "logit_bias", err, "an object of token ids with numbers is expected");
            TRY(add_bias(ask, (int32_t)token, json_number_value(value), err));
        }
        return OK;
    }
    size_t i;
    json_t *pair;
    if (!json_is_array(given))
        return field_wrong(ask->call, "logit_bias", err, "an object of token ids with numbers is expected");
    json_array_foreach((json_t *)(uintptr_t)given, i, pair) {
        const json_t *token = json_array_get(pair, 0), *bias = json_array_get(pair, 1);
        if (!json_is_integer(token) || json_integer_value(token) < 0 || json_integer_value(token) > INT32_MAX ||
            !(json_is_number(bias) || json_is_false(bias)))
            return field_wrong(ask->call, "logit_bias", err,
                               "pairs of a token id and a number (or false) are expected");
        TRY(add_bias(ask, (int32_t)json_integer_value(token), json_is_false(bias) ? -100 : json_number_value(bias),
                     err));
    }
    return OK;
}

static Status read_stops(Ask *ask, Fields *f, Error *err) {
    const json_t *stop = field(f, "stop");
    const size_t n = json_is_array(stop) ? json_array_size(stop) : stop != NULL;
    if (n > ASK_STOPS)
        return field_wrong(ask->call, "stop", err, "%zu texts; at most %d are possible", n, ASK_STOPS);
    for (size_t i = 0; i < n; i++) {
        const json_t *text = json_is_array(stop) ? json_array_get(stop, i) : stop;
        if (!json_is_string(text) || strlen(json_string_value(text)) != json_string_length(text) ||
            json_string_length(text) > ANSWER_STOP_BYTES)
            return field_wrong(ask->call, "stop", err, "a text, or an array of texts, of at most %d bytes is expected",
                               ANSWER_STOP_BYTES);
        ask->stops[i] = json_string_value(text);
    }
    ask->spec.stops = ask->stops;
    ask->spec.n_stop = (int)n;
    return OK;
}

/* All tokens whose text contains one of the breakers: repetitions do not reach across them. */
static Status read_breakers(Ask *ask, Fields *f, Error *err) {
    static const char *const usual[] = {"\n", ":", "\"", "*"};
    const json_t *given = NULL;
    SampleSpec *s = &ask->spec.sample;
    TRY(field_array(f, "dry_sequence_breakers", &given, err));
    if (s->dry_multiplier == 0)
        return OK;
    const size_t n = given != NULL ? json_array_size(given) : COUNT(usual);
    if (n > 32)
        return field_wrong(ask->call, "dry_sequence_breakers", err, "at most 32 are possible");
    size_t capacity = 0;
    for (int32_t id = 0; id < tokenizer_count(ask->tokenizer); id++) {
        const char *bytes;
        size_t count;
        bool breaks = false;
        if (!tokenizer_piece(ask->tokenizer, id, &bytes, &count) || count == 0)
            continue;
        for (size_t i = 0; i < n && !breaks; i++) {
            const char *breaker = given != NULL ? json_string_value(json_array_get(given, i)) : usual[i];
            breaks = breaker != NULL && breaker[0] != '\0' && memmem(bytes, count, breaker, strlen(breaker)) != NULL;
        }
        if (!breaks)
            continue;
        FAIL_IF(!mem_grow((void **)&ask->breakers, &capacity, (size_t)s->n_dry_breaker + 1, sizeof *ask->breakers,
                          MEM_NETWORK),
                ERR_MEMORY, "no memory for the request");
        ask->breakers[s->n_dry_breaker++] = id;
    }
    s->dry_breakers = ask->breakers;
    return OK;
}

static Status must_write(Ask *ask, Error *err) {
    Error why = {0};
    if (model_must_write(ask->model, &why) == OK)
        return OK;
    ask->call->code = "model_cannot_write";
    return field_wrong(ask->call, "model", err, "it reads texts and writes none; /v1/embeddings or /v1/rerank are for it");
}

Status ask_sampling(Ask *ask, Fields *f, Error *err) {
    SampleSpec *s = &ask->spec.sample;
    TRY(must_write(ask, err));
    *s = model_sampling(ask->model);
    int64_t top_k = s->top_k, penalty_last = s->penalty_last, dry_allowed = s->dry_allowed, dry_last = s->dry_last,
            mirostat = 0;
    int64_t seed = (int64_t)(clock_ns() & INT64_MAX), max_tokens = -1;
    TRY(field_real(f, "temperature", 0, 100, &s->temperature, err));
    TRY(field_real(f, "top_p", 0, 1, &s->top_p, err));
    TRY(field_real(f, "min_p", 0, 1, &s->min_p, err));
    TRY(field_real(f, "typical_p", 0, 1, &s->typical_p, err));
    TRY(field_int(f, "top_k", -1, 1 << 24, &top_k, err));
    TRY(field_real(f, "repeat_penalty", 0.01, 100, &s->repeat_penalty, err));
    TRY(field_real(f, "repetition_penalty", 0.01, 100, &s->repeat_penalty, err));
    TRY(field_real(f, "presence_penalty", -100, 100, &s->presence_penalty, err));
    TRY(field_real(f, "frequency_penalty", -100, 100, &s->frequency_penalty, err));
    TRY(field_int(f, "repeat_last_n", -1, 1 << 24, &penalty_last, err));
    TRY(field_real(f, "dry_multiplier", 0, 100, &s->dry_multiplier, err));
    TRY(field_real(f, "dry_base", 1, 100, &s->dry_base, err));
    TRY(field_int(f, "dry_allowed_length", 0, 1 << 24, &dry_allowed, err));
    TRY(field_int(f, "dry_penalty_last_n", -1, 1 << 24, &dry_last, err));
    TRY(field_real(f, "xtc_probability", 0, 1, &s->xtc_probability, err));
    TRY(field_real(f, "xtc_threshold", 0, 1, &s->xtc_threshold, err));
    TRY(field_int(f, "mirostat", 0, 2, &mirostat, err));
    if (mirostat != 0)
        return field_wrong(ask->call, "mirostat", err,
                           "this server has no such sampler; min_p serves the same purpose");
    (void)field(f, "mirostat_tau"); /* of a sampler that is off */
    (void)field(f, "mirostat_eta");
    TRY(field_int(f, "seed", INT64_MIN, INT64_MAX, &seed, err));
    TRY(field_int(f, "max_tokens", -1, 1 << 30, &max_tokens, err));
    TRY(field_bool(f, "ignore_eos", &ask->spec.ignore_end, err));
    s->top_k = top_k < 0 ? 0 : (int)top_k;
    s->penalty_last = (int)penalty_last;
    s->dry_allowed = (int)dry_allowed;
    s->dry_last = (int)dry_last;
    s->seed = (uint64_t)seed;
    ask->spec.max_tokens = (int)max_tokens;
    TRY(read_breakers(ask, f, err));
    TRY(read_bias(ask, f, err));
    return read_stops(ask, f, err);
}

/* ---- the prompt -------------------------------------------------------------------------------------------------- */

/* The assistant's last message is to be gone on with: rendered with all that the template closes it with, then cut
 * behind its text. */
static Status cut_behind_last(Ask *ask, const json_t *messages, Error *err) {
    const json_t *last = json_array_get(messages, json_array_size(messages) - 1);
    const json_t *content = json_object_get(last, "content");
    const char *text = json_string_value(content);
    size_t bytes = json_string_length(content);
    if (text == NULL)
        return field_wrong(ask->call, "messages", err,
                           "the last message, which is to be continued, must have a text as its content");
    while (bytes > 0 && strchr(" \n\r\t", text[bytes - 1]) != NULL) /* templates trim */
        bytes--;
    for (size_t at = ask->text.count; at >= bytes && bytes > 0; at--)
        if (memcmp(ask->text.bytes + at - bytes, text, bytes) == 0) {
            ask->text.count = at;
            ask->text.bytes[at] = '\0';
            return OK;
        }
    if (bytes == 0)
        return OK;
    return field_wrong(ask->call, "messages", err, "the model's template does not show the last message as it stands");
}

/* What a preset says in front of each conversation: its messages, and its instructions if there are no others. */
static Status preset_messages(const Ask *ask, json_t *messages, Error *err) {
    const json_t *system = json_object_get(ask->preset, "system"), *first = json_array_get(messages, 0);
    json_t *more = json_object_get(ask->preset, "messages");
    const char *role = json_string_value(json_object_get(first, "role"));
    const bool instructed = role != NULL && strcmp(role, "system") == 0;
    bool good = true;
    for (size_t i = json_array_size(more); good && i > 0; i--)
        good = json_array_insert(messages, instructed, json_array_get(more, i - 1)) == 0;
    if (good && !instructed && json_string_length(system) > 0)
        good = json_array_insert_new(messages, 0, json_pack("{s:s, s:O}", "role", "system", "content", system)) == 0;
    FAIL_IF(!good, ERR_MEMORY, "no memory for the messages");
    return OK;
}

/* *own: one that the preset brings, to be closed. */
static Status find_template(Ask *ask, const ChatTemplate **chat, ChatTemplate **own, Error *err) {
    const char *text = json_string_value(json_object_get(ask->preset, "template"));
    *own = NULL;
    if (text != NULL) {
        TRY(chat_template_of_text(text, strlen(text), "template", own, err));
        *chat = *own;
        return OK;
    }
    const Status found = model_chat(ask->model, chat, err);
    if (found == ERR_NOT_FOUND)
        ask->call->code = "no_chat_template";
    if (found != OK)
        ask->call->http_status = found == ERR_NOT_FOUND ? 400 : 500;
    return found;
}

static Status render_with(Ask *ask, const ChatTemplate *chat, const json_t *messages, bool add_generation_prompt,
                          bool continue_final, Error *err);

Status ask_render(Ask *ask, const json_t *messages, bool add_generation_prompt, bool continue_final, Error *err) {
    const ChatTemplate *chat;
    ChatTemplate *own;
    json_t *cleaned;
    TRY(find_template(ask, &chat, &own, err));
    Status status = messages_clean(messages, chat_template_text(chat, NULL, NULL), &cleaned, err);
    if (status == OK)
        status = preset_messages(ask, cleaned, err);
    if (status == OK)
        status = render_with(ask, chat, cleaned, add_generation_prompt, continue_final, err);
    json_decref(cleaned);
    chat_template_close(own);
    return status;
}

static Status render_with(Ask *ask, const ChatTemplate *chat, const json_t *messages, bool add_generation_prompt,
                          bool continue_final, Error *err) {
    const ChatRequest request = {.messages = messages,
                                 .tools = ask->tools,
                                 .variables = ask->variables,
                                 .add_generation_prompt = add_generation_prompt && !continue_final};
    const Status status = chat_template_render(chat, &request, &ask->text, err);
    if (status != OK) {
        ask->call->param = "messages";
        if (status == ERR_FORMAT)
            ask->call->http_status = 400;
        return status;
    }
    if (continue_final)
        TRY(cut_behind_last(ask, messages, err));
    const char *format = served_settings(ask->served)->reply_format;
    ask->spec.reply_format = format != NULL ? format : model_reply_format(ask->model, &request);
    ask->spec.inside_reasoning = ask->spec.reply_format != NULL &&
                                 reply_inside_reasoning(ask->spec.reply_format, ask->text.bytes, ask->text.count);
    ask->spec.tools = ask->tools;
    return OK;
}

Status ask_chat(Ask *ask, const json_t *messages, bool add_generation_prompt, bool continue_final, Error *err) {
    TRY(ask_render(ask, messages, add_generation_prompt, continue_final, err));
    return tokenizer_encode(ask->tokenizer, ask->text.bytes != NULL ? ask->text.bytes : "", ask->text.count,
                            ENCODE_PARSE_SPECIAL, &ask->prompt, err);
}

Status ask_text(Ask *ask, const char *text, size_t bytes, bool parse_special, Error *err) {
    const unsigned flags = ENCODE_ADD_SPECIAL | (parse_special ? ENCODE_PARSE_SPECIAL : 0);
    text_append(&ask->text, text, bytes);
    TRY(text_check(&ask->text, err));
    return tokenizer_encode(ask->tokenizer, text, bytes, flags, &ask->prompt, err);
}

Status ask_token_ids(Ask *ask, const char *name, const json_t *array, int32_t bound, TokenIds *ids, Error *err) {
    size_t i;
    json_t *id;
    json_array_foreach((json_t *)(uintptr_t)array, i, id) {
        const int64_t number = json_is_integer(id) ? json_integer_value(id) : -1;
        if (number < 0 || number >= bound)
            return field_wrong(ask->call, name, err, "token %zu is not of this model's vocabulary", i);
        FAIL_IF(!token_ids_append(ids, (int32_t)number), ERR_MEMORY, "no memory for the tokens");
    }
    return OK;
}

/* ---- beginning --------------------------------------------------------------------------------------------------- */

static Status check_length(Ask *ask, Error *err) {
    const int context = served_context(ask->served);
    const size_t n = ask->prompt.count;
    if (n == 0)
        return field_wrong(ask->call, ask->call->form == API_OPENAI ? "messages" : "prompt", err,
                           "the prompt is empty");
    if (n < (size_t)context && (ask->spec.max_tokens < 0 || n + (size_t)ask->spec.max_tokens <= (size_t)context))
        return OK;
    ask->call->code = "context_length_exceeded";
    ask->call->param = "messages";
    if (n >= (size_t)context)
        return error_set(
            err, ERR_LIMIT,
            "This model's maximum context length is %d tokens. However, your messages resulted in %zu tokens. "
            "Please reduce the length of the messages.",
            context, n);
    return error_set(err, ERR_LIMIT,
                     "This model's maximum context length is %d tokens. However, you requested %zu tokens (%zu in the "
                     "messages, %d in the completion). Please reduce the length of the messages or completion.",
                     context, n + (size_t)ask->spec.max_tokens, n, ask->spec.max_tokens);
}

Status ask_start(Ask *ask, Generation **generation, Error *err) {
    ApiCall *call = ask->call;
    const char *wish = http_header(call->http, "X-Request-Deadline-Seconds");
    double seconds = call->server->spec.request_seconds;
    double own;
    if (wish != NULL && parse_double(wish, &own) && own > 0)
        seconds = seconds > 0 ? MIN(seconds, own) : own;
    TRY(must_write(ask, err));
    TRY(check_length(ask, err));
    TRY(ask_prepare_constraint(ask, err));
    ask->spec.tokens = ask->prompt.ids;
    ask->spec.n = (int)ask->prompt.count;
    if (seconds > 0 && seconds < 1e9)
        ask->spec.deadline_us = call->began_us + (uint64_t)(seconds * 1e6);
    registry_hold(ask->served); /* given back when the scheduler has let go */
    const Status status = generation_open(&ask->spec, generation, err);
    if (status == OK)
        ask->grammar = NULL; /* the generation's now */
    else
        registry_release(ask->served);
    if (status == ERR_BUSY)
        call->code = "queue_full";
    return status;
}
