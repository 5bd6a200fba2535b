/* responses.c - /v1/responses: an answer that the server keeps, so that the next request need not repeat what led to
 * it.
 *
 *     POST   /v1/responses                  a new answer: at once, streamed, or in the background
 *     POST   /v1/responses/input_tokens     how long its prompt would be
 *     GET    /v1/responses/ID               an answer, or (stream=true) its events
 *     GET    /v1/responses/ID/input_items
 *     POST   /v1/responses/ID/cancel
 *     DELETE /v1/responses/ID */
#include "serve/responses.h"

#include "base/digest.h"
#include "format/json.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

enum { ID_RANDOM_BYTES = 24, METADATA_MOST = 16, LIST_MOST = 100 };

typedef struct Responding {
    Answering a;
    ResponseMaker maker;
    bool begun;
} Responding;

/* What a request says beside what the model is asked. */
typedef struct Wishes {
    bool stream, background, truncate;
    const char *instructions, *previous;
} Wishes;

/* ---- fields ------------------------------------------------------------------------------------------------------ */

/* Nothing in an answer of ours depends on them: accounting, and tools that run elsewhere. */
static const char *const no_matter[] = {
    "user",
    "safety_identifier",
    "service_tier",
    "prompt_cache_key",
    "moderation",
    "prompt_cache_options",
    "prompt_cache_retention",
    "max_tool_calls",
    "cache_prompt",
    "client_metadata",
    NULL,
};

/* What is echoed in the answer as it was sent. */
static const char *const echoed[] = {"instructions",
                                     "max_output_tokens",
                                     "max_tool_calls",
                                     "previous_response_id",
                                     "reasoning",
                                     "text",
                                     "prompt_cache_key",
                                     "safety_identifier",
                                     "user",
                                     "background",
                                     "parallel_tool_calls",
                                     "tool_choice",
                                     "tools",
                                     "truncation",
                                     "metadata",
                                     "top_logprobs",
                                     "store"};

/* What is wanted in the answer beside the usual; results of tools that do not exist here never come. */
static Status read_include(Ask *ask, ResponseMaker *m, Fields *f, Error *err) {
    static const char *const others[] = {"file_search_call.results",
                                         "web_search_call.results",
                                         "web_search_call.action.sources",
                                         "message.input_image.image_url",
                                         "computer_call_output.output.image_url",
                                         "code_interpreter_call.outputs"};
    const json_t *include = NULL, *one;
    int64_t top = 0;
    size_t i;
    TRY(field_array(f, "include", &include, err));
    TRY(field_int(f, "top_logprobs", 0, REQUEST_LOGPROBS, &top, err));
    m->logprobs = top > 0;
    json_array_foreach((json_t *)(uintptr_t)include, i, one) {
        const char *word = json_string_value(one) != NULL ? json_string_value(one) : "";
        size_t k = 0;
        while (k < COUNT(others) && strcmp(others[k], word) != 0)
            k++;
        if (strcmp(word, "reasoning.encrypted_content") == 0)
            m->encrypted = true;
        else if (strcmp(word, "message.output_text.logprobs") == 0)
            m->logprobs = true;
        else if (k == COUNT(others))
            return field_wrong(ask->call, "include", err, "'%.80s' is not known here", word);
    }
    ask->spec.logprobs = m->logprobs ? (int)top : -1;
    return OK;
}

static Status read_text(Ask *ask, Fields *f, Error *err) {
    const json_t *text = NULL;
    TRY(field_object(f, "text", &text, err));
    Fields inner = fields_of(ask->call, text);
    const json_t *format = NULL;
    const char *verbosity = NULL;
    TRY(field_object(&inner, "format", &format, err));
    TRY(field_string(&inner, "verbosity", &verbosity, err));
    TRY(fields_end(&inner, err));
    if (verbosity != NULL)
        TRY(ask_variable(ask, "verbosity", json_string(verbosity), err));
    return ask_format(ask, "text.format", format, err);
}

