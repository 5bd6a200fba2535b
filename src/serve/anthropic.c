/* anthropic.c - POST /v1/messages and /v1/messages/count_tokens.
 *
 * A conversation of content blocks becomes the messages that templates read (texts, tool calls, tool results); an
 * answer becomes blocks again: thinking, text, tool_use, each opened and closed by events of its own. */
#include "serve/api.h"

#include "base/digest.h"

#include <string.h>

typedef enum Block { BLOCK_NONE, BLOCK_TEXT, BLOCK_THINKING, BLOCK_TOOL } Block;

typedef struct Blocks {
    Answering a;
    char id[64];
    bool stream, begun;
    Block block; /* that is open */
    int index;   /* of it */
    Text text;   /* of the open block, when nothing is streamed */
    char *tool_id, *tool_name;
    json_t *content;
} Blocks;

static void close_blocks(void *user) {
    Blocks *b = user;
    text_free(&b->text);
    mem_free(b->tool_id);
    mem_free(b->tool_name);
    json_decref(b->content);
    answering_close(&b->a);
}

/* ---- messages ---------------------------------------------------------------------------------------------------- */

static Status append_text(ApiCall *call, const json_t *block, Text *out, Error *err) {
    const json_t *text = json_object_get(block, "text");
    if (!json_is_string(text))
        return field_wrong(call, "messages", err, "a block of type \"text\" needs a \"text\"");
    text_append(out, json_string_value(text), json_string_length(text));
    return text_check(out, err);
}

/* A text, or blocks of texts, as one. */
static Status text_of(ApiCall *call, const json_t *content, const char *where, Text *out, Error *err) {
    size_t i;
    json_t *block;
    if (json_is_string(content)) {
        text_append(out, json_string_value(content), json_string_length(content));
        return text_check(out, err);
    }
    if (content != NULL && !json_is_null(content) && !json_is_array(content))
        return field_wrong(call, where, err, "a text or an array of blocks is expected");
    json_array_foreach((json_t *)(uintptr_t)content, i, block) {
        const char *type = json_string_value(json_object_get(block, "type"));
        if (type == NULL || strcmp(type, "text") != 0)
            return field_wrong(call, where, err, "blocks of type '%.40s' cannot be read by this model",
                               type != NULL ? type : "");
        if (i > 0 && out->count > 0)
            text_append_char(out, '\n');
        TRY(append_text(call, block, out, err));
    }
    return text_check(out, err);
}

static Status add_message(json_t *messages, const char *role, const Text *content, json_t *calls, const Text *reasoning,
                          Error *err) {
    json_t *message = json_pack("{s:s, s:o}", "role", role, "content",
                                content->count == 0 && calls != NULL ? json_null() : json_of_text(content));
    if (calls != NULL)
        json_object_set_new(message, "tool_calls", calls);
    if (reasoning != NULL && reasoning->count > 0)
        json_object_set_new(message, "reasoning_content", json_of_text(reasoning));
    FAIL_IF(json_array_append_new(messages, message) != 0, ERR_MEMORY, "no memory for the messages");
    return OK;
}

static Status add_result(ApiCall *call, json_t *messages, const json_t *block, Error *err) {
    const char *id = json_string_value(json_object_get(block, "tool_use_id"));
    Text text = {0};
    if (id == NULL)
        return field_wrong(call, "messages", err, "a block of type \"tool_result\" needs a \"tool_use_id\"");
    Status status = text_of(call, json_object_get(block, "content"), "messages", &text, err);
    if (status == OK) {
        json_t *message =
            json_pack("{s:s, s:s, s:o}", "role", "tool", "tool_call_id", id, "content", json_of_text(&text));
        if (message == NULL || json_array_append_new(messages, message) != 0)
            status = error_set(err, ERR_MEMORY, "no memory for the messages");
    }
    text_free(&text);
    return status;
}

static Status add_use(ApiCall *call, json_t **calls, const json_t *block, Error *err) {
    const char *name = json_string_value(json_object_get(block, "name")),
               *id = json_string_value(json_object_get(block, "id"));
    json_t *input = json_object_get(block, "input");
    if (name == NULL || id == NULL || !json_is_object(input))
        return field_wrong(call, "messages", err,
                           "a block of type \"tool_use\" needs \"id\", \"name\" and \"input\", an object");
    if (*calls == NULL)
        *calls = json_array();
    char *arguments = json_dumps(input, JSON_COMPACT);
    const bool good = arguments != NULL &&
                      json_array_append_new(*calls, json_pack("{s:s, s:s, s:{s:s, s:s}}", "id", id, "type", "function",
                                                              "function", "name", name, "arguments", arguments)) == 0;
    mem_free(arguments);
    FAIL_IF(!good, ERR_MEMORY, "no memory for the messages");
    return OK;
}

