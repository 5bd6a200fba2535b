/* json_pull.c - see json_pull.h. */
#include "format/json_pull.h"

#include <string.h>

void json_pull_open(JsonPull *pull, const char *bytes, size_t count, const char *name) {
    memset(pull, 0, sizeof *pull);
    pull->start = pull->at = bytes;
    pull->end = count > 0 ? bytes + count : bytes; /* bytes may be NULL */
    pull->name = name;
}

void json_pull_close(JsonPull *pull) {
    text_free(&pull->unescaped);
}

static Status expected(const JsonPull *pull, const char *what, Error *err) {
    return error_set(err, ERR_FORMAT, "%s: not valid JSON: %s expected at byte %zu%s", pull->name, what,
                     (size_t)(pull->at - pull->start), pull->at == pull->end ? ", where it ends" : "");
}

/* The next character that is no white space; 0 at the end (a NUL byte in the text is an error in every place). */
static char next_char(JsonPull *pull) {
    const char *at = pull->at, *const end = pull->end;
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r'))
        at++;
    pull->at = at;
    return at < end ? *at : '\0';
}

Status json_pull_peek(JsonPull *pull, JsonKind *kind, Error *err) {
    const char c = next_char(pull);
    *kind = JSON_KIND_OBJECT;
    if (c == '[')
        *kind = JSON_KIND_ARRAY;
    else if (c == '"')
        *kind = JSON_KIND_STRING;
    else if (c == '-' || (c >= '0' && c <= '9'))
        *kind = JSON_KIND_NUMBER;
    else if (c == 't' || c == 'f' || c == 'n')
        *kind = JSON_KIND_WORD;
    else if (c != '{')
        return expected(pull, "a value", err);
    return OK;
}

/* ---- objects and arrays ---------------------------------------------------------------------------------------- */

static Status enter(JsonPull *pull, bool object, Error *err) {
    if (next_char(pull) != (object ? '{' : '['))
        return expected(pull, object ? "an object" : "an array", err);
    FAIL_IF(pull->depth == JSON_PULL_DEPTH, ERR_FORMAT, "%s: JSON nested deeper than %d", pull->name, JSON_PULL_DEPTH);
    pull->at++;
    pull->in_object[++pull->depth] = object;
    pull->first = true;
    return OK;
}

/* Before the next element: passes the comma, or leaves at the closing bracket. */
static Status advance(JsonPull *pull, char close, bool *more, Error *err) {
    const char c = next_char(pull);
    if (c == close) {
        pull->at++;
        pull->depth--;
        pull->first = false;
        *more = false;
        return OK;
    }
    if (!pull->first) {
        if (c != ',')
            return expected(pull, close == '}' ? "',' or '}'" : "',' or ']'", err);
        pull->at++;
    }
    pull->first = false;
    *more = true;
    return OK;
}

Status json_pull_object(JsonPull *pull, Error *err) {
    return enter(pull, true, err);
}

Status json_pull_array(JsonPull *pull, Error *err) {
    return enter(pull, false, err);
}

Status json_pull_element(JsonPull *pull, bool *more, Error *err) {
    return advance(pull, ']', more, err);
}

Status json_pull_key(JsonPull *pull, bool *more, const char **key, size_t *bytes, Error *err) {
    TRY(advance(pull, '}', more, err));
    if (!*more)
        return OK;
    TRY(json_pull_string(pull, key, bytes, err));
    if (next_char(pull) != ':')
        return expected(pull, "':'", err);
    pull->at++;
    return OK;
}

bool json_key_is(const char *key, size_t bytes, const char *name) {
    return strlen(name) == bytes && memcmp(key, name, bytes) == 0;
}

/* ---- strings --------------------------------------------------------------------------------------------------- */

/* The four digits of \uXXXX at pull->at; -1 when they are not. */
static int32_t hex4(JsonPull *pull) {
    if (pull->end - pull->at < 4)
        return -1;
    int32_t unit = 0;
    for (int i = 0; i < 4; i++) {
        const int digit = parse_hex_digit(pull->at[i]);
        if (digit < 0)
            return -1;
        unit = unit << 4 | digit;
    }
    pull->at += 4;
    return unit;
}

/* Passes one escape (pull->at is behind the backslash) and appends what it means. */
static Status unescape(JsonPull *pull, Error *err) {
    static const char names[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    const char c = pull->at < pull->end ? *pull->at : '\0';
    const char *simple = c != '\0' ? strchr(names, c) : NULL;
    if (simple != NULL) {
        pull->at++;
        text_append_char(&pull->unescaped, meanings[simple - names]);
        return OK;
    }
    if (c != 'u')
        return expected(pull, "an escape", err);
    pull->at++;
    int32_t unit = hex4(pull);
    if (unit >= 0xD800 && unit < 0xDC00) { /* the first half of a pair: the second must follow */
        int32_t low = -1;
        if (pull->end - pull->at >= 2 && pull->at[0] == '\\' && pull->at[1] == 'u') {
            pull->at += 2;
            low = hex4(pull);
        }
        unit = low >= 0xDC00 && low < 0xE000 ? 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00) : -1;
    } else if (unit >= 0xDC00 && unit < 0xE000) {
        unit = -1;
    }
    if (unit < 0)
        return expected(pull, "the four digits of a character", err);
    text_append_code_point(&pull->unescaped, (uint32_t)unit);
    return OK;
}

