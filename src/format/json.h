/* json.h - JSON through jansson, with our limits and messages.
 *
 * For documents that are looked at as a whole: configs, requests. What is large and read once from front to back
 * (headers of weights, tokenizers) goes through json_pull.h, which builds no tree. Writing is json_write.h. */
#ifndef HOULE_FORMAT_JSON_H
#define HOULE_FORMAT_JSON_H

#include "base/status.h"

#include <jansson.h>

enum { JSON_MAX_DEPTH = 256 };

/* Parses `count` bytes, any JSON value; `name` is what messages call it. Refuses what jansson refuses, depth over
 * JSON_MAX_DEPTH and, where `unique`, duplicate keys (otherwise the last one counts). Two things that published files
 * contain and jansson refuses are read anyway: Python's NaN, Infinity and -Infinity (as bare words outside strings)
 * become null, and whole numbers beyond 64 bits become reals. Strings may contain \u0000.
 * The caller owns *json (json_decref). */
Status json_parse(const char *bytes, size_t count, const char *name, bool unique, json_t **json, Error *err);
/* Reads and parses a file of at most `limit` bytes; duplicate keys are allowed, as most readers do. */
Status json_read(const char *path, size_t limit, json_t **json, Error *err);
/* The text under a key; "" when there is none. */
const char *json_word(const json_t *object, const char *key);
/* Makes jansson allocate through mem.h; called once by whoever uses it first. Safe to repeat. From then on the
 * strings that json_dumps returns are freed by mem_free. */
void json_setup(void);

#endif
