/* reply_python.c - a list or a dictionary as Python writes it, as JSON.
 *
 * Some templates show values to their models as Python prints them: {'on': True, 'at': None}. So models write them, and
 * the same in JSON is meant. What is not whole and without doubt is none: it stays the text that it is. */
#include "text/reply_parts.h"

#include <string.h>

typedef struct Python {
    const char *at, *end;
    Text *out;
    int depth;
} Python;

static bool value(Python *p);

static void skip_spaces(Python *p) {
    while (p->at < p->end && reply_is_space(*p->at))
        p->at++;
}

static bool take(Python *p, char c) {
    skip_spaces(p);
    if (p->at == p->end || *p->at != c)
        return false;
    p->at++;
    return true;
}

/* \xNN, \uNNNN, \UNNNNNNNN behind the backslash. */
static bool code(Python *p, int digits) {
    uint32_t number = 0;
    char text[8];
    if (p->end - p->at <= digits)
        return false;
    for (int i = 1; i <= digits; i++) {
        const int digit = parse_hex_digit(p->at[i]);
        if (digit < 0)
            return false;
        number = number << 4 | (uint32_t)digit;
    }
    p->at += digits + 1;
    if (number > 0x10FFFF)
        return false;
    if ((number & 0xFFFFF800) == 0xD800)
        number = 0xFFFD; /* half of a pair, which Python never prints */
    json_append_escaped(p->out, text, (size_t)utf8_encode(number, text));
    return true;
}

static bool escape(Python *p) {
    static const char letters[] = "ntrbfva\\'\"", meanings[] = "\n\t\r\b\f\v\a\\'\"";
    if (p->at == p->end)
        return false;
    const char c = *p->at, *letter = c != '\0' ? strchr(letters, c) : NULL;
    if (c == 'x' || c == 'u' || c == 'U')
        return code(p, c == 'x' ? 2 : c == 'u' ? 4 : 8);
    if (letter == NULL)
        json_append_escaped(p->out, "\\", 1); /* it means itself */
    else
        json_append_escaped(p->out, &meanings[letter - letters], 1);
    p->at += letter != NULL;
    return true;
}

static bool string(Python *p) {
    const char quote = *p->at++;
    text_append_char(p->out, '"');
    for (;;) {
        const char *from = p->at;
        while (p->at < p->end && *p->at != quote && *p->at != '\\')
            p->at++;
        json_append_escaped(p->out, from, (size_t)(p->at - from));
        if (p->at == p->end)
            return false;
        if (*p->at++ == quote)
            break;
        if (!escape(p))
            return false;
    }
    text_append_char(p->out, '"');
    return true;
}

/* True, None, a number. */
static bool word(Python *p) {
    static const char *const words[][2] = {{"True", "true"}, {"False", "false"}, {"None", "null"}};
    const char *from = p->at;
    while (p->at < p->end && strchr(",:]}) \t\r\n", *p->at) == NULL)
        p->at++;
    const size_t bytes = (size_t)(p->at - from);
    for (size_t i = 0; i < COUNT(words); i++)
        if (strlen(words[i][0]) == bytes && memcmp(words[i][0], from, bytes) == 0) {
            text_append_str(p->out, words[i][1]);
            return true;
        }
    text_append(p->out, from, bytes);
    return json_is_value(from, bytes);
}

/* Behind the opening; entries of a dictionary have strings as keys. */
static bool entries(Python *p, char close, bool keyed) {
    text_append_char(p->out, keyed ? '{' : '[');
    for (bool first = true; !take(p, close); first = false) {
        if (!first && !take(p, ','))
            return false;
        if (!first && take(p, close)) /* a comma may stand behind the last */
            break;
        if (!first)
            text_append_str(p->out, ", ");
        skip_spaces(p);
        if (keyed) {
            if (p->at == p->end || (*p->at != '\'' && *p->at != '"') || !string(p) || !take(p, ':'))
                return false;
            text_append_str(p->out, ": ");
        }
        if (!value(p))
            return false;
    }
    text_append_char(p->out, keyed ? '}' : ']');
    return true;
}

static bool value(Python *p) {
    skip_spaces(p);
    if (p->at == p->end || p->depth == REPLY_DEPTH)
        return false;
    const char c = *p->at, close = c == '{' ? '}' : c == '[' ? ']' : c == '(' ? ')' : '\0';
    if (c == '\'' || c == '"')
        return string(p);
    if (close == '\0')
        return word(p);
    p->at++;
    p->depth++;
    const bool good = entries(p, close, c == '{');
    p->depth--;
    return good;
}

bool reply_python_json(const char *text, size_t bytes, Text *json) {
    Python p = {.at = text, .end = text + bytes, .out = json};
    if (bytes == 0 || (*text != '[' && *text != '{') || !value(&p))
        return false;
    skip_spaces(&p);
    return p.at == p.end;
}
