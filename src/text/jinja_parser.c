/* jinja_parser.c - steps through the tokens, and statements. */
#include "text/jinja_parser_parts.h"

#include <stdio.h>
#include <string.h>

/* ---- tokens and nodes -------------------------------------------------------------------------------------------- */

void parser_record(Parser *p, Status status, int line, const char *format, ...) {
    char message[400];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    message[utf8_complete_prefix(message, strlen(message))] = '\0';
    error_set(p->err, status, "line %d: %s", line, message);
}

Status parser_unexpected(Parser *p, const char *expected) {
    char words[64];
    return parser_fail(p, "%s is expected, not %s", expected, token_words(&p->token, words));
}

Status parser_advance(Parser *p) {
    if (p->has_ahead) {
        p->token = p->ahead;
        p->has_ahead = false;
        return OK;
    }
    return lexer_next(&p->lexer, &p->token);
}

Status parser_look_ahead(Parser *p) {
    if (p->has_ahead)
        return OK;
    TRY(lexer_next(&p->lexer, &p->ahead));
    p->has_ahead = true;
    return OK;
}

bool parser_at(const Parser *p, const char *name) {
    return p->token.kind == T_NAME && string_is(p->token.text, name);
}

bool parser_at_any(const Parser *p, const char *const *names) {
    for (; *names != NULL; names++)
        if (parser_at(p, *names))
            return true;
    return false;
}

/* Moves on when the current token is that name. */
Status parser_skip_name(Parser *p, const char *name, bool *skipped) {
    *skipped = parser_at(p, name);
    return *skipped ? parser_advance(p) : OK;
}

Status parser_skip(Parser *p, TokenKind kind, bool *skipped) {
    *skipped = p->token.kind == kind;
    return *skipped ? parser_advance(p) : OK;
}

Status parser_expect(Parser *p, TokenKind kind) {
    if (p->token.kind != kind) {
        const Token wanted = {.kind = kind};
        char words[64];
        return parser_unexpected(p, kind == T_NAME ? "a name" : token_words(&wanted, words));
    }
    return parser_advance(p);
}

Status parser_expect_name(Parser *p, const char *name) {
    if (!parser_at(p, name)) {
        char words[64];
        snprintf(words, sizeof words, "'%s'", name);
        return parser_unexpected(p, words);
    }
    return parser_advance(p);
}

Status parser_no_memory(Parser *p) {
    return parser_fail_at(p, ERR_MEMORY, p->token.line, "no memory for the template");
}

Status parser_new_expr(Parser *p, ExprKind kind, int line, Expr **out) {
    Expr *expr = arena_alloc(p->arena, sizeof *expr);
    if (expr == NULL)
        return parser_no_memory(p);
    expr->kind = (uint8_t)kind;
    expr->line = line;
    expr->depth = 1;
    *out = expr;
    return OK;
}

/* Makes room for one more element in an array that doubles in the arena. */
Status parser_grow(Parser *p, void *array_pointer, size_t count, size_t element_bytes) {
    if (count != 0 && (count < 4 || (count & (count - 1)) != 0))
        return OK;
    void *grown = arena_array(p->arena, count == 0 ? 4 : count * 2, element_bytes);
    if (grown == NULL)
        return parser_no_memory(p);
    void *old;
    memcpy(&old, array_pointer, sizeof old);
    if (count > 0)
        memcpy(grown, old, count * element_bytes);
    memcpy(array_pointer, &grown, sizeof grown);
    return OK;
}

Status parser_add_expr(Parser *p, ExprList *list, Expr *expr) {
    TRY(parser_grow(p, &list->items, list->count, sizeof *list->items));
    list->items[list->count++] = expr;
    return OK;
}

/* ---- statements -------------------------------------------------------------------------------------------------- */

static Status parse_body(Parser *p, const char *const *ends, Body *body);

static Status new_stmt(Parser *p, StmtKind kind, int line, Stmt **out) {
    Stmt *stmt = arena_alloc(p->arena, sizeof *stmt);
    if (stmt == NULL)
        return parser_no_memory(p);
    stmt->kind = (uint8_t)kind;
    stmt->line = line;
    *out = stmt;
    return OK;
}

static Status add_stmt(Parser *p, Body *body, Stmt *stmt) {
    TRY(parser_grow(p, &body->items, body->count, sizeof *body->items));
    body->items[body->count++] = stmt;
    return OK;
}

