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

/* Functions and parameters in tags that hold their names, within `tag`; the values on lines of their own, or inline. */
#define NAMED_TAGS(tag)                                                                                                \
    .style = CALLS_XML, .section_open = "<" tag ">", .section_close = "</" tag ">",                                    \
    .call_open = "<function=", .call_alone = "<function=", /* the tag around it is sometimes forgotten */              \
        .name_end = ">", .param_open = "<parameter=", .param_name_end = ">", .param_close = "</parameter>",            \
    .call_close = "</function>", .trim_newlines = true, .lines = true

/* The same with names as attributes, within `prefix`section. */
#define INVOKED_TAGS(prefix, section)                                                                                  \
    .style = CALLS_XML, .section_open = "<" prefix section ">", .section_close = "</" prefix section ">",              \
    .call_open = "<" prefix "invoke name=\"", .name_end = "\">", .call_close = "</" prefix "invoke>",                  \
    .param_open = "<" prefix "parameter name=\"", .param_name_end = "\">", .param_close = "</" prefix "parameter>",    \
    .lines = true

/* INVOKED_TAGS whose parameters say whether they are strings. */
#define DSML(section)                                                                                                  \
    INVOKED_TAGS("｜DSML｜", section), .calls_end_reasoning = true, .text_end = "\" string=\"true\">",                 \
                                       .json_end = "\" string=\"false\">"

/* NAME<key>KEY</key><value>VALUE</value>; with a suffix in each tag. */
#define KEYED_TAGS(call, key, value, suffix)                                                                           \
    .style = CALLS_XML, .call_open = "<" call suffix ">", .call_close = "</" call suffix ">",                          \
    .param_open = "<" key suffix ">", .param_name_end = "</" key suffix ">", .value_open = "<" value suffix ">",       \
    .param_close = "</" value suffix ">"

#define GLM_CALLS KEYED_TAGS("tool_call", "arg_key", "arg_value", "")

#define HY_CALLS(suffix)                                                                                               \
    .think_open = "<think" suffix ">", .think_close = "</think" suffix ">", .section_open = "<tool_calls" suffix ">",  \
    .section_close = "</tool_calls" suffix ">", KEYED_TAGS("tool_call", "arg_key", "arg_value", suffix),               \
    .name_end = "<tool_sep" suffix ">", .lines = true

/* name(key=value), as Python writes it. */
#define PYTHON_CALLS .args_open = "(", .args_close = ")", .key_end = "="

/* call:name{key:value}, with a mark around strings. */
#define BRACED_CALLS(mark)                                                                                             \
    .style = CALLS_LITERAL, .name_prefix = "call:", .args_open = "{", .args_close = "}", .key_end = ":", .quote = mark

#define NAMESPACE "]<]minimax[>["

