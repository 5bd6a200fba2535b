/* jinja_parse_expr.c - expressions by recursive descent, with Jinja's precedences (which are not Python's: "-" binds
 * its operand before "**" does, filters bind tighter than everything but postfixes, "~" lies between "+" and "*"). */
#include "text/jinja_parser_parts.h"

#include "text/jinja_int.h"

#include <math.h>
#include <string.h>

/* The node lies above `child`: evaluation will be one level deeper. */
static Status raise_depth(Parser *p, Expr *expr, const Expr *child) {
    if (child != NULL && child->depth >= expr->depth)
        expr->depth = (uint16_t)(child->depth + 1);
    if (expr->depth > JINJA_MAX_EXPR_DEPTH)
        return parser_fail_at(p, ERR_LIMIT, expr->line, "an expression is nested more than %d levels deep",
                              JINJA_MAX_EXPR_DEPTH);
    return OK;
}

/* ---- expressions ------------------------------------------------------------------------------------------------- */

static Status deeper(Parser *p) {
    if (++p->depth > MAX_PARSE_DEPTH)
        return parser_fail_at(p, ERR_LIMIT, p->token.line, "an expression is nested too deep");
    return OK;
}

static Status parse_integer(Parser *p, Expr *expr) {
    p->j->line = p->token.line;
    return int_of_digits(p->j, p->token.text.as.text, p->token.text.count, p->token.base, false, &expr->as.constant);
}

static Status parse_strings(Parser *p, Expr *expr) {
    expr->as.constant = p->token.text;
    TRY(parser_advance(p));
    while (p->token.kind == T_STRING) { /* 'a' 'b' is one string */
        const Value a = expr->as.constant, b = p->token.text;
        char *joined = arena_alloc(p->arena, (size_t)a.count + b.count);
        if (joined == NULL)
            return parser_no_memory(p);
        memcpy(joined, a.as.text, a.count);
        memcpy(joined + a.count, b.as.text, b.count);
        expr->as.constant = value_string(joined, (size_t)a.count + b.count);
        TRY(parser_advance(p));
    }
    return OK;
}

static Status parse_name(Parser *p, bool with_namespace, Expr **out) {
    const Value name = p->token.text;
    const int line = p->token.line;
    TRY(parser_advance(p));
    const bool is_true = string_is(name, "true") || string_is(name, "True");
    if (is_true || string_is(name, "false") || string_is(name, "False")) {
        TRY(parser_new_expr(p, E_CONST, line, out));
        (*out)->as.constant = value_bool(is_true);
        return OK;
    }
    if (string_is(name, "none") || string_is(name, "None")) {
        TRY(parser_new_expr(p, E_CONST, line, out));
        (*out)->as.constant = value_none();
        return OK;
    }
    TRY(parser_new_expr(p, E_NAME, line, out));
    (*out)->as.name.name = name;
    if (with_namespace && p->token.kind == T_DOT) {
        TRY(parser_advance(p));
        (*out)->kind = E_NAMESPACE_NAME;
        (*out)->as.name.attribute = p->token.text;
        return parser_expect(p, T_NAME);
    }
    return OK;
}

static Status parse_list(Parser *p, Expr **out) {
    TRY(parser_new_expr(p, E_LIST, p->token.line, out));
    TRY(parser_advance(p));
    while (p->token.kind != T_RBRACKET) {
        if ((*out)->as.list.count > 0)
            TRY(parser_expect(p, T_COMMA));
        if (p->token.kind == T_RBRACKET)
            break;
        Expr *item;
        TRY(parse_expression(p, true, &item));
        TRY(raise_depth(p, *out, item));
        TRY(parser_add_expr(p, &(*out)->as.list, item));
    }
    return parser_advance(p);
}

static Status parse_dict(Parser *p, Expr **out) {
    TRY(parser_new_expr(p, E_DICT, p->token.line, out));
    TRY(parser_advance(p));
    while (p->token.kind != T_RBRACE) {
        if ((*out)->as.list.count > 0)
            TRY(parser_expect(p, T_COMMA));
        if (p->token.kind == T_RBRACE)
            break;
        Expr *key, *value;
        TRY(parse_expression(p, true, &key));
        TRY(parser_expect(p, T_COLON));
        TRY(parse_expression(p, true, &value));
        TRY(raise_depth(p, *out, key));
        TRY(raise_depth(p, *out, value));
        TRY(parser_add_expr(p, &(*out)->as.list, key));
        TRY(parser_add_expr(p, &(*out)->as.list, value));
    }
    return parser_advance(p);
}