/* The tag's end, its body, and (when drop) the name of the end tag. */
static Status parse_block_body(Parser *p, const char *tag, const char *const *ends, bool drop, Body *body) {
    const char *outer_tag = p->open_tag;
    const int outer_line = p->open_line;
    p->open_tag = tag;
    p->open_line = p->token.line;
    bool colon;
    TRY(parser_skip(p, T_COLON, &colon)); /* as in Python, it may stand there */
    TRY(parser_expect(p, T_BLOCK_END));
    TRY(parse_body(p, ends, body));
    p->open_tag = outer_tag;
    p->open_line = outer_line;
    return drop ? parser_advance(p) : OK;
}

static Status parse_for(Parser *p, Stmt **out) {
    static const char *const ends[] = {"endfor", "else", NULL}, *const else_ends[] = {"endfor", NULL};
    TRY(new_stmt(p, S_FOR, p->token.line, out));
    Stmt *s = *out;
    TRY(parser_advance(p));
    TRY(parse_target(p, "in", false, false, &s->as.loop.target));
    TRY(parser_expect_name(p, "in"));
    TRY(parse_tuple(p, false, false, "recursive", false, false, &s->as.loop.iterable));
    bool has_test;
    TRY(parser_skip_name(p, "if", &has_test));
    if (has_test) {
        TRY(parse_expression(p, true, &s->as.loop.test));
        TRY(parse_copy_target(p, s->as.loop.target, &s->as.loop.test_target));
    }
    TRY(parser_skip_name(p, "recursive", &s->as.loop.recursive));
    TRY(parse_block_body(p, "for", ends, false, &s->as.loop.body));
    s->as.loop.has_otherwise = parser_at(p, "else");
    TRY(parser_advance(p));
    if (s->as.loop.has_otherwise)
        TRY(parse_block_body(p, "for", else_ends, true, &s->as.loop.otherwise));
    return OK;
}

static Status parse_if(Parser *p, Stmt **out) {
    static const char *const ends[] = {"elif", "else", "endif", NULL}, *const else_ends[] = {"endif", NULL};
    TRY(new_stmt(p, S_IF, p->token.line, out));
    Stmt *s = *out;
    bool more = true;
    while (more) {
        TRY(parser_advance(p));
        TRY(parser_grow(p, &s->as.branch.branches, s->as.branch.count, sizeof(IfBranch)));
        IfBranch branch = {0};
        TRY(parse_tuple(p, false, false, NULL, false, false, &branch.test));
        TRY(parse_block_body(p, "if", ends, false, &branch.body));
        s->as.branch.branches[s->as.branch.count++] = branch;
        more = parser_at(p, "elif");
    }
    const bool has_else = parser_at(p, "else");
    TRY(parser_advance(p));
    if (has_else) {
        IfBranch branch = {0};
        TRY(parser_grow(p, &s->as.branch.branches, s->as.branch.count, sizeof(IfBranch)));
        TRY(parse_block_body(p, "if", else_ends, true, &branch.body));
        s->as.branch.branches[s->as.branch.count++] = branch;
    }
    return OK;
}

static Status parse_set(Parser *p, Stmt **out) {
    static const char *const ends[] = {"endset", NULL};
    const int line = p->token.line;
    TRY(parser_advance(p));
    Expr *target;
    TRY(parse_target(p, NULL, true, true, &target));
    bool assign;
    TRY(parser_skip(p, T_ASSIGN, &assign));
    if (assign) {
        TRY(new_stmt(p, S_SET, line, out));
        (*out)->as.set.target = target;
        return parse_tuple(p, false, true, NULL, false, false, &(*out)->as.set.value);
    }
    TRY(new_stmt(p, S_SET_BLOCK, line, out));
    (*out)->as.set_block.target = target;
    TRY(parse_filters(p, NULL, &(*out)->as.set_block.filter));
    return parse_block_body(p, "set", ends, true, &(*out)->as.set_block.body);
}

static Status new_function(Parser *p, Value name, Function **out) {
    *out = arena_alloc(p->arena, sizeof **out);
    if (*out == NULL)
        return parser_no_memory(p);
    (*out)->name = name;
    return OK;
}

