/* jinja_format.c - the % operator of strings, str.format and str.format_map. */
#include "text/jinja.h"

#include "text/jinja_int.h"
#include "text/jinja_number.h"
#include "text/jinja_unicode.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* repr() with everything beyond ASCII escaped. */
static Status write_ascii(Jinja *j, Value v) {
    const size_t mark = jinja_mark(j);
    TRY(write_repr(j, v));
    Value text;
    TRY(jinja_take(j, mark, &text));
    for (size_t at = 0; at < text.count;) {
        const uint32_t c = char_next(text, &at);
        char escape[12];
        if (c < 0x80)
            TRY(jinja_write_char(j, (char)c));
        else {
            snprintf(escape, sizeof escape, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)c);
            TRY(jinja_write_str(j, escape));
        }
    }
    return OK;
}

/* ---- the % operator ---------------------------------------------------------------------------------------------- */

typedef struct Percent {
    Value format;
    size_t at;
    Value values;
    const Value *items; /* the values taken in turn */
    size_t count, next;
    bool mapping; /* values may be looked up, and need not all be used */
    bool markup;
} Percent;

/* One conversion: %[(key)][flags][width][.precision]type */
typedef struct Conversion {
    bool left, zero, alternate;
    char sign; /* '+', ' ' or 0 */
    int64_t width, precision; /* precision -1: none */
    char type;
} Conversion;

enum { MAX_FIELD = 1 << 24, MAX_PERCENT_PRECISION = 100000 };

static Status next_value(Jinja *j, Percent *p, Value *value) {
    REFUSE_IF(p->next >= p->count, j, "not enough arguments for format string");
    *value = p->items[p->next++];
    return OK;
}

static char peek(const Percent *p) {
    return p->at < p->format.count ? p->format.as.text[p->at] : '\0';
}

static Status read_key(Jinja *j, Percent *p, Value *key_value) {
    const size_t start = ++p->at;
    int depth = 1;
    while (p->at < p->format.count && depth > 0) {
        const char c = p->format.as.text[p->at++];
        depth += (c == '(') - (c == ')');
    }
    REFUSE_IF(depth > 0, j, "incomplete format key");
    REFUSE_IF(p->values.kind != V_DICT, j, "format requires a mapping");
    const Value key = value_slice(p->format, start, p->at - 1 - start);
    TRY(dict_get(j, p->values.as.dict, key, key_value));
    REFUSE_IF(!is_given(*key_value), j, "the mapping has no key '%.*s'", (int)MIN(key.count, 80u), key.as.text);
    return OK;
}

static Status read_number(Jinja *j, Percent *p, int64_t limit, int64_t *number) {
    if (peek(p) == '*') {
        p->at++;
        Value value;
        TRY(next_value(j, p, &value));
        TRY(value_to_int64(j, value, "* in a format", number));
    } else {
        *number = 0;
        while (peek(p) >= '0' && peek(p) <= '9' && *number <= limit)
            *number = *number * 10 + (p->format.as.text[p->at++] - '0');
    }
    REFUSE_IF(*number > limit || *number < -limit, j, "too large a width or precision in a format");
    return OK;
}

static Status read_conversion(Jinja *j, Percent *p, Conversion *c) {
    *c = (Conversion){.precision = -1};
    for (;; p->at++) {
        const char flag = peek(p);
        if (flag == '-')
            c->left = true;
        else if (flag == '0')
            c->zero = true;
        else if (flag == '#')
            c->alternate = true;
        else if (flag == '+')
            c->sign = '+';
        else if (flag == ' ')
            c->sign = c->sign != 0 ? c->sign : ' ';
        else
            break;
    }
    TRY(read_number(j, p, MAX_FIELD, &c->width));
    if (c->width < 0) {
        c->left = true;
        c->width = -c->width;
    }
    if (peek(p) == '.') {
        p->at++;
        TRY(read_number(j, p, MAX_PERCENT_PRECISION, &c->precision));
        c->precision = MAX(c->precision, 0);
    }
    if (peek(p) == 'l' || peek(p) == 'h' || peek(p) == 'L')
        p->at++;
    REFUSE_IF(p->at >= p->format.count, j, "incomplete format");
    c->type = p->format.as.text[p->at++];
    return OK;
}

/* Sign and prefix stand before zeros, behind spaces. */
static Status write_padded(Jinja *j, const Conversion *c, const char *lead, Value body, bool numeric) {
    const size_t length = strlen(lead) + string_length(body);
    const size_t pad = c->width > (int64_t)length ? (size_t)c->width - length : 0;
    const bool zeros = numeric && c->zero && !c->left;
    if (!c->left && !zeros)
        TRY(jinja_write_repeat(j, " ", 1, pad));
    TRY(jinja_write_str(j, lead));
    if (zeros)
        TRY(jinja_write_repeat(j, "0", 1, pad));
    TRY(jinja_write(j, body.as.text, body.count));
    return c->left ? jinja_write_repeat(j, " ", 1, pad) : OK;
}

