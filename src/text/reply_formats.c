/* reply_formats.c - the formats that are known: one row for each family. The texts are what the models were trained
 * to write, as published with them (chat templates, tokenizers). */
#include "text/reply_parts.h"

#include <string.h>

#define THINK_TAGS .think_open = "<think>", .think_close = "</think>"

/* <tool_call>\n{"name": ..., "arguments": {...}}\n</tool_call> */
#define TAGGED_OBJECTS .style = CALLS_OBJECT, .call_open = "<tool_call>", .call_close = "</tool_call>"

#define DEEPSEEK_SECTION                                                                                               \
    .style = CALLS_HEADER, .calls_end_reasoning = true, .section_open = "<｜tool▁calls▁begin｜>",                      \
    .section_close = "<｜tool▁calls▁end｜>", .call_open = "<｜tool▁call▁begin｜>",                                     \
    .call_close = "<｜tool▁call▁end｜>", .header_end = "<｜tool▁sep｜>"

/* function<sep>NAME\n```json\n{...}\n``` */
#define DEEPSEEK_FENCED DEEPSEEK_SECTION, .fence_open = "```json", .fence_close = "```"

#define KIMI_SECTION                                                                                                   \
    .style = CALLS_HEADER, .calls_end_reasoning = true, .section_open = "<|tool_calls_section_begin|>",                \
    .section_close = "<|tool_calls_section_end|>", .call_open = "<|tool_call_begin|>",                                 \
    .call_close = "<|tool_call_end|>", .header_end = "<|tool_call_argument_begin|>", .name_prefix = "functions."

#define HARMONY .style = CALLS_HARMONY, .prompt_opening = "<|channel|>analysis<|message|>", \
    .reasoning_close = "<|end|><|start|>assistant<|channel|>final<|message|>"

/* Functions and parameters in tags that hold their names, within `tag`. */
#define NAMED_TAGS(tag)                                                                                                \
    .style = CALLS_XML, .section_open = "<" tag ">", .section_close = "</" tag ">",                                    \
    .call_open = "<function=", .call_alone = "<function=", /* the tag around it is sometimes forgotten */              \
        .name_end = ">", .param_open = "<parameter=", .param_name_end = ">", .param_close = "</parameter>",            \
    .call_close = "</function>", .trim_newlines = true, .lines = true

#define GLM_CALLS                                                                                                      \
    .style = CALLS_XML, .call_open = "<tool_call>", .call_close = "</tool_call>", .param_open = "<arg_key>",           \
    .param_name_end = "</arg_key>", .value_open = "<arg_value>", .param_close = "</arg_value>"

static const ReplyFormat formats[] = {
    {.name = "deepseek_r1", THINK_TAGS, DEEPSEEK_FENCED},
    {.name = "deepseek_v3", DEEPSEEK_FENCED},
    {.name = "deepseek_v3_1", THINK_TAGS, DEEPSEEK_SECTION},
    {.name = "ernie_4_5_thinking",
     THINK_TAGS,
     .content_open = "<response>",
     .content_close = "</response>",
     TAGGED_OBJECTS},
    {.name = "glm_4_6", THINK_TAGS, GLM_CALLS, .lines = true},
    {.name = "glm_4_7", THINK_TAGS, GLM_CALLS},
    {.name = "gpt_oss", HARMONY},
    {.name = "gpt_oss_template_style", HARMONY},
    {.name = "granite_3", .style = CALLS_ARRAY, .call_open = "<|tool_call|>"},
    {.name = "kimi_k2", KIMI_SECTION},
    {.name = "kimi_k2_thinking", THINK_TAGS, KIMI_SECTION},
    {.name = "llama3_1", .style = CALLS_BARE, .call_open = "<|python_tag|>"},
    {.name = "minimax_m1",
     THINK_TAGS,
     .style = CALLS_OBJECT,
     .call_open = "<tool_calls>",
     .call_close = "</tool_calls>"},
    {.name = "minimax_m2",
     THINK_TAGS,
     .style = CALLS_XML,
     .section_open = "<minimax:tool_call>",
     .section_close = "</minimax:tool_call>",
     .call_open = "<invoke name=\"",
     .name_end = "\">",
     .param_open = "<parameter name=\"",
     .param_name_end = "\">",
     .param_close = "</parameter>",
     .call_close = "</invoke>",
     .lines = true},
    {.name = "ministral_3_reasoning",
     .think_open = "[THINK]",
     .think_close = "[/THINK]",
     .style = CALLS_HEADER,
     .short_ids = true,
     .call_open = "[TOOL_CALLS]",
     .header_end = "[ARGS]"},
    {.name = "mistral_nemo", .style = CALLS_ARRAY, .short_ids = true, .call_open = "[TOOL_CALLS]"},
    {.name = "mistral_small_3_2",
     .style = CALLS_HEADER,
     .short_ids = true,
     .call_open = "[TOOL_CALLS]",
     .id_open = "[CALL_ID]",
     .header_end = "[ARGS]"},
    {.name = "plain", .style = CALLS_NONE},
    {.name = "qwen2_5", TAGGED_OBJECTS},
    {.name = "qwen3", THINK_TAGS, TAGGED_OBJECTS},
    {.name = "qwen3_5", THINK_TAGS, NAMED_TAGS("tool_call")},
    {.name = "qwen3_coder", NAMED_TAGS("tool_call")},
    {.name = "qwq", THINK_TAGS, TAGGED_OBJECTS},
    {.name = "seed_oss", .think_open = "<seed:think>", .think_close = "</seed:think>", NAMED_TAGS("seed:tool_call")},
    {.name = "smollm3", THINK_TAGS, TAGGED_OBJECTS},
    {.name = "tagged_objects", THINK_TAGS, TAGGED_OBJECTS}, /* of no family: what a grammar makes a model write */
};