static Status parse_signature(Parser *p, Function *function) {
    TRY(parser_expect(p, T_LPAREN));
    bool defaults = false;
    while (p->token.kind != T_RPAREN) {
        const size_t count = function->parameter_count;
        if (count == MAX_NAMES)
            return parser_fail_at(p, ERR_LIMIT, p->token.line, "more than %d parameters", MAX_NAMES);
        if (count > 0)
            TRY(parser_expect(p, T_COMMA));
        TRY(parser_grow(p, &function->parameters, count, sizeof(Expr *)));
        TRY(parser_grow(p, &function->defaults, count, sizeof(Expr *)));
        TRY(parse_target_name(p, false, &function->parameters[count]));
        for (size_t i = 0; i < count; i++) {
            const Value a = function->parameters[i]->as.name.name, b = function->parameters[count]->as.name.name;
            if (a.count == b.count && memcmp(a.as.text, b.as.text, a.count) == 0)
                return parser_fail(p, "the parameter '%.*s' is there twice", (int)MIN(a.count, 80u), a.as.text);
        }
        bool assign;
        TRY(parser_skip(p, T_ASSIGN, &assign));
        if (assign) {
            defaults = true;
            TRY(parse_expression(p, true, &function->defaults[count]));
        } else if (defaults) {
            return parser_fail(p, "a parameter without default follows one with a default");
        }
        function->parameter_count++;
    }
    return parser_advance(p);
}

static Status parse_macro(Parser *p, Stmt **out) {
    static const char *const ends[] = {"endmacro", NULL};
    TRY(new_stmt(p, S_MACRO, p->token.line, out));
    Stmt *s = *out;
    TRY(parser_advance(p));
    TRY(parse_target_name(p, true, &s->as.macro.target));
    TRY(new_function(p, s->as.macro.target->as.name.name, &s->as.macro.function));
    TRY(parse_signature(p, s->as.macro.function));
    return parse_block_body(p, "macro", ends, true, &s->as.macro.function->body);
}

static Status parse_call_block(Parser *p, Stmt **out) {
    static const char *const ends[] = {"endcall", NULL};
    TRY(new_stmt(p, S_CALL_BLOCK, p->token.line, out));
    Stmt *s = *out;
    TRY(parser_advance(p));
    TRY(new_function(p, value_none(), &s->as.call_block.function));
    if (p->token.kind == T_LPAREN)
        TRY(parse_signature(p, s->as.call_block.function));
    TRY(parse_expression(p, true, &s->as.call_block.call));
    if (s->as.call_block.call->kind != E_CALL)
        return parser_fail_at(p, ERR_FORMAT, s->line, "a call is expected in a call block");
    const CallArgs *args = &s->as.call_block.call->as.call.args;
    for (size_t i = 0; i < args->keyword_count; i++)
        if (string_is(args->keywords[i].name, "caller"))
            return parser_fail_at(p, ERR_FORMAT, s->line, "the caller of a call block is its body");
    return parse_block_body(p, "call", ends, true, &s->as.call_block.function->body);
}

static Status parse_generation(Parser *p, Stmt **out) {
    static const char *const ends[] = {"endgeneration", NULL};
    TRY(new_stmt(p, S_CALL_BLOCK, p->token.line, out));
    TRY(parser_advance(p));
    TRY(new_function(p, value_none(), &(*out)->as.call_block.function));
    return parse_block_body(p, "generation", ends, true, &(*out)->as.call_block.function->body);
}

static Status parse_filter_block(Parser *p, Stmt **out) {
    static const char *const ends[] = {"endfilter", NULL};
    TRY(new_stmt(p, S_FILTER_BLOCK, p->token.line, out));
    TRY(parser_advance(p));
    TRY(parse_filter(p, NULL, &(*out)->as.filter_block.filter));
    TRY(parse_filters(p, (*out)->as.filter_block.filter, &(*out)->as.filter_block.filter));
    return parse_block_body(p, "filter", ends, true, &(*out)->as.filter_block.body);
}

static Status parse_with(Parser *p, Stmt **out) {
    static const char *const ends[] = {"endwith", NULL};
    TRY(new_stmt(p, S_WITH, p->token.line, out));
    Stmt *s = *out;
    TRY(parser_advance(p));
    while (p->token.kind != T_BLOCK_END) {
        const size_t count = s->as.with.count;
        if (count > 0)
            TRY(parser_expect(p, T_COMMA));
        TRY(parser_grow(p, &s->as.with.targets, count, sizeof(Expr *)));
        TRY(parser_grow(p, &s->as.with.values, count, sizeof(Expr *)));
        TRY(parse_target(p, NULL, false, false, &s->as.with.targets[count]));
        TRY(parser_expect(p, T_ASSIGN));
        TRY(parse_expression(p, true, &s->as.with.values[count]));
        s->as.with.count++;
    }
    return parse_block_body(p, "with", ends, true, &s->as.with.body);
}