static Status read_reasoning(Ask *ask, ResponseMaker *m, Fields *f, Error *err) {
    const json_t *reasoning = NULL;
    const char *effort = NULL, *summary = NULL, *older = NULL, *context = NULL;
    int64_t most = -1;
    TRY(field_object(f, "reasoning", &reasoning, err));
    Fields inner = fields_of(ask->call, reasoning);
    TRY(field_string(&inner, "effort", &effort, err));
    TRY(field_string(&inner, "summary", &summary, err));
    TRY(field_string(&inner, "generate_summary", &older, err));
    TRY(field_string(&inner, "context", &context, err));
    TRY(field_int(&inner, "max_tokens", 0, 1 << 30, &most, err));
    TRY(fields_end(&inner, err));
    summary = summary != NULL ? summary : older;
    if (context != NULL && strcmp(context, "auto") != 0)
        return field_wrong(ask->call, "reasoning.context", err, "only \"auto\" is supported");
    m->summary = summary != NULL && strcmp(summary, "none") != 0;
    if (most >= 0)
        ask->spec.reasoning_tokens = (int)most;
    if (effort != NULL)
        TRY(ask_effort(ask, effort, err));
    return ask_thinking(ask, f, err);
}

static Status read_metadata(Ask *ask, Fields *f, Error *err) {
    const json_t *metadata = NULL;
    const char *key;
    json_t *value;
    TRY(field_object(f, "metadata", &metadata, err));
    if (json_object_size(metadata) > METADATA_MOST)
        return field_wrong(ask->call, "metadata", err, "at most %d pairs are possible", METADATA_MOST);
    json_object_foreach(
        (json_t *)(uintptr_t)metadata, key,
        value) if (!json_is_string(value) || strlen(key) > 64 ||
                   json_string_length(value) >
                       512) return field_wrong(ask->call, "metadata", err,
                                               "keys of at most 64 and texts of at most 512 bytes are expected");
    return OK;
}

static Status read_kinds(Ask *ask, ResponseMaker *m, Fields *f, Wishes *w, Error *err) {
    static const char *const unsupported[] = {"conversation", "prompt", "context_management"};
    const char *truncation = "disabled";
    const json_t *stream_options = NULL;
    int64_t most = -1;
    bool parallel = true;
    TRY(field_bool(f, "stream", &w->stream, err));
    TRY(field_bool(f, "return_progress", &ask->spec.progress, err));
    ask->spec.progress = ask->spec.progress && w->stream;
    TRY(field_object(f, "stream_options", &stream_options, err));
    TRY(field_bool(f, "background", &w->background, err));
    TRY(field_bool(f, "store", &m->store, err));
    TRY(field_string(f, "instructions", &w->instructions, err));
    TRY(field_string(f, "previous_response_id", &w->previous, err));
    TRY(field_string(f, "truncation", &truncation, err));
    TRY(field_int(f, "max_output_tokens", 0, 1 << 30, &most, err));
    TRY(field_bool(f, "parallel_tool_calls", &parallel, err));
    ask->spec.single_call = !parallel;
    if (most >= 0)
        ask->spec.max_tokens = (int)most;
    w->truncate = strcmp(truncation, "auto") == 0;
    if (!w->truncate && strcmp(truncation, "disabled") != 0)
        return field_wrong(ask->call, "truncation", err, "\"auto\" or \"disabled\" is expected");
    if (w->background && !m->store)
        return field_wrong(ask->call, "background", err,
                           "what is made in the background must be stored: \"store\": true");
    for (size_t i = 0; i < COUNT(unsupported); i++)
        if (field(f, unsupported[i]) != NULL) {
            ask->call->code = "unsupported_parameter";
            return field_wrong(ask->call, unsupported[i], err,
                               "this server does not keep such things; send \"input\" or "
                               "\"previous_response_id\"");
        }
    return OK;
}

static Status read_fields(Ask *ask, ResponseMaker *m, Wishes *w, Error *err) {
    Fields f;
    const json_t *tools = NULL;
    m->store = true;
    TRY(ask_fields(ask, ask->call->body, &f, err));
    TRY(ask_sampling(ask, &f, err));
    TRY(read_kinds(ask, m, &f, w, err));
    TRY(read_include(ask, m, &f, err));
    TRY(field_array(&f, "tools", &tools, err));
    TRY(response_tools(ask, tools, err));
    m->custom = json_incref(ask->customs);
    TRY(ask_tool_choice(ask, "tool_choice", field(&f, "tool_choice"), err));
    TRY(read_text(ask, &f, err));
    TRY(read_reasoning(ask, m, &f, err));
    TRY(ask_constraints(ask, &f, err));
    TRY(read_metadata(ask, &f, err));
    (void)field(&f, "model");
    (void)field(&f, "input");
    fields_ignore(&f, no_matter);
    return fields_end(&f, err);
}

