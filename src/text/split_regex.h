/* split_regex.h - the regular expressions of published tokenizers, run by PCRE2.
 *
 * Each library that tokenizers were made with has its own dialect and its own idea of Unicode. A pattern is therefore
 * first rewritten (regex_translate) into one that means the same to PCRE2; what differs:
 *
 *   \s        White_Space as Unicode defines it; PCRE2 with UCP counts U+180E too, which stopped being a space in 2014.
 *   \w, \b    letters, marks, numbers, connectors; PCRE2 leaves out marks.
 *   \h        a hexadecimal digit in Oniguruma, a horizontal space in PCRE2.
 *   \p{Han}   the script; PCRE2 means script extensions unless one writes sc:Han. Long names (\p{Letter}) are accepted.
 *   [a&&[^b]] intersections and classes in classes, which PCRE2 lacks.
 *   x{1,3}+   one or more times x{1,3} in Oniguruma, possessive everywhere else.
 *   ^ $       ends of lines in Oniguruma, ends of the text in Rust's regex.
 *
 * A compiled pattern is constant and may be shared by threads; what a search needs besides is in a RegexScratch. */
#ifndef HOULE_TEXT_SPLIT_REGEX_H
#define HOULE_TEXT_SPLIT_REGEX_H

#include "base/text.h"

typedef enum RegexDialect {
    REGEX_ONIGURUMA, /* tokenizer.json: the `tokenizers` library */
    REGEX_RUST,      /* tiktoken, tekken: Rust's regex and fancy-regex */
} RegexDialect;

typedef struct SplitRegex SplitRegex;

Status regex_compile(const char *pattern, size_t count, RegexDialect dialect, SplitRegex **regex, Error *err);
void regex_free(SplitRegex *regex);

/* What the searches of one thread use; zeroed to begin with. Grows to what the patterns need. */
typedef struct RegexScratch {
    void *match_data; /* pcre2_match_data of `pairs` pairs */
    void *context;    /* pcre2_match_context */
    void *stack;      /* pcre2_jit_stack, NULL until a pattern needs more than the thread's own */
    size_t stack_bytes;
    size_t pairs;
} RegexScratch;
void regex_scratch_free(RegexScratch *scratch);

/* Goes through the matches in `text` (valid UTF-8) in the way of both libraries: a match may be empty, but not directly
 * behind the match before. Zeroed except for regex, scratch, text and count to begin with. */
typedef struct RegexWalk {
    const SplitRegex *regex;
    RegexScratch *scratch;
    const char *text;
    size_t count;
    size_t at, last_end;
    bool matched;
    size_t run_end, run_digits; /* of the number that is being cut in threes */
} RegexWalk;
/* *found = false at the end. ERR_LIMIT when the pattern needs too many steps or too much memory for this text. */
Status regex_next(RegexWalk *walk, bool *found, size_t *start, size_t *end, Error *err);

/* The rewritten pattern; for tests. */
Status regex_translate(const char *pattern, size_t count, RegexDialect dialect, Text *translated, Error *err);

#endif
