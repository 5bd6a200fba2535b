/* text.c - see text.h. */
#include "base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void text_free(Text *text) {
    mem_free(text->bytes);
    *text = (Text){0};
}

void text_clear(Text *text) {
    text->count = 0;
    text->failed = false;
    if (text->bytes != NULL)
        text->bytes[0] = '\0';
}

bool text_append(Text *text, const char *bytes, size_t count) {
    size_t needed;
    if (text->failed || !size_add(text->count, count, &needed) || !size_add(needed, 1, &needed) ||
        !mem_grow((void **)&text->bytes, &text->capacity, needed, 1, MEM_TEXT)) {
        text->failed = true;
        return false;
    }
    if (count > 0)
        memcpy(text->bytes + text->count, bytes, count);
    text->count += count;
    text->bytes[text->count] = '\0';
    return true;
}

bool text_append_str(Text *text, const char *string) {
    return text_append(text, string, strlen(string));
}

bool text_append_char(Text *text, char c) {
    return text_append(text, &c, 1);
}

bool text_append_format(Text *text, const char *format, ...) {
    va_list args;
    va_start(args, format);
    char small[256];
    va_list again;
    va_copy(again, args);
    const int wanted = vsnprintf(small, sizeof small, format, args);
    va_end(args);
    bool done = false;
    if (wanted < 0) {
        text->failed = true;
    } else if ((size_t)wanted < sizeof small) {
        done = text_append(text, small, (size_t)wanted);
    } else {
        char *large = mem_alloc((size_t)wanted + 1, MEM_TEXT);
        if (large == NULL) {
            text->failed = true;
        } else {
            vsnprintf(large, (size_t)wanted + 1, format, again);
            done = text_append(text, large, (size_t)wanted);
            mem_free(large);
        }
    }
    va_end(again);
    return done;
}

bool text_append_code_point(Text *text, uint32_t code_point) {
    char bytes[4];
    const int count = utf8_encode(code_point, bytes);
    return text_append(text, bytes, (size_t)count);
}

/* Whatever the decimal point of the process's locale is, ours is '.'. */
static void point_of_c_locale(char *digits) {
    const char *point = localeconv()->decimal_point;
    if (strcmp(point, ".") == 0)
        return;
    char *at = strstr(digits, point);
    if (at != NULL) {
        const size_t extra = strlen(point) - 1;
        *at = '.';
        memmove(at + 1, at + 1 + extra, strlen(at + 1 + extra) + 1);
    }
}

/* The fewest digits that read back as the same number; both sides use the process's locale. */
static bool append_shortest(Text *text, double number, bool is_float) {
    if (isnan(number))
        return text_append_str(text, "nan");
    if (isinf(number))
        return text_append_str(text, number < 0 ? "-inf" : "inf");
    char digits[40];
    for (int precision = is_float ? 6 : 15; precision <= (is_float ? 9 : 17); precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, number);
        if (is_float ? strtof(digits, NULL) == (float)number : strtod(digits, NULL) == number)
            break;
    }
    point_of_c_locale(digits);
    return text_append_str(text, digits);
}

bool text_append_double(Text *text, double number) {
    return append_shortest(text, number, false);
}

bool text_append_float(Text *text, float number) {
    return append_shortest(text, (double)number, true);
}

bool text_append_double_as(Text *text, char style, int precision, double number) {
    const char format[] = {'%', '.', '*', style, '\0'};
    const int wanted = snprintf(NULL, 0, format, precision, number);
    char *digits = wanted < 0 ? NULL : mem_alloc((size_t)wanted + 1, MEM_TEXT);
    if (digits == NULL) {
        text->failed = true;
        return false;
    }
    snprintf(digits, (size_t)wanted + 1, format, precision, number);
    point_of_c_locale(digits);
    const bool done = text_append_str(text, digits);
    mem_free(digits);
    return done;
}

char *text_take(Text *text) {
    if (!text->failed && text->bytes == NULL)
        text_append(text, "", 0);
    char *bytes = text->bytes;
    if (text->failed) {
        mem_free(bytes);
        bytes = NULL;
    }
    *text = (Text){0};
    return bytes;
}

Status text_check(const Text *text, Error *err) {
    FAIL_IF(text->failed, ERR_MEMORY, "no memory for a text of more than %zu bytes", text->count);
    return OK;
}

bool parse_int64(const char *string, int64_t *number) {
    if (*string == '\0' || *string == ' ')
        return false;
    char *end;
    errno = 0;
    const long long value = strtoll(string, &end, 10);
    if (errno != 0 || *end != '\0')
        return false;
    *number = value;
    return true;
}

static locale_t c_locale;
static pthread_once_t c_locale_once = PTHREAD_ONCE_INIT;

static void make_c_locale(void) {
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

bool parse_double(const char *string, double *number) {
    pthread_once(&c_locale_once, make_c_locale);
    if (*string == '\0' || *string == ' ')
        return false;
    char *end;
    errno = 0;
    const double value = c_locale != (locale_t)0 ? strtod_l(string, &end, c_locale) : strtod(string, &end);
    if (*end != '\0' || (errno == ERANGE && isinf(value)))
        return false;
    *number = value;
    return true;
}

int parse_hex_digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

bool parse_bytes(const char *string, uint64_t *bytes) {
    size_t digits = strspn(string, "0123456789.");
    char number[32];
    if (digits == 0 || digits >= sizeof number)
        return false;
    memcpy(number, string, digits);
    number[digits] = '\0';
    double value;
    if (!parse_double(number, &value))
        return false;
    const char *suffix = string + digits;
    static const char letters[] = "KMGT";
    if (*suffix != '\0' && *suffix != 'B' && *suffix != 'b') {
        const char upper = (char)(*suffix >= 'a' ? *suffix - 'a' + 'A' : *suffix);
        const char *letter = strchr(letters, upper);
        if (letter == NULL)
            return false;
        for (const char *l = letters; l <= letter; l++)
            value *= 1024;
        suffix++;
        if (*suffix == 'i')
            suffix++;
    }
    if (*suffix == 'B' || *suffix == 'b')
        suffix++;
    if (*suffix != '\0' || value >= 9e18)
        return false;
    *bytes = (uint64_t)value;
    return true;
}

const char *format_bytes(uint64_t bytes, char buffer[16]) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1023.5 && unit + 1 < COUNT(units)) {
        value /= 1024;
        unit++;
    }
    snprintf(buffer, 16, unit == 0 || value >= 99.95 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    point_of_c_locale(buffer);
    return buffer;
}

