/* split_regex.c - compiling and searching; the rewriting of patterns is in regex_translate.c.
 *
 * Three published patterns cut digits in threes from the right by looking ahead to the end of the number, once for each
 * group: a million digits take a minute. These are recognised by their text and matched by hand. */
#include "text/split_regex.h"

#include "text/unicode_class.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <string.h>

typedef enum DigitRule {
    NOT_DIGITS,
    DIGITS_BEFORE,   /* an empty match before each group of three */
    DIGITS_IN_WORDS, /* the groups, unless a letter follows the number */
    NUMBERS,         /* the groups, of any \\p{N} */
} DigitRule;

static const struct {
    const char *pattern;
    DigitRule rule;
} digit_patterns[] = {
    {"(?=(\\d{3})+(?!\\d))", DIGITS_BEFORE},
    {"\\d{1,3}(?=(?:\\d{3})*\\b)", DIGITS_IN_WORDS},
    {"\\p{N}{1,3}(?=(?:\\p{N}{3})*(?!\\p{N}))", NUMBERS},
};

struct SplitRegex {
    DigitRule digits; /* then there is no code */
    pcre2_general_context *memory;
    pcre2_code *code;
    size_t pairs; /* capturing groups + 1 */
};

/* Steps of one search without JIT, and its memory; published patterns need a few thousand for the worst texts. */
enum { MATCH_LIMIT = 20000000, HEAP_LIMIT_KIB = 64 << 10, STACK_MAX = 64 << 20 };

static void *pcre_alloc(size_t bytes, void *user) {
    (void)user;
    return mem_alloc(bytes, MEM_TEXT);
}

static void pcre_free(void *block, void *user) {
    (void)user;
    mem_free(block);
}

static Status compile(SplitRegex *regex, const Text *pattern, RegexDialect dialect, Error *err) {
    regex->memory = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
    pcre2_compile_context *context = regex->memory != NULL ? pcre2_compile_context_create(regex->memory) : NULL;
    FAIL_IF(context == NULL, ERR_MEMORY, "no memory for a regular expression");
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    const uint32_t lines = dialect == REGEX_ONIGURUMA ? PCRE2_MULTILINE : PCRE2_DOLLAR_ENDONLY;
    int code;
    PCRE2_SIZE where;
    regex->code = pcre2_compile((PCRE2_SPTR)(pattern->bytes != NULL ? pattern->bytes : ""), pattern->count,
                                PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C | lines, &code, &where, context);
    pcre2_compile_context_free(context);
    if (regex->code == NULL) {
        char why[160] = "";
        pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
        return error_set(err, code == PCRE2_ERROR_HEAP_FAILED ? ERR_MEMORY : ERR_FORMAT,
                         "the regular expression %.200s is not valid (read as PCRE2, at %zu: %s)", pattern->bytes,
                         (size_t)where, why);
    }
    uint32_t groups = 0;
    pcre2_pattern_info(regex->code, PCRE2_INFO_CAPTURECOUNT, &groups);
    regex->pairs = (size_t)groups + 1;
    /* Without JIT (a system that forbids writable code) the interpreter does the same, slowly. */
    (void)pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE);
    return OK;
}

Status regex_compile(const char *pattern, size_t count, RegexDialect dialect, SplitRegex **out, Error *err) {
    *out = NULL;
    Text translated = {0};
    SplitRegex *regex = mem_zalloc(sizeof *regex, MEM_TEXT);
    Status status = regex == NULL ? error_set(err, ERR_MEMORY, "no memory for a regular expression") : OK;
    for (size_t i = 0; i < COUNT(digit_patterns) && status == OK; i++)
        if (strlen(digit_patterns[i].pattern) == count && memcmp(digit_patterns[i].pattern, pattern, count) == 0)
            regex->digits = digit_patterns[i].rule;
    if (status == OK && regex->digits == NOT_DIGITS)
        status = regex_translate(pattern, count, dialect, &translated, err);
    if (status == OK && regex->digits == NOT_DIGITS)
        status = compile(regex, &translated, dialect, err);
    text_free(&translated);
    if (status != OK) {
        regex_free(regex);
        return status;
    }
    *out = regex;
    return OK;
}

void regex_free(SplitRegex *regex) {
    if (regex == NULL)
        return;
    pcre2_code_free(regex->code);
    pcre2_general_context_free(regex->memory);
    mem_free(regex);
}

void regex_scratch_free(RegexScratch *scratch) {
    pcre2_match_data_free(scratch->match_data);
    pcre2_match_context_free(scratch->context);
    pcre2_jit_stack_free(scratch->stack);
    *scratch = (RegexScratch){0};
}

static Status prepare(const SplitRegex *regex, RegexScratch *scratch, Error *err) {
    if (scratch->context == NULL) {
        scratch->context = pcre2_match_context_create(regex->memory);
        FAIL_IF(scratch->context == NULL, ERR_MEMORY, "no memory for a search");
        pcre2_set_match_limit(scratch->context, MATCH_LIMIT);
        pcre2_set_heap_limit(scratch->context, HEAP_LIMIT_KIB);
    }
    if (scratch->pairs < regex->pairs) {
        pcre2_match_data_free(scratch->match_data);
        scratch->pairs = 0;
        scratch->match_data = pcre2_match_data_create((uint32_t)regex->pairs, regex->memory);
        FAIL_IF(scratch->match_data == NULL, ERR_MEMORY, "no memory for a search");
        scratch->pairs = regex->pairs;
    }
    return OK;
}

