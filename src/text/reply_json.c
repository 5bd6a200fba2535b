/* reply_json.c - see reply_json.h. */
#include "text/reply_json.h"

#include <string.h>

static bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool inside_object(const JsonScan *scan) {
    return scan->depth > 0 && (scan->objects[(scan->depth - 1) / 8] >> ((scan->depth - 1) % 8) & 1) != 0;
}

static JsonStep after_value(JsonScan *scan) {
    scan->state = JSON_AFTER_VALUE;
    return scan->depth == 0 ? JSON_STEP_DONE : JSON_STEP_MORE;
}

static JsonStep open_container(JsonScan *scan, bool object) {
    if (scan->depth == JSON_SCAN_DEPTH)
        return JSON_STEP_INVALID;
    uint8_t *bits = &scan->objects[scan->depth / 8];
    const uint8_t bit = (uint8_t)(1u << (scan->depth % 8));
    *bits = (uint8_t)(object ? *bits | bit : *bits & ~bit);
    scan->depth++;
    scan->state = object ? JSON_AT_KEY_OR_END : JSON_AT_FIRST;
    return JSON_STEP_MORE;
}

static JsonStep close_container(JsonScan *scan, char c) {
    if (scan->depth == 0 || (c == '}') != inside_object(scan))
        return JSON_STEP_INVALID;
    scan->depth--;
    return after_value(scan);
}

static JsonStep begin_value(JsonScan *scan, char c) {
    switch (c) {
    case '{':
    case '[':
        return open_container(scan, c == '{');
    case '"':
        scan->state = JSON_IN_STRING;
        return JSON_STEP_MORE;
    case '-':
        scan->state = JSON_NUMBER_SIGN;
        return JSON_STEP_MORE;
    case 't':
    case 'f':
    case 'n':
        scan->state = JSON_IN_LITERAL;
        scan->literal = c == 't' ? "rue" : c == 'f' ? "alse" : "ull";
        return JSON_STEP_MORE;
    default:
        if (!is_digit(c))
            return JSON_STEP_INVALID;
        scan->state = c == '0' ? JSON_NUMBER_ZERO : JSON_NUMBER_WHOLE;
        return JSON_STEP_MORE;
    }
}

static JsonStep in_string(JsonScan *scan, char c) {
    if (scan->hex_left > 0) {
        const char lower = (char)(c | 0x20);
        scan->hex_left--;
        return is_digit(c) || (lower >= 'a' && lower <= 'f') ? JSON_STEP_MORE : JSON_STEP_INVALID;
    }
    if (scan->escape) {
        scan->escape = false;
        if (c == 'u')
            scan->hex_left = 4;
        return c != '\0' && strchr("\"\\/bfnrtu", c) != NULL ? JSON_STEP_MORE : JSON_STEP_INVALID;
    }
    if (c == '\\') {
        scan->escape = true;
    } else if (c == '"') {
        if (scan->state == JSON_IN_STRING)
            return after_value(scan);
        scan->state = JSON_AT_COLON;
    }
    return JSON_STEP_MORE;
}

/* A number that has ended before `c`, which belongs to what is around it. */
static JsonStep end_number(JsonScan *scan, char c) {
    if (after_value(scan) == JSON_STEP_DONE)
        return JSON_STEP_DONE;
    return json_scan(scan, c);
}

static JsonStep in_number(JsonScan *scan, char c) {
    const bool digit = is_digit(c), e = (c | 0x20) == 'e';
    switch (scan->state) {
    case JSON_NUMBER_SIGN:
        scan->state = c == '0' ? JSON_NUMBER_ZERO : JSON_NUMBER_WHOLE;
        return digit ? JSON_STEP_MORE : JSON_STEP_INVALID;
    case JSON_NUMBER_ZERO:
    case JSON_NUMBER_WHOLE:
        if (digit)
            return scan->state == JSON_NUMBER_WHOLE ? JSON_STEP_MORE : JSON_STEP_INVALID;
        if (c != '.' && !e)
            return end_number(scan, c);
        scan->state = e ? JSON_NUMBER_E : JSON_NUMBER_POINT;
        return JSON_STEP_MORE;
    case JSON_NUMBER_POINT:
        scan->state = JSON_NUMBER_FRACTION;
        return digit ? JSON_STEP_MORE : JSON_STEP_INVALID;
    case JSON_NUMBER_FRACTION:
        if (e)
            scan->state = JSON_NUMBER_E;
        return digit || e ? JSON_STEP_MORE : end_number(scan, c);
    case JSON_NUMBER_E:
        scan->state = digit ? JSON_NUMBER_EXPONENT : JSON_NUMBER_E_SIGN;
        return digit || c == '+' || c == '-' ? JSON_STEP_MORE : JSON_STEP_INVALID;
    case JSON_NUMBER_E_SIGN:
        scan->state = JSON_NUMBER_EXPONENT;
        return digit ? JSON_STEP_MORE : JSON_STEP_INVALID;
    default:
        return digit ? JSON_STEP_MORE : end_number(scan, c);
    }
}

