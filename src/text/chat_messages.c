/* chat_messages.c - see chat_messages.h. */
#include "text/chat_messages.h"

#include "format/json.h"

#include <string.h>

/* ---- asking the template ----------------------------------------------------------------------------------------- */

/* What a probe may cost; published templates take a thousandth of it. */
static const TemplateLimits probe_limits = {
    .steps = 2000000,
    .memory_bytes = (size_t)16 << 20,
    .output_bytes = (size_t)4 << 20,
    .depth = 1200,
    .integer_bits = 1 << 12,
};

static const char parts_probe[] =
    "[{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"first probe\"}]}]";

/* Without content or with an empty one; with arguments as an object or as text. Nine letters and digits are an id that
 * all templates accept. */
#define CALL_PROBE(content, arguments)                                                                                 \
    "[{\"role\": \"user\", \"content\": \"hello\"}, {\"role\": \"assistant\", \"content\": " content                   \
    ", \"tool_calls\": [{\"id\": \"probe0001\", \"type\": \"function\", \"function\": {\"name\": \"probe\", "          \
    "\"arguments\": " arguments "}}]}, {\"role\": \"tool\", \"tool_call_id\": \"probe0001\", \"name\": \"probe\", "    \
    "\"content\": \"done\"}]"
#define AS_OBJECT "{\"where\": \"second probe\"}"
#define AS_TEXT "\"{\\\"where\\\": \\\"second probe\\\"}\""

static const struct {
    const char *object, *text;
} call_probes[] = {{CALL_PROBE("null", AS_OBJECT), CALL_PROBE("null", AS_TEXT)},
                   {CALL_PROBE("\"\"", AS_OBJECT), CALL_PROBE("\"\"", AS_TEXT)}};

#define EMPTY_PROBE(content)                                                                                           \
    "[{\"role\": \"user\", \"content\": \"third probe\"}, {\"role\": \"assistant\", \"content\": " content "}]"

static const char tools_probe[] =
    "[{\"type\": \"function\", \"function\": {\"name\": \"probe\", \"description\": \"A probe.\", \"parameters\": "
    "{\"type\": \"object\", \"properties\": {\"where\": {\"type\": \"string\", \"description\": \"Where.\"}}, "
    "\"required\": [\"where\"]}}}]";

/* Whether the template renders the conversation and shows `wanted`, but not `unwanted` (what Python makes of a value
 * that was expected to be text). */
static Status shows(const Template *compiled, const TemplateVariable *tokens, size_t token_count, const char *messages,
                    const char *tools, const char *wanted, const char *unwanted, bool *shown, Error *err) {
    enum { MAX_VARIABLES = 32, FIXED = 6 };
    *shown = false;
    TemplateVariable v[MAX_VARIABLES];
    json_t *message_array = NULL, *tool_array = NULL;
    Text prompt = {0};
    Status status = json_parse(messages, strlen(messages), "probe", false, &message_array, err);
    if (status == OK && tools != NULL)
        status = json_parse(tools, strlen(tools), "probe", false, &tool_array, err);
    if (status == OK) {
        size_t n = 0;
        /* Tokens that the model does not name are no reason to fail here. */
        v[n++] = (TemplateVariable){.name = "bos_token", .text = ""};
        v[n++] = (TemplateVariable){.name = "eos_token", .text = ""};
        v[n++] = (TemplateVariable){.name = "messages", .json = message_array};
        v[n++] = (TemplateVariable){.name = "tools", .json = tool_array};
        v[n++] = (TemplateVariable){.name = "documents"};
        v[n++] = (TemplateVariable){.name = "add_generation_prompt", .json = json_false()};
        for (size_t i = 0; i < token_count && n < MAX_VARIABLES; i++)
            v[n++] = tokens[i];
        Error refused = {0};
        status = template_render(compiled, v, n, &(TemplateOptions){.limits = &probe_limits}, &prompt, &refused);
        if (status == OK)
            *shown = prompt.count > 0 && strstr(prompt.bytes, wanted) != NULL && strstr(prompt.bytes, unwanted) == NULL;
        else
            status = status == ERR_MEMORY ? error_set(err, status, "%s", refused.text) : OK;
    }
    text_free(&prompt);
    json_decref(message_array);
    json_decref(tool_array);
    return status;
}

