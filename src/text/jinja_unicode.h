/* jinja_unicode.h - characters as Python's str sees them: classes and case. */
#ifndef HOULE_TEXT_JINJA_UNICODE_H
#define HOULE_TEXT_JINJA_UNICODE_H

#include "text/jinja.h"

bool char_is_space(uint32_t c);
bool char_is_alpha(uint32_t c);
bool char_is_decimal(uint32_t c);
bool char_is_digit(uint32_t c);
bool char_is_numeric(uint32_t c);
bool char_is_alnum(uint32_t c);
bool char_is_lower(uint32_t c);
bool char_is_upper(uint32_t c);
bool char_is_title(uint32_t c);
bool char_is_cased(uint32_t c);
bool char_is_printable(uint32_t c);
/* \w of regular expressions. */
static inline bool char_is_word(uint32_t c) { return c == '_' || char_is_alnum(c); }
bool char_begins_identifier(uint32_t c);
bool char_continues_identifier(uint32_t c);
/* What str.splitlines cuts at. */
bool char_is_line_end(uint32_t c);
/* 0..9 of a decimal digit of any script, or -1. */
int char_decimal_value(uint32_t c);

/* Reads the character at byte *at of valid UTF-8 and moves *at behind it. */
uint32_t char_next(Value string, size_t *at);
/* The character that ends before byte *at; moves *at to its first byte. */
uint32_t char_previous(Value string, size_t *at);

typedef enum CaseKind {
    CASE_UPPER,
    CASE_LOWER,
    CASE_TITLE,
    CASE_FOLD,
    CASE_SWAP,
    CASE_CAPITALIZE,
    CASE_WORDS
} CaseKind;
/* upper(), lower(), casefold(), swapcase(), capitalize(), title() to the output. CASE_TITLE: every character. */
Status write_cased(Jinja *j, Value string, CaseKind kind);

#endif
