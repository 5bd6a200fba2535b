/* published.c - see published.h. */
#include "text/published.h"

#include <string.h>

const char *const published_files[] = {"tokenizer.json", "tekken.json",     "tiktoken.model", "qwen.tiktoken",
                                       "hy.tiktoken",    "tokenizer.model", "spiece.model",   "vocab.json",
                                       "vocab.txt",      NULL};

/* ---- GGUF ------------------------------------------------------------------------------------------------------- */

static const GgufKind kinds[] = {
    {"gpt2", GGUF_MERGES, NULL, 11, 11, -1, -1, -1, -1, false, false, false, false},
    {"gemma4", GGUF_MERGES, "gemma4", -1, -1, -1, -1, -1, -1, true, false, false, false},
    {"whitespace", GGUF_MERGES, "whitespace", 11, 11, -1, -1, -1, -1, false, false, false, false},
    {"llama", GGUF_SENTENCEPIECE, NULL, 1, 2, 0, -1, -1, -1, true, false, true, false},
    {"t5", GGUF_UNIGRAM, NULL, -1, 1, 2, -1, 0, -1, false, true, false, false},
    {"bert", GGUF_WORDPIECE, NULL, 101, -1, 100, 102, 0, 103, true, false, false, true},
    {"rwkv", GGUF_GREEDY, NULL, -1, -1, -1, -1, -1, -1, false, false, false, false},
};

const GgufKind *gguf_kind(const char *name, size_t count) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strlen(kinds[i].name) == count && memcmp(kinds[i].name, name, count) == 0)
            return &kinds[i];
    return NULL;
}

#define LINE "\xEF\xBD\x9C"  /* U+FF5C */
#define BLANK "\xE2\x96\x81" /* U+2581 */

const char *const published_ends[] = {
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "<end_of_turn>",
    "<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<|end_of_text|>", "<end_of_utterance>",
    "<eos>", "<turn|>", "<|tool_response>", "<" LINE "end" BLANK "of" BLANK "sentence" LINE ">", "[e~[", "<|fim_pad|>",
    "<|repo_name|>", "<|file_sep|>", NULL,
};

const FalseEnd published_false_ends[] = {
    {"<|end|>", {"<|return|>", "<|call|>"}}, /* ends a message, not the turn */
    {"<|end|>", {"<|calls|>", "<|flush|>"}},
    {"</s>", {"<|tool_response>", NULL}}, /* HTML */
    {"</s>", {"<|plamo:eos|>", NULL}},
    {NULL, {NULL, NULL}},
};

const StripRule published_strips[] = {
    {"general.name", "phi-3", NULL, {"<unk>", "<s>", "<|endoftext|>"}, false},
    {"general.name", "phi3", NULL, {"<unk>", "<s>", "<|endoftext|>"}, false},
    {"general.name", "modern-bert", "[MASK]", {NULL}, true},
    {"tokenizer.ggml.pre", "jina-v2-", "<mask>", {NULL}, true},
    {NULL, NULL, NULL, {NULL}, false},
};

/* ---- vocab.json with merges.txt --------------------------------------------------------------------------------- */

#define BYTE_LEVEL(regex) "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":" regex "}"
#define SEQUENCE(list) "{\"type\":\"Sequence\",\"pretokenizers\":[" list "]}"
#define REGEX_SPLIT(pattern, behavior, invert)                                                                         \
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" pattern "\"},\"behavior\":\"" behavior "\",\"invert\":" invert "}"
#define QWEN2_PATTERN                                                                                                  \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}| ?[^\\\\s\\\\p{L}\\\\p{N}]+"        \
    "[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
#define CLIP_PATTERN                                                                                                   \
    "<\\\\|startoftext\\\\|>|<\\\\|endoftext\\\\|>|'s|'t|'re|'ve|'m|'ll|'d|[\\\\p{L}]+|[\\\\p{N}]|[^\\\\s\\\\p{L}\\\\p{N}]+"
#define CLIP_NORMALIZER                                                                                                \
    "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":\"Replace\",\"pattern\":{\"Regex\":"         \
    "\"\\\\s+\"},\"content\":\" \"},{\"type\":\"Lowercase\"}]}"

static const ClassRule rules[] = {
    {"GPT2", "null", BYTE_LEVEL("true"), NULL, {NULL, NULL}}, /* also for classes that are not listed */
    {"Qwen2", "{\"type\":\"NFC\"}", SEQUENCE(REGEX_SPLIT(QWEN2_PATTERN, "Isolated", "false") "," BYTE_LEVEL("false")),
     NULL, {NULL, NULL}},
    {"CLIP", CLIP_NORMALIZER, SEQUENCE(REGEX_SPLIT(CLIP_PATTERN, "Removed", "true") "," BYTE_LEVEL("true")), "</w>",
     {"<|startoftext|>", "<|endoftext|>"}},
    {"Roberta", "null", BYTE_LEVEL("true"), NULL, {"<s>", "</s>"}},
};

const ClassRule *class_rule(const char *class) {
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (strncmp(class, rules[i].class, strlen(rules[i].class)) == 0)
            return &rules[i];
    return &rules[0];
}

/* ---- yes or no --------------------------------------------------------------------------------------------------- */

static const RerankPrompt rerank_prompts[] = {
    {"qwen3-reranker",
     "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct provided. "
     "Note that the answer can only be \"yes\" or \"no\".<|im_end|>\n<|im_start|>user\n",
     "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n", "<Instruct>: ", "\n<Query>: ", "\n<Document>: ",
     "Given a web search query, retrieve relevant passages that answer the query", "yes", "no"},
};

const RerankPrompt *rerank_prompt(const char *text, size_t bytes) {
    for (size_t i = 0; i < sizeof rerank_prompts / sizeof *rerank_prompts; i++) {
        const char *name = rerank_prompts[i].name;
        const size_t length = strlen(name);
        for (size_t at = 0; at + length <= bytes; at++) /* blanks stand for hyphens in titles */
            for (size_t j = 0;; j++) {
                const char c = text[at + j] == ' ' ? '-' : text[at + j];
                if ((c >= 'A' && c <= 'Z' ? c + 32 : c) != name[j])
                    break;
                if (j + 1 == length)
                    return &rerank_prompts[i];
            }
    }
    return NULL;
}

/* ---- tekken ----------------------------------------------------------------------------------------------------- */

const char *const tekken_specials[] = {
    "<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]", "[SUFFIX]",
    "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]", NULL,
};
