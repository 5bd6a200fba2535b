/* json.c - see json.h.
 *
 * One pass over the bytes bounds the depth and finds the few spellings that must be rewritten: nearly all documents
 * contain none and are parsed where they lie. The tree is jansson's, but built here from the pull reader: jansson's own
 * parser runs past the end of a string that it could not store for lack of memory. */
#include "format/json.h"

#include "format/json_pull.h"

#include "base/file.h"
#include "base/text.h"

#include <pthread.h>
#include <string.h>

static void *allocate(size_t bytes) {
    return mem_alloc(bytes, MEM_FORMAT);
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

/* ---- the tree --------------------------------------------------------------------------------------------------- */

typedef struct Builder {
    JsonPull pull;
    bool unique;
    Text text; /* a key or a number, with a NUL behind it */
} Builder;

static Status no_memory(const Builder *b, Error *err) {
    return error_set(err, ERR_MEMORY, "%s: no memory for its JSON", b->pull.name);
}

static Status set_text(Builder *b, const char *bytes, size_t count, Error *err) {
    text_clear(&b->text);
    text_append(&b->text, bytes, count);
    return text_append_char(&b->text, '\0') ? OK : no_memory(b, err);
}

static Status build_number(Builder *b, json_t **json, Error *err) {
    const char *const begin = b->pull.at;
    TRY(json_pull_skip(&b->pull, err));
    const size_t count = (size_t)(b->pull.at - begin);
    TRY(set_text(b, begin, count, err));
    int64_t whole;
    double real = 0;
    if (strpbrk(b->text.bytes, ".eE") == NULL && parse_int64(b->text.bytes, &whole)) {
        *json = json_integer(whole);
    } else {
        FAIL_IF(!parse_double(b->text.bytes, &real), ERR_FORMAT,
                "%s: not valid JSON: the number %.40s is beyond what a real can hold", b->pull.name, b->text.bytes);
        *json = json_real(real);
    }
    return OK;
}

static Status build(Builder *b, json_t **json, Error *err);

static Status build_object(Builder *b, json_t *object, Error *err) {
    TRY(json_pull_object(&b->pull, err));
    for (;;) {
        bool more;
        const char *key;
        size_t bytes;
        TRY(json_pull_key(&b->pull, &more, &key, &bytes, err));
        if (!more)
            return OK;
        FAIL_IF(memchr(key, '\0', bytes) != NULL, ERR_FORMAT,
                "%s: not valid JSON: a key with a NUL character before byte %zu", b->pull.name,
                (size_t)(b->pull.at - b->pull.start));
        TRY(set_text(b, key, bytes, err));
        FAIL_IF(b->unique && json_object_get(object, b->text.bytes) != NULL, ERR_FORMAT,
                "%s: not valid JSON: the key \"%.64s\" comes twice", b->pull.name, b->text.bytes);
        /* The value goes in before its content: the key's text is needed no longer, and the tree owns all of itself. */
        if (json_object_set_new_nocheck(object, b->text.bytes, json_null()) != 0)
            return no_memory(b, err);
        void *place = json_object_iter_at(object, b->text.bytes);
        json_t *value = NULL;
        const Status status = build(b, &value, err);
        if (value != NULL)
            json_object_iter_set_new(object, place, value);
        TRY(status);
    }
}

static Status build_array(Builder *b, json_t *array, Error *err) {
    TRY(json_pull_array(&b->pull, err));
    for (;;) {
        bool more;
        TRY(json_pull_element(&b->pull, &more, err));
        if (!more)
            return OK;
        json_t *value = NULL;
        const Status status = build(b, &value, err);
        if (value != NULL && json_array_append_new(array, value) != 0)
            return no_memory(b, err);
        TRY(status);
    }
}

/* The next value. *json may be there (or a part of it) on failure too; it is the caller's in any case. */
static Status build(Builder *b, json_t **json, Error *err) {
    JsonKind kind;
    const char *string;
    size_t bytes;
    Status status = OK;
    TRY(json_pull_peek(&b->pull, &kind, err));
    switch (kind) {
    case JSON_KIND_OBJECT:
        *json = json_object();
        status = *json != NULL ? build_object(b, *json, err) : OK;
        break;
    case JSON_KIND_ARRAY:
        *json = json_array();
        status = *json != NULL ? build_array(b, *json, err) : OK;
        break;
    case JSON_KIND_STRING:
        TRY(json_pull_string(&b->pull, &string, &bytes, err));
        *json = json_stringn_nocheck(string, bytes); /* the pull reader has checked it */
        break;
    case JSON_KIND_NUMBER:
        TRY(build_number(b, json, err));
        break;
    case JSON_KIND_WORD:
        string = b->pull.at;
        TRY(json_pull_skip(&b->pull, err));
        *json = *string == 'n' ? json_null() : json_boolean(*string == 't');
        break;
    }
    return *json != NULL ? status : no_memory(b, err);
}

Status json_parse(const char *bytes, size_t count, const char *name, bool unique, json_t **json, Error *err) {
    json_setup();
    *json = NULL;
    Text rewritten = {0};
    Builder b = {.unique = unique};
    Status status = prepare(bytes, count, name, &rewritten, err);
    const bool changed = rewritten.count > 0;
    json_pull_open(&b.pull, changed ? rewritten.bytes : bytes, changed ? rewritten.count : count, name);
    if (status == OK)
        status = build(&b, json, err);
    if (status == OK)
        status = json_pull_finish(&b.pull, err);
    if (status != OK) {
        json_decref(*json);
        *json = NULL;
    }
    json_pull_close(&b.pull);
    text_free(&b.text);
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

const char *json_word(const json_t *object, const char *key) {
    const char *word = json_string_value(json_object_get(object, key));
    return word != NULL ? word : "";
}
