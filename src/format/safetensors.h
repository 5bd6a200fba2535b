/* safetensors.h - the reader of safetensors files. Inside this room. */
#ifndef HOULE_FORMAT_SAFETENSORS_H
#define HOULE_FORMAT_SAFETENSORS_H

#include "format/container.h"

/* Reads one file and adds its tensors to `files`. */
Status safetensors_open(ModelFiles *files, const char *path, Error *err);
/* Reads the header from the first `have` bytes of a file (see model_files_open_head). */
Status safetensors_open_head(ModelFiles *files, const uint8_t *bytes, size_t have, size_t file_bytes, bool *more,
                             Error *err);

/* Reads the shards that an index names (model.safetensors.index.json); they lie beside it. All of them must be there
 * and hold the tensors that the index says. */
Status safetensors_open_index(ModelFiles *files, const char *path, Error *err);

#endif
