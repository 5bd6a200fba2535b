/* grammar_regex.c - regular expressions in the syntax of ECMAScript (with the u flag), into expressions.
 *
 *     either    = sequence { "|" sequence }
 *     sequence  = { atom [ "*" | "+" | "?" | "{" n [ "," [ m ] ] "}" ] [ "?" ] }
 *     atom      = character | "." | "[" ... "]" | "(" [ "?:" | "?<name>" ] either ")" | "^" | "$" | escape
 *
 * \d, \w are ASCII, \s has Unicode's blanks. What no finite automaton can do, or what we do not do (look-around,
 * back references, word boundaries), is refused. Laziness of a repetition changes nothing for a recogniser. */
#include "text/grammar_expr.h"

#include "base/text.h"

#include <string.h>

#include <utf8proc.h>

enum { MAX_NESTING = 200, MAX_REPEAT = 1 << 20 };

/* Characters of some general categories, each a bit. */
typedef struct Property {
    uint32_t categories;
    CharSet set;
} Property;

typedef struct Regex {
    Net *net;
    const char *text;
    size_t at, count;
    int depth;
    bool ignore_case, dot_all;
    Property properties[40]; /* those met so far: finding one looks at all of Unicode (7 classes and 30 categories) */
    int n_property;
} Regex;

static void wrong(Regex *r, Status status, const char *what) {
    net_fail(r->net, status, "regular expression, byte %zu: %s", r->at, what);
}

static bool ahead(const Regex *r, const char *bytes) {
    const size_t n = strlen(bytes);
    return r->count - r->at >= n && memcmp(r->text + r->at, bytes, n) == 0;
}

static bool take(Regex *r, const char *bytes) {
    if (!ahead(r, bytes))
        return false;
    r->at += strlen(bytes);
    return true;
}

static uint32_t take_char(Regex *r) {
    uint32_t c = 0;
    int bad;
    const int n = r->at < r->count ? utf8_decode(r->text + r->at, r->count - r->at, &c, &bad) : 0;
    if (n == 0) {
        wrong(r, ERR_FORMAT, r->at < r->count ? "not UTF-8" : "it ends too early");
        r->at = r->count;
        return 0;
    }
    r->at += (size_t)n;
    return c;
}

static bool take_hex(Regex *r, int digits, uint32_t *value) {
    *value = 0;
    for (int i = 0; i < digits; i++) {
        const char c = r->at < r->count ? r->text[r->at] : '\0';
        const int v = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : -1;
        if (v < 0)
            return false;
        *value = *value * 16 + (uint32_t)v;
        r->at++;
    }
    return true;
}

/* After "\u": four digits, a pair of surrogates, or braces. */
static uint32_t take_unicode(Regex *r) {
    uint32_t c = 0, low;
    if (take(r, "{")) {
        int digits = 0;
        while (r->at + (size_t)digits < r->count && r->text[r->at + (size_t)digits] != '}' && digits < 8)
            digits++;
        if (digits == 0 || !take_hex(r, digits, &c) || !take(r, "}") || c > CHAR_LAST)
            wrong(r, ERR_FORMAT, "bad \\u{...}");
        return c;
    }
    if (!take_hex(r, 4, &c))
        wrong(r, ERR_FORMAT, "\\u needs four hexadecimal digits");
    if (c >= 0xD800 && c <= 0xDBFF && take(r, "\\u")) {
        if (!take_hex(r, 4, &low) || low < 0xDC00 || low > 0xDFFF)
            wrong(r, ERR_FORMAT, "half a pair of surrogates");
        c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
    }
    return c;
}

/* Categories by their one or two letters, and the long names in use: a bit for each; 0 when there is none of that name. */
static uint32_t categories_of(const char *name, size_t count) {
    static const struct {
        const char *name, *letters;
    } longer[] = {{"Letter", "L"},          {"Number", "N"},    {"Punctuation", "P"},       {"Symbol", "S"},
                  {"Separator", "Z"},       {"Mark", "M"},      {"Uppercase_Letter", "Lu"}, {"Lowercase_Letter", "Ll"},
                  {"Decimal_Number", "Nd"}, {"Alphabetic", "L"}};
    static const char *const words[] = {"Cn", "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd",
                                        "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm",
                                        "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co"};
    for (size_t i = 0; i < COUNT(longer); i++)
        if (strlen(longer[i].name) == count && memcmp(longer[i].name, name, count) == 0) {
            name = longer[i].letters;
            count = strlen(name);
        }
    uint32_t categories = 0;
    for (size_t i = 0; i < COUNT(words) && count >= 1 && count <= 2; i++)
        if (memcmp(words[i], name, count) == 0)
            categories |= UINT32_C(1) << i;
    return categories;
}

