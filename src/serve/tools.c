/* tools.c - what a request says of tools and of thinking, in the forms that the APIs have for it. See api.h. */
#include "serve/api.h"

#include "format/json.h"

#include <string.h>

/* ---- thinking ---------------------------------------------------------------------------------------------------- */

Status ask_variable(Ask *ask, const char *name, json_t *value, Error *err) {
    if (ask->variables == NULL)
        ask->variables = json_object();
    FAIL_IF(json_object_set_new(ask->variables, name, value) != 0, ERR_MEMORY,
            "no memory for the template's variables");
    return OK;
}

Status ask_switch_thinking(Ask *ask, bool on, Error *err) {
    TRY(ask_variable(ask, "enable_thinking", json_boolean(on), err));
    return ask_variable(ask, "thinking", json_boolean(on), err);
}

Status ask_effort(Ask *ask, const char *effort, Error *err) {
    static const char *const words[] = {"none", "minimal", "low", "medium", "high", "xhigh", "max"};
    size_t i = 0;
    while (i < COUNT(words) && strcmp(words[i], effort) != 0)
        i++;
    if (i == COUNT(words))
        return field_wrong(ask->call, "reasoning_effort", err,
                           "none, minimal, low, medium, high, xhigh or max is expected");
    /* Published templates know three words. */
    const char *known = i <= 2 ? "low" : i >= 4 ? "high" : words[i];
    TRY(ask_variable(ask, "reasoning_effort", json_string(known), err));
    return ask_switch_thinking(ask, i > 1, err);
}

Status ask_thinking(Ask *ask, Fields *f, Error *err) {
    static const char *const budgets[] = {"thinking_budget", "thinking_budget_tokens", "thinking_token_budget",
                                          "reasoning_budget"};
    const json_t *more = NULL;
    const char *key;
    json_t *value;
    int64_t most = ask->spec.reasoning_tokens;
    TRY(field_object(f, "chat_template_kwargs", &more, err));
    const json_t *budget = json_object_get(more, "thinking_budget");
    if (json_is_integer(budget) && json_integer_value(budget) >= 0)
        most = MIN(json_integer_value(budget), 1 << 30);
    for (size_t i = 0; i < COUNT(budgets); i++)
        TRY(field_int(f, budgets[i], -1, 1 << 30, &most, err));
    ask->spec.reasoning_tokens = (int)most;
    if (most == 0)
        TRY(ask_switch_thinking(ask, false, err));
    json_object_foreach((json_t *)(uintptr_t)more, key, value) TRY(ask_variable(ask, key, json_incref(value), err));
    return OK;
}

/* ---- tools that take any text ------------------------------------------------------------------------------------ */

/* What a tool that takes any text is to a template: a function with one parameter. */
static json_t *custom_function(const json_t *tool) {
    const json_t *format = json_object_get(tool, "format"), *definition = json_object_get(format, "definition");
    Text description = {0};
    text_append_str(&description, json_word(tool, "description"));
    if (json_is_string(definition)) {
        text_append_format(&description, "%sThe input must fit this %s grammar:\n", description.count > 0 ? "\n" : "",
                           json_word(format, "syntax"));
        text_append(&description, json_string_value(definition), json_string_length(definition));
    }
    json_t *parameters = json_pack("{s:s, s:{s:{s:s}}, s:[s], s:b}", "type", "object", "properties", "input", "type",
                                   "string", "required", "input", "additionalProperties", 0);
    json_t *function = json_pack("{s:s, s:o, s:o}", "name", json_word(tool, "name"), "description",
                                 json_of_text(&description),
                                 "parameters", parameters);
    text_free(&description);
    return json_pack("{s:s, s:o}", "type", "function", "function", function);
}

static Status check_format(ApiCall *call, const json_t *tool, size_t index, Error *err) {
    const json_t *format = json_object_get(tool, "format");
    const char *type = json_word(format, "type"), *syntax = json_word(format, "syntax");
    if (format == NULL || strcmp(type, "text") == 0)
        return OK;
    if (strcmp(type, "grammar") != 0 || (strcmp(syntax, "lark") != 0 && strcmp(syntax, "regex") != 0) ||
        !json_is_string(json_object_get(format, "definition")))
        return field_wrong(call, "tools", err,
                           "tools[%zu].format: \"text\", or a \"grammar\" with \"syntax\" (lark, regex) and "
                           "\"definition\" is expected",
                           index);
    return OK;
}

Status ask_custom_tool(Ask *ask, const json_t *tool, size_t index, Error *err) {
    TRY(check_format(ask->call, tool, index, err));
    if (ask->customs == NULL)
        ask->customs = json_object();
    FAIL_IF(json_object_set(ask->customs, json_word(tool, "name"), (json_t *)(uintptr_t)tool) != 0 ||
                json_array_append_new(ask->tools, custom_function(tool)) != 0,
            ERR_MEMORY, "no memory for the tools");
    return OK;
}

json_t *custom_input(const Text *arguments) {
    if (arguments->failed)
        return NULL;
    const char *bytes = arguments->bytes != NULL ? arguments->bytes : "";
    json_t *value = NULL;
    (void)json_parse(bytes, arguments->count, "arguments", false, &value, NULL);
    json_t *inner = json_object_get(value, "input");
    json_t *input = json_is_string(inner) ? json_incref(inner) : json_stringn(bytes, arguments->count);
    json_decref(value);
    return input;
}

/* ---- the list of tools ------------------------------------------------------------------------------------------- */

