/* messages.c - what is done to messages before the template sees them. See api.h.
 *
 * Some programs put a line into their instructions that is another one in each request (counters, digests, for their
 * vendor's accounts). As it stands near the beginning, nothing of what was computed for the request before could be
 * used again: tens of thousands of tokens. Such lines are left out. And a role that newer clients have for instructions
 * is called by its older name where the template does not know it. */
#include "serve/api.h"

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
    return OK;
}