static JsonStep in_literal(JsonScan *scan, char c) {
    if (c != *scan->literal)
        return JSON_STEP_INVALID;
    scan->literal++;
    return *scan->literal == '\0' ? after_value(scan) : JSON_STEP_MORE;
}

JsonStep json_scan(JsonScan *scan, char c) {
    switch (scan->state) {
    case JSON_IN_STRING:
    case JSON_IN_KEY:
        return in_string(scan, c);
    case JSON_IN_LITERAL:
        return in_literal(scan, c);
    case JSON_NUMBER_SIGN:
    case JSON_NUMBER_ZERO:
    case JSON_NUMBER_WHOLE:
    case JSON_NUMBER_POINT:
    case JSON_NUMBER_FRACTION:
    case JSON_NUMBER_E:
    case JSON_NUMBER_E_SIGN:
    case JSON_NUMBER_EXPONENT:
        return in_number(scan, c);
    default:
        break;
    }
    if (is_space(c))
        return JSON_STEP_MORE;
    switch (scan->state) {
    case JSON_AT_FIRST:
        return c == ']' ? close_container(scan, c) : begin_value(scan, c);
    case JSON_AT_KEY_OR_END:
        if (c == '}')
            return close_container(scan, c);
        scan->state = JSON_IN_KEY;
        return c == '"' ? JSON_STEP_MORE : JSON_STEP_INVALID;
    case JSON_AT_KEY:
        scan->state = JSON_IN_KEY;
        return c == '"' ? JSON_STEP_MORE : JSON_STEP_INVALID;
    case JSON_AT_COLON:
        scan->state = JSON_AT_VALUE;
        return c == ':' ? JSON_STEP_MORE : JSON_STEP_INVALID;
    case JSON_AFTER_VALUE:
        if (c != ',' || scan->depth == 0)
            return c == '}' || c == ']' ? close_container(scan, c) : JSON_STEP_INVALID;
        scan->state = inside_object(scan) ? JSON_AT_KEY : JSON_AT_VALUE;
        return JSON_STEP_MORE;
    default:
        return begin_value(scan, c);
    }
}

bool json_is_value(const char *text, size_t bytes) {
    while (bytes > 0 && is_space(text[bytes - 1]))
        bytes--;
    JsonScan scan;
    json_scan_open(&scan);
    for (size_t i = 0; i < bytes; i++) {
        const bool raw_control = json_scan_in_string(&scan) && (unsigned char)text[i] < 0x20;
        const JsonStep step = json_scan(&scan, text[i]);
        if (step == JSON_STEP_INVALID || raw_control || (step == JSON_STEP_DONE && i + 1 < bytes))
            return false;
    }
    /* A number ends with the text. */
    return bytes > 0 && scan.depth == 0 && (scan.state == JSON_AFTER_VALUE || json_scan(&scan, ' ') == JSON_STEP_DONE);
}

static uint32_t hex4(const char *text) {
    uint32_t code = 0;
    for (int i = 0; i < 4; i++) {
        const char c = text[i], lower = (char)(c | 0x20);
        code = code << 4 | (uint32_t)(is_digit(c) ? c - '0' : lower - 'a' + 10);
    }
    return code;
}

/* \uXXXX at `at` (the byte behind the "u"), perhaps the first half of a pair; returns the byte behind it. */
static size_t append_unicode(Text *out, const char *text, size_t bytes, size_t at) {
    if (bytes - at < 4)
        return bytes;
    uint32_t code = hex4(text + at);
    at += 4;
    if (code >= 0xD800 && code < 0xDC00 && bytes - at >= 6 && text[at] == '\\' && text[at + 1] == 'u') {
        const uint32_t low = hex4(text + at + 2);
        if (low >= 0xDC00 && low < 0xE000) {
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
            at += 6;
        }
    }
    text_append_code_point(out, code);
    return at;
}

bool json_append_unescaped(Text *out, const char *text, size_t bytes) {
    for (size_t i = 0; i < bytes;) {
        if (text[i] != '\\' || i + 1 == bytes) {
            text_append_char(out, text[i++]);
            continue;
        }
        static const char letters[] = "bfnrt", meant[] = "\b\f\n\r\t";
        const char c = text[i + 1];
        i += 2;
        const char *found = c != '\0' ? strchr(letters, c) : NULL;
        if (c == 'u')
            i = append_unicode(out, text, bytes, i);
        else
            text_append_char(out, found != NULL ? meant[found - letters] : c);
    }
    return !out->failed;
}

bool json_append_escaped(Text *out, const char *text, size_t bytes) {
    size_t plain = 0;
    for (size_t i = 0; i < bytes; i++) {
        const unsigned char c = (unsigned char)text[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        text_append(out, text + plain, i - plain);
        plain = i + 1;
        static const char named[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
        const char *found = c != 0 ? strchr(named, c) : NULL;
        if (found != NULL)
            text_append_format(out, "\\%c", letters[found - named]);
        else
            text_append_format(out, "\\u%04x", c);
    }
    return text_append(out, text + plain, bytes - plain);
}