static Status parse_autoescape(Parser *p, Stmt **out) {
    static const char *const ends[] = {"endautoescape", NULL};
    TRY(new_stmt(p, S_AUTOESCAPE, p->token.line, out));
    TRY(parser_advance(p));
    TRY(parse_expression(p, true, &(*out)->as.autoescape.value));
    return parse_block_body(p, "autoescape", ends, true, &(*out)->as.autoescape.body);
}

/* A required block may hold nothing but white space. */
static Status check_required(Parser *p, const Stmt *s, const Body *body) {
    for (size_t i = 0; i < body->count; i++) {
        const Stmt *inner = body->items[i];
        bool blank = inner->kind == S_OUTPUT;
        for (size_t k = 0; blank && k < inner->as.output.count; k++) {
            const Expr *e = inner->as.output.items[k];
            blank = e->kind == E_CONST && is_markup(e->as.constant); /* template data: see parse_body */
            for (size_t c = 0; blank && c < e->as.constant.count; c++)
                blank = strchr(" \t\n\v\f\r", e->as.constant.as.text[c]) != NULL;
        }
        if (!blank)
            return parser_fail_at(p, ERR_FORMAT, s->line, "required blocks can only contain comments or white space");
    }
    return OK;
}

static Status parse_block(Parser *p, Stmt **out) {
    static const char *const ends[] = {"endblock", NULL};
    TRY(new_stmt(p, S_BLOCK, p->token.line, out));
    Stmt *s = *out;
    TRY(parser_advance(p));
    Block *block = arena_alloc(p->arena, sizeof *block);
    if (block == NULL)
        return parser_no_memory(p);
    s->as.block.block = block;
    block->name = p->token.text;
    TRY(parser_expect(p, T_NAME));
    TRY(parser_skip_name(p, "scoped", &s->as.block.scoped));
    TRY(parser_skip_name(p, "required", &block->required));
    TRY(new_function(p, block->name, &block->function));
    TRY(parse_block_body(p, "block", ends, true, &block->function->body));
    if (block->required)
        TRY(check_required(p, s, &block->function->body));
    if (p->token.kind == T_NAME && p->token.text.count == block->name.count &&
        memcmp(p->token.text.as.text, block->name.as.text, block->name.count) == 0)
        return parser_advance(p);
    return OK;
}

static Status parse_print(Parser *p, Stmt **out) {
    TRY(new_stmt(p, S_OUTPUT, p->token.line, out));
    TRY(parser_advance(p));
    while (p->token.kind != T_BLOCK_END) {
        if ((*out)->as.output.count > 0)
            TRY(parser_expect(p, T_COMMA));
        Expr *expr;
        TRY(parse_expression(p, true, &expr));
        TRY(parser_add_expr(p, &(*out)->as.output, expr));
    }
    return OK;
}

static Status parse_import_context(Parser *p) {
    static const char *const words[] = {"with", "without", NULL};
    if (!parser_at_any(p, words))
        return OK;
    TRY(parser_look_ahead(p));
    if (p->ahead.kind != T_NAME || !string_is(p->ahead.text, "context"))
        return OK;
    TRY(parser_advance(p));
    return parser_advance(p);
}

/* include, import, from and extends are read in full, so that only those that are reached are errors. */
static Status parse_refused(Parser *p, Stmt **out) {
    const bool is_import = parser_at(p, "import"), is_from = parser_at(p, "from"), is_include = parser_at(p, "include");
    TRY(new_stmt(p, S_REFUSED, p->token.line, out));
    (*out)->as.refusal = is_include ? "include" : is_from || is_import ? "import" : "extends";
    TRY(parser_advance(p));
    Expr *ignored;
    TRY(parse_expression(p, true, &ignored));
    if (is_import) {
        TRY(parser_expect_name(p, "as"));
        TRY(parse_target_name(p, true, &ignored));
    } else if (is_from) {
        TRY(parser_expect_name(p, "import"));
        for (bool comma = true; comma;) {
            TRY(parse_import_context(p));
            if (p->token.kind == T_BLOCK_END)
                break;
            TRY(parse_target_name(p, true, &ignored));
            bool as;
            TRY(parser_skip_name(p, "as", &as));
            if (as)
                TRY(parse_target_name(p, true, &ignored));
            TRY(parser_skip(p, T_COMMA, &comma));
        }
    } else if (is_include && parser_at(p, "ignore")) {
        TRY(parser_advance(p));
        TRY(parser_expect_name(p, "missing"));
    }
    return parse_import_context(p);
}

