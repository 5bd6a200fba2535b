/* normalizer.h - what a tokenizer does to the text before it looks for words: a list of steps, one after the other.
 *
 * Each step reads one buffer and writes another; steps that would change nothing are passed over. The text is valid
 * UTF-8, and so is the result. */
#ifndef HOULE_TEXT_NORMALIZER_H
#define HOULE_TEXT_NORMALIZER_H

#include "text/charsmap.h"
#include "text/split_regex.h"
#include "text/trie.h"

typedef enum NormKind {
    NORM_NFC,
    NORM_NFD,
    NORM_NFKC,
    NORM_NFKD,
    NORM_LOWERCASE,
    NORM_STRIP,         /* white space at the ends: left, right */
    NORM_STRIP_ACCENTS, /* marks (M*) */
    NORM_PREPEND,       /* with, unless the text is empty */
    NORM_REPLACE,       /* what (bytes) -> with */
    NORM_REPLACE_REGEX, /* regex -> with */
    NORM_PRECOMPILED,   /* charsmap, grapheme by grapheme, as the `tokenizers` library applies it */
    NORM_BERT,          /* clean_text, chinese, accents, lowercase */
    NORM_NMT,           /* control characters away, all kinds of blanks to ' ' */
    NORM_BYTE_LEVEL,    /* bytes to GPT-2's alphabet */
    NORM_SENTENCEPIECE, /* charsmap, dummy prefix, extra blanks, U+2581, as SentencePiece does it */
} NormKind;

typedef struct NormStep {
    NormKind kind;
    bool left, right;                                /* NORM_STRIP */
    bool clean_text, chinese, accents, lowercase;    /* NORM_BERT */
    bool prefix, suffix, remove_extra, escape_blank; /* NORM_SENTENCEPIECE: a blank in front, or behind; ... */
    char *what, *with;
    size_t what_bytes, with_bytes;
    SplitRegex *regex;
    Charsmap charsmap;
    const Trie *symbols; /* NORM_SENTENCEPIECE: sequences that are left as they are; not owned */
} NormStep;

typedef struct Normalizer {
    NormStep *steps;
    size_t count, capacity;
} Normalizer;

/* Buffers of one encoding; zeroed to begin with. */
typedef struct NormScratch {
    Text a, b;
    int32_t *code_points;
    size_t code_points_capacity;
    RegexScratch *regex;
} NormScratch;
void normalizer_scratch_free(NormScratch *scratch);

/* A new step at the end of the list, zeroed but for its kind; NULL without memory. */
NormStep *normalizer_add(Normalizer *normalizer, NormKind kind);
void normalizer_free(Normalizer *normalizer);

/* *result points into the scratch, or at `text` itself when nothing changed; valid until the next call. */
Status normalizer_apply(const Normalizer *normalizer, NormScratch *scratch, const char *text, size_t count,
                        const char **result, size_t *result_count, Error *err);

#endif
