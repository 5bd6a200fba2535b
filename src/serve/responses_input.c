/* responses_input.c - the items of a conversation as /v1/responses has them, made into the messages that templates
 * read.
 *
 * An item is less than a message: reasoning, what was said, and each call stand by themselves. What belongs to one turn
 * of the assistant is put together again; texts that instruct, at the beginning, become one message, since most
 * templates allow only one. */
#include "serve/responses.h"

#include "base/base64.h"
#include "format/json.h"

#include <string.h>

enum { ITEMS_MOST = 100000 };

/* ---- items ------------------------------------------------------------------------------------------------------- */

static json_t *item_of_text(const json_t *text) {
    return json_pack("{s:s, s:s, s:[{s:s, s:O}], s:s}", "type", "message", "role", "user", "content", "type",
                     "input_text", "text", text, "status", "completed");
}

/* A reference to an item of an answer that was stored: its id names the answer. */
static Status find_reference(ApiCall *call, const char *id, json_t **item, Error *err) {
    const char *first = strchr(id, '_'), *last = first != NULL ? strrchr(id, '_') : NULL;
    StoredAnswer answer = {0};
    Text name = {0};
    size_t i;
    json_t *found = NULL, *one;
    *item = NULL;
    if (last > first)
        text_append_format(&name, "resp%.*s", (int)(last - first), first);
    const Status status = name.bytes != NULL
                              ? archive_get(call->server->archive, name.bytes, call->caller.name, &answer, err)
                              : error_set(err, ERR_NOT_FOUND, "there is no item with the id '%.80s'", id);
    text_free(&name);
    if (status != OK)
        return status;
    json_array_foreach(json_object_get(answer.body, "output"), i, one) if (strcmp(json_word(one, "id"), id) == 0) found =
        json_incref(one);
    json_array_foreach(answer.input, i, one) if (found == NULL && strcmp(json_word(one, "id"), id) == 0) found =
        json_incref(one);
    stored_answer_free(&answer);
    FAIL_IF(found == NULL, ERR_NOT_FOUND, "there is no item with the id '%.80s'", id);
    *item = found;
    return OK;
}

static Status add_item(ApiCall *call, json_t *list, const json_t *given, size_t index, const char *response_id,
                       Error *err) {
    static const struct {
        const char *type, *prefix;
    } prefixes[] = {{"message", "msg"}, {"function_call", "fc"}, {"reasoning", "rs"}, {"custom_tool_call", "ctc"}};
    json_t *item = NULL;
    if (!json_is_object(given))
        return field_wrong(call, "input", err, "input[%zu] is no object", index);
    if (strcmp(json_word(given, "type"), "item_reference") == 0) {
        const Status status = find_reference(call, json_word(given, "id"), &item, err);
        if (status == ERR_NOT_FOUND) {
            call->http_status = 400;
            call->code = "item_not_found";
            call->param = "input";
        }
        TRY(status);
    } else
        item = json_copy((json_t *)(uintptr_t)given);
    if (item != NULL && json_word(item, "type")[0] == '\0') /* only messages may go without */
        json_object_set_new(item, "type", json_string("message"));
    if (item != NULL && json_word(item, "id")[0] == '\0') {
        const char *prefix = "item";
        Text id = {0};
        for (size_t i = 0; i < COUNT(prefixes); i++)
            if (strcmp(prefixes[i].type, json_word(item, "type")) == 0)
                prefix = prefixes[i].prefix;
        text_append_format(&id, "%s_%s_i%zu", prefix, response_id + strlen("resp_"), index);
        json_object_set_new(item, "id", json_of_text(&id));
        text_free(&id);
    }
    FAIL_IF(json_array_append_new(list, item) != 0, ERR_MEMORY, "no memory for the input");
    return OK;
}