static Status parse_primary(Parser *p, bool with_namespace, Expr **out) {
    const int line = p->token.line;
    switch (p->token.kind) {
    case T_NAME:
        return parse_name(p, with_namespace, out);
    case T_STRING:
        TRY(parser_new_expr(p, E_CONST, line, out));
        return parse_strings(p, *out);
    case T_INTEGER:
        TRY(parser_new_expr(p, E_CONST, line, out));
        TRY(parse_integer(p, *out));
        return parser_advance(p);
    case T_FLOAT: {
        TRY(parser_new_expr(p, E_CONST, line, out));
        char *digits = arena_strndup(p->arena, p->token.text.as.text, p->token.text.count);
        if (digits == NULL)
            return parser_no_memory(p);
        double number;
        (*out)->as.constant = value_float(parse_double(digits, &number) ? number : INFINITY);
        return parser_advance(p);
    }
    case T_LPAREN:
        TRY(parser_advance(p));
        TRY(parse_tuple(p, false, true, NULL, true, false, out));
        return parser_expect(p, T_RPAREN);
    case T_LBRACKET:
        return parse_list(p, out);
    case T_LBRACE:
        return parse_dict(p, out);
    default:
        return parser_unexpected(p, "an expression");
    }
}

static bool at_tuple_end(const Parser *p, const char *end_name) {
    return p->token.kind == T_PRINT_END || p->token.kind == T_BLOCK_END || p->token.kind == T_RPAREN ||
           (end_name != NULL && parser_at(p, end_name));
}

/* One expression, or a tuple when commas follow. `simplified`: primaries only, for targets. */
Status parse_tuple(Parser *p, bool simplified, bool with_condition, const char *end_name, bool parentheses,
                          bool with_namespace, Expr **out) {
    Expr *tuple;
    TRY(deeper(p));
    TRY(parser_new_expr(p, E_TUPLE, p->token.line, &tuple));
    bool is_tuple = false;
    for (;;) {
        if (tuple->as.list.count > 0)
            TRY(parser_expect(p, T_COMMA));
        if (at_tuple_end(p, end_name))
            break;
        Expr *item;
        if (simplified)
            TRY(parse_primary(p, with_namespace, &item));
        else
            TRY(parse_expression(p, with_condition, &item));
        TRY(raise_depth(p, tuple, item));
        TRY(parser_add_expr(p, &tuple->as.list, item));
        if (p->token.kind != T_COMMA)
            break;
        is_tuple = true;
    }
    p->depth--;
    if (!is_tuple && tuple->as.list.count > 0) {
        *out = tuple->as.list.items[0];
        return OK;
    }
    if (!is_tuple && !parentheses)
        return parser_unexpected(p, "an expression");
    *out = tuple;
    return OK;
}

static Status parse_keyword(Parser *p, Expr *call, CallArgs *args) {
    if (args->keyword_count == MAX_NAMES)
        return parser_fail_at(p, ERR_LIMIT, p->token.line, "more than %d named arguments", MAX_NAMES);
    TRY(parser_grow(p, &args->keywords, args->keyword_count, sizeof *args->keywords));
    NamedExpr *keyword = &args->keywords[args->keyword_count];
    keyword->name = p->token.text;
    for (size_t i = 0; i < args->keyword_count; i++)
        if (args->keywords[i].name.count == keyword->name.count &&
            memcmp(args->keywords[i].name.as.text, keyword->name.as.text, keyword->name.count) == 0)
            return parser_fail(p, "the argument '%.*s' is given twice", (int)MIN(keyword->name.count, 80u),
                               keyword->name.as.text);
    TRY(parser_advance(p));
    TRY(parser_advance(p));
    TRY(parse_expression(p, true, &keyword->value));
    args->keyword_count++;
    return raise_depth(p, call, keyword->value);
}

