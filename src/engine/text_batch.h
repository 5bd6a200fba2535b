/* text_batch.h - computing whole texts, as many in a step as it has room for, and handing over rows of them: what
 * vectors and scores are made of.
 *
 * A row's numbers do not depend on the rows beside it, so a text gives the same whatever else is in the batch. Texts that
 * are longer than a step go in pieces where the network allows it; one that sees whole texts gets steps of its context. */
#ifndef HOULE_ENGINE_TEXT_BATCH_H
#define HOULE_ENGINE_TEXT_BATCH_H

#include "engine/model.h"
#include "graph/program.h"

typedef struct TextBatch TextBatch;

typedef enum TextRows { TEXT_ROWS_ALL, TEXT_ROWS_FIRST, TEXT_ROWS_LAST } TextRows;

/* For whoever computes texts. */
typedef struct TextSpec {
    Precision precision;
    CacheType cache_type;
    int context; /* tokens of a text, at most */
    Pool *pool;
} TextSpec;

typedef struct TextBatchSpec {
    TextSpec text;
    TextRows which; /* rows of a text that are handed over */
    bool hidden;    /* what enters the last matrix, which is not computed then; else the network's result */
} TextBatchSpec;

/* Memory that it takes beside the weights. */
Status text_batch_memory(const Model *model, const TextBatchSpec *spec, size_t *bytes, Error *err);
Status text_batch_open(const Model *model, const TextBatchSpec *spec, TextBatch **batch, Error *err);
void text_batch_close(TextBatch *batch);

typedef struct TextInput {
    const int32_t *tokens;
    const uint8_t *segments; /* of each token; NULL = all belong to the first */
    int n;
} TextInput;

/* inputs[n] of texts; their tokens, special ones included, are appended to `ids`, which must outlive them and stay as it is.
 * bytes NULL: each text ends with a NUL. */
Status text_inputs_encode(const Model *model, const char *const *texts, const size_t *bytes, size_t n, TokenIds *ids,
                          TextInput *inputs, Error *err);

typedef struct TextSink {
    /* A row of text `text`; rows of a text come in their order, texts in theirs. */
    void (*take)(void *user, int text, const float *row, int width);
    void *user;
    bool (*stop)(void *stop_user); /* asked now and then: true ends the work with ERR_CANCELLED; may be NULL */
    void *stop_user;
} TextSink;

/* ERR_LIMIT, with the numbers, for a text that is longer than the context; ERR_ARGUMENT for an empty one and for tokens
 * outside the vocabulary. */
Status text_batch_run(TextBatch *batch, const TextInput *texts, int n, const TextSink *sink, Error *err);

#endif