/* The end of ASCII that means itself. With pointers of its own: through `pull` each byte would cost a store. */
static const char *plain_end(const char *at, const char *end) {
    while (at < end && (unsigned char)*at >= 0x20 && (unsigned char)*at < 0x80 && *at != '"' && *at != '\\')
        at++;
    return at;
}

Status json_pull_string(JsonPull *pull, const char **string, size_t *bytes, Error *err) {
    if (next_char(pull) != '"')
        return expected(pull, "a string", err);
    const char *run = ++pull->at; /* start of what is not copied yet */
    bool escaped = false;
    for (;;) {
        pull->at = plain_end(pull->at, pull->end);
        if (pull->at == pull->end)
            return expected(pull, "the end of a string", err);
        const char c = *pull->at;
        if (c == '"')
            break;
        if (c == '\\') {
            if (!escaped)
                text_clear(&pull->unescaped);
            escaped = true;
            text_append(&pull->unescaped, run, (size_t)(pull->at - run));
            pull->at++;
            TRY(unescape(pull, err));
            run = pull->at;
            continue;
        }
        uint32_t code_point;
        int bad = 0;
        const int length =
            (unsigned char)c < 0x20 ? 0 : utf8_decode(pull->at, (size_t)(pull->end - pull->at), &code_point, &bad);
        if (length == 0)
            return expected(pull, "a UTF-8 character", err);
        pull->at += length;
    }
    *string = run;
    *bytes = (size_t)(pull->at - run);
    if (escaped) {
        text_append(&pull->unescaped, run, *bytes);
        FAIL_IF(pull->unescaped.failed, ERR_MEMORY, "%s: no memory for a string of its JSON", pull->name);
        *string = pull->unescaped.bytes;
        *bytes = pull->unescaped.count;
    }
    pull->at++;
    return OK;
}

/* ---- numbers and words ----------------------------------------------------------------------------------------- */

static size_t count_digits(const char *at, const char *end) {
    const char *p = at;
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    return (size_t)(p - at);
}

/* Passes a number as JSON spells it: -? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)? */
static Status pass_number(JsonPull *pull, bool *whole, Error *err) {
    const char *p = pull->at, *const end = pull->end;
    if (p < end && *p == '-')
        p++;
    const size_t digits = count_digits(p, end);
    bool good = digits == 1 || (digits > 1 && *p != '0');
    p += digits;
    *whole = true;
    if (good && p < end && *p == '.') {
        *whole = false;
        const size_t decimals = count_digits(++p, end);
        good = decimals > 0;
        p += decimals;
    }
    if (good && p < end && (*p == 'e' || *p == 'E')) {
        *whole = false;
        p++;
        if (p < end && (*p == '+' || *p == '-'))
            p++;
        const size_t exponent = count_digits(p, end);
        good = exponent > 0;
        p += exponent;
    }
    if (!good)
        return expected(pull, "a number", err);
    pull->at = p;
    return OK;
}

Status json_pull_natural(JsonPull *pull, uint64_t *number, Error *err) {
    next_char(pull);
    const char *const begin = pull->at;
    bool whole;
    TRY(pass_number(pull, &whole, err));
    uint64_t value = 0;
    bool fits = whole && *begin != '-';
    for (const char *p = begin; fits && p < pull->at; p++) {
        const uint64_t digit = (uint64_t)(*p - '0');
        fits = value <= (UINT64_MAX - digit) / 10;
        value = value * 10 + digit;
    }
    if (!fits) {
        pull->at = begin;
        return expected(pull, "a whole number of at most 64 bits, not negative,", err);
    }
    *number = value;
    return OK;
}

static Status pass_word(JsonPull *pull, Error *err) {
    static const char *const words[] = {"true", "false", "null"};
    for (size_t i = 0; i < COUNT(words); i++) {
        const size_t length = strlen(words[i]);
        if ((size_t)(pull->end - pull->at) >= length && memcmp(pull->at, words[i], length) == 0) {
            pull->at += length;
            return OK;
        }
    }
    return expected(pull, "a value", err);
}

Status json_pull_skip(JsonPull *pull, Error *err) {
    const int outside = pull->depth;
    do {
        if (pull->depth > outside) { /* inside what is skipped: to its next value, or out */
            bool more;
            const char *key;
            size_t bytes;
            if (pull->in_object[pull->depth])
                TRY(json_pull_key(pull, &more, &key, &bytes, err));
            else
                TRY(json_pull_element(pull, &more, err));
            if (!more)
                continue;
        }
        JsonKind kind;
        TRY(json_pull_peek(pull, &kind, err));
        bool whole;
        const char *string;
        size_t bytes;
        switch (kind) {
        case JSON_KIND_OBJECT:
        case JSON_KIND_ARRAY:
            TRY(enter(pull, kind == JSON_KIND_OBJECT, err));
            break;
        case JSON_KIND_STRING:
            TRY(json_pull_string(pull, &string, &bytes, err));
            break;
        case JSON_KIND_NUMBER:
            TRY(pass_number(pull, &whole, err));
            break;
        case JSON_KIND_WORD:
            TRY(pass_word(pull, err));
            break;
        }
    } while (pull->depth > outside);
    return OK;
}

Status json_pull_finish(JsonPull *pull, Error *err) {
    next_char(pull);
    if (pull->at != pull->end)
        return expected(pull, "the end", err);
    return OK;
}
