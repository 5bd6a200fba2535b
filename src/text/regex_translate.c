/* regex_translate.c - a pattern of Oniguruma or of Rust's regex, written anew for PCRE2.
 *
 * One pass from left to right. Outside classes nearly everything is copied; the start of the last atom is remembered,
 * because x{1,3}+ may have to become (?:x{1,3})+. A class is read into a small tree and written out as one PCRE2 class
 * where that is possible, else as a group of lookaheads:
 *
 *     [\s\p{L}]            -> [\x{9}-\x{d}...\p{L}]
 *     [\p{L}\p{M}&&[^x]]   -> [^...x], where ... are the other general categories, which leaves one plain class
 *     [a-z&&[^\W]]         -> (?:(?=[a-z])...)
 */
#include "text/split_regex.h"

#include <string.h>

enum { MAX_NESTING = 64, MAX_PATTERN = 1 << 20 };

/* White_Space, and what is not. */
#define SPACES                                                                                                         \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define NO_SPACES                                                                                                      \
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}\\x{21}-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}\\x{200b}-\\x{2027}" \
    "\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{10ffff}"
#define HEX_DIGITS "0-9A-Fa-f"
/* Oniguruma counts the superscripts and fractions of Latin-1 as parts of words, Rust's regex the joiners. */
#define WORDS "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"
#define WORDS_ONIGURUMA WORDS "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"
#define WORDS_RUST WORDS "\\x{200c}\\x{200d}"

/* The general categories, which divide all code points among them. A set of them is a mask of these bits. */
static const char *const category_names[30] = {"Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl",
                                               "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm", "Sc",
                                               "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co", "Cn"};
enum { ALL_CATEGORIES = (1 << 30) - 1 };

/* Long names of categories, as \p{Letter}; compared without case, blanks, '_' and '-'. */
static const struct {
    const char *name;
    const char *category;
} category_aliases[] = {
    {"letter", "L"}, {"casedletter", "L&"}, {"uppercaseletter", "Lu"}, {"lowercaseletter", "Ll"},
    {"titlecaseletter", "Lt"}, {"modifierletter", "Lm"}, {"otherletter", "Lo"}, {"mark", "M"}, {"combiningmark", "M"},
    {"nonspacingmark", "Mn"}, {"spacingmark", "Mc"}, {"enclosingmark", "Me"}, {"number", "N"}, {"decimalnumber", "Nd"},
    {"digit", "Nd"}, {"letternumber", "Nl"}, {"othernumber", "No"}, {"punctuation", "P"},
    {"connectorpunctuation", "Pc"},
    {"dashpunctuation", "Pd"}, {"openpunctuation", "Ps"}, {"closepunctuation", "Pe"}, {"initialpunctuation", "Pi"},
    {"finalpunctuation", "Pf"}, {"otherpunctuation", "Po"}, {"symbol", "S"}, {"mathsymbol", "Sm"},
    {"currencysymbol", "Sc"}, {"modifiersymbol", "Sk"}, {"othersymbol", "So"}, {"separator", "Z"},
    {"spaceseparator", "Zs"}, {"lineseparator", "Zl"}, {"paragraphseparator", "Zp"}, {"other", "C"}, {"control", "Cc"},
    {"format", "Cf"}, {"surrogate", "Cs"}, {"privateuse", "Co"}, {"unassigned", "Cn"}, {"lc", "L&"},
};

/* Properties that are neither categories nor scripts and that PCRE2 knows under the same name. */
static const char *const properties[] = {
    "any", "alphabetic", "lowercase", "uppercase", "cased", "math", "hexdigit", "asciihexdigit", "ascii", "ideographic",
    "unifiedideograph", "radical", "emoji", "emojipresentation", "emojimodifier", "emojimodifierbase", "emojicomponent",
    "extendedpictographic", "regionalindicator", "idstart", "idcontinue", "xidstart", "xidcontinue", "diacritic",
    "dash", "extender", "quotationmark", "terminalpunctuation", "sentenceterminal", "variationselector", "joincontrol",
    "defaultignorablecodepoint", "graphemebase", "graphemeextend", "patternsyntax", "patternwhitespace", "softdotted",
    "bidimirrored", "bidicontrol", "noncharactercodepoint",
};

