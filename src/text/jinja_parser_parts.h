/* jinja_parser_parts.h - what the two halves of the parser share: its state, and steps through the tokens. */
#ifndef HOULE_TEXT_JINJA_PARSER_PARTS_H
#define HOULE_TEXT_JINJA_PARSER_PARTS_H

#include "text/jinja_lexer.h"
#include "text/jinja_parser.h"

enum {
    MAX_PARSE_DEPTH = 300, /* three levels for each pair of parentheses */
    MAX_NAMES = 250,       /* parameters of a macro, keywords of a call: each is compared with all others */
};

typedef struct Parser {
    Lexer lexer;
    Jinja *j; /* for the arena, and for constants */
    Arena *arena;
    Error *err;
    Token token;   /* current */
    Token ahead;   /* the one behind it, when has_ahead */
    bool has_ahead;
    int depth;      /* of expressions */
    int stmt_depth;
    const char *open_tag; /* what the body being parsed belongs to, for messages */
    int open_line;
} Parser;

/* Records "line N: message"; the macros are the status. */
void parser_record(Parser *p, Status status, int line, const char *format, ...) PRINTF_LIKE(4, 5);
#define parser_fail_at(p, status, line, ...) (parser_record((p), (status), (line), __VA_ARGS__), (status))
#define parser_fail(p, ...) parser_fail_at((p), ERR_FORMAT, (p)->token.line, __VA_ARGS__)
/* Fails: `expected` stands where another token is. */
Status parser_unexpected(Parser *p, const char *expected);
Status parser_no_memory(Parser *p);

Status parser_advance(Parser *p);
/* Fills p->ahead. */
Status parser_look_ahead(Parser *p);
bool parser_at(const Parser *p, const char *name);
bool parser_at_any(const Parser *p, const char *const *names); /* ends with NULL */
/* Moves on when the current token is that name, that kind. */
Status parser_skip_name(Parser *p, const char *name, bool *skipped);
Status parser_skip(Parser *p, TokenKind kind, bool *skipped);
/* Moves on, or fails. */
Status parser_expect(Parser *p, TokenKind kind);
Status parser_expect_name(Parser *p, const char *name);

Status parser_new_expr(Parser *p, ExprKind kind, int line, Expr **out);
/* Makes room for one more element in an array that doubles in the arena. */
Status parser_grow(Parser *p, void *array_pointer, size_t count, size_t element_bytes);
Status parser_add_expr(Parser *p, ExprList *list, Expr *expr);

/* ---- jinja_parse_expr.c ------------------------------------------------------------------------------------------ */

Status parse_expression(Parser *p, bool with_condition, Expr **out);
/* One expression, or a tuple when commas follow. simplified: primaries only, for targets. end_name: ends it, or NULL.
 */
Status parse_tuple(Parser *p, bool simplified, bool with_condition, const char *end_name, bool parentheses,
                   bool with_namespace, Expr **out);
/* A filter, its name being the current token; `value` is NULL at the beginning of a filter block. */
Status parse_filter(Parser *p, Expr *value, Expr **out);
/* All filters that follow. */
Status parse_filters(Parser *p, Expr *value, Expr **out);
/* What is assigned to. store: by set. */
Status parse_target(Parser *p, const char *end_name, bool with_namespace, bool store, Expr **out);
Status parse_target_name(Parser *p, bool store, Expr **out);
/* A second tree for the same names. */
Status parse_copy_target(Parser *p, const Expr *target, Expr **out);

#endif
