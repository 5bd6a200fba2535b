/* split_table.c - see split_table.h.
 *
 * The patterns are written as their authors published them (in tokenizer.json, or in the Python file beside a tiktoken
 * table) in the syntax of Rust's regex; split_regex.c makes PCRE2 patterns of them. */
#include "text/split_table.h"

#include <string.h>

/* Parts that several patterns have in common. */
#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define SPACES_AT_END "\\s+(?!\\S)|\\s+"
#define NEWLINES_AND_SPACES "\\s*[\\r\\n]+|" SPACES_AT_END
#define SYMBOLS " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
#define WORDS "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define LEAD "[^\\r\\n\\p{L}\\p{N}]?"
#define ASCII_PUNCTUATION "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~]"

#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|" SPACES_AT_END
#define LLAMA3 CONTRACTIONS "|" WORDS "|\\p{N}{1,3}|" SYMBOLS "|" NEWLINES_AND_SPACES
#define QWEN2 CONTRACTIONS "|" WORDS "|\\p{N}|" SYMBOLS "|" NEWLINES_AND_SPACES
#define QWEN35                                                                                                         \
    CONTRACTIONS "|" LEAD "[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" NEWLINES_AND_SPACES
#define O200K                                                                                                          \
    LEAD UPPER "*" LOWER "+" CONTRACTIONS "?|" LEAD UPPER "+" LOWER "*" CONTRACTIONS "?|\\p{N}{1,3}|"                  \
               " ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" NEWLINES_AND_SPACES
#define TEKKEN                                                                                                         \
    LEAD UPPER "*" LOWER "+|" LEAD UPPER "+" LOWER "*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" NEWLINES_AND_SPACES
#define KIMI_UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]"
#define KIMI_LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}&&[^\\p{Han}]]"
#define KIMI                                                                                                           \
    "[\\p{Han}]+|" LEAD KIMI_UPPER "*" KIMI_LOWER "+" CONTRACTIONS "?|" LEAD KIMI_UPPER "+" KIMI_LOWER                 \
    "*" CONTRACTIONS "?|\\p{N}{1,3}|" SYMBOLS "|" NEWLINES_AND_SPACES
#define CJK "[\xE4\xB8\x80-\xE9\xBE\xA5\xE3\x81\x80-\xE3\x82\x9F\xE3\x82\xA0-\xE3\x83\xBF]+" /* U+4E00-9FA5, kana */
#define DEEPSEEK3_WORDS                                                                                                \
    ASCII_PUNCTUATION "[A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|"             \
                      NEWLINES_AND_SPACES
#define OLD_CJK "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+"
#define LINES "[^\\n]+|[\\n]+"
#define BLOOM " ?[^(\\s|.,!?\\x{2026}\\x{3002}\\x{ff0c}\\x{3001}\\x{964}\\x{6d4}\\x{60c})]+"

