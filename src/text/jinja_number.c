/* jinja_number.c - see jinja_number.h. */
#include "text/jinja_number.h"

#include "text/jinja_int.h"
#include "text/jinja_unicode.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PRECISION = 100000, MAX_WIDTH = 1 << 24 };

/* ---- floats ------------------------------------------------------------------------------------------------------ */

/* Adds one to the last digit of "d.ddde+xx"; false when that would need another digit. */
static bool next_decimal(char *text) {
    for (char *c = strchr(text, 'e') - 1; c >= text; c--) {
        if (*c == '.')
            continue;
        if (*c != '9') {
            (*c)++;
            return true;
        }
        *c = '0';
    }
    return false;
}

/* Whether the decimal, or (for powers of two, above which doubles are twice as far apart as below, so that the nearest
 * decimal may be too low and the next one good) the one after it, reads back as the number. */
static bool reads_back(char *text, double magnitude) {
    double back;
    int exponent;
    if (!parse_double(text, &back) || back == magnitude)
        return back == magnitude;
    return frexp(magnitude, &exponent) == 0.5 && next_decimal(text) && parse_double(text, &back) && back == magnitude;
}

/* The fewest digits that read back as the same double: number = 0.d1d2d3... * 10^point. Fifteen digits are always
 * exact when they suffice, so that the shortest ones are those without their trailing zeros; subnormal numbers have
 * fewer. */
static Status shortest_digits(Jinja *j, double magnitude, char digits[24], int *count, int *point) {
    for (int precision = magnitude < DBL_MIN ? 0 : 14; precision <= 16; precision++) {
        Text text = {0};
        if (!text_append_double_as(&text, 'e', precision, magnitude)) {
            text_free(&text);
            return jinja_fail(j, ERR_MEMORY, "no memory to write a number");
        }
        if (precision == 16 || reads_back(text.bytes, magnitude)) {
            const char *exponent = strchr(text.bytes, 'e');
            *count = 0;
            for (const char *c = text.bytes; c < exponent; c++)
                if (*c != '.')
                    digits[(*count)++] = *c;
            *point = atoi(exponent + 1) + 1;
            text_free(&text);
            break;
        }
        text_free(&text);
    }
    while (*count > 1 && digits[*count - 1] == '0')
        (*count)--;
    return OK;
}

static Status write_exponent(Jinja *j, int exponent, char letter) {
    char text[16];
    snprintf(text, sizeof text, "%c%c%02d", letter, exponent < 0 ? '-' : '+', abs(exponent));
    return jinja_write_str(j, text);
}

/* repr() of a finite magnitude; a whole number gets ".0" unless it is written with an exponent. */
static Status write_shortest(Jinja *j, double magnitude) {
    char digits[24];
    int count, point;
    TRY(shortest_digits(j, magnitude, digits, &count, &point));
    if (point <= -4 || point > 16) {
        TRY(jinja_write(j, digits, 1));
        if (count > 1) {
            TRY(jinja_write_char(j, '.'));
            TRY(jinja_write(j, digits + 1, (size_t)count - 1));
        }
        return write_exponent(j, point - 1, 'e');
    }
    if (point <= 0) {
        TRY(jinja_write_str(j, "0."));
        TRY(jinja_write_repeat(j, "0", 1, (size_t)-point));
        return jinja_write(j, digits, (size_t)count);
    }
    TRY(jinja_write(j, digits, (size_t)MIN(point, count)));
    if (point >= count) {
        TRY(jinja_write_repeat(j, "0", 1, (size_t)(point - count)));
        return jinja_write_str(j, ".0");
    }
    TRY(jinja_write_char(j, '.'));
    return jinja_write(j, digits + point, (size_t)(count - point));
}

Status write_float(Jinja *j, double number) {
    if (isnan(number))
        return jinja_write_str(j, "nan");
    if (signbit(number))
        TRY(jinja_write_char(j, '-'));
    if (isinf(number))
        return jinja_write_str(j, "inf");
    return write_shortest(j, fabs(number));
}

