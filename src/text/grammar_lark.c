/* grammar_lark.c - grammars in Lark's notation, as it is used for constraining models.
 *
 *     start: greeting " " NAME ("," NAME)*      rules are in small letters, terminals in capitals
 *     greeting: "hello"i | /go+d day/
 *     NAME: /[A-Z][a-z]+/
 *     %import common.WS                          %ignore WS
 *     call: <tool> %json { "type": "object" }    a special token; a JSON Schema
 *
 * There is no lexer in front: a text fits if any way of reading it does. What %ignore names may stand after every
 * terminal in a rule, and at the start. Priorities and aliases concern trees, of which there are none. */
#include "text/grammar_parts.h"
#include "text/grammar_rules.h"
#include "text/grammar_vocab.h"

#include "base/text.h"
#include "format/json.h"

#include <string.h>

typedef struct Lark {
    RuleText r;
    const GrammarVocab *vocab;
    GrammarSpace space;
    bool in_terminal;
    uint32_t ignored; /* a rule: what %ignore names, any number of times; 0 = nothing */
    Expr *ignored_any;
} Lark;

static const struct {
    const char *name, *regex;
} common[] = {
    {"DIGIT", "[0-9]"},
    {"HEXDIGIT", "[0-9a-fA-F]"},
    {"INT", "[0-9]+"},
    {"SIGNED_INT", "[+-]?[0-9]+"},
    {"DECIMAL", "([0-9]+\\.[0-9]*|\\.[0-9]+)"},
    {"FLOAT", "([0-9]+[eE][+-]?[0-9]+|([0-9]+\\.[0-9]*|\\.[0-9]+)([eE][+-]?[0-9]+)?)"},
    {"SIGNED_FLOAT", "[+-]?([0-9]+[eE][+-]?[0-9]+|([0-9]+\\.[0-9]*|\\.[0-9]+)([eE][+-]?[0-9]+)?)"},
    {"NUMBER", "([0-9]+|[0-9]+[eE][+-]?[0-9]+|([0-9]+\\.[0-9]*|\\.[0-9]+)([eE][+-]?[0-9]+)?)"},
    {"SIGNED_NUMBER", "[+-]?([0-9]+|[0-9]+[eE][+-]?[0-9]+|([0-9]+\\.[0-9]*|\\.[0-9]+)([eE][+-]?[0-9]+)?)"},
    {"ESCAPED_STRING", "\"([^\"\\\\\\n]|\\\\[^\\n])*\""},
    {"LCASE_LETTER", "[a-z]"},
    {"UCASE_LETTER", "[A-Z]"},
    {"LETTER", "[A-Za-z]"},
    {"WORD", "[A-Za-z]+"},
    {"CNAME", "[A-Za-z_][A-Za-z_0-9]*"},
    {"WS_INLINE", "[ \\t]+"},
    {"WS", "[ \\t\\f\\r\\n]+"},
    {"CR", "\\r"},
    {"LF", "\\n"},
    {"NEWLINE", "(\\r?\\n)+"},
};

static void skip(Lark *l, bool lines) {
    RuleText *r = &l->r;
    while (r->at < r->count) {
        const char c = r->text[r->at];
        if (c == '#' || rules_ahead(r, "//"))
            while (r->at < r->count && r->text[r->at] != '\n')
                r->at++;
        else if (c == ' ' || c == '\t' || c == '\r' || (lines && c == '\n'))
            r->at++;
        else
            break;
    }
}

/* At the end of a line: does an alternative follow on the next one? */
static bool goes_on(Lark *l, bool in_brackets) {
    RuleText *r = &l->r;
    const size_t start = r->at;
    skip(l, true);
    if (in_brackets || r->at == start || r->at >= r->count)
        return true;
    bool newline = false;
    for (size_t i = start; i < r->at; i++)
        newline = newline || r->text[i] == '\n';
    if (!newline || rules_ahead(r, "|"))
        return true;
    r->at = start;
    return false;
}

static Expr *then_ignored(Lark *l, Expr *e) {
    if (l->in_terminal || e == NULL)
        return e;
    Expr *sequence = expr_new(l->r.net, EXPR_SEQUENCE), *ignored = expr_new(l->r.net, EXPR_RULE);
    if (sequence == NULL || ignored == NULL)
        return NULL;
    ignored->rule = l->ignored;
    expr_add(sequence, e);
    expr_add(sequence, ignored);
    return sequence;
}