/* Good until the next one is asked for. */
static const CharSet *characters_of(Regex *r, uint32_t categories) {
    for (int i = 0; i < r->n_property; i++)
        if (r->properties[i].categories == categories)
            return &r->properties[i].set;
    Property found = {.categories = categories};
    uint32_t first = 0;
    bool inside = false;
    for (uint32_t c = 0; c <= CHAR_LAST + 1; c++) {
        const bool is = c <= CHAR_LAST && (categories >> utf8proc_category((utf8proc_int32_t)c) & 1) != 0;
        if (is && !inside)
            first = c;
        if (!is && inside)
            charset_add(r->net, &found.set, first, c - 1);
        inside = is;
    }
    Property *place = &r->properties[MIN(r->n_property, (int)COUNT(r->properties) - 1)];
    *place = found;
    r->n_property = MIN(r->n_property + 1, (int)COUNT(r->properties));
    return &place->set;
}

/* After "\p" or "\P". */
static void take_property(Regex *r, bool negate, CharSet *set) {
    char single[2] = {0};
    const char *name = single;
    size_t count = 1;
    if (take(r, "{")) {
        name = r->text + r->at;
        for (count = 0; r->at < r->count && r->text[r->at] != '}'; count++)
            r->at++;
        if (!take(r, "}")) {
            wrong(r, ERR_FORMAT, "\\p{ without }");
            return;
        }
    } else {
        single[0] = (char)take_char(r);
    }
    static const char *const prefixes[] = {"gc=", "General_Category="};
    for (size_t i = 0; i < COUNT(prefixes); i++)
        if (count > strlen(prefixes[i]) && memcmp(name, prefixes[i], strlen(prefixes[i])) == 0) {
            name += strlen(prefixes[i]);
            count -= strlen(prefixes[i]);
        }
    const uint32_t categories = categories_of(name, count);
    if (categories == 0) {
        wrong(r, ERR_UNSUPPORTED, "this \\p{...} is not supported (general categories are)");
        return;
    }
    CharSet chosen = {0};
    charset_add_set(r->net, &chosen, characters_of(r, categories));
    if (negate)
        charset_negate(r->net, &chosen);
    charset_add_set(r->net, set, &chosen);
}