Status message_form_find(const Template *compiled, const TemplateVariable *tokens, size_t token_count,
                         MessageForm *form, Error *err) {
    *form = (MessageForm){0};
    bool parts, objects = false, texts = false;
    TRY(shows(compiled, tokens, token_count, parts_probe, NULL, "first probe", "'first probe'", &parts, err));
    /* Lists of parts may also come out as JSON. */
    if (parts)
        TRY(shows(compiled, tokens, token_count, parts_probe, NULL, "first probe", "\"first probe\"", &parts, err));
    form->text_content = !parts;
    bool none, empty = false;
    TRY(shows(compiled, tokens, token_count, EMPTY_PROBE("null"), NULL, "third probe", "None", &none, err));
    if (!none)
        TRY(shows(compiled, tokens, token_count, EMPTY_PROBE("\"\""), NULL, "third probe", "None", &empty, err));
    form->empty_content = empty;
    for (size_t i = 0; i < COUNT(call_probes) && !objects && !texts; i++) {
        TRY(shows(compiled, tokens, token_count, call_probes[i].object, tools_probe, "second probe", "'second probe'",
                  &objects, err));
        if (!objects)
            TRY(shows(compiled, tokens, token_count, call_probes[i].text, tools_probe, "\"second probe\"",
                      "\\\"second probe", &texts, err));
        form->empty_content |= i > 0 && (objects || texts);
    }
    form->text_arguments = texts;
    return OK;
}

/* ---- objects, reasoning ------------------------------------------------------------------------------------------ */

/* json_object_set for a value that is used elsewhere too. */
static bool put(json_t *object, const char *key, json_t *value) {
    return value != NULL && json_object_set(object, key, value) == 0;
}

/* A shallow copy; NULL without memory. (json_copy would leave out what it has no memory for.) */
static json_t *copy_object(json_t *object) {
    json_t *copy = json_object();
    const char *key;
    json_t *value;
    bool done = copy != NULL;
    json_object_foreach(object, key, value) {
        done = done && put(copy, key, value);
    }
    if (!done) {
        json_decref(copy);
        return NULL;
    }
    return copy;
}

/* The message's reasoning under both names that templates read. */
static bool name_reasoning(json_t *message) {
    static const char *const names[] = {"reasoning_content", "thinking", "reasoning"};
    json_t *found = NULL;
    for (size_t i = 0; i < COUNT(names) && found == NULL; i++) {
        json_t *value = json_object_get(message, names[i]);
        found = json_is_null(value) ? NULL : value;
    }
    if (found == NULL)
        return true;
    json_incref(found); /* it may be what is replaced */
    const bool has_thinking = json_object_get(message, "thinking") != NULL;
    const bool done = put(message, "reasoning_content", found) && (has_thinking || put(message, "thinking", found));
    json_decref(found);
    return done;
}

/* ---- arguments of calls ------------------------------------------------------------------------------------------ */

/* The arguments in the form, a new reference; NULL without memory. Text that is no object stays: the template may know
 * what to do with it. */
static json_t *formed_arguments(json_t *given, bool as_text) {
    if (as_text && json_is_object(given)) {
        char *text = json_dumps(given, 0);
        json_t *string = text != NULL ? json_string(text) : NULL;
        mem_free(text);
        return string;
    }
    if (!as_text && json_is_string(given)) {
        const size_t bytes = json_string_length(given);
        if (bytes == 0) /* how some clients write that there are none */
            return json_object();
        json_t *object;
        const Status status = json_parse(json_string_value(given), bytes, "arguments", false, &object, NULL);
        if (status == ERR_MEMORY)
            return NULL;
        if (status == OK && json_is_object(object))
            return object;
        json_decref(object);
    }
    return json_incref(given);
}

