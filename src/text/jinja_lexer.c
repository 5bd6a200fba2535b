/* jinja_lexer.c - see jinja_lexer.h.
 *
 * Three modes: text (up to the next "{{", "{%" or "{#"), and the inside of a block or print tag. Comments and raw
 * blocks are handled within the text mode. A tag ends only where all brackets are closed, so that "{{ {'a': {}} }}"
 * is read as meant. */
#include "text/jinja_lexer.h"

#include "text/jinja_unicode.h"

#include <string.h>

static void lexer_record(Lexer *lexer, Status status, const char *format, ...) PRINTF_LIKE(3, 4);

static void lexer_record(Lexer *lexer, Status status, const char *format, ...) {
    char message[256];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    message[utf8_complete_prefix(message, strlen(message))] = '\0';
    error_set(lexer->err, status, "line %d: %s", lexer->line, message);
}

#define lexer_fail(lexer, status, ...) (lexer_record((lexer), (status), __VA_ARGS__), (status))

static Status no_memory(Lexer *lexer) {
    return lexer_fail(lexer, ERR_MEMORY, "no memory for the template");
}

Status lexer_open(Lexer *lexer, Arena *arena, const char *text, size_t bytes, Error *err) {
    *lexer = (Lexer){.arena = arena, .err = err, .line = 1, .line_starting = true};
    char *source = arena_alloc(arena, bytes + 1);
    if (source == NULL)
        return no_memory(lexer);
    size_t count = 0;
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] == '\r') {
            source[count++] = '\n';
            if (i + 1 < bytes && text[i + 1] == '\n')
                i++;
        } else {
            source[count++] = text[i];
        }
    }
    if (count > 0 && source[count - 1] == '\n')
        count--;
    lexer->source = source;
    lexer->bytes = count;
    return OK;
}

static void count_lines(Lexer *lexer, size_t up_to) {
    for (; lexer->counted < up_to; lexer->counted++)
        lexer->line += lexer->source[lexer->counted] == '\n';
}

static bool looking_at(const Lexer *lexer, size_t at, const char *text) {
    const size_t count = strlen(text);
    return at <= lexer->bytes && lexer->bytes - at >= count && memcmp(lexer->source + at, text, count) == 0;
}

static Value source_value(const Lexer *lexer) {
    return (Value){.kind = V_STRING, .count = (uint32_t)lexer->bytes, .as.text = lexer->source};
}

static size_t skip_spaces(const Lexer *lexer, size_t at) {
    const Value source = source_value(lexer);
    while (at < lexer->bytes) {
        size_t next = at;
        if (!char_is_space(char_next(source, &next)))
            break;
        at = next;
    }
    return at;
}

/* The byte behind the last character in [start, end) that is no space. */
static size_t strip_end(const Lexer *lexer, size_t start, size_t end) {
    const Value source = source_value(lexer);
    while (end > start) {
        size_t before = end;
        if (!char_is_space(char_previous(source, &before)))
            break;
        end = before;
    }
    return end;
}

static void move_to(Lexer *lexer, size_t at) {
    lexer->line_starting = at > lexer->at && lexer->source[at - 1] == '\n';
    lexer->at = at;
}

/* ---- text -------------------------------------------------------------------------------------------------------- */

static char sign_at(const Lexer *lexer, size_t at) {
    return at < lexer->bytes && (lexer->source[at] == '-' || lexer->source[at] == '+') ? lexer->source[at] : 0;
}

/* Where the text before a tag ends, by the tag's sign and lstrip_blocks. */
static size_t text_end(const Lexer *lexer, size_t start, size_t tag, char sign, bool print) {
    if (sign == '-')
        return strip_end(lexer, start, tag);
    if (sign == '+' || print)
        return tag;
    size_t line = tag;
    while (line > start && lexer->source[line - 1] != '\n')
        line--;
    if (line == start && !lexer->line_starting)
        return tag;
    return strip_end(lexer, line, tag) == line ? line : tag;
}

/* "-%}" takes all white space behind it, "%}" one newline, "+%}" nothing. 0: no end of a block tag here. */
static size_t block_end_at(const Lexer *lexer, size_t at, const char *end) {
    if (sign_at(lexer, at) != 0 && looking_at(lexer, at + 1, end))
        return lexer->source[at] == '-' ? skip_spaces(lexer, at + 3) : at + 3;
    if (!looking_at(lexer, at, end))
        return 0;
    return at + 2 < lexer->bytes && lexer->source[at + 2] == '\n' ? at + 3 : at + 2;
}