static Status parse_call_args(Parser *p, Expr *call, CallArgs *args) {
    const int line = p->token.line;
    TRY(parser_expect(p, T_LPAREN));
    bool comma = false, valid = true;
    while (p->token.kind != T_RPAREN) {
        if (comma) {
            TRY(parser_expect(p, T_COMMA));
            if (p->token.kind == T_RPAREN)
                break;
        }
        comma = true;
        if (p->token.kind == T_MUL) {
            valid = args->more_items == NULL && args->more_keywords == NULL;
            TRY(parser_advance(p));
            TRY(parse_expression(p, true, &args->more_items));
            TRY(raise_depth(p, call, args->more_items));
        } else if (p->token.kind == T_POW) {
            valid = args->more_keywords == NULL;
            TRY(parser_advance(p));
            TRY(parse_expression(p, true, &args->more_keywords));
            TRY(raise_depth(p, call, args->more_keywords));
        } else {
            bool keyword = false;
            if (p->token.kind == T_NAME) {
                TRY(parser_look_ahead(p));
                keyword = p->ahead.kind == T_ASSIGN;
            }
            if (keyword) {
                valid = args->more_keywords == NULL;
                TRY(parse_keyword(p, call, args));
            } else {
                valid = args->more_items == NULL && args->more_keywords == NULL && args->keyword_count == 0;
                Expr *item;
                TRY(parse_expression(p, true, &item));
                TRY(raise_depth(p, call, item));
                TRY(parser_add_expr(p, &args->items, item));
            }
        }
        if (!valid)
            return parser_fail_at(p, ERR_FORMAT, line, "invalid order of arguments in a call");
    }
    return parser_advance(p);
}

static Status parse_call(Parser *p, Expr *callee, Expr **out) {
    TRY(parser_new_expr(p, E_CALL, p->token.line, out));
    (*out)->as.call.callee = callee;
    TRY(raise_depth(p, *out, callee));
    return parse_call_args(p, *out, &(*out)->as.call.args);
}

static bool at_slice_end(const Parser *p) {
    return p->token.kind == T_RBRACKET || p->token.kind == T_COMMA;
}

/* What stands between the brackets of a subscript; is_slice: the parts went into `slice`. */
static Status parse_subscript_part(Parser *p, Expr *slice, bool *is_slice, Expr **out) {
    *is_slice = false;
    Expr *start = NULL;
    if (p->token.kind != T_COLON) {
        TRY(parse_expression(p, true, &start));
        if (p->token.kind != T_COLON) {
            *out = start;
            return OK;
        }
    }
    *is_slice = true;
    slice->as.slice.start = start;
    TRY(parser_advance(p));
    if (p->token.kind != T_COLON && !at_slice_end(p))
        TRY(parse_expression(p, true, &slice->as.slice.stop));
    if (p->token.kind == T_COLON) {
        TRY(parser_advance(p));
        if (!at_slice_end(p))
            TRY(parse_expression(p, true, &slice->as.slice.step));
    }
    TRY(raise_depth(p, slice, start));
    TRY(raise_depth(p, slice, slice->as.slice.stop));
    return raise_depth(p, slice, slice->as.slice.step);
}

static Status parse_brackets(Parser *p, Expr *object, Expr **out) {
    const int line = p->token.line;
    Expr *slice, *keys;
    TRY(parser_new_expr(p, E_SLICE, line, &slice));
    TRY(parser_new_expr(p, E_TUPLE, line, &keys));
    slice->as.slice.object = object;
    TRY(raise_depth(p, slice, object));
    TRY(parser_advance(p));
    bool is_slice = false;
    size_t parts = 0;
    while (p->token.kind != T_RBRACKET) {
        if (parts++ > 0)
            TRY(parser_expect(p, T_COMMA));
        Expr *key = NULL;
        if (is_slice)
            return parser_fail_at(p, ERR_FORMAT, line, "a slice must stand alone in its brackets");
        TRY(parse_subscript_part(p, slice, &is_slice, &key));
        if (is_slice && parts > 1)
            return parser_fail_at(p, ERR_FORMAT, line, "a slice must stand alone in its brackets");
        if (!is_slice) {
            TRY(raise_depth(p, keys, key));
            TRY(parser_add_expr(p, &keys->as.list, key));
        }
    }
    TRY(parser_advance(p));
    if (is_slice) {
        *out = slice;
        return OK;
    }
    TRY(parser_new_expr(p, E_ITEM, line, out));
    (*out)->as.access.object = object;
    (*out)->as.access.key = parts == 1 ? keys->as.list.items[0] : keys;
    TRY(raise_depth(p, *out, object));
    return raise_depth(p, *out, (*out)->as.access.key);
}

static Status parse_dot(Parser *p, Expr *object, Expr **out) {
    const int line = p->token.line;
    TRY(parser_advance(p));
    if (p->token.kind == T_NAME) {
        TRY(parser_new_expr(p, E_ATTRIBUTE, line, out));
        (*out)->as.access.object = object;
        (*out)->as.access.name = p->token.text;
        TRY(raise_depth(p, *out, object));
        return parser_advance(p);
    }
    if (p->token.kind != T_INTEGER)
        return parser_unexpected(p, "a name or a number");
    TRY(parser_new_expr(p, E_ITEM, line, out));
    (*out)->as.access.object = object;
    TRY(parser_new_expr(p, E_CONST, line, &(*out)->as.access.key));
    TRY(parse_integer(p, (*out)->as.access.key));
    TRY(raise_depth(p, *out, object));
    return parser_advance(p);
}