/* Letters as DeepSeek LLM lists them: the cased scripts without \p{...}. */
#define DEEPSEEK_LETTERS                                                                                               \
    "[A-Za-z\\x{b5}\\x{c0}-\\x{d6}\\x{d8}-\\x{f6}\\x{f8}-\\x{1ba}\\x{1bc}-\\x{1bf}\\x{1c4}-\\x{293}\\x{295}-\\x{2af}"  \
    "\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37b}-\\x{37d}\\x{37f}\\x{386}\\x{388}-\\x{38a}\\x{38c}\\x{38e}-\\x{3a1}"    \
    "\\x{3a3}-\\x{3f5}\\x{3f7}-\\x{481}\\x{48a}-\\x{52f}\\x{531}-\\x{556}\\x{10a0}-\\x{10c5}\\x{13a0}-\\x{13f5}"       \
    "\\x{13f8}-\\x{13fd}\\x{1c90}-\\x{1cba}\\x{1cbd}-\\x{1cbf}\\x{1d00}-\\x{1d2b}\\x{1d6b}-\\x{1d77}\\x{1d79}-"        \
    "\\x{1d9a}\\x{1e00}-\\x{1f15}\\x{1f18}-\\x{1f1d}\\x{1f20}-\\x{1f45}\\x{1f48}-\\x{1f4d}\\x{1f50}-\\x{1f57}"         \
    "\\x{1f59}\\x{1f5b}\\x{1f5d}\\x{1f5f}-\\x{1f7d}\\x{1f80}-\\x{1fb4}\\x{1fb6}-\\x{1fbc}\\x{1fbe}\\x{1fc2}-\\x{1fc4}" \
    "\\x{1fc6}-\\x{1fcc}\\x{1fd0}-\\x{1fd3}\\x{1fd6}-\\x{1fdb}\\x{1fe0}-\\x{1fec}\\x{1ff2}-\\x{1ff4}\\x{1ff6}-"        \
    "\\x{1ffc}\\x{2102}\\x{2107}\\x{210a}-\\x{2113}\\x{2115}\\x{2119}-\\x{211d}\\x{2124}\\x{2126}\\x{2128}\\x{212a}-"  \
    "\\x{212d}\\x{212f}-\\x{2134}\\x{2139}\\x{213c}-\\x{213f}\\x{2145}-\\x{2149}\\x{214e}\\x{2183}\\x{2184}\\x{2c00}-" \
    "\\x{2c7b}\\x{2c7e}-\\x{2ce4}\\x{2ceb}-\\x{2cee}\\x{2cf2}\\x{2cf3}\\x{a640}-\\x{a66d}\\x{a680}-\\x{a69b}\\x{a722}-" \
    "\\x{a76f}\\x{a771}-\\x{a787}\\x{a78b}-\\x{a78e}\\x{ab70}-\\x{abbf}\\x{fb00}-\\x{fb06}\\x{fb13}-\\x{fb17}"         \
    "\\x{ff21}-\\x{ff3a}\\x{ff41}-\\x{ff5a}\\x{10400}-\\x{1044f}\\x{104b0}-\\x{104d3}\\x{104d8}-\\x{104fb}\\x{10c80}-" \
    "\\x{10cb2}\\x{10cc0}-\\x{10cf2}\\x{118a0}-\\x{118df}\\x{1e900}-\\x{1e943}]+"

enum { TIDY = SPLIT_TIDY, WHOLE = SPLIT_WHOLE_FIRST, BOS = SPLIT_ADD_BOS };

