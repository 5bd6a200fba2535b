/* json_write.c - see json_write.h. */
#include "format/json_write.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Before each value or key. */
static void begin_item(JsonWriter *writer) {
    if (writer->comma)
        text_append_char(writer->out, ',');
    writer->comma = true;
}

static void write_word(JsonWriter *writer, const char *word) {
    begin_item(writer);
    text_append_str(writer->out, word);
}

void json_write_open(JsonWriter *writer, char bracket) {
    begin_item(writer);
    text_append_char(writer->out, bracket);
    writer->comma = false;
}

void json_write_close(JsonWriter *writer, char bracket) {
    text_append_char(writer->out, bracket);
    writer->comma = true;
}

static void append_quoted(Text *out, const char *bytes, size_t count) {
    text_append_char(out, '"');
    for (size_t at = 0; at < count;) {
        uint32_t c;
        int bad;
        const int length = utf8_decode(bytes + at, count - at, &c, &bad);
        if (length == 0) {
            text_append_code_point(out, 0xFFFD);
            at += (size_t)bad;
            continue;
        }
        if (c == '"' || c == '\\') {
            text_append_char(out, '\\');
            text_append_char(out, (char)c);
        } else if (c == '\n' || c == '\t' || c == '\r') {
            text_append_str(out, c == '\n' ? "\\n" : c == '\t' ? "\\t" : "\\r");
        } else if (c < 0x20 || c == 0x7F) {
            text_append_format(out, "\\u%04x", (unsigned)c);
        } else {
            text_append(out, bytes + at, (size_t)length);
        }
        at += (size_t)length;
    }
    text_append_char(out, '"');
}

void json_write_key(JsonWriter *writer, const char *key) {
    begin_item(writer);
    append_quoted(writer->out, key, strlen(key));
    text_append_char(writer->out, ':');
    writer->comma = false;
}

void json_write_bytes(JsonWriter *writer, const char *bytes, size_t count) {
    begin_item(writer);
    append_quoted(writer->out, bytes, count);
}

void json_write_string(JsonWriter *writer, const char *string) {
    if (string != NULL)
        json_write_bytes(writer, string, strlen(string));
    else
        write_word(writer, "null");
}

void json_write_int(JsonWriter *writer, int64_t number) {
    begin_item(writer);
    text_append_format(writer->out, "%" PRId64, number);
}

void json_write_natural(JsonWriter *writer, uint64_t number) {
    begin_item(writer);
    text_append_format(writer->out, "%" PRIu64, number);
}

static void write_real(JsonWriter *writer, double number, bool is_float) {
    if (!isfinite(number)) {
        write_word(writer, "null");
        return;
    }
    begin_item(writer);
    Text *out = writer->out;
    const size_t start = out->count;
    if (is_float)
        text_append_float(out, (float)number);
    else
        text_append_double(out, number);
    if (!out->failed && strpbrk(out->bytes + start, ".e") == NULL)
        text_append_str(out, ".0"); /* a real stays one for readers that tell 1 from 1.0 */
}

void json_write_double(JsonWriter *writer, double number) {
    write_real(writer, number, false);
}

void json_write_float(JsonWriter *writer, float number) {
    write_real(writer, (double)number, true);
}

void json_write_bool(JsonWriter *writer, bool truth) {
    write_word(writer, truth ? "true" : "false");
}

static void write_object(JsonWriter *writer, const json_t *object) {
    json_t *const iterated = (json_t *)(uintptr_t)object; /* jansson's iterators take no const, and change nothing */
    json_write_open(writer, '{');
    for (void *at = json_object_iter(iterated); at != NULL; at = json_object_iter_next(iterated, at)) {
        json_write_key(writer, json_object_iter_key(at));
        json_write_value(writer, json_object_iter_value(at));
    }
    json_write_close(writer, '}');
}

void json_write_value(JsonWriter *writer, const json_t *value) {
    switch (value != NULL ? json_typeof(value) : JSON_NULL) {
    case JSON_OBJECT:
        write_object(writer, value);
        break;
    case JSON_ARRAY:
        json_write_open(writer, '[');
        for (size_t i = 0; i < json_array_size(value); i++)
            json_write_value(writer, json_array_get(value, i));
        json_write_close(writer, ']');
        break;
    case JSON_STRING:
        json_write_bytes(writer, json_string_value(value), json_string_length(value));
        break;
    case JSON_INTEGER:
        json_write_int(writer, json_integer_value(value));
        break;
    case JSON_REAL:
        json_write_double(writer, json_real_value(value));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        json_write_bool(writer, json_is_true(value));
        break;
    case JSON_NULL:
        write_word(writer, "null");
        break;
    }
}

json_t *json_of_text(const Text *text) {
    return text->failed ? NULL : json_stringn(text->bytes != NULL ? text->bytes : "", text->count);
}