/* One message of theirs may be several of ours: results of tools stand by themselves, in front of what is said. */
static Status add_blocks(ApiCall *call, json_t *messages, const char *role, const json_t *blocks, Error *err) {
    Text text = {0}, thinking = {0};
    json_t *calls = NULL, *block;
    size_t i;
    bool said = false;
    Status status = OK;
    json_array_foreach((json_t *)(uintptr_t)blocks, i, block) {
        const char *type = json_string_value(json_object_get(block, "type"));
        if (status != OK)
            break;
        if (type == NULL) {
            status = field_wrong(call, "messages", err, "each block needs a \"type\"");
        } else if (strcmp(type, "text") == 0) {
            if (text.count > 0)
                text_append_char(&text, '\n');
            status = append_text(call, block, &text, err);
            said = true;
        } else if (strcmp(type, "tool_result") == 0) {
            status = add_result(call, messages, block, err);
        } else if (strcmp(type, "tool_use") == 0) {
            status = add_use(call, &calls, block, err);
            said = true;
        } else if (strcmp(type, "thinking") == 0) {
            const json_t *t = json_object_get(block, "thinking");
            text_append(&thinking, json_string_value(t) != NULL ? json_string_value(t) : "", json_string_length(t));
        } else if (strcmp(type, "redacted_thinking") != 0) {
            status = field_wrong(call, "messages", err, "blocks of type '%.40s' cannot be read by this model", type);
        }
    }
    if (status == OK && said) {
        status = add_message(messages, role, &text, calls, &thinking, err);
        calls = NULL;
    }
    json_decref(calls);
    text_free(&text);
    text_free(&thinking);
    return status;
}

static Status read_messages(ApiCall *call, Fields *f, json_t **out, Error *err) {
    const json_t *messages = NULL, *message;
    size_t i;
    Text text = {0};
    json_t *list = *out = json_array();
    TRY(field_array(f, "messages", &messages, err));
    if (json_array_size(messages) == 0)
        return field_wrong(call, "messages", err, "an array of at least one message is expected");
    Status status = text_of(call, field(f, "system"), "system", &text, err);
    if (status == OK && text.count > 0)
        status = add_message(list, "system", &text, NULL, NULL, err);
    text_free(&text);
    TRY(status);
    json_array_foreach((json_t *)(uintptr_t)messages, i, message) {
        const char *role = json_string_value(json_object_get(message, "role"));
        const json_t *content = json_object_get(message, "content");
        if (role == NULL ||
            (strcmp(role, "user") != 0 && strcmp(role, "assistant") != 0 && strcmp(role, "system") != 0))
            return field_wrong(call, "messages", err, "messages[%zu].role must be \"user\" or \"assistant\"", i);
        if (json_is_string(content)) {
            text_append(&text, json_string_value(content), json_string_length(content));
            status = add_message(list, role, &text, NULL, NULL, err);
            text_free(&text);
            TRY(status);
        } else if (json_is_array(content))
            TRY(add_blocks(call, list, role, content, err));
        else
            return field_wrong(call, "messages", err, "messages[%zu].content must be a text or an array of blocks", i);
    }
    return OK;
}

/* Tools that run at the vendor's are left out, and the answer says so. */
static Status read_tools(Ask *ask, Fields *f, Error *err) {
    const json_t *tools = NULL, *tool;
    size_t i;
    TRY(field_array(f, "tools", &tools, err));
    if (tools == NULL)
        return OK;
    ask->tools = json_array();
    json_array_foreach((json_t *)(uintptr_t)tools, i, tool) {
        const char *type = json_string_value(json_object_get(tool, "type")),
                   *name = json_string_value(json_object_get(tool, "name"));
        json_t *schema = json_object_get(tool, "input_schema"), *description = json_object_get(tool, "description");
        if (type != NULL && strcmp(type, "custom") != 0) {
            api_warn(ask->call, "tools[%zu]: tools of type '%.64s' are not known here and were left out", i, type);
            continue;
        }
        if (name == NULL || !json_is_object(schema))
            return field_wrong(ask->call, "tools", err, "tools[%zu] needs a \"name\" and an \"input_schema\"", i);
        json_t *function = json_pack("{s:s, s:O}", "name", name, "parameters", schema);
        if (json_is_string(description))
            json_object_set(function, "description", description);
        json_array_append_new(ask->tools, json_pack("{s:s, s:o}", "type", "function", "function", function));
    }
    if (json_array_size(ask->tools) == 0) {
        json_decref(ask->tools);
        ask->tools = NULL;
    }
    return OK;
}

