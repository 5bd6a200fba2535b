/* vectors.h - texts in, numbers out: what the APIs that ask for embeddings and for judgements have in common. Texts are
 * gathered, computed together, in memory that is taken from the budget for as long as the request lasts. */
#ifndef HOULE_SERVE_VECTORS_H
#define HOULE_SERVE_VECTORS_H

#include "engine/text_batch.h"
#include "serve/api.h"

/* The texts of a request, as tokens. Zeroed, then text_list_add*; text_list_free in the end. */
typedef struct TextList {
    TokenIds ids;      /* of all, one after the other */
    uint8_t *segments; /* of each id */
    size_t segment_capacity;
    int *counts;       /* ids of each */
    int n;
    size_t capacity;
    TextInput *inputs; /* made by text_list_inputs */
} TextList;

/* What was appended to list->ids since the last text is the next one; its first `first` ids belong to the first segment.
 * The field `name` is blamed: 400 when it is empty, 400 context_length_exceeded with the numbers when it does not fit;
 * with `truncate` it is cut instead (its last token stays). */
Status text_list_end(TextList *list, Ask *ask, const char *name, size_t first, bool truncate, Error *err);
/* A text (a JSON string), or token ids (an array of whole numbers). */
Status text_list_add(TextList *list, Ask *ask, const char *name, const json_t *value, bool truncate, Error *err);
Status text_list_inputs(TextList *list, Error *err);
void text_list_free(TextList *list);

/* What the model's settings say of computing texts. */
TextSpec text_spec_of(const Ask *ask);
/* For TextSink.stop, of an Ask: the server stops. */
bool text_work_stops(void *ask);

/* For metrics, limits and log: so many tokens were read, and the answer is whole. */
void text_count(Ask *ask, int tokens);

/* Vectors of the texts, each cut to `dimensions` numbers (0 = all) and of length 1: in *vectors [n, *width], the caller's
 * (mem_free). 400 for models that make none. */
Status embed_texts(Ask *ask, TextList *list, int dimensions, float **vectors, int *width, Error *err);

#endif
