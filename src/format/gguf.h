/* gguf.h - the reader of GGUF files. Inside this room. */
#ifndef HOULE_FORMAT_GGUF_H
#define HOULE_FORMAT_GGUF_H

#include "format/container.h"

/* Whether a file's name is that of part 2 or later of a split model ("x-00002-of-00003.gguf"). */
bool gguf_is_later_part(const char *name);

/* Reads a GGUF file, and the other parts when it is one of several, into empty `files`. */
Status gguf_open(ModelFiles *files, const char *path, Error *err);
/* Reads the header from the first `have` bytes of a file (see model_files_open_head). */
Status gguf_open_head(ModelFiles *files, const uint8_t *bytes, size_t have, size_t file_bytes, bool *more, Error *err);

#endif