typedef struct Translation {
    const char *at, *end;
    RegexDialect dialect;
    Text *out;
    Error *err;
    size_t atom; /* where in `out` the last atom begins; SIZE_MAX = nothing to repeat */
    size_t groups[MAX_NESTING];
    int depth;
} Translation;

/* A class: (items or nested ones), cut with `and` if there is one, then turned round if negated. */
typedef struct Class {
    bool negated;
    bool only_categories; /* items are general categories and nothing else: mask */
    uint32_t mask;
    Text items;        /* as inside [ ] of PCRE2 */
    struct Class *in;  /* first nested class that is not plain; a union with items and the others */
    struct Class *next;
    struct Class *and; /* what stands behind && */
} Class;

static Status bad(const Translation *t, const char *what) {
    return error_set(t->err, ERR_FORMAT, "a regular expression: %s, %zu bytes before its end", what,
                     (size_t)(t->end - t->at));
}

static const char *words(const Translation *t) {
    return t->dialect == REGEX_ONIGURUMA ? WORDS_ONIGURUMA : WORDS_RUST;
}

/* ---- properties ------------------------------------------------------------------------------------------------ */

/* 0 when the name is no category: "L", "Lu", "L&", or a long name. */
static uint32_t category_mask(const char *name) {
    for (size_t i = 0; i < COUNT(category_aliases); i++)
        if (strcmp(name, category_aliases[i].name) == 0)
            name = category_aliases[i].category;
    if (name[0] == '\0' || strlen(name) > 2)
        return 0;
    const char major = (char)(name[0] >= 'a' ? name[0] - 32 : name[0]);
    if (major == 'L' && name[1] == '&')
        return 7;
    const char minor = (char)(name[1] >= 'A' && name[1] <= 'Z' ? name[1] + 32 : name[1]);
    uint32_t mask = 0;
    for (int i = 0; i < 30; i++)
        if (category_names[i][0] == major && (minor == '\0' || category_names[i][1] == minor))
            mask |= 1u << i;
    return mask;
}

/* The name of a mask that is one category or all of one letter ("Lu", "N"); false when it is neither. */
static bool mask_name(uint32_t mask, char name[3]) {
    for (int i = 0; i < 30; i++) {
        const char major[2] = {category_names[i][0], '\0'};
        if (mask == 1u << i || mask == category_mask(major)) {
            memcpy(name, mask == 1u << i ? category_names[i] : major, mask == 1u << i ? 3 : 2);
            return true;
        }
    }
    return false;
}

/* The categories as items of a class, in as few as there can be: PCRE2 tries them one after the other. */
static void write_categories(Text *out, uint32_t mask) {
    char name[3];
    if (mask_name(~mask & ALL_CATEGORIES, name)) {
        text_append_format(out, "\\P{%s}", name);
        return;
    }
    for (const char *major = "LMNPSZC"; *major != '\0'; major++) {
        const char letter[2] = {*major, '\0'};
        const uint32_t all = category_mask(letter);
        if ((mask & all) == all)
            text_append_format(out, "\\p{%s}", letter);
        for (int i = 0; i < 30 && (mask & all) != all; i++)
            if ((mask & all & 1u << i) != 0)
                text_append_format(out, "\\p{%s}", category_names[i]);
    }
}

/* Compares as Unicode wants names compared. */
static bool same_name(const char *a, const char *b) {
    for (; *a != '\0' && *b != '\0'; a++, b++)
        if ((*a | 32) != (*b | 32))
            return false;
    return *a == *b;
}

typedef struct Property {
    uint32_t mask;  /* of categories; then `name` does not count */
    char name[80];  /* as PCRE2 has it in \p{...} */
    const char *items; /* or: a set to be written out */
    bool negated;
} Property;