/* A raw tag "{% raw %}" at `tag`: the byte behind it, or 0. */
static size_t raw_begin_at(const Lexer *lexer, size_t tag) {
    size_t at = tag + 2;
    at += sign_at(lexer, at) != 0;
    at = skip_spaces(lexer, at);
    if (!looking_at(lexer, at, "raw"))
        return 0;
    at = skip_spaces(lexer, at + 3);
    if (looking_at(lexer, at, "-%}"))
        return skip_spaces(lexer, at + 3);
    return looking_at(lexer, at, "%}") ? at + 2 : 0;
}

static size_t raw_end_at(const Lexer *lexer, size_t tag, char *sign) {
    if (!looking_at(lexer, tag, "{%"))
        return 0;
    size_t at = tag + 2;
    *sign = sign_at(lexer, at);
    at += *sign != 0;
    at = skip_spaces(lexer, at);
    if (!looking_at(lexer, at, "endraw"))
        return 0;
    return block_end_at(lexer, skip_spaces(lexer, at + 6), "%}");
}

static Token data_token(Lexer *lexer, size_t start, size_t end) {
    count_lines(lexer, start);
    return (Token){.kind = T_DATA, .line = lexer->line, .text = value_string(lexer->source + start, end - start)};
}

/* The text between a raw tag and its end. */
static Status lex_raw(Lexer *lexer, size_t start, Token *token) {
    move_to(lexer, start);
    for (size_t tag = start; tag < lexer->bytes; tag++) {
        char sign = 0;
        const size_t end = raw_end_at(lexer, tag, &sign);
        if (end == 0)
            continue;
        *token = data_token(lexer, start, text_end(lexer, start, tag, sign, false));
        move_to(lexer, end);
        return OK;
    }
    if (start >= lexer->bytes) { /* Jinja lets a raw block or a comment pass that begins where the template ends */
        *token = data_token(lexer, start, start);
        return OK;
    }
    count_lines(lexer, start);
    return lexer_fail(lexer, ERR_FORMAT, "the raw block has no end ({%% endraw %%})");
}

static Status skip_comment(Lexer *lexer, size_t inside) {
    for (size_t at = inside; at < lexer->bytes; at++) {
        const size_t end = block_end_at(lexer, at, "#}");
        if (end != 0) {
            move_to(lexer, end);
            return OK;
        }
    }
    move_to(lexer, inside);
    if (inside >= lexer->bytes)
        return OK;
    count_lines(lexer, inside);
    return lexer_fail(lexer, ERR_FORMAT, "the comment has no end (#})");
}

/* The text up to the next tag; the tag's beginning becomes the pending token. */
static Status lex_text(Lexer *lexer, Token *token) {
    const size_t start = lexer->at;
    size_t tag = start;
    while (tag + 1 < lexer->bytes &&
           !(lexer->source[tag] == '{' && lexer->source[tag + 1] != '\0' && strchr("{%#", lexer->source[tag + 1])))
        tag++;
    if (tag + 1 >= lexer->bytes) {
        if (start >= lexer->bytes) {
            count_lines(lexer, lexer->bytes);
            *token = (Token){.kind = T_END, .line = lexer->line};
            return OK;
        }
        *token = data_token(lexer, start, lexer->bytes);
        move_to(lexer, lexer->bytes);
        return OK;
    }
    const char kind = lexer->source[tag + 1];
    const char sign = sign_at(lexer, tag + 2);
    *token = data_token(lexer, start, text_end(lexer, start, tag, sign, kind == '{'));
    count_lines(lexer, tag);
    const size_t raw = kind == '%' ? raw_begin_at(lexer, tag) : 0;
    if (raw != 0) {
        Token inside;
        TRY(lex_raw(lexer, raw, &inside));
        lexer->pending = true;
        lexer->pending_token = inside;
        return OK;
    }
    const size_t inside = tag + 2 + (sign != 0);
    if (kind == '#')
        return skip_comment(lexer, inside);
    move_to(lexer, inside);
    lexer->mode = kind == '{' ? LEX_PRINT : LEX_BLOCK;
    lexer->bracket_count = 0;
    lexer->pending = true;
    lexer->pending_token =
        (Token){.kind = kind == '{' ? T_PRINT_BEGIN : T_BLOCK_BEGIN, .line = lexer->line};
    return OK;
}

/* ---- inside tags ------------------------------------------------------------------------------------------------- */

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* (digits_)*digits from `at`; 0 when there is none. */
static size_t digits_end(const Lexer *lexer, size_t at) {
    const char *s = lexer->source;
    if (at >= lexer->bytes || !is_digit(s[at]))
        return 0;
    for (;;) {
        while (at < lexer->bytes && is_digit(s[at]))
            at++;
        if (at + 1 < lexer->bytes && s[at] == '_' && is_digit(s[at + 1]))
            at++;
        else
            return at;
    }
}

