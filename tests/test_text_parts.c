/* test_text_parts.c - what tokenizers are made of: tries, vocabularies, normal forms, regular expressions in other
 * dialects, normalising and cutting. */
#include "text/byte_level.h"
#include "text/normal_form.h"
#include "text/normalizer.h"
#include "text/pretokenizer.h"
#include "text/split_regex.h"
#include "text/split_table.h"
#include "text/trie.h"
#include "text/unicode_class.h"
#include "text/unicode_news.h"
#include "text/vocab.h"

#include "base/clock.h"

#include <stdio.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

/* Each byte has one character and comes back; characters outside the alphabet are told. */
static void test_byte_level(void **state) {
    (void)state;
    for (int byte = 0; byte < 256; byte++) {
        const uint32_t c = byte_level_char((uint8_t)byte);
        assert_int_equal(byte_level_byte(c), byte);
        assert_true(c >= 0x21 && c != 0x7F && c != 0xA0 && c != 0xAD);
    }
    char bytes[8];
    size_t count;
    assert_true(byte_level_decode("\xC4\xA0the", 5, bytes, &count)); /* Ġthe */
    assert_int_equal(count, 4);
    assert_memory_equal(bytes, " the", 4);
    assert_false(byte_level_decode("a b", 3, bytes, &count));
    assert_false(byte_level_decode("\xE4\xB8\xAD", 3, bytes, &count));
}

/* A trie finds what a list would find, also among many keys with long common beginnings. */
static void test_trie(void **state) {
    (void)state;
    enum { KEYS = 2000 };
    static char texts[KEYS][12];
    static TrieKey keys[KEYS];
    unsigned seed = 7;
    for (int i = 0; i < KEYS; i++) {
        const int length = 1 + (int)((seed = seed * 1664525u + 1013904223u) >> 29) % 8;
        for (int k = 0; k < length; k++)
            texts[i][k] = (char)('a' + ((seed = seed * 1664525u + 1013904223u) >> 30));
        keys[i] = (TrieKey){.bytes = texts[i], .count = (uint32_t)length, .value = i};
    }
    Trie trie;
    assert_int_equal(trie_build(&trie, keys, KEYS, NULL), OK);
    for (int i = 0; i < KEYS; i++) {
        const size_t count = strlen(texts[i]);
        int32_t want = -1;
        size_t want_length = 0;
        for (int k = 0; k < KEYS; k++) { /* of equal keys the last */
            const size_t length = strlen(texts[k]);
            if (length <= count && length >= want_length && memcmp(texts[k], texts[i], length) == 0) {
                want = k;
                want_length = length;
            }
        }
        size_t length;
        assert_int_equal(trie_longest(&trie, texts[i], count, &length), want);
        assert_int_equal(length, want_length);
    }
    size_t length;
    assert_int_equal(trie_longest(&trie, "zzz", 3, &length), -1);
    trie_free(&trie);
    assert_int_equal(trie_build(&trie, NULL, 0, NULL), OK);
    assert_int_equal(trie_longest(&trie, "a", 1, &length), -1);
}

static void test_vocab(void **state) {
    (void)state;
    Vocab vocab = {0};
    char text[24];
    for (int i = 0; i < 3000; i++) {
        const int count = snprintf(text, sizeof text, "%.*sp%d", i % 17, "abcdefghijklmnopq", i);
        assert_int_equal(vocab_set(&vocab, i * 2, text, (size_t)count, i % 10 == 0 ? PIECE_HIDDEN : 0, "test", NULL),
                         OK);
    }
    assert_int_equal(vocab_build_index(&vocab, "test", NULL), OK);
    for (int i = 0; i < 3000; i++) {
        const int count = snprintf(text, sizeof text, "%.*sp%d", i % 17, "abcdefghijklmnopq", i);
        assert_int_equal(vocab_find(&vocab, text, (size_t)count), i % 10 == 0 ? -1 : i * 2);
        assert_true(vocab_has(&vocab, i * 2) && !vocab_has(&vocab, i * 2 + 1));
    }
    assert_int_equal(vocab_find(&vocab, "nothing", 7), -1);
    assert_int_equal(vocab_find(&vocab, "", 0), -1);
    Error err = {0};
    assert_int_equal(vocab_set(&vocab, VOCAB_MAX_IDS, "x", 1, 0, "test", &err), ERR_FORMAT);
    assert_int_equal(vocab_set(&vocab, -1, "x", 1, 0, "test", NULL), ERR_FORMAT);
    vocab_free(&vocab);
}

