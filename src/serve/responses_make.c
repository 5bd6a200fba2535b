/* responses_make.c - an answer as /v1/responses gives it: a list of items, and an event for each thing that happens.
 *
 *     created  in_progress  ( output_item.added  [ part added ]  delta ...  done ...  output_item.done )*  completed
 *
 * Whether events are sent or not, the items are the same: what is streamed adds up to the body. */
#include "serve/responses.h"

#include "base/base64.h"

#include <stdio.h>
#include <string.h>

void response_maker_free(ResponseMaker *m) {
    json_decref(m->body);
    json_decref(m->input);
    json_decref(m->custom);
    mem_free(m->previous);
    mem_free(m->owner);
    json_decref(m->item);
    json_decref(m->tokens);
    json_decref(m->fresh_tokens);
    text_free(&m->text);
    *m = (ResponseMaker){0};
}

/* ---- events ------------------------------------------------------------------------------------------------------ */

void response_event(ResponseMaker *m, Text *out, const char *type, json_t *value) {
    if (m->events) { /* the number stands near the front, where response_events_after looks for it */
        json_t *event = json_pack("{s:s, s:I}", "type", type, "sequence_number", (json_int_t)m->sequence);
        if (event != NULL && (value == NULL || json_object_update(event, value) != 0)) {
            json_decref(event);
            event = NULL;
        }
        m->sequence++;
        sse_append(out, type, event);
    }
    json_decref(value);
}

void response_events_after(Text *out, const char *all, size_t bytes, int64_t after) {
    static const char mark[] = "\"sequence_number\":";
    for (size_t at = 0; at < bytes;) {
        const char *end = memmem(all + at, bytes - at, "\n\n", 2);
        const size_t next = end != NULL ? (size_t)(end - all) + 2 : bytes;
        const char *number = memmem(all + at, next - at, mark, sizeof mark - 1);
        int64_t sequence = 0;
        if (number != NULL)
            for (number += sizeof mark - 1; *number == ' ' || (*number >= '0' && *number <= '9'); number++)
                sequence = *number == ' ' ? sequence : sequence * 10 + (*number - '0');
        if (number == NULL || sequence > after)
            text_append(out, all + at, next - at);
        at = next;
    }
}

/* An event about the open item; `index` names the part (or is NULL). */
static json_t *about_item(const ResponseMaker *m, const char *index) {
    json_t *value = json_pack("{s:O, s:i}", "item_id", json_object_get(m->item, "id"), "output_index", m->n_item);
    if (index != NULL)
        json_object_set_new(value, index, json_integer(0));
    return value;
}

static void part_event(ResponseMaker *m, Text *out, const char *type, const char *index, json_t *part) {
    json_t *value = about_item(m, index);
    json_object_set_new(value, "part", part);
    response_event(m, out, type, value);
}

/* Names of events and fields by kind of item. */
static const struct {
    const char *prefix, *type;
    const char *index; /* of the part that the text belongs to; NULL: the text is the item's own */
    const char *part_added, *delta;
    const char *done, *part_done;
    const char *text; /* of the event `done` */
    const char *part_type;
} names[] = {
    [ITEM_REASONING] = {"rs_", "reasoning", "content_index", "response.content_part.added",
                        "response.reasoning_text.delta", "response.reasoning_text.done", "response.content_part.done",
                        "text", "reasoning_text"},
    [ITEM_MESSAGE] = {"msg_", "message", "content_index", "response.content_part.added", "response.output_text.delta",
                      "response.output_text.done", "response.content_part.done", "text", "output_text"},
    [ITEM_CALL] = {"fc_", "function_call", NULL, NULL, "response.function_call_arguments.delta",
                   "response.function_call_arguments.done", NULL, "arguments", NULL},
    [ITEM_CUSTOM] = {"ctc_", "custom_tool_call", NULL, NULL, "response.custom_tool_call_input.delta",
                     "response.custom_tool_call_input.done", NULL, "input", NULL},
};

static const struct {
    const char *index, *part_added, *delta, *done, *part_done, *part_type;
} summary_names = {"summary_index",
                   "response.reasoning_summary_part.added",
                   "response.reasoning_summary_text.delta",
                   "response.reasoning_summary_text.done",
                   "response.reasoning_summary_part.done",
                   "summary_text"};

static bool in_summary(const ResponseMaker *m) {
    return m->kind == ITEM_REASONING && m->summary;
}

static const char *index_name(const ResponseMaker *m) {
    return in_summary(m) ? summary_names.index : names[m->kind].index;
}

/* ---- items ------------------------------------------------------------------------------------------------------- */

static json_t *part_value(const ResponseMaker *m, json_t *text, json_t *tokens) {
    const char *type = in_summary(m) ? summary_names.part_type : names[m->kind].part_type;
    if (m->kind != ITEM_MESSAGE)
        return json_pack("{s:s, s:o}", "type", type, "text", text);
    return json_pack("{s:s, s:o, s:[], s:o}", "type", type, "text", text, "annotations", "logprobs",
                     tokens != NULL ? json_incref(tokens) : json_array());
}

