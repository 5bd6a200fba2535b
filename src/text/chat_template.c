/* chat_template.c - see chat_template.h. */
#include "text/chat_template.h"

#include "base/file.h"
#include "format/json.h"
#include "text/chat_messages.h"
#include "text/reply.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

typedef struct NamedTemplate {
    char *name; /* NULL: the default */
    char *text;
    size_t bytes;
    Template *compiled;
    MessageForm form;
} NamedTemplate;

typedef struct SpecialToken {
    char *name;
    char *text;
} SpecialToken;

struct ChatTemplate {
    NamedTemplate *templates;
    size_t template_count, template_capacity;
    SpecialToken *tokens;
    size_t token_count, token_capacity;
};

enum { MAX_CONFIG_BYTES = 64 << 20, MAX_TEMPLATES = 64 };

/* ---- collecting -------------------------------------------------------------------------------------------------- */

static const NamedTemplate *find_template(const ChatTemplate *chat, const char *name) {
    for (size_t i = 0; i < chat->template_count; i++) {
        const char *other = chat->templates[i].name;
        if (name == NULL ? other == NULL : other != NULL && strcmp(name, other) == 0)
            return &chat->templates[i];
    }
    return NULL;
}

/* The first of a name counts. The name "default" is the default. */
static Status add_template(ChatTemplate *chat, const char *name, const char *text, size_t bytes, Error *err) {
    if (name != NULL && strcmp(name, "default") == 0)
        name = NULL;
    if (find_template(chat, name) != NULL)
        return OK;
    FAIL_IF(chat->template_count == MAX_TEMPLATES, ERR_LIMIT, "more than %d chat templates", MAX_TEMPLATES);
    FAIL_IF(!mem_grow((void **)&chat->templates, &chat->template_capacity, chat->template_count + 1,
                      sizeof *chat->templates, MEM_TEXT),
            ERR_MEMORY, "no memory for a chat template");
    NamedTemplate *added = &chat->templates[chat->template_count++];
    *added = (NamedTemplate){.bytes = bytes};
    added->text = mem_strndup(text, bytes, MEM_TEXT);
    if (name != NULL)
        added->name = mem_strdup(name, MEM_TEXT);
    FAIL_IF(added->text == NULL || (name != NULL && added->name == NULL), ERR_MEMORY, "no memory for a chat template");
    const Status status = template_compile(text, bytes, &added->compiled, err);
    if (status != OK)
        error_context(err, "chat template%s%s", name != NULL ? " " : "", name != NULL ? name : "");
    return status;
}

const char *chat_template_token(const ChatTemplate *chat, const char *name) {
    for (size_t i = 0; i < chat->token_count; i++)
        if (strcmp(chat->tokens[i].name, name) == 0)
            return chat->tokens[i].text;
    return NULL;
}

static Status add_token(ChatTemplate *chat, const char *name, const char *text, size_t bytes, Error *err) {
    /* What is no text cannot be a variable; the model works without it. */
    if (chat_template_token(chat, name) != NULL || !utf8_valid(text, bytes) || memchr(text, '\0', bytes) != NULL)
        return OK;
    FAIL_IF(
        !mem_grow((void **)&chat->tokens, &chat->token_capacity, chat->token_count + 1, sizeof *chat->tokens, MEM_TEXT),
        ERR_MEMORY, "no memory for a special token");
    SpecialToken *added = &chat->tokens[chat->token_count++];
    added->name = mem_strdup(name, MEM_TEXT);
    added->text = mem_strndup(text, bytes, MEM_TEXT);
    FAIL_IF(added->name == NULL || added->text == NULL, ERR_MEMORY, "no memory for a special token");
    return OK;
}

/* ---- a Hugging Face folder --------------------------------------------------------------------------------------- */

/* Reads folder/name; *content stays NULL when there is no such file. */
static Status read_text(const char *folder, const char *name, char **content, size_t *bytes, Error *err) {
    *content = NULL;
    char *path = path_join(folder, name);
    FAIL_IF(path == NULL, ERR_MEMORY, "no memory for a path");
    const Status status = file_exists(path) ? file_read(path, TEMPLATE_MAX_BYTES, content, bytes, err) : OK;
    mem_free(path);
    return status;
}