int utf8_decode(const char *bytes, size_t count, uint32_t *code_point, int *bad_bytes) {
    const unsigned char *p = (const unsigned char *)bytes;
    const unsigned char lead = p[0];
    if (lead < 0x80) {
        *code_point = lead;
        return 1;
    }
    /* The second byte's range depends on the first: no overlong forms, no surrogates, nothing over U+10FFFF. */
    int length = 0;
    unsigned char low = 0x80, high = 0xBF;
    uint32_t value = 0;
    if (lead >= 0xC2 && lead <= 0xDF) {
        length = 2;
        value = lead & 0x1Fu;
    } else if (lead >= 0xE0 && lead <= 0xEF) {
        length = 3;
        value = lead & 0x0Fu;
        low = lead == 0xE0 ? 0xA0 : 0x80;
        high = lead == 0xED ? 0x9F : 0xBF;
    } else if (lead >= 0xF0 && lead <= 0xF4) {
        length = 4;
        value = lead & 0x07u;
        low = lead == 0xF0 ? 0x90 : 0x80;
        high = lead == 0xF4 ? 0x8F : 0xBF;
    }
    for (int i = 1; i < length; i++) {
        if ((size_t)i >= count || p[i] < low || p[i] > high) {
            *bad_bytes = i;
            return 0;
        }
        value = value << 6 | (p[i] & 0x3Fu);
        low = 0x80;
        high = 0xBF;
    }
    if (length == 0) {
        *bad_bytes = 1;
        return 0;
    }
    *code_point = value;
    return length;
}

int utf8_encode(uint32_t code_point, char bytes[4]) {
    if (code_point > 0x10FFFF || (code_point >= 0xD800 && code_point <= 0xDFFF))
        code_point = 0xFFFD;
    if (code_point < 0x80) {
        bytes[0] = (char)code_point;
        return 1;
    }
    if (code_point < 0x800) {
        bytes[0] = (char)(0xC0 | code_point >> 6);
        bytes[1] = (char)(0x80 | (code_point & 0x3F));
        return 2;
    }
    if (code_point < 0x10000) {
        bytes[0] = (char)(0xE0 | code_point >> 12);
        bytes[1] = (char)(0x80 | (code_point >> 6 & 0x3F));
        bytes[2] = (char)(0x80 | (code_point & 0x3F));
        return 3;
    }
    bytes[0] = (char)(0xF0 | code_point >> 18);
    bytes[1] = (char)(0x80 | (code_point >> 12 & 0x3F));
    bytes[2] = (char)(0x80 | (code_point >> 6 & 0x3F));
    bytes[3] = (char)(0x80 | (code_point & 0x3F));
    return 4;
}

bool utf8_valid(const char *bytes, size_t count) {
    for (size_t at = 0; at < count;) {
        uint32_t code_point;
        int bad;
        const int length = utf8_decode(bytes + at, count - at, &code_point, &bad);
        if (length == 0)
            return false;
        at += (size_t)length;
    }
    return true;
}

size_t utf8_complete_prefix(const char *bytes, size_t count) {
    /* Look back for a lead byte whose character would reach beyond the end. */
    for (size_t back = 1; back <= 3 && back <= count; back++) {
        const unsigned char c = (unsigned char)bytes[count - back];
        if ((c & 0xC0) == 0x80)
            continue;
        const size_t length = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : c >= 0xC0 ? 2 : 1;
        if (length <= back)
            return count;
        uint32_t code_point;
        int bad;
        utf8_decode(bytes + count - back, back, &code_point, &bad);
        return bad == (int)back ? count - back : count; /* a bad start is not worth waiting for */
    }
    return count;
}

bool text_append_printable(Text *text, const char *bytes, size_t count) {
    for (size_t at = 0; at < count;) {
        uint32_t c;
        int bad;
        const int length = utf8_decode(bytes + at, count - at, &c, &bad);
        if (length == 0) {
            text_append_code_point(text, 0xFFFD);
            at += (size_t)bad;
            continue;
        }
        /* Bidirectional overrides can disguise text as well as escapes can. */
        const bool disguise = (c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069);
        if (c == '\n' || c == '\t' || (c >= 0x20 && c != 0x7F && !(c >= 0x80 && c <= 0x9F) && !disguise))
            text_append(text, bytes + at, (size_t)length);
        else
            text_append_format(text, c > 0xFF ? "\\u%04" PRIx32 : "\\x%02" PRIx32, c);
        at += (size_t)length;
    }
    return !text->failed;
}

bool starts_with(const char *string, const char *prefix) {
    return strncmp(string, prefix, strlen(prefix)) == 0;
}

bool ends_with(const char *string, const char *suffix) {
    const size_t length = strlen(string), tail = strlen(suffix);
    return length >= tail && memcmp(string + length - tail, suffix, tail) == 0;
}