static Status parse_postfix(Parser *p, Expr *expr, Expr **out) {
    for (;;) {
        if (p->token.kind == T_DOT)
            TRY(parse_dot(p, expr, &expr));
        else if (p->token.kind == T_LBRACKET)
            TRY(parse_brackets(p, expr, &expr));
        else if (p->token.kind == T_LPAREN)
            TRY(parse_call(p, expr, &expr));
        else
            break;
    }
    *out = expr;
    return OK;
}

/* A name with dots in it, as filters and tests may have. */
static Status parse_dotted_name(Parser *p, Value *name) {
    *name = p->token.text;
    TRY(parser_expect(p, T_NAME));
    while (p->token.kind == T_DOT) {
        TRY(parser_advance(p));
        const Value part = p->token.text;
        TRY(parser_expect(p, T_NAME));
        char *joined = arena_alloc(p->arena, (size_t)name->count + 1 + part.count);
        if (joined == NULL)
            return parser_no_memory(p);
        memcpy(joined, name->as.text, name->count);
        joined[name->count] = '.';
        memcpy(joined + name->count + 1, part.as.text, part.count);
        *name = value_string(joined, (size_t)name->count + 1 + part.count);
    }
    return OK;
}

/* `value` is NULL at the beginning of a filter block. */
Status parse_filter(Parser *p, Expr *value, Expr **out) {
    TRY(parser_new_expr(p, E_FILTER, p->token.line, out));
    (*out)->as.call.callee = value;
    TRY(raise_depth(p, *out, value));
    TRY(parse_dotted_name(p, &(*out)->as.call.name));
    (*out)->as.call.builtin = filter_find((*out)->as.call.name.as.text, (*out)->as.call.name.count);
    return p->token.kind == T_LPAREN ? parse_call_args(p, *out, &(*out)->as.call.args) : OK;
}

Status parse_filters(Parser *p, Expr *value, Expr **out) {
    while (p->token.kind == T_PIPE) {
        TRY(parser_advance(p));
        TRY(parse_filter(p, value, &value));
    }
    *out = value;
    return OK;
}

static Status parse_test(Parser *p, Expr *value, Expr **out) {
    static const char *const not_arguments[] = {"else", "or", "and", NULL};
    const int line = p->token.line;
    TRY(parser_advance(p));
    bool negated;
    TRY(parser_skip_name(p, "not", &negated));
    Expr *test;
    TRY(parser_new_expr(p, E_TEST, line, &test));
    test->as.call.callee = value;
    TRY(raise_depth(p, test, value));
    TRY(parse_dotted_name(p, &test->as.call.name));
    test->as.call.builtin = test_find(test->as.call.name.as.text, test->as.call.name.count);
    const TokenKind kind = p->token.kind;
    if (kind == T_LPAREN) {
        TRY(parse_call_args(p, test, &test->as.call.args));
    } else if ((kind == T_NAME || kind == T_STRING || kind == T_INTEGER || kind == T_FLOAT || kind == T_LBRACKET ||
                kind == T_LBRACE) &&
               !parser_at_any(p, not_arguments)) {
        if (parser_at(p, "is"))
            return parser_fail(p, "tests cannot be chained with 'is'");
        Expr *argument;
        TRY(parse_primary(p, false, &argument));
        TRY(parse_postfix(p, argument, &argument));
        TRY(raise_depth(p, test, argument));
        TRY(parser_add_expr(p, &test->as.call.args.items, argument));
    }
    *out = test;
    if (negated) {
        TRY(parser_new_expr(p, E_NOT, line, out));
        (*out)->as.binary.left = test;
        return raise_depth(p, *out, test);
    }
    return OK;
}