/* A call is {"function": {"name", "arguments"}}, or the inner object alone. A new reference; NULL without memory. */
static json_t *formed_call(json_t *call, bool as_text) {
    json_t *function = json_object_get(call, "function");
    const bool nested = json_is_object(function);
    json_t *given = json_object_get(nested ? function : call, "arguments");
    if (given == NULL)
        return json_incref(call);
    json_t *arguments = formed_arguments(given, as_text);
    json_t *inner = copy_object(nested ? function : call);
    json_t *outer = nested ? copy_object(call) : json_incref(inner);
    const bool done = inner != NULL && outer != NULL && put(inner, "arguments", arguments) &&
                      (!nested || put(outer, "function", inner));
    json_decref(arguments);
    json_decref(inner);
    if (!done) {
        json_decref(outer);
        return NULL;
    }
    return outer;
}

static bool form_calls(json_t *message, bool as_text) {
    json_t *calls = json_object_get(message, "tool_calls");
    if (json_array_size(calls) == 0)
        return true;
    json_t *formed = json_array();
    bool done = formed != NULL;
    for (size_t i = 0; i < json_array_size(calls) && done; i++) {
        json_t *call = json_array_get(calls, i);
        done = json_array_append_new(formed, formed_call(call, as_text)) == 0;
    }
    done = done && put(message, "tool_calls", formed);
    json_decref(formed);
    return done;
}

/* ---- content ----------------------------------------------------------------------------------------------------- */

static Status join_parts(const json_t *parts, size_t message, Text *joined, Error *err) {
    for (size_t i = 0; i < json_array_size(parts); i++) {
        const json_t *part = json_array_get(parts, i);
        const json_t *text = json_is_string(part) ? part : json_object_get(part, "text");
        const char *type = json_string_value(json_object_get(part, "type"));
        FAIL_IF(!json_is_string(text), ERR_ARGUMENT,
                "messages[%zu].content[%zu]: the model's chat template reads only text, not \"%.40s\"", message, i,
                type != NULL ? type : "?");
        text_append(joined, json_string_value(text), json_string_length(text));
    }
    return text_check(joined, err);
}

static Status form_content(json_t *message, MessageForm form, size_t index, Error *err) {
    const json_t *content = json_object_get(message, "content");
    const bool none = content == NULL || json_is_null(content);
    if (!(form.text_content && json_is_array(content)) && !(form.empty_content && none))
        return OK;
    Text joined = {0};
    Status status = join_parts(content, index, &joined, err);
    if (status == OK) {
        json_t *string = json_stringn(joined.bytes != NULL ? joined.bytes : "", joined.count);
        if (!put(message, "content", string))
            status = error_set(err, ERR_MEMORY, "no memory for the messages");
        json_decref(string);
    }
    text_free(&joined);
    return status;
}

/* ---- all of it --------------------------------------------------------------------------------------------------- */

static Status prepare_message(json_t *message, MessageForm form, size_t index, json_t **prepared, Error *err) {
    *prepared = NULL;
    FAIL_IF(!json_is_object(message), ERR_ARGUMENT, "messages[%zu]: an object is expected", index);
    json_t *copy = copy_object(message);
    Status status = OK;
    if (copy == NULL || !name_reasoning(copy) || !form_calls(copy, form.text_arguments))
        status = error_set(err, ERR_MEMORY, "no memory for the messages");
    if (status == OK)
        status = form_content(copy, form, index, err);
    if (status != OK) {
        json_decref(copy);
        return status;
    }
    *prepared = copy;
    return OK;
}

Status messages_prepare(const json_t *messages, MessageForm form, json_t **prepared, Error *err) {
    *prepared = NULL;
    FAIL_IF(!json_is_array(messages), ERR_ARGUMENT, "messages: an array is expected");
    json_t *array = json_array();
    FAIL_IF(array == NULL, ERR_MEMORY, "no memory for the messages");
    Status status = OK;
    for (size_t i = 0; i < json_array_size(messages) && status == OK; i++) {
        json_t *message;
        status = prepare_message(json_array_get(messages, i), form, i, &message, err);
        if (status == OK && json_array_append_new(array, message) != 0)
            status = error_set(err, ERR_MEMORY, "no memory for the messages");
    }
    if (status != OK) {
        json_decref(array);
        return status;
    }
    *prepared = array;
    return OK;
}