static Expr *fold_bytes(Lark *l, const Expr *e) {
    Expr *sequence = expr_new(l->r.net, EXPR_SEQUENCE);
    for (size_t at = 0; at < e->count && sequence != NULL;) {
        uint32_t c;
        int bad;
        const int n = utf8_decode(e->bytes + at, e->count - at, &c, &bad);
        Expr *one = expr_new(l->r.net, EXPR_CHARS);
        if (n == 0 || one == NULL) {
            rules_fail(&l->r, ERR_FORMAT, "not UTF-8");
            return NULL;
        }
        charset_add(l->r.net, &one->set, c, c);
        charset_fold(l->r.net, &one->set);
        expr_add(sequence, one);
        at += (size_t)n;
    }
    return sequence;
}

/* "..." with its flag, or the range "a".."z". */
static Expr *take_string(Lark *l) {
    RuleText *r = &l->r;
    rules_take(r, "\"");
    Expr *e = rules_quoted(r, '"');
    if (e == NULL)
        return NULL;
    if (rules_take(r, "..")) {
        uint32_t low = 0, high = 0;
        int bad;
        Expr *last = rules_take(r, "\"") ? rules_quoted(r, '"') : NULL;
        Expr *range = expr_new(r->net, EXPR_CHARS);
        if (last == NULL || range == NULL || e->count == 0 || last->count == 0 ||
            utf8_decode(e->bytes, e->count, &low, &bad) != (int)e->count ||
            utf8_decode(last->bytes, last->count, &high, &bad) != (int)last->count || low > high) {
            rules_fail(r, ERR_FORMAT, "a range is \"a\"..\"z\", single characters in order");
            return NULL;
        }
        charset_add(r->net, &range->set, low, high);
        return range;
    }
    if (rules_take(r, "i"))
        return fold_bytes(l, e);
    return e;
}

/* /.../ with its flags. */
static Expr *take_regex(Lark *l) {
    RuleText *r = &l->r;
    const size_t start = ++r->at;
    while (r->at < r->count && r->text[r->at] != '/' && r->text[r->at] != '\n')
        r->at += r->text[r->at] == '\\' && r->at + 1 < r->count ? 2 : 1;
    const size_t end = r->at;
    if (end >= r->count || !rules_take(r, "/")) {
        rules_fail(r, ERR_FORMAT, "a regular expression without its closing /");
        return NULL;
    }
    bool fold = false, dot_all = false;
    for (; r->at < r->count && strchr("imslux", r->text[r->at]) != NULL && r->text[r->at] != '\0'; r->at++) {
        fold = fold || r->text[r->at] == 'i';
        dot_all = dot_all || r->text[r->at] == 's';
        if (r->text[r->at] == 'x' || r->text[r->at] == 'm' || r->text[r->at] == 'l')
            rules_fail(r, ERR_UNSUPPORTED, "this flag is not supported");
    }
    Expr *e = regex_parse(r->net, r->text + start, end - start, fold, dot_all);
    if (e == NULL) {
        error_context(r->net->err, "Lark, byte %zu", start);
        return NULL;
    }
    regex_drop_edges(e);
    if (expr_has_anchor(e))
        rules_fail(r, ERR_UNSUPPORTED, "anchors inside a regular expression are not supported here");
    return e;
}

/* A rule that is filled at once by another builder. */
static Expr *filled_rule(Lark *l, uint32_t *rule) {
    *rule = net_rule(l->r.net, NULL);
    Expr *e = expr_new(l->r.net, EXPR_RULE);
    if (e != NULL)
        e->rule = *rule;
    return l->r.net->status == OK ? e : NULL;
}

/* <name>: a special token, by its name in the vocabulary or by its number, <[17]>. */
static Expr *take_special(Lark *l) {
    RuleText *r = &l->r;
    const size_t start = r->at;
    while (r->at < r->count && r->text[r->at] != '>' && r->text[r->at] != '\n' && r->text[r->at] != ' ')
        r->at++;
    if (!rules_take(r, ">")) {
        rules_fail(r, ERR_FORMAT, "< without >");
        return NULL;
    }
    size_t name = 0;
    int32_t id = vocab_special_at(l->vocab, r->text + start, r->at - start, &name);
    if (r->text[start + 1] == '[') {
        id = -1;
        char digits[12] = {0};
        const size_t length = r->at - start - 4;
        int64_t number;
        if (r->at - start > 4 && length < sizeof digits && r->text[r->at - 2] == ']') {
            memcpy(digits, r->text + start + 2, length);
            if (parse_int64(digits, &number) && number >= 0)
                for (size_t i = 0; i < l->vocab->special_count; i++)
                    if (l->vocab->specials[i] == number)
                        id = (int32_t)number;
        }
        name = r->at - start;
    }
    if (id < 0 || name != r->at - start) {
        r->at = start;
        rules_fail(r, ERR_UNSUPPORTED, "the model has no special token with this name");
        return NULL;
    }
    char spelling[SPECIAL_BYTES];
    return expr_bytes(r->net, spelling, special_spelling(id, spelling));
}