static const SplitRule rules[] = {
    {"default", {"[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}, TIDY},
    {"llama3", {LLAMA3}, TIDY | WHOLE | BOS},
    {"llama-v3", {LLAMA3}, TIDY | WHOLE | BOS},
    {"llama-bpe", {LLAMA3}, TIDY | WHOLE | BOS},
    {"falcon3", {LLAMA3}, TIDY | WHOLE | BOS},
    {"falcon-h1", {LLAMA3}, TIDY | WHOLE | BOS},
    {"pixtral", {LLAMA3}, TIDY | WHOLE | BOS},
    {"midm-2.0", {LLAMA3}, TIDY | WHOLE | BOS},
    {"lfm2", {LLAMA3}, TIDY | WHOLE | BOS},
    {"jina-v5-nano", {LLAMA3}, TIDY | WHOLE | BOS},
    {"dbrx", {LLAMA3}, TIDY},
    {"smaug-bpe", {LLAMA3}, TIDY},
    {"chatglm-bpe", {LLAMA3}, TIDY | SPLIT_NO_BOS},
    {"glm4", {LLAMA3}, TIDY | WHOLE | SPLIT_NO_BOS},
    {"glm5", {LLAMA3}, TIDY | WHOLE | SPLIT_NO_BOS},
    {"jais-2",
     {CONTRACTIONS "|" WORDS "|\\p{N}{1,3}|" SYMBOLS "|\\s*[\\r\\n]+|\\s{512}(?!\\S)|\\s{256}(?!\\S)|\\s{128}(?!\\S)|"
                   "\\s{64}(?!\\S)|\\s{32}(?!\\S)|\\s{16}(?!\\S)|\\s{8}(?!\\S)|\\s{4}(?!\\S)|\\s{1,2}(?!\\S)|\\s{1}"},
     TIDY},
    {"deepseek-llm",
     {"[\\r\\n]", "\\s?" DEEPSEEK_LETTERS,
      "\\s?[!-/:-~\\x{ff01}-\\x{ff0f}\\x{ff1a}-\\x{ff5e}\\x{2018}-\\x{201f}\\x{3000}-\\x{3002}]+", "\\s+$", OLD_CJK,
      "\\p{N}+"},
     0},
    {"deepseek-coder", {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", OLD_CJK, "\\p{N}"}, 0},
    {"deepseek-v3", {"\\p{N}{1,3}", CJK, DEEPSEEK3_WORDS}, 0},
    {"hunyuan-dense", {"\\p{N}{1,3}", CJK, DEEPSEEK3_WORDS}, 0},
    {"hy_v4", {"\\p{N}{1,3}", CJK, DEEPSEEK3_WORDS}, 0},
    {"joyai-llm", {"\\p{N}{1,3}", CJK, DEEPSEEK3_WORDS}, 0},
    {"spark2_5",
     {"\\p{N}{1,3}", CJK,
      ASCII_PUNCTUATION "[A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+|[\\r\\n]|" SPACES_AT_END,
      "\\p{N}"},
     0},
    {"youtu",
     {"[\\x{ac00}-\\x{d7a3}\\x{3131}-\\x{318e}]+|[\\x{ff01}\\x{2026}\\x{201c}\\x{201d}\\x{2018}\\x{2019}\\x{2014}"
      "\\x{ff1a}\\x{ff1b}\\x{ff0c}\\x{3001}-\\x{303f}\\x{fe30}-\\x{fe4f}]+|[\\x{3105}-\\x{312f}]+|" CJK,
      LEAD UPPER "*" LOWER "+" CONTRACTIONS "?|" LEAD UPPER "+" LOWER "*" CONTRACTIONS
                 "?|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" NEWLINES_AND_SPACES},
     WHOLE},
    {"falcon", {"[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2, "[0-9][0-9][0-9]"}, TIDY},
    {"starcoder", {"\\p{N}", GPT2}, TIDY},
    {"refact", {"\\p{N}", GPT2}, TIDY},
    {"command-r", {"\\p{N}", GPT2}, 0},
    {"smollm", {"\\p{N}", GPT2}, 0},
    {"codeshell", {"\\p{N}", GPT2}, TIDY},
    {"exaone", {"\\p{N}", GPT2}, TIDY},
    {"minerva-7b", {"\\p{N}", GPT2}, TIDY},
    {"mellum2", {"\\p{N}", GPT2}, TIDY},
    {"gpt-2", {GPT2}, TIDY},
    {"phi-2", {GPT2}, TIDY},
    {"jina-es", {GPT2}, TIDY},
    {"jina-de", {GPT2}, TIDY},
    {"gigachat", {GPT2}, TIDY},
    {"jina-v2-es", {GPT2}, TIDY},
    {"jina-v2-de", {GPT2}, TIDY},
    {"jina-v1-en", {GPT2}, TIDY},
    {"jina-v2-code", {GPT2}, TIDY},
    {"roberta-bpe", {GPT2}, TIDY},
    {"a.x-4.0", {GPT2}, TIDY},
    {"mellum", {GPT2}, TIDY},
    {"modern-bert", {GPT2}, TIDY},
    {"exaone4", {GPT2}, TIDY},
    {"mpt", {GPT2}, TIDY},
    {"olmo", {GPT2}, TIDY},
    {"jais", {GPT2}, TIDY},
    {"trillion", {GPT2}, 0},
    {"granite-docling", {GPT2}, 0},
    {"qwen2", {QWEN2}, 0},
    {"deepseek-r1-qwen", {QWEN2}, 0},
    {"kormo", {QWEN2}, 0},
    {"f2llmv2", {QWEN2}, 0},
    {"megrez", {QWEN2}, TIDY},
    {"stablelm2", {QWEN2}, TIDY},
    {"hunyuan", {QWEN2}, 0},
    {"solar-open", {QWEN2}, 0},
    {"grok-2", {QWEN2}, 0},
    {"qwen35", {QWEN35}, 0},
    {"laguna", {LINES, QWEN2}, 0},
    {"ufakzeka", {WORDS "|\\p{N}|" SYMBOLS "|" NEWLINES_AND_SPACES}, 0},
    {"minicpm5", {"\\p{N}{1,3}", CONTRACTIONS "|" WORDS "|\\p{N}+|" SYMBOLS "|" NEWLINES_AND_SPACES}, TIDY | WHOLE},
    {"seed-coder",
     {CONTRACTIONS "|" WORDS "|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|\\s*[\\r\\n]+|" SPACES_AT_END},
     0},
    {"bailingmoe",
     {"'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|"
      SPACES_AT_END},
     0},
    {"bailingmoe2",
     {"'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|"
      SPACES_AT_END},
     0},
    {"llada-moe",
     {"'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|"
      SPACES_AT_END},
     0},
    {"exaone-moe",
     {CONTRACTIONS "|" LEAD "(?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]?|\\s*[\\r\\n]|"
      SPACES_AT_END},
     TIDY},
    {"poro-chat", {BLOOM}, 0},
    {"bloom", {BLOOM}, TIDY},
    {"gpt3-finnish", {BLOOM}, TIDY},
    {"viking", {BLOOM, "\\p{N}"}, 0},
    {"chameleon",
     {"<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", "([\\t\\n]|    |  )", "\\p{N}",
      "[\\p{P}!-/:-@\\[-`{-~]", GPT2},
     BOS},
    {"gpt-4o", {O200K}, 0},
    {"llama4", {O200K}, 0},
    {"kanana2", {O200K}, 0},
    {"talkie", {O200K}, 0},
    {"minimax-m2", {O200K}, 0},
    {"granite-embed-multi-97m", {O200K}, WHOLE},
    {"tiny_aya", {"\\d{1,3}(?=(?:\\d{3})*\\b)", O200K}, 0},
    {"cohere2moe", {"\\d{1,3}(?=(?:\\d{3})*\\b)", O200K}, 0},
    {"tekken", {TEKKEN}, WHOLE | BOS},
    {"kimi-k2", {KIMI}, SPLIT_RESERVED},
    {"superbpe", {"\\p{N}+", "(?=(\\d{3})+(?!\\d))"}, 0},
    {"afmoe",
     {"\\p{N}{1,3}(?=(?:\\p{N}{3})*(?!\\p{N}))",
      "[\\x{4e00}-\\x{9fff}\\x{3400}-\\x{4dbf}\\x{f900}-\\x{faff}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}\\x{ff65}-"
      "\\x{ff9f}\\x{2f00}-\\x{2fdf}\\x{e40}-\\x{e7f}\\x{e80}-\\x{eff}\\x{1780}-\\x{17ff}\\x{1000}-\\x{109f}\\x{aa60}-"
      "\\x{aa7f}\\x{a9e0}-\\x{a9ff}\\x{ac00}-\\x{d7af}\\x{1100}-\\x{11ff}]+",
      DEEPSEEK3_WORDS},
     0},
    {"gemma4", {LINES}, TIDY | BOS | SPLIT_FORCE_BOS | SPLIT_BLANKS} /* the files say false and mean true */,
    {"granite-embed-multi-311m", {LINES}, TIDY | BOS | SPLIT_BLANKS},
    {"sarvam-moe", {LINES}, SPLIT_BLANKS},
    {"whitespace", {NULL}, TIDY | SPLIT_NO_SPACE},
    /* OpenAI's own tables, which no GGUF names. */
    {"cl100k",
     {"'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}++|\\p{N}{1,3}+| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*+|\\s++$|"
      "\\s*[\\r\\n]|\\s+(?!\\S)|\\s"},
     0},
};

const SplitRule *split_rule(const char *name, size_t count) {
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (strlen(rules[i].name) == count && memcmp(rules[i].name, name, count) == 0)
            return &rules[i];
    return NULL;
}

/* A name of a class, or the beginning of a file's name, and the rule. A file's name counts only where no class is given
 * if it says nothing about the model. */
static const struct {
    const char *name, *rule;
    bool vague;
} tiktoken_names[] = {
    {"TikTokenTokenizer", "kimi-k2", false}, {"ChatGLM4Tokenizer", "glm4", false}, {"ChatGLMTokenizer", "glm4", false},
    {"QWenTokenizer", "qwen2", false},       {"HYTokenizer", "hunyuan", false},    {"GPT2Tokenizer", "gpt-2", false},
    {"tiktoken.model", "kimi-k2", true},     {"qwen.tiktoken", "qwen2", false},    {"hy.tiktoken", "hunyuan", false},
    {"cl100k_base", "cl100k", false},        {"o200k", "gpt-4o", false},           {"p50k", "gpt-2", false},
    {"r50k_base", "gpt-2", false},           {"gpt2", "gpt-2", false},             {"tokenizer.model", "llama3", false},
};

const char *split_name_of_tiktoken(const char *tokenizer_class, const char *file_name) {
    for (size_t i = 0; tokenizer_class != NULL && i < sizeof tiktoken_names / sizeof *tiktoken_names; i++)
        if (strcmp(tiktoken_names[i].name, tokenizer_class) == 0)
            return tiktoken_names[i].rule;
    for (size_t i = 0; file_name != NULL && i < sizeof tiktoken_names / sizeof *tiktoken_names; i++)
        if (strncmp(file_name, tiktoken_names[i].name, strlen(tiktoken_names[i].name)) == 0 &&
            !(tiktoken_names[i].vague && tokenizer_class != NULL))
            return tiktoken_names[i].rule;
    return NULL;
}