static Status read_object(const char *folder, const char *name, json_t **object, Error *err) {
    *object = NULL;
    char *path = path_join(folder, name);
    FAIL_IF(path == NULL, ERR_MEMORY, "no memory for a path");
    const Status status = file_exists(path) ? json_read(path, MAX_CONFIG_BYTES, object, err) : OK;
    mem_free(path);
    return status;
}

static Status add_template_file(ChatTemplate *chat, const char *folder, const char *file, const char *name,
                                Error *err) {
    char *text;
    size_t bytes;
    TRY(read_text(folder, file, &text, &bytes, err));
    const Status status = text != NULL ? add_template(chat, name, text, bytes, err) : OK;
    mem_free(text);
    return status;
}

/* additional_chat_templates/NAME.jinja */
static Status add_more_files(ChatTemplate *chat, const char *folder, Error *err) {
    char *inner = path_join(folder, "additional_chat_templates");
    FAIL_IF(inner == NULL, ERR_MEMORY, "no memory for a path");
    DIR *directory = opendir(inner);
    Status status = OK;
    for (const struct dirent *entry; directory != NULL && status == OK && (entry = readdir(directory)) != NULL;) {
        const char *file = entry->d_name;
        if (!ends_with(file, ".jinja"))
            continue;
        char *name = mem_strndup(file, strlen(file) - strlen(".jinja"), MEM_TEXT);
        status = name == NULL ? error_set(err, ERR_MEMORY, "no memory for a chat template's name")
                              : add_template_file(chat, inner, file, name, err);
        mem_free(name);
    }
    if (directory != NULL)
        closedir(directory);
    mem_free(inner);
    return status;
}

/* "chat_template": a text, or [{"name", "template"}, ...]. */
static Status add_config_templates(ChatTemplate *chat, const json_t *config, Error *err) {
    const json_t *value = json_object_get(config, "chat_template");
    if (json_is_string(value))
        return add_template(chat, NULL, json_string_value(value), json_string_length(value), err);
    for (size_t i = 0; i < json_array_size(value); i++) {
        const json_t *entry = json_array_get(value, i);
        const json_t *name = json_object_get(entry, "name"), *text = json_object_get(entry, "template");
        FAIL_IF(!json_is_string(name) || !json_is_string(text), ERR_FORMAT,
                "chat_template[%zu]: a name and a template are expected", i);
        TRY(add_template(chat, json_string_value(name), json_string_value(text), json_string_length(text), err));
    }
    return OK;
}

static const char *const token_names[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                          "pad_token", "cls_token", "mask_token"};

/* "bos_token": a text, or an object with its content. */
static Status add_config_tokens(ChatTemplate *chat, const json_t *config, Error *err) {
    for (size_t i = 0; i < COUNT(token_names); i++) {
        const json_t *value = json_object_get(config, token_names[i]);
        if (json_is_object(value))
            value = json_object_get(value, "content");
        if (json_is_string(value))
            TRY(add_token(chat, token_names[i], json_string_value(value), json_string_length(value), err));
    }
    return OK;
}

static Status collect_from_folder(ChatTemplate *chat, const char *folder, Error *err) {
    TRY(add_template_file(chat, folder, "chat_template.jinja", NULL, err));
    TRY(add_more_files(chat, folder, err));
    static const char *const files[] = {"chat_template.json", "tokenizer_config.json", "special_tokens_map.json"};
    for (size_t i = 0; i < COUNT(files); i++) {
        json_t *config;
        TRY(read_object(folder, files[i], &config, err));
        Status status = add_config_templates(chat, config, err);
        if (status == OK)
            status = add_config_tokens(chat, config, err);
        json_decref(config);
        TRY(status);
    }
    return OK;
}

/* ---- GGUF -------------------------------------------------------------------------------------------------------- */