Status response_items(ApiCall *call, const json_t *input, const char *response_id, json_t **items, Error *err) {
    size_t i;
    json_t *given;
    Status status = OK;
    *items = NULL;
    if (input != NULL && !json_is_string(input) && !json_is_array(input))
        return field_wrong(call, "input", err, "a text or an array of items is expected");
    if (json_array_size(input) > ITEMS_MOST)
        return field_wrong(call, "input", err, "at most %d items are possible", ITEMS_MOST);
    json_t *list = json_array();
    FAIL_IF(list == NULL, ERR_MEMORY, "no memory for the input");
    if (json_is_string(input)) {
        json_t *item = item_of_text(input);
        status = add_item(call, list, item, 0, response_id, err);
        json_decref(item);
    }
    json_array_foreach((json_t *)(uintptr_t)input, i, given) if (status == OK) status =
        add_item(call, list, given, i, response_id, err);
    if (status != OK) {
        json_decref(list);
        return status;
    }
    *items = list;
    return OK;
}

/* ---- messages ---------------------------------------------------------------------------------------------------- */

typedef struct Turns {
    ApiCall *call;
    json_t *messages;
    json_t *open;   /* the assistant's message that calls may still be added to; borrowed */
    Text reasoning; /* that stands before what comes next */
} Turns;

/* The content of a message in the words of chat completions: a text when all parts are texts. */
static Status content_of(const Turns *t, const json_t *content, json_t **out, Error *err) {
    size_t i;
    json_t *part;
    Text text = {0};
    json_t *parts = NULL;
    *out = NULL;
    if (json_is_string(content)) {
        *out = json_incref((json_t *)(uintptr_t)content);
        return OK;
    }
    if (content != NULL && !json_is_array(content))
        return field_wrong(t->call, "input", err, "the content of an item must be a text or an array of parts");
    json_array_foreach((json_t *)(uintptr_t)content, i, part) {
        const char *type = json_word(part, "type");
        const json_t *value = json_object_get(part, strcmp(type, "refusal") == 0 ? "refusal" : "text");
        if (strcmp(type, "input_image") == 0 && json_is_string(json_object_get(part, "image_url"))) {
            if (parts == NULL)
                parts = json_array();
            json_array_append_new(parts, json_pack("{s:s, s:{s:O}}", "type", "image_url", "image_url", "url",
                                                   json_object_get(part, "image_url")));
        } else if (!json_is_string(value)) {
            text_free(&text);
            json_decref(parts);
            return field_wrong(t->call, "input", err, "parts of type '%.40s' cannot be read by this model", type);
        } else {
            if (text.count > 0)
                text_append_char(&text, '\n');
            text_append(&text, json_string_value(value), json_string_length(value));
        }
    }
    const Status status = text_check(&text, err);
    if (status == OK && parts != NULL) {
        json_array_insert_new(parts, 0, json_pack("{s:s, s:o}", "type", "text", "text", json_of_text(&text)));
        *out = parts;
    } else if (status == OK)
        *out = json_of_text(&text);
    text_free(&text);
    FAIL_IF(status == OK && *out == NULL, ERR_MEMORY, "no memory for the messages");
    return status;
}

static Status append_message(Turns *t, json_t *message, bool assistant, Error *err) {
    FAIL_IF(json_array_append_new(t->messages, message) != 0, ERR_MEMORY, "no memory for the messages");
    t->open = assistant ? message : NULL;
    FAIL_IF(assistant && (t->reasoning.count > 0 || t->reasoning.failed) &&
                json_object_set_new(message, "reasoning_content", json_of_text(&t->reasoning)) != 0,
            ERR_MEMORY, "no memory for the messages");
    text_clear(&t->reasoning);
    return OK;
}

static Status add_message(Turns *t, const json_t *item, Error *err) {
    static const char *const roles[] = {"user", "assistant", "system", "developer"};
    const char *role = json_word(item, "role");
    json_t *content;
    size_t known = 0;
    while (known < COUNT(roles) && strcmp(roles[known], role) != 0)
        known++;
    if (known == COUNT(roles))
        return field_wrong(t->call, "input", err, "a message's role must be user, assistant, system or developer");
    TRY(content_of(t, json_object_get(item, "content"), &content, err));
    return append_message(t, json_pack("{s:s, s:o}", "role", role, "content", content), strcmp(role, "assistant") == 0,
                          err);
}

