/* json.h - JSON through jansson, with our limits and messages. */
#ifndef HOULE_FORMAT_JSON_H
#define HOULE_FORMAT_JSON_H

#include "base/status.h"

#include <jansson.h>

/* Parses `count` bytes; `name` is what messages call it. Refuses what jansson refuses, depth over 256 and duplicate
 * keys where `unique`. Python's NaN, Infinity and -Infinity (as bare words outside strings) are read as null, because
 * published config.json files contain them. Strings may contain \u0000. The caller owns *json (json_decref). */
Status json_parse(const char *bytes, size_t count, const char *name, bool unique, json_t **json, Error *err);
/* Reads and parses a file of at most `limit` bytes. */
Status json_read(const char *path, size_t limit, json_t **json, Error *err);
/* Makes jansson allocate through mem.h; called once by whoever uses it first. Safe to repeat. */
void json_setup(void);

#endif
