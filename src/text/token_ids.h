/* token_ids.h - ids of tokens: growing lists, which all that makes tokens of text writes to, and what is known of an id. */
#ifndef HOULE_TEXT_TOKEN_IDS_H
#define HOULE_TEXT_TOKEN_IDS_H

#include "base/mem.h"

typedef struct TokenIds {
    int32_t *ids;
    size_t count;
    size_t capacity;
} TokenIds;

bool token_ids_append(TokenIds *list, int32_t id) MUST_CHECK; /* false without memory; the list stays as it was */
void token_ids_free(TokenIds *list);

enum {
    TOKEN_PRESENT = 1,  /* the id exists */
    TOKEN_CONTROL = 2,  /* special: left out with DECODE_SKIP_SPECIAL */
    TOKEN_ADDED = 4,    /* matched in the text before anything else (control tokens, <think>, ...) */
    TOKEN_BYTE = 8,     /* stands for one byte that may be part of a character (<0x0A>) */
    TOKEN_UNUSED = 16,  /* reserved, never to be sampled */
    TOKEN_UNKNOWN = 32, /* stands for whatever the vocabulary cannot spell */
};

#endif