static Status read_choice(Ask *ask, Fields *f, Error *err) {
    const json_t *choice = NULL;
    TRY(field_object(f, "tool_choice", &choice, err));
    ask->spec.single_call = json_is_true(json_object_get(choice, "disable_parallel_tool_use"));
    return ask_tool_choice(ask, "tool_choice", choice, err);
}

static Status read_thinking(Ask *ask, Fields *f, Error *err) {
    const json_t *thinking = NULL, *output = NULL;
    TRY(field_object(f, "thinking", &thinking, err));
    TRY(field_object(f, "output_config", &output, err));
    const char *effort = json_string_value(json_object_get(output, "effort"));
    TRY(ask_format(ask, "output_config", json_object_get(output, "format"), err));
    if (thinking == NULL && effort == NULL)
        return OK;
    const char *type = json_string_value(json_object_get(thinking, "type"));
    const bool on = type == NULL || strcmp(type, "disabled") != 0;
    const json_t *budget = json_object_get(thinking, "budget_tokens");
    if (on && budget != NULL && (!json_is_integer(budget) || json_integer_value(budget) < 1))
        return field_wrong(ask->call, "thinking", err, "budget_tokens: a number of tokens is expected");
    if (on && budget != NULL)
        ask->spec.reasoning_tokens = (int)MIN(json_integer_value(budget), 1 << 30);
    if (effort != NULL)
        TRY(ask_effort(ask, effort, err));
    return ask_switch_thinking(ask, on, err);
}

static const char *const no_matter[] = {"metadata",           "service_tier",  "container",
                                        "inference_geo",      "cache_control", "betas",
                                        "context_management", "mcp_servers",   NULL};

static Status read_fields(Ask *ask, Fields *f, bool counting, bool *stream, json_t **messages, Error *err) {
    const json_t *stops = NULL;
    TRY(read_messages(ask->call, f, messages, err));
    TRY(ask_sampling(ask, f, err));
    if (!counting && field(f, "max_tokens") == NULL)
        return field_wrong(ask->call, "max_tokens", err, "a number of tokens is expected");
    TRY(field_array(f, "stop_sequences", &stops, err));
    if (json_array_size(stops) > ASK_STOPS)
        return field_wrong(ask->call, "stop_sequences", err, "at most %d are possible", ASK_STOPS);
    for (size_t i = 0; i < json_array_size(stops); i++) {
        const char *text = json_string_value(json_array_get(stops, i));
        if (text == NULL || strlen(text) > ANSWER_STOP_BYTES)
            return field_wrong(ask->call, "stop_sequences", err, "texts of at most %d bytes are expected",
                               ANSWER_STOP_BYTES);
        ask->stops[i] = text;
    }
    ask->spec.stops = ask->stops;
    ask->spec.n_stop = (int)json_array_size(stops);
    TRY(field_bool(f, "stream", stream, err));
    TRY(field_bool(f, "return_progress", &ask->spec.progress, err));
    ask->spec.progress = ask->spec.progress && *stream;
    TRY(read_tools(ask, f, err));
    TRY(read_choice(ask, f, err));
    TRY(read_thinking(ask, f, err));
    (void)field(f, "model");
    fields_ignore(f, no_matter);
    return fields_end(f, err);
}

/* ---- the answer -------------------------------------------------------------------------------------------------- */

static const char *stop_reason(const Ending *e) {
    return e->end == REQUEST_LENGTH ? "max_tokens"
           : e->calls               ? "tool_use"
           : e->stop != NULL        ? "stop_sequence"
                                    : "end_turn";
}

static json_t *usage(const Generation *g, bool whole) {
    const Usage u = generation_usage(g);
    return json_pack("{s:i, s:i, s:i, s:i, s:{s:i, s:i}, s:n, s:s}", "input_tokens", u.prompt - u.cached,
                     "cache_creation_input_tokens", 0, "cache_read_input_tokens", u.cached, "output_tokens",
                     whole ? u.generated : 0, "cache_creation", "ephemeral_5m_input_tokens", 0,
                     "ephemeral_1h_input_tokens", 0, "server_tool_use", "service_tier", "standard");
}

static void begin_stream(Blocks *b, Text *out) {
    sse_append(out, "message_start",
               json_pack("{s:s, s:{s:s, s:s, s:s, s:s, s:[], s:n, s:n, s:o}}", "type", "message_start", "message", "id",
                         b->id, "type", "message", "role", "assistant", "model", b->a.call->model, "content",
                         "stop_reason", "stop_sequence", "usage", usage(b->a.generation, false)));
    b->begun = true;
}