/* ---- the prompt -------------------------------------------------------------------------------------------------- */

static Status render(Ask *ask, const json_t *items, const Wishes *w, Error *err) {
    json_t *messages;
    ask->prompt.count = 0;
    text_clear(&ask->text);
    TRY(response_messages(ask->call, items, w->instructions, &messages, err));
    const Status status = ask_chat(ask, messages, true, false, err);
    json_decref(messages);
    return status;
}

/* The oldest item that is no instruction goes, and with a call its result. False when only the last is left. */
static bool drop_oldest(json_t *items) {
    size_t at = 0;
    while (at < json_array_size(items) && (strcmp(json_word(json_array_get(items, at), "role"), "system") == 0 ||
                                           strcmp(json_word(json_array_get(items, at), "role"), "developer") == 0))
        at++;
    if (at + 1 >= json_array_size(items))
        return false;
    json_t *gone = json_incref(json_array_get(items, at));
    const char *call = json_word(gone, "call_id");
    json_array_remove(items, at);
    for (size_t i = json_array_size(items); call[0] != '\0' && i > at; i--)
        if (strcmp(json_word(json_array_get(items, i - 1), "call_id"), call) == 0)
            json_array_remove(items, i - 1);
    json_decref(gone);
    return true;
}

/* Only what the client allowed to be cut ("truncation": "auto") is cut, and it is told. */
static Status render_what_fits(Ask *ask, json_t *items, const Wishes *w, Error *err) {
    const size_t context = (size_t)served_context(ask->served), before = json_array_size(items);
    const size_t room = ask->spec.max_tokens >= 0 ? (size_t)ask->spec.max_tokens : context / 8;
    for (bool more = true; more;) {
        TRY(render(ask, items, w, err));
        const size_t need = ask->prompt.count + MIN(room, context - 1);
        if (!w->truncate || need <= context)
            break;
        size_t drop = json_array_size(items) * (need - context) / need + 1;
        for (more = drop_oldest(items); more && --drop > 0;)
            more = drop_oldest(items);
    }
    const size_t dropped = before - json_array_size(items);
    if (dropped > 0)
        api_warn(ask->call, "truncation: the %zu oldest items of the conversation were left out", dropped);
    return OK;
}

static Status make_prompt(Ask *ask, ResponseMaker *m, const Wishes *w, Error *err) {
    ApiCall *call = ask->call;
    json_t *items = NULL;
    TRY(response_items(call, json_object_get(call->body, "input"), m->id, &m->input, err));
    if (w->previous != NULL) {
        const Status found = archive_conversation(call->server->archive, w->previous, call->caller.name,
                                                  2 * call->server->spec.body_bytes, &items, err);
        if (found == ERR_NOT_FOUND) {
            call->http_status = 400;
            call->code = "previous_response_not_found";
            call->param = "previous_response_id";
        }
        TRY(found);
        m->previous = mem_strdup(w->previous, MEM_NETWORK);
        FAIL_IF(m->previous == NULL, ERR_MEMORY, "no memory for the conversation");
    } else
        items = json_array();
    Status status =
        json_array_extend(items, m->input) == 0 ? OK : error_set(err, ERR_MEMORY, "no memory for the input");
    if (status == OK)
        status = render_what_fits(ask, items, w, err);
    json_decref(items);
    return status;
}

/* ---- the body ---------------------------------------------------------------------------------------------------- */

static Status make_id(char id[RESPONSE_ID_BYTES], Error *err) {
    uint8_t bytes[ID_RANDOM_BYTES];
    FAIL_IF(getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes, ERR_IO, "the system gives no random numbers");
    memcpy(id, "resp_", 5);
    digest_hex(bytes, sizeof bytes, id + 5);
    return OK;
}