/* Reads what follows \p or \P. */
static Status read_property(Translation *t, bool negated, Property *property) {
    *property = (Property){.negated = negated};
    char name[72];
    size_t count = 0;
    if (t->at < t->end && *t->at != '{') { /* \pL */
        name[count++] = *t->at++;
    } else {
        const char *close = t->at < t->end ? memchr(t->at, '}', (size_t)(t->end - t->at)) : NULL;
        if (close == NULL || close - t->at > (ptrdiff_t)sizeof name - 1)
            return bad(t, "the end of \\p{ is missing");
        for (t->at++; t->at < close; t->at++) {
            if (*t->at == '^' && count == 0)
                property->negated = !property->negated;
            else if (*t->at != ' ' && *t->at != '_' && *t->at != '-')
                name[count++] = (char)(*t->at >= 'A' && *t->at <= 'Z' ? *t->at + 32 : *t->at);
        }
        t->at++;
    }
    name[count] = '\0';
    const char *value = name, *kind = "";
    char *equals = strpbrk(name, "=:");
    if (equals != NULL) {
        *equals = '\0';
        kind = name;
        value = equals + 1;
    }
    const bool script = same_name(kind, "script") || same_name(kind, "sc");
    const bool extensions = same_name(kind, "scriptextensions") || same_name(kind, "scx");
    if (!script && !extensions) {
        property->mask = category_mask(value);
        if (property->mask != 0)
            return OK;
        if (same_name(value, "whitespace") || same_name(value, "space"))
            property->items = SPACES;
        else if (same_name(value, "word"))
            property->items = words(t);
        else if (same_name(value, "alnum"))
            property->items = "\\p{Alphabetic}\\p{Nd}";
        else if (same_name(value, "xdigit"))
            property->items = HEX_DIGITS;
        else if (same_name(value, "punct"))
            property->mask = category_mask("P");
        else if (same_name(value, "alpha"))
            value = "alphabetic";
        else if (same_name(value, "upper"))
            value = "uppercase";
        else if (same_name(value, "lower"))
            value = "lowercase";
        for (size_t i = 0; i < COUNT(properties); i++)
            if (same_name(value, properties[i])) {
                strcpy(property->name, value);
                return OK;
            }
    }
    strcpy(property->name, extensions ? "scx:" : "sc:");
    strcat(property->name, value);
    return OK;
}

/* ---- classes --------------------------------------------------------------------------------------------------- */

static void class_free(Class *class) {
    while (class != NULL) {
        Class *next = class->next;
        text_free(&class->items);
        class_free(class->in);
        class_free(class->and);
        mem_free(class);
        class = next;
    }
}

static Class *class_new(void) {
    Class *class = mem_zalloc(sizeof *class, MEM_TEXT);
    if (class != NULL)
        class->only_categories = true;
    return class;
}

static void add_items(Class *class, const char *items) {
    class->only_categories = false;
    text_append_str(&class->items, items);
}

static Status add_nested(Translation *t, Class *class, Class *nested) {
    const bool plain = !nested->negated && nested->in == NULL && nested->and == NULL;
    if (!plain) {
        nested->next = class->in;
        class->in = nested;
        class->only_categories = false;
        return OK;
    }
    class->only_categories = class->only_categories && nested->only_categories;
    class->mask |= nested->mask;
    text_append(&class->items, nested->items.bytes, nested->items.count);
    const Status status = text_check(&nested->items, t->err);
    class_free(nested);
    return status;
}

/* A set whose complement PCRE2 has no name for becomes a nested class. */
static Status add_complement(Translation *t, Class *class, const char *items) {
    Class *nested = class_new();
    if (nested == NULL)
        return error_set(t->err, ERR_MEMORY, "no memory for a regular expression");
    nested->negated = true;
    add_items(nested, items);
    return add_nested(t, class, nested);
}

static Status add_property(Translation *t, Class *class, bool negated) {
    Property p;
    TRY(read_property(t, negated, &p));
    if (p.mask != 0) {
        const uint32_t mask = p.negated ? ~p.mask & ALL_CATEGORIES : p.mask;
        class->mask |= mask;
        write_categories(&class->items, mask);
    } else if (p.items != NULL) {
        if (p.negated)
            return add_complement(t, class, p.items);
        add_items(class, p.items);
    } else {
        class->only_categories = false;
        text_append_format(&class->items, p.negated ? "\\P{%s}" : "\\p{%s}", p.name);
    }
    return OK;
}