static void check_form(const char *text, NormalForm form, const char *want) {
    int32_t *points = NULL;
    size_t capacity = 0;
    Text out = {0};
    assert_int_equal(normal_form(text, strlen(text), form, &points, &capacity, &out, NULL), OK);
    assert_string_equal(out.bytes, want);
    text_free(&out);
    mem_free(points);
}

/* Composition, order of marks, Hangul, compatibility; and a text of marks only, which must not take quadratic time. */
static void test_normal_forms(void **state) {
    (void)state;
    check_form("e\xCC\x81", FORM_NFC, "\xC3\xA9");
    check_form("x\xC3\xA9y", FORM_NFD, "xe\xCC\x81y");
    check_form("a\xCC\x81\xCC\xA3", FORM_NFD, "a\xCC\xA3\xCC\x81"); /* the mark below goes first */
    check_form("a\xCC\x81\xCC\xA3", FORM_NFC, "\xE1\xBA\xA1\xCC\x81");
    check_form("\xE1\x84\x80\xE1\x85\xA1\xE1\x86\xA8", FORM_NFC, "\xEA\xB0\x81");
    check_form("\xE2\x84\xA6", FORM_NFC, "\xCE\xA9"); /* ohm sign */
    check_form("\xEF\xAC\x81", FORM_NFC, "\xEF\xAC\x81");
    check_form("\xEF\xAC\x81", FORM_NFKC, "fi");
    check_form("\xEF\xBC\xA1", FORM_NFKD, "A");
    check_form("", FORM_NFC, "");
    Text marks = {0}, out = {0};
    for (int i = 0; i < 200000; i++)
        text_append_str(&marks, i % 2 == 0 ? "\xCC\x81" : "\xCC\xA3");
    int32_t *points = NULL;
    size_t capacity = 0;
    const uint64_t began = clock_us();
    assert_int_equal(normal_form(marks.bytes, marks.count, FORM_NFC, &points, &capacity, &out, NULL), OK);
    assert_true(clock_us() - began < 3000000);
    assert_int_equal(out.count, marks.count);
    assert_memory_equal(out.bytes, "\xCC\xA3\xCC\xA3", 4);
    assert_memory_equal(out.bytes + out.count - 4, "\xCC\x81\xCC\x81", 4);
    mem_free(points);
    text_free(&marks);
    text_free(&out);
}

/* ---- regular expressions ---------------------------------------------------------------------------------------- */

/* The matches in the text, each followed by '|'. */
static void check_matches(const char *pattern, RegexDialect dialect, const char *text, const char *want) {
    SplitRegex *regex;
    Error err = {0};
    if (regex_compile(pattern, strlen(pattern), dialect, &regex, &err) != OK)
        fail_msg("%s: %s", pattern, err.text);
    RegexScratch scratch = {0};
    RegexWalk walk = {.regex = regex, .scratch = &scratch, .text = text, .count = strlen(text)};
    Text got = {0};
    text_append_str(&got, "");
    bool found = true;
    size_t start, end;
    while (regex_next(&walk, &found, &start, &end, &err) == OK && found) {
        text_append(&got, text + start, end - start);
        text_append_char(&got, '|');
    }
    assert_int_equal(err.status, OK);
    if (strcmp(got.bytes, want) != 0)
        fail_msg("%s in \"%s\": \"%s\" is not \"%s\"", pattern, text, got.bytes, want);
    text_free(&got);
    regex_scratch_free(&scratch);
    regex_free(regex);
}