static Status make_body(const Ask *ask, ResponseMaker *m, const Wishes *w, Error *err) {
    const ApiCall *call = ask->call;
    json_t *b = json_pack(
        "{s:s, s:s, s:I, s:s, s:b, s:n, s:n, s:n, s:n, s:s, s:[], s:b, s:n, s:{s:n, s:n}, s:s, s:b, s:f, s:{s:{s:s}}, "
        "s:s, "
        "s:[], s:f, s:s, s:n, s:{}}",
        "id", m->id, "object", "response", "created_at", (json_int_t)unix_seconds(), "status",
        w->background ? "queued" : "in_progress", "background", w->background, "error", "incomplete_details",
        "instructions", "max_output_tokens", "model", call->model, "output", "parallel_tool_calls", 1,
        "previous_response_id", "reasoning", "effort", "summary", "service_tier", "default", "store", m->store,
        "temperature", (double)ask->spec.sample.temperature, "text", "format", "type", "text", "tool_choice", "auto",
        "tools", "top_p", (double)ask->spec.sample.top_p, "truncation", "disabled", "usage", "metadata");
    m->body = b;
    FAIL_IF(b == NULL, ERR_MEMORY, "no memory for the answer");
    for (size_t i = 0; i < COUNT(echoed); i++) {
        json_t *value = json_object_get(call->body, echoed[i]);
        if (value != NULL && !json_is_null(value))
            json_object_set(b, echoed[i], value);
    }
    if (json_object_get(json_object_get(b, "text"), "format") == NULL) {
        json_t *text = json_copy(json_object_get(b, "text"));
        json_object_set_new(text, "format", json_pack("{s:s}", "type", "text"));
        json_object_set_new(b, "text", text);
    }
    m->tokenizer = ask->tokenizer;
    m->archive = call->server->archive;
    m->events = w->stream;
    m->owner = mem_strdup(call->caller.name, MEM_NETWORK);
    FAIL_IF(m->owner == NULL, ERR_MEMORY, "no memory for the answer");
    return OK;
}

/* ---- answering --------------------------------------------------------------------------------------------------- */

static void close_responding(void *user) {
    Responding *r = user;
    response_maker_free(&r->maker);
    answering_close(&r->a);
}

static bool next(void *user, Text *out) {
    Responding *r = user;
    Error err = {0};
    if (!r->begun)
        response_begin(&r->maker, out);
    r->begun = true;
    while (out->count == 0) {
        Piece piece;
        switch (api_next(r->a.call, r->a.generation, api_ping_ms(r->a.call), &piece)) {
        case NEWS_PIECE:
            response_take(&r->maker, &piece, out);
            break;
        case NEWS_QUIET:
            text_append_str(out, ": still at work\n\n");
            break;
        case NEWS_GONE:
            return false;
        case NEWS_DONE:
            r->a.over = true;
            (void)response_end(&r->maker, r->a.call, r->a.generation, false, out, &err);
            return false;
        }
    }
    return true;
}

static Status reply_whole(Responding *r, Error *err) {
    Piece piece;
    Text none = {0};
    GenerationNews news;
    while ((news = api_next(r->a.call, r->a.generation, INT32_MAX / 2, &piece)) != NEWS_DONE) {
        FAIL_IF(news == NEWS_GONE, ERR_CANCELLED, "the client has left");
        if (news == NEWS_PIECE)
            response_take(&r->maker, &piece, &none);
    }
    r->a.over = true;
    TRY(response_end(&r->maker, r->a.call, r->a.generation, false, &none, err));
    return api_reply_json(r->a.call, 200, json_incref(r->maker.body), err);
}

static Status prepare(Ask *ask, ResponseMaker *m, Wishes *w, Error *err) {
    TRY(make_id(m->id, err));
    TRY(read_fields(ask, m, w, err));
    TRY(make_prompt(ask, m, w, err));
    return make_body(ask, m, w, err);
}

