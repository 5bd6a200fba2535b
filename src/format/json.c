/* json.c - see json.h.
 *
 * One pass over the bytes before jansson sees them: it bounds the depth (jansson descends recursively, to 2048) and
 * finds the few spellings that must be rewritten. Nearly all documents contain none and are parsed where they lie. */
#include "format/json.h"

#include "base/file.h"
#include "base/text.h"

#include <pthread.h>
#include <string.h>

/* jansson reports a lack of memory as whatever it was looking at; so we note it ourselves. */
static _Thread_local bool lacked_memory;

static void *allocate(size_t bytes) {
    void *block = mem_alloc(bytes, MEM_FORMAT);
    if (block == NULL)
        lacked_memory = true;
    return block;
}

static void set_up(void) {
    json_set_alloc_funcs(allocate, mem_free);
}

void json_setup(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, set_up);
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_word(char c) {
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* Length of NaN, Infinity or -Infinity at `at`, standing alone; 0 when none of them does. */
static size_t bare_word(const char *at, const char *end) {
    static const char *const words[] = {"NaN", "Infinity", "-Infinity"};
    for (size_t i = 0; i < COUNT(words); i++) {
        const size_t length = strlen(words[i]);
        if ((size_t)(end - at) >= length && memcmp(at, words[i], length) == 0 &&
            (at + length == end || !is_word(at[length])))
            return length;
    }
    return 0;
}

/* The end of the number at `at`; *too_long for a whole number that does not fit into 64 bits. */
static const char *number_end(const char *at, const char *end, bool *too_long) {
    const bool negative = *at == '-';
    const char *max = negative ? "9223372036854775808" : "9223372036854775807";
    const char *digits = negative ? at + 1 : at;
    const char *p = digits;
    while (p < end && is_digit(*p))
        p++;
    const size_t count = (size_t)(p - digits);
    *too_long = count > 19 || (count == 19 && memcmp(digits, max, 19) > 0);
    if (p < end && (*p == '.' || *p == 'e' || *p == 'E')) {
        *too_long = false;
        while (p < end && (is_word(*p) || *p == '.' || *p == '+' || *p == '-'))
            p++;
    }
    return p > at ? p : at + 1;
}

static const char *string_end(const char *at, const char *end) {
    for (at++; at < end && *at != '"'; at++)
        if (*at == '\\' && at + 1 < end)
            at++;
    return at < end ? at + 1 : end;
}

/* Leaves `rewritten` empty when the text can be parsed as it is. */
static Status prepare(const char *bytes, size_t count, const char *name, Text *rewritten, Error *err) {
    const char *const end = bytes + count;
    const char *copied = bytes; /* what lies before is in `rewritten` already */
    int depth = 0;
    for (const char *at = bytes; at < end;) {
        const char c = *at;
        if (c == '"') {
            at = string_end(at, end);
        } else if (c == '{' || c == '[') {
            FAIL_IF(++depth > JSON_MAX_DEPTH, ERR_LIMIT, "%s: JSON nested deeper than %d", name, JSON_MAX_DEPTH);
            at++;
        } else if (c == '}' || c == ']') {
            depth--;
            at++;
        } else if (c == 'N' || c == 'I' || c == '-' || is_digit(c)) {
            const size_t word = bare_word(at, end);
            bool too_long = false;
            const char *next = word > 0 ? at + word : c == 'N' || c == 'I' ? at + 1 : number_end(at, end, &too_long);
            if (word > 0 || too_long) {
                text_append(rewritten, copied, (size_t)((word > 0 ? at : next) - copied));
                text_append_str(rewritten, word > 0 ? "null" : ".0");
                copied = next;
            }
            at = next;
        } else {
            at++;
        }
    }
    if (rewritten->count > 0 || rewritten->failed)
        text_append(rewritten, copied, (size_t)(end - copied));
    FAIL_IF(rewritten->failed, ERR_MEMORY, "%s: no memory for its JSON", name);
    return OK;
}

Status json_parse(const char *bytes, size_t count, const char *name, bool unique, json_t **json, Error *err) {
    json_setup();
    *json = NULL;
    Text rewritten = {0};
    Status status = prepare(bytes, count, name, &rewritten, err);
    if (status == OK) {
        const bool changed = rewritten.count > 0;
        json_error_t why;
        lacked_memory = false;
        *json = json_loadb(changed ? rewritten.bytes : bytes, changed ? rewritten.count : count,
                           JSON_DECODE_ANY | JSON_ALLOW_NUL | (unique ? JSON_REJECT_DUPLICATES : 0), &why);
        if (lacked_memory) { /* also when there is a result: it may lack a character of a string */
            json_decref(*json);
            *json = NULL;
            status = error_set(err, ERR_MEMORY, "%s: no memory for its JSON", name);
        } else if (*json == NULL) {
            status = error_set(err, ERR_FORMAT, "%s: not valid JSON: line %d, column %d: %s", name, why.line,
                               why.column, why.text);
        }
    }
    text_free(&rewritten);
    return status;
}

Status json_read(const char *path, size_t limit, json_t **json, Error *err) {
    *json = NULL;
    char *content;
    size_t count;
    TRY(file_read(path, limit, &content, &count, err));
    const Status status = json_parse(content, count, path, false, json, err);
    mem_free(content);
    return status;
}