/* The number of \xHH, \x{H...}, \uHHHH, \u{H...}; t->at is behind the letter. */
static Status read_code(Translation *t, bool four, uint32_t *code) {
    const bool braces = t->at < t->end && *t->at == '{';
    if (braces)
        t->at++;
    *code = 0;
    int digits = 0;
    const int most = braces ? 8 : four ? 4 : 2;
    for (; digits < most && t->at < t->end && parse_hex_digit(*t->at) >= 0; digits++)
        *code = *code << 4 | (uint32_t)parse_hex_digit(*t->at++);
    const bool closed = !braces || (t->at < t->end && *t->at++ == '}');
    const bool few = braces ? digits == 0 : four && digits < 4;
    if (!closed || few || *code > 0x10FFFF || (*code >= 0xD800 && *code <= 0xDFFF))
        return bad(t, "a character's number is not valid");
    return OK;
}

/* One character or escape that stands for itself, inside or outside a class; false when the escape is another kind. */
static bool simple_escape(char letter, uint32_t *code) {
    static const char letters[] = "ntrfvae0", codes[] = "\n\t\r\f\v\a\x1b";
    const char *place = letter != '\0' ? strchr(letters, letter) : NULL;
    if (place == NULL)
        return false;
    *code = letter == '0' ? 0 : (uint32_t)(unsigned char)codes[place - letters];
    return true;
}

static Status class_escape(Translation *t, Class *class) {
    if (t->at == t->end)
        return bad(t, "it ends with a backslash");
    const char c = *t->at++;
    uint32_t code;
    switch (c) {
    case 's':
        add_items(class, SPACES);
        return OK;
    case 'S':
        add_items(class, NO_SPACES);
        return OK;
    case 'd':
    case 'D': {
        const uint32_t mask = c == 'd' ? category_mask("Nd") : ~category_mask("Nd") & ALL_CATEGORIES;
        class->mask |= mask;
        write_categories(&class->items, mask);
        return OK;
    }
    case 'w':
        add_items(class, words(t));
        return OK;
    case 'W':
        return add_complement(t, class, words(t));
    case 'h':
        add_items(class, t->dialect == REGEX_ONIGURUMA ? HEX_DIGITS : "\\h");
        return OK;
    case 'H':
        if (t->dialect == REGEX_ONIGURUMA)
            return add_complement(t, class, HEX_DIGITS);
        add_items(class, "\\H");
        return OK;
    case 'p':
    case 'P':
        return add_property(t, class, c == 'P');
    case 'x':
    case 'u':
        TRY(read_code(t, c == 'u', &code));
        break;
    case 'b':
        code = '\b';
        break;
    default:
        if (!simple_escape(c, &code)) {
            class->only_categories = false;
            text_append_char(&class->items, '\\');
            t->at--;
            int bad_bytes;
            uint32_t character;
            const int length = utf8_decode(t->at, (size_t)(t->end - t->at), &character, &bad_bytes);
            text_append(&class->items, t->at, (size_t)MAX(length, 1));
            t->at += MAX(length, 1);
            return OK;
        }
    }
    class->only_categories = false;
    text_append_format(&class->items, "\\x{%x}", (unsigned)code);
    return OK;
}

/* [:alpha:] and the like, where PCRE2 means something else. */
static const struct {
    const char *name, *items;
} posix_classes[] = {
    {"[:alpha:]", "\\p{Alphabetic}"}, {"[:alnum:]", "\\p{Alphabetic}\\p{Nd}"}, {"[:upper:]", "\\p{Uppercase}"},
    {"[:lower:]", "\\p{Lowercase}"},  {"[:digit:]", "\\p{Nd}"},                {"[:punct:]", "\\p{P}\\p{S}"},
    {"[:space:]", SPACES},            {"[:word:]", WORDS},                      {"[:xdigit:]", HEX_DIGITS},
};

/* t->at is at "[:". */
static Status class_posix(Translation *t, Class *class) {
    const char *from = t->at;
    while (t->at < t->end && *t->at != ']')
        t->at++;
    if (t->at == t->end || t->at[-1] != ':')
        return bad(t, "[: without :]");
    const size_t count = (size_t)(++t->at - from);
    class->only_categories = false;
    for (size_t i = 0; i < COUNT(posix_classes); i++)
        if (strlen(posix_classes[i].name) == count && memcmp(posix_classes[i].name, from, count) == 0) {
            add_items(class, posix_classes[i].items);
            return OK;
        }
    text_append(&class->items, from, count);
    return OK;
}