/* Where the dialects mean different things, with what the libraries themselves gave. */
static void test_regex_dialects(void **state) {
    (void)state;
    check_matches("\\p{N}{1,3}+", REGEX_ONIGURUMA, "1234567 8", "1234567|8|");
    check_matches("\\p{N}{1,3}+", REGEX_RUST, "1234567 8", "123|456|7|8|");
    check_matches("[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+", REGEX_RUST, "..ab cd", ".ab| cd|");
    check_matches("a{,2}", REGEX_ONIGURUMA, "aaaa", "aa|aa|");
    check_matches("\\h+", REGEX_ONIGURUMA, "xyzabc12", "abc12|");
    check_matches("\\v", REGEX_ONIGURUMA, "a\vb\nc", "\v|");
    check_matches("\\s+$", REGEX_ONIGURUMA, "a  \nb  ", "  |  |");
    check_matches("\\s+$", REGEX_RUST, "a  \nb  ", "  |");
    check_matches("\\s", REGEX_RUST, "\xE1\xA0\x8E \xC2\x85\xE2\x80\x8B\xE3\x80\x80", " |\xC2\x85|\xE3\x80\x80|");
    check_matches("\\S+", REGEX_RUST, "\xE1\xA0\x8E\xC2\x85x", "\xE1\xA0\x8E|x|");
    check_matches("[^\\S\\n]+", REGEX_RUST, "a \t\nb", " \t|");
    check_matches("\\w+", REGEX_ONIGURUMA, "a_b-\xC2\xB2 \xE2\x91\xA0", "a_b|\xC2\xB2|");
    check_matches("\\bfoo\\b", REGEX_RUST, "foo foo_ .foo", "foo|foo|");
    check_matches("(?i:'s)", REGEX_ONIGURUMA,
                  "a'\xC5\xBF"
                  "b'S",
                  "'\xC5\xBF|'S|");
    check_matches("\\p{Letter}+|\\p{Han}", REGEX_ONIGURUMA, "ab\xE4\xB8\xAD", "ab\xE4\xB8\xAD|");
    check_matches("\\p{^L}", REGEX_ONIGURUMA, "a1b", "1|");
    check_matches("\\p{Han}", REGEX_RUST, "\xE3\x80\x85\xE3\x83\xBC", "\xE3\x80\x85|"); /* script, not extensions */
    check_matches("[[:punct:]]+", REGEX_ONIGURUMA, "a+$.,b", "+$.,|");
    check_matches("[[a-c]x[^\\W\\d]&&[^b]]+", REGEX_ONIGURUMA, "abcx9y b", "a|cx|y|");
    check_matches("[\\p{Lu}\\p{Lo}&&[^\\p{Han}]]+", REGEX_RUST,
                  "AB\xE4\xB8\xAD\xD7\x90"
                  "a",
                  "AB|\xD7\x90|");
    check_matches("[\\p{L}&&[a-z]]+", REGEX_RUST, "Ab1cD", "b|c|");
    check_matches("[^\\d&&[1-3]]", REGEX_RUST, "1a4", "a|4|");
    check_matches("\\u0041|\\x42|\\x{1F600}", REGEX_ONIGURUMA, "AB\xF0\x9F\x98\x80", "A|B|\xF0\x9F\x98\x80|");
    check_matches("{|a{|}", REGEX_RUST, "{a{}", "{|a{|}|");
    check_matches("[]a]+", REGEX_ONIGURUMA, "]a", "]a|");
    check_matches("x*", REGEX_ONIGURUMA, "axb", "|x||");
    check_matches("(?=(\\d{3})+(?!\\d))", REGEX_ONIGURUMA, "1234567", "||");
}

static void check_bad(const char *pattern) {
    SplitRegex *regex;
    Error err = {0};
    if (regex_compile(pattern, strlen(pattern), REGEX_ONIGURUMA, &regex, &err) != ERR_FORMAT)
        fail_msg("%s: taken, or refused as \"%s\"", pattern, err.text);
    assert_null(regex);
    assert_true(strlen(err.text) > 10);
}

static void test_regex_refuses(void **state) {
    (void)state;
    static const char *const patterns[] = {
        "(",     ")",         "[",           "[a",      "*",      "a|*",      "\\",       "[\\", "\\p{L",
        "\\p",   "\\x{}",     "\\x{110000}", "\\uD800", "\\u12",  "[[:alpha", "(?#",      "(?",  "(?q:a)",
        "[z-a]", "\\p{Nope}", "a{2,1}",      "\xFF",    "[^a&&[", "(?<n>",    "\\p{Lu=x}"};
    for (size_t i = 0; i < COUNT(patterns); i++)
        check_bad(patterns[i]);
    Text deep = {0};
    for (int i = 0; i < 100; i++)
        text_append_char(&deep, '(');
    check_bad(deep.bytes);
    text_clear(&deep);
    for (int i = 0; i < 100; i++)
        text_append_char(&deep, '[');
    check_bad(deep.bytes);
    text_free(&deep);
}

