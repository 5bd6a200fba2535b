/* grammar_gbnf.c - grammars in GBNF.
 *
 *     root  ::= answer+ ("\n" | "") [^a-z]{2,5} .
 *     # a comment; a rule goes on until the next "name ::="
 */
#include "text/grammar_parts.h"
#include "text/grammar_rules.h"

#include "base/text.h"

#include <string.h>

static void skip_blanks(RuleText *r) {
    while (r->at < r->count) {
        const char c = r->text[r->at];
        if (c == '#')
            while (r->at < r->count && r->text[r->at] != '\n')
                r->at++;
        else if (c == ' ' || c == '\t' || c == '\n' || c == '\r')
            r->at++;
        else
            break;
    }
}

/* Is a definition next? */
static bool at_definition(RuleText *r) {
    const size_t start = r->at, name = rules_name(r, "-");
    r->at += name;
    while (r->at < r->count && (r->text[r->at] == ' ' || r->text[r->at] == '\t'))
        r->at++;
    const bool found = name > 0 && rules_ahead(r, "::=");
    r->at = start;
    return found;
}

/* Brackets mean the same as in a regular expression: the class is cut out and given to its parser. */
static Expr *take_class(RuleText *r) {
    const size_t start = r->at;
    for (r->at++; r->at < r->count && r->text[r->at] != ']'; r->at++)
        if (r->text[r->at] == '\\')
            r->at++;
    if (r->at >= r->count) {
        rules_fail(r, ERR_FORMAT, "[ without ]");
        return NULL;
    }
    r->at++;
    Expr *e = regex_parse(r->net, r->text + start, r->at - start, false, false);
    if (e == NULL)
        error_context(r->net->err, "GBNF, byte %zu", start);
    return e;
}

static Expr *take_either(RuleText *r);

static Expr *take_item(RuleText *r) {
    if (rules_take(r, "\""))
        return rules_quoted(r, '"');
    if (rules_ahead(r, "["))
        return take_class(r);
    if (rules_take(r, "(")) {
        Expr *e = take_either(r);
        skip_blanks(r);
        if (!rules_take(r, ")"))
            rules_fail(r, ERR_FORMAT, "( without )");
        return e;
    }
    if (rules_take(r, ".")) {
        Expr *e = expr_new(r->net, EXPR_CHARS);
        if (e != NULL)
            charset_add(r->net, &e->set, 0, CHAR_LAST);
        return e;
    }
    const size_t name = rules_name(r, "-");
    if (name == 0) {
        rules_fail(r, ERR_FORMAT, "a text, a class, a name or ( was expected");
        return NULL;
    }
    const int64_t found = rules_find(r, r->text + r->at, name);
    r->at += name;
    Expr *e = expr_new(r->net, EXPR_RULE);
    if (found < 0 || e == NULL)
        return NULL;
    e->rule = r->rules[found].rule;
    return e;
}

static Expr *take_repeated(RuleText *r) {
    Expr *e = take_item(r);
    for (int i = 0; i < RULES_MAX_DEPTH && r->net->status == OK; i++) {
        uint32_t min = 0, max = NET_NO_END;
        if (rules_take(r, "+")) {
            min = 1;
        } else if (rules_take(r, "?")) {
            max = 1;
        } else if (rules_take(r, "{")) {
            skip_blanks(r);
            const bool has_min = rules_number(r, &min);
            skip_blanks(r);
            max = min;
            bool has_max = has_min;
            if (rules_take(r, ",")) {
                skip_blanks(r);
                has_max = rules_number(r, &max);
                max = has_max ? max : NET_NO_END;
                skip_blanks(r);
            }
            if ((!has_min && !has_max) || !rules_take(r, "}") || max < min)
                rules_fail(r, ERR_FORMAT, "bad bounds of a repetition");
        } else if (!rules_take(r, "*")) {
            break;
        }
        e = expr_repeat(r->net, e, min, max);
    }
    return e;
}

static Expr *take_either(RuleText *r) {
    if (++r->depth > RULES_MAX_DEPTH) {
        rules_fail(r, ERR_LIMIT, "nested too deeply");
        return NULL;
    }
    Expr *either = expr_new(r->net, EXPR_EITHER);
    do {
        Expr *sequence = expr_new(r->net, EXPR_SEQUENCE);
        for (;;) {
            skip_blanks(r);
            if (r->net->status != OK || r->at >= r->count || rules_ahead(r, "|") || rules_ahead(r, ")") ||
                at_definition(r))
                break;
            expr_add(sequence, take_repeated(r));
        }
        expr_add(either, sequence);
    } while (r->net->status == OK && rules_take(r, "|"));
    r->depth--;
    return r->net->status == OK ? either : NULL;
}

static void take_rules(RuleText *r) {
    for (skip_blanks(r); r->at < r->count && r->net->status == OK; skip_blanks(r)) {
        if (!at_definition(r)) {
            rules_fail(r, ERR_FORMAT, "a rule, name ::= ..., was expected");
            return;
        }
        const size_t name = rules_name(r, "-");
        const int64_t found = rules_find(r, r->text + r->at, name);
        if (found >= 0 && r->rules[found].expr != NULL)
            rules_fail(r, ERR_FORMAT, "this rule is defined twice");
        r->at += name;
        skip_blanks(r);
        rules_take(r, "::=");
        Expr *e = take_either(r);
        if (e != NULL && found >= 0)
            r->rules[found].expr = e;
    }
}

void gbnf_build(Net *net, uint32_t from, uint32_t to, const char *text, size_t count) {
    RuleText r = {.net = net, .what = "GBNF", .text = text, .count = count};
    take_rules(&r);
    const int64_t root = net->status == OK ? rules_find(&r, "root", 4) : -1;
    if (root >= 0) {
        rules_build(&r);
        net_call(net, from, to, r.rules[root].rule);
    }
    rules_free(&r);
}