static Status parse_unary(Parser *p, bool with_filter, Expr **out) {
    TRY(deeper(p));
    Expr *expr;
    if (p->token.kind == T_SUB || p->token.kind == T_ADD) {
        TRY(parser_new_expr(p, p->token.kind == T_SUB ? E_NEGATE : E_POSITIVE, p->token.line, &expr));
        TRY(parser_advance(p));
        TRY(parse_unary(p, false, &expr->as.binary.left));
        TRY(raise_depth(p, expr, expr->as.binary.left));
    } else {
        TRY(parse_primary(p, false, &expr));
    }
    TRY(parse_postfix(p, expr, &expr));
    while (with_filter) {
        if (p->token.kind == T_PIPE)
            TRY(parse_filters(p, expr, &expr));
        else if (parser_at(p, "is"))
            TRY(parse_test(p, expr, &expr));
        else if (p->token.kind == T_LPAREN)
            TRY(parse_call(p, expr, &expr));
        else
            break;
    }
    p->depth--;
    *out = expr;
    return OK;
}

/* Binding strength of the operators between unary expressions; 0: none. */
static int strength(TokenKind kind) {
    switch (kind) {
    case T_ADD:
    case T_SUB:
        return 1;
    case T_TILDE:
        return 2;
    case T_MUL:
    case T_DIV:
    case T_FLOORDIV:
    case T_MOD:
        return 3;
    case T_POW:
        return 4;
    default:
        return 0;
    }
}

static BinaryOp binary_op(TokenKind kind) {
    switch (kind) {
    case T_ADD:
        return OP_ADD;
    case T_SUB:
        return OP_SUB;
    case T_MUL:
        return OP_MUL;
    case T_DIV:
        return OP_DIV;
    case T_FLOORDIV:
        return OP_FLOORDIV;
    case T_MOD:
        return OP_MOD;
    default:
        return OP_POW;
    }
}

/* All of them associate to the left, "**" too. */
static Status parse_arithmetic(Parser *p, int least, Expr **out) {
    Expr *left;
    TRY(parse_unary(p, true, &left));
    const Expr *concat = NULL; /* the "~" that may be continued: a ~ b ~ c is one node */
    for (;;) {
        const TokenKind kind = p->token.kind;
        const int binds = strength(kind);
        if (binds == 0 || binds < least)
            break;
        const int line = p->token.line;
        TRY(parser_advance(p));
        Expr *right;
        TRY(parse_arithmetic(p, binds + 1, &right));
        if (kind == T_TILDE) {
            if (left != concat) {
                Expr *node;
                TRY(parser_new_expr(p, E_CONCAT, line, &node));
                TRY(raise_depth(p, node, left));
                TRY(parser_add_expr(p, &node->as.list, left));
                concat = left = node;
            }
            TRY(raise_depth(p, left, right));
            TRY(parser_add_expr(p, &left->as.list, right));
            continue;
        }
        Expr *node;
        TRY(parser_new_expr(p, E_BINARY, line, &node));
        node->op = (uint8_t)binary_op(kind);
        node->as.binary.left = left;
        node->as.binary.right = right;
        TRY(raise_depth(p, node, left));
        TRY(raise_depth(p, node, right));
        left = node;
    }
    *out = left;
    return OK;
}

static Status comparison_at(Parser *p, bool *found, CompareOp *op) {
    static const struct {
        TokenKind kind;
        CompareOp op;
    } table[] = {{T_EQ, CMP_EQ}, {T_NE, CMP_NE}, {T_LT, CMP_LT}, {T_LE, CMP_LE}, {T_GT, CMP_GT}, {T_GE, CMP_GE}};
    *found = true;
    for (size_t i = 0; i < COUNT(table); i++)
        if (p->token.kind == table[i].kind) {
            *op = table[i].op;
            return parser_advance(p);
        }
    if (parser_at(p, "in")) {
        *op = CMP_IN;
        return parser_advance(p);
    }
    if (parser_at(p, "not")) {
        TRY(parser_look_ahead(p));
        if (p->ahead.kind == T_NAME && string_is(p->ahead.text, "in")) {
            *op = CMP_NOT_IN;
            TRY(parser_advance(p));
            return parser_advance(p);
        }
    }
    *found = false;
    return OK;
}

static Status parse_comparison(Parser *p, Expr **out) {
    const int line = p->token.line;
    Expr *first;
    TRY(parse_arithmetic(p, 1, &first));
    *out = first;
    Expr *node = NULL;
    for (;;) {
        bool found;
        CompareOp op;
        TRY(comparison_at(p, &found, &op));
        if (!found)
            return OK;
        if (node == NULL) {
            TRY(parser_new_expr(p, E_COMPARE, line, &node));
            TRY(parser_grow(p, &node->as.compare.operands, 0, sizeof(Expr *)));
            node->as.compare.operands[0] = first;
            TRY(raise_depth(p, node, first));
            *out = node;
        }
        Expr *operand;
        TRY(parse_arithmetic(p, 1, &operand));
        TRY(raise_depth(p, node, operand));
        const size_t count = node->as.compare.count;
        TRY(parser_grow(p, &node->as.compare.ops, count, sizeof(CompareOp)));
        TRY(parser_grow(p, &node->as.compare.operands, count + 1, sizeof(Expr *)));
        node->as.compare.ops[count] = op;
        node->as.compare.operands[count + 1] = operand;
        node->as.compare.count++;
    }
}