/* The search of a hostile pattern ends with an error; a million digits are cut in threes at once. */
static void test_regex_limits(void **state) {
    (void)state;
    Text digits = {0};
    for (int i = 0; i < 1000000; i++)
        text_append_char(&digits, '7');
    static const char *const patterns[] = {"(?=(\\d{3})+(?!\\d))", "\\d{1,3}(?=(?:\\d{3})*\\b)",
                                           "\\p{N}{1,3}(?=(?:\\p{N}{3})*(?!\\p{N}))"};
    for (size_t i = 0; i < COUNT(patterns); i++) {
        SplitRegex *regex;
        assert_int_equal(regex_compile(patterns[i], strlen(patterns[i]), REGEX_RUST, &regex, NULL), OK);
        RegexWalk walk = {.regex = regex, .text = digits.bytes, .count = digits.count};
        RegexScratch scratch = {0};
        walk.scratch = &scratch;
        const uint64_t began = clock_us();
        size_t matches = 0, start, end;
        for (bool found = true; regex_next(&walk, &found, &start, &end, NULL) == OK && found; matches++)
            assert_int_equal((digits.count - start) % 3, i > 0 && matches == 0 ? 1 : 0);
        assert_int_equal(matches, i == 0 ? 333333 : 333334);
        assert_true(clock_us() - began < 5000000);
        regex_scratch_free(&scratch);
        regex_free(regex);
    }
    SplitRegex *regex;
    static const char hostile[] = "(7+)+x";
    assert_int_equal(regex_compile(hostile, sizeof hostile - 1, REGEX_RUST, &regex, NULL), OK);
    RegexScratch scratch = {0};
    digits.bytes[2000] = '8'; /* not the letter that a quick check could miss */
    RegexWalk walk = {.regex = regex, .scratch = &scratch, .text = digits.bytes, .count = 2001};
    bool found;
    size_t start, end;
    Error err = {0};
    const Status status = regex_next(&walk, &found, &start, &end, &err);
    assert_true(status == ERR_LIMIT || (status == OK && !found));
    regex_scratch_free(&scratch);
    regex_free(regex);
    text_free(&digits);
}

/* Every pattern of the table compiles and covers ordinary text without losing a byte. */
static void test_split_table(void **state) {
    (void)state;
    static const char *const names[] = {
        "default",       "llama-bpe", "qwen2",       "qwen35",       "gpt-2",          "smollm",     "gpt-4o",
        "tekken",        "kimi-k2",   "deepseek-v3", "deepseek-llm", "deepseek-coder", "falcon",     "bloom",
        "viking",        "chameleon", "tiny_aya",    "superbpe",     "bailingmoe",     "seed-coder", "youtu",
        "afmoe",         "laguna",    "exaone-moe",  "gemma4",       "minicpm5",       "jais-2",     "spark2_5",
        "hunyuan-dense", "glm4",      "minimax-m2",  "ufakzeka",     "cl100k"};
    static const char text[] = "Hello, world's 12345 \xE4\xB8\xAD\xE6\x96\x87 caf\xC3\xA9\n\n  x=1;\t\xF0\x9F\xA9\xB7";
    for (size_t i = 0; i < COUNT(names); i++) {
        const SplitRule *rule = split_rule(names[i], strlen(names[i]));
        assert_non_null(rule);
        PreTokenizer pre = {0};
        RegexScratch regex = {0};
        PreScratch scratch = {.regex = &regex};
        for (size_t k = 0; k < SPLIT_MAX_PATTERNS && rule->patterns[k] != NULL; k++) {
            PreStep *step = pretokenizer_add(&pre, PRE_REGEX);
            Error err = {0};
            if (regex_compile(rule->patterns[k], strlen(rule->patterns[k]), REGEX_RUST, &step->regex, &err) != OK)
                fail_msg("%s: %s", names[i], err.text);
        }
        const char *base;
        assert_int_equal(pretokenizer_apply(&pre, &scratch, text, sizeof text - 1, true, &base, NULL), OK);
        size_t at = 0;
        for (size_t k = 0; k < scratch.spans.count; k++) {
            assert_int_equal(scratch.spans.items[k].start, at);
            at += scratch.spans.items[k].count;
        }
        assert_int_equal(at, sizeof text - 1);
        assert_true(scratch.spans.count > 1);
        pretokenizer_scratch_free(&scratch);
        pretokenizer_free(&pre);
        regex_scratch_free(&regex);
    }
    assert_null(split_rule("no such name", 12));
    assert_string_equal(split_name_of_tiktoken("TikTokenTokenizer", "x"), "kimi-k2");
    assert_string_equal(split_name_of_tiktoken(NULL, "cl100k_base.tiktoken"), "cl100k");
    assert_null(split_name_of_tiktoken("Unheard", "of"));
}