Status write_double_styled(Jinja *j, double magnitude, char style, int precision, bool alternate) {
    if (isnan(magnitude) || isinf(magnitude)) {
        const bool upper = style >= 'A' && style <= 'Z';
        return jinja_write_str(j, isnan(magnitude) ? (upper ? "NAN" : "nan") : upper ? "INF" : "inf");
    }
    const size_t mark = jinja_mark(j);
    TRY(jinja_spend(j, (size_t)precision / 16 + 1));
    TRY(jinja_write_double(j, style == 'F' ? 'f' : style, precision, magnitude));
    if (!alternate)
        return OK;
    /* "#": the point stays, and g keeps its trailing zeros. */
    Value text;
    TRY(jinja_take(j, mark, &text));
    size_t mantissa = 0, digits = 0;
    bool point = false, leading = true;
    for (; mantissa < text.count && (text.as.text[mantissa] | 0x20) != 'e'; mantissa++) {
        const char c = text.as.text[mantissa];
        point = point || c == '.';
        leading = leading && (c == '0' || c == '.');
        digits += c != '.' && !leading;
    }
    TRY(jinja_write(j, text.as.text, mantissa));
    if (!point)
        TRY(jinja_write_char(j, '.'));
    if (style == 'g' || style == 'G') {
        const size_t wanted = precision == 0 ? 1 : (size_t)precision;
        const size_t have = leading ? 1 : digits; /* of zero, the one digit counts */
        if (wanted > have)
            TRY(jinja_write_repeat(j, "0", 1, wanted - have));
    }
    return jinja_write(j, text.as.text + mantissa, text.count - mantissa);
}

/* ---- rounding ---------------------------------------------------------------------------------------------------- */

static Status round_integer(Jinja *j, Value number, int64_t digits, Value *rounded) {
    if (number.kind == V_BOOL)
        number = value_int(number.as.boolean);
    *rounded = number;
    if (digits >= 0)
        return OK;
    if (digits < -(int64_t)j->limits->integer_bits / 3) {
        *rounded = value_int(0);
        return OK;
    }
    /* To the nearest multiple of 10^-digits, ties to the even one. */
    Value unit, quotient, rest, twice;
    TRY(int_power(j, value_int(10), value_int(-digits), &unit));
    TRY(int_divide(j, number, unit, &quotient, &rest));
    TRY(int_add(j, rest, rest, &twice));
    bool unordered;
    const int half = number_compare(twice, unit, &unordered);
    Value odd;
    TRY(int_divide(j, quotient, value_int(2), NULL, &odd));
    if (half > 0 || (half == 0 && int_sign(odd) != 0))
        TRY(int_add(j, quotient, value_int(1), &quotient));
    return int_multiply(j, quotient, unit, rounded);
}

/* Reads back what printf rounds correctly. */
static Status reread(Jinja *j, char style, int precision, double number, double *rounded) {
    Text text = {0};
    const bool done = text_append_double_as(&text, style, precision, number);
    double back = 0;
    if (done && !parse_double(text.bytes, &back)) {
        text_free(&text);
        REFUSE(j, "rounded value too large to represent");
    }
    text_free(&text);
    if (!done)
        return jinja_fail(j, ERR_MEMORY, "no memory to round a number");
    *rounded = back;
    return OK;
}

