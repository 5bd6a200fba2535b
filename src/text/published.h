/* published.h - what is known about published tokenizers and written in none of their files: what a kind of GGUF leaves
 * to the program, which texts end a turn, how the class of a vocab.json splits texts. Data only; the code asks for
 * properties, never for names. */
#ifndef HOULE_TEXT_PUBLISHED_H
#define HOULE_TEXT_PUBLISHED_H

#include <stdbool.h>
#include <stddef.h>

/* ---- files ------------------------------------------------------------------------------------------------------ */

/* The names of files that may hold a tokenizer, in the order in which a folder is searched; ends with NULL. */
extern const char *const published_files[];

/* ---- GGUF ------------------------------------------------------------------------------------------------------- */

typedef enum GgufScheme {
    GGUF_MERGES,        /* BPE by merges, words cut by a rule */
    GGUF_SENTENCEPIECE, /* BPE by scores */
    GGUF_UNIGRAM,
    GGUF_WORDPIECE,
    GGUF_GREEDY, /* longest piece first; pieces are written with \n, \xHH */
} GgufScheme;

/* A value of tokenizer.ggml.model. */
typedef struct GgufKind {
    const char *name;
    GgufScheme scheme;
    const char *rule;                                /* of split_table.h; NULL = none, or tokenizer.ggml.pre names it */
    int bos, eos, unknown, separator, padding, mask; /* ids for files without the keys; -1 = none */
    bool add_bos, add_eos, space_prefix, tidy;
} GgufKind;

const GgufKind *gguf_kind(const char *name, size_t count); /* NULL when it is not known */

/* Texts of tokens after which a model has said what it had to say; ends with NULL. Files seldom name more than one. */
extern const char *const published_ends[];

/* What looks like an end and is none where the vocabulary has other tokens as well. */
typedef struct FalseEnd {
    const char *text;
    const char *beside[2]; /* all of these; NULL = no more */
} FalseEnd;
extern const FalseEnd published_false_ends[]; /* ends with a NULL text */

/* Models whose special tokens take the white space beside them. */
typedef struct StripRule {
    const char *key;       /* whose value, in small letters, */
    const char *holds;     /* has this in it */
    const char *token;     /* the only token; NULL = all but these: */
    const char *except[3];
    bool left; /* the white space in front, else that behind */
} StripRule;
extern const StripRule published_strips[]; /* ends with a NULL key */

/* ---- vocab.json with merges.txt --------------------------------------------------------------------------------- */

/* What a tokenizer_class that begins with this name does, in the words of a tokenizer.json. */
typedef struct ClassRule {
    const char *class;
    const char *normalizer, *pre_tokenizer;
    const char *suffix;    /* of the last character of a word; NULL = none */
    const char *around[2]; /* tokens put in front and behind; NULL = none */
} ClassRule;

const ClassRule *class_rule(const char *class); /* the usual one for names that are not known */

/* ---- models that judge a pair of texts by their next token ---------------------------------------------------------- */

/* How a language model that was trained to answer yes or no wants to be asked. */
typedef struct RerankPrompt {
    const char *name; /* a part of the name that its files go by (README.md, general.name), whatever the case */
    const char *before, *after;                   /* around everything; with special tokens */
    const char *instruction, *query, *document;   /* what stands in front of each */
    const char *usual;                            /* the instruction where none is given */
    const char *yes, *no;                         /* tokens */
} RerankPrompt;
const RerankPrompt *rerank_prompt(const char *text, size_t bytes); /* that of the first name found in it, or NULL */

/* ---- tekken ----------------------------------------------------------------------------------------------------- */

/* The special tokens of files that do not list them, by id; ends with NULL. */
extern const char *const tekken_specials[];

#endif
