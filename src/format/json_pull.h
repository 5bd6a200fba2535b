/* json_pull.h - JSON read from front to back, value by value, without building a tree.
 *
 * The header of a shard or a tokenizer's vocabulary has hundreds of thousands of small values. A header of 100,000
 * tensors (11 MB) takes jansson 0.2 s and 100 MB for its tree; pulled, 0.03 s and nothing beyond the text. The reader
 * asks for what it expects next, and strings without escapes are handed out where they lie:
 *
 *     json_pull_open(&pull, bytes, count, path);
 *     TRY(json_pull_object(&pull, err));
 *     for (bool more; ...;) {
 *         TRY(json_pull_key(&pull, &more, &key, &length, err));
 *         if (!more) break;
 *         TRY(json_pull_skip(&pull, err));
 *     }
 *     TRY(json_pull_finish(&pull, err));
 *
 * Strict (RFC 8259): UTF-8 is checked, escaped surrogates must come in pairs, depth is bounded by JSON_PULL_DEPTH.
 * Duplicate keys are the caller's to find. A failure (ERR_FORMAT with the byte's position, or ERR_MEMORY) leaves the
 * reader unusable. The bytes must outlive it. */
#ifndef HOULE_FORMAT_JSON_PULL_H
#define HOULE_FORMAT_JSON_PULL_H

#include "base/status.h"
#include "base/text.h"

enum { JSON_PULL_DEPTH = 256 };

typedef struct JsonPull {
    const char *start, *at, *end;
    const char *name; /* what messages call the text */
    Text unescaped;   /* the last string, if it had escapes */
    int depth;
    bool first;                          /* nothing was read yet of the innermost object or array */
    bool in_object[JSON_PULL_DEPTH + 1]; /* by depth: object or array */
} JsonPull;

typedef enum JsonKind {
    JSON_KIND_OBJECT,
    JSON_KIND_ARRAY,
    JSON_KIND_STRING,
    JSON_KIND_NUMBER,
    JSON_KIND_WORD
} JsonKind;

void json_pull_open(JsonPull *pull, const char *bytes, size_t count, const char *name);
void json_pull_close(JsonPull *pull);

/* What the next value is, by its first character; ERR_FORMAT when none can begin so. A word is true, false or null. */
Status json_pull_peek(JsonPull *pull, JsonKind *kind, Error *err);

/* Enters an object; then json_pull_key before each value, until *more is false: the object is left. The key is valid
 * until the next string is read. */
Status json_pull_object(JsonPull *pull, Error *err);
Status json_pull_key(JsonPull *pull, bool *more, const char **key, size_t *bytes, Error *err);
/* Whether a key (or a string) that was read is this one. */
bool json_key_is(const char *key, size_t bytes, const char *name);
/* Enters an array; then json_pull_element before each value, until *more is false: the array is left. */
Status json_pull_array(JsonPull *pull, Error *err);
Status json_pull_element(JsonPull *pull, bool *more, Error *err);

/* A string, without quotes and escapes, valid until the next string is read; may hold NUL bytes. */
Status json_pull_string(JsonPull *pull, const char **string, size_t *bytes, Error *err);
/* A whole number >= 0, written without fraction and exponent. */
Status json_pull_natural(JsonPull *pull, uint64_t *number, Error *err);
/* Passes over one value of any kind, checking it. */
Status json_pull_skip(JsonPull *pull, Error *err);
/* Only white space may follow. */
Status json_pull_finish(JsonPull *pull, Error *err);

#endif
