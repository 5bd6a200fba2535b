/* pretokenizer.h - cuts the normalised text into the pieces that the model then looks at one by one ("words").
 *
 * A list of steps over a list of spans: most steps cut spans in smaller ones, some rewrite the text under them (a blank
 * becomes U+2581, or is put in front). */
#ifndef HOULE_TEXT_PRETOKENIZER_H
#define HOULE_TEXT_PRETOKENIZER_H

#include "text/split_regex.h"

typedef enum PreKind {
    PRE_REGEX,       /* regex finds the delimiters */
    PRE_STRING,      /* `what` is the delimiter */
    PRE_SPACE,       /* each white space character is one */
    PRE_PUNCTUATION, /* each punctuation character is one */
    PRE_NUMBER,      /* each digit or number character is one */
    PRE_METASPACE,   /* ' ' -> what; what in front (prepend); cut before each `what` (split) */
    PRE_PREFIX,      /* a blank in front unless there is one (ByteLevel's add_prefix_space) */
    PRE_BYTE_LEVEL,  /* bytes to GPT-2's alphabet: needed only when a step follows that sees it */
    PRE_BYTES,       /* and back; then the text is no UTF-8 any more, so this is the last step */
    PRE_LENGTH,      /* every `length` characters */
} PreKind;

/* What becomes of a delimiter, and of the text between: "the-final--word" cut at '-' */
typedef enum SplitBehavior {
    SPLIT_ISOLATED,             /* the | - | final | - | - | word */
    SPLIT_REMOVED,              /* the | final | word */
    SPLIT_CONTIGUOUS,           /* the | - | final | -- | word */
    SPLIT_MERGED_WITH_PREVIOUS, /* the- | final- | - | word */
    SPLIT_MERGED_WITH_NEXT,     /* the | -final | - | -word */
} SplitBehavior;

typedef enum PrependScheme { PREPEND_NEVER, PREPEND_FIRST, PREPEND_ALWAYS } PrependScheme;

typedef struct PreStep {
    PreKind kind;
    SplitBehavior behavior;
    bool invert; /* what is found is what is between delimiters */
    SplitRegex *regex;
    char *what;
    size_t what_bytes;
    PrependScheme prepend;
    bool split;
    size_t length;
} PreStep;

typedef struct PreTokenizer {
    PreStep *steps;
    size_t count, capacity;
} PreTokenizer;

typedef struct Span {
    uint32_t start, count;
} Span;

typedef struct Spans {
    Span *items;
    size_t count, capacity;
} Spans;

/* Buffers of one encoding; zeroed to begin with. */
typedef struct PreScratch {
    Spans spans, other; /* the result is in `spans` */
    Text text, rewritten;
    Text older; /* see unicode_news.h */
    RegexScratch *regex;
} PreScratch;
void pretokenizer_scratch_free(PreScratch *scratch);

PreStep *pretokenizer_add(PreTokenizer *pre, PreKind kind); /* NULL without memory */
void pretokenizer_free(PreTokenizer *pre);

/* Cuts `count` > 0 bytes of valid UTF-8. `at_start`: the first of them is the first of the whole text. *base is what
 * the spans of scratch->spans refer to: `text`, or a buffer of the scratch. */
Status pretokenizer_apply(const PreTokenizer *pre, PreScratch *scratch, const char *text, size_t count, bool at_start,
                          const char **base, Error *err);

#endif