/* {"custom": {"name", "format": {"grammar": {"syntax", "definition"}}}} without its inner wrappings. */
static Status read_custom(Ask *ask, const json_t *tool, size_t index, Error *err) {
    json_t *flat = json_copy(json_object_get(tool, "custom"));
    const json_t *format = json_object_get(flat, "format"), *grammar = json_object_get(format, "grammar");
    if (!json_is_string(json_object_get(flat, "name"))) {
        json_decref(flat);
        return field_wrong(ask->call, "tools", err, "tools[%zu].custom.name: a text is expected", index);
    }
    if (grammar != NULL) {
        json_t *one = json_copy((json_t *)(uintptr_t)grammar);
        json_object_set_new(one, "type", json_string("grammar"));
        json_object_set_new(flat, "format", one);
    }
    const Status status = ask_custom_tool(ask, flat, index, err);
    json_decref(flat);
    return status;
}

/* Tools that are no functions run elsewhere: they are left out, and the answer says so. */
Status ask_tools(Ask *ask, Fields *f, Error *err) {
    const json_t *tools = NULL, *functions = NULL, *tool;
    size_t i;
    TRY(field_array(f, "tools", &tools, err));
    TRY(field_array(f, "functions", &functions, err));
    if (tools == NULL && functions == NULL)
        return OK;
    ask->tools = json_array();
    FAIL_IF(ask->tools == NULL, ERR_MEMORY, "no memory for the tools");
    json_array_foreach((json_t *)(uintptr_t)tools, i, tool) {
        const char *type = json_string_value(json_object_get(tool, "type"));
        const json_t *function = json_object_get(tool, "function");
        if (type != NULL && strcmp(type, "custom") == 0) {
            TRY(read_custom(ask, tool, i, err));
            continue;
        }
        if (type != NULL && strcmp(type, "function") != 0) {
            api_warn(ask->call, "tools[%zu]: tools of type '%.64s' are not known here and were left out", i, type);
            continue;
        }
        if (!json_is_string(json_object_get(function, "name")))
            return field_wrong(ask->call, "tools", err, "tools[%zu].function.name: a text is expected", i);
        json_array_append(ask->tools, (json_t *)(uintptr_t)tool);
    }
    json_array_foreach((json_t *)(uintptr_t)functions, i, tool) {
        if (!json_is_string(json_object_get(tool, "name")))
            return field_wrong(ask->call, "functions", err, "functions[%zu].name: a text is expected", i);
        json_array_append_new(ask->tools, json_pack("{s:s, s:O}", "type", "function", "function", tool));
    }
    if (json_array_size(ask->tools) == 0) {
        json_decref(ask->tools);
        ask->tools = NULL;
    }
    return OK;
}

/* ---- the choice among tools -------------------------------------------------------------------------------------- */

static void drop_tools(Ask *ask) {
    json_decref(ask->tools);
    ask->tools = NULL;
}

/* {"function": {"name"}}, {"custom": {"name"}}, or {"name"}. */
static const char *chosen_name(const json_t *choice) {
    const json_t *inner = json_object_get(choice, "function");
    if (inner == NULL)
        inner = json_object_get(choice, "custom");
    return json_string_value(json_object_get(inner != NULL ? inner : choice, "name"));
}

static Status choose_word(Ask *ask, const char *param, const char *word, Error *err) {
    if (strcmp(word, "auto") == 0)
        return OK;
    if (strcmp(word, "none") == 0) { /* the model does not get to see them */
        drop_tools(ask);
        return OK;
    }
    if (strcmp(word, "required") == 0 || strcmp(word, "any") == 0)
        return ask_force_call(ask, param, NULL, err);
    return field_wrong(ask->call, param, err, "\"auto\", \"none\", \"required\" or a tool's name is expected");
}

static bool is_among(const json_t *allowed, const char *name) {
    size_t i;
    json_t *one;
    json_array_foreach((json_t *)(uintptr_t)allowed, i, one) {
        const char *own = chosen_name(one);
        if (own != NULL && name != NULL && strcmp(own, name) == 0)
            return true;
    }
    return false;
}

/* The others are left out: the model does not get to see them either. */
static Status choose_allowed(Ask *ask, const char *param, const json_t *choice, Error *err) {
    const json_t *inner = json_object_get(choice, "allowed_tools");
    if (inner == NULL)
        inner = choice;
    const json_t *allowed = json_object_get(inner, "tools");
    const char *mode = json_string_value(json_object_get(inner, "mode"));
    if (!json_is_array(allowed) || (mode != NULL && strcmp(mode, "auto") != 0 && strcmp(mode, "required") != 0))
        return field_wrong(ask->call, param, err,
                           "allowed_tools needs \"tools\", and \"auto\" or \"required\" as \"mode\"");
    for (size_t i = json_array_size(ask->tools); i > 0; i--) {
        const json_t *function = json_object_get(json_array_get(ask->tools, i - 1), "function");
        if (!is_among(allowed, json_string_value(json_object_get(function, "name"))))
            json_array_remove(ask->tools, i - 1);
    }
    if (json_array_size(ask->tools) == 0)
        drop_tools(ask);
    return choose_word(ask, param, mode != NULL ? mode : "auto", err);
}

Status ask_tool_choice(Ask *ask, const char *param, const json_t *choice, Error *err) {
    const char *type = json_string_value(json_object_get(choice, "type")), *name = chosen_name(choice);
    if (choice == NULL)
        return OK;
    if (json_is_string(choice))
        return choose_word(ask, param, json_string_value(choice), err);
    if (type != NULL && strcmp(type, "allowed_tools") == 0)
        return choose_allowed(ask, param, choice, err);
    if (name != NULL)
        return ask_force_call(ask, param, name, err);
    return choose_word(ask, param, type != NULL ? type : "", err); /* {"type": "any"} */
}
