/* template_command.c - houle template: the prompt that a conversation becomes; chat templates tried out, singly or
 * many. */
#include "base/file.h"
#include "cli/command.h"
#include "format/json.h"
#include "format/json_write.h"
#include "text/chat_template.h"

#include <stdio.h>
#include <string.h>

static struct {
    bool batch, generation_prompt;
    const char *tools, *now, *name;
    StringList variables;
} want = {.generation_prompt = true};

enum { MAX_MESSAGES_BYTES = 256 << 20 };

/* "2025-07-04 09:05:03" */
static Status parse_now(const char *text, struct tm *now, Error *err) {
    *now = (struct tm){0};
    char rest;
    const int fields = sscanf(text, "%4d-%2d-%2d %2d:%2d:%2d%c", &now->tm_year, &now->tm_mon, &now->tm_mday,
                              &now->tm_hour, &now->tm_min, &now->tm_sec, &rest);
    now->tm_year -= 1900;
    now->tm_mon -= 1;
    const struct tm given = *now;
    /* timegm finds the day of the week and of the year, and moves what is no date. */
    FAIL_IF(fields != 6 || timegm(now) == (time_t)-1 || now->tm_mday != given.tm_mday || now->tm_mon != given.tm_mon ||
                now->tm_hour != given.tm_hour || now->tm_min != given.tm_min,
            ERR_ARGUMENT, "--now %s: a time such as \"2025-07-04 09:05:03\" is expected", text);
    return OK;
}

/* ---- batch ------------------------------------------------------------------------------------------------------- */

static Status collect_batch_variables(const json_t *vars, TemplateVariable **variables, size_t *count, Error *err) {
    FAIL_IF(!json_is_object(vars), ERR_ARGUMENT, "vars: an object is expected");
    *variables = mem_array(json_object_size(vars) + 1, sizeof **variables, MEM_TEXT);
    FAIL_IF(*variables == NULL, ERR_MEMORY, "no memory for the variables");
    *count = 0;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)vars, key, value) {
        (*variables)[(*count)++] = (TemplateVariable){.name = key, .json = value};
    }
    return OK;
}

/* One request: its own template, or the one of the command line. */
static Status render_request(const char *line, size_t bytes, const Template *given, const TemplateOptions *options,
                             Text *out, Error *err) {
    json_t *request;
    TRY(json_parse(line, bytes, "request", false, &request, err));
    const json_t *text = json_object_get(request, "template");
    Template *own = NULL;
    TemplateVariable *variables = NULL;
    size_t count = 0;
    Status status = collect_batch_variables(json_object_get(request, "vars"), &variables, &count, err);
    if (status == OK && given == NULL)
        status = json_is_string(text)
                     ? template_compile(json_string_value(text), json_string_length(text), &own, err)
                     : error_set(err, ERR_ARGUMENT, "a template is expected in the request or on the command line");
    if (status == OK)
        status = template_render(given != NULL ? given : own, variables, count, options, out, err);
    template_free(own);
    mem_free(variables);
    json_decref(request);
    return status;
}

static Status run_batch(const Template *given, const TemplateOptions *options, Error *err) {
    char *line = NULL;
    size_t capacity = 0;
    Text prompt = {0}, answer = {0};
    Status status = OK;
    for (ssize_t bytes; status == OK && (bytes = getline(&line, &capacity, stdin)) > 0;) {
        if (line[bytes - 1] == '\n')
            bytes--;
        if (bytes == 0)
            continue;
        Error refused = {0};
        text_clear(&prompt);
        text_clear(&answer);
        JsonWriter w = {.out = &answer};
        json_write_open(&w, '{');
        if (render_request(line, (size_t)bytes, given, options, &prompt, &refused) == OK) {
            json_write_key(&w, "text");
            json_write_bytes(&w, prompt.bytes != NULL ? prompt.bytes : "", prompt.count);
        } else {
            json_write_key(&w, "error");
            json_write_string(&w, refused.text);
        }
        json_write_close(&w, '}');
        text_append_char(&answer, '\n');
        status = text_check(&answer, err);
        if (status == OK)
            fwrite(answer.bytes, 1, answer.count, stdout);
    }
    free(line);
    text_free(&prompt);
    text_free(&answer);
    return status;
}

static Status batch(const char *file, const TemplateOptions *options, Error *err) {
    Template *given = NULL;
    if (file != NULL) {
        char *text;
        size_t bytes;
        TRY(file_read(file, TEMPLATE_MAX_BYTES, &text, &bytes, err));
        const Status status = template_compile(text, bytes, &given, err);
        mem_free(text);
        if (status != OK)
            error_context(err, "%s", file);
        TRY(status);
    }
    const Status status = run_batch(given, options, err);
    template_free(given);
    return status;
}

/* ---- one conversation -------------------------------------------------------------------------------------------- */