static Status parse_not(Parser *p, Expr **out) {
    if (!parser_at(p, "not"))
        return parse_comparison(p, out);
    TRY(deeper(p));
    TRY(parser_new_expr(p, E_NOT, p->token.line, out));
    TRY(parser_advance(p));
    TRY(parse_not(p, &(*out)->as.binary.left));
    p->depth--;
    return raise_depth(p, *out, (*out)->as.binary.left);
}

static Status parse_logic(Parser *p, bool is_or, Expr **out) {
    Expr *left;
    if (is_or)
        TRY(parse_logic(p, false, &left));
    else
        TRY(parse_not(p, &left));
    while (parser_at(p, is_or ? "or" : "and")) {
        Expr *node;
        TRY(parser_new_expr(p, is_or ? E_OR : E_AND, p->token.line, &node));
        TRY(parser_advance(p));
        if (is_or)
            TRY(parse_logic(p, false, &node->as.binary.right));
        else
            TRY(parse_not(p, &node->as.binary.right));
        node->as.binary.left = left;
        TRY(raise_depth(p, node, left));
        TRY(raise_depth(p, node, node->as.binary.right));
        left = node;
    }
    *out = left;
    return OK;
}

Status parse_expression(Parser *p, bool with_condition, Expr **out) {
    TRY(deeper(p));
    Expr *expr;
    TRY(parse_logic(p, true, &expr));
    while (with_condition && parser_at(p, "if")) {
        Expr *node;
        TRY(parser_new_expr(p, E_CONDITION, p->token.line, &node));
        TRY(parser_advance(p));
        node->as.condition.yes = expr;
        TRY(parse_logic(p, true, &node->as.condition.test));
        bool has_else;
        TRY(parser_skip_name(p, "else", &has_else));
        if (has_else)
            TRY(parse_expression(p, true, &node->as.condition.no));
        TRY(raise_depth(p, node, expr));
        TRY(raise_depth(p, node, node->as.condition.test));
        TRY(raise_depth(p, node, node->as.condition.no));
        expr = node;
    }
    p->depth--;
    *out = expr;
    return OK;
}

/* ---- targets ----------------------------------------------------------------------------------------------------- */

static Status check_target(Parser *p, Expr *target, bool store) {
    switch (target->kind) {
    case E_NAME:
        target->as.name.store = store;
        return OK;
    case E_NAMESPACE_NAME:
        return OK;
    case E_TUPLE:
        for (size_t i = 0; i < target->as.list.count; i++)
            TRY(check_target(p, target->as.list.items[i], store));
        return OK;
    default:
        return parser_fail_at(p, ERR_FORMAT, target->line, "nothing can be assigned to this expression");
    }
}

Status parse_target(Parser *p, const char *end_name, bool with_namespace, bool store, Expr **out) {
    TRY(parse_tuple(p, true, true, end_name, false, with_namespace, out));
    return check_target(p, *out, store);
}

Status parse_target_name(Parser *p, bool store, Expr **out) {
    static const char *const constants[] = {"true", "false", "none", "True", "False", "None", NULL};
    if (parser_at_any(p, constants))
        return parser_fail(p, "a constant's name cannot be assigned to");
    TRY(parser_new_expr(p, E_NAME, p->token.line, out));
    (*out)->as.name.name = p->token.text;
    (*out)->as.name.store = store;
    return parser_expect(p, T_NAME);
}

/* A second tree for the same names. */
Status parse_copy_target(Parser *p, const Expr *target, Expr **out) {
    TRY(parser_new_expr(p, (ExprKind)target->kind, target->line, out));
    **out = *target;
    if (target->kind != E_TUPLE)
        return OK;
    (*out)->as.list = (ExprList){0};
    for (size_t i = 0; i < target->as.list.count; i++) {
        Expr *item;
        TRY(parse_copy_target(p, target->as.list.items[i], &item));
        TRY(parser_add_expr(p, &(*out)->as.list, item));
    }
    return OK;
}