static json_t *item_text(const ResponseMaker *m) {
    return m->kind == ITEM_CUSTOM ? custom_input(&m->text) : json_of_text(&m->text);
}

/* False without memory for all of it. */
static bool set_content(ResponseMaker *m) {
    if (m->kind == ITEM_MESSAGE)
        return json_object_set_new(m->item, "content", json_pack("[o]", part_value(m, item_text(m), m->tokens))) == 0;
    if (m->kind != ITEM_REASONING)
        return json_object_set_new(m->item, names[m->kind].text, item_text(m)) == 0;
    bool good = json_object_set_new(m->item, m->summary ? "summary" : "content",
                                    json_pack("[o]", part_value(m, item_text(m), NULL))) == 0;
    Text letters = {0}; /* nothing here is secret from its owner; clients send it back as it is */
    if (good && m->encrypted)
        good = base64_append(&letters, m->text.bytes, m->text.count) &&
               json_object_set_new(m->item, "encrypted_content", json_of_text(&letters)) == 0;
    text_free(&letters);
    return good;
}

static void close_item(ResponseMaker *m, bool whole, Text *out) {
    if (m->kind == ITEM_NONE)
        return;
    const bool summary = in_summary(m);
    if (m->kind == ITEM_CUSTOM) { /* its text is known only now */
        json_t *delta = about_item(m, NULL);
        json_object_set_new(delta, "delta", item_text(m));
        response_event(m, out, names[m->kind].delta, delta);
    }
    json_t *done = about_item(m, index_name(m));
    json_object_set_new(done, names[m->kind].text, item_text(m));
    if (m->kind == ITEM_MESSAGE)
        json_object_set_new(done, "logprobs", m->tokens != NULL ? json_incref(m->tokens) : json_array());
    if (m->kind == ITEM_CALL)
        json_object_set(done, "name", json_object_get(m->item, "name"));
    response_event(m, out, summary ? summary_names.done : names[m->kind].done, done);
    if (index_name(m) != NULL)
        part_event(m, out, summary ? summary_names.part_done : names[m->kind].part_done, index_name(m),
                   part_value(m, item_text(m), m->tokens));
    const bool kept = set_content(m) &&
                      json_object_set_new(m->item, "status", json_string(whole ? "completed" : "incomplete")) == 0 &&
                      json_array_append(json_object_get(m->body, "output"), m->item) == 0;
    m->failed = m->failed || !kept;
    response_event(m, out, "response.output_item.done",
                   json_pack("{s:i, s:O}", "output_index", m->n_item, "item", m->item));
    json_decref(m->item);
    json_decref(m->tokens);
    m->item = m->tokens = NULL;
    m->kind = ITEM_NONE;
    m->n_item++;
    text_clear(&m->text);
}

static void open_item(ResponseMaker *m, ItemKind kind, const Piece *p, Text *out) {
    char id[RESPONSE_ID_BYTES + 32];
    if (m->kind == kind && kind != ITEM_CALL && kind != ITEM_CUSTOM)
        return;
    close_item(m, true, out);
    snprintf(id, sizeof id, "%s%s_%d", names[kind].prefix, m->id + strlen("resp_"), m->n_item);
    m->kind = kind;
    m->item = kind == ITEM_MESSAGE ? json_pack("{s:s, s:s, s:s, s:s, s:[]}", "id", id, "type", names[kind].type,
                                               "status", "in_progress", "role", "assistant", "content")
              : kind == ITEM_REASONING
                  ? json_pack("{s:s, s:s, s:s, s:[], s:[]}", "id", id, "type", names[kind].type, "status",
                              "in_progress", "summary", "content")
                  : json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "id", id, "type", names[kind].type, "status",
                              "in_progress", "call_id", p->id, "name", p->name, names[kind].text, "");
    m->failed = m->failed || m->item == NULL;
    response_event(m, out, "response.output_item.added",
                   json_pack("{s:i, s:o}", "output_index", m->n_item, "item", json_deep_copy(m->item)));
    if (index_name(m) != NULL)
        part_event(m, out, in_summary(m) ? summary_names.part_added : names[kind].part_added, index_name(m),
                   part_value(m, json_string(""), NULL));
}

static void add_text(ResponseMaker *m, const Piece *p, Text *out) {
    text_append(&m->text, p->text, p->bytes);
    if (m->kind == ITEM_CUSTOM)
        return;
    json_t *value = about_item(m, index_name(m));
    json_object_set_new(value, "delta", json_stringn(p->text, p->bytes));
    if (m->kind == ITEM_MESSAGE) {
        json_t *fresh = m->fresh_tokens != NULL ? m->fresh_tokens : json_array();
        m->fresh_tokens = NULL;
        if (m->logprobs && m->tokens == NULL)
            m->tokens = json_array();
        if (m->logprobs)
            json_array_extend(m->tokens, fresh);
        json_object_set_new(value, "logprobs", fresh);
    }
    response_event(m, out, in_summary(m) ? summary_names.delta : names[m->kind].delta, value);
}

