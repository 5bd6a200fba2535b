/* json_write.h - JSON appended to a Text, value by value; commas come by themselves.
 *
 *     JsonWriter w = {.out = &text};
 *     json_write_open(&w, '{');
 *     json_write_key(&w, "bytes");
 *     json_write_int(&w, 320);
 *     json_write_close(&w, '}');
 *
 * Without memory the Text is marked as failed: check once, at the end. */
#ifndef HOULE_FORMAT_JSON_WRITE_H
#define HOULE_FORMAT_JSON_WRITE_H

#include "base/text.h"

#include <jansson.h>

typedef struct JsonWriter {
    Text *out;
    bool comma; /* a value stands before, so that the next one needs a comma */
} JsonWriter;

void json_write_open(JsonWriter *writer, char bracket); /* '{' or '[' */
void json_write_close(JsonWriter *writer, char bracket);
void json_write_key(JsonWriter *writer, const char *key);
/* In quotes, with the escapes that JSON demands; bad UTF-8 becomes U+FFFD. */
void json_write_bytes(JsonWriter *writer, const char *bytes, size_t count);
void json_write_string(JsonWriter *writer, const char *string); /* NULL is null */
void json_write_int(JsonWriter *writer, int64_t number);
void json_write_natural(JsonWriter *writer, uint64_t number);
/* The shortest decimals that read back as the same number, recognisable as real ("1.0"); null when it is not finite. */
void json_write_double(JsonWriter *writer, double number);
void json_write_float(JsonWriter *writer, float number);
void json_write_bool(JsonWriter *writer, bool truth);
/* A whole tree, in the order of its keys; NULL is null. */
void json_write_value(JsonWriter *writer, const json_t *value);
/* A text's bytes as a string of a tree; NULL when something could not be appended to it. */
json_t *json_of_text(const Text *text);

#endif
