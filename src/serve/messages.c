/* messages.c - what is done to messages before the template sees them. See api.h.
 *
 * Some programs put a line into their instructions that is another one in each request (counters, digests, for their
 * vendor's accounts). As it stands near the beginning, nothing of what was computed for the request before could be
 * used again: tens of thousands of tokens. Such lines are left out. And a role that newer clients have for instructions
 * is called by its older name where the template does not know it; so are the results of tools where they are
 * observations, and calls where each is a message of its own with the tool's name beside it. */
#include "serve/api.h"

#include "format/json.h"

#include <string.h>

enum { HEAD_BYTES = 4096 }; /* such lines stand near the beginning */

static const char *const volatile_lines[] = {
    "x-anthropic-billing-header:",
};

static size_t line_bytes(const char *text) {
    const char *end = strchr(text, '\n');
    return end != NULL ? (size_t)(end - text) + 1 : strlen(text);
}

static bool is_volatile(const char *line) {
    for (size_t i = 0; i < COUNT(volatile_lines); i++)
        if (starts_with(line, volatile_lines[i]))
            return true;
    return false;
}

static bool has_volatile(const char *text) {
    for (const char *at = text; *at != '\0' && at - text < HEAD_BYTES; at += line_bytes(at))
        if (is_volatile(at))
            return true;
    return false;
}

static json_t *without_volatile(const char *text) {
    Text rest = {0};
    for (const char *at = text; *at != '\0'; at += line_bytes(at))
        if (at - text >= HEAD_BYTES || !is_volatile(at))
            text_append(&rest, at, line_bytes(at));
    json_t *value = json_of_text(&rest);
    text_free(&rest);
    return value;
}

/* The content, or NULL when nothing has to be changed. */
static json_t *clean_content(const json_t *content) {
    size_t i;
    json_t *part, *copy = NULL;
    if (json_is_string(content))
        return has_volatile(json_string_value(content)) ? without_volatile(json_string_value(content)) : NULL;
    json_array_foreach((json_t *)(uintptr_t)content, i, part) {
        const char *text = json_string_value(json_object_get(part, "text"));
        if (text == NULL || !has_volatile(text))
            continue;
        if (copy == NULL)
            copy = json_deep_copy(content);
        json_object_set_new(json_array_get(copy, i), "text", without_volatile(text));
    }
    return copy;
}

static bool is_role(const json_t *message, const char *role) {
    const char *own = json_string_value(json_object_get(message, "role"));
    return own != NULL && strcmp(own, role) == 0;
}

/* One with calls: what it says, and each call as a message, whose content are the arguments. */
static Status append_as_calls(json_t *list, const json_t *message, Error *err) {
    size_t i;
    json_t *call, *content = json_object_get(message, "content");
    bool good = true;
    if (json_string_length(content) > 0)
        good = json_array_append_new(list, json_pack("{s:s, s:O}", "role", "assistant", "content", content)) == 0;
    json_array_foreach(json_object_get(message, "tool_calls"), i, call) {
        const json_t *function = json_object_get(call, "function"), *arguments = json_object_get(function, "arguments");
        Text text = {0};
        JsonWriter w = {.out = &text};
        if (json_is_string(arguments))
            text_append(&text, json_string_value(arguments), json_string_length(arguments));
        else
            json_write_value(&w, arguments);
        good = good && json_array_append_new(list, json_pack("{s:s, s:s, s:o}", "role", "assistant", "metadata",
                                                             json_word(function, "name"), "content",
                                                             json_of_text(&text))) == 0;
        text_free(&text);
    }
    FAIL_IF(!good, ERR_MEMORY, "no memory for the messages");
    return OK;
}

/* For templates that know observations and no calls. */
static Status with_observations(json_t **messages, Error *err) {
    size_t i;
    json_t *message, *list = json_array();
    Status status = list != NULL ? OK : error_set(err, ERR_MEMORY, "no memory for the messages");
    json_array_foreach(*messages, i, message) {
        if (status != OK)
            break;
        if (is_role(message, "assistant") && json_array_size(json_object_get(message, "tool_calls")) > 0) {
            status = append_as_calls(list, message, err);
            continue;
        }
        json_t *copy = json_copy(message);
        if (is_role(message, "tool"))
            json_object_set_new(copy, "role", json_string("observation"));
        if (json_array_append_new(list, copy) != 0)
            status = error_set(err, ERR_MEMORY, "no memory for the messages");
    }
    json_decref(*messages);
    *messages = list;
    return status;
}

/* Whether a template is of those: it names the role, and neither the usual one nor the field of calls. */
static bool wants_observations(const char *template) {
    return template != NULL && strstr(template, "'observation'") != NULL && strstr(template, "metadata") != NULL &&
           strstr(template, "tool_calls") == NULL && strstr(template, "'tool'") == NULL;
}

Status messages_clean(const json_t *messages, const char *template, json_t **cleaned, Error *err) {
    const bool knows = template != NULL && strstr(template, "developer") != NULL;
    size_t i;
    json_t *message;
    *cleaned = json_copy((json_t *)(uintptr_t)messages);
    FAIL_IF(*cleaned == NULL, ERR_MEMORY, "no memory for the messages");
    json_array_foreach((json_t *)(uintptr_t)messages, i, message) {
        const bool developer = is_role(message, "developer");
        if (!developer && !is_role(message, "system"))
            continue;
        json_t *content = clean_content(json_object_get(message, "content"));
        if (content == NULL && (knows || !developer))
            continue;
        json_t *copy = json_copy(message);
        if (content != NULL)
            json_object_set_new(copy, "content", content);
        if (developer && !knows)
            json_object_set_new(copy, "role", json_string("system"));
        FAIL_IF(json_array_set_new(*cleaned, i, copy) != 0, ERR_MEMORY, "no memory for the messages");
    }
    return wants_observations(template) ? with_observations(cleaned, err) : OK;
}
