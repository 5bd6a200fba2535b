/* text.h - growing byte strings, numbers that ignore the locale, and UTF-8.
 *
 * A Text holds any bytes, NUL included; bytes[count] is always NUL so that it can be passed as a C string. Appending
 * without memory sets `failed` and leaves the content as it was: check once, at the end. */
#ifndef HOULE_BASE_TEXT_H
#define HOULE_BASE_TEXT_H

#include "base/mem.h"
#include "base/status.h"

typedef struct Text {
    char *bytes; /* NULL until the first append */
    size_t count;
    size_t capacity;
    bool failed;
} Text;

void text_free(Text *text);
void text_clear(Text *text);
bool text_append(Text *text, const char *bytes, size_t count);
bool text_append_str(Text *text, const char *string);
bool text_append_char(Text *text, char c);
bool text_append_format(Text *text, const char *format, ...) PRINTF_LIKE(2, 3);
/* One Unicode code point as UTF-8; surrogates and numbers over 0x10FFFF become U+FFFD. */
bool text_append_code_point(Text *text, uint32_t code_point);
/* The shortest decimal that reads back as the same double, with '.' in every locale ("0.1", "1e+30", "nan"). */
bool text_append_double(Text *text, double number);
/* Likewise for a float: 0.1f is written "0.1". */
bool text_append_float(Text *text, float number);
/* A finite number as printf's %.<precision><style> writes it in the C locale; style is one of e, E, f, g, G. */
bool text_append_double_as(Text *text, char style, int precision, double number);
/* Gives the bytes (NUL-terminated, free with mem_free) away and empties the Text; NULL when an append had failed. */
char *text_take(Text *text);
/* ERR_MEMORY when an append had failed. */
Status text_check(const Text *text, Error *err);

/* Reads a whole number or a real number; false unless the entire string is one, in range. '.' in every locale. */
bool parse_int64(const char *string, int64_t *number) MUST_CHECK;
bool parse_double(const char *string, double *number) MUST_CHECK;
/* The value of 0-9, a-f, A-F; -1 for any other character. */
int parse_hex_digit(char c);
/* A count of bytes with an optional suffix K, M, G, T (powers of 1024; KB, KiB mean the same). */
bool parse_bytes(const char *string, uint64_t *bytes) MUST_CHECK;
/* "1.5 GiB", "320 B": at most 15 characters, into a buffer of 16. */
const char *format_bytes(uint64_t bytes, char buffer[16]);

/* Decodes one code point from count > 0 bytes. Returns its length 1..4; on a bad byte sequence returns 0 and sets
 * *bad_bytes to the length of the maximal bad part (Unicode 15, section 3.9, "maximal subpart"), at least 1. */
int utf8_decode(const char *bytes, size_t count, uint32_t *code_point, int *bad_bytes);
/* Writes 1..4 bytes, returns how many. */
int utf8_encode(uint32_t code_point, char bytes[4]);
bool utf8_valid(const char *bytes, size_t count);
/* Length of the longest prefix that does not end inside a character (at most 3 bytes are held back). */
size_t utf8_complete_prefix(const char *bytes, size_t count);

/* The text with control characters and escape sequences made visible, for messages and terminals: "\x1b[2J" is
 * written as "\\x1b[2J"; newline and tab stay. Bad UTF-8 becomes U+FFFD. */
bool text_append_printable(Text *text, const char *bytes, size_t count);

bool starts_with(const char *string, const char *prefix);
bool ends_with(const char *string, const char *suffix);

#endif
