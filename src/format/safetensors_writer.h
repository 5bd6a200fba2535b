/* safetensors_writer.h - writes a safetensors file, tensor by tensor, without holding it in memory.
 *
 * All tensors are declared first, because the header comes first; then their bytes follow in the same order, in pieces
 * of any size. The file appears under its name when it is complete, and not before. */
#ifndef HOULE_FORMAT_SAFETENSORS_WRITER_H
#define HOULE_FORMAT_SAFETENSORS_WRITER_H

#include "format/dtype.h"

typedef struct SafetensorsEntry {
    const char *name; /* unique, UTF-8 */
    DType type;       /* one that safetensors knows */
    int n_dim;
    const size_t *dims; /* row-major */
} SafetensorsEntry;

typedef struct SafetensorsText {
    const char *key, *value;
} SafetensorsText;

typedef struct SafetensorsWriter SafetensorsWriter;

/* Declares the tensors and `n_text` strings of metadata (may be 0), and writes the header. ERR_ARGUMENT for a type that
 * safetensors lacks, a name given twice, or an order in which a tensor would not be aligned to its numbers (declare
 * wider ones first). Nothing of the arguments is kept. */
Status safetensors_writer_open(const char *path, const SafetensorsEntry *entries, size_t n_entry,
                               const SafetensorsText *texts, size_t n_text, SafetensorsWriter **writer, Error *err);
/* The next bytes of the data, little-endian. ERR_ARGUMENT when they are more than was declared. */
Status safetensors_writer_write(SafetensorsWriter *writer, const void *bytes, size_t count, Error *err);
/* Makes the file appear; ERR_ARGUMENT when bytes are missing. Frees the writer in every case. */
Status safetensors_writer_commit(SafetensorsWriter *writer, Error *err);
/* Throws the file away; NULL is fine. */
void safetensors_writer_cancel(SafetensorsWriter *writer);

#endif