/* Patterns with groups under a star keep a frame for each turn; the 32 KiB of the thread's own stack that JIT code uses
 * by default do not last for long words. */
static bool grow_stack(const SplitRegex *regex, RegexScratch *scratch) {
    const size_t bytes = scratch->stack_bytes == 0 ? (size_t)1 << 20 : scratch->stack_bytes * 8;
    if (bytes > STACK_MAX)
        return false;
    pcre2_jit_stack *stack = pcre2_jit_stack_create(32 << 10, bytes, regex->memory);
    if (stack == NULL)
        return false;
    pcre2_jit_stack_assign(scratch->context, NULL, stack);
    pcre2_jit_stack_free(scratch->stack);
    scratch->stack = stack;
    scratch->stack_bytes = bytes;
    return true;
}

static Status search(const RegexWalk *walk, size_t from, bool *found, size_t *start, size_t *end, Error *err) {
    const SplitRegex *regex = walk->regex;
    RegexScratch *scratch = walk->scratch;
    int result;
    do {
        result = pcre2_match(regex->code, (PCRE2_SPTR)walk->text, walk->count, from, PCRE2_NO_UTF_CHECK,
                             scratch->match_data, scratch->context);
    } while (result == PCRE2_ERROR_JIT_STACKLIMIT && grow_stack(regex, scratch));
    *found = result >= 0;
    if (result == PCRE2_ERROR_NOMATCH)
        return OK;
    FAIL_IF(result == PCRE2_ERROR_NOMEMORY, ERR_MEMORY, "no memory for a search");
    FAIL_IF(result < 0, ERR_LIMIT, "splitting the text needs more steps or memory than allowed (PCRE2 error %d)",
            result);
    const PCRE2_SIZE *place = pcre2_get_ovector_pointer(scratch->match_data);
    *start = place[0];
    *end = place[1];
    /* \K in a lookahead can put the start behind the end. */
    FAIL_IF(*start > *end, ERR_UNSUPPORTED, "a regular expression with \\K in a lookahead");
    return OK;
}

/* ---- digits in threes ------------------------------------------------------------------------------------------- */

static uint32_t character_at(const RegexWalk *walk, size_t at, size_t *next) {
    uint32_t c = 0;
    int bad;
    const int length = at < walk->count ? utf8_decode(walk->text + at, walk->count - at, &c, &bad) : 0;
    *next = at + (size_t)MAX(length, 1);
    return length > 0 ? c : 0;
}

static bool is_digit(const RegexWalk *walk, size_t at) {
    size_t next;
    const uint32_t c = character_at(walk, at, &next);
    return at < walk->count && (walk->regex->digits == NUMBERS ? unicode_is_number(c) : unicode_is_digit(c));
}

/* The next number from walk->at on: walk->run_end and how many digits it has. */
static void find_number(RegexWalk *walk) {
    size_t next;
    while (walk->at < walk->count && !is_digit(walk, walk->at)) {
        character_at(walk, walk->at, &next);
        walk->at = next;
    }
    walk->run_end = walk->at;
    for (walk->run_digits = 0; is_digit(walk, walk->run_end); walk->run_digits++) {
        character_at(walk, walk->run_end, &next);
        walk->run_end = next;
    }
}

static size_t skip_digits(const RegexWalk *walk, size_t at, size_t digits) {
    for (; digits > 0; digits--)
        character_at(walk, at, &at);
    return at;
}

static bool next_digits(RegexWalk *walk, size_t *start, size_t *end) {
    const DigitRule rule = walk->regex->digits;
    while (walk->at < walk->count || walk->run_digits > 0) {
        if (walk->run_digits == 0) {
            find_number(walk);
            size_t next;
            if (rule == DIGITS_IN_WORDS && unicode_is_word(character_at(walk, walk->run_end, &next))) {
                walk->at = walk->run_end;
                walk->run_digits = 0;
            }
            /* An empty match stands before each whole group: digits in front of the first are passed. */
            if (rule == DIGITS_BEFORE) {
                walk->at = skip_digits(walk, walk->at, walk->run_digits % 3);
                walk->run_digits -= walk->run_digits % 3;
            }
            continue;
        }
        const size_t group = walk->run_digits % 3 == 0 ? 3 : walk->run_digits % 3;
        *start = *end = walk->at;
        walk->run_digits -= group;
        walk->at = skip_digits(walk, walk->at, group);
        if (rule != DIGITS_BEFORE)
            *end = walk->at;
        return true;
    }
    return false;
}

/* ---- all others ------------------------------------------------------------------------------------------------- */

static size_t next_character(const char *text, size_t count, size_t at) {
    do
        at++;
    while (at < count && ((unsigned char)text[at] & 0xC0) == 0x80);
    return at;
}

Status regex_next(RegexWalk *walk, bool *found, size_t *start, size_t *end, Error *err) {
    if (walk->regex->digits != NOT_DIGITS) {
        *found = next_digits(walk, start, end);
        return OK;
    }
    TRY(prepare(walk->regex, walk->scratch, err));
    for (;;) {
        *found = false;
        if (walk->at > walk->count)
            return OK;
        TRY(search(walk, walk->at, found, start, end, err));
        if (!*found)
            return OK;
        if (*start == *end && walk->matched && *end == walk->last_end) {
            walk->at = next_character(walk->text, walk->count, walk->at);
            continue;
        }
        walk->at = *end;
        walk->last_end = *end;
        walk->matched = true;
        return OK;
    }
}