const ReplyFormat *reply_format_find(const char *name) {
    for (size_t i = 0; i < COUNT(formats); i++)
        if (strcmp(formats[i].name, name) == 0)
            return &formats[i];
    return NULL;
}

const char *reply_format_name(size_t index) {
    return index < COUNT(formats) ? formats[index].name : NULL;
}

/* What templates show of the format: the first row counts whose texts are all there, and the last one is not. */
static const struct {
    const char *format;
    const char *has[3];
    const char *lacks;
} evidence[] = {
    {"gpt_oss", {"<|channel|>", "<|message|>"}, NULL},
    {"kimi_k2_thinking", {"<|tool_calls_section_begin|>", "</think>"}, NULL},
    {"kimi_k2", {"<|tool_calls_section_begin|>"}, NULL},
    {"deepseek_v3_1", {"<｜tool▁calls▁begin｜>", "</think>"}, "```json"},
    {"deepseek_r1", {"<｜tool▁calls▁begin｜>", "</think>"}, NULL},
    {"deepseek_v3", {"<｜tool▁calls▁begin｜>"}, NULL},
    {"minimax_m2", {"<minimax:tool_call>"}, NULL},
    {"minimax_m1", {"<tool_calls>", "\"arguments\"", "<beginning_of_sentence>"}, NULL},
    {"seed_oss", {"<seed:tool_call>"}, NULL},
    {"glm_4_6", {"<arg_key>"}, NULL},
    {"ministral_3_reasoning", {"[TOOL_CALLS]", "[ARGS]"}, "[CALL_ID]"},
    {"mistral_small_3_2", {"[TOOL_CALLS]", "[CALL_ID]"}, NULL},
    {"mistral_nemo", {"[TOOL_CALLS]"}, NULL},
    {"granite_3", {"<|tool_call|>"}, NULL},
    {"qwen3_5", {"<tool_call>", "<function=", "</think>"}, NULL},
    {"qwen3_coder", {"<tool_call>", "<function="}, NULL},
    {"llama3_1", {"{\"name\": function name, \"parameters\": "}, NULL},
    {"ernie_4_5_thinking", {"</think>", "<response>"}, NULL},
    {"qwen3", {"<tool_call>", "</think>"}, NULL},
    {"qwen2_5", {"<tool_call>"}, NULL},
    {"smollm3", {"</think>"}, NULL}, /* its calls are those most often trained */
};

const char *reply_format_of_template(const char *text) {
    for (size_t i = 0; i < COUNT(evidence); i++) {
        bool fits = evidence[i].lacks == NULL || strstr(text, evidence[i].lacks) == NULL;
        for (size_t m = 0; m < COUNT(evidence[i].has) && fits; m++)
            fits = evidence[i].has[m] == NULL || strstr(text, evidence[i].has[m]) != NULL;
        if (fits)
            return evidence[i].format;
    }
    return "plain";
}

bool reply_inside_reasoning(const char *format, const char *prompt, size_t bytes) {
    const ReplyFormat *f = reply_format_find(format);
    const char *opening = f == NULL ? NULL : f->prompt_opening != NULL ? f->prompt_opening : f->think_open;
    while (bytes > 0 && reply_is_space(prompt[bytes - 1]))
        bytes--;
    const size_t length = opening != NULL ? strlen(opening) : 0;
    return length > 0 && bytes >= length && memcmp(prompt + bytes - length, opening, length) == 0;
}

const char *reply_reasoning_close(const char *format) {
    const ReplyFormat *f = reply_format_find(format);
    return f == NULL ? NULL : f->reasoning_close != NULL ? f->reasoning_close : f->think_close;
}

bool reply_format_known(const char *format) {
    return reply_format_find(format) != NULL;
}