static void take_token(ResponseMaker *m, const Piece *p) {
    if (p->of_prompt || p->token->is_end || !m->logprobs)
        return;
    if (m->fresh_tokens == NULL)
        m->fresh_tokens = json_array();
    json_array_append_new(m->fresh_tokens, logprob_value(m->tokenizer, p->token));
}

void response_begin(ResponseMaker *m, Text *out) {
    response_event(m, out, "response.created", json_pack("{s:o}", "response", json_deep_copy(m->body)));
    response_event(m, out, "response.in_progress", json_pack("{s:o}", "response", json_deep_copy(m->body)));
}

void response_take(ResponseMaker *m, const Piece *p, Text *out) {
    switch (p->kind) {
    case PIECE_TEXT:
        open_item(m, ITEM_MESSAGE, p, out);
        add_text(m, p, out);
        break;
    case PIECE_REASONING:
        json_decref(m->fresh_tokens);
        m->fresh_tokens = NULL;
        open_item(m, ITEM_REASONING, p, out);
        add_text(m, p, out);
        break;
    case PIECE_CALL:
        open_item(m, json_object_get(m->custom, p->name) != NULL ? ITEM_CUSTOM : ITEM_CALL, p, out);
        break;
    case PIECE_ARGUMENTS:
        add_text(m, p, out);
        break;
    case PIECE_CALL_END:
        close_item(m, true, out);
        break;
    case PIECE_TOKEN:
        take_token(m, p);
        break;
    case PIECE_PROGRESS: /* comes only when it was asked for */
        response_event(m, out, "response.prompt_progress", progress_value(m->generation, p));
        break;
    case PIECE_END:
        break;
    }
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

static json_t *usage(const Generation *g) {
    const Usage u = generation_usage(g);
    return json_pack("{s:i, s:{s:i}, s:i, s:{s:i}, s:i}", "input_tokens", u.prompt, "input_tokens_details",
                     "cached_tokens", u.cached, "output_tokens", u.generated, "output_tokens_details",
                     "reasoning_tokens", u.reasoning, "total_tokens", u.prompt + u.generated);
}

Status response_store(const ResponseMaker *m, int64_t process, const char *events, Error *err) {
    const StoredAnswer answer = {.previous = m->previous,
                                 .body = m->body,
                                 .input = m->input,
                                 .events = (char *)(uintptr_t)events,
                                 .process = process};
    return archive_put(m->archive, m->id, m->owner, &answer, err);
}

static void set_error(ResponseMaker *m, const ApiCall *call, Status status, const Error *err) {
    json_t *value = api_error_value(call, status, err);
    json_object_set_new(m->body, "status", json_string("failed"));
    json_object_set_new(m->body, "error",
                        json_pack("{s:s, s:O}", "code", "server_error", "message",
                                  json_object_get(json_object_get(value, "error"), "message")));
    json_decref(value);
}

/* The last event is stored with the others before it is sent: whoever has seen it finds the answer complete. */
Status response_end(ResponseMaker *m, const ApiCall *call, const Generation *g, bool cancelled, Text *out, Error *err) {
    const Ending e = generation_ending(g, 0);
    const bool cut = e.end == REQUEST_LENGTH;
    Status status = cancelled ? OK : ending_status(&e, err);
    const char *word = status != OK ? "failed" : cancelled ? "cancelled" : cut ? "incomplete" : "completed";
    close_item(m, status == OK && !cut && !cancelled, out);
    json_object_set_new(m->body, "status", json_string(word));
    json_object_set_new(m->body, "usage", usage(g));
    json_object_set_new(m->body, "timings", timings_value(g));
    if (cut)
        json_object_set_new(m->body, "incomplete_details", json_pack("{s:s}", "reason", "max_output_tokens"));
    else if (status == OK && !cancelled)
        json_object_set_new(m->body, "completed_at", json_integer(unix_seconds()));
    if (call->warnings != NULL)
        json_object_set_new(m->body, "warnings", json_deep_copy(call->warnings));
    if (status == OK && m->failed)
        status = error_set(err, ERR_MEMORY, "no memory for all of the answer");
    if (status != OK)
        set_error(m, call, status, err);
    if (m->store && !json_is_true(json_object_get(m->body, "background"))) {
        const Status stored = response_store(m, 0, NULL, status == OK ? err : NULL);
        if (status == OK && stored != OK) {
            status = stored;
            set_error(m, call, status, err);
        }
    }
    response_event(m, out,
                   status != OK ? "response.failed"
                   : cancelled  ? "response.cancelled"
                   : cut        ? "response.incomplete"
                                : "response.completed",
                   json_pack("{s:O}", "response", m->body));
    return status;
}
