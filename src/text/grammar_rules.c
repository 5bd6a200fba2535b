/* grammar_rules.c - see grammar_rules.h. */
#include "text/grammar_rules.h"

#include "base/text.h"

#include <string.h>

enum { MAX_NUMBER = 1 << 20 };

void rules_free(RuleText *r) {
    mem_free(r->rules);
    map_free(&r->names);
}

void rules_fail(RuleText *r, Status status, const char *what) {
    size_t line = 1, column = 1;
    for (size_t i = 0; i < r->at && i < r->count; i++) {
        column = r->text[i] == '\n' ? 1 : column + 1;
        line += r->text[i] == '\n';
    }
    net_fail(r->net, status, "%s, line %zu, column %zu: %s", r->what, line, column, what);
}

int64_t rules_find(RuleText *r, const char *name, size_t count) {
    const int64_t *known = map_find(&r->names, name, count);
    if (known != NULL)
        return *known;
    char *copy = net_alloc(r->net, count + 1);
    if (copy == NULL)
        return -1;
    memcpy(copy, name, count);
    const uint32_t rule = net_rule(r->net, copy);
    if (r->net->status != OK)
        return -1;
    if (!mem_grow((void **)&r->rules, &r->rule_capacity, r->rule_count + 1, sizeof *r->rules, MEM_TEXT) ||
        !map_put(&r->names, copy, count, (int64_t)r->rule_count)) {
        net_fail(r->net, ERR_MEMORY, "no memory for a rule");
        return -1;
    }
    r->rules[r->rule_count] = (NamedRule){.name = copy, .rule = rule, .mentioned = r->at};
    return (int64_t)r->rule_count++;
}

/* The first part of an alternative, when it is a call of this rule. */
static bool begins_with(const Expr *alternative, uint32_t rule) {
    if (alternative->kind == EXPR_RULE)
        return alternative->rule == rule;
    return alternative->kind == EXPR_SEQUENCE && alternative->first != NULL && begins_with(alternative->first, rule);
}

/* Sequences in sequences, as the parsers make them for groups, are looked into. */
static void drop_first(Expr *alternative) {
    if (alternative->kind == EXPR_RULE)
        alternative->kind = EXPR_EMPTY;
    else
        drop_first(alternative->first);
}

static Expr *without_left_recursion(Net *net, Expr *e, uint32_t rule) {
    if (e->kind != EXPR_EITHER)
        return e;
    Expr *bases = expr_new(net, EXPR_EITHER), *tails = expr_new(net, EXPR_EITHER);
    if (bases == NULL || tails == NULL)
        return e;
    bool any = false;
    for (Expr *part = e->first, *next; part != NULL; part = next) {
        next = part->next;
        part->next = NULL;
        if (begins_with(part, rule)) {
            drop_first(part);
            expr_add(tails, part);
            any = true;
        } else {
            expr_add(bases, part);
        }
    }
    if (!any)
        return bases;
    Expr *whole = expr_new(net, EXPR_SEQUENCE);
    expr_add(whole, bases);
    expr_add(whole, expr_repeat(net, tails, 0, NET_NO_END));
    return whole;
}

void rules_build(RuleText *r) {
    Net *net = r->net;
    for (size_t i = 0; i < r->rule_count && net->status == OK; i++) {
        NamedRule *n = &r->rules[i];
        if (n->expr == NULL) {
            r->at = n->mentioned;
            Text message = {0};
            text_append_str(&message, "there is no rule named ");
            text_append_printable(&message, n->name, strlen(n->name));
            rules_fail(r, ERR_FORMAT, message.bytes != NULL ? message.bytes : "a rule without definition");
            text_free(&message);
            return;
        }
        n->expr = without_left_recursion(net, n->expr, n->rule);
        if (net->status == OK && n->expr != NULL)
            expr_build(net, net->rules[n->rule].start, net->rules[n->rule].end, n->expr);
    }
}

bool rules_ahead(const RuleText *r, const char *bytes) {
    const size_t n = strlen(bytes);
    return r->count - r->at >= n && memcmp(r->text + r->at, bytes, n) == 0;
}

bool rules_take(RuleText *r, const char *bytes) {
    if (!rules_ahead(r, bytes))
        return false;
    r->at += strlen(bytes);
    return true;
}

size_t rules_name(const RuleText *r, const char *more) {
    size_t n = 0;
    for (; r->at + n < r->count; n++) {
        const char c = r->text[r->at + n];
        const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        const bool other = (c >= '0' && c <= '9') || (c != '\0' && strchr(more, c) != NULL);
        if (!letter && !other)
            break;
    }
    return n;
}

bool rules_number(RuleText *r, uint32_t *number) {
    const size_t start = r->at;
    uint64_t n = 0;
    for (; r->at < r->count && r->text[r->at] >= '0' && r->text[r->at] <= '9'; r->at++)
        n = MIN(n * 10 + (uint64_t)(r->text[r->at] - '0'), (uint64_t)MAX_NUMBER + 1);
    if (n > MAX_NUMBER)
        rules_fail(r, ERR_LIMIT, "too many repetitions");
    *number = (uint32_t)n;
    return r->at > start;
}

static bool take_code(RuleText *r, int digits, uint32_t *code) {
    *code = 0;
    for (int i = 0; i < digits; i++) {
        static const char hex[] = "0123456789abcdef";
        const char c = r->at < r->count ? r->text[r->at] : ' ';
        const char *at = c > ' ' ? strchr(hex, c >= 'A' && c <= 'F' ? c | 0x20 : c) : NULL;
        if (at == NULL || *at == '\0') {
            rules_fail(r, ERR_FORMAT, "hexadecimal digits were expected");
            return false;
        }
        *code = *code * 16 + (uint32_t)(at - hex);
        r->at++;
    }
    return true;
}

static void take_escape(RuleText *r, Text *out) {
    const char c = r->at < r->count ? r->text[r->at++] : '\0';
    uint32_t code = 0;
    switch (c) {
    case 'n':
        text_append_char(out, '\n');
        break;
    case 'r':
        text_append_char(out, '\r');
        break;
    case 't':
        text_append_char(out, '\t');
        break;
    case 'f':
        text_append_char(out, '\f');
        break;
    case 'v':
        text_append_char(out, '\v');
        break;
    case 'b':
        text_append_char(out, '\b');
        break;
    case '0':
        text_append_char(out, '\0');
        break;
    case 'x':
    case 'u':
    case 'U':
        if (take_code(r, c == 'x' ? 2 : c == 'u' ? 4 : 8, &code))
            text_append_code_point(out, code);
        break;
    default:
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '\0')
            rules_fail(r, ERR_FORMAT, "unknown escape");
        text_append_char(out, c);
    }
}

Expr *rules_quoted(RuleText *r, char quote) {
    Text out = {0};
    bool closed = false;
    while (r->net->status == OK && r->at < r->count && !closed) {
        const char c = r->text[r->at++];
        if (c == quote)
            closed = true;
        else if (c == '\\')
            take_escape(r, &out);
        else if (c == '\n')
            break;
        else
            text_append_char(&out, c);
    }
    if (!closed)
        rules_fail(r, ERR_FORMAT, "a text without its closing quote");
    if (out.failed)
        net_fail(r->net, ERR_MEMORY, "no memory for a text of a grammar");
    Expr *e = r->net->status == OK ? expr_bytes(r->net, out.bytes != NULL ? out.bytes : "", out.count) : NULL;
    text_free(&out);
    return e;
}