/* A file with a template's text, or a model. */
static Status open_chat(const char *name, ChatTemplate **chat, Error *err) {
    if (ends_with(name, ".jinja")) {
        char *text;
        size_t bytes;
        TRY(file_read(name, TEMPLATE_MAX_BYTES, &text, &bytes, err));
        const Status status = chat_template_of_text(text, bytes, name, chat, err);
        mem_free(text);
        return status;
    }
    ModelFiles *files;
    TRY(model_files_open(name, &files, err));
    const Status status = chat_template_open(files, chat, err);
    model_files_close(files);
    return status;
}

/* --var NAME=JSON; what is no JSON is taken as a text. */
static Status read_variables(json_t *variables, Error *err) {
    for (int i = 0; i < want.variables.count; i++) {
        const char *given = want.variables.items[i], *equals = strchr(given, '=');
        FAIL_IF(equals == NULL || equals == given, ERR_ARGUMENT, "--var %s: NAME=JSON is expected", given);
        json_t *value;
        if (json_parse(equals + 1, strlen(equals + 1), given, false, &value, NULL) != OK)
            value = json_string(equals + 1);
        char *name = mem_strndup(given, (size_t)(equals - given), MEM_TEXT);
        const int failed = name == NULL ? -1 : json_object_set_new(variables, name, value);
        mem_free(name);
        FAIL_IF(failed != 0, ERR_ARGUMENT, "--var %s: neither JSON nor text", given);
    }
    return OK;
}

static Status print_prompt(const ChatTemplate *chat, ChatRequest *request, const char *messages_file, json_t **messages,
                           json_t **tools, json_t *variables, Error *err) {
    TRY(json_read(messages_file, MAX_MESSAGES_BYTES, messages, err));
    if (want.tools != NULL)
        TRY(json_read(want.tools, MAX_MESSAGES_BYTES, tools, err));
    TRY(read_variables(variables, err));
    /* A whole request is as good as its messages. */
    const json_t *inner = json_object_get(*messages, "messages");
    request->messages = inner != NULL ? inner : *messages;
    request->tools = *tools != NULL ? *tools : json_object_get(*messages, "tools");
    request->variables = variables;
    Text prompt = {0};
    const Status status = chat_template_render(chat, request, &prompt, err);
    if (status == OK)
        fwrite(prompt.bytes != NULL ? prompt.bytes : "", 1, prompt.count, stdout);
    text_free(&prompt);
    return status;
}

static Status single(const char *name, const char *messages_file, const TemplateOptions *options, Error *err) {
    ChatTemplate *chat;
    TRY(open_chat(name, &chat, err));
    ChatRequest request = {
        .template_name = want.name, .add_generation_prompt = want.generation_prompt, .options = *options};
    json_t *messages = NULL, *tools = NULL, *variables = json_object();
    const Status status = print_prompt(chat, &request, messages_file, &messages, &tools, variables, err);
    json_decref(messages);
    json_decref(tools);
    json_decref(variables);
    chat_template_close(chat);
    return status;
}

static int run(int n_argument, char **arguments, Error *err) {
    json_setup();
    struct tm now;
    TemplateOptions options = {0};
    if (want.now != NULL) {
        if (parse_now(want.now, &now, err) != OK)
            return 2;
        options.now = &now;
    }
    if (want.batch && n_argument <= 1)
        return batch(n_argument == 1 ? arguments[0] : NULL, &options, err) != OK;
    if (want.batch || n_argument != 2) {
        error_set(err, ERR_ARGUMENT, "usage: houle template MODEL|FILE.jinja MESSAGES.json, or --batch [FILE.jinja]");
        return 2;
    }
    return single(arguments[0], arguments[1], &options, err) != OK;
}

static const Option options[] = {
    {"tools", OPT_STRING, &want.tools, "FILE", "JSON array of the tools offered", NULL},
    {"var", OPT_LIST, &want.variables, "NAME=JSON", "a variable of the template, such as enable_thinking=false", NULL},
    {"generation-prompt", OPT_FLAG, &want.generation_prompt, NULL,
     "end where the assistant begins (the default; --no-...)", NULL},
    {"name", OPT_STRING, &want.name, "NAME", "which of the model's templates", NULL},
    {"now", OPT_STRING, &want.now, "TIME", "the time that the template sees: \"2025-07-04 09:05:03\"", NULL},
    {"batch", OPT_FLAG, &want.batch, NULL, "render the requests on standard input, one JSON object for each line",
     NULL},
    {0},
};

const Command command_template = {
    .name = "template",
    .arguments = "MODEL|FILE.jinja MESSAGES.json",
    .summary = "print the prompt that a conversation becomes",
    .text =
        "Renders a conversation with the chat template of a model (a folder, a GGUF file) or of a file, and prints\n"
        "the prompt exactly, without a newline at the end. MESSAGES.json is an array of messages, or a request\n"
        "with \"messages\" and \"tools\".\n\n"
        "With --batch, each line of standard input is {\"vars\": {...}} (and \"template\": \"...\" when no file is\n"
        "given); each gives a line {\"text\": \"...\"} or {\"error\": \"...\"}. All variables come from vars.",
    .example = "  houle template ./model chat.json --var enable_thinking=false\n"
               "      the prompt for a model that can think, told not to",
    .options = options,
    .min_arguments = 0,
    .max_arguments = 2,
    .run = run,
};
