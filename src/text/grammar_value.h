/* grammar_value.h - the parts of JSON as nets: blanks, strings, numbers, any value. */
#ifndef HOULE_TEXT_GRAMMAR_VALUE_H
#define HOULE_TEXT_GRAMMAR_VALUE_H

#include "text/grammar.h"
#include "text/grammar_expr.h"

/* Rules that many places call, made when first needed; rule 0 is the whole grammar's, so that 0 means not yet. */
typedef struct ValueRules {
    Net *net;
    GrammarSpace space;
    uint32_t blank, string, one_char, number, integer, value, object, array;
} ValueRules;

/* What may stand between two parts; after ',' and ':' for `separator`. */
void value_blank(ValueRules *j, uint32_t from, uint32_t to, bool separator);
/* ',' or ':' with its blank. */
void value_separator(ValueRules *j, uint32_t from, uint32_t to, char mark);
/* Any string; of min..max characters; any number or integer. */
void value_any_string(ValueRules *j, uint32_t from, uint32_t to);
void value_string_of_length(ValueRules *j, uint32_t from, uint32_t to, uint32_t min, uint32_t max);
void value_number(ValueRules *j, uint32_t from, uint32_t to, bool integer);
void value_any(ValueRules *j, uint32_t from, uint32_t to);
void value_object(ValueRules *j, uint32_t from, uint32_t to);
/* "key" in quotes, escaped. */
void value_literal_string(ValueRules *j, uint32_t from, uint32_t to, const char *bytes, size_t count);
/* This very value, without blanks. */
void value_literal(ValueRules *j, uint32_t from, uint32_t to, const json_t *value);

/* A number as decimal digits. */
enum { DECIMAL_WHOLE = 18, DECIMAL_FRACTION = 17 };
typedef struct Decimal {
    uint64_t whole; /* below 10^18 */
    uint8_t fraction[DECIMAL_FRACTION];
    bool negative;
    bool huge;    /* 10^18 or more */
    bool inexact; /* has digits behind the last that is kept */
} Decimal;

/* False without memory. */
bool decimal_of(const json_t *number, Decimal *decimal) MUST_CHECK;

typedef struct NumberRange {
    bool integer;
    bool has_low, has_high, open_low, open_high; /* open: the bound itself is outside */
    Decimal low, high;
    const json_t *multiple; /* NULL = any */
} NumberRange;

/* The numbers in a range; ERR_UNSUPPORTED in the net where it cannot be done exactly. */
void number_build(ValueRules *j, uint32_t from, uint32_t to, const NumberRange *range);

/* The regex of a format of strings; NULL = not known. "" = says nothing about the text. */
const char *format_regex(const char *format);

#endif