static size_t exponent_end(const Lexer *lexer, size_t at) {
    if (at >= lexer->bytes || (lexer->source[at] | 0x20) != 'e')
        return 0;
    return digits_end(lexer, at + 1 + (sign_at(lexer, at + 1) != 0));
}

static size_t float_end(const Lexer *lexer) {
    if (lexer->at > 0 && lexer->source[lexer->at - 1] == '.')
        return 0;
    const size_t whole = digits_end(lexer, lexer->at);
    if (whole == 0)
        return 0;
    size_t fraction = 0;
    if (whole < lexer->bytes && lexer->source[whole] == '.')
        fraction = digits_end(lexer, whole + 1);
    if (fraction != 0) {
        const size_t end = exponent_end(lexer, fraction);
        return end != 0 ? end : fraction;
    }
    return exponent_end(lexer, whole);
}

static bool is_digit_of(char c, int base) {
    if (base == 16 && (c | 0x20) >= 'a' && (c | 0x20) <= 'f')
        return true;
    return c >= '0' && c < '0' + MIN(base, 10);
}

static size_t integer_end(const Lexer *lexer, int *base, size_t *digits) {
    const char *s = lexer->source;
    size_t at = lexer->at;
    *base = 10;
    *digits = at;
    if (at >= lexer->bytes || !is_digit(s[at]))
        return 0;
    if (s[at] == '0' && at + 1 < lexer->bytes) {
        const char letter = (char)(s[at + 1] | 0x20);
        const int named = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 0;
        size_t from = at + 2;
        if (named != 0 && from < lexer->bytes && s[from] == '_')
            from++;
        if (named != 0 && from < lexer->bytes && is_digit_of(s[from], named)) {
            *base = named;
            *digits = at = from;
        }
    }
    const bool zeros = *base == 10 && s[at] == '0'; /* 0, 00, 0_0: nothing else may follow a zero */
    const int digit_base = zeros ? 1 : *base;
    for (;;) {
        while (at < lexer->bytes && is_digit_of(s[at], digit_base))
            at++;
        if (at + 1 < lexer->bytes && s[at] == '_' && is_digit_of(s[at + 1], digit_base))
            at++;
        else
            return at;
    }
}

/* The bytes without underscores. */
static Status number_text(Lexer *lexer, size_t start, size_t end, Value *text) {
    if (memchr(lexer->source + start, '_', end - start) == NULL) {
        *text = value_string(lexer->source + start, end - start);
        return OK;
    }
    char *plain = arena_alloc(lexer->arena, end - start);
    if (plain == NULL)
        return no_memory(lexer);
    size_t count = 0;
    for (size_t i = start; i < end; i++)
        if (lexer->source[i] != '_')
            plain[count++] = lexer->source[i];
    *text = value_string(plain, count);
    return OK;
}

static int hex_value(char c) {
    if (is_digit(c))
        return c - '0';
    const char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

static bool read_hex(const char *at, const char *end, int digits, uint32_t *code) {
    if (end - at < digits)
        return false;
    *code = 0;
    for (int i = 0; i < digits; i++) {
        const int value = hex_value(at[i]);
        if (value < 0)
            return false;
        *code = *code << 4 | (uint32_t)value;
    }
    return true;
}

/* One escape, `at` behind the backslash; writes to `to`, returns the byte behind the escape or NULL with a message. */
static const char *unescape(const char *at, const char *end, char **to, const char **why) {
    static const char simple[] = "\\'\"abfnrtv", meant[] = "\\'\"\a\b\f\n\r\t\v";
    const char *found = *at != '\0' ? strchr(simple, *at) : NULL;
    if (found != NULL) {
        *(*to)++ = meant[found - simple];
        return at + 1;
    }
    if (*at == '\n')
        return at + 1;
    uint32_t code = 0;
    if (*at >= '0' && *at <= '7') {
        int digits = 0;
        for (; digits < 3 && at < end && *at >= '0' && *at <= '7'; digits++)
            code = code * 8 + (uint32_t)(*at++ - '0');
        *to += utf8_encode(code, *to);
        return at;
    }
    const int digits = *at == 'x' ? 2 : *at == 'u' ? 4 : *at == 'U' ? 8 : 0;
    if (digits > 0) {
        if (!read_hex(at + 1, end, digits, &code)) {
            *why = "a truncated \\x, \\u or \\U escape";
            return NULL;
        }
        at += 1 + digits;
        uint32_t low;
        if (code >= 0xD800 && code < 0xDC00 && end - at >= 6 && at[0] == '\\' && at[1] == 'u' &&
            read_hex(at + 2, end, 4, &low) && low >= 0xDC00 && low < 0xE000) {
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00); /* as JSON writes it */
            at += 6;
        }
        if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) {
            *why = "an escape that is no Unicode character";
            return NULL;
        }
        *to += utf8_encode(code, *to);
        return at;
    }
    if (*at == 'N') {
        *why = "character names (\\N{...}) are not known here";
        return NULL;
    }
    *(*to)++ = '\\';
    if ((unsigned char)*at < 0x80) {
        *(*to)++ = *at;
        return at + 1;
    }
    /* Jinja turns the character into an escape first, whose backslash then joins this one. */
    uint32_t c;
    int bad;
    const int length = utf8_decode(at, (size_t)(end - at), &c, &bad);
    *to += snprintf(*to, 12, c < 0x100 ? "x%02x" : c < 0x10000 ? "u%04x" : "U%08x", (unsigned)c);
    return at + (length > 0 ? length : bad);
}