/* A call joins the assistant's message before it, unless more reasoning stands between. */
static Status add_call(Turns *t, const json_t *item, bool custom, Error *err) {
    const char *name = json_word(item, "name"), *id = json_word(item, "call_id");
    const json_t *given = json_object_get(item, custom ? "input" : "arguments");
    if (name[0] == '\0' || id[0] == '\0' || !json_is_string(given))
        return field_wrong(t->call, "input", err, "an item of type '%.40s' needs \"call_id\", \"name\" and \"%s\"",
                           json_word(item, "type"), custom ? "input" : "arguments");
    json_t *arguments = json_incref((json_t *)(uintptr_t)given);
    if (custom) {
        json_t *object = json_pack("{s:O}", "input", given);
        char *text = object != NULL ? json_dumps(object, JSON_COMPACT) : NULL;
        json_decref(arguments);
        arguments = text != NULL ? json_string(text) : NULL;
        mem_free(text);
        json_decref(object);
    }
    json_t *one = json_pack("{s:s, s:s, s:{s:s, s:o}}", "id", id, "type", "function", "function", "name", name,
                            "arguments", arguments);
    if (t->open == NULL || t->reasoning.count > 0) {
        json_t *message = json_pack("{s:s, s:n, s:[]}", "role", "assistant", "content", "tool_calls");
        const Status status = append_message(t, message, true, err);
        if (status != OK) {
            json_decref(one);
            return status;
        }
    }
    json_t *calls = json_object_get(t->open, "tool_calls");
    if (calls == NULL) {
        calls = json_array();
        json_object_set_new(t->open, "tool_calls", calls);
    }
    FAIL_IF(json_array_append_new(calls, one) != 0, ERR_MEMORY, "no memory for the messages");
    return OK;
}

/* The name of a call: some templates want it beside the result. */
static const char *name_of_call(const Turns *t, const char *id) {
    size_t i, k;
    json_t *message, *one;
    json_array_foreach(t->messages, i, message) json_array_foreach(
        json_object_get(message, "tool_calls"), k,
        one) if (strcmp(json_word(one, "id"), id) ==
                 0) return json_string_value(json_object_get(json_object_get(one, "function"), "name"));
    return NULL;
}

static Status add_result(Turns *t, const json_t *item, Error *err) {
    const char *id = json_word(item, "call_id");
    json_t *content;
    if (id[0] == '\0')
        return field_wrong(t->call, "input", err, "an item of type '%.40s' needs a \"call_id\"", json_word(item, "type"));
    TRY(content_of(t, json_object_get(item, "output"), &content, err));
    json_t *message = json_pack("{s:s, s:s, s:o, s:s*}", "role", "tool", "tool_call_id", id, "content", content, "name",
                                name_of_call(t, id));
    return append_message(t, message, false, err);
}

static void add_texts(Text *out, const json_t *parts) {
    size_t i;
    json_t *part;
    json_array_foreach((json_t *)(uintptr_t)parts, i, part) {
        const json_t *text = json_object_get(part, "text");
        if (json_is_string(text))
            text_append(out, json_string_value(text), json_string_length(text));
    }
}

/* The whole text if it is there, else what stands for it. */
static Status add_reasoning(Turns *t, const json_t *item, Error *err) {
    const json_t *hidden = json_object_get(item, "encrypted_content");
    Text *out = &t->reasoning;
    const size_t before = out->count;
    add_texts(out, json_object_get(item, "content"));
    if (out->count == before && json_is_string(hidden)) {
        Text bytes = {0};
        /* Made by another server, it is sealed for us. */
        if (base64_append_decoded(&bytes, json_string_value(hidden), json_string_length(hidden)) &&
            bytes.bytes != NULL && utf8_valid(bytes.bytes, bytes.count))
            text_append(out, bytes.bytes, bytes.count);
        text_free(&bytes);
    }
    if (out->count == before)
        add_texts(out, json_object_get(item, "summary"));
    return text_check(out, err);
}

static Status add_any(Turns *t, const json_t *item, Error *err) {
    const char *type = json_word(item, "type");
    if (strcmp(type, "message") == 0)
        return add_message(t, item, err);
    if (strcmp(type, "function_call") == 0 || strcmp(type, "custom_tool_call") == 0)
        return add_call(t, item, type[0] == 'c', err);
    if (strcmp(type, "function_call_output") == 0 || strcmp(type, "custom_tool_call_output") == 0)
        return add_result(t, item, err);
    if (strcmp(type, "reasoning") == 0)
        return add_reasoning(t, item, err);
    api_warn(t->call, "input: items of type '%.64s' are not known here and were left out", type);
    return OK;
}

