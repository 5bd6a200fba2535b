/* jinja_parser.h - tokens to the tree of jinja_ast.h, without places of variables. */
#ifndef HOULE_TEXT_JINJA_PARSER_H
#define HOULE_TEXT_JINJA_PARSER_H

#include "text/jinja_ast.h"

/* How deep expressions and statements may be nested. Evaluation goes as deep as the tree, so this bounds the C stack
 * for one macro call; TemplateLimits.depth bounds it for all of them. */
enum { JINJA_MAX_EXPR_DEPTH = 150, JINJA_MAX_STMT_DEPTH = 60 };

/* Parses valid UTF-8; the tree is in the state's arena. ERR_FORMAT with the line, ERR_LIMIT, ERR_MEMORY. */
Status parser_run(Jinja *j, const char *text, size_t bytes, Body *body);


#endif