static Status lex_string(Lexer *lexer, Token *token) {
    const char quote = lexer->source[lexer->at];
    const char *start = lexer->source + lexer->at + 1, *limit = lexer->source + lexer->bytes, *end = start;
    bool escapes = false;
    while (end < limit && *end != quote) {
        if (*end == '\\') {
            escapes = true;
            end++;
        }
        end++;
    }
    if (end >= limit)
        return lexer_fail(lexer, ERR_FORMAT, "the string that begins with %c has no end", quote);
    token->kind = T_STRING;
    move_to(lexer, (size_t)(end + 1 - lexer->source));
    if (!escapes) {
        token->text = value_string(start, (size_t)(end - start));
        return OK;
    }
    /* An escape never becomes longer than it is written, except a backslash before a character beyond ASCII. */
    char *text = arena_alloc(lexer->arena, (size_t)(end - start) * 5 + 16);
    if (text == NULL)
        return no_memory(lexer);
    char *to = text;
    for (const char *at = start; at < end;) {
        if (*at != '\\') {
            *to++ = *at++;
            continue;
        }
        const char *why = NULL;
        at = unescape(at + 1, end, &to, &why);
        if (at == NULL)
            return lexer_fail(lexer, ERR_FORMAT, "a string has %s", why);
    }
    token->text = value_string(text, (size_t)(to - text));
    return OK;
}

static const struct {
    char text[3];
    TokenKind kind;
} operators[] = {
    {"//", T_FLOORDIV}, {"**", T_POW},     {"==", T_EQ},       {"!=", T_NE},    {">=", T_GE},    {"<=", T_LE},
    {"+", T_ADD},       {"-", T_SUB},      {"/", T_DIV},       {"*", T_MUL},    {"%", T_MOD},    {"~", T_TILDE},
    {"[", T_LBRACKET},  {"]", T_RBRACKET}, {"(", T_LPAREN},    {")", T_RPAREN}, {"{", T_LBRACE}, {"}", T_RBRACE},
    {">", T_GT},        {"<", T_LT},       {"=", T_ASSIGN},    {".", T_DOT},    {":", T_COLON},  {"|", T_PIPE},
    {",", T_COMMA},     {";", T_SEMICOLON},
};