static Status write_percent_text(Jinja *j, const Percent *p, const Conversion *c, Value value) {
    const size_t mark = jinja_mark(j);
    Value text;
    if (c->type == 's') {
        TRY(value_to_string(j, value, &text));
    } else {
        TRY(c->type == 'r' ? write_repr(j, value) : write_ascii(j, value));
        TRY(jinja_take(j, mark, &text));
    }
    if (p->markup)
        TRY(value_escape(j, text, &text));
    if (c->precision >= 0 && (size_t)c->precision < string_length(text))
        text = value_slice(text, 0, string_offset(text, (size_t)c->precision));
    return write_padded(j, c, "", text, false);
}

static Status write_percent_int(Jinja *j, const Conversion *c, Value value) {
    const bool decimal = c->type == 'd' || c->type == 'i' || c->type == 'u';
    if (value.kind == V_UNDEFINED)
        return undefined_fail(j, value);
    REFUSE_IF(!is_integer(value) && !(decimal && value.kind == V_FLOAT), j, "%%%c format: %s is required, not %s",
              c->type, decimal ? "a real number" : "an integer", value_type(value));
    if (value.kind == V_FLOAT)
        TRY(int_of_double(j, value.as.real, &value));
    const bool negative = int_sign(value) < 0;
    if (negative)
        TRY(int_negate(j, value, &value));
    const int base = decimal ? 10 : c->type == 'o' ? 8 : 16;
    const char *prefix = !c->alternate || decimal ? "" : c->type == 'o' ? "0o" : c->type == 'x' ? "0x" : "0X";
    char lead[4];
    snprintf(lead, sizeof lead, "%s%s", negative ? "-" : c->sign == '+' ? "+" : c->sign == ' ' ? " " : "", prefix);
    const size_t mark = jinja_mark(j);
    TRY(int_write(j, value, base, c->type == 'X'));
    Value digits;
    TRY(jinja_take(j, mark, &digits));
    if (c->precision > (int64_t)digits.count) {
        TRY(jinja_write_repeat(j, "0", 1, (size_t)c->precision - digits.count));
        TRY(jinja_write(j, digits.as.text, digits.count));
        TRY(jinja_take(j, mark, &digits));
    }
    return write_padded(j, c, lead, digits, true);
}

static Status write_percent_float(Jinja *j, const Conversion *c, Value value) {
    REFUSE_IF(!is_number(value), j, "must be real number, not %s", value_type(value));
    double number;
    TRY(number_to_double(j, value, &number));
    const bool negative = signbit(number) && !isnan(number);
    const size_t mark = jinja_mark(j);
    TRY(write_double_styled(j, fabs(number), c->type, c->precision < 0 ? 6 : (int)c->precision, c->alternate));
    Value digits;
    TRY(jinja_take(j, mark, &digits));
    return write_padded(j, c, negative ? "-" : c->sign == '+' ? "+" : c->sign == ' ' ? " " : "", digits, true);
}

static Status write_percent_char(Jinja *j, const Conversion *c, Value value) {
    int64_t code = -1;
    char bytes[4];
    if (value.kind == V_STRING && string_length(value) == 1)
        return write_padded(j, c, "", value, false);
    REFUSE_IF(!is_integer(value), j, "%%c requires int or char");
    REFUSE_IF(!int_to_int64(value, &code) || code < 0 || code > 0x10FFFF, j, "%%c arg not in range(0x110000)");
    Value text;
    TRY(string_new(j, bytes, (size_t)utf8_encode((uint32_t)code, bytes), &text));
    return write_padded(j, c, "", text, false);
}

static Status write_conversion(Jinja *j, Percent *p) {
    Value value = value_missing();
    if (peek(p) == '(')
        TRY(read_key(j, p, &value));
    Conversion c;
    TRY(read_conversion(j, p, &c));
    if (c.type == '%')
        return jinja_write_char(j, '%');
    if (!is_given(value))
        TRY(next_value(j, p, &value));
    switch (c.type) {
    case 's':
    case 'r':
    case 'a':
        return write_percent_text(j, p, &c, value);
    case 'd':
    case 'i':
    case 'u':
    case 'o':
    case 'x':
    case 'X':
        return write_percent_int(j, &c, value);
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G':
        return write_percent_float(j, &c, value);
    case 'c':
        return write_percent_char(j, &c, value);
    default:
        REFUSE(j, "unsupported format character '%c'", (unsigned char)c.type < 0x80 ? c.type : '?');
    }
}