Status number_round(Jinja *j, Value number, int64_t digits, Value *rounded) {
    if (is_integer(number))
        return round_integer(j, number, digits, rounded);
    const double x = number.as.real;
    *rounded = number;
    if (isnan(x) || isinf(x) || x == 0 || digits > 323)
        return OK;
    double result;
    if (digits >= 0) {
        TRY(reread(j, 'f', (int)digits, x, &result));
        *rounded = value_float(result);
        return OK;
    }
    if (digits < -309) {
        *rounded = value_float(copysign(0.0, x));
        return OK;
    }
    int exponent = 0; /* of the first decimal digit */
    Text text = {0};
    if (!text_append_double_as(&text, 'e', 17, fabs(x))) {
        text_free(&text);
        return jinja_fail(j, ERR_MEMORY, "no memory to round a number");
    }
    exponent = atoi(strchr(text.bytes, 'e') + 1);
    text_free(&text);
    if (exponent + digits >= 0) {
        TRY(reread(j, 'e', exponent + (int)digits, x, &result));
    } else {
        const double half = 5 * pow(10, (double)(-digits - 1));
        result = exponent + digits == -1 && fabs(x) > half ? copysign(half * 2, x) : copysign(0.0, x);
    }
    *rounded = value_float(result);
    return OK;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

/* The text in ASCII: spaces at the ends gone, digits of all scripts as 0-9. *valid: there is nothing else in it. */
static Status plain_number_text(Jinja *j, Value text, bool *valid, Value *plain) {
    size_t start = 0, end = text.count;
    while (start < end) {
        size_t next = start;
        if (!char_is_space(char_next(text, &next)))
            break;
        start = next;
    }
    while (end > start) {
        size_t before = end;
        if (!char_is_space(char_previous(text, &before)))
            break;
        end = before;
    }
    text = value_slice(text, start, end - start);
    *valid = true;
    *plain = text;
    if (is_ascii(text))
        return OK;
    const size_t mark = jinja_mark(j);
    for (size_t at = 0; at < text.count;) {
        const uint32_t c = char_next(text, &at);
        const int digit = char_decimal_value(c);
        *valid = *valid && (c < 0x80 || digit >= 0);
        TRY(jinja_write_char(j, digit >= 0 ? (char)('0' + digit) : c < 0x80 ? (char)c : '?'));
    }
    return jinja_take(j, mark, plain);
}

static int digit_of(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    const char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'z' ? lower - 'a' + 10 : 99;
}

Status number_int_of_text(Jinja *j, Value text, int base, bool *valid, Value *integer) {
    TRY(plain_number_text(j, text, valid, &text));
    *valid = *valid && (base == 0 || (base >= 2 && base <= 36));
    if (!*valid)
        return OK;
    const char *at = text.as.text, *end = at + text.count;
    const bool negative = at < end && *at == '-';
    if (at < end && (*at == '-' || *at == '+'))
        at++;
    bool prefixed = false;
    if (end - at >= 2 && *at == '0') {
        const char letter = (char)(at[1] | 0x20);
        const int named = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 0;
        if (named != 0 && (base == 0 || base == named)) {
            base = named;
            prefixed = true;
            at += 2;
        }
    }
    const bool any_base = base == 0;
    if (any_base)
        base = 10;
    char *digits;
    size_t count = 0;
    TRY(jinja_alloc(j, text.count + 1, &digits));
    bool after_digit = prefixed; /* an underscore stands between digits, or after the prefix */
    for (; at < end; at++) {
        if (*at == '_' && after_digit) {
            after_digit = false;
            continue;
        }
        *valid = *valid && digit_of(*at) < base;
        if (!*valid)
            return OK;
        digits[count++] = *at;
        after_digit = true;
    }
    *valid = count > 0 && after_digit;
    if (*valid && any_base && digits[0] == '0') /* base 0: no leading zeros but in zero */
        for (size_t i = 0; i < count; i++)
            *valid = *valid && digits[i] == '0';
    if (*valid && base == 10 && count > 4300)
        *valid = false;
    return *valid ? int_of_digits(j, digits, count, base, negative, integer) : OK;
}

static bool same_word(const char *a, const char *lower, size_t count) {
    for (size_t i = 0; i < count; i++)
        if ((a[i] >= 'A' && a[i] <= 'Z' ? (a[i] | 0x20) : a[i]) != lower[i])
            return false;
    return true;
}

Status number_float_of_text(Jinja *j, Value text, bool *valid, double *number) {
    TRY(plain_number_text(j, text, valid, &text));
    char *plain;
    TRY(jinja_alloc(j, text.count + 1, &plain));
    size_t count = 0;
    bool digits = false;
    for (size_t i = 0; i < text.count; i++) {
        const char c = text.as.text[i];
        const bool digit = c >= '0' && c <= '9';
        if (c == '_') { /* only between digits */
            const char before = i > 0 ? text.as.text[i - 1] : 0, after = i + 1 < text.count ? text.as.text[i + 1] : 0;
            *valid = *valid && before >= '0' && before <= '9' && after >= '0' && after <= '9';
            continue;
        }
        digits = digits || digit;
        plain[count++] = c;
    }
    plain[count] = '\0';
    const char *word = plain + (plain[0] == '-' || plain[0] == '+');
    const size_t length = strlen(word);
    if ((length == 3 && same_word(word, "inf", 3)) || (length == 8 && same_word(word, "infinity", 8))) {
        *number = plain[0] == '-' ? -INFINITY : INFINITY;
        return OK;
    }
    if (length == 3 && same_word(word, "nan", 3)) {
        *number = NAN;
        return OK;
    }
    /* strtod takes more than Python does: hexadecimal, spaces, "nan(...)". */
    *valid = *valid && digits && strspn(plain, "0123456789+-.eE") == count && strlen(plain) == count;
    if (*valid && !parse_double(plain, number)) {
        const char *exponent = strpbrk(plain, "eE");
        *valid = false;
        /* Beyond the range is infinity, not an error. */
        const char *point = strchr(plain, '.');
        const bool shaped = strspn(word, "0123456789.") == (exponent != NULL ? (size_t)(exponent - word) : length) &&
                            (point == NULL || strchr(point + 1, '.') == NULL);
        const char *power = exponent != NULL ? exponent + 1 + (exponent[1] == '+') : "";
        if (shaped && strspn(power, "0123456789") == strlen(power) && (exponent == NULL || *power != '\0')) {
            *valid = true;
            *number = plain[0] == '-' ? -INFINITY : INFINITY;
        }
    }
    return OK;
}

/* ---- format specifications --------------------------------------------------------------------------------------- */

/* The mini-language of format(): [[fill]align][sign][z][#][0][width][grouping][.precision][type]. */
typedef struct FormatSpec {
    uint32_t fill;
    char align;     /* one of < > = ^, or 0 */
    char sign;      /* one of + - space, or 0 */
    bool alternate; /* # */
    bool no_negative_zero; /* z */
    int64_t width;  /* -1: none */
    char grouping;  /* , or _ or 0 */
    int64_t precision; /* -1: none */
    char type;      /* 0: none */
} FormatSpec;

static bool read_count(const char *text, size_t bytes, size_t *at, int64_t *number) {
    int64_t value = 0;
    const size_t start = *at;
    while (*at < bytes && text[*at] >= '0' && text[*at] <= '9' && value < MAX_WIDTH * (int64_t)10)
        value = value * 10 + (text[(*at)++] - '0');
    if (*at > start)
        *number = value;
    return *at > start;
}

static Status format_spec_parse(Jinja *j, Value text, char default_align, FormatSpec *spec) {
    *spec = (FormatSpec){.fill = ' ', .width = -1, .precision = -1};
    const char *t = text.as.text;
    size_t at = 0, after_first = 0;
    uint32_t first = 0;
    if (text.count > 0)
        first = char_next(text, &after_first);
    const bool filled = after_first > 0 && after_first < text.count && strchr("<>=^", t[after_first]) != NULL;
    if (filled) {
        spec->fill = first;
        spec->align = t[after_first];
        at = after_first + 1;
    } else if (text.count > 0 && strchr("<>=^", t[0]) != NULL) {
        spec->align = t[0];
        at = 1;
    }
    if (at < text.count && strchr("+- ", t[at]) != NULL)
        spec->sign = t[at++];
    if (at < text.count && t[at] == 'z') {
        spec->no_negative_zero = true;
        at++;
    }
    if (at < text.count && t[at] == '#') {
        spec->alternate = true;
        at++;
    }
    if (!filled && at < text.count && t[at] == '0') { /* behind a fill it belongs to the width */
        spec->fill = '0';
        if (spec->align == 0 && default_align == '>')
            spec->align = '=';
        at++;
    }
    read_count(t, text.count, &at, &spec->width);
    if (at < text.count && (t[at] == ',' || t[at] == '_')) {
        spec->grouping = t[at++];
        REFUSE_IF(at < text.count && (t[at] == ',' || t[at] == '_'), j, "Cannot specify both ',' and '_'.");
    }
    if (at < text.count && t[at] == '.') {
        at++;
        REFUSE_IF(!read_count(t, text.count, &at, &spec->precision), j, "Format specifier missing precision");
    }
    REFUSE_IF(spec->width > MAX_WIDTH || spec->precision > MAX_PRECISION, j, "Too large a width or precision in '%.*s'",
              (int)MIN(text.count, 40u), t);
    REFUSE_IF(text.count > at + 1 || (at < text.count && (unsigned char)t[at] >= 0x80), j,
              "Invalid format specifier '%.*s'", (int)MIN(text.count, 40u), t);
    if (at < text.count)
        spec->type = t[at];
    return OK;
}

static Status write_fill(Jinja *j, uint32_t fill, size_t count) {
    char bytes[4];
    const int length = utf8_encode(fill, bytes);
    return jinja_write_repeat(j, bytes, (size_t)length, count);
}

static Status write_field(Jinja *j, const FormatSpec *spec, Value text, char default_align) {
    const size_t length = string_length(text);
    const size_t padding = spec->width > (int64_t)length ? (size_t)spec->width - length : 0;
    const char align = spec->align != 0 ? spec->align : default_align;
    const size_t left = align == '<' ? 0 : align == '^' ? padding / 2 : padding;
    TRY(write_fill(j, spec->fill, left));
    TRY(jinja_write(j, text.as.text, text.count));
    return write_fill(j, spec->fill, padding - left);
}

/* Integer digits with separators, zeros in front up to `width` characters. */
static Status write_grouped(Jinja *j, Value digits, char separator, int group, size_t width) {
    size_t count = digits.count;
    if (separator == 0)
        group = 1 << 30;
    /* n digits take n + (n - 1) / group characters; a separator never stands in front. */
    size_t zeros = 0;
    while (count + zeros + (count + zeros - 1) / (size_t)group < width)
        zeros++;
    for (size_t i = 0; i < zeros + count; i++) {
        const size_t left = zeros + count - i;
        if (i > 0 && left % (size_t)group == 0)
            TRY(jinja_write_char(j, separator));
        TRY(jinja_write_char(j, i < zeros ? '0' : digits.as.text[i - zeros]));
    }
    return OK;
}

/* A number is put into its field: sign and prefix, padding, digits grouped in threes (or fours for _ in x, o, b). */
static Status write_number_field(Jinja *j, const FormatSpec *spec, Value lead, Value digits, int group) {
    size_t whole = 0; /* what stands before the point or exponent is grouped */
    while (whole < digits.count && digits.as.text[whole] != '.' && digits.as.text[whole] != '%' &&
           (spec->grouping == 0 || group == 4 || (digits.as.text[whole] | 0x20) != 'e'))
        whole++;
    bool numeric = whole > 0;
    for (size_t i = 0; i < whole; i++)
        numeric = numeric && (digit_of(digits.as.text[i]) < 16);
    const size_t rest = digits.count - whole;
    /* Zero padding continues the grouping. */
    const bool zero_fill = spec->align == '=' && spec->fill == '0';
    const size_t fixed = lead.count + rest;
    const size_t wanted = zero_fill && spec->width > (int64_t)fixed ? (size_t)spec->width - fixed : 0;
    TRY(jinja_spend_bytes(j, wanted * 4 + digits.count));
    const size_t mark = jinja_mark(j);
    if (numeric)
        TRY(write_grouped(j, value_slice(digits, 0, whole), spec->grouping, group, wanted));
    else {
        if (wanted > whole)
            TRY(jinja_write_repeat(j, "0", 1, wanted - whole));
        TRY(jinja_write(j, digits.as.text, whole));
    }
    TRY(jinja_write(j, digits.as.text + whole, rest));
    Value body;
    TRY(jinja_take(j, mark, &body));
    if (spec->align == '=') {
        const size_t length = lead.count + string_length(body);
        TRY(jinja_write(j, lead.as.text, lead.count));
        if (spec->width > (int64_t)length)
            TRY(write_fill(j, spec->fill, (size_t)spec->width - length));
        return jinja_write(j, body.as.text, body.count);
    }
    Value text;
    TRY(string_concat(j, lead, body, &text));
    return write_field(j, spec, text, '>');
}

static const char *sign_text(const FormatSpec *spec, bool negative) {
    return negative ? "-" : spec->sign == '+' ? "+" : spec->sign == ' ' ? " " : "";
}

static Status unknown_type(Jinja *j, char type, Value v) {
    REFUSE(j, "Unknown format code '%c' for object of type '%s'", type, value_type(v));
}

static Status write_formatted_float(Jinja *j, double number, const FormatSpec *spec, Value original) {
    char style = spec->type;
    int precision = (int)spec->precision;
    bool percent = false;
    switch (style) {
    case '%':
        number *= 100;
        percent = true;
        style = 'f';
        break;
    case 'n':
        REFUSE_IF(spec->grouping != 0, j, "Cannot specify '%c' with 'n'.", spec->grouping);
        style = 'g';
        break;
    case 0:
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G':
        break;
    default:
        return unknown_type(j, style, original);
    }
    const size_t mark = jinja_mark(j);
    const double magnitude = fabs(number);
    if (style == 0 && precision < 0 && isfinite(magnitude)) {
        TRY(write_shortest(j, magnitude)); /* as repr */
        const char *written = j->out->bytes + mark;
        const size_t count = j->out->count - mark;
        if (spec->alternate && memchr(written, '.', count) == NULL) { /* only with an exponent: 1.e+16 */
            Value text;
            TRY(jinja_take(j, mark, &text));
            TRY(jinja_write(j, text.as.text, 1));
            TRY(jinja_write_char(j, '.'));
            TRY(jinja_write(j, text.as.text + 1, text.count - 1));
        }
    } else if (style == 0 && isfinite(magnitude)) {
        /* Like g, but with at least one digit behind the point, and one digit less before the exponent begins. */
        const int digits = precision == 0 ? 1 : precision;
        Text text = {0};
        if (!text_append_double_as(&text, 'e', digits - 1, magnitude)) {
            text_free(&text);
            return jinja_fail(j, ERR_MEMORY, "no memory to write a number");
        }
        const int exponent = atoi(strchr(text.bytes, 'e') + 1);
        text_free(&text);
        const bool scientific = exponent < -4 || exponent >= digits - 1;
        if (scientific && exponent >= -4 && exponent < digits) { /* only by the rule of repr */
            TRY(write_double_styled(j, magnitude, 'e', digits - 1, false));
            Value all;
            TRY(jinja_take(j, mark, &all));
            size_t mantissa = 0;
            while (all.as.text[mantissa] != 'e')
                mantissa++;
            size_t keep = mantissa;
            if (memchr(all.as.text, '.', mantissa) != NULL && !spec->alternate) {
                while (all.as.text[keep - 1] == '0')
                    keep--;
                if (all.as.text[keep - 1] == '.')
                    keep--;
            }
            TRY(jinja_write(j, all.as.text, keep));
            TRY(jinja_write(j, all.as.text + mantissa, all.count - mantissa));
        } else {
            TRY(write_double_styled(j, magnitude, 'g', digits, spec->alternate));
            const char *written = j->out->bytes + mark;
            const size_t count = j->out->count - mark;
            if (memchr(written, '.', count) == NULL && memchr(written, 'e', count) == NULL)
                TRY(jinja_write_str(j, ".0"));
        }
    } else {
        TRY(write_double_styled(j, magnitude, style == 0 ? 'g' : style, precision < 0 ? 6 : precision,
                                spec->alternate));
    }
    if (percent)
        TRY(jinja_write_char(j, '%'));
    Value digits;
    TRY(jinja_take(j, mark, &digits));
    bool negative = signbit(number) && !isnan(number);
    if (spec->no_negative_zero && negative) {
        negative = false;
        for (size_t i = 0; i < digits.count; i++)
            negative = negative || (digits.as.text[i] >= '1' && digits.as.text[i] <= '9') || isinf(number);
    }
    return write_number_field(j, spec, value_str(sign_text(spec, negative)), digits, 3);
}

static Status write_formatted_int(Jinja *j, Value number, const FormatSpec *spec) {
    int base = 10, group = 3;
    const char *prefix = "";
    if (spec->type == 0 || strchr("eEfFgG%", spec->type) == NULL) {
        REFUSE_IF(spec->precision >= 0, j, "Precision not allowed in integer format specifier");
        REFUSE_IF(spec->no_negative_zero, j, "Negative zero coercion (z) not allowed in integer format specifier");
    }
    switch (spec->type) {
    case 0:
    case 'd':
    case 'n':
        break;
    case 'x':
    case 'X':
        base = 16;
        prefix = spec->type == 'x' ? "0x" : "0X";
        break;
    case 'o':
        base = 8;
        prefix = "0o";
        break;
    case 'b':
        base = 2;
        prefix = "0b";
        break;
    case 'c': {
        int64_t code;
        REFUSE_IF(spec->sign != 0, j, "Sign not allowed with integer format specifier 'c'");
        REFUSE_IF(spec->alternate, j, "Alternate form (#) not allowed with integer format specifier 'c'");
        REFUSE_IF(spec->grouping != 0, j, "Cannot specify '%c' with 'c'.", spec->grouping);
        REFUSE_IF(!int_to_int64(number, &code) || code < 0 || code > 0x10FFFF, j, "%%c arg not in range(0x110000)");
        char bytes[4];
        const int length = utf8_encode((uint32_t)code, bytes);
        Value text;
        TRY(string_new(j, bytes, (size_t)length, &text));
        return write_field(j, spec, text, '>');
    }
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G':
    case '%': {
        double real;
        TRY(number_to_double(j, number, &real));
        return write_formatted_float(j, real, spec, number);
    }
    default:
        return unknown_type(j, spec->type, number);
    }
    if (base != 10) {
        REFUSE_IF(spec->grouping == ',', j, "Cannot specify ',' with '%c'.", spec->type);
        group = 4;
    }
    REFUSE_IF(spec->grouping != 0 && spec->type == 'n', j, "Cannot specify '%c' with 'n'.", spec->grouping);
    char lead[4];
    const bool negative = int_sign(number) < 0;
    snprintf(lead, sizeof lead, "%s%s", sign_text(spec, negative), spec->alternate ? prefix : "");
    const size_t mark = jinja_mark(j);
    Value magnitude = number, digits, lead_text;
    if (negative)
        TRY(int_negate(j, number, &magnitude));
    TRY(int_write(j, magnitude, base, spec->type == 'X'));
    TRY(jinja_take(j, mark, &digits));
    TRY(string_new(j, lead, strlen(lead), &lead_text));
    return write_number_field(j, spec, lead_text, digits, group);
}

Status write_formatted(Jinja *j, Value value, Value spec_text) {
    if (spec_text.count == 0)
        return write_value(j, value);
    FormatSpec spec;
    if (is_number(value)) {
        TRY(format_spec_parse(j, spec_text, '>', &spec));
        return value.kind == V_FLOAT ? write_formatted_float(j, value.as.real, &spec, value)
                                     : write_formatted_int(j, value, &spec);
    }
    REFUSE_IF(value.kind != V_STRING, j, "unsupported format string passed to %s.__format__", value_type(value));
    TRY(format_spec_parse(j, spec_text, '<', &spec));
    if (spec.type != 0 && spec.type != 's')
        return unknown_type(j, spec.type, value);
    REFUSE_IF(spec.sign != 0, j, "Sign not allowed in string format specifier");
    REFUSE_IF(spec.no_negative_zero, j, "Negative zero coercion (z) not allowed in string format specifier");
    REFUSE_IF(spec.alternate, j, "Alternate form (#) not allowed in string format specifier");
    REFUSE_IF(spec.grouping != 0, j, "Cannot specify '%c' with 's'.", spec.grouping);
    REFUSE_IF(spec.align == '=', j, "'=' alignment not allowed in string format specifier");
    if (spec.precision >= 0 && (size_t)spec.precision < string_length(value))
        value = value_slice(value, 0, string_offset(value, (size_t)spec.precision));
    return write_field(j, &spec, value, '<');
}