static Status balance(Lexer *lexer, char c) {
    if (c == '(' || c == '[' || c == '{') {
        if (lexer->bracket_count == LEXER_MAX_BRACKETS)
            return lexer_fail(lexer, ERR_LIMIT, "brackets are nested more than %d deep", LEXER_MAX_BRACKETS);
        lexer->brackets[lexer->bracket_count++] = c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (c == ')' || c == ']' || c == '}') {
        if (lexer->bracket_count == 0)
            return lexer_fail(lexer, ERR_FORMAT, "unexpected '%c'", c);
        const char expected = lexer->brackets[--lexer->bracket_count];
        if (expected != c)
            return lexer_fail(lexer, ERR_FORMAT, "unexpected '%c', expected '%c'", c, expected);
    }
    return OK;
}

static Status lex_operator(Lexer *lexer, Token *token) {
    for (size_t i = 0; i < COUNT(operators); i++) {
        if (!looking_at(lexer, lexer->at, operators[i].text))
            continue;
        token->kind = operators[i].kind;
        const size_t length = strlen(operators[i].text);
        if (length == 1)
            TRY(balance(lexer, operators[i].text[0]));
        move_to(lexer, lexer->at + length);
        return OK;
    }
    size_t next = lexer->at;
    const uint32_t c = char_next(source_value(lexer), &next);
    if (c > 0x20 && c < 0x7F)
        return lexer_fail(lexer, ERR_FORMAT, "unexpected character '%c'", (char)c);
    return lexer_fail(lexer, ERR_FORMAT, "unexpected character U+%04X", (unsigned)c);
}

static Status lex_name(Lexer *lexer, Token *token, bool *found) {
    const Value source = source_value(lexer);
    const size_t start = lexer->at;
    size_t at = start;
    bool valid = true;
    while (at < lexer->bytes) {
        size_t next = at;
        const uint32_t c = char_next(source, &next);
        if (!char_is_word(c) && !(c >= 0x80 && char_continues_identifier(c)))
            break;
        valid = valid && (at == start ? char_begins_identifier(c) : char_continues_identifier(c));
        at = next;
    }
    *found = at > start;
    if (!*found)
        return OK;
    if (!valid)
        return lexer_fail(lexer, ERR_FORMAT, "invalid character in an identifier");
    token->kind = T_NAME;
    token->text = value_string(lexer->source + start, at - start);
    move_to(lexer, at);
    return OK;
}

static bool lex_tag_end(Lexer *lexer, Token *token) {
    if (lexer->bracket_count > 0)
        return false;
    size_t end;
    if (lexer->mode == LEX_BLOCK)
        end = block_end_at(lexer, lexer->at, "%}");
    else if (looking_at(lexer, lexer->at, "-}}"))
        end = skip_spaces(lexer, lexer->at + 3);
    else
        end = looking_at(lexer, lexer->at, "}}") ? lexer->at + 2 : 0;
    if (end == 0)
        return false;
    token->kind = lexer->mode == LEX_BLOCK ? T_BLOCK_END : T_PRINT_END;
    move_to(lexer, end);
    lexer->mode = LEX_TEXT;
    return true;
}

static Status lex_tag(Lexer *lexer, Token *token) {
    const size_t spaces = skip_spaces(lexer, lexer->at);
    /* A tag's end may begin with white space only after it, never before: "-%}" is looked for first. */
    if (spaces > lexer->at)
        move_to(lexer, spaces);
    count_lines(lexer, lexer->at);
    *token = (Token){.line = lexer->line};
    if (lexer->at >= lexer->bytes) {
        token->kind = T_END;
        return OK;
    }
    if (lex_tag_end(lexer, token))
        return OK;
    size_t end = float_end(lexer), digits;
    if (end != 0) {
        token->kind = T_FLOAT;
        TRY(number_text(lexer, lexer->at, end, &token->text));
        move_to(lexer, end);
        return OK;
    }
    end = integer_end(lexer, &token->base, &digits);
    if (end != 0) {
        token->kind = T_INTEGER;
        TRY(number_text(lexer, digits, end, &token->text));
        move_to(lexer, end);
        return OK;
    }
    bool found;
    TRY(lex_name(lexer, token, &found));
    if (found)
        return OK;
    if (lexer->source[lexer->at] == '\'' || lexer->source[lexer->at] == '"')
        return lex_string(lexer, token);
    return lex_operator(lexer, token);
}

Status lexer_next(Lexer *lexer, Token *token) {
    for (;;) {
        if (lexer->pending) {
            lexer->pending = false;
            *token = lexer->pending_token;
        } else if (lexer->mode == LEX_TEXT) {
            TRY(lex_text(lexer, token));
        } else {
            TRY(lex_tag(lexer, token));
        }
        if (token->kind != T_DATA || token->text.count > 0)
            return OK;
    }
}

const char *token_words(const Token *token, char buffer[64]) {
    switch (token->kind) {
    case T_END:
        return "the end of the template";
    case T_DATA:
        return "text";
    case T_BLOCK_BEGIN:
        return "'{%'";
    case T_BLOCK_END:
        return "'%}'";
    case T_PRINT_BEGIN:
        return "'{{'";
    case T_PRINT_END:
        return "'}}'";
    case T_NAME: {
        size_t count = MIN(token->text.count, 50u);
        count = utf8_complete_prefix(token->text.as.text, count);
        snprintf(buffer, 64, "'%.*s'", (int)count, token->text.as.text);
        return buffer;
    }
    case T_STRING:
        return "a string";
    case T_INTEGER:
        return "an integer";
    case T_FLOAT:
        return "a float";
    default:
        for (size_t i = 0; i < COUNT(operators); i++)
            if (operators[i].kind == token->kind) {
                snprintf(buffer, 64, "'%s'", operators[i].text);
                return buffer;
            }
        return "a token";
    }
}
