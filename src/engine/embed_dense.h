/* embed_dense.h - the dense layers that some embedding models have behind the pooling (2_Dense, 3_Dense): a few matrices,
 * one product for each text, so that they are kept as floats and computed in plain C. */
#ifndef HOULE_ENGINE_EMBED_DENSE_H
#define HOULE_ENGINE_EMBED_DENSE_H

#include "base/status.h"

#include <stddef.h>

typedef struct EmbedDense EmbedDense;

/* Reads the layer in a module's folder (config.json, model.safetensors) and puts it behind those in *dense (NULL: it is the
 * first). */
Status embed_dense_add(EmbedDense **dense, const char *folder, const char *module, Error *err);
void embed_dense_close(EmbedDense *dense); /* all of them; NULL is fine */
size_t embed_dense_bytes(const EmbedDense *dense);
int embed_dense_in(const EmbedDense *dense);
int embed_dense_out(const EmbedDense *dense); /* of the last one */
/* x [in] -> y [out] */
void embed_dense_apply(const EmbedDense *dense, const float *x, float *y);

#endif
