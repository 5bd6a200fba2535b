/* grammar_expr.h - expressions over characters, what regexes and the grammars' notations are parsed into; and automata
 * made of them where a language must be intersected with or taken away from another. */
#ifndef HOULE_TEXT_GRAMMAR_EXPR_H
#define HOULE_TEXT_GRAMMAR_EXPR_H

#include "text/grammar_net.h"

enum { CHAR_LAST = 0x10FFFF, CHAR_SURROGATE_FIRST = 0xD800, CHAR_SURROGATE_LAST = 0xDFFF };

typedef struct CharRange {
    uint32_t low, high;
} CharRange;

/* Code points; sorted and without overlap after charset_tidy. Lives in the net's arena. */
typedef struct CharSet {
    CharRange *ranges;
    size_t count, capacity;
} CharSet;

void charset_add(Net *net, CharSet *set, uint32_t low, uint32_t high);
void charset_add_set(Net *net, CharSet *set, const CharSet *other);
void charset_tidy(CharSet *set);
/* All other characters; surrogates are none. */
void charset_negate(Net *net, CharSet *set);
/* The upper- and lower-case letters of those in the set. */
void charset_fold(Net *net, CharSet *set);
/* Paths for the UTF-8 of its characters. */
void charset_build(Net *net, uint32_t from, uint32_t to, const CharSet *set);

typedef enum ExprKind {
    EXPR_EMPTY,
    EXPR_CHARS,
    EXPR_BYTES,
    EXPR_SEQUENCE,
    EXPR_EITHER,
    EXPR_REPEAT,
    EXPR_RULE,
    EXPR_BEGIN, /* start of the text: byte MARK_BEGIN */
    EXPR_END,
} ExprKind;

/* Bytes that occur in no UTF-8 and stand for the edges of a text while an automaton is made. */
enum { MARK_BEGIN = 0xFE, MARK_END = 0xFD };

typedef struct Expr Expr;
struct Expr {
    ExprKind kind;
    CharSet set;       /* CHARS */
    const char *bytes; /* BYTES */
    size_t count;
    uint32_t min, max;  /* REPEAT; max may be NET_NO_END */
    uint32_t rule;      /* RULE */
    Expr *first, *last; /* parts */
    Expr *next;
    /* CHARS: how it was built the first time */
    bool built;
    uint32_t built_from, built_to, built_nodes;
    size_t built_edges, built_edges_end;
};

Expr *expr_new(Net *net, ExprKind kind); /* NULL = the net has failed */
Expr *expr_bytes(Net *net, const char *bytes, size_t count);
Expr *expr_repeat(Net *net, Expr *part, uint32_t min, uint32_t max);
/* Appends a part to a SEQUENCE or EITHER; NULLs are passed over. */
void expr_add(Expr *whole, Expr *part);
void expr_build(Net *net, uint32_t from, uint32_t to, Expr *expr);
/* It contains EXPR_BEGIN or EXPR_END, which are only understood by dfa_of_regex. */
bool expr_has_anchor(const Expr *expr);

/* A regex in the syntax of ECMAScript; anchors are EXPR_BEGIN and EXPR_END. NULL = the net has failed. */
Expr *regex_parse(Net *net, const char *text, size_t count, bool ignore_case, bool dot_all);
/* Takes anchors away that say nothing when the whole text is matched: at the edges of the alternatives. */
void regex_drop_edges(Expr *expr);
/* The texts that match as a whole. */
void regex_build(Net *net, uint32_t from, uint32_t to, const char *text, size_t count);

/* A complete automaton over bytes. State 0 is dead, 1 the start. */
typedef struct Dfa {
    uint32_t *next; /* [state_count][class_count] */
    uint8_t *accepts;
    uint32_t state_count, class_count;
    uint8_t class_of[256];
} Dfa;

enum { DFA_MAX_STATES = 16000 };

/* The language of a rule of a net that has no other use; the net is finished by this. */
Status dfa_of_net(Net *net, uint32_t rule, Dfa *dfa, Error *err);
/* Texts in which the regex is found (JSON Schema's meaning of a pattern), or that match as a whole. */
Status dfa_of_regex(const char *text, size_t count, bool whole, Dfa *dfa, Error *err);
/* Texts of min..max characters. */
Status dfa_of_length(uint32_t min, uint32_t max, Dfa *dfa, Error *err);
Status dfa_of_texts(NetText *texts, size_t count, Dfa *dfa, Error *err);
/* Replaces `dfa` by what is in both, or in it and not in the other. */
Status dfa_and(Dfa *dfa, const Dfa *other, bool negate, Error *err);
/* Nothing is in a result of dfa_and (all of whose states can be reached). */
bool dfa_empty(const Dfa *dfa);
bool dfa_matches(const Dfa *dfa, const char *bytes, size_t count);
void dfa_free(Dfa *dfa);
/* Its texts; with `escape` as they are written inside a JSON string. */
void dfa_build(Net *net, uint32_t from, uint32_t to, const Dfa *dfa, bool escape);

#endif