/* Reads a class behind its '['; leaves t->at behind its ']'. */
static Status read_class(Translation *t, int depth, Class **result) {
    *result = NULL;
    if (depth > MAX_NESTING)
        return bad(t, "classes are nested too deep");
    Class *class = class_new();
    *result = class;
    if (class == NULL)
        return error_set(t->err, ERR_MEMORY, "no memory for a regular expression");
    if (t->at < t->end && *t->at == '^') {
        class->negated = true;
        t->at++;
    }
    Class *operand = class; /* the operand of && that is being read */
    for (bool first = true;; first = false) {
        if (t->at == t->end)
            return bad(t, "a class without ]");
        const char c = *t->at;
        if (c == ']' && !first) {
            t->at++;
            return OK;
        }
        if (c == '[' && t->end - t->at > 1 && t->at[1] == ':') {
            TRY(class_posix(t, operand));
        } else if (c == '[') {
            t->at++;
            Class *nested;
            const Status status = read_class(t, depth + 1, &nested);
            if (status != OK) {
                class_free(nested);
                return status;
            }
            TRY(add_nested(t, operand, nested));
        } else if (c == '&' && t->end - t->at > 1 && t->at[1] == '&') {
            t->at += 2;
            operand->and = class_new();
            if (operand->and == NULL)
                return error_set(t->err, ERR_MEMORY, "no memory for a regular expression");
            operand = operand->and;
        } else if (c == '\\') {
            t->at++;
            TRY(class_escape(t, operand));
        } else {
            operand->only_categories = false;
            if (c == ']') /* first in the class: a bracket that means itself */
                text_append_char(&operand->items, '\\');
            text_append_char(&operand->items, c);
            t->at++;
        }
    }
}

static bool is_plain(const Class *class) {
    return class->in == NULL && class->and == NULL;
}

/* "[items]"; the items may hold any byte. */
static void write_items(Text *out, const char *open, const Class *class) {
    text_append_str(out, open);
    text_append(out, class->items.bytes, class->items.count);
    text_append_char(out, ']');
    out->failed = out->failed || class->items.failed;
}

/* Writes an expression that matches one character of the class. */
static void write_class(Text *out, const Class *class) {
    if (is_plain(class)) {
        if (class->items.count == 0)
            text_append_str(out, class->negated ? "(?s:.)" : "(?!)");
        else
            write_items(out, class->negated ? "[^" : "[", class);
        return;
    }
    const Class *and = class->and;
    /* Categories without what a plain class lists: the other categories and that list are what may not stand here. */
    if (!class->negated && class->in == NULL && class->only_categories && and->items.count == 0 && and->and == NULL &&
        and->in != NULL && and->in->next == NULL && is_plain(and->in) && and->in->negated) {
        text_append_str(out, "[^");
        write_categories(out, ~class->mask & ALL_CATEGORIES);
        write_items(out, "", and->in);
        return;
    }
    if (class->negated)
        text_append_str(out, "(?:(?!");
    if (and != NULL) {
        text_append_str(out, "(?=");
        write_class(out, and);
        text_append_str(out, ")");
    }
    text_append_str(out, "(?:");
    bool first = true;
    if (class->items.count > 0) {
        write_items(out, "[", class);
        first = false;
    }
    for (const Class *nested = class->in; nested != NULL; nested = nested->next) {
        if (!first)
            text_append_char(out, '|');
        write_class(out, nested);
        first = false;
    }
    text_append_str(out, first ? "(?!))" : ")");
    if (class->negated)
        text_append_str(out, ")(?s:.))");
}

static Status translate_class(Translation *t) {
    Class *class;
    Status status = read_class(t, 0, &class);
    if (status == OK) {
        t->atom = t->out->count;
        if (is_plain(class)) {
            write_class(t->out, class);
        } else {
            text_append_str(t->out, "(?:");
            write_class(t->out, class);
            text_append_char(t->out, ')');
        }
    }
    class_free(class);
    return status;
}