/* The end of a JSON value that begins here with a bracket. */
static size_t json_end(const RuleText *r) {
    int depth = 0;
    bool quoted = false;
    for (size_t i = r->at; i < r->count; i++) {
        const char c = r->text[i];
        if (quoted) {
            i += c == '\\';
            quoted = c != '"';
        } else if (c == '"') {
            quoted = true;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if ((c == '}' || c == ']') && --depth == 0) {
            return i + 1;
        }
    }
    return 0;
}

static Expr *take_schema(Lark *l) {
    RuleText *r = &l->r;
    skip(l, true);
    const size_t end = rules_ahead(r, "{") ? json_end(r) : 0;
    if (end == 0) {
        rules_fail(r, ERR_FORMAT, "%json needs a schema in braces");
        return NULL;
    }
    json_t *schema;
    if (json_parse(r->text + r->at, end - r->at, "Lark, %json", true, &schema, r->net->err) != OK) {
        r->net->status = r->net->err->status;
        return NULL;
    }
    r->at = end;
    uint32_t rule;
    Expr *e = filled_rule(l, &rule);
    if (e != NULL)
        schema_build(r->net, r->net->rules[rule].start, r->net->rules[rule].end, schema, l->space);
    json_decref(schema);
    return r->net->status == OK ? e : NULL;
}

static Expr *take_either(Lark *l, bool in_brackets);

static Expr *take_item(Lark *l) {
    RuleText *r = &l->r;
    if (rules_ahead(r, "\""))
        return then_ignored(l, take_string(l));
    if (rules_ahead(r, "/"))
        return then_ignored(l, take_regex(l));
    if (rules_ahead(r, "<"))
        return then_ignored(l, take_special(l));
    if (rules_take(r, "%json"))
        return then_ignored(l, take_schema(l));
    const bool optional = rules_ahead(r, "[");
    if (rules_take(r, "(") || rules_take(r, "[")) {
        Expr *e = take_either(l, true);
        skip(l, true);
        if (!rules_take(r, optional ? "]" : ")"))
            rules_fail(r, ERR_FORMAT, "a bracket is not closed");
        return optional ? expr_repeat(r->net, e, 0, 1) : e;
    }
    const size_t name = rules_name(r, "");
    if (name == 0) {
        rules_fail(r, ERR_FORMAT, "a text, a /regular expression/, a name or a bracket was expected");
        return NULL;
    }
    const int64_t found = rules_find(r, r->text + r->at, name);
    const char first = r->text[r->at] == '_' && name > 1 ? r->text[r->at + 1] : r->text[r->at];
    r->at += name;
    if (rules_ahead(r, "{"))
        rules_fail(r, ERR_UNSUPPORTED, "templates are not supported");
    Expr *e = expr_new(r->net, EXPR_RULE);
    if (found < 0 || e == NULL)
        return NULL;
    e->rule = r->rules[found].rule;
    const bool terminal = first >= 'A' && first <= 'Z';
    if (l->in_terminal && !terminal)
        rules_fail(r, ERR_FORMAT, "a terminal cannot contain a rule");
    return terminal ? then_ignored(l, e) : e;
}

static Expr *take_repeated(Lark *l) {
    RuleText *r = &l->r;
    Expr *e = take_item(l);
    for (int i = 0; i < RULES_MAX_DEPTH && r->net->status == OK; i++) {
        uint32_t min = 0, max = NET_NO_END;
        if (rules_take(r, "+")) {
            min = 1;
        } else if (rules_take(r, "?")) {
            max = 1;
        } else if (rules_take(r, "~") || rules_ahead(r, "{")) {
            const bool braces = rules_take(r, "{");
            skip(l, false);
            bool fine = rules_number(r, &min);
            max = min;
            if (rules_take(r, braces ? "," : "..") && !rules_number(r, &max)) {
                max = NET_NO_END;
                fine = fine && braces;
            }
            if (!fine || max < min || (braces && !rules_take(r, "}")))
                rules_fail(r, ERR_FORMAT, "bad bounds of a repetition");
        } else if (!rules_take(r, "*")) {
            break;
        }
        e = expr_repeat(r->net, e, min, max);
    }
    return e;
}

static Expr *take_either(Lark *l, bool in_brackets) {
    RuleText *r = &l->r;
    if (++r->depth > RULES_MAX_DEPTH) {
        rules_fail(r, ERR_LIMIT, "nested too deeply");
        return NULL;
    }
    Expr *either = expr_new(r->net, EXPR_EITHER);
    do {
        Expr *sequence = expr_new(r->net, EXPR_SEQUENCE);
        for (;;) {
            const bool more = goes_on(l, in_brackets);
            if (!more || r->net->status != OK || r->at >= r->count || rules_ahead(r, "|") || rules_ahead(r, ")") ||
                rules_ahead(r, "]"))
                break;
            if (rules_take(r, "->")) { /* a name for a tree's branch */
                skip(l, false);
                r->at += rules_name(r, "");
                continue;
            }
            expr_add(sequence, take_repeated(l));
        }
        expr_add(either, sequence);
    } while (r->net->status == OK && rules_take(r, "|"));
    r->depth--;
    return r->net->status == OK ? either : NULL;
}

static void define(Lark *l, const char *name, size_t count, Expr *e) {
    const int64_t found = rules_find(&l->r, name, count);
    if (found < 0 || e == NULL)
        return;
    if (l->r.rules[found].expr != NULL)
        rules_fail(&l->r, ERR_FORMAT, "this rule is defined twice");
    l->r.rules[found].expr = e;
}

static void take_import(Lark *l) {
    RuleText *r = &l->r;
    skip(l, false);
    if (!rules_take(r, "common.")) {
        rules_fail(r, ERR_UNSUPPORTED, "only common.NAME can be imported");
        return;
    }
    const char *name = r->text + r->at, *as = name;
    const size_t count = rules_name(r, "");
    size_t as_count = count;
    r->at += count;
    skip(l, false);
    if (rules_take(r, "->")) {
        skip(l, false);
        as = r->text + r->at;
        as_count = rules_name(r, "");
        r->at += as_count;
    }
    for (size_t i = 0; i < COUNT(common); i++)
        if (strlen(common[i].name) == count && memcmp(common[i].name, name, count) == 0) {
            define(l, as, as_count, regex_parse(r->net, common[i].regex, strlen(common[i].regex), false, false));
            return;
        }
    rules_fail(r, ERR_UNSUPPORTED, "common has no such terminal here");
}

static void take_directive(Lark *l) {
    RuleText *r = &l->r;
    if (rules_take(r, "%import")) {
        take_import(l);
    } else if (rules_take(r, "%ignore")) {
        l->in_terminal = true;
        expr_add(l->ignored_any, take_either(l, false));
        l->in_terminal = false;
    } else if (rules_take(r, "%llguidance")) { /* settings of another program */
        skip(l, false);
        const size_t end = rules_ahead(r, "{") ? json_end(r) : 0;
        if (end == 0)
            rules_fail(r, ERR_FORMAT, "%llguidance needs {...}");
        r->at = MAX(end, r->at);
    } else {
        rules_fail(r, ERR_UNSUPPORTED, "this directive is not supported");
    }
}

static void take_definition(Lark *l) {
    RuleText *r = &l->r;
    while (rules_take(r, "?") || rules_take(r, "!"))
        ;
    const size_t name = rules_name(r, ""), start = r->at;
    r->at += name;
    if (name > 0 && rules_take(r, ".")) { /* a priority */
        uint32_t priority;
        rules_take(r, "-");
        rules_number(r, &priority);
    }
    if (rules_ahead(r, "[") || rules_ahead(r, "{"))
        rules_fail(r, ERR_UNSUPPORTED, "attributes and templates of rules are not supported");
    skip(l, false);
    if (name == 0 || !rules_take(r, ":")) {
        rules_fail(r, ERR_FORMAT, "a rule, name: ..., was expected");
        return;
    }
    const char first = r->text[start] == '_' && name > 1 ? r->text[start + 1] : r->text[start];
    l->in_terminal = first >= 'A' && first <= 'Z';
    Expr *e = take_either(l, false);
    l->in_terminal = false;
    define(l, r->text + start, name, e);
}

void lark_build(Net *net, uint32_t from, uint32_t to, const char *text, size_t count, const GrammarVocab *vocab,
                GrammarSpace space) {
    Lark l = {.r = {.net = net, .what = "Lark", .text = text, .count = count}, .vocab = vocab, .space = space};
    l.ignored = net_rule(net, "%ignore");
    l.ignored_any = expr_new(net, EXPR_EITHER);
    for (skip(&l, true); l.r.at < count && net->status == OK; skip(&l, true)) {
        if (rules_ahead(&l.r, "%"))
            take_directive(&l);
        else
            take_definition(&l);
    }
    const int64_t start = net->status == OK ? rules_find(&l.r, "start", 5) : -1;
    if (start >= 0) {
        Expr *ignored =
            l.ignored_any->first != NULL ? expr_repeat(net, l.ignored_any, 0, NET_NO_END) : expr_new(net, EXPR_EMPTY);
        rules_build(&l.r);
        if (net->status == OK)
            expr_build(net, net->rules[l.ignored].start, net->rules[l.ignored].end, ignored);
        const uint32_t begun = net_node(net);
        net_call(net, from, begun, l.ignored);
        net_call(net, begun, to, l.r.rules[start].rule);
    }
    rules_free(&l.r);
}