Status responses_create(ApiCall *call, Error *err) {
    Ask ask;
    Wishes w = {0};
    ResponseMaker maker = {0};
    Status status = ask_model(call, json_string_value(json_object_get(call->body, "model")), &ask, err);
    if (status == OK)
        status = prepare(&ask, &maker, &w, err);
    Responding *r = status == OK ? answering_open(&ask, sizeof *r, &status, err) : NULL;
    ask_free(&ask);
    if (r == NULL) {
        response_maker_free(&maker);
        return status;
    }
    if (w.background)
        return response_job_start(call, &r->a, &maker, w.stream, err);
    r->maker = maker;
    r->maker.generation = r->a.generation;
    if (w.stream) {
        api_stream(call, "text/event-stream; charset=utf-8",
                   (HttpSource){.next = next, .close = close_responding, .user = r});
        return OK;
    }
    status = reply_whole(r, err);
    close_responding(r);
    return status;
}

Status responses_count(ApiCall *call, Error *err) {
    Ask ask;
    Wishes w = {0};
    ResponseMaker maker = {0};
    Status status = ask_model(call, json_string_value(json_object_get(call->body, "model")), &ask, err);
    if (status == OK)
        status = prepare(&ask, &maker, &w, err);
    if (status == OK)
        status = api_reply_json(
            call, 200,
            json_pack("{s:s, s:I}", "object", "response.input_tokens", "input_tokens", (json_int_t)ask.prompt.count),
            err);
    ask_free(&ask);
    response_maker_free(&maker);
    return status;
}

/* A conversation that is made shorter is another one: what to keep of it is for the client to say. */
Status responses_compact(ApiCall *call, Error *err) {
    call->code = "unsupported";
    return error_set(err, ERR_ARGUMENT,
                     "this server shortens no conversations by itself: send the items that are to be kept as \"input\", or "
                     "\"truncation\": \"auto\" to leave out the oldest");
}

/* ---- what is stored ---------------------------------------------------------------------------------------------- */

/* The id of a path "ID" or "ID/what"; false when there is something else behind the id. */
static bool split_path(const ApiCall *call, const char *what, char id[RESPONSE_ID_BYTES]) {
    const char *slash = strchr(call->rest, '/');
    const size_t bytes = slash != NULL ? (size_t)(slash - call->rest) : strlen(call->rest);
    if (bytes >= RESPONSE_ID_BYTES || strcmp(slash != NULL ? slash + 1 : "", what) != 0)
        return false;
    memcpy(id, call->rest, bytes);
    id[bytes] = '\0';
    return true;
}

static bool process_lives(int64_t process) {
    return kill((pid_t)process, 0) == 0 || errno == EPERM;
}

static Status find(ApiCall *call, const char *id, StoredAnswer *answer, Error *err) {
    /* Asked first: one that ends meanwhile is complete when it is read. */
    const bool runs_here = response_job_runs(call->server->jobs, id);
    const Status status = archive_get(call->server->archive, id, call->caller.name, answer, err);
    if (status == ERR_NOT_FOUND)
        call->code = "response_not_found";
    TRY(status);
    /* One that was being made by a process that has ended: it will never be complete. */
    const bool ours = answer->process == getpid();
    if (answer->process == 0)
        return OK;
    const bool runs = ours ? runs_here : process_lives(answer->process);
    json_object_set_new(answer->body, "status", json_string(runs ? "in_progress" : "failed"));
    if (!runs)
        json_object_set_new(answer->body, "error",
                            json_pack("{s:s, s:s}", "code", "server_error", "message",
                                      "the server was stopped before the answer was complete"));
    return OK;
}

static Status find_again(ApiCall *call, const char *id, StoredAnswer *answer, Error *err) {
    stored_answer_free(answer);
    return find(call, id, answer, err);
}

static bool wants_stream(const ApiCall *call) {
    const char *stream = http_query(call->http, "stream");
    return stream != NULL && (strcmp(stream, "true") == 0 || strcmp(stream, "1") == 0);
}

static Status reply_events(ApiCall *call, const char *id, StoredAnswer *answer, Error *err) {
    const char *wish = http_query(call->http, "starting_after");
    int64_t after = -1;
    if (wish != NULL && !parse_int64(wish, &after))
        return field_wrong(call, "starting_after", err, "the number of an event is expected");
    if (response_job_stream(call, id, after))
        return OK;
    if (answer->process != 0) /* it may have ended since it was read */
        TRY(find_again(call, id, answer, err));
    if (answer->events == NULL)
        return field_wrong(call, "stream", err,
                           "only answers that were made in the background and streamed can be again");
    Text out = {0};
    response_events_after(&out, answer->events, strlen(answer->events), after);
    http_reply(call->http, 200, "text/event-stream; charset=utf-8", &out);
    return OK;
}