/* A character that is younger than PCRE2's tables counts as what it is. */
static void test_young_characters(void **state) {
    (void)state;
    Text older = {0};
    assert_false(unicode_without_news("caf\xC3\xA9 \xE4\xB8\xAD\xF0\x9F\x98\x80", 14, &older));
    assert_true(unicode_without_news("a \xF0\x9F\xA9\xB7 b", 8, &older)); /* U+1FA77, Unicode 15 */
    assert_int_equal(older.count, 8);
    assert_true(utf8_valid(older.bytes, older.count));
    assert_memory_equal(older.bytes, "a ", 2);
    assert_memory_equal(older.bytes + 6, " b", 2);
    text_free(&older);
    for (uint32_t c = 0; c <= 0x10FFFF; c++) {
        const uint32_t other = unicode_stand_in(c);
        char a[4], b[4];
        if (other != 0) /* offsets must not move */
            assert_int_equal(utf8_encode(c, a), utf8_encode(other, b));
    }
    assert_true(unicode_is_number(0x1D2C0) && unicode_is_number(0xBD) && !unicode_is_digit(0xBD));
}

/* ---- cutting ---------------------------------------------------------------------------------------------------- */

static void check_cut(const PreStep *like, const char *text, const char *want) {
    PreTokenizer pre = {0};
    RegexScratch regex = {0};
    PreScratch scratch = {.regex = &regex};
    *pretokenizer_add(&pre, like->kind) = *like;
    const char *base;
    assert_int_equal(pretokenizer_apply(&pre, &scratch, text, strlen(text), true, &base, NULL), OK);
    Text got = {0};
    for (size_t i = 0; i < scratch.spans.count; i++) {
        text_append(&got, base + scratch.spans.items[i].start, scratch.spans.items[i].count);
        text_append_char(&got, '|');
    }
    assert_string_equal(got.bytes != NULL ? got.bytes : "", want);
    text_free(&got);
    pre.steps[0].what = NULL; /* the caller's */
    pretokenizer_free(&pre);
    pretokenizer_scratch_free(&scratch);
}

static void test_cutting(void **state) {
    (void)state;
    char dash[] = "-", low[] = "\xE2\x96\x81";
    PreStep step = {.kind = PRE_STRING, .what = dash, .what_bytes = 1};
    static const char *const wants[] = {"the|-|final|-|-|word|-|", "the|final|word|", "the|-|final|--|word|-|",
                                        "the-|final-|-|word-|", "the|-final|-|-word|-|"};
    for (int behavior = SPLIT_ISOLATED; behavior <= SPLIT_MERGED_WITH_NEXT; behavior++) {
        step.behavior = (SplitBehavior)behavior;
        check_cut(&step, "the-final--word-", wants[behavior]);
    }
    step.invert = true;
    step.behavior = SPLIT_REMOVED;
    check_cut(&step, "a-b--c", "-|-|-|");
    step = (PreStep){.kind = PRE_NUMBER, .behavior = SPLIT_CONTIGUOUS};
    check_cut(&step,
              "a12\xC2\xBD"
              "b",
              "a|12\xC2\xBD|b|");
    step = (PreStep){.kind = PRE_METASPACE,
                     .what = low,
                     .what_bytes = 3,
                     .prepend = PREPEND_ALWAYS,
                     .split = true,
                     .behavior = SPLIT_MERGED_WITH_NEXT};
    check_cut(&step, "a b  c",
              "\xE2\x96\x81"
              "a|\xE2\x96\x81"
              "b|\xE2\x96\x81|\xE2\x96\x81"
              "c|");
    check_cut(&step, " a",
              "\xE2\x96\x81"
              "a|");
    step = (PreStep){.kind = PRE_LENGTH, .length = 2};
    check_cut(&step, "a\xC3\xA9zx\xE4\xB8\xAD", "a\xC3\xA9|zx|\xE4\xB8\xAD|");
    step = (PreStep){.kind = PRE_PREFIX};
    check_cut(&step, "a b", " a b|");
    check_cut(&step, " b", " b|");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_byte_level),
        cmocka_unit_test(test_trie),
        cmocka_unit_test(test_vocab),
        cmocka_unit_test(test_normal_forms),
        cmocka_unit_test(test_regex_dialects),
        cmocka_unit_test(test_regex_refuses),
        cmocka_unit_test(test_regex_limits),
        cmocka_unit_test(test_split_table),
        cmocka_unit_test(test_young_characters),
        cmocka_unit_test(test_cutting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