static Status parse_jump(Parser *p, Stmt **out) {
    TRY(new_stmt(p, parser_at(p, "break") ? S_BREAK : S_CONTINUE, p->token.line, out));
    return parser_advance(p);
}

static Status parse_statement(Parser *p, Stmt **out) {
    static const struct {
        const char *tag;
        Status (*parse)(Parser *, Stmt **);
    } tags[] = {
        {"if", parse_if},           {"for", parse_for},
        {"set", parse_set},         {"macro", parse_macro},
        {"call", parse_call_block}, {"filter", parse_filter_block},
        {"with", parse_with},       {"generation", parse_generation},
        {"break", parse_jump},      {"continue", parse_jump},
        {"print", parse_print},     {"block", parse_block},
        {"include", parse_refused}, {"import", parse_refused},
        {"from", parse_refused},    {"extends", parse_refused},
        {"autoescape", parse_autoescape},
    };
    if (p->token.kind != T_NAME)
        return parser_unexpected(p, "a tag's name");
    for (size_t i = 0; i < COUNT(tags); i++)
        if (parser_at(p, tags[i].tag))
            return tags[i].parse(p, out);
    char words[64];
    if (p->open_tag != NULL)
        return parser_fail(p, "unknown tag %s inside of '%s' (line %d)", token_words(&p->token, words), p->open_tag,
                           p->open_line);
    return parser_fail(p, "unknown tag %s", token_words(&p->token, words));
}

/* Adds text or a printed expression to the output statement at the end of the body. */
static Status add_output(Parser *p, Body *body, bool *open, int line, Expr *expr) {
    if (!*open) {
        Stmt *s;
        TRY(new_stmt(p, S_OUTPUT, line, &s));
        TRY(add_stmt(p, body, s));
        *open = true;
    }
    return parser_add_expr(p, &body->items[body->count - 1]->as.output, expr);
}

/* Statements up to a tag with one of the names `ends` (then the current token), or to the end of the template. */
static Status parse_body(Parser *p, const char *const *ends, Body *body) {
    if (++p->stmt_depth > JINJA_MAX_STMT_DEPTH)
        return parser_fail_at(p, ERR_LIMIT, p->token.line, "blocks are nested more than %d levels deep",
                              JINJA_MAX_STMT_DEPTH);
    bool open = false; /* the last statement is an output that can be continued */
    for (;;) {
        const int line = p->token.line;
        switch (p->token.kind) {
        case T_END:
            if (ends != NULL)
                return parser_fail(p, "the template ends inside of '%s' (line %d)", p->open_tag, p->open_line);
            p->stmt_depth--;
            return OK;
        case T_DATA: {
            Expr *data;
            TRY(parser_new_expr(p, E_CONST, line, &data));
            data->as.constant = p->token.text;
            data->as.constant.flags |= STR_MARKUP; /* a template's own text is never escaped */
            TRY(add_output(p, body, &open, line, data));
            TRY(parser_advance(p));
            break;
        }
        case T_PRINT_BEGIN: {
            TRY(parser_advance(p));
            Expr *expr;
            TRY(parse_tuple(p, false, true, NULL, false, false, &expr));
            TRY(add_output(p, body, &open, line, expr));
            TRY(parser_expect(p, T_PRINT_END));
            break;
        }
        default: {
            TRY(parser_expect(p, T_BLOCK_BEGIN));
            if (ends != NULL && parser_at_any(p, ends)) {
                p->stmt_depth--;
                return OK;
            }
            Stmt *s;
            TRY(parse_statement(p, &s));
            TRY(add_stmt(p, body, s));
            open = false;
            TRY(parser_expect(p, T_BLOCK_END));
            break;
        }
        }
    }
}

Status parser_run(Jinja *j, const char *text, size_t bytes, Body *body) {
    Parser p = {.j = j, .arena = &j->arena, .err = j->err};
    TRY(lexer_open(&p.lexer, p.arena, text, bytes, p.err));
    TRY(parser_advance(&p));
    return parse_body(&p, NULL, body);
}