/* \d \w \s and their opposites; false for any other letter. */
static bool shorthand(Regex *r, char letter, CharSet *set) {
    static const CharRange digits[] = {{'0', '9'}}, words[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}},
                           blanks[] = {{9, 13},          {32, 32},         {0xA0, 0xA0},     {0x1680, 0x1680},
                                       {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F},
                                       {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
    const CharRange *ranges;
    size_t count;
    switch (letter | 0x20) {
    case 'd':
        ranges = digits, count = COUNT(digits);
        break;
    case 'w':
        ranges = words, count = COUNT(words);
        break;
    case 's':
        ranges = blanks, count = COUNT(blanks);
        break;
    default:
        return false;
    }
    CharSet chosen = {0};
    for (size_t i = 0; i < count; i++)
        charset_add(r->net, &chosen, ranges[i].low, ranges[i].high);
    if (letter < 'a')
        charset_negate(r->net, &chosen);
    charset_add_set(r->net, set, &chosen);
    return true;
}

/* After a backslash: adds a class to `set` (returns false), or gives one character (returns true). */
static bool take_escape(Regex *r, bool in_class, CharSet *set, uint32_t *c) {
    const char letter = r->at < r->count ? r->text[r->at] : '\0';
    *c = take_char(r);
    switch (letter) {
    case 'n':
        *c = '\n';
        return true;
    case 'r':
        *c = '\r';
        return true;
    case 't':
        *c = '\t';
        return true;
    case 'f':
        *c = '\f';
        return true;
    case 'v':
        *c = '\v';
        return true;
    case 'a':
        *c = '\a';
        return true;
    case 'u':
        *c = take_unicode(r);
        return true;
    case 'x':
        if (!take_hex(r, 2, c))
            wrong(r, ERR_FORMAT, "\\x needs two hexadecimal digits");
        return true;
    case 'c':
        *c = take_char(r) & 31;
        return true;
    case 'p':
    case 'P':
        take_property(r, letter == 'P', set);
        return false;
    case 'b':
        if (in_class) {
            *c = '\b';
            return true;
        }
        break;
    case '0':
        if (r->at < r->count && r->text[r->at] >= '0' && r->text[r->at] <= '9')
            break;
        *c = 0;
        return true;
    default:
        if (shorthand(r, letter, set))
            return false;
        /* Any sign may be escaped; letters and digits would mean something. */
        if (*c >= 0x80 || !((*c >= '0' && *c <= '9') || (*c >= 'A' && *c <= 'Z') || (*c >= 'a' && *c <= 'z')))
            return true;
        break;
    }
    wrong(r, ERR_UNSUPPORTED, "this escape is not supported (back reference, boundary or unknown)");
    return true;
}

static Expr *chars(Regex *r, CharSet set) {
    Expr *e = expr_new(r->net, EXPR_CHARS);
    if (e == NULL)
        return NULL;
    if (r->ignore_case)
        charset_fold(r->net, &set);
    charset_tidy(&set);
    e->set = set;
    return e;
}

static Expr *one_char(Regex *r, uint32_t c) {
    CharSet set = {0};
    charset_add(r->net, &set, c, c);
    return chars(r, set);
}

/* After "[". */
static Expr *take_class(Regex *r) {
    const bool negate = take(r, "^");
    CharSet set = {0};
    while (r->net->status == OK && !take(r, "]")) {
        if (ahead(r, "[:") || ahead(r, "&&") || ahead(r, "--")) {
            wrong(r, ERR_UNSUPPORTED, "classes of POSIX and operations on classes are not supported");
            return NULL;
        }
        uint32_t low, high;
        const bool is_char = take(r, "\\") ? take_escape(r, true, &set, &low) : (low = take_char(r), true);
        if (!is_char)
            continue;
        high = low;
        if (ahead(r, "-") && !ahead(r, "-]")) {
            take(r, "-");
            CharSet other = {0};
            if (take(r, "\\") ? !take_escape(r, true, &other, &high) : (high = take_char(r), false)) {
                /* [a-\d] means all three */
                charset_add(r->net, &set, '-', '-');
                charset_add_set(r->net, &set, &other);
                high = low;
            } else if (high < low) {
                wrong(r, ERR_FORMAT, "a range whose end is before its start");
            }
        }
        charset_add(r->net, &set, low, high);
    }
    if (negate && r->ignore_case)
        charset_fold(r->net, &set);
    if (negate)
        charset_negate(r->net, &set);
    return chars(r, set);
}

static Expr *take_either(Regex *r);

/* After "(". */
static Expr *take_group(Regex *r) {
    if (ahead(r, "?=") || ahead(r, "?!") || ahead(r, "?<=") || ahead(r, "?<!")) {
        wrong(r, ERR_UNSUPPORTED, "look-ahead and look-behind are not supported");
        return NULL;
    }
    if (take(r, "?P<") || take(r, "?<")) {
        while (r->at < r->count && r->text[r->at] != '>')
            r->at++;
        if (!take(r, ">"))
            wrong(r, ERR_FORMAT, "a group's name without >");
    } else if (!take(r, "?:") && ahead(r, "?")) {
        wrong(r, ERR_UNSUPPORTED, "this kind of group is not supported");
    }
    Expr *inside = take_either(r);
    if (!take(r, ")"))
        wrong(r, ERR_FORMAT, "( without )");
    return inside;
}

static Expr *take_atom(Regex *r) {
    if (take(r, "("))
        return take_group(r);
    if (take(r, "["))
        return take_class(r);
    if (take(r, "^"))
        return expr_new(r->net, EXPR_BEGIN);
    if (take(r, "$"))
        return expr_new(r->net, EXPR_END);
    if (take(r, ".")) {
        CharSet ends = {0};
        if (!r->dot_all) {
            charset_add(r->net, &ends, '\n', '\n');
            charset_add(r->net, &ends, '\r', '\r');
            charset_add(r->net, &ends, 0x2028, 0x2029);
        }
        charset_negate(r->net, &ends);
        return chars(r, ends);
    }
    if (take(r, "\\")) {
        if (take(r, "A"))
            return expr_new(r->net, EXPR_BEGIN);
        if (take(r, "z") || take(r, "Z"))
            return expr_new(r->net, EXPR_END);
        CharSet set = {0};
        uint32_t c;
        return take_escape(r, false, &set, &c) ? one_char(r, c) : chars(r, set);
    }
    if (ahead(r, "*") || ahead(r, "+") || ahead(r, "?")) {
        wrong(r, ERR_FORMAT, "nothing to repeat");
        return NULL;
    }
    return one_char(r, take_char(r));
}

static bool take_number(Regex *r, uint32_t *number) {
    const size_t start = r->at;
    uint64_t n = 0;
    while (r->at < r->count && r->text[r->at] >= '0' && r->text[r->at] <= '9') {
        n = MIN(n * 10 + (uint64_t)(r->text[r->at] - '0'), (uint64_t)MAX_REPEAT + 1);
        r->at++;
    }
    *number = (uint32_t)n;
    return r->at > start;
}

/* {n}, {n,}, {n,m}; anything else in braces is meant literally and nothing is taken. */
static bool take_bounds(Regex *r, uint32_t *min, uint32_t *max) {
    const size_t start = r->at;
    if (take(r, "{") && take_number(r, min)) {
        *max = *min;
        if (take(r, ",") && !take_number(r, max))
            *max = NET_NO_END;
        if (take(r, "}")) {
            if (*min > MAX_REPEAT || (*max != NET_NO_END && *max > MAX_REPEAT))
                wrong(r, ERR_LIMIT, "too many repetitions");
            else if (*max < *min)
                wrong(r, ERR_FORMAT, "bounds of a repetition in the wrong order");
            return true;
        }
    }
    r->at = start;
    return false;
}

static Expr *take_repeated(Regex *r) {
    Expr *e = take_atom(r);
    for (int i = 0; r->net->status == OK && i < MAX_NESTING; i++) {
        uint32_t min = 0, max = NET_NO_END;
        if (take(r, "+"))
            min = 1;
        else if (take(r, "?"))
            max = 1;
        else if (!take(r, "*") && !take_bounds(r, &min, &max))
            break;
        if (e != NULL && (e->kind == EXPR_BEGIN || e->kind == EXPR_END))
            wrong(r, ERR_UNSUPPORTED, "a repeated anchor");
        if (take(r, "+"))
            wrong(r, ERR_UNSUPPORTED, "possessive repetitions are not supported");
        take(r, "?");
        e = expr_repeat(r->net, e, min, max);
    }
    return e;
}

static Expr *take_either(Regex *r) {
    if (++r->depth > MAX_NESTING) {
        wrong(r, ERR_LIMIT, "nested too deeply");
        return NULL;
    }
    Expr *either = expr_new(r->net, EXPR_EITHER);
    do {
        Expr *sequence = expr_new(r->net, EXPR_SEQUENCE);
        while (r->net->status == OK && r->at < r->count && !ahead(r, "|") && !ahead(r, ")"))
            expr_add(sequence, take_repeated(r));
        expr_add(either, sequence);
    } while (r->net->status == OK && take(r, "|"));
    r->depth--;
    return r->net->status == OK ? either : NULL;
}

Expr *regex_parse(Net *net, const char *text, size_t count, bool ignore_case, bool dot_all) {
    Regex r = {.net = net, .text = text, .count = count, .ignore_case = ignore_case, .dot_all = dot_all};
    if (take(&r, "(?i)"))
        r.ignore_case = true;
    if (take(&r, "(?s)"))
        r.dot_all = true;
    Expr *e = take_either(&r);
    if (net->status == OK && r.at < r.count)
        wrong(&r, ERR_FORMAT, ") without (");
    return net->status == OK ? e : NULL;
}

/* Anchors at the edges of every alternative say what holds anyway. */
void regex_drop_edges(Expr *e) {
    if (e->kind != EXPR_EITHER)
        return;
    for (Expr *s = e->first; s != NULL; s = s->next) {
        if (s->kind != EXPR_SEQUENCE)
            continue;
        if (s->first != NULL && s->first->kind == EXPR_BEGIN)
            s->first->kind = EXPR_EMPTY;
        if (s->last != NULL && s->last->kind == EXPR_END)
            s->last->kind = EXPR_EMPTY;
    }
}
