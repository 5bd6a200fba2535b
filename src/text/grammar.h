/* grammar.h - what a model may write next: schemas and grammars turned into masks over its vocabulary.
 *
 *     GrammarVocab    the bytes of every token, as a tree; made once for each model
 *     Grammar         one compiled schema, regex, grammar, list or set of tool calls; shared by requests and threads
 *     GrammarState    how far one sequence has come in a Grammar
 *
 *     grammar_vocab_new(tokens, n, ends, n_ends, &vocab, err);
 *     grammar_compile(vocab, &(GrammarSpec){.kind = GRAMMAR_SCHEMA, .schema = json}, NULL, &grammar, err);
 *     grammar_state_new(grammar, &state, err);
 *     for (;;) {
 *         grammar_mask(state, bits, err);          // 1 = allowed; end tokens too, where the text may end
 *         ... sample a token among the allowed ones ...
 *         grammar_accept(state, token, err);
 *         if (grammar_is_done(state)) break;
 *     }
 *
 * Nothing fails open: what a schema or grammar asks and cannot be enforced is ERR_UNSUPPORTED, with the JSON pointer of
 * the keyword or the line and column. The texts that a schema lets through are a subset of the valid ones:
 * - properties come in the order of the schema, those of additionalProperties and patternProperties after them;
 * - numbers have at most 18 digits before and 17 after the point, exponents at most two; an integer is written without
 *   point and exponent;
 * - between the parts of a value stands what GrammarSpace says; none before and after the whole value;
 * - strings under a pattern or format, and keys, use an escape only where JSON demands one;
 * - without "type", a schema whose keywords concern one type only means that type.
 * Inputs are hostile: depth, sizes, work and memory are limited, exceeding them is ERR_LIMIT. */
#ifndef HOULE_TEXT_GRAMMAR_H
#define HOULE_TEXT_GRAMMAR_H

#include "base/status.h"

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

typedef struct GrammarVocab GrammarVocab;
typedef struct Grammar Grammar;
typedef struct GrammarState GrammarState;

typedef struct GrammarToken {
    const char *bytes; /* what the token adds to the text; copied */
    uint32_t count;    /* 0 = the token is never allowed */
    bool special;      /* a control token: its bytes are its name, and it is allowed only where a grammar names it */
} GrammarToken;

enum { GRAMMAR_MAX_VOCAB = 1 << 22, GRAMMAR_MAX_TOKEN_BYTES = 1024 };

/* The tokens with ids 0..count-1 and those that end a text. Tokens longer than GRAMMAR_MAX_TOKEN_BYTES are never
 * allowed. The vocabulary must outlive its grammars. */
Status grammar_vocab_new(const GrammarToken *tokens, size_t count, const int32_t *ends, size_t end_count,
                         GrammarVocab **vocab, Error *err);
void grammar_vocab_free(GrammarVocab *vocab);
/* Words of 32 bits in a mask. */
size_t grammar_mask_words(const GrammarVocab *vocab);

typedef enum GrammarKind {
    GRAMMAR_SCHEMA, /* schema: a JSON Schema (draft 2020-12, and what OpenAPI and older drafts call alike) */
    GRAMMAR_OBJECT, /* any JSON object */
    GRAMMAR_VALUE,  /* any JSON value */
    GRAMMAR_REGEX,  /* text: a regular expression for the whole text, in the syntax of ECMAScript without look-around */
    GRAMMAR_GBNF,   /* text: a grammar in GBNF, start rule "root" */
    GRAMMAR_LARK,   /* text: a grammar in Lark's notation, start rule "start" */
    GRAMMAR_CHOICE, /* choices: one of these texts */
    GRAMMAR_TEXT,   /* any text */
    GRAMMAR_TAGS,   /* tags: free text with constrained parts in it */
} GrammarKind;

typedef enum GrammarSpace {
    GRAMMAR_SPACE_LINES, /* nothing, one blank, or a newline and at most 40 blanks or tabs */
    GRAMMAR_SPACE_ONE,   /* one blank or none after ',' and ':' */
    GRAMMAR_SPACE_NONE,
} GrammarSpace;

typedef struct GrammarSpec GrammarSpec;

/* As soon as free text contains `trigger` (NULL: the whole of begin), which must be the start of `begin`, what
 * follows is the rest of begin, the content and end, of any tag with that trigger. Where begin and end contain the
 * name of a special token, that token does as well as its spelling. */
typedef struct GrammarTag {
    const char *begin;
    const char *trigger;
    const GrammarSpec *content;
    const char *end; /* NULL: nothing */
} GrammarTag;

struct GrammarSpec {
    GrammarKind kind;
    const json_t *schema;
    const char *text;
    size_t text_count;
    const char *const *choices;
    const GrammarTag *tags;
    bool in_json_string; /* text as it is written between the quotes of a JSON string: what must be is escaped */
    size_t count;  /* of choices or tags */
    bool required; /* tags: at least one before the text may end */
    bool single;   /* tags: the text ends after the first */
    bool bare;     /* tags: no free text before, between and after */
};

typedef struct GrammarOptions {
    GrammarSpace space;
    size_t cache_bytes; /* 0: 64 MiB; what masks and states that are kept may take */
    int depth;          /* 0: 256; how deep brackets (calls of rules) nest */
} GrammarOptions;

/* options may be NULL. The spec and all it points to are not needed afterwards. */
Status grammar_compile(const GrammarVocab *vocab, const GrammarSpec *spec, const GrammarOptions *options,
                       Grammar **grammar, Error *err);
/* All its states must have been freed. NULL is fine. */
void grammar_free(Grammar *grammar);
/* Bytes that the grammar and all it keeps take now. */
size_t grammar_bytes(Grammar *grammar);

/* States of one Grammar may be used by many threads, each state by one at a time. */
Status grammar_state_new(Grammar *grammar, GrammarState **state, Error *err);
Status grammar_state_clone(const GrammarState *state, GrammarState **clone, Error *err);
void grammar_state_free(GrammarState *state);

/* Writes grammar_mask_words() words, bit (id & 31) of word id >> 5. After the end, only end tokens are allowed.
 * ERR_LIMIT when nothing is allowed (the vocabulary cannot spell what must follow, or the depth is used up), or when
 * the grammar is too ambiguous for the work allowed. */
Status grammar_mask(GrammarState *state, uint32_t *bits, Error *err);
/* Goes on by one token; ERR_ARGUMENT when it is not allowed here, and the state stays as it was. */
Status grammar_accept(GrammarState *state, int32_t token, Error *err);
/* The same by bytes, for text that is known (forced, or already written). */
Status grammar_accept_bytes(GrammarState *state, const char *bytes, size_t count, Error *err);
/* The text may end here. */
bool grammar_may_end(const GrammarState *state);
/* The text has ended: by an end token, or because nothing can follow. */
bool grammar_is_done(const GrammarState *state);
/* The bytes that must follow, whatever the model prefers; at most `limit`, *count may be 0. They are not accepted by
 * this call. Special tokens are never forced. */
Status grammar_forced(GrammarState *state, char *bytes, size_t limit, size_t *count, Error *err);

#endif
