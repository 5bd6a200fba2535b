/* split_table.h - the published split patterns by name.
 *
 * A GGUF says only "tokenizer.ggml.pre = gpt-2", a tiktoken table says nothing at all: which patterns cut the text into
 * words is knowledge about the model, and all of it is in this one table. */
#ifndef HOULE_TEXT_SPLIT_TABLE_H
#define HOULE_TEXT_SPLIT_TABLE_H

#include <stdbool.h>
#include <stddef.h>

enum { SPLIT_MAX_PATTERNS = 6 };

enum {
    SPLIT_WHOLE_FIRST = 1, /* a word that is a token is taken without merging */
    SPLIT_ADD_BOS = 2,     /* BOS in front unless the file says otherwise */
    SPLIT_TIDY = 4,        /* llama.cpp deletes blanks before punctuation when it decodes */
    SPLIT_BLANKS = 8,    /* the vocabulary spells blanks as U+2581 and other bytes as <0x..>, not in GPT-2's alphabet */
    SPLIT_NO_BOS = 16,   /* there is no BOS unless the file names one */
    SPLIT_NO_SPACE = 32, /* words are as they are written; the white space between them is dropped */
    SPLIT_FORCE_BOS = 64, /* BOS in front whatever the file says */
    SPLIT_RESERVED = 128, /* 256 ids behind a tiktoken table are special; those without a name are reserved */
};

typedef struct SplitRule {
    const char *name;
    const char *patterns[SPLIT_MAX_PATTERNS]; /* applied one after the other, each to the pieces of the one before */
    unsigned flags;
} SplitRule;

/* The rule of a name of tokenizer.ggml.pre; NULL when it is not known. */
const SplitRule *split_rule(const char *name, size_t count);

/* The rule's name for a tiktoken table, by the tokenizer_class of tokenizer_config.json or the file's name; NULL when
 * neither is known. Both may be NULL. */
const char *split_name_of_tiktoken(const char *tokenizer_class, const char *file_name);

#endif