Status format_percent(Jinja *j, Value format, Value values, Value *result) {
    Percent p = {.format = format, .values = values, .items = &values, .count = 1, .markup = is_markup(format)};
    if (values.kind == V_TUPLE) {
        p.items = values.as.list->items;
        p.count = values.as.list->count;
    }
    p.mapping = values.kind == V_DICT || values.kind == V_LIST || values.kind == V_RANGE || values.kind == V_UNDEFINED;
    TRY(jinja_spend_bytes(j, format.count));
    const size_t mark = jinja_mark(j);
    while (p.at < format.count) {
        const char *found = memchr(format.as.text + p.at, '%', format.count - p.at);
        const size_t end = found != NULL ? (size_t)(found - format.as.text) : format.count;
        TRY(jinja_write(j, format.as.text + p.at, end - p.at));
        p.at = end;
        if (found != NULL) {
            p.at++;
            TRY(write_conversion(j, &p));
        }
    }
    REFUSE_IF(p.next < p.count && !p.mapping, j, "not all arguments converted during string formatting");
    TRY(jinja_take(j, mark, result));
    if (p.markup)
        result->flags |= STR_MARKUP;
    return OK;
}

/* ---- str.format -------------------------------------------------------------------------------------------------- */

typedef struct Braces {
    const Args *args;
    Value mapping; /* of format_map, or V_MISSING */
    int64_t next;  /* index of the next {}; -1: fields are numbered */
    bool markup;
} Braces;

static bool all_digits(Value name) {
    for (size_t i = 0; i < name.count; i++)
        if (name.as.text[i] < '0' || name.as.text[i] > '9')
            return false;
    return name.count > 0;
}

static Status field_start(Jinja *j, const Braces *b, Value name, Value *value) {
    if (all_digits(name)) {
        size_t index = 0;
        for (size_t i = 0; i < name.count && index < 100000; i++)
            index = index * 10 + (size_t)(name.as.text[i] - '0');
        REFUSE_IF(index >= b->args->count, j, "Replacement index %zu out of range for positional args tuple", index);
        *value = b->args->items[index];
        return OK;
    }
    if (is_given(b->mapping)) {
        REFUSE_IF(b->mapping.kind != V_DICT, j, "format_map: a mapping is expected, not %s", value_type(b->mapping));
        TRY(dict_get(j, b->mapping.as.dict, name, value));
        if (is_given(*value))
            return OK;
    }
    for (size_t i = 0; i < b->args->keyword_count; i++) {
        const Keyword *keyword = &b->args->keywords[i];
        if (keyword->name.count == name.count && memcmp(keyword->name.as.text, name.as.text, name.count) == 0) {
            *value = keyword->value;
            return OK;
        }
    }
    REFUSE(j, "format: there is no argument '%.*s'", (int)MIN(name.count, 80u), name.as.text);
}

/* name(.attribute|[item])*: the same lookups as in the template, so nothing more can be reached. */
static Status field_value(Jinja *j, Braces *b, Value field, Value *value) {
    size_t at = 0;
    while (at < field.count && field.as.text[at] != '.' && field.as.text[at] != '[')
        at++;
    Value name = value_slice(field, 0, at);
    char number[24];
    if (field.count == 0) {
        REFUSE_IF(b->next < 0, j, "cannot switch from manual field specification to automatic field numbering");
        snprintf(number, sizeof number, "%d", (int)b->next++);
        name = value_str(number);
    } else if (all_digits(field)) {
        REFUSE_IF(b->next > 0, j, "cannot switch from manual field specification to automatic field numbering");
        b->next = -1;
    }
    TRY(field_start(j, b, name, value));
    while (at < field.count) {
        TRY(jinja_spend(j, 1));
        const bool attribute = field.as.text[at++] == '.';
        const size_t start = at;
        if (attribute) {
            while (at < field.count && field.as.text[at] != '.' && field.as.text[at] != '[')
                at++;
            const Value key = value_slice(field, start, at - start);
            REFUSE_IF(key.count == 0, j, "Empty attribute in format string");
            TRY(value_get_attribute(j, *value, key, value));
            continue;
        }
        while (at < field.count && field.as.text[at] != ']')
            at++;
        REFUSE_IF(at >= field.count, j, "Missing ']' in format string");
        Value key = value_slice(field, start, at - start);
        REFUSE_IF(key.count == 0, j, "Empty attribute in format string");
        if (all_digits(key))
            TRY(int_of_digits(j, key.as.text, key.count, 10, false, &key));
        TRY(value_get_item(j, *value, key, value));
        at++;
        REFUSE_IF(at < field.count && field.as.text[at] != '.' && field.as.text[at] != '[', j,
                  "Only '.' or '[' may follow ']' in format field specifier");
    }
    return OK;
}