static json_t *item_page(const json_t *items, int64_t limit, bool ascending, const char *after, bool *more) {
    json_t *page = json_array();
    const size_t n = json_array_size(items);
    bool begun = after == NULL;
    *more = false;
    for (size_t i = 0; i < n; i++) {
        json_t *item = json_array_get(items, ascending ? i : n - 1 - i);
        if (begun && json_array_size(page) == (size_t)limit) {
            *more = true;
            break;
        }
        if (begun)
            json_array_append(page, item);
        begun = begun || strcmp(json_word(item, "id"), after) == 0;
    }
    return page;
}

static Status reply_items(ApiCall *call, const StoredAnswer *answer, Error *err) {
    const char *limit_text = http_query(call->http, "limit"), *order = http_query(call->http, "order");
    int64_t limit = 20;
    bool more;
    if (limit_text != NULL && (!parse_int64(limit_text, &limit) || limit < 1 || limit > LIST_MOST))
        return field_wrong(call, "limit", err, "a number from 1 to %d is expected", LIST_MOST);
    if (order != NULL && strcmp(order, "asc") != 0 && strcmp(order, "desc") != 0)
        return field_wrong(call, "order", err, "\"asc\" or \"desc\" is expected");
    json_t *page =
        item_page(answer->input, limit, order != NULL && order[0] == 'a', http_query(call->http, "after"), &more);
    const json_t *first = json_array_get(page, 0), *last = json_array_get(page, json_array_size(page) - 1);
    return api_reply_json(call, 200,
                          json_pack("{s:s, s:s?, s:s?, s:b, s:o}", "object", "list", "first_id",
                                    first != NULL ? json_word(first, "id") : NULL, "last_id",
                                    last != NULL ? json_word(last, "id") : NULL, "has_more", more, "data", page),
                          err);
}

static Status nothing_here(ApiCall *call, Error *err) {
    call->code = "unknown_url";
    return error_set(err, ERR_NOT_FOUND, "there is nothing at this address");
}

Status responses_retrieve(ApiCall *call, Error *err) {
    char id[RESPONSE_ID_BYTES];
    StoredAnswer answer;
    const bool items = split_path(call, "input_items", id);
    if (!items && !split_path(call, "", id))
        return nothing_here(call, err);
    TRY(find(call, id, &answer, err));
    const Status status = items                ? reply_items(call, &answer, err)
                          : wants_stream(call) ? reply_events(call, id, &answer, err)
                                               : api_reply_json(call, 200, json_incref(answer.body), err);
    stored_answer_free(&answer);
    return status;
}

Status responses_delete(ApiCall *call, Error *err) {
    char id[RESPONSE_ID_BYTES];
    StoredAnswer answer;
    if (!split_path(call, "", id))
        return nothing_here(call, err);
    TRY(find(call, id, &answer, err));
    stored_answer_free(&answer);
    response_job_cancel(call->server->jobs, id);
    TRY(archive_delete(call->server->archive, id, call->caller.name, err));
    return api_reply_json(call, 200, json_pack("{s:s, s:s, s:b}", "id", id, "object", "response.deleted", "deleted", 1),
                          err);
}

Status responses_cancel(ApiCall *call, Error *err) {
    char id[RESPONSE_ID_BYTES];
    StoredAnswer answer;
    if (!split_path(call, "cancel", id))
        return nothing_here(call, err);
    TRY(find(call, id, &answer, err));
    if (!json_is_true(json_object_get(answer.body, "background"))) {
        stored_answer_free(&answer);
        return field_wrong(call, "id", err, "only answers that are made in the background can be cancelled");
    }
    if (answer.process != 0) { /* it has ended when this returns, by this or before it */
        (void)response_job_cancel(call->server->jobs, id);
        TRY(find_again(call, id, &answer, err));
    }
    const Status status = api_reply_json(call, 200, json_incref(answer.body), err);
    stored_answer_free(&answer);
    return status;
}
