/* file_writer.h - a file written piece by piece that appears whole or not at all.
 *
 * The pieces go to a temporary file beside `path`; file_writer_commit syncs it and renames it. What exists at `path`
 * and is no regular file (a pipe, /dev/null) is written to directly: it must not be replaced. */
#ifndef HOULE_BASE_FILE_WRITER_H
#define HOULE_BASE_FILE_WRITER_H

#include "base/status.h"

#include <stddef.h>

typedef struct FileWriter FileWriter;

Status file_writer_open(const char *path, FileWriter **writer, Error *err);
Status file_writer_write(FileWriter *writer, const void *bytes, size_t count, Error *err);
/* Makes the file appear. Frees the writer in every case; after a failure, nothing is left behind. */
Status file_writer_commit(FileWriter *writer, Error *err);
/* Throws away what was written, and the writer; NULL is fine. */
void file_writer_cancel(FileWriter *writer);

#endif
