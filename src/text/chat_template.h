/* chat_template.h - a model's chat template: where it is found, and what it is rendered with.
 *
 * In a Hugging Face folder it is chat_template.jinja (others of the model in additional_chat_templates/), or
 * chat_template in chat_template.json or tokenizer_config.json, a text or a list of named texts; in GGUF
 * tokenizer.chat_template and tokenizer.chat_template.<name>. The special tokens that templates may name (bos_token,
 * eos_token, ...) come from the same place. Compiled once; rendering is thread-safe.
 *
 *     ChatTemplate *chat;
 *     TRY(chat_template_open(files, &chat, err));
 *     const ChatRequest request = {.messages = messages, .tools = tools, .add_generation_prompt = true};
 *     TRY(chat_template_render(chat, &request, &prompt, err));
 *     const char *format = reply_format_choose(family_formats, chat_template_text(chat, &request, NULL));
 *     TRY(reply_open(format, tools, reply_inside_reasoning(format, prompt.bytes, prompt.count), &reply, err)); */
#ifndef HOULE_TEXT_CHAT_TEMPLATE_H
#define HOULE_TEXT_CHAT_TEMPLATE_H

#include "format/model_files.h"
#include "text/template.h"

typedef struct ChatTemplate ChatTemplate;

/* The templates of a model. ERR_NOT_FOUND, naming where was looked, when it has none; a template that cannot be
 * compiled is ERR_FORMAT. */
Status chat_template_open(const ModelFiles *files, ChatTemplate **chat, Error *err);
/* One template from its text (UTF-8), without special tokens; `name` is what messages call it. */
Status chat_template_of_text(const char *text, size_t bytes, const char *name, ChatTemplate **chat, Error *err);
void chat_template_close(ChatTemplate *chat); /* NULL is fine */

/* The templates' names, "default" for the one without; NULL behind the last. */
const char *chat_template_name(const ChatTemplate *chat, size_t index);
/* "bos_token", "eos_token", "pad_token", "unk_token", ...: its text, or NULL when the model has none. */
const char *chat_template_token(const ChatTemplate *chat, const char *name);

typedef struct ChatRequest {
    const json_t *messages;     /* an array of objects */
    const json_t *tools;        /* an array of tool descriptions; NULL or empty: none */
    const json_t *documents;    /* an array, or NULL */
    const json_t *variables;    /* an object, or NULL: enable_thinking, thinking, reasoning_effort and the like; they
                                   come before all others, and what the template does not read does no harm */
    const char *template_name;  /* NULL: "tool_use" when there are tools and the model has it, else the default */
    bool add_generation_prompt; /* end where the assistant begins */
    TemplateOptions options;
} ChatRequest;

/* Appends the prompt to `out`, which stays as it was on failure. The prompt holds special tokens as their texts, the
 * beginning token too where the template writes it: tokenise it without adding any.
 *
 * Messages may be as clients of chat completions send them, or as templates like them: the arguments of a call as JSON
 * text or as an object, content as text or as a list of parts, reasoning as reasoning_content, reasoning or thinking;
 * each template gets what it can read (chat_messages.h). ERR_ARGUMENT: the template refuses the conversation (the
 * message is its own), messages that are no array of objects, parts that are no text where only text can be read. */
Status chat_template_render(const ChatTemplate *chat, const ChatRequest *request, Text *out, Error *err);

/* The text of the template that a request would use (request NULL: the default one), or NULL when there is none of its
 * name; *bytes may be NULL. Lives as long as `chat`. */
const char *chat_template_text(const ChatTemplate *chat, const ChatRequest *request, size_t *bytes);

#endif