/* Thinking that comes back is recognised by its signature: a digest, since nothing here is secret. */
static json_t *signature(const Text *text) {
    char hex[DIGEST_HEX];
    if (digest_of_bytes(DIGEST_SHA256, text->bytes != NULL ? text->bytes : "", text->count, hex, NULL) != OK)
        hex[0] = '\0';
    return json_string(hex);
}

static void close_block(Blocks *b, Text *out) {
    if (b->block == BLOCK_NONE)
        return;
    if (b->stream) {
        if (b->block == BLOCK_THINKING)
            sse_append(out, "content_block_delta",
                       json_pack("{s:s, s:i, s:{s:s, s:o}}", "type", "content_block_delta", "index", b->index, "delta",
                                 "type", "signature_delta", "signature", signature(&b->text)));
        sse_append(out, "content_block_stop", json_pack("{s:s, s:i}", "type", "content_block_stop", "index", b->index));
    } else if (b->block == BLOCK_TEXT) {
        json_array_append_new(b->content, json_pack("{s:s, s:o}", "type", "text", "text", json_of_text(&b->text)));
    } else if (b->block == BLOCK_THINKING) {
        json_array_append_new(b->content, json_pack("{s:s, s:o, s:o}", "type", "thinking", "thinking",
                                                    json_of_text(&b->text), "signature", signature(&b->text)));
    } else {
        json_t *input = json_loadb(b->text.bytes != NULL ? b->text.bytes : "", b->text.count, 0, NULL);
        if (!json_is_object(input)) { /* the model's arguments are no JSON: the client gets to see them */
            json_decref(input);
            input = json_pack("{s:o}", "_raw_arguments", json_of_text(&b->text));
        }
        json_array_append_new(b->content, json_pack("{s:s, s:s, s:s, s:o}", "type", "tool_use", "id", b->tool_id,
                                                    "name", b->tool_name, "input", input));
    }
    b->block = BLOCK_NONE;
    b->index++;
    text_clear(&b->text);
}

static void open_block(Blocks *b, Block block, const Piece *p, Text *out) {
    if (b->block == block && block != BLOCK_TOOL)
        return;
    close_block(b, out);
    b->block = block;
    if (block == BLOCK_TOOL && !b->stream) {
        mem_free(b->tool_id);
        mem_free(b->tool_name);
        b->tool_id = mem_strdup(p->id, MEM_NETWORK);
        b->tool_name = mem_strdup(p->name, MEM_NETWORK);
    }
    if (!b->stream)
        return;
    json_t *value = block == BLOCK_TEXT ? json_pack("{s:s, s:s}", "type", "text", "text", "")
                    : block == BLOCK_THINKING
                        ? json_pack("{s:s, s:s, s:s}", "type", "thinking", "thinking", "", "signature", "")
                        : json_pack("{s:s, s:s, s:s, s:{}}", "type", "tool_use", "id", p->id, "name", p->name, "input");
    sse_append(out, "content_block_start",
               json_pack("{s:s, s:i, s:o}", "type", "content_block_start", "index", b->index, "content_block", value));
}

static void add_text(Blocks *b, const char *type, const char *key, const Piece *p, Text *out) {
    if (!b->stream || b->block == BLOCK_THINKING)
        text_append(&b->text, p->text, p->bytes);
    if (b->stream)
        sse_append(out, "content_block_delta",
                   json_pack("{s:s, s:i, s:{s:s, s:s%}}", "type", "content_block_delta", "index", b->index, "delta",
                             "type", type, key, p->text, p->bytes));
}

static void take_piece(Blocks *b, const Piece *p, Text *out) {
    switch (p->kind) {
    case PIECE_TEXT:
        open_block(b, BLOCK_TEXT, p, out);
        add_text(b, "text_delta", "text", p, out);
        break;
    case PIECE_REASONING:
        open_block(b, BLOCK_THINKING, p, out);
        add_text(b, "thinking_delta", "thinking", p, out);
        break;
    case PIECE_CALL:
        open_block(b, BLOCK_TOOL, p, out);
        break;
    case PIECE_ARGUMENTS:
        add_text(b, "input_json_delta", "partial_json", p, out);
        break;
    case PIECE_CALL_END:
        close_block(b, out);
        break;
    case PIECE_PROGRESS: /* comes only when it was asked for */
        sse_append(out, "ping",
                   json_pack("{s:s, s:o}", "type", "ping", "prompt_progress", progress_value(b->a.generation, p)));
        break;
    default:
        break;
    }
}