/* ---- everything else ------------------------------------------------------------------------------------------- */

static void write_set(Translation *t, const char *items, bool negated) {
    text_append_format(t->out, negated ? "[^%s]" : "[%s]", items);
}

/* \b or \B with our idea of words. */
static void write_boundary(Translation *t, bool boundary) {
    const char *w = words(t);
    text_append_format(t->out,
                       boundary ? "(?:(?<=[%s])(?![%s])|(?<![%s])(?=[%s]))"
                                : "(?:(?<=[%s])(?=[%s])|(?<![%s])(?![%s]))",
                       w, w, w, w);
}

static Status translate_escape(Translation *t) {
    if (t->at == t->end)
        return bad(t, "it ends with a backslash");
    const char c = *t->at++;
    const size_t here = t->out->count;
    uint32_t code;
    switch (c) {
    case 'A':
    case 'z':
    case 'Z':
    case 'G':
        text_append_format(t->out, "\\%c", c);
        t->atom = SIZE_MAX;
        return OK;
    case 'b':
    case 'B':
        write_boundary(t, c == 'b');
        t->atom = SIZE_MAX;
        return OK;
    case 's':
    case 'S':
        write_set(t, SPACES, c == 'S');
        break;
    case 'w':
    case 'W':
        write_set(t, words(t), c == 'W');
        break;
    case 'h':
    case 'H':
        write_set(t, t->dialect == REGEX_ONIGURUMA ? HEX_DIGITS : "\\h", c == 'H');
        break;
    case 'O':
        text_append_str(t->out, t->dialect == REGEX_ONIGURUMA ? "(?s:.)" : "\\O");
        break;
    case 'p':
    case 'P': {
        Property p;
        TRY(read_property(t, c == 'P', &p));
        char name[3];
        if (p.mask != 0 && mask_name(p.mask, name)) {
            text_append_format(t->out, p.negated ? "\\P{%s}" : "\\p{%s}", name);
        } else if (p.mask != 0) {
            text_append_str(t->out, p.negated ? "[^" : "[");
            write_categories(t->out, p.mask);
            text_append_char(t->out, ']');
        } else if (p.items != NULL) {
            write_set(t, p.items, p.negated);
        } else {
            text_append_format(t->out, p.negated ? "\\P{%s}" : "\\p{%s}", p.name);
        }
        break;
    }
    case 'x':
    case 'u':
        TRY(read_code(t, c == 'u', &code));
        text_append_format(t->out, "\\x{%x}", (unsigned)code);
        break;
    default:
        if (simple_escape(c, &code)) {
            text_append_format(t->out, "\\x{%x}", (unsigned)code);
        } else {
            text_append_char(t->out, '\\');
            text_append_char(t->out, c);
        }
    }
    t->atom = here;
    return OK;
}

/* "(" and what makes the group special, up to where its content begins. */
static Status translate_open(Translation *t) {
    const size_t here = t->out->count;
    text_append_char(t->out, '(');
    t->at++;
    if (t->end - t->at >= 2 && t->at[0] == '?') {
        if (t->at[1] == '#') { /* a comment */
            const char *close = memchr(t->at, ')', (size_t)(t->end - t->at));
            if (close == NULL)
                return bad(t, "(?# without )");
            t->at = close + 1;
            t->out->count = here;
            t->out->bytes[here] = '\0';
            return OK;
        }
        const char *p = t->at + 1;
        if (*p == '<' || *p == 'P') { /* lookbehind or a name */
            text_append_char(t->out, '?');
            t->at++;
        } else if (*p != ':' && *p != '=' && *p != '!' && *p != '>' && *p != '|') { /* options */
            text_append_char(t->out, '?');
            for (; p < t->end && ((*p >= 'a' && *p <= 'z') || *p == '-'); p++)
                if (*p != 'u') /* Unicode, on by default */
                    text_append_char(t->out, *p == 'm' && t->dialect == REGEX_ONIGURUMA ? 's' : *p);
            if (p == t->end || (*p != ':' && *p != ')'))
                return bad(t, "an option of a group that is not known");
            text_append_char(t->out, *p);
            t->at = p + 1;
            if (*p == ')') {
                t->atom = SIZE_MAX;
                return OK;
            }
        } else {
            text_append(t->out, t->at, 2);
            t->at += 2;
        }
    }
    if (t->depth == MAX_NESTING)
        return bad(t, "groups are nested too deep");
    t->groups[t->depth++] = here;
    t->atom = SIZE_MAX;
    return OK;
}