static const ReplyFormat formats[] = {
    {.name = "deepseek_r1", THINK_TAGS, DEEPSEEK_FENCED},
    {.name = "deepseek_v3", DEEPSEEK_FENCED},
    {.name = "deepseek_v3_1", THINK_TAGS, DEEPSEEK_SECTION},
    {.name = "deepseek_v3_2", THINK_TAGS, DSML("function_calls")},
    {.name = "deepseek_v4", THINK_TAGS, DSML("tool_calls")},
    {.name = "ernie_4_5_thinking",
     THINK_TAGS,
     .content_open = "<response>",
     .content_close = "</response>",
     TAGGED_OBJECTS},
    {.name = "functiongemma",
     .call_open = "<start_function_call>",
     .call_close = "<end_function_call>",
     BRACED_CALLS("<escape>")},
    {.name = "gemma_4",
     .think_open = "<|channel>thought",
     .think_close = "<channel|>",
     .call_open = "<|tool_call>",
     .call_close = "<tool_call|>",
     BRACED_CALLS("<|\"|>")},
    {.name = "glm_4_0414",
     THINK_TAGS,
     .style = CALLS_HEADER,
     .bare = true,
     .call_open = "<|assistant|>", /* begins a message: each call is one */
     .header_end = "\n"},
    {.name = "glm_4_6", THINK_TAGS, GLM_CALLS, .lines = true},
    {.name = "glm_4_7", THINK_TAGS, GLM_CALLS},
    {.name = "gpt_oss", HARMONY},
    {.name = "gpt_oss_template_style", HARMONY},
    {.name = "granite_3", .style = CALLS_ARRAY, .call_open = "<|tool_call|>"},
    {.name = "hunyuan_a13b",
     THINK_TAGS,
     .content_open = "<answer>",
     .content_close = "</answer>",
     .style = CALLS_ARRAY,
     .call_open = "<tool_calls>",
     .call_close = "</tool_calls>"},
    {.name = "hy_v3", HY_CALLS(":opensource")},
    {.name = "hy_v3_preview", HY_CALLS("")},
    {.name = "kimi_k2", KIMI_SECTION},
    {.name = "kimi_k2_thinking", THINK_TAGS, KIMI_SECTION},
    {.name = "lfm2",
     THINK_TAGS,
     .call_open = "<|tool_call_start|>",
     .call_close = "<|tool_call_end|>",
     .style = CALLS_LITERAL,
     PYTHON_CALLS,
     .bracketed = true},
    /* Both have been taught two ways: objects, as their templates ask for them, and calls as the makers' guides do. */
    {.name = "llama3_1", .style = CALLS_BARE, .call_open = "<|python_tag|>", PYTHON_CALLS},
    {.name = "llama4",
     .style = CALLS_BARE,
     .call_open = "<|python_start|>",
     .call_close = "<|python_end|>",
     PYTHON_CALLS},
    {.name = "longcat",
     .think_open = "<longcat_think>",
     .think_close = "</longcat_think>",
     .style = CALLS_OBJECT,
     .call_open = "<longcat_tool_call>",
     .call_close = "</longcat_tool_call>"},
    {.name = "longcat_keyed",
     .think_open = "<longcat_think>",
     .think_close = "</longcat_think>",
     KEYED_TAGS("longcat_tool_call", "longcat_arg_key", "longcat_arg_value", ""),
     .lines = true},
    {.name = "mimo_v2", THINK_TAGS, NAMED_TAGS("tool_call"), .inline_values = true},
    {.name = "minimax_m1",
     THINK_TAGS,
     .style = CALLS_OBJECT,
     .call_open = "<tool_calls>",
     .call_close = "</tool_calls>"},
    {.name = "minimax_m2", THINK_TAGS, INVOKED_TAGS("", "minimax:tool_call")},
    {.name = "minimax_m3",
     .think_open = "<mm:think>",
     .think_close = "</mm:think>",
     .style = CALLS_TREE,
     .section_open = NAMESPACE "<tool_call>",
     .section_close = NAMESPACE "</tool_call>",
     .call_open = NAMESPACE "<invoke name=\"",
     .name_end = "\">",
     .param_open = NAMESPACE "<",
     .param_name_end = ">",
     .param_close = NAMESPACE "</",
     .call_close = NAMESPACE "</invoke>",
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
    {.name = "nemotron_nano_2",
     THINK_TAGS,
     .style = CALLS_ARRAY,
     .call_open = "<TOOLCALL>",
     .call_close = "</TOOLCALL>"},
    {.name = "olmo_3",
     THINK_TAGS,
     .call_open = "<function_calls>",
     .call_close = "</function_calls>",
     .style = CALLS_LITERAL,
     PYTHON_CALLS},
    {.name = "phi_4_mini",
     .style = CALLS_ARRAY,
     .call_open = "<|tool_call|>",
     .call_alone = "functools", /* as instructions ask for it that are not the template's */
     .call_close = "<|/tool_call|>"},
    {.name = "plain", .style = CALLS_NONE},
    {.name = "qwen2_5", TAGGED_OBJECTS},
    {.name = "qwen3", THINK_TAGS, TAGGED_OBJECTS},
    {.name = "qwen3_5", THINK_TAGS, NAMED_TAGS("tool_call")},
    {.name = "qwen3_coder", NAMED_TAGS("tool_call")},
    {.name = "qwq", THINK_TAGS, TAGGED_OBJECTS},
    {.name = "seed_oss",
     .think_open = "<seed:think>",
     .think_close = "</seed:think>",
     NAMED_TAGS("seed:tool_call"),
     .inline_values = true},
    {.name = "smollm3", THINK_TAGS, TAGGED_OBJECTS},
    {.name = "step_3",
     THINK_TAGS,
     .style = CALLS_XML,
     .section_open = "<｜tool_calls_begin｜>",
     .section_close = "<｜tool_calls_end｜>",
     .call_open = "<｜tool_call_begin｜>function<｜tool_sep｜><steptml:invoke name=\"",
     .name_end = "\">",
     .call_close = "</steptml:invoke><｜tool_call_end｜>",
     .param_open = "<steptml:parameter name=\"",
     .param_name_end = "\">",
     .param_close = "</steptml:parameter>",
     .lines = true},
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

/* What templates show of the formats: marks that are there, and one that is not. */
static const struct {
    const char *format;
    const char *has[3];
    const char *lacks;
} evidence[] = {
    {"gpt_oss", {"<|channel|>", "<|message|>"}, NULL},
    {"kimi_k2_thinking", {"<|tool_calls_section_begin|>", "</think>"}, NULL},
    {"kimi_k2", {"<|tool_calls_section_begin|>"}, NULL},
    {"deepseek_v3_2", {"｜DSML｜", "function_calls"}, NULL},
    {"deepseek_v4", {"｜DSML｜", "tool_calls"}, NULL},
    {"deepseek_v3_1", {"<｜tool▁calls▁begin｜>", "</think>"}, "```json"},
    {"deepseek_r1", {"<｜tool▁calls▁begin｜>", "</think>"}, NULL},
    {"deepseek_v3", {"<｜tool▁calls▁begin｜>"}, NULL},
    {"step_3", {"<｜tool_calls_begin｜>"}, NULL},
    {"minimax_m3", {NAMESPACE}, NULL},
    {"minimax_m2", {"<minimax:tool_call>"}, NULL},
    {"minimax_m1", {"<tool_calls>", "\"arguments\"", "<beginning_of_sentence>"}, NULL},
    {"seed_oss", {"<seed:tool_call>"}, NULL},
    {"longcat_keyed", {"<longcat_tool_call>", "<longcat_arg_key>"}, NULL},
    {"longcat", {"<longcat_tool_call>"}, NULL},
    {"hy_v3", {"tool_sep", "arg_key", ":opensource"}, NULL},
    {"hy_v3_preview", {"<tool_sep>", "<arg_key>"}, NULL},
    {"glm_4_6", {"<arg_key>"}, NULL},
    {"glm_4_7", {"<arg_key>"}, NULL}, /* rows that can only be told from one before by the family */
    {"glm_4_0414", {"<|observation|>", "<|assistant|>"}, NULL},
    {"ministral_3_reasoning", {"[TOOL_CALLS]", "[ARGS]"}, "[CALL_ID]"},
    {"mistral_small_3_2", {"[TOOL_CALLS]", "[CALL_ID]"}, NULL},
    {"mistral_nemo", {"[TOOL_CALLS]"}, NULL},
    {"phi_4_mini", {"<|tool_call|>", "<|/tool_call|>"}, NULL},
    {"gemma_4", {"<|tool_call>", "<tool_call|>"}, NULL},
    {"functiongemma", {"<start_function_call>"}, NULL},
    {"lfm2", {"<|tool_call_start|>"}, NULL},
    {"lfm2", {"<|tool_list_start|>"}, NULL}, /* calls are taught, not shown */
    {"nemotron_nano_2", {"<TOOLCALL>"}, NULL},
    {"olmo_3", {"<function_calls>"}, NULL},
    {"granite_3", {"<|tool_call|>"}, NULL},
    {"hunyuan_a13b", {"<tool_calls>", "<answer>"}, NULL},
    {"qwen3_5", {"<tool_call>", "<function=", "</think>"}, NULL},
    {"qwen3_coder", {"<tool_call>", "<function="}, NULL},
    {"mimo_v2", {"<tool_call>", "<function="}, NULL},
    {"llama4", {"{\"name\": function name, \"parameters\": ", "<|python_start|>"}, NULL},
    {"llama3_1", {"{\"name\": function name, \"parameters\": "}, NULL},
    {"ernie_4_5_thinking", {"</think>", "<response>"}, NULL},
    {"qwen3", {"<tool_call>", "</think>"}, NULL},
    {"qwen2_5", {"<tool_call>"}, NULL},
    {"smollm3", {"</think>"}, NULL}, /* its calls are those most often trained */
};

/* Whether a list of words, one space between them, has this one. */
static bool is_listed(const char *list, const char *word) {
    const size_t length = strlen(word);
    for (const char *at = list; at != NULL && *at != '\0';) {
        const size_t bytes = strcspn(at, " ");
        if (bytes == length && memcmp(at, word, bytes) == 0)
            return true;
        at += bytes + (at[bytes] == ' ');
    }
    return false;
}

/* The first row of which the text has all marks, and which is listed (NULL: any). */
static const char *shown_in(const char *text, const char *list) {
    for (size_t i = 0; i < COUNT(evidence); i++) {
        bool fits = evidence[i].lacks == NULL || strstr(text, evidence[i].lacks) == NULL;
        for (size_t m = 0; m < COUNT(evidence[i].has) && fits; m++)
            fits = evidence[i].has[m] == NULL || strstr(text, evidence[i].has[m]) != NULL;
        if (fits && (list == NULL || is_listed(list, evidence[i].format)))
            return evidence[i].format;
    }
    return NULL;
}

const char *reply_format_choose(const char *list, const char *text) {
    const char *format = text != NULL ? shown_in(text, list != NULL ? list : "") : NULL;
    if (format == NULL && text != NULL)
        format = shown_in(text, NULL);
    for (size_t i = 0; format == NULL && i < COUNT(formats); i++) {
        const size_t bytes = strlen(formats[i].name);
        if (list != NULL && strncmp(list, formats[i].name, bytes) == 0 && (list[bytes] == ' ' || list[bytes] == '\0'))
            format = formats[i].name;
    }
    return format != NULL ? format : "plain";
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