static void end_stream(Blocks *b, Text *out) {
    const Ending e = generation_ending(b->a.generation, 0);
    Error err = {0};
    const Status status = ending_status(&e, &err);
    close_block(b, out);
    if (status != OK) {
        sse_append(out, "error", api_error_value(b->a.call, status, &err));
        return;
    }
    json_t *value = json_pack("{s:s, s:{s:s, s:s?}, s:o}", "type", "message_delta", "delta", "stop_reason",
                              stop_reason(&e), "stop_sequence", e.stop, "usage", usage(b->a.generation, true));
    if (b->a.call->warnings != NULL)
        json_object_set(value, "warnings", b->a.call->warnings);
    json_object_set_new(value, "timings", timings_value(b->a.generation));
    sse_append(out, "message_delta", value);
    sse_append(out, "message_stop", json_pack("{s:s}", "type", "message_stop"));
}

static bool next(void *user, Text *out) {
    Blocks *b = user;
    while (out->count == 0) {
        Piece piece;
        if (!b->begun) {
            begin_stream(b, out);
            break;
        }
        const GenerationNews news = api_next(b->a.call, b->a.generation, api_ping_ms(b->a.call), &piece);
        if (news == NEWS_GONE)
            return false;
        if (news == NEWS_QUIET)
            sse_append(out, "ping", json_pack("{s:s}", "type", "ping"));
        else if (news == NEWS_PIECE)
            take_piece(b, &piece, out);
        else {
            b->a.over = true;
            end_stream(b, out);
            return false;
        }
    }
    return true;
}

static Status reply_whole(Blocks *b, Error *err) {
    Piece piece;
    Text none = {0};
    GenerationNews news;
    b->content = json_array();
    while ((news = api_next(b->a.call, b->a.generation, INT32_MAX / 2, &piece)) != NEWS_DONE) {
        FAIL_IF(news == NEWS_GONE, ERR_CANCELLED, "the client has left");
        if (news == NEWS_PIECE)
            take_piece(b, &piece, &none);
        TRY(text_check(&b->text, err));
    }
    b->a.over = true;
    close_block(b, &none);
    const Ending e = generation_ending(b->a.generation, 0);
    TRY(ending_status(&e, err));
    return api_reply_json(b->a.call, 200,
                          json_pack("{s:s, s:s, s:s, s:s, s:O, s:s, s:s?, s:o, s:o}", "id", b->id, "type", "message", "role",
                                    "assistant", "model", b->a.call->model, "content", b->content, "stop_reason",
                                    stop_reason(&e), "stop_sequence", e.stop, "usage", usage(b->a.generation, true),
                                    "timings", timings_value(b->a.generation)),
                          err);
}

/* ---- the handlers ------------------------------------------------------------------------------------------------ */

/* A last message of the assistant's is the beginning of the answer. */
static bool continues(const json_t *messages) {
    const json_t *last = json_array_get(messages, json_array_size(messages) - 1);
    const char *role = json_string_value(json_object_get(last, "role"));
    return role != NULL && strcmp(role, "assistant") == 0 && json_is_string(json_object_get(last, "content"));
}

static Status prepare(ApiCall *call, bool counting, Ask *ask, bool *stream, Error *err) {
    Fields fields;
    json_t *messages = NULL;
    TRY(ask_model(call, json_string_value(json_object_get(call->body, "model")), ask, err));
    TRY(ask_fields(ask, call->body, &fields, err));
    Status status = read_fields(ask, &fields, counting, stream, &messages, err);
    if (status == OK)
        status = ask_chat(ask, messages, true, continues(messages), err);
    json_decref(messages);
    return status;
}

Status anthropic_messages(ApiCall *call, Error *err) {
    Ask ask = {0};
    bool stream = false;
    Status status = prepare(call, false, &ask, &stream, err);
    Blocks *b = status == OK ? answering_open(&ask, sizeof *b, &status, err) : NULL;
    ask_free(&ask);
    if (b == NULL)
        return status;
    b->stream = stream;
    api_make_id(call, "msg_", b->id);
    if (stream) {
        api_stream(call, "text/event-stream; charset=utf-8",
                   (HttpSource){.next = next, .close = close_blocks, .user = b});
        return OK;
    }
    status = reply_whole(b, err);
    close_blocks(b);
    return status;
}

Status anthropic_count(ApiCall *call, Error *err) {
    Ask ask = {0};
    bool stream = false;
    Status status = prepare(call, true, &ask, &stream, err);
    if (status == OK)
        status = api_reply_json(call, 200, json_pack("{s:I}", "input_tokens", (json_int_t)ask.prompt.count), err);
    ask_free(&ask);
    return status;
}