static Status collect_from_gguf(ChatTemplate *chat, const ModelFiles *files, Error *err) {
    static const char key[] = "tokenizer.chat_template";
    for (size_t i = 0; i < model_files_metas(files); i++) {
        const MetaValue *meta = model_files_meta(files, i);
        if (meta->type != META_STRING || !starts_with(meta->key, key))
            continue;
        const char *rest = meta->key + strlen(key);
        if (*rest == '\0')
            TRY(add_template(chat, NULL, meta->as.string.bytes, meta->as.string.count, err));
        else if (*rest == '.' && rest[1] != '\0')
            TRY(add_template(chat, rest + 1, meta->as.string.bytes, meta->as.string.count, err));
    }
    static const char *const keys[COUNT(token_names)] = {
        "tokenizer.ggml.bos_token_id",       "tokenizer.ggml.eos_token_id", "tokenizer.ggml.unknown_token_id",
        "tokenizer.ggml.seperator_token_id", /* so spelled in the published files */
        "tokenizer.ggml.padding_token_id",   "tokenizer.ggml.cls_token_id", "tokenizer.ggml.mask_token_id"};
    const MetaValue *tokens = model_files_meta_find(files, "tokenizer.ggml.tokens");
    for (size_t i = 0; i < COUNT(keys) && tokens != NULL; i++) {
        int64_t id;
        const char *text;
        size_t bytes;
        if (meta_int(model_files_meta_find(files, keys[i]), &id) && id >= 0 &&
            meta_array_string(tokens, (size_t)id, &text, &bytes))
            TRY(add_token(chat, token_names[i], text, bytes, err));
    }
    return OK;
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static Status new_chat(ChatTemplate **chat, Error *err) {
    *chat = mem_zalloc(sizeof **chat, MEM_TEXT);
    FAIL_IF(*chat == NULL, ERR_MEMORY, "no memory for a chat template");
    return OK;
}

static TemplateVariable token_variable(const SpecialToken *token) {
    return (TemplateVariable){.name = token->name, .text = token->text, .text_bytes = strlen(token->text)};
}

/* Asks each template how it reads messages. */
static Status find_forms(ChatTemplate *chat, Error *err) {
    TemplateVariable tokens[COUNT(token_names)];
    const size_t count = MIN(chat->token_count, COUNT(tokens));
    for (size_t i = 0; i < count; i++)
        tokens[i] = token_variable(&chat->tokens[i]);
    for (size_t i = 0; i < chat->template_count; i++)
        TRY(message_form_find(chat->templates[i].compiled, tokens, count, &chat->templates[i].form, err));
    return OK;
}

static Status finish_open(ChatTemplate **chat, Status status, Error *err) {
    if (status == OK)
        status = find_forms(*chat, err);
    if (status != OK) {
        chat_template_close(*chat);
        *chat = NULL;
    }
    return status;
}

static Status collect(ChatTemplate *chat, const ModelFiles *files, Error *err) {
    const char *folder = model_files_folder(files);
    TRY(folder != NULL ? collect_from_folder(chat, folder, err) : collect_from_gguf(chat, files, err));
    FAIL_IF(chat->template_count == 0, ERR_NOT_FOUND, "no chat template: %s",
            folder != NULL ? "neither chat_template.jinja nor tokenizer_config.json has one"
                           : "the file has no tokenizer.chat_template");
    return OK;
}

Status chat_template_open(const ModelFiles *files, ChatTemplate **chat, Error *err) {
    TRY(new_chat(chat, err));
    const Status status = collect(*chat, files, err);
    if (status != OK)
        error_context(err, "%s", model_files_path(files));
    return finish_open(chat, status, err);
}

Status chat_template_of_text(const char *text, size_t bytes, const char *name, ChatTemplate **chat, Error *err) {
    TRY(new_chat(chat, err));
    const Status status = add_template(*chat, NULL, text, bytes, err);
    if (status != OK)
        error_context(err, "%s", name);
    return finish_open(chat, status, err);
}

void chat_template_close(ChatTemplate *chat) {
    if (chat == NULL)
        return;
    for (size_t i = 0; i < chat->template_count; i++) {
        mem_free(chat->templates[i].name);
        mem_free(chat->templates[i].text);
        template_free(chat->templates[i].compiled);
    }
    for (size_t i = 0; i < chat->token_count; i++) {
        mem_free(chat->tokens[i].name);
        mem_free(chat->tokens[i].text);
    }
    mem_free(chat->templates);
    mem_free(chat->tokens);
    mem_free(chat);
}

/* ---- rendering --------------------------------------------------------------------------------------------------- */

static const NamedTemplate *choose(const ChatTemplate *chat, const ChatRequest *request) {
    if (request->template_name != NULL)
        return strcmp(request->template_name, "default") == 0 ? find_template(chat, NULL)
                                                              : find_template(chat, request->template_name);
    const NamedTemplate *tool_use = json_array_size(request->tools) > 0 ? find_template(chat, "tool_use") : NULL;
    const NamedTemplate *fallback = find_template(chat, NULL);
    return tool_use != NULL ? tool_use : fallback != NULL ? fallback : &chat->templates[0];
}

static const ChatRequest no_request;

const char *chat_template_text(const ChatTemplate *chat, const ChatRequest *request, size_t *bytes) {
    const NamedTemplate *chosen = choose(chat, request != NULL ? request : &no_request);
    if (bytes != NULL)
        *bytes = chosen != NULL ? chosen->bytes : 0;
    return chosen != NULL ? chosen->text : NULL;
}

const char *chat_template_name(const ChatTemplate *chat, size_t index) {
    if (index >= chat->template_count)
        return NULL;
    const char *name = chat->templates[index].name;
    return name != NULL ? name : "default";
}

/* Fixed variables, then the special tokens, then the caller's, which may replace them. */
static Status collect_variables(const ChatTemplate *chat, const ChatRequest *request, const json_t *messages,
                                const json_t *generation, TemplateVariable **variables, size_t *count, Error *err) {
    enum { FIXED = 4 };
    const size_t total = FIXED + chat->token_count + json_object_size(request->variables);
    TemplateVariable *v = mem_array(total, sizeof *v, MEM_TEXT);
    FAIL_IF(v == NULL, ERR_MEMORY, "no memory for the template's variables");
    size_t n = 0;
    v[n++] = (TemplateVariable){.name = "messages", .json = messages};
    v[n++] = (TemplateVariable){.name = "tools", .json = json_array_size(request->tools) > 0 ? request->tools : NULL};
    v[n++] = (TemplateVariable){.name = "documents", .json = request->documents};
    v[n++] = (TemplateVariable){.name = "add_generation_prompt", .json = generation};
    for (size_t i = 0; i < chat->token_count; i++)
        v[n++] = token_variable(&chat->tokens[i]);
    json_t *more = (json_t *)(uintptr_t)request->variables;
    const char *key;
    json_t *value;
    json_object_foreach(more, key, value) {
        v[n++] = (TemplateVariable){.name = key, .json = value};
    }
    *variables = v;
    *count = n;
    return OK;
}

Status chat_template_render(const ChatTemplate *chat, const ChatRequest *request, Text *out, Error *err) {
    const NamedTemplate *chosen = choose(chat, request);
    FAIL_IF(chosen == NULL, ERR_NOT_FOUND, "the model has no chat template named %s", request->template_name);
    FAIL_IF(request->variables != NULL && !json_is_object(request->variables), ERR_ARGUMENT,
            "template variables: an object is expected");
    json_t *messages;
    TRY(messages_prepare(request->messages, chosen->form, &messages, err));
    TemplateVariable *variables = NULL;
    size_t count = 0;
    Status status = collect_variables(chat, request, messages, json_boolean(request->add_generation_prompt), &variables,
                                      &count, err);
    if (status == OK)
        status = template_render(chosen->compiled, variables, count, &request->options, out, err);
    mem_free(variables);
    json_decref(messages);
    return status;
}