/* The length of {n}, {n,}, {,m} or {n,m} at t->at; 0 when the brace means itself. */
static size_t interval_length(const Translation *t) {
    const char *p = t->at + 1;
    int digits = 0;
    for (; p < t->end && *p >= '0' && *p <= '9'; p++)
        digits++;
    if (p < t->end && *p == ',')
        for (p++; p < t->end && *p >= '0' && *p <= '9'; p++)
            digits++;
    return p < t->end && *p == '}' && digits > 0 ? (size_t)(p + 1 - t->at) : 0;
}

/* Puts "(?:" in front of the last atom and ")" behind it. */
static Status wrap_atom(Translation *t) {
    Text tail = {0};
    text_append(&tail, t->out->bytes + t->atom, t->out->count - t->atom);
    t->out->count = t->atom;
    text_append_str(t->out, "(?:");
    text_append(t->out, tail.bytes, tail.count);
    text_append_char(t->out, ')');
    const Status status = text_check(&tail, t->err);
    text_free(&tail);
    return status;
}

static Status translate_repeat(Translation *t) {
    const char c = *t->at;
    const size_t interval = c == '{' ? interval_length(t) : 0;
    if (c == '{' && interval == 0) {
        t->atom = t->out->count;
        text_append_str(t->out, "\\{");
        t->at++;
        return OK;
    }
    if (t->atom == SIZE_MAX)
        return bad(t, "nothing to repeat");
    if (interval > 0 && t->at[1] == ',') {
        text_append_str(t->out, "{0");
        text_append(t->out, t->at + 1, interval - 1);
    } else {
        text_append(t->out, t->at, MAX(interval, 1));
    }
    t->at += MAX(interval, 1);
    if (t->at < t->end && (*t->at == '+' || *t->at == '?')) {
        if (interval > 0 && *t->at == '+' && t->dialect == REGEX_ONIGURUMA)
            TRY(wrap_atom(t));
        text_append_char(t->out, *t->at++);
    }
    return OK;
}

static Status translate(Translation *t) {
    while (t->at < t->end) {
        const char c = *t->at;
        switch (c) {
        case '\\':
            t->at++;
            TRY(translate_escape(t));
            break;
        case '[':
            t->at++;
            TRY(translate_class(t));
            break;
        case '(':
            TRY(translate_open(t));
            break;
        case ')':
            if (t->depth == 0)
                return bad(t, ") without (");
            t->atom = t->groups[--t->depth];
            text_append_char(t->out, *t->at++);
            break;
        case '*':
        case '+':
        case '?':
        case '{':
            TRY(translate_repeat(t));
            break;
        case '|':
        case '^':
        case '$':
            t->atom = SIZE_MAX;
            text_append_char(t->out, *t->at++);
            break;
        default: {
            uint32_t character;
            int bad_bytes;
            const int length = utf8_decode(t->at, (size_t)(t->end - t->at), &character, &bad_bytes);
            if (length == 0)
                return bad(t, "it is not UTF-8");
            t->atom = t->out->count;
            text_append(t->out, t->at, (size_t)length);
            t->at += length;
        }
        }
    }
    return t->depth == 0 ? OK : bad(t, "( without )");
}

Status regex_translate(const char *pattern, size_t count, RegexDialect dialect, Text *translated, Error *err) {
    FAIL_IF(count > MAX_PATTERN, ERR_LIMIT, "a regular expression of %zu bytes", count);
    Translation t = {.at = pattern, .end = pattern + count, .dialect = dialect, .out = translated, .err = err,
                     .atom = SIZE_MAX};
    text_append_str(translated, "");
    TRY(text_check(translated, err));
    const Status status = translate(&t);
    TRY(status);
    return text_check(translated, err);
}
