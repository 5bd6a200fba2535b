/* grammar_rules.h - named rules that refer to one another, as GBNF and Lark write them, and a reader of their text. */
#ifndef HOULE_TEXT_GRAMMAR_RULES_H
#define HOULE_TEXT_GRAMMAR_RULES_H

#include "text/grammar_expr.h"

typedef struct NamedRule {
    const char *name;
    uint32_t rule;
    Expr *expr;       /* NULL = not defined yet */
    size_t mentioned; /* byte where it was first mentioned */
    bool terminal;
} NamedRule;

typedef struct RuleText {
    Net *net;
    const char *what; /* "GBNF", for messages */
    const char *text;
    size_t at, count;
    int depth;
    NamedRule *rules;
    size_t rule_count, rule_capacity;
    Map names;
} RuleText;

enum { RULES_MAX_DEPTH = 200 };

void rules_free(RuleText *r);
/* The place of a rule in `rules`, which is made when it is new; -1 = the net has failed. */
int64_t rules_find(RuleText *r, const char *name, size_t count);
/* Checks that all rules have a definition, and puts them into the net. A rule that begins with itself is rewritten:
 * a: a x | y   becomes   a: y x*. */
void rules_build(RuleText *r);
/* Notes a failure with line and column. */
void rules_fail(RuleText *r, Status status, const char *what);

bool rules_ahead(const RuleText *r, const char *bytes);
bool rules_take(RuleText *r, const char *bytes);
/* The length of a name at this place: letters, digits, '_' and `more`; 0 = none. */
size_t rules_name(const RuleText *r, const char *more);
/* After an opening quote: the bytes up to `quote`, escapes undone. */
Expr *rules_quoted(RuleText *r, char quote);
/* A whole number; false when there is none. */
bool rules_number(RuleText *r, uint32_t *number);

#endif
