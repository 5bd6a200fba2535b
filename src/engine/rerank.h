/* rerank.h - how well documents answer a query: by a network that scores pairs of texts, or by a language model that was
 * trained to say yes or no and is asked in the words of its publication. */
#ifndef HOULE_ENGINE_RERANK_H
#define HOULE_ENGINE_RERANK_H

#include "engine/text_batch.h"

typedef struct Reranker Reranker;

/* ERR_UNSUPPORTED when the model's files don't make it one that judges pairs. The model need only be described. */
Status reranker_check(const Model *model, Error *err);
/* The same, and the bytes that judging takes. */
Status reranker_memory(const Model *model, const TextSpec *spec, size_t *bytes, Error *err);
Status reranker_open(const Model *model, const TextSpec *spec, Reranker **reranker, Error *err);
void reranker_close(Reranker *reranker);

/* Appends the tokens of a pair to `ids`; *first: how many of them belong to the first segment. `instruction` is for models
 * that are told what to judge by; NULL = the usual one. */
Status reranker_encode(const Reranker *reranker, const char *instruction, const char *query, size_t query_bytes,
                       const char *document, size_t document_bytes, TokenIds *ids, size_t *first, Error *err);
/* A score for each pair, the higher the better: the network's own number, or the logit of yes less that of no. Its
 * sigmoid is between 0 and 1. */
Status reranker_run(Reranker *reranker, const TextInput *pairs, int n, float *scores, bool (*stop)(void *user), void *user,
                    Error *err);

#endif