static bool instructs(const json_t *message) {
    const char *role = json_word(message, "role");
    return strcmp(role, "system") == 0 || strcmp(role, "developer") == 0;
}

/* Instructions, and texts at the beginning that instruct, as one message. */
static Status join_instructions(Turns *t, const char *instructions, Error *err) {
    Text text = {0};
    size_t n = 0;
    if (instructions != NULL)
        text_append_str(&text, instructions);
    for (; n < json_array_size(t->messages); n++) {
        const json_t *message = json_array_get(t->messages, n), *content = json_object_get(message, "content");
        if (!instructs(message) || !json_is_string(content))
            break;
        if (text.count > 0)
            text_append_str(&text, "\n\n");
        text_append(&text, json_string_value(content), json_string_length(content));
    }
    Status status = text_check(&text, err);
    for (; n > 0; n--)
        json_array_remove(t->messages, 0);
    if (status == OK && text.count > 0 &&
        json_array_insert_new(t->messages, 0,
                              json_pack("{s:s, s:o}", "role", "system", "content", json_of_text(&text))) != 0)
        status = error_set(err, ERR_MEMORY, "no memory for the messages");
    text_free(&text);
    return status;
}

Status response_messages(ApiCall *call, const json_t *items, const char *instructions, json_t **messages, Error *err) {
    size_t i;
    json_t *item;
    Status status = OK;
    Turns t = {.call = call, .messages = json_array()};
    *messages = NULL;
    FAIL_IF(t.messages == NULL, ERR_MEMORY, "no memory for the messages");
    json_array_foreach((json_t *)(uintptr_t)items, i, item) if (status == OK) status = add_any(&t, item, err);
    if (status == OK)
        status = join_instructions(&t, instructions, err);
    /* Clients ask with nothing to learn whether the model answers at all. */
    if (status == OK && (json_array_size(t.messages) == 0 ||
                         (json_array_size(t.messages) == 1 && instructs(json_array_get(t.messages, 0)))))
        status = append_message(&t, json_pack("{s:s, s:s}", "role", "user", "content", ""), false, err);
    text_free(&t.reasoning);
    if (status != OK) {
        json_decref(t.messages);
        return status;
    }
    *messages = t.messages;
    return OK;
}

/* ---- tools ------------------------------------------------------------------------------------------------------- */

static json_t *function_of(const json_t *tool) {
    static const char *const keys[] = {"name", "description", "parameters", "strict"};
    json_t *function = json_object();
    for (size_t i = 0; i < COUNT(keys); i++) {
        json_t *value = json_object_get(tool, keys[i]);
        if (value != NULL && !json_is_null(value))
            json_object_set(function, keys[i], value);
    }
    return json_pack("{s:s, s:o}", "type", "function", "function", function);
}

Status response_tools(Ask *ask, const json_t *tools, Error *err) {
    size_t i;
    json_t *tool;
    if (json_array_size(tools) == 0)
        return OK;
    ask->tools = json_array();
    FAIL_IF(ask->tools == NULL, ERR_MEMORY, "no memory for the tools");
    json_array_foreach((json_t *)(uintptr_t)tools, i, tool) {
        const char *type = json_word(tool, "type");
        const bool is_custom = strcmp(type, "custom") == 0;
        if (!is_custom && strcmp(type, "function") != 0) {
            api_warn(ask->call, "tools[%zu]: tools of type '%.64s' are not known here and were left out", i, type);
            continue;
        }
        if (json_word(tool, "name")[0] == '\0')
            return field_wrong(ask->call, "tools", err, "tools[%zu].name: a text is expected", i);
        if (is_custom)
            TRY(ask_custom_tool(ask, tool, i, err));
        else
            FAIL_IF(json_array_append_new(ask->tools, function_of(tool)) != 0, ERR_MEMORY, "no memory for the tools");
    }
    if (json_array_size(ask->tools) == 0) {
        json_decref(ask->tools);
        ask->tools = NULL;
    }
    return OK;
}