typedef struct Field {
    Value name, spec;
    uint32_t conversion; /* 0: none */
    bool nested;         /* the specification has fields itself */
} Field;

/* Reads a field from behind its "{" and moves *at behind its "}". */
static Status read_field(Jinja *j, Value format, size_t *at, Field *field) {
    const char *t = format.as.text;
    const size_t start = *at;
    char end = '\0';
    while (*at < format.count && end == '\0') {
        const char c = t[(*at)++];
        REFUSE_IF(c == '{', j, "unexpected '{' in field name");
        if (c == '[')
            while (*at < format.count && t[*at] != ']')
                (*at)++;
        else if (c == '}' || c == ':' || c == '!')
            end = c;
    }
    REFUSE_IF(end == '\0', j, "expected '}' before end of string");
    *field = (Field){.name = value_slice(format, start, *at - 1 - start), .spec = value_str("")};
    if (end == '}')
        return OK;
    if (end == '!') {
        REFUSE_IF(*at >= format.count, j, "end of string while looking for conversion specifier");
        field->conversion = char_next(format, at);
        REFUSE_IF(*at >= format.count, j, "unmatched '{' in format spec");
        const char c = t[(*at)++];
        if (c == '}')
            return OK;
        REFUSE_IF(c != ':', j, "expected ':' after conversion specifier");
    }
    const size_t spec = *at;
    for (int depth = 1; *at < format.count;) {
        const char c = t[(*at)++];
        if (c == '{') {
            field->nested = true;
            depth++;
        } else if (c == '}' && --depth == 0) {
            field->spec = value_slice(format, spec, *at - 1 - spec);
            return OK;
        }
    }
    REFUSE(j, "unmatched '{' in format spec");
}

static Status write_braces(Jinja *j, Braces *b, Value format, int depth);

static Status write_field_value(Jinja *j, const Braces *b, Value value, Value spec) {
    if (!b->markup)
        return write_formatted(j, value, spec);
    if (is_markup(value)) {
        REFUSE_IF(spec.count > 0, j, "no format specification is possible for Markup");
        return jinja_write(j, value.as.text, value.count);
    }
    const size_t mark = jinja_mark(j);
    TRY(write_formatted(j, value, spec));
    Value text;
    TRY(jinja_take(j, mark, &text));
    return write_escaped(j, text.as.text, text.count);
}

static Status write_one_field(Jinja *j, Braces *b, Value format, size_t *at, int depth) {
    Field field;
    TRY(read_field(j, format, at, &field));
    Value value;
    TRY(field_value(j, b, field.name, &value));
    const size_t mark = jinja_mark(j);
    switch (field.conversion) {
    case 0:
        break;
    case 's':
        TRY(value_to_string(j, value, &value));
        break;
    case 'r':
    case 'a':
        TRY(field.conversion == 'r' ? write_repr(j, value) : write_ascii(j, value));
        TRY(jinja_take(j, mark, &value));
        break;
    default:
        REFUSE(j, "Unknown conversion specifier in format string");
    }
    Value spec = field.spec;
    if (field.nested) {
        TRY(write_braces(j, b, spec, depth - 1));
        TRY(jinja_take(j, mark, &spec));
    }
    return write_field_value(j, b, value, spec);
}

static Status write_braces(Jinja *j, Braces *b, Value format, int depth) {
    REFUSE_IF(depth < 0, j, "Max string recursion exceeded");
    const char *t = format.as.text;
    for (size_t at = 0; at < format.count;) {
        const size_t start = at;
        while (at < format.count && t[at] != '{' && t[at] != '}')
            at++;
        TRY(jinja_write(j, t + start, at - start));
        if (at == format.count)
            break;
        const char c = t[at++];
        if (at < format.count && t[at] == c) { /* doubled: itself */
            TRY(jinja_write(j, &c, 1));
            at++;
            continue;
        }
        REFUSE_IF(c == '}', j, "Single '}' encountered in format string");
        REFUSE_IF(at == format.count, j, "Single '{' encountered in format string");
        TRY(jinja_spend(j, 1));
        TRY(write_one_field(j, b, format, &at, depth));
    }
    return OK;
}

Status format_braces(Jinja *j, Value format, const Args *args, Value mapping, Value *result) {
    Braces b = {.args = args, .mapping = mapping, .markup = is_markup(format)};
    TRY(jinja_spend_bytes(j, format.count));
    const size_t mark = jinja_mark(j);
    TRY(write_braces(j, &b, format, 2));
    TRY(jinja_take(j, mark, result));
    if (b.markup)
        result->flags |= STR_MARKUP;
    return OK;
}
