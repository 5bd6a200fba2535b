/* embed.h - vectors of texts: the rows that a network gives for a text's tokens, made one as the model's files say.
 *
 * What they say stands in modules.json and 1_Pooling/config.json, which sentence-transformers writes beside such models, or in
 * the pooling_type of a GGUF: the last token, the first, or the mean of all; dense layers may follow. An encoder whose files
 * say nothing gives the mean. */
#ifndef HOULE_ENGINE_EMBED_H
#define HOULE_ENGINE_EMBED_H

#include "engine/text_batch.h"

typedef struct Embedder Embedder;

/* ERR_UNSUPPORTED when the model's files do not make it an embedding model, or ask for what is not known here. The model need
 * only be described. */
Status embedder_check(const Model *model, Error *err);
/* The same, and the bytes that making vectors takes. */
Status embedder_memory(const Model *model, const TextSpec *spec, size_t *bytes, Error *err);
Status embedder_open(const Model *model, const TextSpec *spec, Embedder **embedder, Error *err);
void embedder_close(Embedder *embedder);
/* Numbers of a vector. */
int embedder_width(const Embedder *embedder);

/* vectors [n, width], as the model gives them (embed_unit makes them comparable). Asks `stop` now and then (may be NULL). */
Status embedder_run(Embedder *embedder, const TextInput *texts, int n, float *vectors, bool (*stop)(void *user), void *user,
                    Error *err);
/* Cuts a vector to its first `dimensions` numbers (0 = all) and makes it of length 1; returns how many numbers it has. */
int embed_unit(float *vector, int width, int dimensions);

#endif
